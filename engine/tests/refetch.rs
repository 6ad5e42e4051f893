//! What was in the holes of a log: known from their neighbours, fetched from the stream, proven where it can be.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use lifeline_engine::intake::jetstream::Source;
use lifeline_engine::intake::{self, Message};
use lifeline_engine::refetch::{Context, Found, refetch};
use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{
    Delivery, EventReceived, EventRejected, Fact, FailedAttempt, LifecycleKey, Reconciled, Redriven, ResourceKey,
    StreamChange, StreamChanged, What,
};
use lifeline_projections::fold::Projection;
use lifeline_store::{Log, Offset, Options, SimulatedDisk};

const STORED_UNIX_NANOS: u64 = 1_780_000_000_000_000_000;

/// A stream as its server holds it.
#[derive(Default)]
struct Stream(BTreeMap<u64, Message>);

impl Source for Stream {
    fn message<'a>(
        &'a self,
        cluster: &'a str,
        stream: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<Message>, intake::Error>> {
        let message = ((cluster, stream) == ("mgmt/mgmt", "USERS")).then(|| self.0.get(&sequence).cloned()).flatten();
        async { Ok(message) }.boxed()
    }
}

/// Messages of two users by turns; each third on a subject that nobody wants.
fn message(sequence: u64) -> Message {
    let (user, topic) = (["ann", "bob"][sequence as usize % 2], if sequence == 6 { "noise" } else { "users" });
    let payload = format!(
        r#"{{"specversion":"1.0","type":"login","source":"auth","id":"message-{sequence}","subject":"{user}"}}"#
    );
    Message {
        sequence,
        published_unix_nanos: STORED_UNIX_NANOS + sequence * 1_000,
        subject: topic.into(),
        headers: Vec::new(),
        payload: Bytes::from(payload),
    }
}

/// The log: the stream is opened, messages 1 to 5, an outcome, messages 7 and 8. Message 6 was not wanted.
///
/// ```text
/// offset   0       1 2 3 4 5   6        7 8
/// message  opened  1 2 3 4 5   refused  7 8
/// ```
fn log(disk: &SimulatedDisk) -> Log<SimulatedDisk> {
    let options =
        Options { segment_bytes_max: 1 << 20, payload_bytes_max: 4096, low_space_bytes: 0, ..Options::default() };
    let (mut log, _) = Log::open(disk.clone(), options).expect("an empty disk");
    let mut projection = Projection::default();
    let mut put = |fact: &Fact<'_>, projection: &mut Projection| {
        let (mut bytes, time) = (Vec::new(), STORED_UNIX_NANOS + 50_000);
        fact.encode(&mut bytes);
        let offset = log.append(time, &bytes).expect("room");
        projection.fold(offset, time, fact, &mut Vec::new());
    };
    let (cluster, stream, epoch) = ("mgmt/mgmt", "USERS", 1);
    let opened = Fact::Stream(StreamChanged {
        cluster,
        stream,
        epoch,
        change: StreamChange::Opened { created_unix_nanos: 1, start_sequence: 1, reason: "" },
    });
    put(&opened, &mut projection);
    for sequence in [1, 2, 3, 4, 5, 6, 7, 8] {
        if sequence == 6 {
            let resource = ResourceKey { source: "auth".into(), subject: "bob".into() };
            let previous = projection.last_record("auth", "bob");
            let key = LifecycleKey { trigger: "manage".into(), cluster: cluster.into(), resource };
            let (acted_for, objects, error) = (Offset::from(5), Vec::new(), "refused".to_owned());
            let refused = Fact::Reconciled(Reconciled {
                key,
                acted_for,
                previous,
                what: What::Failed(FailedAttempt { objects, error, attempt: 1, transient: true }),
            });
            put(&refused, &mut projection);
            continue;
        }
        let message = message(sequence);
        let event = CloudEvent::parse(&[], &message.payload).expect("an event");
        let delivery = Delivery {
            cluster,
            stream,
            epoch,
            sequence,
            published_unix_nanos: message.published_unix_nanos,
            subject: &message.subject,
        };
        let received = Fact::Event(EventReceived {
            delivery,
            source: &event.source,
            subject: &event.subject,
            kind: &event.kind,
            id: &event.id,
            previous: projection.last_record(&event.source, &event.subject),
            decisions: Vec::new(),
            headers: Vec::new(),
            payload: &message.payload,
            redriven: None,
            order: None,
        });
        put(&received, &mut projection);
    }
    log.sync().expect("a disk");
    log
}

