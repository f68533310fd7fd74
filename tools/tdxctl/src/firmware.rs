// SPDX-License-Identifier: GPL-2.0

//! The upload of an image by the firmware class, where there is no ioctl.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use crate::device::canceled;
use crate::host::Host;
use crate::image::{Format, Image, PAGE, SIGSTRUCT_PAGES};

/// Where images are uploaded.
pub const CLASS: &str = "/sys/class/firmware/tdx_module";

/// How often to look whether an upload has ended.
const POLL: Duration = Duration::from_millis(10);

/// How long somebody else who has begun an upload may take to write the image.
const TO_WRITE: Duration = Duration::from_secs(2);

/// What became of an upload.
pub enum Uploaded {
    /// Another upload runs, this one was not begun.
    NotNow,
    /// It has ended with an error in the terms of the firmware class, as "device-busy", or without.
    Ended(Option<String>),
}

/// Whether the caller is allowed to upload.
pub fn may_upload(host: &Host) -> bool {
    let loading = host.path(&format!("{CLASS}/loading"));
    let opened = fs::OpenOptions::new().write(true).open(loading);
    !opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Uploads an image and waits for the end.
pub fn upload(host: &Host, image: &[u8]) -> io::Result<Uploaded> {
    let file = |name: &str| host.path(&format!("{CLASS}/{name}"));
    let status = || fs::read_to_string(file("status")).map(|text| text.trim().to_owned());
    let is_loading = || fs::read_to_string(file("loading")).map(|text| text.trim() != "0");

    // To write an image takes a moment.
    let began = Instant::now();
    while status()? == "idle" && is_loading()? {
        if began.elapsed() > TO_WRITE {
            return Err(io::Error::other(format!(
                "an upload was begun and is not finished; if nobody is at it, drop it with \
                 \"echo -1 > {CLASS}/loading\""
            )));
        }
        std::thread::sleep(POLL);
    }
    if status()? != "idle" {
        return Ok(Uploaded::NotNow);
    }
    fs::write(file("loading"), "1")?;
    // Once memory was short for an image, the class takes everything and does nothing.
    if !is_loading()? {
        return Err(io::Error::other(
            "no upload can be begun any more, which unloading the driver and loading it again mends",
        ));
    }
    if let Err(error) = fs::write(file("data"), image) {
        // Give up what was begun.
        let _ = fs::write(file("loading"), "-1");
        return Err(error);
    }
    match fs::write(file("loading"), "0") {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Ok(Uploaded::NotNow),
        result => result?,
    }
    let mut told = false;
    while status()? != "idle" {
        if canceled() && !told {
            // It may have ended just now, or be none that can be canceled.
            let _ = fs::write(file("cancel"), "1");
            told = true;
        }
        std::thread::sleep(POLL);
    }
    let error = fs::read_to_string(file("error"))?;
    // The phase stands before the error.
    let error = error.trim();
    let error = error.split_once(':').map_or(error, |(_, error)| error);
    Ok(Uploaded::Ended(
        (!error.is_empty()).then(|| error.to_owned()),
    ))
}

/// The image in format 0x200, the only one that the C driver takes.
pub fn in_format_0x200<'a>(file: &'a [u8], image: &Image<'_>) -> Cow<'a, [u8]> {
    if image.format() == Format::V200 {
        return Cow::Borrowed(file);
    }
    let mut header = [0; PAGE];
    header[0..2].copy_from_slice(&0x200u16.to_le_bytes());
    header[4..12].copy_from_slice(b"TDX-BLOB");
    header[12..16].copy_from_slice(&(SIGSTRUCT_PAGES as u32).to_le_bytes());
    header[16..20].copy_from_slice(&(image.nr_module_pages() as u32).to_le_bytes());

    let mut file = [&header[..], &file[PAGE..]].concat();
    // All words of a file must sum to zero.
    let sum = file.chunks_exact(2).fold(0u16, |sum, word| {
        sum.wrapping_add(u16::from_le_bytes([word[0], word[1]]))
    });
    file[2..4].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    Cow::Owned(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tdximage::{Spec, TestKey};

    #[test]
    fn the_published_format_becomes_the_other() {
        let key = TestKey::generate().unwrap();
        let spec = |format| Spec {
            format,
            pages: 3,
            ..Spec::default()
        };
        let published = spec(tdximage::Format::V100).build(&key).unwrap();
        let wanted = spec(tdximage::Format::V200).build(&key).unwrap();

        let image = Image::parse(published.bytes()).unwrap();
        assert_eq!(in_format_0x200(published.bytes(), &image), wanted.bytes());
        let image = Image::parse(wanted.bytes()).unwrap();
        assert!(matches!(
            in_format_0x200(wanted.bytes(), &image),
            Cow::Borrowed(_)
        ));
    }
}
