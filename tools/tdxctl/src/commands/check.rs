// SPDX-License-Identifier: GPL-2.0

//! `tdxctl check`: may this image replace the running TDX module now? Changes nothing.

use std::path::Path;

use serde::Serialize;

use crate::cli::Exit;
use crate::device::{text, Device, DEVICE};
use crate::facts::{Facts, Interface, State};
use crate::host::{Host, Unknown};
use crate::image::Image;
use crate::output::{self, Row, Verdict};
use crate::preflight_here::{self, words_for_pass, Checked};
use crate::{evidence, uapi, Failure};

/// All checks of an image, and who made them.
#[derive(Serialize)]
pub struct Checks {
    image: String,
    /// "driver", or "tdxctl" where the driver cannot be asked.
    checked_by: &'static str,
    /// No check that was made has failed.
    possible: bool,
    /// All is known.
    complete: bool,
    /// The running TDX module may refuse to be replaced, whatever the image.
    may_be_refused: bool,
    checks: Vec<Checked>,
    #[serde(skip)]
    incomplete_because: Option<String>,
    /// No TDX module runs, and the image would be the next one.
    #[serde(skip)]
    interrupted: bool,
}

/// The command.
pub fn run(host: &Host, path: &Path, json: bool) -> Result<Exit, Failure> {
    let bytes = evidence::read(path)?;
    let image = evidence::parse(path, &bytes)?;
    let facts = Facts::read(host);
    let checks = Checks::make(host, facts.as_ref(), path, &bytes, &image)?;

    if json {
        output::print_json(&checks)?;
    } else {
        output::print(&(output::table(&checks.rows(false)) + &checks.conclusion()))?;
    }
    Ok(checks.exit())
}

impl Checks {
    /// Has the driver check the image, or checks what can be checked without it.
    pub fn make(
        host: &Host,
        facts: Result<&Facts, &Unknown>,
        path: &Path,
        bytes: &[u8],
        image: &Image<'_>,
    ) -> Result<Self, Failure> {
        let interface = facts.ok().map(|facts| facts.interface);
        let by_driver = if interface == Some(Interface::Ioctl) {
            by_driver(host, bytes)?
        } else {
            None
        };
        let incomplete_because = match (&by_driver, interface) {
            (Some(_), _) => None,
            (None, Some(Interface::Mainline)) => Some(
                "the C driver checks nothing beforehand; these checks were made without it"
                    .to_owned(),
            ),
            (None, Some(_)) => Some(match Device::open(host) {
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => format!(
                    "only root may open {DEVICE}; these checks were made without the driver"
                ),
                _ => format!("{DEVICE} cannot be asked; these checks were made without the driver"),
            }),
            (None, None) => {
                Some("no driver is loaded; these checks were made without one".to_owned())
            }
        };
        let checked_by = if by_driver.is_some() {
            "driver"
        } else {
            "tdxctl"
        };
        let mut checks = by_driver.unwrap_or_else(|| preflight_here::run(host, facts, image));
        let td_builds = facts.ok().and_then(preflight_here::td_builds);
        let may_be_refused = td_builds.is_some() && interface != Some(Interface::Mainline);
        checks.extend(td_builds);

        Ok(Self {
            image: path.display().to_string(),
            checked_by,
            possible: checks.iter().all(|check| check.verdict != Verdict::Fail),
            complete: checks.iter().all(|check| check.verdict != Verdict::Skip),
            may_be_refused,
            checks,
            incomplete_because,
            interrupted: facts.is_ok_and(|facts| facts.state == Ok(State::Interrupted)),
        })
    }

    /// The exit status that this means: busy only if nothing else is wrong.
    pub fn exit(&self) -> Exit {
        let mut failed = self
            .checks
            .iter()
            .filter(|check| check.verdict == Verdict::Fail);
        if self.possible {
            Exit::Ok
        } else if failed.all(|check| check.errno == -libc::EBUSY) {
            Exit::Busy
        } else {
            Exit::Failed
        }
    }

    /// All checks as rows, or only those that an operator should see before an update.
    pub fn rows(&self, only_news: bool) -> Vec<Row> {
        self.checks
            .iter()
            .filter(|check| !only_news || check.verdict != Verdict::Pass)
            .map(|check| Row {
                verdict: Some(check.verdict),
                ..Row::new(&check.name, &*check.text)
            })
            .collect()
    }

