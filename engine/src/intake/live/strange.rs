//! Messages that the client library cannot read, published over a raw socket: they stop nothing, and are recorded.

use std::io::{Read, Write};
use std::net::TcpStream;

use lifeline_store::Random;

use super::*;
use crate::clock::{Clock, SystemClock};

/// Publishes any bytes. The server checks no more than the sizes.
struct Raw(TcpStream);

impl Raw {
    fn connect(server: &Server) -> Raw {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n").unwrap();
        Raw(stream)
    }

    fn publish(&mut self, subject: &[u8], headers: &[u8], payload: &[u8]) {
        let sizes = match headers {
            [] => format!(" {}\r\n", payload.len()),
            _ => format!(" {} {}\r\n", headers.len(), headers.len() + payload.len()),
        };
        let operation: &[u8] = if headers.is_empty() { b"PUB " } else { b"HPUB " };
        self.0.write_all(&[operation, subject, sizes.as_bytes(), headers, payload, b"\r\n"].concat()).unwrap();
    }

    /// Waits until the server has taken what was published.
    fn flush(&mut self) {
        self.0.write_all(b"PING\r\n").unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"PONG\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            heard.push(byte[0]);
        }
    }
}

/// Header blocks, each of which the client takes for something else, or ends the connection at.
const BLOCKS: [&[u8]; 20] = [
    b"NATS/1.0\r\nX-Name: j\xfcrgen\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\na b: c\r\n\r\n",
    b"NATS/1.0\r\nX: a\nb\r\n\r\n",
    b"NATS/1.0\r\nj\xc3\xbcrgen: a\r\n\r\n",
    b"NATS/1.0\r\n: a\r\n\r\n",
    b"NATS/1.0\r\nX: a\rb\r\n\r\n",
    b"NATS/1.0\r\nX\r: a\r\n\r\n",
    b"NATS/2.0\r\nX: a\r\n\r\n",
    b"N",
    b"\r\n\r\n",
    b"\xff\xfe\xfd",
    b"NATS/1.0 100 Idle Heartbeat\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",
    b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 5000\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 abc\r\n\r\n",
    b"NATS/1.0\r\nNats-Msg-Size: 7\r\n\r\n",
    b"NATS/1.0\r\nNats-Stream: OTHER\r\nNats-Sequence: 1\r\nNats-Last-Consumer: 9\r\n\r\n",
];

