// SPDX-License-Identifier: GPL-2.0

//! A host for the tests of TD leaves: memory, a configured world of TDs, and calls as Linux makes
//! them.

// Every test file uses another part of this.
#![allow(dead_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;

use tdxsim::call::{Call, Entropy};
use tdxsim::leaf::Leaf;
use tdxsim::locks::{LockKey, LockMode, Locks};
use tdxsim::mem::Memory;
use tdxsim::module::config::{Range, Tdmr};
use tdxsim::module::td::{self, TdWorld};
use tdxsim::module::update::Handoff;
use tdxsim::profile::{ModuleProfile, PlatformProfile, Profiles};
use tdxsim::regs::Regs;

pub const PAGE: u64 = 0x1000;
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// The TDMR's GiBs that are initialised are 1 and 2; GiB 3 belongs to it, but is not.
pub const TDMR_BASE: u64 = GIB;
pub const UNINITIALISED: u64 = 3 * GIB;
pub const OUTSIDE: u64 = 4 * GIB;
/// A page in a reserved area.
pub const RESERVED: u64 = 2 * GIB + 0x8000_0000 / 8;
/// A KeyID's bits in a physical address: 7 of them, the topmost below bit 52.
pub const PRIVATE_KEYID_BITS: u64 = 64 << 45;
pub const SHARED_KEYID_BITS: u64 = 1 << 45;

/// Where tests put what they give to leaves as shared memory.
pub const PARAMS: u64 = 0x10_0000;
pub const SOURCE: u64 = 0x20_0000;

/// The first GPA that tests map.
pub const GPA: u64 = 0x40_0020_3000;

/// Statuses as numbers; operand ids are added to them.
pub const SUCCESS: u64 = 0;
pub const INVALID: u64 = 0xC000_0100_0000_0000;
pub const RANGE: u64 = 0xC000_0101_0000_0000;
pub const BUSY: u64 = 0x8000_0200_0000_0000;
pub const WRONG_TYPE: u64 = 0xC000_0300_0000_0000;

/// RAM from 0 to 4 GiB, in pages that hold zeros until somebody writes to them.
#[derive(Default)]
pub struct Ram(RefCell<BTreeMap<u64, Vec<u8>>>);

impl Ram {
    fn for_each(&self, pa: u64, len: usize, mut access: impl FnMut(&mut u8, usize)) -> bool {
        if pa.saturating_add(len as u64) > OUTSIDE {
            return false;
        }
        let mut pages = self.0.borrow_mut();
        for i in 0..len {
            let at = pa + i as u64;
            let page = pages
                .entry(at / PAGE)
                .or_insert_with(|| vec![0; PAGE as usize]);
            access(&mut page[(at % PAGE) as usize], i);
        }
        true
    }
}

impl Memory for Ram {
    fn read(&self, pa: u64, buf: &mut [u8]) -> bool {
        self.for_each(pa, buf.len(), |byte, i| buf[i] = *byte)
    }

    fn write(&self, pa: u64, buf: &[u8]) -> bool {
        self.for_each(pa, buf.len(), |byte, i| *byte = buf[i])
    }
}

pub fn regs(rcx: u64, rdx: u64, r8: u64, r9: u64) -> Regs {
    Regs {
        rcx,
        rdx,
        r8,
        r9,
        ..Regs::default()
    }
}

/// How far a TD is: every combination of life cycle, TDCS pages and operation state that leaves
/// tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    HkidAssigned,
    FiveTdcsPages,
    Uninitialized,
    Initialized,
    Runnable,
    Blocked,
    Teardown,
    Fatal,
}

pub const STAGES: [Stage; 8] = [
    Stage::HkidAssigned,
    Stage::FiveTdcsPages,
    Stage::Uninitialized,
    Stage::Initialized,
    Stage::Runnable,
    Stage::Blocked,
    Stage::Teardown,
    Stage::Fatal,
];

pub struct Host {
    pub world: TdWorld,
    pub ram: Ram,
    pub module: ModuleProfile,
    pub platform: PlatformProfile,
    pub locks: Locks,
    entropy: Entropy,
    pub entropy_denied: bool,
    pub packages: usize,
    next_page: u64,
}

/// A TD with its pages.
#[derive(Clone, Debug, Default)]
pub struct Td {
    pub tdr: u64,
    pub keyid: u16,
    pub tdcs: Vec<u64>,
    /// Each vCPU's TDVPR and TDCX pages.
    pub vcpus: Vec<Vec<u64>>,
    pub sept: Vec<u64>,
}

impl Host {
    pub fn new() -> Host {
        Host::with_packages(1)
    }

    pub fn with_packages(packages: usize) -> Host {
        let profiles = Profiles::built_in().unwrap();
        let mut world = TdWorld::default();
        let range = |base, size| Range { base, size };
        let tdmr = Tdmr {
            range: range(TDMR_BASE, 3 * GIB),
            pamts: [range(0, 0); 3],
            reserved: vec![range(RESERVED, PAGE)],
        };
        world.configure(&[tdmr], 64, 64..128);
        world.pamt.init_range(0, 2 * GIB + 4 * MIB);
        Host {
            world,
            ram: Ram::default(),
            module: profiles.module("tdx-1.5.25", &[]).unwrap(),
            platform: profiles.platform("default", &[]).unwrap(),
            locks: Locks::default(),
            entropy: Entropy::default(),
            entropy_denied: false,
            packages,
            next_page: TDMR_BASE,
        }
    }

