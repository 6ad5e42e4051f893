//! The roles of the chart: they allow what the engine calls and nothing else, and each right that is taken away is missed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::PostParams;
use lifeline_ops::servers::NatsServer;
use lifeline_tests::harness::Need::{ControlPlane as ApiServer, Helm as HelmProgram, Nats};
use lifeline_tests::harness::{
    ControlPlane, Event, Failure, Kubernetes, Lifeline, Outcome, Producer, Scene, User, Write, documents, eventually,
    run, story,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const END_TO_END: &str = include_str!("../../engine/tests/seed/3-end-to-end.yaml");
const NAMESPACE: &str = "projectsveltos";

/// The rules for the objects of the seed's trigger, and the account of another one.
const VALUES: &str = r#"
rbac:
  objects:
    rules:
      - {apiGroups: [""], resources: [namespaces], verbs: [get, list, watch, create, patch, delete]}
  impersonate:
    - {namespace: eng, names: [deployer]}
"#;

/// A trigger that acts as an account of its own, and one for a kind that no role of the chart allows: it always fails.
const MORE_TRIGGERS: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata:
  name: as-deployer
  labels:
    projectsveltos.io/serviceaccount-name: deployer
    projectsveltos.io/serviceaccount-namespace: eng
spec:
  sourceClusterSelector: {matchLabels: {env: production}}
  eventSourceName: user-operation
  oneForEvent: true
  policyRefs: [{name: config-map, namespace: default, kind: ConfigMap}]
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: config-map
  namespace: default
  annotations: {projectsveltos.io/instantiate: ok}
data:
  object.yaml: |
    {apiVersion: v1, kind: ConfigMap, metadata: {namespace: eng, name: "{{ .CloudEvent.subject }}"}}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata:
  name: never-allowed
spec:
  sourceClusterSelector: {matchLabels: {env: production}}
  eventSourceName: user-operation
  oneForEvent: true
  policyRefs: [{name: lease, namespace: default, kind: ConfigMap}]
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: lease
  namespace: default
  annotations: {projectsveltos.io/instantiate: ok}
data:
  object.yaml: |
    {apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {namespace: eng, name: "{{ .CloudEvent.subject }}"}}
"#;

/// What the second account may do: all that its trigger needs.
const DEPLOYER: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: eng}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: deployer, namespace: eng}
rules: [{apiGroups: [""], resources: [configmaps], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: eng}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: deployer}
subjects: [{kind: ServiceAccount, name: deployer, namespace: eng}]
"#;

/// How long an engine may take to say what it lacks.
const MISSED_WITHIN: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    run(vec![
        story("the_engine_needs_the_roles_of_the_chart_and_nothing_else", &[HelmProgram, ApiServer, Nats], roles),
        story("each_right_of_the_engine_that_is_taken_away_is_missed", &[HelmProgram, ApiServer, Nats], each_is_missed),
        story("readers_and_operators_may_what_their_roles_name", &[HelmProgram, ApiServer, Nats], people),
    ])
}

/// The definition that Sveltos installs for the clusters that it knows, as far as it matters here.
const SVELTOS_CLUSTER: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sveltosclusters.lib.projectsveltos.io}
spec:
  group: lib.projectsveltos.io
  scope: Namespaced
  names: {kind: SveltosCluster, listKind: SveltosClusterList, plural: sveltosclusters, singular: sveltoscluster}
  versions:
    - name: v1beta1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// A control plane with the definitions, the roles of the chart, and the rules; and a nats-server.
struct Stage {
    control_plane: ControlPlane,
    kubernetes: Kubernetes,
    _nats: NatsServer,
    producer: Producer,
    /// The roles that the chart binds to the engine.
    roles: Vec<Value>,
    /// Those that it makes for readers and for operators.
    for_people: Vec<Value>,
}

