//! What others leave on an object so that it cannot be put back as it was, on a real API server: the key of a list item that
//! they changed, a field that `kubectl apply` gave before, a default that no longer fits, a policy that changes what is
//! applied, a finalizer.

use std::fs;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use lifeline_tests::harness::{Event, Failure, Kubernetes, Outcome, Scene, eventually};
use serde_json::{Value, json};

use super::{CALM, SOON, Stage, data, stage_of};

const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: drift}
spec: {messagingMatchCriteria: [{subject: drift-operation}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata:
  name: drift
  annotations: {lifeline.dev/adopt: "true"}
spec:
  eventSourceName: drift
  oneForEvent: true
  syncMode: ContinuousWithDriftDetection
  cloudEventAction: '{{if eq .CloudEvent.type "auth.example.com.logout"}}Delete{{else}}Create{{end}}'
  policyRefs:
  - {kind: ConfigMap, namespace: default, name: drift}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: drift
  namespace: default
  annotations: {projectsveltos.io/instantiate: ok}
data:
  content.yaml: |
    {{ $again := eq .CloudEvent.type "auth.example.com.again" }}
    {{ if eq .CloudEvent.subject "ports" }}
    apiVersion: v1
    kind: Service
    metadata: {name: ports, namespace: default}
    spec: {ports: [{name: http, port: 80}, {name: admin, port: 8080}]}
    {{ else if eq .CloudEvent.subject "strategy" }}
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: strategy, namespace: default}
    spec:
      {{ if $again }}
      strategy: {type: Recreate}
      {{ end }}
      selector: {matchLabels: {a: b}}
      template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}
    {{ else }}
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "{{ .CloudEvent.subject }}", namespace: default}
    data:
      ours: "1"
      {{ if not $again }}
      legacy: "1"
      {{ end }}
    {{ end }}
"#;

impl Stage {
    async fn happens(&self, kind: &str, subject: &str) -> Outcome {
        self.producer.publish(Event::user(kind, subject)).await?;
        Ok(())
    }

    /// What the engine says of the one lifecycle of a subject.
    fn lifecycle(&self, subject: &str) -> Result<Value, Failure> {
        let all = self.lifeline.ask(&["get", "lifecycles"])?;
        let mut items = all["items"].as_array().into_iter().flatten();
        Ok(items.find(|item| item["subject"] == subject).unwrap_or(&all).clone())
    }

    async fn becomes(&self, subject: &str, phase: &str) -> Result<Value, Failure> {
        eventually(&format!("`{subject}` to be {phase}"), SOON, async || {
            let lifecycle = self.lifecycle(subject).map_err(|failure| failure.to_string())?;
            if lifecycle["phase"] == phase { Ok(lifecycle) } else { Err(lifecycle.to_string()) }
        })
        .await
    }
}

pub async fn list_item_key(scene: &Scene) -> Outcome {
    let stage = stage_of(scene, RULES).await?;
    let services: Api<Service> = Api::namespaced(Kubernetes::of(scene.control_plane()).await?.client(), "default");
    stage.happens("login", "ports").await?;
    stage.becomes("ports", "Ready").await?;
    stage.is_watched().await?;
    let before = services.get("ports").await?;
    let by_hand = PostParams { field_manager: Some("kubectl-edit".to_owned()), ..PostParams::default() };
    let mut edit = services.get("ports").await?;
    for port in edit.spec.iter_mut().flat_map(|spec| spec.ports.iter_mut().flatten()).filter(|port| port.port == 80) {
        port.port = 81;
    }
    // Somebody else's item stays.
    let more = serde_json::from_value(json!({"name": "metrics", "port": 9090}))?;
    edit.spec.get_or_insert_default().ports.get_or_insert_default().push(more);
    services.replace("ports", &by_hand, &edit).await?;
    eventually("the port to be back", SOON, async || {
        let service = services.get("ports").await.map_err(|error| error.to_string())?;
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let mut ports: Vec<_> = ports.into_iter().map(|port| (port.name.unwrap_or_default(), port.port)).collect();
        ports.sort();
        let expected = [("admin", 8080), ("http", 80), ("metrics", 9090)].map(|(name, port)| (name.to_owned(), port));
        if ports == expected { Ok(()) } else { Err(format!("{ports:?}, {:?}", stage.lifecycle("ports"))) }
    })
    .await?;
    stage.becomes("ports", "Ready").await?;
    stage.lifeline.has_settled().await?;
    assert_eq!(services.get("ports").await?.metadata.uid, before.metadata.uid);
    assert_eq!(stage.drifts()?, (0, 1));
    services.delete("ports", &DeleteParams::default()).await?;
    Ok(())
}

