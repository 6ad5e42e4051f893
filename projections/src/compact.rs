//! What a resource takes in memory, and how it is written down.
//!
//! A million of them have to fit beside each other, so the common part of a [`Resource`] has fixed places, names are
//! shared, and what few decisions touch (the inventory, a failure) stays packed as bytes (see [`crate::packed`]). Start at
//! [`Entry`]; what it means is said by [`Resource`] and [`Lifecycle`], which it turns into and is made from.
//!
//! Never here: what follows from a fact. See [`crate::fold`].

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use lifeline_store::Offset;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::fact::{AppliedObject, ObjectKey, ResourceKey};
use crate::fold::Resource;
use crate::lifecycle::{Desired, Lifecycle, Phase};
use crate::names::Names;
use crate::packed;

/// A trigger and a cluster by number: there are few, and every lifecycle has one of each.
type Pair = u32;

/// The names that entries share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    names: Names,
    pairs: Vec<(Arc<str>, Arc<str>)>,
    by_pair: HashMap<(Arc<str>, Arc<str>), Pair>,
}

impl Shared {
    /// The one copy of a name.
    pub(crate) fn name(&mut self, name: &str) -> Arc<str> {
        self.names.shared(name)
    }

    /// The clusters that lifecycles are on, sorted.
    pub(crate) fn clusters(&self) -> BTreeSet<&str> {
        self.pairs.iter().map(|(_, cluster)| &**cluster).collect()
    }

    fn pair(&mut self, trigger: &str, cluster: &str) -> Pair {
        // Most events of a run are decided by the same trigger.
        let known = |(of, on): &(Arc<str>, Arc<str>)| **of == *trigger && **on == *cluster;
        if let Some(last) = self.pairs.first()
            && known(last)
        {
            return 0;
        }
        let key = (self.names.shared(trigger), self.names.shared(cluster));
        if let Some(pair) = self.by_pair.get(&key) {
            return *pair;
        }
        let pair = Pair::try_from(self.pairs.len()).expect("fewer than 2^32 triggers and clusters fit in memory");
        self.pairs.push(key.clone());
        self.by_pair.insert(key, pair);
        pair
    }
}

/// One resource in memory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) source: Arc<str>,
    pub(crate) subject: SmolStr,
    /// CloudEvent type of the latest event.
    pub(crate) kind: Arc<str>,
    pub(crate) events: u64,
    pub(crate) first_event: Offset,
    pub(crate) last_event: Offset,
    pub(crate) last_event_unix_nanos: u64,
    pub(crate) last_record: Offset,
    /// How many records spoke of it.
    pub(crate) records: u32,
    /// By order of appearance: a number given out stays right. Exactly fitted: most resources have one, if any.
    lifecycles: Vec<Kept>,
}

/// One lifecycle in memory.
#[derive(Debug)]
struct Kept {
    pair: Pair,
    incarnation: u32,
    desired: Desired,
    decided: Offset,
    decided_unix_nanos: u64,
    settled: Option<Offset>,
    settled_unix_nanos: u64,
    holds: bool,
    failing: bool,
    /// The inventory and the failure, where there are any. Invariant: packed by what `settled` says.
    rest: Option<Box<[u8]>>,
}

impl Entry {
    pub(crate) fn new(source: Arc<str>, subject: &str, kind: Arc<str>) -> Entry {
        Entry {
            source,
            subject: subject.into(),
            kind,
            events: 0,
            first_event: Offset::ZERO,
            last_event: Offset::ZERO,
            last_event_unix_nanos: 0,
            last_record: Offset::ZERO,
            records: 0,
            lifecycles: Vec::new(),
        }
    }

    pub(crate) fn key(&self) -> ResourceKey {
        ResourceKey { source: (*self.source).into(), subject: self.subject.as_str().into() }
    }

    /// How many lifecycles there are.
    pub(crate) fn len(&self) -> usize {
        self.lifecycles.len()
    }

    /// The number of a lifecycle.
    pub(crate) fn slot(&self, shared: &Shared, trigger: &str, cluster: &str) -> Option<u32> {
        let at = self.lifecycles.iter().position(|kept| {
            let (of, on) = &shared.pairs[kept.pair as usize];
            **of == *trigger && **on == *cluster
        })?;
        u32::try_from(at).ok()
    }

