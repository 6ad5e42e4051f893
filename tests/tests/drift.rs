//! What others do to applied objects on a real API server: it is seen at once, put back, and told; what is not ours to
//! decide is left alone.

#[path = "drift/asked.rs"]
mod asked;
#[path = "drift/kept.rs"]
mod kept;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use lifeline_ops::servers::NatsServer;
use lifeline_tests::harness::Need::{ControlPlane, Nats};
use lifeline_tests::harness::{Event, Failure, Kubernetes, Lifeline, Outcome, Producer, Scene, eventually, run, story};
use serde_json::{Value, json};

const SUBJECT: &str = "drift-operation";
const SOON: Duration = Duration::from_secs(30);

/// How soon what was deleted or edited is back.
const BACK_WITHIN: Duration = Duration::from_secs(1);

/// Long enough to be sure that nothing is done.
const CALM: Duration = Duration::from_secs(3);

const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata:
  name: drift
spec:
  messagingMatchCriteria:
  - subject: "drift-operation"
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata:
  name: drift
spec:
  eventSourceName: drift
  oneForEvent: true
  syncMode: ContinuousWithDriftDetection
  cloudEventAction: '{{if eq .CloudEvent.type "auth.example.com.logout"}}Delete{{else}}Create{{end}}'
  driftExclusions:
  - paths: [/data/theirs]
    target: {kind: ConfigMap}
  policyRefs:
  - name: drift
    namespace: default
    kind: ConfigMap
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: drift
  namespace: default
  annotations:
    projectsveltos.io/instantiate: ok
data:
  content.yaml: |
    {{ if eq .CloudEvent.type "auth.example.com.job" }}
    apiVersion: batch/v1
    kind: Job
    metadata: {name: "{{ .CloudEvent.subject }}", namespace: default}
    spec:
      completions: 0
      parallelism: 0
      template:
        spec:
          restartPolicy: Never
          containers: [{name: a, image: none}]
    {{ else }}
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "{{ .CloudEvent.subject }}", namespace: default}
    data: {ours: "1", theirs: "1"}
    {{ end }}
"#;

fn main() -> ExitCode {
    run(vec![
        story("what_was_deleted_by_hand_is_back_within_a_second", &[Nats, ControlPlane], deleted),
        story(
            "what_was_deleted_while_the_engine_was_away_is_back_when_it_is",
            &[Nats, ControlPlane],
            deleted_while_away,
        ),
        story("a_field_of_ours_that_was_edited_is_back_within_a_second", &[Nats, ControlPlane], edited),
        story("fields_that_are_not_ours_or_excluded_are_left_alone", &[Nats, ControlPlane], not_ours),
        story("a_finished_job_that_was_removed_never_runs_again", &[Nats, ControlPlane], finished),
        story("a_fight_with_another_manager_slows_down_and_names_it", &[Nats, ControlPlane], fight),
        story("the_key_of_a_list_item_that_was_changed_is_put_back", &[Nats, ControlPlane], kept::list_item_key),
        story("what_kubectl_apply_gave_before_goes_with_our_text", &[Nats, ControlPlane], kept::client_side_apply),
        story("a_default_that_no_longer_fits_is_named_or_made_anew", &[Nats, ControlPlane], kept::left_default),
        story("what_a_policy_changes_of_an_apply_is_said_once", &[Nats, ControlPlane], kept::altered),
        story("what_others_did_is_put_back_when_somebody_asks", &[Nats, ControlPlane], asked::put_back),
        story("what_was_deleted_and_hangs_behind_a_finalizer_is_stuck", &[Nats, ControlPlane], kept::hangs),
    ])
}

struct Stage {
    lifeline: Lifeline,
    producer: Producer,
    maps: Api<ConfigMap>,
    jobs: Api<Job>,
    _nats: NatsServer,
}

async fn stage(scene: &Scene) -> Result<Stage, Failure> {
    stage_of(scene, RULES).await
}

