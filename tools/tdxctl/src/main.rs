// SPDX-License-Identifier: GPL-2.0

//! `tdxctl`: looks at a TDX host, and updates its TDX module.

mod cli;
mod commands;
mod device;
mod evidence;
mod facts;
mod firmware;
mod generate;
mod host;
mod output;
mod preflight_here;
mod uapi;

// The driver's own files: there is one reading of an image, one list of checks and one list of
// names. They use `core` alone. Not all that the driver needs of them is needed here.
#[allow(dead_code)]
#[path = "../../../features.rs"]
mod features;
#[allow(dead_code)]
#[path = "../../../image.rs"]
mod image;
#[allow(dead_code)]
#[path = "../../../preflight.rs"]
mod preflight;
#[allow(dead_code)]
#[path = "../../../sigstruct.rs"]
mod sigstruct;
#[allow(dead_code)]
#[path = "../../../status.rs"]
mod status;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use cli::{Cli, Command, Exit};
use host::Host;

/// Why a command did not do what it should, and the exit status for that.
struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        if error.chain().any(|cause| {
            let error = cause.downcast_ref::<io::Error>();
            error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        }) {
            return io::Error::from(io::ErrorKind::BrokenPipe).into();
        }
        let causes: Vec<_> = error
            .chain()
            .map(|cause| match cause.downcast_ref::<io::Error>() {
                Some(error) => words(error),
                None => cause.to_string(),
            })
            .collect();
        Self::new(Exit::Failed, causes.join(": "))
    }
}

impl From<host::Unknown> for Failure {
    fn from(unknown: host::Unknown) -> Self {
        Self::new(Exit::Failed, unknown.0)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Whoever reads the output has enough of it.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Failed, "");
        }
        Self::new(Exit::Failed, words(&error))
    }
}

/// An error without the number that Rust puts behind it.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

fn run(cli: &Cli) -> Result<Exit, Failure> {
    let host = Host::new(&cli.root);
    match &cli.command {
        Command::Ok => commands::ok::run(&host, cli.json),
        Command::Status => commands::status::run(&host, cli.json),
        Command::Check(image) => commands::check::run(&host, &image.image, cli.json),
        Command::Update(update) => commands::update::run(&host, update, cli.json),
        Command::Show(image) => commands::show::run(&image.image, cli.json),
        Command::Generate(generate) => Ok(generate::run(&generate.what)?),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = run(&cli).unwrap_or_else(|failure| {
        if !failure.message.is_empty() {
            output::complain(&format!("tdxctl: {}\n", failure.message));
            if cli.json {
                let _ = output::print_json(&json!({
                    "error": { "message": failure.message, "exit_status": failure.exit as u8 }
                }));
            }
        }
        failure.exit
    });
    ExitCode::from(exit as u8)
}
