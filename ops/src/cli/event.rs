//! `get event`: one record with all that it holds, and what came of it.
//!
//! Start at [`event`]. People get a story, long things cut where the terminal is not asked for all of them; programs get all.

use std::process::ExitCode;

use clap::Args;
use lifeline_projections::detail::{Data, Encoding, EventDetail, Header, MessageDetail};
use serde_json::Value;

use super::ask::AskArgs;
use super::output::Format;
use super::rows::{moment, spaced};
use super::why::{Story, tell, tell_effects, tell_event};
use crate::api::one::One;
use crate::client::{Error, Query};

pub const EXAMPLES: &str = "\
Examples:
  lifeline get event 41                        the event at offset 41
  lifeline get event 41 -o json                every byte of it, in base64";

/// `lifeline get event`.
#[derive(Debug, Clone, Args)]
pub struct EventArgs {
    /// The offset of the record, as `lifeline get events` and `lifeline history` show it.
    #[arg(value_parser = super::moment::offset)]
    pub offset: u64,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Lines of data that a terminal shows.
const DATA_LINES_MAX: usize = 40;

/// Bytes of a payload that a terminal shows.
const PAYLOAD_BYTES_MAX: usize = 1_024;

/// Characters of base64 that a terminal shows.
const BASE64_MAX: usize = 512;

/// Asks for a record and prints it.
pub fn event(args: &EventArgs) -> Result<ExitCode, Error> {
    let mut query = Query::default();
    query.add("offset", args.offset);
    let answer: One<EventDetail> = args.ask.client()?.get("/v1/event", &query)?;
    let is_whole = args.ask.engine.output == Format::Wide;
    tell(&args.ask, &answer, |detail| story(detail, is_whole))?;
    Ok(ExitCode::SUCCESS)
}

fn story(detail: &EventDetail, is_whole: bool) -> Story {
    let EventDetail { why, message, attributes, data, reason, notes } = detail;
    let mut story = Story::new(match reason {
        Some(_) => "This message was rejected: it is no CloudEvent.".to_owned(),
        None => why.summary.clone(),
    });
    match (message, reason) {
        (Some(message), Some(reason)) => {
            story.line("record", format!("offset {}, {}", why.record.offset, moment(&why.record)));
            story.line("message", place(message));
            story.line("reason", reason);
        }
        _ => tell_event(&mut story, &why.record),
    }
    if let Some(message) = message {
        story.line("stored", format!("{}, by the NATS of {}", spaced(&message.published), message.cluster));
    }
    let attributes = attributes.iter().flatten().filter(|(name, _)| !is_told(name));
    listed(&mut story, "fields", attributes.map(|(name, value)| format!("{name} {}", words(value))));
    let headers = message.iter().flat_map(|message| &message.headers);
    listed(&mut story, "headers", headers.map(|Header { name, value }| format!("{name}: {value}")));
    if let Some(data) = data {
        tell_data(&mut story, data, is_whole);
    }
    if let Some(message) = message {
        tell_payload(&mut story, message, is_whole);
    }
    tell_effects(&mut story, why);
    for note in notes {
        story.line("note", note);
    }
    story
}

fn listed(story: &mut Story, label: &'static str, lines: impl Iterator<Item = String>) {
    for (place, line) in lines.enumerate() {
        story.line(if place == 0 { label } else { "" }, line);
    }
}

/// Whether an attribute is in the lines of the event already.
fn is_told(name: &str) -> bool {
    ["id", "source", "type", "subject"].contains(&name)
}

/// Where a message was.
fn place(message: &MessageDetail) -> String {
    let MessageDetail { nats_subject, stream, epoch, sequence, .. } = message;
    let epoch = if *epoch > 1 { format!(" epoch {epoch}") } else { String::new() };
    format!("{nats_subject}, stream {stream}{epoch} sequence {sequence}")
}

fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn tell_data(story: &mut Story, data: &Data, is_whole: bool) {
    let Data { encoding, content_type, bytes, value } = data;
    let how = match encoding {
        Encoding::Json => "JSON",
        Encoding::Text => "text",
        Encoding::Base64 => "no text, as base64",
    };
    let kind = content_type.as_deref().unwrap_or("no content type");
    let size = bytes.map(|bytes| format!(", {}", sized(bytes))).unwrap_or_default();
    story.line("data", format!("{kind}{size}: {how}"));
    let text = match encoding {
        Encoding::Json => serde_json::to_string_pretty(value).unwrap_or_default(),
        Encoding::Text => words(value),
        Encoding::Base64 => cut(&words(value), BASE64_MAX, is_whole, "characters"),
    };
    let max = if is_whole { usize::MAX } else { DATA_LINES_MAX };
    for line in text.lines().take(max) {
        story.line("", line);
    }
    let more = text.lines().count().saturating_sub(max);
    if more > 0 {
        story.line("", format!("... and {more} lines: -o wide shows all"));
    }
}

/// The bytes of a rejected message, those that are no printable ASCII escaped.
fn tell_payload(story: &mut Story, message: &MessageDetail, is_whole: bool) {
    let Some(bytes) = message.payload() else { return };
    story.line("payload", sized(bytes.len()));
    let shown = if is_whole { bytes.len() } else { bytes.len().min(PAYLOAD_BYTES_MAX) };
    // A line of the payload is a line here.
    for line in bytes[..shown].split_inclusive(|byte| *byte == b'\n') {
        story.line("", escaped(line));
    }
    if shown < bytes.len() {
        let more = bytes.len() - shown;
        story.line("", format!("... and {} more: -o wide or -o json shows all", sized(more)));
    }
}

/// Bytes as text in which each one that is no printable ASCII is escaped, and so is the backslash.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\'' | b'"' => text.push(char::from(*byte)),
            _ => text.extend(byte.escape_ascii().map(char::from)),
        }
    }
    text
}

