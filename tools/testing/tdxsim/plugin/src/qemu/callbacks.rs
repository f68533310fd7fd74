// SPDX-License-Identifier: GPL-2.0

//! What QEMU calls: vCPUs that are made, blocks that are translated, instructions that run.

use std::ffi::{c_uint, c_void, CStr};
use std::sync::atomic::Ordering;
use std::{ptr, slice};

use super::cpu::{Cpu, Reg};
use super::layer::{instructions, layer, Blame, Handles, Layer, Pending};
use super::{api, fatal, Frame, Next, Resume};

/// The linear address of the first instruction after a reset.
const RESET_VECTOR: u64 = 0xFFFF_FFF0;

/// An address that is canonical with neither 48 nor 57 bits: fetching from it raises #GP.
const NOT_CANONICAL: u64 = 0x7D51_0000_0000_0000;

/// RFLAGS bits that QEMU keeps elsewhere than in its EFLAGS register: CF, PF, AF, ZF, SF, DF, OF.
const FLAGS_ELSEWHERE: u64 = 0xCD5;

/// RFLAGS bit 1, which is always 1.
const RFLAGS_FIXED: u64 = 1 << 1;

/// IRETQ.
const IRETQ: [u8; 2] = [0x48, 0xCF];

/// PAUSE and STI.
const PAUSE: [u8; 2] = [0xF3, 0x90];
const STI: [u8; 1] = [0xFB];

/// A vCPU was made: its registers are looked up.
pub extern "C" fn vcpu_init(index: c_uint, _: *mut c_void) {
    let layer = layer();
    let Some(vcpu) = layer.vcpus.get(index as usize) else {
        fatal("QEMU makes more vCPUs than it announced");
    };
    // SAFETY: this is the callback in which QEMU allows it.
    let array = unsafe { (layer.api.get_registers)() };
    // SAFETY: QEMU returns an array of descriptors, which is freed below.
    let registers = unsafe {
        let array = &*array;
        if array.data.is_null() {
            &[]
        } else {
            slice::from_raw_parts(array.data.cast::<api::RegDescriptor>(), array.len as usize)
        }
    };
    let mut handles = [ptr::null_mut(); Reg::ALL.len()];
    for (reg, name) in Reg::ALL {
        let found = registers.iter().find(|register| {
            if register.name.is_null() {
                return false;
            }
            // SAFETY: a register's name is a C string.
            let known = unsafe { CStr::from_ptr(register.name) };
            known.to_bytes() == name.as_bytes()
        });
        match found {
            Some(register) => handles[reg as usize] = register.handle,
            None => fatal(&format!(
                "this QEMU's vCPUs have no register {name}: is it qemu-system-x86_64?"
            )),
        }
    }
    // SAFETY: the array is ours, and its elements are not used any more.
    unsafe { (layer.api.g_array_free)(array, 1) };
    // A vCPU that is made a second time has the same registers.
    let _ = vcpu.registers.set(Handles(handles));
}

/// A block was translated: callbacks are attached to the instructions that need them.
pub extern "C" fn translated(tb: *mut api::Tb, _: *mut c_void) {
    let layer = layer();
    let api = &layer.api;
    // SAFETY: `tb` is the block of this callback.
    let count = unsafe { (api.tb_n_insns)(tb) };
    // SAFETY: as above, and the entry is a scoreboard's.
    unsafe {
        (api.register_vcpu_tb_exec_inline_per_vcpu)(
            tb,
            api::INLINE_ADD_U64,
            layer.instructions,
            count as u64,
        );
    }
    // Work can be pending at a block's start, and behind an instruction that is hooked.
    let mut may_be_due = true;
    for index in 0..count {
        // SAFETY: `index` is one of the block's instructions.
        let insn = unsafe { (api.tb_get_insn)(tb, index) };
        if may_be_due {
            // SAFETY: `insn` is an instruction of this callback's block.
            unsafe {
                (api.register_vcpu_insn_exec_cond_cb)(
                    insn,
                    due,
                    api::CB_RW_REGS_PC,
                    api::COND_NE,
                    layer.due,
                    0,
                    ptr::null_mut(),
                );
            }
        }
        let mut bytes = [0_u8; 16];
        // SAFETY: QEMU writes no more than the length of `bytes`.
        let length = unsafe { (api.insn_data)(insn, bytes.as_mut_ptr().cast(), bytes.len()) };
        let bytes = &bytes[..length.min(bytes.len())];
        // SAFETY: `insn` is an instruction of this callback's block.
        let address = unsafe { (api.insn_vaddr)(insn) };
        if address == RESET_VECTOR {
            // SAFETY: as above.
            unsafe {
                (api.register_vcpu_insn_exec_cb)(insn, reset, api::CB_RW_REGS, ptr::null_mut());
            }
        }
        // Kernels are in the upper half of the address space.
        if address >> 63 != 0 {
            notice(layer, insn, bytes, address);
        }
        may_be_due = layer.plugin.wants(bytes);
        if may_be_due {
            // SAFETY: as above; what is given back to the callback is a number.
            unsafe {
                (api.register_vcpu_insn_exec_cb)(
                    insn,
                    before,
                    api::CB_RW_REGS_PC,
                    ptr::without_provenance_mut(address as usize),
                );
            }
        }
    }
}

