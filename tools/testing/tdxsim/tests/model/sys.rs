// SPDX-License-Identifier: GPL-2.0

//! The dispatcher, and every TDH.SYS leaf in every state: TDH.SYS.CONFIG's operands and TDMRs, and
//! what happens at an update, are in files of their own.

use tdxsim::profile::CpuidConfig;
use tdxsim::{Memory, Outcome, SimConfig};

use crate::machine::*;

/// The module's states, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    InitPending,
    /// TDH.SYS.INIT was done, and TDH.SYS.LP.INIT on no LP.
    InitDone,
    /// The same with TDH.SYS.LP.INIT on every LP.
    LpsDone,
    ConfigDone,
    Ready,
    Shutdown,
}

use State::*;

const STATES: [State; 6] = [InitPending, InitDone, LpsDone, ConfigDone, Ready, Shutdown];

fn in_state(state: State, args: &[&str]) -> Machine {
    let machine = Machine::new(args);
    if state >= InitDone {
        machine.ok(0, INIT, &[]);
    }
    if state >= LpsDone {
        machine.ok(0, LP_INIT, &[]);
        machine.ok(1, LP_INIT, &[]);
    }
    if state >= ConfigDone {
        machine.configure();
    }
    if state >= Ready {
        machine.configure_keys();
    }
    if state >= Shutdown {
        machine.ok(0, SHUTDOWN, &[1]);
    }
    machine
}

/// A leaf with legal operands in each state.
fn check(leaf: u64, operands: &[u64], expected: [u64; 6]) {
    for (state, expected) in STATES.into_iter().zip(expected) {
        let machine = in_state(state, &[]);
        machine.put_tdmrs(&[tdmr_info(1, PAMTS)]);
        let status = machine.status(leaf, operands);
        assert_eq!(
            status, expected,
            "leaf {leaf:#x} in {state:?}: {status:#x}, not {expected:#x}"
        );
    }
}

const NOT_READY: u64 = 0xC000_0505_0000_0000;
const SHUT_DOWN: u64 = 0xC000_0506_0000_0000;
const BAD_RAX: u64 = 0xC000_0100_0000_0000;
const BAD_RCX: u64 = 0xC000_0100_0000_0001;

#[test]
fn init_in_every_state() {
    let again = 0xC000_0500_0000_0000;
    check(INIT, &[], [0, again, again, again, again, SHUT_DOWN]);
    check(INIT | V1, &[], [0, again, again, again, again, SHUT_DOWN]);
    // RCX is looked at before the state.
    check(
        INIT,
        &[1],
        [BAD_RCX, BAD_RCX, BAD_RCX, BAD_RCX, BAD_RCX, SHUT_DOWN],
    );
    // The version is looked at before everything but the dispatcher's own checks.
    check(
        INIT | (2 << 16),
        &[1],
        [BAD_RAX, BAD_RAX, BAD_RAX, BAD_RAX, BAD_RAX, SHUT_DOWN],
    );
}

#[test]
fn lp_init_in_every_state() {
    let not_pending = 0xC000_050B_0000_0000;
    let done = 0xC000_0503_0000_0000;
    check(
        LP_INIT,
        &[],
        [not_pending, 0, done, not_pending, not_pending, SHUT_DOWN],
    );
}

#[test]
fn config_in_every_state() {
    let not_pending = 0xC000_050C_0000_0000;
    let expected = [
        not_pending,
        not_pending,
        0,
        not_pending,
        not_pending,
        SHUT_DOWN,
    ];
    check(CONFIG, &[TDMR_ARRAY, 1, 64], expected);
    check(CONFIG | V1, &[TDMR_ARRAY, 1, 64], expected);
    // The state is looked at before the operands.
    let expected = [
        not_pending,
        not_pending,
        BAD_RCX,
        not_pending,
        not_pending,
        SHUT_DOWN,
    ];
    check(CONFIG, &[1, 1, 64], expected);
}

#[test]
fn key_config_in_every_state() {
    let not_pending = 0xC000_0507_0000_0000;
    check(
        KEY_CONFIG,
        &[],
        [
            not_pending,
            not_pending,
            not_pending,
            0,
            not_pending,
            SHUT_DOWN,
        ],
    );
}

#[test]
fn tdmr_init_in_every_state() {
    check(
        TDMR_INIT,
        &[GIB],
        [NOT_READY, NOT_READY, NOT_READY, NOT_READY, 0, SHUT_DOWN],
    );
}

