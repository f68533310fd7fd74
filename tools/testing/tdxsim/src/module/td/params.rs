// SPDX-License-Identifier: GPL-2.0

//! TD_PARAMS: what the host asks of a TD in TDH.MNG.INIT.
//!
//! Layout: Linux 7.3's `struct td_params`, which takes NUM_L2_VMS for reserved; checks and their order:
//! the TDX module source. A TD that the host chooses IA32_ARCH_CAPABILITIES for is not modelled: the
//! bytes that ask for it must be zero.

use crate::profile::{features, ModuleProfile};
use crate::status::{operand, Status};

/// Size and alignment of TD_PARAMS in bytes.
pub const TD_PARAMS_SIZE: usize = 1024;

/// CPUID leaves that TD_PARAMS has room for.
pub const CPUID_SLOTS: usize = 48;

/// CONFIG_FLAGS bit 0: GPAs are 52 bits wide, not 48.
const FLAG_GPAW: u64 = 1 << 0;
/// CONFIG_FLAGS bit 1: the TD may choose what a pending page does.
const FLAG_FLEXIBLE_PENDING_VE: u64 = 1 << 1;
/// CONFIG_FLAGS bit 2: the host's RBP is kept.
const FLAG_NO_RBP_MOD: u64 = 1 << 2;

/// ATTRIBUTES bit 0: the host may read and change the TD's state.
const ATTRIBUTE_DEBUG: u64 = 1 << 0;
/// ATTRIBUTES bit 16: no last-branch and similar records inside the TD.
const ATTRIBUTE_ICSSD: u64 = 1 << 16;
/// ATTRIBUTES bit 29: the TD can be migrated.
const ATTRIBUTE_MIGRATABLE: u64 = 1 << 29;
/// ATTRIBUTES bit 63: the TD may use performance monitoring.
const ATTRIBUTE_PERFMON: u64 = 1 << 63;

/// TSC frequencies, in units of 25 MHz: 100 MHz to 10 GHz.
const TSC_FREQUENCIES: std::ops::RangeInclusive<u16> = 4..=400;

/// Most VMs inside of a TD (TD partitioning).
const MAX_L2_VMS: u8 = 3;

/// TDCS pages that each of them needs in addition.
const TDCS_PAGES_PER_L2_VM: usize = 1;

/// EPTP bits 2:0: the secure EPT is cached write-back.
const EPTP_WRITE_BACK: u64 = 6;

/// A measurement register that the host chooses.
pub type Register384 = [u64; 6];

/// One CPUID leaf or sub-leaf as the TD sees it: EAX, EBX, ECX, EDX.
pub type CpuidValue = [u32; 4];

/// A CPUID leaf whose value TD_PARAMS contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfiguredCpuid {
    /// The leaf.
    pub leaf: u32,
    /// The sub-leaf; `None` for a leaf that has none.
    pub subleaf: Option<u32>,
    /// The value.
    pub value: CpuidValue,
}

/// TD_PARAMS that the module accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdParams {
    /// ATTRIBUTES.
    pub attributes: u64,
    /// XFAM: the extended features that the TD may use.
    pub xfam: u64,
    /// The highest number of vCPUs.
    pub max_vcpus: u16,
    /// NUM_L2_VMS: how many VMs there can be inside.
    pub num_l2_vms: u8,
    /// EPTP_CONTROLS.
    pub eptp_controls: u64,
    /// CONFIG_FLAGS.
    pub config_flags: u64,
    /// The virtual TSC's frequency in units of 25 MHz.
    pub tsc_frequency: u16,
    /// MRCONFIGID.
    pub mr_config_id: Register384,
    /// MROWNER.
    pub mr_owner: Register384,
    /// MROWNERCONFIG.
    pub mr_owner_config: Register384,
    /// The configured CPUID values, in the order of the module's list.
    pub cpuid: Vec<ConfiguredCpuid>,
}

/// Why TD_PARAMS are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status.
    pub status: Status,
    /// What the leaf returns in RCX: the offending CPUID leaf (31:0) and sub-leaf (63:32), else 0.
    pub rcx: u64,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Refused {
        Refused { status, rcx: 0 }
    }
}

/// Reads little-endian numbers from a structure, one after another.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number(&mut self, bytes: usize) -> u64 {
        let fold = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        self.bytes(bytes).iter().rev().fold(0, fold)
    }

    fn u64(&mut self) -> u64 {
        self.number(8)
    }

    fn u32(&mut self) -> u32 {
        self.number(4) as u32
    }

    fn u8(&mut self) -> u8 {
        self.number(1) as u8
    }

    fn u16(&mut self) -> u16 {
        self.number(2) as u16
    }

    fn register(&mut self) -> Register384 {
        std::array::from_fn(|_| self.u64())
    }

    fn is_zero(&mut self, count: usize) -> bool {
        self.bytes(count).iter().all(|&byte| byte == 0)
    }
}

/// Whether all bits that must be 1 are, and none that must be 0 is.
fn obeys(value: u64, fixed0: u64, fixed1: u64) -> bool {
    value & !fixed0 == 0 && value & fixed1 == fixed1
}

fn attributes_valid(attributes: u64, module: &ModuleProfile) -> bool {
    let has = |bit| attributes & bit != 0;
    obeys(
        attributes,
        module.attributes_fixed0,
        module.attributes_fixed1,
    ) && !(has(ATTRIBUTE_MIGRATABLE) && (has(ATTRIBUTE_DEBUG) || has(ATTRIBUTE_PERFMON)))
        && !(has(ATTRIBUTE_PERFMON) && has(ATTRIBUTE_ICSSD))
}

