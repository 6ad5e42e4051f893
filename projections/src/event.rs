//! A CloudEvent: from the bytes of a NATS message to its attributes, or the reason why it is none.
//!
//! Follows CloudEvents 1.0.2 (`spec.md`, `formats/json-format.md`, `bindings/nats-protocol-binding.md`) and is as
//! tolerant as real producers need: see [`Mode::of`]. Start at [`CloudEvent::receive`].
//!
//! Never here: what an event causes. That is a matter of rules, which this crate does not know.

use std::borrow::Cow;

use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use numbers::large_as_text;
use time::is_time;
pub use time::timestamp;

mod numbers;
mod scan;
mod time;

/// The headers of a NATS message that can matter to a CloudEvent, in message order, names as they came.
pub type Headers<'a> = [(&'a str, &'a str)];

/// How the CloudEvent lies in its NATS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The payload is the whole event, as JSON.
    Structured,
    /// Attributes are `ce-` headers, the payload is the data.
    Binary,
}

impl Mode {
    /// Finds the mode in the way that serves both the specification and the producers that send no `Content-Type`.
    ///
    /// A structured content type decides; else a `ce-specversion` header means binary; else the payload has to be the
    /// event.
    #[must_use]
    pub fn of(headers: &Headers<'_>) -> Mode {
        if content_type(headers).is_some_and(is_structured) {
            return Mode::Structured;
        }
        if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("ce-specversion")) {
            return Mode::Binary;
        }
        Mode::Structured
    }
}

/// The attributes of a valid CloudEvent that identify it, borrowed from its message where possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEvent<'a> {
    /// `id`: with `source` it names one occurrence, in the producer's own opinion.
    pub id: Cow<'a, str>,
    /// `source`: a URI-reference, kept byte for byte.
    pub source: Cow<'a, str>,
    /// `type`.
    pub kind: Cow<'a, str>,
    /// `subject`; a missing one is the empty string.
    pub subject: Cow<'a, str>,
    /// `traceparent` of the distributed tracing extension, when there is one.
    pub traceparent: Option<Cow<'a, str>>,
}

/// Why a message is no CloudEvent. The text is recorded with the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The payload of a structured message is not UTF-8.
    #[error("payload is not valid UTF-8: byte {at} of {len}")]
    NotUtf8 {
        /// Index of the first bad byte.
        at: usize,
        /// Payload length in bytes.
        len: usize,
    },
    /// The payload of a structured message is not a JSON object, or not one with attributes as the format has them.
    #[error("payload is no JSON object with the attributes of a CloudEvent: {reason}")]
    NotJson {
        /// What the JSON parser said, with line and column.
        reason: String,
    },
    /// The JSON has objects and lists inside each other deeper than is read.
    #[error("payload is nested deeper than `{levels_max}` levels of JSON, the most that is read")]
    TooDeep {
        /// How deep it may be.
        levels_max: usize,
    },
    /// An event has data in two forms.
    #[error("`data` and `data_base64` are both there, expected one of them")]
    DataTwice,
    /// A required attribute is absent, null or empty.
    #[error("attribute `{name}` is missing or empty")]
    Missing {
        /// The attribute.
        name: &'static str,
    },
    /// An attribute holds something its type does not allow.
    #[error("attribute `{name}` is `{value}`, expected {expected}")]
    Invalid {
        /// The attribute.
        name: String,
        /// Its value, shortened.
        value: String,
        /// What the specification asks for.
        expected: &'static str,
    },
    /// The message asks its server to publish another one later. That one is the event.
    #[error(
        "it is a schedule of the NATS server (header `Nats-Schedule`), the message that it will publish is the event"
    )]
    Schedule,
    /// A header line that is no `name: value`, or not in UTF-8, beside the headers that are the attributes of the event.
    #[error("a header line cannot be read: `{line}`, expected `name: value` in UTF-8")]
    Unreadable {
        /// The line, as far as it can be shown.
        line: String,
    },
    /// A content type that asks for a format Lifeline does not read, such as a batch.
    #[error("content type `{value}` is not supported, expected `application/cloudevents+json`")]
    Format {
        /// The content type.
        value: String,
    },
}

