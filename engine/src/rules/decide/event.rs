//! An event as rules look at it.
//!
//! Start at [`EventView`]. Nothing here decides.

use lifeline_projections::event::Headers;

/// An event as rules look at it. The attributes are those of its message, already parsed.
#[derive(Debug, Clone, Copy)]
pub struct EventView<'a> {
    /// NATS subject it was published on.
    pub nats_subject: &'a str,
    /// CloudEvent `source`.
    pub source: &'a str,
    /// CloudEvent `type`.
    pub kind: &'a str,
    /// CloudEvent `subject`; a missing one is the empty string.
    pub subject: &'a str,
    /// The headers of the message.
    pub headers: &'a Headers<'a>,
    /// The payload of the message.
    pub payload: &'a [u8],
}
