//! Why an object: object, lifecycle, event, rule.
//!
//! Start at [`Search`]: it looks up who claims an object called so, or where no namespace is given and no object is without
//! one looks through the resources in turns, so that nobody waits for it; [`Search::answer`] then reads a few records. An
//! object that no lifecycle holds may have been let go by a resource of its name: their histories are asked, and then the
//! latest records.

mod answer;
mod gone;

use std::collections::BTreeMap;
use std::ops::Bound;

use lifeline_store::{Disk, Offset, Reader};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::answer::{
    AppliedWhy, Candidate, DecisionWhy, KeyWhy, ListWhy, Named, PolicyWhy, RenderedWhy, Verdict, WhyObject,
};
use self::gone::gone;
use super::RECORDS_MAX;
use crate::chain::Chain;
use crate::fact::{EventReceived, Fact, FailedAttempt, ObjectKey, Reconciled, ResourceKey, RuleChanged, What};
use crate::fold::{Projection, Resource, RuleMark, Sieve};
use crate::history::{self, Entry};
use crate::lifecycle::{Desired, Holding};
use crate::reads::{ClaimRow, LifecycleRow, lifecycle_row, object_row, time};

/// Drifts of an object that are named at most.
const DRIFTS_MAX: usize = 5;

/// Claims that a search gathers, at most: a question for more has to say more.
const HITS_MAX: usize = 100;

/// Resources called like the object whose histories are asked, at most.
const NAMESAKES_MAX: usize = 4;

/// Which object is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// Its kind, in any case.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace. Without it, an object that has none is looked for first, then one in any namespace.
    pub namespace: Option<String>,
    /// Its API group, empty for the core group; `None` for any.
    pub group: Option<String>,
    /// The cluster it is on; `None` for any.
    pub cluster: Option<String>,
}

/// A claim that was met.
struct Hit {
    key: ResourceKey,
    cluster: Box<str>,
    row: LifecycleRow,
    desired: Desired,
    decided: Offset,
    holding: Holding,
    last_record: Offset,
}

/// A search for the lifecycles that claim an object, a bounded number of resources at a time.
pub struct Search {
    question: Question,
    stage: Stage,
    hits: Vec<Hit>,
    /// Each with its last record.
    namesakes: Vec<(ResourceKey, Offset)>,
    more: bool,
}

/// Where a search looks next.
enum Stage {
    /// At those who claim an object called so: all there are when a namespace is given.
    Claimants,
    /// At every resource behind this one: the object may be in any namespace.
    Everywhere(Option<ResourceKey>),
    /// At the resources called like the object.
    Namesakes,
}

impl Question {
    fn means(&self, cluster: &str, object: &ObjectKey) -> bool {
        self.name == object.name
            && self.kind.eq_ignore_ascii_case(&object.kind)
            && self.namespace.as_ref().is_none_or(|namespace| object.namespace.as_deref() == Some(namespace))
            && self.group.as_ref().is_none_or(|group| *group == object.group)
            && self.cluster.as_ref().is_none_or(|of| *of == *cluster)
    }

    /// As a person would call it.
    #[must_use]
    pub fn short(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}/{namespace}/{}", self.kind, self.name),
            None => format!("{}/{}", self.kind, self.name),
        }
    }
}

impl Search {
    /// A search that has looked at nothing yet.
    #[must_use]
    pub fn new(question: Question) -> Search {
        Search { question, stage: Stage::Claimants, hits: Vec::new(), namesakes: Vec::new(), more: false }
    }

    /// Takes one turn, which looks at up to `looks` resources; false when it has seen all it needs.
    pub fn look(&mut self, projection: &Projection, looks: usize) -> bool {
        let next = match std::mem::replace(&mut self.stage, Stage::Namesakes) {
            Stage::Claimants => self.look_at_claimants(projection),
            Stage::Everywhere(position) => self.look_everywhere(projection, position, looks),
            Stage::Namesakes => {
                self.look_at_namesakes(projection);
                None
            }
        };
        match next {
            Some(stage) => {
                self.stage = stage;
                true
            }
            None => false,
        }
    }

    fn look_at_claimants(&mut self, projection: &Projection) -> Option<Stage> {
        let Question { kind, name, namespace, cluster, .. } = self.question.clone();
        for (key, resource) in projection.claimants_called(cluster.as_deref(), &kind, namespace.as_deref(), &name) {
            // One without a namespace comes first, where none is asked for.
            self.look_at(&key, &resource, |object| object.namespace.as_deref() == namespace.as_deref());
            if self.is_enough() {
                break;
            }
        }
        match (self.hits.is_empty(), namespace) {
            (false, _) => None,
            (true, Some(_)) => Some(Stage::Namesakes),
            (true, None) => Some(Stage::Everywhere(None)),
        }
    }

