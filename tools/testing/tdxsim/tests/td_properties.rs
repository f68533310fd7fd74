// SPDX-License-Identifier: GPL-2.0

//! Random sequences of legal and illegal calls never break what must always hold.

mod td_support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use td_support::*;
use tdxsim::leaf::Leaf;
use tdxsim::mem::Memory;
use tdxsim::module::keys::KeyId;
use tdxsim::module::pamt::PageType;
use tdxsim::module::td::{LifeCycle, OpState};
use tdxsim::regs::Regs;

/// Addresses from a few pages only, so that operands meet again and again; some are no pages at
/// all.
const PAGES: u64 = 64;

fn page() -> impl Strategy<Value = u64> {
    prop_oneof![
        // TDs take the lowest pages first, so that these are most often a TDR.
        40 => (0..3u64).prop_map(|n| TDMR_BASE + n * PAGE),
        40 => (0..PAGES).prop_map(|n| TDMR_BASE + n * PAGE),
        1 => Just(RESERVED),
        1 => Just(UNINITIALISED),
        1 => Just(OUTSIDE),
        1 => Just(TDMR_BASE + 1),
        1 => any::<u64>(),
    ]
}

fn gpa() -> impl Strategy<Value = u64> {
    let level = prop_oneof![4 => Just(0), 2 => Just(1), 1 => 2..5u64];
    let page = prop_oneof![6 => 0..3u64, 1 => Just(512), 1 => Just(1 << 35)];
    (level, page).prop_map(|(level, page)| {
        let gpa = page * PAGE;
        gpa & !((1 << (12 + 9 * level)) - 1) | level
    })
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let leaves: Vec<Leaf> = Leaf::ALL
        .iter()
        .copied()
        .filter(|leaf| !leaf.name().starts_with("TDH.SYS."))
        .collect();
    proptest::sample::select(leaves)
}

/// One call, with operands of the kinds that leaves take where they take them.
#[derive(Clone, Debug)]
struct AnyCall {
    lp: usize,
    leaf: Leaf,
    version: u8,
    regs: Regs,
    entropy_denied: bool,
}

fn any_call() -> impl Strategy<Value = AnyCall> {
    let field = prop_oneof![Just(0x4000u64), Just(0x1100_0000_0000_000A), any::<u64>()];
    let keyid = 60..72u64;
    (
        (0..4usize, leaf(), 0..3u8, prop::bool::weighted(0.02)),
        (page(), page(), page(), gpa(), keyid, field, any::<u64>()),
    )
        .prop_map(|((lp, leaf, version, entropy_denied), operands)| {
            let (first, second, third, gpa, keyid, field, any) = operands;
            let regs = match leaf {
                Leaf::MngCreate => regs(first, keyid, 0, 0),
                Leaf::MngInit => regs(first, PARAMS, 0, 0),
                Leaf::MngRd | Leaf::VpRd => regs(first, field, 0, 0),
                Leaf::VpWr => regs(first, field, any, any >> 32),
                Leaf::VpInit => regs(first, any, any & 3, 0),
                Leaf::PhymemCacheWb => regs(any & 1, 0, 0, 0),
                Leaf::MemSeptAdd
                | Leaf::MemPageAdd
                | Leaf::MemPageAug
                | Leaf::MemPageRemove
                | Leaf::MemRangeBlock
                | Leaf::MrExtend => regs(gpa, second, third, SOURCE),
                _ => regs(first, second, third, any),
            };
            AnyCall {
                lp,
                leaf,
                version: version.saturating_sub(1),
                regs,
                entropy_denied,
            }
        })
}

/// A step that leads on from where the world is, or any call.
#[derive(Clone, Debug)]
enum Step {
    /// Any call.
    Call(AnyCall),
    /// A TD's next step on its way up, with the KeyID for a new one, and a choice where there is
    /// one.
    Build { keyid: u16, choice: u8 },
    /// A TD's next step on its way down.
    TearDown(usize),
    /// A module update.
    Update { old: bool, detect: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => any_call().prop_map(Step::Call),
        60 => (65..68u16, 0..12u8).prop_map(|(keyid, choice)| Step::Build { keyid, choice }),
        3 => any::<usize>().prop_map(Step::TearDown),
        1 => any::<(bool, bool)>().prop_map(|(old, detect)| Step::Update { old, detect }),
    ]
}

fn free_page(host: &Host) -> Option<u64> {
    let mut pages = (0..PAGES).map(|n| TDMR_BASE + n * PAGE);
    pages.find(|&page| host.world.pamt.lookup(page).unwrap().1.page_type == PageType::Free)
}

