//! The resource that represents the own cluster: what templates see of it, what is recorded, and which triggers it changes.

use super::*;

/// The SveltosCluster `mgmt/mgmt` with these labels and this status.
fn managed(labels: Value, ready: bool) -> String {
    json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "SveltosCluster",
        "metadata": {"namespace": "mgmt", "name": "mgmt", "labels": labels, "resourceVersion": "1"},
        "spec": {"paused": false}, "status": {"ready": ready}})
    .to_string()
}

fn template(text: &str) -> String {
    let manifest = format!("{{kind: ConfigMap, apiVersion: v1, metadata: {{name: a}}, data: {{a: \"{text}\"}}}}");
    json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"x": manifest},
        "metadata": {"name": "x", "namespace": "default", "annotations": {INSTANTIATE: "ok"}}})
    .to_string()
}

fn set(text: &str, spec: Value, clusters: &[String]) -> RuleSet {
    let mut all = vec![SOUND.to_owned(), trigger(spec), template(text)];
    all.extend_from_slice(clusters);
    rules(&all.join("\n---\n"))
}

fn spec() -> Value {
    json!({"oneForEvent": true, "policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "x"}]})
}

fn made(rules: &RuleSet) -> String {
    let trigger = rules.trigger("x").expect("it is in force");
    match trigger.manifests(&serde_json::Map::new(), OWN, 0) {
        Ok(made) => made[0].manifest["data"]["a"].as_str().unwrap_or_default().to_owned(),
        Err(error) => crate::error_text::chain(&error),
    }
}

#[test]
fn templates_see_all_of_the_own_sveltos_cluster_where_there_is_one() {
    let whole =
        "{{ .Cluster.spec.paused }} {{ .Cluster.status.ready }} {{ .Cluster.metadata.labels.env }} {{ .ClusterKind }}";
    let known = set(whole, spec(), &[managed(json!({"env": "fv"}), true)]);
    assert_eq!(made(&known), "false true fv SveltosCluster");
    assert_eq!(known.problems(), []);
    let document = &known.documents()["SveltosCluster/mgmt/mgmt"];
    assert!(document.manifest.contains("\"ready\":true"), "{document:?}");
    assert!(!document.manifest.contains("resourceVersion"), "{document:?}");

    let unknown = set(whole, spec(), &[]);
    let told: Vec<&str> = unknown.problems().iter().map(|problem| problem.message.as_str()).collect();
    let missing =
        "`.Cluster.spec.paused` is not there: no SveltosCluster `mgmt/mgmt` is known, only its name and labels are";
    assert_eq!(told, [missing]);
    assert!(made(&unknown).contains("no key `spec`"), "{}", made(&unknown));
    // Other clusters are none of its business.
    let other = set("a", spec(), &[managed(json!({}), true).replace("\"mgmt\"", "\"edge\"")]);
    assert_eq!(other.problems()[0].message, "`SveltosCluster` of Sveltos is not read and has no effect");
}

#[test]
fn its_labels_select() {
    let select = |labels: Value| {
        let mut spec = spec();
        spec["sourceClusterSelector"] = json!({"matchLabels": {"env": "fv"}});
        set("a", spec, &[managed(labels, true)]).heard_clusters("x").count()
    };
    assert_eq!([select(json!({"env": "fv"})), select(json!({"env": "production"})), select(json!(null))], [1, 0, 0]);
}

#[test]
fn only_a_trigger_that_asks_for_it_is_decided_again_when_its_status_changes() {
    let digest = |text: &str, labels: Value, ready: bool| {
        let rules = set(text, spec(), &[managed(labels, ready)]);
        let document = rules.documents()["SveltosCluster/mgmt/mgmt"].clone();
        (rules.trigger("x").unwrap().digest(), document.digest)
    };
    let few = |labels, ready| digest("{{ .Cluster.metadata.name }}", labels, ready);
    assert_eq!(few(json!({"a": "b"}), true), few(json!({"a": "b"}), false));
    assert_ne!(few(json!({"a": "b"}), true), few(json!({"a": "c"}), true));
    let all = |ready| digest("{{ .Cluster.status.ready }}", json!({}), ready);
    assert_ne!(all(true).0, all(false).0);
    assert_ne!(all(true).1, all(false).1);
}

#[test]
fn there_is_a_matching_resource_and_it_says_nothing() {
    let rules = set("<{{ .MatchingResource.Name }}{{ .MatchingResource.APIVersion }}>", spec(), &[]);
    assert_eq!(made(&rules), "<>");
    let told: Vec<String> = rules.problems().iter().map(ToString::to_string).collect();
    assert!(
        told[0].contains("`.MatchingResource` is empty: a CloudEvent is about no resource of Kubernetes"),
        "{told:?}"
    );
}
