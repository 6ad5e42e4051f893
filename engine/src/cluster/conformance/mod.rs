//! The suite every cluster must pass: named cases, each a sequence of calls to the port.
//!
//! Start at [`CASES`]. It makes and deletes objects whose names begin with a prefix it is given, and leaves nothing behind.
//! It knows only the port: what passes here holds for a real API server and for the local cluster alike. [`manifest`] has
//! good manifests and ways to spoil them; [`verdict`] compares what two clusters say about each.

pub mod manifest;
mod scene;
pub mod verdict;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};

use self::scene::version;
use super::{Cluster, Deletion, Error, LiveObject, ObjectKey};

/// One promise of the port.
pub struct Case {
    /// The promise, as a sentence.
    pub name: &'static str,
    /// Checks it; panics with what was found where it does not hold.
    pub run: for<'a> fn(Scene<'a>) -> BoxFuture<'a, ()>,
}

/// Waits between two looks; on a simulated cluster it may return at once.
pub type Pause = fn(Duration) -> BoxFuture<'static, ()>;

/// Where a case plays: a cluster, a namespace of its own, and a prefix for names outside it.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The cluster under test.
    pub cluster: &'a dyn Cluster,
    /// A DNS label unlike that of any other case and run against this cluster.
    pub prefix: &'a str,
    /// A namespace that exists.
    pub home: &'a str,
    /// How to wait.
    pub pause: Pause,
}

macro_rules! cases {
    ($($name:literal => $function:ident),+ $(,)?) => {
        /// All cases.
        pub const CASES: &[Case] = &[$(Case { name: $name, run: |scene| Box::pin($function(scene)) }),+];
    };
}

cases![
    "an applied object is there, with a uid, until it is deleted" => lives,
    "the same apply twice changes nothing" => applies_twice,
    "a field no longer given is removed, and those of the server stay" => drops_fields,
    "the uid stays over changes, the resource version does not" => keeps_uid,
    "metadata that only the server writes is ignored" => ignores_server_metadata,
    "an apply under a uid never recreates what is gone" => never_recreates,
    "an apply under a uid leaves another object of the name alone" => spares_another,
    "a deletion under a uid leaves another object of the name alone" => deletes_only_its_own,
    "an object with a finalizer is deleting until the finalizer goes" => honours_finalizers,
    "a deleting object takes no new finalizer" => refuses_late_finalizers,
    "a namespace takes what it holds with it" => namespace_cascades,
    "a namespace is created once and then left alone" => creates_namespace_once,
    "what is to be made is not touched where it is there" => makes_what_is_not_there,
    "nothing is made in a namespace that is missing" => refuses_missing_namespace,
    "nothing is made in a namespace that is being deleted" => refuses_terminating_namespace,
    "the namespaces every cluster begins with are there, and stay" => first_namespaces,
    "scopes are the kind's: cleared, kept, or the default namespace" => scopes,
    "a kind nobody serves is unknown" => unknown_kind,
    "a name that could lead elsewhere is refused" => refuses_paths,
    "a definition makes its kind known" => definitions,
    "an object is one in all versions of its kind" => versions,
    "labels are those of the manifest" => labels,
    "a list with keys is merged, one without replaced" => lists,
    "what never changes is refused when it does" => immutable_fields,
    "many applies at once all succeed" => at_once,
    "every good manifest is taken, kept and deleted" => good_manifests,
    "every bad manifest is refused" => bad_manifests,
];

/// Runs every case, also after one failed; the name of each is handed to `told` before it runs.
///
/// # Panics
/// After the last case, where any failed; the message names them.
pub async fn run(cluster: &dyn Cluster, prefix: &str, pause: Pause, mut told: impl FnMut(&str)) {
    let home = format!("{prefix}-home");
    let scene = Scene { cluster, prefix, home: &home, pause };
    let (key, live) = scene.applied(&named_namespace(&home)).await;
    let mut failed = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        told(case.name);
        let prefix = format!("{prefix}-{number}");
        let told = (case.run)(Scene { prefix: &prefix, ..scene });
        if AssertUnwindSafe(told).catch_unwind().await.is_err() {
            failed.push(case.name);
        }
    }
    scene.deleted(&key, &live.uid).await;
    assert!(failed.is_empty(), "{} does not hold to: {failed:#?}", cluster.name());
}

