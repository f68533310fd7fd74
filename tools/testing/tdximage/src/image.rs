// SPDX-License-Identifier: GPL-2.0

//! An image in memory: read by field, changed by field, verified.
//!
//! Changing a field leaves signature and checksum alone; a test that wants one refusal and not
//! another calls [`Image::resign`] and [`Image::rechecksum`] afterwards. Where the structures lie is
//! kept beside the bytes, so that fields can still be reached after the header was spoiled.

use std::ops::Range;

use sha2::{Digest, Sha384};

use crate::key::{self, TestKey};
use crate::layout::{Field, Format, BLOB_SIGNATURE, PAGE_SIZE, SIGSTRUCT, SIGSTRUCT_SIZE};
use crate::Error;

/// A new value for a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number, written little-endian over the whole field.
    Int(u64),
    /// Bytes, written from the field's start; the rest of the field stays.
    Bytes(Vec<u8>),
    /// Invert the lowest bit of the field's first byte.
    Flip,
}

impl std::str::FromStr for Value {
    type Err = Error;

    /// Reads `flip`, `hex:BYTES`, or a number in decimal or with `0x`.
    fn from_str(text: &str) -> Result<Value, Error> {
        let bad = || Error::BadValue(text.to_owned());
        if text == "flip" {
            Ok(Value::Flip)
        } else if let Some(digits) = text.strip_prefix("hex:") {
            Ok(Value::Bytes(hex::decode(digits).map_err(|_| bad())?))
        } else {
            Ok(Value::Int(parse_int(text).ok_or_else(bad)?))
        }
    }
}

/// Reads a number in decimal, or in hexadecimal with `0x` in front.
pub fn parse_int(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// An image and where its parts lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    bytes: Vec<u8>,
    format: Format,
    sigstruct_len: usize,
}

impl Image {
    /// `bytes` has a header page, `sigstruct_len` bytes, at least one page, for the sigstruct, and
    /// the module.
    pub(crate) fn new(bytes: Vec<u8>, format: Format, sigstruct_len: usize) -> Image {
        Image {
            bytes,
            format,
            sigstruct_len,
        }
    }

    /// Takes a file apart as far as needed to reach its fields. Contents are not judged.
    pub fn parse(bytes: Vec<u8>) -> Result<Image, Error> {
        let not = |why: String| Error::NotAnImage(why);
        if bytes.len() < 2 * PAGE_SIZE {
            return Err(not(format!(
                "{} bytes hold no header and sigstruct",
                bytes.len()
            )));
        }
        let version = u16::from_le_bytes([bytes[0], bytes[1]]);
        let format = Format::from_version(version)
            .ok_or_else(|| not(format!("version {version:#x} is neither 0x100 nor 0x200")))?;

        let mut image = Image::new(bytes, format, PAGE_SIZE);
        if image.get_bytes("header.signature")? != BLOB_SIGNATURE {
            return Err(not("the header does not say TDX-BLOB".to_owned()));
        }
        let module_start = match format {
            Format::V100 => image.get_int("header.module_offset")?,
            Format::V200 => (image.get_int("header.sigstruct_pages")? + 1) * PAGE_SIZE as u64,
        };
        let module_start = usize::try_from(module_start)
            .ok()
            .filter(|start| (2 * PAGE_SIZE..=image.bytes.len()).contains(start))
            .ok_or_else(|| not(format!("the module would start at {module_start:#x}")))?;
        image.sigstruct_len = module_start - PAGE_SIZE;
        Ok(image)
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole file, by value.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The format of the header.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The sigstruct's 2048 bytes.
    pub fn sigstruct(&self) -> &[u8] {
        &self.bytes[PAGE_SIZE..PAGE_SIZE + SIGSTRUCT_SIZE]
    }

    /// The module's pages.
    pub fn module(&self) -> &[u8] {
        &self.bytes[PAGE_SIZE + self.sigstruct_len..]
    }

    /// All fields that an image of this format has.
    pub fn fields(&self) -> impl Iterator<Item = &'static Field> {
        self.format.header().iter().chain(&SIGSTRUCT)
    }

    /// Where the field `name` lies in the file. Besides the fields there is `module`, all module
    /// pages.
    pub fn locate(&self, name: &str) -> Result<Range<usize>, Error> {
        if name == "module" {
            return Ok(PAGE_SIZE + self.sigstruct_len..self.bytes.len());
        }
        let base = if name.starts_with("sigstruct.") {
            PAGE_SIZE
        } else {
            0
        };
        let field = self
            .fields()
            .find(|field| field.name == name)
            .ok_or_else(|| Error::NoField {
                name: name.to_owned(),
                format: self.format,
            })?;
        Ok(base + field.offset..base + field.range().end)
    }

    /// The bytes of the field `name`.
    pub fn get_bytes(&self, name: &str) -> Result<&[u8], Error> {
        Ok(&self.bytes[self.locate(name)?])
    }

