// SPDX-License-Identifier: GPL-2.0

//! The control interface: text commands that steer the model and read it, for test scripts.
//!
//! | Command | Effect |
//! |---|---|
//! | `fault add leaf=LEAF [cpu=N] [nth=N] [count=N\|all] [after] ACTION` | lets calls of a leaf be answered differently; see below |
//! | `fault list`, `fault clear` | lists, removes all faults |
//! | `latency LEAF TIME`, `latency list`, `latency clear` | how long a leaf takes (`200us`; `0` for no time) |
//! | `next profile=NAME [KEY=VALUE]…`, `next clear` | the module that an image without descriptor brings |
//! | `updates N` | updates left in P-SEAMLDR's log |
//! | `migrations N` | so many interrupted migrations, which hold updates back like TD builds |
//! | `fatal TDR` | makes the TD with this TDR fatal |
//! | `old-epoch TDR N` | lets the next N TDH.MEM.TRACKs of this TD find a vCPU in the epoch before |
//! | `key-hardware-busy N` | lets the next N key configurations find the key hardware busy |
//! | `cache-wb-interruptions N` | how often each cache write-back is interrupted |
//! | `counters`, `counters reset` | calls by leaf and CPU, CPUs inside at once |
//! | `measure from=EVENT to=EVENT [to_count=N]` | counts guest instructions between events: `LEAF[:begin\|:end]`, `mark:NAME`, `back` |
//! | `events` | what the measurement says so far |
//! | `mark NAME` | an event, also in the trace |
//! | `last LEAF` | the last call of this leaf, as a line of the trace |
//! | `state` | module; P-SEAMLDR; TDs and held locks; a line each |
//! | `builds`, `keys`, `pages` | every TD; every private KeyID in use; pages in use by type |
//! | `profiles`, `arguments`, `help` | the profiles, the machine's arguments, the commands there are |
//!
//! ACTION is one of `status=S [rdx=N]` (the call has no effect and answers S, a number or a name;
//! for SEAMLDR.INSTALL it also ends the round as such an error does: `rdx=1` or `recoverable=0`
//! without a module, else with the old one's memory intact; EBADCALL leaves the round alone),
//! `vmfailinvalid`, `gp`, `ud` (likewise without effect), `hang=TIME` (the call runs and takes so
//! much longer) and `no-entropy` (the call runs without random numbers, or with `=N` with only so many:
//! SEAMLDR.INSTALL draws one before it changes anything, and one at its end). With `after` the call runs
//! and only its answer is replaced. Calls are counted by each fault from when it was added, those
//! included that P-SEAMLDR refuses because another LP is inside; `nth` is the first one that is met,
//! `count` says how many are, 1 if it is not there.
//!
//! LEAF is a name such as `TDH.SYS.SHUTDOWN` or `SEAMLDR.INSTALL`. A leaf without a name here goes by
//! its number, `TDH.23` or `SEAMLDR.0x5`, as it does in the trace. Words may be separated by any white
//! space.

use std::fmt::Write;

use toml::Value;

use crate::config::{describe_keys, SimConfig};
use crate::counters::{Counters, Measurement};
use crate::faults::Fault;
use crate::module::keys::KeyId;
use crate::profile::Kind;
use crate::sim::State;
use crate::text::{self, Words};

/// The commands with their operands, for `help`.
const COMMANDS: &str = "\
fault add leaf=LEAF [cpu=N] [nth=N] [count=N|all] [after] ACTION
  ACTION: status=S [rdx=N] [recoverable=0|1], vmfailinvalid, gp, ud, hang=TIME or no-entropy[=N]
fault list|clear
latency LEAF TIME
latency list|clear
next profile=NAME [KEY=VALUE]...
next clear
updates N
migrations N
fatal TDR
old-epoch TDR N
key-hardware-busy N
cache-wb-interruptions N
counters [reset]
measure from=EVENT to=EVENT [to_count=N]
events
mark NAME
last LEAF
state
builds
keys
pages
profiles
arguments
help
";

impl State {
    /// Runs a command but `mark` and `last`, which concern the clock and the trace.
    pub(crate) fn control(&mut self, config: &SimConfig, command: &str) -> Result<String, String> {
        let (word, rest) = text::first_word(command);
        let no_more = |answer: String| {
            if rest.is_empty() {
                Ok(answer)
            } else {
                Err(format!("{rest}: unexpected"))
            }
        };
        match word {
            "fault" => self.fault(rest, config.packages.len()),
            "latency" => self.latency(rest),
            "next" => self.next_module(rest, config),
            "updates" => {
                let updates = number(word, rest)?;
                self.seamldr.set_updates_left(updates);
                Ok(String::new())
            }
            "migrations" => {
                let count = number(word, rest)?;
                self.world.set_interrupted_migrations(count);
                Ok(String::new())
            }
            "cache-wb-interruptions" => {
                let count = number(word, rest)?;
                self.world.set_cache_wb_interruptions(count);
                Ok(String::new())
            }
            "key-hardware-busy" => {
                let count = number(word, rest)?;
                self.world.set_key_hardware_busy(count);
                Ok(String::new())
            }
            "old-epoch" => {
                let (tdr, count) = text::first_word(rest);
                if count.is_empty() {
                    return Err(format!("old-epoch {rest}: takes TDR N"));
                }
                let count = number(word, count)?;
                if self.world.set_old_epoch_uses(number(word, tdr)?, count) {
                    Ok(String::new())
                } else {
                    Err(format!(
                        "old-epoch {tdr}: there is no initialised TD with this TDR"
                    ))
                }
            }
            "fatal" => {
                if self.world.set_fatal(number(word, rest)?) {
                    Ok(String::new())
                } else {
                    Err(format!("fatal {rest}: there is no TD with this TDR"))
                }
            }
            "counters" => match rest {
                "" => Ok(self.counters.list()),
                "reset" => {
                    self.counters = Counters::default();
                    Ok(String::new())
                }
                _ => Err(format!("counters {rest}: takes reset or nothing")),
            },
            "measure" => {
                self.measurement = Some(Measurement::parse(rest)?);
                Ok(String::new())
            }
            "events" => no_more(match &self.measurement {
                Some(measurement) => measurement.show(),
                None => "measure=none\n".to_owned(),
            }),
            "state" => no_more(self.show()),
            "builds" => no_more(text::lines(self.world.tds())),
            "keys" => no_more(self.show_keys()),
            "pages" => no_more(self.show_pages()),
            "profiles" => no_more(format!(
                "module={}\nplatform={}\n",
                config.profiles.names(Kind::Module).join(","),
                config.profiles.names(Kind::Platform).join(",")
            )),
            "arguments" => no_more(describe_keys()),
            "help" => no_more(COMMANDS.to_owned()),
            _ => Err(format!("{word}: no such command; `help` lists them")),
        }
    }

