// SPDX-License-Identifier: GPL-2.0

//! How one module hands over to the next: TDH.SYS.SHUTDOWN, the handoff data, TDH.SYS.UPDATE; and
//! TDH.SYS.DISABLE, after which nothing follows.
//!
//! Checks and their order: the TDX module source, 1.5.25 for AVOID_COMPAT_SENSITIVE and
//! TDH.SYS.UPDATE version 1. TDH.SYS.DISABLE is known from Linux 7.3 only; see `disable`.

use super::config::Tdmr;
use super::{LeafResult, Module, Surroundings, SysState};
use crate::call::Call;
use crate::locks::LockKey;
use crate::profile::features;
use crate::status::{operand, Status};

/// TDH.SYS.SHUTDOWN, RCX bit 16: do not shut down while TD builds or interrupted migrations would
/// be hurt.
pub const AVOID_COMPAT_SENSITIVE: u64 = 1 << 16;

/// Why AVOID_COMPAT_SENSITIVE refused, bits 15:0 of the status.
const REASON_TD_BUILD: u32 = 0;
/// See [`REASON_TD_BUILD`].
const REASON_MIGRATION: u32 = 1;

/// What an old module leaves for the next one in the SEAM range. TDs, keys and PAMT are in memory
/// that no module owns alone; the model keeps them in the TD world all the time.
#[derive(Clone, Debug)]
pub struct HandoffData {
    /// The version of the data.
    pub hv: u16,
    /// The TDMRs.
    pub tdmrs: Vec<Tdmr>,
    /// The global KeyID, configured on every package.
    pub global_keyid: u16,
    /// The PAMT's 4 KiB level is allocated on demand.
    pub dynamic_pamt: bool,
}

/// What a new module learns about the old one when TDH.SYS.UPDATE takes its handoff data over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// The version of the handoff data: what TDH.SYS.SHUTDOWN was asked for.
    pub old_hv: u16,
    /// TDH.SYS.UPDATE version 1 asked for detection of incompatible measurement contexts (r9 bit
    /// 47).
    pub detect_mrtd_context: bool,
}

/// TDH.SYS.SHUTDOWN: RCX bits 15:0 = handoff version, bit 16 = AVOID_COMPAT_SENSITIVE.
pub(super) fn shutdown(
    module: &mut Module,
    around: &mut Surroundings<'_>,
    call: &mut Call<'_>,
) -> LeafResult {
    let (profile, sigstruct) = (&module.profile, &module.sigstruct);
    let mut wanted = call.regs.rcx;
    let mut avoid_compat_sensitive = false;
    if profile.avoid_compat_sensitive {
        avoid_compat_sensitive = wanted & AVOID_COMPAT_SENSITIVE != 0;
        wanted &= !AVOID_COMPAT_SENSITIVE;
    }
    // Older modules know no flags and compare the whole register.
    let hv = u16::try_from(wanted)
        .ok()
        .filter(|hv| sigstruct.takes(*hv))
        .filter(|hv| !sigstruct.no_downgrade || *hv == sigstruct.module_hv)
        .ok_or(Status::invalid(operand::RCX))?;
    call.lock_exclusive(LockKey::Sys, Status::SYS_BUSY)?;
    // From here on the module says SYS_SHUTDOWN to everybody else; the model's calls are atomic, so
    // nobody sees it go back to SYS_READY when one of the following checks fails.
    if around.others_inside {
        return Err(Status::SYS_BUSY);
    }
    if avoid_compat_sensitive {
        let refuse = |count: u16, reason| {
            Err(Status::UPDATE_COMPAT_SENSITIVE.with((u32::from(count) << 16) | reason))
        };
        let (builds, migrations) = (
            around.world.build_count(),
            around.world.interrupted_migrations(),
        );
        if builds != 0 {
            return refuse(builds, REASON_TD_BUILD);
        }
        if migrations != 0 {
            return refuse(migrations, REASON_MIGRATION);
        }
    }
    module.state = SysState::Shutdown;
    *around.handoff = Some(HandoffData {
        hv,
        tdmrs: module.tdmrs.clone(),
        global_keyid: module.global_keyid,
        dynamic_pamt: module.dynamic_pamt,
    });
    Ok(())
}

/// TDH.SYS.UPDATE: version 1 takes R9 = features and R10 = 0.
pub(super) fn update(
    module: &mut Module,
    around: &mut Surroundings<'_>,
    call: &mut Call<'_>,
) -> LeafResult {
    call.lock_exclusive(LockKey::Sys, Status::SYS_BUSY)?;
    if module.state != SysState::SysinitDone || !module.all_lps_initialised() {
        return Err(Status::SYS_STATE_INCORRECT);
    }
    let data = around
        .handoff
        .take_if(|data| module.sigstruct.takes(data.hv))
        .ok_or(Status::SYS_INVALID_HANDOFF)?;
    let features = match check_update_operands(module, call) {
        Ok(features) => features,
        Err(status) => {
            *around.handoff = Some(data);
            return Err(status);
        }
    };
    around.world.after_update(&Handoff {
        old_hv: data.hv,
        detect_mrtd_context: features & features::UPDATE_COMPAT != 0,
    });
    module.tdmrs = data.tdmrs;
    module.global_keyid = data.global_keyid;
    module.key_configured.fill(true);
    module.dynamic_pamt = data.dynamic_pamt;
    module.configured_features = features;
    module.becomes_ready_with = Some(call.lp);
    Ok(())
}

/// What TDH.SYS.UPDATE checks last: version and features.
fn check_update_operands(module: &Module, call: &Call<'_>) -> Result<u64, Status> {
    if call.version > module.profile.update_version {
        return Err(Status::invalid(operand::RAX));
    }
    let features = if call.version == 0 { 0 } else { call.regs.r9 };
    if !module.profile.offers(features) {
        return Err(Status::invalid(operand::R9));
    }
    if call.version > 0 && call.regs.r10 != 0 {
        return Err(Status::invalid(operand::R10));
    }
    if module.profile.update_status != 0 {
        return Err(Status(module.profile.update_status));
    }
    Ok(features)
}

/// TDH.SYS.DISABLE: no operands.
///
/// Linux 7.3 calls it at every shutdown of the machine, also when TDX was never configured, repeats
/// it on SYS_BUSY, and prints an error for everything else but success. So the model succeeds in
/// every state but SYS_SHUTDOWN, and leaves a module that answers SYS_SHUTDOWN and has nothing to
/// hand over.
pub(super) fn disable(
    module: &mut Module,
    around: &mut Surroundings<'_>,
    call: &mut Call<'_>,
) -> LeafResult {
    call.lock_exclusive(LockKey::Sys, Status::SYS_BUSY)?;
    if around.others_inside {
        return Err(Status::SYS_BUSY);
    }
    *around.handoff = None;
    module.state = SysState::Shutdown;
    Ok(())
}
