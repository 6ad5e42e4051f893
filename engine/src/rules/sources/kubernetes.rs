//! Rules from a cluster: EventSources, EventTriggers, and the content that they reference, followed by watching.
//!
//! Start at [`follow`]. Nothing is said before all kinds were listed in full; what was said stays when the API server goes
//! away or forgets a kind. Only content that may be applied is ever asked for, and only content that a trigger could
//! reference is handed on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use super::feed::Feed;
use crate::rules::cluster::{OWN, seen};
use crate::rules::policy::{CONTENT_KINDS, ContentKind, Mention};
use crate::rules::problem::Problem;
use crate::rules::read::manifest::{Manifest, Manifests, meaning};

const GROUP: &str = "lib.projectsveltos.io";
const VERSION: &str = "v1beta1";
/// The first wait after an error, and the longest.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The pause before it is asked again whether there is something that represents the own cluster.
const NO_CLUSTER_PAUSE: Duration = Duration::from_secs(60);

/// What an engine does about a failure that may pass.
const TRIED_AGAIN: &str = "it is tried again; rules that were read before stay in force";

/// What objects of a kind are to rules.
#[derive(Debug, Clone, Copy)]
enum Role {
    Source,
    Trigger,
    /// What represents the own cluster: a cluster without Sveltos does not even know the kind.
    Cluster,
    Content(&'static ContentKind),
}

/// One of the two kinds of Sveltos that are rules.
pub(crate) fn rule_resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind))
}

impl Role {
    /// All of them, in the order in which their objects are handed on.
    fn all() -> Vec<Role> {
        let rules = [Role::Source, Role::Trigger].into_iter();
        rules.chain(CONTENT_KINDS.iter().map(Role::Content)).chain([Role::Cluster]).collect()
    }

    fn resource(self) -> ApiResource {
        match self {
            Role::Source => rule_resource("EventSource"),
            Role::Trigger => rule_resource("EventTrigger"),
            Role::Cluster => rule_resource("SveltosCluster"),
            Role::Content(kind) => ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind.name)),
        }
    }

    fn config(self) -> watcher::Config {
        match self {
            Role::Content(ContentKind { must_have: Some((field, value)), .. }) => {
                watcher::Config::default().fields(&format!("{field}={value}"))
            }
            Role::Cluster => {
                let (namespace, name) = OWN.split_once('/').expect("both parts are there");
                watcher::Config::default().fields(&format!("metadata.namespace={namespace},metadata.name={name}"))
            }
            Role::Content(ContentKind { must_have: None, .. }) | Role::Source | Role::Trigger => {
                watcher::Config::default()
            }
        }
    }
}

/// An object as the cluster has it.
#[derive(Debug)]
struct Object {
    /// As its author wrote it.
    manifest: Value,
    /// The finalizers that its deletion waits for; `None` where it is not being deleted.
    waits_for: Option<Vec<String>>,
    /// Which version of its spec it is.
    generation: Option<i64>,
}

impl Object {
    fn of(role: Role, resource: &ApiResource, object: DynamicObject) -> Object {
        let is_going = object.metadata.deletion_timestamp.is_some();
        let waits_for = is_going.then(|| object.metadata.finalizers.clone().unwrap_or_default());
        let generation = object.metadata.generation;
        let manifest = match role {
            Role::Cluster => of_type(resource, seen(&serde_json::to_value(object).unwrap_or_default())),
            Role::Source | Role::Trigger | Role::Content(_) => manifest(resource, object),
        };
        Object { manifest, waits_for, generation }
    }
}

/// Objects of one kind as the cluster has them, by namespace and name.
#[derive(Debug)]
struct Store {
    role: Role,
    resource: ApiResource,
    /// `None` until the first list was complete.
    objects: Option<BTreeMap<(String, String), Object>>,
    /// A list under way; what was known before holds until it is complete.
    listing: BTreeMap<(String, String), Object>,
    /// Why the kind cannot be read at the moment.
    trouble: Option<Problem>,
}

impl Store {
    fn new(role: Role) -> Store {
        Store { role, resource: role.resource(), objects: None, listing: BTreeMap::new(), trouble: None }
    }

    /// Takes an event of the watch; says whether what is known may have changed.
    fn take(&mut self, event: Event<DynamicObject>) -> bool {
        match event {
            Event::Init => {
                self.listing.clear();
                return false;
            }
            Event::InitApply(object) => {
                self.listing.insert(key(&object), Object::of(self.role, &self.resource, object));
                return false;
            }
            Event::InitDone => self.objects = Some(std::mem::take(&mut self.listing)),
            Event::Apply(object) => {
                let (key, object) = (key(&object), Object::of(self.role, &self.resource, object));
                self.objects.get_or_insert_default().insert(key, object);
            }
            Event::Delete(object) => {
                self.objects.get_or_insert_default().remove(&key(&object));
            }
        }
        self.trouble = None;
        true
    }
}

