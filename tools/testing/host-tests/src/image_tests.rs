// SPDX-License-Identifier: GPL-2.0

//! `image.rs`: what is an image, what is not, and which field is to blame.

use proptest::prelude::*;
use tdximage::{published, Format, Spec, Value};

use crate::image::{self, Error, Image, MAX_MODULE_PAGES, MAX_SIZE, PAGE, SIGSTRUCT_SIZE};
use crate::samples::{build, good, FORMATS};

fn parse(bytes: &[u8]) -> Result<Image<'_>, Error> {
    Image::parse(bytes)
}

/// The good image with one field changed and the checksum made right, so that the field alone is
/// wrong.
fn with(format: Format, field: &str, value: Value) -> Vec<u8> {
    let mut image = good(format);
    image.set(field, &value).unwrap();
    if field != "header.checksum" {
        image.rechecksum();
    }
    image.into_bytes()
}

/// What `with` is refused for, and the message.
fn refusal(format: Format, field: &str, value: Value) -> (Error, String) {
    let error = parse(&with(format, field, value)).err().unwrap();
    (error, error.to_string())
}

/// What holds for every image that `parse` lets through.
fn assert_well_formed(bytes: &[u8], image: &Image<'_>) {
    assert_eq!(bytes.len() % PAGE, 0);
    assert!((3 * PAGE..=MAX_SIZE).contains(&bytes.len()));
    assert_eq!(
        image.sigstruct().as_slice(),
        &bytes[PAGE..PAGE + SIGSTRUCT_SIZE]
    );
    assert_eq!(image.sigstruct_page(), &bytes[PAGE..2 * PAGE]);
    assert_eq!(image.module(), &bytes[2 * PAGE..]);
    assert_eq!(image.nr_module_pages(), bytes.len() / PAGE - 2);
    assert_eq!(image.module_pages().count(), image.nr_module_pages());
    assert!((1..=MAX_MODULE_PAGES).contains(&image.nr_module_pages()));
    assert!(image.module_pages().all(|page| page.len() == PAGE));
    assert_eq!(
        image.module_pages().collect::<Vec<_>>().concat(),
        image.module()
    );
    let sum = bytes
        .chunks_exact(2)
        .map(|word| u64::from(word[0]) | (u64::from(word[1]) << 8));
    assert_eq!(sum.sum::<u64>() % 0x10000, 0);
}

#[test]
fn good_images_are_taken() {
    for format in FORMATS {
        let sample = good(format);
        let image = parse(sample.bytes()).unwrap();
        assert_well_formed(sample.bytes(), &image);
        assert_eq!(image.sigstruct().as_slice(), sample.sigstruct());
        assert_eq!(image.module(), sample.module());
        assert_eq!(
            image.format() == image::Format::V100,
            format == Format::V100
        );
        assert_eq!(
            image.format() == image::Format::V200,
            format == Format::V200
        );
    }
}

#[test]
fn both_formats_parse_to_the_same_content() {
    let (v100, v200) = (good(Format::V100), good(Format::V200));
    let (v100, v200) = (parse(v100.bytes()).unwrap(), parse(v200.bytes()).unwrap());
    assert_eq!(v100.sigstruct(), v200.sigstruct());
    assert_eq!(v100.sigstruct_page(), v200.sigstruct_page());
    assert_eq!(v100.module(), v200.module());
}

#[test]
fn published_images_are_taken() {
    for version in published::versions() {
        let sample = build(&published::spec(version).unwrap());
        let image = parse(sample.bytes()).unwrap();
        assert_well_formed(sample.bytes(), &image);
        assert_eq!(image.module(), sample.module());
    }
}

#[test]
fn every_size_up_to_the_largest_is_taken() {
    for format in FORMATS {
        for pages in [
            1,
            2,
            3,
            MAX_MODULE_PAGES as u32 - 1,
            MAX_MODULE_PAGES as u32,
        ] {
            let sample = build(&Spec {
                format,
                pages,
                ..Spec::default()
            });
            let image = parse(sample.bytes()).unwrap();
            assert_well_formed(sample.bytes(), &image);
            assert_eq!(image.nr_module_pages(), pages as usize);
        }
    }
}

#[test]
fn a_wrong_format_version_is_named() {
    for format in FORMATS {
        for version in [0, 1, 2, 0x101, 0x201, 0x300, 0xFFFF] {
            let (error, text) = refusal(format, "header.version", Value::Int(version));
            assert_eq!(error, Error::Format(version as u16));
            assert!(text.starts_with("format version: "), "{text}");
        }
    }
}

#[test]
fn one_format_is_not_taken_for_the_other() {
    let (error, _) = refusal(Format::V100, "header.version", Value::Int(0x200));
    assert_eq!(error, Error::Magic);
    let (error, _) = refusal(Format::V200, "header.version", Value::Int(0x100));
    assert_eq!(error, Error::Magic);
}

