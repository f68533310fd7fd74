// SPDX-License-Identifier: GPL-2.0

//! SHA-384 and RSA signatures with the kernel's crypto.
//!
//! C headers: [`include/crypto/sha2.h`](srctree/include/crypto/sha2.h),
//! [`include/crypto/sig.h`](srctree/include/crypto/sig.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};

use crate::sigstruct::{
    RSA_SIZE,
    SHA384_SIZE, //
};

/// Returns the SHA-384 of `data`.
pub(crate) fn sha384(data: &[u8]) -> [u8; SHA384_SIZE] {
    let mut digest = [0; SHA384_SIZE];
    // SAFETY: The buffers have the lengths that `sha384()` reads and writes.
    unsafe { bindings::sha384(data.as_ptr(), data.len(), digest.as_mut_ptr()) };
    digest
}

/// An RSA-3072 public key with the exponent 65537.
///
/// # Invariants
///
/// `tfm` is a signature algorithm of which the key is set.
pub(crate) struct RsaKey {
    tfm: NonNull<bindings::crypto_sig>,
}

/// What stands before the modulus, most significant byte first, in the DER of an RSAPublicKey:
/// SEQUENCE, and INTEGER with a leading 0, as the modulus has its highest bit set.
const DER_BEFORE: [u8; 9] = [0x30, 0x82, 0x01, 0x8a, 0x02, 0x82, 0x01, 0x81, 0x00];

/// What stands behind it: INTEGER 65537.
const DER_AFTER: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// Returns the DER of the RSAPublicKey with `modulus`, least significant byte first.
fn der(modulus: &[u8; RSA_SIZE]) -> Result<KVec<u8>> {
    let mut der = KVec::with_capacity(DER_BEFORE.len() + RSA_SIZE + DER_AFTER.len(), GFP_KERNEL)?;
    der.extend_from_slice(&DER_BEFORE, GFP_KERNEL)?;
    for &byte in modulus.iter().rev() {
        der.push(byte, GFP_KERNEL)?;
    }
    der.extend_from_slice(&DER_AFTER, GFP_KERNEL)?;
    Ok(der)
}

impl RsaKey {
    /// The key with the given modulus, least significant byte first.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] when the crypto takes it for no key, [`ENOENT`] when it knows no RSA.
    pub(crate) fn new(modulus: &[u8; RSA_SIZE]) -> Result<Self> {
        let der = der(modulus)?;
        // SAFETY: The name is a C string.
        let tfm = from_err_ptr(unsafe {
            bindings::crypto_alloc_sig(c"pkcs1(rsa,sha384)".as_char_ptr(), 0, 0)
        })?;
        // INVARIANT: Until the key is set, nothing but `drop()` is called.
        let key = Self {
            tfm: NonNull::new(tfm).ok_or(ENOMEM)?,
        };
        // SAFETY: `tfm` is valid, and the buffer has the length that is passed.
        to_result(unsafe {
            bindings::crypto_sig_set_pubkey(tfm, der.as_ptr().cast(), der.len() as u32)
        })?;
        Ok(key)
    }

    /// Checks a PKCS #1 v1.5 signature, least significant byte first, over a SHA-384.
    ///
    /// # Errors
    ///
    /// [`EBADMSG`], [`EINVAL`] or [`EKEYREJECTED`] when the signature is another one, [`ENOMEM`].
    pub(crate) fn verify(&self, signature: &[u8; RSA_SIZE], digest: &[u8; SHA384_SIZE]) -> Result {
        // The crypto maps its operands for hardware, so they can't be on the stack.
        let mut reversed = KBox::new(*signature, GFP_KERNEL)?;
        reversed.reverse();
        let digest = KBox::new(*digest, GFP_KERNEL)?;
        // SAFETY: By the type invariant `tfm` has its key. The buffers have the lengths that are
        // passed.
        to_result(unsafe {
            bindings::crypto_sig_verify(
                self.tfm.as_ptr(),
                reversed.as_ptr().cast(),
                RSA_SIZE as u32,
                digest.as_ptr().cast(),
                SHA384_SIZE as u32,
            )
        })
    }
}

impl Drop for RsaKey {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::crypto_free_sig(self.tfm.as_ptr()) };
    }
}
