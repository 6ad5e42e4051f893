//! Other subjects of a stream are named than before, or a stream keeps messages under other subjects than are named.

use async_nats::jetstream::stream::SubjectTransform;

use super::*;

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