#[test]
fn a_wrong_signature_word_is_named() {
    for format in FORMATS {
        for byte in 0..8 {
            let mut word = *b"TDX-BLOB";
            word[byte] ^= 0x20;
            let value = Value::Bytes(word.to_vec());
            let (error, text) = refusal(format, "header.signature", value);
            assert_eq!(error, Error::Magic);
            assert!(text.starts_with("signature: "), "{text}");
        }
    }
}

#[test]
fn every_reserved_byte_is_looked_at() {
    for format in FORMATS {
        let sample = good(format);
        for offset in [20, 21, 2047, 4094, 4095] {
            let mut bytes = sample.clone();
            bytes.write_at(offset, &[0x80]).unwrap();
            bytes.rechecksum();
            let error = parse(bytes.bytes()).err().unwrap();
            assert_eq!(error, Error::Reserved { offset });
            assert!(error.to_string().starts_with("reserved: "));
            assert!(!error.is_size());
        }
    }
}

#[test]
fn wrong_sigstruct_page_counts_are_named() {
    for pages in [0, 2, 3, 0x10_0000, u32::MAX] {
        let value = Value::Int(pages.into());
        let (error, text) = refusal(Format::V200, "header.sigstruct_pages", value);
        assert_eq!(error, Error::SigstructPages(pages));
        assert!(text.starts_with("sigstruct pages: "), "{text}");
    }
    // Files that are as long as they say: the count itself is refused.
    for format in FORMATS {
        let sample = build(&Spec {
            format,
            sigstruct_pages: 2,
            pages: 2,
            ..Spec::default()
        });
        assert_eq!(parse(sample.bytes()).err(), Some(Error::SigstructPages(2)));
    }
}

#[test]
fn wrong_module_page_counts_are_named() {
    for pages in [0, MAX_MODULE_PAGES as u32 + 1, 0x10_0000, u32::MAX] {
        let value = Value::Int(pages.into());
        let (error, text) = refusal(Format::V200, "header.module_pages", value);
        assert_eq!(error, Error::ModulePages(pages));
        assert!(text.starts_with("module pages: "), "{text}");
    }
    for pages in [1, 4, 6, MAX_MODULE_PAGES as u64] {
        let (error, text) = refusal(Format::V200, "header.module_pages", Value::Int(pages));
        let expected = PAGE * (pages as usize + 2);
        assert_eq!(
            error,
            Error::Length {
                expected,
                len: 7 * PAGE
            }
        );
        assert!(error.is_size(), "{text}");
    }
    // No module pages at all, in files that say so.
    for format in FORMATS {
        let mut header = good(format).into_bytes();
        header.truncate(2 * PAGE);
        let mut sample = tdximage::Image::parse(header).unwrap();
        let (field, value) = match format {
            Format::V100 => ("header.length", 2 * PAGE as u64),
            Format::V200 => ("header.module_pages", 0),
        };
        sample.set(field, &Value::Int(value)).unwrap();
        sample.rechecksum();
        assert_eq!(parse(sample.bytes()).err(), Some(Error::ModulePages(0)));
    }
}

#[test]
fn wrong_module_offsets_are_named() {
    for offset in [0, 1, 0xFFF, 0x1001, 0x1FFF, 0x2001, u32::MAX] {
        let value = Value::Int(offset.into());
        let (error, text) = refusal(Format::V100, "header.module_offset", value);
        assert_eq!(error, Error::ModuleOffset(offset));
        assert!(text.starts_with("module offset: "), "{text}");
    }
    for (offset, pages) in [(0x1000, 0), (0x3000, 2), (0xFFFF_F000, 0xF_FFFE)] {
        let (error, _) = refusal(Format::V100, "header.module_offset", Value::Int(offset));
        assert_eq!(error, Error::SigstructPages(pages));
    }
}

#[test]
fn a_wrong_length_field_is_named() {
    for length in [0, 1, 0x6FFF, 0x7001, 0x8000, u32::MAX] {
        let value = Value::Int(length.into());
        let (error, text) = refusal(Format::V100, "header.length", value);
        assert_eq!(
            error,
            Error::Length {
                expected: length as usize,
                len: 0x7000
            }
        );
        assert!(error.is_size());
        assert!(text.starts_with("size: "), "{text}");
    }
}

#[test]
fn a_wrong_checksum_is_named() {
    for format in FORMATS {
        let right = good(format).get_int("header.checksum").unwrap() as u16;
        for difference in [1, 0x100, 0x8000, 0xFFFF] {
            let value = Value::Int(right.wrapping_add(difference).into());
            let (error, text) = refusal(format, "header.checksum", value);
            assert_eq!(error, Error::Checksum { sum: difference });
            assert!(!error.is_size());
            assert!(text.starts_with("checksum: "), "{text}");
        }
    }
}

