// SPDX-License-Identifier: GPL-2.0

//! Control commands, faults and the trace.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tdxsim::{Host, Outcome, Sim, SimConfig};

use crate::image::{signer, Image, PARAMS};
use crate::machine::*;

fn error(machine: &Machine, command: &str) -> String {
    machine.sim.control(0, command, &machine.clock).unwrap_err()
}

#[test]
fn what_is_wrong_is_said() {
    let machine = Machine::new(&[]);
    assert_eq!(error(&machine, ""), ": no such command; `help` lists them");
    assert_eq!(
        error(&machine, "explode"),
        "explode: no such command; `help` lists them"
    );
    assert_eq!(error(&machine, "fault"), "fault : takes add, list or clear");
    assert_eq!(
        error(&machine, "fault remove"),
        "fault remove: takes add, list or clear"
    );
    assert_eq!(
        error(&machine, "fault add leaf=TDH.SYS.RD gp cpu=9"),
        "cpu=9: there are CPUs 0 to 1"
    );
    assert_eq!(
        error(&machine, "latency"),
        "latency : takes LEAF TIME, list or clear"
    );
    assert!(error(&machine, "latency TDH.SYS.RD 5").starts_with("5: takes a time"));
    assert!(error(&machine, "latency TDH.SYS.RED 5us").starts_with("TDH.SYS.RED: no such leaf"));
    assert!(error(&machine, "next profile=none").starts_with("none: no such module profile"));
    assert_eq!(
        error(&machine, "next profile=connect module_hv=x"),
        "module_hv=x: takes 0 to 65535"
    );
    assert_eq!(error(&machine, "next quickly"), "quickly: unexpected");
    assert_eq!(
        error(&machine, "updates many"),
        "updates many: takes a number"
    );
    assert_eq!(
        error(&machine, "migrations 65536"),
        "migrations 65536: takes a number"
    );
    assert_eq!(
        error(&machine, "fatal 0x1000"),
        "fatal 0x1000: there is no TD with this TDR"
    );
    assert_eq!(
        error(&machine, "old-epoch 0x1000 1"),
        "old-epoch 0x1000: there is no initialised TD with this TDR"
    );
    assert_eq!(
        error(&machine, "old-epoch 0x1000"),
        "old-epoch 0x1000: takes TDR N"
    );
    assert_eq!(
        error(&machine, "old-epoch 0x1000 x"),
        "old-epoch x: takes a number"
    );
    assert_eq!(
        error(&machine, "counters clear"),
        "counters clear: takes reset or nothing"
    );
    assert_eq!(error(&machine, "mark"), "mark: a name is missing");
    assert_eq!(error(&machine, "state now"), "now: unexpected");
    assert_eq!(
        error(&machine, "measure from=mark:a"),
        "measure: to=EVENT is missing"
    );
}

#[test]
fn every_command_that_help_names_is_known() {
    let machine = Machine::new(&[]);
    let help = machine.control("help");
    assert!(help.lines().count() > 15);
    for line in help.lines().filter(|line| !line.starts_with(' ')) {
        let word = line.split_whitespace().next().unwrap();
        if let Err(error) = machine.sim.control(0, word, &machine.clock) {
            assert!(!error.contains("no such command"), "{word}: {error}");
        }
    }
}

#[test]
fn words_of_a_command_may_be_separated_by_any_white_space() {
    let machine = Machine::new(&[]);
    machine.control("measure from=mark:a\tto=mark:b");
    machine.control("\tmark\ta");
    assert_eq!(machine.control(" events\t"), "measure=running\n");
    machine.control("mark \t b\n");
    assert!(machine.control("events").starts_with("measure=done"));
    machine.ok(0, INIT, &[]);
    assert!(machine.control("last\tTDH.SYS.INIT").contains("SUCCESS"));
    machine.control("fault\tadd\tleaf=TDH.SYS.RD\tgp");
    machine.control("latency\tTDH.SYS.RD\t5us");
    assert_eq!(
        machine.control("latency\tlist"),
        "leaf=TDH.SYS.RD ns=5000\n"
    );
}

