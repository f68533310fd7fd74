// SPDX-License-Identifier: GPL-2.0

//! MOVDIR64B, which QEMU's TCG lacks: 64 bytes stored at once.
//!
//! Linux clears pages of a dead TD with it on CPUs with the partial-write erratum
//! (`arch/x86/virt/vmx/tdx/tdx.c`). Source: Intel SDM volume 2.

use crate::decode::Address;
use crate::operands::Operands;
use crate::qemu::Resume;

/// Executes the instruction. The destination's segment has no base in 64-bit mode.
///
/// A page fault cannot be raised from here: when memory is not present, the instruction is #UD.
pub fn execute(operands: &Operands, to: u8, from: &Address, rflags: u64) -> Resume {
    let mut destination = operands.reg(to);
    if from.short {
        destination &= 0xFFFF_FFFF;
    }
    if destination % 64 != 0 {
        return Resume::GeneralProtection;
    }
    let mut bytes = [0; 64];
    let copied = operands.cpu.read_virtual(operands.linear(from), &mut bytes)
        && operands.cpu.write_virtual(destination, &bytes);
    if copied {
        Resume::At {
            rip: operands.next,
            rflags,
        }
    } else {
        Resume::Undefined
    }
}
