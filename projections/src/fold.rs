//! The fold: facts in, state out.
//!
//! Start at [`Projection::fold`]. The state is a pure function of the records below its watermark: folded at once, one
//! by one, or resumed from any checkpoint, the same records give the same state. [`Projection::digest`] tells whether
//! two are the same.
//!
//! A resource is kept small (see [`crate::compact`]) and handed out whole, as a [`Resource`].
//!
//! Never here: files (see [`crate::table`]), rules, or anything that could fail. What was recorded has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use lifeline_store::Offset;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::claims::Claimants;
use crate::compact::{Entry, Shared};
use crate::fact::{Delivery, Fact, LifecycleKey, ObjectKey, Outcome, ResourceKey};
use crate::index::Index;
use crate::landmarks::{self, Landmarks};
use crate::lifecycle::{Happened, Lifecycle, Phase};
use crate::order::{self, Keys, Order};

/// Everything known of one (source, subject).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// How many events spoke of it.
    pub events: u64,
    /// The first of them.
    pub first_event: Offset,
    /// The latest of them.
    pub last_event: Offset,
    /// When the latest was recorded, in nanoseconds since 1970.
    pub last_event_unix_nanos: u64,
    /// CloudEvent `type` of the latest.
    pub last_event_kind: String,
    /// The latest record of any kind that spoke of it: where its history begins, read backwards.
    pub last_record: Offset,
    /// How many records of any kind spoke of it.
    pub records: u32,
    /// One for each trigger and cluster that ever decided about it, sorted by both.
    pub lifecycles: Vec<Lifecycle>,
}

/// How far one stream has been recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    /// The current epoch, from 1.
    pub epoch: u32,
    /// When the server says that the stream was created, in nanoseconds since 1970.
    pub created_unix_nanos: u64,
    /// Every message below this sequence is recorded, or recorded as missing.
    pub next_sequence: u64,
    /// The record of the last message, with the time the server stored it; `None` before the first of the epoch.
    pub tail: Option<Tail>,
    /// When the server stored the newest message recorded, over all epochs, in nanoseconds since 1970; 0 before the first.
    pub recorded_until_unix_nanos: u64,
    /// Events recorded, over all epochs.
    pub received: u64,
    /// Messages recorded as rejected, over all epochs.
    pub rejected: u64,
    /// Messages recorded as missing, over all epochs.
    pub missing: u64,
}

/// The last message recorded from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Its record.
    pub record: Offset,
    /// Its stream sequence.
    pub sequence: u64,
    /// When the server stored it, in nanoseconds since 1970.
    pub published_unix_nanos: u64,
}

/// A rule as last recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleMark {
    /// Checksum of its content.
    pub digest: u64,
    /// The record that says so.
    pub record: Offset,
}

/// A trigger whose history is decided under its current rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayMark {
    /// Checksum of everything the trigger is made of.
    pub digest: u64,
    /// Whether it leaves its objects when it goes.
    pub leaves: bool,
}

/// A resource's number: resources are counted as they come up in the log, so the same log numbers them alike everywhere.
pub type ResourceIndex = u32;

/// A lifecycle's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LifecycleIndex {
    /// The resource.
    pub resource: ResourceIndex,
    /// The lifecycle's number within it, in the order in which they came up.
    pub slot: u32,
}

/// A claim on an object: the lifecycle that intends or holds it, since which record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The record that first claimed it.
    pub since: Offset,
    /// Who.
    pub lifecycle: LifecycleIndex,
}

/// The part of the state that is not about single resources. Small, written whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    /// First offset not folded.
    pub watermark: Offset,
    /// When the last folded record was written, in nanoseconds since 1970.
    pub folded_unix_nanos: u64,
    /// Position by (cluster, stream).
    pub streams: BTreeMap<(String, String), StreamPosition>,
    /// The rules last recorded, by name such as `EventTrigger/manage-namespace`.
    pub rules: BTreeMap<String, RuleMark>,
    /// The triggers whose history was last replayed with these rules.
    pub replayed: BTreeMap<Box<str>, ReplayMark>,
    /// Every record that ever said what a rule is: with them an earlier rule is told without a search.
    pub rule_records: Vec<Offset>,
}

/// The state folded from the log.
#[derive(Debug, Default)]
pub struct Projection {
    pub(crate) ground: Ground,
    entries: Entries,
    shared: Shared,
    /// Number by checksum of the key.
    index: Index,
    hasher: DefaultHashBuilder,
    /// Numbers by key. Readers put in order what waits, which is why it has a lock of its own.
    order: Mutex<Order>,
    claimants: Claimants,
    /// Objects that more than one lifecycle claims.
    contested: BTreeSet<(Box<str>, ObjectKey)>,
    /// Resources with a lifecycle that needs work.
    open: BTreeSet<ResourceIndex>,
    phases: Phases,
    /// The last record of resources that the checkpoint held newer than its watermark: records up to there are in the
    /// state already.
    ahead: BTreeMap<ResourceIndex, Offset>,
    /// Which buckets changed since the last checkpoint.
    changed: Vec<bool>,
    landmarks: Arc<Landmarks>,
}

