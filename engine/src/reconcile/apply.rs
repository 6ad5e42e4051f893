//! Applying: which of the wanted objects are ours to change, and the one call that changes them.
//!
//! Start at `apply_all`. Never here: what is removed; that is in [`super::remove`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;

use lifeline_projections::fact::{AppliedObject, LifecycleKey, ObjectKey};
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::{Desired, Lifecycle};
use lifeline_store::Disk;
use tracing::debug;

use crate::cluster::{self, LiveObject};
use crate::reconcile::failure::{Failure, Retry};
use crate::reconcile::marks::{self, Owner};
use crate::reconcile::plan::{Plan, Wanted};
use crate::reconcile::render::MarkedManifest;
use crate::reconcile::work::{Reconciler, Task};
use crate::trace;

/// What came of applying all that is wanted.
pub(super) struct Applied {
    /// What is as wanted now, applied or kept.
    pub objects: Vec<AppliedObject>,
    /// Objects with another uid than the recorded one, or with none recorded.
    pub made: Vec<ObjectKey>,
    /// Objects that were applied before and are no more: other owners' objects have their names now.
    pub gone: Vec<ObjectKey>,
    /// What exists and belongs to another owner.
    pub not_ours: Vec<Failure>,
    /// What else failed.
    pub failures: Vec<Failure>,
}

/// What came of an attempt to apply an object.
enum Attempt {
    /// It is as wanted.
    Applied(AppliedObject),
    /// It exists and belongs to another owner.
    NotOurs(Failure),
    /// The lifecycle wants no objects any more.
    Unwanted,
}

/// A wanted object, or the namespace of one, that another lifecycle claimed first.
pub(super) struct Conflict {
    object: ObjectKey,
    /// The other lifecycle may delete the object: it no longer wants it, or has recorded a change whose outcome is not known.
    is_going: bool,
    /// The other lifecycle has applied the object, and does not delete it.
    pub exists: bool,
    pub failure: Failure,
}

impl<D: Disk> Reconciler<D> {
    /// Names the objects of the rendered manifests.
    pub(super) async fn resolve(&self, rendered: Vec<MarkedManifest>, adopts: bool) -> Result<Vec<Wanted>, Failure> {
        let mut wanted: Vec<Wanted> = Vec::with_capacity(rendered.len());
        for MarkedManifest { manifest, digest, origin, force } in rendered {
            let object = self.cluster.resolve(&manifest).await.map_err(|error| Failure::of_cluster(&origin, &error))?;
            if let Some(twin) = wanted.iter().find(|other| other.object == object) {
                let message = format!("{origin}: gives {object}, which {} gives already", twin.origin);
                return Err(Failure { message, retry: Retry::Never });
            }
            wanted.push(Wanted { object, manifest, digest, origin, adopts: adopts || force });
        }
        Ok(wanted)
    }

    /// Wanted objects that another lifecycle claimed first.
    pub(super) fn conflicts(&self, task: &Task, wanted: &[Wanted]) -> Vec<Conflict> {
        let projection = self.view.projection();
        let conflict = |want: &Wanted| {
            let owner = projection.claims(&task.key.cluster, &want.object).first()?.lifecycle;
            if owner == task.index {
                return None;
            }
            let (resource, lifecycle) = projection.lifecycle(owner);
            let message = format!(
                "{} is held by trigger `{}` for source `{}`, subject `{}`\nhint: give the object a name of its own; it \
                 is taken over when that lifecycle releases it",
                want.object, lifecycle.trigger, resource.source, resource.subject
            );
            let is_going = is_going(&lifecycle, &want.object);
            let is_applied = lifecycle.holding(&want.object).is_some_and(|holding| holding.applied.is_some());
            let exists = !is_going && is_applied;
            let failure = Failure { message, retry: Retry::Slowly };
            Some(Conflict { object: want.object.clone(), is_going, exists, failure })
        };
        let mut conflicts: Vec<Conflict> = wanted.iter().filter_map(conflict).collect();
        conflicts.extend(going_namespaces(&projection, task, wanted));
        conflicts
    }

