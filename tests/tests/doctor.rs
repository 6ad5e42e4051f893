//! The doctor against real servers with faults, and settings that change while an engine runs.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use lifeline_ops::servers::NatsAccess;
use lifeline_tests::harness::Need::{ControlPlane, Mounts, Nats};
use lifeline_tests::harness::{
    Failure, Kubernetes, Lifeline, Mount, Outcome, Scene, User, eventually, run, story, visits,
};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// The seed and the public key that the documentation of NATS uses, and the seed of another user.
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
const OTHER_SEED: &str = "SUANQDPB2RUOE4ETUA26CNX7FUKE5ZZKFCQIIW63OX225F2CO7UEXTM7ZY";

static RULES: LazyLock<String> = LazyLock::new(|| {
    visits(
        r#"apiVersion: v1
kind: Namespace
metadata:
  name: {{ .CloudEvent.subject }}
---
apiVersion: example.com/v1
kind: Missing
metadata:
  name: {{ .CloudEvent.subject }}"#,
    )
});

fn main() -> ExitCode {
    run(vec![
        story("the_doctor_finds_what_is_wrong_with_nats_and_changes_nothing", &[Nats], nats),
        story("the_doctor_finds_a_disk_without_room", &[Mounts], disk),
        story("the_doctor_finds_certificates_that_expired", &[Nats], certificates),
        story("the_doctor_finds_missing_rights_and_old_definitions", &[ControlPlane], kubernetes),
        story("a_key_that_changes_lets_a_running_engine_in", &[Nats], key),
        story("an_authority_that_changes_lets_a_running_engine_trust", &[Nats], authority),
        story("a_secret_that_changes_lets_a_running_engine_in", &[Nats, ControlPlane], secret),
    ])
}

/// What the doctor says with these arguments, and its exit code.
fn doctor(arguments: &[&str]) -> Result<(Vec<Value>, i32), Failure> {
    let mut command = Command::new(Lifeline::program()?);
    command.env_clear().args(["doctor", "-o", "json"]).args(arguments).stdin(Stdio::null());
    if !arguments.contains(&"--listen") {
        // Others may have the usual port while these tests run.
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let output = command.output()?;
    let said: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((said.as_array().cloned().unwrap_or_default(), output.status.code().unwrap_or(-1)))
}

/// The verdict of a check, and everything that was said of it.
fn verdict<'a>(found: &'a [Value], check: &str) -> (&'a str, String) {
    let finding = found.iter().find(|finding| finding["check"].as_str().is_some_and(|name| name.contains(check)));
    let finding = finding.unwrap_or_else(|| panic!("no check `{check}` in {found:#?}"));
    (finding["verdict"].as_str().unwrap_or_default(), format!("{} {}", finding["found"], finding["remedy"]))
}

#[track_caller]
fn check(found: &[Value], name: &str, expected: &str, text: &str) {
    let (verdict, said) = verdict(found, name);
    assert_eq!((verdict, said.contains(text)), (expected, true), "{name}: {said}\n{found:#?}");
}

