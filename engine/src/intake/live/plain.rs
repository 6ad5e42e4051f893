//! Servers without JetStream: subjects are read by plain subscriptions, until there are streams.

use super::*;
use crate::intake::plain::stream_of;

/// A world whose server has no JetStream.
async fn without_jetstream(subjects: &[&str], extra: &str) -> World {
    World::on(Server::start(nats_server(), "plain", extra), subjects).await
}

impl World {
    /// Publishes as `nats pub` does, which asks for no answer.
    async fn publish_plainly(&self, subject: &str, payloads: std::ops::Range<u32>) {
        for payload in payloads {
            self.client.publish(subject.to_owned(), payload.to_string().into()).await.unwrap();
        }
        self.client.flush().await.unwrap();
    }

    /// Waits until intake has nothing to complain about, and reads so many subjects without a stream.
    async fn reads_plainly(&self, subjects: usize) {
        let status = self.running.as_ref().expect("it runs").status.clone();
        self.eventually("a plain subscription", |_| {
            let status = status.borrow();
            status.plain.len() == subjects && status.complete && status.obstacles().is_empty()
        })
        .await;
        // The server has to know the subscription too.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// The server is started again, with JetStream or without.
    async fn restart(&mut self, jetstream: bool) {
        self.server.kill();
        self.server.jetstream = jetstream;
        self.server.launch();
        let deadline = Instant::now() + PATIENCE;
        while self.client.flush().await.is_err()
            || self.client.connection_state() != async_nats::connection::State::Connected
        {
            assert!(Instant::now() < deadline, "the producer is not connected");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn counts(&self, subject: &str) -> crate::intake::plain::Counts {
        self.status().plain[&stream_of(subject)].buffer.lock().counts()
    }

    /// The payloads of one stream.
    fn payloads_of(&self, stream: &str) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.messages.iter().filter(|(of, ..)| of == stream).map(|(.., payload)| payload.clone()).collect()
    }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn without_jetstream_a_subject_is_subscribed_to_and_numbered_by_the_log() {
    let mut world = without_jetstream(&["s", "t.*"], "").await;
    world.run().await;
    world.reads_plainly(2).await;
    world.publish_plainly("s", 0..3).await;
    world.publish_plainly("t.a", 3..5).await;
    world.publish_plainly("elsewhere", 5..6).await;
    world.recorded(5).await;
    world.crash().await;
    world.publish_plainly("s", 6..7).await;
    world.run().await;
    world.reads_plainly(2).await;
    world.publish_plainly("s", 7..9).await;
    world.recorded(7).await;
    let mut others = world.others();
    others.sort();
    assert_eq!(others, ["opened $NATS.s 1 1", "opened $NATS.t.* 1 1"]);
    assert_eq!(world.payloads_of("$NATS.t.*"), numbers(3..5));
    let log = world.log.lock().unwrap();
    let read: Vec<_> = log.messages.iter().filter(|(stream, ..)| stream == "$NATS.s").collect();
    let sequences: Vec<u64> = read.iter().map(|(_, _, sequence, _)| *sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5], "what was published while nobody was there has no number");
    assert_eq!(read[3].3, "7");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn jetstream_is_used_as_soon_as_the_server_is_restarted_with_it() {
    let mut world = without_jetstream(&["s"], "").await;
    world.run().await;
    world.reads_plainly(1).await;
    world.publish_plainly("s", 0..10).await;
    world.recorded(10).await;
    world.restart(true).await;
    // All the time, so that some come by both ways: the client is connected again sooner or later than intake is.
    let mut published = 10;
    let deadline = Instant::now() + Duration::from_secs(8);
    while Instant::now() < deadline {
        world.publish_plainly("s", published..published + 1).await;
        published += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let last = published - 1;
    world.eventually("the last", |log| log.payloads().contains(&last.to_string())).await;
    assert!(world.status().plain.is_empty(), "{:?}", world.status());
    let payloads = world.payloads();
    let first = payloads[10].clone().parse::<u32>().unwrap();
    assert!(first < 1_000, "the subscription was back at once: {first}");
    let expected: Vec<String> = numbers(0..10).into_iter().chain(numbers(first..published)).collect();
    assert_eq!(payloads, expected, "each once and in order, but for those of the moment without a subscription");
    assert!(!world.payloads_of("LIFELINE").is_empty());
    let both = world.held("LIFELINE").await as usize + world.payloads_of("$NATS.s").len() - payloads.len();
    assert!(both > 0, "some came by both ways");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn jetstream_that_goes_and_comes_back_is_read_from_where_it_was_left() {
    let mut world = World::new(&["s"]).await;
    world.run().await;
    world.eventually("the stream", |log| !log.others.is_empty()).await;
    world.publish("s", 0..5).await;
    world.recorded(5).await;
    world.restart(false).await;
    world.reads_plainly(1).await;
    world.publish_plainly("s", 5..10).await;
    world.recorded(10).await;
    world.restart(true).await;
    world.publish("s", 10..20).await;
    world.recorded(20).await;
    let status = world.running.as_ref().unwrap().status.clone();
    world.eventually("the end of the subscription", |_| status.borrow().plain.is_empty()).await;
    world.publish("s", 20..30).await;
    world.recorded(30).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.payloads(), numbers(0..30));
    assert_eq!(world.others(), ["opened LIFELINE 1 1", "opened $NATS.s 1 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_stream_that_is_refused_leaves_a_plain_subscription_beside_other_streams() {
    let denied = "authorization { users: [{user: u, password: p, permissions: {publish: {deny: [\"$JS.API.STREAM.CREATE.LIFELINE\"]}}}] }\n\
                  no_auth_user: u";
    let mut world = World::with(&["s", "t"], denied).await;
    world.create("T", &["t"], Config::default()).await;
    world.run().await;
    world.reads_plainly(1).await;
    world.publish_plainly("s", 0..3).await;
    world.publish("t", 3..6).await;
    world.recorded(6).await;
    assert_eq!((world.payloads_of("$NATS.s"), world.payloads_of("T")), (numbers(0..3), numbers(3..6)));
    assert!(world.status().plain["$NATS.s"].because.contains("STREAM.CREATE.LIFELINE"));
    // A stream that somebody else makes.
    world.create("S", &["s"], Config::default()).await;
    let status = world.running.as_ref().unwrap().status.clone();
    world.eventually("the end of the subscription", |_| status.borrow().plain.is_empty()).await;
    world.publish("s", 6..9).await;
    world.recorded(9).await;
    assert_eq!(world.payloads_of("S"), numbers(6..9));
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn what_comes_between_a_stream_and_the_look_for_it_is_recorded_once() {
    let denied = "authorization { users: [{user: u, password: p, permissions: {publish: {deny: [\"$JS.API.STREAM.CREATE.LIFELINE\"]}}}] }\n\
                  no_auth_user: u";
    let mut world = World::with(&["s"], denied).await;
    world.run().await;
    world.reads_plainly(1).await;
    world.publish_plainly("s", 0..3).await;
    world.create("S", &["s"], Config::default()).await;
    world.publish("s", 3..8).await;
    world.recorded(8).await;
    let status = world.running.as_ref().unwrap().status.clone();
    world.eventually("the end of the subscription", |_| status.borrow().plain.is_empty()).await;
    world.publish("s", 8..10).await;
    world.recorded(10).await;
    assert_eq!(world.payloads(), numbers(0..10));
    assert_eq!((world.held("S").await, world.payloads_of("S")), (7, numbers(8..10)));
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_plain_subscription_is_used_beside_a_stream_only_when_it_is_asked_for() {
    for (used, stream) in [(Use::Auto, "S"), (Use::Always, "S"), (Use::Never, "$NATS.s")] {
        let mut world = World::new(&["s"]).await;
        world.used = used;
        world.create("S", &["s"], Config::default()).await;
        world.run().await;
        if used == Use::Never {
            world.reads_plainly(1).await;
        }
        world.publish("s", 0..3).await;
        world.recorded(3).await;
        assert_eq!(world.payloads_of(stream), numbers(0..3), "{used:?}");
    }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn without_jetstream_nothing_is_read_where_it_is_asked_for_or_no_subject_is_named() {
    for (used, subjects, expected) in
        [(Use::Always, &["s"][..], "`jetstream` is `always`"), (Use::Auto, &[], "no subjects are named")]
    {
        let mut world = without_jetstream(subjects, "").await;
        world.used = used;
        world.run().await;
        let status = world.running.as_ref().unwrap().status.clone();
        world
            .eventually("an obstacle", |_| {
                status.borrow().obstacles().iter().any(|obstacle| {
                    obstacle.contains("JetStream is not enabled at nats://") && obstacle.contains(expected)
                })
            })
            .await;
        assert!(world.status().plain.is_empty());
    }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn what_a_slow_recorder_leaves_no_room_for_is_counted_and_recorded_as_a_gap() {
    let mut world = without_jetstream(&["s"], "").await;
    world.recorder_pause = Duration::from_secs(3);
    world.waiting_messages_max = 100;
    world.run().await;
    world.reads_plainly(1).await;
    // The recorder pauses at its tenth item. The first says that the subject is read, then each message is one.
    for payload in 0..8 {
        world.publish_plainly("s", payload..payload + 1).await;
        world.recorded(payload as usize + 1).await;
    }
    world.publish_plainly("s", 8..9).await;
    world.eventually("the pause", |log| log.pauses).await;
    world.publish_plainly("s", 9..2_000).await;
    let status = world.running.as_ref().unwrap().status.clone();
    let dropped = || status.borrow().plain["$NATS.s"].buffer.lock().counts().dropped;
    world.eventually("drops", |_| dropped() > 0).await;
    world.eventually("the gap", |log| log.others.iter().any(|other| other.starts_with("gap"))).await;
    world.publish_plainly("s", 2_000..2_001).await;
    world.eventually("the last", |log| log.payloads().contains(&"2000".to_owned())).await;
    let recorded = world.payloads().len() as u64;
    assert_eq!(recorded + dropped(), 2_001, "every message is recorded or counted");
    let log = world.log.lock().unwrap();
    assert_eq!(log.known["$NATS.s"].next_sequence, 2_002, "a gap takes as many numbers as messages are lost");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_restart_of_a_server_without_jetstream_is_an_interruption() {
    let mut world = without_jetstream(&["s"], "").await;
    world.run().await;
    world.reads_plainly(1).await;
    assert_eq!(world.counts("s").interruptions, 0);
    world.publish_plainly("s", 0..3).await;
    world.recorded(3).await;
    world.restart(false).await;
    let status = world.running.as_ref().unwrap().status.clone();
    let interruptions = || status.borrow().plain["$NATS.s"].buffer.lock().counts().interruptions;
    world.eventually("the interruption", |_| interruptions() == 1).await;
    world.publish_plainly("s", 3..6).await;
    world.recorded(6).await;
    assert_eq!(world.payloads(), numbers(0..6));
    assert_eq!(world.others(), ["opened $NATS.s 1 1"], "nothing begins again where nothing is kept");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_user_without_a_right_to_jetstream_subscribes_plainly_and_keeps_its_connection() {
    let denied = "authorization { users: [{user: u, password: p, permissions: {publish: {deny: [\"$JS.API.>\"]}}}] }\n\
                  no_auth_user: u";
    let mut world = World::with(&["s"], denied).await;
    world.run().await;
    world.reads_plainly(1).await;
    assert!(world.status().plain["$NATS.s"].because.contains("refuses a right to JetStream"));
    world.publish_plainly("s", 0..3).await;
    world.recorded(3).await;
    // Three requests without an answer would have made it connect again.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(world.counts("s").interruptions, 0);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_subject_that_may_not_be_subscribed_to_is_named() {
    let denied = "authorization { users: [{user: u, password: p, permissions: {subscribe: {deny: [\"s\"]}}}] }\n\
                  no_auth_user: u";
    let mut world = without_jetstream(&["s", "t"], denied).await;
    world.run().await;
    let status = world.running.as_ref().expect("it runs").status.clone();
    let expected = "subject `s` cannot be subscribed to: the NATS server refuses the right";
    world.eventually("the reason", |_| status.borrow().obstacles() == [expected]).await;
    world.publish_plainly("t", 0..3).await;
    world.recorded(3).await;
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn what_nats_and_lifeline_speak_with_is_never_recorded() {
    let mut world = World::new(&[">"]).await;
    world.run().await;
    world.reads_plainly(1).await;
    let because = world.status().plain[&stream_of(">")].because.clone();
    assert!(because.contains("which belongs to NATS and is not recorded"), "{because}");
    for subject in ["lifeline.v1.status", "_INBOX.a.b", "$SRV.PING"] {
        world.publish_plainly(subject, 90..93).await;
    }
    world.publish_plainly("s", 0..3).await;
    world.recorded(3).await;
    // Meanwhile streams are looked for, with requests and their answers.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(world.payloads(), numbers(0..3));
    assert_eq!(world.status().created, Vec::<String>::new());
    // A stream that somebody makes for a part of them changes nothing.
    world.create("S", &["lifeline.>"], Config::default()).await;
    world.publish("lifeline.v1.query", 93..94).await;
    world.publish("lifeline.orders", 3..5).await;
    world.recorded(5).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(world.payloads(), numbers(0..5));
}