pub async fn client_side_apply(scene: &Scene) -> Outcome {
    let stage = stage_of(scene, RULES).await?;
    let by_kubectl =
        PostParams { field_manager: Some("kubectl-client-side-apply".to_owned()), ..PostParams::default() };
    let metadata = json!({"name": "adopted", "namespace": "default"});
    let given = json!({"metadata": metadata, "data": {"ours": "0", "legacy": "1", "theirs": "1"}});
    stage.maps.create(&by_kubectl, &serde_json::from_value(given)?).await?;
    stage.happens("login", "adopted").await?;
    stage.becomes("adopted", "Ready").await?;
    let adopted = stage.maps.get("adopted").await?;
    let all = ["ours", "legacy", "theirs"].map(|key| data(&adopted, key).unwrap_or_default());
    assert_eq!(all, ["1", "1", "1"], "what is adopted keeps what we do not give");
    stage.happens("again", "adopted").await?;
    stage.lifeline.has_recorded(2).await?;
    stage.lifeline.has_settled().await?;
    let now = stage.maps.get("adopted").await?;
    let all = ["ours", "legacy", "theirs"].map(|key| data(&now, key).unwrap_or_default());
    assert_eq!(all, ["1", "", "1"], "{:?}", now.metadata.managed_fields);
    assert_eq!(now.metadata.uid, adopted.metadata.uid);
    assert_eq!(stage.drifts()?, (0, 0));
    stage.maps.delete("adopted", &DeleteParams::default()).await?;
    Ok(())
}

pub async fn left_default(scene: &Scene) -> Outcome {
    let stage = stage_of(scene, RULES).await?;
    let deployments: Api<Deployment> =
        Api::namespaced(Kubernetes::of(scene.control_plane()).await?.client(), "default");
    stage.happens("login", "strategy").await?;
    stage.becomes("strategy", "Ready").await?;
    let before = deployments.get("strategy").await?;
    stage.happens("again", "strategy").await?;
    let failing = stage.becomes("strategy", "Failing").await?.to_string();
    for said in ["`spec.strategy.rollingUpdate`", "hint: ", "`force: true`"] {
        assert!(failing.contains(said), "{said} in {failing}");
    }
    assert_eq!(deployments.get("strategy").await?.metadata.uid, before.metadata.uid);
    let folder = stage.lifeline.data();
    let folder = folder.parent().ok_or("the data folder has no parent")?.join("rules");
    fs::write(folder.join("next"), RULES.replace("default, name: drift}", "default, name: drift, force: true}"))?;
    fs::rename(folder.join("next"), folder.join("rules.yaml"))?;
    stage.becomes("strategy", "Ready").await?;
    let now = deployments.get("strategy").await?;
    assert_ne!(now.metadata.uid, before.metadata.uid);
    let strategy = now.spec.and_then(|spec| spec.strategy).and_then(|strategy| strategy.type_);
    assert_eq!(strategy.as_deref(), Some("Recreate"));
    deployments.delete("strategy", &DeleteParams::default()).await?;
    Ok(())
}

