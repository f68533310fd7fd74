// SPDX-License-Identifier: GPL-2.0

//! Makes the driver's types printable with the kernel's macros.
//!
//! The driver's types implement [`core::fmt::Display`], because some of them are used outside the
//! kernel too. The kernel's macros want the kernel's trait of that name.

use kernel::fmt::{
    Display,
    Formatter,
    Result, //
};

macro_rules! forward_display {
    ($($type:ty),* $(,)?) => {
        $(
            impl Display for $type {
                fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                    core::fmt::Display::fmt(self, f)
                }
            }
        )*
    };
}

forward_display!(
    crate::features::Features,
    crate::image::Format,
    crate::metadata::Version,
    crate::outcome::Error,
    crate::outcome::OrDash,
    crate::outcome::Report,
    crate::outcome::Sensitive,
    crate::preflight::Check,
    crate::preflight::Words<'_>,
    crate::setup::State,
    crate::sigstruct::HandoffVersions,
    crate::sigstruct::Signer,
    crate::sigstruct::Svn,
    crate::status::Failure,
    crate::sysconfig::Error,
    crate::uapi::Outcome,
);
