//! Delivery: a pull consumer driven over a core subscription, with requests and bookkeeping of our own.
//!
//! The library's own `stream()` can stop asking for messages, clones a context per message and drops silently what its
//! channel cannot hold. Here two pulls are outstanding, so that the pipe never runs dry; every delivery is counted, so
//! that a hole is seen before it is acknowledged over; and heartbeats distinguish idle from dead.
//!
//! Start at `Pull::next_batch`. Statuses of the server: ADR-37 and `consumer.go`.
//!
//! Never here: redelivery and epochs; any doubt ends the consumer with an error and [`super::reader`] looks again.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{HeaderMap, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures::future::{BoxFuture, poll_fn};
use futures::{FutureExt, Stream};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::agreement::{backlog_of, delivers};
use super::connection::ConnectionState;
use super::jetstream::{Acknowledge, Backlog, Batch, Batches, Consume, Message, Retention};
use super::nats::Nats;
use super::pace::Heard;
use super::{Error, pace};

/// Messages of one pull, and at most in one batch. Two pulls stay far below the 65,536 messages at which the client
/// library starts to drop. Small enough that few messages are unacknowledged: for each the server keeps an entry, and it
/// writes all of them down again and again, at up to 0.6 us a message with 80,000 of them.
pub const BATCH_MESSAGES_MAX: usize = 5_000;

/// A batch smaller than this waits for [`PATIENCE`] when as many more are waiting at the server.
const BATCH_MESSAGES_SMALL: usize = 2_500;

/// How long a small batch waits in a backlog.
const PATIENCE: Duration = Duration::from_millis(4);

/// What the server adds to a message whose payload it leaves out (`headers_only`): how large that was.
const SIZE_HEADER: &str = "Nats-Msg-Size";

/// What the reply subject of a delivered message begins with.
const ACK_PREFIX: &str = "$JS.ACK.";

/// Bytes of one pull at most, unless a single message may be larger.
const PULL_BYTES_MAX: usize = 32 << 20;

/// How long a pull waits at the server.
const EXPIRES: Duration = Duration::from_secs(30);

/// How often the server says that it is alive when it has nothing to deliver.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Time without a message, a heartbeat or bytes of either, after which the consumer is taken for dead: two heartbeats and a half.
const SILENCE: Duration = pace::ANSWER_WITHIN;

/// A pull consumer at work.
pub struct Pull {
    nats: Nats,
    link: watch::Receiver<ConnectionState>,
    consume: Consume,
    subscriber: Subscriber,
    inbox: String,
    request_subject: String,
    /// Bytes of the next pull, and at most.
    bytes: (usize, usize),
    /// When the last pull was made.
    pulled: Instant,
    /// Messages that waited at the server when it sent the last one.
    waiting: u64,
    /// What the replies of this consumer begin with, as far as is known.
    reply_head: String,
    /// Number of the next delivery. Invariant: deliveries of a consumer are numbered without holes.
    next_delivery: u64,
    /// Messages asked for that have neither come nor been called off.
    outstanding: usize,
    /// Pulls made so far; names the next one's inbox.
    pulls: u64,
    /// When something of the consumer last came, and what came by its connection since then.
    heard: Heard,
    /// What has been taken and not given out: it survives when the future that waits for more is dropped.
    collected: Collected,
    /// Why the consumer is over, kept until what came before it has been given out.
    end: Option<Error>,
}