/// A leaf that has no name here goes by its number, as it does in the trace.
#[test]
fn leaves_without_a_name_have_faults_and_latencies() {
    let machine = Machine::new(&["latency.TDH.23=200us"]);
    machine.control("latency SEAMLDR.0x5 1ms");
    assert_eq!(
        machine.control("latency list"),
        "leaf=TDH.0x17 ns=200000\nleaf=SEAMLDR.0x5 ns=1000000\n"
    );
    machine.control("fault add leaf=TDH.23 status=SYS_BUSY");
    machine.control("fault add leaf=seamldr.5 status=SEAMLDR_ENOMEM");
    machine.control("measure from=TDH.0x17:begin to=SEAMLDR.5:end");
    assert_eq!(machine.status(23, &[]), 0x8000_0202_0000_0000);
    assert_eq!(machine.status((1 << 63) | 5, &[]), 0x8000_0000_0001_0002);
    assert!(machine
        .control("events")
        .starts_with("measure=done ns=1200000 "));
    assert!(machine.control("last TDH.23").contains("\"TDH.0x17\""));
    // What has no fault any more is as unknown as ever.
    assert_eq!(machine.status(23, &[]), 0xC000_0505_0000_0000);
    assert_eq!(machine.status((1 << 63) | 5, &[]), 0x8000_0000_0000_0000);
}

#[test]
fn profiles_and_arguments_can_be_listed() {
    let machine = Machine::new(&[]);
    let profiles = machine.control("profiles");
    for name in [
        "tdx-1.5.16",
        "tdx-2.0.08",
        "tdx-1.5.25",
        "connect",
        "connect-wall-clock",
        "no-preserving",
        "rbp-bug",
    ] {
        assert!(profiles.contains(name), "{name}");
        assert_eq!(
            Machine::new(&[&format!("profile={name}")]).state("profile"),
            name
        );
    }
    assert!(machine
        .control("arguments")
        .contains("updates_left: 0 to 4294967295"));
}

#[test]
fn commands_at_the_start() {
    let machine = Machine::new(&[
        "control=fault add leaf=TDH.SYS.INIT status=SYS_BUSY",
        "control=updates 2",
    ]);
    assert_eq!(machine.state("updates_left"), "2");
    assert_eq!(machine.status(INIT, &[]), 0x8000_0202_0000_0000);
    let config = SimConfig::from_args(vec![0], &["control=explode"]).unwrap();
    assert_eq!(
        Sim::new(config).unwrap_err(),
        "explode: no such command; `help` lists them"
    );
    let config = SimConfig::from_args(vec![0], &["trace=/nowhere/at/all"]).unwrap();
    assert!(Sim::new(config)
        .unwrap_err()
        .starts_with("trace=/nowhere/at/all: "));
}

#[test]
fn a_faulted_call_has_no_effect() {
    let machine = Machine::new(&[]);
    machine.control("fault add leaf=TDH.SYS.INIT vmfailinvalid");
    machine.control("fault add leaf=TDH.SYS.INIT nth=2 gp");
    machine.control("fault add leaf=TDH.SYS.INIT nth=3 ud");
    machine.control("fault add leaf=TDH.SYS.INIT nth=4 status=OPERAND_INVALID|1 rdx=5");
    for expected in [
        Outcome::VmFailInvalid,
        Outcome::GeneralProtection,
        Outcome::UndefinedInstruction,
    ] {
        let (outcome, regs) = machine.raw(0, INIT, &[0, 7]);
        assert_eq!((outcome, regs.rax, regs.rdx), (expected, INIT, 7));
    }
    let regs = machine.call(0, INIT, &[0, 7]);
    assert_eq!((regs.rax, regs.rdx), (0xC000_0100_0000_0001, 5));
    assert_eq!(machine.state("module"), "SYSINIT_PENDING");
    machine.ok(0, INIT, &[]);
}

#[test]
fn a_fault_may_lie_about_a_call_that_ran() {
    let machine = Machine::new(&[]);
    machine.control("fault add leaf=TDH.SYS.INIT after status=SYS_BUSY");
    assert_eq!(machine.status(INIT, &[]), 0x8000_0202_0000_0000);
    assert_eq!(machine.state("module"), "SYSINIT_DONE");
    machine.control("fault add leaf=TDH.SYS.LP.INIT after vmfailinvalid");
    assert_eq!(machine.raw(0, LP_INIT, &[]).0, Outcome::VmFailInvalid);
    assert_eq!(machine.status(LP_INIT, &[]), 0xC000_0503_0000_0000);
    machine.control("fault add leaf=TDH.SYS.RD status=0 count=all");
    machine.control("fault clear");
    assert_ne!(machine.rd(FEATURES0), 0);
}

