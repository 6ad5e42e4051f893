//! Recording while the projection's disk is slow or fails, with each part on its own thread as in the program.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use lifeline_projections::table::{InMemory, Row};
use lifeline_store::{Log, Options, SimulatedDisk};
use parking_lot::Condvar;
use tokio::time::{sleep, timeout};

use super::*;
use crate::clock::SystemClock;
use crate::intake::{self, Acknowledge, Message, Received};
use crate::rules::RuleSet;
use crate::saver::Pace;

/// Far more than recording takes, far less than a test may.
const PATIENCE: Duration = Duration::from_secs(30);

/// Rows on a disk that holds writes up while its gate is shut, and refuses the next few. After that it refuses everything until
/// it is opened again, and has lost what it held.
#[derive(Debug, Default)]
struct Faulty {
    rows: InMemory,
    is_shut: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
    refuses: AtomicUsize,
    is_failed: AtomicBool,
}

impl Faulty {
    fn shut(&self, is_shut: bool) {
        *self.is_shut.lock() = is_shut;
        self.opened.notify_all();
    }
}

impl Rows for Faulty {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.rows.get(key)
    }

    fn first(&self, from: &[u8], last: &[u8]) -> Result<Option<Row>, String> {
        self.rows.first(from, last)
    }

    fn last(&self, from: &[u8], end: &[u8]) -> Result<Option<Row>, String> {
        self.rows.last(from, end)
    }

    fn write(&self, rows: Vec<Row>) -> Result<(), String> {
        let mut is_shut = self.is_shut.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *is_shut {
            self.opened.wait(&mut is_shut);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if self.refuses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            self.is_failed.store(true, Ordering::SeqCst);
        }
        if self.is_failed.load(Ordering::SeqCst) {
            return Err("no space".to_owned());
        }
        self.rows.write(rows)
    }

    fn clear(&self) -> Result<(), String> {
        self.rows.clear()
    }

    fn flush(&self) -> Result<(), String> {
        self.rows.flush()
    }

    fn reopen(&self) -> Result<(), String> {
        self.is_failed.store(false, Ordering::SeqCst);
        self.rows.clear()
    }
}

/// Tells which message was acknowledged.
struct Told(mpsc::UnboundedSender<u64>, u64);

impl Acknowledge for Told {
    fn send(&self) -> BoxFuture<'_, Result<(), intake::Error>> {
        let _ = self.0.send(self.1);
        async { Ok(()) }.boxed()
    }
}

/// An engine that saves as often as it can, and its messages.
struct Running {
    engine: Engine<SimulatedDisk>,
    end: oneshot::Receiver<Result<(), recorder::Error>>,
    acknowledge: mpsc::UnboundedSender<u64>,
    acknowledged: mpsc::UnboundedReceiver<u64>,
    sent: u64,
}

impl Running {
    fn start(rows: &Arc<Faulty>) -> Running {
        let disk = SimulatedDisk::new(7);
        let rules = Current { rules: Some(Arc::new(RuleSet::empty())), troubles: Vec::new() };
        let ports = Ports {
            open_log: Box::new(move || Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() })),
            table: Some(SavedIn::Rows(rows.clone())),
            sites: Vec::new(),
            clock: Arc::new(SystemClock),
            rules: watch::channel(rules).1,
        };
        let (engine, mut parts) = Engine::open(ports, &mut |_, _| {}).expect("an empty disk");
        let pace = Pace { period: Duration::ZERO, piece_bytes: 1, ..Pace::default() };
        parts.saver = parts.saver.map(|saver| saver.with_pace(pace));
        let end = engine.start(parts);
        let (acknowledge, acknowledged) = mpsc::unbounded_channel();
        Running { engine, end, acknowledge, acknowledged, sent: 0 }
    }

    /// Records messages one by one: each has to be acknowledged before the next is sent.
    async fn record(&mut self, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            let (sequence, subject) = (self.sent, self.sent % 100);
            let payload = format!(
                r#"{{"specversion":"1.0","type":"login","source":"auth","id":"{sequence}","subject":"user-{subject}"}}"#
            );
            let message = Message {
                sequence,
                published_unix_nanos: 1,
                subject: "users".into(),
                headers: Vec::new(),
                payload: Bytes::from(payload),
            };
            let acknowledge = Some(Box::new(Told(self.acknowledge.clone(), sequence)) as Box<dyn Acknowledge>);
            let received = Received::Messages { messages: vec![message], acknowledge };
            let intake = Intake { site: "mgmt/mgmt".into(), stream: "USERS".to_owned(), epoch: 1, received };
            self.engine.intake.send(intake).await.expect("it runs");
            let told = timeout(PATIENCE, self.acknowledged.recv()).await;
            assert_eq!(told.expect("recording does not wait for the table"), Some(sequence));
        }
    }

    /// Stops it, and says what it knew and what it saved.
    async fn stop(self, rows: Arc<Faulty>) -> (Projection, Offset, u64) {
        self.engine.stop();
        timeout(PATIENCE, self.end).await.expect("it stops").expect("it says how").expect("in good order");
        let (_, saved) = Table::on(rows).expect("sound rows");
        self.engine.view.read(|projection| (saved, projection.watermark(), projection.digest()))
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, waited).await.expect("it comes to that");
}

#[tokio::test]
async fn messages_are_recorded_while_the_table_waits_for_its_disk_and_saved_at_the_stop() {
    let rows = Arc::new(Faulty::default());
    let mut running = Running::start(&rows);
    running.record(200).await;
    rows.shut(true);
    running.record(1).await;
    until(|| rows.waiting.load(Ordering::SeqCst) > 0).await;
    running.record(500).await;
    assert_eq!(rows.waiting.load(Ordering::SeqCst), 1, "the checkpoint waits, and no second one beside it");
    running.engine.view.read(|projection| assert_eq!(projection.len(), 100));
    rows.shut(false);
    let (saved, end, digest) = running.stop(rows).await;
    assert_eq!((saved.watermark(), saved.digest()), (end, digest));
}

#[tokio::test]
async fn a_table_that_refuses_stops_nothing_and_what_it_refused_is_saved_later() {
    let rows = Arc::new(Faulty::default());
    let mut running = Running::start(&rows);
    for _ in 0..5 {
        rows.refuses.store(1, Ordering::SeqCst);
        running.record(40).await;
        until(|| rows.refuses.load(Ordering::SeqCst) == 0).await;
    }
    rows.shut(true);
    running.record(1).await;
    until(|| rows.waiting.load(Ordering::SeqCst) > 0).await;
    rows.refuses.store(1, Ordering::SeqCst);
    rows.shut(false);
    until(|| rows.refuses.load(Ordering::SeqCst) == 0).await;
    // Nothing is recorded from here on: only what was given up can bring that bucket back.
    let (saved, end, digest) = running.stop(rows).await;
    assert_eq!((saved.watermark(), saved.digest()), (end, digest));
}
