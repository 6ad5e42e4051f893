//! What happens to streams: made, made anew, purged, aged, restored, and kept by other rules.

use super::*;

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn subjects_that_no_stream_holds_get_one_and_become_durable() {
    let mut world = World::new(&["test", "foo"]).await;
    world.run().await;
    world.eventually("opened", |log| !log.others.is_empty()).await;
    world.publish("test", 0..3).await;
    world.client.publish("foo", "plain".into()).await.unwrap();
    world.recorded(4).await;
    assert_eq!(world.others(), ["opened LIFELINE 1 1"]);
    assert_eq!(world.status().created, ["LIFELINE"]);
    assert_eq!(world.payloads(), ["0", "1", "2", "plain"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_deleted_and_recreated_stream_is_a_new_epoch_with_all_its_messages() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..30).await;
    world.recorded(30).await;
    world.jetstream.delete_stream("S").await.unwrap();
    world.create("S", &["s"], Config::default()).await;
    world.publish("s", 30..40).await;
    world.recorded(40).await;
    assert_eq!(world.payloads(), numbers(0..40));
    assert_eq!(world.others(), ["opened S 1 1", "opened S 2 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_stream_recreated_while_away_is_a_new_epoch_whatever_its_length() {
    let mut world = World::new(&["s"]).await;
    for (round, again) in [(0, 5), (1, 10), (2, 40)] {
        let base = round * 1_000;
        let _ = world.jetstream.delete_stream("S").await;
        world.create("S", &["s"], Config::default()).await;
        world.publish("s", base..base + 10).await;
        let recorded = world.payloads().len();
        world.run().await;
        world.recorded(recorded + 10).await;
        world.crash().await;
        world.jetstream.delete_stream("S").await.unwrap();
        world.create("S", &["s"], Config::default()).await;
        world.publish("s", base + 500..base + 500 + again).await;
        world.run().await;
        world.recorded(recorded + 10 + again as usize).await;
        let payloads = world.payloads();
        assert_eq!(payloads[recorded + 10..], numbers(base + 500..base + 500 + again));
        world.crash().await;
    }
    assert_eq!(world.others().len(), 6, "{:?}", world.others());
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_deleted_stream_of_ours_is_made_again() {
    let mut world = World::new(&["s"]).await;
    world.run().await;
    world.eventually("opened", |log| !log.others.is_empty()).await;
    world.publish("s", 0..5).await;
    world.recorded(5).await;
    world.jetstream.delete_stream("LIFELINE").await.unwrap();
    world.publish("s", 5..9).await;
    world.recorded(9).await;
    assert_eq!(world.payloads(), numbers(0..9));
    assert_eq!(world.others(), ["opened LIFELINE 1 1", "opened LIFELINE 2 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_purge_of_unread_messages_is_a_gap() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..10).await;
    world.recorded(10).await;
    world.crash().await;
    world.publish("s", 10..20).await;
    world.jetstream.get_stream("S").await.unwrap().purge().await.unwrap();
    world.run().await;
    world.publish("s", 20..25).await;
    world.recorded(15).await;
    assert_eq!(world.others(), ["opened S 1 1", "gap S 1 11 21"]);
    assert_eq!(world.payloads()[10..], numbers(20..25));
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_purge_while_reading_is_no_gap_when_all_was_read() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..10).await;
    world.recorded(10).await;
    world.jetstream.get_stream("S").await.unwrap().purge().await.unwrap();
    world.publish("s", 10..15).await;
    world.recorded(15).await;
    assert_eq!(world.payloads(), numbers(0..15));
    assert_eq!(world.others(), ["opened S 1 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn messages_that_aged_out_while_away_are_a_gap() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config { max_age: Duration::from_secs(1), ..Config::default() }).await;
    world.run().await;
    world.publish("s", 0..10).await;
    world.recorded(10).await;
    world.crash().await;
    world.publish("s", 10..20).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    world.publish("s", 20..25).await;
    world.run().await;
    world.recorded(15).await;
    assert_eq!(world.others(), ["opened S 1 1", "gap S 1 11 21"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_work_queue_is_read_once_and_emptied() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config { retention: RetentionPolicy::WorkQueue, ..Config::default() }).await;
    world.publish("s", 0..30).await;
    // Recorded, not acknowledged: the messages stay in the queue and have to be acknowledged after the restart.
    world.acknowledging = false;
    world.run().await;
    world.recorded(30).await;
    world.crash().await;
    world.acknowledging = true;
    world.publish("s", 30..40).await;
    world.run().await;
    world.recorded(40).await;
    assert_eq!(world.payloads(), numbers(0..40));
    world.emptied("S").await;
    assert_eq!(world.others(), ["opened S 1 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn an_interest_stream_keeps_what_we_have_not_recorded() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config { retention: RetentionPolicy::Interest, ..Config::default() }).await;
    world.run().await;
    world.consumer_exists("S").await;
    world.publish("s", 0..10).await;
    world.recorded(10).await;
    world.crash().await;
    world.publish("s", 10..20).await;
    world.run().await;
    world.recorded(20).await;
    assert_eq!(world.payloads(), numbers(0..20));
    assert_eq!(world.others(), ["opened S 1 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn an_interest_stream_lets_go_only_of_what_was_acknowledged() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config { retention: RetentionPolicy::Interest, ..Config::default() }).await;
    world.acknowledging = false;
    world.run().await;
    world.consumer_exists("S").await;
    world.publish("s", 0..10).await;
    world.recorded(10).await;
    // The reader looks anew in the middle, with ten messages handed over and none of them durable.
    world.server.kill();
    world.server.launch();
    world.publish("s", 10..15).await;
    world.recorded(15).await;
    assert_eq!(world.held("S").await, 15);
    world.crash().await;
    world.acknowledging = true;
    world.run().await;
    world.publish("s", 15..20).await;
    world.recorded(20).await;
    world.emptied("S").await;
    assert_eq!(world.payloads(), numbers(0..20));
    assert_eq!(world.others(), ["opened S 1 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_message_deleted_unread_is_a_gap() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..10).await;
    world.recorded(10).await;
    world.crash().await;
    world.publish("s", 10..20).await;
    world.jetstream.get_stream("S").await.unwrap().delete_message(15).await.unwrap();
    world.run().await;
    world.recorded(19).await;
    assert_eq!(world.others(), ["opened S 1 1", "gap S 1 15 16"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_filter_reads_its_subject_only_and_survives_a_change() {
    let mut world = World::new(&["s.a"]).await;
    world.create("S", &["s.*"], Config::default()).await;
    world.publish("s.a", 0..5).await;
    world.publish("s.b", 100..105).await;
    world.run().await;
    world.publish("s.a", 5..10).await;
    world.recorded(10).await;
    assert_eq!(world.payloads(), numbers(0..10));
    world.crash().await;
    world.wanted.subjects.push("s.b".to_owned());
    world.publish("s.b", 105..110).await;
    world.run().await;
    world.recorded(15).await;
    assert_eq!(world.payloads()[10..], numbers(105..110));
    assert_eq!(world.others(), ["opened S 1 1"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_store_restored_from_an_older_copy_is_a_new_epoch_without_what_was_recorded() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..10).await;
    world.recorded(10).await;
    world.crash().await;
    world.server.kill();
    let (store, copy) = (world.server.folder.path().join("store"), world.server.folder.path().join("copy"));
    copy_folder(&store, &copy);
    world.server.launch();
    world.run().await;
    world.publish("s", 10..20).await;
    world.recorded(20).await;
    world.server.kill();
    std::fs::remove_dir_all(&store).unwrap();
    copy_folder(&copy, &store);
    world.server.launch();
    world.publish("s", 20..50).await;
    world.recorded(50).await;
    assert_eq!(world.payloads(), numbers(0..50));
    let others = world.others();
    assert_eq!(others[0], "opened S 1 1");
    assert_eq!(others[1..], ["opened S 2 11"], "the ten that the copy still held are not recorded again");
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