#[test]
fn rd_in_every_state() {
    let lp_not_done = 0xC000_0502_0000_0000;
    check(
        RD,
        &[0, FEATURES0],
        [lp_not_done, lp_not_done, 0, 0, 0, SHUT_DOWN],
    );
    check(
        INFO,
        &[BUFFER, 1024, BUFFER + 1024, 32],
        [lp_not_done, lp_not_done, 0, 0, 0, SHUT_DOWN],
    );
    check(
        RDALL,
        &[BUFFER, u64::MAX],
        [lp_not_done, lp_not_done, 0, 0, 0, SHUT_DOWN],
    );
}

#[test]
fn shutdown_in_every_state() {
    check(
        SHUTDOWN,
        &[1],
        [NOT_READY, NOT_READY, NOT_READY, NOT_READY, 0, SHUT_DOWN],
    );
    check(SHUTDOWN | V1, &[1], [BAD_RAX; 6]);
}

#[test]
fn update_in_every_state() {
    let state_incorrect = 0xC000_0508_0000_0000;
    let no_handoff = 0xC000_0509_0000_0000;
    let expected = [
        state_incorrect,
        state_incorrect,
        no_handoff,
        state_incorrect,
        state_incorrect,
        SHUT_DOWN,
    ];
    check(UPDATE, &[], expected);
    check(UPDATE | V1, &[], expected);
}

#[test]
fn disable_in_every_state() {
    check(DISABLE, &[], [0, 0, 0, 0, 0, SHUT_DOWN]);
    for state in [InitPending, InitDone, LpsDone, ConfigDone, Ready] {
        let machine = in_state(state, &[]);
        machine.ok(1, DISABLE, &[]);
        for leaf in [
            INIT, LP_INIT, RD, CONFIG, KEY_CONFIG, SHUTDOWN, UPDATE, PAGE_RDMD,
        ] {
            assert_eq!(machine.status(leaf, &[]), SHUT_DOWN);
        }
        machine.ok(0, LP_SHUTDOWN, &[]);
        assert_eq!(machine.state("handoff"), "none");
    }
}

#[test]
fn a_module_without_disable_does_not_know_the_leaf() {
    let before_ready = in_state(LpsDone, &["sys_disable=off"]);
    assert_eq!(before_ready.status(DISABLE, &[]), NOT_READY);
    let ready = in_state(Ready, &["sys_disable=off"]);
    assert_eq!(ready.status(DISABLE, &[]), BAD_RAX);
    assert_eq!(ready.state("module"), "SYS_READY");
}

/// The source of 1.5.25 has no such leaf.
#[test]
fn no_published_module_knows_disable() {
    for profile in [
        "tdx-1.5.16",
        "tdx-2.0.08",
        "tdx-1.5.25",
        "no-preserving",
        "rbp-bug",
    ] {
        let machine = in_state(Ready, &[&format!("profile={profile}")]);
        assert_eq!(machine.status(DISABLE, &[]), BAD_RAX, "{profile}");
        assert_eq!(machine.state("module"), "SYS_READY", "{profile}");
    }
    for profile in ["connect", "connect-next", "connect-wall-clock"] {
        let machine = in_state(Ready, &[&format!("profile={profile}")]);
        machine.ok(0, DISABLE, &[]);
    }
}

#[test]
fn lp_shutdown_does_nothing_anywhere() {
    check(LP_SHUTDOWN, &[], [0; 6]);
    let machine = in_state(Ready, &[]);
    machine.ok(0, LP_SHUTDOWN, &[]);
    assert_eq!(machine.state("module"), "SYS_READY");
}

#[test]
fn reserved_rax_bits_come_first() {
    for state in STATES {
        let machine = in_state(state, &[]);
        for bit in 24..63 {
            for leaf in [RD, INIT, LP_SHUTDOWN, 9999 & 0xFFFF] {
                assert_eq!(
                    machine.status(leaf | (1 << bit), &[]),
                    BAD_RAX,
                    "bit {bit} in {state:?}"
                );
            }
        }
    }
}

#[test]
fn versions_come_before_the_state() {
    for state in STATES {
        let machine = in_state(state, &[]);
        for leaf in [9, 17, 31, 32, 34, 35, 36, 37, 44, 52, 69, 1000] {
            assert_eq!(
                machine.status(leaf | V1, &[]),
                BAD_RAX,
                "leaf {leaf} in {state:?}"
            );
        }
        // These check their version themselves, if the state lets them.
        for leaf in [3, 11, 22, 23, 26, 30] {
            let expected = match state {
                Ready => continue,
                Shutdown => SHUT_DOWN,
                _ => NOT_READY,
            };
            assert_eq!(
                machine.status(leaf | V1, &[]),
                expected,
                "leaf {leaf} in {state:?}"
            );
        }
    }
}