impl Pull {
    /// Subscribes; `delivered` is the number of the consumer's last delivery.
    pub(super) async fn open(
        nats: Nats,
        link: watch::Receiver<ConnectionState>,
        consume: Consume,
        delivered: u64,
    ) -> Result<Pull, Error> {
        let inbox = nats.client().new_inbox();
        let subscriber = nats
            .client()
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|cause| Error::NoAnswer { operation: "subscribe".to_owned(), cause: Box::new(cause) })?;
        let heard = Heard::new(nats.client().statistics());
        let bytes_max = PULL_BYTES_MAX.max(2 * nats.client().max_payload());
        Ok(Pull {
            request_subject: nats.subject_of(&format!("CONSUMER.MSG.NEXT.{}.{}", consume.stream, consume.durable)),
            bytes: (pace::BYTES_FIRST, bytes_max),
            pulled: Instant::now(),
            waiting: 0,
            nats,
            link,
            consume,
            subscriber,
            inbox,
            reply_head: String::new(),
            next_delivery: delivered + 1,
            outstanding: 0,
            pulls: 0,
            heard,
            collected: Collected::default(),
            end: None,
        })
    }

    async fn next_batch(&mut self) -> Result<Batch, Error> {
        loop {
            if self.end.is_none() {
                self.top_up().await?;
            }
            self.collect().await;
            // With a backlog, a moment's patience makes a batch of thousands instead of dozens: fewer acknowledgements,
            // fewer writes, fewer wake-ups of two busy cores (650 k/s instead of 580 k/s). Without one, the first message
            // goes out at once.
            if self.end.is_none() && self.collected.is_early() {
                tokio::time::sleep(PATIENCE).await;
                self.collect().await;
            }
            if let Some(batch) = self.collected.finish(&self.nats, self.consume.retention) {
                self.heard.note();
                return Ok(batch);
            }
            if let Some(end) = self.end.take() {
                return Err(end);
            }
            // Whatever was lost with the connection is unknown; nothing that comes later may hide that.
            if self.link.has_changed().unwrap_or(true) {
                return Err(Error::Interrupted);
            }
            // What was taken may have called off a pull.
            self.top_up().await?;
            self.wait().await?;
        }
    }

    /// Takes what has arrived, outside the cooperative budget of tokio, which would cut batches to 128 messages.
    async fn collect(&mut self) {
        tokio::task::unconstrained(poll_fn(|context| {
            self.drain(context);
            Poll::Ready(())
        }))
        .await;
    }

    /// Waits until a message is there, or something else happened.
    async fn wait(&mut self) -> Result<(), Error> {
        // The server delivers what two pulls asked for, and a message that is larger than they are makes them larger.
        let before = 2 * (self.bytes.0.max(self.nats.client().max_payload()) as u64);
        let (link, subscriber) = (&mut self.link, &mut self.subscriber);
        let first = loop {
            tokio::select! {
                biased;
                _ = link.changed() => return Err(Error::Interrupted),
                first = poll_fn(|context| Pin::new(&mut *subscriber).poll_next(context)) => break first,
                () = tokio::time::sleep_until(self.heard.look_at()) => if self.heard.is_silent(before) {
                    return Err(Error::Silent {
                        stream: self.consume.stream.clone(),
                        consumer: self.consume.durable.clone(),
                        seconds: SILENCE.as_secs(),
                    });
                },
            }
        };
        self.heard.note();
        match first {
            Some(message) => self.take(message),
            None => return Err(Error::Interrupted),
        }
        Ok(())
    }

    /// Keeps two pulls at the server.
    async fn top_up(&mut self) -> Result<(), Error> {
        while self.outstanding <= BATCH_MESSAGES_MAX {
            let reply = format!("{}.{}", self.inbox, self.pulls);
            // One ended. Where nothing waited, it took as long as messages took to be published.
            if self.waiting > 0 {
                let (bytes, bytes_max) = self.bytes;
                self.bytes.0 = pace::next_bytes(bytes, self.pulled.elapsed(), bytes_max);
            }
            self.pulled = Instant::now();
            let request = self.request();
            self.nats
                .client()
                .publish_with_reply(self.request_subject.clone(), reply, request)
                .await
                .map_err(|cause| Error::NoAnswer { operation: "pull".to_owned(), cause: Box::new(cause) })?;
            // Silence counts from here at the earliest: the recorder may have kept us waiting.
            self.heard.note();
            self.pulls += 1;
            self.outstanding += BATCH_MESSAGES_MAX;
        }
        Ok(())
    }

    /// What the next pull asks for.
    fn request(&self) -> Bytes {
        let mut request = json!({ "batch": BATCH_MESSAGES_MAX, "max_bytes": self.bytes.0 });
        // One for messages that are there goes without the times that the server otherwise looks at for each of them. Any
        // other stays open at the server.
        if self.waiting < (self.outstanding + BATCH_MESSAGES_MAX) as u64 {
            request["expires"] = nanos(EXPIRES).into();
            request["idle_heartbeat"] = nanos(HEARTBEAT).into();
        }
        request.to_string().into()
    }

    /// Takes what has arrived, without waiting.
    fn drain(&mut self, context: &mut Context<'_>) {
        let mut has_heard = false;
        while self.end.is_none() && self.collected.messages.len() < BATCH_MESSAGES_MAX {
            match Pin::new(&mut self.subscriber).poll_next(context) {
                Poll::Ready(Some(message)) => {
                    has_heard = true;
                    self.take(message);
                }
                Poll::Ready(None) => self.end = Some(Error::Interrupted),
                Poll::Pending => break,
            }
        }
        // Heartbeats come here too, when a look of the reader has just ended the wait for messages.
        if has_heard {
            self.heard.note();
        }
    }

    fn take(&mut self, message: async_nats::Message) {
        let is_delivery = message.reply.as_ref().is_some_and(|reply| reply.starts_with(ACK_PREFIX));
        // A stored message may have a status too, written by its publisher.
        if let Some(status) = message.status.filter(|_| !is_delivery) {
            return self.handle_status(status, &message);
        }
        // A consumer that somebody made to deliver headers alone: what comes is no message.
        let has_size = message.headers.as_ref().is_some_and(|headers| headers.get(SIZE_HEADER).is_some());
        if has_size && message.payload.is_empty() {
            return self.ended("it delivers headers without payloads");
        }
        let reply = message.reply.unwrap_or_else(|| Subject::from_static(""));
        let known = reply.strip_prefix(&*self.reply_head);
        let delivery = match known.and_then(|numbers| DeliveryInfo::parse_numbers(numbers.as_bytes())) {
            Some(delivery) => delivery,
            None => {
                let Some((delivery, head_bytes)) = DeliveryInfo::parse(&reply) else {
                    self.end = Some(Error::Foreign { subject: message.subject.to_string(), reply: reply.to_string() });
                    return;
                };
                reply[..head_bytes].clone_into(&mut self.reply_head);
                delivery
            }
        };
        if delivery.number != self.next_delivery {
            self.end = Some(Error::DeliveryMissing {
                stream: self.consume.stream.clone(),
                consumer: self.consume.durable.clone(),
                expected: self.next_delivery,
                got: delivery.number,
            });
            return;
        }
        self.next_delivery += 1;
        self.outstanding = self.outstanding.saturating_sub(1);
        self.waiting = delivery.pending;
        let batch = &mut self.collected;
        batch.pending = delivery.pending;
        if self.consume.retention == Retention::WorkQueue {
            batch.replies.push(reply);
        } else if delivery.sequence >= batch.highest_sequence {
            batch.highest_sequence = delivery.sequence;
            batch.highest = None;
            batch.last = Some(reply);
        } else {
            let before = batch.last.replace(reply);
            batch.highest = batch.highest.take().or(before);
        }
        // The library allocates each subject. Nearly always it is the one before it, and one for the whole batch is enough:
        // the recorder's thread drops messages, and what one thread allocates and another frees one by one is slow.
        let subject = match batch.messages.last() {
            Some(last) if last.subject == message.subject => last.subject.clone(),
            _ => message.subject,
        };
        if batch.messages.is_empty() {
            let waiting = usize::try_from(delivery.pending).unwrap_or(usize::MAX);
            batch.messages.reserve(waiting.saturating_add(1).min(BATCH_MESSAGES_MAX));
        }
        batch.messages.push(Message {
            sequence: delivery.sequence,
            published_unix_nanos: delivery.published_unix_nanos,
            subject,
            headers: message.headers.as_ref().map(sorted).unwrap_or_default(),
            payload: message.payload,
        });
    }

    /// Handles what the server says about a pull.
    fn handle_status(&mut self, status: StatusCode, message: &async_nats::Message) {
        let description = message.description.as_deref().unwrap_or_default();
        match status {
            StatusCode::IDLE_HEARTBEAT => {}
            // A pull ended unfilled: it ran out of time, or of bytes. What it still wanted is no longer outstanding.
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => self.call_off(message),
            StatusCode::REQUEST_TERMINATED
                if description.starts_with("Message Size Exceeds") || description.starts_with("Batch Completed") =>
            {
                self.call_off(message);
            }
            StatusCode::NO_RESPONDERS => {
                self.ended("nobody answers for it: the consumer, its stream or JetStream is gone")
            }
            _ => self.ended(&format!("{status} {description}")),
        }
    }

    fn call_off(&mut self, message: &async_nats::Message) {
        let unfilled = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Pending-Messages"))
            .and_then(|value| value.as_str().parse::<usize>().ok())
            .unwrap_or(BATCH_MESSAGES_MAX);
        // It had no room for a single message.
        if message.status == Some(StatusCode::REQUEST_TERMINATED) && unfilled == BATCH_MESSAGES_MAX {
            self.bytes.0 = pace::larger(self.bytes.0, self.bytes.1);
        }
        self.outstanding = self.outstanding.saturating_sub(unfilled);
    }

    fn ended(&mut self, reason: &str) {
        self.end = Some(Error::ConsumerEnded {
            stream: self.consume.stream.clone(),
            consumer: self.consume.durable.clone(),
            reason: reason.to_owned(),
        });
    }
}

