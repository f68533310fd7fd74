// SPDX-License-Identifier: GPL-2.0

//! Faults: calls that the model is told to answer differently from what it would, and latencies.

use std::collections::BTreeMap;

use crate::leaf::{LeafId, SeamldrLeaf};
use crate::status::Status;
use crate::text::{self, Words};

/// What a fault does to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The call answers this status.
    Status(Status),
    /// The instruction ends with VMfailInvalid.
    VmFailInvalid,
    /// The instruction raises #GP.
    GeneralProtection,
    /// The instruction raises #UD.
    UndefinedInstruction,
    /// The call runs, but the LP stays inside for so many nanoseconds.
    Hang(u64),
    /// The call runs with only so many random numbers.
    NoEntropy(u64),
}

/// A fault, and which calls it meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The leaf.
    pub leaf: LeafId,
    /// The LP; `None` for any.
    pub lp: Option<usize>,
    /// The first call that is met, counted from 1 since the fault was added.
    pub nth: u64,
    /// How many calls are met from there on; `None` for all.
    pub count: Option<u64>,
    /// What happens.
    pub action: Action,
    /// What RDX returns.
    pub rdx: Option<u64>,
    /// SEAMLDR.INSTALL: what its round leaves; see [`Fault::install_leaves`].
    pub recoverable: Option<bool>,
    /// The call runs first, and its answer is replaced.
    pub after: bool,
    /// The words that the fault was added with.
    text: String,
    /// Calls seen so far.
    seen: u64,
}

impl Fault {
    /// Reads a fault from words such as `leaf=TDH.SYS.SHUTDOWN nth=1 status=0x8000020200000000`.
    pub fn parse(text: &str, lps: usize) -> Result<Fault, String> {
        let mut words = Words::new(text, &["after"])?;
        let leaf = words
            .take("leaf")
            .ok_or("fault add: leaf=NAME is missing")?;
        let action = match (words.take("status"), words.take("hang")) {
            (Some(status), None) => Action::Status(text::status(&status)?),
            (None, Some(time)) => Action::Hang(text::duration(&time)?),
            (Some(_), Some(_)) => return Err("fault add: status= or hang=, not both".to_owned()),
            (None, None) => match words.take_number("no-entropy")? {
                Some(numbers) => Action::NoEntropy(numbers),
                None => words.take_flag(&[
                    ("vmfailinvalid", Action::VmFailInvalid),
                    ("gp", Action::GeneralProtection),
                    ("ud", Action::UndefinedInstruction),
                    ("no-entropy", Action::NoEntropy(0)),
                ])
                .ok_or(
                    "fault add: one of status=S, vmfailinvalid, gp, ud, hang=TIME, no-entropy[=N] is missing",
                )?,
            },
        };
        let lp = words.take_number("cpu")?;
        if let Some(lp) = lp.filter(|lp| *lp >= lps as u64) {
            return Err(format!("cpu={lp}: there are CPUs 0 to {}", lps - 1));
        }
        let nth = words.take_number("nth")?.unwrap_or(1);
        if nth == 0 {
            return Err("nth=0: calls are counted from 1".to_owned());
        }
        let count = match words.take("count").as_deref() {
            None => Some(1),
            Some("all") => None,
            Some(number) => Some(text::number("count", number)?),
        };
        if count == Some(0) {
            return Err("count=0: a fault meets one call at least, or all".to_owned());
        }
        let fault = Fault {
            leaf: text::leaf(&leaf)?,
            lp: lp.map(|lp| lp as usize),
            nth,
            count,
            action,
            rdx: words.take_number("rdx")?,
            recoverable: words.take_switch("recoverable")?,
            after: words.take_flag(&[("after", true)]).unwrap_or(false),
            text: text.trim().to_owned(),
            seen: 0,
        };
        words.finish()?;
        let is_install = fault.leaf == LeafId::from(SeamldrLeaf::Install);
        if fault.recoverable.is_some() && !(is_install && matches!(fault.action, Action::Status(_)))
        {
            return Err("recoverable=: only with leaf=SEAMLDR.INSTALL and status=".to_owned());
        }
        if fault.rdx.is_some() && !matches!(fault.action, Action::Status(_)) {
            return Err("rdx=: only with status=".to_owned());
        }
        Ok(fault)
    }