fn named_namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

async fn lives(scene: Scene<'_>) {
    let manifest = scene.namespace("a");
    let key = scene.cluster.resolve(&manifest).await.unwrap();
    assert_eq!(scene.seen(&key).await, None);
    let (_, live) = scene.applied(&manifest).await;
    assert!(!live.uid.is_empty() && !live.deleting, "{live:?}");
    assert_eq!(live.manifest["metadata"]["name"], key.name.as_str());
    assert!(live.manifest["metadata"].get("managedFields").is_none());
    assert_eq!(scene.seen(&key).await.expect("it was just applied").uid, live.uid);
    scene.deleted(&key, &live.uid).await;
    assert_eq!(scene.seen(&key).await, None);
    assert_eq!(scene.delete(&key, &live.uid).await, Deletion::Gone, "deleting again is fine");
}

async fn applies_twice(scene: Scene<'_>) {
    let manifest = scene.config("a", json!({"a": "1"}));
    let (key, first) = scene.applied(&manifest).await;
    let (_, second) = scene.applied(&manifest).await;
    assert_eq!((&first.uid, version(&first)), (&second.uid, version(&second)), "nothing changed");
    let under_uid = scene.cluster.apply(&key, &manifest, Some(&first.uid)).await.unwrap();
    assert_eq!(version(&first), version(&under_uid), "nothing changed under the uid either");
    scene.deleted(&key, &first.uid).await;
}

async fn drops_fields(scene: Scene<'_>) {
    let mut manifest = scene.config("a", json!({"a": "1", "b": "2"}));
    manifest["metadata"]["labels"] = json!({"one": "1", "two": "2"});
    let (key, _) = scene.applied(&manifest).await;
    manifest["data"] = json!({"a": "3"});
    manifest["metadata"]["labels"] = json!({"two": "2"});
    let (_, live) = scene.applied(&manifest).await;
    assert_eq!(live.manifest["data"], json!({"a": "3"}));
    assert_eq!(live.manifest["metadata"]["labels"], json!({"two": "2"}));
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove("data");
    }
    let (_, live) = scene.applied(&manifest).await;
    assert_eq!(live.manifest.get("data"), None);
    assert!(live.manifest["metadata"].get("creationTimestamp").is_some());
    scene.deleted(&key, &live.uid).await;
}

async fn keeps_uid(scene: Scene<'_>) {
    let (key, first) = scene.applied(&scene.config("a", json!({"a": "1"}))).await;
    let changed = scene.config("a", json!({"a": "2"}));
    let second = scene.cluster.apply(&key, &changed, Some(&first.uid)).await.unwrap();
    assert_eq!(first.uid, second.uid);
    assert_ne!(version(&first), version(&second));
    scene.deleted(&key, &first.uid).await;
    let (_, third) = scene.applied(&changed).await;
    assert_ne!(first.uid, third.uid, "made again is another object");
    scene.deleted(&key, &third.uid).await;
}

async fn ignores_server_metadata(scene: Scene<'_>) {
    let manifest = scene.config("a", json!({"a": "1"}));
    let (key, first) = scene.applied(&manifest).await;
    let mut copied = first.manifest.clone();
    copied["metadata"]["resourceVersion"] = json!("1");
    copied["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000");
    copied["metadata"]["managedFields"] = json!([]);
    let (_, second) = scene.applied(&copied).await;
    assert_eq!((&first.uid, version(&first)), (&second.uid, version(&second)));
    scene.deleted(&key, &first.uid).await;
}

