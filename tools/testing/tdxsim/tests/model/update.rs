// SPDX-License-Identifier: GPL-2.0

//! TDH.SYS.SHUTDOWN and TDH.SYS.UPDATE: what is refused, what a new module takes over, and what it
//! cannot know.

use crate::image::{signer, Image};
use crate::machine::*;
use crate::seamldr::install;

const RCX: u64 = 0xC000_0100_0000_0001;
const INCOMPATIBLE_MRTD: u64 = 0xC000_0622_0000_0000;
const AVOID: u64 = 1 << 16;
const MR_FINALIZE: u64 = 17;

/// Where the tests build TDs.
const TD: [u64; 3] = [GIB + 16 * MIB, GIB + 32 * MIB, GIB + 48 * MIB];

fn ready(args: &[&str]) -> Machine {
    let signer = signer();
    let mut all = vec![signer.as_str()];
    all.extend(args);
    let machine = Machine::new(&all);
    machine.make_ready();
    machine
}

/// SEAMLDR.INSTALL and initialisation of a module with this descriptor and these handoff fields.
fn bring_up(machine: &Machine, descriptor: &str, svn: u8, hv: u8, no_downgrade: bool) {
    let mut image = Image::new(descriptor);
    image.set(948, &[svn]);
    image.set(984, &[hv, 0, 0, 0, no_downgrade.into()]);
    image.sign();
    assert_eq!(install(machine, &image), (0, 0));
    machine.initialise();
}

#[test]
fn handoff_versions_of_shutdown() {
    // (module_hv, min_update_hv, no_downgrade), and which versions are taken.
    for (hv, min, no_downgrade, taken) in [
        (0, 0, "off", 0..=0),
        (1, 0, "on", 1..=1),
        (3, 1, "off", 1..=3),
        (3, 1, "on", 3..=3),
    ] {
        let args = [
            "profile=tdx-1.5.25".to_owned(),
            format!("module_hv={hv}"),
            format!("min_update_hv={min}"),
            format!("no_downgrade={no_downgrade}"),
        ];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        for asked in [0, 1, 2, 3, 4, 0xFFFF] {
            let machine = ready(&args);
            let status = machine.status(SHUTDOWN, &[asked]);
            assert_eq!(
                status,
                if taken.contains(&asked) { 0 } else { RCX },
                "{asked} of {hv}, {min}"
            );
            let state = machine.state("module");
            assert_eq!(
                state,
                if status == 0 {
                    "SYS_SHUTDOWN"
                } else {
                    "SYS_READY"
                }
            );
        }
    }
}

#[test]
fn reserved_bits_of_shutdown() {
    let machine = ready(&["profile=tdx-1.5.25"]);
    for bit in 17..64 {
        assert_eq!(
            machine.status(SHUTDOWN, &[1 | (1 << bit)]),
            RCX,
            "bit {bit}"
        );
    }
    assert_eq!(machine.status(SHUTDOWN, &[1 | AVOID]), 0);
}

#[test]
fn older_modules_refuse_the_flag_and_run_on() {
    for profile in ["profile=tdx-1.5.16", "profile=tdx-2.0.08"] {
        let machine = ready(&[profile]);
        machine.begin_build(TD[0], 65);
        for _ in 0..3 {
            assert_eq!(machine.status(SHUTDOWN, &[AVOID]), RCX);
        }
        assert_eq!(machine.state("module"), "SYS_READY");
        assert_eq!(machine.state("handoff"), "none");
        machine.abandon_build(TD[0]);
    }
}

#[test]
fn builds_and_migrations_are_counted() {
    let machine = ready(&["profile=tdx-1.5.25"]);
    let refused = |count: u64, reason: u64| {
        let status = machine.status(SHUTDOWN, &[1 | AVOID]);
        assert_eq!(status, 0x8000_0512_0000_0000 | (count << 16) | reason);
        assert_eq!(machine.state("module"), "SYS_READY");
        assert_eq!(machine.state("handoff"), "none");
    };
    machine.control("migrations 3");
    refused(3, 1);
    machine.begin_build(TD[0], 65);
    // A build wins.
    refused(1, 0);
    machine.begin_build(TD[1], 66);
    refused(2, 0);
    machine.abandon_build(TD[0]);
    machine.abandon_build(TD[1]);
    refused(3, 1);
    machine.control("migrations 65535");
    refused(0xFFFF, 1);
    machine.control("migrations 0");
    machine.ok(0, SHUTDOWN, &[1 | AVOID]);
}

#[test]
fn without_the_flag_nothing_is_counted() {
    let machine = ready(&["profile=tdx-1.5.25"]);
    machine.begin_build(TD[0], 65);
    machine.control("migrations 1");
    machine.ok(0, SHUTDOWN, &[1]);
}

