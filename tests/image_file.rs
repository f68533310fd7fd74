// SPDX-License-Identifier: GPL-2.0

//! Images for the tests.

use kernel::prelude::*;

use crate::image::{
    Format,
    PAGE, //
};

/// Replaces what is at `offset`.
pub(crate) fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    for (to, from) in file.iter_mut().skip(offset).zip(bytes) {
        *to = *from;
    }
}

/// Makes the words of the file sum to zero.
pub(crate) fn put_checksum(file: &mut [u8]) {
    put(file, 2, &[0, 0]);
    let sum = file.chunks(2).fold(0u16, |sum, word| {
        let low = word.first().copied().unwrap_or(0);
        let high = word.get(1).copied().unwrap_or(0);
        sum.wrapping_add(u16::from_le_bytes([low, high]))
    });
    put(file, 2, &sum.wrapping_neg().to_le_bytes());
}

/// An image with so many module pages. Each page is filled with its number.
pub(crate) fn image(format: Format, pages: usize) -> Result<VVec<u8>> {
    let size = PAGE * (2 + pages);
    let mut file = VVec::from_elem(0u8, size, GFP_KERNEL)?;
    for (number, page) in file.chunks_mut(PAGE).enumerate().skip(1) {
        page.fill(number as u8);
    }
    match format {
        Format::V100 => {
            put(&mut file, 0, &0x100u16.to_le_bytes());
            put(&mut file, 4, &0x2000u32.to_le_bytes());
            put(&mut file, 8, b"TDX-BLOB");
            put(&mut file, 16, &(size as u32).to_le_bytes());
        }
        Format::V200 => {
            put(&mut file, 0, &0x200u16.to_le_bytes());
            put(&mut file, 4, b"TDX-BLOB");
            put(&mut file, 12, &1u32.to_le_bytes());
            put(&mut file, 16, &(pages as u32).to_le_bytes());
        }
    }
    put_checksum(&mut file);
    Ok(file)
}
