// SPDX-License-Identifier: GPL-2.0

//! Whether an instruction may access memory: the plugin's own accesses know no permissions.
//!
//! Source: Intel SDM volume 3, "4-level paging and 5-level paging", "Determination of access rights" and
//! "Page-fault exceptions". Accessed and dirty flags are not set; protection keys, which QEMU does not
//! show to plugins, and reserved bits are not looked at.

use tdxsim::mem::Memory;

/// CR0.WP: what is read-only is so for supervisors as well.
const CR0_WP: u64 = 1 << 16;
/// CR4.LA57: addresses have 57 bits, and there are five levels of tables.
const CR4_LA57: u64 = 1 << 12;
/// CR4.SMAP: a supervisor does not access what is a user's.
const CR4_SMAP: u64 = 1 << 21;
/// RFLAGS.AC: in spite of CR4.SMAP it does.
const RFLAGS_AC: u64 = 1 << 18;

/// Bits of an entry: present, writable, accessible to users, no table but a page.
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const PAGE: u64 = 1 << 7;

/// Where an entry, or CR3, has the address of a table.
const TABLE: u64 = 0x000F_FFFF_FFFF_F000;

/// Bits of an error code: the page is present, it was a write, by a user.
const CODE_PRESENT: u32 = 1 << 0;
const CODE_WRITE: u32 = 1 << 1;
const CODE_USER: u32 = 1 << 2;

/// Addresses where kernels have nothing: the first page, and the last one of a user's part, which
/// Linux keeps free.
const NOWHERE: [u64; 2] = [0, 0x7FFF_FFFF_F000];

/// An access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
}

/// The exception that an access raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// #GP(0).
    GeneralProtection,
    /// #PF.
    Page {
        /// The address that cannot be accessed, for CR2.
        address: u64,
        /// The error code.
        code: u32,
    },
}

/// What decides about accesses.
#[derive(Clone, Copy, Debug)]
pub struct Paging {
    /// The address of the topmost table.
    root: u64,
    /// How many levels of tables there are.
    levels: u32,
    /// The instruction is a user's.
    is_user: bool,
    /// It must not write to what is read-only.
    obeys_read_only: bool,
    /// It must not access what is a user's.
    avoids_users: bool,
}

impl Paging {
    /// For an instruction in ring 3 or in another one, with these registers.
    pub fn new(is_user: bool, cr0: u64, cr3: u64, cr4: u64, rflags: u64) -> Paging {
        Paging {
            root: cr3 & TABLE,
            levels: if cr4 & CR4_LA57 != 0 { 5 } else { 4 },
            is_user,
            obeys_read_only: is_user || cr0 & CR0_WP != 0,
            avoids_users: !is_user && cr4 & CR4_SMAP != 0 && rflags & RFLAGS_AC == 0,
        }
    }

    /// Whether so many bytes, not more than a page, can be accessed.
    pub fn check(
        &self,
        address: u64,
        length: u64,
        access: Access,
        memory: &dyn Memory,
    ) -> Result<(), Fault> {
        self.check_page(address, access, memory)?;
        let last = address.wrapping_add(length.saturating_sub(1));
        if last >> 12 != address >> 12 {
            self.check_page(last & !0xFFF, access, memory)?;
        }
        Ok(())
    }

    fn check_page(&self, address: u64, access: Access, memory: &dyn Memory) -> Result<(), Fault> {
        let unused_bits = 64 - (12 + 9 * self.levels);
        if ((address << unused_bits) as i64 >> unused_bits) as u64 != address {
            return Err(Fault::GeneralProtection);
        }
        let write = access == Access::Write;
        let mut code = 0;
        if write {
            code |= CODE_WRITE;
        }
        if self.is_user {
            code |= CODE_USER;
        }
        let Some(rights) = self.rights(address, memory) else {
            return Err(Fault::Page { address, code });
        };
        let is_users = rights & USER != 0;
        let is_denied = self.is_user && !is_users
            || self.avoids_users && is_users
            || write && self.obeys_read_only && rights & WRITABLE == 0;
        if is_denied {
            code |= CODE_PRESENT;
            return Err(Fault::Page { address, code });
        }
        Ok(())
    }

    /// The rights that all entries on the way to a page give; `None` if it is not present.
    fn rights(&self, address: u64, memory: &dyn Memory) -> Option<u64> {
        let mut table = self.root;
        let mut rights = WRITABLE | USER;
        for level in (0..self.levels).rev() {
            let index = (address >> (12 + 9 * level)) & 0x1FF;
            let mut bytes = [0; 8];
            if !memory.read(table + 8 * index, &mut bytes) {
                return None;
            }
            let entry = u64::from_le_bytes(bytes);
            if entry & PRESENT == 0 {
                return None;
            }
            rights &= entry;
            if entry & PAGE != 0 && matches!(level, 1 | 2) {
                break;
            }
            table = entry & TABLE;
        }
        Some(rights)
    }

