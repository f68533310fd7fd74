// SPDX-License-Identifier: GPL-2.0

//! The operands of an instruction that is executed at the start of the handler of its #UD.

use crate::decode::{Address, Operand, Segment};
use crate::qemu::{Cpu, Reg};

/// Registers and memory as the instruction sees them.
pub struct Operands<'a> {
    /// The vCPU, whose registers are the instruction's but for RSP.
    pub cpu: &'a Cpu,
    /// RSP.
    pub rsp: u64,
    /// The address of the next instruction.
    pub next: u64,
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

    /// Reads words of 8 bytes from memory; `None` if they are not there.
    pub fn load<const N: usize>(&self, address: &Address) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (index, word) in words.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            let at = self.linear(address).wrapping_add(8 * index as u64);
            if !self.cpu.read_virtual(at, &mut bytes) {
                return None;
            }
            *word = u64::from_le_bytes(bytes);
        }
        Some(words)
    }

    /// Stores 8 bytes; `false` if there is no memory, or the register is RSP, which comes back from
    /// the handler's frame.
    pub fn store(&self, to: &Operand, value: u64) -> bool {
        match to {
            Operand::Register(number) if Reg::general(*number) == Reg::Rsp => false,
            Operand::Register(number) => {
                self.cpu.set_reg(Reg::general(*number), value);
                true
            }
            Operand::Memory(address) => self
                .cpu
                .write_virtual(self.linear(address), &value.to_le_bytes()),
        }
    }
}
