//! The port: what intake asks of a JetStream, small enough to be simulated.
//!
//! [`JetStream`] answers questions about streams and opens consumers; [`Batches`] delivers; [`Acknowledge`] takes the
//! recorder's word that a batch is durable. The real one is [`super::nats`].
//!
//! Never here: decisions. Which streams, from where, which epoch: [`super::subjects`] and [`super::epoch`].

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::owner::Owner;
use super::transform::Transform;
use super::{Error, Subject};

/// What every subject matches.
pub(super) const EVERY_SUBJECT: &str = ">";

/// When a stream deletes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// When a limit (age, count, bytes) is passed.
    Limits,
    /// When every consumer has acknowledged it.
    Interest,
    /// When its one consumer has acknowledged it. Such streams take explicit acknowledgements only.
    WorkQueue,
}

/// What a stream holds that was not published to it, and under which subjects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Streams of the same server and account that it copies: its sources, or what it mirrors.
    pub origins: Vec<String>,
    /// Whether it copies streams of other servers or accounts.
    pub is_elsewhere: bool,
    /// How messages are kept under other subjects than they were published on.
    pub transform: Option<Transform>,
}

/// What the server says of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// Its name.
    pub name: String,
    /// When it was created, in nanoseconds since 1970.
    pub created_unix_nanos: u64,
    /// Lowest sequence still held; one more than `last_sequence` when purged; 0 or 1 when nothing ever came.
    pub first_sequence: u64,
    /// Highest sequence ever given; 0 when nothing ever came.
    pub last_sequence: u64,
    /// Messages held.
    pub messages: u64,
    /// Copies that the cluster keeps.
    pub replicas: usize,
    /// When messages are let go.
    pub retention: Retention,
    /// Subjects that are published to it; none for a mirror.
    pub subjects: Vec<String>,
    /// What it holds that was not published to it.
    pub copied: Copied,
    /// Whether messages are kept on disk.
    pub on_disk: bool,
    /// Whether clients may delete or purge its messages.
    pub erasable: bool,
    /// How long the server keeps a consumer that nobody uses; `None` for ever.
    pub consumers_kept: Option<Duration>,
}

impl StreamState {
    /// Whether it holds nothing that was published to it, and copies of streams of this server alone.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.subjects.is_empty() && !self.copied.is_elsewhere && !self.copied.origins.is_empty()
    }

    /// What an operator should know about a stream's promises.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let name = &self.name;
        let mut warnings = Vec::new();
        if self.replicas < 2 {
            warnings.push(format!(
                "stream `{name}` has a single replica: power loss can take messages it acknowledged\nhint: give it 3 replicas in a \
                 cluster of NATS, or `sync_interval: always` to the server"
            ));
        }
        if !self.on_disk {
            warnings.push(format!(
                "stream `{name}` is kept in memory: a restart of the server empties it\nhint: make a stream with `storage: file`"
            ));
        }
        if self.erasable {
            warnings.push(format!(
                "messages of stream `{name}` may be deleted or purged by clients before they are recorded\nhint: set `deny_delete` and \
                 `deny_purge` of the stream"
            ));
        }
        // A limits stream keeps its messages all the same, a work queue until its consumer has acknowledged them.
        if let (Retention::Interest, Some(kept)) = (self.retention, self.consumers_kept) {
            warnings.push(format!(
                "stream `{name}` deletes consumers that are not used for {} s: events published while Lifeline is away for longer \
                 are lost\nhint: raise `consumer_limits.inactive_threshold` of the stream, or take it away",
                kept.as_secs()
            ));
        }
        match self.retention {
            Retention::Limits => {}
            Retention::Interest | Retention::WorkQueue => warnings.push(format!(
                "stream `{name}` deletes acknowledged messages: a lost log cannot be rebuilt from it\nhint: keep copies of the \
                 data folder, or publish to a stream with `retention: limits`"
            )),
        }
        warnings
    }
}

/// A message as its stream holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence.
    pub sequence: u64,
    /// When the server stored it, in nanoseconds since 1970.
    pub published_unix_nanos: u64,
    /// [`super::epoch::content_hash`] of its payload.
    pub content_hash: u64,
}

/// What to consume, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consume {
    /// The stream.
    pub stream: String,
    /// Name of the durable consumer.
    pub durable: String,
    /// Subjects to deliver; empty for all.
    pub filters: Vec<String>,
    /// First sequence that was not handed over. Streams that let go of acknowledged messages deliver older ones too, from
    /// the last acknowledged one on: being handed over is not yet being durable.
    pub from_sequence: u64,
    /// The stream's retention, which decides the acknowledgement policy.
    pub retention: Retention,
    /// Who is noted with the consumer when it is made; `None` where there is no other engine.
    pub owner: Option<Owner>,
    /// First sequence that the log did not know when the session began; 1 for a new log. A consumer that acknowledged more
    /// served another log.
    pub known_below: u64,
}