async fn never_recreates(scene: Scene<'_>) {
    let manifest = scene.config("a", json!({"a": "1"}));
    let (key, live) = scene.applied(&manifest).await;
    scene.deleted(&key, &live.uid).await;
    let error = scene.cluster.apply(&key, &manifest, Some(&live.uid)).await.unwrap_err();
    assert_eq!(error.reason(), "Gone", "{error}");
    assert_eq!(scene.seen(&key).await, None);
    let mut elsewhere = manifest.clone();
    elsewhere["metadata"]["namespace"] = json!(scene.named("nowhere"));
    let key = scene.cluster.resolve(&elsewhere).await.unwrap();
    let error = scene.cluster.apply(&key, &elsewhere, Some(&live.uid)).await.unwrap_err();
    assert_eq!(error.reason(), "Gone", "its namespace is gone too: {error}");
    assert_eq!(scene.seen(&key).await, None);
    assert_eq!(scene.delete(&key, &live.uid).await, Deletion::Gone);
}

async fn spares_another(scene: Scene<'_>) {
    let manifest = scene.config("a", json!({"a": "1"}));
    let (key, first) = scene.applied(&manifest).await;
    scene.deleted(&key, &first.uid).await;
    let (_, second) = scene.applied(&manifest).await;
    let changed = scene.config("a", json!({"a": "2"}));
    match scene.cluster.apply(&key, &changed, Some(&first.uid)).await {
        Err(Error::Replaced { uid }) => assert_eq!(uid, second.uid),
        other => panic!("expected that it was replaced, got {other:?}"),
    }
    assert_eq!(scene.seen(&key).await.unwrap().manifest["data"], json!({"a": "1"}));
    scene.deleted(&key, &second.uid).await;
}

async fn deletes_only_its_own(scene: Scene<'_>) {
    for manifest in [scene.config("a", json!({})), scene.namespace("a")] {
        let (key, first) = scene.applied(&manifest).await;
        scene.deleted(&key, &first.uid).await;
        let (_, second) = scene.applied(&manifest).await;
        assert_eq!(scene.delete(&key, &first.uid).await, Deletion::Gone);
        let live = scene.seen(&key).await.expect("the other lives on");
        assert!(live.uid == second.uid && !live.deleting, "{live:?}");
        scene.deleted(&key, &second.uid).await;
    }
}

async fn honours_finalizers(scene: Scene<'_>) {
    let mut manifest = scene.config("a", json!({"a": "1"}));
    manifest["metadata"]["finalizers"] = json!(["example.com/guard"]);
    let (key, live) = scene.applied(&manifest).await;
    assert_eq!(scene.delete(&key, &live.uid).await, Deletion::Terminating);
    assert_eq!(scene.delete(&key, &live.uid).await, Deletion::Terminating, "asked again");
    assert!(scene.seen(&key).await.expect("held by its finalizer").deleting);
    let (_, again) = scene.applied(&manifest).await;
    assert!(again.deleting && again.uid == live.uid, "an apply does not bring it back: {again:?}");
    manifest["metadata"]["finalizers"] = json!([]);
    let (_, released) = scene.applied(&manifest).await;
    assert_eq!(released.uid, live.uid);
    assert_eq!(scene.seen(&key).await, None);
    assert_eq!(scene.delete(&key, &live.uid).await, Deletion::Gone);
}

async fn refuses_late_finalizers(scene: Scene<'_>) {
    let mut manifest = scene.config("a", json!({"a": "1"}));
    manifest["metadata"]["finalizers"] = json!(["example.com/guard"]);
    let (key, live) = scene.applied(&manifest).await;
    assert_eq!(scene.delete(&key, &live.uid).await, Deletion::Terminating);
    manifest["metadata"]["finalizers"] = json!(["example.com/guard", "example.com/late"]);
    let error = scene.cluster.apply(&key, &manifest, None).await.unwrap_err();
    assert_eq!(error.reason(), "Invalid", "{error}");
    manifest["metadata"]["finalizers"] = json!([]);
    scene.applied(&manifest).await;
    scene.deleted(&key, &live.uid).await;
}

