// SPDX-License-Identifier: GPL-2.0

//! TDs from creation to their last page, and every leaf in every stage of a TD where it is not
//! allowed.
//!
//! Expected statuses are written as numbers, operand ids included, not by the model's names.

mod td_support;

use td_support::*;
use tdxsim::leaf::Leaf;
use tdxsim::locks::LockKey;
use tdxsim::module::keys::KeyId;
use tdxsim::module::pamt::PageType;
use tdxsim::module::td::{LifeCycle, OpState};

#[test]
fn a_td_lives_as_kvm_drives_it() {
    for packages in [1, 2] {
        let mut host = Host::with_packages(packages);
        let mut td = host.create(65);
        let state = |host: &Host| {
            let td = host.world.tds().next().unwrap();
            (td.life_cycle, td.op_state)
        };
        let uninitialized = OpState::Uninitialized;
        assert_eq!(state(&host), (LifeCycle::HkidAssigned, uninitialized));
        assert_eq!(host.world.keys().state(65), Some(KeyId::Assigned));
        host.configure_keys(&td);
        assert_eq!(state(&host), (LifeCycle::KeysConfigured, uninitialized));
        host.add_tdcs_pages(&mut td, 6);
        assert_eq!(host.world.build_count(), 0);
        assert_eq!(host.init(&td, &Host::td_params()).0, SUCCESS);
        assert_eq!(host.world.build_count(), 1);
        assert_eq!(state(&host).1, OpState::Initialized);

        // KVM reads TSC_OFFSET and TSC_MULTIPLIER.
        for field in [0x1100_0000_0000_000A, 0x1100_0000_0000_000B] {
            host.ok(Leaf::MngRd, regs(td.tdr, field, 0, 0));
        }
        let tdvpr = host.add_vcpu(&mut td);
        for (field, value, mask) in [
            (0x0002, 0xF2, 0xFFFF),
            (0x2016, 0x1234_5680, u64::MAX),
            (0x4000, 0x80, 0x80),
            (0x203C, 0x1234_5000, u64::MAX),
        ] {
            host.ok(Leaf::VpWr, regs(tdvpr, field, value, mask));
            let read = host.ok(Leaf::VpRd, regs(tdvpr, field, 0, 0));
            assert_eq!(read.r8, value);
        }
        host.add_sept(&mut td, GPA);
        let page = host.add_page(&td, GPA, &[0xA5; PAGE as usize]);
        host.extend(&td, GPA);
        host.finalize(&td);
        assert_eq!(host.world.build_count(), 0);
        assert_eq!(state(&host).1, OpState::Runnable);
        assert!(host.mrtd(&td).is_some());

        // A page more at run time, and both removed again.
        let more = host.new_page();
        host.ok(Leaf::MemPageAug, regs(GPA + PAGE, td.tdr, more, 0));
        for (gpa, page) in [(GPA, page), (GPA + PAGE, more)] {
            host.ok(Leaf::MemRangeBlock, regs(gpa, td.tdr, 0, 0));
            host.ok(Leaf::MemTrack, regs(td.tdr, 0, 0, 0));
            let removed = host.ok(Leaf::MemPageRemove, regs(gpa, td.tdr, 0, 0));
            assert_eq!((removed.rcx, removed.rdx), (page, 0));
            host.ok(Leaf::PhymemPageWbinvd, regs(page | (65 << 45), 0, 0, 0));
        }

        host.release_keyid(&td);
        assert_eq!(host.world.keys().state(65), Some(KeyId::Free));
        for page in td
            .sept
            .iter()
            .chain(&td.tdcs)
            .chain(td.vcpus.iter().flatten())
        {
            host.ok(Leaf::PhymemPageReclaim, regs(*page, 0, 0, 0));
        }
        host.ok(Leaf::PhymemPageReclaim, regs(td.tdr, 0, 0, 0));
        host.ok(Leaf::PhymemPageWbinvd, regs(td.tdr | (64 << 45), 0, 0, 0));
        assert_eq!(host.world.tds().count(), 0);
        assert!(host.world.pamt.pages_in_use().is_empty());
    }
}

