// SPDX-License-Identifier: GPL-2.0

//! What a TDX module and a platform are like: named profiles, read from `profiles.toml`.
//!
//! A profile is a TOML table that inherits from another one and overrides keys of it. The same keys
//! can be overridden once more by `KEY=VALUE` arguments, by control commands, and by the descriptor
//! that a test image carries in its first page; all go through [`Profiles`], which says precisely
//! what it does not accept.

use std::fmt;

use serde::{de, Deserialize, Deserializer};
use toml::{Table, Value};

use crate::module::td::params::CPUID_SLOTS;
use crate::module::td::{MAX_TDCS_PAGES, MAX_TDVPS_PAGES};

/// The profiles that the crate brings along.
const BUILT_IN: &str = include_str!("../profiles.toml");

/// TDX_FEATURES0 bits. Names and numbers: the TDX module source, EXT and QUOTE from the kernel
/// mailing list.
pub mod features {
    /// TD migration.
    pub const MIGRATION: u64 = 1 << 0;
    /// TD-preserving updates: the module can hand over to another one.
    pub const TD_PRESERVING: u64 = 1 << 1;
    /// TDX Connect.
    pub const TDX_CONNECT: u64 = 1 << 6;
    /// TD partitioning: VMs inside of a TD.
    pub const PARTITIONING: u64 = 1 << 7;
    /// The module leaves RBP alone in TDH.VP.ENTER.
    pub const NO_RBP_MOD: u64 = 1 << 18;
    /// The PAMT's 4 KiB level can be allocated on demand.
    pub const DYNAMIC_PAMT: u64 = 1 << 36;
    /// Module extensions; they follow TDX Connect by themselves.
    pub const EXT: u64 = 1 << 39;
    /// The module can detect TDs whose measurement another module began.
    pub const UPDATE_COMPAT: u64 = 1 << 47;

    /// Every bit that has a name in profiles.
    pub const NAMES: &[(&str, u64)] = &[
        ("migration", MIGRATION),
        ("td-preserving", TD_PRESERVING),
        ("service-td", 1 << 2),
        ("cpuid-virtualisation", 1 << 5),
        ("tdx-connect", TDX_CONNECT),
        ("partitioning", PARTITIONING),
        ("local-attestation", 1 << 8),
        ("pending-ept-v2", 1 << 16),
        ("fms-config", 1 << 17),
        ("no-rbp-mod", NO_RBP_MOD),
        ("topology-enum", 1 << 20),
        ("clflush-before-alloc", 1 << 23),
        ("connect-partitioning", 1 << 32),
        ("max-gpa", 1 << 33),
        ("dynamic-pamt", DYNAMIC_PAMT),
        ("ext", EXT),
        ("update-compat", UPDATE_COMPAT),
        ("quote", 1 << 50),
    ];
}

/// A version: major, minor, update, as in 1.5.25.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u16,
    /// Second number.
    pub minor: u16,
    /// Third number; two digits when it is written.
    pub update: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:02}", self.major, self.minor, self.update)
    }
}

/// One leaf of CPUID whose bits a TD's parameters may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidConfig {
    /// The leaf.
    pub leaf: u32,
    /// The sub-leaf; 0xFFFFFFFF when the leaf has none.
    pub subleaf: u32,
    /// Configurable bits of EAX, EBX, ECX and EDX.
    pub configurable: [u32; 4],
}

