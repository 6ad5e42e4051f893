//! What goes wrong with streams and consumers, and what is done to them by hand.

use std::time::Duration;

use bytes::Bytes;
use lifeline_engine::intake::Subject;
use lifeline_engine::intake::jetstream::Message;
use tokio::time::Instant;

use super::{Server, State};
use crate::simulated::hazard::Hazard;
use crate::simulated::published::Fate;

impl Server {
    /// Removes the oldest messages of a stream: this many of every thousand.
    pub fn purge(&self, stream: &str, per_mille: u64) {
        let mut state = self.state.lock();
        let Some(stream) = state.streams.get_mut(stream) else { return };
        let count = stream.held.len() as u64 * per_mille / 1_000;
        if count > 0 {
            self.counter.count(Hazard::Purge);
        }
        let gone: Vec<Message> =
            (0..count).filter_map(|_| stream.held.pop_first()).map(|(_, message)| message).collect();
        for message in gone {
            state.let_go(&message, Fate::Removed);
        }
    }

    /// Restarts the server that has a stream, which has lost its newest messages: it gives their sequences to others.
    /// With `cuts` it is the server that the engine is connected to; otherwise the connection stays, and the consumer
    /// goes on at the new end.
    pub fn lose_tail(&self, stream: &str, messages: u64, cuts: bool) {
        let mut state = self.state.lock();
        let Some(stream) = state.streams.get_mut(stream) else { return };
        let count = messages.min(stream.last_sequence);
        if count > 0 {
            self.counter.count(Hazard::LostTail);
        }
        stream.last_sequence -= count;
        let (last_sequence, created_unix_nanos) = (stream.last_sequence, stream.created_unix_nanos);
        for consumer in stream.consumers.values_mut() {
            consumer.cursor = consumer.cursor.min(last_sequence + 1);
            consumer.unacknowledged.retain(|sequence, _| *sequence <= last_sequence);
        }
        let gone = stream.held.split_off(&(stream.last_sequence + 1));
        for message in gone.values() {
            state.let_go(message, Fate::Lost);
        }
        // Other messages get these sequences now.
        if let Some(last) = state.met.as_mut().and_then(|met| met.get_mut(&created_unix_nanos)) {
            *last = last_sequence.min(*last);
        }
        // A server that does not know of a message does not know that it purged it either.
        let purged = state.published.values_mut().filter(|published| {
            published.created_unix_nanos == created_unix_nanos
                && published.sequence > last_sequence
                && published.fate == Fate::Removed
        });
        purged.for_each(|published| published.fate = Fate::Lost);
        if cuts {
            state.connections += 1;
            state.restarts += 1;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Cuts every connection; nobody gets through for a while.
    pub fn go_away(&self, pause: Duration) {
        self.counter.count(Hazard::ServerAway);
        let mut state = self.state.lock();
        state.connections += 1;
        state.away_until = Some(Instant::now() + pause);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Makes every consumer stop delivering, without an error.
    pub fn go_deaf(&self) {
        for stream in self.state.lock().streams.values_mut() {
            for consumer in stream.consumers.values_mut() {
                self.counter.count(Hazard::DeafConsumer);
                consumer.is_deaf = true;
            }
        }
    }

    /// Makes a stream deliver nothing for a while.
    pub fn slow_down(&self, stream: &str, pause: Duration) {
        self.counter.count(Hazard::SlowStream);
        self.state.lock().slow_until.insert(stream.to_owned(), Instant::now() + pause);
    }

    /// Somebody changes every consumer, so that it asks for something else: it delivers nothing of what it should, and shows that
    /// when it is asked about.
    pub fn edit(&self) {
        for stream in self.state.lock().streams.values_mut() {
            for consumer in stream.consumers.values_mut() {
                self.counter.count(Hazard::EditedConsumer);
                consumer.is_edited = true;
            }
        }
    }

    /// The owner of a stream adds a subject to it, or takes it away again.
    pub fn set_other_subject(&self, stream: &str, subject: &str, is_there: bool) {
        let mut state = self.state.lock();
        let Some(stream) = state.streams.get_mut(stream) else { return };
        self.counter.count(Hazard::OtherSubject);
        stream.subjects.retain(|held| held != subject);
        stream.subjects.extend(is_there.then(|| subject.to_owned()));
    }

    /// Publishes what is none of our business, where a stream has the subject.
    pub fn publish_other(&self, stream: &str, subject: &'static str, payload: Bytes) {
        let mut state = self.state.lock();
        let published_unix_nanos = state.stamp(&self.clock);
        let Some(stream) = state.streams.get_mut(stream).filter(|stream| stream.has(subject)) else { return };
        stream.last_sequence += 1;
        let sequence = stream.last_sequence;
        stream.strange.remove(&sequence);
        let subject = Subject::from_static(subject);
        stream.held.insert(sequence, Message { sequence, published_unix_nanos, subject, headers: Vec::new(), payload });
        drop(state);
        self.changed.notify_waiters();
    }
}

impl super::Stream {
    fn has(&self, subject: &str) -> bool {
        self.subjects.iter().any(|held| held == subject)
    }
}

impl State {
    /// Whether a message of a stream is one that is to be recorded.
    pub(super) fn is_event(&self, stream: &str, message: &Message) -> bool {
        let published = self.published.get(&message.published_unix_nanos);
        published.is_some_and(|published| published.stream == *stream && published.sequence == message.sequence)
    }
}
