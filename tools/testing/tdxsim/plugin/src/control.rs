// SPDX-License-Identifier: GPL-2.0

//! Control from inside the guest: a CPUID leaf that the plugin owns.
//!
//! CPUID works in ring 3 and needs nothing of the guest's kernel. A caller sets
//!
//! | Register | Value |
//! |---|---|
//! | EAX | [`LEAF`] |
//! | RDI | [`REQUEST`] |
//! | RBX, RCX | address and length of the command, UTF-8 text |
//! | RDX, RSI | address and size of the buffer for the reply |
//!
//! and finds, if there is a plugin,
//!
//! | Register | Value |
//! |---|---|
//! | RDI | [`ANSWER`] |
//! | RAX | 0: done; 1: refused, the reply says why; 2: command or buffer cannot be accessed, or not UTF-8 |
//! | RDX | the reply's length, of which no more than the buffer's size was stored |
//!
//! Without a plugin, or without [`REQUEST`] in RDI, this is CPUID of a leaf that does not exist, and
//! RDI is left alone. Of a caller in ring 3, command and buffer must be in the lower half of the address
//! space, because the plugin's accesses to memory know no permissions. QEMU cannot fault pages in on the plugin's behalf: the caller must have touched
//! command and buffer, the latter by writing to it.

use crate::qemu::{Cpu, Reg};

/// The leaf.
pub const LEAF: u32 = 0x7D5C_0000;

/// What RDI holds in a request: "TDXSIM?" in ASCII.
const REQUEST: u64 = u64::from_be_bytes(*b"\0TDXSIM?");

/// What RDI holds in an answer: "TDXSIM!" in ASCII.
const ANSWER: u64 = u64::from_be_bytes(*b"\0TDXSIM!");

/// The longest command, in bytes.
const MAX_COMMAND: u64 = 4096;

/// Results in RAX.
const DONE: u64 = 0;
const REFUSED: u64 = 1;
const BAD_ACCESS: u64 = 2;

/// A request, taken from the registers before CPUID overwrites some of them.
pub struct Request {
    command: u64,
    length: u64,
    reply: u64,
    room: u64,
    /// The caller's ring is 0.
    privileged: bool,
}

impl Request {
    /// The request that CPUID is about to make, if it is one.
    pub fn read(cpu: &Cpu) -> Option<Request> {
        (cpu.reg(Reg::Rdi) == REQUEST).then(|| Request {
            command: cpu.reg(Reg::Rbx),
            length: cpu.reg(Reg::Rcx),
            reply: cpu.reg(Reg::Rdx),
            room: cpu.reg(Reg::Rsi),
            privileged: cpu.reg(Reg::Cs) & 3 == 0,
        })
    }

    /// Whether the caller may have the plugin access this memory.
    fn permits(&self, address: u64, length: u64) -> bool {
        let end = address.checked_add(length);
        self.privileged || end.is_some_and(|end| end >> 63 == 0)
    }

    /// Carries the request out: `execute` gets the command and returns the reply, or why not.
    pub fn serve(&self, cpu: &Cpu, execute: impl FnOnce(&str) -> Result<String, String>) {
        let (result, length) = match self.text(cpu) {
            None => (BAD_ACCESS, 0),
            Some(command) => {
                let (result, reply) = match execute(&command) {
                    Ok(reply) => (DONE, reply),
                    Err(message) => (REFUSED, message),
                };
                let room = usize::try_from(self.room).unwrap_or(usize::MAX);
                let stored = &reply.as_bytes()[..reply.len().min(room)];
                let permitted = self.permits(self.reply, stored.len() as u64);
                if permitted && cpu.write_virtual(self.reply, stored) {
                    (result, reply.len() as u64)
                } else {
                    (BAD_ACCESS, 0)
                }
            }
        };
        cpu.set_reg(Reg::Rdi, ANSWER);
        cpu.set_reg(Reg::Rax, result);
        cpu.set_reg(Reg::Rdx, length);
    }

    /// The command, if it can be read and is text.
    fn text(&self, cpu: &Cpu) -> Option<String> {
        if self.length > MAX_COMMAND || !self.permits(self.command, self.length) {
            return None;
        }
        let mut bytes = vec![0; self.length as usize];
        if !cpu.read_virtual(self.command, &mut bytes) {
            return None;
        }
        String::from_utf8(bytes).ok()
    }
}
