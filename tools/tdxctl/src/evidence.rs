// SPDX-License-Identifier: GPL-2.0

//! Image files, and what cryptography says of them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{bail, Context, Result};
use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey};
use sha2::{Digest, Sha384};

use crate::image::{self, Image, MAX_SIZE};
use crate::preflight::Evidence;
use crate::sigstruct::{Signer, Sigstruct};

/// The exponent of the key that signs a TDX module.
const EXPONENT: u32 = 0x1_0001;

/// The name of a file for people. Control characters are escaped: a terminal would obey them.
pub fn name(path: &Path) -> String {
    plain(&path.display().to_string())
}

/// A text with its control characters escaped.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            plain.extend(letter.escape_default());
        } else {
            plain.push(letter);
        }
    }
    plain
}

/// Reads the file at `path`, which is meant to be an image.
///
/// What is longer than any image is not read to its end.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let named = || name(path);
    let file = File::open(path).with_context(named)?;
    let metadata = file.metadata().with_context(named)?;
    if metadata.is_dir() {
        bail!("{} is a folder, not a TDX module image", named());
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(named)?;
    if bytes.is_empty() {
        bail!("{} is empty", named());
    }
    if bytes.len() > MAX_SIZE && metadata.is_file() {
        let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        let error = image::Error::TooLong {
            len: len.max(bytes.len()),
        };
        bail!("{} is not a TDX module image: {error}", named());
    }
    Ok(bytes)
}

/// Takes `bytes` apart, which were read from `path`.
pub fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Image<'a>> {
    Image::parse(bytes).map_err(|error| {
        // Intel publishes the parts of an image too, with the same name.
        let suffix = path.extension().and_then(|suffix| suffix.to_str());
        let hint = match suffix {
            Some("bin" | "so" | "sigstruct") => {
                "; the images that Intel publishes have the suffix .blob"
            }
            _ => "",
        };
        anyhow::anyhow!("{} is not a TDX module image: {error}{hint}", name(path))
    })
}

/// Lets cryptography look at an image, as `evidence.rs` does in the driver.
pub fn of(image: &Image<'_>) -> Evidence {
    let sigstruct = Sigstruct::new(image.sigstruct());
    let mut signed = Sha384::new();
    for part in sigstruct.signed() {
        signed.update(part);
    }
    let mut signature = *sigstruct.signature();
    signature.reverse();
    let modulus = BigUint::from_bytes_le(sigstruct.modulus());
    let signature_valid = RsaPublicKey::new(modulus, EXPONENT.into()).is_ok_and(|key| {
        key.verify(
            Pkcs1v15Sign::new::<Sha384>(),
            &signed.finalize(),
            &signature,
        )
        .is_ok()
    });

    Evidence {
        module_hash: Sha384::digest(image.module()).into(),
        signer: Signer(Sha384::digest(sigstruct.modulus()).into()),
        signature_valid,
    }
}
