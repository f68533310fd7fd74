// SPDX-License-Identifier: GPL-2.0

//! What the x86 core knows of TDX on this host, and telling it what became of the TDX module.
//!
//! The core's record outlives the driver: it is what a driver that is loaded again goes by.
//!
//! C header: [`arch/x86/include/asm/tdx_host.h`](srctree/arch/x86/include/asm/tdx_host.h)

use core::{
    fmt,
    mem::MaybeUninit, //
};

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use crate::{
    features::Features,
    metadata::Version,
    retry,
    stop_machine::Stopped, //
};

/// What the host has of TDX.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing, and nothing that this driver could change.
    Absent,
    /// The TDX module is initialized but not configured.
    Unconfigured,
    /// The TDX module runs.
    Ready,
    /// The TDX module was shut down for an update, and no other one runs. Its handoff data is
    /// valid: an update with a good image saves the TDs that nobody has run or changed meanwhile.
    Interrupted,
    /// The TDX module is gone, and every TD with it, until the next reboot.
    Lost,
}

impl State {
    /// Whether an update has something to replace: a TDX module that runs, or that an earlier one
    /// has shut down.
    pub(crate) fn is_replaceable(self) -> bool {
        matches!(self, State::Ready | State::Interrupted)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Absent => "absent",
            State::Unconfigured => "unconfigured",
            State::Ready => "ready",
            State::Interrupted => "interrupted",
            State::Lost => "lost",
        })
    }
}

/// What the core has prepared and knows.
pub(crate) struct Setup {
    /// What the host has of TDX.
    pub(crate) state: State,
    /// The KeyID that protects the TDX module's own metadata.
    pub(crate) global_keyid: u32,
    /// P-SEAMLDR can be called without losing the current VMCS.
    pub(crate) seamldr_usable: bool,
    /// What TDH.SYS.CONFIG or TDH.SYS.UPDATE was last given.
    pub(crate) configured: Features,
    /// The version of the TDX module that there is, or of the last one that there was.
    pub(crate) last_version: Version,
    /// The features that this module offers.
    pub(crate) last_offered: Features,
    /// The version of the handoff data that is left, in [`State::Interrupted`].
    pub(crate) handoff_version: u16,
    nr_tdmrs: u32,
}

impl Setup {
    /// Reads the core's record.
    pub(crate) fn read() -> Self {
        let mut setup = MaybeUninit::uninit();
        // SAFETY: `setup` has room for what the core writes.
        let setup: bindings::tdx_host_setup = unsafe {
            bindings::tdx_host_get_setup(setup.as_mut_ptr());
            // SAFETY: The core has filled it in.
            setup.assume_init()
        };

        Self {
            state: match setup.state {
                bindings::tdx_host_core_state_TDX_HOST_PREPARED => State::Unconfigured,
                bindings::tdx_host_core_state_TDX_HOST_READY => State::Ready,
                bindings::tdx_host_core_state_TDX_HOST_INTERRUPTED => State::Interrupted,
                bindings::tdx_host_core_state_TDX_HOST_LOST => State::Lost,
                _ => State::Absent,
            },
            global_keyid: setup.global_keyid,
            seamldr_usable: setup.seamldr_usable,
            configured: Features::from_bits(setup.features),
            last_version: Version::from(&setup.version),
            last_offered: Features::from_bits(setup.offered),
            handoff_version: setup.handoff_version,
            nr_tdmrs: setup.nr_tdmrs,
        }
    }

    /// The version of the TDX module, or `None` when none could be used.
    pub(crate) fn version(&self) -> Option<Version> {
        self.has_module().then_some(self.last_version)
    }

    /// What the TDX module offers, or `None` when none could be used.
    pub(crate) fn offered(&self) -> Option<Features> {
        self.has_module().then_some(self.last_offered)
    }

    fn has_module(&self) -> bool {
        matches!(self.state, State::Unconfigured | State::Ready)
    }

