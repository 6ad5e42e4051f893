//! A plan as far as no cluster has to be asked: what would become of every object.
//!
//! Start at [`Planner::draft`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use lifeline_projections::fact::{LifecycleKey, ResourceKey};
use lifeline_projections::fold::{Ground, Projection};
use lifeline_projections::lifecycle::{Desired, Lifecycle};
use lifeline_store::{Disk, Offset};

use super::answer::{Counts, TriggerPlan};
use super::decide::{Decided, Replayed, decide};
use super::listed::listed;
use super::outcome::{Effect, Outcomes};
use super::outlook::{End, Outlook};
use super::{Error, Planner, Wish};
use crate::replay::brake::{Brake, Counted, Withdrawal, confirmation_id};
use crate::replay::texts;
use crate::replay::{Going, Replay};
use crate::rules::spec::SyncMode;
use crate::rules::{RuleSet, Trigger};
use crate::site::{self, Site};
use crate::size::Size;
use crate::status::HeldWithdrawal;

/// Lifecycles or resources that are looked at in one turn, while the recorder waits.
const PIECE: usize = 256;

/// A plan before the cluster is asked.
pub struct Draft {
    pub(super) offset: Offset,
    pub(super) under_way: u64,
    pub(super) rules: Arc<RuleSet>,
    pub(super) in_force: Option<Arc<RuleSet>>,
    pub(super) outlooks: Vec<Outlook>,
    pub(super) effects: Vec<Effect>,
    pub(super) triggers: BTreeMap<String, TriggerPlan>,
    /// The outlooks that stay as they are, for what would go of them is held. What they would make waits with it.
    held: BTreeSet<usize>,
}

/// What would go of a trigger, as the brake counts it.
#[derive(Default)]
struct Loss {
    /// Objects that nobody else may want.
    goes: Going,
    /// Objects beside them that others may want, and why, of the first one.
    waits: Going,
    waits_for: Option<String>,
}

/// Under which name of an instance objects of a site are made. It counts nowhere where manifests are compared.
pub(super) fn instance_of(site: Option<&Site>) -> &str {
    site.map_or(site::INSTANCE, Site::instance)
}

impl<D: Disk> Planner<D> {
    pub(super) fn draft_of(
        &self,
        rules: &Arc<RuleSet>,
        in_force: Option<Arc<RuleSet>>,
        wish: &Wish,
    ) -> Result<Draft, Error> {
        let before = in_force.as_deref().filter(|_| self.is_running());
        let decided = decide(&self.view, rules, before, wish, &self.progress)?;
        let Decided { offset, triggers, mut lifecycles, replay } = decided;
        // What the replay decided of lists is counted as it counts it.
        let counted: BTreeSet<LifecycleKey> = lifecycles.iter().map(|(key, _)| key.clone()).collect();
        let names = triggers.iter().map(|one| one.trigger.as_str());
        let mut keys = listed(&self.view, rules, names, &mut lifecycles);
        self.progress.begin("rendering", lifecycles.len() as u64);
        let mut outlooks = Vec::with_capacity(lifecycles.len());
        let desired: Vec<Desired> = lifecycles.iter().map(|(_, desired)| Desired::from(*desired)).collect();
        for lifecycle in lifecycles {
            self.progress.check()?;
            let site = self.site(&lifecycle.0.cluster);
            let named = (site.as_deref().map(|site| site.cluster()), instance_of(site.as_deref()));
            let keys = keys.remove(&lifecycle.0);
            outlooks.push(Outlook::of(&self.view, rules, named, lifecycle, keys));
            self.progress.one_more();
        }
        let (effects, mut goes) = self.effects(&outlooks, rules)?;
        for (outlook, goes) in outlooks.iter().zip(&mut goes) {
            if !counted.contains(&outlook.key) {
                *goes = Going::default();
            }
        }
        let (losses, mut held) = self.losses(&replay, &outlooks, &desired, &goes)?;
        let under_way = self.view.read(|projection| projection.needing_work().count() as u64);
        let triggers = self.by_trigger(triggers, (rules, in_force.as_deref()), &losses, replay.confirmed())?;
        let is_much = |outlook: &Outlook| {
            let of = triggers.get(&*outlook.key.trigger).and_then(|plan| plan.held.as_ref());
            of.is_some_and(|held| held.waits_for.is_none())
        };
        // A list waits for its keys.
        let is_list = |outlook: &Outlook| {
            outlook.key.resource.is_list()
                && triggers.get(&*outlook.key.trigger).is_some_and(|plan| plan.held.is_some())
        };
        let waits = |at: &usize| !goes[*at].size.is_none() && is_much(&outlooks[*at]) || is_list(&outlooks[*at]);
        held.extend((0..outlooks.len()).filter(waits));
        Ok(Draft { offset, under_way, rules: rules.clone(), in_force, outlooks, effects, triggers, held })
    }

