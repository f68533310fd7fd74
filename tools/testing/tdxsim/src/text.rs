// SPDX-License-Identifier: GPL-2.0

//! Reading the words of control commands and arguments, with errors that name what was wrong.

use std::fmt::{Display, Write};

use crate::leaf::LeafId;
use crate::profile::parse_number;
use crate::status::Status;

/// A command's words: `KEY=VALUE`, or a flag alone.
pub struct Words {
    words: Vec<(String, Option<String>)>,
}

impl Words {
    /// Splits a line at white space. A word must not come twice, unless it is among `repeatable`.
    pub fn new(line: &str, repeatable: &[&str]) -> Result<Words, String> {
        let mut words: Vec<(String, Option<String>)> = Vec::new();
        for word in line.split_whitespace() {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (word, None),
            };
            if words.iter().any(|(known, _)| known == key) && !repeatable.contains(&key) {
                return Err(format!("{key}: given twice"));
            }
            words.push((key.to_owned(), value));
        }
        Ok(Words { words })
    }

    /// Takes the value of a key out.
    pub fn take(&mut self, key: &str) -> Option<String> {
        let index = self
            .words
            .iter()
            .position(|(known, value)| known == key && value.is_some())?;
        self.words.remove(index).1
    }

    /// Takes a key's number out.
    pub fn take_number(&mut self, key: &str) -> Result<Option<u64>, String> {
        self.take(key).map(|value| number(key, &value)).transpose()
    }

    /// Takes a key's switch out: 1 or 0, on or off.
    pub fn take_switch(&mut self, key: &str) -> Result<Option<bool>, String> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("1" | "on") => Ok(Some(true)),
            Some("0" | "off") => Ok(Some(false)),
            Some(other) => Err(format!("{key}={other}: takes 1 or 0")),
        }
    }

    /// Takes out the first of these flags that is there, and says what it means.
    pub fn take_flag<T: Copy>(&mut self, flags: &[(&str, T)]) -> Option<T> {
        for (flag, meaning) in flags {
            let is_flag =
                |(known, value): &(String, Option<String>)| known == flag && value.is_none();
            if let Some(index) = self.words.iter().position(is_flag) {
                self.words.remove(index);
                return Some(*meaning);
            }
        }
        None
    }

    /// Takes out every `KEY=VALUE` that is left.
    pub fn take_rest(&mut self) -> Vec<(String, String)> {
        let (pairs, flags) = self.words.drain(..).partition(|(_, value)| value.is_some());
        self.words = flags;
        let pairs: Vec<(String, Option<String>)> = pairs;
        pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect()
    }

    /// Fails if anything is left.
    pub fn finish(self) -> Result<(), String> {
        match self.words.into_iter().next() {
            None => Ok(()),
            Some((key, None)) => Err(format!("{key}: unexpected")),
            Some((key, Some(value))) => Err(format!("{key}={value}: unexpected")),
        }
    }
}

/// A line's first word and what comes behind it, without white space around either.
pub fn first_word(line: &str) -> (&str, &str) {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (word, rest.trim_start())
}

/// A line for each item.
pub fn lines(items: impl Iterator<Item = impl Display>) -> String {
    let mut text = String::new();
    for item in items {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{item}");
    }
    text
}

/// A number for this key.
pub fn number(key: &str, value: &str) -> Result<u64, String> {
    parse_number(value).ok_or_else(|| format!("{key}={value}: takes a number"))
}

/// A time in nanoseconds, such as `200us`.
pub fn duration(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ if text == "0" => 0,
        _ => {
            return Err(format!(
                "{text}: takes a time such as 200us, in ns, us, ms or s"
            ))
        }
    };
    digits
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(unit))
        .ok_or_else(|| format!("{text}: takes a time such as 200us, in ns, us, ms or s"))
}

/// A size in bytes, such as `2G`; without a letter, bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => 64,
    };
    parse_number(digits)
        .and_then(|number| number.checked_mul(1u64.checked_shl(shift)?))
        .ok_or_else(|| format!("{text}: takes a size such as 2G, in bytes, K, M, G or T"))
}

/// A leaf by its name or number.
pub fn leaf(name: &str) -> Result<LeafId, String> {
    LeafId::by_name(name).ok_or_else(|| {
        format!(
            "{name}: no such leaf; takes a name such as TDH.SYS.SHUTDOWN or SEAMLDR.INSTALL, or a \
             number such as TDH.23 or SEAMLDR.0x5"
        )
    })
}

/// A status by its number, or by its name with or without a number for the detail:
/// `OPERAND_INVALID|1`.
pub fn status(text: &str) -> Result<Status, String> {
    let wrong = || {
        format!("{text}: takes a status: a number, or a name such as SYS_BUSY or OPERAND_INVALID|1")
    };
    if let Some(number) = parse_number(text) {
        return Ok(Status(number));
    }
    let (name, detail) = text.split_once('|').unwrap_or((text, "0"));
    let detail = parse_number(detail)
        .and_then(|detail| u32::try_from(detail).ok())
        .ok_or_else(wrong)?;
    Ok(Status::by_name(name).ok_or_else(wrong)?.with(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(duration("200us"), Ok(200_000));
        assert_eq!(duration("3s"), Ok(3_000_000_000));
        assert_eq!(duration("0"), Ok(0));
        for bad in ["200", "us", "1h", "-1ms", "99999999999s"] {
            assert!(duration(bad).unwrap_err().contains("takes a time"), "{bad}");
        }
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("0x1000K"), Ok(4 << 20));
        for bad in ["", "G", "2GG", "2X", "99999999999T"] {
            assert!(size(bad).unwrap_err().contains("takes a size"), "{bad}");
        }
    }

    #[test]
    fn a_status_has_a_number_or_a_name() {
        assert_eq!(status("0x8000020200000000"), Ok(Status::SYS_BUSY));
        assert_eq!(status("sys_busy"), Ok(Status::SYS_BUSY));
        assert_eq!(
            status("OPERAND_INVALID|8"),
            Ok(Status(0xC000_0100_0000_0008))
        );
        assert_eq!(
            status("SEAMLDR_EBADHASH"),
            Ok(Status(0x8000_0000_0002_0001))
        );
        assert!(status("SYS_BUZY").is_err());
        assert!(status("SYS_BUSY|x").is_err());
    }

    #[test]
    fn any_white_space_ends_a_word() {
        assert_eq!(first_word("mark here it is"), ("mark", "here it is"));
        assert_eq!(first_word("\tmark\t here\n"), ("mark", "here"));
        assert_eq!(first_word(" state "), ("state", ""));
        assert_eq!(first_word(""), ("", ""));
    }

    #[test]
    fn words_are_taken_once() {
        let mut words = Words::new("a=1 b c=x d=off", &[]).unwrap();
        assert_eq!(words.take_number("a"), Ok(Some(1)));
        assert_eq!(words.take_number("a"), Ok(None));
        assert_eq!(words.take_flag(&[("b", 7)]), Some(7));
        assert_eq!(words.take_switch("d"), Ok(Some(false)));
        assert_eq!(
            words.take_number("c"),
            Err("c=x: takes a number".to_owned())
        );
        assert_eq!(
            Words::new("a=1 a=2", &[]).err().as_deref(),
            Some("a: given twice")
        );
        assert_eq!(
            Words::new("left=1", &[]).unwrap().finish(),
            Err("left=1: unexpected".to_owned())
        );
    }
}
