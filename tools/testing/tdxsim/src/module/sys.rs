// SPDX-License-Identifier: GPL-2.0

//! TDH.SYS.INIT and TDH.SYS.LP.INIT, which bring a loaded module up, and TDH.SYS.INFO.
//!
//! Checks and their order: the TDX module source. TDSYSINFO_STRUCT's layout: the TDX module source
//! and Linux before 6.9, which still called TDH.SYS.INFO.

use super::{LeafResult, Module, SigstructHandoff, Surroundings, SysState};
use crate::call::Call;
use crate::locks::LockKey;
use crate::profile::PlatformProfile;
use crate::status::{operand, Status};

/// Size and alignment of TDSYSINFO_STRUCT in bytes.
const SYSINFO_SIZE: u64 = 1024;
/// CPUID leaves that TDSYSINFO_STRUCT has room for, fewer than TD_PARAMS.
const SYSINFO_CPUID_SLOTS: usize = 37;
/// Convertible memory regions that TDH.SYS.INFO returns, unused ones as zeros.
const CMR_COUNT: u64 = 32;
/// TDH.SYS.INIT, R8: the address.
const FATAL_INFO_ADDRESS: u64 = ((1 << 46) - 1) << 6;
/// TDH.SYS.INIT, R8: bits that must be zero.
const FATAL_INFO_RESERVED: u64 = 0x3F | (3 << 52);
/// TDH.SYS.INIT, R8: a fixed interrupt.
const FATAL_INFO_FIXED: u64 = 1;
/// Bytes in one CMR_INFO: base and size.
const CMR_INFO_SIZE: u64 = 16;

/// TDH.SYS.INIT: RCX = 0. Version 1: R8 = where and how the module tells about a fatal error of its
/// own; see [`is_fatal_info_config`]. Once for a loaded module.
pub(super) fn init(module: &mut Module, call: &mut Call<'_>) -> LeafResult {
    let (reserved, fatal_info) = (call.regs.rcx, call.regs.r8);
    // What a check of the platform failed on is returned here; the model's does not say.
    (call.regs.rcx, call.regs.rdx, call.regs.r8) = (0, 0, 0);
    (call.regs.r9, call.regs.r10) = (0, 0);
    if call.version > 1 {
        return Err(Status::invalid(operand::RAX));
    }
    call.lock_exclusive(LockKey::Sys, Status::SYS_BUSY)?;
    if reserved != 0 {
        return Err(Status::invalid(operand::RCX));
    }
    if module.state != SysState::SysinitPending {
        return Err(Status::SYS_INIT_NOT_PENDING);
    }
    if module.profile.sys_init_status != 0 {
        return Err(Status(module.profile.sys_init_status));
    }
    if !module
        .sigstruct
        .fits(&SigstructHandoff::of(&module.profile))
    {
        return Err(Status::SYS_INCOMPATIBLE_SIGSTRUCT);
    }
    call.random()?;
    if call.version > 0 && !is_fatal_info_config(call.platform, fatal_info) {
        return Err(Status::invalid(operand::R8));
    }
    module.state = SysState::SysinitDone;
    Ok(())
}

/// Whether the module takes this as the way in which it is to tell about a fatal error of its own,
/// which this model has none of.
///
/// Bits 51:6 are a shared address, of 64 bytes, or all ones for none; 55:54 an interrupt: none,
/// fixed, NMI, SMI; 63:56 the vector of a fixed one, from 16 on. The others are reserved.
fn is_fatal_info_config(platform: &PlatformProfile, config: u64) -> bool {
    let address = config & FATAL_INFO_ADDRESS;
    let (interrupt, vector) = ((config >> 54) & 3, config >> 56);
    config & FATAL_INFO_RESERVED == 0
        && (address == FATAL_INFO_ADDRESS || platform.is_shared_pa(address, 64))
        && (interrupt != FATAL_INFO_FIXED || vector >= 16)
}

