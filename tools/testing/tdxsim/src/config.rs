// SPDX-License-Identifier: GPL-2.0

//! What a simulated machine is made from: `KEY=VALUE` arguments on top of profiles.

use std::fmt::Write;
use std::path::PathBuf;

use toml::Value;

use crate::module::config::{convertible_memory, Range};
use crate::profile::{Kind, ModuleProfile, PlatformProfile, Profiles};
use crate::text;

/// The module profile without `profile=`.
const DEFAULT_MODULE: &str = "connect";
/// The platform profile without `platform=`.
const DEFAULT_PLATFORM: &str = "default";
/// Keys that are not a profile's.
const OWN_KEYS: &[(&str, &str)] = &[
    ("profile", "the name of a module profile"),
    ("platform", "the name of a platform profile"),
    ("profile_file", "a file with further profiles"),
    ("mem", "the machine's RAM, such as 2G"),
    (
        "cmr",
        "a region of convertible memory, BASE-END; may be repeated, replaces mem=",
    ),
    ("trace", "a file to write the trace to"),
    (
        "control",
        "a control command to run at the start; may be repeated",
    ),
    ("latency.LEAF", "how long a leaf takes, such as 200us"),
    (
        "next.KEY",
        "a module key of the module that an image without descriptor brings",
    ),
];

/// A simulated machine's configuration.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The module that firmware loads.
    pub module: ModuleProfile,
    /// The platform.
    pub platform: PlatformProfile,
    /// The package of every LP.
    pub packages: Vec<usize>,
    /// Convertible memory, ascending.
    pub convertible: Vec<Range>,
    /// All profiles that images and commands can name.
    pub profiles: Profiles,
    /// The profile, and overrides, of the module in an image without descriptor.
    pub next: (String, Vec<(String, Value)>),
    /// Where to write the trace.
    pub trace: Option<PathBuf>,
    /// Control commands to run when the machine starts or is reset.
    pub commands: Vec<String>,
}

impl SimConfig {
    /// The default machine with LPs in these packages (one entry an LP).
    pub fn new(packages: Vec<usize>) -> Result<SimConfig, String> {
        SimConfig::from_args(packages, &[] as &[&str])
    }

    /// A machine with LPs in these packages, described by `KEY=VALUE` arguments.
    pub fn from_args<S: AsRef<str>>(packages: Vec<usize>, args: &[S]) -> Result<SimConfig, String> {
        if packages.is_empty() {
            return Err("a machine has at least one LP".to_owned());
        }
        let mut profiles = Profiles::built_in()?;
        let (mut module, mut platform) = (DEFAULT_MODULE.to_owned(), DEFAULT_PLATFORM.to_owned());
        let (mut module_keys, mut platform_keys) = (Vec::new(), Vec::new());
        let mut next_keys = Vec::new();
        let (mut ram, mut cmrs, mut trace, mut commands) = (None, Vec::new(), None, Vec::new());
        for arg in args {
            let arg = arg.as_ref();
            let (key, value) = arg
                .split_once('=')
                .ok_or_else(|| format!("{arg}: arguments are KEY=VALUE"))?;
            match key {
                "profile" => value.clone_into(&mut module),
                "platform" => value.clone_into(&mut platform),
                "profile_file" => {
                    let text = std::fs::read_to_string(value)
                        .map_err(|error| format!("profile_file={value}: {error}"))?;
                    profiles.add(&text, value)?;
                }
                "mem" => ram = Some(text::size(value).map_err(|error| format!("mem={error}"))?),
                "cmr" => cmrs.push(parse_region(value)?),
                "trace" => trace = Some(PathBuf::from(value)),
                "control" => commands.push(value.to_owned()),
                _ => {
                    let setting = (key.to_owned(), Value::from(value));
                    if let Some(leaf) = key.strip_prefix("latency.") {
                        commands.push(format!("latency {leaf} {value}"));
                    } else if let Some(key) = key.strip_prefix("next.") {
                        next_keys.push((key.to_owned(), Value::from(value)));
                    } else {
                        match Kind::of_key(key) {
                            Some(Kind::Module) => module_keys.push(setting),
                            Some(Kind::Platform) => platform_keys.push(setting),
                            None => return Err(unknown_key(key)),
                        }
                    }
                }
            }
        }
        profiles.check()?;
        let module = profiles.module(&module, &module_keys)?;
        let next = (module.next.clone(), next_keys);
        profiles
            .module(&next.0, &next.1)
            .map_err(|error| format!("next.{error}"))?;
        let convertible = if cmrs.is_empty() {
            convertible_memory(ram)
        } else {
            check_order(&cmrs)?;
            cmrs
        };
        Ok(SimConfig {
            module,
            platform: profiles.platform(&platform, &platform_keys)?,
            packages,
            convertible,
            profiles,
            next,
            trace,
            commands,
        })
    }

    /// How many packages the platform has.
    pub fn package_count(&self) -> usize {
        self.packages.iter().max().map_or(0, |last| last + 1)
    }
}

/// `BASE-END`, whole pages.
fn parse_region(text: &str) -> Result<Range, String> {
    let wrong = || format!("cmr={text}: takes BASE-END in whole pages, such as 1M-2G");
    let (base, end) = text.split_once('-').ok_or_else(wrong)?;
    let base = text::size(base).map_err(|_| wrong())?;
    let end = text::size(end).map_err(|_| wrong())?;
    if base >= end || base % 4096 != 0 || end % 4096 != 0 {
        return Err(wrong());
    }
    Ok(Range {
        base,
        size: end - base,
    })
}

