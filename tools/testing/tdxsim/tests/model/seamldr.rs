// SPDX-License-Identifier: GPL-2.0

//! P-SEAMLDR: its leaves, every check of SEAMLDR.INSTALL in order, and what a failure leaves.

use tdxsim::Outcome;

use crate::image::{signer, Image, PAGES, PARAMS, SIGSTRUCT};
use crate::machine::*;

const EBADPARAM: u64 = 0x8000_0000_0000_0000;
const EBADCALL: u64 = 0x8000_0000_0000_0003;
const EBADHANDOFF: u64 = 0x8000_0000_0000_0004;
const ECLEANUPREQ: u64 = 0x8000_0000_0000_0005;
const EUNSUPPORTED: u64 = 0x8000_0000_0000_0006;
const ENOMEM: u64 = 0x8000_0000_0001_0002;
const EUNSUPCPU: u64 = 0x8000_0000_0001_0004;
const EBADSIG: u64 = 0x8000_0000_0002_0000;
const EBADHASH: u64 = 0x8000_0000_0002_0001;
const ENOENTROPY: u64 = 0x8000_0000_0003_0001;
const SHUT_DOWN: u64 = 0xC000_0506_0000_0000;

const DESCRIPTOR: &str = "profile = \"tdx-1.5.25\"\nversion = \"1.5.26\"\n";

/// A machine whose module (1.5.25, SVN 1.12) was used and shut down for an update.
pub fn shut_down(args: &[&str]) -> Machine {
    let signer = signer();
    let mut all = vec!["profile=tdx-1.5.25", signer.as_str()];
    all.extend(args);
    let machine = Machine::new(&all);
    machine.make_ready();
    machine.ok(0, SHUTDOWN, &[1]);
    machine
}

/// Calls SEAMLDR.INSTALL on all LPs; the last one's RAX and RDX.
pub fn install(machine: &Machine, image: &Image) -> (u64, u64) {
    image.load(machine);
    for lp in 1..machine.lps {
        let regs = machine.call(lp, SEAMLDR_INSTALL, &[PARAMS, 7]);
        assert_eq!((regs.rax, regs.rdx), (0, 0));
    }
    let regs = machine.call(0, SEAMLDR_INSTALL, &[PARAMS, 7]);
    (regs.rax, regs.rdx)
}

fn updates_left(machine: &Machine) -> u64 {
    machine.ok(0, SEAMLDR_INFO, &[BUFFER]);
    machine.ram.get(BUFFER + 28, 4)
}

#[test]
fn info() {
    let machine = Machine::new(&[
        "profile=tdx-1.5.25",
        "seamldr_version=1.5.03",
        "seam_debug=on",
    ]);
    machine.ram.put(BUFFER, &[u64::MAX; 32]);
    machine.ok(0, SEAMLDR_INFO, &[BUFFER]);
    let field = |offset: u64, len: usize| machine.ram.get(BUFFER + offset, len);
    assert_eq!((field(0, 4), field(4, 4), field(8, 4)), (0, 0, 0x8086));
    assert_eq!((field(18, 2), field(20, 2), field(22, 2)), (5, 1, 3));
    assert_eq!(field(28, 4), 10);
    assert_ne!(field(32, 8), 0);
    assert_eq!((field(40, 1), field(41, 1)), (12, 1));
    assert_ne!(field(56, 8), 0);
    assert_eq!((field(160, 1), field(161, 1), field(162, 1)), (1, 1, 1));
    // Signer and attributes: zero for Intel's modules, which have neither.
    for offset in (104..160).step_by(8) {
        assert_eq!(field(offset, 8), 0, "{offset}");
    }
    assert_eq!((field(168, 8), field(248, 8)), (2, 0));
    for bad in [BUFFER + 128, 64 << 45, 1 << 52, 3 * GIB] {
        assert_eq!(machine.status(SEAMLDR_INFO, &[bad]), EBADPARAM, "{bad:#x}");
    }
}

#[test]
fn cleanup_is_a_feature() {
    let machine = Machine::new(&["seamldr_features=0"]);
    machine.ok(0, SEAMLDR_INFO, &[BUFFER]);
    assert_eq!(machine.ram.get(BUFFER + 168, 8), 0);
    // An unknown leaf, which changes nothing.
    assert_eq!(machine.status(SEAMLDR_CLEANUP, &[]), EBADPARAM);
    machine.ok(0, INIT, &[]);
}

