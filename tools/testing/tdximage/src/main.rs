// SPDX-License-Identifier: GPL-2.0

//! `tdximage`: makes, shows and breaks TDX module images for tests.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use clap::{Args, Parser, Subcommand};
use tdximage::image::parse_int;
use tdximage::{descriptor, key, published, Format, Image, Spec, Svn, TestKey, Value};

/// Makes, shows and breaks TDX module images for tests.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an RSA-3072 key for signing test images (PKCS#8 PEM).
    Keygen {
        /// The file to write; it must not exist yet.
        key: PathBuf,
    },
    /// Print a key's signer: SHA-384 of its little-endian modulus.
    Signer {
        /// The key file.
        key: PathBuf,
    },
    /// Make a signed image.
    Make(Box<Make>),
    /// Print an image's fields, and whether checksum, hash and signature are right.
    Show {
        /// The image file.
        image: PathBuf,
    },
    /// Print the fields that --corrupt takes, with offset in the file and length.
    Fields {
        /// The image format.
        #[arg(long, value_parser = format, default_value = "0x200")]
        format: Format,
    },
}

#[derive(Args)]
struct Make {
    /// The key that signs.
    #[arg(long)]
    key: PathBuf,
    /// The file to write.
    #[arg(long, short)]
    output: PathBuf,
    /// Start from the facts of a published module: 1.5.01, 1.5.05, 1.5.16, 2.0.02 or 2.0.08.
    #[arg(long, value_parser = published_spec)]
    like: Option<Spec>,
    /// The image format: 0x100 or 0x200 [default: 0x200, or as published].
    #[arg(long, value_parser = format)]
    format: Option<Format>,
    /// The module's version, in the descriptor only [default: the profile's].
    #[arg(long)]
    version: Option<String>,
    /// The security version number MAJOR.MINOR [default: 1.12].
    #[arg(long)]
    svn: Option<Svn>,
    /// The handoff version that the module writes [default: 1].
    #[arg(long, value_parser = int::<u16>)]
    hv: Option<u16>,
    /// The lowest handoff version that the module reads [default: 0].
    #[arg(long, value_parser = int::<u16>)]
    min_hv: Option<u16>,
    /// Set no_downgrade (the default, unless --like says otherwise).
    #[arg(long, conflicts_with = "downgrade")]
    no_downgrade: bool,
    /// Clear no_downgrade.
    #[arg(long)]
    downgrade: bool,
    /// CPUID.1:EAX of a CPU that may run the module, repeatable [default: 0x806F8].
    #[arg(long, value_parser = int::<u32>)]
    cpu: Vec<u32>,
    /// Leave the CPU table empty.
    #[arg(long, conflicts_with = "cpu")]
    no_cpus: bool,
    /// Module pages, 1 to 496, the descriptor's included [default: 16].
    #[arg(long, value_parser = int::<u32>)]
    pages: Option<u32>,
    /// Pages for the sigstruct in the file; firmware and Linux take one [default: 1].
    #[arg(long, value_parser = int::<u32>)]
    sigstruct_pages: Option<u32>,
    /// The handoff-pages field, one less than the pages [default: 13].
    #[arg(long, value_parser = int::<u16>)]
    handoff_pages: Option<u16>,
    /// The build date, eight decimal digits [default: 20260101].
    #[arg(long, value_parser = date)]
    date: Option<u32>,
    /// The simulator's profile: short for --descriptor profile=NAME.
    #[arg(long)]
    profile: Option<String>,
    /// A descriptor entry, repeatable: TOML values, anything else is a string.
    #[arg(long, value_name = "KEY=VALUE")]
    descriptor: Vec<String>,
    /// Seed of the noise in the module pages [default: 0].
    #[arg(long, value_parser = int::<u64>)]
    seed: Option<u64>,
    /// Change a field afterwards: a number, hex:BYTES or flip. Names: `tdximage fields`, `module`.
    #[arg(long, value_name = "FIELD=VALUE")]
    corrupt: Vec<String>,
    /// Overwrite bytes of the file afterwards: an offset, and hexadecimal digits.
    #[arg(long, value_name = "OFFSET=BYTES")]
    corrupt_at: Vec<String>,
    /// Sign again after the changes.
    #[arg(long)]
    resign: bool,
    /// Make the checksum right again after the changes.
    #[arg(long)]
    rechecksum: bool,
}

fn format(text: &str) -> Result<Format, String> {
    parse_int(text)
        .and_then(|number| Format::from_version(number.try_into().ok()?))
        .ok_or_else(|| "the formats are 0x100 and 0x200".to_owned())
}

fn int<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    parse_int(text)
        .and_then(|number| number.try_into().ok())
        .ok_or_else(|| "not a number in range".to_owned())
}

fn date(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 16) {
        Ok(date) if text.len() == 8 && text.bytes().all(|digit| digit.is_ascii_digit()) => Ok(date),
        _ => Err("a date has eight decimal digits".to_owned()),
    }
}

fn published_spec(version: &str) -> Result<Spec, String> {
    published::spec(version).ok_or_else(|| {
        format!(
            "known are {}",
            published::versions().collect::<Vec<_>>().join(", ")
        )
    })
}

fn read_key(path: &Path) -> Result<TestKey> {
    let pem = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    TestKey::from_pem(&pem).with_context(|| path.display().to_string())
}

/// Replaces `field` if `value` is there.
fn replace<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

