//! Random histories against a real API server: redeliveries, SIGKILLs, a stranger who edits and deletes, rules that are
//! revised and renamed. In the end each object is as after a straight run of the same events under the rules that are in force
//! in the end, and what nobody took has kept its uid.
//!
//! The seeds are printed. `LIFELINE_HISTORIES=N` plays so many, `LIFELINE_HISTORY_SEED=N` from this one on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use lifeline_store::Random;
use lifeline_tests::harness::Need::{ControlPlane, Nats};
use lifeline_tests::harness::{Event, Failure, Kubernetes, Lifeline, Outcome, Producer, Scene, eventually, run, story};
use serde_json::json;

const SUBJECT: &str = "history-operation";
const SUBJECTS: [&str; 4] = ["ann", "bob", "cid", "dan"];
const SOON: Duration = Duration::from_secs(60);

/// Histories of a test run.
const HISTORIES: u64 = 20;

/// No other history is begun after this long.
const BEGUN_WITHIN: Duration = Duration::from_secs(100);

/// What happens in each of the two parts of a history: so many things, and up to as many more.
const ACTIONS: u64 = 5;

/// NAME, NAMESPACE and REVISION are replaced.
const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: history}
spec:
  messagingMatchCriteria:
  - subject: history-operation
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: NAME}
spec:
  eventSourceName: history
  oneForEvent: true
  syncMode: ContinuousWithDriftDetection
  cloudEventAction: '{{if eq .CloudEvent.type "auth.example.com.logout"}}Delete{{else}}Create{{end}}'
  policyRefs:
  - {name: history, namespace: default, kind: ConfigMap}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: history
  namespace: default
  annotations: {projectsveltos.io/instantiate: ok}
data:
  map.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "{{ .CloudEvent.subject }}", namespace: "NAMESPACE"}
    data: {version: "{{ .CloudEvent.data.version }}", revision: "REVISION"}
"#;

