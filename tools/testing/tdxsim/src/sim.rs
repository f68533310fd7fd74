// SPDX-License-Identifier: GPL-2.0

//! The simulated machine as its LPs see it: SEAMCALL from any LP at any time.
//!
//! A call has its effects at once and undivided, under one mutex. What makes the model concurrent
//! is latency: for as long as a leaf is said to take, the calling thread sleeps without the mutex,
//! while the locks that the call took stay held and its LP counts as inside SEAM. P-SEAMLDR lets
//! one LP in at a time whatever the latency.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io, mem};

use toml::Value;

use crate::call::{Call, Entropy};
use crate::config::SimConfig;
use crate::counters::{Counters, Event, Measurement, Sample};
use crate::faults::{Action, Fault, Faults};
use crate::leaf::{Leaf, LeafId, SeamldrLeaf};
use crate::locks::{LockKey, Locks};
use crate::mem::Memory;
use crate::module::td::TdWorld;
use crate::module::update::HandoffData;
use crate::module::{self, Module, SigstructHandoff, SysState};
use crate::profile::PlatformProfile;
use crate::regs::{Outcome, Regs};
use crate::seamldr::sigstruct::Sigstruct;
use crate::seamldr::{self, image, Seamldr};
use crate::status::Status;
use crate::text;
use crate::trace::{CallRecord, Trace};

/// What the model needs of the machine that it runs in.
pub trait Host {
    /// The time in nanoseconds, from any fixed moment.
    fn now_ns(&self) -> u64;

    /// Lets the calling thread, and so the LP that makes the call, sleep.
    fn sleep_ns(&self, ns: u64);

    /// Guest instructions that this LP has executed so far.
    fn instructions(&self, lp: usize) -> u64;

    /// Those of them that it has spent in loops which only waited.
    fn spinning(&self, _lp: usize) -> u64 {
        0
    }

    /// Asks for [`Sim::back`] as soon as this LP enables interrupts.
    fn watch(&self, _lp: usize) {}
}

/// Everything that calls change.
#[derive(Debug)]
pub(crate) struct State {
    /// The module in the SEAM range.
    pub module: Option<Module>,
    /// What TDs, PAMT and KeyIDs hold.
    pub world: TdWorld,
    /// The handoff data in the SEAM range, while it is valid.
    pub handoff: Option<HandoffData>,
    /// P-SEAMLDR.
    pub seamldr: Seamldr,
    /// Held locks.
    pub locks: Locks,
    /// The leaf that each LP is inside, if any.
    pub inside: Vec<Option<LeafId>>,
    /// How long the calls so far have taken, had each taken as long as it should and had nothing
    /// been between them: calls that were made at the same time count once.
    seam_ns: u64,
    /// What that was when an LP's call began.
    seam_ns_at_begin: Vec<u64>,
    /// LPs that are stopped for an update: those that have not enabled interrupts since it began.
    stopped: Vec<bool>,
    /// Faults and latencies.
    pub faults: Faults,
    /// Counters.
    pub counters: Counters,
    /// The measurement that was asked for last.
    pub measurement: Option<Measurement>,
    /// The module in an image without descriptor: profile and overrides.
    pub next: (String, Vec<(String, Value)>),
    entropy: Entropy,
}

impl State {
    /// The machine after power-on.
    fn new(config: &SimConfig) -> State {
        let platform = &config.platform;
        let module = platform.module_loaded.then(|| {
            // Firmware loaded it; no image is there to take a hash of.
            let mrseam = [0xA5; 48];
            let sigstruct = SigstructHandoff::of(&config.module);
            let (lps, packages) = (config.packages.len(), config.package_count());
            Module::new(config.module.clone(), sigstruct, mrseam, lps, packages)
        });
        State {
            seamldr: Seamldr::new(platform, module.as_ref()),
            module,
            world: TdWorld::default(),
            handoff: None,
            locks: Locks::default(),
            inside: vec![None; config.packages.len()],
            seam_ns: 0,
            seam_ns_at_begin: vec![0; config.packages.len()],
            stopped: vec![false; config.packages.len()],
            faults: Faults::default(),
            counters: Counters::default(),
            measurement: None,
            next: config.next.clone(),
            entropy: Entropy::default(),
        }
    }

