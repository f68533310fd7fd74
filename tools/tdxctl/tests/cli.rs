// SPDX-License-Identifier: GPL-2.0

//! The commands, on hosts that are folders with the files that tdxctl looks at.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use jsonshape::Schema;
use serde_json::Value;
use tdximage::{Format, Spec, TestKey};

static KEY: LazyLock<TestKey> = LazyLock::new(|| TestKey::generate().unwrap());
static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| include_str!("../tdxctl.schema.json").parse().unwrap());

const SYSFS: &str = "sys/devices/faux/tdx_host";
const CLASS: &str = "sys/class/firmware/tdx_module";
const CPUINFO: &str = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\n\
                       model name\t: A CPU\nstepping\t: 8\nphysical id\t: 0\n\
                       flags\t\t: vmx xsave movdir64b ss tdx_host_platform\nbugs\t\t: spectre_v1\n";

/// A host that is a folder, and the image that it is asked about.
struct Host(PathBuf);

impl Host {
    fn empty(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        Self(root)
    }

    /// A host with TDX that works, and the C driver.
    fn mainline(name: &str) -> Self {
        Self::empty(name)
            .with("proc/cpuinfo", CPUINFO)
            .with("dev/kmsg", "6,1,0,-;virt/tdx: TDX-Module initialized\n")
            .with("dev/cpu/0/msr", keyids(64))
            .with("sys/devices/system/cpu/online", "0-3\n")
            .with("sys/devices/system/cpu/present", "0-3\n")
            .with("sys/module/kvm_intel/parameters/tdx", "Y\n")
            .with(&format!("{SYSFS}/version"), "1.5.26\n")
            .with(&format!("{SYSFS}/seamldr_version"), "1.5.00\n")
            .with(&format!("{SYSFS}/num_remaining_updates"), "10\n")
            .with(&format!("{CLASS}/loading"), "0\n")
            .with(&format!("{CLASS}/status"), "idle\n")
            .with(&format!("{CLASS}/error"), "")
            .with(&format!("{CLASS}/data"), "")
    }

    /// The same with this project's driver, but without its device.
    fn ours(name: &str) -> Self {
        let features = "0x0000800000000042 td-preserving tdx-connect update-compat\n";
        Self::mainline(name)
            .with(&format!("{SYSFS}/state"), "ready\n")
            .with(&format!("{SYSFS}/features_offered"), features)
            .with(
                &format!("{SYSFS}/features_configured"),
                "0x0000000000000040 tdx-connect\n",
            )
            .with(&format!("{SYSFS}/last_update"), "result=none\n")
            .with(&format!("{SYSFS}/trusted_signer"), "\n")
    }

