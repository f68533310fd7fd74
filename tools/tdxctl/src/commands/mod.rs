// SPDX-License-Identifier: GPL-2.0

//! The commands, one a file.

pub mod check;
pub mod ok;
pub mod show;
pub mod status;
pub mod update;
