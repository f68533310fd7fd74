// SPDX-License-Identifier: GPL-2.0

//! TD-scope and vCPU-scope metadata: the fields that TDH.MNG.RD, TDH.VP.RD and TDH.VP.WR reach.
//!
//! Field ids and access rights: the TDX module source (`tdr_tdcs_fields_lookup`,
//! `tdvps_fields_lookup`); of the many fields, those whose value the model knows, and those that
//! Linux 7.3's KVM uses. KVM gives ids without the bits that the module ignores.

use super::params::{CpuidValue, Register384};
use super::vcpu::Vcpu;
use super::{Mrtd, OpState, Td, Tdcs};
use crate::call::Call;
use crate::status::Status;

/// Id bits that do not tell fields apart: 63 (not architectural), 54:50 (scope and access), 33:32
/// (element size).
const IGNORED_ID_BITS: u64 = (1 << 63) | (0x1F << 50) | (0b11 << 32);
/// The id that names no field.
const NULL_ID: u64 = u64::MAX;
/// CPUID values as the TD sees them: two elements for each leaf and sub-leaf.
const CPUID_VALUES: u64 = 0x9410_0003_0000_0000;
/// The bits of a CPUID value's id that hold leaf (bits 31, 6:0), sub-leaf and element.
const CPUID_ID_BITS: u64 = 0x1_FFFF;

/// The virtual TSC's multiplier that changes nothing, in units of 2^-48.
const TSC_MULTIPLIER_ONE: u64 = 1 << 48;

/// A field of one element, in the scope of one TD or vCPU.
pub struct Field {
    /// Its id, complete.
    pub id: u64,
    /// Its value; `None` when the host may not read it.
    pub value: Option<u64>,
    /// The bits of it that the host may write.
    pub writable: u64,
}

impl Field {
    fn read_only(id: u64, value: u64) -> Field {
        Field {
            id,
            value: Some(value),
            writable: 0,
        }
    }

    fn unreadable(id: u64) -> Field {
        Field {
            id,
            value: None,
            writable: 0,
        }
    }
}

/// Whether `id` is well formed for a CPUID value, which may nevertheless not exist.
pub fn is_td_cpuid(id: u64) -> bool {
    (id ^ CPUID_VALUES) & !IGNORED_ID_BITS & !CPUID_ID_BITS == 0
}

/// Where in the list the field with this id is.
fn position(fields: &[Field], id: u64) -> Option<usize> {
    let is_same = |field: &Field| (field.id ^ id) & !IGNORED_ID_BITS == 0;
    fields.iter().position(is_same)
}

/// Sets the results of a leaf that reads or writes a field to what they are on an error.
pub fn clear_outputs(call: &mut Call<'_>) {
    call.regs.r8 = 0;
    if call.version > 0 {
        call.regs.rdx = NULL_ID;
    }
}

/// Reads the field with this id to R8; in version 1 of a leaf, RDX returns the id of the next one.
///
/// An id that is not in the list is incorrect, unless `can_exist` says that it only cannot be read
/// here.
pub fn read(
    call: &mut Call<'_>,
    fields: &[Field],
    id: u64,
    can_exist: fn(u64) -> bool,
) -> Result<(), Status> {
    let next_readable = |from: usize| {
        let mut rest = fields.iter().skip(from);
        rest.find(|field| field.value.is_some())
            .map_or(NULL_ID, |field| field.id)
    };
    if call.version > 0 && id == NULL_ID {
        call.regs.rdx = next_readable(0);
        return Err(Status::METADATA_FIRST_FIELD_ID_IN_CONTEXT);
    }
    let Some(at) = position(fields, id) else {
        return Err(if can_exist(id) {
            Status::METADATA_FIELD_NOT_READABLE
        } else {
            Status::METADATA_FIELD_ID_INCORRECT
        });
    };
    call.regs.r8 = fields[at]
        .value
        .ok_or(Status::METADATA_FIELD_NOT_READABLE)?;
    if call.version > 0 {
        call.regs.rdx = next_readable(at + 1);
    }
    Ok(())
}

