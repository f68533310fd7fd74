// SPDX-License-Identifier: GPL-2.0

//! May this image replace the TDX module now?
//!
//! P-SEAMLDR checks an image when the running module is shut down already, and some of what it
//! finds then costs every TD on the host. Nearly all of it can be known before. The checks here
//! change nothing, and each gives its verdict whatever the others say.
//!
//! This file uses `core` alone; see `image.rs`. What needs the kernel or the hardware, such as a
//! digest or a CPU's identity, is handed in.

use core::fmt;

use crate::{
    image::Image,
    sigstruct::{
        Field,
        HandoffVersions,
        Signer,
        Sigstruct,
        Svn,
        SHA384_SIZE, //
    }, //
};

/// SHA-384 of the modulus of the key that Intel signs TDX modules with.
pub(crate) const INTEL: Signer = Signer([
    0xc8, 0x57, 0x2f, 0x54, 0x88, 0x69, 0xa0, 0xbe, 0xca, 0x19, 0x37, 0x6b, 0x81, 0xc2, 0xdf, 0xfc,
    0x2a, 0x23, 0xb5, 0xa5, 0xf7, 0x1d, 0xa0, 0xb8, 0x75, 0x79, 0xb4, 0x3f, 0x40, 0x8d, 0xaa, 0x1a,
    0x33, 0xba, 0xd9, 0xc1, 0x49, 0xeb, 0x56, 0xc6, 0x34, 0xf8, 0x83, 0x73, 0x79, 0x68, 0xa3, 0x4c,
]);

/// CPUID.1:EAX without the stepping, which P-SEAMLDR does not compare.
const STEPPING: u32 = 0xf;

/// What cryptography says of an image.
#[derive(Clone, Copy)]
pub(crate) struct Evidence {
    /// SHA-384 of the module pages.
    pub(crate) module_hash: [u8; SHA384_SIZE],
    /// Whose key the sigstruct holds.
    pub(crate) signer: Signer,
    /// The signature is the signer's.
    pub(crate) signature_valid: bool,
}

/// What the host is like.
#[derive(Clone, Copy)]
pub(crate) struct Host<'a> {
    /// A signer to trust besides Intel, because root says so.
    pub(crate) trusted_signer: Option<Signer>,
    /// Who signed the running module, if not Intel: P-SEAMLDR trusts that signer.
    pub(crate) running_signer: Option<Signer>,
    /// CPUID.1:EAX of a CPU of each package.
    pub(crate) cpus: &'a [u32],
    /// Number of CPUs that are online.
    pub(crate) online: u32,
    /// Number of CPUs that are present.
    pub(crate) present: u32,
    /// Another update runs.
    pub(crate) other_update: bool,
    /// P-SEAMLDR is ready, if it says.
    pub(crate) seamldr_ready: Option<bool>,
    /// P-SEAMLDR is one of the 1.x line, which insists on more reserved bytes.
    pub(crate) strict_sigstruct: bool,
    /// How many more updates P-SEAMLDR can record.
    pub(crate) updates_left: u32,
    /// The security version of the running module, if that is known.
    pub(crate) running_svn: Option<Svn>,
    /// SHA-384 of the running module's pages.
    pub(crate) running_hash: [u8; SHA384_SIZE],
    /// The version of the handoff data that the running module writes, or has written; `None`
    /// when that is not known any more.
    pub(crate) running_hv: Option<u16>,
}

/// What a check looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Check {
    /// The fields of the sigstruct by themselves.
    Sigstruct,
    /// The module is signed for production.
    Production,
    /// The signer is known.
    Signer,
    /// The signature is the signer's.
    Signature,
    /// The module pages are those that were signed.
    Hash,
    /// The module runs on the CPUs of every package.
    Cpu,
    /// The module is no downgrade.
    Svn,
    /// The module takes the running one's handoff data over.
    Handoff,
    /// The module is another one than runs.
    Same,
    /// Every present CPU is online.
    CpusOnline,
    /// No other update runs.
    NoOtherUpdate,
    /// P-SEAMLDR is ready.
    Seamldr,
    /// P-SEAMLDR can record another update.
    UpdatesLeft,
}

