//! The lifecycles that wait for reconciliation: each at most once, none twice at a time.
//!
//! Start at [`Queue`]. A key pushed while it waits is not queued again, so a backlog of a thousand events about one
//! resource is one reconciliation; a key pushed while it runs runs once more afterwards. The queue holds keys, never
//! events: the worker that takes a key reads the current lifecycle. Whose turn it is among those that are ready is decided
//! in `lanes`.

mod lanes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifeline_projections::fold::LifecycleIndex;
use lifeline_store::Offset;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::lanes::Lanes;
pub use self::lanes::{Lane, Urgency};

/// The lifecycles that wait for a worker.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

/// Invariants: `ready` holds the keys that are [`Phase::Ready`], each in its lane; `pauses` those that are
/// [`Phase::Pausing`].
#[derive(Default)]
struct State {
    keys: BTreeMap<LifecycleIndex, Key>,
    /// In each lane in the order of arrival.
    ready: Lanes,
    /// By the end of the pause.
    pauses: BTreeSet<(Instant, LifecycleIndex)>,
}

/// A key that is not done.
struct Key {
    phase: Phase,
    lane: Lane,
    /// Failed attempts, and the decision they were for.
    attempts: Option<(Offset, u32)>,
    /// Failed attempts since the last push.
    since_push: u32,
}

/// How often an attempt has failed by now, each from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// Since the decision.
    pub of_decision: u32,
    /// Since the key was last pushed. A push says that something became different, so pauses grow from there.
    pub since_push: u32,
}

/// Where a key is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for a worker.
    Ready,
    /// A worker has it. With `again` it was pushed meanwhile, and runs once more.
    Running { again: bool },
    /// It waits for this moment, or for a push.
    Pausing { until: Instant },
    /// Nothing is tried: only a push makes it ready.
    Parked,
}

/// When a key is reconciled next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing is left to do.
    Done,
    /// It has to be tried again after this pause.
    RetryAfter(Duration),
    /// No attempt follows until the key is pushed again.
    Park,
}

