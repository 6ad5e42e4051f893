//! One resource, whole, and the fold of one: what a record makes of it, for whoever tells an earlier state.
//!
//! Start at [`Resource::fold`]. It ends in the same state as [`super::Projection::fold`], which keeps resources smaller: a
//! property test compares them.

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};

use crate::fact::{Fact, LifecycleKey, Outcome, ResourceKey};
use crate::lifecycle::{Happened, Lifecycle};

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
pub(super) fn outcome<'f>(fact: &'f Fact<'_>) -> Option<(&'f LifecycleKey, Happened<'f>)> {
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