/// Damages the records that hold these texts, repairs, and says what is there then: `proven message 3`.
fn check(damaged: &[&str], stream: &Stream, filters: &[&str], expected: &[&str]) {
    let disk = SimulatedDisk::new(3);
    let mut log = log(&disk);
    let name = disk.files().into_iter().map(|(name, _)| name).find(|name| name.ends_with(".segment")).expect("one");
    let contents = disk.contents(&name).expect("a file");
    for needle in damaged {
        let at = contents.windows(needle.len()).position(|window| window == needle.as_bytes()).expect(needle);
        disk.flip_bit(&name, at as u64 * 8);
    }
    let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
    let context =
        Context { filters: [(("mgmt/mgmt".to_owned(), "USERS".to_owned()), filters)].into(), ..Context::default() };
    let refetched =
        refetch(&log.reader(), &context, stream).now_or_never().expect("nothing to wait for").expect("a log");
    let end = log.end();
    let repaired = log.repair(Offset::ZERO..end, &mut |offset| refetched.replacements.get(&offset).cloned());
    let repaired = repaired.expect("a disk");
    assert!(repaired.lost.is_empty(), "every offset has a fact: {repaired:?}");
    let mut told = Vec::new();
    for hole in &refetched.holes {
        for (offset, found) in (hole.offsets.start.get()..).zip(&hole.found) {
            let found = match found {
                Found::Message { sequence, .. } => format!("message {sequence}"),
                Found::Gap { sequences, .. } => format!("gap {} to {}", sequences.start, sequences.end - 1),
                Found::Nothing { .. } => "nothing".to_owned(),
            };
            let proven = if repaired.proven.contains(&Offset::from(offset)) { "proven " } else { "" };
            told.push(format!("{offset}: {proven}{found}"));
        }
    }
    assert_eq!(told, expected, "{damaged:?} {:?}", refetched.holes);
    // Whatever is there now, the log reads and folds to its end again, and nothing is taken for what it is not.
    let (reader, mut projection) = (log.reader(), Projection::default());
    lifeline_engine::recorder::fold_tail(&mut projection, &reader, |_, _| {}, |_| {}).expect("a log without holes");
    assert_eq!(projection.watermark().get(), 9);
    let positions: Vec<u64> = projection.ground().streams.values().map(|position| position.next_sequence).collect();
    assert_eq!(positions, [9], "the stream is read on where it was left");
}

#[test]
fn holes_are_filled_with_what_their_neighbours_say() {
    let all = Stream((1..=8).map(|sequence| (sequence, message(sequence))).collect());
    let wanted: &[&str] = &["users"];
    check(&["message-3"], &all, wanted, &["3: proven message 3"]);
    check(&["message-2", "message-3"], &all, wanted, &["2: proven message 2", "3: proven message 3"]);
    check(&["message-2", "message-4"], &all, wanted, &["2: proven message 2", "4: proven message 4"]);
    // An outcome: no sequence is missing between its neighbours.
    check(&["refused"], &all, wanted, &["6: nothing"]);
    check(&["message-5", "refused"], &all, wanted, &["5: message 5", "6: nothing"]);
    check(&["refused", "message-7"], &all, wanted, &["6: message 7", "7: nothing"]);

    // What the stream let go of is a gap, and said to be.
    let let_go = Stream((4..=8).map(|sequence| (sequence, message(sequence))).collect());
    check(&["message-3"], &let_go, &[], &["3: gap 3 to 3"]);
    check(&["message-2", "message-3"], &let_go, &[], &["2: gap 2 to 3", "3: nothing"]);
    // Read in part, a message that is gone may never have been wanted.
    check(&["message-3"], &let_go, wanted, &["3: nothing"]);
}

