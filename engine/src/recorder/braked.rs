//! [`Braked`]: the limit on what a change of rules may withdraw by itself, and the clock for it.

use std::sync::Arc;
use std::time::Duration;

use lifeline_projections::fold::Projection;
use parking_lot::Mutex;

use super::OutcomeSender;
use crate::clock::Clock;
use crate::replay::Counts;
use crate::replay::brake::Brake;

/// The pauses after which a withdrawal that is held is counted again: each twice as long as the one before.
pub(super) const COUNT_AGAIN_PAUSE_MIN: Duration = Duration::from_secs(2);
pub(super) const COUNT_AGAIN_PAUSE_MAX: Duration = Duration::from_secs(300);

/// The brake, and the clock by which it remembers what passed.
pub(super) struct Braked {
    brake: Mutex<Brake>,
    clock: Arc<dyn Clock>,
}

impl Braked {
    /// The usual brake.
    pub(super) fn by(clock: Arc<dyn Clock>) -> Braked {
        Braked { brake: Mutex::default(), clock }
    }

    pub(super) fn set_brake(&self, brake: Brake) {
        *self.brake.lock() = brake;
    }

    pub(super) fn brake(&self) -> Brake {
        *self.brake.lock()
    }

    /// What changes of rules withdrew within the last hour, though the brake held nothing.
    pub(super) fn lately(&self, projection: &Projection) -> Counts {
        projection.ground().withdrawals.lately(self.clock.now_unix_nanos())
    }
}

impl OutcomeSender {
    /// The brake of changes of rules, and what they withdrew lately without being held.
    pub(crate) fn braked(&self, projection: &Projection) -> (Brake, Counts) {
        (self.braked.brake(), self.braked.lately(projection))
    }
}
