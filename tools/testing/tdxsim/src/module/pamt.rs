// SPDX-License-Identifier: GPL-2.0

//! The Physical Address Metadata Table: what each page of the TDMRs is used for, and by which TD.
//!
//! Rules and numbers: the TDX module source (PAMT manager). The real table is an array in memory
//! that the host gives away; the model keeps only the entries that are not free, so its size
//! follows the pages in use and not the memory of the machine.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::module::config::Tdmr;

/// Bytes in the smallest page.
pub const PAGE_4K: u64 = 1 << 12;
/// Bytes in the page of the level above.
pub const PAGE_2M: u64 = 1 << 21;
/// Bytes in the largest page; TDMRs are whole multiples of it.
pub const PAGE_1G: u64 = 1 << 30;

/// What a page is used for. The values are those that leaves return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PageType {
    /// Not given to the module.
    Free = 0,
    /// In a reserved area of its TDMR.
    Reserved = 1,
    /// A TD's private memory.
    Private = 3,
    /// The root of a TD's control structures.
    Tdr = 4,
    /// A further page of a TD's or a vCPU's control structures.
    Tdcx = 5,
    /// The root of a vCPU's control structures.
    Tdvpr = 6,
    /// A page of a TD's secure EPT.
    Sept = 8,
}

/// The size of a page, as leaves return it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PageSize {
    /// 4 KiB.
    Size4K = 0,
    /// 2 MiB.
    Size2M = 1,
}

impl PageSize {
    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            PageSize::Size4K => PAGE_4K,
            PageSize::Size2M => PAGE_2M,
        }
    }

    /// The size in 4 KiB pages, which is how a TD counts the pages that it owns.
    pub const fn pages(self) -> u64 {
        self.bytes() / PAGE_4K
    }
}

/// One page's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PamtEntry {
    /// What the page is used for.
    pub page_type: PageType,
    /// How large the page is.
    pub size: PageSize,
    /// The physical address of the owning TD's TDR; 0 for a TDR and for a page without owner.
    pub owner: u64,
    /// The TD's epoch when the page was blocked last; 0 for a page that never was.
    pub epoch: u64,
}

impl PamtEntry {
    /// The entry of a page that the module does not use, of this type.
    const fn unused(page_type: PageType) -> PamtEntry {
        PamtEntry {
            page_type,
            size: PageSize::Size4K,
            owner: 0,
            epoch: 0,
        }
    }
}

/// A TDMR with the progress of its initialisation.
#[derive(Clone, Debug)]
struct Block {
    /// The physical addresses that it covers.
    range: Range<u64>,
    /// The parts of it that the module does not use.
    reserved: Vec<Range<u64>>,
    /// Below this address, entries are initialised.
    initialised: u64,
}

/// The PAMT of all TDMRs.
#[derive(Clone, Debug, Default)]
pub struct Pamt {
    blocks: Vec<Block>,
    /// Entries of pages in use, by the page's physical address.
    entries: BTreeMap<u64, PamtEntry>,
}

impl Pamt {
    /// Starts anew with these TDMRs, all of them uninitialised.
    pub fn configure(&mut self, tdmrs: &[Tdmr]) {
        let range = |base: u64, size: u64| base..base + size;
        self.entries.clear();
        self.blocks = tdmrs
            .iter()
            .map(|tdmr| Block {
                range: range(tdmr.range.base, tdmr.range.size),
                reserved: tdmr
                    .reserved
                    .iter()
                    .map(|area| range(area.base, area.size))
                    .collect(),
                initialised: tdmr.range.base,
            })
            .collect();
    }

    /// Which TDMR begins at `base`.
    pub fn tdmr_at(&self, base: u64) -> Option<usize> {
        self.blocks
            .iter()
            .position(|block| block.range.start == base)
    }

    /// Initialises the next `bytes` of TDMR number `tdmr`, as one TDH.SYS.TDMR.INIT does.
    ///
    /// Returns the address below which pages can be used: the end of what is initialised, rounded
    /// down to 1 GiB. `None` when there is no such TDMR or nothing of it is left to initialise.
    pub fn init_range(&mut self, tdmr: usize, bytes: u64) -> Option<u64> {
        let block = self.blocks.get_mut(tdmr)?;
        if block.initialised == block.range.end {
            return None;
        }
        block.initialised = (block.initialised + bytes).min(block.range.end);
        Some(block.initialised & !(PAGE_1G - 1))
    }

    /// Whether every TDMR is initialised to its end.
    pub fn is_initialised(&self) -> bool {
        self.blocks
            .iter()
            .all(|block| block.initialised == block.range.end)
    }

    /// The metadata of the page that holds `pa`, with that page's base address. `None` where there
    /// is none: outside all TDMRs, or in a GiB that is not initialised to its end.
    pub fn lookup(&self, pa: u64) -> Option<(u64, PamtEntry)> {
        let block = self.block(pa)?;
        let base = pa & !(PAGE_4K - 1);
        if let Some((&start, entry)) = self.entries.range(..=base).next_back() {
            if base - start < entry.size.bytes() {
                return Some((start, *entry));
            }
        }
        let is_reserved = block.reserved.iter().any(|area| area.contains(&base));
        let page_type = if is_reserved {
            PageType::Reserved
        } else {
            PageType::Free
        };
        Some((base, PamtEntry::unused(page_type)))
    }

