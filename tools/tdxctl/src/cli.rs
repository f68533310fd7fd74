// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// How it ended, as the exit status.
///
/// The man page has these in its section EXIT STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for was done, or holds.
    Ok = 0,
    /// It failed, or does not hold. A TDX module that ran runs on.
    Failed = 1,
    /// Wrong usage; clap exits with this, too.
    Usage = 2,
    /// TDX is lost until the next reboot.
    Lost = 3,
    /// An update was interrupted. A good image saves the TDs that nobody has run or changed.
    Interrupted = 4,
    /// Not now: try again (EX_TEMPFAIL of sysexits.h).
    Busy = 75,
    /// Ctrl-C ended the wait, before anything was changed.
    Canceled = 130,
}

impl Exit {
    /// All of them with what the man page says.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::Ok, "What was asked for was done, or holds."),
        (
            Self::Failed,
            "It failed, or does not hold. Nothing has changed: a TDX module that ran runs on.",
        ),
        (Self::Usage, "Wrong usage. Nothing has changed."),
        (
            Self::Lost,
            "TDX is lost, and with it every TD. Nothing helps but a reboot.",
        ),
        (
            Self::Interrupted,
            "An update was interrupted: the old TDX module is shut down and no other one runs. TDs \
             whose vCPUs do not run are intact; do not resume, change or destroy them. Update \
             again with a good image, for example the previous one, and do not reboot before that.",
        ),
        (
            Self::Busy,
            "Not now, and nothing has changed. TDs are being built or another update runs: try \
             again later, or with --wait. Or a present CPU is offline, for which --wait does not \
             wait: bring it online, or reboot without nosmt or maxcpus=.",
        ),
        (
            Self::Canceled,
            "Ctrl-C ended the wait for TDs that are being built. Nothing has changed.",
        ),
    ];
}

/// Look at a TDX host, and update its TDX module
#[derive(Parser)]
#[command(name = "tdxctl", version, max_term_width = 100)]
pub struct Cli {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Take this folder for the root of the file system
    #[arg(long, global = true, hide = true, default_value = "/")]
    pub root: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// A command and its arguments.
#[derive(Subcommand)]
pub enum Command {
    /// Check everything that a working TDX host needs, and say what to do about the rest
    ///
    /// Each check passes, fails, or is skipped with a reason. Some of it only root can see. Fails
    /// with 1 when a check does. Changes nothing.
    Ok,
    /// Show which TDX module runs, and what it can do
    ///
    /// Some of it only root can see. What is not known is said, and why. Changes nothing.
    Status,
    /// Check whether an image may replace the running TDX module now; changes nothing
    ///
    /// The driver makes all the checks that it would make before an update, for root. Where it
    /// cannot be asked, those that need no driver are made, and the rest is said to be skipped. TDs
    /// that are being built are not looked at. Fails with 1 when a check does, or with 75 when
    /// nothing is wrong but what can change, as an offline CPU.
    Check(ImageArgument),
    /// Replace the running TDX module; TDs go on running
    ///
    /// The image is checked first, as "check" does it. Then all CPUs stop for some milliseconds,
    /// and go on with the new TDX module. A TDX module refuses to be replaced while TDs are being
    /// built: --wait tries again until they are done, after 10 ms, 20 ms and so on up to a second.
    /// An update that was refused has changed nothing.
    ///
    /// The C driver of Linux 7.3 checks next to nothing, and an image that does not suit costs every
    /// TD. With it, tdxctl makes what checks it can make.
    Update(Update),
    /// Show what is in an image; needs no TDX
    ///
    /// Fails with 1 when the image's hash or signature is wrong. Changes nothing.
    Show(ImageArgument),
    /// Write the man page or shell completions to standard output
    #[command(hide = true)]
    Generate(Generate),
}

/// The image that a command is about.
#[derive(Args)]
pub struct ImageArgument {
    /// The file with the TDX module, as Intel publishes it
    pub image: PathBuf,
}

/// Arguments of `update`.
#[derive(Args)]
pub struct Update {
    /// The file with the TDX module, as Intel publishes it
    pub image: PathBuf,
    /// Try again for this long while TDs are being built: 500ms, 60s, 5m, or seconds
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration)]
    #[arg(allow_hyphen_values = true)]
    pub wait: Duration,
    /// Do not ask; needed where there is no terminal to ask on
    ///
    /// Checks that have not passed and do not hinder are shown on standard error all the same.
    #[arg(long, short)]
    pub yes: bool,
}

/// What to generate.
#[derive(Args)]
pub struct Generate {
    /// What to write
    #[command(subcommand)]
    pub what: Generated,
}

/// A generated file.
#[derive(Subcommand)]
pub enum Generated {
    /// The man page, tdxctl(8)
    Man,
    /// The JSON schema of what --json prints
    Schema,
    /// Completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Reads a time: a whole number of milliseconds ("ms"), seconds ("s" or nothing), minutes ("m") or
/// hours ("h").
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err("not a whole number with a unit, as 500ms, 60s or 5m".to_owned());
    }
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" | "" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(format!("\"{unit}\" is no unit of time: ms, s, m or h")),
    };
    // What is wrong with digits alone is that there are too many.
    digits
        .parse::<u32>()
        .map(|number| unit * number)
        .map_err(|_| format!("too long, the number can be up to {}", u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// The table in Documentation/ has the same exit statuses.
    #[test]
    fn exit_statuses_are_documented() {
        let page = include_str!("../../../Documentation/admin-guide/tdxctl.rst");
        let table = page.split("Exit status\n").nth(1).unwrap();
        let table = table.split("\nJSON\n").next().unwrap();
        let numbers = table
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok());
        let exits = Exit::ALL.iter().map(|(exit, _)| *exit as u8);
        assert_eq!(numbers.collect::<Vec<u8>>(), exits.collect::<Vec<u8>>());
    }

    #[test]
    fn times() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("60"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for text in ["", "s", "1.5s", "-1", "1 s", "1d", "99999999999", "60é"] {
            assert!(duration(text).is_err(), "{text}");
        }
        let error = |text: &str| duration(text).unwrap_err();
        assert!(error("99999999999999999999").starts_with("too long"));
        assert!(error("-1").starts_with("not a whole number"));
        assert!(error("5d").contains("no unit of time"));
    }

    #[test]
    fn a_negative_time_is_no_option() {
        let wait = ["-1", "--yes"].map(|time| {
            let arguments = ["tdxctl", "update", "--wait", time, "image"];
            Cli::try_parse_from(arguments).err().unwrap().to_string()
        });
        for error in wait {
            assert!(error.contains("not a whole number"), "{error}");
        }
    }
}
