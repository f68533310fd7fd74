// SPDX-License-Identifier: GPL-2.0

//! How an update ended: for its caller, for the kernel log, for `last_update` and for the ioctl.

use core::fmt;

use kernel::error::code;

use crate::{
    features::Features,
    image,
    lockstep::{
        self,
        Abort,
        Remains, //
    },
    metadata::Version,
    preflight::Problem,
    setup::State,
    status::{
        Failure,
        Leaf,
        Status, //
    },
    uapi::{
        Outcome,
        Step, //
    }, //
};

/// Why the TDX module was not updated.
#[derive(Clone, Copy)]
pub(crate) enum Error {
    /// The file is no image.
    Image(image::Error),
    /// The image cannot replace the running module, now or ever.
    Preflight(Problem),
    /// Another update runs.
    AnotherUpdate,
    /// There is no TDX module that could be updated.
    State(State),
    /// A CPU was offline when all had stopped.
    CpuOffline,
    /// The shutdown met operations that an update would break.
    Sensitive(Sensitive),
    /// They were not over in the time that the caller would wait.
    TimedOut(Sensitive),
    /// The caller does not want it any more. The last attempt has met such operations, if there was
    /// one.
    Canceled(Option<Sensitive>),
    /// The running module does not know how to protect TD builds.
    TooOld(Failure),
    /// What the firmware says of itself could not be read before the attempt.
    Unreadable(Failure),
    /// The shutdown failed, and so nothing is lost.
    Shutdown(Failure),
    /// The update failed with the old module shut down.
    Aborted(Abort),
    /// The kernel failed.
    Kernel(kernel::error::Error),
}

/// Operations that keep the TDX module from shutting down, in the terms of
/// UPDATE_COMPAT_SENSITIVE.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sensitive {
    /// What they are.
    pub(crate) reason: Reason,
    /// How many there are, or 0 if the TDX module does not say.
    pub(crate) count: u16,
    /// The shutdown that says so.
    failure: Failure,
}

/// A kind of operation that keeps the TDX module from shutting down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A TD is being built.
    TdBuild,
    /// The migration of a TD was interrupted.
    Migration,
    /// Something that this driver does not know.
    Other(u16),
}

impl Sensitive {
    /// What `failure` says, if it is UPDATE_COMPAT_SENSITIVE.
    fn new(failure: Failure) -> Option<Self> {
        if !failure.status.is(Status::UPDATE_COMPAT_SENSITIVE) {
            return None;
        }
        let details = failure.status.details();
        // CAST: The halves of the details.
        let (count, reason) = ((details >> 16) as u16, details as u16);

        Some(Self {
            reason: match reason {
                0 => Reason::TdBuild,
                1 => Reason::Migration,
                other => Reason::Other(other),
            },
            count,
            failure,
        })
    }
}

impl fmt::Display for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.reason, self.count) {
            // The TDX module need not count them.
            (Reason::TdBuild, 0) => write!(f, "TDs are being built"),
            (Reason::TdBuild, 1) => write!(f, "1 TD is being built"),
            (Reason::TdBuild, n) => write!(f, "{n} TDs are being built"),
            (Reason::Migration, 0) => write!(f, "the migrations of TDs were interrupted"),
            (Reason::Migration, 1) => write!(f, "the migration of 1 TD was interrupted"),
            (Reason::Migration, n) => write!(f, "the migrations of {n} TDs were interrupted"),
            (Reason::Other(reason), 0) => write!(f, "operations of kind {reason} run"),
            (Reason::Other(reason), n) => write!(f, "{n} operations of kind {reason} run"),
        }
    }
}

impl Error {
    /// What `abort` comes down to, with a running module that offers `offered`.
    pub(crate) fn aborted(abort: Abort, offered: Features) -> Self {
        match abort.failure {
            None if abort.step == lockstep::Step::Shutdown => Error::CpuOffline,
            Some(failure) if abort.remains == Remains::OldModule => {
                match Sensitive::new(failure) {
                    Some(sensitive) => Error::Sensitive(sensitive),
                    // The handoff version is the module's own, so it is the flag that it refuses,
                    // unless it says that it knows it.
                    None if failure.status == Status::INVALID_RCX
                        && !offered.contains(Features::UPDATE_COMPAT) =>
                    {
                        Error::TooOld(failure)
                    }
                    None => Error::Shutdown(failure),
                }
            }
            _ => Error::Aborted(abort),
        }
    }

