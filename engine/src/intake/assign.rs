//! Which streams hold what is wanted, and with which filters they are read. Pure.
//!
//! Start at [`assign`].
//!
//! Never here: creating a stream. What no stream holds is returned, and [`super::streams`] acts on it.

use super::copies::leave_out;
use super::jetstream::{Copied, Retention, StreamState};
use super::subjects::{Assignment, Reading, Skipped, Wanted, disjoint, includes, intersect, overlapping};

/// Finds the streams that hold what is wanted.
#[must_use]
pub fn assign(wanted: &Wanted, streams: &[StreamState]) -> Assignment {
    let mut found = Assignment::default();
    let everything = wanted.subjects.is_empty() && wanted.streams.is_empty();
    for stream in streams {
        if everything && stream.retention != Retention::Limits {
            found.warnings.push(format!(
                "stream `{}` is not read: it deletes what is acknowledged, which may be another's\nhint: to read it, name its \
                 subjects with `--subjects`",
                stream.name
            ));
            continue;
        }
        // By the subjects that are published, and by those that messages are kept under where these are others.
        let (mut filters, mut of_kept) = (Vec::new(), Vec::new());
        let mut whole = everything;
        for subject in &wanted.subjects {
            filters.extend(stream.subjects.iter().filter_map(|held| intersect(subject, held)));
        }
        for named in wanted.streams.iter().filter(|named| named.name == stream.name) {
            whole |= named.subjects.is_empty();
            for subject in &named.subjects {
                filters.extend(stream.subjects.iter().filter_map(|held| intersect(subject, held)));
                of_kept.extend(kept_of(stream, subject));
                // A mirror names no subjects of its own; the server knows what it holds.
                if stream.subjects.is_empty() {
                    filters.push(subject.clone());
                }
            }
        }
        if filters.is_empty() && of_kept.is_empty() && !whole {
            continue;
        }
        let filters = if whole { Vec::new() } else { disjoint(filters) };
        // All of a stream is read without a filter: it is faster, and a removed message shows as a hole. What its owner adds
        // to it later is skipped where it is not wanted, until it is looked at again.
        let has_all = !stream.subjects.is_empty()
            && stream.subjects.iter().all(|held| filters.iter().any(|filter| includes(filter, held)));
        let (filters, only) = match has_all || whole {
            true => (Vec::new(), if has_all { wanted_of(wanted, stream) } else { Vec::new() }),
            false => (kept_under(stream, filters, of_kept, &mut found.warnings), Vec::new()),
        };
        // Copies and renamed messages are not kept under the subjects that the stream names.
        let only = if stream.copied == Copied::default() { only } else { Vec::new() };
        let skipped = Skipped { only, ..Skipped::default() };
        found.readings.push(Reading { stream: stream.name.clone(), filters, skipped });
    }
    leave_out(&mut found, streams);
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
                "subject `{subject}` is held only in part, by stream `{}`: events on its other subjects are not kept\nhint: add them \
                 to that stream, or name with `--subjects` what it holds",
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
                            && kept_of(stream, subject).is_none()
                    })
                    .map(|subject| {
                        format!(
                            "stream `{}` does not hold the subject `{subject}`\nhint: correct `subjects` of that stream in the \
                             connection file, or add the subject to the stream",
                            stream.name
                        )
                    }),
            ),
        }
    }
    found
}

/// The subjects that are wanted of a stream, whether it has them by now or not.
fn wanted_of(wanted: &Wanted, stream: &StreamState) -> Vec<String> {
    let named = wanted.streams.iter().filter(|named| named.name == stream.name).flat_map(|named| &named.subjects);
    disjoint(wanted.subjects.iter().chain(named).cloned().collect())
}

/// The part of a pattern under which a stream keeps messages that were published on other subjects.
fn kept_of(stream: &StreamState, subject: &str) -> Option<String> {
    intersect(subject, &stream.copied.transform.as_ref()?.destinations())
}

