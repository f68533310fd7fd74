// SPDX-License-Identifier: GPL-2.0

//! `sigstruct.rs`: what is read where, and which field breaks which rule of P-SEAMLDR's.

use proptest::prelude::*;
use tdximage::{key, Format, Image, Spec, Value};

use crate::image::SIGSTRUCT_SIZE;
use crate::samples::{build, good, KEY};
use crate::sigstruct::{Field, Signer, Sigstruct};

/// Pages in the module of the small image.
const PAGES: u64 = 5;

fn bytes(image: &Image) -> &[u8; SIGSTRUCT_SIZE] {
    image.sigstruct().try_into().unwrap()
}

/// The fields of the small image that break a rule once one of them has another value.
fn broken(field: &str, value: Value) -> Vec<Field> {
    let mut image = good(Format::V200);
    image.set(field, &value).unwrap();
    broken_in(&image)
}

fn broken_in(image: &Image) -> Vec<Field> {
    let sigstruct = Sigstruct::new(bytes(image));
    Field::ALL
        .iter()
        .copied()
        .filter(|&field| !sigstruct.holds(field, image.module().len()))
        .collect()
}

#[test]
fn fields_are_read_where_they_are_written() {
    let image = build(&Spec {
        svn: tdximage::Svn { major: 3, minor: 9 },
        module_hv: 0x203,
        min_update_hv: 0x102,
        date: 0x2025_1231,
        cpus: vec![0x806F8, 0xC06F0, 0xA06F1],
        ..Spec::default()
    });
    let sigstruct = Sigstruct::new(bytes(&image));
    assert_eq!(sigstruct.modulus(), &KEY.modulus());
    assert_eq!(
        sigstruct.signature().as_slice(),
        image.get_bytes("sigstruct.signature").unwrap()
    );
    assert_eq!(
        sigstruct.module_hash().as_slice(),
        image.get_bytes("sigstruct.module_hash").unwrap()
    );
    assert_eq!((sigstruct.svn().major, sigstruct.svn().minor), (3, 9));
    assert_eq!(sigstruct.svn().to_string(), "3.9");
    assert_eq!(sigstruct.handoff_versions().min, 0x102);
    assert_eq!(sigstruct.handoff_versions().max, 0x203);
    assert_eq!(sigstruct.date(), 0x2025_1231);
    assert!(!sigstruct.is_debug());
    assert_eq!(
        sigstruct.cpus().collect::<Vec<_>>(),
        [0x806F8, 0xC06F0, 0xA06F1]
    );
}

#[test]
fn the_signature_is_over_what_is_said_to_be_signed() {
    let image = good(Format::V200);
    let sigstruct = Sigstruct::new(bytes(&image));
    let mut digest = <sha2::Sha384 as sha2::Digest>::new();
    for part in sigstruct.signed() {
        sha2::Digest::update(&mut digest, part);
    }
    let digest: [u8; 48] = sha2::Digest::finalize(digest).into();
    assert_eq!(digest, key::signed_digest(image.sigstruct()));
}

#[test]
fn a_good_sigstruct_breaks_no_rule() {
    assert_eq!(broken_in(&good(Format::V200)), []);
    for version in tdximage::published::versions() {
        let image = build(&tdximage::published::spec(version).unwrap());
        assert_eq!(broken_in(&image), [], "{version}");
    }
    // The smallest module has room for no tables and needs none.
    assert_eq!(
        broken_in(&build(&Spec {
            pages: 1,
            ..Spec::default()
        })),
        []
    );
}

#[test]
fn each_rule_names_its_field() {
    let number = Value::Int;
    let reserved = Value::Bytes(vec![0, 0x80]);
    let size = PAGES * 4096;
    for (name, value, field) in [
        ("header_type", number(5), Field::HeaderType),
        ("header_type", number(0x1_0006), Field::HeaderType),
        ("header_length", number(0xE0), Field::HeaderLength),
        ("header_version", number(0x1_0001), Field::HeaderVersion),
        ("module_type", number(1), Field::ModuleType),
        ("module_type", number(0x4000_0000), Field::ModuleType),
        ("module_type", number(0xC000_0000), Field::ModuleType),
        ("vendor", number(0x8087), Field::Vendor),
        ("vendor", number(0x1_8086), Field::Vendor),
        ("size", number(0x1FF), Field::Size),
        ("key_size", number(0x40), Field::KeySize),
        ("modulus_size", number(0x80), Field::ModulusSize),
        ("exponent_size", number(2), Field::ExponentSize),
        ("exponent", number(3), Field::Exponent),
        ("reserved_40", Value::Flip, Field::Reserved),
        ("reserved_40", reserved.clone(), Field::Reserved),
        ("reserved_978", Value::Flip, Field::Reserved),
        ("reserved_978", reserved, Field::Reserved),
        ("reserved_989", Value::Flip, Field::Reserved),
        ("attributes", number(1), Field::Attributes),
        ("attributes", number(1 << 63), Field::Attributes),
        ("min_update_hv", number(2), Field::MinUpdateHv),
        ("rip_offset", number(size), Field::RipOffset),
        ("rip_offset", number(0xFFFF_FFFF), Field::RipOffset),
        ("gdt_idt_offset", number(0x1001), Field::GdtIdtOffset),
        ("gdt_idt_offset", number(size), Field::GdtIdtOffset),
        ("gdt_idt_offset", number(0xFFFF_F000), Field::GdtIdtOffset),
        ("gdt_idt_offset", number(0), Field::FaultWrapperOffset),
        ("fault_wrapper_offset", number(0), Field::FaultWrapperOffset),
        (
            "fault_wrapper_offset",
            number(size),
            Field::FaultWrapperOffset,
        ),
        (
            "fault_wrapper_offset",
            number(0xFFFF_FFFF),
            Field::FaultWrapperOffset,
        ),
        ("cpu_count", number(0), Field::CpuidCount),
        ("cpu_count", number(256), Field::CpuidCount),
        ("cpu_count", number(0xFFFF_FFFF), Field::CpuidCount),
    ] {
        assert_eq!(
            broken(&format!("sigstruct.{name}"), value.clone()),
            [field],
            "{name} {value:?}"
        );
    }
}