#[test]
fn the_first_cleanup_hides_the_module() {
    let machine = Machine::new(&["profile=tdx-1.5.25"]);
    machine.ok(1, SEAMLDR_CLEANUP, &[]);
    machine.ok(0, SEAMLDR_INFO, &[BUFFER]);
    assert_eq!(machine.ram.get(BUFFER + 40, 8), 0, "tee_tcb_svn");
    assert_eq!(machine.ram.get(BUFFER + 160, 1), 0, "seam_ready");
    assert_ne!(machine.ram.get(BUFFER + 56, 8), 0, "mrseam");
    machine.ok(0, SEAMLDR_CLEANUP, &[]);
    machine.ok(0, SEAMLDR_INFO, &[BUFFER]);
    for offset in (32..160).step_by(8) {
        assert_eq!(machine.ram.get(BUFFER + offset, 8), 0, "{offset}");
    }
}

#[test]
fn info_without_a_module() {
    let machine = Machine::new(&["module_loaded=off"]);
    machine.ok(0, SEAMLDR_INFO, &[BUFFER]);
    assert_eq!(machine.ram.get(BUFFER + 32, 8), 0);
    assert_eq!(machine.ram.get(BUFFER + 160, 1), 0);
}

#[test]
fn seaminfo() {
    let machine = Machine::with_lps(&[0, 0, 1], &["cpu_signatures=[0x806F8, 0x806F6]"]);
    machine.ok(0, SEAMLDR_SEAMINFO, &[BUFFER]);
    let field = |offset: u64, len: usize| machine.ram.get(BUFFER + offset, len);
    assert_eq!((field(8, 4), field(12, 4)), (3, 2));
    assert_eq!(
        (field(16, 4), field(20, 4), field(24, 4)),
        (0x806F8, 0x806F6, 0)
    );
    assert_eq!(
        (field(128, 8), field(144, 8), field(160, 8)),
        (MIB, 4 * GIB, 0)
    );
    assert_eq!(
        machine.status(SEAMLDR_SEAMINFO, &[BUFFER + 1024]),
        EBADPARAM
    );
}

#[test]
fn unknown_leaves() {
    let machine = Machine::new(&[]);
    for leaf in [5, 6, 255, 1 << 16, (1 << 16) | 1, 1 << 62] {
        assert_eq!(
            machine.status((1 << 63) | leaf, &[BUFFER]),
            EBADPARAM,
            "{leaf:#x}"
        );
    }
}

#[test]
fn an_update_from_end_to_end() {
    let machine = shut_down(&[]);
    let image = Image::new(DESCRIPTOR);
    image.load(&machine);
    machine.ok(1, SEAMLDR_INSTALL, &[PARAMS]);
    // The first call blocks the old module, and nothing is installed yet.
    assert_eq!(
        machine.raw(0, RD, &[0, UPDATE_VERSION]).0,
        Outcome::VmFailInvalid
    );
    assert_eq!(machine.raw(1, INIT, &[]).0, Outcome::VmFailInvalid);
    assert_eq!(updates_left(&machine), 10);
    assert_eq!(machine.ram.get(BUFFER + 160, 1), 0);
    machine.ok(0, SEAMLDR_INSTALL, &[PARAMS]);
    assert_eq!(updates_left(&machine), 9);
    assert_eq!(machine.ram.get(BUFFER + 160, 1), 1);
    let hash = u64::from_le_bytes(image.sigstruct[900..908].try_into().unwrap());
    assert_eq!(machine.ram.get(BUFFER + 56, 8), hash);
    assert_eq!(machine.state("module"), "SYSINIT_PENDING");
    machine.initialise();
    machine.ok(0, UPDATE, &[]);
    assert_eq!(machine.rd(UPDATE_VERSION), 26);
}

#[test]
fn only_the_last_call_looks_at_anything() {
    let machine = shut_down(&[]);
    // The first call's operand is never read.
    machine.ok(1, SEAMLDR_INSTALL, &[u64::MAX]);
    Image::new(DESCRIPTOR).load(&machine);
    machine.ok(0, SEAMLDR_INSTALL, &[PARAMS]);
}

#[test]
fn a_second_call_on_one_lp_leaves_the_round_open() {
    let machine = shut_down(&[]);
    Image::new(DESCRIPTOR).load(&machine);
    machine.ok(1, SEAMLDR_INSTALL, &[PARAMS]);
    let regs = machine.call(1, SEAMLDR_INSTALL, &[PARAMS, 7]);
    assert_eq!((regs.rax, regs.rdx), (EBADCALL, 0));
    assert_eq!(machine.state("round_lps"), "1");
    machine.ok(0, SEAMLDR_INSTALL, &[PARAMS]);
    assert_eq!(machine.state("module"), "SYSINIT_PENDING");
}

