//! The lifecycles of a site that wait for the log: they take no workers from the others.
//!
//! Start at [`AtLog::wait`]. Each lifecycle is recorded before its objects are touched and afterwards, and a sync of the disk may
//! take longer than the cluster does. So a worker is what may call the cluster: who waits for the log leaves its place to
//! another lifecycle, and takes one again before it goes on. Those that come back go before those that begin, so what
//! was recorded as begun ends soon. So all that waits is recorded in one group, and the cluster has as many calls under way as
//! there are workers, however slow the disk is.
//!
//! Never here: what is recorded, and whose turn it is among those that begin; that is decided in the [queue](crate::queue).

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::WORKERS;

/// Lifecycles that leave their places to others at most: it bounds how many manifests are in memory, and how many have begun
/// before one that is more urgent. Half as many are enough where a sync takes as long as a call.
const WAITING_MAX: usize = 2 * WORKERS;

/// The lifecycles of one site that wait for the log.
pub(super) struct AtLog {
    state: Mutex<State>,
    /// A permit for each that may go on.
    turns: Semaphore,
    /// Another one waits, or wants to go on.
    changed: Notify,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct State {
    /// Lifecycles that have left their places to others.
    away: usize,
    /// Those of them that want to go on.
    returning: usize,
}

/// A lifecycle that waits for the log, until this is dropped.
pub(crate) struct Waits<'a> {
    at_log: &'a AtLog,
    is_away: bool,
}

impl Default for AtLog {
    fn default() -> AtLog {
        AtLog { state: Mutex::default(), turns: Semaphore::new(0), changed: Notify::new() }
    }
}

impl AtLog {
    /// A lifecycle waits for the log from here on, and leaves its place to another one.
    pub(super) fn wait(&self) -> Waits<'_> {
        self.state.lock().away += 1;
        self.changed.notify_one();
        Waits { at_log: self, is_away: true }
    }

    /// Whether another lifecycle may begin, while so many are reconciled by so many workers.
    pub(super) fn has_place(&self, reconciled: usize, workers: usize) -> bool {
        let state = *self.state.lock();
        // Beyond the limit those that wait count as at work.
        let working = reconciled.saturating_sub(state.away.min(WAITING_MAX));
        state.returning == 0 && working < workers
    }

    /// Lets those that come back go on, as far as there are places.
    pub(super) fn let_on(&self, reconciled: usize, workers: usize) {
        let mut state = self.state.lock();
        let working = reconciled.saturating_sub(state.away);
        let lucky = state.returning.min(workers.saturating_sub(working));
        state.returning -= lucky;
        state.away -= lucky;
        drop(state);
        self.turns.add_permits(lucky);
    }

    /// Waits until [`AtLog::has_place`] may have become true, or [`AtLog::let_on`] has something to do.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Waits<'_> {
    /// What it waited for is recorded: it goes on when it has a place again.
    pub(crate) async fn go_on(mut self) {
        self.at_log.state.lock().returning += 1;
        self.at_log.changed.notify_one();
        self.at_log.turns.acquire().await.expect("it is never closed").forget();
        self.is_away = false;
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        // One that is dropped on its way back, as the engine stops, may have been let on already. Nothing goes on then.
        if self.is_away {
            let mut state = self.at_log.state.lock();
            state.away = state.away.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn who_waits_leaves_its_place_and_comes_back_before_others_begin() {
        let at_log = AtLog::default();
        assert!(at_log.has_place(1, 2) && !at_log.has_place(2, 2));
        let (first, second) = (at_log.wait(), at_log.wait());
        assert!(at_log.has_place(3, 2) && !at_log.has_place(4, 2));
        let (mut first, mut second) = (pin!(first.go_on()), pin!(second.go_on()));
        assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
        assert!(!at_log.has_place(3, 2), "they go first");
        at_log.let_on(3, 2);
        assert!(poll!(first.as_mut()).is_ready() && poll!(second.as_mut()).is_pending());
        at_log.let_on(3, 2);
        assert!(poll!(second.as_mut()).is_pending(), "there are two at work");
        at_log.let_on(2, 2);
        assert!(poll!(second.as_mut()).is_ready());
        assert_eq!(*at_log.state.lock(), State::default());
    }

    #[tokio::test]
    async fn what_waits_to_the_end_takes_no_place_and_there_is_a_limit() {
        let at_log = AtLog::default();
        let mut waiting: Vec<Waits<'_>> = (0..WAITING_MAX + 3).map(|_| at_log.wait()).collect();
        let reconciled = waiting.len();
        assert!(!at_log.has_place(reconciled, 3) && at_log.has_place(reconciled, 4));
        // Though nobody else may begin, who waited goes on: nobody is at work.
        let mut back = pin!(waiting.pop().expect("there are some").go_on());
        assert!(poll!(back.as_mut()).is_pending());
        at_log.let_on(reconciled, 3);
        assert!(poll!(back.as_mut()).is_ready());
        drop(waiting);
        assert_eq!(*at_log.state.lock(), State::default());
    }
}
