//! What people bring from Sveltos, on a real API server: values that look like other types, definitions of either side, and a
//! status that tells where to look.

#[path = "compatibility/own_cluster.rs"]
mod own_cluster;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, ValidationDirective};
use lifeline_ops::servers::NatsServer;
use lifeline_tests::harness::Need::{ControlPlane as ApiServer, Nats};
use lifeline_tests::harness::{
    ControlPlane, Event, Failure, Kubernetes, Lifeline, Outcome, Producer, Scene, User, eventually, run, story,
};
use lifeline_tests::parity::FIELDS;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(45);

/// A folder of definitions to test with in place of the ones here: those of Sveltos, as `eventsources.yaml` and
/// `eventtriggers.yaml`.
const DEFINITIONS_OF_SVELTOS: &str = "LIFELINE_SVELTOS_DEFINITIONS";

fn main() -> ExitCode {
    run(vec![
        story("values_have_the_types_that_the_cluster_says", &[Nats, ApiServer], types),
        story("the_status_of_rules_tells_what_to_look_at", &[Nats, ApiServer], status),
        story("a_cluster_takes_every_field_of_sveltos", &[ApiServer], fields),
        story("what_sveltos_says_of_the_own_cluster_is_followed", &[Nats, ApiServer], own_cluster::followed),
        story("with_the_definitions_of_sveltos_the_engine_works_as_well", &[Nats, ApiServer], definitions_of_sveltos),
    ])
}

/// A cluster with definitions and rules, NATS, and an engine that reads both.
struct Stage {
    // Dropped first: an engine without its servers would only complain.
    lifeline: Lifeline,
    producer: Producer,
    kubernetes: Kubernetes,
    control_plane: ControlPlane,
    _nats: NatsServer,
}

impl Stage {
    async fn set(scene: &Scene, definitions: &str, rules: &str) -> Result<Self, Failure> {
        let nats = scene.nats("nats")?;
        let control_plane = scene.fresh_control_plane()?;
        let kubernetes = Kubernetes::of(&control_plane).await?;
        kubernetes.apply(definitions).await?;
        kubernetes.apply(rules).await?;
        let (kubeconfig, url) = (control_plane.kubeconfig(User::Admin), nats.url());
        let kubeconfig = kubeconfig.to_string_lossy();
        let flags = ["--cluster", "kube", "--kubeconfig", &kubeconfig, "--nats", &url, "--subjects", "users"];
        let mut lifeline = scene.lifeline("engine", &flags)?;
        lifeline.wait_until_ready()?;
        let producer = Producer::connect(&nats, "users").await?;
        Ok(Self { lifeline, producer, kubernetes, control_plane, _nats: nats })
    }

    fn rules(&self, kind: &str) -> Api<DynamicObject> {
        api(&self.kubernetes, "lib.projectsveltos.io", "v1beta1", kind)
    }

    /// Waits until the status of a rule is as wanted, and gives the rule.
    async fn says(&self, kind: &str, name: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
        eventually(&format!("the status of {kind}/{name}"), SOON, async || {
            let found = self.rules(kind).get(name).await.map_err(|error| error.to_string())?;
            let found = serde_json::to_value(found).map_err(|error| error.to_string())?;
            if is_so(&found["status"]) { Ok(found) } else { Err(found["status"].to_string()) }
        })
        .await
    }

    /// Waits until there is an Event about a trigger.
    async fn has_event(&self, trigger: &str, reason: &str, words: &str) -> Outcome {
        let events = Api::<DynamicObject>::namespaced_with(
            self.kubernetes.client(),
            "default",
            &ApiResource::from_gvk(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event")),
        );
        eventually(&format!("an Event {reason} of {trigger}"), SOON, async || {
            let listed = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let is_it = |event: &&DynamicObject| {
                let note = event.data["note"].as_str().unwrap_or_default();
                event.data["reason"] == reason && event.data["regarding"]["name"] == trigger && note.contains(words)
            };
            let found = listed.items.iter().find(is_it);
            let all: Vec<String> = listed.items.iter().map(|event| event.data.to_string()).collect();
            found.map(drop).ok_or_else(|| all.join("\n"))
        })
        .await
    }
}

fn api(kubernetes: &Kubernetes, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    Api::all_with(kubernetes.client(), &ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)))
}

