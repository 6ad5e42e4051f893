//! A slow link: answers come late, and a large message takes long. That is no failure.

use std::time::{Duration, Instant};

use lifeline_tests::harness::{Event, Outcome, Producer, Scene, SlowLink, eventually};
use serde_json::{Value, json};

use super::{RULES, SOON};

/// Deep enough for a consumer of its own.
const EVENTS: u64 = 60_000;

/// Bytes of an event.
const EVENT_BYTES: usize = 800;

/// Bytes that a delivery takes beside its event, about.
const DELIVERY_BYTES: usize = 100;

/// How long it is counted what comes. Long enough for answers that are too late to be missed several times.
const COUNTED: Duration = Duration::from_secs(30);

/// With `LIFELINE_LINKS=50000,200000,1500000` it is measured how much of links of so many bytes a second is used.
pub(super) async fn backlog(scene: &Scene) -> Outcome {
    let links = std::env::var("LIFELINE_LINKS").unwrap_or_else(|_| "200000".to_owned());
    let nats = scene.nats("nats")?;
    let producer = Producer::connect(&nats, "visits").await?;
    producer.make_stream("VISITS").await?;
    let event = |user: u64| {
        let event = Event::user("login", &format!("slow-{}", user % 100));
        let bytes = bytes::Bytes::from(event.clone()).len();
        event.data(json!({ "text": "x".repeat(EVENT_BYTES - bytes) }))
    };
    producer.publish_all((0..EVENTS).map(event)).await?;
    let rules = scene.write("rules/rules.yaml", &RULES)?;
    let rules = rules.parent().unwrap_or(&rules).to_string_lossy();
    for link in links.split(',') {
        let bytes_per_second: usize = link.trim().parse()?;
        let slow = SlowLink::to(&nats.address(), bytes_per_second)?;
        let url = slow.url();
        let (name, durable) = (format!("engine-{link}"), format!("lifeline-{link}"));
        let arguments = ["--nats", &url, "--subjects", "visits", "--rules", &rules, "--consumer", &durable];
        let mut lifeline = scene.lifeline(&name, &[&arguments[..], &["--history-wait", "5"]].concat())?;
        let status = || lifeline.status().map_err(|failure| failure.to_string());
        let received = |status: &Value| status["streams"][0]["received"].as_u64().unwrap_or_default();
        eventually("the first event", SOON, async || match received(&status()?) {
            0 => Err("none is recorded".to_owned()),
            _ => Ok(()),
        })
        .await?;
        let (started, before, mut given_up) = (Instant::now(), received(&status()?), false);
        while started.elapsed() < COUNTED && received(&status()?) < EVENTS {
            tokio::time::sleep(Duration::from_millis(200)).await;
            given_up |= status()?["sites"][0]["history"]["given_up"] == true;
        }
        let count = received(&status()?) - before;
        let rate = count as f64 / started.elapsed().as_secs_f64();
        let possible = bytes_per_second as f64 / (EVENT_BYTES + DELIVERY_BYTES) as f64;
        println!("slow link: of {possible:.0} events/s that {link} bytes/s can carry, {rate:.0} are recorded");
        lifeline.kill();
        let said = std::fs::read_to_string(lifeline.log())?;
        assert!(!given_up, "at {link} bytes/s: what waits was not waited for\n{said}");
        assert!(!said.contains("looking at the stream again"), "at {link} bytes/s:\n{said}");
        assert!(rate >= possible * 0.7, "at {link} bytes/s: {rate:.0} events/s of {possible:.0}");
    }
    Ok(())
}

/// Bytes a second of a link on which a large message takes twice as long as a consumer may be silent.
const LARGE_LINK: usize = 100_000;

/// Bytes of a large event: nearly what a message may have.
const LARGE_BYTES: usize = 1_000_000;

/// Heartbeats and answers come after a large message, whether it is published to a running engine or waits for the next one.
pub(super) async fn large_message(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let producer = Producer::connect(&nats, "visits").await?;
    producer.make_stream("VISITS").await?;
    let rules = scene.write("rules/rules.yaml", &RULES)?;
    let rules = rules.parent().unwrap_or(&rules).to_string_lossy();
    let url = SlowLink::to(&nats.address(), LARGE_LINK)?.url();
    let arguments = ["--nats", &url, "--subjects", "visits", "--rules", &rules, "--consumer"];
    let engine = |name: &str| scene.lifeline(name, &[&arguments[..], &[name]].concat());
    let mut running = engine("running")?;
    running.wait_until_ready()?;
    producer.publish(Event::user("login", "small")).await?;
    running.has_recorded(1).await?;
    let before = std::fs::read_to_string(running.log())?.len();
    producer.publish(Event::user("login", "large").data(json!({ "text": "x".repeat(LARGE_BYTES) }))).await?;
    let (started, mut received) = (Instant::now(), 0);
    while received < 2 && started.elapsed() < 6 * SOON {
        tokio::time::sleep(Duration::from_millis(200)).await;
        running.get("/readyz")?;
        received = running.status()?["streams"][0]["received"].as_u64().unwrap_or_default();
    }
    println!(
        "slow link: a message of {LARGE_BYTES} bytes at {LARGE_LINK} bytes/s is recorded after {:?}",
        started.elapsed()
    );
    running.kill();
    let said = std::fs::read_to_string(running.log())?;
    assert_eq!(received, 2, "{said}");
    assert!(!said[before..].contains("WARN"), "{}", &said[before..]);

    let mut next = engine("next")?;
    eventually("both events to be recorded", 3 * SOON, async || {
        let status = next.status().map_err(|failure| failure.to_string())?;
        match status["streams"][0]["received"].as_u64() {
            Some(2) => Ok(()),
            _ => Err(status.to_string()),
        }
    })
    .await?;
    next.kill();
    let said = std::fs::read_to_string(next.log())?;
    assert!(!said.contains("looking at the stream again"), "{said}");
    Ok(())
}
