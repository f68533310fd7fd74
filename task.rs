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

/// What a task may be allowed to do.
#[derive(Clone, Copy)]
pub(crate) enum Capability {
    /// CAP_SYS_ADMIN
    SysAdmin,
    /// CAP_SYS_RAWIO
    SysRawio,
}

/// Whether the task has `capability`, and not only in a user namespace of its own.
pub(crate) fn is_capable(capability: Capability) -> bool {
    let number = match capability {
        Capability::SysAdmin => bindings::CAP_SYS_ADMIN,
        Capability::SysRawio => bindings::CAP_SYS_RAWIO,
    };

    // SAFETY: The initial namespace is there for ever.
    //
    // CAST: A small number.
    unsafe { bindings::ns_capable(&raw mut bindings::init_user_ns, number as c_int) }
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