/// A TDX module.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleProfile {
    /// The profile's name.
    pub name: String,
    /// The module's version.
    #[serde(deserialize_with = "version")]
    pub version: Version,
    /// Build date, BCD YYYYMMDD.
    #[serde(deserialize_with = "number")]
    pub build_date: u32,
    /// Build number.
    #[serde(deserialize_with = "number")]
    pub build_num: u16,
    /// Major SVN: updates stay within it.
    #[serde(deserialize_with = "number")]
    pub svn_major: u8,
    /// Minor SVN: updates do not go below it.
    #[serde(deserialize_with = "number")]
    pub svn_minor: u8,
    /// The newest handoff version that the module writes and reads.
    #[serde(deserialize_with = "number")]
    pub module_hv: u16,
    /// The oldest handoff version that the module writes and reads.
    #[serde(deserialize_with = "number")]
    pub min_update_hv: u16,
    /// The module writes handoff data of version `module_hv` only.
    pub no_downgrade: bool,
    /// Pages of handoff data, less one.
    #[serde(deserialize_with = "number")]
    pub handoff_pages: u16,
    /// TDX_FEATURES0.
    #[serde(deserialize_with = "feature_bits")]
    pub features: u64,
    /// The newest version of TDH.SYS.CONFIG that the module knows.
    #[serde(deserialize_with = "number")]
    pub config_version: u8,
    /// The newest version of TDH.SYS.UPDATE that the module knows.
    #[serde(deserialize_with = "number")]
    pub update_version: u8,
    /// The module knows TDH.SYS.DISABLE.
    pub sys_disable: bool,
    /// TDH.SYS.SHUTDOWN knows AVOID_COMPAT_SENSITIVE, rcx bit 16.
    pub avoid_compat_sensitive: bool,
    /// TDH.SYS.CONFIG version 1 insists on a wall clock in r11.
    pub wants_wall_clock: bool,
    /// The version of the measurement context that the module writes into TDs.
    #[serde(deserialize_with = "number")]
    pub mrtd_context: u16,
    /// Most TDMRs that TDH.SYS.CONFIG takes.
    #[serde(deserialize_with = "number")]
    pub max_tdmrs: u16,
    /// Most reserved areas in a TDMR, at most 16.
    #[serde(deserialize_with = "number")]
    pub max_reserved_per_tdmr: u16,
    /// Bytes in a PAMT entry for a 4 KiB page.
    #[serde(deserialize_with = "number")]
    pub pamt_4k_entry_size: u16,
    /// Bytes in a PAMT entry for a 2 MiB page.
    #[serde(deserialize_with = "number")]
    pub pamt_2m_entry_size: u16,
    /// Bytes in a PAMT entry for a 1 GiB page.
    #[serde(deserialize_with = "number")]
    pub pamt_1g_entry_size: u16,
    /// Bytes in a TDR.
    #[serde(deserialize_with = "number")]
    pub tdr_base_size: u16,
    /// Bytes in a TD's control structure.
    #[serde(deserialize_with = "number")]
    pub tdcs_base_size: u16,
    /// Bytes in a vCPU's control structure, its root page included.
    #[serde(deserialize_with = "number")]
    pub tdvps_base_size: u16,
    /// ATTRIBUTES bits that may be 1.
    #[serde(deserialize_with = "number")]
    pub attributes_fixed0: u64,
    /// ATTRIBUTES bits that must be 1.
    #[serde(deserialize_with = "number")]
    pub attributes_fixed1: u64,
    /// XFAM bits that may be 1.
    #[serde(deserialize_with = "number")]
    pub xfam_fixed0: u64,
    /// XFAM bits that must be 1.
    #[serde(deserialize_with = "number")]
    pub xfam_fixed1: u64,
    /// Most vCPUs in a TD.
    #[serde(deserialize_with = "number")]
    pub max_vcpus_per_td: u16,
    /// CPUID leaves that a TD's parameters may configure.
    #[serde(deserialize_with = "cpuid_config")]
    pub cpuid_config: Vec<CpuidConfig>,
    /// The TDX Connect page counts, fields 0x3000000100000001, 2, 3 and 7, once Connect is
    /// configured.
    #[serde(deserialize_with = "numbers")]
    pub connect_pages: Vec<u64>,
    /// The field ext_required once TDX Connect is configured.
    pub ext_required: bool,
    /// The field memory_pool_required_pages once TDX Connect is configured.
    #[serde(deserialize_with = "number")]
    pub memory_pool_required_pages: u64,
    /// Metadata fields that exist but cannot be read.
    #[serde(deserialize_with = "numbers")]
    pub unreadable_fields: Vec<u64>,
    /// A status that TDH.SYS.INIT answers instead of working; 0 for none.
    #[serde(deserialize_with = "number")]
    pub sys_init_status: u64,
    /// A status that TDH.SYS.LP.INIT answers instead of working; 0 for none.
    #[serde(deserialize_with = "number")]
    pub lp_init_status: u64,
    /// A status that TDH.SYS.UPDATE answers instead of working; 0 for none.
    #[serde(deserialize_with = "number")]
    pub update_status: u64,
    /// P-SEAMLDR finds the memory to map the module; without, SEAMLDR.INSTALL ends with ENOMEM when
    /// the old module is gone.
    pub maps: bool,
    /// P-SEAMLDR can relocate the module; without, SEAMLDR.INSTALL ends with EBADPARAM when the old
    /// module is gone.
    pub relocates: bool,
    /// The profile of the module in an image that carries no descriptor.
    pub next: String,
}

impl ModuleProfile {
    /// Whether the module offers every one of these features.
    pub fn has(&self, bits: u64) -> bool {
        self.features & bits == bits
    }

    /// Whether a bitmap contains nothing that the module does not offer.
    pub fn offers(&self, bits: u64) -> bool {
        bits & !self.features == 0
    }

    /// Bytes in a PAMT entry by level: 4 KiB, 2 MiB, 1 GiB.
    pub fn pamt_entry_sizes(&self) -> [u16; 3] {
        [
            self.pamt_4k_entry_size,
            self.pamt_2m_entry_size,
            self.pamt_1g_entry_size,
        ]
    }
}

