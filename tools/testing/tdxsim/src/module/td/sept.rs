// SPDX-License-Identifier: GPL-2.0

//! A TD's secure EPT: which private page each guest-physical address (GPA) maps to.
//!
//! States and rules: the TDX module source (SEPT manager) and Linux 7.3's `tdx_arch.h`. The real
//! tree lies in pages that the host gives; the model keeps the entries that are not free, by level
//! and GPA.

use std::collections::BTreeMap;

use crate::module::pamt::PageSize;

/// What a secure EPT entry is, by what it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The next level's page.
    Table,
    /// A private page of the TD.
    Page,
}

/// A secure EPT entry that is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it points to.
    pub target: Target,
    /// The physical address of that.
    pub pa: u64,
    /// The TD has not accepted the page yet.
    pub is_pending: bool,
    /// No new translation is made through it.
    pub is_blocked: bool,
}

/// Bit 7: the entry maps a page.
const LEAF: u64 = 1 << 7;
/// Bits 0, 1, 2 and 10: the guest may read, write, and execute in supervisor and user mode.
const ALL_ACCESS: u64 = 0b111 | (1 << 10);
/// Bits 5:3 and 6: memory type write-back, ignore the guest's PAT.
const WRITE_BACK: u64 = (6 << 3) | (1 << 6);
/// Bit 63: violations do not become a #VE in the guest.
const SUPPRESS_VE: u64 = 1 << 63;

impl Entry {
    /// An entry that maps a page which the TD may use at once.
    pub fn page(pa: u64) -> Entry {
        Entry {
            target: Target::Page,
            pa,
            is_pending: false,
            is_blocked: false,
        }
    }

    /// An entry that maps a page which the TD has yet to accept.
    pub fn pending_page(pa: u64) -> Entry {
        Entry {
            is_pending: true,
            ..Entry::page(pa)
        }
    }

    /// An entry that points to a page of the tree.
    pub fn table(pa: u64) -> Entry {
        Entry {
            target: Target::Table,
            ..Entry::page(pa)
        }
    }

    /// Whether the guest can translate through it.
    pub fn is_present(&self) -> bool {
        !self.is_pending && !self.is_blocked
    }
}

/// The state of an entry, as leaves return it in bits 15:8 of their information.
fn state(entry: Option<&Entry>) -> u64 {
    match entry {
        None => 0,
        Some(entry) => match (entry.is_pending, entry.is_blocked) {
            (false, true) => 1,
            (true, false) => 2,
            (true, true) => 3,
            (false, false) => 4,
        },
    }
}

/// The entry as leaves show it: architectural bits only.
fn architectural(entry: Option<&Entry>) -> u64 {
    let Some(entry) = entry else {
        return SUPPRESS_VE;
    };
    let access = if entry.is_present() { ALL_ACCESS } else { 0 };
    match entry.target {
        Target::Table => access,
        Target::Page => access | WRITE_BACK | LEAF | entry.pa | SUPPRESS_VE,
    }
}

/// Where a walk ended, and at what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The level of the entry.
    pub level: u8,
    /// The entry; `None` when it is free.
    pub entry: Option<Entry>,
}

impl Found {
    /// The entry as leaves return it on an error: the entry itself (RCX), and level and state
    /// (RDX).
    pub fn details(&self) -> (u64, u64) {
        let entry = self.entry.as_ref();
        (
            architectural(entry),
            u64::from(self.level) | (state(entry) << 8),
        )
    }
}

/// The number of bytes that an entry at `level` translates.
pub fn span(level: u8) -> u64 {
    1 << (12 + 9 * u32::from(level))
}

/// The size of a page that an entry at `level` maps.
pub fn page_size(level: u8) -> Option<PageSize> {
    match level {
        0 => Some(PageSize::Size4K),
        1 => Some(PageSize::Size2M),
        _ => None,
    }
}

