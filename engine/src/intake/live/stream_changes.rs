//! What happens to streams: made, made again, purged, aged, restored, and kept by other rules.

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
async fn a_stream_that_was_read_and_is_deleted_is_told_until_it_is_back() {
    let mut world = World::new(&[]).await;
    for name in ["a", "b"] {
        world.create(&name.to_uppercase(), &[name], Config::default()).await;
    }
    world.run().await;
    world.publish("a", 0..3).await;
    world.publish("b", 3..6).await;
    world.recorded(6).await;
    world.jetstream.delete_stream("A").await.unwrap();
    let is_told =
        |status: &Status| status.warnings.iter().any(|one| one.starts_with("stream `A`, which was read, is gone"));
    world
        .shows("the other one is read, and that one is told", |status| is_told(status) && status.obstacles().is_empty())
        .await;
    // It lasts.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(is_told(&world.status()), "{:?}", world.status());
    world.create("A", &["a"], Config::default()).await;
    world.publish("a", 6..8).await;
    world.recorded(8).await;
    world.shows("it is back", |status| !is_told(status) && status.obstacles().is_empty()).await;
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
async fn a_full_stream_that_drops_messages_all_the_time_is_read() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config { max_messages: 50, ..Config::default() }).await;
    world.publish("s", 0..100).await;
    let client = world.client.clone();
    let publishing = tokio::spawn(async move {
        for number in 100..100_000 {
            client.publish("s", number.to_string().into()).await.unwrap();
            if number % 8 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    world.run().await;
    // Each session that ends before it reads would record one more gap, and no message.
    world.recorded(1_000).await;
    publishing.abort();
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
    // The reader looks again in the middle, with ten messages handed over and none of them durable.
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
    // Those from before the change too.
    world.recorded(20).await;
    assert_eq!(world.payloads()[10..], numbers(100..110));
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
    keep_copy(&mut world, "ten");
    world.run().await;
    world.publish("s", 10..20).await;
    world.recorded(20).await;
    restore_copy(&mut world, "ten");
    world.publish("s", 20..50).await;
    world.recorded(50).await;
    assert_eq!(world.payloads(), numbers(0..50));
    let others = world.others();
    assert_eq!(others[0], "opened S 1 1");
    assert_eq!(others[1..], ["opened S 2 11"], "the ten that the copy still held are not recorded again");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_tail_that_is_lost_twice_with_nothing_read_in_between_hides_no_message() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.publish("s", 0..7).await;
    keep_copy(&mut world, "seven");
    world.publish("s", 7..10).await;
    keep_copy(&mut world, "ten");
    world.run().await;
    world.publish("s", 10..15).await;
    world.recorded(15).await;
    restore_copy(&mut world, "ten");
    world.eventually("a second epoch", |log| log.others.len() == 2).await;
    world.crash().await;
    restore_copy(&mut world, "seven");
    // Sequences 8 to 14, of which the second epoch begins at 11.
    world.publish("s", 15..22).await;
    world.run().await;
    world.recorded(22).await;
    assert_eq!(world.payloads(), numbers(0..22));
    assert_eq!(world.others(), ["opened S 1 1", "opened S 2 11", "opened S 3 8"]);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn sequences_of_a_recorded_gap_that_are_given_again_are_read() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..5).await;
    world.recorded(5).await;
    world.crash().await;
    world.publish("s", 5..7).await;
    keep_copy(&mut world, "seven");
    world.publish("s", 7..10).await;
    world.jetstream.get_stream("S").await.unwrap().purge().await.unwrap();
    world.run().await;
    world.eventually("a gap", |log| log.others.len() == 2).await;
    world.crash().await;
    // The server no longer knows of the purge, nor of what it purged.
    restore_copy(&mut world, "seven");
    world.publish("s", 10..14).await;
    world.run().await;
    world.recorded(11).await;
    assert_eq!(world.payloads(), [numbers(0..7), numbers(10..14)].concat());
    assert_eq!(world.others(), ["opened S 1 1", "gap S 1 6 11", "opened S 2 6"]);
}

/// Keeps what the server has on its disk, which it is stopped for.
fn keep_copy(world: &mut World, name: &str) {
    let folder = world.server.folder.path().to_owned();
    world.server.kill();
    copy_folder(&folder.join("store"), &folder.join(name));
    world.server.launch();
}

/// Restarts the server with what it had on its disk when the copy was made.
fn restore_copy(world: &mut World, name: &str) {
    let folder = world.server.folder.path().to_owned();
    world.server.kill();
    std::fs::remove_dir_all(folder.join("store")).unwrap();
    copy_folder(&folder.join(name), &folder.join("store"));
    world.server.launch();
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