/// How deep objects and lists may be inside each other in the JSON of a message: what serde_json reads.
const LEVELS_MAX: usize = 127;

/// The attributes of the JSON format that are looked at for every event; everything else stays unread.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(expecting = "an object")]
struct Attributes<'a> {
    #[serde(borrow, default)]
    specversion: Option<Text<'a>>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    source: Option<Text<'a>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    subject: Option<Text<'a>>,
    #[serde(borrow, default)]
    time: Option<Text<'a>>,
    #[serde(borrow, default)]
    dataschema: Option<Text<'a>>,
    #[serde(borrow, default)]
    datacontenttype: Option<Text<'a>>,
    /// Only whether there is any: it is checked as JSON, and not kept.
    #[serde(default)]
    data: Option<IgnoredAny>,
    #[serde(borrow, default)]
    data_base64: Option<Text<'a>>,
    #[serde(borrow, default)]
    traceparent: Option<Text<'a>>,
}

/// A string that is borrowed unless it had to be unescaped. serde borrows into a `Cow` only where it is alone, not
/// inside an `Option`; this makes the difference of six allocations an event.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> CloudEvent<'a> {
    /// Takes a message in: as [`CloudEvent::parse`], and refuses more. What earlier releases have recorded as an event stays
    /// one, so `parse` may never become stricter.
    ///
    /// # Errors
    /// The reason why the message is no CloudEvent, or why it is not clear which one it is.
    pub fn receive(headers: &Headers<'a>, payload: &'a [u8]) -> Result<CloudEvent<'a>, Error> {
        // A server before 2.12 keeps the message and publishes nothing. Taken as the event it would come too early.
        if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("nats-schedule")) {
            return Err(Error::Schedule);
        }
        if Mode::of(headers) == Mode::Binary {
            refuse_unreadable(headers)?;
            refuse_twice(headers)?;
        }
        let (event, is_read_whole) = CloudEvent::parse_told(headers, payload)?;
        // Attributes that are sound do not promise data that templates can read.
        if !is_read_whole {
            CloudEvent::to_map(headers, payload)?;
        }
        Ok(event)
    }

    /// Reads the attributes of the event in a message.
    ///
    /// # Errors
    /// The reason why the message is no CloudEvent.
    pub fn parse(headers: &Headers<'a>, payload: &'a [u8]) -> Result<CloudEvent<'a>, Error> {
        CloudEvent::parse_told(headers, payload).map(|(event, _)| event)
    }

    /// The same, and whether it is known that all of the message reads as values.
    fn parse_told(headers: &Headers<'a>, payload: &'a [u8]) -> Result<(CloudEvent<'a>, bool), Error> {
        match Mode::of(headers) {
            Mode::Structured => {
                refuse_other_formats(headers)?;
                Self::parse_structured(payload)
            }
            Mode::Binary => {
                let event = Self::parse_binary(headers)?;
                // Said to be JSON and none: no template could ever read it, so it is refused here and not at every attempt.
                if !payload.is_empty() && content_type(headers).is_some_and(is_json) {
                    binary_data(content_type(headers), payload)?;
                }
                Ok((event, true))
            }
        }
    }

    fn parse_structured(payload: &'a [u8]) -> Result<(CloudEvent<'a>, bool), Error> {
        let text = utf8(payload)?;
        let (scanned, is_read_whole) =
            scan::scan_told(text).map_or((None, false), |(event, whole)| (Some(event), whole));
        // What was scanned has no control character below the space; without a byte from DEL on it has none at all.
        let is_plain = scanned.is_some() && payload.iter().fold(true, |plain, byte| plain & (*byte < 0x7f));
        let check = |name, value: &str| if is_plain { Ok(()) } else { check_string(name, value) };
        let event = match scanned {
            Some(event) => event,
            None => serde_json::from_str(text).map_err(|error| not_text(text).unwrap_or_else(|| not_json(error)))?,
        };
        let plain = |text: Option<Text<'a>>| text.map(|text| text.0);
        if event.data.is_some() && event.data_base64.is_some() {
            return Err(Error::DataTwice);
        }
        if let Some(data) = &event.data_base64
            && BASE64.decode(data.0.as_bytes()).is_err()
        {
            return Err(invalid("data_base64", &data.0, "base64 (RFC 4648, section 4)"));
        }
        let id = required("id", plain(event.id))?;
        let source = required("source", plain(event.source))?;
        check_version(&required("specversion", plain(event.specversion))?)?;
        let kind = required("type", plain(event.kind))?;
        for (name, value) in [("id", &*id), ("source", &*source), ("type", &*kind)] {
            check(name, value)?;
        }
        // An empty subject is taken as a missing one: refusing it would lose an event whose meaning is plain.
        let subject = plain(event.subject).unwrap_or_default();
        check("subject", &subject)?;
        if let Some(time) = &event.time {
            check_time(&time.0)?;
        }
        for (name, value) in [("dataschema", &event.dataschema), ("datacontenttype", &event.datacontenttype)] {
            if let Some(value) = value {
                check(name, &value.0)?;
            }
        }
        Ok((CloudEvent { id, source, kind, subject, traceparent: plain(event.traceparent) }, is_read_whole))
    }

    fn parse_binary(headers: &Headers<'a>) -> Result<CloudEvent<'a>, Error> {
        let (mut id, mut source, mut kind, mut subject, mut version, mut traceparent) =
            (None, None, None, None, None, None);
        for (name, value) in headers {
            let Some(name) = strip_prefix_ignore_case(name, "ce-") else { continue };
            let value = decode_header(name, value)?;
            check_string(name, &value)?;
            let slot = match name.to_ascii_lowercase().as_str() {
                "id" => &mut id,
                "source" => &mut source,
                "type" => &mut kind,
                "subject" => &mut subject,
                "specversion" => &mut version,
                "traceparent" => &mut traceparent,
                "time" => {
                    check_time(&value)?;
                    continue;
                }
                _ => continue,
            };
            *slot = Some(value);
        }
        check_version(&required("specversion", version)?)?;
        Ok(CloudEvent {
            id: required("id", id)?,
            source: required("source", source)?,
            kind: required("type", kind)?,
            subject: subject.unwrap_or_default(),
            traceparent,
        })
    }

    /// The whole event as the flat JSON map that templates see: attributes and extensions at the top level, `data` as
    /// a JSON value where its content type says so, else as text, or as `data_base64` where it is not text. A whole number
    /// beyond 64 bits is the text of its digits.
    ///
    /// # Errors
    /// The same as [`CloudEvent::parse`], for a message that is no CloudEvent.
    pub fn to_map(headers: &Headers<'_>, payload: &[u8]) -> Result<Map<String, Value>, Error> {
        let event = CloudEvent::parse(headers, payload)?;
        match Mode::of(headers) {
            Mode::Structured => {
                let mut map: Map<String, Value> =
                    serde_json::from_str(&large_as_text(utf8(payload)?)).map_err(not_json)?;
                // "A null attribute is absent" (JSON format 2.2); an explicit `data: null` is a value.
                map.retain(|name, value| !value.is_null() || name == "data");
                // Templates may ask for the subject of any event: the missing one is the empty one.
                map.entry("subject").or_insert_with(|| Value::String(String::new()));
                Ok(map)
            }
            Mode::Binary => {
                let mut map = Map::new();
                for (name, value) in headers {
                    if let Some(name) = strip_prefix_ignore_case(name, "ce-") {
                        let value = decode_header(name, value)?.into_owned();
                        map.insert(name.to_ascii_lowercase(), Value::String(value));
                    }
                }
                map.insert("subject".into(), Value::String(event.subject.into_owned()));
                let kind = content_type(headers);
                if let Some(kind) = kind {
                    map.insert("datacontenttype".into(), Value::String(kind.to_owned()));
                }
                if !payload.is_empty() {
                    let (name, data) = binary_data(kind, payload)?;
                    map.insert(name.into(), data);
                }
                Ok(map)
            }
        }
    }
}

