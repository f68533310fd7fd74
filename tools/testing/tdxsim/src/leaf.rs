// SPDX-License-Identifier: GPL-2.0

//! SEAMCALL leaves: numbers, names and the versions that exist.
//!
//! Numbers and names: the TDX module source (leaf 69: Linux 7.3's `tdx.h`) and the P-SEAMLDR
//! source.

use std::borrow::Cow;

use crate::profile::parse_number;

/// Bit 63 of RAX: the call goes to P-SEAMLDR.
pub const SEAMLDR_BIT: u64 = 1 << 63;

macro_rules! leaves {
    ($(#[$doc:meta])* $enum:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $enum {
            $($(#[$vdoc])* $variant = $number,)*
        }

        impl $enum {
            /// Every leaf there is.
            pub const ALL: &'static [$enum] = &[$($enum::$variant),*];

            /// The leaf with this number.
            pub fn from_number(number: u64) -> Option<$enum> {
                match number {
                    $($number => Some($enum::$variant),)*
                    _ => None,
                }
            }

            /// The name in the specifications.
            pub fn name(self) -> &'static str {
                match self {
                    $($enum::$variant => $name,)*
                }
            }
        }
    };
}

leaves! {
    /// The TDX module's leaves that this model knows.
    Leaf {
        /// Enters a TD's vCPU; out of the model's scope.
        VpEnter = 0 "TDH.VP.ENTER",
        /// Gives a TD a control-structure page.
        MngAddcx = 1 "TDH.MNG.ADDCX",
        /// Adds a measured page to a TD being built.
        MemPageAdd = 2 "TDH.MEM.PAGE.ADD",
        /// Adds a secure EPT page.
        MemSeptAdd = 3 "TDH.MEM.SEPT.ADD",
        /// Gives a vCPU a control-structure page.
        VpAddcx = 4 "TDH.VP.ADDCX",
        /// Adds a pending page to a TD.
        MemPageAug = 6 "TDH.MEM.PAGE.AUG",
        /// Blocks a GPA range against new translations.
        MemRangeBlock = 7 "TDH.MEM.RANGE.BLOCK",
        /// Configures a TD's key on this package.
        MngKeyConfig = 8 "TDH.MNG.KEY.CONFIG",
        /// Creates a TD.
        MngCreate = 9 "TDH.MNG.CREATE",
        /// Creates a vCPU.
        VpCreate = 10 "TDH.VP.CREATE",
        /// Reads a TD-scope metadata field.
        MngRd = 11 "TDH.MNG.RD",
        /// Measures 256 bytes of a page.
        MrExtend = 16 "TDH.MR.EXTEND",
        /// Completes a TD's measurement.
        MrFinalize = 17 "TDH.MR.FINALIZE",
        /// Ends a vCPU's association with this LP.
        VpFlush = 18 "TDH.VP.FLUSH",
        /// Confirms that no vCPU of a TD is associated any more.
        MngVpflushdone = 19 "TDH.MNG.VPFLUSHDONE",
        /// Frees a TD's KeyID.
        MngKeyFreeid = 20 "TDH.MNG.KEY.FREEID",
        /// Initialises a TD from TD_PARAMS.
        MngInit = 21 "TDH.MNG.INIT",
        /// Initialises a vCPU.
        VpInit = 22 "TDH.VP.INIT",
        /// Reads a page's PAMT entry.
        PhymemPageRdmd = 24 "TDH.PHYMEM.PAGE.RDMD",
        /// Reads a vCPU-scope metadata field.
        VpRd = 26 "TDH.VP.RD",
        /// Takes a page back from a dead TD.
        PhymemPageReclaim = 28 "TDH.PHYMEM.PAGE.RECLAIM",
        /// Removes a page from a TD.
        MemPageRemove = 29 "TDH.MEM.PAGE.REMOVE",
        /// Configures the global KeyID's key on this package.
        SysKeyConfig = 31 "TDH.SYS.KEY.CONFIG",
        /// Returns the module's information as one structure.
        SysInfo = 32 "TDH.SYS.INFO",
        /// Initialises the module, once.
        SysInit = 33 "TDH.SYS.INIT",
        /// Reads a global metadata field.
        SysRd = 34 "TDH.SYS.RD",
        /// Initialises the module on this LP.
        SysLpInit = 35 "TDH.SYS.LP.INIT",
        /// Initialises a part of a TDMR's PAMT.
        SysTdmrInit = 36 "TDH.SYS.TDMR.INIT",
        /// Reads all global metadata fields into a list.
        SysRdall = 37 "TDH.SYS.RDALL",
        /// Advances a TD's TLB epoch.
        MemTrack = 38 "TDH.MEM.TRACK",
        /// Writes this package's caches back.
        PhymemCacheWb = 40 "TDH.PHYMEM.CACHE.WB",
        /// Writes one page back and invalidates it.
        PhymemPageWbinvd = 41 "TDH.PHYMEM.PAGE.WBINVD",
        /// Writes a vCPU-scope metadata field.
        VpWr = 43 "TDH.VP.WR",
        /// Ends the use of the module on this LP.
        SysLpShutdown = 44 "TDH.SYS.LP.SHUTDOWN",
        /// Configures TDMRs, global KeyID and features.
        SysConfig = 45 "TDH.SYS.CONFIG",
        /// Shuts the module down for an update.
        SysShutdown = 52 "TDH.SYS.SHUTDOWN",
        /// Takes over from the module that was shut down.
        SysUpdate = 53 "TDH.SYS.UPDATE",
        /// Ends all use of the module.
        SysDisable = 69 "TDH.SYS.DISABLE",
    }
}

leaves! {
    /// P-SEAMLDR's leaves.
    SeamldrLeaf {
        /// Returns information about P-SEAMLDR and the module.
        Info = 0 "SEAMLDR.INFO",
        /// One LP's part in installing a module.
        Install = 1 "SEAMLDR.INSTALL",
        /// Shuts P-SEAMLDR down on this LP.
        Shutdown = 2 "SEAMLDR.SHUTDOWN",
        /// Returns the running module's SEAMINFO.
        Seaminfo = 3 "SEAMLDR.SEAMINFO",
        /// One LP's part in cleaning up after a failed installation.
        Cleanup = 4 "SEAMLDR.CLEANUP",
    }
}

impl Leaf {
    /// The leaf's number, RAX bits 15:0.
    pub fn number(self) -> u64 {
        self as u64
    }
}

/// A leaf by its number, whether or not it exists: what traces, counters, faults and latencies
/// are keyed by. The value is RAX without the version bits; [`SEAMLDR_BIT`] tells the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeafId(u64);

impl LeafId {
    /// The leaf that a call with this RAX asks for.
    pub fn of_rax(rax: u64) -> LeafId {
        if rax & SEAMLDR_BIT != 0 {
            LeafId(rax)
        } else {
            LeafId(rax & !0x00FF_0000)
        }
    }

    /// Whether the call goes to P-SEAMLDR.
    pub fn is_seamldr(self) -> bool {
        self.0 & SEAMLDR_BIT != 0
    }

    /// The name in the specifications; a number for a leaf that does not exist.
    pub fn name(self) -> Cow<'static, str> {
        let number = self.0 & !SEAMLDR_BIT;
        if self.is_seamldr() {
            match SeamldrLeaf::from_number(number) {
                Some(leaf) => leaf.name().into(),
                None => format!("SEAMLDR.{number:#x}").into(),
            }
        } else {
            match Leaf::from_number(number) {
                Some(leaf) => leaf.name().into(),
                None => format!("TDH.{number:#x}").into(),
            }
        }
    }

    /// The leaf with this name, as [`LeafId::name`] gives it, in any case; a number may also be
    /// decimal, and of a leaf that has a name.
    pub fn by_name(name: &str) -> Option<LeafId> {
        let tdx = Leaf::ALL
            .iter()
            .map(|leaf| (leaf.name(), LeafId(leaf.number())));
        let seamldr = SeamldrLeaf::ALL
            .iter()
            .map(|leaf| (leaf.name(), LeafId(SEAMLDR_BIT | *leaf as u64)));
        tdx.chain(seamldr)
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, id)| id)
            .or_else(|| LeafId::by_number(&name.to_ascii_lowercase()))
    }

    /// The leaf that is named as `tdh.NUMBER` or `seamldr.NUMBER`, if a call can ask for it.
    fn by_number(name: &str) -> Option<LeafId> {
        let (target, number) = name.split_once('.')?;
        let number = parse_number(number)?;
        let rax = match target {
            "tdh" => number,
            "seamldr" => number | SEAMLDR_BIT,
            _ => return None,
        };
        let id = LeafId::of_rax(rax);
        (number & SEAMLDR_BIT == 0 && id.0 == rax).then_some(id)
    }
}