    /// The module's state in a word, for the trace and the control interface.
    pub fn module_state(&self) -> &'static str {
        match &self.module {
            None => "NONE",
            Some(_) if self.seamldr.is_module_blocked() => "BLOCKED",
            Some(module) => module.state.name(),
        }
    }

    /// The same, as it is going to be at the end of the call that this LP is making.
    fn module_state_after(&self, lp: usize) -> &'static str {
        match &self.module {
            Some(module) if module.becomes_ready_with == Some(lp) => SysState::Ready.name(),
            _ => self.module_state(),
        }
    }
}

/// The simulated machine.
#[derive(Debug)]
pub struct Sim {
    config: SimConfig,
    state: Mutex<State>,
    trace: Mutex<Trace>,
    /// Some LP is inside P-SEAMLDR.
    seamldr_inside: AtomicBool,
}

/// A call between its effects and its end.
struct Running {
    outcome: Outcome,
    /// How long the LP stays inside.
    wait_ns: u64,
    held: Vec<LockKey>,
    fault: bool,
    remark: Option<String>,
}

impl Sim {
    /// Powers a machine on.
    pub fn new(config: SimConfig) -> Result<Sim, String> {
        let sim = Sim {
            state: Mutex::new(State::new(&config)),
            trace: Mutex::default(),
            seamldr_inside: AtomicBool::new(false),
            config,
        };
        if let Some(path) = &sim.config.trace {
            let file = fs::File::create(path)
                .map_err(|error| format!("trace={}: {error}", path.display()))?;
            sim.set_trace(Box::new(file));
        }
        for command in &sim.config.commands {
            sim.state().control(&sim.config, command)?;
        }
        Ok(sim)
    }

    /// Resets the machine: everything is as it was after [`Sim::new`], but the trace goes on. No LP
    /// may be inside a call.
    pub fn reset(&self, host: &dyn Host) {
        {
            let mut state = self.state();
            *state = State::new(&self.config);
            for command in &self.config.commands {
                // They succeeded at power-on, in the same state.
                let _ = state.control(&self.config, command);
            }
        }
        self.seamldr_inside.store(false, Ordering::Release);
        let mut trace = self.trace();
        trace.reset();
        trace.event(host.now_ns(), None, "reset", "", None);
    }

    /// Trace lines go to this sink from now on.
    pub fn set_trace(&self, sink: Box<dyn io::Write + Send>) {
        self.trace().set_sink(sink);
    }

    /// The machine's configuration.
    pub fn config(&self) -> &SimConfig {
        &self.config
    }

    /// The platform: KeyIDs, and what CPUs and firmware report.
    pub fn platform(&self) -> &PlatformProfile {
        &self.config.platform
    }

    /// Notes in the trace what happened to an LP outside the model, such as VMXON.
    pub fn report(&self, lp: usize, event: &str, what: &str, host: &dyn Host) {
        self.trace().event(
            host.now_ns(),
            Some(lp),
            event,
            what,
            Some(host.instructions(lp)),
        );
    }

    /// Sets a mark on behalf of an LP: an event that a measurement can begin or end with.
    pub fn mark(&self, lp: usize, name: &str, host: &dyn Host) {
        let t_ns = host.now_ns();
        self.state().happen(&Event::Mark(name.to_owned()), host);
        self.trace()
            .event(t_ns, Some(lp), "mark", name, Some(host.instructions(lp)));
    }

