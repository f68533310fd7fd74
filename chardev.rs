// SPDX-License-Identifier: GPL-2.0

//! The ioctls of `/dev/tdx_host`.
//!
//! `include/uapi/linux/tdx_host.h` describes them. What user space has to say is checked here;
//! what comes of it is the affair of the files that do the same for sysfs and firmware uploads.

use core::{
    fmt::{
        Display,
        Write, //
    },
    mem::size_of, //
};

use kernel::{
    fs::File,
    miscdevice::{
        MiscDevice,
        MiscDeviceRegistration, //
    },
    page::PAGE_SIZE,
    prelude::*,
    str::NullTerminatedFormatter,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceWriter, //
    }, //
};

use zerocopy::FromZeros;

use crate::{
    extensible::Place,
    image::{
        Image,
        MAX_SIZE, //
    },
    inspect::{
        self,
        Candidate, //
    },
    lsm,
    metadata::{
        SeamldrInfo,
        Version, //
    },
    module_update,
    outcome::{
        self,
        Reason,
        Report, //
    },
    preflight::{
        Check,
        Preflight,
        Verdict, //
    },
    setup::{
        Setup,
        State, //
    },
    smp,
    task::{
        self,
        Capability, //
    },
    uapi,
    update_support::update_obstacle, //
};

/// An open file of the device. There is nothing that one has and another has not.
pub(crate) struct Control;

#[vtable]
impl MiscDevice for Control {
    type Ptr = ();

    fn open(_file: &File, _device: &MiscDeviceRegistration<Self>) -> Result {
        Ok(())
    }

