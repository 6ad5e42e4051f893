//! Question: what does Lifeline's own delivery cost compared with async-nats' `stream()`?
//!
//! Workload: one stream on disk, 500,000 messages of 314 bytes, one in-order reader, `ack all` once a batch. Both readers
//! take turns on the same stream; the median of the rounds counts. Nothing is recorded: this measures delivery alone.
//!
//! ```text
//! LIFELINE_NATS_SERVER=nats-server cargo run --release -p lifeline-engine --example intake_rate [MESSAGES] [ROUNDS]
//! ```

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lifeline_engine::intake::Connection;
use lifeline_engine::intake::bench::{publish_events, raw_pull};
use lifeline_engine::intake::jetstream::{Consume, JetStream, Retention};
use lifeline_engine::intake::nats::Nats;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().map_or(Ok(500_000), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let program = std::env::var("LIFELINE_NATS_SERVER").unwrap_or("nats-server".to_owned());
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let folder = tempfile::tempdir()?;
    let mut server = Command::new(program)
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let outcome = measure(&format!("nats://127.0.0.1:{port}"), count, rounds).await;
    server.kill()?;
    server.wait()?;
    outcome
}

async fn measure(url: &str, count: u64, rounds: usize) -> Result<(), Failure> {
    let connection = Connection::from_url(url, "the example", &[])?;
    let (client, link) = connection.servers[0].connect_patiently(|_| {}).await;
    let nats = Nats::new(client.clone(), url.to_owned(), link, None);
    while nats.streams().await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    nats.hold("RATE", &["rate".to_owned()]).await?;
    let payload = Bytes::from(vec![b'x'; 314]);
    let started = Instant::now();
    publish_events(&client, "rate", (0..count).map(|_| payload.clone())).await?;
    eprintln!("published {} msg/s", rate(count, started.elapsed()));

    let (mut raw, mut own) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // The yardstick gets a connection with the library's own settings.
        let plain = async_nats::connect(url).await?;
        match raw_pull(&plain, "RATE", "raw", 10_000, count).await {
            Ok(time) => raw.push(rate(count, time)),
            Err(error) => eprintln!("round {round}: async-nats: {error}"),
        }
        own.push(rate(count, pull(&nats, count, round).await?));
        eprintln!("round {round}: async-nats {:?} msg/s, own {:?} msg/s", raw.last(), own.last());
    }
    raw.sort_unstable();
    own.sort_unstable();
    let (raw, own) = (raw[raw.len() / 2], own[own.len() / 2]);
    println!("{{\"raw_per_s\":{raw},\"own_per_s\":{own},\"ratio\":{:.3}}}", own as f64 / raw as f64);
    Ok(())
}

async fn pull(nats: &Nats, count: u64, round: usize) -> Result<Duration, Failure> {
    let consume = Consume {
        stream: "RATE".to_owned(),
        durable: format!("own-{round}"),
        filters: Vec::new(),
        from_sequence: 1,
        retention: Retention::Limits,
    };
    let mut batches = nats.consume(consume).await?;
    let started = Instant::now();
    let (mut seen, mut deliveries) = (0, 0);
    while seen < count {
        let batch = batches.next().await?;
        seen += batch.messages.len() as u64;
        deliveries += 1;
        batch.acknowledge.send().await?;
    }
    let taken = started.elapsed();
    eprintln!("  {} messages a batch on average", seen / deliveries);
    Ok(taken)
}

fn rate(count: u64, time: Duration) -> u64 {
    (count as f64 / time.as_secs_f64()) as u64
}
