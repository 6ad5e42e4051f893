//! Streams that are not read, or not whole: copies, other people's work queues, and subjects that were added later.

use async_nats::jetstream::stream::Source;

use super::*;

fn source(name: &str) -> Source {
    Source { name: name.to_owned(), ..Source::default() }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn an_event_that_is_copied_to_other_streams_is_recorded_once() {
    let mut world = World::new(&[]).await;
    world.create("IN", &["in"], Config::default()).await;
    world.create("OUT", &["out"], Config::default()).await;
    world.publish("in", 0..10).await;
    world.create("MIRROR", &[], Config { mirror: Some(source("IN")), ..Config::default() }).await;
    world.create("BOTH", &["own"], Config { sources: Some(vec![source("OUT")]), ..Config::default() }).await;
    world
        .create("COPY", &[], Config { sources: Some(vec![source("MIRROR"), source("OUT")]), ..Config::default() })
        .await;
    world.run().await;
    for round in 1..4 {
        world.publish("out", round * 100..round * 100 + 10).await;
        world.publish("own", round * 100 + 10..round * 100 + 20).await;
        world.publish("in", round * 100 + 20..round * 100 + 30).await;
        world.recorded(10 + 30 * round as usize).await;
        // What was skipped is not recorded when it is delivered again.
        world.crash().await;
        world.run().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut payloads = world.payloads();
    payloads.sort();
    let mut expected = numbers(0..10);
    expected.extend((1..4).flat_map(|round| numbers(round * 100..round * 100 + 30)));
    expected.sort();
    assert_eq!(payloads, expected);
    assert!(world.others().iter().all(|other| other.starts_with("opened")), "{:?}", world.others());
    let warnings = world.status().warnings;
    let are_told = |stream: &str| warnings.iter().any(|warning| warning.contains(&format!("`{stream}` is not read")));
    assert!(are_told("MIRROR") && are_told("COPY") && !are_told("BOTH"), "{warnings:?}");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_work_queue_that_nobody_named_keeps_its_messages() {
    let mut world = World::new(&[]).await;
    world.create("EVENTS", &["e"], Config::default()).await;
    for (name, subject, retention) in
        [("JOBS", "j", RetentionPolicy::WorkQueue), ("NEWS", "n", RetentionPolicy::Interest)]
    {
        world.create(name, &[subject], Config { retention, ..Config::default() }).await;
    }
    world.publish("j", 0..3).await;
    world.publish("e", 3..6).await;
    world.run().await;
    world.recorded(3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.payloads(), numbers(3..6));
    assert_eq!(world.held("JOBS").await, 3);
    // Its rightful consumer can be made: a work queue allows one for each subject.
    let stream = world.jetstream.get_stream("JOBS").await.unwrap();
    let _: PullConsumer = stream.create_consumer(consumer::pull::Config::default()).await.unwrap();
    let warnings = world.status().warnings;
    for name in ["JOBS", "NEWS"] {
        assert!(warnings.iter().any(|warning| warning.contains(&format!("`{name}` is not read"))), "{warnings:?}");
    }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_subject_that_its_owner_adds_to_a_stream_is_not_read() {
    for retention in [RetentionPolicy::Limits, RetentionPolicy::WorkQueue] {
        let mut world = World::new(&["a"]).await;
        world.create("S", &["a"], Config { retention, ..Config::default() }).await;
        world.run().await;
        world.publish("a", 0..3).await;
        world.recorded(3).await;
        let subjects = vec!["a".to_owned(), "b".to_owned()];
        let config = Config { name: "S".to_owned(), subjects, retention, ..Config::default() };
        world.jetstream.update_stream(config).await.unwrap();
        world.publish("b", 10..13).await;
        world.publish("a", 3..6).await;
        world.recorded(6).await;
        world.publish("b", 13..16).await;
        world.crash().await;
        world.run().await;
        world.publish("a", 6..9).await;
        world.recorded(9).await;
        assert_eq!(world.payloads(), numbers(0..9));
        assert!(world.others().iter().all(|other| other.starts_with("opened")), "{:?}", world.others());
        if retention == RetentionPolicy::WorkQueue {
            world.emptied_but("S", 6).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_subject_that_comes_and_goes_stops_no_work_queue() {
    let mut world = World::new(&["a"]).await;
    let retention = RetentionPolicy::WorkQueue;
    let config = |subjects: &[&str]| Config {
        name: "S".to_owned(),
        subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
        retention,
        ..Config::default()
    };
    world.jetstream.create_stream(config(&["a", "b"])).await.unwrap();
    world.publish("b", 10..13).await;
    world.jetstream.update_stream(config(&["a"])).await.unwrap();
    world.run().await;
    world.publish("a", 0..3).await;
    world.recorded(3).await;
    assert_eq!(world.payloads(), numbers(0..3));
    world.emptied_but("S", 3).await;
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_stream_that_becomes_a_copy_while_it_is_read_repeats_no_event() {
    let mut world = World::new(&[]).await;
    world.create("IN", &["in"], Config::default()).await;
    world.create("BOTH", &["own"], Config::default()).await;
    world.create("LATER", &["later"], Config::default()).await;
    world.run().await;
    world.publish("in", 0..10).await;
    world.publish("own", 10..20).await;
    world.publish("later", 20..30).await;
    world.recorded(30).await;
    // One gets a source, and one is made again as a mirror.
    let sources = Some(vec![source("IN")]);
    let config = Config { name: "BOTH".to_owned(), subjects: vec!["own".to_owned()], sources, ..Config::default() };
    world.jetstream.update_stream(config).await.unwrap();
    world.jetstream.delete_stream("LATER").await.unwrap();
    world.create("LATER", &[], Config { mirror: Some(source("IN")), ..Config::default() }).await;
    world.publish("in", 30..40).await;
    world.publish("own", 40..50).await;
    world.recorded(50).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    let mut payloads = world.payloads();
    payloads.sort();
    let mut expected = numbers(0..50);
    expected.sort();
    assert_eq!(payloads, expected);
}