/// A platform: the CPUs, their firmware, and P-SEAMLDR.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformProfile {
    /// The profile's name.
    pub name: String,
    /// The CPUs have SEAM; without it SEAMCALL is #GP.
    pub seam: bool,
    /// Firmware loaded P-SEAMLDR.
    pub seamldr_loaded: bool,
    /// Firmware loaded a TDX module.
    pub module_loaded: bool,
    /// MKTME KeyIDs: 1 to this number.
    #[serde(deserialize_with = "number")]
    pub mktme_keyids: u16,
    /// TDX private KeyIDs: as many, right above the MKTME ones.
    #[serde(deserialize_with = "number")]
    pub tdx_keyids: u16,
    /// Where the SEAM range begins, which only the TDX module and P-SEAMLDR may use.
    #[serde(deserialize_with = "number")]
    pub seamrr_base: u64,
    /// Bytes in the SEAM range, a power of two.
    #[serde(deserialize_with = "number")]
    pub seamrr_size: u64,
    /// CPUID.1:EAX by package; the last one counts for all further packages.
    #[serde(deserialize_with = "numbers")]
    pub cpu_signatures: Vec<u32>,
    /// P-SEAMLDR's version.
    #[serde(deserialize_with = "version")]
    pub seamldr_version: Version,
    /// P-SEAMLDR's build date, BCD YYYYMMDD.
    #[serde(deserialize_with = "number")]
    pub seamldr_build_date: u32,
    /// P-SEAMLDR's build number.
    #[serde(deserialize_with = "number")]
    pub seamldr_build_num: u16,
    /// SEAMLDR.INFO's field features0.
    #[serde(deserialize_with = "number")]
    pub seamldr_features: u64,
    /// SEAMLDR.INFO's field seam_debug.
    pub seam_debug: bool,
    /// SEAMLDR.INFO's field p_seam_ready.
    pub p_seam_ready: bool,
    /// Updates that the log has room for.
    #[serde(deserialize_with = "number")]
    pub updates_left: u32,
    /// SHA-384 of the modulus of the key that module images must be signed with.
    #[serde(deserialize_with = "digest")]
    pub signer: [u8; 48],
    /// The platform is unlocked for debugging and takes debug-signed images.
    pub debug_unlocked: bool,
    /// P-SEAMLDR calls corrupt the current VMCS pointer (the SEAMRET erratum).
    pub seamret_erratum: bool,
}

/// The smallest SEAM range, in bytes; its base and mask registers hold no lower bits.
const MIN_SEAMRR_SIZE: u64 = 32 << 20;

/// Bits in a physical address, KeyID included.
pub const PA_BITS: u32 = 52;

impl PlatformProfile {
    /// Private KeyIDs, which only the TDX module may use.
    pub fn private_keyids(&self) -> std::ops::Range<u16> {
        let first = self.mktme_keyids + 1;
        first..first + self.tdx_keyids
    }

    /// How many of a physical address's top bits hold the KeyID, which can also be 0.
    pub fn keyid_bits(&self) -> u32 {
        (u32::from(self.mktme_keyids) + u32::from(self.tdx_keyids) + 1)
            .next_power_of_two()
            .ilog2()
    }

    /// The lowest KeyID bit: addresses of memory itself are below.
    pub fn keyid_base(&self) -> u64 {
        1 << (PA_BITS - self.keyid_bits())
    }

    /// The KeyID in a physical address.
    pub fn keyid_of(&self, pa: u64) -> u16 {
        ((pa & ((1 << PA_BITS) - 1)) / self.keyid_base()) as u16
    }

    /// The physical address without its KeyID.
    pub fn without_keyid(&self, pa: u64) -> u64 {
        pa % self.keyid_base()
    }

    /// Whether `pa` may be an operand in memory that host and SEAM share: a multiple of
    /// `alignment`, below 2^52, its KeyID below the private ones, outside the SEAM range.
    pub fn is_shared_pa(&self, pa: u64, alignment: u64) -> bool {
        pa % alignment == 0
            && pa >> PA_BITS == 0
            && self.keyid_of(pa) < self.private_keyids().start
            && !self.is_in_seam_range(pa)
    }

    /// Whether a physical address, its KeyID left out, is in the SEAM range.
    fn is_in_seam_range(&self, pa: u64) -> bool {
        self.without_keyid(pa)
            .checked_sub(self.seamrr_base)
            .is_some_and(|offset| offset < self.seamrr_size)
    }

    /// CPUID.1:EAX of a package.
    pub fn cpu_signature(&self, package: usize) -> u32 {
        let last = self.cpu_signatures.last().copied().unwrap_or_default();
        self.cpu_signatures.get(package).copied().unwrap_or(last)
    }
}

