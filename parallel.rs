// SPDX-License-Identifier: GPL-2.0

//! Working on several things at the same time, each near its memory.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use kernel::{
    bindings,
    prelude::*,
    static_lock_class,
    types::Opaque, //
};

/// Runs `f` on every item, all at the same time, and returns when all are done.
///
/// Each item has a worker of its own, preferably on a CPU of the item's `node`. Items are not
/// worked on by more CPUs than there are, so `f` may take long, but should be willing to
/// reschedule. Without memory for workers it is one item after the other.
pub(crate) fn for_each<T, F, N>(items: &[T], node: N, f: F)
where
    T: Sync,
    F: Fn(&T) + Sync,
    N: Fn(&T) -> i32,
{
    // For one item a worker is not worth its while.
    let jobs = match items {
        [_] => None,
        _ => jobs(items, &f).ok(),
    };
    let Some(jobs) = jobs else {
        return items.iter().for_each(&f);
    };

    // The jobs do not move from here on.
    for job in jobs.iter() {
        let node = node(job.item);
        // SAFETY: The work is not in use, and stays where it is until it is flushed below, before
        // `jobs` is dropped. `Job::run()` is for works in jobs of this type.
        unsafe {
            bindings::init_work_with_key(
                job.work.get(),
                Some(Job::<T, F>::run),
                false,
                c"tdx_host_parallel".as_char_ptr(),
                static_lock_class!().as_ptr(),
            );
            bindings::queue_work_node(node, bindings::system_dfl_wq, job.work.get());
        }
    }
    for job in jobs.iter() {
        // SAFETY: The work was initialized. After this it is not in use any more.
        unsafe { bindings::flush_work(job.work.get()) };
    }
}

/// A job for each item.
fn jobs<'a, T, F>(items: &'a [T], f: &'a F) -> Result<KVec<Job<'a, T, F>>> {
    let mut jobs = KVec::with_capacity(items.len(), GFP_KERNEL)?;
    for item in items {
        jobs.push(
            Job {
                work: Opaque::uninit(),
                item,
                f,
            },
            GFP_KERNEL,
        )?;
    }
    Ok(jobs)
}

/// An item with what is to be done with it.
#[repr(C)]
struct Job<'a, T, F> {
    work: Opaque<bindings::work_struct>,
    item: &'a T,
    f: &'a F,
}

impl<T: Sync, F: Fn(&T) + Sync> Job<'_, T, F> {
    /// # Safety
    ///
    /// `work` must be the work of a job of this type, which only workers use during the call.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: By the requirement of this function, and as `work` is the first field. The job
        // is only ever shared while works run, the item and the function are `Sync`, and `Opaque`
        // lets the workqueue change the work meanwhile.
        let job = unsafe { &*work.cast::<Self>() };
        (job.f)(job.item);
    }
}
