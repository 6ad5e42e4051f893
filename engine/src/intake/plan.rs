//! What intake gets at the start: how the server is reached, what the settings ask for, and what the log knows.
//!
//! Never here: what comes of it ([`super::streams`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::epoch::Known;
use super::jetstream::JetStream;
use super::owner::Claimant;
use super::plain::{Buffers, Plain};
use super::subjects::Wanted;
use super::way::Use;

/// A server, as intake reaches it.
#[derive(Clone)]
pub struct Reach {
    /// Its JetStream.
    pub jetstream: Arc<dyn JetStream>,
    /// The server without it; `None` where everything is to come from streams.
    pub plain: Option<Arc<dyn Plain>>,
}

impl Reach {
    /// Streams alone.
    #[must_use]
    pub fn streams_only(jetstream: Arc<dyn JetStream>) -> Reach {
        Reach { jetstream, plain: None }
    }

    /// Both ways.
    #[must_use]
    pub fn both<N: JetStream + Plain + 'static>(nats: Arc<N>) -> Reach {
        Reach { jetstream: nats.clone(), plain: Some(nats) }
    }
}

/// What the settings say about reading.
#[derive(Debug, Clone)]
pub struct Order {
    /// What to read.
    pub wanted: Wanted,
    /// Name of the durable consumers, and of the queue group of plain subscriptions.
    pub durable: String,
    /// Name of the stream made for subjects that no other holds.
    pub own_stream: String,
    /// Whether streams are used for subjects.
    pub jetstream: Use,
    /// Who asks for the consumers; `None` where there is no other engine.
    pub claimant: Option<Claimant>,
}

impl Order {
    /// To read these from streams, or without where there can be none; there is no other engine.
    #[must_use]
    pub fn new(wanted: Wanted, durable: &str, own_stream: &str) -> Order {
        let (durable, own_stream) = (durable.to_owned(), own_stream.to_owned());
        Order { wanted, durable, own_stream, jetstream: Use::Auto, claimant: None }
    }
}

/// What intake gets at the start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The site whose NATS is read.
    pub site: Arc<str>,
    /// What to read, and how.
    pub order: Order,
    /// What the log knows, by stream.
    pub known: BTreeMap<String, Known>,
    /// What came by plain subscriptions and is not handed over yet.
    pub buffers: Buffers,
    /// Messages of one subject that may wait in them.
    pub waiting_messages_max: usize,
}
