//! What the cases do to the cluster and see of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Scene, named_namespace};
use crate::cluster::{Deletion, Error, LiveObject, ObjectKey};

impl Scene<'_> {
    pub(super) fn named(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    pub(super) fn namespace(&self, name: &str) -> Value {
        named_namespace(&self.named(name))
    }

    pub(super) fn config(&self, name: &str, data: Value) -> Value {
        let metadata = json!({"name": self.named(name), "namespace": self.home});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    }

    pub(super) async fn apply(&self, manifest: &Value) -> Result<(ObjectKey, LiveObject), Error> {
        let key = self.cluster.resolve(manifest).await?;
        let live = self.cluster.apply(&key, manifest, None).await?;
        Ok((key, live))
    }

    pub(super) async fn applied(&self, manifest: &Value) -> (ObjectKey, LiveObject) {
        self.apply(manifest).await.unwrap_or_else(|error| panic!("applying {manifest} gave {error:?}"))
    }

    pub(super) async fn seen(&self, key: &ObjectKey) -> Option<LiveObject> {
        self.cluster.get(key).await.unwrap_or_else(|error| panic!("getting {key} gave {error:?}"))
    }

    pub(super) async fn delete(&self, key: &ObjectKey, uid: &str) -> Deletion {
        self.cluster.delete(key, uid).await.unwrap_or_else(|error| panic!("deleting {key} gave {error:?}"))
    }

    pub(super) async fn deleted(&self, key: &ObjectKey, uid: &str) {
        for _ in 0..600 {
            match self.delete(key, uid).await {
                Deletion::Gone => return,
                Deletion::Terminating => (self.pause)(Duration::from_millis(100)).await,
            }
        }
        panic!("{key} is still being deleted after a minute");
    }

    /// Applies again until nothing changes: controllers may write to a new object (its status) between two applies.
    pub(super) async fn settled(&self, manifest: &Value, live: &LiveObject) {
        let mut before = live.clone();
        for _ in 0..50 {
            let (_, again) = self.applied(manifest).await;
            assert_eq!(again.uid, live.uid, "{manifest} was made again");
            if version(&again) == version(&before) {
                return;
            }
            before = again;
            (self.pause)(Duration::from_millis(100)).await;
        }
        panic!("every apply of {manifest} changes the object");
    }

    pub(super) async fn refused(&self, manifest: &Value, reason: &str) {
        match self.apply(manifest).await {
            Ok((key, live)) => {
                self.deleted(&key, &live.uid).await;
                panic!("{manifest} was taken, expected {reason}")
            }
            Err(error) => assert_eq!(error.reason(), reason, "{manifest} gave {error}"),
        }
    }
}

/// The version of an object, which each write that changes it raises.
pub(super) fn version(live: &LiveObject) -> &Value {
    &live.manifest["metadata"]["resourceVersion"]
}