impl Stage {
    async fn set(scene: &Scene) -> Result<Self, Failure> {
        let control_plane = scene.fresh_control_plane()?;
        let kubernetes = Kubernetes::of(&control_plane).await?;
        for name in [NAMESPACE, "eng"] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            kubernetes.apply(&namespace.to_string()).await?;
        }
        // What Sveltos says of the own cluster is read where it is installed.
        kubernetes.apply(SVELTOS_CLUSTER).await?;
        let (mut roles, mut for_people) = (Vec::new(), Vec::new());
        for document in documents(&scene.helm()?.template(VALUES)?) {
            let manifest: Value = serde_saphyr::from_str(document)?;
            let kind = manifest["kind"].as_str().unwrap_or_default();
            let is_hook = manifest["metadata"]["annotations"]["helm.sh/hook"].is_string();
            let counts = ["CustomResourceDefinition", "ServiceAccount", "ClusterRole", "Role"].contains(&kind);
            if is_hook || !(counts || kind.ends_with("RoleBinding")) {
                continue;
            }
            kubernetes.apply(&manifest.to_string()).await?;
            let is_for_people = document.contains(":reader\n") || document.contains(":operator\n");
            match kind.ends_with("Role") {
                true if is_for_people => for_people.push(manifest),
                true => roles.push(manifest),
                false => {}
            }
        }
        let nats = scene.nats("nats")?;
        let connection = json!({"nats": {"configuration": {"url": nats.url(), "subjects": ["user-operation"]}}});
        let metadata = json!({"namespace": NAMESPACE, "name": "sveltos-nats"});
        let data = json!({"sveltos-nats": connection.to_string()});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data});
        kubernetes.apply(&secret.to_string()).await?;
        kubernetes.apply(END_TO_END).await?;
        let producer = Producer::connect(&nats, "user-operation").await?;
        Ok(Self { control_plane, kubernetes, _nats: nats, producer, roles, for_people })
    }

    /// The arguments of an engine that runs as a service account, and the file of its token.
    async fn engine_as(&self, scene: &Scene, account: &str) -> Result<(Vec<String>, String), Failure> {
        let token = token(&self.kubernetes, account).await?;
        let kubeconfig = kubeconfig(&self.control_plane, &token)?;
        let file = scene.write(&format!("{account}.kubeconfig"), &kubeconfig.to_string())?;
        let token_file = scene.write(&format!("{account}.token"), &token)?;
        let flags = ["--cluster", "kube", "--auth", "kubernetes", "--consumer", account, "--kubeconfig"];
        let flags = flags.into_iter().map(str::to_owned).chain([file.to_string_lossy().into_owned()]);
        Ok((flags.collect(), token_file.to_string_lossy().into_owned()))
    }
}

/// What a role allows, or what was called: verb, group, resource with subresource.
type Right = (String, String, String);

/// The engine runs as the chart's service account, with the chart's roles; the API server's audit log says what it called.
async fn roles(scene: &Scene) -> Outcome {
    let stage = Stage::set(scene).await?;
    let Stage { control_plane, kubernetes, producer, .. } = &stage;
    // Who impersonates calls as somebody else.
    let granted: BTreeSet<Right> =
        stage.roles.iter().flat_map(rights).filter(|right| right.0 != "impersonate").collect();
    let (flags, token_file) = stage.engine_as(scene, "lifeline").await?;
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut lifeline = scene.lifeline("engine", &flags)?;
    lifeline.wait_until_ready()?;

    producer.publish(Event::user("login", "mgianluc")).await?;
    kubernetes.has_namespace("mgianluc").await?;
    // As the command in the pod asks.
    let asked = ["get", "objects", "--server", &lifeline.url(), "--token-file", &token_file];
    let said = Lifeline::command(&asked)?;
    assert!(said.contains("Namespace/mgianluc"), "{said}");
    // A change of the trigger is applied to what is there: the object is read before.
    lifeline.restart()?;
    lifeline.wait_until_ready()?;
    producer.publish(Event::user("logout", "mgianluc")).await?;
    kubernetes.lost_namespace("mgianluc").await?;

    let called = called(control_plane, &granted).await?;
    // Nothing has failed, so no Event was due.
    let is_due = |right: &&Right| right.0 != "create" || !["namespaces", "events"].contains(&right.2.as_str());
    let unused: Vec<&Right> = granted.difference(&called).filter(is_due).collect();
    assert!(unused.is_empty(), "granted, and never called: {unused:?}");
    // All kinds are listed once for objects that the log does not know; the engine names those that it may not list.
    let missing: Vec<&Right> = called.difference(&granted).filter(|right| right.0 != "list").collect();
    assert!(missing.is_empty(), "called, and not granted: {missing:?}");

    // An apply that creates is a `patch` in the audit log, and needs `create` all the same.
    let roles: Api<ClusterRole> = Api::all(kubernetes.client());
    let mut role = roles.get("projectsveltos:lifeline:objects").await?;
    for rule in role.rules.iter_mut().flatten() {
        rule.verbs.retain(|verb| verb != "create");
    }
    roles.replace("projectsveltos:lifeline:objects", &PostParams::default(), &role).await?;
    producer.publish(Event::user("login", "second")).await?;
    eventually("a lifecycle that fails", std::time::Duration::from_secs(30), async || {
        let failing = ["get", "lifecycles", "--phase", "failing"];
        let said = Lifeline::command(&[&failing[..], &asked[2..]].concat()).map_err(|failure| failure.to_string())?;
        if said.contains("second") { Ok(()) } else { Err(said) }
    })
    .await?;
    eventually("an Event about it", std::time::Duration::from_secs(30), async || {
        let calls = control_plane.calls().map_err(|failure| failure.to_string())?;
        let is_it = |call: &Write| call.user.ends_with(":lifeline") && call.resource == "events" && call.status == 201;
        if calls.iter().any(is_it) { Ok(()) } else { Err("no Event was made".to_owned()) }
    })
    .await
}