/// Resources that are written down together, by number: few, fatter rows are what sled takes well.
pub(crate) const BUCKET_RESOURCES: usize = 32;

/// Resources that [`Projection::locate`] finds at once, at most.
pub const LOCATED_MAX: usize = 32;

/// Where a resource was found; it stays there. `None` where it was not looked for, or is not known yet.
pub type Place = Option<ResourceIndex>;

#[derive(Debug, Default)]
struct Entries(Vec<Entry>);

impl Keys for Entries {
    fn key(&self, number: u32) -> (&str, &str) {
        let entry = &self.0[number as usize];
        (&entry.source, &entry.subject)
    }
}

/// How many lifecycles stand in each phase, in the order of [`Phase::ALL`]. Counted along, for it is asked every few
/// seconds and there may be millions.
#[derive(Debug, Default)]
struct Phases([u64; Phase::ALL.len()]);

impl Phases {
    fn moved(&mut self, from: Option<Phase>, to: Phase) {
        if let Some(from) = from {
            self.0[from as usize] -= 1;
        }
        self.0[to as usize] += 1;
    }
}

/// What a reader looks for, as far as it can be told before a resource is made whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sieve<'a> {
    /// The source begins with this.
    pub source: &'a str,
    /// The subject is this.
    pub subject: Option<&'a str>,
    /// It has a lifecycle of this trigger ...
    pub trigger: Option<&'a str>,
    /// ... on this cluster ...
    pub cluster: Option<&'a str>,
    /// ... that stands here.
    pub phase: Option<Phase>,
}

impl Sieve<'_> {
    /// Whether a lifecycle is one that is looked for.
    #[must_use]
    pub fn wants(&self, trigger: &str, cluster: &str, phase: Phase) -> bool {
        self.trigger.is_none_or(|wanted| wanted == trigger)
            && self.cluster.is_none_or(|wanted| wanted == cluster)
            && self.phase.is_none_or(|wanted| wanted == phase)
    }

    /// Whether lifecycles matter at all.
    #[must_use]
    pub fn wants_all(&self) -> bool {
        self.trigger.is_none() && self.cluster.is_none() && self.phase.is_none()
    }
}

/// A resource that a reader comes by, in the order of keys.
#[derive(Debug, Clone)]
pub struct Candidate<'p> {
    /// CloudEvent source.
    pub source: &'p str,
    /// CloudEvent subject.
    pub subject: &'p str,
    /// The resource; `None` where the sieve leaves it out, or nothing is known of it.
    pub resource: Option<Resource>,
}

/// What is known of a resource's past without looking into the log.
#[derive(Debug, Clone)]
pub struct Trail {
    /// Its key.
    pub key: ResourceKey,
    /// Its number.
    pub index: ResourceIndex,
    /// The latest record that spoke of it.
    pub last_record: Offset,
    /// The resource as it is, where it was so already at the moment asked for.
    pub unchanged: Option<Resource>,
}

impl Projection {
    /// First offset not folded.
    #[must_use]
    pub fn watermark(&self) -> Offset {
        self.ground.watermark
    }

    /// What is known beside the resources.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// How many lifecycles stand in each phase, in order of urgency; phases without any are left out.
    pub fn phases(&self) -> impl Iterator<Item = (Phase, u64)> {
        Phase::ALL.into_iter().zip(self.phases.0).filter(|(_, count)| *count > 0)
    }

