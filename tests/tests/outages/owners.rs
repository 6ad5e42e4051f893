//! Who has a consumer next, once its engine stops in good order; and which of two engines answers over NATS.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lifeline_ops::servers::NatsServer;
use lifeline_tests::harness::{Event, Failure, Lifeline, Outcome, Producer, Scene, eventually};

use super::{RULES, SOON};

/// A waiting engine looks every two seconds.
const WAITED: Duration = Duration::from_secs(5);

/// One that starts looks at once.
const STARTED: Duration = Duration::from_secs(3);

/// Requests to the service, of which each engine that answers would get some.
const REQUESTS: usize = 20;

pub(super) async fn released(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let producer = Producer::connect(&nats, "visits").await?;
    producer.make_stream("VISITS").await?;
    let mut first = scene.local_engine("first", &nats, "visits", &RULES)?;
    first.wait_until_ready()?;
    producer.publish_all((0..8).map(|user| Event::user("login", &format!("released-{user}")))).await?;
    first.has_recorded(8).await?;
    let mut second = scene.local_engine("second", &nats, "visits", &RULES)?;
    second.has_said("another engine answers at lifeline.v1.> while it owns the consumer").await?;
    assert_eq!(answering(&nats).await?, BTreeSet::from([instance(&first)?]));

    assert_eq!(first.stop(), Some(0));
    let stopped = Instant::now();
    second.wait_until_ready()?;
    assert!(stopped.elapsed() < WAITED, "one that waited took {:?}", stopped.elapsed());
    second.has_recorded(8).await?;
    let by = BTreeSet::from([instance(&second)?]);
    eventually("the second one to answer", SOON, async || match answering(&nats).await {
        Ok(answered) if answered == by => Ok(()),
        Ok(answered) => Err(format!("{answered:?}")),
        Err(failure) => Err(failure.to_string()),
    })
    .await?;

    assert_eq!(second.stop(), Some(0));
    let mut third = scene.local_engine("third", &nats, "visits", &RULES)?;
    let started = Instant::now();
    third.wait_until_ready()?;
    assert!(started.elapsed() < STARTED, "one that starts took {:?}", started.elapsed());
    third.has_recorded(8).await?;
    assert_eq!(third.status()?["streams"][0]["missing"], 0);
    Ok(())
}

fn instance(engine: &Lifeline) -> Result<String, Failure> {
    Ok(std::fs::read_to_string(engine.data().join("instance"))?.trim().to_owned())
}

/// The engines that answer requests to the service.
async fn answering(nats: &NatsServer) -> Result<BTreeSet<String>, Failure> {
    let client = async_nats::connect(nats.url()).await?;
    let mut answered = BTreeSet::new();
    for _ in 0..REQUESTS {
        let answer = client.request("lifeline.v1.status", "".into()).await?;
        let by = answer.headers.as_ref().and_then(|headers| headers.get("Lifeline-Instance"));
        answered.insert(by.map(ToString::to_string).unwrap_or_default());
    }
    Ok(answered)
}