/// What a key takes, for error messages and for whoever asks.
const KEYS: &[(Kind, &str, &str)] = &[
    (Kind::Module, "version", "a version such as 1.5.25"),
    (Kind::Module, "build_date", "a number such as 0x20250101"),
    (Kind::Module, "build_num", "0 to 65535"),
    (Kind::Module, "svn_major", "0 to 255"),
    (Kind::Module, "svn_minor", "0 to 255"),
    (Kind::Module, "module_hv", "0 to 65535"),
    (Kind::Module, "min_update_hv", "0 to 65535"),
    (Kind::Module, "no_downgrade", "on or off"),
    (Kind::Module, "handoff_pages", "0 to 65535"),
    (
        Kind::Module,
        "features",
        "feature names or numbers joined by +, such as td-preserving+tdx-connect",
    ),
    (Kind::Module, "config_version", "0 to 255"),
    (Kind::Module, "update_version", "0 to 255"),
    (Kind::Module, "sys_disable", "on or off"),
    (Kind::Module, "avoid_compat_sensitive", "on or off"),
    (Kind::Module, "wants_wall_clock", "on or off"),
    (Kind::Module, "mrtd_context", "0 to 65535"),
    (Kind::Module, "max_tdmrs", "1 to 64"),
    (Kind::Module, "max_reserved_per_tdmr", "0 to 16"),
    (Kind::Module, "pamt_4k_entry_size", "0 to 65535"),
    (Kind::Module, "pamt_2m_entry_size", "0 to 65535"),
    (Kind::Module, "pamt_1g_entry_size", "0 to 65535"),
    (Kind::Module, "tdr_base_size", "0 to 65535"),
    (Kind::Module, "tdcs_base_size", "4096 to 36864"),
    (Kind::Module, "tdvps_base_size", "4096 to 61440"),
    (Kind::Module, "attributes_fixed0", "a 64-bit number"),
    (Kind::Module, "attributes_fixed1", "a 64-bit number"),
    (Kind::Module, "xfam_fixed0", "a 64-bit number"),
    (Kind::Module, "xfam_fixed1", "a 64-bit number"),
    (Kind::Module, "max_vcpus_per_td", "0 to 65535"),
    (
        Kind::Module,
        "cpuid_config",
        "a list of lists [leaf, sub-leaf, eax, ebx, ecx, edx]",
    ),
    (
        Kind::Module,
        "connect_pages",
        "numbers joined by +, or a list",
    ),
    (Kind::Module, "ext_required", "on or off"),
    (
        Kind::Module,
        "memory_pool_required_pages",
        "a 64-bit number",
    ),
    (
        Kind::Module,
        "unreadable_fields",
        "field ids joined by +, or a list",
    ),
    (
        Kind::Module,
        "sys_init_status",
        "a status number; 0 for none",
    ),
    (
        Kind::Module,
        "lp_init_status",
        "a status number; 0 for none",
    ),
    (Kind::Module, "update_status", "a status number; 0 for none"),
    (Kind::Module, "maps", "on or off"),
    (Kind::Module, "relocates", "on or off"),
    (Kind::Module, "next", "the name of a module profile"),
    (Kind::Platform, "seam", "on or off"),
    (Kind::Platform, "seamldr_loaded", "on or off"),
    (Kind::Platform, "module_loaded", "on or off"),
    (Kind::Platform, "mktme_keyids", "0 to 32767"),
    (Kind::Platform, "tdx_keyids", "0 to 32767"),
    (Kind::Platform, "seamrr_base", "a multiple of seamrr_size"),
    (
        Kind::Platform,
        "seamrr_size",
        "a power of two from 32 MiB on, in bytes",
    ),
    (
        Kind::Platform,
        "cpu_signatures",
        "CPUID.1:EAX values joined by +, or a list",
    ),
    (
        Kind::Platform,
        "seamldr_version",
        "a version such as 1.5.25",
    ),
    (
        Kind::Platform,
        "seamldr_build_date",
        "a number such as 0x20250101",
    ),
    (Kind::Platform, "seamldr_build_num", "0 to 65535"),
    (Kind::Platform, "seamldr_features", "a 64-bit number"),
    (Kind::Platform, "seam_debug", "on or off"),
    (Kind::Platform, "p_seam_ready", "on or off"),
    (Kind::Platform, "updates_left", "0 to 4294967295"),
    (Kind::Platform, "signer", "96 hexadecimal digits"),
    (Kind::Platform, "debug_unlocked", "on or off"),
    (Kind::Platform, "seamret_erratum", "on or off"),
];

/// What a profile describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TDX module.
    Module,
    /// A platform.
    Platform,
}

impl Kind {
    /// The word for it, which is also its table in a profile file.
    fn word(self) -> &'static str {
        match self {
            Kind::Module => "module",
            Kind::Platform => "platform",
        }
    }

    /// Which kind of profile has this key.
    pub fn of_key(key: &str) -> Option<Kind> {
        KEYS.iter()
            .find(|(_, known, _)| *known == key)
            .map(|(kind, _, _)| *kind)
    }

    /// The keys of this kind of profile with what they take.
    pub fn keys(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        KEYS.iter()
            .filter(move |(kind, _, _)| *kind == self)
            .map(|(_, key, takes)| (*key, *takes))
    }

    /// What this key takes, in words.
    fn takes(self, key: &str) -> Option<&'static str> {
        self.keys()
            .find(|(known, _)| *known == key)
            .map(|(_, takes)| takes)
    }

    /// An error that lists the keys there are.
    fn unknown_key(self, key: &str) -> String {
        let keys: Vec<&str> = self.keys().map(|(key, _)| key).collect();
        format!(
            "{}: no such key of a {} profile; there are {}",
            key,
            self.word(),
            keys.join(", ")
        )
    }
}

/// All profiles that can be named.
#[derive(Clone, Debug)]
pub struct Profiles {
    modules: Table,
    platforms: Table,
}

