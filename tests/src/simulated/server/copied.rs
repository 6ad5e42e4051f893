//! Streams that take the messages of another one: a mirror, or a stream with a source and messages of its own.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_engine::intake::jetstream::{Message, Retention};

use super::{Server, State, Stream};
use crate::simulated::hazard::Hazard;
use crate::simulated::published::Fate;

/// What the server adds to a message that comes from a source.
const SOURCE_HEADER: &str = "Nats-Stream-Source";

impl Server {
    /// Makes a copy of a stream, with all that it holds. One with a subject of its own has it as a source; one without is a
    /// mirror.
    pub fn copy(&self, origin: &str, name: &str, subject: Option<&str>) {
        self.remove(name);
        let mut state = self.state.lock();
        let created_unix_nanos = state.stamp(&self.clock);
        let Some(messages) = state.streams.get(origin).map(|origin| origin.held.values().cloned().collect::<Vec<_>>())
        else {
            return;
        };
        self.counter.count(Hazard::CopiedStream);
        let stream = Stream {
            created_unix_nanos,
            subjects: subject.iter().map(|&subject| subject.to_owned()).collect(),
            retention: Retention::Limits,
            messages_max: usize::MAX,
            last_sequence: 0,
            held: BTreeMap::new(),
            strange: BTreeSet::new(),
            origin: Some(origin.to_owned()),
            consumers: BTreeMap::new(),
        };
        let stream = state.streams.entry(name.to_owned()).or_insert(stream);
        messages.iter().for_each(|message| stream.take_copy(origin, message));
        drop(state);
        self.changed.notify_waiters();
    }

    /// Removes a stream.
    pub fn remove(&self, name: &str) {
        let mut state = self.state.lock();
        let Some(stream) = state.streams.remove(name) else { return };
        for message in stream.held.values().filter(|message| message.headers.is_empty()) {
            if state.is_event(name, message) {
                state.let_go(message, Fate::Removed);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

impl State {
    /// Brings the newest message of a stream to its copies.
    pub(super) fn copy_newest(&mut self, origin: &str) {
        let newest = self.streams.get(origin).and_then(|origin| origin.held.last_key_value());
        let Some(newest) = newest.map(|(_, newest)| newest.clone()) else { return };
        for copy in self.streams.values_mut().filter(|copy| copy.origin.as_deref() == Some(origin)) {
            copy.take_copy(origin, &newest);
        }
    }
}

impl Stream {
    fn take_copy(&mut self, origin: &str, message: &Message) {
        let is_mirror = self.subjects.is_empty();
        self.last_sequence = if is_mirror { message.sequence } else { self.last_sequence + 1 };
        let header = format!("{origin} {} > > {}", message.sequence, message.subject);
        let headers = if is_mirror { Vec::new() } else { vec![(SOURCE_HEADER.to_owned(), header)] };
        let copy = Message { sequence: self.last_sequence, headers, ..message.clone() };
        self.held.insert(self.last_sequence, copy);
    }
}
