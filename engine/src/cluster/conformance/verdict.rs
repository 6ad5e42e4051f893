//! What two clusters say about the same manifest. Each difference is a defect of the local one.
//!
//! Start at [`differences`]. It applies, notes the reason of a refusal, and deletes what was taken.

use futures::future::join_all;
use serde_json::Value;

use crate::cluster::{Cluster, Error};

/// A manifest about which two clusters do not agree.
#[derive(Debug)]
pub struct Difference {
    /// The kind, and what was done to a good manifest.
    pub what: String,
    /// What the first cluster said.
    pub first: String,
    /// What the second said.
    pub second: String,
}

/// Asks both clusters about each manifest; the names must be free in both.
pub async fn differences(first: &dyn Cluster, second: &dyn Cluster, manifests: &[(String, Value)]) -> Vec<Difference> {
    let mut found = Vec::new();
    for chunk in manifests.chunks(32) {
        let asked = chunk.iter().map(async |(what, manifest)| {
            let (first, second) = (verdict(first, manifest).await, verdict(second, manifest).await);
            let reason = |verdict: &Result<(), Error>| verdict.as_ref().map_or_else(Error::reason, |()| "taken");
            let text =
                |verdict: Result<(), Error>| verdict.map_or_else(|error| error.to_string(), |()| "taken".to_owned());
            (reason(&first) != reason(&second)).then(|| Difference {
                what: what.clone(),
                first: text(first),
                second: text(second),
            })
        });
        found.extend(join_all(asked).await.into_iter().flatten());
    }
    found
}

async fn verdict(cluster: &dyn Cluster, manifest: &Value) -> Result<(), Error> {
    let key = cluster.resolve(manifest).await?;
    let live = cluster.apply(&key, manifest, None).await?;
    cluster.delete(&key, &live.uid).await?;
    Ok(())
}