    fn look_everywhere(
        &mut self,
        projection: &Projection,
        mut position: Option<ResourceKey>,
        looks: usize,
    ) -> Option<Stage> {
        let start = position.clone();
        let start = start.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        for (looked, (key, resource)) in projection.resources_from(start).enumerate() {
            if looked == looks {
                return Some(Stage::Everywhere(position));
            }
            self.look_at(&key, &resource, |_| true);
            if self.is_enough() {
                return None;
            }
            position = Some(key);
        }
        self.hits.is_empty().then_some(Stage::Namesakes)
    }

    fn look_at_namesakes(&mut self, projection: &Projection) {
        let sieve = Sieve { subject: Some(&self.question.name), ..Sieve::default() };
        let namesakes = projection.candidates_from(Bound::Unbounded, sieve).filter_map(|candidate| {
            let key = ResourceKey { source: candidate.source.into(), subject: candidate.subject.into() };
            Some((key, candidate.resource?.last_record))
        });
        self.namesakes = namesakes.take(NAMESAKES_MAX).collect();
    }

    fn is_enough(&mut self) -> bool {
        self.more = self.hits.len() >= HITS_MAX;
        self.more
    }

    fn look_at(&mut self, key: &ResourceKey, resource: &Resource, is_meant: impl Fn(&ObjectKey) -> bool) {
        for lifecycle in &resource.lifecycles {
            let held = lifecycle
                .inventory
                .iter()
                .filter(|held| is_meant(&held.object) && self.question.means(&lifecycle.cluster, &held.object));
            let hit = |holding: &Holding| Hit {
                key: key.clone(),
                cluster: (*lifecycle.cluster).into(),
                row: lifecycle_row(key, resource, lifecycle),
                desired: lifecycle.desired,
                decided: lifecycle.decided,
                holding: holding.clone(),
                last_record: resource.last_record,
            };
            self.hits.extend(held.map(hit));
        }
    }

    /// What was found, explained by the records of the log. `rules` are those that the state names; `current` gives a
    /// resource as it is; `named` gives the objects that the manifest of a trigger names, for only the rules can read it.
    #[must_use]
    pub fn answer<D: Disk>(
        mut self,
        log: &Reader<D>,
        rules: &BTreeMap<String, RuleMark>,
        current: impl FnOnce(&ResourceKey) -> Option<Resource>,
        named: impl Fn(&Value) -> Vec<Named>,
    ) -> WhyObject {
        // The earliest claim owns an object.
        self.hits.sort_by_key(|hit| hit.holding.since);
        let mut objects: BTreeMap<_, &Hit> = BTreeMap::new();
        for hit in &self.hits {
            objects.entry(hit.identity()).or_insert(hit);
        }
        if objects.len() > 1 || self.more {
            let candidates = objects.into_values().map(|owner| {
                let uid = owner.holding.applied.as_ref().map(|applied| applied.uid.clone());
                Candidate { object: object_row(&owner.holding.object, uid), cluster: owner.cluster.to_string() }
            });
            let (candidates, more) = (candidates.collect(), self.more);
            let summary = format!("several objects are {}: say which", self.question.short());
            return WhyObject { candidates, more, ..WhyObject::new(summary, Verdict::Ambiguous) };
        }
        let mut claims = self.hits.into_iter();
        match claims.next() {
            Some(owner) => held(log, rules, owner, claims.as_slice(), named),
            None => gone(log, &self.question, &self.namesakes, current),
        }
    }
}

impl Hit {
    /// What makes it one object: it may be claimed under several versions of its API.
    fn identity(&self) -> (&str, &str, &str, Option<&str>, &str) {
        let ObjectKey { group, kind, namespace, name, .. } = &self.holding.object;
        (&self.cluster, group, kind, namespace.as_deref(), name)
    }
}

