//! What a lifecycle that stays present would lose under changed rules: the objects that the changed texts no longer give.
//!
//! A text that is emptied by accident, a kind or a name that is misspelt: each would delete what lives, as a rule that is
//! removed does. So the [`brake`](super::brake) counts it too. What texts give is asked of [`Known`].

use lifeline_projections::lifecycle::{Holding, Lifecycle};
use lifeline_store::Offset;

use super::named::Named;
use super::texts::Known;
use crate::rules::Trigger;
use crate::rules::spec::SyncMode;

/// The objects of a lifecycle that `trigger` does not give for this event, or for the keys that its list will have. None where
/// it cannot be rendered: then the lifecycle fails, and keeps what it has. None either where nothing is applied, and until it is
/// known.
pub(super) fn lost<'l>(
    known: &Known<'_>,
    trigger: &Trigger,
    lifecycle: &'l Lifecycle,
    event: Offset,
) -> Vec<&'l Holding> {
    if lifecycle.inventory.is_empty() || trigger.sync_mode() == SyncMode::DryRun {
        return Vec::new();
    }
    let Some(Ok(given)) = known.given(trigger.name(), &lifecycle.cluster, event) else { return Vec::new() };
    lifecycle.inventory.iter().filter(|holding| !Named::gives(given, &holding.object)).collect()
}

/// Why it is not known what a trigger wants for an event: its texts cannot be rendered. `None` where they can, and where it only
/// runs dry, for then it takes nothing over; and until it is known.
pub(super) fn fails(known: &Known<'_>, trigger: &Trigger, cluster: &str, event: Offset) -> Option<String> {
    if trigger.sync_mode() == SyncMode::DryRun {
        return None;
    }
    known.given(trigger.name(), cluster, event)?.as_ref().err().cloned()
}
