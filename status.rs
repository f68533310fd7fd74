// SPDX-License-Identifier: GPL-2.0

//! SEAMCALL leaves and completion statuses, and their names.
//!
//! Sources: `arch/x86/virt/vmx/tdx/tdx.h`, `arch/x86/include/asm/shared/tdx_errno.h`, and the
//! published sources of the TDX module and of P-SEAMLDR for what Linux does not name.
//!
//! This file uses `core` alone; see `image.rs`.

use core::fmt;

/// Selects P-SEAMLDR rather than the TDX module as the target of a SEAMCALL.
const SEAMLDR: u64 = 1 << 63;

/// Position of the version in a leaf of the TDX module.
const VERSION_SHIFT: u32 = 16;

/// A SEAMCALL leaf that the driver uses: number, version and target, as RAX takes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf(u64);

impl Leaf {
    pub(crate) const SYS_KEY_CONFIG: Self = Self(31);
    pub(crate) const SYS_INIT: Self = Self(33);
    pub(crate) const SYS_RD: Self = Self(34);
    pub(crate) const SYS_LP_INIT: Self = Self(35);
    pub(crate) const SYS_TDMR_INIT: Self = Self(36);
    pub(crate) const SYS_CONFIG: Self = Self(45);
    pub(crate) const SYS_SHUTDOWN: Self = Self(52);
    pub(crate) const SYS_UPDATE: Self = Self(53);
    pub(crate) const SEAMLDR_INFO: Self = Self(SEAMLDR);
    pub(crate) const SEAMLDR_INSTALL: Self = Self(SEAMLDR | 1);

    /// The same leaf in another version.
    pub(crate) const fn version(self, version: u8) -> Self {
        Self(self.0 | ((version as u64) << VERSION_SHIFT))
    }

    /// The leaf in RAX.
    pub(crate) const fn from_rax(rax: u64) -> Self {
        Self(rax)
    }

    /// The value of RAX.
    pub(crate) const fn rax(self) -> u64 {
        self.0
    }

    /// The name in the interface specifications.
    pub(crate) fn name(self) -> &'static str {
        match Self(self.0 & !(0xff << VERSION_SHIFT)) {
            Self::SYS_KEY_CONFIG => "TDH.SYS.KEY.CONFIG",
            Self::SYS_INIT => "TDH.SYS.INIT",
            Self::SYS_RD => "TDH.SYS.RD",
            Self::SYS_LP_INIT => "TDH.SYS.LP.INIT",
            Self::SYS_TDMR_INIT => "TDH.SYS.TDMR.INIT",
            Self::SYS_CONFIG => "TDH.SYS.CONFIG",
            Self::SYS_SHUTDOWN => "TDH.SYS.SHUTDOWN",
            Self::SYS_UPDATE => "TDH.SYS.UPDATE",
            Self::SEAMLDR_INFO => "SEAMLDR.INFO",
            Self::SEAMLDR_INSTALL => "SEAMLDR.INSTALL",
            _ => "SEAMCALL",
        }
    }

    /// Whether P-SEAMLDR is the target.
    fn is_seamldr(self) -> bool {
        self.0 & SEAMLDR != 0
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An operand of a SEAMCALL, as OPERAND_INVALID and OPERAND_BUSY name it in their details.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operand(u32);

impl Operand {
    /// Whether it is the version itself (RAX), or an operand that version 1 of TDH.SYS.CONFIG or
    /// of TDH.SYS.UPDATE added: the bitmap of features (R9), the one behind it (R10), or the wall
    /// clock (R11).
    pub(crate) fn is_of_version_1(self) -> bool {
        matches!(self.0, 0 | 9..=11)
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("RAX"),
            1 => f.write_str("RCX"),
            2 => f.write_str("RDX"),
            n @ 8..=15 => write!(f, "R{n}"),
            n => write!(f, "{n}"),
        }
    }
}

/// The completion status of a SEAMCALL, as RAX holds it afterwards.
///
/// Bits 63:32 are class and code, 31:0 details that depend on the code. P-SEAMLDR uses the low
/// half for its code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Status(u64);

impl Status {
    pub(crate) const SUCCESS: Self = Self(0);

    // Made up by the kernel (`arch/x86/include/asm/tdx.h`).
    /// The target is not loaded, is disabled, or P-SEAMLDR serves another CPU.
    pub(crate) const VMFAILINVALID: Self = Self(0x8000_FF00_FFFF_0000);
    /// #GP: the CPU has no SEAM.
    pub(crate) const GP: Self = Self(0x8000_FF00_0000_000D);
    /// #UD: the CPU is not in VMX operation.
    pub(crate) const UD: Self = Self(0x8000_FF00_0000_0006);