    /// The number of a lifecycle, which is begun when there was none; and whether there was one.
    pub(crate) fn slot_or_new(&mut self, shared: &mut Shared, trigger: &str, cluster: &str) -> (u32, bool) {
        if let Some(slot) = self.slot(shared, trigger, cluster) {
            return (slot, true);
        }
        let pair = shared.pair(trigger, cluster);
        self.lifecycles.reserve_exact(1);
        self.lifecycles.push(Kept::new(pair, &Lifecycle::new("", "")));
        (u32::try_from(self.len() - 1).expect("fewer than 2^32 lifecycles fit in memory"), false)
    }

    /// The cluster of a lifecycle.
    pub(crate) fn cluster(&self, shared: &Shared, slot: u32) -> Arc<str> {
        shared.pairs[self.lifecycles[slot as usize].pair as usize].1.clone()
    }

    /// One lifecycle, whole.
    pub(crate) fn lifecycle(&self, shared: &Shared, slot: u32) -> Lifecycle {
        let kept = &self.lifecycles[slot as usize];
        let mut lifecycle = kept.without_rest(shared);
        if let Some(rest) = &kept.rest {
            packed::unpack(rest, &mut lifecycle);
        }
        lifecycle
    }

    /// A lifecycle as it has become.
    pub(crate) fn put(&mut self, slot: u32, lifecycle: &Lifecycle) {
        let kept = &mut self.lifecycles[slot as usize];
        *kept = Kept { rest: packed::pack(lifecycle), ..Kept::new(kept.pair, lifecycle) };
    }

    /// Whether an apply for this decision found all that the lifecycle holds as it was: nothing is news but the time.
    pub(crate) fn is_confirmed(&self, slot: u32, acted_for: Offset, objects: &[AppliedObject]) -> bool {
        let kept = &self.lifecycles[slot as usize];
        let is_present = matches!(kept.desired, Desired::Present { .. });
        let rest = kept.rest.as_deref().filter(|_| is_present && !kept.failing && kept.decided == acted_for);
        rest.is_some_and(|rest| packed::confirms(rest, objects))
    }

    /// Since when a lifecycle holds an object.
    pub(crate) fn holds_since(&self, slot: u32, object: &ObjectKey) -> Option<Offset> {
        packed::since(self.lifecycles[slot as usize].rest.as_deref()?, object)
    }

    /// What a lifecycle holds, in order.
    pub(crate) fn objects(&self, slot: u32) -> impl Iterator<Item = ObjectKey> {
        self.lifecycles[slot as usize].rest.as_deref().into_iter().flat_map(packed::objects)
    }

    /// Changes a lifecycle in a way that does not depend on its inventory or failure and leaves them alone; `None`, and
    /// nothing done, where it fails, or holds what it may not.
    pub(crate) fn change_standing(
        &mut self,
        shared: &Shared,
        slot: u32,
        allows_holdings: bool,
        change: impl FnOnce(&mut Lifecycle),
    ) -> Option<(Phase, Phase)> {
        let kept = &mut self.lifecycles[slot as usize];
        if kept.failing || (kept.holds && !allows_holdings) {
            return None;
        }
        let before = kept.phase();
        let mut lifecycle = kept.without_rest(shared);
        change(&mut lifecycle);
        let rest = kept.rest.take();
        let holds = kept.holds;
        *kept = Kept { rest, holds, ..Kept::new(kept.pair, &lifecycle) };
        Some((before, kept.phase()))
    }

    /// Reads a little of each cache line of the entry, so that it is in the cache. The result means nothing.
    pub(crate) fn prefetch(&self) -> u64 {
        let names = self.subject.len() ^ self.source.len() ^ self.kind.len() ^ self.lifecycles.len();
        names as u64 ^ self.events ^ u64::from(self.records) ^ self.last_record.get()
    }

    /// The same for its first lifecycle.
    pub(crate) fn prefetch_lifecycles(&self) -> u64 {
        let first = self.lifecycles.first();
        first.map_or(0, |kept| kept.decided.get() ^ kept.settled_unix_nanos ^ u64::from(kept.pair ^ kept.incarnation))
    }

