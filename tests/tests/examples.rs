//! The examples do what they say: each is checked by `lifeline lint`, rendered by `lifeline render`, and played by a real
//! engine with its event and its end, on the local cluster and on a real API server; and the SDKs of three languages
//! publish to it.

use std::fs;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use lifeline_ops::servers::NatsServer;
use lifeline_tests::harness::Need::{ControlPlane, Nats, Sdk as SdkOf};
use lifeline_tests::harness::{
    Failure, Lifeline, Need, Outcome, Producer, Scene, Sdk, User, eventually, examples, run, story,
};
use serde_json::Value;

/// An example: its folder, its rules, the subject of NATS, and the objects that its first event makes.
struct Example {
    folder: &'static str,
    rules: &'static [&'static str],
    nats_subject: &'static str,
    objects: &'static [&'static str],
}

const EXAMPLES: [Example; 6] = [
    Example {
        folder: "login",
        rules: &["rules", "more/tera.yaml"],
        nats_subject: "user-operation",
        objects: &["ConfigMap/mgianluc/greeting", "Namespace/mgianluc"],
    },
    Example {
        folder: "tenant-onboarding",
        rules: &["rules.yaml"],
        nats_subject: "tenants",
        objects: &[
            "Namespace/tenant-acme",
            "NetworkPolicy/tenant-acme/own-pods-only",
            "ResourceQuota/tenant-acme/plan",
            "RoleBinding/tenant-acme/owners",
        ],
    },
    Example {
        folder: "preview-environment",
        rules: &["rules.yaml"],
        nats_subject: "ci.pull-requests",
        objects: &[
            "Deployment/preview-417/shop",
            "Ingress/preview-417/shop",
            "Namespace/preview-417",
            "Service/preview-417/shop",
        ],
    },
    Example {
        folder: "feature-flag",
        rules: &["rules.yaml"],
        nats_subject: "flags",
        objects: &["ConfigMap/default/flag-new-checkout"],
    },
    Example {
        folder: "customer-secret",
        rules: &["rules.yaml"],
        nats_subject: "customers",
        objects: &["Secret/default/customer-blue"],
    },
    Example {
        folder: "upload-job",
        rules: &["rules.yaml"],
        nats_subject: "uploads",
        objects: &["Job/default/import-9eabd8157ec2"],
    },
];

const SOON: Duration = Duration::from_secs(60);
const LABEL: &str = "env=production";

fn main() -> ExitCode {
    let on_kubernetes: &[Need] = &[Nats, ControlPlane];
    run(vec![
        story("every_folder_of_examples_is_tried_here", &[], async |_| folders()),
        story("lint_has_nothing_to_say_of_an_example", &[], async |_| lint()),
        story("render_shows_the_objects_of_an_example_and_its_end", &[], async |_| render()),
        story("examples_come_and_go_on_a_local_cluster", &[Nats], async |scene| play(scene, false).await),
        story("examples_come_and_go_on_an_api_server", on_kubernetes, async |scene| play(scene, true).await),
        story("adopt_takes_over_what_is_there_already", on_kubernetes, adopt),
        story("the_go_sdk_publishes_to_an_engine", &[Nats, SdkOf(Sdk::Go)], async |scene| {
            publish(scene, Sdk::Go).await
        }),
        story("the_javascript_sdk_publishes_to_an_engine", &[Nats, SdkOf(Sdk::JavaScript)], async |scene| {
            publish(scene, Sdk::JavaScript).await
        }),
        story("the_python_sdk_publishes_to_an_engine", &[Nats, SdkOf(Sdk::Python)], async |scene| {
            publish(scene, Sdk::Python).await
        }),
    ])
}

impl Example {
    fn path(&self, name: &str) -> String {
        examples().join(self.folder).join(name).to_string_lossy().into_owned()
    }

    fn rules(&self) -> Vec<String> {
        self.rules.iter().map(|name| self.path(name)).collect()
    }

    fn event(&self, name: &str) -> Result<String, Failure> {
        Ok(fs::read_to_string(self.path(name))?)
    }
}

