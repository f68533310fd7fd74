// SPDX-License-Identifier: GPL-2.0

//! TDH.SYS.CONFIG: its operands, and every check of the TDMRs.

use crate::machine::*;

/// A machine that waits for TDH.SYS.CONFIG.
fn pending(args: &[&str]) -> Machine {
    let machine = Machine::new(args);
    machine.initialise();
    machine
}

const RCX: u64 = 0xC000_0100_0000_0001;
const RDX: u64 = 0xC000_0100_0000_0002;
const R8: u64 = 0xC000_0100_0000_0008;
const R9: u64 = 0xC000_0100_0000_0009;
const R11: u64 = 0xC000_0100_0000_000B;

/// TDH.SYS.CONFIG with legal operands but for those changed.
fn config(machine: &Machine, leaf: u64, change: impl Fn(&mut [u64; 6])) -> u64 {
    let [rcx, rdx] = machine.put_tdmrs(&[tdmr_info(1, PAMTS), tdmr_info(4, PAMTS + 16 * MIB)]);
    let mut operands = [rcx, rdx, 64, 0, 0, 0];
    change(&mut operands);
    machine.status(leaf, &operands)
}

#[test]
fn operands() {
    let machine = pending(&[]);
    for rcx in [
        TDMR_ARRAY + 8,
        TDMR_ARRAY + 256,
        TDMR_ARRAY | (64 << 45),
        1 << 52,
        3 * GIB,
    ] {
        assert_eq!(
            config(&machine, CONFIG, |regs| regs[0] = rcx),
            RCX,
            "{rcx:#x}"
        );
    }
    for rdx in [0, 65, 1 << 32, u64::MAX] {
        assert_eq!(
            config(&machine, CONFIG, |regs| regs[1] = rdx),
            RDX,
            "{rdx:#x}"
        );
    }
    for r8 in [0, 63, 128, 64 | (1 << 16), 64 | (1 << 17), 64 | (1 << 63)] {
        assert_eq!(config(&machine, CONFIG, |regs| regs[2] = r8), R8, "{r8:#x}");
    }
    // In this order.
    assert_eq!(
        config(&machine, CONFIG, |regs| (regs[0], regs[1], regs[2]) =
            (1, 0, 0)),
        RCX
    );
    assert_eq!(
        config(&machine, CONFIG, |regs| (regs[1], regs[2]) = (0, 0)),
        RDX
    );
    // Nothing has changed: it may be tried again, with the highest KeyID this time.
    assert_eq!(machine.state("module"), "SYSINIT_DONE");
    assert_eq!(config(&machine, CONFIG, |regs| regs[2] = 127), 0);
    assert_eq!(machine.state("module"), "SYSCONFIG_DONE");
}

#[test]
fn a_keyid_stays_reserved_when_a_later_check_fails() {
    let machine = pending(&[]);
    let not_free = 0xC000_0820_0000_0000;
    // Refused for R8 itself, and before: KeyIDs 70 and 71 stay free.
    assert_eq!(
        config(&machine, CONFIG, |regs| regs[2] = 70 | (1 << 17)),
        R8
    );
    assert_eq!(
        config(&machine, CONFIG, |regs| (regs[1], regs[2]) = (0, 71)),
        RDX
    );
    // Refused for what comes behind.
    let bad_features = config(&machine, CONFIG | V1, |regs| {
        (regs[2], regs[3]) = (72, 1 << 63)
    });
    assert_eq!(bad_features, R9);
    machine.ram.put(TDMR_ARRAY, &[1]);
    assert_eq!(machine.status(CONFIG, &[TDMR_ARRAY, 1, 73]), RCX);
    assert_eq!(config(&machine, CONFIG, |regs| regs[2] = 73), 0);
    machine.configure_keys();
    machine.initialise_tdmrs();
    for (keyid, status) in [(72, not_free), (73, not_free), (70, 0), (71, 0)] {
        let tdr = GIB + 32 * MIB + keyid * 0x1000;
        assert_eq!(machine.status(MNG_CREATE, &[tdr, keyid]), status, "{keyid}");
    }
    let keys = machine.control("keys");
    assert!(
        keys.contains("keyid=72 state=reserved\nkeyid=73 state=global\n"),
        "{keys}"
    );
}