/// A machine in the middle of an update: LP 0 has called SEAMLDR.INSTALL.
fn in_round() -> Machine {
    let machine = Machine::new(&["profile=tdx-1.5.25", &signer()]);
    machine.make_ready();
    machine.ok(0, SHUTDOWN, &[1]);
    Image::new("profile = \"tdx-1.5.25\"\n").load(&machine);
    machine.ok(0, SEAMLDR_INSTALL, &[PARAMS]);
    machine
}

#[test]
fn an_injected_install_failure_leaves_what_it_says() {
    let install = |machine: &Machine| {
        let regs = machine.call(1, SEAMLDR_INSTALL, &[PARAMS, 7]);
        (
            regs.rax,
            regs.rdx,
            machine.state("module"),
            machine.state("handoff"),
        )
    };
    let after = |fault: &str| {
        let machine = in_round();
        machine.control(&format!("fault add leaf=SEAMLDR.INSTALL cpu=1 {fault}"));
        (install(&machine), machine)
    };
    let (gone, machine) = after("status=SEAMLDR_EBADHASH rdx=1");
    assert_eq!(
        gone,
        (
            0x8000_0000_0002_0001,
            1,
            "NONE".to_owned(),
            "none".to_owned()
        )
    );
    assert_eq!(machine.raw(0, INIT, &[]).0, Outcome::VmFailInvalid);
    for fault in [
        "status=SEAMLDR_EBADSIG",
        "status=SEAMLDR_EBADSIG recoverable=1",
    ] {
        let (intact, machine) = after(fault);
        assert_eq!(
            intact,
            (
                0x8000_0000_0002_0000,
                0,
                "SYS_SHUTDOWN".to_owned(),
                "1".to_owned()
            )
        );
        // The round is over: another one, on all LPs, succeeds.
        machine.ok(0, SEAMLDR_INSTALL, &[PARAMS]);
        machine.ok(1, SEAMLDR_INSTALL, &[PARAMS]);
        machine.initialise();
        machine.ok(0, UPDATE, &[]);
    }
    for fault in ["status=SEAMLDR_EBADCALL", "vmfailinvalid", "gp", "ud"] {
        let machine = in_round();
        machine.control(&format!("fault add leaf=SEAMLDR.INSTALL cpu=1 {fault}"));
        machine.raw(1, SEAMLDR_INSTALL, &[PARAMS]);
        assert_eq!(machine.state("round_lps"), "1", "{fault}");
        machine.ok(1, SEAMLDR_INSTALL, &[PARAMS]);
        assert_eq!(machine.state("module"), "SYSINIT_PENDING");
    }
}

#[test]
fn latencies_pass_the_time() {
    let machine = Machine::new(&["latency.TDH.SYS.INIT=200us"]);
    machine.control("fault add leaf=TDH.SYS.LP.INIT hang=50ms");
    machine.ok(0, INIT, &[]);
    assert_eq!(
        machine.control("latency list"),
        "leaf=TDH.SYS.INIT ns=200000\n"
    );
    machine.control("latency TDH.SYS.LP.INIT 1ms");
    machine.ok(0, LP_INIT, &[]);
    assert_eq!(
        machine.clock.now.load(std::sync::atomic::Ordering::Relaxed),
        51_200_000
    );
    machine.control("latency TDH.SYS.INIT 0");
    machine.control("latency TDH.SYS.LP.INIT 0");
    assert_eq!(machine.control("latency list"), "");
}

#[test]
fn instructions_are_counted_between_events() {
    let machine = Machine::new(&["latency.TDH.SYS.INIT=10ns", "latency.TDH.SYS.LP.INIT=100ns"]);
    assert_eq!(machine.control("events"), "measure=none\n");
    machine.control("measure from=TDH.SYS.INIT to=TDH.SYS.LP.INIT to_count=2");
    assert_eq!(machine.control("events"), "measure=armed\n");
    machine.ok(0, INIT, &[]);
    machine.ok(0, LP_INIT, &[]);
    assert_eq!(machine.control("events"), "measure=running\n");
    machine.ok(1, LP_INIT, &[]);
    // The test's clock lets LP n execute n+1 instructions a nanosecond.
    assert_eq!(
        machine.control("events"),
        "measure=done ns=210 seam_ns=210 instructions=630 spinning=105 cpu0=210 cpu1=420 \
         spin0=0 spin1=105\n"
    );
    machine.control("measure from=mark:a to=mark:b");
    machine.control("mark a");
    machine.ok(0, RD, &[0, FEATURES0]);
    machine.control("mark b");
    assert!(machine.control("events").starts_with("measure=done ns=0 "));
}

