//! Facts about streams: [`StreamChanged`].

/// A stream was met, began again, or lost messages that were never recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamChanged<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// The stream.
    pub stream: &'a str,
    /// Its epoch, from here on.
    pub epoch: u32,
    /// What happened.
    pub change: StreamChange<'a>,
}

/// What can happen to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamChange<'a> {
    /// It was met for the first time, or began again under its old name.
    Opened {
        /// When the server says it was created, in nanoseconds since 1970.
        created_unix_nanos: u64,
        /// First sequence that will be asked for.
        start_sequence: u64,
        /// Why a new epoch began; empty for the first.
        reason: &'a str,
    },
    /// Messages that the stream no longer holds were never recorded.
    Gap {
        /// First sequence missing.
        from_sequence: u64,
        /// First sequence after the gap.
        to_sequence: u64,
    },
    /// A stream of which a part is read no longer held messages that were not recorded. Which subjects they had is not known, so
    /// nobody knows how many of them were wanted.
    Holes {
        /// First sequence that was passed over.
        from_sequence: u64,
        /// First sequence after all that were passed over. Where reading goes on does not follow from it.
        to_sequence: u64,
        /// How many messages between them are gone, those of other subjects included.
        up_to: u64,
    },
}
