//! Catching up: a deep backlog comes through a second consumer, whose deliveries need no acknowledgement.
//!
//! A delivery that is to be acknowledged costs the server an entry, which it writes and removes again; without them
//! it delivers a fifth more small messages. A stream that keeps its messages whatever is acknowledged (limits)
//! needs none of that, for progress is the log's. So a consumer without acknowledgements, kept in memory, delivers what
//! waits; the durable one, at which operators look, is moved up behind the recorder once a second; and when little is
//! left it takes over.
//!
//! Start at [`CatchUp::next_batch`].
//!
//! Invariant: the durable consumer is never moved beyond what the recorder has acknowledged. A reader that begins a
//! new session waits until all it handed over is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::info;

use super::connection::ConnectionState;
use super::jetstream::{Acknowledge, Backlog, Batch, Batches, Consume};
use super::nats::Nats;
use super::pull::{BATCH_MESSAGES_MAX, Pull};
use super::{Error, pace};

/// Fewer waiting messages than this are left to the durable consumer.
const FEW: u64 = BATCH_MESSAGES_MAX as u64;

/// How often the durable consumer is moved up. The server counts what lies beyond it each time.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Silence after which the durable consumer takes over early. Shorter than the pause between two looks of a reader, for
/// each look begins the wait again.
const SILENCE: Duration = Duration::from_secs(1);

/// A consumer at work, with a backlog before it.
pub(super) struct CatchUp {
    nats: Nats,
    link: watch::Receiver<ConnectionState>,
    /// What to read once the backlog is done.
    consume: Consume,
    /// The pull of the second consumer; that of the durable one once it has taken over.
    pull: Pull,
    has_caught_up: bool,
    /// Messages that wait behind the last one given out.
    pending: u64,
    /// First sequence that was not given out.
    next_sequence: u64,
    /// First sequence that the recorder has not acknowledged.
    recorded: Arc<watch::Sender<u64>>,
    /// Where the durable consumer is, and when it is moved up next.
    followed: (u64, Instant),
}

impl CatchUp {
    /// Reads `pending` messages from `consume.from_sequence` on, where the durable consumer is.
    pub(super) async fn open(
        nats: Nats,
        link: watch::Receiver<ConnectionState>,
        consume: Consume,
        pending: u64,
    ) -> Result<CatchUp, Error> {
        let second = Consume { durable: name(&consume.durable), ..consume.clone() };
        nats.create_for_backlog(&second).await?;
        let from = consume.from_sequence;
        info!(stream = consume.stream, consumer = second.durable, from, pending, "catching up");
        Ok(CatchUp {
            pull: Pull::open(nats.clone(), link.clone(), second, 0).await?,
            nats,
            link,
            has_caught_up: false,
            pending,
            next_sequence: from,
            recorded: Arc::new(watch::Sender::new(from)),
            followed: (from, Instant::now() + FOLLOW_EVERY),
            consume,
        })
    }

    async fn next_batch(&mut self) -> Result<Batch, Error> {
        if !self.has_caught_up {
            self.follow().await?;
            if self.pending >= FEW
                && let Ok(batch) = tokio::time::timeout(SILENCE, self.pull.next()).await
            {
                let batch = batch?;
                self.pending = batch.pending;
                self.next_sequence = batch.messages.last().map_or(self.next_sequence, |last| last.sequence + 1);
                let recorded = Recorded { next_sequence: self.next_sequence, recorded: self.recorded.clone() };
                return Ok(Batch { acknowledge: Box::new(recorded), ..batch });
            }
            self.hand_back().await?;
        }
        self.pull.next().await
    }

    /// Moves the durable consumer up to what is recorded.
    async fn follow(&mut self) -> Result<(), Error> {
        let (position, next) = self.followed;
        let recorded = *self.recorded.borrow();
        if recorded > position && Instant::now() >= next {
            let asked = Instant::now();
            let Consume { stream, durable, .. } = &self.consume;
            if self.nats.reset(stream, durable, recorded).await?.is_none() {
                let reason = format!("it cannot be moved to sequence {recorded}");
                return Err(Error::ConsumerEnded { stream: stream.clone(), consumer: durable.clone(), reason });
            }
            self.followed = (recorded, Instant::now() + pace::pause_after(asked.elapsed(), FOLLOW_EVERY));
        }
        Ok(())
    }

    /// Lets the durable consumer take over where the second one stopped, once everything before is recorded. Begun again
    /// when it is dropped on the way.
    async fn hand_back(&mut self) -> Result<(), Error> {
        let (next_sequence, mut recorded) = (self.next_sequence, self.recorded.subscribe());
        tokio::select! {
            biased;
            _ = self.link.changed() => return Err(Error::Interrupted),
            _ = recorded.wait_for(|recorded| *recorded >= next_sequence) => {}
        }
        let consume = Consume { from_sequence: next_sequence, ..self.consume.clone() };
        self.nats.delete(&consume.stream, &name(&consume.durable)).await?;
        let ready = self.nats.prepare(&consume).await?;
        info!(stream = consume.stream, from = next_sequence, pending = ready.pending, "caught up");
        self.pull = Pull::open(self.nats.clone(), self.link.clone(), consume, ready.delivered).await?;
        self.has_caught_up = true;
        Ok(())
    }
}

impl Batches for CatchUp {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, Error>> {
        self.next_batch().boxed()
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Option<Backlog>, Error>> {
        async move {
            let backlog = self.pull.backlog().await?;
            if self.has_caught_up {
                return Ok(backlog);
            }
            // The server does not count them; a sequence that a filter leaves out counts here.
            let unacknowledged = self.next_sequence - *self.recorded.borrow();
            // What is on the line when the durable one takes over is delivered again.
            let delivered_sequence = self.next_sequence.saturating_sub(1);
            Ok(backlog.map(|backlog| Backlog {
                unacknowledged,
                unacknowledged_max: u64::MAX,
                delivered_sequence,
                ..backlog
            }))
        }
        .boxed()
    }
}

/// The recorder's word that a batch is durable.
struct Recorded {
    next_sequence: u64,
    recorded: Arc<watch::Sender<u64>>,
}

impl Acknowledge for Recorded {
    fn send(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.recorded.send_replace(self.next_sequence);
        futures::future::ready(Ok(())).boxed()
    }
}

/// The name of the second consumer.
pub(super) fn name(durable: &str) -> String {
    format!("{durable}-backlog")
}
