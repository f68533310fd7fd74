// SPDX-License-Identifier: GPL-2.0

//! `tdxsimctl`: controls a simulated TDX host from inside of it.

mod request;

use std::process::ExitCode;
use std::{env, io, mem};

use request::Failure;

const USAGE: &str = "usage: tdxsimctl [--cpu N] COMMAND...
       tdxsimctl [--cpu N] -

Has the simulator execute COMMAND, or each line of standard input, and prints its
reply. With --cpu, the request comes from that CPU. The commands are described in
Documentation/dev-tools/tdxsim.rst.

Exit status: 0, done; 1, the simulator refused; 2, wrong usage; 4, this is not a
simulated TDX host.";

const REFUSED: u8 = 1;
const USAGE_ERROR: u8 = 2;
/// What kselftests take for "skipped".
const ABSENT: u8 = 4;

/// Says what went wrong, on stderr.
fn fail(status: u8, message: &str) -> ExitCode {
    eprintln!("tdxsimctl: {message}");
    ExitCode::from(status)
}

/// Makes this thread run on one CPU only.
fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a set of CPUs is plain bits; all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the number is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` is as large as is said.
    match unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn main() -> ExitCode {
    let mut words: Vec<String> = env::args().skip(1).collect();
    if words
        .first()
        .is_some_and(|word| word == "--help" || word == "-h")
    {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if words.first().is_some_and(|word| word == "--cpu") {
        let Some(cpu) = words.get(1).and_then(|word| word.parse().ok()) else {
            return fail(USAGE_ERROR, "--cpu takes a CPU's number");
        };
        if let Err(error) = pin(cpu) {
            return fail(USAGE_ERROR, &format!("cannot run on CPU {cpu}: {error}"));
        }
        words.drain(..2);
    }
    if words.is_empty() {
        return fail(USAGE_ERROR, USAGE);
    }
    let commands = match words.as_slice() {
        [word] if word == "-" => match io::read_to_string(io::stdin()) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(error) => return fail(USAGE_ERROR, &format!("standard input: {error}")),
        },
        _ => vec![words.join(" ")],
    };
    for command in commands {
        match request::execute(&command) {
            Ok(reply) if reply.is_empty() => (),
            Ok(reply) => println!("{}", reply.trim_end_matches('\n')),
            Err(Failure::Refused(message)) => return fail(REFUSED, &message),
            Err(Failure::Transfer) => {
                return fail(REFUSED, "the command is too long, or the reply is");
            }
            Err(Failure::Absent) => return fail(ABSENT, "not running on a simulated TDX host"),
        }
    }
    ExitCode::SUCCESS
}