    /// What an injected SEAMLDR.INSTALL status means for P-SEAMLDR: that the round ended with the
    /// old module's memory intact (`Some(true)`), that it ended without a module (`Some(false)`),
    /// or nothing.
    ///
    /// What the fault says counts; else RDX does. EBADCALL leaves a round as it is, and so does a
    /// status that is no error.
    pub fn install_leaves(&self, status: Status) -> Option<bool> {
        if self.leaf != LeafId::from(SeamldrLeaf::Install) || self.after {
            return None;
        }
        match self.recoverable {
            Some(recoverable) => Some(recoverable),
            None if status == Status::SEAMLDR_EBADCALL || !status.is_error() => None,
            None => Some(self.rdx.unwrap_or(0) == 0),
        }
    }

    /// What RDX returns with an injected status; `None` to leave it as it is.
    pub fn rdx(&self) -> Option<u64> {
        self.rdx
            .or(self.recoverable.map(|recoverable| u64::from(!recoverable)))
    }

    /// Counts a call; says whether the fault meets it.
    fn meets(&mut self, leaf: LeafId, lp: usize) -> bool {
        if self.leaf != leaf || self.lp.is_some_and(|only| only != lp) {
            return false;
        }
        self.seen += 1;
        self.seen >= self.nth && self.count.is_none_or(|count| self.seen - self.nth < count)
    }
}

/// All faults and latencies.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    faults: Vec<Fault>,
    latencies: BTreeMap<LeafId, u64>,
}

impl Faults {
    /// Adds a fault.
    pub fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Removes all faults.
    pub fn clear(&mut self) {
        self.faults.clear();
    }

    /// The fault that meets this call. All count it; the first one added wins.
    pub fn meet(&mut self, leaf: LeafId, lp: usize) -> Option<Fault> {
        let mut met = None;
        for fault in &mut self.faults {
            if fault.meets(leaf, lp) && met.is_none() {
                met = Some(fault.clone());
            }
        }
        met
    }

    /// A line for every fault, with the number of calls that it has seen.
    pub fn list(&self) -> String {
        let faults = self.faults.iter();
        text::lines(faults.map(|fault| format!("{} seen={}", fault.text, fault.seen)))
    }

    /// How long a leaf takes, in nanoseconds.
    pub fn latency(&self, leaf: LeafId) -> u64 {
        self.latencies.get(&leaf).copied().unwrap_or(0)
    }

    /// Sets how long a leaf takes, in nanoseconds.
    pub fn set_latency(&mut self, leaf: LeafId, latency: u64) {
        if latency == 0 {
            self.latencies.remove(&leaf);
        } else {
            self.latencies.insert(leaf, latency);
        }
    }

    /// Lets every leaf take no time of its own.
    pub fn clear_latencies(&mut self) {
        self.latencies.clear();
    }