    /// How many resources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.0.len()
    }

    /// Whether no event was ever folded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.0.is_empty()
    }

    /// One resource.
    #[must_use]
    pub fn resource(&self, source: &str, subject: &str) -> Option<Resource> {
        Some(self.entry(self.number(source, subject)?).resource(&self.shared))
    }

    /// The key and the state behind an index.
    #[must_use]
    pub fn lifecycle(&self, index: LifecycleIndex) -> (ResourceKey, Lifecycle) {
        let entry = self.entry(index.resource);
        (entry.key(), entry.lifecycle(&self.shared, index.slot))
    }

    /// The index of a lifecycle, when there is one of that key.
    #[must_use]
    pub fn lifecycle_index(&self, key: &LifecycleKey) -> Option<LifecycleIndex> {
        let resource = self.number(&key.resource.source, &key.resource.subject)?;
        let slot = self.entry(resource).slot(&self.shared, &key.trigger, &key.cluster)?;
        Some(LifecycleIndex { resource, slot })
    }

    /// The latest record about a resource; where the next record about it has to point back to.
    #[must_use]
    pub fn last_record(&self, source: &str, subject: &str) -> Option<Offset> {
        Some(self.entry(self.number(source, subject)?).last_record)
    }

    /// The place of one resource.
    #[must_use]
    pub fn place(&self, source: &str, subject: &str) -> Place {
        self.number(source, subject)
    }

    /// As [`Projection::last_record`], of a resource that was located.
    #[must_use]
    pub fn last_record_at(&self, index: ResourceIndex) -> Offset {
        self.entry(index).last_record
    }

    /// All resources, sorted by key.
    pub fn resources(&self) -> impl Iterator<Item = (ResourceKey, Resource)> {
        self.resources_from(Bound::Unbounded)
    }

    /// The resources from a key on, sorted by key.
    pub fn resources_from<'a>(
        &'a self,
        start: Bound<&'a ResourceKey>,
    ) -> impl Iterator<Item = (ResourceKey, Resource)> + use<'a> {
        let start = start.map(|key| (&*key.source, &*key.subject));
        self.numbers(start, Sieve::default()).map(|number| {
            let entry = self.entry(number);
            (entry.key(), entry.resource(&self.shared))
        })
    }

    /// The resources of the sieve's sources and subject from a key on, sorted by key, made whole where the rest of it leaves
    /// them.
    pub fn candidates_from<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
    ) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        let entries = self.numbers(start, sieve).map(|number| self.entry(number));
        entries.map(move |entry| {
            let mut outline = entry.outline(&self.shared);
            let wanted =
                sieve.wants_all() || outline.any(|(trigger, cluster, phase)| sieve.wants(trigger, cluster, phase));
            let resource = wanted.then(|| entry.resource(&self.shared));
            Candidate { source: &entry.source, subject: &entry.subject, resource }
        })
    }

    /// What leads to the state at `moment` of the resources of the sieve's sources and subject, sorted by key, from a key on.
    pub fn trails_from<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
        moment: Offset,
    ) -> impl Iterator<Item = Trail> + use<'a> {
        self.numbers(start, sieve).map(move |number| self.trail_at(number, moment))
    }

    /// What leads to the past of one resource, at `moment`.
    #[must_use]
    pub fn trail(&self, source: &str, subject: &str, moment: Offset) -> Option<Trail> {
        Some(self.trail_at(self.number(source, subject)?, moment))
    }

    fn trail_at(&self, index: ResourceIndex, moment: Offset) -> Trail {
        let entry = self.entry(index);
        let unchanged = (entry.last_record < moment).then(|| entry.resource(&self.shared));
        Trail { key: entry.key(), index, last_record: entry.last_record, unchanged }
    }

    /// What resources were, every so many records.
    #[must_use]
    pub fn landmarks(&self) -> &Arc<Landmarks> {
        &self.landmarks
    }

    /// Every lifecycle whose cluster may differ from what is desired, in the order in which their resources came up.
    pub fn unsettled(&self) -> impl Iterator<Item = LifecycleIndex> {
        let slots = |resource: ResourceIndex| self.entry(resource).unsettled().map(move |slot| (resource, slot));
        self.open
            .iter()
            .flat_map(move |resource| slots(*resource))
            .map(|(resource, slot)| LifecycleIndex { resource, slot })
    }

    /// Who claims an object, the earliest first: that one owns it.
    #[must_use]
    pub fn claims(&self, cluster: &str, object: &ObjectKey) -> Vec<Claim> {
        let mut claims = Vec::new();
        for resource in self.claimants.of(cluster, object) {
            let entry = self.entry(resource);
            for slot in entry.holders(&self.shared, cluster) {
                if let Some(holding) = entry.lifecycle(&self.shared, slot).holding(object) {
                    claims.push(Claim { since: holding.since, lifecycle: LifecycleIndex { resource, slot } });
                }
            }
        }
        claims.sort_unstable();
        claims
    }

    /// All claimed objects, each with its cluster and its claims, the earliest first; in the order of the resources that own
    /// them.
    pub fn objects(&self) -> impl Iterator<Item = (Arc<str>, ObjectKey, Vec<Claim>)> {
        self.numbers(Bound::Unbounded, Sieve::default()).flat_map(move |resource| {
            let entry = self.entry(resource);
            let held = (0..).take(entry.len()).flat_map(move |slot| {
                let Lifecycle { cluster, inventory, .. } = entry.lifecycle(&self.shared, slot);
                inventory.into_iter().map(move |holding| (slot, cluster.clone(), holding))
            });
            held.filter_map(move |(slot, cluster, holding)| {
                let own = Claim { since: holding.since, lifecycle: LifecycleIndex { resource, slot } };
                let alone = self.claimants.count(&cluster, &holding.object) == 1;
                let claims = if alone { vec![own] } else { self.claims(&cluster, &holding.object) };
                (claims.first() == Some(&own)).then_some((cluster, holding.object, claims))
            })
        })
    }

    /// The objects that more than one lifecycle claims, from a cluster and name on, each with its claims.
    pub fn contested_from(
        &self,
        start: Bound<(Box<str>, ObjectKey)>,
    ) -> impl Iterator<Item = (&str, &ObjectKey, Vec<Claim>)> {
        let range = self.contested.range((start, Bound::Unbounded));
        range.map(|(cluster, object)| (&**cluster, object, self.claims(cluster, object)))
    }

    /// A checksum of the whole state. Two projections that differ in anything but their numbering in memory differ here;
    /// those of the same records agree, in any process and release of the same layout.
    ///
    /// # Panics
    /// Never: everything in a projection can be encoded.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        digest.put(&self.ground);
        for row in self.resources() {
            digest.put(&row);
        }
        // Claims follow from the inventories. That they really do is part of what this checks.
        for (cluster, object, claims) in self.contested_from(Bound::Unbounded) {
            digest.put(&(cluster, object));
            for claim in claims {
                let (key, lifecycle) = self.lifecycle(claim.lifecycle);
                digest.put(&(claim.since, key, &lifecycle.trigger, &lifecycle.cluster));
            }
        }
        digest.0
    }

    /// Takes in the record at `offset`. Lifecycles that now need work are appended to `work`.
    ///
    /// A record that is in the state already (after a restart from a checkpoint that was written in pieces) changes
    /// nothing: see [`crate::table`].
    pub fn fold(&mut self, offset: Offset, unix_nanos: u64, fact: &Fact<'_>, work: &mut Vec<LifecycleIndex>) {
        self.fold_at(None, offset, unix_nanos, fact, work);
    }

    /// As [`Projection::fold`], of a fact about one resource that [`Projection::locate`] was asked for.
    pub fn fold_at(
        &mut self,
        place: Place,
        offset: Offset,
        unix_nanos: u64,
        fact: &Fact<'_>,
        work: &mut Vec<LifecycleIndex>,
    ) {
        if offset < self.ground.watermark {
            return;
        }
        self.ground.watermark = offset.next();
        self.ground.folded_unix_nanos = unix_nanos;
        match fact {
            Fact::EventReceived { delivery, source, subject, kind, decisions, .. } => {
                self.advance(offset, delivery).received += 1;
                let index = self.index_at(place, source, subject);
                if !self.touch(index, offset) {
                    return;
                }
                let entry = &mut self.entries.0[index as usize];
                if entry.events == 0 {
                    entry.first_event = offset;
                }
                entry.events += 1;
                entry.last_event = offset;
                entry.last_event_unix_nanos = unix_nanos;
                if *entry.kind != **kind {
                    entry.kind = self.shared.name(kind);
                }
                for decision in decisions {
                    let happened = match decision.outcome {
                        Outcome::Create => Happened::Created,
                        Outcome::Delete => Happened::Deleted,
                        Outcome::NoAction(_) | Outcome::Failed(_) => continue,
                    };
                    self.evolve(index, decision.trigger, delivery.cluster, offset, unix_nanos, happened, work);
                }
                self.set_landmark(index, offset);
            }
            Fact::EventRejected { delivery, .. } => self.advance(offset, delivery).rejected += 1,
            Fact::StreamOpened { cluster, stream, epoch, created_unix_nanos, start_sequence, .. } => {
                let position = self.position(cluster, stream);
                position.epoch = *epoch;
                position.created_unix_nanos = *created_unix_nanos;
                position.next_sequence = *start_sequence;
                position.tail = None;
            }
            Fact::GapFound { cluster, stream, from_sequence, to_sequence, .. } => {
                let position = self.position(cluster, stream);
                position.missing = position.missing.saturating_add(to_sequence.saturating_sub(*from_sequence));
                position.next_sequence = position.next_sequence.max(*to_sequence);
            }
            Fact::RuleChanged { rule, digest, .. } => {
                self.ground.rule_records.push(offset);
                change_rule(&mut self.ground.rules, rule, *digest, offset);
            }
            Fact::TriggerReplayed { trigger, digest, leaves, complete, redecisions } => {
                match digest {
                    _ if !complete => {}
                    Some(digest) => {
                        let mark = ReplayMark { digest: *digest, leaves: *leaves };
                        self.ground.replayed.insert(trigger.clone(), mark);
                    }
                    None => {
                        self.ground.replayed.remove(trigger);
                    }
                }
                let mut touched = Vec::new();
                for redecision in redecisions {
                    let index = self.index_of(&redecision.resource.source, &redecision.resource.subject);
                    if self.touch(index, offset) {
                        let happened = Happened::Redecided(redecision.desired);
                        self.evolve(index, trigger, &redecision.cluster, offset, unix_nanos, happened, work);
                        touched.push(index);
                    }
                }
                for index in touched {
                    self.set_landmark(index, offset);
                }
            }
            // It keeps its offset. What it said is told again where it can be: outcomes by reconciliation, rules by the
            // next comparison with those in force.
            Fact::RecordLost { .. } => {}
            Fact::ApplyIntended { .. }
            | Fact::Applied { .. }
            | Fact::ApplyFailed { .. }
            | Fact::Deleted { .. }
            | Fact::Released { .. } => {
                let (key, happened) = outcome(fact).expect("these five are outcomes");
                let index = self.index_at(place, &key.resource.source, &key.resource.subject);
                if self.touch(index, offset) {
                    // An outcome asks for no work: whoever recorded it knows what is left to do.
                    let no_work = &mut Vec::new();
                    self.evolve(index, &key.trigger, &key.cluster, offset, unix_nanos, happened, no_work);
                    self.set_landmark(index, offset);
                }
            }
        }
    }

    /// Evolves one lifecycle and keeps what is counted and claimed in step with it.
    #[expect(clippy::too_many_arguments, reason = "where, when and what, each told apart by its type")]
    fn evolve(
        &mut self,
        index: ResourceIndex,
        trigger: &str,
        cluster: &str,
        offset: Offset,
        unix_nanos: u64,
        happened: Happened<'_>,
        work: &mut Vec<LifecycleIndex>,
    ) {
        let entry = &mut self.entries.0[index as usize];
        let (slot, was_known) = entry.slot_or_new(&mut self.shared, trigger, cluster);
        let whom = LifecycleIndex { resource: index, slot };
        // A decision, the common case, changes no inventory; often it need not even be looked at.
        let allows_holdings = matches!(happened, Happened::Created);
        let standing = if matches!(happened, Happened::Created | Happened::Deleted) {
            let change = |lifecycle: &mut Lifecycle| lifecycle.evolve(offset, unix_nanos, happened);
            entry.change_standing(&self.shared, slot, allows_holdings, change)
        } else {
            None
        };
        let (before, after) = match standing {
            Some(moved) => moved,
            None => {
                let mut lifecycle = entry.lifecycle(&self.shared, slot);
                let before = lifecycle.phase();
                // Most outcomes tell of objects that are held already.
                let held_before = happened.may_change_claims(&lifecycle).then(|| held(&lifecycle));
                lifecycle.evolve(offset, unix_nanos, happened);
                let after = lifecycle.phase();
                let held_after = held_before.as_ref().map(|_| held(&lifecycle));
                entry.put(slot, lifecycle);
                if let (Some(before), Some(after)) = (held_before, held_after) {
                    for object in before.difference(&after) {
                        self.claimants.remove(cluster, object, index);
                        self.judge(cluster, object);
                    }
                    for object in after.difference(&before) {
                        self.claimants.add(cluster, object, index);
                        self.judge(cluster, object);
                    }
                }
                (before, after)
            }
        };
        self.phases.moved(was_known.then_some(before), after);
        let entry = &self.entries.0[index as usize];
        if entry.unsettled().any(|open| open == slot) {
            work.push(whom);
            self.open.insert(index);
        } else if entry.unsettled().next().is_none() {
            self.open.remove(&index);
        }
    }

    /// Notes whether an object is claimed more than once.
    fn judge(&mut self, cluster: &str, object: &ObjectKey) {
        let is_contested = self.claimants.count(cluster, object) > 1 && self.claims(cluster, object).len() > 1;
        if is_contested {
            self.contested.insert((cluster.into(), object.clone()));
        } else if !self.contested.is_empty() {
            self.contested.remove(&(cluster.into(), object.clone()));
        }
    }

    fn set_landmark(&mut self, index: ResourceIndex, offset: Offset) {
        let entry = &self.entries.0[index as usize];
        if entry.records.is_multiple_of(landmarks::RECORDS_APART) {
            let mut bytes = Vec::new();
            entry.encode(&self.shared, &mut bytes);
            self.landmarks.add((index, offset), bytes);
        }
    }

    fn position(&mut self, cluster: &str, stream: &str) -> &mut StreamPosition {
        // One or two streams at most: a look-up that allocates only for a new one.
        let streams = &mut self.ground.streams;
        if !streams.keys().any(|(known_cluster, known)| known_cluster == cluster && known == stream) {
            streams.insert((cluster.to_owned(), stream.to_owned()), StreamPosition::default());
        }
        streams
            .iter_mut()
            .find(|((known_cluster, known), _)| known_cluster == cluster && known == stream)
            .map(|(_, position)| position)
            .expect("it was there or was just inserted")
    }

    fn advance(&mut self, offset: Offset, delivery: &Delivery<'_>) -> &mut StreamPosition {
        let position = self.position(delivery.cluster, delivery.stream);
        position.epoch = delivery.epoch;
        position.next_sequence = delivery.sequence.saturating_add(1);
        let (sequence, published_unix_nanos) = (delivery.sequence, delivery.published_unix_nanos);
        position.tail = Some(Tail { record: offset, sequence, published_unix_nanos });
        position.recorded_until_unix_nanos = position.recorded_until_unix_nanos.max(published_unix_nanos);
        position
    }

    /// Finds the resources that the next records speak of, [`LOCATED_MAX`] at most, for whoever is about to fold them: with a
    /// million resources a fold waits for memory most of its time. Here all of them are waited for together, and found
    /// once. `None` where nothing is asked for, and for a resource that is not known yet.
    pub fn locate<'k>(&self, keys: impl Iterator<Item = Option<(&'k str, &'k str)>>) -> [Place; LOCATED_MAX] {
        let mut asked = [None; LOCATED_MAX];
        let mut sums = [0; LOCATED_MAX];
        let mut count = 0;
        for (key, place) in keys.zip(0..LOCATED_MAX) {
            asked[place] = key;
            sums[place] = key.map_or(0, |(source, subject)| self.checksum(source, subject));
            count = place + 1;
        }
        // First all slots of the index, then all entries: each time one wait for memory, and not one for each resource.
        let sums = &sums[..count];
        std::hint::black_box(sums.iter().fold(0, |seen, sum| seen ^ self.index.touch(*sum)));
        let mut found = [None; LOCATED_MAX];
        for (found, sum) in found.iter_mut().zip(sums) {
            *found = self.index.find(*sum, |_| true);
        }
        self.touch_entries(found.iter().flatten().copied());
        for ((found, key), sum) in found.iter_mut().zip(asked).zip(sums) {
            *found = match (*found, key) {
                (Some(index), Some(key)) if self.entries.key(index) == key => Some(index),
                // Two keys may share a checksum.
                (Some(_), Some((source, subject))) => self.number_of(*sum, source, subject),
                _ => None,
            };
        }
        found
    }

    /// Brings close, all at the same time, what folding these facts looks at: by the time a group is durable, what it says
    /// has gone out of sight.
    pub fn bring_close<'f>(&self, facts: impl Iterator<Item = (Place, &'f Fact<'f>)> + Clone) {
        self.touch_entries(facts.clone().filter_map(|(place, _)| place));
        let kind = |fact: &Fact<'_>| match fact {
            Fact::EventReceived { kind, .. } => kind.as_bytes().first().copied(),
            _ => None,
        };
        std::hint::black_box(facts.filter_map(|(_, fact)| kind(fact)).fold(0, |seen, first| seen ^ first));
    }

    fn touch_entries(&self, places: impl Iterator<Item = ResourceIndex>) {
        // An entry takes two lines of memory: both ends of it.
        let ends = |entry: &Entry| entry.events ^ u64::from(entry.records) ^ entry.last_record.get();
        let names = |entry: &Entry| (entry.subject.len() ^ entry.kind.len()) as u64;
        let entries = places.map(|place| self.entry(place));
        std::hint::black_box(entries.fold(0, |seen, entry| seen ^ ends(entry) ^ names(entry)));
    }

    fn entry(&self, index: ResourceIndex) -> &Entry {
        &self.entries.0[index as usize]
    }

    fn checksum(&self, source: &str, subject: &str) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "half a checksum tells keys apart well enough")]
        let sum = self.hasher.hash_one((source, subject)) as u32;
        sum
    }

    fn number(&self, source: &str, subject: &str) -> Option<ResourceIndex> {
        self.number_of(self.checksum(source, subject), source, subject)
    }

    fn number_of(&self, sum: u32, source: &str, subject: &str) -> Option<ResourceIndex> {
        self.index.find(sum, |index| self.entries.key(index) == (source, subject))
    }

    fn index_at(&mut self, place: Place, source: &str, subject: &str) -> ResourceIndex {
        debug_assert!(
            place.is_none_or(|index| self.entries.key(index) == (source, subject)),
            "a fact is folded where its resource was located"
        );
        place.unwrap_or_else(|| self.index_of(source, subject))
    }

    fn index_of(&mut self, source: &str, subject: &str) -> ResourceIndex {
        let sum = self.checksum(source, subject);
        if let Some(index) = self.number_of(sum, source, subject) {
            return index;
        }
        let (source, kind) = (self.shared.name(source), self.shared.name(""));
        self.insert(sum, Entry::new(source, subject, kind))
    }

    fn insert(&mut self, sum: u32, entry: Entry) -> ResourceIndex {
        let index = ResourceIndex::try_from(self.len()).expect("fewer than 2^32 resources fit in memory");
        self.entries.0.push(entry);
        self.index.insert(sum, index);
        let order = self.order.get_mut();
        order.push(index);
        if order.waiting() >= order::WAITING_MAX {
            order.settle(&self.entries);
        }
        index
    }

    /// The numbers of the resources of the sieve's sources and subject, by key, from a key on.
    fn numbers<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
    ) -> impl Iterator<Item = ResourceIndex> + use<'a> {
        let first = (sieve.source, sieve.subject.unwrap_or_default());
        let mut start = Some(match start {
            Bound::Included(key) | Bound::Excluded(key) if key < first => Bound::Included(first),
            Bound::Unbounded => Bound::Included(first),
            start => start,
        });
        // A piece at a time, for nobody may keep the lock: few at first, since most readers want few.
        let (mut piece, mut wanted) = (Vec::new().into_iter(), if sieve.subject.is_some() { 1 } else { 64 });
        std::iter::from_fn(move || {
            loop {
                let Some(number) = piece.next() else {
                    let numbers = self.piece(start.take()?, wanted);
                    start = numbers.last().map(|last| Bound::Excluded(self.entries.key(*last)));
                    piece = numbers.into_iter();
                    start?;
                    continue;
                };
                let (source, subject) = self.entries.key(number);
                if !source.starts_with(sieve.source) {
                    return None;
                }
                let Some(only) = sieve.subject else {
                    wanted = if piece.len() == 0 { (2 * wanted).min(4_096) } else { wanted };
                    return Some(number);
                };
                // Each source has one such resource at most: what stands between is leapt over.
                match subject.cmp(only) {
                    std::cmp::Ordering::Less => start = Some(Bound::Included((source, only))),
                    std::cmp::Ordering::Equal => return Some(number),
                    std::cmp::Ordering::Greater => {
                        start = self.next_source(source).map(|next| Bound::Included((next, only)))
                    }
                }
            }
        })
    }

    /// The first numbers from a key on.
    fn piece(&self, from: Bound<(&str, &str)>, count: usize) -> Vec<ResourceIndex> {
        let is_before = |key: (&str, &str)| match from {
            Bound::Unbounded => false,
            Bound::Included(first) => key < first,
            Bound::Excluded(last) => key <= last,
        };
        let mut order = self.order.lock();
        order.settle(&self.entries);
        order.from(&self.entries, is_before).take(count).collect()
    }

    /// The source after this one.
    fn next_source(&self, source: &str) -> Option<&str> {
        let order = self.order.lock();
        let number = order.from(&self.entries, |(known, _)| known <= source).next()?;
        Some(self.entries.key(number).0)
    }

    /// Notes that a record speaks of the resource. False when the resource's state holds that record already.
    fn touch(&mut self, index: ResourceIndex, offset: Offset) -> bool {
        if self.ahead.get(&index).is_some_and(|held| offset <= *held) {
            return false;
        }
        let entry = &mut self.entries.0[index as usize];
        // One record may speak of a resource more than once: a replay, about several clusters.
        if entry.records == 0 || entry.last_record != offset {
            entry.records = entry.records.saturating_add(1);
            entry.last_record = offset;
        }
        let bucket = index as usize / BUCKET_RESOURCES;
        if self.changed.len() <= bucket {
            self.changed.resize(bucket + 1, false);
        }
        self.changed[bucket] = true;
        true
    }

    /// An empty projection with what is known beside resources, to be filled by [`Projection::restore`].
    pub(crate) fn with_ground(ground: Ground) -> Projection {
        Projection { ground, ..Projection::default() }
    }

    /// Takes in the next resource of a checkpoint, as it was written down, and returns how many bytes that took.
    pub(crate) fn restore(&mut self, bytes: &[u8]) -> Option<usize> {
        let (entry, read) = Entry::decode(&mut self.shared, bytes)?;
        let sum = self.checksum(&entry.source, &entry.subject);
        if self.number_of(sum, &entry.source, &entry.subject).is_some() {
            return None;
        }
        let last_record = entry.last_record;
        let index = self.insert(sum, entry);
        if last_record >= self.ground.watermark {
            self.ahead.insert(index, last_record);
        }
        for phase in self.entries.0[index as usize].phases() {
            self.phases.moved(None, phase);
        }
        if self.entry(index).unsettled().next().is_some() {
            self.open.insert(index);
        }
        for slot in (0..).take(self.entry(index).len()) {
            let lifecycle = self.entry(index).lifecycle(&self.shared, slot);
            for object in held(&lifecycle) {
                self.claimants.add(&lifecycle.cluster, &object, index);
                self.judge(&lifecycle.cluster, &object);
            }
        }
        Some(read)
    }

    /// The buckets that changed since the last checkpoint, in order.
    pub(crate) fn changed(&self) -> impl Iterator<Item = usize> {
        self.changed.iter().enumerate().filter(|(_, changed)| **changed).map(|(bucket, _)| bucket)
    }

    /// Appends what is written down of a bucket's resources.
    pub(crate) fn encode_bucket(&self, bucket: usize, out: &mut Vec<u8>) {
        let first = bucket * BUCKET_RESOURCES;
        for entry in &self.entries.0[first..(first + BUCKET_RESOURCES).min(self.len())] {
            entry.encode(&self.shared, out);
        }
    }

    /// Notes that a checkpoint holds everything.
    pub fn saved(&mut self) {
        self.changed.fill(false);
        self.landmarks.saved();
    }
}

