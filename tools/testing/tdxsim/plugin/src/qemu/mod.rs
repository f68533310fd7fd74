// SPDX-License-Identifier: GPL-2.0

//! Safe access to QEMU: the only part of this plugin with unsafe code in it.
//!
//! QEMU calls a plugin from the threads of its vCPUs. `install` makes the one [`Plugin`] and registers
//! `callbacks`, which call its methods with a [`Cpu`]: the registers and the memory of the vCPU that
//! runs the callback.
//!
//! Four properties of QEMU's TCG shape this layer:
//!
//! - `qemu_plugin_set_pc` does not return, it jumps out of the callback without unwinding. What may
//!   call it is therefore done in two steps: a function *returns* where to go, and its caller, which has
//!   nothing to drop, goes there.
//! - Flags are evaluated when they are needed, from a record of the last operation. A plugin cannot set
//!   them, and leaving a block in its middle with `qemu_plugin_set_pc` spoils the record. So an
//!   instruction that QEMU does not know is left to QEMU, which raises #UD with everything in order,
//!   and executed by the plugin before the first instruction of the guest's handler. Then the frame
//!   on the stack gets the new RIP and flags, and an IRETQ of the guest's kernel resumes from there. If the
//!   instruction is undefined, the guest's handler just runs.
//! - #GP cannot be asked for. The vCPU is sent to an address that is not canonical, so that QEMU itself
//!   raises #GP with everything that belongs to it, and before the handler's first instruction the
//!   frame gets the address of the instruction that is to blame. An interrupt can come first; its
//!   frame gets that address too, and the instruction raises #GP when it is tried again. #PF is raised
//!   in the same way, at an address that is not present.
//! - A block is translated once for a physical page, and executed at every virtual address that
//!   this page is mapped to (`CF_PCREL`). The address that is known at translation is right only in
//!   its page offset; the page comes from RIP, which may lag behind inside of a block but never
//!   leaves the page in which all of the block's instructions start.

mod api;
mod callbacks;
mod cpu;
mod install;
mod layer;

use std::process;

pub use cpu::{Cpu, Reg};
pub use layer::{instructions, sleep, spinning, time_stamp, watch};

/// What QEMU says about itself and the machine.
pub struct Info {
    /// The emulated architecture, as in `qemu-system-NAME`.
    pub target: String,
    /// Whether a whole machine is emulated, not a process.
    pub system: bool,
    /// How many vCPUs the machine has.
    pub vcpus: usize,
    /// How many it could have after hotplug.
    pub max_vcpus: usize,
}

/// What a plugin does at QEMU's calls. All methods but the first two can run on several threads at once.
pub trait Plugin: Send + Sync + 'static {
    /// Whether [`Plugin::before`] is to be called for the instruction with these leading bytes. An
    /// instruction that is illegal to QEMU may be cut short behind its opcode.
    fn wants(&self, bytes: &[u8]) -> bool;

    /// The number of the watched place at this address, if it is one. [`Plugin::passed`] is to be
    /// called when a vCPU comes there.
    fn place(&self, address: u64) -> Option<usize>;

    /// The machine was reset: its first vCPU is about to run its first instruction, no other runs.
    fn reset(&self, cpu: &Cpu);

    /// An instruction that was wanted is about to run.
    fn before(&self, cpu: &Cpu, address: u64) -> Next;

    /// The instruction that [`Next::RunThenAfter`] let run has run; nothing else has since.
    fn after(&self, cpu: &Cpu);

    /// A vCPU comes to a watched place.
    fn passed(&self, vcpu: usize, place: usize);

    /// A vCPU that [`watch`] was called for is about to enable interrupts.
    fn interrupts_enabled(&self, vcpu: usize);

    /// The instruction that [`Next::Emulate`] is about. Registers are the instruction's but for those in
    /// the frame.
    fn emulate(&self, cpu: &Cpu, frame: &Frame) -> Resume;
}

/// How a vCPU goes on after [`Plugin::before`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// With the instruction, as if there were no plugin.
    Run,
    /// With the instruction, and then with [`Plugin::after`].
    RunThenAfter,
    /// With [`Plugin::emulate`], because to QEMU the instruction is undefined.
    Emulate,
    /// With #GP(0), raised by the instruction.
    GeneralProtection,
}

/// How a vCPU goes on after [`Plugin::emulate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// At `rip`, with these flags.
    At {
        /// The address.
        rip: u64,
        /// RFLAGS.
        rflags: u64,
    },
    /// With #UD, raised by the instruction.
    Undefined,
    /// With #GP(0), raised by the instruction.
    GeneralProtection,
    /// With #PF, raised by the instruction.
    PageFault {
        /// What CR2 tells.
        address: u64,
        /// The error code.
        code: u32,
        /// An address that is not present.
        absent: u64,
    },
}

/// What the CPU pushes when it raises an exception in 64-bit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The instruction's address.
    pub rip: u64,
    /// CS; bits 1:0 are the privilege level.
    pub cs: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// RSP.
    pub rsp: u64,
    /// SS.
    pub ss: u64,
}

impl Frame {
    /// Its size in memory.
    const SIZE: usize = 40;

    fn from_bytes(bytes: &[u8; Frame::SIZE]) -> Frame {
        let word = |index: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[index * 8..][..8]);
            u64::from_le_bytes(word)
        };
        Frame {
            rip: word(0),
            cs: word(1),
            rflags: word(2),
            rsp: word(3),
            ss: word(4),
        }
    }
}

/// Ends QEMU with a message.
pub fn fatal(message: &str) -> ! {
    eprintln!("tdxsim: {message}");
    process::exit(1)
}
