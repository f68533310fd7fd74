// SPDX-License-Identifier: GPL-2.0

//! Abstractions for device attributes in sysfs, and for a faux device that has them.
//!
//! C headers: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h),
//! [`include/linux/device/faux.h`](srctree/include/linux/device/faux.h)

use core::{
    ptr::{
        null,
        null_mut,
        NonNull, //
    },
    slice, //
};

use kernel::{
    bindings,
    device::Device,
    error::to_result,
    fmt,
    prelude::*,
    str::as_char_ptr_in_const_context, //
};

/// The buffer that an attribute's content goes into.
///
/// # Invariants
///
/// It is a page that sysfs has allocated, for the call of [`Show::show`] that it is given to.
pub(crate) struct Buffer(*mut c_char);

impl Buffer {
    /// Replaces the content with the formatted text; what does not fit into the page is cut off.
    /// Returns its length.
    pub(crate) fn emit(self, args: fmt::Arguments<'_>) -> usize {
        // SAFETY: By the type invariant it is a page as `sysfs_emit()` wants it, and `%pA` takes a
        // pointer to `fmt::Arguments`.
        let len = unsafe {
            bindings::sysfs_emit(
                self.0,
                c"%pA".as_char_ptr(),
                core::ptr::from_ref(&args).cast::<c_void>(),
            )
        };
        usize::try_from(len).unwrap_or(0)
    }
}

/// Who may read an attribute.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// Everybody, 0444.
    Public,
    /// Root, 0400.
    Admin,
}

/// The content of a read-only attribute.
pub(crate) trait Show {
    /// The file's name.
    const NAME: &'static CStr;

    /// Who may read it.
    const MODE: Mode = Mode::Public;

    /// Emits the content. May sleep.
    fn show(buffer: Buffer) -> Result<usize>;
}

/// An attribute that root may write to as well.
pub(crate) trait Store: Show {
    /// Takes `text` as it was written, at most a page of it. May sleep.
    ///
    /// # Errors
    ///
    /// What writing fails with. Nothing must have changed then.
    fn store(text: &[u8]) -> Result;
}

/// A device attribute.
#[repr(transparent)]
pub(crate) struct Attribute(bindings::device_attribute);

// SAFETY: sysfs does not write to the attribute.
unsafe impl Sync for Attribute {}

impl Attribute {
    /// The read-only attribute that `T` is the content of.
    pub(crate) const fn new<T: Show>() -> Self {
        Self::with_store::<T>(0, None)
    }

    /// The attribute that `T` is the content of, and that root may write to.
    pub(crate) const fn writable<T: Store>() -> Self {
        Self::with_store::<T>(0o200, Some(Self::store::<T>))
    }

    // With lockdep, `struct attribute` has more fields.
    #[allow(clippy::needless_update)]
    const fn with_store<T: Show>(write_mode: bindings::umode_t, store: StoreCallback) -> Self {
        Self(bindings::device_attribute {
            attr: bindings::attribute {
                name: as_char_ptr_in_const_context(T::NAME),
                mode: write_mode
                    | match T::MODE {
                        Mode::Public => 0o444,
                        Mode::Admin => 0o400,
                    },
                ..pin_init::zeroed()
            },
            __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 {
                show: Some(Self::show::<T>),
            },
            __bindgen_anon_2: bindings::device_attribute__bindgen_ty_2 { store },
        })
    }

