// SPDX-License-Identifier: GPL-2.0

//! A request to the simulator: CPUID of a leaf that the QEMU plugin owns.
//!
//! The registers' use is described where the plugin answers, in `plugin/src/control.rs`.

use std::arch::asm;

/// The leaf.
const LEAF: u64 = 0x7D5C_0000;

/// What RDI holds in a request: "TDXSIM?" in ASCII.
const REQUEST: u64 = u64::from_be_bytes(*b"\0TDXSIM?");

/// What RDI holds in an answer: "TDXSIM!" in ASCII.
const ANSWER: u64 = u64::from_be_bytes(*b"\0TDXSIM!");

/// The longest reply, in bytes.
const MAX_REPLY: usize = 1 << 20;

/// Why there is no reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// This is no simulated TDX host.
    Absent,
    /// The simulator refused, and says why.
    Refused(String),
    /// Command or reply did not get through.
    Transfer,
}

/// Has the simulator execute a command; returns its reply.
pub fn execute(command: &str) -> Result<String, Failure> {
    // Writing makes every page of the buffer present, and so does reading for the command: the
    // plugin cannot fault pages in.
    let command = command.to_owned();
    let mut reply = vec![1_u8; MAX_REPLY];
    let result: u64;
    let length: u64;
    let answer: u64;
    // SAFETY: without a plugin, CPUID changes RAX, RBX, RCX and RDX only. With one, it also changes
    // RDI, and writes no more than RSI bytes at RDX. RBX cannot be an operand and is put back.
    unsafe {
        asm!(
            "xchg {command}, rbx",
            "cpuid",
            "mov rbx, {command}",
            command = inout(reg) command.as_ptr() => _,
            inout("rax") LEAF => result,
            inout("rcx") command.len() => _,
            inout("rdx") reply.as_mut_ptr() => length,
            in("rsi") reply.len(),
            inout("rdi") REQUEST => answer,
            options(nostack),
        );
    }
    if answer != ANSWER {
        return Err(Failure::Absent);
    }
    let length = usize::try_from(length).map_err(|_| Failure::Transfer)?;
    reply.truncate(length);
    if reply.len() != length {
        return Err(Failure::Transfer);
    }
    let text = String::from_utf8(reply).map_err(|_| Failure::Transfer)?;
    match result {
        0 => Ok(text),
        1 => Err(Failure::Refused(text)),
        _ => Err(Failure::Transfer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_the_plugin_is_recognised() {
        assert_eq!(execute("counters"), Err(Failure::Absent));
    }
}
