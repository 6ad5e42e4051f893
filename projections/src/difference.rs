//! What differs between two moments: the lifecycles that are not what they were.
//!
//! Start at [`difference`]. Which resources may differ is found in the log between the two moments, or, where too much
//! lies between them or something there is lost, among those that were spoken of since; what a resource was at either
//! moment is looked up by [`crate::as_of::resource`]. Neither takes memory in proportion to the log.
//!
//! A cursor holds both moments and the last lifecycle given, so pages agree with each other while time passes.

use std::collections::BTreeSet;
use std::ops::Bound;

use lifeline_store::{Disk, Offset, Reader};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fact::{Fact, ResourceKey};
use crate::fold::{Projection, Resource, Sieve};
use crate::lifecycle::Phase;
use crate::reads::{
    self, Filter, LifecycleRow, ObjectRow, PAGE_ROWS, Page, decode_cursor, encode_cursor, lifecycle_row, parse_phase,
};

/// Resources compared for one page, at most: a page then ends early, with a cursor.
const RESOURCES_MAX: usize = 1_000;

/// Records between two moments that are read, at most; half a second of reading.
const RECORDS_MAX: u64 = 1_000_000;

/// The name of this list in cursors.
const DIFFERENCE: &str = "difference";

/// The lifecycles that differ between two moments: a page of a list, sorted by key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// The later moment: the answer reflects every record below this offset.
    pub offset: u64,
    /// The earlier moment: `before` reflects every record below this offset.
    pub from: u64,
    /// The lifecycles that differ.
    pub items: Vec<DifferenceRow>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One lifecycle that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DifferenceRow {
    /// CloudEvent `source`.
    pub source: String,
    /// CloudEvent `subject`.
    pub subject: String,
    /// EventTrigger.
    pub trigger: String,
    /// Cluster, `namespace/name`.
    pub cluster: String,
    /// What became of it, in a word.
    pub change: Change,
    /// As it was at the earlier moment; `null` when nothing was known of it.
    pub before: Option<LifecycleRow>,
    /// As it was at the later moment; `null` when nothing is known of it.
    pub after: Option<LifecycleRow>,
}

/// What became of a lifecycle between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is to be present, and was not.
    Created,
    /// It was to be present, and is not.
    Deleted,
    /// It is to be present at both moments and was absent in between, or one of its objects was made again.
    Recreated,
    /// It is desired as it was, and something else differs.
    Changed,
}

/// Why there is no difference to show.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error + 'static> {
    /// The cursor or a filter is none of ours.
    #[error(transparent)]
    Question(#[from] reads::Error),
    /// The first moment is after the second.
    #[error("`{from}` is after `{to}`\nhint: the earlier moment comes first")]
    Backwards {
        /// The moment given first.
        from: Offset,
        /// The moment given last.
        to: Offset,
    },
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] lifeline_store::Error),
    /// A state is not known.
    #[error("the earlier state of source `{}`, subject `{}` is not known", .key.source, .key.subject)]
    State {
        /// The resource.
        key: Box<ResourceKey>,
        /// Why.
        #[source]
        source: E,
    },
}

/// Both moments, the last resource given, and of that one the last trigger and cluster; `None` when all of it was given.
type Cursor = (u64, u64, String, String, Option<(String, String)>);

