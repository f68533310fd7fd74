// SPDX-License-Identifier: GPL-2.0

//! vCPUs: the TDH.VP.* leaves.
//!
//! Rules, statuses and the order of checks: the TDX module source.

use std::collections::BTreeMap;

use super::fields;
use super::{
    explicit_td, implicit_td, page, whole_pages, TdWorld, Tdcs, BUILDING, BUILDING_OR_RUNNABLE,
};
use crate::call::Call;
use crate::locks::{LockKey, LockMode};
use crate::module::pamt::{PageSize, PageType};
use crate::status::{operand, Status};

/// Pages that a vCPU's control structure can have, the TDVPR included.
pub const MAX_TDVPS_PAGES: usize = 15;

/// Pages of it that each VM inside of the TD needs in addition.
const TDVPS_PAGES_PER_L2_VM: usize = 3;

/// The state of a vCPU before TDH.VP.INIT, as the module numbers it.
const VCPU_UNINITIALIZED: u8 = 0;
/// The state of a vCPU that could be entered.
const VCPU_READY: u8 = 2;

/// Numbers of general-purpose registers that TDH.VP.INIT sets.
const RCX: usize = 1;
const RBX: usize = 3;
const RSI: usize = 6;
const R8: usize = 8;

/// What TDH.VP.INIT sets up.
#[derive(Clone, Debug)]
struct Running {
    index: u32,
    /// The LP that the vCPU is associated with.
    lp: Option<usize>,
    gprs: [u64; 16],
}

/// A vCPU of a TD.
#[derive(Clone, Debug)]
pub struct Vcpu {
    /// The TD's TDR.
    pub(super) tdr: u64,
    /// Pages of the control structure, the TDVPR included.
    pages: usize,
    running: Option<Running>,
    /// Fields that the host wrote, by complete id.
    written: BTreeMap<u64, u64>,
}

impl Vcpu {
    /// The state as the module numbers it.
    pub fn state(&self) -> u8 {
        match self.running {
            None => VCPU_UNINITIALIZED,
            Some(_) => VCPU_READY,
        }
    }

    /// Pages of the control structure, the TDVPR included.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// The number that the vCPU has among those of its TD.
    pub fn index(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.index)
    }

    /// The LP that the vCPU is associated with.
    pub fn lp(&self) -> Option<usize> {
        self.running.as_ref()?.lp
    }

    /// Whether the vCPU is associated with an LP.
    pub fn is_associated(&self) -> bool {
        self.lp().is_some()
    }

    /// The general-purpose registers, numbered as x86 does.
    pub fn gprs(&self) -> &[u64] {
        self.running.as_ref().map_or(&[], |running| &running.gprs)
    }

    /// The value of a field that the host may write.
    pub fn written(&self, id: u64) -> u64 {
        self.written.get(&id).copied().unwrap_or(0)
    }

    /// Sets a field or register, by complete id.
    fn write(&mut self, id: u64, value: u64) {
        let number = (id ^ 0x1020_0003_0000_0000) as usize;
        let register = self
            .running
            .as_mut()
            .and_then(|running| running.gprs.get_mut(number));
        match register {
            Some(register) => *register = value,
            None => {
                self.written.insert(id, value);
            }
        }
    }

    /// Whether the control structure has all pages that it needs in a TD with so many VMs inside.
    fn check_pages(&self, call: &Call<'_>, num_l2_vms: u8) -> Result<(), Status> {
        let more = usize::from(num_l2_vms) * TDVPS_PAGES_PER_L2_VM;
        if self.pages < whole_pages(call.module.tdvps_base_size) + more {
            return Err(Status::TDCX_NUM_INCORRECT);
        }
        Ok(())
    }

    fn wrong_state(&self) -> Status {
        Status::VCPU_STATE_INCORRECT.with(u32::from(self.state()))
    }

    /// Associates the initialised vCPU with this LP, unless it is with another one.
    fn associate(&mut self, lp: usize) -> Result<(), Status> {
        let wrong_state = self.wrong_state();
        let running = self.running.as_mut().ok_or(wrong_state)?;
        match running.lp {
            Some(other) if other != lp => Err(Status::VCPU_ASSOCIATED),
            _ => {
                running.lp = Some(lp);
                Ok(())
            }
        }
    }
}

