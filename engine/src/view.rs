//! What the parts of an engine share: the projection, a reader of the log, and the status of the recorder.
//!
//! One writer (the recorder), many readers (reconciliation, queries). Start at [`View`]. Nothing here decides anything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lifeline_projections::fold::Projection;
use lifeline_store::{Disk, Offset, Reader};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Notify, watch};

use crate::by_trigger::ByTrigger;
use crate::confirmations::Confirmations;
use crate::dry_runs::DryRuns;
use crate::orphans::Orphans;
use crate::stamps::Stamps;
use crate::status::{ReplayStatus, ReplayedStatus};
use crate::trace::Traces;

/// How far the projection is saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// The watermark of the last complete checkpoint; `None` before the first.
    pub watermark: Option<Offset>,
    /// Why nothing is saved; `None` while everything is.
    pub trouble: Option<String>,
}

/// The replays that came to their end, the last ones.
#[derive(Debug, Default)]
struct Replayed {
    /// How many there were.
    count: u64,
    last: VecDeque<ReplayedStatus>,
}

/// Replays that are remembered.
const REPLAYED_MAX: usize = 100;

/// The state of an engine as its readers see it.
pub struct View<D: Disk> {
    projection: RwLock<Projection>,
    /// A change of the projection panicked.
    is_broken: AtomicBool,
    log: RwLock<Reader<D>>,
    folded: watch::Sender<Offset>,
    stalled: Mutex<Option<String>>,
    replays: Mutex<Vec<ReplayStatus>>,
    replayed: Mutex<Replayed>,
    saved: Mutex<Saved>,
    confirmations: Confirmations,
    stamps: Mutex<Stamps>,
    settled: Notify,
    traces: Traces,
    by_trigger: ByTrigger,
    orphans: Orphans,
    dry_runs: DryRuns,
    foreign: DryRuns,
}

/// What was confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// Objects that nothing claims, rather than what changed rules withdraw.
    pub orphans: bool,
    /// The trigger.
    pub trigger: String,
    /// Objects that go.
    pub objects: u64,
    /// Keys of its list that go.
    pub keys: u64,
}

impl<D: Disk> View<D> {
    /// A view of what was recovered at start-up.
    pub fn new(projection: Projection, log: Reader<D>) -> Arc<View<D>> {
        let folded = watch::Sender::new(projection.watermark());
        let stamps = Mutex::new(Stamps::after(projection.ground().folded_unix_nanos));
        let (projection, log) = (RwLock::new(projection), RwLock::new(log));
        let (stalled, replays, saved) = (Mutex::new(None), Mutex::default(), Mutex::default());
        let (settled, traces) = (Notify::new(), Traces::default());
        let (is_broken, confirmations) = (AtomicBool::new(false), Confirmations::default());
        Arc::new(View {
            projection,
            is_broken,
            log,
            folded,
            stalled,
            replays,
            replayed: Mutex::default(),
            saved,
            confirmations,
            stamps,
            settled,
            traces,
            by_trigger: ByTrigger::default(),
            orphans: Orphans::default(),
            dry_runs: DryRuns::default(),
            foreign: DryRuns::default(),
        })
    }

    /// Reads the projection. Shortly: the recorder waits meanwhile.
    pub fn read<T>(&self, read: impl FnOnce(&Projection) -> T) -> T {
        read(&self.projection.read())
    }

