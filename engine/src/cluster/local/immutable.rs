//! Fields that may never change while an object lives.
//!
//! Start at [`check`]. Pure: two versions of an object in, what differs and must not out.

use serde_json::{Map, Value};

use crate::cluster::ObjectKey;

/// The fields that differ although they may never change, and what is said about each.
pub(super) fn check(key: &ObjectKey, live: &Value, next: &Value) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut same = |pointers: &[&str]| {
        for pointer in pointers.iter().filter(|pointer| live.pointer(pointer) != next.pointer(pointer)) {
            let field = pointer[1..].replace('/', ".");
            let message = format!("`{field}` can never change");
            problems.push((field, message));
        }
    };
    match (key.group.as_str(), key.kind.as_str()) {
        ("", "Secret" | "ConfigMap") => {
            if key.kind == "Secret" {
                same(&["/type"]);
            }
            if live["immutable"] == Value::Bool(true) {
                same(&["/immutable", "/data", "/binaryData"]);
            }
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => same(&["/roleRef"]),
        ("apps", "Deployment" | "DaemonSet" | "ReplicaSet") => same(&["/spec/selector"]),
        ("apps", "StatefulSet")
            // Everything but what a rolling update may touch.
            if fixed_of_stateful_set(live) != fixed_of_stateful_set(next) => {
                let may = "`spec` of a StatefulSet can only change in replicas, template, update strategy and a few more";
                problems.push(("spec".to_owned(), may.to_owned()));
            }
        ("batch", "Job") => same(&["/spec/selector", "/spec/template", "/spec/completionMode"]),
        ("", "Pod")
            if fixed_of_pod(live) != fixed_of_pod(next) => {
                let may = "`spec` of a Pod can only change in images, tolerations and a few more";
                problems.push(("spec".to_owned(), may.to_owned()));
            }
        ("", "PersistentVolumeClaim") => same(&[
            "/spec/storageClassName",
            "/spec/accessModes",
            "/spec/selector",
            "/spec/volumeMode",
        ]),
        ("scheduling.k8s.io", "PriorityClass") => same(&["/value", "/preemptionPolicy"]),
        ("storage.k8s.io", "StorageClass") => same(&[
            "/provisioner",
            "/parameters",
            "/reclaimPolicy",
            "/volumeBindingMode",
        ]),
        ("networking.k8s.io", "IngressClass") => same(&["/spec/controller"]),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            same(&["/spec/scope", "/spec/group", "/spec/names/kind"])
        }
        _ => {}
    }
    problems
}

fn spec_without(object: &Value, fields: &[&str]) -> Map<String, Value> {
    let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
    spec.retain(|field, _| !fields.contains(&field.as_str()));
    spec
}

fn fixed_of_stateful_set(object: &Value) -> Map<String, Value> {
    let may_change = [
        "minReadySeconds",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
        "replicas",
        "revisionHistoryLimit",
        "template",
        "updateStrategy",
    ];
    spec_without(object, &may_change)
}

fn fixed_of_pod(object: &Value) -> Map<String, Value> {
    let mut spec = spec_without(object, &["activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations"]);
    for containers in ["containers", "initContainers"] {
        for container in spec.get_mut(containers).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                container.remove("image");
            }
        }
    }
    spec
}
