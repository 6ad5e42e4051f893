//! The request budget of a site: how many requests a second its API server gets for objects, and when none.
//!
//! Start at [`Budget::take`]. It is a token bucket, kept as one moment (the generic cell rate algorithm, ITU-T I.371): when
//! the bucket would be full again. Where the server refuses a request because it has too many (429: API Priority and
//! Fairness, or its own limit), no request is made for the time that it names. Requests then begin slowly, and their
//! rate doubles each second, whatever the limit: if all that waited came at once, it would be refused again.
//!
//! What nobody waits for (plans, dry runs, orphans) takes from the upper half of the bucket, and only while nothing else waits.
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

/// The time between two requests when a server takes some again after it had too many. It is halved each second.
const SLOW: Duration = Duration::from_millis(20);

/// Below this it limits nothing.
const SLOW_MIN: Duration = Duration::from_millis(1);

/// How long a request that nobody waits for is put off at most, and how soon it looks again.
const LAST_AFTER: Duration = Duration::from_secs(5);
const LAST_LOOK: Duration = Duration::from_millis(20);

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
    /// How often that was put off. The turn of a request that waited then is void.
    closings: u64,
}

impl Budget {
    pub(super) fn set(&self, rate: Rate) {
        self.state.lock().rate = rate;
    }

    /// Waits until a request may be made, and counts it.
    pub(super) async fn take(&self) {
        let now = Instant::now();
        let (mut due, mut closings) = self.state.lock().turn(now);
        if due <= now {
            return;
        }
        let _waiting = Waiting::new(&self.waiting);
        loop {
            sleep_until(due).await;
            let mut state = self.state.lock();
            if state.closings == closings {
                return;
            }
            (due, closings) = state.turn(Instant::now());
        }
    }

    /// The same for a request that nobody waits for.
    pub(super) async fn take_last(&self) {
        let until = Instant::now() + LAST_AFTER;
        loop {
            let now = Instant::now();
            let due = self.state.lock().due_last(now);
            let is_busy = self.waiting.load(Ordering::Relaxed) > 0;
            if now >= until || (due <= now && !is_busy) {
                break;
            }
            sleep_until(due.max(now + LAST_LOOK).min(until)).await;
        }
        self.take().await;
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
        self.due_with(now, self.burst(now))
    }

    /// The same for a request that leaves half of the bucket to others.
    fn due_last(&self, now: Instant) -> Instant {
        self.due_with(now, self.burst(now).div_ceil(2))
    }

    fn due_with(&self, now: Instant, burst: u32) -> Instant {
        let opens = self.closed_until.unwrap_or(now).max(now);
        match (self.full, self.each(now)) {
            (Some(full), Some(each)) => opens.max((full + each).checked_sub(each * burst).unwrap_or(now)),
            (None, _) | (_, None) => opens,
        }
    }

    /// Counts a request; when it may be made.
    fn take(&mut self, now: Instant) -> Instant {
        let due = self.due(now);
        self.full = self.each(now).map(|each| self.full.unwrap_or(now).max(now) + each);
        due
    }

    /// The same, with what tells whether it still counts later.
    fn turn(&mut self, now: Instant) -> (Instant, u64) {
        (self.take(now), self.closings)
    }

    /// The server wants no requests for a while; whether that is news.
    fn close(&mut self, now: Instant, pause: Duration) -> bool {
        let is_news = self.closed_until.is_none_or(|until| until <= now);
        let until = now + pause;
        if self.closed_until.is_none_or(|before| before < until) {
            // Requests that wait queue again, and go one after the other from then on.
            (self.closed_until, self.full) = (Some(until), Some(until));
            self.closings += 1;
        }
        is_news
    }

    /// The time that one request takes of the budget.
    fn each(&self, now: Instant) -> Option<Duration> {
        let limit = Duration::from_secs(1).checked_div(self.rate.per_second);
        limit.max(self.slow(now))
    }

    /// Requests at once after a pause.
    fn burst(&self, now: Instant) -> u32 {
        if self.slow(now).is_some() { 1 } else { self.rate.burst.max(1) }
    }

    /// The time between two requests because the server had too many not long ago.
    fn slow(&self, now: Instant) -> Option<Duration> {
        let seconds = now.saturating_duration_since(self.closed_until?).as_secs();
        let slow = SLOW / 2_u32.pow(seconds.min(16) as u32);
        (slow >= SLOW_MIN).then_some(slow)
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

    #[test]
    fn after_a_pause_requests_come_one_after_the_other_and_faster_each_second() {
        for (per_second, burst) in [(0, 1), (1_000, 2_000)] {
            let began = Instant::now();
            let at = |millis| began + Duration::from_millis(millis);
            let mut state = State { rate: Rate { per_second, burst }, ..State::default() };
            state.close(began, Duration::from_secs(1));
            // All that waited takes a turn.
            let turns: Vec<Instant> = (0..4).map(|_| state.take(at(500))).collect();
            assert_eq!(turns, [1_000, 1_020, 1_040, 1_060].map(at), "{per_second}");
            let [first, second] = [state.take(at(2_500)), state.take(at(2_500))];
            assert_eq!([first, second], [at(2_500), at(2_510)], "{per_second}");
            // And then as ever.
            let burst: Vec<Instant> = (0..10).map(|_| state.take(at(10_000))).collect();
            assert!(burst.iter().all(|turn| *turn == at(10_000)), "{per_second} {burst:?}");
        }
    }

    #[test]
    fn what_nobody_waits_for_leaves_half_of_the_bucket() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut state = State { rate: Rate { per_second: 10, burst: 4 }, ..State::default() };
        assert_eq!(state.due_last(began), began);
        state.take(began);
        assert_eq!(state.due_last(began), began);
        state.take(began);
        assert_eq!((state.due(began), state.due_last(began)), (began, at(100)));
        let free = State { rate: Rate::default(), ..State::default() };
        assert_eq!(free.due_last(began), began);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_comes_after_all_others_and_comes() {
        let budget = Budget::default();
        budget.set(Rate { per_second: 1, burst: 1 });
        budget.take().await;
        let began = Instant::now();
        let after = async |last: bool| {
            if last {
                budget.take_last().await
            } else {
                budget.take().await
            }
            began.elapsed().as_secs()
        };
        let [last, ..] = futures::future::join_all([true, false, false].map(after)).await[..] else { unreachable!() };
        assert_eq!(last, 3, "it comes after both");
        let busy = async {
            for _ in 0..10 {
                budget.take().await;
            }
        };
        let (_, ()) = tokio::join!(busy, budget.take_last());
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
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