#[test]
fn version_0_looks_at_no_further_operand() {
    for profile in ["profile=tdx-1.5.16", "profile=connect"] {
        let machine = pending(&[profile]);
        assert_eq!(config(&machine, CONFIG, |regs| regs[3..].fill(u64::MAX)), 0);
        assert_eq!(machine.state("configured"), "0x0");
    }
}

#[test]
fn version_1_takes_features_that_the_module_has() {
    let machine = pending(&["profile=connect"]);
    for bit in [36, 50, 63] {
        assert_eq!(
            config(&machine, CONFIG | V1, |regs| regs[3] = 1 << bit),
            R9,
            "bit {bit}"
        );
    }
    assert_eq!(
        config(&machine, CONFIG | V1, |regs| (regs[2], regs[3]) =
            (0, 1 << 63)),
        R8
    );
    assert_eq!(
        config(&machine, CONFIG | V1, |regs| regs[3] = (1 << 6) | (1 << 39)),
        0
    );
    assert_eq!(machine.state("configured"), "0x8000000040");
    let machine = pending(&["profile=connect"]);
    assert_eq!(
        config(&machine, CONFIG | (2 << 16), |_| {}),
        0xC000_0100_0000_0000
    );
}

#[test]
fn a_module_may_want_a_wall_clock() {
    let machine = pending(&["profile=connect-wall-clock"]);
    assert_eq!(config(&machine, CONFIG | V1, |regs| regs[3] = 1 << 6), R11);
    assert_eq!(
        config(&machine, CONFIG | V1, |regs| (regs[3], regs[5]) =
            (1 << 63, 0)),
        R9
    );
    assert_eq!(machine.state("module"), "SYSINIT_DONE");
    assert_eq!(
        config(&machine, CONFIG | V1, |regs| (regs[3], regs[5]) =
            (1 << 6, 1)),
        0
    );
    let machine = pending(&["profile=connect-wall-clock"]);
    assert_eq!(config(&machine, CONFIG, |_| {}), 0);
}

/// Index of a word of TDMR_INFO.
const BASE: usize = 0;
const SIZE: usize = 1;
const PAMT_1G: usize = 2;
const PAMT_2M: usize = 4;
const PAMT_4K: usize = 6;
/// Offset of a reserved area; its size follows.
const fn area(index: usize) -> usize {
    8 + 2 * index
}

/// Two good TDMRs, GiB 1 and GiB 4, changed; the status of TDH.SYS.CONFIG.
fn tdmrs(change: impl Fn(&mut [[u64; 40]; 2])) -> u64 {
    let machine = pending(&[]);
    let mut infos = [tdmr_info(1, PAMTS), tdmr_info(4, PAMTS + 16 * MIB)];
    change(&mut infos);
    let [rcx, rdx] = machine.put_tdmrs(&infos);
    let status = machine.status(CONFIG, &[rcx, rdx, 64]);
    let state = machine.state("module");
    assert_eq!(
        state,
        if status == 0 {
            "SYSCONFIG_DONE"
        } else {
            "SYSINIT_DONE"
        }
    );
    status
}

const INVALID_TDMR: u64 = 0xC000_0A00_0000_0000;
const NON_ORDERED_TDMR: u64 = 0xC000_0A01_0000_0000;
const TDMR_OUTSIDE: u64 = 0xC000_0A02_0000_0000;
const INVALID_PAMT: u64 = 0xC000_0A10_0000_0000;
const PAMT_OUTSIDE: u64 = 0xC000_0A11_0000_0000;
const PAMT_OVERLAP: u64 = 0xC000_0A12_0000_0000;
const INVALID_RESERVED: u64 = 0xC000_0A20_0000_0000;
const NON_ORDERED_RESERVED: u64 = 0xC000_0A21_0000_0000;

