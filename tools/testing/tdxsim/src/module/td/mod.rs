// SPDX-License-Identifier: GPL-2.0

//! Trust domains (TDs): everything that the module keeps about them, and the leaves that the host
//! builds them up, reads them and takes them down with.
//!
//! Rules, statuses and the order of checks: the TDX module source (`vmm_dispatcher/api_calls`).
//! What a host does with them: Linux 7.3's `arch/x86/kvm/vmx/tdx.c`.
//!
//! What is not modelled: entering a TD (TDH.VP.ENTER is answered like a leaf that does not exist),
//! so that no vCPU ever runs in an old TLB epoch, but as a test wants it; nested VMs in a TD; migration, service TDs and
//! devices. The control structures live in this model, not in the pages that the host gives for
//! them: these keep the content that they had.

mod fields;
mod lifecycle;
mod memory;
pub mod mrtd;
pub mod params;
mod phymem;
pub mod sept;
mod vcpu;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use crate::call::Call;
use crate::leaf::Leaf;
use crate::locks::{LockKey, LockMode};
use crate::module::config::Tdmr;
use crate::module::keys::{KeyTable, PackageSet};
use crate::module::pamt::{PageSize, PageType, Pamt, PamtEntry, PAGE_4K};
use crate::module::update::Handoff;
use crate::status::{operand, Status};

use mrtd::{Digest384, Measurement};
use params::TdParams;
use sept::Sept;
use vcpu::Vcpu;

pub use vcpu::MAX_TDVPS_PAGES;

/// TDCS pages that a TD can have.
pub const MAX_TDCS_PAGES: usize = 9;

/// Where a TD is between creation and end, by what becomes of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LifeCycle {
    /// The TD has a KeyID, but not yet a key on every package.
    HkidAssigned = 0,
    /// The TD can be built and used.
    KeysConfigured = 1,
    /// No vCPU can be associated any more; caches are to be written back.
    Blocked = 2,
    /// The KeyID is free again; pages can be reclaimed.
    Teardown = 3,
}

impl LifeCycle {
    /// The state's name in the specifications.
    pub fn name(self) -> &'static str {
        match self {
            LifeCycle::HkidAssigned => "HKID_ASSIGNED",
            LifeCycle::KeysConfigured => "KEYS_CONFIGURED",
            LifeCycle::Blocked => "BLOCKED",
            LifeCycle::Teardown => "TEARDOWN",
        }
    }
}

/// How far a TD's build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpState {
    /// TDH.MNG.INIT is to come.
    Uninitialized = 0,
    /// The TD is being built: pages are added and measured.
    Initialized = 1,
    /// The measurement is final.
    Runnable = 2,
}

impl OpState {
    /// The state's name in the specifications.
    pub fn name(self) -> &'static str {
        match self {
            OpState::Uninitialized => "UNINITIALIZED",
            OpState::Initialized => "INITIALIZED",
            OpState::Runnable => "RUNNABLE",
        }
    }
}

/// The states in which most leaves that work on an initialised TD are allowed.
const BUILDING_OR_RUNNABLE: &[OpState] = &[OpState::Initialized, OpState::Runnable];
/// The state that is left with TDH.MR.FINALIZE.
const BUILDING: &[OpState] = &[OpState::Initialized];

/// MRTD, before and after TDH.MR.FINALIZE.
#[derive(Clone, Debug)]
enum Mrtd {
    Building(Measurement),
    Final(Digest384),
}

/// What TDH.MNG.INIT sets up.
#[derive(Clone, Debug)]
struct Tdcs {
    params: TdParams,
    sept: Sept,
    mrtd: Mrtd,
    /// The TLB epoch; the first one is 1.
    epoch: u64,
    /// So many TDH.MEM.TRACKs still find a vCPU in the epoch before.
    old_epoch_uses: u32,
    /// The x2APIC id of every initialised vCPU by vCPU index; `None` where the host gave none.
    x2apic_ids: Vec<Option<u32>>,
}

/// A TD.
#[derive(Clone, Debug)]
struct Td {
    keyid: u16,
    life_cycle: LifeCycle,
    is_fatal: bool,
    /// Packages that have the key.
    packages: PackageSet,
    tdcs_pages: Vec<u64>,
    /// How many 4 KiB pages the TD owns beside its TDR.
    children: u64,
    uuid: [u64; 4],
    tdcs: Option<Tdcs>,
    /// The build is counted among those that an update would hurt.
    is_build_counted: bool,
}