#[test]
fn two_unknown_leaves_have_versions() {
    // Their version is theirs to check, so that the state comes first, as without a version.
    for leaf in [23 | V1, 30 | V1, 23 | (255 << 16)] {
        let expected = [
            NOT_READY, NOT_READY, NOT_READY, NOT_READY, BAD_RAX, SHUT_DOWN,
        ];
        check(leaf, &[], expected);
    }
}

#[test]
fn a_module_that_cannot_be_updated_does_not_know_shutdown_and_update() {
    for (state, expected) in [
        (InitPending, NOT_READY),
        (InitDone, NOT_READY),
        (LpsDone, NOT_READY),
        (ConfigDone, NOT_READY),
        (Ready, BAD_RAX),
    ] {
        let machine = in_state(state, &["profile=no-preserving", "update_version=1"]);
        for leaf in [SHUTDOWN, UPDATE] {
            assert_eq!(machine.status(leaf, &[]), expected, "{leaf} in {state:?}");
        }
        // Then it has no versions of it either.
        assert_eq!(machine.status(UPDATE | V1, &[]), BAD_RAX, "{state:?}");
    }
}

#[test]
fn unknown_leaves_come_last() {
    let expected = [
        NOT_READY, NOT_READY, NOT_READY, NOT_READY, BAD_RAX, SHUT_DOWN,
    ];
    for leaf in [5, 12, 46, 99, 255, 0xFFFF] {
        check(leaf, &[], expected);
    }
    // Entering a TD is not modelled.
    check(VP_ENTER, &[], expected);
}

#[test]
fn td_leaves_need_a_ready_module() {
    for leaf in [
        1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 20, 21, 22, 24, 26, 28, 29, 38, 40, 41, 43,
    ] {
        for state in STATES {
            let status = in_state(state, &[]).status(leaf, &[1]);
            match state {
                Shutdown => assert_eq!(status, SHUT_DOWN),
                Ready => assert!(status != NOT_READY && status != SHUT_DOWN, "leaf {leaf}"),
                _ => assert_eq!(status, NOT_READY, "leaf {leaf} in {state:?}"),
            }
        }
    }
}

#[test]
fn versions_that_an_older_module_does_not_know() {
    for state in STATES {
        let machine = match state {
            Shutdown => continue,
            state => in_state(state, &["profile=tdx-1.5.16"]),
        };
        assert_eq!(machine.status(CONFIG | V1, &[]), BAD_RAX, "{state:?}");
        assert_eq!(machine.status(UPDATE | V1, &[]), BAD_RAX, "{state:?}");
    }
    let machine = in_state(LpsDone, &["profile=tdx-1.5.25"]);
    assert_eq!(machine.status(CONFIG | V1, &[]), BAD_RAX);
}

/// R8 of TDH.SYS.INIT version 1: no address.
const NO_ADDRESS: u64 = 0x000F_FFFF_FFFF_FFC0;
const BAD_R8: u64 = 0xC000_0100_0000_0008;

#[test]
fn init_is_told_where_fatal_errors_go() {
    let vector = |kind: u64, vector: u64| NO_ADDRESS | (kind << 54) | (vector << 56);
    let mut bad = vec![
        1 << 52,
        64 << 45,
        u64::MAX,
        BUFFER | (1 << 52),
        BUFFER | (1 << 53),
        vector(1, 0),
        vector(1, 15),
    ];
    bad.extend((0..6).map(|bit| BUFFER | (1 << bit)));
    for r8 in bad {
        let machine = Machine::new(&[]);
        assert_eq!(machine.status(INIT | V1, &[0, 0, r8]), BAD_R8, "{r8:#x}");
        assert_eq!(machine.state("module"), "SYSINIT_PENDING");
        // It may be tried again; version 0 does not look there.
        machine.ok(0, INIT, &[0, 0, r8]);
    }
    for r8 in [
        0,
        BUFFER + 64,
        BUFFER | (63 << 45),
        NO_ADDRESS,
        vector(0, 3),
        vector(1, 16),
        vector(1, 255),
        vector(2, 0),
        vector(3, 0),
    ] {
        Machine::new(&[]).ok(0, INIT | V1, &[0, 0, r8]);
    }
    // Random numbers come before.
    let machine = Machine::new(&[]);
    machine.control("fault add leaf=TDH.SYS.INIT no-entropy");
    let status = machine.status(INIT | V1, &[0, 0, u64::MAX]);
    assert_eq!(status, 0x8000_0203_0000_0000);
}

