// SPDX-License-Identifier: GPL-2.0

//! The TDX module: its global state, and the dispatcher that every SEAMCALL to it passes.
//!
//! States, their order and the dispatcher's checks: the TDX module source. TDH.SYS.DISABLE is known
//! from Linux 7.3 only.

pub mod config;
pub mod keys;
pub mod metadata;
pub mod pamt;
pub mod sys;
pub mod td;
pub mod update;

use std::sync::Arc;

use crate::call::Call;
use crate::leaf::Leaf;
use crate::profile::{features, ModuleProfile};
use crate::status::{operand, Status};

use config::{Range, Tdmr};
use td::TdWorld;
use update::HandoffData;

/// The module's global states, in the order in which they follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SysState {
    /// Loaded: TDH.SYS.INIT is to come.
    SysinitPending,
    /// Initialised: TDH.SYS.LP.INIT on every LP, then TDH.SYS.CONFIG or TDH.SYS.UPDATE are to come.
    SysinitDone,
    /// Configured: TDH.SYS.KEY.CONFIG on every package is to come.
    SysconfigDone,
    /// In use.
    Ready,
    /// Shut down for an update, or disabled.
    Shutdown,
}

impl SysState {
    /// The state's name in the specifications.
    pub fn name(self) -> &'static str {
        match self {
            SysState::SysinitPending => "SYSINIT_PENDING",
            SysState::SysinitDone => "SYSINIT_DONE",
            SysState::SysconfigDone => "SYSCONFIG_DONE",
            SysState::Ready => "SYS_READY",
            SysState::Shutdown => "SYS_SHUTDOWN",
        }
    }
}

/// What P-SEAMLDR hands to the module from its sigstruct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigstructHandoff {
    /// The newest handoff version.
    pub module_hv: u16,
    /// The oldest handoff version.
    pub min_update_hv: u16,
    /// Only the newest version may be handed over.
    pub no_downgrade: bool,
    /// Pages of handoff data, less one.
    pub handoff_pages: u16,
}

impl SigstructHandoff {
    /// Whether a module can live with this that was built with these limits: the same newest
    /// version, no older ones than it can read, and no less room or caution than it needs.
    pub fn fits(&self, built_in: &SigstructHandoff) -> bool {
        self.module_hv == built_in.module_hv
            && self.min_update_hv >= built_in.min_update_hv
            && (self.no_downgrade || !built_in.no_downgrade)
            && self.handoff_pages >= built_in.handoff_pages
    }

    /// Whether handoff data of this version can be written and read.
    pub fn takes(&self, hv: u16) -> bool {
        (self.min_update_hv..=self.module_hv).contains(&hv)
    }

    /// What the sigstruct of this module says when it is made right.
    pub fn of(profile: &ModuleProfile) -> SigstructHandoff {
        SigstructHandoff {
            module_hv: profile.module_hv,
            min_update_hv: profile.min_update_hv,
            no_downgrade: profile.no_downgrade,
            handoff_pages: profile.handoff_pages,
        }
    }
}

/// A TDX module in the SEAM range.
#[derive(Clone, Debug)]
pub struct Module {
    /// What it is like.
    pub profile: Arc<ModuleProfile>,
    /// What its sigstruct says about handoff, and so what it goes by.
    pub sigstruct: SigstructHandoff,
    /// SHA-384 of its pages.
    pub mrseam: [u8; 48],
    /// Its global state.
    pub state: SysState,
    /// It becomes SYS_READY at the end of the call that this LP is making.
    pub becomes_ready_with: Option<usize>,
    /// Which LPs are initialised.
    pub lp_initialised: Vec<bool>,
    /// The TDMRs that it was configured with.
    pub tdmrs: Vec<Tdmr>,
    /// The KeyID that it protects its own data with.
    pub global_keyid: u16,
    /// What TDH.SYS.CONFIG, successful or not, named as that.
    pub reserved_keyids: Vec<u16>,
    /// Which packages have the global KeyID's key.
    pub key_configured: Vec<bool>,
    /// The PAMT's 4 KiB level is allocated on demand.
    pub dynamic_pamt: bool,
    /// The bitmap that TDH.SYS.CONFIG or TDH.SYS.UPDATE version 1 was given.
    pub configured_features: u64,
}

impl Module {
    /// A module as P-SEAMLDR leaves it after loading.
    pub fn new(
        profile: ModuleProfile,
        sigstruct: SigstructHandoff,
        mrseam: [u8; 48],
        lps: usize,
        packages: usize,
    ) -> Module {
        Module {
            profile: Arc::new(profile),
            sigstruct,
            mrseam,
            state: SysState::SysinitPending,
            becomes_ready_with: None,
            lp_initialised: vec![false; lps],
            tdmrs: Vec::new(),
            global_keyid: 0,
            reserved_keyids: Vec::new(),
            key_configured: vec![false; packages],
            dynamic_pamt: false,
            configured_features: 0,
        }
    }

