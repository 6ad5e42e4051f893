//! Intake: from a JetStream stream to the recorder, in order, each message once, nothing in silence.
//!
//! ```text
//! Connection --connect--> Nats (a JetStream) --streams--> assign::assign --one Reader per stream--> Intake --> recorder
//!                                                                              ^                                |
//!                                                           epoch::judge ------+          Acknowledge <-- fsync -+
//! ```
//! Start at [`Intake`] (what the recorder receives), then [`streams::run`] (which streams are read), then [`reader`]
//! (one stream), then [`epoch`] (the decision on which all of it rests). [`jetstream`] is the port; [`nats`], [`pull`],
//! [`catch_up`] and [`alone`] are the real one. [`owner`] keeps two engines from reading with one consumer. Where there
//! can be no stream ([`way`]), a subject is read by [`plain`]; [`subscription`] is the real side of that.
//!
//! Never here: what a message means. Payloads pass through unread. Nothing is acknowledged here either: the recorder
//! does that, after its fsync.

mod agreement;
mod alone;
pub mod assign;
mod catch_up;
pub mod connection;
mod copies;
mod counted;
pub mod epoch;
mod gate;
pub mod history;
mod holes;
pub mod jetstream;
pub mod metadata;
pub mod nats;
pub mod owner;
mod pace;
mod passed;
pub mod plain;
mod plan;
pub mod pull;
pub mod reader;
pub mod reserved;
mod search;
mod stream_info;
pub mod streams;
pub mod subjects;
mod subscription;
pub mod transform;
pub mod way;
mod widened;

use std::sync::Arc;

pub use async_nats::Subject;
pub use connection::Connection;
pub use epoch::Known;
pub use jetstream::{Acknowledge, Batch, JetStream, Message};

/// What the recorder receives from one stream, in the order in which it shall be recorded.
pub struct Intake {
    /// The site whose NATS holds the stream.
    pub site: Arc<str>,
    /// The stream.
    pub stream: String,
    /// Its epoch; from here on where it begins.
    pub epoch: u32,
    /// What there is to record.
    pub received: Received,
}

impl Intake {
    /// The messages in it.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        match &self.received {
            Received::Messages { messages, .. } => messages,
            Received::Opened { .. } | Received::Gap { .. } | Received::Holes { .. } => &[],
        }
    }
}

/// What there is to record of a stream.
pub enum Received {
    /// The stream was met for the first time, or began again under its old name: record `StreamOpened`.
    Opened {
        /// When the server says it was created.
        created_unix_nanos: u64,
        /// First sequence that will be asked for.
        start_sequence: u64,
        /// Why a new epoch began; empty for the first.
        reason: String,
    },
    /// Messages that the stream no longer holds were never recorded: record `GapFound`.
    Gap {
        /// First sequence missing.
        from_sequence: u64,
        /// First sequence after the gap.
        to_sequence: u64,
    },
    /// Messages were gone when reading passed them, and nobody knows how many of them were wanted: record `HolesFound`.
    Holes {
        /// First sequence that was passed over.
        from_sequence: u64,
        /// First sequence after all that were passed over.
        to_sequence: u64,
        /// How many are gone, those of other subjects included.
        up_to: u64,
    },
    /// Messages to record, where they are not recorded yet: some may be delivered again.
    Messages {
        /// In order of delivery. May be empty: then only the acknowledgement is wanted.
        messages: Vec<Message>,
        /// To be acknowledged once everything received up to here is durable. `None`: a later one covers it.
        acknowledge: Option<Box<dyn Acknowledge>>,
    },
}

