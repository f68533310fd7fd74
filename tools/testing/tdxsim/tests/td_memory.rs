// SPDX-License-Identifier: GPL-2.0

//! A TD's private memory: every leaf in every state of a secure EPT entry, large pages, and the
//! measurement.
//!
//! Expected statuses are written as numbers, operand ids included, not by the model's names.

mod td_support;

use std::fmt::Write;

use sha2::{Digest, Sha384};
use td_support::*;
use tdxsim::leaf::Leaf;
use tdxsim::mem::Memory;
use tdxsim::module::pamt::PageType;
use tdxsim::regs::Regs;

const WRONG_STATE: u64 = 0xC000_0B0D_0000_0001;
const WALK_FAILED: u64 = 0xC000_0B00_0000_0001;
const ALREADY_BLOCKED: u64 = 0x0000_0B07_0000_0001;
const NOT_BLOCKED: u64 = 0xC000_0B06_0000_0001;
const NOT_TRACKED: u64 = 0xC000_0B08_0000_0001;
const ABSENT: u64 = 0xC000_0B03_0000_0001;
const NOT_MAPPED: u64 = 0xC000_0B03_0000_0000;

/// Where the tests bring a 4 KiB entry into a state: [`GPA`] is mapped already.
const AT: u64 = GPA + PAGE;
/// Where they do it with a 2 MiB entry: under the same 1 GiB table.
const LARGE: u64 = (GPA & !0x1F_FFFF) + 0x20_0000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Free,
    Mapped,
    Blocked,
    Pending,
    PendingBlocked,
}

/// States of a 4 KiB entry, with the number that information on errors has for them.
const STATES: [(State, u64); 5] = [
    (State::Free, 0),
    (State::Mapped, 4),
    (State::Blocked, 1),
    (State::Pending, 2),
    (State::PendingBlocked, 3),
];

/// A TD under build with the entry at [`AT`] in this state.
fn build_with(state: State) -> (Host, Td) {
    let mut host = Host::new();
    let td = host.td_at(Stage::Initialized, 65);
    match state {
        State::Free => {}
        State::Mapped | State::Blocked => {
            host.add_page(&td, AT, &[1; PAGE as usize]);
        }
        State::Pending | State::PendingBlocked => {
            let page = host.new_page();
            host.ok(Leaf::MemPageAug, regs(AT, td.tdr, page, 0));
        }
    }
    if matches!(state, State::Blocked | State::PendingBlocked) {
        host.ok(Leaf::MemRangeBlock, regs(AT, td.tdr, 0, 0));
    }
    (host, td)
}

#[test]
fn leaves_on_a_small_entry_follow_its_state() {
    let while_building: &[(Leaf, [u64; 5])] = &[
        (
            Leaf::MemPageAdd,
            [SUCCESS, WRONG_STATE, WRONG_STATE, WRONG_STATE, WRONG_STATE],
        ),
        (
            Leaf::MemPageAug,
            [SUCCESS, WRONG_STATE, WRONG_STATE, WRONG_STATE, WRONG_STATE],
        ),
        (
            Leaf::MrExtend,
            [ABSENT, SUCCESS, NOT_MAPPED, NOT_MAPPED, NOT_MAPPED],
        ),
        (
            Leaf::MemRangeBlock,
            [
                WRONG_STATE,
                SUCCESS,
                ALREADY_BLOCKED,
                SUCCESS,
                ALREADY_BLOCKED,
            ],
        ),
        (
            Leaf::MemPageRemove,
            [WRONG_STATE, SUCCESS, SUCCESS, SUCCESS, SUCCESS],
        ),
    ];
    let when_runnable: &[(Leaf, [u64; 5])] = &[
        (
            Leaf::MemPageAug,
            [SUCCESS, WRONG_STATE, WRONG_STATE, WRONG_STATE, WRONG_STATE],
        ),
        (
            Leaf::MemRangeBlock,
            [
                WRONG_STATE,
                SUCCESS,
                ALREADY_BLOCKED,
                SUCCESS,
                ALREADY_BLOCKED,
            ],
        ),
        (
            Leaf::MemPageRemove,
            [
                WRONG_STATE,
                NOT_BLOCKED,
                NOT_TRACKED,
                NOT_BLOCKED,
                NOT_TRACKED,
            ],
        ),
    ];
    for (is_runnable, table) in [(false, while_building), (true, when_runnable)] {
        for (leaf, expected) in table {
            for ((state, number), expected) in STATES.into_iter().zip(expected) {
                let (mut host, td) = build_with(state);
                if is_runnable {
                    host.finalize(&td);
                }
                let page = host.new_page();
                let before = format!("{:?}", host.world);
                let (status, out) = host.call(*leaf, regs(AT, td.tdr, page, SOURCE));
                assert_eq!(
                    status,
                    *expected,
                    "{} in {state:?}: {status:#x}",
                    leaf.name()
                );
                if status != SUCCESS {
                    assert_eq!(before, format!("{:?}", host.world));
                }
                let information = match *expected {
                    WRONG_STATE | ALREADY_BLOCKED | NOT_BLOCKED | ABSENT => number << 8,
                    _ => 0,
                };
                assert_eq!(out.rdx, information, "{} in {state:?}", leaf.name());
            }
        }
    }
}

