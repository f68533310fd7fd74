// SPDX-License-Identifier: GPL-2.0

//! The leaves that lead a TD through its life cycle: TDH.MNG.*, and TDH.MR.FINALIZE, which ends a
//! build.
//!
//! Rules, statuses and the order of checks: the TDX module source.

use super::fields;
use super::mrtd::Measurement;
use super::params::{TdParams, TD_PARAMS_SIZE};
use super::sept::Sept;
use super::{
    check_shared, explicit_td, page, take_one, whole_pages, LifeCycle, Mrtd, OpState, Td, TdWorld,
    Tdcs, BUILDING, BUILDING_OR_RUNNABLE, MAX_TDCS_PAGES,
};
use crate::call::Call;
use crate::locks::{LockKey, LockMode};
use crate::module::keys::{all_packages, KeyId};
use crate::module::pamt::{PageSize, PageType, PAGE_4K};
use crate::status::{operand, Status};

/// Event filters, of 8 bytes each, in the page that holds them. How many the module takes at most is
/// not known.
const MAX_EVENT_FILTERS: u64 = PAGE_4K / 8;

/// Whether an operand tells of event filters: their number in bits 11:0, and the page with them. What
/// the filters themselves say is not checked.
fn are_event_filters(call: &Call<'_>, operand: u64) -> bool {
    (1..=MAX_EVENT_FILTERS).contains(&(operand % PAGE_4K))
        && call
            .platform
            .is_shared_pa(operand & !(PAGE_4K - 1), PAGE_4K)
}

impl TdWorld {
    /// TDH.MNG.CREATE: RCX = page for the TDR, RDX = KeyID.
    pub(super) fn mng_create(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (tdr, keyid) = (call.regs.rcx, call.regs.rdx);
        let keyid = u16::try_from(keyid)
            .ok()
            .filter(|&keyid| self.keys.state(keyid).is_some())
            .ok_or(Status::invalid(operand::RDX))?;
        let exclusive = LockMode::Exclusive;
        page(
            &self.pamt,
            call,
            tdr,
            operand::RCX,
            exclusive,
            PageType::Free,
        )?;
        call.lock_exclusive(LockKey::Kot, Status::busy(operand::KOT))?;
        if self.keys.state(keyid) != Some(KeyId::Free) {
            return Err(Status::HKID_NOT_FREE);
        }
        let mut uuid = [0; 4];
        for word in &mut uuid {
            *word = call.random()?;
        }
        self.keys.assign(keyid)?;
        self.pamt.assign(tdr, PageSize::Size4K, PageType::Tdr, 0);
        let td = Td {
            keyid,
            life_cycle: LifeCycle::HkidAssigned,
            is_fatal: false,
            packages: 0,
            tdcs_pages: Vec::new(),
            children: 0,
            uuid,
            tdcs: None,
            is_build_counted: false,
        };
        self.tds.insert(tdr, td);
        Ok(())
    }

    /// TDH.MNG.KEY.CONFIG: RCX = TDR. Once on every package.
    pub(super) fn mng_key_config(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let tdr = call.regs.rcx;
        let exclusive = LockMode::Exclusive;
        let td = explicit_td(
            &self.pamt,
            &mut self.tds,
            call,
            tdr,
            operand::RCX,
            exclusive,
        )?;
        if td.is_fatal {
            return Err(Status::TD_FATAL);
        }
        if td.life_cycle != LifeCycle::HkidAssigned {
            return Err(Status::LIFECYCLE_STATE_INCORRECT);
        }
        if td.packages & (1 << call.package) != 0 {
            return Err(Status::KEY_CONFIGURED);
        }
        let busy = Status::busy(operand::KEY_HARDWARE);
        call.lock_exclusive(LockKey::KeyHardware(call.package), busy)?;
        if take_one(&mut self.key_hardware_busy) {
            return Err(busy);
        }
        call.random().map_err(|_| Status::KEY_GENERATION_FAILED)?;
        td.packages |= 1 << call.package;
        if td.packages == all_packages(call.packages) {
            td.life_cycle = LifeCycle::KeysConfigured;
        }
        Ok(())
    }

    /// TDH.MNG.ADDCX: RCX = page, RDX = TDR.
    pub(super) fn mng_addcx(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (pa, tdr) = (call.regs.rcx, call.regs.rdx);
        let exclusive = LockMode::Exclusive;
        let td = explicit_td(
            &self.pamt,
            &mut self.tds,
            call,
            tdr,
            operand::RDX,
            exclusive,
        )?;
        if td.is_fatal {
            return Err(Status::TD_FATAL);
        }
        if td.life_cycle != LifeCycle::KeysConfigured {
            return Err(Status::TD_KEYS_NOT_CONFIGURED);
        }
        if td.tdcs_pages.len() >= MAX_TDCS_PAGES {
            return Err(Status::TDCX_NUM_INCORRECT);
        }
        page(
            &self.pamt,
            call,
            pa,
            operand::RCX,
            exclusive,
            PageType::Free,
        )?;
        if td.tdcs_pages.len() + 1 == whole_pages(call.module.tdcs_base_size) {
            // The key for a migration session, which is the last thing that a new TDCS lacks.
            call.random()?;
        } else if td.op_state() != OpState::Uninitialized {
            return Err(Status::OP_STATE_INCORRECT);
        }
        td.tdcs_pages.push(pa);
        td.children += 1;
        self.pamt.assign(pa, PageSize::Size4K, PageType::Tdcx, tdr);
        Ok(())
    }