    /// Whether TDH.SYS.LP.INIT was done on every LP of the platform.
    pub fn all_lps_initialised(&self) -> bool {
        self.lp_initialised.iter().all(|done| *done)
    }
}

/// Everything beside the module itself that a call can read or change.
pub struct Surroundings<'a> {
    /// What TDs, PAMT and KeyIDs hold.
    pub world: &'a mut TdWorld,
    /// The handoff data in the SEAM range, while it is valid.
    pub handoff: &'a mut Option<HandoffData>,
    /// The platform's convertible memory.
    pub convertible: &'a [Range],
    /// Another LP is inside the module at this moment.
    pub others_inside: bool,
}

/// A leaf's result before it becomes a status: what is not success is an early return.
pub type LeafResult = Result<(), Status>;

/// RAX bits 15:0 and 23:16 hold leaf and version; the bits above are reserved (bit 63 is not seen
/// here).
const RAX_RESERVED: u64 = !0x00FF_FFFF;

/// The dispatcher's own checks, and which leaf and version it lets pass.
pub fn dispatch(module: &Module, rax: u64) -> Result<(Leaf, u8), Status> {
    let unknown = Status::invalid(operand::RAX);
    if rax & RAX_RESERVED != 0 {
        return Err(unknown);
    }
    let number = rax & 0xFFFF;
    let leaf = Leaf::from_number(number).filter(|leaf| is_known(&module.profile, *leaf));
    let version = (rax >> 16) as u8;
    if version > 0 && !has_versions(&module.profile, number) {
        return Err(unknown);
    }
    if module.state == SysState::Shutdown && leaf != Some(Leaf::SysLpShutdown) {
        return Err(Status::SYS_SHUTDOWN);
    }
    if module.state != SysState::Ready && !leaf.is_some_and(runs_before_ready) {
        return Err(Status::SYS_NOT_READY);
    }
    match leaf {
        Some(leaf) => Ok((leaf, version)),
        None => Err(unknown),
    }
}

/// Whether this module has a leaf that other modules have.
fn is_known(profile: &ModuleProfile, leaf: Leaf) -> bool {
    match leaf {
        Leaf::SysDisable => profile.sys_disable,
        Leaf::SysShutdown | Leaf::SysUpdate => profile.has(features::TD_PRESERVING),
        _ => true,
    }
}

/// Leaves that this model does not know, and of which the dispatcher lets every version pass.
const UNKNOWN_WITH_VERSIONS: [u64; 2] = [23, 30];

/// Whether the dispatcher leaves it to the leaf with this number to check its version.
fn has_versions(profile: &ModuleProfile, number: u64) -> bool {
    match Leaf::from_number(number) {
        Some(Leaf::MemSeptAdd | Leaf::MngRd | Leaf::VpInit | Leaf::VpRd | Leaf::SysInit) => true,
        Some(Leaf::SysConfig) => profile.config_version > 0,
        Some(Leaf::SysUpdate) => profile.has(features::TD_PRESERVING) && profile.update_version > 0,
        Some(_) => false,
        None => UNKNOWN_WITH_VERSIONS.contains(&number),
    }
}

/// Whether a leaf that the module has passes before the module is ready.
fn runs_before_ready(leaf: Leaf) -> bool {
    matches!(
        leaf,
        Leaf::SysInfo
            | Leaf::SysRd
            | Leaf::SysRdall
            | Leaf::SysInit
            | Leaf::SysLpInit
            | Leaf::SysConfig
            | Leaf::SysKeyConfig
            | Leaf::SysLpShutdown
            | Leaf::SysUpdate
            | Leaf::SysDisable
    )
}

/// Runs a leaf that the dispatcher let pass.
pub fn call(module: &mut Module, around: &mut Surroundings<'_>, call: &mut Call<'_>) -> Status {
    let result = match call.leaf {
        Leaf::SysInit => sys::init(module, call),
        Leaf::SysLpInit => sys::lp_init(module, call),
        Leaf::SysLpShutdown => Ok(()),
        Leaf::SysInfo => sys::info(module, around, call),
        Leaf::SysRd => metadata::rd(module, call),
        Leaf::SysRdall => metadata::rdall(module, call),
        Leaf::SysConfig => config::config(module, around, call),
        Leaf::SysKeyConfig => config::key_config(module, around, call),
        Leaf::SysTdmrInit => config::tdmr_init(module, around, call),
        Leaf::SysShutdown => update::shutdown(module, around, call),
        Leaf::SysUpdate => update::update(module, around, call),
        Leaf::SysDisable => update::disable(module, around, call),
        _ => return td::call(around.world, call),
    };
    match result {
        Ok(()) => Status::SUCCESS,
        Err(status) => status,
    }
}
