// SPDX-License-Identifier: GPL-2.0

//! What a module update does to TDs, above all to those that are being built.
//!
//! Expected statuses are written as numbers, operand ids included, not by the model's names.

mod td_support;

use td_support::*;
use tdxsim::leaf::Leaf;
use tdxsim::module::keys::KeyId;

const INCOMPATIBLE: u64 = 0xC000_0622_0000_0000;

/// A module with measurement context 1 that counts builds (handoff version 1), and one with context
/// 0 that does not (handoff version 0).
const COUNTING: &str = "tdx-1.5.25";
const OLD: &str = "tdx-1.5.16";

/// A build with one measured page, in the hands of this module.
fn begin(module: &str) -> (Host, Td) {
    let mut host = Host::new();
    host.update(module, 0, false);
    let mut td = host.begin_build(65);
    host.add_vcpu(&mut td);
    host.add_sept(&mut td, GPA);
    host.add_page(&td, GPA, &[0x11; PAGE as usize]);
    host.extend(&td, GPA);
    (host, td)
}

/// The rest of the build.
fn complete(host: &mut Host, td: &Td) -> [u8; 48] {
    host.add_page(td, GPA + PAGE, &[0x22; PAGE as usize]);
    host.extend(td, GPA + PAGE);
    host.finalize(td);
    host.mrtd(td).unwrap()
}

/// The measurement of a build that no update disturbed.
fn undisturbed(module: &str) -> [u8; 48] {
    let (mut host, td) = begin(module);
    complete(&mut host, &td)
}

#[test]
fn the_measurement_does_not_depend_on_the_module_that_makes_it() {
    assert_eq!(undisturbed(OLD), undisturbed(COUNTING));
}

#[test]
fn tds_keys_and_pages_survive() {
    let mut host = Host::new();
    let td = host.td_at(Stage::Runnable, 65);
    let mrtd = host.mrtd(&td);
    let pages = host.world.pamt.pages_in_use();
    host.update("connect", 1, true);
    assert_eq!(host.mrtd(&td), mrtd);
    assert_eq!(host.world.pamt.pages_in_use(), pages);
    assert_eq!(host.world.keys().state(65), Some(KeyId::Assigned));
    // The vCPU is still associated where it was.
    assert_eq!(
        host.status(Leaf::MngVpflushdone, regs(td.tdr, 0, 0, 0)),
        0x8000_0824_0000_0000
    );
    host.release_keyid(&td);
    host.reclaim(&td);
    assert!(host.world.pamt.pages_in_use().is_empty());
}

#[test]
fn builds_are_counted_from_init_to_finalize_or_to_the_end() {
    let mut host = Host::new();
    let first = host.td_at(Stage::Initialized, 65);
    let second = host.td_at(Stage::Uninitialized, 66);
    assert_eq!(host.world.build_count(), 1);
    assert_eq!(host.init(&second, &Host::td_params()).0, SUCCESS);
    assert_eq!(host.world.build_count(), 2);
    host.finalize(&first);
    assert_eq!(host.world.build_count(), 1);
    host.release_keyid(&second);
    assert_eq!(host.world.build_count(), 0);
    host.release_keyid(&first);
    assert_eq!(host.world.build_count(), 0);
}

#[test]
fn a_build_is_counted_after_an_update_only_when_the_handoff_data_had_the_count() {
    for (handoff_version, expected) in [(0, 0), (1, 1)] {
        let (mut host, td) = begin(COUNTING);
        host.world.set_interrupted_migrations(3);
        host.update(COUNTING, handoff_version, false);
        assert_eq!(host.world.build_count(), expected);
        assert_eq!(host.world.interrupted_migrations(), 3 * expected);
        // Ending a build that is not counted takes nothing away from others.
        let other = host.td_at(Stage::Initialized, 66);
        assert_eq!(host.world.build_count(), expected + 1);
        complete(&mut host, &td);
        assert_eq!(host.world.build_count(), 1);
        host.release_keyid(&other);
        assert_eq!(host.world.build_count(), 0);
    }
}

#[test]
fn an_update_within_one_context_version_leaves_the_measurement_right() {
    for detect in [false, true] {
        let (mut host, td) = begin(COUNTING);
        host.update("connect", 1, detect);
        assert_eq!(complete(&mut host, &td), undisturbed(COUNTING));
    }
}

