// SPDX-License-Identifier: GPL-2.0

//! TDH.SYS.RD and TDH.SYS.RDALL: the module's global metadata.
//!
//! Field ids: Linux 7.3's `tdx_global_metadata.c`, and the TDX module source for handoff and TDX
//! Connect. Rules about ids and lists: the TDX module source. Which fields change when TDX Connect
//! is configured: the kernel mailing list.

use super::{LeafResult, Module};
use crate::call::Call;
use crate::profile::features;
use crate::status::{operand, Status};

/// The id that names no field.
const NULL_ID: u64 = u64::MAX;
/// Bits 54:52, the context: implied by the leaf.
const CONTEXT: u64 = 0x7 << 52;
/// Bits that do not tell fields apart when one element is read: 63 (not architectural), the
/// context, 51 (a write mask follows), 50 (how ids grow) and 33:32 (element size).
const IGNORED: u64 = (1 << 63) | CONTEXT | (0x3 << 50) | (0x3 << 32);

/// What tells fields apart in an id: class and field code, and reserved bits.
fn key(id: u64) -> u64 {
    id & !IGNORED
}

/// Fields with consecutive ids; most runs have one field.
struct Run {
    /// The first field's id, as specifications write it.
    id: u64,
    /// Elements in each field.
    width: usize,
    /// The elements of all fields.
    elements: Vec<u64>,
}

impl Run {
    /// Which of the run's elements this id names.
    fn element(&self, id: u64) -> Option<usize> {
        let index = key(id).checked_sub(key(self.id))? as usize;
        (index < self.elements.len()).then_some(index)
    }

    /// The id of the field that begins with this element; `None` behind the last one.
    fn field_at(&self, element: usize) -> Option<u64> {
        (element < self.elements.len()).then_some(self.id + element as u64)
    }
}

/// The module's metadata as the leaves here see it.
struct Metadata<'a> {
    /// Every run, in the order of ids.
    runs: Vec<Run>,
    /// Ids of fields that cannot be read.
    unreadable: &'a [u64],
}