#[test]
fn teardown_works_from_every_stage() {
    for stage in STAGES {
        let mut host = Host::with_packages(2);
        let td = host.td_at(stage, 70);
        match stage {
            Stage::Teardown => {}
            Stage::Blocked => {
                for lp in 0..2 {
                    host.call_on(lp, Leaf::PhymemCacheWb, 0, regs(0, 0, 0, 0));
                }
                host.ok(Leaf::MngKeyFreeid, regs(td.tdr, 0, 0, 0));
            }
            _ => host.release_keyid(&td),
        }
        assert_eq!(host.world.build_count(), 0, "{stage:?}");
        host.reclaim(&td);
        assert!(host.world.pamt.pages_in_use().is_empty(), "{stage:?}");
        assert_eq!(host.world.keys().state(70), Some(KeyId::Free));
        // Nothing of the old TD is left to disturb a new one in the same pages.
        let again = host.create(70);
        assert_eq!(host.world.tds().next().unwrap().tdr, again.tdr);
    }
}

const FATAL: u64 = 0xE000_0604_0000_0000;
const NO_KEYS: u64 = 0x8000_0810_0000_0000;
const NO_TDCS: u64 = 0xC000_0606_0000_0000;
const LIFE_CYCLE: u64 = 0xC000_0607_0000_0000;
const OP_STATE: u64 = 0xC000_0608_0000_0000;

/// What a leaf that needs a control structure answers by stage, from HKID_ASSIGNED to fatal;
/// `u64::MAX` where it may go on.
fn by_stage(allowed: [bool; 3]) -> [u64; 8] {
    let op_state = |state: usize| {
        if allowed[state] {
            u64::MAX
        } else {
            OP_STATE | state as u64
        }
    };
    [
        NO_KEYS,
        NO_TDCS,
        op_state(0),
        op_state(1),
        op_state(2),
        NO_KEYS,
        NO_KEYS,
        FATAL,
    ]
}

#[test]
fn leaves_on_a_td_follow_its_stage() {
    let building = by_stage([false, true, false]);
    let building_or_runnable = by_stage([false, true, true]);
    let go = u64::MAX;
    let table: &[(Leaf, [u64; 8])] = &[
        (
            Leaf::MngKeyConfig,
            [
                go, LIFE_CYCLE, LIFE_CYCLE, LIFE_CYCLE, LIFE_CYCLE, LIFE_CYCLE, LIFE_CYCLE, FATAL,
            ],
        ),
        (
            Leaf::MngAddcx,
            [NO_KEYS, go, go, OP_STATE, OP_STATE, NO_KEYS, NO_KEYS, FATAL],
        ),
        (Leaf::MngInit, by_stage([true, false, false])),
        (Leaf::MngRd, building_or_runnable),
        (Leaf::VpCreate, building),
        (Leaf::MemSeptAdd, building_or_runnable),
        (Leaf::MemPageAdd, building),
        (Leaf::MrExtend, building),
        (Leaf::MrFinalize, building),
        (Leaf::MemPageAug, building_or_runnable),
        (Leaf::MemRangeBlock, building_or_runnable),
        (Leaf::MemTrack, building_or_runnable),
        (Leaf::MemPageRemove, building_or_runnable),
        (
            Leaf::MngKeyFreeid,
            [
                LIFE_CYCLE, LIFE_CYCLE, LIFE_CYCLE, LIFE_CYCLE, LIFE_CYCLE, go, LIFE_CYCLE,
                LIFE_CYCLE,
            ],
        ),
    ];
    for (leaf, expected) in table {
        for (stage, expected) in STAGES.into_iter().zip(expected) {
            let mut host = Host::new();
            let td = host.td_at(stage, 65);
            let page = host.new_page();
            let operands = match leaf {
                Leaf::MngAddcx | Leaf::VpCreate => regs(page, td.tdr, 0, 0),
                Leaf::MngInit => regs(td.tdr, PARAMS + 1, 0, 0),
                Leaf::MemSeptAdd => regs(((GPA & !0x1F_FFFF) + 0x20_0000) | 1, td.tdr, page, 0),
                Leaf::MemPageAdd | Leaf::MemPageAug => regs(GPA + PAGE, td.tdr, page, SOURCE),
                Leaf::MrExtend | Leaf::MemRangeBlock | Leaf::MemPageRemove => {
                    regs(GPA, td.tdr, 0, 0)
                }
                _ => regs(td.tdr, 0x1100_0000_0000_0000, 0, 0),
            };
            let status = host.status(*leaf, operands);
            let went_on = match (leaf, stage) {
                // The next check of each: something that is wrong on purpose, or success.
                (Leaf::MngInit, _) => INVALID | 2,
                (Leaf::MngKeyFreeid, _) => 0x8000_0817_0000_0000,
                (Leaf::MemPageRemove, Stage::Runnable) => 0xC000_0B06_0000_0001,
                _ => SUCCESS,
            };
            let expected = if *expected == go { went_on } else { *expected };
            assert_eq!(
                status,
                expected,
                "{} at {stage:?}: {status:#x}",
                leaf.name()
            );
        }
    }
}

