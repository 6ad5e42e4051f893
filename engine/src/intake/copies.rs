//! Streams that hold copies of other streams: mirrors, and streams with sources. Pure.
//!
//! Each event counts once. A copy of streams that are read anyway is not read itself ([`leave_out`]). A stream that holds
//! messages of its own beside copies is read, and its copies are skipped ([`Skipped`](super::subjects::Skipped)).
//!
//! Source: NATS ADR-8, ADR-36 and the header `Nats-Stream-Source`, which the server gives each message that a stream takes
//! from a source: the name of the origin, then its sequence there. A mirror keeps sequences and adds no header.

use super::jetstream::StreamState;
use super::subjects::{self, Assignment, Reading};

/// Copies of copies that are followed: NATS refuses circles, so this bounds nothing that is there.
const DEPTH_MAX: usize = 16;

/// Leaves out the streams that hold nothing but copies of what is read, and notes which copies the others hold.
pub fn leave_out(found: &mut Assignment, streams: &[StreamState]) {
    let all = found.readings.clone();
    let state = |name: &str| streams.iter().find(|stream| stream.name == name);
    found.readings.retain(|reading| {
        let Some(stream) = state(&reading.stream).filter(|stream| stream.is_copy()) else { return true };
        let is_read = stream.copied.origins.iter().all(|origin| is_covered(origin, reading, &all, streams, 0));
        if is_read {
            let origins = stream.copied.origins.join("`, `");
            found.warnings.push(format!(
                "stream `{}` is not read: it holds copies of `{origins}`, which is read, and each event counts once\nhint: \
                 to read the copy instead, name it alone under `streams` in the connection file",
                stream.name
            ));
            found.left_out.push(stream.name.clone());
        }
        !is_read
    });
    let read = found.readings.clone();
    for reading in &mut found.readings {
        let origins = state(&reading.stream).map(|stream| stream.copied.origins.as_slice()).unwrap_or_default();
        let is_origin = |other: &&Reading| other.stream != reading.stream && origins.contains(&other.stream);
        reading.skipped.origins =
            read.iter().filter(is_origin).map(|other| (other.stream.clone(), other.filters.clone())).collect();
        reading.skipped.copied = origins.to_vec();
        reading.skipped.is_copy = state(&reading.stream).is_some_and(StreamState::is_copy);
    }
}

/// Whether all that `reading` would give of `origin` is read from it, or from what it is a copy of.
fn is_covered(origin: &str, reading: &Reading, all: &[Reading], streams: &[StreamState], depth: usize) -> bool {
    let is_enough = |other: &Reading| {
        let has = |filter: &String| other.filters.iter().any(|wide| subjects::includes(wide, filter));
        other.filters.is_empty() || (!reading.filters.is_empty() && reading.filters.iter().all(has))
    };
    let is_read = all.iter().any(|other| other.stream == origin && origin != reading.stream && is_enough(other));
    let copied = || streams.iter().find(|stream| stream.name == origin).filter(|stream| stream.is_copy());
    is_read
        || depth < DEPTH_MAX
            && copied().is_some_and(|stream| {
                stream.copied.origins.iter().all(|next| is_covered(next, reading, all, streams, depth + 1))
            })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::assign::assign;
    use crate::intake::jetstream::{Copied, Message, Retention};
    use crate::intake::subjects::{Wanted, WantedStream};

    fn stream(name: &str, subjects: &[&str], origins: &[&str]) -> StreamState {
        StreamState {
            name: name.to_owned(),
            created_unix_nanos: 1,
            first_sequence: 1,
            last_sequence: 0,
            messages: 0,
            replicas: 1,
            retention: Retention::Limits,
            subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
            copied: Copied { origins: origins.iter().map(|&name| name.to_owned()).collect(), ..Copied::default() },
            on_disk: true,
            erasable: false,
            consumers_kept: None,
        }
    }

    fn named(names: &[(&str, &[&str])]) -> Wanted {
        let wanted = |(name, subjects): &(&str, &[&str])| WantedStream {
            name: (*name).to_owned(),
            subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
        };
        Wanted { subjects: Vec::new(), streams: names.iter().map(wanted).collect() }
    }

    #[track_caller]
    fn check(wanted: Wanted, streams: &[StreamState], read: &[&str], warnings: usize) {
        let found = assign(&wanted, streams);
        let names: Vec<&str> = found.readings.iter().map(|reading| reading.stream.as_str()).collect();
        assert_eq!(names, read, "{:?}", found.warnings);
        assert_eq!(found.warnings.len(), warnings, "{:?}", found.warnings);
    }

    #[test]
    fn a_copy_is_read_where_its_origin_is_not() {
        let streams = [
            stream("COPY", &[], &["MIRROR", "OUT"]),
            stream("IN", &["in.>"], &[]),
            stream("MIRROR", &[], &["IN"]),
            stream("OUT", &["out"], &[]),
        ];
        check(Wanted::default(), &streams, &["IN", "OUT"], 2);
        check(named(&[("MIRROR", &[])]), &streams, &["MIRROR"], 0);
        check(named(&[("MIRROR", &[]), ("IN", &[])]), &streams, &["IN"], 1);
        // Only a part of it is read from its origin.
        check(named(&[("MIRROR", &[]), ("IN", &["in.a"])]), &streams, &["IN", "MIRROR"], 0);
        check(named(&[("COPY", &[]), ("IN", &[])]), &streams, &["COPY", "IN"], 0);
        check(named(&[("COPY", &[]), ("IN", &[]), ("OUT", &[])]), &streams, &["IN", "OUT"], 1);
        // Its origin is not here.
        check(Wanted::default(), &streams[2..3], &["MIRROR"], 0);
        let elsewhere = Copied { is_elsewhere: true, ..streams[2].copied.clone() };
        check(
            Wanted::default(),
            &[streams[1].clone(), StreamState { copied: elsewhere, ..streams[2].clone() }],
            &["IN", "MIRROR"],
            0,
        );
    }

    #[test]
    fn copies_among_its_own_messages_are_skipped() {
        let streams = [stream("BOTH", &["own"], &["IN"]), stream("IN", &["in"], &[])];
        let found = assign(&Wanted::default(), &streams);
        let message = |subject: &'static str, header: Option<&str>| Message {
            sequence: 1,
            published_unix_nanos: 1,
            subject: subject.into(),
            headers: header.map(|value| ("Nats-Stream-Source".to_owned(), value.to_owned())).into_iter().collect(),
            payload: "".into(),
        };
        let left = |index: usize, message| {
            let mut messages = vec![message];
            found.readings[index].skipped.out_of(&mut messages);
            messages.len()
        };
        assert_eq!(left(0, message("in", Some("IN 7 > > in"))), 0);
        assert_eq!(left(0, message("in", Some("OTHER 7"))), 1);
        assert_eq!(left(0, message("own", None)), 1);
        assert_eq!(left(1, message("in", Some("IN 7"))), 1, "the origin itself");
        // Its owner may let it copy another one any time.
        let is_new = |header| found.readings[0].skipped.has_other_copies(&[message("in", header)]);
        let seen = [Some("IN 7 > > in"), Some("MORE 1"), Some("MORE:hash 1"), None].map(is_new);
        assert_eq!(seen, [false, true, false, false]);
    }
}
