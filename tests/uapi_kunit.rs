// SPDX-License-Identifier: GPL-2.0

//! The driver's structures, and what they hold, are those of `include/uapi/linux/tdx_host.h`.

use kernel::prelude::*;

/// An entry of the table in `uapi_layout.c`; the last one has no name.
#[repr(C)]
struct Entry {
    name: *const c_char,
    /// The value of a constant, the size of a structure or the offset of a member.
    value: u64,
}

extern "C" {
    static tdx_host_layout: Entry;
}

/// The entries of the table, by name.
fn layout() -> impl Iterator<Item = (&'static str, u64)> {
    let mut next = &raw const tdx_host_layout;
    core::iter::from_fn(move || {
        // SAFETY: The table has an entry without a name behind all others, and is not left.
        let entry = unsafe { &*next };
        if entry.name.is_null() {
            return None;
        }
        // SAFETY: As above, there is another entry.
        next = unsafe { next.add(1) };
        // SAFETY: The names are string literals.
        let name = unsafe { CStr::from_char_ptr(entry.name) };
        Some((name.to_str().unwrap_or_default(), entry.value))
    })
}

/// `name in C: type in Rust { members }`. No structure has padding, so that sizes and offsets say
/// all there is to say.
macro_rules! structures {
    ($($c:literal: $rust:ty { $($member:ident),* $(,)? })*) => {
        &[
            $(
                ($c, size_of::<$rust>() as u64),
                $(
                    (
                        concat!($c, ".", stringify!($member)),
                        core::mem::offset_of!($rust, $member) as u64,
                    ),
                )*
            )*
        ]
    };
}

/// `name in C = value in Rust`
macro_rules! values {
    ($($c:ident = $rust:expr,)*) => {
        &[$((stringify!($c), $rust as u64)),*]
    };
}

#[kunit_tests(tdx_host_uapi)]
mod tests {
    use super::*;
    use crate::{
        image,
        uapi::{
            self,
            valid,
            CheckId,
            Outcome,
            Reason,
            State,
            Step,
            Verdict, //
        }, //
    };

    /// What stands in `uapi.rs`.
    const STRUCTURES: &[(&str, u64)] = structures! {
        "tdx_host_version": uapi::Version { major, minor, update, reserved }
        "tdx_host_info": uapi::Info {
            size, flags, valid, state, caps, module_version, seamldr_version, features_offered,
            features_configured, cpus_online, cpus_present, updates_left, handoff_version,
            svn_major, svn_minor, module_hash, module_signer,
        }
        "tdx_host_check_result": uapi::CheckResult {
            check, verdict, error, reserved, name, text,
        }
        "tdx_host_check": uapi::Check {
            size, flags, image, image_size, results, result_size, nr_results, error, reserved,
        }
        "tdx_host_update": uapi::Update {
            size, flags, image, image_size, wait_ms, reserved, outcome, step, error, cpu, leaf,
            status, reason, count, attempts, reserved2, blackout_ns, total_blackout_ns, from, to, text,
        }
    };

