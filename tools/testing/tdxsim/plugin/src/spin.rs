// SPDX-License-Identifier: GPL-2.0

//! Loops that only wait.
//!
//! Such a loop has a PAUSE in it, and takes the same way each time until what it waits for has come.
//! So a turn of it is told from work by three things: it is from a PAUSE to the same one, has as many
//! instructions as the turn before, and there is no SEAMCALL in it. The first turn of a loop counts
//! as work.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is known of a vCPU's loops. Only the vCPU's own thread changes it.
#[derive(Debug, Default)]
pub struct Spin {
    /// Where the last PAUSE was; 0 if the vCPU has done something else since.
    address: AtomicU64,
    /// Instructions executed up to it.
    instructions: AtomicU64,
    /// Instructions of the turn that it ended; 0 if it ended none.
    turn: AtomicU64,
    /// Instructions of all turns that only waited.
    total: AtomicU64,
}

impl Spin {
    /// The vCPU executes a PAUSE after so many instructions.
    pub fn pause(&self, address: u64, instructions: u64) {
        let turn = instructions.wrapping_sub(self.instructions.swap(instructions, Relaxed));
        let is_same_place = self.address.swap(address, Relaxed) == address;
        let turn = if is_same_place { turn } else { 0 };
        let is_same_way = self.turn.swap(turn, Relaxed) == turn;
        if is_same_place && is_same_way {
            self.total.fetch_add(turn, Relaxed);
        }
    }

    /// The vCPU does something that is no waiting.
    pub fn work(&self) {
        self.address.store(0, Relaxed);
    }

    /// Instructions that were spent waiting.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: u64 = 0xFFFF_FFFF_8100_1000;
    const THERE: u64 = 0xFFFF_FFFF_8100_2000;

    /// A PAUSE; returns how many instructions only waited up to it.
    fn pause(spin: &Spin, address: u64, instructions: u64) -> u64 {
        spin.pause(address, instructions);
        spin.total()
    }

    #[test]
    fn equal_turns_are_waiting() {
        let spin = Spin::default();
        assert_eq!(pause(&spin, HERE, 1000), 0);
        // The first turn is not known to be one.
        assert_eq!(pause(&spin, HERE, 1010), 0);
        assert_eq!(pause(&spin, HERE, 1020), 10);
        assert_eq!(pause(&spin, HERE, 1030), 20);
    }

    #[test]
    fn another_way_or_place_is_work() {
        let spin = Spin::default();
        for instructions in [10, 20, 30] {
            spin.pause(HERE, instructions);
        }
        assert_eq!(spin.total(), 10);
        assert_eq!(pause(&spin, HERE, 45), 10);
        assert_eq!(pause(&spin, THERE, 60), 10);
        assert_eq!(pause(&spin, HERE, 75), 10);
    }

    #[test]
    fn a_turn_with_work_in_it_is_work() {
        let spin = Spin::default();
        for instructions in [10, 20, 30] {
            spin.pause(HERE, instructions);
        }
        spin.work();
        assert_eq!(pause(&spin, HERE, 40), 10);
        assert_eq!(pause(&spin, HERE, 50), 10);
        assert_eq!(pause(&spin, HERE, 60), 20);
    }
}
