//! Manifests for the suite: good ones of the kinds people apply, bad ones, and ways to spoil the good.
//!
//! Start at [`good`]. Pure; it never asks a cluster.

use serde_json::{Value, json};

/// The manifest with another value at a JSON pointer; a missing last part is added, a null removes it.
pub fn with(manifest: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = manifest.clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    match changed.pointer_mut(parent) {
        Some(Value::Object(fields)) if value.is_null() => {
            fields.remove(field);
        }
        Some(Value::Object(fields)) => {
            fields.insert(field.to_owned(), value);
        }
        Some(Value::Array(items)) => {
            if let Some(item) = field.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                *item = value;
            }
        }
        _ => panic!("`{pointer}` leads nowhere in {manifest}"),
    }
    changed
}

/// Where a live object lacks what was applied. Quantities may be written in another way, a Secret's `stringData` becomes
/// `data`.
pub fn missing_in(applied: &Value, live: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    collect_missing("", applied, live, &mut missing);
    missing
}

fn collect_missing(path: &str, applied: &Value, live: &Value, missing: &mut Vec<String>) {
    match (applied, live) {
        (Value::Object(applied), Value::Object(live)) => {
            for (field, value) in applied.iter().filter(|(field, value)| !value.is_null() && *field != "stringData") {
                collect_missing(&format!("{path}/{field}"), value, live.get(field).unwrap_or(&Value::Null), missing);
            }
        }
        (Value::Array(applied), Value::Array(live)) if applied.len() == live.len() => {
            for (index, (applied, live)) in applied.iter().zip(live).enumerate() {
                collect_missing(&format!("{path}/{index}"), applied, live, missing);
            }
        }
        _ if applied == live => {}
        _ => missing.push(format!("{path}: {applied} became {live}")),
    }
}

/// A Deployment with one container named `web`.
pub fn deployment(name: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "web"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec("Always")},
        },
    })
}

fn pod_spec(restart: &str) -> Value {
    json!({
        "restartPolicy": restart,
        "securityContext": {"runAsNonRoot": true},
        "containers": [{
            "name": "web",
            "image": "example.com/web:1",
            "args": ["--port", "8080"],
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [
                {"name": "PLAIN", "value": "1"},
                {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}},
            ],
            "envFrom": [{"configMapRef": {"name": "c"}}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "livenessProbe": {"httpGet": {"path": "/livez", "port": "http"}, "periodSeconds": 5},
            "volumeMounts": [{"name": "settings", "mountPath": "/etc/settings", "readOnly": true}],
        }],
        "volumes": [{"name": "settings", "configMap": {"name": "c", "items": [{"key": "a", "path": "a.txt"}]}}],
    })
}

/// The definition of a namespaced kind `Thing`, version `v1`, of a group.
pub fn thing_definition(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {
                            "type": "object",
                            "required": ["size"],
                            "properties": {
                                "size": {"type": "integer", "minimum": 1},
                                "name": {"type": "string", "pattern": "^[a-z]+$"},
                                "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                                "tags": {"type": "array", "items": {"type": "string"}},
                                "port": {"x-kubernetes-int-or-string": true},
                                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                            },
                        },
                        "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
                    },
                }},
            }],
        },
    })
}