#[test]
fn that_a_td_is_fatal_comes_before_where_it_is() {
    let leaves = [
        Leaf::MngKeyConfig,
        Leaf::MngAddcx,
        Leaf::MngInit,
        Leaf::MngRd,
        Leaf::VpCreate,
        Leaf::MemSeptAdd,
        Leaf::MemPageAdd,
        Leaf::MrExtend,
        Leaf::MrFinalize,
        Leaf::MemPageAug,
        Leaf::MemRangeBlock,
        Leaf::MemTrack,
        Leaf::MemPageRemove,
    ];
    // The life cycle is wrong for most leaves in these, in the second one there are too few pages.
    for stage in [
        Stage::HkidAssigned,
        Stage::FiveTdcsPages,
        Stage::Uninitialized,
        Stage::Runnable,
        Stage::Blocked,
        Stage::Teardown,
    ] {
        for leaf in leaves {
            let mut host = Host::new();
            let td = host.td_at(stage, 65);
            assert!(host.world.set_fatal(td.tdr));
            let operands = match leaf {
                Leaf::MngKeyConfig
                | Leaf::MngInit
                | Leaf::MngRd
                | Leaf::MrFinalize
                | Leaf::MemTrack => regs(td.tdr, 0, 0, 0),
                _ => regs(1, td.tdr, 0, 0),
            };
            assert_eq!(
                host.status(leaf, operands),
                FATAL,
                "{} at {stage:?}",
                leaf.name()
            );
        }
    }
}

#[test]
fn leaves_on_a_vcpu_follow_the_stage_of_its_td() {
    // From INITIALIZED on: earlier there can be no vCPU.
    let stages = &STAGES[3..];
    let table: &[(Leaf, [u64; 5])] = &[
        (
            Leaf::VpAddcx,
            [SUCCESS, OP_STATE | 2, NO_KEYS, NO_KEYS, FATAL],
        ),
        (
            Leaf::VpInit,
            [SUCCESS, OP_STATE | 2, NO_KEYS, NO_KEYS, FATAL],
        ),
        (Leaf::VpRd, [SUCCESS, SUCCESS, NO_KEYS, NO_KEYS, FATAL]),
        (Leaf::VpWr, [SUCCESS, SUCCESS, NO_KEYS, NO_KEYS, FATAL]),
        (Leaf::VpFlush, [SUCCESS, SUCCESS, NO_KEYS, NO_KEYS, SUCCESS]),
    ];
    for (leaf, expected) in table {
        for (stage, expected) in stages.iter().zip(expected) {
            let mut host = Host::new();
            // The second vCPU is not initialised; it must be there before the TD leaves
            // INITIALIZED.
            let mut td = host.td_at(Stage::Initialized, 65);
            let second = host.create_vcpu(&mut td);
            match stage {
                Stage::Runnable => host.finalize(&td),
                Stage::Blocked => {
                    host.ok(Leaf::VpFlush, regs(td.vcpus[0][0], 0, 0, 0));
                    host.ok(Leaf::MngVpflushdone, regs(td.tdr, 0, 0, 0));
                }
                Stage::Teardown => host.release_keyid(&td),
                Stage::Fatal => assert!(host.world.set_fatal(td.tdr)),
                _ => {}
            }
            let page = host.new_page();
            let operands = match leaf {
                Leaf::VpAddcx => regs(page, second, 0, 0),
                Leaf::VpInit => regs(second, 0, 7, 0),
                _ => regs(td.vcpus[0][0], 0x4000, 0x80, 0x80),
            };
            let status = host.status(*leaf, operands);
            assert_eq!(
                status,
                *expected,
                "{} at {stage:?}: {status:#x}",
                leaf.name()
            );
        }
    }
}

