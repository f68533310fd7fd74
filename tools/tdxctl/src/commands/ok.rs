// SPDX-License-Identifier: GPL-2.0

//! `tdxctl ok`: everything that a working TDX host needs, in the order in which it is needed.
//!
//! What the kernel asks for is in `arch/x86/virt/vmx/tdx/tdx.c` (tdx_init(), tdx_enable()) and, for
//! KVM, in `arch/x86/kvm/vmx/tdx.c` (tdx_hardware_setup()). It says why in its log, and some of it
//! nowhere else, so the log is looked at as well.

use serde::Serialize;

use crate::cli::Exit;
use crate::device::kvm_vm_types;
use crate::facts::{Facts, Interface, State};
use crate::features::Features;
use crate::host::{Cpus, Host, Known};
use crate::output::{self, Row, Verdict};
use crate::Failure;

/// IA32_MKTME_KEYID_PARTITIONING: the number of TDX KeyIDs is in bits 63:32.
const KEYID_PARTITIONING: u32 = 0x87;

/// What the kernel says when it sets the CPUs' bug flag for P-SEAMLDR.
const SEAMLDR_BUG: &str = "seamret_invd_vmcs";

/// What the driver says when it could not configure the TDX module, and of that when it cannot be
/// tried again; `sysconfig.rs`.
const STAYS_OFF: &str = "TDX stays off";
const UNTIL_REBOOT: &str = "until the next reboot";

/// What the driver says when there is nothing that it could configure; `tdx_host.rs`.
const NOTHING_TO_CONFIGURE: &str = "no TDX module that can be configured";

/// What came out of a check.
enum Outcome {
    Pass(String),
    /// What is wrong, and what to do about it.
    Fail(String, String),
    /// Why it was not looked at, or does not matter.
    Skip(String),
}

use Outcome::{Fail, Pass, Skip};

impl Outcome {
    fn fail(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Fail(what.into(), advice.into())
    }

    fn pass(what: impl Into<String>) -> Self {
        Pass(what.into())
    }

    fn skip(why: impl ToString) -> Self {
        Skip(why.to_string())
    }
}

/// What the checks look at.
struct Evidence<'a> {
    host: &'a Host,
    cpus: Known<Cpus>,
    /// The kernel log.
    log: Known<Vec<String>>,
    driver: Known<Facts>,
}

impl Evidence<'_> {
    /// The kernel has found that this machine can be a TDX host.
    fn kernel_has_tdx(&self) -> bool {
        self.cpus
            .as_ref()
            .is_ok_and(|cpus| cpus.has("tdx_host_platform"))
    }

    /// The last line of the core's that has these words.
    fn said(&self, words: &str) -> Option<&str> {
        self.last_line("virt/tdx: ", words)
    }

    /// The driver's line about a failure to configure the TDX module, which says more than the
    /// line of a driver that was loaded after it; and whether only a reboot helps.
    fn driver_failed(&self) -> Option<(&str, bool)> {
        let failed = self.last_line("tdx_host: ", STAYS_OFF);
        let nothing = self.last_line("tdx_host: ", NOTHING_TO_CONFIGURE);
        failed
            .or(nothing)
            .map(|line| (line, nothing.is_some() || line.contains(UNTIL_REBOOT)))
    }

    /// The last line of the kernel log by `who` that has these words.
    fn last_line(&self, who: &str, words: &str) -> Option<&str> {
        let lines = self.log.as_ref().ok()?;
        lines
            .iter()
            .rev()
            .find(|line| line.contains(who) && line.contains(words))
            .map(String::as_str)
    }
}

/// A check.
pub struct Check {
    pub name: &'static str,
    /// What holds when it passes.
    pub about: &'static str,
    /// Those that must not have failed for it to make sense.
    needs: &'static [&'static str],
    make: fn(&Evidence<'_>) -> Outcome,
}

