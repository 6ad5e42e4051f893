//! [`Chance`]: every coin that a simulated world flips, drawn from its seed.
//!
//! Never a default source of chance: two worlds of one seed are the same world.

use std::time::Duration;

use lifeline_store::Random;
use parking_lot::Mutex;

/// A sequence of random choices that may be shared.
#[derive(Debug)]
pub struct Chance(Mutex<Random>);

impl Chance {
    /// The sequence of a seed for one purpose: what one part of a world draws shifts nothing in another.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Chance {
        let mut random = Random::new(seed);
        let spread = random.next();
        Chance(Mutex::new(Random::new(spread ^ purpose.wrapping_mul(0x2545_F491_4F6C_DD1D))))
    }

    /// A number below `limit`, which must not be zero.
    pub fn below(&self, limit: u64) -> u64 {
        self.0.lock().below(limit)
    }

    /// True once in `count` times.
    pub fn one_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// A duration of whole milliseconds below `limit`.
    pub fn millis_below(&self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit))
    }

    /// One of several.
    pub fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        let index = self.below(choices.len() as u64);
        &choices[usize::try_from(index).expect("an index fits")]
    }
}
