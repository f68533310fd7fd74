// SPDX-License-Identifier: GPL-2.0

//! A small machine around the model: RAM, a clock that stands still, and the usual sequences of
//! calls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use tdxsim::{Host, Memory, Outcome, Regs, Sim, SimConfig};

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// Leaf numbers.
pub const VP_ENTER: u64 = 0;
pub const MNG_ADDCX: u64 = 1;
pub const MNG_KEY_CONFIG: u64 = 8;
pub const MNG_CREATE: u64 = 9;
pub const MNG_INIT: u64 = 21;
pub const MNG_VPFLUSHDONE: u64 = 19;
pub const PAGE_RDMD: u64 = 24;
pub const KEY_CONFIG: u64 = 31;
pub const INFO: u64 = 32;
pub const INIT: u64 = 33;
pub const RD: u64 = 34;
pub const LP_INIT: u64 = 35;
pub const TDMR_INIT: u64 = 36;
pub const RDALL: u64 = 37;
pub const LP_SHUTDOWN: u64 = 44;
pub const CONFIG: u64 = 45;
pub const SHUTDOWN: u64 = 52;
pub const UPDATE: u64 = 53;
pub const DISABLE: u64 = 69;
/// RAX bit 16: version 1 of a leaf.
pub const V1: u64 = 1 << 16;
/// P-SEAMLDR leaf numbers.
pub const SEAMLDR_INFO: u64 = 1 << 63;
pub const SEAMLDR_INSTALL: u64 = (1 << 63) | 1;
pub const SEAMLDR_SHUTDOWN: u64 = (1 << 63) | 2;
pub const SEAMLDR_SEAMINFO: u64 = (1 << 63) | 3;
pub const SEAMLDR_CLEANUP: u64 = (1 << 63) | 4;

/// Field ids of TDH.SYS.RD.
pub const FEATURES0: u64 = 0x0A00_0003_0000_0008;
pub const UPDATE_VERSION: u64 = 0x0800_0001_0000_0005;

/// Sparse RAM with holes where a PC has them.
pub struct Ram {
    pages: Mutex<BTreeMap<u64, [u8; 4096]>>,
}

impl Ram {
    fn is_there(page: u64) -> bool {
        page < (2 * GIB) >> 12 || ((4 * GIB) >> 12..(6 * GIB) >> 12).contains(&page)
    }

    fn access(&self, pa: u64, len: usize, mut each: impl FnMut(&mut u8, usize)) -> bool {
        let mut pages = self.pages.lock().unwrap();
        (0..len as u64).all(|offset| {
            let pa = pa.wrapping_add(offset);
            if !Ram::is_there(pa >> 12) {
                return false;
            }
            let page = pages.entry(pa >> 12).or_insert([0; 4096]);
            each(&mut page[pa as usize % 4096], offset as usize);
            true
        })
    }

    /// Stores little-endian words.
    pub fn put(&self, pa: u64, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            assert!(self.write(pa + index as u64 * 8, &word.to_le_bytes()));
        }
    }

    /// Loads a little-endian number of `len` bytes.
    pub fn get(&self, pa: u64, len: usize) -> u64 {
        let mut bytes = [0; 8];
        assert!(self.read(pa, &mut bytes[..len]));
        u64::from_le_bytes(bytes)
    }
}

impl Memory for Ram {
    fn read(&self, pa: u64, buf: &mut [u8]) -> bool {
        self.access(pa, buf.len(), |byte, index| buf[index] = *byte)
    }

    fn write(&self, pa: u64, buf: &[u8]) -> bool {
        self.access(pa, buf.len(), |byte, index| *byte = buf[index])
    }
}

/// A clock that only sleeping moves.
#[derive(Default)]
pub struct Clock {
    pub now: AtomicU64,
    /// LPs that the model wants to know more about, a bit each.
    pub watched: AtomicU64,
}

