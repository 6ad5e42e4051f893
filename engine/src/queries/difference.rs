//! What differs between two moments.

use std::ops::Bound;

use lifeline_projections::as_of::Moment;
use lifeline_projections::difference::{self, Difference};
use lifeline_projections::fact::ResourceKey;
use lifeline_projections::reads::{Filter, Page};
use lifeline_store::Disk;

use super::{Error, Queries, blocking, resource_at};

impl<D: Disk> Queries<D> {
    /// The lifecycles that differ between two moments, sorted by source, subject, trigger and cluster; `to` is now when
    /// missing.
    ///
    /// # Errors
    /// When the question is not in order, or one of the states is not reached or not known.
    pub async fn difference(
        &self,
        from: Moment,
        to: Option<Moment>,
        filter: Filter,
        page: Page,
    ) -> Result<Difference, Error> {
        let from = self.end(from).await?;
        // The end of what is folded, as for every other answer; the log may be a little ahead of it. It is read last: `from` may
        // have been waited for, and `to` must not be earlier.
        let to = match to {
            Some(to) => self.end(to).await?,
            None => self.view.read(|projection| projection.watermark()),
        };
        let view = self.view.clone();
        blocking(move || {
            let log = view.log();
            let spoken_of = |from, start: Bound<&ResourceKey>, wanted: &dyn Fn(&ResourceKey) -> bool| {
                view.read(|projection| difference::spoken_of(projection, from, start, wanted))
            };
            let state_at = |key: &ResourceKey, moment| resource_at(&view, &log, key, moment);
            Ok(difference::difference(&log, (from, to), &filter, &page, spoken_of, state_at)?)
        })
        .await
    }
}
