//! What becomes of the lists of all live keys. A list is made from its keys, so it is planned after them.
//!
//! Start at [`listed`]. The keys are those of the projection with what was just decided in their place; what is due then is
//! decided as in [`crate::lists`].

use std::collections::BTreeMap;

use lifeline_projections::fact::{LifecycleKey, Redesired, ResourceKey};
use lifeline_projections::lifecycle::Desired;
use lifeline_store::{Disk, Offset};

use crate::lists;
use crate::rules::RuleSet;
use crate::view::View;

/// The live keys that lists would hold, each with its Create event, by the list.
pub(super) type Keys = BTreeMap<LifecycleKey, Vec<(ResourceKey, Offset)>>;

/// Adds what becomes of the lists of these triggers to what was decided of their keys. Returns the keys of the lists that are
/// made.
pub(super) fn listed<'t, D: Disk>(
    view: &View<D>,
    rules: &RuleSet,
    triggers: impl Iterator<Item = &'t str>,
    lifecycles: &mut Vec<(LifecycleKey, Redesired)>,
) -> Keys {
    let mut made = Keys::new();
    for trigger in triggers.filter_map(|name| rules.trigger(name)).filter(|trigger| trigger.gathers()) {
        let name = trigger.name();
        for cluster in rules.heard_clusters(name) {
            let key =
                LifecycleKey { trigger: name.into(), cluster: cluster.into(), resource: ResourceKey::of_list(name) };
            let mut keys: BTreeMap<ResourceKey, Offset> = lists::keys(view, name, cluster).into_iter().collect();
            let (mut changed, mut left) = (false, view.read(|projection| left(projection, name, cluster)));
            let of_it = |one: &LifecycleKey| *one.trigger == *name && *one.cluster == *cluster;
            for (one, desired) in lifecycles.iter().filter(|(one, _)| of_it(one) && !one.resource.is_list()) {
                changed = true;
                match desired {
                    Redesired::Present { event, .. } => _ = keys.insert(one.resource.clone(), *event),
                    Redesired::Absent { .. } => _ = keys.remove(&one.resource),
                    Redesired::Left => {
                        keys.remove(&one.resource);
                        left += 1;
                    }
                }
            }
            let now = view.read(|projection| {
                let index = projection.lifecycle_index(&key)?;
                Some(projection.head(index).desired)
            });
            let decided = lifecycles.iter().position(|(one, _)| *one == key);
            let desired = match (now, keys.is_empty()) {
                (None | Some(Desired::Absent { .. }), true) => continue,
                // Objects of its keys were left, so the list is left as well.
                (Some(Desired::Present { .. } | Desired::Left), true) if left > 0 => continue,
                (Some(Desired::Left), is_empty) if is_empty || !changed => continue,
                (Some(_), true) => Redesired::Absent { event: None },
                (Some(Desired::Present { .. }), false) if decided.is_none() && !changed => continue,
                (_, false) => Redesired::Present { event: Offset::ZERO, incarnation: 1 },
            };
            // A list that exists keeps the record that it was made from; a new one has no record yet.
            let desired = match (now, desired) {
                (Some(Desired::Present { event }), Redesired::Present { incarnation, .. }) => {
                    Redesired::Present { event, incarnation }
                }
                (_, desired) => desired,
            };
            match decided {
                Some(at) => lifecycles[at].1 = desired,
                None => lifecycles.push((key.clone(), desired)),
            }
            if matches!(desired, Redesired::Present { .. }) {
                made.insert(key, keys.into_iter().collect());
            }
        }
    }
    lifecycles.sort_by(|(one, _), (other, _)| one.cmp(other));
    made
}

/// Keys whose objects were left.
fn left(projection: &lifeline_projections::fold::Projection, trigger: &str, cluster: &str) -> u64 {
    projection.keys_of(trigger).find(|(on, _)| ***on == *cluster).map_or(0, |(_, keys)| keys.left)
}