#[test]
fn init_returns_zeros_whatever_comes_of_it() {
    for (leaf, rcx, status) in [
        (INIT, 0, 0),
        (INIT | V1, 0, 0),
        (INIT, 1, BAD_RCX),
        (INIT | (2 << 16), 0, BAD_RAX),
    ] {
        let machine = Machine::new(&[]);
        let regs = machine.call(1, leaf, &[rcx, 7, NO_ADDRESS, 7, 7, 7]);
        assert_eq!(regs.rax, status);
        assert_eq!([regs.rcx, regs.rdx, regs.r8, regs.r9, regs.r10], [0; 5]);
        // R11 is none of its outputs.
        assert_eq!(regs.r11, 7);
    }
}

#[test]
fn init_needs_random_numbers() {
    let machine = Machine::new(&[]);
    machine.control("fault add leaf=TDH.SYS.INIT no-entropy");
    assert_eq!(machine.status(INIT, &[]), 0x8000_0203_0000_0000);
    assert_eq!(machine.status(INIT, &[]), 0);
}

#[test]
fn a_module_can_fail_by_itself() {
    let machine = Machine::new(&["sys_init_status=0xC000050D00000000"]);
    assert_eq!(machine.status(INIT, &[]), 0xC000_050D_0000_0000);
    assert_eq!(machine.state("module"), "SYSINIT_PENDING");
    let machine = Machine::new(&["lp_init_status=0xC000050D00000000"]);
    machine.ok(0, INIT, &[]);
    assert_eq!(machine.status(LP_INIT, &[]), 0xC000_050D_0000_0000);
}

#[test]
fn lp_init_is_per_lp() {
    let machine = Machine::new(&[]);
    machine.ok(1, INIT, &[]);
    machine.ok(1, LP_INIT, &[]);
    assert_eq!(machine.call(1, LP_INIT, &[]).rax, 0xC000_0503_0000_0000);
    assert_eq!(
        machine.call(0, RD, &[0, FEATURES0]).rax,
        0xC000_0502_0000_0000
    );
    machine.ok(1, RD, &[0, FEATURES0]);
    // An LP that was not brought up blocks what counts them.
    let [rcx, rdx] = machine.put_tdmrs(&[tdmr_info(1, PAMTS)]);
    assert_eq!(
        machine.call(1, CONFIG, &[rcx, rdx, 64]).rax,
        0xC000_050C_0000_0000
    );
    assert_eq!(machine.call(1, UPDATE, &[]).rax, 0xC000_0508_0000_0000);
    machine.ok(0, LP_INIT, &[]);
    machine.ok(1, CONFIG, &[rcx, rdx, 64]);
}

#[test]
fn key_config_is_per_package() {
    let machine = Machine::with_lps(&[0, 0, 1, 1], &[]);
    machine.initialise();
    machine.configure();
    machine.ok(1, KEY_CONFIG, &[]);
    assert_eq!(machine.call(0, KEY_CONFIG, &[]).rax, 0x0000_0815_0000_0000);
    assert_eq!(machine.call(2, TDMR_INIT, &[GIB]).rax, NOT_READY);
    machine.control("fault add leaf=TDH.SYS.KEY.CONFIG no-entropy");
    assert_eq!(machine.call(2, KEY_CONFIG, &[]).rax, 0x8000_0800_0000_0000);
    machine.control("key-hardware-busy 2");
    for _ in 0..2 {
        assert_eq!(machine.call(3, KEY_CONFIG, &[]).rax, 0x8000_0200_0000_00BB);
    }
    machine.ok(3, KEY_CONFIG, &[]);
    assert_eq!(machine.state("module"), "SYS_READY");
    assert_eq!(machine.call(2, KEY_CONFIG, &[]).rax, 0xC000_0507_0000_0000);
}

#[test]
fn tdmr_init_advances_4_mib_a_call_and_says_so_every_gib() {
    let machine = in_state(Ready, &[]);
    for call in 1..=256 {
        let next = machine.ok(0, TDMR_INIT, &[GIB]).rdx;
        assert_eq!(next, if call < 256 { GIB } else { 2 * GIB });
    }
    let regs = machine.call(0, TDMR_INIT, &[GIB]);
    assert_eq!((regs.rax, regs.rdx), (0x0000_0A03_0000_0000, 0));
    // The other TDMR has its own progress.
    assert_eq!(machine.ok(1, TDMR_INIT, &[4 * GIB]).rdx, 4 * GIB);
}

