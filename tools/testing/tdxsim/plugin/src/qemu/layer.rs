// SPDX-License-Identifier: GPL-2.0

//! What is kept between callbacks.

use std::ffi::{c_uint, c_ulong};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::api::{self, Api};
use super::cpu::Reg;
use super::{fatal, Plugin};
use crate::spin::Spin;

/// What this layer keeps.
pub struct Layer {
    /// QEMU's functions.
    pub api: Api,
    /// What decides about instructions.
    pub plugin: Box<dyn Plugin>,
    /// Instructions executed.
    pub instructions: api::ScoreboardU64,
    /// Not zero: [`Pending`] work is to be done before the next instruction that can tell.
    pub due: api::ScoreboardU64,
    /// Not zero: [`Plugin::interrupts_enabled`] is to be called before the next STI.
    pub watched: api::ScoreboardU64,
    /// Where a kernel has an IRETQ; 0 until one was seen.
    pub iretq: AtomicU64,
    /// By number.
    pub vcpus: Vec<Vcpu>,
}

// SAFETY: the raw pointers in it are scoreboards, which QEMU lets every thread use.
unsafe impl Send for Layer {}
// SAFETY: as above; everything else in it is Sync.
unsafe impl Sync for Layer {}

impl Layer {
    /// A vCPU's number for QEMU, if it exists.
    fn index(&self, vcpu: usize) -> Option<c_uint> {
        let is_made = self.vcpus.get(vcpu).is_some_and(Vcpu::is_made);
        is_made.then(|| vcpu.try_into().ok()).flatten()
    }

    /// Leaves work behind for a vCPU that exists.
    pub fn set_pending(&self, index: c_uint, pending: Pending) {
        if let Some(vcpu) = self.vcpus.get(index as usize) {
            *vcpu.pending() = pending;
        }
        let due = !matches!(pending, Pending::Nothing);
        // SAFETY: the entry is a scoreboard's, and the vCPU exists.
        unsafe { (self.api.u64_set)(self.due, index, due.into()) };
    }
}

/// What this layer keeps of a vCPU.
#[derive(Default)]
pub struct Vcpu {
    /// Set when QEMU has made the vCPU.
    pub registers: OnceLock<Handles>,
    pending: Mutex<Pending>,
    /// The address of an instruction that must raise #GP when it is tried again; else 0.
    pub interrupted: AtomicU64,
    /// Loops that only wait.
    pub spin: Spin,
}

/// What is to be done before a vCPU's next instruction.
#[derive(Clone, Copy, Default)]
pub enum Pending {
    #[default]
    Nothing,
    /// [`Plugin::after`].
    After,
    /// [`Plugin::emulate`] of the instruction at this address, which has raised #UD.
    Emulate(u64),
    /// Blaming an exception on an instruction.
    Blame(Blame),
}

/// An exception that the vCPU has been made to raise, on behalf of an instruction.
#[derive(Clone, Copy)]
pub struct Blame {
    /// The instruction's address.
    pub address: u64,
    /// RFLAGS when it ran.
    pub rflags: u64,
    /// Where the vCPU was sent to.
    pub sent_to: u64,
    /// For #PF, CR2 and the error code; else it is #GP(0).
    pub page_fault: Option<(u64, u32)>,
}

impl Vcpu {
    /// QEMU has made the vCPU, and the scoreboards have an entry for it. It counts a vCPU before it
    /// has made room for it in them.
    pub fn is_made(&self) -> bool {
        self.registers.get().is_some()
    }

    /// What is to be done.
    pub fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handles of a vCPU's registers, in the order of [`Reg`].
pub struct Handles(pub [*mut api::Register; Reg::ALL.len()]);

// SAFETY: a handle is a token that is never dereferenced here.
unsafe impl Send for Handles {}
// SAFETY: as above.
unsafe impl Sync for Handles {}

/// Set once, when the plugin is installed.
pub static LAYER: OnceLock<Layer> = OnceLock::new();

/// The layer, in callbacks, which are registered after it was set.
pub fn layer() -> &'static Layer {
    match LAYER.get() {
        Some(layer) => layer,
        None => fatal("QEMU called back before the plugin was installed"),
    }
}

/// How many instructions a vCPU has executed since QEMU started. 0 for a vCPU that there is not.
///
/// A block counts as executed when it is entered.
pub fn instructions(vcpu: usize) -> u64 {
    let layer = layer();
    match layer.index(vcpu) {
        // SAFETY: the entry is a scoreboard's, and the vCPU exists.
        Some(index) => unsafe { (layer.api.u64_get)(layer.instructions, index) },
        None => 0,
    }
}

/// How many of them were spent in loops that only waited.
pub fn spinning(vcpu: usize) -> u64 {
    let vcpu = layer().vcpus.get(vcpu);
    vcpu.map_or(0, |vcpu| vcpu.spin.total())
}

/// What RDTSC would return now; 0 if QEMU keeps that from plugins.
pub fn time_stamp() -> u64 {
    match layer().api.elapsed_ticks {
        // SAFETY: QEMU's own RDTSC calls this function in the same thread.
        Some(elapsed_ticks) => (unsafe { elapsed_ticks() }) as u64,
        None => 0,
    }
}

/// Asks for [`Plugin::interrupts_enabled`] when this vCPU enables interrupts the next time.
pub fn watch(vcpu: usize) {
    let layer = layer();
    if let Some(index) = layer.index(vcpu) {
        // SAFETY: the entry is a scoreboard's, and the vCPU exists.
        unsafe { (layer.api.u64_set)(layer.watched, index, 1) };
    }
}

/// Lets the calling thread sleep, and wake up as late as Linux must but no later.
pub fn sleep(time: Duration) {
    // SAFETY: this changes by how much the thread's timers may be late, and no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as c_ulong) };
    thread::sleep(time);
}
