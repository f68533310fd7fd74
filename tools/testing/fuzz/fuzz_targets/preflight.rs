// SPDX-License-Identifier: GPL-2.0

//! Any file, taken through the image parser, the sigstruct and every check of the preflight.
//!
//! The files are the driver's own, compiled for the host. An input is a few bytes that say what
//! the host is like, and behind them the file that is uploaded to it. Most changes would only ever
//! break the checksum, so the mutator mends it in most inputs, and the module's hash in some.

#![no_main]

#[path = "../../../../image.rs"]
#[allow(dead_code)]
mod image;
#[path = "../../../../preflight.rs"]
#[allow(dead_code)]
mod preflight;
#[path = "../../../../sigstruct.rs"]
#[allow(dead_code)]
mod sigstruct;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use sha2::{Digest, Sha384};

use image::{Image, MAX_MODULE_PAGES, MAX_SIZE, PAGE, SIGSTRUCT_SIZE};
use preflight::{Check, Evidence, Host, Preflight, Verdict, INTEL};
use sigstruct::{Signer, Sigstruct, Svn};

/// Bytes of an input that describe the host.
const HOST: usize = 16;

/// What the first bytes of an input say of the host.
fn host(bytes: &[u8; HOST]) -> Host<'static> {
    let [flags, cpus, online, present, updates, major, minor, hv, signer, hash, ..] = *bytes;
    let flag = |bit: u32| flags & (1 << bit) != 0;
    Host {
        trusted_signer: flag(0).then_some(Signer([signer; 48])),
        running_signer: flag(1).then_some(INTEL),
        cpus: match cpus % 4 {
            0 => &[],
            1 => &[0x806F8],
            2 => &[0x806F8, 0xC06F2],
            _ => &[u32::MAX, 0],
        },
        online: online.into(),
        present: present.into(),
        other_update: online & 1 != 0,
        seamldr_ready: flag(2).then_some(flag(3)),
        strict_sigstruct: flag(4),
        updates_left: updates.into(),
        running_svn: flag(5).then_some(Svn { major, minor }),
        running_hash: [hash; 48],
        running_hv: flag(6).then_some(u16::from(hv) << (flags >> 7)),
    }
}

/// What must hold of whatever the parser takes.
fn is_well_formed(image: &Image<'_>, file: &[u8]) {
    let pages = image.nr_module_pages();
    assert!((1..=MAX_MODULE_PAGES).contains(&pages));
    assert_eq!(file.len(), (2 + pages) * PAGE);
    assert!(file.len() <= MAX_SIZE);
    assert_eq!(image.sigstruct()[..], file[PAGE..PAGE + SIGSTRUCT_SIZE]);
    assert_eq!(image.sigstruct_page(), &file[PAGE..2 * PAGE]);
    assert_eq!(image.module(), &file[2 * PAGE..]);
    assert!(image.module_pages().eq(file[2 * PAGE..].chunks(PAGE)));
    let sum = file.chunks(2).fold(0, |sum: u16, word| {
        sum.wrapping_add(u16::from_le_bytes([word[0], word[1]]))
    });
    assert_eq!(sum, 0);
}

/// Takes `file` through all of it, as the driver does, and formats all that there is to say.
fn upload(host: &Host<'_>, file: &[u8]) {
    let image = match Image::parse(file) {
        Ok(image) => image,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    is_well_formed(&image, file);

    let sigstruct = Sigstruct::new(image.sigstruct());
    let _ = format!(
        "{} {:x} {} {}",
        image.format(),
        sigstruct.date(),
        sigstruct.svn(),
        sigstruct.handoff_versions()
    );
    assert_eq!(sigstruct.modulus().len(), 384);
    assert_eq!(sigstruct.signature().len(), 384);
    let signed: usize = sigstruct.signed().iter().map(|part| part.len()).sum();
    assert!(signed < SIGSTRUCT_SIZE);

    let evidence = Evidence {
        module_hash: Sha384::digest(image.module()).into(),
        signer: Signer(Sha384::digest(sigstruct.modulus()).into()),
        signature_valid: host.online % 2 == 0,
    };
    let preflight = Preflight {
        image: &image,
        evidence: &evidence,
        host,
    };
    let verdicts: Vec<_> = preflight.run().collect();
    assert!(verdicts.iter().map(|(check, _)| check).eq(Check::ALL));
    for (check, verdict) in &verdicts {
        let broken = preflight.broken_fields().count();
        match (check, verdict) {
            (Check::Sigstruct, Verdict::Fail(_)) => assert_ne!(broken, 0),
            (Check::Sigstruct, _) => assert_eq!(broken, 0),
            _ => (),
        }
        if let Verdict::Fail(problem) = verdict {
            assert!(!format!("{check}: {problem}").is_empty());
        }
    }
    for field in preflight.broken_fields() {
        assert!(!field.to_string().is_empty());
    }
}

fuzz_target!(|input: &[u8]| {
    if let Some((bytes, file)) = input.split_first_chunk::<HOST>() {
        upload(&host(bytes), file);
    }
});

/// Makes the words of an image sum to zero.
fn mend_checksum(file: &mut [u8]) {
    let sum = file.chunks_exact(2).fold(0, |sum: u16, word| {
        sum.wrapping_add(u16::from_le_bytes([word[0], word[1]]))
    });
    if let Some(field) = file.get_mut(2..4) {
        let old = u16::from_le_bytes([field[0], field[1]]);
        field.copy_from_slice(&old.wrapping_sub(sum).to_le_bytes());
    }
}

/// Puts the module's hash where the sigstruct has it.
fn mend_hash(file: &mut [u8]) {
    const MODULE_HASH: usize = PAGE + 900;
    if file.len() > 2 * PAGE {
        let hash = Sha384::digest(&file[2 * PAGE..]);
        file[MODULE_HASH..MODULE_HASH + 48].copy_from_slice(&hash);
    }
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if let Some(file) = data[..size].get_mut(HOST..) {
        if seed % 8 >= 4 {
            mend_hash(file);
        }
        if seed % 8 != 0 {
            mend_checksum(file);
        }
    }
    size
});
