//! What a record changes, for whoever keeps a copy of a list and wants to keep it right.
//!
//! Start at [`touched`], which names the resources whose rows a record may change; [`lifecycles`] and [`resources`] then say
//! what became of one: a row that the filter wants, or one that it does not (any more). [`touched_holders`] and [`objects`],
//! [`touched_rule`] and [`rule`] are like them. Rows are always the present ones, so many records about one resource cost
//! one look, and looking twice does no harm.
//!
//! Lifecycles and resources stay for ever; objects and rules go. Nothing in the present state tells of what went, so
//! whoever reads the records keeps in mind what they took away: see [`LetGo`].

use std::collections::BTreeMap;

use lifeline_store::{Disk, Offset, Reader};

use crate::as_of;
use crate::fact::{Fact, LifecycleKey, ObjectKey, Outcome, Redesired, ResourceKey};
use crate::fold::{Projection, ResourceIndex, Trail};
use crate::landmarks::Landmarks;
use crate::lifecycle::Phase;
use crate::reads::{
    Error, Filter, LifecycleRow, OwnedObjectRow, ResourceRow, RuleRow, is_owned, lifecycle_row, object_row,
    owned_object_row, resource_row, rule_row, time,
};

/// A record, and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The record.
    pub record: Offset,
    /// When, in nanoseconds since 1970.
    pub unix_nanos: u64,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<T> {
    /// The filter wants it, as it is now.
    Wanted(T),
    /// The filter does not want it, as it is now: whoever has it drops it, whoever has it not does nothing.
    Unwanted(T),
}

/// Names the resources, source and subject, whose rows a record may change.
pub fn touched(fact: &Fact<'_>, mut name: impl FnMut(&str, &str)) {
    match fact {
        Fact::EventReceived { source, subject, .. } => name(source, subject),
        Fact::TriggerReplayed { redecisions, .. } => {
            redecisions.iter().for_each(|redecision| name(&redecision.resource.source, &redecision.resource.subject));
        }
        Fact::ApplyIntended { key, .. }
        | Fact::Applied { key, .. }
        | Fact::ApplyFailed { key, .. }
        | Fact::Deleted { key, .. }
        | Fact::Released { key, .. } => name(&key.resource.source, &key.resource.subject),
        Fact::EventRejected { .. }
        | Fact::StreamOpened { .. }
        | Fact::GapFound { .. }
        | Fact::RuleChanged { .. }
        | Fact::RecordLost { .. } => {}
    }
}

/// What a lifecycle let go of in some records.
///
/// Most records name the objects. One that withdraws a trigger which leaves them does not: [`LetGo::recall`] tells them from
/// what the lifecycle was before.
#[derive(Debug, Clone, Default)]
pub struct LetGo {
    objects: BTreeMap<ObjectKey, Mark>,
    /// Records by which it let go of all that it held, each with the one before it that spoke of the resource.
    of_all: Vec<(Mark, Option<Offset>)>,
}

impl LetGo {
    /// Whether objects went that no record names.
    #[must_use]
    pub fn is_vague(&self) -> bool {
        !self.of_all.is_empty()
    }

    /// Tells the objects that no record names. `index` is the number of the lifecycle's resource.
    ///
    /// # Errors
    /// When a record that it takes is no longer held, or cannot be read or understood.
    pub fn recall<D: Disk>(
        &mut self,
        key: &LifecycleKey,
        index: ResourceIndex,
        log: &Reader<D>,
        landmarks: &Landmarks,
    ) -> Result<(), as_of::Error> {
        for (mark, previous) in &self.of_all {
            let Some(last_record) = *previous else { continue };
            // Begun at the record before, for the one that lets go may speak of thousands.
            let trail = Trail { key: key.resource.clone(), index, last_record, unchanged: None };
            let resource = as_of::resource(log, landmarks, &trail, mark.record)?;
            let lifecycles = resource.iter().flat_map(|resource| &resource.lifecycles);
            for lifecycle in lifecycles.filter(|of| *of.trigger == *key.trigger && *of.cluster == *key.cluster) {
                self.objects.extend(lifecycle.inventory.iter().map(|holding| (holding.object.clone(), *mark)));
            }
        }
        self.of_all.clear();
        Ok(())
    }
}