    /// The projection, for reading. Hold it shortly: the recorder waits meanwhile.
    pub(crate) fn projection(&self) -> RwLockReadGuard<'_, Projection> {
        self.projection.read()
    }

    /// A reader of the log.
    pub fn log(&self) -> Reader<D> {
        self.log.read().clone()
    }

    /// What each trigger did.
    pub fn by_trigger(&self) -> &ByTrigger {
        &self.by_trigger
    }

    /// Objects with our marks that nothing claims.
    pub fn orphans(&self) -> &Orphans {
        &self.orphans
    }

    /// What dry runs would do.
    pub(crate) fn dry_runs(&self) -> &DryRuns {
        &self.dry_runs
    }

    /// Objects of others that are in the way of wanted ones.
    pub(crate) fn foreign(&self) -> &DryRuns {
        &self.foreign
    }

    /// Why nothing is recorded, or why no message is; `None` while everything is.
    pub fn stalled(&self) -> Option<String> {
        self.stalled.lock().clone()
    }

    /// How far history is decided again under changed rules; empty when no replay is open.
    pub fn replays(&self) -> Vec<ReplayStatus> {
        self.replays.lock().clone()
    }

    /// What is to be confirmed.
    pub(crate) fn confirmations(&self) -> &Confirmations {
        &self.confirmations
    }

    /// What the last replays did that came to their end.
    pub fn replayed(&self) -> Vec<ReplayedStatus> {
        self.replayed.lock().last.iter().cloned().collect()
    }

    /// How many replays came to their end.
    #[must_use]
    pub fn replays_over(&self) -> u64 {
        self.replayed.lock().count
    }

    /// How far the projection is saved.
    pub fn saved(&self) -> Saved {
        self.saved.lock().clone()
    }

    /// Waits until everything below an offset is folded.
    pub(crate) async fn reached(&self, offset: Offset) {
        let mut folded = self.folded.subscribe();
        let reached = folded.wait_for(|watermark| *watermark >= offset).await;
        reached.expect("this is what sends it");
    }

    /// A channel with the watermark of the projection, sent whenever it grows.
    pub fn subscribe(&self) -> watch::Receiver<Offset> {
        self.folded.subscribe()
    }

    /// The traces of the newest events.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// First offset that is not folded, as last sent. Work that follows from what lies before it is in the queue.
    pub fn folded(&self) -> Offset {
        *self.folded.borrow()
    }

    /// Whether every record written up to a time, in nanoseconds since 1970, is durable and folded, and none can come any
    /// more: later ones are stamped behind it, whatever the clock says. The time has to be past, or stamps would run ahead.
    #[must_use]
    pub fn seal(&self, unix_nanos: u64) -> bool {
        self.stamps.lock().seal(unix_nanos)
    }

    /// Waits until a time can be sealed, and seals it.
    pub(crate) async fn sealed(&self, unix_nanos: u64) {
        loop {
            // Before it is looked at: what settles in between would go unnoticed.
            let settled = self.settled.notified();
            if self.seal(unix_nanos) {
                return;
            }
            settled.await;
        }
    }

    /// The time of what is recorded next; [`View::settled`] has to follow.
    pub(crate) fn stamp(&self, now_unix_nanos: u64) -> u64 {
        self.stamps.lock().stamp(now_unix_nanos)
    }

    /// The time of the newest record, where it is to come by more than a minute; in nanoseconds since 1970.
    pub(crate) fn ahead(&self, now_unix_nanos: u64) -> Option<u64> {
        self.stamps.lock().ahead(now_unix_nanos)
    }

    /// Everything that was stamped is durable, folded and announced, or known not to be on the disk.
    pub(crate) fn settled(&self) {
        self.stamps.lock().settled();
        self.settled.notify_waiters();
    }

    /// Changes the projection and announces its watermark.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Projection) -> T) -> T {
        let answer = self.step(change);
        self.announce();
        answer
    }

    /// Changes the projection. Where its watermark grew, [`View::announce`] has to follow. Readers that wait go before
    /// the next step: the lock is handed to them, or many short steps would keep them out as long as one long change.
    pub(crate) fn step<T>(&self, change: impl FnOnce(&mut Projection) -> T) -> T {
        let mut projection = self.projection.write();
        // Dropped before the lock is let go of.
        let guard = NotedPanic(&self.is_broken);
        let answer = change(&mut projection);
        drop(guard);
        RwLockWriteGuard::unlock_fair(projection);
        answer
    }

    /// Whether a change of the projection panicked. What was read before this returns true may hold half a change, and must not
    /// be saved.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    /// Announces the projection's watermark to those who wait for it.
    pub(crate) fn announce(&self) {
        let watermark = self.projection.read().watermark();
        self.folded.send_if_modified(|known| std::mem::replace(known, watermark) != watermark);
    }

    pub(crate) fn reopened(&self, log: Reader<D>) {
        *self.log.write() = log;
    }

    pub(crate) fn set_replays(&self, replays: Vec<ReplayStatus>) {
        *self.replays.lock() = replays;
    }

    pub(crate) fn note_replayed(&self, over: Vec<ReplayedStatus>) {
        let replayed = &mut *self.replayed.lock();
        for over in over {
            replayed.count += 1;
            replayed.last.push_back(ReplayedStatus { number: replayed.count, ..over });
        }
        replayed.last.drain(..replayed.last.len().saturating_sub(REPLAYED_MAX));
    }

    pub(crate) fn set_saved(&self, watermark: Offset) {
        *self.saved.lock() = Saved { watermark: Some(watermark), trouble: None };
    }

    pub(crate) fn set_not_saved(&self, why: String) {
        self.saved.lock().trouble = Some(why);
    }

    pub(crate) fn set_stalled(&self, reason: Option<String>) {
        *self.stalled.lock() = reason;
    }
}

struct NotedPanic<'v>(&'v AtomicBool);

impl Drop for NotedPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Release);
        }
    }
}
