// SPDX-License-Identifier: GPL-2.0

//! Operands that name pages and guest-physical addresses, and locks that another LP holds: every
//! rule for every leaf that has it.
//!
//! Expected statuses are written as numbers, operand ids included, not by the model's names.

mod td_support;

use td_support::*;
use tdxsim::leaf::Leaf;
use tdxsim::locks::{LockKey, LockMode};
use tdxsim::mem::Memory;
use tdxsim::module::pamt::{PageType, PamtEntry};
use tdxsim::regs::Regs;

/// What a page operand must name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Free,
    Tdr,
    Tdvpr,
    /// Any page that is in use.
    Used,
    Any,
}

/// The operand's register, what it must name, and whether the leaf locks it alone.
type PageOperand = (u64, Wanted, LockMode);

const RCX: u64 = 1;
const RDX: u64 = 2;
const R8: u64 = 8;
const SHARED: LockMode = LockMode::Shared;
const EXCLUSIVE: LockMode = LockMode::Exclusive;

/// Every leaf's page operands, in the order in which they are checked.
const PAGE_OPERANDS: &[(Leaf, &[PageOperand])] = &[
    (Leaf::MngCreate, &[(RCX, Wanted::Free, EXCLUSIVE)]),
    (Leaf::MngKeyConfig, &[(RCX, Wanted::Tdr, EXCLUSIVE)]),
    (
        Leaf::MngAddcx,
        &[
            (RDX, Wanted::Tdr, EXCLUSIVE),
            (RCX, Wanted::Free, EXCLUSIVE),
        ],
    ),
    (Leaf::MngInit, &[(RCX, Wanted::Tdr, EXCLUSIVE)]),
    (Leaf::MngRd, &[(RCX, Wanted::Tdr, SHARED)]),
    (
        Leaf::VpCreate,
        &[(RDX, Wanted::Tdr, SHARED), (RCX, Wanted::Free, EXCLUSIVE)],
    ),
    (
        Leaf::VpAddcx,
        &[
            (RDX, Wanted::Tdvpr, EXCLUSIVE),
            (RCX, Wanted::Free, EXCLUSIVE),
        ],
    ),
    (Leaf::VpInit, &[(RCX, Wanted::Tdvpr, EXCLUSIVE)]),
    (Leaf::VpRd, &[(RCX, Wanted::Tdvpr, SHARED)]),
    (Leaf::VpWr, &[(RCX, Wanted::Tdvpr, SHARED)]),
    (Leaf::VpFlush, &[(RCX, Wanted::Tdvpr, EXCLUSIVE)]),
    (
        Leaf::MemSeptAdd,
        &[(RDX, Wanted::Tdr, SHARED), (R8, Wanted::Free, EXCLUSIVE)],
    ),
    (
        Leaf::MemPageAdd,
        &[(RDX, Wanted::Tdr, EXCLUSIVE), (R8, Wanted::Free, EXCLUSIVE)],
    ),
    (
        Leaf::MemPageAug,
        &[(RDX, Wanted::Tdr, SHARED), (R8, Wanted::Free, EXCLUSIVE)],
    ),
    (Leaf::MrExtend, &[(RDX, Wanted::Tdr, EXCLUSIVE)]),
    (Leaf::MrFinalize, &[(RCX, Wanted::Tdr, EXCLUSIVE)]),
    (Leaf::MemRangeBlock, &[(RDX, Wanted::Tdr, SHARED)]),
    (Leaf::MemTrack, &[(RCX, Wanted::Tdr, SHARED)]),
    (Leaf::MemPageRemove, &[(RDX, Wanted::Tdr, SHARED)]),
    (Leaf::MngVpflushdone, &[(RCX, Wanted::Tdr, EXCLUSIVE)]),
    (Leaf::MngKeyFreeid, &[(RCX, Wanted::Tdr, EXCLUSIVE)]),
    (Leaf::PhymemPageReclaim, &[(RCX, Wanted::Used, EXCLUSIVE)]),
    (Leaf::PhymemPageRdmd, &[(RCX, Wanted::Any, SHARED)]),
    (Leaf::PhymemPageWbinvd, &[(RCX, Wanted::Free, SHARED)]),
];

