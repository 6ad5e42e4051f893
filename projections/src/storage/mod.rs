//! How a million resources are kept small, and found fast.
//!
//! Start at [`Storage`]: resources go in and come out as plain [`Resource`]s and [`Lifecycle`]s, by number. Below it,
//! `compact` is what one takes in memory, `packed` the bytes of its inventory, `row` what is written down of it, `index`
//! finds a number by its key, `order` puts numbers in the order of their keys, and `names` holds shared names once.
//!
//! Never here: what follows from a fact. See [`Resource::count`] and [`Lifecycle::evolve`].

// In dependency order.
mod index;
mod names;
mod order;
mod packed;

mod compact;

mod row;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::ops::{Bound, Range};
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use lifeline_store::Offset;
use parking_lot::Mutex;

use self::compact::{Compact, CompactLifecycle, Shared};
use self::index::Index;
use self::order::{Keys, Order};
use crate::fact::{Link, ObjectKey, ResourceKey};
use crate::happened::Change;
use crate::lifecycle::{Desired, Head, Holding, Lifecycle, Phase};
use crate::resource::{Latest, Newest, Resource, ResourceIndex};

/// Resources that are looked up together, at best: more of them do not fit into the processor's nearest cache.
pub(crate) const LOOKED_UP_MAX: usize = 32;

/// Resources that are written down together, by number: few, fatter rows are what sled takes well.
const BUCKET_RESOURCES: usize = 32;

/// All resources, by number and by key.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    all: All,
    shared: Shared,
    /// Number by checksum of the key.
    index: Index,
    hasher: DefaultHashBuilder,
    /// Numbers by key. Readers put in order what waits, which is why it has a lock of its own.
    order: Mutex<Order>,
    /// Which buckets changed since a checkpoint last began.
    changed: Vec<bool>,
}

/// What a change did to a lifecycle.
#[derive(Debug)]
pub(crate) struct Changed {
    /// The lifecycle's number within its resource.
    pub(crate) slot: u32,
    /// Its phase before; `None` when it began with this.
    pub(crate) before: Option<Phase>,
    /// Its phase after.
    pub(crate) after: Phase,
    /// Whether the cluster may differ from what it desires.
    pub(crate) needs_work: bool,
    /// What it is to the list of its trigger.
    pub(crate) key: KeyChange,
    /// The objects that it claims no longer.
    pub(crate) released: Vec<ObjectKey>,
    /// The objects that it claims now.
    pub(crate) claimed: Vec<ObjectKey>,
}

/// What a change of a lifecycle is to the list of its trigger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyChange {
    /// Trigger and cluster, by number.
    pub(crate) pair: u32,
    /// What shall hold before; `None` when it began with this.
    pub(crate) before: Option<Desired>,
    /// What shall hold after.
    pub(crate) after: Desired,
    /// The record that made it so.
    pub(crate) decided: Offset,
}

#[derive(Debug, Default)]
struct All(Vec<Compact>);

impl Keys for All {
    fn key(&self, number: u32) -> (&str, &str) {
        let compact = &self.0[number as usize];
        (&compact.source, &compact.subject)
    }
}

impl Storage {
    /// How many resources there are. Their numbers go from 0 up to it.
    pub(crate) fn len(&self) -> usize {
        self.all.0.len()
    }

