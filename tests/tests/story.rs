//! The seed's story, with the seed's manifests as they are written: a user logs in and a Namespace exists; whatever
//! happens in between it is one and the same Namespace; the user logs out and it is gone.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::Namespace;
use lifeline_ops::servers::{NatsAccess, NatsServer};
use lifeline_store::Random;
use lifeline_tests::harness::Need::{ControlPlane as ApiServer, Nats};
use lifeline_tests::harness::{
    ControlPlane, Event, Failure, Happened, Kubernetes, Lifeline, Outcome, Producer, Scene, User, eventually, run,
    story,
};
use serde_json::{Value, json};

const USER_LOGIN: &str = include_str!("../../engine/tests/seed/1-user-login.yaml");
const LOGIN_AND_LOGOUT: &str = include_str!("../../engine/tests/seed/2-login-and-logout.yaml");
const END_TO_END: &str = include_str!("../../engine/tests/seed/3-end-to-end.yaml");

const SOON: Duration = Duration::from_secs(30);

/// How often the engine dies in the story of its deaths.
const DEATHS: u32 = 12;

fn main() -> ExitCode {
    run(vec![
        story("the_seeds_first_example_makes_a_namespace_at_login", &[Nats, ApiServer], first_example),
        story(
            "the_seeds_second_example_makes_a_namespace_at_login_and_removes_it_at_logout",
            &[Nats, ApiServer],
            second_example,
        ),
        story("the_seeds_whole_story_from_secret_to_logout_and_back", &[Nats, ApiServer], whole_story),
        story("a_namespace_survives_redelivery_and_every_death_of_the_engine", &[Nats, ApiServer], deaths),
        story(
            "rules_and_settings_in_the_cluster_may_come_and_go_while_the_engine_runs",
            &[Nats, ApiServer],
            coming_and_going,
        ),
        story("the_story_is_the_same_with_rules_from_a_folder", &[Nats, ApiServer], rules_from_a_folder),
    ])
}

/// A cluster with the seed's rules and connection Secret, a NATS server with a password, and the engine between them.
struct Stage {
    // Dropped first: an engine without its servers would only complain.
    lifeline: Lifeline,
    producer: Producer,
    kubernetes: Kubernetes,
    control_plane: ControlPlane,
    _nats: NatsServer,
}

impl Stage {
    async fn set(scene: &Scene, rules: &str, subject: &str) -> Result<Self, Failure> {
        let (user, password) = ("admin".to_owned(), "my-password".to_owned());
        let access = NatsAccess::User { user: user.clone(), password: password.clone() };
        let nats = scene.nats_with("nats", access, "")?;
        // Rules are the cluster's, so each story has a cluster of its own.
        let control_plane = scene.fresh_control_plane()?;
        let kubernetes = Kubernetes::of(&control_plane).await?;
        kubernetes.apply(&Lifeline::command(&["crds"])?).await?;
        kubernetes
            .apply(
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "projectsveltos"}}).to_string(),
            )
            .await?;
        kubernetes.apply(&connection_secret(&nats.url(), subject).to_string()).await?;
        kubernetes.apply(rules).await?;

        let kubeconfig = control_plane.kubeconfig(User::Admin);
        let kubeconfig = kubeconfig.to_string_lossy();
        let mut lifeline = scene.lifeline("engine", &["--cluster", "kube", "--kubeconfig", &kubeconfig])?;
        lifeline.wait_until_ready()?;
        let options = async_nats::ConnectOptions::with_user_and_password(user, password);
        let producer = Producer::on(options.connect(nats.url()).await?, subject);
        Ok(Self { lifeline, producer, kubernetes, control_plane, _nats: nats })
    }
}

/// As in the seed, down to its name and key.
fn connection_secret(url: &str, subject: &str) -> Value {
    let connection = json!({"nats": {"configuration": {
        "url": url,
        "subjects": [subject],
        "authorization": {"user": {"user": "admin", "password": "my-password"}},
    }}});
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": "projectsveltos", "name": "sveltos-nats"},
        "stringData": {"sveltos-nats": connection.to_string()},
    })
}

async fn first_example(scene: &Scene) -> Outcome {
    let stage = Stage::set(scene, USER_LOGIN, "user-login").await?;
    let login = |subject: &str, source: &str| {
        Event::of(source, subject, "auth.example.com.login").data(json!({"organization": "engineering"}))
    };
    stage.producer.publish(login("other", "auth.example.com/else")).await?;
    stage.producer.publish(login("mgianluc", "auth.example.com/user-login")).await?;
    let namespace = stage.kubernetes.has_namespace("mgianluc").await?;
    assert_eq!(labels(&namespace)["organization"], "engineering");
    assert!(
        stage.kubernetes.namespace("other").await?.is_none(),
        "an event of another source is none of this trigger's"
    );
    Ok(())
}