    /// An address that is not present, from which a jump ends in #PF: this one, if it is one.
    pub fn absent(&self, address: u64, memory: &dyn Memory) -> Option<u64> {
        [address]
            .into_iter()
            .chain(NOWHERE)
            .find(|address| self.rights(*address, memory).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Tables by the address of each entry.
    #[derive(Default)]
    struct Tables(HashMap<u64, u64>);

    impl Memory for Tables {
        fn read(&self, pa: u64, buf: &mut [u8]) -> bool {
            let entry = self.0.get(&pa).copied().unwrap_or(0);
            buf.copy_from_slice(&entry.to_le_bytes());
            pa < 1 << 40
        }

        fn write(&self, _: u64, _: &[u8]) -> bool {
            false
        }
    }

    /// The root is at 0x1000; the others follow it, a page each.
    const CR3: u64 = 0x8000_0000_0000_1FFF;
    const ALL: u64 = PRESENT | WRITABLE | USER;

    /// Maps `address` with these bits in the entries of its levels, the topmost first.
    fn map(address: u64, entries: &[u64], levels: u32) -> Tables {
        let mut tables = Tables::default();
        for (depth, bits) in entries.iter().enumerate() {
            let level = levels - 1 - depth as u32;
            let table = 0x1000 * (depth as u64 + 1);
            let index = (address >> (12 + 9 * level)) & 0x1FF;
            // Bits beyond the address, such as "no execute", do not count.
            let entry = (table + 0x1000) | bits | (1 << 63);
            tables.0.insert(table + 8 * index, entry);
        }
        tables
    }

    const USERS: u64 = 0x7F12_3456_7000;
    const KERNELS: u64 = 0xFFFF_8881_2345_6000;

    fn user() -> Paging {
        Paging::new(true, CR0_WP, CR3, 0, 0)
    }

    fn supervisor(cr0: u64, cr4: u64, rflags: u64) -> Paging {
        Paging::new(false, cr0, CR3, cr4, rflags)
    }

    fn fault(address: u64, code: u32) -> Result<(), Fault> {
        Err(Fault::Page { address, code })
    }

    #[test]
    fn a_user_needs_a_right_on_every_level() {
        use Access::{Read, Write};
        let tables = map(USERS, &[ALL; 4], 4);
        for access in [Read, Write] {
            assert_eq!(user().check(USERS, 64, access, &tables), Ok(()));
        }
        for level in 0..4 {
            let with = |bits| {
                let mut entries = [ALL; 4];
                entries[level] = bits;
                map(USERS, &entries, 4)
            };
            let absent = with(WRITABLE | USER);
            assert_eq!(user().check(USERS, 64, Read, &absent), fault(USERS, 4));
            assert_eq!(user().check(USERS, 64, Write, &absent), fault(USERS, 6));
            let read_only = with(PRESENT | USER);
            assert_eq!(user().check(USERS, 64, Read, &read_only), Ok(()));
            assert_eq!(user().check(USERS, 64, Write, &read_only), fault(USERS, 7));
            let kernels = with(PRESENT | WRITABLE);
            assert_eq!(user().check(USERS, 64, Read, &kernels), fault(USERS, 5));
        }
    }

    #[test]
    fn large_pages_end_the_walk_early() {
        for entries in [&[ALL, ALL | PAGE][..], &[ALL, ALL, ALL | PAGE]] {
            let tables = map(KERNELS, entries, 4);
            let paging = supervisor(CR0_WP, 0, 0);
            assert_eq!(paging.check(KERNELS, 64, Access::Write, &tables), Ok(()));
        }
        // In the last level this bit means something else.
        let tables = map(USERS, &[ALL, ALL, ALL, ALL | PAGE], 4);
        assert_eq!(user().check(USERS, 64, Access::Write, &tables), Ok(()));
    }

    #[test]
    fn an_access_may_reach_into_the_next_page() {
        let tables = map(USERS, &[ALL; 4], 4);
        let check = |address| user().check(address, 64, Access::Read, &tables);
        assert_eq!(check(USERS + 0xFC0), Ok(()));
        assert_eq!(check(USERS + 0xFC1), fault(USERS + 0x1000, 4));
        assert_eq!(check(USERS - 1), fault(USERS - 1, 4));
    }

    #[test]
    fn what_keeps_a_supervisor_from_memory() {
        let read_only = map(KERNELS, &[PRESENT; 4], 4);
        let write = |paging: Paging| paging.check(KERNELS, 8, Access::Write, &read_only);
        assert_eq!(write(supervisor(0, 0, 0)), Ok(()));
        assert_eq!(write(supervisor(CR0_WP, 0, 0)), fault(KERNELS, 3));
        let users = map(USERS, &[ALL; 4], 4);
        let read = |paging: Paging| paging.check(USERS, 8, Access::Read, &users);
        assert_eq!(read(supervisor(CR0_WP, 0, 0)), Ok(()));
        assert_eq!(read(supervisor(CR0_WP, CR4_SMAP, 0)), fault(USERS, 1));
        assert_eq!(read(supervisor(CR0_WP, CR4_SMAP, RFLAGS_AC)), Ok(()));
    }

    #[test]
    fn addresses_have_48_or_57_bits() {
        let address = 0x00AB_8881_2345_6000;
        let wide = Paging::new(true, CR0_WP, CR3, CR4_LA57, 0);
        let check = |paging: Paging, address, levels| {
            let tables = map(address, &[ALL; 5][..levels as usize], levels);
            paging.check(address, 8, Access::Read, &tables)
        };
        assert_eq!(check(wide, address, 5), Ok(()));
        assert_eq!(check(user(), address, 5), Err(Fault::GeneralProtection));
        assert_eq!(check(wide, 1 << 56, 5), Err(Fault::GeneralProtection));
        assert_eq!(check(user(), 1 << 47, 4), Err(Fault::GeneralProtection));
        assert_eq!(check(user(), !0 << 47, 4), Ok(()));
    }

    #[test]
    fn a_jump_goes_where_nothing_is() {
        let tables = map(USERS, &[ALL; 4], 4);
        assert_eq!(user().absent(USERS + 0x1000, &tables), Some(USERS + 0x1000));
        assert_eq!(user().absent(USERS, &tables), Some(0));
        let mut tables = map(0, &[ALL; 4], 4);
        assert_eq!(user().absent(0, &tables), Some(0x7FFF_FFFF_F000));
        tables.0.extend(map(0x7FFF_FFFF_F000, &[ALL; 4], 4).0);
        assert_eq!(user().absent(0, &tables), None);
    }
}
