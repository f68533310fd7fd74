// SPDX-License-Identifier: GPL-2.0

//! What a picture shows, in words, for those who cannot see it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::stops::{self, Ending, Stop};
use crate::trace::{Call, Happening, Trace};

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds as microseconds.
pub fn microseconds(ns: u64) -> String {
    format!("{} µs", grouped((ns + 500) / 1000))
}

/// How many there are of something.
pub fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {one}s", grouped(number as u64)),
    }
}

/// CPUs, as ranges.
fn cpus(mut list: Vec<usize>) -> String {
    list.sort_unstable();
    list.dedup();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for cpu in &list {
        match ranges.last_mut() {
            Some(range) if range.1 + 1 == *cpu => range.1 = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let ranges: Vec<String> = ranges
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    let plural = if list.len() == 1 { "" } else { "s" };
    format!("CPU{plural} {}", ranges.join(", "))
}

/// How a stop ended.
pub fn ending(ending: &Ending) -> String {
    match ending {
        Ending::Updated => "updated".to_owned(),
        Ending::Refused(status) => format!("refused, {status}"),
        Ending::Failed(leaf, status) => format!("failed, {leaf}: {status}"),
        Ending::Open => "not ended".to_owned(),
    }
}

/// Some calls of one leaf: who made them, when, and how they ended.
fn calls(text: &mut String, calls: &[&Call], zero: u64) {
    let begin = calls.iter().map(|call| call.begin).min().unwrap_or(zero);
    let end = calls.iter().map(|call| call.end).max().unwrap_or(zero);
    let sum: u64 = calls.iter().map(|call| call.end - call.begin).sum();
    let way = match calls.len() {
        1 => "",
        // Calls that are made one after the other have gaps between them.
        _ if sum <= end - begin => ", one after the other",
        _ => ", at the same time",
    };
    let mut results: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls {
        *results.entry(&call.result).or_default() += 1;
    }
    let results: Vec<String> = results
        .iter()
        .map(|(name, number)| match (results.len(), number) {
            (1, _) => (*name).to_owned(),
            (_, 1) => format!("once {name}"),
            (_, number) => format!("{number} times {name}"),
        })
        .collect();
    let _ = writeln!(
        text,
        "- {} on {}{way}: from {} to {}, {}",
        calls[0].leaf,
        cpus(calls.iter().map(|call| call.cpu).collect()),
        microseconds(begin - zero),
        microseconds(end - zero),
        results.join(", ")
    );
}

/// A stop and the calls in it.
fn stop(text: &mut String, trace: &Trace, stop: &Stop, zero: u64) {
    let _ = writeln!(
        text,
        "All CPUs are stopped at {} for {}: {}.",
        microseconds(stop.begin - zero),
        microseconds(stop.end - stop.begin),
        ending(&stop.ending)
    );
    // Calls of the same leaf, with no other leaf's between.
    let mut group: Vec<&Call> = Vec::new();
    for index in &stop.calls {
        let call = &trace.calls[*index];
        if group.first().is_some_and(|first| first.leaf != call.leaf) {
            calls(text, &group, zero);
            group.clear();
        }
        group.push(call);
    }
    if !group.is_empty() {
        calls(text, &group, zero);
    }
}

/// All that a picture shows.
pub fn describe(trace: &Trace) -> String {
    let zero = trace.begin();
    let stops = stops::find(trace);
    let mut text = format!(
        "{} by {} in {}; {}.\n",
        count(trace.calls.len(), "SEAMCALL"),
        count(trace.cpus(), "CPU"),
        microseconds(trace.end() - zero),
        match stops.len() {
            0 => "CPUs are not stopped".to_owned(),
            number => format!("CPUs are stopped {}", count(number, "time")),
        }
    );
    for one in &stops {
        stop(&mut text, trace, one, zero);
    }
    let mut outside: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, call) in trace.calls.iter().enumerate() {
        if !stops.iter().any(|stop| stop.calls.contains(&index)) {
            *outside.entry(&call.leaf).or_default() += 1;
        }
    }
    if !outside.is_empty() {
        let list: Vec<String> = outside
            .iter()
            .map(|(leaf, number)| format!("{number} {leaf}"))
            .collect();
        let _ = writeln!(text, "Outside of stops: {}.", list.join(", "));
    }
    let states: Vec<String> = trace
        .events
        .iter()
        .filter_map(|event| match &event.what {
            Happening::State(state) => {
                Some(format!("{state} at {}", microseconds(event.time - zero)))
            }
            _ => None,
        })
        .collect();
    if !states.is_empty() {
        let first = trace.state.as_deref().unwrap_or("unknown");
        let _ = writeln!(
            text,
            "The TDX module's state: {first}, then {}.",
            states.join(", ")
        );
    }
    text
}