async fn second_example(scene: &Scene) -> Outcome {
    let stage = Stage::set(scene, LOGIN_AND_LOGOUT, "user-operation").await?;
    stage.producer.publish(Event::user("login", "mgianluc")).await?;
    stage.kubernetes.has_namespace("mgianluc").await?;
    stage.producer.publish(Event::user("logout", "mgianluc")).await?;
    stage.kubernetes.lost_namespace("mgianluc").await
}

async fn whole_story(scene: &Scene) -> Outcome {
    let Stage { mut lifeline, producer, kubernetes, control_plane, _nats } =
        Stage::set(scene, END_TO_END, "user-operation").await?;

    // Login: the namespace is there, and says where it comes from.
    producer.publish(Event::user("login", "mgianluc")).await?;
    let namespace = kubernetes.has_namespace("mgianluc").await?;
    let uid = uid(&namespace);
    let annotations = namespace.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(labels(&namespace)["app.kubernetes.io/managed-by"], "lifeline");
    assert_eq!(labels(&namespace)["lifeline.dev/trigger"], "manage-namespace");
    assert_eq!(annotations["lifeline.dev/source"], "auth.example.com");
    assert_eq!(annotations["lifeline.dev/subject"], "mgianluc");
    let login_offset: u64 = annotations["lifeline.dev/offset"].parse()?;
    let entries = history(&lifeline, "mgianluc")?;
    assert_eq!(entries[0]["offset"], login_offset, "the annotation names the event: {entries:#?}");

    // The producer says it again: nothing is made again.
    producer.publish(Event::user("login", "mgianluc")).await?;
    lifeline.has_recorded(2).await?;
    lifeline.has_settled().await?;
    assert_eq!(uid_of(&kubernetes, "mgianluc").await?, Some(uid.clone()));

    let addons = Lifeline::command(&["show", "addons", "--server", &lifeline.url()])?;
    for word in ["mgmt/mgmt", ":Namespace", "mgianluc", "manage-namespace"] {
        assert!(addons.contains(word), "`{word}` is missing in:\n{addons}");
    }

    // Logout: the namespace is gone.
    producer.publish(Event::user("logout", "mgianluc")).await?;
    kubernetes.lost_namespace("mgianluc").await?;
    eventually("the lifecycle to be gone", SOON, async || match lifecycle(&lifeline, "mgianluc") {
        Ok(row) if row["phase"] == "Gone" => Ok(()),
        Ok(row) => Err(row.to_string()),
        Err(failure) => Err(failure.to_string()),
    })
    .await?;

    // History: both events and what came of them, with offsets, times and the trigger.
    let entries = history(&lifeline, "mgianluc")?;
    let told: Vec<_> = entries.iter().map(|entry| entry["fact"].as_str()).collect();
    assert_eq!(told.first(), Some(&Some("EventReceived")));
    assert_eq!(told.last(), Some(&Some("Deleted")), "{entries:#?}");
    for kind in ["auth.example.com.login", "auth.example.com.logout"] {
        let event = entries.iter().find(|entry| entry["event"]["type"] == kind);
        let event = event.ok_or_else(|| format!("no `{kind}` in {entries:#?}"))?;
        let decision = &event["event"]["decisions"][0];
        assert_eq!(decision["trigger"], "manage-namespace");
        let action = if kind.ends_with("logout") { "Delete" } else { "Create" };
        assert_eq!(decision["action"], action);
        assert!(event["offset"].is_u64() && event["time"].is_string());
    }
    let offsets: Vec<_> = entries.iter().map(|entry| entry["offset"].as_u64()).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
    // The folder of a stopped engine tells the same.
    assert_eq!(lifeline.stop(), Some(0));
    let data = lifeline.data();
    let told = Lifeline::command(&[
        "history",
        "auth.example.com",
        "mgianluc",
        "--data",
        &data.to_string_lossy(),
        "-o",
        "json",
    ])?;
    let told: Value = serde_json::from_str(&told)?;
    assert_eq!(told["items"].as_array(), Some(&entries));
    lifeline.restart()?;
    lifeline.wait_until_ready()?;

    // Login, logout and login at once: a new life, which begins when the old namespace is gone at last.
    producer.publish(Event::user("login", "mgianluc")).await?;
    let second = self::uid(&kubernetes.has_namespace("mgianluc").await?);
    assert_ne!(second, uid);
    producer.publish(Event::user("logout", "mgianluc")).await?;
    eventually("the namespace to begin to go", SOON, async || match kubernetes.namespace("mgianluc").await {
        Ok(Some(namespace)) if namespace.metadata.deletion_timestamp.is_none() => Err("still there"),
        Ok(_) => Ok(()),
        Err(_) => Err("no answer"),
    })
    .await?;
    producer.publish(Event::user("login", "mgianluc")).await?;
    let third = eventually("the third namespace", SOON, async || match kubernetes.namespace("mgianluc").await {
        Ok(Some(namespace)) if self::uid(&namespace) != second => Ok(namespace),
        Ok(other) => Err(format!("{:?}", other.map(|namespace| namespace.status))),
        Err(failure) => Err(failure.to_string()),
    })
    .await?;
    assert!(third.metadata.deletion_timestamp.is_none());
    lifeline.has_settled().await?;
    let row = lifecycle(&lifeline, "mgianluc")?;
    assert_eq!((&row["incarnation"], &row["phase"]), (&json!(3), &json!("Ready")), "{row}");
    assert_eq!(row["objects"][0]["uid"], self::uid(&third));
    assert_eq!(deletions(&control_plane, "mgianluc")?, 2, "one for each logout");
    Ok(())
}

