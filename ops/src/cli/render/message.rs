//! A message to render for: from a file, from standard input, or as an engine has recorded it.
//!
//! Start at [`Message::read`] and [`recorded`]. Nothing here decides what the message causes.

use lifeline_projections::detail::{Encoding, EventDetail};
use serde_json::Value;

/// A message of NATS, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The NATS subject, where the text says it.
    pub nats_subject: Option<String>,
    pub headers: Vec<(String, String)>,
    pub payload: Vec<u8>,
}

impl Message {
    /// Reads a CloudEvent as JSON, or a message with headers: `name: value` lines, a blank line, the payload.
    ///
    /// The first line may be that of `nats sub` (`[#1] Received on "subject"`) or of the protocol (`NATS/1.0`).
    pub fn read(bytes: &[u8]) -> Message {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let whole = |nats_subject: Option<String>, payload: &[u8]| Message {
            nats_subject,
            headers: Vec::new(),
            payload: payload.to_vec(),
        };
        let (first, rest) = split_line(bytes);
        let nats_subject = received_on(first);
        let mut rest = if nats_subject.is_some() || is_protocol(first) { rest } else { bytes };
        if nats_subject.is_some() && is_protocol(split_line(rest).0) {
            rest = split_line(rest).1;
        }
        let payload = rest;
        let mut headers = Vec::new();
        loop {
            let (line, behind) = split_line(rest);
            if line.is_empty() {
                // A blank line ends the headers; without any it is in front of the payload.
                let payload = if rest.is_empty() { payload } else { behind };
                let headers = if rest.is_empty() { Vec::new() } else { headers };
                return Message { nats_subject, headers, payload: trimmed(payload).to_vec() };
            }
            match header(line) {
                Some(header) => headers.push(header),
                // Not headers after all, but a payload.
                None => return whole(nats_subject, trimmed(payload)),
            }
            rest = behind;
        }
    }
}

/// Without the line end that editors and `nats sub` put behind a payload.
fn trimmed(payload: &[u8]) -> &[u8] {
    payload.trim_ascii_end()
}

/// The first line without its end, and what follows it.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &bytes[bytes.len()..]),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

fn is_protocol(line: &[u8]) -> bool {
    line.starts_with(b"NATS/1.0")
}

/// The subject in `[#1] Received on "subject"`, as `nats sub` prints it.
fn received_on(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line).ok()?;
    let (_, behind) = line.strip_prefix("[#")?.split_once("Received on \"")?;
    Some(behind.split_once('"')?.0.to_owned())
}

fn header(line: &[u8]) -> Option<(String, String)> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    is_name.then(|| (name.to_owned(), value.trim().to_owned()))
}

/// The message of a record, or why there is none. An event is given as JSON, which templates read as they read the message.
pub(super) fn recorded(detail: &EventDetail) -> Result<Message, String> {
    let offset = detail.why.record.offset;
    if let Some(reason) = &detail.reason {
        return Err(format!("the message at offset `{offset}` was rejected: {reason}"));
    }
    let (Some(message), Some(attributes)) = (&detail.message, &detail.attributes) else {
        return Err(format!("the record at offset `{offset}` is no event: {}", detail.why.record.summary));
    };
    let mut event: serde_json::Map<String, Value> = attributes.clone().into_iter().collect();
    event.entry("specversion").or_insert_with(|| "1.0".into());
    if let Some(data) = &detail.data {
        let name = match data.encoding {
            Encoding::Json | Encoding::Text => "data",
            Encoding::Base64 => "data_base64",
        };
        event.insert(name.to_owned(), data.value.clone());
    }
    let payload = Value::Object(event).to_string().into_bytes();
    Ok(Message { nats_subject: Some(message.nats_subject.clone()), headers: Vec::new(), payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, nats_subject: Option<&str>, headers: &[(&str, &str)], payload: &str) {
        let read = Message::read(text.as_bytes());
        assert_eq!(read.nats_subject.as_deref(), nats_subject, "{text}");
        let found: Vec<_> = read.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, headers, "{text}");
        assert_eq!(String::from_utf8(read.payload).unwrap(), payload, "{text}");
    }

    #[test]
    fn a_message_is_json_or_headers_and_a_payload() {
        check("{\"id\": \"1\"}\n", None, &[], "{\"id\": \"1\"}");
        check("{\n  \"id\": \"1\"\n}\n", None, &[], "{\n  \"id\": \"1\"\n}");
        let binary = "ce-id: 1\r\nce-source: a:b\r\nContent-Type: text/plain\r\n\r\nx: y\n\nz\n";
        let headers = [("ce-id", "1"), ("ce-source", "a:b"), ("Content-Type", "text/plain")];
        check(binary, None, &headers, "x: y\n\nz");
        check(&format!("NATS/1.0\n{binary}"), None, &headers, "x: y\n\nz");
        check(&format!("[#1] Received on \"user.op\"\n{binary}"), Some("user.op"), &headers, "x: y\n\nz");
        check(
            &format!("[#1] Received on \"s\" with reply \"_INBOX.x\"\nNATS/1.0\n{binary}"),
            Some("s"),
            &headers,
            "x: y\n\nz",
        );
        check("[#12] Received on \"s\"\n{\"id\": \"1\"}\n\n", Some("s"), &[], "{\"id\": \"1\"}");
        check("[#12] Received on \"s\"\n\n{\"id\": \"1\"}\n", Some("s"), &[], "{\"id\": \"1\"}");
        check("ce-id: 1\n", None, &[], "ce-id: 1");
        check("", None, &[], "");
    }
}
