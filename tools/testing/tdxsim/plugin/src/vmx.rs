// SPDX-License-Identifier: GPL-2.0

//! VMX operation of one logical processor: VMXON, VMXOFF and the instructions that manage VMCSs.
//!
//! Source: Intel SDM volume 3, "VMX instruction reference" (checks and their order, VM-instruction
//! error numbers). VM entry is out of scope: VMLAUNCH and VMRESUME fail as with invalid controls. There
//! are no nested page tables or VPIDs to invalidate, so that INVEPT and INVVPID only check their operands.

use std::collections::HashMap;

use tdxsim::mem::Memory;

/// The VMCS revision identifier, as IA32_VMX_BASIC reports it.
pub const REVISION: u32 = 4;

/// CR4.VMXE.
pub const CR4_VMXE: u64 = 1 << 13;

/// CR0 bits that must be 1 for VMX operation (PE, NE, PG), and those that may be.
pub const CR0_FIXED: [u64; 2] = [0x8000_0021, 0xFFFF_FFFF];
/// CR4 bits that must be 1 in VMX operation, and those that may be.
pub const CR4_FIXED: [u64; 2] = [CR4_VMXE, 0x0077_7FFF];

/// RFLAGS bits CF and ZF, and with them PF, AF, SF and OF.
const CARRY: u64 = 1 << 0;
const ZERO: u64 = 1 << 6;
const ARITHMETIC_FLAGS: u64 = 0x8D5;

/// The pointer that VMPTRST stores when there is no current VMCS.
const NO_VMCS: u64 = u64::MAX;

/// The encoding of the field with the number of the last VM-instruction error.
const VM_INSTRUCTION_ERROR: u64 = 0x4400;

/// The highest index of a field's encoding, as IA32_VMX_VMCS_ENUM reports it.
pub const HIGHEST_FIELD_INDEX: u64 = 0x21;

/// Numbers of VM-instruction errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// VMCLEAR with an invalid physical address.
    VmclearInvalidAddress = 2,
    /// VMCLEAR with the VMXON pointer.
    VmclearVmxonPointer = 3,
    /// VM entry with invalid control fields.
    EntryInvalidControls = 7,
    /// VMPTRLD with an invalid physical address.
    VmptrldInvalidAddress = 9,
    /// VMPTRLD with the VMXON pointer.
    VmptrldVmxonPointer = 10,
    /// VMPTRLD with a wrong VMCS revision identifier.
    VmptrldRevision = 11,
    /// VMREAD or VMWRITE of a field that does not exist.
    UnsupportedField = 12,
    /// VMXON in VMX root operation.
    VmxonInRoot = 15,
    /// An invalid operand of INVEPT or INVVPID.
    InvalidInvalidation = 28,
}

/// How a VMX instruction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// VMsucceed.
    Succeed,
    /// VMfailInvalid.
    FailInvalid,
    /// VMfailValid; the error number is in the current VMCS.
    FailValid,
    /// #UD.
    Undefined,
    /// #GP(0).
    GeneralProtection,
}

impl Outcome {
    /// RFLAGS behind the instruction, unless it faults: all arithmetic flags are clear but the one
    /// that says how it failed.
    pub fn rflags(self, before: u64) -> Option<u64> {
        let cleared = before & !ARITHMETIC_FLAGS;
        match self {
            Outcome::Succeed => Some(cleared),
            Outcome::FailInvalid => Some(cleared | CARRY),
            Outcome::FailValid => Some(cleared | ZERO),
            Outcome::Undefined | Outcome::GeneralProtection => None,
        }
    }
}

/// The contents of all VMCSs, by address and field. Hardware keeps them in the VMCS regions, in a
/// form of its own; nobody but VMREAD may look.
#[derive(Debug, Default)]
pub struct VmcsFields(HashMap<u64, HashMap<u64, u64>>);

/// VMX operation of one logical processor.
#[derive(Debug, Default)]
pub struct Vmx {
    /// CR4.VMXE, which QEMU does not know.
    pub enabled: bool,
    /// The VMXON pointer, in VMX root operation.
    root: Option<u64>,
    /// The current VMCS.
    current: Option<u64>,
}

impl Vmx {
    /// Whether the processor is in VMX root operation.
    pub fn is_on(&self) -> bool {
        self.root.is_some()
    }