async fn deaths(scene: &Scene) -> Outcome {
    let seed = std::env::var("LIFELINE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 =
        seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64));
    println!("deaths: seed {seed} (LIFELINE_SEED={seed} plays the same pauses again)");
    let mut dice = Random::new(seed);

    let Stage { mut lifeline, producer, kubernetes, control_plane, _nats } =
        Stage::set(scene, END_TO_END, "user-operation").await?;
    let diary = kubernetes.watch_namespaces("user-").await?;
    let name = "user-zoe";
    let mut published = 0;
    let mut pauses = Vec::new();
    for death in 0..DEATHS {
        // Now and then an event that was not there before the engine died, now and then only what is delivered again.
        for _ in 0..=dice.below(2) {
            producer.publish(Event::user("login", name)).await?;
            published += 1;
        }
        // The stream hands out again what it thinks was lost: everything, from its first message.
        if death % 3 == 2 {
            redeliver(&producer).await?;
        }
        let pause = Duration::from_millis(dice.below(150));
        pauses.push(pause.as_millis());
        tokio::time::sleep(pause).await;
        lifeline.kill();
        lifeline.restart()?;
        if death % 4 == 3 {
            lifeline.wait_until_ready()?;
        }
    }
    lifeline.wait_until_ready()?;
    let namespace = kubernetes.has_namespace(name).await?;
    lifeline.has_recorded(published).await?;
    redeliver(&producer).await?;
    producer.publish(Event::user("login", name)).await?;
    published += 1;
    lifeline.has_recorded(published).await?;
    lifeline.has_settled().await?;
    let entries = diary.of(name);
    let added = entries.iter().filter(|entry| entry.what == Happened::Added).count();
    let leaving = entries.iter().filter(|entry| entry.leaving || entry.what == Happened::Deleted).count();
    assert_eq!((added, leaving), (1, 0), "seed {seed}: {entries:#?}");
    assert!(entries.iter().all(|entry| entry.uid == uid(&namespace)));
    assert_eq!(deletions(&control_plane, name)?, 0);

    // It dies while it deletes, too.
    producer.publish(Event::user("logout", name)).await?;
    tokio::time::sleep(Duration::from_millis(dice.below(60))).await;
    lifeline.kill();
    lifeline.restart()?;
    kubernetes.lost_namespace(name).await?;
    lifeline.wait_until_ready()?;
    lifeline.has_recorded(published + 1).await?;
    println!("deaths: {DEATHS} SIGKILLs after {pauses:?} ms, {published} logins: one namespace, one uid");
    Ok(())
}

/// Makes the stream deliver everything again, as it would when every acknowledgement had been lost.
async fn redeliver(producer: &Producer) -> Outcome {
    let request = json!({"seq": 1});
    let answer: Value = producer.jetstream().request("CONSUMER.RESET.LIFELINE.lifeline", &request).await?;
    match answer.get("error") {
        None => Ok(()),
        Some(error) => Err(error.to_string().into()),
    }
}

