// SPDX-License-Identifier: GPL-2.0

//! The part of an update that runs with all CPUs stopped: its steps, and the CPUs' lockstep
//! through them.
//!
//! ```text
//! Shutdown -> Install -> SysInit -> LpInit -> Update -> Done
//!  lead CPU   each in    the last   all at    the last
//!             its turn   of them    once      of them
//! ```
//!
//! What one CPU does for all is done by the one that has completed the step before: it knows first
//! that it can be done.
//!
//! A failure on any CPU ends the update on all of them. What is left then depends on the step:
//!
//! - `Shutdown`: the old module runs, as if nothing had happened. **This is where `-EBUSY` comes
//!   from**: the TDX module refuses the shutdown while a TD is being built. Only when the module
//!   does not answer any more is it shut down, whatever the call says.
//! - `Install`: P-SEAMLDR says whether the old module's memory is intact. If so, a whole new round
//!   of SEAMLDR.INSTALL can still save the TDs. When the reason may pass (entropy, memory), that
//!   is tried at once (`InstallAgain`).
//! - later: the old module is overwritten, but its handoff data stays valid until TDH.SYS.UPDATE
//!   succeeds. Another module can still take it over, as long as P-SEAMLDR can record an update.
//!
//! Nothing here sleeps, allocates or prints. The state machine knows the firmware by [`Firmware`]
//! alone and never blocks in [`Lockstep::poll`] for another CPU, so tests can stand in for the
//! firmware and schedule the CPUs as they like.

use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        AtomicType,
        Full,
        Relaxed,
        Release, //
    }, //
};

use crate::{
    retry::retry,
    status::{
        Failure,
        InstallFailure,
        Leaf,
        Status, //
    }, //
};

/// The firmware as the steps of an update see it.
pub(crate) trait Firmware: Sync {
    /// What shows that all CPUs are stopped.
    type Stopped: Copy;

    /// Whether every present CPU is online, and they are `cpus`. P-SEAMLDR waits for all of them.
    fn all_cpus_online(&self, cpus: u32) -> bool;

    /// TDH.SYS.SHUTDOWN
    fn shutdown(&self) -> Result<(), Failure>;

    /// Whether the old module still runs after a shutdown that failed.
    fn is_running(&self) -> bool;

    /// SEAMLDR.INSTALL
    fn install(&self) -> Result<(), InstallFailure>;

    /// How many more updates P-SEAMLDR can record; `None` when it does not say.
    fn updates_left(&self) -> Option<u32>;

    /// TDH.SYS.INIT
    fn sys_init(&self) -> Result<(), Failure>;

    /// TDH.SYS.LP.INIT
    fn lp_init(&self) -> Result<(), Failure>;

    /// TDH.SYS.UPDATE, and what makes the new module the running one for the rest of the kernel.
    fn update(&self, stopped: Self::Stopped) -> Result<(), Failure>;

    /// Takes note of what becomes of the module that was shut down, whenever it changes.
    fn gone(&self, recoverable: bool, stopped: Self::Stopped);

    /// Waits some microseconds before something is tried again.
    fn pause(&self);
}

/// A step of an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub(crate) enum Step {
    /// Check that all CPUs are there, and shut the old module down.
    Shutdown,
    /// Have every CPU tell P-SEAMLDR to install the new one.
    Install,
    /// The same again, after a failure that may have been a passing one.
    InstallAgain,
    /// Initialize the new module.
    SysInit,
    /// Initialize it on every CPU.
    LpInit,
    /// Have it take the TDs over.
    Update,
    /// The new module runs.
    Done,
    /// The update has failed.
    Failed,
}

// SAFETY: `Step` has the size and alignment of `i32`, and every `Step` is an `i32`.
unsafe impl AtomicType for Step {
    type Repr = i32;
}

/// What a failed update leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub(crate) enum Remains {
    /// The old module runs.
    OldModule,
    /// No module runs, but the old one's TDs can be saved: their handoff data is valid.
    HandoffData,
    /// No module runs, and the TDs are lost.
    Nothing,
}

