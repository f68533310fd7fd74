// SPDX-License-Identifier: GPL-2.0

//! Facts of images that Intel has published, so that tests meet what operators have.
//!
//! Source: the images in Intel's repository of TDX module binaries. The CPU tables, SVNs, handoff
//! fields and handoff versions are theirs; page counts are theirs for the first and the last of each
//! line and lie between those for the others.

use toml::Table;

use crate::spec::{Spec, Svn};

/// One published module.
struct Module {
    version: &'static str,
    /// The simulator's profile that comes nearest.
    profile: &'static str,
    svn: Svn,
    pages: u32,
    handoff_pages: u16,
    cpus: &'static [u32],
    /// Bytes 1000..1024. Zero in the 1.5 line. The 2.0 line has version and build there, in a layout
    /// that no public source describes; what matters to tests is that they are not zero, which the
    /// P-SEAMLDR source of the 1.5 line would refuse.
    reserved_1000: [u8; 24],
}

const fn version_and_build(version: [u8; 3], build: u16) -> [u8; 24] {
    let mut bytes = [0; 24];
    let build = build.to_le_bytes();
    bytes[0] = version[0];
    bytes[2] = version[1];
    bytes[4] = version[2];
    bytes[8] = build[0];
    bytes[9] = build[1];
    bytes
}

const MODULES: [Module; 5] = [
    Module {
        version: "1.5.01",
        profile: "tdx-1.5.16",
        svn: Svn { major: 1, minor: 4 },
        pages: 101,
        handoff_pages: 13,
        cpus: &[0x806F8, 0xC06F0],
        reserved_1000: [0; 24],
    },
    Module {
        version: "1.5.05",
        profile: "tdx-1.5.16",
        svn: Svn { major: 1, minor: 5 },
        pages: 104,
        handoff_pages: 13,
        cpus: &[0x806F8, 0xC06F0, 0xA06F0],
        reserved_1000: [0; 24],
    },
    Module {
        version: "1.5.16",
        profile: "tdx-1.5.16",
        svn: Svn {
            major: 1,
            minor: 11,
        },
        pages: 115,
        handoff_pages: 13,
        cpus: &[0x806F8, 0xC06F0, 0xA06F0],
        reserved_1000: [0; 24],
    },
    Module {
        version: "2.0.02",
        profile: "tdx-2.0.08",
        svn: Svn { major: 3, minor: 3 },
        pages: 131,
        handoff_pages: 24,
        cpus: &[0xA06D0],
        reserved_1000: version_and_build([2, 0, 2], 900),
    },
    Module {
        version: "2.0.08",
        profile: "tdx-2.0.08",
        svn: Svn { major: 3, minor: 5 },
        pages: 146,
        handoff_pages: 24,
        cpus: &[0xA06D0, 0xA06E0],
        reserved_1000: version_and_build([2, 0, 8], 1000),
    },
];

/// The versions that [`spec`] knows.
pub fn versions() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|module| module.version)
}

/// An image like the published one of that version, in the format in which it was published; signed
/// by a test key it differs in key, signature and contents.
pub fn spec(version: &str) -> Option<Spec> {
    let module = MODULES.iter().find(|module| module.version == version)?;
    let mut descriptor = Table::new();
    descriptor.insert("profile".to_owned(), module.profile.into());
    Some(Spec {
        format: crate::Format::V100,
        version: Some(module.version.to_owned()),
        svn: module.svn,
        pages: module.pages,
        module_hv: 0,
        min_update_hv: 0,
        no_downgrade: false,
        handoff_pages: module.handoff_pages,
        cpus: module.cpus.to_vec(),
        reserved_1000: module.reserved_1000,
        descriptor,
        ..Spec::default()
    })
}
