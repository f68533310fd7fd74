// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the TDX host driver's logic.
//!
//! The files under test are the driver's own. Those that are here neither make SEAMCALLs nor touch
//! the kernel's state, so that the tests run wherever Rust and KUnit do, without TDX.
//!
//! A module of their own keeps them out of tdx-host.ko, and lets them run where its probe fails.

use kernel::prelude::*;

// Not all of a file that is under test is in use.
#[path = "../crypto.rs"]
mod crypto;
#[path = "../evidence.rs"]
mod evidence;
#[allow(dead_code)]
#[path = "../extensible.rs"]
mod extensible;
#[allow(dead_code)]
#[path = "../features.rs"]
mod features;
#[allow(dead_code)]
#[path = "../image.rs"]
mod image;
#[allow(dead_code)]
#[path = "../lockstep.rs"]
mod lockstep;
#[allow(dead_code)]
#[path = "../operands.rs"]
mod operands;
#[allow(dead_code)]
#[path = "../preflight.rs"]
mod preflight;
#[path = "../retry.rs"]
mod retry;
#[allow(dead_code)]
#[path = "../sigstruct.rs"]
mod sigstruct;
#[allow(dead_code)]
#[path = "../status.rs"]
mod status;
#[allow(dead_code)]
#[path = "../uapi.rs"]
mod uapi;

#[macro_use]
mod check;
mod firmware;
mod image_file;
mod random;
mod schedule;
mod threads;

mod evidence_kunit;
mod features_kunit;
mod image_kunit;
mod lockstep_kunit;
mod operands_kunit;
mod preflight_kunit;
mod status_kunit;
mod uapi_kunit;

/// KUnit runs the suites when the module is live.
struct Tests;

impl kernel::Module for Tests {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

module! {
    type: Tests,
    name: "tdx_host_kunit",
    authors: ["tdx_host maintainers"],
    description: "KUnit tests of the TDX host driver",
    license: "GPL",
}
