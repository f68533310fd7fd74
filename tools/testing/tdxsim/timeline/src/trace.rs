// SPDX-License-Identifier: GPL-2.0

//! Reading of traces. What a trace is stands in Documentation/dev-tools/tdxsim.rst.

use serde::Deserialize;

/// The most CPUs that a picture has room for, as many as the simulator can have.
const MAX_CPUS: usize = 64;

/// A SEAMCALL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it began, in nanoseconds.
    pub begin: u64,
    /// When it ended.
    pub end: u64,
    /// The CPU that made it.
    pub cpu: usize,
    /// The leaf's name.
    pub leaf: String,
    /// The leaf's version.
    pub version: u8,
    /// How it ended, in words: a status's name, or that of an exception.
    pub result: String,
    /// It did not succeed.
    pub failed: bool,
    /// A fault was injected.
    pub fault: bool,
    /// What the model has to say about it.
    pub remark: Option<String>,
}

/// What else is in a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The TDX module has this state now.
    State(String),
    /// The guest set this mark.
    Mark(String),
    /// This CPU left a stop of all CPUs.
    Back(usize),
    /// The machine was reset.
    Reset,
}

/// An event and its time in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was.
    pub time: u64,
    /// What it was.
    pub what: Happening,
}

/// A trace, or a part of one. Both lists are sorted by time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// SEAMCALLs, by their begin.
    pub calls: Vec<Call>,
    /// The rest.
    pub events: Vec<Event>,
    /// The state that the TDX module had at the begin, if it is known.
    pub state: Option<String>,
}

/// A line, with those of its members that are used.
#[derive(Deserialize)]
struct Line {
    t_ns: Option<u64>,
    dur_ns: Option<u64>,
    vcpu: Option<usize>,
    leaf: Option<String>,
    #[serde(default)]
    version: u8,
    outcome: Option<String>,
    status: Option<String>,
    name: Option<String>,
    #[serde(default)]
    fault: bool,
    remark: Option<String>,
    event: Option<String>,
    #[serde(default)]
    what: String,
}

/// A line of a trace, understood.
enum Entry {
    Call(Call),
    Event(Event),
    /// An event that a picture has no use for.
    Nothing,
}

impl Line {
    fn understand(self) -> Result<Entry, String> {
        let needs = |name: &str| format!("\"{name}\" is missing");
        let cpu = match self.vcpu {
            Some(cpu) if cpu >= MAX_CPUS => {
                return Err(format!("\"vcpu\" is {cpu}; there are at most {MAX_CPUS}"));
            }
            cpu => cpu.ok_or_else(|| needs("vcpu")),
        };
        let begin = self.t_ns.ok_or_else(|| needs("t_ns"))?;
        match (self.leaf, self.event) {
            (Some(_), Some(_)) => Err("both \"leaf\" and \"event\" are there".to_owned()),
            (None, None) => Err("neither \"leaf\" nor \"event\" is there".to_owned()),
            (None, Some(event)) => {
                let what = match event.as_str() {
                    "state" => Happening::State(self.what),
                    "mark" => Happening::Mark(self.what),
                    "back" => Happening::Back(cpu?),
                    "reset" => Happening::Reset,
                    _ => return Ok(Entry::Nothing),
                };
                Ok(Entry::Event(Event { time: begin, what }))
            }
            (Some(leaf), None) => {
                if leaf.is_empty()
                    || !leaf
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
                {
                    return Err(format!("\"leaf\" is {leaf:?}, which is no leaf's name"));
                }
                let duration = self.dur_ns.ok_or_else(|| needs("dur_ns"))?;
                let end = begin
                    .checked_add(duration)
                    .ok_or("\"t_ns\" and \"dur_ns\" are beyond 64 bits")?;
                let outcome = self.outcome.ok_or_else(|| needs("outcome"))?;
                let (result, failed) = if outcome == "completed" {
                    let text = self.status.ok_or_else(|| needs("status"))?;
                    let status = text
                        .strip_prefix("0x")
                        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                        .ok_or_else(|| format!("\"status\" is {text:?}, which is no number"))?;
                    let name = self.name.filter(|name| name != "?").unwrap_or(text);
                    (name, status >> 63 != 0)
                } else {
                    (outcome, true)
                };
                Ok(Entry::Call(Call {
                    begin,
                    end,
                    cpu: cpu?,
                    leaf,
                    version: self.version,
                    result,
                    failed,
                    fault: self.fault,
                    remark: self.remark,
                }))
            }
        }
    }
}

