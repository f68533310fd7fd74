// SPDX-License-Identifier: GPL-2.0

//! A TD's private memory: TDH.MEM.*, and TDH.MR.EXTEND, which measures it.
//!
//! Rules, statuses and the order of checks: the TDX module source.
//!
//! Private pages keep their content in the machine's memory, where the model puts it in the clear:
//! there is no encryption, so the host can read what on hardware it could not.

use std::ops::RangeInclusive;

use super::mrtd::CHUNK;
use super::sept::{page_size, span, Entry, Found, Sept, Target};
use super::{
    check_shared, explicit_td, page, page_metadata, take_one, OpState, TdWorld, BUILDING,
    BUILDING_OR_RUNNABLE,
};
use crate::call::Call;
use crate::locks::{LockKey, LockMode};
use crate::module::pamt::{PageSize, PageType, PAGE_4K};
use crate::module::td::params::TdParams;
use crate::status::{operand, Status};

/// Bits of a GPA operand: level 2:0, GPA 51:12; the others must be 0.
const GPA_BITS: u64 = 0x000F_FFFF_FFFF_F000;
const LEVEL_BITS: u64 = 0b111;

/// "No page" in an operand of TDH.MEM.SEPT.ADD version 1.
const NULL_PA: u64 = u64::MAX;
/// Bit 63 of such an operand: ignored on input, "the page was not used" on output.
const UNUSED_PAGE: u64 = 1 << 63;

/// A GPA operand that is well formed.
#[derive(Clone, Copy)]
struct Place {
    tdr: u64,
    gpa: u64,
    level: u8,
}

/// Whether `gpa` is private: the bit that means shared, the topmost of a GPA, and all above are 0.
fn is_private(gpa: u64, params: &TdParams) -> bool {
    gpa >> (params.gpa_width() - 1) == 0
}

impl Place {
    /// Takes RCX apart: a private GPA, aligned for a level that the leaf allows.
    fn parse(
        rcx: u64,
        tdr: u64,
        levels: RangeInclusive<u8>,
        params: &TdParams,
    ) -> Result<Place, Status> {
        let (gpa, level) = (rcx & GPA_BITS, (rcx & LEVEL_BITS) as u8);
        let is_valid = rcx == gpa | u64::from(level)
            && levels.contains(&level)
            && gpa % span(level) == 0
            && is_private(gpa, params);
        if is_valid {
            Ok(Place { tdr, gpa, level })
        } else {
            Err(Status::invalid(operand::RCX))
        }
    }

    /// Walks to the place's entry. Unless the leaf holds the TDR exclusively, it locks the tree in
    /// this mode, and the entry.
    fn walk(
        &self,
        call: &mut Call<'_>,
        sept: &Sept,
        tree_lock: Option<LockMode>,
    ) -> Result<Found, Status> {
        if let Some(mode) = tree_lock {
            let busy = Status::busy(operand::SEPT);
            call.lock(LockKey::SeptTree(self.tdr), mode, busy)?;
        }
        let found = sept.walk(self.gpa, self.level);
        if found.level != self.level {
            let failed = Status::EPT_WALK_FAILED.with(operand::RCX);
            return Err(refuse(call, &found, failed));
        }
        if tree_lock.is_some() {
            let key = LockKey::SeptEntry(self.tdr, self.gpa, self.level);
            call.lock_exclusive(key, Status::busy(operand::RCX))
                .map_err(|busy| refuse(call, &found, busy))?;
        }
        Ok(found)
    }
}

/// Returns the entry that a leaf is refused for, in RCX and RDX, beside the status.
fn refuse(call: &mut Call<'_>, found: &Found, status: Status) -> Status {
    (call.regs.rcx, call.regs.rdx) = found.details();
    status
}

/// Refuses a leaf because of the entry's state.
fn wrong_state(call: &mut Call<'_>, found: &Found) -> Status {
    let status = Status::EPT_ENTRY_STATE_INCORRECT.with(operand::RCX);
    refuse(call, found, status)
}

/// Takes the two first operands, and sets RCX and RDX to what they are without further information.
fn take_operands(call: &mut Call<'_>) -> (u64, u64) {
    (
        std::mem::take(&mut call.regs.rcx),
        std::mem::take(&mut call.regs.rdx),
    )
}