impl Batches for Pull {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, Error>> {
        self.next_batch().boxed()
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Option<Backlog>, Error>> {
        async move {
            let Consume { stream, durable, .. } = &self.consume;
            let info = self.nats.consumer(stream, durable).await?;
            info.as_ref().map_or(Ok(()), delivers)?;
            if let Some(info) = &info
                && !self.nats.asks_for(&self.consume, &info.config)
            {
                let reason =
                    "somebody changed its configuration; only one engine may read with this consumer".to_owned();
                let (stream, consumer) = (stream.clone(), durable.clone());
                return Err(Error::ConsumerEnded { stream, consumer, reason });
            }
            Ok(info.as_ref().map(backlog_of))
        }
        .boxed()
    }
}

/// A batch in the making.
#[derive(Default)]
struct Collected {
    messages: Vec<Message>,
    pending: u64,
    /// Reply of the last delivery.
    last: Option<Subject>,
    highest_sequence: u64,
    /// Reply of the highest stream sequence, where that is not the last delivery.
    highest: Option<Subject>,
    /// All replies, where each message wants its own acknowledgement.
    replies: Vec<Subject>,
}

impl Collected {
    fn is_early(&self) -> bool {
        self.messages.len() < BATCH_MESSAGES_SMALL
            && !self.messages.is_empty()
            && self.pending >= BATCH_MESSAGES_SMALL as u64
    }

