//! What a resource takes in memory, and how it is written down.
//!
//! A million of them have to fit beside each other, so the common part of a [`Resource`] has fixed places, names are
//! shared, and what few decisions touch (the inventory, a failure) stays packed as bytes. Start at [`Entry`]; what it means
//! is said by [`Resource`] and [`Lifecycle`], which it turns into and is made from.
//!
//! Never here: what follows from a fact. See [`crate::fold`].

use std::sync::Arc;

use hashbrown::HashMap;
use lifeline_store::Offset;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::fact::ResourceKey;
use crate::fold::Resource;
use crate::lifecycle::{Desired, Failure, Holding, Lifecycle, Phase};
use crate::names::Names;

/// A trigger and a cluster by number: there are few, and every lifecycle has one of each.
type Place = u32;

/// The names that entries share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    names: Names,
    places: Vec<(Arc<str>, Arc<str>)>,
    by_place: HashMap<(Arc<str>, Arc<str>), Place>,
}

impl Shared {
    /// The one copy of a name.
    pub(crate) fn name(&mut self, name: &str) -> Arc<str> {
        self.names.shared(name)
    }

    fn place(&mut self, trigger: &str, cluster: &str) -> Place {
        // Most events of a run are decided by the same trigger.
        let known = |(of, on): &(Arc<str>, Arc<str>)| **of == *trigger && **on == *cluster;
        if let Some(last) = self.places.first()
            && known(last)
        {
            return 0;
        }
        let key = (self.names.shared(trigger), self.names.shared(cluster));
        if let Some(place) = self.by_place.get(&key) {
            return *place;
        }
        let place = Place::try_from(self.places.len()).expect("fewer than 2^32 triggers and clusters fit in memory");
        self.places.push(key.clone());
        self.by_place.insert(key, place);
        place
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
    /// By order of appearance: a number given out stays right.
    lifecycles: Vec<Kept>,
}

/// One lifecycle in memory.
#[derive(Debug)]
struct Kept {
    place: Place,
    incarnation: u32,
    desired: Desired,
    decided: Offset,
    decided_unix_nanos: u64,
    settled: Option<Offset>,
    settled_unix_nanos: u64,
    holds: bool,
    failing: bool,
    /// [`Rest`], when there is any.
    rest: Option<Box<[u8]>>,
}

/// What of a lifecycle is kept packed.
#[derive(Serialize, Deserialize)]
struct Rest {
    inventory: Vec<Holding>,
    failure: Option<Failure>,
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
            let (of, on) = &shared.places[kept.place as usize];
            **of == *trigger && **on == *cluster
        })?;
        u32::try_from(at).ok()
    }

    /// The number of a lifecycle, which is begun when there was none; and whether there was one.
    pub(crate) fn slot_or_new(&mut self, shared: &mut Shared, trigger: &str, cluster: &str) -> (u32, bool) {
        if let Some(slot) = self.slot(shared, trigger, cluster) {
            return (slot, true);
        }
        let place = shared.place(trigger, cluster);
        self.lifecycles.push(Kept::new(place, &Lifecycle::new("", "")));
        (u32::try_from(self.len() - 1).expect("fewer than 2^32 lifecycles fit in memory"), false)
    }

    /// One lifecycle, whole.
    pub(crate) fn lifecycle(&self, shared: &Shared, slot: u32) -> Lifecycle {
        let kept = &self.lifecycles[slot as usize];
        let mut lifecycle = kept.without_rest(shared);
        if let Some(rest) = &kept.rest {
            let rest: Rest = unpack(rest);
            lifecycle.inventory = rest.inventory;
            lifecycle.failure = rest.failure;
        }
        lifecycle
    }

    /// A lifecycle as it has become.
    pub(crate) fn put(&mut self, slot: u32, lifecycle: Lifecycle) {
        let kept = &mut self.lifecycles[slot as usize];
        *kept = Kept::new(kept.place, &lifecycle);
        if kept.holds || kept.failing {
            let Lifecycle { inventory, failure, .. } = lifecycle;
            kept.rest = Some(pack(&Rest { inventory, failure }).into());
        }
    }

    /// Changes a lifecycle in a way that does not depend on its inventory or failure and leaves them alone; `None`, and
    /// nothing done, where it has what `unless` forbids.
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
        *kept = Kept { rest, holds, ..Kept::new(kept.place, &lifecycle) };
        Some((before, kept.phase()))
    }

    /// The phases of its lifecycles.
    pub(crate) fn phases(&self) -> impl Iterator<Item = Phase> {
        self.lifecycles.iter().map(Kept::phase)
    }

    /// Each lifecycle's trigger, cluster and phase.
    pub(crate) fn outline<'e>(&'e self, shared: &'e Shared) -> impl Iterator<Item = (&'e str, &'e str, Phase)> {
        self.lifecycles.iter().map(|kept| {
            let (trigger, cluster) = &shared.places[kept.place as usize];
            (&**trigger, &**cluster, kept.phase())
        })
    }

    /// The numbers of the lifecycles that need work.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.lifecycles).filter(|(_, kept)| kept.needs_work()).map(|(slot, _)| slot)
    }

    /// The numbers of the lifecycles that hold something on a cluster.
    pub(crate) fn holders<'e>(&'e self, shared: &'e Shared, cluster: &'e str) -> impl Iterator<Item = u32> {
        let on = move |kept: &Kept| kept.holds && *shared.places[kept.place as usize].1 == *cluster;
        (0..).zip(&self.lifecycles).filter(move |(_, kept)| on(kept)).map(|(slot, _)| slot)
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

    /// Appends what is written down of it.
    pub(crate) fn encode(&self, shared: &Shared, out: &mut Vec<u8>) {
        let lifecycles = self.lifecycles.iter().map(|kept| {
            let (trigger, cluster) = &shared.places[kept.place as usize];
            KeptRow {
                trigger,
                cluster,
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
            source: &self.source,
            subject: &self.subject,
            kind: &self.kind,
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

    /// Reads what [`Entry::encode`] wrote, and how many bytes that took; `None` for anything else.
    pub(crate) fn decode(shared: &mut Shared, bytes: &[u8]) -> Option<(Entry, usize)> {
        let config = bincode::config::standard().with_limit::<ROW_BYTES_MAX>();
        let (row, read): (Row<'_>, usize) = bincode::serde::borrow_decode_from_slice(bytes, config).ok()?;
        let mut lifecycles = Vec::with_capacity(row.lifecycles.len());
        for kept in row.lifecycles {
            // Looked into now, so that what is taken in can be trusted for as long as the process lives.
            let rest = (!kept.rest.is_empty()).then_some(kept.rest);
            if let Some(rest) = rest {
                try_unpack::<Rest>(rest)?;
            }
            lifecycles.push(Kept {
                place: shared.place(kept.trigger, kept.cluster),
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
            source: shared.name(row.source),
            subject: row.subject.into(),
            kind: shared.name(row.kind),
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
    fn new(place: Place, lifecycle: &Lifecycle) -> Kept {
        Kept {
            place,
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
        let (trigger, cluster) = &shared.places[self.place as usize];
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
    source: &'r str,
    subject: &'r str,
    kind: &'r str,
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
    trigger: &'r str,
    cluster: &'r str,
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

/// The longest collection that decoding will believe, in bytes.
const ROW_BYTES_MAX: usize = 256 << 20;

fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("memory is what it needs")
}

fn try_unpack<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let config = bincode::config::standard().with_limit::<ROW_BYTES_MAX>();
    let (value, read) = bincode::serde::decode_from_slice(bytes, config).ok()?;
    (read == bytes.len()).then_some(value)
}

fn unpack<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> T {
    try_unpack(bytes).expect("it was packed by this process, or looked into when it was read")
}
