//! Tests that a cluster takes the definitions Lifeline ships, and with them the rules people have written for Sveltos.
//!
//! Start at [`check`]: it runs against the local cluster and, like the suite, against a real API server.

use std::time::Duration;

use serde_json::{Value, json};

use super::conformance::{Pause, manifest};
use super::{Cluster, Deletion, Error, LiveObject, ObjectKey};

const DEFINITIONS: [&str; 2] =
    [include_str!("../../../ops/crds/eventsources.yaml"), include_str!("../../../ops/crds/eventtriggers.yaml")];

/// The rules of the seed, its last and fullest example, and one with every field Sveltos documents.
const RULES: [&str; 4] = [
    r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata:
  name: user-operation
spec:
  messagingMatchCriteria:
  - subject: "user-operation"
    cloudEventSource: "auth.example.com"
"#,
    r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata:
  name: manage-namespace
spec:
  eventSourceName: user-operation
  cloudEventAction:  "{{ if eq .CloudEvent.type 'auth.example.com.logout' }}Delete{{ else }}Create{{ end }}"
  policyRefs:
  - name: namespace
    namespace: default
    kind: ConfigMap
"#,
    r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata:
  name: manage-namespace-fully
spec:
  sourceClusterSelector:
    matchLabels:
      env: production
  eventSourceName: user-operation
  oneForEvent: true
  syncMode: ContinuousWithDriftDetection
  cloudEventAction: '{{if eq .CloudEvent.type "auth.example.com.logout"}}Delete{{else}}Create{{end}}'
  policyRefs:
  - name: namespace
    namespace: default
    kind: ConfigMap
"#,
    r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata:
  name: every-field
spec:
  sourceClusterSelector:
    matchExpressions:
    - {key: env, operator: In, values: [fv, production]}
  clusterSetRefs: [set]
  destinationCluster: {apiVersion: lib.projectsveltos.io/v1beta1, kind: SveltosCluster, namespace: "{{ .Cluster.metadata.namespace }}", name: a}
  eventSourceName: "{{ .Cluster.metadata.name }}"
  oneForEvent: true
  cloudEventAction: Delete
  profileNameFormat: "{{ .CloudEvent.subject }}"
  configMapGenerator:
  - {namespace: default, name: source, nameFormat: "x-{{ .CloudEvent.subject }}", optional: true}
  secretGenerator:
  - {namespace: default, name: source, nameFormat: x}
  syncMode: DryRun
  tier: 50
  continueOnConflict: true
  reloader: true
  maxUpdate: 30%
  stopMatchingBehavior: LeavePolicies
  policyRefs:
  - kind: Secret
    namespace: ""
    name: "{{ .CloudEvent.subject }}"
    path: manifests
    optional: true
    deploymentType: Local
    tier: 10
    force: true
    skipNamespaceCreation: true
  dependsOn: [other]
  templateResourceRefs:
  - {resource: {apiVersion: v1, kind: Secret, namespace: default, name: s}, identifier: S, optional: true}
  helmCharts:
  - {repositoryURL: "https://example.com", repositoryName: nats, chartName: nats/nats, chartVersion: 1.2.9, releaseName: nats, releaseNamespace: nats, helmChartAction: Install, values: "a: 1", options: {wait: true}}
  kustomizationRefs:
  - {kind: ConfigMap, namespace: default, name: k, path: ./, targetNamespace: x, values: {a: b}}
  validateHealths:
  - {name: up, featureID: Resources, group: apps, version: v1, kind: Deployment, script: "-- lua"}
  preDeployChecks:
  - {name: up, featureID: Resources, group: apps, version: v1, kind: Deployment, script: "-- lua"}
  preDeleteChecks:
  - {name: up, featureID: Resources, group: apps, version: v1, kind: Deployment, script: "-- lua"}
  postDeleteChecks:
  - {name: up, featureID: Resources, group: apps, version: v1, kind: Deployment, script: "-- lua"}
  patches:
  - {patch: "- op: remove", target: {kind: Deployment, name: ".*"}}
  patchesFrom:
  - {kind: ConfigMap, namespace: default, name: p, optional: true}
  driftExclusions:
  - {paths: [/spec/replicas], target: {kind: Deployment}}
  extraLabels: {a: b}
  extraAnnotations: {a: b}
"#,
];

/// Applies the definitions, then the rules, looks at defaults and refusals, and removes all again.
pub(super) async fn check(cluster: &dyn Cluster, pause: Pause) {
    let mut made = Vec::new();
    for text in DEFINITIONS {
        made.push(apply(cluster, &parsed(text), pause).await.unwrap());
    }
    for text in RULES {
        let rule = parsed(text);
        let (key, live) = apply(cluster, &rule, pause).await.unwrap();
        assert_eq!(manifest::missing_in(&rule, &live.manifest), Vec::<String>::new(), "{key}");
        let again = cluster.apply(&key, &rule, Some(&live.uid)).await.unwrap();
        assert_eq!(again, live, "{key} changes with every apply");
        made.push((key, live));
    }
    let plain = parsed(RULES[1]);
    let (_, live) = apply(cluster, &plain, pause).await.unwrap();
    let spec = &live.manifest["spec"];
    let defaults = json!({
        "oneForEvent": false, "syncMode": "Continuous", "tier": 100, "continueOnConflict": false, "maxUpdate": "100%",
        "stopMatchingBehavior": "WithdrawPolicies",
    });
    assert_eq!(manifest::missing_in(&defaults, spec), Vec::<String>::new());
    assert_eq!(
        (&spec["policyRefs"][0]["deploymentType"], &spec["policyRefs"][0]["optional"]),
        (&json!("Remote"), &json!(false))
    );
    for (field, wrong) in [
        ("/spec/eventSourceName", Value::Null),
        ("/spec/eventSourceName", json!("")),
        ("/spec/oneForEvnt", json!(true)),
        ("/spec/oneForEvent", json!("yes")),
        ("/spec/syncMode", json!("Sometimes")),
        ("/spec/tier", json!(0)),
        ("/spec/stopMatchingBehavior", json!("Leave")),
        ("/spec/policyRefs/0/kind", json!("Deployment")),
        ("/spec/policyRefs/0/deploymentType", json!("Nearby")),
        ("/spec/policyRefs/0/namspace", json!("typo")),
    ] {
        let mut bad = manifest::with(&plain, field, wrong);
        bad["metadata"]["name"] = json!("bad");
        let error = apply(cluster, &bad, pause).await.expect_err(&format!("{field} of {bad} was taken"));
        assert_eq!(error.reason(), "Invalid", "{field}: {error}");
    }
    for (key, live) in made.into_iter().rev() {
        while cluster.delete(&key, &live.uid).await.unwrap() == Deletion::Terminating {
            pause(Duration::from_millis(100)).await;
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Applies, waiting for a kind that was just defined.
async fn apply(cluster: &dyn Cluster, manifest: &Value, pause: Pause) -> Result<(ObjectKey, LiveObject), Error> {
    for _ in 0..100 {
        let applied = match cluster.resolve(manifest).await {
            Ok(key) => cluster.apply(&key, manifest, None).await.map(|live| (key, live)),
            Err(error) => Err(error),
        };
        match applied {
            Err(Error::UnknownKind { .. }) => pause(Duration::from_millis(100)).await,
            applied => return applied,
        }
    }
    panic!("the kind of {manifest} is unknown after ten seconds")
}
