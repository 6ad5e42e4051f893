//! What an operator should know of each trigger: how much lives, what fails, what waits for somebody.
//!
//! Start at [`Look::look`]. It counts in pieces, so the recorder never waits for it, and only when something was recorded. Never
//! here: where this is written; see `report`.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_projections::fact::ResourceKey;
use lifeline_projections::fold::{LifecycleIndex, Projection};
use lifeline_projections::lifecycle::Phase;
use lifeline_store::{Disk, Offset};

use crate::replay::brake;
use crate::view::View;

/// Resources that are looked at in one turn: about a tenth of a millisecond of them.
const RESOURCES_MAX: usize = 1_000;

/// Failing lifecycles that are told apart, so that it is seen when one of them begins or ends. All are counted.
const FAILING_MAX: usize = 10_000;

/// What is known of the triggers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// By name; one that never decided anything is missing.
    pub triggers: BTreeMap<String, TriggerHealth>,
    /// Failing lifecycles, up to [`FAILING_MAX`], with what they are about.
    pub failing: BTreeMap<LifecycleIndex, Failing>,
}

/// What is known of one trigger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TriggerHealth {
    /// Lifecycles whose objects shall exist, or have still to go.
    pub live: u64,
    /// Those whose last attempt failed.
    pub failing: u64,
    /// Those that wait to be carried out, without a failure.
    pub pending: u64,
    /// Objects that would go, and stay until somebody confirms it.
    pub held_objects: u64,
    /// The withdrawal that waits for a confirmation, as a sentence.
    pub held: Option<String>,
    /// Why its history is not decided again in full.
    pub left_because: Option<String>,
}

/// A lifecycle that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The trigger.
    pub trigger: String,
    /// What it is about.
    pub resource: ResourceKey,
    /// Why, in full.
    pub message: String,
}

/// What the last look found, and when another is worth it.
#[derive(Debug, Default)]
pub struct Look {
    counted: Option<(Offset, Health)>,
    failing: BTreeMap<LifecycleIndex, Failing>,
}

impl Look {
    /// Looks at every lifecycle, where something was recorded since the last time.
    pub async fn look<D: Disk>(&mut self, view: &View<D>) -> Health {
        let folded = view.folded();
        let counted = self.counted.take().filter(|(known, _)| *known == folded);
        let mut health = match counted {
            Some((_, health)) => health,
            None => {
                let mut health = count(view).await;
                health.keep_undone(view, &self.failing);
                health
            }
        };
        self.failing.clone_from(&health.failing);
        self.counted = Some((folded, health.clone()));
        for replay in view.replays() {
            let trigger = health.triggers.entry(replay.trigger.clone()).or_default();
            trigger.held_objects = replay.held.as_ref().map_or(0, |held| held.objects);
            trigger.held = replay.held.as_ref().map(|held| brake::sentence(&replay.trigger, held));
            trigger.left_because = replay.left_because;
        }
        health
    }
}

async fn count<D: Disk>(view: &View<D>) -> Health {
    let mut health = Health::default();
    let mut behind = None;
    loop {
        behind = view.read(|projection| health.add(projection, behind.as_ref()));
        if behind.is_none() {
            return health;
        }
        tokio::task::yield_now().await;
    }
}

impl Health {
    /// Takes those that failed before, and are neither done nor given up, for failing still: another attempt is under way.
    fn keep_undone<D: Disk>(&mut self, view: &View<D>, before: &BTreeMap<LifecycleIndex, Failing>) {
        for (index, failing) in before {
            let phase = || view.read(|projection| projection.head(*index).phase);
            if !self.failing.contains_key(index) && matches!(phase(), Phase::Pending | Phase::Deleting) {
                self.failing.insert(*index, failing.clone());
            }
        }
    }

    /// Adds the next piece. Gives the key that it came to, where more may follow.
    fn add(&mut self, projection: &Projection, behind: Option<&ResourceKey>) -> Option<ResourceKey> {
        let mut failing = BTreeSet::new();
        let room = FAILING_MAX.saturating_sub(self.failing.len());
        let last = projection.visit_lifecycles(behind, RESOURCES_MAX, |index, name, phase| {
            let trigger = match self.triggers.get_mut(name) {
                Some(trigger) => trigger,
                None => self.triggers.entry(name.to_owned()).or_default(),
            };
            trigger.live += u64::from(!matches!(phase, Phase::Gone | Phase::Left));
            trigger.failing += u64::from(phase == Phase::Failing);
            trigger.pending += u64::from(matches!(phase, Phase::Pending | Phase::Deleting));
            if phase == Phase::Failing && failing.len() < room {
                failing.insert(index);
            }
        });
        for index in failing {
            let (resource, lifecycle) = projection.lifecycle(index);
            let message = lifecycle.failure.map(|failure| failure.error).unwrap_or_default();
            self.failing.insert(index, Failing { trigger: lifecycle.trigger.to_string(), resource, message });
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use lifeline_projections::fact::{Decision, Delivery, EventReceived, Fact, Ruling};
    use lifeline_store::{Log, Options, SimulatedDisk};

    use super::*;

    fn event(projection: &mut Projection, number: u64, trigger: &str) {
        let subject = format!("user-{number}");
        let delivery = Delivery {
            cluster: "mgmt/mgmt",
            stream: "S",
            epoch: 1,
            sequence: number + 1,
            published_unix_nanos: 1,
            subject: "s",
        };
        let decision = Decision { trigger, event_source: "s", criterion: 0, ruling: Ruling::Create };
        let fact = Fact::Event(EventReceived {
            delivery,
            source: "app",
            subject: &subject,
            kind: "login",
            id: "1",
            previous: None,
            decisions: vec![decision],
            headers: Vec::new(),
            payload: b"",
            redriven: None,
            order: None,
        });
        projection.fold(Offset::from(number), number, &fact, &mut Vec::new());
    }

    #[tokio::test]
    async fn every_lifecycle_is_counted_once_in_however_many_pieces() {
        let mut projection = Projection::default();
        let count = RESOURCES_MAX as u64 * 2 + 7;
        for number in 0..count {
            event(&mut projection, number, if number % 10 == 0 { "rare" } else { "often" });
        }
        let options = Options { low_space_bytes: 0, ..Options::default() };
        let (log, _) = Log::open(SimulatedDisk::new(1), options).unwrap();
        let view = View::new(projection, log.reader());
        let health = Look::default().look(&view).await;
        let live = |name: &str| health.triggers[name].live;
        assert_eq!((live("rare"), live("rare") + live("often")), (count.div_ceil(10), count));
        assert_eq!(health.failing, BTreeMap::new());
    }
}
