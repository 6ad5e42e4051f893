//! The clusters that events come from, as rules see them: a name, labels, and what `.Cluster` is in a template.
//!
//! Start at [`Clusters`]. Nothing here connects to a cluster. The SveltosCluster that represents the own one comes with the
//! rules, and is recorded with them: so what a template saw of it is known for ever.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::read::manifest::Manifest;
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
    /// The resource itself, where there is one and a rule asks for more of it than its name and labels.
    pub object: Option<Value>,
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
            object: None,
        }
    }

    /// The same, represented by this resource, whose labels count where none of the same name is configured.
    fn represented_by(mut self, resource: &Value, is_whole: bool) -> Cluster {
        let written = resource["metadata"]["labels"].as_object().into_iter().flatten();
        let mut labels: BTreeMap<String, String> =
            written.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        labels.extend(self.labels.unwrap_or_default());
        self.labels = Some(labels);
        self.object = is_whole.then(|| seen(resource));
        self
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
        let Some(object) = &self.object else { return self.basics() };
        let (mut value, mut basics) = (object.clone(), self.basics());
        value["metadata"]["labels"] = basics["metadata"]["labels"].take();
        value
    }

    /// What templates see of it beside the event: `.Cluster`, `.ClusterName`, `.ClusterNamespace`, `.ClusterKind`.
    #[must_use]
    pub(super) fn values(&self) -> Value {
        values(self.to_value())
    }

    /// Whether a resource is known that represents it. Only a rule that asks for more than its name and labels cares.
    pub(super) fn is_represented(&self) -> bool {
        self.object.is_some()
    }

    /// What of it every template may see without asking for more: type, name and labels.
    pub(super) fn basics(&self) -> Value {
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

/// What templates see of a cluster that is this `.Cluster`.
fn values(cluster: Value) -> Value {
    let (name, namespace) = (cluster["metadata"]["name"].clone(), cluster["metadata"]["namespace"].clone());
    json!({"ClusterName": name, "ClusterNamespace": namespace, "ClusterKind": cluster["kind"], "Cluster": cluster})
}

/// What of a SveltosCluster templates may see: all of it, but for what changes with every write of its status.
pub(super) fn seen(resource: &Value) -> Value {
    let mut seen = resource.clone();
    if let Some(metadata) = seen.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !matches!(name.as_str(), "managedFields" | "resourceVersion" | "generation"));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    seen
}

/// What of a SveltosCluster counts where no rule asks for more: type, name and labels.
pub(super) fn basics(resource: &Value) -> Value {
    let metadata = &resource["metadata"];
    json!({
        "apiVersion": resource["apiVersion"],
        "kind": resource["kind"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "labels": metadata["labels"]},
    })
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

    /// These, where one is represented by a resource of `resources`, by full name. `is_whole`: a rule asks for more of it
    /// than its name and labels.
    #[must_use]
    pub(super) fn represented_by(self, resources: &BTreeMap<String, Manifest>, is_whole: bool) -> Clusters {
        let represented = |cluster: Cluster| match resources.get(&cluster.full_name()) {
            Some(resource) => cluster.represented_by(&resource.value, is_whole),
            None => cluster,
        };
        Clusters(self.0.into_iter().map(represented).collect())
    }

    /// `.Cluster` of the one with this full name; one that is not among them has no labels.
    #[must_use]
    pub(super) fn value_of(&self, full_name: &str) -> Value {
        let known = self.iter().find(|cluster| cluster.full_name() == full_name);
        known.map_or_else(
            || {
                let (namespace, name) = full_name.split_once('/').unwrap_or(("", full_name));
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                Cluster { namespace, name, kind: ClusterKind::Sveltos, labels: Some(BTreeMap::new()), object: None }
                    .to_value()
            },
            Cluster::to_value,
        )
    }

    /// What templates see of it beside the event.
    #[must_use]
    pub(super) fn values_of(&self, full_name: &str) -> Value {
        values(self.value_of(full_name))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_gives_its_labels_and_those_that_are_configured_count_before_them() {
        let resource = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "SveltosCluster",
            "metadata": {"name": "mgmt", "namespace": "mgmt", "resourceVersion": "7", "managedFields": [{}],
                "labels": {"env": "fv", "team": "a"}, "annotations": {"x": "y"}},
            "spec": {"paused": false}, "status": {"ready": true}});
        let resources = [(OWN.to_owned(), Manifest::new("kubernetes", resource))].into();
        let own = |labels: &[(&str, &str)], is_whole| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            Clusters::own(labels).represented_by(&resources, is_whole).value_of(OWN)
        };
        let basic = own(&[("env", "production")], false);
        assert_eq!(basic["metadata"]["labels"], json!({"env": "production", "team": "a"}));
        assert_eq!([&basic["spec"], &basic["metadata"]["annotations"]], [&Value::Null, &Value::Null]);
        let whole = own(&[], true);
        assert_eq!(
            whole["metadata"],
            json!({"name": "mgmt", "namespace": "mgmt", "labels": {"env": "fv", "team": "a"}, "annotations": {"x": "y"}})
        );
        assert_eq!([&whole["spec"], &whole["status"]], [&json!({"paused": false}), &json!({"ready": true})]);
    }
}
