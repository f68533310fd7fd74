// SPDX-License-Identifier: GPL-2.0

//! `jsonshape SCHEMA NAME`: checks that standard input is what the definition NAME in the file
//! SCHEMA describes, and says in which places it is not.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{bail, Context, Result};
use jsonshape::Schema;

fn run() -> Result<Vec<String>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [file, name] = arguments.as_slice() else {
        bail!("usage: jsonshape SCHEMA NAME <JSON");
    };
    let text = std::fs::read_to_string(file).with_context(|| file.clone())?;
    let schema: Schema = text.parse().with_context(|| file.clone())?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let value = serde_json::from_str(&text).with_context(|| format!("no JSON: \"{text}\""))?;
    schema.check(name, &value)
}

fn main() -> ExitCode {
    match run() {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            for problem in problems {
                eprintln!("jsonshape: {problem}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("jsonshape: {error:#}");
            ExitCode::from(2)
        }
    }
}
