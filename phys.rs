// SPDX-License-Identifier: GPL-2.0

//! What SEAMCALLs are given the physical addresses of.
//!
//! The structures have the alignment that the targets ask for, which `kmalloc()` keeps for sizes
//! that are a power of two.

use core::marker::PhantomData;

use kernel::{
    bindings,
    prelude::*, //
};

use crate::{
    image::{
        Image,
        MAX_MODULE_PAGES, //
    },
    setup::Tdmr,
    vmapped::Vmapped, //
};

/// Returns the physical address of `object`, which must not cross a page unless it was
/// `kmalloc()`ed. It may be on the stack.
pub(crate) fn of_object<T>(object: &T) -> u64 {
    // SAFETY: The object is mapped, as it is borrowed.
    unsafe { bindings::slow_virt_to_phys(core::ptr::from_ref(object).cast_mut().cast()) }
}

/// The most TDMRs that TDH.SYS.CONFIG takes.
const MAX_TDMRS: usize = 64;

/// The array of physical addresses of TDMR_INFO that TDH.SYS.CONFIG reads, 512-byte aligned.
#[repr(C, align(512))]
#[derive(Zeroable)]
pub(crate) struct TdmrArray {
    tdmrs: [u64; MAX_TDMRS],
    // Not read by the TDX module; keeps the size a power of two.
    len: u64,
    pad: [u64; 63],
}

// The alignment of a `kmalloc()`ed object is its size.
static_assert!(size_of::<TdmrArray>().is_power_of_two());

impl TdmrArray {
    /// Collects the addresses; [`EINVAL`] when there are more than TDH.SYS.CONFIG takes.
    pub(crate) fn new(tdmrs: &[Tdmr]) -> Result<KBox<Self>> {
        let mut array = KBox::init(pin_init::init_zeroed::<Self>(), GFP_KERNEL)?;
        for (at, tdmr) in tdmrs.iter().enumerate() {
            *array.tdmrs.get_mut(at).ok_or(EINVAL)? = tdmr.info();
            array.len = at.saturating_add(1) as u64;
        }
        Ok(array)
    }

    /// The number of addresses.
    pub(crate) fn len(&self) -> u32 {
        // CAST: At most `MAX_TDMRS`.
        self.len as u32
    }
}

/// SEAMLDR_PARAMS of the SEAM Loader Interface Specification: where an image's pages are.
#[repr(C, align(4096))]
#[derive(Zeroable)]
pub(crate) struct SeamldrParams<'a> {
    version: u32,
    scenario: u32,
    sigstruct: u64,
    reserved: [u8; 104],
    nr_module_pages: u64,
    module_pages: [u64; MAX_MODULE_PAGES],
    /// The pages at these addresses.
    pages: PhantomData<&'a [u8]>,
}

static_assert!(size_of::<SeamldrParams<'_>>() == 4096);

impl<'a> SeamldrParams<'a> {
    /// Replace the running TDX module, rather than load the first one.
    const SCENARIO_UPDATE: u32 = 1;

    /// Describes `image`, which is in `file`.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or [`EINVAL`] if it is not.
    pub(crate) fn new(image: &Image<'_>, file: Vmapped<'a>) -> Result<KBox<Self>> {
        let mut params = KBox::init(pin_init::init_zeroed::<Self>(), GFP_KERNEL)?;
        params.scenario = Self::SCENARIO_UPDATE;
        params.sigstruct = file.phys_of(image.sigstruct_page())?;
        params.nr_module_pages = image.nr_module_pages() as u64;
        for (slot, page) in params.module_pages.iter_mut().zip(image.module_pages()) {
            *slot = file.phys_of(page)?;
        }
        Ok(params)
    }
}