    const VALUES: &[(&str, u64)] = values! {
        TDX_HOST_INFO = uapi::INFO,
        TDX_HOST_CHECK = uapi::CHECK,
        TDX_HOST_UPDATE = uapi::UPDATE,
        TDX_HOST_IMAGE_MAX = image::MAX_SIZE,
        TDX_HOST_TEXT_SIZE = uapi::TEXT_SIZE,
        TDX_HOST_STATE_ABSENT = State::Absent,
        TDX_HOST_STATE_UNCONFIGURED = State::Unconfigured,
        TDX_HOST_STATE_READY = State::Ready,
        TDX_HOST_STATE_INTERRUPTED = State::Interrupted,
        TDX_HOST_STATE_LOST = State::Lost,
        TDX_HOST_STATE_UPDATING = State::Updating,
        TDX_HOST_INFO_MODULE_VERSION = valid::MODULE_VERSION,
        TDX_HOST_INFO_SEAMLDR_VERSION = valid::SEAMLDR_VERSION,
        TDX_HOST_INFO_MODULE_SVN = valid::MODULE_SVN,
        TDX_HOST_INFO_MODULE_HASH = valid::MODULE_HASH,
        TDX_HOST_INFO_MODULE_SIGNER = valid::MODULE_SIGNER,
        TDX_HOST_INFO_FEATURES_OFFERED = valid::FEATURES_OFFERED,
        TDX_HOST_INFO_FEATURES_CONFIGURED = valid::FEATURES_CONFIGURED,
        TDX_HOST_INFO_HANDOFF_VERSION = valid::HANDOFF_VERSION,
        TDX_HOST_INFO_UPDATES_LEFT = valid::UPDATES_LEFT,
        TDX_HOST_CAP_UPDATE = uapi::CAP_UPDATE,
        TDX_HOST_CHECK_IMAGE = CheckId::Image,
        TDX_HOST_CHECK_HOST = CheckId::Host,
        TDX_HOST_CHECK_SIGSTRUCT = CheckId::Sigstruct,
        TDX_HOST_CHECK_PRODUCTION = CheckId::Production,
        TDX_HOST_CHECK_SIGNER = CheckId::Signer,
        TDX_HOST_CHECK_SIGNATURE = CheckId::Signature,
        TDX_HOST_CHECK_HASH = CheckId::Hash,
        TDX_HOST_CHECK_CPU = CheckId::Cpu,
        TDX_HOST_CHECK_SVN = CheckId::Svn,
        TDX_HOST_CHECK_HANDOFF = CheckId::Handoff,
        TDX_HOST_CHECK_SAME = CheckId::Same,
        TDX_HOST_CHECK_CPUS_ONLINE = CheckId::CpusOnline,
        TDX_HOST_CHECK_SEAMLDR = CheckId::Seamldr,
        TDX_HOST_CHECK_UPDATES_LEFT = CheckId::UpdatesLeft,
        TDX_HOST_CHECK_NO_OTHER_UPDATE = CheckId::NoOtherUpdate,
        TDX_HOST_VERDICT_PASS = Verdict::Pass,
        TDX_HOST_VERDICT_FAIL = Verdict::Fail,
        TDX_HOST_VERDICT_SKIP = Verdict::Skip,
        TDX_HOST_VERDICT_NOTE = Verdict::Note,
        TDX_HOST_OUTCOME_NONE = Outcome::None,
        TDX_HOST_OUTCOME_UPDATED = Outcome::Updated,
        TDX_HOST_OUTCOME_REFUSED = Outcome::Refused,
        TDX_HOST_OUTCOME_INTERRUPTED = Outcome::Interrupted,
        TDX_HOST_OUTCOME_LOST = Outcome::Lost,
        TDX_HOST_STEP_DONE = Step::Done,
        TDX_HOST_STEP_START = Step::Start,
        TDX_HOST_STEP_IMAGE = Step::Image,
        TDX_HOST_STEP_PREFLIGHT = Step::Preflight,
        TDX_HOST_STEP_SHUTDOWN = Step::Shutdown,
        TDX_HOST_STEP_WAIT = Step::Wait,
        TDX_HOST_STEP_INSTALL = Step::Install,
        TDX_HOST_STEP_INIT = Step::Init,
        TDX_HOST_STEP_CPU_INIT = Step::CpuInit,
        TDX_HOST_STEP_UPDATE = Step::Update,
        TDX_HOST_REASON_NONE = Reason::None,
        TDX_HOST_REASON_TD_BUILD = Reason::TdBuild,
        TDX_HOST_REASON_MIGRATION = Reason::Migration,
        TDX_HOST_REASON_OTHER = Reason::Other,
    };

    #[test]
    fn same_as_in_c() -> Result {
        let mut count = 0;
        for (name, wanted) in layout() {
            let found = [VALUES, STRUCTURES]
                .into_iter()
                .flatten()
                .find(|(ours, _)| *ours == name);
            match found {
                None => check!(false, "{name} is not here\n"),
                Some(&(_, got)) => check!(got == wanted, "{name}: {got}, not {wanted}\n"),
            }
            count += 1;
        }
        check!(
            count == VALUES.len() + STRUCTURES.len(),
            "there is more here than in C\n"
        );
        Ok(())
    }
}
