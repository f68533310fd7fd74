// SPDX-License-Identifier: GPL-2.0

//! The lockstep of the CPUs through an update: that it ends in any order of the CPUs and with any
//! failure, and that what it says is left is what is left.

use kernel::prelude::*;

use crate::{
    firmware::{
        Fault,
        Mock,
        Module,
        Scenario,
        Seamldr, //
    },
    lockstep::{
        Lockstep,
        Remains,
        Step, //
    },
    schedule::{
        self,
        Order, //
    },
    status::Status, //
};

/// How an update ended, and what was done in it.
struct Report {
    /// What remains after a failure.
    remains: Option<Remains>,
    /// The step that failed, and with a SEAMCALL's failure rather than without.
    failed: Option<(Step, bool)>,
    /// Calls of SEAMLDR.INSTALL.
    installs: u32,
    /// How often the lockstep has paused.
    pauses: u32,
}

/// Makes an update, with the CPU at `lead` as lead, and checks what holds for each.
fn update(scenario: Scenario, lead: u32, order: Order) -> Result<Report> {
    let firmware = Mock::new(scenario)?;
    let lockstep = Lockstep::new(
        &*firmware,
        scenario.cpus,
        scenario.updates_left,
        scenario.resumed,
    );
    let polled = scenario.cpus - u32::from(scenario.cpu_offline);

    let through = schedule::run(&lockstep, polled, lead, order, |cpu| firmware.run_on(cpu))?;
    check!(through, "hangs: {scenario:?}, {order:?}, lead {lead}\n");

    let abort = lockstep.abort();
    let remains = abort.map(|abort| abort.remains);
    let state = firmware.state.lock();
    let module = state.module;
    let gone = state.gone;

    let is_true = match remains {
        None => module == Module::New,
        Some(Remains::OldModule) => module == Module::Old,
        Some(Remains::HandoffData) => state.can_be_saved() == Some(true),
        Some(Remains::Nothing) => state.can_be_saved() == Some(false),
    };
    check!(
        is_true,
        "{remains:?} remains, but {module:?}: {scenario:?}, {order:?}, lead {lead}\n"
    );

    let by_the_same = state.initialized_by.is_none() || state.initialized_by == state.installed_by;
    check!(
        by_the_same,
        "initialized by {:?}, installed by {:?}: {scenario:?}, {order:?}, lead {lead}\n",
        state.initialized_by,
        state.installed_by
    );

    let was_told = match remains {
        Some(Remains::OldModule) => gone == scenario.resumed.then_some(true),
        None | Some(Remains::HandoffData) => gone == Some(true),
        Some(Remains::Nothing) => gone == Some(false),
    };
    check!(
        was_told && !state.gone_wrong && state.gone_calls <= 2,
        "{remains:?} remains, but the kernel was told {gone:?}: {scenario:?}, {order:?}\n"
    );

    // The failure that is reported is the one that there was, on the CPU where it was.
    if let Some(abort) = abort {
        // The answer is no news then, and asking keeps all CPUs stopped.
        let is_sensitive = abort
            .failure
            .is_some_and(|failure| failure.status.is(Status::UPDATE_COMPAT_SENSITIVE));
        check!(
            !is_sensitive || state.asked == 0,
            "asked whether the module runs: {scenario:?}, {order:?}\n"
        );
        let is_reported = match (abort.failure, state.failed) {
            (Some(failure), Some((cpu, failed))) => {
                failure == failed && abort.cpu == schedule::id(cpu)
            }
            (None, _) => matches!(
                abort.step,
                Step::Shutdown | Step::Install | Step::InstallAgain
            ),
            (Some(_), None) => false,
        };
        check!(
            is_reported,
            "wrong failure on CPU {}: {scenario:?}, {order:?}\n",
            abort.cpu
        );
    }

    Ok(Report {
        remains,
        failed: abort.map(|abort| (abort.step, abort.failure.is_some())),
        installs: state.installs,
        pauses: state.pauses,
    })
}

/// An update without anything special, on so many CPUs.
const fn clean(cpus: u32) -> Scenario {
    Scenario {
        cpus,
        cpu_offline: false,
        new_cpus: 0,
        updates_left: 2,
        resumed: false,
        runs_on: false,
        open_round: 0,
        seamldr: Seamldr::Sound,
        fault: None,
    }
}

