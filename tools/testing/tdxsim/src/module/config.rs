// SPDX-License-Identifier: GPL-2.0

//! TDH.SYS.CONFIG with what it checks about TDMRs, TDH.SYS.KEY.CONFIG and TDH.SYS.TDMR.INIT.
//!
//! Checks and their order: the TDX module source; TDH.SYS.CONFIG version 1: the kernel mailing
//! list.

use super::{LeafResult, Module, Surroundings, SysState};
use crate::call::Call;
use crate::locks::LockKey;
use crate::profile::{features, ModuleProfile, PlatformProfile};
use crate::status::{operand, Status};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Alignment in bytes of the array of TDMR_INFO addresses and of each TDMR_INFO.
const TDMR_INFO_ALIGNMENT: u64 = 512;
/// Bytes in a TDMR_INFO: base and size, base and size of three PAMTs, sixteen reserved areas.
const TDMR_INFO_SIZE: usize = 320;
/// Reserved areas in a TDMR_INFO.
const RESERVED_AREAS: usize = 16;

/// TDH.SYS.CONFIG, R8 bit 16: allocate the PAMT's 4 KiB level on demand.
const DYNAMIC_PAMT: u64 = 1 << 16;
/// TDH.SYS.CONFIG, R8 bits that must be zero.
const R8_RESERVED: u64 = !0x1_FFFF;

/// Memory that one TDH.SYS.TDMR.INIT initialises the PAMT for.
const INIT_STEP: u64 = 4 * MIB;
/// The same with the PAMT's 4 KiB level allocated on demand.
const INIT_STEP_DYNAMIC: u64 = 16 * MIB;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Length in bytes.
    pub size: u64,
}

impl Range {
    /// The first address behind the range.
    pub fn end(self) -> u64 {
        self.base + self.size
    }

    fn overlaps(self, other: Range) -> bool {
        self.base < other.end() && other.base < self.end()
    }

    fn contains(self, other: Range) -> bool {
        self.base <= other.base && other.end() <= self.end()
    }

    /// Whether the range has an end, and both it and the base are addresses without KeyID.
    fn is_addressable(self, platform: &PlatformProfile) -> bool {
        self.base < platform.keyid_base()
            && self
                .base
                .checked_add(self.size)
                .is_some_and(|end| end <= platform.keyid_base())
    }
}

/// The level of a page size in statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Size4K = 0,
    Size2M = 1,
    Size1G = 2,
}

impl Level {
    fn page_size(self) -> u64 {
        match self {
            Level::Size4K => 4 * KIB,
            Level::Size2M => 2 * MIB,
            Level::Size1G => GIB,
        }
    }
}

/// A TDMR as TDH.SYS.CONFIG accepted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tdmr {
    /// What it covers: whole GiB.
    pub range: Range,
    /// Its PAMTs for 1 GiB, 2 MiB and 4 KiB pages, in this order.
    pub pamts: [Range; 3],
    /// The parts of it that the module does not use, as physical ranges in ascending order.
    pub reserved: Vec<Range>,
}

impl Tdmr {
    fn pamt(&self, level: Level) -> Range {
        match level {
            Level::Size1G => self.pamts[0],
            Level::Size2M => self.pamts[1],
            Level::Size4K => self.pamts[2],
        }
    }

    /// What lies between the reserved areas.
    fn available(&self) -> Vec<Range> {
        let mut available = Vec::new();
        let mut base = self.range.base;
        for area in &self.reserved {
            if area.base > base {
                let size = area.base - base;
                available.push(Range { base, size });
            }
            base = area.end();
        }
        if self.range.end() > base {
            let size = self.range.end() - base;
            available.push(Range { base, size });
        }
        available
    }
}

/// TDMR_INFO as it is in memory: nothing is checked yet.
struct TdmrInfo([u64; TDMR_INFO_SIZE / 8]);

impl TdmrInfo {
    fn read(call: &Call<'_>, pa: u64) -> Option<TdmrInfo> {
        if !call.platform.is_shared_pa(pa, TDMR_INFO_ALIGNMENT) {
            return None;
        }
        let mut words = [0; TDMR_INFO_SIZE / 8];
        read_words(call, pa, &mut words).then_some(TdmrInfo(words))
    }

    fn range(&self, index: usize) -> Range {
        Range {
            base: self.0[index * 2],
            size: self.0[index * 2 + 1],
        }
    }

    fn tdmr(&self) -> Range {
        self.range(0)
    }