    /// The same for what is packed of its first lifecycle.
    pub(crate) fn prefetch_rests(&self) -> u64 {
        let rest = self.lifecycles.first().and_then(|kept| kept.rest.as_deref());
        rest.map_or(0, |rest| u64::from(rest[0] ^ rest[rest.len() - 1]))
    }

    /// The phases of its lifecycles.
    pub(crate) fn phases(&self) -> impl Iterator<Item = Phase> {
        self.lifecycles.iter().map(Kept::phase)
    }

    /// Each lifecycle's trigger, cluster and phase.
    pub(crate) fn outline<'e>(&'e self, shared: &'e Shared) -> impl Iterator<Item = (&'e str, &'e str, Phase)> {
        self.lifecycles.iter().map(|kept| {
            let (trigger, cluster) = &shared.pairs[kept.pair as usize];
            (&**trigger, &**cluster, kept.phase())
        })
    }

    /// The numbers of the lifecycles that need work.
    pub(crate) fn needing_work(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.lifecycles).filter(|(_, kept)| kept.needs_work()).map(|(slot, _)| slot)
    }

    /// The numbers of the lifecycles that hold something on a cluster.
    pub(crate) fn holders<'e>(&'e self, shared: &'e Shared, cluster: &'e str) -> impl Iterator<Item = u32> {
        let on = move |kept: &Kept| kept.holds && *shared.pairs[kept.pair as usize].1 == *cluster;
        (0..).zip(&self.lifecycles).filter(move |(_, kept)| on(kept)).map(|(slot, _)| slot)
    }

    fn first_pair(&self) -> Option<Pair> {
        self.lifecycles.first().map(|kept| kept.pair)
    }

    /// The resource, whole.
    pub(crate) fn resource(&self, shared: &Shared) -> Resource {
        let mut lifecycles: Vec<Lifecycle> = (0..).take(self.len()).map(|slot| self.lifecycle(shared, slot)).collect();
        lifecycles.sort_unstable_by(|one, other| (&one.trigger, &one.cluster).cmp(&(&other.trigger, &other.cluster)));
        Resource {
            events: self.events,
            first_event: self.first_event,
            last_event: self.last_event,
            last_event_unix_nanos: self.last_event_unix_nanos,
            last_event_kind: self.kind.to_string(),
            last_record: self.last_record,
            records: self.records,
            lifecycles,
        }
    }

    /// Appends what is written down of it. Names that the resource written `before` it has too are not written again.
    pub(crate) fn encode(&self, shared: &Shared, before: Option<&Entry>, out: &mut Vec<u8>) {
        let pair_before = before.and_then(Entry::first_pair);
        let lifecycles = self.lifecycles.iter().map(|kept| {
            let (trigger, cluster) = &shared.pairs[kept.pair as usize];
            KeptRow {
                pair: (pair_before != Some(kept.pair)).then_some((trigger, cluster)),
                incarnation: kept.incarnation,
                desired: kept.desired,
                decided: kept.decided,
                decided_unix_nanos: kept.decided_unix_nanos,
                settled: kept.settled,
                settled_unix_nanos: kept.settled_unix_nanos,
                holds: kept.holds,
                failing: kept.failing,
                rest: kept.rest.as_deref().unwrap_or_default(),
            }
        });
        let row = Row {
            source: before.is_none_or(|before| before.source != self.source).then_some(&*self.source),
            subject: &self.subject,
            kind: before.is_none_or(|before| before.kind != self.kind).then_some(&*self.kind),
            events: self.events,
            first_event: self.first_event,
            last_event: self.last_event,
            last_event_unix_nanos: self.last_event_unix_nanos,
            last_record: self.last_record,
            records: self.records,
            lifecycles: lifecycles.collect(),
        };
        bincode::serde::encode_into_std_write(&row, out, bincode::config::standard())
            .expect("a row holds only what bincode can write, and a Vec takes all of it");
    }

    /// Reads what [`Entry::encode`] wrote behind the same resource, and how many bytes that took; `None` for anything else.
    pub(crate) fn decode(shared: &mut Shared, before: Option<&Entry>, bytes: &[u8]) -> Option<(Entry, usize)> {
        let pair_before = before.and_then(Entry::first_pair);
        let mut name = |name: Option<&str>, before: Option<&Arc<str>>| match name {
            Some(name) => Some(shared.names.shared(name)),
            None => before.cloned(),
        };
        let config = bincode::config::standard().with_limit::<{ packed::BYTES_MAX }>();
        let (row, read): (Row<'_>, usize) = bincode::serde::borrow_decode_from_slice(bytes, config).ok()?;
        let source = name(row.source, before.map(|before| &before.source))?;
        let kind = name(row.kind, before.map(|before| &before.kind))?;
        let mut lifecycles = Vec::with_capacity(row.lifecycles.len());
        for kept in row.lifecycles {
            // Looked into now, so that what is taken in can be trusted for as long as the process lives.
            let rest = (!kept.rest.is_empty()).then_some(kept.rest);
            if !rest.is_none_or(packed::is_sound) {
                return None;
            }
            lifecycles.push(Kept {
                pair: match kept.pair {
                    Some((trigger, cluster)) => shared.pair(trigger, cluster),
                    None => pair_before?,
                },
                incarnation: kept.incarnation,
                desired: kept.desired,
                decided: kept.decided,
                decided_unix_nanos: kept.decided_unix_nanos,
                settled: kept.settled,
                settled_unix_nanos: kept.settled_unix_nanos,
                holds: kept.holds,
                failing: kept.failing,
                rest: rest.map(Box::from),
            });
        }
        let entry = Entry {
            source,
            subject: row.subject.into(),
            kind,
            events: row.events,
            first_event: row.first_event,
            last_event: row.last_event,
            last_event_unix_nanos: row.last_event_unix_nanos,
            last_record: row.last_record,
            records: row.records,
            lifecycles,
        };
        Some((entry, read))
    }
}