impl Trace {
    /// Reads a trace. An error says in which line something is wrong, and what.
    pub fn parse(text: &str) -> Result<Trace, String> {
        let mut trace = Trace::default();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let entry = serde_json::from_str::<Line>(line)
                .map_err(|error| format!("not a line of a trace: {error}"))
                .and_then(Line::understand)
                .map_err(|message| format!("line {}: {message}", index + 1))?;
            match entry {
                Entry::Call(call) => trace.calls.push(call),
                Entry::Event(event) => trace.events.push(event),
                Entry::Nothing => {}
            }
        }
        if trace.calls.is_empty() {
            return Err("there is no SEAMCALL in it".to_owned());
        }
        // Lines are written when calls end.
        trace.calls.sort_by_key(|call| call.begin);
        trace.events.sort_by_key(|event| event.time);
        Ok(trace)
    }

    /// When the mark was set for the first time.
    fn mark(&self, name: &str) -> Result<u64, String> {
        let is_it = |event: &&Event| event.what == Happening::Mark(name.to_owned());
        match self.events.iter().find(is_it) {
            Some(event) => Ok(event.time),
            None => {
                let marks = self.events.iter().filter_map(|event| match &event.what {
                    Happening::Mark(name) => Some(name.as_str()),
                    _ => None,
                });
                let marks = marks.collect::<Vec<_>>().join(", ");
                let marks = if marks.is_empty() { "none" } else { &marks };
                Err(format!(
                    "there is no mark {name:?}; these are there: {marks}"
                ))
            }
        }
    }

    /// The part between two marks, without these. Calls belong to it that began in it.
    pub fn between(&self, from: Option<&str>, to: Option<&str>) -> Result<Trace, String> {
        let from = from.map(|name| self.mark(name)).transpose()?;
        let to = to
            .map(|name| self.mark(name))
            .transpose()?
            .unwrap_or(u64::MAX);
        let is_inside = |time: u64| from.is_none_or(|from| from < time) && time < to;
        let part = Trace {
            calls: self
                .calls
                .iter()
                .filter(|call| is_inside(call.begin))
                .cloned()
                .collect(),
            events: self
                .events
                .iter()
                .filter(|event| is_inside(event.time))
                .cloned()
                .collect(),
            state: self
                .events
                .iter()
                .take_while(|event| from.is_some_and(|from| event.time <= from))
                .fold(self.state.clone(), |state, event| match &event.what {
                    Happening::State(state) => Some(state.clone()),
                    Happening::Reset => None,
                    _ => state,
                }),
        };
        if part.calls.is_empty() {
            return Err("there is no SEAMCALL between the marks".to_owned());
        }
        Ok(part)
    }

    /// How many CPUs there are, as far as the trace tells.
    pub fn cpus(&self) -> usize {
        let of_events = self.events.iter().filter_map(|event| match event.what {
            Happening::Back(cpu) => Some(cpu),
            _ => None,
        });
        let of_calls = self.calls.iter().map(|call| call.cpu);
        of_calls.chain(of_events).max().map_or(0, |cpu| cpu + 1)
    }

    /// The time of the first SEAMCALL or event, from which a picture's time is counted.
    pub fn begin(&self) -> u64 {
        let calls = self.calls.first().map(|call| call.begin);
        let events = self.events.first().map(|event| event.time);
        calls.into_iter().chain(events).min().unwrap_or(0)
    }

    /// The time when all of it is over.
    pub fn end(&self) -> u64 {
        let calls = self.calls.iter().map(|call| call.end).max();
        let events = self.events.last().map(|event| event.time);
        calls.into_iter().chain(events).max().unwrap_or(0)
    }
}
