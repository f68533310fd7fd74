// SPDX-License-Identifier: GPL-2.0

//! P-SEAMLDR: what it keeps between calls, and its leaves.
//!
//! Leaves, checks, their order and statuses: the P-SEAMLDR source; the layout of SEAMLDR.INFO's
//! result also Linux 7.3's `asm/seamldr.h`. Code is neither placed in the SEAM range nor relocated:
//! whether there is room follows from the sigstruct, whether the rest succeeds from the module's
//! profile.

pub mod image;
pub mod sigstruct;

use sha2::{Digest, Sha384};

use crate::leaf::SeamldrLeaf;
use crate::mem::Memory;
use crate::module::config::Range;
use crate::module::update::HandoffData;
use crate::module::Module;
use crate::profile::PlatformProfile;
use crate::regs::Regs;
use crate::status::Status;

use image::ModuleOf;
use sigstruct::{Sigstruct, SIGSTRUCT_SIZE};

/// Size and alignment in bytes of SEAMLDR.INFO's buffer.
const INFO_SIZE: u64 = 256;
/// Size and alignment in bytes of SEAMLDR.SEAMINFO's buffer.
const SEAMINFO_SIZE: u64 = 2048;
const PAGE_SIZE: u64 = 4096;
/// Most module pages that the parameters can name.
const MAX_MODULE_PAGES: u64 = 496;
/// INFO's field features0: there is SEAMLDR.CLEANUP.
const FEATURE_CLEANUP: u64 = 1 << 1;
/// INFO's field valid when a module's identity is there.
const IDENTITY_VALID: u64 = 0x1FF;
/// RDX after a failed SEAMLDR.INSTALL: the old module's memory is gone.
const UNRECOVERABLE: u64 = 1;
/// Bytes of the SEAM range that P-SEAMLDR has for itself. How many they are is not known.
const OWN_RANGE_SIZE: u64 = 4 << 20;

/// A sequence of calls, one on each LP of the platform. Only one kind can be under way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Round {
    /// None is.
    Idle,
    /// SEAMLDR.INSTALL was called on these LPs.
    Install(Vec<bool>),
    /// SEAMLDR.CLEANUP was called on these LPs.
    Cleanup(Vec<bool>),
    /// SEAMLDR.SHUTDOWN was called on these LPs.
    Shutdown(Vec<bool>),
}

/// The identity of the module that was loaded last, as the SEAMEXTEND register holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    svn_major: u8,
    svn_minor: u8,
    mrseam: [u8; 48],
}

/// P-SEAMLDR's state.
#[derive(Clone, Debug)]
pub struct Seamldr {
    round: Round,
    /// No SEAMCALL reaches the module any more until a round ends well.
    module_blocked: bool,
    identity: Option<Identity>,
    /// Keys and caches may hold what an earlier module left.
    dirty: bool,
    /// Some module was installed since P-SEAMLDR itself was loaded.
    installed_once: bool,
    /// P-SEAMLDR was shut down on all LPs.
    gone: bool,
    updates_left: u32,
    /// Room in the empty update log.
    log_size: u32,
}

/// What a P-SEAMLDR call can read and change beside P-SEAMLDR itself.
pub struct Surroundings<'a> {
    /// The calling LP.
    pub lp: usize,
    /// How many LPs the platform has.
    pub lps: usize,
    /// How many packages the platform has.
    pub packages: usize,
    /// Where operands that are addresses point.
    pub mem: &'a dyn Memory,
    /// The platform.
    pub platform: &'a PlatformProfile,
    /// Its convertible memory.
    pub convertible: &'a [Range],
    /// The module in the SEAM range.
    pub module: &'a mut Option<Module>,
    /// The handoff data in the SEAM range.
    pub handoff: &'a mut Option<HandoffData>,
    /// How many random numbers there are for this call; `None`, but for faults, for any number.
    pub random_left: Option<u64>,
    /// Finds out which module an image's first page stands for.
    pub module_of: &'a ModuleOf<'a>,
    /// A remark for the trace, such as what is wrong with an image.
    pub remark: &'a mut Option<String>,
    /// Set when TDs and their memory are lost: a module was loaded anew.
    pub forget_tds: &'a mut bool,
}

