// SPDX-License-Identifier: GPL-2.0

//! SEAMCALLs. This is the only file that calls the core's shims.
//!
//! C header: [`arch/x86/include/asm/tdx_host.h`](srctree/arch/x86/include/asm/tdx_host.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::{
        code::*,
        Error, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    types::Opaque, //
};

use crate::{
    features::Features,
    operands::Call,
    phys,
    retry,
    setup::Tdmr,
    status::{
        Failure,
        InstallFailure,
        Status, //
    }, //
};

/// The output registers of a SEAMCALL.
///
/// A call that the CPU refused changes none, so they then hold the inputs.
#[derive(Clone, Copy)]
pub(crate) struct Regs {
    pub(crate) rdx: u64,
    pub(crate) r8: u64,
}

/// A SEAMCALL's result: the output registers, or how it failed.
pub(crate) type Result<T = Regs> = core::result::Result<T, Failure>;

/// The error codes are those of `sc_retry_prerr()` in `arch/x86/virt/vmx/tdx/seamcall_internal.h`.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure.status {
            Status::VMFAILINVALID => ENODEV,
            Status::GP => EOPNOTSUPP,
            Status::UD => EACCES,
            _ => EIO,
        }
    }
}

/// The core's ways of making a SEAMCALL.
enum Shim {
    /// To the TDX module; no registers come back.
    Module,
    /// To the TDX module.
    ModuleRet,
    /// To P-SEAMLDR.
    Seamldr,
}

/// Makes `call` through `shim`. The registers come back whether or not it succeeded.
fn invoke(shim: Shim, call: Call) -> (Regs, Status) {
    let mut args = bindings::tdx_module_args {
        rcx: call.rcx,
        rdx: call.rdx,
        r8: call.r8,
        r9: call.r9,
        r10: call.r10,
        r11: call.r11,
        ..Default::default()
    };
    let function = match shim {
        Shim::Module => bindings::tdx_host_seamcall,
        Shim::ModuleRet => bindings::tdx_host_seamcall_ret,
        Shim::Seamldr => bindings::tdx_host_seamldr_call,
    };
    // SAFETY: `args` lives until the function returns. What the functions below have the targets
    // write to is borrowed for the call, or was set aside for the TDX module by the core.
    let rax = unsafe { function(call.leaf.rax(), &mut args) };

    (
        Regs {
            rdx: args.rdx,
            r8: args.r8,
        },
        Status::new(rax),
    )
}

/// Makes `call` through `shim`, for its registers when it succeeds.
fn call(shim: Shim, call: Call) -> Result {
    match invoke(shim, call) {
        (regs, Status::SUCCESS) => Ok(regs),
        (_, status) => Err(Failure {
            leaf: call.leaf,
            status,
        }),
    }
}

/// Repeats `call`, with a millisecond in between, while it fails for a reason that may pass.
pub(crate) fn retry<T>(call: impl FnMut() -> Result<T>) -> Result<T> {
    const TRIES: u32 = 100;

    retry::retry(
        TRIES,
        |result: &Result<T>| {
            result
                .as_ref()
                .is_err_and(|failure| failure.status.is_transient())
        },
        || fsleep(Delta::from_millis(1)),
        call,
    )
}

/// TDH.SYS.INIT
pub(crate) fn sys_init() -> Result<()> {
    call(Shim::Module, Call::sys_init()).map(|_| ())
}

/// TDH.SYS.LP.INIT
pub(crate) fn sys_lp_init() -> Result<()> {
    call(Shim::Module, Call::sys_lp_init()).map(|_| ())
}

/// TDH.SYS.RD: the value of a global metadata field.
pub(crate) fn sys_rd(field: u64) -> Result<u64> {
    call(Shim::ModuleRet, Call::sys_rd(field)).map(|regs| regs.r8)
}

/// TDH.SYS.CONFIG with `tdmrs`.
pub(crate) fn sys_config(
    tdmrs: &phys::TdmrArray,
    global_keyid: u32,
    features: Features,
) -> Result<()> {
    call(
        Shim::Module,
        Call::sys_config(
            phys::of_object(tdmrs),
            tdmrs.len().into(),
            global_keyid.into(),
            features,
        ),
    )
    .map(|_| ())
}

/// TDH.SYS.KEY.CONFIG
pub(crate) fn sys_key_config() -> Result<()> {
    call(Shim::Module, Call::sys_key_config()).map(|_| ())
}

/// TDH.SYS.TDMR.INIT: the physical address in `tdmr` that is to be initialized next.
pub(crate) fn sys_tdmr_init(tdmr: &Tdmr) -> Result<u64> {
    call(Shim::ModuleRet, Call::sys_tdmr_init(tdmr.base())).map(|regs| regs.rdx)
}

/// TDH.SYS.SHUTDOWN
pub(crate) fn sys_shutdown(hv: u16) -> Result<()> {
    call(Shim::Module, Call::sys_shutdown(hv)).map(|_| ())
}

/// TDH.SYS.UPDATE
pub(crate) fn sys_update(features: Features) -> Result<()> {
    call(Shim::Module, Call::sys_update(features)).map(|_| ())
}

/// SEAMLDR.INFO
pub(crate) fn seamldr_info() -> Result<bindings::seamldr_info> {
    // P-SEAMLDR wants 256 bytes, aligned to as many, so they are on one page.
    let info = Opaque::new(bindings::seamldr_info::default());
    call(Shim::Seamldr, Call::seamldr_info(phys::of_object(&info)))?;
    // SAFETY: The buffer was initialized before P-SEAMLDR wrote to it, and any bytes are valid.
    Ok(unsafe { *info.get() })
}

/// RDX of a SEAMLDR.INSTALL that failed when the old module's memory was no longer intact; 0 means
/// that it is.
const OLD_MODULE_IS_LOST: u64 = 1;

/// SEAMLDR.INSTALL, ready to be made.
///
/// Every CPU makes it while all are stopped. Looking up where the parameters are takes longer than
/// anything else that a CPU then does for it, so it is done before.
pub(crate) struct Install<'a> {
    call: Call,
    _params: PhantomData<&'a phys::SeamldrParams<'a>>,
}

impl<'a> Install<'a> {
    /// The call with these parameters.
    pub(crate) fn new(params: &'a phys::SeamldrParams<'a>) -> Self {
        Self {
            call: Call::seamldr_install(phys::of_object(params)),
            _params: PhantomData,
        }
    }

    /// Makes the call.
    pub(crate) fn make(&self) -> core::result::Result<(), InstallFailure> {
        match invoke(Shim::Seamldr, self.call) {
            (_, Status::SUCCESS) => Ok(()),
            (regs, status) => Err(InstallFailure {
                failure: Failure {
                    leaf: self.call.leaf,
                    status,
                },
                recoverable: regs.rdx != OLD_MODULE_IS_LOST,
            }),
        }
    }
}
