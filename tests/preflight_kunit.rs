// SPDX-License-Identifier: GPL-2.0

//! Which images are refused before the running module is shut down.

use kernel::prelude::*;

use crate::{
    image::{
        Format,
        Image,
        PAGE, //
    },
    image_file::{
        image,
        put,
        put_checksum, //
    },
    preflight::{
        Check,
        Evidence,
        Host,
        Preflight,
        Verdict,
        INTEL, //
    },
    sigstruct::{
        Signer,
        Svn,
        SHA384_SIZE, //
    }, //
};

const HASH: [u8; SHA384_SIZE] = [0xA5; SHA384_SIZE];
const OTHER_HASH: [u8; SHA384_SIZE] = [0x5A; SHA384_SIZE];
const OTHER_SIGNER: Signer = Signer([0x11; SHA384_SIZE]);

/// The fields of a sigstruct that are not zero, with their offsets: P-SEAMLDR's source.
const SIGSTRUCT: [(usize, u32); 15] = [
    (0, 6),
    (4, 0xE1),
    (8, 0x1_0000),
    (16, 0x8086),
    (24, 0x200),
    (28, 0x60),
    (32, 0x60),
    (36, 1),
    (512, 0x1_0001),
    (958, 0x1000),
    // The highest and the lowest handoff version.
    (984, 2 | 1 << 16),
    // The CPUs.
    (1024, 3),
    (1028, 0xA06F0),
    (1032, 0xC06F0),
    (1036, 0x806F0),
];

/// An image and its host, which the checks have nothing against.
struct Case {
    file: VVec<u8>,
    evidence: Evidence,
    host: Host<'static>,
}

impl Case {
    fn new() -> Result<Self> {
        let mut case = Self {
            file: image(Format::V200, 3)?,
            evidence: Evidence {
                module_hash: HASH,
                signer: INTEL,
                signature_valid: true,
            },
            host: Host {
                trusted_signer: None,
                running_signer: None,
                cpus: &[0xC06F2, 0x806F8],
                online: 8,
                present: 8,
                other_update: false,
                seamldr_ready: Some(true),
                strict_sigstruct: true,
                updates_left: 1,
                running_svn: Some(Svn { major: 1, minor: 5 }),
                running_hash: OTHER_HASH,
                running_hv: Some(1),
            },
        };
        put(&mut case.file, PAGE, &[0; 2048]);
        for (offset, value) in SIGSTRUCT {
            case.put_u32(offset, value);
        }
        put(&mut case.file, PAGE + 900, &HASH);
        case.put_svn(1, 5);
        Ok(case)
    }

    fn put_u32(&mut self, offset: usize, value: u32) {
        put(&mut self.file, PAGE + offset, &value.to_le_bytes());
    }

    fn put_svn(&mut self, major: u8, minor: u8) {
        put(&mut self.file, PAGE + 948, &[minor, major]);
    }

    fn put_handoff_versions(&mut self, min: u16, max: u16) {
        self.put_u32(984, u32::from(max) | u32::from(min) << 16);
    }

    /// Makes all checks, of which `noticing` is to give `verdict`, and the others pass.
    fn check(&mut self, row: usize, noticing: Check, verdict: Verdict) -> Result {
        put_checksum(&mut self.file);
        let image = Image::parse(&self.file).map_err(|_| EINVAL)?;
        let preflight = Preflight {
            image: &image,
            evidence: &self.evidence,
            host: &self.host,
        };

        for (check, got) in preflight.run() {
            let wanted = if check == noticing {
                verdict
            } else {
                Verdict::Pass
            };
            check!(
                got == wanted,
                "row {row}: {check:?}: {got:?}, not {wanted:?}\n"
            );
        }
        check!(
            preflight.run().any(|(check, _)| check == noticing),
            "row {row}: no {noticing:?}\n"
        );
        Ok(())
    }
}

#[kunit_tests(tdx_host_preflight)]
mod tests {
    use super::*;
    use crate::{
        check::Text,
        preflight::Problem,
        sigstruct::{
            Field,
            HandoffVersions, //
        },
        uapi, //
    };

    const fn svn(major: u8, minor: u8) -> Svn {
        Svn { major, minor }
    }

    /// What is changed, which check notices, and its verdict.
    type Row = (fn(&mut Case), Check, Verdict);