    /// What becomes of every object, and what of each outlook counts for the brake.
    fn effects(&self, outlooks: &[Outlook], rules: &RuleSet) -> Result<(Vec<Effect>, Vec<Going>), Error> {
        let outcomes = Outcomes::new(outlooks, rules);
        let (mut effects, mut goes) = (Vec::new(), Vec::with_capacity(outlooks.len()));
        self.progress.begin("comparing", outlooks.len() as u64);
        for start in (0..outlooks.len()).step_by(PIECE) {
            self.progress.check()?;
            self.view.read(|projection| {
                for at in (start..outlooks.len()).take(PIECE) {
                    let (mut of, objects) = outcomes.of(projection, at);
                    effects.append(&mut of);
                    goes.push(objects);
                }
            });
            self.progress.set(start as u64);
        }
        outcomes.lose_namespaces(&mut effects);
        let (mut gained, mut lost) =
            self.view.read(|projection| (outcomes.gained(projection, &effects), outcomes.lost(projection, &effects)));
        effects.append(&mut gained);
        effects.append(&mut lost);
        Ok((effects, goes))
    }

    /// What would go of each trigger, and which outlooks have to wait because others may want it. As everything is decided
    /// then, so are the others.
    fn losses(
        &self,
        replay: &Replay,
        outlooks: &[Outlook],
        desired: &[Desired],
        goes: &[Going],
    ) -> Result<(BTreeMap<String, Loss>, BTreeSet<usize>), Error> {
        let mut of_resource: BTreeMap<&ResourceKey, Vec<usize>> = BTreeMap::new();
        for (at, outlook) in outlooks.iter().enumerate() {
            of_resource.entry(&outlook.key.resource).or_default().push(at);
        }
        let (mut losses, mut waiting, log) = (BTreeMap::<String, Loss>::new(), BTreeSet::new(), self.view.log());
        for (at, outlook) in outlooks.iter().enumerate().filter(|(at, _)| !goes[*at].size.is_none()) {
            self.progress.check()?;
            let LifecycleKey { trigger, cluster, resource } = &outlook.key;
            let others = of_resource.get(resource).into_iter().flatten();
            let mut then = self.view.read(|projection| projection.resource(&resource.source, &resource.subject));
            let then = then.get_or_insert_default();
            for other in others {
                let key = &outlooks[*other].key;
                let is_it = |one: &&mut Lifecycle| *one.trigger == *key.trigger && *one.cluster == *key.cluster;
                if let Some(known) = then.lifecycles.iter_mut().find(is_it) {
                    known.desired = desired[*other];
                } else {
                    let new = Lifecycle::new(&key.trigger, &key.cluster);
                    then.lifecycles.push(Lifecycle { desired: desired[*other], ..new });
                }
            }
            let fails = |trigger: &Trigger, event| texts::fails(&log, trigger, cluster, event);
            // A key of a list has no object that others could want.
            let waits_for = match outlook.now.inventory.is_empty() {
                true => None,
                false => replay.waits(&fails, trigger, then, cluster),
            };
            let loss = losses.entry(trigger.to_string()).or_default();
            match waits_for {
                Some(reason) => {
                    loss.waits = loss.waits.and(goes[at]);
                    loss.waits_for.get_or_insert(reason);
                    waiting.insert(at);
                }
                None => loss.goes = loss.goes.and(goes[at]),
            }
        }
        Ok((losses, waiting))
    }