/// All checks, in the order in which they are made.
pub const CHECKS: &[Check] = &[
    Check {
        name: "cpu",
        about: "The CPU has what TDX needs.",
        needs: &[],
        make: cpu,
    },
    Check {
        name: "keyids",
        about: "The BIOS has set KeyIDs apart for TDX, one for the TDX module and one for each TD.",
        needs: &["cpu"],
        make: keyids,
    },
    Check {
        name: "hibernation",
        about: "Hibernation was not available when the kernel booted; it excludes TDX.",
        needs: &[],
        make: hibernation,
    },
    Check {
        name: "kernel",
        about: "The kernel was built for TDX.",
        needs: &[],
        make: kernel,
    },
    Check {
        name: "core",
        about: "The kernel has found TDX.",
        needs: &["cpu", "keyids", "hibernation", "kernel"],
        make: core,
    },
    Check {
        name: "tdx-module",
        about: "The TDX module was loaded at boot, and is one that the kernel can use.",
        needs: &["core"],
        make: tdx_module,
    },
    Check {
        name: "driver",
        about: "The tdx-host driver is loaded.",
        needs: &["tdx-module"],
        make: driver,
    },
    Check {
        name: "state",
        about: "The TDX module is configured, and no update has taken it away.",
        needs: &["driver"],
        make: state,
    },
    Check {
        name: "kvm",
        about: "kvm_intel is loaded.",
        needs: &["cpu"],
        make: kvm,
    },
    Check {
        name: "kvm-tdx",
        about: "kvm_intel was told to use TDX, and found it.",
        needs: &["kvm", "state"],
        make: kvm_tdx,
    },
    Check {
        name: "td-vms",
        about: "KVM offers TDX VMs.",
        needs: &["kvm-tdx"],
        make: td_vms,
    },
    Check {
        name: "updates",
        about: "The TDX module can be updated at run time.",
        needs: &["driver"],
        make: updates,
    },
    Check {
        name: "td-builds",
        about: "The TDX module can protect TDs that are being built from updates.",
        needs: &["state", "updates"],
        make: td_builds,
    },
    Check {
        name: "cpus-online",
        about: "All CPUs are online, as an update needs.",
        needs: &["updates"],
        make: cpus_online,
    },
    Check {
        name: "updates-left",
        about: "P-SEAMLDR can record another update.",
        needs: &["updates"],
        make: updates_left,
    },
];

/// A check that was made, as `--json` prints it.
#[derive(Serialize)]
struct Made {
    name: &'static str,
    verdict: Verdict,
    text: String,
    advice: Option<String>,
}

#[derive(Serialize)]
struct All {
    ok: bool,
    checks: Vec<Made>,
}

/// The command.
pub fn run(host: &Host, json: bool) -> Result<Exit, Failure> {
    let evidence = Evidence {
        host,
        cpus: host.cpus(),
        log: host.log(""),
        driver: Facts::read(host),
    };
    let checks = make_all(&evidence);
    let failed = checks
        .iter()
        .filter(|made| made.verdict == Verdict::Fail)
        .count();
    let skipped = checks.iter().any(|made| made.verdict == Verdict::Skip);
    let all = All {
        ok: failed == 0,
        checks,
    };

    if json {
        output::print_json(&all)?;
    } else {
        let rows: Vec<_> = all
            .checks
            .iter()
            .map(|made| Row {
                verdict: Some(made.verdict),
                advice: made.advice.clone(),
                ..Row::new(made.name, &*made.text)
            })
            .collect();
        let conclusion = match failed {
            0 if skipped => output::conclusion(
                Verdict::Note,
                "nothing known is wrong with TDX on this host, but not all was checked",
            ),
            0 => output::conclusion(Verdict::Pass, "nothing is wrong with TDX on this host"),
            1 => output::conclusion(Verdict::Fail, "1 check has failed"),
            n => output::conclusion(Verdict::Fail, &format!("{n} checks have failed")),
        };
        output::print(&(output::table(&rows) + &conclusion))?;
    }
    Ok(if all.ok { Exit::Ok } else { Exit::Failed })
}

fn make_all(evidence: &Evidence<'_>) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    let mut unmet: Vec<&str> = Vec::new();
    for check in CHECKS {
        let missing = check.needs.iter().find(|need| unmet.contains(*need));
        let outcome = match missing {
            Some(need) => Outcome::skip(format!("needs what \"{need}\" looks for")),
            None => (check.make)(evidence),
        };
        if missing.is_some() || matches!(outcome, Fail(..)) {
            unmet.push(check.name);
        }
        let (verdict, text, advice) = match outcome {
            Pass(text) => (Verdict::Pass, text, None),
            Fail(text, advice) => (Verdict::Fail, text, Some(advice)),
            Skip(text) => (Verdict::Skip, text, None),
        };
        made.push(Made {
            name: check.name,
            verdict,
            text,
            advice,
        });
    }
    made
}

