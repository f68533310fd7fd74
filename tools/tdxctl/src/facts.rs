// SPDX-License-Identifier: GPL-2.0

//! What the driver says of the TDX module: by its ioctl, or else by sysfs, which says less.
//!
//! The C driver of Linux 7.3 has sysfs only, and fewer attributes.

use std::fmt;
use std::io;

use serde::{Serialize, Serializer};

use crate::device::{Device, DEVICE};
use crate::features::Features;
use crate::firmware::CLASS;
use crate::host::{Host, Known, Unknown};
use crate::sigstruct::{Signer, Svn};
use crate::{uapi, words};

/// The driver's attributes.
pub const SYSFS: &str = "/sys/devices/faux/tdx_host";

/// What the host has of TDX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Absent,
    Unconfigured,
    Ready,
    Updating,
    Interrupted,
    Lost,
}

impl State {
    /// The word that sysfs and JSON have for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Unconfigured => "unconfigured",
            Self::Ready => "ready",
            Self::Updating => "updating",
            Self::Interrupted => "interrupted",
            Self::Lost => "lost",
        }
    }

    /// The same in a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Absent => "no TDX module can be used",
            Self::Unconfigured => {
                "the driver is configuring the TDX module, which takes the longer the more memory \
                 there is"
            }
            Self::Ready => "the TDX module runs",
            Self::Updating => "an update is running",
            Self::Interrupted => {
                "an update was interrupted; TDs that do not run can be saved, leave them alone and \
                 update with a good image"
            }
            Self::Lost => "TDX and every TD are lost until the next reboot",
        }
    }

    fn from_word(word: &str) -> Known<Self> {
        [
            Self::Absent,
            Self::Unconfigured,
            Self::Ready,
            Self::Updating,
            Self::Interrupted,
            Self::Lost,
        ]
        .into_iter()
        .find(|state| state.word() == word)
        .ok_or_else(|| Unknown(format!("the driver says \"{word}\"")))
    }

    fn from_number(number: u32) -> Known<Self> {
        Ok(match number {
            uapi::STATE_ABSENT => Self::Absent,
            uapi::STATE_UNCONFIGURED => Self::Unconfigured,
            uapi::STATE_READY => Self::Ready,
            uapi::STATE_INTERRUPTED => Self::Interrupted,
            uapi::STATE_LOST => Self::Lost,
            uapi::STATE_UPDATING => Self::Updating,
            _ => return Err(Unknown(format!("the driver says {number}"))),
        })
    }
}

/// Which driver is loaded, and what it can be asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// This project's driver, by its ioctls.
    Ioctl,
    /// This project's driver, by sysfs.
    Sysfs,
    /// The C driver of Linux 7.3, by sysfs.
    Mainline,
}

/// What the driver says of the TDX module.
pub struct Facts {
    pub interface: Interface,
    /// The TDX module can be replaced on this host, as long as it is not lost.
    pub can_update: bool,
    /// What keeps it from that, if the driver says so.
    pub update_obstacle: Option<String>,
    pub state: Known<State>,
    pub module_version: Known<String>,
    pub seamldr_version: Known<String>,
    pub svn: Known<Svn>,
    pub handoff_version: Known<u16>,
    pub module_hash: Known<[u8; 48]>,
    /// `None` inside: Intel.
    pub module_signer: Known<Option<Signer>>,
    pub features_offered: Known<Features>,
    pub features_configured: Known<Features>,
    pub updates_left: Known<u32>,
    pub cpus_online: Known<u32>,
    pub cpus_present: Known<u32>,
    pub last_update: Known<Option<LastUpdate>>,
    /// Besides Intel's, this signer's images are taken.
    pub trusted_signer: Known<Option<Signer>>,
}

impl Facts {
    /// Asks the driver.
    ///
    /// # Errors
    ///
    /// When no driver is loaded.
    pub fn read(host: &Host) -> Known<Self> {
        if !host.exists(SYSFS) {
            return Err(Unknown("the tdx-host driver is not loaded".into()));
        }
        let mut facts = Self::ask(host);
        if matches!(facts.state, Ok(State::Interrupted | State::Lost)) {
            facts.no_module_runs();
        }
        Ok(facts)
    }

