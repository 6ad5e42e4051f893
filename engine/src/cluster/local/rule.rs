//! What single kinds demand beyond their types: required fields, and fields that must fit each other.
//!
//! Start at [`check`]. Pure; one arm per kind. A kind without an arm is taken as its type has it. The order of arms is that
//! of groups in the API reference.

use data_encoding::BASE64;
use serde_json::{Map, Value};

use super::field::{Field, Problems, port_name_problem};
use super::{name, pod};
use crate::cluster::ObjectKey;
use crate::cluster::quantity::quantity;

/// A ConfigMap or Secret may hold this much, keys not counted.
const DATA_BYTES_MAX: usize = 1024 * 1024;

const RBAC: &str = "rbac.authorization.k8s.io";

/// Adds what is wrong with a manifest whose types are right.
pub(super) fn check(key: &ObjectKey, manifest: &Value, problems: &mut Problems) {
    let object = Field::root(manifest);
    let spec = object.at("spec");
    check_owners(&object, problems);
    match (key.group.as_str(), key.kind.as_str()) {
        ("", "ConfigMap") => check_config(&object, problems),
        ("", "Secret") => check_secret(&object, problems),
        ("", "Service") => check_service(&spec, problems),
        ("", "Pod") => pod::check(&spec, &["Always", "OnFailure", "Never"], &[], problems),
        ("", "PersistentVolumeClaim") => check_claim(&spec, problems),
        ("", "ResourceQuota") => {
            for (resource, quantity) in spec.at("hard").entries() {
                if let Some(why) = name::qualified_name_problem(resource) {
                    quantity.wrong(&format!("its name is no resource: {why}"), problems);
                }
            }
            spec.at("hard").quantities(problems);
        }
        ("", "LimitRange") => {
            for limit in spec.at("limits").items() {
                limit.at("type").required_as(name::qualified_name_problem, problems);
                for (_, bound) in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"]
                    .into_iter()
                    .flat_map(|bound| limit.at(bound).entries())
                {
                    if quantity(bound.value).is_none() {
                        bound.wrong("expected a quantity, such as `1Gi`", problems);
                    }
                }
                if limit.at("type").text() == "PersistentVolumeClaim"
                    && limit.at("min").at("storage").is_empty()
                    && limit.at("max").at("storage").is_empty()
                {
                    limit.wrong("a minimum or maximum of storage is required", problems);
                }
            }
        }
        ("apps", kind @ ("Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")) => {
            check_workload(kind, &spec, problems)
        }
        ("batch", "Job") => check_job(&spec, problems),
        ("batch", "CronJob") => {
            spec.at("schedule").required_as(schedule_problem, problems);
            spec.at("concurrencyPolicy").one_of(&["Allow", "Forbid", "Replace"], problems);
            for count in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
                spec.at(count).at_least(0, problems);
            }
            check_job(&spec.at("jobTemplate").at("spec"), problems);
        }
        ("autoscaling", "HorizontalPodAutoscaler") => check_autoscaler(&key.version, &spec, problems),
        ("coordination.k8s.io", "Lease") => spec.at("leaseDurationSeconds").at_least(1, problems),
        ("networking.k8s.io", "Ingress") => check_ingress(&spec, problems),
        ("networking.k8s.io", "IngressClass") => spec.at("controller").required_as(controller_problem, problems),
        ("networking.k8s.io", "NetworkPolicy") => check_network_policy(&spec, problems),
        ("policy", "PodDisruptionBudget") => {
            if spec.at("minAvailable").is_given() && spec.at("maxUnavailable").is_given() {
                spec.wrong("`minAvailable` and `maxUnavailable` exclude each other", problems);
            }
            spec.at("minAvailable").count_or_percent(problems);
            spec.at("maxUnavailable").count_or_percent(problems);
            spec.at("selector").selector(problems);
        }
        (RBAC, "Role" | "ClusterRole") => check_rules(&object, key.kind == "ClusterRole", problems),
        (RBAC, "RoleBinding" | "ClusterRoleBinding") => check_binding(&object, key.kind == "RoleBinding", problems),
        ("scheduling.k8s.io", "PriorityClass") => {
            object.at("preemptionPolicy").one_of(&["PreemptLowerPriority", "Never"], problems);
            if object.at("value").value.as_i64().is_some_and(|value| value > 1_000_000_000) {
                object.at("value").wrong("values above 1000000000 are the system's", problems);
            }
        }
        ("storage.k8s.io", "StorageClass") => {
            let lower = |text: &str| name::qualified_name_problem(&text.to_lowercase());
            object.at("provisioner").required_as(lower, problems);
            object.at("reclaimPolicy").one_of(&["Delete", "Retain"], problems);
            object.at("volumeBindingMode").one_of(&["Immediate", "WaitForFirstConsumer"], problems);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => check_definition(key, &spec, problems),
        _ => {}
    }
}

