//! What shall hold of a lifecycle under changed rules, by what is known of it and what the events say. Pure.

use lifeline_projections::fact::Redesired;
use lifeline_projections::lifecycle::{Desired, Lifecycle};

/// What becomes of a lifecycle of which no event decides any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmatched {
    /// Its objects are removed.
    Withdraws,
    /// Its objects are left, as `stopMatchingBehavior: LeavePolicies` says.
    Leaves,
    /// It stays as it is: an event that decides may be hidden.
    Keeps,
}

/// What shall hold from now on, if that has to be recorded: by what is `known` of a lifecycle, and by what the events say under
/// the rules in force.
pub(super) fn redesired(known: Option<&Lifecycle>, found: Option<Desired>, unmatched: Unmatched) -> Option<Redesired> {
    let is_present = known.is_some_and(|known| known.desired.is_present());
    // What is being carried out goes on only once these rules have decided it.
    let needs_work = known.is_some_and(Lifecycle::needs_work);
    match found {
        Some(Desired::Present { event }) => {
            let incarnation = known.map_or(0, |known| known.incarnation).saturating_add(u32::from(!is_present));
            Some(Redesired::Present { event, incarnation })
        }
        Some(Desired::Absent { event }) => (is_present || needs_work).then_some(Redesired::Absent { event }),
        Some(Desired::Left) | None => match known.map(|known| (known.desired, known.incarnation)) {
            Some((Desired::Present { event }, incarnation)) if unmatched == Unmatched::Keeps => {
                needs_work.then_some(Redesired::Present { event, incarnation })
            }
            Some((Desired::Present { .. }, _)) if unmatched == Unmatched::Leaves => Some(Redesired::Left),
            _ => (is_present || needs_work).then_some(Redesired::Absent { event: None }),
        },
    }
}