impl TdWorld {
    /// The address of the TDR of the vCPU whose TDVPR an operand names.
    fn tdr_of_vcpu(
        &self,
        call: &mut Call<'_>,
        tdvpr: u64,
        operand: u32,
        mode: LockMode,
    ) -> Result<u64, Status> {
        page(&self.pamt, call, tdvpr, operand, mode, PageType::Tdvpr).map(|entry| entry.owner)
    }

    /// The vCPU and its TD's control structure, which must allow the leaf.
    fn vcpu_and_tdcs(
        &mut self,
        call: &mut Call<'_>,
        tdvpr: u64,
        operand: u32,
        modes: [LockMode; 2],
        allowed: &[super::OpState],
    ) -> Result<(&mut Vcpu, &mut Tdcs), Status> {
        let [tdvpr_mode, tdr_mode] = modes;
        let tdr = self.tdr_of_vcpu(call, tdvpr, operand, tdvpr_mode)?;
        let td = implicit_td(&mut self.tds, call, tdr, tdr_mode)?;
        let tdcs = td.control_structure(call, Some(LockKey::OpState(tdr)), allowed)?;
        let vcpu = self
            .vcpus
            .get_mut(&tdvpr)
            .ok_or(Status::PAGE_METADATA_INCORRECT.with(operand))?;
        Ok((vcpu, tdcs))
    }

    /// TDH.VP.CREATE: RCX = page for the TDVPR, RDX = TDR.
    pub(super) fn vp_create(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (tdvpr, tdr) = (call.regs.rcx, call.regs.rdx);
        let shared = LockMode::Shared;
        let td = explicit_td(&self.pamt, &mut self.tds, call, tdr, operand::RDX, shared)?;
        td.control_structure(call, Some(LockKey::OpState(tdr)), BUILDING)?;
        let exclusive = LockMode::Exclusive;
        page(
            &self.pamt,
            call,
            tdvpr,
            operand::RCX,
            exclusive,
            PageType::Free,
        )?;
        td.children += 1;
        self.pamt
            .assign(tdvpr, PageSize::Size4K, PageType::Tdvpr, tdr);
        let vcpu = Vcpu {
            tdr,
            pages: 1,
            running: None,
            written: BTreeMap::new(),
        };
        self.vcpus.insert(tdvpr, vcpu);
        Ok(())
    }

    /// TDH.VP.ADDCX: RCX = page, RDX = TDVPR.
    pub(super) fn vp_addcx(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (pa, tdvpr) = (call.regs.rcx, call.regs.rdx);
        let modes = [LockMode::Exclusive, LockMode::Shared];
        let (vcpu, _) = self.vcpu_and_tdcs(call, tdvpr, operand::RDX, modes, BUILDING)?;
        if vcpu.running.is_some() {
            return Err(vcpu.wrong_state());
        }
        if vcpu.pages >= MAX_TDVPS_PAGES {
            return Err(Status::TDCX_NUM_INCORRECT);
        }
        let tdr = vcpu.tdr;
        let exclusive = LockMode::Exclusive;
        page(
            &self.pamt,
            call,
            pa,
            operand::RCX,
            exclusive,
            PageType::Free,
        )?;
        self.pamt.assign(pa, PageSize::Size4K, PageType::Tdcx, tdr);
        if let Some(vcpu) = self.vcpus.get_mut(&tdvpr) {
            vcpu.pages += 1;
        }
        if let Some(td) = self.tds.get_mut(&tdr) {
            td.children += 1;
        }
        Ok(())
    }

