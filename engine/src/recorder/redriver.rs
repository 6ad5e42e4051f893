//! Asks the recorder to take rejected messages up again.
//!
//! Start at [`Redriver::redrive`]. What was taken up already is looked for here, on a thread that may block; the recorder looks
//! at the few records since then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use lifeline_projections::event::CloudEvent;
use lifeline_store::{Disk, Offset};

use super::{OutcomeSender, Stopped};
use crate::redrive::{Because, Outcome, Place, look, try_out};
use crate::view::View;

/// How long the recorder may take: it waits for rules, and for a disk that fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Takes rejected messages of one engine up again.
pub struct Redriver<D: Disk> {
    view: Arc<View<D>>,
    recording: OutcomeSender,
}

/// Why it is not known what came of a redrive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] lifeline_store::Error),
    /// The recorder waits for rules or for its disk.
    #[error(
        "it is not recorded within `{}` seconds, and may be recorded later, once\nhint: `lifeline status` says what is waited for; ask again",
        PATIENCE.as_secs()
    )]
    Late,
    /// The process is on its way out.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl<D: Disk> Redriver<D> {
    /// One of the engine with this view.
    #[must_use]
    pub fn new(view: Arc<View<D>>, recording: OutcomeSender) -> Redriver<D> {
        Redriver { view, recording }
    }

    /// Takes the rejected messages at these offsets up again, in order, and says of each what came of it. With `is_trial`
    /// nothing is recorded.
    ///
    /// # Errors
    /// When the log cannot be read, or nothing was recorded in time.
    pub async fn redrive(
        &self,
        offsets: BTreeSet<Offset>,
        because: Because,
        is_trial: bool,
    ) -> Result<BTreeMap<Offset, Outcome>, Error> {
        let log = self.view.log();
        let looked = tokio::task::spawn_blocking(move || look(&log, &offsets)).await;
        // It does not panic, and is not called off while the process lives.
        let (places, looked_to) = looked.map_err(|_| Stopped)??;
        let each = places.into_iter().map(|(offset, place)| {
            let because = because.clone();
            async move {
                let outcome = match place {
                    Place::Known(outcome) => outcome,
                    Place::Rejected(record) if is_trial => {
                        try_out(&record, |headers, payload| CloudEvent::receive(headers, payload))
                    }
                    Place::Rejected(record) => self.recording.redrive(record, looked_to, because).await?,
                };
                Ok((offset, outcome))
            }
        });
        let recorded = tokio::time::timeout(PATIENCE, join_all(each)).await.map_err(|_| Error::Late)?;
        recorded.into_iter().collect::<Result<_, Stopped>>().map_err(Error::Stopped)
    }
}
