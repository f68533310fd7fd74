// SPDX-License-Identifier: GPL-2.0

//! The registers that carry a SEAMCALL's operands, and how the instruction can end.

/// The general-purpose registers that SEAMCALL leaves take operands in and return results in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Regs {
    /// In: leaf, version and target (bit 63: P-SEAMLDR). Out: completion status.
    pub rax: u64,
    /// First operand.
    pub rcx: u64,
    /// Second operand.
    pub rdx: u64,
    /// Third operand.
    pub r8: u64,
    /// Fourth operand.
    pub r9: u64,
    /// Fifth operand.
    pub r10: u64,
    /// Sixth operand.
    pub r11: u64,
}

/// How the instruction itself ended, as the CPU shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// CF=0: the target ran, and `Regs::rax` holds its completion status.
    Completed,
    /// CF=1: VMfailInvalid. The target is not there, is disabled or is busy; no register changed.
    VmFailInvalid,
    /// #GP: SEAM is not available.
    GeneralProtection,
    /// #UD: the CPU is not in VMX operation.
    UndefinedInstruction,
}
