// SPDX-License-Identifier: GPL-2.0

//! Updates by firmware uploads, which go to `/sys/class/firmware/tdx_module`.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use crate::{
    fw_upload,
    module_update,
    outcome,
    vmapped::Vmapped, //
};

/// The upload of a TDX module.
pub(crate) struct ModuleUpload;

/// The upload that runs, or is about to, is to give up.
static CANCELED: Atomic<bool> = Atomic::new(false);

impl fw_upload::Upload for ModuleUpload {
    fn write(file: Vmapped<'_>) -> Result<(), fw_upload::Error> {
        let report =
            module_update::update(file, module_update::wait_ms(), || CANCELED.load(Relaxed));

        match report.error {
            None => Ok(()),
            Some(outcome::Error::Image(error)) if error.is_size() => {
                Err(fw_upload::Error::InvalidSize)
            }
            Some(error) => Err(match error.to_errno() {
                EBUSY => fw_upload::Error::Busy,
                ENOSPC => fw_upload::Error::Wearout,
                ETIMEDOUT => fw_upload::Error::Timeout,
                ECANCELED => fw_upload::Error::Canceled,
                EINVAL => fw_upload::Error::Invalid,
                _ => fw_upload::Error::Hardware,
            }),
        }
    }

    fn cancel() {
        CANCELED.store(true, Relaxed);
    }

    fn finish() {
        CANCELED.store(false, Relaxed);
    }
}
