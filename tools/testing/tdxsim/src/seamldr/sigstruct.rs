// SPDX-License-Identifier: GPL-2.0

//! The sigstruct of a TDX module image: layout, P-SEAMLDR's checks of its fields, and its
//! signature.
//!
//! Layout and checks: the P-SEAMLDR source. That bytes 1000..1024 are not zero in images of the 2.0
//! line: the published images.

use std::ops::Range;

use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey};
use sha2::{Digest, Sha384};

use crate::module::SigstructHandoff;
use crate::status::Status;

/// Bytes in a sigstruct.
pub const SIGSTRUCT_SIZE: usize = 2048;

/// Most entries in the CPU table.
const MAX_CPUS: u32 = 255;
/// The stepping in CPUID.1:EAX.
const STEPPING: u32 = 0xF;
/// The signed parts: all but key and signature.
const SIGNED: [Range<usize>; 2] = [0..128, 900..SIGSTRUCT_SIZE];
const MODULUS: Range<usize> = 128..512;
const SIGNATURE: Range<usize> = 516..900;
/// Zero in the 1.5 line; version and build, in an unpublished layout, in the 2.0 line.
const RESERVED_1000: Range<usize> = 1000..1024;
/// Exception vectors, for each of which the fault wrapper table has an entry.
const EXCEPTION_VECTORS: u32 = 32;
/// Bytes in an entry of the fault wrapper table.
const FAULT_WRAPPER_SIZE: u32 = 16;
const PAGE_SIZE: u32 = 4096;

/// Pages that are kept for a module, however many it has.
const CODE_PAGES: u64 = 512;
/// Entries in a page table.
const TABLE_ENTRIES: u64 = 512;

/// Page tables of the three lower levels that map so many pages, from an address that they are
/// aligned to.
fn page_tables(pages: u64) -> u64 {
    let lowest = pages.div_ceil(TABLE_ENTRIES);
    let middle = lowest.div_ceil(TABLE_ENTRIES);
    lowest + middle + middle.div_ceil(TABLE_ENTRIES)
}

/// A sigstruct as it was read, nothing checked.
pub struct Sigstruct([u8; SIGSTRUCT_SIZE]);

impl Sigstruct {
    /// Takes the bytes of a sigstruct.
    pub fn new(bytes: [u8; SIGSTRUCT_SIZE]) -> Sigstruct {
        Sigstruct(bytes)
    }

