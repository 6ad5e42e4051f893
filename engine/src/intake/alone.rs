//! Messages that are read alone: asked for one by one, in a form that any bytes survive.
//!
//! The client library ends the connection at a header block or a subject that it cannot read, and a consumer would deliver that
//! message again and again. `STREAM.MSG.GET` gives headers and payload in base64. So a session that follows a failed one begins
//! with the first messages that wait, read like this. Start at [`Nats::first_alone`].
//!
//! Never here: whether a message is an event.

use async_nats::Subject;
use async_nats::jetstream::consumer;
use async_nats::jetstream::stream::RawMessage;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Error;
use super::agreement::delivers;
use super::jetstream::{Batch, Consume, Message, Retention};
use super::nats::{Nats, optional};
use super::pull::Replies;

/// Bytes of payload after which no further message is read alone.
const BYTES_MAX: usize = 8 << 20;

/// What a header block begins with. A status may follow on the line.
const VERSION: &str = "NATS/1.0";

/// The answer to `STREAM.MSG.GET`.
#[derive(Deserialize)]
struct Fetched {
    message: RawMessage,
}

impl Nats {
    /// The first messages that the durable consumer has to deliver, at most `count`.
    pub(super) async fn first_alone(&self, consume: &Consume, count: u32) -> Result<Option<Batch>, Error> {
        let Consume { stream, durable, from_sequence, retention, .. } = consume;
        // A consumer that is not there has not delivered what stops it.
        let Some(info) = self.consumer(stream, durable).await? else { return Ok(None) };
        delivers(&info)?;
        // Each start begins here.
        if let Some(told) = consume.of_another_log(info.ack_floor.stream_sequence) {
            tracing::warn!("{told}");
        }
        let from = match retention {
            Retention::Limits => *from_sequence,
            Retention::Interest | Retention::WorkQueue => (*from_sequence).min(info.ack_floor.stream_sequence + 1),
        };
        let messages = self.messages_from(consume, from, count).await?;
        if messages.is_empty() {
            return Ok(None);
        }
        let replies = acknowledgements(consume, &info, &messages);
        let acknowledge = Box::new(Replies::new(self.client().clone(), replies));
        // The consumer has not delivered what is read beside it, so it counts that too.
        let beside = messages.iter().filter(|message| message.sequence > info.delivered.stream_sequence).count() as u64;
        Ok(Some(Batch { messages, pending: info.num_pending.saturating_sub(beside), acknowledge }))
    }

    /// The first messages from a sequence on that a consumer asks for, at most `count`; none where none is there.
    pub(super) async fn messages_from(&self, consume: &Consume, from: u64, count: u32) -> Result<Vec<Message>, Error> {
        let (mut messages, mut bytes, mut from) = (Vec::<Message>::new(), 0, from);
        while messages.len() < count as usize && bytes < BYTES_MAX {
            let message = match self.first_from(consume, from).await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) if messages.is_empty() => return Err(error),
                Err(_) => break,
            };
            from = message.sequence + 1;
            bytes += message.payload.len();
            messages.push(message);
        }
        Ok(messages)
    }

    /// The first message from a sequence on that the consumer asks for.
    async fn first_from(&self, consume: &Consume, from: u64) -> Result<Option<Message>, Error> {
        let mut first: Option<Message> = None;
        for subject in consume.subjects() {
            let found = self.fetch(&consume.stream, json!({"seq": from, "next_by_subj": subject})).await?;
            let is_earlier = |found: &Message| first.as_ref().is_none_or(|first| found.sequence < first.sequence);
            if let Some(found) = found.filter(is_earlier) {
                first = Some(found);
            }
        }
        Ok(first)
    }

    /// The message of a sequence; `None` when the stream, or the message, is gone.
    ///
    /// # Errors
    /// When the server refuses, or does not answer.
    pub async fn message(&self, stream: &str, sequence: u64) -> Result<Option<Message>, Error> {
        self.fetch(stream, json!({"seq": sequence})).await
    }

    /// The message that a request of `STREAM.MSG.GET` names.
    pub(super) async fn fetch(&self, stream: &str, request: Value) -> Result<Option<Message>, Error> {
        let operation = format!("STREAM.MSG.GET.{stream}");
        let answer: Option<Fetched> = optional(self.request(operation.clone(), &request).await)?;
        let Some(Fetched { message }) = answer else { return Ok(None) };
        let decoded = |base64: &str| {
            let unreadable = |cause| Error::NoAnswer { operation: operation.clone(), cause: Box::new(cause) };
            BASE64.decode(base64.as_bytes()).map_err(unreadable)
        };
        Ok(Some(Message {
            sequence: message.sequence,
            published_unix_nanos: u64::try_from(message.time.unix_timestamp_nanos()).unwrap_or(0),
            subject: Subject::from(message.subject),
            headers: headers(&decoded(message.headers.as_deref().unwrap_or_default())?),
            payload: decoded(&message.payload)?.into(),
        }))
    }
}

