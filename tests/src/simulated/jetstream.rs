//! The way to a simulated [`Server`]: the port that intake reads from, with the delays and losses of a network.
//!
//! Start at [`SimulatedJetStream`]. Never here: what the server holds, see [`super::server`].

use std::future::pending;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use lifeline_engine::intake::Error;
use lifeline_engine::intake::jetstream::{
    Acknowledge, Backlog, Batch, Batches, Consume, JetStream, Message, Retention, Stored, StreamState,
};
use lifeline_engine::intake::owner::Owner;
use tokio::time::{sleep, sleep_until};

use super::hazard::Hazard;
use super::server::{Delivered, Lease, Server};

/// A connection to a server.
#[derive(Clone)]
pub struct SimulatedJetStream {
    /// The server.
    pub server: Arc<Server>,
}

/// A consumer.
struct Delivery {
    server: Arc<Server>,
    lease: Lease,
}

/// The acknowledgement of a batch.
struct Reply {
    server: Arc<Server>,
    lease: Lease,
    /// By sequence, and when they were published.
    covered: Vec<(u64, u64)>,
}

impl Server {
    fn batch(self: &Arc<Self>, lease: Lease, messages: Vec<Message>, pending: u64) -> Batch {
        let covered = messages.iter().map(|message| (message.sequence, message.published_unix_nanos)).collect();
        let acknowledge = Box::new(Reply { server: Arc::clone(self), lease, covered });
        Batch { messages, pending, acknowledge }
    }
}

impl JetStream for SimulatedJetStream {
    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamState>, Error>> {
        async move {
            self.server.way("STREAM.LIST").await?;
            Ok(self.server.streams())
        }
        .boxed()
    }

    fn ensure_stream<'a>(
        &'a self,
        stream: &'a str,
        subjects: &'a [String],
    ) -> BoxFuture<'a, Result<StreamState, Error>> {
        async move {
            self.server.way("STREAM.CREATE").await?;
            let [subject, ..] = subjects else { unreachable!("a stream is made for a subject") };
            Ok(self.server.make_stream(stream, subject, Retention::Limits, usize::MAX))
        }
        .boxed()
    }

    fn state<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<StreamState>, Error>> {
        async move {
            self.server.way("STREAM.INFO").await?;
            Ok(self.server.streams().into_iter().find(|state| state.name == stream))
        }
        .boxed()
    }

    fn stored_from<'a>(
        &'a self,
        stream: &'a str,
        subject: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<Stored>, Error>> {
        async move {
            self.server.way("STREAM.MSG.GET").await?;
            Ok(self.server.stored_from(stream, subject, sequence))
        }
        .boxed()
    }

    fn owner<'a>(&'a self, stream: &'a str, durable: &'a str) -> BoxFuture<'a, Result<Option<Owner>, Error>> {
        async move {
            self.server.way("CONSUMER.INFO").await?;
            Ok(self.server.owner(stream, durable))
        }
        .boxed()
    }

    fn note_owner<'a>(
        &'a self,
        stream: &'a str,
        durable: &'a str,
        owner: &'a Owner,
    ) -> BoxFuture<'a, Result<Option<Owner>, Error>> {
        async move {
            self.server.way("CONSUMER.DURABLE.CREATE").await?;
            Ok(self.server.note_owner(stream, durable, owner))
        }
        .boxed()
    }

    fn first_alone<'a>(&'a self, consume: &'a Consume, count: u32) -> BoxFuture<'a, Result<Option<Batch>, Error>> {
        async move {
            self.server.way("STREAM.MSG.GET").await?;
            let Some((lease, messages)) = self.server.first_alone(consume, count) else { return Ok(None) };
            Ok(Some(self.server.batch(lease, messages, 0)))
        }
        .boxed()
    }

    fn consume(&self, consume: Consume) -> BoxFuture<'_, Result<Box<dyn Batches>, Error>> {
        async move {
            self.server.way("CONSUMER.CREATE").await?;
            let lease = self.server.consume(&consume)?;
            Ok(Box::new(Delivery { server: Arc::clone(&self.server), lease }) as Box<dyn Batches>)
        }
        .boxed()
    }
}

impl Batches for Delivery {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, Error>> {
        async move {
            // Before anything is taken: this future may be dropped while it waits.
            sleep(self.server.latency()).await;
            loop {
                let changed = self.server.changed();
                match self.server.deliver(&self.lease)? {
                    Delivered::Messages { messages, pending } => {
                        return Ok(self.server.batch(self.lease.clone(), messages, pending));
                    }
                    Delivered::Nothing { again_at } => {
                        let again = async {
                            match again_at {
                                Some(moment) => sleep_until(moment).await,
                                None => pending().await,
                            }
                        };
                        tokio::select! {
                            biased;
                            () = changed => {}
                            () = again => {}
                        }
                    }
                }
            }
        }
        .boxed()
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Option<Backlog>, Error>> {
        async move {
            self.server.way("CONSUMER.INFO").await?;
            self.server.backlog(&self.lease)
        }
        .boxed()
    }
}

impl Acknowledge for Reply {
    fn send(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let away = self.server.away();
            let arrives = away.is_ok() && !self.server.meets(Hazard::LostAcknowledgement, 8);
            self.server.acknowledge(&self.lease, &self.covered, arrives);
            away
        }
        .boxed()
    }
}
