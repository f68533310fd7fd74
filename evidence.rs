// SPDX-License-Identifier: GPL-2.0

//! What cryptography says of an image, for the checks in `preflight.rs`.
//!
//! This is what takes the time of an update, apart from P-SEAMLDR's part, and no CPU is stopped
//! for it.

use kernel::prelude::*;

use crate::{
    crypto,
    image::Image,
    preflight::Evidence,
    sigstruct::{
        Signer,
        Sigstruct, //
    }, //
};

/// Lets cryptography look at `image`.
///
/// # Errors
///
/// Those of the kernel, such as [`ENOMEM`]; what is wrong with the image is evidence.
pub(crate) fn gather(image: &Image<'_>) -> Result<Evidence> {
    let sigstruct = Sigstruct::new(image.sigstruct());
    let mut signed = KVec::new();
    for part in sigstruct.signed() {
        signed.extend_from_slice(part, GFP_KERNEL)?;
    }
    let signature_valid = match crypto::RsaKey::new(sigstruct.modulus())
        .and_then(|key| key.verify(sigstruct.signature(), &crypto::sha384(&signed)))
    {
        Ok(()) => true,
        // The signature's or the key's fault, and not the kernel's.
        Err(error) if [EBADMSG, EINVAL, EKEYREJECTED].contains(&error) => false,
        Err(error) => return Err(error),
    };

    Ok(Evidence {
        module_hash: crypto::sha384(image.module()),
        signer: Signer(crypto::sha384(sigstruct.modulus())),
        signature_valid,
    })
}
