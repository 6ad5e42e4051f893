//! What a real API server is asked, counted by its audit log: no write that changes nothing, one apply for each object and
//! change, in the name of the account that a trigger names; and what it says to those who may not.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ResourceQuota};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use lifeline_ops::servers::NatsServer;
use lifeline_tests::harness::Need::{ControlPlane, Nats};
use lifeline_tests::harness::{
    Event, Failure, Kubernetes, Lifeline, Outcome, Producer, Scene, Write, eventually, run, story,
};
use serde_json::{Value, json};

const SUBJECT: &str = "calls-operation";
const SOON: Duration = Duration::from_secs(60);

/// Events for each key of the backlog.
const EVENTS_EACH: usize = 100;

/// LABELS and NAMESPACE are replaced.
const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: calls}
spec:
  messagingMatchCriteria:
  - subject: calls-operation
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata:
  name: calls
  labels: LABELS
spec:
  eventSourceName: calls
  oneForEvent: true
  stopMatchingBehavior: WithdrawPolicies
  cloudEventAction: '{{if eq .CloudEvent.type "auth.example.com.logout"}}Delete{{else}}Create{{end}}'
  policyRefs:
  - {name: calls, namespace: default, kind: ConfigMap}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: calls
  namespace: default
  annotations: {projectsveltos.io/instantiate: ok}
data:
  map.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "calls-{{ .CloudEvent.subject }}", namespace: "NAMESPACE"}
    data: {version: "{{ .CloudEvent.data.version }}"}
"#;

fn rules(labels: &str, namespace: &str) -> String {
    RULES.replace("LABELS", labels).replace("NAMESPACE", namespace)
}

fn main() -> ExitCode {
    run(vec![
        story("what_is_as_wanted_costs_no_write_and_a_change_one_apply", &[Nats, ControlPlane], counted),
        story("a_trigger_of_an_account_acts_as_it_and_as_nobody_else", &[Nats, ControlPlane], account),
        story("a_quota_is_named_and_what_it_refused_is_made_when_there_is_room", &[Nats, ControlPlane], quota),
    ])
}

struct Stage {
    lifeline: Lifeline,
    producer: Producer,
    kubernetes: Kubernetes,
    _nats: NatsServer,
}

impl Stage {
    async fn set(scene: &Scene, rules: &str) -> Result<Self, Failure> {
        let nats = scene.nats("nats")?;
        let mut lifeline = scene.engine("engine", scene.control_plane(), &nats, SUBJECT, rules)?;
        lifeline.wait_until_ready()?;
        let producer = Producer::connect(&nats, SUBJECT).await?;
        let kubernetes = Kubernetes::of(scene.control_plane()).await?;
        Ok(Self { lifeline, producer, kubernetes, _nats: nats })
    }

    fn maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.kubernetes.client(), namespace)
    }

    async fn login(&self, subject: &str, version: u32) -> Outcome {
        self.producer.publish(login(subject, version)).await.map(drop)
    }

    fn row(&self, subject: &str) -> Result<Value, String> {
        let rows = self.lifeline.ask(&["get", "lifecycles", "--subject", subject]);
        Ok(rows.map_err(|failure| failure.to_string())?["items"][0].clone())
    }

    async fn is(&self, subject: &str, phase: &str) -> Outcome {
        eventually(&format!("`{subject}` to be {phase}"), SOON, async || match self.row(subject)? {
            row if row["phase"] == phase => Ok(()),
            row => Err(row.to_string()),
        })
        .await
    }

    /// Waits until the lifecycle of a subject fails with all of these words, and none of the others.
    async fn fails(&self, subject: &str, words: &[&str], others: &[&str]) -> Outcome {
        eventually(&format!("`{subject}` to fail with {words:?}"), SOON, async || {
            let row = self.row(subject)?;
            let error = row["error"].as_str().unwrap_or_default();
            let says = words.iter().all(|word| error.contains(word)) && others.iter().all(|word| !error.contains(word));
            if says { Ok(()) } else { Err(row.to_string()) }
        })
        .await
    }

    fn change_rules(&self, text: &str) -> Outcome {
        let folder = self.lifeline.data();
        let folder = folder.parent().ok_or("the data folder has no parent")?.join("rules");
        fs::write(folder.join("next"), text)?;
        fs::rename(folder.join("next"), folder.join("rules.yaml"))?;
        Ok(())
    }
}

fn login(subject: &str, version: u32) -> Event {
    Event::user("login", subject).data(json!({"version": version.to_string()}))
}

