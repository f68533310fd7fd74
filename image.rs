// SPDX-License-Identifier: GPL-2.0

//! TDX module images.
//!
//! An image is the file that an operator uploads: a header page, the sigstruct padded to a page,
//! and the pages of the TDX module. Two layouts of the header are in use. All integers are
//! little-endian.
//!
//! Format 0x100, in which Intel published TDX modules at first:
//!
//! ```text
//! +------+------+--------------------------------------------------------+
//! | 0    | u16  | format, 0x100                                          |
//! | 2    | u16  | checksum                                               |
//! | 4    | u32  | offset of the module pages                             |
//! | 8    | [8]  | "TDX-BLOB"                                             |
//! | 16   | u32  | length of the file                                     |
//! | 20   |      | zero up to 4096                                        |
//! +------+------+--------------------------------------------------------+
//! ```
//!
//! Format 0x200, in which Intel publishes them now, and the one that
//! `arch/x86/virt/vmx/tdx/seamldr.c` takes:
//!
//! ```text
//! +------+------+--------------------------------------------------------+
//! | 0    | u16  | format, 0x200                                          |
//! | 2    | u16  | checksum                                               |
//! | 4    | [8]  | "TDX-BLOB"                                             |
//! | 12   | u32  | number of sigstruct pages                              |
//! | 16   | u32  | number of module pages                                 |
//! | 20   |      | zero up to 4096                                        |
//! +------+------+--------------------------------------------------------+
//! ```
//!
//! In both, the sigstruct begins at 4096 and the module pages follow it to the end of the file,
//! and the 16-bit words of the whole file sum to zero.
//!
//! This file uses `core` alone, so that the same source is part of the driver, of its KUnit tests
//! and of tests and fuzzers on the host.

use core::fmt;

/// Size of a page, and of the header, in bytes.
pub(crate) const PAGE: usize = 4096;

/// Most module pages that P-SEAMLDR takes (SEAMLDR_PARAMS in the SEAM Loader Interface
/// Specification).
pub(crate) const MAX_MODULE_PAGES: usize = 496;

/// Sigstruct pages that P-SEAMLDR takes: one, not fewer and not more.
pub(crate) const SIGSTRUCT_PAGES: usize = 1;

/// Size of the sigstruct itself, in bytes; the rest of its page is padding.
pub(crate) const SIGSTRUCT_SIZE: usize = 2048;

/// Size in bytes of the largest image there can be.
pub(crate) const MAX_SIZE: usize = PAGE * (1 + SIGSTRUCT_PAGES + MAX_MODULE_PAGES);

const MAGIC: &[u8; 8] = b"TDX-BLOB";

/// The layout of an image's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// 0x100, what Intel published at first.
    V100,
    /// 0x200, what Intel publishes now and Linux 7.3 takes.
    V200,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::V100 => "0x100",
            Format::V200 => "0x200",
        })
    }
}

/// What makes a file no image.
///
/// [`fmt::Display`] names the field and says in words what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// Shorter than the header.
    Truncated {
        /// Length of the file in bytes.
        len: usize,
    },
    /// Longer than any image.
    TooLong {
        /// Length of the file in bytes.
        len: usize,
    },
    /// The format field holds neither 0x100 nor 0x200.
    Format(u16),
    /// "TDX-BLOB" is not where the format has it.
    Magic,
    /// The header's reserved bytes are not all zero.
    Reserved {
        /// Offset of the first one that is not.
        offset: usize,
    },
    /// The number of sigstruct pages is not [`SIGSTRUCT_PAGES`].
    SigstructPages(u32),
    /// The number of module pages is 0 or above [`MAX_MODULE_PAGES`].
    ModulePages(u32),
    /// The offset of the module pages (format 0x100) is no multiple of 4096 or inside the header.
    ModuleOffset(u32),
    /// The file is not as long as its header says.
    Length {
        /// What the header says, in bytes.
        expected: usize,
        /// Length of the file in bytes.
        len: usize,
    },
    /// The file's 16-bit words do not sum to zero.
    Checksum {
        /// What they sum to.
        sum: u16,
    },
}

