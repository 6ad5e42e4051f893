//! The hazards of JetStream, each against a real nats-server.
//!
//! The server is looked for in `LIFELINE_NATS_SERVER`, in PATH and in `~/.cache/lifeline`. Where there is none, a test says
//! by name that it did not run. Start at [`World`]: a server, a log in memory, and an intake between them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use async_nats::jetstream::{self};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::epoch::{Known, content_hash};
use super::jetstream::JetStream;
use super::jetstream::Stored;
use super::nats::Nats;
use super::streams::{self, Plan, Status};
use super::subjects::Wanted;
use super::{Connection, Intake};

/// Longest time a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(40);

/// The nats-server that whoever runs these tests named. They are ignored without it, by name.
fn nats_server() -> PathBuf {
    let named = std::env::var_os("LIFELINE_NATS_SERVER").expect("LIFELINE_NATS_SERVER names a nats-server");
    PathBuf::from(named)
}

/// A server of our own on loopback.
struct Server {
    program: PathBuf,
    port: u16,
    folder: tempfile::TempDir,
    scheme: &'static str,
    jetstream: bool,
    extra: String,
    child: Option<Child>,
}

impl Server {
    /// `kind` is `jetstream` or `plain`; `extra` is added to the configuration, `FOLDER` standing for the server's folder.
    fn start(program: PathBuf, kind: &str, extra: &str) -> Server {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let extra = extra.replace("FOLDER", folder.path().to_str().unwrap());
        let scheme = if extra.contains("tls") { "tls" } else { "nats" };
        let mut server = Server { program, port, folder, scheme, jetstream: kind == "jetstream", extra, child: None };
        server.launch();
        server
    }