/// The condition of a type in a status.
fn condition<'v>(status: &'v Value, kind: &str) -> &'v Value {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// An EventSource and an EventTrigger over all events, and a ConfigMap with the template.
fn rules(name: &str, dialect: &str, action: &str, template: &str) -> String {
    let source = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventSource", "metadata": {"name": name},
        "spec": {"messagingMatchCriteria": [{"subject": "users"}]}});
    let policy = json!([{"kind": "ConfigMap", "namespace": "default", "name": name, "skipNamespaceCreation": true}]);
    let spec = json!({"eventSourceName": name, "oneForEvent": true, "cloudEventAction": action, "policyRefs": policy,
        "sourceClusterSelector": {"matchLabels": {"env": "fv"}}});
    let trigger = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventTrigger",
        "metadata": {"name": name}, "spec": spec});
    let annotations = json!({"projectsveltos.io/instantiate": "ok", "lifeline.dev/dialect": dialect});
    let content = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"objects.yaml": template},
        "metadata": {"namespace": "default", "name": name, "annotations": annotations}});
    [source, trigger, content].map(|document| document.to_string()).join("\n---\n")
}

const LOGOUT_DELETES: &str = r#"{{ if eq .CloudEvent.type "auth.example.com.logout" }}Delete{{ else }}Create{{ end }}"#;

/// A kind whose fields have each of the types that there are.
fn widgets() -> String {
    let spec = json!({"type": "object", "properties": {
        "user": {"type": "string"},
        "users": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "replicas": {"type": "integer"},
        "paused": {"type": "boolean"},
        "port": {"x-kubernetes-int-or-string": true},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema});
    let names = json!({"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"});
    let spec = json!({"group": "parity.example.com", "scope": "Cluster", "names": names, "versions": [version]});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.parity.example.com"}, "spec": spec})
    .to_string()
}

/// What a user of Sveltos writes: no quotes anywhere.
const OBJECTS: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: types-{{ .CloudEvent.subject }}, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ .CloudEvent.data.role }}}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: {{ .CloudEvent.data.user }}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: types-{{ .CloudEvent.subject }}
  namespace: default
  labels:
    user: {{ .CloudEvent.data.user }}
data:
  user: {{ .CloudEvent.data.user }}
  count: {{ .CloudEvent.data.count }}
  written: 1.10
---
apiVersion: parity.example.com/v1
kind: Widget
metadata:
  name: types-{{ .CloudEvent.subject }}
spec:
  user: {{ .CloudEvent.data.user }}
  users:
  - name: {{ .CloudEvent.data.count }}
  env: {A: {{ .CloudEvent.data.count }}, B: {{ .CloudEvent.data.user }}, C: yes}
  replicas: {{ .CloudEvent.data.replicas }}
  paused: {{ .CloudEvent.data.paused }}
  port: {{ .CloudEvent.data.port }}
  free: {count: {{ .CloudEvent.data.count }}, user: {{ .CloudEvent.data.user }}}
";