    /// The number in the field `name`, which has at most 8 bytes.
    pub fn get_int(&self, name: &str) -> Result<u64, Error> {
        let bytes = self.get_bytes(name)?;
        let mut number = [0; 8];
        number
            .get_mut(..bytes.len())
            .ok_or(Error::ValueTooLong {
                name: name.to_owned(),
                len: bytes.len(),
            })?
            .copy_from_slice(bytes);
        Ok(u64::from_le_bytes(number))
    }

    /// Gives the field `name` a new value. Signature and checksum stay as they are.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        match value {
            Value::Int(number) => self.set_int(name, *number),
            Value::Bytes(bytes) => self.set_bytes(name, bytes),
            Value::Flip => {
                let start = self.locate(name)?.start;
                self.bytes[start] ^= 1;
                Ok(())
            }
        }
    }

    pub(crate) fn set_int(&mut self, name: &str, number: u64) -> Result<(), Error> {
        let range = self.locate(name)?;
        let (value, rest) = match number.to_le_bytes() {
            bytes if range.len() <= bytes.len() => (bytes, range.len()),
            _ => {
                return Err(Error::ValueTooLong {
                    name: name.to_owned(),
                    len: range.len(),
                })
            }
        };
        if value[rest..].iter().any(|byte| *byte != 0) {
            return Err(Error::ValueTooLong {
                name: name.to_owned(),
                len: range.len(),
            });
        }
        self.bytes[range].copy_from_slice(&value[..rest]);
        Ok(())
    }

    pub(crate) fn set_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let range = self.locate(name)?;
        if bytes.len() > range.len() {
            return Err(Error::ValueTooLong {
                name: name.to_owned(),
                len: range.len(),
            });
        }
        self.bytes[range.start..range.start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// Overwrites the file from `offset` with `bytes`; the file does not grow.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        let end = offset.saturating_add(bytes.len());
        let len = self.bytes.len();
        self.bytes
            .get_mut(offset..end)
            .ok_or(Error::OutOfRange {
                start: offset,
                end,
                len,
            })?
            .copy_from_slice(bytes);
        Ok(())
    }

    /// Writes the signature anew. Modulus and module hash stay as they are.
    pub fn resign(&mut self, key: &TestKey) -> Result<(), Error> {
        let signature = key.sign(self.sigstruct())?;
        self.set_bytes("sigstruct.signature", &signature)
    }

    /// Writes the checksum anew, so that the 16-bit words of the file sum to 0.
    pub fn rechecksum(&mut self) {
        self.bytes[2..4].fill(0);
        let checksum = word_sum(&self.bytes).wrapping_neg();
        self.bytes[2..4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Whether the 16-bit words of the file sum to 0.
    pub fn checksum_is_right(&self) -> bool {
        word_sum(&self.bytes) == 0
    }

    /// Whether the sigstruct has the hash of the module's pages.
    pub fn hash_is_right(&self) -> bool {
        self.get_bytes("sigstruct.module_hash")
            .is_ok_and(|hash| hash == Sha384::digest(self.module()).as_slice())
    }

    /// Whether the sigstruct is signed by the key whose modulus it holds.
    pub fn signature_is_right(&self) -> bool {
        match (
            self.get_bytes("sigstruct.modulus"),
            self.get_bytes("sigstruct.signature"),
        ) {
            (Ok(modulus), Ok(signature)) => key::verifies(self.sigstruct(), modulus, signature),
            _ => false,
        }
    }

    /// SHA-384 of the modulus in the sigstruct.
    pub fn signer(&self) -> [u8; 48] {
        key::signer(&self.sigstruct()[128..512])
    }
}

/// The sum of the little-endian 16-bit words; a last odd byte counts as a word of its own.
fn word_sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0u16, |sum, word| {
        let high = word.get(1).copied().unwrap_or(0);
        sum.wrapping_add(u16::from_le_bytes([word[0], high]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_sums() {
        assert_eq!(word_sum(&[0x34, 0x12, 0xCC, 0xED]), 0);
        assert_eq!(word_sum(&[0x01, 0x00, 0xFF]), 0x100);
        assert_eq!(word_sum(&[]), 0);
    }

    #[test]
    fn values_are_read() {
        assert_eq!("0x806F8".parse::<Value>().unwrap(), Value::Int(0x806F8));
        assert_eq!("12".parse::<Value>().unwrap(), Value::Int(12));
        assert_eq!(
            "hex:00ff".parse::<Value>().unwrap(),
            Value::Bytes(vec![0, 255])
        );
        assert_eq!("flip".parse::<Value>().unwrap(), Value::Flip);
        for bad in ["", "0x", "hex:0", "-1", "flop", "0x10000000000000000"] {
            assert!(bad.parse::<Value>().is_err(), "{bad}");
        }
    }
}