#[test]
fn an_lp_that_stays_away_keeps_the_round_open() {
    let signer = signer();
    let machine = Machine::with_lps(&[0, 0, 0], &["profile=tdx-1.5.25", &signer]);
    machine.make_ready();
    machine.ok(0, SHUTDOWN, &[1]);
    Image::new(DESCRIPTOR).load(&machine);
    machine.ok(0, SEAMLDR_INSTALL, &[PARAMS]);
    machine.ok(1, SEAMLDR_INSTALL, &[PARAMS]);
    assert_eq!(machine.raw(0, INIT, &[]).0, Outcome::VmFailInvalid);
    assert_eq!(machine.state("module"), "BLOCKED");
}

/// What is wrong in an image, and what SEAMLDR.INSTALL says to it. All of these are recoverable.
fn recoverable(machine: &Machine, image: &Image, status: u64, what: &str) {
    assert_eq!(install(machine, image), (status, 0), "{what}");
    // The old module is there again, shut down as it was, and its handoff data too.
    assert_eq!(
        machine.status(RD, &[0, UPDATE_VERSION]),
        SHUT_DOWN,
        "{what}"
    );
    assert_eq!(machine.state("handoff"), "1", "{what}");
    assert_eq!(updates_left(machine), 10, "{what}");
}

#[test]
fn parameters() {
    let machine = shut_down(&[]);
    let good = Image::new(DESCRIPTOR);
    let params = |offset: usize, bytes: &[u8]| {
        let mut image = good.clone();
        image.set_params(offset, bytes);
        image
    };
    let mut cases = vec![
        ("version", params(0, &[1])),
        ("scenario", params(4, &[2])),
        (
            "sigstruct alignment",
            params(8, &(SIGSTRUCT + 8).to_le_bytes()),
        ),
        (
            "sigstruct KeyID",
            params(8, &(SIGSTRUCT | (64 << 45)).to_le_bytes()),
        ),
        ("sigstruct not in RAM", params(8, &(3 * GIB).to_le_bytes())),
        ("no pages", params(120, &0u64.to_le_bytes())),
        ("497 pages", params(120, &497u64.to_le_bytes())),
        ("very many pages", params(120, &u64::MAX.to_le_bytes())),
        ("page alignment", params(128, &(PAGES + 8).to_le_bytes())),
        (
            "page KeyID",
            params(136, &(PAGES | (127 << 45)).to_le_bytes()),
        ),
        ("page address", params(144, &(1u64 << 52).to_le_bytes())),
    ];
    for offset in [16, 60, 119] {
        cases.push(("reserved", params(offset, &[1])));
    }
    for (what, image) in cases {
        recoverable(&machine, &image, EBADPARAM, what);
    }
    // The parameters' own address.
    good.load(&machine);
    for bad in [PARAMS + 0x800, PARAMS | (64 << 45), 1 << 52, 3 * GIB] {
        machine.ok(1, SEAMLDR_INSTALL, &[]);
        let regs = machine.call(0, SEAMLDR_INSTALL, &[bad]);
        assert_eq!((regs.rax, regs.rdx), (EBADPARAM, 0), "{bad:#x}");
    }
    assert_eq!(install(&machine, &good), (0, 0));
}