/// A page in use of this type, owned by the TD.
fn owned(host: &Host, tdr: u64, page_type: PageType) -> Vec<u64> {
    let entries = host.world.pamt.entries();
    entries
        .filter(|(_, entry)| entry.page_type == page_type && entry.owner == tdr)
        .map(|(page, _)| page)
        .collect()
}

/// Takes a TD one step further up: calls that make sense at its stage, which nevertheless may fail
/// for what was done before.
fn build(host: &mut Host, keyid: u16, choice: u8) {
    let Some(page) = free_page(host) else {
        return;
    };
    let td = host
        .world
        .tds()
        .find(|td| td.keyid == keyid && td.life_cycle != LifeCycle::Teardown);
    let Some(td) = td else {
        host.status(Leaf::MngCreate, regs(page, keyid.into(), 0, 0));
        return;
    };
    let tdr = td.tdr;
    let has_vcpu = td.vcpus > 0;
    match (td.life_cycle, td.op_state) {
        (LifeCycle::HkidAssigned, _) => {
            for lp in 0..host.packages {
                host.call_on(lp, Leaf::MngKeyConfig, 0, regs(tdr, 0, 0, 0));
            }
        }
        (LifeCycle::KeysConfigured, OpState::Uninitialized) if td.pages < 6 => {
            host.status(Leaf::MngAddcx, regs(page, tdr, 0, 0));
        }
        (LifeCycle::KeysConfigured, OpState::Uninitialized) => {
            host.status(Leaf::MngInit, regs(tdr, PARAMS, 0, 0));
        }
        (LifeCycle::KeysConfigured, OpState::Initialized) if choice < 6 && !has_vcpu => {
            match owned(host, tdr, PageType::Tdvpr).first() {
                None => host.status(Leaf::VpCreate, regs(page, tdr, 0, 0)),
                Some(&vcpu) => {
                    host.status(Leaf::VpAddcx, regs(page, vcpu, 0, 0));
                    host.status(Leaf::VpInit, regs(vcpu, 0, vcpu / PAGE, 0))
                }
            };
        }
        (LifeCycle::KeysConfigured, op_state) => {
            let gpa = u64::from(choice % 2) * PAGE;
            for level in [3, 2, 1] {
                if let Some(page) = free_page(host) {
                    host.status(Leaf::MemSeptAdd, regs(level, tdr, page, 0));
                }
            }
            let page = free_page(host).unwrap_or(OUTSIDE);
            let on_gpa = regs(gpa, tdr, page, SOURCE);
            match choice {
                0..4 if op_state == OpState::Initialized => host.status(Leaf::MemPageAdd, on_gpa),
                0..6 => host.status(Leaf::MemPageAug, on_gpa),
                6..8 => host.status(Leaf::MrExtend, on_gpa),
                8 => host.status(Leaf::MemRangeBlock, on_gpa),
                9 => host.status(Leaf::MemTrack, regs(tdr, 0, 0, 0)),
                10 => host.status(Leaf::MemPageRemove, on_gpa),
                _ => host.status(Leaf::MrFinalize, regs(tdr, 0, 0, 0)),
            };
        }
        _ => {}
    }
}

/// Takes a TD one step further down.
fn tear_down(host: &mut Host, which: usize) {
    let tds: Vec<_> = host.world.tds().collect();
    if tds.is_empty() {
        return;
    }
    let td = &tds[which % tds.len()];
    match td.life_cycle {
        LifeCycle::HkidAssigned | LifeCycle::KeysConfigured => {
            for vcpu in owned(host, td.tdr, PageType::Tdvpr) {
                for lp in 0..4 {
                    host.call_on(lp, Leaf::VpFlush, 0, regs(vcpu, 0, 0, 0));
                }
            }
            let status = host.status(Leaf::MngVpflushdone, regs(td.tdr, 0, 0, 0));
            assert_eq!(status, SUCCESS);
        }
        LifeCycle::Blocked => {
            for lp in 0..host.packages {
                host.call_on(lp, Leaf::PhymemCacheWb, 0, regs(0, 0, 0, 0));
            }
            assert_eq!(
                host.status(Leaf::MngKeyFreeid, regs(td.tdr, 0, 0, 0)),
                SUCCESS
            );
        }
        LifeCycle::Teardown => {
            let td = Td {
                tdr: td.tdr,
                ..Td::default()
            };
            host.reclaim(&td);
        }
    }
}