    /// A page that was not used before.
    pub fn new_page(&mut self) -> u64 {
        self.next_page += PAGE;
        self.next_page - PAGE
    }

    /// Calls a leaf from LP `lp`; LPs are spread over the packages in turn.
    pub fn call_on(&mut self, lp: usize, leaf: Leaf, version: u8, regs: Regs) -> (u64, Regs) {
        let mut regs = regs;
        let mut held = Vec::new();
        let mut call = Call {
            lp,
            package: lp % self.packages,
            packages: self.packages,
            leaf,
            version,
            regs: &mut regs,
            mem: &self.ram,
            module: &self.module,
            platform: &self.platform,
            locks: &mut self.locks,
            held: &mut held,
            entropy: &mut self.entropy,
            random_left: self.entropy_denied.then_some(0),
        };
        let status = td::call(&mut self.world, &mut call);
        for key in held {
            self.locks.unlock(key);
        }
        (status.0, regs)
    }

    pub fn call(&mut self, leaf: Leaf, regs: Regs) -> (u64, Regs) {
        let version = u8::from(leaf == Leaf::VpInit);
        self.call_on(0, leaf, version, regs)
    }

    pub fn status(&mut self, leaf: Leaf, regs: Regs) -> u64 {
        self.call(leaf, regs).0
    }

    /// Calls a leaf that must succeed.
    #[track_caller]
    pub fn ok(&mut self, leaf: Leaf, regs: Regs) -> Regs {
        let (status, regs) = self.call(leaf, regs);
        assert_eq!(status, SUCCESS, "{}: {status:#x}", leaf.name());
        regs
    }

    /// The status of a leaf while another LP holds a lock exclusively.
    pub fn status_while_locked(&mut self, key: LockKey, leaf: Leaf, regs: Regs) -> u64 {
        self.status_while(key, LockMode::Exclusive, leaf, regs)
    }

    pub fn status_while(&mut self, key: LockKey, mode: LockMode, leaf: Leaf, regs: Regs) -> u64 {
        assert!(self.locks.try_lock(key, mode));
        let status = self.status(leaf, regs);
        self.locks.unlock(key);
        assert!(self.locks.is_empty());
        status
    }

    /// TD_PARAMS as KVM fills them in for a TD without extras.
    pub fn td_params() -> Vec<u8> {
        let mut params = vec![0; 1024];
        let mut put = |at: usize, bytes: &[u8]| params[at..at + bytes.len()].copy_from_slice(bytes);
        // ATTRIBUTES: SEPT_VE_DISABLE; XFAM: x87 and SSE; four vCPUs.
        put(0, &(1u64 << 28).to_le_bytes());
        put(8, &3u64.to_le_bytes());
        put(16, &4u16.to_le_bytes());
        // EPTP_CONTROLS: write-back, four levels; CONFIG_FLAGS: NO_RBP_MOD; 2.5 GHz.
        put(24, &0x1Eu64.to_le_bytes());
        put(32, &4u64.to_le_bytes());
        put(40, &100u16.to_le_bytes());
        params
    }

    pub fn create(&mut self, keyid: u16) -> Td {
        let tdr = self.new_page();
        self.ok(Leaf::MngCreate, regs(tdr, keyid.into(), 0, 0));
        Td {
            tdr,
            keyid,
            ..Td::default()
        }
    }

    pub fn configure_keys(&mut self, td: &Td) {
        for lp in 0..self.packages {
            let (status, _) = self.call_on(lp, Leaf::MngKeyConfig, 0, regs(td.tdr, 0, 0, 0));
            assert_eq!(status, SUCCESS);
        }
    }

    pub fn add_tdcs_pages(&mut self, td: &mut Td, count: usize) {
        for _ in 0..count {
            let page = self.new_page();
            self.ok(Leaf::MngAddcx, regs(page, td.tdr, 0, 0));
            td.tdcs.push(page);
        }
    }

    pub fn init(&mut self, td: &Td, params: &[u8]) -> (u64, Regs) {
        assert!(self.ram.write(PARAMS, params));
        self.call(Leaf::MngInit, regs(td.tdr, PARAMS, 0, 0))
    }

    /// A TD whose build is begun.
    pub fn begin_build(&mut self, keyid: u16) -> Td {
        let mut td = self.create(keyid);
        self.configure_keys(&td);
        self.add_tdcs_pages(&mut td, 6);
        assert_eq!(self.init(&td, &Host::td_params()).0, SUCCESS);
        td
    }

