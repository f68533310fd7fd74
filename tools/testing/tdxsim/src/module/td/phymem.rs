// SPDX-License-Identifier: GPL-2.0

//! Leaves on physical memory, whoever owns it: TDH.PHYMEM.*.
//!
//! Rules, statuses and the order of checks: the TDX module source.

use super::{implicit_td, page_metadata, LifeCycle, TdWorld};
use crate::call::Call;
use crate::locks::{LockKey, LockMode};
use crate::module::pamt::PageType;
use crate::profile::PA_BITS;
use crate::status::{operand, Status};

/// Takes RCX, and sets every register that returns a page's metadata to 0.
fn take_page(call: &mut Call<'_>) -> u64 {
    let pa = call.regs.rcx;
    (call.regs.rcx, call.regs.rdx, call.regs.r8) = (0, 0, 0);
    (call.regs.r9, call.regs.r10, call.regs.r11) = (0, 0, 0);
    pa
}

impl TdWorld {
    /// TDH.PHYMEM.CACHE.WB: RCX = 0 to start, 1 to go on after an interruption.
    pub(super) fn phymem_cache_wb(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let command = call.regs.rcx;
        if command > 1 {
            return Err(Status::invalid(operand::RCX));
        }
        let busy = Status::busy(operand::WBCACHE);
        call.lock_exclusive(LockKey::Wbcache(call.package), busy)?;
        call.lock_shared(LockKey::Kot, Status::busy(operand::KOT))?;
        if command == 0 {
            let interruptions = self.cache_wb_interruptions;
            self.keys.start_write_back(call.package, interruptions)
        } else {
            self.keys.resume_write_back(call.package)
        }
    }

    /// TDH.PHYMEM.PAGE.RDMD: RCX = page. Returns type (RCX), owner (RDX), size (R8) and epoch (R9).
    pub(super) fn phymem_page_rdmd(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let pa = take_page(call);
        let shared = LockMode::Shared;
        let (_, entry) = page_metadata(&self.pamt, call, pa, operand::RCX, shared)?;
        call.regs.rcx = entry.page_type as u64;
        call.regs.rdx = entry.owner;
        call.regs.r8 = entry.size as u64;
        call.regs.r9 = entry.epoch;
        Ok(())
    }

    /// TDH.PHYMEM.PAGE.RECLAIM: RCX = page. Returns type (RCX), owner (RDX) and size (R8).
    pub(super) fn phymem_page_reclaim(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let pa = take_page(call);
        let exclusive = LockMode::Exclusive;
        let (base, entry) = page_metadata(&self.pamt, call, pa, operand::RCX, exclusive)?;
        if matches!(entry.page_type, PageType::Free | PageType::Reserved) {
            return Err(Status::PAGE_METADATA_INCORRECT.with(operand::RCX));
        }
        call.regs.rcx = entry.page_type as u64;
        call.regs.rdx = entry.owner;
        call.regs.r8 = entry.size as u64;
        if base != pa {
            return Err(Status::invalid(operand::RCX));
        }
        if entry.page_type == PageType::Tdr {
            let Some(td) = self.tds.get(&pa) else {
                return Err(Status::PAGE_METADATA_INCORRECT.with(operand::RCX));
            };
            if td.life_cycle != LifeCycle::Teardown {
                return Err(Status::LIFECYCLE_STATE_INCORRECT);
            }
            if td.children != 0 {
                return Err(Status::TD_ASSOCIATED_PAGES_EXIST);
            }
            self.tds.remove(&pa);
        } else {
            let td = implicit_td(&mut self.tds, call, entry.owner, LockMode::Shared)?;
            if td.life_cycle != LifeCycle::Teardown {
                return Err(Status::LIFECYCLE_STATE_INCORRECT);
            }
            td.children -= entry.size.pages();
            self.vcpus.remove(&pa);
        }
        self.pamt.release(pa);
        Ok(())
    }

    /// TDH.PHYMEM.PAGE.WBINVD: RCX = page, with a KeyID that does not matter here.
    pub(super) fn phymem_page_wbinvd(&mut self, call: &mut Call<'_>) -> Result<(), Status> {
        let pa = call.regs.rcx;
        if pa >> PA_BITS != 0 {
            return Err(Status::invalid(operand::RCX));
        }
        let pa = call.platform.without_keyid(pa);
        let shared = LockMode::Shared;
        let (_, entry) = page_metadata(&self.pamt, call, pa, operand::RCX, shared)?;
        if entry.page_type == PageType::Free {
            Ok(())
        } else {
            Err(Status::PAGE_METADATA_INCORRECT.with(operand::RCX))
        }
    }
}
