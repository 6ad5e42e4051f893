//! What can be asked of a projection, and the shape of the answers.
//!
//! Start at [`lifecycles`]; [`resources`], [`objects`], [`conflicts`] and [`rules`] are like it: each takes a filter
//! and a page and gives rows sorted by key, with the offset that the answer reflects. The shapes are public: scripts
//! read them as JSON.
//!
//! A cursor is the key of the last row, so it stays right while rows come and go, and across restarts and rebuilds.

use std::collections::BTreeMap;
use std::ops::Bound;

use data_encoding::BASE64URL_NOPAD;
use lifeline_store::Offset;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::as_of::Piece;
use crate::fact::{ObjectKey, ResourceKey};
use crate::fold::{Candidate, Claim, Projection, Resource, RuleMark, Sieve};
use crate::lifecycle::{Desired, Holding, Lifecycle, Phase};

/// Rows asked for when nobody says how many.
pub const PAGE_ROWS: usize = 100;

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
    /// True for what is in the phase Gone, false for all but that. A resource without lifecycles is not gone.
    pub gone: Option<bool>,
    /// It holds an object of this kind, or is one, in any case.
    pub kind: Option<String>,
    /// It is at least this old, in seconds: a resource by its latest event, a lifecycle by its decision, an object by its
    /// latest apply.
    pub age_min: Option<u64>,
    /// It is at most this old, in seconds.
    pub age_max: Option<u64>,
    /// The moment ages are counted to, in nanoseconds since 1970; `None` for the time of the last record in the state.
    #[serde(skip)]
    pub now_unix_nanos: Option<u64>,
}

/// Which part of the rows is wanted.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Rows at most; `None` for [`PAGE_ROWS`].
    pub limit: Option<usize>,
    /// The cursor of the page before.
    pub after: Option<String>,
    /// How many candidates are looked at, at most; `None` for all. A caller that holds a lock meanwhile sets it: a page then
    /// ends early, with a cursor, when a filter leaves little.
    pub looks: Option<usize>,
}

/// A page of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResourceRow {
    /// CloudEvent `source`.
    pub source: String,
    /// CloudEvent `subject`.
    pub subject: String,
    /// Events recorded about it.
    pub events: u64,
    /// CloudEvent `type` of the latest.
    pub last_event: String,
    /// Its lifecycles: one for each trigger and cluster.
    pub lifecycles: usize,
    /// Objects it holds in clusters, over all its lifecycles.
    pub objects: usize,
    /// Offset of its latest event.
    pub offset: u64,
    /// When that was recorded, RFC 3339.
    pub time: String,
}

/// One trigger's view of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// Its state, in one word: `Failing` (the last attempt failed), `Pending` (to be present, not applied yet), `Deleting` (to be
    /// absent, objects are still there), `Ready` (applied), `Left` (the trigger is gone, and its objects stay) or `Gone` (absent,
    /// and nothing is left).
    pub phase: String,
    /// How often it became present; 0 for never.
    pub incarnation: u32,
    /// What it holds in the cluster, or is about to: what was applied, and what it claimed for the decision in force, unless the
    /// attempt failed.
    pub objects: Vec<ObjectRow>,
    /// Why the last attempt failed; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Attempts since the decision; absent when none failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// CloudEvent `type` of the resource's latest event; empty when only rules ever spoke of it.
    pub last_event: String,
    /// Offset of that event.
    pub last_event_offset: u64,
    /// Offset of the decision.
    pub offset: u64,
    /// When that was recorded, RFC 3339.
    pub time: String,
}

/// One object in a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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

/// One object that more than one lifecycle claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConflictRow {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectRow,
    /// The cluster it is on.
    pub cluster: String,
    /// Who claims it, the earliest first: that one owns it.
    pub claims: Vec<ClaimRow>,
}