/// What was asked about ConfigMaps of a namespace, since the first `skip` calls. Other stories run beside: names begin with this.
fn asked(scene: &Scene, namespace: &str, begins: &str, skip: usize) -> Result<Vec<Write>, Failure> {
    let is_ours =
        |call: &Write| call.resource == "configmaps" && call.namespace == namespace && call.name.starts_with(begins);
    Ok(scene.control_plane().calls()?.into_iter().skip(skip).filter(is_ours).collect())
}

fn by_verb(calls: &[Write]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    calls.iter().for_each(|call| *counts.entry(call.verb.as_str()).or_default() += 1);
    counts
}

/// The resourceVersion of each object, without reading one by its name: such reads are counted.
async fn versions(maps: &Api<ConfigMap>) -> Result<BTreeMap<String, String>, Failure> {
    let list = maps.list(&ListParams::default()).await?.items;
    let ours =
        list.into_iter().filter(|map| map.metadata.name.as_deref().unwrap_or_default().starts_with("calls-key-"));
    let version = |map: ConfigMap| Some((map.metadata.name?, map.metadata.resource_version?));
    Ok(ours.filter_map(version).collect())
}

async fn counted(scene: &Scene) -> Outcome {
    let keys = std::env::var("LIFELINE_CALLS_KEYS").ok().and_then(|keys| keys.parse().ok()).unwrap_or(100_usize);
    let stage = Stage::set(scene, &rules("{}", "default")).await?;
    let maps = stage.maps("default");
    let total = || Ok::<_, Failure>(scene.control_plane().calls()?.len());
    // What the log held before belongs to other stories.
    let before = total()?;
    let backlog = (0..keys * EVENTS_EACH).map(|number| login(&format!("key-{}", number % keys), 1));
    stage.producer.publish_all(backlog).await?;
    let mut events = (keys * EVENTS_EACH) as u64;
    stage.lifeline.has_recorded(events).await?;
    stage.lifeline.has_settled().await?;
    let calls = asked(scene, "default", "calls-key-", before)?;
    println!("calls: a backlog of {events} events over {keys} keys: {:?}", by_verb(&calls));
    assert_eq!(versions(&maps).await?.len(), keys);
    let writes = by_verb(&calls)["patch"];
    assert!(writes * 10 <= keys * 12, "{writes} writes for {keys} keys");

    // A heartbeat.
    let (before, live) = (total()?, versions(&maps).await?);
    stage.producer.publish_all((0..1_000).map(|_| login("key-0", 1))).await?;
    events += 1_000;
    stage.lifeline.has_recorded(events).await?;
    stage.lifeline.has_settled().await?;
    let calls = asked(scene, "default", "calls-key-", before)?;
    println!("calls: a heartbeat of 1000 events: {:?}", by_verb(&calls));
    assert!(calls.iter().all(|call| call.verb == "get"), "{:?}", by_verb(&calls));
    assert_eq!(versions(&maps).await?, live);

    // Another version of one object: one apply, under the uid that is known.
    let before = total()?;
    stage.login("key-0", 2).await?;
    events += 1;
    stage.lifeline.has_recorded(events).await?;
    stage.lifeline.has_settled().await?;
    let calls = asked(scene, "default", "calls-key-", before)?;
    assert_eq!(by_verb(&calls), BTreeMap::from([("patch", 1)]));

    // All history again, by rules that say the same.
    let (before, live) = (total()?, versions(&maps).await?);
    let recorded = stage.lifeline.status()?["recorded"].as_u64();
    stage.change_rules(&rules("{}", "default").replace("WithdrawPolicies", "LeavePolicies"))?;
    eventually("the replay", SOON, async || {
        let status = stage.lifeline.status().map_err(|failure| failure.to_string())?;
        // The rule, and the beginning and the end of the replay.
        let is_over = status["recorded"].as_u64() >= recorded.map(|recorded| recorded + 3);
        if is_over && status["replays"] == json!([]) { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    stage.lifeline.has_settled().await?;
    assert_eq!(by_verb(&asked(scene, "default", "calls-key-", before)?), BTreeMap::new());
    assert_eq!(versions(&maps).await?, live);
    Ok(())
}

async fn account(scene: &Scene) -> Outcome {
    const TENANT: &str = "calls-tenant";
    const USER: &str = "system:serviceaccount:calls-tenant:deployer";
    let labels =
        "{projectsveltos.io/serviceaccount-name: deployer, projectsveltos.io/serviceaccount-namespace: calls-tenant}";
    let text = rules(labels, "{{ .CloudEvent.data.namespace }}");
    let stage = Stage::set(scene, &text).await?;
    let client = stage.kubernetes.client();
    stage.kubernetes.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {TENANT}}}\n")).await?;
    let before = scene.control_plane().calls()?.len();

    // Without a right it says who lacks which.
    let login = async |subject: &str, namespace: &str| {
        let data = json!({"version": "1", "namespace": namespace});
        stage.producer.publish(Event::user("login", subject).data(data)).await.map(drop)
    };
    login("zoe", TENANT).await?;
    let remedy = format!(
        "hint: bind a Role in the namespace `{TENANT}` to `{USER}` with {{apiGroups: [\"\"], resources: [configmaps]"
    );
    stage.fails("zoe", &["the cluster forbids it", USER, &remedy], &[]).await?;

    // A right of its group is one of its own.
    let grant = async |verbs: Value| {
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]);
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "deployer"}, "rules": rules});
        let roles: Api<Role> = Api::namespaced(client.clone(), TENANT);
        roles.patch("deployer", &PatchParams::apply("test").force(), &Patch::Apply(&role)).await.map(drop)
    };
    grant(json!(["get", "create", "patch"])).await?;
    let binding = serde_json::from_value(json!({
        "metadata": {"name": "deployer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": format!("system:serviceaccounts:{TENANT}")}],
    }))?;
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), TENANT);
    bindings.create(&PostParams::default(), &binding).await?;
    stage.is("zoe", "Ready").await?;

    // What the tenant may not do elsewhere is not done with the rights of the engine.
    login("spy", "default").await?;
    stage.fails("spy", &[USER, "in the namespace \"default\""], &[]).await?;
    assert!(stage.maps("default").get_opt("calls-spy").await?.is_none());

    // The trigger goes. The account may not delete, and nobody does it instead.
    let source_only = text.split("---").next().unwrap_or_default().to_owned();
    stage.change_rules(&source_only)?;
    stage.fails("zoe", &[USER, "verbs: [delete]"], &[]).await?;
    assert!(stage.maps(TENANT).get_opt("calls-zoe").await?.is_some());
    grant(json!(["get", "create", "patch", "delete"])).await?;
    stage.is("zoe", "Gone").await?;

    let calls = asked(scene, TENANT, "calls-zoe", before)?;
    let engine: Vec<&Write> = calls.iter().filter(|call| !call.acting_as.is_empty()).collect();
    assert!(engine.iter().all(|call| call.acting_as == USER), "{engine:#?}");
    for verb in ["get", "patch", "delete"] {
        let (done, count) =
            (engine.iter().any(|call| call.verb == verb && (200..300).contains(&call.status)), engine.len());
        assert!(done, "no `{verb}` among {count} calls in the name of {USER}");
    }
    let others = calls.iter().filter(|call| call.acting_as.is_empty() && call.verb != "get");
    assert_eq!(others.count(), 0, "nothing was written in another name");
    Ok(())
}