impl Check {
    /// All checks, in the order in which they are made.
    pub(crate) const ALL: &'static [Self] = &[
        Self::Sigstruct,
        Self::Production,
        Self::Signer,
        Self::Signature,
        Self::Hash,
        Self::Cpu,
        Self::Svn,
        Self::Handoff,
        Self::Same,
        Self::CpusOnline,
        Self::NoOtherUpdate,
        Self::Seamldr,
        Self::UpdatesLeft,
    ];
}

/// The check's name.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sigstruct => "sigstruct",
            Self::Production => "production",
            Self::Signer => "signer",
            Self::Signature => "signature",
            Self::Hash => "hash",
            Self::Cpu => "cpu",
            Self::Svn => "svn",
            Self::Handoff => "handoff",
            Self::Same => "same",
            Self::CpusOnline => "cpus-online",
            Self::NoOtherUpdate => "no-other-update",
            Self::Seamldr => "seamldr",
            Self::UpdatesLeft => "updates-left",
        })
    }
}

/// Why an image cannot replace the running module now.
///
/// [`fmt::Display`] says it in a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Problem {
    /// A field of the sigstruct breaks a rule.
    Sigstruct(Field),
    /// The module is signed for debugging.
    Debug,
    /// Neither Intel, nor the running module's signer, nor the trusted one has signed the module.
    UnknownSigner(Signer),
    /// The signature does not verify.
    BadSignature,
    /// The module pages are not those that were signed.
    BadHash,
    /// The module does not run on a package's CPUs.
    WrongCpu {
        /// Their CPUID.1:EAX.
        eax: u32,
    },
    /// The module has no security version.
    NoSvn,
    /// The module is of another major security version.
    MajorSvn { image: Svn, running: Svn },
    /// The module is of a lower security version.
    Downgrade { image: Svn, running: Svn },
    /// The module does not take the running one's handoff data over.
    Handoff {
        image: HandoffVersions,
        running: u16,
    },
    /// Not every present CPU is online.
    CpusOffline { online: u32, present: u32 },
    /// Another update runs.
    AnotherUpdate,
    /// P-SEAMLDR is not ready.
    SeamldrNotReady,
    /// P-SEAMLDR cannot record another update.
    NoUpdatesLeft,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sigstruct(field) => write!(f, "the sigstruct's {field}"),
            Self::Debug => write!(f, "the module is signed for debugging"),
            Self::UnknownSigner(signer) => {
                write!(f, "the module is signed by an unknown signer, {signer}")
            }
            Self::BadSignature => write!(f, "the signature does not verify"),
            Self::BadHash => write!(f, "the module pages are not those that were signed"),
            Self::WrongCpu { eax } => {
                write!(
                    f,
                    "the module does not run on CPUs with CPUID.1:EAX {eax:#x}"
                )
            }
            Self::NoSvn => write!(f, "the module has no security version"),
            Self::MajorSvn { image, running } => write!(
                f,
                "the module has security version {image}, which cannot follow {running} without \
                 a reboot"
            ),
            Self::Downgrade { image, running } => write!(
                f,
                "the module has security version {image}, lower than {running} of the one that it \
                 would replace"
            ),
            Self::Handoff { image, running } => write!(
                f,
                "the module takes over from handoff versions {image}, and the TDs would come in \
                 version {running}"
            ),
            Self::CpusOffline { online, present } => {
                write!(
                    f,
                    "only {online} of {present} CPUs are online, all are needed"
                )
            }
            Self::AnotherUpdate => write!(f, "another update is running"),
            Self::SeamldrNotReady => {
                write!(f, "P-SEAMLDR was shut down, it is back after a reboot")
            }
            Self::NoUpdatesLeft => write!(f, "no updates are left before the next reboot"),
        }
    }
}

/// What came out of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is fine.
    Pass,
    /// It does not hinder, but should be said.
    Note,
    /// The update would fail.
    Fail(Problem),
    /// What is needed for it is not known.
    Skip,
}

/// An image, what is known of it, and the host that it is for.
pub(crate) struct Preflight<'a> {
    /// The image.
    pub(crate) image: &'a Image<'a>,
    /// What cryptography says of it.
    pub(crate) evidence: &'a Evidence,
    /// The host.
    pub(crate) host: &'a Host<'a>,
}

