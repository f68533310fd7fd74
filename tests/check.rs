// SPDX-License-Identifier: GPL-2.0

//! What the tests share: a check that says what it was about, and text.

use core::fmt;

/// Ends a test that returns a `Result` with a failure, and a line in the kernel log, unless the
/// condition holds. KUnit's own assertions cannot say which row of a table they are about.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            pr_err!($($message)+);
            pr_err!("  at {}:{}\n", core::file!(), core::line!());
            return Err(EINVAL);
        }
    };
}

/// Text that something was formatted to; what does not fit is cut off.
pub(crate) struct Text {
    bytes: [u8; 256],
    len: usize,
}

impl Text {
    /// Formats `value`.
    pub(crate) fn of(value: impl fmt::Display) -> Self {
        let mut text = Self {
            bytes: [0; 256],
            len: 0,
        };
        let _ = fmt::write(&mut text, format_args!("{value}"));
        text
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        self.bytes
            .get(..self.len)
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let rest = self.bytes.get_mut(self.len..).ok_or(fmt::Error)?;
        let len = s.len().min(rest.len());
        for (to, from) in rest.iter_mut().zip(s.bytes()) {
            *to = from;
        }
        self.len += len;
        Ok(())
    }
}
