// SPDX-License-Identifier: GPL-2.0

//! The man page and the shell completions, made from the command line's definition and from the
//! JSON schema, so that neither can say something else.

use std::io::{self, Write};

use anyhow::Result;
use clap::{Arg, Command, CommandFactory};
use clap_mangen::roff::{bold, italic, roman, Inline, Roff};
use clap_mangen::Man;
use serde_json::{Map, Value};

use crate::cli::{Cli, Exit, Generated};
use crate::commands::ok;
use crate::preflight_here::IMAGE_CHECKS;

/// The shape of what --json prints.
pub const SCHEMA: &str = include_str!("../tdxctl.schema.json");

/// The command.
pub fn run(what: &Generated) -> Result<Exit> {
    let mut out = io::stdout().lock();
    match what {
        Generated::Man => man_page(&mut out)?,
        Generated::Schema => out.write_all(SCHEMA.as_bytes())?,
        Generated::Completions { shell } => {
            let mut completions = Vec::new();
            clap_complete::generate(*shell, &mut visible(), "tdxctl", &mut completions);
            out.write_all(&completions)?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// The command line without what is hidden, which completions would offer all the same.
fn visible() -> Command {
    let whole = Cli::command();
    let arguments = whole
        .get_arguments()
        .filter(|argument| !argument.is_hide_set());
    Command::new("tdxctl")
        .version(env!("CARGO_PKG_VERSION"))
        .args(arguments)
        .subcommands(commands(&whole))
}

/// Commands for the EXAMPLES section, and what they do.
const EXAMPLES: &[(&str, &str)] = &[
    (
        "tdxctl ok",
        "Say what is missing before TDs can run on this host.",
    ),
    (
        "tdxctl check tdx_module.blob && tdxctl update tdx_module.blob",
        "Update the TDX module, if it would work.",
    ),
    (
        "tdxctl update --yes --wait 10m tdx_module.blob",
        "The same without asking, and waiting for up to ten minutes for TDs that are being built.",
    ),
    (
        "tdxctl status --json | jq -r .module_version",
        "Only the version of the running TDX module.",
    ),
];

/// Files for the FILES section.
const FILES: &[(&str, &str)] = &[
    ("/dev/tdx_host", "The driver's ioctls, for root."),
    (
        "/sys/devices/faux/tdx_host/",
        "The driver's attributes. Where there is no /dev/tdx_host, as with the C driver of Linux \
         7.3, tdxctl goes by these and says what they do not tell.",
    ),
    (
        "/sys/class/firmware/tdx_module/",
        "Where an image is uploaded when there is no /dev/tdx_host.",
    ),
];

fn man_page(out: &mut dyn Write) -> Result<()> {
    let mut command = Cli::command();
    command.build();
    let man = Man::new(command.clone())
        .section("8")
        .manual("System Administration");
    man.render_title(out)?;
    man.render_name_section(out)?;

    let mut roff = Roff::new();
    section(&mut roff, "SYNOPSIS");
    for subcommand in commands(&command) {
        let mut line = vec![bold("tdxctl "), bold(subcommand.get_name())];
        line.extend(usage(subcommand));
        roff.text(line);
        roff.control("br", []);
    }
    section(&mut roff, "DESCRIPTION");
    roff.text([roman(
        "The TDX module is Intel's firmware that runs confidential VMs (TDs). tdxctl says whether \
         this host is ready for them and which TDX module runs, and replaces the TDX module by \
         another version while TDs go on.",
    )]);
    section(&mut roff, "COMMANDS");
    for subcommand in commands(&command) {
        let mut line = vec![bold(subcommand.get_name())];
        line.extend(usage(subcommand));
        roff.control("TP", []);
        roff.text(line);
        let about = subcommand.get_long_about().or(subcommand.get_about());
        paragraphs(
            &mut roff,
            &about.map(ToString::to_string).unwrap_or_default(),
        );
        for argument in arguments(subcommand) {
            roff.control("RS", []);
            roff.control("TP", []);
            roff.text(spelling(argument));
            paragraphs(&mut roff, &help(argument));
            roff.control("RE", []);
        }
    }
    section(&mut roff, "CHECKS");
    roff.text([roman(
        "\"ok\" makes these checks, each only if those that it rests on have not failed:",
    )]);
    for check in ok::CHECKS {
        definition(&mut roff, check.name, check.about);
    }
    roff.control("PP", []);
    roff.text([roman("\"check\" makes these:")]);
    for &(name, about) in IMAGE_CHECKS {
        definition(&mut roff, name, about);
    }
    section(&mut roff, "OPTIONS");
    for argument in command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
    {
        roff.control("TP", []);
        roff.text(spelling(argument));
        paragraphs(&mut roff, &help(argument));
    }
    section(&mut roff, "EXIT STATUS");
    for (exit, meaning) in Exit::ALL {
        definition(&mut roff, &(*exit as u8).to_string(), meaning);
    }
    section(&mut roff, "ENVIRONMENT");
    definition(
        &mut roff,
        "NO_COLOR",
        "When set, output is not coloured. It never is where it does not go to a terminal.",
    );
    section(&mut roff, "FILES");
    for (name, text) in FILES {
        definition(&mut roff, name, text);
    }
    section(&mut roff, "EXAMPLES");
    for (name, text) in EXAMPLES {
        definition(&mut roff, name, text);
    }
    json_section(&mut roff)?;
    section(&mut roff, "SEE ALSO");
    roff.text([roman(
        "Documentation/arch/x86/tdx-host.rst and \
         Documentation/ABI/testing/sysfs-devices-faux-tdx-host in the driver's source",
    )]);
    roff.to_writer(out)?;
    Ok(())
}

fn section(roff: &mut Roff, title: &str) {
    roff.control("SH", [title]);
}

fn definition(roff: &mut Roff, term: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    roff.text([roman(text)]);
}

/// Text whose paragraphs are apart by an empty line.
fn paragraphs(roff: &mut Roff, text: &str) {
    for (index, paragraph) in text.split("\n\n").enumerate() {
        if index > 0 {
            roff.control("IP", []);
        }
        roff.text([roman(paragraph)]);
    }
}

/// The subcommands that people see.
fn commands(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

/// A command's own arguments.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| {
        !argument.is_hide_set() && !argument.is_global_set() && argument.get_id() != "help"
    })
}

fn help(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    help.map(ToString::to_string).unwrap_or_default()
}

/// The name of an argument's value.
fn value_name(argument: &Arg) -> Option<String> {
    if !argument.get_action().takes_values() {
        return None;
    }
    let names = argument.get_value_names().unwrap_or_default();
    names.first().map(ToString::to_string)
}

/// An argument with all its names, as in "-y, --yes".
fn spelling(argument: &Arg) -> Vec<Inline> {
    let mut line = Vec::new();
    if let Some(short) = argument.get_short() {
        line.extend([bold(format!("-{short}")), roman(", ")]);
    }
    if let Some(long) = argument.get_long() {
        line.push(bold(format!("--{long}")));
    }
    if let Some(value) = value_name(argument) {
        if !line.is_empty() {
            line.push(roman(" "));
        }
        line.push(italic(value));
    }
    line
}

/// A command's arguments as in "[--wait TIME] IMAGE".
fn usage(command: &Command) -> Vec<Inline> {
    let (positional, options): (Vec<_>, Vec<_>) =
        arguments(command).partition(|argument| argument.is_positional());
    let mut line = Vec::new();
    for option in options {
        line.push(roman(" ["));
        line.push(bold(format!("--{}", option.get_long().unwrap_or_default())));
        if let Some(value) = value_name(option) {
            line.extend([roman(" "), italic(value)]);
        }
        line.push(roman("]"));
    }
    for argument in positional {
        line.extend([roman(" "), italic(value_name(argument).unwrap_or_default())]);
    }
    line
}

/// What `--json` prints, from the descriptions in the schema.
fn json_section(roff: &mut Roff) -> Result<()> {
    let schema: Value = serde_json::from_str(SCHEMA)?;
    section(roff, "JSON");
    roff.text([roman(schema["description"].as_str().unwrap_or_default())]);
    let empty = Map::new();
    for (name, definition) in schema["$defs"].as_object().unwrap_or(&empty) {
        roff.control("SS", [name.as_str()]);
        roff.text([roman(
            definition["description"].as_str().unwrap_or_default(),
        )]);
        for (key, property) in definition["properties"].as_object().unwrap_or(&empty) {
            let Some(description) = property["description"].as_str() else {
                continue;
            };
            roff.control("TP", []);
            roff.text([
                bold(key.as_str()),
                roman(format!(" ({})", type_of(property))),
            ]);
            roff.text([roman(description)]);
        }
    }
    Ok(())
}

/// The type of a property in words.
fn type_of(property: &Value) -> String {
    if let Some(reference) = property["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(choices) = property["anyOf"].as_array() {
        return choices.iter().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    match &property["type"] {
        Value::String(kind) if kind == "array" => {
            format!("array of {}", type_of(&property["items"]))
        }
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds = kinds.iter().filter_map(Value::as_str);
            kinds.collect::<Vec<_>>().join(" or ")
        }
        _ => String::new(),
    }
}
