// SPDX-License-Identifier: GPL-2.0

//! Decoding of the instructions that the plugin executes or changes, from their bytes.
//!
//! Source: Intel SDM volume 2, chapter 2 (instruction format) and the instructions' own pages;
//! SEAMCALL: Intel's "TDX CPU architectural extensions". QEMU gives no trustworthy length for an
//! instruction that it does not know, so that the length is worked out here from ModRM and SIB.

/// The longest an instruction can be, in bytes.
pub const MAX_LENGTH: usize = 15;

/// An instruction that the plugin deals with. Registers are given by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// CPUID
    Cpuid,
    /// RDMSR
    Rdmsr,
    /// WRMSR
    Wrmsr,
    /// MOV to CR4, from this register
    MovToCr4(u8),
    /// MOV from CR4, to this register
    MovFromCr4(u8),
    /// WBINVD
    Wbinvd,
    /// SEAMCALL
    Seamcall,
    /// VMXON
    Vmxon(Address),
    /// VMXOFF
    Vmxoff,
    /// VMCLEAR
    Vmclear(Address),
    /// VMPTRLD
    Vmptrld(Address),
    /// VMPTRST
    Vmptrst(Address),
    /// VMREAD
    Vmread {
        /// Where the value goes.
        to: Operand,
        /// The register with the field's encoding.
        field: u8,
    },
    /// VMWRITE
    Vmwrite {
        /// Where the value comes from.
        from: Operand,
        /// The register with the field's encoding.
        field: u8,
    },
    /// VMLAUNCH
    Vmlaunch,
    /// VMRESUME
    Vmresume,
    /// INVEPT
    Invept {
        /// The register with the kind of invalidation.
        kind: u8,
        /// The descriptor.
        descriptor: Address,
    },
    /// INVVPID
    Invvpid {
        /// The register with the kind of invalidation.
        kind: u8,
        /// The descriptor.
        descriptor: Address,
    },
    /// MOVDIR64B
    Movdir64b {
        /// The register with the destination's address.
        to: u8,
        /// The source.
        from: Address,
    },
}

/// An instruction and how many bytes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it is.
    pub instruction: Instruction,
    /// Its length in bytes.
    pub length: usize,
}

/// A register or memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A general-purpose register.
    Register(u8),
    /// Memory.
    Memory(Address),
}

/// A memory operand in 64-bit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// What the displacement is added to.
    pub base: Base,
    /// An index register and by how many bits it is shifted to the left.
    pub index: Option<(u8, u8)>,
    /// The displacement.
    pub displacement: i64,
    /// The segment whose base counts, if any does.
    pub segment: Option<Segment>,
    /// An address-size prefix: the sum is cut to 32 bits.
    pub short: bool,
}

/// The base of a memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// There is none.
    Nothing,
    /// A general-purpose register.
    Register(u8),
    /// The address of the next instruction.
    Rip,
}

/// A segment with a base in 64-bit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// FS
    Fs,
    /// GS
    Gs,
}

impl Address {
    /// The linear address, given the address of the next instruction, the values of registers by
    /// number and the base of a segment.
    pub fn resolve(
        &self,
        next: u64,
        reg: impl Fn(u8) -> u64,
        segment: impl Fn(Segment) -> u64,
    ) -> u64 {
        let base = match self.base {
            Base::Nothing => 0,
            Base::Register(number) => reg(number),
            Base::Rip => next,
        };
        let index = self.index.map_or(0, |(number, shift)| reg(number) << shift);
        let sum = base
            .wrapping_add(index)
            .wrapping_add_signed(self.displacement);
        let offset = if self.short { sum & 0xFFFF_FFFF } else { sum };
        offset.wrapping_add(self.segment.map_or(0, segment))
    }
}

/// Prefixes and opcode.
struct Head<'a> {
    /// The operand-size prefix, 66.
    operand_size: bool,
    /// The repeat prefix that counts: F2, F3 or none.
    repeat: Option<u8>,
    /// The address-size prefix, 67.
    address_size: bool,
    segment: Option<Segment>,
    rex: u8,
    /// The opcode without its 0F.
    opcode: Opcode,
    /// What follows the opcode.
    rest: &'a [u8],
}

/// An opcode of the two maps that matter here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opcode {
    /// 0F xx
    Two(u8),
    /// 0F 38 xx
    Three(u8),
}

