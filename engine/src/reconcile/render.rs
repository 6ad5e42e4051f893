//! From a lifecycle's event to the manifests that shall exist.
//!
//! Start at [`render`]. Reads one record of the log, asks the trigger in force for its manifests, and marks them. Never
//! here: the cluster.

use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{Fact, LifecycleKey};
use lifeline_store::{Disk, Offset, Reader};
use serde_json::Value;

use crate::reconcile::apply_set::Stamp;
use crate::reconcile::failure::{Failure, Retry};
use crate::recorder::chain;
use crate::rules::RuleSet;

/// A manifest, marked as its lifecycle's.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The manifest.
    pub manifest: Value,
    /// Which document and key of it gave the manifest, for messages.
    pub origin: String,
    /// Whether an object that somebody else made may be taken over (`policyRefs[].force`).
    pub force: bool,
}

/// The manifests that `event` asks for; `None` when the trigger is not in force.
///
/// # Errors
/// When the record cannot be read, or a template fails.
pub fn render<D: Disk>(
    log: &Reader<D>,
    rules: &RuleSet,
    key: &LifecycleKey,
    event: Offset,
) -> Result<Option<Vec<Rendered>>, Failure> {
    let Some(trigger) = rules.trigger(&key.trigger) else { return Ok(None) };
    let lost = |reason: String| Failure {
        message: format!("the event at offset {event} cannot be read: {reason}"),
        retry: Retry::Slowly,
    };
    let record = log.read(event).map_err(|error| lost(chain(&error)))?;
    let record = record.ok_or_else(|| lost("the log no longer holds it".to_owned()))?;
    let fact = Fact::decode(&record.payload).map_err(|error| lost(chain(&error)))?;
    let Fact::EventReceived { headers, payload, .. } = fact else {
        return Err(lost("it is no event".to_owned()));
    };
    // Attributes that are sound do not promise data that can be read. The same bytes give the same error, however often.
    let event_map = CloudEvent::to_map(&headers, payload)
        .map_err(|error| Failure { retry: Retry::Never, ..lost(error.to_string()) })?;
    let rendered = trigger
        .manifests(&event_map, &key.cluster, record.time_unix_nanos)
        .map_err(|error| Failure { message: chain(&error), retry: Retry::Never })?;
    let stamp = Stamp { key, event };
    let marked = rendered.into_iter().map(|one| {
        let origin = format!("{}, key `{}`", one.from, one.key);
        let mut manifest = one.manifest;
        stamp.mark(&mut manifest);
        Rendered { manifest, origin, force: one.force }
    });
    Ok(Some(marked.collect()))
}
