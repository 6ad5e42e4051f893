//! What a resource takes in memory.
//!
//! Start at [`Compact`]. The common part of a lifecycle has fixed fields, names are shared, and what few decisions touch
//! (the inventory, a failure) stays packed as bytes (see [`super::packed`]).
//!
//! Never here: what follows from a fact. See [`Lifecycle::evolve`].

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use lifeline_store::Offset;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::names::Names;
use super::{Changed, KeyChange, packed};
use crate::fact::ObjectKey;
use crate::happened::{Change, Happened};
use crate::lifecycle::{Desired, Head, Holding, Lifecycle, Phase};
use crate::resource::Resource;

/// A trigger and a cluster by number: there are few, and every lifecycle has one of each.
pub(super) type Pair = u32;

/// The names that resources share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    names: Names,
    pairs: Vec<(Arc<str>, Arc<str>)>,
    by_pair: HashMap<(Arc<str>, Arc<str>), Pair>,
}

impl Shared {
    /// The one copy of a name.
    pub(super) fn name(&mut self, name: &str) -> Arc<str> {
        self.names.shared(name)
    }

    /// The clusters that lifecycles are on, sorted.
    pub(super) fn clusters(&self) -> BTreeSet<&str> {
        self.pairs.iter().map(|(_, cluster)| &**cluster).collect()
    }

    /// The clusters beside a trigger, each with the number of both.
    pub(super) fn pairs_of(&self, trigger: &str) -> impl Iterator<Item = (Pair, &Arc<str>)> {
        (0..).zip(&self.pairs).filter(move |(_, (of, _))| **of == *trigger).map(|(pair, (_, on))| (pair, on))
    }

    /// The trigger and the cluster with this number.
    pub(super) fn of(&self, pair: Pair) -> &(Arc<str>, Arc<str>) {
        &self.pairs[pair as usize]
    }