/// An update after one that was interrupted with a round of SEAMLDR.INSTALL open.
const fn resumed(cpus: u32, open_round: u64) -> Scenario {
    Scenario {
        resumed: true,
        open_round,
        ..clean(cpus)
    }
}

/// The same with a fault.
const fn with(fault: Fault, scenario: Scenario) -> Scenario {
    Scenario {
        fault: Some(fault),
        ..scenario
    }
}

/// Some orders for a table's rows, with the CPU that leads.
fn orders(cpus: u32, seed: u64) -> [(Order, u32); 4] {
    [
        (Order::Ascending, 0),
        (Order::Descending, 0),
        (Order::Random(seed), cpus / 2),
        (Order::Bursts(seed), cpus - 1),
    ]
}

/// The numbers of CPUs that the tests are made with.
const CPUS: [u32; 4] = [1, 2, 8, 64];

#[kunit_tests(tdx_host_lockstep)]
mod tests {
    use super::*;
    use crate::{
        firmware::{
            Call::{
                self,
                Install,
                LpInit,
                Shutdown,
                SysInit,
                Update, //
            },
            FOR_EVER, //
        },
        random::Random,
        threads::{
            self,
            Trouble, //
        }, //
    };

    const SYS_BUSY: Status = Status::SYS_BUSY;
    const NO_ENTROPY: Status = Status::RND_NO_ENTROPY;
    const VMFAILINVALID: Status = Status::VMFAILINVALID;
    const ENOMEM: Status = Status::SEAMLDR_ENOMEM;
    const EINTERRUPT: Status = Status::SEAMLDR_EINTERRUPT;
    const ENOENTROPY: Status = Status::SEAMLDR_ENOENTROPY;
    const EBADPARAM: Status = Status::new(0x8000_0000_0000_0000);
    const EBADSIG: Status = Status::new(0x8000_0000_0002_0000);
    const EBADHASH: Status = Status::new(0x8000_0000_0002_0001);
    const SENSITIVE: Status = Status::new(0x8000_0512_0001_0000);
    const INVALID_RCX: Status = Status::new(0xC000_0100_0000_0001);
    const BAD_SIGSTRUCT: Status = Status::new(0xC000_050A_0000_0000);
    const LP_INIT_DONE: Status = Status::new(0xC000_0503_0000_0000);
    const STATE_INCORRECT: Status = Status::new(0xC000_0508_0000_0000);
    const INVALID_HANDOFF: Status = Status::SYS_INVALID_HANDOFF;

    const DONE: Option<Remains> = None;
    const OLD: Option<Remains> = Some(Remains::OldModule);
    const HANDOFF: Option<Remains> = Some(Remains::HandoffData);
    const NOTHING: Option<Remains> = Some(Remains::Nothing);

    /// Which CPU meets a fault, by the order in which they come.
    #[derive(Clone, Copy)]
    enum At {
        /// The first one.
        First,
        /// Each of the first, the middle and the last one in turn.
        Each,
        /// The first and the middle one, but not the last.
        Early,
        /// The last one.
        Last,
    }

    impl At {
        /// The places that are meant, among so many CPUs, for a call that `ahead` have made.
        fn places(self, cpus: u32, ahead: u32) -> impl Iterator<Item = u32> {
            let (first, last) = (ahead, cpus - 1);
            let middle = (first + last) / 2;
            let places = match self {
                At::First => [Some(first), None, None],
                At::Each => [
                    Some(first),
                    (middle > first && middle < last).then_some(middle),
                    (last > first).then_some(last),
                ],
                At::Early => [
                    (first < last).then_some(first),
                    (middle > first && middle < last).then_some(middle),
                    None,
                ],
                At::Last => [None, None, Some(last)],
            };
            places.into_iter().flatten()
        }
    }

    /// A fault: the call, where, how often, the status, and whether it does harm all the same; and
    /// what remains then.
    type Row = (Call, At, u32, Status, bool, Option<Remains>);

