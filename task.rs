// SPDX-License-Identifier: GPL-2.0

//! What the calling task may do, and sleeping unless it is killed.
//!
//! C headers: [`include/linux/capability.h`](srctree/include/linux/capability.h),
//! [`include/linux/completion.h`](srctree/include/linux/completion.h)

use kernel::{
    bindings,
    prelude::*,
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    types::Opaque, //
};

/// Whether the task has CAP_SYS_ADMIN, and not only in a user namespace of its own.
pub(crate) fn is_admin() -> bool {
    // CAST: A small number.
    let admin = bindings::CAP_SYS_ADMIN as c_int;

    // SAFETY: The initial namespace is there for ever.
    unsafe { bindings::ns_capable(&raw mut bindings::init_user_ns, admin) }
}

/// Sleeps for `ms` milliseconds. No signal but a fatal one wakes the task, and then it returns at
/// once.
///
/// # Errors
///
/// [`EINTR`] when the task is being killed. That never happens to a kernel thread.
pub(crate) fn sleep_killable(ms: Msecs) -> Result {
    // Nobody completes it. Waiting for a completion is the sleep that tells a fatal signal from
    // other reasons to wake up.
    pin_init::stack_pin_init!(let never = Opaque::ffi_init(|slot: *mut bindings::completion| {
        // SAFETY: `slot` is a valid place for a completion.
        unsafe { bindings::init_completion(slot) };
    }));

    // SAFETY: The completion was initialized, and stays where it is until this has returned.
    let left = unsafe {
        bindings::wait_for_completion_killable_timeout(never.get(), msecs_to_jiffies(ms))
    };
    if left < 0 {
        return Err(EINTR);
    }
    Ok(())
}
