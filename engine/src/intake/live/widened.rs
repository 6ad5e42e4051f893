//! Other subjects of a stream are named than before, or a stream keeps messages under other subjects than are named.

use async_nats::jetstream::stream::SubjectTransform;

use super::*;

/// Lets the engine start again with other subjects.
async fn start_with(world: &mut World, subjects: &[&str]) {
    world.crash().await;
    world.wanted.subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
    world.run().await;
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn what_a_stream_holds_of_a_subject_that_is_named_later_is_recorded_once() {
    for (all, last) in [(&["wa.>", "wb.>"][..], 0), (&["wa.>", "wb.>", "wc.>"][..], 3)] {
        let mut world = World::new(&["wa.>"]).await;
        world.create("W", all, Config::default()).await;
        world.publish("wb.1", 0..300).await;
        world.run().await;
        world.publish("wa.1", 1_000..1_010).await;
        world.recorded(10).await;
        if last > 0 {
            world.publish("wc.1", 5_000..5_000 + last).await;
            world.publish("wa.1", 1_010..1_011).await;
            world.recorded(11).await;
        }
        let before = world.payloads().len();
        start_with(&mut world, &["wa.>", "wb.>"]).await;
        world.recorded(before + 300).await;
        world.publish("wb.1", 300..303).await;
        world.recorded(before + 303).await;
        assert_eq!(world.payloads()[before..], numbers(0..303));
        // And no more than once.
        start_with(&mut world, &["wa.>"]).await;
        world.publish("wa.1", 2_000..2_001).await;
        world.recorded(before + 304).await;
        start_with(&mut world, &["wa.>", "wb.>"]).await;
        world.publish("wb.1", 303..304).await;
        world.recorded(before + 305).await;
        assert_eq!(world.payloads().len(), before + 305);
        assert_eq!(world.others(), ["opened W 1 1"]);
        assert_eq!(world.reader("W").passed_over, 0);
    }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_crash_while_what_was_left_out_is_read_loses_none_of_it() {
    let mut world = World::new(&["a"]).await;
    world.create("S", &["a", "b", "c"], Config::default()).await;
    world.publish_many("b", 0..12_000).await;
    world.run().await;
    world.publish("a", 20_000..20_001).await;
    world.recorded(1).await;
    // The recorder pauses in the middle of them, and what it has not acknowledged is read again.
    world.acknowledging = false;
    start_with(&mut world, &["a", "b"]).await;
    world.recorded(2).await;
    world.acknowledging = true;
    start_with(&mut world, &["a", "b"]).await;
    world.recorded(12_001).await;
    world.publish("b", 12_000..12_003).await;
    world.recorded(12_004).await;
    assert_eq!(world.payloads()[1..], numbers(0..12_003));
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn what_an_interest_stream_holds_of_a_subject_that_is_named_later_is_recorded() {
    let mut world = World::new(&["a"]).await;
    world.create("S", &["a", "b", "c"], Config { retention: RetentionPolicy::Interest, ..Config::default() }).await;
    let other = consumer::pull::Config { durable_name: Some("other".to_owned()), ..consumer::pull::Config::default() };
    let _: PullConsumer = world.jetstream.get_stream("S").await.unwrap().create_consumer(other).await.unwrap();
    world.run().await;
    world.consumer_exists("S").await;
    world.publish("b", 0..100).await;
    world.publish("a", 1_000..1_001).await;
    world.recorded(1).await;
    start_with(&mut world, &["a", "b"]).await;
    world.recorded(101).await;
    world.publish("b", 100..103).await;
    world.recorded(104).await;
    assert_eq!(world.payloads()[1..], numbers(0..103));
    assert_eq!(world.held("S").await, 104, "the other consumer has none of them yet");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn events_do_not_wait_where_all_subjects_are_named_later() {
    let mut world = World::new(&["a"]).await;
    world.create("S", &["a", "b"], Config::default()).await;
    world.run().await;
    world.publish("a", 0..3).await;
    world.recorded(3).await;
    start_with(&mut world, &["a", "b"]).await;
    world.shows("it reads", |status| status.obstacles().is_empty() && !status.readers.is_empty()).await;
    let mut slowest = Duration::ZERO;
    for number in 3..9 {
        let published = Instant::now();
        world.publish(if number % 2 == 0 { "a" } else { "b" }, number..number + 1).await;
        world.recorded(number as usize + 1).await;
        slowest = slowest.max(published.elapsed());
        tokio::time::sleep(Duration::from_millis(130)).await;
    }
    assert_eq!(world.payloads(), numbers(0..9));
    assert!(slowest < Duration::from_millis(700), "{slowest:?}");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_part_of_a_stream_that_transforms_its_subjects_is_read() {
    let mut world = World::new(&["uin.>"]).await;
    let transform = SubjectTransform { source: "uin.>".to_owned(), destination: "uout.>".to_owned() };
    let config = Config { subject_transform: Some(transform), ..Config::default() };
    world.create("TRG", &["uin.>", "other.>"], config).await;
    world.run().await;
    world.publish("other.1", 100..103).await;
    world.publish("uin.1", 0..3).await;
    world.recorded(3).await;
    assert_eq!(world.payloads(), numbers(0..3));
    assert!(world.status().warnings.is_empty(), "{:?}", world.status());
}