#[test]
fn sigstruct_fields() {
    let machine = shut_down(&[]);
    let good = Image::new(DESCRIPTOR);
    let fields: &[(&str, usize, &[u8])] = &[
        ("header type", 0, &[7]),
        ("header length", 4, &[0xE2]),
        ("header version", 10, &[2]),
        ("module type", 12, &[1]),
        ("debug-signed", 15, &[0x80]),
        ("vendor", 16, &[0x87]),
        ("size", 24, &[1]),
        ("key size", 28, &[0x61]),
        ("modulus size", 32, &[0x61]),
        ("exponent size", 36, &[2]),
        ("reserved 40", 40, &[1]),
        ("reserved 127", 127, &[1]),
        ("exponent", 512, &[3]),
        ("attributes", 950, &[1]),
        ("attributes' last byte", 957, &[1]),
        ("reserved 978", 978, &[1]),
        ("min_update_hv", 986, &[2]),
        ("reserved 989", 989, &[1]),
        ("one offset without the other", 992, &[0, 0x10]),
        ("the other offset without the one", 996, &[0x10]),
        ("offset alignment", 992, &[8, 0, 0, 0, 16]),
        ("first offset outside", 992, &[0, 0x30, 0, 0, 16]),
        // Behind 0x2E00 there is no room for 32 handlers of 16 bytes.
        ("second offset outside", 992, &[0, 0x10, 0, 0, 0x10, 0x2E]),
        ("reserved 1000", 1000, &[1]),
        ("reserved 1023", 1023, &[1]),
        ("CPU count", 1025, &[1]),
        ("no CPUs", 1024, &[0]),
    ];
    for (what, offset, bytes) in fields {
        recoverable(&machine, &good.changed(*offset, bytes), EBADSIG, what);
    }
    // Dates, sizes and limits say nothing to P-SEAMLDR.
    let mut image = good.changed(20, &[1, 2, 3, 4]);
    image.set(958, &[1; 18]);
    image.set(992, &[0, 0x10, 0, 0, 0, 0x2E]);
    image.sign();
    assert_eq!(install(&machine, &image), (0, 0));
}

#[test]
fn version_and_build_need_a_newer_seamldr() {
    let machine = shut_down(&["seamldr_version=2.0.00"]);
    let image = Image::new(DESCRIPTOR).changed(1000, &[2, 0, 0, 0, 8]);
    assert_eq!(install(&machine, &image), (0, 0));
}

#[test]
fn signer_and_signature() {
    let machine = shut_down(&[]);
    let good = Image::new(DESCRIPTOR);
    for (what, offset) in [
        ("modulus", 128),
        ("signature", 516),
        ("signature's end", 899),
        ("date", 20),
    ] {
        let mut image = good.clone();
        let byte = image.sigstruct[offset] ^ 1;
        image.set(offset, &[byte]);
        recoverable(&machine, &image, EBADSIG, what);
    }
    let published = Machine::new(&["profile=tdx-1.5.25"]);
    published.make_ready();
    published.ok(0, SHUTDOWN, &[1]);
    assert_eq!(install(&published, &good), (EBADSIG, 0));
}

#[test]
fn debug_signed_images_need_an_unlocked_platform() {
    let machine = shut_down(&["debug_unlocked=on"]);
    let mut image = Image::new(DESCRIPTOR);
    image.set(15, &[0x80]);
    // They need no CPU table.
    image.set(1024, &[0]);
    image.sign();
    assert_eq!(install(&machine, &image), (0, 0));
}

#[test]
fn svn() {
    let machine = shut_down(&[]);
    let good = Image::new(DESCRIPTOR);
    for (minor, major, status) in [
        (12, 0, EUNSUPPORTED),
        (12, 2, EUNSUPPORTED),
        (11, 1, EBADSIG),
    ] {
        recoverable(&machine, &good.changed(948, &[minor, major]), status, "SVN");
    }
    assert_eq!(install(&machine, &good.changed(948, &[13, 1])), (0, 0));
    assert_eq!(machine.state("svn"), "1.13");
}

#[test]
fn cpus() {
    let machine = shut_down(&["cpu_signatures=[0x806F8, 0xC06F0]"]);
    let good = Image::new(DESCRIPTOR);
    recoverable(&machine, &good, EUNSUPCPU, "the second package's CPU");
    let mut image = good.changed(1024, &2u32.to_le_bytes());
    image.set(1032, &0xC06F2u32.to_le_bytes());
    image.sign();
    // The stepping does not count.
    assert_eq!(install(&machine, &image), (0, 0));
}