    pub(super) fn pair(&mut self, trigger: &str, cluster: &str) -> Pair {
        // Most events of a run are decided by the same trigger.
        let known = |(of, on): &(Arc<str>, Arc<str>)| **of == *trigger && **on == *cluster;
        if self.pairs.first().is_some_and(known) {
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
pub(super) struct Compact {
    pub(super) source: Arc<str>,
    pub(super) subject: SmolStr,
    /// Its lifecycles are in the order in which they came up: a number given out stays right.
    pub(super) resource: Resource<CompactLifecycle>,
}

/// One lifecycle in memory.
#[derive(Debug)]
pub(super) struct CompactLifecycle {
    pub(super) pair: Pair,
    pub(super) core: Core,
    /// The inventory and the failure, where there are any. Invariant: packed by what `core.settled` says.
    pub(super) rest: Option<Box<[u8]>>,
}

/// What has fixed fields of a lifecycle, in memory and in the table.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Core {
    incarnation: u32,
    desired: Desired,
    decided: Offset,
    decided_unix_nanos: u64,
    settled: Option<Offset>,
    settled_unix_nanos: u64,
    holds: bool,
    failing: bool,
}

impl Compact {
    /// Evolves one lifecycle, which is begun when there was none.
    pub(super) fn evolve(
        &mut self,
        shared: &mut Shared,
        offset: Offset,
        unix_nanos: u64,
        change: &Change<'_>,
    ) -> Changed {
        let Change { trigger, cluster, happened } = *change;
        let lifecycles = &mut self.resource.lifecycles;
        let known = position(lifecycles, shared, trigger, cluster);
        let at = known.unwrap_or_else(|| {
            let pair = shared.pair(trigger, cluster);
            // Exactly fitted: most resources have one, if any.
            lifecycles.reserve_exact(1);
            lifecycles.push(CompactLifecycle { pair, core: Core::of(&Lifecycle::new("", "")), rest: None });
            lifecycles.len() - 1
        });
        let compact = &mut lifecycles[at];
        let before = known.map(|_| compact.core.phase());
        let desired = known.map(|_| compact.core.desired);
        let [released, claimed] = compact.evolve(shared, offset, unix_nanos, happened);
        let slot = u32::try_from(at).expect("fewer than 2^32 lifecycles fit in memory");
        let (after, needs_work) = (compact.core.phase(), compact.core.needs_work());
        let key = compact.core.key_change(compact.pair, desired);
        Changed { slot, before, after, needs_work, key, released, claimed }
    }

    /// The place of a lifecycle.
    pub(super) fn slot(&self, shared: &Shared, trigger: &str, cluster: &str) -> Option<usize> {
        position(&self.resource.lifecycles, shared, trigger, cluster)
    }

    /// The resource, whole.
    pub(super) fn whole(&self, shared: &Shared) -> Resource {
        let mut lifecycles: Vec<Lifecycle> =
            self.resource.lifecycles.iter().map(|lifecycle| lifecycle.whole(shared)).collect();
        lifecycles.sort_unstable_by(|one, other| (&one.trigger, &one.cluster).cmp(&(&other.trigger, &other.cluster)));
        let Resource { events, first_event, last_event, last_event_unix_nanos, last_record, records, .. } =
            self.resource;
        let Resource { newest_event, newest_unix_nanos, .. } = self.resource;
        let last_event_kind = self.resource.last_event_kind.clone();
        Resource {
            events,
            first_event,
            last_event,
            newest_event,
            newest_unix_nanos,
            last_event_unix_nanos,
            last_event_kind,
            last_record,
            records,
            lifecycles,
        }
    }

    /// Reads a little of each cache line of it, so that it is in the cache. The result means nothing.
    pub(super) fn prefetch(&self) -> u64 {
        let Resource { last_event_kind, lifecycles, events, records, last_record, .. } = &self.resource;
        let names = self.subject.len() ^ self.source.len() ^ last_event_kind.len() ^ lifecycles.len();
        names as u64 ^ events ^ u64::from(*records) ^ last_record.get()
    }

    /// The same for its first lifecycle.
    pub(super) fn prefetch_lifecycles(&self) -> u64 {
        self.resource.lifecycles.first().map_or(0, |CompactLifecycle { pair, core, .. }| {
            core.decided.get() ^ core.settled_unix_nanos ^ u64::from(pair ^ core.incarnation)
        })
    }

    /// The same for what is packed of its first lifecycle.
    pub(super) fn prefetch_rests(&self) -> u64 {
        let rest = self.resource.lifecycles.first().and_then(|lifecycle| lifecycle.rest.as_deref());
        rest.map_or(0, |rest| u64::from(rest[0] ^ rest[rest.len() - 1]))
    }
}

fn position(lifecycles: &[CompactLifecycle], shared: &Shared, trigger: &str, cluster: &str) -> Option<usize> {
    lifecycles.iter().position(|lifecycle| {
        let (of, on) = shared.of(lifecycle.pair);
        **of == *trigger && **on == *cluster
    })
}

impl CompactLifecycle {
    /// Evolves it, and gives the objects whose claims it ended and those that it claimed.
    fn evolve(
        &mut self,
        shared: &Shared,
        offset: Offset,
        unix_nanos: u64,
        happened: Happened<'_>,
    ) -> [Vec<ObjectKey>; 2] {
        if let Some(happened) = self.beside_rest(happened) {
            let mut lifecycle = self.without_rest(shared);
            lifecycle.evolve(offset, unix_nanos, happened);
            self.core = Core { holds: self.core.holds, ..Core::of(&lifecycle) };
            return [const { Vec::new() }; 2];
        }
        let mut lifecycle = self.whole(shared);
        let before: Vec<ObjectKey> = lifecycle.inventory.iter().map(|holding| holding.object.clone()).collect();
        lifecycle.evolve(offset, unix_nanos, happened);
        (self.core, self.rest) = (Core::of(&lifecycle), packed::pack(&lifecycle));
        let is_new = |object: &&ObjectKey| before.binary_search(object).is_err();
        let claimed = lifecycle.inventory.iter().map(|holding| &holding.object).filter(is_new).cloned().collect();
        let released = before.iter().filter(|object| lifecycle.holding(object).is_none()).cloned().collect();
        [released, claimed]
    }

    /// What happened, as far as it is news to a lifecycle without its inventory and failure; `None` where it has to see
    /// or change these. A decision to create changes no inventory, one to delete none that is empty, and most outcomes
    /// find theirs as it is: most of the time it need not be unpacked.
    fn beside_rest<'h>(&self, happened: Happened<'h>) -> Option<Happened<'h>> {
        let Core { desired, decided, holds, failing, .. } = self.core;
        match happened {
            _ if failing => None,
            Happened::DecidedCreate => Some(happened),
            Happened::DecidedDelete => (!holds).then_some(happened),
            // It found all that is held as it was: nothing is news but the time.
            Happened::Applied { acted_for, objects } => {
                let rest = self.rest.as_deref().filter(|_| desired.is_present() && decided == acted_for)?;
                packed::confirms(rest, objects).then_some(Happened::Applied { acted_for, objects: &[] })
            }
            Happened::Redecided(_)
            | Happened::ApplyIntended(_)
            | Happened::Drifted(_)
            | Happened::ApplyFailed { .. }
            | Happened::Recreated(_)
            | Happened::Removed { .. } => None,
        }
    }