// SAFETY: `Remains` has the size and alignment of `i32`, and every `Remains` is an `i32`.
unsafe impl AtomicType for Remains {
    type Repr = i32;
}

/// How an update failed.
#[derive(Clone, Copy)]
pub(crate) struct Abort {
    /// The step that failed.
    pub(crate) step: Step,
    /// The CPU that it failed on.
    pub(crate) cpu: u32,
    /// The SEAMCALL; `None` in [`Step::Shutdown`] when a CPU was offline, and in the steps of the
    /// installation when P-SEAMLDR heard every CPU and installed nothing.
    pub(crate) failure: Option<Failure>,
    /// What is left.
    pub(crate) remains: Remains,
}

/// A CPU's part in the lockstep, while it is `Stopped`.
pub(crate) struct Cpu<Stopped> {
    /// The CPU's number.
    id: u32,
    /// Shows that it is stopped, with all others.
    stopped: Stopped,
    /// Whether it shuts the old module down.
    lead: bool,
    /// The step that the rest of the fields are about.
    step: Step,
    /// This CPU's turn in [`Step::Install`], once it has drawn one.
    ticket: Option<u32>,
    /// It has done its part in the step.
    done: bool,
}

impl<Stopped> Cpu<Stopped> {
    /// The part of CPU `id`. Exactly one of an update's CPUs must be the lead.
    pub(crate) fn new(id: u32, lead: bool, stopped: Stopped) -> Self {
        Self {
            id,
            stopped,
            lead,
            step: Step::Shutdown,
            ticket: None,
            done: false,
        }
    }
}

/// The order in which CPUs do what only one can do at a time: that in which they come.
struct Turns {
    /// The next ticket to draw.
    next: Atomic<u32>,
    /// The ticket whose turn it is.
    current: Atomic<u32>,
}

impl Turns {
    fn new() -> Self {
        Self {
            next: Atomic::new(0),
            current: Atomic::new(0),
        }
    }
}

/// Where an update stands, shared by its CPUs.
pub(crate) struct Lockstep<F> {
    firmware: F,
    /// The number of CPUs that take part.
    cpus: u32,
    /// How many more updates P-SEAMLDR could record when this one began.
    updates_left: u32,
    /// The update goes on from an earlier one that was interrupted: there should be no module.
    resumed: bool,
    step: Atomic<Step>,
    /// Whose turn it is in [`Step::Install`] and in [`Step::InstallAgain`].
    turns: Turns,
    turns_again: Turns,
    /// [`Step::LpInit`]: the number of CPUs that are done.
    acks: Atomic<u32>,
    /// Set by the first CPU that fails; it alone then writes the fields below.
    aborted: Atomic<bool>,
    abort_step: Atomic<Step>,
    abort_cpu: Atomic<u32>,
    abort_leaf: Atomic<u64>,
    abort_status: Atomic<u64>,
    abort_remains: Atomic<Remains>,
}

/// How often a SEAMCALL is made, with a pause between, before a transient failure counts.
const TRIES: u32 = 1000;

impl<F: Firmware> Lockstep<F> {
    /// An update by `cpus` CPUs, when P-SEAMLDR can record `updates_left` more. `resumed`: the old
    /// module was shut down by an earlier one.
    pub(crate) fn new(firmware: F, cpus: u32, updates_left: u32, resumed: bool) -> Self {
        Self {
            firmware,
            cpus,
            updates_left,
            resumed,
            step: Atomic::new(Step::Shutdown),
            turns: Turns::new(),
            turns_again: Turns::new(),
            acks: Atomic::new(0),
            aborted: Atomic::new(false),
            abort_step: Atomic::new(Step::Done),
            abort_cpu: Atomic::new(0),
            abort_leaf: Atomic::new(0),
            abort_status: Atomic::new(0),
            abort_remains: Atomic::new(Remains::OldModule),
        }
    }