async fn stage_of(scene: &Scene, rules: &str) -> Result<Stage, Failure> {
    let nats = scene.nats("nats")?;
    let mut lifeline = scene.engine("engine", scene.control_plane(), &nats, SUBJECT, rules)?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, SUBJECT).await?;
    let client = Kubernetes::of(scene.control_plane()).await?.client();
    let (maps, jobs) = (Api::namespaced(client.clone(), "default"), Api::namespaced(client, "default"));
    Ok(Stage { lifeline, producer, maps, jobs, _nats: nats })
}

impl Stage {
    /// A login, and the ConfigMap that it makes.
    async fn logged_in(&self, name: &str) -> Result<ConfigMap, Failure> {
        self.producer.publish(Event::user("login", name)).await?;
        let made = eventually(name, SOON, async || self.maps.get(name).await).await?;
        self.lifeline.has_settled().await?;
        // The watch of the kind begins beside the first apply.
        self.is_watched().await?;
        Ok(made)
    }

    async fn is_watched(&self) -> Outcome {
        eventually("a watch", SOON, async || {
            let status = self.lifeline.status().map_err(|failure| failure.to_string())?;
            let drift = &status["sites"][0]["drift"];
            let is_watched = drift["watched_kinds"].as_u64() > Some(0) && drift["unwatched"] == json!([]);
            if is_watched { Ok(()) } else { Err(status.to_string()) }
        })
        .await
    }

