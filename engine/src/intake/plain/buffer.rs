//! What came by a plain subscription and is not handed over yet: numbered, bounded, and what had no room counted. Pure.
//!
//! Start at [`Buffer`]. JetStream numbers messages and keeps them; here nobody does. So the buffer numbers them as they come, and
//! what it has no room for takes numbers too: a [`Item::Gap`] says how many messages are lost.
//!
//! It also remembers what came lately. When JetStream is there, the stream holds the last of these messages as well, and
//! [`Already`] tells them apart.
//!
//! Never here: a clock, NATS, the recorder.

use std::collections::VecDeque;
use std::fmt;

use hashbrown::HashMap;
use sha2::{Digest as _, Sha256};

use super::super::epoch::Known;
use super::super::jetstream::Message;

/// Messages that wait for the recorder, at most.
pub const MESSAGES_MAX: usize = 65_536;

/// Bytes of payload that wait for the recorder, at most, give or take a message.
const BYTES_MAX: usize = 64 << 20;

/// Messages that are handed over together, at most.
const ITEM_MESSAGES_MAX: usize = 1_000;

/// Messages that are remembered, at most: those of a few seconds at any rate that a subscription can have.
const REMEMBERED_MAX: usize = 1 << 18;

/// How long messages are remembered: much longer than it takes to notice that JetStream is there.
const REMEMBERED_NANOS: u64 = 60_000_000_000;

/// What is handed over.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// The subject is read for the first time.
    Opened,
    /// Messages, in the order in which they came.
    Messages(Vec<Message>),
    /// Messages that are lost: the first number, and the first one after them.
    Gap(u64, u64),
}

impl Item {
    /// Its first number.
    fn first(&self) -> u64 {
        match self {
            Item::Opened => 0,
            Item::Messages(messages) => messages.first().map_or(0, |message| message.sequence),
            Item::Gap(from, _) => *from,
        }
    }
}

/// What recognizes a message in a stream: its subject, headers and payload.
type Digest = [u8; 16];

/// What came and is not handed over yet, and what came lately.
pub struct Buffer {
    epoch: u32,
    next_sequence: u64,
    waiting: VecDeque<Item>,
    waiting_messages: usize,
    waiting_bytes: usize,
    messages_max: usize,
    /// The first number of what is held back; `None` while nothing is.
    held_from: Option<u64>,
    /// With the time of arrival, in nanoseconds since 1970.
    remembered: VecDeque<(u64, Digest)>,
    /// Whether a subscription fills it, or one did that ended without a word.
    is_subscribed: bool,
    counts: Counts,
}

/// What an operator may ask of a buffer. Counts begin with the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The number of the next message.
    pub next_sequence: u64,
    /// Messages that are known to be lost, because nothing had room for them.
    pub dropped: u64,
    /// Times that nothing was subscribed for a while: events published meanwhile are lost, and nobody knows how many.
    pub interruptions: u64,
}

impl fmt::Debug for Buffer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}, {} messages wait", self.counts(), self.waiting_messages)
    }
}

impl Buffer {
    /// An empty one; `known` is what the log says of its messages.
    #[must_use]
    pub fn new(known: Option<Known>) -> Buffer {
        Buffer {
            epoch: known.map_or(1, |known| known.epoch),
            next_sequence: known.map_or(1, |known| known.next_sequence),
            waiting: known.is_none().then_some(Item::Opened).into_iter().collect(),
            waiting_messages: 0,
            waiting_bytes: 0,
            messages_max: MESSAGES_MAX,
            held_from: None,
            remembered: VecDeque::new(),
            is_subscribed: false,
            counts: Counts::default(),
        }
    }

    /// The same with another number of messages that may wait.
    #[must_use]
    pub fn with_messages_max(self, messages_max: usize) -> Buffer {
        Buffer { messages_max, ..self }
    }

    /// The epoch of its messages. It never ends: nothing can begin again where nothing is kept.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Notes that a subscription begins. True when the one before it ended without a word.
    pub fn begin(&mut self) -> bool {
        let is_again = std::mem::replace(&mut self.is_subscribed, true);
        self.counts.interruptions += u64::from(is_again);
        is_again
    }

    /// Notes that the subscription ended in good order.
    pub const fn end(&mut self) {
        self.is_subscribed = false;
    }

