// SPDX-License-Identifier: GPL-2.0

//! A timeline of what a simulated TDX host did: an SVG picture of the simulator's trace.
//!
//! [`trace`] reads, [`stops`] finds what belongs together, [`scale`] maps time to the picture's
//! width, [`picture`] draws and [`words`] says the same in words.

pub mod leaves;
pub mod picture;
pub mod scale;
pub mod stops;
pub mod trace;
pub mod words;