impl Queue {
    /// Adds keys that need work now, each to its lane. A pause they are in ends. One that waits in a more urgent lane stays
    /// there.
    pub fn push_into(&self, keys: impl IntoIterator<Item = (LifecycleIndex, Lane)>) {
        let mut state = self.state.lock();
        for (key, lane) in keys {
            state.push(key, Some(lane));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The same, each to the lane that it had before.
    pub fn push(&self, keys: impl IntoIterator<Item = LifecycleIndex>) {
        let mut state = self.state.lock();
        for key in keys {
            state.push(key, None);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Ends the pauses of keys. This is no push: nothing became different, so what is counted since the last one goes
    /// on.
    pub fn wake(&self, keys: impl IntoIterator<Item = LifecycleIndex>) {
        let mut state = self.state.lock();
        for key in keys {
            state.make_ready(key);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Takes the next key. Waits until there is one. [`Queue::finish`] has to follow.
    pub async fn next(&self) -> LifecycleIndex {
        loop {
            let changed = self.changed.notified();
            let due = {
                let mut state = self.state.lock();
                state.wake(Instant::now());
                if let Some(key) = state.take() {
                    return key;
                }
                state.pauses.first().map(|(moment, _)| *moment)
            };
            match due {
                Some(moment) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = tokio::time::sleep_until(moment) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Says how the reconciliation of a key that [`Queue::next`] gave has ended.
    pub fn finish(&self, key: LifecycleIndex, next: Next) {
        let mut state = self.state.lock();
        state.finish(key, next);
        drop(state);
        self.changed.notify_one();
    }

    /// Counts a failed attempt for a decision. `recorded` of them are known from before the start.
    pub fn count_attempt(&self, key: LifecycleIndex, decided: Offset, recorded: u32) -> Attempts {
        let mut state = self.state.lock();
        let Some(key) = state.keys.get_mut(&key) else {
            return Attempts { of_decision: recorded.saturating_add(1), since_push: 1 };
        };
        let before = match key.attempts {
            Some((counted_for, attempts)) if counted_for == decided => attempts,
            Some(_) => 0,
            None => recorded,
        };
        let of_decision = before.saturating_add(1);
        key.attempts = Some((decided, of_decision));
        key.since_push = key.since_push.saturating_add(1);
        Attempts { of_decision, since_push: key.since_push }
    }

    /// Whether a worker has a key.
    pub fn is_running(&self, key: LifecycleIndex) -> bool {
        self.state.lock().keys.get(&key).is_some_and(|key| matches!(key.phase, Phase::Running { .. }))
    }

    /// How many keys are not done.
    pub fn len(&self) -> usize {
        self.state.lock().keys.len()
    }

    /// Whether all keys are done.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every key that is not done: waiting, running, pausing or parked.
    pub fn open(&self) -> BTreeSet<LifecycleIndex> {
        self.state.lock().keys.keys().copied().collect()
    }
}

impl State {
    fn push(&mut self, key: LifecycleIndex, lane: Option<Lane>) {
        let new = Key { phase: Phase::Parked, lane: Lane::default(), attempts: None, since_push: 0 };
        let known = self.keys.entry(key).or_insert(new);
        known.since_push = 0;
        let lane = lane.unwrap_or(known.lane);
        if known.phase != Phase::Ready {
            known.lane = lane;
            self.make_ready(key);
        } else if lane.urgency < known.lane.urgency {
            known.lane = lane;
            self.ready.add(lane, key);
        }
    }

    fn make_ready(&mut self, key: LifecycleIndex) {
        let Some(Key { phase, lane, .. }) = self.keys.get_mut(&key) else { return };
        match phase {
            Phase::Ready => return,
            Phase::Running { again } => {
                *again = true;
                return;
            }
            Phase::Pausing { until } => _ = self.pauses.remove(&(*until, key)),
            Phase::Parked => {}
        }
        *phase = Phase::Ready;
        self.ready.add(*lane, key);
    }

    fn take(&mut self) -> Option<LifecycleIndex> {
        let keys = &self.keys;
        let waits = |lane: Lane, key: LifecycleIndex| {
            keys.get(&key).is_some_and(|known| known.phase == Phase::Ready && known.lane == lane)
        };
        let key = self.ready.take(waits)?;
        self.keys.get_mut(&key).expect("what is ready is not done").phase = Phase::Running { again: false };
        Some(key)
    }

    fn finish(&mut self, key: LifecycleIndex, next: Next) {
        let Some(Key { phase, lane, .. }) = self.keys.get_mut(&key) else { return };
        let again = *phase == Phase::Running { again: true };
        match next {
            _ if again => {
                *phase = Phase::Ready;
                self.ready.add(*lane, key);
            }
            Next::Done => _ = self.keys.remove(&key),
            Next::RetryAfter(pause) => {
                let until = Instant::now() + pause;
                *phase = Phase::Pausing { until };
                self.pauses.insert((until, key));
            }
            Next::Park => *phase = Phase::Parked,
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some((_, key)) = self.pauses.first().copied().filter(|(moment, _)| *moment <= now) {
            self.make_ready(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(resource: u32) -> LifecycleIndex {
        LifecycleIndex { resource, slot: 0 }
    }

    async fn next_at_once(queue: &Queue) -> Option<u32> {
        tokio::time::timeout(Duration::ZERO, queue.next()).await.ok().map(|key| key.resource)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_runs_once_more_when_pushed_while_running() {
        let queue = Queue::default();
        queue.push([key(1), key(2), key(1)]);
        assert_eq!(next_at_once(&queue).await, Some(1));
        queue.push([key(1), key(1)]);
        assert_eq!(next_at_once(&queue).await, Some(2));
        assert_eq!(next_at_once(&queue).await, None, "1 is running");
        queue.finish(key(1), Next::RetryAfter(Duration::from_secs(9)));
        assert_eq!(next_at_once(&queue).await, Some(1), "the push outweighs the pause");
        queue.finish(key(1), Next::Done);
        queue.finish(key(2), Next::Done);
        assert_eq!(next_at_once(&queue).await, None);
        assert!(queue.open().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_becomes_urgent_overtakes_and_comes_once() {
        let queue = Queue::default();
        let lane = |urgency| Lane { urgency, trigger: 1 };
        queue.push_into([1, 2, 3].map(|resource| (key(resource), lane(Urgency::Replayed))));
        queue.push_into([(key(3), lane(Urgency::Removal)), (key(2), lane(Urgency::Fresh))]);
        queue.push_into([(key(3), lane(Urgency::Replayed))]);
        for expected in [Some(3), Some(2), Some(1), None] {
            assert_eq!(next_at_once(&queue).await, expected);
        }
        // A retry keeps its lane.
        queue.finish(key(1), Next::RetryAfter(Duration::ZERO));
        queue.push_into([(key(4), lane(Urgency::Fresh))]);
        assert_eq!(queue.next().await, key(4));
        assert_eq!(queue.next().await, key(1));
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_counted_since_the_decision_and_since_the_last_push() {
        let queue = Queue::default();
        let decided = Offset::new(7);
        queue.push([key(1)]);
        let fail = async |expected: (u32, u32)| {
            let Attempts { of_decision, since_push } = queue.count_attempt(queue.next().await, decided, 2);
            assert_eq!((of_decision, since_push), expected);
            queue.finish(key(1), Next::RetryAfter(Duration::from_secs(1)));
        };
        fail((3, 1)).await;
        fail((4, 2)).await;
        queue.push([key(1)]);
        fail((5, 1)).await;
        fail((6, 2)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_by_itself_or_by_a_push_and_a_parked_key_only_by_a_push() {
        let queue = Queue::default();
        for resource in [1, 2, 3] {
            queue.push([key(resource)]);
            queue.next().await;
        }
        queue.finish(key(1), Next::RetryAfter(Duration::from_secs(5)));
        queue.finish(key(2), Next::RetryAfter(Duration::from_secs(60)));
        queue.finish(key(3), Next::Park);
        assert_eq!(queue.open().len(), 3);
        queue.push([key(2)]);
        assert_eq!(queue.next().await, key(2));
        let before = Instant::now();
        assert_eq!(queue.next().await, key(1));
        assert_eq!(before.elapsed().as_secs(), 5);
        queue.push([key(3)]);
        assert_eq!(queue.next().await, key(3));
    }
}
