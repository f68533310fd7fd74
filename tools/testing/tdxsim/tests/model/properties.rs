// SPDX-License-Identifier: GPL-2.0

//! Random sequences of legal and illegal calls: whatever is called, the model does not panic, and
//! what the firmware promises holds after every call.

use std::cell::Cell;
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tdxsim::Outcome;

use crate::image::{signer, Image, PARAMS};
use crate::machine::*;

/// One step of a random sequence.
#[derive(Clone, Debug)]
enum Step {
    /// A leaf with operands that are legal in some state.
    Legal(usize, u64),
    /// Any RAX and operands.
    Any(usize, u64, [u64; 6]),
    /// SEAMLDR.INSTALL of a good image.
    Install(usize),
    /// A leaf about one of the TDs.
    Td(usize, u64, Td),
    /// TDH.SYS.TDMR.INIT of all of a TDMR.
    Tdmr(u64),
    /// A control command.
    Control(&'static str),
}

/// One of two TDs, by its number, and one of its control-structure pages.
#[derive(Clone, Copy, Debug)]
struct Td {
    number: u64,
    page: u64,
}

impl Td {
    fn tdr(self) -> u64 {
        GIB + (self.number + 1) * 16 * MIB
    }

    /// RCX and RDX of a leaf.
    fn operands(self, leaf: u64) -> [u64; 2] {
        match leaf {
            MNG_CREATE => [self.tdr(), 65 + self.number],
            MNG_ADDCX => [self.tdr() + (self.page + 1) * 0x1000, self.tdr()],
            MNG_INIT => [self.tdr(), TD_PARAMS],
            _ => [self.tdr(), 0],
        }
    }
}

/// Leaves of a TD's build, and its end.
const TD_LEAVES: [u64; 5] = [
    MNG_CREATE,
    MNG_KEY_CONFIG,
    MNG_ADDCX,
    MNG_INIT,
    MNG_VPFLUSHDONE,
];

fn td() -> impl Strategy<Value = Td> {
    (0..2u64, 0..6u64).prop_map(|(number, page)| Td { number, page })
}

/// Where TD_PARAMS are.
const TD_PARAMS: u64 = BUFFER + 0x10000;

/// RCX, RDX, R8 that a leaf takes when its time has come.
fn legal_operands(leaf: u64) -> [u64; 3] {
    match leaf {
        RD => [0, FEATURES0, 0],
        CONFIG => [TDMR_ARRAY, 2, 64],
        TDMR_INIT => [GIB, 0, 0],
        SHUTDOWN => [1, 0, 0],
        SHUTDOWN_CAREFULLY => [1 | (1 << 16), 0, 0],
        SEAMLDR_INFO | SEAMLDR_SEAMINFO => [BUFFER, 0, 0],
        PAGE_RDMD => [GIB + 16 * MIB, 0, 0],
        _ => [0; 3],
    }
}

/// Stands for TDH.SYS.SHUTDOWN with AVOID_COMPAT_SENSITIVE; no call has this RAX.
const SHUTDOWN_CAREFULLY: u64 = SHUTDOWN | (1 << 40);

const LEAVES: [u64; 15] = [
    INIT,
    LP_INIT,
    RD,
    CONFIG,
    KEY_CONFIG,
    TDMR_INIT,
    SHUTDOWN,
    SHUTDOWN_CAREFULLY,
    UPDATE,
    LP_SHUTDOWN,
    PAGE_RDMD,
    SEAMLDR_INFO,
    SEAMLDR_SEAMINFO,
    SEAMLDR_CLEANUP,
    DISABLE,
];

fn operand() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(64),
        Just(u64::MAX),
        Just(TDMR_ARRAY),
        Just(BUFFER),
        Just(PARAMS),
        Just(GIB),
        (0u32..64).prop_map(|bit| 1 << bit),
        any::<u64>(),
    ]
}

