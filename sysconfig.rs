// SPDX-License-Identifier: GPL-2.0

//! Configures the TDX module.
//!
//! Boot has left it initialized on every CPU, and TDMRs ready to be handed over. What follows is
//! TDH.SYS.CONFIG, TDH.SYS.KEY.CONFIG once on each package, and TDH.SYS.TDMR.INIT until every
//! TDMR is initialized. Then the core reads the system information again, which features change,
//! and offers TDX to KVM.
//!
//! Until TDH.SYS.CONFIG has succeeded nothing is lost by a failure, and the next load of the
//! driver starts again. After it there is no way back: TDX is off until the next reboot.

use core::fmt;

use kernel::{
    alloc::AllocError,
    cpu::CpuId,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    features::Features,
    metadata,
    parallel,
    phys::TdmrArray,
    seamcall::{
        self,
        retry, //
    },
    setup::{
        self,
        Setup,
        Tdmr, //
    },
    smp,
    status::{
        Failure,
        Leaf,
        Status, //
    }, //
};

/// Why the TDX module was not configured.
pub(crate) enum Error {
    /// A SEAMCALL failed.
    Seamcall(Failure),
    /// The TDX module demands of TDH.SYS.CONFIG what the kernel does not do.
    Unsupported(Failure),
    /// No CPU of this package is online.
    PackageOffline(i32),
    /// TDH.SYS.TDMR.INIT succeeds for ever and initializes nothing.
    NoProgress,
    /// The TDX module waits for CPUs, and there are some that are not online.
    CpusMissing(Failure),
    /// The core cannot read the system information again.
    Sysinfo(kernel::error::Error),
    /// The kernel failed.
    Kernel(kernel::error::Error),
}

impl Error {
    /// The error code that loading the driver fails with.
    pub(crate) fn to_errno(&self) -> kernel::error::Error {
        match self {
            Error::Seamcall(_) | Error::NoProgress | Error::Sysinfo(_) => EIO,
            Error::Unsupported(_) => EOPNOTSUPP,
            Error::PackageOffline(_) | Error::CpusMissing(_) => EBUSY,
            Error::Kernel(error) => *error,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Seamcall(failure) => write!(f, "{failure}"),
            Error::Unsupported(failure) => write!(f, "unsupported TDX module: {failure}"),
            Error::PackageOffline(package) => {
                write!(f, "package {package} has no online CPU to make its key on")
            }
            Error::NoProgress => write!(f, "{} makes no progress", Leaf::SYS_TDMR_INIT),
            Error::CpusMissing(failure) => {
                write!(
                    f,
                    "every CPU must have been online once, bring them online: {failure}"
                )
            }
            Error::Sysinfo(error) => write!(
                f,
                "reading the system information again failed with error {}",
                error.to_errno()
            ),
            Error::Kernel(error) => write!(f, "error {}", error.to_errno()),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::Seamcall(failure)
    }
}

impl From<kernel::error::Error> for Error {
    fn from(error: kernel::error::Error) -> Self {
        Error::Kernel(error)
    }
}

impl From<AllocError> for Error {
    fn from(error: AllocError) -> Self {
        Error::Kernel(error.into())
    }
}

/// Configures the TDX module that boot has prepared for, and offers it to KVM.
///
/// Says what was configured, or what failed and whether loading the driver again can help.
pub(crate) fn configure(setup: &Setup) -> Result {
    let Configured {
        tdmrs,
        features,
        keys,
    } = prepare_and_config(setup).map_err(|error| {
        match error {
            Error::Unsupported(_) => pr_err!("{error}; TDX stays off with this module\n"),
            _ => pr_err!("{error}; TDX stays off, loading the driver again may help\n"),
        }
        error.to_errno()
    })?;

    let finished = keys
        .and_then(|()| init_tdmrs(&tdmrs))
        .and_then(|()| setup::module_configured(features).map_err(Error::Sysinfo));
    if let Err(error) = finished {
        setup::module_failed(tdmrs);
        pr_err!("{error}; TDX stays off until the next reboot\n");
        return Err(error.to_errno());
    }

    if features.is_empty() {
        pr_info!("TDX module configured without extra features\n");
    } else {
        pr_info!("TDX module configured with extra features {features}\n");
    }
    Ok(())
}

/// What has been done when there is no way back any more.
struct Configured {
    /// The TDMRs that were handed over.
    tdmrs: KVec<Tdmr>,
    /// The features that are configured.
    features: Features,
    /// What has come of the keys.
    keys: Result<(), Error>,
}

/// Does what there is a way back from, and what must follow it before any CPU comes or goes.
///
/// All memory that is needed later is allocated here.
fn prepare_and_config(setup: &Setup) -> Result<Configured, Error> {
    let tdmrs = setup.tdmrs()?;
    let no_hotplug = smp::NoHotplug::new();
    let cpus = package_cpus(&no_hotplug)?;
    let features = config(setup, &tdmrs)?;
    let keys = config_key(&cpus, &no_hotplug);
    Ok(Configured {
        tdmrs,
        features,
        keys,
    })
}

/// Hands the TDMRs over, with the features that are configured from then on.
fn config(setup: &Setup, tdmrs: &[Tdmr]) -> Result<Features, Error> {
    let features = Features::to_configure(retry(metadata::features)?);
    let array = TdmrArray::new(tdmrs)?;
    retry(|| seamcall::sys_config(&array, setup.global_keyid, features)).map_err(|failure| {
        // Version 1 or one of its operands: a TDX module that offers a feature and does not take
        // it in the way that the kernel asks for it. There is no second try without the feature.
        if !features.is_empty() && failure.status.is_of_version_1() {
            Error::Unsupported(failure)
        } else if failure.status.is(Status::SYS_CONFIG_NOT_PENDING)
            && smp::online().weight() != smp::present().weight()
        {
            Error::CpusMissing(failure)
        } else {
            Error::Seamcall(failure)
        }
    })?;

    Ok(features)
}

/// An online CPU of each package, which can make the package's key.
///
/// # Errors
///
/// [`Error::PackageOffline`] for a package that has none.
fn package_cpus(no_hotplug: &smp::NoHotplug) -> Result<KVec<CpuId>, Error> {
    let cpus = smp::of_packages(no_hotplug)?;
    let has_one = |package| cpus.iter().any(|&cpu| smp::package(cpu) == package);

    match smp::cpus(smp::present())
        .map(smp::package)
        .find(|&package| !has_one(package))
    {
        Some(package) => Err(Error::PackageOffline(package)),
        None => Ok(cpus),
    }
}

/// Makes the global key on every package, by one of its `cpus`, one after the other, as the TDX
/// module wants it.
fn config_key(cpus: &[CpuId], _: &smp::NoHotplug) -> Result<(), Error> {
    // The PAMTs' cache lines are dirty under another KeyID, and the hardware keeps no coherency
    // across KeyIDs. Flush them before the TDX module uses the PAMTs with the global one.
    smp::wbinvd_all();

    for &cpu in cpus {
        match smp::call_on(cpu, || retry(seamcall::sys_key_config))? {
            // Not this driver's doing, but done.
            Err(failure) if failure.status.is(Status::KEY_CONFIGURED) => (),
            result => result?,
        }
    }
    Ok(())
}

/// Initializes the PAMTs of all TDMRs, which takes the longer the more memory there is.
///
/// The TDX module lets CPUs work on different TDMRs at the same time, but never on the same.
fn init_tdmrs(tdmrs: &[Tdmr]) -> Result<(), Error> {
    let total = tdmrs
        .iter()
        .fold(0u64, |sum, tdmr| sum.saturating_add(tdmr.size()));
    let progress = Progress::new(total);

    parallel::for_each(tdmrs, Tdmr::node, |tdmr| {
        if let Err(failure) = init_tdmr(tdmr, &progress) {
            progress.fail(failure);
        }
    });
    progress.finish()
}

/// Initializes the PAMT of `tdmr`. A call does a part of it, such as that of 4 MiB of memory, and
/// the TDX module says which whole gigabytes are done.
fn init_tdmr(tdmr: &Tdmr, progress: &Progress) -> seamcall::Result<()> {
    // A call does a page at the least, and a gigabyte has so many.
    const CALLS: u32 = 1 << 18;

    let mut done = tdmr.base();
    let mut calls = 0u32;
    while done < tdmr.end() && !progress.has_failed() {
        let next = retry(|| seamcall::sys_tdmr_init(tdmr))?.min(tdmr.end());
        calls = calls.saturating_add(1);
        if next > done {
            progress.add(next.saturating_sub(done));
            done = next;
            calls = 0;
        } else if calls > CALLS {
            progress.give_up();
        }
        smp::cond_resched();
    }
    Ok(())
}

/// How far the initialization of TDMRs is, shared by those that work on it.
struct Progress {
    began: Instant<Monotonic>,
    /// Bytes of memory in all.
    total: u64,
    /// Bytes of memory whose PAMT is initialized.
    done: Atomic<u64>,
    /// When progress was last reported, in seconds since it began.
    reported: Atomic<i64>,
    /// A TDMR stays as it is.
    stuck: Atomic<bool>,
    /// The status of a call that failed, or 0.
    failed: Atomic<u64>,
}

impl Progress {
    /// Seconds between two reports, at least.
    const INTERVAL: i64 = 5;

