// SPDX-License-Identifier: GPL-2.0

//! One call of a TDX module leaf: who calls, with what, and what it may use while it runs.

use crate::leaf::Leaf;
use crate::locks::{LockKey, LockMode, Locks};
use crate::mem::Memory;
use crate::profile::{ModuleProfile, PlatformProfile};
use crate::regs::Regs;
use crate::status::Status;

/// The module's source of random numbers: a fixed sequence, so that runs repeat.
#[derive(Debug)]
pub struct Entropy {
    state: u64,
}

impl Default for Entropy {
    fn default() -> Entropy {
        Entropy {
            state: 0x7464_7873_696D,
        }
    }
}

impl Entropy {
    /// The next number (the SplitMix64 sequence).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// One call of a leaf, as the leaf's code sees it.
pub struct Call<'a> {
    /// The calling LP's number.
    pub lp: usize,
    /// The package that the LP is in.
    pub package: usize,
    /// How many packages the platform has.
    pub packages: usize,
    /// The leaf.
    pub leaf: Leaf,
    /// RAX bits 23:16.
    pub version: u8,
    /// Operands in, results out. RAX is not the leaf's to write: it returns its status.
    pub regs: &'a mut Regs,
    /// Where operands that are addresses point.
    pub mem: &'a dyn Memory,
    /// The running module.
    pub module: &'a ModuleProfile,
    /// The platform that it runs on.
    pub platform: &'a PlatformProfile,
    /// The locks of all calls.
    pub locks: &'a mut Locks,
    /// The locks that this call took; given back when it is over.
    pub held: &'a mut Vec<LockKey>,
    /// Random numbers.
    pub entropy: &'a mut Entropy,
    /// How many random numbers there are for this call; `None`, but for faults, for any number.
    pub random_left: Option<u64>,
}

impl Call<'_> {
    /// Takes a lock until the end of the call, or ends the leaf with `busy`.
    pub fn lock(&mut self, key: LockKey, mode: LockMode, busy: Status) -> Result<(), Status> {
        if !self.locks.try_lock(key, mode) {
            return Err(busy);
        }
        self.held.push(key);
        Ok(())
    }

    /// Takes a lock alone; see [`Call::lock`].
    pub fn lock_exclusive(&mut self, key: LockKey, busy: Status) -> Result<(), Status> {
        self.lock(key, LockMode::Exclusive, busy)
    }

    /// Takes a lock together with other shared holders; see [`Call::lock`].
    pub fn lock_shared(&mut self, key: LockKey, busy: Status) -> Result<(), Status> {
        self.lock(key, LockMode::Shared, busy)
    }

    /// Fills `buf` from a shared address, whose KeyID is left out; `false` when there is no RAM.
    pub fn read(&self, pa: u64, buf: &mut [u8]) -> bool {
        self.mem.read(self.platform.without_keyid(pa), buf)
    }

    /// Stores `buf` at a shared address, whose KeyID is left out; `false` when there is no RAM.
    pub fn write(&self, pa: u64, buf: &[u8]) -> bool {
        self.mem.write(self.platform.without_keyid(pa), buf)
    }

    /// A random number, or RND_NO_ENTROPY.
    pub fn random(&mut self) -> Result<u64, Status> {
        match &mut self.random_left {
            Some(0) => return Err(Status::RND_NO_ENTROPY),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(self.entropy.next())
    }
}
