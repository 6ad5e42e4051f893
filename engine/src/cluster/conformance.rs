//! The suite every cluster must pass: named cases, each a story told to the port.
//!
//! Start at [`CASES`]. It makes and deletes objects whose names begin with a prefix it is given, and leaves nothing behind.
//! It knows only the port: what passes here holds for a real API server and for the local cluster alike.

use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Cluster, Deletion, Error, LiveObject, ObjectKey};

/// One promise of the port.
pub struct Case {
    /// The promise, as a sentence.
    pub name: &'static str,
    /// Checks it; panics with what was found where it does not hold.
    pub run: for<'a> fn(Scene<'a>) -> BoxFuture<'a, ()>,
}

/// Where a case plays: a cluster, and a prefix for the names it may use.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The cluster under test.
    pub cluster: &'a dyn Cluster,
    /// A DNS label unlike that of any other run against this cluster.
    pub prefix: &'a str,
    /// How to wait between two looks; on a simulated cluster it may return at once.
    pub pause: fn(Duration) -> BoxFuture<'static, ()>,
}

/// All cases, in the order of the story.
pub const CASES: &[Case] = &[
    Case {
        name: "an applied object is there, with a uid, until it is deleted",
        run: |scene| Box::pin(lives(scene)),
    },
    Case {
        name: "the same apply twice changes nothing",
        run: |scene| Box::pin(applies_twice(scene)),
    },
];

/// Runs every case; the name of each is handed to `told` before it runs.
pub async fn run(
    cluster: &dyn Cluster,
    prefix: &str,
    pause: fn(Duration) -> BoxFuture<'static, ()>,
    mut told: impl FnMut(&str),
) {
    for (number, case) in CASES.iter().enumerate() {
        told(case.name);
        let prefix = format!("{prefix}-{number}");
        (case.run)(Scene {
            cluster,
            prefix: &prefix,
            pause,
        })
        .await;
    }
}

impl Scene<'_> {
    fn named(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn namespace(&self, name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.named(name)}})
    }

    async fn apply(&self, manifest: &Value) -> Result<(ObjectKey, LiveObject), Error> {
        let key = self.cluster.resolve(manifest).await?;
        let live = self.cluster.apply(&key, manifest, None).await?;
        Ok((key, live))
    }

    async fn applied(&self, manifest: &Value) -> (ObjectKey, LiveObject) {
        self.apply(manifest)
            .await
            .unwrap_or_else(|error| panic!("applying {manifest} gave {error:?}"))
    }

    async fn deleted(&self, key: &ObjectKey, uid: &str) {
        for _ in 0..600 {
            match self.cluster.delete(key, uid).await {
                Ok(Deletion::Gone) => return,
                Ok(Deletion::Terminating) => (self.pause)(Duration::from_millis(100)).await,
                Err(error) => panic!("deleting {key} gave {error:?}"),
            }
        }
        panic!("{key} is still being deleted after a minute");
    }
}

async fn lives(scene: Scene<'_>) {
    let manifest = scene.namespace("a");
    let (key, live) = scene.applied(&manifest).await;
    assert_eq!(key.namespace, None, "a Namespace is cluster-scoped");
    assert!(!live.uid.is_empty() && !live.deleting, "{live:?}");
    let seen = scene
        .cluster
        .get(&key)
        .await
        .unwrap()
        .expect("it was just applied");
    assert_eq!(seen.uid, live.uid);
    scene.deleted(&key, &live.uid).await;
    assert_eq!(scene.cluster.get(&key).await.unwrap(), None);
    assert_eq!(
        scene.cluster.delete(&key, &live.uid).await.unwrap(),
        Deletion::Gone,
        "deleting again is fine"
    );
}

async fn applies_twice(scene: Scene<'_>) {
    let manifest = scene.namespace("a");
    let (key, first) = scene.applied(&manifest).await;
    let (_, second) = scene.applied(&manifest).await;
    assert_eq!(first.uid, second.uid);
    assert_eq!(
        version(&first),
        version(&second),
        "nothing changed, so the version must not either"
    );
    scene.deleted(&key, &first.uid).await;
}

fn version(live: &LiveObject) -> &Value {
    &live.manifest["metadata"]["resourceVersion"]
}
