//! A replay, one piece after the other.
//!
//! Start at [`Replay::piece`]. A resource is read first, then it is finished: what becomes of its lifecycles is decided, and what
//! would go is counted or recorded. Where that needs texts that are not known yet, the resource waits in [`Cursor::read`], others
//! are read as long as there is room, and the piece asks for the texts: see [`super::texts`]. The list of a trigger is made of
//! its keys, so it comes after them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use lifeline_projections::fact::{LifecycleKey, ObjectKey, Redecision, Redesired, ResourceKey, TriggerReplayed};
use lifeline_projections::fold::{Projection, Resource};
use lifeline_projections::lifecycle::Lifecycle;
use lifeline_store::{Disk, Reader};
use tracing::warn;

use super::Replay;
use super::content::{fails, lost};
use super::cursor::{Cursor, Read, Walk};
use super::target::{Decided, Target};
use super::texts::{Answers, Known, QUESTIONS_MAX, Questions, key_digest};
use super::turn::{Consent, Count, Going, Measures, Turn};
use crate::rules::Trigger;
use crate::size::Size;
use crate::status::ReplayedStatus;
use crate::warnings;

/// A record counts as one more step for each of these bytes: templates may parse all of them.
const STEP_BYTES: usize = 4 << 10;

/// What one piece of a replay comes to.
#[derive(Debug)]
pub struct Piece {
    fact: Option<TriggerReplayed>,
    reached: Reached,
    decided: Decided,
    is_last: bool,
    questions: Option<Questions>,
}

impl Piece {
    /// What has to be recorded before the replay may go on.
    pub fn take_fact(&mut self) -> Option<TriggerReplayed> {
        self.fact.take()
    }
}

/// Where a piece comes to.
#[derive(Debug)]
struct Reached {
    turn: Turn,
    cursor: Cursor,
    redecisions: Vec<Redecision>,
    /// Keys of the list that go in the next turn, as [`key_digest`] names them.
    leaving: Vec<u64>,
}

/// What a piece is made of.
struct Making<'a> {
    replay: &'a Replay,
    target: &'a Target,
    projection: &'a Projection,
    known: Known<'a>,
    /// Whether others take over all objects of the list, by cluster, as far as was asked.
    is_taken_over: RefCell<BTreeMap<Box<str>, bool>>,
}

/// A resource that is finished.
struct Finishing<'a> {
    making: &'a Making<'a>,
    key: &'a ResourceKey,
    resource: &'a Resource,
}

