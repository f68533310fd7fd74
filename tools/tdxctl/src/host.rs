// SPDX-License-Identifier: GPL-2.0

//! What this machine and its kernel say of themselves, read from files.
//!
//! Nothing here changes anything. Tests replace the root folder by one of their own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why something is not known.
///
/// [`std::fmt::Display`] says it in a few words, as "only root may read it".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

impl Unknown {
    fn new(path: &str, error: &io::Error) -> Self {
        Self(match error.kind() {
            io::ErrorKind::NotFound => format!("there is no {path}"),
            io::ErrorKind::PermissionDenied => format!("only root may read {path}"),
            _ => format!("{path}: {}", crate::words(error)),
        })
    }
}

impl Unknown {
    /// Whether root would know it.
    pub fn is_for_root(&self) -> bool {
        self.0.starts_with("only root may")
    }
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value, or why it is not known.
pub type Known<T> = Result<T, Unknown>;

/// The machine that the program runs on.
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The machine whose files are below `root`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Where the file is that is known as `path`, which begins with a slash.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether there is such a file.
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The text of a file, without space around it.
    pub fn read(&self, path: &str) -> Known<String> {
        match fs::read(self.path(path)) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().to_owned()),
            Err(error) => Err(Unknown::new(path, &error)),
        }
    }

    /// The errno that reading a file fails with; 0 if it does not.
    pub fn read_errno(&self, path: &str) -> i32 {
        match fs::read(self.path(path)) {
            Ok(_) => 0,
            Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// What the kernel knows of the CPUs.
    pub fn cpus(&self) -> Known<Cpus> {
        self.read("/proc/cpuinfo").map(|text| Cpus::parse(&text))
    }

    /// How many CPUs a list like "0-3,8" names, which `which`, for example "online", is.
    pub fn count_cpus(&self, which: &str) -> Known<u32> {
        let path = format!("/sys/devices/system/cpu/{which}");
        let text = self.read(&path)?;
        count_list(&text).ok_or_else(|| Unknown(format!("{path} is no list of CPUs: {text}")))
    }

    /// A model-specific register of the first CPU; `None` if the CPU does not have it.
    pub fn msr(&self, number: u32) -> Known<Option<u64>> {
        let path = "/dev/cpu/0/msr";
        let mut value = [0; 8];
        let result = File::open(self.path(path))
            .and_then(|file| file.read_exact_at(&mut value, number.into()));
        match result {
            Ok(()) => Ok(Some(u64::from_le_bytes(value))),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(None),
            Err(error) => Err(Unknown::new(path, &error)),
        }
    }

    /// Lines of the kernel log that hold `word`, the oldest first, without their time. Early ones
    /// may be gone.
    pub fn log(&self, word: &str) -> Known<Vec<String>> {
        let path = "/dev/kmsg";
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(self.path(path))
            .map_err(|error| Unknown::new(path, &error))?;
        let mut lines = Vec::new();
        let mut buffer = vec![0; 1 << 14];
        loop {
            // The kernel returns one record at a time.
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => {
                    let text = String::from_utf8_lossy(&buffer[..len]);
                    let records = text.lines().filter(|line| !line.starts_with(' '));
                    let said = records.filter_map(|line| line.split_once(';'));
                    lines.extend(
                        said.map(|(_, said)| said.to_owned())
                            .filter(|said| said.contains(word)),
                    );
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => break,
                    // A record was overwritten before it was read, or a signal came.
                    Some(libc::EPIPE | libc::EINTR) => {}
                    _ => return Err(Unknown::new(path, &error)),
                },
            }
        }
        Ok(lines)
    }

    /// What the kernel was configured with: the value of `option`, "n" if it is not set.
    pub fn config(&self, option: &str) -> Known<String> {
        let text = self.config_text()?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(option)?.strip_prefix('='))
            .unwrap_or("n");
        Ok(value.to_owned())
    }

    fn config_text(&self) -> Known<String> {
        let packed = self.path("/proc/config.gz");
        if packed.exists() {
            let mut text = String::new();
            File::open(packed)
                .and_then(|file| flate2::read::GzDecoder::new(file).read_to_string(&mut text))
                .map_err(|error| Unknown::new("/proc/config.gz", &error))?;
            return Ok(text);
        }
        let release = self.read("/proc/sys/kernel/osrelease")?;
        [
            format!("/boot/config-{release}"),
            format!("/lib/modules/{release}/config"),
            format!("/lib/modules/{release}/build/.config"),
        ]
        .iter()
        .find_map(|path| self.read(path).ok())
        .ok_or_else(|| {
            Unknown("neither /proc/config.gz nor /boot has the kernel's configuration".into())
        })
    }
}

