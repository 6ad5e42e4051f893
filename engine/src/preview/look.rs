//! What the cluster makes of a plan: the fields that differ, what is there already, and what it refuses.
//!
//! Start at [`Planner::look`]. The cluster is only read, and asked what an apply would make (a dry run of the server).
//! What follows from its answers is decided in [`crate::reconcile::step`], as for an engine. Where it is not asked, the
//! manifest that the rules in force render is compared.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, stream};
use lifeline_projections::fact::{LifecycleKey, ObjectKey, ResourceKey};
use lifeline_projections::lifecycle::Lifecycle;
use lifeline_projections::reads::object_row;
use lifeline_store::{Disk, Offset};

use super::answer::{Action, Against, Change, Counts, Preview};
use super::draft::{Draft, instance_of};
use super::outcome::Effect;
use super::outlook::{End, Outlook, Want, event_now, made};
use super::{Error, Planner};
use crate::cluster;
use crate::error_text::chain;
use crate::fields::{FieldChange, differing};
use crate::reconcile::failure::Failure;
use crate::reconcile::marks::{self, Owner};
use crate::reconcile::plan::Naming;
use crate::reconcile::render::MarkedManifest;
use crate::reconcile::step::{Circumstances, Known, Made, Refusal, Removing, Step, unwanted, wanted};
use crate::reconcile::task::outranks;
use crate::replay::named::Named;
use crate::rules::{RuleSet, Trigger};
use crate::site::Site;

/// Objects that are looked at at once: the cluster has others to serve.
const LOOKS_AT_ONCE: usize = 8;

/// Namespaces that are made, each with its cluster.
type Namespaces = HashSet<(String, ObjectKey)>;

/// What looking at an object comes to.
struct Seen {
    action: Action,
    against: Against,
    fields: Vec<FieldChange>,
    because: Option<String>,
    /// The Namespace that would be made for it.
    makes: Option<ObjectKey>,
    /// Why the cluster could not be asked.
    unasked: Option<String>,
    /// There is nothing to be done.
    is_moot: bool,
}

impl Seen {
    /// The effect as it was.
    fn nothing(effect: &Effect) -> Seen {
        let (against, fields, because) = (Against::Nothing, Vec::new(), effect.because.clone());
        Seen { action: effect.action, against, fields, because, makes: None, unasked: None, is_moot: false }
    }

    fn fails(effect: &Effect, action: Action, failure: Failure) -> Seen {
        Seen { action, against: Against::Cluster, because: Some(failure.message), ..Seen::nothing(effect) }
    }
}

impl<D: Disk> Planner<D> {
    /// The site that a lifecycle's objects are on.
    pub(super) fn site(&self, cluster: &str) -> Option<Arc<Site>> {
        self.sites.as_ref()?.iter().find(|site| **site.name() == *cluster).cloned()
    }