async fn coming_and_going(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let control_plane = scene.fresh_control_plane()?;
    let kubernetes = Kubernetes::of(&control_plane).await?;
    let kubeconfig = control_plane.kubeconfig(User::Admin);
    let arguments = ["--cluster", "kube", "--kubeconfig", &kubeconfig.to_string_lossy()];
    // Nothing is there yet: no definitions, no rules, no Secret, not even its namespace.
    let mut lifeline = scene.lifeline("engine", &arguments)?;
    lifeline.has_said("Secret projectsveltos/sveltos-nats").await?;
    let producer = Producer::connect(&nats, "user-operation").await?;
    producer.make_stream("USERS").await?;
    producer.publish(Event::user("login", "early")).await?;

    let open = json!({"nats": {"configuration": {"url": nats.url(), "subjects": ["user-operation"]}}});
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": "projectsveltos", "name": "sveltos-nats"},
        "stringData": {"sveltos-nats": open.to_string()},
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "projectsveltos"}});
    for text in [namespace.to_string(), secret.to_string(), Lifeline::command(&["crds"])?, END_TO_END.to_owned()] {
        kubernetes.apply(&text).await?;
        // Whatever the order and the time between them.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let first = uid(&kubernetes.has_namespace("early").await?);
    lifeline.wait_until_ready()?;

    let trigger = END_TO_END.split("\n---\n").nth(1).ok_or("no trigger in the seed's example")?;
    kubernetes.delete(&serde_saphyr::from_str(trigger)?).await?;
    kubernetes.lost_namespace("early").await?;
    producer.publish(Event::user("login", "meanwhile")).await?;
    lifeline.has_recorded(2).await?;
    assert!(kubernetes.namespace("meanwhile").await?.is_none());
    kubernetes.apply(trigger).await?;
    assert_ne!(uid(&kubernetes.has_namespace("early").await?), first);
    kubernetes.has_namespace("meanwhile").await?;

    // Another subject in the Secret is read as well, without a restart.
    let mut both = secret;
    let open =
        json!({"nats": {"configuration": {"url": nats.url(), "subjects": ["user-operation", "user-operation-2"]}}});
    both["stringData"]["sveltos-nats"] = open.to_string().into();
    kubernetes.apply(&both.to_string()).await?;
    producer.publish_to("user-operation-2", Event::user("login", "second")).await?;
    kubernetes.has_namespace("second").await?;
    lifeline.has_settled().await
}

async fn rules_from_a_folder(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let kubernetes = Kubernetes::of(scene.control_plane()).await?;
    let mut lifeline = scene.engine("engine", scene.control_plane(), &nats, "user-operation", END_TO_END)?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, "user-operation").await?;
    producer.publish(Event::user("login", "folder-mgianluc")).await?;
    let made = uid(&kubernetes.has_namespace("folder-mgianluc").await?);
    lifeline.kill();
    producer.publish(Event::user("login", "folder-mgianluc")).await?;
    lifeline.restart()?;
    lifeline.has_recorded(2).await?;
    lifeline.has_settled().await?;
    assert_eq!(uid_of(&kubernetes, "folder-mgianluc").await?, Some(made));
    producer.publish(Event::user("logout", "folder-mgianluc")).await?;
    kubernetes.lost_namespace("folder-mgianluc").await
}

fn labels(namespace: &Namespace) -> BTreeMap<String, String> {
    namespace.metadata.labels.clone().unwrap_or_default()
}

fn uid(namespace: &Namespace) -> String {
    namespace.metadata.uid.clone().unwrap_or_default()
}

async fn uid_of(kubernetes: &Kubernetes, name: &str) -> Result<Option<String>, Failure> {
    Ok(kubernetes.namespace(name).await?.as_ref().map(uid))
}

/// Deletions of a namespace that the API server was asked for and granted.
fn deletions(control_plane: &ControlPlane, name: &str) -> Result<usize, Failure> {
    let writes = control_plane.writes()?;
    let deletions = writes.iter().filter(|write| {
        write.verb == "delete" && write.name == name && write.resource == "namespaces" && write.status < 300
    });
    Ok(deletions.count())
}

fn history(lifeline: &Lifeline, subject: &str) -> Result<Vec<Value>, Failure> {
    let history = lifeline.ask(&["history", "auth.example.com", subject])?;
    Ok(history["items"].as_array().cloned().unwrap_or_default())
}

fn lifecycle(lifeline: &Lifeline, subject: &str) -> Result<Value, Failure> {
    Ok(lifeline.ask(&["get", "lifecycles", "--subject", subject])?["items"][0].clone())
}
