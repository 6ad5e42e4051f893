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
mod turn;

pub(crate) mod content;
mod target;

mod holding;
mod listed;
mod wants;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use lifeline_projections::fact::{
    Decision, EventReceived, Fact, ObjectKey, Redecision, Redesired, ResourceKey, Ruling, TriggerReplayed,
};
use lifeline_projections::fold::{Claim, Ground, Projection, Resource};
use lifeline_projections::lifecycle::{Desired, Lifecycle};
use lifeline_projections::order::Precedence;
use lifeline_store::{Disk, Reader};
use tracing::warn;

use self::brake::Brake;
pub use self::changes::{RuleChange, rule_changes};
use self::content::{holds, lost};
use self::cursor::{Cursor, Walk};
use self::desired::{Unmatched, redesired};
use self::found::Found;
pub use self::holding::Confirmable;
use self::target::{Decided, Target};
pub(crate) use self::turn::Going;
use self::turn::{Consent, Count, Turn};
use self::wants::may_want_all;
use crate::error_text::in_log;
use crate::rules::spec::SyncMode;
use crate::rules::{EventView, RuleSet, Standing, Trigger};
use crate::status::{ReplayStatus, ReplayedStatus};
use crate::warnings;

/// Resources and records looked at in one piece: about a millisecond, which is how long what happens meanwhile waits.
pub const STEPS_AT_ONCE: usize = 512;

/// A record counts as one more step for each of these bytes: templates may parse all of them.
const STEP_BYTES: usize = 4 << 10;

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
}

/// Objects withdrawn without a confirmation, by trigger.
pub type Counts = BTreeMap<Box<str>, u64>;

/// What one step of a replay comes to.
#[derive(Debug)]
pub struct Piece {
    fact: Option<TriggerReplayed>,
    reached: Cursor,
    turn: Turn,
    decided: Decided,
    is_last: bool,
}

