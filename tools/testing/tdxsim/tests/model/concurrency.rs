// SPDX-License-Identifier: GPL-2.0

//! What other LPs see while one is inside: a call that takes time holds its locks. Time is a gate
//! here that the test opens, so that nothing depends on the speed of the machine.

use std::sync::{Condvar, Mutex};
use std::thread;

use tdxsim::{Host, Outcome, Regs};

use crate::image::{signer, Image, PARAMS};
use crate::machine::*;

const SYS_BUSY: u64 = 0x8000_0202_0000_0000;
const SYS_NOT_READY: u64 = 0xC000_0505_0000_0000;
const RCX_BUSY: u64 = 0x8000_0200_0000_0001;

/// A clock whose sleepers wait for the test.
#[derive(Default)]
struct Gate {
    /// How many have begun to sleep, and whether they may wake up.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    fn wait_for_sleepers(&self, count: usize) {
        let state = self.state.lock().unwrap();
        drop(
            self.changed
                .wait_while(state, |(asleep, _)| *asleep < count)
                .unwrap(),
        );
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

impl Host for Gate {
    fn now_ns(&self) -> u64 {
        0
    }

    fn sleep_ns(&self, _: u64) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, open)| !*open).unwrap());
    }

    fn instructions(&self, _: usize) -> u64 {
        0
    }
}

/// Opens a gate when a test is through with it, be it that it has failed: nobody waits for ever.
struct Opens<'a>(&'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Lets LPs make calls that take time, runs `meanwhile` while all of them are inside, then checks
/// that they all end well.
fn while_inside(machine: &Machine, calls: &[(usize, u64, u64)], meanwhile: impl FnOnce()) {
    let gate = &Gate::default();
    thread::scope(|scope| {
        let inside: Vec<_> = calls
            .iter()
            .map(|&(lp, rax, rcx)| {
                let call = move || {
                    let mut regs = Regs {
                        rax,
                        rcx,
                        ..Regs::default()
                    };
                    let outcome = machine.sim.seamcall(lp, &mut regs, &machine.ram, gate);
                    (outcome, regs.rax)
                };
                scope.spawn(call)
            })
            .collect();
        {
            let _opens = Opens(gate);
            gate.wait_for_sleepers(calls.len());
            meanwhile();
        }
        for thread in inside {
            assert_eq!(thread.join().unwrap(), (Outcome::Completed, 0));
        }
    });
}

/// A machine with three LPs, the leaf taking time only when the test says so.
fn machine() -> Machine {
    let signer = signer();
    Machine::with_lps(&[0, 0, 1], &["profile=connect", &signer])
}

#[test]
fn init_excludes_the_other_sys_leaves() {
    let machine = machine();
    machine.control("latency TDH.SYS.INIT 1ms");
    while_inside(&machine, &[(1, INIT, 0)], || {
        // The effects are there, the lock is held.
        assert_eq!(machine.state("module"), "SYSINIT_DONE");
        for leaf in [INIT, LP_INIT, CONFIG, KEY_CONFIG, UPDATE, DISABLE] {
            assert_eq!(machine.status(leaf, &[]), SYS_BUSY, "leaf {leaf}");
        }
        assert_eq!(machine.status(RD, &[0, FEATURES0]), 0xC000_0502_0000_0000);
    });
    machine.ok(0, LP_INIT, &[]);
}

#[test]
fn lp_init_runs_on_many_lps_at_once() {
    let machine = machine();
    machine.ok(0, INIT, &[]);
    machine.control("latency TDH.SYS.LP.INIT 1ms");
    machine.control("counters reset");
    machine.control("measure from=mark:begin to=mark:end");
    machine.control("mark begin");
    while_inside(
        &machine,
        &[(0, LP_INIT, 0), (1, LP_INIT, 0), (2, LP_INIT, 0)],
        || {},
    );
    machine.control("mark end");
    // Once the latency of the three.
    let events = machine.control("events");
    assert!(events.contains(" seam_ns=1000000 "), "{events}");
    assert!(machine
        .control("counters")
        .contains("leaf=TDH.SYS.LP.INIT calls=3 failed=0 max_inside=3"));
}

#[test]
fn lp_init_keeps_exclusive_leaves_out() {
    let machine = machine();
    machine.ok(0, INIT, &[]);
    machine.ok(0, LP_INIT, &[]);
    machine.ok(1, LP_INIT, &[]);
    machine.control("latency TDH.SYS.LP.INIT 1ms");
    while_inside(&machine, &[(2, LP_INIT, 0)], || {
        for leaf in [CONFIG, UPDATE, KEY_CONFIG, DISABLE] {
            assert_eq!(machine.status(leaf, &[]), SYS_BUSY, "leaf {leaf}");
        }
    });
    machine.configure();
}

