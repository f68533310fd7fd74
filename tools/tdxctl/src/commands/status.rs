// SPDX-License-Identifier: GPL-2.0

//! `tdxctl status`: which TDX module runs, and what it can do.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::Exit;
use crate::commands::show::SvnJson;
use crate::facts::{feature_names, Facts, Interface, LastUpdate, State};
use crate::features::Features;
use crate::host::{Host, Known};
use crate::output::{self, Row};
use crate::preflight::INTEL;
use crate::Failure;

#[derive(Serialize)]
struct FeaturesJson {
    bits: String,
    names: Vec<String>,
}

impl From<Features> for FeaturesJson {
    fn from(features: Features) -> Self {
        Self {
            bits: format!("{:#018x}", features.bits()),
            names: feature_names(features),
        }
    }
}

/// What `--json` prints. What is not known is null, and `unknown` says why.
#[derive(Serialize)]
struct Status {
    interface: &'static str,
    state: Option<State>,
    module_version: Option<String>,
    module_svn: Option<SvnJson>,
    module_hash: Option<String>,
    module_signer: Option<String>,
    handoff_version: Option<u16>,
    seamldr_version: Option<String>,
    features_offered: Option<FeaturesJson>,
    features_configured: Option<FeaturesJson>,
    updates_left: Option<u32>,
    cpus_online: Option<u32>,
    cpus_present: Option<u32>,
    last_update: Option<LastUpdate>,
    unknown: BTreeMap<&'static str, String>,
}

/// The command.
pub fn run(host: &Host, json: bool) -> Result<Exit, Failure> {
    let facts = Facts::read(host).map_err(|unknown| {
        Failure::new(
            Exit::Failed,
            format!("{unknown}: load it with \"modprobe tdx-host\"; \"tdxctl ok\" says more"),
        )
    })?;
    if json {
        output::print_json(&Status::from(facts))?;
    } else {
        output::print(&output::table(&rows(&facts)))?;
    }
    Ok(Exit::Ok)
}

impl From<Facts> for Status {
    fn from(facts: Facts) -> Self {
        let mut unknown = BTreeMap::new();
        let signer = facts.module_signer.map(|signer| signer.unwrap_or(INTEL));
        let hash = facts.module_hash;
        Self {
            interface: match facts.interface {
                Interface::Ioctl => "ioctl",
                Interface::Sysfs => "sysfs",
                Interface::Mainline => "sysfs-mainline",
            },
            state: note("state", facts.state, &mut unknown),
            module_version: note("module_version", facts.module_version, &mut unknown),
            module_svn: note("module_svn", facts.svn.map(SvnJson::from), &mut unknown),
            module_hash: note("module_hash", hash.map(hex::encode), &mut unknown),
            module_signer: note(
                "module_signer",
                signer.map(|signer| signer.to_string()),
                &mut unknown,
            ),
            handoff_version: note("handoff_version", facts.handoff_version, &mut unknown),
            seamldr_version: note("seamldr_version", facts.seamldr_version, &mut unknown),
            features_offered: note(
                "features_offered",
                facts.features_offered.map(FeaturesJson::from),
                &mut unknown,
            ),
            features_configured: note(
                "features_configured",
                facts.features_configured.map(FeaturesJson::from),
                &mut unknown,
            ),
            updates_left: note("updates_left", facts.updates_left, &mut unknown),
            cpus_online: note("cpus_online", facts.cpus_online, &mut unknown),
            cpus_present: note("cpus_present", facts.cpus_present, &mut unknown),
            last_update: note("last_update", facts.last_update, &mut unknown).flatten(),
            unknown,
        }
    }
}

/// The value, or takes note of why there is none.
fn note<T>(
    name: &'static str,
    value: Known<T>,
    unknown: &mut BTreeMap<&'static str, String>,
) -> Option<T> {
    value
        .map_err(|why| unknown.insert(name, why.to_string()))
        .ok()
}

fn rows(facts: &Facts) -> Vec<Row> {
    let cpus = match (&facts.cpus_online, &facts.cpus_present) {
        (Ok(online), Ok(present)) => Ok(format!("{online} of {present} online")),
        (Err(unknown), _) | (_, Err(unknown)) => Err(unknown.clone()),
    };
    let state = facts.state.clone();
    let last_update = facts.last_update.clone();

    vec![
        Row::new(
            "driver",
            match facts.interface {
                Interface::Ioctl => "tdx-host",
                Interface::Sysfs => "tdx-host, by sysfs alone",
                Interface::Mainline => "tdx-host of Linux 7.3, in C, which says less",
            },
        ),
        row(
            "state",
            state.map(|state| format!("{}: {}", state.word(), state.meaning())),
        ),
        row("TDX module", facts.module_version.clone()),
        row("SVN", facts.svn.clone()),
        row(
            "signer",
            facts.module_signer.clone().map(|signer| match signer {
                None => "Intel".to_owned(),
                Some(signer) => format!("not Intel, but {signer}"),
            }),
        ),
        row("module hash", facts.module_hash.clone().map(hex::encode)),
        row("handoff version", facts.handoff_version.clone()),
        row(
            "features offered",
            facts.features_offered.clone().map(in_words),
        ),
        row(
            "features configured",
            facts.features_configured.clone().map(in_words),
        ),
        row("P-SEAMLDR", facts.seamldr_version.clone()),
        row("updates left", facts.updates_left.clone()),
        row("CPUs", cpus),
        row(
            "last update",
            last_update.map(|update| {
                update.map_or_else(|| "none".to_owned(), |update| update.to_string())
            }),
        ),
    ]
}

fn row(name: &str, value: Known<impl ToString>) -> Row {
    Row::new(
        name,
        match value {
            Ok(value) => value.to_string(),
            Err(unknown) => format!("unknown: {unknown}"),
        },
    )
}

fn in_words(features: Features) -> String {
    match features.is_empty() {
        true => "none".to_owned(),
        false => format!(
            "{} ({:#x})",
            feature_names(features).join(" "),
            features.bits()
        ),
    }
}
