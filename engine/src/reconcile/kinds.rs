//! Kinds that the cluster does not know yet: who waits for them, and which are defined beside their objects.
//!
//! Start at [`defined_beside`]. [`Kinds`] remembers the lifecycles that wait, so that the first of them that finds its kind
//! known, or the one that applies the definition, wakes the others.

use std::collections::{BTreeSet, HashMap};

use lifeline_projections::fact::ObjectKey;
use lifeline_projections::fold::LifecycleIndex;
use parking_lot::Mutex;
use serde_json::Value;

use crate::cluster::object_key;

/// The name of the object that a manifest gives, where one of the others defines its kind: the definition is applied first.
pub fn defined_beside<'m>(manifest: &Value, mut others: impl Iterator<Item = &'m Value>) -> Option<ObjectKey> {
    let mut key = object_key(manifest).ok()?;
    let defines = |definition: &&Value| {
        let versions = definition["spec"]["versions"].as_array();
        defined(definition).is_some_and(|(group, kind)| *group == *key.group && *kind == *key.kind)
            && versions.is_some_and(|versions| versions.iter().any(|version| version["name"] == *key.version))
    };
    let definition = others.find(defines)?;
    key.namespace = match definition["spec"]["scope"].as_str() {
        Some("Namespaced") => Some(key.namespace.take().unwrap_or_else(|| "default".into())),
        _ => None,
    };
    Some(key)
}

/// The group and the kind that a manifest defines, if it is a definition.
pub fn defined(manifest: &Value) -> Option<(&str, &str)> {
    let is_definition = manifest["kind"] == "CustomResourceDefinition"
        && manifest["apiVersion"].as_str().is_some_and(|version| version.starts_with("apiextensions.k8s.io/"));
    let spec = Some(&manifest["spec"]).filter(|_| is_definition)?;
    Some((spec["group"].as_str()?, spec["names"]["kind"].as_str()?))
}

/// Lifecycles that wait for a kind.
#[derive(Debug, Default)]
pub struct Kinds(Mutex<HashMap<(String, String), BTreeSet<LifecycleIndex>>>);

impl Kinds {
    /// A lifecycle waits for the kind of a manifest.
    pub fn wait(&self, manifest: &Value, index: LifecycleIndex) {
        let Ok(key) = object_key(manifest) else { return };
        self.0.lock().entry((key.group.to_string(), key.kind.to_string())).or_default().insert(index);
    }

    /// A kind is known, or is about to be: who waited for it.
    pub fn known(&self, group: &str, kind: &str) -> BTreeSet<LifecycleIndex> {
        let mut waiting = self.0.lock();
        if waiting.is_empty() {
            return BTreeSet::new();
        }
        waiting.remove(&(group.to_owned(), kind.to_owned())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_that_is_defined_beside_gives_its_objects_their_names() {
        let check = |api_version: &str, kind: &str, scope: &str, expected: Option<Option<&str>>| {
            let definition = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "spec": {"group": "e.com", "names": {"kind": "Thing"}, "scope": scope, "versions": [{"name": "v1"}]},
            });
            let thing = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}});
            let found = defined_beside(&thing, [&thing, &definition].into_iter()).map(|key| key.namespace);
            assert_eq!(found, expected.map(|namespace| namespace.map(Into::into)), "{api_version} {kind} {scope}");
        };
        check("e.com/v1", "Thing", "Namespaced", Some(Some("default")));
        check("e.com/v1", "Thing", "Cluster", Some(None));
        check("e.com/v2", "Thing", "Cluster", None);
        check("e.com/v1", "Other", "Cluster", None);
        check("other.com/v1", "Thing", "Cluster", None);
    }

    #[test]
    fn who_waits_for_a_kind_is_woken_once() {
        let (kinds, index) = (Kinds::default(), LifecycleIndex { resource: 1, slot: 0 });
        kinds.wait(&json!({"apiVersion": "e.com/v1", "kind": "Thing", "metadata": {"name": "a"}}), index);
        assert_eq!(kinds.known("e.com", "Other"), BTreeSet::new());
        assert_eq!(kinds.known("e.com", "Thing"), BTreeSet::from([index]));
        assert_eq!(kinds.known("e.com", "Thing"), BTreeSet::new());
    }
}