impl TdWorld {
    /// TDH.MEM.SEPT.ADD: RCX = GPA and level, RDX = TDR (bit 0: an existing table is no error), R8
    /// = page; in version 1, R9 to R11 = pages for nested VMs, which this model does not have, and
    /// R8 returns whether the page was used.
    pub(super) fn mem_sept_add(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (rcx, handle) = take_operands(call);
        let operands = [call.regs.r8, call.regs.r9, call.regs.r10, call.regs.r11];
        let pa = match operands[0] {
            NULL_PA => NULL_PA,
            pa => pa & !UNUSED_PAGE,
        };
        if call.version > 0 {
            call.regs.r8 = pa;
        }
        let allows_existing = handle & 1 != 0;
        let tdr = handle & !1;
        let shared = LockMode::Shared;
        let td = explicit_td(&self.pamt, &mut self.tds, call, tdr, operand::RDX, shared)?;
        let state_lock = Some(LockKey::OpState(tdr));
        let tdcs = td.control_structure(call, state_lock, BUILDING_OR_RUNNABLE)?;
        let levels = 1..=tdcs.sept.top_level();
        let place = Place::parse(rcx, tdr, levels, &tdcs.params)?;
        let found = place.walk(call, &tdcs.sept, Some(LockMode::Shared))?;
        let has_table = found
            .entry
            .is_some_and(|entry| entry.target == Target::Table && entry.is_present());
        if found.entry.is_some() && !has_table {
            return Err(wrong_state(call, &found));
        }
        if pa == NULL_PA {
            if call.version == 0 {
                return Err(Status::invalid(operand::R8));
            }
            if !has_table {
                return Err(wrong_state(call, &found));
            }
        } else if has_table && !allows_existing {
            return Err(wrong_state(call, &found));
        } else if !has_table {
            page(
                &self.pamt,
                call,
                pa,
                operand::R8,
                LockMode::Exclusive,
                PageType::Free,
            )?;
        }
        if call.version > 0 {
            for (operand, nested) in (operand::R9..).zip(&operands[1..]) {
                if *nested != NULL_PA {
                    return Err(Status::invalid(operand));
                }
            }
            call.regs.r8 = match (pa, has_table) {
                (NULL_PA, _) | (_, false) => NULL_PA,
                (pa, true) => pa | UNUSED_PAGE,
            };
        }
        if !has_table {
            tdcs.sept.set(place.gpa, place.level, Entry::table(pa));
            td.children += 1;
            self.pamt.assign(pa, PageSize::Size4K, PageType::Sept, tdr);
        }
        Ok(())
    }

    /// TDH.MEM.PAGE.ADD: RCX = GPA and level 0, RDX = TDR, R8 = page, R9 = page to copy from.
    pub(super) fn mem_page_add(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (rcx, tdr) = take_operands(call);
        let (pa, source) = (call.regs.r8, call.regs.r9);
        let exclusive = LockMode::Exclusive;
        let td = explicit_td(
            &self.pamt,
            &mut self.tds,
            call,
            tdr,
            operand::RDX,
            exclusive,
        )?;
        let tdcs = td.control_structure(call, None, BUILDING)?;
        let place = Place::parse(rcx, tdr, 0..=0, &tdcs.params)?;
        let found = place.walk(call, &tdcs.sept, None)?;
        if found.entry.is_some() {
            return Err(wrong_state(call, &found));
        }
        check_shared(call, source, PAGE_4K, operand::R9)?;
        let mut content = [0; PAGE_4K as usize];
        if !call.read(source, &mut content) {
            return Err(Status::invalid(operand::R9));
        }
        page(&self.pamt, call, pa, operand::R8, exclusive, PageType::Free)?;
        let detects = self.detects_mrtd_context;
        let measurement = TdWorld::measurement(&mut tdcs.mrtd, call, detects)?;
        if !call.write(pa, &content) {
            return Err(Status::OPERAND_ADDR_RANGE_ERROR.with(operand::R8));
        }
        measurement.page_add(place.gpa);
        tdcs.sept.set(place.gpa, 0, Entry::page(pa));
        td.children += 1;
        self.pamt
            .assign(pa, PageSize::Size4K, PageType::Private, tdr);
        Ok(())
    }

    /// TDH.MR.EXTEND: RCX = GPA of 256 bytes, RDX = TDR.
    pub(super) fn mr_extend(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (gpa, tdr) = take_operands(call);
        let exclusive = LockMode::Exclusive;
        let td = explicit_td(
            &self.pamt,
            &mut self.tds,
            call,
            tdr,
            operand::RDX,
            exclusive,
        )?;
        let tdcs = td.control_structure(call, None, BUILDING)?;
        if gpa % CHUNK as u64 != 0 || !is_private(gpa, &tdcs.params) {
            return Err(Status::invalid(operand::RCX));
        }
        let found = tdcs.sept.walk(gpa, 0);
        let mapped = found.entry.filter(|entry| entry.target == Target::Page);
        let Some(mapped) = mapped else {
            let absent = Status::EPT_ENTRY_NOT_PRESENT.with(operand::RCX);
            return Err(refuse(call, &found, absent));
        };
        if !mapped.is_present() {
            return Err(Status::EPT_ENTRY_NOT_PRESENT);
        }
        let detects = self.detects_mrtd_context;
        let measurement = TdWorld::measurement(&mut tdcs.mrtd, call, detects)?;
        let mut chunk = [0; CHUNK];
        if !call.read(mapped.pa + gpa % span(found.level), &mut chunk) {
            return Err(Status::OPERAND_ADDR_RANGE_ERROR.with(operand::RCX));
        }
        measurement.extend(gpa, &chunk);
        Ok(())
    }

