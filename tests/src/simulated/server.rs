//! A NATS server in memory, as unkind as a real one may be: slow, away, deaf, forgetful of acknowledgements and messages.
//!
//! Start at [`Server`]. The script publishes, purges and makes streams again; the engine reads it through
//! [`super::jetstream`]. It remembers every message that was ever published and what became of it, and asks a witness
//! about everything that is acknowledged.
//!
//! Never here: what a message means.

mod copied;
mod met;
mod rival;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lifeline_engine::clock::{Clock, SimulatedClock};
use lifeline_engine::intake::epoch::content_hash;
use lifeline_engine::intake::jetstream::{Backlog, Consume, Copied, Message, Retention, Stored, StreamState};
use lifeline_engine::intake::owner::Owner;
use lifeline_engine::intake::subjects::includes;
use lifeline_engine::intake::{Error, Subject};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use self::rival::Rival;
use super::chance::Chance;
use super::hazard::{Counter, Hazard};
use super::published::deliver;
pub use super::published::{Fate, Published};
use super::story::Violation;

/// Messages in one batch at most; small, so that one story has many.
const BATCH_MESSAGES_MAX: u64 = 7;

/// Unacknowledged messages at which delivery pauses.
const UNACKNOWLEDGED_MAX: usize = 40;

/// Asked about the payloads that an acknowledgement covers: what is wrong with it, if anything.
pub type Witness = Box<dyn Fn(&[Bytes]) -> Option<Violation> + Send + Sync>;

/// A consumer as its reader holds it.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub consume: Consume,
    number: u64,
    connection: u64,
    restart: u64,
    created_unix_nanos: u64,
}

/// What a consumer gets at a moment.
pub(super) enum Delivered {
    Messages { messages: Vec<Message>, pending: u64 },
    Nothing { again_at: Option<Instant> },
}

/// A server with its streams.
pub struct Server {
    state: Mutex<State>,
    changed: Notify,
    clock: SimulatedClock,
    chance: Chance,
    is_calm: AtomicBool,
    ack_wait: Duration,
    witness: Witness,
    counter: Counter,
    /// Whether requests and acknowledgements are lost.
    is_unkind: bool,
}

#[derive(Default)]
struct State {
    streams: BTreeMap<String, Stream>,
    /// By the time it was published, which no two share.
    published: BTreeMap<u64, Published>,
    last_stamp_unix_nanos: u64,
    away_until: Option<Instant>,
    /// Until when streams deliver nothing.
    slow_until: BTreeMap<String, Instant>,
    connections: u64,
    restarts: u64,
    consumers: u64,
    /// Another engine that came.
    rival: Option<Rival>,
    violations: Vec<Violation>,
    /// What the streams held when the engine first asked for them, by creation: the last sequence. `None` before it did.
    met: Option<BTreeMap<u64, u64>>,
}

struct Stream {
    created_unix_nanos: u64,
    subjects: Vec<String>,
    retention: Retention,
    messages_max: usize,
    last_sequence: u64,
    held: BTreeMap<u64, Message>,
    /// Those of them that the client cannot read: it breaks the connection off.
    strange: BTreeSet<u64>,
    /// The stream whose messages it takes as well.
    origin: Option<String>,
    consumers: BTreeMap<String, Consumer>,
}

struct Consumer {
    number: u64,
    cursor: u64,
    /// The subjects that it asks for; without any, all.
    filters: Vec<String>,
    /// Since when, by sequence.
    unacknowledged: BTreeMap<u64, Instant>,
    /// It delivers nothing more, and reports nothing.
    is_deaf: bool,
    /// Somebody changed what it asks for.
    is_edited: bool,
    /// It has delivered something to the reader that opened it.
    has_delivered: bool,
    /// It has delivered something to another reader since then.
    went_elsewhere: bool,
    /// Who is noted with it.
    owner: Option<Owner>,
}

impl Server {
    /// An empty server.
    #[must_use]
    pub fn new(
        chance: Chance,
        clock: SimulatedClock,
        is_unkind: bool,
        counter: Counter,
        witness: Witness,
    ) -> Arc<Server> {
        let ack_wait = Duration::from_millis(200 + chance.below(10_000));
        let (state, changed, is_calm) = (Mutex::default(), Notify::new(), AtomicBool::new(false));
        Arc::new(Server { state, changed, clock, chance, is_calm, ack_wait, witness, counter, is_unkind })
    }