/// The reason in a message that is no event, by which the server says that what a subject held is gone: a subject delete marker
/// (ADR-43). `None` for any other message.
#[must_use]
pub fn marker_reason<'a>(headers: &Headers<'a>, payload: &[u8]) -> Option<&'a str> {
    let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("nats-marker-reason"));
    found.filter(|_| payload.is_empty()).map(|(_, reason)| *reason)
}

fn binary_data(kind: Option<&str>, payload: &[u8]) -> Result<(&'static str, Value), Error> {
    // Absent, the content type is not known; JSON that parses is what nearly every producer means.
    if kind.is_none_or(is_json) {
        let text = std::str::from_utf8(payload).map(large_as_text);
        match text.map_or_else(|_| serde_json::from_slice(payload), |text| serde_json::from_str(&text)) {
            Ok(value) => return Ok(("data", value)),
            Err(error) if kind.is_some() => return Err(not_json(error)),
            Err(_) => {}
        }
    }
    Ok(match std::str::from_utf8(payload) {
        Ok(text) => ("data", Value::String(text.to_owned())),
        Err(_) => ("data_base64", Value::String(BASE64.encode(payload))),
    })
}

fn content_type<'a>(headers: &Headers<'a>) -> Option<&'a str> {
    headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map(|(_, value)| *value)
}