fn main() -> ExitCode {
    run(vec![story("random_histories_end_as_a_straight_run_does", &[Nats, ControlPlane], histories)])
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

async fn histories(scene: &Scene) -> Outcome {
    let first = number("LIFELINE_HISTORY_SEED", 1);
    let client = Kubernetes::of(scene.control_plane()).await?.client();
    let all_began = Instant::now();
    for seed in first..first + number("LIFELINE_HISTORIES", HISTORIES) {
        let began = Instant::now();
        if all_began.elapsed() > BEGUN_WITHIN {
            println!("histories: seed {seed} and those after it are left out, for this machine is busy");
            break;
        }
        let mut history = History::begin(scene, client.clone(), seed).await?;
        let outcome = history.play(scene).await;
        println!("histories: seed {seed}, {:?}: {}", began.elapsed(), history.told.join(", "));
        outcome.map_err(|failure| format!("seed {seed}: {failure}\n{}", history.told.join("\n")))?;
    }
    Ok(())
}

/// The rules at a moment.
#[derive(Debug, Clone, Copy)]
struct Version {
    name: u32,
    revision: u32,
}

impl Version {
    fn text(self, namespace: &str) -> String {
        RULES
            .replace("NAMESPACE", namespace)
            .replace("NAME", &format!("history-{}", self.name))
            .replace("REVISION", &self.revision.to_string())
    }
}

struct History {
    random: Random,
    namespace: String,
    lifeline: Lifeline,
    producer: Producer,
    maps: Api<ConfigMap>,
    client: Client,
    events: Vec<Event>,
    rules: Version,
    /// Subjects whose object somebody deleted, or an event did, since the uids were noted.
    taken: BTreeSet<&'static str>,
    told: Vec<String>,
    _nats: lifeline_ops::servers::NatsServer,
}

impl History {
    async fn begin(scene: &Scene, client: Client, seed: u64) -> Result<Self, Failure> {
        let namespace = format!("history-{seed}");
        let nats = scene.nats(&format!("nats-{seed}"))?;
        let rules = Version { name: 0, revision: 0 };
        let text = rules.text(&namespace);
        let mut lifeline = scene.engine(&format!("engine-{seed}"), scene.control_plane(), &nats, SUBJECT, &text)?;
        lifeline.wait_until_ready()?;
        Ok(Self {
            random: Random::new(seed),
            lifeline,
            producer: Producer::connect(&nats, SUBJECT).await?,
            maps: Api::namespaced(client.clone(), &namespace),
            namespace,
            client,
            events: Vec::new(),
            rules,
            taken: BTreeSet::new(),
            told: Vec::new(),
            _nats: nats,
        })
    }

    async fn play(&mut self, scene: &Scene) -> Outcome {
        for _ in 0..ACTIONS + self.random.below(ACTIONS) {
            self.happens().await?;
        }
        self.settles().await?;
        let before = objects(&self.maps).await?;
        self.taken.clear();
        self.told.push("-".to_owned());
        for _ in 0..ACTIONS + self.random.below(ACTIONS) {
            self.happens().await?;
        }
        self.settles().await?;

        // The same events in their order, under the last rules, with nothing in between.
        let straight = format!("{}-straight", self.namespace);
        let nats = scene.nats(&format!("nats-{straight}"))?;
        let text = self.rules.text(&straight);
        let mut engine = scene.engine(&format!("engine-{straight}"), scene.control_plane(), &nats, SUBJECT, &text)?;
        engine.wait_until_ready()?;
        Producer::connect(&nats, SUBJECT).await?.publish_all(self.events.clone()).await?;
        engine.has_recorded(self.events.len() as u64).await?;
        engine.has_settled().await?;
        let wanted = objects(&Api::namespaced(self.client.clone(), &straight)).await?;
        let data = |objects: &BTreeMap<String, Object>| {
            objects.iter().map(|(name, object)| (name.clone(), object.data.clone())).collect::<BTreeMap<_, _>>()
        };
        let wanted = data(&wanted);
        // What a stranger did last is put back within a second.
        let found = eventually("the objects of a straight run", SOON, async || {
            let found = objects(&self.maps).await.map_err(|failure| failure.to_string())?;
            if data(&found) == wanted { Ok(found) } else { Err(format!("{found:?}, wanted {wanted:?}")) }
        })
        .await?;
        for (name, object) in &before {
            let Some(now) = found.get(name) else { continue };
            if !self.taken.contains(name.as_str()) && now.uid != object.uid {
                return Err(format!("`{name}` has another uid, and nobody took it").into());
            }
        }
        Ok(())
    }

    async fn settles(&mut self) -> Outcome {
        self.lifeline.wait_until_ready()?;
        self.lifeline.has_recorded(self.events.len() as u64).await?;
        self.lifeline.has_settled().await?;
        // Rules that changed are replayed, and what they withdraw waits until others could claim it.
        let name = format!("history-{}", self.rules.name);
        eventually("the last rules to have decided", SOON, async || {
            let rows =
                self.lifeline.ask(&["get", "lifecycles", "--gone=false"]).map_err(|failure| failure.to_string())?;
            let rows = rows["items"].as_array().cloned().unwrap_or_default();
            let status = self.lifeline.status().map_err(|failure| failure.to_string())?;
            let is_over = status["replays"] == json!([]) && status["open"] == 0;
            let is_last = rows.iter().all(|row| row["trigger"] == name.as_str() && row["phase"] == "Ready");
            if is_over && is_last { Ok(()) } else { Err(format!("{rows:?}")) }
        })
        .await
    }

    async fn happens(&mut self) -> Outcome {
        let subject = SUBJECTS[self.random.below(SUBJECTS.len() as u64) as usize];
        match self.random.below(12) {
            0..=3 => {
                let version = self.events.len().to_string();
                let event = Event::user("login", subject).data(json!({ "version": version }));
                self.publish("login", subject, event).await
            }
            4 | 5 => {
                self.taken.insert(subject);
                let event = Event::user("logout", subject).data(json!({"version": "none"}));
                self.publish("logout", subject, event).await
            }
            6 => match self.events.last().cloned() {
                // The same event once more, as a producer does who does not know whether it came through.
                Some(event) => self.publish("again", "", event).await,
                None => Ok(()),
            },
            7 | 8 => {
                self.told.push("SIGKILL".to_owned());
                tokio::time::sleep(Duration::from_millis(self.random.below(60))).await;
                self.lifeline.restart()
            }
            9 => {
                self.told.push(format!("a stranger edits {subject}"));
                let edit = json!({"data": {"version": "theirs"}});
                ignore_missing(self.maps.patch(subject, &PatchParams::default(), &Patch::Merge(&edit)).await.map(drop))
            }
            10 => {
                self.told.push(format!("a stranger deletes {subject}"));
                self.taken.insert(subject);
                ignore_missing(self.maps.delete(subject, &DeleteParams::default()).await.map(drop))
            }
            _ => {
                match self.random.below(2) == 0 {
                    true => self.rules.name += 1,
                    false => self.rules.revision += 1,
                }
                self.told.push(format!("{:?}", self.rules));
                let folder = self.lifeline.data();
                let folder = folder.parent().ok_or("the data folder has no parent")?.join("rules");
                fs::write(folder.join("next"), self.rules.text(&self.namespace))?;
                fs::rename(folder.join("next"), folder.join("rules.yaml"))?;
                Ok(())
            }
        }
    }

    async fn publish(&mut self, what: &str, subject: &str, event: Event) -> Outcome {
        self.told.push(format!("{what} {subject}"));
        self.producer.publish(event.clone()).await?;
        self.events.push(event);
        Ok(())
    }
}

/// An object as it is compared.
#[derive(Debug, Clone, PartialEq)]
struct Object {
    uid: String,
    data: BTreeMap<String, String>,
}

async fn objects(maps: &Api<ConfigMap>) -> Result<BTreeMap<String, Object>, Failure> {
    let list = maps.list(&ListParams::default().labels("lifeline.dev/lifecycle")).await?.items;
    let object = |map: ConfigMap| {
        let object = Object { uid: map.metadata.uid?, data: map.data.unwrap_or_default() };
        Some((map.metadata.name?, object))
    };
    Ok(list.into_iter().filter_map(object).collect())
}

fn ignore_missing(outcome: kube::Result<()>) -> Outcome {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other?),
    }
}
