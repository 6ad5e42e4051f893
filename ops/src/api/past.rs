//! Whole earlier states, for the questions that no part of one answers.
//!
//! Telling one means folding the log from its beginning, so they are told one at a time (whoever comes next waits without
//! holding a thread), and the last one is kept: the next page of the same list costs nothing.

use std::sync::Arc;

use lifeline_projections::as_of::{self, Moment};
use lifeline_projections::fold::Projection;
use lifeline_store::{Disk, Offset, Reader};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The state told last, and where it ends.
type Last = Option<(Offset, Arc<Projection>)>;

/// Where one waits for an earlier state.
#[derive(Default)]
pub(super) struct Past {
    last: Arc<Mutex<Last>>,
}

/// The turn of one question.
pub(super) struct Turn(OwnedMutexGuard<Last>);

impl Past {
    /// Waits for its turn.
    pub(super) async fn turn(&self) -> Turn {
        Turn(self.last.clone().lock_owned().await)
    }
}

impl Turn {
    /// Lets go of the state told last: whoever is about to fold one that is not to be kept need not hold two.
    pub(super) fn forget(&mut self) {
        *self.0 = None;
    }

    /// The state of what is recorded below `end`. Blocks for as long as it takes to read the log up to there.
    pub(super) fn at<D: Disk>(mut self, log: &Reader<D>, end: Offset) -> Result<Arc<Projection>, as_of::Error> {
        if let Some((_, projection)) = self.0.as_ref().filter(|(offset, _)| *offset == end) {
            return Ok(projection.clone());
        }
        // Two earlier states at once would double the memory.
        self.forget();
        let projection = Arc::new(as_of::projection(log, Moment::Offset(end))?);
        *self.0 = Some((end, projection.clone()));
        Ok(projection)
    }
}
