//! The clusters that events come from, as rules see them: a name, labels, and what `.Cluster` is in a template.
//!
//! Start at [`Clusters`]. Nothing here connects to a cluster.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::read::spec::LabelSelector;

/// `namespace/name` of the cluster Lifeline runs for.
pub const OWN: &str = "mgmt/mgmt";

/// Which custom resource represents a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClusterKind {
    /// `SveltosCluster` of `lib.projectsveltos.io`.
    #[default]
    Sveltos,
    /// `Cluster` of `cluster.x-k8s.io`.
    Capi,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Namespace of the resource that represents it.
    pub namespace: String,
    /// Name of that resource.
    pub name: String,
    /// What represents it.
    pub kind: ClusterKind,
    /// Its labels; `None` where nobody configured any, and every selector is assumed to match.
    pub labels: Option<BTreeMap<String, String>>,
}

impl Cluster {
    /// The own cluster. No labels means that none were configured: every selector is assumed to match it.
    #[must_use]
    pub fn own(labels: BTreeMap<String, String>) -> Cluster {
        let (namespace, name) = OWN.split_once('/').expect("both parts are there");
        Cluster {
            namespace: namespace.into(),
            name: name.into(),
            kind: ClusterKind::Sveltos,
            labels: (!labels.is_empty()).then_some(labels),
        }
    }

    /// `namespace/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether a trigger with this selector listens to events of this cluster.
    #[must_use]
    pub fn is_selected_by(&self, selector: &LabelSelector) -> bool {
        self.labels.as_ref().is_none_or(|labels| selector.matches(labels))
    }

    /// What templates see as `.Cluster`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let (api_version, kind) = match self.kind {
            ClusterKind::Sveltos => ("lib.projectsveltos.io/v1beta1", "SveltosCluster"),
            ClusterKind::Capi => ("cluster.x-k8s.io/v1beta1", "Cluster"),
        };
        json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.labels.clone().unwrap_or_default()},
        })
    }
}

/// All clusters that events come from, sorted by full name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters(Vec<Cluster>);

impl Clusters {
    /// These clusters; of two with one name the first counts.
    #[must_use]
    pub fn new(mut clusters: Vec<Cluster>) -> Clusters {
        clusters.sort_by_key(Cluster::full_name);
        clusters.dedup_by_key(|cluster| cluster.full_name());
        Clusters(clusters)
    }

    /// The own cluster alone.
    #[must_use]
    pub fn own(labels: BTreeMap<String, String>) -> Clusters {
        Clusters(vec![Cluster::own(labels)])
    }

    /// `.Cluster` of the one with this full name; one that is not among them has no labels.
    #[must_use]
    pub(super) fn value_of(&self, full_name: &str) -> Value {
        let known = self.iter().find(|cluster| cluster.full_name() == full_name);
        known.map_or_else(
            || {
                let (namespace, name) = full_name.split_once('/').unwrap_or(("", full_name));
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                Cluster { namespace, name, kind: ClusterKind::Sveltos, labels: Some(BTreeMap::new()) }.to_value()
            },
            Cluster::to_value,
        )
    }

    /// What templates see of it beside the event.
    #[must_use]
    pub(super) fn values_of(&self, full_name: &str) -> Value {
        let cluster = self.value_of(full_name);
        let (name, namespace) = (cluster["metadata"]["name"].clone(), cluster["metadata"]["namespace"].clone());
        json!({"ClusterName": name, "ClusterNamespace": namespace, "ClusterKind": cluster["kind"], "Cluster": cluster})
    }

    /// By full name.
    pub fn iter(&self) -> impl Iterator<Item = &Cluster> {
        self.0.iter()
    }
}

impl Default for Clusters {
    fn default() -> Self {
        Clusters::own(BTreeMap::new())
    }
}