impl<'a> Metadata<'a> {
    fn of(module: &'a Module) -> Metadata<'a> {
        let mut runs = runs(module);
        runs.retain(|run| !run.elements.is_empty());
        runs.sort_by_key(|run| key(run.id));
        Metadata {
            runs,
            unreadable: &module.profile.unreadable_fields,
        }
    }

    /// The run and element that an id names.
    fn find(&self, id: u64) -> Option<(usize, usize)> {
        let mut runs = self.runs.iter().enumerate();
        runs.find_map(|(index, run)| Some((index, run.element(id)?)))
    }

    fn is_readable(&self, run: &Run) -> bool {
        let mut unreadable = self.unreadable.iter();
        !unreadable.any(|id| key(*id) == key(run.id))
    }

    /// The first readable field from this run on.
    fn first_readable(&self, from: usize) -> u64 {
        let mut runs = self.runs[from..].iter();
        runs.find(|run| self.is_readable(run))
            .map_or(NULL_ID, |run| run.id)
    }

    /// The readable field behind this element's.
    fn next_readable(&self, run: usize, element: usize) -> u64 {
        let width = self.runs[run].width;
        let next = self.runs[run].field_at(element / width * width + width);
        next.unwrap_or_else(|| self.first_readable(run + 1))
    }
}

/// Every field that there is, runs without elements included.
fn runs(module: &Module) -> Vec<Run> {
    let (profile, handoff) = (&module.profile, &module.sigstruct);
    let one = |id: u64, value: u64| Run {
        id,
        width: 1,
        elements: vec![value],
    };
    let pair = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
    let cpuid = profile.cpuid_config.iter();
    let cpuid_leaves = cpuid
        .clone()
        .map(|config| pair(config.leaf, config.subleaf));
    let cpuid_values = cpuid.flat_map(|config| {
        let [eax, ebx, ecx, edx] = config.configurable;
        [pair(eax, ebx), pair(ecx, edx)]
    });
    let mut runs = vec![
        one(0x0800_0001_0000_0003, profile.version.minor.into()),
        one(0x0800_0001_0000_0004, profile.version.major.into()),
        one(0x0800_0001_0000_0005, profile.version.update.into()),
        one(0x8900_0001_0000_0000, handoff.module_hv.into()),
        one(0x8900_0001_0000_0001, handoff.min_update_hv.into()),
        one(0x8900_0000_0000_0002, handoff.no_downgrade.into()),
        one(0x8900_0001_0000_0003, handoff.handoff_pages.into()),
        one(0x0A00_0003_0000_0008, profile.features),
        one(0x9100_0001_0000_0008, profile.max_tdmrs.into()),
        one(0x9100_0001_0000_0009, profile.max_reserved_per_tdmr.into()),
        one(0x9100_0001_0000_0010, profile.pamt_4k_entry_size.into()),
        one(0x9100_0001_0000_0011, profile.pamt_2m_entry_size.into()),
        one(0x9100_0001_0000_0012, profile.pamt_1g_entry_size.into()),
        one(0x9800_0001_0000_0000, profile.tdr_base_size.into()),
        one(0x9800_0001_0000_0100, profile.tdcs_base_size.into()),
        one(0x9800_0001_0000_0200, profile.tdvps_base_size.into()),
        one(0x1900_0003_0000_0000, profile.attributes_fixed0),
        one(0x1900_0003_0000_0001, profile.attributes_fixed1),
        one(0x1900_0003_0000_0002, profile.xfam_fixed0),
        one(0x1900_0003_0000_0003, profile.xfam_fixed1),
        one(0x9900_0001_0000_0004, profile.cpuid_config.len() as u64),
        one(0x9900_0001_0000_0008, profile.max_vcpus_per_td.into()),
        Run {
            id: 0x9900_0003_0000_0400,
            width: 1,
            elements: cpuid_leaves.collect(),
        },
        Run {
            id: 0x9900_0003_0000_0500,
            width: 2,
            elements: cpuid_values.collect(),
        },
    ];
    if profile.has(features::TDX_CONNECT) {
        let configured = module.configured_features & features::TDX_CONNECT != 0;
        let when_configured = |id: u64, value: u64| one(id, if configured { value } else { 0 });
        for (code, pages) in [1, 2, 3, 7].into_iter().zip(&profile.connect_pages) {
            runs.push(when_configured(0x3000_0001_0000_0000 | code, *pages));
        }
        runs.push(when_configured(
            0x3100_0000_0000_0001,
            profile.ext_required.into(),
        ));
        runs.push(when_configured(
            0x3100_0002_0000_0000,
            profile.memory_pool_required_pages,
        ));
    }
    runs
}

/// TDH.SYS.RD: RDX = field. Out: RDX = the next field, R8 = the element's value.
pub(super) fn rd(module: &Module, call: &mut Call<'_>) -> LeafResult {
    let id = call.regs.rdx;
    (call.regs.rdx, call.regs.r8) = (NULL_ID, 0);
    if !module.lp_initialised[call.lp] {
        return Err(Status::SYS_LP_INIT_NOT_DONE);
    }
    let metadata = Metadata::of(module);
    if id | CONTEXT == NULL_ID {
        call.regs.rdx = metadata.first_readable(0);
        return Err(Status::METADATA_FIRST_FIELD_ID_IN_CONTEXT);
    }
    let (run, element) = metadata
        .find(id)
        .ok_or(Status::METADATA_FIELD_ID_INCORRECT)?;
    if !metadata.is_readable(&metadata.runs[run]) {
        return Err(Status::METADATA_FIELD_NOT_READABLE);
    }
    call.regs.r8 = metadata.runs[run].elements[element];
    call.regs.rdx = metadata.next_readable(run, element);
    Ok(())
}

/// Size and alignment in bytes of the list that TDH.SYS.RDALL writes.
const LIST_SIZE: usize = 4096;
/// Bytes in the header of a list, in that of a sequence, and in an element.
const WORD: usize = 8;
/// Bits 37:34 of a sequence's header: elements in a field, less one.
const LAST_ELEMENT_SHIFT: u32 = 34;
/// Bits 46:38 of a sequence's header: fields in the sequence, less one.
const LAST_FIELD_SHIFT: u32 = 38;

/// TDH.SYS.RDALL: RCX = address of a list, RDX = first field, or the null id for the first of all.
/// Out: R8 = the field to go on with.
///
/// Each run of fields makes a sequence of its own here; the module may put neighbours into one.
pub(super) fn rdall(module: &Module, call: &mut Call<'_>) -> LeafResult {
    let (list, first) = (call.regs.rcx, call.regs.rdx);
    call.regs.r8 = NULL_ID;
    if !module.lp_initialised[call.lp] {
        return Err(Status::SYS_LP_INIT_NOT_DONE);
    }
    // The module's source names RDX here although the address is in RCX.
    let bad_list = Status::invalid(operand::RDX);
    if !call.platform.is_shared_pa(list, LIST_SIZE as u64) {
        return Err(bad_list);
    }
    let metadata = Metadata::of(module);
    let (first_run, mut element) = if first | CONTEXT == NULL_ID {
        (0, 0)
    } else {
        metadata
            .find(first)
            .filter(|(run, element)| element % metadata.runs[*run].width == 0)
            .ok_or(Status::METADATA_FIELD_ID_INCORRECT)?
    };

    // A header: the list's size in bytes and its number of sequences, 16 bits each.
    let mut bytes = vec![0; WORD];
    let mut sequences = 0u16;
    let mut next = NULL_ID;
    for run in &metadata.runs[first_run..] {
        let elements = &run.elements[std::mem::take(&mut element)..];
        if !metadata.is_readable(run) {
            continue;
        }
        let begin = run.elements.len() - elements.len();
        let room = (LIST_SIZE - bytes.len()) / WORD;
        let fields = (elements.len() / run.width).min(room.saturating_sub(1) / run.width);
        let written = fields * run.width;
        if fields > 0 {
            let header = (run.id + begin as u64)
                | ((run.width as u64 - 1) << LAST_ELEMENT_SHIFT)
                | ((fields as u64 - 1) << LAST_FIELD_SHIFT);
            bytes.extend(header.to_le_bytes());
            bytes.extend(
                elements[..written]
                    .iter()
                    .flat_map(|value| value.to_le_bytes()),
            );
            sequences += 1;
        }
        if let Some(id) = run.field_at(begin + written) {
            next = id;
            break;
        }
    }
    let size = bytes.len() as u16;
    bytes[0..2].copy_from_slice(&size.to_le_bytes());
    bytes[2..4].copy_from_slice(&sequences.to_le_bytes());
    if !call.write(list, &bytes) {
        return Err(bad_list);
    }
    call.regs.r8 = next;
    Ok(())
}