impl Consume {
    /// What is to be said where the consumer acknowledged messages that this log does not hold. It happens once: reading takes
    /// the consumer back to where the log ends.
    #[must_use]
    pub fn of_another_log(&self, acknowledged: u64) -> Option<String> {
        let Consume { stream, durable, known_below, .. } = self;
        let log = match known_below {
            below if acknowledged < *below => return None,
            1 => "this log is new".to_owned(),
            below => format!("this log ends at {}", below - 1),
        };
        Some(format!(
            "the consumer `{durable}` of stream `{stream}` was acknowledged up to {acknowledged}, and {log}: its volume is another \
             one, or an older copy. What the stream still holds is read again\nhint: `lifeline show orphans` lists objects \
             that nothing in this log explains"
        ))
    }

    /// The subjects to ask for, where one question is about one subject.
    #[must_use]
    pub fn subjects(&self) -> &[String] {
        subjects_or_all(&self.filters)
    }
}

/// These subjects, or the one that matches all.
pub(super) fn subjects_or_all(filters: &[String]) -> &[String] {
    static ALL: LazyLock<[String; 1]> = LazyLock::new(|| [EVERY_SUBJECT.to_owned()]);
    if filters.is_empty() { &*ALL } else { filters }
}

/// A message as a consumer delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Stream sequence.
    pub sequence: u64,
    /// When the server stored it, in nanoseconds since 1970.
    pub published_unix_nanos: u64,
    /// The subject it was published on.
    pub subject: Subject,
    /// Headers, sorted by name; the values of one name in their order.
    pub headers: Vec<(String, String)>,
    /// The payload. It may pin a larger buffer: copy what is kept.
    pub payload: Bytes,
}

impl Message {
    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        self.subject.len() + headers + self.payload.len()
    }

    /// Its headers, borrowed.
    #[must_use]
    pub fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, &**value)).collect()
    }
}

/// What was there to deliver, at most a few thousand messages.
pub struct Batch {
    /// In order of delivery.
    pub messages: Vec<Message>,
    /// Messages that the stream holds for this consumer beyond the last one.
    pub pending: u64,
    /// Acknowledges the whole batch, and with `ack all` everything delivered before it.
    pub acknowledge: Box<dyn Acknowledge>,
}

/// How far a consumer is behind, in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Not yet delivered.
    pub pending: u64,
    /// Delivered, not yet acknowledged.
    pub unacknowledged: u64,
    /// Unacknowledged messages at which the server stops delivering.
    pub unacknowledged_max: u64,
    /// Highest sequence that was delivered, to whomever.
    pub delivered_sequence: u64,
}

/// What intake asks of a JetStream: about streams and messages, and for consumers.
pub trait JetStream: Send + Sync {
    /// The last right that the server refused on this connection; `None` while it refused none.
    fn denied(&self) -> Option<String> {
        None
    }

    /// All streams but those that JetStream uses itself (key-value, object store), by name.
    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamState>, Error>>;

    /// Creates the stream (limits retention, on disk), or adds the subjects to it.
    fn ensure_stream<'a>(
        &'a self,
        stream: &'a str,
        subjects: &'a [String],
    ) -> BoxFuture<'a, Result<StreamState, Error>>;

    /// One stream; `None` when there is none of this name.
    fn state<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<StreamState>, Error>>;

    /// The sequences between the first and the last message of a stream that it does not hold; `None` where they are too many, or
    /// nobody knows.
    fn deleted<'a>(&'a self, _stream: &'a str) -> BoxFuture<'a, Result<Option<BTreeSet<u64>>, Error>> {
        async { Ok(None) }.boxed()
    }

    /// The first message with a subject like this that is held at `sequence` or after it.
    fn stored_from<'a>(
        &'a self,
        stream: &'a str,
        subject: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<Stored>, Error>>;

    /// How far behind a consumer is that nobody reads with now; `None` where there is none of this name, or nobody knows.
    fn backlog<'a>(&'a self, _stream: &'a str, _durable: &'a str) -> BoxFuture<'a, Result<Option<Backlog>, Error>> {
        async { Ok(None) }.boxed()
    }

    /// Who is noted as the owner of a consumer; `None` where nobody is, or there is no such consumer.
    fn owner<'a>(&'a self, stream: &'a str, durable: &'a str) -> BoxFuture<'a, Result<Option<Owner>, Error>>;

    /// Notes an owner, where there is such a consumer. Gives the one that is noted afterwards.
    fn note_owner<'a>(
        &'a self,
        stream: &'a str,
        durable: &'a str,
        owner: &'a Owner,
    ) -> BoxFuture<'a, Result<Option<Owner>, Error>>;

    /// The first messages that the consumer has to deliver, at most `count`, asked for one by one, in a form that any bytes
    /// survive. `None` when none waits.
    fn first_alone<'a>(&'a self, consume: &'a Consume, count: u32) -> BoxFuture<'a, Result<Option<Batch>, Error>>;

    /// The subjects that a durable consumer delivers, empty for all; `None` where there is none of this name, or nobody knows.
    fn filters<'a>(&'a self, _stream: &'a str, _durable: &'a str) -> BoxFuture<'a, Result<Option<Vec<String>>, Error>> {
        async { Ok(None) }.boxed()
    }

    /// The first messages from `from_sequence` on, at most `count`, asked for one by one as [`JetStream::first_alone`] does. They
    /// are not the consumer's, and nothing is to be acknowledged.
    fn alone_from<'a>(&'a self, _consume: &'a Consume, _count: u32) -> BoxFuture<'a, Result<Vec<Message>, Error>> {
        async { Ok(Vec::new()) }.boxed()
    }

    /// Delivers from `from_sequence` on without acknowledgements, and leaves the durable consumer as it is; `None` where that
    /// cannot be.
    fn beside(&self, _consume: Consume) -> BoxFuture<'_, Result<Option<Box<dyn Batches>>, Error>> {
        async { Ok(None) }.boxed()
    }

    /// Delivers from `from_sequence` on, whatever the consumer thought before. Drop the former [`Batches`] first.
    fn consume(&self, consume: Consume) -> BoxFuture<'_, Result<Box<dyn Batches>, Error>>;
}