/// XFAM bits that only make sense together: AVX-512 (5, 6, 7; needs AVX, bit 2), CET (11, 12),
/// AMX (17, 18).
fn xfam_valid(xfam: u64, module: &ModuleProfile) -> bool {
    let all_or_none = |mask| xfam & mask == 0 || xfam & mask == mask;
    let avx512 = 0b111 << 5;
    obeys(xfam, module.xfam_fixed0, module.xfam_fixed1)
        && all_or_none(avx512)
        && (xfam & avx512 == 0 || xfam & (1 << 2) != 0)
        && all_or_none(0b11 << 11)
        && all_or_none(0b11 << 17)
}

fn config_flags_valid(flags: u64, module: &ModuleProfile) -> bool {
    let mut known = FLAG_GPAW | FLAG_FLEXIBLE_PENDING_VE;
    if module.has(features::NO_RBP_MOD) {
        known |= FLAG_NO_RBP_MOD;
    }
    flags & !known == 0
}

/// Write-back, four or five levels (the field holds one less), nothing else; GPAs of 52 bits need
/// five.
fn eptp_controls_valid(eptp: u64, flags: u64) -> bool {
    let four_levels = EPTP_WRITE_BACK | (3 << 3);
    let five_levels = EPTP_WRITE_BACK | (4 << 3);
    eptp == five_levels || (eptp == four_levels && flags & FLAG_GPAW == 0)
}

impl TdParams {
    /// Checks TD_PARAMS as this module does, for a TD with so many TDCS pages more than every TD must
    /// have. Event filters are an operand of their own, which is only looked at for a TD with
    /// performance monitoring, and then before CPUID values.
    pub fn parse(
        bytes: &[u8; TD_PARAMS_SIZE],
        more_tdcs_pages: usize,
        are_event_filters_valid: bool,
        module: &ModuleProfile,
    ) -> Result<TdParams, Refused> {
        let check = |is_valid: bool, operand: u32| {
            if is_valid {
                Ok(())
            } else {
                Err(Refused::from(Status::invalid(operand)))
            }
        };
        let mut reader = Reader(bytes);

        let attributes = reader.u64();
        check(attributes_valid(attributes, module), operand::ATTRIBUTES)?;
        let xfam = reader.u64();
        check(xfam_valid(xfam, module), operand::XFAM)?;
        let max_vcpus = reader.u16();
        check(
            (1..=module.max_vcpus_per_td).contains(&max_vcpus),
            operand::MAX_VCPUS,
        )?;
        let mut num_l2_vms = 0;
        if module.has(features::PARTITIONING) {
            num_l2_vms = reader.u8();
            check(num_l2_vms <= MAX_L2_VMS, operand::NUM_L2_VMS)?;
            if more_tdcs_pages < usize::from(num_l2_vms) * TDCS_PAGES_PER_L2_VM {
                return Err(Status::TDCS_NOT_ALLOCATED.into());
            }
        } else {
            check(reader.is_zero(1), operand::RDX)?;
        }
        check(reader.is_zero(5), operand::RDX)?;
        let eptp_controls = reader.u64();
        let config_flags = reader.u64();
        check(
            config_flags_valid(config_flags, module),
            operand::CONFIG_FLAGS,
        )?;
        check(
            eptp_controls_valid(eptp_controls, config_flags),
            operand::EPTP_CONTROLS,
        )?;
        let tsc_frequency = reader.u16();
        check(
            TSC_FREQUENCIES.contains(&tsc_frequency),
            operand::TSC_FREQUENCY,
        )?;
        check(reader.is_zero(38), operand::RDX)?;
        let mr_config_id = reader.register();
        let mr_owner = reader.register();
        let mr_owner_config = reader.register();
        check(reader.is_zero(32), operand::RDX)?;
        let has_perfmon = attributes & ATTRIBUTE_PERFMON != 0;
        check(are_event_filters_valid || !has_perfmon, operand::R8)?;

        let mut cpuid = Vec::new();
        for config in &module.cpuid_config {
            let (leaf, subleaf) = (config.leaf, config.subleaf);
            let value = std::array::from_fn(|_| reader.u32());
            let is_configurable = |(value, allowed): (&u32, &u32)| value & !allowed == 0;
            if !value.iter().zip(&config.configurable).all(is_configurable) {
                return Err(Refused {
                    status: Status::invalid(operand::CPUID_CONFIG),
                    rcx: u64::from(leaf) | (u64::from(subleaf) << 32),
                });
            }
            cpuid.push(ConfiguredCpuid {
                leaf,
                subleaf: (subleaf != u32::MAX).then_some(subleaf),
                value,
            });
        }
        check(reader.is_zero(reader.0.len()), operand::RDX)?;

        Ok(TdParams {
            attributes,
            xfam,
            max_vcpus,
            num_l2_vms,
            eptp_controls,
            config_flags,
            tsc_frequency,
            mr_config_id,
            mr_owner,
            mr_owner_config,
            cpuid,
        })
    }

    /// Whether the host may read and change the TD's state.
    pub fn is_debug(&self) -> bool {
        self.attributes & ATTRIBUTE_DEBUG != 0
    }

    /// Whether GPAs are 52 bits wide, not 48.
    pub fn is_gpa_wide(&self) -> bool {
        self.config_flags & FLAG_GPAW != 0
    }

    /// How many bits a GPA has; the topmost of them tells shared from private.
    pub fn gpa_width(&self) -> u32 {
        if self.is_gpa_wide() {
            52
        } else {
            48
        }
    }

    /// The level of the secure EPT's root entries.
    pub fn sept_top_level(&self) -> u8 {
        ((self.eptp_controls >> 3) & 0b111) as u8
    }
}