    /// TDH.MEM.PAGE.AUG: RCX = GPA and level 0 or 1, RDX = TDR, R8 = page.
    pub(super) fn mem_page_aug(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (rcx, tdr) = take_operands(call);
        let pa = call.regs.r8;
        let shared = LockMode::Shared;
        let td = explicit_td(&self.pamt, &mut self.tds, call, tdr, operand::RDX, shared)?;
        let state_lock = Some(LockKey::OpState(tdr));
        let tdcs = td.control_structure(call, state_lock, BUILDING_OR_RUNNABLE)?;
        let place = Place::parse(rcx, tdr, 0..=1, &tdcs.params)?;
        let found = place.walk(call, &tdcs.sept, Some(LockMode::Shared))?;
        let (None, Some(size)) = (found.entry, page_size(place.level)) else {
            return Err(wrong_state(call, &found));
        };
        if pa % size.bytes() != 0 {
            return Err(Status::invalid(operand::R8));
        }
        page_metadata(&self.pamt, call, pa, operand::R8, LockMode::Exclusive)?;
        if !self.pamt.is_free(pa, size) {
            return Err(Status::PAGE_METADATA_INCORRECT.with(operand::R8));
        }
        tdcs.sept
            .set(place.gpa, place.level, Entry::pending_page(pa));
        td.children += size.pages();
        self.pamt.assign(pa, size, PageType::Private, tdr);
        Ok(())
    }

    /// TDH.MEM.RANGE.BLOCK: RCX = GPA and level, RDX = TDR.
    pub(super) fn mem_range_block(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (rcx, tdr) = take_operands(call);
        let shared = LockMode::Shared;
        let td = explicit_td(&self.pamt, &mut self.tds, call, tdr, operand::RDX, shared)?;
        let state_lock = Some(LockKey::OpState(tdr));
        let tdcs = td.control_structure(call, state_lock, BUILDING_OR_RUNNABLE)?;
        let levels = 0..=tdcs.sept.top_level();
        let place = Place::parse(rcx, tdr, levels, &tdcs.params)?;
        let found = place.walk(call, &tdcs.sept, Some(LockMode::Exclusive))?;
        let Some(entry) = found.entry else {
            return Err(wrong_state(call, &found));
        };
        if entry.is_blocked {
            let blocked = Status::GPA_RANGE_ALREADY_BLOCKED.with(operand::RCX);
            return Err(refuse(call, &found, blocked));
        }
        let entry = Entry {
            is_blocked: true,
            ..entry
        };
        tdcs.sept.set(place.gpa, place.level, entry);
        self.pamt.set_epoch(entry.pa, tdcs.epoch);
        Ok(())
    }

    /// TDH.MEM.TRACK: RCX = TDR. No vCPU is ever in an old epoch here, because none runs, unless it is
    /// to be pretended.
    pub(super) fn mem_track(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let tdr = call.regs.rcx;
        let shared = LockMode::Shared;
        let td = explicit_td(&self.pamt, &mut self.tds, call, tdr, operand::RCX, shared)?;
        let state_lock = Some(LockKey::OpState(tdr));
        let tdcs = td.control_structure(call, state_lock, BUILDING_OR_RUNNABLE)?;
        call.lock_exclusive(LockKey::Epoch(tdr), Status::busy(operand::TD_EPOCH))?;
        if take_one(&mut tdcs.old_epoch_uses) {
            return Err(Status::PREVIOUS_TLB_EPOCH_BUSY);
        }
        tdcs.epoch += 1;
        Ok(())
    }

    /// TDH.MEM.PAGE.REMOVE: RCX = GPA and level, RDX = TDR. RCX returns the page.
    pub(super) fn mem_page_remove(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (rcx, tdr) = take_operands(call);
        let shared = LockMode::Shared;
        let td = explicit_td(&self.pamt, &mut self.tds, call, tdr, operand::RDX, shared)?;
        let op_state = td.op_state();
        let state_lock = Some(LockKey::OpState(tdr));
        let tdcs = td.control_structure(call, state_lock, BUILDING_OR_RUNNABLE)?;
        let place = Place::parse(rcx, tdr, 0..=2, &tdcs.params)?;
        let found = place.walk(call, &tdcs.sept, Some(LockMode::Shared))?;
        let mapped = found.entry.filter(|entry| entry.target == Target::Page);
        let Some(mapped) = mapped else {
            return Err(wrong_state(call, &found));
        };
        let removed = LockKey::Page(mapped.pa);
        call.lock_exclusive(removed, Status::busy(operand::RCX))?;
        let metadata = self.pamt.lookup(mapped.pa).map(|(_, entry)| entry);
        let (size, epoch) =
            metadata.map_or((PageSize::Size4K, 0), |entry| (entry.size, entry.epoch));
        if op_state == OpState::Runnable {
            if !mapped.is_blocked {
                let unblocked = Status::GPA_RANGE_NOT_BLOCKED.with(operand::RCX);
                return Err(refuse(call, &found, unblocked));
            }
            if epoch >= tdcs.epoch {
                return Err(Status::TLB_TRACKING_NOT_DONE.with(operand::RCX));
            }
        }
        tdcs.sept.clear(place.gpa, place.level);
        td.children -= size.pages();
        self.pamt.release(mapped.pa);
        call.regs.rcx = mapped.pa;
        Ok(())
    }
}
