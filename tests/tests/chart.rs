//! The Helm chart: what it renders, what it refuses, and that a real API server takes all of it. Its roles are in `rights.rs`.
//!
//! What is rendered is committed: `tests/chart/*.golden.yaml` for each file of values in `ops/chart/ci`, and
//! `ops/manifests/lifeline.yaml` for those who use no Helm. `LIFELINE_WRITE_GENERATED=1` writes them again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use lifeline_tests::harness::Need::{ControlPlane as ApiServer, Helm as HelmProgram, Node as RealNode, Promtool};
use lifeline_tests::harness::{
    Failure, Helm, Kubernetes, Lifeline, Outcome, Scene, documents, lifeline_image, run, story,
};
use serde_json::{Value, json};

const END_TO_END: &str = include_str!("../../engine/tests/seed/3-end-to-end.yaml");
const METRICS: &str = include_str!("../../ops/src/api/metrics.rs");
const METRICS_BY_TRIGGER: &str = include_str!("../../ops/src/api/metrics/by_trigger.rs");
const DASHBOARD: &str = include_str!("../../ops/chart/files/dashboard.json");

/// What the chart cannot check, for the kinds are those of the Prometheus operator.
const FOREIGN: &str = "monitoring.coreos.com/v1";

const NAMESPACE: &str = "projectsveltos";

fn main() -> ExitCode {
    run(vec![
        story("the_definitions_and_the_version_of_the_chart_are_those_of_the_program", &[], same_as_the_program),
        story("the_readme_of_the_chart_lists_its_values", &[], values_in_readme),
        story("the_chart_is_without_fault_for_every_file_of_values", &[HelmProgram], lint),
        story("what_the_chart_cannot_run_is_refused_with_the_reason", &[HelmProgram], refused),
        story("what_the_chart_renders_is_what_is_committed", &[HelmProgram], golden),
        story("the_api_server_takes_every_object_of_the_chart", &[HelmProgram, ApiServer], dry_run),
        story("the_plain_manifests_can_be_applied_as_they_are", &[ApiServer], manifests),
        story("the_release_is_the_same_twice_and_small_and_confined", &[RealNode], release),
        story("every_alert_and_panel_asks_for_metrics_that_exist", &[HelmProgram, Promtool], metrics),
    ])
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of values, by name: `default`, `everything`.
fn value_sets() -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut sets = Vec::new();
    for entry in fs::read_dir(Helm::chart().join("ci"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sets.push((name.trim_end_matches("-values.yaml").to_owned(), path));
    }
    assert!(sets.len() >= 3, "{sets:?}");
    sets.sort();
    Ok(sets)
}

async fn same_as_the_program(_scene: &Scene) -> Outcome {
    let definitions = root().join("ops/crds");
    let mut names = Vec::new();
    for entry in fs::read_dir(&definitions)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_owned();
        let copy = fs::read_to_string(Helm::chart().join("files/crds").join(&name))?;
        assert_eq!(copy, fs::read_to_string(&path)?, "hint: cp ops/crds/*.yaml ops/chart/files/crds/");
        names.push(name);
    }
    assert_eq!(fs::read_dir(Helm::chart().join("files/crds"))?.count(), names.len(), "{names:?}");

    let chart: Value = serde_saphyr::from_str(&fs::read_to_string(Helm::chart().join("Chart.yaml"))?)?;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((chart["version"].as_str(), chart["appVersion"].as_str()), (Some(version), Some(version)));
    let said = Lifeline::command(&["--version"])?;
    assert!(said.starts_with(&format!("lifeline {version}")), "{said}");
    Ok(())
}

async fn values_in_readme(_scene: &Scene) -> Outcome {
    let values = fs::read_to_string(Helm::chart().join("values.yaml"))?;
    let rows = described(&values);
    assert!(rows.len() > 60, "{} values", rows.len());
    let table: String = rows.iter().map(|(key, default, text)| format!("| `{key}` | {default} | {text} |\n")).collect();
    let path = Helm::chart().join("README.md");
    let readme = fs::read_to_string(&path)?;
    let (head, _) = readme.split_once("## Values\n").ok_or("a README without the heading `Values`")?;
    compare(&path, &format!("{head}## Values\n\n| key | default | meaning |\n|---|---|---|\n{table}"))
}

