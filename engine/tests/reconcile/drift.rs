//! What a stranger does to applied objects of a trigger that detects drift, and of one that does not.

use std::sync::Arc;
use std::time::Duration;

use lifeline_engine::cluster::local::LocalCluster;
use lifeline_engine::cluster::{Cluster, ObjectKey};
use lifeline_engine::rules::Current;
use lifeline_projections::lifecycle::Phase;
use lifeline_store::SimulatedDisk;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::world::{NOTE, SOURCE, TRIGGER, World, play, play_on, rules};

fn with_drift_detection(settings: &str) -> Current {
    let spec = format!("oneForEvent: true\n  syncMode: ContinuousWithDriftDetection\n{settings}");
    rules(&format!(
        "{SOURCE}{}{NOTE}",
        TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies").replace("oneForEvent: true", &spec)
    ))
}

fn note() -> ObjectKey {
    ObjectKey { kind: "ConfigMap".into(), namespace: Some("default".into()), ..ObjectKey::of_namespace("note-3-1") }
}

async fn uid(world: &World, object: &ObjectKey) -> Option<String> {
    world.cluster.get(object).await.expect("an answer").map(|live| live.uid)
}

/// Labels of the Namespace of zoe as a stranger changes them.
fn labelled(labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zoe", "labels": labels}})
}

async fn label(world: &World, name: &str) -> Value {
    let live = world.cluster.get(&ObjectKey::of_namespace("zoe")).await.expect("an answer").expect("it is there");
    live.manifest["metadata"]["labels"][name].clone()
}

#[tokio::test(start_paused = true)]
async fn what_a_stranger_deletes_or_changes_is_back_within_a_second_and_what_is_not_ours_stays() {
    play(with_drift_detection(""), async |world| {
        world.happens(1, "login", "zoe").await;
        for object in [note(), ObjectKey::of_namespace("zoe")] {
            let before = uid(world, &object).await.expect("it was made");
            world.cluster.delete(&object, &before).await.expect("nothing is in the way");
            sleep(Duration::from_secs(1)).await;
            assert_ne!(uid(world, &object).await, Some(before), "{object}");
            assert!(uid(world, &object).await.is_some(), "{object}");
        }
        let ours = "app.kubernetes.io/managed-by";
        world.cluster.apply_as_other(&labelled(json!({ours: "me", "team": "core"}))).expect("it may");
        sleep(Duration::from_secs(1)).await;
        assert_eq!([label(world, ours).await, label(world, "team").await], ["lifeline", "core"]);
        let before = world.view.read(|projection| projection.watermark());
        world.cluster.apply_as_other(&labelled(json!({"team": "other"}))).expect("it may");
        world.settles().await;
        assert_eq!(world.view.read(|projection| projection.watermark()), before, "that is no drift");
        assert_eq!(world.phases(), [(Phase::Ready, 1)]);
        // Our own deletion is none either.
        world.happens(2, "logout", "zoe").await;
        assert_eq!([uid(world, &note()).await, uid(world, &ObjectKey::of_namespace("zoe")).await], [None, None]);
        assert_eq!(world.phases(), [(Phase::Gone, 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_done_while_no_engine_ran_or_no_rules_were_there_is_seen_afterwards() {
    let disk = SimulatedDisk::new(7);
    let cluster = Arc::new(LocalCluster::in_memory(7, Arc::new(|| jiff::Timestamp::UNIX_EPOCH)));
    let mut before = None;
    play_on(&disk, cluster.clone(), with_drift_detection(""), async |world| {
        world.happens(1, "login", "zoe").await;
        before = uid(world, &note()).await;
    })
    .await;
    cluster.delete(&note(), before.as_deref().expect("it was made")).await.expect("nothing is in the way");
    let ours = "lifeline.dev/lifecycle";
    cluster.apply_as_other(&labelled(json!({ours: "x"}))).expect("it may");
    play_on(&disk, cluster.clone(), Current::default(), async |world| {
        world.settles().await;
        assert_eq!(uid(world, &note()).await, None, "no rules are read yet");
        world.rules.send_replace(with_drift_detection(""));
        world.settles().await;
        assert!(uid(world, &note()).await.is_some());
        assert_ne!(label(world, ours).await, "x");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn excluded_fields_are_left_to_others_and_a_trigger_without_drift_detection_does_nothing() {
    let excluded =
        "  driftExclusions: [{paths: [/metadata/labels/lifeline.dev~1lifecycle], target: {kind: Namespace}}]\n";
    play(with_drift_detection(excluded), async |world| {
        world.happens(1, "login", "zoe").await;
        world.cluster.apply_as_other(&labelled(json!({"lifeline.dev/lifecycle": "x"}))).expect("it may");
        world.settles().await;
        assert_eq!(label(world, "lifeline.dev/lifecycle").await, "x");
        // Nor does the next event take it.
        world.happens(2, "login", "zoe").await;
        assert_eq!(label(world, "lifeline.dev/lifecycle").await, "x");
    })
    .await;
    let without = rules(&format!("{SOURCE}{}{NOTE}", TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies")));
    play(without, async |world| {
        world.happens(1, "login", "zoe").await;
        let before = uid(world, &note()).await.expect("it was made");
        world.cluster.delete(&note(), &before).await.expect("nothing is in the way");
        world.settles().await;
        assert_eq!(uid(world, &note()).await, None);
        assert_eq!(world.phases(), [(Phase::Ready, 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_fight_over_an_object_ends_with_the_object() {
    play(with_drift_detection(""), async |world| {
        world.happens(1, "login", "zoe").await;
        let ours = "app.kubernetes.io/managed-by";
        for _ in 0..60 {
            if label(world, ours).await == "lifeline" {
                world.cluster.apply_as_other(&labelled(json!({ours: "me"}))).expect("it may");
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(label(world, ours).await, "me", "it is not put back for a while");
        world.happens(2, "logout", "zoe").await;
        world.happens(3, "login", "zoe").await;
        assert_eq!(world.phases(), [(Phase::Ready, 1)], "what is made now was never fought over");
    })
    .await;
}