impl Resource {
    /// Takes in a record that speaks of this resource, and maybe of others: what [`Projection::fold`] does to one, for
    /// whoever tells an earlier state.
    pub fn fold(&mut self, key: &ResourceKey, offset: Offset, unix_nanos: u64, fact: &Fact<'_>) {
        if self.records == 0 || self.last_record != offset {
            self.records = self.records.saturating_add(1);
            self.last_record = offset;
        }
        match fact {
            Fact::EventReceived { delivery, kind, decisions, .. } => {
                if self.events == 0 {
                    self.first_event = offset;
                }
                self.events += 1;
                self.last_event = offset;
                self.last_event_unix_nanos = unix_nanos;
                (*kind).clone_into(&mut self.last_event_kind);
                for decision in decisions {
                    let happened = match decision.outcome {
                        Outcome::Create => Happened::Created,
                        Outcome::Delete => Happened::Deleted,
                        Outcome::NoAction(_) | Outcome::Failed(_) => continue,
                    };
                    self.lifecycle(decision.trigger, delivery.cluster).evolve(offset, unix_nanos, happened);
                }
            }
            Fact::TriggerReplayed { trigger, redecisions, .. } => {
                for redecision in redecisions.iter().filter(|redecision| redecision.resource == *key) {
                    let happened = Happened::Redecided(redecision.desired);
                    self.lifecycle(trigger, &redecision.cluster).evolve(offset, unix_nanos, happened);
                }
            }
            fact => {
                if let Some((key, happened)) = outcome(fact) {
                    self.lifecycle(&key.trigger, &key.cluster).evolve(offset, unix_nanos, happened);
                }
            }
        }
    }

