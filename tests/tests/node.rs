//! The chart on a real node: installed by Helm, with the image that `ops/release` builds of this tree, under its own security
//! context, service account and roles; then everything that happens to a StatefulSet, with a look at what lives, by uid.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::DeleteParams;
use lifeline_ops::servers::free_port;
use lifeline_tests::harness::Need::{ControlPlane as ApiServer, Helm as HelmProgram, Nats, Node as RealNode};
use lifeline_tests::harness::{
    ControlPlane, Event, Failure, Helm, Kubernetes, NODE, Node, Outcome, Producer, Scene, User, eventually, run, story,
};
use serde_json::{Value, json};

const END_TO_END: &str = include_str!("../../engine/tests/seed/3-end-to-end.yaml");
const NAMESPACE: &str = "projectsveltos";
const POD: &str = "lifeline-0";
const IMAGE: &str = "docker.io/library/lifeline:";
const SOON: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    run(vec![story(
        "the_life_of_the_statefulset_on_a_node",
        &[HelmProgram, ApiServer, Nats, RealNode],
        life_of_the_stateful_set,
    )])
}

/// A node with a nats-server in a pod, and everything that the chart needs to be installed on it.
struct Stage {
    // Dropped first: it ends the containers, which talk to the others.
    node: Node,
    kubernetes: Kubernetes,
    control_plane: ControlPlane,
    helm: Helm,
    producer: Producer,
    values: String,
}

/// What must stay the same: the claim, and the Namespace of a user; and the pod, which may not.
#[derive(Debug, Clone, PartialEq)]
struct Lives {
    claim: Option<String>,
    pod: Option<String>,
    user: Option<String>,
}

impl Stage {
    async fn set(scene: &Scene) -> Result<Self, Failure> {
        let (node, control_plane) = scene.node()?;
        let kubernetes = Kubernetes::of(&control_plane).await?;
        let (nats_port, port) = (free_port()?, free_port()?);
        let volume = scene.folder().join("volume");
        std::fs::create_dir_all(&volume)?;
        // A driver would give it to the group of the pod; a folder of the machine is given nobody.
        std::os::unix::fs::chown(&volume, Some(65532), Some(65532))?;
        let url = format!("nats://127.0.0.1:{nats_port}");
        for manifest in [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "volume"}, "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": volume},
            }}),
            connection_secret(&url),
        ] {
            kubernetes.apply(&manifest.to_string()).await?;
        }
        let nats = nats_pod(nats_port);
        // Its service account comes a moment after its namespace.
        eventually("the nats-server to be accepted", SOON, async || {
            kubernetes.apply(&nats.to_string()).await.map_err(|failure| failure.to_string())
        })
        .await?;
        let client = eventually("the nats-server to answer", SOON, async || async_nats::connect(&url).await).await?;
        let values = values(&control_plane, port).to_string();
        let values = scene.write("values.yaml", &values)?.to_string_lossy().into_owned();
        let producer = Producer::on(client, "user-operation");
        Ok(Self { node, kubernetes, control_plane, helm: scene.helm()?.clone(), producer, values })
    }

    /// Runs helm for the release with its values, and more settings.
    fn helm(&self, verb: &str, settings: &[&str]) -> Result<String, Failure> {
        let chart = Helm::chart();
        let chart = chart.to_string_lossy();
        let what = [verb, "lifeline", &chart, "--namespace", NAMESPACE, "--values", &self.values];
        let wait = ["--wait", "--timeout", "90s"];
        let done =
            self.helm.run(Some(&self.control_plane.kubeconfig(User::Admin)), &[&what[..], &wait, settings].concat());
        done.map_err(|failure| format!("{failure}\nthe pod said:\n{}", self.node.logs(POD)).into())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.kubernetes.client(), NAMESPACE)
    }

    /// Waits for a pod of the StatefulSet that is ready and is not the one with this uid.
    async fn pod_other_than(&self, former: Option<&String>) -> Result<Pod, Failure> {
        let ready = eventually("a ready pod", SOON, async || match self.pods().get_opt(POD).await {
            Ok(Some(pod)) if pod.metadata.uid.as_ref() != former && is_ready(&pod) => Ok(pod),
            Ok(pod) => Err(format!("{:?}", pod.and_then(|pod| pod.status))),
            Err(error) => Err(error.to_string()),
        });
        let said = || format!("\nthe pod said:\n{}", self.node.logs(POD));
        let pod = ready.await.map_err(|failure| format!("{failure}{}", said()))?;
        let container = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()).next();
        // An engine that ends by itself, as for a log that another one holds, would be started again, and be ready later.
        assert_eq!(container.map(|container| container.restart_count), Some(0), "{}", said());
        Ok(pod)
    }

    async fn lives(&self, user: &str) -> Result<Lives, Failure> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.kubernetes.client(), NAMESPACE);
        Ok(Lives {
            claim: claims.get_opt("data-lifeline-0").await?.and_then(|claim| claim.metadata.uid),
            pod: self.pods().get_opt(POD).await?.and_then(|pod| pod.metadata.uid),
            user: self.kubernetes.namespace(user).await?.and_then(|namespace| namespace.metadata.uid),
        })
    }

    /// Asks in the pod, as `kubectl exec` would, until the answer has a text.
    async fn says(&self, command: &[&str], text: &str) -> Outcome {
        let command = [&["/lifeline"], command].concat();
        eventually(&format!("`{text}`"), SOON, async || match self.node.exec(IMAGE, &command) {
            Ok(said) if said.contains(text) => Ok(()),
            Ok(said) => Err(said),
            Err(failure) => Err(failure.to_string()),
        })
        .await
    }
}

