//! The kinds a cluster serves: those built into Kubernetes, and what CustomResourceDefinitions add.
//!
//! Start at [`builtin`] and [`defined_by`]. Knows scopes and types; the rules of single kinds are in the module `rule`.

use std::collections::BTreeMap;
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

/// Reads a manifest as its Go type would be read, and gives back what that type holds; or what is wrong, and where.
pub(super) type TypeCheck = fn(&Value) -> Result<Value, String>;

/// A kind built into Kubernetes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Builtin {
    /// Its objects live in namespaces.
    pub(super) namespaced: bool,
    /// How its fields are checked; `None` for a kind younger than the oldest supported release, which passes as it is.
    pub(super) check: Option<TypeCheck>,
}

/// The built-in kind of this name, as a server of the newest release serves it by default (no alpha, no beta).
pub(super) fn builtin(group: &str, version: &str, kind: &str) -> Option<Builtin> {
    BUILTIN.get(&(group, version, kind)).copied()
}

/// Kinds that answer a question when created, and hold nothing that could be applied.
pub(super) fn is_a_question(group: &str, kind: &str) -> bool {
    matches!(group, "authentication.k8s.io" | "authorization.k8s.io") && kind.ends_with("Review")
        || group.is_empty() && matches!(kind, "Binding" | "ComponentStatus")
}

/// What a CustomResourceDefinition says about one version of its kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defined<'a> {
    /// Its objects live in namespaces.
    pub(super) namespaced: bool,
    /// The OpenAPI v3 schema, where the version has one.
    pub(super) schema: Option<&'a Value>,
    /// `status` is a subresource, so an apply of the object does not reach it.
    pub(super) status_is_apart: bool,
}

/// Reads a CustomResourceDefinition: does it serve this kind, and how?
pub(super) fn defined_by<'a>(definition: &'a Value, group: &str, version: &str, kind: &str) -> Option<Defined<'a>> {
    let spec = definition.get("spec")?;
    if spec.get("group")?.as_str()? != group || spec.pointer("/names/kind")?.as_str()? != kind {
        return None;
    }
    let served = spec
        .get("versions")?
        .as_array()?
        .iter()
        .find(|served| served["name"].as_str() == Some(version) && served["served"].as_bool() == Some(true))?;
    Some(Defined {
        namespaced: spec.get("scope")?.as_str()? == "Namespaced",
        schema: served.pointer("/schema/openAPIV3Schema"),
        status_is_apart: served.pointer("/subresources/status").is_some(),
    })
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
        let typed: K = serde_path_to_error::deserialize(manifest).map_err(|error| {
            let field = error.path().to_string();
            format!("`{field}`: {}", error.into_inner())
        })?;
        serde_json::to_value(&typed).map_err(|error| error.to_string())
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