/// Turns write-only conveniences into what is kept, and adds the defaults that decide what may change: a Secret's
/// `stringData` becomes `data`, its type is given.
pub(super) fn convert(key: &ObjectKey, manifest: &mut Value) {
    if !(key.group.is_empty() && key.kind == "Secret") {
        return;
    }
    let Some(fields) = manifest.as_object_mut() else {
        return;
    };
    fields.entry("type").or_insert_with(|| Value::from("Opaque"));
    if let Some(Value::Object(plain)) = fields.remove("stringData") {
        let data = fields.entry("data").or_insert_with(|| Value::Object(Map::new()));
        if let Some(data) = data.as_object_mut() {
            let encoded = |text: &Value| Value::from(BASE64.encode(text.as_str().unwrap_or_default().as_bytes()));
            data.extend(plain.iter().map(|(key, text)| (key.clone(), encoded(text))));
        }
    }
}

fn check_owners(object: &Field<'_>, problems: &mut Problems) {
    for owner in object.at("metadata").at("ownerReferences").items() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            owner.at(field).required(problems);
        }
    }
}

fn check_data(object: &Field<'_>, fields: &[&str], problems: &mut Problems) {
    let mut bytes = 0;
    let mut seen: Vec<&str> = Vec::new();
    for (key, value) in fields.iter().flat_map(|field| object.at(field).entries()) {
        if let Some(why) = name::data_key_problem(key) {
            problems.push(format!("the key `{key}` of `data`: {why}"));
        }
        if seen.contains(&key) {
            problems.push(format!("the key `{key}` stands in two places"));
        }
        seen.push(key);
        bytes += value.text().len();
    }
    if bytes > DATA_BYTES_MAX {
        problems.push(format!("`data` has {bytes} bytes, at most {DATA_BYTES_MAX} are allowed"));
    }
}

fn check_config(object: &Field<'_>, problems: &mut Problems) {
    check_data(object, &["data", "binaryData"], problems);
}

/// The keys a Secret of a known type must hold.
const SECRET_KEYS: &[(&str, &[&str])] = &[
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
];

fn check_secret(object: &Field<'_>, problems: &mut Problems) {
    check_data(object, &["data"], problems);
    let kind = object.at("type").text();
    for (_, keys) in SECRET_KEYS.iter().filter(|(known, _)| *known == kind) {
        for key in keys.iter().filter(|key| object.at("data").value.get(**key).is_none()) {
            problems.push(format!("a Secret of type `{kind}` needs the key `{key}`"));
        }
    }
    let account = object.at("metadata").at("annotations").value.get("kubernetes.io/service-account.name");
    if kind == "kubernetes.io/service-account-token" && account.is_none() {
        problems.push("a Secret of this type needs the annotation `kubernetes.io/service-account.name`".to_owned());
    }
}

