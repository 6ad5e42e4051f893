//! The lists that are read from the log: a resource's history, and the records one after the other.

use lifeline_projections::fact::ResourceKey;
use lifeline_projections::history::{self, Entry};
use lifeline_projections::reads;
use lifeline_store::{Disk, Offset};

use super::{Error, Queries, blocking, resource_at};

/// A page of records.
#[derive(Debug, Clone, PartialEq)]
pub struct Entries {
    /// The answer reflects every record below this offset.
    pub offset: Offset,
    /// The records, oldest first.
    pub items: Vec<Entry>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Offset>,
}

impl<D: Disk> Queries<D> {
    /// The latest `limit` records that speak of one resource, of those below `before`, oldest first; the next page is the one
    /// that came earlier, and its `before` is `next`.
    ///
    /// # Errors
    /// When nothing is known of the resource, or the log no longer holds the record that `before` names.
    pub async fn history(&self, key: ResourceKey, before: Option<Offset>, limit: usize) -> Result<Entries, Error> {
        let (offset, resource) =
            self.view.read(|projection| (projection.watermark(), projection.resource(&key.source, &key.subject)));
        let Some(resource) = resource else { return Err(Error::UnknownResource { key: Box::new(key) }) };
        let view = self.view.clone();
        blocking(move || {
            let (log, latest) = (view.log(), resource.last_record);
            // The resource as it was when an earlier page ends. Where that is not known, the page goes without incarnations.
            let state = match before {
                None => Some(resource),
                Some(before) => resource_at(&view, &log, &key, before).ok().flatten(),
            };
            let (items, next) = history::history(&log, &key, latest, before, limit, state.as_ref())?;
            Ok(Entries { offset, items, next })
        })
        .await
    }

    /// The first `limit` records after the one at `after`, of every kind; of all that are held without it. The `after` of the
    /// next page is `next`.
    ///
    /// # Errors
    /// When the log no longer holds the record after `after`, or cannot be read.
    pub async fn events(&self, after: Option<Offset>, limit: usize) -> Result<Entries, Error> {
        let view = self.view.clone();
        blocking(move || {
            let log = view.log();
            let (start, end) = (log.start(), log.end());
            let from = after.map_or(Offset::ZERO, |after| Offset::from(after.get().saturating_add(1)).min(end));
            if let Some(cursor) = after.filter(|_| from < start) {
                return Err(reads::Error::Expired { cursor: cursor.get(), start: start.get() }.into());
            }
            let (items, position) = history::records(&log, from, limit)?;
            let next = (position < end).then(|| Offset::from(position.get().saturating_sub(1)));
            Ok(Entries { offset: end, items, next })
        })
        .await
    }
}