#[test]
fn key_config_is_one_at_a_time() {
    let machine = machine();
    machine.initialise();
    machine.configure();
    machine.control("latency TDH.SYS.KEY.CONFIG 1ms");
    while_inside(&machine, &[(0, KEY_CONFIG, 0)], || {
        assert_eq!(machine.call(2, KEY_CONFIG, &[]).rax, SYS_BUSY);
    });
    machine.control("latency clear");
    machine.ok(2, KEY_CONFIG, &[]);
}

#[test]
fn a_tdmr_is_initialised_by_one_lp_at_a_time() {
    let machine = machine();
    machine.initialise();
    machine.configure();
    machine.configure_keys();
    machine.control("latency TDH.SYS.TDMR.INIT 1ms");
    while_inside(
        &machine,
        &[(0, TDMR_INIT, GIB), (1, TDMR_INIT, 4 * GIB)],
        || {
            for base in [GIB, 4 * GIB] {
                let regs = machine.call(2, TDMR_INIT, &[base, 7]);
                assert_eq!((regs.rax, regs.rdx), (RCX_BUSY, 0));
            }
            assert_eq!(machine.call(2, SHUTDOWN, &[1]).rax, SYS_BUSY);
            assert_eq!(machine.call(2, DISABLE, &[]).rax, SYS_BUSY);
            assert_eq!(machine.state("module"), "SYS_READY");
        },
    );
}

#[test]
fn shutdown_needs_to_be_alone_inside() {
    let machine = machine();
    machine.make_ready();
    machine.control("latency TDH.SYS.RD 1ms");
    let gate = Gate::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut regs = Regs {
                rax: RD,
                rdx: FEATURES0,
                ..Regs::default()
            };
            machine.sim.seamcall(1, &mut regs, &machine.ram, &gate);
        });
        let _opens = Opens(&gate);
        gate.wait_for_sleepers(1);
        assert_eq!(machine.status(SHUTDOWN, &[1]), SYS_BUSY);
        assert_eq!(machine.state("module"), "SYS_READY");
        // A wrong operand is seen before.
        assert_eq!(machine.status(SHUTDOWN, &[5]), 0xC000_0100_0000_0001);
    });
    machine.ok(0, SHUTDOWN, &[1]);
}

#[test]
fn shutdown_excludes_an_update() {
    let machine = machine();
    machine.make_ready();
    machine.control("latency TDH.SYS.SHUTDOWN 1ms");
    while_inside(&machine, &[(1, SHUTDOWN, 1)], || {
        assert_eq!(machine.status(RD, &[0, FEATURES0]), 0xC000_0506_0000_0000);
    });
}

#[test]
fn seamldr_lets_one_lp_in() {
    let machine = machine();
    machine.control("latency SEAMLDR.INFO 1ms");
    while_inside(&machine, &[(1, SEAMLDR_INFO, BUFFER)], || {
        for leaf in [
            SEAMLDR_INFO,
            SEAMLDR_INSTALL,
            SEAMLDR_SEAMINFO,
            (1 << 63) | 9,
        ] {
            let (outcome, regs) = machine.raw(0, leaf, &[BUFFER, 7]);
            assert_eq!(
                (outcome, regs.rax, regs.rdx),
                (Outcome::VmFailInvalid, leaf, 7)
            );
        }
        // The module itself is another matter.
        machine.ok(2, INIT, &[]);
    });
    assert!(machine
        .control("counters")
        .contains("leaf=SEAMLDR.INFO calls=2 failed=1 max_inside=1"));
    machine.ok(0, SEAMLDR_SEAMINFO, &[BUFFER]);
}

