// SPDX-License-Identifier: GPL-2.0

//! What an image shall hold, and the making of it.
//!
//! The rules for the sigstruct's values are those of Intel's P-SEAMLDR source; what a [`Spec`] does
//! not name gets a value that P-SEAMLDR accepts.

use std::fmt;
use std::str::FromStr;

use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha384};
use toml::Table;

use crate::descriptor;
use crate::image::Image;
use crate::key::{TestKey, EXPONENT};
use crate::layout::{Format, BLOB_SIGNATURE, MAX_CPUS, MAX_MODULE_PAGES, PAGE_SIZE};
use crate::Error;

/// A security version number, as sigstruct and P-SEAMLDR have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Svn {
    /// An update must keep it.
    pub major: u8,
    /// An update must not lower it.
    pub minor: u8,
}

impl FromStr for Svn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Svn, Error> {
        let bad = || Error::Spec(format!("`{text}` is not MAJOR.MINOR, each 0 to 255"));
        let (major, minor) = text.split_once('.').ok_or_else(bad)?;
        Ok(Svn {
            major: major.parse().map_err(|_| bad())?,
            minor: minor.parse().map_err(|_| bad())?,
        })
    }
}

impl fmt::Display for Svn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What an image shall hold. The default is a small module of the 1.5 line for Sapphire
/// Rapids, which hands off as 1.5.25 does.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The image's format.
    pub format: Format,
    /// The module's version, which only the descriptor holds. `None`: what the descriptor's profile
    /// says.
    pub version: Option<String>,
    /// The security version number.
    pub svn: Svn,
    /// The handoff version that the module writes.
    pub module_hv: u16,
    /// The lowest handoff version that the module reads.
    pub min_update_hv: u16,
    /// Whether the module refuses to hand off to one of a lower handoff version.
    pub no_downgrade: bool,
    /// The handoff-pages *field*: one less than the pages.
    pub handoff_pages: u16,
    /// The build date in BCD: 0x20260131 is the last day of January 2026.
    pub date: u32,
    /// CPUID.1:EAX of the CPUs that may run the module; the stepping is not compared.
    pub cpus: Vec<u32>,
    /// Pages that the sigstruct takes in the file. P-SEAMLDR takes one.
    pub sigstruct_pages: u32,
    /// Module pages, the descriptor's included.
    pub pages: u32,
    /// Bytes 1000..1024 of the sigstruct.
    pub reserved_1000: [u8; 24],
    /// The descriptor's keys besides the version: a `profile`, and what differs from it.
    pub descriptor: Table,
    /// Seed of the noise in the module pages.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            format: Format::V200,
            version: None,
            svn: Svn {
                major: 1,
                minor: 12,
            },
            module_hv: 1,
            min_update_hv: 0,
            no_downgrade: true,
            handoff_pages: 13,
            date: 0x2026_0101,
            cpus: vec![0x806F8],
            sigstruct_pages: 1,
            pages: 16,
            reserved_1000: [0; 24],
            descriptor: Table::new(),
            seed: 0,
        }
    }
}

impl Spec {
    /// Makes the image and signs it. The same spec and key give the same bytes.
    ///
    /// Fails where the image would not be what was asked for: no module page or more than 496, no
    /// sigstruct page, more than 255 CPUs, a date that is no BCD, a descriptor that exceeds its page.
    /// What is merely illegal, P-SEAMLDR is left to refuse.
    pub fn build(&self, key: &TestKey) -> Result<Image, Error> {
        self.check()?;

        let module = self.module()?;
        let sigstruct_len = self.sigstruct_pages as usize * PAGE_SIZE;
        let mut bytes = vec![0; PAGE_SIZE + sigstruct_len];
        bytes.extend_from_slice(&module);

        let mut image = Image::new(bytes, self.format, sigstruct_len);
        self.fill_header(&mut image)?;
        self.fill_sigstruct(&mut image, key, &module)?;
        image.resign(key)?;
        image.rechecksum();
        Ok(image)
    }