    /// A resource by its number.
    pub(crate) fn get(&self, number: ResourceIndex) -> Stored<'_> {
        Stored { compact: &self.all.0[number as usize], shared: &self.shared }
    }

    /// The number of a resource.
    pub(crate) fn find(&self, source: &str, subject: &str) -> Option<ResourceIndex> {
        self.find_with(self.checksum(source, subject), source, subject)
    }

    /// The number of a resource, which is put in when it is new.
    pub(crate) fn find_or_put(&mut self, source: &str, subject: &str) -> ResourceIndex {
        let sum = self.checksum(source, subject);
        self.find_with(sum, source, subject).unwrap_or_else(|| {
            let (source, subject) = (self.shared.name(source), subject.into());
            self.put(sum, Compact { source, subject, resource: Resource::default() })
        })
    }

    /// The numbers of resources by their keys, in the order asked; `None` where no key is given or the resource is unknown.
    ///
    /// With a million resources a fold waits for memory most of its time. For those looked up together it waits once, and
    /// has in the processor's cache afterwards what it needs of them: so ask for [`LOOKED_UP_MAX`].
    pub(crate) fn find_all<'k>(
        &self,
        keys: impl Iterator<Item = Option<(&'k str, &'k str)>>,
    ) -> Vec<Option<ResourceIndex>> {
        let with_sum = |(source, subject)| (self.checksum(source, subject), source, subject);
        let asked: Vec<_> = keys.map(|key| key.map(with_sum)).collect();
        // First all slots of the index, then all resources: each pass reads at addresses that the one before it fetched.
        let sums = || asked.iter().map(|asked| asked.map(|(sum, ..)| sum));
        black_box(sums().flatten().fold(0, |seen, sum| seen ^ self.index.prefetch(sum)));
        let mut found: Vec<_> = sums().map(|sum| self.index.find(sum?, |_| true)).collect();
        let each = || found.iter().flatten().map(|number| &self.all.0[*number as usize]);
        black_box(each().fold(0, |seen, compact| seen ^ compact.prefetch()));
        black_box(each().fold(0, |seen, compact| seen ^ compact.prefetch_lifecycles()));
        black_box(each().fold(0, |seen, compact| seen ^ compact.prefetch_rests()));
        for (found, asked) in found.iter_mut().zip(&asked) {
            // Two keys may share a checksum.
            if let (Some(number), Some((sum, source, subject))) = (*found, *asked)
                && self.all.key(number) != (source, subject)
            {
                *found = self.find_with(sum, source, subject);
            }
        }
        found
    }

    /// Counts a record about a resource: see [`Resource::count`].
    pub(crate) fn count(&mut self, number: ResourceIndex, offset: Offset, unix_nanos: u64, link: &Link<'_>) {
        let resource = &mut self.all.0[number as usize].resource;
        resource.count(offset, unix_nanos, link, |kind| self.shared.name(kind));
        let bucket = number as usize / BUCKET_RESOURCES;
        if self.changed.len() <= bucket {
            self.changed.resize(bucket + 1, false);
        }
        self.changed[bucket] = true;
    }

    /// Evolves a lifecycle of a resource, which begins when there was none: see [`Lifecycle::evolve`].
    pub(crate) fn evolve(
        &mut self,
        number: ResourceIndex,
        offset: Offset,
        unix_nanos: u64,
        change: &Change<'_>,
    ) -> Changed {
        self.all.0[number as usize].evolve(&mut self.shared, offset, unix_nanos, change)
    }

    /// The clusters that lifecycles are on, sorted.
    pub(crate) fn clusters(&self) -> BTreeSet<&str> {
        self.shared.clusters()
    }

    /// The clusters that a trigger has lifecycles on, each with the number of both.
    pub(crate) fn pairs_of(&self, trigger: &str) -> impl Iterator<Item = (u32, &Arc<str>)> {
        self.shared.pairs_of(trigger)
    }

    /// The numbers in the order of their keys, from a key on: of the resources whose source begins with this, and whose subject
    /// is `subject` where one is given.
    pub(crate) fn in_order<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        source_prefix: &'a str,
        subject: Option<&'a str>,
    ) -> impl Iterator<Item = ResourceIndex> + use<'a> {
        let first = (source_prefix, subject.unwrap_or_default());
        let mut start = Some(match start {
            Bound::Included(key) | Bound::Excluded(key) if key < first => Bound::Included(first),
            Bound::Unbounded => Bound::Included(first),
            start => start,
        });
        // A piece at a time, for nobody may keep the lock: few at first, since most readers want few.
        let (mut piece, mut wanted) = (Vec::new().into_iter(), if subject.is_some() { 1 } else { 64 });
        std::iter::from_fn(move || {
            loop {
                let Some(number) = piece.next() else {
                    let numbers = self.piece(start.take()?, wanted);
                    start = numbers.last().map(|last| Bound::Excluded(self.all.key(*last)));
                    piece = numbers.into_iter();
                    start?;
                    continue;
                };
                let (source, its) = self.all.key(number);
                if !source.starts_with(source_prefix) {
                    return None;
                }
                let Some(only) = subject else {
                    wanted = if piece.len() == 0 { (2 * wanted).min(4_096) } else { wanted };
                    return Some(number);
                };
                // Each source has one such resource at most: what is between is skipped.
                match its.cmp(only) {
                    Ordering::Less => start = Some(Bound::Included((source, only))),
                    Ordering::Equal => return Some(number),
                    Ordering::Greater => start = self.next_source(source).map(|next| Bound::Included((next, only))),
                }
            }
        })
    }

    /// The resources of this subject whose source begins with `source_prefix`; `None` where more than `sources_max` sources do.
    pub(crate) fn called(&self, source_prefix: &str, subject: &str, sources_max: usize) -> Option<Vec<ResourceIndex>> {
        let first = self.piece(Bound::Included((source_prefix, "")), 1);
        let mut source = first.first().map(|number| self.all.key(*number).0);
        let mut found = Vec::new();
        for _ in 0..=sources_max {
            let Some(known) = source.filter(|known| known.starts_with(source_prefix)) else { return Some(found) };
            found.extend(self.find(known, subject));
            source = self.next_source(known);
        }
        None
    }

    /// Takes in the next bucket of a checkpoint, and gives the numbers of its resources; `None` where it is not the next, or
    /// the bytes are not those of a bucket.
    pub(crate) fn restore_bucket(&mut self, bucket: usize, mut bytes: &[u8]) -> Option<Range<ResourceIndex>> {
        let first = self.number(bucket * BUCKET_RESOURCES);
        if self.len() != first as usize {
            return None;
        }
        while !bytes.is_empty() {
            let before = self.all.0[first as usize..].last();
            let (compact, read) = row::decode(&mut self.shared, before, bytes)?;
            let sum = self.checksum(&compact.source, &compact.subject);
            if self.find_with(sum, &compact.source, &compact.subject).is_some() {
                return None;
            }
            self.put(sum, compact);
            bytes = &bytes[read..];
        }
        Some(first..self.number(self.len()))
    }

    /// Which buckets changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> Vec<bool> {
        std::mem::take(&mut self.changed)
    }

    /// Notes that these changed as well: they were not saved.
    pub(crate) fn changed_too(&mut self, changed: &[bool]) {
        if self.changed.len() < changed.len() {
            self.changed.resize(changed.len(), false);
        }
        self.changed.iter_mut().zip(changed).for_each(|(known, changed)| *known |= changed);
    }

    /// Notes that all of them changed.
    pub(crate) fn all_changed(&mut self) {
        self.changed = vec![true; self.len().div_ceil(BUCKET_RESOURCES)];
    }

    /// The numbers of a bucket's resources.
    pub(crate) fn numbers(&self, bucket: usize) -> Range<ResourceIndex> {
        let first = bucket * BUCKET_RESOURCES;
        self.number(first)..self.number((first + BUCKET_RESOURCES).min(self.len()))
    }

    /// Appends what is written down of a bucket's resources.
    pub(crate) fn encode_bucket(&self, bucket: usize, out: &mut Vec<u8>) {
        let mut before = None;
        for compact in self.all.0.iter().skip(bucket * BUCKET_RESOURCES).take(BUCKET_RESOURCES) {
            row::encode(&self.shared, before, compact, out);
            before = Some(compact);
        }
    }

    fn put(&mut self, sum: u32, compact: Compact) -> ResourceIndex {
        let number = self.number(self.len());
        self.all.0.push(compact);
        self.index.insert(sum, number);
        let order = self.order.get_mut();
        order.push(number);
        if order.waiting() >= order::WAITING_MAX {
            order.settle(&self.all);
        }
        number
    }

    fn number(&self, place: usize) -> ResourceIndex {
        ResourceIndex::try_from(place).expect("fewer than 2^32 resources fit in memory")
    }

    fn checksum(&self, source: &str, subject: &str) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "half a checksum distinguishes keys well enough")]
        let sum = self.hasher.hash_one((source, subject)) as u32;
        sum
    }

    fn find_with(&self, sum: u32, source: &str, subject: &str) -> Option<ResourceIndex> {
        self.index.find(sum, |number| self.all.key(number) == (source, subject))
    }

    /// The first numbers from a key on.
    fn piece(&self, from: Bound<(&str, &str)>, count: usize) -> Vec<ResourceIndex> {
        let is_before = |key: (&str, &str)| match from {
            Bound::Unbounded => false,
            Bound::Included(first) => key < first,
            Bound::Excluded(last) => key <= last,
        };
        let mut order = self.order.lock();
        order.settle(&self.all);
        order.from(&self.all, is_before).take(count).collect()
    }

    /// The source after this one.
    fn next_source(&self, source: &str) -> Option<&str> {
        let order = self.order.lock();
        let number = order.from(&self.all, |(known, _)| known <= source).next()?;
        Some(self.all.key(number).0)
    }
}

