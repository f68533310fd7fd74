// SPDX-License-Identifier: GPL-2.0

//! CPUs: which there are, where they are, and running something on one of them.
//!
//! C headers: [`include/linux/smp.h`](srctree/include/linux/smp.h),
//! [`include/linux/cpumask.h`](srctree/include/linux/cpumask.h)

use core::{
    arch::x86_64::__cpuid,
    ffi::c_void, //
};

use kernel::{
    bindings,
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    cpumask::Cpumask,
    error::to_result,
    prelude::*,
    types::NotThreadSafe, //
};

/// The CPUs that run. The set may change unless CPU hotplug is excluded.
pub(crate) fn online() -> &'static Cpumask {
    // SAFETY: The mask is a global that the kernel only changes atomically.
    unsafe { Cpumask::from_raw(&raw const bindings::__cpu_online_mask) }
}

/// The CPUs that are there, whether they run or not.
pub(crate) fn present() -> &'static Cpumask {
    // SAFETY: The mask is a global that the kernel only changes atomically.
    unsafe { Cpumask::from_raw(&raw const bindings::__cpu_present_mask) }
}

/// The CPUs in `mask`, in ascending order.
pub(crate) fn cpus(mask: &Cpumask) -> impl Iterator<Item = CpuId> + '_ {
    (0..nr_cpu_ids())
        .filter_map(CpuId::from_u32)
        .filter(|&cpu| mask.test(cpu))
}

/// The physical package of `cpu`, or 0 if it was never online. The TDX module is not configured
/// before each CPU was.
pub(crate) fn package(cpu: CpuId) -> i32 {
    // SAFETY: `cpu` is a CPU.
    unsafe { bindings::topology_physical_package_id(u32::from(cpu) as c_int) }
}

/// An online CPU of each package that has one.
pub(crate) fn of_packages(_: &NoHotplug) -> Result<KVec<CpuId>> {
    let mut cpus = KVec::<CpuId>::new();
    for cpu in self::cpus(online()) {
        if !cpus.iter().any(|&other| package(other) == package(cpu)) {
            cpus.push(cpu, GFP_KERNEL)?;
        }
    }
    Ok(cpus)
}

/// CPUID.1:EAX of the CPU that this runs on: family, model and stepping.
pub(crate) fn signature() -> u32 {
    // SAFETY: Every 64-bit CPU has CPUID.
    unsafe { __cpuid(1) }.eax
}

/// Keeps CPUs from coming and going while it lives.
pub(crate) struct NoHotplug(NotThreadSafe);

impl NoHotplug {
    /// Waits for CPU hotplug to end, and excludes it. Not for who does so already.
    pub(crate) fn new() -> Self {
        // SAFETY: `Drop` does the opposite.
        unsafe { bindings::cpus_read_lock() };
        Self(NotThreadSafe)
    }
}

impl Drop for NoHotplug {
    fn drop(&mut self) {
        // SAFETY: `new()` has locked, in this task, as the value never leaves it.
        unsafe { bindings::cpus_read_unlock() };
    }
}

/// Runs `f` on `cpu`, in a worker that cannot migrate, and returns its result.
///
/// # Errors
///
/// [`ENXIO`] when `cpu` is offline.
pub(crate) fn call_on<F, R>(cpu: CpuId, f: F) -> Result<R>
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    struct Task<F, R> {
        f: Option<F>,
        result: Option<R>,
    }

    /// # Safety
    ///
    /// `data` must point to a `Task<F, R>` that nothing else uses during the call.
    unsafe extern "C" fn run<F: FnOnce() -> R, R>(data: *mut c_void) -> c_int {
        // SAFETY: `data` is the `task` below, which nothing else uses until this returns.
        let task = unsafe { &mut *data.cast::<Task<F, R>>() };
        task.result = task.f.take().map(|f| f());
        0
    }

    let mut task = Task {
        f: Some(f),
        result: None,
    };
    // SAFETY: `run()` gets the `task` that it expects, and has returned when the call returns. `F`
    // and `R` are `Send`.
    to_result(unsafe {
        bindings::smp_call_on_cpu(cpu.into(), Some(run::<F, R>), (&raw mut task).cast(), true)
    })?;

    task.result.ok_or(ENXIO)
}

/// Writes back and invalidates the caches of all online CPUs.
pub(crate) fn wbinvd_all() {
    // SAFETY: There is no precondition.
    unsafe { bindings::wbinvd_on_all_cpus() };
}

/// Lets other tasks run, if any wants to.
pub(crate) fn cond_resched() {
    // SAFETY: The callers are in process context and hold no lock that may not be held.
    unsafe { bindings::cond_resched() };
}