#[test]
fn an_update_across_context_versions_breaks_a_measurement_silently() {
    for (from, to) in [(OLD, COUNTING), (COUNTING, OLD)] {
        let (mut host, td) = begin(from);
        host.update(to, 0, false);
        let wrong = complete(&mut host, &td);
        assert_ne!(wrong, undisturbed(from));
        // The same run gives the same wrong value.
        let (mut host, td) = begin(from);
        host.update(to, 0, false);
        assert_eq!(complete(&mut host, &td), wrong);
    }
    // Finalising alone reads the context, too.
    let (mut host, td) = begin(OLD);
    host.finalize(&td);
    let right = host.mrtd(&td);
    let (mut host, td) = begin(OLD);
    host.update(COUNTING, 0, false);
    host.finalize(&td);
    assert_ne!(host.mrtd(&td), right);
}

#[test]
fn a_context_that_no_other_module_used_is_intact() {
    let (mut host, td) = begin(OLD);
    host.update(COUNTING, 0, false);
    host.update(OLD, 0, false);
    assert_eq!(complete(&mut host, &td), undisturbed(OLD));
    // Used in between, it stays broken.
    let (mut host, td) = begin(OLD);
    host.update(COUNTING, 0, false);
    host.ok(Leaf::MrExtend, regs(GPA, td.tdr, 0, 0));
    host.update(OLD, 0, false);
    let broken = complete(&mut host, &td);
    let (mut host, td) = begin(OLD);
    host.ok(Leaf::MrExtend, regs(GPA, td.tdr, 0, 0));
    assert_ne!(complete(&mut host, &td), broken);
}

#[test]
fn detection_refuses_a_context_of_another_version() {
    let (mut host, td) = begin(OLD);
    host.update(COUNTING, 0, true);
    let page = host.new_page();
    let add = regs(GPA + PAGE, td.tdr, page, SOURCE);
    assert_eq!(host.status(Leaf::MemPageAdd, add), INCOMPATIBLE);
    assert_eq!(
        host.status(Leaf::MrExtend, regs(GPA, td.tdr, 0, 0)),
        INCOMPATIBLE
    );
    assert_eq!(
        host.status(Leaf::MrFinalize, regs(td.tdr, 0, 0, 0)),
        INCOMPATIBLE
    );
    // It is the last check of each.
    assert_eq!(
        host.status(Leaf::MemPageAdd, regs(GPA, td.tdr, page, SOURCE)),
        0xC000_0B0D_0000_0001
    );
    assert_eq!(
        host.status(Leaf::MemPageAdd, regs(GPA + PAGE, td.tdr, page, 1)),
        INVALID | 9
    );
    assert_eq!(
        host.status(
            Leaf::MemPageAdd,
            regs(GPA + PAGE, td.tdr, td.sept[0], SOURCE)
        ),
        WRONG_TYPE | 8
    );
    assert_eq!(
        host.status(Leaf::MrExtend, regs(GPA + PAGE, td.tdr, 0, 0)),
        0xC000_0B03_0000_0001
    );
    // A build under the new module is not concerned, and the old one can be taken down.
    let other = host.td_at(Stage::Initialized, 66);
    host.finalize(&other);
    host.release_keyid(&td);
    host.reclaim(&td);
}

#[test]
fn detection_lasts_until_an_update_without_it() {
    let (mut host, td) = begin(OLD);
    host.update(COUNTING, 0, true);
    assert_eq!(
        host.status(Leaf::MrFinalize, regs(td.tdr, 0, 0, 0)),
        INCOMPATIBLE
    );
    host.update(COUNTING, 1, false);
    host.finalize(&td);
    assert_ne!(host.mrtd(&td), None);
}

#[test]
fn a_new_configuration_knows_no_old_tds() {
    let (mut host, _) = begin(COUNTING);
    host.world.set_interrupted_migrations(2);
    host.world.configure(&[], 64, 64..128);
    assert_eq!(host.world.tds().count(), 0);
    assert_eq!(host.world.build_count(), 0);
    assert_eq!(host.world.interrupted_migrations(), 2);
    assert!(host.world.pamt.pages_in_use().is_empty());
    assert_eq!(host.world.keys().state(65), Some(KeyId::Free));
    assert_eq!(host.world.keys().state(64), Some(KeyId::Global));
}
