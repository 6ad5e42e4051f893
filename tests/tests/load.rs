//! Everything that breaks, one after the other, while events come at a rate: nothing is lost, nothing is recorded twice,
//! the order holds, and what should live lives with the uid that it had.
//!
//! `LIFELINE_LOAD_RATE` (events a second, 500), `LIFELINE_LOAD_SECONDS` (20) and `LIFELINE_LOAD_SEED` (the order of the faults)
//! choose another load: `LIFELINE_LOAD_RATE=2000 LIFELINE_LOAD_SECONDS=60 cargo test --workspace --test load -- --nocapture`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use lifeline_tests::harness::Need::{ControlPlane, Nats};
use lifeline_tests::harness::{Event, Failure, Kubernetes, Outcome, Producer, Scene, eventually, run, story, visits};
use serde_json::json;

/// The first ones never log out.
const USERS: u64 = 200;
const STAYING: u64 = 100;
const BATCH: u64 = 20;
/// A backlog of the whole load is worked off within this.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

static RULES: LazyLock<String> = LazyLock::new(|| {
    visits(
        r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .CloudEvent.subject }}
  namespace: default
  labels:
    visit: "{{ .CloudEvent.id }}""#,
    )
});

fn main() -> ExitCode {
    run(vec![story("what_breaks_under_load_loses_and_repeats_nothing", &[Nats, ControlPlane], faults)])
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn name(user: u64) -> String {
    format!("load-{user:03}")
}

/// Publishes until it is told to end; how many events, and the last one of each user: its id, and whether the user is there.
async fn publish(
    producer: &Producer,
    rate: u64,
    ended: &AtomicBool,
) -> Result<(u64, BTreeMap<u64, (u64, bool)>), Failure> {
    let (began, mut id, mut last) = (Instant::now(), 0, BTreeMap::new());
    while !ended.load(Ordering::Relaxed) || id % USERS != 0 {
        tokio::time::sleep_until((began + Duration::from_micros(id * 1_000_000 / rate)).into()).await;
        // Nobody is twice in a batch, so what is published again because it was not confirmed keeps the order of each user.
        let mut waiting: Vec<u64> = (id..id + BATCH).collect();
        while !waiting.is_empty() {
            let sent = waiting.iter().map(|id| {
                let user = id % USERS;
                let leaves = user >= STAYING && (id / USERS) % 2 == 1;
                let event =
                    Event::user(if leaves { "logout" } else { "login" }, &name(user)).with("id", &id.to_string());
                async move { (*id, user, !leaves, producer.publish(event).await.is_ok()) }
            });
            for (id, user, is_there, confirmed) in join_all(sent).await {
                if confirmed {
                    last.insert(user, (id, is_there));
                    waiting.retain(|waits| *waits != id);
                }
            }
        }
        id += BATCH;
    }
    Ok((id, last))
}

async fn faults(scene: &Scene) -> Outcome {
    let [rate, seconds, seed] = [("RATE", 500), ("SECONDS", 20), ("SEED", 1)]
        .map(|(name, default)| setting(&format!("LIFELINE_LOAD_{name}"), default));
    let mut control_plane = scene.fresh_control_plane()?;
    let mut nats = scene.nats("nats")?;
    let kubernetes = Kubernetes::of(&control_plane).await?;
    let producer = Producer::connect(&nats, "visits").await?;
    let mut stream = producer.make_stream("VISITS").await?;
    let mut lifeline = scene.engine("engine", &control_plane, &nats, "visits", &RULES)?;
    lifeline.wait_until_ready()?;

    let (began, ended) = (Instant::now(), AtomicBool::new(false));
    let maps: Api<ConfigMap> = Api::namespaced(kubernetes.client(), "default");
    let break_things = async {
        let of_first = eventually("the objects of all that stay", SETTLED_WITHIN, async || {
            let found = maps.list(&Default::default()).await.map_err(|error| error.to_string())?;
            let uids: BTreeMap<_, _> =
                found.items.into_iter().map(|map| (map.metadata.name, map.metadata.uid)).collect();
            let staying =
                (0..STAYING).map(|user| uids.get(&Some(name(user))).cloned().flatten()).collect::<Option<Vec<_>>>();
            staying.ok_or_else(|| format!("{} objects", uids.len()))
        })
        .await?;
        let mut order = ["SIGKILL", "restart", "NATS", "API server"];
        order.rotate_left(usize::try_from(seed % 4)?);
        if seed / 4 % 2 == 1 {
            order.reverse();
        }
        println!("load: {rate} events/s for {seconds} s, seed {seed}: {order:?}");
        for fault in order {
            match fault {
                "SIGKILL" => lifeline.restart()?,
                "restart" => {
                    assert_eq!(lifeline.stop(), Some(0));
                    lifeline.restart()?;
                }
                "NATS" => {
                    nats.kill();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    nats.restart()?;
                }
                _ => {
                    control_plane.kill_api_server();
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    control_plane.restart_api_server()?;
                }
            }
            tokio::time::sleep(Duration::from_millis(seconds * 1_000 / 5)).await;
        }
        tokio::time::sleep(Duration::from_secs(seconds).saturating_sub(began.elapsed())).await;
        ended.store(true, Ordering::Relaxed);
        Ok::<_, Failure>(of_first)
    };
    let (before, published) = tokio::join!(break_things, publish(&producer, rate, &ended));
    let (before, (published, last)) = (before?, published?);
    let reached = published as f64 / began.elapsed().as_secs_f64();

    // What was published again is in the stream twice, and is as many events.
    let stored = stream.info().await?.state.messages;
    assert!(stored >= published, "{stored} of {published}");
    lifeline.has_recorded(stored).await?;
    lifeline.has_settled().await?;
    let status = lifeline.status()?;
    let of_stream = &status["streams"][0];
    assert_eq!((&of_stream["received"], &of_stream["missing"]), (&json!(stored), &json!(0)), "{status}");
    println!(
        "load: {published} events at {reached:.0}/s, {stored} stored; all recorded and settled {:.1} s after the start",
        began.elapsed().as_secs_f32()
    );

    let found = maps.list(&Default::default()).await?;
    let found: BTreeMap<_, _> =
        found.items.into_iter().filter_map(|map| Some((map.metadata.name.clone()?, map))).collect();
    for (user, (id, is_there)) in last {
        let map = found.get(&name(user));
        assert_eq!(map.is_some(), is_there, "{}", name(user));
        if let Some(map) = map {
            let visit = map.metadata.labels.as_ref().and_then(|labels| labels.get("visit")).cloned();
            assert_eq!(visit, Some(id.to_string()), "{}", name(user));
        }
    }
    for (user, uid) in (0..STAYING).zip(before) {
        assert_eq!(found.get(&name(user)).and_then(|map| map.metadata.uid.clone()), Some(uid), "{}", name(user));
    }
    Ok(())
}
