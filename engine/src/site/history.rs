//! When a site may be worked for: once what waited in its streams at the connection is recorded.
//!
//! A logout that is recorded may be followed by a login that still waits in the stream. If the engine was away, or its
//! volume is lost and history is read from the beginning, then each logout on the way would delete what lives. So
//! nothing is done in the cluster of a site before its history is read, nor while another engine reads it and acts on
//! it. Where reading makes no progress for long (a server that does not come back, a right that is missing), the engine
//! acts on what is recorded, and says so.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::IntakeState;
use crate::intake::history::History;
use crate::intake::reader::{self, Phase};
use crate::status::HistoryStatus;

/// How often it is looked whether history is read by now.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits for the history of a site.
#[derive(Debug, Default)]
pub(super) struct Wait {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How long it is waited without progress; `None` does not wait.
    patience: Option<Duration>,
    /// What was unread at the last look, and since when no less is.
    unread: Option<(Unread, Instant)>,
    /// Whether it was given up: the patience is over.
    is_given_up: bool,
}

/// What is not recorded of the history of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unread {
    /// Messages, as far as they are known.
    messages: u64,
    /// Last sequences that were delivered, all streams together: it tells progress.
    delivered: u64,
    /// What is not read, in words.
    what: Vec<String>,
    /// Whether another engine reads a part of it: then that one acts on it.
    is_elsewhere: bool,
}

impl Unread {
    /// Whether another engine reads a part of it.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// What is unread at these servers; `None` where nothing is.
    pub(super) fn at<'s>(servers: impl Iterator<Item = (&'s String, &'s IntakeState)>) -> Option<Unread> {
        let (mut unread, mut is_known) = (Unread::default(), false);
        for (server, state) in servers {
            is_known = true;
            match state {
                IntakeState::Waiting(why) => unread.what.push(format!("NATS is not connected ({why})")),
                IntakeState::Running(status) => {
                    let status = status.borrow();
                    if !status.complete {
                        let why = status.trouble.as_deref().unwrap_or("streams are looked for");
                        unread.what.push(format!("{server}: {why}"));
                    }
                    status.readers.values().for_each(|reader| unread.add(reader));
                }
            }
        }
        if !is_known {
            unread.what.push("NATS is not connected".to_owned());
        }
        (!unread.what.is_empty()).then_some(unread)
    }

    fn add(&mut self, reader: &watch::Receiver<reader::Status>) {
        let reader = reader.borrow();
        self.delivered += reader.delivered_sequence;
        match reader.history {
            // Plain subscriptions read its subjects: the stream is not there, or has nothing for us.
            _ if reader.phase == Phase::Paused => {}
            History::Recorded => {}
            History::Unknown => self.what.push(format!("stream `{}` is being opened", reader.stream)),
            History::Elsewhere => {
                self.is_elsewhere = true;
                self.what.push(format!("stream `{}` is read by another engine", reader.stream));
            }
            History::Unread { until } => {
                self.messages += until.saturating_sub(reader.delivered_sequence);
                self.what.push(format!("stream `{}`", reader.stream));
            }
        }
    }
}

impl Wait {
    /// Waits from here on, so long without progress.
    pub(super) fn set_patience(&self, patience: Duration) {
        self.state.lock().patience = (!patience.is_zero()).then_some(patience);
    }

    /// Whether it is waited, with what is unread now.
    pub(super) fn is_waited(&self, cluster: &str, look: impl FnOnce() -> Option<Unread>) -> bool {
        let mut state = self.state.lock();
        let (now, before) = (Instant::now(), state.unread.take());
        let Some(unread) = look().filter(|unread| unread.is_elsewhere || state.patience.is_some()) else {
            state.is_given_up = false;
            return false;
        };
        let patience = state.patience.filter(|_| !unread.is_elsewhere);
        let since = match before {
            Some((before, since)) if before.delivered == unread.delivered => since,
            before => {
                if before.is_none() {
                    let what = unread.what.join(", ");
                    tracing::info!(cluster, what, "nothing is applied or deleted before what waits is read");
                }
                state.is_given_up = false;
                now
            }
        };
        if let Some(patience) = patience.filter(|patience| !state.is_given_up && now.duration_since(since) >= *patience)
        {
            state.is_given_up = true;
            let (what, seconds) = (unread.what.join(", "), patience.as_secs());
            tracing::warn!(
                cluster,
                what,
                "what waits could not be read for {seconds} s: the engine acts on what is recorded"
            );
        }
        let is_waited = unread.is_elsewhere || !state.is_given_up;
        state.unread = Some((unread, since));
        is_waited
    }

    /// What is waited for, for operators.
    pub(super) fn status(&self) -> Option<HistoryStatus> {
        let state = self.state.lock();
        let (unread, since) = state.unread.as_ref()?;
        Some(HistoryStatus {
            messages: unread.messages,
            what: unread.what.clone(),
            seconds: since.elapsed().as_secs(),
            given_up: state.is_given_up,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::intake::streams;

    fn running(readers: &[(&str, History, u64)]) -> IntakeState {
        let readers = readers.iter().map(|(stream, history, delivered)| {
            let status = reader::Status {
                stream: (*stream).to_owned(),
                phase: Phase::Reading,
                delivered_sequence: *delivered,
                history: *history,
                ..reader::Status::default()
            };
            ((*stream).to_owned(), watch::channel(status).1)
        });
        let status = streams::Status { complete: true, readers: readers.collect(), ..streams::Status::default() };
        IntakeState::Running(watch::channel(status).1)
    }

    fn unread(state: IntakeState) -> Option<Unread> {
        Unread::at(BTreeMap::from([("nats".to_owned(), state)]).iter())
    }

    #[test]
    fn all_streams_of_all_servers_are_waited_for() {
        assert!(Unread::at(BTreeMap::new().iter()).is_some(), "no server is known yet");
        assert!(unread(IntakeState::Waiting("refused".to_owned())).is_some());
        assert!(unread(IntakeState::Running(watch::channel(streams::Status::default()).1)).is_some());
        assert!(unread(running(&[("A", History::Recorded, 9), ("B", History::Unknown, 0)])).is_some());
        let two = unread(running(&[("A", History::Recorded, 9), ("B", History::Unread { until: 9 }, 2)]));
        assert_eq!(
            two,
            Some(Unread { messages: 7, delivered: 11, what: vec!["stream `B`".to_owned()], is_elsewhere: false })
        );
        assert_eq!(unread(running(&[("A", History::Recorded, 9)])), None);
        assert_eq!(unread(running(&[])), None);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_begins_anew_with_each_message() {
        let wait = Wait::default();
        let behind = |delivered| unread(running(&[("A", History::Unread { until: 9 }, delivered)]));
        assert!(!wait.is_waited("c", || behind(1)), "nobody asked for it");
        wait.set_patience(Duration::from_secs(60));
        for delivered in [1, 2, 3] {
            assert!(wait.is_waited("c", || behind(delivered)));
            tokio::time::advance(Duration::from_secs(59)).await;
            assert!(wait.is_waited("c", || behind(delivered)));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!wait.is_waited("c", || behind(3)), "it is given up");
        let status = wait.status().expect("it is unread all the same");
        assert_eq!((status.messages, status.seconds, status.given_up), (6, 60, true));
        assert!(wait.is_waited("c", || behind(4)), "it goes on");
        assert!(!wait.is_waited("c", || None));
        assert_eq!(wait.status(), None);
    }
}
