// SPDX-License-Identifier: GPL-2.0

//! What security modules say of firmware that the driver is given.
//!
//! C header: [`include/linux/security.h`](srctree/include/linux/security.h)

use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

/// Reads firmware by `read`, if security modules have nothing against it. The firmware class asks
/// them about uploads; this is for what comes in another way.
///
/// # Errors
///
/// Those of `read`, and what the security modules say: [`EPERM`] or [`EACCES`].
pub(crate) fn firmware(read: impl FnOnce() -> Result<VVec<u8>>) -> Result<VVec<u8>> {
    const ID: bindings::kernel_load_data_id = bindings::kernel_load_data_id_LOADING_FIRMWARE;

    // SAFETY: It may be called wherever it may sleep.
    to_result(unsafe { bindings::security_kernel_load_data(ID, true) })?;
    let mut firmware = read()?;
    // CAST: A `VVec` is no larger than `isize::MAX`.
    let size = firmware.len() as bindings::loff_t;
    // SAFETY: The buffer has that size, and the description, which is only read, is a C string.
    to_result(unsafe {
        bindings::security_kernel_post_load_data(
            firmware.as_mut_ptr().cast(),
            size,
            ID,
            c"tdx_module".as_char_ptr().cast_mut(),
        )
    })?;
    Ok(firmware)
}