    /// A line for every latency.
    pub fn list_latencies(&self) -> String {
        let latencies = self.latencies.iter();
        text::lines(latencies.map(|(leaf, ns)| format!("leaf={} ns={ns}", leaf.name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf::Leaf;

    fn met(text: &str, calls: &[(Leaf, usize)]) -> Vec<bool> {
        let mut faults = Faults::default();
        faults.add(Fault::parse(text, 4).unwrap());
        let calls = calls.iter();
        calls
            .map(|(leaf, lp)| faults.meet((*leaf).into(), *lp).is_some())
            .collect()
    }

    #[test]
    fn a_fault_meets_the_calls_that_it_names() {
        let calls = [
            (Leaf::SysRd, 0),
            (Leaf::SysInit, 1),
            (Leaf::SysRd, 1),
            (Leaf::SysRd, 1),
            (Leaf::SysRd, 0),
        ];
        assert_eq!(
            met("leaf=TDH.SYS.RD gp", &calls),
            [true, false, false, false, false]
        );
        assert_eq!(
            met("leaf=tdh.sys.rd nth=2 gp", &calls),
            [false, false, true, false, false]
        );
        assert_eq!(
            met("leaf=TDH.SYS.RD cpu=1 nth=2 ud", &calls),
            [false, false, false, true, false]
        );
        assert_eq!(
            met("leaf=TDH.SYS.RD nth=2 count=2 ud", &calls),
            [false, false, true, true, false]
        );
        assert_eq!(
            met("leaf=TDH.SYS.RD count=all ud", &calls),
            [true, false, true, true, true]
        );
    }

    #[test]
    fn the_first_fault_wins_and_both_count() {
        let mut faults = Faults::default();
        faults.add(Fault::parse("leaf=TDH.SYS.RD gp", 1).unwrap());
        faults.add(Fault::parse("leaf=TDH.SYS.RD nth=2 ud", 1).unwrap());
        let action =
            |faults: &mut Faults| faults.meet(Leaf::SysRd.into(), 0).map(|fault| fault.action);
        assert_eq!(action(&mut faults), Some(Action::GeneralProtection));
        assert_eq!(action(&mut faults), Some(Action::UndefinedInstruction));
        assert_eq!(action(&mut faults), None);
        assert_eq!(
            faults.list(),
            "leaf=TDH.SYS.RD gp seen=3\nleaf=TDH.SYS.RD nth=2 ud seen=3\n"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| Fault::parse(text, 2).unwrap_err();
        assert_eq!(error("gp"), "fault add: leaf=NAME is missing");
        assert!(error("leaf=TDH.SYS.NO gp").starts_with("TDH.SYS.NO: no such leaf"));
        assert!(error("leaf=TDH.SYS.RD").starts_with("fault add: one of status=S, vmfailinvalid"));
        assert_eq!(
            error("leaf=TDH.SYS.RD gp cpu=2"),
            "cpu=2: there are CPUs 0 to 1"
        );
        assert_eq!(
            error("leaf=TDH.SYS.RD gp nth=0"),
            "nth=0: calls are counted from 1"
        );
        assert_eq!(error("leaf=TDH.SYS.RD gp nth=x"), "nth=x: takes a number");
        assert_eq!(
            error("leaf=TDH.SYS.RD gp count=0"),
            "count=0: a fault meets one call at least, or all"
        );
        assert_eq!(error("leaf=TDH.SYS.RD gp ud"), "ud: unexpected");
        assert_eq!(
            error("leaf=TDH.SYS.RD gp colour=red"),
            "colour=red: unexpected"
        );
        assert!(error("leaf=TDH.SYS.RD status=NO").starts_with("NO: takes a status"));
        assert!(error("leaf=TDH.SYS.RD gp recoverable=1").starts_with("recoverable=: only with"));
        assert!(error("leaf=TDH.SYS.RD hang=5").starts_with("5: takes a time"));
        assert_eq!(error("leaf=TDH.SYS.RD gp rdx=1"), "rdx=: only with status=");
    }

    #[test]
    fn an_injected_install_status_has_the_consequence_that_it_announces() {
        let leaves = |text: &str| {
            let fault = Fault::parse(&format!("leaf=SEAMLDR.INSTALL {text}"), 2).unwrap();
            let Action::Status(status) = fault.action else {
                panic!("{text} is no status");
            };
            (fault.install_leaves(status), fault.rdx())
        };
        assert_eq!(
            leaves("status=SEAMLDR_EBADHASH rdx=1"),
            (Some(false), Some(1))
        );
        assert_eq!(leaves("status=SEAMLDR_EBADHASH"), (Some(true), None));
        assert_eq!(
            leaves("status=SEAMLDR_EBADHASH recoverable=0"),
            (Some(false), Some(1))
        );
        assert_eq!(
            leaves("status=SEAMLDR_EBADSIG recoverable=1"),
            (Some(true), Some(0))
        );
        assert_eq!(leaves("status=SEAMLDR_EBADCALL"), (None, None));
        assert_eq!(leaves("status=0"), (None, None));
        assert_eq!(leaves("status=SEAMLDR_EBADSIG after"), (None, None));
    }
}
