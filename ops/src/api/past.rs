//! Earlier states, for questions "as of".
//!
//! Telling one means folding the log from its beginning, so they are told one at a time, and the last one is kept: the
//! next page of the same list costs nothing.

use std::sync::Arc;

use lifeline_projections::as_of::{self, Moment};
use lifeline_projections::fold::Projection;
use lifeline_store::{Disk, Offset, Reader};
use parking_lot::Mutex;

/// The state told last.
#[derive(Default)]
pub(super) struct Past {
    last: Mutex<Option<(Offset, Arc<Projection>)>>,
}

impl Past {
    /// The state at a moment. Blocks for as long as it takes to read the log up to there.
    pub(super) fn at<D: Disk>(&self, log: &Reader<D>, moment: Moment) -> Result<Arc<Projection>, as_of::Error> {
        let end = moment.end(log)?;
        let mut last = self.last.lock();
        if let Some((_, projection)) = last.as_ref().filter(|(offset, _)| *offset == end) {
            return Ok(projection.clone());
        }
        // Dropped first: two earlier states at once would double the memory.
        *last = None;
        let projection = Arc::new(as_of::projection(log, Moment::Offset(end))?);
        *last = Some((end, projection.clone()));
        Ok(projection)
    }
}
