//! What else a replay is asked for: to decide a trigger again under its own rules, and to come to everything at once,
//! for a plan.
//!
//! Start at [`Replay::ask`].

use lifeline_store::Offset;

use super::Replay;
use super::target::Target;
use super::turn::Consent;
use crate::status::ReplayedStatus;

impl Replay {
    /// Adds a trigger in force to what is decided again, though its rules are as they were; with `from` only the
    /// resources that an event from there on spoke of. False where there is none, or its history is being decided again
    /// already.
    pub fn ask(&mut self, trigger: &str, from: Option<Offset>) -> bool {
        // One that was asked for and is not open could not be recorded.
        if let Some(known) = self.targets.iter().find(|target| *target.trigger == *trigger) {
            return !known.is_open;
        }
        let Some(found) = self.rules.trigger(trigger) else { return false };
        let clusters = self.rules.heard_clusters(trigger).map(Into::into).collect();
        let target = Target::new(trigger, Some(found.digest()), found.leaves_policies(), clusters);
        self.targets.push_back(Target { from, ..target });
        true
    }

    /// What came to its end just now. Told once.
    pub fn take_over(&mut self) -> Vec<ReplayedStatus> {
        std::mem::take(&mut self.over)
    }

    /// The same, which comes to everything in one turn: for a preview, of which nothing is recorded and nothing is
    /// held.
    #[must_use]
    pub(crate) fn at_once(mut self) -> Replay {
        self.targets.iter_mut().for_each(|target| target.begin_recording(Consent::Confirmed));
        self
    }

    /// Objects whose withdrawal was confirmed since nothing was left to be decided again.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// The triggers that are decided again, each with the checksum that it has then; `None` where it is gone.
    pub(crate) fn triggers(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        self.targets.iter().map(|target| (&*target.trigger, target.digest))
    }

    /// Resources that the triggers under way are done with.
    pub(crate) fn resources_done(&self) -> usize {
        self.targets.iter().map(|target| target.cursor.resources).sum()
    }
}