    /// The triggers, with what the brake would hold of each. The counts are those of a plan without changes.
    fn by_trigger(
        &self,
        replayed: Vec<Replayed>,
        (rules, in_force): (&RuleSet, Option<&RuleSet>),
        losses: &BTreeMap<String, Loss>,
        confirmed: u64,
    ) -> Result<BTreeMap<String, TriggerPlan>, Error> {
        let (live_of, live) = self.live()?;
        let recorded = |projection: &Projection| match &self.recording {
            Some(recording) => recording.braked(projection),
            None => {
                let Ground { withdrawals, folded_unix_nanos, .. } = projection.ground();
                (Brake::default(), withdrawals.lately(*folded_unix_nanos))
            }
        };
        let (brake, lately) = self.view.read(recorded);
        let none = Loss::default();
        let loss = |one: &Replayed| losses.get(&one.trigger).unwrap_or(&none);
        let of = |one: &Replayed| live_of.get(&one.trigger).copied().unwrap_or_default();
        let counted = replayed.iter().map(|one| {
            let (Size { objects, keys }, of) = (loss(one).goes.size, of(one));
            let (objects, keys) =
                (Withdrawal { goes: objects, of: of.objects }, Withdrawal { goes: keys, of: of.keys });
            Counted { trigger: &one.trigger, objects, keys, live }
        });
        let counted: Vec<Counted<'_>> = counted.collect();
        let much = brake.held(&counted, confirmed, &lately);
        let in_small_steps = lately.values().sum();
        let plan = |(one, is_much): (&Replayed, bool)| {
            let (Loss { goes, waits, waits_for }, live) = (loss(one), of(one));
            // What is little goes, and only the rest of it stays.
            let (stays, of, waits_for) = match is_much {
                true => (goes.and(*waits), live, None),
                false => (*waits, live.without(goes.size), waits_for.clone()),
            };
            let held = HeldWithdrawal {
                id: confirmation_id(&one.trigger, one.digest, stays.names),
                objects: stays.size.objects,
                of: of.objects,
                keys: stays.size.keys,
                keys_of: of.keys,
                lately: in_small_steps,
                waits_for,
            };
            let trigger = rules.trigger(&one.trigger);
            let is_dry = |trigger: &Trigger| trigger.sync_mode() == SyncMode::DryRun;
            let before = in_force.and_then(|rules| rules.trigger(&one.trigger));
            let was_wet = before.is_some_and(|before| !is_dry(before));
            let dry_run = trigger.is_some_and(is_dry);
            let plan = TriggerPlan {
                trigger: one.trigger.clone(),
                why: one.why,
                dry_run,
                untouched: (dry_run && was_wet).then_some(live.objects),
                counts: Counts::default(),
                held: Some(held).filter(|_| !stays.size.is_none()),
                left_because: one.left_because.clone(),
                makes_list: trigger.is_some_and(|trigger| trigger.may_gather() && !trigger.gathers()),
            };
            (one.trigger.clone(), plan)
        };
        Ok(replayed.iter().zip(much).map(plan).collect())
    }

    /// The objects of lifecycles that are present, and keys of lists: by trigger, and all.
    fn live(&self) -> Result<(BTreeMap<String, Size>, Size), Error> {
        let (mut by_trigger, mut all) = (BTreeMap::<String, Size>::new(), Size::default());
        let mut last: Option<ResourceKey> = None;
        loop {
            self.progress.check()?;
            let start = last.take();
            let start = start.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let (seen, reached) = self.view.read(|projection| {
                let (mut seen, mut reached) = (0, None);
                for (key, resource) in projection.resources_from(start).take(PIECE) {
                    for one in resource.lifecycles.iter().filter(|one| one.desired.is_present()) {
                        let size = Size::of(projection, one, key.is_list());
                        all += size;
                        match by_trigger.get_mut(&*one.trigger) {
                            Some(count) => *count += size,
                            None => _ = by_trigger.insert(one.trigger.to_string(), size),
                        }
                    }
                    (seen, reached) = (seen + 1, Some(key));
                }
                (seen, reached)
            });
            last = reached;
            if seen < PIECE {
                return Ok((by_trigger, all));
            }
        }
    }
}

impl Draft {
    /// Whether an effect waits for a confirmation: its lifecycle stays as it is until then.
    pub(super) fn is_held(&self, effect: &Effect) -> bool {
        self.held.contains(&effect.outlook)
    }

    /// The event that an outlook would be present for.
    pub(super) fn event(&self, effect: &Effect) -> Option<Offset> {
        match &self.outlooks[effect.outlook].end {
            End::Present { event, .. } => Some(*event),
            End::Fails(_) | End::DryRun { .. } | End::Absent | End::Left => None,
        }
    }
}