    fn finish(&mut self, nats: &Nats, retention: Retention) -> Option<Batch> {
        if self.messages.is_empty() {
            return None;
        }
        let collected = std::mem::take(self);
        let replies = match retention {
            Retention::WorkQueue => collected.replies,
            // `ack all` covers what has both a lower stream sequence and a lower delivery number. They disagree when a
            // redelivery closes the batch: the highest sequence first, so that the server heeds both.
            Retention::Limits | Retention::Interest => collected.highest.into_iter().chain(collected.last).collect(),
        };
        Some(Batch {
            messages: collected.messages,
            pending: collected.pending,
            acknowledge: Box::new(Replies::new(nats.client().clone(), replies)),
        })
    }
}

/// Acknowledges by the reply subjects of messages.
pub(super) struct Replies {
    client: async_nats::Client,
    replies: Vec<Subject>,
}

impl Replies {
    pub(super) fn new(client: async_nats::Client, replies: Vec<Subject>) -> Replies {
        Replies { client, replies }
    }
}

/// The body of an acknowledgement.
const ACK: Bytes = Bytes::from_static(b"+ACK");

impl Acknowledge for Replies {
    fn send(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            for reply in &self.replies {
                self.client.publish(reply.clone(), ACK).await.map_err(unanswered)?;
            }
            Ok(())
        }
        .boxed()
    }
}

fn unanswered(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::NoAnswer { operation: "acknowledge".to_owned(), cause: Box::new(cause) }
}

/// What a reply subject says of its message (ADR-15).
///
/// ```text
/// $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<delivery>.<time>.<pending>
/// $JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.<stream sequence>.<delivery>.<time>.<pending>[.<more>]
/// ```
#[derive(Debug, PartialEq, Eq)]
struct DeliveryInfo {
    sequence: u64,
    number: u64,
    published_unix_nanos: u64,
    pending: u64,
}

impl DeliveryInfo {
    /// Reads a reply subject; with it comes how many bytes of it are the same in every reply of its consumer.
    fn parse(reply: &str) -> Option<(DeliveryInfo, usize)> {
        let tokens: Vec<&str> = reply.strip_prefix(ACK_PREFIX)?.split('.').collect();
        let first = match tokens.len() {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let number = |at: usize| tokens[first + at].parse().ok().filter(|_| !tokens[first + at].starts_with('+'));
        let info = DeliveryInfo {
            sequence: number(1)?,
            number: number(2)?,
            published_unix_nanos: number(3)?,
            pending: number(4)?,
        };
        let numbers: usize = tokens[first..].iter().map(|token| token.len() + 1).sum();
        Some((info, reply.len() + 1 - numbers))
    }

    /// The same, of the numbers after the prefix that all replies of a consumer share. This runs for every message, so it
    /// reads each byte once. `None` also for what [`DeliveryInfo::parse`] may know better.
    fn parse_numbers(numbers: &[u8]) -> Option<DeliveryInfo> {
        let mut rest = numbers.iter();
        let [_, sequence, number, published_unix_nanos, pending] = {
            let mut found = [0; 5];
            for (found, end) in found.iter_mut().zip([Some(b'.'), Some(b'.'), Some(b'.'), Some(b'.'), None]) {
                let mut digits = 0;
                let ended = loop {
                    let byte = rest.next().copied();
                    let Some(digit) = byte.map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) else {
                        break byte;
                    };
                    *found = 10_u64.wrapping_mul(*found).wrapping_add(u64::from(digit));
                    digits += 1;
                };
                if ended != end || !(1..=DIGITS_SAFE).contains(&digits) {
                    return None;
                }
            }
            found
        };
        Some(DeliveryInfo { sequence, number, published_unix_nanos, pending })
    }
}

