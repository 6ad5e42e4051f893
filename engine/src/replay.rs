//! History under changed rules: the events already held are decided again, in pieces, while recording goes on.
//!
//! Start at [`Replay::piece`]. What the resources should be depends on the events and the current rules, not on which came first;
//! so a trigger that appears or changes is applied to all resources, and one that goes withdraws what it made. Only differences
//! are recorded, and of those only what differs in the cluster is applied.
//!
//! ```text
//! rules change --> RuleChanged, and a record that opens a replay of each trigger that differs
//!                    from here on events are decided by the new rules
//!              --> the resources in order of their keys: the records of each are read backwards, from the latest to the first
//!                  event that decides
//!              --> a piece of redecisions, and another; the last one completes the replay
//! ```
//!
//! What a replay would withdraw, or what changed texts no longer give, is counted first and recorded in a second turn, unless
//! that is so much that the [`brake`] holds it until somebody confirms it. The rest is recorded in the first turn.
//!
//! Nothing of a resource is withdrawn while it is not known what others want of it: another lifecycle of it is present, and its
//! texts cannot be rendered or its trigger is out of force. That is held too, until it is mended or somebody confirms it.
//!
//! What may be withdrawn is recorded before it is, so all of this holds over a restart.
//!
//! Invariant: what is decided for a trigger after its replay was opened is decided by the rules of that replay. So a resource
//! that was decided since needs no second look, neither now nor after a restart, and the replay goes on where it was left.
//!
//! Reads the log and the projection, writes nothing; the recorder records what comes out.

mod asked;
pub mod brake;
mod changes;
mod cursor;
mod desired;
pub(crate) mod found;
pub(crate) mod named;
mod turn;

mod content;
mod target;
pub mod texts;

mod holding;
mod listed;
mod piece;
mod reading;
mod wants;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lifeline_projections::fact::TriggerReplayed;
use lifeline_projections::fold::{Claim, Ground, Projection};

use self::brake::Brake;
pub use self::changes::{RuleChange, rule_changes};
pub use self::holding::Confirmable;
pub use self::piece::Piece;
use self::target::Target;
use self::texts::Answers;
pub(crate) use self::turn::Going;
use self::turn::{Consent, Count, Turn};
use self::wants::may_want_all;
use crate::rules::spec::SyncMode;
use crate::rules::{RuleSet, Standing, Trigger};
use crate::status::{ReplayStatus, ReplayedStatus};

/// Resources and records looked at in one piece: about a millisecond, which is how long what happens meanwhile waits.
pub const STEPS_AT_ONCE: usize = 512;

/// What is still to be decided again under the rules in force, one trigger after the other.
#[derive(Debug)]
pub struct Replay {
    rules: Arc<RuleSet>,
    /// Withdrawals first: what a trigger that is gone made may be in the way of what another makes now.
    targets: VecDeque<Target>,
    brake: Brake,
    /// Objects whose withdrawal was confirmed, since nothing was left to be decided again.
    confirmed: u64,
    /// Objects withdrawn lately without a confirmation.
    lately: Counts,
    /// What passed just now, and is not recorded yet.
    passed: Vec<TriggerReplayed>,
    /// Why something that never decided anything may want anything: a trigger is out of force, or hidden.
    may_want_all: Option<String>,
    /// What came to its end just now.
    over: Vec<ReplayedStatus>,
    /// What the piece before asked of texts.
    answers: Answers,
}

/// Objects withdrawn without a confirmation, and keys of lists, by trigger.
pub type Counts = BTreeMap<Box<str>, u64>;

