//! The breaker of a site: it holds work back while the cluster does not answer, until a cheap question is answered again.
//!
//! Start at [`Breaker::note`]. Any answer closes it, a refusal too: only silence counts. So a webhook that hangs for one kind
//! of object does not keep the others back for long: the question is not about an object.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::cluster::Error;

/// Calls in a row without an answer that open the breaker: more than one request that went astray, fewer than a full
/// set of workers sends at once.
const UNANSWERED_MAX: u32 = 10;

/// The first pause before the cluster is asked whether it answers; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// The longest pause before the cluster is asked again.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Whether a cluster answers, as far as its last calls show.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

/// What the last calls showed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Work goes on. The last so many calls had no answer.
    Closed { unanswered: u32 },
    /// No work is begun.
    Open {
        /// When the cluster is asked next.
        due: Instant,
        /// The pause that ends then.
        pause: Duration,
        /// What the last call without an answer said.
        because: String,
    },
}

impl Default for State {
    fn default() -> State {
        State::Closed { unanswered: 0 }
    }
}

impl Breaker {
    /// Takes in how a call ended.
    pub(super) fn note<T>(&self, called: &Result<T, Error>) {
        let mut state = self.0.lock();
        match called {
            Err(Error::Unavailable { message, retry_after, .. }) => {
                *state = state.unanswered(Instant::now(), message, retry_after.unwrap_or_default());
            }
            Ok(_) | Err(_) => *state = State::default(),
        }
    }

    /// When the cluster has to be asked whether it answers; `None` while work goes on.
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
    /// The state after a call without an answer; the server may have asked to be left alone for a while.
    fn unanswered(&self, now: Instant, message: &str, asked: Duration) -> State {
        let pause = match self {
            State::Closed { unanswered } if unanswered + 1 < UNANSWERED_MAX => {
                return State::Closed { unanswered: unanswered + 1 };
            }
            State::Closed { .. } => PAUSE_MIN,
            // Calls that were under way when it opened end one by one. They say nothing new.
            State::Open { due, .. } if now < *due => return self.clone(),
            State::Open { pause, .. } => (*pause * 2).min(PAUSE_MAX),
        };
        let pause = pause.max(asked.min(PAUSE_MAX));
        State::Open { due: now + pause, pause, because: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_in_a_row_opens_it_and_the_pauses_grow() {
        let began = Instant::now();
        let open = |due_millis: u64, pause_millis: u64| State::Open {
            due: began + Duration::from_millis(due_millis),
            pause: Duration::from_millis(pause_millis),
            because: "refused".to_owned(),
        };
        let closed = |unanswered| State::Closed { unanswered };
        let check = |before: State, at_millis: u64, asked_millis: u64, after: State| {
            let (at, asked) = (began + Duration::from_millis(at_millis), Duration::from_millis(asked_millis));
            assert_eq!(before.unanswered(at, "refused", asked), after, "{before:?} at {at_millis} ms");
        };
        check(closed(0), 0, 0, closed(1));
        check(closed(8), 0, 0, closed(9));
        check(closed(9), 0, 0, open(250, 250));
        check(closed(9), 0, 3_000, open(3_000, 3_000));
        check(closed(9), 0, 3_600_000, open(10_000, 10_000));
        // A call that was under way when it opened.
        check(open(250, 250), 249, 0, open(250, 250));
        check(open(250, 250), 250, 0, open(750, 500));
        check(open(9_000, 8_000), 9_000, 0, open(19_000, 10_000));
    }

    #[test]
    fn any_answer_closes_it() {
        let silent = || Err::<(), _>(Error::Unavailable { message: "refused".into(), retry_after: None, source: None });
        let answers: [fn() -> Result<(), Error>; 3] = [|| Ok(()), || Err(Error::Gone), || Err(Error::invalid("no"))];
        for answer in answers {
            let breaker = Breaker::default();
            (0..UNANSWERED_MAX).for_each(|_| breaker.note(&silent()));
            assert_eq!(breaker.because().as_deref(), Some("refused"));
            breaker.note(&answer());
            assert_eq!((breaker.because(), breaker.due()), (None, None));
        }
    }
}