impl Surroundings<'_> {
    /// Draws a random number.
    fn random(&mut self) -> Result<(), Status> {
        match &mut self.random_left {
            Some(0) => return Err(Status::SEAMLDR_ENOENTROPY),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }
}

/// An error of SEAMLDR.INSTALL with what it leaves.
struct InstallError {
    status: Status,
    is_recoverable: bool,
}

impl From<Status> for InstallError {
    fn from(status: Status) -> InstallError {
        InstallError {
            status,
            is_recoverable: true,
        }
    }
}

fn unrecoverable(status: Status) -> InstallError {
    InstallError {
        status,
        is_recoverable: false,
    }
}

/// seamldr_params, in the order of its fields.
struct Params {
    is_update: bool,
    sigstruct: u64,
    pages: Vec<u64>,
}

impl Seamldr {
    /// P-SEAMLDR after boot: with the module that firmware loaded, or without one.
    pub fn new(platform: &PlatformProfile, module: Option<&Module>) -> Seamldr {
        Seamldr {
            round: Round::Idle,
            module_blocked: false,
            identity: module.map(identity_of),
            dirty: module.is_some(),
            installed_once: module.is_some(),
            gone: !platform.seamldr_loaded,
            updates_left: platform.updates_left,
            log_size: platform
                .updates_left
                .saturating_add(module.is_some().into()),
        }
    }

    /// Whether P-SEAMLDR answers at all.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether SEAMCALLs to the module end with VMfailInvalid although its memory may be intact.
    pub fn is_module_blocked(&self) -> bool {
        self.module_blocked
    }

    /// Room for updates in the log.
    pub fn updates_left(&self) -> u32 {
        self.updates_left
    }

    /// Changes the room for updates in the log.
    pub fn set_updates_left(&mut self, updates: u32) {
        self.updates_left = updates;
        self.log_size = self.log_size.max(updates);
    }

    /// What is under way, for the control interface: the kind, and on how many LPs it was called.
    pub fn round(&self) -> Option<(&'static str, usize)> {
        let count = |lps: &[bool]| lps.iter().filter(|called| **called).count();
        match &self.round {
            Round::Idle => None,
            Round::Install(lps) => Some(("install", count(lps))),
            Round::Cleanup(lps) => Some(("cleanup", count(lps))),
            Round::Shutdown(lps) => Some(("shutdown", count(lps))),
        }
    }

    /// Runs a leaf; `rax` is the whole register.
    pub fn call(&mut self, rax: u64, regs: &mut Regs, around: &mut Surroundings<'_>) -> Status {
        let result = match SeamldrLeaf::from_number(rax & !crate::leaf::SEAMLDR_BIT) {
            Some(SeamldrLeaf::Info) => self.info(regs, around),
            Some(SeamldrLeaf::Install) => self.install(regs, around),
            Some(SeamldrLeaf::Shutdown) => self.shutdown(around),
            Some(SeamldrLeaf::Seaminfo) => seaminfo(regs, around),
            Some(SeamldrLeaf::Cleanup) if has_cleanup(around.platform) => self.cleanup(around),
            Some(SeamldrLeaf::Cleanup) | None => Err(Status::SEAMLDR_EBADPARAM),
        };
        match result {
            Ok(()) => Status::SUCCESS,
            Err(status) => status,
        }
    }

    /// SEAMLDR.INFO: RCX = buffer.
    fn info(&self, regs: &Regs, around: &mut Surroundings<'_>) -> Result<(), Status> {
        let platform = around.platform;
        let mut bytes = [0; INFO_SIZE as usize];
        let mut put = |offset: usize, field: &[u8]| {
            bytes[offset..offset + field.len()].copy_from_slice(field);
        };
        let version = platform.seamldr_version;
        put(8, &0x8086u32.to_le_bytes());
        put(12, &platform.seamldr_build_date.to_le_bytes());
        put(16, &platform.seamldr_build_num.to_le_bytes());
        put(18, &version.minor.to_le_bytes());
        put(20, &version.major.to_le_bytes());
        put(22, &version.update.to_le_bytes());
        put(28, &self.updates_left.to_le_bytes());
        if let Some(identity) = self.identity {
            put(32, &IDENTITY_VALID.to_le_bytes());
            put(40, &[identity.svn_minor, identity.svn_major]);
            put(56, &identity.mrseam);
        }
        let seam_ready = around.module.is_some() && !self.module_blocked;
        put(160, &[seam_ready.into()]);
        put(161, &[platform.seam_debug.into()]);
        put(162, &[platform.p_seam_ready.into()]);
        put(168, &platform.seamldr_features.to_le_bytes());
        write_buffer(regs.rcx, &bytes, around)
    }