    fn new(total: u64) -> Self {
        Self {
            began: Instant::now(),
            total,
            done: Atomic::new(0),
            reported: Atomic::new(0),
            stuck: Atomic::new(false),
            failed: Atomic::new(0),
        }
    }

    /// Adds `bytes` that are done, and reports from time to time.
    fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Relaxed).wrapping_add(bytes);
        let reported = self.reported.load(Relaxed);
        let seconds = self.began.elapsed().as_millis() / 1000;
        if seconds >= reported.saturating_add(Self::INTERVAL)
            && self.reported.cmpxchg(reported, seconds, Relaxed).is_ok()
        {
            pr_info!(
                "initialized {} of {} GiB for TDX\n",
                done >> 30,
                self.total >> 30
            );
        }
    }

    /// Has all workers stop because of `failure`.
    fn fail(&self, failure: Failure) {
        self.failed.store(failure.status.raw(), Relaxed);
    }

    /// Has all workers stop because a TDMR stays as it is.
    fn give_up(&self) {
        self.stuck.store(true, Relaxed);
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Relaxed) != 0 || self.stuck.load(Relaxed)
    }

    /// Says how it went. For when all workers are through.
    fn finish(&self) -> Result<(), Error> {
        let status = Status::new(self.failed.load(Relaxed));
        if status != Status::SUCCESS {
            return Err(Error::Seamcall(Failure {
                leaf: Leaf::SYS_TDMR_INIT,
                status,
            }));
        }
        if self.stuck.load(Relaxed) {
            return Err(Error::NoProgress);
        }

        pr_info!(
            "initialized {} GiB for TDX in {} ms\n",
            self.total >> 30,
            self.began.elapsed().as_millis()
        );
        Ok(())
    }
}