/// One claim on an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClaimRow {
    /// EventTrigger.
    pub trigger: String,
    /// CloudEvent `source`.
    pub source: String,
    /// CloudEvent `subject`.
    pub subject: String,
    /// Offset of the record that first claimed it.
    pub offset: u64,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleRow {
    /// Its full name, such as `EventTrigger/manage-namespace` or `ConfigMap/default/namespace`.
    pub rule: String,
    /// Checksum of its content, 16 hexadecimal digits.
    pub digest: String,
    /// Offset of the record that holds its present content.
    pub offset: u64,
}

/// A question that cannot be answered as it is put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a cursor that this API gave.
    #[error(
        "cursor `{cursor}` is not one that a list gave\nhint: use the `next` of the page before, or none to start over"
    )]
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
    /// Nothing can be as old as this and as young as that.
    #[error("no age is `{min}` seconds at least and `{max}` at most\nhint: `age_min` is the smaller one")]
    Ages {
        /// `age_min`.
        min: u64,
        /// `age_max`.
        max: u64,
    },
    /// A message that was rejected is no event, and has nothing of one.
    #[error(
        "a rejected message has no `{parameter}`\nhint: leave it out, or leave out `rejected`; what was rejected is shown with its stream and sequence"
    )]
    OfRejected {
        /// What was asked of it.
        parameter: &'static str,
    },
    /// A cursor into what the log has let go of since.
    #[error(
        "cursor `{cursor}` has expired: the log holds what is recorded from offset `{start}` on\nhint: start over without a cursor"
    )]
    Expired {
        /// What was given.
        cursor: u64,
        /// The first offset still held.
        start: u64,
    },
}

/// A state to read from: the present one, or a piece of an earlier one.
pub trait State {
    /// It reflects every record below this offset.
    fn offset(&self) -> Offset;

    /// When the last of them was written, in nanoseconds since 1970; 0 when there is none.
    fn unix_nanos(&self) -> u64;

    /// Whether more resources follow than it holds.
    fn goes_on(&self) -> bool;

    /// The resources of the sieve's sources and subject from a key on, sorted by key, with their state where the rest of the
    /// sieve leaves them.
    fn candidates_from<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
    ) -> impl Iterator<Item = Candidate<'a>>;
}

impl State for Projection {
    fn offset(&self) -> Offset {
        self.watermark()
    }

    fn unix_nanos(&self) -> u64 {
        self.ground().folded_unix_nanos
    }

    fn goes_on(&self) -> bool {
        false
    }

    fn candidates_from<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
    ) -> impl Iterator<Item = Candidate<'a>> {
        Projection::candidates_from(self, start, sieve)
    }
}

impl State for Piece {
    fn offset(&self) -> Offset {
        self.moment()
    }

    fn unix_nanos(&self) -> u64 {
        Piece::unix_nanos(self)
    }

    fn goes_on(&self) -> bool {
        Piece::goes_on(self)
    }

    fn candidates_from<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
    ) -> impl Iterator<Item = Candidate<'a>> {
        Piece::candidates_from(self, start, sieve)
    }
}

/// A list over resources: what it is called, and what its rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// [`resources`].
    Resources,
    /// [`lifecycles`].
    Lifecycles,
    /// [`objects`].
    Objects,
}

impl Noun {
    /// The key of the first resource that a page is about, so that telling an earlier state can begin there.
    ///
    /// # Errors
    /// When the cursor is none of ours.
    pub fn start(self, page: &Page) -> Result<Option<Bound<ResourceKey>>, Error> {
        Ok(match self {
            Noun::Resources => decode_cursor::<ResourceCursor>(RESOURCES, page)?
                .map(|(source, subject)| Bound::Excluded(key(&source, &subject))),
            Noun::Lifecycles => decode_cursor::<LifecycleCursor>(LIFECYCLES, page)?
                .map(|(source, subject, ..)| Bound::Included(key(&source, &subject))),
            Noun::Objects => decode_cursor::<ObjectCursor>(OBJECTS, page)?
                .map(|(source, subject, ..)| Bound::Included(key(&source, &subject))),
        })
    }
}