async fn types(scene: &Scene) -> Outcome {
    let tera = OBJECTS.replace(".CloudEvent", "CloudEvent").replace("types-", "tera-");
    let all = [rules("types", "go", LOGOUT_DELETES, OBJECTS), rules("tera", "tera", "Create", &tera)].join("\n---\n");
    let stage = Stage::set(scene, &Lifeline::command(&["crds"])?, &all).await?;
    let users = ["1234", "1.10", "true", "null", "2026-11-22", "1e3", "yes"];
    let data = |user: &str| json!({"user": user, "role": "1234", "count": 7, "replicas": "3", "paused": "true", "port": "8080"});
    for (number, user) in users.iter().enumerate() {
        let event = Event::user("login", &number.to_string()).data(data(user));
        stage.producer.publish(event).await?;
    }
    // The definition comes after the first events about it.
    stage.kubernetes.apply(&widgets()).await?;
    stage.lifeline.has_recorded(users.len() as u64).await?;
    stage.lifeline.has_settled().await?;
    let client = stage.kubernetes.client();
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), "default");
    let config_maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let widgets = api(&stage.kubernetes, "parity.example.com", "v1", "Widget");
    for (number, user) in users.iter().enumerate() {
        for rule in ["types", "tera"] {
            let name = format!("{rule}-{number}");
            let widget = eventually(&format!("Widget/{name}"), SOON, async || match widgets.get(&name).await {
                Ok(widget) => Ok(widget),
                Err(error) => {
                    let rows = stage.lifeline.ask(&["get", "lifecycles", "--subject", &number.to_string()]);
                    Err(format!("{error} {}", rows.map_or_else(|failure| failure.to_string(), |rows| rows.to_string())))
                }
            })
            .await?;
            let expected = json!({
                "user": user, "users": [{"name": "7"}], "env": {"A": "7", "B": user, "C": "yes"}, "replicas": 3,
                "paused": true, "port": 8080, "free": {"count": 7, "user": user},
            });
            assert_eq!(widget.data["spec"], expected, "{name}");
            let binding = bindings.get(&name).await?;
            assert_eq!(
                (binding.role_ref.name.as_str(), binding.subjects.unwrap_or_default()[0].name.as_str()),
                ("1234", *user)
            );
            let data: BTreeMap<String, String> = config_maps.get(&name).await?.data.unwrap_or_default();
            let expected = [("user", *user), ("count", "7"), ("written", "1.10")];
            assert_eq!(data, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into(), "{name}");
        }
    }
    // What is shown before anything is applied is what was applied.
    let event = scene
        .write("event.json", std::str::from_utf8(&bytes::Bytes::from(Event::user("login", "0").data(data("1234"))))?)?;
    let (event, kubeconfig) = (event.to_string_lossy().into_owned(), stage.control_plane.kubeconfig(User::Admin));
    let kubeconfig = kubeconfig.to_string_lossy();
    let shown = ["render", "--event", &event, "--nats-subject", "users", "--trigger", "types", "-o", "json"];
    let cluster = ["--cluster", "kube", "--kubeconfig", &kubeconfig];
    let shown: Value = serde_json::from_str(&Lifeline::command(&[&shown[..], &cluster].concat())?)?;
    let manifests = shown["triggers"][0]["manifests"].as_array().cloned().unwrap_or_default();
    let widget = manifests.iter().find(|one| one["manifest"]["kind"] == "Widget").ok_or("no Widget is shown")?;
    assert_eq!(widget["manifest"]["spec"], widgets.get("types-0").await?.data["spec"]);
    assert_eq!(shown["remarks"], json!([]));
    Ok(())
}