impl Replay {
    /// The triggers whose history has to be decided again under `rules`: `before` is what was being replayed when they came,
    /// `in_force` the rules until then, `changes` what differs in them from what is recorded.
    #[must_use]
    pub fn new(
        rules: &Arc<RuleSet>,
        ground: &Ground,
        before: Option<&Replay>,
        in_force: Option<&RuleSet>,
        changes: &[RuleChange],
    ) -> Replay {
        let target = |trigger: &str, digest: Option<u64>, leaves: bool, is_open: bool| {
            let same = |target: &Target| is_open && *target.trigger == *trigger && target.digest == digest;
            let known = before.and_then(|before| before.targets.iter().find(|target| same(target)));
            let clusters = rules.heard_clusters(trigger).map(Into::into).collect();
            let was_dry_run = match in_force.and_then(|rules| rules.trigger(trigger)) {
                _ if digest.is_some() || !leaves => false,
                Some(before) => before.sync_mode() == SyncMode::DryRun,
                // It went while no engine ran, or was broken before.
                None => known.is_none_or(|known| known.was_dry_run),
            };
            // What was allowed before a restart stays allowed.
            let allowed = ground.withdrawals.allowed(trigger, digest).filter(|_| is_open || digest.is_none());
            let turn = match allowed.map(|allowed| allowed.is_confirmed) {
                Some(true) => Turn::Recording(Consent::Confirmed),
                Some(false) => Turn::Recording(Consent::Little),
                None => Turn::Counting(Count::default()),
            };
            let new = Target { is_open, was_dry_run, turn, ..Target::new(trigger, digest, leaves, clusters) };
            let mut target = match known {
                Some(known) => Target {
                    cursor: known.cursor.clone(),
                    turn: known.turn,
                    held: known.held.clone(),
                    may_be_taken_over: known.may_be_taken_over,
                    is_stuck: known.is_stuck,
                    from: known.from,
                    decided: known.decided,
                    leaving: known.leaving.clone(),
                    ..new
                },
                None => new,
            };
            // What passed before it was recorded is counted again: the sum of the hour has to know it.
            let is_unrecorded = |before: &Replay| before.passed.iter().any(|passed| *passed.trigger == *trigger);
            if allowed.is_none() && before.is_some_and(is_unrecorded) {
                target.begin_counting();
            }
            // Other rules may have mended what it waits for.
            if target.turn == Turn::Held && target.held.as_ref().is_some_and(|held| held.waits_for.is_some()) {
                target.begin_counting();
            }
            target
        };
        let was_gone = |trigger: &str| {
            let is_same = |target: &Target| *target.trigger == *trigger && target.digest.is_none();
            before.is_some_and(|before| before.targets.iter().any(is_same))
        };
        // A trigger that is only broken, or hidden by what cannot be read, keeps what it made.
        let gone = ground.replayed.iter().filter(|(trigger, _)| matches!(rules.standing(trigger), Standing::Absent));
        let mut targets: VecDeque<Target> =
            gone.map(|(trigger, mark)| target(trigger, None, mark.leaves, was_gone(trigger))).collect();
        for trigger in rules.triggers() {
            let (name, digest) = (trigger.name(), trigger.digest());
            let open = ground.open_replays.get(name);
            let mark = ground.replayed.get(name);
            // While it was broken it decided nothing, so events were left out, though it is as it was before.
            let was_broken = mark.is_some()
                && match in_force {
                    Some(rules) => rules.trigger(name).is_none(),
                    None => changes.iter().any(|change| change.concerns(name, rules.event_source(name))),
                };
            let is_open = open.is_some_and(|open| open.digest == digest) && !was_broken;
            if is_open || was_broken || mark.is_none_or(|mark| mark.digest() != Some(digest)) {
                targets.push_back(target(name, Some(digest), trigger.leaves_policies(), is_open));
            }
        }
        let comes = |trigger: &str| targets.iter().any(|other| other.digest.is_some() && *other.trigger != *trigger);
        let taken_over: Vec<bool> = targets.iter().map(|target| comes(&target.trigger)).collect();
        for (target, comes) in targets.iter_mut().zip(taken_over) {
            target.may_be_taken_over |= comes;
        }
        Replay { targets, ..Replay::of_nothing(rules, ground) }
    }

    /// Nothing to be decided again under these rules, until it is asked for.
    #[must_use]
    pub fn of_nothing(rules: &Arc<RuleSet>, ground: &Ground) -> Replay {
        Replay {
            rules: Arc::clone(rules),
            targets: VecDeque::new(),
            brake: Brake::default(),
            confirmed: ground.withdrawals.confirmed(ground.folded_unix_nanos),
            lately: Counts::new(),
            passed: Vec::new(),
            may_want_all: may_want_all(rules, ground),
            over: Vec::new(),
            answers: Answers::default(),
        }
    }

    /// The same, with another brake.
    #[must_use]
    pub fn with_brake(self, brake: Brake) -> Replay {
        Replay { brake, ..self }
    }

    /// The same, where objects were withdrawn lately without a confirmation.
    #[must_use]
    pub fn with_lately(self, lately: Counts) -> Replay {
        Replay { lately, ..self }
    }

    /// The trigger whose turn it is. Those that are in force count first: then what they want of the withdrawals is known.
    fn next(&self) -> Option<usize> {
        let counts = |target: &Target| target.digest.is_some() && matches!(target.turn, Turn::Counting(_));
        let first = self.targets.iter().position(|target| target.goes_on() && counts(target));
        first.or_else(|| self.targets.iter().position(Target::goes_on))
    }

    /// Whether the owner of a claim goes on wanting the object: the rules in force decided so.
    fn stays(&self, projection: &Projection, claim: &Claim) -> bool {
        let head = projection.head(claim.lifecycle);
        let in_force = self.rules.trigger(head.trigger).map(Trigger::digest);
        let decided_by = projection.ground().decided_by(head.trigger, head.decided);
        head.desired.is_present() && decided_by.is_some() && decided_by == in_force
    }

    /// Whether there is a piece to be done.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.targets.iter().any(Target::goes_on)
    }

    /// Whether something waits to be confirmed.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.targets.iter().any(|target| target.turn == Turn::Held)
    }

    /// What opens the replays that are not open yet. From these records on, events are decided by these rules.
    pub fn openings(&self) -> impl Iterator<Item = TriggerReplayed> {
        let closed = self.targets.iter().filter(|target| !target.is_open);
        closed.map(|target| target.record(Vec::new(), false))
    }

    /// Notes that [`Replay::openings`] are recorded.
    pub fn opened(&mut self) {
        self.targets.iter_mut().for_each(|target| target.is_open = true);
        // What was being counted beside these may not be counted any more.
        self.settle_counts();
    }

    /// How far each trigger is.
    #[must_use]
    pub fn status(&self, projection: &Projection) -> Vec<ReplayStatus> {
        let in_small_steps = self.lately.values().sum();
        let status = |target: &Target| ReplayStatus {
            trigger: target.trigger.to_string(),
            resources: target.cursor.resources,
            of: projection.len(),
            left_because: target.cursor.left_because.clone(),
            held: target.held_withdrawal(in_small_steps),
            decided: target.decided.again,
        };
        self.targets.iter().map(status).collect()
    }

    /// The same for people: without a hold of which it is not known yet whether another trigger takes the objects over.
    #[must_use]
    pub fn said_status(&self, projection: &Projection) -> Vec<ReplayStatus> {
        let mut status = self.status(projection);
        for (status, target) in status.iter_mut().zip(&self.targets) {
            status.held.take_if(|_| !target.says_held());
        }
        status
    }
}

#[cfg(test)]
mod tests;
