//! What a lifecycle that stays present would lose under changed rules: the objects that the changed texts no longer give.
//!
//! A text that is emptied by accident, a kind or a name that is misspelt: each would delete what lives, as a rule that is
//! removed does. So the [`brake`](super::brake) counts it too.

use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{EventReceived, Fact, ObjectKey};
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::{Holding, Lifecycle};
use lifeline_store::{Disk, Offset, Reader};
use serde_json::Value;

use crate::error_text::chain;
use crate::lists;
use crate::rules::Trigger;
use crate::rules::spec::SyncMode;

/// The objects of a lifecycle that `trigger` does not give for this event. None where it cannot be rendered: then the lifecycle
/// fails, and keeps what it has. None either where nothing is applied.
pub(super) fn lost<'l, D: Disk>(
    log: &Reader<D>,
    projection: &Projection,
    trigger: &Trigger,
    lifecycle: &'l Lifecycle,
    event: Offset,
) -> Vec<&'l Holding> {
    if lifecycle.inventory.is_empty() || trigger.sync_mode() == SyncMode::DryRun {
        return Vec::new();
    }
    let Ok(given) = given(log, projection, trigger, &lifecycle.cluster, event) else { return Vec::new() };
    lifecycle
        .inventory
        .iter()
        .filter(|holding| !given.iter().any(|manifest| is_of(manifest, &holding.object)))
        .collect()
}

/// Why it is not known what a trigger wants for an event: its texts cannot be rendered. `None` where they can, and where it only
/// runs dry, for then it takes nothing over.
pub(super) fn fails<D: Disk>(
    log: &Reader<D>,
    projection: &Projection,
    trigger: &Trigger,
    cluster: &str,
    event: Offset,
) -> Option<String> {
    if trigger.sync_mode() == SyncMode::DryRun {
        return None;
    }
    given(log, projection, trigger, cluster, event).err()
}

/// How many objects a lifecycle counts for. A key that is in a list counts as an object there: a list that loses its keys is no
/// small loss.
pub(crate) fn holds(projection: &Projection, lifecycle: &Lifecycle) -> u64 {
    let Lifecycle { trigger, cluster, inventory, .. } = lifecycle;
    let list = projection.decision("", trigger, trigger, cluster);
    let is_listed = list.is_some_and(|(desired, _)| desired.is_present());
    (inventory.len() as u64).max(u64::from(is_listed))
}

/// The manifests that a trigger gives for an event, or for all live keys.
///
/// # Errors
/// Why it fails, in one line.
fn given<D: Disk>(
    log: &Reader<D>,
    projection: &Projection,
    trigger: &Trigger,
    cluster: &str,
    event: Offset,
) -> Result<Vec<Value>, String> {
    let lost = || format!("the event at offset {event} cannot be read");
    let record = log.read(event).ok().flatten().ok_or_else(lost)?;
    let rendered = match Fact::decode(&record.payload) {
        Ok(Fact::Event(EventReceived { headers, payload, .. })) => {
            let event = CloudEvent::to_map(&headers, payload).map_err(|_| lost())?;
            trigger.manifests(&event, cluster, record.time_unix_nanos)
        }
        Ok(Fact::Gathered(_)) => {
            let mut keys = projection.live_keys(trigger.name(), cluster, 0..u32::MAX);
            keys.sort_unstable();
            let events = lists::events(log, trigger.name(), keys).map_err(|_| "its keys cannot be read".to_owned())?;
            trigger.list(events, cluster, record.time_unix_nanos)
        }
        _ => return Err(lost()),
    };
    let rendered = rendered.map_err(|error| {
        let said = chain(&error);
        said.lines().next().unwrap_or_default().to_owned()
    })?;
    Ok(rendered.into_iter().map(|one| one.manifest).collect())
}

/// Whether a manifest is about an object. The version does not count. A namespace that is not written is the default one, or
/// none, which only the cluster knows: it counts as the same.
pub(crate) fn is_of(manifest: &Value, object: &ObjectKey) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&manifest["apiVersion"]);
    let group = version.rsplit_once('/').map_or("", |(group, _)| group);
    let namespace = manifest["metadata"]["namespace"].as_str();
    *group == *object.group
        && text(&manifest["kind"]) == *object.kind
        && text(&manifest["metadata"]["name"]) == *object.name
        && namespace.is_none_or(|namespace| object.namespace.as_deref().is_none_or(|own| *own == *namespace))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_known_by_group_kind_name_and_namespace() {
        let object = |group: &str, kind: &str, namespace: Option<&str>, name: &str| ObjectKey {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        };
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1beta1", "kind": "Role",
            "metadata": {"name": "reader", "namespace": "ann"}});
        assert!(is_of(&role, &object("rbac.authorization.k8s.io", "Role", Some("ann"), "reader")));
        assert!(!is_of(&role, &object("rbac.authorization.k8s.io", "Role", Some("bob"), "reader")));
        assert!(!is_of(&role, &object("rbac.authorization.k8s.io", "Role", Some("ann"), "writer")));
        assert!(!is_of(&role, &object("", "Role", Some("ann"), "reader")));
        let anywhere = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
        assert!(is_of(&anywhere, &object("", "ConfigMap", Some("default"), "c")));
        assert!(!is_of(&anywhere, &object("", "Secret", Some("default"), "c")));
        assert!(!is_of(&json!(7), &object("", "Secret", None, "c")));
    }
}
