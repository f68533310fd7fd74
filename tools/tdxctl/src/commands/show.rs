// SPDX-License-Identifier: GPL-2.0

//! `tdxctl show`: what is in an image. Needs neither TDX nor root.

use std::path::Path;

use serde::Serialize;

use crate::cli::Exit;
use crate::image::Image;
use crate::output::{self, Row};
use crate::preflight::INTEL;
use crate::sigstruct::{Field, HandoffVersions, Sigstruct, Svn};
use crate::{evidence, Failure};

/// A security version as JSON has it.
#[derive(Serialize)]
pub struct SvnJson {
    major: u8,
    minor: u8,
}

impl From<Svn> for SvnJson {
    fn from(svn: Svn) -> Self {
        Self {
            major: svn.major,
            minor: svn.minor,
        }
    }
}

#[derive(Serialize)]
struct HandoffJson {
    min: u16,
    max: u16,
}

impl From<HandoffVersions> for HandoffJson {
    fn from(versions: HandoffVersions) -> Self {
        Self {
            min: versions.min,
            max: versions.max,
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Shown {
    image: String,
    format: String,
    size: usize,
    module_pages: usize,
    svn: SvnJson,
    handoff_versions: HandoffJson,
    date: String,
    production: bool,
    for_seamldr_2: bool,
    cpus: Vec<String>,
    signer: String,
    signer_is_intel: bool,
    module_hash: String,
    hash_valid: bool,
    signature_valid: bool,
    sigstruct_problems: Vec<String>,
}

/// The command.
pub fn run(path: &Path, json: bool) -> Result<Exit, Failure> {
    let bytes = evidence::read(path)?;
    let image = evidence::parse(path, &bytes)?;
    let shown = Shown::new(path, bytes.len(), &image);

    if json {
        output::print_json(&shown)?;
    } else {
        output::print(&output::table(&shown.rows()))?;
    }
    let valid = shown.hash_valid && shown.signature_valid && shown.sigstruct_problems.is_empty();
    Ok(if valid { Exit::Ok } else { Exit::Failed })
}

/// The date in a sigstruct, whose hexadecimal digits are those of the date.
pub fn date(date: u32) -> String {
    format!(
        "{:04x}-{:02x}-{:02x}",
        date >> 16,
        (date >> 8) & 0xff,
        date & 0xff
    )
}

impl Shown {
    fn new(path: &Path, size: usize, image: &Image<'_>) -> Self {
        let sigstruct = Sigstruct::new(image.sigstruct());
        let evidence = evidence::of(image);
        let broken = |field: &&Field| !sigstruct.holds(**field, image.module().len());

        Self {
            image: path.display().to_string(),
            format: image.format().to_string(),
            size,
            module_pages: image.nr_module_pages(),
            svn: sigstruct.svn().into(),
            handoff_versions: sigstruct.handoff_versions().into(),
            date: date(sigstruct.date()),
            production: !sigstruct.is_debug(),
            for_seamldr_2: sigstruct.has_version(),
            cpus: sigstruct.cpus().map(|eax| format!("{eax:#x}")).collect(),
            signer: evidence.signer.to_string(),
            signer_is_intel: evidence.signer == INTEL,
            module_hash: hex::encode(sigstruct.module_hash()),
            hash_valid: evidence.module_hash == *sigstruct.module_hash(),
            signature_valid: evidence.signature_valid,
            sigstruct_problems: Field::ALL
                .iter()
                .filter(broken)
                .map(Field::to_string)
                .collect(),
        }
    }

    fn rows(&self) -> Vec<Row> {
        let Self {
            svn,
            handoff_versions: hv,
            ..
        } = self;
        let mut rows = vec![
            Row::new("image", evidence::plain(&self.image)),
            Row::new(
                "format",
                format!(
                    "{}, {} bytes, {} module pages",
                    self.format, self.size, self.module_pages
                ),
            ),
            Row::new(
                "signer",
                match self.signer_is_intel {
                    true => "Intel".to_owned(),
                    false => format!("not Intel, but {}", self.signer),
                },
            ),
            Row::new("signed on", &*self.date),
            Row::new(
                "signed for",
                if self.production {
                    "production"
                } else {
                    "debugging"
                },
            ),
            Row::new("SVN", format!("{}.{}", svn.major, svn.minor)),
            Row::new(
                "handoff versions",
                format!("takes over from {} to {}", hv.min, hv.max),
            ),
            Row::new(
                "CPUs",
                match self.cpus.is_empty() {
                    true => "none".to_owned(),
                    false => format!("{} (CPUID.1:EAX, any stepping)", self.cpus.join(" ")),
                },
            ),
            Row::new(
                "module hash",
                format!("{}: {}", verifies(self.hash_valid), self.module_hash),
            ),
            Row::new("signature", verifies(self.signature_valid)),
        ];
        if self.for_seamldr_2 {
            rows.push(Row::new("P-SEAMLDR", "asks for the 2.0 line"));
        }
        for problem in &self.sigstruct_problems {
            rows.push(Row::new("sigstruct", format!("WRONG: {problem}")));
        }
        rows
    }
}

fn verifies(valid: bool) -> &'static str {
    if valid {
        "verifies"
    } else {
        "DOES NOT VERIFY"
    }
}