    /// An LP that [`Host::watch`] was called for enables interrupts.
    ///
    /// An update runs with all LPs stopped and interrupts disabled on them, from before the old
    /// module's shutdown. So the first time that an LP enables them after that is when it goes back
    /// to what it did before.
    pub fn back(&self, lp: usize, host: &dyn Host) {
        let t_ns = host.now_ns();
        let mut state = self.state();
        if !mem::take(&mut state.stopped[lp]) {
            return;
        }
        if let Some(measurement) = &mut state.measurement {
            measurement.leave(lp, host.instructions(lp), host.spinning(lp));
        }
        if !state.stopped.contains(&true) {
            state.happen(&Event::Back, host);
        }
        drop(state);
        self.trace()
            .event(t_ns, Some(lp), "back", "", Some(host.instructions(lp)));
    }

    /// Runs a control command; see [`crate::control`]. The answer is text, each line ended.
    pub fn control(&self, lp: usize, command: &str, host: &dyn Host) -> Result<String, String> {
        let t_ns = host.now_ns();
        let (word, name) = text::first_word(command);
        if word == "mark" {
            if name.is_empty() {
                return Err("mark: a name is missing".to_owned());
            }
            self.mark(lp, name, host);
            return Ok(String::new());
        }
        if word == "last" {
            let leaf = text::leaf(name)?;
            return match self.trace().last_call(leaf) {
                Some(line) => Ok(format!("{line}\n")),
                None => Err(format!("{}: not called", leaf.name())),
            };
        }
        let answer = self.state().control(&self.config, command);
        self.trace().event(
            t_ns,
            Some(lp),
            "control",
            command.trim(),
            Some(host.instructions(lp)),
        );
        answer
    }

    /// One SEAMCALL of an LP in VMX operation. The thread sleeps for as long as the call takes.
    pub fn seamcall(
        &self,
        lp: usize,
        regs: &mut Regs,
        mem: &dyn Memory,
        host: &dyn Host,
    ) -> Outcome {
        let (t_ns, instructions) = (host.now_ns(), host.instructions(lp));
        let input = *regs;
        let leaf = LeafId::of_rax(input.rax);
        let is_seamldr = leaf.is_seamldr();
        let is_alone = !is_seamldr || !self.seamldr_inside.swap(true, Ordering::Acquire);

        let mut state = self.state();
        let before = state.module_state();
        state.begin(leaf, lp, is_alone, host);
        let running = self.run(&mut state, leaf, lp, is_alone, regs, mem);
        let after = state.module_state_after(lp);
        // What the model itself takes is a part of the latency.
        let taken_ns = host.now_ns().saturating_sub(t_ns);
        let wait_ns = running.wait_ns.saturating_sub(taken_ns);
        if wait_ns > 0 {
            drop(state);
            host.sleep_ns(wait_ns);
            state = self.state();
        }
        let failed = running.outcome != Outcome::Completed || Status(regs.rax).is_error();
        state.end(leaf, lp, &running, failed, host);
        drop(state);

        let dur_ns = host.now_ns().saturating_sub(t_ns);
        let mut trace = self.trace();
        trace.call(&CallRecord {
            t_ns,
            dur_ns,
            lp,
            input: &input,
            output: regs,
            outcome: running.outcome,
            instructions,
            fault: running.fault,
            remark: running.remark.as_deref(),
        });
        if before != after {
            trace.event(t_ns + dur_ns, Some(lp), "state", after, None);
        }
        drop(trace);
        if is_seamldr && is_alone {
            self.seamldr_inside.store(false, Ordering::Release);
        }
        running.outcome
    }

