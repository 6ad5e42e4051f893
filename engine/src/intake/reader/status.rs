//! What an operator may ask of a reader.

use crate::intake::history::History;

/// What a reader is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Phase {
    /// Looking at the stream, or not begun.
    #[default]
    Opening,
    /// Delivering what comes.
    Reading,
    /// Nothing, while plain subscriptions take its place.
    Paused,
    /// Something has to change first; the reader keeps trying.
    Waiting {
        /// What, on one line.
        reason: String,
    },
}

/// What an operator may ask of a reader; for `/readyz` and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The stream.
    pub stream: String,
    /// What it is doing.
    pub phase: Phase,
    /// The stream's epoch; 0 before it is known.
    pub epoch: u32,
    /// Last sequence that was delivered.
    pub delivered_sequence: u64,
    /// Last sequence the stream has given, as of the last look.
    pub stream_last_sequence: u64,
    /// Messages that wait for delivery, as of the last batch or look; `None` while that is not known.
    pub pending: Option<u64>,
    /// Messages delivered and not acknowledged, as of the last look.
    pub unacknowledged: u64,
    /// Messages handed over since the start.
    pub messages: u64,
    /// Messages below sequences that were handed over before: delivered again, or late.
    pub redelivered: u64,
    /// Messages of any subject that were gone from the stream when reading passed them, since the start; 0 where the
    /// stream is read whole, for then what is missing is recorded.
    pub passed_over: u64,
    /// Sessions begun; more than one means that something was looked at again.
    pub sessions: u64,
    /// Gaps and new epochs found since the start.
    pub discontinuities: u64,
    /// Whether what the stream held at the connection is recorded.
    pub history: History,
    /// What an operator should know about the stream.
    pub warnings: Vec<String>,
}
