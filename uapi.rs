// SPDX-License-Identifier: GPL-2.0

//! What the ioctls of `/dev/tdx_host` take and return.
//!
//! This is `include/uapi/linux/tdx_host.h` in Rust, which describes it; `tests/uapi_kunit.rs`
//! compares the two.

use kernel::{
    ioctl::_IO,
    prelude::*, //
};

use crate::extensible::Extensible;

const TYPE: u32 = 0xDA;

/// TDX_HOST_INFO, which takes an [`Info`].
pub(crate) const INFO: u32 = _IO(TYPE, 0);
/// TDX_HOST_CHECK, which takes a [`Check`].
pub(crate) const CHECK: u32 = _IO(TYPE, 1);
/// TDX_HOST_UPDATE, which takes an [`Update`].
pub(crate) const UPDATE: u32 = _IO(TYPE, 2);

/// Size of a text, with the zero byte at its end.
pub(crate) const TEXT_SIZE: usize = 224;

/// `struct tdx_host_version`
#[derive(Clone, Copy, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Version {
    pub(crate) major: u16,
    pub(crate) minor: u16,
    pub(crate) update: u16,
    pub(crate) reserved: u16,
}

/// `enum tdx_host_state`
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum State {
    Absent = 0,
    Unconfigured = 1,
    Ready = 2,
    Interrupted = 3,
    Lost = 4,
    Updating = 5,
}

/// TDX_HOST_INFO_*
pub(crate) mod valid {
    pub(crate) const MODULE_VERSION: u64 = 1 << 0;
    pub(crate) const SEAMLDR_VERSION: u64 = 1 << 1;
    pub(crate) const MODULE_SVN: u64 = 1 << 2;
    pub(crate) const MODULE_HASH: u64 = 1 << 3;
    pub(crate) const MODULE_SIGNER: u64 = 1 << 4;
    pub(crate) const FEATURES_OFFERED: u64 = 1 << 5;
    pub(crate) const FEATURES_CONFIGURED: u64 = 1 << 6;
    pub(crate) const HANDOFF_VERSION: u64 = 1 << 7;
    pub(crate) const UPDATES_LEFT: u64 = 1 << 8;
}

/// TDX_HOST_CAP_UPDATE
pub(crate) const CAP_UPDATE: u32 = 1 << 0;

/// `struct tdx_host_info`
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Info {
    pub(crate) size: u32,
    pub(crate) flags: u32,
    pub(crate) valid: u64,
    pub(crate) state: u32,
    pub(crate) caps: u32,
    pub(crate) module_version: Version,
    pub(crate) seamldr_version: Version,
    pub(crate) features_offered: u64,
    pub(crate) features_configured: u64,
    pub(crate) cpus_online: u32,
    pub(crate) cpus_present: u32,
    pub(crate) updates_left: u32,
    pub(crate) handoff_version: u16,
    pub(crate) svn_major: u8,
    pub(crate) svn_minor: u8,
    pub(crate) module_hash: [u8; 48],
    pub(crate) module_signer: [u8; 48],
}

/// `enum tdx_host_check_id`
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum CheckId {
    Image = 1,
    Host = 2,
    Sigstruct = 3,
    Production = 4,
    Signer = 5,
    Signature = 6,
    Hash = 7,
    Cpu = 8,
    Svn = 9,
    Handoff = 10,
    Same = 11,
    CpusOnline = 12,
    Seamldr = 13,
    UpdatesLeft = 14,
    NoOtherUpdate = 15,
}

/// `enum tdx_host_verdict`
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Verdict {
    Pass = 1,
    Fail = 2,
    Skip = 3,
    Note = 4,
}

/// `struct tdx_host_check_result`
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct CheckResult {
    pub(crate) check: u32,
    pub(crate) verdict: u32,
    pub(crate) error: i32,
    pub(crate) reserved: u32,
    pub(crate) name: [u8; 16],
    pub(crate) text: [u8; TEXT_SIZE],
}

/// `struct tdx_host_check`
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Check {
    pub(crate) size: u32,
    pub(crate) flags: u32,
    pub(crate) image: u64,
    pub(crate) image_size: u64,
    pub(crate) results: u64,
    pub(crate) result_size: u32,
    pub(crate) nr_results: u32,
    pub(crate) error: i32,
    pub(crate) reserved: u32,
}

/// `enum tdx_host_outcome`
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Outcome {
    None = 0,
    Updated = 1,
    Refused = 2,
    Interrupted = 3,
    Lost = 4,
}

/// `enum tdx_host_step`
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Step {
    Done = 0,
    Start = 1,
    Image = 2,
    Preflight = 3,
    Shutdown = 4,
    Wait = 5,
    Install = 6,
    Init = 7,
    CpuInit = 8,
    Update = 9,
}

/// `enum tdx_host_reason`
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Reason {
    None = 0,
    TdBuild = 1,
    Migration = 2,
    Other = 3,
}

/// `struct tdx_host_update`
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Update {
    pub(crate) size: u32,
    pub(crate) flags: u32,
    pub(crate) image: u64,
    pub(crate) image_size: u64,
    pub(crate) wait_ms: u32,
    pub(crate) reserved: u32,
    pub(crate) outcome: u32,
    pub(crate) step: u32,
    pub(crate) error: i32,
    pub(crate) cpu: i32,
    pub(crate) leaf: u64,
    pub(crate) status: u64,
    pub(crate) reason: u32,
    pub(crate) count: u32,
    pub(crate) attempts: u32,
    pub(crate) reserved2: u32,
    pub(crate) blackout_ns: u64,
    pub(crate) total_blackout_ns: u64,
    pub(crate) from: Version,
    pub(crate) to: Version,
    pub(crate) text: [u8; TEXT_SIZE],
}

impl Extensible for Info {
    const FIRST_SIZE: usize = 168;
}

impl Extensible for Check {
    const FIRST_SIZE: usize = 48;
}

impl Extensible for Update {
    const FIRST_SIZE: usize = 336;
}

impl CheckResult {
    /// The size of its first version. The size of an element is said with the array's address.
    pub(crate) const FIRST_SIZE: usize = 256;
}

static_assert!(size_of::<Info>() >= Info::FIRST_SIZE);
static_assert!(size_of::<Check>() >= Check::FIRST_SIZE);
static_assert!(size_of::<Update>() >= Update::FIRST_SIZE);
static_assert!(size_of::<CheckResult>() >= CheckResult::FIRST_SIZE);