    fn ask(host: &Host) -> Self {
        let mut facts = Self::from_sysfs(host);
        if facts.interface == Interface::Mainline {
            return facts;
        }
        match Device::open(host) {
            Ok(Some(device)) => match device.info() {
                Ok(info) => facts.improve(&info),
                Err(error) => facts.only_ioctl(&format!("{DEVICE}: {}", crate::words(&error))),
            },
            Ok(None) => facts.only_ioctl(&format!("only {DEVICE} says it, and there is none")),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                facts.only_ioctl(&format!("only root may open {DEVICE}"));
            }
            Err(error) => facts.only_ioctl(&format!("{DEVICE}: {}", crate::words(&error))),
        }
        facts
    }

    /// Why there are no updates on this host.
    pub fn cannot_update(&self) -> String {
        cannot_update(self.update_obstacle.as_deref())
    }

    /// Says of what is not known of the TDX module that there is none.
    fn no_module_runs(&mut self) {
        fn explain<T>(value: &mut Known<T>) {
            if value.is_err() {
                *value = Err(Unknown("no TDX module runs".to_owned()));
            }
        }
        explain(&mut self.module_version);
        explain(&mut self.svn);
        explain(&mut self.handoff_version);
        explain(&mut self.module_hash);
        explain(&mut self.module_signer);
        explain(&mut self.features_offered);
        explain(&mut self.features_configured);
    }

    fn from_sysfs(host: &Host) -> Self {
        let read = |name: &str| host.read(&format!("{SYSFS}/{name}"));
        let ours = host.exists(&format!("{SYSFS}/state"));
        let mainline = |what: &str| Unknown(format!("the C driver does not say {what}"));
        let features = |name: &str| {
            if ours {
                read(name).and_then(|text| features(&text))
            } else {
                Err(mainline("which features there are"))
            }
        };
        let signer = |text: String| {
            if text.is_empty() {
                Ok(None)
            } else {
                Signer::parse(text.as_bytes())
                    .map(Some)
                    .ok_or_else(|| Unknown(format!("the driver says \"{text}\"")))
            }
        };
        let state = if ours {
            read("state").and_then(|word| State::from_word(&word))
        } else {
            // It has no such attribute, but no version when it has shut the TDX module down and
            // could not install another one, which it has no way back from.
            match host.read_errno(&format!("{SYSFS}/version")) {
                0 => Ok(State::Ready),
                libc::ENXIO => Ok(State::Lost),
                _ => Err(mainline("the state")),
            }
        };
        let support = read("update_support").unwrap_or_default();
        let obstacle = support.strip_prefix("no: ").map(str::to_owned);
        let not_there = |error: Unknown| match (host.exists(CLASS), &state) {
            (true, _) => error,
            (false, Ok(State::Lost)) if obstacle.is_none() => {
                Unknown("TDX was lost when the driver was loaded".to_owned())
            }
            (false, _) => Unknown(cannot_update(obstacle.as_deref())),
        };

        Self {
            interface: if ours {
                Interface::Sysfs
            } else {
                Interface::Mainline
            },
            can_update: host.exists(CLASS),
            module_version: read("version"),
            seamldr_version: read("seamldr_version").map_err(not_there),
            // Of this project's driver, the ioctl says it or why it cannot be asked.
            svn: Err(mainline("the SVN")),
            handoff_version: Err(mainline("the handoff version")),
            module_hash: Err(mainline("the running module's hash")),
            module_signer: Err(mainline("the running module's signer")),
            features_offered: features("features_offered"),
            features_configured: features("features_configured"),
            updates_left: read("num_remaining_updates")
                .map_err(not_there)
                .and_then(|text| {
                    text.parse()
                        .map_err(|_| Unknown(format!("the driver says \"{text}\"")))
                }),
            cpus_online: host.count_cpus("online"),
            cpus_present: host.count_cpus("present"),
            last_update: if ours {
                read("last_update")
                    .map_err(not_there)
                    .map(|line| LastUpdate::parse(&line))
            } else {
                Err(mainline("how the last update ended"))
            },
            trusted_signer: if ours {
                read("trusted_signer").map_err(not_there).and_then(signer)
            } else {
                Ok(None)
            },
            state,
            update_obstacle: obstacle,
        }
    }

    /// Takes over what the ioctl says.
    fn improve(&mut self, info: &uapi::Info) {
        let known = |bit: u64| {
            if info.valid & bit != 0 {
                Ok(())
            } else {
                Err(Unknown("the driver does not know it".to_owned()))
            }
        };
        self.interface = Interface::Ioctl;
        self.can_update = info.caps & uapi::CAP_UPDATE != 0;
        self.state = State::from_number(info.state);
        self.module_version =
            known(uapi::INFO_MODULE_VERSION).map(|()| version(&info.module_version));
        let no_seamldr = |_| {
            Unknown(match info.caps & uapi::CAP_UPDATE {
                0 => cannot_update(self.update_obstacle.as_deref()),
                _ => "P-SEAMLDR does not answer".to_owned(),
            })
        };
        self.seamldr_version = known(uapi::INFO_SEAMLDR_VERSION)
            .map_err(no_seamldr)
            .map(|()| version(&info.seamldr_version));
        self.svn = known(uapi::INFO_MODULE_SVN).map(|()| Svn {
            major: info.svn_major,
            minor: info.svn_minor,
        });
        self.handoff_version = known(uapi::INFO_HANDOFF_VERSION).map(|()| info.handoff_version);
        self.module_hash = known(uapi::INFO_MODULE_HASH).map(|()| info.module_hash);
        // Of Intel's modules P-SEAMLDR says no signer, and of none neither that nor a hash.
        self.module_signer = known(uapi::INFO_MODULE_HASH).map(|()| {
            known(uapi::INFO_MODULE_SIGNER)
                .ok()
                .map(|()| Signer(info.module_signer))
        });
        self.features_offered =
            known(uapi::INFO_FEATURES_OFFERED).map(|()| Features::from_bits(info.features_offered));
        self.features_configured = known(uapi::INFO_FEATURES_CONFIGURED)
            .map(|()| Features::from_bits(info.features_configured));
        self.updates_left = known(uapi::INFO_UPDATES_LEFT)
            .map_err(no_seamldr)
            .map(|()| info.updates_left);
        self.cpus_online = Ok(info.cpus_online);
        self.cpus_present = Ok(info.cpus_present);
    }

    /// Says why what only the ioctl has is not known.
    fn only_ioctl(&mut self, why: &str) {
        let unknown = Unknown(why.to_owned());
        self.svn = Err(unknown.clone());
        self.handoff_version = Err(unknown.clone());
        self.module_hash = Err(unknown.clone());
        self.module_signer = Err(unknown);
    }
}

