// SPDX-License-Identifier: GPL-2.0

//! MOVDIR64B, which QEMU's TCG lacks: 64 bytes stored at once.
//!
//! Linux clears pages of a dead TD with it on CPUs with the partial-write erratum
//! (`arch/x86/virt/vmx/tdx/tdx.c`), and any program may use it. Source: Intel SDM volume 2.

use crate::decode::Address;
use crate::operands::Operands;
use crate::paging::Fault;

/// Executes the instruction. The destination's segment has no base in 64-bit mode.
pub fn execute(operands: &Operands, to: u8, from: &Address) -> Result<(), Fault> {
    let mut destination = operands.reg(to);
    if from.short {
        destination &= 0xFFFF_FFFF;
    }
    if destination % 64 != 0 {
        return Err(Fault::GeneralProtection);
    }
    let mut bytes = [0; 64];
    operands.read(operands.linear(from), &mut bytes)?;
    operands.write(destination, &bytes)
}
