//! [`Published`]: what a simulated server remembers of each message, by the time it was published.

use std::collections::BTreeMap;

use bytes::Bytes;
use lifeline_engine::intake::jetstream::Message;

/// A message that was published, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The name of its stream.
    pub stream: String,
    /// When its stream was created: names the stream among those of its name.
    pub created_unix_nanos: u64,
    /// Its sequence.
    pub sequence: u64,
    /// When it was published.
    pub published_unix_nanos: u64,
    /// Its payload. Payloads in a world are unique, so this is its identity.
    pub payload: Bytes,
    /// Where it is.
    pub fate: Fate,
    /// Whether a reader got it.
    pub(super) delivered: bool,
}

/// Where a published message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// In its stream.
    Held,
    /// Its stream let go of it once it was acknowledged.
    Acknowledged,
    /// Purged, or its whole stream was deleted.
    Removed,
    /// The server lost it: a reader that had not read it by then cannot know.
    Lost,
}

/// Notes that the stream that was made at this time gave out messages.
pub(super) fn deliver(published: &mut BTreeMap<u64, Published>, created_unix_nanos: u64, messages: &[Message]) {
    for message in messages {
        // A copy, and what is another's, is none of the messages that are to be recorded.
        if let Some(published) = published.get_mut(&message.published_unix_nanos) {
            published.delivered |= published.created_unix_nanos == created_unix_nanos;
        }
    }
}
