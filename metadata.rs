// SPDX-License-Identifier: GPL-2.0

//! Global metadata of the TDX module, and what P-SEAMLDR says of itself, as typed values.
//!
//! Sources: `arch/x86/virt/vmx/tdx/tdx_global_metadata.c` and the published source of the TDX
//! module for the fields; the SEAM Loader Interface Specification for SEAMLDR_INFO.

use core::fmt;

use kernel::bindings;

use crate::{
    features::Features,
    image::bytes_at,
    seamcall,
    sigstruct::{
        Signer,
        Svn,
        SHA384_SIZE, //
    }, //
};

const MINOR_VERSION: u64 = 0x0800_0001_0000_0003;
const MAJOR_VERSION: u64 = 0x0800_0001_0000_0004;
const UPDATE_VERSION: u64 = 0x0800_0001_0000_0005;
const TDX_FEATURES0: u64 = 0x0A00_0003_0000_0008;
const MODULE_HV: u64 = 0x8900_0001_0000_0000;

// Offsets in SEAM_INFO, the TEE_TCB_INFO without what is for reports, in bytes. It begins with a
// 64-bit mask.
const TEE_TCB_SVN: usize = 8;
const MRSEAM: usize = 24;
const MRSIGNER: usize = 72;

/// A version of the TDX module or of P-SEAMLDR, shown as "1.5.08".
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Version {
    pub(crate) major: u16,
    pub(crate) minor: u16,
    pub(crate) update: u16,
}

impl Version {
    /// Reads the version of the running TDX module from it.
    pub(crate) fn read() -> seamcall::Result<Self> {
        // CAST: All three fields have 16 bits.
        Ok(Self {
            major: seamcall::sys_rd(MAJOR_VERSION)? as u16,
            minor: seamcall::sys_rd(MINOR_VERSION)? as u16,
            update: seamcall::sys_rd(UPDATE_VERSION)? as u16,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // TDX_VERSION_FMT in arch/x86/include/asm/tdx.h
        write!(f, "{}.{}.{:02}", self.major, self.minor, self.update)
    }
}

impl From<&bindings::tdx_sys_info_version> for Version {
    fn from(version: &bindings::tdx_sys_info_version) -> Self {
        Self {
            major: version.major_version,
            minor: version.minor_version,
            update: version.update_version,
        }
    }
}

impl From<Version> for bindings::tdx_sys_info_version {
    fn from(version: Version) -> Self {
        Self {
            major_version: version.major,
            minor_version: version.minor,
            update_version: version.update,
        }
    }
}

/// Reads the features that the running TDX module offers.
pub(crate) fn features() -> seamcall::Result<Features> {
    seamcall::sys_rd(TDX_FEATURES0).map(Features::from_bits)
}

/// Reads the highest handoff version that the running TDX module writes.
pub(crate) fn module_hv() -> seamcall::Result<u16> {
    // CAST: The field has 16 bits.
    seamcall::sys_rd(MODULE_HV).map(|hv| hv as u16)
}

/// What P-SEAMLDR says of itself (SEAMLDR_INFO).
pub(crate) struct SeamldrInfo {
    /// The version of P-SEAMLDR.
    pub(crate) version: Version,
    /// How many more updates it can record before the next reboot.
    pub(crate) num_remaining_updates: u32,
    /// It takes calls other than this; `None` when it does not say.
    pub(crate) is_ready: Option<bool>,
    /// The security version of the TDX module that is loaded (TEE_TCB_SVN), if it says.
    pub(crate) running_svn: Option<Svn>,
    /// SHA-384 of that module's pages (MRSEAM).
    pub(crate) running_hash: [u8; SHA384_SIZE],
    /// Who signed that module, if not Intel (MRSIGNER).
    pub(crate) running_signer: Option<Signer>,
}

impl SeamldrInfo {
    /// Asks P-SEAMLDR. Does not sleep.
    pub(crate) fn read() -> seamcall::Result<Self> {
        let info = seamcall::seamldr_info()?;

        Ok(Self {
            version: Version {
                major: info.major_version,
                minor: info.minor_version,
                update: info.update_version,
            },
            num_remaining_updates: info.num_remaining_updates,
            // It is not ready, but has loaded a TDX module, only when it was shut down since.
            is_ready: match (info.p_seam_ready, info.seam_ready) {
                (0, 0) => None,
                (0, _) => Some(false),
                _ => Some(true),
            },
            // No module has the major version 0.
            running_svn: match bytes_at(&info.seam_info, TEE_TCB_SVN) {
                Some(&[minor, major]) if major != 0 => Some(Svn { major, minor }),
                _ => None,
            },
            running_signer: bytes_at(&info.seam_info, MRSIGNER)
                .filter(|signer| signer.iter().any(|&byte| byte != 0))
                .map(|&signer| Signer(signer)),
            running_hash: bytes_at(&info.seam_info, MRSEAM)
                .copied()
                .unwrap_or([0; SHA384_SIZE]),
        })
    }
}
