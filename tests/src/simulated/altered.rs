//! What the cluster changed of an object as it took it: that is recorded, and is nobody's drift.
//!
//! Start at [`violations`].

use std::collections::BTreeSet;

use lifeline_engine::reconcile::marks::{self, Owner};
use lifeline_projections::fact::{Altered, Drift, Fact, LifecycleKey, Reconciled, What};
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::Phase;

use super::cluster::FaultyCluster;
use super::objects::{ALTERED, ALTERED_LABEL};
use super::story::Violation;

/// Objects that the cluster changed in silence, and those of which a drift is recorded though nobody changed them.
#[must_use]
pub fn violations(projection: &Projection, facts: &[Fact<'_>], cluster: &FaultyCluster) -> Vec<Violation> {
    let (mut said, mut violations) = (BTreeSet::new(), Vec::new());
    let edited = cluster.edited();
    for fact in facts {
        match fact {
            Fact::Reconciled(Reconciled { key, what: What::Altered(Altered { object, .. }), .. }) => {
                said.insert((name(key), object));
            }
            Fact::Reconciled(Reconciled { key, what: What::Drifted(drifted), .. }) => {
                let changed = drifted.iter().filter(|one| one.drift == Drift::Changed);
                let strange = changed.filter(|one| !edited.contains(&one.object));
                violations.extend(strange.map(|one| {
                    let whom = format!("{} of {}", one.object, key.trigger);
                    Violation::new("recorded as drifted, though nobody changed it", whom)
                }));
            }
            _ => {}
        }
    }
    for (object, live) in cluster.list() {
        let label = live.manifest["metadata"]["labels"][ALTERED_LABEL].as_str();
        let claims = projection.claims("mgmt/mgmt", &object);
        let (true, Some(claim)) = (label.is_some_and(|label| label.starts_with(ALTERED)), claims.first()) else {
            continue;
        };
        let (resource, lifecycle) = projection.lifecycle(claim.lifecycle);
        let key = LifecycleKey { trigger: (*lifecycle.trigger).into(), cluster: (*lifecycle.cluster).into(), resource };
        let is_applied = lifecycle.phase() == Phase::Ready && marks::owner(&live, &key) == Owner::Us;
        if is_applied && !said.contains(&(name(&key), &object)) {
            let whom = format!("{object} of {}", key.trigger);
            violations.push(Violation::new("changed by the cluster as it was applied, and not recorded", whom));
        }
    }
    violations
}

fn name(key: &LifecycleKey) -> (String, String, String) {
    let resource = &key.resource;
    (key.trigger.to_string(), resource.source.to_string(), resource.subject.to_string())
}
