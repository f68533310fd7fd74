// SPDX-License-Identifier: GPL-2.0

//! `include/uapi/linux/tdx_host.h` in Rust.
//!
//! Written by hand, so that building needs neither libclang nor the kernel's headers: an interface
//! of the kernel does not change once it is there. The test below compiles the header and compares
//! every size, offset and number with it.

/// Size in bytes of a text, with the zero byte at its end.
pub const TEXT_SIZE: usize = 224;

/// A number of an ioctl without direction or size, as _IO() makes it.
const fn io(number: u32) -> u32 {
    (IOC_TYPE << 8) | number
}

const IOC_TYPE: u32 = 0xDA;
pub const INFO: u32 = io(0);
pub const CHECK: u32 = io(1);
pub const UPDATE: u32 = io(2);

pub const STATE_ABSENT: u32 = 0;
pub const STATE_UNCONFIGURED: u32 = 1;
pub const STATE_READY: u32 = 2;
pub const STATE_INTERRUPTED: u32 = 3;
pub const STATE_LOST: u32 = 4;
pub const STATE_UPDATING: u32 = 5;

pub const INFO_MODULE_VERSION: u64 = 1 << 0;
pub const INFO_SEAMLDR_VERSION: u64 = 1 << 1;
pub const INFO_MODULE_SVN: u64 = 1 << 2;
pub const INFO_MODULE_HASH: u64 = 1 << 3;
pub const INFO_MODULE_SIGNER: u64 = 1 << 4;
pub const INFO_FEATURES_OFFERED: u64 = 1 << 5;
pub const INFO_FEATURES_CONFIGURED: u64 = 1 << 6;
pub const INFO_HANDOFF_VERSION: u64 = 1 << 7;
pub const INFO_UPDATES_LEFT: u64 = 1 << 8;

pub const CAP_UPDATE: u32 = 1 << 0;

pub const VERDICT_PASS: u32 = 1;
pub const VERDICT_FAIL: u32 = 2;
pub const VERDICT_SKIP: u32 = 3;
pub const VERDICT_NOTE: u32 = 4;

pub const OUTCOME_NONE: u32 = 0;
pub const OUTCOME_UPDATED: u32 = 1;
pub const OUTCOME_INTERRUPTED: u32 = 3;
pub const OUTCOME_LOST: u32 = 4;

/// The names of enum tdx_host_step, by number, as `last_update` has them.
pub const STEPS: [&str; 10] = [
    "done",
    "start",
    "image",
    "preflight",
    "shutdown",
    "wait",
    "install",
    "init",
    "cpu-init",
    "update",
];

pub const REASON_NONE: u32 = 0;
pub const REASON_TD_BUILD: u32 = 1;
pub const REASON_MIGRATION: u32 = 2;

/// struct tdx_host_version
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
    pub update: u16,
    pub reserved: u16,
}

/// struct tdx_host_info
#[repr(C)]
pub struct Info {
    pub size: u32,
    pub flags: u32,
    pub valid: u64,
    pub state: u32,
    pub caps: u32,
    pub module_version: Version,
    pub seamldr_version: Version,
    pub features_offered: u64,
    pub features_configured: u64,
    pub cpus_online: u32,
    pub cpus_present: u32,
    pub updates_left: u32,
    pub handoff_version: u16,
    pub svn_major: u8,
    pub svn_minor: u8,
    pub module_hash: [u8; 48],
    pub module_signer: [u8; 48],
}

/// struct tdx_host_check_result
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CheckResult {
    pub check: u32,
    pub verdict: u32,
    pub error: i32,
    pub reserved: u32,
    pub name: [u8; 16],
    pub text: [u8; TEXT_SIZE],
}

/// struct tdx_host_check
#[repr(C)]
pub struct Check {
    pub size: u32,
    pub flags: u32,
    pub image: u64,
    pub image_size: u64,
    pub results: u64,
    pub result_size: u32,
    pub nr_results: u32,
    pub error: i32,
    pub reserved: u32,
}

/// struct tdx_host_update
#[repr(C)]
pub struct Update {
    pub size: u32,
    pub flags: u32,
    pub image: u64,
    pub image_size: u64,
    pub wait_ms: u32,
    pub reserved: u32,
    pub outcome: u32,
    pub step: u32,
    pub error: i32,
    pub cpu: i32,
    pub leaf: u64,
    pub status: u64,
    pub reason: u32,
    pub count: u32,
    pub attempts: u32,
    pub reserved2: u32,
    pub blackout_ns: u64,
    pub total_blackout_ns: u64,
    pub from: Version,
    pub to: Version,
    pub text: [u8; TEXT_SIZE],
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::mem::{offset_of, size_of};
    use std::path::Path;
    use std::process::{Command, Stdio};

