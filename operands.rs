// SPDX-License-Identifier: GPL-2.0

//! The SEAMCALLs that the driver makes: what goes into the registers, and why.
//!
//! Sources: the published sources of the TDX module and of P-SEAMLDR for the operands; the
//! reviews on the linux-coco list that the comments sum up for the choices.
//!
//! This file uses `core` alone; see `image.rs`.

use crate::{
    features::Features,
    status::Leaf, //
};

/// A SEAMCALL leaf with its input operands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// RAX.
    pub(crate) leaf: Leaf,
    pub(crate) rcx: u64,
    pub(crate) rdx: u64,
    pub(crate) r8: u64,
    pub(crate) r9: u64,
    pub(crate) r10: u64,
    pub(crate) r11: u64,
}

/// TDH.SYS.SHUTDOWN, RCX: refuse while a TD is being built or its migration was interrupted.
const AVOID_COMPAT_SENSITIVE: u64 = 1 << 16;

impl Call {
    /// A leaf without operands.
    const fn new(leaf: Leaf) -> Self {
        Self {
            leaf,
            rcx: 0,
            rdx: 0,
            r8: 0,
            r9: 0,
            r10: 0,
            r11: 0,
        }
    }

    /// TDH.SYS.INIT: the one-time initialization of the TDX module, on any CPU.
    pub(crate) const fn sys_init() -> Self {
        // RCX are module attributes; all of them are reserved.
        Self::new(Leaf::SYS_INIT)
    }

    /// TDH.SYS.LP.INIT: the initialization of the TDX module on this CPU.
    pub(crate) const fn sys_lp_init() -> Self {
        Self::new(Leaf::SYS_LP_INIT)
    }

    /// TDH.SYS.RD: reads the global metadata field `field`; the value comes back in R8.
    pub(crate) const fn sys_rd(field: u64) -> Self {
        Self {
            rdx: field,
            ..Self::new(Leaf::SYS_RD)
        }
    }

    /// TDH.SYS.CONFIG: hands the TDMRs and the global KeyID over.
    ///
    /// `tdmrs` is the physical address of an array of `nr_tdmrs` physical addresses of TDMR_INFO,
    /// 512-byte aligned like each of them.
    pub(crate) fn sys_config(
        tdmrs: u64,
        nr_tdmrs: u64,
        global_keyid: u64,
        features: Features,
    ) -> Self {
        let version_0 = Self {
            rcx: tdmrs,
            rdx: nr_tdmrs,
            r8: global_keyid,
            ..Self::new(Leaf::SYS_CONFIG)
        };

        // Version 1 means that the bitmap counts. Modules without a feature to ask for need not
        // know it, so nothing changes for them.
        if features.is_empty() {
            return version_0;
        }

        Self {
            leaf: Leaf::SYS_CONFIG.version(1),
            r9: features.bits(),
            // Wall clock, in seconds, that the TDX module would have to take the VMM's word for.
            // 0 asks for no policy and no mechanism that rests on one: no other trusted security
            // manager takes it, the VMM's clock may change later, and whether a certificate has
            // expired is the relying party's question. A module that insists is not supported.
            r11: 0,
            ..version_0
        }
    }

    /// TDH.SYS.KEY.CONFIG: makes the global key on the package of this CPU.
    pub(crate) const fn sys_key_config() -> Self {
        Self::new(Leaf::SYS_KEY_CONFIG)
    }

    /// TDH.SYS.TDMR.INIT: initializes the next part of the TDMR at `base`; RDX comes back with
    /// the address that is next.
    pub(crate) const fn sys_tdmr_init(base: u64) -> Self {
        Self {
            rcx: base,
            ..Self::new(Leaf::SYS_TDMR_INIT)
        }
    }

    /// TDH.SYS.SHUTDOWN: ends the running module and leaves handoff data of version `hv`.
    pub(crate) const fn sys_shutdown(hv: u16) -> Self {
        Self {
            // This flag makes the TDX module refuse the shutdown if it meets a TD that is being
            // built, or one whose migration was interrupted. That eliminates exposure to an
            // erratum: the measurement of such a TD is kept in a form that another module may
            // not continue, so it would silently come out wrong.
            //
            // Not all TDX modules support the flag. Those reject the shutdown for an invalid
            // RCX, so that the update fails while they run on. Support is not checked before:
            // the answer would be the same.
            rcx: hv as u64 | AVOID_COMPAT_SENSITIVE,
            ..Self::new(Leaf::SYS_SHUTDOWN)
        }
    }

    /// TDH.SYS.UPDATE: takes the TDs over from the handoff data.
    ///
    /// `features` is what TDH.SYS.CONFIG was given.
    pub(crate) fn sys_update(features: Features) -> Self {
        if features.is_empty() {
            return Self::new(Leaf::SYS_UPDATE);
        }

        Self {
            leaf: Leaf::SYS_UPDATE.version(1),
            r9: features.bits(),
            ..Self::new(Leaf::SYS_UPDATE)
        }
    }

    /// SEAMLDR.INFO: fills the `struct seamldr_info` at physical address `info`, 256-byte aligned.
    pub(crate) const fn seamldr_info(info: u64) -> Self {
        Self {
            rcx: info,
            ..Self::new(Leaf::SEAMLDR_INFO)
        }
    }

    /// SEAMLDR.INSTALL: this CPU's part in installing a module.
    ///
    /// `params` is the physical address of a SEAMLDR_PARAMS page. RDX comes back with 0 when a
    /// failure left the shut-down module's memory intact.
    pub(crate) const fn seamldr_install(params: u64) -> Self {
        Self {
            rcx: params,
            ..Self::new(Leaf::SEAMLDR_INSTALL)
        }
    }
}