fn check_service(spec: &Field<'_>, problems: &mut Problems) {
    let kind = spec.at("type");
    kind.one_of(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], problems);
    let address = spec.at("clusterIP");
    if kind.text() == "ExternalName" {
        spec.at("externalName").required_as(|name| name::subdomain_problem(name.trim_end_matches('.')), problems);
        if !address.is_empty() {
            address.wrong("a Service of type ExternalName has none", problems);
        }
    } else if address.text() == "None" {
        if matches!(kind.text(), "NodePort" | "LoadBalancer") {
            address.wrong("it may be None for a Service of type ClusterIP only", problems);
        }
    } else {
        spec.at("ports").required(problems);
        if !address.is_empty() && address.text().parse::<std::net::IpAddr>().is_err() {
            address.wrong("expected an IP address or None", problems);
        }
    }
    spec.at("selector").labels(problems);
    spec.at("sessionAffinity").one_of(&["ClientIP", "None"], problems);
    let several = spec.at("ports").items().count() > 1;
    for port in spec.at("ports").items() {
        let name = port.at("name");
        if several {
            name.required(problems);
        }
        name.named(name::label_problem, problems);
        port.at("port").port(problems);
        port.at("protocol").one_of(&["TCP", "UDP", "SCTP"], problems);
        let target = port.at("targetPort");
        if target.is_given() && target.value != 0 && !(target.value.is_string() && target.is_empty()) {
            target.port_or_name(problems);
        }
        let node_port = port.at("nodePort");
        if node_port.value.as_i64().is_some_and(|number| number != 0) {
            if !matches!(kind.text(), "NodePort" | "LoadBalancer") {
                node_port.wrong("only a Service of type NodePort or LoadBalancer has one", problems);
            } else if !(30_000..=32_767).contains(&node_port.value.as_i64().unwrap_or(0)) {
                node_port.wrong("it must be from 30000 to 32767", problems);
            }
        }
    }
    spec.at("ports").unique("name", problems);
}

fn check_claim(spec: &Field<'_>, problems: &mut Problems) {
    let modes = spec.at("accessModes");
    modes.required(problems);
    for mode in modes.items() {
        mode.required_one_of(&["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"], problems);
    }
    let storage = spec.at("resources").at("requests").at("storage");
    match quantity(storage.value) {
        None if storage.is_given() => storage.wrong("expected a quantity, such as `1Gi`", problems),
        None => drop(storage.required(problems)),
        Some(size) if size <= 0.0 => storage.wrong("it must be more than nothing", problems),
        Some(_) => {}
    }
    spec.at("storageClassName").named(name::subdomain_problem, problems);
    spec.at("volumeMode").one_of(&["Block", "Filesystem"], problems);
    spec.at("selector").selector(problems);
}

fn check_workload(kind: &str, spec: &Field<'_>, problems: &mut Problems) {
    spec.at("replicas").at_least(0, problems);
    spec.at("minReadySeconds").at_least(0, problems);
    spec.at("revisionHistoryLimit").at_least(0, problems);
    let selector = spec.at("selector");
    selector.selector(problems);
    let labels = spec.at("template").at("metadata").at("labels");
    labels.labels(problems);
    if selector.at("matchLabels").is_empty() && selector.at("matchExpressions").is_empty() {
        selector.wrong("it is required, and must select something", problems);
    } else if !selects(&selector, labels.value) {
        labels.wrong("the selector does not match the labels of the template", problems);
    }
    let claims = spec.at("volumeClaimTemplates");
    let mut claim_names = Vec::new();
    if kind == "StatefulSet" {
        spec.at("serviceName").named(name::label_problem, problems);
        spec.at("podManagementPolicy").one_of(&["OrderedReady", "Parallel"], problems);
        for claim in claims.items() {
            let claim_name = claim.at("metadata").at("name");
            claim_name.required_as(name::label_problem, problems);
            claim_names.push(claim_name.text());
            check_claim(&claim.at("spec"), problems);
        }
    }
    let (strategy, words): (_, &[&str]) = match kind {
        "Deployment" => (spec.at("strategy"), &["Recreate", "RollingUpdate"]),
        _ => (spec.at("updateStrategy"), &["OnDelete", "RollingUpdate"]),
    };
    strategy.at("type").one_of(words, problems);
    let rolling = strategy.at("rollingUpdate");
    if strategy.at("type").text() == "Recreate" && rolling.is_given() {
        rolling.wrong("it may not be given with Recreate", problems);
    }
    rolling.at("maxSurge").count_or_percent(problems);
    rolling.at("maxUnavailable").count_or_percent(problems);
    pod::check(&spec.at("template").at("spec"), &["Always"], &claim_names, problems);
}