    /// A C expression and what its value must be.
    type Fact = (String, u64);

    macro_rules! layout {
        ($facts:ident, $rust:ident = $c:literal { $($field:ident),* $(,)? }) => {
            $facts.push((format!("sizeof(struct {})", $c), size_of::<$rust>() as u64));
            $(
                $facts.push((
                    format!("offsetof(struct {}, {})", $c, stringify!($field)),
                    offset_of!($rust, $field) as u64,
                ));
                $facts.push((
                    format!("sizeof(((struct {} *)0)->{})", $c, stringify!($field)),
                    field_size(|it: &$rust| size_of_val(&it.$field)),
                ));
            )*
            // A field that only the header has would be missed otherwise.
            let fields = 0 $(+ field_size(|it: &$rust| size_of_val(&it.$field)))*;
            assert_eq!(fields, size_of::<$rust>() as u64, "{}", $c);
        };
    }

    macro_rules! numbers {
        ($facts:ident, $($name:ident),* $(,)?) => {
            $($facts.push((format!("TDX_HOST_{}", stringify!($name)), u64::from($name)));)*
        };
    }

    fn field_size<T>(size: impl Fn(&T) -> usize) -> u64 {
        // SAFETY: The structures of this file are plain numbers, which may all be zero.
        size(&unsafe { std::mem::zeroed() }) as u64
    }

    fn facts() -> Vec<Fact> {
        let mut facts = Vec::new();
        layout!(facts, Version = "tdx_host_version" { major, minor, update, reserved });
        layout!(facts, Info = "tdx_host_info" {
            size, flags, valid, state, caps, module_version, seamldr_version, features_offered,
            features_configured, cpus_online, cpus_present, updates_left, handoff_version,
            svn_major, svn_minor, module_hash, module_signer,
        });
        layout!(facts, CheckResult = "tdx_host_check_result" {
            check, verdict, error, reserved, name, text,
        });
        layout!(facts, Check = "tdx_host_check" {
            size, flags, image, image_size, results, result_size, nr_results, error, reserved,
        });
        layout!(facts, Update = "tdx_host_update" {
            size, flags, image, image_size, wait_ms, reserved, outcome, step, error, cpu, leaf,
            status, reason, count, attempts, reserved2, blackout_ns, total_blackout_ns, from, to, text,
        });
        numbers!(
            facts,
            INFO,
            CHECK,
            UPDATE,
            STATE_ABSENT,
            STATE_UNCONFIGURED,
            STATE_READY,
            STATE_INTERRUPTED,
            STATE_LOST,
            STATE_UPDATING,
            INFO_MODULE_VERSION,
            INFO_SEAMLDR_VERSION,
            INFO_MODULE_SVN,
            INFO_MODULE_HASH,
            INFO_MODULE_SIGNER,
            INFO_FEATURES_OFFERED,
            INFO_FEATURES_CONFIGURED,
            INFO_HANDOFF_VERSION,
            INFO_UPDATES_LEFT,
            CAP_UPDATE,
            VERDICT_PASS,
            VERDICT_FAIL,
            VERDICT_SKIP,
            VERDICT_NOTE,
            OUTCOME_NONE,
            OUTCOME_UPDATED,
            OUTCOME_INTERRUPTED,
            OUTCOME_LOST,
            REASON_NONE,
            REASON_TD_BUILD,
            REASON_MIGRATION,
        );
        facts.push(("TDX_HOST_TEXT_SIZE".into(), TEXT_SIZE as u64));
        facts.push(("TDX_HOST_IMAGE_MAX".into(), crate::image::MAX_SIZE as u64));
        for (number, step) in STEPS.iter().enumerate() {
            let step = step.to_uppercase().replace('-', "_");
            facts.push((format!("TDX_HOST_STEP_{step}"), number as u64));
        }
        facts
    }

    /// Has the C compiler compare all facts with the header: each is an assertion of a program.
    #[test]
    fn the_header_says_the_same() {
        let facts = facts();
        let mut program = "#include <stddef.h>\n#include <linux/tdx_host.h>\n".to_owned();
        for (expression, value) in &facts {
            program += &format!("_Static_assert(({expression}) == {value}ULL, \"not {value}\");\n");
        }
        let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../include/uapi");
        let mut cc = Command::new("cc")
            .args([
                "-x",
                "c",
                "-std=gnu11",
                "-fsyntax-only",
                "-Wall",
                "-Werror",
                "-isystem",
            ])
            .arg(include)
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a C compiler");
        cc.stdin
            .take()
            .unwrap()
            .write_all(program.as_bytes())
            .unwrap();
        let output = cc.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}