fn cpu(evidence: &Evidence<'_>) -> Outcome {
    let cpus = match &evidence.cpus {
        Ok(cpus) => cpus,
        Err(unknown) => return Outcome::skip(unknown),
    };
    if cpus.vendor != "GenuineIntel" {
        return Outcome::fail(
            format!("a CPU of {}, TDX is Intel's", cpus.vendor),
            "TDX needs an Intel Xeon of the 4th generation (with TDX) or later",
        );
    }
    if !cpus.has("vmx") {
        return Outcome::fail(
            "no VMX",
            "switch virtualization (VT-x) on in the BIOS setup",
        );
    }
    let missing: Vec<_> = ["xsave", "movdir64b", "ss"]
        .into_iter()
        .filter(|flag| !cpus.has(flag))
        .collect();
    if !missing.is_empty() {
        return Outcome::fail(
            format!("the CPU lacks {}", missing.join(", ")),
            "TDX needs an Intel Xeon of the 4th generation (with TDX) or later, and a kernel that \
             was not told to do without these features (clearcpuid=, noxsave)",
        );
    }
    let signature = cpus.signatures.first().copied().unwrap_or_default();
    Outcome::pass(format!("{}, CPUID.1:EAX {signature:#x}", cpus.model_name))
}

fn keyids(evidence: &Evidence<'_>) -> Outcome {
    let advice = "in the BIOS setup, switch on memory encryption (TME, TME-MT) and TDX, and give \
                  TDX at least 2 of the KeyIDs, often called \"TME-MT/TDX key split\"";
    match evidence.host.msr(KEYID_PARTITIONING) {
        Ok(None) => Outcome::fail("the CPU has no KeyIDs for TDX", advice),
        Ok(Some(value)) => match value >> 32 {
            0 => Outcome::fail("the BIOS has set no KeyIDs apart for TDX", advice),
            1 => Outcome::fail(
                "1 KeyID is for TDX, which the TDX module takes for itself",
                advice,
            ),
            count => Outcome::pass(format!("{count} KeyIDs are for TDX")),
        },
        // The kernel has looked, too.
        Err(unknown) => match evidence.said("private KeyID range") {
            Some(line) if evidence.kernel_has_tdx() => {
                Outcome::pass(line.trim_start_matches("virt/tdx: "))
            }
            _ if evidence.kernel_has_tdx() => Outcome::pass("at least 2, as the kernel has TDX"),
            _ if evidence.said("too few private KeyIDs").is_some() => Outcome::fail(
                "1 KeyID is for TDX, which the TDX module takes for itself",
                advice,
            ),
            _ => Outcome::skip(format!("{unknown}: as root, \"modprobe msr\"")),
        },
    }
}

fn hibernation(evidence: &Evidence<'_>) -> Outcome {
    if evidence.kernel_has_tdx() {
        return Outcome::pass("was not available when the kernel looked for TDX");
    }
    let advice = "boot with \"nohibernate\" on the kernel's command line, as TDX does not survive \
                  hibernation";
    if evidence.said("Hibernation support is enabled").is_some() {
        return Outcome::fail("is available, so the kernel keeps TDX off", advice);
    }
    let states = evidence.host.read("/sys/power/state").unwrap_or_default();
    if states.split_whitespace().any(|state| state == "disk") {
        return Outcome::fail("is available, and then the kernel keeps TDX off", advice);
    }
    Outcome::pass("is not available")
}

fn kernel(evidence: &Evidence<'_>) -> Outcome {
    match evidence.host.config("CONFIG_INTEL_TDX_HOST") {
        Ok(value) if value == "y" => Outcome::pass("has CONFIG_INTEL_TDX_HOST"),
        _ if evidence.kernel_has_tdx() => Outcome::pass("is made for TDX"),
        Ok(_) => Outcome::fail(
            "was built without CONFIG_INTEL_TDX_HOST",
            "boot a kernel that has it",
        ),
        Err(unknown) => Outcome::skip(unknown),
    }
}

fn core(evidence: &Evidence<'_>) -> Outcome {
    if evidence.kernel_has_tdx() {
        return Outcome::pass("the kernel has found TDX (\"tdx_host_platform\" in /proc/cpuinfo)");
    }
    match evidence.said("failed") {
        Some(line) => Outcome::fail(
            format!("the kernel says \"{line}\""),
            "see to that, and reboot",
        ),
        None => Outcome::fail(
            "the kernel has not found TDX (no \"tdx_host_platform\" in /proc/cpuinfo)",
            "see what \"dmesg | grep virt/tdx\" says, and whether TDX is on in the BIOS setup",
        ),
    }
}

