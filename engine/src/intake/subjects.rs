//! What is to be read: subjects, streams, and what is read of each. Pure.
//!
//! A subject here is a pattern of NATS: tokens between dots, `*` for one token, `>` for the rest. [`intersect`] and
//! [`includes`] compare two.

use super::jetstream::{Message, StreamState};
use super::reserved::is_all_reserved;

/// The header of a message that came from a source.
const SOURCE_HEADER: &str = "Nats-Stream-Source";

/// What the settings ask to be read. Empty in both: every stream there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Subjects, in whatever stream holds them.
    pub subjects: Vec<String>,
    /// Streams by name.
    pub streams: Vec<WantedStream>,
}

/// A stream asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedStream {
    /// Its name.
    pub name: String,
    /// Subjects in it; empty for all.
    pub subjects: Vec<String>,
}

/// One stream to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The stream.
    pub stream: String,
    /// Subjects to read; empty for all. Then sequences have no holes but those of removed messages.
    pub filters: Vec<String>,
    /// What is delivered and not recorded.
    pub skipped: Skipped,
}

/// What [`super::assign::assign`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Streams to read, by name.
    pub readings: Vec<Reading>,
    /// Streams that are not read because they hold nothing but copies of these.
    pub left_out: Vec<String>,
    /// Subjects that no stream holds: one has to be made for them.
    pub unheld_subjects: Vec<String>,
    /// Streams asked for by name that do not exist.
    pub missing_streams: Vec<WantedStream>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// What is delivered of a stream and not recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Subjects that are wanted, where the stream is read without a filter because it held no others; empty for all.
    pub only: Vec<String>,
    /// Streams that are read themselves, and the subjects that are read there; without subjects all.
    pub origins: Vec<(String, Vec<String>)>,
    /// Streams that it copied when all of this was decided.
    pub copied: Vec<String>,
    /// Whether it held nothing but copies then.
    pub is_copy: bool,
}

impl Skipped {
    /// Takes out what is not to be recorded.
    pub fn out_of(&self, messages: &mut Vec<Message>) {
        if !self.only.is_empty() || !self.origins.is_empty() {
            messages.retain(|message| self.is_wanted(message) && !self.is_copy(message));
        }
    }

    /// Whether one of the messages is on a subject that is not wanted.
    #[must_use]
    pub fn has_unwanted(&self, messages: &[Message]) -> bool {
        !messages.iter().all(|message| self.is_wanted(message))
    }

    fn is_wanted(&self, message: &Message) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| includes(wanted, &message.subject))
    }

    /// Whether a stream copies what it did when all of this was decided.
    #[must_use]
    pub fn fits(&self, state: &StreamState) -> bool {
        (&state.copied.origins, state.is_copy()) == (&self.copied, self.is_copy)
    }

    /// Whether one of the messages says that it is a copy from a stream that was not copied yet. Anybody may write so.
    #[must_use]
    pub fn has_other_copies(&self, messages: &[Message]) -> bool {
        messages.iter().filter_map(origin).any(|origin| self.copied.iter().all(|known| known != origin))
    }

    fn is_copy(&self, message: &Message) -> bool {
        let Some(origin) = origin(message) else { return false };
        self.origins.iter().any(|(name, filters)| {
            name == origin && (filters.is_empty() || filters.iter().any(|filter| includes(filter, &message.subject)))
        })
    }
}

/// The stream of this server that a message says to be a copy from. One of another server has a hash behind its name.
fn origin(message: &Message) -> Option<&str> {
    let (_, value) = message.headers.iter().find(|(name, _)| name == SOURCE_HEADER)?;
    value.split(' ').next().filter(|origin| !origin.contains(':'))
}

/// Why a text is no subject pattern, or `None`.
#[must_use]
pub fn complaint(subject: &str) -> Option<&'static str> {
    let tokens: Vec<&str> = subject.split('.').collect();
    if subject.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Some("expected no spaces")
    } else if tokens.iter().any(|token| token.is_empty()) {
        Some("expected tokens between dots, none of them empty")
    } else if tokens[..tokens.len() - 1].contains(&">") {
        Some("expected `>` as the last token only")
    } else if is_all_reserved(subject) {
        Some("expected a subject of your own: NATS or Lifeline itself speaks with these")
    } else {
        None
    }
}

/// The pattern that matches what both match; two patterns never need more than one.
#[must_use]
pub fn intersect(one: &str, other: &str) -> Option<String> {
    let (mut left, mut right) = (one.split('.').peekable(), other.split('.').peekable());
    let mut both = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some(both.join(".")),
            (None, _) | (_, None) => return None,
            (Some(">"), Some(token)) => {
                both.push(token);
                both.extend(right);
                return Some(both.join("."));
            }
            (Some(token), Some(">")) => {
                both.push(token);
                both.extend(left);
                return Some(both.join("."));
            }
            (Some("*"), Some(token)) | (Some(token), Some("*")) => both.push(token),
            (Some(a), Some(b)) if a == b => both.push(a),
            _ => return None,
        }
    }
}

/// Whether `pattern` matches all that `other` matches.
#[must_use]
pub fn includes(pattern: &str, other: &str) -> bool {
    intersect(pattern, other).is_some_and(|both| both == other)
}

/// Two patterns that overlap, neither of which includes the other: the server refuses such filters.
#[must_use]
pub fn overlapping(subjects: &[String]) -> Option<(&str, &str)> {
    subjects.iter().enumerate().find_map(|(index, one)| {
        let other = subjects[index + 1..]
            .iter()
            .find(|other| intersect(one, other).is_some() && !includes(one, other) && !includes(other, one))?;
        Some((one.as_str(), other.as_str()))
    })
}

/// Leaves out what another filter includes, in a stable order.
#[must_use]
pub fn disjoint(mut filters: Vec<String>) -> Vec<String> {
    filters.sort();
    filters.dedup();
    let all = filters.clone();
    filters.retain(|filter| !all.iter().any(|other| other != filter && includes(other, filter)));
    filters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn two_patterns_meet_in_one() {
        #[track_caller]
        fn check(one: &str, other: &str, expected: Option<&str>) {
            assert_eq!(intersect(one, other).as_deref(), expected, "{one} and {other}");
            assert_eq!(intersect(other, one).as_deref(), expected, "{other} and {one}");
        }
        check("a.b", "a.b", Some("a.b"));
        check("a.b", "a.c", None);
        check("a.*", "a.b", Some("a.b"));
        check("a.*", "*.b", Some("a.b"));
        check("a.>", "a.b.c", Some("a.b.c"));
        check("a.>", "a", None);
        check(">", "a.*.c", Some("a.*.c"));
        check("a.>", "*.b.>", Some("a.b.>"));
        check("a.b", "a.b.c", None);
        check("*", ">", Some("*"));
    }

    #[test]
    fn bad_patterns_are_told() {
        #[track_caller]
        fn check(subject: &str, fine: bool) {
            assert_eq!(complaint(subject).is_none(), fine, "{subject:?}");
        }
        check("user-operation", true);
        check("a.*.>", true);
        check("", false);
        check("a..b", false);
        check("a b", false);
        check("a.>.b", false);
        check("_INBOX.>", false);
        check("lifeline.v1.>", false);
        check(">", true);
    }

    #[test]
    fn overlapping_filters_are_told() {
        assert_eq!(overlapping(&owned(&["a.*", "*.b"])), Some(("a.*", "*.b")));
        assert_eq!(overlapping(&owned(&["a.*", "a.b", "c"])), None);
    }
}