fn cut(text: &str, max: usize, is_whole: bool, unit: &str) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) if !is_whole => {
            format!("{}\n... and {} more {unit}: -o wide shows all", &text[..at], text[at..].chars().count())
        }
        _ => text.to_owned(),
    }
}

fn sized(bytes: usize) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::style::Paint;

    fn record(fact: &str) -> Value {
        serde_json::json!({ "offset": 9, "time": "2026-11-22T14:02:11.318Z", "fact": fact, "summary": "-" })
    }

    fn message(payload: Option<&str>, bytes: usize) -> Value {
        let mut message = serde_json::json!({
            "cluster": "mgmt/mgmt", "stream": "USERS", "epoch": 2, "sequence": 7, "nats_subject": "users",
            "published": "2026-11-22T14:02:11.300Z", "headers": [{ "name": "ce-id", "value": "1" }, { "name": "", "value": "x" }],
            "payload_bytes": bytes,
        });
        if let Some(payload) = payload {
            message["payload_base64"] = payload.into();
        }
        message
    }

    #[track_caller]
    fn check(detail: Value, is_whole: bool, expected: &str) {
        let detail: EventDetail = serde_json::from_value(detail).expect("a detail");
        assert_eq!(story(&detail, is_whole).draw(None, Paint::Off), expected);
    }

    #[test]
    fn a_rejected_message_is_shown_with_its_bytes_escaped() {
        // `{"id": 7,\n\u{0}\u{ff}\\\u{1b}`, in base64.
        let payload = "eyJpZCI6IDcsCgD/XBs=";
        let detail = serde_json::json!({
            "summary": "-", "verdict": "no-event", "record": record("EventRejected"), "triggers": [], "complete": true,
            "message": message(Some(payload), 14), "reason": "payload is not valid UTF-8", "notes": ["something is lost"],
        });
        let expected = r#"This message was rejected: it is no CloudEvent.
  record    offset 9, 2026-11-22 14:02:11.318Z
  message   users, stream USERS epoch 2 sequence 7
  reason    payload is not valid UTF-8
  stored    2026-11-22 14:02:11.300Z, by the NATS of mgmt/mgmt
  headers   ce-id: 1
            : x
  payload   14 bytes
            {"id": 7,\n
            \x00\xff\\\x1b
  note      something is lost
"#;
        check(detail, false, expected);
    }

    #[test]
    fn long_things_are_cut_and_it_is_said_how_to_see_all() {
        let list: Vec<u32> = (0..100).collect();
        let detail = |data: Value| {
            let detail = serde_json::json!({
                "summary": "Nothing happened.", "verdict": "nothing", "record": record("EventReceived"), "triggers": [],
                "complete": true, "message": message(None, 300), "attributes": { "id": "1", "tenant": "blue" }, "data": data,
            });
            serde_json::from_value::<EventDetail>(detail).expect("a detail")
        };
        let draw = |data: &Value, is_whole| story(&detail(data.clone()), is_whole).draw(None, Paint::Off);
        let json =
            serde_json::json!({ "encoding": "json", "content_type": "application/json", "bytes": 300, "value": list });
        let (cut, whole) = (draw(&json, false), draw(&json, true));
        assert!(cut.contains("  fields    tenant blue\n  headers   ce-id: 1\n"), "{cut}");
        assert!(
            cut.contains("  data      application/json, 300 bytes: JSON\n            [\n              0,\n"),
            "{cut}"
        );
        assert!(cut.ends_with("              38,\n            ... and 62 lines: -o wide shows all\n"), "{cut}");
        assert!(whole.ends_with("              99\n            ]\n"), "{whole}");
        let base64 = serde_json::json!({ "encoding": "base64", "bytes": 1, "value": "a".repeat(600) });
        let (cut, whole) = (draw(&base64, false), draw(&base64, true));
        assert!(cut.contains("  data      no content type, 1 byte: no text, as base64\n"), "{cut}");
        assert!(cut.ends_with("a\n            ... and 88 more characters: -o wide shows all\n"), "{cut}");
        assert!(whole.ends_with(&format!("            {}\n", "a".repeat(600))), "{whole}");
        let text = serde_json::json!({ "encoding": "text", "content_type": "text/plain", "bytes": 3, "value": "a\nb" });
        assert!(draw(&text, false).ends_with("  data      text/plain, 3 bytes: text\n            a\n            b\n"));
    }
}