/// Notes the lifecycles whose objects' rows a record may change, each with what it let go of.
pub fn touched_holders(fact: &Fact<'_>, mark: Mark, holders: &mut BTreeMap<LifecycleKey, LetGo>) {
    match fact {
        Fact::EventReceived { delivery, source, subject, decisions, .. } => {
            for decision in decisions {
                match decision.outcome {
                    Outcome::Create | Outcome::Delete => {}
                    Outcome::NoAction(_) | Outcome::Failed(_) => continue,
                }
                let resource = ResourceKey { source: (*source).into(), subject: (*subject).into() };
                let (trigger, cluster) = (decision.trigger.into(), delivery.cluster.into());
                holders.entry(LifecycleKey { trigger, cluster, resource }).or_default();
            }
        }
        Fact::TriggerReplayed { trigger, redecisions, .. } => {
            for redecision in redecisions {
                let (cluster, resource) = (redecision.cluster.clone(), redecision.resource.clone());
                let let_go = holders.entry(LifecycleKey { trigger: trigger.clone(), cluster, resource }).or_default();
                match redecision.desired {
                    Redesired::Left => let_go.of_all.push((mark, redecision.previous)),
                    Redesired::Present { .. } | Redesired::Absent { .. } => {}
                }
            }
        }
        Fact::ApplyIntended { key, .. } | Fact::Applied { key, .. } | Fact::ApplyFailed { key, .. } => {
            holders.entry(key.clone()).or_default();
        }
        Fact::Deleted { key, objects, .. } | Fact::Released { key, objects, .. } => {
            let let_go = holders.entry(key.clone()).or_default();
            let_go.objects.extend(objects.iter().map(|object| (object.clone(), mark)));
        }
        Fact::EventRejected { .. }
        | Fact::StreamOpened { .. }
        | Fact::GapFound { .. }
        | Fact::RuleChanged { .. }
        | Fact::RecordLost { .. } => {}
    }
}

/// The rule that a record says something about.
#[must_use]
pub fn touched_rule<'f>(fact: &Fact<'f>) -> Option<&'f str> {
    match fact {
        Fact::RuleChanged { rule, .. } => Some(rule),
        Fact::EventReceived { .. }
        | Fact::EventRejected { .. }
        | Fact::StreamOpened { .. }
        | Fact::GapFound { .. }
        | Fact::TriggerReplayed { .. }
        | Fact::ApplyIntended { .. }
        | Fact::Applied { .. }
        | Fact::ApplyFailed { .. }
        | Fact::Deleted { .. }
        | Fact::RecordLost { .. }
        | Fact::Released { .. } => None,
    }
}

/// Refuses a filter that no row can ever pass.
///
/// # Errors
/// When there is no such phase.
pub fn check(filter: &Filter) -> Result<(), Error> {
    match &filter.phase {
        Some(phase) if !Phase::ALL.iter().any(|known| known.as_str().eq_ignore_ascii_case(phase)) => {
            Err(Error::Phase { phase: phase.clone() })
        }
        _ => Ok(()),
    }
}

/// What became of the lifecycles of one resource, of those that the filter may ever want.
#[must_use]
pub fn lifecycles(projection: &Projection, key: &ResourceKey, filter: &Filter) -> Vec<Change<LifecycleRow>> {
    if !may_want(filter, key) {
        return Vec::new();
    }
    let Some(resource) = projection.resource(&key.source, &key.subject) else { return Vec::new() };
    let its = resource.lifecycles.iter();
    let its = its.filter(|of| is(&filter.trigger, &of.trigger) && is(&filter.cluster, &of.cluster));
    let changes = its.map(|lifecycle| {
        let row = lifecycle_row(key, &resource, lifecycle);
        if is_phase(filter, lifecycle.phase()) { Change::Wanted(row) } else { Change::Unwanted(row) }
    });
    changes.collect()
}