#[test]
fn tdmr_init_takes_a_tdmrs_base_only() {
    let machine = in_state(Ready, &[]);
    for bad in [0, 2 * GIB, GIB + 4096, GIB | (1 << 45), 1 << 52, u64::MAX] {
        let regs = machine.call(0, TDMR_INIT, &[bad, 7]);
        assert_eq!((regs.rax, regs.rdx), (BAD_RCX, 0), "{bad:#x}");
    }
}

#[test]
fn dynamic_pamt_initialises_16_mib_a_call() {
    let machine = Machine::new(&["profile=tdx-2.0.08"]);
    machine.initialise();
    let mut info = tdmr_info(1, PAMTS);
    info[7] = 0x8000; // a bit a page
    let [rcx, rdx] = machine.put_tdmrs(&[info]);
    assert_eq!(
        machine.status(CONFIG, &[rcx, rdx, 64]),
        0xC000_0A10_0000_0000
    );
    machine.ok(0, CONFIG, &[rcx, rdx, 64 | (1 << 16)]);
    machine.configure_keys();
    let calls = (1..).find(|_| machine.ok(0, TDMR_INIT, &[GIB]).rdx == 2 * GIB);
    assert_eq!(calls, Some(64));
}

#[test]
fn rd_knows_every_field_that_linux_reads() {
    let machine = in_state(Ready, &["profile=tdx-1.5.25"]);
    let fields = [
        (0x0800_0001_0000_0003, 5),
        (0x0800_0001_0000_0004, 1),
        (0x0800_0001_0000_0005, 25),
        (0x8900_0001_0000_0000, 1),
        (0x8900_0001_0000_0001, 0),
        (0x8900_0000_0000_0002, 1),
        (0x8900_0001_0000_0003, 13),
        (0x9100_0001_0000_0008, 64),
        (0x9100_0001_0000_0009, 16),
        (0x9100_0001_0000_0010, 16),
        (0x9100_0001_0000_0011, 16),
        (0x9100_0001_0000_0012, 16),
        (0x9800_0001_0000_0000, 4096),
        (0x9800_0001_0000_0100, 24576),
        (0x9800_0001_0000_0200, 24576),
        (0x1900_0003_0000_0001, 0),
        (0x1900_0003_0000_0003, 3),
        (0x9900_0001_0000_0004, 1),
        (0x9900_0003_0000_0400, 0xFFFF_FFFF_8000_0008),
        (0x9900_0003_0000_0500, 0x00FF_0000),
        (0x9900_0003_0000_0501, 0),
    ];
    for (field, value) in fields {
        assert_eq!(machine.rd(field), value, "{field:#x}");
    }
    let features = machine.rd(FEATURES0);
    for bit in [1, 18, 20, 47] {
        assert_ne!(features & (1 << bit), 0, "bit {bit}");
    }
    for bit in [6, 23, 36, 39] {
        assert_eq!(features & (1 << bit), 0, "bit {bit}");
    }
    assert_ne!(
        machine.rd(0x1900_0003_0000_0000) & (1 << 28),
        0,
        "SEPT_VE_DISABLE"
    );
    assert_eq!(machine.rd(0x1900_0003_0000_0002) & 3, 3);
    assert!(machine.rd(0x9900_0001_0000_0008) >= 64);
}

#[test]
fn rd_ignores_what_does_not_tell_fields_apart() {
    let machine = in_state(Ready, &[]);
    let update_version = machine.rd(UPDATE_VERSION);
    for ignored in [
        1 << 63,
        1 << 54,
        1 << 53,
        1 << 52,
        1 << 51,
        1 << 50,
        2 << 32,
    ] {
        assert_eq!(
            machine.rd(UPDATE_VERSION ^ ignored),
            update_version,
            "{ignored:#x}"
        );
    }
    for reserved in [1 << 62, 1 << 55, 1 << 49, 1 << 38, 1 << 34, 1 << 24] {
        let regs = machine.call(0, RD, &[0, UPDATE_VERSION | reserved]);
        let expected = (0xC000_0C00_0000_0000, u64::MAX, 0);
        assert_eq!((regs.rax, regs.rdx, regs.r8), expected, "{reserved:#x}");
    }
}

