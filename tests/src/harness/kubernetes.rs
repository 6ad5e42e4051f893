//! The API server as a person with kubectl sees it: apply manifests, look at objects, and watch what becomes of them.
//!
//! Start at [`Kubernetes`]. It goes its own way to the API server: what Lifeline says of itself is not asked here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, WatchEvent, WatchParams};
use kube::core::discovery::Scope;
use kube::{Api, Client};
use serde_json::Value;

use super::{ControlPlane, Failure, User, eventually};

/// A definition takes a moment until it is served, a namespace up to ten seconds until it is gone.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Who wrote, in the objects' managed fields.
const FIELD_MANAGER: &str = "kubectl";

/// A way to the API server, as the admin.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
}

impl Kubernetes {
    /// To be called on the runtime that will use it.
    ///
    /// # Errors
    /// When the kubeconfig is not accepted.
    pub async fn of(control_plane: &ControlPlane) -> Result<Self, Failure> {
        Ok(Self { client: control_plane.client(User::Admin).await? })
    }

    /// The client, for what is not here.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// `kubectl apply -f`: every document of a text, each as soon as its kind is served.
    ///
    /// # Errors
    /// When a document is no manifest, or is refused.
    pub async fn apply(&self, text: &str) -> Result<(), Failure> {
        for document in text.split("\n---\n") {
            let manifest: Value = serde_saphyr::from_str(document)?;
            let api = self.api(&manifest).await?;
            let parameters = PatchParams::apply(FIELD_MANAGER).force();
            api.patch(&name(&manifest)?, &parameters, &Patch::Apply(&manifest)).await?;
        }
        Ok(())
    }

    /// `kubectl delete -f`, for one document that names what is to go.
    ///
    /// # Errors
    /// When it is no manifest, or the object is not there.
    pub async fn delete(&self, manifest: &Value) -> Result<(), Failure> {
        let api = self.api(manifest).await?;
        api.delete(&name(manifest)?, &DeleteParams::default()).await?;
        Ok(())
    }

    async fn api(&self, manifest: &Value) -> Result<Api<DynamicObject>, Failure> {
        let text = |field: &str| manifest[field].as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let kind = GroupVersionKind::gvk(group, version, &kind);
        let (resource, capabilities) = eventually("the kind to be served", SETTLED_WITHIN, async || {
            kube::discovery::pinned_kind(&self.client, &kind).await
        })
        .await?;
        let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or("default");
        Ok(match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client(), &resource),
            Scope::Namespaced => Api::namespaced_with(self.client(), namespace, &resource),
        })
    }

    /// A namespace, if it is there.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn namespace(&self, name: &str) -> Result<Option<Namespace>, Failure> {
        Ok(self.namespaces().get_opt(name).await?)
    }

    /// Waits until a namespace is there and not on its way out.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn has_namespace(&self, name: &str) -> Result<Namespace, Failure> {
        eventually(&format!("Namespace/{name}"), SETTLED_WITHIN, async || match self.namespaces().get_opt(name).await {
            Ok(Some(namespace)) if namespace.metadata.deletion_timestamp.is_none() => Ok(namespace),
            Ok(Some(_)) => Err("it is being deleted".to_owned()),
            Ok(None) => Err("it is not there".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Waits until a namespace is gone altogether.
    ///
    /// # Errors
    /// When it stays.
    pub async fn lost_namespace(&self, name: &str) -> Result<(), Failure> {
        eventually(&format!("Namespace/{name} to be gone"), SETTLED_WITHIN, async || {
            match self.namespaces().get_opt(name).await {
                Ok(None) => Ok(()),
                Ok(Some(namespace)) => Err(format!("{:?}", namespace.status)),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// All namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client())
    }

    /// Writes down from now on what happens to the namespaces whose names begin with `prefix`.
    ///
    /// # Errors
    /// When the API server takes no watch.
    pub async fn watch_namespaces(&self, prefix: &str) -> Result<Diary, Failure> {
        let api = self.namespaces();
        let version = api.list(&Default::default()).await?.metadata.resource_version.unwrap_or_default();
        let mut stream = api.watch(&WatchParams::default().timeout(290), &version).await?.boxed();
        let diary = Diary::default();
        let (entries, prefix) = (diary.entries.clone(), prefix.to_owned());
        tokio::spawn(async move {
            while let Some(event) = stream.next().await {
                let at = Instant::now();
                let (what, namespace) = match event {
                    Ok(WatchEvent::Added(namespace)) => (Happened::Added, namespace),
                    Ok(WatchEvent::Modified(namespace)) => (Happened::Modified, namespace),
                    Ok(WatchEvent::Deleted(namespace)) => (Happened::Deleted, namespace),
                    Ok(WatchEvent::Bookmark(_) | WatchEvent::Error(_)) | Err(_) => continue,
                };
                let name = namespace.metadata.name.unwrap_or_default();
                if name.starts_with(&prefix) {
                    let uid = namespace.metadata.uid.unwrap_or_default();
                    let entry = Entry { at, what, uid, leaving: namespace.metadata.deletion_timestamp.is_some() };
                    let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
                    entries.entry(name).or_default().push(entry);
                }
            }
        });
        Ok(diary)
    }
}

/// What the API server says has happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// It was made.
    Added,
    /// It was changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One thing that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When the news arrived here.
    pub at: Instant,
    /// What.
    pub what: Happened,
    /// The identity of the object.
    pub uid: String,
    /// Somebody has asked for its deletion.
    pub leaving: bool,
}

/// What happened to objects, by name, in order.
#[derive(Debug, Clone, Default)]
pub struct Diary {
    entries: Arc<Mutex<BTreeMap<String, Vec<Entry>>>>,
}

impl Diary {
    /// What has happened to one object so far.
    #[must_use]
    pub fn of(&self, name: &str) -> Vec<Entry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(name).cloned().unwrap_or_default()
    }

    /// When an object was made, the first time.
    #[must_use]
    pub fn added(&self, name: &str) -> Option<Instant> {
        self.of(name).iter().find(|entry| entry.what == Happened::Added).map(|entry| entry.at)
    }
}

fn name(manifest: &Value) -> Result<String, Failure> {
    let name = manifest["metadata"]["name"].as_str();
    Ok(name.ok_or_else(|| format!("a manifest without a name: {manifest}"))?.to_owned())
}
