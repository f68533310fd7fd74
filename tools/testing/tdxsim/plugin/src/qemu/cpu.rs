// SPDX-License-Identifier: GPL-2.0

//! The vCPU that runs a callback: its registers and its memory.

use std::ffi::c_uint;
use std::marker::PhantomData;
use std::slice;

use tdxsim::mem::Memory;

use super::api::{self, Api};
use super::fatal;
use super::layer::{layer, Layer, Pending, Vcpu};

/// A register of a vCPU. The general-purpose registers come in the order of their encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[allow(missing_docs)] // The names are all there is to say.
pub enum Reg {
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    Rip,
    Cs,
    FsBase,
    GsBase,
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    Efer,
    /// Without the arithmetic flags and DF, which QEMU keeps elsewhere.
    Eflags,
}

impl Reg {
    /// Every register, in the order of the enum, with QEMU's name for it.
    pub const ALL: [(Reg, &'static str); 26] = [
        (Reg::Rax, "rax"),
        (Reg::Rcx, "rcx"),
        (Reg::Rdx, "rdx"),
        (Reg::Rbx, "rbx"),
        (Reg::Rsp, "rsp"),
        (Reg::Rbp, "rbp"),
        (Reg::Rsi, "rsi"),
        (Reg::Rdi, "rdi"),
        (Reg::R8, "r8"),
        (Reg::R9, "r9"),
        (Reg::R10, "r10"),
        (Reg::R11, "r11"),
        (Reg::R12, "r12"),
        (Reg::R13, "r13"),
        (Reg::R14, "r14"),
        (Reg::R15, "r15"),
        (Reg::Rip, "rip"),
        (Reg::Cs, "cs"),
        (Reg::FsBase, "fs_base"),
        (Reg::GsBase, "gs_base"),
        (Reg::Cr0, "cr0"),
        (Reg::Cr2, "cr2"),
        (Reg::Cr3, "cr3"),
        (Reg::Cr4, "cr4"),
        (Reg::Efer, "efer"),
        (Reg::Eflags, "eflags"),
    ];

    /// The general-purpose register with this number, of which bits 3:0 count.
    pub fn general(number: u8) -> Reg {
        Reg::ALL[usize::from(number & 15)].0
    }
}

/// The vCPU that runs the current callback.
pub struct Cpu {
    /// What is kept.
    pub(super) layer: &'static Layer,
    index: c_uint,
    /// It belongs to the thread that it was made on.
    thread: PhantomData<*const ()>,
}

impl Cpu {
    /// Only for a callback that may use registers, on the thread that it runs on.
    pub(super) fn new(index: c_uint) -> Cpu {
        Cpu {
            layer: layer(),
            index,
            thread: PhantomData,
        }
    }

    /// The vCPU's number.
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// The register's handle.
    fn handle(&self, reg: Reg) -> *mut api::Register {
        match self.vcpu().registers.get() {
            Some(handles) => handles.0[reg as usize],
            None => fatal("QEMU runs a vCPU that it did not announce"),
        }
    }

    /// The value of a register.
    pub fn reg(&self, reg: Reg) -> u64 {
        let bytes = Bytes::new(&self.layer.api, &[]);
        // SAFETY: the handle is this vCPU's, and the callback may use registers.
        let read = unsafe { (self.layer.api.read_register)(self.handle(reg), bytes.array) };
        if !read {
            fatal(&format!("QEMU does not let the plugin read {reg:?}"));
        }
        let mut value = [0; 8];
        for (to, from) in value.iter_mut().zip(bytes.get()) {
            *to = *from;
        }
        u64::from_le_bytes(value)
    }

    /// Sets a register.
    pub fn set_reg(&self, reg: Reg, value: u64) {
        let bytes = Bytes::new(&self.layer.api, &value.to_le_bytes());
        // SAFETY: the handle is this vCPU's, the callback may use registers, and no register of
        // `Reg` is longer than 8 bytes.
        let written = unsafe { (self.layer.api.write_register)(self.handle(reg), bytes.array) };
        if !written {
            fatal(&format!("QEMU does not let the plugin write {reg:?}"));
        }
    }

