//! What facts speak of: resources, lifecycles and objects, by name.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Who an event speaks of: the exact bytes of its CloudEvent source and subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// CloudEvent `source`.
    pub source: SmolStr,
    /// CloudEvent `subject`; a missing one is the empty string.
    pub subject: SmolStr,
}

impl ResourceKey {
    /// What stands for the list of a trigger where a resource has its key: the source is empty, which no CloudEvent's is.
    #[must_use]
    pub fn of_list(trigger: &str) -> ResourceKey {
        ResourceKey { source: "".into(), subject: trigger.into() }
    }

    /// Whether it stands for a list.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.source.is_empty()
    }
}

/// One trigger's view of one resource on one cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LifecycleKey {
    /// Name of the EventTrigger.
    pub trigger: SmolStr,
    /// `namespace/name` of the cluster; the own one is `mgmt/mgmt`.
    pub cluster: SmolStr,
    /// The resource.
    pub resource: ResourceKey,
}

/// An object of Kubernetes by name.
///
/// Two keys are equal where they name one object: Kubernetes serves it in every version of its kind, under one uid. So the
/// version counts neither for `==` nor for the order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ObjectKey {
    /// API group; empty for the core group.
    pub group: SmolStr,
    /// API version within the group, such as `v1`: in which one it was written last.
    pub version: SmolStr,
    /// Kind, such as `Namespace`.
    pub kind: SmolStr,
    /// Namespace; `None` for a cluster-scoped object.
    pub namespace: Option<SmolStr>,
    /// Name.
    pub name: SmolStr,
}

impl ObjectKey {
    fn identity(&self) -> (&SmolStr, &SmolStr, &Option<SmolStr>, &SmolStr) {
        (&self.group, &self.kind, &self.namespace, &self.name)
    }

    /// `apiVersion` as a manifest writes it.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The namespace of this name.
    #[must_use]
    pub fn of_namespace(name: &str) -> ObjectKey {
        ObjectKey {
            group: "".into(),
            version: "v1".into(),
            kind: "Namespace".into(),
            namespace: None,
            name: name.into(),
        }
    }

    /// Whether it is a namespace.
    #[must_use]
    pub fn is_namespace(&self) -> bool {
        self.group.is_empty() && self.kind == "Namespace"
    }

    /// Whether `other` is the namespace it is in: it goes when that goes.
    #[must_use]
    pub fn is_in(&self, other: &ObjectKey) -> bool {
        other.is_namespace() && self.namespace.as_ref() == Some(&other.name)
    }

    /// `Kind/name`, or `Kind/namespace/name`: what a person calls it.
    #[must_use]
    pub fn short(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}/{namespace}/{}", self.kind, self.name),
            None => format!("{}/{}", self.kind, self.name),
        }
    }
}

impl PartialEq for ObjectKey {
    fn eq(&self, other: &ObjectKey) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ObjectKey {}

impl PartialOrd for ObjectKey {
    fn partial_cmp(&self, other: &ObjectKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectKey {
    fn cmp(&self, other: &ObjectKey) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for ObjectKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.group.is_empty() {
            write!(out, "{} ", self.group)?;
        }
        out.write_str(&self.short())
    }
}
