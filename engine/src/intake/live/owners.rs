//! Who owns a consumer, as a real server keeps it.

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::{Config, RetentionPolicy};

use super::{World, numbers};
use crate::intake::Connection;
use crate::intake::metadata::RENEWED;
use crate::intake::nats::Nats;
use crate::intake::owner::Owner;

fn owner(instance: &str, renewed: u64) -> Owner {
    let (instance, host) = (instance.to_owned(), "node".to_owned());
    Owner { instance, host, since_unix_nanos: 1_780_000_000_000_000_001, renewed_unix_nanos: renewed }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_note_of_the_owner_is_renewed_while_the_consumer_delivers() {
    for retention in [RetentionPolicy::Limits, RetentionPolicy::WorkQueue] {
        let mut world = World::new(&["s"]).await;
        world.create("S", &["s"], Config { retention, ..Config::default() }).await;
        world.run().await;
        world.publish("s", 0..10).await;
        world.recorded(10).await;
        world.eventually("the consumer to be read", |_| world.reader("S").sessions == 1).await;
        let connection = Connection::from_url(&world.server.url(), "test", &[]).unwrap();
        let (client, link) = connection.servers[0].connect().await.unwrap();
        let nats = Nats::new(client, world.server.url(), link, None);

        assert_eq!(nats.owner("S", "lifeline").await.unwrap(), None);
        assert_eq!(nats.note_owner("S", "nobody", &owner("a", 1)).await.unwrap(), None, "there is no such consumer");
        for (renewed, from) in [(1_780_000_000_000_000_001, 10), (1_780_000_010_000_000_000, 20)] {
            let noted = nats.note_owner("S", "lifeline", &owner("a", renewed)).await.unwrap();
            assert_eq!(noted, Some(owner("a", renewed)));
            world.publish("s", from..from + 10).await;
            world.recorded(from as usize + 10).await;
        }
        let consumer: PullConsumer = world.jetstream.get_consumer_from_stream("lifeline", "S").await.unwrap();
        let metadata = &consumer.cached_info().config.metadata;
        assert_eq!(metadata.get(RENEWED).map(String::as_str), Some("2026-05-28T20:26:50Z"), "{metadata:?}");
        let reader = world.reader("S");
        assert_eq!((reader.sessions, reader.redelivered), (1, 0), "{retention:?}: a note disturbed it: {reader:?}");
        assert_eq!(world.payloads(), numbers(0..30));
    }
}
