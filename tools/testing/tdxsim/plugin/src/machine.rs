// SPDX-License-Identifier: GPL-2.0

//! The simulated machine: what the plugin's instructions do to vCPUs and to the model.

use std::mem;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tdxsim::leaf::SEAMLDR_BIT;
use tdxsim::regs::{Outcome, Regs};
use tdxsim::{Host, Sim};

use crate::arguments::Arguments;
use crate::control::{self, Request};
use crate::cpuid;
use crate::decode::{self, Address, Decoded, Instruction, Operand};
use crate::movdir64b;
use crate::msr;
use crate::operands::Operands;
use crate::paging::{Fault, Paging};
use crate::qemu::{self, Cpu, Frame, Info, Next, Plugin, Reg, Resume};
use crate::ram;
use crate::vmx::{self, VmcsFields, Vmx};

/// The most logical processors that a machine can have.
const MAX_VCPUS: usize = 64;

/// RAM of a machine that is made for the sake of its error messages only.
const SOME_RAM: u64 = 1 << 30;

/// CR0.PE and CR0.PG.
const CR0_PE: u64 = 1 << 0;
const CR0_PG: u64 = 1 << 31;

/// EFER.LMA.
const EFER_LMA: u64 = 1 << 10;

/// Linux's selector of 32-bit code in ring 3. QEMU does not show a plugin what kind of code it is.
const LINUX_USER32_CS: u64 = 0x23;

/// Where CPUID returns its values.
const CPUID_REGISTERS: [Reg; 4] = [Reg::Rax, Reg::Rbx, Reg::Rcx, Reg::Rdx];

/// The machine.
pub struct Machine {
    arguments: Arguments,
    /// The model, from the first reset on, when the machine's memory is known.
    sim: OnceLock<Sim>,
    clock: Clock,
    lps: Vec<Mutex<Lp>>,
    fields: Mutex<VmcsFields>,
}

/// What there is of a logical processor outside of QEMU.
#[derive(Default)]
struct Lp {
    vmx: Vmx,
    /// What is to be done when the current instruction has run.
    after: After,
}

/// What is to be done to a logical processor when QEMU has run an instruction.
#[derive(Default)]
enum After {
    #[default]
    Nothing,
    /// CPUID of this leaf: changing what it returned.
    Cpuid(u32),
    /// CPUID about the topology: comparing it with the arguments.
    Topology,
    /// CPUID was a request.
    Control(Request),
    /// RDMSR: returning this value.
    Msr(u64),
    /// RDMSR: setting these bits in what it returned.
    MsrPlus(u64),
    /// MOV to CR4: giving this register back its value.
    Restore(Reg, u64),
    /// MOV from CR4: adding VMXE to this register.
    AddVmxe(Reg),
}

/// Time and instructions, as the model sees them.
struct Clock {
    start: Instant,
}

impl Host for Clock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn sleep_ns(&self, ns: u64) {
        qemu::sleep(Duration::from_nanos(ns));
    }

    fn instructions(&self, lp: usize) -> u64 {
        qemu::instructions(lp)
    }

    fn spinning(&self, lp: usize) -> u64 {
        qemu::spinning(lp)
    }

    fn watch(&self, lp: usize) {
        qemu::watch(lp);
    }
}