fn rax() -> impl Strategy<Value = u64> {
    let leaf = prop_oneof![0u64..72, any::<u16>().prop_map(u64::from)];
    let high = prop_oneof![8 => Just(0), 2 => Just(V1), 1 => Just(1 << 30)];
    prop_oneof![
        8 => (leaf, high).prop_map(|(leaf, high)| leaf | high),
        2 => (0u64..6).prop_map(|leaf| (1 << 63) | leaf),
        1 => any::<u64>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // In the order of bring-up, so that sequences get somewhere.
        20 => (0..2usize, prop::sample::select(&LEAVES[..12]))
            .prop_map(|(lp, leaf)| Step::Legal(lp, leaf)),
        1 => (0..2usize, prop::sample::select(&LEAVES[12..]))
            .prop_map(|(lp, leaf)| Step::Legal(lp, leaf)),
        8 => (0..2usize, prop::sample::select(&TD_LEAVES[..]), td())
            .prop_map(|(lp, leaf, td)| Step::Td(lp, leaf, td)),
        4 => (0..2usize, rax(), prop::array::uniform6(operand()))
            .prop_map(|(lp, rax, operands)| Step::Any(lp, rax, operands)),
        4 => (0..2usize).prop_map(Step::Install),
        1 => prop::sample::select(vec![
            "updates 3",
            "migrations 1",
            "migrations 0",
            "fault add leaf=TDH.SYS.UPDATE status=SYS_BUSY",
            "fault add leaf=SEAMLDR.INSTALL status=SEAMLDR_EBADHASH rdx=1",
            "fault add leaf=SEAMLDR.INSTALL status=SEAMLDR_EBADSIG",
            "fault clear",
        ])
        .prop_map(Step::Control),
    ]
}

/// An image that P-SEAMLDR takes.
fn good_image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| Image::new("profile = \"connect\"\n"))
}

/// A step, or several in the order in which the firmware wants them.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![
        20 => step().prop_map(|step| vec![step]),
        1 => (0..2u64).prop_map(build),
        1 => Just(whole_update()),
    ]
}

/// A TD's build up to its TDH.MNG.INIT.
fn build(number: u64) -> Vec<Step> {
    let step = |lp, leaf, page| Step::Td(lp, leaf, Td { number, page });
    let mut steps = vec![
        step(0, MNG_CREATE, 0),
        step(0, MNG_KEY_CONFIG, 0),
        step(1, MNG_KEY_CONFIG, 0),
    ];
    steps.extend((0..6).map(|page| step(0, MNG_ADDCX, page)));
    steps.push(step(0, MNG_INIT, 0));
    steps
}

/// An update that does not mind builds.
fn whole_update() -> Vec<Step> {
    vec![
        Step::Legal(0, SHUTDOWN),
        Step::Install(0),
        Step::Install(1),
        Step::Legal(0, INIT),
        Step::Legal(0, LP_INIT),
        Step::Legal(1, LP_INIT),
        Step::Legal(0, UPDATE),
    ]
}

fn bring_up() -> Vec<Step> {
    let steps = [
        (0, INIT),
        (0, LP_INIT),
        (1, LP_INIT),
        (0, CONFIG),
        (0, KEY_CONFIG),
        (1, KEY_CONFIG),
    ];
    let tdmrs = [GIB, 4 * GIB].map(Step::Tdmr);
    steps
        .into_iter()
        .map(|(lp, leaf)| Step::Legal(lp, leaf))
        .chain(tdmrs)
        .collect()
}

/// What must hold after every call.
struct Watch {
    state: String,
    updates: u64,
    /// LPs and packages that were initialised since the module was loaded, and whether it was
    /// configured.
    lps: u64,
    packages: u64,
    was_configured: bool,
    was_handed_over: bool,
    /// Of the handoff data that the last shutdown wrote.
    handoff_version: u64,
    /// Which of the TDs are being built, and how many migrations are interrupted.
    builds: [bool; 2],
    migrations: u64,
    /// Updates that took builds over.
    updates_with_builds: usize,
}

