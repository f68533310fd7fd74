// SPDX-License-Identifier: GPL-2.0

//! Abstractions for firmware upload.
//!
//! User space writes a file to `/sys/class/firmware/<name>`; the driver's [`Upload`] gets the whole
//! of it in a worker.
//!
//! C header: [`include/linux/firmware.h`](srctree/include/linux/firmware.h), documentation:
//! `Documentation/driver-api/firmware/fw_upload.rst`

use core::{
    marker::PhantomData,
    ptr::NonNull,
    slice, //
};

use kernel::{
    bindings,
    device::Device,
    error::from_err_ptr,
    prelude::*,
    sync::aref::ARef, //
};

use crate::vmapped::Vmapped;

/// Why an upload failed, in the terms that the `error` attribute has for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// `hw-error`
    Hardware,
    /// `timeout`
    Timeout,
    /// `user-abort`
    Canceled,
    /// `device-busy`
    Busy,
    /// `invalid-file-size`
    InvalidSize,
    /// `flash-wearout`
    Wearout,
    /// `firmware-invalid`
    Invalid,
}

impl Error {
    fn as_raw(self) -> bindings::fw_upload_err {
        match self {
            Error::Hardware => bindings::fw_upload_err_FW_UPLOAD_ERR_HW_ERROR,
            Error::Timeout => bindings::fw_upload_err_FW_UPLOAD_ERR_TIMEOUT,
            Error::Canceled => bindings::fw_upload_err_FW_UPLOAD_ERR_CANCELED,
            Error::Busy => bindings::fw_upload_err_FW_UPLOAD_ERR_BUSY,
            Error::InvalidSize => bindings::fw_upload_err_FW_UPLOAD_ERR_INVALID_SIZE,
            Error::Wearout => bindings::fw_upload_err_FW_UPLOAD_ERR_WEAROUT,
            Error::Invalid => bindings::fw_upload_err_FW_UPLOAD_ERR_FW_INVALID,
        }
    }
}

/// The driver's side of an upload.
pub(crate) trait Upload {
    /// Uploads `file`: all that user space has written, and not empty. May sleep.
    fn write(file: Vmapped<'_>) -> core::result::Result<(), Error>;

    /// Asks [`Self::write`], which runs at the same time or is about to, to give up.
    fn cancel();

    /// An upload has ended. What [`Self::cancel`] has asked of it does not count for the next one;
    /// the class lets one through that comes in the moment after this.
    fn finish();
}

/// The registration of a firmware upload interface.
///
/// The module can be removed while it lives, but not while an upload runs.
///
/// # Invariants
///
/// `fw_upload` was registered with `parent` and `name`, and is not unregistered before it is
/// dropped.
pub(crate) struct Registration<T: Upload> {
    fw_upload: NonNull<bindings::fw_upload>,
    parent: ARef<Device>,
    name: &'static CStr,
    _upload: PhantomData<T>,
}

// SAFETY: A registration can be unregistered by any thread.
unsafe impl<T: Upload> Send for Registration<T> {}

// SAFETY: Nothing can be done with a shared reference.
unsafe impl<T: Upload> Sync for Registration<T> {}

impl<T: Upload> Registration<T> {
    const OPS: bindings::fw_upload_ops = bindings::fw_upload_ops {
        prepare: Some(Self::prepare),
        write: Some(Self::write),
        poll_complete: Some(Self::poll_complete),
        cancel: Some(Self::cancel),
        cleanup: Some(Self::cleanup),
    };

    /// Creates `/sys/class/firmware/<name>` as a child of `parent`.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or what registering the device says, as [`EEXIST`] for a name that is taken.
    pub(crate) fn new(
        module: &'static ThisModule,
        parent: &Device,
        name: &'static CStr,
    ) -> Result<Self> {
        // A registration that holds a reference to the module could never be dropped by the
        // module's exit. So none is held here, but one for each upload.
        //
        // SAFETY: `parent` is a device, `name` and the operations are static, and the handle is
        // only ever used as a module.
        let fw_upload = from_err_ptr(unsafe {
            bindings::firmware_upload_register(
                core::ptr::null_mut(),
                // CAST: `Device` is a transparent wrapper of `struct device`.
                core::ptr::from_ref(parent).cast_mut().cast(),
                name.as_char_ptr(),
                &Self::OPS,
                module.as_ptr().cast(),
            )
        })?;

        Ok(Self {
            // INVARIANT: It was just registered.
            fw_upload: NonNull::new(fw_upload).ok_or(ENOMEM)?,
            parent: parent.into(),
            name,
            _upload: PhantomData,
        })
    }

