//! What can be asked of a projection, and the shape of the answers.
//!
//! Start at [`resources`], [`lifecycles`] and [`objects`]: each takes a filter and a page and gives rows sorted by key,
//! with the offset that the answer reflects. The shapes are public: scripts read them as JSON.
//!
//! A cursor is the key of the last row, so it stays right while rows come and go, and across restarts and rebuilds.

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};

use crate::fact::{ObjectKey, ResourceKey};
use crate::fold::{Projection, Resource};
use crate::lifecycle::{Desired, Lifecycle, Phase};

/// Rows asked for when nobody says how many.
pub const PAGE_ROWS: usize = 500;

/// Which rows are wanted. An empty filter wants them all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// The CloudEvent source begins with this.
    pub source: Option<String>,
    /// The CloudEvent subject is this.
    pub subject: Option<String>,
    /// The EventTrigger is this.
    pub trigger: Option<String>,
    /// The cluster is this.
    pub cluster: Option<String>,
    /// The phase is this, in any case.
    pub phase: Option<String>,
}

/// Which part of the rows is wanted.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Rows at most; `None` for [`PAGE_ROWS`].
    pub limit: Option<usize>,
    /// The cursor of the page before.
    pub after: Option<String>,
}

/// A page of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List<T> {
    /// The answer reflects every record below this offset.
    pub offset: u64,
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One (source, subject).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceRow {
    /// CloudEvent `source`.
    pub source: String,
    /// CloudEvent `subject`.
    pub subject: String,
    /// Events recorded about it.
    pub events: u64,
    /// CloudEvent `type` of the latest.
    pub last_event: String,
    /// Triggers that ever decided about it.
    pub lifecycles: usize,
    /// Objects it holds in clusters, over all its lifecycles.
    pub objects: usize,
    /// Offset of its latest event.
    pub offset: u64,
    /// When that was recorded, RFC 3339.
    pub time: String,
}

/// One trigger's view of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LifecycleRow {
    /// CloudEvent `source`.
    pub source: String,
    /// CloudEvent `subject`.
    pub subject: String,
    /// EventTrigger.
    pub trigger: String,
    /// Cluster, `namespace/name`.
    pub cluster: String,
    /// `present` or `absent`.
    pub desired: String,
    /// Where it stands.
    pub phase: String,
    /// Creates after Deletes, from 1.
    pub incarnation: u32,
    /// What it holds in the cluster.
    pub objects: Vec<ObjectRow>,
    /// Why the last attempt failed; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Attempts since the decision; absent when none failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// CloudEvent `type` of the resource's latest event.
    pub last_event: String,
    /// Offset of the decision.
    pub offset: u64,
    /// When that was recorded, RFC 3339.
    pub time: String,
}

/// One object in a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectRow {
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; `null` when cluster-scoped.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `metadata.uid`; `null` while it is only intended.
    pub uid: Option<String>,
}

/// One object, with the lifecycle that owns it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnedObjectRow {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectRow,
    /// The owner's cluster.
    pub cluster: String,
    /// The owner's trigger.
    pub trigger: String,
    /// The owner's CloudEvent source.
    pub source: String,
    /// The owner's CloudEvent subject.
    pub subject: String,
    /// Offset of the decision it was last applied for, or of the claim while it is only intended.
    pub offset: u64,
    /// When it was last applied, RFC 3339; `null` while it is only intended.
    pub time: Option<String>,
}

/// A question that cannot be answered as it is put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a cursor that this API gave.
    #[error("cursor `{cursor}` is not one that a list gave\nhint: use the `next` of the page before, or none to start over")]
    Cursor {
        /// What was given.
        cursor: String,
    },
    /// Not a phase.
    #[error("phase `{phase}` does not exist\nhint: one of Failing, Pending, Deleting, Ready, Left, Gone")]
    Phase {
        /// What was given.
        phase: String,
    },
}

/// Resources, sorted by source and subject.
///
/// # Errors
/// When the cursor is none of ours.
pub fn resources(projection: &Projection, filter: &Filter, page: &Page) -> Result<List<ResourceRow>, Error> {
    let rows = select(projection, filter, page)?.filter(|(_, resource)| resource.events > 0);
    let cursor = |row: &ResourceRow| Cursor(&row.source, &row.subject, "", "").encode();
    Ok(list(projection, page, rows.map(|(key, resource)| resource_row(key, resource)), cursor))
}