impl Td {
    fn op_state(&self) -> OpState {
        match &self.tdcs {
            None => OpState::Uninitialized,
            Some(tdcs) => match tdcs.mrtd {
                Mrtd::Building(_) => OpState::Initialized,
                Mrtd::Final(_) => OpState::Runnable,
            },
        }
    }

    /// The checks that a leaf begins with which needs the TD's control structure.
    fn check_control_structure(&self, call: &Call<'_>) -> Result<(), Status> {
        if self.is_fatal {
            return Err(Status::TD_FATAL);
        }
        if self.life_cycle != LifeCycle::KeysConfigured {
            return Err(Status::TD_KEYS_NOT_CONFIGURED);
        }
        if self.tdcs_pages.len() < whole_pages(call.module.tdcs_base_size) {
            return Err(Status::TDCS_NOT_ALLOCATED);
        }
        Ok(())
    }

    fn wrong_op_state(&self) -> Status {
        Status::OP_STATE_INCORRECT.with(self.op_state() as u32)
    }

    /// The control structure of a TD that must be in one of these operation states. A leaf that
    /// holds the TDR exclusively needs no lock on the state; others share it.
    fn control_structure(
        &mut self,
        call: &mut Call<'_>,
        state_lock: Option<LockKey>,
        allowed: &[OpState],
    ) -> Result<&mut Tdcs, Status> {
        self.check_control_structure(call)?;
        if let Some(key) = state_lock {
            call.lock_shared(key, Status::busy(operand::OP_STATE))?;
        }
        let wrong_state = self.wrong_op_state();
        if !allowed.contains(&self.op_state()) {
            return Err(wrong_state);
        }
        self.tdcs.as_mut().ok_or(wrong_state)
    }
}

/// What can be seen of a TD from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdInfo {
    /// The physical address of the TDR, which identifies the TD.
    pub tdr: u64,
    /// The life-cycle state.
    pub life_cycle: LifeCycle,
    /// The operation state.
    pub op_state: OpState,
    /// The private KeyID that it has, or had.
    pub keyid: u16,
    /// How many vCPUs are initialised.
    pub vcpus: usize,
    /// How many 4 KiB pages the TD owns beside its TDR.
    pub pages: u64,
    /// The build is counted among those that an update would hurt.
    pub is_build_counted: bool,
    /// The measurement, when it is final.
    pub mrtd: Option<Digest384>,
}

