//! What one lifecycle would want: its manifests under the rules in question, named and compared with what it holds.
//!
//! Start at [`Outlook::of`]. Manifests are rendered, named and compared by the code that an engine applies them with.

use std::collections::HashSet;

use futures::FutureExt;
use lifeline_projections::fact::{LifecycleKey, ObjectKey, Redesired, ResourceKey};
use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::lifecycle::{Desired, Holding, Lifecycle};
use lifeline_store::{Disk, Offset};
use serde_json::Value;

use super::names::placed;
use crate::cluster::{Cluster, Error, object_key};
use crate::reconcile::failure::Failure;
use crate::reconcile::kinds::{defined, defined_beside};
use crate::reconcile::plan::{Naming, Wanted, plan};
use crate::reconcile::render::{MarkedManifest, render, render_keys};
use crate::rules::spec::SyncMode;
use crate::rules::{RuleSet, Trigger};
use crate::view::View;

/// A lifecycle, as it is and as it would be.
#[derive(Debug)]
pub(super) struct Outlook {
    pub key: LifecycleKey,
    /// `None` where there is none yet.
    pub index: Option<LifecycleIndex>,
    pub now: Lifecycle,
    pub end: End,
    /// Of a list that would be made of other keys than now: these, each with its Create event.
    pub keys: Option<Vec<(ResourceKey, Offset)>>,
}

/// What would become of a lifecycle.
#[derive(Debug)]
pub(super) enum End {
    /// It wants these objects, those that are applied first.
    Present { event: Offset, wants: Vec<Want>, stops_at_conflict: bool },
    /// It makes nothing, and keeps what it has.
    Fails(String),
    /// Nothing is applied or deleted: its trigger is a dry run.
    DryRun { is_present: bool },
    /// It wants none.
    Absent,
    /// It leaves what it has.
    Left,
}

/// An object that is wanted.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub object: ObjectKey,
    pub tier: i32,
    pub makes_namespace: bool,
    pub does: Does,
}

/// What the lifecycle by itself would do about an object that it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// It was applied just like this.
    Keep,
    /// It was applied in another way.
    Change,
    /// It was not applied.
    Make,
}

impl Outlook {
    /// That of a lifecycle of which `desired` shall hold. `cluster` names objects; without one they are named by their
    /// kinds.
    pub(super) fn of<D: Disk>(
        view: &View<D>,
        rules: &RuleSet,
        (cluster, instance): (Option<&dyn Cluster>, &str),
        (key, desired): (LifecycleKey, Redesired),
        keys: Option<Vec<(ResourceKey, Offset)>>,
    ) -> Outlook {
        let known = view.read(|projection| {
            let index = projection.lifecycle_index(&key)?;
            Some((index, projection.lifecycle(index).1))
        });
        let (index, now) = known.map_or_else(
            || (None, Lifecycle::new(&key.trigger, &key.cluster)),
            |(index, lifecycle)| (Some(index), lifecycle),
        );
        let trigger = rules.trigger(&key.trigger);
        let is_dry = trigger.is_some_and(|trigger| trigger.sync_mode() == SyncMode::DryRun);
        let end = match (desired, trigger) {
            (Redesired::Left, _) => End::Left,
            (Redesired::Absent { .. }, _) if is_dry => End::DryRun { is_present: false },
            (Redesired::Absent { .. }, _) | (Redesired::Present { .. }, None) => End::Absent,
            (Redesired::Present { event, .. }, Some(trigger)) => {
                let keys = keys.as_deref();
                match wanted(view, trigger, (cluster, instance), &key, &now.inventory, (event, keys)) {
                    Err(message) => End::Fails(message),
                    Ok(_) if is_dry => End::DryRun { is_present: true },
                    Ok(wanted) => End::Present {
                        event,
                        wants: wants(&now, &wanted, trigger.sync_mode() == SyncMode::OneTime),
                        stops_at_conflict: !trigger.continues_on_conflict(),
                    },
                }
            }
        };
        Outlook { key, index, now, end, keys }
    }

    /// Where it wants an object: at which tier. `tier` is that of its trigger, where only this is known.
    pub(super) fn wants_at(&self, object: &ObjectKey, tier: i32) -> Option<i32> {
        match &self.end {
            End::Present { wants, .. } => wants.iter().find(|want| want.object == *object).map(|want| want.tier),
            End::Fails(_) | End::DryRun { is_present: true } => {
                let holds = self.now.desired.is_present() && self.now.holding(object).is_some();
                holds.then_some(tier)
            }
            End::DryRun { is_present: false } | End::Absent | End::Left => None,
        }
    }
}