    /// Waits until a ConfigMap is as it should be; how long that took.
    async fn back(&self, name: &str, is_back: impl Fn(&ConfigMap) -> bool) -> Result<Duration, Failure> {
        let began = Instant::now();
        while began.elapsed() < SOON {
            if self.maps.get_opt(name).await?.is_some_and(|map| is_back(&map)) {
                return Ok(began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(format!("ConfigMap/{name} is not back after {SOON:?}; the log:\n{}", self.lifeline.log().display()).into())
    }

    fn drifts(&self) -> Result<(u64, u64), Failure> {
        let status = self.lifeline.status()?;
        let count = |field: &str| status["sites"][0]["drift"][field].as_u64().unwrap_or_default();
        Ok((count("deleted"), count("changed")))
    }
}

fn data(map: &ConfigMap, key: &str) -> Option<String> {
    map.data.as_ref().and_then(|data| data.get(key).cloned())
}

fn within_bound(what: &str, took: Duration) -> Outcome {
    println!("drift: {what}: back after {took:?}");
    if took > BACK_WITHIN {
        return Err(format!("{what}: back after {took:?}, at most {BACK_WITHIN:?} are allowed").into());
    }
    Ok(())
}

async fn deleted(scene: &Scene) -> Outcome {
    let stage = stage(scene).await?;
    let before = stage.logged_in("gone").await?;
    stage.maps.delete("gone", &DeleteParams::default()).await?;
    let took = stage.back("gone", |map| map.metadata.uid != before.metadata.uid).await?;
    within_bound("a deleted ConfigMap", took)?;
    stage.lifeline.has_settled().await?;
    assert_eq!(stage.drifts()?, (1, 0));
    let history = stage.lifeline.ask(&["history", "auth.example.com", "gone"])?;
    let facts: Vec<&Value> = history["items"].as_array().into_iter().flatten().map(|entry| &entry["fact"]).collect();
    assert!(facts.ends_with(&[&json!("Drifted"), &json!("Applied")]), "{facts:?}");
    let why = stage.lifeline.ask(&["why", "object", "ConfigMap", "gone"])?;
    assert_eq!(why["item"]["drifts"][0]["summary"], "ConfigMap/default/gone was deleted by somebody else", "{why}");
    let shown = stage.lifeline.ask(&["show", "drift"])?;
    let row = &shown["items"][0];
    assert_eq!([&row["object"], &row["drift"]], [&json!("ConfigMap/default/gone"), &json!("deleted")], "{shown}");
    // Our own deletion is none.
    stage.producer.publish(Event::user("logout", "gone")).await?;
    eventually("the end of it", SOON, async || match stage.maps.get_opt("gone").await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    tokio::time::sleep(CALM).await;
    assert!(stage.maps.get_opt("gone").await?.is_none());
    assert_eq!(stage.drifts()?, (1, 0));
    Ok(())
}

async fn deleted_while_away(scene: &Scene) -> Outcome {
    let mut stage = stage(scene).await?;
    let before = stage.logged_in("away").await?;
    stage.logged_in("stays").await?;
    stage.lifeline.stop();
    stage.maps.delete("away", &DeleteParams::default()).await?;
    let label = Patch::Merge(json!({"metadata": {"labels": {"lifeline.dev/lifecycle": null}}}));
    stage.maps.patch("stays", &PatchParams::default(), &label).await?;
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    stage.back("away", |map| map.metadata.uid != before.metadata.uid).await?;
    let has_label = |map: &ConfigMap| {
        map.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("lifeline.dev/lifecycle"))
    };
    stage.back("stays", has_label).await?;
    stage.lifeline.has_settled().await?;
    assert_eq!(stage.drifts()?, (1, 1));
    Ok(())
}

async fn edited(scene: &Scene) -> Outcome {
    let stage = stage(scene).await?;
    stage.logged_in("edited").await?;
    let mut edit = stage.maps.get("edited").await?;
    edit.data.get_or_insert_default().insert("ours".to_owned(), "edited".to_owned());
    let by_hand = PostParams { field_manager: Some("kubectl-edit".to_owned()), ..PostParams::default() };
    stage.maps.replace("edited", &by_hand, &edit).await?;
    let took = stage.back("edited", |map| data(map, "ours").as_deref() == Some("1")).await?;
    within_bound("an edited field", took)?;
    // What is removed has no manager afterwards.
    let label = Patch::Merge(json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}));
    stage.maps.patch("edited", &PatchParams::default(), &label).await?;
    let has_label = |map: &ConfigMap| {
        map.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("app.kubernetes.io/managed-by"))
    };
    let took = stage.back("edited", has_label).await?;
    within_bound("a removed label, by which it is watched", took)?;
    stage.lifeline.has_settled().await?;
    assert_eq!(stage.drifts()?, (0, 2));
    let why = stage.lifeline.ask(&["why", "object", "ConfigMap", "edited"])?;
    assert_eq!(why["item"]["drifts"][1]["summary"], "ConfigMap/default/edited was changed by `kubectl-edit`", "{why}");
    Ok(())
}

async fn not_ours(scene: &Scene) -> Outcome {
    let stage = stage(scene).await?;
    stage.logged_in("shared").await?;
    let other = PatchParams { field_manager: Some("other".to_owned()), ..PatchParams::default() };
    let patch = json!({"metadata": {"labels": {"team": "core"}}, "data": {"more": "2", "theirs": "2"}});
    stage.maps.patch("shared", &other, &Patch::Merge(patch)).await?;
    // The same value, applied by another manager: both have it.
    let metadata = ObjectMeta { name: Some("shared".to_owned()), ..ObjectMeta::default() };
    let data_of = |ours: &str| Some([("ours".to_owned(), ours.to_owned())].into());
    let same = ConfigMap { metadata, data: data_of("1"), ..ConfigMap::default() };
    stage.maps.patch("shared", &PatchParams::apply("third"), &Patch::Apply(&same)).await?;
    tokio::time::sleep(CALM).await;
    assert_eq!(stage.drifts()?, (0, 0));
    let found = stage.maps.get("shared").await?;
    assert_eq!([data(&found, "more"), data(&found, "theirs")], [Some("2".to_owned()), Some("2".to_owned())]);
    // Nor does the next event take it.
    stage.producer.publish(Event::user("login", "shared")).await?;
    stage.lifeline.has_recorded(2).await?;
    stage.lifeline.has_settled().await?;
    assert_eq!(data(&stage.maps.get("shared").await?, "theirs").as_deref(), Some("2"));
    // One that says so is not watched at all.
    let ignored = json!({
        "metadata": {"annotations": {"projectsveltos.io/driftDetectionIgnore": "ok"}},
        "data": {"ours": "2"},
    });
    stage.maps.patch("shared", &other, &Patch::Merge(ignored)).await?;
    tokio::time::sleep(CALM).await;
    assert_eq!(data(&stage.maps.get("shared").await?, "ours").as_deref(), Some("2"));
    assert_eq!(stage.drifts()?, (0, 0));
    Ok(())
}

