// SPDX-License-Identifier: GPL-2.0

//! Replaces the running TDX module.
//!
//! Everything that can be refused is refused before the CPUs are stopped, while nothing is lost.
//! What happens then is in `lockstep.rs`; this file prepares it, stands between it and the
//! firmware, and waits for TD builds if the caller wants that.

use kernel::{
    cpu::CpuId,
    device::Device,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        }, //
    },
    time::{
        delay::udelay,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    features::Features,
    image::Image,
    inspect::{
        self,
        Candidate, //
    },
    lockstep::{
        Cpu,
        Firmware,
        Lockstep, //
    },
    metadata::{
        self,
        SeamldrInfo,
        Version, //
    },
    outcome::{
        Error,
        OrDash,
        Report, //
    },
    phys::SeamldrParams,
    preflight::{
        Host,
        Preflight,
        Verdict, //
    },
    retry::retry,
    seamcall,
    setup::{
        self,
        Setup,
        State, //
    },
    sigstruct::Sigstruct,
    smp,
    status::{
        Failure,
        InstallFailure,
        Status, //
    },
    stop_machine::{
        stop_machine,
        wait_a_moment,
        Stopped, //
    },
    sysfs,
    task,
    uapi::Outcome,
    vmapped::Vmapped, //
};

kernel::sync::global_lock! {
    // SAFETY: `init()` is called before anything else of this file.
    unsafe(uninit) static ENGINE: Mutex<()> = ();
}

kernel::sync::global_lock! {
    // SAFETY: `init()` is called before anything else of this file.
    unsafe(uninit) static LAST: Mutex<Option<Report>> = None;
}

kernel::sync::global_lock! {
    // SAFETY: `init()` is called before anything else of this file.
    unsafe(uninit) static DEVICE: Mutex<Option<ARef<Device>>> = None;
}

/// An update has been started and has not ended.
static UPDATING: Atomic<bool> = Atomic::new(false);

/// How long an upload waits for TD builds, in milliseconds.
static WAIT_MS: Atomic<u32> = Atomic::new(0);

/// Prepares for updates.
///
/// # Safety
///
/// Must be called once, before anything else of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By the requirement of this function.
    unsafe {
        ENGINE.init();
        LAST.init();
        DEVICE.init();
    }
}

/// Has `device` say when an update has ended, or none.
pub(crate) fn set_device(device: Option<ARef<Device>>) {
    *DEVICE.lock() = device;
}

/// Whether an update runs.
pub(crate) fn is_updating() -> bool {
    UPDATING.load(Acquire)
}

/// How the last update ended, if there was one.
pub(crate) fn last() -> Option<Report> {
    *LAST.lock()
}

/// How long an upload waits for TD builds, in milliseconds.
pub(crate) fn wait_ms() -> u32 {
    WAIT_MS.load(Relaxed)
}

/// Has uploads wait for TD builds for `ms` milliseconds from now on.
pub(crate) fn set_wait_ms(ms: u32) {
    WAIT_MS.store(ms, Relaxed);
}

/// Replaces the running TDX module by the one in `file`.
///
/// While TDs are being built it tries again for `wait_ms` milliseconds, unless `canceled` says
/// that it is no longer wanted, or the calling task is killed. Says in the kernel log, in
/// `last_update` and by an uevent how that ended, and returns it.
pub(crate) fn update(file: Vmapped<'_>, wait_ms: u32, canceled: fn() -> bool) -> Report {
    let engine = ENGINE.try_lock();
    let setup = Setup::read();
    let mut update = Update {
        canceled,
        from: setup.state.is_replaceable().then_some(setup.last_version),
        attempts: 0,
        blackout_ns: 0,
        total_blackout_ns: 0,
    };
    if engine.is_none() {
        // `last_update` is for the other one.
        pr_err!("update refused: {}\n", Error::AnotherUpdate);
        return update.report(Err(Error::AnotherUpdate));
    }

    UPDATING.store(true, Relaxed);
    let result = update.run(file, wait_ms);
    let report = update.report(result);

    *LAST.lock() = Some(report);
    UPDATING.store(false, Release);
    // Who hears of it may want another one at once.
    drop(engine);
    announce(&report);
    report
}

/// Says in the kernel log and by an uevent how an update has ended.
fn announce(report: &Report) {
    let us = report.blackout_ns / 1000;
    let cpus = smp::online().weight();
    let attempts = report.attempts;
    match (report.error, report.from, report.to) {
        (None, Some(from), Some(to)) => pr_info!(
            "TDX module updated from {from} to {to}, {cpus} CPUs stopped for {us} us, attempt \
             {attempts}\n"
        ),
        (Some(error @ Error::Aborted(_)), _, _) => match report.outcome() {
            Outcome::Interrupted => pr_err!(
                "update interrupted: {error}; leave the VMs alone and upload a good image, which \
                 still saves their TDs\n"
            ),
            _ => pr_err!("update failed: {error}; TDX is lost until the next reboot\n"),
        },
        (Some(error), _, Some(version)) if !error.doubts_module() => {
            pr_err!("update refused: {error}; TDX module {version} runs on\n");
        }
        (Some(error), ..) => pr_err!("update refused: {error}\n"),
        (None, ..) => (),
    }

    // Only the news may be lost for want of memory, not the update.
    if let Some(device) = &*DEVICE.lock() {
        if let Err(error) = notify(device, report) {
            pr_warn!("no uevent: error {}\n", error.to_errno());
        }
    }
}

