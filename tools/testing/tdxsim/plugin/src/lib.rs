// SPDX-License-Identifier: GPL-2.0

//! A plugin for QEMU's TCG that makes the CPUs of a guest those of a TDX host.
//!
//! The plugin executes what QEMU's TCG lacks: SEAMCALL, which it passes to the model of the crate
//! `tdxsim`, VMX operation as far as Linux's TDX code needs it, MOVDIR64B, and the MSRs, CPUID bits and
//! CR4 bit that belong to them. It also answers control requests from inside the guest.
//!
//! The module `qemu` is the only part that talks to QEMU, and the only one with unsafe code.

#![warn(unsafe_code)]

mod arguments;
mod control;
mod cpuid;
mod decode;
mod machine;
mod movdir64b;
mod msr;
mod operands;
mod paging;
#[allow(unsafe_code)]
mod qemu;
mod ram;
mod spin;
mod vmx;