    /// The error code that the ABI has for it.
    pub(crate) fn to_errno(self) -> kernel::error::Error {
        match self {
            Error::Image(_) => code::EINVAL,
            Error::Preflight(problem) => match problem {
                Problem::CpusOffline { .. } | Problem::AnotherUpdate => code::EBUSY,
                Problem::NoUpdatesLeft => code::ENOSPC,
                // It was shut down, until the next reboot.
                Problem::SeamldrNotReady => code::EIO,
                _ => code::EINVAL,
            },
            // The shutdown ran into a "sensitive" ongoing operation, like a TD build. Signal to
            // user space that it can retry.
            Error::Sensitive(_) => code::EBUSY,
            Error::AnotherUpdate | Error::CpuOffline => code::EBUSY,
            Error::TimedOut(_) => code::ETIMEDOUT,
            Error::Canceled(_) => code::ECANCELED,
            Error::State(_)
            | Error::Unreadable(_)
            | Error::TooOld(_)
            | Error::Shutdown(_)
            | Error::Aborted(_) => code::EIO,
            Error::Kernel(error) => error,
        }
    }

    /// The SEAMCALL that failed, if one has.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match self {
            Error::Sensitive(sensitive) | Error::TimedOut(sensitive) => Some(sensitive.failure),
            Error::Canceled(sensitive) => sensitive.map(|sensitive| sensitive.failure),
            Error::Unreadable(failure) | Error::TooOld(failure) | Error::Shutdown(failure) => {
                Some(*failure)
            }
            Error::Aborted(abort) => abort.failure,
            _ => None,
        }
    }

    /// Whether it is that no TDX module has answered where one should run.
    pub(crate) fn doubts_module(&self) -> bool {
        match self {
            Error::Unreadable(failure) => failure.leaf == Leaf::SYS_RD && failure.status.is_gone(),
            _ => false,
        }
    }

    /// The operations that the shutdown met, if it did.
    pub(crate) fn sensitive(&self) -> Option<Sensitive> {
        match self {
            Error::Sensitive(sensitive) | Error::TimedOut(sensitive) => Some(*sensitive),
            Error::Canceled(sensitive) => *sensitive,
            _ => None,
        }
    }

    /// The CPU that a step after the shutdown failed on.
    pub(crate) fn cpu(&self) -> Option<u32> {
        match self {
            Error::Aborted(abort) => Some(abort.cpu),
            _ => None,
        }
    }

    /// The step that the update ended in.
    fn step(&self) -> Step {
        match self {
            Error::Image(_) => Step::Image,
            Error::Preflight(_) | Error::Unreadable(_) => Step::Preflight,
            Error::AnotherUpdate | Error::State(_) | Error::Kernel(_) => Step::Start,
            Error::Canceled(_) => Step::Wait,
            Error::CpuOffline
            | Error::Sensitive(_)
            | Error::TimedOut(_)
            | Error::TooOld(_)
            | Error::Shutdown(_) => Step::Shutdown,
            Error::Aborted(abort) => abort.step.into(),
        }
    }
}

impl From<lockstep::Step> for Step {
    fn from(step: lockstep::Step) -> Self {
        match step {
            lockstep::Step::Shutdown => Step::Shutdown,
            lockstep::Step::Install | lockstep::Step::InstallAgain => Step::Install,
            lockstep::Step::SysInit => Step::Init,
            lockstep::Step::LpInit => Step::CpuInit,
            lockstep::Step::Update => Step::Update,
            lockstep::Step::Done | lockstep::Step::Failed => Step::Done,
        }
    }
}

