//! The real JetStream: requests of its API over one NATS connection.
//!
//! Start at [`Nats`]. Requests are sent as the API defines them (ADR-1, ADR-37 prefix and domain rules), so that every
//! refusal comes out as one kind of error. Delivery is in [`super::pull`] and [`super::alone`].
//!
//! Never here: a decision about epochs; and never a delete of a consumer whose stream would then let go of messages.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{self, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::agreement::{agrees, backlog_of, delivers, delivers_whole_batches, filters, wanted_filters};
use super::catch_up::CatchUp;
use super::connection::ConnectionState;
use super::jetstream::{Backlog, Batch, Batches, Consume, JetStream, Message, Retention, Stored, StreamState};
use super::metadata::note;
use super::owner::Owner;
use super::pull::{BATCH_MESSAGES_MAX, Pull};
use super::stream_info::{internal, state_of};
use super::{Error, catch_up, epoch, pace};
use crate::error_text::one_line;

/// How long the server waits for an acknowledgement before it delivers again.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// Unacknowledged deliveries at which the server pauses. Not more: the server keeps an entry for each and writes all of them
/// down again and again, which costs more than larger batches save.
const ACK_PENDING_MAX: i64 = 8 * BATCH_MESSAGES_MAX as i64;

/// Waiting messages from which on it pays to read them through a consumer of their own.
const BACKLOG_MIN: u64 = 50_000;

/// Time after which the server removes that consumer when nobody pulls.
const UNUSED: Duration = Duration::from_secs(30);

/// Deleted messages of a stream that are asked for one by one, at most: each takes up to 20 bytes of an answer.
const DELETED_MAX: u64 = 20_000;

/// Requests in a row without an answer after which the connection is made again. A server that took the right to an inbox away
/// for a while gives no answer ever after: the client subscribes again only when it connects.
const UNANSWERED_MAX: u32 = 3;

/// A JetStream reached over one connection.
#[derive(Clone)]
pub struct Nats {
    client: async_nats::Client,
    context: Context,
    prefix: String,
    url: String,
    link: watch::Receiver<ConnectionState>,
    ack_wait: Duration,
    backlog_min: u64,
    /// Requests in a row without an answer.
    unanswered: Arc<AtomicU32>,
}

/// A consumer that is where it was wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    /// Deliveries so far.
    pub(super) delivered: u64,
    /// Messages that wait.
    pub(super) pending: u64,
}

impl Ready {
    fn of(info: &consumer::Info) -> Ready {
        Ready { delivered: info.delivered.consumer_sequence, pending: info.num_pending }
    }
}

impl Nats {
    /// Wraps a connection. `domain` is the JetStream domain, for leaf nodes; `None` for the server's own.
    #[must_use]
    pub fn new(
        client: async_nats::Client,
        url: String,
        link: watch::Receiver<ConnectionState>,
        domain: Option<&str>,
    ) -> Nats {
        let prefix = domain.map_or("$JS.API".to_owned(), |domain| format!("$JS.{domain}.API"));
        let mut context = jetstream::with_prefix(client.clone(), &prefix);
        // `pace::late` decides how long an answer may take; the limit of the client must never come first.
        context.set_timeout(Duration::from_secs(24 * 3_600));
        let (ack_wait, backlog_min, unanswered) = (ACK_WAIT, BACKLOG_MIN, Arc::default());
        Nats { client, context, prefix, url, link, ack_wait, backlog_min, unanswered }
    }

    /// The same with another time after which the server delivers again what was not acknowledged.
    #[must_use]
    pub fn with_ack_wait(mut self, ack_wait: Duration) -> Nats {
        self.ack_wait = ack_wait;
        self
    }

    /// The same with another number of waiting messages that makes a backlog.
    #[cfg(test)]
    pub(super) fn with_backlog_min(mut self, backlog_min: u64) -> Nats {
        self.backlog_min = backlog_min;
        self
    }