#[test]
fn the_operand_comes_before_the_counts() {
    let machine = ready(&["profile=tdx-1.5.25"]);
    machine.begin_build(TD[0], 65);
    assert_eq!(machine.status(SHUTDOWN, &[AVOID]), RCX);
}

#[test]
fn tds_keys_and_tdmrs_survive() {
    let machine = ready(&["profile=tdx-1.5.25"]);
    machine.begin_build(TD[0], 65);
    let before = [
        machine.control("builds"),
        machine.control("keys"),
        machine.control("pages"),
    ];
    machine.ok(0, SHUTDOWN, &[1]);
    bring_up(
        &machine,
        "profile = \"tdx-1.5.25\"\nversion = \"1.5.26\"\n",
        12,
        1,
        true,
    );
    machine.ok(0, UPDATE, &[]);
    assert_eq!(machine.state("module"), "SYS_READY");
    assert_eq!(machine.state("version"), "1.5.26");
    assert_eq!(machine.state("tdmrs"), "2");
    let after = [
        machine.control("builds"),
        machine.control("keys"),
        machine.control("pages"),
    ];
    assert_eq!(before, after);
    // The PAMTs are initialised, and the global KeyID is taken.
    assert_eq!(machine.status(TDMR_INIT, &[GIB]), 0x0000_0A03_0000_0000);
    assert_eq!(
        machine.status(MNG_CREATE, &[TD[1], 64]),
        0xC000_0820_0000_0000
    );
    assert_eq!(
        machine.status(MNG_CREATE, &[TD[0], 66]),
        0xC000_0300_0000_0001
    );
    machine.abandon_build(TD[0]);
}

#[test]
fn counts_travel_from_handoff_version_1_on() {
    // The old module's hv, and whether the new one knows of the build.
    for (old, hv, svn, known) in [("tdx-1.5.16", 0, 11, false), ("tdx-1.5.25", 1, 12, true)] {
        let machine = ready(&[&format!("profile={old}")]);
        machine.begin_build(TD[0], 65);
        machine.ok(0, SHUTDOWN, &[hv]);
        bring_up(&machine, "profile = \"tdx-1.5.25\"\n", svn, 1, true);
        machine.ok(0, UPDATE, &[]);
        let status = machine.status(SHUTDOWN, &[1 | AVOID]);
        assert_eq!(
            status,
            if known { 0x8000_0512_0001_0000 } else { 0 },
            "{old}"
        );
        if known {
            // A build that begins now is counted beside it, and the count never goes below zero.
            machine.begin_build(TD[1], 66);
            assert_eq!(
                machine.status(SHUTDOWN, &[1 | AVOID]),
                0x8000_0512_0002_0000
            );
            machine.abandon_build(TD[0]);
            machine.abandon_build(TD[1]);
            machine.ok(0, SHUTDOWN, &[1 | AVOID]);
        }
    }
}

#[test]
fn a_build_that_is_invisible_is_never_subtracted() {
    let machine = ready(&["profile=tdx-1.5.16"]);
    machine.begin_build(TD[0], 65);
    machine.ok(0, SHUTDOWN, &[0]);
    bring_up(&machine, "profile = \"tdx-1.5.25\"\n", 11, 1, true);
    machine.ok(0, UPDATE, &[]);
    machine.begin_build(TD[1], 66);
    machine.abandon_build(TD[0]);
    assert_eq!(
        machine.status(SHUTDOWN, &[1 | AVOID]),
        0x8000_0512_0001_0000
    );
}

/// The measurement of a TD whose build was as far as that when modules changed, if they did.
fn measured(change: impl Fn(&Machine)) -> (u64, String) {
    const VP_CREATE: u64 = 10;
    const VP_ADDCX: u64 = 4;
    const VP_INIT: u64 = 22;
    let machine = ready(&["profile=tdx-1.5.16"]);
    machine.begin_build(TD[0], 65);
    let vcpu = TD[1];
    machine.ok(0, VP_CREATE, &[vcpu, TD[0]]);
    for page in 1..=5 {
        machine.ok(0, VP_ADDCX, &[vcpu + page * 0x1000, vcpu]);
    }
    machine.ok(0, VP_INIT | V1, &[vcpu, 0, 0]);
    change(&machine);
    let status = machine.status(MR_FINALIZE, &[TD[0]]);
    (status, machine.control("builds"))
}