    /// The TDMRs constructed at boot. For the load of the driver, which initializes them.
    pub(crate) fn tdmrs(&self) -> Result<KVec<Tdmr>> {
        let mut tdmrs = KVec::new();
        for tdmr in (0..self.nr_tdmrs).map_while(Tdmr::read) {
            tdmrs.push(tdmr, GFP_KERNEL)?;
        }
        Ok(tdmrs)
    }
}

/// A TD memory region: what the TDX module tracks the use of in a PAMT.
///
/// # Invariants
///
/// The core has constructed it, and set its PAMT aside for the TDX module.
pub(crate) struct Tdmr {
    info: u64,
    base: u64,
    size: u64,
    node: i32,
}

impl Tdmr {
    /// Physical address of its TDMR_INFO.
    pub(crate) fn info(&self) -> u64 {
        self.info
    }

    /// Physical address of its first byte, 1 GiB aligned.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Size in bytes, a multiple of 1 GiB.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// NUMA node of some of its memory.
    pub(crate) fn node(&self) -> i32 {
        self.node
    }

    fn read(index: u32) -> Option<Self> {
        let mut tdmr = MaybeUninit::<bindings::tdx_host_tdmr>::uninit();
        // SAFETY: `tdmr` has room for what the core writes.
        if unsafe { bindings::tdx_host_get_tdmr(index, tdmr.as_mut_ptr()) } != 0 {
            return None;
        }
        // SAFETY: The core has filled it in, as it returned 0.
        let tdmr = unsafe { tdmr.assume_init() };

        // INVARIANT: The core says so.
        Some(Self {
            info: tdmr.info,
            base: tdmr.base,
            size: tdmr.size,
            node: tdmr.nid,
        })
    }

    /// Physical address behind its last byte.
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(self.size)
    }
}

/// The TDX module is configured with `features`: read the system information again, and offer
/// TDX to KVM.
///
/// # Errors
///
/// That of reading; nothing is offered then.
pub(crate) fn module_configured(features: Features) -> Result {
    // SAFETY: Only the load of the driver calls this, and nothing else changes the state meanwhile.
    retry(|| to_result(unsafe { bindings::tdx_host_module_configured(features.bits()) }))
}

/// The TDX module cannot be configured any more: free what was prepared for it, `tdmrs`.
pub(crate) fn module_failed(tdmrs: KVec<Tdmr>) {
    // Nobody initializes them any more.
    drop(tdmrs);
    // SAFETY: Only the load of the driver calls this, and nothing else changes the state meanwhile.
    // The TDX module does not work on the PAMTs that this frees, as it is called for TDMRs alone.
    unsafe { bindings::tdx_host_module_failed() };
}

/// The TDX module was shut down; `recoverable` says whether its TDs can still be saved, with the
/// handoff data of version `hv` that it has left. For one CPU at a time.
pub(crate) fn module_gone(recoverable: bool, hv: u16, _: Stopped) {
    // SAFETY: This writes integers and flags, of which nobody sees some without the others as all
    // CPUs are stopped.
    unsafe { bindings::tdx_host_module_gone(recoverable, hv) };
}

/// Another TDX module has taken over. It was given `features`, and offers `offered`. For one CPU at
/// a time.
pub(crate) fn module_updated(features: Features, offered: Features, version: Version, _: Stopped) {
    // SAFETY: As in `module_gone()`. The core only reads the version, before it returns.
    unsafe { bindings::tdx_host_module_updated(features.bits(), offered.bits(), &version.into()) };
}

/// Reads the rest of the system information after an update, and replaces it where it differs.
pub(crate) fn refresh_sysinfo() -> Result {
    // SAFETY: Only the update that runs calls this, and nothing else changes the state meanwhile.
    retry(|| to_result(unsafe { bindings::tdx_host_refresh_sysinfo() }))
}

/// Repeats `read`, which reads the system information, while it fails: the core does not say
/// whether the reason may pass. It says each time in the kernel log what failed, so this is done
/// only a few times.
fn retry(read: impl Fn() -> Result) -> Result {
    const TRIES: u32 = 3;

    retry::retry(
        TRIES,
        Result::is_err,
        || fsleep(Delta::from_millis(10)),
        read,
    )
}