    fn launch(&mut self) {
        let configuration = format!(
            "listen: \"127.0.0.1:{}\"\n{}\n{}\n",
            self.port,
            if self.jetstream {
                format!("jetstream {{ store_dir: {:?} }}", self.folder.path().join("store"))
            } else {
                String::new()
            },
            self.extra
        );
        let file = self.folder.path().join("server.conf");
        std::fs::write(&file, configuration).unwrap();
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new(&self.program).arg("-c").arg(file).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "nats-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL, as a power loss of the process.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a log would hold.
#[derive(Default)]
struct Log {
    /// Stream, epoch, sequence, payload.
    messages: Vec<(String, u32, u64, String)>,
    /// `opened STREAM EPOCH FROM` and `gap STREAM EPOCH FROM TO`.
    others: Vec<String>,
    known: BTreeMap<String, Known>,
    acknowledgements: usize,
}

impl Log {
    fn record(&mut self, item: &Intake) {
        match item {
            Intake::Opened { stream, epoch, created_unix_nanos, start_sequence, .. } => {
                self.others.push(format!("opened {stream} {epoch} {start_sequence}"));
                let recorded_until_unix_nanos =
                    self.known.get(stream).map_or(0, |known| known.recorded_until_unix_nanos);
                let known = Known {
                    recorded_until_unix_nanos,
                    epoch: *epoch,
                    created_unix_nanos: *created_unix_nanos,
                    next_sequence: *start_sequence,
                    last: None,
                };
                self.known.insert(stream.clone(), known);
            }
            Intake::Gap { stream, epoch, from_sequence, to_sequence } => {
                self.others.push(format!("gap {stream} {epoch} {from_sequence} {to_sequence}"));
                self.known.get_mut(stream).unwrap().next_sequence = *to_sequence;
            }
            Intake::Messages { stream, epoch, messages, .. } => {
                let known = self.known.get_mut(stream).unwrap();
                assert_eq!(known.epoch, *epoch);
                for message in messages {
                    assert!(message.sequence >= known.next_sequence, "sequence {} twice", message.sequence);
                    known.next_sequence = message.sequence + 1;
                    known.recorded_until_unix_nanos = known.recorded_until_unix_nanos.max(message.published_unix_nanos);
                    known.last = Some(Stored {
                        sequence: message.sequence,
                        published_unix_nanos: message.published_unix_nanos,
                        content_hash: content_hash(&message.payload),
                    });
                    let payload = String::from_utf8_lossy(&message.payload).into_owned();
                    self.messages.push((stream.clone(), *epoch, message.sequence, payload));
                }
            }
        }
    }

    fn payloads(&self) -> Vec<String> {
        self.messages.iter().map(|(.., payload)| payload.clone()).collect()
    }
}

/// A server, a log and an intake between them.
struct World {
    server: Server,
    client: async_nats::Client,
    jetstream: jetstream::Context,
    log: Arc<Mutex<Log>>,
    wanted: Wanted,
    ack_wait: Duration,
    acknowledging: bool,
    /// How long the recorder takes for its tenth item.
    recorder_pause: Duration,
    running: Option<Running>,
}

struct Running {
    status: watch::Receiver<Status>,
    recorder: JoinHandle<()>,
    intake: JoinHandle<()>,
}

impl World {
    async fn new(subjects: &[&str]) -> World {
        let server = Server::start(nats_server(), "jetstream", "");
        let client = async_nats::ConnectOptions::new().connect(server.url()).await.unwrap();
        World {
            jetstream: jetstream::new(client.clone()),
            client,
            server,
            log: Arc::default(),
            wanted: Wanted {
                subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
                streams: Vec::new(),
            },
            ack_wait: Duration::from_secs(30),
            acknowledging: true,
            recorder_pause: Duration::ZERO,
            running: None,
        }
    }

    /// Starts intake on a connection of its own.
    async fn run(&mut self) {
        let connection = Connection::from_url(&self.server.url(), "test", &self.wanted.subjects).unwrap();
        let (client, link) = connection.servers[0].connect().await.unwrap();
        let nats = Nats::new(client, self.server.url(), link, None).with_ack_wait(self.ack_wait);
        let (sink, mut items) = mpsc::channel::<Intake>(4);
        let (status, watched) = watch::channel(Status::default());
        let plan = Plan {
            wanted: self.wanted.clone(),
            durable: "lifeline".to_owned(),
            own_stream: "LIFELINE".to_owned(),
            known: self.log.lock().unwrap().known.clone(),
        };
        let intake = tokio::spawn(streams::run(Arc::new(nats), plan, sink, status));
        let (log, acknowledging, pause) = (Arc::clone(&self.log), self.acknowledging, self.recorder_pause);
        let recorder = tokio::spawn(async move {
            let mut count = 0;
            while let Some(item) = items.recv().await {
                count += 1;
                if count == 10 {
                    tokio::time::sleep(pause).await;
                }
                log.lock().unwrap().record(&item);
                if let Intake::Messages { acknowledge: Some(acknowledge), .. } = item
                    && acknowledging
                {
                    let _ = acknowledge.send().await;
                    log.lock().unwrap().acknowledgements += 1;
                }
            }
        });
        self.running = Some(Running { status: watched, recorder, intake });
    }

    /// Stops intake at once, as a crash of the engine would.
    async fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            running.recorder.abort();
            running.intake.abort();
            let _ = running.recorder.await;
            let _ = running.intake.await;
        }
    }

    async fn create(&self, name: &str, subjects: &[&str], config: Config) {
        let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
        self.jetstream.create_stream(Config { name: name.to_owned(), subjects, ..config }).await.unwrap();
    }