/// A host with a TD for which the leaf succeeds, and the operands with which it does.
fn ready_for(leaf: Leaf) -> (Host, Td, Regs) {
    let mut host = Host::new();
    let stage = match leaf {
        Leaf::MngKeyConfig => Stage::HkidAssigned,
        Leaf::MngAddcx => Stage::FiveTdcsPages,
        Leaf::MngInit => Stage::Uninitialized,
        Leaf::MngKeyFreeid => Stage::Blocked,
        Leaf::PhymemPageReclaim => Stage::Teardown,
        _ => Stage::Initialized,
    };
    let mut td = host.td_at(stage, 65);
    let second_vcpu = if stage == Stage::Initialized {
        host.create_vcpu(&mut td)
    } else {
        0
    };
    let page = host.new_page();
    let vcpu = td.vcpus.first().map_or(0, |vcpu| vcpu[0]);
    assert!(host.ram.write(PARAMS, &Host::td_params()));
    let operands = match leaf {
        Leaf::MngCreate => regs(page, 66, 0, 0),
        Leaf::MngAddcx | Leaf::VpCreate => regs(page, td.tdr, 0, 0),
        Leaf::MngInit => regs(td.tdr, PARAMS, 0, 0),
        Leaf::MngRd => regs(td.tdr, 0x1100_0000_0000_0000, 0, 0),
        Leaf::VpAddcx => regs(page, second_vcpu, 0, 0),
        Leaf::VpInit => regs(second_vcpu, 0, 9, 0),
        Leaf::VpRd | Leaf::VpWr => regs(vcpu, 0x4000, 0x80, 0x80),
        Leaf::VpFlush => regs(vcpu, 0, 0, 0),
        Leaf::MemSeptAdd => regs(((GPA & !0x1F_FFFF) + 0x20_0000) | 1, td.tdr, page, 0),
        Leaf::MemPageAdd | Leaf::MemPageAug => regs(GPA + PAGE, td.tdr, page, SOURCE),
        Leaf::MrExtend | Leaf::MemRangeBlock | Leaf::MemPageRemove => regs(GPA, td.tdr, 0, 0),
        Leaf::PhymemPageReclaim => regs(td.tdcs[0], 0, 0, 0),
        Leaf::PhymemPageRdmd | Leaf::PhymemPageWbinvd => regs(page, 0, 0, 0),
        Leaf::PhymemCacheWb => regs(0, 0, 0, 0),
        _ => regs(td.tdr, 0, 0, 0),
    };
    match leaf {
        Leaf::MngVpflushdone => {
            host.ok(Leaf::VpFlush, regs(vcpu, 0, 0, 0));
        }
        Leaf::MngKeyFreeid => {
            host.ok(Leaf::PhymemCacheWb, regs(0, 0, 0, 0));
        }
        _ => {}
    }
    (host, td, operands)
}

fn operand(regs: &Regs, register: u64) -> u64 {
    match register {
        RCX => regs.rcx,
        RDX => regs.rdx,
        _ => regs.r8,
    }
}

fn with_operand(mut regs: Regs, register: u64, value: u64) -> Regs {
    match register {
        RCX => regs.rcx = value,
        RDX => regs.rdx = value,
        _ => regs.r8 = value,
    }
    regs
}

#[test]
fn every_leaf_succeeds_with_good_operands() {
    for (leaf, _) in PAGE_OPERANDS {
        let (mut host, _, operands) = ready_for(*leaf);
        assert_eq!(host.status(*leaf, operands), SUCCESS, "{}", leaf.name());
        assert!(host.locks.is_empty());
    }
}

#[test]
fn a_page_operand_is_an_aligned_address_without_keyid_in_an_initialised_tdmr() {
    for (leaf, pages) in PAGE_OPERANDS {
        for &(register, wanted, _) in *pages {
            let (mut host, _, good) = ready_for(*leaf);
            let pa = operand(&good, register);
            let mut check = |value: u64, expected: u64| {
                let before = format!("{:?}", host.world);
                let status = host.status(*leaf, with_operand(good, register, value));
                assert_eq!(
                    status,
                    expected | register,
                    "{} with {value:#x}: {status:#x}",
                    leaf.name()
                );
                assert_eq!(before, format!("{:?}", host.world), "{}", leaf.name());
            };
            // Bit 0 of a TDR's address is a flag for two leaves; bit 63 of a page for the secure
            // EPT means nothing.
            check(pa | 0x800, INVALID);
            check(pa | 0x2, INVALID);
            if *leaf != Leaf::PhymemPageWbinvd {
                check(pa | PRIVATE_KEYID_BITS, INVALID);
                check(pa | SHARED_KEYID_BITS, INVALID);
            }
            check(pa | (1 << 52), INVALID);
            check(pa | (1 << 62), INVALID);
            check(OUTSIDE, RANGE);
            check(TDMR_BASE - PAGE, RANGE);
            check(UNINITIALISED, RANGE);
            if wanted != Wanted::Any {
                check(RESERVED, WRONG_TYPE);
            }
        }
    }
}