impl Head<'_> {
    /// Reads prefixes and opcode; `None` if there are too few bytes or the opcode is of another map.
    fn read(bytes: &[u8]) -> Option<Head<'_>> {
        let mut head = Head {
            operand_size: false,
            repeat: None,
            address_size: false,
            segment: None,
            rex: 0,
            opcode: Opcode::Two(0),
            rest: bytes,
        };
        loop {
            let (&byte, rest) = head.rest.split_first()?;
            match byte {
                0x66 => head.operand_size = true,
                0x67 => head.address_size = true,
                0xF2 | 0xF3 => head.repeat = Some(byte),
                0x64 => head.segment = Some(Segment::Fs),
                0x65 => head.segment = Some(Segment::Gs),
                // Other segments have no base in 64-bit mode.
                0x26 | 0x2E | 0x36 | 0x3E => {}
                _ => break,
            }
            head.rest = rest;
        }
        if let [rex @ 0x40..=0x4F, rest @ ..] = head.rest {
            head.rex = *rex;
            head.rest = rest;
        }
        (head.opcode, head.rest) = match head.rest {
            [0x0F, 0x38, opcode, rest @ ..] => (Opcode::Three(*opcode), rest),
            [0x0F, opcode, rest @ ..] => (Opcode::Two(*opcode), rest),
            _ => return None,
        };
        Some(head)
    }

    /// Whether no prefix selects another instruction.
    fn plain(&self) -> bool {
        !self.operand_size && self.repeat.is_none()
    }

    /// The register in ModRM's reg field.
    fn reg(&self, modrm: u8) -> u8 {
        ((modrm >> 3) & 7) | ((self.rex & 4) << 1)
    }

    /// The register in ModRM's r/m field, if it names one.
    fn rm(&self, modrm: u8) -> u8 {
        (modrm & 7) | ((self.rex & 1) << 3)
    }

    /// The operand in ModRM's r/m field, and how many bytes it takes, ModRM included.
    fn operand(&self) -> Option<(Operand, usize)> {
        let (&modrm, mut rest) = self.rest.split_first()?;
        if modrm >> 6 == 3 {
            return Some((Operand::Register(self.rm(modrm)), 1));
        }
        let mut length = 1;
        let mut base = Base::Register(self.rm(modrm));
        let mut index = None;
        let mut displacement_length = match modrm >> 6 {
            0 => 0,
            1 => 1,
            _ => 4,
        };
        if modrm & 7 == 4 {
            let (&sib, after) = rest.split_first()?;
            rest = after;
            length += 1;
            let number = ((sib >> 3) & 7) | ((self.rex & 2) << 2);
            // RSP cannot be an index.
            if number != 4 {
                index = Some((number, sib >> 6));
            }
            base = Base::Register((sib & 7) | ((self.rex & 1) << 3));
            if sib & 7 == 5 && modrm >> 6 == 0 {
                base = Base::Nothing;
                displacement_length = 4;
            }
        } else if modrm & 7 == 5 && modrm >> 6 == 0 {
            base = Base::Rip;
            displacement_length = 4;
        }
        let displacement = match displacement_length {
            0 => 0,
            1 => i64::from(*rest.first()? as i8),
            _ => i64::from(i32::from_le_bytes(*rest.first_chunk()?)),
        };
        let address = Address {
            base,
            index,
            displacement,
            segment: self.segment,
            short: self.address_size,
        };
        Some((Operand::Memory(address), length + displacement_length))
    }
}

/// Whether an instruction can be one that [`decode`] knows, judging from its first bytes, of which
/// those behind the opcode may be missing.
pub fn concerns(bytes: &[u8]) -> bool {
    let Some(head) = Head::read(bytes) else {
        return false;
    };
    let modrm = |matches: fn(u8) -> bool| head.rest.first().is_none_or(|modrm| matches(*modrm));
    match head.opcode {
        Opcode::Two(0xA2 | 0x30 | 0x32) => true,
        Opcode::Two(0x09) => head.repeat.is_none(),
        Opcode::Two(0x20 | 0x22) => modrm(|modrm| (modrm >> 3) & 7 == 4),
        Opcode::Two(0x01) => modrm(|modrm| matches!(modrm, 0xC2..=0xC4 | 0xCF)),
        Opcode::Two(0xC7) => modrm(|modrm| modrm >> 6 != 3 && (modrm >> 3) & 7 >= 6),
        Opcode::Two(0x78 | 0x79) => head.plain(),
        Opcode::Three(0x80 | 0x81 | 0xF8) => head.operand_size,
        _ => false,
    }
}