#[test]
fn the_fault_wrappers_need_room_for_every_vector() {
    // 32 vectors of 16 bytes: P-SEAMLDR source, `NUM_OF_EXCEPTION_VECTORS` and
    // `SEAM_MODULE_EXCEPTION_HANDLER_SIZE`.
    let last = PAGES * 4096 - 32 * 16;
    assert_eq!(
        broken("sigstruct.fault_wrapper_offset", Value::Int(last)),
        []
    );
    assert_eq!(
        broken("sigstruct.fault_wrapper_offset", Value::Int(last + 1)),
        [Field::FaultWrapperOffset],
    );
}

#[test]
fn values_at_the_edge_of_a_rule_hold() {
    for (name, value) in [
        ("module_type", 1 << 31),
        ("min_update_hv", 1),
        ("rip_offset", PAGES * 4096 - 1),
        ("gdt_idt_offset", (PAGES - 1) * 4096),
        ("cpu_count", 1),
        ("cpu_count", 255),
        ("minor_svn", 255),
        ("handoff_pages", 0xFFFF),
    ] {
        assert_eq!(
            broken(&format!("sigstruct.{name}"), Value::Int(value)),
            [],
            "{name} {value}"
        );
    }
    // Published images of the 2.0 line have version and build here.
    assert_eq!(
        broken("sigstruct.reserved_1000", Value::Bytes(vec![0xFF; 24])),
        []
    );
}

#[test]
fn all_broken_fields_are_given() {
    let mut image = good(Format::V200);
    for name in ["vendor", "exponent", "attributes"] {
        image
            .set(&format!("sigstruct.{name}"), &Value::Flip)
            .unwrap();
    }
    assert_eq!(
        broken_in(&image),
        [Field::Vendor, Field::Exponent, Field::Attributes]
    );
}

#[test]
fn the_debug_bit_is_bit_31_of_the_module_type() {
    let mut image = good(Format::V200);
    image
        .set("sigstruct.module_type", &Value::Int(1 << 31))
        .unwrap();
    assert!(Sigstruct::new(bytes(&image)).is_debug());
    image
        .set(
            "sigstruct.module_type",
            &Value::Int(!(1 << 31) & 0xFFFF_FFFF),
        )
        .unwrap();
    assert!(!Sigstruct::new(bytes(&image)).is_debug());
}

#[test]
fn a_signer_survives_its_hexadecimal_form() {
    let signer = Signer(good(Format::V200).signer());
    let text = signer.to_string();
    assert_eq!(text, hex::encode(signer.0));
    assert!(Signer::parse(text.as_bytes()) == Some(signer));
    assert!(Signer::parse(text.to_uppercase().as_bytes()) == Some(signer));
    for bad in [
        "",
        &text[1..],
        &text[2..],
        &format!("{text}00"),
        &text.replacen(|_| true, "g", 1),
    ] {
        assert!(Signer::parse(bad.as_bytes()).is_none(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_sigstruct_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), SIGSTRUCT_SIZE),
        size in 0usize..3_000_000,
    ) {
        let bytes: [u8; SIGSTRUCT_SIZE] = bytes.try_into().unwrap();
        let sigstruct = Sigstruct::new(&bytes);
        prop_assert!(sigstruct.cpus().count() <= 255);
        for &field in Field::ALL {
            sigstruct.holds(field, size);
        }
        prop_assert_eq!(sigstruct.signed()[0].len() + sigstruct.signed()[1].len(), 1276);
        prop_assert_eq!(sigstruct.handoff_versions().contains(7), {
            let (min, max) = (u16::from_le_bytes([bytes[986], bytes[987]]),
                              u16::from_le_bytes([bytes[984], bytes[985]]));
            min <= 7 && 7 <= max
        });
    }
}
