// SPDX-License-Identifier: GPL-2.0

//! How much RAM the machine has, which QEMU does not tell a plugin.
//!
//! A q35 machine has RAM from address 0 up to somewhere below the PCI hole, and the rest from 4 GiB
//! on. No device is mapped before firmware runs, so that the first address that cannot be read ends
//! a range.

use tdxsim::mem::Memory;

/// The step of the search; QEMU gives out memory in units no smaller.
const STEP: u64 = 1 << 20;

/// Where RAM can begin, and where it ends at the latest.
const RANGES: [(u64, u64); 2] = [(0, 1 << 32), (1 << 32, 1 << 40)];

/// The RAM's size in bytes. Only at the machine's reset.
pub fn probe(memory: &dyn Memory) -> u64 {
    let present = |address: u64| memory.read(address, &mut [0; 8]);
    RANGES
        .iter()
        .map(|&(start, limit)| {
            let mut end = start;
            while end < limit && present(end) {
                end += STEP;
            }
            end - start
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    struct Ranges(Vec<Range<u64>>);

    impl Memory for Ranges {
        fn read(&self, pa: u64, _: &mut [u8]) -> bool {
            self.0.iter().any(|range| range.contains(&pa))
        }

        fn write(&self, _: u64, _: &[u8]) -> bool {
            false
        }
    }

    #[test]
    fn memory_below_and_above_the_hole() {
        let low = 0..0x8000_0000;
        let high = 0x1_0000_0000..0x1_8000_0000;
        assert_eq!(probe(&Ranges(vec![low.clone()])), 0x8000_0000);
        // The BIOS at the end of the hole is not RAM.
        let bios = 0xFFFC_0000..0x1_0000_0000;
        assert_eq!(probe(&Ranges(vec![low, bios, high])), 0x1_0000_0000);
    }
}
