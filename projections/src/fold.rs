//! The fold: facts in, state out.
//!
//! Start at [`Projection::fold`]. The state is a pure function of the records below its watermark: folded at once, one
//! by one, or resumed from any checkpoint, the same records give the same state. [`Projection::digest`] tells whether
//! two are the same.
//!
//! Never here: files (see [`crate::table`]), rules, or anything that could fail. What was recorded has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use lifeline_store::Offset;
use serde::{Deserialize, Serialize};

use crate::fact::{Decision, Delivery, Fact, LifecycleKey, ObjectKey, Outcome, ResourceKey};
use crate::lifecycle::{Happened, Lifecycle, Phase};

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

/// A resource's place in this process's memory. Never written down: another process numbers them anew.
pub type ResourceIndex = u32;

/// A lifecycle's place in this process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LifecycleIndex {
    /// The resource.
    pub resource: ResourceIndex,
    /// The lifecycle's number, in the order in which they came up in this process.
    pub slot: u32,
}

#[derive(Debug)]
struct Entry {
    key: Arc<ResourceKey>,
    resource: Resource,
    /// (trigger, cluster) by slot, so that an index stays right while `lifecycles` keeps sorted.
    slots: Vec<(Box<str>, Box<str>)>,
    /// The last record that the checkpoint held of it when it was read: records up to here are in the state already.
    held: Option<Offset>,
    dirty: bool,
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
}

/// The state folded from the log.
#[derive(Debug, Default)]
pub struct Projection {
    pub(crate) ground: Ground,
    entries: Vec<Entry>,
    by_key: HashMap<Arc<ResourceKey>, ResourceIndex>,
    sorted: BTreeMap<Arc<ResourceKey>, ResourceIndex>,
    claims: BTreeMap<(Box<str>, ObjectKey), Vec<Claim>>,
    phases: Phases,
    /// What changed since the last checkpoint.
    dirty: Vec<ResourceIndex>,
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

/// A key to look up without owning it.
#[derive(Hash)]
struct KeyRef<'a> {
    source: &'a str,
    subject: &'a str,
}