impl Filter {
    /// What it looks for.
    ///
    /// # Errors
    /// When the phase is none.
    pub fn sieve(&self) -> Result<Sieve<'_>, Error> {
        Ok(Sieve {
            source: self.source.as_deref().unwrap_or_default(),
            subject: self.subject.as_deref(),
            trigger: self.trigger.as_deref(),
            cluster: self.cluster.as_deref(),
            phase: self.phase.as_deref().map(parse_phase).transpose()?,
            gone: self.gone,
        })
    }
}

/// Resources, sorted by source and subject. A filter by trigger, cluster or phase wants those with such a lifecycle. One
/// without lifecycles is not gone.
///
/// # Errors
/// When the cursor or the phase is none of ours, or no age can be what is asked for.
pub fn resources(state: &impl State, filter: &Filter, page: &Page) -> Result<List<ResourceRow>, Error> {
    let (sieve, ages) = (filter.sieve()?, Ages::of(filter, state)?);
    let start = Noun::Resources.start(page)?;
    let rows = state.candidates_from(borrowed(start.as_ref()), sieve).map(|Candidate { source, subject, resource }| {
        // One that only rules ever spoke of has no event to be listed for.
        let wanted = resource.filter(|resource| {
            resource.events > 0 && ages.want(resource.last_event_unix_nanos) && has_kind(filter, &sieve, resource)
        });
        ((source, subject), wanted.map(|resource| resource_row(&key(source, subject), &resource)))
    });
    Ok(list(RESOURCES, state.offset(), state.goes_on(), page, rows))
}

/// Lifecycles, sorted by source, subject, trigger and cluster.
///
/// # Errors
/// As [`resources`].
pub fn lifecycles(state: &impl State, filter: &Filter, page: &Page) -> Result<List<LifecycleRow>, Error> {
    let (sieve, ages) = (filter.sieve()?, Ages::of(filter, state)?);
    let after: Option<LifecycleCursor> = decode_cursor(LIFECYCLES, page)?;
    // A page may end in the middle of a resource, which is therefore looked at again.
    let start = Noun::Lifecycles.start(page)?;
    let rows = state.candidates_from(borrowed(start.as_ref()), sieve).flat_map(|candidate| {
        let Candidate { source, subject, resource } = candidate;
        let resource = resource.unwrap_or_default();
        // A resource without lifecycles is one candidate: looking at it is not free.
        let place = |trigger: &str, cluster: &str| -> LifecycleCursor {
            (source.to_owned(), subject.to_owned(), trigger.to_owned(), cluster.to_owned())
        };
        let mut rows = Vec::with_capacity(resource.lifecycles.len().max(1));
        for known in &resource.lifecycles {
            let wanted = wants(&sieve, known) && holds_kind(filter, known) && ages.want(known.decided_unix_nanos);
            let row = wanted.then(|| lifecycle_row(&key(source, subject), &resource, known));
            rows.push((place(&known.trigger, &known.cluster), row));
        }
        if rows.is_empty() {
            rows.push((place("", ""), None));
        }
        rows
    });
    let rows = rows.filter(|(place, _)| after.as_ref().is_none_or(|after| place > after));
    Ok(list(LIFECYCLES, state.offset(), state.goes_on(), page, rows))
}