    async fn publish(&self, subject: &str, payloads: std::ops::Range<u32>) {
        for payload in payloads {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let published = self.jetstream.publish(subject.to_owned(), payload.to_string().into()).await;
                let outcome = match published {
                    Ok(acknowledgement) => acknowledgement.await.map(drop),
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(()) => break,
                    Err(error) => assert!(Instant::now() < deadline, "cannot publish: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Waits until the log satisfies `until`.
    async fn eventually(&self, what: &str, until: impl Fn(&Log) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !until(&self.log.lock().unwrap()) {
            if Instant::now() > deadline {
                let log = self.log.lock().unwrap();
                panic!(
                    "{what}: not within {PATIENCE:?}\nothers: {:?}\nmessages: {} {:?}\nstatus: {:?}",
                    log.others,
                    log.messages.len(),
                    log.messages.iter().rev().take(5).collect::<Vec<_>>(),
                    self.running.as_ref().map(|running| running.status.borrow().clone())
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn recorded(&self, count: usize) {
        self.eventually("messages recorded", |log| log.messages.len() >= count).await;
    }

    /// Messages that a stream holds.
    async fn held(&self, stream: &str) -> u64 {
        self.jetstream.get_stream(stream).await.unwrap().cached_info().state.messages
    }

    async fn emptied(&self, stream: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.held(stream).await > 0 {
            assert!(Instant::now() < deadline, "{} messages left", self.held(stream).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for our consumer: an interest stream keeps nothing before.
    async fn consumer_exists(&self, stream: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.jetstream.get_stream(stream).await.unwrap().consumer_info("lifeline").await.is_err() {
            assert!(Instant::now() < deadline, "no consumer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn others(&self) -> Vec<String> {
        self.log.lock().unwrap().others.clone()
    }

    fn payloads(&self) -> Vec<String> {
        self.log.lock().unwrap().payloads()
    }

    fn status(&self) -> Status {
        self.running.as_ref().unwrap().status.borrow().clone()
    }

    fn reader(&self, stream: &str) -> super::reader::Status {
        self.status().readers[stream].borrow().clone()
    }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

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
async fn large_messages_fill_no_memory_and_stop_nothing() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    // More bytes than two pulls may take.
    let payload = bytes::Bytes::from(vec![b'x'; 1_000_000]);
    super::bench::publish_events(&world.client, "s", (0..100).map(|_| payload.clone())).await.unwrap();
    world.run().await;
    world.recorded(100).await;
    assert_eq!(world.reader("S").sessions, 1, "{:?}", world.reader("S"));
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn another_reader_of_our_consumer_takes_nothing_from_us() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..10).await;
    world.recorded(10).await;
    let consumer: PullConsumer = world.jetstream.get_consumer_from_stream("lifeline", "S").await.unwrap();
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
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..10).await;
    world.recorded(10).await;
    let consumer: PullConsumer = world.jetstream.get_consumer_from_stream("lifeline", "S").await.unwrap();
    // The server serves waiting pulls in turn, so this one takes some of what comes next, and keeps it.
    let thief = consumer.batch().max_messages(5).expires(Duration::from_secs(5)).messages().await.unwrap();
    let stolen = tokio::spawn(futures::StreamExt::count(thief));
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.publish("s", 10..60).await;
    world.recorded(60).await;
    assert_eq!(world.payloads(), numbers(0..60));
    assert_eq!(world.others(), ["opened S 1 1"]);
    assert_eq!(stolen.await.unwrap(), 5, "nothing was stolen, so nothing was tested");
    assert!(world.reader("S").sessions > 1);
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_recorder_that_pauses_longer_than_any_heartbeat_is_not_taken_for_a_dead_server() {
    let mut world = World::new(&["s"]).await;
    world.create("S", &["s"], Config::default()).await;
    world.ack_wait = Duration::from_secs(2);
    let payload = bytes::Bytes::from_static(b"x");
    super::bench::publish_events(&world.client, "s", (0..60_000).map(|_| payload.clone())).await.unwrap();
    world.recorder_pause = Duration::from_secs(8);
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
    super::bench::publish_events(&world.client, "s", (0..200_000).map(|_| payload.clone())).await.unwrap();
    world.recorder_pause = Duration::from_secs(1);
    world.run().await;
    world.recorded(5_000).await;
    // What was asked for because it waited, without a time at which to give up, waits no more.
    world.jetstream.get_stream("S").await.unwrap().purge().await.unwrap();
    world.publish("s", 0..5).await;
    world.eventually("what came after the purge", |log| log.payloads().ends_with(&numbers(0..5))).await;
    let recorded = world.payloads().len();
    assert!(recorded < 200_000, "nothing was purged unread, so nothing was tested");
    // What was there before we came and goes before we read it is no loss of ours.
    assert_eq!(world.others(), ["opened S 1 1"]);
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

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_wrong_password_is_told_with_user_and_field() {
    let program = nats_server();
    let server = Server::start(program, "jetstream", "authorization { user: admin, password: right }");
    let json = |password: &str| {
        format!(
            r#"{{"nats":{{"configuration":{{"url":"{}","subjects":["s"],
               "authorization":{{"user":{{"user":"admin","password":"{password}"}}}}}}}}}}"#,
            server.url()
        )
    };
    let refused = Connection::parse(&json("wrong"), "conf.json").unwrap().servers[0].connect().await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "NATS at {} refused the user `admin`: authorization violation\n\
             hint: check `nats.configuration.authorization` in conf.json",
            server.url()
        )
    );
    Connection::parse(&json("right"), "conf.json").unwrap().servers[0].connect().await.unwrap();
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_token_lets_us_in() {
    let program = nats_server();
    let server = Server::start(program, "jetstream", "authorization { token: right }");
    let json = |token: &str| {
        format!(
            r#"{{"nats":{{"configuration":{{"url":"{}","subjects":["s"],"authorization":{{"token":"{token}"}}}}}}}}"#,
            server.url()
        )
    };
    let refused = Connection::parse(&json("wrong"), "conf.json").unwrap().servers[0].connect().await.unwrap_err();
    assert!(refused.to_string().contains("refused the token"), "{refused}");
    Connection::parse(&json("right"), "conf.json").unwrap().servers[0].connect().await.unwrap();
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_server_without_jetstream_is_told_apart() {
    let program = nats_server();
    let server = Server::start(program, "plain", "");
    let connection = Connection::from_url(&server.url(), "test", &[]).unwrap();
    let (client, link) = connection.servers[0].connect().await.unwrap();
    let error = Nats::new(client, server.url(), link, None).streams().await.unwrap_err();
    assert!(matches!(error, super::Error::NoJetStream { .. }), "{error:?}");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn certificates_work_both_ways_and_a_strange_one_is_a_matter_of_tls() {
    let program = nats_server();
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("ca.pem", &authority.pem), ("cert.pem", &certificate), ("key.pem", &key)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let tls = "tls { cert_file: DIR/cert.pem, key_file: DIR/key.pem, ca_file: DIR/ca.pem, verify: true }"
        .replace("DIR", folder.path().to_str().unwrap());
    let server = Server::start(program, "jetstream", &tls);
    let encoded = data_encoding::BASE64.encode(authority.pem.as_bytes());
    let strange = Authority::new().pem;
    for (root, fine) in [(&authority.pem, true), (&encoded, true), (&strange, false)] {
        let json = serde_json::json!({"nats": {"configuration": {
            "url": server.url(), "subjects": ["s"],
            "authorization": {"rootCA": root, "clientCert": {"certPem": certificate, "keyPem": key}},
        }}});
        let outcome = Connection::parse(&json.to_string(), "conf.json").unwrap().servers[0].connect().await;
        match outcome {
            Ok(_) => assert!(fine),
            Err(error) => {
                assert!(!fine, "{}", super::one_line(&error));
                assert!(matches!(error, super::Error::Tls { .. }), "{error:?}");
            }
        }
    }
}

/// A certificate authority for one test.
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: rcgen::Issuer::new(parameters, key) }
    }

    /// A certificate for 127.0.0.1, good for server and client, and its key.
    fn issue(&self) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
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