#[test]
fn order_of_checks() {
    let machine = shut_down(&["updates_left=10"]);
    let good = Image::new(DESCRIPTOR);
    let mut image = good.clone();
    image.set_params(0, &[1]);
    image.set(0, &[7]);
    recoverable(&machine, &image, EBADPARAM, "parameters before sigstruct");
    let image = good.changed(948, &[12, 0]).changed(0, &[7]);
    recoverable(&machine, &image, EBADSIG, "fields before SVN");
    let mut image = good.clone();
    image.set(948, &[12, 0]);
    image.set(1028, &[0]);
    recoverable(
        &machine,
        &image,
        EUNSUPPORTED,
        "SVN before CPUs and signature",
    );
    let mut image = good.clone();
    image.set(992, &[0, 0xF0, 0, 0, 16]);
    image.set(1028, &[0]);
    recoverable(&machine, &image, EBADSIG, "offsets before CPUs");
    let mut image = good.clone();
    image.set(1028, &[0, 0]);
    recoverable(&machine, &image, EUNSUPCPU, "CPUs before signature");
    machine.control("updates 0");
    let mut image = good.clone();
    image.set(20, &[1]);
    assert_eq!(
        install(&machine, &image),
        (EBADSIG, 0),
        "signature before the log"
    );
    machine.control("fault add leaf=SEAMLDR.INSTALL cpu=0 no-entropy");
    assert_eq!(
        install(&machine, &good),
        (ENOENTROPY, 0),
        "entropy before the log"
    );
    let image = good.changed(984, &[2, 0, 2, 0]);
    assert_eq!(
        install(&machine, &image),
        (EBADCALL, 0),
        "the log before handoff"
    );
    assert_eq!(machine.state("handoff"), "1");
    machine.control("updates 1");
    assert_eq!(install(&machine, &image), (EBADHANDOFF, 0));
    assert_eq!(install(&machine, &good), (0, 0));
    assert_eq!(updates_left(&machine), 0);
}

/// One check before the other, each with what is wrong in the sigstruct or the parameters.
#[test]
fn order_of_neighbouring_checks() {
    let machine = shut_down(&[]);
    let good = Image::new(DESCRIPTOR);
    // A page list that is wrong, and a sigstruct address: both EBADPARAM, and both before a
    // sigstruct is read that has a wrong field.
    for (offset, value) in [(128, PAGES + 8), (8, SIGSTRUCT + 8)] {
        let mut image = good.changed(0, &[7]);
        image.set_params(offset, &value.to_le_bytes());
        recoverable(&machine, &image, EBADPARAM, "addresses before sigstruct");
    }
    let mut image = good.clone();
    image.set_params(128, &(PAGES + 8).to_le_bytes());
    image.set_params(8, &(3 * GIB).to_le_bytes());
    recoverable(
        &machine,
        &image,
        EBADPARAM,
        "page list before the sigstruct's memory",
    );
    let mut image = good.clone();
    image.set(128, &[image.sigstruct[128] ^ 1]);
    image.set(948, &[12, 0]);
    recoverable(&machine, &image, EBADSIG, "signer before SVN");
    let image = good.changed(15, &[0x80]).changed(948, &[12, 2]);
    recoverable(&machine, &image, EBADSIG, "debug-signed before SVN");
    let image = good
        .changed(948, &[12, 2])
        .changed(992, &[0, 0x30, 0, 0, 16]);
    recoverable(&machine, &image, EUNSUPPORTED, "SVN before offsets");
    // An empty table of CPUs and a wrong signature are the same error; neither is the next one.
    let mut image = good.changed(1024, &[0]);
    image.set(516, &[image.sigstruct[516] ^ 1]);
    machine.control("fault add leaf=SEAMLDR.INSTALL cpu=0 count=all no-entropy");
    recoverable(&machine, &image, EBADSIG, "no CPUs before random numbers");
    recoverable(
        &machine,
        &good.changed(1024, &[0]),
        EBADSIG,
        "no CPUs before random numbers",
    );
    machine.control("fault clear");
}

/// An image with so many pages of global data, and all other numbers of pages at their smallest but
/// 14 pages of handoff data.
fn with_global_data(pages: u16) -> Image {
    Image::new(DESCRIPTOR).changed(966, &(pages - 1).to_le_bytes())
}

#[test]
fn the_seam_range_must_have_room() {
    // 32 MiB less 4 MiB for P-SEAMLDR itself are 7168 pages. On two LPs a module takes a page of
    // system information, 2 VMCSs, 2 stacks of 2 pages, 2 pages of data of the LPs, 14 of handoff
    // data, 512 for the module; page tables for these, 3 each but for the data, and one above all.
    // That leaves 6618 pages for all data and 13 tables for it.
    let most = 6618 - 2 - 14;
    let machine = shut_down(&["seamrr_size=0x2000000"]);
    let too_large = with_global_data(most + 1);
    recoverable(&machine, &too_large, ENOMEM, "no room");
    machine.control("updates 0");
    assert_eq!(
        install(&machine, &too_large),
        (ENOMEM, 0),
        "room before the log"
    );
    machine.control("fault add leaf=SEAMLDR.INSTALL cpu=0 no-entropy");
    assert_eq!(
        install(&machine, &too_large),
        (ENOENTROPY, 0),
        "random numbers before room"
    );
    machine.control("updates 1");
    assert_eq!(install(&machine, &with_global_data(most)), (0, 0));
    // More LPs take more.
    let signer = signer();
    let machine = Machine::with_lps(
        &[0, 0, 0],
        &["profile=tdx-1.5.25", "seamrr_size=0x2000000", &signer],
    );
    assert_eq!(install(&machine, &with_global_data(most)), (ENOMEM, 0));
}