/// The values that a comment beginning with `# --` describes: key, default, and the comment.
fn described(values: &str) -> Vec<(String, String, String)> {
    let (mut rows, mut path, mut comment) = (Vec::new(), Vec::<(usize, String)>::new(), None::<String>);
    for line in values.lines() {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim_start();
        if let Some(begun) = text.strip_prefix("# -- ") {
            comment = Some(begun.to_owned());
        } else if let (Some(more), Some(comment)) = (text.strip_prefix("# "), &mut comment) {
            comment.push(' ');
            comment.push_str(more.trim_start());
        } else if let (false, Some((key, value))) = (text.starts_with(['#', '-']), text.split_once(':')) {
            path.retain(|(depth, _)| *depth < indent);
            path.push((indent, key.to_owned()));
            if let Some(comment) = comment.take() {
                let key: Vec<&str> = path.iter().map(|(_, key)| key.as_str()).collect();
                let value =
                    if value.trim().is_empty() { "see values.yaml".to_owned() } else { format!("`{}`", value.trim()) };
                // What follows a sentence as YAML is for those who read the file.
                let sentence = comment.split(" rules: - apiGroups").next().unwrap_or_default().replace('|', "\\|");
                rows.push((key.join("."), value, sentence));
            }
        } else if text.is_empty() {
            comment = None;
        }
    }
    rows
}

async fn lint(scene: &Scene) -> Outcome {
    let helm = scene.helm()?;
    for (_, values) in value_sets()? {
        helm.lint(&values)?;
    }
    Ok(())
}

async fn refused(scene: &Scene) -> Outcome {
    let helm = scene.helm()?;
    let check = |values: &str, expected: &str| match helm.template(values) {
        Ok(_) => panic!("`{values}` is rendered"),
        Err(failure) => assert!(failure.to_string().contains(expected), "`{values}`: {failure}"),
    };
    check("replicas: 2", "at '/replicas': maximum");
    check("replica: 1", "'replica' not allowed");
    check("engine: {consumers: x}", "'consumers' not allowed");
    check("engine: {consumer: a.b}", "at '/engine/consumer'");
    check("nats: {url: 'nats://a', secret: {name: b}}", "hint: put the URL into the Secret");
    check("nats: {subjects: [a]}", "hint: the Secret names its subjects itself");
    check("auth: {kind: token}", "hint: `kubectl create secret");
    check("auth: {tokenSecret: {name: a}}", "hint: say `auth.kind: token`");
    check("auth: {kind: everybody}", "at '/auth/kind'");
    check("terminationGracePeriodSeconds: 5", "minimum");
    check("persistence: {accessMode: ReadWriteMany}", "at '/persistence/accessMode'");
    Ok(())
}

async fn golden(scene: &Scene) -> Outcome {
    let helm = scene.helm()?;
    for (name, values) in value_sets()? {
        let rendered = helm.template(&fs::read_to_string(values)?)?;
        compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("chart").join(format!("{name}.golden.yaml")), &rendered)?;
    }
    let rendered = helm.template("tests: {enabled: false}")?;
    let head = "# Lifeline as plain manifests, rendered from ops/chart with its default values by the tests.\n\
                #   kubectl apply --server-side -f ops/manifests/lifeline.yaml\n\
                # The engine may not touch any object yet: bind what your triggers need, as in ops/chart/README.md.\n\
                apiVersion: v1\nkind: Namespace\nmetadata:\n  name: projectsveltos\n";
    // Helm has no part in these.
    let lines = rendered.lines().filter(|line| !line.contains("managed-by: Helm") && !line.contains("helm.sh/"));
    // The annotation that keeps the definitions was the only one.
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let text = text.replace("  annotations:\n  labels:", "  labels:");
    compare(&root().join("ops/manifests/lifeline.yaml"), &format!("{head}{text}"))
}