    /// SEAMLDR.INSTALL: RCX = parameters. Out: RDX = 0 recoverable, 1 not.
    fn install(&mut self, regs: &mut Regs, around: &mut Surroundings<'_>) -> Result<(), Status> {
        regs.rdx = 0;
        let mut called = match &self.round {
            Round::Idle => {
                self.module_blocked = true;
                vec![false; around.lps]
            }
            Round::Install(called) => called.clone(),
            Round::Cleanup(_) | Round::Shutdown(_) => return Err(Status::SEAMLDR_EBADCALL),
        };
        if called[around.lp] {
            return Err(Status::SEAMLDR_EBADCALL);
        }
        called[around.lp] = true;
        if called.contains(&false) {
            self.round = Round::Install(called);
            return Ok(());
        }
        // The last LP's call does the work and ends the round.
        let result = self.install_module(regs.rcx, around);
        self.round = Round::Idle;
        result.map_err(|error| {
            self.fail_install(error.is_recoverable, around.module, around.handoff);
            regs.rdx = if error.is_recoverable {
                0
            } else {
                UNRECOVERABLE
            };
            error.status
        })
    }

    /// Leaves everything as a failed SEAMLDR.INSTALL does: recoverable, with the old module as it
    /// was before the round; else without one. The round is over.
    pub fn fail_install(
        &mut self,
        is_recoverable: bool,
        module: &mut Option<Module>,
        handoff: &mut Option<HandoffData>,
    ) {
        self.round = Round::Idle;
        self.module_blocked = false;
        if !is_recoverable {
            *module = None;
            *handoff = None;
            self.identity = None;
        }
    }

    /// What the last LP's SEAMLDR.INSTALL does.
    fn install_module(
        &mut self,
        params: u64,
        around: &mut Surroundings<'_>,
    ) -> Result<(), InstallError> {
        self.installed_once = true;
        let params = self.read_params(params, around)?;
        let mut bytes = [0; SIGSTRUCT_SIZE];
        if !read(around, params.sigstruct, &mut bytes) {
            return Err(Status::SEAMLDR_EBADPARAM.into());
        }
        let sigstruct = Sigstruct::new(bytes);
        self.check_sigstruct(&sigstruct, &params, around)?;
        around.random()?;
        let available = around.platform.seamrr_size - OWN_RANGE_SIZE;
        if sigstruct.memory_needed(params.pages.len() as u64, around.lps as u64) > available {
            return Err(Status::SEAMLDR_ENOMEM.into());
        }
        if params.is_update {
            if self.updates_left == 0 {
                return Err(Status::SEAMLDR_EBADCALL.into());
            }
            let versions = sigstruct.handoff();
            let handoff = around.handoff.as_ref();
            if !handoff.is_some_and(|data| versions.takes(data.hv)) {
                return Err(Status::SEAMLDR_EBADHANDOFF.into());
            }
        } else {
            self.updates_left = self.log_size;
            *around.handoff = None;
            *around.forget_tds = true;
        }

        // From here on the old module is gone, whatever happens.
        *around.module = None;
        let mut hash = Sha384::new();
        let mut first_page = Vec::new();
        for page in &params.pages {
            let mut bytes = [0; PAGE_SIZE as usize];
            if !read(around, *page, &mut bytes) {
                return Err(unrecoverable(Status::SEAMLDR_EBADPARAM));
            }
            hash.update(bytes);
            if first_page.is_empty() {
                first_page.extend(bytes);
            }
        }
        let profile = (around.module_of)(&first_page, &sigstruct);
        if profile.as_ref().is_ok_and(|profile| !profile.maps) {
            return Err(unrecoverable(Status::SEAMLDR_ENOMEM));
        }
        let hash: [u8; 48] = hash.finalize().into();
        if hash != sigstruct.module_hash() {
            return Err(unrecoverable(Status::SEAMLDR_EBADHASH));
        }
        let profile = profile.map_err(|error| {
            *around.remark = Some(error);
            unrecoverable(Status::SEAMLDR_EBADPARAM)
        })?;
        if !profile.relocates {
            return Err(unrecoverable(Status::SEAMLDR_EBADPARAM));
        }
        // For the new entry of the log.
        around.random().map_err(unrecoverable)?;
        let module = Module::new(
            profile,
            sigstruct.handoff(),
            hash,
            around.lps,
            around.packages,
        );
        self.identity = Some(Identity {
            svn_major: sigstruct.major_svn(),
            svn_minor: sigstruct.minor_svn(),
            mrseam: hash,
        });
        *around.module = Some(module);
        self.updates_left = self.updates_left.saturating_sub(1);
        self.dirty = true;
        self.module_blocked = false;
        Ok(())
    }

