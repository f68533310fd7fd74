// SPDX-License-Identifier: GPL-2.0

//! What happened, in numbers: calls per leaf and LP, LPs inside SEAM at once, and guest
//! instructions between two events.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::leaf::LeafId;
use crate::text::{self, Words};

/// The calls of one leaf.
#[derive(Clone, Debug, Default)]
struct LeafCounters {
    /// By LP.
    calls: Vec<u64>,
    /// Calls that did not complete, or with an error status.
    failed: u64,
    /// LPs inside this leaf at once, at most.
    max_inside: usize,
}

/// Counters of all calls.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    leaves: BTreeMap<LeafId, LeafCounters>,
    max_inside: usize,
}

impl Counters {
    /// Counts a call that begins; `inside` are the leaves that LPs are in, this one included.
    pub fn begin(&mut self, leaf: LeafId, lp: usize, inside: &[Option<LeafId>]) {
        let counters = self.leaves.entry(leaf).or_default();
        if counters.calls.len() <= lp {
            counters.calls.resize(lp + 1, 0);
        }
        counters.calls[lp] += 1;
        let in_leaf = inside.iter().filter(|other| **other == Some(leaf)).count();
        counters.max_inside = counters.max_inside.max(in_leaf);
        self.max_inside = self.max_inside.max(inside.iter().flatten().count());
    }

    /// Counts a call that failed.
    pub fn fail(&mut self, leaf: LeafId) {
        self.leaves.entry(leaf).or_default().failed += 1;
    }

    /// A line for every leaf that was called, then one for the most LPs inside at once.
    pub fn list(&self) -> String {
        let mut text = String::new();
        for (leaf, counters) in &self.leaves {
            let total: u64 = counters.calls.iter().sum();
            let _ = write!(
                text,
                "leaf={} calls={total} failed={} max_inside={}",
                leaf.name(),
                counters.failed,
                counters.max_inside
            );
            for (lp, calls) in counters
                .calls
                .iter()
                .enumerate()
                .filter(|(_, calls)| **calls > 0)
            {
                let _ = write!(text, " cpu{lp}={calls}");
            }
            text.push('\n');
        }
        let _ = writeln!(text, "max_inside={}", self.max_inside);
        text
    }
}

/// A moment that a measurement can begin or end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call of this leaf begins.
    Begin(LeafId),
    /// A call of this leaf ends.
    End(LeafId),
    /// The guest set this mark.
    Mark(String),
    /// The last LP leaves a stop.
    Back,
}

impl Event {
    /// Reads `LEAF`, `LEAF:begin`, `LEAF:end`, `mark:NAME` or `back`; a leaf alone means what `bare`
    /// makes of it.
    fn parse(text: &str, bare: fn(LeafId) -> Event) -> Result<Event, String> {
        if text == "back" {
            return Ok(Event::Back);
        }
        if let Some(name) = text.strip_prefix("mark:") {
            return Ok(Event::Mark(name.to_owned()));
        }
        match text.rsplit_once(':') {
            None => Ok(bare(text::leaf(text)?)),
            Some((leaf, "begin")) => Ok(Event::Begin(text::leaf(leaf)?)),
            Some((leaf, "end")) => Ok(Event::End(text::leaf(leaf)?)),
            Some(_) => Err(format!(
                "{text}: takes LEAF, LEAF:begin, LEAF:end, mark:NAME or back"
            )),
        }
    }
}

/// Clock and instruction counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Nanoseconds.
    pub t_ns: u64,
    /// How long calls have taken so far, in nanoseconds of their latencies.
    pub seam_ns: u64,
    /// Guest instructions executed so far, by LP.
    pub instructions: Vec<u64>,
    /// Those of them that waiting took, by LP.
    pub spinning: Vec<u64>,
}

impl Sample {
    /// What has come since another sample.
    fn since(&self, start: &Sample) -> Sample {
        let by_lp = |end: &[u64], start: &[u64]| {
            let pairs = end.iter().zip(start);
            pairs
                .map(|(end, start)| end.saturating_sub(*start))
                .collect()
        };
        Sample {
            t_ns: self.t_ns.saturating_sub(start.t_ns),
            seam_ns: self.seam_ns.saturating_sub(start.seam_ns),
            instructions: by_lp(&self.instructions, &start.instructions),
            spinning: by_lp(&self.spinning, &start.spinning),
        }
    }
}

/// Guest instructions between two events.
#[derive(Clone, Debug)]
pub struct Measurement {
    from: Event,
    to: Event,
    /// The end is this many `to` events behind the begin.
    to_count: u64,
    seen: u64,
    start: Option<Sample>,
    end: Option<Sample>,
    /// LPs that have left the stop whose end is waited for: their instructions, and those of them
    /// that waiting took. What they do afterwards does not count.
    left: BTreeMap<usize, (u64, u64)>,
}

impl Measurement {
    /// Reads `from=EVENT to=EVENT [to_count=N]`. The first `from` event from now on begins.
    pub fn parse(text: &str) -> Result<Measurement, String> {
        let mut words = Words::new(text, &[])?;
        let from = words.take("from").ok_or("measure: from=EVENT is missing")?;
        let to = words.take("to").ok_or("measure: to=EVENT is missing")?;
        let to_count = words.take_number("to_count")?.unwrap_or(1);
        if to_count == 0 {
            return Err("to_count=0: events are counted from 1".to_owned());
        }
        words.finish()?;
        Ok(Measurement {
            from: Event::parse(&from, Event::Begin)?,
            to: Event::parse(&to, Event::End)?,
            to_count,
            seen: 0,
            start: None,
            end: None,
            left: BTreeMap::new(),
        })
    }