#[test]
fn a_page_operand_has_the_type_that_the_leaf_needs() {
    for (leaf, pages) in PAGE_OPERANDS {
        for &(register, wanted, _) in *pages {
            let (mut host, td, good) = ready_for(*leaf);
            let free = host.new_page();
            let mut candidates = vec![(Wanted::Free, free), (Wanted::Tdr, td.tdr)];
            candidates.extend(td.tdcs.first().map(|page| (Wanted::Used, *page)));
            candidates.extend(td.sept.first().map(|page| (Wanted::Used, *page)));
            candidates.extend(td.vcpus.first().map(|vcpu| (Wanted::Tdvpr, vcpu[0])));
            for (is, page) in candidates {
                // A page that the leaf has locked already is refused as busy, which is another
                // rule.
                let is_other_operand = pages
                    .iter()
                    .any(|&(other, _, _)| other != register && operand(&good, other) == page);
                let is_tdr_of_vcpu = *leaf == Leaf::VpAddcx && register == RCX && is == Wanted::Tdr;
                let is_twice = is_other_operand || is_tdr_of_vcpu;
                let fits = match wanted {
                    Wanted::Any => true,
                    Wanted::Used => is != Wanted::Free,
                    wanted => wanted == is,
                };
                if fits || is_twice {
                    continue;
                }
                let status = host.status(*leaf, with_operand(good, register, page));
                assert_eq!(
                    status,
                    WRONG_TYPE | register,
                    "{} with {is:?}: {status:#x}",
                    leaf.name()
                );
            }
        }
    }
}

#[test]
fn one_page_cannot_be_two_operands_of_which_one_is_locked_alone() {
    for leaf in [Leaf::MngAddcx, Leaf::VpCreate, Leaf::VpAddcx] {
        let (mut host, _, good) = ready_for(leaf);
        assert_eq!(
            host.status(leaf, with_operand(good, RCX, good.rdx)),
            BUSY | 1
        );
    }
    for leaf in [Leaf::MemSeptAdd, Leaf::MemPageAdd, Leaf::MemPageAug] {
        let (mut host, _, good) = ready_for(leaf);
        assert_eq!(
            host.status(leaf, with_operand(good, R8, good.rdx)),
            BUSY | 8
        );
    }
}

#[test]
fn a_page_that_another_lp_works_on_is_busy() {
    for (leaf, pages) in PAGE_OPERANDS {
        for &(register, _, mode) in *pages {
            let (mut host, _, good) = ready_for(*leaf);
            let key = LockKey::Page(operand(&good, register));
            assert_eq!(
                host.status_while(key, EXCLUSIVE, *leaf, good),
                BUSY | register,
                "{}",
                leaf.name()
            );
            let expected = match mode {
                SHARED => SUCCESS,
                EXCLUSIVE => BUSY | register,
            };
            assert_eq!(
                host.status_while(key, SHARED, *leaf, good),
                expected,
                "{} shared",
                leaf.name()
            );
        }
    }
}

#[test]
fn a_tdr_found_through_another_page_is_busy() {
    let busy = BUSY | 0x80;
    let leaves = [
        (Leaf::VpAddcx, SHARED),
        (Leaf::VpInit, EXCLUSIVE),
        (Leaf::VpRd, SHARED),
        (Leaf::VpWr, SHARED),
        (Leaf::VpFlush, SHARED),
        (Leaf::PhymemPageReclaim, SHARED),
    ];
    for (leaf, mode) in leaves {
        let (mut host, td, good) = ready_for(leaf);
        let key = LockKey::Page(td.tdr);
        assert_eq!(
            host.status_while(key, EXCLUSIVE, leaf, good),
            busy,
            "{}",
            leaf.name()
        );
        let expected = match mode {
            SHARED => SUCCESS,
            EXCLUSIVE => busy,
        };
        assert_eq!(
            host.status_while(key, SHARED, leaf, good),
            expected,
            "{}",
            leaf.name()
        );
    }
    // Version 0 of TDH.VP.INIT checks no ids, and so shares the TDR.
    let (mut host, td, good) = ready_for(Leaf::VpInit);
    assert!(host.locks.try_lock(LockKey::Page(td.tdr), SHARED));
    assert_eq!(host.call_on(0, Leaf::VpInit, 0, good).0, SUCCESS);
}