    /// Applies what the plan says, but for what others hold.
    pub(super) async fn apply_all(
        &self,
        task: &Task,
        plan: &Plan<'_>,
        wanted: &[Wanted],
        conflicts: &[Conflict],
    ) -> Applied {
        let (mut failures, mut not_ours) = (Vec::new(), Vec::new());
        let (mut objects, mut keep) = (Vec::new(), plan.keep.clone());
        let (mut made, mut gone) = (Vec::new(), Vec::new());
        // Namespaces come first, so what one of them took with it joins the end while the list is gone through.
        let mut apply: VecDeque<&Wanted> = plan.apply.iter().copied().collect();
        while let Some(want) = apply.pop_front() {
            // An object in a namespace that may be deleted soon would be deleted with it.
            let is_held_up = |conflict: &Conflict| {
                conflict.object == want.object || (conflict.is_going && want.object.is_in(&conflict.object))
            };
            if conflicts.iter().any(is_held_up) {
                continue;
            }
            let uid = task.lifecycle.holding(&want.object).and_then(|held| held.applied.as_ref()).map(|held| &held.uid);
            let is_another = match self.apply(task, want, uid.map(String::as_str)).await {
                Ok(Attempt::Applied(object)) => {
                    let is_another = uid != Some(&object.uid);
                    if is_another {
                        made.push(object.object.clone());
                    }
                    objects.push(object);
                    is_another
                }
                Ok(Attempt::NotOurs(failure)) => {
                    not_ours.push(failure);
                    // One that still had our uid would have been changed.
                    if uid.is_some() {
                        gone.push(want.object.clone());
                    }
                    uid.is_some()
                }
                Ok(Attempt::Unwanted) => {
                    failures.push(Failure::of_unwanted_objects());
                    break;
                }
                Err(failure) => {
                    failures.push(failure);
                    false
                }
            };
            if is_another {
                // What was in the one before went with it.
                let lost = keep.extract_if(.., |kept| kept.object.is_in(&want.object));
                let lost: Vec<ObjectKey> = lost.map(|kept| kept.object).collect();
                apply.extend(wanted.iter().filter(|want| lost.contains(&want.object)));
            }
        }
        objects.append(&mut keep);
        Applied { objects, made, gone, not_ours, failures }
    }

    /// Applies one object, once it is certain that it is ours to change.
    async fn apply(&self, task: &Task, want: &Wanted, known_uid: Option<&str>) -> Result<Attempt, Failure> {
        let of_cluster = |error: cluster::Error| Failure::of_cluster(&want.object.to_string(), &error);
        if self.is_unwanted(task) {
            return Ok(Attempt::Unwanted);
        }
        let applied = match known_uid {
            Some(uid) => {
                match self.write(want, Some(uid)).await {
                    // Somebody deleted it or put another in its place: look again, as if it were new.
                    Err(cluster::Error::Gone | cluster::Error::Replaced { .. }) => None,
                    other => Some(other.map_err(of_cluster)?),
                }
            }
            None => None,
        };
        let live = match applied {
            Some(live) => live,
            None => {
                let found = self.cluster.get(&want.object).await.map_err(of_cluster)?;
                let uid = match &found {
                    None => None,
                    Some(live) if live.deleting => return Err(being_deleted(&want.object)),
                    Some(live) => match marks::owner(live, &task.key) {
                        Owner::Us => Some(live.uid.as_str()),
                        Owner::Other { .. } | Owner::Stranger if want.adopts => Some(live.uid.as_str()),
                        Owner::Other { key } if self.outranks(&want.object, &key) => Some(live.uid.as_str()),
                        owner => return Ok(Attempt::NotOurs(not_ours(&want.object, &owner))),
                    },
                };
                if self.is_unwanted(task) {
                    return Ok(Attempt::Unwanted);
                }
                self.write(want, uid).await.map_err(of_cluster)?
            }
        };
        if live.deleting {
            return Err(being_deleted(&want.object));
        }
        debug!(object = %want.object, uid = live.uid, "object applied");
        Ok(Attempt::Applied(AppliedObject { object: want.object.clone(), uid: live.uid, digest: want.digest }))
    }

    /// Whether the lifecycle was decided again, and wants no objects any more. Each call may take seconds, so this is asked
    /// before each change. A decision for another event stops nothing: however fast such decisions come, objects are made.
    fn is_unwanted(&self, task: &Task) -> bool {
        self.overtaken(task).is_some_and(|desired| !desired.is_present())
    }

    /// Whether the first claim on an object takes precedence over the marks of another lifecycle: that one claims the object
    /// later, or has let go of it. While a trigger is removed, what it left keeps its marks and is not taken over.
    pub(super) fn outranks(&self, object: &ObjectKey, marked: &LifecycleKey) -> bool {
        let projection = self.view.projection();
        let Some(index) = projection.lifecycle_index(marked) else { return false };
        let claims = projection.claims(&marked.cluster, object);
        claims.iter().any(|claim| claim.lifecycle == index) || projection.lifecycle(index).1.desired != Desired::Left
    }

    /// The one call that applies.
    async fn write(&self, want: &Wanted, uid: Option<&str>) -> Result<LiveObject, cluster::Error> {
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        let call = self.cluster.apply(&want.object, &want.manifest, uid);
        trace::write("apply", &want.object, call, |live| if live.deleting { "terminating" } else { "applied" }).await
    }
}