#[test]
fn tdmr_info_addresses() {
    assert_eq!(tdmrs(|_| {}), 0);
    for bad in [TDMR_INFOS + 64, TDMR_INFOS | (64 << 45), 1 << 52, 3 * GIB] {
        let machine = pending(&[]);
        let [rcx, rdx] = machine.put_tdmrs(&[tdmr_info(1, PAMTS), tdmr_info(4, PAMTS + 16 * MIB)]);
        machine.ram.put(TDMR_ARRAY + 8, &[bad]);
        assert_eq!(machine.status(CONFIG, &[rcx, rdx, 64]), RCX, "{bad:#x}");
    }
    // The first TDMR is checked to the end before the second one is looked at.
    let machine = pending(&[]);
    let mut bad = tdmr_info(1, PAMTS);
    bad[SIZE] = 1;
    let [rcx, rdx] = machine.put_tdmrs(&[bad, tdmr_info(4, PAMTS)]);
    machine.ram.put(TDMR_ARRAY + 8, &[1]);
    assert_eq!(machine.status(CONFIG, &[rcx, rdx, 64]), INVALID_TDMR);
}

#[test]
fn base_and_size() {
    let first =
        |base: u64, size: u64| tdmrs(move |infos| (infos[0][BASE], infos[0][SIZE]) = (base, size));
    assert_eq!(first(u64::MAX - GIB + 1, 2 * GIB), INVALID_TDMR);
    assert_eq!(first(GIB + 4096, GIB), INVALID_TDMR);
    assert_eq!(first(GIB, GIB + 4096), INVALID_TDMR);
    assert_eq!(first(GIB, 0), INVALID_TDMR);
    assert_eq!(first(1 << 52, GIB), INVALID_TDMR);
    assert_eq!(first(GIB | (1 << 45), GIB), INVALID_TDMR);
    assert_eq!(first((1 << 45) - GIB, 2 * GIB), INVALID_TDMR);
    assert_eq!(tdmrs(|infos| infos[1][SIZE] = 1), INVALID_TDMR | 1);
}

#[test]
fn order() {
    assert_eq!(tdmrs(|infos| infos[1][BASE] = 0), NON_ORDERED_TDMR | 1);
    assert_eq!(tdmrs(|infos| infos[1][BASE] = GIB), NON_ORDERED_TDMR | 1);
    // The order comes before the alignment, an overflow before the order.
    assert_eq!(tdmrs(|infos| infos[1][BASE] = 4096), NON_ORDERED_TDMR | 1);
    assert_eq!(
        tdmrs(|infos| (infos[1][BASE], infos[1][SIZE]) = (4096, u64::MAX)),
        INVALID_TDMR | 1
    );
    assert_eq!(
        tdmrs(|infos| (infos[1][BASE], infos[1][SIZE]) = (GIB + 4096, 0)),
        NON_ORDERED_TDMR | 1
    );
}

#[test]
fn reserved_areas() {
    let areas = |list: &[[u64; 2]]| {
        let list = list.to_vec();
        tdmrs(move |infos| {
            for (index, [offset, size]) in list.iter().enumerate() {
                (infos[1][area(index)], infos[1][area(index) + 1]) = (*offset, *size);
            }
        })
    };
    assert_eq!(areas(&[[0, 0x1000], [0x1000, 0x1000], [0x4000, 0x1000]]), 0);
    assert_eq!(areas(&[[0, GIB]]), 0);
    let all: Vec<[u64; 2]> = (0..16).map(|index| [index * 0x2000, 0x1000]).collect();
    assert_eq!(areas(&all), 0);
    assert_eq!(areas(&[[0, 0], [0x1000, 0x1000]]), NON_ORDERED_RESERVED | 1);
    assert_eq!(
        areas(&[[0, 0x1000], [0, 0], [0x4000, 0x1000]]),
        NON_ORDERED_RESERVED | 1 | (1 << 8)
    );
    assert_eq!(
        areas(&[[0x4000, 0x1000], [0x2000, 0x1000]]),
        NON_ORDERED_RESERVED | 1 | (1 << 8)
    );
    assert_eq!(
        areas(&[[0x4000, 0x2000], [0x5000, 0x1000]]),
        NON_ORDERED_RESERVED | 1 | (1 << 8)
    );
    assert_eq!(areas(&[[0, u64::MAX]]), INVALID_RESERVED | 1);
    assert_eq!(areas(&[[0x800, 0x1000]]), INVALID_RESERVED | 1);
    assert_eq!(areas(&[[0x1000, 0x800]]), INVALID_RESERVED | 1);
    assert_eq!(
        areas(&[[0, 0x1000], [GIB - 0x1000, 0x2000]]),
        INVALID_RESERVED | 1 | (1 << 8)
    );
    assert_eq!(areas(&[[u64::MAX, 0x1000]]), INVALID_RESERVED | 1);
}

