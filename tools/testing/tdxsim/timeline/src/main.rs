// SPDX-License-Identifier: GPL-2.0

//! `tdxsim-timeline`: draws a trace of the simulated TDX host as a timeline.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tdxsim_timeline::trace::Trace;
use tdxsim_timeline::{picture, words};

/// Draws a trace of the simulated TDX host as a timeline, an SVG picture.
///
/// There is a lane for each CPU and a bar for each SEAMCALL. The time in which all CPUs are
/// stopped for an update is shaded. Marks that the guest has set ("tdxsimctl mark NAME") cut out a
/// part.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Leave out what was before this mark.
    #[arg(long, value_name = "MARK")]
    from: Option<String>,
    /// Leave out what was after this mark.
    #[arg(long, value_name = "MARK")]
    to: Option<String>,
    /// The picture's title.
    #[arg(long, default_value = "SEAMCALLs of a TDX host")]
    title: String,
    /// Say in words what the picture shows, instead of drawing it.
    #[arg(long)]
    words: bool,
    /// The file to write [default: standard output].
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// The simulator's trace; "-" is standard input.
    trace: PathBuf,
}

/// The file's text, or what is wrong with the file.
fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    }
    .map_err(|error| error.to_string())?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => Err(format!(
            "not a trace: byte {} is not UTF-8",
            error.utf8_error().valid_up_to()
        )),
    }
}

fn run(cli: &Cli) -> Result<(), String> {
    let of_trace = |message: String| format!("{}: {message}", cli.trace.display());
    let text = read(&cli.trace).map_err(of_trace)?;
    let trace = Trace::parse(&text)
        .and_then(|trace| trace.between(cli.from.as_deref(), cli.to.as_deref()))
        .map_err(of_trace)?;
    let result = if cli.words {
        words::describe(&trace)
    } else {
        picture::draw(&trace, &cli.title)
    };
    match &cli.output {
        Some(path) => {
            fs::write(path, result).map_err(|error| format!("{}: {error}", path.display()))
        }
        None => io::stdout()
            .write_all(result.as_bytes())
            .map_err(|error| format!("standard output: {error}")),
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("tdxsim-timeline: {message}");
            ExitCode::FAILURE
        }
    }
}