fn key(object: &DynamicObject) -> (String, String) {
    (object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default())
}

/// The object as its author wrote it. Items of a list come without the type they are of.
fn manifest(resource: &ApiResource, object: DynamicObject) -> Value {
    of_type(resource, meaning(&serde_json::to_value(object).unwrap_or_default()))
}

fn of_type(resource: &ApiResource, mut manifest: Value) -> Value {
    if let Some(map) = manifest.as_object_mut() {
        map.insert("apiVersion".into(), resource.api_version.clone().into());
        map.insert("kind".into(), resource.kind.clone().into());
    }
    manifest
}

/// The feed from the objects of all kinds.
fn say(stores: &[Store]) -> Feed {
    let troubles = stores.iter().filter_map(|store| store.trouble.clone()).collect();
    if stores.iter().any(|store| store.objects.is_none()) {
        return Feed { manifests: None, troubles };
    }
    let mentions = mentions(stores);
    let objects = stores.iter().flat_map(|store| {
        store.objects.iter().flatten().map(move |((_, name), object)| (store.role, name.as_str(), object))
    });
    // A busy cluster changes ConfigMaps all day that no trigger ever names.
    let counts = objects.filter(|(role, name, _)| match role {
        Role::Source | Role::Trigger | Role::Cluster => true,
        Role::Content(kind) => mentions.iter().any(|mention| mention.could_be(kind.name, name)),
    });
    let manifest = |Object { manifest, waits_for, generation }: &Object| Manifest {
        waits_for: waits_for.clone(),
        generation: *generation,
        ..Manifest::new("kubernetes", manifest.clone())
    };
    let manifests = counts.map(|(_, _, object)| manifest(object)).collect();
    Feed { manifests: Some(Arc::new(Manifests { manifests, unreadable: Vec::new() })), troubles }
}

/// The objects that triggers could reference.
fn mentions(stores: &[Store]) -> Vec<Mention> {
    let triggers = stores.iter().filter(|store| matches!(store.role, Role::Trigger));
    let triggers = triggers.flat_map(|store| store.objects.iter().flatten());
    triggers.flat_map(|(_, trigger)| Mention::of(&trigger.manifest)).collect()
}

/// The rules of a cluster as they are now.
///
/// # Errors
/// What keeps one of the kinds from being read. A cluster that does not answer is waited for.
pub async fn read_cluster(client: Client) -> Result<Manifests, Problem> {
    let (sender, mut feed) = watch::channel(Feed::default());
    let read = async {
        loop {
            let now = feed.borrow_and_update().clone();
            match (now.manifests, now.troubles.into_iter().next()) {
                (Some(manifests), _) => return Ok(Manifests::clone(&manifests)),
                // What helps an engine that goes on does not help here.
                (None, Some(trouble)) => {
                    let hint = trouble.hint.filter(|hint| hint != TRIED_AGAIN);
                    return Err(Problem { hint, ..trouble });
                }
                // It changes for as long as it is followed, below.
                (None, None) => _ = feed.changed().await,
            }
        }
    };
    tokio::select! {
        biased;
        read = read => read,
        () = follow(client, sender) => Ok(Manifests::default()),
    }
}

/// The content in a cluster that these rules could reference.
///
/// # Errors
/// What keeps one of the kinds from being read.
pub(crate) async fn read_contents(client: Client, rules: &Manifests) -> Result<Vec<Manifest>, Problem> {
    let mentions: Vec<Mention> = rules.manifests.iter().flat_map(|rule| Mention::of(&rule.value)).collect();
    let mut contents = Vec::new();
    for (kind, role) in CONTENT_KINDS.iter().map(|kind| (kind, Role::Content(kind))) {
        let resource = role.resource();
        let fields = kind.must_have.map(|(field, value)| format!("{field}={value}")).unwrap_or_default();
        let listed = Api::<DynamicObject>::all_with(client.clone(), &resource)
            .list(&ListParams::default().fields(&fields))
            .await;
        let listed = listed.map_err(|error| {
            Problem::error("", "kubernetes", format!("`{}` cannot be read: {error}", resource.plural))
        })?;
        let named = listed.items.into_iter().filter(|object| {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            mentions.iter().any(|mention| mention.could_be(kind.name, name))
        });
        contents.extend(named.map(|object| Manifest::new("kubernetes", manifest(&resource, object))));
    }
    Ok(contents)
}