async fn nats(scene: &Scene) -> Outcome {
    let server = scene.nats_with("nats", NatsAccess::Token("right".to_owned()), "")?;
    let data = scene.folder().join("data");
    let (data, right) = (data.to_string_lossy(), format!("nats://right@{}", server.address()));
    let wrong = format!("nats://wr0ng@{}", server.address());

    let (found, code) = doctor(&["--data", &data, "--nats", &wrong])?;
    check(&found, "nats server", "failed", "refused the token");
    assert!(code == 1 && !json!(found).to_string().contains("wr0ng"), "{code}");

    let client = async_nats::ConnectOptions::with_token("right".to_owned()).connect(server.url()).await?;
    let context = async_nats::jetstream::new(client.clone());
    let config = async_nats::jetstream::stream::Config {
        name: "S".into(),
        subjects: vec!["visits".into()],
        ..Default::default()
    };
    context.create_stream(config).await?;
    let consumer = json!({"stream_name": "S", "config": {"durable_name": "lifeline", "ack_policy": "all",
        "filter_subject": "visits", "pause_until": "2100-01-01T00:00:00Z"}});
    let made = client.request("$JS.API.CONSUMER.DURABLE.CREATE.S.lifeline", consumer.to_string().into()).await?;
    assert!(!String::from_utf8_lossy(&made.payload).contains("error"), "{made:?}");
    let before = client.request("$JS.API.CONSUMER.LIST.S", "".into()).await?;

    let arguments = ["--data", &data, "--nats", &right, "--subjects", "visits"];
    let (found, code) = doctor(&arguments)?;
    check(&found, "nats server", "ok", "nats-server");
    check(&found, "consumer lifeline of S", "failed", "is paused");
    check(&found, "stream S: durability", "warning", "single replica");
    check(&found, "stream S: deletion", "warning", "deny_purge");
    check(&found, "clock of nats", "ok", "agrees");
    check(&found, "nats sync", "skipped", "system account");
    assert_eq!(code, 1);

    // Nothing was made and nothing was changed, neither there nor here.
    let after = client.request("$JS.API.CONSUMER.LIST.S", "".into()).await?;
    let without_time = |payload: &[u8]| -> Result<Value, Failure> {
        let mut list: Value = serde_json::from_slice(payload)?;
        for consumer in list["consumers"].as_array_mut().into_iter().flatten() {
            for name in ["ts", "pause_remaining"] {
                consumer.as_object_mut().map(|consumer| consumer.remove(name));
            }
        }
        Ok(list)
    };
    assert_eq!(without_time(&before.payload)?, without_time(&after.payload)?);
    assert!(!Path::new(&*data).exists(), "the data folder was made");

    // Where somebody else listens, with a folder that is not of Lifeline.
    let strangers = scene.write("strangers/passwd", "")?;
    let strangers = strangers.parent().ok_or("no folder")?.to_string_lossy().into_owned();
    let taken = server.address().to_string();
    let elsewhere = ["--data", &strangers, "--nats", &right, "--listen", &taken];
    let (found, code) = doctor(&elsewhere)?;
    check(&found, "listen address", "failed", "another address by `--listen`");
    check(&found, "data folder", "warning", "what is not of Lifeline: `passwd`");
    assert_eq!(code, 1);
    let (_, said) = Lifeline::exit_of(&[&["doctor"], &elsewhere[..]].concat())?;
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains(" checks: ") && last.contains("First, listen address: stop what listens there"), "{said}");

    let resumed = client.request("$JS.API.CONSUMER.PAUSE.S.lifeline", "{}".into()).await?;
    assert!(!String::from_utf8_lossy(&resumed.payload).contains("error"), "{resumed:?}");
    let (found, code) = doctor(&arguments)?;
    // The stream has this subject alone, so an engine would ask for all of it.
    check(&found, "consumer lifeline of S", "warning", "delivers visits, wanted is everything");
    assert_eq!(code, 0, "warnings are no failures");
    Ok(())
}

async fn disk(scene: &Scene) -> Outcome {
    let folder = scene.folder().join("small");
    let _mount = Mount::new(&folder, "size=1m")?;
    let (found, code) = doctor(&["--data", &folder.to_string_lossy(), "--nats", "nats://127.0.0.1:1"])?;
    check(&found, "disk space", "failed", "256 MiB");
    check(&found, "disk sync", "ok", "ms");
    // Full to the last byte.
    let _ = fs::write(folder.join("fill"), vec![0_u8; 2 << 20]);
    let (found, _) = doctor(&["--data", &folder.to_string_lossy(), "--nats", "nats://127.0.0.1:1"])?;
    check(&found, "disk sync", "failed", "nothing can be written");
    check(&found, "nats server", "failed", "cannot be reached");
    assert_eq!((code, fs::read_dir(&folder)?.count()), (1, 1), "only what the test wrote is there");
    Ok(())
}

/// A certificate for 127.0.0.1 that is its own authority, and its key, in files.
fn certificate(scene: &Scene, name: &str, from: i32, to: i32) -> Result<[String; 2], Failure> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    (parameters.not_before, parameters.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    let certificate = scene.write(&format!("{name}.crt"), &parameters.self_signed(&key)?.pem())?;
    let key = scene.write(&format!("{name}.key"), &key.serialize_pem())?;
    Ok([certificate, key].map(|path| path.to_string_lossy().into_owned()))
}