#[test]
fn a_removed_page_is_tracked_when_the_td_may_run() {
    for state in [State::Blocked, State::PendingBlocked] {
        let (mut host, td) = build_with(state);
        host.finalize(&td);
        let remove = regs(AT, td.tdr, 0, 0);
        assert_eq!(host.status(Leaf::MemPageRemove, remove), NOT_TRACKED);
        host.ok(Leaf::MemTrack, regs(td.tdr, 0, 0, 0));
        let page = host.ok(Leaf::MemPageRemove, remove).rcx;
        assert_eq!(
            host.world.pamt.lookup(page).unwrap().1.page_type,
            PageType::Free
        );
        // The entry is free: the page can be given again, and elsewhere.
        host.ok(Leaf::MemPageAug, regs(AT, td.tdr, page, 0));
        let twice = regs(AT + PAGE, td.tdr, page, 0);
        assert_eq!(host.status(Leaf::MemPageAug, twice), WRONG_TYPE | 8);
    }
}

#[test]
fn the_metadata_of_a_blocked_page_has_the_epoch() {
    let (mut host, td) = build_with(State::Mapped);
    let page = |host: &Host| {
        let owned = host.world.pamt.entries();
        let private = owned.filter(|(_, entry)| entry.page_type == PageType::Private);
        private.map(|(page, _)| page).last().unwrap()
    };
    let page = page(&host);
    let rdmd = |host: &mut Host, page| {
        let out = host.ok(Leaf::PhymemPageRdmd, regs(page, 9, 9, 9));
        (out.rcx, out.rdx, out.r8, out.r9)
    };
    assert_eq!(rdmd(&mut host, page), (3, td.tdr, 0, 0));
    host.ok(Leaf::MemTrack, regs(td.tdr, 0, 0, 0));
    host.ok(Leaf::MemRangeBlock, regs(AT, td.tdr, 0, 0));
    assert_eq!(rdmd(&mut host, page), (3, td.tdr, 0, 2));
    assert_eq!(rdmd(&mut host, td.tdr), (4, 0, 0, 0));
    assert_eq!(rdmd(&mut host, td.tdcs[0]), (5, td.tdr, 0, 0));
    assert_eq!(rdmd(&mut host, td.vcpus[0][0]), (6, td.tdr, 0, 0));
    assert_eq!(rdmd(&mut host, td.vcpus[0][1]), (5, td.tdr, 0, 0));
    assert_eq!(rdmd(&mut host, td.sept[0]), (8, td.tdr, 0, 0));
    assert_eq!(rdmd(&mut host, RESERVED), (1, 0, 0, 0));
    let free = host.new_page();
    assert_eq!(rdmd(&mut host, free), (0, 0, 0, 0));
}

