// SPDX-License-Identifier: GPL-2.0

//! The driver's checks of an image, made by this program: for where there is no ioctl to ask.
//!
//! What is not known of the host is not checked, and said.

use serde::Serialize;

use crate::evidence;
use crate::facts::{Facts, Interface, State};
use crate::features::Features;
use crate::host::{Host, Known, Unknown};
use crate::image::Image;
use crate::output::Verdict;
use crate::preflight::{self, Check, Evidence, Preflight, INTEL};

/// What came out of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The check's name, as the kernel log has it.
    pub name: String,
    /// What came out.
    pub verdict: Verdict,
    /// The same in words.
    pub text: String,
    /// The negative error code that an update would fail with, or 0.
    pub errno: i32,
}

impl Checked {
    fn new(name: &str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            verdict,
            text: text.into(),
            errno: if verdict == Verdict::Fail {
                -libc::EINVAL
            } else {
                0
            },
        }
    }
}

/// The checks of an image, and what to say of one that has passed, which the driver has no words
/// for.
pub const IMAGE_CHECKS: &[(&str, &str)] = &[
    ("image", "The file is a TDX module image."),
    ("host", "The TDX module can be replaced on this host."),
    (
        "sigstruct",
        "The sigstruct's fields obey P-SEAMLDR's rules.",
    ),
    ("production", "The module is signed for production."),
    ("signer", "The signer is trusted."),
    ("signature", "The signature is the signer's."),
    ("hash", "The module pages are those that were signed."),
    ("cpu", "The module runs on the CPUs of every package."),
    ("svn", "The security version may follow the running one."),
    (
        "handoff",
        "The module takes over what the running one hands off.",
    ),
    ("same", "It is another module than runs."),
    ("cpus-online", "Every present CPU is online."),
    ("no-other-update", "No other update runs."),
    ("seamldr", "P-SEAMLDR is ready."),
    ("updates-left", "P-SEAMLDR can record another update."),
];

/// What to say of a check that has passed.
pub fn words_for_pass(name: &str) -> String {
    let said = IMAGE_CHECKS.iter().find(|(known, _)| *known == name);
    let sentence = said.map_or("", |(_, sentence)| sentence.trim_end_matches('.'));
    // As what fails is worded: without a capital letter, unless it is a name.
    match sentence.strip_prefix("P-SEAMLDR") {
        Some(_) => sentence.to_owned(),
        None => {
            let mut letters = sentence.chars();
            let first = letters.next().map(|first| first.to_ascii_lowercase());
            first.into_iter().chain(letters).collect()
        }
    }
}