/// Lifecycles, sorted by source, subject, trigger and cluster.
///
/// # Errors
/// When the cursor or the phase is none of ours.
pub fn lifecycles(projection: &Projection, filter: &Filter, page: &Page) -> Result<List<LifecycleRow>, Error> {
    let phase = filter.phase.as_deref().map(parse_phase).transpose()?;
    let after = page.after.as_deref().map(decode_cursor).transpose()?;
    let wanted = |lifecycle: &Lifecycle| {
        filter.trigger.as_deref().is_none_or(|trigger| *trigger == *lifecycle.trigger)
            && filter.cluster.as_deref().is_none_or(|cluster| *cluster == *lifecycle.cluster)
            && phase.is_none_or(|phase| phase == lifecycle.phase())
    };
    let rows = select(projection, filter, page)?.flat_map(|(key, resource)| {
        let after = after.as_ref().filter(|after| (&*after.0, &*after.1) == (&*key.source, &*key.subject)).cloned();
        let later = move |lifecycle: &Lifecycle| {
            after.as_ref().is_none_or(|after| (&*lifecycle.trigger, &*lifecycle.cluster) > (&*after.2, &*after.3))
        };
        let each = resource.lifecycles.iter().filter(move |lifecycle| later(lifecycle));
        each.filter(|lifecycle| wanted(lifecycle)).map(move |lifecycle| lifecycle_row(key, resource, lifecycle))
    });
    let cursor = |row: &LifecycleRow| Cursor(&row.source, &row.subject, &row.trigger, &row.cluster).encode();
    Ok(list(projection, page, rows, cursor))
}

/// Objects held in clusters, sorted by cluster and name.
///
/// # Errors
/// When the cursor is none of ours.
pub fn objects(projection: &Projection, filter: &Filter, page: &Page) -> Result<List<OwnedObjectRow>, Error> {
    let after = page.after.as_deref().map(decode_cursor).transpose()?;
    let rows = projection.objects().filter_map(|(cluster, object, claims)| {
        let (key, lifecycle) = projection.lifecycle(claims.first()?.lifecycle);
        let holding = lifecycle.holding(object)?;
        let applied = holding.applied.as_ref();
        Some(OwnedObjectRow {
            object: object_row(object, applied.map(|applied| applied.uid.clone())),
            cluster: cluster.to_owned(),
            trigger: lifecycle.trigger.to_string(),
            source: key.source.to_string(),
            subject: key.subject.to_string(),
            offset: applied.map_or(holding.since, |applied| applied.acted_for).get(),
            time: applied.map(|applied| time(applied.unix_nanos)),
        })
    });
    let place = |row: &OwnedObjectRow| {
        let ObjectRow { group, version, kind, namespace, name, .. } = &row.object;
        let place = (group, version, kind, namespace, name);
        (row.cluster.clone(), serde_json::to_string(&place).expect("strings are JSON"))
    };
    let rows = rows
        .filter(|row| filter.source.as_deref().is_none_or(|source| row.source.starts_with(source)))
        .filter(|row| filter.subject.as_deref().is_none_or(|subject| row.subject == subject))
        .filter(|row| filter.trigger.as_deref().is_none_or(|trigger| row.trigger == trigger))
        .filter(|row| filter.cluster.as_deref().is_none_or(|cluster| row.cluster == cluster));
    let mut rows: Vec<_> = rows.map(|row| (place(&row), row)).collect();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let rows = rows.into_iter().filter(|((cluster, place), _)| {
        after.as_ref().is_none_or(|after| (cluster.as_str(), place.as_str()) > (&*after.0, &*after.1))
    });
    let cursor = |row: &OwnedObjectRow| {
        let (cluster, place) = place(row);
        Cursor(&cluster, &place, "", "").encode()
    };
    Ok(list(projection, page, rows.map(|(_, row)| row), cursor))
}

/// The row of one resource.
#[must_use]
pub fn resource_row(key: &ResourceKey, resource: &Resource) -> ResourceRow {
    ResourceRow {
        source: key.source.to_string(),
        subject: key.subject.to_string(),
        events: resource.events,
        last_event: resource.last_event_kind.clone(),
        lifecycles: resource.lifecycles.len(),
        objects: resource.lifecycles.iter().map(|lifecycle| lifecycle.inventory.len()).sum(),
        offset: resource.last_event.get(),
        time: time(resource.last_event_unix_nanos),
    }
}