/// Watches for ever.
pub(super) async fn follow(client: Client, feed: watch::Sender<Feed>) {
    let roles = Role::all();
    let stores = Mutex::new(roles.iter().copied().map(Store::new).collect::<Vec<_>>());
    let publish = |stores: &[Store]| {
        feed.send_if_modified(|feed| {
            let now = say(stores);
            let is_new = *feed != now;
            *feed = now;
            is_new
        });
    };
    let followers = roles.iter().enumerate().map(|(index, role)| {
        let (client, stores, publish) = (client.clone(), &stores, &publish);
        async move {
            let resource = role.resource();
            let begin = || watcher::watcher(Api::all_with(client.clone(), &resource), role.config()).boxed();
            let mut events = begin();
            let (mut patience, mut is_told) = (PATIENCE.0, false);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        // `Init` only says that a list will be tried.
                        if !matches!(event, Event::Init) {
                            patience = PATIENCE.0;
                        }
                        let mut stores = stores.lock();
                        if stores[index].take(event) {
                            publish(&stores);
                        }
                    }
                    // Most clusters are no clusters of Sveltos. One that becomes one is noticed. Where it may not be read, what
                    // is known of it stays.
                    Err(error) if matches!(role, Role::Cluster) && is_none(&error) => {
                        let refused = trouble(&resource, &error).filter(|_| code_of(&error) == 403);
                        if let Some(refused) = refused.filter(|_| !std::mem::replace(&mut is_told, true)) {
                            tracing::warn!(
                                kind = resource.kind,
                                problem = refused.message,
                                "what Sveltos says of the own cluster is not read"
                            );
                        }
                        {
                            let mut stores = stores.lock();
                            if stores[index].objects.is_none() {
                                stores[index].objects = Some(BTreeMap::new());
                                publish(&stores);
                            }
                        }
                        tokio::time::sleep(NO_CLUSTER_PAUSE).await;
                    }
                    Err(error) => {
                        if let Some(trouble) = trouble(&resource, &error) {
                            tracing::warn!(kind = resource.kind, problem = trouble.message, "rules cannot be watched");
                            let mut stores = stores.lock();
                            stores[index].trouble = Some(trouble);
                            publish(&stores);
                        }
                        tokio::time::sleep(patience).await;
                        patience = (patience * 2).min(PATIENCE.1);
                        if is_list_too_old(&error) {
                            events = begin();
                        }
                    }
                }
            }
        }
    });
    join_all(followers).await;
}

/// Whether the API server says that it knows no such kind, or that it is not for this reader.
fn is_none(error: &watcher::Error) -> bool {
    matches!(code_of(error), 403 | 404)
}

/// The HTTP status by which the API server refused to list or to watch; 0 for any other error.
fn code_of(error: &watcher::Error) -> u16 {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code,
        _ => 0,
    }
}