#[test]
fn a_measurement_ends_when_the_last_lp_leaves_a_stop() {
    let machine = Machine::new(&["latency.TDH.SYS.SHUTDOWN=10ns", &signer()]);
    machine.make_ready();
    let lines = Lines::default();
    machine.sim.set_trace(Box::new(lines.clone()));
    let watched = || {
        machine
            .clock
            .watched
            .swap(0, std::sync::atomic::Ordering::Relaxed)
    };
    let backs = || {
        let written = lines.take();
        written
            .iter()
            .filter(|line| line["event"] == "back")
            .count()
    };
    let begin = machine.clock.now_ns();

    // Nobody is stopped.
    machine.sim.back(0, &machine.clock);
    assert_eq!((watched(), backs()), (0, 0));
    machine.control("measure from=TDH.SYS.SHUTDOWN to=back");
    machine.ok(0, SHUTDOWN, &[1]);
    assert_eq!(watched(), 0b11);
    // INSTALL belongs to the same stop.
    machine.raw(0, SEAMLDR_INSTALL, &[]);
    assert_eq!(watched(), 0);
    machine.sim.back(1, &machine.clock);
    machine.sim.back(1, &machine.clock);
    assert_eq!(machine.control("events"), "measure=running\n");
    machine.clock.sleep_ns(10);
    machine.sim.back(0, &machine.clock);
    assert_eq!(machine.clock.now_ns() - begin, 20);
    assert_eq!(
        machine.control("events"),
        "measure=done ns=20 seam_ns=10 instructions=40 spinning=5 cpu0=20 cpu1=20 spin0=0 \
         spin1=5\n"
    );
    assert_eq!(backs(), 2);
    // An update that was interrupted goes on with it.
    machine.raw(1, SEAMLDR_INSTALL, &[]);
    assert_eq!(watched(), 0b11);
}

#[test]
fn the_state_shows_what_there_is() {
    let machine = Machine::new(&["profile=connect", &signer()]);
    machine.make_ready();
    machine.begin_build(GIB + 16 * MIB, 65);
    for (key, value) in [
        ("module", "SYS_READY"),
        ("version", "1.5.26"),
        ("svn", "1.12"),
        ("hv", "1"),
        ("lps", "2"),
        ("keys", "2"),
        ("seamldr", "ready"),
        ("round", "none"),
        ("handoff", "none"),
        ("tds", "1"),
        ("builds", "1"),
        ("pages", "7"),
    ] {
        assert_eq!(machine.state(key), value, "{key}");
    }
    assert!(machine.control("builds").contains("op_state=INITIALIZED"));
    assert_eq!(
        machine.control("keys"),
        "keyid=64 state=global\nkeyid=65 state=assigned\n"
    );
    assert!(machine.control("pages").contains("type=Tdr pages=1\n"));
    machine.control(&format!("fatal {:#x}", GIB + 16 * MIB));
    assert_eq!(machine.status(11, &[GIB + 16 * MIB]), 0xE000_0604_0000_0000);
}