#[test]
fn pamts_by_themselves() {
    for (pamt, level, size) in [
        (PAMT_1G, 2, 0x1000),
        (PAMT_2M, 1, 0x2000),
        (PAMT_4K, 0, 4 * MIB),
    ] {
        let expected = INVALID_PAMT | 1 | (level << 8);
        let second = |base: Option<u64>, size: u64| {
            tdmrs(move |infos| {
                infos[1][pamt] = base.unwrap_or(infos[1][pamt]);
                infos[1][pamt + 1] = size;
            })
        };
        assert_eq!(second(None, size - 0x1000), expected);
        assert_eq!(second(None, size + 0x800), expected);
        assert_eq!(second(Some(PAMTS + 0x800), size), expected);
        assert_eq!(second(Some(u64::MAX - 0xFFF), size), expected);
        assert_eq!(second(Some(1 << 52), size), expected);
        assert_eq!(second(Some(1 << 45), size), expected);
        assert_eq!(second(Some((1 << 45) - 0x1000), size + 0x1000), expected);
    }
    // 1 GiB, 2 MiB, 4 KiB.
    assert_eq!(
        tdmrs(|infos| (infos[0][PAMT_1G], infos[0][PAMT_4K]) = (1, 1)),
        INVALID_PAMT | (2 << 8)
    );
    assert_eq!(
        tdmrs(|infos| (infos[0][PAMT_2M], infos[0][PAMT_4K]) = (1, 1)),
        INVALID_PAMT | (1 << 8)
    );
    // Reserved areas come before.
    let both = tdmrs(|infos| (infos[0][PAMT_1G], infos[0][area(0) + 1]) = (1, 1));
    assert_eq!(both, INVALID_RESERVED);
}

#[test]
fn pamts_against_each_other() {
    for (pamt, level) in [(PAMT_1G, 2), (PAMT_2M, 1), (PAMT_4K, 0)] {
        for other in [PAMT_1G, PAMT_2M, PAMT_4K] {
            let status = tdmrs(|infos| infos[1][pamt] = infos[0][other]);
            assert_eq!(status, PAMT_OVERLAP | 1 | (level << 8), "{pamt} on {other}");
        }
    }
    assert_eq!(
        tdmrs(|infos| infos[0][PAMT_4K] = infos[0][PAMT_2M]),
        PAMT_OVERLAP
    );
    assert_eq!(
        tdmrs(|infos| infos[1][PAMT_4K] = infos[1][PAMT_1G]),
        PAMT_OVERLAP | 1 | (1 << 16)
    );
    let status = tdmrs(|infos| infos[1][PAMT_2M] = infos[1][PAMT_1G] - 0x1000);
    assert_eq!(status, PAMT_OVERLAP | 1 | (1 << 8) | (1 << 16));
}

#[test]
fn pamts_against_tdmrs() {
    // In its own TDMR, in an earlier one, and an earlier TDMR's in this one.
    assert_eq!(tdmrs(|infos| infos[0][PAMT_4K] = GIB), PAMT_OVERLAP);
    assert_eq!(
        tdmrs(|infos| infos[1][PAMT_2M] = GIB),
        PAMT_OVERLAP | 1 | (1 << 8)
    );
    let status = tdmrs(|infos| infos[0][PAMT_1G] = 4 * GIB);
    assert_eq!(status, PAMT_OVERLAP | (2 << 8) | (1 << 16));
    // In a reserved area they may lie.
    let reserve = |size: u64| {
        tdmrs(move |infos| {
            infos[0][PAMT_4K] = GIB + 16 * MIB;
            (infos[0][area(0)], infos[0][area(0) + 1]) = (16 * MIB, size);
        })
    };
    assert_eq!(reserve(4 * MIB), 0);
    assert_eq!(reserve(4 * MIB - 0x1000), PAMT_OVERLAP);
    let other = |size: u64| {
        tdmrs(move |infos| {
            infos[0][PAMT_4K] = 4 * GIB;
            infos[1][area(0) + 1] = size;
        })
    };
    assert_eq!(other(4 * MIB), 0);
    assert_eq!(other(0x1000), PAMT_OVERLAP | (1 << 16));
}

