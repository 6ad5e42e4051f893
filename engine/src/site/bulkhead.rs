//! The bulkhead of a site: calls of one sort that are not answered take no workers from the others.
//!
//! Start at [`Bulkhead::call`]. A webhook, an aggregated API or a conversion may hang for one kind of object while the
//! rest of the cluster is well. The breaker rightly stays closed then. So for each sort of call, a verb and a kind:
//!
//! - A call that waits for longer than [`PATIENCE`] is detached: it goes on, and another lifecycle begins in its
//!   place.
//! - At most [`PLACES`] calls are under way at once.
//! - When [`UNANSWERED_MAX`] in a row found the cluster unavailable after that patience, the sort is held back: it has
//!   [`PLACES_HELD_BACK`] until calls are answered again.
//!
//! A lifecycle that finds no place gives its worker back. It is woken through the queue, in the order of arrival.
//!
//! Never here: what is recorded about it. A fixed share of the workers for each kind was refused: it slows down the
//! common case, many objects of one kind on a cluster that is well.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lifeline_projections::fold::LifecycleIndex;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::WORKERS;
use crate::cluster::{Error, ObjectKey};
use crate::queue::Queue;
use crate::status::HeldBackStatus;

/// How long a call counts as a worker. An API server that is well answers within a tenth of this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Calls of one sort that are under way at once at most: as many as there are workers, so a sort that is answered
/// never waits.
const PLACES: usize = WORKERS;

/// The same while a sort is held back. Each of these calls costs the cluster a connection for as long as the timeout.
/// A few are needed, because the first ones may be about objects that hang while others do not.
const PLACES_HELD_BACK: usize = 8;

/// Calls in a row without an answer in time that begin it: more than one lost request, fewer than open the breaker.
const UNANSWERED_MAX: u32 = 3;

/// Workers that calls which were detached leave to others at most, whatever their sort. So at most eight times [`WORKERS`]
/// lifecycles are at work at once, beside those that wait for the log ([`super::at_log`]): it bounds what is sent to a cluster
/// that does not answer at all, before the breaker opens. So many sorts may hang at once before the others wait, for a timeout
/// at most: then each has few places.
const FREED_WORKERS_MAX: usize = 7 * WORKERS;

/// A lifecycle that waits is tried again after this long even if nothing wakes it: those before it may not have used
/// their places.
const PAUSE_MIN: Duration = Duration::from_secs(60);

/// So many times this where many wait, so that all of them together try a hundred times a second at most.
const PAUSE_EACH: Duration = Duration::from_millis(10);

/// A sort that is held back and not called for this long is forgotten: nothing may want such objects any more.
const UNUSED_MAX: Duration = Duration::from_secs(300);

/// A sort of calls: those that hang together. A webhook hangs for one verb, while reading is answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sort {
    verb: &'static str,
    /// The group and kind; for discovery the group and version.
    kind: String,
}

/// The calls of one site.
pub(super) struct Bulkhead {
    cluster: Arc<str>,
    state: Mutex<State>,
    /// A call was detached.
    changed: Notify,
}

#[derive(Default)]
struct State {
    sorts: BTreeMap<Sort, Calls>,
    detached: usize,
}

/// The calls of one sort.
struct Calls {
    under_way: usize,
    /// When one began or ended last.
    used: Instant,
    health: Health,
    waiting: Waiting,
}

/// Whether the calls of a sort are answered, as far as the last of them show.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    /// They go on. The last so many had no answer in time.
    Answered { unanswered: u32 },
    /// Few are begun.
    HeldBack {
        /// How many may be under way.
        places: usize,
        since: Instant,
        /// What the last one without an answer said.
        because: String,
    },
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended<'m> {
    /// With any answer, a refusal too, however late.
    Answered,
    /// It found the cluster unavailable, at once. This says neither that such calls hang nor that they do not.
    Refused,
    /// It found the cluster unavailable after it was detached.
    Unanswered(&'m str),
}

/// The lifecycles that found no place, each once, in the order of arrival.
#[derive(Default)]
struct Waiting {
    /// May hold some that wait no more.
    order: VecDeque<LifecycleIndex>,
    lifecycles: HashSet<LifecycleIndex>,
}