    /// TDH.MNG.INIT: RCX = TDR (bit 0: R8 tells of event filters, see [`are_event_filters`]), RDX =
    /// TD_PARAMS. On an error in a configured CPUID value, RCX returns which.
    pub(super) fn mng_init(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (handle, params) = (call.regs.rcx, call.regs.rdx);
        call.regs.rcx = 0;
        let has_event_filters = handle & 1 != 0;
        let tdr = handle & !1;
        let exclusive = LockMode::Exclusive;
        let td = explicit_td(
            &self.pamt,
            &mut self.tds,
            call,
            tdr,
            operand::RCX,
            exclusive,
        )?;
        td.check_control_structure(call)?;
        if td.op_state() != OpState::Uninitialized {
            return Err(td.wrong_op_state());
        }
        check_shared(call, params, TD_PARAMS_SIZE as u64, operand::RDX)?;
        let are_filters_valid = !has_event_filters || are_event_filters(call, call.regs.r8);
        let mut bytes = [0; TD_PARAMS_SIZE];
        if !call.read(params, &mut bytes) {
            return Err(Status::invalid(operand::RDX));
        }
        let needed = whole_pages(call.module.tdcs_base_size);
        let more_pages = td.tdcs_pages.len().saturating_sub(needed);
        let params = TdParams::parse(&bytes, more_pages, are_filters_valid, call.module).map_err(
            |refused| {
                call.regs.rcx = refused.rcx;
                refused.status
            },
        )?;
        td.tdcs = Some(Tdcs {
            sept: Sept::new(params.sept_top_level()),
            params,
            mrtd: Mrtd::Building(Measurement::begin(call.module.mrtd_context)),
            epoch: 1,
            old_epoch_uses: 0,
            x2apic_ids: Vec::new(),
        });
        td.is_build_counted = true;
        Ok(())
    }

    /// TDH.MR.FINALIZE: RCX = TDR.
    pub(super) fn mr_finalize(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let tdr = call.regs.rcx;
        let exclusive = LockMode::Exclusive;
        let td = explicit_td(
            &self.pamt,
            &mut self.tds,
            call,
            tdr,
            operand::RCX,
            exclusive,
        )?;
        let tdcs = td.control_structure(call, None, BUILDING)?;
        if tdcs.x2apic_ids.is_empty() {
            return Err(Status::NO_VCPUS);
        }
        let detects = self.detects_mrtd_context;
        let digest = TdWorld::measurement(&mut tdcs.mrtd, call, detects)?
            .clone()
            .finalize();
        tdcs.mrtd = Mrtd::Final(digest);
        td.is_build_counted = false;
        Ok(())
    }

    /// TDH.MNG.RD: RCX = TDR, RDX = field id. R8 returns the value; in version 1, RDX the next id.
    pub(super) fn mng_rd(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (tdr, id) = (call.regs.rcx, call.regs.rdx);
        fields::clear_outputs(call);
        let associated = self.associated_vcpus(tdr);
        let shared = LockMode::Shared;
        let td = explicit_td(&self.pamt, &mut self.tds, call, tdr, operand::RCX, shared)?;
        td.control_structure(call, Some(LockKey::OpState(tdr)), BUILDING_OR_RUNNABLE)?;
        fields::read(
            call,
            &fields::of_td(td, associated),
            id,
            fields::is_td_cpuid,
        )
    }

    /// TDH.MNG.VPFLUSHDONE: RCX = TDR.
    pub(super) fn mng_vpflushdone(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let tdr = call.regs.rcx;
        let associated = self.associated_vcpus(tdr);
        let exclusive = LockMode::Exclusive;
        let td = explicit_td(
            &self.pamt,
            &mut self.tds,
            call,
            tdr,
            operand::RCX,
            exclusive,
        )?;
        call.lock_exclusive(LockKey::Kot, Status::busy(operand::KOT))?;
        let has_key = [LifeCycle::HkidAssigned, LifeCycle::KeysConfigured];
        if !has_key.contains(&td.life_cycle) {
            return Err(Status::LIFECYCLE_STATE_INCORRECT);
        }
        if associated != 0 {
            return Err(Status::FLUSHVP_NOT_DONE);
        }
        td.life_cycle = LifeCycle::Blocked;
        td.is_build_counted = false;
        self.keys.flush(td.keyid, all_packages(call.packages));
        Ok(())
    }

    /// TDH.MNG.KEY.FREEID: RCX = TDR.
    pub(super) fn mng_key_freeid(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let tdr = call.regs.rcx;
        let exclusive = LockMode::Exclusive;
        let td = explicit_td(
            &self.pamt,
            &mut self.tds,
            call,
            tdr,
            operand::RCX,
            exclusive,
        )?;
        if td.life_cycle != LifeCycle::Blocked {
            return Err(Status::LIFECYCLE_STATE_INCORRECT);
        }
        call.lock_exclusive(LockKey::Kot, Status::busy(operand::KOT))?;
        self.keys.free(td.keyid)?;
        td.life_cycle = LifeCycle::Teardown;
        Ok(())
    }
}
