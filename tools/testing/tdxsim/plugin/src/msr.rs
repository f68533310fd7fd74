// SPDX-License-Identifier: GPL-2.0

//! The MSRs of a CPU with VMX and SEAM that QEMU's TCG does not have. Of the others, those that TCG
//! knows are QEMU's, and the rest does not exist: an access to it is #GP.
//!
//! Source: Intel SDM volume 3, appendix A (VMX capability reporting) and volume 4 (MSRs);
//! IA32_MKTME_KEYID_PARTITIONING: Intel's "TDX CPU architectural extensions"; IA32_TME_*: Intel's
//! "Architecture specification for memory encryption technologies". The capabilities are
//! those of a server CPU of the Sapphire Rapids generation, less what QEMU's CPU has not got
//! (Processor Trace, CET): KVM's TDX support wants EPT with accessed and dirty flags, unrestricted guests,
//! APIC-register virtualisation, virtual-interrupt delivery and posted interrupts.

use tdxsim::profile::{PlatformProfile, PA_BITS};

use crate::vmx;

/// What RDMSR does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The MSR has this value.
    Value(u64),
    /// The MSR is the time-stamp counter.
    Tsc,
    /// The MSR is QEMU's business, and has these bits in addition.
    Plus(u64),
    /// #GP: a CPU like this has no such MSR, or not for reading.
    Fault,
    /// #GP: nothing is known of the MSR.
    Unknown,
    /// The MSR is QEMU's business.
    Qemus,
}

/// What WRMSR does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The MSR exists, but nothing here depends on it: it is not changed.
    Ignored,
    /// #GP: the MSR is read-only, or firmware has locked it.
    Fault,
    /// #GP: nothing is known of the MSR.
    Unknown,
    /// The MSR is QEMU's business.
    Qemus,
}

const IA32_TSC: u32 = 0x10;
const IA32_FEAT_CTL: u32 = 0x3A;
const IA32_SPEC_CTRL: u32 = 0x48;
const IA32_PRED_CMD: u32 = 0x49;
const IA32_PPIN_CTL: u32 = 0x4E;
const IA32_MKTME_KEYID_PARTITIONING: u32 = 0x87;
const IA32_PLATFORM_INFO: u32 = 0xCE;
const IA32_MTRRCAP: u32 = 0xFE;
const IA32_ARCH_CAPABILITIES: u32 = 0x10A;
const MISC_FEATURES_ENABLES: u32 = 0x140;
const IA32_DEBUGCTL: u32 = 0x1D9;
const IA32_VMX_BASIC: u32 = 0x480;
const IA32_TME_CAPABILITY: u32 = 0x981;
const IA32_TME_ACTIVATE: u32 = 0x982;
const IA32_XSS: u32 = 0xDA0;
const IA32_SEAMRR_PHYS_BASE: u32 = 0x1400;
const IA32_SEAMRR_PHYS_MASK: u32 = 0x1401;
/// The last MSR that Intel has set apart for reporting VMX capabilities so far.
const IA32_VMX_EXIT_CTLS2: u32 = 0x493;

/// MSRs of every such CPU that kernels read or write, with the value that they have here. Nothing in a
/// simulated machine depends on them.
const PLAIN: &[(u32, u64)] = &[
    (IA32_SPEC_CTRL, 0),
    // Locked, and so is the CPU's serial number.
    (IA32_PPIN_CTL, 1),
    // 2 GHz without turbo, in units of 100 MHz.
    (IA32_PLATFORM_INFO, 20 << 8),
    (MISC_FEATURES_ENABLES, 0),
    (IA32_DEBUGCTL, 0),
    (IA32_XSS, 0),
];

/// The number in which these bits are set.
const fn bits<const N: usize>(numbers: [u32; N]) -> u64 {
    let mut value = 0;
    let mut index = 0;
    while index < N {
        value |= 1 << numbers[index];
        index += 1;
    }
    value
}

/// IA32_MTRRCAP: there is a SEAM range.
const MTRRCAP_SEAMRR: u64 = bits([15]);
/// IA32_SEAMRR_PHYS_BASE: firmware has set the range.
const SEAMRR_CONFIGURED: u64 = bits([3]);
/// IA32_SEAMRR_PHYS_MASK: locked, in use.
const SEAMRR_LOCKED: u64 = bits([10, 11]);