/// A resource in the storage. Only what is asked for is unpacked.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'s> {
    compact: &'s Compact,
    shared: &'s Shared,
}

impl<'s> Stored<'s> {
    /// CloudEvent source.
    pub(crate) fn source(self) -> &'s str {
        &self.compact.source
    }

    /// CloudEvent subject.
    pub(crate) fn subject(self) -> &'s str {
        &self.compact.subject
    }

    /// Source and subject.
    pub(crate) fn key(self) -> ResourceKey {
        ResourceKey { source: self.source().into(), subject: self.compact.subject.clone() }
    }

    /// The latest record that spoke of it.
    pub(crate) fn last_record(self) -> Offset {
        self.compact.resource.last_record
    }

    /// What the next record about it is compared with.
    pub(crate) fn latest(self) -> Latest {
        let Resource { events, last_record, newest_event, newest_unix_nanos, .. } = self.compact.resource;
        let newest = Newest { event: newest_event, unix_nanos: newest_unix_nanos };
        Latest { record: last_record, newest: (events > 0).then_some(newest) }
    }

    /// How many records spoke of it.
    pub(crate) fn records(self) -> u32 {
        self.compact.resource.records
    }

    /// All of it.
    pub(crate) fn resource(self) -> Resource {
        self.compact.whole(self.shared)
    }

    /// One lifecycle.
    pub(crate) fn lifecycle(self, slot: u32) -> Lifecycle {
        self.compact.resource.lifecycles[slot as usize].whole(self.shared)
    }

    /// Its lifecycles, by number.
    pub(crate) fn lifecycles(self) -> impl Iterator<Item = (u32, Lifecycle)> {
        self.slots().map(move |(slot, lifecycle)| (slot, lifecycle.whole(self.shared)))
    }

    /// The number of a lifecycle.
    pub(crate) fn slot(self, trigger: &str, cluster: &str) -> Option<u32> {
        u32::try_from(self.compact.slot(self.shared, trigger, cluster)?).ok()
    }

    /// What shall hold of a lifecycle, and the record that made it so.
    pub(crate) fn decision(self, trigger: &str, cluster: &str) -> Option<(Desired, Offset)> {
        let slot = self.compact.slot(self.shared, trigger, cluster)?;
        Some(self.compact.resource.lifecycles[slot].core.decision())
    }

    /// What shall hold of the lifecycle of a trigger and cluster, by the number of both.
    pub(crate) fn desired(self, pair: u32) -> Option<Desired> {
        let lifecycle = self.compact.resource.lifecycles.iter().find(|lifecycle| lifecycle.pair == pair)?;
        Some(lifecycle.core.decision().0)
    }

    /// Each lifecycle's trigger, cluster and phase.
    pub(crate) fn outline(self) -> impl Iterator<Item = (&'s str, &'s str, Phase)> {
        self.slots().map(move |(_, lifecycle)| {
            let (trigger, cluster) = self.shared.of(lifecycle.pair);
            (&**trigger, &**cluster, lifecycle.core.phase())
        })
    }

    /// What is known of a lifecycle without its inventory and its failure.
    pub(crate) fn head(self, slot: u32) -> Head<'s> {
        let CompactLifecycle { pair, core, .. } = &self.compact.resource.lifecycles[slot as usize];
        let (trigger, cluster) = self.shared.of(*pair);
        core.head(trigger, cluster)
    }

    /// The holding of an object by one lifecycle.
    pub(crate) fn holding(self, slot: u32, object: &ObjectKey) -> Option<Holding> {
        self.compact.resource.lifecycles[slot as usize].holding(object)
    }

    /// The number of the trigger and cluster of a lifecycle, and what shall hold of it.
    pub(crate) fn errand(self, slot: u32) -> (u32, Desired) {
        let lifecycle = &self.compact.resource.lifecycles[slot as usize];
        (lifecycle.pair, lifecycle.core.decision().0)
    }

    /// The numbers of the lifecycles that need work.
    pub(crate) fn needing_work(self) -> impl Iterator<Item = u32> + use<'s> {
        self.slots().filter(|(_, lifecycle)| lifecycle.core.needs_work()).map(|(slot, _)| slot)
    }

    /// The lifecycles that hold an object on a cluster, each with the record since when.
    pub(crate) fn holders(self, cluster: &str, object: &ObjectKey) -> impl Iterator<Item = (u32, Offset)> {
        let since = |lifecycle: &CompactLifecycle| packed::since(lifecycle.rest.as_deref()?, object);
        self.holding_on(cluster).filter_map(move |(slot, lifecycle)| Some((slot, since(lifecycle)?)))
    }

    /// The lifecycles that hold something on a cluster, each with what it holds.
    pub(crate) fn holdings(
        self,
        cluster: &str,
    ) -> impl Iterator<Item = (u32, impl Iterator<Item = ObjectKey> + use<'s>)> {
        self.holding_on(cluster).map(|(slot, lifecycle)| (slot, lifecycle.objects()))
    }

    /// What its lifecycles are, as changes since there were none, each with its cluster.
    pub(crate) fn changes(self) -> impl Iterator<Item = (Arc<str>, Changed)> {
        self.slots().map(move |(slot, CompactLifecycle { pair, core, .. })| {
            let (after, needs_work, key) = (core.phase(), core.needs_work(), core.key_change(*pair, None));
            let claimed = self.compact.resource.lifecycles[slot as usize].objects().collect();
            let changed = Changed { slot, before: None, after, needs_work, key, released: Vec::new(), claimed };
            (self.shared.of(*pair).1.clone(), changed)
        })
    }

    /// What is written down of it alone: [`decode`] reads it.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        row::encode(self.shared, None, self.compact, &mut bytes);
        bytes
    }

    fn holding_on(self, cluster: &str) -> impl Iterator<Item = (u32, &'s CompactLifecycle)> {
        self.slots()
            .filter(move |(_, lifecycle)| lifecycle.core.holds() && *self.shared.of(lifecycle.pair).1 == *cluster)
    }

    fn slots(self) -> impl Iterator<Item = (u32, &'s CompactLifecycle)> {
        (0..).zip(&self.compact.resource.lifecycles)
    }
}