async fn strange_messages_are_recorded(retention: RetentionPolicy) {
    let mut world = World::new(&["s.>"]).await;
    world.ack_wait = Duration::from_secs(2);
    world.create("S", &["s.>"], Config { retention, ..Config::default() }).await;
    world.run().await;
    world.consumer_exists("S").await;
    let mut raw = Raw::connect(&world.server);
    let mut expected = Vec::new();
    for (number, block) in BLOCKS.into_iter().enumerate() {
        // Some with a payload, some without, a good one after each.
        let payload = if number % 3 == 2 { String::new() } else { format!("strange {number}") };
        raw.publish(b"s.a", block, payload.as_bytes());
        let good = format!("good {number}");
        raw.publish(b"s.a", b"", good.as_bytes());
        expected.extend([payload, good]);
    }
    // Subjects that the client splits where the server does not, and one that is no UTF-8.
    for subject in ["s.a\u{a0}b".as_bytes(), "s.\u{2003}".as_bytes(), b"s.\xff\xfe"] {
        raw.publish(subject, b"", format!("subject {}", expected.len()).as_bytes());
        expected.push(format!("subject {}", expected.len()));
    }
    raw.flush();
    world.recorded(expected.len()).await;
    assert_eq!(world.payloads(), expected);
    assert_eq!(world.others(), ["opened S 1 1"]);
    if retention != RetentionPolicy::Limits {
        world.emptied("S").await;
    }
    // And it is read as ever.
    raw.publish(b"s.a", b"", b"last");
    world.recorded(expected.len() + 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    expected.push("last".to_owned());
    assert_eq!(world.payloads(), expected);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn strange_messages_of_a_stream_that_keeps_them_are_recorded() {
    strange_messages_are_recorded(RetentionPolicy::Limits).await;
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn strange_messages_of_a_stream_with_interest_are_recorded_and_let_go() {
    strange_messages_are_recorded(RetentionPolicy::Interest).await;
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn strange_messages_of_a_work_queue_are_recorded_and_let_go() {
    strange_messages_are_recorded(RetentionPolicy::WorkQueue).await;
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn many_strange_messages_and_a_large_one_stop_neither_their_stream_nor_another() {
    let mut world = World::new(&["s", "t"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.create("T", &["t"], Config::default()).await;
    world.run().await;
    world.consumer_exists("S").await;
    world.consumer_exists("T").await;
    let mut raw = Raw::connect(&world.server);
    let large = "x".repeat(1_000_000);
    raw.publish(b"s", BLOCKS[0], large.as_bytes());
    for number in 0..1_000 {
        raw.publish(b"s", BLOCKS[number % 10], b"strange");
        raw.publish(b"t", b"", b"good");
    }
    raw.flush();
    world.recorded(2_001).await;
    assert_eq!(world.log.lock().unwrap().messages.iter().filter(|(.., payload)| *payload == large).count(), 1);
}

/// Header blocks, subjects and sizes at random, from a seed that is printed.
#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn any_bytes_are_recorded() {
    let seed = std::env::var("LIFELINE_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| SystemClock.now_unix_nanos());
    println!("LIFELINE_FUZZ_SEED={seed}");
    let mut random = Random::new(seed);
    let mut below = |limit: usize| usize::try_from(random.below(limit as u64)).unwrap();
    let mut world = World::new(&["s.>"]).await;
    world.create("S", &["s.>"], Config::default()).await;
    world.run().await;
    world.consumer_exists("S").await;
    let mut raw = Raw::connect(&world.server);
    for number in 0..400 {
        let mut block = BLOCKS[below(BLOCKS.len())].to_vec();
        for _ in 0..below(6) {
            let at = below(block.len().max(1));
            match below(4) {
                0 => block.insert(at.min(block.len()), byte(below(256))),
                1 if !block.is_empty() => drop(block.remove(at)),
                2 => block.extend_from_slice(b"X: 1\r\n"),
                _ if !block.is_empty() => block[at] = byte(below(256)),
                _ => {}
            }
        }
        let mut subject = b"s.a".to_vec();
        for _ in 0..below(3) {
            // What ends a subject, or makes a wildcard or an empty token of it, the server does not take.
            let byte = byte(below(256));
            subject.extend((!b" \t\r\n.*>\0".contains(&byte)).then_some(byte));
        }
        let size = [0, 1, 30, 70_000][below(4)];
        let payload: Vec<u8> = (0..size).map(|_| byte(below(256))).collect();
        raw.publish(&subject, &block, &payload);
        if number % 50 == 0 {
            raw.flush();
        }
    }
    raw.flush();
    // The server answers a ping before it has stored what came before.
    let mut held = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = usize::try_from(world.held("S").await).unwrap();
        if std::mem::replace(&mut held, now) == now {
            break;
        }
    }
    assert!(held > 200, "the server took {held}");
    world.recorded(held).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sequences: Vec<u64> = world.log.lock().unwrap().messages.iter().map(|message| message.2).collect();
    assert_eq!(sequences, (1..=held as u64).collect::<Vec<_>>());
}

fn byte(value: usize) -> u8 {
    u8::try_from(value).unwrap()
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn without_a_stream_a_strange_message_costs_no_more_than_a_moment_and_is_counted() {
    let mut world = World::on(Server::start(nats_server(), "plain", ""), &["s.>"]).await;
    world.run().await;
    let status = world.running.as_ref().expect("it runs").status.clone();
    let mut raw = Raw::connect(&world.server);
    let mut ended = 0;
    for (number, block) in BLOCKS.into_iter().enumerate() {
        let interruptions = || {
            let status = status.borrow();
            let plain = status.plain.get("$NATS.s.>");
            plain.map(|plain| plain.buffer.lock().counts().interruptions).unwrap_or_default()
        };
        // A good one until it is recorded, so that the subscription is there for the strange one.
        let (before, good) = (interruptions(), format!("good {number}"));
        let deadline = Instant::now() + PATIENCE;
        while !world.payloads().contains(&good) {
            assert!(Instant::now() < deadline, "{number}: {}", block.escape_ascii());
            raw.publish(b"s.a", b"", good.as_bytes());
            raw.flush();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let strange = format!("strange {number}");
        raw.publish(b"s.a", block, strange.as_bytes());
        raw.flush();
        world
            .eventually("recorded or counted", |log| log.payloads().contains(&strange) || interruptions() > before)
            .await;
        ended += u32::from(!world.payloads().contains(&strange));
    }
    assert!(ended > 0, "some end the connection");
    assert_eq!(world.others(), ["opened $NATS.s.> 1 1"]);
}