#[test]
fn an_existing_table_is_an_error_unless_the_host_allows_it() {
    let mut host = Host::new();
    let mut td = host.td_at(Stage::Initialized, 65);
    let page = host.new_page();
    let at = |level: u64| GPA & !((1 << (12 + 9 * level)) - 1) | level;
    for level in 1..=3 {
        let (status, out) = host.call(Leaf::MemSeptAdd, regs(at(level), td.tdr, page, 0));
        assert_eq!((status, out.rdx), (WRONG_STATE, level | 0x400));
        // Readable, writable, executable for both modes; no address.
        assert_eq!(out.rcx, 0x407);
        let out = host.ok(Leaf::MemSeptAdd, regs(at(level), td.tdr | 1, page, 0));
        assert_eq!((out.rcx, out.rdx), (0, 0));
    }
    assert_eq!(
        host.world.pamt.lookup(page).unwrap().1.page_type,
        PageType::Free
    );
    // Version 1 returns in R8 that the page was not used, or that there is nothing left of it.
    let none = u64::MAX;
    let v1 = |handle, r8, nested: [u64; 3]| Regs {
        r10: nested[1],
        r11: nested[2],
        ..regs(at(1), handle, r8, nested[0])
    };
    let (status, out) = host.call_on(0, Leaf::MemSeptAdd, 1, v1(td.tdr | 1, page, [none; 3]));
    assert_eq!((status, out.r8, out.r9), (SUCCESS, page | (1 << 63), none));
    let (status, out) = host.call_on(0, Leaf::MemSeptAdd, 1, v1(td.tdr, none, [none; 3]));
    assert_eq!((status, out.r8), (SUCCESS, none));
    assert_eq!(
        host.status(Leaf::MemSeptAdd, v1(td.tdr, none, [none; 3])),
        INVALID | 8
    );
    for (i, operand) in [9, 10, 11].into_iter().enumerate() {
        let mut nested = [none; 3];
        nested[i] = page;
        let (status, _) = host.call_on(0, Leaf::MemSeptAdd, 1, v1(td.tdr | 1, page, nested));
        assert_eq!(status, INVALID | operand);
    }
    // A new table, with bit 63 of the page ignored.
    let new = Regs {
        rcx: LARGE | 1,
        ..v1(td.tdr, page | (1 << 63), [none; 3])
    };
    let (status, out) = host.call_on(0, Leaf::MemSeptAdd, 1, new);
    assert_eq!((status, out.r8), (SUCCESS, none));
    assert_eq!(
        host.world.pamt.lookup(page).unwrap().1.page_type,
        PageType::Sept
    );
    // "No page" needs a table that exists.
    let missing = Regs {
        rcx: (LARGE + 0x20_0000) | 1,
        ..v1(td.tdr, none, [none; 3])
    };
    assert_eq!(host.call_on(0, Leaf::MemSeptAdd, 1, missing).0, WRONG_STATE);
    // A mapped or blocked entry is no table, whatever the host allows.
    let unused = host.new_page();
    host.ok(Leaf::MemRangeBlock, regs(LARGE | 1, td.tdr, 0, 0));
    let blocked = regs(LARGE | 1, td.tdr | 1, unused, 0);
    assert_eq!(host.status(Leaf::MemSeptAdd, blocked), WRONG_STATE);
    td.sept.push(page);
}

#[test]
fn blocking_a_table_hides_what_is_below() {
    let mut host = Host::new();
    let td = host.td_at(Stage::Initialized, 65);
    let table = GPA & !0x1F_FFFF | 1;
    host.ok(Leaf::MemRangeBlock, regs(table, td.tdr, 0, 0));
    for leaf in [Leaf::MemRangeBlock, Leaf::MemPageRemove, Leaf::MemPageAug] {
        let page = host.new_page();
        let (status, out) = host.call(leaf, regs(GPA, td.tdr, page, 0));
        assert_eq!((status, out.rdx), (WALK_FAILED, 0x101), "{}", leaf.name());
    }
    assert_eq!(host.status(Leaf::MrExtend, regs(GPA, td.tdr, 0, 0)), ABSENT);
    assert_eq!(
        host.status(Leaf::MemRangeBlock, regs(table, td.tdr, 0, 0)),
        ALREADY_BLOCKED
    );
    // A table is not a page to remove.
    assert_eq!(
        host.status(Leaf::MemPageRemove, regs(table, td.tdr, 0, 0)),
        WRONG_STATE
    );
}