async fn namespace_cascades(scene: Scene<'_>) {
    let (namespace, live) = scene.applied(&scene.namespace("a")).await;
    let mut manifest = scene.config("in", json!({"a": "1"}));
    manifest["metadata"]["namespace"] = json!(namespace.name);
    let (key, inner) = scene.applied(&manifest).await;
    scene.deleted(&namespace, &live.uid).await;
    assert_eq!(scene.seen(&namespace).await, None);
    assert_eq!(scene.seen(&key).await, None);
    assert_eq!(scene.delete(&key, &inner.uid).await, Deletion::Gone);
}

async fn refuses_missing_namespace(scene: Scene<'_>) {
    let mut manifest = scene.config("a", json!({}));
    let missing = scene.named("missing");
    manifest["metadata"]["namespace"] = json!(missing);
    match scene.apply(&manifest).await {
        Err(Error::NamespaceMissing { namespace }) => assert_eq!(namespace, missing),
        other => panic!("expected that the namespace is missing, got {other:?}"),
    }
}

async fn refuses_terminating_namespace(scene: Scene<'_>) {
    let (namespace, live) = scene.applied(&scene.namespace("a")).await;
    let mut held = scene.config("held", json!({}));
    held["metadata"]["namespace"] = json!(namespace.name);
    held["metadata"]["finalizers"] = json!(["example.com/guard"]);
    scene.applied(&held).await;
    assert_eq!(scene.delete(&namespace, &live.uid).await, Deletion::Terminating);
    assert_eq!(scene.delete(&namespace, &live.uid).await, Deletion::Terminating, "asked again");
    let terminating = scene.seen(&namespace).await.expect("held by what it holds");
    assert!(terminating.deleting && terminating.uid == live.uid, "{terminating:?}");
    let (_, again) = scene.applied(&scene.namespace("a")).await;
    assert!(again.deleting, "an apply does not bring it back");
    let mut late = scene.config("late", json!({}));
    late["metadata"]["namespace"] = json!(namespace.name);
    match scene.apply(&late).await {
        Err(Error::NamespaceTerminating { namespace: name }) => assert_eq!(name, namespace.name),
        other => panic!("expected that the namespace is terminating, got {other:?}"),
    }
    held["metadata"]["finalizers"] = json!([]);
    // The namespace may take it between the two: then there is nothing left to release.
    match scene.apply(&held).await {
        Ok(_) => {}
        Err(error) => panic!("releasing {held} gave {error:?}"),
    }
    scene.deleted(&namespace, &live.uid).await;
}

async fn first_namespaces(scene: Scene<'_>) {
    for name in ["default", "kube-system", "kube-public"] {
        let key = scene.cluster.resolve(&named_namespace(name)).await.unwrap();
        let live = scene.seen(&key).await.unwrap_or_else(|| panic!("the namespace `{name}` is missing"));
        let error = scene.cluster.delete(&key, &live.uid).await.unwrap_err();
        assert_eq!(error.reason(), "Denied", "{error}");
    }
}

async fn creates_namespace_once(scene: Scene<'_>) {
    let manifest = scene.namespace("created");
    scene.cluster.create_namespace(&manifest).await.unwrap();
    let key = scene.cluster.resolve(&manifest).await.unwrap();
    let live = scene.seen(&key).await.expect("it was created");
    let again = manifest::with(&manifest, "/metadata/annotations", json!({"a": "b"}));
    scene.cluster.create_namespace(&again).await.unwrap();
    let now = scene.seen(&key).await.expect("it is still there");
    assert_eq!((now.uid.as_str(), version(&now)), (live.uid.as_str(), version(&live)));
    scene.deleted(&key, &live.uid).await;
}