fn compare(path: &Path, text: &str) -> Outcome {
    if std::env::var_os("LIFELINE_WRITE_GENERATED").is_some() {
        fs::write(path, text)?;
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    let differing = committed.lines().zip(text.lines()).position(|(left, right)| left != right);
    assert!(
        committed == text,
        "`{}` is not what the chart renders, from line {:?} on\nhint: run this test once with LIFELINE_WRITE_GENERATED=1, \
         and look at the difference",
        path.display(),
        differing.map(|line| line + 1)
    );
    Ok(())
}

async fn dry_run(scene: &Scene) -> Outcome {
    let helm = scene.helm()?;
    let control_plane = scene.fresh_control_plane()?;
    let kubernetes = Kubernetes::of(&control_plane).await?;
    // Pods here must keep the strictest rules that Kubernetes has.
    let enforced = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": enforced}});
    kubernetes.apply(&namespace.to_string()).await?;
    // Those of service accounts which one set of values lets the engine act as.
    for name in ["eng", "ops"] {
        let of_account = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        kubernetes.apply(&of_account.to_string()).await?;
    }
    let mut kinds = BTreeSet::new();
    for (name, values) in value_sets()? {
        let rendered = helm.template(&fs::read_to_string(values)?)?;
        for document in documents(&rendered) {
            let manifest: Value = serde_saphyr::from_str(document)?;
            if manifest["apiVersion"] == FOREIGN {
                continue;
            }
            try_out(&kubernetes, &manifest).await.map_err(|failure| format!("{name}: {failure}:\n{document}"))?;
            kinds.insert(manifest["kind"].as_str().unwrap_or_default().to_owned());
            if manifest["kind"] == "StatefulSet" {
                let pod = pod_of(&manifest);
                try_out(&kubernetes, &pod).await.map_err(|failure| format!("{name}: {failure}:\n{pod:#}"))?;
            }
        }
    }
    for kind in ["StatefulSet", "NetworkPolicy", "PodDisruptionBudget", "CustomResourceDefinition", "Pod", "Role"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    Ok(())
}

/// The pod that a StatefulSet makes.
fn pod_of(stateful_set: &Value) -> Value {
    let mut pod = stateful_set["spec"]["template"].clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = "lifeline-0".into();
    pod["metadata"]["namespace"] = NAMESPACE.into();
    if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
        volumes.push(json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-lifeline-0"}}));
    }
    pod
}

/// A server-side apply that changes nothing.
async fn try_out(kubernetes: &Kubernetes, manifest: &Value) -> Outcome {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
    let kind = GroupVersionKind::gvk(group, version, text("/kind"));
    let (resource, capabilities) = kube::discovery::pinned_kind(&kubernetes.client(), &kind).await?;
    let api: Api<DynamicObject> = match capabilities.scope {
        kube::core::discovery::Scope::Cluster => Api::all_with(kubernetes.client(), &resource),
        kube::core::discovery::Scope::Namespaced => {
            Api::namespaced_with(kubernetes.client(), text("/metadata/namespace"), &resource)
        }
    };
    let parameters =
        PatchParams { dry_run: true, ..PatchParams::apply("chart").validation(kube::api::ValidationDirective::Strict) };
    api.patch(text("/metadata/name"), &parameters, &Patch::Apply(manifest)).await?;
    Ok(())
}

async fn manifests(scene: &Scene) -> Outcome {
    let control_plane = scene.fresh_control_plane()?;
    let kubernetes = Kubernetes::of(&control_plane).await?;
    // From a cluster that has nothing, in the order of the file.
    let text = fs::read_to_string(root().join("ops/manifests/lifeline.yaml"))?;
    for document in documents(&text) {
        let manifest: Value = serde_saphyr::from_str(document)?;
        kubernetes.apply(&manifest.to_string()).await.map_err(|failure| format!("{failure}:\n{document}"))?;
    }
    kubernetes.apply(END_TO_END).await
}

/// What is handed out, of the program of these tests.
async fn release(scene: &Scene) -> Outcome {
    let build = |name: &str| -> Result<(PathBuf, String), Failure> {
        let folder = scene.folder().join(name);
        lifeline_image(&folder)?;
        let sums = fs::read_to_string(folder.join("SHA256SUMS"))?;
        // Helm writes the time of packing into the chart's archive.
        let sums = sums.lines().filter(|line| !line.ends_with(".tgz")).map(|line| format!("{line}\n")).collect();
        Ok((folder, sums))
    };
    let (folder, first) = build("first")?;
    let (_, second) = build("second")?;
    assert_eq!(first, second);
    assert_eq!(first.lines().count(), 3, "the archive, the symbols, the image: {first}");

    let list = |arguments: &[&str], file: &Path| -> Result<String, Failure> {
        let output = Command::new("tar").args(arguments).arg(file).stdin(Stdio::null()).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let name = |end: &str| -> Result<PathBuf, Failure> {
        let mut entries = fs::read_dir(&folder)?.filter_map(Result::ok).map(|entry| entry.path());
        Ok(entries.find(|path| path.to_string_lossy().ends_with(end)).ok_or_else(|| format!("no {end}"))?)
    };
    let archive = list(&["-tzf"], &name(".tar.gz")?)?;
    for file in [
        "/lifeline\n",
        "/LICENSE\n",
        "/lifeline.cdx.json\n",
        "/THIRD-PARTY-LICENSES\n",
        "/manifests/lifeline.yaml\n",
        "/completions/lifeline.bash\n",
    ] {
        assert!(archive.contains(file), "`{file}` is missing in:\n{archive}");
    }
    let image = name("-image.tar")?;
    let manifest: Value = serde_json::from_str(&list(&["-xO", "manifest.json", "-f"], &image)?)?;
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let within = |file: &str| scene.folder().join(file);
    list(&["-C", &scene.folder().to_string_lossy(), "-xf"], &image)?;
    let config: Value = serde_json::from_str(&fs::read_to_string(within(&text("/0/Config")))?)?;
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/lifeline"]));
    let files = list(&["-tvf"], &within(&text("/0/Layers/0")))?;
    let licences = "usr/share/licenses/lifeline";
    for file in [
        &format!("{licences}/LICENSE"),
        &format!("{licences}/THIRD-PARTY-LICENSES"),
        "etc/ssl/certs/ca-certificates.crt",
        "lifeline",
    ] {
        assert!(files.lines().any(|line| line.ends_with(&format!(" {file}"))), "`{file}` is missing in:\n{files}");
    }
    let writable: Vec<&str> =
        files.lines().filter(|line| line.as_bytes()[5] == b'w' || line.as_bytes()[8] == b'w').collect();
    assert!(writable.is_empty(), "files that more than root may write: {writable:?}");
    assert!(!files.contains("bin/sh"), "{files}");

    // What the image says that it is made of: every package of Cargo.lock that the program links, and no path of this machine.
    let said = list(&["-xO", "usr/share/sbom/lifeline.cdx.json", "-f"], &within(&text("/0/Layers/0")))?;
    let bill: Value = serde_json::from_str(&said)?;
    let components = bill["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has =
        |name: &str| components.iter().any(|one| one["name"] == name && one["licenses"][0]["expression"].is_string());
    assert_eq!((bill["bomFormat"].as_str(), bill["specVersion"].as_str()), (Some("CycloneDX"), Some("1.5")));
    assert!(components.len() > 200 && has("sled") && has("tokio") && !has("libtest-mimic"), "{}", components.len());
    assert!(bill["serialNumber"].is_null() && !said.contains(&root().canonicalize()?.to_string_lossy()[..]), "{said}");
    let texts = list(&["-xO", &format!("{licences}/THIRD-PARTY-LICENSES"), "-f"], &within(&text("/0/Layers/0")))?;
    assert!(texts.contains("MIT License") && texts.lines().any(|line| line.contains("tokio-1.")), "{}", texts.len());
    Ok(())
}

async fn metrics(scene: &Scene) -> Outcome {
    let rendered = scene.helm()?.template("prometheusRule: {enabled: true}\nserviceMonitor: {enabled: true}")?;
    let rule: Value = {
        let document = documents(&rendered).into_iter().find(|document| document.contains("kind: PrometheusRule"));
        serde_saphyr::from_str(document.ok_or("no PrometheusRule")?)?
    };
    // JSON is YAML.
    let file = scene.write("rules.json", &rule["spec"].to_string())?;
    let checked = Command::new("promtool").args(["check", "rules"]).arg(&file).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    let alerts = rule["spec"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
    assert!(checked.status.success() && said.contains(&format!("{} rules found", alerts.len())), "{said}");

    let mut expressions: Vec<String> =
        alerts.iter().map(|alert| alert["expr"].as_str().unwrap_or_default().to_owned()).collect();
    let dashboard: Value = serde_json::from_str(DASHBOARD)?;
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap_or_default();
            let plain = expression.replace("[$__rate_interval]", "[5m]").replace("$namespace", "n");
            let rule = json!({"groups": [{"name": "g", "rules": [{"record": "a:b", "expr": plain}]}]});
            let file = scene.write("panel.json", &rule.to_string())?;
            let checked = Command::new("promtool").args(["check", "rules"]).arg(&file).output()?;
            assert!(checked.status.success(), "{expression}: {}", String::from_utf8_lossy(&checked.stderr));
            expressions.push(plain);
        }
    }
    assert!(alerts.len() >= 14 && expressions.len() > 35, "{} alerts, {}", alerts.len(), expressions.len());
    for expression in &expressions {
        let names: Vec<&str> = expression
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .filter(|word| word.starts_with("lifeline_"))
            .collect();
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            let name = format!("\"{}\"", name.strip_suffix("_bucket").unwrap_or(name));
            let is_there = METRICS.contains(&name) || METRICS_BY_TRIGGER.contains(&name);
            assert!(is_there, "no metric `{name}`, which `{expression}` asks for");
        }
    }
    Ok(())
}
