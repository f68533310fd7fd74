// SPDX-License-Identifier: GPL-2.0

//! Which TDX module an image's pages contain.
//!
//! Real pages contain code, which the model cannot run. An image that was made for the model says
//! in its first page what it stands for: the line `tdxsim-module`, then TOML up to the first zero
//! byte, with `profile` naming a module profile and any other key overriding one of that profile's.
//! Any other image, such as one that Intel published, stands for the module that the running one's
//! profile names as `next`.

use toml::{Table, Value};

use super::sigstruct::Sigstruct;
use crate::profile::{ModuleProfile, Profiles};

/// Finds out which module an image with this first page and sigstruct stands for.
pub type ModuleOf<'a> = dyn Fn(&[u8], &Sigstruct) -> Result<ModuleProfile, String> + 'a;

/// The descriptor's first line.
const MARK: &str = "tdxsim-module\n";

/// The text behind the mark, if the page has one.
fn descriptor(first_page: &[u8]) -> Result<Option<&str>, String> {
    let Some(text) = first_page.strip_prefix(MARK.as_bytes()) else {
        return Ok(None);
    };
    let end = text.iter().position(|byte| *byte == 0);
    std::str::from_utf8(&text[..end.unwrap_or(text.len())])
        .map(Some)
        .map_err(|error| format!("the image's descriptor: {error}"))
}

/// The module in an image. What the sigstruct says about SVN and handoff counts, unless the
/// descriptor contradicts it: then the module will find that out in TDH.SYS.INIT.
pub fn module_of(
    profiles: &Profiles,
    default: &(String, Vec<(String, Value)>),
    first_page: &[u8],
    sigstruct: &Sigstruct,
) -> Result<ModuleProfile, String> {
    let (mut name, mut overrides) = default.clone();
    if let Some(text) = descriptor(first_page)? {
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
            format!("the image's descriptor: {}", error.message())
        })?;
        match table.remove("profile") {
            None => overrides.clear(),
            Some(Value::String(profile)) => {
                name = profile;
                overrides.clear();
            }
            Some(_) => return Err("the image's descriptor: profile takes a name".to_owned()),
        }
        overrides.extend(table);
    }
    let handoff = sigstruct.handoff();
    let mut all = vec![
        (
            "svn_major".to_owned(),
            Value::from(i64::from(sigstruct.major_svn())),
        ),
        (
            "svn_minor".to_owned(),
            Value::from(i64::from(sigstruct.minor_svn())),
        ),
        (
            "module_hv".to_owned(),
            Value::from(i64::from(handoff.module_hv)),
        ),
        (
            "min_update_hv".to_owned(),
            Value::from(i64::from(handoff.min_update_hv)),
        ),
        ("no_downgrade".to_owned(), Value::from(handoff.no_downgrade)),
        (
            "handoff_pages".to_owned(),
            Value::from(i64::from(handoff.handoff_pages)),
        ),
    ];
    all.extend(overrides);
    profiles.module(&name, &all)
}
