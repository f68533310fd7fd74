// SPDX-License-Identifier: GPL-2.0

//! Images as a whole: bytes at exact offsets, and signature, hash and checksum verified by other
//! means than those that wrote them.

use std::sync::LazyLock;

use rsa::BigUint;
use sha2::{Digest, Sha384};
use tdximage::{published, Format, Image, Spec, Svn, TestKey, Value};

static KEY: LazyLock<TestKey> = LazyLock::new(|| TestKey::generate().unwrap());

fn build(spec: &Spec) -> Image {
    spec.build(&KEY).unwrap()
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(bytes[offset..offset + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

/// RSA by hand: the signature to the power of the exponent must be the PKCS#1 v1.5 encoding of the
/// digest (RFC 8017, 9.2), with the DER prefix of SHA-384.
fn signature_verifies(sigstruct: &[u8]) -> bool {
    let modulus = BigUint::from_bytes_le(&sigstruct[128..512]);
    let signature = BigUint::from_bytes_le(&sigstruct[516..900]);
    let exponent = BigUint::from(u32_at(sigstruct, 512));

    let mut signed = sigstruct[..128].to_vec();
    signed.extend_from_slice(&sigstruct[900..2048]);
    let mut expected = vec![0xFF; 384 - 2 - 19 - 48];
    expected[0] = 1;
    expected.push(0);
    expected.extend_from_slice(&hex::decode("3041300d060960864801650304020205000430").unwrap());
    expected.extend_from_slice(&Sha384::digest(&signed));
    signature.modpow(&exponent, &modulus).to_bytes_be() == expected
}

#[test]
fn header_0x200_at_exact_offsets() {
    let image = build(&Spec {
        pages: 5,
        ..Spec::default()
    });
    let bytes = image.bytes();
    assert_eq!(bytes.len(), (2 + 5) * 4096);
    assert_eq!(u16_at(bytes, 0), 0x200);
    assert_eq!(&bytes[4..12], b"TDX-BLOB");
    assert_eq!(u32_at(bytes, 12), 1);
    assert_eq!(u32_at(bytes, 16), 5);
    assert!(bytes[20..4096].iter().all(|byte| *byte == 0));
}

#[test]
fn header_0x100_at_exact_offsets() {
    let spec = Spec {
        format: Format::V100,
        pages: 5,
        sigstruct_pages: 2,
        ..Spec::default()
    };
    let image = build(&spec);
    let bytes = image.bytes();
    assert_eq!(bytes.len(), (3 + 5) * 4096);
    assert_eq!(u16_at(bytes, 0), 0x100);
    assert_eq!(u32_at(bytes, 4), 0x3000);
    assert_eq!(&bytes[8..16], b"TDX-BLOB");
    assert_eq!(u32_at(bytes, 16), 0x8000);
    assert!(bytes[20..4096].iter().all(|byte| *byte == 0));
    assert!(bytes[4096 + 2048..0x3000].iter().all(|byte| *byte == 0));
}

#[test]
fn sigstruct_at_exact_offsets() {
    let spec = Spec {
        svn: Svn { major: 3, minor: 9 },
        module_hv: 0x102,
        min_update_hv: 0x101,
        no_downgrade: true,
        handoff_pages: 24,
        date: 0x2026_0311,
        cpus: vec![0x806F8, 0xC06F0],
        reserved_1000: [0xA5; 24],
        ..Spec::default()
    };
    let image = build(&spec);
    let sigstruct = image.sigstruct();
    assert_eq!(sigstruct, &image.bytes()[4096..6144]);
    for (offset, value) in [
        (0, 6),
        (4, 0xE1),
        (8, 0x10000),
        (12, 0),
        (16, 0x8086),
        (20, 0x2026_0311),
        (24, 0x200),
        (28, 0x60),
        (32, 0x60),
        (36, 1),
        (512, 0x10001),
        (950, 0),
        (954, 0),
        (984, 0x0101_0102),
        (988, 0x0018_0001),
        (1024, 2),
        (1028, 0x806F8),
        (1032, 0xC06F0),
        (1036, 0),
    ] {
        assert_eq!(u32_at(sigstruct, offset), value, "offset {offset}");
    }
    assert_eq!(&sigstruct[128..512], KEY.modulus());
    assert_eq!(
        &sigstruct[900..948],
        Sha384::digest(&image.bytes()[8192..]).as_slice()
    );
    assert_eq!(sigstruct[948..950], [9, 3]);
    assert_eq!(sigstruct[1000..1024], [0xA5; 24]);
    for reserved in [40..128, 978..984, 989..990] {
        assert!(sigstruct[reserved].iter().all(|byte| *byte == 0));
    }
    // Offsets lie inside the module; GDT and IDT are page aligned and come with fault wrappers.
    let (gdt_idt, fault_wrapper) = (u32_at(sigstruct, 992), u32_at(sigstruct, 996));
    assert!(gdt_idt != 0 && gdt_idt % 4096 == 0 && gdt_idt < 16 * 4096);
    assert!(fault_wrapper != 0 && fault_wrapper < 16 * 4096);
    assert!(u32_at(sigstruct, 958) < 16 * 4096);
}

#[test]
fn offsets_of_a_tiny_module_lie_inside_it() {
    let image = build(&Spec {
        pages: 1,
        ..Spec::default()
    });
    assert_eq!(u32_at(image.sigstruct(), 992), 0);
    assert_eq!(u32_at(image.sigstruct(), 996), 0);
    assert!(u32_at(image.sigstruct(), 958) < 4096);
}

#[test]
fn signature_and_checksum_are_true() {
    for format in [Format::V100, Format::V200] {
        let image = build(&Spec {
            format,
            ..Spec::default()
        });
        assert!(signature_verifies(image.sigstruct()));
        let sum = image
            .bytes()
            .chunks_exact(2)
            .map(|word| u32_at(&[word[0], word[1], 0, 0], 0));
        assert_eq!(sum.map(u64::from).sum::<u64>() & 0xFFFF, 0);
        assert!(image.checksum_is_right());
        assert!(image.hash_is_right());
        assert!(image.signature_is_right());
    }
}

#[test]
fn images_are_reproducible_and_seeds_differ() {
    let spec = Spec::default();
    assert_eq!(build(&spec), build(&spec));
    let other = build(&Spec {
        seed: 1,
        ..spec.clone()
    });
    assert_ne!(build(&spec).module(), other.module());
    assert_eq!(build(&spec).module()[..4096], other.module()[..4096]);
}

#[test]
fn parsing_finds_the_same_parts() {
    for format in [Format::V100, Format::V200] {
        for sigstruct_pages in [1, 3] {
            let image = build(&Spec {
                format,
                sigstruct_pages,
                ..Spec::default()
            });
            assert_eq!(Image::parse(image.bytes().to_vec()).unwrap(), image);
        }
    }
}

#[test]
fn both_formats_have_the_same_contents() {
    let v200 = build(&Spec::default());
    let v100 = build(&Spec {
        format: Format::V100,
        ..Spec::default()
    });
    assert_eq!(v100.sigstruct(), v200.sigstruct());
    assert_eq!(v100.module(), v200.module());
}

#[test]
fn every_change_of_a_field_is_a_change_of_that_field_alone() {
    for format in [Format::V100, Format::V200] {
        let good = build(&Spec {
            format,
            ..Spec::default()
        });
        for field in good.fields() {
            let mut bad = good.clone();
            bad.set(field.name, &Value::Flip).unwrap();
            let range = good.locate(field.name).unwrap();
            assert_eq!(bad.bytes()[range.start], good.bytes()[range.start] ^ 1);
            let differing = bad
                .bytes()
                .iter()
                .zip(good.bytes())
                .filter(|(a, b)| a != b)
                .count();
            assert_eq!(differing, 1, "{}", field.name);
            assert!(!bad.checksum_is_right(), "{}", field.name);
            bad.rechecksum();
            assert!(bad.checksum_is_right(), "{}", field.name);
        }
    }
}

#[test]
fn a_changed_field_breaks_the_signature_unless_signed_again() {
    let mut image = build(&Spec::default());
    image.set("sigstruct.vendor", &Value::Int(0x8087)).unwrap();
    assert!(!image.signature_is_right());
    assert!(!signature_verifies(image.sigstruct()));
    image.resign(&KEY).unwrap();
    assert!(image.signature_is_right());
    assert!(signature_verifies(image.sigstruct()));
    assert!(!image.checksum_is_right());
}

#[test]
fn a_changed_module_breaks_the_hash_only() {
    let mut image = build(&Spec::default());
    image.set("module", &Value::Flip).unwrap();
    assert!(!image.hash_is_right());
    assert!(image.signature_is_right());
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let mut image = build(&Spec::default());
    let before = image.clone();
    assert!(image
        .set("sigstruct.no_downgrade", &Value::Int(256))
        .is_err());
    assert!(image
        .set("sigstruct.vendor", &Value::Bytes(vec![1; 5]))
        .is_err());
    assert!(image.set("sigstruct.modulus", &Value::Int(1)).is_err());
    assert!(image.set("header.length", &Value::Int(1)).is_err());
    assert!(image.write_at(image.bytes().len() - 1, &[1, 1]).is_err());
    assert!(image.write_at(usize::MAX, &[1]).is_err());
    assert_eq!(image, before);
}

#[test]
fn specs_that_cannot_be_are_refused() {
    for spec in [
        Spec {
            pages: 0,
            ..Spec::default()
        },
        Spec {
            pages: 497,
            ..Spec::default()
        },
        Spec {
            sigstruct_pages: 0,
            ..Spec::default()
        },
        Spec {
            cpus: vec![0; 256],
            ..Spec::default()
        },
        Spec {
            date: 0x2026_010A,
            ..Spec::default()
        },
    ] {
        assert!(spec.build(&KEY).is_err(), "{spec:?}");
    }
}

#[test]
fn files_that_are_no_images_are_refused() {
    let good = build(&Spec::default()).into_bytes();
    assert!(Image::parse(good[..8191].to_vec()).is_err());
    for (offset, byte) in [(0, 1), (4, b'X'), (12, 200), (15, 0xFF)] {
        let mut bad = good.clone();
        bad[offset] = byte;
        assert!(Image::parse(bad).is_err(), "offset {offset}");
    }
}

#[test]
fn a_key_survives_its_pem_and_others_are_refused() {
    let pem = KEY.to_pem().unwrap();
    assert_eq!(TestKey::from_pem(&pem).unwrap().modulus(), KEY.modulus());
    assert!(TestKey::from_pem("no key").is_err());

    use rsa::pkcs8::{EncodePrivateKey, LineEnding};
    let short = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    assert!(TestKey::from_pem(&short.to_pkcs8_pem(LineEnding::LF).unwrap()).is_err());
}

#[test]
fn published_images_have_their_facts() {
    for version in published::versions() {
        let spec = published::spec(version).unwrap();
        let image = build(&spec);
        let sigstruct = image.sigstruct();
        let line_2_0 = version.starts_with("2.0");
        assert_eq!(image.format(), Format::V100);
        assert_eq!(sigstruct[949], if line_2_0 { 3 } else { 1 });
        assert_eq!(u16_at(sigstruct, 990), if line_2_0 { 24 } else { 13 });
        assert_eq!(
            sigstruct[1000..1024].iter().any(|byte| *byte != 0),
            line_2_0
        );
        assert_eq!(u16_at(sigstruct, 984), 0);
        assert_eq!(sigstruct[988], 0);
        let pages = (image.module().len() / 4096) as u32;
        assert!(if line_2_0 {
            (131..=146).contains(&pages)
        } else {
            (101..=115).contains(&pages)
        });
    }
    assert!(published::spec("1.5.25").is_none());
}