    /// What a call into P-SEAMLDR does on a platform with the SEAMRET erratum.
    pub fn lose_current_vmcs(&mut self) {
        self.current = None;
    }

    /// VMfail: valid when there is a VMCS to put the error number into.
    fn fail(&self, error: Error, fields: &mut VmcsFields) -> Outcome {
        match self.current {
            Some(current) => {
                fields
                    .0
                    .entry(current)
                    .or_default()
                    .insert(VM_INSTRUCTION_ERROR, error as u64);
                Outcome::FailValid
            }
            None => Outcome::FailInvalid,
        }
    }

    /// What VMXON checks before it reads its operand; `None` if nothing is wrong. `cr4` is without
    /// VMXE.
    pub fn refuse_vmxon(
        &self,
        privileged: bool,
        cr0: u64,
        cr4: u64,
        fields: &mut VmcsFields,
    ) -> Option<Outcome> {
        let allowed = |value: u64, [must, may]: [u64; 2]| value & must == must && value & !may == 0;
        if !self.enabled {
            Some(Outcome::Undefined)
        } else if !privileged {
            Some(Outcome::GeneralProtection)
        } else if self.is_on() {
            Some(self.fail(Error::VmxonInRoot, fields))
        } else if !allowed(cr0, CR0_FIXED) || !allowed(cr4 | CR4_VMXE, CR4_FIXED) {
            Some(Outcome::GeneralProtection)
        } else {
            None
        }
    }

    /// VMXON that [`Vmx::refuse_vmxon`] has not refused.
    pub fn vmxon(&mut self, pointer: u64, memory: &dyn Memory) -> Outcome {
        if !aligned(pointer) || revision(pointer, memory) != Some(REVISION) {
            return Outcome::FailInvalid;
        }
        self.root = Some(pointer);
        self.current = None;
        Outcome::Succeed
    }

    /// VMXOFF.
    pub fn vmxoff(&mut self) -> Outcome {
        if !self.is_on() {
            return Outcome::Undefined;
        }
        self.root = None;
        self.current = None;
        Outcome::Succeed
    }

    /// VMCLEAR.
    pub fn vmclear(
        &mut self,
        pointer: u64,
        memory: &dyn Memory,
        fields: &mut VmcsFields,
    ) -> Outcome {
        if !self.is_on() {
            return Outcome::Undefined;
        }
        if !aligned(pointer) || revision(pointer, memory).is_none() {
            return self.fail(Error::VmclearInvalidAddress, fields);
        }
        if self.root == Some(pointer) {
            return self.fail(Error::VmclearVmxonPointer, fields);
        }
        if self.current == Some(pointer) {
            self.current = None;
        }
        Outcome::Succeed
    }

    /// VMPTRLD.
    pub fn vmptrld(
        &mut self,
        pointer: u64,
        memory: &dyn Memory,
        fields: &mut VmcsFields,
    ) -> Outcome {
        if !self.is_on() {
            return Outcome::Undefined;
        }
        let revision = revision(pointer, memory);
        if !aligned(pointer) || revision.is_none() {
            return self.fail(Error::VmptrldInvalidAddress, fields);
        }
        if self.root == Some(pointer) {
            return self.fail(Error::VmptrldVmxonPointer, fields);
        }
        // Bit 31 marks a shadow VMCS.
        if revision.map(|revision| revision & 0x7FFF_FFFF) != Some(REVISION) {
            return self.fail(Error::VmptrldRevision, fields);
        }
        self.current = Some(pointer);
        Outcome::Succeed
    }

    /// VMPTRST: the value to store.
    pub fn vmptrst(&self) -> Result<u64, Outcome> {
        if self.is_on() {
            Ok(self.current.unwrap_or(NO_VMCS))
        } else {
            Err(Outcome::Undefined)
        }
    }

    /// The current VMCS for an access to a field.
    fn access(&self, field: u64, fields: &mut VmcsFields) -> Result<u64, Outcome> {
        if !self.is_on() {
            return Err(Outcome::Undefined);
        }
        let Some(current) = self.current else {
            return Err(Outcome::FailInvalid);
        };
        // Bits 31:15 and 12 of an encoding are reserved, 9:1 are the index.
        if field & !0x6FFF != 0 || (field >> 1) & 0x1FF > HIGHEST_FIELD_INDEX {
            return Err(self.fail(Error::UnsupportedField, fields));
        }
        Ok(current)
    }

