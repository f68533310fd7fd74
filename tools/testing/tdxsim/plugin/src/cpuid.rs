// SPDX-License-Identifier: GPL-2.0

//! CPUID: what a TDX host's CPUs say that QEMU's TCG does not.
//!
//! Source: Intel SDM volume 2, CPUID; what a kernel asks for: Linux 7.3, `arch/x86/virt/vmx/tdx/tdx.c`
//! (MOVDIR64B and self-snoop), `arch/x86/virt/hw.c` (VMX) and `arch/x86/kernel/cpu/intel.c` (TME, which
//! takes KeyID bits from the physical address).

use tdxsim::profile::{PlatformProfile, PA_BITS};

/// What CPUID returned: EAX, EBX, ECX, EDX.
pub type Values = [u32; 4];

/// Leaf 1: family, model, stepping and features.
const FEATURES: u32 = 1;
/// Leaf 7: more features.
const MORE_FEATURES: u32 = 7;
/// Leaf 0xB: topology.
const TOPOLOGY: u32 = 0xB;
/// Its sub-leaf about the cores of a package.
const CORES: u32 = 1;
/// Leaf 0x80000008: widths of addresses.
const ADDRESSES: u32 = 0x8000_0008;

/// Leaf 1 ECX: VMX.
const VMX: u32 = 1 << 5;
/// Leaf 1 EDX: self-snoop.
const SELF_SNOOP: u32 = 1 << 27;
/// Leaf 7 sub-leaf 0 ECX: TME.
const TME: u32 = 1 << 13;
/// Leaf 7 sub-leaf 0 ECX: MOVDIR64B.
const MOVDIR64B: u32 = 1 << 28;
/// Leaf 7 sub-leaf 0 EDX: IA32_ARCH_CAPABILITIES.
const ARCH_CAPABILITIES: u32 = 1 << 29;
/// Leaf 0x80000008 EAX: how many bits physical addresses have.
const PHYSICAL_BITS: u32 = 0xFF;

/// Whether CPUID of this leaf and sub-leaf tells which package the CPU is in; see [`package`].
pub fn tells_package(leaf: u32, subleaf: u32) -> bool {
    leaf == TOPOLOGY && subleaf == CORES
}

/// The package's number, from what CPUID said: EDX is the x2APIC ID, EAX bits 4:0 say how many of its
/// low bits are not the package's.
pub fn package(values: &Values) -> usize {
    (values[3] >> (values[0] & 0x1F)) as usize
}

/// Whether CPUID of this leaf and sub-leaf returns something else than QEMU says.
pub fn differs(leaf: u32, subleaf: u32) -> bool {
    matches!(leaf, FEATURES | ADDRESSES) || (leaf == MORE_FEATURES && subleaf == 0)
}

/// Changes what QEMU said in this package about a leaf for which [`differs`] holds.
pub fn change(leaf: u32, platform: &PlatformProfile, package: usize, values: &mut Values) {
    match leaf {
        FEATURES => {
            values[0] = platform.cpu_signature(package);
            values[2] |= VMX;
            values[3] |= SELF_SNOOP;
        }
        MORE_FEATURES => {
            values[2] |= TME | MOVDIR64B;
            values[3] |= ARCH_CAPABILITIES;
        }
        ADDRESSES => values[0] = (values[0] & !PHYSICAL_BITS) | PA_BITS,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tdxsim::profile::Profiles;

    #[test]
    fn the_features_that_tdx_needs() {
        let overrides = [("cpu_signatures".to_owned(), "[0x806F8, 0xC06F2]".into())];
        let platform = Profiles::built_in()
            .unwrap()
            .platform("default", &overrides)
            .unwrap();
        let changed = |leaf, package, mut values| {
            change(leaf, &platform, package, &mut values);
            values
        };
        assert_eq!(
            changed(1, 0, [0x806F4, 1, 0x8000_0000, 2]),
            [0x806F8, 1, 0x8000_0020, 0x0800_0002]
        );
        assert_eq!(changed(1, 1, [0x806F4, 0, 0, 0])[0], 0xC06F2);
        assert_eq!(
            changed(7, 0, [2, 1, 1, 1]),
            [2, 1, 0x1000_2001, 0x2000_0001]
        );
        assert_eq!(
            changed(0x8000_0008, 0, [0x3928, 1, 1, 1]),
            [0x3934, 1, 1, 1]
        );
    }

    #[test]
    fn a_cpus_package() {
        assert!(tells_package(0xB, 1));
        assert!(!tells_package(0xB, 0));
        assert!(!tells_package(1, 1));
        // Eight CPUs in two packages of four.
        assert_eq!(package(&[2, 4, 0x201, 3]), 0);
        assert_eq!(package(&[2, 4, 0x201, 4]), 1);
    }

    #[test]
    fn only_these_leaves() {
        assert!(differs(1, 0));
        assert!(differs(1, 5));
        assert!(differs(7, 0));
        assert!(differs(0x8000_0008, 0));
        assert!(!differs(7, 1));
        assert!(!differs(0, 0));
        assert!(!differs(0x8000_0001, 0));
    }
}