    /// Reads and checks seamldr_params.
    fn read_params(&self, address: u64, around: &Surroundings<'_>) -> Result<Params, Status> {
        let bad = Status::SEAMLDR_EBADPARAM;
        let mut bytes = vec![0; PAGE_SIZE as usize];
        if !around.platform.is_shared_pa(address, PAGE_SIZE) || !read(around, address, &mut bytes) {
            return Err(bad);
        }
        let number = |offset: usize, len: usize| {
            let bytes = &bytes[offset..offset + len];
            bytes
                .iter()
                .rev()
                .fold(0, |number, byte| (number << 8) | u64::from(*byte))
        };
        let (version, scenario, sigstruct) = (number(0, 4), number(4, 4), number(8, 8));
        let pages = number(120, 8);
        let is_reserved_zero = bytes[16..120].iter().all(|byte| *byte == 0);
        if version != 0 || !is_reserved_zero || scenario > 1 {
            return Err(bad);
        }
        if !(1..=MAX_MODULE_PAGES).contains(&pages) {
            return Err(bad);
        }
        let pages: Vec<u64> = (0..pages as usize)
            .map(|index| number(128 + index * 8, 8))
            .collect();
        let is_shared = |pa: &u64| around.platform.is_shared_pa(*pa, PAGE_SIZE);
        if !pages.iter().all(is_shared) || !is_shared(&sigstruct) {
            return Err(bad);
        }
        let is_update = scenario == 1;
        if is_update && around.module.is_none() {
            return Err(bad);
        }
        Ok(Params {
            is_update,
            sigstruct,
            pages,
        })
    }

    /// The checks of the sigstruct, before anything is changed.
    fn check_sigstruct(
        &self,
        sigstruct: &Sigstruct,
        params: &Params,
        around: &Surroundings<'_>,
    ) -> Result<(), Status> {
        let platform = around.platform;
        sigstruct.check_fields(platform.seamldr_version.major >= 2)?;
        if sigstruct.signer() != platform.signer
            || sigstruct.is_debug_signed() && !platform.debug_unlocked
        {
            return Err(Status::SEAMLDR_EBADSIG);
        }
        let new = (sigstruct.major_svn(), sigstruct.minor_svn());
        let current = self
            .identity
            .map_or((0, 0), |identity| (identity.svn_major, identity.svn_minor));
        if new.0 == 0 {
            return Err(Status::SEAMLDR_EUNSUPPORTED);
        }
        if params.is_update {
            if new.0 != current.0 {
                return Err(Status::SEAMLDR_EUNSUPPORTED);
            }
            if new.1 < current.1 {
                return Err(Status::SEAMLDR_EBADSIG);
            }
        } else if self.dirty && (new.0 != current.0 || new.1 < current.1) {
            return Err(Status::SEAMLDR_ECLEANUPREQ);
        }
        if !sigstruct.offsets_fit(params.pages.len() as u32) {
            return Err(Status::SEAMLDR_EBADSIG);
        }
        for package in 0..around.packages {
            if sigstruct.supports_cpu(platform.cpu_signature(package)) == Some(false) {
                return Err(Status::SEAMLDR_EUNSUPCPU);
            }
        }
        let has_table = sigstruct.supports_cpu(0).is_some();
        if !has_table && !sigstruct.is_debug_signed() || !sigstruct.is_signature_valid() {
            return Err(Status::SEAMLDR_EBADSIG);
        }
        Ok(())
    }