impl Host for Clock {
    fn now_ns(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn sleep_ns(&self, ns: u64) {
        self.now.fetch_add(ns, Ordering::Relaxed);
    }

    fn instructions(&self, lp: usize) -> u64 {
        self.now_ns() * (lp as u64 + 1)
    }

    fn spinning(&self, lp: usize) -> u64 {
        self.now_ns() / 2 * lp as u64
    }

    fn watch(&self, lp: usize) {
        self.watched.fetch_or(1 << lp, Ordering::Relaxed);
    }
}

pub struct Machine {
    pub sim: Sim,
    pub ram: Ram,
    pub clock: Clock,
    pub lps: usize,
    /// An LP of each package.
    pub packages: Vec<usize>,
}

/// Operands RCX, RDX, R8, R9, R10, R11; missing ones are 0.
fn regs(rax: u64, operands: &[u64]) -> Regs {
    let operand = |index: usize| operands.get(index).copied().unwrap_or(0);
    Regs {
        rax,
        rcx: operand(0),
        rdx: operand(1),
        r8: operand(2),
        r9: operand(3),
        r10: operand(4),
        r11: operand(5),
    }
}

/// Where the tests put things in RAM.
pub const TDMR_ARRAY: u64 = 0x10_0000;
pub const TDMR_INFOS: u64 = 0x10_1000;
pub const PAMTS: u64 = 256 * MIB;
pub const BUFFER: u64 = 0x20_0000;

/// TDMR_INFO for GiB number `gib`, with PAMTs of the right size at `pamts`, no reserved areas.
pub fn tdmr_info(gib: u64, pamts: u64) -> [u64; 40] {
    let mut info = [0; 40];
    info[..8].copy_from_slice(&[
        gib * GIB,
        GIB,
        pamts,
        0x1000,
        pamts + 0x1000,
        0x2000,
        pamts + 0x3000,
        4 * MIB,
    ]);
    info
}

impl Machine {
    /// Two LPs in two packages, 4 GiB of RAM.
    pub fn new(args: &[&str]) -> Machine {
        Machine::with_lps(&[0, 1], args)
    }

    /// LPs in these packages, 4 GiB of RAM.
    pub fn with_lps(packages: &[usize], args: &[&str]) -> Machine {
        let mut all = vec!["mem=4G"];
        all.extend(args);
        Machine::with_config(SimConfig::from_args(packages.to_vec(), &all).unwrap())
    }

    /// A machine of which a test has changed what arguments cannot say.
    pub fn with_config(config: SimConfig) -> Machine {
        let packages = config.packages.clone();
        let count = config.package_count();
        let position = |package| packages.iter().position(|other| *other == package).unwrap();
        Machine {
            lps: packages.len(),
            packages: (0..count).map(position).collect(),
            sim: Sim::new(config).unwrap(),
            ram: Ram {
                pages: Mutex::default(),
            },
            clock: Clock::default(),
        }
    }

    /// A SEAMCALL with its outcome and all registers.
    pub fn raw(&self, lp: usize, rax: u64, operands: &[u64]) -> (Outcome, Regs) {
        let mut regs = regs(rax, operands);
        let outcome = self.sim.seamcall(lp, &mut regs, &self.ram, &self.clock);
        (outcome, regs)
    }

    /// A SEAMCALL that completes, with all registers.
    pub fn call(&self, lp: usize, rax: u64, operands: &[u64]) -> Regs {
        let (outcome, regs) = self.raw(lp, rax, operands);
        assert_eq!(outcome, Outcome::Completed, "leaf {rax:#x}");
        regs
    }

    /// A SEAMCALL's status on LP 0; VMfailInvalid as Linux shows it.
    pub fn status(&self, rax: u64, operands: &[u64]) -> u64 {
        match self.raw(0, rax, operands) {
            (Outcome::Completed, regs) => regs.rax,
            (Outcome::VmFailInvalid, _) => 0x8000_FF00_FFFF_0000,
            (Outcome::GeneralProtection, _) => 0x8000_FF00_0000_000D,
            (Outcome::UndefinedInstruction, _) => 0x8000_FF00_0000_0006,
        }
    }