    /// Gives a call its effects, or those of the fault that meets it. One to P-SEAMLDR that is not
    /// alone there is refused at once, if no fault says otherwise.
    fn run(
        &self,
        state: &mut State,
        leaf: LeafId,
        lp: usize,
        is_alone: bool,
        regs: &mut Regs,
        mem: &dyn Memory,
    ) -> Running {
        let fault = state.faults.meet(leaf, lp);
        let executes = fault.as_ref().is_none_or(|fault| {
            fault.after || matches!(fault.action, Action::Hang(_) | Action::NoEntropy(_))
        });
        let random_left = match fault {
            Some(Fault {
                action: Action::NoEntropy(numbers),
                ..
            }) => Some(numbers),
            _ => None,
        };
        let input = *regs;
        let mut running = Running {
            outcome: Outcome::Completed,
            wait_ns: if is_alone {
                state.faults.latency(leaf)
            } else {
                0
            },
            held: Vec::new(),
            fault: fault.is_some(),
            remark: None,
        };
        if executes {
            running.outcome = if !is_alone {
                Outcome::VmFailInvalid
            } else if leaf.is_seamldr() {
                self.run_seamldr(state, lp, regs, mem, random_left, &mut running)
            } else {
                self.run_module(state, lp, regs, mem, random_left, &mut running)
            };
        }
        match fault.as_ref().map(|fault| fault.action) {
            None | Some(Action::NoEntropy(_)) => {}
            Some(Action::Hang(ns)) => running.wait_ns = running.wait_ns.saturating_add(ns),
            Some(Action::Status(status)) => {
                running.outcome = Outcome::Completed;
                regs.rax = status.0;
                if let Some(fault) = &fault {
                    regs.rdx = fault.rdx().unwrap_or(regs.rdx);
                    if let Some(is_recoverable) = fault.install_leaves(status) {
                        regs.rdx = fault.rdx().unwrap_or(0);
                        state.fail_install(is_recoverable);
                    }
                }
            }
            Some(Action::VmFailInvalid) => {
                (running.outcome, *regs) = (Outcome::VmFailInvalid, input)
            }
            Some(Action::GeneralProtection) => {
                (running.outcome, *regs) = (Outcome::GeneralProtection, input);
            }
            Some(Action::UndefinedInstruction) => {
                (running.outcome, *regs) = (Outcome::UndefinedInstruction, input);
            }
        }
        running
    }

    /// A SEAMCALL to the TDX module.
    fn run_module(
        &self,
        state: &mut State,
        lp: usize,
        regs: &mut Regs,
        mem: &dyn Memory,
        random_left: Option<u64>,
        running: &mut Running,
    ) -> Outcome {
        if !self.config.platform.seam {
            return Outcome::GeneralProtection;
        }
        let is_inside = |inside: &Option<LeafId>| inside.is_some_and(|leaf| !leaf.is_seamldr());
        let inside = state.inside.iter().enumerate();
        let others_inside = inside
            .filter(|(other, _)| *other != lp)
            .any(|(_, leaf)| is_inside(leaf));
        // P-SEAMLDR lets others into the new module as the last thing that it does.
        let is_installing = state.inside.contains(&Some(SeamldrLeaf::Install.into()));
        let is_blocked = state.seamldr.is_module_blocked() || is_installing;
        let Some(module) = state.module.as_mut().filter(|_| !is_blocked) else {
            return Outcome::VmFailInvalid;
        };
        let status = match module::dispatch(module, regs.rax) {
            Err(status) => status,
            Ok((leaf, version)) => {
                let profile = module.profile.clone();
                let mut call = Call {
                    lp,
                    package: self.config.packages[lp],
                    packages: self.config.package_count(),
                    leaf,
                    version,
                    regs,
                    mem,
                    module: &profile,
                    platform: &self.config.platform,
                    locks: &mut state.locks,
                    held: &mut running.held,
                    entropy: &mut state.entropy,
                    random_left,
                };
                let mut around = module::Surroundings {
                    world: &mut state.world,
                    handoff: &mut state.handoff,
                    convertible: &self.config.convertible,
                    others_inside,
                };
                module::call(module, &mut around, &mut call)
            }
        };
        regs.rax = status.0;
        Outcome::Completed
    }

