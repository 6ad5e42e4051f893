//! [`Wake`]: tells those who wait for the durable end to move that it did.
//!
//! Waiters are threads and futures alike. The writer never waits for them: it holds the lock only to take the list.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// Those who wait for a condition that someone else makes true.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    wakers: Mutex<Vec<Waker>>,
    changed: Condvar,
}

impl Wake {
    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called after the condition was made true.
    pub(crate) fn all(&self) {
        let wakers = std::mem::take(&mut *self.wakers());
        self.changed.notify_all();
        for waker in wakers {
            waker.wake();
        }
    }

    /// Waits in this thread until the condition holds or the time is over; returns whether it holds.
    pub(crate) fn wait(&self, timeout: Option<Duration>, holds: impl Fn() -> bool) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut wakers = self.wakers();
        // Looked at under the lock: who makes it true afterwards has to take the lock before it notifies.
        while !holds() {
            wakers = match deadline {
                None => self.changed.wait(wakers).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                        return false;
                    };
                    self.changed.wait_timeout(wakers, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }

    /// Has a future's waker called when the condition may have changed; returns whether it holds already.
    pub(crate) fn register(&self, waker: &Waker, holds: impl Fn() -> bool) -> bool {
        let mut wakers = self.wakers();
        if holds() {
            return true;
        }
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        false
    }
}