/// The lifecycles that differ between the moments `from` and `to`, which is not before it.
///
/// A filter wants those that it would want at either moment; ages are of the present and are not asked. With a cursor the
/// moments are those of the page before.
///
/// # Errors
/// When the question is not in order, the log cannot be read, or `state_at` refuses.
pub fn difference<D: Disk, E: std::error::Error + 'static>(
    log: &Reader<D>,
    (from, to): (Offset, Offset),
    filter: &Filter,
    page: &Page,
    spoken_of: impl FnOnce(Offset, Bound<&ResourceKey>, &dyn Fn(&ResourceKey) -> bool) -> (Vec<ResourceKey>, bool),
    mut state_at: impl FnMut(&ResourceKey, Offset) -> Result<Option<Resource>, E>,
) -> Result<Difference, Error<E>> {
    let cursor: Option<Cursor> = decode_cursor(DIFFERENCE, page)?;
    let (from, to) = cursor.as_ref().map_or((from, to), |(from, to, ..)| (Offset::from(*from), Offset::from(*to)));
    if from > to {
        return Err(Error::Backwards { from, to });
    }
    if cursor.is_some() && from < log.start() {
        let (cursor, start) = (from.get(), log.start().get());
        return Err(Error::Question(reads::Error::Expired { cursor, start }));
    }
    let wanted = Wanted::of(filter)?;
    let told = cursor.map(|(_, _, source, subject, within)| {
        (ResourceKey { source: source.into(), subject: subject.into() }, within)
    });
    let start = match &told {
        None => Bound::Unbounded,
        Some((key, None)) => Bound::Excluded(key),
        Some((key, Some(_))) => Bound::Included(key),
    };
    let is_wanted = |key: &ResourceKey| wanted.key(key);
    let is_near = to.get() - from.get() <= RECORDS_MAX && from >= log.start();
    let touched = if is_near { touched(log, from, to, start, &is_wanted)? } else { None };
    let (keys, mut more) = touched.unwrap_or_else(|| spoken_of(from, start, &is_wanted));

    let limit = page.limit.unwrap_or(PAGE_ROWS).max(1);
    let mut items: Vec<DifferenceRow> = Vec::new();
    let mut last = None;
    'keys: for key in keys {
        let mut at =
            |moment| state_at(&key, moment).map_err(|source| Error::State { key: Box::new(key.clone()), source });
        let (before, after) = (at(from)?, at(to)?);
        let within = told.as_ref().filter(|(of, _)| *of == key).and_then(|(_, within)| within.as_ref());
        for row in rows(&key, before.as_ref(), after.as_ref()) {
            let is_told = within.is_some_and(|(trigger, cluster)| (&row.trigger, &row.cluster) <= (trigger, cluster));
            if is_told || !wanted.row(&row) {
                continue;
            }
            if items.len() == limit {
                more = true;
                break 'keys;
            }
            last = Some((key.clone(), Some((row.trigger.clone(), row.cluster.clone()))));
            items.push(row);
        }
        last = Some((key, None));
    }
    let next = last.filter(|_| more).map(|(ResourceKey { source, subject }, within)| {
        encode_cursor(DIFFERENCE, (from.get(), to.get(), source, subject, within))
    });
    Ok(Difference { offset: to.get(), from: from.get(), items, next })
}

