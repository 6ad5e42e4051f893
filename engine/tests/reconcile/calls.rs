//! How often the cluster is asked: no call for what is as wanted, one apply for each object and change.

use std::time::Duration;

use lifeline_engine::cluster::{Cluster, ObjectKey};
use lifeline_projections::lifecycle::Phase;
use serde_json::json;
use tokio::time::sleep;

use crate::world::{NOTE, SOURCE, TRIGGER, World, play, rules, with_trigger};

/// The calls since the last question, by verb.
fn calls(world: &World) -> Vec<(&'static str, u64)> {
    std::mem::take(&mut *world.calls.lock()).into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_no_reason_to_write_and_what_a_stranger_took_is_made_by_the_next_one() {
    play(with_trigger("WithdrawPolicies"), async |world| {
        world.happens(1, "login", "zoe").await;
        assert_eq!(calls(world), [("apply", 1)], "it is made without a look");
        for sequence in 2..1_002 {
            world.begins(sequence, "login", "zoe").await;
        }
        world.settles().await;
        let heartbeats = calls(world);
        assert!(heartbeats.iter().all(|(verb, _)| *verb == "get"), "{heartbeats:?}");
        assert_eq!(world.phases(), [(Phase::Ready, 1)]);
        // With an event there comes a look, and so it is mended.
        let namespace = ObjectKey::of_namespace("zoe");
        let labelled = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "zoe", "labels": {"app.kubernetes.io/managed-by": "me"}}});
        world.cluster.apply_as_other(&labelled).expect("it may");
        world.happens(1_002, "login", "zoe").await;
        assert_eq!(calls(world), [("apply", 1), ("get", 1)]);
        let live = world.cluster.get(&namespace).await.expect("an answer").expect("it lives");
        assert_eq!(live.manifest["metadata"]["labels"]["app.kubernetes.io/managed-by"], "lifeline");
        world.cluster.delete(&namespace, &live.uid).await.expect("it may");
        world.happens(1_003, "login", "zoe").await;
        assert_eq!(world.phases(), [(Phase::Ready, 1)]);
        assert!(world.cluster.get(&namespace).await.expect("an answer").is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_changes_is_applied_once_and_not_looked_at() {
    let noted = |name: &str| {
        let note = NOTE.replace("note-{{ len .CloudEvent.subject }}-{{ .CloudEvent.id }}", name);
        format!(
            "{SOURCE}{}{note}    data: {{id: \"{{{{ .CloudEvent.id }}}}\"}}\n",
            TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies")
        )
    };
    play(rules(&noted("note-{{ .CloudEvent.subject }}")), async |world| {
        world.happens(1, "login", "zoe").await;
        assert_eq!(calls(world), [("apply", 2)]);
        world.happens(2, "login", "zoe").await;
        // The note is another one, so it is applied under its uid; the Namespace is as it was.
        assert_eq!(calls(world), [("apply", 1), ("get", 1)]);
        world.happens(3, "logout", "zoe").await;
        let [(deleted, 2), ("get", _)] = calls(world)[..] else { panic!("two objects are deleted, each once") };
        assert_eq!(deleted, "delete");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_costs_an_apply_for_each_key_and_a_replay_nothing() {
    const KEYS: u64 = 50;
    play(with_trigger("WithdrawPolicies"), async |world| {
        for sequence in 1..=100 * KEYS {
            world.begins(sequence, "login", &format!("user-{}", sequence % KEYS)).await;
        }
        world.settles().await;
        let of_backlog = calls(world);
        let applies = of_backlog.iter().find(|(verb, _)| *verb == "apply").expect("objects were made").1;
        assert!(applies <= KEYS * 12 / 10, "{of_backlog:?}");
        assert_eq!(world.phases(), [(Phase::Ready, KEYS)]);
        // Rules that say the same in other words.
        world.rules.send_replace(with_trigger("LeavePolicies"));
        world.settles().await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(calls(world), []);
        assert_eq!(world.phases(), [(Phase::Ready, KEYS)]);
    })
    .await;
}