    const ONE_THING_WRONG: &[Row] = &[
        (
            |case| case.put_u32(16, 0x8087),
            Check::Sigstruct,
            Verdict::Fail(Problem::Sigstruct(Field::Vendor)),
        ),
        (
            |case| case.put_u32(1024, 256),
            Check::Sigstruct,
            Verdict::Fail(Problem::Sigstruct(Field::CpuidCount)),
        ),
        (
            |case| case.put_u32(1000, 1),
            Check::Sigstruct,
            Verdict::Fail(Problem::Sigstruct(Field::ModuleVersion)),
        ),
        (
            |case| case.put_u32(12, 1 << 31),
            Check::Production,
            Verdict::Fail(Problem::Debug),
        ),
        (
            |case| case.evidence.signer = OTHER_SIGNER,
            Check::Signer,
            Verdict::Fail(Problem::UnknownSigner(OTHER_SIGNER)),
        ),
        (
            |case| case.evidence.signature_valid = false,
            Check::Signature,
            Verdict::Fail(Problem::BadSignature),
        ),
        (
            |case| case.evidence.module_hash = OTHER_HASH,
            Check::Hash,
            Verdict::Fail(Problem::BadHash),
        ),
        // Those of one package.
        (
            |case| case.host.cpus = &[0xC06F2, 0xA06D1],
            Check::Cpu,
            Verdict::Fail(Problem::WrongCpu { eax: 0xA06D1 }),
        ),
        (
            |case| case.put_svn(0, 5),
            Check::Svn,
            Verdict::Fail(Problem::NoSvn),
        ),
        (
            |case| case.put_svn(2, 5),
            Check::Svn,
            Verdict::Fail(Problem::MajorSvn {
                image: svn(2, 5),
                running: svn(1, 5),
            }),
        ),
        (
            |case| case.put_svn(1, 4),
            Check::Svn,
            Verdict::Fail(Problem::Downgrade {
                image: svn(1, 4),
                running: svn(1, 5),
            }),
        ),
        (
            |case| case.host.running_svn = None,
            Check::Svn,
            Verdict::Skip,
        ),
        (
            |case| case.put_handoff_versions(2, 3),
            Check::Handoff,
            Verdict::Fail(Problem::Handoff {
                image: HandoffVersions { min: 2, max: 3 },
                running: 1,
            }),
        ),
        (
            |case| case.put_handoff_versions(0, 0),
            Check::Handoff,
            Verdict::Fail(Problem::Handoff {
                image: HandoffVersions { min: 0, max: 0 },
                running: 1,
            }),
        ),
        (
            |case| case.host.running_hv = None,
            Check::Handoff,
            Verdict::Skip,
        ),
        (
            |case| case.host.running_hash = HASH,
            Check::Same,
            Verdict::Note,
        ),
        (
            |case| case.host.online = 7,
            Check::CpusOnline,
            Verdict::Fail(Problem::CpusOffline {
                online: 7,
                present: 8,
            }),
        ),
        (
            |case| case.host.other_update = true,
            Check::NoOtherUpdate,
            Verdict::Fail(Problem::AnotherUpdate),
        ),
        (
            |case| case.host.seamldr_ready = Some(false),
            Check::Seamldr,
            Verdict::Fail(Problem::SeamldrNotReady),
        ),
        (
            |case| case.host.seamldr_ready = None,
            Check::Seamldr,
            Verdict::Skip,
        ),
        (
            |case| case.host.updates_left = 0,
            Check::UpdatesLeft,
            Verdict::Fail(Problem::NoUpdatesLeft),
        ),
    ];

    const NOTHING_WRONG: &[fn(&mut Case)] = &[
        |_| (),
        |case| case.put_svn(1, 6),
        |case| case.put_handoff_versions(0, 1),
        |case| case.put_handoff_versions(1, 1),
        // Others may sign for hosts that trust them.
        |case| {
            case.evidence.signer = OTHER_SIGNER;
            case.host.trusted_signer = Some(OTHER_SIGNER);
        },
        |case| {
            case.evidence.signer = OTHER_SIGNER;
            case.host.running_signer = Some(OTHER_SIGNER);
        },
        // These bytes hold a version for P-SEAMLDR 2.0.
        |case| {
            case.put_u32(1000, 1);
            case.host.strict_sigstruct = false;
        },
    ];

    #[test]
    fn one_thing_wrong() -> Result {
        for (row, &(change, check, verdict)) in ONE_THING_WRONG.iter().enumerate() {
            let mut case = Case::new()?;
            change(&mut case);
            case.check(row, check, verdict)?;
        }
        Ok(())
    }

    #[test]
    fn nothing_wrong() -> Result {
        for (row, change) in NOTHING_WRONG.iter().enumerate() {
            let mut case = Case::new()?;
            change(&mut case);
            for &check in Check::ALL {
                case.check(row, check, Verdict::Pass)?;
            }
        }
        Ok(())
    }

    #[test]
    fn every_check_can_fail() -> Result {
        for &check in Check::ALL {
            let fails = |&(_, at, verdict): &Row| {
                at == check && matches!(verdict, Verdict::Fail(_) | Verdict::Note)
            };
            check!(ONE_THING_WRONG.iter().any(fails), "no row for {check:?}\n");
        }
        Ok(())
    }

    #[test]
    fn words_for_all_that_is_not_well() -> Result {
        for (row, &(change, check, verdict)) in ONE_THING_WRONG.iter().enumerate() {
            let mut case = Case::new()?;
            change(&mut case);
            put_checksum(&mut case.file);
            let image = Image::parse(&case.file).map_err(|_| EINVAL)?;
            let preflight = Preflight {
                image: &image,
                evidence: &case.evidence,
                host: &case.host,
            };

            let text = Text::of(preflight.words(check, verdict));
            let words = text.as_str();
            check!(!words.is_empty(), "row {row}: {check:?}: no words\n");
            // An ioctl passes it on with a zero byte behind it.
            check!(
                words.len() < uapi::TEXT_SIZE && !words.contains(['\n', '\0']),
                "row {row}: {check:?}: \"{words}\"\n"
            );
            let text = Text::of(preflight.words(check, Verdict::Pass));
            check!(
                text.as_str() == "",
                "row {row}: {check:?}: words for a pass\n"
            );
        }
        Ok(())
    }

    #[test]
    fn words_name_every_broken_field() -> Result {
        let mut case = Case::new()?;
        case.put_u32(16, 0x8087);
        case.put_u32(8, 0x2_0000);
        put_checksum(&mut case.file);
        let image = Image::parse(&case.file).map_err(|_| EINVAL)?;
        let preflight = Preflight {
            image: &image,
            evidence: &case.evidence,
            host: &case.host,
        };

        let verdict = preflight.check(Check::Sigstruct);
        let text = Text::of(preflight.words(Check::Sigstruct, verdict));
        let words = text.as_str();
        check!(
            words == "the sigstruct's header version must be 0x10000; vendor must be 0x8086",
            "\"{words}\"\n"
        );
        Ok(())
    }
}