#[test]
fn vpflushdone_needs_a_key_and_no_associated_vcpu() {
    let expected = [
        (Stage::HkidAssigned, SUCCESS),
        (Stage::FiveTdcsPages, SUCCESS),
        (Stage::Uninitialized, SUCCESS),
        (Stage::Initialized, 0x8000_0824_0000_0000),
        (Stage::Runnable, 0x8000_0824_0000_0000),
        (Stage::Blocked, LIFE_CYCLE),
        (Stage::Teardown, LIFE_CYCLE),
        // A TD that met a fatal error can still be taken down.
        (Stage::Fatal, 0x8000_0824_0000_0000),
    ];
    for (stage, expected) in expected {
        let mut host = Host::new();
        let td = host.td_at(stage, 65);
        let builds = host.world.build_count();
        assert_eq!(
            host.status(Leaf::MngVpflushdone, regs(td.tdr, 0, 0, 0)),
            expected
        );
        assert_eq!(host.world.build_count(), builds, "{stage:?}");
        if expected == 0x8000_0824_0000_0000 {
            host.ok(Leaf::VpFlush, regs(td.vcpus[0][0], 0, 0, 0));
            host.ok(Leaf::MngVpflushdone, regs(td.tdr, 0, 0, 0));
            assert_eq!(host.world.build_count(), 0);
        }
    }
}

#[test]
fn pages_are_reclaimed_in_teardown_only_and_the_tdr_last() {
    for stage in STAGES {
        let mut host = Host::new();
        let td = host.td_at(stage, 65);
        let reclaim =
            |host: &mut Host, page| host.call(Leaf::PhymemPageReclaim, regs(page, 0, 0, 0));
        let (status, out) = reclaim(&mut host, td.tdr);
        let expected = if stage == Stage::Teardown {
            0xC000_0400_0000_0000
        } else {
            LIFE_CYCLE
        };
        assert_eq!(status, expected, "{stage:?}");
        assert_eq!((out.rcx, out.rdx, out.r8), (4, 0, 0));
        let Some(&page) = td.tdcs.first() else {
            continue;
        };
        let (status, out) = reclaim(&mut host, page);
        let expected = if stage == Stage::Teardown {
            SUCCESS
        } else {
            LIFE_CYCLE
        };
        assert_eq!(status, expected, "{stage:?}");
        assert_eq!((out.rcx, out.rdx, out.r8), (5, td.tdr, 0));
        if stage == Stage::Teardown {
            assert_eq!(reclaim(&mut host, page).0, WRONG_TYPE | 1);
        }
    }
    let mut host = Host::new();
    for page in [RESERVED, TDMR_BASE] {
        let (status, out) = host.call(Leaf::PhymemPageReclaim, regs(page, 1, 2, 3));
        assert_eq!(status, WRONG_TYPE | 1);
        assert_eq!((out.rcx, out.rdx, out.r8, out.r9), (0, 0, 0, 0));
    }
}

#[test]
fn a_keyid_belongs_to_one_td_until_every_package_has_written_back() {
    let mut host = Host::with_packages(2);
    let td = host.create(65);
    let other = host.new_page();
    let create = |host: &mut Host, keyid| host.status(Leaf::MngCreate, regs(other, keyid, 0, 0));
    for not_private in [0, 63, 128, 65 | (1 << 16)] {
        assert_eq!(create(&mut host, not_private), INVALID | 2);
    }
    let taken = 0xC000_0820_0000_0000;
    // 64 is the global KeyID.
    assert_eq!(create(&mut host, 64), taken);
    assert_eq!(create(&mut host, 65), taken);
    host.ok(Leaf::MngVpflushdone, regs(td.tdr, 0, 0, 0));
    let mut wb = |lp| host.call_on(lp, Leaf::PhymemCacheWb, 0, regs(0, 0, 0, 0)).0;
    assert_eq!(wb(0), SUCCESS);
    assert_eq!(wb(0), SUCCESS);
    assert_eq!(create(&mut host, 65), taken);
    let incomplete = 0x8000_0817_0000_0000;
    assert_eq!(
        host.status(Leaf::MngKeyFreeid, regs(td.tdr, 0, 0, 0)),
        incomplete
    );
    let mut wb = |lp| host.call_on(lp, Leaf::PhymemCacheWb, 0, regs(0, 0, 0, 0)).0;
    assert_eq!(wb(1), SUCCESS);
    assert_eq!(create(&mut host, 65), taken);
    host.ok(Leaf::MngKeyFreeid, regs(td.tdr, 0, 0, 0));
    assert_eq!(create(&mut host, 65), SUCCESS);
    let mut wb = |lp| host.call_on(lp, Leaf::PhymemCacheWb, 0, regs(0, 0, 0, 0)).0;
    assert_eq!(wb(0), 0x0000_0821_0000_0000);
}