/// The reply subjects by which the consumer takes its messages for acknowledged (ADR-15). It knows those that it delivered by
/// their sequence, and ignores the others. Nothing is to be acknowledged where progress is the log's.
fn acknowledgements(consume: &Consume, info: &consumer::Info, messages: &[Message]) -> Vec<Subject> {
    let Consume { stream, durable, retention, .. } = consume;
    let reply = |message: &Message| {
        let Message { sequence, published_unix_nanos, .. } = message;
        let delivery = info.delivered.consumer_sequence;
        format!("$JS.ACK.{stream}.{durable}.1.{sequence}.{delivery}.{published_unix_nanos}.0").into()
    };
    let delivered = messages.iter().filter(|message| message.sequence <= info.delivered.stream_sequence);
    match retention {
        Retention::Limits => Vec::new(),
        // One speaks for all below it.
        Retention::Interest => delivered.last().map(reply).into_iter().collect(),
        Retention::WorkQueue => delivered.map(reply).collect(),
    }
}

/// The headers of a block, sorted by name, as far as they can be read. A byte that is no UTF-8 becomes U+FFFD; a line without a
/// colon is a value without a name. What the client library accepts it reads in the same way.
fn headers(block: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(block);
    let mut headers = Vec::<(String, String)>::new();
    let mut may_continue = false;
    for (number, line) in text.lines().enumerate() {
        let is_version = number == 0 && line.starts_with(VERSION);
        if line.is_empty() || is_version {
            may_continue = false;
            continue;
        }
        match headers.last_mut() {
            Some((_, value)) if may_continue && line.starts_with(char::is_whitespace) => value.push_str(line),
            _ if line.starts_with(char::is_whitespace) => headers.push((String::new(), line.trim().to_owned())),
            _ => {
                let (name, value) = line.split_once(':').unwrap_or(("", line));
                headers.push((name.to_owned(), value.trim_start().to_owned()));
            }
        }
        may_continue = true;
    }
    headers.iter_mut().for_each(|(_, value)| value.truncate(value.trim_end().len()));
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_header_block_is_read() {
        let check = |block: &[u8], expected: &[(&str, &str)]| {
            let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            assert_eq!(headers(block), expected, "{}", block.escape_ascii());
        };
        check(b"", &[]);
        check(b"N", &[("", "N")]);
        check(b"NATS/1.0\r\n\r\n", &[]);
        check(b"NATS/1.0\r\nb: 2\r\na:1\r\nb: 1 \r\n\r\n", &[("a", "1"), ("b", "2"), ("b", "1")]);
        check(b"NATS/1.0 503 No Responders\r\n\r\n", &[]);
        check(b"NATS/2.0\r\na: 1\r\n\r\n", &[("", "NATS/2.0"), ("a", "1")]);
        check(b"NATS/1.0\r\na: 1\r\n  2\r\n\r\n", &[("a", "1  2")]);
        check(b"NATS/1.0\r\na: 1 \r\n  2 \r\n\r\n", &[("a", "1   2")]);
        check(b"NATS/1.0\r\na: 1\r\n\r\n b: 2\r\n", &[("", "b: 2"), ("a", "1")]);
        check(b"NATS/1.0\r\n a\r\n\r\n", &[("", "a")]);
        check(b"NATS/1.0\r\nX-Name: j\xfcrgen\r\n\r\n", &[("X-Name", "j\u{fffd}rgen")]);
        check(b"NATS/1.0\r\nno colon\r\n\r\n", &[("", "no colon")]);
        check(b"NATS/1.0\r\na b: c: d\r\n\r\n", &[("a b", "c: d")]);
        check(b"NATS/1.0\r\na: 1\n2\r\n\r\n", &[("", "2"), ("a", "1")]);
        check(b"\xff\xfe\r\n", &[("", "\u{fffd}\u{fffd}")]);
    }
}