/// Digits that any number of 64 bits has room for.
const DIGITS_SAFE: usize = 19;

/// Headers in an order of their own: the library keeps them in a hash map.
pub(super) fn sorted(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut sorted: Vec<_> = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.as_str().to_owned())))
        .collect();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    sorted
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_subjects_of_both_layouts_are_read() {
        #[track_caller]
        fn check(reply: &str, expected: Option<(u64, u64, u64, u64)>) {
            let parsed = DeliveryInfo::parse(reply);
            // The short way gives the same, or nothing.
            if let Some((long, head_bytes)) = &parsed
                && let Some(short) = DeliveryInfo::parse_numbers(&reply.as_bytes()[*head_bytes..])
            {
                assert_eq!(short, *long, "{reply}");
            }
            let got = parsed.map(|(info, _)| (info.sequence, info.number, info.published_unix_nanos, info.pending));
            assert_eq!(got, expected, "{reply}");
        }
        check("$JS.ACK.S.lifeline.1.42.7.1700000000000000000.3", Some((42, 7, 1_700_000_000_000_000_000, 3)));
        check("$JS.ACK._.hash.S.lifeline.1.42.7.1700000000000000000.3", Some((42, 7, 1_700_000_000_000_000_000, 3)));
        check("$JS.ACK.hub.hash.S.lifeline.2.42.7.17.3.random", Some((42, 7, 17, 3)));
        check("$JS.ACK.hub.hash.S.lifeline.2.42.7.17.3.random.more", Some((42, 7, 17, 3)));
        check("$JS.ACK.S.lifeline.1.42.7.17", None);
        check("$JS.ACK.S.lifeline.1.42.seven.17.3", None);
        check("$JS.ACK.S.lifeline.1.42..17.3", None);
        check("$JS.ACK.S.lifeline.1.42.+7.17.3", None);
        check("$JS.ACK.S.lifeline.1.42.7.17.18446744073709551615", Some((42, 7, 17, u64::MAX)));
        check("$JS.ACK.S.lifeline.1.42.7.17.18446744073709551616", None);
        check("$JS.ACK.S.lifeline.1.42.7.17.3.", None);
        check("$JS.ACK.......", None);
        check("_INBOX.abc", None);
        check("", None);
    }

    #[test]
    fn replies_of_a_known_consumer_are_read_the_short_way() {
        for head in ["$JS.ACK.S.lifeline.", "$JS.ACK._.hash.S.lifeline."] {
            let (_, head_bytes) = DeliveryInfo::parse(&format!("{head}1.42.7.1700000000000000000.3")).unwrap();
            assert_eq!(head_bytes, head.len(), "{head}");
        }
        #[track_caller]
        fn check(numbers: &str, expected: Option<u64>) {
            assert_eq!(DeliveryInfo::parse_numbers(numbers.as_bytes()).map(|info| info.pending), expected, "{numbers}");
        }
        check("1.42.7.1700000000000000000.3", Some(3));
        check("1.42.7.1700000000000000000.9999999999999999999", Some(9_999_999_999_999_999_999));
        check("1.42.7.1700000000000000000.18446744073709551615", None);
        check("1.42.7.1700000000000000000.3.random", None);
        check("1.42.7.1700000000000000000.", None);
        check("1.42.7.1700000000000000000", None);
        check("1.42..1700000000000000000.3", None);
        check("1.42.+7.1700000000000000000.3", None);
        check("", None);
    }

    #[test]
    fn headers_come_in_one_order() {
        let mut headers = HeaderMap::new();
        headers.append("ce-type", "t");
        headers.append("Content-Type", "b");
        headers.append("Content-Type", "a");
        headers.append("ce-id", "1");
        let names: Vec<_> = sorted(&headers).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(names, ["Content-Type=b", "Content-Type=a", "ce-id=1", "ce-type=t"]);
    }
}