impl Error {
    /// Whether the file's size is what is wrong, rather than its content.
    pub(crate) fn is_size(&self) -> bool {
        matches!(
            self,
            Error::Truncated { .. } | Error::TooLong { .. } | Error::Length { .. }
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Truncated { len } => {
                write!(f, "size: {len} bytes, shorter than the header of {PAGE}")
            }
            Error::TooLong { len } => {
                write!(
                    f,
                    "size: {len} bytes, longer than the {MAX_SIZE} of the largest image"
                )
            }
            Error::Format(version) => {
                write!(f, "format version: {version:#x}, neither 0x100 nor 0x200")
            }
            Error::Magic => write!(f, "signature: not \"TDX-BLOB\""),
            Error::Reserved { offset } => write!(f, "reserved: byte {offset} is not zero"),
            Error::SigstructPages(n) => {
                write!(f, "sigstruct pages: {n}, must be {SIGSTRUCT_PAGES}")
            }
            Error::ModulePages(n) => {
                write!(f, "module pages: {n}, must be 1 to {MAX_MODULE_PAGES}")
            }
            Error::ModuleOffset(offset) => {
                write!(
                    f,
                    "module offset: {offset:#x}, not a page behind the header"
                )
            }
            Error::Length { expected, len } => {
                write!(f, "size: {len} bytes, but the header says {expected}")
            }
            Error::Checksum { sum } => {
                write!(
                    f,
                    "checksum: the file's words sum to {sum:#06x} instead of 0"
                )
            }
        }
    }
}

/// A well-formed image.
///
/// # Invariants
///
/// - `file` holds a header, one sigstruct page and 1 to [`MAX_MODULE_PAGES`] module pages, and
///   nothing else.
/// - `sigstruct` are the first [`SIGSTRUCT_SIZE`] bytes of the sigstruct page, and `module` are
///   the module pages.
/// - The 16-bit words of `file` sum to zero.
#[derive(Clone, Copy)]
pub(crate) struct Image<'a> {
    format: Format,
    file: &'a [u8],
    sigstruct: &'a [u8; SIGSTRUCT_SIZE],
    module: &'a [u8],
}

impl<'a> Image<'a> {
    /// Checks that `file` is an image. The sizes are checked before anything that takes time.
    pub(crate) fn parse(file: &'a [u8]) -> Result<Self, Error> {
        let len = file.len();
        if len > MAX_SIZE {
            return Err(Error::TooLong { len });
        }
        let header = file.first_chunk::<PAGE>().ok_or(Error::Truncated { len })?;

        let (format, pages) = match u16_at(header, 0) {
            0x100 => (Format::V100, v100_module_pages(header, len)?),
            0x200 => (Format::V200, v200_module_pages(header)?),
            version => return Err(Error::Format(version)),
        };
        if let Some(at) = header.iter().skip(20).position(|&byte| byte != 0) {
            return Err(Error::Reserved {
                offset: at.saturating_add(20),
            });
        }

        // No overflow: `pages` is at most `MAX_MODULE_PAGES`.
        let expected = pages
            .saturating_add(1 + SIGSTRUCT_PAGES)
            .saturating_mul(PAGE);
        let wrong_length = Error::Length { expected, len };
        if len != expected {
            return Err(wrong_length);
        }
        let sigstruct = file
            .get(PAGE..)
            .and_then(|rest| rest.first_chunk())
            .ok_or(wrong_length)?;
        let module = file
            .get(PAGE * (1 + SIGSTRUCT_PAGES)..)
            .ok_or(wrong_length)?;

        match checksum(file) {
            // INVARIANT: All of them have just been checked.
            0 => Ok(Self {
                format,
                file,
                sigstruct,
                module,
            }),
            sum => Err(Error::Checksum { sum }),
        }
    }