    /// Whether the subscription ended without a word and left something.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.is_subscribed && !self.waiting.is_empty()
    }

    /// Notes that nothing was subscribed for a while, so many times.
    pub const fn interrupted(&mut self, times: u64) {
        self.counts.interruptions += times;
    }

    /// Takes messages; those that have no room are lost.
    pub fn push(&mut self, messages: Vec<Message>) {
        for message in messages {
            if self.waiting_messages < self.messages_max && self.waiting_bytes < BYTES_MAX {
                // What is lost is not remembered: a stream may hold it.
                self.remember(&message);
                self.take(message);
            } else {
                self.lost(1);
            }
        }
    }

    /// Notes that messages are lost; how many is known.
    pub fn lost(&mut self, count: u64) {
        let from = self.next_sequence;
        self.next_sequence += count;
        self.counts.dropped += count;
        let is_first_held = self.held_from == Some(from);
        match self.waiting.back_mut() {
            Some(Item::Gap(_, to)) if !is_first_held => *to = self.next_sequence,
            _ => self.waiting.push_back(Item::Gap(from, self.next_sequence)),
        }
    }

    fn take(&mut self, mut message: Message) {
        let is_first_held = self.held_from == Some(self.next_sequence);
        message.sequence = self.next_sequence;
        self.next_sequence += 1;
        self.waiting_messages += 1;
        self.waiting_bytes += message.bytes();
        match self.waiting.back_mut() {
            Some(Item::Messages(messages)) if messages.len() < ITEM_MESSAGES_MAX && !is_first_held => {
                messages.push(message);
            }
            _ => self.waiting.push_back(Item::Messages(vec![message])),
        }
    }

    fn remember(&mut self, message: &Message) {
        let now = message.published_unix_nanos;
        self.remembered.push_back((now, digest(message)));
        while self.remembered.len() > REMEMBERED_MAX
            || self.remembered.front().is_some_and(|(came, _)| came.saturating_add(REMEMBERED_NANOS) < now)
        {
            self.remembered.pop_front();
        }
    }

    /// Holds back what comes from here on. After an interruption the server may have a stream, which holds it as well, and what
    /// was published before it.
    pub fn hold(&mut self) {
        self.held_from.get_or_insert(self.next_sequence);
    }

    /// Ends that: it may be handed over.
    pub const fn release(&mut self) {
        self.held_from = None;
    }

    /// Takes out what is held back, as if it had not come.
    pub fn take_held(&mut self) -> Vec<Message> {
        let Some(from) = self.held_from.take() else { return Vec::new() };
        let at = self.waiting.partition_point(|item| item.first() < from);
        let mut held = Vec::new();
        for item in self.waiting.split_off(at) {
            match item {
                Item::Opened => {}
                Item::Messages(messages) => held.extend(messages),
                Item::Gap(from, to) => self.counts.dropped -= to - from,
            }
        }
        self.next_sequence = from;
        self.forget(&held);
        self.remembered.truncate(self.remembered.len().saturating_sub(held.len()));
        held
    }

    /// Whether something waits to be handed over.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.front().is_some_and(|item| self.held_from.is_none_or(|from| item.first() < from))
    }

    /// What waits longest to be handed over.
    pub fn pop(&mut self) -> Option<Item> {
        let next = if self.is_waiting() { self.waiting.pop_front() } else { None };
        if let Some(Item::Messages(messages)) = &next {
            self.forget(messages);
        }
        next
    }

    fn forget(&mut self, messages: &[Message]) {
        self.waiting_messages -= messages.len();
        self.waiting_bytes -= messages.iter().map(Message::bytes).sum::<usize>();
    }

    /// Adds what came lately to what a stream may hold as well.
    pub fn add_to(&mut self, already: &mut Already) {
        for (_, digest) in self.remembered.drain(..) {
            *already.digests.entry(digest).or_default() += 1;
        }
    }

    /// What an operator may ask.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        Counts { next_sequence: self.next_sequence, ..self.counts }
    }
}

/// Messages that came by a plain subscription just before a stream was read in its place. What the stream holds of them is
/// recorded already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Already {
    digests: HashMap<Digest, u32>,
    /// The last sequence of the stream that may be one of them.
    until_sequence: u64,
}

impl Already {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// The same for a stream that ended at this sequence when the subscription had ended.
    #[must_use]
    pub fn until(self, until_sequence: u64) -> Already {
        Already { until_sequence, ..self }
    }

    /// Takes out those of a stream's messages that came before; how many.
    pub fn take_from(&mut self, messages: &mut Vec<Message>) -> usize {
        let count = messages.len();
        messages.retain(|message| !self.take(message));
        count - messages.len()
    }

    fn take(&mut self, message: &Message) -> bool {
        if message.sequence > self.until_sequence {
            self.digests.clear();
        }
        // Each is one message: the same bytes published twice are two.
        let Some(count) = self.digests.get_mut(&digest(message)).filter(|count| **count > 0) else { return false };
        *count -= 1;
        true
    }
}