impl Replay {
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
        let known = Known::new(&self.rules, projection, &self.answers);
        let making = Making { replay: self, target, projection, known, is_taken_over: RefCell::default() };
        let (turn, cursor) = (target.turn, target.cursor.clone());
        let mut at = Reached { turn, cursor, redecisions: Vec::new(), leaving: Vec::new() };
        let start = at.cursor.last_read().cloned();
        let mut resources = projection.resources_from(start.as_ref().map_or(Bound::Unbounded, Bound::Excluded));
        let mut steps = steps;
        // So many of those that are read were looked at in this piece, and wait on.
        let mut waiting = 0;
        let is_at_end = loop {
            if steps == 0 || making.known.asked() >= QUESTIONS_MAX {
                break false;
            }
            steps -= 1;
            // Those that wait come before new ones, all of them: an answer that no piece uses is forgotten.
            if let Some(read) = at.cursor.read.remove(waiting) {
                let resource = projection.resource(&read.key.source, &read.key.subject).unwrap_or_default();
                if let Some(lacks) = making.finish(&mut at, read, &resource) {
                    at.cursor.read.insert(waiting, lacks);
                    waiting += 1;
                }
                continue;
            }
            let (read, resource) = if let Some(walk) = &mut at.cursor.walk {
                let (is_over, bytes) = self.step(target, walk, log, &mut at.cursor.left_because)?;
                steps = steps.saturating_sub(bytes / STEP_BYTES);
                let Some(walk) = at.cursor.walk.take_if(|_| is_over) else { continue };
                let resource = projection.resource(&walk.key.source, &walk.key.subject).unwrap_or_default();
                (Read { key: walk.key.clone(), walk: Some(walk) }, resource)
            } else if let Some((key, resource)) = resources.next() {
                steps = steps.saturating_sub((key.source.len() + key.subject.len()) / STEP_BYTES);
                if target.has_to_walk(projection, &key, &resource) {
                    let (next, first_event) = (Some(resource.last_record), resource.first_event);
                    at.cursor.walk = Some(Walk { key, next, first_event, found: BTreeMap::new(), is_cut: false });
                    continue;
                }
                if target.makes_last(&key) {
                    at.cursor.pass(key);
                    continue;
                }
                (Read { key, walk: None }, resource)
            } else {
                break at.cursor.read.is_empty() && making.finish_list(&mut at);
            };
            if let Some(lacks) = making.finish(&mut at, read, &resource) {
                at.cursor.read.push_back(lacks);
                waiting += 1;
            }
        };
        match at.turn {
            Turn::Counting(count) if is_at_end => {
                // Where nothing is to be withdrawn there is no second turn.
                let is_none = count.goes().is_none() && count.waiting.is_none();
                at.turn = if is_none { Turn::Recording(Consent::Little) } else { Turn::Counted(count) };
            }
            // Meanwhile others came to be that may want something: it is counted again, and held.
            Turn::Recording(Consent::Little) if is_at_end && at.cursor.waits_for.is_some() => {
                (at.turn, at.cursor) = (Turn::Counting(Count::default()), Cursor::default());
            }
            Turn::Counting(_) | Turn::Counted(_) | Turn::Held | Turn::Recording(_) => {}
        }
        let is_last = is_at_end && !matches!(at.turn, Turn::Counting(_));
        let is_complete = is_last && matches!(at.turn, Turn::Recording(_)) && at.cursor.left_because.is_none();
        let redecisions = std::mem::take(&mut at.redecisions);
        let is_news = is_complete || !redecisions.is_empty();
        let decided = target.count(projection, &redecisions);
        let fact = is_news.then(|| target.record(redecisions, is_complete));
        let questions = making.known.questions();
        Ok(Some(Piece { fact, reached: at, decided, is_last, questions }))
    }

    /// Goes on behind a piece that is recorded. Where it gives questions, [`Replay::answer`] is to be called before the next
    /// piece.
    #[must_use]
    pub fn advance(&mut self, piece: Piece) -> Option<Questions> {
        let at = self.next()?;
        let Piece { reached: Reached { turn, cursor, leaving, .. }, decided, is_last, questions, .. } = piece;
        let target = &mut self.targets[at];
        if let (Turn::Recording(_), Turn::Counting(_)) = (target.turn, turn) {
            target.begin_counting();
        }
        if !leaving.is_empty() {
            Arc::make_mut(&mut target.leaving).extend(leaving);
        }
        let questions = questions.map(|questions| questions.without(&target.leaving));
        questions.iter().for_each(|questions| self.answers.keep_used(questions));
        (target.turn, target.decided) = (turn, decided);
        if let Turn::Recording(_) = turn {
            target.held = None;
        }
        if let Turn::Counted(_) = turn {
            target.cursor = cursor;
            self.settle_counts();
            return questions;
        }
        if is_last && cursor.left_because.is_none() {
            let over = self.targets.remove(at).map(|target| ReplayedStatus {
                trigger: target.trigger.to_string(),
                resources: cursor.resources,
                decided: decided.again,
                otherwise: decided.otherwise,
                number: 0,
            });
            self.over.extend(over);
            self.settle_counts();
            return questions;
        }
        if let (true, Some(reason)) = (is_last, &cursor.left_because) {
            warn!("{}", warnings::left(&target.trigger, reason));
        }
        (target.cursor, target.is_stuck) = (cursor, is_last);
        if is_last {
            self.settle_counts();
        }
        questions
    }

    /// Takes in what was asked.
    pub fn answer(&mut self, answers: Answers) {
        self.answers.take(answers);
    }
}