impl Profiles {
    /// The profiles that the crate brings along.
    pub fn built_in() -> Result<Profiles, String> {
        let mut profiles = Profiles {
            modules: Table::new(),
            platforms: Table::new(),
        };
        profiles.add(BUILT_IN, "profiles.toml")?;
        Ok(profiles)
    }

    /// Adds a file's profiles; one with a known name replaces the known one. `origin` is for
    /// messages.
    pub fn add(&mut self, text: &str, origin: &str) -> Result<(), String> {
        let file: Table = text
            .parse()
            .map_err(|error: toml::de::Error| format!("{origin}: {}", error.message()))?;
        for (kind, value) in file {
            let into = match kind.as_str() {
                "module" => &mut self.modules,
                "platform" => &mut self.platforms,
                _ => {
                    return Err(format!(
                        "{origin}: [{kind}]: only [module.NAME] and [platform.NAME]"
                    ))
                }
            };
            let Value::Table(table) = value else {
                return Err(format!("{origin}: {kind} is not a table"));
            };
            into.extend(table);
        }
        Ok(())
    }

    /// The profiles of one kind.
    fn of_kind(&self, kind: Kind) -> &Table {
        match kind {
            Kind::Module => &self.modules,
            Kind::Platform => &self.platforms,
        }
    }

    /// The names of all profiles of one kind.
    pub fn names(&self, kind: Kind) -> Vec<&str> {
        self.of_kind(kind).keys().map(String::as_str).collect()
    }

    /// A profile's table with everything that it inherits, not yet checked.
    fn resolve(&self, kind: Kind, name: &str) -> Result<Table, String> {
        let all = self.of_kind(kind);
        let mut chain = Vec::new();
        let mut next = name.to_owned();
        loop {
            let Some(Value::Table(table)) = all.get(&next) else {
                let names = self.names(kind).join(", ");
                return Err(format!(
                    "{next}: no such {} profile; there are {names}",
                    kind.word()
                ));
            };
            if chain.len() > all.len() {
                return Err(format!("{name}: the profile inherits from itself"));
            }
            chain.push(table);
            match table.get("inherits") {
                None => break,
                Some(Value::String(parent)) => next.clone_from(parent),
                Some(_) => return Err(format!("{next}: inherits takes the name of a profile")),
            }
        }
        let mut resolved = Table::new();
        for table in chain.into_iter().rev() {
            resolved.extend(table.clone());
        }
        resolved.remove("inherits");
        resolved.insert("name".to_owned(), Value::from(name));
        Ok(resolved)
    }

    /// Checks every profile, so that what is wrong in a file is known before somebody needs it.
    pub fn check(&self) -> Result<(), String> {
        for name in self.names(Kind::Module) {
            self.module(name, &[])
                .map_err(|error| format!("module profile {name}: {error}"))?;
        }
        for name in self.names(Kind::Platform) {
            self.platform(name, &[])
                .map_err(|error| format!("platform profile {name}: {error}"))?;
        }
        Ok(())
    }

    /// A module profile with overrides.
    pub fn module(
        &self,
        name: &str,
        overrides: &[(String, Value)],
    ) -> Result<ModuleProfile, String> {
        let mut table = self.resolve(Kind::Module, name)?;
        let profile: ModuleProfile = apply(Kind::Module, &mut table, overrides)?;
        if !self.modules.contains_key(&profile.next) {
            return Err(format!(
                "next={}: no such module profile; there are {}",
                profile.next,
                self.names(Kind::Module).join(", ")
            ));
        }
        if !(1..=64).contains(&profile.max_tdmrs) {
            return Err("max_tdmrs: 1 to 64".to_owned());
        }
        if !is_structure(profile.tdcs_base_size, MAX_TDCS_PAGES) {
            return Err(format!("tdcs_base_size: 4096 to {}", MAX_TDCS_PAGES * 4096));
        }
        if !is_structure(profile.tdvps_base_size, MAX_TDVPS_PAGES) {
            return Err(format!(
                "tdvps_base_size: 4096 to {}",
                MAX_TDVPS_PAGES * 4096
            ));
        }
        if profile.min_update_hv > profile.module_hv {
            return Err("min_update_hv: at most module_hv".to_owned());
        }
        if profile.cpuid_config.len() > CPUID_SLOTS {
            return Err(format!(
                "cpuid_config: at most {CPUID_SLOTS} leaves, as TD_PARAMS holds"
            ));
        }
        if profile.max_reserved_per_tdmr > 16 {
            return Err("max_reserved_per_tdmr: at most 16, as a TDMR_INFO holds".to_owned());
        }
        if profile.connect_pages.len() != 4 {
            return Err("connect_pages: there are exactly four page counts".to_owned());
        }
        Ok(profile)
    }

