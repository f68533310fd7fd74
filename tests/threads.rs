// SPDX-License-Identifier: GPL-2.0

//! The lockstep with a thread for each CPU, which run at the same time.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Completion, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue, //
};

use crate::{
    lockstep::{
        Cpu,
        Firmware,
        Lockstep,
        Remains, //
    },
    status::{
        Failure,
        InstallFailure,
        Leaf,
        Status, //
    }, //
};

/// What does not go well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// Everything does.
    None,
    /// The call that would complete the first round finds no entropy.
    NoEntropy,
    /// TDH.SYS.LP.INIT fails on every CPU.
    LpInit,
}

/// How many more updates P-SEAMLDR can record.
const UPDATES_LEFT: u32 = 2;

/// A firmware that takes its time, and counts.
struct Slow {
    cpus: u32,
    trouble: Trouble,
    /// A CPU is in SEAMLDR.INSTALL.
    inside: Atomic<bool>,
    overlap: Atomic<bool>,
    installs: Atomic<u32>,
    lp_inits: Atomic<u32>,
    by_lead: Atomic<u32>,
    gone: Atomic<u32>,
}

impl Slow {
    /// Gives other threads time to do what they must not.
    fn work(&self) {
        fsleep(Delta::from_micros(100));
    }

    /// The rounds of SEAMLDR.INSTALL that it takes.
    fn rounds(&self) -> u32 {
        match self.trouble {
            Trouble::NoEntropy => 2,
            Trouble::None | Trouble::LpInit => 1,
        }
    }

    /// Whether the last round is complete.
    fn is_installed(&self) -> bool {
        self.installs.load(Relaxed) == self.rounds() * self.cpus
    }

    /// Counts a call that one CPU makes for all.
    fn by_lead(&self) -> Result<(), Failure> {
        self.work();
        self.by_lead.fetch_add(1, Relaxed);
        Ok(())
    }
}

impl Firmware for Arc<Slow> {
    type Stopped = ();

    fn all_cpus_online(&self, cpus: u32) -> bool {
        cpus == self.cpus
    }

    fn shutdown(&self) -> Result<(), Failure> {
        self.by_lead()
    }

    fn is_running(&self) -> bool {
        true
    }

    fn install(&self) -> Result<(), InstallFailure> {
        if self.inside.xchg(true, Full) {
            self.overlap.store(true, Relaxed);
        }
        self.work();
        let call = self.installs.fetch_add(1, Relaxed) + 1;
        self.inside.store(false, Relaxed);

        if self.trouble == Trouble::NoEntropy && call == self.cpus {
            return Err(InstallFailure {
                failure: Failure {
                    leaf: Leaf::SEAMLDR_INSTALL,
                    status: Status::SEAMLDR_ENOENTROPY,
                },
                recoverable: true,
            });
        }
        Ok(())
    }

    fn updates_left(&self) -> Option<u32> {
        Some(UPDATES_LEFT - u32::from(self.is_installed()))
    }

    fn sys_init(&self) -> Result<(), Failure> {
        if !self.is_installed() {
            return Err(Failure {
                leaf: Leaf::SYS_INIT,
                status: Status::VMFAILINVALID,
            });
        }
        self.by_lead()
    }

    fn lp_init(&self) -> Result<(), Failure> {
        self.work();
        self.lp_inits.fetch_add(1, Relaxed);
        if self.trouble == Trouble::LpInit {
            return Err(Failure {
                leaf: Leaf::SYS_LP_INIT,
                status: Status::OPERAND_INVALID,
            });
        }
        Ok(())
    }

    fn update(&self, (): ()) -> Result<(), Failure> {
        self.by_lead()
    }

    fn gone(&self, _recoverable: bool, (): ()) {
        self.gone.fetch_add(1, Relaxed);
    }

    fn pause(&self) {
        self.work();
    }
}

/// What the threads share.
#[pin_data]
struct Shared {
    lockstep: Lockstep<Arc<Slow>>,
    /// Threads that have not ended.
    left: Atomic<u32>,
    /// Threads that have given up.
    stuck: Atomic<u32>,
    #[pin]
    ended: Completion,
}

/// How long a thread polls before it gives up, which is much longer than an update takes.
const PATIENCE: Delta = Delta::from_secs(20);

/// How an update ended, and what was done in it.
pub(crate) struct Report {
    /// What remains after a failure.
    pub(crate) remains: Option<Remains>,
    /// A CPU did not get through.
    pub(crate) is_stuck: bool,
    /// Two CPUs were in SEAMLDR.INSTALL at the same time.
    pub(crate) overlap: bool,
    /// Rounds of SEAMLDR.INSTALL, if each had as many calls as there are CPUs.
    pub(crate) rounds: Option<u32>,
    /// Calls of TDH.SYS.LP.INIT.
    pub(crate) lp_inits: u32,
    /// Calls of those that the lead CPU makes.
    pub(crate) by_lead: u32,
    /// How often the kernel was told what became of the old module.
    pub(crate) gone: u32,
}

/// Makes an update with a thread for each of `cpus` CPUs.
pub(crate) fn update(cpus: u32, trouble: Trouble) -> Result<Report> {
    let firmware = Arc::new(
        Slow {
            cpus,
            trouble,
            inside: Atomic::new(false),
            overlap: Atomic::new(false),
            installs: Atomic::new(0),
            lp_inits: Atomic::new(0),
            by_lead: Atomic::new(0),
            gone: Atomic::new(0),
        },
        GFP_KERNEL,
    )?;
    let lockstep = Lockstep::new(firmware.clone(), cpus, UPDATES_LEFT, false);
    let shared = Arc::pin_init(
        pin_init!(Shared {
            lockstep,
            left: Atomic::new(cpus),
            stuck: Atomic::new(0),
            ended <- Completion::new(),
        }),
        GFP_KERNEL,
    )?;

    for id in 0..cpus {
        let shared = shared.clone();
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            let mut cpu = Cpu::new(id, id == 0, ());
            let began = Instant::<Monotonic>::now();
            while !shared.lockstep.poll(&mut cpu) {
                if began.elapsed() > PATIENCE {
                    shared.stuck.fetch_add(1, Relaxed);
                    break;
                }
                fsleep(Delta::from_micros(10));
            }
            if shared.left.fetch_sub(1, Full) == 1 {
                shared.ended.complete_all();
            }
        })?;
    }
    shared.ended.wait_for_completion();

    let installs = firmware.installs.load(Relaxed);
    Ok(Report {
        remains: shared.lockstep.abort().map(|abort| abort.remains),
        is_stuck: shared.stuck.load(Relaxed) != 0,
        overlap: firmware.overlap.load(Relaxed),
        rounds: (installs == firmware.rounds() * cpus).then_some(firmware.rounds()),
        lp_inits: firmware.lp_inits.load(Relaxed),
        by_lead: firmware.by_lead.load(Relaxed),
        gone: firmware.gone.load(Relaxed),
    })
}
