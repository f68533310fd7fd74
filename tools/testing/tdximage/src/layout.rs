// SPDX-License-Identifier: GPL-2.0

//! Where every field of an image lies.
//!
//! Sources: header of format 0x200: `struct tdx_image_header` in Linux 7.3,
//! arch/x86/virt/vmx/tdx/seamldr.c; header of format 0x100: the blob structure in Intel's repository
//! of TDX module binaries; sigstruct: `seam_sigstruct_t` in Intel's P-SEAMLDR source. All numbers are
//! little-endian, and so are the modulus and the signature.

use std::fmt;
use std::ops::Range;

/// Size of a page, of the image header, and of the slot that holds the sigstruct.
pub const PAGE_SIZE: usize = 4096;
/// Size of the sigstruct itself; the rest of its page is zero.
pub const SIGSTRUCT_SIZE: usize = 2048;
/// Most module pages that a `seamldr_params` can name.
pub const MAX_MODULE_PAGES: u32 = 496;
/// Entries in the sigstruct's CPU table.
pub const MAX_CPUS: usize = 255;
/// The mark in the header of both formats.
pub const BLOB_SIGNATURE: [u8; 8] = *b"TDX-BLOB";
/// Length in bytes of an RSA-3072 modulus and of a signature.
pub const RSA_SIZE: usize = 384;
/// The part of the sigstruct that is signed: its header, and all that follows the signature.
pub const SIGNED: [Range<usize>; 2] = [0..128, 900..SIGSTRUCT_SIZE];

/// The two formats of a TDX module image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Intel's first format: the header gives the module's offset and the file's length.
    V100,
    /// The format that Linux 7.3 takes: the header counts pages.
    V200,
}

impl Format {
    /// The number in the header's version field.
    pub const fn version(self) -> u16 {
        match self {
            Format::V100 => 0x100,
            Format::V200 => 0x200,
        }
    }

    /// The format that has `version` in its header.
    pub const fn from_version(version: u16) -> Option<Format> {
        match version {
            0x100 => Some(Format::V100),
            0x200 => Some(Format::V200),
            _ => None,
        }
    }

    /// The fields of the header page, in order and without gaps.
    pub const fn header(self) -> &'static [Field] {
        match self {
            Format::V100 => &HEADER_V100,
            Format::V200 => &HEADER_V200,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.version())
    }
}

/// A field: its name, and where it lies in its structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as the command line takes it, with the structure in front.
    pub name: &'static str,
    /// Offset in bytes from the start of the structure.
    pub offset: usize,
    /// Length in bytes. Fields of up to 8 bytes are numbers, longer ones are bytes.
    pub len: usize,
}

impl Field {
    /// The bytes that the field covers in its structure.
    pub const fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len
    }
}

const fn field(name: &'static str, offset: usize, len: usize) -> Field {
    Field { name, offset, len }
}

const HEADER_V100: [Field; 6] = [
    field("header.version", 0, 2),
    field("header.checksum", 2, 2),
    field("header.module_offset", 4, 4),
    field("header.signature", 8, 8),
    field("header.length", 16, 4),
    field("header.reserved", 20, PAGE_SIZE - 20),
];

const HEADER_V200: [Field; 6] = [
    field("header.version", 0, 2),
    field("header.checksum", 2, 2),
    field("header.signature", 4, 8),
    field("header.sigstruct_pages", 12, 4),
    field("header.module_pages", 16, 4),
    field("header.reserved", 20, PAGE_SIZE - 20),
];

/// The sigstruct's fields, in order and without gaps, and last what pads it to a page.
///
/// The five page counts (stack, TLS, keyhole, global data, handoff) hold one less than the pages.
pub const SIGSTRUCT: [Field; 40] = [
    field("sigstruct.header_type", 0, 4),
    field("sigstruct.header_length", 4, 4),
    field("sigstruct.header_version", 8, 4),
    field("sigstruct.module_type", 12, 4),
    field("sigstruct.vendor", 16, 4),
    field("sigstruct.date", 20, 4),
    field("sigstruct.size", 24, 4),
    field("sigstruct.key_size", 28, 4),
    field("sigstruct.modulus_size", 32, 4),
    field("sigstruct.exponent_size", 36, 4),
    field("sigstruct.reserved_40", 40, 88),
    field("sigstruct.modulus", 128, RSA_SIZE),
    field("sigstruct.exponent", 512, 4),
    field("sigstruct.signature", 516, RSA_SIZE),
    field("sigstruct.module_hash", 900, 48),
    field("sigstruct.minor_svn", 948, 1),
    field("sigstruct.major_svn", 949, 1),
    field("sigstruct.attributes", 950, 8),
    field("sigstruct.rip_offset", 958, 4),
    field("sigstruct.stack_pages", 962, 1),
    field("sigstruct.tls_pages", 963, 1),
    field("sigstruct.keyhole_pages", 964, 2),
    field("sigstruct.global_data_pages", 966, 2),
    field("sigstruct.max_tdmrs", 968, 2),
    field("sigstruct.max_reserved_per_tdmr", 970, 2),
    field("sigstruct.pamt_entry_size_4k", 972, 2),
    field("sigstruct.pamt_entry_size_2m", 974, 2),
    field("sigstruct.pamt_entry_size_1g", 976, 2),
    field("sigstruct.reserved_978", 978, 6),
    field("sigstruct.module_hv", 984, 2),
    field("sigstruct.min_update_hv", 986, 2),
    field("sigstruct.no_downgrade", 988, 1),
    field("sigstruct.reserved_989", 989, 1),
    field("sigstruct.handoff_pages", 990, 2),
    field("sigstruct.gdt_idt_offset", 992, 4),
    field("sigstruct.fault_wrapper_offset", 996, 4),
    field("sigstruct.reserved_1000", 1000, 24),
    field("sigstruct.cpu_count", 1024, 4),
    field("sigstruct.cpu_table", 1028, 4 * MAX_CPUS),
    field(
        "sigstruct.padding",
        SIGSTRUCT_SIZE,
        PAGE_SIZE - SIGSTRUCT_SIZE,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_gapless(fields: &[Field], end: usize) {
        let mut next = 0;
        for field in fields {
            assert_eq!(field.offset, next, "{}", field.name);
            next = field.range().end;
        }
        assert_eq!(next, end);
    }

    #[test]
    fn fields_follow_each_other_without_gaps() {
        assert_gapless(Format::V100.header(), PAGE_SIZE);
        assert_gapless(Format::V200.header(), PAGE_SIZE);
        assert_gapless(&SIGSTRUCT, PAGE_SIZE);
    }

    #[test]
    fn names_are_unique() {
        for format in [Format::V100, Format::V200] {
            let mut names: Vec<_> = format
                .header()
                .iter()
                .chain(&SIGSTRUCT)
                .map(|field| field.name)
                .collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all);
        }
    }

    #[test]
    fn format_and_version_agree() {
        for format in [Format::V100, Format::V200] {
            assert_eq!(Format::from_version(format.version()), Some(format));
        }
        assert_eq!(Format::from_version(0x300), None);
    }
}
