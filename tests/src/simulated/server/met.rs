//! What the streams held when an engine first asked for them, and how much of that it has not recorded.

use super::Server;

impl Server {
    /// The engine asks for the streams.
    pub(super) fn meet(&self) {
        let state = &mut *self.state.lock();
        let met = || state.streams.values().map(|stream| (stream.created_unix_nanos, stream.last_sequence)).collect();
        state.met.get_or_insert_with(met);
    }

    /// Another engine begins, which knows no streams.
    pub fn begin_life(&self) {
        self.state.lock().met = None;
    }

    /// What was in the streams when the engine first asked for them, and is still there at a sequence from the one that
    /// `next_sequence` gives for a stream by its name; `None` where it did not ask.
    pub fn unread(&self, next_sequence: impl Fn(&str) -> u64) -> Option<Vec<u64>> {
        let state = self.state.lock();
        let met = state.met.as_ref()?;
        let unread = state.streams.iter().filter_map(|(name, stream)| {
            let (last, next) = (*met.get(&stream.created_unix_nanos)?, next_sequence(name));
            let held = stream.held.range(next..).filter(|(_, message)| state.is_event(name, message));
            Some(held.map(|(sequence, _)| *sequence).filter(move |sequence| *sequence <= last))
        });
        Some(unread.flatten().collect())
    }
}