/// Takes a lock whose data stays usable when a thread that held it died.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// Checks what QEMU and the user gave.
    pub fn new(info: &Info, arguments: &[String]) -> Result<Machine, String> {
        if !info.system || info.target != "x86_64" {
            return Err(format!(
                "this is the plugin for qemu-system-x86_64, not for {}",
                info.target
            ));
        }
        if info.max_vcpus > MAX_VCPUS {
            return Err(format!(
                "{} vCPUs; there can be at most {MAX_VCPUS}",
                info.max_vcpus
            ));
        }
        if info.max_vcpus != info.vcpus {
            return Err("vCPU hotplug (-smp maxcpus=) is not supported".into());
        }
        let arguments = Arguments::parse(arguments, info.vcpus)?;
        // What is wrong with the settings is to be known now, not when the machine's memory is.
        Sim::new(arguments.config(SOME_RAM)?)?;
        Ok(Machine {
            arguments,
            sim: OnceLock::new(),
            clock: Clock {
                start: Instant::now(),
            },
            lps: (0..info.vcpus).map(|_| Mutex::default()).collect(),
            fields: Mutex::default(),
        })
    }

    /// The model, once the machine has been reset.
    fn sim(&self) -> &Sim {
        match self.sim.get() {
            Some(sim) => sim,
            None => qemu::fatal("a vCPU runs before the machine was reset: was it made by qemu-system-x86_64 -machine q35?"),
        }
    }

    /// The state of the vCPU's logical processor.
    fn lp(&self, cpu: &Cpu) -> MutexGuard<'_, Lp> {
        lock(&self.lps[cpu.index()])
    }

    /// Makes sure that plugin and guest agree about a vCPU's package.
    fn check_package(&self, cpu: &Cpu, package: usize) {
        let expected = self.sim().config().packages[cpu.index()];
        if package != expected {
            qemu::fatal(&format!(
                "vCPU {} is in package {package}, not {expected}: give the plugin as many sockets= as -smp",
                cpu.index()
            ));
        }
    }

    /// SEAMCALL, in VMX operation.
    fn seamcall(&self, cpu: &Cpu) -> vmx::Outcome {
        let mut regs = Regs {
            rax: cpu.reg(Reg::Rax),
            rcx: cpu.reg(Reg::Rcx),
            rdx: cpu.reg(Reg::Rdx),
            r8: cpu.reg(Reg::R8),
            r9: cpu.reg(Reg::R9),
            r10: cpu.reg(Reg::R10),
            r11: cpu.reg(Reg::R11),
        };
        let before = regs;
        let outcome = self
            .sim()
            .seamcall(cpu.index(), &mut regs, cpu, &self.clock);
        match outcome {
            Outcome::Completed => {}
            Outcome::VmFailInvalid => return vmx::Outcome::FailInvalid,
            Outcome::UndefinedInstruction => return vmx::Outcome::Undefined,
            Outcome::GeneralProtection => return vmx::Outcome::GeneralProtection,
        }
        if before.rax & SEAMLDR_BIT != 0 && self.sim().platform().seamret_erratum {
            self.lp(cpu).vmx.lose_current_vmcs();
        }
        for (reg, old, new) in [
            (Reg::Rax, before.rax, regs.rax),
            (Reg::Rcx, before.rcx, regs.rcx),
            (Reg::Rdx, before.rdx, regs.rdx),
            (Reg::R8, before.r8, regs.r8),
            (Reg::R9, before.r9, regs.r9),
            (Reg::R10, before.r10, regs.r10),
            (Reg::R11, before.r11, regs.r11),
        ] {
            if old != new {
                cpu.set_reg(reg, new);
            }
        }
        vmx::Outcome::Succeed
    }

    /// MOV to CR4. QEMU refuses CR4.VMXE: it gets to see the value without.
    fn write_cr4(&self, cpu: &Cpu, from: u8) -> Next {
        let from = Reg::general(from);
        let value = cpu.reg(from);
        let mut lp = self.lp(cpu);
        if value & vmx::CR4_VMXE != 0 {
            lp.vmx.enabled = true;
            cpu.set_reg(from, value & !vmx::CR4_VMXE);
            lp.after = After::Restore(from, value);
            return Next::RunThenAfter;
        }
        if lp.vmx.is_on() {
            if cpu.reg(Reg::Cr0) & CR0_PG != 0 {
                // CR4.VMXE is fixed to 1 in VMX operation.
                return Next::GeneralProtection;
            }
            // Paging cannot be off in VMX operation either: the processor has had an INIT since.
            lp.vmx = Vmx::default();
        }
        lp.vmx.enabled = false;
        Next::Run
    }

    /// MOV from CR4.
    fn read_cr4(&self, cpu: &Cpu, to: u8) -> Next {
        let mut lp = self.lp(cpu);
        if !lp.vmx.enabled {
            return Next::Run;
        }
        lp.after = After::AddVmxe(Reg::general(to));
        Next::RunThenAfter
    }

    /// RDMSR. QEMU would read an MSR that it does not know as 0.
    fn rdmsr(&self, cpu: &Cpu) -> Next {
        let number = cpu.reg(Reg::Rcx) as u32;
        match msr::read(number, self.sim().platform()) {
            msr::Read::Value(value) => {
                self.lp(cpu).after = After::Msr(value);
                Next::RunThenAfter
            }
            msr::Read::Tsc => {
                self.lp(cpu).after = After::Msr(qemu::time_stamp());
                Next::RunThenAfter
            }
            msr::Read::Plus(bits) => {
                self.lp(cpu).after = After::MsrPlus(bits);
                Next::RunThenAfter
            }
            msr::Read::Fault => {
                self.refused(cpu, &format!("RDMSR {number:#x}"));
                msr_fault(cpu)
            }
            msr::Read::Unknown => {
                self.unknown(cpu, &format!("RDMSR {number:#x}"));
                msr_fault(cpu)
            }
            msr::Read::Qemus => Next::Run,
        }
    }

    /// WRMSR. QEMU would ignore that of an MSR that it does not know.
    fn wrmsr(&self, cpu: &Cpu) -> Next {
        let number = cpu.reg(Reg::Rcx) as u32;
        match msr::write(number) {
            msr::Write::Fault => {
                self.refused(cpu, &format!("WRMSR {number:#x}"));
                msr_fault(cpu)
            }
            msr::Write::Unknown => {
                self.unknown(cpu, &format!("WRMSR {number:#x}"));
                msr_fault(cpu)
            }
            msr::Write::Ignored | msr::Write::Qemus => Next::Run,
        }
    }

    /// CPUID, which is also how the guest controls the simulator.
    fn cpuid(&self, cpu: &Cpu) -> Next {
        let leaf = cpu.reg(Reg::Rax) as u32;
        self.lp(cpu).after = if leaf == control::LEAF {
            match Request::read(cpu) {
                Some(request) => After::Control(request),
                None => return Next::Run,
            }
        } else if cpuid::differs(leaf, cpu.reg(Reg::Rcx) as u32) {
            After::Cpuid(leaf)
        } else if cpuid::tells_package(leaf, cpu.reg(Reg::Rcx) as u32) {
            After::Topology
        } else {
            return Next::Run;
        };
        Next::RunThenAfter
    }

    /// A VMX instruction in VMX operation, or VMXON.
    fn vmx(
        &self,
        cpu: &Cpu,
        privileged: bool,
        instruction: Instruction,
        operands: &Operands,
    ) -> Result<vmx::Outcome, Fault> {
        let lp = &mut *self.lp(cpu);
        let fields = &mut *lock(&self.fields);
        let load = |address: &Address| operands.load(address).map(|[word]| word);
        let store = |operand: &Operand, value| {
            operands
                .store(operand, value)
                .map(|()| vmx::Outcome::Succeed)
        };
        let vmx = &mut lp.vmx;
        let outcome = match instruction {
            Instruction::Vmxon(address) => {
                match vmx.refuse_vmxon(privileged, cpu.reg(Reg::Cr0), cpu.reg(Reg::Cr4), fields) {
                    Some(refused) => Ok(refused),
                    None => load(&address).map(|pointer| vmx.vmxon(pointer, cpu)),
                }
            }
            _ if !privileged => Ok(vmx::Outcome::GeneralProtection),
            Instruction::Vmxoff => Ok(vmx.vmxoff()),
            Instruction::Vmclear(address) => {
                load(&address).map(|pointer| vmx.vmclear(pointer, cpu, fields))
            }
            Instruction::Vmptrld(address) => {
                load(&address).map(|pointer| vmx.vmptrld(pointer, cpu, fields))
            }
            Instruction::Vmptrst(address) => match vmx.vmptrst() {
                Ok(pointer) => store(&Operand::Memory(address), pointer),
                Err(refused) => Ok(refused),
            },
            Instruction::Vmread { to, field } => match vmx.vmread(operands.reg(field), fields) {
                Ok(value) => store(&to, value),
                Err(refused) => Ok(refused),
            },
            Instruction::Vmwrite { from, field } => {
                let field = operands.reg(field);
                match (vmx.refuse_field(field, fields), from) {
                    (Some(refused), _) => Ok(refused),
                    (None, Operand::Register(number)) => {
                        Ok(vmx.vmwrite(field, operands.reg(number), fields))
                    }
                    (None, Operand::Memory(address)) => {
                        load(&address).map(|value| vmx.vmwrite(field, value, fields))
                    }
                }
            }
            Instruction::Invept { kind, descriptor } => operands
                .load::<2>(&descriptor)
                .map(|[eptp, _]| vmx.invept(operands.reg(kind), eptp, fields)),
            Instruction::Invvpid { kind, descriptor } => operands
                .load::<2>(&descriptor)
                .map(|[vpid, linear]| vmx.invvpid(operands.reg(kind), vpid, linear, fields)),
            _ => Ok(vmx.enter(fields)),
        };
        if outcome != Ok(vmx::Outcome::Succeed) {
            self.refused(cpu, &format!("{instruction:?}: {outcome:?}"));
        }
        outcome
    }

    /// Notes in the trace what neither the plugin nor QEMU knows.
    fn unknown(&self, cpu: &Cpu, what: &str) {
        self.sim().report(cpu.index(), "unknown", what, &self.clock);
    }

    /// Notes in the trace what a CPU refused to do.
    fn refused(&self, cpu: &Cpu, what: &str) {
        self.sim().report(cpu.index(), "refused", what, &self.clock);
    }
}