/// Locked, VMXON allowed outside of SMX.
const FEAT_CTL: u64 = bits([0, 2]);

/// Not affected by Meltdown and L1TF (which KVM takes for impossible with that many address bits), MDS,
/// page-size changes, TAA, and stale data through MMIO (three kinds).
const ARCH_CAPABILITIES: u64 = bits([0, 3, 5, 6, 8, 13, 14, 15]);

/// IA32_TME_CAPABILITY: AES-XTS with 128 bits.
const TME_CAPABILITY: u64 = bits([0]);
/// IA32_TME_ACTIVATE: locked, enabled, AES-XTS with 128 bits for KeyIDs.
const TME_ACTIVATE: u64 = bits([0, 1, 48]);
/// Both: how many bits of an address hold the KeyID.
const TME_KEYID_BITS_SHIFT: u32 = 32;
/// IA32_TME_CAPABILITY: how many KeyIDs there are besides 0.
const TME_KEYIDS_SHIFT: u32 = 36;

/// Write-back VMCS regions (type 6) of 1 KiB, dual-monitor treatment of SMIs, INS and OUTS information,
/// true controls, VM entry without error codes.
const VMX_BASIC: u64 = vmx::REVISION as u64 + (0x400 << 32) + (6 << 50) + bits([49, 54, 55, 56]);

/// P-SEAMLDR leaves the current VMCS alone.
const VMX_BASIC_NO_SEAMRET_INVD_VMCS: u64 = bits([60]);

/// IA32_VMX_PINBASED_CTLS to IA32_VMX_VMFUNC. Of controls, the low half must be 1, the high half may be.
const CAPABILITIES: [u64; 17] = [
    // Pin-based controls: interrupt and NMI exiting, virtual NMIs, preemption timer, posted interrupts.
    0x0000_00FF_0000_0016,
    // Primary processor-based controls.
    0xFFF9_FFFE_0401_E172,
    // VM-exit controls.
    0x01FF_FFFF_0003_6DFF,
    // VM-entry controls.
    0x0003_FFFF_0000_11FF,
    // Miscellaneous: timer rate, activity states, CR3 targets, writable fields.
    0x0000_0000_7004_C1E7,
    // CR0 bits that must be and may be 1.
    vmx::CR0_FIXED[0],
    vmx::CR0_FIXED[1],
    // CR4 bits that must be and may be 1.
    vmx::CR4_FIXED[0],
    vmx::CR4_FIXED[1],
    // VMCS enumeration.
    vmx::HIGHEST_FIELD_INDEX << 1,
    // Secondary processor-based controls.
    0x0757_FFFF_0000_0000,
    // EPT and VPID: 4 and 5 levels, 2 MiB and 1 GiB pages, accessed and dirty flags, all invalidations.
    0x0000_0F01_0673_41C1,
    // True pin-based, processor-based, exit and entry controls.
    0x0000_00FF_0000_0016,
    0xFFF9_FFFE_0400_6172,
    0x01FF_FFFF_0003_6DFB,
    0x0003_FFFF_0000_11FB,
    // VM functions: EPTP switching.
    1,
];

