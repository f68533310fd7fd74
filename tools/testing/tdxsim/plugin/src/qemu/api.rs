// SPDX-License-Identifier: GPL-2.0

//! QEMU's plugin API version 7, declared by hand: types, and the functions that this plugin calls.
//!
//! Source: QEMU 11.1's `include/plugins/qemu-plugin.h` (the API's types and meaning) and GLib's
//! `garray.h` (the two array types that it passes). The published bindings stop at version 5, and no
//! Debian package has the header.
//!
//! The functions are looked up by name in the running process instead of being linked to, so that a
//! QEMU which lacks one says so by name, and so that this crate's tests link without a QEMU.

use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::mem;

/// The version of the plugin API that is declared here.
pub const VERSION: c_int = 7;

/// A callback does without registers.
pub const CB_NO_REGS: c_int = 0;
/// A callback may read and write registers.
pub const CB_RW_REGS: c_int = 2;
/// A callback may also go on at another address.
pub const CB_RW_REGS_PC: c_int = 3;

/// An inline operation adds to a scoreboard's entry.
pub const INLINE_ADD_U64: c_int = 0;

/// A conditional callback runs when the entry differs from the operand.
pub const COND_NE: c_int = 3;

/// What an access to a physical address returns when it worked.
pub const HWADDR_OPERATION_OK: c_int = 0;

/// `qemu_info_t`.
#[repr(C)]
pub struct Info {
    /// The target's name, as in `qemu-system-NAME`.
    pub target_name: *const c_char,
    /// The oldest API version that this QEMU takes.
    pub min_version: c_int,
    /// The newest API version that this QEMU takes.
    pub cur_version: c_int,
    /// Whether a whole machine is emulated.
    pub system_emulation: bool,
    /// How many vCPUs there are at the start.
    pub smp_vcpus: c_int,
    /// How many vCPUs there can be.
    pub max_vcpus: c_int,
}

/// A translation block.
#[repr(C)]
pub struct Tb {
    _opaque: [u8; 0],
}

/// An instruction of a translation block.
#[repr(C)]
pub struct Insn {
    _opaque: [u8; 0],
}

/// A register's handle.
#[repr(C)]
pub struct Register {
    _opaque: [u8; 0],
}

/// An array with one element per vCPU.
#[repr(C)]
pub struct Scoreboard {
    _opaque: [u8; 0],
}

/// A 64-bit member of a scoreboard's elements.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ScoreboardU64 {
    /// The scoreboard.
    pub score: *mut Scoreboard,
    /// The member's offset in an element.
    pub offset: usize,
}

/// `qemu_plugin_reg_descriptor`.
#[repr(C)]
pub struct RegDescriptor {
    /// What names the register in calls.
    pub handle: *mut Register,
    /// The register's name.
    pub name: *const c_char,
    /// The feature that the register belongs to, or null.
    pub feature: *const c_char,
    /// Whether it cannot be written.
    pub is_readonly: bool,
}

/// GLib's `GByteArray`.
#[repr(C)]
pub struct GByteArray {
    /// The bytes.
    pub data: *mut u8,
    /// How many.
    pub len: c_uint,
}

/// GLib's `GArray`.
#[repr(C)]
pub struct GArray {
    /// The elements.
    pub data: *mut c_char,
    /// How many.
    pub len: c_uint,
}

/// A callback that says which vCPU, and gets back what it was registered with.
pub type VcpuCb = extern "C" fn(c_uint, *mut c_void);
/// A callback for a block that is being translated.
pub type TbCb = extern "C" fn(*mut Tb, *mut c_void);

