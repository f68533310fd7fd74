// SPDX-License-Identifier: GPL-2.0

//! Completion statuses, as SEAMCALL leaves return them in RAX.
//!
//! Class and code are in bits 63:32, detail (an operand id, an index, a state) in bits 31:0; bit 63
//! marks an error. Numbers and names: the TDX module source's error table, and the P-SEAMLDR
//! source's for the `SEAMLDR_*` ones, which leave bits 62:32 zero and so never collide with the
//! module's.

use std::fmt;

/// A completion status: the 64-bit value that a leaf leaves in RAX.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub u64);

/// Operand ids, which the detail bits of a status name an operand with.
pub mod operand {
    /// The leaf number and version themselves.
    pub const RAX: u32 = 0;
    /// RCX.
    pub const RCX: u32 = 1;
    /// RDX.
    pub const RDX: u32 = 2;
    /// R8.
    pub const R8: u32 = 8;
    /// R9.
    pub const R9: u32 = 9;
    /// R10.
    pub const R10: u32 = 10;
    /// R11.
    pub const R11: u32 = 11;
    /// TD_PARAMS.ATTRIBUTES.
    pub const ATTRIBUTES: u32 = 0x40;
    /// TD_PARAMS.XFAM.
    pub const XFAM: u32 = 0x41;
    /// TD_PARAMS' execution controls and configuration flags.
    pub const CONFIG_FLAGS: u32 = 0x42;
    /// TD_PARAMS.EPTP_CONTROLS.
    pub const EPTP_CONTROLS: u32 = 0x43;
    /// TD_PARAMS.MAX_VCPUS.
    pub const MAX_VCPUS: u32 = 0x44;
    /// TD_PARAMS.CPUID_CONFIG.
    pub const CPUID_CONFIG: u32 = 0x45;
    /// TD_PARAMS.TSC_FREQUENCY.
    pub const TSC_FREQUENCY: u32 = 0x46;
    /// TD_PARAMS.NUM_L2_VMS.
    pub const NUM_L2_VMS: u32 = 0x47;
    /// A TDR page that was found through another operand.
    pub const TDR: u32 = 0x80;
    /// A TD's secure EPT.
    pub const SEPT: u32 = 0x92;
    /// A TD's epoch counter.
    pub const TD_EPOCH: u32 = 0xA9;
    /// A TD's operation state.
    pub const OP_STATE: u32 = 0xAC;
    /// The table of KeyID owners.
    pub const KOT: u32 = 0xBA;
    /// The package's key hardware.
    pub const KEY_HARDWARE: u32 = 0xBB;
    /// The package's cache write-back.
    pub const WBCACHE: u32 = 0xBC;
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Status = Status($value);)*

            /// Every status that has a name, without detail.
            pub const ALL: &'static [(&'static str, Status)] =
                &[$((stringify!($name), Status::$name)),*];
        }
    };
}