    /// Faults of an update.
    const FAULTS: &[Row] = &[
        (Shutdown, At::First, 3, SYS_BUSY, false, DONE),
        (Shutdown, At::First, FOR_EVER, SYS_BUSY, false, OLD),
        (Shutdown, At::First, 1, SENSITIVE, false, OLD),
        (Shutdown, At::First, 1, INVALID_RCX, false, OLD),
        (Shutdown, At::First, 1, VMFAILINVALID, false, OLD),
        // It is shut down, whatever it says.
        (Shutdown, At::First, 1, INVALID_RCX, true, HANDOFF),
        (Shutdown, At::First, 1, VMFAILINVALID, true, HANDOFF),
        (Shutdown, At::First, 3, SYS_BUSY, true, HANDOFF),
        // P-SEAMLDR serves another CPU.
        (Install, At::Each, 3, VMFAILINVALID, false, DONE),
        (Install, At::Each, FOR_EVER, VMFAILINVALID, false, HANDOFF),
        // When P-SEAMLDR itself fails, for a reason that may pass, there is one more round.
        (Install, At::Early, 1, EINTERRUPT, false, DONE),
        (Install, At::Early, 2, EINTERRUPT, false, HANDOFF),
        (Install, At::Early, FOR_EVER, EINTERRUPT, false, HANDOFF),
        (Install, At::Early, 1, EBADPARAM, false, HANDOFF),
        (Install, At::Last, 1, ENOENTROPY, false, DONE),
        (Install, At::Last, 1, ENOMEM, false, DONE),
        (Install, At::Last, 2, ENOENTROPY, false, HANDOFF),
        (Install, At::Last, FOR_EVER, ENOMEM, false, HANDOFF),
        (Install, At::Last, 1, EBADSIG, false, HANDOFF),
        (Install, At::Last, 1, EBADHASH, true, NOTHING),
        (Install, At::Last, 1, ENOMEM, true, NOTHING),
        (SysInit, At::First, 3, NO_ENTROPY, false, DONE),
        (SysInit, At::First, FOR_EVER, NO_ENTROPY, false, HANDOFF),
        (SysInit, At::First, 1, BAD_SIGSTRUCT, false, HANDOFF),
        (LpInit, At::Each, 3, SYS_BUSY, false, DONE),
        (LpInit, At::Each, FOR_EVER, SYS_BUSY, false, HANDOFF),
        (LpInit, At::Each, 1, LP_INIT_DONE, false, HANDOFF),
        (Update, At::First, 3, SYS_BUSY, false, DONE),
        (Update, At::First, FOR_EVER, SYS_BUSY, false, HANDOFF),
        (Update, At::First, 1, STATE_INCORRECT, false, HANDOFF),
        (Update, At::First, 1, INVALID_HANDOFF, false, NOTHING),
    ];

    /// Faults of an update that goes on from an interrupted one.
    const FAULTS_WHEN_RESUMED: &[Row] = &[
        (Install, At::Each, 3, VMFAILINVALID, false, DONE),
        (Install, At::Each, FOR_EVER, VMFAILINVALID, false, HANDOFF),
        (Install, At::Each, 1, ENOENTROPY, false, DONE),
        (Install, At::Last, 2, ENOENTROPY, false, HANDOFF),
        (Install, At::Each, FOR_EVER, ENOMEM, false, HANDOFF),
        (Install, At::Each, 1, EBADSIG, false, HANDOFF),
        (Install, At::Last, 1, EBADHASH, true, NOTHING),
        (Install, At::Last, 1, ENOENTROPY, true, NOTHING),
        (SysInit, At::First, 3, NO_ENTROPY, false, DONE),
        (SysInit, At::First, 1, BAD_SIGSTRUCT, false, HANDOFF),
        (LpInit, At::Each, 1, LP_INIT_DONE, false, HANDOFF),
        (Update, At::First, 1, STATE_INCORRECT, false, HANDOFF),
        (Update, At::First, 1, INVALID_HANDOFF, false, NOTHING),
    ];

    /// Faults of an update that is the last one which P-SEAMLDR can record: once it is installed,
    /// nothing else can be.
    const FAULTS_OF_THE_LAST: &[Row] = &[
        (Install, At::Early, 1, EBADPARAM, false, HANDOFF),
        (Install, At::Last, 1, ENOENTROPY, false, DONE),
        (Install, At::Last, 1, EBADSIG, false, HANDOFF),
        (SysInit, At::First, 3, NO_ENTROPY, false, DONE),
        (SysInit, At::First, 1, BAD_SIGSTRUCT, false, NOTHING),
        (LpInit, At::Each, 1, LP_INIT_DONE, false, NOTHING),
        (Update, At::First, 3, SYS_BUSY, false, DONE),
        (Update, At::First, 1, STATE_INCORRECT, false, NOTHING),
    ];