async fn finished(scene: &Scene) -> Outcome {
    let stage = stage(scene).await?;
    stage.producer.publish(Event::user("job", "once")).await?;
    let made = eventually("the Job", SOON, async || stage.jobs.get("once").await).await?;
    stage.lifeline.has_settled().await?;
    stage.is_watched().await?;
    // What the Job controller and the controller that looks after the time to live do; none of them runs here.
    let now = "2026-11-28T08:00:00Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let conditions = [condition("SuccessCriteriaMet"), condition("Complete")];
    let status = json!({"status": {"startTime": now, "completionTime": now, "conditions": conditions}});
    stage.jobs.patch_status("once", &PatchParams::default(), &Patch::Merge(status)).await?;
    stage.jobs.delete("once", &DeleteParams::background()).await?;
    tokio::time::sleep(CALM).await;
    assert!(stage.jobs.get_opt("once").await?.is_none(), "{:?} ran again", made.metadata.uid);
    assert_eq!(stage.drifts()?, (0, 0));
    // One that has not ended runs again.
    stage.producer.publish(Event::user("job", "again")).await?;
    let made = eventually("the Job", SOON, async || stage.jobs.get("again").await).await?;
    stage.lifeline.has_settled().await?;
    stage.jobs.delete("again", &DeleteParams::background()).await?;
    eventually("another Job", SOON, async || match stage.jobs.get_opt("again").await {
        Ok(Some(job)) if job.metadata.uid != made.metadata.uid => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    assert_eq!(stage.drifts()?, (1, 0));
    Ok(())
}

async fn fight(scene: &Scene) -> Outcome {
    let stage = stage(scene).await?;
    stage.logged_in("fought").await?;
    let other = PatchParams::apply("other-controller").force();
    let metadata = ObjectMeta { name: Some("fought".to_owned()), ..ObjectMeta::default() };
    let data_of = |ours: &str| Some([("ours".to_owned(), ours.to_owned())].into());
    let theirs = ConfigMap { metadata, data: data_of("2"), ..ConfigMap::default() };
    let began = Instant::now();
    let mut changes = 0;
    while began.elapsed() < Duration::from_secs(8) {
        if data(&stage.maps.get("fought").await?, "ours").as_deref() == Some("1") {
            stage.maps.patch("fought", &other, &Patch::Apply(&theirs)).await?;
            changes += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("drift: {changes} changes by another manager in 8 s");
    assert_eq!(changes, 6, "five are put back at once, and then there is a pause of ten seconds");
    let stuck = stage.lifeline.ask(&["show", "stuck"])?.to_string();
    assert!(stuck.contains("is fought over: `other-controller` changes"), "{stuck}");
    let status = stage.lifeline.status()?;
    assert_eq!(status["sites"][0]["drift"]["fights"][0]["manager"], "other-controller", "{status}");
    let metrics = stage.lifeline.get("/metrics")?;
    for line in
        ["lifeline_drifts_total{cluster=\"mgmt/mgmt\",drift=\"changed\"} 6", "lifeline_fights{cluster=\"mgmt/mgmt\"} 1"]
    {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // The other side gives in.
    stage.back("fought", |map| data(map, "ours").as_deref() == Some("1")).await?;
    Ok(())
}