    /// What VMREAD and VMWRITE check before they access memory; `None` if nothing is wrong.
    pub fn refuse_field(&self, field: u64, fields: &mut VmcsFields) -> Option<Outcome> {
        self.access(field, fields).err()
    }

    /// VMREAD: the field's value.
    pub fn vmread(&self, field: u64, fields: &mut VmcsFields) -> Result<u64, Outcome> {
        let current = self.access(field, fields)?;
        let value = fields.0.get(&current).and_then(|values| values.get(&field));
        Ok(value.copied().unwrap_or(0))
    }

    /// VMWRITE. All fields can be written, as IA32_VMX_MISC bit 29 says.
    pub fn vmwrite(&self, field: u64, value: u64, fields: &mut VmcsFields) -> Outcome {
        match self.access(field, fields) {
            Ok(current) => {
                fields.0.entry(current).or_default().insert(field, value);
                Outcome::Succeed
            }
            Err(outcome) => outcome,
        }
    }

    /// VMLAUNCH and VMRESUME.
    pub fn enter(&self, fields: &mut VmcsFields) -> Outcome {
        if self.is_on() {
            self.fail(Error::EntryInvalidControls, fields)
        } else {
            Outcome::Undefined
        }
    }

    /// INVEPT: kind and the descriptor's first half, an EPT pointer.
    pub fn invept(&self, kind: u64, eptp: u64, fields: &mut VmcsFields) -> Outcome {
        // Uncacheable or write-back, four or five levels.
        let valid = matches!(eptp & 7, 0 | 6) && matches!((eptp >> 3) & 7, 3 | 4);
        self.invalidate(
            match kind {
                1 => valid,
                2 => true,
                _ => false,
            },
            fields,
        )
    }

    /// INVVPID: kind and the descriptor, a VPID and a linear address.
    pub fn invvpid(&self, kind: u64, vpid: u64, address: u64, fields: &mut VmcsFields) -> Outcome {
        let canonical = matches!(address as i64 >> 56, 0 | -1);
        self.invalidate(
            vpid <= 0xFFFF
                && match kind {
                    0 => vpid != 0 && canonical,
                    1 | 3 => vpid != 0,
                    2 => true,
                    _ => false,
                },
            fields,
        )
    }

    /// An invalidation with valid operands, or without.
    fn invalidate(&self, valid: bool, fields: &mut VmcsFields) -> Outcome {
        if !self.is_on() {
            Outcome::Undefined
        } else if valid {
            Outcome::Succeed
        } else {
            self.fail(Error::InvalidInvalidation, fields)
        }
    }
}

/// Whether an address is a page's.
fn aligned(pointer: u64) -> bool {
    pointer & 0xFFF == 0
}

