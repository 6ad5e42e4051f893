//! A plan as far as no cluster has to be asked: what would become of every object.
//!
//! Start at [`Planner::draft`].

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use lifeline_projections::fact::ResourceKey;
use lifeline_store::{Disk, Offset};

use super::answer::{Action, Counts, TriggerPlan};
use super::decide::{Decided, Replayed, decide};
use super::outcome::{Effect, Outcomes};
use super::outlook::{End, Outlook};
use super::{Error, Planner, Wish};
use crate::replay::brake::{Withdrawal, confirmation_id};
use crate::rules::RuleSet;
use crate::rules::spec::SyncMode;
use crate::site::{self, Site};
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
        let Decided { offset, triggers, lifecycles } = decide(&self.view, rules, before, wish, &self.progress)?;
        self.progress.begin("rendering", lifecycles.len() as u64);
        let mut outlooks = Vec::with_capacity(lifecycles.len());
        for lifecycle in lifecycles {
            self.progress.check()?;
            let site = self.site(&lifecycle.0.cluster);
            let named = (site.as_deref().map(|site| site.cluster()), instance_of(site.as_deref()));
            outlooks.push(Outlook::of(&self.view, rules, named, lifecycle));
            self.progress.one_more();
        }
        let (effects, goes) = self.effects(&outlooks, rules)?;
        let under_way = self.view.read(|projection| projection.needing_work().count() as u64);
        let triggers = self.by_trigger(triggers, rules, &goes)?;
        Ok(Draft { offset, under_way, rules: rules.clone(), in_force, outlooks, effects, triggers })
    }

    /// What becomes of every object, and how many of each trigger count for the brake.
    fn effects(&self, outlooks: &[Outlook], rules: &RuleSet) -> Result<(Vec<Effect>, BTreeMap<String, u64>), Error> {
        let outcomes = Outcomes::new(outlooks, rules);
        let (mut effects, mut goes) = (Vec::new(), BTreeMap::<String, u64>::new());
        self.progress.begin("comparing", outlooks.len() as u64);
        for start in (0..outlooks.len()).step_by(PIECE) {
            self.progress.check()?;
            self.view.read(|projection| {
                for (at, outlook) in outlooks.iter().enumerate().skip(start).take(PIECE) {
                    let (mut of, objects) = outcomes.of(projection, at);
                    effects.append(&mut of);
                    *goes.entry(outlook.key.trigger.to_string()).or_default() += objects;
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

    /// The triggers, with what the brake would hold of each. The counts are those of a plan without changes.
    fn by_trigger(
        &self,
        replayed: Vec<Replayed>,
        rules: &RuleSet,
        goes: &BTreeMap<String, u64>,
    ) -> Result<BTreeMap<String, TriggerPlan>, Error> {
        let (live_of, live) = self.live()?;
        let (brake, lately) = self.recording.as_ref().map(|recording| recording.braked()).unwrap_or_default();
        let of = |by_trigger: &BTreeMap<String, u64>, trigger: &str| by_trigger.get(trigger).copied().unwrap_or(0);
        let withdrawal =
            |one: &Replayed| Withdrawal { objects: of(goes, &one.trigger), of: of(&live_of, &one.trigger) };
        let counted: Vec<_> = replayed.iter().map(|one| (one.trigger.as_str(), withdrawal(one), live)).collect();
        let held = brake.held(&counted, 0, &lately);
        let in_small_steps = lately.values().sum();
        let plan = |(one, is_held): (&Replayed, bool)| {
            let Withdrawal { objects, of } = withdrawal(one);
            let id = confirmation_id(&one.trigger, one.digest);
            let trigger = rules.trigger(&one.trigger);
            let plan = TriggerPlan {
                trigger: one.trigger.clone(),
                why: one.why,
                dry_run: trigger.is_some_and(|trigger| trigger.sync_mode() == SyncMode::DryRun),
                counts: Counts::default(),
                held: is_held.then_some(HeldWithdrawal { id, objects, of, lately: in_small_steps }),
                left_because: one.left_because.clone(),
            };
            (one.trigger.clone(), plan)
        };
        Ok(replayed.iter().zip(held).map(plan).collect())
    }

    /// The objects of lifecycles that are present: by trigger, and all.
    fn live(&self) -> Result<(BTreeMap<String, u64>, u64), Error> {
        let (mut by_trigger, mut all) = (BTreeMap::<String, u64>::new(), 0);
        let mut last: Option<ResourceKey> = None;
        loop {
            self.progress.check()?;
            let start = last.take();
            let start = start.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let (seen, reached) = self.view.read(|projection| {
                let (mut seen, mut reached) = (0, None);
                for (key, resource) in projection.resources_from(start).take(PIECE) {
                    for one in resource.lifecycles.iter().filter(|one| one.desired.is_present()) {
                        let objects = one.inventory.len() as u64;
                        all += objects;
                        match by_trigger.get_mut(&*one.trigger) {
                            Some(count) => *count += objects,
                            None => _ = by_trigger.insert(one.trigger.to_string(), objects),
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
    /// Whether an effect waits for a confirmation.
    pub(super) fn is_held(&self, effect: &Effect) -> bool {
        let trigger = &self.outlooks[effect.outlook].key.trigger;
        effect.action == Action::Delete && self.triggers.get(&**trigger).is_some_and(|plan| plan.held.is_some())
    }

    /// The event that an outlook would be present for.
    pub(super) fn event(&self, effect: &Effect) -> Option<Offset> {
        match &self.outlooks[effect.outlook].end {
            End::Present { event, .. } => Some(*event),
            End::Fails(_) | End::DryRun { .. } | End::Absent | End::Left => None,
        }
    }
}