fn digest(message: &Message) -> Digest {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(message.subject.as_bytes());
    for (name, value) in &message.headers {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    add(&message.payload);
    hash.finalize()[..16].try_into().expect("SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &'static str, sequence: u64) -> Message {
        Message {
            sequence,
            published_unix_nanos: 1,
            subject: "s".into(),
            headers: Vec::new(),
            payload: payload.as_bytes().into(),
        }
    }

    fn messages(payloads: &[&'static str]) -> Vec<Message> {
        payloads.iter().map(|payload| message(payload, 0)).collect()
    }

    /// What waits: numbers of messages, and gaps.
    fn waiting(buffer: &mut Buffer) -> Vec<String> {
        let shown = |item| match item {
            Item::Opened => "opened".to_owned(),
            Item::Gap(from, to) => format!("gap {from} {to}"),
            Item::Messages(messages) => messages.iter().map(|message| format!("{} ", message.sequence)).collect(),
        };
        std::iter::from_fn(|| buffer.pop()).map(shown).collect()
    }

    #[test]
    fn messages_are_numbered_from_where_the_log_ends() {
        let known = |next_sequence| Known {
            epoch: 1,
            created_unix_nanos: 0,
            next_sequence,
            last: None,
            recorded_until_unix_nanos: 0,
            looked_until: 0,
        };
        for (known, expected) in [(None, vec!["opened", "1 2 "]), (Some(known(8)), vec!["8 9 "])] {
            let mut buffer = Buffer::new(known);
            buffer.push(messages(&["a"]));
            buffer.push(messages(&["b"]));
            assert_eq!(waiting(&mut buffer), expected);
            assert!(!buffer.is_waiting());
        }
    }

    #[test]
    fn what_has_no_room_is_a_gap_at_its_place() {
        let mut buffer = Buffer::new(None).with_messages_max(2);
        buffer.push(messages(&["a", "b", "c"]));
        buffer.push(messages(&["d"]));
        assert_eq!(waiting(&mut buffer), ["opened", "1 2 ", "gap 3 5"]);
        buffer.push(messages(&["e"]));
        buffer.lost(3);
        assert_eq!(waiting(&mut buffer), ["5 ", "gap 6 9"]);
        assert_eq!(buffer.counts(), Counts { next_sequence: 9, dropped: 5, interruptions: 0 });
    }

    #[test]
    fn what_is_held_back_is_handed_over_or_taken_out_as_if_it_had_not_come() {
        let full = || {
            let mut buffer = Buffer::new(None).with_messages_max(3);
            buffer.push(messages(&["a"]));
            buffer.hold();
            buffer.push(messages(&["b"]));
            buffer.hold();
            buffer.push(messages(&["c", "d"]));
            buffer
        };
        let mut buffer = full();
        assert_eq!(waiting(&mut buffer), ["opened", "1 "]);
        buffer.release();
        assert_eq!(waiting(&mut buffer), ["2 3 ", "gap 4 5"]);
        let mut buffer = full();
        let held: Vec<_> = buffer.take_held().into_iter().map(|message| message.payload).collect();
        assert_eq!(held, ["b", "c"]);
        assert_eq!(buffer.counts(), Counts { next_sequence: 2, dropped: 0, interruptions: 0 });
        let mut already = Already::default();
        buffer.add_to(&mut already);
        let mut stream = vec![message("a", 1), message("b", 2)];
        already.until(9).take_from(&mut stream);
        assert_eq!(stream, [message("b", 2)], "it was not recorded");
        buffer.push(messages(&["c"]));
        assert_eq!(waiting(&mut buffer), ["opened", "1 2 "]);
    }

    #[test]
    fn a_subscription_that_ended_without_a_word_is_an_interruption() {
        let mut buffer = Buffer::new(None);
        assert!(!buffer.begin());
        buffer.end();
        assert!(!buffer.begin(), "it ended in good order");
        assert!(buffer.begin());
        buffer.interrupted(2);
        assert_eq!(buffer.counts().interruptions, 3);
    }

    #[test]
    fn what_a_stream_holds_as_well_is_told_apart() {
        let mut buffer = Buffer::new(None);
        buffer.push(messages(&["before", "both", "both", "both again"]));
        let mut already = Already::default();
        buffer.add_to(&mut already);
        let mut already = already.until(4);
        let mut held = vec![message("both", 1), message("both", 2), message("both", 3), message("both again", 4)];
        let mut later = vec![message("before", 5)];
        assert_eq!(already.take_from(&mut held), 3);
        assert_eq!(held, [message("both", 3)], "the third was published when nobody was subscribed");
        assert_eq!(already.take_from(&mut later), 0, "after the subscription had ended");
        assert!(already.is_empty());
    }

    #[test]
    fn messages_are_remembered_for_a_while() {
        let mut buffer = Buffer::new(None);
        buffer.push(messages(&["old"]));
        let now = 2 + REMEMBERED_NANOS;
        buffer.push(vec![Message { published_unix_nanos: now, ..message("new", 0) }]);
        let mut already = Already::default();
        buffer.add_to(&mut already);
        let mut already = already.until(2);
        let mut held = vec![message("old", 1), message("new", 2)];
        already.take_from(&mut held);
        assert_eq!(held, [message("old", 1)]);
    }
}
