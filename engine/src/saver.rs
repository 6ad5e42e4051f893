//! The saver: writes checkpoints of the projection, so that the next start folds little of the log.
//!
//! Start at [`Saver::run`]. A checkpoint is written beside recording and never delays it: of the projection the saver needs a
//! bucket at a time, for some microseconds, and what it waits for is the table's disk. So an engine runs it on a thread of its
//! own; a simulation runs it beside everything else in one thread, where records are folded between two pieces.
//!
//! A table that fails costs time at the next start, no more. It is opened again after a pause, and a whole checkpoint
//! is written, for what the table held may be lost. The status says so meanwhile. A slow table has fewer checkpoints: the next
//! begins once the one before is written. Meanwhile only landmarks wait in memory, one for 64 records.
//!
//! Never here: what a checkpoint is made of (see [`lifeline_projections::table`]).

use std::sync::Arc;
use std::time::Duration;

use lifeline_projections::table::{self, Checkpoint, Error, Table};
use lifeline_store::{Disk, Offset};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::error_text::chain;
use crate::view::View;
use crate::warnings;

/// Changed records between two checkpoints of the projection, at most, while the disk keeps up.
const CHECKPOINT_RECORDS: u64 = 1_000_000;

/// The pause after a checkpoint that failed is the period, and twice as long each time it fails again, up to so many times.
const FAILURES_COUNTED_MAX: u32 = 3;

/// When checkpoints are written, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time between two checkpoints, at most, while records come and the disk keeps up.
    pub period: Duration,
    /// Bytes that are written at once, give or take a bucket.
    pub piece_bytes: usize,
    /// The pause between two pieces. A simulation has one, in place of a disk that takes its time.
    pub pause: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { period: Duration::from_secs(5), piece_bytes: table::PIECE_BYTES, pause: Duration::ZERO }
    }
}

/// Writes checkpoints, one at a time.
pub struct Saver<D: Disk> {
    table: Table,
    view: Arc<View<D>>,
    pace: Pace,
    /// Where the last checkpoint began; `None` before the first.
    began: Option<Offset>,
    /// How often in a row it failed.
    failures: u32,
}

impl<D: Disk> Saver<D> {
    /// A saver of the projection in `view`, which was read from `table`.
    pub fn new(table: Table, view: Arc<View<D>>) -> Saver<D> {
        Saver { table, view, pace: Pace::default(), began: None, failures: 0 }
    }

    /// The same, at another pace.
    #[must_use]
    pub fn with_pace(self, pace: Pace) -> Saver<D> {
        Saver { pace, ..self }
    }

    /// Writes checkpoints until nothing is recorded any more, then the last one. `recorded` says when: once the recorder ended
    /// in good order. Where it is dropped there is no last one. What fails is only reported.
    pub async fn run(mut self, mut recorded: oneshot::Receiver<()>) {
        loop {
            let is_over = tokio::select! {
                biased;
                ended = &mut recorded => Some(ended.is_ok()),
                () = self.due() => None,
            };
            match is_over {
                Some(false) => return,
                Some(true) => break,
                None => self.checkpoint().await,
            }
        }
        self.checkpoint().await;
        if let Err(error) = self.table.flush() {
            warn!("{}", warnings::not_saved(&chain(&error)));
        }
    }

    /// Waits until the next checkpoint is due.
    async fn due(&self) {
        if self.failures > 0 {
            let doublings = (self.failures - 1).min(FAILURES_COUNTED_MAX);
            return sleep(self.pace.period * 2u32.pow(doublings)).await;
        }
        let mut folded = self.view.subscribe();
        let began = self.began.unwrap_or_else(|| self.view.folded());
        // What was folded at the start is saved soon, and not only once something comes.
        if self.began.is_some() {
            let grown = folded.wait_for(|folded| *folded > began).await;
            grown.expect("the view is what sends it");
        }
        let many = folded.wait_for(|folded| folded.get().saturating_sub(began.get()) >= CHECKPOINT_RECORDS);
        // Either of the two.
        let _ = timeout(self.pace.period, many).await;
    }

    async fn checkpoint(&mut self) {
        match self.write().await {
            Ok(()) => {
                if self.failures > 0 && !self.view.is_broken() {
                    info!("the projection is saved again");
                    self.failures = 0;
                }
            }
            // The projection can be made again from the log: losing a checkpoint costs time at the next start, no more.
            Err(error) => {
                let remedy = if error.is_full() { "\nhint: free space; then it is saved by itself" } else { "" };
                let why = chain(&error) + remedy;
                if self.failures == 0 {
                    warn!("{}", warnings::not_saved(&why));
                }
                self.failures = self.failures.saturating_add(1);
                self.view.set_not_saved(why);
            }
        }
    }

    async fn write(&mut self) -> Result<(), Error> {
        if self.failures > 0 {
            self.table.reopen()?;
        }
        let (landmarks, view) = (self.view.read(|projection| projection.landmarks().clone()), self.view.clone());
        let begin = if self.failures > 0 { Checkpoint::begin_whole } else { Checkpoint::begin };
        let mut checkpoint = view.step(begin).with_piece_bytes(self.pace.piece_bytes);
        let watermark = checkpoint.watermark();
        self.began = Some(watermark);
        while let Some(piece) = checkpoint.next_piece(|| view.projection()) {
            if view.is_broken() {
                // Half a change may be in it. The recorder is gone, and no checkpoint follows.
                return Ok(());
            }
            if let Err(error) = self.table.write(piece, &landmarks) {
                view.step(|projection| checkpoint.give_up(projection));
                return Err(error);
            }
            if !self.pace.pause.is_zero() {
                sleep(self.pace.pause).await;
            }
        }
        view.set_saved(watermark);
        Ok(())
    }
}