/// What RDMSR of the MSR with this number does.
pub fn read(number: u32, platform: &PlatformProfile) -> Read {
    let keyid_bits = u64::from(platform.keyid_bits()) << TME_KEYID_BITS_SHIFT;
    let mktme_keyids = u64::from(platform.mktme_keyids);
    let tdx_keyids = u64::from(platform.tdx_keyids);
    match number {
        IA32_TSC => Read::Tsc,
        IA32_FEAT_CTL => Read::Value(FEAT_CTL),
        IA32_MKTME_KEYID_PARTITIONING if !platform.seam => Read::Fault,
        IA32_MKTME_KEYID_PARTITIONING => Read::Value(mktme_keyids | (tdx_keyids << 32)),
        IA32_MTRRCAP if platform.seam => Read::Plus(MTRRCAP_SEAMRR),
        IA32_SEAMRR_PHYS_BASE | IA32_SEAMRR_PHYS_MASK if !platform.seam => Read::Fault,
        IA32_SEAMRR_PHYS_BASE => Read::Value(platform.seamrr_base | SEAMRR_CONFIGURED),
        IA32_SEAMRR_PHYS_MASK => {
            let mask = ((1 << PA_BITS) - 1) & !(platform.seamrr_size - 1);
            Read::Value(mask | SEAMRR_LOCKED)
        }
        IA32_ARCH_CAPABILITIES => Read::Value(ARCH_CAPABILITIES),
        IA32_VMX_BASIC if platform.seamret_erratum => Read::Value(VMX_BASIC),
        IA32_VMX_BASIC => Read::Value(VMX_BASIC | VMX_BASIC_NO_SEAMRET_INVD_VMCS),
        IA32_VMX_BASIC..=IA32_VMX_EXIT_CTLS2 => CAPABILITIES
            .get((number - IA32_VMX_BASIC - 1) as usize)
            .map_or(Read::Fault, |value| Read::Value(*value)),
        IA32_TME_CAPABILITY => {
            let keyids = (mktme_keyids + tdx_keyids) << TME_KEYIDS_SHIFT;
            Read::Value(TME_CAPABILITY | keyid_bits | keyids)
        }
        IA32_TME_ACTIVATE => Read::Value(TME_ACTIVATE | keyid_bits),
        IA32_PRED_CMD => Read::Fault,
        _ if is_qemus(number) => Read::Qemus,
        _ => PLAIN
            .iter()
            .find(|(plain, _)| *plain == number)
            .map_or(Read::Unknown, |(_, value)| Read::Value(*value)),
    }
}

/// Whether QEMU 11.1's TCG knows the MSR with this number; it would read others as 0 and ignore writes.
/// Source: its `helper_rdmsr` and `helper_wrmsr`.
fn is_qemus(number: u32) -> bool {
    matches!(
        number,
        // APIC base, SMI count, core and thread count, microcode revision.
        0x1B | 0x34 | 0x35 | 0x8B
            // MTRR capabilities, SYSENTER, machine check, performance status, miscellaneous enables.
            | 0xFE
            | 0x174..=0x176
            | 0x179..=0x17B
            | 0x198
            | 0x1A0
            // MTRRs and PAT.
            | 0x200..=0x20F
            | 0x250
            | 0x258
            | 0x259
            | 0x268..=0x26F
            | 0x277
            | 0x2FF
            // Machine check banks, supervisor protection keys, x2APIC, MPX.
            | 0x400..=0x427
            | 0x6E1
            | 0x800..=0x8FF
            | 0xD90
            // EFER, SYSCALL, segment bases, TSC_AUX.
            | 0xC000_0080..=0xC000_0084
            | 0xC000_0100..=0xC000_0103
    )
}

