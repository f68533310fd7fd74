// SPDX-License-Identifier: GPL-2.0

//! Whether the TDX module of this host can be replaced.

use kernel::prelude::*;

use crate::{
    features::Features,
    setup::{
        Setup,
        State, //
    }, //
};

/// Whether there is a TDX module that can be replaced on this host.
pub(crate) fn can_update() -> bool {
    Setup::read().state != State::Lost && update_obstacle().is_none()
}

/// Why the TDX module can never be replaced on this host, whatever its state; `None` if it can.
pub(crate) fn update_obstacle() -> Option<&'static str> {
    let setup = Setup::read();
    if !setup.seamldr_usable {
        // This breaks KVM.
        Some("calls to P-SEAMLDR lose the current VMCS on this CPU")
    } else if !setup.last_offered.contains(Features::TD_PRESERVING) {
        Some("the TDX module cannot preserve TDs")
    } else {
        None
    }
}

/// Says in the kernel log when the TDX module cannot be updated, or not in every way.
pub(crate) fn say() {
    let offered = Setup::read().offered();
    if let Some(obstacle) = update_obstacle() {
        pr_info!("no updates: {obstacle}\n");
    } else if offered.is_some_and(|offered| !offered.contains(Features::UPDATE_COMPAT)) {
        pr_info!("the TDX module does not say that it can protect TD builds in an update\n");
    }
}