    /// A vCPU with all its pages that is not initialised.
    pub fn create_vcpu(&mut self, td: &mut Td) -> u64 {
        let pages: Vec<u64> = (0..6).map(|_| self.new_page()).collect();
        self.ok(Leaf::VpCreate, regs(pages[0], td.tdr, 0, 0));
        for page in &pages[1..] {
            self.ok(Leaf::VpAddcx, regs(*page, pages[0], 0, 0));
        }
        td.vcpus.push(pages);
        td.vcpus[td.vcpus.len() - 1][0]
    }

    pub fn add_vcpu(&mut self, td: &mut Td) -> u64 {
        let id = td.vcpus.len() as u64;
        let tdvpr = self.create_vcpu(td);
        self.ok(Leaf::VpInit, regs(tdvpr, 0, id, 0));
        tdvpr
    }

    /// Adds the secure EPT pages that a 4 KiB page at `gpa` needs.
    pub fn add_sept(&mut self, td: &mut Td, gpa: u64) {
        for level in (1..=3).rev() {
            let page = self.new_page();
            let base = gpa & !((1 << (12 + 9 * level)) - 1);
            self.ok(Leaf::MemSeptAdd, regs(base | level, td.tdr, page, 0));
            td.sept.push(page);
        }
    }

    /// Adds a page with this content, under tables that exist.
    pub fn add_page(&mut self, td: &Td, gpa: u64, content: &[u8]) -> u64 {
        let page = self.new_page();
        assert!(self.ram.write(SOURCE, content));
        self.ok(Leaf::MemPageAdd, regs(gpa, td.tdr, page, SOURCE));
        page
    }

    pub fn extend(&mut self, td: &Td, gpa: u64) {
        for chunk in (0..PAGE).step_by(256) {
            self.ok(Leaf::MrExtend, regs(gpa + chunk, td.tdr, 0, 0));
        }
    }

    pub fn finalize(&mut self, td: &Td) {
        self.ok(Leaf::MrFinalize, regs(td.tdr, 0, 0, 0));
    }

    /// Ends all vCPUs' associations, and the TD's life up to TEARDOWN.
    pub fn release_keyid(&mut self, td: &Td) {
        for vcpu in &td.vcpus {
            for lp in 0..self.packages {
                self.call_on(lp, Leaf::VpFlush, 0, regs(vcpu[0], 0, 0, 0));
            }
        }
        self.ok(Leaf::MngVpflushdone, regs(td.tdr, 0, 0, 0));
        for lp in 0..self.packages {
            self.call_on(lp, Leaf::PhymemCacheWb, 0, regs(0, 0, 0, 0));
        }
        self.ok(Leaf::MngKeyFreeid, regs(td.tdr, 0, 0, 0));
    }

    /// Reclaims every page of a TD in TEARDOWN, the TDR last.
    pub fn reclaim(&mut self, td: &Td) {
        let owned: Vec<u64> = self
            .world
            .pamt
            .entries()
            .filter(|(_, entry)| entry.owner == td.tdr)
            .map(|(page, _)| page)
            .collect();
        for page in owned {
            self.ok(Leaf::PhymemPageReclaim, regs(page, 0, 0, 0));
        }
        self.ok(Leaf::PhymemPageReclaim, regs(td.tdr, 0, 0, 0));
    }

    /// A TD at this stage; from INITIALIZED on it has one initialised vCPU, the tables for [`GPA`]
    /// and a page there.
    pub fn td_at(&mut self, stage: Stage, keyid: u16) -> Td {
        let mut td = self.create(keyid);
        if stage == Stage::HkidAssigned {
            return td;
        }
        self.configure_keys(&td);
        self.add_tdcs_pages(&mut td, 5);
        if stage == Stage::FiveTdcsPages {
            return td;
        }
        self.add_tdcs_pages(&mut td, 1);
        if stage == Stage::Uninitialized {
            return td;
        }
        assert_eq!(self.init(&td, &Host::td_params()).0, SUCCESS);
        self.add_vcpu(&mut td);
        self.add_sept(&mut td, GPA);
        self.add_page(&td, GPA, &[0x5A; PAGE as usize]);
        match stage {
            Stage::Runnable => self.finalize(&td),
            Stage::Blocked => {
                self.ok(Leaf::VpFlush, regs(td.vcpus[0][0], 0, 0, 0));
                self.ok(Leaf::MngVpflushdone, regs(td.tdr, 0, 0, 0));
            }
            Stage::Teardown => self.release_keyid(&td),
            Stage::Fatal => assert!(self.world.set_fatal(td.tdr)),
            _ => {}
        }
        td
    }

    pub fn mrtd(&self, td: &Td) -> Option<[u8; 48]> {
        let mut tds = self.world.tds();
        tds.find(|info| info.tdr == td.tdr).unwrap().mrtd
    }

    /// Another module takes over.
    pub fn update(&mut self, new: &str, handoff_version: u16, detect: bool) {
        let profiles = Profiles::built_in().unwrap();
        self.module = profiles.module(new, &[]).unwrap();
        self.world.after_update(&Handoff {
            old_hv: handoff_version,
            detect_mrtd_context: detect,
        });
    }
}
