// SPDX-License-Identifier: GPL-2.0

//! Leaves by what they do: what the colours of bars stand for.

/// A kind of leaf. The order is that of the legend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// TDH.SYS.SHUTDOWN
    Shutdown,
    /// SEAMLDR.INSTALL
    Install,
    /// TDH.SYS.INIT
    Init,
    /// TDH.SYS.LP.INIT
    LpInit,
    /// TDH.SYS.UPDATE
    Update,
    /// TDH.SYS.CONFIG, TDH.SYS.KEY.CONFIG
    Config,
    /// TDH.SYS.TDMR.INIT
    TdmrInit,
    /// What only reads.
    Read,
    /// The rest: a TD's life, and leaves that do not exist.
    Other,
}

impl Kind {
    /// The kind of the leaf with this name.
    pub fn of(leaf: &str) -> Kind {
        match leaf {
            "TDH.SYS.SHUTDOWN" => Kind::Shutdown,
            "SEAMLDR.INSTALL" => Kind::Install,
            "TDH.SYS.INIT" => Kind::Init,
            "TDH.SYS.LP.INIT" => Kind::LpInit,
            "TDH.SYS.UPDATE" => Kind::Update,
            "TDH.SYS.CONFIG" | "TDH.SYS.KEY.CONFIG" => Kind::Config,
            "TDH.SYS.TDMR.INIT" => Kind::TdmrInit,
            "TDH.SYS.INFO" | "TDH.SYS.RD" | "TDH.SYS.RDALL" | "SEAMLDR.INFO"
            | "SEAMLDR.SEAMINFO" => Kind::Read,
            _ => Kind::Other,
        }
    }

    /// The class of its bars in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Kind::Shutdown => "shutdown",
            Kind::Install => "install",
            Kind::Init => "init",
            Kind::LpInit => "lp-init",
            Kind::Update => "update",
            Kind::Config => "config",
            Kind::TdmrInit => "tdmr-init",
            Kind::Read => "read",
            Kind::Other => "other",
        }
    }

    /// What the legend calls it.
    pub fn legend(self) -> &'static str {
        match self {
            Kind::Shutdown => "TDH.SYS.SHUTDOWN",
            Kind::Install => "SEAMLDR.INSTALL",
            Kind::Init => "TDH.SYS.INIT",
            Kind::LpInit => "TDH.SYS.LP.INIT",
            Kind::Update => "TDH.SYS.UPDATE",
            Kind::Config => "CONFIG, KEY.CONFIG",
            Kind::TdmrInit => "TDH.SYS.TDMR.INIT",
            Kind::Read => "reading (RD, INFO)",
            Kind::Other => "other leaves",
        }
    }

    /// Whether it is one of an update's steps, which run with all CPUs stopped.
    pub fn is_step(self) -> bool {
        matches!(
            self,
            Kind::Shutdown | Kind::Install | Kind::Init | Kind::LpInit | Kind::Update
        )
    }
}

/// A leaf's name without what most names begin with.
pub fn short(leaf: &str) -> &str {
    leaf.strip_prefix("TDH.SYS.")
        .or_else(|| leaf.strip_prefix("TDH."))
        .or_else(|| leaf.strip_prefix("SEAMLDR."))
        .unwrap_or(leaf)
}
