//! One record in full: what a message holds, and what came of it.
//!
//! Start at [`EventDetail::of`]. What the log keeps of a message: its payload byte for byte, its headers as text and sorted by
//! name, and where it was in its stream. Never here: a guess at what was not kept.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::event::{CloudEvent, Mode, is_json};
use crate::fact::{Delivery, EventReceived, EventRejected, Fact, MarkerFound};
use crate::reads::time;
use crate::why::event::WhyEvent;

/// One record in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventDetail {
    /// What it is, and what came of it.
    #[serde(flatten)]
    pub why: WhyEvent,
    /// The message; absent for a record that holds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageDetail>,
    /// The attributes of the event, extensions among them, as templates see them; absent for a record that is no event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, Value>>,
    /// The data of the event, as templates see it; absent for an event without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// Why the message was rejected; absent for a record that is no rejected message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What of the message was not kept, or cannot be read any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A message as the log keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageDetail {
    /// The cluster whose NATS it came from.
    pub cluster: String,
    /// JetStream stream.
    pub stream: String,
    /// The stream's epoch.
    pub epoch: u32,
    /// Stream sequence.
    pub sequence: u64,
    /// NATS subject.
    pub nats_subject: String,
    /// When the server stored it, RFC 3339.
    pub published: String,
    /// Its headers, sorted by name.
    pub headers: Vec<Header>,
    /// Bytes of its payload.
    pub payload_bytes: usize,
    /// The payload of a rejected message, byte for byte, in base64; absent for an event, whose attributes and data say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

/// A header of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Header {
    /// Its name; empty for a line without one.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The data of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Data {
    /// How it is given.
    pub encoding: Encoding,
    /// Its content type; absent where the event names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Its bytes; absent for JSON that is a part of the JSON of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// Any JSON, or a text that is the data or its base64.
    pub value: Value,
}

/// How data is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = DataEncoding)]
pub enum Encoding {
    /// As JSON.
    Json,
    /// As a text.
    Text,
    /// As base64, because it is no text.
    Base64,
}

impl EventDetail {
    /// A record in full. `payload` is that of the record.
    #[must_use]
    pub fn of(why: WhyEvent, payload: &[u8]) -> EventDetail {
        let mut detail =
            EventDetail { why, message: None, attributes: None, data: None, reason: None, notes: Vec::new() };
        match Fact::decode(payload) {
            Ok(Fact::Event(event)) => detail.take_event(&event),
            Ok(Fact::Rejected(EventRejected { delivery, reason, headers, payload })) => {
                let message = MessageDetail::of(&delivery, &headers, payload);
                detail.message = Some(MessageDetail { payload_base64: Some(BASE64.encode(payload)), ..message });
                detail.reason = Some(reason.to_owned());
                detail.note_headers(&headers);
            }
            Ok(Fact::Marker(MarkerFound { delivery, headers, payload, .. })) => {
                detail.message = Some(MessageDetail::of(&delivery, &headers, payload));
            }
            // The entry says what it is, or why it cannot be read.
            Ok(Fact::Stream(_) | Fact::Rule(_) | Fact::Replay(_) | Fact::Reconciled(_)) => {}
            Ok(Fact::Gathered(_) | Fact::Lost(_)) | Err(_) => {}
        }
        detail
    }

    fn take_event(&mut self, event: &EventReceived<'_>) {
        let EventReceived { delivery, source, subject, kind, id, headers, payload, .. } = event;
        self.message = Some(MessageDetail::of(delivery, headers, payload));
        self.note_headers(headers);
        match CloudEvent::to_map(headers, payload) {
            Ok(mut attributes) => {
                let is_binary = Mode::of(headers) == Mode::Binary;
                self.data = Data::take(&mut attributes, is_binary.then_some(*payload));
                self.attributes = Some(attributes.into_iter().collect());
            }
            Err(error) => {
                let known = [("id", id), ("source", source), ("type", kind), ("subject", subject)];
                let known = known.map(|(name, value)| (name.to_owned(), Value::String((*value).to_owned())));
                self.attributes = Some(known.into_iter().collect());
                self.notes.push(format!("this release reads no event in the message: {error}"));
            }
        }
    }

    /// What was lost of the headers before they came here.
    fn note_headers(&mut self, headers: &[(&str, &str)]) {
        if headers.iter().any(|(name, value)| name.contains('\u{fffd}') || value.contains('\u{fffd}')) {
            let note = "headers are kept as text: each byte that was no UTF-8 is shown as U+FFFD";
            self.notes.push(note.to_owned());
        }
    }
}

impl MessageDetail {
    /// The payload of a rejected message; `None` for an event.
    #[must_use]
    pub fn payload(&self) -> Option<Vec<u8>> {
        BASE64.decode(self.payload_base64.as_ref()?.as_bytes()).ok()
    }

    fn of(delivery: &Delivery<'_>, headers: &[(&str, &str)], payload: &[u8]) -> MessageDetail {
        let header = |(name, value): &(&str, &str)| Header { name: (*name).to_owned(), value: (*value).to_owned() };
        MessageDetail {
            cluster: delivery.cluster.to_owned(),
            stream: delivery.stream.to_owned(),
            epoch: delivery.epoch,
            sequence: delivery.sequence,
            nats_subject: delivery.subject.to_owned(),
            published: time(delivery.published_unix_nanos),
            headers: headers.iter().map(header).collect(),
            payload_bytes: payload.len(),
            payload_base64: None,
        }
    }
}

impl Data {
    /// Takes the data out of an event. `payload` is that of a message in binary mode, which is the data.
    fn take(event: &mut Map<String, Value>, payload: Option<&[u8]>) -> Option<Data> {
        let content_type = event.get("datacontenttype").and_then(Value::as_str).map(str::to_owned);
        if let Some(base64) = event.remove("data_base64") {
            let decoded = base64.as_str().and_then(|text| BASE64.decode(text.as_bytes()).ok());
            let bytes = payload.map(<[u8]>::len).or_else(|| decoded.map(|decoded| decoded.len()));
            return Some(Data { encoding: Encoding::Base64, content_type, bytes, value: base64 });
        }
        let value = event.remove("data")?;
        let is_text = value.is_string()
            && match (&content_type, payload) {
                (Some(kind), _) => !is_json(kind),
                // Without a content type it is JSON where it reads as JSON.
                (None, Some(payload)) => serde_json::from_slice::<IgnoredAny>(payload).is_err(),
                (None, None) => false,
            };
        let bytes = payload.map(<[u8]>::len).or_else(|| value.as_str().filter(|_| is_text).map(str::len));
        Some(Data { encoding: if is_text { Encoding::Text } else { Encoding::Json }, content_type, bytes, value })
    }
}