impl Kept {
    /// What has a fixed place of a lifecycle; the rest is not packed here.
    fn new(pair: Pair, lifecycle: &Lifecycle) -> Kept {
        Kept {
            pair,
            incarnation: lifecycle.incarnation,
            desired: lifecycle.desired,
            decided: lifecycle.decided,
            decided_unix_nanos: lifecycle.decided_unix_nanos,
            settled: lifecycle.settled,
            settled_unix_nanos: lifecycle.settled_unix_nanos,
            holds: !lifecycle.inventory.is_empty(),
            failing: lifecycle.failure.is_some(),
            rest: None,
        }
    }

    fn without_rest(&self, shared: &Shared) -> Lifecycle {
        let (trigger, cluster) = &shared.pairs[self.pair as usize];
        Lifecycle {
            trigger: trigger.clone(),
            cluster: cluster.clone(),
            desired: self.desired,
            decided: self.decided,
            decided_unix_nanos: self.decided_unix_nanos,
            incarnation: self.incarnation,
            settled: self.settled,
            settled_unix_nanos: self.settled_unix_nanos,
            inventory: Vec::new(),
            failure: None,
        }
    }

    fn phase(&self) -> Phase {
        Phase::of(self.desired, self.settled == Some(self.decided), self.holds, self.failing)
    }

    fn needs_work(&self) -> bool {
        self.desired.needs_work(self.settled == Some(self.decided), self.holds)
    }
}

/// One resource as it is written down.
#[derive(Serialize, Deserialize)]
struct Row<'r> {
    source: Option<&'r str>,
    subject: &'r str,
    kind: Option<&'r str>,
    events: u64,
    first_event: Offset,
    last_event: Offset,
    last_event_unix_nanos: u64,
    last_record: Offset,
    records: u32,
    #[serde(borrow)]
    lifecycles: Vec<KeptRow<'r>>,
}

/// One lifecycle as it is written down.
#[derive(Serialize, Deserialize)]
struct KeptRow<'r> {
    /// Trigger and cluster.
    #[serde(borrow)]
    pair: Option<(&'r str, &'r str)>,
    incarnation: u32,
    desired: Desired,
    decided: Offset,
    decided_unix_nanos: u64,
    settled: Option<Offset>,
    settled_unix_nanos: u64,
    holds: bool,
    failing: bool,
    rest: &'r [u8],
}