async fn certificates(scene: &Scene) -> Outcome {
    let [expired, expired_key] = certificate(scene, "expired", 2020, 2021)?;
    let data = scene.folder().join("data");
    let data = data.to_string_lossy();
    let server = scene.nats("plain")?;
    let url = server.url();
    let arguments = ["--data", &data, "--nats", &url, "--nats-cert", &expired, "--nats-key", &expired_key];
    let (found, code) = doctor(&arguments)?;
    check(&found, "nats client certificate", "failed", "expired at 2021-01-01");
    assert_eq!(code, 1);

    let tls = format!("tls {{ cert_file: {expired:?}, key_file: {expired_key:?} }}");
    let server = scene.nats_with("tls", NatsAccess::Anybody, &tls)?;
    let url = format!("tls://{}", server.address());
    let (found, _) = doctor(&["--data", &data, "--nats", &url, "--nats-ca", &expired])?;
    check(&found, "nats authority", "failed", "expired at 2021-01-01");
    check(&found, "nats server", "failed", "TLS with NATS");
    Ok(())
}

/// Our definitions, or such as an earlier release had.
fn definitions(is_old: bool) -> Result<String, Failure> {
    let mut documents = Vec::new();
    for document in Lifeline::command(&["crds"])?.split("---\n").filter(|text| !text.trim().is_empty()) {
        let mut definition: Value = serde_saphyr::from_str(document)?;
        if is_old {
            let status = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
            status["properties"].as_object_mut().map(|fields| fields.remove("conditions"));
        }
        documents.push(serde_json::to_string(&definition)?);
    }
    Ok(documents.join("\n---\n"))
}

async fn kubernetes(scene: &Scene) -> Outcome {
    let control_plane = scene.fresh_control_plane()?;
    let rules = scene.write("rules.yaml", &RULES)?;
    let data = scene.folder().join("data");
    let (data, rules) = (data.to_string_lossy(), rules.to_string_lossy());
    let look = |user: User, more: &[&str]| {
        let kubeconfig = control_plane.kubeconfig(user);
        let kubeconfig = kubeconfig.to_string_lossy();
        let arguments =
            ["--data", &data, "--cluster", "kube", "--kubeconfig", &kubeconfig, "--nats", "nats://127.0.0.1:1"];
        doctor(&[&arguments[..], more].concat())
    };
    let (found, _) = look(User::Admin, &[])?;
    check(&found, "kubernetes", "ok", "valid until");
    check(&found, "definition of EventTrigger", "failed", "lifeline crds");

    let cluster = Kubernetes::of(&control_plane).await?;
    cluster.apply(&definitions(true)?).await?;
    let says = async |verdict: &str, text: &str| {
        eventually("the definitions to be described", SOON, async || {
            let (found, _) = look(User::Admin, &[]).map_err(|failure| failure.to_string())?;
            let (told, said) = self::verdict(&found, "definition of EventTrigger");
            if told == verdict && said.contains(text) { Ok(()) } else { Err(format!("{told}: {said}")) }
        })
        .await
    };
    says("warning", "`status.conditions`").await?;
    cluster.apply(&definitions(false)?).await?;
    says("ok", "fields of this release").await?;

    let before = control_plane.writes()?;
    let (found, code) = look(User::Engine, &["--rules", &rules])?;
    check(&found, "right to Namespace", "failed", "may not get, create, patch, delete");
    check(&found, "right to Namespace", "failed", "resources: [namespaces]");
    check(&found, "right to Missing", "failed", "does not know `Missing` of `example.com/v1`");
    check(&found, "clock of kubernetes", "ok", "agrees");
    assert_eq!(code, 1);
    let (found, _) = look(User::Engine, &[])?;
    check(&found, "right to eventtriggers", "failed", "may not list, watch");
    let (found, _) = look(User::Admin, &["--rules", &rules])?;
    check(&found, "right to Namespace", "ok", "may get, create, patch, delete");
    // Reviews are answered and not kept; everything else is a read.
    let written: Vec<String> =
        control_plane.writes()?.into_iter().skip(before.len()).map(|write| write.resource).collect();
    let foreign = written
        .iter()
        .filter(|resource| ["namespaces", "missings", "eventsources", "eventtriggers"].contains(&resource.as_str()));
    assert_eq!(foreign.count(), 0, "{written:?}");
    Ok(())
}

