// SPDX-License-Identifier: GPL-2.0

//! What cryptography says of images, and what the checks of an image take besides.

use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    crypto,
    evidence,
    image::{
        Format,
        Image,
        MAX_MODULE_PAGES,
        PAGE, //
    },
    image_file::{
        image,
        put,
        put_checksum, //
    },
    preflight::{
        Evidence,
        Host,
        Preflight, //
    },
    sigstruct::Sigstruct, //
};

/// Where the sigstruct has the most significant byte of the modulus.
const MODULUS_END: usize = PAGE + 128 + 384 - 1;

/// An image of so many pages with a modulus of 3072 bits, and with a signature by nobody.
fn unsigned(pages: usize) -> Result<VVec<u8>> {
    let mut file = image(Format::V200, pages)?;
    put(&mut file, MODULUS_END, &[0xC1]);
    put_checksum(&mut file);
    Ok(file)
}

fn parse(file: &[u8]) -> Result<Image<'_>> {
    Image::parse(file).map_err(|_| EINVAL)
}

/// All that is done with an image before the CPUs are stopped.
fn preflight(file: &[u8]) -> Result<usize> {
    let image = parse(file)?;
    let evidence = evidence::gather(&image)?;
    let host = Host {
        trusted_signer: None,
        running_signer: None,
        cpus: &[0xC06F2, 0x806F8],
        online: 8,
        present: 8,
        other_update: false,
        seamldr_ready: Some(true),
        strict_sigstruct: true,
        updates_left: 1,
        running_svn: None,
        running_hash: [0; 48],
        running_hv: Some(1),
    };
    let preflight = Preflight {
        image: &image,
        evidence: &evidence,
        host: &host,
    };
    Ok(preflight.run().count())
}

/// What cannot be saved: the digest of the module, and one verification.
fn cryptography(image: &Image<'_>) -> Result {
    let sigstruct = Sigstruct::new(image.sigstruct());
    let digest = crypto::sha384(image.module());
    match crypto::RsaKey::new(sigstruct.modulus())?.verify(sigstruct.signature(), &digest) {
        Ok(()) => Err(EINVAL),
        Err(_) => Ok(()),
    }
}

#[kunit_tests(tdx_host_evidence)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_by_nobody_is_not_valid() -> Result {
        for pages in [1, 7] {
            let file = unsigned(pages)?;
            let image = parse(&file)?;
            let Evidence {
                module_hash,
                signer,
                signature_valid,
            } = evidence::gather(&image)?;
            let modulus = Sigstruct::new(image.sigstruct()).modulus();
            check!(!signature_valid, "{pages} pages: valid\n");
            check!(
                module_hash == crypto::sha384(image.module()),
                "{pages} pages: another digest\n"
            );
            check!(signer.0 == crypto::sha384(modulus), "another signer\n");
        }
        Ok(())
    }

    /// FIPS 180-4's example.
    #[test]
    fn sha384_is_that() {
        let digest = crypto::sha384(b"abc");
        assert!(digest.starts_with(&[0xcb, 0x00, 0x75, 0x3f, 0x45, 0xa3, 0x5e, 0x8b]));
        assert!(digest.ends_with(&[0x58, 0xba, 0xec, 0xa1, 0x34, 0xc8, 0x25, 0xa7]));
    }

    /// Of the largest image. The best of some rounds, as something else may run in any of them;
    /// the log has both times, and "make bench" compares them.
    #[test]
    fn what_the_checks_take_beyond_the_cryptography() -> Result {
        const ROUNDS: usize = 15;
        let file = unsigned(MAX_MODULE_PAGES)?;
        let image = parse(&file)?;
        let (mut checks, mut cryptography_alone) = (i64::MAX, i64::MAX);

        for _ in 0..ROUNDS {
            let began = Instant::<Monotonic>::now();
            preflight(&file)?;
            checks = checks.min(began.elapsed().as_nanos());

            let began = Instant::<Monotonic>::now();
            cryptography(&image)?;
            cryptography_alone = cryptography_alone.min(began.elapsed().as_nanos());
        }
        pr_info!(
            "checks of {MAX_MODULE_PAGES} pages: {} us, SHA-384 and RSA alone: {} us\n",
            checks / 1000,
            cryptography_alone / 1000
        );
        Ok(())
    }
}