fn tdx_module(evidence: &Evidence<'_>) -> Outcome {
    if let Ok(Facts {
        module_version: Ok(version),
        ..
    }) = &evidence.driver
    {
        return Outcome::pass(format!("{version} runs"));
    }
    if evidence.driver.is_ok() {
        return Outcome::pass("was loaded at boot");
    }
    let advice =
        "have the BIOS load the TDX module at boot, often called \"TDX Secure Arbitration \
                  Mode Loader (SEAM Loader)\" in its setup, or put a newer one where it finds it, \
                  and reboot";
    for trouble in [
        "module not loaded",
        "is required for TDX",
        "clobber bug",
        "TDX-Module initialization failed",
    ] {
        if let Some(line) = evidence.said(trouble) {
            return Outcome::fail(format!("the kernel says \"{line}\""), advice);
        }
    }
    match evidence
        .said("TDX-Module initialized")
        .or(evidence.said("TDX-Module waits"))
    {
        Some(_) => Outcome::pass("was loaded at boot"),
        None => match (&evidence.log, evidence.said("SEAMCALL (")) {
            (Err(unknown), _) => Outcome::skip(unknown),
            // The core has a line for each call that fails.
            (Ok(_), Some(line)) => Outcome::fail(format!("the kernel says \"{line}\""), advice),
            (Ok(_), None) => {
                Outcome::skip("the kernel log does not say any more, and no driver is loaded")
            }
        },
    }
}

fn driver(evidence: &Evidence<'_>) -> Outcome {
    match &evidence.driver {
        Ok(facts) => Outcome::pass(match facts.interface {
            Interface::Ioctl | Interface::Sysfs => "tdx-host is loaded",
            Interface::Mainline => "tdx-host of Linux 7.3, in C, is loaded",
        }),
        Err(_) if evidence.said("TDX-Module initialized").is_some() => Outcome::skip(
            "not loaded; the kernel has configured the TDX module itself, but updates need it: \
             \"modprobe tdx-host\"",
        ),
        Err(unknown) => match evidence.driver_failed() {
            Some((line, needs_reboot)) => Outcome::fail(
                format!("{unknown}; it said \"{line}\""),
                match needs_reboot {
                    true => "see to that, and reboot",
                    false => "see to that, and \"modprobe tdx-host\", before kvm_intel",
                },
            ),
            None => Outcome::fail(
                unknown.to_string(),
                "load it with \"modprobe tdx-host\", before kvm_intel; if it does not stay, the \
                 kernel log says why. \"modinfo -n tdx-host\" should name the file in updates/",
            ),
        },
    }
}

fn state(evidence: &Evidence<'_>) -> Outcome {
    let Ok(facts) = &evidence.driver else {
        return Outcome::pass("the TDX module is configured");
    };
    match &facts.state {
        Ok(state @ (State::Ready | State::Updating)) => Outcome::pass(state.meaning()),
        Ok(state @ State::Interrupted) => Outcome::fail(
            state.meaning(),
            "\"tdxctl update IMAGE\" with a good image, for example the previous one; do not reboot \
             before",
        ),
        Ok(state @ State::Lost) => Outcome::fail(state.meaning(), "reboot"),
        Ok(state @ State::Unconfigured) => Outcome::fail(
            state.meaning(),
            "wait; \"dmesg | grep tdx_host:\" says how far it is. Load kvm_intel after it",
        ),
        Ok(state @ State::Absent) => {
            Outcome::fail(state.meaning(), "see what the kernel log says, and reboot")
        }
        Err(unknown) => Outcome::skip(unknown),
    }
}

fn kvm(evidence: &Evidence<'_>) -> Outcome {
    if evidence.host.exists("/sys/module/kvm_intel") {
        Outcome::pass("kvm_intel is loaded")
    } else {
        Outcome::fail(
            "kvm_intel is not loaded",
            "\"modprobe kvm_intel tdx=1\", after the tdx-host driver",
        )
    }
}

fn kvm_tdx(evidence: &Evidence<'_>) -> Outcome {
    match evidence.host.read("/sys/module/kvm_intel/parameters/tdx") {
        Ok(value) if value == "Y" => Outcome::pass("kvm_intel has TDX on"),
        Ok(_) => Outcome::fail(
            "kvm_intel has TDX off",
            "it looks for TDX once, when it is loaded, and only if told to: after the driver, \
             \"modprobe -r kvm_intel\" and \"modprobe kvm_intel tdx=1\"; for good, put \"options \
             kvm_intel tdx=1\" into /etc/modprobe.d",
        ),
        Err(_) => Outcome::fail(
            "kvm_intel was built without TDX",
            "boot a kernel with CONFIG_KVM_INTEL_TDX",
        ),
    }
}