    /// The layout of the header.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// The bytes of the sigstruct, without the padding.
    pub(crate) fn sigstruct(&self) -> &'a [u8; SIGSTRUCT_SIZE] {
        self.sigstruct
    }

    /// The module pages, whose SHA-384 the sigstruct holds.
    pub(crate) fn module(&self) -> &'a [u8] {
        self.module
    }

    /// The page of the sigstruct.
    pub(crate) fn sigstruct_page(&self) -> &'a [u8] {
        self.file.get(PAGE..PAGE * 2).unwrap_or_default()
    }

    /// The number of module pages, 1 to [`MAX_MODULE_PAGES`].
    pub(crate) fn nr_module_pages(&self) -> usize {
        self.module.len() / PAGE
    }

    /// The module pages, one after the other.
    pub(crate) fn module_pages(&self) -> impl Iterator<Item = &'a [u8]> {
        self.module.chunks_exact(PAGE)
    }
}

/// Returns the number of module pages that a header of format 0x100 describes.
fn v100_module_pages(header: &[u8; PAGE], len: usize) -> Result<usize, Error> {
    let offset = u32_at(header, 4);
    let length = u32_at(header, 16);

    if !matches!(bytes_at(header, 8), Some(MAGIC)) {
        return Err(Error::Magic);
    }
    // CAST: `usize` has 64 bits where there is TDX.
    if length as usize != len {
        return Err(Error::Length {
            expected: length as usize,
            len,
        });
    }
    let sigstruct_pages = match (offset % PAGE as u32, (offset / PAGE as u32).checked_sub(1)) {
        (0, Some(n)) => n,
        _ => return Err(Error::ModuleOffset(offset)),
    };
    check_sigstruct_pages(sigstruct_pages)?;

    let module = length.saturating_sub(offset);
    if module % PAGE as u32 != 0 {
        // What is left is no whole number of pages: the file was cut, or has something behind it.
        return Err(Error::Length {
            expected: (length - length % PAGE as u32) as usize,
            len,
        });
    }
    check_module_pages(module / PAGE as u32)
}

/// Returns the number of module pages that a header of format 0x200 describes.
fn v200_module_pages(header: &[u8; PAGE]) -> Result<usize, Error> {
    if !matches!(bytes_at(header, 4), Some(MAGIC)) {
        return Err(Error::Magic);
    }
    check_sigstruct_pages(u32_at(header, 12))?;
    check_module_pages(u32_at(header, 16))
}

fn check_sigstruct_pages(n: u32) -> Result<(), Error> {
    if n as usize == SIGSTRUCT_PAGES {
        Ok(())
    } else {
        Err(Error::SigstructPages(n))
    }
}

fn check_module_pages(n: u32) -> Result<usize, Error> {
    match n as usize {
        pages @ 1..=MAX_MODULE_PAGES => Ok(pages),
        _ => Err(Error::ModulePages(n)),
    }
}

/// Sums the little-endian 16-bit words of a file; an odd last byte counts as a word.
fn checksum(file: &[u8]) -> u16 {
    // Four words at a time: what is above bit 15 never gets into the bits below.
    let sum = file.chunks(8).fold(0u64, |sum, chunk| {
        let words = match *chunk {
            [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => chunk
                .iter()
                .rev()
                .fold(0, |words, &byte| (words << 8) | u64::from(byte)),
        };
        sum.wrapping_add(words)
            .wrapping_add(words >> 16)
            .wrapping_add(words >> 32)
            .wrapping_add(words >> 48)
    });
    // CAST: The sum modulo 1 << 16.
    sum as u16
}

/// Returns the `N` bytes at `offset`, if `bytes` has them.
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<&[u8; N]> {
    bytes.get(offset..)?.first_chunk()
}

/// Returns the 16-bit field at `offset`, which must lie inside `bytes`: every caller passes a
/// constant offset into an array of constant size.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    bytes_at(bytes, offset).map_or(0, |field| u16::from_le_bytes(*field))
}

/// Returns the 32-bit field at `offset`, under the condition of [`u16_at`].
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes_at(bytes, offset).map_or(0, |field| u32::from_le_bytes(*field))
}