/// The filters for messages that were published on these subjects, and `of_kept`, which are filters already.
fn kept_under(
    stream: &StreamState,
    published: Vec<String>,
    of_kept: Vec<String>,
    warnings: &mut Vec<String>,
) -> Vec<String> {
    let Some(transform) = &stream.copied.transform else { return published };
    let mut filters = of_kept;
    for subject in published {
        let kept = transform.kept(&subject).unwrap_or_default();
        let with_these = disjoint(filters.iter().chain(&kept).cloned().collect());
        // The server refuses filters that overlap in part.
        if !kept.is_empty() && overlapping(&with_these).is_none() {
            filters = with_these;
            continue;
        }
        warnings.push(format!(
            "stream `{}` keeps messages of `{subject}` under other subjects, `{}`, and which of these are wanted is not known: they are \
             not read\nhint: name that stream in the connection file (`streams`), with `subjects` that it keeps them under, or without \
             `subjects` to read all of it",
            stream.name, transform.destination
        ));
        filters.push(subject);
    }
    disjoint(filters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::subjects::WantedStream;
    use crate::intake::transform::Transform;

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
            copied: Copied::default(),
        }
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[track_caller]
    fn check(wanted: Wanted, streams: &[StreamState], readings: &[(&str, &[&str])], unheld: &[&str], warnings: usize) {
        let found = assign(&wanted, streams);
        let expected: Vec<_> =
            readings.iter().map(|(stream, filters)| ((*stream).to_owned(), owned(filters))).collect();
        let readings: Vec<_> = found.readings.into_iter().map(|reading| (reading.stream, reading.filters)).collect();
        assert_eq!(readings, expected);
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
    fn what_deletes_the_acknowledged_is_read_when_it_is_named() {
        let streams =
            [stream("EVENTS", &["e"]), StreamState { retention: Retention::WorkQueue, ..stream("JOBS", &["j"]) }];
        check(Wanted::default(), &streams, &[("EVENTS", &[])], &[], 1);
        check(subjects(&["j"]), &streams, &[("JOBS", &[])], &[], 0);
        check(subjects(&[">"]), &streams, &[("EVENTS", &[]), ("JOBS", &[])], &[], 1);
        let jobs = WantedStream { name: "JOBS".to_owned(), subjects: Vec::new() };
        check(Wanted { streams: vec![jobs], ..Wanted::default() }, &streams, &[("JOBS", &[])], &[], 0);
    }

    #[test]
    fn a_subject_that_is_added_to_a_stream_later_is_skipped() {
        let only = |wanted, stream| assign(&wanted, &[stream]).readings.remove(0).skipped.only;
        assert_eq!(only(subjects(&["a", "b"]), stream("S", &["a", "b"])), ["a", "b"]);
        assert_eq!(only(subjects(&["a"]), stream("S", &["a", "b"])), [""; 0]);
        // What is added and wanted is read at once.
        assert_eq!(only(subjects(&["a.*"]), stream("S", &["a.b"])), ["a.*"]);
        assert_eq!(only(Wanted::default(), stream("S", &["a"])), [""; 0]);
        // Its messages may be kept under other subjects than it names.
        assert_eq!(only(subjects(&["a"]), transformed("a", "b", &["a"])), [""; 0]);
    }

    fn transformed(source: &str, destination: &str, subjects: &[&str]) -> StreamState {
        let transform = Some(Transform { source: source.to_owned(), destination: destination.to_owned() });
        StreamState { copied: Copied { transform, ..Copied::default() }, ..stream("S", subjects) }
    }

    #[test]
    fn messages_are_read_by_the_subjects_that_they_are_kept_under() {
        let streams = [transformed("in.>", "out.>", &["in.>", "other.>"])];
        check(subjects(&["in.>"]), &streams, &[("S", &["out.>"])], &[], 0);
        check(subjects(&["in.a", "other.b"]), &streams, &[("S", &["other.b", "out.a"])], &[], 0);
        check(subjects(&["in.>", "other.>"]), &streams, &[("S", &[])], &[], 0);
        let named = |subject: &str| Wanted {
            subjects: Vec::new(),
            streams: vec![WantedStream { name: "S".to_owned(), subjects: owned(&[subject]) }],
        };
        check(named("out.a"), &streams, &[("S", &["out.a"])], &[], 0);
        check(named("in.a"), &streams, &[("S", &["out.a"])], &[], 0);
        // Which of them are meant is not known.
        let streams = [transformed("in.*", "out.{{partition(3,1)}}", &["in.*", "other.>"])];
        check(subjects(&["in.*"]), &streams, &[("S", &["in.*"])], &[], 1);
        check(named("out.*"), &streams, &[("S", &["out.*"])], &[], 0);
    }
}
