// SPDX-License-Identifier: GPL-2.0

//! The sigstruct of a TDX module: who signed it, what for, and what it can follow.
//!
//! Layout and rules are those of the published P-SEAMLDR source, which refuses a module that
//! breaks one of them. All integers are little-endian.
//!
//! This file uses `core` alone; see `image.rs`.

use core::{
    fmt,
    ops::Range, //
};

use crate::image::{
    bytes_at,
    u16_at,
    u32_at,
    SIGSTRUCT_SIZE, //
};

/// Length of a SHA-384, in bytes.
pub(crate) const SHA384_SIZE: usize = 48;

/// Length of an RSA-3072 modulus or signature, in bytes.
pub(crate) const RSA_SIZE: usize = 384;

/// Who has signed a module: the SHA-384 of the key's modulus as it is in the sigstruct.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Signer(pub(crate) [u8; SHA384_SIZE]);

impl Signer {
    /// The signer in hexadecimal digits, two a byte.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        // CAST: A digit is below 16.
        let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
        let mut signer = [0; SHA384_SIZE];

        if text.len() != 2 * SHA384_SIZE {
            return None;
        }
        for (byte, digits) in signer.iter_mut().zip(text.chunks_exact(2)) {
            let &[high, low] = digits else { return None };
            *byte = (digit(high)? << 4) | digit(low)?;
        }
        Some(Self(signer))
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The security version of a TDX module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Svn {
    pub(crate) major: u8,
    pub(crate) minor: u8,
}

impl fmt::Display for Svn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The handoff versions that a TDX module can take over from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HandoffVersions {
    pub(crate) min: u16,
    pub(crate) max: u16,
}

impl HandoffVersions {
    /// Whether a module of these versions takes handoff data of version `hv` over.
    pub(crate) fn contains(&self, hv: u16) -> bool {
        (self.min..=self.max).contains(&hv)
    }
}

impl fmt::Display for HandoffVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// A sigstruct. Nothing is known of its fields.
#[derive(Clone, Copy)]
pub(crate) struct Sigstruct<'a>(&'a [u8; SIGSTRUCT_SIZE]);

impl<'a> Sigstruct<'a> {
    const MODULUS: usize = 128;
    const SIGNATURE: usize = 516;
    const MODULE_HASH: usize = 900;
    const MAX_HV: usize = 984;
    const MIN_HV: usize = 986;
    const GDT_IDT: usize = 992;
    const FAULT_WRAPPER: usize = 996;
    const VERSION: Range<usize> = 1000..1024;
    const NR_CPUS: usize = 1024;
    const CPUS: usize = 1028;

    /// The sigstruct in `bytes`.
    pub(crate) fn new(bytes: &'a [u8; SIGSTRUCT_SIZE]) -> Self {
        Self(bytes)
    }

