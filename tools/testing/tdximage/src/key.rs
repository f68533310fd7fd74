// SPDX-License-Identifier: GPL-2.0

//! The key that signs test images, and the two digests that identify keys and modules.
//!
//! P-SEAMLDR takes RSA-3072 with the exponent 65537, PKCS#1 v1.5 and SHA-384, modulus and signature
//! little-endian. It knows Intel's key by the SHA-384 of the modulus as the sigstruct holds it, that
//! is, of the little-endian bytes (P-SEAMLDR source, `verify_manifest`).

use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha2::{Digest, Sha384};

use crate::layout::{RSA_SIZE, SIGNED};
use crate::Error;

/// The exponent that a sigstruct must have.
pub const EXPONENT: u32 = 0x10001;

/// SHA-384 of the modulus of the key that signed every image Intel has published.
pub const INTEL_SIGNER: &str = "c8572f548869a0beca19376b81c2dffc2a23b5a5f71da0b87579b43f408daa1a\
                                33bad9c149eb56c634f883737968a34c";

/// An RSA-3072 key with which tests sign images.
#[derive(Clone)]
pub struct TestKey(RsaPrivateKey);

impl TestKey {
    /// Makes a new key from the system's randomness. Takes about a second.
    pub fn generate() -> Result<TestKey, Error> {
        Ok(TestKey(RsaPrivateKey::new(&mut OsRng, RSA_SIZE * 8)?))
    }

    /// Reads a key from PKCS#8 PEM text. Another size or exponent is refused.
    pub fn from_pem(pem: &str) -> Result<TestKey, Error> {
        let key =
            RsaPrivateKey::from_pkcs8_pem(pem).map_err(|error| Error::Key(error.to_string()))?;
        if key.size() != RSA_SIZE || key.n().bits() != RSA_SIZE * 8 {
            return Err(Error::Key(format!(
                "{} bits instead of 3072",
                key.n().bits()
            )));
        }
        if *key.e() != EXPONENT.into() {
            return Err(Error::Key(format!("exponent {} instead of 65537", key.e())));
        }
        Ok(TestKey(key))
    }

    /// The key as PKCS#8 PEM text.
    pub fn to_pem(&self) -> Result<String, Error> {
        let pem = self.0.to_pkcs8_pem(LineEnding::LF);
        Ok(pem
            .map_err(|error| Error::Key(error.to_string()))?
            .to_string())
    }

    /// The modulus as a sigstruct holds it: little-endian.
    pub fn modulus(&self) -> [u8; RSA_SIZE] {
        let mut modulus = [0; RSA_SIZE];
        let bytes = self.0.n().to_bytes_le();
        modulus[..bytes.len()].copy_from_slice(&bytes);
        modulus
    }

    /// Signs the covered part of `sigstruct`, which has at least
    /// [`SIGSTRUCT_SIZE`](crate::layout::SIGSTRUCT_SIZE) bytes. Returns the signature as the
    /// sigstruct holds it: little-endian. The same input gives the same signature.
    pub fn sign(&self, sigstruct: &[u8]) -> Result<[u8; RSA_SIZE], Error> {
        let signature = self
            .0
            .sign(Pkcs1v15Sign::new::<Sha384>(), &signed_digest(sigstruct))?;
        let mut reversed = [0; RSA_SIZE];
        for (to, from) in reversed.iter_mut().zip(signature.iter().rev()) {
            *to = *from;
        }
        Ok(reversed)
    }
}

/// SHA-384 over what a sigstruct's signature covers.
pub fn signed_digest(sigstruct: &[u8]) -> [u8; 48] {
    let mut hash = Sha384::new();
    for part in SIGNED {
        hash.update(&sigstruct[part]);
    }
    hash.finalize().into()
}

/// The signer as firmware and operators know it: SHA-384 of the little-endian modulus.
pub fn signer(modulus: &[u8]) -> [u8; 48] {
    Sha384::digest(modulus).into()
}

/// Whether `signature` over `sigstruct` was made by the key with `modulus`, all little-endian.
pub fn verifies(sigstruct: &[u8], modulus: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = RsaPublicKey::new(rsa::BigUint::from_bytes_le(modulus), EXPONENT.into()) else {
        return false;
    };
    let signature: Vec<u8> = signature.iter().rev().copied().collect();
    key.verify(
        Pkcs1v15Sign::new::<Sha384>(),
        &signed_digest(sigstruct),
        &signature,
    )
    .is_ok()
}