/// What must hold after every step.
fn check(host: &Host) -> Result<(), TestCaseError> {
    prop_assert!(host.locks.is_empty());
    let tds: BTreeMap<u64, _> = host.world.tds().map(|td| (td.tdr, td)).collect();

    // Every page in use is in one hand: it lies in the TDMR, overlaps no other, and its owner is a
    // TD that counts it.
    let mut end = 0;
    let mut children: BTreeMap<u64, u64> = BTreeMap::new();
    for (page, entry) in host.world.pamt.entries() {
        prop_assert!(page >= end);
        end = page + entry.size.bytes();
        prop_assert!(TDMR_BASE <= page && end <= UNINITIALISED);
        prop_assert!(page > RESERVED || end <= RESERVED);
        if entry.page_type == PageType::Tdr {
            prop_assert!(tds.contains_key(&page));
        } else {
            prop_assert!(tds.contains_key(&entry.owner));
            *children.entry(entry.owner).or_default() += entry.size.pages();
        }
    }
    for td in tds.values() {
        let page = host
            .world
            .pamt
            .lookup(td.tdr)
            .map(|(_, entry)| entry.page_type);
        prop_assert_eq!(page, Some(PageType::Tdr));
        prop_assert_eq!(td.pages, children.get(&td.tdr).copied().unwrap_or(0));
    }

    // A KeyID has one owner, and is free exactly when no TD before TEARDOWN has it.
    let mut keyids = BTreeSet::new();
    for td in tds
        .values()
        .filter(|td| td.life_cycle != LifeCycle::Teardown)
    {
        prop_assert!(keyids.insert(td.keyid));
        let expected_flushed = td.life_cycle == LifeCycle::Blocked;
        match host.world.keys().state(td.keyid) {
            Some(KeyId::Assigned) => prop_assert!(!expected_flushed),
            Some(KeyId::Flushed(_)) => prop_assert!(expected_flushed),
            other => prop_assert!(false, "{:?}", other),
        }
    }
    for (keyid, state) in host.world.keys().iter() {
        prop_assert_eq!(
            state == KeyId::Free,
            keyid != 64 && !keyids.contains(&keyid)
        );
    }

    // Counted are only TDs under build; a measurement is there exactly when the build is over.
    let counted = tds.values().filter(|td| td.is_build_counted);
    prop_assert_eq!(
        usize::from(host.world.build_count()),
        counted.clone().count()
    );
    for td in counted {
        prop_assert_eq!(td.op_state, OpState::Initialized);
        prop_assert_eq!(td.life_cycle, LifeCycle::KeysConfigured);
    }
    for td in tds.values() {
        prop_assert_eq!(td.op_state == OpState::Runnable, td.mrtd.is_some());
    }
    Ok(())
}

fn take(host: &mut Host, step: Step) {
    match step {
        Step::Call(call) => {
            host.entropy_denied = call.entropy_denied;
            host.call_on(call.lp, call.leaf, call.version, call.regs);
            host.entropy_denied = false;
        }
        Step::Build { keyid, choice } => build(host, keyid, choice),
        Step::TearDown(which) => tear_down(host, which),
        Step::Update { old: true, detect } => host.update("tdx-1.5.16", 0, detect),
        Step::Update { old: false, detect } => host.update("tdx-1.5.25", 1, detect),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_calls_keep_the_world_consistent_and_teardown_possible(
        packages in 1..3usize,
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut host = Host::with_packages(packages);
        assert!(host.ram.write(PARAMS, &Host::td_params()));
        for step in steps {
            take(&mut host, step);
            check(&host)?;
        }
        // Whatever happened, every TD can be taken down, and nothing is left of it.
        while host.world.tds().next().is_some() {
            tear_down(&mut host, 0);
            check(&host)?;
        }
        prop_assert!(host.world.pamt.pages_in_use().is_empty());
        prop_assert_eq!(host.world.build_count(), 0);
    }

    #[test]
    fn a_refused_call_changes_nothing(
        steps in prop::collection::vec(step(), 1..60),
        last in any_call(),
    ) {
        let mut host = Host::new();
        assert!(host.ram.write(PARAMS, &Host::td_params()));
        for step in steps {
            take(&mut host, step);
        }
        let before = format!("{:?}", host.world);
        let (status, _) = host.call_on(last.lp, last.leaf, last.version, last.regs);
        // Reading and writing fields associates the vCPU even when the field is refused.
        let associates = matches!(last.leaf, Leaf::VpRd | Leaf::VpWr);
        if status >> 63 == 1 && !associates {
            prop_assert_eq!(before, format!("{:?}", host.world));
        }
    }
}