/// Objects held in clusters, or on their way there, each with the lifecycle that owns it; sorted by source, subject, trigger,
/// cluster and object.
///
/// An object that a lifecycle merely waits for, because another one has it, is the other's: see [`conflicts`].
///
/// # Errors
/// As [`resources`].
pub fn objects(state: &impl State, filter: &Filter, page: &Page) -> Result<List<OwnedObjectRow>, Error> {
    let (sieve, ages) = (filter.sieve()?, Ages::of(filter, state)?);
    let after: Option<ObjectCursor> = decode_cursor(OBJECTS, page)?;
    let start = Noun::Objects.start(page)?;
    let rows = state.candidates_from(borrowed(start.as_ref()), sieve).flat_map(|candidate| {
        let Candidate { source, subject, resource } = candidate;
        let place = |lifecycle: &Lifecycle, object: Option<&ObjectKey>| -> ObjectCursor {
            let (trigger, cluster) = (lifecycle.trigger.to_string(), lifecycle.cluster.to_string());
            (source.to_owned(), subject.to_owned(), trigger, cluster, object.cloned())
        };
        let mut rows = Vec::new();
        for lifecycle in resource.iter().flat_map(|resource| &resource.lifecycles) {
            let is_of_kind = |holding: &Holding| is_kind(filter, &holding.object);
            let wanted = wants(&sieve, lifecycle);
            // Aged as it is shown: since it was applied.
            let since = |holding: &Holding| match &holding.applied {
                Some(applied) => applied.unix_nanos,
                None => lifecycle.decided_unix_nanos,
            };
            for holding in lifecycle.inventory.iter().filter(|holding| wanted && ages.want(since(holding))) {
                let is_wanted = is_owned(lifecycle, holding) && is_of_kind(holding);
                let row = is_wanted.then(|| owned_object_row(&key(source, subject), lifecycle, holding));
                rows.push((place(lifecycle, Some(&holding.object)), row));
            }
        }
        if rows.is_empty() {
            rows.push((place(&Lifecycle::new("", ""), None), None));
        }
        rows
    });
    let rows = rows.filter(|(place, _)| after.as_ref().is_none_or(|after| place > after));
    Ok(list(OBJECTS, state.offset(), state.goes_on(), page, rows))
}

/// Objects that more than one lifecycle claims, sorted by cluster and object.
///
/// # Errors
/// When the cursor is none of ours.
pub fn conflicts(projection: &Projection, page: &Page) -> Result<List<ConflictRow>, Error> {
    let after: Option<ConflictCursor> = decode_cursor(CONFLICTS, page)?;
    let start = match after {
        Some((cluster, object)) => Bound::Excluded((cluster.into(), object)),
        None => Bound::Unbounded,
    };
    let rows = projection.contested_from(start).map(|(cluster, object, claims)| {
        let row = conflict_row(projection, cluster, &object, &claims);
        ((cluster, object), Some(row))
    });
    Ok(list(CONFLICTS, projection.watermark(), false, page, rows))
}

/// The rules in force by the records below `offset`, sorted by name.
///
/// # Errors
/// When the cursor is none of ours.
pub fn rules(offset: Offset, rules: &BTreeMap<String, RuleMark>, page: &Page) -> Result<List<RuleRow>, Error> {
    let after: Option<String> = decode_cursor(RULES, page)?;
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = rules.range((start, Bound::Unbounded)).map(|(rule, mark)| (rule, Some(rule_row(rule, mark))));
    Ok(list(RULES, offset, false, page, rows))
}

/// The row of one rule.
pub(crate) fn rule_row(rule: &str, mark: &RuleMark) -> RuleRow {
    RuleRow { rule: rule.to_owned(), digest: format!("{:016x}", mark.digest), offset: mark.record.get() }
}

fn conflict_row(projection: &Projection, cluster: &str, object: &ObjectKey, claims: &[Claim]) -> ConflictRow {
    let claim = |claim: &Claim| {
        let (key, head) = (projection.resource_key(claim.lifecycle), projection.head(claim.lifecycle));
        ClaimRow {
            trigger: head.trigger.to_string(),
            source: key.source.to_string(),
            subject: key.subject.to_string(),
            offset: claim.since.get(),
        }
    };
    let applied = claims.first().and_then(|claim| projection.holding(claim.lifecycle, object)?.applied);
    let object = object_row(object, applied.map(|applied| applied.uid));
    ConflictRow { object, cluster: cluster.to_owned(), claims: claims.iter().map(claim).collect() }
}