fn is_structured(content_type: &str) -> bool {
    strip_prefix_ignore_case(content_type, "application/cloudevents").is_some()
}

pub(crate) fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.ends_with("/json") || media.ends_with("+json")
}

/// An attribute has one value: with two headers of its name, which one counts would be a guess.
fn refuse_twice(headers: &Headers<'_>) -> Result<(), Error> {
    let attributes = headers.iter().filter_map(|(name, value)| Some((strip_prefix_ignore_case(name, "ce-")?, value)));
    for (at, (name, value)) in attributes.clone().enumerate() {
        if attributes.clone().take(at).any(|(before, _)| before.eq_ignore_ascii_case(name)) {
            return Err(invalid(&name.to_ascii_lowercase(), value, "one header of this name"));
        }
    }
    Ok(())
}

/// A line that cannot be read may belong to an attribute, or to the value before it. A name is empty where the line has none.
/// A U+FFFD that the producer sent cannot be distinguished from a byte that could not be read, and is refused too.
fn refuse_unreadable(headers: &Headers<'_>) -> Result<(), Error> {
    let is_unreadable = |(name, value): &&(&str, &str)| {
        let is_attribute = strip_prefix_ignore_case(name, "ce-").is_some() || name.eq_ignore_ascii_case("content-type");
        let is_damaged =
            name.contains(char::is_whitespace) || [name, value].iter().any(|text| text.contains('\u{fffd}'));
        name.is_empty() || is_attribute && is_damaged
    };
    match headers.iter().find(is_unreadable) {
        None => Ok(()),
        Some(("", value)) => Err(Error::Unreadable { line: shown(value) }),
        Some((name, value)) => Err(Error::Unreadable { line: shown(&format!("{name}: {value}")) }),
    }
}

