// SPDX-License-Identifier: GPL-2.0

//! A TDX module and a P-SEAMLDR for the lockstep to update, with faults.
//!
//! They keep the states and the rules that an update meets, and so know better than the lockstep
//! what is left when it ends. Sources: the published sources of the TDX module and of P-SEAMLDR.

use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

use crate::{
    lockstep::Firmware,
    status::{
        Failure,
        InstallFailure,
        Leaf,
        Status, //
    }, //
};

/// A SEAMCALL of an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Shutdown,
    Install,
    SysInit,
    LpInit,
    Update,
}

impl Call {
    fn leaf(self) -> Leaf {
        match self {
            Call::Shutdown => Leaf::SYS_SHUTDOWN,
            Call::Install => Leaf::SEAMLDR_INSTALL,
            Call::SysInit => Leaf::SYS_INIT,
            Call::LpInit => Leaf::SYS_LP_INIT,
            Call::Update => Leaf::SYS_UPDATE,
        }
    }
}

/// A call that fails though the firmware would allow it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The call.
    pub(crate) call: Call,
    /// How many other CPUs have had success with the call before: which CPU meets the fault. In a
    /// round of SEAMLDR.INSTALL, the last one completes it.
    pub(crate) place: u32,
    /// How often it fails before it is over.
    pub(crate) times: u32,
    /// The status.
    pub(crate) status: Status,
    /// It does harm all the same: SEAMLDR.INSTALL wipes the old module's memory, TDH.SYS.SHUTDOWN
    /// shuts the module down.
    pub(crate) harms: bool,
    /// SEAMLDR.INSTALL: the round ends, as it always does when the last call fails.
    pub(crate) ends_round: bool,
}

/// [`Fault::times`] of a fault that does not pass.
pub(crate) const FOR_EVER: u32 = u32::MAX;

/// How P-SEAMLDR behaves beside that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seamldr {
    /// As it should.
    Sound,
    /// It waits for a CPU that the kernel does not know.
    Waiting,
    /// It refuses every call.
    Refusing,
    /// SEAMLDR.INFO does not answer.
    Silent,
    /// SEAMLDR.INFO says that no update was recorded.
    NeverFewer,
    /// SEAMLDR.INFO says that one was.
    AlwaysFewer,
    /// SEAMLDR.INFO says that no update is left.
    NoneLeft,
}

/// What an update starts from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Number of CPUs of the platform, at most 64.
    pub(crate) cpus: u32,
    /// One of them is offline.
    pub(crate) cpu_offline: bool,
    /// So many have come since the number of CPUs was taken.
    pub(crate) new_cpus: u32,
    /// How many more updates P-SEAMLDR can record.
    pub(crate) updates_left: u32,
    /// The old module was shut down by an earlier update.
    pub(crate) resumed: bool,
    /// It runs all the same, as it was taken for gone.
    pub(crate) runs_on: bool,
    /// CPUs, by their bits, that have called SEAMLDR.INSTALL in a round that is still open.
    pub(crate) open_round: u64,
    /// P-SEAMLDR's behaviour.
    pub(crate) seamldr: Seamldr,
    /// The fault, if there is one.
    pub(crate) fault: Option<Fault>,
}

/// The TDX module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Module {
    /// The old one runs.
    Old,
    /// The old one is shut down, and the handoff data is valid.
    ShutDown,
    /// There is none, or one that cannot be used.
    Wiped,
    /// The new one is installed.
    Installed,
    /// TDH.SYS.INIT was made.
    Initialized,
    /// The new one runs, with the TDs of the old one.
    New,
}

/// What the firmware has come to.
pub(crate) struct State {
    /// The CPU that runs.
    pub(crate) cpu: u32,
    /// The module.
    pub(crate) module: Module,
    /// How many more updates P-SEAMLDR can record.
    updates_left: u32,
    /// The CPU whose SEAMLDR.INSTALL installed the new module.
    pub(crate) installed_by: Option<u32>,
    /// The CPU that has made TDH.SYS.INIT.
    pub(crate) initialized_by: Option<u32>,
    /// CPUs that have called SEAMLDR.INSTALL in the round that is open.
    round: u64,
    /// CPUs that have made TDH.SYS.LP.INIT.
    initialized: u64,
    /// How often the fault is still going to happen.
    faults_left: u32,
    /// Calls of SEAMLDR.INSTALL.
    pub(crate) installs: u32,
    /// CPUs that have called SEAMLDR.INSTALL twice.
    pub(crate) installed_twice: u64,
    /// CPUs that have called SEAMLDR.INSTALL.
    pub(crate) installers: u64,
    /// The last call that failed: on which CPU, and how.
    pub(crate) failed: Option<(u32, Failure)>,
    /// What the kernel was told of the shut-down module: that it can be recovered.
    pub(crate) gone: Option<bool>,
    /// How often it was told so.
    pub(crate) gone_calls: u32,
    /// It was told so when it was not true.
    pub(crate) gone_wrong: bool,
    /// How often the lockstep has paused.
    pub(crate) pauses: u32,
    /// How often it was asked whether the old module runs.
    pub(crate) asked: u32,
}