    /// Completes a plan: lists so many of its changes, and compares so many of these with the cluster.
    ///
    /// # Errors
    /// When nobody waits for it any more.
    pub async fn look(&self, draft: Draft, changes_max: usize, looks_max: usize) -> Result<Preview, Error> {
        let mut effects = draft.effects.clone();
        effects.sort_by_key(|effect| effect.outlook);
        // What waits for a Namespace is rendered by its own lifecycle.
        let is_looked_at = |effect: &Effect| match effect.action {
            Action::Create => effect.from.is_none(),
            Action::Update | Action::Delete | Action::HandOver => true,
            Action::Replace | Action::Leave | Action::Conflict | Action::Fail => false,
        };
        let made = |effect: &&Effect| effect.action == Action::Create;
        let namespaces: Namespaces = effects
            .iter()
            .filter(made)
            .filter_map(|effect| {
                let object = effect.object.clone().filter(ObjectKey::is_namespace)?;
                Some((draft.outlooks[effect.outlook].key.cluster.to_string(), object))
            })
            .collect();
        let listed = effects.len().min(changes_max);
        self.progress.begin("looking", listed as u64);
        let mut looks = 0;
        let looking: Vec<(Effect, bool)> = effects[..listed]
            .iter()
            .map(|effect| {
                let is_looked = is_looked_at(effect) && looks < looks_max && self.site_of(&draft, effect).is_some();
                looks += usize::from(is_looked);
                (effect.clone(), is_looked)
            })
            .collect();
        let asked: Vec<bool> = looking.iter().map(|(_, is_looked)| *is_looked).collect();
        let seen = stream::iter(looking).map(|(effect, is_looked)| {
            let (draft, namespaces) = (&draft, &namespaces);
            async move {
                let seen = match is_looked {
                    true => self.seen(draft, &effect, namespaces).await,
                    false => self.rendered(draft, &effect),
                };
                self.progress.one_more();
                seen
            }
        });
        let mut seen = seen.buffered(LOOKS_AT_ONCE);
        let mut all = Vec::with_capacity(listed);
        while let Some(one) = seen.next().await {
            self.progress.check()?;
            all.push(one);
            if all.len().is_multiple_of(LOOKS_AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
        drop(seen);
        let not_asked = effects.iter().filter(|effect| is_looked_at(effect)).count() > looks;
        Ok(self.preview(&draft, &effects, all, &asked, not_asked))
    }

    fn preview(&self, draft: &Draft, effects: &[Effect], seen: Vec<Seen>, asked: &[bool], not_asked: bool) -> Preview {
        let unasked = seen.iter().find_map(|seen| seen.unasked.clone());
        let looked_at = seen.iter().filter(|seen| seen.against == Against::Cluster).count() as u64;
        let why_not = match (&self.sites, asked.contains(&true)) {
            (None, _) => "the engine is stopped",
            (Some(_), _) => "they are more than were asked for",
        };
        // Nothing is deleted before all that is wanted exists.
        let failing = effects.iter().zip(&seen).filter(|(_, seen)| seen.action == Action::Fail);
        let failing: HashSet<usize> = failing.map(|(effect, _)| effect.outlook).collect();
        let stays = |effect: &Effect| {
            let is_present = matches!(draft.outlooks[effect.outlook].end, End::Present { .. });
            effect.action == Action::Delete && is_present && effect.from.is_none() && failing.contains(&effect.outlook)
        };
        let mut triggers = draft.triggers.clone();
        let (mut counts, mut changes, mut more_changes) = (Counts::default(), Vec::new(), 0);
        let mut made = HashSet::new();
        let mut seen = seen.into_iter();
        for effect in effects {
            let seen = seen.next();
            if stays(effect) || seen.as_ref().is_some_and(|seen| seen.is_moot) {
                continue;
            }
            let is_held = draft.is_held(effect);
            let action = seen.as_ref().map_or(effect.action, |seen| seen.action);
            let change = seen.map(|seen| (seen.makes.clone(), self.change(draft, effect, is_held, seen)));
            let mut count = |action, is_held, trigger: &str| {
                counts.add(action, is_held);
                triggers.get_mut(trigger).into_iter().for_each(|plan| plan.counts.add(action, is_held));
            };
            count(action, is_held, &draft.outlooks[effect.outlook].key.trigger);
            let Some((makes, change)) = change else {
                more_changes += 1;
                continue;
            };
            let makes = makes.filter(|namespace| made.insert((change.cluster.clone(), namespace.clone())));
            if let Some(namespace) = makes {
                count(Action::Create, false, &change.trigger);
                let because = Some("it is missing, and is made without any fields".to_owned());
                let (object, fields) = (Some(object_row(&namespace, None)), Vec::new());
                let action = Action::Create;
                changes.push(Change { action, object, fields, because, ..change.clone() });
            }
            changes.push(change);
        }
        let came_meanwhile = self.view.read(|projection| projection.watermark().get()) - draft.offset.get();
        Preview {
            offset: draft.offset.get(),
            came_meanwhile,
            under_way: draft.under_way,
            problems: Vec::new(),
            counts,
            triggers: triggers.into_values().collect(),
            changes,
            more_changes,
            looked_at,
            not_looked_because: unasked.or_else(|| not_asked.then(|| why_not.to_owned())),
        }
    }

    fn change(&self, draft: &Draft, effect: &Effect, held: bool, seen: Seen) -> Change {
        let outlook = &draft.outlooks[effect.outlook];
        let from = effect.from.map(|index| self.view.read(|projection| projection.lifecycle_key(index)));
        // What comes or goes with a Namespace belongs to another lifecycle than the Namespace.
        let (key, from_trigger) = match (effect.action, from, &effect.to) {
            (Action::Create | Action::Delete | Action::Replace, Some(whose), _) => (whose, None),
            (_, Some(from), _) => (outlook.key.clone(), Some(from.trigger.to_string())),
            (_, None, Some(to)) => (to.clone(), Some(outlook.key.trigger.to_string())),
            (_, None, None) => (outlook.key.clone(), None),
        };
        let uid = effect.object.as_ref().and_then(|object| recorded_uid(&outlook.now, object)).map(str::to_owned);
        Change {
            action: seen.action,
            trigger: key.trigger.to_string(),
            cluster: key.cluster.to_string(),
            source: key.resource.source.to_string(),
            subject: key.resource.subject.to_string(),
            object: effect.object.as_ref().map(|object| object_row(object, uid)),
            from_trigger,
            held,
            against: seen.against,
            fields: seen.fields,
            because: seen.because,
        }
    }

    fn site_of(&self, draft: &Draft, effect: &Effect) -> Option<Arc<Site>> {
        self.site(&draft.outlooks[effect.outlook].key.cluster)
    }

    /// The manifest that an effect is about, under the rules in question.
    fn manifest(&self, draft: &Draft, effect: &Effect) -> Option<MarkedManifest> {
        let Outlook { key, keys, .. } = &draft.outlooks[effect.outlook];
        self.given(&draft.rules, key, (draft.event(effect)?, keys.as_deref()), effect.object.as_ref()?)
    }

    /// The manifest of an object that rules give for an event, or for a list with these keys.
    fn given(
        &self,
        rules: &RuleSet,
        key: &LifecycleKey,
        made_of: (Offset, Option<&[(ResourceKey, Offset)]>),
        object: &ObjectKey,
    ) -> Option<MarkedManifest> {
        let site = self.site(&key.cluster);
        let instance = instance_of(site.as_deref());
        let manifests = made(&self.view, rules.trigger(&key.trigger)?, key, instance, made_of).ok()?;
        manifests.into_iter().find(|one| Named::of(&one.manifest).is_of(object))
    }

    /// What differs from the manifest that the rules in force give.
    fn rendered(&self, draft: &Draft, effect: &Effect) -> Seen {
        let nothing = Seen::nothing(effect);
        if !matches!(effect.action, Action::Update | Action::HandOver) {
            return nothing;
        }
        let (key, lifecycle) = self.whose(draft, effect);
        let before = draft.in_force.as_ref().zip(event_now(&lifecycle)).zip(effect.object.as_ref());
        let before = before.and_then(|((rules, event), object)| self.given(rules, &key, (event, None), object));
        match (before, self.manifest(draft, effect)) {
            (Some(before), Some(after)) => {
                let hides_values = before.handling.hides_values || after.handling.hides_values;
                let fields = differing(&before.manifest, &after.manifest, hides_values);
                Seen { against: Against::Rendered, fields, ..nothing }
            }
            _ => nothing,
        }
    }

    /// What the cluster says.
    async fn seen(&self, draft: &Draft, effect: &Effect, namespaces: &Namespaces) -> Seen {
        let asked = self.asked(draft, effect, namespaces).await;
        match asked {
            Some(Ok(seen)) => seen,
            Some(Err(error)) => Seen { unasked: Some(chain(&error)), ..self.rendered(draft, effect) },
            None => self.rendered(draft, effect),
        }
    }

    async fn asked(
        &self,
        draft: &Draft,
        effect: &Effect,
        namespaces: &Namespaces,
    ) -> Option<Result<Seen, cluster::Error>> {
        let (outlook, object) = (&draft.outlooks[effect.outlook], effect.object.as_ref()?);
        if effect.action == Action::Delete {
            return Some(self.deleted(draft, effect, object).await);
        }
        let (site, marked) = (self.site_of(draft, effect)?, self.manifest(draft, effect)?);
        let trigger = draft.rules.trigger(&outlook.key.trigger);
        // In the name that the engine will act in: a plan shows nobody what he may not see.
        let cluster = site.cluster_as(trigger.and_then(Trigger::account));
        let adopts = trigger.is_some_and(Trigger::adopts);
        let mut naming = Naming::default();
        let schema = if marked.plain.is_empty() { None } else { cluster.schema(object).await };
        naming.add(marked, schema.as_deref(), object.clone(), false, adopts).ok()?;
        let want = naming.wanted().pop()?;
        site.afford_last().await;
        let live = match cluster.get(object).await {
            Ok(live) => live,
            Err(error) => return Some(Err(error)),
        };
        site.afford_last().await;
        let Some(live) = live else {
            let because =
                (effect.action != Action::Create).then(|| "it is not there any more, and is made again".to_owned());
            let made = Seen { action: Action::Create, against: Against::Cluster, because, ..Seen::nothing(effect) };
            return Some(match cluster.dry_run(object, &want.manifest, None).await {
                Ok(_) => Ok(made),
                Err(cluster::Error::NamespaceMissing { namespace }) => {
                    Ok(self.homeless(draft, effect, made, &namespace, namespaces))
                }
                Err(error) => refused(want.worded(error), object, effect),
            });
        };
        let recorded = recorded_uid(&outlook.now, object);
        let is_ours = recorded == Some(&live.uid) || effect.from.is_some();
        let mut because = effect.because.clone();
        if !is_ours {
            let owner = marks::owner(&live, &outlook.key);
            let outranks_marks = self.outranks(object, Some(&owner));
            let is_elsewhere = marks::is_elsewhere(&live, |name| site.is_instance(name));
            let circumstances = Circumstances { outranks_marks, is_elsewhere, ..Circumstances::default() };
            match wanted(&want, None, &Known::Found(Some(live.clone())), &outlook.key, circumstances) {
                Step::End(Made::Foreign(owner)) => {
                    return Some(Ok(Seen::fails(effect, Action::Conflict, Failure::of_foreign_object(object, &owner))));
                }
                Step::End(Made::Terminating(held_by)) => {
                    let failure = Failure::of_terminating_object(object, held_by.as_deref());
                    return Some(Ok(Seen::fails(effect, Action::Fail, failure)));
                }
                _ if owner == Owner::Stranger => {
                    because = Some("it was not made by Lifeline, and is taken over".to_owned());
                }
                _ => because = Some("it is there already".to_owned()),
            }
        }
        let action = if effect.action == Action::Create { Action::Update } else { effect.action };
        Some(match cluster.dry_run(object, &want.manifest, Some(&live.uid)).await {
            Ok(after) => {
                let hides_values = want.handling.hides_values;
                let fields = after.map(|after| differing(&live.manifest, &after.manifest, hides_values));
                // A cluster that cannot say what an apply would make.
                let Some(fields) = fields else { return Some(Ok(self.rendered(draft, effect))) };
                Ok(Seen { action, against: Against::Cluster, fields, because, ..Seen::nothing(effect) })
            }
            Err(cluster::Error::Immutable { fields, .. } | cluster::Error::Left { fields, .. })
                if want.handling.recreates =>
            {
                let because = Some(format!("{fields} cannot be changed in place"));
                Ok(Seen { action: Action::Replace, against: Against::Cluster, because, ..Seen::nothing(effect) })
            }
            Err(error) => refused(want.worded(error), object, effect),
        })
    }

    /// An object that is no longer wanted: it may be gone, or belong to others.
    async fn deleted(&self, draft: &Draft, effect: &Effect, object: &ObjectKey) -> Result<Seen, cluster::Error> {
        let (key, lifecycle) = self.whose(draft, effect);
        let nothing = Seen { because: effect.from.and(effect.because.clone()), ..Seen::nothing(effect) };
        let (Some(site), Some(holding)) = (self.site_of(draft, effect), lifecycle.holding(object)) else {
            return Ok(nothing);
        };
        site.afford_last().await;
        let live = site.cluster().get(object).await?;
        let marked = live.as_ref().map(|live| marks::owner(live, &key));
        let outranks_marks = self.outranks(object, marked.as_ref());
        let is_elsewhere = live.as_ref().is_some_and(|live| marks::is_elsewhere(live, |name| site.is_instance(name)));
        let circumstances = Circumstances { outranks_marks, is_elsewhere, ..Circumstances::default() };
        let step = unwanted(holding, &Known::Found(live), &key, circumstances, Removing::DeletesToo);
        let is_moot = !matches!(step, Step::Delete { .. });
        Ok(Seen { against: Against::Cluster, is_moot, ..nothing })
    }

    /// Whether the claims on an object count more than its marks.
    fn outranks(&self, object: &ObjectKey, marked: Option<&Owner>) -> bool {
        match marked {
            Some(Owner::Other { key }) => self.view.read(|projection| outranks(projection, object, key)),
            Some(Owner::Us | Owner::Elsewhere { .. } | Owner::Stranger) | None => false,
        }
    }

    /// The lifecycle that has the object of an effect now.
    fn whose(&self, draft: &Draft, effect: &Effect) -> (LifecycleKey, Lifecycle) {
        match effect.from {
            Some(index) => self.view.read(|projection| {
                let (resource, lifecycle) = projection.lifecycle(index);
                (lifecycle.key(resource), lifecycle)
            }),
            None => (draft.outlooks[effect.outlook].key.clone(), draft.outlooks[effect.outlook].now.clone()),
        }
    }

    /// An object whose Namespace is missing.
    fn homeless(&self, draft: &Draft, effect: &Effect, made: Seen, name: &str, namespaces: &Namespaces) -> Seen {
        let (namespace, cluster) = (ObjectKey::of_namespace(name), &draft.outlooks[effect.outlook].key.cluster);
        let (Some(want), Some(object)) = (outlook_want(draft, effect), effect.object.as_ref()) else { return made };
        let is_claimed = || self.view.read(|projection| !projection.claims(cluster, &namespace).is_empty());
        if namespaces.contains(&(cluster.to_string(), namespace.clone())) {
            return made;
        }
        match want.makes_namespace && !is_claimed() {
            true => Seen { makes: Some(namespace), ..made },
            false => Seen::fails(effect, Action::Fail, Failure::of_missing_namespace(object)),
        }
    }
}

/// What an answer comes to that is no object: a refusal is what an engine would get, anything else says nothing.
fn refused(error: cluster::Error, object: &ObjectKey, effect: &Effect) -> Result<Seen, cluster::Error> {
    match error {
        cluster::Error::Immutable { fields, message } => {
            let refusal = Refusal { fields, message, uid: None, is_left: false };
            Ok(Seen::fails(effect, Action::Fail, Failure::of_immutable_object(object, &refusal)))
        }
        cluster::Error::Left { fields, message } => {
            let refusal = Refusal { fields, message, uid: None, is_left: true };
            Ok(Seen::fails(effect, Action::Fail, Failure::of_immutable_object(object, &refusal)))
        }
        cluster::Error::Invalid { .. }
        | cluster::Error::Denied { .. }
        | cluster::Error::Forbidden { .. }
        | cluster::Error::NamespaceTerminating { .. }
        | cluster::Error::UnknownKind { .. } => {
            Ok(Seen::fails(effect, Action::Fail, Failure::of_cluster(&object.to_string(), &error)))
        }
        error => Err(error),
    }
}

fn recorded_uid<'l>(lifecycle: &'l Lifecycle, object: &ObjectKey) -> Option<&'l str> {
    Some(&lifecycle.holding(object)?.applied.as_ref()?.uid)
}

fn outlook_want<'d>(draft: &'d Draft, effect: &Effect) -> Option<&'d Want> {
    match &draft.outlooks[effect.outlook].end {
        End::Present { wants, .. } => wants.iter().find(|want| Some(&want.object) == effect.object.as_ref()),
        End::Fails(_) | End::DryRun { .. } | End::Absent | End::Left => None,
    }
}