/// One verb for one resource or path, with what it is limited to.
#[derive(Debug, Clone)]
struct One {
    namespace: Option<String>,
    rule: Value,
}

impl One {
    /// Every right that a role gives, one by one.
    fn all_of(role: &Value) -> Vec<One> {
        let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
        let mut ones = Vec::new();
        for rule in role["rules"].as_array().into_iter().flatten() {
            for field in ["resources", "nonResourceURLs"] {
                for (verb, what) in texts(&rule["verbs"])
                    .into_iter()
                    .flat_map(|verb| texts(&rule[field]).into_iter().map(move |what| (verb.clone(), what)))
                {
                    let mut one = rule.clone();
                    (one["verbs"], one[field]) = (json!([verb]), json!([what]));
                    ones.push(One { namespace: namespace.clone(), rule: one });
                }
            }
        }
        ones
    }

    fn verb(&self) -> &str {
        self.rule["verbs"][0].as_str().unwrap_or_default()
    }

    fn what(&self) -> &str {
        let resource = self.rule["resources"][0].as_str();
        resource.or(self.rule["nonResourceURLs"][0].as_str()).unwrap_or_default()
    }

    /// Whether somebody is told that this is missing, and what it is about.
    fn is_missed_in(&self, said: &str) -> bool {
        let (verb, what) = (self.verb(), self.what());
        if verb == "impersonate" {
            return said.contains("may not act as it: name it in `rbac.impersonate`");
        }
        if self.rule["nonResourceURLs"].is_array() {
            return said.contains(&format!("may not {verb} `/v1/"));
        }
        let reads_rules = ["list", "watch"].contains(&verb)
            && said.lines().any(|line| line.contains(&format!("reading `{what}")) && line.contains("is forbidden"));
        reads_rules || said.replace('\\', "").contains(&format!("cannot {verb} resource \"{what}\""))
    }
}