#[test]
fn order_behind_the_wipe() {
    let no_memory = "maps = false\n";
    let no_relocation = "relocates = false\n";
    let install = |descriptor: &str, is_hash_right: bool| {
        let machine = shut_down(&[]);
        machine.control("fault add leaf=SEAMLDR.INSTALL cpu=0 no-entropy=1");
        let mut image = Image::new(&format!("{DESCRIPTOR}{descriptor}"));
        if !is_hash_right {
            image.pages[9000] ^= 1;
        }
        let result = install(&machine, &image);
        assert_eq!(machine.raw(0, INIT, &[]).0, Outcome::VmFailInvalid);
        assert_eq!(updates_left(&machine), 10);
        result
    };
    let everything = format!("{no_memory}{no_relocation}");
    assert_eq!(install(&everything, false), (ENOMEM, 1));
    assert_eq!(install(no_relocation, false), (EBADHASH, 1));
    assert_eq!(install(no_relocation, true), (EBADPARAM, 1));
    assert_eq!(install("", true), (ENOENTROPY, 1));
    // With two random numbers it succeeds.
    let machine = shut_down(&[]);
    machine.control("fault add leaf=SEAMLDR.INSTALL cpu=0 no-entropy=2");
    assert_eq!(self::install(&machine, &Image::new(DESCRIPTOR)), (0, 0));
}

#[test]
fn handoff_versions() {
    let machine = shut_down(&[]);
    let good = Image::new(DESCRIPTOR);
    for (hv, min) in [(0, 0), (3, 2)] {
        let image = good.changed(984, &[hv, 0, min, 0]);
        recoverable(&machine, &image, EBADHANDOFF, "handoff version");
    }
    let running = Machine::new(&["profile=tdx-1.5.25", &signer()]);
    running.make_ready();
    // The module was not shut down: there is no handoff data, and it runs on.
    assert_eq!(install(&running, &good), (EBADHANDOFF, 0));
    assert_eq!(running.rd(UPDATE_VERSION), 25);
}

#[test]
fn what_fails_behind_the_wipe_leaves_no_module() {
    let good = Image::new(DESCRIPTOR);
    let mut bad_hash = good.clone();
    bad_hash.pages[5000] ^= 1;
    let bad_page = {
        let mut image = good.clone();
        image.set_params(136, &(3 * GIB).to_le_bytes());
        image
    };
    let bad_descriptor = Image::new("profile = \"nothing\"\n");
    // Behind the mark there must be text.
    let not_text = {
        let mut pages = good.pages.clone();
        pages[20] = 0xFF;
        Image::with_pages(pages)
    };
    for (image, status) in [
        (bad_hash, EBADHASH),
        (bad_page, EBADPARAM),
        (bad_descriptor, EBADPARAM),
        (not_text, EBADPARAM),
    ] {
        let machine = shut_down(&[]);
        assert_eq!(install(&machine, &image), (status, 1));
        assert_eq!(machine.raw(0, INIT, &[]).0, Outcome::VmFailInvalid);
        assert_eq!(machine.raw(0, RD, &[]).0, Outcome::VmFailInvalid);
        // SVN and hash read as zero, the update is not counted.
        assert_eq!(updates_left(&machine), 10);
        assert_eq!(machine.ram.get(BUFFER + 40, 2), 0);
        assert_eq!(machine.ram.get(BUFFER + 56, 8), 0);
        assert_eq!(machine.ram.get(BUFFER + 160, 1), 0);
        // An update needs a module; a load needs a cleanup.
        assert_eq!(install(&machine, &good), (EBADPARAM, 0));
        let mut load = good.clone();
        load.set_params(4, &[0]);
        assert_eq!(install(&machine, &load), (ECLEANUPREQ, 0));
        machine.ok(1, SEAMLDR_CLEANUP, &[]);
        assert_eq!(machine.call(1, SEAMLDR_CLEANUP, &[]).rax, EBADCALL);
        assert_eq!(machine.call(1, SEAMLDR_INSTALL, &[PARAMS]).rax, EBADCALL);
        machine.ok(0, SEAMLDR_CLEANUP, &[]);
        assert_eq!(install(&machine, &load), (0, 0));
        machine.make_ready();
        assert_eq!(machine.rd(UPDATE_VERSION), 26);
        assert_eq!(updates_left(&machine), 10);
    }
}

