//! What a site knows of drift: which kinds are watched, what others did to objects, and what is fought over.
//!
//! Start at [`Drifts`]. The watch itself is a part of reconciliation.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_projections::fact::{Drift, ObjectKey};
use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::lifecycle::{Desired, Lifecycle};
use lifeline_store::Offset;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::fight::{Fights, Fought};
use crate::cluster::Kind;
use crate::status::{DriftStatus, FightStatus, UnwatchedStatus};

/// Fights that the status names at most. The count is of all.
const FIGHTS_SHOWN_MAX: usize = 20;

/// What the watch of a site and its workers tell each other, and operators.
#[derive(Default)]
pub(crate) struct Drifts {
    state: Mutex<State>,
    /// There is a new kind, or an outcome was recorded.
    changed: Notify,
}

/// Whose objects are to be looked at because somebody asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The trigger.
    pub trigger: String,
    /// Only those that an event from this offset on asked for.
    pub from: Option<Offset>,
}

impl Asked {
    /// Whether the objects of a lifecycle are among them.
    pub(crate) fn is_about(&self, lifecycle: &Lifecycle) -> bool {
        let Desired::Present { event } = lifecycle.desired else { return false };
        *lifecycle.trigger == *self.trigger && self.from.is_none_or(|from| event >= from)
    }
}

#[derive(Default)]
struct State {
    /// The kinds of objects that are to be watched, and why one is not at the moment.
    kinds: BTreeMap<Kind, Option<String>>,
    /// Kinds that the watch does not know of yet.
    new_kinds: BTreeSet<Kind>,
    /// Lifecycles of which an outcome was recorded since the watch asked.
    settled: BTreeSet<LifecycleIndex>,
    /// What somebody asked to put back, and the watch does not know of yet.
    asked: Vec<Asked>,
    /// Objects that are still to be looked at for it.
    asked_left: usize,
    fights: Fights,
    deleted: u64,
    changed: u64,
}

impl Drifts {
    /// Objects of these kinds are to be watched from now on.
    pub(crate) fn use_kinds(&self, kinds: impl Iterator<Item = Kind>) {
        let state = &mut *self.state.lock();
        let new: Vec<Kind> = kinds.filter(|kind| !state.kinds.contains_key(kind)).collect();
        if new.is_empty() {
            return;
        }
        state.kinds.extend(new.iter().map(|kind| (kind.clone(), None)));
        state.new_kinds.extend(new);
        self.changed.notify_one();
    }

    /// No object of a kind is to be watched any more.
    pub(crate) fn forget_kind(&self, kind: &Kind) {
        let state = &mut *self.state.lock();
        state.kinds.remove(kind);
        state.new_kinds.remove(kind);
    }

    /// An outcome of a lifecycle was recorded: what was seen of its objects before can be judged now.
    pub(crate) fn settled(&self, lifecycle: LifecycleIndex) {
        let state = &mut *self.state.lock();
        if !state.kinds.is_empty() && state.settled.insert(lifecycle) {
            self.changed.notify_one();
        }
    }

    /// The objects of a trigger are to be looked at, and put back where others changed or deleted them.
    pub(crate) fn ask(&self, asked: Asked) {
        let state = &mut *self.state.lock();
        state.asked.retain(|other| other.trigger != asked.trigger || other.from != asked.from);
        state.asked.push(asked);
        self.changed.notify_one();
    }

    /// What somebody asked to put back. It counts as left until [`Drifts::note_asked`] says how much it is.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        let state = &mut *self.state.lock();
        state.asked_left = state.asked_left.max(state.asked.len());
        std::mem::take(&mut state.asked)
    }

    /// Whether something is left of what somebody asked to put back.
    pub(crate) fn has_asked(&self) -> bool {
        self.state.lock().asked_left > 0
    }

    /// So many objects are left to look at.
    pub(crate) fn note_asked(&self, left: usize) {
        self.state.lock().asked_left = left;
    }

    /// Waits until there is something to take.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The kinds that are new, and the lifecycles of which an outcome was recorded.
    pub(crate) fn take(&self) -> (BTreeSet<Kind>, BTreeSet<LifecycleIndex>) {
        let state = &mut *self.state.lock();
        (std::mem::take(&mut state.new_kinds), std::mem::take(&mut state.settled))
    }

    /// Notes why a kind is not watched, or that it is. Says whether this is news.
    pub(crate) fn note_watch(&self, kind: &Kind, trouble: Option<String>) -> bool {
        let state = &mut *self.state.lock();
        let Some(known) = state.kinds.get_mut(kind) else { return false };
        let is_news = known.is_some() != trouble.is_some();
        *known = trouble;
        is_news
    }

    /// All kinds are watched from now on.
    pub(crate) fn forget_news(&self) {
        self.state.lock().new_kinds.clear();
    }

    /// The kinds that are to be watched.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.state.lock().kinds.keys().cloned().collect()
    }

    /// Counts a drift that was recorded.
    pub(crate) fn note(&self, object: &ObjectKey, drift: Drift, manager: Option<&str>) {
        let state = &mut *self.state.lock();
        match drift {
            Drift::Deleted => state.deleted += 1,
            Drift::Changed => state.changed += 1,
        }
        state.fights.note(object, manager, Instant::now());
    }

    /// Ends the fights over objects that nobody puts back any more.
    pub(crate) fn end_fights(&self, is_put_back: impl Fn(&ObjectKey) -> bool) {
        // Asked without the lock: the answer may wait for others.
        let fought: Vec<ObjectKey> = self.state.lock().fights.objects().cloned().collect();
        for object in fought.iter().filter(|object| !is_put_back(object)) {
            self.state.lock().fights.end(object);
        }
    }

    /// The fight because of which an object is not put back now.
    pub(crate) fn fight_over(&self, object: &ObjectKey) -> Option<Fought> {
        self.state.lock().fights.over(object, Instant::now())
    }

    /// For operators.
    pub(super) fn status(&self) -> DriftStatus {
        let state = &*self.state.lock();
        let unwatched = state
            .kinds
            .iter()
            .filter_map(|(kind, trouble)| Some(UnwatchedStatus { kind: kind.short(), because: trouble.clone()? }));
        let fights: Vec<Fought> = state.fights.all(Instant::now()).collect();
        let shown = fights.iter().take(FIGHTS_SHOWN_MAX).map(|Fought { object, manager, pause }| FightStatus {
            object: object.to_string(),
            manager: manager.clone(),
            pause_seconds: pause.as_secs(),
        });
        DriftStatus {
            watched_kinds: state.kinds.len(),
            deleted: state.deleted,
            changed: state.changed,
            fought: fights.len(),
            fights: shown.collect(),
            asked: state.asked_left + state.asked.len(),
            unwatched: unwatched.collect(),
        }
    }
}