impl Watch {
    fn check(&mut self, machine: &Machine, step: &Step, rax: u64) {
        let state = machine.state("module");
        let number = |key: &str| machine.state(key).parse::<u64>().unwrap();
        if state == "SYSINIT_PENDING" {
            (self.lps, self.packages) = (0, 0);
            (self.was_configured, self.was_handed_over) = (false, false);
        }
        let (called, rcx) = match step {
            Step::Legal(_, SHUTDOWN_CAREFULLY) => (SHUTDOWN, 1),
            Step::Legal(_, leaf) => (*leaf, legal_operands(*leaf)[0]),
            Step::Any(_, rax, operands) => (rax & !V1, operands[0]),
            _ => (VP_ENTER, 0),
        };
        let mut nothing_is_counted = state == "NONE";
        if rax == 0 {
            match called {
                LP_INIT => self.lps += 1,
                KEY_CONFIG => self.packages += 1,
                CONFIG => (self.was_configured, nothing_is_counted) = (true, true),
                SHUTDOWN => self.handoff_version = rcx & 0xFFFF,
                UPDATE => {
                    self.was_handed_over = true;
                    nothing_is_counted = self.handoff_version == 0;
                }
                _ => {}
            }
        }
        // All TDs went with the module, or with handoff data that was not used, or there are no
        // counts in that data. What a command says of migrations then need not last.
        if nothing_is_counted {
            self.builds = [false; 2];
            self.migrations = number("migrations");
        }
        self.check_builds(machine, step, rax);
        // READY only through a whole path.
        if state == "SYS_READY" {
            assert_eq!(self.lps, 2, "{step:?}");
            let configured = self.was_configured && self.packages == 2;
            assert!(configured || self.was_handed_over, "{step:?}");
            assert_eq!(number("keys"), 2);
            assert_ne!(number("tdmrs"), 0);
        }
        // One state follows the other; only a new module starts again.
        let order = [
            "SYSINIT_PENDING",
            "SYSINIT_DONE",
            "SYSCONFIG_DONE",
            "SYS_READY",
            "SYS_SHUTDOWN",
        ];
        let place = |state: &str| order.iter().position(|other| *other == state);
        if let (Some(before), Some(after)) = (place(&self.state), place(&state)) {
            let is_new = state == "SYSINIT_PENDING";
            assert!(
                after >= before || is_new,
                "{} to {state} by {step:?}",
                self.state
            );
        }
        assert_eq!(number("locks"), 0, "{step:?}");
        // Updates fall one by one, and nothing is counted below zero.
        let updates = number("updates_left");
        assert!(
            updates + 1 >= self.updates || matches!(step, Step::Control(_)),
            "{step:?}"
        );
        assert!(number("builds") <= number("tds"));
        assert!(number("tds") <= number("pages"));
        // Handoff data exists only while no module has taken it over.
        if state == "SYS_READY" || state == "SYSCONFIG_DONE" {
            assert!(
                self.was_configured || machine.state("handoff") == "none",
                "{step:?}"
            );
        }
        (self.state, self.updates) = (state, updates);
    }

    /// Builds are counted from TDH.MNG.INIT to TDH.MNG.VPFLUSHDONE, whatever module takes them over,
    /// and hold a careful shutdown back, as interrupted migrations do.
    fn check_builds(&mut self, machine: &Machine, step: &Step, rax: u64) {
        match (step, rax) {
            (Step::Td(_, MNG_INIT, td), 0) => self.builds[td.number as usize] = true,
            (Step::Td(_, MNG_VPFLUSHDONE, td), 0) => self.builds[td.number as usize] = false,
            (Step::Control("migrations 1"), _) => self.migrations = 1,
            (Step::Control("migrations 0"), _) => self.migrations = 0,
            _ => {}
        }
        let builds = self.builds.iter().filter(|build| **build).count() as u64;
        assert_eq!(machine.state("builds"), builds.to_string(), "{step:?}");
        assert_eq!(
            machine.state("migrations"),
            self.migrations.to_string(),
            "{step:?}"
        );
        match (step, rax) {
            (Step::Legal(_, UPDATE), 0) => self.updates_with_builds += usize::from(builds > 0),
            (Step::Legal(_, SHUTDOWN_CAREFULLY), 0) => {
                assert_eq!((builds, self.migrations), (0, 0));
            }
            _ => {}
        }
        if rax >> 32 == 0x8000_0512 {
            let expected = if builds > 0 {
                builds << 16
            } else {
                (self.migrations << 16) | 1
            };
            assert_ne!(builds + self.migrations, 0, "{step:?}");
            assert_eq!(rax & 0xFFFF_FFFF, expected, "{step:?}");
        }
    }
}