/// TDH.SYS.LP.INIT: no operands. Once on every LP.
pub(super) fn lp_init(module: &mut Module, call: &mut Call<'_>) -> LeafResult {
    (call.regs.rcx, call.regs.rdx, call.regs.r8) = (0, 0, 0);
    call.lock_shared(LockKey::Sys, Status::SYS_BUSY)?;
    if module.state != SysState::SysinitDone {
        return Err(Status::SYS_LP_INIT_NOT_PENDING);
    }
    if module.lp_initialised[call.lp] {
        return Err(Status::SYS_LP_INIT_DONE);
    }
    if module.profile.lp_init_status != 0 {
        return Err(Status(module.profile.lp_init_status));
    }
    module.lp_initialised[call.lp] = true;
    Ok(())
}

/// TDH.SYS.INFO: RCX = address and RDX = size of a buffer for TDSYSINFO_STRUCT, R8 = address and R9
/// = number of entries of one for CMR_INFO. Out: RDX = bytes, R9 = entries written.
pub(super) fn info(module: &Module, around: &Surroundings<'_>, call: &mut Call<'_>) -> LeafResult {
    let (buffer, size, cmrs, cmr_count) =
        (call.regs.rcx, call.regs.rdx, call.regs.r8, call.regs.r9);
    (call.regs.rdx, call.regs.r9) = (0, 0);
    if !module.lp_initialised[call.lp] {
        return Err(Status::SYS_LP_INIT_NOT_DONE);
    }
    if !call.platform.is_shared_pa(buffer, SYSINFO_SIZE) {
        return Err(Status::invalid(operand::RCX));
    }
    if size < SYSINFO_SIZE {
        return Err(Status::invalid(operand::RDX));
    }
    if !call.platform.is_shared_pa(cmrs, CMR_COUNT * CMR_INFO_SIZE) {
        return Err(Status::invalid(operand::R8));
    }
    if cmr_count < CMR_COUNT {
        return Err(Status::invalid(operand::R9));
    }

    let mut regions = Vec::with_capacity((CMR_COUNT * CMR_INFO_SIZE) as usize);
    for region in around.convertible.iter().take(CMR_COUNT as usize) {
        regions.extend(region.base.to_le_bytes());
        regions.extend(region.size.to_le_bytes());
    }
    regions.resize((CMR_COUNT * CMR_INFO_SIZE) as usize, 0);
    if !call.write(buffer, &sysinfo(module)) {
        return Err(Status::invalid(operand::RCX));
    }
    if !call.write(cmrs, &regions) {
        return Err(Status::invalid(operand::R8));
    }
    (call.regs.rdx, call.regs.r9) = (SYSINFO_SIZE, CMR_COUNT);
    Ok(())
}

/// TDSYSINFO_STRUCT.
fn sysinfo(module: &Module) -> [u8; SYSINFO_SIZE as usize] {
    let profile = &module.profile;
    let mut bytes = [0; SYSINFO_SIZE as usize];
    let mut put = |offset: usize, field: &[u8]| {
        bytes[offset..offset + field.len()].copy_from_slice(field);
    };
    put(4, &0x8086u32.to_le_bytes());
    put(8, &profile.build_date.to_le_bytes());
    put(12, &profile.build_num.to_le_bytes());
    put(14, &profile.version.minor.to_le_bytes());
    put(16, &profile.version.major.to_le_bytes());
    // TDH.SYS.RD is there and should be preferred.
    put(18, &[1]);
    put(32, &profile.max_tdmrs.to_le_bytes());
    put(34, &profile.max_reserved_per_tdmr.to_le_bytes());
    put(36, &profile.pamt_4k_entry_size.to_le_bytes());
    put(48, &profile.tdcs_base_size.to_le_bytes());
    put(52, &profile.tdvps_base_size.to_le_bytes());
    put(64, &profile.attributes_fixed0.to_le_bytes());
    put(72, &profile.attributes_fixed1.to_le_bytes());
    put(80, &profile.xfam_fixed0.to_le_bytes());
    put(88, &profile.xfam_fixed1.to_le_bytes());
    let cpuid_config = profile.cpuid_config.iter().take(SYSINFO_CPUID_SLOTS);
    put(128, &(cpuid_config.len() as u32).to_le_bytes());
    for (index, config) in cpuid_config.enumerate() {
        let [eax, ebx, ecx, edx] = config.configurable;
        let words = [config.leaf, config.subleaf, eax, ebx, ecx, edx];
        for (word, value) in words.iter().enumerate() {
            put(132 + index * 24 + word * 4, &value.to_le_bytes());
        }
    }
    bytes
}