    fn ioctl(_control: (), _file: &File, command: u32, argument: usize) -> Result<isize> {
        // A file that root has opened may have been handed on.
        if !task::is_capable(Capability::SysAdmin) {
            return Err(EPERM);
        }

        let user = UserPtr::from_addr(argument);
        match command {
            uapi::INFO => info(user)?,
            uapi::CHECK => check(user)?,
            uapi::UPDATE => update(user)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

/// Reads an image. The memory for it is the caller's to answer for.
///
/// # Errors
///
/// [`EFBIG`] if it is larger than any image; nothing is allocated then.
fn read_image(image: u64, size: u64) -> Result<VVec<u8>> {
    let size = usize::try_from(size).map_err(|_| EFBIG)?;
    if size > MAX_SIZE {
        return Err(EFBIG);
    }
    let image = UserPtr::from_addr(usize::try_from(image).map_err(|_| EFAULT)?);

    let mut file = VVec::from_elem(0, size, GFP_KERNEL_ACCOUNT)?;
    UserSlice::new(image, size).reader().read_slice(&mut file)?;
    Ok(file)
}

/// Puts `text` into `buffer`, as much of it as fits, and a zero byte.
fn put_text(buffer: &mut [u8], text: &dyn Display) {
    if let Some(mut formatter) = NullTerminatedFormatter::new(buffer) {
        // It fails when there is no more room.
        let _ = write!(formatter, "{text}");
    }
}

impl From<Version> for uapi::Version {
    fn from(version: Version) -> Self {
        Self {
            major: version.major,
            minor: version.minor,
            update: version.update,
            reserved: 0,
        }
    }
}

impl From<State> for uapi::State {
    fn from(state: State) -> Self {
        match state {
            State::Absent => Self::Absent,
            State::Unconfigured => Self::Unconfigured,
            State::Ready => Self::Ready,
            State::Interrupted => Self::Interrupted,
            State::Lost => Self::Lost,
        }
    }
}

/// TDX_HOST_INFO
fn info(user: UserPtr) -> Result {
    let (place, request) = Place::read::<uapi::Info>(user)?;
    if request.flags != 0 {
        return Err(EINVAL);
    }

    // In this order, an update that ends meanwhile has not been "ready" all along.
    let is_updating = module_update::is_updating();
    let setup = Setup::read();
    let mut info = uapi::Info::new_zeroed();
    info.size = request.size;
    info.state = if is_updating {
        uapi::State::Updating
    } else {
        setup.state.into()
    } as u32;
    if update_obstacle().is_none() {
        info.caps |= uapi::CAP_UPDATE;
    }
    info.cpus_online = smp::online().weight();
    info.cpus_present = smp::present().weight();

    if let Some(version) = setup.version() {
        info.module_version = version.into();
        info.valid |= uapi::valid::MODULE_VERSION;
    }
    if let Some(features) = setup.offered() {
        info.features_offered = features.bits();
        info.valid |= uapi::valid::FEATURES_OFFERED;
    }
    if setup.state.is_replaceable() {
        info.features_configured = setup.configured.bits();
        info.valid |= uapi::valid::FEATURES_CONFIGURED;
    }
    if let Ok(Some(version)) = inspect::handoff_version(&setup) {
        info.handoff_version = version;
        info.valid |= uapi::valid::HANDOFF_VERSION;
    }
    // Without this the call loses the current VMCS, which breaks KVM.
    if setup.seamldr_usable {
        if let Ok(seamldr) = inspect::seamldr_info() {
            put_seamldr(&mut info, &seamldr);
        }
    }
    place.write(&mut info)
}

/// Puts what P-SEAMLDR says into `info`.
fn put_seamldr(info: &mut uapi::Info, seamldr: &SeamldrInfo) {
    info.seamldr_version = seamldr.version.into();
    info.updates_left = seamldr.num_remaining_updates;
    info.valid |= uapi::valid::SEAMLDR_VERSION | uapi::valid::UPDATES_LEFT;

    if let Some(svn) = seamldr.running_svn {
        info.svn_major = svn.major;
        info.svn_minor = svn.minor;
        info.valid |= uapi::valid::MODULE_SVN;
    }
    if seamldr.running_hash.iter().any(|&byte| byte != 0) {
        info.module_hash = seamldr.running_hash;
        info.valid |= uapi::valid::MODULE_HASH;
    }
    if let Some(signer) = seamldr.running_signer {
        info.module_signer = signer.0;
        info.valid |= uapi::valid::MODULE_SIGNER;
    }
}

impl From<Check> for uapi::CheckId {
    fn from(check: Check) -> Self {
        match check {
            Check::Sigstruct => Self::Sigstruct,
            Check::Production => Self::Production,
            Check::Signer => Self::Signer,
            Check::Signature => Self::Signature,
            Check::Hash => Self::Hash,
            Check::Cpu => Self::Cpu,
            Check::Svn => Self::Svn,
            Check::Handoff => Self::Handoff,
            Check::Same => Self::Same,
            Check::CpusOnline => Self::CpusOnline,
            Check::Seamldr => Self::Seamldr,
            Check::UpdatesLeft => Self::UpdatesLeft,
            Check::NoOtherUpdate => Self::NoOtherUpdate,
        }
    }
}

/// Results on their way to the array that user space has for them.
struct Results {
    writer: UserSliceWriter,
    /// Size of an element of the array.
    result_size: usize,
    /// How many there were.
    count: u32,
    /// The first of their errors.
    error: Option<outcome::Error>,
}

impl Results {
    /// The array of `request`.
    fn new(request: &uapi::Check) -> Result<Self> {
        // CAST: It has 32 bits.
        let result_size = request.result_size as usize;
        if request.nr_results != 0 {
            if result_size < uapi::CheckResult::FIRST_SIZE || result_size % 8 != 0 {
                return Err(EINVAL);
            }
            if result_size > PAGE_SIZE {
                return Err(E2BIG);
            }
        }
        let results = usize::try_from(request.results).map_err(|_| EFAULT)?;
        // CAST: It has 32 bits.
        let size = result_size.saturating_mul(request.nr_results as usize);

        Ok(Self {
            writer: UserSlice::new(UserPtr::from_addr(results), size).writer(),
            result_size,
            count: 0,
            error: None,
        })
    }

    /// Adds the result of a check, if there is room for it.
    fn add(
        &mut self,
        (check, name): (uapi::CheckId, &dyn Display),
        verdict: uapi::Verdict,
        error: Option<outcome::Error>,
        text: &dyn Display,
    ) -> Result {
        self.count = self.count.saturating_add(1);
        self.error = self.error.or(error);
        if self.writer.len() < self.result_size || self.writer.is_empty() {
            return Ok(());
        }

        let mut result = uapi::CheckResult::new_zeroed();
        result.check = check as u32;
        result.verdict = verdict as u32;
        result.error = error.map_or(0, |error| error.to_errno().to_errno());
        put_text(&mut result.name, name);
        put_text(&mut result.text, text);

        let bytes = result.as_mut_bytes();
        let known = bytes.get(..self.result_size).unwrap_or(bytes);
        self.writer.write_slice(known)?;
        for _ in size_of::<uapi::CheckResult>()..self.result_size {
            self.writer.write(&0u8)?;
        }
        Ok(())
    }

    /// Adds the result of a check that is no part of the preflight: everything else rests on it.
    /// Returns what it is about if it passes.
    ///
    /// # Errors
    ///
    /// That of writing, or the kernel's own: then it was no check.
    fn add_basic<T>(
        &mut self,
        check: (uapi::CheckId, &dyn Display),
        about: Result<T, outcome::Error>,
    ) -> Result<Option<T>> {
        match about {
            Ok(value) => {
                self.add(check, uapi::Verdict::Pass, None, &"")?;
                Ok(Some(value))
            }
            Err(outcome::Error::Kernel(error)) => Err(error),
            Err(error) => {
                self.add(check, uapi::Verdict::Fail, Some(error), &error)?;
                Ok(None)
            }
        }
    }

    /// Adds what comes out of `preflight`.
    fn add_preflight(&mut self, preflight: &Preflight<'_>) -> Result {
        for (check, verdict) in preflight.run() {
            let (kind, error) = match verdict {
                Verdict::Pass => (uapi::Verdict::Pass, None),
                Verdict::Note => (uapi::Verdict::Note, None),
                Verdict::Skip => (uapi::Verdict::Skip, None),
                Verdict::Fail(problem) => (
                    uapi::Verdict::Fail,
                    Some(outcome::Error::Preflight(problem)),
                ),
            };
            let words = preflight.words(check, verdict);
            self.add((check.into(), &check), kind, error, &words)?;
        }
        Ok(())
    }

    /// Adds the preflight's checks as not made, for the reason `why`.
    fn skip_preflight(&mut self, why: &str) -> Result {
        for &check in Check::ALL {
            self.add((check.into(), &check), uapi::Verdict::Skip, None, &why)?;
        }
        Ok(())
    }

    /// Makes all checks of the image in `file`.
    fn check(&mut self, file: &[u8]) -> Result {
        const IMAGE: (uapi::CheckId, &dyn Display) = (uapi::CheckId::Image, &"image");
        const HOST: (uapi::CheckId, &dyn Display) = (uapi::CheckId::Host, &"host");
        const NO_IMAGE: &str = "not checked, as the image check failed";
        const NO_HOST: &str = "not checked, as the host check failed";

        let Some(image) = self.add_basic(IMAGE, Image::parse(file).map_err(Into::into))? else {
            self.add(HOST, uapi::Verdict::Skip, None, &NO_IMAGE)?;
            return self.skip_preflight(NO_IMAGE);
        };
        let cpus = inspect::package_signatures()?;
        let candidate = Candidate::new(image);
        let host = candidate
            .as_ref()
            .map_err(|&error| error)
            .and_then(|candidate| candidate.host(&cpus, module_update::is_updating()));
        match (&candidate, self.add_basic(HOST, host)?) {
            (Ok(candidate), Some(host)) => self.add_preflight(&candidate.preflight(&host)),
            _ => self.skip_preflight(NO_HOST),
        }
    }
}

/// TDX_HOST_CHECK
fn check(user: UserPtr) -> Result {
    let (place, mut request) = Place::read::<uapi::Check>(user)?;
    if request.flags != 0 || request.reserved != 0 {
        return Err(EINVAL);
    }
    let mut results = Results::new(&request)?;
    if update_obstacle().is_some() {
        return Err(EOPNOTSUPP);
    }
    let file = read_image(request.image, request.image_size)?;

    results.check(&file)?;
    request.nr_results = results.count;
    request.error = results.error.map_or(0, |error| error.to_errno().to_errno());
    place.write(&mut request)
}

/// TDX_HOST_UPDATE
fn update(user: UserPtr) -> Result {
    let (place, mut request) = Place::read::<uapi::Update>(user)?;
    if request.flags != 0 || request.reserved != 0 {
        return Err(EINVAL);
    }
    if update_obstacle().is_some() {
        return Err(EOPNOTSUPP);
    }
    // Firmware uploads ask for that, too.
    if !task::is_capable(Capability::SysRawio) {
        return Err(EPERM);
    }
    // Find out that there is no place for the result before there is one.
    request.outcome = uapi::Outcome::None as u32;
    place.write(&mut request)?;
    let file = lsm::firmware(|| read_image(request.image, request.image_size))?;

    // Killing the caller ends the wait; there is no other way.
    let report = module_update::update((&file).into(), request.wait_ms, || false);
    put_report(&mut request, &report);
    place.write(&mut request)?;

    match report.error {
        None => Ok(()),
        Some(error) => Err(error.to_errno()),
    }
}

/// Puts into `request` how the update ended.
fn put_report(request: &mut uapi::Update, report: &Report) {
    let error = report.error.as_ref();
    let failure = error.and_then(outcome::Error::failure);
    let sensitive = error.and_then(outcome::Error::sensitive);

    request.outcome = report.outcome() as u32;
    request.step = report.step() as u32;
    request.error = report.errno();
    request.cpu = error
        .and_then(outcome::Error::cpu)
        .and_then(|cpu| i32::try_from(cpu).ok())
        .unwrap_or(-1);
    request.leaf = failure.map_or(0, |failure| failure.leaf.rax());
    request.status = failure.map_or(0, |failure| failure.status.raw());
    request.reason = match sensitive.map(|sensitive| sensitive.reason) {
        None => uapi::Reason::None,
        Some(Reason::TdBuild) => uapi::Reason::TdBuild,
        Some(Reason::Migration) => uapi::Reason::Migration,
        Some(Reason::Other(_)) => uapi::Reason::Other,
    } as u32;
    request.count = sensitive.map_or(0, |sensitive| sensitive.count.into());
    request.attempts = report.attempts;
    request.reserved2 = 0;
    request.blackout_ns = u64::try_from(report.blackout_ns).unwrap_or(0);
    request.total_blackout_ns = u64::try_from(report.total_blackout_ns).unwrap_or(0);
    request.from = report.from.unwrap_or_default().into();
    request.to = report.to.unwrap_or_default().into();
    request.text = [0; uapi::TEXT_SIZE];
    if let Some(error) = report.error {
        put_text(&mut request.text, &error);
    }
}
