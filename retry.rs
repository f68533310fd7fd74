// SPDX-License-Identifier: GPL-2.0

//! Trying again what may fail for a reason that passes.
//!
//! This file uses `core` alone; see `image.rs`.

/// Makes `call`, at most `tries` times and with a `pause` before each further one, for as long as
/// its result is one to try `again` after. Returns the last result.
pub(crate) fn retry<R>(
    tries: u32,
    again: impl Fn(&R) -> bool,
    pause: impl Fn(),
    mut call: impl FnMut() -> R,
) -> R {
    let mut result = call();
    for _ in 1..tries {
        if !again(&result) {
            break;
        }
        pause();
        result = call();
    }
    result
}