/// Attaches callbacks to instructions of a kernel that only tell something.
fn notice(layer: &Layer, insn: *mut api::Insn, bytes: &[u8], address: u64) {
    let api = &layer.api;
    if bytes == IRETQ {
        layer.iretq.store(address, Ordering::Relaxed);
    } else if bytes == STI {
        // SAFETY: `insn` is an instruction of the block that is being translated.
        unsafe {
            (api.register_vcpu_insn_exec_cond_cb)(
                insn,
                sti,
                api::CB_NO_REGS,
                api::COND_NE,
                layer.watched,
                0,
                ptr::null_mut(),
            );
        }
    } else if bytes == PAUSE {
        let place = ptr::without_provenance_mut(address as usize);
        // SAFETY: as above; what is given back to the callback is a number.
        unsafe {
            (api.register_vcpu_insn_exec_cond_cb)(
                insn,
                pause,
                api::CB_NO_REGS,
                api::COND_NE,
                layer.watched,
                0,
                place,
            );
        }
    }
    if let Some(place) = layer.plugin.place(address) {
        let place = ptr::without_provenance_mut(place);
        // SAFETY: as above.
        unsafe { (api.register_vcpu_insn_exec_cb)(insn, passed, api::CB_NO_REGS, place) };
    }
}

/// A vCPU that is watched is about to execute STI.
extern "C" fn sti(index: c_uint, _: *mut c_void) {
    let layer = layer();
    // SAFETY: the entry is a scoreboard's, and the vCPU runs.
    unsafe { (layer.api.u64_set)(layer.watched, index, 0) };
    layer.plugin.interrupts_enabled(index as usize);
}

/// A vCPU that is watched executes PAUSE.
extern "C" fn pause(index: c_uint, address: *mut c_void) {
    if let Some(vcpu) = layer().vcpus.get(index as usize) {
        vcpu.spin
            .pause(address.addr() as u64, instructions(index as usize));
    }
}

/// A vCPU comes to a place that is watched.
extern "C" fn passed(index: c_uint, place: *mut c_void) {
    layer().plugin.passed(index as usize, place.addr());
}

/// A vCPU is at the reset vector.
extern "C" fn reset(index: c_uint, _: *mut c_void) {
    let cpu = Cpu::new(index);
    // What was pending on any vCPU is not any more.
    for (index, vcpu) in (0..).zip(&cpu.layer.vcpus) {
        if vcpu.is_made() {
            cpu.layer.set_pending(index, Pending::Nothing);
        }
        vcpu.interrupted.store(0, Ordering::Relaxed);
    }
    cpu.layer.plugin.reset(&cpu);
}

/// An instruction with a callback is about to run.
extern "C" fn before(index: c_uint, translated: *mut c_void) {
    go(consult(index, translated.addr() as u64));
}

/// Pending work is due.
extern "C" fn due(index: c_uint, _: *mut c_void) {
    go(work(index));
}

/// Goes to an address, if there is one. Neither this function nor its callers have anything to drop.
fn go(to: Option<u64>) {
    if let Some(to) = to {
        // SAFETY: the callback was registered with CB_RW_REGS_PC.
        unsafe { (layer().api.set_pc)(to) }
    }
}

/// Asks the plugin about an instruction; `Some` is an address to go to.
fn consult(index: c_uint, translated: u64) -> Option<u64> {
    let cpu = Cpu::new(index);
    let address = cpu.address(translated);
    let again =
        cpu.vcpu()
            .interrupted
            .compare_exchange(address, 0, Ordering::Relaxed, Ordering::Relaxed);
    let next = match again {
        Ok(_) => Next::GeneralProtection,
        Err(_) => cpu.layer.plugin.before(&cpu, address),
    };
    match next {
        Next::Run => None,
        Next::RunThenAfter => {
            cpu.set_pending(Pending::After);
            None
        }
        Next::Emulate => {
            cpu.set_pending(Pending::Emulate(address));
            None
        }
        Next::GeneralProtection => {
            let rflags = cpu.reg(Reg::Eflags) & !FLAGS_ELSEWHERE | RFLAGS_FIXED;
            cpu.set_pending(Pending::Blame(Blame {
                address,
                rflags,
                sent_to: NOT_CANONICAL,
                page_fault: None,
            }));
            Some(NOT_CANONICAL)
        }
    }
}

