// SPDX-License-Identifier: GPL-2.0

//! `/dev/tdx_host`, and what is to be asked of `/dev/kvm`. The only file with unsafe code.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::AsRawFd;

use crate::host::Host;
use crate::uapi;

/// Where the driver's ioctls are.
pub const DEVICE: &str = "/dev/tdx_host";

/// The driver, by its ioctls.
pub struct Device(File);

impl Device {
    /// Opens the device; `None` if there is none.
    pub fn open(host: &Host) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(host.path(DEVICE));
        match file {
            Ok(file) => Ok(Some(Self(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the driver knows.
    pub fn info(&self) -> io::Result<uapi::Info> {
        // SAFETY: Plain numbers, which may all be zero.
        let mut info: uapi::Info = unsafe { zeroed() };
        info.size = size_of::<uapi::Info>() as u32;
        // SAFETY: It is the structure that this ioctl takes, and says its size.
        unsafe { self.ioctl(uapi::INFO, &mut info) }?;
        Ok(info)
    }

    /// Has the driver check an image. Returns the error that an update would fail with, 0 if none,
    /// and all checks. Changes nothing.
    pub fn check(&self, image: &[u8]) -> io::Result<(i32, Vec<uapi::CheckResult>)> {
        let mut room = 32;
        loop {
            // SAFETY: Plain numbers, which may all be zero.
            let mut results = vec![unsafe { zeroed::<uapi::CheckResult>() }; room];
            let mut check = uapi::Check {
                size: size_of::<uapi::Check>() as u32,
                flags: 0,
                image: image.as_ptr() as u64,
                image_size: image.len() as u64,
                results: results.as_mut_ptr() as u64,
                result_size: size_of::<uapi::CheckResult>() as u32,
                nr_results: room as u32,
                error: 0,
                reserved: 0,
            };
            // SAFETY: It is the structure that this ioctl takes, and says its size and those of
            // the memory that it points to.
            unsafe { self.ioctl(uapi::CHECK, &mut check) }?;
            let checks = check.nr_results as usize;
            if checks <= room {
                results.truncate(checks);
                return Ok((check.error, results));
            }
            room = checks;
        }
    }

    /// Has the driver replace the TDX module. Does not wait for TD builds.
    ///
    /// # Errors
    ///
    /// When there was no update at all. How one ended is in what is returned.
    pub fn update(&self, image: &[u8]) -> io::Result<uapi::Update> {
        // SAFETY: Plain numbers, which may all be zero.
        let mut update: uapi::Update = unsafe { zeroed() };
        update.size = size_of::<uapi::Update>() as u32;
        update.image = image.as_ptr() as u64;
        update.image_size = image.len() as u64;
        update.outcome = uapi::OUTCOME_NONE;
        // SAFETY: It is the structure that this ioctl takes, and says its size and that of the
        // image.
        let result = unsafe { self.ioctl(uapi::UPDATE, &mut update) };
        match (update.outcome, result) {
            (uapi::OUTCOME_NONE, Err(error)) => Err(error),
            _ => Ok(update),
        }
    }

    /// # Safety
    ///
    /// `argument` must be what the ioctl `number` takes.
    unsafe fn ioctl<T>(&self, number: u32, argument: &mut T) -> io::Result<()> {
        // SAFETY: By the requirement of this function.
        match unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                number as libc::Ioctl,
                std::ptr::from_mut(argument),
            )
        } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// The text in `bytes`, up to the first that is zero.
pub fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The types of VMs that KVM offers, as the bits of KVM_CAP_VM_TYPES.
pub fn kvm_vm_types(host: &Host) -> io::Result<u32> {
    /// KVM_CHECK_EXTENSION and KVM_CAP_VM_TYPES of linux/kvm.h.
    const CHECK_EXTENSION: u32 = 0xAE03;
    const CAP_VM_TYPES: libc::c_ulong = 235;

    let kvm = OpenOptions::new()
        .read(true)
        .write(true)
        .open(host.path("/dev/kvm"))?;
    // SAFETY: This ioctl takes a number and touches no memory.
    match unsafe {
        libc::ioctl(
            kvm.as_raw_fd(),
            CHECK_EXTENSION as libc::Ioctl,
            CAP_VM_TYPES,
        )
    } {
        -1 => Err(io::Error::last_os_error()),
        types => Ok(types as u32),
    }
}

/// The number of columns of the terminal that is standard output.
pub fn terminal_width() -> Option<usize> {
    // SAFETY: Plain numbers, which may all be zero.
    let mut size: libc::winsize = unsafe { zeroed() };
    // SAFETY: It is the structure that this ioctl takes.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    (result == 0 && size.ws_col != 0).then(|| size.ws_col.into())
}

/// Has Ctrl-C, and the signals that ask a program to end, set a flag instead: see [`canceled`].
pub fn catch_signals() {
    extern "C" fn note(_signal: libc::c_int) {
        signals::CANCELED.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: The handler only stores to an atomic.
        unsafe { libc::signal(signal, note as *const () as libc::sighandler_t) };
    }
}

/// Whether one of those signals has come.
pub fn canceled() -> bool {
    signals::CANCELED.load(std::sync::atomic::Ordering::Relaxed)
}

mod signals {
    pub static CANCELED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
}