impl From<Leaf> for LeafId {
    fn from(leaf: Leaf) -> LeafId {
        LeafId(leaf.number())
    }
}

impl From<SeamldrLeaf> for LeafId {
    fn from(leaf: SeamldrLeaf) -> LeafId {
        LeafId(SEAMLDR_BIT | leaf as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_found_by_what_it_is_called() {
        let ids = (0..100)
            .chain([0xFFFF, 1 << 24, (1 << 62) | 1])
            .flat_map(|number| [number, SEAMLDR_BIT | number])
            .map(LeafId::of_rax);
        for id in ids {
            assert_eq!(LeafId::by_name(&id.name()), Some(id), "{}", id.name());
        }
    }

    #[test]
    fn a_leaf_is_found_by_its_number() {
        let of_rax = |rax| Some(LeafId::of_rax(rax));
        assert_eq!(LeafId::by_name("TDH.23"), of_rax(23));
        assert_eq!(LeafId::by_name("tdh.0x17"), of_rax(23));
        assert_eq!(LeafId::by_name("TDH.33"), Some(Leaf::SysInit.into()));
        assert_eq!(LeafId::by_name("SEAMLDR.5"), of_rax(SEAMLDR_BIT | 5));
        assert_eq!(
            LeafId::by_name("seamldr.1"),
            Some(SeamldrLeaf::Install.into())
        );
        // A number alone, no number, of no target, with a version, with P-SEAMLDR's bit.
        for bad in [
            "23",
            "TDH.",
            "TDH.x",
            "TDX.23",
            "TDH.SYS.23",
            "TDH.0x10021",
            "TDH.0x8000000000000001",
            "SEAMLDR.0x8000000000000001",
        ] {
            assert_eq!(LeafId::by_name(bad), None, "{bad}");
        }
    }
}
