//! The hazards of JetStream, each against a real nats-server.
//!
//! `LIFELINE_NATS_SERVER` names the server; without it these tests are ignored, by name. Start at [`World`]: a server, a log in
//! memory, and an intake between them. The tests lie in the modules below, by what goes wrong.

mod catch_up;
mod connections;
mod copies;
mod delivery;
mod logins;
mod owners;
mod passed;
mod plain;
mod strange;
mod stream_changes;
mod widened;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{self, PullConsumer};
use async_nats::jetstream::stream::{Config, ConsumerLimits, RetentionPolicy};
use async_nats::jetstream::{self};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::epoch::{Known, content_hash};
use super::jetstream::JetStream;
use super::jetstream::Stored;
use super::nats::Nats;
use super::plain::{Buffers, MESSAGES_MAX};
use super::streams::{self, Order, Plan, Reach, Status};
use super::subjects::Wanted;
use super::way::Use;
use super::{Connection, Intake, Received, connection};

/// Longest time a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(40);

/// The nats-server that was named for these tests. They are ignored without it, by name.
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
        self.configure();
        let file = self.folder.path().join("server.conf");
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new(&self.program).arg("-c").arg(file).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "nats-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets the running server take over another configuration.
    fn reload(&mut self, extra: &str) {
        self.extra = extra.to_owned();
        self.configure();
        let child = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-HUP", &child]).status().unwrap().success());
    }

    fn configure(&self) {
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
        std::fs::write(file, configuration).unwrap();
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
    /// The recorder makes its pause.
    pauses: bool,
}