/// A secure EPT.
#[derive(Clone, Debug)]
pub struct Sept {
    /// The level of the entries in the root page: 3 or 4.
    top_level: u8,
    /// Entries that are not free, by level and the first GPA that they translate.
    entries: BTreeMap<(u8, u64), Entry>,
}

impl Sept {
    /// An empty tree of which the root's entries are of this level.
    pub fn new(top_level: u8) -> Sept {
        Sept {
            top_level,
            entries: BTreeMap::new(),
        }
    }

    /// The level of the root's entries.
    pub fn top_level(&self) -> u8 {
        self.top_level
    }

    /// Walks towards the entry for `gpa` at `level`, and ends there or at the first entry that does
    /// not lead further down.
    pub fn walk(&self, gpa: u64, level: u8) -> Found {
        let mut at = self.top_level;
        loop {
            let entry = self.entries.get(&(at, gpa & !(span(at) - 1))).copied();
            let leads_down =
                entry.is_some_and(|entry| entry.target == Target::Table && entry.is_present());
            if at <= level || !leads_down {
                return Found { level: at, entry };
            }
            at -= 1;
        }
    }

    /// Fills the free entry for `gpa` at `level`.
    pub fn set(&mut self, gpa: u64, level: u8, entry: Entry) {
        self.entries.insert((level, gpa), entry);
    }

    /// Makes the entry for `gpa` at `level` free.
    pub fn clear(&mut self, gpa: u64, level: u8) {
        self.entries.remove(&(level, gpa));
    }

    /// Every entry that is not free, with its level and GPA.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u64, &Entry)> {
        self.entries
            .iter()
            .map(|(&(level, gpa), entry)| (level, gpa, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_ends_where_the_tree_does() {
        let gpa = 0x40_0020_3000;
        let mut sept = Sept::new(3);
        let free = |level| Found { level, entry: None };
        assert_eq!(sept.walk(gpa, 0), free(3));
        for level in (1..=3).rev() {
            let table = Entry::table(0x1000 * u64::from(level));
            sept.set(gpa & !(span(level) - 1), level, table);
            assert_eq!(sept.walk(gpa, 0), free(level - 1));
            assert_eq!(sept.walk(gpa, level).entry, Some(table));
        }
        let page = Entry::page(0x9000);
        sept.set(gpa, 0, page);
        assert_eq!(sept.walk(gpa, 0).entry, Some(page));
        assert_eq!(sept.walk(gpa + 0x1000, 0), free(0));
        // Blocking a table hides everything below it.
        let blocked = Entry {
            is_blocked: true,
            ..Entry::table(0x2000)
        };
        sept.set(gpa & !(span(2) - 1), 2, blocked);
        let found = sept.walk(gpa, 0);
        assert_eq!((found.level, found.entry), (2, Some(blocked)));
        sept.clear(gpa & !(span(2) - 1), 2);
        assert_eq!(sept.walk(gpa, 0), free(2));
    }

    #[test]
    fn details_name_level_and_state() {
        let details = |level, entry| Found { level, entry }.details();
        assert_eq!(details(3, None), (1 << 63, 0x003));
        assert_eq!(details(1, Some(Entry::table(0x5000))), (0x407, 0x401));
        let page = Entry::page(0x5000);
        let blocked = Entry {
            is_blocked: true,
            ..page
        };
        let pending = Entry::pending_page(0x5000);
        let pending_blocked = Entry {
            is_blocked: true,
            ..pending
        };
        assert_eq!(details(0, Some(page)), ((1 << 63) | 0x54F7, 0x400));
        assert_eq!(details(0, Some(blocked)), ((1 << 63) | 0x50F0, 0x100));
        assert_eq!(details(0, Some(pending)), ((1 << 63) | 0x50F0, 0x200));
        assert_eq!(
            details(0, Some(pending_blocked)),
            ((1 << 63) | 0x50F0, 0x300)
        );
    }
}
