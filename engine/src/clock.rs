//! The time, handed in: nothing in this crate asks the machine for it.
//!
//! Waiting is done with tokio's timers, which a simulation pauses; [`SimulatedClock`] gives the wall time that belongs
//! to them. Durations inside a decision are never measured.

mod believed;

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use self::believed::moment;
pub use self::believed::{Believed, DOUBTED_FOR, JUMP_NANOS};

/// Gives the wall time.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since 1970, UTC. May step backwards when the machine's clock is set; the log keeps its records' times
    /// from doing so.
    fn now_unix_nanos(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_unix_nanos(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The time of a simulation: a fixed start, plus what tokio's paused timers have advanced.
#[derive(Debug, Clone, Copy)]
pub struct SimulatedClock {
    start_unix_nanos: u64,
    started: tokio::time::Instant,
}

impl SimulatedClock {
    /// A clock that shows `start_unix_nanos` now. Has to be made inside the simulation's runtime.
    #[must_use]
    pub fn starting_at(start_unix_nanos: u64) -> SimulatedClock {
        SimulatedClock { start_unix_nanos, started: tokio::time::Instant::now() }
    }
}

impl Clock for SimulatedClock {
    fn now_unix_nanos(&self) -> u64 {
        let advanced = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.start_unix_nanos.saturating_add(advanced)
    }
}