/// Does pending work; `Some` is an address to go to.
fn work(index: c_uint) -> Option<u64> {
    let cpu = Cpu::new(index);
    let pending = *cpu.vcpu().pending();
    match pending {
        Pending::Nothing => {
            cpu.set_pending(Pending::Nothing);
            None
        }
        Pending::After => {
            cpu.set_pending(Pending::Nothing);
            cpu.layer.plugin.after(&cpu);
            None
        }
        Pending::Emulate(address) => emulate(&cpu, address),
        Pending::Blame(what) => {
            // The IRETQ on the way to where #PF is raised is not there yet.
            if what.page_fault.is_none() || !is_iretq(&cpu, cpu.reg(Reg::Rip)) {
                blame(&cpu, what);
            }
            None
        }
    }
}

/// The vCPU is at the start of the handler of #UD, raised by the instruction at this address; or at
/// that of an NMI which came in between, and then the work stays pending.
fn emulate(cpu: &Cpu, address: u64) -> Option<u64> {
    let at = cpu.reg(Reg::Rsp);
    let mut bytes = [0; Frame::SIZE];
    if !cpu.read_virtual(at, &mut bytes) {
        return None;
    }
    let frame = Frame::from_bytes(&bytes);
    if frame.rip != address {
        return None;
    }
    cpu.set_pending(Pending::Nothing);
    cpu.vcpu().spin.work();
    let raise = |sent_to, page_fault| {
        cpu.set_pending(Pending::Blame(Blame {
            address,
            rflags: frame.rflags,
            sent_to,
            page_fault,
        }));
        (sent_to, frame.rflags)
    };
    let (rip, rflags) = match cpu.layer.plugin.emulate(cpu, &frame) {
        Resume::Undefined => return None,
        Resume::At { rip, rflags } => (rip, rflags),
        Resume::GeneralProtection => raise(NOT_CANONICAL, None),
        Resume::PageFault {
            address,
            code,
            absent,
        } => raise(absent, Some((address, code))),
    };
    bytes[..8].copy_from_slice(&rip.to_le_bytes());
    bytes[16..24].copy_from_slice(&rflags.to_le_bytes());
    if !cpu.write_virtual(at, &bytes) {
        fatal("the frame of #UD cannot be written");
    }
    let iretq = cpu.layer.iretq.load(Ordering::Relaxed);
    if !is_iretq(cpu, iretq) {
        fatal("the guest's kernel has not executed an IRETQ yet");
    }
    Some(iretq)
}

/// Whether there is an IRETQ at this address.
fn is_iretq(cpu: &Cpu, address: u64) -> bool {
    let mut there = [0; 2];
    cpu.read_virtual(address, &mut there) && there == IRETQ
}

/// The vCPU is at the start of a handler, in whose frame RIP is where it was sent to.
fn blame(cpu: &Cpu, what: Blame) {
    cpu.set_pending(Pending::Nothing);
    let frame = cpu.reg(Reg::Rsp);
    let holds_rip = |at: u64| {
        let mut rip = [0; 8];
        cpu.read_virtual(at, &mut rip) && u64::from_le_bytes(rip) == what.sent_to
    };
    let behind_error_code = frame.wrapping_add(8);
    let mut written = true;
    let at = if holds_rip(behind_error_code) {
        if let Some((address, code)) = what.page_fault {
            cpu.set_reg(Reg::Cr2, address);
            written = cpu.write_virtual(frame, &u64::from(code).to_le_bytes());
        }
        behind_error_code
    } else if holds_rip(frame) {
        // An interrupt, which has no error code. What raises #PF does so again when it is tried again.
        if what.page_fault.is_none() {
            let interrupted = &cpu.vcpu().interrupted;
            interrupted.store(what.address, Ordering::Relaxed);
        }
        frame
    } else {
        fatal("QEMU did not raise an exception as expected")
    };
    written &= cpu.write_virtual(at, &what.address.to_le_bytes())
        && cpu.write_virtual(at.wrapping_add(16), &what.rflags.to_le_bytes());
    if !written {
        fatal("the frame of an exception cannot be written");
    }
}