impl Making<'_> {
    /// Finishes a resource that is read. Gives it back where texts are not known that it needs, or one before it.
    fn finish(&self, at: &mut Reached, read: Read, resource: &Resource) -> Option<Read> {
        let Read { key, walk } = &read;
        let differences = self.differences(key, resource, walk.as_ref(), &mut at.cursor.left_because);
        let absent = |one: &&Redecision| matches!(one.desired, Redesired::Absent { .. }) && !key.is_list();
        let list = self.replay.rules.trigger(&self.target.trigger).filter(|trigger| trigger.gathers());
        let of_list = list.map_or(&[][..], |_| &differences);
        let goes: Vec<u64> = of_list.iter().filter(absent).map(|one| key_digest(&one.cluster, key)).collect();
        let (mut turn, mut waits_for) = (at.turn, at.cursor.waits_for.clone());
        let finishing = Finishing { making: self, key, resource };
        let kept = turn.pass(&finishing, (&self.target.trigger, resource), differences, &mut waits_for);
        if self.known.asked() > 0 {
            return Some(read);
        }
        let gone: Vec<u64> = kept.iter().filter(absent).map(|one| key_digest(&one.cluster, key)).collect();
        at.leaving.extend(goes.into_iter().filter(|one| !gone.contains(one)));
        (at.turn, at.cursor.waits_for) = (turn, waits_for);
        at.redecisions.extend(kept);
        if !self.target.makes_last(key) {
            at.cursor.pass(read.key);
        }
        None
    }

    /// Finishes the list of the trigger, once its keys are. False where its texts are not known yet.
    fn finish_list(&self, at: &mut Reached) -> bool {
        let key = ResourceKey::of_list(&self.target.trigger);
        let is_done = at.cursor.is_list_done || !self.target.makes_last(&key);
        let resource = self.projection.resource(&key.source, &key.subject).filter(|_| !is_done);
        let lacks = resource.and_then(|resource| self.finish(at, Read { key, walk: None }, &resource));
        at.cursor.is_list_done = lacks.is_none();
        lacks.is_none()
    }

    /// What becomes of the lifecycles of a resource.
    fn differences(
        &self,
        key: &ResourceKey,
        resource: &Resource,
        walk: Option<&Walk>,
        left_because: &mut Option<String>,
    ) -> Vec<Redecision> {
        let Making { replay, target, projection, .. } = self;
        match walk {
            Some(walk) => replay.differences(projection, target, walk, resource, left_because),
            None if target.is_left_out(resource) => Vec::new(),
            None if target.digest.is_none() => target.withdrawals(key, resource),
            None if key.is_list() => replay.list_differences(projection, target, key, resource),
            None => Vec::new(),
        }
    }

    /// Whether an object stays, for somebody goes on wanting it.
    fn stays(&self, cluster: &str, object: &ObjectKey) -> bool {
        let claims = self.projection.claims(cluster, object);
        claims.iter().any(|claim| self.replay.stays(self.projection, claim))
    }

    /// Whether the trigger is gone, and others take over all objects of its list: then the keys change hands with it.
    fn list_is_taken_over(&self, cluster: &str) -> bool {
        if self.target.digest.is_some() {
            return false;
        }
        if let Some(known) = self.is_taken_over.borrow().get(cluster) {
            return *known;
        }
        let trigger = &*self.target.trigger;
        let resource = ResourceKey::of_list(trigger);
        let key = LifecycleKey { trigger: trigger.into(), cluster: cluster.into(), resource };
        let list = self.projection.lifecycle_index(&key).map(|index| self.projection.lifecycle(index).1);
        let is_taken_over = list.is_some_and(|list| {
            !list.inventory.is_empty() && list.inventory.iter().all(|holding| self.stays(cluster, &holding.object))
        });
        self.is_taken_over.borrow_mut().insert(cluster.into(), is_taken_over);
        is_taken_over
    }
}

impl Measures for Finishing<'_> {
    fn size(&self, lifecycle: &Lifecycle) -> Size {
        Size::of(self.making.projection, lifecycle, self.key.is_list())
    }

    fn goes(&self, lifecycle: &Lifecycle, redecision: &Redecision) -> Going {
        let making = self.making;
        let (cluster, trigger) = (&*lifecycle.cluster, making.replay.rules.trigger(&lifecycle.trigger));
        let (gone, is_key) = match (redecision.desired, trigger) {
            (Redesired::Absent { .. }, _) => {
                let is_key = self.size(lifecycle).keys > 0 && !making.list_is_taken_over(cluster);
                (lifecycle.inventory.iter().collect(), is_key)
            }
            (Redesired::Present { event, .. }, Some(trigger)) => {
                (lost(&making.known, trigger, lifecycle, event), false)
            }
            (Redesired::Present { .. }, None) | (Redesired::Left, _) => (Vec::new(), false),
        };
        let gone = gone.into_iter().map(|holding| &holding.object);
        let objects = Going::of(cluster, gone.filter(|object| !making.stays(cluster, object)));
        if is_key { objects.and(Going::of_key(cluster, self.key)) } else { objects }
    }

    fn waits(&self, cluster: &str) -> Option<String> {
        let making = self.making;
        let fails = |trigger: &Trigger, event| fails(&making.known, trigger, cluster, event);
        making.replay.waits(&fails, &making.target.trigger, self.resource, cluster)
    }
}
