// SPDX-License-Identifier: GPL-2.0

//! Images for the tests, all signed by one key that is made when the first is asked for.

use std::sync::LazyLock;

use tdximage::{Format, Image, Spec, TestKey};

/// The signer of all test images.
pub static KEY: LazyLock<TestKey> = LazyLock::new(|| TestKey::generate().unwrap());

/// Both formats of an image.
pub const FORMATS: [Format; 2] = [Format::V100, Format::V200];

/// A small image as it should be.
pub fn good(format: Format) -> Image {
    static IMAGES: LazyLock<[Image; 2]> = LazyLock::new(|| {
        FORMATS.map(|format| {
            build(&Spec {
                format,
                pages: 5,
                ..Spec::default()
            })
        })
    });
    let [v100, v200] = &*IMAGES;
    match format {
        Format::V100 => v100.clone(),
        Format::V200 => v200.clone(),
    }
}

/// The image that `spec` describes.
pub fn build(spec: &Spec) -> Image {
    spec.build(&KEY).unwrap()
}