    fn check(&self) -> Result<(), Error> {
        if self.pages == 0 || self.pages > MAX_MODULE_PAGES {
            return Err(Error::Spec(format!(
                "{} module pages, not 1 to 496",
                self.pages
            )));
        }
        if self.sigstruct_pages == 0 || self.sigstruct_pages > 16 {
            return Err(Error::Spec(format!(
                "{} sigstruct pages, not 1 to 16",
                self.sigstruct_pages
            )));
        }
        if self.cpus.len() > MAX_CPUS {
            return Err(Error::Spec(format!(
                "{} CPUs, the table has 255",
                self.cpus.len()
            )));
        }
        let mut digits = self.date;
        while digits != 0 {
            if digits & 0xF > 9 {
                return Err(Error::Spec(format!("date {:#x} is not BCD", self.date)));
            }
            digits >>= 4;
        }
        Ok(())
    }

    /// The module's pages: the descriptor, zero padded to its page, then noise.
    fn module(&self) -> Result<Vec<u8>, Error> {
        let mut table = self.descriptor.clone();
        if let Some(version) = &self.version {
            table.insert("version".to_owned(), version.as_str().into());
        }

        let mut module = descriptor::encode(&table)?;
        module.resize(PAGE_SIZE, 0);
        module.resize(self.pages as usize * PAGE_SIZE, 0);
        ChaCha8Rng::seed_from_u64(self.seed).fill_bytes(&mut module[PAGE_SIZE..]);
        Ok(module)
    }

    fn fill_header(&self, image: &mut Image) -> Result<(), Error> {
        image.set_int("header.version", self.format.version().into())?;
        image.set_bytes("header.signature", &BLOB_SIGNATURE)?;
        match self.format {
            Format::V100 => {
                let module_offset = PAGE_SIZE + self.sigstruct_pages as usize * PAGE_SIZE;
                image.set_int("header.module_offset", module_offset as u64)?;
                image.set_int("header.length", image.bytes().len() as u64)
            }
            Format::V200 => {
                image.set_int("header.sigstruct_pages", self.sigstruct_pages.into())?;
                image.set_int("header.module_pages", self.pages.into())
            }
        }
    }

    fn fill_sigstruct(&self, image: &mut Image, key: &TestKey, module: &[u8]) -> Result<(), Error> {
        // The tables need a page each; a module too small for them has none, which is legal.
        let (gdt_idt_offset, fault_wrapper_offset) = if self.pages >= 4 {
            (0x1000, 0x2000)
        } else {
            (0, 0)
        };
        let table_len = u64::try_from(self.cpus.len()).unwrap_or(u64::MAX);

        for (name, value) in [
            ("header_type", 6),
            ("header_length", 0xE1),
            ("header_version", 0x10000),
            ("vendor", 0x8086),
            ("date", self.date.into()),
            ("size", 0x200),
            ("key_size", 0x60),
            ("modulus_size", 0x60),
            ("exponent_size", 1),
            ("exponent", EXPONENT.into()),
            ("minor_svn", self.svn.minor.into()),
            ("major_svn", self.svn.major.into()),
            ("rip_offset", 0x40),
            ("stack_pages", 7),
            ("tls_pages", 7),
            ("keyhole_pages", 127),
            ("global_data_pages", 15),
            ("module_hv", self.module_hv.into()),
            ("min_update_hv", self.min_update_hv.into()),
            ("no_downgrade", self.no_downgrade.into()),
            ("handoff_pages", self.handoff_pages.into()),
            ("gdt_idt_offset", gdt_idt_offset),
            ("fault_wrapper_offset", fault_wrapper_offset),
            ("cpu_count", table_len),
        ] {
            image.set_int(&format!("sigstruct.{name}"), value)?;
        }

        let cpu_table: Vec<u8> = self.cpus.iter().flat_map(|cpu| cpu.to_le_bytes()).collect();
        image.set_bytes("sigstruct.cpu_table", &cpu_table)?;
        image.set_bytes("sigstruct.reserved_1000", &self.reserved_1000)?;
        image.set_bytes("sigstruct.modulus", &key.modulus())?;
        image.set_bytes("sigstruct.module_hash", &Sha384::digest(module))
    }
}