#[test]
fn an_update_during_a_build_breaks_the_measurement_or_is_detected() {
    let update = |machine: &Machine, leaf: u64, features: u64| {
        machine.ok(0, SHUTDOWN, &[0]);
        bring_up(machine, "profile = \"tdx-1.5.25\"\n", 11, 1, true);
        machine.ok(0, leaf, &[0, 0, 0, features]);
    };
    let (status, good) = measured(|_| {});
    assert_eq!(status, 0);
    // A module with the same measurement context changes nothing.
    let (status, same) = measured(|machine| {
        machine.ok(0, SHUTDOWN, &[0]);
        bring_up(machine, "profile = \"tdx-1.5.16\"\n", 11, 0, false);
        machine.ok(0, UPDATE, &[]);
    });
    assert_eq!((status, same == good), (0, true));
    // The erratum: it works, and the measurement is another one.
    for (leaf, features) in [(UPDATE, 0), (UPDATE | V1, 1 << 1)] {
        let (status, broken) = measured(|machine| update(machine, leaf, features));
        assert_eq!((status, broken == good), (0, false));
    }
    // With detection the TD cannot be finalised.
    let (status, _) = measured(|machine| update(machine, UPDATE | V1, 1 << 47));
    assert_eq!(status, INCOMPATIBLE_MRTD);
}

#[test]
fn operands_of_update_version_1() {
    let machine = ready(&["profile=connect"]);
    machine.ok(0, SHUTDOWN, &[1 | AVOID]);
    bring_up(&machine, "profile = \"connect\"\n", 12, 1, true);
    let update = |version: u64, r9: u64, r10: u64| {
        machine.status(UPDATE | (version << 16), &[0, 0, 0, r9, r10])
    };
    assert_eq!(update(2, 0, 0), 0xC000_0100_0000_0000);
    assert_eq!(update(1, 1 << 36, 0), 0xC000_0100_0000_0009);
    assert_eq!(update(1, 1 << 36, 1), 0xC000_0100_0000_0009);
    assert_eq!(update(1, 1 << 6, 1), 0xC000_0100_0000_000A);
    // Each of these left everything as it was.
    assert_eq!(machine.state("module"), "SYSINIT_DONE");
    assert_eq!(machine.state("handoff"), "1");
    assert_eq!(update(1, 1 << 6, 0), 0);
    assert_eq!(machine.state("configured"), "0x40");
    assert_eq!(machine.rd(0x3100_0002_0000_0000), 2048);
    assert_eq!(machine.state("handoff"), "none");
}

#[test]
fn version_0_follows_a_refused_version_1() {
    let machine = ready(&["profile=tdx-1.5.16"]);
    machine.ok(0, SHUTDOWN, &[0]);
    bring_up(&machine, "profile = \"tdx-1.5.16\"\n", 11, 0, false);
    assert_eq!(machine.status(UPDATE | V1, &[]), 0xC000_0100_0000_0000);
    machine.ok(0, UPDATE, &[0, 0, 0, u64::MAX, u64::MAX]);
    assert_eq!(machine.state("configured"), "0x0");
}

#[test]
fn update_is_transient_while_an_lp_is_missing() {
    let machine = ready(&["profile=tdx-1.5.25"]);
    machine.ok(0, SHUTDOWN, &[1]);
    assert_eq!(
        install(&machine, &Image::new("profile = \"tdx-1.5.25\"\n")),
        (0, 0)
    );
    machine.ok(0, INIT, &[]);
    machine.ok(0, LP_INIT, &[]);
    assert_eq!(machine.status(UPDATE, &[]), 0xC000_0508_0000_0000);
    machine.ok(1, LP_INIT, &[]);
    machine.ok(0, UPDATE, &[]);
}

#[test]
fn a_new_module_can_be_configured_anew_instead() {
    let machine = ready(&["profile=tdx-1.5.25"]);
    machine.begin_build(TD[0], 65);
    machine.ok(0, SHUTDOWN, &[1]);
    bring_up(&machine, "profile = \"tdx-1.5.25\"\n", 12, 1, true);
    machine.configure();
    machine.configure_keys();
    machine.initialise_tdmrs();
    assert_eq!(machine.state("tds"), "0");
    machine.begin_build(TD[0], 65);
}

#[test]
fn updates_run_out() {
    let machine = ready(&["profile=tdx-1.5.25", "updates_left=2"]);
    for _ in 0..2 {
        machine.ok(0, SHUTDOWN, &[1]);
        bring_up(&machine, "profile = \"tdx-1.5.25\"\n", 12, 1, true);
        machine.ok(0, UPDATE, &[]);
    }
    machine.ok(0, SHUTDOWN, &[1]);
    let full = install(&machine, &Image::new("profile = \"tdx-1.5.25\"\n"));
    assert_eq!(full, (0x8000_0000_0000_0003, 0));
}