statuses! {
    /// The leaf did what was asked.
    SUCCESS = 0;
    /// The call did a part of its work; the same call again goes on.
    INTERRUPTED_RESUMABLE = 0x8000_0003_0000_0000;
    /// An operand is malformed; the detail is its id.
    OPERAND_INVALID = 0xC000_0100_0000_0000;
    /// A page operand is in no initialised part of a TDMR.
    OPERAND_ADDR_RANGE_ERROR = 0xC000_0101_0000_0000;
    /// Another LP holds what the operand names.
    OPERAND_BUSY = 0x8000_0200_0000_0000;
    /// A vCPU or LP is still in the previous TLB epoch.
    PREVIOUS_TLB_EPOCH_BUSY = 0x8000_0201_0000_0000;
    /// Another LP runs a leaf that excludes this one.
    SYS_BUSY = 0x8000_0202_0000_0000;
    /// The CPU's random numbers ran out for the moment.
    RND_NO_ENTROPY = 0x8000_0203_0000_0000;
    /// A page operand has another type in the PAMT than the leaf needs.
    PAGE_METADATA_INCORRECT = 0xC000_0300_0000_0000;
    /// A TDR is to be reclaimed before the TD's other pages.
    TD_ASSOCIATED_PAGES_EXIST = 0xC000_0400_0000_0000;
    /// TDH.SYS.INIT was done already.
    SYS_INIT_NOT_PENDING = 0xC000_0500_0000_0000;
    /// TDH.SYS.LP.INIT was not yet done on this LP.
    SYS_LP_INIT_NOT_DONE = 0xC000_0502_0000_0000;
    /// TDH.SYS.LP.INIT was done on this LP already.
    SYS_LP_INIT_DONE = 0xC000_0503_0000_0000;
    /// The leaf needs a configured module.
    SYS_NOT_READY = 0xC000_0505_0000_0000;
    /// The module was shut down.
    SYS_SHUTDOWN = 0xC000_0506_0000_0000;
    /// TDH.SYS.KEY.CONFIG is not the next step.
    KEY_CONFIG_NOT_PENDING = 0xC000_0507_0000_0000;
    /// TDH.SYS.UPDATE is not the next step.
    SYS_STATE_INCORRECT = 0xC000_0508_0000_0000;
    /// There is no handoff data, or the module cannot take over from its version.
    SYS_INVALID_HANDOFF = 0xC000_0509_0000_0000;
    /// The sigstruct and the module disagree about handoff.
    SYS_INCOMPATIBLE_SIGSTRUCT = 0xC000_050A_0000_0000;
    /// TDH.SYS.LP.INIT is not the next step.
    SYS_LP_INIT_NOT_PENDING = 0xC000_050B_0000_0000;
    /// TDH.SYS.CONFIG is not the next step, or some LP is not initialised.
    SYS_CONFIG_NOT_PENDING = 0xC000_050C_0000_0000;
    /// The platform lacks what the module needs.
    INCOMPATIBLE_SEAM_CAPABILITIES = 0xC000_050D_0000_0000;
    /// Shutdown refused: TD builds or interrupted migrations would be hurt. The detail is the count
    /// in bits 31:16, the reason (0: TD build, 1: migration) in bits 15:0.
    UPDATE_COMPAT_SENSITIVE = 0x8000_0512_0000_0000;
    /// The TD met a fatal error.
    TD_FATAL = 0xE000_0604_0000_0000;
    /// The TD has too few TDCS pages.
    TDCS_NOT_ALLOCATED = 0xC000_0606_0000_0000;
    /// The TD's life-cycle state forbids the leaf.
    LIFECYCLE_STATE_INCORRECT = 0xC000_0607_0000_0000;
    /// The TD's operation state forbids the leaf; the detail is the state.
    OP_STATE_INCORRECT = 0xC000_0608_0000_0000;
    /// The TD has no vCPU.
    NO_VCPUS = 0xC000_0609_0000_0000;
    /// The number of TDCX pages is not what the leaf needs.
    TDCX_NUM_INCORRECT = 0xC000_0610_0000_0000;
    /// Another vCPU of the TD has the same x2APIC id; the detail is the id.
    X2APIC_ID_NOT_UNIQUE = 0xC000_0621_0000_0000;
    /// The TD's measurement was begun by a module with another hash context.
    INCOMPATIBLE_MRTD_CONTEXT = 0xC000_0622_0000_0000;
    /// The vCPU's state forbids the leaf; the detail is the state.
    VCPU_STATE_INCORRECT = 0xC000_0700_0000_0000;
    /// The vCPU is associated with another LP.
    VCPU_ASSOCIATED = 0x8000_0701_0000_0000;
    /// The vCPU is not associated with this LP.
    VCPU_NOT_ASSOCIATED = 0x8000_0702_0000_0000;
    /// The TD has as many vCPUs as its parameters allow.
    MAX_VCPUS_EXCEEDED = 0xC000_0705_0000_0000;
    /// The hardware could not make a key.
    KEY_GENERATION_FAILED = 0x8000_0800_0000_0000;
    /// The TD's keys are not configured on every package.
    TD_KEYS_NOT_CONFIGURED = 0x8000_0810_0000_0000;
    /// The KeyID's key is configured on this package already.
    KEY_CONFIGURED = 0x0000_0815_0000_0000;
    /// Caches were not yet written back on every package.
    WBCACHE_NOT_COMPLETE = 0x8000_0817_0000_0000;
    /// The KeyID is in use.
    HKID_NOT_FREE = 0xC000_0820_0000_0000;
    /// No KeyID waits for a cache write-back.
    NO_HKID_READY_TO_WBCACHE = 0x0000_0821_0000_0000;
    /// No interrupted cache write-back is there to resume.
    WBCACHE_RESUME_ERROR = 0xC000_0823_0000_0000;
    /// vCPUs of the TD are still associated with LPs.
    FLUSHVP_NOT_DONE = 0x8000_0824_0000_0000;
    /// A TDMR is malformed; the detail is its index.
    INVALID_TDMR = 0xC000_0A00_0000_0000;
    /// TDMRs are not in ascending order; the detail is the index.
    NON_ORDERED_TDMR = 0xC000_0A01_0000_0000;
    /// A TDMR's usable part is not all convertible memory; the detail is the index.
    TDMR_OUTSIDE_CMRS = 0xC000_0A02_0000_0000;
    /// Every page of the TDMR is initialised.
    TDMR_ALREADY_INITIALIZED = 0x0000_0A03_0000_0000;
    /// A PAMT is malformed; the detail is the TDMR's index and the level.
    INVALID_PAMT = 0xC000_0A10_0000_0000;
    /// A PAMT is not inside convertible memory; the detail is the TDMR's index and the level.
    PAMT_OUTSIDE_CMRS = 0xC000_0A11_0000_0000;
    /// A PAMT overlaps another or a usable part of a TDMR; the detail is index, level and other
    /// index.
    PAMT_OVERLAP = 0xC000_0A12_0000_0000;
    /// A reserved area is malformed; the detail is the TDMR's index and the area's.
    INVALID_RESERVED_IN_TDMR = 0xC000_0A20_0000_0000;
    /// Reserved areas are not in ascending order; the detail is the TDMR's index and the area's.
    NON_ORDERED_RESERVED_IN_TDMR = 0xC000_0A21_0000_0000;
    /// A walk of the secure EPT ended above the wanted level.
    EPT_WALK_FAILED = 0xC000_0B00_0000_0000;
    /// The secure EPT entry maps nothing.
    EPT_ENTRY_NOT_PRESENT = 0xC000_0B03_0000_0000;
    /// The GPA range is not blocked.
    GPA_RANGE_NOT_BLOCKED = 0xC000_0B06_0000_0000;
    /// The GPA range is blocked already.
    GPA_RANGE_ALREADY_BLOCKED = 0x0000_0B07_0000_0000;
    /// TLB tracking after the blocking is not complete.
    TLB_TRACKING_NOT_DONE = 0xC000_0B08_0000_0000;
    /// The secure EPT entry's state forbids the leaf.
    EPT_ENTRY_STATE_INCORRECT = 0xC000_0B0D_0000_0000;
    /// The metadata field does not exist.
    METADATA_FIELD_ID_INCORRECT = 0xC000_0C00_0000_0000;
    /// The metadata field, or a bit of it, cannot be written.
    METADATA_FIELD_NOT_WRITABLE = 0xC000_0C01_0000_0000;
    /// The metadata field cannot be read.
    METADATA_FIELD_NOT_READABLE = 0xC000_0C02_0000_0000;
    /// The metadata field cannot take the value.
    METADATA_FIELD_VALUE_NOT_VALID = 0xC000_0C03_0000_0000;
    /// The null field id was given; the first id of the context is returned.
    METADATA_FIRST_FIELD_ID_IN_CONTEXT = 0x0000_0C0B_0000_0000;

    /// P-SEAMLDR: a parameter is malformed, or the leaf is unknown.
    SEAMLDR_EBADPARAM = 0x8000_0000_0000_0000;
    /// P-SEAMLDR: the call is not allowed now.
    SEAMLDR_EBADCALL = 0x8000_0000_0000_0003;
    /// P-SEAMLDR: the handoff data is invalid, or of a version that the image does not take.
    SEAMLDR_EBADHANDOFF = 0x8000_0000_0000_0004;
    /// P-SEAMLDR: CLEANUP must run on every LP first.
    SEAMLDR_ECLEANUPREQ = 0x8000_0000_0000_0005;
    /// P-SEAMLDR: the image's major SVN is not supported.
    SEAMLDR_EUNSUPPORTED = 0x8000_0000_0000_0006;
    /// P-SEAMLDR: the module's range has too little memory.
    SEAMLDR_ENOMEM = 0x8000_0000_0001_0002;
    /// P-SEAMLDR: an error without a name.
    SEAMLDR_EUNSPECERR = 0x8000_0000_0001_0003;
    /// P-SEAMLDR: the image is not for this CPU.
    SEAMLDR_EUNSUPCPU = 0x8000_0000_0001_0004;
    /// P-SEAMLDR: the sigstruct is malformed, or its signature or SVN is not accepted.
    SEAMLDR_EBADSIG = 0x8000_0000_0002_0000;
    /// P-SEAMLDR: the module pages do not match the sigstruct's hash.
    SEAMLDR_EBADHASH = 0x8000_0000_0002_0001;
    /// P-SEAMLDR: an interrupt was pending.
    SEAMLDR_EINTERRUPT = 0x8000_0000_0003_0000;
    /// P-SEAMLDR: the CPU's random numbers ran out for the moment.
    SEAMLDR_ENOENTROPY = 0x8000_0000_0003_0001;
}