/// What became of one resource; none when the filter can never want it, or no event ever spoke of it.
#[must_use]
pub fn resources(projection: &Projection, key: &ResourceKey, filter: &Filter) -> Option<Change<ResourceRow>> {
    let resource = projection.resource(&key.source, &key.subject)?;
    if !may_want(filter, key) || resource.events == 0 {
        return None;
    }
    let wants_all = filter.trigger.is_none() && filter.cluster.is_none() && filter.phase.is_none();
    let wanted =
        wants_all || lifecycles(projection, key, filter).iter().any(|change| matches!(change, Change::Wanted(_)));
    let row = resource_row(key, &resource);
    Some(if wanted { Change::Wanted(row) } else { Change::Unwanted(row) })
}

/// What became of the objects of one lifecycle, if the filter may ever want it; first those that went.
///
/// A row of the list is told by its object and its owner together, so an object that changes hands goes from one and comes to
/// the other. One that its lifecycle does not hold any more has no row: what is told of it is its name and its owner, no uid,
/// and which record took it away, when.
#[must_use]
pub fn objects(
    projection: &Projection,
    key: &LifecycleKey,
    let_go: &LetGo,
    filter: &Filter,
) -> Vec<Change<OwnedObjectRow>> {
    let is_its = is(&filter.trigger, &key.trigger) && is(&filter.cluster, &key.cluster);
    if !is_its || !may_want(filter, &key.resource) {
        return Vec::new();
    }
    let Some(index) = projection.lifecycle_index(key) else { return Vec::new() };
    let (resource, lifecycle) = projection.lifecycle(index);
    let gone = let_go.objects.iter().filter(|(object, _)| lifecycle.holding(object).is_none());
    let gone = gone.map(|(object, mark)| Change::Unwanted(gone_object_row(key, object, *mark)));
    let is_wanted = is_phase(filter, lifecycle.phase());
    let held = lifecycle.inventory.iter().map(|holding| {
        let row = owned_object_row(&resource, &lifecycle, holding);
        if is_wanted && is_owned(&lifecycle, holding) { Change::Wanted(row) } else { Change::Unwanted(row) }
    });
    gone.chain(held).collect()
}

fn gone_object_row(key: &LifecycleKey, object: &ObjectKey, gone: Mark) -> OwnedObjectRow {
    OwnedObjectRow {
        object: object_row(object, None),
        cluster: key.cluster.to_string(),
        trigger: key.trigger.to_string(),
        source: key.resource.source.to_string(),
        subject: key.resource.subject.to_string(),
        offset: gone.record.get(),
        time: Some(time(gone.unix_nanos)),
    }
}

/// What became of one rule. One that is gone has no digest, and the offset of the record that says so.
#[must_use]
pub fn rule(projection: &Projection, rule: &str, record: Offset) -> Change<RuleRow> {
    match projection.ground().rules.get(rule) {
        Some(mark) => Change::Wanted(rule_row(rule, mark)),
        None => Change::Unwanted(RuleRow { rule: rule.to_owned(), digest: String::new(), offset: record.get() }),
    }
}

/// Whether the filter wants a resource for its key, which never changes.
fn may_want(filter: &Filter, key: &ResourceKey) -> bool {
    filter.source.as_deref().is_none_or(|source| key.source.starts_with(source)) && is(&filter.subject, &key.subject)
}

fn is(wanted: &Option<String>, value: &str) -> bool {
    wanted.as_deref().is_none_or(|wanted| wanted == value)
}

fn is_phase(filter: &Filter, phase: Phase) -> bool {
    filter.phase.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(phase.as_str()))
}

#[cfg(test)]
mod tests;