fn folders() -> Outcome {
    let mut there = Vec::new();
    for entry in fs::read_dir(examples())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && name != "publish" {
            there.push(name);
        }
    }
    there.sort();
    let mut tried: Vec<&str> = EXAMPLES.iter().map(|example| example.folder).collect();
    tried.sort_unstable();
    assert_eq!(there, tried);
    for sdk in Sdk::ALL {
        let (file, line) = sdk.pin();
        let text = fs::read_to_string(examples().join("publish").join(sdk.name()).join(file))?;
        assert!(text.contains(line), "{file} of {} does not pin `{line}`: `harness/sdk.rs` has to follow", sdk.name());
    }
    Ok(())
}

fn lint() -> Outcome {
    for example in &EXAMPLES {
        let rules = example.rules();
        let rules = rules.iter().map(String::as_str);
        let arguments: Vec<&str> = ["lint", "--strict", "--cluster-label", LABEL].into_iter().chain(rules).collect();
        let said = Lifeline::command(&arguments)?;
        assert!(said.trim_end().ends_with("nothing to say"), "{}: {said}", example.folder);
    }
    Ok(())
}

fn render() -> Outcome {
    for example in &EXAMPLES {
        for (event, action) in [("begin.json", "Create"), ("end.json", "Delete")] {
            let (rules, event) = (example.rules(), example.path(event));
            let rules = rules.iter().flat_map(|path| ["-f", path.as_str()]);
            let rest = ["--event", &event, "--cluster-label", LABEL, "-o", "json"];
            let arguments: Vec<&str> = std::iter::once("render").chain(rules).chain(rest).collect();
            let rendered: Value = serde_json::from_str(&Lifeline::command(&arguments)?)?;
            let triggers = rendered["triggers"].as_array().ok_or("no triggers")?;
            let mut objects = Vec::new();
            for trigger in triggers {
                let decision = trigger["decision"].as_str().unwrap_or_default();
                assert!(decision.starts_with(action), "{}: {trigger}", example.folder);
                let manifests = trigger["manifests"].as_array().into_iter().flatten();
                objects.extend(manifests.map(|one| short(&one["manifest"])));
            }
            objects.sort();
            let expected = if action == "Create" { example.objects } else { &[] };
            assert_eq!(objects, expected, "{}", example.folder);
        }
    }
    Ok(())
}

fn short(manifest: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, metadata) = (text(&manifest["kind"]), &manifest["metadata"]);
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{kind}/{namespace}/{}", text(&metadata["name"])),
        None => format!("{kind}/{}", text(&metadata["name"])),
    }
}

/// One engine with the rules of all examples.
fn engine(scene: &Scene, nats: &NatsServer, on_kubernetes: bool) -> Result<Lifeline, Failure> {
    let rules: Vec<String> = EXAMPLES.iter().flat_map(Example::rules).collect();
    let subjects: Vec<&str> = EXAMPLES.iter().map(|example| example.nats_subject).collect();
    let (url, subjects) = (nats.url(), subjects.join(","));
    let mut arguments = vec!["--nats", &url, "--subjects", &subjects, "--cluster-label", LABEL];
    arguments.extend(rules.iter().flat_map(|path| ["--rules", path.as_str()]));
    let kubeconfig = on_kubernetes.then(|| scene.control_plane().kubeconfig(User::Admin));
    let kubeconfig = kubeconfig.map(|path| path.to_string_lossy().into_owned());
    if let Some(kubeconfig) = &kubeconfig {
        arguments.extend(["--cluster", "kube", "--kubeconfig", kubeconfig]);
    }
    let mut lifeline = scene.lifeline("engine", &arguments)?;
    lifeline.wait_until_ready()?;
    Ok(lifeline)
}