/// Decodes the instruction at the start of `bytes`, in 64-bit mode; `None` if it is none of
/// [`Instruction`].
pub fn decode(bytes: &[u8]) -> Option<Decoded> {
    let head = Head::read(bytes)?;
    let modrm = head.rest.first().copied();
    // `operand` is for instructions that must have memory there.
    let operand = head.operand();
    let memory = match operand {
        Some((Operand::Memory(address), length)) => Some((address, length)),
        _ => None,
    };
    let (instruction, length) = match (head.opcode, head.operand_size, head.repeat) {
        (Opcode::Two(0xA2), ..) => (Instruction::Cpuid, 0),
        // With a repeat prefix it is WBNOINVD, which leaves the lines in the cache.
        (Opcode::Two(0x09), _, None) => (Instruction::Wbinvd, 0),
        (Opcode::Two(0x30), false, None) => (Instruction::Wrmsr, 0),
        (Opcode::Two(0x32), false, None) => (Instruction::Rdmsr, 0),
        // CR4 proper: with REX.R the number is that of a register that there is not.
        (Opcode::Two(0x20), ..) if head.reg(modrm?) == 4 => {
            (Instruction::MovFromCr4(head.rm(modrm?)), 1)
        }
        (Opcode::Two(0x22), ..) if head.reg(modrm?) == 4 => {
            (Instruction::MovToCr4(head.rm(modrm?)), 1)
        }
        (Opcode::Two(0x01), false, None) => match modrm? {
            0xC2 => (Instruction::Vmlaunch, 1),
            0xC3 => (Instruction::Vmresume, 1),
            0xC4 => (Instruction::Vmxoff, 1),
            _ => return None,
        },
        (Opcode::Two(0x01), true, None) if modrm? == 0xCF => (Instruction::Seamcall, 1),
        (Opcode::Two(0xC7), operand_size, repeat) => {
            let (address, length) = memory?;
            let instruction = match ((modrm? >> 3) & 7, operand_size, repeat) {
                (6, false, Some(0xF3)) => Instruction::Vmxon(address),
                (6, true, None) => Instruction::Vmclear(address),
                (6, false, None) => Instruction::Vmptrld(address),
                (7, false, None) => Instruction::Vmptrst(address),
                _ => return None,
            };
            (instruction, length)
        }
        (Opcode::Two(0x78), false, None) => {
            let (to, length) = operand?;
            let field = head.reg(modrm?);
            (Instruction::Vmread { to, field }, length)
        }
        (Opcode::Two(0x79), false, None) => {
            let (from, length) = operand?;
            let field = head.reg(modrm?);
            (Instruction::Vmwrite { from, field }, length)
        }
        (Opcode::Three(opcode @ (0x80 | 0x81 | 0xF8)), true, None) => {
            let (address, length) = memory?;
            let register = head.reg(modrm?);
            let instruction = match opcode {
                0x80 => Instruction::Invept {
                    kind: register,
                    descriptor: address,
                },
                0x81 => Instruction::Invvpid {
                    kind: register,
                    descriptor: address,
                },
                _ => Instruction::Movdir64b {
                    to: register,
                    from: address,
                },
            };
            (instruction, length)
        }
        _ => return None,
    };
    let length = bytes.len() - head.rest.len() + length;
    (length <= MAX_LENGTH).then_some(Decoded {
        instruction,
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory operand that is a base and a displacement.
    fn at(base: u8, displacement: i64) -> Address {
        Address {
            base: Base::Register(base),
            index: None,
            displacement,
            segment: None,
            short: false,
        }
    }

    /// A memory operand that is an absolute address.
    fn absolute(displacement: i64) -> Address {
        Address {
            base: Base::Nothing,
            ..at(0, displacement)
        }
    }

    fn rip(displacement: i64) -> Address {
        Address {
            base: Base::Rip,
            ..at(0, displacement)
        }
    }

    fn check(bytes: &[u8], instruction: Instruction) {
        // What follows an instruction must not count.
        let mut padded = bytes.to_vec();
        padded.extend([0x90; MAX_LENGTH]);
        let length = bytes.len();
        assert_eq!(
            decode(&padded),
            Some(Decoded {
                instruction,
                length
            }),
            "{bytes:02x?}"
        );
        assert!(concerns(bytes), "{bytes:02x?}");
    }

    #[test]
    fn instructions_without_memory() {
        check(&[0x0F, 0xA2], Instruction::Cpuid);
        check(&[0x0F, 0x32], Instruction::Rdmsr);
        check(&[0x0F, 0x09], Instruction::Wbinvd);
        check(&[0x0F, 0x30], Instruction::Wrmsr);
        check(&[0x66, 0x0F, 0x01, 0xCF], Instruction::Seamcall);
        check(&[0x0F, 0x01, 0xC2], Instruction::Vmlaunch);
        check(&[0x0F, 0x01, 0xC3], Instruction::Vmresume);
        check(&[0x0F, 0x01, 0xC4], Instruction::Vmxoff);
        // mov %rax, %cr4; mov %r12, %cr4; mov %cr4, %rdi; mov %cr4, %r8
        check(&[0x0F, 0x22, 0xE0], Instruction::MovToCr4(0));
        check(&[0x41, 0x0F, 0x22, 0xE4], Instruction::MovToCr4(12));
        check(&[0x0F, 0x20, 0xE7], Instruction::MovFromCr4(7));
        check(&[0x41, 0x0F, 0x20, 0xE0], Instruction::MovFromCr4(8));
        // vmread %rax, %rdx; vmwrite %r9, %rcx
        check(
            &[0x0F, 0x78, 0xC2],
            Instruction::Vmread {
                to: Operand::Register(2),
                field: 0,
            },
        );
        check(
            &[0x41, 0x0F, 0x79, 0xC9],
            Instruction::Vmwrite {
                from: Operand::Register(9),
                field: 1,
            },
        );
    }

    #[test]
    fn every_form_of_memory_operand() {
        // vmxon with each: (%rax) 8(%rax) 0x100(%rbp) (%r13) (%rsp) 0x10(%rsp) (%r12) -8(%rdx,%rcx,8)
        // (,%r9,4) absolute, rip
        let indexed = |base, index, displacement| Address {
            index: Some(index),
            ..at(base, displacement)
        };
        let cases: &[(&[u8], Address)] = &[
            (&[0xF3, 0x0F, 0xC7, 0x30], at(0, 0)),
            (&[0xF3, 0x0F, 0xC7, 0x70, 0x08], at(0, 8)),
            (
                &[0xF3, 0x0F, 0xC7, 0xB5, 0x00, 0x01, 0x00, 0x00],
                at(5, 0x100),
            ),
            (&[0xF3, 0x41, 0x0F, 0xC7, 0x75, 0x00], at(13, 0)),
            (&[0xF3, 0x0F, 0xC7, 0x34, 0x24], at(4, 0)),
            (&[0xF3, 0x0F, 0xC7, 0x74, 0x24, 0x10], at(4, 0x10)),
            (&[0xF3, 0x41, 0x0F, 0xC7, 0x34, 0x24], at(12, 0)),
            (
                &[0xF3, 0x0F, 0xC7, 0x74, 0xCA, 0xF8],
                indexed(2, (1, 3), -8),
            ),
            (
                &[0xF3, 0x42, 0x0F, 0xC7, 0x34, 0x8D, 0x78, 0x56, 0x34, 0x12],
                Address {
                    base: Base::Nothing,
                    ..indexed(0, (9, 2), 0x1234_5678)
                },
            ),
            // R12 can be an index, RSP cannot.
            (
                &[0xF3, 0x42, 0x0F, 0xC7, 0x34, 0x20],
                indexed(0, (12, 0), 0),
            ),
            (&[0xF3, 0x0F, 0xC7, 0x34, 0x20], at(0, 0)),
            // With SIB and mod 1, base 5 is RBP again.
            (&[0xF3, 0x0F, 0xC7, 0x74, 0x05, 0x04], indexed(5, (0, 0), 4)),
            (
                &[0xF3, 0x0F, 0xC7, 0x34, 0x25, 0x00, 0x00, 0x00, 0x80],
                absolute(-0x8000_0000),
            ),
            (&[0xF3, 0x0F, 0xC7, 0x35, 0xFC, 0xFF, 0xFF, 0xFF], rip(-4)),
            (
                &[0xF3, 0x65, 0x0F, 0xC7, 0x35, 0x00, 0x10, 0x00, 0x00],
                Address {
                    segment: Some(Segment::Gs),
                    ..rip(0x1000)
                },
            ),
            (
                &[0x64, 0x67, 0xF3, 0x0F, 0xC7, 0x30],
                Address {
                    segment: Some(Segment::Fs),
                    short: true,
                    ..at(0, 0)
                },
            ),
        ];
        for (bytes, address) in cases {
            check(bytes, Instruction::Vmxon(*address));
        }
    }

    #[test]
    fn instructions_with_memory() {
        check(&[0x66, 0x0F, 0xC7, 0x30], Instruction::Vmclear(at(0, 0)));
        check(
            &[0x0F, 0xC7, 0x74, 0x24, 0x08],
            Instruction::Vmptrld(at(4, 8)),
        );
        check(&[0x0F, 0xC7, 0x3F], Instruction::Vmptrst(at(7, 0)));
        check(
            &[0x66, 0x0F, 0x38, 0x80, 0x44, 0x24, 0x10],
            Instruction::Invept {
                kind: 0,
                descriptor: at(4, 0x10),
            },
        );
        check(
            &[0x66, 0x44, 0x0F, 0x38, 0x81, 0x0C, 0x24],
            Instruction::Invvpid {
                kind: 9,
                descriptor: at(4, 0),
            },
        );
        check(
            &[0x66, 0x0F, 0x38, 0xF8, 0x06],
            Instruction::Movdir64b {
                to: 0,
                from: at(6, 0),
            },
        );
        check(
            &[0x66, 0x0F, 0x38, 0xF8, 0x15, 0x44, 0x33, 0x22, 0x11],
            Instruction::Movdir64b {
                to: 2,
                from: rip(0x1122_3344),
            },
        );
        check(
            &[0x0F, 0x78, 0x54, 0x24, 0x04],
            Instruction::Vmread {
                to: Operand::Memory(at(4, 4)),
                field: 2,
            },
        );
    }

    #[test]
    fn other_instructions() {
        let cases: &[&[u8]] = &[
            &[0x90],
            &[0x0F],
            &[0x66, 0x66, 0x66],
            // ud2, rdtsc, syscall, mov %cr3
            &[0x0F, 0x0B],
            &[0x0F, 0x31],
            &[0x0F, 0x05],
            &[0x0F, 0x20, 0xD8],
            // xgetbv, swapgs, tdcall, clac
            &[0x0F, 0x01, 0xD0],
            &[0x0F, 0x01, 0xF8],
            &[0x66, 0x0F, 0x01, 0xCC],
            &[0x0F, 0x01, 0xCA],
            // encls shares SEAMCALL's opcode but for the prefix
            &[0x0F, 0x01, 0xCF],
            // cmpxchg16b, rdrand, rdseed, rdpid
            &[0x48, 0x0F, 0xC7, 0x0F],
            &[0x0F, 0xC7, 0xF0],
            &[0x48, 0x0F, 0xC7, 0xF8],
            &[0xF3, 0x0F, 0xC7, 0xF8],
            // wbnoinvd
            &[0xF3, 0x0F, 0x09],
            // extrq, insertq
            &[0x66, 0x0F, 0x78, 0xC0, 0x04, 0x04],
            &[0xF2, 0x0F, 0x79, 0xC1],
            // pshufb, movbe, movdiri, enqcmd
            &[0x66, 0x0F, 0x38, 0x00, 0xC1],
            &[0x0F, 0x38, 0xF0, 0x06],
            &[0x0F, 0x38, 0xF9, 0x06],
            &[0xF2, 0x0F, 0x38, 0xF8, 0x06],
        ];
        for bytes in cases {
            assert_eq!(decode(bytes), None, "{bytes:02x?}");
        }
        // A register where memory must be.
        assert_eq!(decode(&[0x66, 0x0F, 0x38, 0xF8, 0xC0]), None);
        // Cut short in the displacement.
        assert_eq!(decode(&[0xF3, 0x0F, 0xC7, 0x35, 0x00, 0x00]), None);
    }

    #[test]
    fn what_translation_shows_of_an_illegal_instruction_is_enough() {
        // Without SIB and displacement, without ModRM.
        assert!(concerns(&[0xF3, 0x0F, 0xC7, 0x74]));
        assert!(concerns(&[0x66, 0x0F, 0xC7]));
        assert!(concerns(&[0x66, 0x0F, 0x38, 0x80]));
        assert!(!concerns(&[0x66, 0x0F]));
        assert!(!concerns(&[0x0F, 0xC7, 0xF0]));
    }

    #[test]
    fn linear_addresses() {
        let reg = |number: u8| 0x1000 * u64::from(number);
        let segment = |segment| match segment {
            Segment::Fs => 0x10_0000,
            Segment::Gs => 0x20_0000,
        };
        let address = Address {
            index: Some((3, 2)),
            ..at(2, -1)
        };
        assert_eq!(address.resolve(0, reg, segment), 0x2000 + 0x3000 * 4 - 1);
        assert_eq!(rip(-16).resolve(0x500, reg, segment), 0x4F0);
        let kernel = absolute(-0x8000_0000);
        assert_eq!(kernel.resolve(0, reg, segment), 0xFFFF_FFFF_8000_0000);
        let short = Address {
            short: true,
            segment: Some(Segment::Gs),
            ..kernel
        };
        assert_eq!(short.resolve(0, reg, segment), 0x8000_0000 + 0x20_0000);
    }
}