fn td_vms(evidence: &Evidence<'_>) -> Outcome {
    /// KVM_X86_TDX_VM of asm/kvm.h.
    const TDX_VM: u32 = 5;

    match kvm_vm_types(evidence.host) {
        Ok(types) if types & (1 << TDX_VM) != 0 => Outcome::pass("KVM offers TDX VMs"),
        Ok(types) => Outcome::fail(
            format!("KVM offers no TDX VMs (its VM types are {types:#x})"),
            "\"modprobe -r kvm_intel\" and \"modprobe kvm_intel tdx=1\", and see what the kernel \
             log says",
        ),
        Err(error) => Outcome::skip(format!("/dev/kvm: {}", crate::words(&error))),
    }
}

fn updates(evidence: &Evidence<'_>) -> Outcome {
    let Ok(facts) = &evidence.driver else {
        return Outcome::skip("no driver is loaded");
    };
    if evidence
        .cpus
        .as_ref()
        .is_ok_and(|cpus| cpus.has_bug(SEAMLDR_BUG))
    {
        return Outcome::skip(
            "not possible at run time on this CPU, as calls to P-SEAMLDR lose the current VMCS; \
             TDX works without",
        );
    }
    if let Ok(State::Lost) = facts.state {
        return Outcome::skip("not before the next reboot, as TDX is lost");
    }
    if facts.can_update {
        return match &facts.seamldr_version {
            Ok(version) => {
                Outcome::pass(format!("are possible at run time, by P-SEAMLDR {version}"))
            }
            Err(unknown) if unknown.is_for_root() => Outcome::pass("are possible at run time"),
            Err(unknown) => Outcome::skip(format!("may not be possible at run time: {unknown}")),
        };
    }
    let obstacle = facts.update_obstacle.as_deref();
    let obstacle = obstacle.unwrap_or("the TDX module cannot hand its TDs over to another one");
    Outcome::fail(
        format!("not at run time: {obstacle}"),
        "TDX works without; to update the TDX module, have the BIOS load another one and reboot",
    )
}

fn td_builds(evidence: &Evidence<'_>) -> Outcome {
    let Ok(facts) = &evidence.driver else {
        return Outcome::skip("no driver is loaded");
    };
    if facts.interface == Interface::Mainline {
        return Outcome::skip(
            "the C driver never protects TDs that are being built: make sure that there are none \
             when you update",
        );
    }
    match &facts.features_offered {
        Ok(features) if features.contains(Features::UPDATE_COMPAT) => {
            Outcome::pass("an update is refused while TDs are being built")
        }
        Ok(_) => Outcome::skip(
            "the TDX module does not say that it protects TDs that are being built in an update; \
             if it does not, it refuses every update, and runs on",
        ),
        Err(unknown) => Outcome::skip(unknown),
    }
}

fn cpus_online(evidence: &Evidence<'_>) -> Outcome {
    let host = evidence.host;
    match (host.count_cpus("online"), host.count_cpus("present")) {
        (Ok(online), Ok(present)) if online == present => {
            Outcome::pass(format!("all {present} CPUs are online, as an update needs"))
        }
        (Ok(online), Ok(present)) => Outcome::fail(
            format!("only {online} of {present} CPUs are online, an update needs all"),
            "echo 1 > /sys/devices/system/cpu/cpuN/online, for each that is not; with \"nosmt\" or \
             \"maxcpus=\" on the kernel's command line, reboot without",
        ),
        (Err(unknown), _) | (_, Err(unknown)) => Outcome::skip(unknown),
    }
}

fn updates_left(evidence: &Evidence<'_>) -> Outcome {
    let Ok(facts) = &evidence.driver else {
        return Outcome::skip("no driver is loaded");
    };
    match &facts.updates_left {
        Ok(0) => Outcome::fail(
            "P-SEAMLDR can record no more updates",
            "reboot, before the next update",
        ),
        Ok(1) => Outcome::pass("1 more until the next reboot"),
        Ok(count) => Outcome::pass(format!("{count} more until the next reboot")),
        Err(unknown) => Outcome::skip(unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_need_only_what_comes_before() {
        let mut names = Vec::new();
        for check in CHECKS {
            for need in check.needs {
                assert!(names.contains(need), "{} needs {need}", check.name);
            }
            assert!(
                !names.contains(&check.name),
                "{} is there twice",
                check.name
            );
            names.push(check.name);
        }
    }
}