    /// An LP leaves a stop, after so many instructions, of which so many only waited.
    pub fn leave(&mut self, lp: usize, instructions: u64, spinning: u64) {
        if self.to == Event::Back && self.start.is_some() && self.end.is_none() {
            self.left.insert(lp, (instructions, spinning));
        }
    }

    /// An event happens; `sample` reads the counters if they are wanted.
    pub fn happen(&mut self, event: &Event, sample: impl FnOnce() -> Sample) {
        if self.start.is_none() {
            if *event == self.from {
                self.start = Some(sample());
            }
        } else if self.end.is_none() && *event == self.to {
            self.seen += 1;
            if self.seen == self.to_count {
                let mut end = sample();
                for (lp, (instructions, spinning)) in &self.left {
                    end.instructions[*lp] = *instructions;
                    end.spinning[*lp] = *spinning;
                }
                self.end = Some(end);
            }
        }
    }

    /// One line: whether the measurement is `armed`, `running` or `done`, and what was measured.
    pub fn show(&self) -> String {
        let (Some(start), Some(end)) = (&self.start, &self.end) else {
            let state = if self.start.is_some() {
                "running"
            } else {
                "armed"
            };
            return format!("measure={state}\n");
        };
        let measured = end.since(start);
        let mut text = format!(
            "measure=done ns={} seam_ns={} instructions={} spinning={}",
            measured.t_ns,
            measured.seam_ns,
            measured.instructions.iter().sum::<u64>(),
            measured.spinning.iter().sum::<u64>(),
        );
        for (lp, instructions) in measured.instructions.iter().enumerate() {
            let _ = write!(text, " cpu{lp}={instructions}");
        }
        for (lp, spinning) in measured.spinning.iter().enumerate() {
            let _ = write!(text, " spin{lp}={spinning}");
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf::Leaf;

    #[test]
    fn calls_are_counted_by_leaf_and_lp() {
        let mut counters = Counters::default();
        let rd = LeafId::from(Leaf::SysRd);
        let init = LeafId::from(Leaf::SysTdmrInit);
        counters.begin(rd, 0, &[Some(rd), None]);
        counters.begin(init, 0, &[Some(init), None]);
        counters.begin(init, 1, &[Some(init), Some(init)]);
        counters.begin(rd, 1, &[Some(init), Some(rd)]);
        counters.fail(rd);
        assert_eq!(
            counters.list(),
            "leaf=TDH.SYS.RD calls=2 failed=1 max_inside=1 cpu0=1 cpu1=1\n\
             leaf=TDH.SYS.TDMR.INIT calls=2 failed=0 max_inside=2 cpu0=1 cpu1=1\n\
             max_inside=2\n"
        );
    }

    #[test]
    fn a_measurement_lies_between_its_events() {
        let sample = |t_ns: u64| Sample {
            t_ns,
            seam_ns: t_ns / 2,
            instructions: vec![t_ns * 2, t_ns * 3],
            spinning: vec![t_ns, 0],
        };
        let mut measurement =
            Measurement::parse("from=TDH.SYS.SHUTDOWN to=mark:back to_count=2").unwrap();
        let back = Event::Mark("back".to_owned());
        let shutdown = LeafId::from(Leaf::SysShutdown);
        measurement.happen(&back, || sample(1));
        measurement.happen(&Event::End(shutdown), || sample(2));
        assert_eq!(measurement.show(), "measure=armed\n");
        measurement.happen(&Event::Begin(shutdown), || sample(10));
        measurement.happen(&Event::Begin(shutdown), || sample(11));
        measurement.happen(&back, || sample(12));
        assert_eq!(measurement.show(), "measure=running\n");
        measurement.happen(&back, || sample(20));
        measurement.happen(&back, || sample(30));
        assert_eq!(
            measurement.show(),
            "measure=done ns=10 seam_ns=5 instructions=50 spinning=10 cpu0=20 cpu1=30 spin0=10 \
             spin1=0\n"
        );
    }

    #[test]
    fn what_an_lp_does_after_a_stop_does_not_count() {
        let sample = |t_ns: u64| Sample {
            t_ns,
            seam_ns: 0,
            instructions: vec![t_ns, t_ns],
            spinning: vec![0, t_ns],
        };
        let mut measurement = Measurement::parse("from=mark:a to=back").unwrap();
        measurement.leave(1, 5, 5);
        measurement.happen(&Event::Back, || sample(5));
        measurement.happen(&Event::Mark("a".to_owned()), || sample(10));
        measurement.leave(1, 20, 12);
        measurement.leave(0, 30, 0);
        measurement.happen(&Event::Back, || sample(31));
        measurement.leave(0, 40, 0);
        assert_eq!(
            measurement.show(),
            "measure=done ns=21 seam_ns=0 instructions=30 spinning=2 cpu0=20 cpu1=10 spin0=0 \
             spin1=2\n"
        );
    }

    #[test]
    fn a_measurement_needs_two_events() {
        let error = |text: &str| Measurement::parse(text).map(drop).unwrap_err();
        assert_eq!(error("to=mark:a"), "measure: from=EVENT is missing");
        assert_eq!(error("from=mark:a"), "measure: to=EVENT is missing");
        assert!(error("from=TDH.SYS.RD:middle to=mark:a").contains("LEAF:begin"));
        assert!(error("from=TDH.NO to=mark:a").starts_with("TDH.NO: no such leaf"));
        assert_eq!(
            error("from=mark:a to=back to_count=0"),
            "to_count=0: events are counted from 1"
        );
    }
}
