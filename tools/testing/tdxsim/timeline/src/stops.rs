// SPDX-License-Identifier: GPL-2.0

//! The times in which all CPUs were stopped for an update, and how these ended.

use crate::leaves::Kind;
use crate::trace::{Call, Happening, Trace};

/// How a stop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The new module runs.
    Updated,
    /// The module refused to be shut down, with this status.
    Refused(String),
    /// This leaf failed with this status.
    Failed(String, String),
    /// The trace ends before the update does.
    Open,
}

/// A stop of all CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// When it began: with TDH.SYS.SHUTDOWN, or with SEAMLDR.INSTALL where an update goes on that
    /// was interrupted.
    pub begin: u64,
    /// When the last CPU left it; in a trace that does not say this, when the last call of one of
    /// the update's steps ended.
    pub end: u64,
    /// Whether the trace says when CPUs left.
    pub end_is_known: bool,
    /// By CPU, when it left.
    pub left: Vec<u64>,
    /// The calls in it, as indices, and those of them that are the update's steps.
    pub calls: Vec<usize>,
    steps: Vec<usize>,
    /// How it ended.
    pub ending: Ending,
}

impl Stop {
    fn new(begin: u64) -> Stop {
        Stop {
            begin,
            end: begin,
            end_is_known: false,
            left: Vec::new(),
            calls: Vec::new(),
            steps: Vec::new(),
            ending: Ending::Open,
        }
    }
}

/// A call or a CPU's leaving, in the order of their times.
enum Moment {
    Call(usize),
    Back(usize),
}

/// The stops in a trace, in order.
pub fn find(trace: &Trace) -> Vec<Stop> {
    let calls = trace.calls.iter().enumerate();
    let mut moments: Vec<(u64, Moment)> = calls
        .map(|(index, call)| (call.begin, Moment::Call(index)))
        .collect();
    moments.extend(trace.events.iter().filter_map(|event| match event.what {
        Happening::Back(cpu) => Some((event.time, Moment::Back(cpu))),
        _ => None,
    }));
    moments.sort_by_key(|(time, _)| *time);

    let mut stops: Vec<Stop> = Vec::new();
    // A stop that CPUs have begun to leave, or in which the update is through.
    let mut is_over = true;
    for (time, moment) in moments {
        match moment {
            Moment::Call(index) => {
                let call = &trace.calls[index];
                let kind = Kind::of(&call.leaf);
                if is_over && matches!(kind, Kind::Shutdown | Kind::Install) {
                    stops.push(Stop::new(time));
                    is_over = false;
                }
                if kind == Kind::Update && !call.failed {
                    is_over = true;
                }
                if let Some(stop) = stops.last_mut().filter(|_| kind.is_step()) {
                    stop.steps.push(index);
                }
            }
            Moment::Back(cpu) => {
                if let Some(stop) = stops.last_mut() {
                    is_over = true;
                    stop.end_is_known = true;
                    stop.end = time;
                    stop.left.resize(stop.left.len().max(cpu + 1), 0);
                    stop.left[cpu] = time;
                }
            }
        }
    }
    for stop in &mut stops {
        finish(stop, trace);
    }
    stops
}

/// Fills in what follows from a stop's calls.
fn finish(stop: &mut Stop, trace: &Trace) {
    let steps: Vec<&Call> = stop
        .steps
        .iter()
        .map(|index| &trace.calls[*index])
        .collect();
    if !stop.end_is_known {
        stop.end = steps
            .iter()
            .map(|call| call.end)
            .max()
            .unwrap_or(stop.begin);
    }
    let calls = trace.calls.iter().enumerate();
    let is_inside = |call: &Call| (stop.begin..=stop.end).contains(&call.begin);
    stop.calls = calls
        .filter(|(_, call)| is_inside(call))
        .map(|(index, _)| index)
        .collect();
    stop.left.resize(trace.cpus(), 0);
    for left in stop.left.iter_mut().filter(|left| **left == 0) {
        *left = stop.end;
    }
    let is_updated = |call: &&&Call| Kind::of(&call.leaf) == Kind::Update && !call.failed;
    // What a step repeats until it succeeds is not what the update failed at.
    let last_failed = steps.iter().rev().find(|call| call.failed);
    stop.ending = if steps.iter().any(|call| is_updated(&call)) {
        Ending::Updated
    } else {
        match last_failed {
            Some(call) if Kind::of(&call.leaf) == Kind::Shutdown => {
                Ending::Refused(call.result.clone())
            }
            Some(call) => Ending::Failed(call.leaf.clone(), call.result.clone()),
            None => Ending::Open,
        }
    };
}