#[test]
fn cache_write_back_can_be_interrupted_and_resumed() {
    let mut host = Host::new();
    let td = host.create(65);
    let mut wb = |command| host.status(Leaf::PhymemCacheWb, regs(command, 0, 0, 0));
    assert_eq!(wb(2), INVALID | 1);
    assert_eq!(wb(0), 0x0000_0821_0000_0000);
    assert_eq!(wb(1), 0xC000_0823_0000_0000);
    host.world.set_cache_wb_interruptions(2);
    host.ok(Leaf::MngVpflushdone, regs(td.tdr, 0, 0, 0));
    let mut wb = |command| host.status(Leaf::PhymemCacheWb, regs(command, 0, 0, 0));
    let interrupted = 0x8000_0003_0000_0000;
    assert_eq!(
        [wb(0), wb(1), wb(1), wb(1)],
        [interrupted, interrupted, 0, 0xC000_0823_0000_0000]
    );
    host.ok(Leaf::MngKeyFreeid, regs(td.tdr, 0, 0, 0));
}

#[test]
fn keys_are_configured_once_on_every_package() {
    let mut host = Host::with_packages(3);
    let td = host.create(65);
    let configure = |host: &mut Host, lp| {
        host.call_on(lp, Leaf::MngKeyConfig, 0, regs(td.tdr, 0, 0, 0))
            .0
    };
    assert_eq!(configure(&mut host, 0), SUCCESS);
    assert_eq!(configure(&mut host, 0), 0x0000_0815_0000_0000);
    // LP 3 is in package 0 again.
    assert_eq!(configure(&mut host, 3), 0x0000_0815_0000_0000);
    host.entropy_denied = true;
    assert_eq!(configure(&mut host, 1), 0x8000_0800_0000_0000);
    host.entropy_denied = false;
    assert_eq!(configure(&mut host, 1), SUCCESS);
    let page = host.new_page();
    assert_eq!(
        host.status(Leaf::MngAddcx, regs(page, td.tdr, 0, 0)),
        NO_KEYS
    );
    // Hardware that is busy says so before it runs out of random numbers.
    host.world.set_key_hardware_busy(1);
    host.entropy_denied = true;
    assert_eq!(configure(&mut host, 2), 0x8000_0200_0000_00BB);
    assert_eq!(configure(&mut host, 2), 0x8000_0800_0000_0000);
    host.entropy_denied = false;
    assert_eq!(configure(&mut host, 2), SUCCESS);
    host.ok(Leaf::MngAddcx, regs(page, td.tdr, 0, 0));
    assert_eq!(configure(&mut host, 2), LIFE_CYCLE);
}

#[test]
fn entropy_is_drawn_where_the_module_draws_it() {
    let none = 0x8000_0203_0000_0000;
    let mut host = Host::new();
    host.entropy_denied = true;
    let tdr = host.new_page();
    assert_eq!(host.status(Leaf::MngCreate, regs(tdr, 65, 0, 0)), none);
    assert_eq!(host.world.keys().state(65), Some(KeyId::Free));
    assert!(host.world.pamt.pages_in_use().is_empty());
    host.entropy_denied = false;
    let mut td = host.create(65);
    host.configure_keys(&td);
    host.entropy_denied = true;
    host.add_tdcs_pages(&mut td, 5);
    let page = host.new_page();
    assert_eq!(host.status(Leaf::MngAddcx, regs(page, td.tdr, 0, 0)), none);
    host.entropy_denied = false;
    host.ok(Leaf::MngAddcx, regs(page, td.tdr, 0, 0));
    // Three pages more are taken and the next one refused.
    host.add_tdcs_pages(&mut td, 3);
    let page = host.new_page();
    assert_eq!(
        host.status(Leaf::MngAddcx, regs(page, td.tdr, 0, 0)),
        0xC000_0610_0000_0000
    );
}

