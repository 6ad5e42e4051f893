//! What a pod must satisfy, wherever its specification is: in a Pod, a Deployment, a Job.
//!
//! Start at [`check`].

use super::field::{Field, Problems, port_name_problem};
use super::name;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];

/// Checks a pod's specification; `restart` says which restart policies its owner takes, `claims` names the volumes the
/// owner adds to those of the pod.
pub(super) fn check(spec: &Field<'_>, restart: &[&str], claims: &[&str], problems: &mut Problems) {
    let volumes = spec.at("volumes");
    let mut mountable: Vec<&str> = claims.to_vec();
    volumes.unique("name", problems);
    for volume in volumes.items() {
        check_volume(&volume, problems);
        mountable.push(volume.at("name").text());
    }
    let containers = spec.at("containers");
    containers.required(problems);
    let all: Vec<Field<'_>> = containers.items().chain(spec.at("initContainers").items()).collect();
    let mut names: Vec<&str> = Vec::new();
    for container in &all {
        check_container(container, &mountable, problems);
        let name = container.at("name");
        if !name.is_empty() && names.contains(&name.text()) {
            name.wrong("it is given twice", problems);
        }
        names.push(name.text());
    }
    let policy = spec.at("restartPolicy");
    policy.one_of(RESTART_POLICIES, problems);
    // A missing policy means Always, which not every owner takes.
    if RESTART_POLICIES.contains(&policy.text()) || policy.is_empty() {
        let meant = if policy.is_empty() { "Always" } else { policy.text() };
        if !restart.contains(&meant) {
            policy.wrong(&format!("expected {} here", restart.join(" or ")), problems);
        }
    }
    spec.at("dnsPolicy").one_of(&["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"], problems);
    spec.at("terminationGracePeriodSeconds").at_least(0, problems);
    spec.at("activeDeadlineSeconds").at_least(1, problems);
    spec.at("nodeSelector").labels(problems);
    spec.at("hostname").named(name::label_problem, problems);
    spec.at("serviceAccountName").named(name::subdomain_problem, problems);
    spec.at("priorityClassName").named(name::subdomain_problem, problems);
}

fn check_container(container: &Field<'_>, mountable: &[&str], problems: &mut Problems) {
    container.at("name").required_as(name::label_problem, problems);
    let image = container.at("image");
    if image.required(problems) && image.text().trim() != image.text() {
        image.wrong("it begins or ends with a space", problems);
    }
    container.at("imagePullPolicy").one_of(&["Always", "IfNotPresent", "Never"], problems);
    for variable in container.at("env").items() {
        check_variable(&variable, problems);
    }
    for from in container.at("envFrom").items() {
        if exactly_one(&from, &["configMapRef", "secretRef"], problems) {
            for source in ["configMapRef", "secretRef"].map(|source| from.at(source)) {
                if source.is_given() {
                    source.at("name").required_as(name::subdomain_problem, problems);
                }
            }
        }
    }
    for port in container.at("ports").items() {
        port.at("containerPort").port(problems);
        port.at("name").named(port_name_problem, problems);
        port.at("protocol").one_of(&["TCP", "UDP", "SCTP"], problems);
        let host_port = port.at("hostPort");
        if host_port.value.as_i64().is_some_and(|number| number != 0) {
            host_port.port(problems);
        }
    }
    for mount in container.at("volumeMounts").items() {
        let name = mount.at("name");
        if name.required(problems) && !mountable.contains(&name.text()) {
            name.wrong("there is no volume of this name", problems);
        }
        mount.at("mountPath").required(problems);
    }
    container.at("volumeMounts").unique("mountPath", problems);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| container.at(probe)) {
        if probe.is_given() {
            check_handler(&probe, &["exec", "httpGet", "tcpSocket", "grpc"], problems);
            for number in
                ["initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold"]
            {
                probe.at(number).at_least(0, problems);
            }
        }
    }
    for hook in ["postStart", "preStop"].map(|hook| container.at("lifecycle").at(hook)) {
        if hook.is_given() {
            check_handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], problems);
        }
    }
    let resources = container.at("resources");
    let limits = resources.at("limits").quantities(problems);
    for (resource, size) in resources.at("requests").quantities(problems) {
        if limits.iter().any(|(limited, limit)| *limited == resource && size > *limit) {
            resources.at("requests").at(resource).wrong("it is more than the limit", problems);
        }
    }
}

fn check_variable(variable: &Field<'_>, problems: &mut Problems) {
    let name = variable.at("name");
    if name.required(problems) && !name.text().bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        name.wrong("it may only hold printable ASCII without `=`", problems);
    }
    let from = variable.at("valueFrom");
    if !from.is_given() {
        return;
    }
    if !variable.at("value").is_empty() {
        from.wrong("it may not stand beside `value`", problems);
    }
    if !exactly_one(&from, &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"], problems)
    {
        return;
    }
    for source in ["configMapKeyRef", "secretKeyRef"].map(|source| from.at(source)) {
        if source.is_given() {
            source.at("key").required_as(name::data_key_problem, problems);
            source.at("name").required_as(name::subdomain_problem, problems);
        }
    }
    if from.at("fieldRef").is_given() {
        from.at("fieldRef").at("fieldPath").required(problems);
    }
    if from.at("resourceFieldRef").is_given() {
        from.at("resourceFieldRef").at("resource").required(problems);
    }
}

fn check_handler(handler: &Field<'_>, kinds: &[&str], problems: &mut Problems) {
    if !exactly_one(handler, kinds, problems) {
        return;
    }
    let get = handler.at("httpGet");
    if get.is_given() {
        get.at("port").port_or_name(problems);
        get.at("scheme").one_of(&["HTTP", "HTTPS"], problems);
    }
    if handler.at("tcpSocket").is_given() {
        handler.at("tcpSocket").at("port").port_or_name(problems);
    }
    if handler.at("exec").is_given() {
        handler.at("exec").at("command").required(problems);
    }
}

fn check_volume(volume: &Field<'_>, problems: &mut Problems) {
    volume.at("name").required_as(name::label_problem, problems);
    let sources: Vec<&str> = volume.entries().map(|(field, _)| field).filter(|field| *field != "name").collect();
    if sources.len() > 1 {
        volume.wrong("it may have one source only", problems);
    }
    for (source, named) in [("configMap", "name"), ("secret", "secretName")] {
        let source = volume.at(source);
        if source.is_given() {
            source.at(named).required(problems);
            for item in source.at("items").items() {
                item.at("key").required(problems);
                item.at("path").required_as(inside_problem, problems);
            }
        }
    }
    if volume.at("persistentVolumeClaim").is_given() {
        volume.at("persistentVolumeClaim").at("claimName").required(problems);
    }
    if volume.at("hostPath").is_given() {
        volume.at("hostPath").at("path").required(problems);
    }
}

/// What is wrong with a path that must stay inside a volume.
fn inside_problem(path: &str) -> Option<String> {
    let leaves = path.starts_with('/') || path.split('/').any(|part| part == "..");
    leaves.then(|| "it must be relative and without `..`".to_owned())
}

/// True where exactly one of the fields is given; else says so.
fn exactly_one(field: &Field<'_>, names: &[&str], problems: &mut Problems) -> bool {
    let given = names.iter().filter(|name| field.at(name).is_given()).count();
    if given != 1 {
        field.wrong(&format!("expected exactly one of {}", names.join(", ")), problems);
    }
    given == 1
}
