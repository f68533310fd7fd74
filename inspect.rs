// SPDX-License-Identifier: GPL-2.0

//! What the checks in `preflight.rs` need of the kernel and of the hardware.

use kernel::prelude::*;

use crate::{
    evidence,
    image::Image,
    metadata::{
        self,
        SeamldrInfo, //
    },
    outcome,
    preflight::{
        Evidence,
        Host,
        Preflight, //
    },
    seamcall,
    setup::{
        Setup,
        State, //
    },
    sigstruct::Signer,
    smp, //
};

kernel::sync::global_lock! {
    // SAFETY: `init()` is called before anything else of this file.
    unsafe(uninit) static TRUSTED_SIGNER: Mutex<Option<Signer>> = None;
}

/// Prepares this file's locks.
///
/// # Safety
///
/// Must be called once, before anything else of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By the requirement of this function.
    unsafe { TRUSTED_SIGNER.init() };
}

/// The signer that is trusted besides Intel.
pub(crate) fn trusted_signer() -> Option<Signer> {
    *TRUSTED_SIGNER.lock()
}

/// Trusts `signer` besides Intel, instead of any other.
pub(crate) fn set_trusted_signer(signer: Option<Signer>) {
    *TRUSTED_SIGNER.lock() = signer;
}

/// What P-SEAMLDR says of itself.
pub(crate) fn seamldr_info() -> seamcall::Result<SeamldrInfo> {
    seamcall::retry(SeamldrInfo::read)
}

/// The version of the handoff data that the running module writes, or that the last one has left;
/// `None` when there is neither.
pub(crate) fn handoff_version(setup: &Setup) -> seamcall::Result<Option<u16>> {
    match setup.state {
        State::Ready => seamcall::retry(metadata::module_hv).map(Some),
        State::Interrupted => Ok(Some(setup.handoff_version)),
        State::Absent | State::Unconfigured | State::Lost => Ok(None),
    }
}

/// An image that is to replace the running TDX module, and what does not change about it and the
/// host while that is tried.
pub(crate) struct Candidate<'a> {
    pub(crate) image: Image<'a>,
    pub(crate) setup: Setup,
    evidence: Evidence,
}

impl<'a> Candidate<'a> {
    /// Looks at `image`, and whether there is a TDX module to replace.
    pub(crate) fn new(image: Image<'a>) -> Result<Self, outcome::Error> {
        let setup = Setup::read();
        if !setup.state.is_replaceable() {
            return Err(outcome::Error::State(setup.state));
        }

        Ok(Self {
            evidence: evidence::gather(&image)?,
            image,
            setup,
        })
    }

    /// Looks at what may change about the host at any time. `cpus` are its
    /// [`package_signatures`], and `other_update` says whether an update runs that is not the
    /// caller's.
    pub(crate) fn host<'b>(
        &self,
        cpus: &'b [u32],
        other_update: bool,
    ) -> Result<Host<'b>, outcome::Error> {
        let seamldr = seamldr_info()?;

        Ok(Host {
            trusted_signer: trusted_signer(),
            running_signer: seamldr.running_signer,
            cpus,
            online: smp::online().weight(),
            present: smp::present().weight(),
            other_update,
            seamldr_ready: seamldr.is_ready,
            // A module of the 2.0 line runs on no other P-SEAMLDR, whatever that calls itself.
            strict_sigstruct: seamldr.version.major < 2
                && seamldr.running_svn.is_none_or(|svn| svn.major < 3),
            updates_left: seamldr.num_remaining_updates,
            running_svn: seamldr.running_svn,
            running_hash: seamldr.running_hash,
            running_hv: handoff_version(&self.setup)?,
        })
    }

    /// The checks of the image on this host.
    pub(crate) fn preflight<'b>(&'b self, host: &'b Host<'b>) -> Preflight<'b> {
        Preflight {
            image: &self.image,
            evidence: &self.evidence,
            host,
        }
    }
}

/// CPUID.1:EAX of an online CPU of each package.
///
/// # Errors
///
/// [`ENOMEM`].
pub(crate) fn package_signatures() -> Result<KVec<u32>> {
    let no_hotplug = smp::NoHotplug::new();
    let mut cpus = KVec::new();
    for &cpu in smp::of_packages(&no_hotplug)?.iter() {
        cpus.push(smp::call_on(cpu, smp::signature)?, GFP_KERNEL)?;
    }
    Ok(cpus)
}