/// The resource that was written down alone; `None` for anything else.
pub(crate) fn decode(bytes: &[u8]) -> Option<Resource> {
    let mut shared = Shared::default();
    let (compact, read) = row::decode(&mut shared, None, bytes)?;
    (read == bytes.len()).then(|| compact.whole(&shared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_up_together_is_what_a_single_look_up_finds() {
        let mut storage = Storage::default();
        for number in 0..1_000 {
            storage.find_or_put(&format!("source-{}", number % 7), &format!("subject-{number}"));
        }
        // Known, unknown and not asked for, in turn, and fewer than fit in the last piece.
        let names: Vec<_> =
            (0..1_500).map(|number| (format!("source-{}", number % 7), format!("subject-{number}"), number)).collect();
        let mut found = 0;
        for piece in names.chunks(LOOKED_UP_MAX) {
            let keys = piece
                .iter()
                .map(|(source, subject, number)| (*number % 5 != 0).then_some((source.as_str(), subject.as_str())));
            let numbers = storage.find_all(keys.clone());
            assert_eq!(numbers.len(), piece.len());
            for (number, key) in numbers.into_iter().zip(keys) {
                assert_eq!(number, key.and_then(|(source, subject)| storage.find(source, subject)), "{key:?}");
                found += usize::from(number.is_some());
            }
        }
        assert_eq!(found, 800);
    }
}
