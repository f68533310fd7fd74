// SPDX-License-Identifier: GPL-2.0

//! What the checks in `preflight.rs` need of the kernel and of the hardware.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use crate::{
    crypto,
    image::Image,
    metadata::{
        self,
        SeamldrInfo, //
    },
    outcome,
    preflight::{
        Evidence,
        Host, //
    },
    setup::{
        Setup,
        State, //
    },
    sigstruct::{
        Signer,
        Sigstruct, //
    },
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

/// The version of the handoff data that a module which is shut down has written, plus one; 0 when
/// that is not known.
static HANDOFF_VERSION: Atomic<u32> = Atomic::new(0);

/// Takes note that a module is shut down with handoff data of version `hv`.
pub(crate) fn set_handoff_version(hv: u16) {
    HANDOFF_VERSION.store(u32::from(hv).saturating_add(1), Relaxed);
}

/// Lets cryptography look at an image.
pub(crate) fn evidence(image: &Image<'_>) -> Result<Evidence> {
    let sigstruct = Sigstruct::new(image.sigstruct());
    let mut signed = KVec::new();
    for part in sigstruct.signed() {
        signed.extend_from_slice(part, GFP_KERNEL)?;
    }
    let signature_valid = match crypto::RsaKey::new(sigstruct.modulus())
        .and_then(|key| key.verify(sigstruct.signature(), &crypto::sha384(&signed)))
    {
        Ok(()) => true,
        // The signature's or the key's fault, and not the kernel's.
        Err(error) if [EBADMSG, EINVAL, EKEYREJECTED].contains(&error) => false,
        Err(error) => return Err(error),
    };

    Ok(Evidence {
        module_hash: crypto::sha384(image.module()),
        signer: Signer(crypto::sha384(sigstruct.modulus())),
        signature_valid,
    })
}

/// Looks at the host. `cpus` is what [`package_cpus`] returned.
pub(crate) fn host<'a>(setup: &Setup, cpus: &'a [u32]) -> Result<Host<'a>, outcome::Error> {
    let seamldr = SeamldrInfo::read()?;

    Ok(Host {
        trusted_signer: trusted_signer(),
        running_signer: seamldr.running_signer,
        cpus,
        online: smp::online().weight(),
        present: smp::present().weight(),
        seamldr_ready: seamldr.is_ready,
        // A module of the 2.0 line runs on no other P-SEAMLDR, whatever that calls itself.
        strict_sigstruct: seamldr.version.major < 2
            && seamldr.running_svn.is_none_or(|svn| svn.major < 3),
        updates_left: seamldr.num_remaining_updates,
        running_svn: seamldr.running_svn,
        running_hash: seamldr.running_hash,
        running_hv: if setup.state == State::Ready {
            Some(metadata::module_hv()?)
        } else {
            // CAST: It was a `u16` plus one.
            HANDOFF_VERSION
                .load(Relaxed)
                .checked_sub(1)
                .map(|hv| hv as u16)
        },
    })
}

/// CPUID.1:EAX of an online CPU of each package.
pub(crate) fn package_cpus() -> Result<KVec<u32>> {
    let mut seen = KVec::<i32>::new();
    let mut cpus = KVec::new();
    for cpu in smp::cpus(smp::online()) {
        let package = smp::package(cpu);
        if seen.contains(&package) {
            continue;
        }
        seen.push(package, GFP_KERNEL)?;
        cpus.push(smp::call_on(cpu, smp::signature)?, GFP_KERNEL)?;
    }
    Ok(cpus)
}
