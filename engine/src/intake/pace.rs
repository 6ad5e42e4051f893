//! How much is asked for at once, and how long an answer may take, where a link is slow.
//!
//! Answers come by the same connection as messages, behind all that is on the way. So no more is asked for than comes within
//! about a second, an answer is late only when nothing comes, and what makes reading pause for its answer is asked less
//! often the longer that takes. Pure, but for [`late`].

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

/// How long an answer may take at all.
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

/// Whether an answer is late, when so many bytes came in the last [`ANSWER_WITHIN`].
pub(super) fn is_late(waited: Duration, bytes: u64) -> bool {
    waited >= ANSWER_AT_LAST || (waited >= ANSWER_WITHIN && bytes < BUSY_BYTES)
}

/// Waits until an answer is late.
pub(super) async fn late(statistics: Arc<Statistics>) {
    let arrived = || statistics.in_bytes.load(Ordering::Relaxed);
    let (start, mut before) = (Instant::now(), arrived());
    loop {
        tokio::time::sleep(ANSWER_WITHIN).await;
        let now = arrived();
        if is_late(start.elapsed(), now.saturating_sub(before)) {
            return;
        }
        before = now;
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
    fn an_answer_is_late_when_nothing_comes_or_at_last() {
        let check = |seconds, bytes, expected| assert_eq!(is_late(Duration::from_secs(seconds), bytes), expected);
        check(4, 0, false);
        check(5, 0, true);
        check(5, 100, true);
        check(5, 100_000, false);
        check(55, 100_000, false);
        check(60, 100_000, true);
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
