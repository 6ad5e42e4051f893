//! How many messages wait while none is read: what is shown of it is true, or not known.
//!
//! Messages pile up exactly when nothing is read: the consumer is paused, or the recorder has no room. The server is asked then
//! too, at the rate at which it is asked while messages are read.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{LOOK_EVERY, Status};
use crate::intake::jetstream::{Backlog, Batches, JetStream};

/// Longest time that an answer is waited for between two sessions.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// When the server was last asked between two sessions.
#[derive(Debug, Default)]
pub(super) struct Asked(Option<Instant>);

impl Asked {
    /// Asks again and again, after a pause.
    pub(super) async fn follow(
        &mut self,
        jetstream: &dyn JetStream,
        of: (&str, &str),
        status: &watch::Sender<Status>,
    ) -> Infallible {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look(jetstream, of, status).await;
        }
    }

    /// Asks how many messages wait for a consumer, unless it was asked a moment ago.
    pub(super) async fn look(
        &mut self,
        jetstream: &dyn JetStream,
        (stream, durable): (&str, &str),
        status: &watch::Sender<Status>,
    ) {
        if self.0.is_some_and(|asked| asked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.0 = Some(Instant::now());
        let answer = tokio::time::timeout(ANSWER_WITHIN, jetstream.backlog(stream, durable)).await;
        let backlog = answer.ok().and_then(Result::ok).flatten();
        status.send_modify(|status| status.pending = backlog.and_then(|backlog| waiting(&backlog, status)));
    }
}

/// What waits for a consumer that nobody reads with. It counts from where the consumer is: where the log ends elsewhere, it says
/// nothing of the log.
fn waiting(backlog: &Backlog, status: &Status) -> Option<u64> {
    (backlog.delivered_sequence == status.delivered_sequence).then_some(backlog.pending)
}

/// Asks again and again how many messages wait, while what was delivered is handed over.
pub(super) async fn follow(batches: &mut dyn Batches, status: &watch::Sender<Status>) -> Infallible {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let backlog = batches.backlog().await.ok().flatten();
        status.send_modify(|status| {
            status.pending = backlog.as_ref().map(|backlog| backlog.pending);
            status.unacknowledged = backlog.map_or(status.unacknowledged, |backlog| backlog.unacknowledged);
        });
    }
}