async fn makes_what_is_not_there(scene: Scene<'_>) {
    let manifest = scene.config("made", json!({"a": "1"}));
    let key = scene.cluster.resolve(&manifest).await.unwrap();
    let live = scene.cluster.make(&key, &manifest).await.unwrap();
    assert_eq!(live.manifest["data"], json!({"a": "1"}));
    let again = scene.config("made", json!({"a": "2"}));
    assert!(matches!(scene.cluster.make(&key, &again).await, Err(Error::Taken)));
    let now = scene.seen(&key).await.expect("it is there");
    assert_eq!((now.uid.as_str(), version(&now)), (live.uid.as_str(), version(&live)));
    // It was applied: what a later apply does not give goes.
    let without = scene.cluster.apply(&key, &scene.config("made", json!({"b": "1"})), Some(&live.uid)).await.unwrap();
    assert_eq!(without.manifest["data"], json!({"b": "1"}));
    scene.deleted(&key, &live.uid).await;
    let inside = scene.namespace("missing");
    let manifest = manifest::with(&manifest, "/metadata/namespace", inside["metadata"]["name"].clone());
    let key = scene.cluster.resolve(&manifest).await.unwrap();
    assert!(matches!(scene.cluster.make(&key, &manifest).await, Err(Error::NamespaceMissing { .. })));
}

async fn scopes(scene: Scene<'_>) {
    let resolve = async |api_version: &str, kind: &str, namespace: Value| {
        let metadata = json!({"name": "a", "namespace": namespace});
        let manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        scene.cluster.resolve(&manifest).await.map(|key| key.namespace)
    };
    assert_eq!(resolve("v1", "Namespace", json!("x")).await.unwrap(), None);
    assert_eq!(resolve("v1", "ConfigMap", json!("x")).await.unwrap(), Some("x".into()));
    assert_eq!(resolve("v1", "ConfigMap", json!(null)).await.unwrap(), Some("default".into()));
    assert_eq!(resolve("v1", "ConfigMap", json!("")).await.unwrap(), Some("default".into()));
    assert_eq!(resolve("rbac.authorization.k8s.io/v1", "ClusterRole", json!("x")).await.unwrap(), None);
    let mut manifest = scene.namespace("a");
    manifest["metadata"]["namespace"] = json!(scene.home);
    let (key, live) = scene.applied(&manifest).await;
    assert_eq!(live.manifest["metadata"].get("namespace"), None, "cleared where the kind has none");
    scene.deleted(&key, &live.uid).await;
}

async fn unknown_kind(scene: Scene<'_>) {
    for (api_version, kind) in [
        ("example.com/v1", "Nothing"),
        ("v1", "Nothing"),
        ("v1", "List"),
        ("v2", "Namespace"),
        ("apps/v1", "Namespace"),
        ("apps/v1beta1", "Deployment"),
        ("extensions/v1beta1", "Ingress"),
        ("v1", "configmap"),
    ] {
        let manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}});
        scene.refused(&manifest, "UnknownKind").await;
        let key = crate::cluster::object_key(&manifest).unwrap();
        assert_eq!(scene.seen(&key).await, None);
        assert_eq!(scene.delete(&key, "x").await, Deletion::Gone);
    }
    let question =
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {"name": "a"}});
    scene.refused(&question, "Invalid").await;
}

async fn refuses_paths(scene: Scene<'_>) {
    for name in ["..", ".", "a/b", "a%2fb", "a?b", "a#b", "a b", "A", "ä", "a\n", &"a".repeat(64)] {
        let mut manifest = scene.namespace("a");
        manifest["metadata"]["name"] = json!(name);
        scene.refused(&manifest, "Invalid").await;
    }
}

/// The types of a kind can be had, and make an object of text fit. A real server publishes them after a moment.
async fn knows_types(scene: Scene<'_>, key: &ObjectKey, thing: &Value) {
    let spelled = manifest::with(thing, "/spec", json!({"size": null, "tags": [null]})).to_string();
    let spelled = spelled.replace("\"size\":null", "\"size\": 3").replace("[null]", "[1.10]");
    let mut schema = scene.cluster.schema(key).await;
    for _ in 0..100 {
        if schema.is_some() {
            break;
        }
        (scene.pause)(Duration::from_millis(100)).await;
        schema = scene.cluster.schema(key).await;
    }
    let schema = schema.expect("the types of a kind that is served");
    let mut object = crate::template::parse_objects("thing", &spelled).unwrap().remove(0);
    schema.fit(&mut object.value, &object.plain);
    assert_eq!(object.value["spec"], json!({"size": 3, "tags": ["1.10"]}));
}