    fn pamts(&self) -> [Range; 3] {
        [self.range(1), self.range(2), self.range(3)]
    }

    /// A reserved area; its base is an offset into the TDMR.
    fn area(&self, index: usize) -> Range {
        self.range(4 + index)
    }
}

/// Reads little-endian words.
fn read_words(call: &Call<'_>, pa: u64, words: &mut [u64]) -> bool {
    let mut bytes = vec![0; words.len() * 8];
    if !call.read(pa, &mut bytes) {
        return false;
    }
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes
            .iter()
            .rev()
            .fold(0, |word, byte| (word << 8) | u64::from(*byte));
    }
    true
}

/// TDH.SYS.CONFIG: RCX = array of TDMR_INFO addresses, RDX = their number, R8 bits 15:0 = global
/// KeyID, bit 16 = dynamic PAMT. Version 1: R9 = features, R11 = wall clock.
pub(super) fn config(
    module: &mut Module,
    around: &mut Surroundings<'_>,
    call: &mut Call<'_>,
) -> LeafResult {
    let profile = &module.profile.clone();
    if call.version > profile.config_version {
        return Err(Status::invalid(operand::RAX));
    }
    call.lock_exclusive(LockKey::Sys, Status::SYS_BUSY)?;
    if module.state != SysState::SysinitDone || !module.all_lps_initialised() {
        return Err(Status::SYS_CONFIG_NOT_PENDING);
    }

    let (array, count, options) = (call.regs.rcx, call.regs.rdx, call.regs.r8);
    if !call.platform.is_shared_pa(array, TDMR_INFO_ALIGNMENT) {
        return Err(Status::invalid(operand::RCX));
    }
    if count == 0 || count > u64::from(profile.max_tdmrs) {
        return Err(Status::invalid(operand::RDX));
    }
    let global_keyid = options as u16;
    let dynamic_pamt = options & DYNAMIC_PAMT != 0;
    if options & R8_RESERVED != 0
        || dynamic_pamt && !profile.has(features::DYNAMIC_PAMT)
        || !call.platform.private_keyids().contains(&global_keyid)
    {
        return Err(Status::invalid(operand::R8));
    }
    // The KeyID is the module's from here on, also if what follows fails and another try names
    // another one.
    if !module.reserved_keyids.contains(&global_keyid) {
        module.reserved_keyids.push(global_keyid);
    }
    let mut configured_features = 0;
    if call.version > 0 {
        configured_features = call.regs.r9;
        if !profile.offers(configured_features) {
            return Err(Status::invalid(operand::R9));
        }
        if profile.wants_wall_clock && call.regs.r11 == 0 {
            return Err(Status::invalid(operand::R11));
        }
    }

    let mut addresses = vec![0; count as usize];
    if !read_words(call, array, &mut addresses) {
        return Err(Status::invalid(operand::RCX));
    }
    let checks = TdmrChecks {
        profile,
        platform: call.platform,
        convertible: merge_touching(around.convertible),
        dynamic_pamt,
    };
    let mut tdmrs = Vec::new();
    for address in addresses {
        let info = TdmrInfo::read(call, address).ok_or(Status::invalid(operand::RCX))?;
        let tdmr = checks.check(&tdmrs, &info)?;
        tdmrs.push(tdmr);
    }

    around
        .world
        .configure(&tdmrs, global_keyid, call.platform.private_keyids());
    for keyid in &module.reserved_keyids {
        around.world.reserve_keyid(*keyid);
    }
    module.tdmrs = tdmrs;
    module.global_keyid = global_keyid;
    module.dynamic_pamt = dynamic_pamt;
    module.configured_features = configured_features;
    module.state = SysState::SysconfigDone;
    Ok(())
}

/// Convertible memory with neighbours that touch joined.
fn merge_touching(regions: &[Range]) -> Vec<Range> {
    let mut merged: Vec<Range> = Vec::new();
    for region in regions {
        match merged.last_mut() {
            Some(last) if last.end() == region.base => last.size += region.size,
            _ => merged.push(*region),
        }
    }
    merged
}

/// What the TDMRs are checked against.
struct TdmrChecks<'a> {
    profile: &'a ModuleProfile,
    platform: &'a PlatformProfile,
    convertible: Vec<Range>,
    dynamic_pamt: bool,
}

