//! Which objects may be deleted and made again, because a field that can never change shall change.
//!
//! Start at [`may_recreate`]. [`Noted`] remembers what is recorded of objects. Never here: whose an object is;
//! that is in [`super::step`].

use std::collections::HashSet;

use lifeline_projections::fact::ObjectKey;
use lifeline_projections::fold::LifecycleIndex;
use parking_lot::Mutex;
use serde_json::Value;

/// On a manifest: the object may be deleted and made again.
pub const RECREATE: &str = "lifeline.dev/recreate";

/// The same, as Sveltos writes it.
const FORCE_RECREATE: &str = "projectsveltos.io/forceRecreate";

/// Objects that are kept in mind at most. One that is forgotten is recorded once more.
const RECREATING_MAX: usize = 10_000;

/// What is done once: to record of an object that it is deleted in order to be made again, or what the cluster changed of it,
/// and to ask the owner of one to try again. By lifecycle; the text has the uid, or whose it is.
#[derive(Debug, Default)]
pub struct Noted(Mutex<HashSet<(LifecycleIndex, String)>>);

impl Noted {
    /// Notes something that is about to be recorded. Whether it was not noted before.
    pub fn note(&self, index: LifecycleIndex, what: &str) -> bool {
        let mut noted = self.0.lock();
        if noted.len() >= RECREATING_MAX {
            noted.clear();
        }
        noted.insert((index, what.to_owned()))
    }
}

/// Whether an object may be deleted and made again. `by_policy` says that its policy allows it (`force`). What holds others
/// takes them along, so nobody but its own manifest allows that.
pub fn may_recreate(object: &ObjectKey, manifest: &Value, by_policy: bool) -> bool {
    let annotations = &manifest["metadata"]["annotations"];
    let is_annotated = [RECREATE, FORCE_RECREATE]
        .iter()
        .filter_map(|name| annotations.get(name))
        .any(|value| value.as_str() != Some("false") && *value != Value::Bool(false));
    is_annotated || (by_policy && !holds_others(object))
}

/// Whether deleting an object deletes more than what its manifest gives: objects, or data.
pub fn holds_others(object: &ObjectKey) -> bool {
    match (object.group.as_str(), object.kind.as_str()) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => true,
        ("", kind) => matches!(kind, "Namespace" | "PersistentVolumeClaim"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_that_is_deleted_to_be_made_again_is_recorded_once() {
        let (noted, index) = (Noted::default(), LifecycleIndex { resource: 1, slot: 0 });
        let other = LifecycleIndex { resource: 2, slot: 0 };
        let noted = [(index, "a"), (index, "a"), (index, "b"), (other, "a")].map(|(index, uid)| noted.note(index, uid));
        assert_eq!(noted, [true, false, true, true]);
    }

    #[test]
    fn what_holds_others_is_made_again_only_by_its_own_annotation() {
        let check = |api_version: &str, kind: &str, annotations: Value, by_policy: bool, expected: bool| {
            let metadata = json!({"name": "a", "annotations": annotations});
            let manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
            let object = crate::cluster::object_key(&manifest).expect("it has a name");
            assert_eq!(may_recreate(&object, &manifest, by_policy), expected, "{manifest}, {by_policy}");
        };
        check("batch/v1", "Job", json!({}), false, false);
        check("batch/v1", "Job", json!({}), true, true);
        check("batch/v1", "Job", json!({RECREATE: "true"}), false, true);
        check("batch/v1", "Job", json!({FORCE_RECREATE: "ok"}), false, true);
        check("batch/v1", "Job", json!({RECREATE: "false"}), false, false);
        for (api_version, kind) in [
            ("v1", "Namespace"),
            ("v1", "PersistentVolumeClaim"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ] {
            check(api_version, kind, json!({}), true, false);
            check(api_version, kind, json!({RECREATE: "true"}), false, true);
        }
    }
}