    /// Why an update would fail in this state, or nothing.
    pub fn obstacle(&self, state: Option<&State>) -> Option<Failure> {
        let failed = self
            .checks
            .iter()
            .filter(|check| check.verdict == Verdict::Fail);
        let failed: Vec<_> = failed
            .map(|check| format!("{}: {}", check.name, check.text))
            .collect();
        (!self.possible).then(|| {
            let (exit, what) = match state {
                Some(State::Interrupted) => (
                    Exit::Interrupted,
                    "the update is still interrupted, and this image cannot finish it now",
                ),
                _ => (
                    self.exit(),
                    "the image cannot replace the running TDX module now",
                ),
            };
            Failure::new(exit, format!("{what}: {}", failed.join("; ")))
        })
    }

    /// Whether this check fails and no other one does.
    pub fn only_fails(&self, name: &str) -> bool {
        let mut failed = self
            .checks
            .iter()
            .filter(|check| check.verdict == Verdict::Fail);
        failed.next().is_some_and(|check| check.name == name) && failed.next().is_none()
    }

    fn conclusion(&self) -> String {
        let (verdict, text) = match (self.possible, self.complete, self.may_be_refused) {
            (false, ..) if self.interrupted => (
                Verdict::Fail,
                "the image cannot finish the interrupted update now",
            ),
            (false, ..) => (
                Verdict::Fail,
                "the image cannot replace the running TDX module now",
            ),
            (true, _, true) => (
                Verdict::Note,
                "nothing is against the image, but the running TDX module may refuse to be replaced",
            ),
            (true, false, _) => (
                Verdict::Note,
                "nothing known is against the image, but not all is known",
            ),
            (true, true, _) if self.interrupted => (
                Verdict::Pass,
                "the image can finish the interrupted update now",
            ),
            (true, true, _) => (
                Verdict::Pass,
                "the image can replace the running TDX module now",
            ),
        };
        let because = self
            .incomplete_because
            .as_ref()
            .map(|text| format!(" ({text})"));
        output::conclusion(verdict, &format!("{text}{}", because.unwrap_or_default()))
    }
}

/// Has the driver check an image; `None` where it cannot be asked.
fn by_driver(host: &Host, bytes: &[u8]) -> Result<Option<Vec<Checked>>, Failure> {
    let failure = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("{DEVICE}: {}", crate::words(&error)))
    };
    let Some(device) = Device::open(host).map_err(failure)? else {
        return Ok(None);
    };
    let results = match device.check(bytes) {
        Ok((_, results)) => results,
        // There are no updates on this host, which is one of the checks made here.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
        Err(error) => return Err(failure(error)),
    };
    Ok(Some(
        results
            .iter()
            .map(|result| {
                let name = text(&result.name);
                let said = text(&result.text);
                Checked {
                    verdict: match result.verdict {
                        uapi::VERDICT_PASS => Verdict::Pass,
                        uapi::VERDICT_FAIL => Verdict::Fail,
                        uapi::VERDICT_NOTE => Verdict::Note,
                        uapi::VERDICT_SKIP => Verdict::Skip,
                        // A later kernel's: it is nothing to rely on.
                        _ => Verdict::Skip,
                    },
                    text: match said.is_empty() {
                        true => words_for_pass(&name),
                        false => said,
                    },
                    errno: result.error,
                    name,
                }
            })
            .collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conclusions() {
        let conclusion = |possible, may_be_refused, interrupted| {
            let checks = Checks {
                image: String::new(),
                checked_by: "driver",
                possible,
                complete: true,
                may_be_refused,
                checks: Vec::new(),
                incomplete_because: None,
                interrupted,
            };
            anstream::adapter::strip_str(&checks.conclusion()).to_string()
        };
        for (possible, may_be_refused, interrupted, words) in [
            (true, false, false, "can replace the running"),
            (false, false, false, "cannot replace the running"),
            (true, true, false, "may refuse to be replaced"),
            (true, false, true, "can finish the interrupted"),
            (false, false, true, "cannot finish the interrupted"),
        ] {
            let said = conclusion(possible, may_be_refused, interrupted);
            assert!(said.contains(words), "{said}");
        }
    }
}
