//! How much is asked for at once, and how long an answer may take, where a link is slow.
//!
//! Answers come by the same connection as messages, behind all that is on the way. So no more is asked for than comes within
//! about a second, an answer is late only when nothing comes, and what makes reading pause for its answer is asked less
//! often the longer that takes. Pure, but for [`late`] and [`Heard`].
//!
//! One large message may take long, and everything else comes after it. So bytes that arrive show that the link works, not only
//! whole messages; the client counts them as it reads them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Statistics;
use tokio::time::Instant;

/// Bytes of the first pull: few enough for a slow link, and a fast one has doubled them within milliseconds.
pub(super) const BYTES_FIRST: usize = 64 << 10;

/// Bytes of a pull, at least.
const BYTES_MIN: usize = 16 << 10;

/// A pull that took less is made larger. Two are on the way, so an answer that takes half a second is not taken for a slow link.
const SHORT: Duration = Duration::from_millis(250);

/// A pull that took longer is made smaller.
const LONG: Duration = Duration::from_secs(1);

/// How long an answer may take when nothing else comes.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long an answer may take on a busy link, once more came than can have been before it.
pub(super) const ANSWER_AT_LAST: Duration = Duration::from_secs(60);

/// Bytes that tell in [`ANSWER_WITHIN`] that a link is busy. Signs of life are fewer.
const BUSY_BYTES: u64 = 16 << 10;

/// A question that reading waits for takes up at most such a part of the time.
const PART: u32 = 10;

/// The longest pause between such questions, unless it is longer usually.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The bytes of the next pull, after one of so many took so long while more was waiting.
pub(super) fn next_bytes(bytes: usize, took: Duration, bytes_max: usize) -> usize {
    match took {
        short if short < SHORT => larger(bytes, bytes_max),
        long if long > LONG => (bytes / 2).max(BYTES_MIN),
        _ => bytes,
    }
}

/// The bytes of the next pull, after one that had no room for a single message.
pub(super) fn larger(bytes: usize, bytes_max: usize) -> usize {
    (bytes * 2).min(bytes_max)
}

/// What came while something is awaited, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrived {
    /// In the last [`ANSWER_WITHIN`].
    lately: u64,
    /// Since it is awaited.
    since: u64,
    /// What can be on the way before it.
    before: u64,
}

/// Whether what has been awaited for so long is late: nothing else comes, or all that can be before it came long ago.
pub(super) fn is_late(waited: Duration, arrived: Arrived) -> bool {
    let Arrived { lately, since, before } = arrived;
    (waited >= ANSWER_WITHIN && lately < BUSY_BYTES) || (waited >= ANSWER_AT_LAST && since > before)
}

/// Waits until an answer is late, where so many bytes can be on the way before it.
pub(super) async fn late(statistics: Arc<Statistics>, before: u64) {
    let mut heard = Heard::new(statistics);
    loop {
        tokio::time::sleep_until(heard.look_at()).await;
        if heard.is_silent(before) {
            return;
        }
    }
}

/// When something that was awaited last came, and the bytes of the connection since then.
pub(super) struct Heard {
    statistics: Arc<Statistics>,
    at: (Instant, u64),
    looked: (Instant, u64),
}

impl Heard {
    /// Of the connection that counts with these, from now on.
    pub(super) fn new(statistics: Arc<Statistics>) -> Heard {
        let now = (Instant::now(), statistics.in_bytes.load(Ordering::Relaxed));
        Heard { statistics, at: now, looked: now }
    }

    /// It came.
    pub(super) fn note(&mut self) {
        self.at = (Instant::now(), self.statistics.in_bytes.load(Ordering::Relaxed));
        self.looked = self.at;
    }

    /// When it is to be asked whether the connection is silent.
    pub(super) fn look_at(&self) -> Instant {
        self.looked.0 + ANSWER_WITHIN
    }

    /// Whether it should have come by now, where so many bytes can be on the way before it.
    pub(super) fn is_silent(&mut self, before: u64) -> bool {
        let (now, bytes) = (Instant::now(), self.statistics.in_bytes.load(Ordering::Relaxed));
        let (lately, since) = (bytes.saturating_sub(self.looked.1), bytes.saturating_sub(self.at.1));
        self.looked = (now, bytes);
        is_late(now.duration_since(self.at.0), Arrived { lately, since, before })
    }
}

/// The pause before the next question, after one that took so long.
pub(super) fn pause_after(took: Duration, usual: Duration) -> Duration {
    (took * PART).min(PAUSE_MAX).max(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_settle_at_about_a_second_on_any_link() {
        /// Bytes of a pull after 50 of them, two being on the way, on a link that carries so much and answers so late.
        #[track_caller]
        fn check(bytes_per_second: u64, answer_ms: u64, expected: std::ops::RangeInclusive<usize>) {
            let bytes = (0..50).fold(BYTES_FIRST, |bytes, _| {
                let carried = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
                next_bytes(bytes, carried.max(Duration::from_millis(answer_ms / 2)), 32 << 20)
            });
            assert!(expected.contains(&bytes), "{bytes} at {bytes_per_second}/s");
        }
        check(1_000, 1, BYTES_MIN..=BYTES_MIN);
        check(50_000, 1, 25_000..=50_000);
        check(200_000, 1, 50_000..=200_000);
        check(1_500_000, 1, 375_000..=1_500_000);
        check(1_000_000_000, 1, 32 << 20..=32 << 20);
        // Far away is not slow.
        check(1_000_000_000, 400, 32 << 20..=32 << 20);
    }

    #[test]
    fn an_answer_is_late_when_nothing_comes_or_after_all_that_can_be_before_it() {
        #[track_caller]
        fn check(seconds: u64, lately: u64, since: u64, expected: bool) {
            let arrived = Arrived { lately, since, before: 2 << 20 };
            assert_eq!(is_late(Duration::from_secs(seconds), arrived), expected, "{seconds} s, {arrived:?}");
        }
        check(4, 0, 0, false);
        check(5, 0, 0, true);
        check(5, 100, 100, true);
        check(5, 100_000, 100_000, false);
        check(55, 100_000, 1_100_000, false);
        // A link that is fast: what is before it would be here.
        check(59, 50_000_000, 600_000_000, false);
        check(60, 50_000_000, 600_000_000, true);
        // One that carries a large message.
        check(60, 20_000, 240_000, false);
        check(300, 20_000, 1_200_000, false);
        check(300, 0, 1_200_000, true);
        check(600, 20_000, 2_400_000, true);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_of_a_message_that_is_not_complete_are_life() {
        let statistics = Arc::new(Statistics::default());
        let mut heard = Heard::new(statistics.clone());
        for (bytes, expected) in [(500_000, false), (500_000, false), (100, true)] {
            statistics.in_bytes.fetch_add(bytes, Ordering::Relaxed);
            tokio::time::advance(ANSWER_WITHIN).await;
            assert_eq!(heard.is_silent(1 << 20), expected, "{bytes}");
        }
    }

    #[test]
    fn what_takes_long_is_asked_less_often() {
        let check = |took_ms, expected_ms| {
            let pause = pause_after(Duration::from_millis(took_ms), Duration::from_secs(2));
            assert_eq!(pause, Duration::from_millis(expected_ms));
        };
        check(1, 2_000);
        check(700, 7_000);
        check(9_000, 30_000);
    }
}
