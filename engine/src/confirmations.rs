//! Withdrawals that somebody confirms, on their way to the recorder.
//!
//! Start at [`Confirmations::ask`]. What comes of them is decided there: see [`crate::recorder`].

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::size::Size;

/// A withdrawal that is to be confirmed, by its id.
pub(crate) struct Confirmation {
    pub(crate) id: String,
    /// What goes, once that is recorded; `None` where nothing is held under the id.
    pub(crate) done: oneshot::Sender<Option<Size>>,
}

/// Those that nobody took yet.
#[derive(Default)]
pub(crate) struct Confirmations {
    waiting: Mutex<Vec<Confirmation>>,
    asked: Notify,
}

impl Confirmations {
    /// Asks for one. The answer comes once it is recorded.
    pub(crate) fn ask(&self, id: &str) -> oneshot::Receiver<Option<Size>> {
        let (done, recorded) = oneshot::channel();
        self.waiting.lock().push(Confirmation { id: id.to_owned(), done });
        self.asked.notify_one();
        recorded
    }

    /// Waits until one is asked for.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Takes all of them.
    pub(crate) fn take(&self) -> Vec<Confirmation> {
        std::mem::take(&mut self.waiting.lock())
    }
}