    /// Does what `cpu` can do now. Returns whether its part in the update is over.
    pub(crate) fn poll(&self, cpu: &mut Cpu<F::Stopped>) -> bool {
        let step = self.step.load(Acquire);
        if step != cpu.step {
            *cpu = Cpu {
                step,
                ..Cpu::new(cpu.id, cpu.lead, cpu.stopped)
            };
        }
        if cpu.done {
            return false;
        }

        match step {
            Step::Shutdown if cpu.lead => self.shutdown(cpu),
            Step::Install | Step::InstallAgain => self.install(cpu),
            Step::LpInit => self.lp_init(cpu),
            Step::Done | Step::Failed => return true,
            Step::Shutdown => (),
            // No CPU is sent to these. They are the steps of the CPU that makes the call.
            Step::SysInit | Step::Update => (),
        }
        false
    }

    /// How the update failed, if it did. For when all CPUs are through.
    pub(crate) fn abort(&self) -> Option<Abort> {
        if self.step.load(Acquire) == Step::Done {
            return None;
        }
        let status = Status::new(self.abort_status.load(Relaxed));

        Some(Abort {
            step: self.abort_step.load(Relaxed),
            cpu: self.abort_cpu.load(Relaxed),
            failure: (status != Status::SUCCESS).then_some(Failure {
                leaf: Leaf::from_rax(self.abort_leaf.load(Relaxed)),
                status,
            }),
            remains: self.abort_remains.load(Relaxed),
        })
    }

    fn shutdown(&self, cpu: &mut Cpu<F::Stopped>) {
        // Nothing is lost yet. Check what P-SEAMLDR would otherwise wait for in vain.
        if !self.firmware.all_cpus_online(self.cpus) {
            let remains = if self.resumed {
                Remains::HandoffData
            } else {
                Remains::OldModule
            };
            return self.fail(cpu, None, remains);
        }

        match self.retry(|| self.firmware.shutdown()) {
            Ok(()) => {
                self.firmware.gone(true, cpu.stopped);
                self.next(Step::Install);
            }
            // There should be none to shut down, but to install over a module that runs after all,
            // whatever it has answered before, would cost its TDs.
            Err(failure) if self.resumed && !failure.status.is(Status::UPDATE_COMPAT_SENSITIVE) => {
                self.next(Step::Install);
            }
            Err(failure) => {
                // As it should be, but a module that is gone must not be said to run. For TD builds
                // the CPUs are not kept any longer.
                let is_running = failure.status.is(Status::UPDATE_COMPAT_SENSITIVE)
                    || self.firmware.is_running();
                let remains = if is_running {
                    Remains::OldModule
                } else {
                    Remains::HandoffData
                };
                self.fail(cpu, Some(failure), remains);
            }
        }
    }

    /// Has `cpu` call SEAMLDR.INSTALL when it is its turn.
    ///
    /// P-SEAMLDR serves one CPU at a time, so the CPUs take turns rather than fight. Only the call
    /// that completes the round checks and installs anything; the others register their CPU. The
    /// CPU that made it initializes the new module.
    fn install(&self, cpu: &mut Cpu<F::Stopped>) {
        let turns = match cpu.step {
            Step::Install => &self.turns,
            _ => &self.turns_again,
        };
        let ticket = match cpu.ticket {
            Some(ticket) => ticket,
            None => *cpu.ticket.insert(turns.next.fetch_add(1, Relaxed)),
        };
        if turns.current.load(Acquire) != ticket {
            return;
        }
        cpu.done = true;

        let behind = ticket.wrapping_add(1);
        let last = behind == self.cpus;
        // An earlier round may still be open, in which some CPUs have called already. These are
        // refused now, and the call of any other may be the one that completes the round.
        let unsure = self.resumed || cpu.step == Step::InstallAgain;

        match self.install_once() {
            Ok(()) if !unsure && !last => turns.current.store(behind, Release),
            // Only a new module takes TDH.SYS.INIT, whatever P-SEAMLDR says.
            Ok(()) => match self.sys_init() {
                Ok(()) => self.next(Step::LpInit),
                Err(failure) => match (self.is_missing(), failure.status.is_gone()) {
                    (true, _) | (_, true) if !last => turns.current.store(behind, Release),
                    (true, true) => self.fail(cpu, None, Remains::HandoffData),
                    _ => {
                        cpu.step = Step::SysInit;
                        self.fail_installed(cpu, failure);
                    }
                },
            },
            Err(error) => match error.failure.status {
                Status::SEAMLDR_EBADCALL if unsure && !last => {
                    turns.current.store(behind, Release);
                }
                _ if !error.recoverable => {
                    self.fail(cpu, Some(error.failure), Remains::Nothing);
                }
                status if status.is_transient_install() && cpu.step == Step::Install => {
                    self.next(Step::InstallAgain);
                }
                _ => self.fail(cpu, Some(error.failure), Remains::HandoffData),
            },
        }
    }