async fn key(scene: &Scene) -> Outcome {
    let server = scene.nats_with(
        "nats",
        NatsAccess::Anybody,
        &format!("authorization {{ users: [ {{ nkey: {PUBLIC} }} ] }}"),
    )?;
    let file = scene.write("user.nk", OTHER_SEED)?;
    let rules = scene.write("rules/rules.yaml", RULES.split("    ---\n").next().unwrap_or_default())?;
    let settings = format!(
        "nats = {:?}\nnats_nkey = {:?}\nsubjects = [\"visits\"]\nrules = [{:?}]\n",
        server.url(),
        file.to_string_lossy(),
        rules.to_string_lossy()
    );
    let settings = scene.write("lifeline.toml", &settings)?;
    let mut lifeline = Lifeline::run(&scene.folder().join("engine"), &["--config", &settings.to_string_lossy()])?;
    lifeline.has_said("authorization violation for the NKey").await?;
    fs::write(&file, SEED)?;
    lifeline.has_said("connected to").await?;
    lifeline.wait_until_ready()?;
    let client = async_nats::ConnectOptions::with_nkey(SEED.to_owned()).connect(server.url()).await?;
    let event = json!({"specversion": "1.0", "id": "1", "type": "t", "source": "s", "subject": "keyed"});
    async_nats::jetstream::new(client).publish("visits", event.to_string().into()).await?.await?;
    lifeline.has_recorded(1).await?;
    // A rule that changes takes effect as well.
    fs::write(
        &rules,
        RULES.split("    ---\n").next().unwrap_or_default().replace("- subject: visits", "- subject: other"),
    )?;
    lifeline.has_said("rules in force: 1 EventSource, 1 EventTrigger").await?;
    Ok(())
}

async fn authority(scene: &Scene) -> Outcome {
    let [own, own_key] = certificate(scene, "own", 2020, 2090)?;
    let [strange, _] = certificate(scene, "strange", 2020, 2090)?;
    let tls = format!("tls {{ cert_file: {own:?}, key_file: {own_key:?} }}");
    let server = scene.nats_with("nats", NatsAccess::Anybody, &tls)?;
    let file = scene.write("ca.crt", &fs::read_to_string(strange)?)?;
    let (url, file_name) = (format!("tls://{}", server.address()), file.to_string_lossy());
    let arguments = ["--nats", &url, "--nats-ca", &file_name];
    let lifeline = Lifeline::run(&scene.folder().join("engine"), &arguments)?;
    lifeline.has_said("waiting for NATS").await?;
    fs::write(&file, fs::read_to_string(own)?)?;
    lifeline.has_said("connection settings changed").await?;
    lifeline.has_said("connected to").await?;
    Ok(())
}

async fn secret(scene: &Scene) -> Outcome {
    let server = scene.nats_with("nats", NatsAccess::Token("right".to_owned()), "")?;
    let control_plane = scene.control_plane();
    let cluster = Kubernetes::of(control_plane).await?;
    cluster
        .apply(&format!(
            "{}\n---\n{}",
            definitions(false)?,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "projectsveltos"}})
        ))
        .await?;
    let put = async |authorization: Value| {
        let settings = json!({"nats": {"configuration": {"url": server.url(), "subjects": ["visits"], "authorization": authorization}}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "projectsveltos", "name": "sveltos-nats"},
            "stringData": {"sveltos-nats": settings.to_string()}});
        cluster.apply(&secret.to_string()).await
    };
    put(json!({"token": "wr0ng"})).await?;
    let kubeconfig = control_plane.kubeconfig(User::Admin);
    let arguments = ["--cluster", "kube", "--kubeconfig", &kubeconfig.to_string_lossy()];
    let mut lifeline = Lifeline::run(&scene.folder().join("engine"), &arguments)?;
    lifeline.has_said("authorization violation for the token").await?;
    put(json!({"token": "right"})).await?;
    lifeline.has_said("connected to").await?;
    lifeline.wait_until_ready()?;
    // A mistake that might mean somebody else keeps what is in use.
    put(json!({"token": "right", "jwtt": "x"})).await?;
    let said = lifeline.has_said("those in use are kept").await?;
    assert!(said.contains("authorization.jwtt` is no field") && !said.contains("wr0ng"), "{said}");
    lifeline.wait_until_ready()?;
    Ok(())
}
