// SPDX-License-Identifier: GPL-2.0

//! Tests of those files of the driver that use `core` alone, compiled for the host.
//!
//! The files are the driver's own, not copies; they find each other by `crate::` as they do there.
//! The images that they are given come from the `tdximage` crate, which writes them from its own
//! table of the format and so is a second reading of the same sources.

#![cfg(test)]

#[path = "../../../../image.rs"]
mod image;
#[path = "../../../../preflight.rs"]
mod preflight;
#[path = "../../../../sigstruct.rs"]
mod sigstruct;

mod image_tests;
mod preflight_tests;
mod samples;
mod sigstruct_tests;