/// Whether what a lifecycle claims is its own: what it could not apply is another's, or nobody's, and stays so when it is
/// decided again.
pub(crate) fn is_owned(lifecycle: &Lifecycle, holding: &Holding) -> bool {
    let is_intended = lifecycle.failure.is_none() && holding.since >= lifecycle.decided;
    holding.applied.is_some() || is_intended
}

/// The objects of a lifecycle that are its own.
fn owned(lifecycle: &Lifecycle) -> impl Iterator<Item = &Holding> {
    lifecycle.inventory.iter().filter(|holding| is_owned(lifecycle, holding))
}

/// The row of one object of a lifecycle.
pub(crate) fn owned_object_row(key: &ResourceKey, lifecycle: &Lifecycle, holding: &Holding) -> OwnedObjectRow {
    let applied = holding.applied.as_ref();
    OwnedObjectRow {
        object: object_row(&holding.object, applied.map(|applied| applied.uid.clone())),
        cluster: lifecycle.cluster.to_string(),
        trigger: lifecycle.trigger.to_string(),
        source: key.source.to_string(),
        subject: key.subject.to_string(),
        offset: applied.map_or(holding.since, |applied| applied.acted_for).get(),
        time: applied.map(|applied| time(applied.unix_nanos)),
    }
}

/// The row of one resource.
#[must_use]
pub fn resource_row(key: &ResourceKey, resource: &Resource) -> ResourceRow {
    ResourceRow {
        source: key.source.to_string(),
        subject: key.subject.to_string(),
        events: resource.events,
        last_event: resource.last_event_kind.to_string(),
        lifecycles: resource.lifecycles.len(),
        objects: resource.lifecycles.iter().map(|lifecycle| owned(lifecycle).count()).sum(),
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
        objects: owned(lifecycle)
            .map(|holding| object_row(&holding.object, holding.applied.as_ref().map(|applied| applied.uid.clone())))
            .collect(),
        error: lifecycle.failure.as_ref().map(|failure| failure.error.clone()),
        attempt: lifecycle.failure.as_ref().map(|failure| failure.attempt),
        last_event: resource.last_event_kind.to_string(),
        last_event_offset: resource.last_event.get(),
        offset: lifecycle.decided.get(),
        time: time(lifecycle.decided_unix_nanos),
    }
}

/// The row of one object.
#[must_use]
pub fn object_row(object: &ObjectKey, uid: Option<String>) -> ObjectRow {
    let ObjectKey { group, version, kind, namespace, name } = object;
    ObjectRow {
        group: group.to_string(),
        version: version.to_string(),
        kind: kind.to_string(),
        namespace: namespace.as_ref().map(ToString::to_string),
        name: name.to_string(),
        uid,
    }
}

/// A recorded time as RFC 3339 in UTC, in milliseconds, the last one begun counting whole: the state as of a time that was
/// shown holds what it was shown of.
#[must_use]
pub fn time(unix_nanos: u64) -> String {
    let millis = i64::try_from(unix_nanos.div_ceil(1_000_000)).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}

/// The ages that are wanted, in nanoseconds, and to when they are counted.
#[derive(Clone, Copy)]
struct Ages {
    min_nanos: u64,
    max_nanos: u64,
    now_unix_nanos: u64,
}

impl Ages {
    fn of(filter: &Filter, state: &impl State) -> Result<Ages, Error> {
        let (min, max) = (filter.age_min.unwrap_or_default(), filter.age_max.unwrap_or(u64::MAX));
        if min > max {
            return Err(Error::Ages { min, max });
        }
        let [min_nanos, max_nanos] = [min, max].map(|seconds| seconds.saturating_mul(NANOS_PER_SECOND));
        let now_unix_nanos = filter.now_unix_nanos.unwrap_or_else(|| state.unix_nanos());
        Ok(Ages { min_nanos, max_nanos, now_unix_nanos })
    }

    fn want(self, unix_nanos: u64) -> bool {
        (self.min_nanos..=self.max_nanos).contains(&self.now_unix_nanos.saturating_sub(unix_nanos))
    }
}

