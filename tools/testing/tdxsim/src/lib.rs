// SPDX-License-Identifier: GPL-2.0

//! A model of what Intel's TDX module and P-SEAMLDR answer to SEAMCALLs.
//!
//! The model knows no QEMU: it is given a call's registers, the guest's memory and a clock, and
//! gives the registers back. [`Sim`] is the whole of it; a QEMU plugin, or a test, drives it from
//! as many threads as the machine has logical processors (LPs).
//!
//! What a module or a platform is like (features, versions, SVN, KeyIDs, …) comes from profiles;
//! see [`profile`]. Faults, latencies, counters and the next module are steered at run time through
//! the text commands of [`control`].
//!
//! Facts come from Intel's published sources of the TDX module and of P-SEAMLDR, from Linux 7.3,
//! and from the kernel mailing list; every file names its own.

pub mod call;
pub mod config;
pub mod control;
pub mod counters;
pub mod faults;
pub mod leaf;
pub mod locks;
pub mod mem;
pub mod module;
pub mod profile;
pub mod regs;
pub mod seamldr;
pub mod sim;
pub mod status;
mod text;
pub mod trace;

pub use config::SimConfig;
pub use mem::Memory;
pub use regs::{Outcome, Regs};
pub use sim::{Host, Sim};
