// SPDX-License-Identifier: GPL-2.0

//! The operands of an instruction that is executed at the start of the handler of its #UD.

use crate::decode::{Address, Operand, Segment};
use crate::paging::{Access, Fault, Paging};
use crate::qemu::{Cpu, Reg};

/// Registers and memory as the instruction sees them.
pub struct Operands<'a> {
    /// The vCPU, whose registers are the instruction's but for RSP.
    pub cpu: &'a Cpu,
    /// RSP.
    pub rsp: u64,
    /// The address of the next instruction.
    pub next: u64,
    /// What memory the instruction may access.
    pub paging: Paging,
}

impl Operands<'_> {
    /// A general-purpose register.
    pub fn reg(&self, number: u8) -> u64 {
        match Reg::general(number) {
            Reg::Rsp => self.rsp,
            register => self.cpu.reg(register),
        }
    }

    /// The linear address of a memory operand.
    pub fn linear(&self, address: &Address) -> u64 {
        address.resolve(
            self.next,
            |number| self.reg(number),
            |segment| match segment {
                Segment::Fs => self.cpu.reg(Reg::FsBase),
                Segment::Gs => self.cpu.reg(Reg::GsBase),
            },
        )
    }

    /// Reads bytes at a linear address.
    pub fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Fault> {
        let length = to.len() as u64;
        self.paging.check(address, length, Access::Read, self.cpu)?;
        if self.cpu.read_virtual(address, to) {
            Ok(())
        } else {
            Err(Fault::GeneralProtection)
        }
    }

    /// Writes bytes at a linear address.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), Fault> {
        let length = from.len() as u64;
        self.paging
            .check(address, length, Access::Write, self.cpu)?;
        if self.cpu.write_virtual(address, from) {
            Ok(())
        } else {
            Err(Fault::GeneralProtection)
        }
    }

    /// Reads words of 8 bytes from memory.
    pub fn load<const N: usize>(&self, address: &Address) -> Result<[u64; N], Fault> {
        let mut words = [0; N];
        for (index, word) in words.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            let at = self.linear(address).wrapping_add(8 * index as u64);
            self.read(at, &mut bytes)?;
            *word = u64::from_le_bytes(bytes);
        }
        Ok(words)
    }

    /// Stores 8 bytes. The register RSP comes back from the handler's frame and cannot be set, which
    /// no kernel asks for.
    pub fn store(&self, to: &Operand, value: u64) -> Result<(), Fault> {
        match to {
            Operand::Register(number) if Reg::general(*number) == Reg::Rsp => {
                Err(Fault::GeneralProtection)
            }
            Operand::Register(number) => {
                self.cpu.set_reg(Reg::general(*number), value);
                Ok(())
            }
            Operand::Memory(address) => self.write(self.linear(address), &value.to_le_bytes()),
        }
    }
}
