//! Whole earlier states, for the questions that no part of one answers.
//!
//! Each means folding the log from its beginning, so they are made one at a time (the next question waits without
//! holding a thread), and the last one is kept for a minute: the next page of the same list costs nothing.

use std::sync::Arc;
use std::time::Duration;

use lifeline_projections::as_of::{self, Moment};
use lifeline_projections::fold::Projection;
use lifeline_store::{Disk, Offset, Reader};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

/// How long a state is kept that nobody asks about any more: it takes as much memory as the present one.
const KEPT: Duration = Duration::from_secs(60);

/// A state that was folded, and where it ends.
struct Kept {
    end: Offset,
    projection: Arc<Projection>,
    asked: Instant,
}

/// The state folded last.
type Last = Option<Kept>;

/// Folds whole earlier states, one at a time, and keeps the last one for a while.
pub(super) struct Past {
    last: Arc<Mutex<Last>>,
    kept: Duration,
}

impl Default for Past {
    fn default() -> Past {
        Past { last: Arc::default(), kept: KEPT }
    }
}

/// The turn of one question.
pub(super) struct Turn {
    last: OwnedMutexGuard<Last>,
    kept: Duration,
}

impl Past {
    /// Waits for its turn.
    pub(super) async fn turn(&self) -> Turn {
        Turn { last: self.last.clone().lock_owned().await, kept: self.kept }
    }
}

impl Turn {
    /// Lets go of the state folded last, so that a fold whose state is not kept need not hold two.
    pub(super) fn forget(&mut self) {
        *self.last = None;
    }

    /// The state of what is recorded below `end`. Blocks for as long as it takes to read the log up to there.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn at<D: Disk>(mut self, log: &Reader<D>, end: Offset) -> Result<Arc<Projection>, as_of::Error> {
        if let Some(state) = self.last.as_mut().filter(|state| state.end == end) {
            state.asked = Instant::now();
            return Ok(state.projection.clone());
        }
        // Two earlier states at once would double the memory.
        self.forget();
        let projection = Arc::new(as_of::projection(log, Moment::Offset(end))?);
        *self.last = Some(Kept { end, projection: projection.clone(), asked: Instant::now() });
        let last = OwnedMutexGuard::mutex(&self.last).clone();
        tokio::spawn(forget_later(last, end, self.kept));
        Ok(projection)
    }
}

/// Lets go of a state once nobody has asked about it for a while.
async fn forget_later(last: Arc<Mutex<Last>>, end: Offset, kept: Duration) {
    loop {
        tokio::time::sleep(kept).await;
        let mut last = last.lock().await;
        match &*last {
            Some(state) if state.end == end && state.asked.elapsed() < kept => {}
            Some(state) if state.end == end => {
                let state = last.take();
                // A million resources take a while to be given back.
                tokio::task::spawn_blocking(move || drop(state));
                return;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use lifeline_store::{Log, Options, SimulatedDisk};

    use super::*;

    #[tokio::test]
    async fn a_state_is_kept_while_it_is_asked_about() {
        let options = Options { low_space_bytes: 0, ..Options::default() };
        let (log, _) = Log::open(SimulatedDisk::new(1), options).expect("an empty disk");
        let past = Past { kept: Duration::from_millis(300), ..Past::default() };
        let first = past.turn().await.at(&log.reader(), Offset::ZERO).expect("it is empty");
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let again = past.turn().await.at(&log.reader(), Offset::ZERO).expect("it is empty");
            assert!(Arc::ptr_eq(&first, &again), "it was folded again");
        }
        let waiting = Instant::now();
        while past.last.lock().await.is_some() {
            assert!(waiting.elapsed() < Duration::from_secs(10), "it is kept for ever");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