    /// Makes the update of each row in `scenario`, with the fault at each of its places.
    fn each_fault(rows: &[Row], scenario: Scenario) -> Result {
        let cpus = scenario.cpus;
        for (number, &(call, at, times, status, harms, wanted)) in rows.iter().enumerate() {
            let ahead = match call {
                Install => scenario.open_round.count_ones(),
                _ => 0,
            };
            for place in at.places(cpus, ahead) {
                for ends_round in [false, true] {
                    let fault = Fault {
                        call,
                        place,
                        times,
                        status,
                        harms,
                        ends_round,
                    };
                    each_order(with(fault, scenario), number as u64, call, wanted)?;
                }
            }
        }
        Ok(())
    }

    /// Makes the update of `scenario` in some orders: `wanted` remains of a failure of `call`.
    fn each_order(scenario: Scenario, seed: u64, call: Call, wanted: Option<Remains>) -> Result {
        for (order, lead) in orders(scenario.cpus, seed) {
            let got = update(scenario, lead, order)?;
            check!(
                got.remains == wanted,
                "{:?} remains, not {wanted:?}: {scenario:?}, {order:?}\n",
                got.remains
            );
            let is_step = match (call, got.failed) {
                (_, None) => true,
                (Shutdown, Some((step, _))) => step == Step::Shutdown,
                (Install, Some((step, _))) => {
                    matches!(step, Step::Install | Step::InstallAgain)
                }
                (SysInit, Some((step, _))) => step == Step::SysInit,
                (LpInit, Some((step, _))) => step == Step::LpInit,
                (Update, Some((step, _))) => step == Step::Update,
            };
            check!(is_step, "in the wrong step: {scenario:?}, {order:?}\n");
        }
        Ok(())
    }

