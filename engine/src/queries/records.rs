//! The lists that are read from the log: a resource's history, and the records one after the other.

use lifeline_projections::as_of::Moment;
use lifeline_projections::fact::ResourceKey;
use lifeline_projections::fold::Trail;
use lifeline_projections::history::{self, Entry};
use lifeline_projections::reads;
use lifeline_projections::records::{self, Budget, Choice, Found};
use lifeline_store::{Disk, Offset, Reader};

use super::{Error, Queries, blocking, resource_at};
use crate::view::View;

/// Where a page of records begins, and which way the pages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the record after this one, or at the first that is held; the next page follows.
    After(Option<Offset>),
    /// At the record before this one, or at the latest; the next page is the one that came earlier.
    Before(Option<Offset>),
}

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

    /// The first `limit` wanted records after a place, or the last before it, of every kind and oldest first; from `since` on
    /// where it is given. The place of the next page is `next`. A page may end early, even without a record, where few are
    /// wanted.
    ///
    /// # Errors
    /// When no record can ever be wanted, `since` is in the future, the log no longer holds the record at the place, or cannot be
    /// read.
    pub async fn events(
        &self,
        choice: Choice,
        place: Place,
        since: Option<Moment>,
        limit: usize,
    ) -> Result<Entries, Error> {
        choice.check()?;
        match since {
            Some(Moment::Time(unix_nanos)) if unix_nanos > self.clock.now_unix_nanos() => {
                return Err(Error::Future { unix_nanos });
            }
            _ => {}
        }
        let view = self.view.clone();
        blocking(move || {
            let log = view.log();
            let floor = floor(&log, since)?;
            match place {
                Place::After(after) => following(&log, after, floor, &choice, limit),
                Place::Before(before) => preceding(&view, &log, before, floor, &choice, limit),
            }
        })
        .await
    }
}

/// The first record that is asked for.
fn floor<D: Disk>(log: &Reader<D>, since: Option<Moment>) -> Result<Offset, Error> {
    let floor = match since {
        None => Offset::ZERO,
        Some(Moment::Time(unix_nanos)) => records::first_shown_at(log, unix_nanos)?,
        Some(offset) => offset.end(log)?,
    };
    Ok(floor.max(log.start()))
}

/// The cursor of a page, which the log has to hold.
fn held<D: Disk>(log: &Reader<D>, cursor: Option<Offset>, first: Offset) -> Result<(), Error> {
    let start = log.start();
    match cursor.filter(|_| first < start) {
        Some(cursor) => Err(reads::Error::Expired { cursor: cursor.get(), start: start.get() }.into()),
        None => Ok(()),
    }
}

fn following<D: Disk>(
    log: &Reader<D>,
    after: Option<Offset>,
    floor: Offset,
    choice: &Choice,
    limit: usize,
) -> Result<Entries, Error> {
    let end = log.end();
    let from = after.map_or(Offset::ZERO, |after| Offset::from(after.get().saturating_add(1)).min(end));
    held(log, after, from)?;
    let found = records::forwards(log, (from.max(floor), end), choice, limit, Budget::default())?;
    let next = (found.position < end).then(|| Offset::from(found.position.get().saturating_sub(1)));
    Ok(Entries { offset: end, items: found.entries, next })
}

fn preceding<D: Disk>(
    view: &View<D>,
    log: &Reader<D>,
    before: Option<Offset>,
    floor: Offset,
    choice: &Choice,
    limit: usize,
) -> Result<Entries, Error> {
    held(log, before, before.unwrap_or(floor))?;
    let linked = match (&choice.source, &choice.subject) {
        (Some(source), Some(subject)) => view.read(|projection| {
            let trails = projection.trails_called(source, subject, records::SOURCES_MAX)?;
            Some((trails, projection.landmarks().clone(), projection.watermark()))
        }),
        _ => None,
    };
    if let Some((trails, landmarks, folded)) = linked {
        // What is recorded and not folded yet is known to no link.
        let end = before.map_or(folded, |before| before.min(folded));
        let trails: &[Trail] = &trails;
        let found = records::along(log, (trails, &landmarks), (floor, end), choice, limit, Budget::default())?;
        if let Some(found) = found {
            return Ok(earlier(found, folded, floor));
        }
    }
    let end = log.end();
    let before = before.map_or(end, |before| before.min(end));
    let found = records::backwards(log, (floor, before), choice, limit, Budget::default())?;
    Ok(earlier(found, end, floor))
}

fn earlier(found: Found, offset: Offset, floor: Offset) -> Entries {
    let next = (found.position > floor).then_some(found.position);
    Entries { offset, items: found.entries, next }
}
