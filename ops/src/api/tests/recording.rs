//! An engine that records while it is asked, on a disk whose syncs can be held up.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use lifeline_engine::clock::SystemClock;
use lifeline_engine::queries::Queries;
use lifeline_engine::recorder::{self, Recorder};
use lifeline_engine::rules::Current;
use lifeline_engine::site::Sites;
use lifeline_engine::status::Status;
use lifeline_engine::view::View;
use lifeline_projections::fact::{FailedAttempt, Reconciled, What};
use lifeline_projections::fold::Projection;
use lifeline_store::{Disk, File, Log, Offset, Options, SimulatedDisk, SimulatedFile};
use parking_lot::{Condvar, Mutex};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::{ask, key};
use crate::api::{ApiState, router};

/// Holds up syncs while it is closed.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_closed: bool,
    held_up: usize,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
    }

    pub(crate) fn open(&self) {
        self.state.lock().is_closed = false;
        self.changed.notify_all();
    }

    /// Waits until somebody is held up.
    pub(crate) async fn holds(&self) {
        let held = async {
            while self.state.lock().held_up == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), held).await.expect("somebody syncs");
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        state.held_up += 1;
        while state.is_closed {
            self.changed.wait(&mut state);
        }
        state.held_up -= 1;
    }
}

/// A disk in memory behind a gate.
#[derive(Debug, Clone)]
pub(crate) struct GatedDisk {
    disk: SimulatedDisk,
    gate: Arc<Gate>,
}

#[derive(Debug)]
pub(crate) struct GatedFile {
    file: SimulatedFile,
    gate: Arc<Gate>,
}

impl GatedDisk {
    fn gated(&self, file: SimulatedFile) -> GatedFile {
        GatedFile { file, gate: self.gate.clone() }
    }
}

impl Disk for GatedDisk {
    type File = GatedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str) -> io::Result<GatedFile> {
        self.disk.open(name).map(|file| self.gated(file))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<GatedFile> {
        self.disk.create(name, bytes).map(|file| self.gated(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync_folder()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn random(&self) -> u64 {
        self.disk.random()
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }

    fn is_read_only(&self) -> bool {
        self.disk.is_read_only()
    }
}

impl File for GatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
}

/// An engine without rules and without NATS: it records outcomes.
pub(crate) struct Recording {
    pub(crate) gate: Arc<Gate>,
    pub(crate) outcomes: recorder::OutcomeSender,
    pub(crate) router: Router,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Recording {
    pub(crate) fn start() -> Recording {
        let gate = Arc::new(Gate::default());
        let disk = GatedDisk { disk: SimulatedDisk::new(7), gate: gate.clone() };
        let small = Options { segment_bytes_max: 64 << 10, payload_bytes_max: 16 << 10, ..Options::default() };
        let open_log = move || Log::open(disk.clone(), Options { low_space_bytes: 0, ..small.clone() });
        let (log, _) = open_log().expect("an empty disk");
        let view = View::new(Projection::default(), log.reader());
        let (_, intake) = mpsc::channel(1);
        let (sites, clock) = (Arc::new(Sites::new(Vec::new())), Arc::new(SystemClock));
        let (recorder, outcomes) = Recorder::new(Box::new(open_log), log, view.clone(), sites, clock, intake);
        let stop = watch::Sender::new(false);
        let stopping = stop.subscribe();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            let (_rules, rules) = watch::channel(Current::default());
            runtime.block_on(recorder.run(rules, stopping)).expect("it stops in good order");
        });
        let status = Arc::new(Status::default);
        let queries = Queries::new(view, Arc::new(SystemClock));
        let router = router(ApiState { queries, status, stop: stop.subscribe() });
        Recording { gate, outcomes, router, stop, thread: Some(thread) }
    }

    /// Records that something about this subject failed.
    pub(crate) async fn record(&self, subject: &str) -> Offset {
        self.outcomes.record(failed(subject)).await.expect("it runs")
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, _, body) = ask(&self.router, "GET", path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.gate.open();
        self.stop.send_replace(true);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "the recorder panicked");
    }
}

pub(crate) fn failed(subject: &str) -> Reconciled {
    let attempt = FailedAttempt { objects: vec![], error: "refused".to_owned(), attempt: 1, transient: true };
    Reconciled::new(key(subject), Offset::ZERO, What::Failed(attempt))
}