async fn life_of_the_stateful_set(scene: &Scene) -> Outcome {
    let mut stage = Stage::set(scene).await?;

    // Installed: ready under its own security context, service account and roles.
    stage.helm("install", &[])?;
    let pod = stage.pod_other_than(None).await?;
    check_confinement(&pod);
    stage.says(&["status"], "ready").await?;

    // The seed's story.
    stage.kubernetes.apply(END_TO_END).await?;
    stage.producer.publish(Event::user("login", "mgianluc")).await?;
    stage.producer.publish(Event::user("login", "visitor")).await?;
    stage.kubernetes.has_namespace("mgianluc").await?;
    stage.kubernetes.has_namespace("visitor").await?;
    stage.says(&["get", "objects"], "Namespace/mgianluc").await?;
    stage.producer.publish(Event::user("logout", "visitor")).await?;
    stage.kubernetes.lost_namespace("visitor").await?;
    let kubeconfig = stage.control_plane.kubeconfig(User::Admin);
    let tested = stage.helm.run(Some(&kubeconfig), &["test", "lifeline", "--namespace", NAMESPACE])?;
    assert!(tested.contains("Phase:          Succeeded") && !tested.contains("Failed"), "{tested}");

    // The pod is deleted: another one takes the claim over, and nothing is made again.
    let before = stage.lives("mgianluc").await?;
    assert!(before.claim.is_some() && before.user.is_some(), "{before:?}");
    let since = Instant::now();
    stage.pods().delete(POD, &DeleteParams::default()).await?;
    stage.producer.publish(Event::user("login", "mgianluc")).await?;
    let made = eventually("another pod", SOON, async || match stage.pods().get_opt(POD).await {
        Ok(Some(pod)) if pod.metadata.uid != before.pod => Ok(since.elapsed()),
        other => Err(format!("{other:?}")),
    });
    let made = made.await?.as_secs_f32();
    stage.pod_other_than(before.pod.as_ref()).await?;
    println!("the pod was deleted: made again after {made:.1} s, ready after {:.1} s", since.elapsed().as_secs_f32());
    stage.says(&["history", "auth.example.com", "mgianluc", "-o", "json"], "\"offset\"").await?;
    let after = stage.lives("mgianluc").await?;
    assert_eq!((&after.claim, &after.user), (&before.claim, &before.user));

    // The node goes down and comes back: containers go on meanwhile, and so does the pod.
    stage.node.go_down()?;
    stage.producer.publish(Event::user("login", "second")).await?;
    stage.kubernetes.has_namespace("second").await?;
    stage.node.come_back()?;
    stage.pod_other_than(None).await?;
    assert_eq!(stage.lives("mgianluc").await?, after);

    // An upgrade that changes the pod.
    let since = Instant::now();
    stage.helm("upgrade", &["--set", "podAnnotations.changed=yes"])?;
    let upgraded = stage.pod_other_than(after.pod.as_ref()).await?;
    println!("upgraded after {:.1} s", since.elapsed().as_secs_f32());
    assert_eq!(upgraded.metadata.annotations.unwrap_or_default()["changed"], "yes");
    let upgraded = stage.lives("mgianluc").await?;
    assert_eq!((&upgraded.claim, &upgraded.user), (&before.claim, &before.user));

    // A second engine is refused before anything is changed.
    let refusal = stage.helm("upgrade", &["--set", "replicas=2"]).map(drop).expect_err("two engines");
    assert!(refusal.to_string().contains("at '/replicas': maximum"), "{refusal}");
    let sets: Api<StatefulSet> = Api::namespaced(stage.kubernetes.client(), NAMESPACE);
    assert_eq!(sets.get("lifeline").await?.spec.and_then(|spec| spec.replicas), Some(1));
    assert_eq!(stage.lives("mgianluc").await?, upgraded);

    // Uninstalled: the objects of the triggers stay, and the claim, and the rules with their definitions.
    let second = stage.lives("second").await?;
    stage.helm.run(Some(&kubeconfig), &["uninstall", "lifeline", "--namespace", NAMESPACE, "--wait"])?;
    eventually("the pod to be gone", SOON, async || match stage.pods().get_opt(POD).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    let left = stage.lives("second").await?;
    assert_eq!(left, Lives { pod: None, ..second.clone() });

    // Installed again: it knows what it made, and removes it when the user goes, who went meanwhile.
    stage.producer.publish(Event::user("logout", "second")).await?;
    stage.helm("install", &[])?;
    stage.kubernetes.lost_namespace("second").await?;
    let again = stage.lives("mgianluc").await?;
    assert_eq!((&again.claim, &again.user), (&before.claim, &before.user));
    Ok(())
}

/// What the kubelet was told: a pod that may do nothing but run.
fn check_confinement(pod: &Pod) {
    let pod = serde_json::to_value(pod).unwrap_or_default();
    assert_eq!(pod["spec"]["nodeName"], NODE);
    assert_eq!(pod["spec"]["serviceAccountName"], "lifeline");
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["spec"]["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["spec"]["containers"][0]["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_going = pod.metadata.deletion_timestamp.is_some();
    !is_going
        && conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn connection_secret(url: &str) -> Value {
    let connection = json!({"nats": {"configuration": {"url": url, "subjects": ["user-operation"]}}});
    let metadata = json!({"namespace": NAMESPACE, "name": "sveltos-nats"});
    let data = json!({"sveltos-nats": connection.to_string()});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
}

fn nats_pod(port: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": "nats"}, "spec": {
        "hostNetwork": true,
        "containers": [{
            "name": "nats",
            "image": "docker.io/library/nats:test",
            "imagePullPolicy": "Never",
            "args": ["--addr", "127.0.0.1", "--port", port.to_string(), "--jetstream", "--store_dir", "/data"],
            "securityContext": {"runAsNonRoot": true, "readOnlyRootFilesystem": true},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }})
}

/// There is no pod network here: the pod uses that of the machine, on loopback, and finds the API server there.
fn values(control_plane: &ControlPlane, port: u16) -> Value {
    let on_loopback = json!({"httpGet": {"host": "127.0.0.1"}});
    json!({
        "image": {"pullPolicy": "Never"},
        "hostNetwork": true,
        "dnsPolicy": "Default",
        "listen": {"address": "127.0.0.1", "port": port},
        "extraEnv": [
            {"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"},
            {"name": "KUBERNETES_SERVICE_PORT", "value": control_plane.port().to_string()},
        ],
        "startupProbe": on_loopback,
        "readinessProbe": on_loopback,
        "livenessProbe": on_loopback,
        "tests": {"server": format!("http://127.0.0.1:{port}")},
        "rbac": {"objects": {"rules": [
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "create", "patch", "delete"]},
        ]}},
    })
}