async fn quota(scene: &Scene) -> Outcome {
    let namespace = "calls-quota";
    let stage = Stage::set(scene, &rules("{}", namespace)).await?;
    let client = stage.kubernetes.client();
    stage.kubernetes.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n")).await?;
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), namespace);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"configmaps": "0"}}});
    quotas.create(&PostParams::default(), &serde_json::from_value(quota)?).await?;
    // The controller that counts does not run here.
    let status = json!({"status": {"hard": {"configmaps": "0"}, "used": {"configmaps": "0"}}});
    quotas.patch_status("few", &PatchParams::default(), &Patch::Merge(&status)).await?;
    eventually("the quota to be in force", SOON, async || {
        let probe =
            serde_json::from_value(json!({"metadata": {"name": "probe"}})).map_err(|error| error.to_string())?;
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        match stage.maps(namespace).create(&parameters, &probe).await {
            Err(error) if error.to_string().contains("exceeded quota") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    stage.login("zoe", 1).await?;
    let words = ["the ResourceQuota `few` denies it", "hint: raise the quota", "tried again"];
    stage.fails("zoe", &words, &["bind a", "grant"]).await?;
    quotas.delete("few", &DeleteParams::default()).await?;
    stage.is("zoe", "Ready").await?;
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(namespace, &DeleteParams::default()).await?;
    Ok(())
}