    fn with(self, file: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn without(self, file: &str) -> Self {
        let path = self.0.join(file);
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
        self
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tdxctl"));
        command
            .arg("--root")
            .arg(&self.0)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command prints with --json, which must be of the shape `name`.
    fn json(&self, arguments: &[&str], name: &str) -> (Value, i32) {
        let output = self.run(&[arguments, &["--json"]].concat());
        let value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(SCHEMA.check(name, &value).unwrap(), [""; 0], "{value:#}");
        (value, output.status.code().unwrap())
    }
}

/// A file that is read as the MSRs are, with so many KeyIDs for TDX.
fn keyids(count: u64) -> Vec<u8> {
    let mut msrs = vec![0; 0x87];
    msrs.extend(((count << 32) | 63).to_le_bytes());
    msrs
}

fn image(format: Format) -> tdximage::Image {
    let spec = Spec {
        format,
        pages: 3,
        cpus: vec![0x806F8, 0xC06F2],
        ..Spec::default()
    };
    spec.build(&KEY).unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The name and text of the checks with this verdict.
fn verdicts<'a>(value: &'a Value, verdict: &str) -> Vec<(&'a str, &'a str)> {
    let checks = value["checks"].as_array().unwrap();
    checks
        .iter()
        .filter(|check| check["verdict"] == verdict)
        .map(|check| {
            (
                check["name"].as_str().unwrap(),
                check["text"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn show_tells_what_is_in_an_image() {
    let host = Host::empty("show");
    for (format, name) in [(Format::V100, "0x100"), (Format::V200, "0x200")] {
        let host = Host::empty("show").with("image", image(format).bytes());
        let (shown, status) = host.json(&["show", &host.file("image")], "show");
        assert_eq!(status, 0);
        assert_eq!(shown["format"], name);
        assert_eq!(shown["module_pages"], 3);
        assert_eq!(shown["svn"]["minor"], 12);
        assert_eq!(shown["handoff_versions"]["max"], 1);
        assert_eq!(shown["date"], "2026-01-01");
        assert_eq!(shown["cpus"].as_array().unwrap(), &["0x806f8", "0xc06f2"]);
        assert_eq!(
            shown["signer"],
            hex::encode(tdximage::key::signer(&KEY.modulus()))
        );
        assert_eq!(shown["signer_is_intel"], false);
    }

    let output = Host::empty("show-text")
        .with("image", image(Format::V100).bytes())
        .run(&["show", &host.file("../show-text/image")]);
    let said = text(&output.stdout);
    for line in [
        "format            0x100, 20480 bytes, 3 module pages",
        "signed on         2026-01-01",
        "SVN               1.12",
        "handoff versions  takes over from 0 to 1",
        "signature         verifies",
    ] {
        assert!(
            said.lines().any(|said| said == line),
            "{line} not in\n{said}"
        );
    }
}

#[test]
fn show_tells_what_is_wrong_with_an_image() {
    let spoiled = |field: &str, value: &str, resign: bool| {
        let mut image = image(Format::V200);
        image.set(field, &value.parse().unwrap()).unwrap();
        if resign {
            image.resign(&KEY).unwrap();
        }
        image.rechecksum();
        let host = Host::empty("show-wrong").with("image", image.bytes());
        let (shown, status) = host.json(&["show", &host.file("image")], "show");
        assert_eq!(status, 1);
        shown
    };
    let shown = spoiled("module", "flip", false);
    assert_eq!(
        (&shown["hash_valid"], &shown["signature_valid"]),
        (&false.into(), &true.into())
    );
    let shown = spoiled("sigstruct.minor_svn", "1", false);
    assert_eq!(
        (&shown["hash_valid"], &shown["signature_valid"]),
        (&true.into(), &false.into())
    );
    let shown = spoiled("sigstruct.vendor", "1", true);
    assert_eq!(shown["signature_valid"], true);
    assert_eq!(shown["sigstruct_problems"][0], "vendor must be 0x8086");
}

#[test]
fn files_that_are_no_image_are_named_with_the_reason() {
    let good = image(Format::V200);
    let host = Host::ours("no-image")
        .with("empty", "")
        .with("random", vec![0x5a; 3 * 4096])
        .with("tdx_module_1.5.16.bin", vec![0; 2 * 4096])
        .with("short", &good.bytes()[..4096 * 4])
        .with("long", vec![0; 498 * 4096 + 1])
        .with("longer", vec![0; 700 * 4096])
        .with("text", "#!/bin/sh\n");
    for (file, reason) in [
        ("nothing", "No such file or directory"),
        ("sys", "is a folder"),
        ("empty", "is empty"),
        ("random", "not a TDX module image: format version: 0x5a5a"),
        (
            "tdx_module_1.5.16.bin",
            "neither 0x100 nor 0x200; the images that Intel publishes have the suffix .blob",
        ),
        (
            "short",
            "not a TDX module image: size: 16384 bytes, but the header says 20480",
        ),
        (
            "long",
            "not a TDX module image: size: 2039809 bytes, longer than",
        ),
        (
            "longer",
            "not a TDX module image: size: 2867200 bytes, longer than",
        ),
        (
            "text",
            "not a TDX module image: size: 10 bytes, shorter than the header",
        ),
    ] {
        let path = host.file(file);
        for command in [&["show"][..], &["check"], &["update", "--yes"]] {
            let arguments = [command, &[&path]].concat();
            let output = host.run(&arguments);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            assert!(
                said.contains(&path) && said.contains(reason),
                "{arguments:?}: {said}"
            );
            assert_eq!(said.lines().count(), 1, "{said}");
            assert_eq!(text(&output.stdout), "");

            let (error, status) = host.json(&arguments, "error");
            assert_eq!((status, &error["error"]["exit_status"]), (1, &1.into()));
            assert!(error["error"]["message"].as_str().unwrap().contains(reason));
        }
    }
}

/// A terminal would obey what is in the name of a file.
#[test]
fn control_characters_in_names_are_escaped() {
    let host = Host::empty("names")
        .with("red\x1b[31m", image(Format::V200).bytes())
        .with("a\nb", "#!/bin/sh\n");
    let output = host.run(&["show", &host.file("red\x1b[31m")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("red\\u{1b}[31m"));
    assert!(!output.stdout.contains(&0x1b));
    for file in ["a\nb", "not\nthere"] {
        let output = host.run(&["show", &host.file(file)]);
        let said = text(&output.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("\\n"), "{said}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let host = Host::ours("usage").with("image", image(Format::V200).bytes());
    let image = host.file("image");
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["show"],
        &["check", &image, "more"],
        &["update", "--yes", "--wait", "soon", &image],
        &["status", "--what"],
        // Standard input is no terminal to ask on.
        &["update", &image],
    ] {
        let output = host.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn a_host_without_faults_is_ok() {
    for host in [Host::ours("ok-ours"), Host::mainline("ok-mainline")] {
        let (all, status) = host.json(&["ok"], "ok");
        assert_eq!(verdicts(&all, "fail"), []);
        assert_eq!((status, &all["ok"]), (0, &true.into()));
        // A file is no KVM that could be asked; the C driver has no features.
        let skipped: Vec<_> = verdicts(&all, "skip").iter().map(|check| check.0).collect();
        assert!(skipped.starts_with(&["td-vms"]), "{skipped:?}");
        assert!(skipped.len() <= 2, "{skipped:?}");
    }
    let output = Host::ours("ok-text").run(&["ok"]);
    let said = text(&output.stdout);
    assert!(
        said.contains("PASS  keyids        64 KeyIDs are for TDX\n"),
        "{said}"
    );
    assert!(
        said.ends_with("nothing known is wrong with TDX on this host, but not all was checked\n"),
        "{said}"
    );
}

#[test]
fn ok_does_not_take_the_unknown_for_good() {
    let is_skipped = |all: &Value, name: &str, words: &str| {
        let skipped = verdicts(all, "skip");
        assert!(
            skipped
                .iter()
                .any(|check| check.0 == name && check.1.starts_with(words)),
            "{skipped:?}"
        );
    };
    let version = format!("{SYSFS}/seamldr_version");
    // A folder cannot be read, as an attribute when P-SEAMLDR does not answer.
    let host = Host::ours("ok-seamldr")
        .without(&version)
        .with(&format!("{version}/file"), "");
    let (all, status) = host.json(&["ok"], "ok");
    assert_eq!(status, 0);
    is_skipped(&all, "updates", "may not be possible");

    let (all, _) = Host::mainline("ok-builds").json(&["ok"], "ok");
    is_skipped(&all, "td-builds", "the C driver never protects");
}

/// One thing is wrong with the host, and the check for that says so, and no other.
#[test]
fn each_check_of_ok_can_fail() {
    let flags = |flags: &str| CPUINFO.replace("vmx xsave movdir64b ss tdx_host_platform", flags);
    let no_tdx = &flags("vmx xsave movdir64b ss");
    let log = |line: &str| format!("6,1,0,-;virt/tdx: {line}\n SUBSYSTEM=none\n");
    let release = "proc/sys/kernel/osrelease";
    let host = |name: &str| Host::ours(&format!("ok-fails-{name}"));
    let bare = |name: &str| host(name).without(SYSFS).without(CLASS);

    for (name, host, finding) in [
        (
            "cpu",
            host("vendor").with("proc/cpuinfo", CPUINFO.replace("Genuine", "Other")),
            "Other",
        ),
        (
            "cpu",
            host("vmx").with("proc/cpuinfo", flags("xsave")),
            "no VMX",
        ),
        (
            "cpu",
            host("flags").with("proc/cpuinfo", flags("vmx xsave ss")),
            "lacks movdir64b",
        ),
        (
            "keyids",
            host("keys0").with("dev/cpu/0/msr", keyids(0)),
            "no KeyIDs",
        ),
        (
            "keyids",
            host("keys1").with("dev/cpu/0/msr", keyids(1)),
            "1 KeyID is",
        ),
        (
            "hibernation",
            host("disk")
                .with("proc/cpuinfo", no_tdx)
                .with("sys/power/state", "freeze disk\n"),
            "is available",
        ),
        (
            "hibernation",
            host("said").with("proc/cpuinfo", no_tdx).with(
                "dev/kmsg",
                log("initialization failed: Hibernation support is enabled"),
            ),
            "is available",
        ),
        (
            "kernel",
            host("config")
                .with("proc/cpuinfo", no_tdx)
                .with(release, "7.3.4\n")
                .with(
                    "boot/config-7.3.4",
                    "# CONFIG_INTEL_TDX_HOST is not set\nCONFIG_X=y\n",
                ),
            "without CONFIG_INTEL_TDX_HOST",
        ),
        (
            "core",
            host("core")
                .with("proc/cpuinfo", no_tdx)
                .with(release, "7.3.4\n")
                .with("boot/config-7.3.4", "CONFIG_INTEL_TDX_HOST=y\n"),
            "has not found TDX",
        ),
        (
            "core",
            host("notifier").with("proc/cpuinfo", no_tdx).with(
                "dev/kmsg",
                log("initialization failed: register_memory_notifier() (-12)"),
            ),
            "register_memory_notifier",
        ),
        (
            "tdx-module",
            bare("module").with("dev/kmsg", log("module not loaded")),
            "module not loaded",
        ),
        (
            "tdx-module",
            bare("seamcall").with(
                "dev/kmsg",
                log("SEAMCALL (0x0000000000000021) failed: 0xc000050a00000000"),
            ),
            "0xc000050a00000000",
        ),
        (
            "driver",
            bare("nothing").with(
                "dev/kmsg",
                "6,1,0,-;tdx_host: no TDX module that can be configured: there is none\n",
            ),
            "no TDX module that can be configured",
        ),
        (
            "driver",
            bare("driver").with("dev/kmsg", log("TDX-Module waits for the tdx-host driver")),
            "is not loaded",
        ),
        (
            "state",
            host("state").with(&format!("{SYSFS}/state"), "lost\n"),
            "lost",
        ),
        (
            "state",
            host("cut").with(&format!("{SYSFS}/state"), "interrupted\n"),
            "can be saved",
        ),
        (
            "kvm",
            host("kvm").without("sys/module/kvm_intel"),
            "not loaded",
        ),
        (
            "kvm-tdx",
            host("off").with("sys/module/kvm_intel/parameters/tdx", "N\n"),
            "TDX off",
        ),
        (
            "kvm-tdx",
            host("built").without("sys/module/kvm_intel/parameters/tdx"),
            "built without TDX",
        ),
        ("updates", host("class").without(CLASS), "hand its TDs over"),
        (
            "cpus-online",
            host("online").with("sys/devices/system/cpu/online", "0,2-3\n"),
            "only 3 of 4 CPUs",
        ),
        (
            "updates-left",
            host("left").with(&format!("{SYSFS}/num_remaining_updates"), "0\n"),
            "no more updates",
        ),
    ] {
        let (all, status) = host.json(&["ok"], "ok");
        assert_eq!((status, &all["ok"]), (1, &false.into()), "{name}");
        let failed = verdicts(&all, "fail");
        assert_eq!(failed.len(), 1, "{name}: {failed:?}");
        assert_eq!(failed[0].0, name);
        assert!(failed[0].1.contains(finding), "{name}: {failed:?}");
    }
}

#[test]
fn status_says_what_is_known_and_why_the_rest_is_not() {
    let line = "result=refused step=shutdown errno=-16 leaf=TDH.SYS.SHUTDOWN \
                status=0x8000051200010000 name=UPDATE_COMPAT_SENSITIVE reason=td-build count=1 \
                from=1.5.26 to=1.5.26 attempts=1 blackout_us=42";
    let host = Host::ours("status").with(&format!("{SYSFS}/last_update"), line);
    let (status, exit) = host.json(&["status"], "status");
    assert_eq!(exit, 0);
    assert_eq!(status["interface"], "sysfs");
    assert_eq!(status["state"], "ready");
    assert_eq!(status["module_version"], "1.5.26");
    assert_eq!(status["features_offered"]["names"][1], "tdx-connect");
    assert_eq!(status["updates_left"], 10);
    assert_eq!(status["last_update"]["count"], 1);
    assert_eq!(status["module_svn"], Value::Null);
    assert_eq!(
        status["unknown"]["module_svn"],
        "only /dev/tdx_host says it, and there is none"
    );
    assert!(status["unknown"].get("state").is_none());

    let (status, _) = Host::mainline("status-c").json(&["status"], "status");
    assert_eq!(status["interface"], "sysfs-mainline");
    assert_eq!(status["state"], "ready");
    assert_eq!(status["module_version"], "1.5.26");
    assert_eq!(
        status["unknown"]["features_offered"],
        "the C driver does not say which features there are"
    );

    let said = Host::ours("status-text").run(&["status"]);
    let said = text(&said.stdout);
    for line in [
        "state                ready: the TDX module runs",
        "features configured  tdx-connect (0x40)",
        "CPUs                 4 of 4 online",
    ] {
        assert!(
            said.lines().any(|said| said == line),
            "{line} not in\n{said}"
        );
    }
}

/// What nobody knows is said to be unknown for the right reason.
#[test]
fn status_and_check_say_why_there_is_no_module_and_no_update() {
    for state in ["interrupted", "lost"] {
        // A folder cannot be read either, with another error.
        let version = format!("{SYSFS}/version");
        let host = Host::ours(&format!("none-{state}"))
            .with(&format!("{SYSFS}/state"), format!("{state}\n"))
            .without(&version)
            .with(&format!("{version}/file"), "");
        let (status, _) = host.json(&["status"], "status");
        for key in ["module_version", "module_svn", "module_hash"] {
            assert_eq!(status["unknown"][key], "no TDX module runs", "{state}");
        }
        assert_eq!(status["updates_left"], 10);
    }
    let host = Host::ours("errno")
        .without(&format!("{SYSFS}/version"))
        .with(&format!("{SYSFS}/version/file"), "");
    let (status, _) = host.json(&["status"], "status");
    assert_eq!(
        status["unknown"]["module_version"],
        "/sys/devices/faux/tdx_host/version: Is a directory"
    );

    let never_there = |name: &str, support: &str| {
        Host::ours(name)
            .with("image", image(Format::V200).bytes())
            .with(&format!("{SYSFS}/update_support"), support)
            .without(CLASS)
            .without(&format!("{SYSFS}/num_remaining_updates"))
    };
    let host = never_there("lost-before", "yes\n").with(&format!("{SYSFS}/state"), "lost\n");
    let (status, _) = host.json(&["status"], "status");
    assert_eq!(
        status["unknown"]["updates_left"],
        "TDX was lost when the driver was loaded"
    );
    let host = never_there("no-update", "no: the TDX module cannot preserve TDs\n");
    let why = "the TDX module cannot be updated on this host: the TDX module cannot preserve TDs";
    let (status, _) = host.json(&["status"], "status");
    assert_eq!(status["unknown"]["updates_left"], why);
    let (checks, exit) = host.json(&["check", &host.file("image")], "check");
    assert_eq!((verdicts(&checks, "fail"), exit), (vec![("host", why)], 1));
}

#[test]
fn without_a_driver() {
    let host = Host::empty("no-driver").with("image", image(Format::V200).bytes());
    let path = host.file("image");
    for arguments in [&["status"][..], &["update", "--yes", &path]] {
        let output = host.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("the tdx-host driver is not loaded"));
        host.json(arguments, "error");
    }
    // What is in the image can be checked all the same.
    let (checks, status) = host.json(&["check", &path], "check");
    assert_eq!(status, 0);
    assert_eq!(checks["checked_by"], "tdxctl");
    assert_eq!(
        (&checks["possible"], &checks["complete"]),
        (&true.into(), &false.into())
    );
    let passed: Vec<_> = verdicts(&checks, "pass")
        .iter()
        .map(|check| check.0)
        .collect();
    assert_eq!(
        passed,
        ["image", "sigstruct", "production", "signature", "hash"]
    );
}

#[test]
fn check_without_the_ioctl() {
    let cases = |host: Host, fails: &[&str], exit| {
        let path = host.file("image");
        let (checks, status) = host.json(&["check", &path], "check");
        let failed: Vec<_> = verdicts(&checks, "fail")
            .iter()
            .map(|check| check.0)
            .collect();
        assert_eq!((failed.as_slice(), status), (fails, exit), "{checks:#}");
        checks
    };
    let good = image(Format::V200);
    let host = |name: &str| Host::ours(&format!("check-{name}")).with("image", good.bytes());
    let mut broken = image(Format::V200);
    broken.set("module", &"flip".parse().unwrap()).unwrap();
    broken.rechecksum();

    let checks = cases(host("good"), &[], 0);
    let skipped: Vec<_> = verdicts(&checks, "skip")
        .iter()
        .map(|check| check.0)
        .collect();
    assert_eq!(skipped, ["signer", "svn", "handoff", "same", "seamldr"]);
    let signer = hex::encode(tdximage::key::signer(&KEY.modulus()));
    let trusting = host("trust").with(&format!("{SYSFS}/trusted_signer"), signer);
    let checks = cases(trusting, &[], 0);
    assert!(verdicts(&checks, "pass")
        .iter()
        .any(|check| check.0 == "signer"));

    cases(host("hash").with("image", broken.bytes()), &["hash"], 1);
    cases(
        host("cpu").with("proc/cpuinfo", CPUINFO.replace("143", "173")),
        &["cpu"],
        1,
    );
    cases(
        host("lost").with(&format!("{SYSFS}/state"), "lost\n"),
        &["host"],
        1,
    );
    cases(
        host("left").with(&format!("{SYSFS}/num_remaining_updates"), "0\n"),
        &["updates-left"],
        1,
    );
    // These pass by themselves, or can be made to.
    cases(
        host("updating").with(&format!("{SYSFS}/state"), "updating\n"),
        &["no-other-update"],
        75,
    );
    let offline = host("offline").with("sys/devices/system/cpu/online", "0-2\n");
    cases(offline, &["cpus-online"], 75);

    let mainline = Host::mainline("check-c").with("image", good.bytes());
    let checks = cases(mainline, &[], 0);
    assert_eq!(verdicts(&checks, "note")[0].0, "td-builds");
}

#[test]
fn the_firmware_class_gets_the_image() {
    let host = Host::mainline("upload").with("image", image(Format::V100).bytes());
    let (ended, status) = host.json(&["update", "--yes", &host.file("image")], "update");
    assert_eq!((status, &ended["result"]), (0, &"updated".into()));
    // The C driver takes no other format.
    let uploaded = fs::read(host.0.join(CLASS).join("data")).unwrap();
    assert_eq!(uploaded, image(Format::V200).bytes());

    let host = Host::ours("upload-ours").with("image", image(Format::V100).bytes());
    let (_, status) = host.json(&["update", "--yes", &host.file("image")], "update");
    assert_eq!(status, 0);
    let uploaded = fs::read(host.0.join(CLASS).join("data")).unwrap();
    assert_eq!(uploaded, image(Format::V100).bytes());
}

#[test]
fn an_upload_that_somebody_has_begun_is_told_from_one_that_runs() {
    let begun = Host::mainline("upload-begun")
        .with("image", image(Format::V200).bytes())
        .with(&format!("{CLASS}/loading"), "1\n");
    let output = begun.run(&["update", "--yes", &begun.file("image")]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("echo -1 > /sys/class/firmware/tdx_module/loading"),
        "{said}"
    );

    let running = Host::mainline("upload-running")
        .with("image", image(Format::V200).bytes())
        .with(&format!("{CLASS}/status"), "transferring\n");
    let output = running.run(&["update", "--yes", &running.file("image")]);
    assert_eq!(output.status.code(), Some(75));
}

#[test]
fn what_the_firmware_class_says_becomes_an_exit_status() {
    let host = |name: &str, error: &str| {
        Host::ours(&format!("class-{name}"))
            .with("image", image(Format::V200).bytes())
            .with(&format!("{CLASS}/error"), format!("transferring:{error}\n"))
    };
    let busy = "result=refused step=shutdown errno=-16 leaf=TDH.SYS.SHUTDOWN \
                status=0x8000051200020000 name=UPDATE_COMPAT_SENSITIVE reason=td-build count=2 \
                from=1.5.26 to=1.5.26 attempts=1 blackout_us=42";
    let lost = "result=lost step=install errno=-5 leaf=SEAMLDR.INSTALL status=0x8000000000020001 \
                name=EBADHASH reason=- count=0 from=1.5.26 to=- attempts=1 blackout_us=42";
    for (name, error, last_update, wait, exit) in [
        ("busy", "device-busy", busy, "0", 75),
        ("wait", "device-busy", busy, "100ms", 75),
        ("lost", "hw-error", lost, "0", 3),
        (
            "cut",
            "hw-error",
            &lost.replace("=lost", "=interrupted"),
            "0",
            4,
        ),
        ("invalid", "firmware-invalid", "result=none", "0", 1),
    ] {
        let host = host(name, error).with(&format!("{SYSFS}/last_update"), last_update);
        let image = host.file("image");
        let (ended, status) = host.json(&["update", "--yes", "--wait", wait, &image], "update");
        assert_eq!(
            (status, &ended["exit_status"]),
            (exit, &exit.into()),
            "{ended:#}"
        );
        if wait != "0" {
            assert_eq!(
                (&ended["errno"], &ended["count"]),
                (&(-110).into(), &2.into())
            );
            assert!(ended["attempts"].as_u64().unwrap() >= 3);
        }
    }
    // The C driver does not say more.
    let host = Host::mainline("class-c")
        .with("image", image(Format::V200).bytes())
        .with(&format!("{CLASS}/error"), "transferring:firmware-invalid\n");
    let (ended, status) = host.json(&["update", "--yes", &host.file("image")], "update");
    assert_eq!((status, &ended["result"]), (1, &"refused".into()));
    assert_eq!(ended["from"], "1.5.26");
}

/// The two ends of a terminal.
fn terminal() -> (fs::File, OwnedFd) {
    let (mut ours, mut theirs) = (0, 0);
    let size = libc::winsize {
        ws_row: 24,
        ws_col: 60,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: All pointers are valid or null, as openpty() allows.
    let result = unsafe {
        libc::openpty(
            &mut ours,
            &mut theirs,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            &size,
        )
    };
    assert_eq!(result, 0);
    // SAFETY: openpty() has opened them, and nobody else has them.
    unsafe { (fs::File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}

/// What a command says on a terminal on which `keys` are typed, and its exit status.
fn on_a_terminal(mut command: Command, keys: &str) -> (String, i32) {
    let (mut ours, theirs) = terminal();
    let mut child = command
        .env("TERM", "xterm-256color")
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .spawn()
        .unwrap();
    // The command holds the terminal as well.
    drop(command);
    let mut said = Vec::new();
    // Keys that are pressed before they are asked for come out in the middle of something.
    let mut byte = [0];
    while !keys.is_empty() && !said.ends_with(b"[y/N] ") {
        ours.read_exact(&mut byte).unwrap();
        said.extend(byte);
    }
    ours.write_all(keys.as_bytes()).unwrap();
    // When nobody has the other end any more, reading fails.
    let _ = ours.read_to_end(&mut said);
    let status = child.wait().unwrap().code().unwrap();
    (
        String::from_utf8(said).unwrap().replace("\r\n", "\n"),
        status,
    )
}

#[test]
fn colours_are_for_terminals() {
    let host = Host::ours("colours").with("dev/cpu/0/msr", keyids(0));
    assert!(!text(&host.run(&["ok"]).stdout).contains('\x1b'));

    let mut command = host.command(&["ok"]);
    command.env_remove("NO_COLOR");
    let (said, status) = on_a_terminal(command, "");
    assert_eq!(status, 1);
    assert!(said.contains("\x1b[1m\x1b[31mFAIL"), "{said:?}");
    let widths = said
        .lines()
        .map(|line| anstream::adapter::strip_str(line).to_string().len());
    assert!(widths.max().unwrap() <= 60, "{said}");

    let mut command = host.command(&["ok"]);
    command.env("NO_COLOR", "1");
    let (said, _) = on_a_terminal(command, "");
    assert!(said.contains("FAIL") && !said.contains('\x1b'), "{said:?}");
}

#[test]
fn on_a_terminal_an_update_is_asked_for() {
    let host = || Host::mainline("asked").with("image", image(Format::V200).bytes());
    for (keys, exit) in [("y\n", 0), ("n\n", 1), ("\n", 1)] {
        let host = host();
        let (said, status) = on_a_terminal(host.command(&["update", &host.file("image")]), keys);
        assert_eq!(status, exit, "{said}");
        assert!(said.contains("TDX module 1.5.26 runs."), "{said}");
        assert!(said.contains("Replace the TDX module? [y/N]"), "{said}");
        assert!(said.contains("All 4 CPUs stop for a moment."), "{said}");
        let uploaded = fs::read(host.0.join(CLASS).join("data")).unwrap();
        assert_eq!(uploaded.is_empty(), exit != 0);
    }
}

#[test]
fn a_terminal_shows_what_is_waited_for() {
    let busy = "result=refused step=shutdown errno=-16 leaf=TDH.SYS.SHUTDOWN \
                status=0x8000051200020000 name=UPDATE_COMPAT_SENSITIVE reason=td-build count=2 \
                from=1.5.26 to=1.5.26 attempts=1 blackout_us=42";
    let host = Host::ours("spinner")
        .with("image", image(Format::V200).bytes())
        .with(&format!("{CLASS}/error"), "transferring:device-busy\n")
        .with(&format!("{SYSFS}/last_update"), busy);
    let image = host.file("image");
    let arguments = ["update", "--yes", "--wait", "300ms", &image];
    let (said, status) = on_a_terminal(host.command(&arguments), "");
    assert_eq!(status, 75);
    assert!(
        said.contains("2 TDs are being built, attempt 3, waiting for 0."),
        "{said:?}"
    );
    let last = said.rsplit('\r').next().unwrap();
    assert!(
        last.contains("2 TDs are being built, and the time to wait is up"),
        "{said:?}"
    );

    // Ctrl-C does not need to wait for the end of the time.
    let arguments = ["update", "--yes", "--wait", "1h", &image];
    let mut child = host
        .command(&arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    // SAFETY: The child was not waited for yet, so the number is still its own.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    child.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("canceled: 2 TDs are being built"), "{said}");
    assert!(!said.contains('\r'), "{said:?}");
}

#[test]
fn who_reads_no_more_is_no_trouble() {
    let host = Host::ours("pipe");
    for arguments in [&["ok"][..], &["generate", "man"], &["generate", "schema"]] {
        let mut child = host
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn an_update_that_does_not_begin_tells_of_tds_in_danger() {
    for (state, exit, words) in [
        ("interrupted", 4, "TDs that do not run can be saved"),
        ("lost", 3, "every TD are lost until the next reboot"),
    ] {
        let host = Host::ours(&format!("danger-{state}"))
            .with("image", image(Format::V200).bytes())
            .with("random", vec![0x5a; 3 * 4096])
            .with(&format!("{SYSFS}/state"), format!("{state}\n"));
        for file in ["random", "nothing"] {
            let output = host.run(&["update", "--yes", &host.file(file)]);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(exit), "{said}");
            assert!(said.contains(file) && said.contains(words), "{said}");
        }
        if state == "interrupted" {
            let image = host.file("image");
            let (said, status) = on_a_terminal(host.command(&["update", &image]), "n\n");
            assert_eq!(status, exit, "{said}");
            assert!(
                said.contains("not updated") && said.contains(words),
                "{said}"
            );
        }
    }
}

/// Nobody is asked, but what should be known before is said: not where JSON is.
#[test]
fn an_update_without_asking_says_what_has_not_passed() {
    for arguments in [&["update", "--yes"][..], &["update", "--yes", "--json"]] {
        let host = Host::mainline("yes").with("image", image(Format::V200).bytes());
        let output = host.run(&[arguments, &[&host.file("image")]].concat());
        assert_eq!(output.status.code(), Some(0));
        let said = text(&output.stderr);
        for row in ["NOTE  td-builds ", "SKIP  signer ", "SKIP  handoff "] {
            assert!(said.contains(row), "{row} not in\n{said}");
        }
        assert!(!said.contains("PASS"), "{said}");
        assert!(!text(&output.stdout).contains("NOTE"));
    }
}

/// The exit status is that of the update, whatever becomes of the output.
#[test]
fn an_update_whose_outcome_cannot_be_printed() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full");
    let cut = "result=interrupted step=install errno=-5 leaf=SEAMLDR.INSTALL \
               status=0x8000000000020001 name=EBADHASH reason=- count=0 from=1.5.26 to=- \
               attempts=1 blackout_us=42";
    let good = |name: &str| Host::ours(name).with("image", image(Format::V200).bytes());
    let interrupted = |name: &str| {
        good(name)
            .with(&format!("{CLASS}/error"), "transferring:hw-error\n")
            .with(&format!("{SYSFS}/last_update"), cut)
    };
    for (host, outcome, exit) in [
        (good("unheard"), "TDX module updated", 0),
        (interrupted("unheard-cut"), "update interrupted", 4),
    ] {
        let image = host.file("image");
        let update = || host.command(&["update", "--yes", &image]);

        let output = update()
            .arg("--json")
            .stdout(full().unwrap())
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{said}");
        assert!(said.contains(outcome), "{said}");

        let status = update()
            .stdout(full().unwrap())
            .stderr(full().unwrap())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(exit));

        let mut child = update()
            .arg("--json")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(exit));
        assert!(text(&output.stderr).contains(outcome));
    }
    // A message that nobody hears is no crash.
    let status = Host::empty("unheard-error")
        .command(&["status"])
        .stderr(full().unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn what_is_generated() {
    let host = Host::empty("generated");
    let generate = |what: &[&str]| {
        let output = host.run(&[&["generate"], what].concat());
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let page = generate(&["man"]);
    for part in [
        ".TH tdxctl 8",
        ".SH \"EXIT STATUS\"",
        "updates\\-left",
        ".SS last-update",
    ] {
        assert!(page.contains(part), "{part} not in {page}");
    }
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef tdxctl"),
        ("fish", "complete"),
    ] {
        let completions = generate(&["completions", shell]);
        assert!(completions.contains(word) && completions.contains("update"));
        assert!(
            !completions.contains("root") && !completions.contains("generate"),
            "{shell}"
        );
    }
    assert_eq!(generate(&["schema"]), include_str!("../tdxctl.schema.json"));
}
