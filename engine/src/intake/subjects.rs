//! Which streams hold the wanted subjects, and with which filters they are read. Pure.
//!
//! Start at [`assign`]. A subject here is a pattern of NATS: tokens between dots, `*` for one token, `>` for the rest.
//!
//! Never here: creating a stream. What no stream holds is returned, and [`super::streams`] acts on it.

use super::jetstream::StreamState;

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
}

/// What [`assign`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Streams to read, by name.
    pub readings: Vec<Reading>,
    /// Subjects that no stream holds: one has to be made for them.
    pub unheld_subjects: Vec<String>,
    /// Streams asked for by name that do not exist.
    pub missing_streams: Vec<WantedStream>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Finds the streams that hold what is wanted.
#[must_use]
pub fn assign(wanted: &Wanted, streams: &[StreamState]) -> Assignment {
    let mut found = Assignment::default();
    let everything = wanted.subjects.is_empty() && wanted.streams.is_empty();
    for stream in streams {
        let mut filters = Vec::new();
        let mut whole = everything;
        for subject in &wanted.subjects {
            filters.extend(stream.subjects.iter().filter_map(|held| intersect(subject, held)));
        }
        for named in wanted.streams.iter().filter(|named| named.name == stream.name) {
            whole |= named.subjects.is_empty();
            for subject in &named.subjects {
                filters.extend(stream.subjects.iter().filter_map(|held| intersect(subject, held)));
                // A mirror names no subjects of its own; the server knows what it holds.
                if stream.subjects.is_empty() {
                    filters.push(subject.clone());
                }
            }
        }
        if filters.is_empty() && !whole {
            continue;
        }
        // All of a stream is read without a filter: it is faster, and a removed message shows as a hole.
        whole |= !stream.subjects.is_empty()
            && stream.subjects.iter().all(|held| filters.iter().any(|filter| includes(filter, held)));
        let filters = if whole { Vec::new() } else { disjoint(filters) };
        found.readings.push(Reading { stream: stream.name.clone(), filters });
    }
    for subject in &wanted.subjects {
        let overlapping: Vec<_> = streams
            .iter()
            .filter(|stream| stream.subjects.iter().any(|held| intersect(subject, held).is_some()))
            .collect();
        let held = overlapping.iter().flat_map(|stream| &stream.subjects).any(|held| includes(held, subject));
        match overlapping.first() {
            _ if held => {}
            None => found.unheld_subjects.push(subject.clone()),
            Some(stream) => found.warnings.push(format!(
                "subject `{subject}` is held only in part, by stream `{}`: events on its other subjects are not kept",
                stream.name
            )),
        }
    }
    for named in &wanted.streams {
        match streams.iter().find(|stream| stream.name == named.name) {
            None => found.missing_streams.push(named.clone()),
            Some(stream) => found.warnings.extend(
                named
                    .subjects
                    .iter()
                    .filter(|subject| {
                        !stream.subjects.is_empty()
                            && !stream.subjects.iter().any(|held| intersect(subject, held).is_some())
                    })
                    .map(|subject| format!("stream `{}` does not hold the subject `{subject}`", stream.name)),
            ),
        }
    }
    found
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
    use crate::intake::jetstream::Retention;

    fn stream(name: &str, subjects: &[&str]) -> StreamState {
        StreamState {
            name: name.to_owned(),
            created_unix_nanos: 1,
            first_sequence: 1,
            last_sequence: 0,
            messages: 0,
            replicas: 1,
            retention: Retention::Limits,
            subjects: owned(subjects),
            on_disk: true,
            erasable: false,
            consumers_kept: None,
        }
    }

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
    }

    #[track_caller]
    fn check(wanted: Wanted, streams: &[StreamState], readings: &[(&str, &[&str])], unheld: &[&str], warnings: usize) {
        let found = assign(&wanted, streams);
        let expected: Vec<_> = readings
            .iter()
            .map(|(stream, filters)| Reading { stream: (*stream).to_owned(), filters: owned(filters) })
            .collect();
        assert_eq!(found.readings, expected);
        assert_eq!(found.unheld_subjects, owned(unheld));
        assert_eq!(found.warnings.len(), warnings, "{:?}", found.warnings);
    }

    fn subjects(subjects: &[&str]) -> Wanted {
        Wanted { subjects: owned(subjects), streams: Vec::new() }
    }

    #[test]
    fn subjects_find_their_streams() {
        let streams = [stream("ORDERS", &["orders.>"]), stream("USERS", &["user-operation", "user-login"])];
        check(subjects(&["user-login"]), &streams, &[("USERS", &["user-login"])], &[], 0);
        check(subjects(&["user-login", "user-operation"]), &streams, &[("USERS", &[])], &[], 0);
        check(subjects(&["orders.*.new"]), &streams, &[("ORDERS", &["orders.*.new"])], &[], 0);
        check(subjects(&[">"]), &streams, &[("ORDERS", &[]), ("USERS", &[])], &[], 1);
        check(subjects(&["test", "foo"]), &streams, &[], &["test", "foo"], 0);
        check(subjects(&["orders.new", "orders.*"]), &streams, &[("ORDERS", &["orders.*"])], &[], 0);
        check(Wanted::default(), &streams, &[("ORDERS", &[]), ("USERS", &[])], &[], 0);
    }

    #[test]
    fn streams_are_found_by_name() {
        let streams = [stream("MIRROR", &[]), stream("USERS", &["user-operation", "user-login"])];
        let named = |name: &str, subjects: &[&str]| Wanted {
            subjects: Vec::new(),
            streams: vec![WantedStream { name: name.to_owned(), subjects: owned(subjects) }],
        };
        check(named("USERS", &[]), &streams, &[("USERS", &[])], &[], 0);
        check(named("USERS", &["user-login"]), &streams, &[("USERS", &["user-login"])], &[], 0);
        check(named("USERS", &["nothing"]), &streams, &[], &[], 1);
        check(named("MIRROR", &["a"]), &streams, &[("MIRROR", &["a"])], &[], 0);
        assert_eq!(assign(&named("NONE", &["a"]), &streams).missing_streams.len(), 1);
    }

    #[test]
    fn overlapping_filters_are_told() {
        assert_eq!(overlapping(&owned(&["a.*", "*.b"])), Some(("a.*", "*.b")));
        assert_eq!(overlapping(&owned(&["a.*", "a.b", "c"])), None);
    }
}