    // The TDX module's; details are 0 here.
    pub(crate) const OPERAND_BUSY: Self = Self(0x8000_0200_0000_0000);
    pub(crate) const SYS_BUSY: Self = Self(0x8000_0202_0000_0000);
    pub(crate) const RND_NO_ENTROPY: Self = Self(0x8000_0203_0000_0000);
    pub(crate) const UPDATE_COMPAT_SENSITIVE: Self = Self(0x8000_0512_0000_0000);
    pub(crate) const KEY_GENERATION_FAILED: Self = Self(0x8000_0800_0000_0000);
    pub(crate) const KEY_CONFIGURED: Self = Self(0x0000_0815_0000_0000);
    pub(crate) const OPERAND_INVALID: Self = Self(0xC000_0100_0000_0000);
    pub(crate) const INVALID_RCX: Self = Self(0xC000_0100_0000_0001);
    pub(crate) const SYS_SHUTDOWN: Self = Self(0xC000_0506_0000_0000);
    pub(crate) const SYS_INVALID_HANDOFF: Self = Self(0xC000_0509_0000_0000);
    pub(crate) const SYS_CONFIG_NOT_PENDING: Self = Self(0xC000_050C_0000_0000);

    // P-SEAMLDR's.
    pub(crate) const SEAMLDR_EBADCALL: Self = Self(0x8000_0000_0000_0003);
    pub(crate) const SEAMLDR_ENOMEM: Self = Self(0x8000_0000_0001_0002);
    pub(crate) const SEAMLDR_EINTERRUPT: Self = Self(0x8000_0000_0003_0000);
    pub(crate) const SEAMLDR_ENOENTROPY: Self = Self(0x8000_0000_0003_0001);

    /// The status in RAX.
    pub(crate) const fn new(rax: u64) -> Self {
        Self(rax)
    }

    /// The value of RAX.
    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    /// Class and code, without the details.
    pub(crate) const fn code(self) -> Self {
        Self(self.0 & 0xFFFF_FFFF_0000_0000)
    }

    /// Class and code are those of `other`, whatever the details.
    pub(crate) fn is(self, other: Self) -> bool {
        self.code() == other.code()
    }

    /// Bits 31:0.
    pub(crate) const fn details(self) -> u32 {
        (self.0 & 0xFFFF_FFFF) as u32
    }

    /// Whether the TDX module does not take the leaf's version 1, or not with these features.
    pub(crate) fn is_of_version_1(self) -> bool {
        self.invalid_operand().is_some_and(Operand::is_of_version_1)
    }

    /// Whether it says, of a call that any TDX module which runs takes, that none does: it was shut
    /// down, or is not there.
    pub(crate) fn is_gone(self) -> bool {
        self.is(Self::SYS_SHUTDOWN) || self == Self::VMFAILINVALID
    }

    /// The operand that an OPERAND_INVALID names.
    pub(crate) fn invalid_operand(self) -> Option<Operand> {
        self.is(Self::OPERAND_INVALID)
            .then_some(Operand(self.details()))
    }

    /// Whether the same call may succeed when it is made again soon.
    pub(crate) fn is_transient(self) -> bool {
        const TRANSIENT: [Status; 4] = [
            Status::OPERAND_BUSY,
            Status::SYS_BUSY,
            Status::RND_NO_ENTROPY,
            Status::KEY_GENERATION_FAILED,
        ];
        TRANSIENT.iter().any(|&status| self.is(status)) || self.is_transient_install()
    }

    /// Whether P-SEAMLDR may install the same image when it is asked again.
    pub(crate) fn is_transient_install(self) -> bool {
        matches!(
            self,
            Self::SEAMLDR_ENOMEM | Self::SEAMLDR_EINTERRUPT | Self::SEAMLDR_ENOENTROPY
        )
    }