impl Make {
    fn spec(&self) -> Result<Spec> {
        let mut spec = self.like.clone().unwrap_or_default();
        replace(&mut spec.format, self.format);
        if self.version.is_some() {
            spec.version.clone_from(&self.version);
        }
        replace(&mut spec.svn, self.svn);
        replace(&mut spec.module_hv, self.hv);
        replace(&mut spec.min_update_hv, self.min_hv);
        replace(&mut spec.pages, self.pages);
        replace(&mut spec.sigstruct_pages, self.sigstruct_pages);
        replace(&mut spec.handoff_pages, self.handoff_pages);
        replace(&mut spec.date, self.date);
        replace(&mut spec.seed, self.seed);
        if self.no_downgrade {
            spec.no_downgrade = true;
        }
        if self.downgrade {
            spec.no_downgrade = false;
        }
        if self.no_cpus || !self.cpu.is_empty() {
            spec.cpus.clone_from(&self.cpu);
        }
        if let Some(profile) = &self.profile {
            descriptor::insert(&mut spec.descriptor, "profile", profile.as_str().into())?;
        }
        for entry in &self.descriptor {
            let (key, value) = descriptor::parse_entry(entry)?;
            descriptor::insert(&mut spec.descriptor, &key, value)?;
        }
        Ok(spec)
    }

    fn run(&self) -> Result<()> {
        let key = read_key(&self.key)?;
        let mut image = self.spec()?.build(&key)?;

        for change in &self.corrupt {
            let Some((name, value)) = change.split_once('=') else {
                bail!("`{change}` is not FIELD=VALUE");
            };
            image.set(name, &value.parse::<Value>()?)?;
        }
        for change in &self.corrupt_at {
            let parsed = change.split_once('=').and_then(|(offset, bytes)| {
                Some((
                    usize::try_from(parse_int(offset)?).ok()?,
                    hex::decode(bytes).ok()?,
                ))
            });
            let Some((offset, bytes)) = parsed else {
                bail!("`{change}` is not OFFSET=BYTES");
            };
            image.write_at(offset, &bytes)?;
        }
        if self.resign {
            image.resign(&key)?;
        }
        if self.rechecksum {
            image.rechecksum();
        }
        fs::write(&self.output, image.bytes()).with_context(|| self.output.display().to_string())
    }
}

fn keygen(path: &Path) -> Result<()> {
    let pem = TestKey::generate()?.to_pem()?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| path.display().to_string())?;
    file.write_all(pem.as_bytes())
        .with_context(|| path.display().to_string())
}

/// Numbers in hexadecimal, short bytes as they are, long bytes that are all zero as a count.
fn show_field(image: &Image, name: &str, len: usize) -> Result<String> {
    let bytes = image.get_bytes(name)?;
    Ok(if name == "header.signature" {
        bytes.escape_ascii().to_string()
    } else if len <= 8 {
        format!("{:#x}", image.get_int(name)?)
    } else if bytes.iter().all(|byte| *byte == 0) {
        format!("zero ({len} bytes)")
    } else if name == "sigstruct.cpu_table" {
        let used = bytes
            .chunks_exact(4)
            .take(image.get_int("sigstruct.cpu_count")? as usize);
        let used = used.map(|cpu| {
            format!(
                "0x{:X}",
                u32::from_le_bytes([cpu[0], cpu[1], cpu[2], cpu[3]])
            )
        });
        used.collect::<Vec<_>>().join(" ")
    } else {
        hex::encode(bytes)
    })
}

fn show(path: &Path) -> Result<()> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let image = Image::parse(bytes).with_context(|| path.display().to_string())?;
    let verdict = |right| if right { "right" } else { "WRONG" };

    let mut out = io::stdout().lock();
    for field in image.fields() {
        writeln!(
            out,
            "{}: {}",
            field.name,
            show_field(&image, field.name, field.len)?
        )?;
    }
    writeln!(out, "module.bytes: {}", image.module().len())?;
    if let Some(table) = descriptor::decode(image.module()) {
        for (key, value) in &table {
            writeln!(out, "module.descriptor.{key}: {value}")?;
        }
    }
    let signer = hex::encode(image.signer());
    let whose = if signer == key::INTEL_SIGNER {
        " (Intel)"
    } else {
        ""
    };
    writeln!(out, "signer: {signer}{whose}")?;
    writeln!(out, "checksum: {}", verdict(image.checksum_is_right()))?;
    writeln!(out, "hash: {}", verdict(image.hash_is_right()))?;
    writeln!(out, "signature: {}", verdict(image.signature_is_right()))?;
    Ok(())
}

fn fields(format: Format) -> Result<()> {
    let mut out = io::stdout().lock();
    for field in format.header() {
        writeln!(
            out,
            "{:<34} {:>5} {:>5}",
            field.name, field.offset, field.len
        )?;
    }
    for field in &tdximage::layout::SIGSTRUCT {
        let offset = tdximage::layout::PAGE_SIZE + field.offset;
        writeln!(out, "{:<34} {offset:>5} {:>5}", field.name, field.len)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Keygen { key } => keygen(&key),
        Command::Signer { key } => {
            println!("{}", hex::encode(key::signer(&read_key(&key)?.modulus())));
            Ok(())
        }
        Command::Make(make) => make.run(),
        Command::Show { image } => show(&image),
        Command::Fields { format } => fields(format),
    }
}
