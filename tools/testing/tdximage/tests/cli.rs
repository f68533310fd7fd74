// SPDX-License-Identifier: GPL-2.0

//! The command line, as the VM harness and the kselftests call it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tdximage::{Format, Image};

fn tdximage(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tdximage"))
        .args(args)
        .output()
        .unwrap()
}

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&path);
    path
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn from_key_to_image_to_show() {
    let (key, file) = (scratch("cli.pem"), scratch("cli.img"));
    let (key, file) = (key.to_str().unwrap(), file.to_str().unwrap());

    assert!(tdximage(&["keygen", key]).status.success());
    assert!(
        !tdximage(&["keygen", key]).status.success(),
        "an existing key is never overwritten"
    );
    let signer = text(&tdximage(&["signer", key]).stdout).trim().to_owned();
    assert_eq!(signer.len(), 96);

    let make = |more: &[&str]| {
        let out = tdximage(&[&["make", "--key", key, "--output", file], more].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
        Image::parse(std::fs::read(file).unwrap()).unwrap()
    };

    let image = make(&[
        "--format",
        "0x100",
        "--version",
        "1.5.99",
        "--svn",
        "1.7",
        "--hv",
        "3",
        "--min-hv",
        "2",
        "--no-downgrade",
        "--cpu",
        "0x806F8",
        "--cpu",
        "0xC06F0",
        "--pages",
        "9",
        "--profile",
        "connect",
        "--descriptor",
        "wall_clock=true",
        "--handoff-pages",
        "20",
        "--date",
        "20251231",
        "--seed",
        "7",
    ]);
    assert_eq!(image.format(), Format::V100);
    for (name, value) in [
        ("minor_svn", 7),
        ("major_svn", 1),
        ("module_hv", 3),
        ("min_update_hv", 2),
        ("no_downgrade", 1),
        ("handoff_pages", 20),
        ("date", 0x2025_1231),
        ("cpu_count", 2),
    ] {
        assert_eq!(
            image.get_int(&format!("sigstruct.{name}")).unwrap(),
            value,
            "{name}"
        );
    }
    assert_eq!(image.module().len(), 9 * 4096);

    let shown = tdximage(&["show", file]);
    let shown = text(&shown.stdout);
    for line in [
        "header.version: 0x100",
        "sigstruct.vendor: 0x8086",
        "sigstruct.cpu_table: 0x806F8 0xC06F0",
        "module.descriptor.profile: \"connect\"",
        "module.descriptor.version: \"1.5.99\"",
        "module.descriptor.wall_clock: true",
        "checksum: right",
        "hash: right",
        "signature: right",
        &format!("signer: {signer}"),
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} not in\n{shown}"
        );
    }

    // Published facts, overridden where asked for.
    let image = make(&["--like", "2.0.08", "--format", "0x200", "--hv", "1"]);
    assert_eq!(image.format(), Format::V200);
    assert_eq!(image.get_int("sigstruct.major_svn").unwrap(), 3);
    assert_eq!(image.get_int("sigstruct.module_hv").unwrap(), 1);
    assert_eq!(image.get_int("sigstruct.no_downgrade").unwrap(), 0);

    let shown = tdximage(&["show", file]);
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("module.descriptor.profile: \"tdx-2.0.08\"\n"),
        "{shown}"
    );
    assert!(
        shown.contains("module.descriptor.version: \"2.0.08\"\n"),
        "{shown}"
    );

    // Spoiled images.
    let image = make(&["--corrupt", "sigstruct.module_type=0x80000000"]);
    assert!(!image.signature_is_right() && !image.checksum_is_right());
    let image = make(&[
        "--corrupt",
        "sigstruct.module_type=0x80000000",
        "--resign",
        "--rechecksum",
    ]);
    assert_eq!(image.get_int("sigstruct.module_type").unwrap(), 0x8000_0000);
    assert!(image.signature_is_right() && image.checksum_is_right());
    let image = make(&["--corrupt-at", "0x2000=00ff", "--rechecksum"]);
    assert!(!image.hash_is_right() && image.signature_is_right() && image.checksum_is_right());
    let image = make(&["--no-cpus"]);
    assert_eq!(image.get_int("sigstruct.cpu_count").unwrap(), 0);
    assert!(image.signature_is_right());

    // What cannot be done is said, with a status of its own.
    for bad in [
        ["--corrupt", "sigstruct.nonsense=1"],
        ["--corrupt", "sigstruct.vendor"],
        ["--corrupt-at", "0xFFFFFFF=00"],
        ["--corrupt-at", "0=0"],
        ["--format", "0x300"],
        ["--like", "9.9.99"],
        ["--date", "2026010A"],
        ["--hv", "65536"],
        ["--pages", "0"],
        ["--svn", "1"],
    ] {
        let out = tdximage(&[&["make", "--key", key, "--output", file], &bad[..]].concat());
        assert!(!out.status.success(), "{bad:?}");
        assert!(!out.stderr.is_empty(), "{bad:?}");
    }
    assert!(!tdximage(&["show", key]).status.success());
}

#[test]
fn every_field_is_listed() {
    for format in ["0x100", "0x200"] {
        let out = tdximage(&["fields", "--format", format]);
        let listed = text(&out.stdout).lines().count();
        assert_eq!(listed, 6 + tdximage::layout::SIGSTRUCT.len());
    }
}
