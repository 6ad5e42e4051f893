//! What the log says of each object, compared with the object: whose it is, what it was made from, and under which uid.
//!
//! Start at [`violations`]. At the end no work is left, except work that cannot succeed.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_engine::cluster::{LiveObject, ObjectKey};
use lifeline_engine::reconcile::marks;
use lifeline_projections::fact::LifecycleKey;
use lifeline_projections::fold::{LifecycleIndex, Projection};
use lifeline_projections::lifecycle::{Desired, Phase};

use super::story::Violation;

/// What the log says and the cluster does not hold, and the other way round. `foreign` objects are not Lifeline's.
#[must_use]
pub fn violations(
    projection: &Projection,
    live: &[(ObjectKey, LiveObject)],
    foreign: &BTreeSet<ObjectKey>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut unclaimed: BTreeMap<&ObjectKey, &LiveObject> = live.iter().map(|(object, live)| (object, live)).collect();
    let has_namespace =
        |name: &str| name == "default" || live.iter().any(|(object, _)| *object == ObjectKey::of_namespace(name));
    let mut waiting: BTreeSet<LifecycleIndex> = BTreeSet::new();
    for (_, object, claims) in projection.objects() {
        let live = unclaimed.remove(&object);
        for claim in &claims {
            let (resource, lifecycle) = projection.lifecycle(claim.lifecycle);
            if !matches!(lifecycle.desired, Desired::Present { .. }) {
                let whom = format!("{object} by {} {resource:?}", lifecycle.trigger);
                violations.push(Violation::new("claimed, though not wanted", whom));
            }
        }
        let (first, others) = claims.split_first().expect("an object is listed by its claims");
        waiting.extend(others.iter().map(|claim| claim.lifecycle));
        let waits_for_namespace = object.namespace.as_ref().is_some_and(|name| !has_namespace(name));
        if foreign.contains(&object) || waits_for_namespace {
            waiting.insert(first.lifecycle);
            let (_, lifecycle) = projection.lifecycle(first.lifecycle);
            if waits_for_namespace && lifecycle.phase() == Phase::Ready {
                violations.push(Violation::new("ready without its namespace", object.to_string()));
            }
        } else if let Some(what) = differs(projection, first.lifecycle, &object, live) {
            violations.push(Violation::new("an object is not as recorded", format!("{object}: {what}")));
        }
    }
    let unclaimed = unclaimed.into_keys().filter(|object| !foreign.contains(object));
    violations.extend(unclaimed.map(|object| Violation::new("claimed by nobody", object.to_string())));
    for index in projection.needing_work() {
        let (resource, lifecycle) = projection.lifecycle(index);
        // The cluster refuses a name with a slash.
        if !waiting.contains(&index) && !resource.subject.contains('/') {
            let whom = format!("{} {resource:?}: {:?}", lifecycle.trigger, lifecycle.failure);
            violations.push(Violation::new("something is left to do", whom));
        }
    }
    violations
}

/// How an object differs from what the log says of it and of the lifecycle that claimed it first.
fn differs(
    projection: &Projection,
    owner: LifecycleIndex,
    object: &ObjectKey,
    live: Option<&LiveObject>,
) -> Option<String> {
    let (resource, lifecycle) = projection.lifecycle(owner);
    let Some(live) = live else { return Some("it does not exist".to_owned()) };
    let key = LifecycleKey { trigger: (*lifecycle.trigger).into(), cluster: (*lifecycle.cluster).into(), resource };
    let marks = marks::owner(live, &key);
    if marks != marks::Owner::Us {
        return Some(format!("it has the marks of {marks:?}, its owner is {key:?}"));
    }
    let Desired::Present { event } = lifecycle.desired else { return None };
    let from = &live.manifest["metadata"]["annotations"][marks::OFFSET];
    // What says the same for each event of the lifecycle is not applied again; nor is a list whose keys changed and changed
    // back. What a list holds is looked at elsewhere.
    if *from != event.to_string() && !live.manifest["data"].is_null() && !key.resource.is_list() {
        return Some(format!("it was made from the event {from}, wanted is {event}"));
    }
    let applied = lifecycle.holding(object).and_then(|holding| holding.applied.as_ref());
    match applied {
        Some(applied) if *applied.uid == *live.uid => None,
        other => Some(format!("it has the uid {}, recorded is {other:?}", live.uid)),
    }
}