#[test]
fn the_end_of_a_stream_is_told_by_the_checkpoint_or_read_again_by_the_engine() {
    let all = Stream((1..=8).map(|sequence| (sequence, message(sequence))).collect());
    let damaged = || {
        let disk = SimulatedDisk::new(3);
        let log = log(&disk);
        let mut checkpoint = Projection::default();
        lifeline_engine::recorder::fold_tail(&mut checkpoint, &log.reader(), |_, _| {}, |_| {}).expect("a sound log");
        let name = disk.files().into_iter().map(|(name, _)| name).find(|name| name.ends_with(".segment")).expect("one");
        let contents = disk.contents(&name).expect("a file");
        let at = contents.windows(9).position(|window| window == b"message-8").expect("the last event");
        disk.flip_bit(&name, at as u64 * 8);
        (log, checkpoint)
    };
    let (log, checkpoint) = damaged();
    let context = Context { checkpoint: Some(&checkpoint), ..Context::default() };
    let refetched = refetch(&log.reader(), &context, &all).now_or_never().expect("nothing to wait for").expect("a log");
    assert_eq!(refetched.holes[0].found, [Found::Message { stream: "USERS".to_owned(), sequence: 8 }]);

    let (log, _) = damaged();
    let refetched = refetch(&log.reader(), &Context::default(), &all).now_or_never().expect("no wait").expect("a log");
    assert!(matches!(refetched.holes[0].found[..], [Found::Nothing { .. }]));
    let expected = "no record of stream USERS follows it: the engine reads on from sequence 8 by itself";
    assert_eq!(refetched.holes[0].remarks, [expected]);
}

#[test]
fn another_message_under_the_same_sequence_is_not_taken() {
    let mut other = Stream((1..=8).map(|sequence| (sequence, message(sequence))).collect());
    for message in other.0.values_mut() {
        message.published_unix_nanos += 3_600_000_000_000;
    }
    check(&["message-3"], &other, &[], &["3: gap 3 to 3"]);
}

#[test]
fn a_message_that_was_taken_up_again_stays_rejected_where_it_was() {
    let disk = SimulatedDisk::new(3);
    let options =
        Options { segment_bytes_max: 1 << 20, payload_bytes_max: 4096, low_space_bytes: 0, ..Options::default() };
    let (mut log, _) = Log::open(disk.clone(), options).expect("an empty disk");
    let (cluster, stream, epoch) = ("mgmt/mgmt", "USERS", 1);
    let change = StreamChange::Opened { created_unix_nanos: 1, start_sequence: 1, reason: "" };
    let messages = [message(1), message(2)];
    let delivery = |message: &'static Message| Delivery {
        cluster,
        stream,
        epoch,
        sequence: message.sequence,
        published_unix_nanos: message.published_unix_nanos,
        subject: &message.subject,
    };
    let [one, two] = messages.map(|message| &*Box::leak(Box::new(message)));
    let event = |message: &'static Message, redriven: Option<Redriven<'static>>| {
        let event = Box::leak(Box::new(CloudEvent::parse(&[], &message.payload).expect("an event")));
        Fact::Event(EventReceived {
            delivery: delivery(message),
            source: &event.source,
            subject: &event.subject,
            kind: &event.kind,
            id: &event.id,
            previous: None,
            decisions: Vec::new(),
            headers: Vec::new(),
            payload: &message.payload,
            redriven,
            order: None,
        })
    };
    let rejected = EventRejected { delivery: delivery(one), reason: "no", headers: Vec::new(), payload: &one.payload };
    let redriven = Redriven { of: Offset::from(1), by: "anybody", reason: "r" };
    let facts = [
        Fact::Stream(StreamChanged { cluster, stream, epoch, change }),
        Fact::Rejected(rejected),
        event(two, None),
        event(one, Some(redriven)),
    ];
    for fact in &facts {
        log.append_encoded(STORED_UNIX_NANOS + 50_000, |buffer| fact.encode(buffer)).expect("room");
    }
    log.sync().expect("a disk");
    let name = disk.files().into_iter().map(|(name, _)| name).find(|name| name.ends_with(".segment")).expect("one");
    let contents = disk.contents(&name).expect("a file");
    let at = contents.windows(9).position(|window| window == b"message-1").expect("the rejected message");
    disk.flip_bit(&name, at as u64 * 8);
    let all = Stream([(1, message(1)), (2, message(2))].into());
    let refetched =
        refetch(&log.reader(), &Context::default(), &all).now_or_never().expect("nothing to wait for").expect("a log");
    let again = Fact::decode(&refetched.replacements[&Offset::from(1)].payload).expect("a fact");
    assert!(matches!(again, Fact::Rejected(_)), "the event would be there twice: {again:?}");
}
