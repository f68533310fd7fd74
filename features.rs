// SPDX-License-Identifier: GPL-2.0

//! Features of the TDX module: which are offered, and which the driver configures.
//!
//! This file uses `core` alone; see `image.rs`.

use core::fmt;

/// A set of features, in the layout of the metadata field TDX_FEATURES0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Features(u64);

impl Features {
    /// The running module can hand its TDs over to another one.
    pub(crate) const TD_PRESERVING: Self = Self(1 << 1);
    /// Devices assigned to TDs with encrypted links (TDX Connect, `tdx_io`).
    pub(crate) const TDX_CONNECT: Self = Self(1 << 6);
    /// The shutdown can be refused while TDs are being built.
    pub(crate) const UPDATE_COMPAT: Self = Self(1 << 47);

    /// The features that TDH.SYS.CONFIG is asked for wherever the TDX module offers them.
    ///
    /// There is neither a fallback without them nor a knob: what a kernel does with the hardware
    /// is decided by the drivers that use a feature, not by whether it is there.
    const WANTED: &'static [Self] = &[
        // The link encryption and device attestation that PCI/TSM builds on. The TDX module
        // extensions (bit 39, EXT) that it needs follow by themselves: they are a service to
        // TDX Connect, and their bit has no effect here, so it is never put into the bitmap.
        Self::TDX_CONNECT,
    ];

    /// The set with the given bits of TDX_FEATURES0.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits in the layout of TDX_FEATURES0.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are in the set.
    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Of the features that a TDX module offers, those to configure.
    pub(crate) fn to_configure(offered: Self) -> Self {
        Self::WANTED
            .iter()
            .filter(|&&feature| offered.contains(feature))
            .fold(Self(0), |set, feature| Self(set.0 | feature.0))
    }

    /// The names of single features, by bit.
    const NAMES: &'static [(u32, &'static str)] = &[
        (0, "migration"),
        (1, "td-preserving"),
        (2, "service-td"),
        (5, "cpuid-virtualization"),
        (6, "tdx-connect"),
        (7, "td-partitioning"),
        (8, "local-attestation"),
        (16, "pending-ept-v2"),
        (17, "fms-config"),
        (18, "no-rbp-mod"),
        (20, "topology-enum"),
        (23, "clflush-before-alloc"),
        (32, "connect-partitioning"),
        (33, "max-gpa"),
        (36, "dynamic-pamt"),
        (39, "ext"),
        (47, "update-compat"),
        (50, "quote"),
    ];
}

/// The bits in hexadecimal, then the names of those that have one.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)?;
        Self::NAMES
            .iter()
            .filter(|&&(bit, _)| (self.0 >> (bit & 63)) & 1 != 0)
            .try_for_each(|(_, name)| write!(f, " {name}"))
    }
}