#[test]
fn a_file_that_ends_early_or_late_is_named() {
    for format in FORMATS {
        let bytes = good(format).into_bytes();
        for len in 0..PAGE {
            let error = parse(&bytes[..len]).err().unwrap();
            assert_eq!(error, Error::Truncated { len });
            assert!(error.is_size());
        }
        for len in PAGE..bytes.len() {
            let error = parse(&bytes[..len]).err().unwrap();
            assert_eq!(
                error,
                Error::Length {
                    expected: bytes.len(),
                    len
                }
            );
        }
        for more in [1, 2, PAGE, PAGE * 2] {
            let mut longer = bytes.clone();
            longer.resize(bytes.len() + more, 0);
            let error = parse(&longer).err().unwrap();
            assert_eq!(
                error,
                Error::Length {
                    expected: bytes.len(),
                    len: longer.len()
                }
            );
        }
    }
}

#[test]
fn a_module_of_no_whole_pages_is_a_wrong_size() {
    let mut bytes = good(Format::V100).into_bytes();
    bytes.extend_from_slice(&[0; 6]);
    let mut image = tdximage::Image::parse(bytes).unwrap();
    image.set("header.length", &Value::Int(0x7006)).unwrap();
    image.rechecksum();
    let error = parse(image.bytes()).err().unwrap();
    assert_eq!(
        error,
        Error::Length {
            expected: 0x7000,
            len: 0x7006
        }
    );
}

#[test]
fn a_file_longer_than_any_image_is_named() {
    for format in FORMATS {
        let spec = Spec {
            format,
            pages: MAX_MODULE_PAGES as u32,
            ..Spec::default()
        };
        let mut bytes = build(&spec).into_bytes();
        assert_eq!(bytes.len(), MAX_SIZE);
        bytes.push(0);
        let error = parse(&bytes).err().unwrap();
        assert_eq!(error, Error::TooLong { len: MAX_SIZE + 1 });
        assert!(error.is_size());
        assert!(error.to_string().starts_with("size: "));
    }
}

#[test]
fn what_lies_in_sigstruct_and_module_is_not_judged_here() {
    for format in FORMATS {
        for field in good(format)
            .fields()
            .filter(|field| field.name.starts_with("sigstruct."))
        {
            let bytes = with(format, field.name, Value::Flip);
            let image = parse(&bytes).unwrap();
            assert_well_formed(&bytes, &image);
        }
        let bytes = with(format, "module", Value::Flip);
        assert_well_formed(&bytes, &parse(&bytes).unwrap());
    }
}

/// An edit of an image's first bytes, of anything in it, or of its length.
#[derive(Clone, Debug)]
enum Edit {
    Header(usize, u32),
    Anywhere(prop::sample::Index, u8),
    Resize(usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let number = prop_oneof![
        any::<u32>(),
        0u32..4,
        (0u32..600).prop_map(|pages| pages * PAGE as u32),
        Just(0x100),
        Just(0x200),
    ];
    let edit = prop_oneof![
        (0usize..24, number).prop_map(|(offset, value)| Edit::Header(offset, value)),
        (any::<prop::sample::Index>(), any::<u8>())
            .prop_map(|(index, byte)| Edit::Anywhere(index, byte)),
        (0usize..12 * PAGE).prop_map(Edit::Resize),
        (0usize..12).prop_map(|pages| Edit::Resize(pages * PAGE)),
    ];
    prop::collection::vec(edit, 0..4)
}

fn formats() -> impl Strategy<Value = Format> {
    prop::sample::select(FORMATS.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..3 * PAGE),
    ) {
        prop_assert!(parse(&bytes).is_err());
    }

    #[test]
    fn whatever_is_taken_is_well_formed(
        format in formats(),
        edits in edits(),
        right_checksum: bool,
    ) {
        let mut bytes = good(format).into_bytes();
        for edit in edits {
            match edit {
                Edit::Header(offset, value) => {
                    if let Some(field) = bytes.get_mut(offset..offset + 4) {
                        field.copy_from_slice(&value.to_le_bytes());
                    }
                }
                Edit::Anywhere(index, byte) => {
                    if !bytes.is_empty() {
                        let at = index.index(bytes.len());
                        bytes[at] = byte;
                    }
                }
                Edit::Resize(len) => bytes.resize(len, 0),
            }
        }
        if right_checksum && bytes.len() >= 4 {
            bytes[2..4].fill(0);
            let sum = bytes.chunks(2).fold(0u16, |sum, word| {
                let high = word.get(1).copied().unwrap_or(0);
                sum.wrapping_add(u16::from_le_bytes([word[0], high]))
            });
            bytes[2..4].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
        }
        match parse(&bytes) {
            Ok(image) => assert_well_formed(&bytes, &image),
            Err(error) => prop_assert!(error.to_string().contains(": ")),
        }
    }

    #[test]
    fn no_single_bit_error_passes(
        format in formats(),
        at in any::<prop::sample::Index>(),
        bit in 0u32..8,
    ) {
        let mut bytes = good(format).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(parse(&bytes).is_err());
    }
}
