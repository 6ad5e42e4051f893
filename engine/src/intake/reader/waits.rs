//! What a reader waits for between two sessions: that its stream is to be read, and that it owns the consumer.

use super::{Phase, Reader};
use crate::error_text::with_remedy;
use crate::intake::history::History;
use crate::intake::{Error, owner};

impl Reader {
    /// Waits until the stream is to be read; true when the recorder takes no more.
    pub(super) async fn wait_at_gate(&mut self) -> bool {
        if !self.gate.is_open() {
            self.status.send_modify(|status| (status.phase, status.pending) = (Phase::Paused, None));
            tokio::select! {
                biased;
                () = self.sink.closed() => return true,
                () = self.gate.opened() => {}
            }
            self.status.send_modify(|status| status.phase = Phase::Opening);
        }
        if let Some(already) = self.gate.take_already() {
            self.already = already;
        }
        self.told = self.gate.reading();
        let mut reading = self.told.clone();
        if self.holds_others && reading.filters.is_empty() {
            reading.filters.clone_from(&reading.skipped.only);
        }
        if reading != self.reading {
            tracing::info!(stream = reading.stream, ?reading.filters, "other subjects of the stream are read from here on");
            // What was passed over so far is no hole where all of it is read now.
            self.is_widened |= !self.reading.filters.is_empty() && reading.filters.is_empty();
            self.reading = reading;
        }
        false
    }

    /// Says that another engine reads, and waits a moment; true when the recorder takes no more. What it records and applies
    /// is not known here, so nothing is done in the cluster either.
    pub(super) async fn wait_for_owner(&mut self, owned: &Error) -> bool {
        let reason = with_remedy(owned);
        let phase = Phase::Waiting { reason };
        if self.status.borrow().phase != phase {
            tracing::warn!("{owned}");
            self.status.send_modify(|status| {
                (status.phase, status.history, status.pending) = (phase, History::Elsewhere, None);
            });
        }
        tokio::select! {
            biased;
            () = self.sink.closed() => true,
            () = tokio::time::sleep(owner::LOOK_EVERY) => false,
        }
    }
}
