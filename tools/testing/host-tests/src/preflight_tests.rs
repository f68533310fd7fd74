// SPDX-License-Identifier: GPL-2.0

//! `preflight.rs`: every check on its own, and that none hides another.

use proptest::prelude::*;
use sha2::{Digest, Sha384};
use tdximage::{key, Format, Spec, Value};

use crate::image::Image;
use crate::preflight::{Check, Evidence, Host, Preflight, Problem, Verdict, INTEL};
use crate::samples::{build, good, FORMATS};
use crate::sigstruct::{Field, Signer, Svn};

/// What a kernel would find out about `image`.
fn evidence(image: &tdximage::Image) -> Evidence {
    Evidence {
        module_hash: Sha384::digest(image.module()).into(),
        signer: Signer(image.signer()),
        signature_valid: image.signature_is_right(),
    }
}

/// A host on which the small image can replace what runs.
fn host() -> Host<'static> {
    Host {
        trusted_signer: Some(Signer(good(Format::V200).signer())),
        running_signer: None,
        cpus: &[0x806F8],
        online: 4,
        present: 4,
        other_update: false,
        seamldr_ready: Some(true),
        strict_sigstruct: true,
        updates_left: 1,
        running_svn: Some(Svn {
            major: 1,
            minor: 12,
        }),
        running_hash: [0; 48],
        running_hv: Some(1),
    }
}

/// All verdicts but `Pass`. All of them, and only they, have something to say.
fn verdicts(image: &tdximage::Image, host: &Host<'_>) -> Vec<(Check, Verdict)> {
    let parsed = Image::parse(image.bytes()).unwrap();
    let preflight = Preflight {
        image: &parsed,
        evidence: &evidence(image),
        host,
    };
    preflight
        .run()
        .filter(|&(check, verdict)| {
            let words = preflight.words(check, verdict).to_string();
            assert_eq!(
                words.is_empty(),
                verdict == Verdict::Pass,
                "{check}: {words}"
            );
            verdict != Verdict::Pass
        })
        .collect()
}

/// The verdicts of the small image after some changes to its fields, signed again.
fn changed(changes: &[(&str, u64)], host: &Host<'_>) -> Vec<(Check, Verdict)> {
    let mut image = good(Format::V200);
    for (field, value) in changes {
        image
            .set(&format!("sigstruct.{field}"), &Value::Int(*value))
            .unwrap();
    }
    image.resign(&crate::samples::KEY).unwrap();
    image.rechecksum();
    verdicts(&image, host)
}

fn fails(check: Check, problem: Problem) -> (Check, Verdict) {
    (check, Verdict::Fail(problem))
}

#[test]
fn intels_signer_is_the_published_one() {
    assert_eq!(INTEL.to_string(), key::INTEL_SIGNER);
}

#[test]
fn a_good_image_passes_every_check() {
    for format in FORMATS {
        assert_eq!(verdicts(&good(format), &host()), []);
    }
}

#[test]
fn every_check_is_made_once_and_in_order() {
    let image = good(Format::V200);
    let parsed = Image::parse(image.bytes()).unwrap();
    let (evidence, host) = (evidence(&image), host());
    let preflight = Preflight {
        image: &parsed,
        evidence: &evidence,
        host: &host,
    };
    let made: Vec<Check> = preflight.run().map(|(check, _)| check).collect();
    assert_eq!(made, Check::ALL);
    let mut names: Vec<String> = made.iter().map(Check::to_string).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), Check::ALL.len());
}

#[test]
fn published_images_pass_on_their_platforms() {
    for version in tdximage::published::versions() {
        let spec = tdximage::published::spec(version).unwrap();
        for cpu in &spec.cpus {
            let host = Host {
                cpus: &[*cpu],
                running_svn: Some(Svn {
                    major: spec.svn.major,
                    minor: spec.svn.minor,
                }),
                // Those of the 2.0 line have their version there.
                strict_sigstruct: spec.svn.major < 3,
                running_hv: Some(0),
                ..host()
            };
            assert_eq!(verdicts(&build(&spec), &host), [], "{version} on {cpu:#x}");
        }
    }
}

#[test]
fn a_broken_field_is_named() {
    assert_eq!(
        changed(&[("vendor", 0x8087)], &host()),
        [fails(Check::Sigstruct, Problem::Sigstruct(Field::Vendor))],
    );
    let text = Problem::Sigstruct(Field::Vendor).to_string();
    assert!(text.contains("vendor"), "{text}");
}

#[test]
fn a_debug_module_is_refused() {
    assert_eq!(
        changed(&[("module_type", 1 << 31)], &host()),
        [fails(Check::Production, Problem::Debug)],
    );
}