impl fmt::Display for TdInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "tdr={:#x} life_cycle={} op_state={} keyid={} vcpus={} pages={} mrtd=",
            self.tdr,
            self.life_cycle.name(),
            self.op_state.name(),
            self.keyid,
            self.vcpus,
            self.pages,
        )?;
        match &self.mrtd {
            None => write!(f, "-"),
            Some(digest) => digest.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// All TDs, with the pages and KeyIDs that they use.
#[derive(Clone, Debug, Default)]
pub struct TdWorld {
    /// What every page is used for.
    pub pamt: Pamt,
    keys: KeyTable,
    tds: BTreeMap<u64, Td>,
    vcpus: BTreeMap<u64, Vcpu>,
    /// Measurement contexts of another version are refused, not misread.
    detects_mrtd_context: bool,
    interrupted_migrations: u16,
    cache_wb_interruptions: u32,
    /// So many key configurations still find the key hardware busy.
    key_hardware_busy: u32,
}

impl TdWorld {
    /// Starts anew after TDH.SYS.CONFIG: with these TDMRs, not yet initialised, and these private
    /// KeyIDs, of which the module keeps `global_keyid` for itself.
    pub fn configure(&mut self, tdmrs: &[Tdmr], global_keyid: u16, keyids: Range<u16>) {
        *self = TdWorld {
            interrupted_migrations: self.interrupted_migrations,
            cache_wb_interruptions: self.cache_wb_interruptions,
            key_hardware_busy: self.key_hardware_busy,
            ..TdWorld::default()
        };
        self.pamt.configure(tdmrs);
        self.keys.configure(keyids, global_keyid);
    }

    /// Takes a private KeyID that is free out of use.
    pub fn reserve_keyid(&mut self, keyid: u16) {
        self.keys.reserve(keyid);
    }

    /// A new module has taken over: TDs, keys and PAMT are still there, but builds are only counted
    /// further when the handoff data is of a version that has the counts.
    pub fn after_update(&mut self, handoff: &Handoff) {
        if handoff.old_hv == 0 {
            self.interrupted_migrations = 0;
            for td in self.tds.values_mut() {
                td.is_build_counted = false;
            }
        }
        self.detects_mrtd_context = handoff.detect_mrtd_context;
    }

    /// How many TD builds an update would hurt, as far as the module knows.
    pub fn build_count(&self) -> u16 {
        let counted = self.tds.values().filter(|td| td.is_build_counted);
        u16::try_from(counted.count()).unwrap_or(u16::MAX)
    }

    /// How many interrupted migrations an update would hurt.
    pub fn interrupted_migrations(&self) -> u16 {
        self.interrupted_migrations
    }

    /// Pretends that so many migrations are interrupted; the model has no migration of its own.
    pub fn set_interrupted_migrations(&mut self, count: u16) {
        self.interrupted_migrations = count;
    }

    /// Lets every TDH.PHYMEM.CACHE.WB that starts from now on be interrupted so many times.
    pub fn set_cache_wb_interruptions(&mut self, count: u32) {
        self.cache_wb_interruptions = count;
    }

    /// Lets the next key configurations, so many of them, find the key hardware busy, be it for a TD
    /// or for the module itself.
    pub fn set_key_hardware_busy(&mut self, count: u32) {
        self.key_hardware_busy = count;
    }

    /// Takes one of those away; says whether there was one.
    pub fn is_key_hardware_busy(&mut self) -> bool {
        take_one(&mut self.key_hardware_busy)
    }

    /// Lets the next TDH.MEM.TRACKs of a TD, so many of them, find a vCPU in the epoch before. Says
    /// whether there is a TD with this TDR that TDH.MNG.INIT was done for.
    pub fn set_old_epoch_uses(&mut self, tdr: u64, count: u32) -> bool {
        let tdcs = self.tds.get_mut(&tdr).and_then(|td| td.tdcs.as_mut());
        let Some(tdcs) = tdcs else {
            return false;
        };
        tdcs.old_epoch_uses = count;
        true
    }

    /// Makes a TD fatal, as hardware does when a line of its memory fails the integrity check. Says
    /// whether there is a TD with this TDR.
    pub fn set_fatal(&mut self, tdr: u64) -> bool {
        match self.tds.get_mut(&tdr) {
            Some(td) => {
                td.is_fatal = true;
                true
            }
            None => false,
        }
    }

    /// The private KeyIDs.
    pub fn keys(&self) -> &KeyTable {
        &self.keys
    }

    /// Every TD, by ascending address of its TDR.
    pub fn tds(&self) -> impl Iterator<Item = TdInfo> + '_ {
        self.tds.iter().map(|(&tdr, td)| TdInfo {
            tdr,
            life_cycle: td.life_cycle,
            op_state: td.op_state(),
            keyid: td.keyid,
            vcpus: td.tdcs.as_ref().map_or(0, |tdcs| tdcs.x2apic_ids.len()),
            pages: td.children,
            is_build_counted: td.is_build_counted,
            mrtd: match td.tdcs.as_ref().map(|tdcs| &tdcs.mrtd) {
                Some(Mrtd::Final(digest)) => Some(*digest),
                _ => None,
            },
        })
    }

    /// How many vCPUs of a TD are associated with an LP.
    fn associated_vcpus(&self, tdr: u64) -> usize {
        let of_td = self.vcpus.values().filter(|vcpu| vcpu.tdr == tdr);
        of_td.filter(|vcpu| vcpu.is_associated()).count()
    }

    /// The measurement of a TD under build, as the running module reads it.
    fn measurement<'a>(
        mrtd: &'a mut Mrtd,
        call: &Call<'_>,
        detects: bool,
    ) -> Result<&'a mut Measurement, Status> {
        let running = call.module.mrtd_context;
        match mrtd {
            Mrtd::Building(measurement) if !detects || measurement.version() == running => {
                measurement.read_by(running);
                Ok(measurement)
            }
            _ => Err(Status::INCOMPATIBLE_MRTD_CONTEXT),
        }
    }
}