impl TdmrChecks<'_> {
    /// Checks the next TDMR behind those that passed.
    fn check(&self, passed: &[Tdmr], info: &TdmrInfo) -> Result<Tdmr, Status> {
        let index = passed.len() as u32;
        let range = info.tdmr();
        if range.base.checked_add(range.size).is_none() {
            return Err(Status::INVALID_TDMR.with(index));
        }
        if passed
            .last()
            .is_some_and(|previous| range.base < previous.range.end())
        {
            return Err(Status::NON_ORDERED_TDMR.with(index));
        }
        if range.base % GIB != 0
            || range.size % GIB != 0
            || range.size == 0
            || !range.is_addressable(self.platform)
        {
            return Err(Status::INVALID_TDMR.with(index));
        }
        let tdmr = Tdmr {
            range,
            pamts: info.pamts(),
            reserved: self.reserved_areas(index, info)?,
        };
        self.check_pamts(index, &tdmr)?;
        check_pamts_against_pamts(passed, &tdmr)?;
        check_pamts_against_tdmrs(passed, &tdmr)?;
        for level in [Level::Size1G, Level::Size2M, Level::Size4K] {
            if !self.is_convertible(tdmr.pamt(level)) {
                return Err(Status::PAMT_OUTSIDE_CMRS.with(index | ((level as u32) << 8)));
            }
        }
        if !tdmr
            .available()
            .iter()
            .all(|stretch| self.is_convertible(*stretch))
        {
            return Err(Status::TDMR_OUTSIDE_CMRS.with(index));
        }
        Ok(tdmr)
    }

    /// The reserved areas, in order, inside their TDMR.
    fn reserved_areas(&self, index: u32, info: &TdmrInfo) -> Result<Vec<Range>, Status> {
        let tdmr = info.tdmr();
        let areas = RESERVED_AREAS.min(self.profile.max_reserved_per_tdmr.into());
        let mut reserved: Vec<Range> = Vec::new();
        for j in 0..areas {
            let detail = index | ((j as u32) << 8);
            let area = info.area(j);
            if area.size == 0 {
                if j + 1 < areas && info.area(j + 1).size != 0 {
                    return Err(Status::NON_ORDERED_RESERVED_IN_TDMR.with(detail));
                }
                continue;
            }
            let invalid = Status::INVALID_RESERVED_IN_TDMR.with(detail);
            let end = area.base.checked_add(area.size).ok_or(invalid)?;
            if j > 0 && area.base < info.area(j - 1).end() {
                return Err(Status::NON_ORDERED_RESERVED_IN_TDMR.with(detail));
            }
            if area.base % (4 * KIB) != 0 || area.size % (4 * KIB) != 0 || end > tdmr.size {
                return Err(invalid);
            }
            reserved.push(Range {
                base: tdmr.base + area.base,
                size: area.size,
            });
        }
        Ok(reserved)
    }

    /// Each PAMT by itself: alignment, place and size.
    fn check_pamts(&self, index: u32, tdmr: &Tdmr) -> LeafResult {
        let sizes = self.profile.pamt_entry_sizes();
        for level in [Level::Size1G, Level::Size2M, Level::Size4K] {
            let pamt = tdmr.pamt(level);
            let pages = tdmr.range.size / level.page_size();
            let needed = if self.dynamic_pamt && level == Level::Size4K {
                // A bitmap takes the place of the entries.
                pages / 8
            } else {
                pages * u64::from(sizes[level as usize])
            };
            if !pamt.is_addressable(self.platform)
                || pamt.base % (4 * KIB) != 0
                || pamt.size % (4 * KIB) != 0
                || pamt.size < needed
            {
                return Err(Status::INVALID_PAMT.with(index | ((level as u32) << 8)));
            }
        }
        Ok(())
    }

    fn is_convertible(&self, range: Range) -> bool {
        self.convertible.iter().any(|region| region.contains(range))
    }
}

/// PAMT_OVERLAP with its detail.
fn pamt_overlap(index: usize, level: Level, other: usize) -> Status {
    Status::PAMT_OVERLAP.with(index as u32 | ((level as u32) << 8) | ((other as u32) << 16))
}

/// The order in which overlaps are looked for.
const OVERLAP_ORDER: [Level; 3] = [Level::Size4K, Level::Size2M, Level::Size1G];

