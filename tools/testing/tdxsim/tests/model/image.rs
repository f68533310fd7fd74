// SPDX-License-Identifier: GPL-2.0

//! Images to install: a sigstruct that is right in every field, for tests to make wrong.

use std::sync::OnceLock;

use rand::rngs::StdRng;
use rand::SeedableRng;
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use sha2::{Digest, Sha384};

use crate::machine::{Machine, MIB};
use tdxsim::Memory;

/// Where parameters, sigstruct and pages of an image lie in RAM.
pub const PARAMS: u64 = 64 * MIB;
pub const SIGSTRUCT: u64 = PARAMS + 0x1000;
pub const PAGES: u64 = PARAMS + 0x2000;

/// The key that test images are signed with.
fn key() -> &'static RsaPrivateKey {
    static KEY: OnceLock<RsaPrivateKey> = OnceLock::new();
    KEY.get_or_init(|| RsaPrivateKey::new(&mut StdRng::seed_from_u64(1), 3072).unwrap())
}

fn modulus() -> Vec<u8> {
    let mut modulus = key().n().to_bytes_le();
    modulus.resize(384, 0);
    modulus
}

/// The argument that makes P-SEAMLDR accept the test key.
pub fn signer() -> String {
    format!("signer={:x}", Sha384::digest(modulus()))
}

#[derive(Clone)]
pub struct Image {
    pub params: Vec<u8>,
    pub sigstruct: Vec<u8>,
    pub pages: Vec<u8>,
}

impl Image {
    /// An update to a module that this descriptor tells of, signed, for SVN 1.12 and hv 1.
    pub fn new(descriptor: &str) -> Image {
        let mut pages = vec![0; 3 * 4096];
        let text = format!("tdxsim-module\n{descriptor}");
        pages[..text.len()].copy_from_slice(text.as_bytes());
        Image::with_pages(pages)
    }

    /// An update with these pages.
    pub fn with_pages(pages: Vec<u8>) -> Image {
        let mut image = Image {
            params: vec![0; 4096],
            sigstruct: vec![0; 2048],
            pages,
        };
        let count = image.pages.len() / 4096;
        image.set_params(4, &1u32.to_le_bytes());
        image.set_params(8, &SIGSTRUCT.to_le_bytes());
        image.set_params(120, &(count as u64).to_le_bytes());
        for page in 0..count {
            let address = PAGES + page as u64 * 0x1000;
            image.set_params(128 + page * 8, &address.to_le_bytes());
        }
        let numbers: [(usize, u32); 8] = [
            (0, 6),
            (4, 0xE1),
            (8, 0x10000),
            (16, 0x8086),
            (24, 0x200),
            (28, 0x60),
            (32, 0x60),
            (36, 1),
        ];
        for (offset, value) in numbers {
            image.set(offset, &value.to_le_bytes());
        }
        image.set(512, &0x10001u32.to_le_bytes());
        image.set(948, &[12, 1]);
        image.set(984, &[1, 0]);
        image.set(988, &[1]);
        image.set(990, &[13, 0]);
        image.set(1024, &1u32.to_le_bytes());
        image.set(1028, &0x806F8u32.to_le_bytes());
        image.hash();
        image.sign();
        image
    }

    pub fn set(&mut self, offset: usize, bytes: &[u8]) {
        self.sigstruct[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub fn set_params(&mut self, offset: usize, bytes: &[u8]) {
        self.params[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Puts the pages' hash into the sigstruct.
    pub fn hash(&mut self) {
        let hash = Sha384::digest(&self.pages);
        self.set(900, &hash);
    }

    /// Puts key and signature into the sigstruct.
    pub fn sign(&mut self) {
        self.set(128, &modulus());
        let mut digest = Sha384::new();
        digest.update(&self.sigstruct[..128]);
        digest.update(&self.sigstruct[900..]);
        let mut signature = key()
            .sign(Pkcs1v15Sign::new::<Sha384>(), &digest.finalize())
            .unwrap();
        signature.reverse();
        self.set(516, &signature);
    }

    /// The image with something else in its sigstruct, signed again.
    pub fn changed(&self, offset: usize, bytes: &[u8]) -> Image {
        let mut image = self.clone();
        image.set(offset, bytes);
        image.sign();
        image
    }

    /// Puts everything into RAM.
    pub fn load(&self, machine: &Machine) {
        assert!(machine.ram.write(PARAMS, &self.params));
        assert!(machine.ram.write(SIGSTRUCT, &self.sigstruct));
        assert!(machine.ram.write(PAGES, &self.pages));
    }
}
