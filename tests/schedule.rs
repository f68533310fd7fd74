// SPDX-License-Identifier: GPL-2.0

//! The orders in which CPUs get to run, on one thread.

use kernel::prelude::*;

use crate::{
    lockstep::{
        Cpu,
        Firmware,
        Lockstep, //
    },
    random::Random, //
};

/// An order in which the CPUs that are not through yet are polled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Round after round, from the first CPU to the last.
    Ascending,
    /// Round after round, from the last CPU to the first.
    Descending,
    /// At random, from a seed.
    Random(u64),
    /// At random, each CPU several times in a row.
    Bursts(u64),
    /// As the digits of `number` say, the lowest first, to the base of the number of CPUs; then
    /// ascending.
    Digits {
        /// The digits.
        number: u32,
        /// How many there are.
        count: u32,
    },
}

/// The number that the CPU at `index` has for the lockstep: not the index, so that a test finds
/// out if they are mistaken.
pub(crate) fn id(index: u32) -> u32 {
    index * 2 + 7
}

/// Polls `cpus` CPUs, of which the one at `lead` leads, until all are through. `before` is called
/// with the index of a CPU before it is polled.
///
/// Returns whether they got there before they had been polled so often that they never would.
pub(crate) fn run<F: Firmware<Stopped = ()>>(
    lockstep: &Lockstep<F>,
    cpus: u32,
    lead: u32,
    order: Order,
    before: impl Fn(u32),
) -> Result<bool> {
    let mut parts = KVec::with_capacity(cpus as usize, GFP_KERNEL)?;
    for index in 0..cpus {
        parts.push((Cpu::new(id(index), index == lead, ()), false), GFP_KERNEL)?;
    }
    let mut left = cpus;
    let mut poll = |index: u32| {
        if let Some((cpu, through)) = parts.get_mut(index as usize) {
            if !*through {
                before(index);
                *through = lockstep.poll(cpu);
                left -= u32::from(*through);
            }
        }
        left == 0
    };

    // In a round each CPU that is next to do something does it, so as many rounds as there are
    // things to do are enough: two turns of each CPU, and what one or all do. It takes about as
    // many random polls for a certain CPU to be polled as there are CPUs.
    let rounds = 2 * cpus + 10;
    let polls = 100 * rounds * cpus;

    match order {
        Order::Ascending => Ok((0..rounds).any(|_| (0..cpus).any(&mut poll))),
        Order::Descending => Ok((0..rounds).any(|_| (0..cpus).rev().any(&mut poll))),
        Order::Random(seed) => {
            let mut random = Random::new(seed);
            Ok((0..polls).any(|_| poll(random.below(cpus))))
        }
        Order::Bursts(seed) => {
            let mut random = Random::new(seed);
            Ok((0..polls).any(|_| {
                let index = random.below(cpus);
                (0..random.below(8) + 1).any(|_| poll(index))
            }))
        }
        Order::Digits { number, count } => {
            let mut number = number;
            let digits = (0..count).any(|_| {
                let index = number.checked_rem(cpus).unwrap_or(0);
                number = number.checked_div(cpus).unwrap_or(0);
                poll(index)
            });
            Ok(digits || (0..rounds).any(|_| (0..cpus).any(&mut poll)))
        }
    }
}
