//! When a stream is read, and what of it: not while plain subscriptions read its subjects, and otherwise once its owner
//! changed it.
//!
//! Start at [`Gate`]. [`super::streams`] opens and shuts it, the reader of the stream waits at it.

use parking_lot::Mutex;
use tokio::sync::watch;

use super::plain::Already;
use super::subjects::Reading;

/// Whether a stream is read, and what of it.
#[derive(Debug)]
pub struct Gate {
    is_open: watch::Sender<bool>,
    reading: watch::Sender<Reading>,
    /// What the stream holds that was recorded meanwhile; for its reader.
    already: Mutex<Already>,
}

impl Gate {
    /// An open one; `already` is what the stream holds that is recorded.
    #[must_use]
    pub fn open_with(reading: Reading, already: Already) -> Gate {
        Gate { is_open: watch::Sender::new(true), reading: watch::Sender::new(reading), already: Mutex::new(already) }
    }

    /// Says what is to be read of the stream from now on.
    pub fn read(&self, reading: &Reading) {
        self.reading.send_if_modified(|known| {
            let is_new = known != reading;
            if is_new {
                known.clone_from(reading);
            }
            is_new
        });
    }

    /// Lets the stream be read again.
    pub fn open(&self, already: Already) {
        *self.already.lock() = already;
        self.is_open.send_replace(true);
    }

    /// Lets the session of the reader end.
    pub fn shut(&self) {
        self.is_open.send_if_modified(std::mem::take);
    }

    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }

    /// What the stream holds that is recorded, where that is new.
    pub(super) fn take_already(&self) -> Option<Already> {
        let already = std::mem::take(&mut *self.already.lock());
        (!already.is_empty()).then_some(already)
    }

    /// What is to be read of the stream.
    pub(super) fn reading(&self) -> Reading {
        self.reading.borrow().clone()
    }

    /// Waits until something else is to be read than this.
    pub(super) async fn differs_from(&self, reading: &Reading) {
        // The sender is our own, so the wait has no other end.
        let _ = self.reading.subscribe().wait_for(|wanted| wanted != reading).await;
    }

    /// Waits until it is open.
    pub(super) async fn opened(&self) {
        self.becomes(true).await;
    }

    /// Waits until it is shut.
    pub(super) async fn shut_down(&self) {
        self.becomes(false).await;
    }

    async fn becomes(&self, wanted: bool) {
        // The sender is our own, so the wait has no other end.
        let _ = self.is_open.subscribe().wait_for(|is_open| *is_open == wanted).await;
    }
}
