//! From the stream to the recorder: once, in order, through crashes, pauses and rivals.

use super::*;

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn what_was_published_while_away_is_recorded_once_and_in_order() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.publish("s", 0..50).await;
    world.run().await;
    world.recorded(50).await;
    world.crash().await;
    world.publish("s", 50..120).await;
    world.run().await;
    world.recorded(120).await;
    assert_eq!(world.payloads(), numbers(0..120));
    assert_eq!(world.others(), ["opened S 1 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_crash_between_record_and_acknowledgement_records_nothing_twice() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.publish("s", 0..50).await;
    world.acknowledging = false;
    world.run().await;
    world.recorded(50).await;
    world.crash().await;
    world.acknowledging = true;
    world.publish("s", 50..60).await;
    world.run().await;
    world.recorded(60).await;
    assert_eq!(world.payloads(), numbers(0..60));
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_stream_that_allows_few_unacknowledged_messages_is_read_all_the_same() {
    let mut world = World::new(&["s"]).await;
    let limits = ConsumerLimits { max_ack_pending: 100, ..ConsumerLimits::default() };
    world.create("S", &["s"], Config { consumer_limits: Some(limits), ..Config::default() }).await;
    world.publish("s", 0..1_000).await;
    world.run().await;
    world.recorded(1_000).await;
    world.crash().await;
    world.publish("s", 1_000..1_100).await;
    world.run().await;
    world.recorded(1_100).await;
    assert_eq!(world.payloads(), numbers(0..1_100));
    assert_eq!(world.others(), ["opened S 1 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_consumer_that_somebody_changed_is_put_right() {
    let other_subject = |config: &mut consumer::pull::Config| config.filter_subject = "b".to_owned();
    let headers_only = |config: &mut consumer::pull::Config| config.headers_only = true;
    let small_batches = |config: &mut consumer::pull::Config| config.max_batch = 10;
    let changes: [fn(&mut consumer::pull::Config); 3] = [other_subject, headers_only, small_batches];
    for retention in [RetentionPolicy::Limits, RetentionPolicy::WorkQueue] {
        let mut world = World::new(&["a"]).await;
        world.create("S", &["a", "b"], Config { retention, ..Config::default() }).await;
        world.run().await;
        let mut published = 0;
        for change in [None].into_iter().chain(changes.map(Some)) {
            if let Some(change) = change {
                let stream = world.jetstream.get_stream("S").await.unwrap();
                let consumer: PullConsumer = stream.get_consumer("lifeline").await.unwrap();
                let current = &consumer.cached_info().config;
                let mut config = consumer::pull::Config {
                    durable_name: Some("lifeline".to_owned()),
                    deliver_policy: current.deliver_policy,
                    ack_policy: current.ack_policy,
                    ack_wait: current.ack_wait,
                    max_ack_pending: current.max_ack_pending,
                    filter_subject: "a".to_owned(),
                    ..consumer::pull::Config::default()
                };
                change(&mut config);
                stream.update_consumer(config).await.unwrap();
            }
            world.publish("a", published..published + 10).await;
            published += 10;
            world.recorded(published as usize).await;
        }
        assert_eq!(world.payloads(), numbers(0..published));
    }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn what_a_work_queue_held_before_its_subject_was_wanted_is_recorded() {
    let mut world = World::new(&["a"]).await;
    world.create("Q", &["a", "b"], Config { retention: RetentionPolicy::WorkQueue, ..Config::default() }).await;
    world.publish("a", 0..10).await;
    world.publish("b", 10..20).await;
    world.publish("a", 20..30).await;
    world.run().await;
    world.recorded(20).await;
    world.crash().await;
    world.wanted.subjects = vec!["a".to_owned(), "b".to_owned()];
    world.run().await;
    world.recorded(30).await;
    assert_eq!(world.payloads(), [numbers(0..10), numbers(20..30), numbers(10..20)].concat());
    world.crash().await;
    // A consumer that is made again is given what nobody acknowledged, and no message is gone that was not recorded.
    world.jetstream.delete_consumer_from_stream("lifeline", "Q").await.unwrap();
    world.publish("b", 30..40).await;
    world.run().await;
    world.recorded(40).await;
    assert_eq!(world.payloads().len(), 40);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn redelivery_after_ack_wait_is_recorded_once() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.ack_wait = Duration::from_millis(500);
    world.acknowledging = false;
    world.run().await;
    world.publish("s", 0..20).await;
    world.recorded(20).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    world.publish("s", 20..25).await;
    world.recorded(25).await;
    assert_eq!(world.payloads(), numbers(0..25));
    assert!(world.reader("S").redelivered >= 20, "{:?}", world.reader("S"));
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_killed_server_that_comes_back_loses_and_repeats_nothing() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..30).await;
    world.recorded(30).await;
    world.server.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.server.launch();
    world.publish("s", 30..60).await;
    world.recorded(60).await;
    assert_eq!(world.payloads(), numbers(0..60));
    assert_eq!(world.others(), ["opened S 1 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_deleted_consumer_is_made_again_where_the_log_ends() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..30).await;
    world.recorded(30).await;
    world.jetstream.delete_consumer_from_stream("lifeline", "S").await.unwrap();
    world.publish("s", 30..50).await;
    world.recorded(50).await;
    assert_eq!(world.payloads(), numbers(0..50));
    assert_eq!(world.others(), ["opened S 1 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn large_messages_fill_no_memory_and_stop_nothing() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    // More bytes than two pulls may take.
    let payload = bytes::Bytes::from(vec![b'x'; 1_000_000]);
    super::publish_all(&world.client, "s", (0..100).map(|_| payload.clone())).await;
    world.run().await;
    world.recorded(100).await;
    assert_eq!(world.reader("S").sessions, 1, "{:?}", world.reader("S"));
}

/// A stream of which ten messages were read, and the consumer that read them, for others to pull from.
async fn reading() -> (World, PullConsumer) {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..10).await;
    world.recorded(10).await;
    // The first messages are read alone, before the consumer is: what is stolen meanwhile is found before the first session.
    world.eventually("the consumer to be read", |_| world.reader("S").sessions == 1).await;
    let consumer = world.jetstream.get_consumer_from_stream("lifeline", "S").await.unwrap();
    (world, consumer)
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn another_reader_of_our_consumer_takes_nothing_from_us() {
    let (mut world, consumer) = reading().await;
    // The thief's pull waits behind our own two; once the engine is away it gets what comes.
    world.crash().await;
    world.publish("s", 10..20).await;
    let mut stolen = consumer.fetch().max_messages(5).messages().await.unwrap();
    while let Some(message) = futures::StreamExt::next(&mut stolen).await {
        message.unwrap().ack().await.unwrap();
    }
    world.client.flush().await.unwrap();
    world.run().await;
    world.recorded(20).await;
    assert_eq!(world.payloads(), numbers(0..20));
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn deliveries_that_went_elsewhere_are_fetched_again_before_anything_later() {
    let (world, consumer) = reading().await;
    // The server serves waiting pulls in turn, so this one takes some of what comes next, and keeps it.
    let thief = consumer.batch().max_messages(5).expires(Duration::from_secs(5)).messages().await.unwrap();
    let stolen = tokio::spawn(futures::StreamExt::count(thief));
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.publish("s", 10..60).await;
    world.recorded(60).await;
    assert_eq!(world.payloads(), numbers(0..60));
    assert_eq!(world.others(), ["opened S 1 1"]);
    assert_eq!(stolen.await.unwrap(), 5, "nothing was stolen, so nothing was tested");
    // The messages may be read alone before the next session begins.
    let another = async {
        while world.reader("S").sessions < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, another).await.expect("another session");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_last_message_that_went_elsewhere_and_was_acknowledged_there_is_fetched_again() {
    let (world, consumer) = reading().await;
    let mut thief = consumer.batch().max_messages(1).expires(PATIENCE).messages().await.unwrap();
    let stolen = tokio::spawn(async move {
        let message = futures::StreamExt::next(&mut thief).await.unwrap().unwrap();
        message.ack().await.unwrap();
    });
    let mut published = 10;
    while !stolen.is_finished() {
        assert!(published < 100, "nothing was stolen, so nothing was tested");
        world.publish("s", published..published + 1).await;
        published += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.recorded(published as usize).await;
    assert_eq!(world.payloads(), numbers(0..published));
    assert_eq!(world.others(), ["opened S 1 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_recorder_that_pauses_longer_than_any_heartbeat_is_not_taken_for_a_dead_server() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.ack_wait = Duration::from_secs(2);
    let payload = bytes::Bytes::from_static(b"x");
    super::publish_all(&world.client, "s", (0..60_000).map(|_| payload.clone())).await;
    world.recorder_pause = Duration::from_secs(8);
    world.backlog_min = u64::MAX;
    world.run().await;
    world.recorded(60_000).await;
    assert_eq!(world.others(), ["opened S 1 1"]);
    assert_eq!(world.reader("S").sessions, 1, "{:?}", world.reader("S"));
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_backlog_that_is_purged_while_it_is_asked_for_stops_nothing() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    let payload = bytes::Bytes::from_static(b"x");
    super::publish_all(&world.client, "s", (0..200_000).map(|_| payload.clone())).await;
    world.recorder_pause = Duration::from_secs(1);
    world.backlog_min = u64::MAX;
    world.run().await;
    world.recorded(5_000).await;
    // What was asked for because it waited, without a time at which to give up, waits no more.
    world.jetstream.get_stream("S").await.unwrap().purge().await.unwrap();
    world.publish("s", 0..5).await;
    world.eventually("what came after the purge", |log| log.payloads().ends_with(&numbers(0..5))).await;
    let recorded = world.payloads().len() - 5;
    assert!(recorded < 200_000, "nothing was purged unread, so nothing was tested");
    // Nothing was missing when we came, so what is missing now went before it was read.
    let gap = format!("gap S 1 {} 200001", recorded + 1);
    assert_eq!(world.others(), ["opened S 1 1", &gap]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn an_event_arrives_within_milliseconds_when_idle() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..1).await;
    world.recorded(1).await;
    let mut taken = Vec::new();
    for number in 1..200 {
        let started = Instant::now();
        world.client.publish("s", number.to_string().into()).await.unwrap();
        while world.log.lock().unwrap().messages.len() <= number {
            tokio::task::yield_now().await;
        }
        taken.push(started.elapsed());
    }
    taken.sort();
    eprintln!("publish to recorder, idle: median {:?}, p99 {:?}", taken[100], taken[197]);
    assert!(taken[100] < Duration::from_millis(50), "median {:?}", taken[100]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn an_idle_stream_is_not_taken_for_dead() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..1).await;
    world.recorded(1).await;
    // The second start reads where nothing comes: its looks and the heartbeats begin at the same moment.
    world.crash().await;
    world.run().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.reader("S").sessions, 1, "{:?}", world.reader("S"));
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn what_waits_is_shown_while_a_consumer_is_paused() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..3).await;
    world.recorded(3).await;
    world.shows("nothing waits", |status| status.readers["S"].borrow().pending == Some(0)).await;
    let request = serde_json::json!({"pause_until": "2100-01-01T00:00:00Z"}).to_string();
    world.client.request("$JS.API.CONSUMER.PAUSE.S.lifeline", request.into()).await.unwrap();
    world.publish("s", 3..503).await;
    let waits = |status: &Status| status.readers["S"].borrow().pending == Some(500);
    world.shows("what waits for a paused consumer", waits).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(waits(&world.status()), "{:?}", world.status());
    world.publish("s", 503..603).await;
    world.shows("more of it", |status| status.readers["S"].borrow().pending == Some(600)).await;
    world.client.request("$JS.API.CONSUMER.PAUSE.S.lifeline", "{}".into()).await.unwrap();
    world.recorded(603).await;
    world.shows("nothing waits again", |status| status.readers["S"].borrow().pending == Some(0)).await;
}