    /// # Safety
    ///
    /// `buffer` must be a page that sysfs has allocated for this call.
    unsafe extern "C" fn show<T: Show>(
        _device: *mut bindings::device,
        _attribute: *mut bindings::device_attribute,
        buffer: *mut c_char,
    ) -> isize {
        // INVARIANT: By the requirement of this function.
        match T::show(Buffer(buffer)) {
            // CAST: At most a page.
            Ok(len) => len as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// `text` must point to `len` bytes.
    unsafe extern "C" fn store<T: Store>(
        _device: *mut bindings::device,
        _attribute: *mut bindings::device_attribute,
        text: *const c_char,
        len: usize,
    ) -> isize {
        // SAFETY: By the requirement of this function.
        let text = unsafe { slice::from_raw_parts(text.cast(), len) };
        // C's string functions, by which other attributes go, end at a NUL.
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        match T::store(text) {
            // CAST: At most a page.
            Ok(()) => len as isize,
            Err(error) => error.to_errno() as isize,
        }
    }
}

/// The type of `device_attribute.store`.
type StoreCallback = Option<
    unsafe extern "C" fn(
        *mut bindings::device,
        *mut bindings::device_attribute,
        *const c_char,
        usize,
    ) -> isize,
>;

/// `N` attributes and the NULL that ends their list.
#[repr(C)]
pub(crate) struct Attributes<const N: usize> {
    attributes: [*const bindings::attribute; N],
    end: *const bindings::attribute,
}

// SAFETY: sysfs does not write to the list.
unsafe impl<const N: usize> Sync for Attributes<N> {}

impl<const N: usize> Attributes<N> {
    /// The list of the given attributes.
    pub(crate) const fn new(attributes: [&'static Attribute; N]) -> Self {
        let mut list = [null(); N];
        let mut at = 0;
        while at < N {
            list[at] = &raw const attributes[at].0.attr;
            at += 1;
        }
        Self {
            attributes: list,
            end: null(),
        }
    }
}

/// A group of attributes, which are there or not as one.
#[repr(transparent)]
pub(crate) struct Group(bindings::attribute_group);

// SAFETY: sysfs does not write to the group.
unsafe impl Sync for Group {}

/// Whether a group's attributes are there; asked when the device is created.
pub(crate) trait Visible {
    /// Returns whether they are.
    fn visible() -> bool;
}

impl Group {
    /// The group of `attributes`, which is there when `V` says so.
    pub(crate) const fn new<const N: usize, V: Visible>(
        attributes: &'static Attributes<N>,
    ) -> Self {
        Self(bindings::attribute_group {
            __bindgen_anon_1: bindings::attribute_group__bindgen_ty_1 {
                is_visible: Some(Self::is_visible::<V>),
            },
            __bindgen_anon_2: bindings::attribute_group__bindgen_ty_2 {
                // The pointers and the NULL behind them are one array, as `Attributes` is
                // `repr(C)`.
                attrs_const: (&raw const *attributes).cast(),
            },
            ..pin_init::zeroed()
        })
    }

    /// # Safety
    ///
    /// `attribute` must be an attribute.
    unsafe extern "C" fn is_visible<V: Visible>(
        _kobject: *mut bindings::kobject,
        attribute: *mut bindings::attribute,
        _index: c_int,
    ) -> bindings::umode_t {
        if V::visible() {
            // SAFETY: By the requirement of this function.
            unsafe { (*attribute).mode }
        } else {
            0
        }
    }
}

/// `N` groups and the NULL that ends their list.
#[repr(C)]
pub(crate) struct Groups<const N: usize> {
    groups: [&'static Group; N],
    end: *const bindings::attribute_group,
}

// SAFETY: The driver core does not write to the list.
unsafe impl<const N: usize> Sync for Groups<N> {}

impl<const N: usize> Groups<N> {
    /// The list of the given groups.
    pub(crate) const fn new(groups: [&'static Group; N]) -> Self {
        Self {
            groups,
            end: null(),
        }
    }
}

/// A faux device with attributes: `/sys/devices/faux/<name>`.
///
/// Like [`kernel::faux::Registration`], which cannot have attributes yet.
///
/// # Invariants
///
/// The device is registered.
pub(crate) struct FauxDevice(NonNull<bindings::faux_device>);

// SAFETY: The device can be destroyed by any thread.
unsafe impl Send for FauxDevice {}

// SAFETY: A `Device` can be used by any thread.
unsafe impl Sync for FauxDevice {}

impl FauxDevice {
    /// Creates the device.
    ///
    /// # Errors
    ///
    /// [`ENODEV`], as the driver core does not say why.
    pub(crate) fn new<const N: usize>(
        name: &'static CStr,
        groups: &'static Groups<N>,
    ) -> Result<Self> {
        // SAFETY: The name and the groups are static, and the latter end in NULL. They are not
        // written to.
        let device = unsafe {
            bindings::faux_device_create_with_groups(
                name.as_char_ptr(),
                null_mut(),
                null(),
                core::ptr::from_ref(groups).cast_mut().cast(),
            )
        };

        // INVARIANT: It was just registered.
        NonNull::new(device).map(Self).ok_or(ENODEV)
    }
}

impl AsRef<Device> for FauxDevice {
    fn as_ref(&self) -> &Device {
        // SAFETY: By the type invariant the device is there for as long as `self`.
        unsafe { Device::from_raw(&raw mut (*self.0.as_ptr()).dev) }
    }
}

/// Tells user space that `device` has changed, with `N` environment variables of the form
/// `NAME=value`.
///
/// # Errors
///
/// [`ENOMEM`], or what user space that is told by a helper makes of it.
pub(crate) fn uevent_change<const N: usize>(device: &Device, env: [&CStr; N]) -> Result {
    /// `N` strings and the NULL that ends their list.
    #[repr(C)]
    struct Env<const N: usize> {
        strings: [*const c_char; N],
        end: *const c_char,
    }

    let env = Env {
        strings: env.map(|string| string.as_char_ptr()),
        end: null(),
    };
    // CAST: `Device` is a transparent wrapper of `struct device`.
    let device = core::ptr::from_ref(device)
        .cast_mut()
        .cast::<bindings::device>();
    // SAFETY: The device is registered, as its owner holds a reference. The list ends in NULL, and
    // it and the strings are only read.
    to_result(unsafe {
        bindings::kobject_uevent_env(
            &raw mut (*device).kobj,
            bindings::kobject_action_KOBJ_CHANGE,
            core::ptr::from_ref(&env).cast_mut().cast(),
        )
    })
}

impl Drop for FauxDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is registered.
        unsafe { bindings::faux_device_destroy(self.0.as_ptr()) };
    }
}