#[test]
fn vcpus_are_initialised_with_enough_pages_in_number_and_with_ids_of_their_own() {
    let mut host = Host::new();
    let mut td = host.begin_build(65);
    assert_eq!(
        host.status(Leaf::MrFinalize, regs(td.tdr, 0, 0, 0)),
        0xC000_0609_0000_0000
    );
    // One page after the other: the first that completes the structure makes it initialisable.
    let pages: Vec<u64> = (0..16).map(|_| host.new_page()).collect();
    host.ok(Leaf::VpCreate, regs(pages[0], td.tdr, 0, 0));
    let too_few = 0xC000_0610_0000_0000;
    for page in &pages[1..6] {
        assert_eq!(
            host.status(Leaf::VpInit, regs(pages[0], 0, 1 << 32, 0)),
            too_few
        );
        for leaf in [Leaf::VpRd, Leaf::VpWr, Leaf::VpFlush] {
            let status = host.status(leaf, regs(pages[0], 0x4000, 0x80, 0x80));
            assert_eq!(status, too_few, "{}", leaf.name());
        }
        host.ok(Leaf::VpAddcx, regs(*page, pages[0], 0, 0));
    }
    assert_eq!(
        host.status(Leaf::VpInit, regs(pages[0], 0, 1 << 32, 0)),
        INVALID | 8
    );
    for page in &pages[6..15] {
        host.ok(Leaf::VpAddcx, regs(*page, pages[0], 0, 0));
    }
    assert_eq!(
        host.status(Leaf::VpAddcx, regs(pages[15], pages[0], 0, 0)),
        too_few
    );
    let not_ready = 0xC000_0700_0000_0000;
    assert_eq!(
        host.status(Leaf::VpRd, regs(pages[0], 0x4000, 0, 0)),
        not_ready
    );
    assert_eq!(
        host.status(Leaf::VpWr, regs(pages[0], 0x4000, 0x80, 0x80)),
        not_ready
    );
    assert_eq!(
        host.status(Leaf::VpFlush, regs(pages[0], 0, 0, 0)),
        0x8000_0702_0000_0000
    );
    host.ok(Leaf::VpInit, regs(pages[0], 0x77, 5, 0));
    assert_eq!(
        host.status(Leaf::VpInit, regs(pages[0], 0, 6, 0)),
        not_ready | 2
    );
    assert_eq!(
        host.status(Leaf::VpAddcx, regs(pages[15], pages[0], 0, 0)),
        not_ready | 2
    );

    let second = host.create_vcpu(&mut td);
    assert_eq!(
        host.status(Leaf::VpInit, regs(second, 0, 5, 0)),
        0xC000_0621_0000_0005
    );
    host.ok(Leaf::VpInit, regs(second, 0, 6, 0));
    // Version 0 has no id, and so no duplicate.
    let third = host.create_vcpu(&mut td);
    assert_eq!(
        host.call_on(0, Leaf::VpInit, 0, regs(third, 0, 5, 0)).0,
        SUCCESS
    );
    assert_eq!(
        host.call_on(0, Leaf::VpInit, 2, regs(third, 0, 5, 0)).0,
        INVALID
    );
    let fourth = host.create_vcpu(&mut td);
    host.ok(Leaf::VpInit, regs(fourth, 0, 7, 0));
    // TD_PARAMS allow four.
    let fifth = host.create_vcpu(&mut td);
    assert_eq!(
        host.status(Leaf::VpInit, regs(fifth, 0, 8, 0)),
        0xC000_0705_0000_0000
    );
    assert_eq!(host.world.tds().next().unwrap().vcpus, 4);
}