/// Whether an object is of the kind that a filter asks for.
pub(crate) fn is_kind(filter: &Filter, object: &ObjectKey) -> bool {
    filter.kind.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case(&object.kind))
}

/// Whether a lifecycle holds an object of the kind that a filter asks for.
pub(crate) fn holds_kind(filter: &Filter, lifecycle: &Lifecycle) -> bool {
    filter.kind.is_none() || owned(lifecycle).any(|holding| is_kind(filter, &holding.object))
}

/// Whether a lifecycle that is looked for holds an object of the kind that a filter asks for.
pub(crate) fn has_kind(filter: &Filter, sieve: &Sieve<'_>, resource: &Resource) -> bool {
    let mut lifecycles = resource.lifecycles.iter();
    filter.kind.is_none() || lifecycles.any(|lifecycle| wants(sieve, lifecycle) && holds_kind(filter, lifecycle))
}

fn wants(sieve: &Sieve<'_>, lifecycle: &Lifecycle) -> bool {
    sieve.wants(&lifecycle.trigger, &lifecycle.cluster, lifecycle.phase())
}

fn borrowed(start: Option<&Bound<ResourceKey>>) -> Bound<(&str, &str)> {
    start.map_or(Bound::Unbounded, |start| start.as_ref().map(|key| (&*key.source, &*key.subject)))
}

fn key(source: &str, subject: &str) -> ResourceKey {
    ResourceKey { source: source.into(), subject: subject.into() }
}

/// A page of candidates: each with its place in the list, and a row where it is wanted. `goes_on` says that there are more
/// than these.
fn list<K: Serialize, T>(
    name: &str,
    offset: Offset,
    goes_on: bool,
    page: &Page,
    candidates: impl Iterator<Item = (K, Option<T>)>,
) -> List<T> {
    let limit = page.limit.unwrap_or(PAGE_ROWS).max(1);
    let mut looks = page.looks.unwrap_or(usize::MAX).max(1);
    let (mut items, mut last, mut more) = (Vec::new(), None, goes_on);
    for (place, row) in candidates {
        if looks == 0 || (row.is_some() && items.len() == limit) {
            more = true;
            break;
        }
        looks -= 1;
        items.extend(row);
        last = Some(place);
    }
    let next = last.filter(|_| more).map(|place| encode_cursor(name, place));
    List { offset: offset.get(), items, next }
}

pub(crate) fn parse_phase(text: &str) -> Result<Phase, Error> {
    let found = Phase::ALL.into_iter().find(|phase| phase.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| Error::Phase { phase: text.to_owned() })
}

/// Nanoseconds in a second.
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Names of lists in cursors: one of another list is refused instead of misunderstood.
const RESOURCES: &str = "resources";
const LIFECYCLES: &str = "lifecycles";
const OBJECTS: &str = "objects";
const CONFLICTS: &str = "conflicts";
const RULES: &str = "rules";

/// Source and subject.
type ResourceCursor = (String, String);
/// Source, subject, trigger and cluster.
type LifecycleCursor = (String, String, String, String);
/// Source, subject, trigger, cluster and object; none for a resource without any.
type ObjectCursor = (String, String, String, String, Option<ObjectKey>);
/// Cluster and object.
type ConflictCursor = (String, ObjectKey);

/// The key of the last row of a page, as opaque text.
pub(crate) fn encode_cursor(list: &str, key: impl Serialize) -> String {
    BASE64URL_NOPAD.encode(&serde_json::to_vec(&(list, key)).expect("keys are JSON"))
}

pub(crate) fn decode_cursor<T: DeserializeOwned>(list: &str, page: &Page) -> Result<Option<T>, Error> {
    let Some(cursor) = &page.after else { return Ok(None) };
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok();
    let found: Option<(String, T)> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let key = found.filter(|(of, _)| of == list).map(|(_, key)| key);
    key.map(Some).ok_or_else(|| Error::Cursor { cursor: cursor.clone() })
}
