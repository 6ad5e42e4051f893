//! What others did to objects that nothing watches, and that a replay was asked to put back, on a real API server.

use std::collections::BTreeMap;

use kube::api::{DeleteParams, Patch, PatchParams};
use lifeline_tests::harness::{Event, Outcome, Scene, eventually};
use serde_json::json;

use super::{RULES, SOON, data, stage_of};

/// With `syncMode: Continuous` what others do stays, until somebody asks.
pub async fn put_back(scene: &Scene) -> Outcome {
    let rules = RULES.replace("ContinuousWithDriftDetection", "Continuous").replace("  driftExclusions:\n", "");
    let rules = rules.replace("  - paths: [/data/theirs]\n    target: {kind: ConfigMap}\n", "");
    let stage = stage_of(scene, &rules).await?;
    let mut versions = BTreeMap::new();
    for name in ["asked-kept", "asked-deleted", "asked-edited", "asked-mine"] {
        stage.producer.publish(Event::user("login", name)).await?;
        let made = eventually(name, SOON, async || stage.maps.get(name).await).await?;
        versions.insert(name, (made.metadata.uid, made.metadata.resource_version));
    }
    // A job that ended was removed: it never runs again.
    stage.producer.publish(Event::user("job", "asked-job")).await?;
    eventually("the job", SOON, async || stage.jobs.get("asked-job").await).await?;
    stage.lifeline.has_settled().await?;
    stage.jobs.delete("asked-job", &DeleteParams::background()).await?;
    stage.maps.delete("asked-deleted", &DeleteParams::default()).await?;
    let change = json!({"data": {"ours": "2"}});
    stage.maps.patch("asked-edited", &PatchParams::default(), &Patch::Merge(&change)).await?;
    // A field that is not ours.
    let more = json!({"data": {"mine": "1"}});
    stage.maps.patch("asked-mine", &PatchParams::default(), &Patch::Merge(&more)).await?;

    // Without being asked for, nothing is looked at.
    stage.lifeline.ask(&["replay", "--trigger", "drift"])?;
    assert!(stage.maps.get_opt("asked-deleted").await?.is_none());

    let over = stage.lifeline.ask(&["replay", "--trigger", "drift", "--put-back"])?;
    assert_eq!(over["trigger"], "drift", "{over}");
    stage.back("asked-deleted", |map| data(map, "ours").as_deref() == Some("1")).await?;
    stage.back("asked-edited", |map| data(map, "ours").as_deref() == Some("1")).await?;
    stage.lifeline.has_settled().await?;
    assert_eq!(data(&stage.maps.get("asked-mine").await?, "mine").as_deref(), Some("1"));
    assert_eq!(stage.maps.get("asked-edited").await?.metadata.uid, versions["asked-edited"].0);
    let kept = stage.maps.get("asked-kept").await?;
    assert_eq!((kept.metadata.uid, kept.metadata.resource_version), versions["asked-kept"], "nothing was written");
    assert!(stage.jobs.get_opt("asked-job").await?.is_none());
    assert_eq!(stage.lifeline.status()?["sites"][0]["drift"]["asked"], 0);
    Ok(())
}