    /// A SEAMCALL that must succeed.
    pub fn ok(&self, lp: usize, rax: u64, operands: &[u64]) -> Regs {
        let regs = self.call(lp, rax, operands);
        assert_eq!(regs.rax, 0, "leaf {rax:#x}: {:#x}", regs.rax);
        regs
    }

    /// A metadata field's value.
    pub fn rd(&self, field: u64) -> u64 {
        self.ok(0, RD, &[0, field]).r8
    }

    /// A control command that must succeed.
    pub fn control(&self, command: &str) -> String {
        match self.sim.control(0, command, &self.clock) {
            Ok(answer) => answer,
            Err(error) => panic!("{command}: {error}"),
        }
    }

    /// The value behind `KEY=` in the answer to `state`.
    pub fn state(&self, key: &str) -> String {
        let answer = self.control("state");
        let key = format!("{key}=");
        let word = answer
            .split_whitespace()
            .find(|word| word.starts_with(&key));
        word.unwrap_or_else(|| panic!("{key} in {answer}"))[key.len()..].to_owned()
    }

    /// TDH.SYS.INIT and TDH.SYS.LP.INIT on all LPs.
    pub fn initialise(&self) {
        self.ok(0, INIT, &[]);
        for lp in 0..self.lps {
            self.ok(lp, LP_INIT, &[]);
        }
    }

    /// Puts TDMR_INFOs into RAM; returns RCX and RDX of TDH.SYS.CONFIG.
    pub fn put_tdmrs(&self, infos: &[[u64; 40]]) -> [u64; 2] {
        for (index, info) in infos.iter().enumerate() {
            let address = TDMR_INFOS + index as u64 * 512;
            self.ram.put(address, info);
            self.ram.put(TDMR_ARRAY + index as u64 * 8, &[address]);
        }
        [TDMR_ARRAY, infos.len() as u64]
    }

    /// TDH.SYS.CONFIG version 0 with one TDMR over GiB 1 and one over GiB 4, global KeyID 64.
    pub fn configure(&self) {
        let infos = [tdmr_info(1, PAMTS), tdmr_info(4, PAMTS + 16 * MIB)];
        let [rcx, rdx] = self.put_tdmrs(&infos);
        self.ok(0, CONFIG, &[rcx, rdx, 64]);
    }

    /// TDH.SYS.KEY.CONFIG on every package.
    pub fn configure_keys(&self) {
        for lp in &self.packages {
            self.ok(*lp, KEY_CONFIG, &[]);
        }
    }

    /// All TDMRs initialised.
    pub fn initialise_tdmrs(&self) {
        for base in [GIB, 4 * GIB] {
            while self.ok(0, TDMR_INIT, &[base]).rdx < base + GIB {}
        }
    }

    /// From power-on to a module that can run TDs.
    pub fn make_ready(&self) {
        self.initialise();
        self.configure();
        self.configure_keys();
        self.initialise_tdmrs();
    }

    /// Begins a TD build with pages from `base` on; the TD's KeyID is `keyid`.
    pub fn begin_build(&self, base: u64, keyid: u64) {
        self.ok(0, MNG_CREATE, &[base, keyid]);
        for lp in &self.packages {
            self.ok(*lp, MNG_KEY_CONFIG, &[base]);
        }
        for page in 1..=6 {
            self.ok(0, MNG_ADDCX, &[base + page * 0x1000, base]);
        }
        // TD_PARAMS: XFAM x87 and SSE, one vCPU, four-level EPT write-back, TSC at 1 GHz.
        self.ram.put(BUFFER, &[0; 128]);
        self.ram.put(BUFFER, &[0, 3, 1, 0x1E, 0, 40]);
        self.ok(0, MNG_INIT, &[base, BUFFER]);
    }

    /// Ends a TD build that was not finalised.
    pub fn abandon_build(&self, base: u64) {
        self.ok(0, MNG_VPFLUSHDONE, &[base]);
    }
}
