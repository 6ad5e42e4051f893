//! What is not known of what others want, so that it may not be withdrawn yet.
//!
//! Start at [`Replay::waits`].

use lifeline_projections::fold::{Ground, Resource};
use lifeline_projections::lifecycle::Desired;
use lifeline_store::Offset;

use super::Replay;
use crate::rules::{RuleSet, Standing, Trigger};

/// Why something that never decided anything may want anything: a trigger is out of force, or hidden.
pub(super) fn may_want_all(rules: &RuleSet, ground: &Ground) -> Option<String> {
    let mut newcomers = rules.out_of_force().filter(|name| !ground.replayed.contains_key(*name));
    let hides = || (!rules.is_complete()).then(|| "what cannot be read may hide a rule".to_owned());
    newcomers.next().map(out_of_force).or_else(hides)
}

impl Replay {
    /// Why a lifecycle of a resource may want what another trigger's has: it is present, and what it wants is not known.
    /// Why texts cannot be rendered is what `fails` says of a trigger and an event.
    pub(crate) fn waits(
        &self,
        fails: &dyn Fn(&Trigger, Offset) -> Option<String>,
        whose: &str,
        resource: &Resource,
        cluster: &str,
    ) -> Option<String> {
        if let Some(reason) = &self.may_want_all {
            return Some(reason.clone());
        }
        let others = resource.lifecycles.iter().filter(|other| *other.trigger != *whose);
        let mut others = others.filter(|other| *other.cluster == *cluster);
        others.find_map(|other| match (other.desired, self.rules.standing(&other.trigger)) {
            (Desired::Present { .. }, Standing::OutOfForce) => Some(out_of_force(&other.trigger)),
            (Desired::Present { event }, Standing::InForce(trigger)) => fails(trigger, event),
            (Desired::Present { .. }, Standing::Absent) | (Desired::Absent { .. } | Desired::Left, _) => None,
        })
    }
}

fn out_of_force(trigger: &str) -> String {
    format!("trigger `{trigger}` is out of force")
}