/// Works out what writing the bits in `mask` of the field with this id to `value` makes of it.
/// Returns the field's complete id, its old value and its new one.
pub fn write(fields: &[Field], id: u64, value: u64, mask: u64) -> Result<(u64, u64, u64), Status> {
    let at = position(fields, id).ok_or(Status::METADATA_FIELD_ID_INCORRECT)?;
    let Field { id, writable, .. } = fields[at];
    let old = fields[at].value.unwrap_or(0);
    let written = mask & writable;
    if written == 0 {
        return Err(Status::METADATA_FIELD_NOT_WRITABLE);
    }
    if (old ^ value) & mask & !writable != 0 {
        return Err(Status::METADATA_FIELD_VALUE_NOT_VALID);
    }
    Ok((id, old, old & !written | value & written))
}

/// The fields of a TD's TDR and TDCS.
pub fn of_td(td: &Td, associated_vcpus: usize) -> Vec<Field> {
    let mut fields = vec![
        Field::read_only(0x8010_0000_0000_0001, u64::from(td.is_fatal)),
        Field::read_only(0x8010_0002_0000_0002, td.tdcs_pages.len() as u64),
        Field::read_only(0x8010_0003_0000_0004, td.children),
        Field::read_only(0x8010_0002_0000_0005, td.life_cycle as u64),
    ];
    add_elements(&mut fields, 0x8010_0003_0000_0010, &td.tdcs_pages);
    add_elements(&mut fields, 0x8010_0003_0000_0020, &td.uuid);
    fields.push(Field::read_only(0x8110_0001_0000_0001, u64::from(td.keyid)));
    fields.push(Field::read_only(0x8110_0003_0000_0002, td.packages));
    if let Some(tdcs) = &td.tdcs {
        add_tdcs(&mut fields, tdcs, td.op_state(), associated_vcpus);
    }
    fields
}

fn add_elements(fields: &mut Vec<Field>, id: u64, elements: &[u64]) {
    let numbered = (id..).zip(elements);
    fields.extend(numbered.map(|(id, &element)| Field::read_only(id, element)));
}

fn add_tdcs(fields: &mut Vec<Field>, tdcs: &Tdcs, op_state: OpState, associated_vcpus: usize) {
    let params = &tdcs.params;
    let mrtd: Register384 = match &tdcs.mrtd {
        Mrtd::Building(_) => [0; 6],
        Mrtd::Final(digest) => std::array::from_fn(|i| {
            let bytes = std::array::from_fn(|j| digest[8 * i + j]);
            u64::from_le_bytes(bytes)
        }),
    };
    fields.extend([
        // Class 16: management.
        Field::read_only(0x9010_0002_0000_0001, tdcs.x2apic_ids.len() as u64),
        Field::read_only(0x9010_0002_0000_0002, associated_vcpus as u64),
        Field::read_only(0x9010_0002_0000_0004, op_state as u64),
        // NUM_L2_VMS.
        Field::read_only(0x9010_0001_0000_0005, params.num_l2_vms.into()),
        // Class 17: execution controls.
        Field::read_only(0x1110_0003_0000_0000, params.attributes),
        Field::read_only(0x1110_0003_0000_0001, params.xfam),
        Field::read_only(0x1110_0002_0000_0002, u64::from(params.max_vcpus)),
        Field::read_only(0x1110_0000_0000_0003, u64::from(params.is_gpa_wide())),
        Field::read_only(0x1110_0003_0000_0004, params.eptp_controls),
        // TSC_OFFSET and TSC_MULTIPLIER: no TD runs, so the virtual TSC is the platform's.
        Field::read_only(0x1110_0003_0000_000A, 0),
        Field::read_only(0x1110_0003_0000_000B, TSC_MULTIPLIER_ONE),
        Field::read_only(0x1110_0001_0000_000C, u64::from(params.tsc_frequency)),
        Field::read_only(0x9110_0003_0000_0016, params.config_flags),
        // Class 18: TLB epoch.
        Field::read_only(0x9210_0003_0000_0000, tdcs.epoch),
    ]);
    // Class 19: measurement.
    add_elements(fields, 0x1310_0003_0000_0000, &mrtd);
    add_elements(fields, 0x1310_0003_0000_0010, &params.mr_config_id);
    add_elements(fields, 0x1310_0003_0000_0018, &params.mr_owner);
    add_elements(fields, 0x1310_0003_0000_0020, &params.mr_owner_config);
    for (id, [eax, ebx, ecx, edx]) in cpuid_values(tdcs) {
        let pair = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
        fields.push(Field::read_only(id, pair(eax, ebx)));
        fields.push(Field::read_only(id + 1, pair(ecx, edx)));
    }
    // Class 24: the migration session's keys, four words each.
    let migration_keys = (0..16).map(|word| 0x9810_0003_0000_0010 + word);
    fields.extend(migration_keys.map(Field::unreadable));
}