    fn fault(&mut self, rest: &str, lps: usize) -> Result<String, String> {
        match text::first_word(rest) {
            ("add", text) => {
                self.faults.add(Fault::parse(text, lps)?);
                Ok(String::new())
            }
            ("list", "") => Ok(self.faults.list()),
            ("clear", "") => {
                self.faults.clear();
                Ok(String::new())
            }
            _ => Err(format!("fault {rest}: takes add, list or clear")),
        }
    }

    fn latency(&mut self, rest: &str) -> Result<String, String> {
        match text::first_word(rest) {
            ("list", "") => Ok(self.faults.list_latencies()),
            ("clear", "") => {
                self.faults.clear_latencies();
                Ok(String::new())
            }
            (_, "") => Err(format!("latency {rest}: takes LEAF TIME, list or clear")),
            (leaf, time) => {
                let (leaf, time) = (text::leaf(leaf)?, text::duration(time)?);
                self.faults.set_latency(leaf, time);
                Ok(String::new())
            }
        }
    }

    fn next_module(&mut self, rest: &str, config: &SimConfig) -> Result<String, String> {
        if rest == "clear" {
            self.next.clone_from(&config.next);
            return Ok(String::new());
        }
        let mut words = Words::new(rest, &[])?;
        let name = words
            .take("profile")
            .unwrap_or_else(|| config.next.0.clone());
        let overrides: Vec<(String, Value)> = words
            .take_rest()
            .into_iter()
            .map(|(key, value)| (key, Value::from(value)))
            .collect();
        words.finish()?;
        config.profiles.module(&name, &overrides)?;
        self.next = (name, overrides);
        Ok(String::new())
    }

    /// Module, P-SEAMLDR and TDs, a line each.
    fn show(&self) -> String {
        let mut text = format!("module={}", self.module_state());
        if let Some(module) = &self.module {
            let profile = &module.profile;
            let count = |flags: &[bool]| flags.iter().filter(|flag| **flag).count();
            let _ = write!(
                text,
                " profile={} version={} svn={}.{} hv={} features={:#x} configured={:#x} lps={} \
                 keys={} tdmrs={}",
                profile.name,
                profile.version,
                profile.svn_major,
                profile.svn_minor,
                module.sigstruct.module_hv,
                profile.features,
                module.configured_features,
                count(&module.lp_initialised),
                count(&module.key_configured),
                module.tdmrs.len(),
            );
        }
        let handoff = self
            .handoff
            .as_ref()
            .map_or("none".to_owned(), |data| data.hv.to_string());
        let (round, lps) = self.seamldr.round().unwrap_or(("none", 0));
        let _ = write!(
            text,
            "\nseamldr={} updates_left={} round={round} round_lps={lps} handoff={handoff}\n",
            if self.seamldr.is_gone() {
                "gone"
            } else {
                "ready"
            },
            self.seamldr.updates_left(),
        );
        let pages: u64 = self.world.pamt.pages_in_use().values().sum();
        let _ = writeln!(
            text,
            "tds={} builds={} migrations={} pages={pages} locks={}",
            self.world.tds().count(),
            self.world.build_count(),
            self.world.interrupted_migrations(),
            self.locks.count(),
        );
        text
    }

    fn show_keys(&self) -> String {
        let mut text = String::new();
        for (keyid, state) in self.world.keys().iter() {
            let _ = match state {
                KeyId::Free => continue,
                KeyId::Global => writeln!(text, "keyid={keyid} state=global"),
                KeyId::Reserved => writeln!(text, "keyid={keyid} state=reserved"),
                KeyId::Assigned => writeln!(text, "keyid={keyid} state=assigned"),
                KeyId::Flushed(packages) => {
                    writeln!(text, "keyid={keyid} state=flushed packages={packages:#x}")
                }
            };
        }
        text
    }

    fn show_pages(&self) -> String {
        let pages = self.world.pamt.pages_in_use();
        let lines = pages.iter();
        text::lines(lines.map(|(page_type, count)| format!("type={page_type:?} pages={count}")))
    }
}

/// A command's only operand, a number of the right size.
fn number<T: TryFrom<u64>>(command: &str, text: &str) -> Result<T, String> {
    crate::profile::parse_number(text)
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("{command} {text}: takes a number"))
}