impl Status {
    /// The status's class and code: bits 63:32, the detail zero.
    pub const fn code(self) -> Status {
        Status(self.0 & 0xFFFF_FFFF_0000_0000)
    }

    /// This status with `detail` in its low half.
    pub const fn with(self, detail: u32) -> Status {
        Status(self.0 | detail as u64)
    }

    /// OPERAND_INVALID for the operand with this id (see [`operand`]).
    pub const fn invalid(operand: u32) -> Status {
        Status::OPERAND_INVALID.with(operand)
    }

    /// OPERAND_BUSY for the operand with this id (see [`operand`]).
    pub const fn busy(operand: u32) -> Status {
        Status::OPERAND_BUSY.with(operand)
    }

    /// Whether the leaf failed: bit 63.
    pub const fn is_error(self) -> bool {
        self.0 >> 63 != 0
    }

    /// The status's name without its detail, or "?" when it has none here.
    pub fn name(self) -> &'static str {
        let is_seamldr = self.code() == Status::SEAMLDR_EBADPARAM;
        let wanted = if is_seamldr { self } else { self.code() };
        Status::ALL
            .iter()
            .find(|(_, status)| *status == wanted)
            .map_or("?", |(name, _)| name)
    }

    /// The status with this name (as [`Status::name`] gives it, in any case).
    pub fn by_name(name: &str) -> Option<Status> {
        Status::ALL
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, status)| *status)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x} {}", self.0, self.name())
    }
}
