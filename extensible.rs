// SPDX-License-Identifier: GPL-2.0

//! Structures in user memory that begin with their size, so that user space and kernel can know
//! different versions of them.
//!
//! C: `copy_struct_from_user()` and `copy_struct_to_user()` in
//! [`include/linux/uaccess.h`](srctree/include/linux/uaccess.h)

use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// A structure that may get more members at its end. Its first one is its size, a `u32`.
/// Zero in a member that is missing must mean what there was before there was that member.
pub(crate) trait Extensible: FromBytes + IntoBytes {
    /// The size of its first version.
    const FIRST_SIZE: usize;
}

/// Where user space has such a structure.
pub(crate) struct Place {
    user: UserPtr,
    /// Its size, as user space knows it.
    size: usize,
}

impl Place {
    /// Reads the structure at `user`. What is missing there is zero.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it is smaller than its first version, [`E2BIG`] if it is larger than a page or
    /// not zero behind what the kernel knows of it.
    pub(crate) fn read<T: Extensible>(user: UserPtr) -> Result<(Self, T)> {
        let mut value = T::new_zeroed();
        let place = Self::read_bytes(user, T::FIRST_SIZE, value.as_mut_bytes())?;
        Ok((place, value))
    }

    fn read_bytes(user: UserPtr, first_size: usize, bytes: &mut [u8]) -> Result<Self> {
        let size = UserSlice::new(user, size_of::<u32>())
            .reader()
            .read::<u32>()?;
        // CAST: It has 32 bits.
        let size = size as usize;
        if size < first_size {
            return Err(EINVAL);
        }
        if size > PAGE_SIZE {
            return Err(E2BIG);
        }

        let mut reader = UserSlice::new(user, size).reader();
        let known = size.min(bytes.len());
        if let Some(known) = bytes.get_mut(..known) {
            reader.read_slice(known)?;
        }
        while !reader.is_empty() {
            if reader.read::<u8>()? != 0 {
                return Err(E2BIG);
            }
        }
        Ok(Self { user, size })
    }

    /// Writes `value` there, or as much of it as there is room for. What the kernel does not know
    /// stays as it was, which is zero.
    pub(crate) fn write(&self, value: &mut impl Extensible) -> Result {
        let bytes = value.as_mut_bytes();
        let known = bytes.get(..self.size).unwrap_or(bytes);

        UserSlice::new(self.user, known.len())
            .writer()
            .write_slice(known)
    }
}