/// Namespaces of wanted objects that another lifecycle owns and may delete, and that the task does not want itself.
fn going_namespaces(projection: &Projection, task: &Task, wanted: &[Wanted]) -> Vec<Conflict> {
    let names: BTreeSet<&str> = wanted.iter().filter_map(|want| want.object.namespace.as_deref()).collect();
    let others = names.into_iter().map(ObjectKey::of_namespace);
    let others = others.filter(|namespace| wanted.iter().all(|want| want.object != *namespace));
    let going = others.filter_map(|object| {
        let owner = projection.claims(&task.key.cluster, &object).first()?.lifecycle;
        let (resource, lifecycle) = projection.lifecycle(owner);
        if owner == task.index || !is_going(&lifecycle, &object) {
            return None;
        }
        let message = format!(
            "nothing is applied in {object}, which may be deleted: trigger `{}` for source `{}`, subject `{}` no longer wants \
             it, or is changing it\nhint: this goes on by itself; `lifeline show stuck` says what that trigger waits for",
            lifecycle.trigger, resource.source, resource.subject
        );
        let failure = Failure { message, retry: Retry::Slowly };
        Some(Conflict { object, is_going: true, exists: false, failure })
    });
    going.collect()
}

/// The Namespaces of a lifecycle that it may delete. Nobody makes objects in them meanwhile.
pub(super) fn going(owner: &Lifecycle) -> impl Iterator<Item = &ObjectKey> {
    let held = owner.inventory.iter().map(|holding| &holding.object);
    held.filter(|object| object.is_namespace() && is_going(owner, object))
}

/// Whether the lifecycle that owns an object may delete it.
fn is_going(owner: &Lifecycle, object: &ObjectKey) -> bool {
    if !owner.desired.is_present() {
        return true;
    }
    let Some(holding) = owner.holding(object) else { return false };
    match &holding.applied {
        // While the outcome of a change is not known, a deletion may be under way.
        Some(applied) => !applied.is_known(),
        // Claimed for an earlier decision, it may be deleted for one in between. Once an attempt for the current decision has
        // failed, that deletion is over.
        None => holding.since < owner.decided && owner.failure.is_none(),
    }
}

fn being_deleted(object: &ObjectKey) -> Failure {
    let message = format!("{object} is being deleted; waiting until it is gone");
    Failure { message, retry: Retry::WhenGone }
}

fn not_ours(object: &ObjectKey, owner: &Owner) -> Failure {
    let whose = match owner {
        Owner::Us | Owner::Stranger => "was not made by Lifeline".to_owned(),
        Owner::Other { key } => {
            let LifecycleKey { trigger, resource, .. } = &**key;
            format!(
                "carries the marks of trigger `{trigger}` for source `{}`, subject `{}`",
                resource.source, resource.subject
            )
        }
    };
    let message = format!(
        "{object} exists and {whose}\nhint: remove it, give the object another name, or let the trigger adopt it with the \
         annotation `lifeline.dev/adopt: \"true\"`"
    );
    Failure { message, retry: Retry::Slowly }
}

#[cfg(test)]
mod tests {
    use lifeline_projections::fact::Redesired;
    use lifeline_projections::happened::Happened;
    use lifeline_store::Offset;

    use super::*;

    #[test]
    fn an_object_may_be_deleted_while_its_owner_does_not_want_it_or_an_outcome_is_not_known() {
        let namespace = ObjectKey::of_namespace("zoe");
        let (claimed, at) = ([namespace.clone()], Offset::from);
        let applied = [AppliedObject { object: namespace.clone(), uid: "uid".into(), digest: 7 }];
        let intended = Happened::ApplyIntended(&claimed);
        let done = |acted_for: u64| Happened::Applied { acted_for: at(acted_for), objects: &applied };
        let failed = |acted_for: u64| Happened::ApplyFailed {
            acted_for: at(acted_for),
            objects: &[],
            error: "no",
            attempt: 1,
            transient: true,
        };
        let withdrawn = Happened::Redecided(Redesired::Absent { event: None });
        let check = |story: &[Happened<'_>], expected: bool| {
            let mut owner = Lifecycle::new("manage", "mgmt/mgmt");
            for (happened, offset) in story.iter().zip(0..) {
                owner.evolve(at(offset), 0, *happened);
            }
            assert_eq!(is_going(&owner, &namespace), expected, "{story:?}");
        };
        use Happened::{DecidedCreate, DecidedDelete};
        check(&[DecidedCreate, intended], false);
        check(&[DecidedCreate, intended, done(0)], false);
        check(&[DecidedCreate, intended, done(0), intended], true);
        check(&[DecidedCreate, intended, done(0), DecidedDelete], true);
        check(&[DecidedCreate, intended, done(0), withdrawn, DecidedCreate], true);
        // The first apply was never answered, and a deletion may have begun in between.
        check(&[DecidedCreate, intended, DecidedDelete, DecidedCreate], true);
        check(&[DecidedCreate, intended, DecidedDelete, DecidedCreate, failed(3)], false);
        check(&[DecidedCreate, intended, DecidedDelete, DecidedCreate, done(3)], false);
    }
}
