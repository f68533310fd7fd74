// SPDX-License-Identifier: GPL-2.0

//! TDX module images for tests.
//!
//! An *image* is the file an operator uploads: a header page, the sigstruct that P-SEAMLDR checks,
//! and the pages of the TDX module. This crate writes images whose every field is true (module hash,
//! RSA-3072 signature by a test key, checksum), and changes single fields of them afterwards, so that
//! a test can show which check refuses what.
//!
//! - [`layout`] names every field of the two image headers and of the sigstruct.
//! - [`Spec`] says what an image shall hold, [`Spec::build`] makes it.
//! - [`Image`] is the result: readable by field, changeable by field, verifiable.
//! - [`TestKey`] signs.
//! - [`published`] has the facts of some images that Intel has published.
//!
//! The module pages are no TDX module. The first one starts with a [`descriptor`] that the simulated
//! TDX host reads, the others hold reproducible noise.

pub mod descriptor;
pub mod image;
pub mod key;
pub mod layout;
pub mod published;
pub mod spec;

pub use image::{Image, Value};
pub use key::TestKey;
pub use layout::Format;
pub use spec::{Spec, Svn};

/// What can go wrong when an image or a key is made, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is no RSA key of 3072 bits with the exponent 65537, or no PKCS#8 PEM at all.
    #[error("not a usable signing key: {0}")]
    Key(String),
    /// The operation on the RSA key failed.
    #[error("RSA: {0}")]
    Rsa(#[from] rsa::Error),
    /// No field of that name exists in this image format.
    #[error("no field `{name}` in an image of format {format}")]
    NoField {
        /// The name asked for.
        name: String,
        /// The image's format.
        format: Format,
    },
    /// The value does not fit into the field.
    #[error("field `{name}` has {len} bytes, the value does not fit")]
    ValueTooLong {
        /// The field's name.
        name: String,
        /// The field's length in bytes.
        len: usize,
    },
    /// A text is neither a number, nor `hex:…`, nor `flip`.
    #[error("`{0}` is no value: expected a number, hex:BYTES or flip")]
    BadValue(String),
    /// An offset or length lies outside the image.
    #[error("bytes {start}..{end} lie outside the image of {len} bytes")]
    OutOfRange {
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
        /// The image's length.
        len: usize,
    },
    /// What was asked for cannot be put into an image.
    #[error("{0}")]
    Spec(String),
    /// A file is no image that can be taken apart.
    #[error("not a TDX module image: {0}")]
    NotAnImage(String),
}