/// What WRMSR of the MSR with this number does.
pub fn write(number: u32) -> Write {
    match number {
        IA32_FEAT_CTL
        | IA32_PPIN_CTL
        | IA32_MKTME_KEYID_PARTITIONING
        | IA32_PLATFORM_INFO
        | IA32_ARCH_CAPABILITIES
        | IA32_VMX_BASIC..=IA32_VMX_EXIT_CTLS2
        | IA32_TME_CAPABILITY
        | IA32_TME_ACTIVATE
        | IA32_SEAMRR_PHYS_BASE
        | IA32_SEAMRR_PHYS_MASK => Write::Fault,
        IA32_TSC | IA32_PRED_CMD => Write::Ignored,
        _ if is_qemus(number) => Write::Qemus,
        _ if PLAIN.iter().any(|(plain, _)| *plain == number) => Write::Ignored,
        _ => Write::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tdxsim::profile::Profiles;

    fn platform(overrides: &[(&str, &str)]) -> PlatformProfile {
        let overrides: Vec<_> = overrides
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).into()))
            .collect();
        Profiles::built_in()
            .unwrap()
            .platform("default", &overrides)
            .unwrap()
    }

    #[test]
    fn the_platform_decides_about_keyids() {
        let platform = platform(&[("mktme_keyids", "63"), ("tdx_keyids", "64")]);
        assert_eq!(read(0x87, &platform), Read::Value(0x40_0000_003F));
        // 127 KeyIDs and KeyID 0 take 7 bits.
        assert_eq!(read(0x981, &platform), Read::Value(0x7F7_0000_0001));
        assert_eq!(read(0x982, &platform), Read::Value(0x1_0007_0000_0003));
    }

    #[test]
    fn the_platform_decides_about_the_seamret_erratum() {
        let sound = platform(&[("seamret_erratum", "off")]);
        assert_eq!(read(0x480, &sound), Read::Value(0x11DA_0400_0000_0004));
        let broken = platform(&[("seamret_erratum", "on")]);
        assert_eq!(read(0x480, &broken), Read::Value(0x01DA_0400_0000_0004));
    }

    #[test]
    fn a_platform_without_seam_has_no_keyid_partitioning() {
        assert_eq!(read(0x87, &platform(&[("seam", "off")])), Read::Fault);
    }

    #[test]
    fn controls_that_must_be_one_may_be_one() {
        let platform = platform(&[]);
        for number in [
            0x481, 0x482, 0x483, 0x484, 0x48B, 0x48D, 0x48E, 0x48F, 0x490,
        ] {
            let Read::Value(value) = read(number, &platform) else {
                panic!("{number:#x}");
            };
            assert_eq!(value & 0xFFFF_FFFF & !(value >> 32), 0, "{number:#x}");
        }
    }

    #[test]
    fn capabilities_end_where_the_secondary_controls_say_so() {
        let platform = platform(&[]);
        assert_eq!(read(0x491, &platform), Read::Value(1));
        assert_eq!(read(0x492, &platform), Read::Fault);
        assert_eq!(read(0x493, &platform), Read::Fault);
        assert_eq!(read(0x494, &platform), Read::Unknown);
        assert_eq!(read(0x1B, &platform), Read::Qemus);
    }

    #[test]
    fn a_cpu_with_52_address_bits_has_no_l1tf() {
        let Read::Value(capabilities) = read(0x10A, &platform(&[])) else {
            panic!();
        };
        assert_eq!(capabilities & 1, 1);
    }

    #[test]
    fn an_msr_is_either_ours_or_qemus_or_unknown() {
        let platform = platform(&[]);
        for number in (0..0x2000).chain(0xC000_0000..0xC001_0200) {
            let read = match read(number, &platform) {
                Read::Plus(_) => Read::Qemus,
                other => other,
            };
            let write = write(number);
            assert_eq!(read == Read::Qemus, write == Write::Qemus, "{number:#x}");
            assert_eq!(read == Read::Qemus, is_qemus(number), "{number:#x}");
            assert_eq!(
                read == Read::Unknown,
                write == Write::Unknown,
                "{number:#x}"
            );
        }
    }

    #[test]
    fn the_platform_decides_about_the_seam_range() {
        let on = platform(&[("seamrr_base", "0x40000000"), ("seamrr_size", "0x2000000")]);
        assert_eq!(read(0xFE, &on), Read::Plus(0x8000));
        assert_eq!(read(0x1400, &on), Read::Value(0x4000_0008));
        assert_eq!(read(0x1401, &on), Read::Value(0x000F_FFFF_FE00_0C00));
        let off = platform(&[("seam", "off")]);
        assert_eq!(read(0xFE, &off), Read::Qemus);
        assert_eq!(read(0x1400, &off), Read::Fault);
        assert_eq!(read(0x1401, &off), Read::Fault);
    }

    #[test]
    fn what_nobody_knows_faults() {
        let platform = platform(&[]);
        // A number without MSR, the last one, one of another vendor, and a feature that is not there.
        for number in [0x1234_5678, u32::MAX, 0xC001_0117, 0x122, 0x6E0] {
            assert_eq!(read(number, &platform), Read::Unknown, "{number:#x}");
            assert_eq!(write(number), Write::Unknown, "{number:#x}");
        }
    }

    #[test]
    fn what_tells_about_the_cpu_cannot_be_written() {
        for number in [0x3A, 0x4E, 0x87, 0xCE, 0x10A, 0x480, 0x493, 0x981, 0x982] {
            assert_eq!(write(number), Write::Fault, "{number:#x}");
        }
        // A command, which cannot be read.
        assert_eq!(write(0x49), Write::Ignored);
        assert_eq!(read(0x49, &platform(&[])), Read::Fault);
        // The time-stamp counter goes its own way.
        assert_eq!(write(0x10), Write::Ignored);
        assert_eq!(read(0x10, &platform(&[])), Read::Tsc);
        assert_eq!(write(0x48), Write::Ignored);
        assert_eq!(read(0x48, &platform(&[])), Read::Value(0));
    }
}
