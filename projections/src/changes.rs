//! What a record changes, for a client that keeps a copy of a list and wants to keep it right.
//!
//! The links of a fact name the resources whose rows it may change; [`lifecycles`] and [`resources`] then say what became of
//! one: a row that the filter wants, or one that it does not (any more). [`touched_holders`] and [`objects`] are like them,
//! and so is [`rule`]. Rows are always the present ones, so many records about one resource cost
//! one look, and looking twice does no harm.
//!
//! Lifecycles and resources stay for ever; objects and rules go. Nothing in the present state says what went, so
//! a reader of the records keeps in mind what they took away: see [`LetGo`].

use std::collections::BTreeMap;

use lifeline_store::{Disk, Offset, Reader};

use crate::as_of;
use crate::fact::{Fact, LifecycleKey, ObjectKey, Redesired, ResourceKey};
use crate::fold::{Projection, ResourceIndex, Trail};
use crate::happened::{Change, Happened};
use crate::landmarks::Landmarks;
use crate::lifecycle::Phase;
use crate::reads::{
    Error, Filter, LifecycleRow, OwnedObjectRow, ResourceRow, RuleRow, has_kind, holds_kind, is_kind, is_owned,
    lifecycle_row, object_row, owned_object_row, resource_row, rule_row, time,
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
pub enum RowChange<T> {
    /// The filter wants it, as it is now.
    Wanted(T),
    /// The filter does not want it, as it is now: a client that has it drops it, another does nothing.
    Unwanted(T),
}

/// What a lifecycle let go of in some records.
///
/// Most records name the objects. One that withdraws a trigger which leaves them does not: [`LetGo::recall`] finds them from
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

    /// The objects that no record names. `index` is the number of the lifecycle's resource.
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
    for link in fact.links() {
        for Change { trigger, cluster, happened } in link.happened() {
            let key = LifecycleKey { trigger: trigger.into(), cluster: cluster.into(), resource: link.key() };
            let let_go = holders.entry(key).or_default();
            match happened {
                Happened::Redecided(Redesired::Left) => let_go.of_all.push((mark, link.previous)),
                Happened::Removed { objects, .. } => {
                    let_go.objects.extend(objects.iter().map(|object| (object.clone(), mark)));
                }
                Happened::DecidedCreate
                | Happened::DecidedDelete
                | Happened::Redecided(_)
                | Happened::ApplyIntended(_)
                | Happened::Recreated(_)
                | Happened::Applied { .. }
                | Happened::Drifted(_)
                | Happened::ApplyFailed { .. } => {}
            }
        }
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
pub fn lifecycles(projection: &Projection, key: &ResourceKey, filter: &Filter) -> Vec<RowChange<LifecycleRow>> {
    if !may_want(filter, key) {
        return Vec::new();
    }
    let Some(resource) = projection.resource(&key.source, &key.subject) else { return Vec::new() };
    let its = resource.lifecycles.iter();
    let its = its.filter(|of| is(&filter.trigger, &of.trigger) && is(&filter.cluster, &of.cluster));
    let changes = its.map(|lifecycle| {
        let row = lifecycle_row(key, &resource, lifecycle);
        if is_in_phase(filter, lifecycle.phase()) && holds_kind(filter, lifecycle) {
            RowChange::Wanted(row)
        } else {
            RowChange::Unwanted(row)
        }
    });
    changes.collect()
}

/// What became of one resource; none when the filter can never want it, or no event ever spoke of it.
#[must_use]
pub fn resources(projection: &Projection, key: &ResourceKey, filter: &Filter) -> Option<RowChange<ResourceRow>> {
    let resource = projection.resource(&key.source, &key.subject)?;
    if !may_want(filter, key) || resource.events == 0 {
        return None;
    }
    // The phase was checked when the watch began.
    let sieve = filter.sieve().ok()?;
    let its = resource.lifecycles.iter().map(|of| (&*of.trigger, &*of.cluster, of.phase()));
    let is_wanted = sieve.wants_any(its) && has_kind(filter, &sieve, &resource);
    let row = resource_row(key, &resource);
    Some(if is_wanted { RowChange::Wanted(row) } else { RowChange::Unwanted(row) })
}

/// What became of the objects of one lifecycle, if the filter may ever want it; first those that went.
///
/// A row of the list is identified by its object and its owner together, so an object that changes hands goes from one and
/// comes to the other. One that its lifecycle does not hold any more has no row: what is said of it is its name and its
/// owner, no uid, and which record took it away, when.
#[must_use]
pub fn objects(
    projection: &Projection,
    key: &LifecycleKey,
    let_go: &LetGo,
    filter: &Filter,
) -> Vec<RowChange<OwnedObjectRow>> {
    let is_its = is(&filter.trigger, &key.trigger) && is(&filter.cluster, &key.cluster);
    if !is_its || !may_want(filter, &key.resource) {
        return Vec::new();
    }
    let Some(index) = projection.lifecycle_index(key) else { return Vec::new() };
    let (resource, lifecycle) = projection.lifecycle(index);
    let gone = let_go.objects.iter().filter(|(object, _)| is_kind(filter, object));
    let gone = gone.filter(|(object, _)| lifecycle.holding(object).is_none());
    let gone = gone.map(|(object, mark)| RowChange::Unwanted(gone_object_row(key, object, *mark)));
    let is_wanted = is_in_phase(filter, lifecycle.phase());
    let held = lifecycle.inventory.iter().filter(|holding| is_kind(filter, &holding.object));
    let held = held.map(|holding| {
        let row = owned_object_row(&resource, &lifecycle, holding);
        if is_wanted && is_owned(&lifecycle, holding) { RowChange::Wanted(row) } else { RowChange::Unwanted(row) }
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
pub fn rule(projection: &Projection, rule: &str, record: Offset) -> RowChange<RuleRow> {
    match projection.ground().rules.get(rule) {
        Some(mark) => RowChange::Wanted(rule_row(rule, mark)),
        None => RowChange::Unwanted(RuleRow { rule: rule.to_owned(), digest: String::new(), offset: record.get() }),
    }
}

/// Whether the filter wants a resource for its key, which never changes.
fn may_want(filter: &Filter, key: &ResourceKey) -> bool {
    filter.source.as_deref().is_none_or(|source| key.source.starts_with(source)) && is(&filter.subject, &key.subject)
}

fn is(wanted: &Option<String>, value: &str) -> bool {
    wanted.as_deref().is_none_or(|wanted| wanted == value)
}

fn is_in_phase(filter: &Filter, phase: Phase) -> bool {
    filter.phase.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(phase.as_str()))
        && filter.gone.is_none_or(|wanted| wanted == (phase == Phase::Gone))
}

#[cfg(test)]
mod tests;
