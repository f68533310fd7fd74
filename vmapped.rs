// SPDX-License-Identifier: GPL-2.0

//! Buffers of whole pages that are virtually contiguous, and where their pages are.
//!
//! C header: [`include/linux/vmalloc.h`](srctree/include/linux/vmalloc.h)

use kernel::{
    bindings,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// What is in a buffer that `vmalloc()` or `vmap()` has mapped.
///
/// # Invariants
///
/// The bytes begin on a page boundary, and are in pages of the vmalloc area.
#[derive(Clone, Copy)]
pub(crate) struct Vmapped<'a>(&'a [u8]);

impl<'a> Vmapped<'a> {
    /// The buffer with `bytes`.
    ///
    /// # Safety
    ///
    /// `bytes` must begin on a page boundary, and be in pages that `vmalloc()` or `vmap()` has
    /// mapped.
    pub(crate) unsafe fn new(bytes: &'a [u8]) -> Self {
        // INVARIANT: By the requirement of this function.
        Self(bytes)
    }

    /// The bytes.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns the physical address of `part`, which must be a part of the buffer; [`EINVAL`] if it
    /// is not.
    pub(crate) fn phys_of(self, part: &[u8]) -> Result<u64> {
        let (whole, part) = (self.0.as_ptr_range(), part.as_ptr_range());
        if part.start < whole.start || part.end > whole.end || part.is_empty() {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant the part begins in a page of the vmalloc area, which is
        // mapped as the buffer is borrowed.
        let pfn = unsafe { bindings::vmalloc_to_pfn(part.start.cast()) };
        let offset = part.start.addr() & (PAGE_SIZE - 1);

        // CAST: Both have 64 bits where there is TDX.
        Ok(((pfn as u64) << PAGE_SHIFT) | offset as u64)
    }
}

impl<'a> From<&'a VVec<u8>> for Vmapped<'a> {
    fn from(buffer: &'a VVec<u8>) -> Self {
        // INVARIANT: A `VVec` is allocated by `vmalloc()`, which gives whole pages.
        Self(buffer)
    }
}