/// A leaf, a lock that it takes, and the operand id in its status when another LP holds that.
type LockedLeaf = (Leaf, fn(&Td) -> LockKey, u64);

#[test]
fn other_locks_have_operand_ids_of_their_own() {
    let table: &[LockedLeaf] = &[
        (Leaf::MngCreate, |_| LockKey::Kot, 0xBA),
        (Leaf::MngVpflushdone, |_| LockKey::Kot, 0xBA),
        (Leaf::MngKeyFreeid, |_| LockKey::Kot, 0xBA),
        (Leaf::MngKeyConfig, |_| LockKey::KeyHardware(0), 0xBB),
        (Leaf::PhymemCacheWb, |_| LockKey::Wbcache(0), 0xBC),
        (Leaf::PhymemCacheWb, |_| LockKey::Kot, 0xBA),
        (Leaf::MngRd, |td| LockKey::OpState(td.tdr), 0xAC),
        (Leaf::VpCreate, |td| LockKey::OpState(td.tdr), 0xAC),
        (Leaf::VpAddcx, |td| LockKey::OpState(td.tdr), 0xAC),
        (Leaf::VpInit, |td| LockKey::OpState(td.tdr), 0xAC),
        (Leaf::VpRd, |td| LockKey::OpState(td.tdr), 0xAC),
        (Leaf::VpWr, |td| LockKey::OpState(td.tdr), 0xAC),
        (Leaf::MemSeptAdd, |td| LockKey::OpState(td.tdr), 0xAC),
        (Leaf::MemPageAug, |td| LockKey::OpState(td.tdr), 0xAC),
        (Leaf::MemRangeBlock, |td| LockKey::OpState(td.tdr), 0xAC),
        (Leaf::MemTrack, |td| LockKey::OpState(td.tdr), 0xAC),
        (Leaf::MemPageRemove, |td| LockKey::OpState(td.tdr), 0xAC),
        (Leaf::MemTrack, |td| LockKey::Epoch(td.tdr), 0xA9),
        (Leaf::MemSeptAdd, |td| LockKey::SeptTree(td.tdr), 0x92),
        (Leaf::MemPageAug, |td| LockKey::SeptTree(td.tdr), 0x92),
        (Leaf::MemRangeBlock, |td| LockKey::SeptTree(td.tdr), 0x92),
        (Leaf::MemPageRemove, |td| LockKey::SeptTree(td.tdr), 0x92),
    ];
    for (leaf, key, id) in table {
        let (mut host, td, good) = ready_for(*leaf);
        let status = host.status_while_locked(key(&td), *leaf, good);
        assert_eq!(
            status,
            BUSY | id,
            "{} {:?}: {status:#x}",
            leaf.name(),
            key(&td)
        );
    }
    // Only blocking wants the tree for itself.
    for leaf in [
        Leaf::MemSeptAdd,
        Leaf::MemPageAug,
        Leaf::MemPageRemove,
        Leaf::MemRangeBlock,
    ] {
        let (mut host, td, good) = ready_for(leaf);
        let status = host.status_while(LockKey::SeptTree(td.tdr), SHARED, leaf, good);
        let expected = match leaf {
            Leaf::MemRangeBlock => BUSY | 0x92,
            _ => SUCCESS,
        };
        assert_eq!(status, expected, "{}", leaf.name());
    }
}