/// What of the wanted objects is kept, changed and made, those that are applied first.
fn wants(now: &Lifecycle, wanted: &[Wanted], once: bool) -> Vec<Want> {
    let plan = plan(now, wanted, once);
    let keep: HashSet<&ObjectKey> = plan.keep.iter().map(|kept| &kept.object).collect();
    let is_kept = |want: &&Wanted| keep.contains(&want.object);
    let kept = wanted.iter().filter(is_kept).map(|want| (want, Does::Keep));
    let applied = plan.apply.iter().map(|want| {
        let is_there = now.holding(&want.object).is_some_and(|held| held.applied.is_some());
        (*want, if is_there { Does::Change } else { Does::Make })
    });
    let want = |(want, does): (&Wanted, Does)| Want {
        object: want.object.clone(),
        tier: want.handling.tier,
        makes_namespace: want.handling.makes_namespace,
        does,
    };
    applied.chain(kept).map(want).collect()
}

/// The objects that an event asks for, as an engine would apply them; or why there are none.
pub(super) fn wanted<D: Disk>(
    view: &View<D>,
    trigger: &Trigger,
    (cluster, instance): (Option<&dyn Cluster>, &str),
    key: &LifecycleKey,
    held: &[Holding],
    made_of: (Offset, Option<&[(ResourceKey, Offset)]>),
) -> Result<Vec<Wanted>, String> {
    let manifests = made(view, trigger, key, instance, made_of).map_err(|failure| failure.message)?;
    let definitions: Vec<_> =
        manifests.iter().map(|one| one.manifest.clone()).filter(|manifest| defined(manifest).is_some()).collect();
    let mut naming = Naming::default();
    for marked in manifests {
        let (object, is_defined_beside) = match named(&marked.manifest, cluster, held) {
            Ok(object) => (object, false),
            Err(error @ Error::UnknownKind { .. }) => {
                let defined = defined_beside(&marked.manifest, definitions.iter().map(|definition| &**definition));
                (defined.ok_or_else(|| format!("{}: {error}", marked.origin))?, true)
            }
            Err(error) => return Err(format!("{}: {error}", marked.origin)),
        };
        naming.add(marked, None, object, is_defined_beside, trigger.adopts()).map_err(|failure| failure.message)?;
    }
    Ok(naming.wanted())
}

/// The manifests of an event, or of a list with these keys.
pub(super) fn made<D: Disk>(
    view: &View<D>,
    trigger: &Trigger,
    key: &LifecycleKey,
    instance: &str,
    (event, keys): (Offset, Option<&[(ResourceKey, Offset)]>),
) -> Result<Vec<MarkedManifest>, Failure> {
    let Some(keys) = keys else { return render(view, trigger, key, instance, event) };
    let now = view.read(|projection| projection.ground().folded_unix_nanos);
    render_keys(&view.log(), trigger, key, instance, (event, now), keys.to_vec())
}

/// Names an object as the cluster does. Where that is not asked, or away, as its kind says, or what is `held` of its
/// name.
fn named(manifest: &Value, cluster: Option<&dyn Cluster>, held: &[Holding]) -> Result<ObjectKey, Error> {
    let asked = cluster.map(|cluster| {
        // A kind that was named before needs no request. This is not a thread that others wait for.
        let resolve = cluster.resolve(manifest);
        let mut resolve = std::pin::pin!(resolve);
        let at_once = resolve.as_mut().now_or_never();
        at_once.unwrap_or_else(|| tokio::runtime::Handle::current().block_on(resolve))
    });
    match asked {
        Some(Ok(object)) => return Ok(object),
        Some(Err(error)) if !error.is_transient() => return Err(error),
        Some(Err(_)) | None => {}
    }
    let object = object_key(manifest)?;
    let is_same = |holding: &&Holding| {
        let ObjectKey { group, kind, name, namespace, .. } = &holding.object;
        let is_there = object.namespace.is_none() || object.namespace == *namespace;
        *group == object.group && *kind == object.kind && *name == object.name && is_there
    };
    let known = held.iter().find(is_same).map(|holding| holding.object.clone());
    Ok(placed(object, known.as_ref()))
}

/// The event that a lifecycle is present for, as it is now.
pub(super) fn event_now(lifecycle: &Lifecycle) -> Option<Offset> {
    match lifecycle.desired {
        Desired::Present { event } => Some(event),
        Desired::Absent { .. } | Desired::Left => None,
    }
}
