// SPDX-License-Identifier: GPL-2.0

//! The table of private KeyIDs: which are free, which a TD owns, which wait for caches to be
//! written back before somebody else may have them; and the write-back itself.
//!
//! Rules: the TDX module source (the key ownership table, KOT, and TDH.PHYMEM.CACHE.WB's table,
//! WBT).

use std::collections::BTreeMap;
use std::ops::Range;

use crate::status::Status;

/// A set of packages, one bit each. The module itself knows at most 64.
pub type PackageSet = u64;

/// The set of the first `packages` packages.
pub fn all_packages(packages: usize) -> PackageSet {
    debug_assert!((1..=64).contains(&packages));
    u64::MAX >> (64 - packages)
}

/// What a private KeyID is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyId {
    /// A TD may be created with it.
    Free,
    /// It protects the TDX module's own data: the global KeyID.
    Global,
    /// An attempt to configure the module named it as the global KeyID, and failed.
    Reserved,
    /// A TD owns it.
    Assigned,
    /// Its TD does not run any more; these packages' caches may still hold lines of it.
    Flushed(PackageSet),
}

/// A cache write-back that a package has begun.
#[derive(Clone, Debug)]
struct WriteBack {
    /// The KeyIDs that were flushed when it began: those it counts for.
    keyids: Vec<u16>,
    /// How often it will still be interrupted.
    interruptions: u32,
}

/// The private KeyIDs of the platform.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    keyids: BTreeMap<u16, KeyId>,
    /// Interrupted write-backs by package.
    interrupted: BTreeMap<usize, WriteBack>,
}

impl KeyTable {
    /// Starts anew with these private KeyIDs, of which the module keeps `global` for itself.
    pub fn configure(&mut self, keyids: Range<u16>, global: u16) {
        self.keyids = keyids.map(|keyid| (keyid, KeyId::Free)).collect();
        self.keyids.insert(global, KeyId::Global);
        self.interrupted.clear();
    }

    /// What a KeyID is used for; `None` for one that is not private.
    pub fn state(&self, keyid: u16) -> Option<KeyId> {
        self.keyids.get(&keyid).copied()
    }