#[test]
fn the_second_round_saves_what_the_first_one_left() {
    let machine = shut_down(&[]);
    let good = Image::new(DESCRIPTOR);
    assert_eq!(install(&machine, &good.changed(948, &[1, 1])), (EBADSIG, 0));
    assert_eq!(install(&machine, &good), (0, 0));
    machine.initialise();
    machine.ok(0, UPDATE, &[]);
    assert_eq!(machine.state("module"), "SYS_READY");
}

#[test]
fn a_load_starts_anew() {
    let machine = Machine::new(&["profile=tdx-1.5.25", &signer()]);
    machine.make_ready();
    machine.begin_build(GIB + 16 * MIB, 65);
    let mut load = Image::new(DESCRIPTOR);
    load.set_params(4, &[0]);
    // To a lower SVN or another line: after a cleanup only.
    assert_eq!(
        install(&machine, &load.changed(948, &[11, 1])),
        (ECLEANUPREQ, 0)
    );
    assert_eq!(
        install(&machine, &load.changed(948, &[12, 2])),
        (ECLEANUPREQ, 0)
    );
    assert_eq!(machine.state("tds"), "1");
    assert_eq!(install(&machine, &load), (0, 0));
    assert_eq!(machine.state("module"), "SYSINIT_PENDING");
    assert_eq!(machine.state("tds"), "0");
    machine.initialise();
    assert_eq!(machine.status(UPDATE, &[]), 0xC000_0509_0000_0000);
    assert_eq!(updates_left(&machine), 10);
}

#[test]
fn shutdown_of_seamldr() {
    let machine = Machine::new(&["profile=tdx-1.5.25", &signer()]);
    assert_eq!(machine.status(SEAMLDR_SHUTDOWN, &[]), ECLEANUPREQ);
    machine.ok(0, SEAMLDR_CLEANUP, &[]);
    assert_eq!(machine.raw(0, INIT, &[]).0, Outcome::VmFailInvalid);
    assert_eq!(machine.status(SEAMLDR_SHUTDOWN, &[]), EBADCALL);
    machine.ok(1, SEAMLDR_CLEANUP, &[]);
    machine.ok(0, SEAMLDR_SHUTDOWN, &[]);
    assert_eq!(machine.status(SEAMLDR_CLEANUP, &[]), EBADCALL);
    assert_eq!(machine.status(SEAMLDR_INSTALL, &[]), EBADCALL);
    // LP 0 must be the last one.
    assert_eq!(machine.call(1, SEAMLDR_SHUTDOWN, &[]).rax, EBADCALL);
    machine.ok(0, SEAMLDR_SHUTDOWN, &[]);
    assert_eq!(
        machine.raw(0, SEAMLDR_INFO, &[BUFFER]).0,
        Outcome::VmFailInvalid
    );
}

#[test]
fn cleanup_needs_an_installation() {
    let machine = Machine::new(&["module_loaded=off"]);
    assert_eq!(machine.status(SEAMLDR_CLEANUP, &[]), EBADCALL);
}

#[test]
fn published_images_bring_the_module_that_the_profile_names() {
    let machine = Machine::new(&["profile=tdx-1.5.16", &signer()]);
    machine.make_ready();
    machine.ok(0, SHUTDOWN, &[0]);
    let mut image = Image::with_pages(vec![0xCC; 101 * 4096]);
    image.set(948, &[11, 1]);
    image.set(984, &[0; 5]);
    image.sign();
    machine.control("next profile=tdx-1.5.16 version=1.5.17");
    assert_eq!(install(&machine, &image), (0, 0));
    machine.initialise();
    machine.ok(0, UPDATE, &[]);
    assert_eq!(machine.rd(UPDATE_VERSION), 17);
}

/// A sigstruct's module_hv, min_update_hv, no_downgrade and pages of handoff data, less one.
fn handoff(hv: u8, min: u8, no_downgrade: u8, pages: u8) -> Image {
    let built_in = "module_hv = 3\nmin_update_hv = 1\nno_downgrade = false\nhandoff_pages = 13\n";
    let image = Image::new(&format!("profile = \"tdx-1.5.25\"\n{built_in}"));
    image.changed(984, &[hv, 0, min, 0, no_downgrade, 0, pages, 0])
}

