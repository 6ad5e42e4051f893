//! How long it takes from a published event to the object in the real API server, as a watch there sees it.
//!
//! Workload: the seed's template (a Namespace per user), an idle engine, one nats-server, one API server and one etcd, all
//! on this machine. The bounds hold for a release build; with another profile the figures are printed all the same. Many at
//! once are compared with a bare client, which applies as many Namespaces to the same API server, as many at once as the
//! engine does.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use lifeline_tests::harness::Need::{ControlPlane, Nats};
use lifeline_tests::harness::{
    Diary, Event, Failure, Kubernetes, Lifeline, Outcome, Producer, Scene, eventually, run, story,
};
use serde_json::json;

const RULES: &str = include_str!("../../engine/tests/seed/3-end-to-end.yaml");

const EVENTS: usize = 200;
const P99_MAX: Duration = Duration::from_millis(200);
const USERS_AT_ONCE: usize = 200;
const ALL_MAX: Duration = Duration::from_secs(5);

/// Requests that the bare client has under way at once: as many as an engine has workers for a cluster.
const WORKERS: usize = 64;

/// One after the other: each wants the machine for itself.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn main() -> ExitCode {
    run(vec![
        story("an_event_becomes_an_object_within_200_ms_at_p99", &[Nats, ControlPlane], one_by_one),
        story("200_users_at_once_all_have_their_namespace_within_5_s", &[Nats, ControlPlane], at_once),
    ])
}

async fn one_by_one(scene: &Scene) -> Outcome {
    let _turn = TURN.lock().await;
    let (_lifeline, producer, diary, _nats) = stage(scene, "idle-").await?;
    let mut latencies = Vec::with_capacity(EVENTS);
    for event in 0..EVENTS {
        let name = format!("idle-{event:03}");
        let published = Instant::now();
        producer.publish(Event::user("login", &name)).await?;
        let added = added(&diary, &name).await?;
        latencies.push(added.saturating_duration_since(published));
    }
    latencies.sort_unstable();
    let at = |share: usize| latencies[(EVENTS * share).div_ceil(100) - 1];
    println!(
        "latency: {EVENTS} events one after the other: p50 {:?}, p90 {:?}, p99 {:?}, max {:?}",
        at(50),
        at(90),
        at(99),
        at(100)
    );
    bound("p99", at(99), P99_MAX)
}

async fn at_once(scene: &Scene) -> Outcome {
    let _turn = TURN.lock().await;
    let (lifeline, producer, diary, _nats) = stage(scene, "once-").await?;
    let name = |user: usize| format!("once-{user:03}");
    let published = Instant::now();
    producer.publish_all((0..USERS_AT_ONCE).map(|user| Event::user("login", &name(user)))).await?;
    let mut took = Vec::with_capacity(USERS_AT_ONCE);
    for user in 0..USERS_AT_ONCE {
        took.push(added(&diary, &name(user)).await?.saturating_duration_since(published));
    }
    took.sort_unstable();
    let (first, last) = (took[0], took[USERS_AT_ONCE - 1]);
    println!("latency: {USERS_AT_ONCE} users at once: first Namespace after {first:?}, last after {last:?}");
    lifeline.has_settled().await?;
    let bare = bare_client(scene, &diary, "once-bare-").await?;
    let ratio = last.as_secs_f64() / bare.as_secs_f64();
    println!("latency: a bare client makes as many in {bare:?}; the engine needs {ratio:.2} times as long");
    bound("the last Namespace", last, ALL_MAX)
}

/// How long it takes a client that does nothing else to make as many Namespaces, until the last one is seen.
async fn bare_client(scene: &Scene, diary: &Diary, prefix: &str) -> Result<Duration, Failure> {
    let kubernetes = Kubernetes::of(scene.control_plane()).await?;
    let namespaces: Api<Namespace> = Api::all(kubernetes.client());
    // One request before the measure: the connection is made.
    namespaces.get_opt("default").await?;
    let parameters = PatchParams::apply("bare").force();
    let began = Instant::now();
    let applies = futures::stream::iter(0..USERS_AT_ONCE).map(|user| {
        let name = format!("{prefix}{user:03}");
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let (namespaces, parameters) = (&namespaces, &parameters);
        async move { namespaces.patch(&name, parameters, &Patch::Apply(&manifest)).await }
    });
    let applied: Vec<Namespace> = applies.buffer_unordered(WORKERS).try_collect().await?;
    let mut last = began;
    for name in applied.iter().filter_map(|namespace| namespace.metadata.name.as_deref()) {
        last = last.max(added(diary, name).await?);
    }
    Ok(last - began)
}

/// Servers, an engine that is ready, and a watch on what happens to namespaces.
async fn stage(
    scene: &Scene,
    prefix: &str,
) -> Result<(Lifeline, Producer, Diary, lifeline_ops::servers::NatsServer), Failure> {
    let nats = scene.nats("nats")?;
    let diary = Kubernetes::of(scene.control_plane()).await?.watch_namespaces(prefix).await?;
    let mut lifeline = scene.engine("engine", scene.control_plane(), &nats, "user-operation", RULES)?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, "user-operation").await?;
    // One life before the measure: connections are made, kinds are known.
    producer.publish(Event::user("login", &format!("{prefix}warm-up"))).await?;
    added(&diary, &format!("{prefix}warm-up")).await?;
    lifeline.has_settled().await?;
    Ok((lifeline, producer, diary, nats))
}

/// When a namespace was made, as soon as it is.
async fn added(diary: &Diary, name: &str) -> Result<Instant, Failure> {
    eventually(name, Duration::from_secs(60), async || diary.added(name).ok_or("it was not made yet")).await
}

fn bound(what: &str, took: Duration, most: Duration) -> Outcome {
    if took > most && !cfg!(debug_assertions) {
        return Err(format!("{what} took {took:?}, at most {most:?} are allowed").into());
    }
    Ok(())
}