impl Log {
    fn record(&mut self, intake: &Intake) {
        let Intake { stream, epoch, received, .. } = intake;
        match received {
            Received::Opened { created_unix_nanos, start_sequence, .. } => {
                self.others.push(format!("opened {stream} {epoch} {start_sequence}"));
                let recorded_until_unix_nanos =
                    self.known.get(stream).map_or(0, |known| known.recorded_until_unix_nanos);
                let known = Known {
                    recorded_until_unix_nanos,
                    epoch: *epoch,
                    created_unix_nanos: *created_unix_nanos,
                    next_sequence: *start_sequence,
                    last: None,
                    looked_until: 0,
                };
                self.known.insert(stream.clone(), known);
            }
            Received::Gap { from_sequence, to_sequence } => {
                self.others.push(format!("gap {stream} {epoch} {from_sequence} {to_sequence}"));
                self.known.get_mut(stream).unwrap().next_sequence = *to_sequence;
            }
            Received::Holes { from_sequence, to_sequence, up_to } => {
                self.others.push(format!("holes {stream} {epoch} {from_sequence} {to_sequence} {up_to}"));
                self.known.get_mut(stream).unwrap().looked_until = *to_sequence;
            }
            Received::Messages { messages, .. } => {
                let known = self.known.get_mut(stream).unwrap();
                assert_eq!(known.epoch, *epoch);
                for message in messages {
                    let payload = String::from_utf8_lossy(&message.payload).into_owned();
                    let entry = (stream.clone(), *epoch, message.sequence, payload);
                    if message.sequence < known.next_sequence {
                        if !self.messages.contains(&entry) {
                            self.messages.push(entry);
                        }
                        continue;
                    }
                    known.next_sequence = message.sequence + 1;
                    known.recorded_until_unix_nanos = known.recorded_until_unix_nanos.max(message.published_unix_nanos);
                    known.last = Some(Stored {
                        sequence: message.sequence,
                        published_unix_nanos: message.published_unix_nanos,
                        content_hash: content_hash(&message.payload),
                    });
                    self.messages.push(entry);
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
    /// Waiting messages that make a backlog.
    backlog_min: u64,
    acknowledging: bool,
    /// How long the recorder takes for its tenth item.
    recorder_pause: Duration,
    used: Use,
    /// Messages that may wait where there is no stream.
    waiting_messages_max: usize,
    running: Option<Running>,
}

struct Running {
    status: watch::Receiver<Status>,
    recorder: JoinHandle<()>,
    intake: JoinHandle<()>,
}

/// Publishes payloads in order, and returns once the stream has acknowledged every one of them.
async fn publish_all(client: &async_nats::Client, subject: &str, payloads: impl IntoIterator<Item = Bytes>) {
    let context = jetstream::new(client.clone());
    let mut outstanding = VecDeque::new();
    for payload in payloads {
        outstanding.push_back(context.publish(subject.to_owned(), payload).await.expect("a connection"));
        if outstanding.len() == 1_000 {
            outstanding.pop_front().expect("there are some").await.expect("a stream takes it");
        }
    }
    for acknowledged in outstanding {
        acknowledged.await.expect("a stream takes it");
    }
}

impl World {
    async fn new(subjects: &[&str]) -> World {
        World::with(subjects, "").await
    }

    /// With `extra` in the server's configuration.
    async fn with(subjects: &[&str], extra: &str) -> World {
        World::on(Server::start(nats_server(), "jetstream", extra), subjects).await
    }

    async fn on(server: Server, subjects: &[&str]) -> World {
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
            backlog_min: 50_000,
            acknowledging: true,
            recorder_pause: Duration::ZERO,
            used: Use::Auto,
            waiting_messages_max: MESSAGES_MAX,
            running: None,
        }
    }

    /// Starts intake on a connection of its own.
    async fn run(&mut self) {
        let connection = Connection::from_url(&self.server.url(), "test", &self.wanted.subjects).unwrap();
        let server = connection.servers[0].clone();
        let (mut client, mut link) = server.connect().await.unwrap();
        let (sink, mut items) = mpsc::channel::<Intake>(4);
        let (status, watched) = watch::channel(Status::default());
        let (log, wanted) = (Arc::clone(&self.log), self.wanted.clone());
        let (ack_wait, backlog_min) = (self.ack_wait, self.backlog_min);
        let (used, waiting_messages_max, buffers) = (self.used, self.waiting_messages_max, Buffers::default());
        // As `lifeline run` does it.
        let intake = tokio::spawn(async move {
            loop {
                let nats = Nats::new(client, server.url.clone(), link.clone(), None)
                    .with_ack_wait(ack_wait)
                    .with_backlog_min(backlog_min);
                let plan = Plan {
                    site: "mgmt/mgmt".into(),
                    order: Order { jetstream: used, ..Order::new(wanted.clone(), "lifeline", "LIFELINE") },
                    known: log.lock().unwrap().known.clone(),
                    buffers: buffers.clone(),
                    waiting_messages_max,
                };
                status.send_replace(Status::default());
                tokio::select! {
                    biased;
                    () = streams::run(Reach::both(Arc::new(nats)), plan, sink.clone(), status.clone()) => return,
                    () = async {
                        connection::ended(link).await;
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    } => {}
                }
                (client, link) = server.connect_patiently(|_| {}).await;
            }
        });
        let (log, acknowledging, pause) = (Arc::clone(&self.log), self.acknowledging, self.recorder_pause);
        let recorder = tokio::spawn(async move {
            let mut count = 0;
            while let Some(intake) = items.recv().await {
                count += 1;
                if count == 10 && !pause.is_zero() {
                    log.lock().unwrap().pauses = true;
                    tokio::time::sleep(pause).await;
                    log.lock().unwrap().pauses = false;
                }
                log.lock().unwrap().record(&intake);
                if let Received::Messages { acknowledge: Some(acknowledge), .. } = intake.received
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

    /// Publishes many quickly.
    async fn publish_many(&self, subject: &str, payloads: std::ops::Range<u32>) {
        let payloads = payloads.map(|payload| payload.to_string().into());
        publish_all(&self.client, subject, payloads).await;
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
        self.emptied_but(stream, 0).await;
    }

    /// Waits until a stream holds so many messages.
    async fn emptied_but(&self, stream: &str, left: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.held(stream).await != left {
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

    /// Waits until the status is as expected.
    async fn shows(&self, what: &str, until: impl Fn(&Status) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !until(&self.status()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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