impl State {
    /// Whether another module could take the TDs over; `None` when one runs.
    ///
    /// That one is installed, initialized or even refuses to take them over does not touch the
    /// handoff data. But P-SEAMLDR must be able to record one more update.
    pub(crate) fn can_be_saved(&self) -> Option<bool> {
        let is_invalid = self
            .failed
            .is_some_and(|(_, failure)| failure.status.is(Status::SYS_INVALID_HANDOFF));
        match self.module {
            Module::Old | Module::New => None,
            Module::Wiped => Some(false),
            // P-SEAMLDR has recorded nothing yet, so there was room for this one.
            Module::ShutDown => Some(true),
            Module::Installed | Module::Initialized => Some(!is_invalid && self.updates_left > 0),
        }
    }
}

/// The firmware.
#[pin_data]
pub(crate) struct Mock {
    scenario: Scenario,
    #[pin]
    pub(crate) state: Mutex<State>,
}

fn bit(cpu: u32) -> u64 {
    1u64.checked_shl(cpu).unwrap_or(0)
}

impl Mock {
    /// The firmware in a scenario.
    pub(crate) fn new(scenario: Scenario) -> Result<Pin<KBox<Self>>> {
        let state = State {
            cpu: 0,
            module: if scenario.resumed && !scenario.runs_on {
                Module::ShutDown
            } else {
                Module::Old
            },
            updates_left: scenario.updates_left,
            installed_by: None,
            initialized_by: None,
            round: scenario.open_round,
            initialized: 0,
            faults_left: scenario.fault.map_or(0, |fault| fault.times),
            installs: 0,
            installed_twice: 0,
            installers: 0,
            failed: None,
            gone: scenario.resumed.then_some(true),
            gone_calls: 0,
            gone_wrong: false,
            pauses: 0,
            asked: 0,
        };

        KBox::pin_init(
            pin_init!(Self {
                scenario,
                state <- new_mutex!(state),
            }),
            GFP_KERNEL,
        )
    }

    /// Says which CPU runs from now on.
    pub(crate) fn run_on(&self, cpu: u32) {
        self.state.lock().cpu = cpu;
    }

    /// The fault, if it happens to `call` now.
    fn fault(&self, state: &mut State, call: Call, place: u32) -> Option<Fault> {
        let fault = self
            .scenario
            .fault
            .filter(|fault| fault.call == call && fault.place == place && state.faults_left > 0)?;
        if state.faults_left != FOR_EVER {
            state.faults_left -= 1;
        }
        Some(fault)
    }

    /// A call of the TDX module: `allowed` or the status that it fails with otherwise.
    fn module_call(
        &self,
        call: Call,
        place: impl Fn(&State) -> u32,
        allowed: impl Fn(&State) -> Result<(), u64>,
        effect: impl Fn(&mut State),
    ) -> Result<(), Failure> {
        let mut state = self.state.lock();
        let place = place(&state);
        let status = match allowed(&state) {
            Err(status) => Status::new(status),
            Ok(()) => match self.fault(&mut state, call, place) {
                Some(fault) => {
                    if fault.harms {
                        effect(&mut state);
                    }
                    fault.status
                }
                None => {
                    effect(&mut state);
                    return Ok(());
                }
            },
        };
        let failure = Failure {
            leaf: call.leaf(),
            status,
        };
        state.failed = Some((state.cpu, failure));
        Err(failure)
    }
}

const VMFAILINVALID: u64 = 0x8000_FF00_FFFF_0000;
const SYS_SHUTDOWN: u64 = 0xC000_0506_0000_0000;
const SYS_INIT_NOT_PENDING: u64 = 0xC000_0500_0000_0000;
const LP_INIT_NOT_PENDING: u64 = 0xC000_050B_0000_0000;
const LP_INIT_DONE: u64 = 0xC000_0503_0000_0000;
const SYS_STATE_INCORRECT: u64 = 0xC000_0508_0000_0000;

