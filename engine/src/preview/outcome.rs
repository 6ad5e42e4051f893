//! What would become of each object, by who would want it.
//!
//! Start at [`Outcomes::of`]. Of the lifecycles that claim an object the first one has it, and a strictly lower tier
//! takes it: that is how an engine ends up, whichever of them acts first. Pure: the projection and the outlooks in,
//! effects out.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use lifeline_projections::fact::{LifecycleKey, ObjectKey, ResourceKey};
use lifeline_projections::fold::{Claim, LifecycleIndex, Projection};
use lifeline_projections::lifecycle::Holding;

use super::answer::Action;
use super::outlook::{Does, End, Outlook, Want};
use crate::reconcile::failure::named;
use crate::replay::Going;
use crate::rules::{RuleSet, Standing, Trigger};
use crate::size::Size;

/// What would be done about one object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Effect {
    pub action: Action,
    /// Of which outlook.
    pub outlook: usize,
    /// `None` where a lifecycle as a whole fails.
    pub object: Option<ObjectKey>,
    /// Who hands it over, where that is not the outlook's lifecycle.
    pub from: Option<LifecycleIndex>,
    /// Who has it from then on, where that is a lifecycle that is not decided again.
    pub to: Option<LifecycleKey>,
    pub because: Option<String>,
}

/// All outlooks, and how they meet.
pub(super) struct Outcomes<'a> {
    outlooks: &'a [Outlook],
    rules: &'a RuleSet,
    decided: HashMap<LifecycleIndex, usize>,
    /// Who would want an object that it does not claim yet.
    newly: HashMap<(&'a str, &'a ObjectKey), Vec<usize>>,
    /// Of lists whose trigger is gone: whether others take over all of their objects.
    is_taken_over: RefCell<BTreeMap<LifecycleKey, bool>>,
}

/// One that claims an object, or would.
struct Claimant {
    /// `None` where there is no such lifecycle yet, or it does not claim the object yet.
    claims: Option<LifecycleIndex>,
    outlook: Option<usize>,
    /// At which tier it would want the object; `None` where it would not.
    tier: Option<i32>,
}