#[test]
fn a_module_wants_the_handoff_that_it_was_built_for() {
    let incompatible = 0xC000_050A_0000_0000;
    for (hv, min, no_downgrade, pages, status) in [
        (3, 1, 0, 13, 0),
        // More caution and more room than needed are fine.
        (3, 2, 0, 13, 0),
        (3, 1, 1, 13, 0),
        (3, 1, 0, 14, 0),
        (2, 1, 0, 13, incompatible),
        (4, 1, 0, 13, incompatible),
        (3, 0, 0, 13, incompatible),
        (3, 1, 0, 12, incompatible),
    ] {
        let machine = shut_down(&["module_hv=2", "no_downgrade=off"]);
        // The running module left data of version 1 or 2.
        let old_hv = if min == 2 { 2 } else { 1 };
        if old_hv == 2 {
            machine.sim.reset(&machine.clock);
            machine.make_ready();
            machine.ok(0, SHUTDOWN, &[2]);
        }
        let image = handoff(hv, min, no_downgrade, pages);
        assert_eq!(install(&machine, &image), (0, 0));
        assert_eq!(machine.status(INIT, &[]), status, "{hv} {min} {pages}");
        if status != 0 {
            assert_eq!(machine.state("module"), "SYSINIT_PENDING");
            continue;
        }
        // What the sigstruct says is what counts from now on.
        machine.ok(0, LP_INIT, &[]);
        machine.ok(1, LP_INIT, &[]);
        let fields = [
            (0x8900_0001_0000_0000, hv),
            (0x8900_0001_0000_0001, min),
            (0x8900_0000_0000_0002, no_downgrade),
            (0x8900_0001_0000_0003, pages),
        ];
        for (field, value) in fields {
            assert_eq!(machine.rd(field), u64::from(value), "{field:#x}");
        }
        machine.ok(0, UPDATE, &[]);
        let refused = 0xC000_0100_0000_0001;
        let lowest = if no_downgrade == 1 { hv } else { min };
        assert_eq!(machine.status(SHUTDOWN, &[u64::from(lowest) - 1]), refused);
        machine.ok(0, SHUTDOWN, &[lowest.into()]);
    }
    // A module that must not be downgraded is not content with a sigstruct that would allow it.
    let machine = shut_down(&[]);
    let image = Image::new("profile = \"tdx-1.5.25\"\nno_downgrade = true\n");
    assert_eq!(install(&machine, &image.changed(988, &[0])), (0, 0));
    assert_eq!(machine.status(INIT, &[]), incompatible);
}

#[test]
fn the_platform_comes_before_the_sigstruct_and_that_before_random_numbers() {
    let machine = shut_down(&[]);
    let wrong = "profile = \"tdx-1.5.25\"\nhandoff_pages = 14\n";
    let status = "sys_init_status = '0xC000050D00000000'\n";
    machine.control("fault add leaf=TDH.SYS.INIT count=all no-entropy");
    let init = |descriptor: &str| {
        assert_eq!(install(&machine, &Image::new(descriptor)), (0, 0));
        machine.status(INIT, &[])
    };
    assert_eq!(init(&format!("{wrong}{status}")), 0xC000_050D_0000_0000);
    assert_eq!(init(wrong), 0xC000_050A_0000_0000);
    assert_eq!(init(DESCRIPTOR), 0x8000_0203_0000_0000);
}

#[test]
fn a_descriptor_may_carry_faults() {
    let machine = shut_down(&[]);
    let image = Image::new("profile = \"tdx-1.5.25\"\nupdate_status = '0xC000050900000000'\n");
    assert_eq!(install(&machine, &image), (0, 0));
    machine.initialise();
    assert_eq!(machine.status(UPDATE, &[]), 0xC000_0509_0000_0000);
    assert_eq!(machine.state("handoff"), "1");
    assert_eq!(install(&machine, &Image::new(DESCRIPTOR)), (0, 0));
}

#[test]
fn the_boundaries_of_the_module_pages() {
    let machine = shut_down(&[]);
    let mut pages = vec![0; 496 * 4096];
    let text = format!("tdxsim-module\n{DESCRIPTOR}");
    pages[..text.len()].copy_from_slice(text.as_bytes());
    assert_eq!(install(&machine, &Image::with_pages(pages)), (0, 0));
}
