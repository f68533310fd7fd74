// SPDX-License-Identifier: GPL-2.0

//! TD_PARAMS, bit by bit, and the metadata fields that come of them.
//!
//! Expected statuses are written as numbers, operand ids included, not by the model's names.

mod td_support;

use td_support::*;
use tdxsim::leaf::Leaf;
use tdxsim::regs::Regs;

/// TDH.MNG.INIT with these parameters, on a fresh TD.
fn init(change: impl FnOnce(&mut [u8])) -> (u64, u64) {
    init_with(Host::new(), change)
}

fn init_with(mut host: Host, change: impl FnOnce(&mut [u8])) -> (u64, u64) {
    let td = host.td_at(Stage::Uninitialized, 65);
    let mut params = Host::td_params();
    change(&mut params);
    let (status, out) = host.init(&td, &params);
    let expected_count = u16::from(status == SUCCESS);
    assert_eq!(host.world.build_count(), expected_count);
    (status, out.rcx)
}

fn put_u64(params: &mut [u8], at: usize, value: u64) {
    params[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn status_of_u64(at: usize, value: u64) -> u64 {
    init(|params| put_u64(params, at, value)).0
}

fn status_of_u16(at: usize, value: u16) -> u64 {
    init(|params| params[at..at + 2].copy_from_slice(&value.to_le_bytes())).0
}

#[test]
fn attributes_obey_the_modules_fixed_bits() {
    let fixed0 = Host::new().module.attributes_fixed0;
    for bit in 0..64 {
        let expected = if (fixed0 >> bit) & 1 == 1 {
            SUCCESS
        } else {
            INVALID | 0x40
        };
        assert_eq!(status_of_u64(0, 1 << bit), expected, "bit {bit}");
    }
    let mut host = Host::new();
    host.module.attributes_fixed1 = 1 << 28;
    assert_eq!(
        init_with(host, |params| put_u64(params, 0, 0)).0,
        INVALID | 0x40
    );
    // A migratable TD (bit 29) has neither DEBUG (0) nor PERFMON (63).
    assert_eq!(status_of_u64(0, (1 << 29) | 1), INVALID | 0x40);
    assert_eq!(status_of_u64(0, (1 << 29) | (1 << 63)), INVALID | 0x40);
    assert_eq!(status_of_u64(0, (1 << 63) | 1), SUCCESS);
    // PERFMON excludes ICSSD (16).
    let mut host = Host::new();
    host.module.attributes_fixed0 |= 1 << 16;
    assert_eq!(
        init_with(host, |params| put_u64(params, 0, (1 << 63) | (1 << 16))).0,
        INVALID | 0x40
    );
}

#[test]
fn xfam_obeys_the_modules_fixed_bits_and_keeps_groups_together() {
    let wrong = INVALID | 0x41;
    for missing in [0, 1, 2] {
        assert_eq!(status_of_u64(8, missing), wrong);
    }
    let fixed0 = Host::new().module.xfam_fixed0;
    for bit in 0..64 {
        let status = status_of_u64(8, 3 | (1 << bit));
        let is_grouped = [5, 6, 7, 11, 12, 17, 18].contains(&bit);
        let expected = if (fixed0 >> bit) & 1 == 1 && !is_grouped {
            SUCCESS
        } else {
            wrong
        };
        assert_eq!(status, expected, "bit {bit}");
    }
    let avx512 = 7 << 5;
    assert_eq!(status_of_u64(8, 3 | (1 << 2) | avx512), SUCCESS);
    assert_eq!(status_of_u64(8, 3 | avx512), wrong);
    assert_eq!(status_of_u64(8, 3 | (1 << 2) | (3 << 5)), wrong);
    assert_eq!(status_of_u64(8, 3 | (3 << 11)), SUCCESS);
    assert_eq!(status_of_u64(8, 3 | (3 << 17)), SUCCESS);
}

#[test]
fn numbers_are_in_range() {
    for (value, expected) in [
        (0, INVALID | 0x44),
        (1, SUCCESS),
        (576, SUCCESS),
        (577, INVALID | 0x44),
    ] {
        assert_eq!(status_of_u16(16, value), expected, "MAX_VCPUS {value}");
    }
    for (value, expected) in [
        (0, INVALID | 0x46),
        (3, INVALID | 0x46),
        (4, SUCCESS),
        (400, SUCCESS),
        (401, INVALID | 0x46),
    ] {
        assert_eq!(status_of_u16(40, value), expected, "TSC_FREQUENCY {value}");
    }
}

#[test]
fn flags_and_eptp_fit_together() {
    let five_levels = 0x26;
    for bit in 0..64 {
        let status = init(|params| {
            put_u64(params, 24, five_levels);
            put_u64(params, 32, 1 << bit);
        });
        let expected = if bit < 3 { SUCCESS } else { INVALID | 0x42 };
        assert_eq!(status.0, expected, "bit {bit}");
    }
    // A module that cannot keep RBP has no such flag.
    let mut host = Host::new();
    host.module.features &= !(1 << 18);
    assert_eq!(init_with(host, |_| {}).0, INVALID | 0x42);
    // 52-bit GPAs (flag 0) need five levels.
    let eptp = |eptp, flags| {
        init(|params| {
            put_u64(params, 24, eptp);
            put_u64(params, 32, flags);
        })
        .0
    };
    let wrong = INVALID | 0x43;
    assert_eq!(eptp(0x1E, 0), SUCCESS);
    assert_eq!(eptp(five_levels, 0), SUCCESS);
    assert_eq!(eptp(five_levels, 1), SUCCESS);
    assert_eq!(eptp(0x1E, 1), wrong);
    for bad in [
        0,
        0x06,
        0x18,
        0x16,
        0x2E,
        0x5E,
        0x9E,
        0x101E,
        (1 << 63) | 0x1E,
    ] {
        assert_eq!(eptp(bad, 0), wrong, "{bad:#x}");
    }
}

#[test]
fn reserved_bytes_are_zero() {
    let reserved = [19..24, 42..80, 224..256, 272..1024];
    for at in reserved.into_iter().flatten() {
        assert_eq!(init(|params| params[at] = 1).0, INVALID | 2, "byte {at}");
    }
    // What the host chooses for the measurement registers is not checked.
    for at in [80, 127, 128, 175, 176, 223] {
        assert_eq!(init(|params| params[at] = 0xFF).0, SUCCESS, "byte {at}");
    }
}

/// A TD with VMs inside (byte 18) has a page more for each, and three more in each vCPU.
#[test]
fn l2_vms_need_pages() {
    let missing = 0xC000_0606_0000_0000;
    for (pages, l2_vms, expected) in [
        (6, 0, SUCCESS),
        (6, 1, missing),
        (7, 1, SUCCESS),
        (8, 3, missing),
        (9, 3, SUCCESS),
        (9, 4, INVALID | 0x47),
        (9, 255, INVALID | 0x47),
    ] {
        let mut host = Host::new();
        let mut td = host.create(65);
        host.configure_keys(&td);
        host.add_tdcs_pages(&mut td, pages);
        let mut params = Host::td_params();
        params[18] = l2_vms;
        // What comes behind it is looked at later.
        params[19] = u8::from(expected != SUCCESS);
        let status = host.init(&td, &params).0;
        assert_eq!(status, expected, "{l2_vms} VMs, {pages} pages");
        if expected != SUCCESS {
            continue;
        }
        let field = regs(td.tdr, 0x9010_0001_0000_0005, 0, 0);
        assert_eq!(host.ok(Leaf::MngRd, field).r8, u64::from(l2_vms));
        let tdvpr = host.create_vcpu(&mut td);
        for _ in 0..3 * l2_vms {
            let (status, _) = host.call(Leaf::VpInit, regs(tdvpr, 0, 0, 0));
            assert_eq!(status, 0xC000_0610_0000_0000);
            let (status, _) = host.call(Leaf::VpFlush, regs(tdvpr, 0, 0, 0));
            assert_eq!(status, 0xC000_0610_0000_0000);
            let page = host.new_page();
            host.ok(Leaf::VpAddcx, regs(page, tdvpr, 0, 0));
        }
        host.ok(Leaf::VpInit, regs(tdvpr, 0, 0, 0));
    }
}

/// To a module without TD partitioning the byte is reserved.
#[test]
fn a_module_without_partitioning_knows_no_l2_vms() {
    let mut host = Host::new();
    host.module.features &= !(1 << 7);
    assert_eq!(init_with(host, |params| params[18] = 1).0, INVALID | 2);
}

#[test]
fn only_configurable_cpuid_bits_are_taken_and_the_leaf_is_named() {
    // The one leaf of the profile: 0x80000008 without sub-leaf, EAX bits 23:16.
    let cpuid = 256;
    assert_eq!(init(|params| params[cpuid + 2] = 0x34), (SUCCESS, 0));
    for byte in (0..16).filter(|byte| *byte != 2) {
        let named = 0xFFFF_FFFF_8000_0008;
        assert_eq!(
            init(|params| params[cpuid + byte] = 1),
            (INVALID | 0x45, named)
        );
    }
}

#[test]
fn checks_have_an_order() {
    // Everything is wrong; each correction reveals the next error.
    let wrong = |params: &mut [u8], from: usize| {
        let corruptions: [(usize, u8); 11] = [
            (1, 0xFF),
            (8, 0),
            (16, 0),
            (18, 4),
            (19, 1),
            (39, 1),
            (31, 1),
            (40, 0),
            (42, 1),
            (224, 1),
            (256, 1),
        ];
        for (at, value) in &corruptions[from..] {
            params[*at] = *value;
        }
    };
    let expected = [
        0x40, 0x41, 0x44, 0x47, 0x02, 0x42, 0x43, 0x46, 0x02, 0x02, 0x45,
    ];
    for (from, operand) in expected.into_iter().enumerate() {
        assert_eq!(
            init(|params| wrong(params, from)).0,
            INVALID | operand,
            "from {from}"
        );
    }
}

#[test]
fn fields_of_a_td_show_what_was_asked_for() {
    let mut host = Host::new();
    let mut td = host.create(77);
    host.configure_keys(&td);
    host.add_tdcs_pages(&mut td, 6);
    let mut params = Host::td_params();
    for (at, byte) in [(80, 0xC1), (128, 0xC2), (176, 0xC3), (258, 48)] {
        params[at] = byte;
    }
    assert_eq!(host.init(&td, &params).0, SUCCESS);
    let tdvpr = host.add_vcpu(&mut td);
    let mut read = |id| host.call(Leaf::MngRd, regs(td.tdr, id, 0, 0));
    for (id, value) in [
        (0x8010_0002_0000_0002, 6),
        (0x8010_0003_0000_0004, 12),
        (0x8010_0002_0000_0005, 1),
        (0x8010_0003_0000_0011, td.tdcs[1]),
        (0x8110_0001_0000_0001, 77),
        (0x8110_0003_0000_0002, 1),
        (0x9010_0002_0000_0001, 1),
        (0x9010_0002_0000_0002, 1),
        (0x9010_0002_0000_0004, 1),
        (0x1110_0003_0000_0000, 1 << 28),
        (0x1110_0003_0000_0001, 3),
        (0x1110_0002_0000_0002, 4),
        (0x1110_0000_0000_0003, 0),
        (0x1110_0003_0000_0004, 0x1E),
        (0x1110_0001_0000_000C, 100),
        (0x9210_0003_0000_0000, 1),
        (0x1310_0003_0000_0000, 0),
        (0x1310_0003_0000_0010, 0xC1),
        (0x1310_0003_0000_0018, 0xC2),
        (0x1310_0003_0000_0020, 0xC3),
        // CPUID: 0 (the highest leaf, "Genu"), 0x21.0 ("Inte"), 0x80000000, 0x80000008.
        (
            0x9410_0003_0000_01FE,
            (u64::from(u32::from_le_bytes(*b"Genu")) << 32) | 0x21,
        ),
        (
            0x9410_0003_0000_4200,
            u64::from(u32::from_le_bytes(*b"Inte")) << 32,
        ),
        (0x9410_0003_0001_01FE, 0x8000_0008),
        (0x9410_0003_0001_11FE, 48 << 16),
        (0x9410_0003_0001_11FF, 0),
    ] {
        let (status, out) = read(id);
        assert_eq!((status, out.r8), (SUCCESS, value), "{id:#x}");
        // As KVM writes ids: without scope and element size.
        assert_eq!(
            read(id & !((0x1F << 50) | (3 << 32))).1.r8,
            value,
            "{id:#x}"
        );
    }
    let incorrect = 0xC000_0C00_0000_0000;
    let unreadable = 0xC000_0C02_0000_0000;
    for (id, expected) in [
        // No such class, no such field, reserved bits, more than one element.
        (0x3F10_0003_0000_0000, incorrect),
        (0x1110_0003_0000_0FFF, incorrect),
        (0x1110_0003_0100_0000, incorrect),
        (0x1110_0004_0000_0000, incorrect),
        (0x5110_0003_0000_0000, incorrect),
        (0x9410_0003_0002_0000, incorrect),
        // A CPUID leaf that the TD does not have, and a migration key.
        (0x9410_0003_0000_03FE, unreadable),
        (0x9810_0003_0000_0010, unreadable),
        (u64::MAX, incorrect),
    ] {
        let (status, out) = read(id);
        assert_eq!((status, out.r8), (expected, 0), "{id:#x}");
    }
    let (status, out) = host.call(Leaf::VpRd, regs(tdvpr, 0xA020_0000_0000_0000, 0, 0));
    assert_eq!((status, out.r8), (SUCCESS, 2));
}

/// Every field that version 1 of a leaf leads to, from the null id on.
fn walk_fields(host: &mut Host, leaf: Leaf, handle: u64) -> Vec<u64> {
    let first = 0x0000_0C0B_0000_0000;
    let mut read = |id| host.call_on(0, leaf, 1, regs(handle, id, 0, 0));
    let (status, out) = read(u64::MAX);
    assert_eq!((status, out.r8), (first, 0));
    let mut ids = vec![out.rdx];
    loop {
        let (status, out) = read(ids[ids.len() - 1]);
        assert_eq!(status, SUCCESS);
        if out.rdx == u64::MAX {
            return ids;
        }
        ids.push(out.rdx);
    }
}

#[test]
fn version_1_leads_from_field_to_field() {
    let mut host = Host::new();
    let td = host.td_at(Stage::Runnable, 65);
    for (leaf, handle, least) in [(Leaf::MngRd, td.tdr, 50), (Leaf::VpRd, td.vcpus[0][0], 12)] {
        let ids = walk_fields(&mut host, leaf, handle);
        assert!(ids.len() >= least, "{}", ids.len());
        let mut sorted = ids.clone();
        // By class and field code.
        sorted.sort_by_key(|id| id & ((0x3F << 56) | 0xFF_FFFF));
        sorted.dedup();
        assert_eq!(ids, sorted);
        let (status, out) = host.call_on(0, leaf, 1, regs(handle, 0x3F << 56, 0, 0));
        assert_eq!((status, out.rdx), (0xC000_0C00_0000_0000, u64::MAX));
    }
}

#[test]
fn the_host_writes_what_it_may_of_a_vcpu() {
    let mut host = Host::new();
    let td = host.td_at(Stage::Runnable, 65);
    let tdvpr = td.vcpus[0][0];
    let mut write = |id, value, mask| {
        let (status, out) = host.call(Leaf::VpWr, regs(tdvpr, id, value, mask));
        (status, out.r8)
    };
    let not_writable = 0xC000_0C01_0000_0000;
    let bad_value = 0xC000_0C03_0000_0000;
    assert_eq!(write(0x4000, 0x80, 0x80), (SUCCESS, 0));
    assert_eq!(write(0x4000, 0, 0x80), (SUCCESS, 0x80));
    // Other pin-based controls are the module's.
    assert_eq!(write(0x4000, 1, 1), (not_writable, 0));
    assert_eq!(write(0x4000, 0x80, 0), (not_writable, 0));
    assert_eq!(write(0x4000, 0x81, 0x81), (bad_value, 0));
    assert_eq!(write(0x4000, 0x80, 0x81), (SUCCESS, 0));
    assert_eq!(
        write(0x401E, (1 << 30) | (1 << 31), (1 << 30) | (1 << 31)),
        (SUCCESS, 0)
    );
    assert_eq!(write(0x4024, 0x1234, 0xFFFF_FFFF), (SUCCESS, 0));
    assert_eq!(write(0x2000_0000_0000_000B, 1, 1), (SUCCESS, 0));
    assert_eq!(write(0x2000_0000_0000_000B, 0, 1), (SUCCESS, 1));
    // VCPU_STATE_DETAILS is read only, general-purpose registers are the TD's own.
    assert_eq!(write(0x9100_0000_0000_0100, 1, 1), (not_writable, 0));
    assert_eq!(write(0x1000_0000_0000_0001, 1, u64::MAX), (not_writable, 0));
    assert_eq!(
        write(0x3F00_0000_0000_0000, 1, 1),
        (0xC000_0C00_0000_0000, 0)
    );
    let mut read = |id| host.call(Leaf::VpRd, regs(tdvpr, id, 0, 0));
    assert_eq!(read(0x9100_0000_0000_0100).0, SUCCESS);
    assert_eq!(read(0x1000_0000_0000_0001).0, 0xC000_0C02_0000_0000);
    assert_eq!(read(0x2000_0000_0000_000B).1.r8, 0);
    assert_eq!(read(0x401E).1.r8, 3 << 30);
}

#[test]
fn a_debug_td_shows_its_registers() {
    let mut host = Host::new();
    let mut td = host.create(65);
    host.configure_keys(&td);
    host.add_tdcs_pages(&mut td, 6);
    let mut params = Host::td_params();
    params[0] |= 1;
    assert_eq!(host.init(&td, &params).0, SUCCESS);
    let tdvpr = host.create_vcpu(&mut td);
    host.ok(Leaf::VpInit, regs(tdvpr, 0xCAFE, 3, 0));
    let mut read = |number: u64| {
        let id = 0x1000_0000_0000_0000 + number;
        host.ok(Leaf::VpRd, regs(tdvpr, id, 0, 0)).r8
    };
    // RCX and R8: as the host gave it; RBX: width of GPAs; RSI: the vCPU's index.
    assert_eq!(
        [read(1), read(8), read(3), read(6), read(0)],
        [0xCAFE, 0xCAFE, 48, 0, 0]
    );
    let write = Regs {
        rdx: 0x1000_0000_0000_0000,
        ..regs(tdvpr, 0, 0x99, 0xFF)
    };
    host.ok(Leaf::VpWr, write);
    let mut read = |number: u64| {
        let id = 0x1000_0000_0000_0000 + number;
        host.ok(Leaf::VpRd, regs(tdvpr, id, 0, 0)).r8
    };
    assert_eq!(read(0), 0x99);
}