/// Runs steps on a machine; how many updates took builds over.
fn run(is_up: bool, random: Vec<Vec<Step>>) -> usize {
    let machine = Machine::new(&["profile=connect", &signer()]);
    machine.put_tdmrs(&[tdmr_info(1, PAMTS), tdmr_info(4, PAMTS + 16 * MIB)]);
    machine.ram.put(TD_PARAMS, &[0; 128]);
    machine.ram.put(TD_PARAMS, &[0, 3, 1, 0x1E, 0, 40]);
    let image = good_image();
    let mut watch = Watch {
        state: machine.state("module"),
        updates: 10,
        lps: 0,
        packages: 0,
        was_configured: false,
        was_handed_over: false,
        handoff_version: 0,
        builds: [false; 2],
        migrations: 0,
        updates_with_builds: 0,
    };
    let steps = if is_up { bring_up() } else { Vec::new() };
    for step in steps.into_iter().chain(random.into_iter().flatten()) {
        let (outcome, rax) = match &step {
            Step::Legal(lp, leaf) => {
                let rax = if *leaf == SHUTDOWN_CAREFULLY {
                    SHUTDOWN
                } else {
                    *leaf
                };
                let (outcome, regs) = machine.raw(*lp, rax, &legal_operands(*leaf));
                (outcome, regs.rax)
            }
            Step::Any(lp, rax, operands) => {
                let (outcome, regs) = machine.raw(*lp, *rax, operands);
                // Calls may have written over them.
                machine.put_tdmrs(&[tdmr_info(1, PAMTS), tdmr_info(4, PAMTS + 16 * MIB)]);
                (outcome, regs.rax)
            }
            Step::Install(lp) => {
                image.load(&machine);
                let (outcome, regs) = machine.raw(*lp, SEAMLDR_INSTALL, &[PARAMS]);
                (outcome, regs.rax)
            }
            Step::Td(lp, leaf, td) => {
                let (outcome, regs) = machine.raw(*lp, *leaf, &td.operands(*leaf));
                (outcome, regs.rax)
            }
            Step::Tdmr(base) => {
                while machine.raw(0, TDMR_INIT, &[*base]).1.rax == 0 {}
                (Outcome::Completed, 1)
            }
            Step::Control(command) => {
                machine.control(command);
                (Outcome::Completed, 1)
            }
        };
        let rax = if outcome == Outcome::Completed {
            rax
        } else {
            1
        };
        watch.check(&machine, &step, rax);
    }
    watch.updates_with_builds
}

#[test]
fn sequences_keep_the_promises() {
    let config = ProptestConfig {
        cases: 192,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };
    let updates_with_builds = Cell::new(0);
    let sequences = (any::<bool>(), prop::collection::vec(steps(), 1..80));
    let result = TestRunner::new(config).run(&sequences, |(is_up, random)| {
        updates_with_builds.set(updates_with_builds.get() + run(is_up, random));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    // They get somewhere.
    assert!(updates_with_builds.get() > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// TDMR_INFOs with a few words changed at random: accepted or refused, nothing else.
    #[test]
    fn tdmrs_are_accepted_or_refused(
        changes in prop::collection::vec((0..2usize, 0..40usize, operand()), 0..4),
    ) {
        let machine = Machine::new(&[]);
        machine.initialise();
        let mut infos = [tdmr_info(1, PAMTS), tdmr_info(4, PAMTS + 16 * MIB)];
        for (index, word, value) in &changes {
            infos[*index][*word] = *value;
        }
        let [rcx, rdx] = machine.put_tdmrs(&infos);
        let status = machine.status(CONFIG, &[rcx, rdx, 64]);
        let code = status >> 32;
        prop_assert!(status == 0 || (0xC000_0A00..=0xC000_0A21).contains(&code), "{:#x}", status);
        prop_assert!(status == 0 || status & 0xFF <= 1);
        if status == 0 {
            machine.configure_keys();
            let first = machine.call(0, TDMR_INIT, &[infos[0][0]]);
            prop_assert_eq!(first.rax, 0);
        }
    }

    /// A sigstruct with one random byte changed is never taken, whichever byte it is and whatever
    /// it says.
    #[test]
    fn a_changed_sigstruct_is_never_taken(offset in 0..2048usize, change in 1..=255u8) {
        let machine = crate::seamldr::shut_down(&[]);
        let mut image = good_image().clone();
        let byte = image.sigstruct[offset] ^ change;
        image.set(offset, &[byte]);
        let (status, rdx) = crate::seamldr::install(&machine, &image);
        prop_assert_eq!(rdx, 0);
        prop_assert_ne!(status, 0);
        prop_assert_eq!(machine.state("handoff"), "1");
    }

    /// Any control line is answered.
    #[test]
    fn control_commands_never_panic(
        command in "(fault|fault add|latency|next|measure|updates|counters|fatal) [ -~]{0,60}",
        tail in "[ -~]{0,20}",
    ) {
        let machine = Machine::new(&[]);
        let line = format!("{command} leaf=TDH.SYS.RD {tail}");
        let _ = machine.sim.control(0, &command, &machine.clock);
        let _ = machine.sim.control(0, &line, &machine.clock);
        prop_assert_eq!(machine.state("module"), "SYSINIT_PENDING");
    }
}