    fn lifecycle(&mut self, trigger: &str, cluster: &str) -> &mut Lifecycle {
        let found =
            self.lifecycles.binary_search_by(|known| (&*known.trigger, &*known.cluster).cmp(&(trigger, cluster)));
        let at = found.unwrap_or_else(|at| {
            self.lifecycles.insert(at, Lifecycle::new(trigger, cluster));
            at
        });
        &mut self.lifecycles[at]
    }
}

/// What an outcome says, and of whom; `None` for facts of other kinds.
fn outcome<'f>(fact: &'f Fact<'_>) -> Option<(&'f LifecycleKey, Happened<'f>)> {
    Some(match fact {
        Fact::ApplyIntended { key, objects, .. } => (key, Happened::ApplyIntended(objects)),
        Fact::Applied { key, acted_for, objects, .. } => (key, Happened::Applied { acted_for: *acted_for, objects }),
        Fact::ApplyFailed { key, acted_for, objects, error, attempt, transient, .. } => {
            let (acted_for, attempt, transient) = (*acted_for, *attempt, *transient);
            (key, Happened::ApplyFailed { acted_for, objects, error, attempt, transient })
        }
        Fact::Deleted { key, acted_for, objects, .. } | Fact::Released { key, acted_for, objects, .. } => {
            (key, Happened::Removed { acted_for: *acted_for, objects })
        }
        Fact::EventReceived { .. }
        | Fact::EventRejected { .. }
        | Fact::StreamOpened { .. }
        | Fact::GapFound { .. }
        | Fact::RuleChanged { .. }
        | Fact::TriggerReplayed { .. }
        | Fact::RecordLost { .. } => return None,
    })
}

/// What a record says about a rule.
pub(crate) fn change_rule(rules: &mut BTreeMap<String, RuleMark>, rule: &str, digest: Option<u64>, record: Offset) {
    match digest {
        Some(digest) => {
            rules.insert(rule.to_owned(), RuleMark { digest, record });
        }
        None => {
            rules.remove(rule);
        }
    }
}

/// What a lifecycle claims.
fn held(lifecycle: &Lifecycle) -> BTreeSet<ObjectKey> {
    lifecycle.inventory.iter().map(|holding| holding.object.clone()).collect()
}

/// FNV-1a over the canonical bytes of what is put in. It guards against mistakes, not against forgery.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn put(&mut self, value: &impl Serialize) {
        bincode::serde::encode_into_std_write(value, self, bincode::config::standard())
            .expect("state holds only what bincode can write, and a digest takes all of it");
    }
}

impl io::Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = bytes.iter().fold(self.0, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