/// Sends the uevent for an update that has ended.
fn notify(device: &Device, report: &Report) -> Result {
    let result = CString::try_from_fmt(fmt!("TDX_UPDATE_RESULT={}", report.outcome()))?;
    let from = CString::try_from_fmt(fmt!("TDX_UPDATE_FROM={}", OrDash(report.from)))?;
    let to = CString::try_from_fmt(fmt!("TDX_UPDATE_TO={}", OrDash(report.to)))?;

    sysfs::uevent_change(device, [&result, &from, &to])
}

/// An update while it runs.
struct Update {
    /// Says whether the caller does not want it any more.
    canceled: fn() -> bool,
    /// The version of the module before; it may be shut down.
    from: Option<Version>,
    /// How often all CPUs were stopped.
    attempts: u32,
    /// For how long they were the last time.
    blackout_ns: i64,
    /// For how long they were in all attempts.
    total_blackout_ns: i64,
}

impl Update {
    fn run(&mut self, file: Vmapped<'_>, wait_ms: u32) -> Result<(), Error> {
        let image = Image::parse(file.bytes())?;
        let sigstruct = Sigstruct::new(image.sigstruct());
        let date = sigstruct.date();
        pr_info!(
            "update: image of format {}, signed on {:04x}-{:02x}-{:02x}, SVN {}, takes over from \
             handoff versions {}\n",
            image.format(),
            date >> 16,
            (date >> 8) & 0xFF,
            date & 0xFF,
            sigstruct.svn(),
            sigstruct.handoff_versions(),
        );

        let params = SeamldrParams::new(&image, file)?;
        let candidate = Candidate::new(image)?;
        let mut backoff = Backoff::new(wait_ms);
        let mut met = None;
        loop {
            if (self.canceled)() {
                return Err(Error::Canceled(met));
            }
            // The host may have changed meanwhile, so look at it before every attempt. No other
            // update runs: this one holds the lock.
            let cpus = inspect::package_signatures()?;
            let host = candidate.host(&cpus, false)?;
            self.check(&candidate.preflight(&host))?;

            match self.attempt(&params, &candidate.setup, &host) {
                Err(Error::Sensitive(sensitive)) if wait_ms != 0 => {
                    if backoff.is_over() {
                        return Err(Error::TimedOut(sensitive));
                    }
                    if met.is_none() {
                        pr_info!("update: {sensitive}, waiting for up to {wait_ms} ms\n");
                    }
                    met = Some(sensitive);
                    backoff
                        .sleep(self.canceled)
                        .map_err(|Unwanted| Error::Canceled(met))?;
                }
                result => return result,
            }
        }
    }

    /// Checks whether the image can replace the running module now. All checks that fail are in
    /// the kernel log; the error is that of the first.
    fn check(&self, preflight: &Preflight<'_>) -> Result<(), Error> {
        let mut result = Ok(());
        for (check, verdict) in preflight.run() {
            let words = preflight.words(check, verdict);
            match verdict {
                Verdict::Pass | Verdict::Skip => (),
                // Once is enough, while it waits for TD builds.
                Verdict::Note if self.attempts != 0 => (),
                Verdict::Note => pr_info!("update: {words}\n"),
                Verdict::Fail(problem) => {
                    pr_err!("update: check {check} failed: {words}\n");
                    result = result.and(Err(Error::Preflight(problem)));
                }
            }
        }
        result
    }

    /// How it ended.
    fn report(&self, result: Result<(), Error>) -> Report {
        Report {
            error: result.err(),
            from: self.from,
            to: Setup::read().version(),
            attempts: self.attempts,
            blackout_ns: self.blackout_ns,
            total_blackout_ns: self.total_blackout_ns,
        }
    }