/// A sink that keeps what it is given.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whole lines only: what is written is complete.
        assert_eq!(bytes.last(), Some(&b'\n'));
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn take(&self) -> Vec<Value> {
        let text = String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[test]
fn every_call_and_event_is_a_line() {
    let machine = Machine::new(&["latency.TDH.SYS.INIT=200ns"]);
    let lines = Lines::default();
    machine.sim.set_trace(Box::new(lines.clone()));
    machine.ok(0, INIT, &[]);
    let written = lines.take();
    assert_eq!(
        serde_json::to_string(&written[0]).unwrap(),
        serde_json::json!({
            "t_ns": 0, "dur_ns": 200, "vcpu": 0, "leaf": "TDH.SYS.INIT", "version": 0,
            "in": {}, "out": {}, "outcome": "completed", "status": "0x0", "name": "SUCCESS",
            "insn": 0,
        })
        .to_string()
    );
    assert_eq!(
        written[1],
        serde_json::json!({"t_ns": 200, "event": "state", "vcpu": 0, "what": "SYSINIT_DONE"})
    );
    machine.call(1, LP_INIT, &[]);
    machine.ok(1, RD, &[0, UPDATE_VERSION]);
    let line = &lines.take()[1];
    assert_eq!(line["in"], serde_json::json!({"rdx": "0x800000100000005"}));
    assert_eq!(line["out"]["r8"], "0x1a");
    assert_eq!((&line["vcpu"], &line["insn"]), (&1.into(), &400.into()));

    machine.control("fault add leaf=TDH.SYS.SHUTDOWN status=UPDATE_COMPAT_SENSITIVE|0x30000");
    machine.call(0, SHUTDOWN, &[]);
    machine.raw(0, (1 << 63) | 77, &[]);
    machine.control("mark here it is");
    machine.sim.report(1, "vmxon", "", &machine.clock);
    machine.sim.reset(&machine.clock);
    let written = lines.take();
    assert_eq!(written[0]["event"], "control");
    assert_eq!(written[1]["name"], "UPDATE_COMPAT_SENSITIVE");
    assert_eq!(written[1]["status"], "0x8000051200030000");
    assert_eq!(written[1]["fault"], true);
    assert_eq!(written[2]["leaf"], "SEAMLDR.0x4d");
    assert_eq!(written[2]["name"], "SEAMLDR_EBADPARAM");
    assert_eq!(
        (&written[3]["event"], &written[3]["what"]),
        (&"mark".into(), &"here it is".into())
    );
    assert_eq!(
        (&written[4]["event"], &written[4]["vcpu"]),
        (&"vmxon".into(), &1.into())
    );
    assert_eq!(written[5]["event"], "reset");
}

#[test]
fn the_last_call_of_a_leaf_can_be_seen() {
    let machine = Machine::new(&[]);
    assert_eq!(
        error(&machine, "last TDH.SYS.INIT"),
        "TDH.SYS.INIT: not called"
    );
    assert!(error(&machine, "last TDH.SYS.RED").starts_with("TDH.SYS.RED: no such leaf"));
    machine.status(INIT, &[9]);
    machine.ok(0, INIT, &[]);
    machine.ok(1, LP_INIT, &[]);
    let line: Value = serde_json::from_str(&machine.control("last TDH.SYS.INIT")).unwrap();
    assert_eq!(
        (&line["in"], &line["name"]),
        (&serde_json::json!({}), &"SUCCESS".into())
    );
    machine.sim.reset(&machine.clock);
    assert_eq!(
        error(&machine, "last TDH.SYS.INIT"),
        "TDH.SYS.INIT: not called"
    );
}

#[test]
fn refused_instructions_have_no_status() {
    let machine = Machine::new(&["module_loaded=off"]);
    let lines = Lines::default();
    machine.sim.set_trace(Box::new(lines.clone()));
    machine.raw(0, 99 | (3 << 16), &[1]);
    let line = &lines.take()[0];
    assert_eq!(line["outcome"], "vmfailinvalid");
    assert_eq!(
        (&line["leaf"], &line["version"]),
        (&"TDH.0x63".into(), &3.into())
    );
    assert_eq!(line.get("status"), None);
}

#[test]
fn a_bad_descriptor_is_explained_in_the_trace() {
    let machine = in_round();
    Image::new("profile = \"tdx-1.5.25\"\nversion = \"x\"\n").load(&machine);
    let lines = Lines::default();
    machine.sim.set_trace(Box::new(lines.clone()));
    machine.call(1, SEAMLDR_INSTALL, &[PARAMS]);
    assert_eq!(
        lines.take()[0]["remark"],
        "version=x: takes a version such as 1.5.25"
    );
}

/// A sink that has failed must not stop the guest.
#[test]
fn a_full_disk_ends_the_trace_only() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let machine = Machine::new(&[]);
    machine.sim.set_trace(Box::new(Full));
    machine.make_ready();
}

#[test]
fn statuses_have_names() {
    use tdxsim::status::Status;
    for (number, name) in [
        (0, "SUCCESS"),
        (0xC000_0100_0000_0008, "OPERAND_INVALID"),
        (0x8000_0512_0002_0001, "UPDATE_COMPAT_SENSITIVE"),
        (0xC000_0B0D_0000_0001, "EPT_ENTRY_STATE_INCORRECT"),
        (0x8000_0000_0001_0002, "SEAMLDR_ENOMEM"),
        (0x8000_0000_0000_0099, "?"),
        (0x1234_5678_0000_0000, "?"),
    ] {
        assert_eq!(Status(number).name(), name);
    }
    for (name, status) in Status::ALL {
        assert_eq!(Status::by_name(name), Some(*status));
        assert_eq!(status.name(), *name);
    }
}