fn cannot_update(obstacle: Option<&str>) -> String {
    let text = "the TDX module cannot be updated on this host";
    match obstacle {
        Some(obstacle) => format!("{text}: {obstacle}"),
        None => text.to_owned(),
    }
}

/// A version as everybody writes it.
pub fn version(version: &uapi::Version) -> String {
    format!("{}.{}.{:02}", version.major, version.minor, version.update)
}

/// Features from the form that sysfs has them in: the bits in hexadecimal, and their names.
fn features(text: &str) -> Known<Features> {
    text.split_whitespace()
        .next()
        .and_then(|bits| u64::from_str_radix(bits.strip_prefix("0x")?, 16).ok())
        .map(Features::from_bits)
        .ok_or_else(|| Unknown(format!("the driver says \"{text}\"")))
}

/// The names of those features that have one.
pub fn feature_names(features: Features) -> Vec<String> {
    let text = features.to_string();
    text.split_whitespace().skip(1).map(str::to_owned).collect()
}

/// How an update ended, as `last_update` says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastUpdate {
    /// updated, refused, interrupted or lost
    pub result: String,
    /// Where it ended.
    pub step: String,
    /// 0 or a negative error code.
    pub errno: i32,
    /// The SEAMCALL that failed.
    pub leaf: Option<String>,
    /// Its completion status.
    #[serde(serialize_with = "hexadecimal")]
    pub status: Option<u64>,
    /// The status by name.
    pub status_name: Option<String>,
    /// What kept the module from shutting down: td-build, migration or other.
    pub reason: Option<String>,
    /// How many of them.
    pub count: u32,
    /// The version before.
    pub from: Option<String>,
    /// The version after.
    pub to: Option<String>,
    /// How often all CPUs were stopped.
    pub attempts: u32,
    /// For how long the last time, in microseconds.
    pub blackout_us: Option<u64>,
    /// The CPU that a step after the shutdown failed on.
    pub cpu: Option<u32>,
}

/// A number as "0x…".
fn hexadecimal<S: Serializer>(number: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    number
        .map(|number| format!("{number:#018x}"))
        .serialize(serializer)
}