impl Plugin for Machine {
    fn wants(&self, bytes: &[u8]) -> bool {
        decode::concerns(bytes)
    }

    fn place(&self, address: u64) -> Option<usize> {
        self.arguments.place(address)
    }

    fn passed(&self, vcpu: usize, place: usize) {
        if let (Some(sim), Some(name)) = (self.sim.get(), self.arguments.place_name(place)) {
            sim.mark(vcpu, name, &self.clock);
        }
    }

    fn interrupts_enabled(&self, vcpu: usize) {
        if let Some(sim) = self.sim.get() {
            sim.back(vcpu, &self.clock);
        }
    }

    fn reset(&self, cpu: &Cpu) {
        for lp in &self.lps {
            *lock(lp) = Lp::default();
        }
        *lock(&self.fields) = VmcsFields::default();
        match self.sim.get() {
            Some(sim) => sim.reset(&self.clock),
            None => match self.arguments.config(ram::probe(cpu)).and_then(Sim::new) {
                Ok(sim) => {
                    // No other vCPU runs that could have set it.
                    let _ = self.sim.set(sim);
                }
                Err(message) => qemu::fatal(&message),
            },
        }
    }

    fn before(&self, cpu: &Cpu, address: u64) -> Next {
        if cpu.reg(Reg::Cr0) & CR0_PE == 0 {
            // In real mode, addresses have a segment's base in them; only firmware is there.
            return Next::Run;
        }
        let Some(Decoded { instruction, .. }) = decode::decode(&fetch(cpu, address)) else {
            return Next::Run;
        };
        match instruction {
            Instruction::Cpuid => self.cpuid(cpu),
            // In ring 3, QEMU raises #GP for these.
            Instruction::Wbinvd
            | Instruction::Rdmsr
            | Instruction::Wrmsr
            | Instruction::MovToCr4(_)
            | Instruction::MovFromCr4(_)
                if cpu.reg(Reg::Cs) & 3 != 0 =>
            {
                Next::Run
            }
            Instruction::Wbinvd => {
                self.sim().report(cpu.index(), "wbinvd", "", &self.clock);
                Next::Run
            }
            Instruction::Rdmsr => self.rdmsr(cpu),
            Instruction::Wrmsr => self.wrmsr(cpu),
            Instruction::MovToCr4(from) => self.write_cr4(cpu, from),
            Instruction::MovFromCr4(to) => self.read_cr4(cpu, to),
            // Outside of 64-bit mode, the rest stays undefined.
            _ if cpu.reg(Reg::Efer) & EFER_LMA == 0 => Next::Run,
            _ => Next::Emulate,
        }
    }