    /// A platform profile with overrides.
    pub fn platform(
        &self,
        name: &str,
        overrides: &[(String, Value)],
    ) -> Result<PlatformProfile, String> {
        let mut table = self.resolve(Kind::Platform, name)?;
        let profile: PlatformProfile = apply(Kind::Platform, &mut table, overrides)?;
        if profile.mktme_keyids > 0x7FFF || profile.tdx_keyids > 0x7FFF {
            return Err("mktme_keyids, tdx_keyids: at most 32767 each".to_owned());
        }
        if profile.cpu_signatures.is_empty() {
            return Err("cpu_signatures: at least one".to_owned());
        }
        if !profile.seamrr_size.is_power_of_two() || profile.seamrr_size < MIN_SEAMRR_SIZE {
            return Err("seamrr_size: a power of two from 32 MiB on".to_owned());
        }
        let end = profile.seamrr_base.checked_add(profile.seamrr_size);
        if profile.seamrr_base % profile.seamrr_size != 0
            || end.is_none_or(|end| end > profile.keyid_base())
        {
            return Err("seamrr_base: a multiple of seamrr_size below the KeyID bits".to_owned());
        }
        Ok(profile)
    }
}

/// Whether a control structure of this size has from one to so many pages.
fn is_structure(bytes: u16, pages: usize) -> bool {
    (4096..=pages * 4096).contains(&usize::from(bytes))
}

/// Overrides keys of a profile one by one, so that an error names the guilty one.
fn apply<T: de::DeserializeOwned>(
    kind: Kind,
    table: &mut Table,
    overrides: &[(String, Value)],
) -> Result<T, String> {
    let parse = |table: &Table| T::deserialize(Value::Table(table.clone()));
    let mut profile = parse(table).map_err(|error| {
        let name = table
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        format!("{} profile {name}: {}", kind.word(), error.message())
    })?;
    for (key, value) in overrides {
        let takes = kind.takes(key).ok_or_else(|| kind.unknown_key(key))?;
        table.insert(key.clone(), value_for(table.get(key), value));
        profile = parse(table).map_err(|_| format!("{key}={}: takes {takes}", show(value)))?;
    }
    Ok(profile)
}

/// An override's value as TOML of the kind that the key has so far: text from a command line may
/// mean a switch or a list.
fn value_for(present: Option<&Value>, value: &Value) -> Value {
    let Value::String(text) = value else {
        return value.clone();
    };
    match present {
        Some(Value::Boolean(_)) => match text.as_str() {
            "on" | "true" | "yes" | "1" => Value::Boolean(true),
            "off" | "false" | "no" | "0" => Value::Boolean(false),
            _ => value.clone(),
        },
        Some(Value::Array(_)) if text.starts_with('[') => format!("value = {text}")
            .parse::<Table>()
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| value.clone()),
        Some(Value::Array(_)) if text.starts_with(|first: char| first.is_ascii_digit()) => {
            Value::Array(text.split('+').map(Value::from).collect())
        }
        _ => value.clone(),
    }
}

/// A value as the user wrote it.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number as people write it: decimal, or hexadecimal behind 0x.
pub fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A number in TOML: an integer, or, since TOML's integers have a sign, text.
fn to_number(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::String(text) => parse_number(text),
        _ => None,
    }
}

fn number<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    let value = Value::deserialize(from)?;
    to_number(&value)
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            de::Error::custom(format!("{} is no number of the right size", show(&value)))
        })
}

fn numbers<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<Vec<T>, D::Error> {
    Vec::<Value>::deserialize(from)?
        .iter()
        .map(|value| {
            to_number(value)
                .and_then(|number| T::try_from(number).ok())
                .ok_or_else(|| {
                    de::Error::custom(format!("{} is no number of the right size", show(value)))
                })
        })
        .collect()
}

fn version<'de, D: Deserializer<'de>>(from: D) -> Result<Version, D::Error> {
    let text = String::deserialize(from)?;
    let parts: Option<Vec<u16>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some([major, minor, update]) => Ok(Version {
            major: *major,
            minor: *minor,
            update: *update,
        }),
        _ => Err(de::Error::custom(format!(
            "{text} is no version such as 1.5.25"
        ))),
    }
}

fn feature_bits<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let parts = match Value::deserialize(from)? {
        Value::Array(parts) => parts,
        Value::String(parts) => parts.split('+').map(Value::from).collect(),
        number => vec![number],
    };
    parts.iter().try_fold(0, |bits, part| {
        let named = |name: &str| features::NAMES.iter().find(|(known, _)| *known == name);
        to_number(part)
            .or_else(|| Some(named(part.as_str()?)?.1))
            .map(|bit| bits | bit)
            .ok_or_else(|| de::Error::custom(format!("{} is no feature", show(part))))
    })
}

fn cpuid_config<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<CpuidConfig>, D::Error> {
    let lists = Vec::<[u32; 6]>::deserialize(from)?;
    Ok(lists
        .iter()
        .map(|&[leaf, subleaf, eax, ebx, ecx, edx]| CpuidConfig {
            leaf,
            subleaf,
            configurable: [eax, ebx, ecx, edx],
        })
        .collect())
}