/// The first word of a VMXON or VMCS region; `None` if there is no memory.
fn revision(pointer: u64, memory: &dyn Memory) -> Option<u32> {
    let mut word = [0; 4];
    memory
        .read(pointer, &mut word)
        .then(|| u32::from_le_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory in which the page at 0x1000 times n begins with the n-th word.
    struct Regions(Vec<u32>);

    impl Memory for Regions {
        fn read(&self, pa: u64, buf: &mut [u8]) -> bool {
            match self.0.get((pa >> 12) as usize) {
                Some(word) => {
                    buf.copy_from_slice(&word.to_le_bytes());
                    true
                }
                None => false,
            }
        }

        fn write(&self, _: u64, _: &[u8]) -> bool {
            false
        }
    }

    /// A processor in VMX operation with its VMXON region at 0x1000.
    fn on() -> (Vmx, VmcsFields, Regions) {
        let regions = Regions(vec![0, REVISION, REVISION, REVISION, 99]);
        let fields = VmcsFields::default();
        let mut vmx = Vmx {
            enabled: true,
            ..Vmx::default()
        };
        assert_eq!(vmx.vmxon(0x1000, &regions), Outcome::Succeed);
        (vmx, fields, regions)
    }

    #[test]
    fn outcomes_as_flags() {
        // IF and bit 1 stay, everything arithmetic goes.
        assert_eq!(Outcome::Succeed.rflags(0xAD7), Some(0x202));
        assert_eq!(Outcome::FailInvalid.rflags(0x246), Some(0x203));
        assert_eq!(Outcome::FailValid.rflags(0x203), Some(0x242));
        assert_eq!(Outcome::Undefined.rflags(0x202), None);
        assert_eq!(Outcome::GeneralProtection.rflags(0x202), None);
    }

    /// Registers as a kernel has them.
    const CR0: u64 = 0x8005_0033;
    const CR4: u64 = 0x0035_16F0;

    #[test]
    fn vmxon_checks_the_cpu_first() {
        let mut fields = VmcsFields::default();
        let mut vmx = Vmx::default();
        let refuse = |vmx: &Vmx, privileged, cr0, cr4, fields: &mut VmcsFields| {
            vmx.refuse_vmxon(privileged, cr0, cr4, fields)
        };
        // Each correction reveals the next error.
        assert_eq!(
            refuse(&vmx, false, 0, !0, &mut fields),
            Some(Outcome::Undefined)
        );
        vmx.enabled = true;
        assert_eq!(
            refuse(&vmx, false, 0, !0, &mut fields),
            Some(Outcome::GeneralProtection)
        );
        for (cr0, cr4) in [
            (CR0 & !0x20, CR4),
            (CR0 | (1 << 32), CR4),
            (CR0, CR4 | (1 << 15)),
        ] {
            assert_eq!(
                refuse(&vmx, true, cr0, cr4, &mut fields),
                Some(Outcome::GeneralProtection)
            );
        }
        assert_eq!(refuse(&vmx, true, CR0, CR4, &mut fields), None);
        // Five levels of paging, which the EPT has too.
        assert_eq!(refuse(&vmx, true, CR0, CR4 | (1 << 12), &mut fields), None);
        let (vmx, mut fields, _) = on();
        assert_eq!(
            refuse(&vmx, false, CR0, CR4, &mut fields),
            Some(Outcome::GeneralProtection)
        );
        // Without a current VMCS there is no place for an error number.
        assert_eq!(
            refuse(&vmx, true, 0, !0, &mut fields),
            Some(Outcome::FailInvalid)
        );
    }

    #[test]
    fn vmxon_wants_a_region() {
        let regions = Regions(vec![0, REVISION]);
        let mut vmx = Vmx {
            enabled: true,
            ..Vmx::default()
        };
        for pointer in [0x1008, 0, 0x5000] {
            assert_eq!(vmx.vmxon(pointer, &regions), Outcome::FailInvalid);
            assert!(!vmx.is_on());
        }
        assert_eq!(vmx.vmxon(0x1000, &regions), Outcome::Succeed);
        assert!(vmx.is_on());
        assert_eq!(vmx.vmxoff(), Outcome::Succeed);
        assert_eq!(vmx.vmxoff(), Outcome::Undefined);
    }

    #[test]
    fn everything_is_undefined_outside_of_vmx_operation() {
        let regions = Regions(vec![0, REVISION]);
        let mut fields = VmcsFields::default();
        let mut vmx = Vmx {
            enabled: true,
            ..Vmx::default()
        };
        assert_eq!(
            vmx.vmclear(0x1000, &regions, &mut fields),
            Outcome::Undefined
        );
        assert_eq!(
            vmx.vmptrld(0x1000, &regions, &mut fields),
            Outcome::Undefined
        );
        assert_eq!(vmx.vmptrst(), Err(Outcome::Undefined));
        assert_eq!(vmx.vmread(0, &mut fields), Err(Outcome::Undefined));
        assert_eq!(vmx.vmwrite(0, 0, &mut fields), Outcome::Undefined);
        assert_eq!(vmx.enter(&mut fields), Outcome::Undefined);
        assert_eq!(vmx.invept(2, 0, &mut fields), Outcome::Undefined);
    }

    #[test]
    fn errors_are_numbered_in_the_current_vmcs() {
        let (mut vmx, mut fields, regions) = on();
        assert_eq!(
            vmx.vmread(VM_INSTRUCTION_ERROR, &mut fields),
            Err(Outcome::FailInvalid)
        );
        assert_eq!(
            vmx.refuse_field(VM_INSTRUCTION_ERROR, &mut fields),
            Some(Outcome::FailInvalid)
        );
        assert_eq!(vmx.vmptrst(), Ok(NO_VMCS));
        assert_eq!(vmx.vmptrld(0x2000, &regions, &mut fields), Outcome::Succeed);
        assert_eq!(vmx.vmptrst(), Ok(0x2000));

        let mut failures: Vec<(Outcome, u64)> = Vec::new();
        let mut note = |outcome, vmx: &Vmx, fields: &mut VmcsFields| {
            failures.push((outcome, vmx.vmread(VM_INSTRUCTION_ERROR, fields).unwrap()));
        };
        let outcome = vmx.refuse_vmxon(true, CR0, CR4, &mut fields).unwrap();
        note(outcome, &vmx, &mut fields);
        for pointer in [0x2008, 0x9000, 0x1000, 0x4000] {
            let outcome = vmx.vmptrld(pointer, &regions, &mut fields);
            note(outcome, &vmx, &mut fields);
        }
        for pointer in [0x2008, 0x1000] {
            let outcome = vmx.vmclear(pointer, &regions, &mut fields);
            note(outcome, &vmx, &mut fields);
        }
        let outcome = vmx.enter(&mut fields);
        note(outcome, &vmx, &mut fields);
        let outcome = vmx.vmwrite(0x1_0000, 0, &mut fields);
        note(outcome, &vmx, &mut fields);
        let outcome = vmx.invept(3, 0, &mut fields);
        note(outcome, &vmx, &mut fields);
        let outcome = vmx.refuse_field(0x1_0000, &mut fields).unwrap();
        note(outcome, &vmx, &mut fields);
        let numbers = [15, 9, 9, 10, 11, 2, 3, 7, 12, 28, 12];
        assert_eq!(failures, numbers.map(|number| (Outcome::FailValid, number)));
    }

    #[test]
    fn fields_belong_to_their_vmcs() {
        let (mut vmx, mut fields, regions) = on();
        vmx.vmptrld(0x2000, &regions, &mut fields);
        assert_eq!(vmx.vmwrite(0x681E, 0x1234, &mut fields), Outcome::Succeed);
        vmx.vmptrld(0x3000, &regions, &mut fields);
        assert_eq!(vmx.vmread(0x681E, &mut fields), Ok(0));
        assert_eq!(vmx.vmclear(0x2000, &regions, &mut fields), Outcome::Succeed);
        assert_eq!(vmx.vmptrst(), Ok(0x3000));
        vmx.vmptrld(0x2000, &regions, &mut fields);
        assert_eq!(vmx.vmread(0x681E, &mut fields), Ok(0x1234));
        assert_eq!(vmx.vmclear(0x2000, &regions, &mut fields), Outcome::Succeed);
        assert_eq!(vmx.vmptrst(), Ok(NO_VMCS));
    }

    #[test]
    fn invalidations_check_their_operands() {
        let (vmx, mut fields, _) = on();
        // Write-back, four levels, with and without accessed and dirty flags.
        let mut invept = |kind, eptp| vmx.invept(kind, eptp, &mut fields) == Outcome::Succeed;
        assert!(invept(1, 0x1234_501E));
        assert!(invept(1, 0x1234_505E));
        assert!(invept(2, 0));
        assert!(!invept(1, 0));
        assert!(!invept(0, 0x1234_501E));
        assert!(!invept(3, 0x1234_501E));
        let mut invvpid =
            |kind, vpid, address| vmx.invvpid(kind, vpid, address, &mut fields) == Outcome::Succeed;
        assert!(invvpid(0, 1, 0xFFFF_8000_0000_0000));
        assert!(!invvpid(0, 1, 0x7000_0000_0000_0000));
        assert!(!invvpid(0, 0, 0));
        assert!(invvpid(1, 0xFFFF, 0));
        assert!(!invvpid(1, 0x1_0000, 0));
        assert!(invvpid(2, 0, 0));
        assert!(!invvpid(2, 0x1_0000, 0));
        assert!(invvpid(3, 1, 0));
        assert!(!invvpid(3, 0, 0));
        assert!(!invvpid(4, 1, 0));
    }

    #[test]
    fn the_seamret_erratum_takes_the_current_vmcs() {
        let (mut vmx, mut fields, regions) = on();
        vmx.vmptrld(0x2000, &regions, &mut fields);
        vmx.lose_current_vmcs();
        assert!(vmx.is_on());
        assert_eq!(vmx.vmwrite(0x681E, 0, &mut fields), Outcome::FailInvalid);
    }
}