/// Whether a label selector takes an object with these labels.
fn selects(selector: &Field<'_>, labels: &Value) -> bool {
    let by_labels = selector.at("matchLabels").entries().all(|(key, value)| labels.get(key) == Some(value.value));
    by_labels
        && selector.at("matchExpressions").items().all(|expression| {
            let label = labels.get(expression.at("key").text());
            let listed =
                || label.is_some_and(|label| expression.at("values").items().any(|value| value.value == label));
            match expression.at("operator").text() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                _ => false,
            }
        })
}

fn check_job(spec: &Field<'_>, problems: &mut Problems) {
    for count in ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"] {
        spec.at(count).at_least(0, problems);
    }
    spec.at("completionMode").one_of(&["Indexed", "NonIndexed"], problems);
    spec.at("template").at("metadata").at("labels").labels(problems);
    pod::check(&spec.at("template").at("spec"), &["OnFailure", "Never"], &[], problems);
}

/// What is wrong with a cron schedule: five fields of numbers, ranges, steps and names, or a word such as `@hourly`.
fn schedule_problem(text: &str) -> Option<String> {
    let words = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    if words.contains(&text) || text.starts_with("@every ") {
        return None;
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
    let good = fields.len() == 5 && fields.iter().zip(bounds).all(|(field, bounds)| cron_field(field, bounds));
    (!good).then(|| "expected five fields, such as `*/5 * * * *`".to_owned())
}

fn cron_field(field: &str, (low, high): (u32, u32)) -> bool {
    const NAMES: [&str; 19] = [
        "sun", "mon", "tue", "wed", "thu", "fri", "sat", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep",
        "oct", "nov", "dec",
    ];
    let value = |text: &str| match text.parse::<u32>() {
        Ok(number) => (low..=high).contains(&number),
        Err(_) => high <= 12 && NAMES.contains(&text.to_lowercase().as_str()),
    };
    field.split(',').all(|part| {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let range_is_good = match range.split_once('-') {
            Some((from, to)) => value(from) && value(to),
            None => range == "*" || range == "?" || value(range),
        };
        range_is_good && step.is_none_or(|step| step.parse::<u32>().is_ok_and(|step| step > 0))
    })
}

fn check_autoscaler(version: &str, spec: &Field<'_>, problems: &mut Problems) {
    spec.at("minReplicas").at_least(0, problems);
    let least = spec.at("minReplicas").value.as_i64().unwrap_or(1);
    let most = spec.at("maxReplicas");
    match most.value.as_i64() {
        Some(count) if count >= 1 && count >= least => {}
        _ => most.wrong("it is required, at least 1, and not below `minReplicas`", problems),
    }
    let target = spec.at("scaleTargetRef");
    target.at("kind").required(problems);
    target.at("name").required(problems);
    if !target.at("apiVersion").text().contains('/') {
        target.at("apiVersion").wrong("it must name an API group", problems);
    }
    if version == "v1" {
        return;
    }
    let sources = [
        ("ContainerResource", "containerResource"),
        ("External", "external"),
        ("Object", "object"),
        ("Pods", "pods"),
        ("Resource", "resource"),
    ];
    for metric in spec.at("metrics").items() {
        let kind = metric.at("type");
        kind.required_one_of(&sources.map(|(kind, _)| kind), problems);
        for (_, field) in sources.iter().filter(|(named, _)| *named == kind.text()) {
            let source = metric.at(field);
            source.required(problems);
            if field.to_lowercase().ends_with("resource") {
                source.at("name").required(problems);
            } else {
                source.at("metric").at("name").required(problems);
            }
            let goal = source.at("target");
            goal.at("type").required_one_of(&["Utilization", "Value", "AverageValue"], problems);
            let given = ["averageUtilization", "value", "averageValue"].map(|field| goal.at(field));
            if given.iter().all(Field::is_empty) {
                goal.wrong("a value is required", problems);
            }
            given[0].at_least(1, problems);
        }
    }
}

fn check_ingress(spec: &Field<'_>, problems: &mut Problems) {
    if spec.at("rules").is_empty() && !spec.at("defaultBackend").is_given() {
        spec.wrong("`rules` or `defaultBackend` is required", problems);
    }
    if spec.at("ingressClassName").is_given() {
        spec.at("ingressClassName").required_as(name::subdomain_problem, problems);
    }
    let host_problem = |host: &str| name::subdomain_problem(host.strip_prefix("*.").unwrap_or(host));
    for rule in spec.at("rules").items() {
        rule.at("host").named(host_problem, problems);
        if !rule.at("http").is_given() {
            continue;
        }
        let paths = rule.at("http").at("paths");
        paths.required(problems);
        for path in paths.items() {
            let kind = path.at("pathType");
            kind.required_one_of(&["Exact", "Prefix", "ImplementationSpecific"], problems);
            let text = path.at("path").text();
            let must_be_absolute = kind.text() != "ImplementationSpecific" || !text.is_empty();
            if must_be_absolute && !text.starts_with('/') {
                path.at("path").wrong("it must begin with `/`", problems);
            }
            check_backend(&path.at("backend"), problems);
        }
    }
    if spec.at("defaultBackend").is_given() {
        check_backend(&spec.at("defaultBackend"), problems);
    }
    for tls in spec.at("tls").items() {
        for host in tls.at("hosts").items() {
            host.required_as(host_problem, problems);
        }
        tls.at("secretName").named(name::subdomain_problem, problems);
    }
}

fn check_backend(backend: &Field<'_>, problems: &mut Problems) {
    let (service, resource) = (backend.at("service"), backend.at("resource"));
    if service.is_given() == resource.is_given() {
        backend.wrong("expected either `service` or `resource`", problems);
    } else if service.is_given() {
        service.at("name").required_as(name::label_problem, problems);
        let (port, number, named) =
            (service.at("port"), service.at("port").at("number"), service.at("port").at("name"));
        let has_number = number.value.as_i64().is_some_and(|number| number != 0);
        if has_number != named.is_empty() {
            port.wrong("expected either `number` or `name`", problems);
        } else if has_number {
            number.port(problems);
        } else {
            named.named(port_name_problem, problems);
        }
    } else {
        resource.at("kind").required(problems);
        resource.at("name").required(problems);
    }
}

fn check_network_policy(spec: &Field<'_>, problems: &mut Problems) {
    spec.at("podSelector").selector(problems);
    for kind in spec.at("policyTypes").items() {
        kind.required_one_of(&["Ingress", "Egress"], problems);
    }
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.at(direction).items() {
            for port in rule.at("ports").items() {
                if port.at("protocol").is_given() {
                    port.at("protocol").required_one_of(&["TCP", "UDP", "SCTP"], problems);
                }
                if port.at("port").is_given() {
                    port.at("port").port_or_name(problems);
                }
            }
            for peer in rule.at(peers).items() {
                if peer.is_empty() {
                    peer.wrong("a peer must select something", problems);
                }
                let block = peer.at("ipBlock");
                if block.is_given() {
                    block.at("cidr").required(problems);
                    if peer.at("podSelector").is_given() || peer.at("namespaceSelector").is_given() {
                        peer.wrong("`ipBlock` may not stand beside a selector", problems);
                    }
                }
                peer.at("podSelector").selector(problems);
                peer.at("namespaceSelector").selector(problems);
            }
        }
    }
}

