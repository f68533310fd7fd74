// SPDX-License-Identifier: GPL-2.0

//! The locks that the TDX module takes inside a leaf, as other LPs see them.
//!
//! The module never waits for a lock: a leaf that finds one taken ends with a busy status. A call
//! takes its locks where the leaf's order of checks says so and keeps them until the call is over,
//! modelled latency included (TDX module source: shared/exclusive "sharex" locks).

use std::collections::BTreeMap;

/// What a lock protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockKey {
    /// The module's global state: TDH.SYS.* leaves that change it, and TDH.SYS.KEY.CONFIG's turn.
    Sys,
    /// A TDMR's initialisation, by index.
    Tdmr(usize),
    /// A page's PAMT entry, by the page's address. A TDR's or TDVPR's own page is locked by this
    /// key too.
    Page(u64),
    /// A TD's secure EPT tree, by the TDR's address.
    SeptTree(u64),
    /// One secure EPT entry, by the TDR's address, GPA and level.
    SeptEntry(u64, u64, u8),
    /// A TD's operation state, by the TDR's address.
    OpState(u64),
    /// A TD's epoch counter, by the TDR's address.
    Epoch(u64),
    /// The table of KeyID owners.
    Kot,
    /// A package's key hardware.
    KeyHardware(usize),
    /// A package's cache write-back.
    Wbcache(usize),
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Together with other shared holders.
    Shared,
    /// Alone.
    Exclusive,
}

/// How many hold a lock.
#[derive(Clone, Copy, Debug)]
enum Held {
    Shared(usize),
    Exclusive,
}

/// All locks that are held at the moment.
#[derive(Debug, Default)]
pub struct Locks {
    held: BTreeMap<LockKey, Held>,
}

impl Locks {
    /// Takes a lock if nobody holds it in a way that forbids this; says whether it did.
    pub fn try_lock(&mut self, key: LockKey, mode: LockMode) -> bool {
        match (self.held.get_mut(&key), mode) {
            (None, LockMode::Shared) => {
                self.held.insert(key, Held::Shared(1));
                true
            }
            (None, LockMode::Exclusive) => {
                self.held.insert(key, Held::Exclusive);
                true
            }
            (Some(Held::Shared(holders)), LockMode::Shared) => {
                *holders += 1;
                true
            }
            (Some(_), _) => false,
        }
    }

    /// Gives back one holding of a lock. A lock that is not held stays so.
    pub fn unlock(&mut self, key: LockKey) {
        match self.held.get_mut(&key) {
            Some(Held::Shared(holders)) if *holders > 1 => *holders -= 1,
            _ => {
                self.held.remove(&key);
            }
        }
    }

    /// Whether no lock is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many locks are held.
    pub fn count(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_holders_keep_an_exclusive_one_out_until_the_last_is_gone() {
        let mut locks = Locks::default();
        assert!(locks.try_lock(LockKey::Sys, LockMode::Shared));
        assert!(locks.try_lock(LockKey::Sys, LockMode::Shared));
        assert!(!locks.try_lock(LockKey::Sys, LockMode::Exclusive));
        locks.unlock(LockKey::Sys);
        assert!(!locks.try_lock(LockKey::Sys, LockMode::Exclusive));
        locks.unlock(LockKey::Sys);
        assert!(locks.try_lock(LockKey::Sys, LockMode::Exclusive));
        assert!(!locks.try_lock(LockKey::Sys, LockMode::Shared));
        assert!(!locks.try_lock(LockKey::Sys, LockMode::Exclusive));
        assert!(locks.try_lock(LockKey::Kot, LockMode::Exclusive));
        locks.unlock(LockKey::Sys);
        locks.unlock(LockKey::Kot);
        assert!(locks.is_empty());
    }
}
