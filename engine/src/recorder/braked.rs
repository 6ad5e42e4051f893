//! [`Braked`]: what decides how much a change of rules may withdraw by itself.

use tokio::time::Instant;

use super::OutcomeSender;
use crate::replay::brake::Brake;
use crate::replay::lately::{Counts, Lately};

/// The brake, and what passed it.
#[derive(Debug, Default)]
pub(super) struct Braked {
    pub(super) brake: Brake,
    /// What changes of rules withdrew lately, though the brake held nothing.
    pub(super) lately: Lately,
}

impl OutcomeSender {
    /// The brake of changes of rules, and what they withdrew lately without being held.
    pub(crate) fn braked(&self) -> (Brake, Counts) {
        let mut braked = self.braked.lock();
        (braked.brake, braked.lately.counts(Instant::now()))
    }
}