/// The field id of a CPUID leaf's first element.
fn cpuid_id(leaf: u32, subleaf: Option<u32>) -> u64 {
    let leaf_bits = (u64::from(leaf >> 31) << 16) | (u64::from(leaf & 0x7F) << 9);
    let subleaf_bits = subleaf.map_or(0x1FE, |subleaf| u64::from(subleaf & 0x7F) << 1);
    CPUID_VALUES | leaf_bits | subleaf_bits
}

/// The TD's CPUID by field id: what TD_PARAMS configured, and the leaves that say how many there
/// are and that this is a TD.
fn cpuid_values(tdcs: &Tdcs) -> Vec<(u64, CpuidValue)> {
    let text = |four: &[u8; 4]| u32::from_le_bytes(*four);
    let mut values = vec![
        (
            cpuid_id(0, None),
            [0x21, text(b"Genu"), text(b"ntel"), text(b"ineI")],
        ),
        (
            cpuid_id(0x21, Some(0)),
            [0, text(b"Inte"), text(b"    "), text(b"lTDX")],
        ),
        (cpuid_id(0x8000_0000, None), [0x8000_0008, 0, 0, 0]),
    ];
    for configured in &tdcs.params.cpuid {
        let id = cpuid_id(configured.leaf, configured.subleaf);
        values.retain(|(other, _)| *other != id);
        values.push((id, configured.value));
    }
    values.sort_unstable_by_key(|(id, _)| *id);
    values
}

/// The fields of a vCPU's TDVPS. General-purpose registers are for the host only in a debug TD.
pub fn of_vcpu(vcpu: &Vcpu, is_debug: bool, xfam: u64) -> Vec<Field> {
    let mut fields: Vec<Field> = WRITABLE_VCPU_FIELDS
        .iter()
        .map(|&(id, writable)| Field {
            id,
            value: Some(vcpu.written(id)),
            writable,
        })
        .collect();
    let gprs = (0x1020_0003_0000_0000..).zip(vcpu.gprs());
    fields.extend(gprs.map(|(id, &value)| Field {
        id,
        value: is_debug.then_some(value),
        writable: if is_debug { u64::MAX } else { 0 },
    }));
    let lp = vcpu.lp().map_or(u64::from(u32::MAX), |lp| lp as u64);
    fields.extend([
        // VCPU_STATE_DETAILS: bit 0 says that an interrupt is pending, which needs a TD that runs.
        Field::read_only(0x9120_0003_0000_0100, 0),
        Field::read_only(0xA020_0000_0000_0000, u64::from(vcpu.state())),
        Field::read_only(0xA020_0002_0000_0002, u64::from(vcpu.index())),
        Field::read_only(0xA020_0000_0000_0003, vcpu.pages() as u64),
        Field::read_only(0xA020_0002_0000_0004, lp),
        Field::read_only(0x2020_0003_0000_000C, xfam),
    ]);
    fields.sort_by_key(|field| field.id & !IGNORED_ID_BITS);
    fields
}

/// Fields that the host may write, with the bits that it may.
const WRITABLE_VCPU_FIELDS: &[(u64, u64)] = &[
    // Posted-interrupt notification vector.
    (0x0020_0001_0000_0002, 0xFF),
    // Posted-interrupt descriptor address, 64-byte aligned.
    (0x0020_0003_0000_2016, 0x000F_FFFF_FFFF_FFC0),
    // Shared EPT pointer, page aligned.
    (0x0020_0003_0000_203C, 0x000F_FFFF_FFFF_F000),
    // Pin-based execution controls: process posted interrupts.
    (0x0020_0002_0000_4000, 1 << 7),
    // Secondary processor-based execution controls: bus-lock detection, notification on VM exit.
    (0x0020_0002_0000_401E, 0b11 << 30),
    // Notify window.
    (0x0020_0002_0000_4024, 0xFFFF_FFFF),
    // PEND_NMI.
    (0x2020_0000_0000_000B, 1),
];