/// What can go wrong between NATS and the recorder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection settings are wrong; all mistakes at once.
    #[error("{}{}", if is_flag(.origin) { String::new() } else { format!("{origin}: ") }, list(.mistakes))]
    Settings {
        /// Where they were read.
        origin: String,
        /// Each with its field.
        mistakes: Vec<String>,
    },
    /// What was given is neither a URL nor a file.
    #[error("`{argument}` is no file and no URL\nhint: a server is written `nats://{argument}`")]
    NoScheme {
        /// What was given.
        argument: String,
    },
    /// The connection settings cannot be read.
    #[error(
        "connection settings `{path}` cannot be read\nhint: check the path in `--nats`; a server is written `nats://HOST:PORT`"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The server does not let us in.
    #[error("NATS at {url} refused {who}: authorization violation\nhint: check {remedy}")]
    Refused {
        /// Without password.
        url: String,
        /// Such as ``the user `admin` ``.
        who: String,
        /// Which setting to look at.
        remedy: String,
    },
    /// Nothing answers there.
    #[error("NATS at {url} cannot be reached\nhint: check that the server runs and that {} names it", setting(.origin))]
    Unreachable {
        /// Without password.
        url: String,
        /// Where the address came from.
        origin: String,
        /// Why.
        #[source]
        cause: async_nats::ConnectError,
    },
    /// The host name of the server cannot be resolved.
    #[error("host of {url} cannot be resolved\nhint: check {}, and the DNS of this machine or cluster", setting(.origin))]
    Dns {
        /// Without password.
        url: String,
        /// Where the address came from.
        origin: String,
        /// Why.
        #[source]
        cause: async_nats::ConnectError,
    },
    /// The two sides do not trust each other.
    #[error(
        "TLS with NATS at {url} failed\nhint: check `authorization.rootCA` and `authorization.clientCert` in {origin}"
    )]
    Tls {
        /// Without password.
        url: String,
        /// Where the certificates came from.
        origin: String,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server has no JetStream, so nothing on it is durable.
    #[error(
        "JetStream is not enabled at {url}\nhint: start nats-server with `-js`, or enable JetStream for the account"
    )]
    NoJetStream {
        /// The server.
        url: String,
    },
    /// JetStream refused a request.
    #[error("JetStream refused `{operation}`")]
    Api {
        /// The request's subject, without its prefix.
        operation: String,
        /// What the server said.
        #[source]
        cause: async_nats::jetstream::Error,
    },
    /// A request got no answer, or not one that can be read.
    #[error("JetStream did not answer `{operation}`")]
    NoAnswer {
        /// The request's subject, without its prefix.
        operation: String,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection is lost; the client is trying to get it back.
    #[error("waiting for NATS at {url}: {trouble}")]
    Disconnected {
        /// The server.
        url: String,
        /// What the client last heard.
        trouble: String,
    },
    /// The connection was lost and found again: everything has to be compared again.
    #[error("connection to NATS was interrupted")]
    Interrupted,
    /// Neither messages nor heartbeats came.
    #[error("no message and no heartbeat from consumer `{consumer}` of stream `{stream}` for `{seconds}` s")]
    Silent {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// How long.
        seconds: u64,
    },
    /// The server ended the consumer, or a pull in a way that calls for a new look.
    #[error("consumer `{consumer}` of stream `{stream}` ended: {reason}")]
    ConsumerEnded {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// What the server said.
        reason: String,
    },
    /// Somebody paused the consumer.
    #[error(
        "consumer `{consumer}` of stream `{stream}` is paused, for {seconds} s more\nhint: `nats consumer resume {stream} {consumer}` \
         lets it deliver"
    )]
    Paused {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// How long it stays so.
        seconds: u64,
    },
    /// Another engine reads with the consumer.
    #[error(
        "consumer `{consumer}` of stream `{stream}` belongs to another engine: instance `{instance}`{}, since {since}\nhint: stop \
         that engine, and this one takes over at once, or {} s after it died; or now with `lifeline run --take-over`; an engine with another \
         purpose needs another `--consumer`",
        on(.host), owner::KEPT.as_secs()
    )]
    Owned {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// The name that the data folder of the other engine keeps.
        instance: String,
        /// Where it runs; may be empty.
        host: String,
        /// Since when, by its clock.
        since: jiff::Timestamp,
    },
    /// Deliveries are numbered without holes; one is missing, so acknowledging the next would lose it.
    #[error(
        "delivery `{expected}` of consumer `{consumer}` of stream `{stream}` is missing, got `{got}`\nhint: only one engine may read with a consumer; give every other its own with `--consumer`"
    )]
    DeliveryMissing {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// Number of the delivery that should have come.
        expected: u64,
        /// Number that came.
        got: u64,
    },
    /// A message came whose reply subject is not an acknowledgement subject.
    #[error("message on `{subject}` has the reply subject `{reply}`, expected `$JS.ACK...`")]
    Foreign {
        /// The message's subject.
        subject: String,
        /// Its reply.
        reply: String,
    },
}

/// Whether the settings were typed as a flag: then each mistake names the flag itself.
fn is_flag(origin: &str) -> bool {
    origin.starts_with("--")
}

/// What says where the server is.
fn setting(origin: &str) -> String {
    if is_flag(origin) { format!("`{origin}`") } else { format!("`url` in {origin}") }
}

fn on(host: &str) -> String {
    if host.is_empty() { String::new() } else { format!(" on `{host}`") }
}

fn list(mistakes: &[String]) -> String {
    match mistakes {
        [one] => one.clone(),
        many => format!("{} mistakes\n  {}", many.len(), many.join("\n  ")),
    }
}

#[cfg(test)]
mod live;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_consumer_names_it_and_the_remedy() {
        let check = |error: Error, expected: &str| assert_eq!(error.to_string(), expected);
        let named = || ("S".to_owned(), "lifeline".to_owned());
        let (instance, host) = ("01ab".to_owned(), "node-7".to_owned());
        let (stream, consumer) = named();
        check(
            Error::Silent { stream, consumer, seconds: 5 },
            "no message and no heartbeat from consumer `lifeline` of stream `S` for `5` s",
        );
        let (stream, consumer) = named();
        check(
            Error::Paused { stream, consumer, seconds: 60 },
            "consumer `lifeline` of stream `S` is paused, for 60 s more\nhint: `nats consumer resume S lifeline` lets it deliver",
        );
        let (stream, consumer) = named();
        check(
            Error::DeliveryMissing { stream, consumer, expected: 5, got: 7 },
            "delivery `5` of consumer `lifeline` of stream `S` is missing, got `7`\nhint: only one engine may read with a consumer; give \
             every other its own with `--consumer`",
        );
        let (stream, consumer) = named();
        check(
            Error::Owned { stream, consumer, instance, host, since: jiff::Timestamp::UNIX_EPOCH },
            "consumer `lifeline` of stream `S` belongs to another engine: instance `01ab` on `node-7`, since 1970-01-01T00:00:00Z\nhint: \
             stop that engine, and this one takes over at once, or 30 s after it died; or now with `lifeline run --take-over`; an engine \
             with another purpose needs another `--consumer`",
        );
        check(
            Error::Foreign { subject: "s".to_owned(), reply: "r".to_owned() },
            "message on `s` has the reply subject `r`, expected `$JS.ACK...`",
        );
    }
}