    /// TDH.VP.INIT: RCX = TDVPR, RDX = the guest's first RCX; in version 1, R8 = x2APIC id.
    pub(super) fn vp_init(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (tdvpr, guest_rcx, x2apic_id) = (call.regs.rcx, call.regs.rdx, call.regs.r8);
        let has_x2apic_id = call.version > 0;
        let tdr_mode = if has_x2apic_id {
            LockMode::Exclusive
        } else {
            LockMode::Shared
        };
        let modes = [LockMode::Exclusive, tdr_mode];
        let lp = call.lp;
        let (vcpu, tdcs) = self.vcpu_and_tdcs(call, tdvpr, operand::RCX, modes, BUILDING)?;
        vcpu.check_pages(call, tdcs.params.num_l2_vms)?;
        if vcpu.running.is_some() {
            return Err(vcpu.wrong_state());
        }
        if tdcs.x2apic_ids.len() >= usize::from(tdcs.params.max_vcpus) {
            return Err(Status::MAX_VCPUS_EXCEEDED);
        }
        let index = tdcs.x2apic_ids.len() as u32;
        let x2apic_id = if has_x2apic_id {
            let id = u32::try_from(x2apic_id).map_err(|_| Status::invalid(operand::R8))?;
            if tdcs.x2apic_ids.contains(&Some(id)) {
                return Err(Status::X2APIC_ID_NOT_UNIQUE.with(id));
            }
            Some(id)
        } else {
            None
        };
        tdcs.x2apic_ids.push(x2apic_id);
        let mut gprs = [0; 16];
        gprs[RCX] = guest_rcx;
        gprs[R8] = guest_rcx;
        gprs[RBX] = u64::from(tdcs.params.gpa_width());
        gprs[RSI] = u64::from(index);
        vcpu.running = Some(Running {
            index,
            lp: Some(lp),
            gprs,
        });
        Ok(())
    }

    /// The vCPU that TDH.VP.RD or TDH.VP.WR works on, now associated with this LP, and its fields.
    fn vcpu_fields(
        &mut self,
        call: &mut Call<'_>,
        tdvpr: u64,
    ) -> Result<(&mut Vcpu, Vec<fields::Field>), Status> {
        let lp = call.lp;
        let (vcpu, tdcs) = self.vcpu_and_tdcs(
            call,
            tdvpr,
            operand::RCX,
            [LockMode::Shared; 2],
            BUILDING_OR_RUNNABLE,
        )?;
        vcpu.check_pages(call, tdcs.params.num_l2_vms)?;
        vcpu.associate(lp)?;
        let fields = fields::of_vcpu(vcpu, tdcs.params.is_debug(), tdcs.params.xfam);
        Ok((vcpu, fields))
    }

    /// TDH.VP.RD: RCX = TDVPR, RDX = field id. R8 returns the value; in version 1, RDX the next id.
    pub(super) fn vp_rd(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (tdvpr, id) = (call.regs.rcx, call.regs.rdx);
        fields::clear_outputs(call);
        let (_, fields) = self.vcpu_fields(call, tdvpr)?;
        fields::read(call, &fields, id, |_| false)
    }

    /// TDH.VP.WR: RCX = TDVPR, RDX = field id, R8 = value, R9 = mask. R8 returns the old value.
    pub(super) fn vp_wr(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let (tdvpr, id) = (call.regs.rcx, call.regs.rdx);
        let (value, mask) = (call.regs.r8, call.regs.r9);
        fields::clear_outputs(call);
        let (vcpu, fields) = self.vcpu_fields(call, tdvpr)?;
        let (id, old, new) = fields::write(&fields, id, value, mask)?;
        vcpu.write(id, new);
        call.regs.r8 = old;
        Ok(())
    }

    /// TDH.VP.FLUSH: RCX = TDVPR.
    pub(super) fn vp_flush(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let tdvpr = call.regs.rcx;
        let tdr = self.tdr_of_vcpu(call, tdvpr, operand::RCX, LockMode::Exclusive)?;
        let td = implicit_td(&mut self.tds, call, tdr, LockMode::Shared)?;
        if td.life_cycle != super::LifeCycle::KeysConfigured {
            return Err(Status::TD_KEYS_NOT_CONFIGURED);
        }
        let num_l2_vms = td.tdcs.as_ref().map_or(0, |tdcs| tdcs.params.num_l2_vms);
        let vcpu = self.vcpus.get_mut(&tdvpr);
        let vcpu = vcpu.ok_or(Status::PAGE_METADATA_INCORRECT.with(operand::RCX))?;
        vcpu.check_pages(call, num_l2_vms)?;
        match vcpu.running.as_mut() {
            Some(running) if running.lp == Some(call.lp) => {
                running.lp = None;
                Ok(())
            }
            _ => Err(Status::VCPU_NOT_ASSOCIATED),
        }
    }
}