impl Piece {
    /// What has to be recorded before the replay may go on.
    pub fn take_fact(&mut self) -> Option<TriggerReplayed> {
        self.fact.take()
    }
}

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
        let (_, lifecycle) = projection.lifecycle(claim.lifecycle);
        let in_force = self.rules.trigger(&lifecycle.trigger).map(Trigger::digest);
        let decided_by = projection.ground().decided_by(&lifecycle.trigger, lifecycle.decided);
        lifecycle.desired.is_present() && decided_by.is_some() && decided_by == in_force
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

    /// The next piece, of about `steps` looks at resources and records; `None` when there is nothing left to do. Once its fact
    /// is recorded, [`Replay::advance`] is to be called with it.
    ///
    /// # Errors
    /// When the disk refuses. A damaged record is noted, and its resource is left as it is.
    pub fn piece<D: Disk>(
        &self,
        projection: &Projection,
        log: &Reader<D>,
        steps: usize,
    ) -> Result<Option<Piece>, lifeline_store::Error> {
        let Some(target) = self.next().map(|next| &self.targets[next]) else { return Ok(None) };
        let mut turn = target.turn;
        let mut cursor = target.cursor.clone();
        let mut redecisions = Vec::new();
        let start = cursor.walk.as_ref().map(|walk| &walk.key).or(cursor.done.as_ref()).cloned();
        let stays = |cluster: &str, object: &ObjectKey| {
            projection.claims(cluster, object).iter().any(|claim| self.stays(projection, claim))
        };
        let holds = |lifecycle: &Lifecycle| holds(projection, lifecycle);
        // What a lifecycle holds that would go, where it is decided like this.
        let goes = |lifecycle: &Lifecycle, Redecision { desired, resource, .. }: &Redecision| {
            let gone = match desired {
                Redesired::Absent { .. } if lifecycle.inventory.is_empty() => {
                    return Going::of_key(&lifecycle.cluster, resource, holds(lifecycle));
                }
                Redesired::Absent { .. } => lifecycle.inventory.iter().collect(),
                Redesired::Present { event, .. } => match self.rules.trigger(&lifecycle.trigger) {
                    Some(trigger) => lost(log, projection, trigger, lifecycle, *event),
                    None => Vec::new(),
                },
                Redesired::Left => Vec::new(),
            };
            let gone = gone.into_iter().map(|holding| &holding.object);
            Going::of(&lifecycle.cluster, gone.filter(|object| !stays(&lifecycle.cluster, object)))
        };
        let mut resources = projection.resources_from(start.as_ref().map_or(Bound::Unbounded, Bound::Excluded));
        let mut steps = steps;
        let is_at_end = loop {
            if steps == 0 {
                break false;
            }
            steps -= 1;
            if let Some(walk) = &mut cursor.walk {
                let (is_over, bytes) = self.step(target, walk, log, &mut cursor.left_because)?;
                steps = steps.saturating_sub(bytes / STEP_BYTES);
                if is_over {
                    let walk = cursor.walk.take().expect("it was just walked");
                    let resource = projection.resource(&walk.key.source, &walk.key.subject).unwrap_or_default();
                    let differences = self.differences(projection, target, &walk, &resource, &mut cursor.left_because);
                    steps = steps.saturating_sub(turn.steps_of(&differences));
                    let waits = |cluster: &str| self.waits(log, projection, &target.trigger, &resource, cluster);
                    let whose = (&*target.trigger, &resource);
                    redecisions.extend(turn.pass(&holds, &goes, &waits, whose, differences, &mut cursor.waits_for));
                    cursor.pass(walk.key);
                }
                continue;
            }
            let Some((key, resource)) = resources.next() else { break true };
            steps = steps.saturating_sub((key.source.len() + key.subject.len()) / STEP_BYTES);
            let waits = |cluster: &str| self.waits(log, projection, &target.trigger, &resource, cluster);
            let whose = (&*target.trigger, &resource);
            if target.from.is_some_and(|from| resource.last_event < from) {
                turn.pass(&holds, &goes, &waits, whose, Vec::new(), &mut cursor.waits_for);
                cursor.pass(key);
            } else if target.digest.is_none() {
                let withdrawals = target.withdrawals(&key, &resource);
                // What the others want is rendered.
                if resource.lifecycles.len() > 1 {
                    steps = steps.saturating_sub(turn.steps_of(&withdrawals));
                }
                redecisions.extend(turn.pass(&holds, &goes, &waits, whose, withdrawals, &mut cursor.waits_for));
                cursor.pass(key);
            } else if key.is_list() {
                let differences = self.list_differences(projection, target, &key, &resource);
                steps = steps.saturating_sub(turn.steps_of(&differences));
                redecisions.extend(turn.pass(&holds, &goes, &waits, whose, differences, &mut cursor.waits_for));
                cursor.pass(key);
            } else if target.is_decided(projection, &resource) {
                turn.pass(&holds, &goes, &waits, whose, Vec::new(), &mut cursor.waits_for);
                cursor.pass(key);
            } else {
                let (next, first_event) = (Some(resource.last_record), resource.first_event);
                cursor.walk = Some(Walk { key, next, first_event, found: BTreeMap::new(), is_cut: false });
            }
        };
        match turn {
            Turn::Counting(count) if is_at_end => {
                // Where nothing is to be withdrawn there is no second turn.
                let is_none = count.withdrawal.objects == 0 && count.waiting == 0;
                turn = if is_none { Turn::Recording(Consent::Little) } else { Turn::Counted(count) };
            }
            // Meanwhile others came to be that may want something: it is counted again, and held.
            Turn::Recording(Consent::Little) if is_at_end && cursor.waits_for.is_some() => {
                (turn, cursor) = (Turn::Counting(Count::default()), Cursor::default());
            }
            Turn::Counting(_) | Turn::Counted(_) | Turn::Held | Turn::Recording(_) => {}
        }
        let is_last = is_at_end && !matches!(turn, Turn::Counting(_));
        let is_complete = is_last && matches!(turn, Turn::Recording(_)) && cursor.left_because.is_none();
        let is_news = is_complete || !redecisions.is_empty();
        let decided = target.count(projection, &redecisions);
        let fact = is_news.then(|| target.record(redecisions, is_complete));
        Ok(Some(Piece { fact, reached: cursor, turn, decided, is_last }))
    }

    /// Goes on behind a piece that is recorded.
    pub fn advance(&mut self, piece: Piece) {
        let Some(at) = self.next() else { return };
        let Piece { reached, turn, decided, is_last, .. } = piece;
        (self.targets[at].turn, self.targets[at].decided) = (turn, decided);
        if let Turn::Recording(_) = turn {
            self.targets[at].held = None;
        }
        if let Turn::Counted(_) = turn {
            self.targets[at].cursor = reached;
            self.settle_counts();
            return;
        }
        if is_last && reached.left_because.is_none() {
            let over = self.targets.remove(at).map(|target| ReplayedStatus {
                trigger: target.trigger.to_string(),
                resources: reached.resources,
                decided: decided.again,
                otherwise: decided.otherwise,
                number: 0,
            });
            self.over.extend(over);
            self.settle_counts();
            return;
        }
        if let (true, Some(reason)) = (is_last, &reached.left_because) {
            let trigger = &self.targets[at].trigger;
            warn!("{}", in_log(&warnings::left(trigger, reason)));
        }
        (self.targets[at].cursor, self.targets[at].is_stuck) = (reached, is_last);
        if is_last {
            self.settle_counts();
        }
    }

    /// Reads one record of a resource. True when no further one has to be read; and how many bytes it was.
    fn step<D: Disk>(
        &self,
        target: &Target,
        walk: &mut Walk,
        log: &Reader<D>,
        left_because: &mut Option<String>,
    ) -> Result<(bool, usize), lifeline_store::Error> {
        let is_known = self.rules.may_decide(&target.trigger, &walk.key.source, &walk.key.subject);
        let offset = match walk.next.filter(|_| is_known && !target.has_all(&walk.found)) {
            Some(offset) => offset,
            None => return Ok((true, 0)),
        };
        let record = match log.read(offset) {
            Ok(Some(record)) => record,
            Ok(None) => {
                walk.is_cut = true;
                return Ok((true, 0));
            }
            Err(error @ lifeline_store::Error::Damaged { .. }) => {
                walk.is_cut = true;
                left_because.get_or_insert_with(|| format!("the log is damaged: {error}"));
                return Ok((true, 0));
            }
            Err(error) => return Err(error),
        };
        let fact = match Fact::decode(&record.payload) {
            Ok(fact) => fact,
            Err(error) => {
                walk.is_cut = true;
                left_because
                    .get_or_insert_with(|| format!("record at offset `{offset}` cannot be understood: {error}"));
                return Ok((true, record.payload.len()));
            }
        };
        if let Fact::Event(event) = &fact
            && !walk.found.get(event.delivery.cluster).is_some_and(Found::is_over)
        {
            let EventReceived { delivery, source, subject, kind, headers, payload, .. } = event;
            let view = EventView { nats_subject: delivery.subject, source, kind, subject, headers, payload };
            let ruling = self.rules.decide_one(&target.trigger, &view, delivery.cluster, record.time_unix_nanos);
            let by = self.rules.trigger(&target.trigger).map(Trigger::order_by).unwrap_or_default();
            let precedence = || Precedence::of(by, event, record.time_unix_nanos);
            let desired = match ruling {
                Some(Ruling::Create) => Some(Desired::Present { event: offset }),
                Some(Ruling::Delete) => Some(Desired::Absent { event: Some(offset) }),
                Some(Ruling::Failed(reason)) => {
                    let is_trigger = |decision: &&Decision<'_>| *decision.trigger == *target.trigger;
                    let known = event.decisions.iter().find(is_trigger);
                    if known.is_some_and(|known| known.ruling.decides() && event.counts(known.trigger)) {
                        let found = walk.found.entry(delivery.cluster.into()).or_default();
                        found.fail(precedence(), reason.into_owned());
                    }
                    None
                }
                Some(Ruling::NoAction(_)) | None => None,
            };
            if let Some(desired) = desired {
                let found = walk.found.entry(delivery.cluster.into()).or_default();
                found.pass(by, precedence(), event.is_late(), desired);
            }
        }
        match fact.previous(&walk.key) {
            Some(previous) => {
                walk.next = previous.filter(|previous| *previous < offset);
                walk.is_cut = walk.next.is_none() && offset > walk.first_event;
            }
            // What was lost here may have decided, and cannot say what was before.
            None => (walk.next, walk.is_cut) = (None, true),
        }
        Ok((walk.next.is_none() || target.has_all(&walk.found), record.payload.len()))
    }

    /// Where what was found differs from the lifecycles as they are. A lifecycle that stays present is decided again as well:
    /// its templates may give something else now. A trigger of which a part is broken withdraws nothing: what no longer
    /// matches may match again once it is mended. A lifecycle stays as it is where the action fails now of an event that
    /// decided it: that is a mistake in the rule, mostly, and no wish to withdraw.
    fn differences(
        &self,
        projection: &Projection,
        target: &Target,
        walk: &Walk,
        resource: &Resource,
        left_because: &mut Option<String>,
    ) -> Vec<Redecision> {
        let is_uncertain = walk.is_cut || self.rules.trigger(&target.trigger).is_none_or(Trigger::is_degraded);
        let unmatched = match target.leaves {
            _ if is_uncertain => Unmatched::Keeps,
            true => Unmatched::Leaves,
            false => Unmatched::Withdraws,
        };
        let of_trigger = resource.lifecycles.iter().filter(|lifecycle| *lifecycle.trigger == *target.trigger);
        let known: BTreeMap<&str, &Lifecycle> = of_trigger.map(|one| (&*one.cluster, one)).collect();
        let clusters: BTreeSet<&str> =
            known.keys().copied().chain(walk.found.keys().map(|cluster| &**cluster)).collect();
        let mut redecisions = Vec::new();
        for cluster in clusters {
            let known = known.get(cluster).copied();
            if known.is_some_and(|known| target.has_decided(projection, known)) {
                continue;
            }
            let found = walk.found.get(cluster);
            let desired = match found.and_then(Found::failed).filter(|_| known.is_some()) {
                Some(reason) => {
                    left_because.get_or_insert_with(|| {
                        let ResourceKey { source, subject } = &walk.key;
                        format!("`cloudEventAction` fails for source `{source}`, subject `{subject}`: {reason}")
                    });
                    redesired(known, None, Unmatched::Keeps)
                }
                None => redesired(known, found.and_then(Found::desired), unmatched),
            };
            if let Some(desired) = desired {
                let (cluster, resource) = (cluster.into(), walk.key.clone());
                redecisions.push(Redecision { cluster, resource, desired, previous: None });
            }
        }
        redecisions
    }
}

#[cfg(test)]
mod tests;