impl LastUpdate {
    /// Reads one line of key=value; `None` when there was no update.
    pub fn parse(line: &str) -> Option<Self> {
        let value = |key: &str| {
            line.split_whitespace()
                .filter_map(|word| word.split_once('='))
                .find_map(|(word, value)| (word == key).then_some(value))
                .filter(|&value| value != "-")
        };
        let owned = |key: &str| value(key).map(str::to_owned);
        let number = |key: &str| value(key).and_then(|value| value.parse::<u64>().ok());
        let result = owned("result").filter(|result| result != "none")?;
        let status = value("status")
            .and_then(|value| u64::from_str_radix(value.strip_prefix("0x")?, 16).ok());

        Some(Self {
            result,
            step: owned("step").unwrap_or_default(),
            errno: value("errno")
                .and_then(|errno| errno.parse().ok())
                .unwrap_or(0),
            leaf: owned("leaf"),
            status: status.filter(|&status| status != 0),
            status_name: owned("name"),
            reason: owned("reason"),
            count: number("count")
                .and_then(|count| count.try_into().ok())
                .unwrap_or(0),
            from: owned("from"),
            to: owned("to"),
            attempts: number("attempts")
                .and_then(|count| count.try_into().ok())
                .unwrap_or(0),
            blackout_us: number("blackout_us"),
            cpu: number("cpu").and_then(|cpu| cpu.try_into().ok()),
        })
    }
}

/// The update in a sentence.
impl fmt::Display for LastUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.from.as_deref().unwrap_or("none");
        let to = self.to.as_deref().unwrap_or("none");
        match self.result.as_str() {
            "updated" => write!(
                f,
                "updated from {from} to {to}, all CPUs stopped for {} us",
                self.blackout_us.unwrap_or(0)
            )?,
            result => {
                let error = io::Error::from_raw_os_error(self.errno.saturating_neg());
                write!(f, "{result} in step {} ({})", self.step, words(&error))?;
            }
        }
        if let (Some(leaf), Some(name)) = (&self.leaf, &self.status_name) {
            write!(f, ", {leaf}: {name} ({:#018x})", self.status.unwrap_or(0))?;
        }
        if let Some(cpu) = self.cpu {
            write!(f, " on CPU {cpu}")?;
        }
        match (self.reason.as_deref(), self.count) {
            (Some("td-build"), 0) => write!(f, ", TDs were being built"),
            (Some("td-build"), 1) => write!(f, ", 1 TD was being built"),
            (Some("td-build"), count) => write!(f, ", {count} TDs were being built"),
            (Some("migration"), 0) => write!(f, ", interrupted migrations"),
            (Some("migration"), count) => write!(f, ", {count} interrupted migrations"),
            (Some(_), 0) => write!(f, ", operations that an update would break"),
            (Some(_), count) => write!(f, ", {count} operations that an update would break"),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_update() {
        assert_eq!(LastUpdate::parse("result=none"), None);
        let line = "result=refused step=shutdown errno=-16 leaf=TDH.SYS.SHUTDOWN \
                    status=0x8000051200020000 name=UPDATE_COMPAT_SENSITIVE reason=td-build count=2 \
                    from=1.5.26 to=1.5.26 attempts=3 blackout_us=250 cpu=- later=1";
        let update = LastUpdate::parse(line).unwrap();
        assert_eq!(
            (update.errno, update.status, update.count),
            (-16, Some(0x8000_0512_0002_0000), 2)
        );
        assert_eq!((update.from.as_deref(), update.cpu), (Some("1.5.26"), None));
        assert_eq!(
            update.to_string(),
            "refused in step shutdown (Device or resource busy), TDH.SYS.SHUTDOWN: \
             UPDATE_COMPAT_SENSITIVE (0x8000051200020000), 2 TDs were being built"
        );

        let line = "result=updated step=done errno=0 leaf=- status=0x0 name=- reason=- count=0 \
                    from=- to=1.5.27 attempts=1 blackout_us=900";
        let update = LastUpdate::parse(line).unwrap();
        assert_eq!((update.leaf.clone(), update.status), (None, None));
        assert_eq!(
            update.to_string(),
            "updated from none to 1.5.27, all CPUs stopped for 900 us"
        );
    }

    #[test]
    fn feature_text() {
        let features = features("0x0000800000000042 td-preserving tdx-connect update-compat");
        let features = features.unwrap();
        assert_eq!(features.bits(), 0x8000_0000_0042);
        assert_eq!(
            feature_names(features),
            ["td-preserving", "tdx-connect", "update-compat"]
        );
        assert!(super::features("").is_err());
        assert!(super::features("42").is_err());
    }

    #[test]
    fn states() {
        for state in [
            "absent",
            "unconfigured",
            "ready",
            "updating",
            "interrupted",
            "lost",
        ] {
            assert_eq!(State::from_word(state).unwrap().word(), state);
        }
        assert!(State::from_word("well").is_err());
        assert!((0..6).all(|number| State::from_number(number).is_ok()));
        assert!(State::from_number(6).is_err());
    }
}