#[test]
fn a_secure_ept_entry_that_another_lp_works_on_is_busy_and_shown() {
    let cases = [
        // Free, free, mapped, mapped: state 0 or 4 in bits 15:8, level in bits 2:0.
        (Leaf::MemSeptAdd, 0x001),
        (Leaf::MemPageAug, 0x000),
        (Leaf::MemRangeBlock, 0x400),
        (Leaf::MemPageRemove, 0x400),
    ];
    for (leaf, information) in cases {
        let (mut host, td, good) = ready_for(leaf);
        let level = (good.rcx & 7) as u8;
        let key = LockKey::SeptEntry(td.tdr, good.rcx & !0xFFF, level);
        assert!(host.locks.try_lock(key, EXCLUSIVE));
        let (status, out) = host.call(leaf, good);
        assert_eq!(
            (status, out.rdx),
            (BUSY | 1, information),
            "{}",
            leaf.name()
        );
    }
    // The page that an entry maps has a lock too.
    let (mut host, td, good) = ready_for(Leaf::MemPageRemove);
    let page = {
        let mut pages = host.world.pamt.entries();
        let is_private = |entry: &PamtEntry| entry.page_type == PageType::Private;
        pages.find(|(_, entry)| is_private(entry)).unwrap().0
    };
    assert_eq!(host.world.pamt.lookup(page).unwrap().1.owner, td.tdr);
    let status = host.status_while(LockKey::Page(page), SHARED, Leaf::MemPageRemove, good);
    assert_eq!(status, BUSY | 1);
}

#[test]
fn a_gpa_operand_is_private_aligned_and_of_a_level_that_the_leaf_has() {
    let leaves: &[(Leaf, std::ops::RangeInclusive<u64>)] = &[
        (Leaf::MemSeptAdd, 1..=3),
        (Leaf::MemPageAdd, 0..=0),
        (Leaf::MemPageAug, 0..=1),
        (Leaf::MemRangeBlock, 0..=3),
        (Leaf::MemPageRemove, 0..=2),
    ];
    for (leaf, levels) in leaves {
        let (mut host, _, good) = ready_for(*leaf);
        let before = format!("{:?}", host.world);
        let mut bad = vec![
            // Reserved bits 11:3 and 63:52, the shared bit, and GPAs beyond 48 bits.
            good.rcx | (1 << 3),
            good.rcx | (1 << 11),
            good.rcx | (1 << 52),
            good.rcx | (1 << 63),
            good.rcx | (1 << 47),
            good.rcx | (1 << 48),
            good.rcx | (1 << 51),
        ];
        for level in 0..8 {
            if !levels.contains(&level) {
                bad.push(level);
            } else if level > 0 {
                // One page beside where such an entry can begin.
                bad.push(PAGE | level);
                bad.push((1 << (12 + 9 * level - 1)) | level);
            }
        }
        for rcx in bad {
            let (status, out) = host.call(*leaf, with_operand(good, RCX, rcx));
            assert_eq!(
                status,
                INVALID | 1,
                "{} with {rcx:#x}: {status:#x}",
                leaf.name()
            );
            assert_eq!((out.rcx, out.rdx), (0, 0));
        }
        assert_eq!(before, format!("{:?}", host.world), "{}", leaf.name());
    }
    let (mut host, _, good) = ready_for(Leaf::MrExtend);
    for rcx in [GPA | 0x80, GPA + 1, GPA | (1 << 47), GPA | (1 << 63)] {
        let status = host.status(Leaf::MrExtend, with_operand(good, RCX, rcx));
        assert_eq!(status, INVALID | 1, "{rcx:#x}");
    }
}

#[test]
fn a_walk_that_ends_too_early_is_shown() {
    // Nothing is mapped in this GPA's half of the tree: the walk ends at the root, level 3.
    let elsewhere = 0x7F80_0000_0000;
    for (leaf, level) in [
        (Leaf::MemSeptAdd, 1),
        (Leaf::MemPageAdd, 0),
        (Leaf::MemPageAug, 0),
        (Leaf::MemPageAug, 1),
        (Leaf::MemRangeBlock, 0),
        (Leaf::MemPageRemove, 0),
        (Leaf::MemPageRemove, 2),
    ] {
        let (mut host, _, good) = ready_for(leaf);
        let (status, out) = host.call(leaf, with_operand(good, RCX, elsewhere | level));
        assert_eq!(status, 0xC000_0B00_0000_0001, "{}", leaf.name());
        // A free entry has only the bit that suppresses #VE.
        assert_eq!((out.rcx, out.rdx), (1 << 63, 3), "{}", leaf.name());
    }
}