#[test]
fn large_pages_are_all_or_nothing() {
    let mut host = Host::new();
    let mut td = host.td_at(Stage::Initialized, 65);
    let page = TDMR_BASE + 0x4000_0000 - 0x20_0000;
    let aug =
        |host: &mut Host, gpa, page| host.status(Leaf::MemPageAug, regs(gpa, td.tdr, page, 0));
    assert_eq!(aug(&mut host, LARGE | 1, page + PAGE), INVALID | 8);
    // One small page of it is in use.
    let small = host.world.pamt.entries().next().unwrap().0 & !0x1F_FFFF;
    assert_eq!(aug(&mut host, LARGE | 1, small), BUSY | 8);
    let inside = GPA + 2 * PAGE;
    assert_eq!(aug(&mut host, inside, page + PAGE), SUCCESS);
    assert_eq!(aug(&mut host, LARGE | 1, page), WRONG_TYPE | 8);
    host.ok(Leaf::MemPageRemove, regs(inside, td.tdr, 0, 0));
    // A reserved page is part of it.
    assert_eq!(
        aug(&mut host, LARGE | 1, RESERVED & !0x1F_FFFF),
        WRONG_TYPE | 8
    );
    assert_eq!(aug(&mut host, LARGE | 1, page), SUCCESS);
    let pages = host.world.tds().next().unwrap().pages;
    // Its parts are in use now, at their own level and above.
    assert_eq!(aug(&mut host, inside, page + PAGE), WRONG_TYPE | 8);
    assert_eq!(aug(&mut host, LARGE, page), WALK_FAILED);
    let metadata = host.ok(Leaf::PhymemPageRdmd, regs(page + PAGE, 0, 0, 0));
    assert_eq!((metadata.rcx, metadata.r8), (3, 1));
    // Removal gives 512 pages back; reclaiming, too.
    let removed = host.ok(Leaf::MemPageRemove, regs(LARGE | 1, td.tdr, 0, 0));
    assert_eq!(removed.rcx, page);
    assert_eq!(host.world.tds().next().unwrap().pages, pages - 512);
    host.ok(Leaf::MemPageAug, regs(LARGE | 1, td.tdr, page, 0));
    host.add_vcpu(&mut td);
    host.release_keyid(&td);
    let reclaim = |host: &mut Host, page| host.status(Leaf::PhymemPageReclaim, regs(page, 0, 0, 0));
    assert_eq!(reclaim(&mut host, page + PAGE), INVALID | 1);
    assert_eq!(reclaim(&mut host, page), SUCCESS);
    assert_eq!(host.world.tds().next().unwrap().pages, pages - 512 + 6);
    host.reclaim(&td);
}

#[test]
fn gpas_of_52_bits_have_five_levels() {
    let mut host = Host::new();
    let mut td = host.create(65);
    host.configure_keys(&td);
    host.add_tdcs_pages(&mut td, 6);
    let mut params = Host::td_params();
    params[24] = 0x26;
    params[32] |= 1;
    assert_eq!(host.init(&td, &params).0, SUCCESS);
    let gpa = 0x0007_FFFF_FFFF_F000;
    for level in (1..=4).rev() {
        let page = host.new_page();
        let at = gpa & !((1 << (12 + 9 * level)) - 1) | level;
        host.ok(Leaf::MemSeptAdd, regs(at, td.tdr, page, 0));
    }
    host.add_page(&td, gpa, &[0; PAGE as usize]);
    host.ok(Leaf::MrExtend, regs(gpa + 0xF00, td.tdr, 0, 0));
    // The topmost bit means shared.
    let shared = regs(gpa | (1 << 51), td.tdr, 0, 0);
    assert_eq!(host.status(Leaf::MemRangeBlock, shared), INVALID | 1);
    host.ok(
        Leaf::MemRangeBlock,
        regs(0x0007_0000_0000_0004, td.tdr, 0, 0),
    );
}