/// For faults, a call that P-SEAMLDR refuses because another LP is inside is a call like any other.
#[test]
fn faults_count_refused_calls() {
    let machine = machine();
    machine.control("latency SEAMLDR.INFO 1ms");
    machine.control("fault add leaf=SEAMLDR.INFO nth=3 status=SEAMLDR_EUNSPECERR");
    machine.control("fault add leaf=SEAMLDR.INFO nth=4 gp");
    machine.control("fault add leaf=SEAMLDR.INFO nth=5 hang=0");
    while_inside(&machine, &[(1, SEAMLDR_INFO, BUFFER)], || {
        let outcomes = [0; 4].map(|lp| {
            let (outcome, regs) = machine.raw(lp, SEAMLDR_INFO, &[BUFFER]);
            (outcome, regs.rax)
        });
        assert_eq!(
            outcomes,
            [
                (Outcome::VmFailInvalid, SEAMLDR_INFO),
                (Outcome::Completed, 0x8000_0000_0001_0003),
                (Outcome::GeneralProtection, SEAMLDR_INFO),
                // What runs finds the other one inside.
                (Outcome::VmFailInvalid, SEAMLDR_INFO),
            ]
        );
    });
    assert!(machine.control("fault list").contains(" gp seen=5\n"));
    machine.control("latency clear");
    machine.ok(0, SEAMLDR_INFO, &[BUFFER]);
}

#[test]
fn install_takes_its_time_on_each_lp() {
    let machine = machine();
    machine.make_ready();
    machine.ok(0, SHUTDOWN, &[1]);
    Image::new("profile = \"connect\"\n").load(&machine);
    machine.control("latency SEAMLDR.INSTALL 1ms");
    for lp in [2, 1, 0] {
        while_inside(&machine, &[(lp, SEAMLDR_INSTALL, PARAMS)], || {
            let other = (lp + 1) % 3;
            assert_eq!(
                machine.raw(other, SEAMLDR_INSTALL, &[PARAMS]).0,
                Outcome::VmFailInvalid
            );
            // Nor is there a module before it is over.
            for leaf in [INIT, LP_INIT, RD] {
                assert_eq!(machine.raw(other, leaf, &[]).0, Outcome::VmFailInvalid);
            }
        });
    }
    assert_eq!(machine.state("module"), "SYSINIT_PENDING");
    machine.ok(0, INIT, &[]);
}

#[test]
fn the_last_key_config_makes_the_module_ready_when_it_is_over() {
    let machine = machine();
    machine.initialise();
    machine.configure();
    machine.ok(0, KEY_CONFIG, &[]);
    machine.control("latency TDH.SYS.KEY.CONFIG 1ms");
    while_inside(&machine, &[(2, KEY_CONFIG, 0)], || {
        // Another one that is refused meanwhile does not.
        assert_eq!(machine.status(KEY_CONFIG, &[]), SYS_BUSY);
        assert_eq!(machine.state("module"), "SYSCONFIG_DONE");
    });
    assert_eq!(machine.state("module"), "SYS_READY");
}

#[test]
fn update_makes_the_module_ready_when_it_is_over() {
    let machine = machine();
    machine.make_ready();
    machine.ok(0, SHUTDOWN, &[1]);
    Image::new("profile = \"connect\"\n").load(&machine);
    for lp in [0, 1, 2] {
        machine.ok(lp, SEAMLDR_INSTALL, &[PARAMS]);
    }
    machine.initialise();
    machine.control("latency TDH.SYS.UPDATE 1ms");
    while_inside(&machine, &[(1, UPDATE, 0)], || {
        assert_eq!(machine.state("module"), "SYSINIT_DONE");
        assert_eq!(machine.status(SHUTDOWN, &[1]), SYS_NOT_READY);
    });
    assert_eq!(machine.state("module"), "SYS_READY");
}

#[test]
fn a_hang_keeps_the_locks_too() {
    let machine = machine();
    machine.initialise();
    machine.configure();
    machine.configure_keys();
    machine.control("fault add leaf=TDH.SYS.TDMR.INIT cpu=1 hang=50ms");
    while_inside(&machine, &[(1, TDMR_INIT, GIB)], || {
        assert_eq!(machine.status(TDMR_INIT, &[GIB]), RCX_BUSY);
    });
    machine.ok(0, TDMR_INIT, &[GIB]);
}

/// Without latency nobody ever meets anybody in the module, however many threads call.
#[test]
fn calls_without_latency_are_undivided() {
    let machine = Machine::with_lps(&[0; 8], &["profile=tdx-1.5.25"]);
    machine.make_ready();
    thread::scope(|scope| {
        for lp in 0..8 {
            let machine = &machine;
            scope.spawn(move || {
                for _ in 0..200 {
                    machine.ok(lp, RD, &[0, FEATURES0]);
                }
            });
        }
    });
    let counters = machine.control("counters");
    assert!(
        counters.contains("leaf=TDH.SYS.RD calls=1600 failed=0 max_inside=1"),
        "{counters}"
    );
}
