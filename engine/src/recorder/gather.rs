//! Lists are recorded: once for a group of changes of their keys.
//!
//! Start at [`Recorder::gather`]. What is due is said in [`crate::lists`], by the state alone: so a crash before it is recorded
//! forgets nothing.

use std::time::Duration;

use lifeline_projections::fact::{Fact, Gathered};
use lifeline_store::Disk;
use tokio::time::Instant;

use super::{Error, Recorder};
use crate::lists;

/// The pause between two records of lists: what changes meanwhile is one change. The first one after a pause waits for nothing.
const PAUSE: Duration = Duration::from_millis(250);

impl<D: Disk> Recorder<D> {
    /// When lists are to be recorded; `None` while none is due.
    pub(super) fn gather_due(&self) -> Option<Instant> {
        (!self.lists_due().is_empty()).then_some(self.gather_after)
    }

    /// Records that the keys of lists changed. From here on the lists are made again.
    pub(super) fn gather(&mut self) -> Result<(), Error> {
        let due = self.lists_due().into_iter();
        let mut facts: Vec<Fact<'_>> = due.map(Fact::Gathered).collect();
        for fact in &mut facts {
            fact.link(|source, subject| self.view.projection().last_record(source, subject));
        }
        self.gather_after = Instant::now() + PAUSE;
        if facts.is_empty() { Ok(()) } else { self.record_facts(&facts) }
    }

    fn lists_due(&self) -> Vec<Gathered> {
        let Some(rules) = self.rules.as_ref().filter(|rules| rules.gathers()) else { return Vec::new() };
        let projection = self.view.projection();
        let mut due = lists::due(rules, &projection);
        if let Some(replay) = &self.replay {
            due.retain(|Gathered { trigger, cluster, .. }| !replay.holds_list(&projection, trigger, cluster));
        }
        // Of one trigger on several clusters there is one history: a record may name the one before it only once that is there.
        due.dedup_by(|one, other| one.trigger == other.trigger);
        due
    }
}