pub async fn altered(scene: &Scene) -> Outcome {
    let mut stage = stage_of(scene, RULES).await?;
    let kubernetes = Kubernetes::of(scene.control_plane()).await?;
    let version = "admissionregistration.k8s.io/v1";
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]});
    let expression = r#"[JSONPatch{op: "replace", path: "/data/ours", value: "2"}]"#;
    let policy = json!({
        "apiVersion": version, "kind": "MutatingAdmissionPolicy", "metadata": {"name": "alters"},
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [rule]},
            "matchConditions": [{"name": "named", "expression": "object.metadata.name.startsWith('altered')"}],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        },
    });
    let binding = json!({
        "apiVersion": version, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "alters"},
        "spec": {"policyName": "alters"},
    });
    kubernetes.apply(&policy.to_string()).await?;
    kubernetes.apply(&binding.to_string()).await?;
    let maps = stage.maps.clone();
    let is_given = async |value: &str| {
        eventually(&format!("the policy to give {value}"), SOON, async || {
            let probe = json!({"metadata": {"name": "altered-probe"}, "data": {"ours": "1"}});
            let probe = serde_json::from_value(probe).map_err(|error| error.to_string())?;
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            match maps.create(&dry, &probe).await {
                Ok(made) if data(&made, "ours").as_deref() == Some(value) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    };
    is_given("2").await?;
    stage.happens("login", "altered").await?;
    stage.becomes("altered", "Ready").await?;
    stage.lifeline.has_settled().await?;
    let why = stage.lifeline.ask(&["why", "object", "ConfigMap", "altered"])?.to_string();
    assert!(why.contains("changed `data.ours` as it took ConfigMap/default/altered"), "{why}");
    // There is no loop, and it is said once.
    tokio::time::sleep(CALM).await;
    let history = stage.lifeline.ask(&["history", "auth.example.com", "altered"])?;
    let facts: Vec<&Value> = history["items"].as_array().into_iter().flatten().map(|entry| &entry["fact"]).collect();
    assert_eq!(facts.iter().filter(|fact| **fact == "Altered").count(), 1, "{facts:?}");
    assert_eq!(stage.drifts()?, (0, 0));
    let shown = stage.lifeline.ask(&["show", "drift"])?;
    assert_eq!(shown["items"][0]["drift"], "altered", "{shown}");
    // It is tried again when all objects are listed, as after a restart.
    kubernetes.delete(&binding).await?;
    kubernetes.delete(&policy).await?;
    is_given("1").await?;
    stage.lifeline.stop();
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    stage.back("altered", |map| data(map, "ours").as_deref() == Some("1")).await?;
    stage.becomes("altered", "Ready").await?;
    stage.maps.delete("altered", &DeleteParams::default()).await?;
    Ok(())
}

pub async fn hangs(scene: &Scene) -> Outcome {
    let stage = stage_of(scene, RULES).await?;
    let before = stage.logged_in("hangs").await?;
    let finalizers = |names: &[&str]| Patch::Merge(json!({"metadata": {"finalizers": names}}));
    stage.maps.patch("hangs", &PatchParams::default(), &finalizers(&["example.com/keeps"])).await?;
    stage.maps.delete("hangs", &DeleteParams::default()).await?;
    let failing = stage.becomes("hangs", "Failing").await?.to_string();
    assert!(failing.contains("is being deleted") && failing.contains("example.com/keeps"), "{failing}");
    let stuck = stage.lifeline.ask(&["show", "stuck"])?.to_string();
    assert!(stuck.contains("example.com/keeps"), "{stuck}");
    tokio::time::sleep(CALM).await;
    stage.maps.patch("hangs", &PatchParams::default(), &finalizers(&[])).await?;
    let took = stage.back("hangs", |map: &ConfigMap| map.metadata.uid != before.metadata.uid).await?;
    assert!(took < Duration::from_secs(2), "back after {took:?}");
    stage.becomes("hangs", "Ready").await?;
    stage.lifeline.has_settled().await?;
    assert_eq!(stage.drifts()?, (1, 0));
    Ok(())
}
