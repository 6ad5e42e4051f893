//! [`Believed`]: the clock of the machine, as far as it can be believed.
//!
//! A machine may show another year for a moment: a battery is empty, a virtual machine is restored, somebody types a
//! wrong number. Times in a log never fall, so one record with the time of 2066 would give that time to all that
//! follow. So a jump, ahead or back, is not followed at once: until it has lasted for a while, time goes on from what
//! was believed before.
//!
//! The limit: what the clock shows when the engine starts is believed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Clock;

/// A clock that is off by no more than this is followed. Machines sleep over a weekend, and their timers do not count that.
pub const JUMP_NANOS: u64 = 3 * 24 * 3_600 * 1_000_000_000;

/// How long a jump is not followed.
pub const DOUBTED_FOR: Duration = Duration::from_secs(600);

/// A clock that follows another one, but not where that jumps.
pub struct Believed {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// What was read, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// The last time that was believed, in nanoseconds since 1970, and when it was read.
    known: (u64, Instant),
    /// Since when the clock is doubted.
    doubted: Option<Instant>,
}

impl State {
    /// What time it is, where the clock shows this.
    fn believe(&mut self, shown_unix_nanos: u64, now: Instant) -> u64 {
        let (known, at) = self.known;
        let passed = u64::try_from(now.saturating_duration_since(at).as_nanos()).unwrap_or(u64::MAX);
        let expected = known.saturating_add(passed);
        if shown_unix_nanos.abs_diff(expected) > JUMP_NANOS {
            let since = *self.doubted.get_or_insert(now);
            if now.saturating_duration_since(since) < DOUBTED_FOR {
                return expected;
            }
        }
        *self = State { known: (shown_unix_nanos, now), doubted: None };
        shown_unix_nanos
    }
}

impl Believed {
    /// Follows a clock; what it shows now is believed.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Believed {
        let known = (clock.now_unix_nanos(), Instant::now());
        Believed { clock, state: Mutex::new(State { known, doubted: None }) }
    }

    /// That the clock is doubted now, for operators.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let believed = self.now_unix_nanos();
        let shown = self.clock.now_unix_nanos();
        self.state.lock().doubted.map(|_| warning(shown, believed))
    }
}

impl Clock for Believed {
    fn now_unix_nanos(&self) -> u64 {
        let (shown, now) = (self.clock.now_unix_nanos(), Instant::now());
        let mut state = self.state.lock();
        let before = state.doubted.is_some();
        let believed = state.believe(shown, now);
        let is_doubted = state.doubted.is_some();
        drop(state);
        match (before, is_doubted) {
            (false, true) => tracing::warn!("{}", warning(shown, believed)),
            (true, false) => tracing::warn!("the clock of this machine is believed again: it is {}", moment(believed)),
            (true, true) | (false, false) => {}
        }
        believed
    }
}

fn warning(shown: u64, believed: u64) -> String {
    format!(
        "the clock of this machine jumped to {}: records get times around {} until it is back, or stays there for {} min\nhint: look \
         at the time service of this machine",
        moment(shown),
        moment(believed),
        DOUBTED_FOR.as_secs() / 60
    )
}

/// A time as people read it, in whole seconds.
pub(crate) fn moment(unix_nanos: u64) -> String {
    let seconds = i64::try_from(unix_nanos / 1_000_000_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_780_000_000_000_000_000;
    const SECOND: u64 = 1_000_000_000;
    const YEARS: u64 = 40 * 365 * 24 * 3_600 * SECOND;

    /// Reads one after the other: so many seconds after the start, what the clock shows beside the true time, and whether that is
    /// believed.
    #[track_caller]
    fn check(reads: &[(u64, i64, bool)]) {
        let begun = Instant::now();
        let mut state = State { known: (START, begun), doubted: None };
        for (seconds, off, is_believed) in reads {
            let true_time = START + seconds * SECOND;
            let shown = true_time.saturating_add_signed(*off);
            let told = state.believe(shown, begun + Duration::from_secs(*seconds));
            assert_eq!((told == shown, state.doubted.is_none()), (*is_believed, *is_believed), "after {seconds} s");
        }
    }

    #[test]
    fn a_jump_is_followed_only_once_it_has_lasted() {
        let years = i64::try_from(YEARS).unwrap();
        let day = i64::try_from(24 * 3_600 * SECOND).unwrap();
        check(&[(1, 0, true), (60, day, true), (61, 0, true), (3_600, -day, true)]);
        // Ahead and back, with no question in between.
        check(&[(1, years, false), (2, 0, true), (900, years, false), (1_499, years, false), (1_500, 0, true)]);
        check(&[(1, -years, false), (300, -years, false), (599, 0, true)]);
        // It stays there.
        check(&[(1, years, false), (600, years, false), (601, years, true), (602, years, true), (603, 0, false)]);
        // Nobody asked for hours.
        check(&[(86_400, 0, true), (90_000, years, false)]);

        let begun = Instant::now();
        let mut state = State { known: (START, begun), doubted: None };
        let told = state.believe(START + YEARS, begun + Duration::from_secs(7));
        assert_eq!(told, START + 7 * SECOND, "time goes on meanwhile");
    }
}