/// For each right an engine as an account that lacks this one alone. It has to say so, where an operator looks.
async fn each_is_missed(scene: &Scene) -> Outcome {
    let stage = Stage::set(scene).await?;
    stage.kubernetes.apply(DEPLOYER).await?;
    stage.kubernetes.apply(MORE_TRIGGERS).await?;
    let stream = stage.producer.make_stream("USERS").await?;
    let ones: Vec<One> = stage.roles.iter().flat_map(One::all_of).collect();
    assert!(ones.len() > 20, "{ones:?}");
    // The last one lacks nothing.
    for index in 0..=ones.len() {
        let (name, began) = (format!("lacks-{index:02}"), Instant::now());
        stage.account(&name, ones.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, one)| one)).await?;
        let (flags, token_file) = stage.engine_as(scene, &name).await?;
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let lifeline = scene.lifeline(&name, &flags)?;
        stage.producer.publish(Event::user("login", &name)).await?;
        let Some(missing) = ones.get(index) else {
            stage.lacks_nothing(lifeline, &name, &token_file, &ones).await?;
            break;
        };
        let (mut said, mut is_missed) = (String::new(), false);
        let mut has_left = false;
        while !is_missed && began.elapsed() < MISSED_WITHIN {
            tokio::time::sleep(Duration::from_millis(100)).await;
            said = everything_said(&lifeline, &token_file)?;
            is_missed = missing.is_missed_in(&said);
            // An Event is written of what begins to fail while the engine runs; what failed when it first looked is known.
            if missing.what() == "events" && !has_left && began.elapsed() > MISSED_WITHIN / 4 {
                stage.producer.publish(Event::user("login", &format!("{name}-late"))).await?;
                has_left = true;
            }
            // What is missed when an object goes.
            if !has_left
                && missing.what() != "events"
                && (stage.kubernetes.namespace(&name).await?.is_some() || began.elapsed() > MISSED_WITHIN / 3)
            {
                stage.producer.publish(Event::user("login", &name)).await?;
                stage.producer.publish(Event::user("logout", &name)).await?;
                has_left = true;
            }
        }
        let (verb, what) = (missing.verb(), missing.what());
        assert!(is_missed, "nobody is told that `{verb}` of `{what}` is missing:\n{said}");
        println!("rights: without `{verb}` of `{what}` an engine says so after {:.1} s", began.elapsed().as_secs_f32());
        drop(lifeline);
        stream.purge().await?;
    }
    Ok(())
}

impl Stage {
    /// A service account with these rights.
    async fn account<'a>(&self, name: &str, ones: impl Iterator<Item = &'a One>) -> Outcome {
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": NAMESPACE, "name": name}});
        self.kubernetes.apply(&account.to_string()).await?;
        let mut rules = BTreeMap::<Option<String>, Vec<Value>>::new();
        for One { namespace, rule } in ones {
            rules.entry(namespace.clone()).or_default().push(rule.clone());
        }
        let group = "rbac.authorization.k8s.io";
        for (namespace, rules) in rules {
            let cluster = if namespace.is_none() { "Cluster" } else { "" };
            let metadata = json!({"namespace": namespace, "name": name});
            let kind = format!("{cluster}Role");
            let version = format!("{group}/v1");
            let role = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "rules": rules});
            let binding = json!({
                "apiVersion": version, "kind": format!("{kind}Binding"), "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": kind, "name": name},
                "subjects": [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": name}],
            });
            for manifest in [role, binding] {
                self.kubernetes.apply(&manifest.to_string()).await?;
            }
        }
        Ok(())
    }

    /// The measure of all the others: nothing is missed where nothing is taken away.
    async fn lacks_nothing(&self, mut lifeline: Lifeline, name: &str, token_file: &str, ones: &[One]) -> Outcome {
        lifeline.wait_until_ready()?;
        self.kubernetes.has_namespace(name).await?;
        self.producer.publish(Event::user("logout", name)).await?;
        self.kubernetes.lost_namespace(name).await?;
        let said = everything_said(&lifeline, token_file)?;
        // What no role allows fails all the same.
        assert!(said.contains("bind a Role in the namespace `eng`"), "{said}");
        let missed: Vec<&One> = ones.iter().filter(|one| one.is_missed_in(&said)).collect();
        assert!(missed.is_empty(), "{missed:?}:\n{said}");
        Ok(())
    }
}