/// The row of one lifecycle.
#[must_use]
pub fn lifecycle_row(key: &ResourceKey, resource: &Resource, lifecycle: &Lifecycle) -> LifecycleRow {
    LifecycleRow {
        source: key.source.to_string(),
        subject: key.subject.to_string(),
        trigger: lifecycle.trigger.to_string(),
        cluster: lifecycle.cluster.to_string(),
        desired: match lifecycle.desired {
            Desired::Present { .. } => "present".to_owned(),
            Desired::Absent { .. } | Desired::Left => "absent".to_owned(),
        },
        phase: lifecycle.phase().as_str().to_owned(),
        incarnation: lifecycle.incarnation,
        objects: lifecycle
            .inventory
            .iter()
            .map(|holding| object_row(&holding.object, holding.applied.as_ref().map(|applied| applied.uid.clone())))
            .collect(),
        error: lifecycle.failure.as_ref().map(|failure| failure.error.clone()),
        attempt: lifecycle.failure.as_ref().map(|failure| failure.attempt),
        last_event: resource.last_event_kind.clone(),
        offset: lifecycle.decided.get(),
        time: time(lifecycle.decided_unix_nanos),
    }
}

/// The row of one object.
#[must_use]
pub fn object_row(object: &ObjectKey, uid: Option<String>) -> ObjectRow {
    let ObjectKey { group, version, kind, namespace, name } = object.clone();
    ObjectRow { group, version, kind, namespace, name, uid }
}

/// A recorded time as RFC 3339 in UTC, to the millisecond.
#[must_use]
pub fn time(unix_nanos: u64) -> String {
    let millis = i64::try_from(unix_nanos / 1_000_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}

fn select<'a>(
    projection: &'a Projection,
    filter: &'a Filter,
    page: &Page,
) -> Result<impl Iterator<Item = (&'a ResourceKey, &'a Resource)> + use<'a>, Error> {
    let after = page.after.as_deref().map(decode_cursor).transpose()?;
    let prefix = filter.source.as_deref().unwrap_or_default();
    // The rows of one cursor may not be all given: it names a lifecycle, so its resource is looked at again.
    let (source, subject, inclusive) = match &after {
        Some(after) => (after.0.as_str(), after.1.as_str(), !after.2.is_empty()),
        None => (prefix, "", true),
    };
    let start = ResourceKey { source: source.into(), subject: subject.into() };
    let rows = projection.resources_from(start, inclusive);
    let rows = rows.take_while(move |(key, _)| key.source.starts_with(prefix));
    Ok(rows.filter(|(key, _)| filter.subject.as_deref().is_none_or(|subject| *subject == *key.subject)))
}

fn list<T>(
    projection: &Projection,
    page: &Page,
    mut rows: impl Iterator<Item = T>,
    cursor: impl Fn(&T) -> String,
) -> List<T> {
    let limit = page.limit.unwrap_or(PAGE_ROWS).max(1);
    let items: Vec<T> = rows.by_ref().take(limit).collect();
    let next = if rows.next().is_some() { items.last().map(cursor) } else { None };
    List { offset: offset(projection), items, next }
}

fn offset(projection: &Projection) -> u64 {
    projection.watermark().get()
}

fn parse_phase(text: &str) -> Result<Phase, Error> {
    let found = Phase::ALL.into_iter().find(|phase| phase.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| Error::Phase { phase: text.to_owned() })
}

/// The key of the last row of a page, as opaque text.
struct Cursor<'a>(&'a str, &'a str, &'a str, &'a str);

impl Cursor<'_> {
    fn encode(&self) -> String {
        use base64::Engine;
        let json = serde_json::to_vec(&(self.0, self.1, self.2, self.3)).expect("strings are JSON");
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
    }
}

fn decode_cursor(text: &str) -> Result<(String, String, String, String), Error> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok();
    let key = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    key.ok_or_else(|| Error::Cursor { cursor: text.to_owned() })
}

impl Projection {
    /// Resources from a key on, sorted.
    fn resources_from(&self, start: ResourceKey, inclusive: bool) -> impl Iterator<Item = (&ResourceKey, &Resource)> {
        use std::ops::Bound;
        let start = if inclusive { Bound::Included(start) } else { Bound::Excluded(start) };
        let range = self.sorted.range::<ResourceKey, _>((start, Bound::Unbounded));
        range.map(|(key, index)| (&**key, &self.entries[*index as usize].resource))
    }

    /// The latest record about a resource; where the next record about it has to point back to.
    #[must_use]
    pub fn last_record(&self, source: &str, subject: &str) -> Option<Offset> {
        self.resource(source, subject).map(|resource| resource.last_record)
    }
}