fn check_rules(object: &Field<'_>, for_cluster: bool, problems: &mut Problems) {
    for rule in object.at("rules").items() {
        rule.at("verbs").required(problems);
        let urls = rule.at("nonResourceURLs");
        if urls.is_empty() {
            rule.at("apiGroups").required(problems);
            rule.at("resources").required(problems);
        } else if !for_cluster {
            urls.wrong("a Role has none", problems);
        } else if !rule.at("apiGroups").is_empty() || !rule.at("resources").is_empty() {
            urls.wrong("they may not stand beside `resources`", problems);
        }
    }
}

fn check_binding(object: &Field<'_>, in_namespace: bool, problems: &mut Problems) {
    let role = object.at("roleRef");
    if !role.at("apiGroup").is_empty() && role.at("apiGroup").text() != RBAC {
        role.at("apiGroup").wrong(&format!("expected {RBAC}"), problems);
    }
    let kinds: &[&str] = if in_namespace { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    role.at("kind").required_one_of(kinds, problems);
    role.at("name").required(problems);
    for subject in object.at("subjects").items() {
        let kind = subject.at("kind");
        kind.required_one_of(&["Group", "ServiceAccount", "User"], problems);
        subject.at("name").required(problems);
        let group = subject.at("apiGroup");
        match kind.text() {
            "ServiceAccount" => {
                subject.at("name").named(name::subdomain_problem, problems);
                if !group.is_empty() {
                    group.wrong("a ServiceAccount has none", problems);
                }
                // A RoleBinding means its own namespace where none is given.
                if !in_namespace {
                    subject.at("namespace").required(problems);
                }
            }
            "User" | "Group" if !group.is_empty() && group.text() != RBAC => {
                group.wrong(&format!("expected {RBAC}"), problems);
            }
            _ => {}
        }
    }
}

fn controller_problem(text: &str) -> Option<String> {
    let good = text.len() <= 250
        && text.split_once('/').is_some_and(|(domain, path)| {
            name::subdomain_problem(domain).is_none()
                && !path.is_empty()
                && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:/".contains(&byte))
        });
    (!good).then(|| "expected a domain and a path, such as `example.com/ingress`".to_owned())
}

fn check_definition(key: &ObjectKey, spec: &Field<'_>, problems: &mut Problems) {
    let (group, plural) = (spec.at("group"), spec.at("names").at("plural"));
    group.required_as(name::subdomain_problem, problems);
    if !group.text().contains('.') {
        group.wrong("it must be a domain with at least one dot", problems);
    }
    plural.required_as(name::label_problem, problems);
    spec.at("names").at("kind").required(problems);
    if key.name != format!("{}.{}", plural.text(), group.text()) {
        problems.push(format!("`metadata.name` is `{}`: expected `{}.{}`", key.name, plural.text(), group.text()));
    }
    spec.at("scope").required_one_of(&["Cluster", "Namespaced"], problems);
    let versions = spec.at("versions");
    versions.required(problems);
    let stored = versions.items().filter(|version| version.at("storage").value == &Value::Bool(true)).count();
    if stored != 1 {
        versions.wrong("exactly one version must be the stored one", problems);
    }
    versions.unique("name", problems);
    for version in versions.items() {
        version.at("name").required_as(name::label_problem, problems);
        version.at("schema").at("openAPIV3Schema").required(problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_those_of_cron() {
        for good in ["* * * * *", "*/5 0-6 1,15 jan-mar MON", "@hourly", "0 0 ? * 6"] {
            assert_eq!(schedule_problem(good), None, "{good}");
        }
        for bad in ["", "often", "* * * *", "60 * * * *", "* * 0 * *", "*/0 * * * *", "* * * * 7"] {
            assert!(schedule_problem(bad).is_some(), "{bad}");
        }
    }
}
