// SPDX-License-Identifier: GPL-2.0

//! From time to place: linear, but for long times in which nothing happens, which are cut out.

/// How wide a cut is, in pixels.
pub const CUT_WIDTH: f64 = 28.0;

/// The most cuts in a picture.
const MAX_CUTS: usize = 10;

/// A stretch of time that is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// Its begin, in nanoseconds.
    pub begin: u64,
    /// Its end.
    pub end: u64,
    /// Where the begin is.
    pub left: f64,
    /// Where the end is.
    pub right: f64,
}

/// Maps time to places.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// In order; between two of them time is cut out.
    pub segments: Vec<Segment>,
    /// Pixels for a nanosecond.
    factor: f64,
}

impl Scale {
    /// A scale from `left` on for these stretches of time, `width` pixels wide. A gap between
    /// stretches is cut out when it would take more than a sixth of what is then left.
    pub fn new(mut stretches: Vec<(u64, u64)>, left: f64, width: f64) -> Scale {
        stretches.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (begin, end) in stretches {
            match merged.last_mut() {
                Some(last) if begin <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((begin, end)),
            }
        }
        let (Some(first), Some(last)) = (merged.first(), merged.last()) else {
            return Scale {
                segments: Vec::new(),
                factor: 0.0,
            };
        };
        let (begin, end) = (first.0, last.1);

        let mut gaps: Vec<(u64, u64)> = merged.windows(2).map(|two| (two[0].1, two[1].0)).collect();
        gaps.sort_unstable_by_key(|gap| std::cmp::Reverse(gap.1 - gap.0));
        let mut kept = end - begin;
        let mut cuts = Vec::new();
        for gap in gaps.into_iter().take(MAX_CUTS) {
            let length = gap.1 - gap.0;
            if length <= kept / 6 {
                break;
            }
            kept -= length;
            cuts.push(gap);
        }
        cuts.sort_unstable();

        // Some of the gap is left on both sides, and something at both ends.
        let margin = (kept / 50).max(1);
        let mut times = vec![begin.saturating_sub(margin)];
        for (from, to) in &cuts {
            let margin = margin.min((to - from) / 3);
            times.extend([from + margin, to - margin]);
        }
        times.push(end.saturating_add(margin));
        let drawn: u64 = times.chunks(2).map(|pair| pair[1] - pair[0]).sum();
        let factor = (width - CUT_WIDTH * cuts.len() as f64) / drawn as f64;

        let mut place = left;
        let segments = times.chunks(2).map(|pair| {
            let right = place + (pair[1] - pair[0]) as f64 * factor;
            let segment = Segment {
                begin: pair[0],
                end: pair[1],
                left: place,
                right,
            };
            place = right + CUT_WIDTH;
            segment
        });
        Scale {
            segments: segments.collect(),
            factor,
        }
    }

    /// The place of a moment.
    pub fn place(&self, time: u64) -> f64 {
        let mut place = 0.0;
        for segment in &self.segments {
            if time < segment.begin {
                break;
            }
            place = segment.left + (time.min(segment.end) - segment.begin) as f64 * self.factor;
        }
        place
    }

    /// The distance between two marks of the axis, in nanoseconds: 1, 2 or 5 times a power of ten,
    /// and at least `pixels` wide.
    pub fn step(&self, pixels: f64) -> u64 {
        let wanted = pixels / self.factor;
        let mut step = 1000;
        loop {
            for factor in [1, 2, 5] {
                if (step * factor) as f64 >= wanted || step > u64::MAX / 100 {
                    return step * factor;
                }
            }
            step *= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_gaps_is_linear() {
        let scale = Scale::new(vec![(1000, 2000), (2050, 3000)], 100.0, 1000.0);
        assert_eq!(scale.segments.len(), 1);
        let (a, b, c) = (scale.place(1000), scale.place(2000), scale.place(3000));
        assert!(a > 100.0 && c < 1100.0, "{a} {c}");
        assert!((c - b - (b - a)).abs() < 1e-6);
    }

    #[test]
    fn a_long_gap_is_cut_out() {
        let scale = Scale::new(vec![(0, 1000), (1_000_000, 1_001_000)], 0.0, 1000.0);
        assert_eq!(scale.segments.len(), 2);
        assert!((scale.segments[1].left - scale.segments[0].right - CUT_WIDTH).abs() < 1e-6);
        assert!((scale.segments[1].right - 1000.0).abs() < 1e-6);
        let width = |from, to| scale.place(to) - scale.place(from);
        assert!((width(0, 1000) - width(1_000_000, 1_001_000)).abs() < 1e-6);
        assert!(width(0, 1000) > 400.0);
    }

    #[test]
    fn cuts_are_few_and_places_rise() {
        let stretches = (0..100)
            .map(|n| (n * n * n * 1000, n * n * n * 1000 + 10))
            .collect();
        let scale = Scale::new(stretches, 0.0, 1000.0);
        assert!(scale.segments.len() <= MAX_CUTS + 1);
        let places: Vec<f64> = (0..100).map(|n| scale.place(n * n * n * 1000)).collect();
        assert!(places.windows(2).all(|two| two[0] <= two[1]));
        assert!(places.iter().all(|place| (0.0..=1000.0).contains(place)));
    }

    #[test]
    fn one_moment_is_enough() {
        let scale = Scale::new(vec![(5, 5)], 10.0, 100.0);
        assert!((10.0..=110.0).contains(&scale.place(5)));
    }

    #[test]
    fn steps_are_round() {
        let scale = Scale::new(vec![(0, 10_000_000)], 0.0, 1000.0);
        assert_eq!(scale.step(100.0), 2_000_000);
        assert_eq!(scale.step(1.0), 20_000);
    }
}
