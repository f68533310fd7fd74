// SPDX-License-Identifier: GPL-2.0

//! The measurement of a TD while it is built: MRTD.
//!
//! Each TDH.MEM.PAGE.ADD extends a SHA-384 by one 128-byte block, each TDH.MR.EXTEND by one such
//! block and the 256 measured bytes (TDX module source; the same buffers are what tools for the
//! virtual firmware compute expected values from).
//!
//! Between two leaves, the module keeps the unfinished hash in the TD's control structure, in a
//! layout with a version. A module that takes a TD over from one with another version reads it
//! wrongly: this is the hazard that AVOID_COMPAT_SENSITIVE and UPDATE_COMPAT are about.

use sha2::{Digest, Sha384};

/// Bytes that one TDH.MR.EXTEND measures.
pub const CHUNK: usize = 256;

/// A finished measurement.
pub type Digest384 = [u8; 48];

/// The unfinished hash in a TD's control structure.
#[derive(Clone, Debug)]
pub struct Measurement {
    hash: Sha384,
    /// The version of the layout that it was begun in.
    version: u16,
    /// A module with another version has worked on it.
    is_broken: bool,
}

impl Measurement {
    /// Begins a measurement under a module that works with this version of the context.
    pub fn begin(version: u16) -> Measurement {
        Measurement {
            hash: Sha384::new(),
            version,
            is_broken: false,
        }
    }

    /// The version of the layout that it was begun in.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// A module that works with this version of the context is about to use it.
    ///
    /// What a module makes of another's layout depends on both and is not known. The model lets the
    /// hash go on from a state that no sequence of leaves leads to, so that the result is wrong,
    /// and says nothing about it; once wrong, it stays so.
    pub fn read_by(&mut self, version: u16) {
        if version != self.version && !self.is_broken {
            self.is_broken = true;
            self.hash.update([0xFF; 128]);
        }
    }

    /// Measures that a page was added at `gpa`.
    pub fn page_add(&mut self, gpa: u64) {
        self.hash.update(block(b"MEM.PAGE.ADD", gpa));
    }

    /// Measures the content at `gpa`.
    pub fn extend(&mut self, gpa: u64, chunk: &[u8; CHUNK]) {
        self.hash.update(block(b"MR.EXTEND", gpa));
        self.hash.update(chunk);
    }

    /// Ends the measurement.
    pub fn finalize(self) -> Digest384 {
        self.hash.finalize().into()
    }
}

/// The block that stands for one operation: its name, and the GPA at byte 16.
fn block(name: &[u8], gpa: u64) -> [u8; 128] {
    let mut block = [0; 128];
    block[..name.len()].copy_from_slice(name);
    block[16..24].copy_from_slice(&gpa.to_le_bytes());
    block
}