#[test]
fn rd_refuses_what_is_not_there_or_not_readable() {
    let machine = in_state(Ready, &["unreadable_fields=['0x8900000100000001']"]);
    for field in [
        0,
        0x0800_0001_0000_0006,
        0x9900_0003_0000_0401,
        0x9900_0003_0000_0502,
    ] {
        let regs = machine.call(0, RD, &[0, field]);
        let expected = (0xC000_0C00_0000_0000, u64::MAX, 0);
        assert_eq!((regs.rax, regs.rdx, regs.r8), expected, "{field:#x}");
    }
    let regs = machine.call(0, RD, &[0, 0x8900_0001_0000_0001]);
    assert_eq!(
        (regs.rax, regs.rdx, regs.r8),
        (0xC000_0C02_0000_0000, u64::MAX, 0)
    );
}

#[test]
fn rd_leads_from_the_null_id_through_all_fields() {
    let machine = in_state(
        Ready,
        &[
            "profile=tdx-1.5.25",
            "unreadable_fields=['0x8900000100000001']",
        ],
    );
    // The context's bits do not matter in the null id.
    for null in [u64::MAX, !(7 << 52)] {
        let regs = machine.call(0, RD, &[0, null]);
        assert_eq!(regs.rax, 0x0000_0C0B_0000_0000);
        assert_eq!(regs.rdx, 0x0800_0001_0000_0003);
    }
    let mut next = 0x0800_0001_0000_0003;
    let mut seen = Vec::new();
    while next != u64::MAX {
        seen.push(next);
        next = machine.ok(0, RD, &[0, next]).rdx;
    }
    assert_eq!(seen.len(), 23);
    assert!(!seen.contains(&0x8900_0001_0000_0001));
    // Class and field code ascend; class is in bits 61:56.
    let keys: Vec<u64> = seen.iter().map(|id| id & 0x3F00_0000_00FF_FFFF).collect();
    assert!(keys.is_sorted());
    // From within a field, the next one is the next field.
    assert_eq!(machine.ok(0, RD, &[0, 0x9900_0003_0000_0500]).rdx, u64::MAX);
}

/// Every element in a list of TDH.SYS.RDALL, by id.
fn listed(machine: &Machine) -> Vec<(u64, u64)> {
    let (size, sequences) = (machine.ram.get(BUFFER, 2), machine.ram.get(BUFFER + 2, 2));
    let mut offset = 8;
    let mut all = Vec::new();
    for _ in 0..sequences {
        let header = machine.ram.get(BUFFER + offset, 8);
        let elements = (((header >> 34) & 0xF) + 1) * (((header >> 38) & 0x1FF) + 1);
        offset += 8;
        for index in 0..elements {
            let id = (header & !(0x1FFF << 34)) + index;
            all.push((id, machine.ram.get(BUFFER + offset, 8)));
            offset += 8;
        }
    }
    assert_eq!(offset, size);
    all
}

#[test]
fn rdall_lists_every_element_once() {
    let machine = in_state(
        Ready,
        &["profile=tdx-1.5.25", "unreadable_fields=0x8900000100000001"],
    );
    assert_eq!(machine.ok(0, RDALL, &[BUFFER, u64::MAX]).r8, u64::MAX);
    let all = listed(&machine);
    assert_eq!(all.len(), 24);
    for (id, value) in all {
        assert_eq!(machine.rd(id), value, "{id:#x}");
    }
    // From the middle on.
    machine.ok(0, RDALL, &[BUFFER, FEATURES0]);
    assert_eq!(machine.ram.get(BUFFER + 8, 8), FEATURES0);
    for bad in [BUFFER + 8, 3 * GIB] {
        let status = machine.status(RDALL, &[bad, u64::MAX]);
        assert_eq!(status, 0xC000_0100_0000_0002);
    }
    // A list begins with a field, not with an element in it.
    for bad in [1, 0x9900_0003_0000_0501] {
        assert_eq!(machine.status(RDALL, &[BUFFER, bad]), 0xC000_0C00_0000_0000);
    }
}

/// A module with many CPUID leaves to configure, more than a profile may have.
fn with_cpuid_leaves(count: u32) -> Machine {
    let mut config = SimConfig::from_args(vec![0, 1], &["mem=4G"]).unwrap();
    config.module.cpuid_config = (0..count)
        .map(|leaf| CpuidConfig {
            leaf,
            subleaf: 0,
            configurable: [leaf, 0, 7, 0],
        })
        .collect();
    let machine = Machine::with_config(config);
    machine.initialise();
    machine
}

