//! Which incarnation the records of a history belong to, found while they are read backwards.
//!
//! Start at [`Incarnations::of`] with the state behind the latest record, then [`Incarnations::pass`] each record, the
//! latest first. Where a replay set the count, what lies before is not known, and nothing is said.

use std::collections::HashMap;

use lifeline_store::Offset;
use smol_str::SmolStr;

use crate::fact::{EventReceived, Fact, Gathered, Reconciled, Redesired, ResourceKey, Ruling, TriggerReplayed};
use crate::fold::Resource;
use crate::history::Entry;

/// The lifecycles of one resource as they were behind the record that is passed next.
pub(crate) struct Incarnations {
    lives: HashMap<LifecycleName, Life>,
    /// Entries whose decision was not met yet, by what they acted for.
    waiting: Vec<(Offset, LifecycleName, usize)>,
}

/// Trigger and cluster: they name a lifecycle of the one resource.
type LifecycleName = (SmolStr, SmolStr);

struct Life {
    /// `None` from where it cannot be known.
    incarnation: Option<u32>,
    /// The decision in force; `None` until it is met.
    decided: Option<Offset>,
    /// Whether the decision met last, the one that came later, was a Create.
    later_creates: bool,
}

impl Life {
    /// The incarnation that a decision belongs to. What lies before it is counted from there.
    fn pass(&mut self, creates: bool) -> Option<u32> {
        let is_met_first = self.decided.is_some();
        // A Create after a Delete began the incarnation that was counted so far.
        if !is_met_first && !creates && self.later_creates {
            // Counting stops at the largest number, and nobody knows how often it was reached.
            let countable = self.incarnation.filter(|incarnation| *incarnation < u32::MAX);
            self.incarnation = countable.and_then(|incarnation| incarnation.checked_sub(1));
        }
        self.decided = None;
        self.later_creates = creates;
        self.known()
    }

    /// Counted from 1: nothing belongs to none.
    fn known(&self) -> Option<u32> {
        self.incarnation.filter(|incarnation| *incarnation > 0)
    }
}

impl Incarnations {
    /// Begins behind the latest record of `resource`.
    pub(crate) fn of(resource: Option<&Resource>) -> Incarnations {
        let lives = resource.into_iter().flat_map(|resource| &resource.lifecycles).map(|lifecycle| {
            let (incarnation, decided) = (Some(lifecycle.incarnation), Some(lifecycle.decided));
            let life = Life { incarnation, decided, later_creates: false };
            ((SmolStr::from(&*lifecycle.trigger), SmolStr::from(&*lifecycle.cluster)), life)
        });
        Incarnations { lives: lives.collect(), waiting: Vec::new() }
    }

    /// Sets what is known of the record at `offset`, whose entry is the last one, and of entries that waited for it.
    pub(crate) fn pass(&mut self, key: &ResourceKey, offset: Offset, fact: &Fact<'_>, entries: &mut [Entry]) {
        match fact {
            Fact::Event(event @ EventReceived { delivery, decisions, .. }) => {
                // What was decided last comes last.
                for (place, decision) in decisions.iter().enumerate().rev() {
                    let creates = match decision.ruling {
                        _ if !event.counts(decision.trigger) => continue,
                        Ruling::Create => true,
                        Ruling::Delete => false,
                        Ruling::NoAction(_) | Ruling::Failed(_) => continue,
                    };
                    let incarnation = self.decided(decision.trigger, delivery.cluster, offset, creates, entries);
                    let event = entries.last_mut().and_then(|entry| entry.event.as_mut());
                    if let Some(told) = event.and_then(|event| event.decisions.get_mut(place)) {
                        told.incarnation = incarnation;
                    }
                }
            }
            Fact::Replay(TriggerReplayed { trigger, redecisions, .. }) => {
                let about: Vec<_> = redecisions.iter().filter(|redecision| redecision.resource == *key).collect();
                for redecision in about.iter().rev() {
                    let creates = matches!(redecision.desired, Redesired::Present { .. });
                    let incarnation = self.decided(trigger, &redecision.cluster, offset, creates, entries);
                    if let ([_], Some(entry)) = (about.as_slice(), entries.last_mut()) {
                        entry.incarnation = incarnation;
                    }
                    // Earlier releases began to count again here, so the number before is not known.
                    if creates && let Some(life) = self.life(trigger, &redecision.cluster) {
                        life.incarnation = None;
                    }
                }
            }
            Fact::Gathered(Gathered { trigger, cluster, keys, .. }) => {
                let incarnation = self.decided(trigger, cluster, offset, *keys > 0, entries);
                if let Some(entry) = entries.last_mut() {
                    entry.incarnation = incarnation;
                }
            }
            Fact::Reconciled(Reconciled { key: of, acted_for, .. }) => {
                let name = (of.trigger.clone(), of.cluster.clone());
                let Some(entry) = entries.len().checked_sub(1) else { return };
                match self.lives.get(&name) {
                    Some(life) if life.decided == Some(*acted_for) => entries[entry].incarnation = life.known(),
                    _ => self.waiting.push((*acted_for, name, entry)),
                }
            }
            Fact::Rejected(_) | Fact::Marker(_) | Fact::Stream(_) | Fact::Rule(_) | Fact::Lost(_) => {}
        }
    }

    fn life(&mut self, trigger: &str, cluster: &str) -> Option<&mut Life> {
        self.lives.get_mut(&(SmolStr::from(trigger), SmolStr::from(cluster)))
    }

    fn decided(
        &mut self,
        trigger: &str,
        cluster: &str,
        offset: Offset,
        creates: bool,
        entries: &mut [Entry],
    ) -> Option<u32> {
        let incarnation = self.life(trigger, cluster)?.pass(creates);
        self.waiting.retain(|(acted_for, (of, on), entry)| {
            let is_it = *acted_for == offset && **of == *trigger && **on == *cluster;
            if is_it {
                entries[*entry].incarnation = incarnation;
            }
            !is_it
        });
        incarnation
    }
}