    /// The lifecycle, whole.
    pub(super) fn whole(&self, shared: &Shared) -> Lifecycle {
        let mut lifecycle = self.without_rest(shared);
        if let Some(rest) = &self.rest {
            packed::unpack(rest, &mut lifecycle);
        }
        lifecycle
    }

    /// What it holds, in order.
    pub(super) fn objects(&self) -> impl Iterator<Item = ObjectKey> {
        self.rest.as_deref().into_iter().flat_map(packed::objects)
    }

    /// The holding of an object.
    pub(super) fn holding(&self, object: &ObjectKey) -> Option<Holding> {
        let settled_at = self.core.settled.map(|settled| (settled, self.core.settled_unix_nanos));
        packed::holding(self.rest.as_deref()?, object, settled_at)
    }

    fn without_rest(&self, shared: &Shared) -> Lifecycle {
        let (trigger, cluster) = shared.of(self.pair).clone();
        let Core { incarnation, desired, decided, decided_unix_nanos, settled, settled_unix_nanos, .. } = self.core;
        Lifecycle {
            trigger,
            cluster,
            desired,
            decided,
            decided_unix_nanos,
            incarnation,
            settled,
            settled_unix_nanos,
            inventory: Vec::new(),
            failure: None,
        }
    }
}

impl Core {
    fn of(lifecycle: &Lifecycle) -> Core {
        let Lifecycle { incarnation, desired, decided, decided_unix_nanos, settled, settled_unix_nanos, .. } =
            *lifecycle;
        let (holds, failing) = (!lifecycle.inventory.is_empty(), lifecycle.failure.is_some());
        Core { incarnation, desired, decided, decided_unix_nanos, settled, settled_unix_nanos, holds, failing }
    }

    pub(super) fn head<'s>(&self, trigger: &'s Arc<str>, cluster: &'s Arc<str>) -> Head<'s> {
        let Core { desired, decided, failing, .. } = *self;
        let (phase, needs_work) = (self.phase(), self.needs_work());
        Head { trigger, cluster, desired, decided, phase, needs_work, is_failing: failing }
    }

    pub(super) fn decision(&self) -> (Desired, Offset) {
        (self.desired, self.decided)
    }

    pub(super) fn key_change(&self, pair: Pair, before: Option<Desired>) -> KeyChange {
        KeyChange { pair, before, after: self.desired, decided: self.decided }
    }

    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.desired, self.settled == Some(self.decided), self.holds, self.failing)
    }

    pub(super) fn needs_work(&self) -> bool {
        self.desired.needs_work(self.settled == Some(self.decided), self.holds)
    }
}
