// SPDX-License-Identifier: GPL-2.0

//! Running a function on all CPUs at once, with nothing else running.
//!
//! C headers: [`include/linux/stop_machine.h`](srctree/include/linux/stop_machine.h),
//! [`include/linux/nmi.h`](srctree/include/linux/nmi.h)

use core::ffi::c_void;

use kernel::{
    bindings,
    cpu::CpuId,
    error::to_result,
    prelude::*,
    processor::cpu_relax,
    types::NotThreadSafe, //
};

use crate::smp;

/// The machine is stopped: what is called with this runs in [`stop_machine()`], as it cannot leave
/// the CPU that got it there.
#[derive(Clone, Copy)]
pub(crate) struct Stopped(NotThreadSafe);

/// Stops the machine and runs `f` on every online CPU at the same time.
///
/// `f` starts when all CPUs have arrived with interrupts disabled, and the machine goes on when it
/// has returned on all of them. Neither allocations that sleep nor locks that do, which includes
/// spinlocks on PREEMPT_RT, are allowed in it. CPU hotplug is excluded meanwhile.
///
/// Sleeps, for as long as it takes for every CPU to run its stopper thread.
pub(crate) fn stop_machine<F: Fn(CpuId, Stopped) + Sync>(f: &F) -> Result {
    /// # Safety
    ///
    /// `data` must point to an `F`.
    unsafe extern "C" fn run<F: Fn(CpuId, Stopped) + Sync>(data: *mut c_void) -> c_int {
        // SAFETY: `data` is the `f` below, which is borrowed until `stop_machine()` returns.
        let f = unsafe { &*data.cast::<F>() };
        f(CpuId::current(), Stopped(NotThreadSafe));
        0
    }

    // SAFETY: `run()` gets the `f` that it expects, which is `Sync` as it runs on all CPUs at
    // once. It returns on all of them before the call does.
    to_result(unsafe {
        bindings::stop_machine(
            Some(run::<F>),
            core::ptr::from_ref(f).cast_mut().cast(),
            smp::online().as_raw(),
        )
    })
}

/// Waits a moment, for a function that runs in [`stop_machine()`] on a CPU that depends on another
/// one.
///
/// As `multi_cpu_stop()` does while it waits, this tells the lockup detectors, which may panic,
/// that the CPU does not hang: with many CPUs it can take long until each had its turn. The CPU
/// that is waited for is still watched.
pub(crate) fn wait_a_moment() {
    cpu_relax();
    // SAFETY: It may be called anywhere, and speaks of this CPU alone.
    unsafe { bindings::touch_nmi_watchdog() };
}