/// The step's name in `last_update`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Done => "done",
            Step::Start => "start",
            Step::Image => "image",
            Step::Preflight => "preflight",
            Step::Shutdown => "shutdown",
            Step::Wait => "wait",
            Step::Install => "install",
            Step::Init => "init",
            Step::CpuInit => "cpu-init",
            Step::Update => "update",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Image(error) => write!(f, "not a TDX module image: {error}"),
            Error::Preflight(problem) => write!(f, "{problem}"),
            Error::AnotherUpdate => write!(f, "another update is running"),
            Error::State(state) => write!(f, "TDX is {state}"),
            Error::CpuOffline => write!(f, "a present CPU went offline, all are needed"),
            Error::Sensitive(sensitive) => write!(f, "{sensitive}, try again later"),
            Error::TimedOut(sensitive) => write!(f, "{sensitive}, and the time to wait is up"),
            Error::Canceled(None) => write!(f, "canceled"),
            Error::Canceled(Some(sensitive)) => write!(f, "canceled while {sensitive}"),
            Error::TooOld(failure) => write!(
                f,
                "the running TDX module is too old to protect TDs that are being built (1.5.24 and \
                 2.0.14 and later can): {failure}"
            ),
            Error::Unreadable(failure) | Error::Shutdown(failure) => write!(f, "{failure}"),
            Error::Aborted(abort) => match abort.failure {
                Some(failure) => write!(f, "{failure} on CPU {}", abort.cpu),
                None => write!(f, "P-SEAMLDR heard every CPU but installed nothing"),
            },
            Error::Kernel(error) => write!(f, "error {}", error.to_errno()),
        }
    }
}

impl From<image::Error> for Error {
    fn from(error: image::Error) -> Self {
        Error::Image(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::Unreadable(failure)
    }
}

impl From<kernel::error::Error> for Error {
    fn from(error: kernel::error::Error) -> Self {
        Error::Kernel(error)
    }
}

impl From<kernel::alloc::AllocError> for Error {
    fn from(error: kernel::alloc::AllocError) -> Self {
        Error::Kernel(error.into())
    }
}

/// How an update ended, as `last_update` shows it.
#[derive(Clone, Copy)]
pub(crate) struct Report {
    /// What it was refused or failed for.
    pub(crate) error: Option<Error>,
    /// The version of the module before, if there was one.
    pub(crate) from: Option<Version>,
    /// The version of the module after, if there is one.
    pub(crate) to: Option<Version>,
    /// How often all CPUs were stopped for it.
    pub(crate) attempts: u32,
    /// For how long they were stopped the last time, in nanoseconds.
    pub(crate) blackout_ns: i64,
    /// For how long they were stopped in all attempts, in nanoseconds.
    pub(crate) total_blackout_ns: i64,
}

impl Report {
    /// What became of the host.
    pub(crate) fn outcome(&self) -> Outcome {
        match &self.error {
            None => Outcome::Updated,
            Some(Error::Aborted(abort)) if abort.remains == Remains::Nothing => Outcome::Lost,
            Some(Error::Aborted(_)) => Outcome::Interrupted,
            Some(_) => Outcome::Refused,
        }
    }

    /// The step that it ended in.
    pub(crate) fn step(&self) -> Step {
        self.error.as_ref().map_or(Step::Done, Error::step)
    }

    /// The error code, 0 for none.
    pub(crate) fn errno(&self) -> i32 {
        self.error.map_or(0, |error| error.to_errno().to_errno())
    }
}

/// The outcome's name in `last_update`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::None => "none",
            Outcome::Updated => "updated",
            Outcome::Refused => "refused",
            Outcome::Interrupted => "interrupted",
            Outcome::Lost => "lost",
        })
    }
}

/// A version, or a dash where there is none.
pub(crate) struct OrDash(pub(crate) Option<Version>);

impl fmt::Display for OrDash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(version) => version.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// One line of `key=value`, as Documentation/ABI describes it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.error.as_ref();
        let failure = error.and_then(Error::failure);
        let sensitive = error.and_then(Error::sensitive);

        write!(
            f,
            "result={} step={} errno={} leaf={} status={:#x} name={} reason={} count={} from={} \
             to={} attempts={} blackout_us={} total_blackout_us={} cpu=",
            self.outcome(),
            self.step(),
            self.errno(),
            failure.map_or("-", |failure| failure.leaf.name()),
            failure.map_or(0, |failure| failure.status.raw()),
            failure.map_or("-", |failure| failure.status_name()),
            match sensitive.map(|sensitive| sensitive.reason) {
                Some(Reason::TdBuild) => "td-build",
                Some(Reason::Migration) => "migration",
                Some(Reason::Other(_)) => "other",
                None => "-",
            },
            sensitive.map_or(0, |sensitive| sensitive.count),
            OrDash(self.from),
            OrDash(self.to),
            self.attempts,
            self.blackout_ns / 1000,
            self.total_blackout_ns / 1000,
        )?;
        match error.and_then(Error::cpu) {
            Some(cpu) => write!(f, "{cpu}"),
            None => f.write_str("-"),
        }
    }
}
