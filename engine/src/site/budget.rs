//! The request budget of a site: how many requests a second its API server gets for objects, and when none.
//!
//! Start at [`Budget::take`]. It is a token bucket, kept as one moment (the generic cell rate algorithm, ITU-T I.371): when
//! the bucket would be full again. Where the server refuses a request because it has too many (429: API Priority and
//! Fairness, or its own limit), no request is made for the time that it names.
//!
//! Whose turn it is, is decided by the [queue](crate::queue), so nothing is taken from it while requests wait here: what
//! comes last and is urgent finds few before it. Never here: watches, and what a library asks for them.
//!
//! `governor` was refused: its clock is not that of the tests and the simulation, and a bucket is one comparison.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::cluster::Error;
use crate::status::BudgetStatus;

/// How many requests a site makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second in the long run; zero for no limit.
    pub per_second: u32,
    /// Requests at once after a pause; at least one.
    pub burst: u32,
}

impl Rate {
    /// More than a lifecycle engine needs from day to day, and less than what one client may take from an API server that
    /// others use too.
    pub const GENEROUS: Rate = Rate { per_second: 1_000, burst: 2_000 };
}

impl Default for Rate {
    /// No limit.
    fn default() -> Rate {
        Rate { per_second: 0, burst: 1 }
    }
}

/// The requests of one site.
#[derive(Default)]
pub(super) struct Budget {
    state: Mutex<State>,
    waiting: AtomicUsize,
    refused: AtomicU64,
}

/// When requests may be made.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    rate: Rate,
    /// When the bucket is full; `None` while it is.
    full: Option<Instant>,
    /// Until when the server wants none.
    closed_until: Option<Instant>,
}

impl Budget {
    pub(super) fn set(&self, rate: Rate) {
        self.state.lock().rate = rate;
    }

    /// Waits until a request may be made, and counts it.
    pub(super) async fn take(&self) {
        let now = Instant::now();
        let mut due = self.state.lock().take(now);
        if due <= now {
            return;
        }
        let _waiting = Waiting::new(&self.waiting);
        while due > Instant::now() {
            sleep_until(due).await;
            // Meanwhile the server may have asked for a pause.
            due = self.state.lock().closed_until.unwrap_or(due);
        }
    }

    /// When the next request can be made, where that is not now.
    pub(super) fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let due = self.state.lock().due(now);
        (due > now).then_some(due)
    }

    /// Takes in how a request ended.
    pub(super) fn note<T>(&self, called: &Result<T, Error>) {
        let Err(Error::Throttled { message, retry_after }) = called else { return };
        self.refused.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        if self.state.lock().close(now, *retry_after) {
            warn!(
                "the API server has too many requests, so none is made for {} s: {message}",
                retry_after.as_secs_f32()
            );
        }
    }

    /// For operators.
    pub(super) fn status(&self) -> BudgetStatus {
        let (state, now) = (*self.state.lock(), Instant::now());
        let pause = state.closed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        BudgetStatus {
            per_second: state.rate.per_second,
            burst: state.rate.burst,
            waiting: self.waiting.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            pause_seconds: pause.as_millis().div_ceil(1_000) as u64,
        }
    }
}

impl State {
    /// When a request could be made that is asked for now.
    fn due(&self, now: Instant) -> Instant {
        let opens = self.closed_until.unwrap_or(now).max(now);
        match (self.full, self.each()) {
            (Some(full), Some(each)) => {
                let burst = each * self.rate.burst.max(1);
                opens.max((full + each).checked_sub(burst).unwrap_or(now))
            }
            (None, _) | (_, None) => opens,
        }
    }

    /// Counts a request; when it may be made.
    fn take(&mut self, now: Instant) -> Instant {
        let due = self.due(now);
        self.full = self.each().map(|each| self.full.unwrap_or(now).max(now) + each);
        due
    }

    /// The server wants no requests for a while; whether that is news.
    fn close(&mut self, now: Instant, pause: Duration) -> bool {
        let is_news = self.closed_until.is_none_or(|until| until <= now);
        self.closed_until = Some(self.closed_until.unwrap_or(now).max(now + pause));
        is_news
    }

    /// The time that one request takes of the budget.
    fn each(&self) -> Option<Duration> {
        Duration::from_secs(1).checked_div(self.rate.per_second)
    }
}

/// A request that waits, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn new(count: &AtomicUsize) -> Waiting<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_each_request_waits_for_its_turn() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut state = State { rate: Rate { per_second: 10, burst: 3 }, ..State::default() };
        let mut check = |now: u64, expected: u64| {
            assert_eq!(state.due(at(now)), at(expected), "asked at {now} ms");
            assert_eq!(state.take(at(now)), at(expected), "taken at {now} ms");
        };
        for (now, expected) in [(0, 0), (0, 0), (0, 0), (0, 100), (0, 200), (250, 300), (1_000, 1_000), (1_000, 1_000)]
        {
            check(now, expected);
        }
        check(1_000, 1_000);
        check(1_000, 1_100);
    }

    #[test]
    fn a_server_that_has_too_many_requests_is_left_alone_with_or_without_a_limit() {
        for per_second in [0, 1_000] {
            let began = Instant::now();
            let mut state = State { rate: Rate { per_second, burst: 10 }, ..State::default() };
            assert_eq!(state.take(began), began);
            assert!(state.close(began, Duration::from_secs(3)), "it is news");
            assert!(!state.close(began, Duration::from_secs(1)), "it is known");
            assert_eq!(state.take(began), began + Duration::from_secs(3));
            let later = began + Duration::from_secs(4);
            assert_eq!(state.take(later), later);
            assert!(state.close(later, Duration::from_secs(1)), "it is news again");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_counted_and_waits_longer_where_the_server_asks_for_it() {
        let budget = Budget::default();
        budget.set(Rate { per_second: 1, burst: 1 });
        budget.take().await;
        assert!(budget.due().is_some());
        let refused = || Err::<(), _>(Error::Throttled { message: String::new(), retry_after: Duration::from_secs(5) });
        let began = Instant::now();
        let look = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(budget.status().waiting, 1);
            budget.note(&refused());
            assert_eq!((budget.status().refused, budget.status().pause_seconds), (1, 5));
        };
        tokio::join!(budget.take(), look);
        assert_eq!(began.elapsed(), Duration::from_millis(5_500));
        assert_eq!(budget.status().waiting, 0);
    }
}