    /// The connection.
    #[must_use]
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// The state of the connection.
    pub(super) fn connection_state(&self) -> watch::Receiver<ConnectionState> {
        self.link.clone()
    }

    /// The subject of an operation of the API.
    pub(super) fn subject_of(&self, operation: &str) -> String {
        format!("{}.{operation}", self.prefix)
    }

    /// One request of the API; a refusal is an error.
    pub(super) async fn request<T: DeserializeOwned>(
        &self,
        operation: String,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        // The client would keep the request until it times out; the reason is known now.
        if let ConnectionState { up: false, trouble, .. } = &*self.link.borrow() {
            return Err(Error::Disconnected { url: self.url.clone(), trouble: trouble.clone() });
        }
        let (mut link, connects) = (self.link.clone(), self.link.borrow().connects);
        let timed_out = jetstream::context::RequestErrorKind::TimedOut;
        // Two pulls are on the way, each as large as the largest message at least.
        let before = 2 * self.client.max_payload() as u64;
        let answer = tokio::select! {
            biased;
            answer = self.context.request::<_, _, Response<T>>(operation.clone(), body) => answer,
            // No answer comes any more; the client would wait for it until it times out.
            _ = link.wait_for(|link| !link.up || link.connects != connects) => return Err(Error::Interrupted),
            () = pace::late(self.client.statistics(), before) => Err(timed_out.into()),
        };
        // Nor is there an answer where the right to ask is refused, but then no other connection helps.
        let is_denied = self.denied().is_some_and(|denied| denied.contains(&operation));
        self.note_answer(is_denied || !answer.as_ref().is_err_and(|error| error.kind() == timed_out)).await;
        match answer {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error })
                if matches!(
                    error.error_code(),
                    ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
                ) =>
            {
                Err(Error::NoJetStream { url: self.url.clone() })
            }
            Ok(Response::Err { error }) => Err(Error::Api { operation, cause: error }),
            // Nobody listens to the account's own request: JetStream is off. Nobody listens to a consumer's: it is gone.
            Err(error)
                if error.kind() == jetstream::context::RequestErrorKind::NoResponders
                    && operation.starts_with("STREAM.") =>
            {
                Err(Error::NoJetStream { url: self.url.clone() })
            }
            Err(error) => Err(Error::NoAnswer { operation, cause: Box::new(error) }),
        }
    }

    /// Connects again where nothing is answered any more, though the connection seems to be up.
    async fn note_answer(&self, is_answered: bool) {
        if is_answered {
            self.unanswered.store(0, Ordering::Relaxed);
        } else if self.unanswered.fetch_add(1, Ordering::Relaxed) + 1 == UNANSWERED_MAX {
            self.unanswered.store(0, Ordering::Relaxed);
            tracing::warn!(url = self.url, "{UNANSWERED_MAX} requests in a row have no answer: connecting again");
            // An error means that the client was closed; nothing is read then.
            let _ = self.client.force_reconnect().await;
        }
    }

    pub(super) async fn consumer(&self, stream: &str, durable: &str) -> Result<Option<consumer::Info>, Error> {
        optional(self.request(format!("CONSUMER.INFO.{stream}.{durable}"), &json!({})).await)
    }

    /// Which sequences a stream does not hold, where it has had no more than a few of them.
    async fn deleted_in(&self, stream: &str) -> Result<Option<BTreeSet<u64>>, Error> {
        let operation = format!("STREAM.INFO.{stream}");
        let info: Option<Value> = optional(self.request(operation.clone(), &json!({})).await)?;
        let count = info.map_or(0, |info| info["state"]["num_deleted"].as_u64().unwrap_or(0));
        if count > DELETED_MAX {
            return Ok(None);
        }
        let info: Option<Value> = optional(self.request(operation, &json!({"deleted_details": true})).await)?;
        let deleted = info.map(|info| info["state"]["deleted"].as_array().cloned().unwrap_or_default());
        Ok(deleted.map(|deleted| deleted.iter().filter_map(Value::as_u64).collect()))
    }

    /// Sees to it that the durable consumer will deliver from `from_sequence` on.
    pub(super) async fn prepare(&self, consume: &Consume) -> Result<Ready, Error> {
        let Consume { stream, durable, from_sequence, retention, .. } = consume;
        let wanted = self.config(consume, DeliverPolicy::All);
        let Some(info) = self.consumer(stream, durable).await? else {
            let from = if *retention == Retention::Limits { *from_sequence } else { 1 };
            return self.create(stream, consume, from).await;
        };
        delivers(&info)?;
        // A work queue holds what nobody asked for so far. With other subjects it is wanted now, and nobody else can get it.
        let has_other_filters = *retention == Retention::WorkQueue && filters(&info.config) != wanted_filters(&wanted);
        if has_other_filters && self.reset(stream, durable, 1).await?.is_none() {
            return self.recreate(consume, 1).await;
        }
        // A consumer that begins at a sequence has acknowledged what lies before it, and these streams then let go of
        // it; but what is handed over need not be durable yet. So what is not acknowledged is delivered again.
        let from = match retention {
            Retention::Limits => *from_sequence,
            _ if has_other_filters => 1,
            Retention::Interest | Retention::WorkQueue => (*from_sequence).min(info.ack_floor.stream_sequence + 1),
        };
        let is_as_wanted = agrees(&info.config, &wanted);
        // One whose filters are updated away hears of messages every 2 s at most, ever after (nats-server#7760).
        let loses_filters = *retention == Retention::Limits && !filters(&info.config).is_empty();
        let is_made_again = loses_filters && consume.filters.is_empty();
        if !is_as_wanted && (is_made_again || !self.update(stream, &info.config, &wanted).await?) {
            return self.recreate(consume, from).await;
        }
        let delivered = info.delivered.stream_sequence;
        // With other subjects it may have passed over messages, without a delivery that would show it.
        if is_as_wanted
            && delivered + 1 == from
            && info.ack_floor.stream_sequence == delivered
            && info.num_ack_pending == 0
        {
            return Ok(Ready::of(&info));
        }
        match self.reset(stream, durable, from).await? {
            Some(ready) => Ok(ready),
            None => self.recreate(consume, from).await,
        }
    }

    /// Whether a durable consumer asks for what its reader wants. Somebody may have changed it meanwhile.
    pub(super) fn asks_for(&self, consume: &Consume, current: &consumer::Config) -> bool {
        let wanted = self.config(consume, DeliverPolicy::All);
        filters(current) == wanted_filters(&wanted) && delivers_whole_batches(current)
    }

    fn config(&self, consume: &Consume, deliver_policy: DeliverPolicy) -> consumer::pull::Config {
        consumer::pull::Config {
            durable_name: Some(consume.durable.clone()),
            description: Some("Lifeline records these events; do not read with this consumer".to_owned()),
            deliver_policy,
            ack_policy: match consume.retention {
                Retention::WorkQueue => AckPolicy::Explicit,
                Retention::Limits | Retention::Interest => AckPolicy::All,
            },
            ack_wait: self.ack_wait,
            max_deliver: -1,
            metadata: consume.owner.as_ref().map(note).unwrap_or_default(),
            max_ack_pending: ACK_PENDING_MAX,
            filter_subject: match consume.filters.as_slice() {
                [one] => one.clone(),
                _ => String::new(),
            },
            filter_subjects: match consume.filters.as_slice() {
                [_] => Vec::new(),
                many => many.to_vec(),
            },
            ..consumer::pull::Config::default()
        }
    }

    /// Makes or changes a consumer. Where a limit of the stream or the account allows fewer unacknowledged messages, it gets as
    /// many as are allowed.
    async fn put(&self, stream: &str, config: &consumer::pull::Config) -> Result<consumer::Info, Error> {
        let durable = config.durable_name.as_deref().unwrap_or_default();
        let operation = format!("CONSUMER.DURABLE.CREATE.{stream}.{durable}");
        let put = self.request(operation.clone(), &json!({"stream_name": stream, "config": config})).await;
        let Some(max_ack_pending) = put.as_ref().err().and_then(allowed_ack_pending) else { return put };
        let config = consumer::pull::Config { max_ack_pending, ..config.clone() };
        self.request(operation, &json!({"stream_name": stream, "config": config})).await
    }

    async fn create(&self, stream: &str, consume: &Consume, from: u64) -> Result<Ready, Error> {
        // `All` first, because a consumer made so may be reset to any sequence; the start is set by a reset where the
        // server knows one (2.14).
        let info = self.put(stream, &self.config(consume, DeliverPolicy::All)).await?;
        if from <= 1 {
            return Ok(Ready::of(&info));
        }
        match self.reset(stream, &consume.durable, from).await? {
            Some(ready) => Ok(ready),
            None => {
                self.delete(stream, &consume.durable).await?;
                let start = DeliverPolicy::ByStartSequence { start_sequence: from };
                Ok(Ready::of(&self.put(stream, &self.config(consume, start)).await?))
            }
        }
    }

    /// Makes the consumer of [`CatchUp`]: in memory, without acknowledgements, gone once it is not used any more.
    pub(super) async fn create_for_backlog(&self, consume: &Consume) -> Result<(), Error> {
        let Consume { stream, durable: name, from_sequence, .. } = consume;
        // One may be left from a process that died.
        self.delete(stream, name).await?;
        let config = consumer::pull::Config {
            durable_name: None,
            name: Some(name.clone()),
            ack_policy: AckPolicy::None,
            max_ack_pending: 0,
            inactive_threshold: UNUSED,
            num_replicas: 1,
            ..self.config(consume, DeliverPolicy::ByStartSequence { start_sequence: *from_sequence })
        };
        let mut body = json!({"stream_name": stream, "config": config});
        // async-nats 0.51 writes `memory_storage` here, which the server does not know and refuses.
        body["config"]["mem_storage"] = true.into();
        self.request::<consumer::Info>(format!("CONSUMER.CREATE.{stream}.{name}"), &body).await.map(drop)
    }

    /// Makes the consumer again. On an interest stream another consumer holds the messages meanwhile.
    async fn recreate(&self, consume: &Consume, from: u64) -> Result<Ready, Error> {
        let holder = match consume.retention {
            Retention::Interest => {
                let durable = format!("{}-holder", consume.durable);
                let holder = Consume { durable: durable.clone(), ..consume.clone() };
                let start = DeliverPolicy::ByStartSequence { start_sequence: from };
                self.put(&consume.stream, &self.config(&holder, start)).await?;
                Some(durable)
            }
            Retention::Limits | Retention::WorkQueue => None,
        };
        self.delete(&consume.stream, &consume.durable).await?;
        let ready = self.create(&consume.stream, consume, from).await?;
        if let Some(holder) = holder {
            self.delete(&consume.stream, &holder).await?;
        }
        Ok(ready)
    }

    /// Lets the server apply a changed filter or limit; `false` when it refuses.
    async fn update(
        &self,
        stream: &str,
        current: &consumer::Config,
        wanted: &consumer::pull::Config,
    ) -> Result<bool, Error> {
        // Where somebody else is noted by now, this stays.
        let metadata = wanted.metadata.clone().into_iter().chain(current.metadata.clone()).collect();
        let config = consumer::pull::Config { deliver_policy: current.deliver_policy, metadata, ..wanted.clone() };
        match self.put(stream, &config).await {
            Ok(_) => Ok(true),
            Err(Error::Api { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the server knows resets. An older one leaves such a request unanswered until it times out.
    fn can_reset(&self) -> bool {
        self.client.is_server_compatible(2, 14, 0)
    }

    /// Resets the consumer to deliver from `from` on; `None` when the server cannot (before 2.14) or may not.
    pub(super) async fn reset(&self, stream: &str, durable: &str, from: u64) -> Result<Option<Ready>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            reset_seq: u64,
            delivered: consumer::SequenceInfo,
            num_pending: u64,
        }
        if !self.can_reset() {
            return Ok(None);
        }
        let operation = format!("CONSUMER.RESET.{stream}.{durable}");
        match self.request::<Answer>(operation, &json!({"seq": from})).await {
            Ok(answer) if answer.reset_seq == from => {
                Ok(Some(Ready { delivered: answer.delivered.consumer_sequence, pending: answer.num_pending }))
            }
            Ok(_) | Err(Error::Api { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn delete(&self, stream: &str, durable: &str) -> Result<(), Error> {
        let deleted: Result<serde_json::Value, _> =
            self.request(format!("CONSUMER.DELETE.{stream}.{durable}"), &json!({})).await;
        optional(deleted).map(|_| ())
    }
}

impl JetStream for Nats {
    fn denied(&self) -> Option<String> {
        self.link.borrow().denied.clone()
    }

    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamState>, Error>> {
        #[derive(Deserialize)]
        struct Page {
            total: usize,
            #[serde(default)]
            streams: Option<Vec<stream::Info>>,
        }
        async move {
            let mut all = Vec::new();
            loop {
                let page: Page = self.request("STREAM.LIST".to_owned(), &json!({"offset": all.len()})).await?;
                let streams = page.streams.unwrap_or_default();
                let last = streams.is_empty() || all.len() + streams.len() >= page.total;
                all.extend(streams.iter().map(state_of));
                if last {
                    break;
                }
            }
            all.retain(|stream| !internal(&stream.name));
            all.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(all)
        }
        .boxed()
    }

    fn ensure_stream<'a>(
        &'a self,
        stream: &'a str,
        subjects: &'a [String],
    ) -> BoxFuture<'a, Result<StreamState, Error>> {
        async move {
            let existing: Option<stream::Info> =
                optional(self.request(format!("STREAM.INFO.{stream}"), &json!({})).await)?;
            let info: stream::Info = match existing {
                Some(info) => {
                    let mut config = info.config;
                    config.subjects.extend(subjects.iter().cloned());
                    config.subjects.sort();
                    config.subjects.dedup();
                    self.request(format!("STREAM.UPDATE.{stream}"), &config).await?
                }
                None => {
                    let config = stream::Config {
                        name: stream.to_owned(),
                        description: Some("made by Lifeline: no other stream held these subjects".to_owned()),
                        subjects: subjects.to_vec(),
                        retention: RetentionPolicy::Limits,
                        storage: StorageType::File,
                        max_messages: -1,
                        max_bytes: -1,
                        max_messages_per_subject: -1,
                        num_replicas: 1,
                        allow_direct: true,
                        ..stream::Config::default()
                    };
                    self.request(format!("STREAM.CREATE.{stream}"), &config).await?
                }
            };
            Ok(state_of(&info))
        }
        .boxed()
    }

    fn state<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<StreamState>, Error>> {
        async move {
            let info: Option<stream::Info> = optional(self.request(format!("STREAM.INFO.{stream}"), &json!({})).await)?;
            Ok(info.as_ref().map(state_of))
        }
        .boxed()
    }

    fn deleted<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<BTreeSet<u64>>, Error>> {
        self.deleted_in(stream).boxed()
    }

    fn stored_from<'a>(
        &'a self,
        stream: &'a str,
        subject: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<Stored>, Error>> {
        async move {
            let message = self.fetch(stream, json!({"seq": sequence, "next_by_subj": subject})).await?;
            Ok(message.map(|message| Stored {
                sequence: message.sequence,
                published_unix_nanos: message.published_unix_nanos,
                content_hash: epoch::content_hash(&message.payload),
            }))
        }
        .boxed()
    }

    fn backlog<'a>(&'a self, stream: &'a str, durable: &'a str) -> BoxFuture<'a, Result<Option<Backlog>, Error>> {
        async move { Ok(self.consumer(stream, durable).await?.as_ref().map(backlog_of)) }.boxed()
    }

    fn filters<'a>(&'a self, stream: &'a str, durable: &'a str) -> BoxFuture<'a, Result<Option<Vec<String>>, Error>> {
        let owned = |info: consumer::Info| filters(&info.config).into_iter().map(str::to_owned).collect();
        async move { Ok(self.consumer(stream, durable).await?.map(owned)) }.boxed()
    }

    fn alone_from<'a>(&'a self, consume: &'a Consume, count: u32) -> BoxFuture<'a, Result<Vec<Message>, Error>> {
        self.messages_from(consume, consume.from_sequence, count).boxed()
    }

    fn beside(&self, consume: Consume) -> BoxFuture<'_, Result<Option<Box<dyn Batches>>, Error>> {
        let mut link = self.link.clone();
        async move {
            link.mark_unchanged();
            let second = Consume { durable: catch_up::name(&consume.durable), ..consume };
            self.create_for_backlog(&second).await?;
            Ok(Some(Box::new(Pull::open(self.clone(), link, second, 0).await?) as Box<dyn Batches>))
        }
        .boxed()
    }

    fn owner<'a>(&'a self, stream: &'a str, durable: &'a str) -> BoxFuture<'a, Result<Option<Owner>, Error>> {
        self.owner(stream, durable).boxed()
    }

    fn note_owner<'a>(
        &'a self,
        stream: &'a str,
        durable: &'a str,
        owner: &'a Owner,
    ) -> BoxFuture<'a, Result<Option<Owner>, Error>> {
        self.note_owner(stream, durable, owner).boxed()
    }

    fn first_alone<'a>(&'a self, consume: &'a Consume, count: u32) -> BoxFuture<'a, Result<Option<Batch>, Error>> {
        self.first_alone(consume, count).boxed()
    }

    fn consume(&self, consume: Consume) -> BoxFuture<'_, Result<Box<dyn Batches>, Error>> {
        async move {
            let mut link = self.link.clone();
            // A connection lost from here on is an interruption of this consumer.
            link.mark_unchanged();
            let Ready { delivered, pending } = self.prepare(&consume).await?;
            if pending >= self.backlog_min && consume.retention == Retention::Limits && self.can_reset() {
                match CatchUp::open(self.clone(), link.clone(), consume.clone(), pending).await {
                    Ok(catch_up) => return Ok(Box::new(catch_up) as Box<dyn Batches>),
                    Err(error) => {
                        let reason = one_line(&error);
                        tracing::warn!(stream = consume.stream, reason, "a backlog is read by the slower way");
                    }
                }
            }
            let pull = Pull::open(self.clone(), link, consume, delivered).await?;
            Ok(Box::new(pull) as Box<dyn Batches>)
        }
        .boxed()
    }
}

/// How many unacknowledged messages are allowed, where the server refused a consumer for wanting more. The number is the last
/// word of its description (`JSConsumerMaxPendingAckExcessErrF` in nats-server's `errors.json`).
fn allowed_ack_pending(error: &Error) -> Option<i64> {
    let Error::Api { cause, .. } = error else { return None };
    let is_this = cause.error_code() == ErrorCode::CONSUMER_MAX_PENDING_ACK_EXCESS;
    let said = is_this.then(|| cause.to_string())?;
    let (description, _) = said.rsplit_once(" (code")?;
    description.rsplit(' ').next()?.parse().ok()
}

/// Turns "there is no such thing" into `None`.
pub(super) fn optional<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::Api { cause, .. })
            if matches!(
                cause.error_code(),
                ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND | ErrorCode::NO_MESSAGE_FOUND
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
