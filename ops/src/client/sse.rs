//! Server-Sent Events: what arrives in pieces becomes messages.
//!
//! Start at [`Parser::push`]. Pure: bytes in, messages out, as the standard says ("9.2.6 Interpreting an event stream" of
//! the HTML standard). It never reads from a network.

use std::time::Duration;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its `event`; `message` when it names none.
    pub event: String,
    /// Its `data`, lines joined.
    pub data: String,
    /// The last `id` seen so far; empty before the first.
    pub id: String,
}

/// A stream that is being read.
#[derive(Debug, Default)]
pub struct Parser {
    /// The line under way.
    line: Vec<u8>,
    /// The line before ended with a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    /// Whether a line was read yet: a byte order mark may only begin the first.
    begun: bool,
    event: String,
    data: Option<String>,
    id: String,
    retry: Option<Duration>,
}

impl Parser {
    /// Takes what arrived; gives the messages that it completes. What is incomplete waits for the rest, and is dropped with
    /// the parser: a message that was cut off never happened.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for byte in bytes {
            let after_return = std::mem::take(&mut self.after_return);
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    messages.extend(self.line(&line));
                }
                _ => self.line.push(*byte),
            }
        }
        messages
    }

    /// How long the server wants to be left alone before it is asked again; `None` when it did not say.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn line(&mut self, line: &[u8]) -> Option<Message> {
        let text = String::from_utf8_lossy(line);
        let text = if std::mem::replace(&mut self.begun, true) { &text } else { text.trim_start_matches('\u{feff}') };
        if text.is_empty() {
            return self.dispatch();
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => match &mut self.data {
                Some(data) => data.extend(["\n", value]),
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            // A comment (no field name), or a field that is not known.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Message> {
        let event = std::mem::take(&mut self.event);
        let data = self.data.take()?;
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(Message { event, data, id: self.id.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the pieces are, the messages are the same.
    fn check(stream: &str, expected: &[(&str, &str, &str)]) {
        for size in 1..=stream.len().max(1) {
            let mut parser = Parser::default();
            let messages: Vec<Message> = stream.as_bytes().chunks(size).flat_map(|piece| parser.push(piece)).collect();
            let told: Vec<(&str, &str, &str)> = messages
                .iter()
                .map(|message| (message.event.as_str(), message.data.as_str(), message.id.as_str()))
                .collect();
            assert_eq!(told, expected, "{stream:?} in pieces of {size}");
        }
    }

    #[test]
    fn messages_are_read_however_they_are_cut() {
        check("event: item\nid: 5\ndata: {\"a\":1}\n\n", &[("item", "{\"a\":1}", "5")]);
        check("data: one\ndata: two\ndata:\ndata:three\n\n", &[("message", "one\ntwo\n\nthree", "")]);
        check("event: a\r\ndata: x\r\n\r\nevent: b\rdata: y\r\r", &[("a", "x", ""), ("b", "y", "")]);
        check(
            "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
            &[("message", "a", "1"), ("message", "b", "1"), ("message", "c", "")],
        );
        check(": keep-alive\n\ndata: ü語\n\n", &[("message", "ü語", "")]);
        check("event: alone\n\ndata: x\n\n", &[("message", "x", "")]);
        check("\u{feff}data: x\n\n", &[("message", "x", "")]);
        check("data:  two spaces\nunknown: y\n\n", &[("message", " two spaces", "")]);
        check("id: a\0b\ndata\n\n", &[("message", "", "")]);
        check("data: cut off\n", &[]);
        check("", &[]);
    }

    #[test]
    fn the_server_says_how_long_to_wait() {
        let check = |stream: &str, expected: Option<u64>| {
            let mut parser = Parser::default();
            parser.push(stream.as_bytes());
            assert_eq!(parser.retry(), expected.map(Duration::from_millis), "{stream:?}");
        };
        check("retry: 1500\n", Some(1500));
        check("retry: 1500\n\nretry: soon\n", Some(1500));
        check("retry: -1\n", None);
        check("retry: 99999999999999999999999\n", None);
    }
}