impl<'a> Outcomes<'a> {
    pub(super) fn new(outlooks: &'a [Outlook], rules: &'a RuleSet) -> Outcomes<'a> {
        let decided = outlooks.iter().enumerate().filter_map(|(at, outlook)| Some((outlook.index?, at))).collect();
        let mut newly: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, outlook) in outlooks.iter().enumerate() {
            let End::Present { wants, .. } = &outlook.end else { continue };
            for want in wants.iter().filter(|want| outlook.now.holding(&want.object).is_none()) {
                newly.entry((&*outlook.key.cluster, &want.object)).or_default().push(at);
            }
        }
        Outcomes { outlooks, rules, decided, newly, is_taken_over: RefCell::default() }
    }

    /// What an outlook comes to, and which objects count for the brake.
    pub(super) fn of(&self, projection: &Projection, at: usize) -> (Vec<Effect>, Going) {
        let outlook = &self.outlooks[at];
        let effect = |action, object: &ObjectKey| Effect {
            action,
            outlook: at,
            object: Some(object.clone()),
            from: None,
            to: None,
            because: None,
        };
        let held = || outlook.now.inventory.iter().filter(|holding| holding.applied.is_some());
        match &outlook.end {
            End::Present { wants, stops_at_conflict, .. } => {
                let mut effects = Vec::new();
                let mut stopped: Option<&ObjectKey> = None;
                for want in wants {
                    if let (Some(conflict), Does::Change | Does::Make) = (stopped, want.does) {
                        let because = format!("it is left out because of the conflict over {conflict}");
                        effects.push(Effect { because: Some(because), ..effect(Action::Fail, &want.object) });
                        continue;
                    }
                    let (mut about, is_conflict) = self.wanted(projection, at, want);
                    effects.append(&mut about);
                    if is_conflict && *stops_at_conflict {
                        stopped = Some(&want.object);
                    }
                }
                let is_left_out = effects.iter().any(|effect| effect.action == Action::Fail);
                let is_unwanted = |holding: &&Holding| wants.iter().all(|want| want.object != holding.object);
                let (mut removed, goes) = self.removed(projection, at, is_unwanted);
                // Nothing is deleted before all that is wanted exists.
                removed.retain(|effect| !is_left_out || effect.action != Action::Delete);
                effects.append(&mut removed);
                (effects, goes)
            }
            End::Fails(message) => {
                let is_news = outlook.now.failure.as_ref().is_none_or(|failure| failure.error != *message);
                let fail = Effect {
                    object: None,
                    because: Some(message.clone()),
                    ..effect(Action::Fail, &ObjectKey::of_namespace(""))
                };
                (is_news.then_some(fail).into_iter().collect(), Going::default())
            }
            End::DryRun { is_present } => {
                let goes = if *is_present { Going::default() } else { self.taken(projection, at).1 };
                (Vec::new(), goes)
            }
            End::Absent => self.taken(projection, at),
            End::Left => (held().map(|holding| effect(Action::Leave, &holding.object)).collect(), Going::default()),
        }
    }

    /// What becomes of a wanted object, and whether another one has it.
    fn wanted(&self, projection: &Projection, at: usize, want: &Want) -> (Vec<Effect>, bool) {
        let (outlook, object) = (&self.outlooks[at], &want.object);
        let claimants = self.claimants(projection, &outlook.key.cluster, object);
        let effect =
            |action| Effect { action, outlook: at, object: Some(object.clone()), from: None, to: None, because: None };
        let first = claimants.iter().find_map(|claimant| claimant.claims);
        let is_first = first.is_some() && first == outlook.index;
        // It was let go of since the lifecycle was looked at: that counts as what came meanwhile.
        let Some(winner) = winner(&claimants) else { return (Vec::new(), false) };
        if winner.outlook == Some(at) {
            let from = first.filter(|first| Some(*first) != outlook.index);
            let from = from.filter(|from| is_applied(projection, *from, object));
            let action = match (from, want.does) {
                (Some(_), _) => Action::HandOver,
                (None, Does::Keep) => return (Vec::new(), false),
                (None, Does::Change) => Action::Update,
                (None, Does::Make) => Action::Create,
            };
            return (vec![Effect { from, ..effect(action) }], false);
        }
        let mut effects = Vec::new();
        let owner = self.key(projection, winner);
        // It has it now, and hands it over to one that is not decided again.
        if winner.outlook.is_none() && is_first && want.does != Does::Make {
            effects.push(Effect { to: Some(owner.clone()), ..effect(Action::HandOver) });
        }
        let waits_already = outlook.now.holding(object).is_some() && !is_first && outlook.now.failure.is_some();
        if !waits_already {
            let because = format!("it is held by {}", named(&owner.trigger, &owner.resource));
            effects.push(Effect { because: Some(because), ..effect(Action::Conflict) });
        }
        (effects, true)
    }

    /// What becomes of all that a lifecycle has. It may be a key in a list, which counts as well.
    fn taken(&self, projection: &Projection, at: usize) -> (Vec<Effect>, Going) {
        let Outlook { key, now, .. } = &self.outlooks[at];
        let (effects, goes) = self.removed(projection, at, |_| true);
        let is_key = now.desired.is_present()
            && Size::of(projection, now, key.resource.is_list()).keys > 0
            && !self.list_is_taken_over(projection, key);
        if is_key { (effects, goes.and(Going::of_key(&key.cluster, &key.resource))) } else { (effects, goes) }
    }

    /// Whether the trigger is gone, and others take over all objects of its list: then the keys change hands with it.
    fn list_is_taken_over(&self, projection: &Projection, key: &LifecycleKey) -> bool {
        let LifecycleKey { trigger, cluster, .. } = key;
        if !matches!(self.rules.standing(trigger), Standing::Absent) {
            return false;
        }
        let list = LifecycleKey { resource: ResourceKey::of_list(trigger), ..key.clone() };
        if let Some(known) = self.is_taken_over.borrow().get(&list) {
            return *known;
        }
        let found = projection.lifecycle_index(&list).map(|index| projection.lifecycle(index).1);
        let is_taken_over = found.is_some_and(|found| {
            let stays = |holding: &Holding| winner(&self.claimants(projection, cluster, &holding.object)).is_some();
            !found.inventory.is_empty() && found.inventory.iter().all(stays)
        });
        self.is_taken_over.borrow_mut().insert(list, is_taken_over);
        is_taken_over
    }

    /// What becomes of holdings that are no longer wanted, and which of them nobody wants.
    fn removed(
        &self,
        projection: &Projection,
        at: usize,
        is_unwanted: impl Fn(&&Holding) -> bool,
    ) -> (Vec<Effect>, Going) {
        let outlook = &self.outlooks[at];
        let (mut effects, mut goes) = (Vec::new(), Vec::new());
        for holding in outlook.now.inventory.iter().filter(is_unwanted) {
            let object = &holding.object;
            let claimants = self.claimants(projection, &outlook.key.cluster, object);
            let is_first = claimants.iter().find_map(|claimant| claimant.claims) == outlook.index;
            let winner = winner(&claimants);
            if outlook.now.desired.is_present() && winner.is_none_or(|winner| self.is_out_of_force(projection, winner))
            {
                goes.push(object);
            }
            let Some(applied) = holding.applied.as_ref().filter(|_| is_first) else { continue };
            let (action, to) = match winner {
                None => (Action::Delete, None),
                // That one says so.
                Some(winner) if winner.outlook.is_some() => continue,
                Some(winner) => (Action::HandOver, Some(self.key(projection, winner))),
            };
            // As for an object in a Namespace that went.
            let is_doubtful = outlook.now.desired.is_present() && !applied.is_known();
            let because = is_doubtful.then(|| "it may be gone already: what the cluster holds is not known".to_owned());
            effects.push(Effect { action, outlook: at, object: Some(object.clone()), from: None, to, because });
        }
        (effects, Going::of(&outlook.key.cluster, goes.into_iter()))
    }

    /// Whether it is not known what a claimant goes on wanting.
    fn is_out_of_force(&self, projection: &Projection, claimant: &Claimant) -> bool {
        let index = claimant.claims.filter(|_| claimant.outlook.is_none());
        index.is_some_and(|index| matches!(self.rules.standing(projection.head(index).trigger), Standing::OutOfForce))
    }

    /// What is wanted in a Namespace that is deleted: it goes with it, or cannot be made.
    pub(super) fn lose_namespaces(&self, effects: &mut [Effect]) {
        let deleted = effects.iter().filter(|effect| effect.action == Action::Delete);
        let deleted: HashSet<(String, String)> = deleted
            .filter_map(|effect| {
                let object = effect.object.as_ref().filter(|object| object.is_namespace())?;
                Some((self.outlooks[effect.outlook].key.cluster.to_string(), object.name.to_string()))
            })
            .collect();
        for effect in effects.iter_mut() {
            let outlook = &self.outlooks[effect.outlook];
            let Some(name) = effect.object.as_ref().and_then(|object| object.namespace.clone()) else { continue };
            if !deleted.contains(&(outlook.key.cluster.to_string(), name.to_string())) {
                continue;
            }
            let makes_namespace = match &outlook.end {
                End::Present { wants, .. } => {
                    let want = wants.iter().find(|want| Some(&want.object) == effect.object.as_ref());
                    want.is_some_and(|want| want.makes_namespace)
                }
                End::Fails(_) | End::DryRun { .. } | End::Absent | End::Left => false,
            };
            effect.action = match (effect.action, makes_namespace) {
                (Action::Create, false) => Action::Fail,
                (Action::Update | Action::HandOver, true) => Action::Replace,
                (Action::Update | Action::HandOver, false) => Action::Delete,
                _ => continue,
            };
            effect.because = Some(format!("its Namespace `{name}` is deleted"));
        }
    }

    /// What waits for Namespaces that are made, of lifecycles that are not decided again.
    pub(super) fn gained(&self, projection: &Projection, effects: &[Effect]) -> Vec<Effect> {
        let mut gained = Vec::new();
        for effect in effects.iter().filter(|effect| effect.action == Action::Create) {
            let Some(namespace) = effect.object.as_ref().filter(|object| object.is_namespace()) else { continue };
            let cluster = &self.outlooks[effect.outlook].key.cluster;
            for (index, objects) in projection.claims_inside(cluster, &[&*namespace.name].into()) {
                let (_, lifecycle) = projection.lifecycle(index);
                if self.decided.contains_key(&index) || !lifecycle.desired.is_present() {
                    continue;
                }
                let waits = |object: &ObjectKey| {
                    let applied = lifecycle.holding(object).and_then(|holding| holding.applied.as_ref());
                    let is_first = projection.claims(cluster, object).first().is_some_and(|one| one.lifecycle == index);
                    is_first && applied.is_none_or(|applied| !applied.is_known())
                };
                gained.extend(objects.into_iter().filter(waits).map(|object| Effect {
                    action: Action::Create,
                    outlook: effect.outlook,
                    object: Some(object),
                    from: Some(index),
                    to: None,
                    because: Some(format!("it waits for {namespace}")),
                }));
            }
        }
        gained
    }

    /// What goes with Namespaces that are deleted: those by cluster and name.
    pub(super) fn lost(&self, projection: &Projection, effects: &[Effect]) -> Vec<Effect> {
        let mut lost = Vec::new();
        let deleted = effects.iter().filter(|effect| effect.action == Action::Delete);
        let namespaces: BTreeMap<(&str, &str), usize> = deleted
            .filter_map(|effect| {
                let object = effect.object.as_ref().filter(|object| object.is_namespace())?;
                Some(((&*self.outlooks[effect.outlook].key.cluster, &*object.name), effect.outlook))
            })
            .collect();
        let known: HashSet<(&str, &ObjectKey)> = effects
            .iter()
            .filter_map(|effect| Some((&*self.outlooks[effect.outlook].key.cluster, effect.object.as_ref()?)))
            .collect();
        for ((cluster, name), by) in namespaces {
            let namespace = ObjectKey::of_namespace(name);
            for (index, objects) in projection.claims_inside(cluster, &[name].into()) {
                for object in objects {
                    let is_there = is_applied(projection, index, &object)
                        && projection.claims(cluster, &object).first().is_some_and(|claim| claim.lifecycle == index);
                    if !is_there || known.contains(&(cluster, &object)) {
                        continue;
                    }
                    let outlook = self.decided.get(&index).copied();
                    let makes_it_again = outlook.and_then(|at| match &self.outlooks[at].end {
                        End::Present { wants, .. } => wants.iter().find(|want| want.object == object),
                        _ => None,
                    });
                    let action = match makes_it_again.is_some_and(|want| want.makes_namespace) {
                        true => Action::Replace,
                        false => Action::Delete,
                    };
                    let because = Some(format!("it goes with {namespace}"));
                    let (outlook, from) = (outlook.unwrap_or(by), outlook.is_none().then_some(index));
                    lost.push(Effect { action, outlook, object: Some(object), from, to: None, because });
                }
            }
        }
        lost
    }

    fn claimants(&self, projection: &Projection, cluster: &str, object: &ObjectKey) -> Vec<Claimant> {
        let tier_of = |trigger: &str| self.rules.trigger(trigger).map_or(0, Trigger::tier_max);
        let known = projection.claims(cluster, object).into_iter().map(|Claim { lifecycle, .. }| {
            let outlook = self.decided.get(&lifecycle).copied();
            let tier = match outlook {
                Some(at) => self.outlooks[at].wants_at(object, tier_of(&self.outlooks[at].key.trigger)),
                None => {
                    let head = projection.head(lifecycle);
                    head.desired.is_present().then(|| tier_of(head.trigger))
                }
            };
            Claimant { claims: Some(lifecycle), outlook, tier }
        });
        let newly = self.newly.get(&(cluster, object)).into_iter().flatten();
        let newly =
            newly.map(|at| Claimant { claims: None, outlook: Some(*at), tier: self.outlooks[*at].wants_at(object, 0) });
        known.chain(newly).collect()
    }

    fn key(&self, projection: &Projection, claimant: &Claimant) -> LifecycleKey {
        match (claimant.outlook, claimant.claims) {
            (Some(at), _) => self.outlooks[at].key.clone(),
            (None, Some(index)) => projection.lifecycle_key(index),
            (None, None) => unreachable!("who does not claim it yet is decided again"),
        }
    }
}