/// Good manifests: what rules of real users make.
pub fn good(name: &str, namespace: &str) -> Vec<Value> {
    let named = |api_version: &str, kind: &str, rest: Value| -> Value {
        let mut manifest =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
        if let (Some(manifest), Value::Object(rest)) = (manifest.as_object_mut(), rest) {
            manifest.extend(rest);
        }
        manifest
    };
    let global = |api_version: &str, kind: &str, rest: Value| {
        with(&named(api_version, kind, rest), "/metadata/namespace", Value::Null)
    };
    let web = json!({"matchLabels": {"app": "web"}});
    let template = |restart: &str| json!({"metadata": {"labels": {"app": "web"}}, "spec": pod_spec(restart)});
    let rules = json!([{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}]);
    let rbac = "rbac.authorization.k8s.io/v1";
    let subjects = json!([{"kind": "ServiceAccount", "name": "a", "namespace": namespace}, {"kind": "Group", "name": "team:a", "apiGroup": "rbac.authorization.k8s.io"}]);
    vec![
        global("v1", "Namespace", json!({})),
        named(
            "v1",
            "ConfigMap",
            json!({"data": {"a.yaml": "x: 1\n", "B_c": ""}, "binaryData": {"bytes": "AAEC"}, "immutable": false}),
        ),
        // Text that some parsers of YAML fold or refuse, on its way through one.
        named(
            "v1",
            "ConfigMap",
            json!({"data": {"text": "\u{85}\u{2028}\u{2029}\u{7f}\u{9f}\u{feff}\u{fffe}\u{ffff}😀\t\r\n \"'\\ {{ }} # : -"}}),
        ),
        named("v1", "Secret", json!({"type": "Opaque", "data": {"a": "YQ=="}})),
        named("v1", "Secret", json!({"stringData": {"a": "plain"}})),
        named("v1", "Secret", json!({"type": "addons.projectsveltos.io/cluster-profile", "data": {"a": "YQ=="}})),
        named(
            "v1",
            "Service",
            json!({"spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "more", "port": 81, "targetPort": 8081}]}}),
        ),
        named("v1", "Service", json!({"spec": {"type": "ExternalName", "externalName": "example.com"}})),
        named("v1", "Service", json!({"spec": {"clusterIP": "None", "selector": {"app": "web"}}})),
        named(
            "v1",
            "ServiceAccount",
            json!({"automountServiceAccountToken": false, "imagePullSecrets": [{"name": "pull"}]}),
        ),
        deployment(name, namespace),
        named(
            "apps/v1",
            "StatefulSet",
            json!({"spec": {"serviceName": "web", "replicas": 1, "selector": web, "template": template("Always"), "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}}),
        ),
        named("apps/v1", "DaemonSet", json!({"spec": {"selector": web, "template": template("Always")}})),
        named(
            "apps/v1",
            "ReplicaSet",
            json!({"spec": {"replicas": 1, "selector": web, "template": template("Always")}}),
        ),
        named("v1", "Pod", json!({"spec": pod_spec("Never")})),
        named(
            "batch/v1",
            "Job",
            json!({"spec": {"backoffLimit": 2, "ttlSecondsAfterFinished": 60, "template": {"spec": pod_spec("Never")}}}),
        ),
        named(
            "batch/v1",
            "CronJob",
            json!({"spec": {"schedule": "*/5 * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": {"template": {"spec": pod_spec("OnFailure")}}}}}),
        ),
        named(rbac, "Role", json!({"rules": rules})),
        named(
            rbac,
            "RoleBinding",
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}, "subjects": subjects}),
        ),
        global(rbac, "ClusterRole", json!({"rules": rules})),
        global(
            rbac,
            "ClusterRoleBinding",
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "a"}, "subjects": subjects}),
        ),
        named(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": web}], "ports": [{"port": 80, "protocol": "TCP"}]}]}}),
        ),
        named(
            "networking.k8s.io/v1",
            "Ingress",
            json!({"spec": {"ingressClassName": "nginx", "rules": [{"host": "example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}], "tls": [{"hosts": ["example.com"], "secretName": "tls"}]}}),
        ),
        named(
            "v1",
            "ResourceQuota",
            json!({"spec": {"hard": {"count/services.custom": "100", "requests.storage": "100Ti"}}}),
        ),
        named(
            "v1",
            "LimitRange",
            json!({"spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "100Ti"}}]}}),
        ),
        named("policy/v1", "PodDisruptionBudget", json!({"spec": {"minAvailable": "50%", "selector": web}})),
        named(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({"spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]}}),
        ),
        named("coordination.k8s.io/v1", "Lease", json!({"spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}})),
        global("scheduling.k8s.io/v1", "PriorityClass", json!({"value": 1000, "description": "for tests"})),
        global(
            "storage.k8s.io/v1",
            "StorageClass",
            json!({"provisioner": "example.com/disk", "parameters": {"type": "ssd"}, "reclaimPolicy": "Delete"}),
        ),
        global("networking.k8s.io/v1", "IngressClass", json!({"spec": {"controller": "example.com/ingress"}})),
        thing_definition(&format!("{name}.example.com")),
    ]
}

/// Good, but guarded by a finalizer that the server adds itself: a control plane without the controllers that take it away
/// never lets go of one, so no case makes any.
pub fn guarded(name: &str, namespace: &str) -> Vec<Value> {
    vec![json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })]
}

/// Objects, and changes of them that are refused while the object lives.
pub fn immutable(name: &str, namespace: &str) -> Vec<(Value, &'static str, Value)> {
    let of = |kind: &str| -> Value {
        let found = good(name, namespace).into_iter().find(|manifest| manifest["kind"] == kind);
        found.unwrap_or_else(|| panic!("no good manifest of a {kind}"))
    };
    let other_labels = json!({"matchLabels": {"app": "other"}});
    vec![
        (of("Secret"), "/type", json!("example.com/other")),
        (with(&of("Secret"), "/immutable", json!(true)), "/data", json!({"a": "Yg=="})),
        (with(&of("ConfigMap"), "/immutable", json!(true)), "/data", json!({"a": "2"})),
        (with(&of("ConfigMap"), "/immutable", json!(true)), "/immutable", json!(false)),
        (of("RoleBinding"), "/roleRef/name", json!("b")),
        (of("ClusterRoleBinding"), "/roleRef/name", json!("b")),
        (
            with(&of("Deployment"), "/spec/template/metadata/labels", json!({"app": "web", "other": "x"})),
            "/spec/selector",
            json!({"matchLabels": {"other": "x"}}),
        ),
        (of("StatefulSet"), "/spec/serviceName", json!("other")),
        (of("Job"), "/spec/template/spec/containers/0/image", json!("other")),
        (of("Pod"), "/spec/containers/0/args", json!(["other"])),
        (of("PriorityClass"), "/value", json!(7)),
        (of("StorageClass"), "/provisioner", json!("example.com/other")),
        (of("IngressClass"), "/spec/controller", json!("example.com/other")),
        (of("Deployment"), "/spec/selector", other_labels),
    ]
}

/// Bad manifests: what rules of real users get wrong, beyond what [`spoiled`] finds.
pub fn bad(name: &str, namespace: &str) -> Vec<Value> {
    let of = |kind: &str| -> Value {
        let mut manifests = good(name, namespace).into_iter().chain(guarded(name, namespace));
        let found = manifests.find(|manifest| manifest["kind"] == kind);
        found.unwrap_or_else(|| panic!("no good manifest of a {kind}"))
    };
    let container = "/spec/template/spec/containers/0";
    vec![
        with(&of("ConfigMap"), "/data/a b", json!("x")),
        with(&of("ConfigMap"), "/data/number", json!(1)),
        with(&of("ConfigMap"), "/data/list", json!(["x"])),
        with(&of("ConfigMap"), "/binaryData/a.yaml", json!("AAEC")),
        with(&of("ConfigMap"), "/data/big", json!("x".repeat(1_100_000))),
        with(&of("ConfigMap"), "/data/huge", json!("x".repeat(3_500_000))),
        with(&of("ConfigMap"), "/metadata/name", json!("Upper")),
        with(&of("ConfigMap"), "/metadata/name", json!("a".repeat(254))),
        with(&of("ConfigMap"), "/metadata/finalizers", json!(["nodomain"])),
        with(&of("ConfigMap"), "/metadata/ownerReferences", json!([{"name": "a"}])),
        with(&of("Secret"), "/data/a", json!("not base64!")),
        with(&of("Secret"), "/type", json!("kubernetes.io/tls")),
        with(&of("Secret"), "/type", json!("kubernetes.io/dockerconfigjson")),
        with(&of("Service"), "/metadata/name", json!("with.dots")),
        with(&of("Service"), "/spec/ports", json!([])),
        with(&of("Service"), "/spec/ports", json!([{"port": 80}, {"port": 81}])),
        with(&of("Service"), "/spec/ports", json!([{"port": 0}])),
        with(&of("Service"), "/spec/ports", json!([{"port": 70000}])),
        with(&of("Service"), "/spec/type", json!("Bogus")),
        with(&of("Deployment"), "/spec/selector", json!({"matchLabels": {"app": "other"}})),
        with(&of("Deployment"), "/spec/selector", json!({})),
        with(&of("Deployment"), "/spec/replicas", json!(-1)),
        with(&of("Deployment"), "/spec/replicas", json!("2")),
        with(&of("Deployment"), &format!("{container}/name"), json!("Not_a_label")),
        with(&of("Deployment"), &format!("{container}/image"), json!("")),
        with(&of("Deployment"), &format!("{container}/imagePullPolicy"), json!("Sometimes")),
        with(&of("Deployment"), &format!("{container}/volumeMounts/0/name"), json!("unknown")),
        with(&of("Deployment"), &format!("{container}/resources/limits/memory"), json!("lots")),
        with(&of("Deployment"), &format!("{container}/ports/0/containerPort"), json!(0)),
        with(&of("Deployment"), "/spec/template/spec/restartPolicy", json!("Never")),
        with(&of("Job"), "/spec/template/spec/restartPolicy", json!("Always")),
        with(&of("CronJob"), "/spec/schedule", json!("often")),
        with(&of("RoleBinding"), "/roleRef/kind", json!("Bogus")),
        with(&of("RoleBinding"), "/subjects/0/kind", json!("Bogus")),
        with(&of("ClusterRole"), "/rules/0/verbs", json!([])),
        with(&of("Ingress"), "/spec/rules/0/http/paths/0/path", json!("no-slash")),
        with(&of("NetworkPolicy"), "/spec/policyTypes", json!(["Sideways"])),
        with(&of("PersistentVolumeClaim"), "/spec/accessModes", json!(["Bogus"])),
        with(&of("CustomResourceDefinition"), "/metadata/name", json!("other.example.com")),
        with(&of("CustomResourceDefinition"), "/spec/scope", json!("Everywhere")),
        with(&of("CustomResourceDefinition"), "/spec/versions", json!([])),
        with(&of("CustomResourceDefinition"), "/spec/versions/0/schema", Value::Null),
        with(&of("CustomResourceDefinition"), "/spec/versions/0/storage", json!(false)),
    ]
}

/// Every way to take away, mistype or add one field of a manifest (but not of its `metadata` and what names it), each with
/// the place and what was done.
pub fn spoiled(manifest: &Value) -> Vec<(String, Value)> {
    let mut places = Vec::new();
    collect_places("", manifest, &mut places);
    let mut spoiled = Vec::new();
    for place in places {
        let value = manifest.pointer(&place).cloned().unwrap_or_default();
        let mut add = |what: &str, changed: Value| spoiled.push((format!("{place} {what}"), changed));
        if value.is_object() {
            add("with an unknown field", with(manifest, &format!("{place}/bogusField"), json!({"a": 1})));
        }
        if place.is_empty() {
            continue;
        }
        let in_list = place.rsplit('/').next().is_some_and(|part| part.parse::<usize>().is_ok());
        if !in_list {
            add("removed", with(manifest, &place, Value::Null));
        }
        for (what, wrong) in [
            ("as a string", json!("bogus value")),
            ("as an empty string", json!("")),
            ("as a number", json!(12)),
            ("as a negative number", json!(-12)),
            ("as a fraction", json!(1.5)),
            ("as a boolean", json!(true)),
            ("as a list", json!([])),
            ("as a mapping", json!({})),
        ] {
            if wrong != value {
                add(what, with(manifest, &place, wrong));
            }
        }
    }
    spoiled
}

fn collect_places(place: &str, value: &Value, places: &mut Vec<String>) {
    if matches!(place, "/apiVersion" | "/kind" | "/metadata") {
        return;
    }
    places.push(place.to_owned());
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                collect_places(&format!("{place}/{}", field.replace('~', "~0").replace('/', "~1")), value, places);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_places(&format!("{place}/{index}"), item, places);
            }
        }
        _ => {}
    }
}
