// SPDX-License-Identifier: GPL-2.0

//! The attributes of the faux device `tdx_host`.
//!
//! Documentation/ABI/testing/sysfs-devices-faux-tdx-host describes them.

use kernel::prelude::*;

use crate::{
    inspect,
    metadata::SeamldrInfo,
    module_update,
    setup::Setup,
    sigstruct::Signer,
    sysfs::{
        Attribute,
        Attributes,
        Buffer,
        Group,
        Groups,
        Mode,
        Show,
        Store,
        Visible, //
    },
    update_support::{
        can_update,
        update_obstacle, //
    }, //
};

/// The groups of attributes.
pub(crate) static GROUPS: Groups<2> = Groups::new([&TDX_MODULE, &SEAMLDR]);

static TDX_MODULE: Group = Group::new::<5, Always>(&TDX_MODULE_ATTRIBUTES);
static TDX_MODULE_ATTRIBUTES: Attributes<5> = Attributes::new([
    &VERSION,
    &STATE,
    &FEATURES_OFFERED,
    &FEATURES_CONFIGURED,
    &UPDATE_SUPPORT,
]);
static VERSION: Attribute = Attribute::new::<ModuleVersion>();
static STATE: Attribute = Attribute::new::<HostState>();
static FEATURES_OFFERED: Attribute = Attribute::new::<FeaturesOffered>();
static FEATURES_CONFIGURED: Attribute = Attribute::new::<FeaturesConfigured>();
static UPDATE_SUPPORT: Attribute = Attribute::new::<UpdateSupport>();

static SEAMLDR: Group = Group::new::<5, CanUpdate>(&SEAMLDR_ATTRIBUTES);
static SEAMLDR_ATTRIBUTES: Attributes<5> = Attributes::new([
    &SEAMLDR_VERSION,
    &NUM_REMAINING_UPDATES,
    &LAST_UPDATE,
    &UPDATE_WAIT_MS,
    &TRUSTED_SIGNER,
]);
static SEAMLDR_VERSION: Attribute = Attribute::new::<SeamldrVersion>();
static NUM_REMAINING_UPDATES: Attribute = Attribute::new::<NumRemainingUpdates>();
static LAST_UPDATE: Attribute = Attribute::new::<LastUpdate>();
static UPDATE_WAIT_MS: Attribute = Attribute::writable::<UpdateWaitMs>();
static TRUSTED_SIGNER: Attribute = Attribute::writable::<TrustedSigner>();

struct Always;

impl Visible for Always {
    fn visible() -> bool {
        true
    }
}

struct CanUpdate;

impl Visible for CanUpdate {
    fn visible() -> bool {
        can_update()
    }
}

struct ModuleVersion;

impl Show for ModuleVersion {
    const NAME: &'static CStr = c"version";

    fn show(buffer: Buffer) -> Result<usize> {
        let version = Setup::read().version().ok_or(ENXIO)?;
        Ok(buffer.emit(fmt!("{version}\n")))
    }
}

struct HostState;

impl Show for HostState {
    const NAME: &'static CStr = c"state";

    fn show(buffer: Buffer) -> Result<usize> {
        if module_update::is_updating() {
            return Ok(buffer.emit(fmt!("updating\n")));
        }
        Ok(buffer.emit(fmt!("{}\n", Setup::read().state)))
    }
}

struct FeaturesOffered;

impl Show for FeaturesOffered {
    const NAME: &'static CStr = c"features_offered";

    fn show(buffer: Buffer) -> Result<usize> {
        let features = Setup::read().offered().ok_or(ENXIO)?;
        Ok(buffer.emit(fmt!("{features}\n")))
    }
}

struct FeaturesConfigured;

impl Show for FeaturesConfigured {
    const NAME: &'static CStr = c"features_configured";

    fn show(buffer: Buffer) -> Result<usize> {
        Ok(buffer.emit(fmt!("{}\n", Setup::read().configured)))
    }
}

struct UpdateSupport;

impl Show for UpdateSupport {
    const NAME: &'static CStr = c"update_support";

    fn show(buffer: Buffer) -> Result<usize> {
        Ok(match update_obstacle() {
            None => buffer.emit(fmt!("yes\n")),
            Some(obstacle) => buffer.emit(fmt!("no: {obstacle}\n")),
        })
    }
}

/// What P-SEAMLDR says of itself; the kernel log has it when it does not say anything.
fn seamldr_info() -> Result<SeamldrInfo> {
    inspect::seamldr_info().map_err(|failure| {
        let error = failure.into();
        // As in `sc_retry_prerr()`: the others have their own error codes.
        if error == EIO {
            pr_err!("{failure}\n");
        }
        error
    })
}

// Reading these makes a slow call to P-SEAMLDR, which only one CPU can at a time, so they are for
// root alone.

struct SeamldrVersion;

impl Show for SeamldrVersion {
    const NAME: &'static CStr = c"seamldr_version";
    const MODE: Mode = Mode::Admin;

    fn show(buffer: Buffer) -> Result<usize> {
        let info = seamldr_info()?;
        Ok(buffer.emit(fmt!("{}\n", info.version)))
    }
}

struct NumRemainingUpdates;

impl Show for NumRemainingUpdates {
    const NAME: &'static CStr = c"num_remaining_updates";
    const MODE: Mode = Mode::Admin;

    fn show(buffer: Buffer) -> Result<usize> {
        let info = seamldr_info()?;
        Ok(buffer.emit(fmt!("{}\n", info.num_remaining_updates)))
    }
}

struct LastUpdate;

impl Show for LastUpdate {
    const NAME: &'static CStr = c"last_update";

    fn show(buffer: Buffer) -> Result<usize> {
        match module_update::last() {
            Some(report) => Ok(buffer.emit(fmt!("{report}\n"))),
            None => Ok(buffer.emit(fmt!("result=none\n"))),
        }
    }
}

struct UpdateWaitMs;

impl Show for UpdateWaitMs {
    const NAME: &'static CStr = c"update_wait_ms";

    fn show(buffer: Buffer) -> Result<usize> {
        Ok(buffer.emit(fmt!("{}\n", module_update::wait_ms())))
    }
}

impl Store for UpdateWaitMs {
    fn store(text: &[u8]) -> Result {
        let text = core::str::from_utf8(text.trim_ascii()).map_err(|_| EINVAL)?;
        module_update::set_wait_ms(text.parse().map_err(|_| EINVAL)?);
        Ok(())
    }
}

struct TrustedSigner;

impl Show for TrustedSigner {
    const NAME: &'static CStr = c"trusted_signer";
    const MODE: Mode = Mode::Admin;

    fn show(buffer: Buffer) -> Result<usize> {
        match inspect::trusted_signer() {
            Some(signer) => Ok(buffer.emit(fmt!("{signer}\n"))),
            None => Ok(buffer.emit(fmt!("\n"))),
        }
    }
}

impl Store for TrustedSigner {
    fn store(text: &[u8]) -> Result {
        let text = text.trim_ascii();
        let signer = if text.is_empty() {
            None
        } else {
            Some(Signer::parse(text).ok_or(EINVAL)?)
        };
        inspect::set_trusted_signer(signer);
        Ok(())
    }
}