    fn number(&self, offset: usize, len: usize) -> u64 {
        let bytes = &self.0[offset..offset + len];
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    fn u16(&self, offset: usize) -> u16 {
        self.number(offset, 2) as u16
    }

    fn u32(&self, offset: usize) -> u32 {
        self.number(offset, 4) as u32
    }

    fn is_zero(&self, range: Range<usize>) -> bool {
        self.0[range].iter().all(|byte| *byte == 0)
    }

    /// SHA-384 of the module's pages.
    pub fn module_hash(&self) -> &[u8] {
        &self.0[900..948]
    }

    /// Minor SVN.
    pub fn minor_svn(&self) -> u8 {
        self.0[948]
    }

    /// Major SVN.
    pub fn major_svn(&self) -> u8 {
        self.0[949]
    }

    /// What the module is told about handoff.
    pub fn handoff(&self) -> SigstructHandoff {
        SigstructHandoff {
            module_hv: self.u16(984),
            min_update_hv: self.u16(986),
            no_downgrade: self.0[988] != 0,
            handoff_pages: self.u16(990),
        }
    }

    /// The module is signed for platforms that are unlocked for debugging.
    pub fn is_debug_signed(&self) -> bool {
        self.u32(12) >> 31 != 0
    }

    /// How many CPUs are in the table.
    fn cpu_count(&self) -> u32 {
        self.u32(1024)
    }

    /// The checks of fields by themselves. A P-SEAMLDR of the 2.0 line takes version and build.
    pub fn check_fields(&self, takes_version_and_build: bool) -> Result<(), Status> {
        let expected = [
            (0, 6u32),
            (4, 0xE1),
            (8, 0x10000),
            (16, 0x8086),
            (24, 0x200),
            (28, 0x60),
            (32, 0x60),
            (36, 1),
            (512, 0x10001),
        ];
        let handoff = self.handoff();
        let (gdt_idt_offset, fault_wrapper_offset) = (self.u32(992), self.u32(996));
        let is_right = self.is_zero(40..128)
            && self.is_zero(978..984)
            && self.is_zero(989..990)
            && (takes_version_and_build || self.is_zero(RESERVED_1000))
            && expected
                .iter()
                .all(|(offset, value)| self.u32(*offset) == *value)
            && self.u32(12) & !(1 << 31) == 0
            && self.is_zero(950..958)
            && self.cpu_count() <= MAX_CPUS
            && handoff.min_update_hv <= handoff.module_hv
            && gdt_idt_offset % PAGE_SIZE == 0
            && (gdt_idt_offset == 0) == (fault_wrapper_offset == 0);
        if is_right {
            Ok(())
        } else {
            Err(Status::SEAMLDR_EBADSIG)
        }
    }

    /// Whether the offsets point into a module of this many pages.
    pub fn offsets_fit(&self, pages: u32) -> bool {
        let size = pages * PAGE_SIZE;
        let table = EXCEPTION_VECTORS * FAULT_WRAPPER_SIZE;
        self.u32(992) <= size - PAGE_SIZE && self.u32(996) <= size - table
    }

    /// Bytes of the SEAM range that a module of so many pages takes on a platform with so many LPs:
    /// a page of system information, a VMCS and a stack with its shadow stack for each LP, data of
    /// each LP, global data, handoff data, 2 MiB for the module itself, and the page tables.
    pub fn memory_needed(&self, module_pages: u64, lps: u64) -> u64 {
        // The fields hold one less.
        let pages = |offset, len| self.number(offset, len) + 1;
        let (stack, local) = (pages(962, 1) + 1, pages(963, 1));
        let (keyholes, global, handoff) = (pages(964, 2) * lps, pages(966, 2), pages(990, 2));
        let system = 1;
        let stacks = stack * lps;
        let data = local * lps + global + handoff;
        // The keyholes are addresses only; so are the entries that map them, 8 bytes each.
        let keyhole_entries = (keyholes * 8).div_ceil(u64::from(PAGE_SIZE));
        let mapped = [
            system,
            stacks,
            data,
            keyholes,
            keyhole_entries,
            module_pages,
        ];
        let tables: u64 = mapped.into_iter().map(page_tables).sum::<u64>() + 1;
        (system + lps + stacks + data + tables + CODE_PAGES) * u64::from(PAGE_SIZE)
    }

    /// SHA-384 of the modulus, which identifies the signer.
    pub fn signer(&self) -> [u8; 48] {
        Sha384::digest(&self.0[MODULUS]).into()
    }

    /// Whether the module may run on a CPU with this CPUID.1:EAX; `None` when the table is empty.
    pub fn supports_cpu(&self, signature: u32) -> Option<bool> {
        let count = self.cpu_count() as usize;
        let supported = (0..count)
            .map(|index| self.u32(1028 + index * 4))
            .any(|cpu| cpu & !STEPPING == signature & !STEPPING);
        (count > 0).then_some(supported)
    }

    /// Whether the signature is one of the signed parts by the key in the sigstruct: RSA-3072 with
    /// PKCS#1 v1.5 padding over SHA-384, numbers little-endian.
    pub fn is_signature_valid(&self) -> bool {
        let modulus = BigUint::from_bytes_le(&self.0[MODULUS]);
        let exponent = BigUint::from(self.u32(512));
        let Ok(key) = RsaPublicKey::new(modulus, exponent) else {
            return false;
        };
        let mut digest = Sha384::new();
        for part in SIGNED {
            digest.update(&self.0[part]);
        }
        let mut signature = self.0[SIGNATURE].to_vec();
        signature.reverse();
        key.verify(
            Pkcs1v15Sign::new::<Sha384>(),
            &digest.finalize(),
            &signature,
        )
        .is_ok()
    }
}