    fn after(&self, cpu: &Cpu) {
        let after = mem::take(&mut self.lp(cpu).after);
        match after {
            After::Nothing => {}
            After::Cpuid(leaf) => {
                let mut values = CPUID_REGISTERS.map(|register| cpu.reg(register) as u32);
                let package = self.sim().config().packages[cpu.index()];
                cpuid::change(leaf, self.sim().platform(), package, &mut values);
                for (register, value) in CPUID_REGISTERS.into_iter().zip(values) {
                    cpu.set_reg(register, value.into());
                }
            }
            After::Topology => {
                let values = CPUID_REGISTERS.map(|register| cpu.reg(register) as u32);
                self.check_package(cpu, cpuid::package(&values));
            }
            After::Control(request) => {
                request.serve(cpu, |command| {
                    self.sim().control(cpu.index(), command, &self.clock)
                });
            }
            After::Msr(value) => {
                cpu.set_reg(Reg::Rax, value & 0xFFFF_FFFF);
                cpu.set_reg(Reg::Rdx, value >> 32);
            }
            After::MsrPlus(bits) => {
                cpu.set_reg(Reg::Rax, cpu.reg(Reg::Rax) | (bits & 0xFFFF_FFFF));
                cpu.set_reg(Reg::Rdx, cpu.reg(Reg::Rdx) | (bits >> 32));
            }
            After::Restore(register, value) => cpu.set_reg(register, value),
            After::AddVmxe(register) => cpu.set_reg(register, cpu.reg(register) | vmx::CR4_VMXE),
        }
    }

