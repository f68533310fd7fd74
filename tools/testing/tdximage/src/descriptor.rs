// SPDX-License-Identifier: GPL-2.0

//! The text at the start of the first module page, by which the simulated TDX host knows what the
//! image contains: the line `tdxsim-module`, then TOML up to the first zero byte.
//!
//! `profile` names one of the simulator's modules, the other keys override what that profile says;
//! `version` is one of them. A sigstruct says nothing about features, and in the 1.5 line nothing
//! about the version either: real hardware learns both from the module's code.

use toml::{Table, Value};

use crate::layout::PAGE_SIZE;
use crate::Error;

/// The descriptor's first line.
pub const MARK: &str = "tdxsim-module\n";

/// Reads one `KEY=VALUE`. A dotted key makes nested tables. A value that is no TOML is a string, so
/// that `version=1.5.26` needs no quotes within quotes.
pub fn parse_entry(entry: &str) -> Result<(String, Value), Error> {
    let (key, value) = entry
        .split_once('=')
        .ok_or_else(|| Error::Spec(format!("`{entry}` is not KEY=VALUE")))?;
    let value = match format!("value = {value}").parse::<Table>() {
        Ok(mut table) if table.len() == 1 => {
            table.remove("value").unwrap_or_else(|| Value::from(value))
        }
        _ => Value::from(value),
    };
    Ok((key.trim().to_owned(), value))
}

/// Puts `value` under `key` into `table`; a dotted key goes into nested tables.
pub fn insert(table: &mut Table, key: &str, value: Value) -> Result<(), Error> {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            Ok(())
        }
        Some((first, rest)) => {
            let inner = table
                .entry(first)
                .or_insert_with(|| Value::Table(Table::new()));
            match inner {
                Value::Table(inner) => insert(inner, rest, value),
                _ => Err(Error::Spec(format!(
                    "descriptor key `{first}` is not a table"
                ))),
            }
        }
    }
}

/// The descriptor's bytes, without padding. Fails if they and one zero do not fit into a page.
pub fn encode(table: &Table) -> Result<Vec<u8>, Error> {
    let text = format!("{MARK}{table}");
    if text.len() >= PAGE_SIZE {
        return Err(Error::Spec(format!(
            "a descriptor of {} bytes exceeds its page",
            text.len()
        )));
    }
    Ok(text.into_bytes())
}

/// The descriptor at the start of a module's pages, if there is one.
pub fn decode(module: &[u8]) -> Option<Table> {
    let page = &module[..module.len().min(PAGE_SIZE)];
    let text = page
        .strip_prefix(MARK.as_bytes())?
        .split(|byte| *byte == 0)
        .next()?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut table = Table::new();
        for entry in [
            "version=1.5.26",
            "profile=\"connect\"",
            "features=0x40",
            "cmr.count = 3",
        ] {
            let (key, value) = parse_entry(entry).unwrap();
            insert(&mut table, &key, value).unwrap();
        }
        let mut page = encode(&table).unwrap();
        assert!(page.starts_with(b"tdxsim-module\n"));
        page.resize(2 * PAGE_SIZE, 0);
        let read = decode(&page).unwrap();
        assert_eq!(read["version"].as_str(), Some("1.5.26"));
        assert_eq!(read["profile"].as_str(), Some("connect"));
        assert_eq!(read["features"].as_integer(), Some(0x40));
        assert_eq!(read["cmr"]["count"].as_integer(), Some(3));
    }

    #[test]
    fn noise_is_no_descriptor() {
        assert!(decode(&[]).is_none());
        assert!(decode(&[0xA5; PAGE_SIZE]).is_none());
    }

    #[test]
    fn a_value_cannot_smuggle_a_second_key() {
        let (_, value) = parse_entry("a=1\nb=2").unwrap();
        assert_eq!(value.as_str(), Some("1\nb=2"));
    }

    #[test]
    fn a_descriptor_that_does_not_fit_is_refused() {
        let mut table = Table::new();
        table.insert("long".into(), Value::from("x".repeat(PAGE_SIZE)));
        assert!(encode(&table).is_err());
    }

    #[test]
    fn an_entry_needs_a_key_and_a_table_stays_one() {
        assert!(parse_entry("word").is_err());
        let mut table = Table::new();
        insert(&mut table, "a", Value::from(1)).unwrap();
        assert!(insert(&mut table, "a.b", Value::from(1)).is_err());
    }
}
