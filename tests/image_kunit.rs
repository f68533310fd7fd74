// SPDX-License-Identifier: GPL-2.0

//! Which files are images, and why the others are none.

use kernel::prelude::*;

#[kunit_tests(tdx_host_image)]
mod tests {
    use super::*;
    use crate::{
        image::{
            Error,
            Format,
            Image,
            MAX_MODULE_PAGES,
            PAGE,
            SIGSTRUCT_SIZE, //
        },
        image_file::{
            image,
            put,
            put_checksum, //
        }, //
    };

    /// Size in bytes of a small image.
    const PAGES: usize = 3;
    const SIZE: usize = PAGE * (2 + PAGES);

    #[test]
    fn images() -> Result {
        for format in [Format::V100, Format::V200] {
            for pages in [1, PAGES, MAX_MODULE_PAGES] {
                let file = image(format, pages)?;
                let image = match Image::parse(&file) {
                    Ok(image) => image,
                    Err(error) => {
                        check!(false, "{format:?}, {pages} pages: {error:?}\n");
                        continue;
                    }
                };
                check!(
                    image.format() == format,
                    "{format:?}: taken for the other\n"
                );
                check!(
                    image.sigstruct().len() == SIGSTRUCT_SIZE
                        && image.sigstruct().iter().all(|&byte| byte == 1),
                    "{format:?}: wrong sigstruct\n"
                );
                check!(
                    image.sigstruct_page().len() == PAGE
                        && image.sigstruct_page().iter().all(|&byte| byte == 1),
                    "{format:?}: wrong page of the sigstruct\n"
                );
                check!(
                    image.nr_module_pages() == pages
                        && image.module_pages().count() == pages
                        && image.module().len() == pages * PAGE,
                    "{format:?}, {pages} pages: wrong number of them\n"
                );
                for (number, page) in image.module_pages().enumerate() {
                    check!(
                        page.len() == PAGE && page.iter().all(|&byte| byte == (number + 2) as u8),
                        "{format:?}: wrong module page {number}\n"
                    );
                }
            }
        }
        Ok(())
    }

    /// What is done to an image, and what is wrong with it then.
    struct Refusal {
        format: Format,
        edit: fn(&mut VVec<u8>) -> Result,
        error: Error,
    }

