//! What may be lost where a stream is not read whole.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, RetentionPolicy};

use super::World;

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn what_was_purged_unread_beside_other_subjects_is_told() {
    for retention in [RetentionPolicy::Limits, RetentionPolicy::WorkQueue] {
        let mut world = World::new(&["a"]).await;
        world.create("S", &["a", "b"], Config { retention, ..Config::default() }).await;
        world.publish("b", 100..103).await;
        world.run().await;
        world.publish("a", 0..5).await;
        world.recorded(5).await;
        world.crash().await;
        world.publish("a", 5..10).await;
        world.publish("b", 103..113).await;
        let stream = world.jetstream.get_stream("S").await.unwrap();
        stream.purge().filter("a").await.unwrap();

        // Nothing more comes; and the five that the log holds are no loss.
        world.run().await;
        let told = || world.status().readers.get("S").is_some_and(|reader| reader.borrow().passed_over > 0);
        world.eventually("a loss to be told", |_| told()).await;
        assert_eq!(world.reader("S").passed_over, 5, "{retention:?}");

        // While it is read: one that was read, and one of another subject that it passed over.
        world.publish("a", 10..12).await;
        world.recorded(7).await;
        let last = world.log.lock().unwrap().messages.last().map(|(_, _, sequence, _)| *sequence).unwrap();
        if retention == RetentionPolicy::Limits {
            stream.delete_message(last).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(world.reader("S").passed_over, 5, "{retention:?}");
        // What was found is in the log, as no gap: a gap is exact. The next start forgets none of it, and counts none twice.
        let recorded = ["opened S 1 1", "holes S 1 9 24 5"];
        assert_eq!(world.others(), recorded, "{retention:?}");
        world.crash().await;
        world.run().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(world.others(), recorded, "{retention:?}");
    }
}