#[test]
fn info_shows_as_many_cpuid_leaves_as_it_has_room_for() {
    let machine = with_cpuid_leaves(48);
    machine.ok(0, INFO, &[BUFFER, 1024, BUFFER + 1024, 32]);
    assert_eq!(machine.ram.get(BUFFER + 128, 4), 37);
    assert_eq!(machine.ram.get(BUFFER + 132 + 36 * 24, 4), 36);
    assert_eq!(machine.rd(0x9900_0001_0000_0004), 48);
}

#[test]
fn rdall_goes_on_where_the_list_was_full() {
    let machine = with_cpuid_leaves(250);
    let mut next = u64::MAX;
    let mut all = Vec::new();
    let mut lists = 0;
    loop {
        next = machine.ok(0, RDALL, &[BUFFER, next]).r8;
        all.extend(listed(&machine));
        lists += 1;
        if next == u64::MAX {
            break;
        }
    }
    assert_eq!(lists, 2);
    assert_eq!(all.len(), 22 + 250 * 3 + 6);
    for (id, value) in all {
        assert_eq!(machine.rd(id), value, "{id:#x}");
    }
}

#[test]
fn rd_goes_from_field_to_field_not_from_element_to_element() {
    let machine = with_cpuid_leaves(3);
    let next = |field: u64| machine.ok(0, RD, &[0, field]).rdx;
    assert_eq!(next(0x9900_0003_0000_0400), 0x9900_0003_0000_0401);
    assert_eq!(next(0x9900_0003_0000_0402), 0x9900_0003_0000_0500);
    assert_eq!(next(0x9900_0003_0000_0500), 0x9900_0003_0000_0502);
    assert_eq!(next(0x9900_0003_0000_0501), 0x9900_0003_0000_0502);
    assert_eq!(machine.rd(0x9900_0003_0000_0505), 7);
}

#[test]
fn connect_fields_follow_the_configuration() {
    let connect = [
        0x3000_0001_0000_0001,
        0x3000_0001_0000_0002,
        0x3000_0001_0000_0003,
        0x3000_0001_0000_0007,
    ];
    let ext_required = 0x3100_0000_0000_0001;
    let pool = 0x3100_0002_0000_0000;
    let machine = in_state(LpsDone, &["profile=connect"]);
    let read = |machine: &Machine| {
        let fields = connect.iter().chain([&ext_required, &pool]);
        fields.map(|field| machine.rd(*field)).collect::<Vec<_>>()
    };
    assert_eq!(read(&machine), [0; 6]);
    let [rcx, rdx] = machine.put_tdmrs(&[tdmr_info(1, PAMTS)]);
    machine.ok(0, CONFIG | V1, &[rcx, rdx, 64, 1 << 6]);
    assert_eq!(read(&machine), [1, 2, 4, 1, 1, 2048]);

    // Version 0, and version 1 without the bit, leave TDX Connect off.
    for (leaf, r9) in [(CONFIG, 1 << 6), (CONFIG | V1, 0)] {
        let machine = in_state(LpsDone, &["profile=connect"]);
        let [rcx, rdx] = machine.put_tdmrs(&[tdmr_info(1, PAMTS)]);
        machine.ok(0, leaf, &[rcx, rdx, 64, r9]);
        assert_eq!(read(&machine), [0; 6]);
    }
    let machine = in_state(LpsDone, &["profile=tdx-1.5.25"]);
    assert_eq!(machine.status(RD, &[0, pool]), 0xC000_0C00_0000_0000);
}

