//! The breaker of a site: it holds work back while the cluster is unavailable, until a cheap question is answered again.
//!
//! Start at [`Breaker::note_call`] and [`Breaker::note_check`]. What counts is [`Error::Unavailable`]: no answer, or
//! one such as 503 that says to come back later. Any other answer closes the breaker, a refusal too; what follows from one
//! that there are too many requests is in the [budget](super::budget). A webhook
//! that fails for one kind of object may open it as well, but not for long: the question is not about an object. What
//! hangs for one kind is held back by the [bulkhead](super::bulkhead).

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::cluster::Error;

/// Calls in a row that find the cluster unavailable and open the breaker: more than a few lost requests, fewer than the
/// workers of a site send at once.
const UNAVAILABLE_MAX: u32 = 10;

/// The first pause before the cluster is asked whether it is available; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// The longest pause before the cluster is asked again.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Whether a cluster is available, as far as its last calls show.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

/// What the last calls showed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Work goes on. The last so many calls found the cluster unavailable.
    Closed { unavailable: u32 },
    /// No work is begun.
    Open {
        /// When the cluster is asked next.
        due: Instant,
        /// The pause that ends then.
        pause: Duration,
        /// What the last of these calls said.
        because: String,
    },
}

impl Default for State {
    fn default() -> State {
        State::Closed { unavailable: 0 }
    }
}

impl Breaker {
    /// Takes in how a call about an object ended.
    pub(super) fn note_call<T>(&self, called: &Result<T, Error>) {
        self.note(called, State::after_call);
    }

    /// Takes in how the question ended whether the cluster is available.
    pub(super) fn note_check(&self, checked: &Result<(), Error>) {
        self.note(checked, State::after_check);
    }

    /// Takes in how the question ended while there was no work: nothing is lost when it opens for one request that was.
    pub(super) fn note_idle_check(&self, checked: &Result<(), Error>) {
        self.note(checked, |state, now, message, asked| match state {
            State::Closed { .. } => State::open(now, PAUSE_MIN, message, asked),
            State::Open { .. } => state.clone(),
        });
    }

    fn note<T>(&self, called: &Result<T, Error>, after: fn(&State, Instant, &str, Duration) -> State) {
        let mut state = self.0.lock();
        match called {
            Err(Error::Unavailable { message, retry_after, .. }) => {
                *state = after(&state, Instant::now(), message, retry_after.unwrap_or_default());
            }
            Ok(_) | Err(_) => *state = State::default(),
        }
    }

    /// When the cluster has to be asked whether it is available; `None` while work goes on.
    pub(super) fn due(&self) -> Option<Instant> {
        match &*self.0.lock() {
            State::Closed { .. } => None,
            State::Open { due, .. } => Some(*due),
        }
    }

    /// Why no work is begun; `None` while it goes on.
    pub(super) fn because(&self) -> Option<String> {
        match &*self.0.lock() {
            State::Closed { .. } => None,
            State::Open { because, .. } => Some(because.clone()),
        }
    }
}

impl State {
    /// The state after a call that found the cluster unavailable; the server may have asked to be left alone for a while.
    fn after_call(&self, now: Instant, message: &str, asked: Duration) -> State {
        match self {
            State::Closed { unavailable } if unavailable + 1 < UNAVAILABLE_MAX => {
                State::Closed { unavailable: unavailable + 1 }
            }
            State::Closed { .. } => State::open(now, PAUSE_MIN, message, asked),
            // Calls that were under way when it opened end one by one, up to 35 s later. They say nothing new.
            State::Open { .. } => self.clone(),
        }
    }

    /// The state after the question found it unavailable.
    fn after_check(&self, now: Instant, message: &str, asked: Duration) -> State {
        match self {
            // A call was answered meanwhile.
            State::Closed { .. } => self.clone(),
            State::Open { pause, .. } => State::open(now, *pause * 2, message, asked),
        }
    }

    fn open(now: Instant, pause: Duration, message: &str, asked: Duration) -> State {
        let pause = pause.max(asked).min(PAUSE_MAX);
        State::Open { due: now + pause, pause, because: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unavailable_calls_in_a_row_open_it_and_the_pauses_grow() {
        let began = Instant::now();
        let after = Duration::from_millis;
        let closed = |unavailable| State::Closed { unavailable };
        let open = |due: u64, pause: u64| State::Open {
            due: began + after(due),
            pause: after(pause),
            because: "refused".to_owned(),
        };
        let call = |before: State, at: u64, asked: u64, expected: State| {
            assert_eq!(before.after_call(began + after(at), "refused", after(asked)), expected, "{before:?}, {at} ms");
        };
        let check = |before: State, at: u64, asked: u64, expected: State| {
            assert_eq!(before.after_check(began + after(at), "refused", after(asked)), expected, "{before:?}, {at} ms");
        };
        call(closed(0), 0, 0, closed(1));
        call(closed(8), 0, 0, closed(9));
        call(closed(9), 0, 0, open(250, 250));
        call(closed(9), 0, 3_000, open(3_000, 3_000));
        call(closed(9), 0, 3_600_000, open(10_000, 10_000));
        // Calls that were under way when it opened.
        call(open(250, 250), 249, 0, open(250, 250));
        call(open(250, 250), 20_000, 0, open(250, 250));
        check(open(250, 250), 250, 0, open(750, 500));
        check(open(250, 250), 250, 7_000, open(7_250, 7_000));
        check(open(9_000, 8_000), 9_000, 0, open(19_000, 10_000));
        check(closed(0), 9_000, 0, closed(0));
    }

    #[test]
    fn any_other_answer_closes_it() {
        let silent = || Err::<(), _>(Error::Unavailable { message: "refused".into(), retry_after: None, source: None });
        let answers: [fn() -> Result<(), Error>; 3] = [|| Ok(()), || Err(Error::Gone), || Err(Error::invalid("no"))];
        for answer in answers {
            let breaker = Breaker::default();
            (0..UNAVAILABLE_MAX).for_each(|_| breaker.note_call(&silent()));
            assert_eq!(breaker.because().as_deref(), Some("refused"));
            breaker.note_check(&answer());
            assert_eq!((breaker.because(), breaker.due()), (None, None));
        }
    }
}