/// No PAMT overlaps one of an earlier TDMR or another one of its own.
fn check_pamts_against_pamts(passed: &[Tdmr], tdmr: &Tdmr) -> LeafResult {
    let index = passed.len();
    for (j, other) in passed.iter().enumerate() {
        for level in OVERLAP_ORDER {
            if other
                .pamts
                .iter()
                .any(|pamt| pamt.overlaps(tdmr.pamt(level)))
            {
                return Err(pamt_overlap(index, level, j));
            }
        }
    }
    for (position, level) in OVERLAP_ORDER.into_iter().enumerate() {
        for other in &OVERLAP_ORDER[position + 1..] {
            if tdmr.pamt(level).overlaps(tdmr.pamt(*other)) {
                return Err(pamt_overlap(index, level, index));
            }
        }
    }
    Ok(())
}

/// No PAMT lies in what a TDMR has available: this TDMR's PAMTs in this and the earlier ones, the
/// earlier ones' PAMTs in this one. Reserved areas are fine.
fn check_pamts_against_tdmrs(passed: &[Tdmr], tdmr: &Tdmr) -> LeafResult {
    let index = passed.len();
    let hits = |pamt: Range, available: &[Range]| available.iter().any(|part| part.overlaps(pamt));
    let own = tdmr.available();
    for (j, other) in passed.iter().chain([tdmr]).enumerate() {
        let available = other.available();
        for level in OVERLAP_ORDER {
            if hits(tdmr.pamt(level), &available) {
                return Err(pamt_overlap(index, level, j));
            }
        }
        if j < index {
            for level in OVERLAP_ORDER {
                if hits(other.pamt(level), &own) {
                    return Err(pamt_overlap(j, level, index));
                }
            }
        }
    }
    Ok(())
}

/// TDH.SYS.KEY.CONFIG: no operands. Once on every package.
pub(super) fn key_config(
    module: &mut Module,
    around: &mut Surroundings<'_>,
    call: &mut Call<'_>,
) -> LeafResult {
    call.lock_exclusive(LockKey::Sys, Status::SYS_BUSY)?;
    if module.state != SysState::SysconfigDone {
        return Err(Status::KEY_CONFIG_NOT_PENDING);
    }
    if module.key_configured[call.package] {
        return Err(Status::KEY_CONFIGURED);
    }
    let busy = Status::busy(operand::KEY_HARDWARE);
    call.lock_exclusive(LockKey::KeyHardware(call.package), busy)?;
    if around.world.is_key_hardware_busy() {
        return Err(busy);
    }
    call.random().map_err(|_| Status::KEY_GENERATION_FAILED)?;
    module.key_configured[call.package] = true;
    if module.key_configured.iter().all(|done| *done) {
        module.becomes_ready_with = Some(call.lp);
    }
    Ok(())
}

/// TDH.SYS.TDMR.INIT: RCX = the TDMR's base. Out: RDX = up to where the TDMR can be used.
pub(super) fn tdmr_init(
    module: &Module,
    around: &mut Surroundings<'_>,
    call: &mut Call<'_>,
) -> LeafResult {
    let base = call.regs.rcx;
    call.regs.rdx = 0;
    let index = module
        .tdmrs
        .iter()
        .position(|tdmr| tdmr.range.base == base)
        .ok_or(Status::invalid(operand::RCX))?;
    call.lock_exclusive(LockKey::Tdmr(index), Status::busy(operand::RCX))?;
    let step = if module.dynamic_pamt {
        INIT_STEP_DYNAMIC
    } else {
        INIT_STEP
    };
    call.regs.rdx = around
        .world
        .pamt
        .init_range(index, step)
        .ok_or(Status::TDMR_ALREADY_INITIALIZED)?;
    Ok(())
}

/// The convertible memory of a PC with this much RAM, as QEMU's q35 machine places it and firmware
/// reports it: none in the first MiB; from 2.75 GiB on, all but 2 GiB of it lies above 4 GiB.
/// Without a size, everything that can be RAM in such a machine.
pub fn convertible_memory(ram: Option<u64>) -> Vec<Range> {
    const MOST_BELOW: u64 = 0xB000_0000;
    const FOUR_GIB: u64 = 4 * GIB;
    const MOST_ABOVE: u64 = 1 << 40;
    let (below, above) = match ram {
        None => (MOST_BELOW, MOST_ABOVE),
        Some(ram) if ram < MOST_BELOW => (ram, 0),
        Some(ram) => (2 * GIB, ram - 2 * GIB),
    };
    let regions = [
        Range {
            base: MIB,
            size: below.saturating_sub(MIB),
        },
        Range {
            base: FOUR_GIB,
            size: above.min(MOST_ABOVE),
        },
    ];
    regions
        .into_iter()
        .filter(|region| region.size > 0)
        .collect()
}
