//! [`Objects`]: namespaces and config maps, as a Kubernetes cluster holds them.
//!
//! It knows the two kinds that the rules of a simulated world make, and of an API server what matters for them: names that are
//! refused, namespaces that are missing, uids, and what goes with its namespace. A test plays it beside the engine's local
//! cluster, which passes the conformance suite of real ones, and compares the answers.
//!
//! Never here: what goes wrong on the way; that is [`super::cluster`].

use std::collections::BTreeMap;

use lifeline_engine::cluster::{Deletion, Error, LiveObject, Managed, ObjectKey};
use serde_json::{Value, json};

/// The namespace that every cluster has from the beginning.
const FIRST_NAMESPACE: &str = "default";

/// The label that an admission policy changes.
pub const ALTERED_LABEL: &str = "app.kubernetes.io/managed-by";

/// How the values begin that it writes.
pub const ALTERED: &str = "policy-";

/// What a cluster holds.
#[derive(Debug, Default, Clone)]
pub struct Objects {
    held: BTreeMap<ObjectKey, LiveObject>,
    made: u64,
    altered: u64,
    /// What went, in order.
    gone: Vec<(ObjectKey, LiveObject)>,
}

impl Objects {
    /// All objects, by name.
    #[must_use]
    pub fn list(&self) -> Vec<(ObjectKey, LiveObject)> {
        self.held.iter().map(|(key, live)| (key.clone(), live.clone())).collect()
    }

    /// What went so far, in order.
    #[must_use]
    pub fn gone(&self) -> &[(ObjectKey, LiveObject)] {
        &self.gone
    }

    /// An object.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&LiveObject> {
        self.held.get(key)
    }

    /// As [`lifeline_engine::cluster::Cluster::resolve`].
    pub fn resolve(manifest: &Value) -> Result<ObjectKey, Error> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let is_namespaced = match (text("/apiVersion"), kind) {
            ("v1", "Namespace") => false,
            ("v1" | "v2", "ConfigMap") => true,
            (api_version, kind) => {
                return Err(Error::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() });
            }
        };
        let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_fit) {
            return Err(Error::Invalid { message: format!("`metadata.name` is `{name}`") });
        }
        let namespace = match text("/metadata/namespace") {
            "" => FIRST_NAMESPACE,
            namespace => namespace,
        };
        Ok(ObjectKey {
            group: "".into(),
            version: text("/apiVersion").into(),
            kind: kind.into(),
            namespace: is_namespaced.then(|| namespace.into()),
            name: name.into(),
        })
    }

    /// As [`lifeline_engine::cluster::Cluster::apply`], by somebody to whom all fields belong.
    pub fn apply(&mut self, key: &ObjectKey, manifest: &Value, uid: Option<&str>) -> Result<LiveObject, Error> {
        let ours = || fields(manifest);
        if let Some(live) = self.held.get_mut(key) {
            if uid.is_some_and(|uid| uid != live.uid) {
                return Err(Error::Replaced { uid: live.uid.clone() });
            }
            if live.manifest["immutable"] == true && live.manifest["data"] != manifest["data"] {
                return Err(Error::Immutable {
                    fields: "`data`".to_owned(),
                    message: "`data` can never change".to_owned(),
                });
            }
            live.manifest = manifest.clone();
            live.managed.ours = ours();
            return Ok(live.clone());
        }
        if uid.is_some() {
            return Err(Error::Gone);
        }
        if let Some(namespace) = &key.namespace
            && **namespace != *FIRST_NAMESPACE
            && !self.held.contains_key(&ObjectKey::of_namespace(namespace))
        {
            return Err(Error::NamespaceMissing { namespace: namespace.to_string() });
        }
        self.made += 1;
        let managed = Managed { ours: ours(), ..Managed::default() };
        let uid = format!("uid-{}", self.made);
        let live = LiveObject { uid, deleting: false, manifest: manifest.clone(), managed };
        self.held.insert(key.clone(), live.clone());
        Ok(live)
    }

    /// Makes an object as somebody else does.
    ///
    /// # Panics
    /// Where there is one, or it is refused.
    pub fn make_foreign(&mut self, key: &ObjectKey, manifest: &Value) {
        self.apply(key, manifest, None).expect("nothing is there yet");
        let live = self.held.get_mut(key).expect("it was just made");
        live.managed = Managed { last_other: Some("stranger".to_owned()), ..Managed::default() };
    }

    /// Changes an object as somebody else does: its data are not as they were applied, and belong to nobody else.
    pub fn edit(&mut self, key: &ObjectKey) {
        let Some(live) = self.held.get_mut(key) else { return };
        live.manifest["data"] = json!({"login": "edited"});
        if let Some(ours) = live.managed.ours.as_object_mut() {
            // A Namespace has no data: something of it is not ours any more, and the marks still are.
            ours.remove("f:data");
            ours.remove("f:kind");
        }
        live.managed.last_other = Some("stranger".to_owned());
    }

    /// What an admission policy makes of an object that was just applied: a label has another value each time, and is counted as
    /// the applier's.
    pub fn alter(&mut self, key: &ObjectKey) -> Option<LiveObject> {
        let live = self.held.get_mut(key)?;
        self.altered += 1;
        live.manifest["metadata"]["labels"][ALTERED_LABEL] = json!(format!("{ALTERED}{}", self.altered));
        Some(live.clone())
    }

    /// As [`lifeline_engine::cluster::Cluster::delete`]; a namespace takes along what is in it.
    pub fn delete(&mut self, key: &ObjectKey, uid: &str) -> Deletion {
        if self.held.get(key).is_some_and(|live| live.uid == uid) {
            let goes = |other: &ObjectKey| other == key || other.is_in(key);
            self.gone.extend(
                self.held.iter().filter(|(other, _)| goes(other)).map(|(key, live)| (key.clone(), live.clone())),
            );
            self.held.retain(|other, _| !goes(other));
        }
        Deletion::Gone
    }
}

