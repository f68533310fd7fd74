// SPDX-License-Identifier: GPL-2.0

//! How QEMU loads the plugin.

use std::ffi::{c_char, c_int, CStr};
use std::ptr;
use std::sync::atomic::AtomicU64;

use super::api::{self, Api};
use super::callbacks::{translated, vcpu_init};
use super::layer::{layer, Layer, Vcpu, LAYER};
use super::Info;
use crate::machine::Machine;

/// The version of the plugin API that this plugin is made for; QEMU checks it.
#[no_mangle]
#[allow(non_upper_case_globals)] // QEMU's name.
pub static qemu_plugin_version: c_int = api::VERSION;

/// Called by QEMU when it loads the plugin; not 0 makes QEMU give up.
///
/// # Safety
///
/// `info` and `argv` are what QEMU's documentation of this function says.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const api::Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: QEMU passes a valid structure.
    let info = unsafe { &*info };
    let arguments = (0..usize::try_from(argc).unwrap_or(0))
        .map(|index| {
            // SAFETY: there are `argc` C strings at `argv`.
            unsafe { CStr::from_ptr(*argv.add(index)) }
                .to_string_lossy()
                .into_owned()
        })
        .collect::<Vec<_>>();
    match try_install(id, info, &arguments) {
        Ok(()) => 0,
        Err(message) => {
            eprintln!("tdxsim: {message}");
            1
        }
    }
}

/// Makes the plugin and registers its callbacks.
fn try_install(id: u64, info: &api::Info, arguments: &[String]) -> Result<(), String> {
    if !(info.min_version..=info.cur_version).contains(&api::VERSION) {
        return Err(format!(
            "this QEMU takes plugins of API version {} to {}, this plugin is made for {} (QEMU 11.1)",
            info.min_version,
            info.cur_version,
            api::VERSION
        ));
    }
    // SAFETY: the target's name is a C string.
    let target = unsafe { CStr::from_ptr(info.target_name) }
        .to_string_lossy()
        .into_owned();
    let described = Info {
        target,
        system: info.system_emulation,
        // What follows is valid for a whole machine only.
        vcpus: usize::try_from(info.smp_vcpus).unwrap_or(0),
        max_vcpus: usize::try_from(info.max_vcpus).unwrap_or(0),
    };
    let plugin = Machine::new(&described, arguments)?;
    let api = Api::find()?;
    let scoreboard = || api::ScoreboardU64 {
        // SAFETY: an element is 8 bytes long.
        score: unsafe { (api.scoreboard_new)(8) },
        offset: 0,
    };
    let made = Layer {
        instructions: scoreboard(),
        due: scoreboard(),
        watched: scoreboard(),
        iretq: AtomicU64::new(0),
        plugin: Box::new(plugin),
        vcpus: (0..described.max_vcpus).map(|_| Vcpu::default()).collect(),
        api,
    };
    if LAYER.set(made).is_err() {
        return Err("the plugin is given twice".into());
    }
    let api = &layer().api;
    // SAFETY: `id` is what QEMU gave, and the callbacks are of the types that version 7 wants.
    unsafe {
        (api.register_vcpu_init_cb)(id, vcpu_init, ptr::null_mut());
        (api.register_vcpu_tb_trans_cb)(id, translated, ptr::null_mut());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(min_version: c_int, cur_version: c_int, arguments: &[&str]) -> String {
        let info = api::Info {
            target_name: c"x86_64".as_ptr(),
            min_version,
            cur_version,
            system_emulation: true,
            smp_vcpus: 2,
            max_vcpus: 2,
        };
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.into()).collect();
        try_install(0, &info, &arguments).unwrap_err()
    }

    #[test]
    fn another_plugin_api_is_named() {
        let error = "this plugin is made for 7 (QEMU 11.1)";
        for (min, cur) in [(0, 6), (8, 9)] {
            assert_eq!(
                install(min, cur, &[]),
                format!("this QEMU takes plugins of API version {min} to {cur}, {error}")
            );
        }
    }

    #[test]
    fn a_function_that_qemu_lacks_is_named() {
        // There is no QEMU around a test at all.
        assert_eq!(
            install(7, 7, &[]),
            "this QEMU has no qemu_plugin_register_vcpu_init_cb; the plugin needs one with plugin \
             API version 7"
        );
    }

    #[test]
    fn a_wrong_argument_is_named() {
        assert_eq!(install(7, 7, &["sockets=3"])[..12], *"sockets=3: 2");
    }
}