/// Whether the API server no longer knows the state that was listed, and did not begin to watch from there. The library would ask
/// for the same for ever.
fn is_list_too_old(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

/// What an error of the watch means to an operator; `None` for what mends itself at once.
fn trouble(resource: &ApiResource, error: &watcher::Error) -> Option<Problem> {
    let kind = &resource.kind;
    let problem = |message: String| Problem::error("", "kubernetes", message);
    let code = match error {
        // 410: the watch was too old and begins again.
        watcher::Error::WatchError(status) if status.code == 410 => return None,
        error if is_list_too_old(error) => return None,
        watcher::Error::WatchError(status) => status.code,
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code,
        // A long watch was cut; the next one shows whether something is wrong.
        watcher::Error::WatchFailed(_) => return None,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::NoResourceVersion => 0,
    };
    let plural = &resource.plural;
    let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
    Some(match code {
        404 => problem(format!("the cluster does not know the kind `{kind}` of `{}`", resource.api_version))
            .hint("lifeline crds | kubectl apply -f -"),
        401 => problem(format!("the API server does not accept the credentials, reading `{plural}{group}`"))
            .hint("check the kubeconfig or the service account"),
        403 => problem(format!("reading `{plural}{group}` is forbidden"))
            .hint(format!("allow `list` and `watch` of `{plural}{group}` in all namespaces")),
        _ => problem(format!("`{plural}{group}` cannot be read: {error}")).hint(TRIED_AGAIN),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use serde_json::json;

    use super::*;
    use crate::rules::{Clusters, Places};

    fn object(value: Value) -> DynamicObject {
        let mut object: DynamicObject = serde_json::from_value(value).unwrap();
        assert_eq!(object.types, None);
        object.metadata.managed_fields = Some(Vec::new());
        object.metadata.resource_version = Some("1".into());
        object
    }

    fn trigger(reference: &str) -> DynamicObject {
        let policy = json!({"kind": "ConfigMap", "namespace": "default", "name": reference});
        let spec = json!({"eventSourceName": "s", "policyRefs": [policy]});
        object(json!({"metadata": {"name": "t"}, "spec": spec, "status": {"x": 1}}))
    }

    fn config_map(name: &str) -> DynamicObject {
        object(json!({"metadata": {"name": name, "namespace": "default"}, "data": {}}))
    }

    fn all() -> Vec<Store> {
        Role::all().into_iter().map(Store::new).collect()
    }

    fn said(stores: &[Store]) -> Option<Vec<String>> {
        let feed = say(stores);
        feed.manifests.map(|all| {
            let name = |manifest: &Manifest| {
                let text = |pointer: &str| manifest.value.pointer(pointer).unwrap().as_str().unwrap().to_owned();
                format!("{} {}/{}", text("/apiVersion"), text("/kind"), text("/metadata/name"))
            };
            all.manifests.iter().map(name).collect()
        })
    }

    #[test]
    fn nothing_is_said_before_every_kind_was_listed_and_a_new_list_replaces_the_old_at_once() {
        let mut stores = all();
        for index in [0, 1, 3, 4] {
            stores[index].take(Event::Init);
            stores[index].take(Event::InitDone);
        }
        stores[2].take(Event::Init);
        stores[2].take(Event::InitApply(config_map("a")));
        assert_eq!(said(&stores), None);
        stores[2].take(Event::InitDone);
        assert_eq!(said(&stores), Some(Vec::new()));

        stores[1].take(Event::Apply(trigger("a")));
        let both = vec!["lib.projectsveltos.io/v1beta1 EventTrigger/t".to_owned(), "v1 ConfigMap/a".to_owned()];
        assert_eq!(said(&stores), Some(both.clone()));

        // A list under way takes nothing away.
        assert!(!stores[1].take(Event::Init));
        assert_eq!(said(&stores), Some(both));
        assert!(stores[1].take(Event::InitDone));
        assert_eq!(said(&stores), Some(Vec::new()));
    }

    #[test]
    fn only_what_a_trigger_could_reference_is_handed_on() {
        let mut stores = all();
        for store in &mut stores {
            store.take(Event::InitDone);
        }
        stores[1].take(Event::Apply(trigger("user-{{ .CloudEvent.subject }}-ns")));
        for name in ["user-a-ns", "user-b", "other"] {
            stores[2].take(Event::Apply(config_map(name)));
        }
        let said_now = said(&stores).unwrap();
        assert_eq!(said_now[1..], ["v1 ConfigMap/user-a-ns"]);
        // What Kubernetes keeps about an object is no change of the rule.
        let feed = say(&stores);
        let mut again = config_map("user-a-ns");
        again.metadata.resource_version = Some("2".into());
        stores[2].take(Event::Apply(again));
        assert!(say(&stores) == feed);
    }

    #[test]
    fn what_is_being_deleted_is_handed_on_as_such_with_the_finalizers_it_waits_for() {
        let mut stores = all();
        for store in &mut stores {
            store.take(Event::InitDone);
        }
        let waiting = |stores: &[Store]| {
            let manifests = say(stores).manifests.unwrap();
            let rules = crate::rules::RuleSet::new(Manifests::clone(&manifests), Clusters::default());
            let told: Vec<String> =
                rules.problems_of("EventTrigger/t").map(|problem| problem.message.clone()).collect();
            (matches!(rules.standing("t"), crate::rules::Standing::Absent), rules.is_complete(), told.join("; "))
        };
        stores[1].take(Event::Apply(trigger("a")));
        assert!(!waiting(&stores).0);
        let mut going = trigger("a");
        going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-22T10:04:05Z")).unwrap();
        going.metadata.finalizers = Some(vec!["eventtrigger.finalizer.projectsveltos.io".into()]);
        stores[1].take(Event::Apply(going));
        let told = "it is being deleted and counts as gone; Kubernetes waits for its finalizers \
                    `eventtrigger.finalizer.projectsveltos.io`";
        assert_eq!(waiting(&stores), (true, true, told.to_owned()));
        stores[1].take(Event::Delete(trigger("a")));
        assert_eq!(waiting(&stores), (true, true, String::new()));
    }

    /// A bare API server, which answers requests by their first line.
    async fn api_server(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Client {
        let answer = Arc::new(answer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while socket.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
                        if !request.ends_with(b"\r\n\r\n") {
                            continue;
                        }
                        let line = String::from_utf8(std::mem::take(&mut request)).unwrap();
                        let answer = answer(line.lines().next().unwrap());
                        socket.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Client::try_from(kube::Config::new(address.parse().unwrap())).unwrap()
    }

    fn text(status: &str, body: Value) -> String {
        let body = body.to_string();
        let bytes = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n{body}")
    }

    /// Lists and silent watches; custom resources only where `knows_rules`.
    fn answer(request: &str, knows_rules: bool) -> String {
        let list = |kind: &str, items: Value| {
            text("200 OK", json!({"kind": format!("{kind}List"), "metadata": {"resourceVersion": "5"}, "items": items}))
        };
        if request.contains("watch=") {
            return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".into();
        }
        if request.contains("/configmaps") {
            return list("ConfigMap", json!([{"metadata": {"name": "a", "namespace": "default"}}]));
        }
        if request.contains("/secrets") {
            assert!(request.contains("fieldSelector=type%3Daddons.projectsveltos.io%2Fcluster-profile"), "{request}");
            return list("Secret", json!([]));
        }
        if !knows_rules || request.contains("/sveltosclusters") {
            let status = json!({"kind": "Status", "status": "Failure", "message": "not found", "reason": "NotFound", "code": 404});
            return text("404 Not Found", status);
        }
        if request.contains("/eventsources") {
            let spec = json!({"messagingMatchCriteria": [{}]});
            return list("EventSource", json!([{"metadata": {"name": "s"}, "spec": spec}]));
        }
        let policies = json!([{"kind": "ConfigMap", "namespace": "default", "name": "a"}]);
        let spec = json!({"eventSourceName": "s", "policyRefs": policies});
        list("EventTrigger", json!([{"metadata": {"name": "t"}, "spec": spec}]))
    }

    #[tokio::test]
    async fn rules_wait_for_the_custom_resources_and_say_so() {
        let knows_rules = Arc::new(AtomicBool::new(false));
        let knows = Arc::clone(&knows_rules);
        let client = api_server(move |request| answer(request, knows.load(Ordering::Relaxed))).await;
        let (_clusters, clusters) = watch::channel(Clusters::default());
        let places = Places { paths: Vec::new(), client: Some(client) };
        let (mut current, follower) = crate::rules::watch(places, clusters);
        let follower = tokio::spawn(follower);

        let waiting = current.wait_for(|current| current.troubles.len() == 2).await.unwrap().clone();
        assert!(waiting.rules.is_none());
        assert_eq!(
            waiting.troubles[0].to_string(),
            "error: the cluster does not know the kind `EventSource` of `lib.projectsveltos.io/v1beta1`\n  --> kubernetes\n  hint: lifeline crds | kubectl apply -f -"
        );

        knows_rules.store(true, Ordering::Relaxed);
        let current = current.wait_for(|current| current.rules.is_some()).await.unwrap().clone();
        assert_eq!(current.troubles, []);
        let rules = current.rules.unwrap();
        assert_eq!(rules.problems(), []);
        let documents: Vec<&str> = rules.documents().keys().map(String::as_str).collect();
        assert_eq!(documents, ["ConfigMap/default/a", "EventSource/s", "EventTrigger/t"]);
        follower.abort();
    }

    #[tokio::test]
    async fn what_was_listed_too_long_ago_is_listed_again() {
        let is_known = Arc::new(AtomicBool::new(false));
        let knows = Arc::clone(&is_known);
        // The first list of triggers is empty, and too old by the time it is to be watched.
        let client = api_server(move |request| match request {
            request if !request.contains("/eventtriggers") || knows.load(Ordering::Relaxed) => answer(request, true),
            request if request.contains("watch=") => {
                knows.store(true, Ordering::Relaxed);
                let status = json!({"kind": "Status", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410});
                text("410 Gone", status)
            }
            _ => text("200 OK", json!({"kind": "EventTriggerList", "metadata": {"resourceVersion": "1"}, "items": []})),
        });
        let (_clusters, clusters) = watch::channel(Clusters::default());
        let places = Places { paths: Vec::new(), client: Some(client.await) };
        let (mut current, follower) = crate::rules::watch(places, clusters);
        let follower = tokio::spawn(follower);
        let has_trigger =
            |current: &crate::rules::Current| current.rules.as_ref().is_some_and(|rules| rules.triggers().count() == 1);
        let listed = tokio::time::timeout(std::time::Duration::from_secs(20), current.wait_for(has_trigger)).await;
        assert!(listed.is_ok(), "it is not listed again");
        follower.abort();
    }
}