/// What /proc/cpuinfo says, of the first CPU and of each package.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cpus {
    /// Who made them, for example "GenuineIntel".
    pub vendor: String,
    /// The model in words.
    pub model_name: String,
    /// Their features.
    pub flags: Vec<String>,
    /// Their bugs.
    pub bugs: Vec<String>,
    /// CPUID.1:EAX of a CPU of each package.
    pub signatures: Vec<u32>,
}

impl Cpus {
    fn parse(text: &str) -> Self {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let mut cpus = Self::default();
        let mut packages = Vec::new();
        for (index, cpu) in text.split("\n\n").enumerate() {
            let field = |name: &str| {
                cpu.lines()
                    .filter_map(|line| line.split_once(':'))
                    .find_map(|(key, value)| (key.trim() == name).then(|| value.trim()))
            };
            let number = |name: &str| field(name).and_then(|value| value.parse::<u32>().ok());
            if index == 0 {
                cpus.vendor = field("vendor_id").unwrap_or_default().to_owned();
                cpus.model_name = field("model name").unwrap_or_default().to_owned();
                cpus.flags = field("flags").map(words).unwrap_or_default();
                cpus.bugs = field("bugs").map(words).unwrap_or_default();
            }
            let package = number("physical id").unwrap_or(0);
            if packages.contains(&package) {
                continue;
            }
            if let (Some(family), Some(model)) = (number("cpu family"), number("model")) {
                packages.push(package);
                cpus.signatures
                    .push(signature(family, model, number("stepping").unwrap_or(0)));
            }
        }
        cpus
    }

    /// Whether the CPUs have a feature.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|has| has == flag)
    }

    /// Whether the CPUs have a bug.
    pub fn has_bug(&self, bug: &str) -> bool {
        self.bugs.iter().any(|has| has == bug)
    }
}

/// CPUID.1:EAX as the kernel takes it apart (x86_cpuid() in arch/x86/lib/cpu.c).
fn signature(family: u32, model: u32, stepping: u32) -> u32 {
    let (family, extended) = (family.min(0xf), family.saturating_sub(0xf) & 0xff);
    (extended << 20)
        | (((model >> 4) & 0xf) << 16)
        | (family << 8)
        | ((model & 0xf) << 4)
        | stepping
}

/// How many numbers a list like "0-3,8" names; `None` if it is no such list.
fn count_list(list: &str) -> Option<u32> {
    list.split(',')
        .filter(|range| !range.is_empty())
        .try_fold(0u32, |count, range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            count.checked_add(last.checked_sub(first)?.checked_add(1)?)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(count_list("0"), Some(1));
        assert_eq!(count_list("0-3,8"), Some(5));
        assert_eq!(count_list(""), Some(0));
        assert_eq!(count_list("3-1"), None);
        assert_eq!(count_list("all"), None);
        assert_eq!(count_list("0-4294967295"), None);
    }

    #[test]
    fn signatures() {
        // Sapphire Rapids, Granite Rapids.
        assert_eq!(signature(6, 143, 8), 0x806F8);
        assert_eq!(signature(6, 173, 1), 0xA06D1);
        assert_eq!(signature(0x19, 0x11, 1), 0xA1_0F11);
    }

    #[test]
    fn cpuinfo() {
        let cpu = |number: u32, package: u32| {
            format!(
                "processor\t: {number}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\n\
                 model name\t: Some CPU\nstepping\t: 8\nphysical id\t: {package}\n\
                 flags\t\t: fpu vmx tdx_host_platform\nbugs\t\t: spectre_v1 seamret_invd_vmcs\n"
            )
        };
        let text = [cpu(0, 0), cpu(1, 0), cpu(2, 1), cpu(3, 1)].join("\n");
        let cpus = Cpus::parse(&text);
        assert_eq!(cpus.vendor, "GenuineIntel");
        assert_eq!(cpus.model_name, "Some CPU");
        assert_eq!(cpus.signatures, [0x806F8, 0x806F8]);
        assert!(cpus.has("tdx_host_platform") && !cpus.has("tdx"));
        assert!(cpus.has_bug("seamret_invd_vmcs"));
        assert_eq!(Cpus::parse(""), Cpus::default());
    }
}