impl Equivalent<Arc<ResourceKey>> for KeyRef<'_> {
    fn equivalent(&self, key: &Arc<ResourceKey>) -> bool {
        *key.source == *self.source && *key.subject == *self.subject
    }
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
        self.entries.len()
    }

    /// Whether no event was ever folded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One resource.
    #[must_use]
    pub fn resource(&self, source: &str, subject: &str) -> Option<&Resource> {
        let index = *self.by_key.get(&KeyRef { source, subject })?;
        Some(&self.entries[index as usize].resource)
    }

    /// The key and the state behind an index.
    #[must_use]
    pub fn lifecycle(&self, index: LifecycleIndex) -> (&Arc<ResourceKey>, &Lifecycle) {
        let entry = &self.entries[index.resource as usize];
        let (trigger, cluster) = &entry.slots[index.slot as usize];
        let at = find(&entry.resource.lifecycles, trigger, cluster).expect("a slot names a lifecycle that exists");
        (&entry.key, &entry.resource.lifecycles[at])
    }

    /// The index of a lifecycle, when there is one of that key.
    #[must_use]
    pub fn lifecycle_index(&self, key: &LifecycleKey) -> Option<LifecycleIndex> {
        let resource = *self.by_key.get(&KeyRef { source: &key.resource.source, subject: &key.resource.subject })?;
        let slot = self.entries[resource as usize].slot(&key.trigger, &key.cluster)?;
        Some(LifecycleIndex { resource, slot })
    }

    /// The latest record about a resource; where the next record about it has to point back to.
    #[must_use]
    pub fn last_record(&self, source: &str, subject: &str) -> Option<Offset> {
        self.resource(source, subject).map(|resource| resource.last_record)
    }

    /// All resources, sorted by key.
    pub fn resources(&self) -> impl Iterator<Item = (&ResourceKey, &Resource)> {
        self.resources_from(Bound::Unbounded)
    }

    /// The resources from a key on, sorted by key.
    pub fn resources_from<'a>(
        &'a self,
        start: Bound<&ResourceKey>,
    ) -> impl Iterator<Item = (&'a ResourceKey, &'a Resource)> + use<'a> {
        let range = self.sorted.range::<ResourceKey, _>((start, Bound::Unbounded));
        range.map(|(key, index)| (&**key, &self.entries[*index as usize].resource))
    }

    /// Every lifecycle whose cluster may differ from what is desired, sorted by key.
    pub fn unsettled(&self) -> impl Iterator<Item = LifecycleIndex> {
        self.sorted.values().flat_map(|&resource| {
            let entry = &self.entries[resource as usize];
            entry.resource.lifecycles.iter().filter(|lifecycle| lifecycle.needs_work()).map(move |lifecycle| {
                let slot = entry.slot(&lifecycle.trigger, &lifecycle.cluster).expect("every lifecycle has a slot");
                LifecycleIndex { resource, slot }
            })
        })
    }

    /// Who claims an object, the earliest first: that one owns it.
    #[must_use]
    pub fn claims(&self, cluster: &str, object: &ObjectKey) -> &[Claim] {
        // BTreeMap wants the owned form of the key; a claim is looked up once per reconciliation, not per event.
        self.claims.get(&(cluster.into(), object.clone())).map_or(&[], Vec::as_slice)
    }

    /// All claimed objects, sorted by cluster and name, each with its claims, the earliest first.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &ObjectKey, &[Claim])> {
        self.objects_from(Bound::Unbounded)
    }

    /// The claimed objects from a cluster and name on, in the order of [`Projection::objects`].
    pub fn objects_from(
        &self,
        start: Bound<(Box<str>, ObjectKey)>,
    ) -> impl Iterator<Item = (&str, &ObjectKey, &[Claim])> {
        let range = self.claims.range((start, Bound::Unbounded));
        range.map(|((cluster, object), claims)| (&**cluster, object, claims.as_slice()))
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
        for (cluster, object, claims) in self.objects() {
            digest.put(&(cluster, object));
            for claim in claims {
                let (key, lifecycle) = self.lifecycle(claim.lifecycle);
                digest.put(&(claim.since, &**key, &lifecycle.trigger, &lifecycle.cluster));
            }
        }
        digest.0
    }

    /// Takes in the record at `offset`. Lifecycles that now need work are appended to `work`.
    ///
    /// A record that is in the state already (after a restart from a checkpoint that was written in pieces) changes
    /// nothing: see [`crate::table`].
    pub fn fold(&mut self, offset: Offset, unix_nanos: u64, fact: &Fact<'_>, work: &mut Vec<LifecycleIndex>) {
        if offset < self.ground.watermark {
            return;
        }
        self.ground.watermark = offset.next();
        self.ground.folded_unix_nanos = unix_nanos;
        match fact {
            Fact::EventReceived { delivery, source, subject, kind, decisions, .. } => {
                let position = self.advance(offset, delivery);
                position.received += 1;
                let index = self.index_of(source, subject);
                if self.touch(index, offset) {
                    let resource = &mut self.entries[index as usize].resource;
                    if resource.events == 0 {
                        resource.first_event = offset;
                    }
                    resource.events += 1;
                    resource.last_event = offset;
                    resource.last_event_unix_nanos = unix_nanos;
                    resource.last_event_kind.clear();
                    resource.last_event_kind.push_str(kind);
                    for decision in decisions {
                        self.decide(index, offset, unix_nanos, delivery.cluster, decision, work);
                    }
                }
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
            Fact::RuleChanged { rule, digest, .. } => match digest {
                Some(digest) => {
                    self.ground.rules.insert((*rule).to_owned(), RuleMark { digest: *digest, record: offset });
                }
                None => {
                    self.ground.rules.remove(*rule);
                }
            },
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
                for redecision in redecisions {
                    let index = self.index_of(&redecision.resource.source, &redecision.resource.subject);
                    if self.touch(index, offset) {
                        let happened = Happened::Redecided(redecision.desired);
                        let at = self.evolve(index, trigger, &redecision.cluster, offset, unix_nanos, happened);
                        self.ask_for_work(at, work);
                    }
                }
            }
            Fact::ApplyIntended { key, objects, .. } => {
                self.outcome(key, offset, unix_nanos, Happened::ApplyIntended(objects));
            }
            Fact::Applied { key, acted_for, objects, .. } => {
                self.outcome(key, offset, unix_nanos, Happened::Applied { acted_for: *acted_for, objects });
            }
            Fact::ApplyFailed { key, acted_for, objects, error, attempt, transient, .. } => {
                let (acted_for, attempt, transient) = (*acted_for, *attempt, *transient);
                let happened = Happened::ApplyFailed { acted_for, objects, error, attempt, transient };
                self.outcome(key, offset, unix_nanos, happened);
            }
            // It keeps its offset. What it said is told again where it can be: outcomes by reconciliation, rules by the
            // next comparison with those in force.
            Fact::RecordLost { .. } => {}
            Fact::Deleted { key, acted_for, objects, .. } | Fact::Released { key, acted_for, objects, .. } => {
                self.outcome(key, offset, unix_nanos, Happened::Removed { acted_for: *acted_for, objects });
            }
        }
    }

    fn decide(
        &mut self,
        index: ResourceIndex,
        offset: Offset,
        unix_nanos: u64,
        cluster: &str,
        decision: &Decision<'_>,
        work: &mut Vec<LifecycleIndex>,
    ) {
        let happened = match decision.outcome {
            Outcome::Create => Happened::Created,
            Outcome::Delete => Happened::Deleted,
            Outcome::NoAction(_) | Outcome::Failed(_) => return,
        };
        let at = self.evolve(index, decision.trigger, cluster, offset, unix_nanos, happened);
        self.ask_for_work(at, work);
    }

    fn outcome(&mut self, key: &LifecycleKey, offset: Offset, unix_nanos: u64, happened: Happened<'_>) {
        let index = self.index_of(&key.resource.source, &key.resource.subject);
        if self.touch(index, offset) {
            self.evolve(index, &key.trigger, &key.cluster, offset, unix_nanos, happened);
        }
    }

    fn ask_for_work(&self, at: LifecycleIndex, work: &mut Vec<LifecycleIndex>) {
        if self.lifecycle(at).1.needs_work() {
            work.push(at);
        }
    }

    /// Evolves one lifecycle and keeps the claims in step with its inventory.
    fn evolve(
        &mut self,
        index: ResourceIndex,
        trigger: &str,
        cluster: &str,
        offset: Offset,
        unix_nanos: u64,
        happened: Happened<'_>,
    ) -> LifecycleIndex {
        let entry = &mut self.entries[index as usize];
        let found = find(&entry.resource.lifecycles, trigger, cluster);
        let at = found.unwrap_or_else(|at| {
            entry.resource.lifecycles.insert(at, Lifecycle::new(trigger, cluster));
            entry.slots.push((trigger.into(), cluster.into()));
            at
        });
        let slot = entry.slot(trigger, cluster).expect("a slot was made with the lifecycle");
        let lifecycle = &mut entry.resource.lifecycles[at];
        let whom = LifecycleIndex { resource: index, slot };
        let phase = found.is_ok().then(|| lifecycle.phase());
        // Only outcomes and a trigger that lets go change an inventory; a decision, the common case, never does.
        let decision_only = matches!(happened, Happened::Created | Happened::Deleted);
        if decision_only {
            lifecycle.evolve(offset, unix_nanos, happened);
            self.phases.moved(phase, lifecycle.phase());
            return whom;
        }
        let before = held(lifecycle);
        lifecycle.evolve(offset, unix_nanos, happened);
        let after = held(lifecycle);
        self.phases.moved(phase, lifecycle.phase());
        for (object, since) in before.difference(&after) {
            self.unclaim(cluster, object, Claim { since: *since, lifecycle: whom });
        }
        for (object, since) in after.difference(&before) {
            self.claim(cluster, object, Claim { since: *since, lifecycle: whom });
        }
        whom
    }

    fn claim(&mut self, cluster: &str, object: &ObjectKey, claim: Claim) {
        let claims = self.claims.entry((cluster.into(), object.clone())).or_default();
        let at = claims.partition_point(|other| *other < claim);
        claims.insert(at, claim);
    }

    fn unclaim(&mut self, cluster: &str, object: &ObjectKey, claim: Claim) {
        let key = (Box::from(cluster), object.clone());
        if let Some(claims) = self.claims.get_mut(&key) {
            claims.retain(|other| *other != claim);
            if claims.is_empty() {
                self.claims.remove(&key);
            }
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

    fn index_of(&mut self, source: &str, subject: &str) -> ResourceIndex {
        if let Some(index) = self.by_key.get(&KeyRef { source, subject }) {
            return *index;
        }
        let key = Arc::new(ResourceKey { source: source.into(), subject: subject.into() });
        self.insert(key, Resource::default())
    }

    fn insert(&mut self, key: Arc<ResourceKey>, resource: Resource) -> ResourceIndex {
        let index = ResourceIndex::try_from(self.entries.len()).expect("fewer than 2^32 resources fit in memory");
        let slots = resource
            .lifecycles
            .iter()
            .map(|lifecycle| (lifecycle.trigger.clone(), lifecycle.cluster.clone()))
            .collect();
        self.entries.push(Entry { key: key.clone(), resource, slots, held: None, dirty: false });
        self.by_key.insert(key.clone(), index);
        self.sorted.insert(key, index);
        index
    }

    /// Notes that a record speaks of the resource. False when the resource's state holds that record already.
    ///
    /// One record may speak of a resource more than once (a replay, about several clusters), so it is the checkpoint that
    /// is compared with, not the last record folded.
    fn touch(&mut self, index: ResourceIndex, offset: Offset) -> bool {
        let entry = &mut self.entries[index as usize];
        if entry.held.is_some_and(|held| offset <= held) {
            return false;
        }
        entry.resource.last_record = offset;
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(index);
        }
        true
    }

    /// Puts the pieces of a checkpoint together again.
    pub(crate) fn restore(ground: Ground, resources: impl IntoIterator<Item = (ResourceKey, Resource)>) -> Projection {
        let mut projection = Projection { ground, ..Projection::default() };
        for (key, resource) in resources {
            let index = projection.insert(Arc::new(key), resource);
            let entry = &mut projection.entries[index as usize];
            entry.held = Some(entry.resource.last_record);
            for lifecycle in &entry.resource.lifecycles {
                projection.phases.moved(None, lifecycle.phase());
            }
            let lifecycles = entry.resource.lifecycles.iter().zip(0..);
            let claims = lifecycles.flat_map(|(lifecycle, slot)| {
                let whom = LifecycleIndex { resource: index, slot };
                let claim =
                    move |(object, since)| (lifecycle.cluster.clone(), object, Claim { since, lifecycle: whom });
                held(lifecycle).into_iter().map(claim)
            });
            let claims: Vec<_> = claims.collect();
            for (cluster, object, claim) in claims {
                projection.claim(&cluster, &object, claim);
            }
        }
        projection
    }

    /// The resources that changed since the last checkpoint.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&ResourceKey, &Resource)> {
        self.dirty.iter().map(|index| {
            let entry = &self.entries[*index as usize];
            (&*entry.key, &entry.resource)
        })
    }

    /// Notes that a checkpoint holds everything.
    pub(crate) fn saved(&mut self) {
        for index in std::mem::take(&mut self.dirty) {
            self.entries[index as usize].dirty = false;
        }
    }
}

impl Entry {
    fn slot(&self, trigger: &str, cluster: &str) -> Option<u32> {
        let at = self.slots.iter().position(|(known, on)| **known == *trigger && **on == *cluster)?;
        Some(u32::try_from(at).expect("fewer than 2^32 lifecycles fit in memory"))
    }
}

/// What a lifecycle claims, and since when.
fn held(lifecycle: &Lifecycle) -> BTreeSet<(ObjectKey, Offset)> {
    lifecycle.inventory.iter().map(|holding| (holding.object.clone(), holding.since)).collect()
}

fn find(lifecycles: &[Lifecycle], trigger: &str, cluster: &str) -> Result<usize, usize> {
    lifecycles.binary_search_by(|known| (&*known.trigger, &*known.cluster).cmp(&(trigger, cluster)))
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