/// The fields of a manifest that its apply makes ours, in the form of `fieldsV1`.
fn fields(applied: &Value) -> Value {
    match applied {
        Value::Object(map) => map.iter().map(|(name, value)| (format!("f:{name}"), fields(value))).collect(),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lifeline_engine::cluster::Cluster;
    use lifeline_engine::cluster::local::LocalCluster;
    use lifeline_store::Random;

    use super::*;

    /// An answer without the uids, which each cluster gives in its own way.
    fn answer<T>(outcome: Result<T, Error>, told: impl FnOnce(T) -> String) -> String {
        match outcome {
            Ok(value) => told(value),
            Err(Error::Invalid { .. }) => "invalid".to_owned(),
            Err(Error::Replaced { .. }) => "replaced".to_owned(),
            Err(Error::Immutable { fields, .. }) => format!("immutable {fields}"),
            Err(other) => other.to_string(),
        }
    }

    fn shown(live: &LiveObject) -> String {
        format!("{} {}", live.deleting, live.manifest["data"])
    }

    #[tokio::test]
    async fn it_answers_as_the_local_cluster_does() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let (mut ours, theirs) =
                (Objects::default(), LocalCluster::in_memory(seed, Arc::new(|| jiff::Timestamp::UNIX_EPOCH)));
            // The uids that an object had on either side, oldest first.
            let mut uids: BTreeMap<ObjectKey, Vec<(String, String)>> = BTreeMap::new();
            for step in 0..200 {
                let name = ["ann", "bob", "a/b", "", "default"][random.below(5) as usize];
                let mut manifest = match random.below(3) {
                    0 => json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
                    1 => {
                        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "profile", "namespace": "ann"}})
                    }
                    _ => json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}),
                };
                if manifest["kind"] == "ConfigMap" {
                    manifest["data"] = json!({"login": step.to_string()});
                    if name == "bob" && manifest["metadata"]["name"] == "bob" {
                        manifest["immutable"] = json!(true);
                    }
                }
                let (one, other) = (Objects::resolve(&manifest), theirs.resolve(&manifest).await);
                let key = one.as_ref().ok().cloned();
                let told = |key: ObjectKey| key.to_string();
                assert_eq!(answer(one, told), answer(other, told), "seed {seed}, {manifest}");
                let Some(key) = key.filter(|key| key.kind != "Namespace" || key.name != "default") else { continue };
                let known = uids.entry(key.clone()).or_default();
                let some = (!known.is_empty()).then(|| known[random.below(known.len() as u64) as usize].clone());
                match random.below(3) {
                    0 => {
                        let (one, other) = (ours.get(&key).cloned(), theirs.get(&key).await);
                        assert_eq!(one.as_ref().map(shown), other.expect("an answer").as_ref().map(shown), "{key}");
                    }
                    1 => {
                        let uid = some.filter(|_| random.below(2) == 0);
                        let one = ours.apply(&key, &manifest, uid.as_ref().map(|uid| &*uid.0));
                        let other = theirs.apply(&key, &manifest, uid.as_ref().map(|uid| &*uid.1)).await;
                        if let (Ok(one), Ok(other)) = (&one, &other) {
                            let pair = (one.uid.clone(), other.uid.clone());
                            let both = known.iter().filter(|known| known.0 == pair.0 || known.1 == pair.1);
                            assert!(
                                both.clone().all(|known| *known == pair),
                                "seed {seed}, {key}: made again on one side"
                            );
                            if both.count() == 0 {
                                known.push(pair);
                            }
                        }
                        let told = |live: LiveObject| shown(&live);
                        assert_eq!(answer(one, told), answer(other, told), "seed {seed}, {manifest}, {uid:?}");
                    }
                    _ => {
                        let Some((one, other)) = some else { continue };
                        let one = ours.delete(&key, &one);
                        let other = theirs.delete(&key, &other).await.expect("an answer");
                        assert_eq!(one, other, "seed {seed}, {key}");
                    }
                }
            }
            let names =
                |list: Vec<(ObjectKey, LiveObject)>| list.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>();
            assert_eq!(names(ours.list()), names(theirs.list()), "seed {seed}");
        }
    }
}