/// Makes those checks that can be made from here. Changes nothing.
pub fn run(host: &Host, facts: Result<&Facts, &Unknown>, image: &Image<'_>) -> Vec<Checked> {
    let mut checks = vec![
        Checked::new("image", Verdict::Pass, words_for_pass("image")),
        host_check(facts),
    ];
    let facts = facts.ok();
    let evidence = evidence::of(image);
    let cpus = host.cpus().map(|cpus| cpus.signatures);
    let seamldr = facts.and_then(|facts| facts.seamldr_version.as_ref().ok());
    let state = facts.map(|facts| &facts.state);
    let number = |value: Option<&Known<u32>>| value.and_then(|known| known.as_ref().ok().copied());
    let online = host.count_cpus("online");
    let present = host.count_cpus("present");
    let seen = preflight::Host {
        trusted_signer: facts
            .and_then(|facts| facts.trusted_signer.clone().ok())
            .flatten(),
        running_signer: None,
        cpus: cpus.as_deref().unwrap_or_default(),
        online: *online.as_ref().unwrap_or(&0),
        present: *present.as_ref().unwrap_or(&0),
        other_update: state.is_some_and(|state| *state == Ok(State::Updating)),
        seamldr_ready: None,
        strict_sigstruct: seamldr.is_some_and(|version| version.starts_with("1.")),
        updates_left: number(facts.map(|facts| &facts.updates_left)).unwrap_or(1),
        running_svn: None,
        running_hash: [0; 48],
        running_hv: None,
    };
    let preflight = Preflight {
        image,
        evidence: &evidence,
        host: &seen,
    };
    let unknown = |check| -> Option<String> {
        Some(match check {
            Check::Signer => return unknown_signer(facts, &evidence),
            Check::Cpu => return cpus.as_ref().err().map(Unknown::to_string),
            Check::Svn if preflight.check(check) != preflight::Verdict::Skip => return None,
            Check::Svn => "the running module's security version is not known here".into(),
            Check::Handoff => "the running module's handoff version is not known here".into(),
            Check::Same => "the running module's hash is not known here".into(),
            Check::CpusOnline => {
                return online
                    .as_ref()
                    .err()
                    .or(present.as_ref().err())
                    .map(Unknown::to_string)
            }
            Check::NoOtherUpdate => match state {
                None => "no driver says so".into(),
                Some(Err(unknown)) => unknown.to_string(),
                Some(Ok(_)) => return None,
            },
            Check::Seamldr => "P-SEAMLDR does not say so here".into(),
            Check::UpdatesLeft => match facts.map(|facts| &facts.updates_left) {
                None => "no driver says so".into(),
                Some(Err(unknown)) => unknown.to_string(),
                Some(Ok(_)) => return None,
            },
            Check::Sigstruct | Check::Production | Check::Signature | Check::Hash => return None,
        })
    };

    for &check in Check::ALL {
        let name = check.to_string();
        if let Some(why) = unknown(check) {
            checks.push(Checked::new(&name, Verdict::Skip, why));
            continue;
        }
        let verdict = preflight.check(check);
        let words = preflight.words(check, verdict).to_string();
        checks.push(match verdict {
            preflight::Verdict::Pass => Checked::new(&name, Verdict::Pass, words_for_pass(&name)),
            preflight::Verdict::Fail(_) => Checked {
                errno: match check {
                    Check::CpusOnline | Check::NoOtherUpdate => -libc::EBUSY,
                    Check::UpdatesLeft => -libc::ENOSPC,
                    _ => -libc::EINVAL,
                },
                ..Checked::new(&name, Verdict::Fail, words)
            },
            preflight::Verdict::Note => Checked::new(&name, Verdict::Note, words),
            preflight::Verdict::Skip => Checked::new(&name, Verdict::Skip, words),
        });
    }
    checks
}

/// What is to be said beforehand of TDs that are being built, whatever the image.
pub fn td_builds(facts: &Facts) -> Option<Checked> {
    let text = match (facts.interface, &facts.features_offered) {
        (Interface::Mainline, _) => {
            "the C driver does not look for TDs that are being built, and an update may spoil \
             their measurement: make sure that there are none"
        }
        // There is none that could refuse to be shut down.
        _ if facts.state == Ok(State::Interrupted) => return None,
        (_, Ok(features)) if !features.contains(Features::UPDATE_COMPAT) => {
            "the running TDX module does not say that it protects TDs that are being built; one \
             that does not refuses the update, and runs on"
        }
        _ => return None,
    };
    Some(Checked::new("td-builds", Verdict::Note, text))
}

/// Whether there is a TDX module that can be replaced.
fn host_check(facts: Result<&Facts, &Unknown>) -> Checked {
    let failed = |text: &str| Checked {
        errno: -libc::EIO,
        ..Checked::new("host", Verdict::Fail, text)
    };
    match facts {
        Err(unknown) => Checked::new("host", Verdict::Skip, unknown.to_string()),
        Ok(facts) => match facts.state {
            Ok(State::Ready | State::Interrupted | State::Updating) | Err(_)
                if !facts.can_update =>
            {
                failed(&facts.cannot_update())
            }
            Ok(State::Ready | State::Interrupted | State::Updating) => {
                Checked::new("host", Verdict::Pass, words_for_pass("host"))
            }
            Ok(state) => failed(state.meaning()),
            Err(ref unknown) => Checked::new("host", Verdict::Skip, unknown.to_string()),
        },
    }
}

/// Why it is not known whether the signer is trusted.
fn unknown_signer(facts: Option<&Facts>, evidence: &Evidence) -> Option<String> {
    let trusted = facts.map(|facts| &facts.trusted_signer);
    let is_trusted = matches!(trusted, Some(Ok(Some(signer))) if *signer == evidence.signer);
    // The running module's signer is trusted too, and not known here.
    (evidence.signer != INTEL && !is_trusted).then(|| {
        format!(
            "whether signer {} is trusted is not known here, it is not Intel",
            evidence.signer
        )
    })
}
