//! Which kinds an API server serves, asked once per group and version and remembered.
//!
//! Start at [`ServedKinds::find`]. A kind that is not known is asked for again, but not more often than every
//! [`ASK_AGAIN`]; a kind that turned out to be gone is forgotten by [`ServedKinds::forget`]. It makes no request itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::ObjectKey;

/// How long "not served" holds: a CustomResourceDefinition that was just made is found after this long at the latest.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(2);

/// How a kind is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Served {
    /// The kind in URLs, such as `configmaps`.
    pub(super) plural: String,
    /// Its objects live in namespaces.
    pub(super) namespaced: bool,
    /// Its objects can be applied.
    pub(super) can_patch: bool,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct ServedKinds {
    /// By group and version.
    asked: BTreeMap<(String, String), Group>,
    /// Held while the server is asked for the kinds of a group and version, so that many tasks ask once, and those of
    /// one that hangs do not hold up the others.
    asking: BTreeMap<(String, String), Arc<tokio::sync::Mutex<()>>>,
}

#[derive(Debug)]
struct Group {
    kinds: BTreeMap<String, Served>,
    at: Instant,
}

/// What is known about a kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is served so.
    Served(Served),
    /// It was not served a moment ago.
    Unserved,
    /// Ask the server.
    Unknown,
}

impl ServedKinds {
    /// What is known about the kind of a key.
    pub(super) fn find(&self, key: &ObjectKey, now: Instant) -> Found {
        match self.asked.get(&(key.group.to_string(), key.version.to_string())) {
            None => Found::Unknown,
            Some(group) => match group.kinds.get(key.kind.as_str()) {
                Some(served) => Found::Served(served.clone()),
                None if now.duration_since(group.at) < ASK_AGAIN => Found::Unserved,
                None => Found::Unknown,
            },
        }
    }

    /// What is to be held while the server is asked for the kinds of a key's group and version.
    pub(super) fn asking(&mut self, key: &ObjectKey) -> Arc<tokio::sync::Mutex<()>> {
        self.asking.entry((key.group.to_string(), key.version.to_string())).or_default().clone()
    }

    /// Remembers an APIResourceList (or, for a version that is not served, nothing).
    pub(super) fn learn(&mut self, group: &str, version: &str, list: Option<&Value>, now: Instant) {
        let resources = list.and_then(|list| list["resources"].as_array()).into_iter().flatten();
        let kinds = resources.filter_map(|resource| {
            let plural = resource["name"].as_str()?;
            // `pods/status` and its like are parts of an object, not kinds.
            (!plural.contains('/')).then_some(())?;
            let verbs = resource["verbs"].as_array()?;
            let served = Served {
                plural: plural.to_owned(),
                namespaced: resource["namespaced"].as_bool()?,
                can_patch: verbs.iter().any(|verb| verb == "patch"),
            };
            Some((resource["kind"].as_str()?.to_owned(), served))
        });
        self.asked.insert((group.to_owned(), version.to_owned()), Group { kinds: kinds.collect(), at: now });
    }

    /// Forgets the kinds of a group, for a definition was applied.
    pub(super) fn forget_group(&mut self, group: &str) {
        self.asked.retain(|(known, _), _| known != group);
    }

    /// Forgets a kind the server no longer knows by the path remembered.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.asked.remove(&(key.group.to_string(), key.version.to_string()));
        self.asking.retain(|_, asking| Arc::strong_count(asking) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn an_unknown_kind_is_asked_for_again_but_not_at_once() {
        let key =
            crate::cluster::object_key(&json!({"apiVersion": "e.com/v1", "kind": "Thing", "metadata": {"name": "a"}}))
                .unwrap();
        let mut kinds = ServedKinds::default();
        assert_eq!(kinds.find(&key, Instant::now()), Found::Unknown);
        kinds.learn("e.com", "v1", None, Instant::now());
        assert_eq!(kinds.find(&key, Instant::now()), Found::Unserved);
        tokio::time::advance(ASK_AGAIN).await;
        assert_eq!(kinds.find(&key, Instant::now()), Found::Unknown);
        let list = json!({"resources": [
            {"name": "things/status", "kind": "Thing", "namespaced": true, "verbs": ["get"]},
            {"name": "things", "kind": "Thing", "namespaced": false, "verbs": ["get", "patch"]},
        ]});
        kinds.learn("e.com", "v1", Some(&list), Instant::now());
        let served = Served { plural: "things".into(), namespaced: false, can_patch: true };
        assert_eq!(kinds.find(&key, Instant::now()), Found::Served(served));
        kinds.forget(&key);
        assert_eq!(kinds.find(&key, Instant::now()), Found::Unknown);
    }
}