    /// Makes a stream, in place of the one of that name: as an operator who deletes it and makes it again.
    pub fn make_stream(&self, name: &str, subject: &str, retention: Retention, messages_max: usize) -> StreamState {
        let mut state = self.state.lock();
        let created_unix_nanos = state.stamp(&self.clock);
        if let Some(old) = state.streams.remove(name) {
            for message in old.held.values() {
                state.let_go(message, Fate::Removed);
            }
        }
        let stream = Stream {
            created_unix_nanos,
            subjects: vec![subject.to_owned()],
            retention,
            messages_max,
            last_sequence: 0,
            held: BTreeMap::new(),
            strange: BTreeSet::new(),
            origin: None,
            consumers: BTreeMap::new(),
        };
        let made = stream.state(name);
        state.streams.insert(name.to_owned(), stream);
        drop(state);
        self.changed.notify_waiters();
        made
    }

    /// Publishes to a stream.
    ///
    /// # Panics
    /// When there is no such stream.
    pub fn publish(&self, stream: &str, subject: &'static str, payload: Bytes) {
        let is_strange = self.meets(Hazard::StrangeMessage, 25);
        let mut state = self.state.lock();
        let published_unix_nanos = state.stamp(&self.clock);
        let name = stream.to_owned();
        let stream = state.streams.get_mut(stream).expect("the stream was made before");
        stream.last_sequence += 1;
        let (sequence, created_unix_nanos) = (stream.last_sequence, stream.created_unix_nanos);
        let subject = Subject::from_static(subject);
        let message =
            Message { sequence, published_unix_nanos, subject, headers: Vec::new(), payload: payload.clone() };
        stream.held.insert(sequence, message);
        // The server may have given the sequence to another message before.
        stream.strange.remove(&sequence);
        stream.strange.extend(is_strange.then_some(sequence));
        let published = Published {
            stream: name,
            created_unix_nanos,
            sequence,
            published_unix_nanos,
            payload,
            fate: Fate::Held,
            delivered: false,
        };
        let is_full = stream.held.len() > stream.messages_max;
        let oldest = if is_full { stream.held.pop_first() } else { None };
        state.copy_newest(&published.stream);
        state.published.insert(published_unix_nanos, published);
        if let Some((_, oldest)) = oldest {
            self.counter.count(Hazard::FullStream);
            state.let_go(&oldest, Fate::Removed);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// No more trouble from here on.
    pub fn calm_down(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
        let mut state = self.state.lock();
        (state.away_until, state.rival) = (None, None);
        state.slow_until.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    /// Every message ever published, in order.
    #[must_use]
    pub fn published(&self) -> Vec<Published> {
        self.state.lock().published.values().cloned().collect()
    }

    /// What the witness had to say.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.state.lock().violations.clone()
    }

    pub(super) fn streams(&self) -> Vec<StreamState> {
        self.meet();
        self.state.lock().streams.iter().map(|(name, stream)| stream.state(name)).collect()
    }

    pub(super) fn stored_from(&self, stream: &str, subject: &str, sequence: u64) -> Option<Stored> {
        let state = self.state.lock();
        let held = &state.streams.get(stream)?.held;
        let asked = [subject.to_owned()];
        let (sequence, message) = held.range(sequence..).find(|(_, message)| is_asked_for(&asked, message))?;
        let content_hash = content_hash(&message.payload);
        Some(Stored { sequence: *sequence, published_unix_nanos: message.published_unix_nanos, content_hash })
    }

    /// The first messages that a consumer has to deliver, with a lease to acknowledge them by.
    pub(super) fn first_alone(&self, consume: &Consume, count: u32) -> Option<(Lease, Vec<Message>)> {
        let mut state = self.state.lock();
        let State { streams, published, connections, restarts, .. } = &mut *state;
        let Stream { held, consumers, created_unix_nanos, retention, .. } = streams.get(&consume.stream)?;
        let consumer = consumers.get(&consume.durable)?;
        let unacknowledged = consumer.unacknowledged.keys().next().filter(|_| *retention != Retention::Limits);
        let from = unacknowledged.map_or(consume.from_sequence, |first| consume.from_sequence.min(*first));
        let waiting = held.range(from..).filter(|(_, message)| is_asked_for(&consume.filters, message));
        let messages: Vec<Message> = waiting.take(count as usize).map(|(_, held)| held.clone()).collect();
        deliver(published, *created_unix_nanos, &messages);
        let lease = Lease {
            consume: consume.clone(),
            number: consumer.number,
            connection: *connections,
            restart: *restarts,
            created_unix_nanos: *created_unix_nanos,
        };
        (!messages.is_empty()).then_some((lease, messages))
    }

    /// Opens a consumer in place of the one of that name.
    pub(super) fn consume(&self, consume: &Consume) -> Result<Lease, Error> {
        let mut state = self.state.lock();
        state.consumers += 1;
        let (number, connection, restart) = (state.consumers, state.connections, state.restarts);
        let Some(stream) = state.streams.get_mut(&consume.stream) else {
            return Err(ended(consume, "no such stream"));
        };
        let cursor = match stream.retention {
            Retention::Limits => consume.from_sequence,
            Retention::Interest | Retention::WorkQueue => consume.from_sequence.min(stream.first_sequence()),
        };
        let (retention, created_unix_nanos) = (stream.retention, stream.created_unix_nanos);
        let noted = stream.consumers.get(&consume.durable).and_then(|consumer| consumer.owner.clone());
        let consumer = Consumer {
            owner: noted.or_else(|| consume.owner.clone()),
            number,
            cursor,
            filters: consume.filters.clone(),
            unacknowledged: BTreeMap::new(),
            is_deaf: false,
            is_edited: false,
            has_delivered: false,
            went_elsewhere: false,
        };
        stream.consumers.insert(consume.durable.clone(), consumer);
        // To begin at a sequence is to acknowledge what lies before it.
        if retention == Retention::Limits {
            let claimed = state.published.values().filter(|published| {
                published.created_unix_nanos == created_unix_nanos
                    && published.delivered
                    && matches!(published.fate, Fate::Held | Fate::Acknowledged)
                    && published.sequence < consume.from_sequence
            });
            let payloads: Vec<Bytes> = claimed.map(|published| published.payload.clone()).collect();
            state.violations.extend((self.witness)(&payloads));
        }
        Ok(Lease { consume: consume.clone(), number, connection, restart, created_unix_nanos })
    }

    /// Gives out what there is for a consumer: first what was not acknowledged in time, then what is new.
    pub(super) fn deliver(&self, lease: &Lease) -> Result<Delivered, Error> {
        let mut state = self.state.lock();
        if state.connections != lease.connection {
            return Err(Error::Interrupted);
        }
        let reads_as_well = state.reads_as_well(lease);
        state.violations.extend(reads_as_well);
        let State { streams, published, connections, slow_until, .. } = &mut *state;
        let slow_until = slow_until.get(&lease.consume.stream).copied().filter(|until| Instant::now() < *until);
        let stream = streams.get_mut(&lease.consume.stream);
        let leased = stream.and_then(|stream| stream.leased(lease));
        let (held, strange, consumer) = leased.ok_or_else(|| ended(&lease.consume, "it is gone"))?;
        if consumer.is_deaf || consumer.is_edited {
            return Ok(Delivered::Nothing { again_at: None });
        }
        if slow_until.is_some() {
            return Ok(Delivered::Nothing { again_at: slow_until });
        }
        let now = Instant::now();
        let late = consumer.unacknowledged.iter().filter(|(_, since)| **since + self.ack_wait <= now);
        let late = late.map(|(sequence, _)| *sequence).filter(|sequence| held.contains_key(sequence));
        let mut sequences: Vec<u64> = late.collect();
        self.counter.count_many(Hazard::Redelivery, sequences.len() as u64);
        if consumer.unacknowledged.len() < UNACKNOWLEDGED_MAX {
            let room = 1 + self.chance.below(BATCH_MESSAGES_MAX);
            let asked = held.range(consumer.cursor..).filter(|(_, held)| is_asked_for(&lease.consume.filters, held));
            let fresh = asked.map(|(sequence, _)| *sequence);
            sequences.extend(fresh.take(usize::try_from(room).expect("a batch is small")));
        }
        let Some(last) = sequences.last() else {
            let held_ones = consumer.unacknowledged.iter().filter(|(sequence, _)| held.contains_key(sequence));
            let again_at = held_ones.map(|(_, since)| *since + self.ack_wait).min();
            return Ok(Delivered::Nothing { again_at });
        };
        // Deliveries are numbered, so a reader sees that one is missing. Before its first one it does not: another reader may
        // have made the consumer again, and then the numbers begin again.
        if consumer.went_elsewhere {
            return Err(ended(&lease.consume, "a delivery is missing"));
        }
        consumer.has_delivered = true;
        consumer.cursor = consumer.cursor.max(last + 1);
        let mut messages: Vec<Message> = sequences.iter().map(|sequence| held[sequence].clone()).collect();
        consumer.unacknowledged.extend(sequences.iter().map(|sequence| (*sequence, now)));
        // The client reads what comes before a message that it cannot read, and nothing after it.
        let readable = messages.iter().take_while(|message| !strange.contains(&message.sequence)).count();
        if readable < messages.len() {
            *connections += 1;
            if readable == 0 {
                return Err(Error::Interrupted);
            }
        }
        let unread = messages.split_off(readable).len();
        let pending = count(held, consumer.cursor, lease) + unread as u64;
        deliver(published, lease.created_unix_nanos, &messages);
        Ok(Delivered::Messages { messages, pending })
    }

    pub(super) fn backlog(&self, lease: &Lease) -> Result<Option<Backlog>, Error> {
        let mut state = self.state.lock();
        let stream = state.streams.get_mut(&lease.consume.stream);
        let Some((held, _, consumer)) = stream.and_then(|stream| stream.leased(lease)) else { return Ok(None) };
        if consumer.is_edited {
            return Err(ended(&lease.consume, "somebody changed its configuration"));
        }
        Ok(Some(Backlog {
            pending: count(held, consumer.cursor, lease),
            unacknowledged: consumer.unacknowledged.len() as u64,
            unacknowledged_max: UNACKNOWLEDGED_MAX as u64,
            delivered_sequence: consumer.cursor.saturating_sub(1),
        }))
    }

    /// Takes an acknowledgement of messages, by sequence and the time they were published. Whether or not it arrives, what it
    /// covers must be safe by now. Kinder than a real server: it takes none for a message that has got the sequence since.
    pub(super) fn acknowledge(&self, lease: &Lease, covered: &[(u64, u64)], arrives: bool) {
        let mut state = self.state.lock();
        let created = lease.created_unix_nanos;
        // What was on the line when the server died speaks of sequences that may mean other messages now.
        if lease.restart != state.restarts {
            return;
        }
        // What the stream let go of before it could be recorded is a gap, which the verdict looks for. On a work queue each
        // message is acknowledged by itself; elsewhere the highest speaks for all below it.
        let each = lease.consume.retention == Retention::WorkQueue;
        let (last, until_unix_nanos) = covered.iter().max().copied().unwrap_or((0, 0));
        let is_covered = |sequence: u64| match each {
            true => covered.iter().any(|(covered, _)| *covered == sequence),
            false => sequence <= last,
        };
        let claimed = state.published.values().filter(|published| {
            published.created_unix_nanos == created
                && published.delivered
                && matches!(published.fate, Fate::Held | Fate::Acknowledged)
                && is_covered(published.sequence)
                && published.published_unix_nanos <= until_unix_nanos
        });
        let payloads: Vec<Bytes> = claimed.map(|published| published.payload.clone()).collect();
        state.violations.extend((self.witness)(&payloads));
        // A stream that was made again has never heard of it.
        let stream = state.streams.get_mut(&lease.consume.stream).filter(|stream| stream.created_unix_nanos == created);
        let Some(stream) = stream.filter(|_| arrives) else { return };
        if let Some(consumer) = stream.consumers.get_mut(&lease.consume.durable) {
            consumer.unacknowledged.retain(|sequence, _| !is_covered(*sequence));
        }
        if stream.retention == Retention::WorkQueue {
            let is_same = |(sequence, time): &&(u64, u64)| {
                stream.held.get(sequence).is_some_and(|message| message.published_unix_nanos == *time)
            };
            let same: Vec<u64> = covered.iter().filter(is_same).map(|(sequence, _)| *sequence).collect();
            let gone: Vec<Message> = same.iter().filter_map(|sequence| stream.held.remove(sequence)).collect();
            for message in gone {
                if !state.is_event(&lease.consume.stream, &message) {
                    let whom = String::from_utf8_lossy(&message.payload).into_owned();
                    state
                        .violations
                        .push(Violation::new("acknowledged, and deleted by that, though it is another's", whom));
                }
                state.let_go(&message, Fate::Acknowledged);
            }
        }
    }

    /// Waits until something was published or broke.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    fn clock_unix_nanos(&self) -> u64 {
        self.clock.now_unix_nanos()
    }

    /// Some time on the way, for a message.
    pub(super) fn latency(&self) -> Duration {
        self.chance.millis_below(30)
    }

    /// Whether a hazard happens now, which it does once in so many times.
    pub(super) fn meets(&self, hazard: Hazard, one_in: u64) -> bool {
        let meets = self.is_unkind && !self.is_calm.load(Ordering::Relaxed) && self.chance.one_in(one_in);
        if meets {
            self.counter.count(hazard);
        }
        meets
    }

    pub(super) fn away(&self) -> Result<(), Error> {
        match self.state.lock().away_until {
            Some(until) if Instant::now() < until => {
                Err(Error::Disconnected { url: "simulated".to_owned(), trouble: "the line is cut".to_owned() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The way to the server: takes a while, and may lead nowhere.
    pub(super) async fn way(&self, operation: &str) -> Result<(), Error> {
        sleep(self.chance.millis_below(20)).await;
        self.away()?;
        if self.meets(Hazard::UnansweredRequest, 25) {
            sleep(self.chance.millis_below(5_000)).await;
            return Err(Error::NoAnswer { operation: operation.to_owned(), cause: "no answer in time".into() });
        }
        Ok(())
    }
}

impl State {
    /// The server's time, never the same twice.
    fn stamp(&mut self, clock: &SimulatedClock) -> u64 {
        self.last_stamp_unix_nanos = clock.now_unix_nanos().max(self.last_stamp_unix_nanos + 1);
        self.last_stamp_unix_nanos
    }

    fn let_go(&mut self, message: &Message, fate: Fate) {
        // A copy, and what is another's, is none of the messages that are to be recorded.
        if let Some(published) = self.published.get_mut(&message.published_unix_nanos) {
            published.fate = fate;
        }
    }
}

impl Stream {
    /// What is held, what of it is strange, and the consumer of a lease unless another took its place.
    fn leased(&mut self, lease: &Lease) -> Option<(&BTreeMap<u64, Message>, &BTreeSet<u64>, &mut Consumer)> {
        let Stream { held, strange, consumers, .. } = self;
        let consumer = consumers.get_mut(&lease.consume.durable)?;
        (consumer.number == lease.number).then_some((held, strange, consumer))
    }

    fn state(&self, name: &str) -> StreamState {
        StreamState {
            name: name.to_owned(),
            created_unix_nanos: self.created_unix_nanos,
            first_sequence: self.first_sequence(),
            last_sequence: self.last_sequence,
            messages: self.held.len() as u64,
            replicas: 1,
            retention: self.retention,
            subjects: self.subjects.clone(),
            on_disk: true,
            erasable: true,
            consumers_kept: None,
            copied: Copied { origins: self.origin.iter().cloned().collect(), ..Copied::default() },
        }
    }

    fn first_sequence(&self) -> u64 {
        self.held.first_key_value().map_or(self.last_sequence + 1, |(first, _)| *first)
    }
}

/// Whether a message has one of these subjects; without any, all have.
fn is_asked_for(subjects: &[String], message: &Message) -> bool {
    subjects.is_empty() || subjects.iter().any(|subject| includes(subject, &message.subject))
}

/// How many messages wait for the consumer of a lease.
fn count(held: &BTreeMap<u64, Message>, cursor: u64, lease: &Lease) -> u64 {
    held.range(cursor..).filter(|(_, message)| is_asked_for(&lease.consume.filters, message)).count() as u64
}

fn ended(consume: &Consume, reason: &str) -> Error {
    let (consumer, stream) = (consume.durable.clone(), consume.stream.clone());
    Error::ConsumerEnded { stream, consumer, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_loses_its_end_forgets_what_it_purged_there() {
        let clock = SimulatedClock::starting_at(1);
        let server = Server::new(Chance::new(0, 0), clock, false, Counter::default(), Box::new(|_| None));
        server.make_stream("EVENTS", "subject", Retention::WorkQueue, 100);
        for payload in ["one", "two", "three", "four"] {
            server.publish("EVENTS", "subject", Bytes::from(payload));
        }
        server.purge("EVENTS", 750);
        let fates = || server.published().iter().map(|published| published.fate).collect::<Vec<_>>();
        assert_eq!(fates(), [Fate::Removed, Fate::Removed, Fate::Removed, Fate::Held]);

        // It gives the sequences 3 and 4 again, so the purge of 3 can no longer be seen.
        server.lose_tail("EVENTS", 2, true);

        assert_eq!(fates(), [Fate::Removed, Fate::Removed, Fate::Lost, Fate::Lost]);
        server.publish("EVENTS", "subject", Bytes::from("five"));
        assert_eq!(server.published()[4].sequence, 3);
    }
}