fn check_order(regions: &[Range]) -> Result<(), String> {
    if regions.len() > 32 {
        return Err("cmr=: at most 32 regions".to_owned());
    }
    if regions.windows(2).any(|pair| pair[0].end() > pair[1].base) {
        return Err("cmr=: regions must ascend and not overlap".to_owned());
    }
    Ok(())
}

fn unknown_key(key: &str) -> String {
    let own = OWN_KEYS.iter().map(|(key, _)| *key);
    let of_profiles = [Kind::Module, Kind::Platform];
    let of_profiles = of_profiles
        .into_iter()
        .flat_map(Kind::keys)
        .map(|(key, _)| key);
    let all: Vec<&str> = own.chain(of_profiles).collect();
    format!("{key}: no such key; there are {}", all.join(", "))
}

/// All keys with what they take, a line each.
pub fn describe_keys() -> String {
    let mut text = String::new();
    let of_profiles = [Kind::Module, Kind::Platform];
    let of_profiles = of_profiles.into_iter().flat_map(Kind::keys);
    for (key, takes) in OWN_KEYS.iter().copied().chain(of_profiles) {
        let _ = writeln!(text, "{key}: {takes}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(args: &[&str]) -> String {
        SimConfig::from_args(vec![0], args).unwrap_err()
    }

    #[test]
    fn arguments_override_profiles() {
        let args = [
            "profile=tdx-1.5.25",
            "version=1.5.24",
            "updates_left=3",
            "next.version=1.5.99",
            "mem=6G",
            "latency.TDH.SYS.TDMR.INIT=200us",
            "trace=/tmp/trace",
        ];
        let config = SimConfig::from_args(vec![0, 0, 1], &args).unwrap();
        assert_eq!(config.module.version.to_string(), "1.5.24");
        assert_eq!(config.platform.updates_left, 3);
        assert_eq!(config.package_count(), 2);
        assert_eq!(config.next.0, "tdx-1.5.25");
        assert_eq!(config.commands, ["latency TDH.SYS.TDMR.INIT 200us"]);
        let ranges: Vec<_> = config
            .convertible
            .iter()
            .map(|range| (range.base, range.end()))
            .collect();
        assert_eq!(ranges, [(1 << 20, 2 << 30), (4 << 30, 8 << 30)]);
    }

    #[test]
    fn memory_below_2_75_gib_is_in_one_piece() {
        let config = SimConfig::from_args(vec![0], &["mem=2G"]).unwrap();
        let ranges: Vec<_> = config
            .convertible
            .iter()
            .map(|range| (range.base, range.end()))
            .collect();
        assert_eq!(ranges, [(1 << 20, 2 << 30)]);
    }

    #[test]
    fn without_a_size_all_that_can_be_ram_is_convertible() {
        let config = SimConfig::new(vec![0]).unwrap();
        let ranges: Vec<_> = config
            .convertible
            .iter()
            .map(|range| (range.base, range.end()))
            .collect();
        assert_eq!(
            ranges,
            [(1 << 20, 0xB000_0000), (4 << 30, (4 << 30) + (1 << 40))]
        );
    }

    #[test]
    fn regions_can_be_given() {
        let config = SimConfig::from_args(vec![0], &["cmr=1M-1G", "cmr=1G-2G"]).unwrap();
        assert_eq!(config.convertible.len(), 2);
        assert_eq!(
            error(&["cmr=1G-2G", "cmr=1M-1G"]),
            "cmr=: regions must ascend and not overlap"
        );
        assert!(error(&["cmr=2G-1G"]).starts_with("cmr=2G-1G: takes BASE-END"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(error(&["updates_left"]).contains("arguments are KEY=VALUE"));
        assert!(
            error(&["colour=red"]).starts_with("colour: no such key; there are profile, platform,")
        );
        assert_eq!(
            error(&["updates_left=many"]),
            "updates_left=many: takes 0 to 4294967295"
        );
        assert!(error(&["profile=none"]).starts_with("none: no such module profile; there are "));
        assert!(error(&["platform=none"]).starts_with("none: no such platform profile; there are "));
        let file = std::env::temp_dir().join(format!("tdxsim-{}.toml", std::process::id()));
        std::fs::write(&file, "[module.mine]\ninherits = \"connect\"\ncolour = 1\n").unwrap();
        let argument = format!("profile_file={}", file.display());
        // Also when nothing asks for that profile.
        let unknown_key = error(&[&argument]);
        std::fs::remove_file(&file).unwrap();
        assert!(
            unknown_key.starts_with("module profile mine: "),
            "{unknown_key}"
        );
        assert!(error(&["profile_file=/nowhere"]).starts_with("profile_file=/nowhere: "));
        assert_eq!(
            error(&["mem=much"]),
            "mem=much: takes a size such as 2G, in bytes, K, M, G or T"
        );
        assert!(
            error(&["next.colour=red"]).starts_with("next.colour: no such key of a module profile")
        );
        assert!(SimConfig::new(vec![]).is_err());
    }

    #[test]
    fn every_key_is_described() {
        let text = describe_keys();
        assert!(text.contains("\nsigner: 96 hexadecimal digits\n") && text.contains("mem: "));
    }
}