/// One TDMR over GiB 1 on a machine with these regions of convertible memory.
fn with_regions(regions: &[&str], change: impl Fn(&mut [u64; 40])) -> u64 {
    let machine = pending(regions);
    let mut info = tdmr_info(1, PAMTS);
    change(&mut info);
    let [rcx, rdx] = machine.put_tdmrs(&[info]);
    machine.status(CONFIG, &[rcx, rdx, 64])
}

#[test]
fn convertible_memory() {
    assert_eq!(with_regions(&["cmr=1M-2G"], |_| {}), 0);
    assert_eq!(with_regions(&["cmr=256M-257M", "cmr=257M-2G"], |_| {}), 0);
    assert_eq!(
        with_regions(&["cmr=256M-257M", "cmr=258M-2G"], |_| {}),
        PAMT_OUTSIDE
    );
    assert_eq!(
        with_regions(&["cmr=1G-2G"], |_| {}),
        PAMT_OUTSIDE | (2 << 8)
    );
    let status = with_regions(&["cmr=1M-2G"], |info| info[PAMT_2M] = 512 * 1024);
    assert_eq!(status, PAMT_OUTSIDE | (1 << 8));
    assert_eq!(with_regions(&["cmr=1M-1G"], |_| {}), TDMR_OUTSIDE);
    let hole = |offset: u64| {
        with_regions(&["cmr=1M-1G", "cmr=1040M-2G"], move |info| {
            (info[area(0)], info[area(0) + 1]) = (offset, 16 * MIB);
        })
    };
    assert_eq!(hole(0), 0);
    assert_eq!(hole(4096), TDMR_OUTSIDE);
    // The stretch behind the last of 16 areas counts too.
    let status = with_regions(&["cmr=1M-2047M"], |info| {
        for index in 0..16 {
            (info[area(index)], info[area(index) + 1]) = (index as u64 * 0x2000, 0x1000);
        }
    });
    assert_eq!(status, TDMR_OUTSIDE);
    // PAMTs come before.
    let status = with_regions(&["cmr=1M-256M"], |_| {});
    assert_eq!(status, PAMT_OUTSIDE | (2 << 8));
}

#[test]
fn a_profile_may_allow_fewer_reserved_areas_and_larger_entries() {
    let machine = pending(&[
        "max_reserved_per_tdmr=1",
        "pamt_1g_entry_size=4097",
        "max_tdmrs=1",
    ]);
    let [rcx, _] = machine.put_tdmrs(&[tdmr_info(1, PAMTS)]);
    assert_eq!(machine.status(CONFIG, &[rcx, 2, 64]), RDX);
    assert_eq!(
        machine.status(CONFIG, &[rcx, 1, 64]),
        INVALID_PAMT | (2 << 8)
    );
}

#[test]
fn sixty_four_tdmrs() {
    let machine = pending(&["cmr=1M-64T"]);
    // One TDMR a GiB from 1 TiB on: no RAM is there, but only addresses count.
    let infos: Vec<[u64; 40]> = (0..64)
        .map(|index| tdmr_info(1024 + index, GIB + index * 16 * MIB))
        .collect();
    let machine_ok = |count: usize| {
        let [rcx, rdx] = machine.put_tdmrs(&infos[..count]);
        machine.status(CONFIG, &[rcx, rdx, 64])
    };
    assert_eq!(machine_ok(64), 0);
    assert_eq!(machine.state("tdmrs"), "64");
}