/// The NATS binding has no batch mode, and JSON is the one format read here: say so instead of misreading another.
fn refuse_other_formats(headers: &Headers<'_>) -> Result<(), Error> {
    let Some(value) = content_type(headers).filter(|value| is_structured(value)) else { return Ok(()) };
    let media = value.split(';').next().unwrap_or_default().trim();
    let format = &media["application/cloudevents".len()..];
    if format.is_empty() || format.eq_ignore_ascii_case("+json") {
        return Ok(());
    }
    Err(Error::Format { value: value.to_owned() })
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn utf8(payload: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(payload).map_err(|error| Error::NotUtf8 { at: error.valid_up_to(), len: payload.len() })
}

/// The first attribute that is something else than a string, where that is why an event cannot be read.
fn not_text(text: &str) -> Option<Error> {
    const TEXTS: [&str; 10] = [
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "dataschema",
        "datacontenttype",
        "data_base64",
        "traceparent",
    ];
    let attributes: Map<String, Value> = serde_json::from_str(text).ok()?;
    let is_other = |name: &&str| attributes.get(*name).is_some_and(|value| !value.is_string() && !value.is_null());
    let name = TEXTS.into_iter().find(is_other)?;
    Some(invalid(name, &attributes[name].to_string(), "a string"))
}

#[expect(clippy::needless_pass_by_value, reason = "shaped for map_err")]
fn not_json(error: serde_json::Error) -> Error {
    let reason = error.to_string();
    match reason.starts_with("recursion limit exceeded") {
        true => Error::TooDeep { levels_max: LEVELS_MAX },
        false => Error::NotJson { reason },
    }
}

fn required<'a>(name: &'static str, value: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, Error> {
    value.filter(|value| !value.is_empty()).ok_or(Error::Missing { name })
}

fn check_version(value: &str) -> Result<(), Error> {
    if value == "1.0" { Ok(()) } else { Err(invalid("specversion", value, "`1.0`")) }
}

/// CloudEvents strings exclude control characters and noncharacters (type system, `String`).
fn check_string(name: &str, value: &str) -> Result<(), Error> {
    if is_plain(value.as_bytes()) || value.chars().all(|char| !char.is_control() && !is_noncharacter(char)) {
        return Ok(());
    }
    Err(invalid(name, value, "no control characters"))
}

/// Whether there is nothing but printable ASCII. Without an early end, so that it goes by many bytes at a time.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, byte| plain & (0x20..0x7f).contains(byte))
}

fn is_noncharacter(char: char) -> bool {
    let code = u32::from(char);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

fn check_time(value: &str) -> Result<(), Error> {
    if is_time(value) { Ok(()) } else { Err(invalid("time", value, "an RFC 3339 time")) }
}

/// A value as a message shows it, shortened. Control characters are shown as what they are: they may be what is wrong.
fn shown(value: &str) -> String {
    let shown = value.chars().take(64).flat_map(|char| match char.is_control() {
        true => char.escape_default().collect::<Vec<_>>(),
        false => vec![char],
    });
    shown.collect()
}

fn invalid(name: &str, value: &str, expected: &'static str) -> Error {
    let value = shown(value);
    Error::Invalid { name: name.to_owned(), value, expected }
}

/// Undoes a header's encoding: an optional pair of double quotes with backslash escapes, then exactly one
/// percent-decoding to UTF-8 (HTTP binding 3.1.3.2, which the NATS binding takes over).
fn decode_header<'a>(name: &str, value: &'a str) -> Result<Cow<'a, str>, Error> {
    let mut text = Cow::Borrowed(value.trim());
    if let Some(quoted) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let mut plain = String::with_capacity(quoted.len());
        let mut chars = quoted.chars();
        while let Some(char) = chars.next() {
            plain.push(if char == '\\' { chars.next().unwrap_or('\\') } else { char });
        }
        text = Cow::Owned(plain);
    }
    if !text.contains('%') {
        return Ok(match text {
            Cow::Borrowed(_) => Cow::Borrowed(value.trim()),
            Cow::Owned(text) => Cow::Owned(text),
        });
    }
    let decoded = percent_decode_str(&text).decode_utf8().map_err(|_| invalid(name, value, "percent-encoded UTF-8"))?;
    Ok(Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests;
