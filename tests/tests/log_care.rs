//! A damaged log, from the first flipped bit to a sound one again, with the real program and a real nats-server.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use async_nats::HeaderMap;
use lifeline_tests::harness::Need::Nats;
use lifeline_tests::harness::{Failure, Lifeline, Outcome, Scene, eventually, run, story};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: { name: users }
spec:
  messagingMatchCriteria:
    - subject: users
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: { name: manage }
spec:
  sourceClusterSelector: {}
  eventSourceName: users
  oneForEvent: true
  cloudEventAction: "{{if eq .CloudEvent.type `login`}}Create{{else}}Delete{{end}}"
  policyRefs:
    - { kind: ConfigMap, namespace: default, name: namespace }
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: namespace
  namespace: default
  annotations: { projectsveltos.io/instantiate: ok }
data:
  namespace.yaml: |
    apiVersion: v1
    kind: Namespace
    metadata: { name: "{{ .CloudEvent.subject }}" }
"#;

fn main() -> ExitCode {
    run(vec![
        story("a_damaged_event_is_found_refused_and_brought_back_from_the_stream", &[Nats], brought_back),
        story("a_log_is_not_repaired_from_the_wrong_server", &[Nats], wrong_server),
    ])
}

/// An engine that recorded five users, one of them in binary mode, and was stopped; its folder.
async fn recorded(scene: &Scene, url: &str) -> Result<Lifeline, Failure> {
    let rules = scene.folder().join("rules.yaml");
    fs::write(&rules, RULES)?;
    let arguments = ["--nats", url, "--subjects", "users", "--rules", &rules.display().to_string()];
    let mut lifeline = scene.lifeline("engine", &arguments)?;
    lifeline.wait_until_ready()?;
    let client = async_nats::connect(url).await?;
    for user in ["ann", "bob", "eve", "mia"] {
        let event = format!(
            r#"{{"specversion":"1.0","type":"login","source":"auth","id":"1","subject":"{user}","data":{{}}}}"#
        );
        client.publish("users", event.into()).await?;
    }
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("ce-specversion", "1.0"), ("ce-type", "login"), ("ce-source", "auth"), ("ce-id", "2"), ("ce-subject", "zoe")]
    {
        headers.insert(name, value);
    }
    client.publish_with_headers("users", headers, "binary mode".into()).await?;
    client.flush().await?;
    eventually("five namespaces", SOON, async || {
        let objects = lifeline.ask(&["get", "objects"]).map_err(|error| error.to_string())?;
        let count = objects["items"].as_array().map_or(0, Vec::len);
        if count == 5 { Ok(()) } else { Err(format!("{count} objects")) }
    })
    .await?;
    assert_eq!(lifeline.stop(), Some(0));
    Ok(lifeline)
}

/// Flips a bit of the first record that holds `needle`, through the file system.
fn flip(data: &Path, needle: &str) -> Outcome {
    let segment = data.join("log").join(format!("{:020}.segment", 0));
    let mut bytes = fs::read(&segment)?;
    let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).ok_or("not in the log")?;
    bytes[at] ^= 4;
    fs::write(&segment, bytes)?;
    Ok(())
}

fn lifeline(arguments: &[&str], data: &Path) -> Result<Output, Failure> {
    Ok(Command::new(Lifeline::program()?).args(arguments).arg("--data").arg(data).output()?)
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

async fn brought_back(scene: &Scene) -> Outcome {
    let server = scene.nats("nats")?;
    let mut engine = recorded(scene, &server.url()).await?;
    let data = engine.data();

    let sound = lifeline(&["verify"], &data)?;
    assert!(sound.status.success() && told(&sound).contains("state   sound: the checkpoint at"), "{}", told(&sound));
    let info: Value = serde_json::from_slice(&lifeline(&["log", "info", "-o", "json"], &data)?.stdout)?;
    assert_eq!((&info["clean_stop"], info["segments"].as_array().map(Vec::len)), (&true.into(), Some(1)), "{info}");

    // One event in structured mode, one in binary mode, and an outcome.
    for needle in [r#""subject":"eve""#, "binary mode"] {
        flip(&data, needle)?;
    }
    let damaged = lifeline(&["verify", "-o", "json"], &data)?;
    assert_eq!(damaged.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&damaged.stdout)?;
    assert_eq!(found["damage"].as_array().map(Vec::len), Some(2), "{found}");
    assert_eq!(found["refuses"], Value::Null, "the checkpoint holds what is damaged: {found}");

    // Without its checkpoint the engine needs them, says so, and does not start.
    let aside = data.with_extension("projection");
    fs::rename(data.join("projection"), &aside)?;
    engine.restart()?;
    let (code, said) = engine.wait_until_ended(SOON)?;
    assert_eq!(code, Some(1), "{said}");
    for part in ["`00000000000000000000.segment` is damaged at ", "hint: `lifeline verify --data DIR`"] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    fs::remove_dir_all(data.join("projection"))?;
    fs::rename(&aside, data.join("projection"))?;

    let url = server.url();
    let repair = ["log", "repair", "--from-stream", "--nats", &url, "--subjects", "users", "-o", "json"];
    let repaired = lifeline(&repair, &data)?;
    assert!(repaired.status.success(), "{}", told(&repaired));
    let report: Value = serde_json::from_slice(&repaired.stdout)?;
    let outcomes: Vec<&Value> = report["records"].as_array().into_iter().flatten().map(|it| &it["outcome"]).collect();
    assert_eq!(outcomes, ["proven", "proven"], "{report}");

    // Byte for byte what it was: the state that the checkpoint remembers.
    let sound = lifeline(&["verify"], &data)?;
    assert!(sound.status.success() && told(&sound).contains("state   sound"), "{}", told(&sound));
    let nothing = lifeline(&repair[..7], &data)?;
    assert!(told(&nothing).contains("nothing to repair"), "{}", told(&nothing));

    // An outcome is in no stream: it is lost, said to be, and observed again.
    flip(&data, "Namespace\u{0}")?;
    let lost = lifeline(&repair, &data)?;
    let report: Value = serde_json::from_slice(&lost.stdout)?;
    assert_eq!(report["records"][0]["outcome"], "lost", "{report}");
    fs::remove_dir_all(data.join("projection"))?;
    engine.restart()?;
    engine.wait_until_ready()?;
    eventually("five namespaces again", SOON, async || {
        let objects = engine.ask(&["get", "objects"]).map_err(|error| error.to_string())?;
        let count = objects["items"].as_array().map_or(0, Vec::len);
        if count == 5 { Ok(()) } else { Err(format!("{count} objects")) }
    })
    .await?;
    Ok(())
}

async fn wrong_server(scene: &Scene) -> Outcome {
    let (server, other) = (scene.nats("nats")?, scene.nats("other")?);
    let data = recorded(scene, &server.url()).await?.data();
    flip(&data, r#""subject":"eve""#)?;
    let before = fs::read(data.join("log").join(format!("{:020}.segment", 0)))?;
    let refused = lifeline(&["log", "repair", "--from-stream", "--nats", &other.url(), "--subjects", "users"], &data)?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(told(&refused).contains("which does not exist at"), "{}", told(&refused));
    // The space reserved behind the last record may change when a log is opened; what was recorded may not.
    let after = fs::read(data.join("log").join(format!("{:020}.segment", 0)))?;
    let used = before.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    assert!(after.len() >= used && after[..used] == before[..used], "nothing was changed");
    Ok(())
}