#[test]
fn versions_above_1_do_not_exist() {
    for leaf in [Leaf::MemSeptAdd, Leaf::MngRd, Leaf::VpInit, Leaf::VpRd] {
        let (mut host, _, good) = ready_for(leaf);
        for version in [2, 255] {
            assert_eq!(
                host.call_on(0, leaf, version, good).0,
                INVALID,
                "{}",
                leaf.name()
            );
        }
    }
}

#[test]
fn source_pages_and_parameters_are_shared_memory() {
    let (mut host, _, good) = ready_for(Leaf::MemPageAdd);
    let mut add = |source| host.status(Leaf::MemPageAdd, Regs { r9: source, ..good });
    for source in [
        SOURCE | 1,
        SOURCE | 0x800,
        SOURCE | PRIVATE_KEYID_BITS,
        SOURCE | (1 << 52),
        // No memory there.
        OUTSIDE,
    ] {
        assert_eq!(add(source), INVALID | 9, "{source:#x}");
    }
    assert_eq!(add(SOURCE | SHARED_KEYID_BITS), SUCCESS);
    for leaf in [Leaf::MemPageAdd, Leaf::MngInit] {
        let (mut host, _, good) = ready_for(leaf);
        // The SEAM range, laid over both.
        (host.platform.seamrr_base, host.platform.seamrr_size) = (0, 32 * MIB);
        let expected = if leaf == Leaf::MngInit { 2 } else { 9 };
        assert_eq!(host.status(leaf, good), INVALID | expected);
    }
    let (mut host, _, good) = ready_for(Leaf::MngInit);
    let mut init = |params| {
        host.status(
            Leaf::MngInit,
            Regs {
                rdx: params,
                ..good
            },
        )
    };
    for params in [
        PARAMS | 0x200,
        PARAMS | PRIVATE_KEYID_BITS,
        PARAMS | (1 << 52),
        OUTSIDE,
    ] {
        assert_eq!(init(params), INVALID | 2, "{params:#x}");
    }
}

/// TDH.MNG.INIT with these event filters in R8 and these parameters, on a fresh TD.
fn init_with_filters(r8: u64, change: impl FnOnce(&mut [u8])) -> u64 {
    let (mut host, _, good) = ready_for(Leaf::MngInit);
    let mut params = Host::td_params();
    change(&mut params);
    assert!(host.ram.write(PARAMS, &params));
    let with_filters = Regs {
        rcx: good.rcx | 1,
        r8,
        ..good
    };
    host.status(Leaf::MngInit, with_filters)
}

#[test]
fn event_filters_are_for_tds_with_performance_monitoring() {
    let perfmon = |params: &mut [u8]| params[7] |= 0x80;
    // An address with a number of filters in its low bits.
    for good in [SOURCE | 1, SOURCE | 7, SOURCE | SHARED_KEYID_BITS | 512] {
        assert_eq!(init_with_filters(good, perfmon), SUCCESS, "{good:#x}");
    }
    for bad in [
        0,
        SOURCE,
        SOURCE | 513,
        SOURCE | 0xFFF,
        SOURCE | PRIVATE_KEYID_BITS | 1,
        SOURCE | (1 << 52) | 1,
        u64::MAX,
    ] {
        assert_eq!(init_with_filters(bad, perfmon), INVALID | 8, "{bad:#x}");
        // Nobody looks at them without PERFMON, bit 63 of ATTRIBUTES.
        assert_eq!(init_with_filters(bad, |_| {}), SUCCESS, "{bad:#x}");
    }
    // Behind the fields of TD_PARAMS, such as reserved bytes 224..256, and before CPUID values.
    let with = |at: usize| {
        move |params: &mut [u8]| {
            perfmon(params);
            params[at] = 0xFF;
        }
    };
    for (at, id) in [(15, 0x41), (200, 2), (255, 2), (256, 8)] {
        let status = init_with_filters(0, with(at));
        // MROWNERCONFIG, in the middle, may be anything.
        let expected = if at == 200 { INVALID | 8 } else { INVALID | id };
        assert_eq!(status, expected, "{at}");
    }
    // Without bit 0 of RCX, R8 is no operand.
    let (mut host, _, good) = ready_for(Leaf::MngInit);
    let mut params = Host::td_params();
    perfmon(&mut params);
    assert!(host.ram.write(PARAMS, &params));
    assert_eq!(
        host.status(Leaf::MngInit, Regs { r8: 0x123, ..good }),
        SUCCESS
    );
}