    /// SEAMLDR.CLEANUP: no operands. On every LP; then any module can be loaded.
    fn cleanup(&mut self, around: &mut Surroundings<'_>) -> Result<(), Status> {
        let mut called = match &self.round {
            Round::Idle => vec![false; around.lps],
            Round::Cleanup(called) => called.clone(),
            Round::Install(_) | Round::Shutdown(_) => return Err(Status::SEAMLDR_EBADCALL),
        };
        if called[around.lp] || !self.installed_once {
            return Err(Status::SEAMLDR_EBADCALL);
        }
        // The first call blocks the module for good, whose SVN is not shown any more, and drops the
        // handoff data.
        self.module_blocked = true;
        *around.handoff = None;
        if let Some(identity) = &mut self.identity {
            (identity.svn_major, identity.svn_minor) = (0, 0);
        }
        called[around.lp] = true;
        if called.contains(&false) {
            self.round = Round::Cleanup(called);
            return Ok(());
        }
        self.round = Round::Idle;
        self.module_blocked = false;
        *around.module = None;
        *around.forget_tds = true;
        self.identity = None;
        self.dirty = false;
        self.updates_left = self.log_size;
        Ok(())
    }

    /// SEAMLDR.SHUTDOWN: no operands. On every LP, LP 0 last; then P-SEAMLDR itself is gone.
    fn shutdown(&mut self, around: &mut Surroundings<'_>) -> Result<(), Status> {
        let mut called = match &self.round {
            Round::Idle => vec![false; around.lps],
            Round::Shutdown(called) => called.clone(),
            Round::Install(_) | Round::Cleanup(_) => return Err(Status::SEAMLDR_EBADCALL),
        };
        if self.dirty {
            return Err(Status::SEAMLDR_ECLEANUPREQ);
        }
        self.module_blocked = true;
        called[around.lp] = true;
        let is_complete = !called.contains(&false);
        self.round = Round::Shutdown(called);
        if is_complete {
            if around.lp != 0 {
                return Err(Status::SEAMLDR_EBADCALL);
            }
            self.gone = true;
        }
        Ok(())
    }
}

/// Whether this P-SEAMLDR knows SEAMLDR.CLEANUP.
fn has_cleanup(platform: &PlatformProfile) -> bool {
    platform.seamldr_features & FEATURE_CLEANUP != 0
}

fn identity_of(module: &Module) -> Identity {
    Identity {
        svn_major: module.profile.svn_major,
        svn_minor: module.profile.svn_minor,
        mrseam: module.mrseam,
    }
}

/// Reads through a shared address.
fn read(around: &Surroundings<'_>, pa: u64, buf: &mut [u8]) -> bool {
    around.mem.read(around.platform.without_keyid(pa), buf)
}

/// Writes a result into a buffer that is aligned to its size.
fn write_buffer(pa: u64, bytes: &[u8], around: &Surroundings<'_>) -> Result<(), Status> {
    let is_shared = around.platform.is_shared_pa(pa, bytes.len() as u64);
    if is_shared && around.mem.write(around.platform.without_keyid(pa), bytes) {
        Ok(())
    } else {
        Err(Status::SEAMLDR_EBADPARAM)
    }
}

/// SEAMLDR.SEAMINFO: RCX = buffer. What firmware reported: LPs, packages, CPUs, convertible memory.
fn seaminfo(regs: &Regs, around: &mut Surroundings<'_>) -> Result<(), Status> {
    let mut bytes = [0; SEAMINFO_SIZE as usize];
    let mut put = |offset: usize, field: &[u8]| {
        bytes[offset..offset + field.len()].copy_from_slice(field);
    };
    put(8, &(around.lps as u32).to_le_bytes());
    put(12, &(around.packages as u32).to_le_bytes());
    for package in 0..around.packages.min(8) {
        let signature = around.platform.cpu_signature(package);
        put(16 + package * 4, &signature.to_le_bytes());
    }
    for (index, region) in around.convertible.iter().take(32).enumerate() {
        put(128 + index * 16, &region.base.to_le_bytes());
        put(136 + index * 16, &region.size.to_le_bytes());
    }
    write_buffer(regs.rcx, &bytes, around)
}
