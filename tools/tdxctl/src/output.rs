// SPDX-License-Identifier: GPL-2.0

//! What goes to standard output: text for people, JSON for programs.
//!
//! Text is coloured on a terminal and folded to its width; anstream leaves the colours out when it
//! is piped, or when NO_COLOR is set.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::device::terminal_width;

/// What came out of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is fine.
    Pass,
    /// It does not hinder, but should be said.
    Note,
    /// It is not fine.
    Fail,
    /// It was not looked at, or cannot be known.
    Skip,
}

impl Verdict {
    fn badge(self) -> (&'static str, Style) {
        match self {
            Self::Pass => ("PASS", AnsiColor::Green.on_default()),
            Self::Note => ("NOTE", AnsiColor::Yellow.on_default()),
            Self::Fail => ("FAIL", AnsiColor::Red.on_default().bold()),
            Self::Skip => ("SKIP", Style::new().dimmed()),
        }
    }
}

/// A row of a table.
pub struct Row {
    /// The verdict in front, if the table has verdicts.
    pub verdict: Option<Verdict>,
    /// What the row is about.
    pub name: String,
    /// What is to be said.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Row {
    /// A row without a verdict.
    pub fn new(name: &str, text: impl Into<String>) -> Self {
        Self {
            verdict: None,
            name: name.to_owned(),
            text: text.into(),
            advice: None,
        }
    }
}

/// A table as text, folded to the terminal's width if there is one.
pub fn table(rows: &[Row]) -> String {
    format_table(rows, terminal_width())
}

fn format_table(rows: &[Row], width: Option<usize>) -> String {
    const GAP: usize = 2;
    let names = rows.iter().map(|row| row.name.chars().count());
    let name_width = names.max().unwrap_or(0);
    let badge_width = match rows.iter().any(|row| row.verdict.is_some()) {
        true => 4 + GAP,
        false => 0,
    };
    let indent = badge_width + name_width + GAP;
    // A terminal that is too narrow for columns folds lines itself.
    let room = width
        .and_then(|width| width.checked_sub(indent))
        .filter(|&room| room >= 20);

    let mut text = String::new();
    for row in rows {
        if let Some(verdict) = row.verdict {
            let (badge, style) = verdict.badge();
            let _ = write!(text, "{style}{badge}{style:#}{:GAP$}", "");
        }
        let bold = Style::new().bold();
        let gap = name_width - row.name.chars().count() + GAP;
        let _ = write!(text, "{bold}{}{bold:#}{:gap$}", row.name, "");
        for (index, line) in fold(&row.text, room).iter().enumerate() {
            if index > 0 {
                let _ = write!(text, "\n{:indent$}", "");
            }
            text.push_str(line);
        }
        for line in row.advice.iter().flat_map(|advice| fold(advice, room)) {
            let style = AnsiColor::Cyan.on_default();
            let _ = write!(text, "\n{:indent$}{style}{line}{style:#}", "");
        }
        text.push('\n');
    }
    text
}

/// Folds a text at spaces into lines of at most `room` characters, where words allow that.
fn fold(text: &str, room: Option<usize>) -> Vec<String> {
    let Some(room) = room else {
        return vec![text.to_owned()];
    };
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one at least");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// The colour of a verdict.
pub fn style(verdict: Verdict) -> Style {
    verdict.badge().1
}

/// A last line that says it all, in the colour of the verdict.
pub fn conclusion(verdict: Verdict, text: &str) -> String {
    let style = style(verdict);
    format!("\n{style}{text}{style:#}\n")
}

/// Prints text for people.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Says something on standard error, where it can: that nobody hears it is no failure.
pub fn complain(text: &str) {
    let mut out = anstream::stderr().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Prints JSON for programs.
pub fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(rows: &[Row], width: Option<usize>) -> String {
        anstream::adapter::strip_str(&format_table(rows, width)).to_string()
    }

    fn rows() -> Vec<Row> {
        vec![
            Row {
                verdict: Some(Verdict::Pass),
                ..Row::new("cpu", "fine")
            },
            Row {
                verdict: Some(Verdict::Fail),
                advice: Some("switch it on in the BIOS setup".into()),
                ..Row::new("keyids", "the firmware gives TDX none of them")
            },
        ]
    }

    #[test]
    fn piped_rows_have_one_line_and_one_for_advice() {
        assert_eq!(
            plain(&rows(), None),
            "PASS  cpu     fine\n\
             FAIL  keyids  the firmware gives TDX none of them\n              \
             switch it on in the BIOS setup\n"
        );
    }

    #[test]
    fn a_terminal_folds_under_the_column() {
        assert_eq!(
            plain(&rows(), Some(36)),
            "PASS  cpu     fine\n\
             FAIL  keyids  the firmware gives TDX\n              none of them\n              \
             switch it on in the\n              BIOS setup\n"
        );
        // Too narrow for columns.
        assert_eq!(plain(&rows(), Some(20)), plain(&rows(), None));
    }

    #[test]
    fn rows_without_verdicts() {
        let rows = [Row::new("state", "ready"), Row::new("version", "1.5.26")];
        assert_eq!(plain(&rows, None), "state    ready\nversion  1.5.26\n");
        assert_eq!(plain(&[], None), "");
    }
}