    const REFUSALS: &[Refusal] = &[
        Refusal {
            format: Format::V200,
            edit: |file| {
                file.truncate(0);
                Ok(())
            },
            error: Error::Truncated { len: 0 },
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                file.truncate(PAGE - 1);
                Ok(())
            },
            error: Error::Truncated { len: PAGE - 1 },
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                file.truncate(PAGE);
                Ok(())
            },
            error: Error::Length {
                expected: SIZE,
                len: PAGE,
            },
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                file.truncate(SIZE - 1);
                Ok(())
            },
            error: Error::Length {
                expected: SIZE,
                len: SIZE - 1,
            },
        },
        Refusal {
            format: Format::V200,
            edit: |file| Ok(file.push(0, GFP_KERNEL)?),
            error: Error::Length {
                expected: SIZE,
                len: SIZE + 1,
            },
        },
        Refusal {
            format: Format::V200,
            edit: |file| Ok(file.resize(PAGE * 498 + 1, 0, GFP_KERNEL)?),
            error: Error::TooLong {
                len: PAGE * 498 + 1,
            },
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                put(file, 0, &[0x01, 0x02]);
                Ok(())
            },
            error: Error::Format(0x201),
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                put(file, 11, b"b");
                Ok(())
            },
            error: Error::Magic,
        },
        // The other format's header.
        Refusal {
            format: Format::V200,
            edit: |file| {
                put(file, 0, &[0x00, 0x01]);
                Ok(())
            },
            error: Error::Magic,
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                put(file, 12, &0u32.to_le_bytes());
                Ok(())
            },
            error: Error::SigstructPages(0),
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                put(file, 12, &2u32.to_le_bytes());
                Ok(())
            },
            error: Error::SigstructPages(2),
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                put(file, 16, &0u32.to_le_bytes());
                Ok(())
            },
            error: Error::ModulePages(0),
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                put(file, 16, &497u32.to_le_bytes());
                Ok(())
            },
            error: Error::ModulePages(497),
        },
        // So many that their size in bytes has no room in 32 bits.
        Refusal {
            format: Format::V200,
            edit: |file| {
                put(file, 16, &u32::MAX.to_le_bytes());
                Ok(())
            },
            error: Error::ModulePages(u32::MAX),
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                put(file, 16, &2u32.to_le_bytes());
                Ok(())
            },
            error: Error::Length {
                expected: SIZE - PAGE,
                len: SIZE,
            },
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                put(file, 20, &[1]);
                Ok(())
            },
            error: Error::Reserved { offset: 20 },
        },
        Refusal {
            format: Format::V200,
            edit: |file| {
                put(file, PAGE - 1, &[1]);
                Ok(())
            },
            error: Error::Reserved { offset: PAGE - 1 },
        },
        Refusal {
            format: Format::V100,
            edit: |file| {
                put(file, 8, b"t");
                Ok(())
            },
            error: Error::Magic,
        },
        Refusal {
            format: Format::V100,
            edit: |file| {
                file.truncate(SIZE - PAGE);
                Ok(())
            },
            error: Error::Length {
                expected: SIZE,
                len: SIZE - PAGE,
            },
        },
        Refusal {
            format: Format::V100,
            edit: |file| {
                put(file, 4, &0u32.to_le_bytes());
                Ok(())
            },
            error: Error::ModuleOffset(0),
        },
        Refusal {
            format: Format::V100,
            edit: |file| {
                put(file, 4, &0x1000u32.to_le_bytes());
                Ok(())
            },
            error: Error::SigstructPages(0),
        },
        Refusal {
            format: Format::V100,
            edit: |file| {
                put(file, 4, &0x2001u32.to_le_bytes());
                Ok(())
            },
            error: Error::ModuleOffset(0x2001),
        },
        Refusal {
            format: Format::V100,
            edit: |file| {
                put(file, 4, &0x3000u32.to_le_bytes());
                Ok(())
            },
            error: Error::SigstructPages(2),
        },
        Refusal {
            format: Format::V100,
            edit: |file| {
                put(file, 4, &0xFFFF_F000u32.to_le_bytes());
                Ok(())
            },
            error: Error::SigstructPages(0xFFFFE),
        },
        Refusal {
            format: Format::V100,
            edit: |file| {
                file.truncate(PAGE * 2);
                put(file, 16, &0x2000u32.to_le_bytes());
                Ok(())
            },
            error: Error::ModulePages(0),
        },
        Refusal {
            format: Format::V100,
            edit: |file| {
                file.truncate(SIZE - 1);
                put(file, 16, &((SIZE - 1) as u32).to_le_bytes());
                Ok(())
            },
            error: Error::Length {
                expected: SIZE - PAGE,
                len: SIZE - 1,
            },
        },
        Refusal {
            format: Format::V100,
            edit: |file| {
                put(file, 40, &[0, 0, 1]);
                Ok(())
            },
            error: Error::Reserved { offset: 42 },
        },
    ];

    #[test]
    fn refusals() -> Result {
        for (row, refusal) in REFUSALS.iter().enumerate() {
            let mut file = image(refusal.format, PAGES)?;
            (refusal.edit)(&mut file)?;
            put_checksum(&mut file);

            let got = Image::parse(&file).map(|_| ());
            let wanted = refusal.error;
            check!(got == Err(wanted), "row {row}: {got:?}, not {wanted:?}\n");
            let is_size = matches!(
                wanted,
                Error::Truncated { .. } | Error::TooLong { .. } | Error::Length { .. }
            );
            check!(
                wanted.is_size() == is_size,
                "row {row}: of its size: {}\n",
                !is_size
            );
        }
        Ok(())
    }

    #[test]
    fn every_changed_byte_counts() -> Result {
        for format in [Format::V100, Format::V200] {
            let mut file = image(format, 1)?;
            for offset in (20..file.len()).step_by(97) {
                if let Some(byte) = file.get_mut(offset) {
                    *byte ^= 0x10;
                }
                let got = Image::parse(&file).map(|_| ());
                let as_wanted = match got {
                    Err(Error::Reserved { offset: at }) => at == offset,
                    Err(Error::Checksum { sum }) => offset >= PAGE && sum != 0,
                    _ => false,
                };
                check!(as_wanted, "{format:?}, byte {offset}: {got:?}\n");
                if let Some(byte) = file.get_mut(offset) {
                    *byte ^= 0x10;
                }
            }
            check!(Image::parse(&file).is_ok(), "{format:?}: not as before\n");
        }
        Ok(())
    }
}
