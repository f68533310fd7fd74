// SPDX-License-Identifier: GPL-2.0

//! The trace: one JSON object a line, one line a SEAMCALL or event.
//!
//! Every line goes to the sink in one write, so that nothing is lost when the process is killed.
//! Lines appear when a call ends; `t_ns` is when it began. The last line of every leaf is kept for
//! the control interface, with or without a sink.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use serde::Serialize;

use crate::leaf::LeafId;
use crate::regs::{Outcome, Regs};
use crate::status::Status;

/// A register's value; JSON has no numbers of 64 bits.
struct Hex(u64);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// Some of the registers.
#[derive(Serialize, Default)]
struct Registers {
    #[serde(skip_serializing_if = "Option::is_none")]
    rcx: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rdx: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r8: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r9: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r10: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r11: Option<Hex>,
}

impl Registers {
    /// The registers that differ from `others`.
    fn that_differ(regs: &Regs, others: &Regs) -> Registers {
        let changed = |new: u64, old: u64| (new != old).then_some(Hex(new));
        Registers {
            rcx: changed(regs.rcx, others.rcx),
            rdx: changed(regs.rdx, others.rdx),
            r8: changed(regs.r8, others.r8),
            r9: changed(regs.r9, others.r9),
            r10: changed(regs.r10, others.r10),
            r11: changed(regs.r11, others.r11),
        }
    }
}

#[derive(Serialize)]
struct CallLine<'a> {
    t_ns: u64,
    dur_ns: u64,
    vcpu: usize,
    leaf: &'a str,
    version: u8,
    #[serde(rename = "in")]
    input: Registers,
    #[serde(rename = "out")]
    output: Registers,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    /// Guest instructions that this vCPU had executed when the call began.
    insn: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fault: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'a str>,
}

#[derive(Serialize)]
struct EventLine<'a> {
    t_ns: u64,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vcpu: Option<usize>,
    #[serde(skip_serializing_if = "str::is_empty")]
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    insn: Option<u64>,
}

/// One SEAMCALL, for the trace.
#[derive(Clone, Copy, Debug)]
pub struct CallRecord<'a> {
    /// When it began, in nanoseconds.
    pub t_ns: u64,
    /// How long it took, in nanoseconds.
    pub dur_ns: u64,
    /// The calling LP.
    pub lp: usize,
    /// Registers before.
    pub input: &'a Regs,
    /// Registers after.
    pub output: &'a Regs,
    /// How the instruction ended.
    pub outcome: Outcome,
    /// Guest instructions that the LP had executed when the call began.
    pub instructions: u64,
    /// A fault met the call.
    pub fault: bool,
    /// A remark by the model.
    pub remark: Option<&'a str>,
}

/// Where trace lines go.
#[derive(Default)]
pub struct Trace {
    sink: Option<Box<dyn Write + Send>>,
    last: BTreeMap<LeafId, String>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("on", &self.sink.is_some())
            .finish()
    }
}

impl Trace {
    /// Lines go to this sink from now on.
    pub fn set_sink(&mut self, sink: Box<dyn Write + Send>) {
        self.sink = Some(sink);
    }

    /// Writes a line. A sink that fails is given up: a full disk must not stop the guest.
    fn write(&mut self, line: &str) {
        let Some(sink) = &mut self.sink else {
            return;
        };
        let text = format!("{line}\n");
        if sink
            .write_all(text.as_bytes())
            .and_then(|()| sink.flush())
            .is_err()
        {
            self.sink = None;
        }
    }

    /// The line of the last call of this leaf, if there was one since the machine's reset.
    pub fn last_call(&self, leaf: LeafId) -> Option<&str> {
        self.last.get(&leaf).map(String::as_str)
    }

    /// Forgets the calls so far.
    pub fn reset(&mut self) {
        self.last.clear();
    }

    /// Writes a SEAMCALL's line.
    pub fn call(&mut self, call: &CallRecord<'_>) {
        let leaf = LeafId::of_rax(call.input.rax);
        let status = (call.outcome == Outcome::Completed).then_some(Status(call.output.rax));
        let line = CallLine {
            t_ns: call.t_ns,
            dur_ns: call.dur_ns,
            vcpu: call.lp,
            leaf: &leaf.name(),
            version: if leaf.is_seamldr() {
                0
            } else {
                (call.input.rax >> 16) as u8
            },
            input: Registers::that_differ(call.input, &Regs::default()),
            output: Registers::that_differ(call.output, call.input),
            outcome: match call.outcome {
                Outcome::Completed => "completed",
                Outcome::VmFailInvalid => "vmfailinvalid",
                Outcome::GeneralProtection => "gp",
                Outcome::UndefinedInstruction => "ud",
            },
            status: status.map(|status| format!("{:#x}", status.0)),
            name: status.map(Status::name),
            insn: call.instructions,
            fault: call.fault,
            remark: call.remark,
        };
        let Ok(line) = serde_json::to_string(&line) else {
            return;
        };
        self.write(&line);
        self.last.insert(leaf, line);
    }

    /// Writes an event's line. `what` says more about it; an event need not be a vCPU's.
    pub fn event(
        &mut self,
        t_ns: u64,
        lp: Option<usize>,
        event: &str,
        what: &str,
        insn: Option<u64>,
    ) {
        let line = EventLine {
            t_ns,
            event,
            vcpu: lp,
            what,
            insn,
        };
        if let Ok(line) = serde_json::to_string(&line) {
            self.write(&line);
        }
    }
}