    /// Every private KeyID, by ascending number.
    pub fn iter(&self) -> impl Iterator<Item = (u16, KeyId)> + '_ {
        self.keyids.iter().map(|(&keyid, &state)| (keyid, state))
    }

    /// Takes a free KeyID out of use.
    pub(crate) fn reserve(&mut self, keyid: u16) {
        if let Some(state @ KeyId::Free) = self.keyids.get_mut(&keyid) {
            *state = KeyId::Reserved;
        }
    }

    /// Gives a free KeyID to a TD.
    pub(crate) fn assign(&mut self, keyid: u16) -> Result<(), Status> {
        match self.keyids.get_mut(&keyid) {
            Some(state @ KeyId::Free) => {
                *state = KeyId::Assigned;
                Ok(())
            }
            _ => Err(Status::HKID_NOT_FREE),
        }
    }

    /// The KeyID's TD has stopped; every package must write its caches back now.
    pub(crate) fn flush(&mut self, keyid: u16, packages: PackageSet) {
        debug_assert_eq!(self.state(keyid), Some(KeyId::Assigned));
        self.keyids.insert(keyid, KeyId::Flushed(packages));
    }

    /// Takes a KeyID back from its TD, if no cache holds lines of it any more.
    pub(crate) fn free(&mut self, keyid: u16) -> Result<(), Status> {
        match self.keyids.get_mut(&keyid) {
            Some(state @ KeyId::Flushed(0)) => {
                *state = KeyId::Free;
                Ok(())
            }
            _ => Err(Status::WBCACHE_NOT_COMPLETE),
        }
    }

    /// Begins a package's cache write-back; it will be interrupted as often as asked for.
    pub(crate) fn start_write_back(
        &mut self,
        package: usize,
        interruptions: u32,
    ) -> Result<(), Status> {
        self.interrupted.remove(&package);
        let keyids: Vec<u16> = self
            .iter()
            .filter(|(_, state)| matches!(state, KeyId::Flushed(_)))
            .map(|(keyid, _)| keyid)
            .collect();
        if keyids.is_empty() {
            return Err(Status::NO_HKID_READY_TO_WBCACHE);
        }
        let session = WriteBack {
            keyids,
            interruptions,
        };
        self.write_back(package, session)
    }

    /// Goes on with a package's interrupted cache write-back.
    pub(crate) fn resume_write_back(&mut self, package: usize) -> Result<(), Status> {
        let session = self
            .interrupted
            .remove(&package)
            .ok_or(Status::WBCACHE_RESUME_ERROR)?;
        self.write_back(package, session)
    }

    /// Works until the next interruption or the end.
    fn write_back(&mut self, package: usize, mut session: WriteBack) -> Result<(), Status> {
        if session.interruptions > 0 {
            session.interruptions -= 1;
            self.interrupted.insert(package, session);
            return Err(Status::INTERRUPTED_RESUMABLE);
        }
        for keyid in session.keyids {
            if let Some(KeyId::Flushed(packages)) = self.keyids.get_mut(&keyid) {
                *packages &= !(1 << package);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> KeyTable {
        let mut table = KeyTable::default();
        table.configure(64..68, 64);
        table
    }

    #[test]
    fn a_keyid_has_one_owner_at_a_time() {
        let mut table = table();
        assert_eq!(table.state(63), None);
        assert_eq!(table.assign(63), Err(Status::HKID_NOT_FREE));
        assert_eq!(table.assign(64), Err(Status::HKID_NOT_FREE));
        assert_eq!(table.assign(65), Ok(()));
        assert_eq!(table.assign(65), Err(Status::HKID_NOT_FREE));
        assert_eq!(table.free(65), Err(Status::WBCACHE_NOT_COMPLETE));
        assert_eq!(
            table.start_write_back(0, 0),
            Err(Status::NO_HKID_READY_TO_WBCACHE)
        );
        table.flush(65, all_packages(2));
        assert_eq!(table.assign(65), Err(Status::HKID_NOT_FREE));
        assert_eq!(table.start_write_back(1, 0), Ok(()));
        assert_eq!(table.free(65), Err(Status::WBCACHE_NOT_COMPLETE));
        assert_eq!(table.start_write_back(0, 0), Ok(()));
        assert_eq!(table.free(65), Ok(()));
        assert_eq!(table.assign(65), Ok(()));
    }

    #[test]
    fn an_interrupted_write_back_counts_only_for_what_was_flushed_at_its_start() {
        let mut table = table();
        for keyid in [65, 66] {
            table.assign(keyid).unwrap();
        }
        table.flush(65, all_packages(1));
        assert_eq!(
            table.resume_write_back(0),
            Err(Status::WBCACHE_RESUME_ERROR)
        );
        assert_eq!(
            table.start_write_back(0, 2),
            Err(Status::INTERRUPTED_RESUMABLE)
        );
        table.flush(66, all_packages(1));
        assert_eq!(
            table.resume_write_back(0),
            Err(Status::INTERRUPTED_RESUMABLE)
        );
        assert_eq!(table.state(65), Some(KeyId::Flushed(1)));
        assert_eq!(table.resume_write_back(0), Ok(()));
        assert_eq!(
            table.resume_write_back(0),
            Err(Status::WBCACHE_RESUME_ERROR)
        );
        assert_eq!(table.state(65), Some(KeyId::Flushed(0)));
        assert_eq!(table.state(66), Some(KeyId::Flushed(1)));
    }

    #[test]
    fn a_new_write_back_ends_an_interrupted_one() {
        let mut table = table();
        table.assign(65).unwrap();
        table.flush(65, all_packages(1));
        assert_eq!(
            table.start_write_back(0, 1),
            Err(Status::INTERRUPTED_RESUMABLE)
        );
        assert_eq!(table.start_write_back(0, 0), Ok(()));
        assert_eq!(
            table.resume_write_back(0),
            Err(Status::WBCACHE_RESUME_ERROR)
        );
    }

    #[test]
    fn the_largest_platform_has_64_packages() {
        assert_eq!(all_packages(1), 1);
        assert_eq!(all_packages(64), u64::MAX);
    }
}
