//! Messages that a filter left out, of subjects that are named now: read before reading goes on where it was.
//!
//! They are below the place where reading goes on, so the recorder records them as late ones, and each once. The durable consumer
//! gets its new filters only when all of them are durable: so a crash in between reads them again. Start at
//! [`Reader::read_left_out`].
//!
//! Not for work queues: such a stream delivers what was left out by itself, once its consumer asks for it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use lifeline_projections::count;

use super::{ALONE, Claim, LOOK_EVERY, Reader, Stop};
use crate::error_text::one_line;
use crate::intake::counted::Counted;
use crate::intake::epoch::Known;
use crate::intake::history::Following;
use crate::intake::jetstream::{Acknowledge, Batches, Consume, Message, Retention, StreamState};
use crate::intake::reserved::is_reserved;
use crate::intake::widened::{is_among, left_out};
use crate::intake::{Error, Received, owner};

/// How far what was left out has been handed over since the start.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    epoch: u32,
    subjects: Vec<String>,
    /// First sequence that was not looked at.
    next: u64,
    /// Whether it was said that nobody knows what was left out.
    is_said: bool,
}

/// Nothing is to be acknowledged, but it is counted when it is durable.
struct Nothing;

impl Acknowledge for Nothing {
    fn send(&self) -> BoxFuture<'_, Result<(), Error>> {
        futures::future::ready(Ok(())).boxed()
    }
}

impl Reader {
    /// Hands over what the consumer left out of subjects that are to be read now; whether there were such subjects. After a
    /// session that failed the first messages are read alone: one of them may be what broke it.
    pub(super) async fn read_left_out(&mut self, state: &StreamState, known: Known, alone: u32) -> Result<bool, Stop> {
        let (jetstream, stream) = (Arc::clone(&self.jetstream), self.reading.stream.clone());
        let first = state.first_sequence.max(1);
        if state.retention == Retention::WorkQueue || first >= known.next_sequence {
            return Ok(false);
        }
        let Some(filters) = jetstream.filters(&stream, &self.durable).await.map_err(Stop::Failed)? else {
            // Later in a process the reader knows by itself that nothing else was named.
            if self.status.borrow().sessions == 0
                && known.last.is_some()
                && !std::mem::replace(&mut self.left_out.is_said, true)
            {
                let (consumer, before) = (&self.durable, known.next_sequence);
                tracing::warn!(
                    stream,
                    consumer,
                    "its consumer is not there, so which subjects were named before is not known: of those that were not, events \
                     before sequence {before} are not read"
                );
            }
            return Ok(false);
        };
        let subjects = left_out(&self.reading, &filters);
        if subjects.is_empty() {
            return Ok(false);
        }
        if (self.left_out.epoch, &self.left_out.subjects) != (known.epoch, &subjects) {
            tracing::info!(
                stream,
                ?subjects,
                until = known.next_sequence - 1,
                "these subjects were not named before: what the stream holds of them is read first"
            );
            self.left_out = LeftOut { epoch: known.epoch, subjects: subjects.clone(), next: first, is_said: false };
        }
        self.follow(&Following::of(state));
        let mut consume = Consume {
            stream: stream.clone(),
            durable: self.durable.clone(),
            filters: subjects,
            from_sequence: self.left_out.next,
            retention: state.retention,
            owner: None,
            known_below: known.next_sequence,
        };
        let mut found = 0;
        let mut batches = None;
        // A second consumer of an interest stream would let go of messages.
        let (mut is_alone, mut is_fast) = (alone > 0, state.retention == Retention::Limits);
        while consume.from_sequence < known.next_sequence {
            if !is_alone && std::mem::take(&mut is_fast) {
                batches = jetstream.beside(consume.clone()).await.unwrap_or_else(|error| {
                    tracing::warn!(stream, reason = one_line(&error), "a backlog is read by the slower way");
                    None
                });
            }
            let messages = match &mut batches {
                Some(batches) => next_of(&mut **batches, &consume).await,
                None => jetstream.alone_from(&consume, alone.max(*ALONE.start())).await,
            };
            let messages = messages.map_err(Stop::Failed)?;
            is_alone = false;
            let next = messages.last().map_or(known.next_sequence, |last| last.sequence + 1);
            found += self.hand_over_left_out(&filters, messages, known).await?;
            (self.left_out.next, consume.from_sequence) = (next, next);
            self.may_go_on().await?;
        }
        if found > 0 {
            let messages = count(found, "message");
            tracing::info!(stream, "{messages} of subjects that were not named before, handed over");
        }
        Ok(true)
    }

    /// Hands over those that are below the place where reading goes on, and that the consumer left out; how many.
    async fn hand_over_left_out(
        &mut self,
        filters: &[String],
        mut messages: Vec<Message>,
        known: Known,
    ) -> Result<u64, Stop> {
        messages.retain(|message| {
            message.sequence < known.next_sequence
                && !is_reserved(&message.subject)
                && !is_among(filters, &message.subject)
        });
        self.already.take_from(&mut messages);
        self.reading.skipped.out_of(&mut messages);
        if messages.is_empty() {
            return Ok(0);
        }
        let count = messages.len() as u64;
        self.batches += 1;
        let acknowledged = Arc::clone(&self.acknowledged);
        let acknowledge = Some(Box::new(Counted { inner: Box::new(Nothing), acknowledged }) as Box<dyn Acknowledge>);
        self.send(known.epoch, Received::Messages { messages, acknowledge }).await?;
        self.status.send_modify(|status| {
            status.messages += count;
            status.redelivered += count;
        });
        Ok(count)
    }

    /// Whether the consumer is still ours, and the stream is still to be read like this.
    async fn may_go_on(&self) -> Result<(), Stop> {
        let mut lost = self.claim.as_ref().map(Claim::lost);
        if let Some(error) = owner::taken(self.claim.as_ref(), &mut lost).now_or_never().flatten() {
            return Err(Stop::Failed(error));
        }
        if self.sink.is_closed() {
            return Err(Stop::Closed);
        }
        match self.gate.is_open() && self.gate.reading() == self.told {
            true => Ok(()),
            false => Err(Stop::LookAgain("something else is to be read of the stream".to_owned())),
        }
    }
}

/// The next messages, or none where no more come. Some that were waited for may have been deleted meanwhile.
async fn next_of(batches: &mut dyn Batches, consume: &Consume) -> Result<Vec<Message>, Error> {
    loop {
        let Some(backlog) = batches.backlog().await? else {
            let (stream, consumer) = (consume.stream.clone(), consume.durable.clone());
            let reason = "what it left out was read beside it, and the consumer for that is gone".to_owned();
            return Err(Error::ConsumerEnded { stream, consumer, reason });
        };
        if backlog.pending == 0 && backlog.delivered_sequence < consume.from_sequence {
            return Ok(Vec::new());
        }
        if let Ok(batch) = tokio::time::timeout(LOOK_EVERY, batches.next()).await {
            return Ok(batch?.messages);
        }
    }
}