/// Who has one right alone may do what it names; who has all the others of a role may not.
async fn people(scene: &Scene) -> Outcome {
    let stage = Stage::set(scene).await?;
    let (flags, _) = stage.engine_as(scene, "lifeline").await?;
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut lifeline = scene.lifeline("engine", &flags)?;
    lifeline.wait_until_ready()?;
    let answer = async |account: &str, verb: &str, path: &str| -> Result<u16, Failure> {
        let address = lifeline.url().trim_start_matches("http://").to_owned();
        let token = token(&stage.kubernetes, account).await?;
        let (verb, mut answer) = (verb.to_uppercase(), String::new());
        let head = format!("{verb} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n");
        let mut stream = TcpStream::connect(&address).await?;
        stream.write_all(format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        stream.read_to_string(&mut answer).await?;
        let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok());
        Ok(status.ok_or_else(|| format!("`{answer}`"))?)
    };
    assert_eq!(stage.for_people.len(), 2);
    for (role, manifest) in ["reader", "operator"].into_iter().zip(&stage.for_people) {
        let ones = One::all_of(manifest);
        assert!(ones.len() >= 2, "{ones:?}");
        for (index, one) in ones.iter().enumerate() {
            let (has, lacks) = (format!("{role}-{index}-has"), format!("{role}-{index}-lacks"));
            stage.account(&has, [one].into_iter()).await?;
            stage.account(&lacks, ones.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, one)| one)).await?;
            let (verb, path) = (one.verb(), one.what().replace('*', "status"));
            // Nothing is sent that could be done, so what is allowed is answered by another mistake.
            let allowed = answer(&has, verb, &path).await?;
            assert!(
                if verb == "get" { allowed == 200 } else { ![200, 401, 403].contains(&allowed) },
                "{one:?}: {allowed}"
            );
            assert_eq!(answer(&lacks, verb, &path).await?, 403, "{one:?}");
        }
    }
    Ok(())
}

/// Where an operator looks: the log, `/readyz`, and the commands, which ask as they would in the pod.
fn everything_said(lifeline: &Lifeline, token_file: &str) -> Result<String, Failure> {
    let mut said = vec![fs::read_to_string(lifeline.log())?];
    said.extend(lifeline.get("/readyz").err().map(|failure| failure.to_string()));
    let url = lifeline.url();
    for command in [&["status"][..], &["get", "lifecycles", "--phase", "failing"]] {
        let asked = [command, &["-o", "json", "--server", &url, "--token-file", token_file]].concat();
        said.push(Lifeline::command(&asked).unwrap_or_else(|failure| failure.to_string()));
    }
    Ok(said.join("\n"))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Every right that the rules of a role give for resources.
fn rights(role: &Value) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for verb in texts(&rule["verbs"]) {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    rights.insert((verb.clone(), group.clone(), resource));
                }
            }
        }
    }
    rights
}

/// What the engine's service account has called, refused calls included, once that is as much as was granted.
async fn called(control_plane: &ControlPlane, granted: &BTreeSet<Right>) -> Result<BTreeSet<Right>, Failure> {
    let mut called = BTreeSet::new();
    let outcome = eventually("every right to be used", std::time::Duration::from_secs(20), async || {
        let calls = control_plane.calls().map_err(|failure| failure.to_string())?;
        let of_engine = calls.into_iter().filter(|call| call.user.ends_with(":lifeline") && !call.resource.is_empty());
        called = of_engine
            .map(|call| {
                let subresource =
                    if call.subresource.is_empty() { String::new() } else { format!("/{}", call.subresource) };
                (call.verb, call.group, call.resource + &subresource)
            })
            .collect();
        if granted.difference(&called).count() <= 2 { Ok(()) } else { Err(format!("{called:?}")) }
    });
    // What is missing is said by the one who asks.
    _ = outcome.await;
    Ok(called)
}

/// A token of a service account of the chart, as a pod would get it.
async fn token(kubernetes: &Kubernetes, name: &str) -> Result<String, Failure> {
    let accounts: Api<ServiceAccount> = Api::namespaced(kubernetes.client(), NAMESPACE);
    let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let answer = accounts.create_token_request(name, &PostParams::default(), &request).await?;
    Ok(answer.status.ok_or("no token")?.token)
}

/// The admin's kubeconfig with the token of somebody else.
fn kubeconfig(control_plane: &ControlPlane, token: &str) -> Result<Value, Failure> {
    let text = fs::read_to_string(control_plane.kubeconfig(User::Admin))?;
    let mut kubeconfig: Value = serde_json::from_str(&text)?;
    kubeconfig["users"][0]["user"]["token"] = token.into();
    Ok(kubeconfig)
}