fn digest<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 48], D::Error> {
    let text = String::deserialize(from)?;
    let digits: Vec<u8> = text
        .chars()
        .map_while(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| (pair[0] << 4) | pair[1..].first().unwrap_or(&0))
        .collect();
    match bytes.try_into() {
        Ok(digest) if text.len() == 96 => Ok(digest),
        _ => Err(de::Error::custom("not 96 hexadecimal digits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Vec<(String, Value)> {
        vec![(key.to_owned(), Value::from(value))]
    }

    #[test]
    fn every_built_in_profile_is_complete() {
        let profiles = Profiles::built_in().unwrap();
        for name in profiles.names(Kind::Module) {
            assert_eq!(profiles.module(name, &[]).unwrap().name, name);
        }
        for name in profiles.names(Kind::Platform) {
            assert_eq!(profiles.platform(name, &[]).unwrap().name, name);
        }
    }

    #[test]
    fn every_key_of_the_base_profiles_is_described_and_the_other_way_round() {
        let profiles = Profiles::built_in().unwrap();
        for (kind, base) in [(Kind::Module, "tdx-1.5.16"), (Kind::Platform, "default")] {
            let mut table = profiles.resolve(kind, base).unwrap();
            table.remove("name");
            let mut known: Vec<&str> = kind.keys().map(|(key, _)| key).collect();
            known.sort_unstable();
            let mut present: Vec<&str> = table.keys().map(String::as_str).collect();
            present.sort_unstable();
            assert_eq!(known, present);
        }
    }

    #[test]
    fn values_come_as_text_and_as_toml() {
        let profiles = Profiles::built_in().unwrap();
        let module = |key, value| profiles.module("connect", &with(key, value)).unwrap();
        assert_eq!(module("version", "1.5.26").version.to_string(), "1.5.26");
        assert!(!module("no_downgrade", "off").no_downgrade);
        assert_eq!(module("features", "0x42").features, 0x42);
        assert_eq!(
            module("features", "td-preserving+tdx-connect").features,
            0x42
        );
        assert_eq!(
            module("xfam_fixed1", "0x8000000000000000").xfam_fixed1,
            1 << 63
        );
        assert_eq!(
            module("connect_pages", "[1, 2, 0x10, 4]").connect_pages,
            [1, 2, 16, 4]
        );
        assert_eq!(
            module("connect_pages", "1+2+0x10+4").connect_pages,
            [1, 2, 16, 4]
        );
        let number = [("module_hv".to_owned(), Value::from(7))];
        assert_eq!(profiles.module("connect", &number).unwrap().module_hv, 7);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        let profiles = Profiles::built_in().unwrap();
        let module = |key, value| profiles.module("connect", &with(key, value)).unwrap_err();
        assert_eq!(
            module("module_hv", "65536"),
            "module_hv=65536: takes 0 to 65535"
        );
        assert_eq!(
            module("no_downgrade", "maybe"),
            "no_downgrade=maybe: takes on or off"
        );
        assert_eq!(
            module("version", "1.5"),
            "version=1.5: takes a version such as 1.5.25"
        );
        assert_eq!(
            module("version", "1.5.2.3"),
            "version=1.5.2.3: takes a version such as 1.5.25"
        );
        assert!(module("features", "tdx-conect")
            .starts_with("features=tdx-conect: takes feature names"));
        assert!(module("colour", "red")
            .starts_with("colour: no such key of a module profile; there are version,"));
        assert!(module("next", "none").starts_with("next=none: no such module profile; there are "));
        let unknown = profiles.module("tdx-9", &[]).unwrap_err();
        assert!(
            unknown.starts_with("tdx-9: no such module profile; there are ")
                && unknown.contains("connect")
        );
        let signer = profiles
            .platform("default", &with("signer", "c8"))
            .unwrap_err();
        assert_eq!(signer, "signer=c8: takes 96 hexadecimal digits");
    }

    #[test]
    fn a_file_adds_profiles() {
        let mut profiles = Profiles::built_in().unwrap();
        profiles
            .add(
                "[module.mine]\ninherits = \"connect\"\nversion = \"9.9.09\"\n",
                "mine.toml",
            )
            .unwrap();
        assert_eq!(
            profiles.module("mine", &[]).unwrap().version.to_string(),
            "9.9.09"
        );
        let error = profiles.add("[modul.mine]\n", "mine.toml").unwrap_err();
        assert_eq!(
            error,
            "mine.toml: [modul]: only [module.NAME] and [platform.NAME]"
        );
        assert!(profiles
            .add("[module", "mine.toml")
            .unwrap_err()
            .starts_with("mine.toml: "));
        profiles
            .add("[module.loop]\ninherits = \"loop\"\n", "mine.toml")
            .unwrap();
        assert_eq!(
            profiles.module("loop", &[]).unwrap_err(),
            "loop: the profile inherits from itself"
        );
    }

    #[test]
    fn limits_are_named() {
        let profiles = Profiles::built_in().unwrap();
        let module = |key: &str, value: &str| profiles.module("connect", &with(key, value)).err();
        let error = |key: &str, value: &str| module(key, value).unwrap_or_default();
        for value in ["0", "65"] {
            assert_eq!(error("max_tdmrs", value), "max_tdmrs: 1 to 64");
        }
        for value in ["1", "64"] {
            assert_eq!(module("max_tdmrs", value), None);
        }
        for value in ["0", "4095", "36865"] {
            assert_eq!(
                error("tdcs_base_size", value),
                "tdcs_base_size: 4096 to 36864"
            );
        }
        assert_eq!(module("tdcs_base_size", "36864"), None);
        for value in ["0", "4095", "61441"] {
            assert_eq!(
                error("tdvps_base_size", value),
                "tdvps_base_size: 4096 to 61440"
            );
        }
        assert_eq!(module("tdvps_base_size", "61440"), None);
        assert_eq!(
            error("min_update_hv", "2"),
            "min_update_hv: at most module_hv"
        );
        assert_eq!(module("min_update_hv", "1"), None);
        let leaves = |count: usize| format!("[{}]", vec!["[1, 0, 1, 0, 0, 0]"; count].join(","));
        assert_eq!(module("cpuid_config", &leaves(48)), None);
        assert_eq!(
            error("cpuid_config", &leaves(49)),
            "cpuid_config: at most 48 leaves, as TD_PARAMS holds"
        );
        let platform =
            |key: &str, value: &str| profiles.platform("default", &with(key, value)).err();
        for value in ["0", "0x1000000", "0x3000000"] {
            assert_eq!(
                platform("seamrr_size", value).as_deref(),
                Some("seamrr_size: a power of two from 32 MiB on")
            );
        }
        for value in ["0x1000000", "0xFFFFFFFFFC000000", "0x200000000000"] {
            assert_eq!(
                platform("seamrr_base", value).as_deref(),
                Some("seamrr_base: a multiple of seamrr_size below the KeyID bits")
            );
        }
    }

    #[test]
    fn every_profile_of_a_file_is_checked() {
        let checked = |text: &str| {
            let mut profiles = Profiles::built_in().unwrap();
            profiles.add(text, "mine.toml").unwrap();
            profiles.check()
        };
        assert_eq!(Profiles::built_in().unwrap().check(), Ok(()));
        for (text, expected) in [
            (
                "[module.mine]\ninherits = \"connect\"\nnext = \"nobody\"\n",
                "module profile mine: next=nobody: no such module profile",
            ),
            (
                "[module.mine]\ninherits = \"connect\"\nmax_tdmrs = 0\n",
                "module profile mine: max_tdmrs: 1 to 64",
            ),
            (
                "[platform.mine]\ninherits = \"nobody\"\n",
                "platform profile mine: nobody: no such platform profile",
            ),
            (
                "[module.mine]\nversion = \"1.5.25\"\n",
                "module profile mine: ",
            ),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn keyid_0_counts_for_the_width_of_keyids() {
        let platform = |mktme: &str, tdx: &str| {
            let mut overrides = with("mktme_keyids", mktme);
            overrides.extend(with("tdx_keyids", tdx));
            Profiles::built_in()
                .unwrap()
                .platform("default", &overrides)
                .unwrap()
        };
        for (mktme, tdx, bits) in [
            ("0", "0", 0),
            ("0", "1", 1),
            ("63", "64", 7),
            ("64", "64", 8),
            ("32767", "32767", 16),
        ] {
            assert_eq!(platform(mktme, tdx).keyid_bits(), bits, "{mktme} + {tdx}");
        }
        // KeyIDs above the private ones are nobody's: they are not shared either.
        let platform = platform("3", "2");
        assert_eq!(platform.private_keyids(), 4..6);
        let shared = |keyid: u64| platform.is_shared_pa(0x1000 + keyid * platform.keyid_base(), 64);
        assert_eq!(
            [3, 4, 5, 6, 7].map(shared),
            [true, false, false, false, false]
        );
    }

    #[test]
    fn the_seam_range_is_not_shared() {
        let platform = Profiles::built_in()
            .unwrap()
            .platform("default", &with("seamrr_base", "0x40000000"))
            .unwrap();
        let shared = |pa: u64| platform.is_shared_pa(pa, 4096);
        let end = platform.seamrr_base + platform.seamrr_size;
        assert!(shared(0x3FFF_F000) && shared(end));
        assert!(!shared(0x4000_0000) && !shared(end - 4096));
        assert!(!shared(0x4000_0000 | (5 << 45)));
    }

    #[test]
    fn keyids_lie_in_the_top_bits() {
        let platform = Profiles::built_in()
            .unwrap()
            .platform("default", &[])
            .unwrap();
        assert_eq!(platform.private_keyids(), 64..128);
        assert_eq!(platform.keyid_bits(), 7);
        let pa = 0x1234_5000 | (64 << 45);
        assert_eq!(platform.keyid_of(pa), 64);
        assert_eq!(platform.without_keyid(pa), 0x1234_5000);
        assert!(platform.is_shared_pa(0x1234_5000 | (63 << 45), 4096));
        assert!(!platform.is_shared_pa(pa, 4096));
        assert!(!platform.is_shared_pa(0x1234_5800, 4096));
        assert!(!platform.is_shared_pa(1 << 52, 4096));
        assert_eq!(platform.cpu_signature(3), 0x806F8);
    }
}