/// Runs one of the TD leaves.
///
/// The dispatcher has made its own checks: the module is ready, and a version above 0 exists for
/// the leaf.
pub fn call(world: &mut TdWorld, call: &mut Call<'_>) -> Status {
    // TDH.MEM.SEPT.ADD, TDH.MNG.RD, TDH.VP.RD and TDH.VP.INIT have a version 1.
    if call.version > 1 {
        return Status::invalid(operand::RAX);
    }
    let result = match call.leaf {
        Leaf::MngCreate => world.mng_create(call),
        Leaf::MngKeyConfig => world.mng_key_config(call),
        Leaf::MngAddcx => world.mng_addcx(call),
        Leaf::MngInit => world.mng_init(call),
        Leaf::MngRd => world.mng_rd(call),
        Leaf::MngVpflushdone => world.mng_vpflushdone(call),
        Leaf::MngKeyFreeid => world.mng_key_freeid(call),
        Leaf::VpCreate => world.vp_create(call),
        Leaf::VpAddcx => world.vp_addcx(call),
        Leaf::VpInit => world.vp_init(call),
        Leaf::VpRd => world.vp_rd(call),
        Leaf::VpWr => world.vp_wr(call),
        Leaf::VpFlush => world.vp_flush(call),
        Leaf::MemSeptAdd => world.mem_sept_add(call),
        Leaf::MemPageAdd => world.mem_page_add(call),
        Leaf::MemPageAug => world.mem_page_aug(call),
        Leaf::MemPageRemove => world.mem_page_remove(call),
        Leaf::MemRangeBlock => world.mem_range_block(call),
        Leaf::MemTrack => world.mem_track(call),
        Leaf::MrExtend => world.mr_extend(call),
        Leaf::MrFinalize => world.mr_finalize(call),
        Leaf::PhymemCacheWb => world.phymem_cache_wb(call),
        Leaf::PhymemPageRdmd => world.phymem_page_rdmd(call),
        Leaf::PhymemPageReclaim => world.phymem_page_reclaim(call),
        Leaf::PhymemPageWbinvd => world.phymem_page_wbinvd(call),
        _ => Err(Status::invalid(operand::RAX)),
    };
    match result {
        Ok(()) => Status::SUCCESS,
        Err(status) => status,
    }
}

/// Takes one from a count; says whether there was one.
fn take_one(count: &mut u32) -> bool {
    let is_left = *count > 0;
    *count -= u32::from(is_left);
    is_left
}

/// How many pages a structure of this size needs.
fn whole_pages(bytes: u16) -> usize {
    usize::from(bytes).div_ceil(PAGE_4K as usize)
}

/// The metadata of the page that an operand names, with its base: the address must be aligned and
/// without KeyID, covered by initialised PAMT, and not locked by others in a way that forbids
/// `mode`.
fn page_metadata(
    pamt: &Pamt,
    call: &mut Call<'_>,
    pa: u64,
    operand: u32,
    mode: LockMode,
) -> Result<(u64, PamtEntry), Status> {
    if pa % PAGE_4K != 0 || pa != call.platform.without_keyid(pa) {
        return Err(Status::invalid(operand));
    }
    let (base, entry) = pamt
        .lookup(pa)
        .ok_or(Status::OPERAND_ADDR_RANGE_ERROR.with(operand))?;
    call.lock(LockKey::Page(base), mode, Status::busy(operand))?;
    Ok((base, entry))
}

/// Checks that an operand names a 4 KiB page of this type, and locks it; see [`page_metadata`].
fn page(
    pamt: &Pamt,
    call: &mut Call<'_>,
    pa: u64,
    operand: u32,
    mode: LockMode,
    expected: PageType,
) -> Result<PamtEntry, Status> {
    let (_, entry) = page_metadata(pamt, call, pa, operand, mode)?;
    if entry.page_type != expected || entry.size != PageSize::Size4K {
        return Err(Status::PAGE_METADATA_INCORRECT.with(operand));
    }
    Ok(entry)
}

/// The TD whose TDR an operand names.
fn explicit_td<'a>(
    pamt: &Pamt,
    tds: &'a mut BTreeMap<u64, Td>,
    call: &mut Call<'_>,
    tdr: u64,
    operand: u32,
    mode: LockMode,
) -> Result<&'a mut Td, Status> {
    page(pamt, call, tdr, operand, mode, PageType::Tdr)?;
    tds.get_mut(&tdr)
        .ok_or(Status::PAGE_METADATA_INCORRECT.with(operand))
}

/// The TD that owns a page which an operand named.
fn implicit_td<'a>(
    tds: &'a mut BTreeMap<u64, Td>,
    call: &mut Call<'_>,
    tdr: u64,
    mode: LockMode,
) -> Result<&'a mut Td, Status> {
    call.lock(LockKey::Page(tdr), mode, Status::busy(operand::TDR))?;
    tds.get_mut(&tdr)
        .ok_or(Status::PAGE_METADATA_INCORRECT.with(operand::TDR))
}

/// Checks an operand that points into the host's own memory: it must be aligned, and have a KeyID
/// that the host may use.
fn check_shared(call: &Call<'_>, pa: u64, alignment: u64, operand: u32) -> Result<(), Status> {
    if call.platform.is_shared_pa(pa, alignment) {
        Ok(())
    } else {
        Err(Status::invalid(operand))
    }
}