    /// Stops all CPUs and replaces the module, if it lets itself be shut down.
    fn attempt(
        &mut self,
        params: &SeamldrParams<'_>,
        setup: &Setup,
        host: &Host<'_>,
    ) -> Result<(), Error> {
        let lockstep = Lockstep::new(
            Running {
                install: seamcall::Install::new(params),
                // It is known of a module that runs or was shut down, and `setup` is of one.
                hv: host.running_hv.unwrap_or_default(),
                features: setup.configured,
                old_version: setup.last_version,
                old_offered: setup.last_offered,
            },
            smp::present().weight(),
            host.updates_left,
            setup.state == State::Interrupted,
        );
        // The clock is read outside of the stop where possible: before, and after.
        let asked = Instant::<Monotonic>::now();
        let waited_ns = Atomic::new(0i64);

        self.attempts = self.attempts.saturating_add(1);
        stop_machine(&|id: CpuId, stopped: Stopped| {
            let lead = smp::cpus(smp::online()).next() == Some(id);
            let mut cpu = Cpu::new(id.into(), lead, stopped);
            if lead {
                waited_ns.store(asked.elapsed().as_nanos(), Relaxed);
            }

            while !lockstep.poll(&mut cpu) {
                wait_a_moment();
            }
        })?;
        let elapsed_ns = asked.elapsed().as_nanos();
        self.blackout_ns = elapsed_ns.saturating_sub(waited_ns.load(Relaxed));
        self.total_blackout_ns = self.total_blackout_ns.saturating_add(self.blackout_ns);

        if let Some(abort) = lockstep.abort() {
            return Err(Error::aborted(abort, setup.last_offered));
        }

        // KVM and the attributes read the rest of the system information too.
        if let Err(error) = setup::refresh_sysinfo() {
            pr_warn!(
                "cannot read the new TDX module's system information: error {}\n",
                error.to_errno()
            );
        }
        if Setup::read().configured != setup.configured {
            pr_warn!(
                "the new TDX module takes no features, these are off: {}\n",
                setup.configured
            );
        }
        Ok(())
    }
}

/// The caller does not want the update any more.
struct Unwanted;

/// Waits between attempts: first for 10 ms, then twice as long each time, up to a second.
struct Backoff {
    began: Instant<Monotonic>,
    /// How long to wait in all, in milliseconds.
    total_ms: u32,
    /// How long to wait the next time, in milliseconds.
    next_ms: u32,
}

impl Backoff {
    const FIRST_MS: u32 = 10;
    const LONGEST_MS: u32 = 1000;

    fn new(total_ms: u32) -> Self {
        Self {
            began: Instant::now(),
            total_ms,
            next_ms: Self::FIRST_MS,
        }
    }

    /// Whether the time is up.
    fn is_over(&self) -> bool {
        self.began.elapsed().as_millis() >= self.total_ms.into()
    }

    /// Waits, at most until the time is up, which is when the last attempt is made.
    ///
    /// # Errors
    ///
    /// [`Unwanted`] when `canceled` says so, or when the calling task is killed.
    fn sleep(&mut self, canceled: fn() -> bool) -> Result<(), Unwanted> {
        const SLICE_MS: u32 = 10;

        for _ in 0..self.next_ms / SLICE_MS {
            if canceled() {
                return Err(Unwanted);
            }
            if self.is_over() {
                break;
            }
            task::sleep_killable(SLICE_MS).map_err(|_| Unwanted)?;
        }
        self.next_ms = self.next_ms.saturating_mul(2).min(Self::LONGEST_MS);
        Ok(())
    }
}

/// The firmware as it is on a TDX host.
struct Running<'a> {
    install: seamcall::Install<'a>,
    /// Version of the handoff data.
    hv: u16,
    /// What the TDX module is configured with.
    features: Features,
    /// The version of the old module and what it offered, for when the new one's can't be read.
    old_version: Version,
    old_offered: Features,
}

impl Firmware for Running<'_> {
    type Stopped = Stopped;

    fn all_cpus_online(&self, cpus: u32) -> bool {
        smp::online().weight() == cpus && smp::present().weight() == cpus
    }

    fn shutdown(&self) -> Result<(), Failure> {
        seamcall::sys_shutdown(self.hv)
    }

    fn is_running(&self) -> bool {
        const TRIES: u32 = 100;

        // One that was shut down says so. One that does not answer may only be busy.
        let answer = retry(
            TRIES,
            |answer: &seamcall::Result<u16>| {
                answer.is_err_and(|failure| failure.status == Status::VMFAILINVALID)
            },
            || self.pause(),
            metadata::module_hv,
        );
        !answer.is_err_and(|failure| failure.status.is_gone())
    }

    fn install(&self) -> Result<(), InstallFailure> {
        self.install.make()
    }

    fn updates_left(&self) -> Option<u32> {
        const TRIES: u32 = 100;

        let info = retry(TRIES, Result::is_err, || self.pause(), SeamldrInfo::read);
        info.ok().map(|info| info.num_remaining_updates)
    }

    fn sys_init(&self) -> Result<(), Failure> {
        seamcall::sys_init()
    }

    fn lp_init(&self) -> Result<(), Failure> {
        seamcall::sys_lp_init()
    }

    fn update(&self, stopped: Stopped) -> Result<(), Failure> {
        let features = match seamcall::sys_update(self.features) {
            Ok(()) => self.features,
            // The new module does not take these features, or does not know the version that
            // takes any. It has changed nothing, and without them the TDs can still be saved.
            Err(failure) if failure.status.is_of_version_1() && !self.features.is_empty() => {
                seamcall::sys_update(Features::default())?;
                Features::default()
            }
            Err(failure) => return Err(failure),
        };

        let offered = metadata::features().unwrap_or(self.old_offered);
        let version = Version::read().unwrap_or(self.old_version);
        setup::module_updated(features, offered, version, stopped);
        Ok(())
    }

    fn gone(&self, recoverable: bool, stopped: Stopped) {
        setup::module_gone(recoverable, self.hv, stopped);
    }

    fn pause(&self) {
        udelay(Delta::from_micros(10));
    }
}