/// A consumer at work.
pub trait Batches: Send {
    /// Waits for at least one message and gives what is there. May be dropped while it waits without losing a message.
    ///
    /// # Errors
    /// After an error the consumer is over; whatever was delivered before it has been given out.
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, Error>>;

    /// Asks the server how far behind the consumer is; `None` when there is no such consumer any more.
    fn backlog(&self) -> BoxFuture<'_, Result<Option<Backlog>, Error>>;
}

/// The acknowledgement of a batch. Call it in the order of the batches, after their fsync.
pub trait Acknowledge: Send + Sync {
    /// Sends the acknowledgement without waiting for the server. A lost one costs a redelivery, nothing else.
    fn send(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// Where single messages are fetched.
pub trait Source: Send + Sync {
    /// The message of a sequence of a stream of a cluster; `None` when the stream, or the message, is gone.
    fn message<'a>(
        &'a self,
        cluster: &'a str,
        stream: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<Message>, Error>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_acknowledged_more_than_the_log_holds_served_another_log() {
        let check = |known_below: u64, acknowledged: u64, expected: Option<&str>| {
            let (stream, durable) = ("USERS".to_owned(), "lifeline".to_owned());
            let (filters, retention) = (Vec::new(), Retention::Limits);
            let consume = Consume { stream, durable, filters, from_sequence: 9, retention, owner: None, known_below };
            let told = consume.of_another_log(acknowledged);
            assert_eq!(told.is_some(), expected.is_some(), "{told:?}");
            assert!(told.unwrap_or_default().contains(expected.unwrap_or_default()));
        };
        check(1, 0, None);
        check(9, 8, None);
        check(1, 1, Some("was acknowledged up to 1, and this log is new"));
        check(4, 8, Some("was acknowledged up to 8, and this log ends at 3"));
    }

    #[test]
    fn what_a_stream_does_not_promise_is_named_with_a_remedy() {
        let sound = StreamState {
            name: "S".to_owned(),
            created_unix_nanos: 1,
            first_sequence: 1,
            last_sequence: 0,
            messages: 0,
            replicas: 3,
            retention: Retention::Limits,
            subjects: vec!["s".to_owned()],
            copied: Copied::default(),
            on_disk: true,
            erasable: false,
            consumers_kept: None,
        };
        assert!(sound.warnings().is_empty());
        let check = |state: StreamState, expected: &[&str]| {
            let told = state.warnings();
            assert_eq!(told.len(), expected.len(), "{told:?}");
            for (told, expected) in told.iter().zip(expected) {
                assert!(told.starts_with(&format!("{expected}\nhint: ")), "{told}");
            }
        };
        check(
            StreamState { replicas: 1, on_disk: false, erasable: true, ..sound.clone() },
            &[
                "stream `S` has a single replica: power loss can take messages it acknowledged",
                "stream `S` is kept in memory: a restart of the server empties it",
                "messages of stream `S` may be deleted or purged by clients before they are recorded",
            ],
        );
        let kept = Some(Duration::from_secs(60));
        check(
            StreamState { retention: Retention::Interest, consumers_kept: kept, ..sound.clone() },
            &[
                "stream `S` deletes consumers that are not used for 60 s: events published while Lifeline is away for longer are lost",
                "stream `S` deletes acknowledged messages: a lost log cannot be rebuilt from it",
            ],
        );
        check(
            StreamState { retention: Retention::WorkQueue, ..sound },
            &["stream `S` deletes acknowledged messages: a lost log cannot be rebuilt from it"],
        );
    }
}
