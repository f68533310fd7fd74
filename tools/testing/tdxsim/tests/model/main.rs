// SPDX-License-Identifier: GPL-2.0

//! Tests of the model from outside, through SEAMCALLs and control commands.
//!
//! They are tables of what the TDX module and P-SEAMLDR sources, Linux 7.3 and the kernel mailing
//! list say, with statuses written as the numbers that a kernel sees; they do not use the model's
//! own tables.

mod concurrency;
mod config;
mod control;
mod image;
mod machine;
mod properties;
mod seamldr;
mod sys;
mod update;
