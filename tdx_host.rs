// SPDX-License-Identifier: GPL-2.0

//! TDX host driver.
//!
//! Configures the TDX module with the features that the kernel wants of it, and replaces it at run
//! time. The x86 core does the rest: it prepares memory at boot and makes the SEAMCALLs.
//!
//! See Documentation/arch/x86/tdx-host.rst.

use kernel::{
    miscdevice::{
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*, //
};

mod attributes;
mod chardev;
mod crypto;
mod display;
mod evidence;
mod extensible;
mod features;
mod fw_upload;
mod image;
mod inspect;
mod lockstep;
mod lsm;
mod metadata;
mod module_update;
mod operands;
mod outcome;
mod parallel;
mod phys;
mod preflight;
mod retry;
mod seamcall;
mod setup;
mod sigstruct;
mod smp;
mod status;
mod stop_machine;
mod sysconfig;
mod sysfs;
mod task;
mod uapi;
mod update_support;
mod upload;
mod vmapped;

use chardev::Control;
use setup::{
    Setup,
    State, //
};
use upload::ModuleUpload;

/// What there is while the driver is loaded. Dropped in this order.
struct TdxHost {
    _control: Pin<KBox<MiscDeviceRegistration<Control>>>,
    _upload: Option<fw_upload::Registration<ModuleUpload>>,
    _device: sysfs::FauxDevice,
}

impl kernel::Module for TdxHost {
    fn init(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: These are the first and only calls.
        unsafe {
            inspect::init();
            module_update::init();
        }

        let setup = Setup::read();
        if setup.state == State::Absent {
            pr_info!(
                "no TDX module that can be configured: there is none, or configuring it has failed \
                 before and only a reboot helps\n"
            );
            return Err(ENODEV);
        }

        // Configuration can take long. `state` says that it runs.
        let device = sysfs::FauxDevice::new(c"tdx_host", &attributes::GROUPS)?;
        match setup.state {
            State::Absent => (),
            State::Unconfigured => sysconfig::configure(&setup)?,
            State::Ready => pr_info!("attached to the TDX module that is configured\n"),
            State::Interrupted => {
                pr_warn!(
                    "an update was interrupted, upload a good TDX module to finish it, and leave \
                     the VMs alone until then\n"
                );
            }
            State::Lost => pr_err!("TDX is lost until the next reboot\n"),
        }

        update_support::say();

        let upload = update_support::can_update()
            .then(|| fw_upload::Registration::new(module, device.as_ref(), c"tdx_module"))
            .transpose()?;
        let control = KBox::pin_init(
            MiscDeviceRegistration::register(MiscDeviceOptions { name: c"tdx_host" }),
            GFP_KERNEL,
        )?;

        module_update::set_device(Some(device.as_ref().into()));
        Ok(Self {
            _control: control,
            _upload: upload,
            _device: device,
        })
    }
}

impl Drop for TdxHost {
    fn drop(&mut self) {
        module_update::set_device(None);
    }
}

module! {
    type: TdxHost,
    name: "tdx_host",
    authors: ["tdx_host maintainers"],
    description: "TDX host driver",
    license: "GPL",
    // X86_MATCH_FEATURE(X86_FEATURE_TDX_HOST_PLATFORM), as modpost has it for the C driver.
    alias: ["cpu:type:x86,ven*fam*mod*:feature:*00E7*"],
}