impl Preflight<'_> {
    /// Makes all checks.
    pub(crate) fn run(&self) -> impl Iterator<Item = (Check, Verdict)> + '_ {
        Check::ALL.iter().map(|&check| (check, self.check(check)))
    }

    /// Says in a sentence what came out of `check`, or nothing if it is fine.
    pub(crate) fn words(&self, check: Check, verdict: Verdict) -> Words<'_> {
        Words {
            preflight: self,
            check,
            verdict,
        }
    }

    /// All the fields that [`Check::Sigstruct`] fails for.
    pub(crate) fn broken_fields(&self) -> impl Iterator<Item = Field> + '_ {
        let sigstruct = Sigstruct::new(self.image.sigstruct());
        let broken = move |&field: &Field| !sigstruct.holds(field, self.image.module().len());

        Field::ALL
            .iter()
            .chain(self.host.strict_sigstruct.then_some(&Field::ModuleVersion))
            .copied()
            .filter(broken)
    }

    /// Makes one check.
    pub(crate) fn check(&self, check: Check) -> Verdict {
        let host = self.host;
        let evidence = self.evidence;
        let sigstruct = Sigstruct::new(self.image.sigstruct());
        let svn = sigstruct.svn();

        let problem = match check {
            Check::Sigstruct => self.broken_fields().next().map(Problem::Sigstruct),
            Check::Production => sigstruct.is_debug().then_some(Problem::Debug),
            Check::Signer => {
                let known = [Some(INTEL), host.trusted_signer, host.running_signer]
                    .contains(&Some(evidence.signer));
                (!known).then_some(Problem::UnknownSigner(evidence.signer))
            }
            Check::Signature => (!evidence.signature_valid).then_some(Problem::BadSignature),
            Check::Hash => {
                (evidence.module_hash != *sigstruct.module_hash()).then_some(Problem::BadHash)
            }
            Check::Cpu => host
                .cpus
                .iter()
                .find(|&&eax| !sigstruct.cpus().any(|cpu| (cpu ^ eax) & !STEPPING == 0))
                .map(|&eax| Problem::WrongCpu { eax }),
            Check::Svn => {
                let image = svn;
                match host.running_svn {
                    _ if image.major == 0 => Some(Problem::NoSvn),
                    None => return Verdict::Skip,
                    Some(running) if image.major != running.major => {
                        Some(Problem::MajorSvn { image, running })
                    }
                    Some(running) if image.minor < running.minor => {
                        Some(Problem::Downgrade { image, running })
                    }
                    Some(_) => None,
                }
            }
            Check::Handoff => {
                let image = sigstruct.handoff_versions();
                match host.running_hv {
                    None => return Verdict::Skip,
                    Some(running) if image.contains(running) => None,
                    Some(running) => Some(Problem::Handoff { image, running }),
                }
            }
            Check::Same if *sigstruct.module_hash() == host.running_hash => {
                return Verdict::Note;
            }
            Check::Same => None,
            Check::CpusOnline => (host.online != host.present).then_some(Problem::CpusOffline {
                online: host.online,
                present: host.present,
            }),
            Check::NoOtherUpdate => host.other_update.then_some(Problem::AnotherUpdate),
            Check::Seamldr => match host.seamldr_ready {
                None => return Verdict::Skip,
                Some(ready) => (!ready).then_some(Problem::SeamldrNotReady),
            },
            Check::UpdatesLeft => (host.updates_left == 0).then_some(Problem::NoUpdatesLeft),
        };

        problem.map_or(Verdict::Pass, Verdict::Fail)
    }
}

/// What came out of a check, in a sentence.
pub(crate) struct Words<'a> {
    preflight: &'a Preflight<'a>,
    check: Check,
    verdict: Verdict,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.check, self.verdict) {
            (_, Verdict::Pass) => Ok(()),
            (_, Verdict::Note) => write!(f, "the same TDX module is loaded already"),
            (Check::Sigstruct, Verdict::Fail(problem)) => {
                write!(f, "{problem}")?;
                self.preflight
                    .broken_fields()
                    .skip(1)
                    .try_for_each(|field| write!(f, "; {field}"))
            }
            (_, Verdict::Fail(problem)) => write!(f, "{problem}"),
            (Check::Svn, Verdict::Skip) => {
                write!(f, "P-SEAMLDR does not say which security version is loaded")
            }
            (Check::Handoff, Verdict::Skip) => {
                write!(f, "which handoff version was written is not known any more")
            }
            (_, Verdict::Skip) => write!(f, "P-SEAMLDR does not say"),
        }
    }
}