async fn play(scene: &Scene, on_kubernetes: bool) -> Outcome {
    let nats = scene.nats("nats")?;
    let lifeline = engine(scene, &nats, on_kubernetes)?;
    assert_eq!(lifeline.status()?["problems"], serde_json::json!([]));
    for (event, is_there) in [("begin.json", true), ("end.json", false)] {
        for example in &EXAMPLES {
            let producer = Producer::connect(&nats, example.nats_subject).await?;
            producer.publish(example.event(event)?).await?;
        }
        let mut expected: Vec<&str> = EXAMPLES.iter().flat_map(|example| example.objects).copied().collect();
        expected.sort_unstable();
        if !is_there {
            expected.clear();
        }
        eventually(&format!("what comes of each {event}"), SOON, async || {
            let rows = lifeline.ask(&["get", "objects"]).map_err(|failure| failure.to_string())?;
            let mut objects: Vec<String> = rows["items"].as_array().into_iter().flatten().map(object).collect();
            objects.sort();
            if objects == expected { Ok(()) } else { Err(rows.to_string()) }
        })
        .await?;
        lifeline.has_settled().await?;
        let rows = lifeline.ask(&["get", "lifecycles"])?;
        let phase = if is_there { "Ready" } else { "Gone" };
        for row in rows["items"].as_array().into_iter().flatten() {
            assert_eq!(row["phase"], phase, "{row}");
        }
    }
    Ok(())
}

/// A row of `lifeline get objects` that is there, as `Kind/namespace/name`.
fn object(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().map(str::to_owned);
    let (kind, name) = (text("kind").unwrap_or_default(), text("name").unwrap_or_default());
    text("namespace").map_or_else(|| format!("{kind}/{name}"), |namespace| format!("{kind}/{namespace}/{name}"))
}

/// `more/adopt.yaml` in the place of the trigger: a Namespace of somebody else is taken over under its uid.
async fn adopt(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let kubernetes = lifeline_tests::harness::Kubernetes::of(scene.control_plane()).await?;
    let folder = examples().join("login");
    let read = |name: &str| fs::read_to_string(folder.join(name));
    let parts = [read("rules/eventsource.yaml")?, read("rules/namespace.yaml")?, read("rules/eventtrigger.yaml")?];
    let mut lifeline = scene.engine("engine", scene.control_plane(), &nats, "user-operation", &parts.join("---\n"))?;
    lifeline.wait_until_ready()?;
    kubernetes.apply("{apiVersion: v1, kind: Namespace, metadata: {name: adopted}}").await?;
    let uid = kubernetes.has_namespace("adopted").await?.metadata.uid;
    let producer = Producer::connect(&nats, "user-operation").await?;
    producer.publish(read("begin.json")?.replace("mgianluc", "adopted")).await?;
    let conflict = async |is_conflict: bool| {
        eventually("the lifecycle", SOON, async || {
            let rows = lifeline.ask(&["get", "lifecycles"]).map_err(|failure| failure.to_string())?;
            let is_ready = rows["items"][0]["phase"] == "Ready";
            if rows["items"][0].is_object() && is_ready != is_conflict { Ok(()) } else { Err(rows.to_string()) }
        })
        .await
    };
    conflict(true).await?;
    let parts = [read("rules/eventsource.yaml")?, read("rules/namespace.yaml")?, read("more/adopt.yaml")?];
    scene.write("engine/rules/rules.yaml", &parts.join("---\n"))?;
    conflict(false).await?;
    let namespace = kubernetes.has_namespace("adopted").await?;
    assert_eq!(namespace.metadata.uid, uid, "it is the same one");
    Ok(())
}

async fn publish(scene: &Scene, sdk: Sdk) -> Outcome {
    let nats = scene.nats("nats")?;
    let mut lifeline = engine(scene, &nats, false)?;
    let folder = scene.folder().join("publish");
    copy(&examples().join("publish").join(sdk.name()), &folder)?;
    for (kind, expected) in [("login", true), ("logout", false)] {
        let mut command = sdk.publisher()?;
        command.args([&format!("auth.example.com.{kind}"), "zoe"]).current_dir(&folder);
        let output = command.env("NATS_URL", nats.url()).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let mistakes = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.starts_with("stored as LIFELINE "), "{said}{mistakes}");
        eventually(&format!("what comes of the {kind}"), SOON, async || {
            let rows = lifeline.ask(&["get", "objects"]).map_err(|failure| failure.to_string())?;
            let objects: Vec<String> = rows["items"].as_array().into_iter().flatten().map(object).collect();
            if objects.contains(&"Namespace/zoe".to_owned()) == expected { Ok(()) } else { Err(rows.to_string()) }
        })
        .await?;
    }
    lifeline.stop();
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