#[test]
fn only_intel_the_running_signer_and_the_trusted_one_are_known() {
    let image = good(Format::V200);
    let signer = Signer(image.signer());
    for trusted_signer in [None, Some(INTEL), Some(Signer([0; 48]))] {
        let host = Host {
            trusted_signer,
            ..host()
        };
        assert_eq!(
            verdicts(&image, &host),
            [fails(Check::Signer, Problem::UnknownSigner(signer))]
        );
    }
    // P-SEAMLDR trusts whoever signed the module that runs.
    let host_of_signer = Host {
        trusted_signer: None,
        running_signer: Some(signer),
        ..host()
    };
    assert_eq!(verdicts(&image, &host_of_signer), []);
    // Intel needs no trust from root.
    let parsed = Image::parse(image.bytes()).unwrap();
    let evidence = Evidence {
        signer: INTEL,
        ..evidence(&image)
    };
    let host = Host {
        trusted_signer: None,
        ..host()
    };
    let preflight = Preflight {
        image: &parsed,
        evidence: &evidence,
        host: &host,
    };
    assert_eq!(preflight.check(Check::Signer), Verdict::Pass);
}

#[test]
fn a_sigstruct_that_was_changed_after_signing_is_refused() {
    let mut image = good(Format::V200);
    image
        .set("sigstruct.date", &Value::Int(0x2025_0101))
        .unwrap();
    image.rechecksum();
    assert_eq!(
        verdicts(&image, &host()),
        [fails(Check::Signature, Problem::BadSignature)]
    );
}

#[test]
fn module_pages_that_were_changed_are_refused() {
    let mut image = good(Format::V200);
    image.set("module", &Value::Flip).unwrap();
    image.rechecksum();
    assert_eq!(
        verdicts(&image, &host()),
        [fails(Check::Hash, Problem::BadHash)]
    );
}

#[test]
fn every_package_needs_a_cpu_in_the_table() {
    let image = build(&Spec {
        cpus: vec![0x806F8, 0xC06F0],
        ..Spec::default()
    });
    for cpus in [
        &[0x806F8][..],
        &[0x806F0, 0xC06F2],
        &[0xC06FF, 0xC06F0, 0x806F4],
    ] {
        assert_eq!(verdicts(&image, &Host { cpus, ..host() }), [], "{cpus:x?}");
    }
    for (cpus, eax) in [
        (&[0xA06D0][..], 0xA06D0),
        (&[0x806F8, 0xA06F0], 0xA06F0),
        (&[0x806E8], 0x806E8),
        (&[0x806F8, 0x1806F8], 0x1806F8),
    ] {
        assert_eq!(
            verdicts(&image, &Host { cpus, ..host() }),
            [fails(Check::Cpu, Problem::WrongCpu { eax })],
        );
    }
}

#[test]
fn a_module_without_a_cpu_table_is_refused() {
    assert_eq!(
        changed(&[("cpu_count", 0)], &host()),
        [
            fails(Check::Sigstruct, Problem::Sigstruct(Field::CpuidCount)),
            fails(Check::Cpu, Problem::WrongCpu { eax: 0x806F8 }),
        ],
    );
}

#[test]
fn security_versions_never_go_down() {
    let svn = |major, minor| Svn { major, minor };
    let verdict = |image: Svn, running_svn| {
        let changes = [
            ("major_svn", image.major.into()),
            ("minor_svn", image.minor.into()),
        ];
        changed(
            &changes,
            &Host {
                running_svn: Some(running_svn),
                ..host()
            },
        )
    };
    for (image, running) in [((1, 5), (1, 5)), ((1, 6), (1, 5)), ((3, 255), (3, 0))] {
        let (image, running) = (svn(image.0, image.1), svn(running.0, running.1));
        assert_eq!(verdict(image, running), [], "{image} after {running}");
    }
    let (image, running) = (svn(1, 4), svn(1, 5));
    assert_eq!(
        verdict(image, running),
        [fails(Check::Svn, Problem::Downgrade { image, running })],
    );
    for (image, running) in [(svn(3, 5), svn(1, 5)), (svn(1, 9), svn(3, 5))] {
        assert_eq!(
            verdict(image, running),
            [fails(Check::Svn, Problem::MajorSvn { image, running })],
        );
    }
    for running in [svn(0, 0), svn(1, 0)] {
        assert_eq!(
            verdict(svn(0, 9), running),
            [fails(Check::Svn, Problem::NoSvn)]
        );
    }
}

#[test]
fn what_p_seamldr_does_not_say_hinders_nothing() {
    let host = Host {
        running_svn: None,
        seamldr_ready: None,
        ..host()
    };
    assert_eq!(
        verdicts(&good(Format::V200), &host),
        [(Check::Svn, Verdict::Skip), (Check::Seamldr, Verdict::Skip)]
    );
    // What no P-SEAMLDR takes does not depend on it.
    assert_eq!(
        changed(&[("major_svn", 0)], &host),
        [
            fails(Check::Svn, Problem::NoSvn),
            (Check::Seamldr, Verdict::Skip)
        ]
    );
}