    /// Reads memory at a virtual address; `false` if it cannot be read, for example because a
    /// page is not present.
    pub fn read_virtual(&self, address: u64, to: &mut [u8]) -> bool {
        if to.is_empty() {
            return true;
        }
        let bytes = Bytes::new(&self.layer.api, &[]);
        // SAFETY: `bytes` is an array, and this is a vCPU's callback.
        let read = unsafe { (self.layer.api.read_memory_vaddr)(address, bytes.array, to.len()) };
        read && bytes.copy_to(to)
    }

    /// Writes memory at a virtual address; `false` if it cannot be written.
    pub fn write_virtual(&self, address: u64, from: &[u8]) -> bool {
        if from.is_empty() {
            return true;
        }
        let bytes = Bytes::new(&self.layer.api, from);
        // SAFETY: `bytes` is an array, and this is a vCPU's callback.
        unsafe { (self.layer.api.write_memory_vaddr)(address, bytes.array) }
    }

    /// This vCPU's part of what the layer keeps.
    pub(super) fn vcpu(&self) -> &'static Vcpu {
        match self.layer.vcpus.get(self.index()) {
            Some(vcpu) => vcpu,
            None => fatal("QEMU runs a vCPU that it did not announce"),
        }
    }

    /// Leaves work behind for this vCPU.
    pub(super) fn set_pending(&self, pending: Pending) {
        self.layer.set_pending(self.index, pending);
    }

    /// Where an instruction is, given what translation knew about it.
    pub(super) fn address(&self, translated: u64) -> u64 {
        (self.reg(Reg::Rip) & !0xFFF) | (translated & 0xFFF)
    }
}

impl Memory for Cpu {
    fn read(&self, pa: u64, buf: &mut [u8]) -> bool {
        if buf.is_empty() {
            return true;
        }
        let bytes = Bytes::new(&self.layer.api, &[]);
        // SAFETY: `bytes` is an array, and this is a vCPU's callback.
        let result = unsafe { (self.layer.api.read_memory_hwaddr)(pa, bytes.array, buf.len()) };
        result == api::HWADDR_OPERATION_OK && bytes.copy_to(buf)
    }

    fn write(&self, pa: u64, buf: &[u8]) -> bool {
        if buf.is_empty() {
            return true;
        }
        let bytes = Bytes::new(&self.layer.api, buf);
        // SAFETY: `bytes` is an array, and this is a vCPU's callback.
        let result = unsafe { (self.layer.api.write_memory_hwaddr)(pa, bytes.array) };
        result == api::HWADDR_OPERATION_OK
    }
}

/// A GLib byte array.
struct Bytes<'a> {
    api: &'a Api,
    array: *mut api::GByteArray,
}

impl Bytes<'_> {
    /// An array with this content.
    fn new<'a>(api: &'a Api, content: &[u8]) -> Bytes<'a> {
        let Ok(length) = c_uint::try_from(content.len()) else {
            fatal("more than 4 GiB in one access");
        };
        // SAFETY: no arguments; GLib does not return when memory is exhausted.
        let array = unsafe { (api.g_byte_array_new)() };
        if length > 0 {
            // SAFETY: the array is new, and the content is `length` bytes long.
            unsafe { (api.g_byte_array_append)(array, content.as_ptr(), length) };
        }
        Bytes { api, array }
    }

    /// What is in it.
    fn get(&self) -> &[u8] {
        // SAFETY: the array lives as long as `self`.
        let array = unsafe { &*self.array };
        if array.data.is_null() {
            return &[];
        }
        // SAFETY: GLib keeps `len` initialised bytes at `data`.
        unsafe { slice::from_raw_parts(array.data, array.len as usize) }
    }

    /// Copies as many bytes as `to` has; `false` if there are fewer.
    fn copy_to(&self, to: &mut [u8]) -> bool {
        match self.get().get(..to.len()) {
            Some(from) => {
                to.copy_from_slice(from);
                true
            }
            None => false,
        }
    }
}

impl Drop for Bytes<'_> {
    fn drop(&mut self) {
        // SAFETY: `new` made the array, and nobody else has it.
        unsafe { (self.api.g_byte_array_free)(self.array, 1) };
    }
}