    fn emulate(&self, cpu: &Cpu, frame: &Frame) -> Resume {
        let Some(Decoded {
            instruction,
            length,
        }) = decode::decode(&fetch(cpu, frame.rip))
        else {
            return Resume::Undefined;
        };
        let privileged = frame.cs & 3 == 0;
        let [cr0, cr3, cr4] = [Reg::Cr0, Reg::Cr3, Reg::Cr4].map(|register| cpu.reg(register));
        let operands = Operands {
            cpu,
            rsp: frame.rsp,
            next: frame.rip.wrapping_add(length as u64),
            paging: Paging::new(frame.cs & 3 == 3, cr0, cr3, cr4, frame.rflags),
        };
        let outcome = match instruction {
            _ if frame.cs == LINUX_USER32_CS => Ok(vmx::Outcome::Undefined),
            Instruction::Movdir64b { to, from } => match movdir64b::execute(&operands, to, &from) {
                Ok(()) => {
                    return Resume::At {
                        rip: operands.next,
                        rflags: frame.rflags,
                    }
                }
                Err(fault) => Err(fault),
            },
            // VMXON is the one that is not undefined outside of VMX operation.
            _ if !self.lp(cpu).vmx.is_on() && !matches!(instruction, Instruction::Vmxon(_)) => {
                Ok(vmx::Outcome::Undefined)
            }
            Instruction::Seamcall if !privileged => Ok(vmx::Outcome::GeneralProtection),
            Instruction::Seamcall => Ok(self.seamcall(cpu)),
            _ => self.vmx(cpu, privileged, instruction, &operands),
        };
        match outcome {
            Ok(outcome) => match outcome.rflags(frame.rflags) {
                Some(rflags) => Resume::At {
                    rip: operands.next,
                    rflags,
                },
                None if outcome == vmx::Outcome::Undefined => Resume::Undefined,
                None => Resume::GeneralProtection,
            },
            Err(Fault::GeneralProtection) => Resume::GeneralProtection,
            Err(Fault::Page { address, code }) => match operands.paging.absent(address, cpu) {
                Some(absent) => Resume::PageFault {
                    address,
                    code,
                    absent,
                },
                None => Resume::GeneralProtection,
            },
        }
    }
}

/// #GP for an access to an MSR. It cannot be raised outside of 64-bit mode, where only firmware is and
/// a kernel's first instructions; there QEMU does what it does with every MSR that it does not know.
fn msr_fault(cpu: &Cpu) -> Next {
    if cpu.reg(Reg::Efer) & EFER_LMA == 0 {
        Next::Run
    } else {
        Next::GeneralProtection
    }
}

/// The bytes at an address, as many as can be read of an instruction's length.
fn fetch(cpu: &Cpu, address: u64) -> Vec<u8> {
    let mut bytes = vec![0; decode::MAX_LENGTH];
    if !cpu.read_virtual(address, &mut bytes) {
        // The next page is not there.
        bytes.truncate((0x1000 - (address & 0xFFF)) as usize);
        if !cpu.read_virtual(address, &mut bytes) {
            bytes.clear();
        }
    }
    bytes
}