impl Firmware for &Mock {
    type Stopped = ();

    fn all_cpus_online(&self, cpus: u32) -> bool {
        !self.scenario.cpu_offline && cpus == self.scenario.cpus + self.scenario.new_cpus
    }

    fn shutdown(&self) -> Result<(), Failure> {
        self.module_call(
            Call::Shutdown,
            |_| 0,
            |state| match state.module {
                Module::Old => Ok(()),
                _ => Err(SYS_SHUTDOWN),
            },
            |state| state.module = Module::ShutDown,
        )
    }

    fn is_running(&self) -> bool {
        let mut state = self.state.lock();
        state.asked += 1;
        state.module == Module::Old
    }

    fn install(&self) -> Result<(), InstallFailure> {
        let mut state = self.state.lock();
        let cpu = bit(state.cpu);
        state.installs += 1;
        state.installed_twice |= state.installers & cpu;
        state.installers |= cpu;

        let all = u64::MAX >> (64 - self.scenario.cpus);
        let registered = state.round.count_ones();
        let completes = (state.round | cpu) == all && self.scenario.seamldr != Seamldr::Waiting;
        let refused = state.round & cpu != 0
            || matches!(state.module, Module::Old | Module::New | Module::Wiped)
            || self.scenario.seamldr == Seamldr::Refusing;

        let (status, harms) = if refused {
            (Status::SEAMLDR_EBADCALL, false)
        } else if let Some(fault) = self.fault(&mut state, Call::Install, registered) {
            // Unless it did not get as far as P-SEAMLDR.
            if fault.status != Status::VMFAILINVALID && (completes || fault.ends_round) {
                state.round = 0;
            }
            (fault.status, fault.harms)
        } else {
            state.round |= cpu;
            if completes {
                state.round = 0;
                state.updates_left -= 1;
                state.installed_by = Some(state.cpu);
                state.module = Module::Installed;
            }
            return Ok(());
        };

        if harms {
            state.module = Module::Wiped;
        }
        let failure = Failure {
            leaf: Leaf::SEAMLDR_INSTALL,
            status,
        };
        state.failed = Some((state.cpu, failure));
        Err(InstallFailure {
            failure,
            recoverable: !harms,
        })
    }

    fn updates_left(&self) -> Option<u32> {
        match self.scenario.seamldr {
            Seamldr::Silent => None,
            Seamldr::NeverFewer => Some(self.scenario.updates_left),
            Seamldr::AlwaysFewer => self.scenario.updates_left.checked_sub(1),
            Seamldr::NoneLeft => Some(0),
            Seamldr::Sound | Seamldr::Waiting | Seamldr::Refusing => {
                Some(self.state.lock().updates_left)
            }
        }
    }

    fn sys_init(&self) -> Result<(), Failure> {
        self.module_call(
            Call::SysInit,
            |_| 0,
            |state| match state.module {
                // A round that was begun after it blocks it again.
                _ if state.round != 0 => Err(VMFAILINVALID),
                Module::Installed => Ok(()),
                Module::Initialized | Module::New => Err(SYS_INIT_NOT_PENDING),
                Module::Old | Module::ShutDown | Module::Wiped => Err(VMFAILINVALID),
            },
            |state| {
                state.module = Module::Initialized;
                state.initialized_by = Some(state.cpu);
            },
        )
    }

    fn lp_init(&self) -> Result<(), Failure> {
        self.module_call(
            Call::LpInit,
            |state| state.initialized.count_ones(),
            |state| match state.module {
                Module::Initialized if state.initialized & bit(state.cpu) != 0 => Err(LP_INIT_DONE),
                Module::Initialized => Ok(()),
                _ => Err(LP_INIT_NOT_PENDING),
            },
            |state| state.initialized |= bit(state.cpu),
        )
    }

    fn update(&self, (): ()) -> Result<(), Failure> {
        self.module_call(
            Call::Update,
            |_| 0,
            |state| match state.module {
                Module::Initialized if state.initialized.count_ones() == self.scenario.cpus => {
                    Ok(())
                }
                _ => Err(SYS_STATE_INCORRECT),
            },
            |state| state.module = Module::New,
        )
    }

    fn gone(&self, recoverable: bool, (): ()) {
        let mut state = self.state.lock();
        state.gone_wrong |= match state.can_be_saved() {
            Some(can_be_saved) => recoverable != can_be_saved,
            None => true,
        };
        state.gone = Some(recoverable);
        state.gone_calls += 1;
    }

    fn pause(&self) {
        self.state.lock().pauses += 1;
    }
}