#[test]
fn bytes_1000_to_1024_are_reserved_for_p_seamldr_1() {
    let mut image = good(Format::V200);
    image
        .set("sigstruct.reserved_1000", &Value::Bytes(vec![0xFF; 24]))
        .unwrap();
    image.resign(&crate::samples::KEY).unwrap();
    image.rechecksum();
    let host = |strict_sigstruct| Host {
        strict_sigstruct,
        ..host()
    };
    assert_eq!(verdicts(&image, &host(false)), []);
    assert_eq!(
        verdicts(&image, &host(true)),
        [fails(
            Check::Sigstruct,
            Problem::Sigstruct(Field::ModuleVersion)
        )]
    );
}

#[test]
fn handoff_data_must_be_of_a_version_that_the_module_reads() {
    let changes = [("module_hv", 4), ("min_update_hv", 2)];
    for (hv, fine) in [
        (0, false),
        (1, false),
        (2, true),
        (3, true),
        (4, true),
        (5, false),
    ] {
        let verdicts = changed(
            &changes,
            &Host {
                running_hv: Some(hv),
                ..host()
            },
        );
        if fine {
            assert_eq!(verdicts, [], "{hv}");
        } else {
            let [(Check::Handoff, Verdict::Fail(Problem::Handoff { image, running }))] =
                verdicts[..]
            else {
                panic!("{hv}: {verdicts:?}");
            };
            assert_eq!((image.min, image.max, running), (2, 4, hv));
        }
    }
    assert_eq!(
        changed(
            &changes,
            &Host {
                running_hv: None,
                ..host()
            }
        ),
        [(Check::Handoff, Verdict::Skip)],
    );
}

#[test]
fn the_running_module_again_is_said_but_not_refused() {
    let image = good(Format::V200);
    let running_hash = evidence(&image).module_hash;
    assert_eq!(
        verdicts(
            &image,
            &Host {
                running_hash,
                ..host()
            }
        ),
        [(Check::Same, Verdict::Note)],
    );
}

#[test]
fn the_host_must_be_ready() {
    let image = good(Format::V200);
    let (online, present) = (3, 4);
    assert_eq!(
        verdicts(
            &image,
            &Host {
                online,
                present,
                ..host()
            }
        ),
        [fails(
            Check::CpusOnline,
            Problem::CpusOffline { online, present }
        )],
    );
    assert_eq!(
        verdicts(
            &image,
            &Host {
                seamldr_ready: Some(false),
                ..host()
            }
        ),
        [fails(Check::Seamldr, Problem::SeamldrNotReady)],
    );
    assert_eq!(
        verdicts(
            &image,
            &Host {
                updates_left: 0,
                ..host()
            }
        ),
        [fails(Check::UpdatesLeft, Problem::NoUpdatesLeft)],
    );
}

#[test]
fn no_problem_hides_another() {
    let mut image = good(Format::V200);
    image.set("sigstruct.vendor", &Value::Int(0)).unwrap();
    image
        .set("sigstruct.module_type", &Value::Int(1 << 31))
        .unwrap();
    image.set("sigstruct.minor_svn", &Value::Int(1)).unwrap();
    image.set("module", &Value::Flip).unwrap();
    image.rechecksum();
    let host = Host {
        trusted_signer: None,
        cpus: &[0xA06D0],
        online: 1,
        present: 2,
        other_update: true,
        seamldr_ready: Some(false),
        updates_left: 0,
        running_hv: Some(9),
        ..host()
    };
    let failed: Vec<Check> = verdicts(&image, &host)
        .into_iter()
        .map(|(check, verdict)| {
            let Verdict::Fail(problem) = verdict else {
                panic!("{check}: {verdict:?}")
            };
            assert!(!problem.to_string().is_empty());
            check
        })
        .collect();
    let all_but_same: Vec<Check> = Check::ALL
        .iter()
        .copied()
        .filter(|check| *check != Check::Same)
        .collect();
    assert_eq!(failed, all_but_same);
}

proptest! {
    #[test]
    fn any_bit_of_what_is_signed_counts(at in 0usize..1276, bit in 0u32..8) {
        let offset = 4096 + if at < 128 { at } else { at - 128 + 900 };
        let mut image = good(Format::V200);
        let byte = image.bytes()[offset] ^ (1 << bit);
        image.write_at(offset, &[byte]).unwrap();
        image.rechecksum();
        let failed = verdicts(&image, &host());
        prop_assert!(failed.contains(&fails(Check::Signature, Problem::BadSignature)));
    }

    #[test]
    fn any_bit_of_the_module_counts(at in any::<prop::sample::Index>(), bit in 0u32..8) {
        let mut image = good(Format::V200);
        let offset = 2 * 4096 + at.index(image.module().len());
        let byte = image.bytes()[offset] ^ (1 << bit);
        image.write_at(offset, &[byte]).unwrap();
        image.rechecksum();
        prop_assert_eq!(verdicts(&image, &host()), [fails(Check::Hash, Problem::BadHash)]);
    }
}