#[test]
fn a_vcpu_is_associated_with_one_lp_at_a_time() {
    let mut host = Host::new();
    let mut td = host.begin_build(65);
    let tdvpr = host.add_vcpu(&mut td);
    let operands = regs(tdvpr, 0x4000, 0x80, 0x80);
    // Initialised on LP 0.
    for leaf in [Leaf::VpRd, Leaf::VpWr] {
        assert_eq!(host.call_on(1, leaf, 0, operands).0, 0x8000_0701_0000_0000);
        assert_eq!(host.call_on(0, leaf, 0, operands).0, SUCCESS);
    }
    let flush = |host: &mut Host, lp| host.call_on(lp, Leaf::VpFlush, 0, operands).0;
    assert_eq!(flush(&mut host, 1), 0x8000_0702_0000_0000);
    assert_eq!(flush(&mut host, 0), SUCCESS);
    assert_eq!(flush(&mut host, 0), 0x8000_0702_0000_0000);
    // Reading associates, also when the field does not exist.
    let bad_field = regs(tdvpr, 0x3F00_0000_0000_0000, 0, 0);
    assert_eq!(
        host.call_on(1, Leaf::VpRd, 0, bad_field).0,
        0xC000_0C00_0000_0000
    );
    assert_eq!(
        host.call_on(0, Leaf::VpRd, 0, operands).0,
        0x8000_0701_0000_0000
    );
    assert_eq!(
        host.status(Leaf::MngVpflushdone, regs(td.tdr, 0, 0, 0)),
        0x8000_0824_0000_0000
    );
    assert_eq!(flush(&mut host, 1), SUCCESS);
    host.ok(Leaf::MngVpflushdone, regs(td.tdr, 0, 0, 0));
}

#[test]
fn a_vcpu_may_be_in_an_old_epoch() {
    let mut host = Host::new();
    let td = host.td_at(Stage::Runnable, 65);
    assert!(!host.world.set_old_epoch_uses(td.tdr + PAGE, 1));
    assert!(host.world.set_old_epoch_uses(td.tdr, 2));
    let track = regs(td.tdr, 0, 0, 0);
    host.ok(Leaf::MemRangeBlock, regs(GPA, td.tdr, 0, 0));
    // The lock comes first.
    let status = host.status_while_locked(LockKey::Epoch(td.tdr), Leaf::MemTrack, track);
    assert_eq!(status, 0x8000_0200_0000_00A9);
    for _ in 0..2 {
        assert_eq!(host.status(Leaf::MemTrack, track), 0x8000_0201_0000_0000);
        // The epoch has not advanced.
        assert_eq!(
            host.status(Leaf::MemPageRemove, regs(GPA, td.tdr, 0, 0)),
            0xC000_0B08_0000_0001
        );
    }
    host.ok(Leaf::MemTrack, track);
    host.ok(Leaf::MemPageRemove, regs(GPA, td.tdr, 0, 0));
}

#[test]
fn entering_a_td_is_answered_like_an_unknown_leaf() {
    let mut host = Host::new();
    let td = host.td_at(Stage::Runnable, 65);
    assert_eq!(
        host.status(Leaf::VpEnter, regs(td.vcpus[0][0], 0, 0, 0)),
        INVALID
    );
}

#[test]
fn what_can_be_seen_of_tds() {
    let mut host = Host::new();
    let td = host.td_at(Stage::Initialized, 66);
    let line = |host: &Host| host.world.tds().next().unwrap().to_string();
    assert_eq!(
        line(&host),
        format!(
            "tdr={:#x} life_cycle=KEYS_CONFIGURED op_state=INITIALIZED keyid=66 vcpus=1 \
             pages=16 mrtd=-",
            td.tdr
        )
    );
    let in_use = host.world.pamt.pages_in_use();
    let expected = [
        (PageType::Private, 1),
        (PageType::Tdr, 1),
        (PageType::Tdcx, 11),
        (PageType::Tdvpr, 1),
        (PageType::Sept, 3),
    ];
    assert_eq!(in_use.into_iter().collect::<Vec<_>>(), expected);
    host.finalize(&td);
    let mrtd = line(&host).rsplit_once("mrtd=").unwrap().1.to_owned();
    assert_eq!(mrtd.len(), 96);
}
