//! What a record changes, for whoever keeps a copy of a list and wants to keep it right.
//!
//! Start at [`touched`], which names the resources whose rows a record may change; [`lifecycles`] and [`resources`] then say
//! what became of one: a row that the filter wants, or one that it does not (any more). Rows are always the present
//! ones, so many records about one resource cost one look, and looking twice does no harm.

use crate::fact::{Fact, ResourceKey};
use crate::fold::Projection;
use crate::lifecycle::Phase;
use crate::reads::{Error, Filter, LifecycleRow, ResourceRow, lifecycle_row, resource_row};

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
    let rows = resource.lifecycles.iter().map(|lifecycle| lifecycle_row(key, &resource, lifecycle));
    let rows = rows.filter(|row| is(&filter.trigger, &row.trigger) && is(&filter.cluster, &row.cluster));
    rows.map(|row| if is_phase(filter, &row) { Change::Wanted(row) } else { Change::Unwanted(row) }).collect()
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

/// Whether the filter wants a resource for its key, which never changes.
fn may_want(filter: &Filter, key: &ResourceKey) -> bool {
    filter.source.as_deref().is_none_or(|source| key.source.starts_with(source)) && is(&filter.subject, &key.subject)
}

fn is(wanted: &Option<String>, value: &str) -> bool {
    wanted.as_deref().is_none_or(|wanted| wanted == value)
}

fn is_phase(filter: &Filter, row: &LifecycleRow) -> bool {
    filter.phase.as_deref().is_none_or(|phase| phase.eq_ignore_ascii_case(&row.phase))
}
