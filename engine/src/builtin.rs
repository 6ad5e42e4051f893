//! The kinds built into Kubernetes: their scopes, and what type each of their fields has.
//!
//! Start at [`kind`]. The types are those of k8s-openapi; a manifest is read as one to learn where it does not fit.
//! Never here: which objects there are, and what a value may be beyond its type.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use k8s_openapi::api::{
    admissionregistration::v1 as admissionregistration, apps::v1 as apps, autoscaling::v1 as autoscaling_v1,
    autoscaling::v2 as autoscaling, batch::v1 as batch, certificates::v1 as certificates,
    coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery, events::v1 as events,
    flowcontrol::v1 as flowcontrol, networking::v1 as networking, node::v1 as node, policy::v1 as policy,
    rbac::v1 as rbac, scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// Reads a manifest as its Go type would be read, and gives back what that type holds; or where it does not fit.
pub(crate) type TypeCheck = fn(&Value) -> Result<Value, Misfit>;

/// A place of a manifest, from the root.
pub(crate) type FieldPath = Vec<PathStep>;

/// One step on the way to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathStep {
    /// Into the value of a field.
    Field(String),
    /// Into an item of a list, from 0.
    Item(usize),
}

/// The first value that does not have the type of its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Where it is; shorter than that where the type is not read field by field.
    pub(crate) place: FieldPath,
    path: String,
    reason: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}`: {}", self.path, self.reason)
    }
}

/// A kind built into Kubernetes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Builtin {
    /// Its objects live in namespaces.
    pub(crate) namespaced: bool,
    /// How its fields are checked; `None` for a kind younger than the oldest supported release, which passes as it is.
    pub(crate) check: Option<TypeCheck>,
}

/// The built-in kind of this name, as a server of the newest release serves it by default (no alpha, no beta).
pub(crate) fn kind(group: &str, version: &str, kind: &str) -> Option<Builtin> {
    BUILTIN.get(&(group, version, kind)).copied()
}

/// The names of all built-in kinds, each once.
pub(crate) fn names() -> BTreeSet<&'static str> {
    BUILTIN.keys().map(|(_, _, kind)| *kind).collect()
}

fn place(path: &Path) -> FieldPath {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(PathStep::Item(*index)),
        Segment::Map { key } => Some(PathStep::Field(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().map_while(step).collect()
}

trait Scope {
    const NAMESPACED: bool;
}

impl Scope for ClusterResourceScope {
    const NAMESPACED: bool = false;
}

impl Scope for NamespaceResourceScope {
    const NAMESPACED: bool = true;
}

type Name = (&'static str, &'static str, &'static str);

fn entry<K>() -> (Name, Builtin)
where
    K: Resource + Serialize + DeserializeOwned,
    K::Scope: Scope,
{
    let check: TypeCheck = |manifest| {
        let misfit = |place, path, reason: serde_json::Error| Misfit { place, path, reason: reason.to_string() };
        let typed: K = serde_path_to_error::deserialize(manifest).map_err(|error| {
            let (place, path) = (place(error.path()), error.path().to_string());
            misfit(place, path, error.into_inner())
        })?;
        serde_json::to_value(&typed).map_err(|error| misfit(FieldPath::new(), ".".to_owned(), error))
    };
    ((K::GROUP, K::VERSION, K::KIND), Builtin { namespaced: K::Scope::NAMESPACED, check: Some(check) })
}

macro_rules! builtin_kinds {
    ($($kind:ty),+ $(,)?) => { vec![$(entry::<$kind>()),+] };
}

static BUILTIN: LazyLock<BTreeMap<Name, Builtin>> = LazyLock::new(|| {
    let typed = builtin_kinds![
        admissionregistration::MutatingWebhookConfiguration,
        admissionregistration::ValidatingAdmissionPolicy,
        admissionregistration::ValidatingAdmissionPolicyBinding,
        admissionregistration::ValidatingWebhookConfiguration,
        apps::ControllerRevision,
        apps::DaemonSet,
        apps::Deployment,
        apps::ReplicaSet,
        apps::StatefulSet,
        autoscaling_v1::HorizontalPodAutoscaler,
        autoscaling::HorizontalPodAutoscaler,
        batch::CronJob,
        batch::Job,
        certificates::CertificateSigningRequest,
        coordination::Lease,
        core::ConfigMap,
        core::Endpoints,
        core::Event,
        core::LimitRange,
        core::Namespace,
        core::Node,
        core::PersistentVolume,
        core::PersistentVolumeClaim,
        core::Pod,
        core::PodTemplate,
        core::ReplicationController,
        core::ResourceQuota,
        core::Secret,
        core::Service,
        core::ServiceAccount,
        discovery::EndpointSlice,
        events::Event,
        flowcontrol::FlowSchema,
        flowcontrol::PriorityLevelConfiguration,
        networking::IPAddress,
        networking::Ingress,
        networking::IngressClass,
        networking::NetworkPolicy,
        networking::ServiceCIDR,
        node::RuntimeClass,
        policy::PodDisruptionBudget,
        rbac::ClusterRole,
        rbac::ClusterRoleBinding,
        rbac::Role,
        rbac::RoleBinding,
        scheduling::PriorityClass,
        storage::CSIDriver,
        storage::CSINode,
        storage::CSIStorageCapacity,
        storage::StorageClass,
        storage::VolumeAttachment,
        apiextensions::CustomResourceDefinition,
        apiregistration::APIService,
    ];
    typed.into_iter().chain(YOUNGER).collect()
});

/// Kinds that became stable after the release whose types are compiled in.
const YOUNGER: [(Name, Builtin); 11] = [
    younger("admissionregistration.k8s.io", "MutatingAdmissionPolicy", false),
    younger("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", false),
    younger("certificates.k8s.io", "ClusterTrustBundle", false),
    younger("certificates.k8s.io", "PodCertificateRequest", true),
    younger("resource.k8s.io", "DeviceClass", false),
    younger("resource.k8s.io", "DeviceTaintRule", false),
    younger("resource.k8s.io", "ResourceClaim", true),
    younger("resource.k8s.io", "ResourceClaimTemplate", true),
    younger("resource.k8s.io", "ResourceSlice", false),
    younger("storagemigration.k8s.io", "StorageVersionMigration", false),
    younger("storage.k8s.io", "VolumeAttributesClass", false),
];

const fn younger(group: &'static str, kind: &'static str, namespaced: bool) -> (Name, Builtin) {
    ((group, "v1", kind), Builtin { namespaced, check: None })
}