    /// A SEAMCALL to P-SEAMLDR.
    fn run_seamldr(
        &self,
        state: &mut State,
        lp: usize,
        regs: &mut Regs,
        mem: &dyn Memory,
        random_left: Option<u64>,
        running: &mut Running,
    ) -> Outcome {
        if !self.config.platform.seam {
            return Outcome::GeneralProtection;
        }
        if state.seamldr.is_gone() {
            return Outcome::VmFailInvalid;
        }
        let mut forget_tds = false;
        let next = &state.next;
        let module_of = |first_page: &[u8], sigstruct: &Sigstruct| {
            image::module_of(&self.config.profiles, next, first_page, sigstruct)
        };
        let mut around = seamldr::Surroundings {
            lp,
            lps: self.config.packages.len(),
            packages: self.config.package_count(),
            mem,
            platform: &self.config.platform,
            convertible: &self.config.convertible,
            module: &mut state.module,
            handoff: &mut state.handoff,
            random_left,
            module_of: &module_of,
            remark: &mut running.remark,
            forget_tds: &mut forget_tds,
        };
        let status = state.seamldr.call(regs.rax, regs, &mut around);
        if forget_tds || state.module.is_none() {
            state.world = TdWorld::default();
        }
        regs.rax = status.0;
        Outcome::Completed
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A call of `leaf` begins on this LP, and enters SEAM if nobody is in its way.
    fn begin(&mut self, leaf: LeafId, lp: usize, enters: bool, host: &dyn Host) {
        self.inside[lp] = enters.then_some(leaf);
        self.seam_ns_at_begin[lp] = self.seam_ns;
        self.counters.begin(leaf, lp, &self.inside);
        self.stop(leaf, host);
        self.happen(&Event::Begin(leaf), host);
    }

    /// The call of `leaf` on this LP is over.
    fn end(&mut self, leaf: LeafId, lp: usize, running: &Running, failed: bool, host: &dyn Host) {
        for key in &running.held {
            self.locks.unlock(*key);
        }
        self.inside[lp] = None;
        if let Some(module) = &mut self.module {
            if module.becomes_ready_with == Some(lp) {
                module.becomes_ready_with = None;
                module.state = SysState::Ready;
            }
        }
        let seam_ns = self.seam_ns_at_begin[lp].saturating_add(running.wait_ns);
        self.seam_ns = self.seam_ns.max(seam_ns);
        if failed {
            self.counters.fail(leaf);
        }
        self.happen(&Event::End(leaf), host);
    }

    /// Takes note that LPs are stopped, if the call that begins tells so: the first of an update,
    /// TDH.SYS.SHUTDOWN, or SEAMLDR.INSTALL where one goes on that was interrupted.
    fn stop(&mut self, leaf: LeafId, host: &dyn Host) {
        let begins = leaf == Leaf::SysShutdown.into()
            || leaf == SeamldrLeaf::Install.into() && !self.stopped.contains(&true);
        if begins {
            self.stopped.fill(true);
            (0..self.stopped.len()).for_each(|lp| host.watch(lp));
        }
    }

    /// Lets the measurement see an event.
    fn happen(&mut self, event: &Event, host: &dyn Host) {
        let lps = 0..self.inside.len();
        let seam_ns = self.seam_ns;
        if let Some(measurement) = &mut self.measurement {
            measurement.happen(event, || Sample {
                t_ns: host.now_ns(),
                seam_ns,
                instructions: lps.clone().map(|lp| host.instructions(lp)).collect(),
                spinning: lps.map(|lp| host.spinning(lp)).collect(),
            });
        }
    }

    /// Leaves everything as a SEAMLDR.INSTALL that fails in this way would.
    fn fail_install(&mut self, is_recoverable: bool) {
        self.seamldr
            .fail_install(is_recoverable, &mut self.module, &mut self.handoff);
        if self.module.is_none() {
            self.world = TdWorld::default();
        }
    }
}