impl Sort {
    /// Calls of a verb about objects of the same kind.
    pub(crate) fn of(verb: &'static str, object: &ObjectKey) -> Sort {
        let ObjectKey { group, kind, .. } = object;
        let kind = if group.is_empty() { kind.to_string() } else { format!("{group} {kind}") };
        Sort { verb, kind }
    }

    /// Calls that ask which kinds there are in the group and version of a manifest.
    pub(crate) fn discovery(manifest: &Value) -> Sort {
        Sort { verb: "discover", kind: manifest["apiVersion"].as_str().unwrap_or_default().to_owned() }
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}` of {}", self.verb, self.kind)
    }
}

impl Bulkhead {
    pub(super) fn new(cluster: Arc<str>) -> Bulkhead {
        Bulkhead { cluster, state: Mutex::default(), changed: Notify::new() }
    }

    /// Makes a call for a lifecycle. Where it finds no place, the queue wakes the lifecycle when there is one.
    ///
    /// # Errors
    /// There is no place: when the lifecycle is to be tried again at the latest.
    pub(super) async fn call<T>(
        &self,
        sort: &Sort,
        queue: &Queue,
        lifecycle: LifecycleIndex,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, Duration> {
        let (entered, forgotten) = {
            let (mut state, now) = (self.state.lock(), Instant::now());
            let forgotten = state.forget_unused(now);
            (state.enter(sort, lifecycle, now), forgotten)
        };
        for sort in forgotten {
            info!(cluster = %self.cluster, "{sort} is not asked for any more, and no longer held back");
        }
        entered?;
        let place = UnderWay { bulkhead: self, queue, sort };
        let mut call = pin!(call);
        let called = match timeout(PATIENCE, &mut call).await {
            Ok(called) => {
                place.note(Ended::of(&called, false));
                called
            }
            Err(_) => {
                let detached = Detached::new(self);
                let called = call.await;
                drop(detached);
                place.note(Ended::of(&called, true));
                called
            }
        };
        Ok(called)
    }

    /// How many lifecycles may be begun beyond the number of workers.
    pub(super) fn detached(&self) -> usize {
        self.state.lock().detached.min(FREED_WORKERS_MAX)
    }

    /// Waits until another call is detached.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is held back, sorted.
    pub(super) fn status(&self) -> Vec<HeldBackStatus> {
        let (state, now) = (self.state.lock(), Instant::now());
        let held_back = state.sorts.iter().filter_map(|(sort, calls)| match &calls.health {
            Health::Answered { .. } => None,
            _ if calls.is_unused(now) => None,
            Health::HeldBack { since, because, .. } => Some(HeldBackStatus {
                kind: sort.kind.clone(),
                verb: sort.verb.to_owned(),
                seconds: now.duration_since(*since).as_secs(),
                waiting: calls.waiting.lifecycles.len(),
                because: because.clone(),
            }),
        });
        held_back.collect()
    }
}

/// A call under way. Its place is free when this is dropped.
struct UnderWay<'a> {
    bulkhead: &'a Bulkhead,
    queue: &'a Queue,
    sort: &'a Sort,
}

impl UnderWay<'_> {
    /// Takes in how the call ended. The beginning and the end of holding back are logged, once each.
    fn note(&self, ended: Ended<'_>) {
        let (was_held_back, is_held_back) = {
            let mut state = self.bulkhead.state.lock();
            let Some(calls) = state.sorts.get_mut(self.sort) else { return };
            let after = calls.health.after(ended, Instant::now(), !calls.waiting.lifecycles.is_empty());
            let before = std::mem::replace(&mut calls.health, after);
            (before.is_held_back(), calls.health.is_held_back())
        };
        let (cluster, sort) = (&self.bulkhead.cluster, self.sort);
        match (was_held_back, is_held_back, ended) {
            (false, true, Ended::Unanswered(because)) => {
                warn!(
                    %cluster,
                    "the cluster does not answer {sort} in time: held back, {PLACES_HELD_BACK} calls at once: {because}"
                );
            }
            (true, false, _) => info!(%cluster, "{sort} is answered again, and no longer held back"),
            _ => {}
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let next = self.bulkhead.state.lock().leave(self.sort, Instant::now());
        if !next.is_empty() {
            self.queue.wake(next);
        }
    }
}

/// A call that does not count as a worker any more, until this is dropped.
struct Detached<'a>(&'a Bulkhead);

impl Detached<'_> {
    fn new(bulkhead: &Bulkhead) -> Detached<'_> {
        bulkhead.state.lock().detached += 1;
        bulkhead.changed.notify_one();
        Detached(bulkhead)
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        self.0.state.lock().detached -= 1;
    }
}

impl State {
    /// Takes a place for a lifecycle, or has it wait for one: then when it is to be tried again at the latest.
    fn enter(&mut self, sort: &Sort, lifecycle: LifecycleIndex, now: Instant) -> Result<(), Duration> {
        if !self.sorts.contains_key(sort) {
            self.sorts.insert(sort.clone(), Calls::new(now));
        }
        let calls = self.sorts.get_mut(sort).expect("it was just put there");
        if calls.under_way >= calls.health.places() {
            calls.waiting.add(lifecycle);
            let waiting = u32::try_from(calls.waiting.lifecycles.len()).unwrap_or(u32::MAX);
            return Err(PAUSE_MIN.max(PAUSE_EACH * waiting));
        }
        calls.under_way += 1;
        calls.used = now;
        calls.waiting.lifecycles.remove(&lifecycle);
        Ok(())
    }

    /// Gives a place back; the lifecycles that may try now. One of them may not need the place any more, so as many
    /// are given as places are free, each time.
    fn leave(&mut self, sort: &Sort, now: Instant) -> Vec<LifecycleIndex> {
        let Some(calls) = self.sorts.get_mut(sort) else { return Vec::new() };
        calls.under_way -= 1;
        calls.used = now;
        let free = calls.health.places().saturating_sub(calls.under_way);
        let next = calls.waiting.take(free);
        if calls.under_way == 0 && calls.waiting.lifecycles.is_empty() && calls.health == Health::default() {
            self.sorts.remove(sort);
        }
        next
    }

    /// Forgets the sorts that are not used any more; those of them that were held back.
    fn forget_unused(&mut self, now: Instant) -> Vec<Sort> {
        let mut forgotten = Vec::new();
        self.sorts.retain(|sort, calls| {
            let is_unused = calls.is_unused(now);
            if is_unused && calls.health.is_held_back() {
                forgotten.push(sort.clone());
            }
            !is_unused
        });
        forgotten
    }
}

impl Calls {
    fn new(now: Instant) -> Calls {
        Calls { under_way: 0, used: now, health: Health::default(), waiting: Waiting::default() }
    }

    /// Whether nobody has called for long.
    fn is_unused(&self, now: Instant) -> bool {
        self.under_way == 0 && now.duration_since(self.used) > UNUSED_MAX
    }
}

impl Waiting {
    fn add(&mut self, lifecycle: LifecycleIndex) {
        if self.lifecycles.insert(lifecycle) {
            self.order.push_back(lifecycle);
        }
    }

    fn take(&mut self, count: usize) -> Vec<LifecycleIndex> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(next) = self.order.pop_front()
        {
            if self.lifecycles.remove(&next) {
                taken.push(next);
            }
        }
        taken
    }
}

impl Default for Health {
    fn default() -> Health {
        Health::Answered { unanswered: 0 }
    }
}

impl Health {
    /// How many calls may be under way.
    fn places(&self) -> usize {
        match self {
            Health::Answered { .. } => PLACES,
            Health::HeldBack { places, .. } => *places,
        }
    }

    fn is_held_back(&self) -> bool {
        matches!(self, Health::HeldBack { .. })
    }

    /// The health after a call ended. Each answer gives one more place, so the calls double with each round of
    /// answers. One answer does not end it at once while lifecycles wait: where a part of the calls hangs, it would
    /// begin again and again.
    fn after(&self, ended: Ended<'_>, now: Instant, is_awaited: bool) -> Health {
        match (self, ended) {
            (_, Ended::Refused) => self.clone(),
            (Health::Answered { .. }, Ended::Answered) => Health::default(),
            (Health::Answered { unanswered }, Ended::Unanswered(_)) if unanswered + 1 < UNANSWERED_MAX => {
                Health::Answered { unanswered: unanswered + 1 }
            }
            (Health::Answered { .. }, Ended::Unanswered(because)) => {
                Health::HeldBack { places: PLACES_HELD_BACK, since: now, because: because.to_owned() }
            }
            (Health::HeldBack { since, .. }, Ended::Unanswered(because)) => {
                Health::HeldBack { places: PLACES_HELD_BACK, since: *since, because: because.to_owned() }
            }
            (Health::HeldBack { places, since, because }, Ended::Answered) if is_awaited && places + 1 < PLACES => {
                Health::HeldBack { places: places + 1, since: *since, because: because.clone() }
            }
            (Health::HeldBack { .. }, Ended::Answered) => Health::default(),
        }
    }
}

impl Ended<'_> {
    fn of<T>(called: &Result<T, Error>, was_set_aside: bool) -> Ended<'_> {
        match called {
            Err(Error::Unavailable { message, .. }) if was_set_aside => Ended::Unanswered(message),
            Err(Error::Unavailable { .. }) => Ended::Refused,
            Ok(_) | Err(_) => Ended::Answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(resource: u32) -> LifecycleIndex {
        LifecycleIndex { resource, slot: 0 }
    }

    fn sort() -> Sort {
        Sort { verb: "apply", kind: "Secret".to_owned() }
    }

    #[test]
    fn calls_without_an_answer_hold_a_sort_back_and_answers_end_it_step_by_step() {
        use Ended::{Answered, Refused, Unanswered};
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let answered = |unanswered| Health::Answered { unanswered };
        let held = |places, because: &str| Health::HeldBack { places, since: at(5), because: because.to_owned() };
        let check = |before: Health, ended: Ended<'_>, is_awaited: bool, expected: Health| {
            // What is held back already stays so since its beginning.
            let now = if before.is_held_back() { at(9) } else { at(5) };
            assert_eq!(before.after(ended, now, is_awaited), expected, "{before:?}, {ended:?}, {is_awaited}");
        };
        check(answered(0), Unanswered("silent"), true, answered(1));
        check(answered(1), Unanswered("silent"), true, answered(2));
        check(answered(2), Unanswered("silent"), false, held(8, "silent"));
        check(answered(2), Answered, true, answered(0));
        // What is refused at once says nothing.
        check(answered(2), Refused, true, answered(2));
        check(held(9, "silent"), Refused, true, held(9, "silent"));
        // While others wait, each answer gives one more place. Else the first one ends it.
        check(held(8, "silent"), Answered, true, held(9, "silent"));
        check(held(62, "silent"), Answered, true, held(63, "silent"));
        check(held(63, "silent"), Answered, true, answered(0));
        check(held(8, "silent"), Answered, false, answered(0));
        check(held(30, "silent"), Unanswered("still silent"), true, held(8, "still silent"));
    }

    #[test]
    fn only_what_is_unavailable_after_some_time_had_no_answer() {
        let silent = || Err(Error::Unavailable { message: "silent".into(), retry_after: None, source: None });
        let check = |called: Result<(), Error>, was_set_aside: bool, expected: Ended<'_>| {
            assert_eq!(Ended::of(&called, was_set_aside), expected, "{called:?}, {was_set_aside}");
        };
        check(silent(), true, Ended::Unanswered("silent"));
        check(silent(), false, Ended::Refused);
        for was_set_aside in [true, false] {
            check(Ok(()), was_set_aside, Ended::Answered);
            check(Err(Error::invalid("no")), was_set_aside, Ended::Answered);
            check(Err(Error::Gone), was_set_aside, Ended::Answered);
        }
    }

    #[test]
    fn those_that_find_no_place_are_woken_once_each_in_the_order_of_arrival() {
        let (mut state, sort, now) = (State::default(), sort(), Instant::now());
        let held = Health::HeldBack { places: 2, since: now, because: String::new() };
        state.sorts.insert(sort.clone(), Calls { health: held, ..Calls::new(now) });
        let enter = |state: &mut State, resource: u32| state.enter(&sort, index(resource), now).is_ok();
        let entered = [1, 2, 3, 4, 3, 5].map(|resource| enter(&mut state, resource));
        assert_eq!(entered, [true, true, false, false, false, false]);
        assert_eq!(state.leave(&sort, now), [index(3)]);
        // One that was woken and does not come gives its turn to the next.
        assert_eq!(state.leave(&sort, now), [index(4), index(5)]);
        // One that came by itself waits no more.
        let entered = [6, 7, 8, 9].map(|resource| enter(&mut state, resource));
        assert_eq!(entered, [true, true, false, false]);
        state.sorts.get_mut(&sort).expect("it is held back").under_way = 1;
        assert!(enter(&mut state, 8));
        assert_eq!(state.leave(&sort, now), [index(9)]);
        // What is answered and used by nobody takes no room.
        state.sorts.get_mut(&sort).expect("it is held back").health = Health::default();
        state.leave(&sort, now);
        assert!(state.sorts.is_empty());
    }

    #[test]
    fn the_more_wait_the_longer_each_waits() {
        let (mut state, sort, now) = (State::default(), sort(), Instant::now());
        state.sorts.insert(sort.clone(), Calls { under_way: PLACES, ..Calls::new(now) });
        let pauses: Vec<_> = (0..10_000).map(|resource| state.enter(&sort, index(resource), now)).collect();
        let seconds = |place: usize| pauses[place].map_err(|pause| pause.as_secs());
        assert_eq!([0, 5_999, 9_999].map(seconds), [Err(60), Err(60), Err(100)]);
    }

    #[test]
    fn what_nobody_asks_for_any_more_is_not_held_back_for_ever() {
        let (now, sort) = (Instant::now(), sort());
        let check = |under_way: usize, unused: Duration, is_forgotten: bool| {
            let held = Health::HeldBack { places: 8, since: now, because: String::new() };
            let mut state = State::default();
            state.sorts.insert(sort.clone(), Calls { under_way, health: held, ..Calls::new(now) });
            let forgotten = state.forget_unused(now + unused);
            assert_eq!((forgotten.len(), state.sorts.len()), (is_forgotten.into(), (!is_forgotten).into()));
        };
        check(0, UNUSED_MAX, false);
        check(0, UNUSED_MAX * 2, true);
        check(1, UNUSED_MAX * 2, false);
    }

    #[test]
    fn workers_are_freed_up_to_a_limit() {
        let bulkhead = Bulkhead::new("own".into());
        let freed = [447, 448, 500].map(|detached| {
            bulkhead.state.lock().detached = detached;
            bulkhead.detached()
        });
        assert_eq!(freed, [447, 448, 448]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_is_detached_until_it_ends() {
        let (bulkhead, queue, sort) = (Bulkhead::new("own".into()), Queue::default(), sort());
        let call = bulkhead.call(&sort, &queue, index(1), async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            Ok(())
        });
        let mut call = pin!(call);
        assert!(timeout(PATIENCE * 9 / 10, &mut call).await.is_err());
        assert_eq!(bulkhead.detached(), 0);
        assert!(timeout(PATIENCE, &mut call).await.is_err());
        assert_eq!(bulkhead.detached(), 1);
        bulkhead.changed().await;
        assert!(matches!(call.await, Ok(Ok(()))));
        assert_eq!((bulkhead.detached(), bulkhead.status()), (0, Vec::new()));
        // One that is given up on its way leaves nothing.
        let dropped = bulkhead.call(&sort, &queue, index(1), std::future::pending::<Result<(), Error>>());
        assert!(timeout(PATIENCE * 2, dropped).await.is_err());
        assert_eq!(bulkhead.detached(), 0);
        assert!(bulkhead.state.lock().sorts.is_empty());
    }
}