macro_rules! functions {
    ($($field:ident = $symbol:literal: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions, found.
        pub struct Api {
            $(
                #[doc = concat!("`", $symbol, "`")]
                pub $field: unsafe extern "C" fn($($argument),*) $(-> $result)?,
            )*
            /// Reads the time-stamp counter.
            pub elapsed_ticks: Option<ElapsedTicks>,
        }

        impl Api {
            /// Finds every function; an error names the first that is missing.
            pub fn find() -> Result<Api, String> {
                Ok(Api {
                    $(
                        $field: {
                            let symbol = concat!($symbol, "\0");
                            let address = lookup(symbol)?;
                            // SAFETY: QEMU and GLib define this symbol as a function of this type.
                            unsafe {
                                mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(address)
                            }
                        },
                    )*
                    elapsed_ticks: elapsed_ticks(),
                })
            }
        }
    };
}

/// QEMU's `cpus_get_elapsed_ticks` (`include/system/cpu-timers.h`), which its RDTSC calls: the
/// time-stamp counter. It is no part of the plugin API. A QEMU whose devices can be modules, as
/// Debian's can, lets plugins find it too.
pub type ElapsedTicks = unsafe extern "C" fn() -> i64;

/// That function, if it can be found.
fn elapsed_ticks() -> Option<ElapsedTicks> {
    let address = lookup("cpus_get_elapsed_ticks\0").ok()?;
    // SAFETY: QEMU defines this symbol as a function of this type.
    Some(unsafe { mem::transmute::<*mut c_void, ElapsedTicks>(address) })
}

/// The address of a symbol whose name ends in a zero byte.
fn lookup(symbol: &str) -> Result<*mut c_void, String> {
    let name = CStr::from_bytes_with_nul(symbol.as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: `name` is a C string.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if address.is_null() {
        Err(format!(
            "this QEMU has no {}; the plugin needs one with plugin API version {VERSION}",
            name.to_string_lossy()
        ))
    } else {
        Ok(address)
    }
}

functions! {
    register_vcpu_init_cb = "qemu_plugin_register_vcpu_init_cb": fn(u64, VcpuCb, *mut c_void);
    register_vcpu_tb_trans_cb = "qemu_plugin_register_vcpu_tb_trans_cb": fn(u64, TbCb, *mut c_void);
    register_vcpu_insn_exec_cb = "qemu_plugin_register_vcpu_insn_exec_cb": fn(*mut Insn, VcpuCb, c_int, *mut c_void);
    register_vcpu_insn_exec_cond_cb = "qemu_plugin_register_vcpu_insn_exec_cond_cb":
        fn(*mut Insn, VcpuCb, c_int, c_int, ScoreboardU64, u64, *mut c_void);
    register_vcpu_tb_exec_inline_per_vcpu = "qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu":
        fn(*mut Tb, c_int, ScoreboardU64, u64);
    tb_n_insns = "qemu_plugin_tb_n_insns": fn(*const Tb) -> usize;
    tb_get_insn = "qemu_plugin_tb_get_insn": fn(*const Tb, usize) -> *mut Insn;
    insn_data = "qemu_plugin_insn_data": fn(*const Insn, *mut c_void, usize) -> usize;
    insn_vaddr = "qemu_plugin_insn_vaddr": fn(*const Insn) -> u64;
    get_registers = "qemu_plugin_get_registers": fn() -> *mut GArray;
    read_register = "qemu_plugin_read_register": fn(*mut Register, *mut GByteArray) -> bool;
    write_register = "qemu_plugin_write_register": fn(*mut Register, *mut GByteArray) -> bool;
    read_memory_vaddr = "qemu_plugin_read_memory_vaddr": fn(u64, *mut GByteArray, usize) -> bool;
    write_memory_vaddr = "qemu_plugin_write_memory_vaddr": fn(u64, *mut GByteArray) -> bool;
    read_memory_hwaddr = "qemu_plugin_read_memory_hwaddr": fn(u64, *mut GByteArray, usize) -> c_int;
    write_memory_hwaddr = "qemu_plugin_write_memory_hwaddr": fn(u64, *mut GByteArray) -> c_int;
    set_pc = "qemu_plugin_set_pc": fn(u64) -> !;
    scoreboard_new = "qemu_plugin_scoreboard_new": fn(usize) -> *mut Scoreboard;
    u64_get = "qemu_plugin_u64_get": fn(ScoreboardU64, c_uint) -> u64;
    u64_set = "qemu_plugin_u64_set": fn(ScoreboardU64, c_uint, u64);
    g_byte_array_new = "g_byte_array_new": fn() -> *mut GByteArray;
    g_byte_array_append = "g_byte_array_append": fn(*mut GByteArray, *const u8, c_uint) -> *mut GByteArray;
    g_byte_array_free = "g_byte_array_free": fn(*mut GByteArray, c_int) -> *mut u8;
    g_array_free = "g_array_free": fn(*mut GArray, c_int) -> *mut c_char;
}