    /// The signer's RSA-3072 modulus, least significant byte first.
    pub(crate) fn modulus(&self) -> &'a [u8; RSA_SIZE] {
        self.array(Self::MODULUS)
    }

    /// The signature, least significant byte first.
    pub(crate) fn signature(&self) -> &'a [u8; RSA_SIZE] {
        self.array(Self::SIGNATURE)
    }

    /// What the signature is over, in two parts.
    pub(crate) fn signed(&self) -> [&'a [u8]; 2] {
        [
            self.0.get(..Self::MODULUS).unwrap_or_default(),
            self.0.get(Self::MODULE_HASH..).unwrap_or_default(),
        ]
    }

    /// The SHA-384 of the module pages.
    pub(crate) fn module_hash(&self) -> &'a [u8; SHA384_SIZE] {
        self.array(Self::MODULE_HASH)
    }

    /// The module's security version.
    pub(crate) fn svn(&self) -> Svn {
        Svn {
            minor: self.u8(948),
            major: self.u8(949),
        }
    }

    /// The handoff versions that the module takes over from.
    pub(crate) fn handoff_versions(&self) -> HandoffVersions {
        HandoffVersions {
            min: self.u16(Self::MIN_HV),
            max: self.u16(Self::MAX_HV),
        }
    }

    /// The date of the signature: day, month and year are the digits of the hexadecimal form
    /// 0xYYYYMMDD.
    pub(crate) fn date(&self) -> u32 {
        self.u32(20)
    }

    /// Whether bytes 1000 to 1023 hold something. The modules of the 2.0 line, which ask for
    /// P-SEAMLDR 2.0, have their version there. To P-SEAMLDR 1.x they are reserved.
    pub(crate) fn has_version(&self) -> bool {
        self.0
            .get(Self::VERSION)
            .is_some_and(|bytes| bytes.iter().any(|&byte| byte != 0))
    }

    /// Whether the module was signed for debugging.
    pub(crate) fn is_debug(&self) -> bool {
        self.u32(12) & (1 << 31) != 0
    }

    /// The CPUs that the module runs on: their CPUID.1:EAX, whose stepping does not count.
    pub(crate) fn cpus(&self) -> impl Iterator<Item = u32> + 'a {
        let count = usize::try_from(self.u32(Self::NR_CPUS)).unwrap_or(usize::MAX);
        self.0
            .get(Self::CPUS..)
            .unwrap_or_default()
            .chunks_exact(4)
            .take(count.min(Self::MAX_CPUS as usize))
            .map(|cpu| u32_at(cpu, 0))
    }

    const MAX_CPUS: u32 = 255;

    /// Size in bytes of the fault wrappers: 16 for each of 32 vectors.
    const FAULT_WRAPPERS_SIZE: u32 = 512;

    /// Whether `field` obeys P-SEAMLDR's rule for it, in a sigstruct for a module of `size` bytes.
    pub(crate) fn holds(&self, field: Field, size: usize) -> bool {
        let inside = |offset: u32| usize::try_from(offset).is_ok_and(|offset| offset < size);
        match field {
            Field::HeaderType => self.u32(0) == 6,
            Field::HeaderLength => self.u32(4) == 0xE1,
            Field::HeaderVersion => self.u32(8) == 0x1_0000,
            // Bit 31 is the debug signature, which has a check of its own.
            Field::ModuleType => self.u32(12) & !(1 << 31) == 0,
            Field::Vendor => self.u32(16) == 0x8086,
            Field::Size => self.u32(24) == 0x200,
            Field::KeySize => self.u32(28) == 0x60,
            Field::ModulusSize => self.u32(32) == 0x60,
            Field::ExponentSize => self.u32(36) == 1,
            Field::Exponent => self.u32(512) == 0x1_0001,
            // Bytes 1000 to 1023 are reserved too, but not zero in all that is published.
            Field::Reserved => [40..128, 978..984, 989..990]
                .into_iter()
                .filter_map(|range| self.0.get(range))
                .flatten()
                .all(|&byte| byte == 0),
            Field::Attributes => u32_at(self.0, 950) == 0 && u32_at(self.0, 954) == 0,
            Field::MinUpdateHv => self.u16(Self::MIN_HV) <= self.u16(Self::MAX_HV),
            Field::RipOffset => inside(self.u32(958)),
            Field::GdtIdtOffset => {
                let offset = self.u32(Self::GDT_IDT);
                offset % 4096 == 0 && inside(offset)
            }
            Field::FaultWrapperOffset => {
                let offset = self.u32(Self::FAULT_WRAPPER);
                let end = offset.saturating_add(Self::FAULT_WRAPPERS_SIZE);
                (offset == 0) == (self.u32(Self::GDT_IDT) == 0)
                    && usize::try_from(end).is_ok_and(|end| end <= size)
            }
            Field::CpuidCount => matches!(self.u32(Self::NR_CPUS), 1..=Self::MAX_CPUS),
            Field::ModuleVersion => !self.has_version(),
        }
    }

    fn array<const N: usize>(&self, offset: usize) -> &'a [u8; N] {
        const { assert!(N <= RSA_SIZE) };
        bytes_at(self.0, offset).unwrap_or(&[0; N])
    }

    fn u8(&self, offset: usize) -> u8 {
        self.0.get(offset).copied().unwrap_or_default()
    }

    fn u16(&self, offset: usize) -> u16 {
        u16_at(self.0, offset)
    }

    fn u32(&self, offset: usize) -> u32 {
        u32_at(self.0, offset)
    }
}

/// A field of the sigstruct with a rule of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    HeaderType,
    HeaderLength,
    HeaderVersion,
    ModuleType,
    Vendor,
    Size,
    KeySize,
    ModulusSize,
    ExponentSize,
    Exponent,
    Reserved,
    Attributes,
    MinUpdateHv,
    RipOffset,
    GdtIdtOffset,
    FaultWrapperOffset,
    CpuidCount,
    /// Bytes 1000 to 1023, which only some P-SEAMLDRs look at; not among [`Self::ALL`].
    ModuleVersion,
}

impl Field {
    /// Those that every P-SEAMLDR looks at.
    pub(crate) const ALL: &'static [Self] = &[
        Self::HeaderType,
        Self::HeaderLength,
        Self::HeaderVersion,
        Self::ModuleType,
        Self::Vendor,
        Self::Size,
        Self::KeySize,
        Self::ModulusSize,
        Self::ExponentSize,
        Self::Exponent,
        Self::Reserved,
        Self::Attributes,
        Self::MinUpdateHv,
        Self::RipOffset,
        Self::GdtIdtOffset,
        Self::FaultWrapperOffset,
        Self::CpuidCount,
    ];
}

/// The field's name, and the rule.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeaderType => "header type must be 6",
            Self::HeaderLength => "header length must be 0xe1",
            Self::HeaderVersion => "header version must be 0x10000",
            Self::ModuleType => "reserved bits of the module type must be 0",
            Self::Vendor => "vendor must be 0x8086",
            Self::Size => "size must be 0x200",
            Self::KeySize => "key size must be 0x60",
            Self::ModulusSize => "modulus size must be 0x60",
            Self::ExponentSize => "exponent size must be 1",
            Self::Exponent => "exponent must be 0x10001",
            Self::Reserved => "reserved bytes must be 0",
            Self::Attributes => "attributes must be 0",
            Self::MinUpdateHv => "lowest handoff version must not be above the highest",
            Self::RipOffset => "entry point must be inside the module",
            Self::GdtIdtOffset => "GDT and IDT must be inside the module and on a page boundary",
            Self::FaultWrapperOffset => {
                "fault wrapper must be inside the module, and there if the GDT and IDT are"
            }
            Self::CpuidCount => "number of CPUs must be 1 to 255",
            Self::ModuleVersion => "bytes 1000 to 1023 must be 0 for this P-SEAMLDR",
        })
    }
}
