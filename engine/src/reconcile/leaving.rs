//! What keeps an object that is being deleted: finalizers, or what is left in a Namespace.
//!
//! Start at [`held_by`]. [`Leaving`] counts how often a lifecycle looked in vain: what goes within seconds is no news.

use std::collections::HashMap;

use lifeline_projections::fold::LifecycleIndex;
use parking_lot::Mutex;
use serde_json::Value;

use crate::cluster::LiveObject;

/// So often it is looked in vain before that is reported. With the pauses between two looks these are some five seconds.
const LOOKS_MAX: u32 = 20;

/// What a Namespace says of what keeps it.
const CONDITIONS: [&str; 5] = [
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
];

/// What keeps an object that is being deleted, if it says so.
pub fn held_by(live: &LiveObject) -> Option<String> {
    let finalizers = live.manifest["metadata"]["finalizers"].as_array().into_iter().flatten();
    let finalizers: Vec<String> =
        finalizers.filter_map(Value::as_str).map(|finalizer| format!("`{finalizer}`")).collect();
    let mut reasons = Vec::new();
    if !finalizers.is_empty() {
        let noun = if finalizers.len() == 1 { "the finalizer" } else { "the finalizers" };
        reasons.push(format!("it waits for {noun} {}", finalizers.join(", ")));
    }
    let conditions = live.manifest["status"]["conditions"].as_array().into_iter().flatten();
    let said = conditions.filter(|condition| {
        condition["status"] == "True" && CONDITIONS.iter().any(|known| condition["type"] == *known)
    });
    reasons.extend(said.filter_map(|condition| condition["message"].as_str()).map(str::to_owned));
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// How often each lifecycle looked in vain at objects that are being deleted.
#[derive(Debug, Default)]
pub struct Leaving(Mutex<HashMap<LifecycleIndex, u32>>);

impl Leaving {
    /// Counts a look. Whether there were enough by now.
    pub fn is_long(&self, index: LifecycleIndex) -> bool {
        let mut looks = self.0.lock();
        let count = looks.entry(index).or_default();
        *count = count.saturating_add(1);
        *count >= LOOKS_MAX
    }

    /// Nothing is in the way any more.
    pub fn forget(&self, index: LifecycleIndex) {
        self.0.lock().remove(&index);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::Managed;

    #[test]
    fn what_keeps_an_object_is_named() {
        let check = |manifest: Value, expected: Option<&str>| {
            let live = LiveObject { uid: "u".into(), deleting: true, manifest, managed: Managed::default() };
            assert_eq!(held_by(&live).as_deref(), expected, "{}", live.manifest);
        };
        check(json!({"metadata": {}}), None);
        check(json!({"metadata": {"finalizers": ["a.b/c"]}}), Some("it waits for the finalizer `a.b/c`"));
        check(json!({"metadata": {"finalizers": ["a/b", "c/d"]}}), Some("it waits for the finalizers `a/b`, `c/d`"));
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "message": "Some remain"});
        let namespace = |condition: Value| json!({"metadata": {}, "status": {"conditions": [condition]}});
        check(namespace(condition("NamespaceContentRemaining", "True")), Some("Some remain"));
        check(namespace(condition("NamespaceContentRemaining", "False")), None);
        check(namespace(condition("Established", "True")), None);
    }

    #[test]
    fn only_what_stays_long_is_reported() {
        let (leaving, index) = (Leaving::default(), LifecycleIndex { resource: 1, slot: 0 });
        let looks = (1..=LOOKS_MAX).filter(|_| leaving.is_long(index)).count();
        assert_eq!(looks, 1);
        leaving.forget(index);
        assert!(!leaving.is_long(index));
    }
}