    #[test]
    fn without_faults() -> Result {
        for cpus in CPUS {
            for seed in 0..10 {
                for (order, lead) in orders(cpus, seed) {
                    let got = update(clean(cpus), lead, order)?;
                    check!(
                        got.remains == DONE,
                        "{:?} remains: {order:?}\n",
                        got.remains
                    );
                    // SEAMLDR.INSTALL once on each CPU, as nothing was refused.
                    check!(
                        got.installs == cpus,
                        "{} installs: {order:?}\n",
                        got.installs
                    );
                    check!(got.pauses == 0, "{} pauses: {order:?}\n", got.pauses);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn faults() -> Result {
        CPUS.into_iter()
            .try_for_each(|cpus| each_fault(FAULTS, clean(cpus)))
    }

    #[test]
    fn faults_of_the_last_update() -> Result {
        for cpus in CPUS {
            for is_resumed in [false, true] {
                let scenario = Scenario {
                    updates_left: 1,
                    resumed: is_resumed,
                    ..clean(cpus)
                };
                each_fault(FAULTS_OF_THE_LAST, scenario)?;
            }
        }
        Ok(())
    }

    #[test]
    fn faults_when_resumed() -> Result {
        for cpus in CPUS {
            each_fault(FAULTS_WHEN_RESUMED, resumed(cpus, 0))?;
        }
        each_fault(FAULTS_WHEN_RESUMED, resumed(2, 0b10))?;
        each_fault(FAULTS_WHEN_RESUMED, resumed(8, 0b0000_0001))?;
        each_fault(FAULTS_WHEN_RESUMED, resumed(8, 0b1010_0110))?;
        each_fault(FAULTS_WHEN_RESUMED, resumed(8, 0b0111_1111))
    }

    #[test]
    fn resumed_with_a_module_that_runs_after_all() -> Result {
        // To install over it would cost its TDs.
        const FAULTS: &[Row] = &[
            (Shutdown, At::First, 3, SYS_BUSY, false, DONE),
            (Shutdown, At::First, 1, SENSITIVE, false, OLD),
        ];
        for cpus in CPUS {
            let scenario = Scenario {
                runs_on: true,
                ..resumed(cpus, 0)
            };
            each_order(scenario, 4, Shutdown, DONE)?;
            each_fault(FAULTS, scenario)?;
        }
        Ok(())
    }

    #[test]
    fn transient_failures_are_waited_for() -> Result {
        for (call, status) in [
            (Shutdown, SYS_BUSY),
            (Install, VMFAILINVALID),
            (SysInit, NO_ENTROPY),
            (LpInit, NO_ENTROPY),
            (Update, SYS_BUSY),
        ] {
            for (times, pauses) in [(1, 1..=1), (3, 3..=3), (FOR_EVER, 100..=100_000)] {
                let fault = Fault {
                    call,
                    place: 0,
                    times,
                    status,
                    harms: false,
                    ends_round: false,
                };
                let got = update(with(fault, clean(4)), 0, Order::Ascending)?;
                check!(
                    pauses.contains(&got.pauses),
                    "{} pauses: {fault:?}\n",
                    got.pauses
                );
            }
        }
        Ok(())
    }

    #[test]
    fn any_order_of_few_cpus() -> Result {
        // Every order of so many polls; what comes behind them is in ascending order.
        for (cpus, count) in [(2u32, 10), (3, 6)] {
            for number in 0..cpus.pow(count) {
                let order = Order::Digits { number, count };
                let lead = number % cpus;
                let in_order = |scenario| update(scenario, lead, order);

                check!(in_order(clean(cpus))?.remains == DONE, "clean: {order:?}\n");
                for place in 0..cpus {
                    for ends_round in [false, true] {
                        let fault = Fault {
                            call: Install,
                            place,
                            times: 1,
                            status: ENOENTROPY,
                            harms: false,
                            ends_round,
                        };
                        let got = in_order(with(fault, clean(cpus)))?;
                        check!(got.remains == DONE, "{fault:?}, {order:?}\n");
                    }
                }
                for open_round in 0..(1u64 << cpus) - 1 {
                    let got = in_order(resumed(cpus, open_round))?;
                    check!(
                        got.remains == DONE,
                        "open round {open_round:#b}: {order:?}\n"
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn resumed_with_any_open_round() -> Result {
        let mut random = Random::new(2);
        for cpus in [8, 64] {
            let all = u64::MAX >> (64 - cpus);
            for seed in 0..25 {
                // Few CPUs have called, about half of them have, and all but one have.
                let one = 1u64 << random.below(cpus);
                for open_round in [one, random.next() & all & !one, all & !one] {
                    let lead = random.below(cpus);
                    let got = update(resumed(cpus, open_round), lead, Order::Random(seed))?;
                    check!(
                        got.remains == DONE,
                        "{:?} remains: {cpus} CPUs, open round {open_round:#x}, seed {seed}\n",
                        got.remains
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn cpu_offline() -> Result {
        for cpus in [2, 8, 64] {
            for (order, _) in orders(cpus - 1, 1) {
                for (scenario, wanted) in [
                    (clean(cpus), OLD),
                    (resumed(cpus, 0), HANDOFF),
                    (resumed(cpus, 1), HANDOFF),
                ] {
                    let scenario = Scenario {
                        cpu_offline: true,
                        ..scenario
                    };
                    let got = update(scenario, 0, order)?;
                    check!(
                        got.remains == wanted
                            && got.failed == Some((Step::Shutdown, false))
                            && got.installs == 0,
                        "{:?} remains: {scenario:?}, {order:?}\n",
                        got.remains
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn cpus_that_have_come_since() -> Result {
        // P-SEAMLDR would wait for them, and nobody would call it on them.
        for cpus in CPUS {
            for (order, lead) in orders(cpus, 1) {
                let scenario = Scenario {
                    new_cpus: 1,
                    ..clean(cpus)
                };
                let got = update(scenario, lead, order)?;
                check!(
                    got.remains == OLD && got.installs == 0,
                    "{:?} remains: {scenario:?}, {order:?}\n",
                    got.remains
                );
            }
        }
        Ok(())
    }

    #[test]
    fn seamldr_without_success() -> Result {
        // What P-SEAMLDR does; with an interrupted update; with a SEAMCALL's failure.
        const TABLE: &[(Seamldr, bool, Option<Remains>, bool)] = &[
            (Seamldr::Waiting, false, HANDOFF, false),
            (Seamldr::Waiting, true, HANDOFF, false),
            (Seamldr::Refusing, false, HANDOFF, true),
            (Seamldr::Refusing, true, HANDOFF, true),
            // Who knows that the round is complete need not ask.
            (Seamldr::Silent, false, DONE, false),
            // Who does not know it finds out.
            (Seamldr::Silent, true, DONE, false),
            // What it says wrong does not count for more than what the module does.
            (Seamldr::NeverFewer, true, DONE, false),
            (Seamldr::AlwaysFewer, true, DONE, false),
            (Seamldr::NoneLeft, true, DONE, false),
        ];
        for cpus in CPUS {
            for &(seamldr, is_resumed, wanted, has_failure) in TABLE {
                for (order, lead) in orders(cpus, 3) {
                    let scenario = Scenario {
                        seamldr,
                        resumed: is_resumed,
                        ..clean(cpus)
                    };
                    let got = update(scenario, lead, order)?;
                    check!(
                        got.remains == wanted
                            && got.failed.is_none_or(|(_, failure)| failure == has_failure),
                        "{:?} remains: {scenario:?}, {order:?}\n",
                        got.remains
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn no_word_of_seamldr_with_a_round_open() -> Result {
        // No call may follow the one that installs the new module: it would block that again, and
        // no other update is left.
        for open_round in [0b0001, 0b1000, 0b0101, 0b0111] {
            for seed in 0..10 {
                for (order, lead) in orders(4, seed) {
                    let scenario = Scenario {
                        seamldr: Seamldr::Silent,
                        updates_left: 1,
                        ..resumed(4, open_round)
                    };
                    let got = update(scenario, lead, order)?;
                    check!(
                        got.remains == DONE,
                        "{:?} remains: {scenario:?}, {order:?}\n",
                        got.remains
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn no_true_word_of_seamldr_after_sys_init() -> Result {
        // As far as is known the TDs can be saved, so nobody may give them up.
        let fault = Fault {
            call: SysInit,
            place: 0,
            times: 1,
            status: BAD_SIGSTRUCT,
            harms: false,
            ends_round: false,
        };
        for seamldr in [Seamldr::Silent, Seamldr::NoneLeft] {
            let scenario = Scenario {
                seamldr,
                ..with(fault, clean(2))
            };
            let got = update(scenario, 0, Order::Ascending)?;
            check!(
                got.remains == HANDOFF,
                "{seamldr:?}: {:?} remains\n",
                got.remains
            );
        }
        Ok(())
    }

    #[test]
    fn threads_at_the_same_time() -> Result {
        // Trouble, what remains, rounds of SEAMLDR.INSTALL, calls of the lead CPU, how often the
        // kernel is told what became of the old module.
        const TABLE: &[(Trouble, Option<Remains>, u32, u32, u32)] = &[
            (Trouble::None, DONE, 1, 3, 1),
            (Trouble::NoEntropy, DONE, 2, 3, 1),
            // However many CPUs fail, one reports it.
            (Trouble::LpInit, HANDOFF, 1, 2, 2),
        ];
        const CPUS: u32 = 4;

        for &(trouble, remains, rounds, by_lead, gone) in TABLE {
            for _ in 0..3 {
                let got = threads::update(CPUS, trouble)?;
                check!(!got.is_stuck, "{trouble:?}: hangs\n");
                check!(
                    !got.overlap,
                    "{trouble:?}: SEAMLDR.INSTALL on two CPUs at once\n"
                );
                check!(
                    got.remains == remains,
                    "{trouble:?}: {:?} remains\n",
                    got.remains
                );
                check!(
                    got.rounds == Some(rounds),
                    "{trouble:?}: not {rounds} rounds\n"
                );
                check!(
                    got.by_lead == by_lead,
                    "{trouble:?}: {} by the lead\n",
                    got.by_lead
                );
                check!(got.gone == gone, "{trouble:?}: told {} times\n", got.gone);
                let all_made_it = got.lp_inits == CPUS;
                check!(
                    all_made_it || trouble == Trouble::LpInit,
                    "{trouble:?}: {} times TDH.SYS.LP.INIT\n",
                    got.lp_inits
                );
            }
        }
        Ok(())
    }
}