    /// The name of a status of the kernel's or of the TDX module's.
    fn module_name(self) -> &'static str {
        match self {
            Self::VMFAILINVALID => "VMfailInvalid",
            Self::GP => "#GP",
            Self::UD => "#UD",
            _ => match self.code() {
                Self::SUCCESS => "SUCCESS",
                Self::OPERAND_BUSY => "OPERAND_BUSY",
                Self::SYS_BUSY => "SYS_BUSY",
                Self::RND_NO_ENTROPY => "RND_NO_ENTROPY",
                Self::UPDATE_COMPAT_SENSITIVE => "UPDATE_COMPAT_SENSITIVE",
                Self::KEY_GENERATION_FAILED => "KEY_GENERATION_FAILED",
                Self::KEY_CONFIGURED => "KEY_CONFIGURED",
                Self::OPERAND_INVALID => "OPERAND_INVALID",
                Self::SYS_SHUTDOWN => "SYS_SHUTDOWN",
                Self::SYS_INVALID_HANDOFF => "SYS_INVALID_HANDOFF",
                Self::SYS_CONFIG_NOT_PENDING => "SYS_CONFIG_NOT_PENDING",
                Self(0xC000_0500_0000_0000) => "SYS_INIT_NOT_PENDING",
                Self(0xC000_0502_0000_0000) => "SYS_LP_INIT_NOT_DONE",
                Self(0xC000_0503_0000_0000) => "SYS_LP_INIT_DONE",
                Self(0xC000_0505_0000_0000) => "SYS_NOT_READY",
                Self(0xC000_0507_0000_0000) => "SYS_KEY_CONFIG_NOT_PENDING",
                Self(0xC000_0508_0000_0000) => "SYS_STATE_INCORRECT",
                Self(0xC000_050A_0000_0000) => "SYS_INCOMPATIBLE_SIGSTRUCT",
                Self(0xC000_050B_0000_0000) => "SYS_LP_INIT_NOT_PENDING",
                Self(0xC000_050D_0000_0000) => "INCOMPATIBLE_SEAM_CAPABILITIES",
                Self(0xC000_0A00_0000_0000) => "INVALID_TDMR",
                Self(0xC000_0A01_0000_0000) => "NON_ORDERED_TDMR",
                Self(0xC000_0A02_0000_0000) => "TDMR_OUTSIDE_CMRS",
                Self(0x0000_0A03_0000_0000) => "TDMR_ALREADY_INITIALIZED",
                Self(0xC000_0A10_0000_0000) => "INVALID_PAMT",
                Self(0xC000_0A11_0000_0000) => "PAMT_OUTSIDE_CMRS",
                Self(0xC000_0A12_0000_0000) => "PAMT_OVERLAP",
                Self(0xC000_0A20_0000_0000) => "INVALID_RESERVED_IN_TDMR",
                Self(0xC000_0A21_0000_0000) => "NON_ORDERED_RESERVED_IN_TDMR",
                Self(0xC000_0C00_0000_0000) => "METADATA_FIELD_ID_INCORRECT",
                Self(0xC000_0C02_0000_0000) => "METADATA_FIELD_NOT_READABLE",
                _ => "unknown",
            },
        }
    }

    /// The name of a status of P-SEAMLDR's.
    fn seamldr_name(self) -> &'static str {
        match self {
            Self(0x8000_0000_0000_0000) => "EBADPARAM",
            Self::SEAMLDR_EBADCALL => "EBADCALL",
            Self(0x8000_0000_0000_0004) => "EBADHANDOFF",
            Self(0x8000_0000_0000_0005) => "ECLEANUPREQ",
            Self(0x8000_0000_0000_0006) => "EUNSUPPORTED",
            Self::SEAMLDR_ENOMEM => "ENOMEM",
            Self(0x8000_0000_0001_0003) => "EUNSPECERR",
            Self(0x8000_0000_0001_0004) => "EUNSUPCPU",
            Self(0x8000_0000_0002_0000) => "EBADSIG",
            Self(0x8000_0000_0002_0001) => "EBADHASH",
            Self::SEAMLDR_EINTERRUPT => "EINTERRUPT",
            Self::SEAMLDR_ENOENTROPY => "ENOENTROPY",
            _ => self.module_name(),
        }
    }
}

/// A SEAMCALL that did not succeed.
///
/// [`fmt::Display`] gives the leaf, the status by name and in full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The leaf.
    pub(crate) leaf: Leaf,
    /// Its status; not `Status::SUCCESS`.
    pub(crate) status: Status,
}

impl Failure {
    /// The name of the status, in the terms of the target that gave it.
    pub(crate) fn status_name(&self) -> &'static str {
        if self.leaf.is_seamldr() {
            self.status.seamldr_name()
        } else {
            self.status.module_name()
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.leaf, self.status_name())?;
        if let Some(operand) = self.status.invalid_operand() {
            write!(f, " {operand}")?;
        }
        write!(f, " ({:#018x})", self.status.raw())
    }
}

/// A SEAMLDR.INSTALL that did not succeed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct InstallFailure {
    /// The leaf and its status.
    pub(crate) failure: Failure,
    /// The memory and the handoff data of the module that was shut down are intact, so that
    /// another one can still be installed and take its TDs over.
    pub(crate) recoverable: bool,
}