    /// Lets no upload begin any more.
    ///
    /// One that began while `firmware_upload_unregister()` goes on, which looks only once whether
    /// one runs, would work on what that frees. Holding a reference to the module, as other
    /// drivers do, keeps that from happening when they are removed.
    fn take_no_more(&self) {
        let loading = bindings::attribute {
            name: c"loading".as_char_ptr(),
            ..Default::default()
        };

        // SAFETY: The parent is a device, and the name is a C string as `device_match_name()`
        // expects it. The interface is the parent's child of that name, and a device that was
        // found is there until it is put. Removing a file by its name waits for those who are in
        // it; that it is gone does not matter to whoever removes the device.
        unsafe {
            let device = bindings::device_find_child(
                // CAST: `Device` is a transparent wrapper of `struct device`.
                core::ptr::from_ref::<Device>(&self.parent)
                    .cast_mut()
                    .cast(),
                self.name.as_char_ptr().cast(),
                Some(bindings::device_match_name),
            );
            if !device.is_null() {
                bindings::sysfs_remove_file_ns(
                    &raw mut (*device).kobj,
                    &loading,
                    core::ptr::null(),
                );
                bindings::put_device(device);
            }
        }
    }

    /// Returns the module that `fw_upload` was registered for.
    ///
    /// # Safety
    ///
    /// `fw_upload` must have been registered by [`Self::new`].
    unsafe fn module(fw_upload: *mut bindings::fw_upload) -> *mut bindings::module {
        // SAFETY: By the requirement of this function.
        unsafe { (*fw_upload).dd_handle.cast() }
    }

    /// # Safety
    ///
    /// `fw_upload` must have been registered by [`Self::new`].
    unsafe extern "C" fn prepare(
        fw_upload: *mut bindings::fw_upload,
        _data: *const u8,
        _size: u32,
    ) -> bindings::fw_upload_err {
        // SAFETY: The firmware class passes what was registered, and the module is there until
        // the interface is unregistered.
        if unsafe { bindings::try_module_get(Self::module(fw_upload)) } {
            bindings::fw_upload_err_FW_UPLOAD_ERR_NONE
        } else {
            // The module is being removed.
            Error::Canceled.as_raw()
        }
    }

    /// # Safety
    ///
    /// `data` must point to `size` bytes, and `written` to a place for the result.
    unsafe extern "C" fn write(
        _fw_upload: *mut bindings::fw_upload,
        data: *const u8,
        _offset: u32,
        size: u32,
        written: *mut u32,
    ) -> bindings::fw_upload_err {
        // As every call that succeeds takes all of the file, there is none with an offset.
        //
        // SAFETY: The firmware class passes the `size` bytes of the file, which it has mapped with
        // `vmap()` until this returns.
        let file = unsafe { Vmapped::new(slice::from_raw_parts(data, size as usize)) };
        match T::write(file) {
            Ok(()) => {
                // SAFETY: The firmware class passes a place for the result.
                unsafe { *written = size };
                bindings::fw_upload_err_FW_UPLOAD_ERR_NONE
            }
            Err(error) => error.as_raw(),
        }
    }

    extern "C" fn poll_complete(_fw_upload: *mut bindings::fw_upload) -> bindings::fw_upload_err {
        // The upload was complete when `write()` returned.
        bindings::fw_upload_err_FW_UPLOAD_ERR_NONE
    }

    extern "C" fn cancel(_fw_upload: *mut bindings::fw_upload) {
        T::cancel();
    }

    /// # Safety
    ///
    /// `fw_upload` must have been registered by [`Self::new`], and [`Self::prepare`] must have
    /// succeeded for it.
    unsafe extern "C" fn cleanup(fw_upload: *mut bindings::fw_upload) {
        T::finish();
        // SAFETY: `prepare()` has taken the reference. The module's text stays until this has
        // returned, as dropping the registration waits for the worker.
        unsafe { bindings::module_put(Self::module(fw_upload)) };
    }
}

impl<T: Upload> Drop for Registration<T> {
    fn drop(&mut self) {
        self.take_no_more();
        // SAFETY: By the type invariant it is registered. This waits for an upload that runs.
        unsafe { bindings::firmware_upload_unregister(self.fw_upload.as_ptr()) };
    }
}
