// SPDX-License-Identifier: GPL-2.0

//! Random numbers that are the same in each run.

/// xorshift64 (G. Marsaglia, "Xorshift RNGs", 2003).
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        // Spread small seeds; 0 would give nothing but 0.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The next number, below `limit`, or 0 if that is 0.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        // CAST: The product of 32-bit numbers, of which the upper half is taken.
        (((self.next() >> 32) * u64::from(limit)) >> 32) as u32
    }
}