fn held<D: Disk>(
    log: &Reader<D>,
    rules: &BTreeMap<String, RuleMark>,
    owner: Hit,
    others: &[Hit],
    named: impl Fn(&Value) -> Vec<Named>,
) -> WhyObject {
    let Hit { key, cluster, row, desired, decided, holding, last_record } = owner;
    let mut notes = Vec::new();
    let decision = decision(log, &key, &row.trigger, &cluster, desired, decided, &mut notes);
    let is_wanted = matches!(desired, Desired::Present { .. });
    let rendered = if is_wanted { rendered(log, rules, &row.trigger, named, &mut notes) } else { None };
    let applied = applied(log, &key, &row, &holding, last_record, &mut notes);
    let drifts = drifts(log, &key, &row, &holding, last_record);
    // A change that was recorded, and not yet that it was put back.
    let is_drifted = holding.applied.as_ref().is_some_and(|applied| !applied.is_known())
        && drifts
            .first()
            .is_some_and(|drift| applied.as_ref().and_then(|why| why.offset).is_none_or(|at| at < drift.offset));
    let short = holding.object.short();
    let why = match &decision.event {
        Some(event) => format!("{} decided {} of the event at offset {}", row.trigger, decision.action, event.offset),
        None => format!("{} decided {} at offset {}", row.trigger, decision.action, decision.offset),
    };
    let summary = match (is_wanted, &applied) {
        (true, Some(_)) if is_drifted => {
            format!("{short} is not as it was applied on {cluster} and is put back, because {why}")
        }
        (true, Some(_)) => format!("{short} exists on {cluster} because {why}"),
        (true, None) => format!("{short} shall exist on {cluster} because {why}; it is not applied yet"),
        (false, _) => format!("{short} is to go from {cluster} because {why}"),
    };
    let also_claimed = others.iter().map(|hit| ClaimRow {
        trigger: hit.row.trigger.clone(),
        source: hit.row.source.clone(),
        subject: hit.row.subject.clone(),
        offset: hit.holding.since.get(),
    });
    WhyObject {
        object: Some(object_row(&holding.object, holding.applied.map(|applied| applied.uid))),
        cluster: Some(cluster.to_string()),
        also_claimed: also_claimed.collect(),
        lifecycle: Some(row),
        decision: Some(decision),
        rendered,
        applied,
        drifts,
        notes,
        ..WhyObject::new(summary, Verdict::Held)
    }
}

/// The decision in force, with its event and what the trigger saw in it.
fn decision<D: Disk>(
    log: &Reader<D>,
    key: &ResourceKey,
    trigger: &str,
    cluster: &str,
    desired: Desired,
    decided: Offset,
    notes: &mut Vec<String>,
) -> DecisionWhy {
    let (action, event) = match desired {
        Desired::Present { event } => ("Create", Some(event)),
        Desired::Absent { event: Some(event) } => ("Delete", Some(event)),
        Desired::Absent { event: None } | Desired::Left => ("Withdraw", None),
    };
    let mut why = DecisionWhy {
        offset: decided.get(),
        time: None,
        action: action.to_owned(),
        replayed: event != Some(decided),
        event_source: None,
        criterion: None,
        event: None,
    };
    if let Some(record) = read(log, decided, "the decision", notes) {
        why.time = Some(time(record.time_unix_nanos));
    }
    let Some(record) = event.and_then(|event| read(log, event, "the event", notes)) else { return why };
    let Ok(fact) = Fact::decode(&record.payload) else { return why };
    if let Fact::Event(EventReceived { delivery, decisions, .. }) = &fact {
        let of_trigger = decisions.iter().find(|known| known.trigger == trigger && delivery.cluster == cluster);
        why.event_source = of_trigger.map(|known| known.event_source.to_owned());
        why.criterion = of_trigger.map(|known| known.criterion.saturating_add(1));
    }
    why.event = Some(history::about(&fact, Some(key), record.offset, record.time_unix_nanos).0);
    why
}

/// What the trigger names, by its manifest as last recorded.
fn rendered<D: Disk>(
    log: &Reader<D>,
    rules: &BTreeMap<String, RuleMark>,
    trigger: &str,
    named: impl Fn(&Value) -> Vec<Named>,
    notes: &mut Vec<String>,
) -> Option<RenderedWhy> {
    let (rule, manifest) = manifest(log, rules, &format!("EventTrigger/{trigger}"), notes)?;
    let policies = named(&manifest).into_iter().map(|Named { kind, namespace, name }| {
        // Where no namespace is given there is one all the same; which one is the rules' to say.
        let of = if namespace.is_empty() { "default" } else { &namespace };
        let content = rules.contains_key(&format!("{kind}/{of}/{name}"));
        let content = content.then(|| manifest_of(log, rules, &format!("{kind}/{of}/{name}"))).flatten();
        let data = content.as_ref().and_then(|(_, content)| content.get("data")).and_then(Value::as_object);
        let keys = data.map(|data| data.keys().cloned().collect()).unwrap_or_default();
        PolicyWhy { kind, namespace, name, keys }
    });
    Some(RenderedWhy { rule, policies: policies.collect() })
}