#[test]
fn info_fills_both_structures() {
    let machine = in_state(LpsDone, &["profile=tdx-1.5.25"]);
    let cmrs = BUFFER + 1024;
    let regs = machine.ok(0, INFO, &[BUFFER, 1024, cmrs, 32]);
    assert_eq!((regs.rdx, regs.r9), (1024, 32));
    assert_eq!(machine.ram.get(BUFFER + 4, 4), 0x8086);
    assert_eq!(machine.ram.get(BUFFER + 14, 2), 5);
    assert_eq!(machine.ram.get(BUFFER + 16, 2), 1);
    assert_eq!(machine.ram.get(BUFFER + 18, 1), 1);
    assert_eq!(machine.ram.get(BUFFER + 32, 2), 64);
    assert_eq!(machine.ram.get(BUFFER + 128, 4), 1);
    assert_eq!(machine.ram.get(BUFFER + 132, 4), 0x8000_0008);
    assert_eq!(machine.ram.get(cmrs, 8), MIB);
    assert_eq!(machine.ram.get(cmrs + 16, 8), 4 * GIB);
    assert_eq!(machine.ram.get(cmrs + 32, 8), 0);
    for (operands, id) in [
        ([BUFFER + 512, 1024, cmrs, 32], 1),
        ([64 << 45, 1024, cmrs, 32], 1),
        ([3 * GIB, 1024, cmrs, 32], 1),
        ([BUFFER, 1023, cmrs, 32], 2),
        ([BUFFER, 1024, cmrs + 16, 32], 8),
        ([BUFFER, 1024, 3 * GIB, 32], 8),
        ([BUFFER, 1024, cmrs, 31], 9),
    ] {
        let regs = machine.call(0, INFO, &operands);
        assert_eq!(
            (regs.rax, regs.rdx, regs.r9),
            (0xC000_0100_0000_0000 | id, 0, 0)
        );
    }
}

#[test]
fn without_seam_or_module_the_instruction_says_so() {
    let machine = Machine::new(&["seam=off"]);
    assert_eq!(machine.raw(0, INIT, &[]).0, Outcome::GeneralProtection);
    assert_eq!(
        machine.raw(0, SEAMLDR_INFO, &[]).0,
        Outcome::GeneralProtection
    );
    let machine = Machine::new(&["module_loaded=off"]);
    let (outcome, regs) = machine.raw(0, INIT, &[5]);
    assert_eq!(
        (outcome, regs.rax, regs.rcx),
        (Outcome::VmFailInvalid, INIT, 5)
    );
    machine.ok(0, SEAMLDR_INFO, &[BUFFER]);
    let machine = Machine::new(&["seamldr_loaded=off"]);
    assert_eq!(
        machine.raw(0, SEAMLDR_INFO, &[BUFFER]).0,
        Outcome::VmFailInvalid
    );
    machine.ok(0, INIT, &[]);
}

#[test]
fn a_reset_starts_from_the_beginning() {
    let machine = in_state(Ready, &["latency.TDH.SYS.RD=1us"]);
    machine.control("fault add leaf=TDH.SYS.INIT gp");
    machine.control("latency clear");
    machine.sim.reset(&machine.clock);
    assert_eq!(machine.state("module"), "SYSINIT_PENDING");
    assert_eq!(machine.control("fault list"), "");
    assert_eq!(machine.control("latency list"), "leaf=TDH.SYS.RD ns=1000\n");
    machine.make_ready();
}

#[test]
fn memory_operands_are_outside_the_seam_range() {
    let range = 0x1000_0000;
    let machine = in_state(
        LpsDone,
        &["seamrr_base=0x10000000", "seamrr_size=0x2000000"],
    );
    let tdmrs = [tdmr_info(1, PAMTS + 64 * MIB)];
    let [array, count] = machine.put_tdmrs(&tdmrs);
    machine.ram.put(range, &[TDMR_INFOS]);
    machine.ram.put(range + 512, &tdmrs[0]);
    for inside in [range, range | (5 << 45)] {
        let status = |leaf, operands: &[u64]| machine.status(leaf, operands);
        assert_eq!(status(CONFIG, &[inside, count, 64]), BAD_RCX);
        machine.ram.put(TDMR_ARRAY, &[inside + 512]);
        assert_eq!(status(CONFIG, &[array, count, 64]), BAD_RCX);
        assert_eq!(status(RDALL, &[inside, u64::MAX]), 0xC000_0100_0000_0002);
        assert_eq!(status(INFO, &[inside, 1024, BUFFER, 32]), BAD_RCX);
        assert_eq!(status(SEAMLDR_INFO, &[inside]), 1 << 63);
        assert_eq!(status(SEAMLDR_SEAMINFO, &[inside]), 1 << 63);
    }
    // Right behind it.
    machine.ok(0, SEAMLDR_INFO, &[range + 0x200_0000]);
    machine.put_tdmrs(&tdmrs);
    machine.ok(0, CONFIG, &[array, count, 64]);
}

#[test]
fn memory_operands_may_carry_a_shared_keyid() {
    let machine = in_state(LpsDone, &[]);
    let keyid = 5 << 45;
    machine.ok(
        0,
        INFO,
        &[BUFFER | keyid, 1024, (BUFFER + 1024) | keyid, 32],
    );
    let mut byte = [0];
    assert!(machine.ram.read(BUFFER + 18, &mut byte) && byte == [1]);
}