    /// Whether every 4 KiB page of the page of this size at `pa` is free.
    pub fn is_free(&self, pa: u64, size: PageSize) -> bool {
        let Some(block) = self.block(pa) else {
            return false;
        };
        let end = pa + size.bytes();
        let overlaps = |area: &Range<u64>| area.start < end && pa < area.end;
        let is_inside_used_page = self
            .lookup(pa)
            .is_some_and(|(_, entry)| entry.page_type != PageType::Free);
        !is_inside_used_page
            && self.entries.range(pa..end).next().is_none()
            && !block.reserved.iter().any(overlaps)
    }

    /// Gives the free page at `pa` to the TD with this TDR (0: the page becomes a TDR itself).
    pub(crate) fn assign(&mut self, pa: u64, size: PageSize, page_type: PageType, owner: u64) {
        debug_assert!(self.is_free(pa, size));
        let entry = PamtEntry {
            page_type,
            size,
            owner,
            epoch: 0,
        };
        self.entries.insert(pa, entry);
    }

    /// Makes the page at `pa` free again.
    pub(crate) fn release(&mut self, pa: u64) {
        debug_assert!(self.entries.contains_key(&pa));
        self.entries.remove(&pa);
    }

    /// Notes the TD's epoch at the time when the page at `pa` was blocked.
    pub(crate) fn set_epoch(&mut self, pa: u64, epoch: u64) {
        if let Some(entry) = self.entries.get_mut(&pa) {
            entry.epoch = epoch;
        }
    }

    /// How many 4 KiB pages are in use for each purpose.
    pub fn pages_in_use(&self) -> BTreeMap<PageType, u64> {
        let mut counts = BTreeMap::new();
        for entry in self.entries.values() {
            *counts.entry(entry.page_type).or_insert(0) += entry.size.pages();
        }
        counts
    }

    /// Every page in use, by ascending address.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &PamtEntry)> {
        self.entries.iter().map(|(&pa, entry)| (pa, entry))
    }

    /// The TDMR around `pa`, if its metadata for `pa` is initialised.
    fn block(&self, pa: u64) -> Option<&Block> {
        self.blocks
            .iter()
            .find(|block| block.range.contains(&pa) && pa < block.initialised & !(PAGE_1G - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::config::Range as Area;

    /// One TDMR over GiB 1 and 2, with a reserved area in the first.
    fn pamt() -> Pamt {
        let area = |base, size| Area { base, size };
        let mut pamt = Pamt::default();
        pamt.configure(&[Tdmr {
            range: area(PAGE_1G, 2 * PAGE_1G),
            pamts: [area(0, 0); 3],
            reserved: vec![area(PAGE_1G + 0x10_0000, 0x2000)],
        }]);
        pamt
    }

    #[test]
    fn a_gib_is_usable_only_when_it_is_initialised_to_its_end() {
        let mut pamt = pamt();
        assert_eq!(pamt.tdmr_at(PAGE_1G), Some(0));
        assert_eq!(pamt.tdmr_at(0), None);
        assert!(pamt.lookup(PAGE_1G).is_none());
        for step in 1..=512u64 {
            let next = pamt.init_range(0, 4 << 20);
            assert_eq!(next, Some(PAGE_1G + (step / 256) * PAGE_1G));
            assert_eq!(pamt.lookup(PAGE_1G).is_some(), step >= 256);
            assert_eq!(pamt.lookup(2 * PAGE_1G).is_some(), step >= 512);
        }
        assert_eq!(pamt.init_range(0, 4 << 20), None);
        assert_eq!(pamt.init_range(1, 4 << 20), None);
        assert!(pamt.is_initialised());
        assert!(pamt.lookup(0).is_none());
        assert!(pamt.lookup(3 * PAGE_1G).is_none());
    }

    #[test]
    fn a_large_page_covers_all_its_small_ones() {
        let mut pamt = pamt();
        while pamt.init_range(0, PAGE_1G).is_some() {}
        let large = 2 * PAGE_1G + PAGE_2M;
        assert!(pamt.is_free(large, PageSize::Size2M));
        pamt.assign(large, PageSize::Size2M, PageType::Private, 0x1000);
        for pa in [large, large + PAGE_4K, large + PAGE_2M - PAGE_4K] {
            let (base, entry) = pamt.lookup(pa).unwrap();
            assert_eq!((base, entry.page_type), (large, PageType::Private));
            assert!(!pamt.is_free(pa, PageSize::Size4K));
        }
        assert!(pamt.is_free(large + PAGE_2M, PageSize::Size4K));
        assert!(pamt.is_free(large - PAGE_4K, PageSize::Size4K));
        assert_eq!(pamt.pages_in_use()[&PageType::Private], 512);
        pamt.release(large);
        assert!(pamt.is_free(large + PAGE_4K, PageSize::Size4K));
        pamt.assign(large + PAGE_4K, PageSize::Size4K, PageType::Tdr, 0);
        assert!(!pamt.is_free(large, PageSize::Size2M));
    }

    #[test]
    fn reserved_areas_are_never_free() {
        let mut pamt = pamt();
        while pamt.init_range(0, PAGE_1G).is_some() {}
        let reserved = PAGE_1G + 0x10_0000;
        let page_type = |pa| pamt.lookup(pa).unwrap().1.page_type;
        assert_eq!(page_type(reserved - 1), PageType::Free);
        assert_eq!(page_type(reserved), PageType::Reserved);
        assert_eq!(page_type(reserved + 0x1FFF), PageType::Reserved);
        assert_eq!(page_type(reserved + 0x2000), PageType::Free);
        assert!(!pamt.is_free(PAGE_1G, PageSize::Size2M));
    }
}
