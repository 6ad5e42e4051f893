//! Backlogs: read through a second consumer, with the durable one behind, through whatever happens on the way.

use futures::TryStreamExt;

use super::*;

/// Many times what lies between the stream and a recorder that pauses.
const EVENTS: u32 = 200_000;

/// A stream `S` that holds the subjects `held`, a backlog of `s.a`, and a recorder that pauses early in it.
async fn backlog(held: &str, extra: &str) -> World {
    let mut world = World::with(&["s.a"], extra).await;
    world.create("S", &[held], Config::default()).await;
    world.publish_many("s.a", 0..EVENTS).await;
    world.recorder_pause = Duration::from_secs(2);
    world
}

impl World {
    /// Names of the consumers of `S`.
    async fn consumers(&self) -> Vec<String> {
        let stream = self.jetstream.get_stream("S").await.unwrap();
        let mut names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
        names.sort();
        names
    }

    /// How far the durable consumer of `S` is acknowledged, if it and the server are there.
    async fn floor_if_known(&self) -> Option<u64> {
        let stream = self.jetstream.get_stream("S").await.ok()?;
        Some(stream.consumer_info("lifeline").await.ok()?.ack_floor.stream_sequence)
    }

    async fn floor(&self) -> u64 {
        self.floor_if_known().await.unwrap()
    }

    /// Waits for all of the backlog, and looks meanwhile whether the durable consumer is ever ahead of the log.
    async fn recorded_before_acknowledged(&self) {
        let deadline = Instant::now() + PATIENCE;
        let recorded = || self.log.lock().unwrap().messages.len();
        while recorded() < EVENTS as usize {
            assert!(Instant::now() < deadline, "{} recorded", recorded());
            let Some(floor) = self.floor_if_known().await else { continue };
            // Asked after the floor: whatever comes meanwhile only makes it more.
            let recorded = recorded() as u64;
            assert!(floor <= recorded, "acknowledged to {floor}, recorded to {recorded}");
        }
        assert_eq!(self.payloads(), numbers(0..EVENTS));
    }

    /// Waits until the recorder pauses in the middle of the backlog.
    async fn midway(&self) {
        self.eventually("a pause", |log| log.pauses).await;
        assert!(self.payloads().len() < EVENTS as usize / 2, "the recorder paused late");
    }

    /// Waits until the durable consumer alone is left, with everything acknowledged.
    async fn caught_up(&self, last: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.consumers().await != ["lifeline"] || self.floor().await != last {
            assert!(Instant::now() < deadline, "{:?} at {}", self.consumers().await, self.floor().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_backlog_comes_once_and_in_order_and_the_durable_consumer_stays_behind_the_log() {
    let mut world = backlog("s.a", "").await;
    world.run().await;
    world.midway().await;
    assert_eq!(world.consumers().await, ["lifeline", "lifeline-backlog"]);
    world.recorded_before_acknowledged().await;
    world.caught_up(u64::from(EVENTS)).await;
    world.publish("s.a", EVENTS..EVENTS + 5).await;
    world.recorded(EVENTS as usize + 5).await;
    assert_eq!(world.payloads(), numbers(0..EVENTS + 5));
    world.caught_up(u64::from(EVENTS) + 5).await;
    assert_eq!(world.others(), ["opened S 1 1"]);
    assert_eq!(world.reader("S").sessions, 1);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn the_durable_consumer_follows_a_backlog_of_one_subject_among_others() {
    let mut world = backlog("s.*", "").await;
    world.publish_many("s.b", 0..1_000).await;
    world.run().await;
    world.midway().await;
    let deadline = Instant::now() + PATIENCE;
    let mut floors = Vec::new();
    while world.log.lock().unwrap().messages.len() < EVENTS as usize {
        assert!(Instant::now() < deadline);
        if world.consumers().await.len() == 2 {
            floors.push(world.floor().await);
        }
    }
    assert!(floors.is_sorted(), "it never goes back: {floors:?}");
    let (first, last) = (floors.first().copied().unwrap(), floors.last().copied().unwrap());
    assert!(first < last, "it stood still: {floors:?}");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_crash_in_a_backlog_loses_and_repeats_nothing() {
    let mut world = backlog("s.a", "").await;
    world.run().await;
    world.midway().await;
    world.crash().await;
    world.run().await;
    world.recorded(EVENTS as usize).await;
    assert_eq!(world.payloads(), numbers(0..EVENTS));
    world.caught_up(u64::from(EVENTS)).await;
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_server_killed_in_a_backlog_loses_and_repeats_nothing() {
    let mut world = backlog("s.a", "").await;
    world.run().await;
    world.midway().await;
    world.server.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.server.launch();
    world.recorded_before_acknowledged().await;
    world.caught_up(u64::from(EVENTS)).await;
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_purge_in_a_backlog_is_a_gap() {
    let mut world = backlog("s.a", "").await;
    world.run().await;
    world.midway().await;
    world.jetstream.get_stream("S").await.unwrap().purge().await.unwrap();
    world.publish("s.a", EVENTS..EVENTS + 3).await;
    world
        .eventually("the newest message", |log| log.messages.last().is_some_and(|last| last.2 == u64::from(EVENTS) + 3))
        .await;
    let recorded = world.payloads().len() - 3;
    assert!(recorded < EVENTS as usize, "nothing was purged unread");
    let gap = format!("gap S 1 {} {}", recorded + 1, EVENTS + 1);
    assert_eq!(world.others(), ["opened S 1 1", &gap]);
    world.caught_up(u64::from(EVENTS) + 3).await;
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn either_consumer_deleted_in_a_backlog_is_made_again() {
    for name in ["lifeline", "lifeline-backlog"] {
        let mut world = backlog("s.a", "").await;
        world.run().await;
        world.midway().await;
        world.jetstream.get_stream("S").await.unwrap().delete_consumer(name).await.unwrap();
        world.recorded(EVENTS as usize).await;
        assert_eq!(world.payloads(), numbers(0..EVENTS));
        world.caught_up(u64::from(EVENTS)).await;
    }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_backlog_is_read_without_a_second_consumer_where_none_is_allowed() {
    let extra = r#"
        authorization { users: [{ user: u, password: p, permissions: { publish: { deny: "$JS.API.CONSUMER.*.S.lifeline-backlog" } } }] }
        no_auth_user: u
    "#;
    let mut world = backlog("s.*", extra).await;
    world.recorder_pause = Duration::ZERO;
    world.run().await;
    world.recorded(EVENTS as usize).await;
    assert_eq!(world.payloads(), numbers(0..EVENTS));
    world.caught_up(u64::from(EVENTS)).await;
}