async fn status(scene: &Scene) -> Outcome {
    const USERS: usize = 12;
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"status-{{ .CloudEvent.subject }}\", namespace: {{ .CloudEvent.data.namespace }}}\ndata: {a: b}\n";
    let all = rules("status", "go", LOGOUT_DELETES, template);
    let stage = Stage::set(scene, &Lifeline::command(&["crds"])?, &all).await?;
    let login = |user: &str, namespace: &str| Event::user("login", user).data(json!({ "namespace": namespace }));
    for user in 0..USERS {
        stage.producer.publish(login(&format!("user-{user}"), "default")).await?;
    }
    let live = |status: &Value, live: usize, failing: usize| {
        status["lifecycles"] == json!({"live": live, "failing": failing, "pending": 0})
    };
    let found = stage.says("EventTrigger", "status", |status| live(status, USERS, 0)).await?;
    let status = &found["status"];
    assert_eq!(
        (&condition(status, "Ready")["reason"], &condition(status, "Degraded")["reason"]),
        (&json!("InForce"), &json!("AsDesired")),
        "{status}"
    );
    assert_eq!(status["observedGeneration"], found["metadata"]["generation"], "{status}");
    assert_eq!(status["events"]["matched"], USERS, "{status}");
    let source = stage.says("EventSource", "status", |status| status["events"]["matched"] == USERS).await?;
    assert_eq!(condition(&source["status"], "Ready")["reason"], "InForce");
    let since = condition(status, "Ready")["lastTransitionTime"].clone();

    // One fails, and is healed.
    stage.producer.publish(login("late", "not-there")).await?;
    let found = stage.says("EventTrigger", "status", |status| live(status, USERS + 1, 1)).await?;
    let degraded = condition(&found["status"], "Degraded");
    assert_eq!((&degraded["status"], &degraded["reason"]), (&json!("True"), &json!("LifecyclesFailing")));
    let message = degraded["message"].as_str().unwrap_or_default();
    for part in ["1 of 13 lifecycles fails; source `auth.example.com`, subject `late`: ", "not-there"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(condition(&found["status"], "Ready")["lastTransitionTime"], since, "the rule is as ready as it was");
    stage.has_event("status", "LifecycleFailing", "subject `late`").await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "not-there"}});
    stage.kubernetes.apply(&namespace.to_string()).await?;
    stage.says("EventTrigger", "status", |status| condition(status, "Degraded")["status"] == "False").await?;
    stage.has_event("status", "LifecycleHealed", "subject `late`").await?;

    // Nothing happens, so nothing is written.
    stage.says("EventTrigger", "status", |status| live(status, USERS + 1, 0)).await?;
    let version = async || Ok::<_, Failure>(stage.rules("EventTrigger").get("status").await?.metadata.resource_version);
    let before = version().await?;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(version().await?, before);

    // A slip would withdraw much.
    let slip = all.replace(r#""subject":"users""#, r#""subject":"usres""#);
    stage.kubernetes.apply(&slip).await?;
    let is_held = |status: &Value| condition(status, "Degraded")["reason"] == "WithdrawalHeld";
    let found = stage.says("EventTrigger", "status", is_held).await?;
    let message = condition(&found["status"], "Degraded")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("hint: `lifeline confirm "), "{message}");
    stage.has_event("status", "WithdrawalHeld", "lifeline confirm").await?;
    stage.kubernetes.apply(&all).await?;
    stage.says("EventTrigger", "status", |status| !is_held(status)).await?;

    // What is wrong with a rule is said with its place.
    let wrong = all.replace(".CloudEvent.data.namespace", "nope");
    stage.kubernetes.apply(&wrong).await?;
    let found = stage.says("EventTrigger", "status", |status| condition(status, "Ready")["status"] == "False").await?;
    let message = condition(&found["status"], "Ready")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("ConfigMap/default/status: key `objects.yaml`, line 3"), "{message}");
    // As `kubectl get eventtriggers` has it.
    let definition: Value = serde_json::to_value(
        api(&stage.kubernetes, "apiextensions.k8s.io", "v1", "CustomResourceDefinition")
            .get("eventtriggers.lib.projectsveltos.io")
            .await?,
    )?;
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = columns
        .iter()
        .filter(|column| column["priority"].is_null())
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(names, ["Event Source", "Ready", "State", "Live", "Failing", "Last Event", "Age"]);
    Ok(())
}