fn manifest<D: Disk>(
    log: &Reader<D>,
    rules: &BTreeMap<String, RuleMark>,
    rule: &str,
    notes: &mut Vec<String>,
) -> Option<(u64, Value)> {
    let found = manifest_of(log, rules, rule);
    if found.is_none() {
        notes.push(format!("the log does not hold what {rule} is"));
    }
    found
}

fn manifest_of<D: Disk>(log: &Reader<D>, rules: &BTreeMap<String, RuleMark>, rule: &str) -> Option<(u64, Value)> {
    let mark = rules.get(rule)?;
    let record = log.read(mark.record).ok()??;
    let Ok(Fact::Rule(RuleChanged { manifest, .. })) = Fact::decode(&record.payload) else { return None };
    Some((mark.record.get(), serde_json::from_str(manifest).ok()?))
}

/// What the cluster holds, and since when, by the outcomes that were recorded.
fn applied<D: Disk>(
    log: &Reader<D>,
    key: &ResourceKey,
    row: &LifecycleRow,
    holding: &Holding,
    last_record: Offset,
    notes: &mut Vec<String>,
) -> Option<AppliedWhy> {
    let applied = holding.applied.as_ref()?;
    let mut why = AppliedWhy {
        uid: applied.uid.clone(),
        time: time(applied.unix_nanos),
        offset: None,
        unchanged_since: None,
        made_at: None,
    };
    // The manifest as last sent; what the lifecycle remembers of it is forgotten once it is to go.
    let (mut digest, mut is_unchanged, mut is_whole) = (None, true, false);
    for step in Chain::from(log, key, last_record).take(RECORDS_MAX) {
        let Ok(record) = step else { break };
        let Ok(fact) = Fact::decode(&record.payload) else { break };
        if record.offset < holding.since {
            is_whole = true;
            break;
        }
        is_whole = record.offset == holding.since;
        let Fact::Reconciled(Reconciled { key: of, what, .. }) = &fact else { continue };
        let of_row = *of.trigger == *row.trigger && *of.cluster == *row.cluster;
        if let What::Drifted(objects) = what {
            is_unchanged &= !(of_row && objects.iter().any(|drifted| drifted.object == holding.object));
        }
        let (What::Applied(objects) | What::Failed(FailedAttempt { objects, .. })) = what else { continue };
        let Some(seen) = objects.iter().find(|seen| of_row && seen.object == holding.object) else { continue };
        if seen.uid != applied.uid {
            is_whole = true;
            break;
        }
        let offset = Some(record.offset.get());
        why.offset = why.offset.or(offset);
        is_unchanged &= *digest.get_or_insert(seen.digest) == seen.digest;
        if is_unchanged {
            why.unchanged_since = offset;
        }
        why.made_at = offset;
    }
    if !is_whole {
        // What was found last is not known to be the first.
        why.made_at = None;
        if is_unchanged {
            why.unchanged_since = None;
        }
        notes.push("too many records follow to find since when the object is as it is".to_owned());
    }
    Some(why)
}

/// What others did to the object, the latest first.
fn drifts<D: Disk>(
    log: &Reader<D>,
    key: &ResourceKey,
    row: &LifecycleRow,
    holding: &Holding,
    last_record: Offset,
) -> Vec<Entry> {
    let mut drifts = Vec::new();
    for step in Chain::from(log, key, last_record).take(RECORDS_MAX) {
        let Ok(record) = step else { break };
        let Ok(fact) = Fact::decode(&record.payload) else { break };
        if record.offset < holding.since || drifts.len() == DRIFTS_MAX {
            break;
        }
        if let Fact::Reconciled(reconciled @ Reconciled { key: of, what, .. }) = &fact
            && matches!(what, What::Drifted(_) | What::Altered(_))
            && *of.trigger == *row.trigger
            && *of.cluster == *row.cluster
            && reconciled.objects().any(|object| *object == holding.object)
        {
            drifts.push(history::about(&fact, Some(key), record.offset, record.time_unix_nanos).0);
        }
    }
    drifts
}

/// The record at an offset, or a note that says why not.
fn read<D: Disk>(
    log: &Reader<D>,
    offset: Offset,
    what: &str,
    notes: &mut Vec<String>,
) -> Option<lifeline_store::Record> {
    let note = match log.read(offset) {
        Ok(Some(record)) => return Some(record),
        Ok(None) => format!("the log no longer holds {what} at offset {offset}"),
        Err(error) => format!("{what} at offset {offset} cannot be read: {error}"),
    };
    if !notes.contains(&note) {
        notes.push(note);
    }
    None
}
