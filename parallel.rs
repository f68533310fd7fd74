// SPDX-License-Identifier: GPL-2.0

//! Working on several things at the same time, each near its memory.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::ptr::null;

use kernel::{
    bindings,
    prelude::*,
    static_lock_class, //
};

/// Runs `f` on every item, all at the same time, and returns when all are done.
///
/// Each item has a worker of its own, on a CPU of the item's `node` if one is online. Items are
/// not worked on by more CPUs than there are, so `f` may take long, but should be willing to
/// reschedule.
///
/// # Errors
///
/// [`ENOMEM`], and then nothing was run.
pub(crate) fn for_each<T, F, N>(items: &[T], node: N, f: F) -> Result
where
    T: Sync,
    F: Fn(&T) + Sync,
    N: Fn(&T) -> i32,
{
    // A worker is not worth its while.
    if let [item] = items {
        f(item);
        return Ok(());
    }

    let mut jobs = KVec::with_capacity(items.len(), GFP_KERNEL)?;
    for item in items {
        jobs.push(
            Job {
                work: pin_init::zeroed(),
                item,
                f: &f,
            },
            GFP_KERNEL,
        )?;
    }

    // The jobs do not move from here on.
    for job in jobs.iter_mut() {
        let node = node(job.item);
        // SAFETY: The work is not in use, and stays where it is until it is flushed below, before
        // `jobs` is dropped. `Job::run()` is for works in jobs of this type.
        unsafe {
            bindings::init_work_with_key(
                &raw mut job.work,
                Some(Job::<T, F>::run),
                false,
                null(),
                static_lock_class!().as_ptr(),
            );
            bindings::queue_work_node(node, bindings::system_dfl_wq, &raw mut job.work);
        }
    }
    for job in jobs.iter_mut() {
        // SAFETY: The work was initialized. After this it is not in use any more.
        unsafe { bindings::flush_work(&raw mut job.work) };
    }
    Ok(())
}

/// An item with what is to be done with it.
#[repr(C)]
struct Job<'a, T, F> {
    work: bindings::work_struct,
    item: &'a T,
    f: &'a F,
}

impl<T: Sync, F: Fn(&T) + Sync> Job<'_, T, F> {
    /// # Safety
    ///
    /// `work` must be the work of a job of this type, which only workers use during the call.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: By the requirement of this function, and as `work` is the first field. The item
        // and the function are `Sync`. No reference to the work is made, which the workqueue uses.
        let (item, f) = unsafe {
            let job = work.cast::<Self>();
            ((*job).item, (*job).f)
        };
        f(item);
    }
}