/// Definitions as Sveltos has them, as far as that matters here: the selector is required, an EventTrigger has a status of other
/// fields, and an EventSource none. The test takes the real ones where they are given.
fn of_sveltos() -> Result<String, Failure> {
    if let Some(folder) = std::env::var_os(DEFINITIONS_OF_SVELTOS) {
        let read = |name: &str| std::fs::read_to_string(std::path::Path::new(&folder).join(name));
        let text = format!("{}\n---\n{}", read("eventsources.yaml")?, read("eventtriggers.yaml")?);
        return Ok(text.replace("\n---\n---\n", "\n---\n").trim_start_matches("---\n").to_owned());
    }
    let definition = |kind: &str, spec: Value, has_status: bool| {
        let plural = format!("{}s", kind.to_lowercase());
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let mut spec_schema = open.clone();
        spec_schema.as_object_mut().expect("an object").extend(spec.as_object().cloned().unwrap_or_default());
        let mut properties = json!({"spec": spec_schema});
        if has_status {
            let clusters = json!({"type": "array", "items": open});
            properties["status"] = json!({"type": "object", "properties": {"matchingClusters": clusters}});
        }
        let mut version = json!({"name": "v1beta1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}});
        if has_status {
            version["subresources"] = json!({"status": {}});
        }
        let names =
            json!({"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()});
        let spec = json!({"group": "lib.projectsveltos.io", "scope": "Cluster", "names": names, "versions": [version]});
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.lib.projectsveltos.io")}, "spec": spec})
        .to_string()
    };
    let required = json!({"required": ["sourceClusterSelector", "eventSourceName"]});
    Ok([definition("EventSource", json!({}), false), definition("EventTrigger", required, true)].join("\n---\n"))
}

async fn fields(scene: &Scene) -> Outcome {
    for definitions in [Lifeline::command(&["crds"])?, of_sveltos()?] {
        let control_plane = scene.fresh_control_plane()?;
        let kubernetes = Kubernetes::of(&control_plane).await?;
        kubernetes.apply(&definitions).await?;
        let dry = PatchParams {
            dry_run: true,
            force: true,
            field_manager: Some("parity".to_owned()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let mut refused = Vec::new();
        for field in FIELDS {
            let [source, mut trigger, _] = field.rules();
            if trigger["spec"]["sourceClusterSelector"].is_null() {
                trigger["spec"]["sourceClusterSelector"] = json!({});
            }
            for rule in [source, trigger] {
                let kind = rule["kind"].as_str().unwrap_or_default();
                let api = api(&kubernetes, "lib.projectsveltos.io", "v1beta1", kind);
                let applied = eventually("the kind to be served", SOON, async || {
                    match api.patch("parity", &dry, &Patch::Apply(&rule)).await {
                        Err(kube::Error::Api(status)) if status.code == 404 => Err(status.to_string()),
                        applied => Ok(applied),
                    }
                });
                if let Err(error) = applied.await? {
                    refused.push(format!("{}: {error}", field.written));
                }
            }
        }
        assert!(refused.is_empty(), "{} refused:\n{}", refused.len(), refused.join("\n"));
    }
    Ok(())
}

async fn definitions_of_sveltos(scene: &Scene) -> Outcome {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"theirs-{{ .CloudEvent.subject }}\", namespace: {{ .CloudEvent.data.namespace }}}\ndata: {a: b}\n";
    let all = rules("theirs", "go", LOGOUT_DELETES, template);
    let stage = Stage::set(scene, &of_sveltos()?, &all).await?;
    let login = |user: &str, namespace: &str| Event::user("login", user).data(json!({ "namespace": namespace }));
    stage.producer.publish(login("ada", "default")).await?;
    let config_maps: Api<ConfigMap> = Api::namespaced(stage.kubernetes.client(), "default");
    eventually("the object", SOON, async || config_maps.get("theirs-ada").await).await?;
    // What is not kept is said once, and Events say the rest.
    let said = stage.lifeline.has_said("the cluster keeps no conditions of `Event").await?;
    assert!(said.contains("hint: lifeline crds | kubectl apply -f -"), "{said}");
    stage.producer.publish(login("zoe", "not-there")).await?;
    stage.has_event("theirs", "LifecycleFailing", "subject `zoe`").await?;
    tokio::time::sleep(Duration::from_secs(7)).await;
    let said = std::fs::read_to_string(stage.lifeline.log())?;
    assert_eq!(said.matches("the cluster keeps no conditions").count(), 1, "{said}");
    assert!(!said.contains("the status of rules is not written"), "{said}");
    stage.producer.publish(Event::user("logout", "ada").data(json!({"namespace": "default"}))).await?;
    eventually("the object to be gone", SOON, async || match config_maps.get_opt("theirs-ada").await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err("it is there".to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await
}