/// The first resources in order that the records between two moments speak of, and whether there are more. `None` where a
/// record between them is lost, for whom it spoke of cannot be known from here.
fn touched<D: Disk>(
    log: &Reader<D>,
    from: Offset,
    to: Offset,
    start: Bound<&ResourceKey>,
    is_wanted: &dyn Fn(&ResourceKey) -> bool,
) -> Result<Option<(Vec<ResourceKey>, bool)>, lifeline_store::Error> {
    let mut keys: BTreeSet<ResourceKey> = BTreeSet::new();
    let mut more = false;
    let mut meet = |key: ResourceKey| {
        if is_behind(&key, start) && is_wanted(&key) && keys.insert(key) && keys.len() > RESOURCES_MAX {
            keys.pop_last();
            more = true;
        }
    };
    let mut scan = log.scan(from);
    while scan.position() < to {
        let record = match scan.next() {
            Ok(Some(record)) => record,
            Ok(None) => break,
            Err(lifeline_store::Error::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if record.offset >= to {
            break;
        }
        match Fact::decode(record.payload) {
            Ok(Fact::Lost(_)) | Err(_) => return Ok(None),
            Ok(fact) => fact.links().for_each(|link| meet(link.key())),
        }
    }
    Ok(Some((keys.into_iter().collect(), more)))
}

fn is_behind(key: &ResourceKey, start: Bound<&ResourceKey>) -> bool {
    match start {
        Bound::Unbounded => true,
        Bound::Included(first) => key >= first,
        Bound::Excluded(last) => key > last,
    }
}

/// The first resources in order that any record from `from` on speaks of, and whether there are more; for moments that lie
/// too far from each other to read what lies between.
#[must_use]
pub fn spoken_of(
    projection: &Projection,
    from: Offset,
    start: Bound<&ResourceKey>,
    is_wanted: &dyn Fn(&ResourceKey) -> bool,
) -> (Vec<ResourceKey>, bool) {
    let start = start.map(|key| (&*key.source, &*key.subject));
    let since = projection.trails_from(start, Sieve::default(), from).filter(|trail| trail.unchanged.is_none());
    let mut keys = since.map(|trail| trail.key).filter(is_wanted);
    let first: Vec<ResourceKey> = keys.by_ref().take(RESOURCES_MAX).collect();
    let more = keys.next().is_some();
    (first, more)
}

/// The lifecycles of a resource that differ, by trigger and cluster.
fn rows(key: &ResourceKey, before: Option<&Resource>, after: Option<&Resource>) -> Vec<DifferenceRow> {
    let places = [before, after].into_iter().flatten().flat_map(|resource| &resource.lifecycles);
    let places: BTreeSet<(&str, &str)> = places.map(|lifecycle| (&*lifecycle.trigger, &*lifecycle.cluster)).collect();
    let row = |resource: Option<&Resource>, place: (&str, &str)| {
        let resource = resource?;
        let mut lifecycles = resource.lifecycles.iter();
        let lifecycle = lifecycles.find(|lifecycle| (&*lifecycle.trigger, &*lifecycle.cluster) == place)?;
        Some(lifecycle_row(key, resource, lifecycle))
    };
    let rows = places.into_iter().filter_map(|place| {
        let (before, after) = (row(before, place), row(after, place));
        (before != after).then(|| DifferenceRow {
            source: key.source.to_string(),
            subject: key.subject.to_string(),
            trigger: place.0.to_owned(),
            cluster: place.1.to_owned(),
            change: Change::of(before.as_ref(), after.as_ref()),
            before,
            after,
        })
    });
    rows.collect()
}

impl Change {
    fn of(before: Option<&LifecycleRow>, after: Option<&LifecycleRow>) -> Change {
        let is_present = |row: Option<&LifecycleRow>| row.is_some_and(|row| row.desired == "present");
        let incarnation = |row: Option<&LifecycleRow>| row.map(|row| row.incarnation);
        let objects = |row: Option<&LifecycleRow>| row.map_or_else(Vec::new, |row| row.objects.clone());
        let (old, new) = (objects(before), objects(after));
        let is_renewed = |new: &ObjectRow| old.iter().any(|old| is_renewed(old, new));
        match (is_present(before), is_present(after)) {
            (false, true) => Change::Created,
            (true, false) => Change::Deleted,
            (true, true) if incarnation(before) != incarnation(after) || new.iter().any(is_renewed) => {
                Change::Recreated
            }
            (true, true) | (false, false) => Change::Changed,
        }
    }
}

/// Whether an object took the place of another one of its name.
fn is_renewed(old: &ObjectRow, new: &ObjectRow) -> bool {
    let both = old.uid.is_some() && new.uid.is_some() && old.uid != new.uid;
    both && ObjectRow { uid: None, ..old.clone() } == ObjectRow { uid: None, ..new.clone() }
}

/// A filter, for rows that have two sides.
struct Wanted<'f> {
    filter: &'f Filter,
    phase: Option<Phase>,
}

impl<'f> Wanted<'f> {
    fn of(filter: &'f Filter) -> Result<Wanted<'f>, reads::Error> {
        Ok(Wanted { filter, phase: filter.phase.as_deref().map(parse_phase).transpose()? })
    }

    fn key(&self, key: &ResourceKey) -> bool {
        self.filter.source.as_deref().is_none_or(|source| key.source.starts_with(source))
            && self.filter.subject.as_deref().is_none_or(|subject| *key.subject == *subject)
    }

    fn row(&self, row: &DifferenceRow) -> bool {
        let is_in =
            |side: &Option<LifecycleRow>, phase: Phase| side.as_ref().is_some_and(|side| side.phase == phase.as_str());
        self.filter.trigger.as_ref().is_none_or(|trigger| *trigger == row.trigger)
            && self.filter.cluster.as_ref().is_none_or(|cluster| *cluster == row.cluster)
            && self.phase.is_none_or(|phase| is_in(&row.before, phase) || is_in(&row.after, phase))
    }
}