/// Who has the object in the end: the lowest tier, and of one tier the first claim.
fn winner(claimants: &[Claimant]) -> Option<&Claimant> {
    claimants.iter().filter(|claimant| claimant.tier.is_some()).min_by_key(|claimant| claimant.tier)
}

/// Whether a lifecycle has applied an object.
fn is_applied(projection: &Projection, index: LifecycleIndex, object: &ObjectKey) -> bool {
    projection.holding(index, object).is_some_and(|holding| holding.applied.is_some())
}

#[cfg(test)]
mod tests {
    use lifeline_projections::lifecycle::Lifecycle;
    use lifeline_store::Offset;

    use super::*;
    use crate::reconcile::stories::Then::{Applied, Create, Intends};
    use crate::reconcile::stories::{Then, folded, key, object};

    /// What a subject shall want: these objects, with their tiers, or none.
    type Wants = Option<&'static [(&'static str, i32, Does)]>;

    fn outlook(projection: &Projection, subject: &str, wants: Wants) -> Outlook {
        let key = key(subject);
        let index = projection.lifecycle_index(&key);
        let now =
            index.map_or_else(|| Lifecycle::new(&key.trigger, &key.cluster), |index| projection.lifecycle(index).1);
        let want = |(name, tier, does): &(&str, i32, Does)| Want {
            object: object(name),
            tier: *tier,
            makes_namespace: false,
            does: *does,
        };
        let end = wants.map_or(End::Absent, |wants| End::Present {
            event: Offset::ZERO,
            wants: wants.iter().map(want).collect(),
            stops_at_conflict: false,
        });
        Outlook { key, index, now, end, keys: None }
    }

    #[test]
    fn who_wants_an_object_has_it_and_what_nobody_wants_is_deleted() {
        use Does::{Change, Keep, Make};
        let check = |story: &[(&str, Then)],
                     decided: &[(&str, Wants)],
                     expected: &[(Action, &str, &str)],
                     goes: u64| {
            let projection = folded(story);
            let outlooks: Vec<Outlook> =
                decided.iter().map(|(subject, wants)| outlook(&projection, subject, *wants)).collect();
            let rules = RuleSet::empty();
            let outcomes = Outcomes::new(&outlooks, &rules);
            let (mut effects, mut counted) = (Vec::new(), 0);
            for at in 0..outlooks.len() {
                let (mut of, objects) = outcomes.of(&projection, at);
                effects.append(&mut of);
                counted += objects.size.objects;
            }
            outcomes.lose_namespaces(&mut effects);
            let mut lost = outcomes.lost(&projection, &effects);
            effects.append(&mut lost);
            let found: Vec<(Action, String, String)> = effects
                .iter()
                .map(|effect| {
                    let subject = outlooks[effect.outlook].key.resource.subject.to_string();
                    (effect.action, effect.object.as_ref().map_or_else(String::new, |object| object.short()), subject)
                })
                .collect();
            let expected: Vec<_> =
                expected.iter().map(|(action, object, of)| (*action, (*object).to_owned(), (*of).to_owned())).collect();
            assert_eq!(found, expected, "{story:?} {decided:?}");
            assert_eq!(counted, goes, "{story:?} {decided:?}");
        };
        let zoe = [("zoe", Create), ("zoe", Intends("n")), ("zoe", Applied("n", 0, "u"))];
        let both = [&zoe[..], &[("ann", Create), ("ann", Intends("n"))]].concat();
        check(&zoe, &[("zoe", None)], &[(Action::Delete, "Namespace/n", "zoe")], 1);
        check(&zoe, &[("zoe", Some(&[("n", 100, Keep)]))], &[], 0);
        check(&zoe, &[("zoe", Some(&[("n", 100, Change)]))], &[(Action::Update, "Namespace/n", "zoe")], 0);
        // What was only intended is not known to be there, but counts.
        check(&zoe[..2], &[("zoe", None)], &[], 1);
        // A lifecycle that is not decided again waits for it, or one that is new wants it.
        check(&both, &[("zoe", None)], &[(Action::HandOver, "Namespace/n", "zoe")], 0);
        let renamed: &[(&str, Wants)] = &[("new", Some(&[("n", 100, Make)])), ("zoe", None)];
        check(&zoe, renamed, &[(Action::HandOver, "Namespace/n", "new")], 0);
        // The first claim has it, and a lower tier takes it.
        let wants = |tier| -> Wants { if tier == 100 { Some(&[("n", 100, Make)]) } else { Some(&[("n", 50, Make)]) } };
        let kept: Wants = Some(&[("n", 100, Keep)]);
        check(&zoe, &[("new", wants(100)), ("zoe", kept)], &[(Action::Conflict, "Namespace/n", "new")], 0);
        let taken = [(Action::HandOver, "Namespace/n", "new"), (Action::Conflict, "Namespace/n", "zoe")];
        check(&zoe, &[("new", wants(50)), ("zoe", kept)], &taken, 0);
        // Nothing is made in a Namespace that is deleted.
        let guest: &[(&str, Wants)] = &[("new", Some(&[("n/b", 100, Make)])), ("zoe", None)];
        check(&zoe, guest, &[(Action::Fail, "ConfigMap/n/b", "new"), (Action::Delete, "Namespace/n", "zoe")], 1);
        // What is in a Namespace goes with it, whosever it is.
        let inside = [&zoe[..], &[("ann", Create), ("ann", Intends("n/a")), ("ann", Applied("n/a", 3, "v"))]].concat();
        let lost = [(Action::Delete, "Namespace/n", "zoe"), (Action::Delete, "ConfigMap/n/a", "zoe")];
        check(&inside, &[("zoe", None)], &lost, 1);
    }
}