    /// Calls SEAMLDR.INSTALL until P-SEAMLDR has heard.
    ///
    /// Nothing else is a reason to repeat the call: P-SEAMLDR's own failures end the round, so it
    /// would be the first of another one.
    fn install_once(&self) -> Result<(), InstallFailure> {
        retry(
            TRIES,
            |result: &Result<(), InstallFailure>| {
                result.is_err_and(|error| error.failure.status == Status::VMFAILINVALID)
            },
            || self.firmware.pause(),
            || self.firmware.install(),
        )
    }

    /// Whether P-SEAMLDR says that it has recorded no update since this one began.
    fn is_missing(&self) -> bool {
        self.firmware
            .updates_left()
            .is_some_and(|left| left >= self.updates_left)
    }

    fn sys_init(&self) -> Result<(), Failure> {
        self.retry(|| self.firmware.sys_init())
    }

    fn lp_init(&self, cpu: &mut Cpu<F::Stopped>) {
        cpu.done = true;
        match self.retry(|| self.firmware.lp_init()) {
            Ok(()) => {
                if self.acks.fetch_add(1, Full).wrapping_add(1) == self.cpus {
                    self.update(cpu);
                }
            }
            Err(failure) => self.fail_installed(cpu, failure),
        }
    }

    fn update(&self, cpu: &mut Cpu<F::Stopped>) {
        cpu.step = Step::Update;
        match self.retry(|| self.firmware.update(cpu.stopped)) {
            Ok(()) => self.next(Step::Done),
            Err(failure) => self.fail_installed(cpu, failure),
        }
    }

    /// Ends the update for all CPUs because the new module does not start.
    ///
    /// Until TDH.SYS.UPDATE succeeds the handoff data is valid, and another module can take it
    /// over. That takes one more record of P-SEAMLDR's.
    fn fail_installed(&self, cpu: &mut Cpu<F::Stopped>, failure: Failure) {
        let remains = if failure.status.is(Status::SYS_INVALID_HANDOFF)
            || (self.updates_left <= 1 && self.firmware.updates_left() == Some(0))
        {
            Remains::Nothing
        } else {
            Remains::HandoffData
        };
        self.fail(cpu, Some(failure), remains);
    }

    /// Sends all CPUs to `step`.
    fn next(&self, step: Step) {
        self.step.store(step, Release);
    }

    /// Ends the update for all CPUs, unless another CPU has done so.
    fn fail(&self, cpu: &mut Cpu<F::Stopped>, failure: Option<Failure>, remains: Remains) {
        cpu.done = true;
        if self.aborted.xchg(true, Full) {
            return;
        }

        self.abort_step.store(cpu.step, Relaxed);
        self.abort_cpu.store(cpu.id, Relaxed);
        if let Some(failure) = failure {
            self.abort_leaf.store(failure.leaf.rax(), Relaxed);
            self.abort_status.store(failure.status.raw(), Relaxed);
        }
        self.abort_remains.store(remains, Relaxed);
        if remains != Remains::OldModule {
            let recoverable = remains == Remains::HandoffData;
            self.firmware.gone(recoverable, cpu.stopped);
        }
        self.next(Step::Failed);
    }

    /// Repeats `call` while it fails for a reason that may pass.
    fn retry(&self, call: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
        retry(
            TRIES,
            |result: &Result<(), Failure>| {
                result.is_err_and(|failure| failure.status.is_transient())
            },
            || self.firmware.pause(),
            call,
        )
    }
}