async fn definitions(scene: Scene<'_>) {
    let group = format!("{}.example.com", scene.prefix);
    let thing = json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "Thing",
        "metadata": {"name": "a", "namespace": scene.home},
        "spec": {"size": 3, "tags": ["x"]},
        "status": {"phase": "ours"},
    });
    scene.refused(&thing, "UnknownKind").await;
    let (definition, defined) = scene.applied(&manifest::thing_definition(&group)).await;
    // A real server takes a moment until it serves a new kind.
    let mut applied = scene.apply(&thing).await;
    for _ in 0..100 {
        match applied {
            Err(Error::UnknownKind { .. }) => (scene.pause)(Duration::from_millis(100)).await,
            _ => break,
        }
        applied = scene.apply(&thing).await;
    }
    let (key, live) = applied.unwrap();
    assert_eq!(key.namespace.as_deref(), Some(scene.home));
    assert_eq!(live.manifest["spec"], json!({"size": 3, "tags": ["x"], "color": "red"}), "with the default");
    assert_eq!(live.manifest.get("status"), None, "a status that is a subresource is not applied");
    let (_, again) = scene.applied(&thing).await;
    assert_eq!(version(&live), version(&again));
    knows_types(scene, &key, &thing).await;
    for (change, value) in [
        ("/spec/size", json!("three")),
        ("/spec/size", json!(0)),
        ("/spec/size", json!(3.5)),
        ("/spec/tags", json!([1])),
        ("/spec/tags", json!("x")),
        ("/spec/color", json!("green")),
        ("/spec/unknown", json!(1)),
        ("/spec", json!({"tags": []})),
        ("/spec", json!([])),
        ("/spec/name", json!("Not lower")),
        ("/metadata/bogus", json!(1)),
    ] {
        scene.refused(&manifest::with(&thing, change, value), "Invalid").await;
    }
    for (change, value) in
        [("/spec/free", json!({"any": [1, {"b": null}]})), ("/spec/port", json!("http")), ("/spec/port", json!(80))]
    {
        scene.applied(&manifest::with(&thing, change, value)).await;
    }
    scene.deleted(&key, &live.uid).await;
    let (key, live) = scene.applied(&thing).await;
    scene.deleted(&definition, &defined.uid).await;
    assert_eq!(scene.seen(&key).await, None, "a definition takes its objects with it");
    assert_eq!(scene.delete(&key, &live.uid).await, Deletion::Gone);
}

