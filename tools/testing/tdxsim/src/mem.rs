// SPDX-License-Identifier: GPL-2.0

//! The physical memory that a SEAMCALL's operands point into.
//!
//! The model never keeps guest memory of its own: it reads operands, and writes results, through
//! this trait, which the QEMU plugin implements with the guest's memory and the tests with a map.

/// Byte-addressed guest-physical memory.
pub trait Memory {
    /// Fills `buf` from physical address `pa`; `false` when any byte of it is not backed by RAM.
    fn read(&self, pa: u64, buf: &mut [u8]) -> bool;

    /// Stores `buf` at physical address `pa`; `false`, with nothing promised about what was
    /// written, when any byte of it is not backed by RAM.
    fn write(&self, pa: u64, buf: &[u8]) -> bool;
}