/// A page of which no two chunks are alike.
fn content() -> Vec<u8> {
    (0..PAGE).map(|i| (i * 7 + (i >> 8)) as u8).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Two pages, of which the first is measured.
fn build_measured(host: &mut Host) -> Td {
    let mut td = host.begin_build(65);
    host.add_vcpu(&mut td);
    host.add_sept(&mut td, GPA);
    host.add_page(&td, GPA, &content());
    host.extend(&td, GPA);
    host.add_page(&td, GPA + PAGE, &[0xEE; PAGE as usize]);
    td
}

#[test]
fn mrtd_is_the_sha_384_of_what_was_added_and_measured() {
    let mut host = Host::new();
    let td = build_measured(&mut host);
    host.finalize(&td);
    // Computed with Python's hashlib from the published formats: 128 bytes with the leaf's name at
    // 0 and the GPA at 16, behind MR.EXTEND the 256 bytes that it measures.
    let expected = "c6ee64700775710b1968440f2d7e2d6f7671fc3689c83e17a474ae6899f7ab3a\
                    1d17d4f2f7dd8014847aae6a6b57f365";
    assert_eq!(hex(&host.mrtd(&td).unwrap()), expected);
    // TDH.MNG.RD shows the same.
    let mut read = Vec::new();
    for element in 0..6 {
        let field = regs(td.tdr, 0x1310_0003_0000_0000 + element, 0, 0);
        read.extend(host.ok(Leaf::MngRd, field).r8.to_le_bytes());
    }
    assert_eq!(hex(&read), expected);
}

#[test]
fn an_empty_td_measures_nothing() {
    let mut host = Host::new();
    let mut td = host.begin_build(65);
    host.add_vcpu(&mut td);
    host.finalize(&td);
    assert_eq!(host.mrtd(&td).unwrap()[..], Sha384::digest([])[..]);
}

#[test]
fn the_private_page_gets_the_sources_content() {
    let mut host = Host::new();
    let td = build_measured(&mut host);
    let page = host.add_page(&td, GPA + 2 * PAGE, &content());
    let mut copy = vec![0; PAGE as usize];
    assert!(host.ram.read(page, &mut copy));
    assert_eq!(copy, content());
    // Measured is the page, not the source.
    assert!(host.ram.write(SOURCE, &[0; PAGE as usize]));
    host.extend(&td, GPA + 2 * PAGE);
    host.finalize(&td);
    let mut expected = Sha384::new();
    let block = |name: &str, gpa: u64| {
        let mut block = vec![0; 128];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[16..24].copy_from_slice(&gpa.to_le_bytes());
        block
    };
    let measure = |expected: &mut Sha384, gpa: u64| {
        for (i, chunk) in content().chunks(256).enumerate() {
            expected.update(block("MR.EXTEND", gpa + 256 * i as u64));
            expected.update(chunk);
        }
    };
    expected.update(block("MEM.PAGE.ADD", GPA));
    measure(&mut expected, GPA);
    expected.update(block("MEM.PAGE.ADD", GPA + PAGE));
    expected.update(block("MEM.PAGE.ADD", GPA + 2 * PAGE));
    measure(&mut expected, GPA + 2 * PAGE);
    assert_eq!(host.mrtd(&td).unwrap()[..], expected.finalize()[..]);
}

#[test]
fn a_refused_leaf_measures_nothing() {
    let mut host = Host::new();
    let td = build_measured(&mut host);
    let page = host.new_page();
    assert_ne!(
        host.status(Leaf::MemPageAdd, regs(GPA, td.tdr, page, SOURCE)),
        SUCCESS
    );
    assert_ne!(
        host.status(Leaf::MemPageAdd, regs(GPA + 4 * PAGE, td.tdr, page, 1)),
        SUCCESS
    );
    assert_ne!(
        host.status(Leaf::MrExtend, regs(GPA + 5 * PAGE, td.tdr, 0, 0)),
        SUCCESS
    );
    host.finalize(&td);
    assert!(hex(&host.mrtd(&td).unwrap()).starts_with("c6ee64700775710b"));
}