/// Of one object there is one, in whichever version of its kind it is written, read and deleted; also where a version is
/// served no more.
async fn versions(scene: Scene<'_>) {
    let scaler = |api_version: &str, max: u32| {
        json!({
            "apiVersion": api_version,
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a", "namespace": scene.home},
            "spec": {"maxReplicas": max, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
        })
    };
    let (first, live) = scene.applied(&scaler("autoscaling/v1", 3)).await;
    let (second, again) = scene.applied(&scaler("autoscaling/v2", 4)).await;
    assert_eq!((&first, &live.uid), (&second, &again.uid));
    assert_eq!(scene.seen(&first).await.map(|live| live.manifest["spec"]["maxReplicas"].clone()), Some(json!(4)));
    let unserved = ObjectKey { version: "v1alpha9".into(), ..first };
    assert_eq!(scene.seen(&unserved).await.map(|live| live.uid), Some(again.uid.clone()));
    scene.deleted(&unserved, &again.uid).await;
    assert_eq!(scene.seen(&second).await, None);
}

async fn labels(scene: Scene<'_>) {
    let mut manifest = scene.namespace("a");
    manifest["metadata"]["labels"] = json!({"organization": "Acme", "empty": ""});
    let (key, live) = scene.applied(&manifest).await;
    let labels = &live.manifest["metadata"]["labels"];
    assert_eq!((&labels["organization"], &labels["empty"]), (&json!("Acme"), &json!("")));
    assert_eq!(labels["kubernetes.io/metadata.name"], key.name.as_str());
    for (labels, annotations) in [
        (json!({"a": "has space"}), json!({})),
        (json!({"a": "x".repeat(64)}), json!({})),
        (json!({"a b": "x"}), json!({})),
        (json!({"a": "auth.example.com/x"}), json!({})),
        (json!({"a": 1}), json!({})),
        (json!({"a": true}), json!({})),
        (json!([]), json!({})),
        (json!({}), json!({"a b": "x"})),
        (json!({}), json!({"a": 1})),
        (json!({}), json!({"a": "x".repeat(300_000)})),
    ] {
        let mut bad = scene.namespace("b");
        bad["metadata"]["labels"] = labels;
        bad["metadata"]["annotations"] = annotations;
        scene.refused(&bad, "Invalid").await;
    }
    scene.deleted(&key, &live.uid).await;
}

async fn lists(scene: Scene<'_>) {
    let mut manifest = manifest::deployment(&scene.named("web"), scene.home);
    let (key, live) = scene.applied(&manifest).await;
    let containers = "/spec/template/spec/containers";
    manifest =
        manifest::with(&manifest, containers, json!([{"name": "b", "image": "b"}, {"name": "web", "image": "c"}]));
    let (_, changed) = scene.applied(&manifest).await;
    let names = |live: &LiveObject| -> Vec<Value> {
        let containers = live.manifest.pointer(containers).and_then(Value::as_array).cloned().unwrap_or_default();
        containers.iter().map(|container| json!([container["name"], container["image"]])).collect()
    };
    assert_eq!(names(&changed), [json!(["b", "b"]), json!(["web", "c"])]);
    assert_eq!(changed.manifest["metadata"]["generation"], json!(2), "of {}", live.manifest["metadata"]["generation"]);
    scene.deleted(&key, &live.uid).await;
}

async fn immutable_fields(scene: Scene<'_>) {
    for (first, field, second) in manifest::immutable(&scene.named("a"), scene.home) {
        let (key, live) = scene.applied(&first).await;
        let changed = manifest::with(&first, field, second);
        let error = match scene.cluster.apply(&key, &changed, Some(&live.uid)).await {
            Ok(_) => panic!("{field} of {first} was changed"),
            Err(error) => error,
        };
        // One that would be refused for another reason too would not exist after it was deleted to be made again.
        let expected = if error.to_string().contains("does not match") { "Invalid" } else { "Immutable" };
        assert_eq!(error.reason(), expected, "{key} {field}: {error}");
        assert_eq!(version(&scene.seen(&key).await.unwrap()), version(&live));
        scene.deleted(&key, &live.uid).await;
    }
}

async fn at_once(scene: Scene<'_>) {
    let manifests: Vec<Value> = (0..64).map(|number| scene.config(&number.to_string(), json!({"a": "1"}))).collect();
    let applied = join_all(manifests.iter().map(|manifest| scene.applied(manifest))).await;
    let mut uids: Vec<&str> = applied.iter().map(|(_, live)| live.uid.as_str()).collect();
    uids.sort();
    uids.dedup();
    assert_eq!(uids.len(), 64, "each has its own uid");
    join_all(applied.iter().map(|(key, live)| scene.deleted(key, &live.uid))).await;
}

async fn good_manifests(scene: Scene<'_>) {
    for good in manifest::good(&scene.named("a"), scene.home) {
        let (key, live) = scene.applied(&good).await;
        let missing = manifest::missing_in(&good, &live.manifest);
        assert_eq!(missing, Vec::<String>::new(), "{key} lost fields: {}", live.manifest);
        scene.settled(&good, &live).await;
        scene.deleted(&key, &live.uid).await;
    }
}

async fn bad_manifests(scene: Scene<'_>) {
    for bad in manifest::bad(&scene.named("a"), scene.home) {
        scene.refused(&bad, "Invalid").await;
    }
}
