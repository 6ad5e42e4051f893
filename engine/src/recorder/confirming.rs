//! Withdrawals that somebody confirms, and what is known of those before.
//!
//! Start at [`confirm`]. A confirmation is recorded before it is answered, so that it holds whatever comes.

use std::time::Duration;

use lifeline_projections::fact::Fact;
use lifeline_projections::fold::Projection;
use lifeline_store::Disk;

use super::{Error, Recorder, Stopped, redriver};
use crate::confirmations::Confirmation;
use crate::replay::{Confirmable, Counts};
use crate::size::Size;
use crate::status::ReplayStatus;
use crate::view::{Confirmed, View};

/// The pause before withdrawals: time for other lifecycles, also of rules that came shortly before, to claim what is to change
/// hands. It is longer where many lifecycles have work to do.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(2);
const HAND_OVER_PAUSE_EACH: Duration = Duration::from_millis(2);
const HAND_OVER_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Lets a withdrawal pass that is held, or orphans be deleted, by the id that the status gives them. `None` where there is
/// nothing of this id.
///
/// Returns once a withdrawal is recorded: it holds, were the engine to end before all is done. Orphans have to be confirmed
/// again then.
///
/// # Errors
/// When it is not recorded in time, or the engine is stopping.
pub async fn confirm<D: Disk>(view: &View<D>, id: &str) -> Result<Option<Confirmed>, redriver::Error> {
    let is_held = |replay: &ReplayStatus| replay.held.as_ref().is_some_and(|held| held.id == id);
    let Some(replay) = view.replays().into_iter().find(is_held) else {
        let orphans = view.orphans().confirm(id);
        return Ok(orphans.map(|(trigger, objects)| Confirmed { orphans: true, trigger, objects, keys: 0 }));
    };
    let recorded = tokio::time::timeout(redriver::PATIENCE, view.confirmations().ask(id)).await;
    let goes = recorded.map_err(|_| redriver::Error::Late)?.map_err(|_| Stopped)?;
    let confirmed = |Size { objects, keys }| Confirmed { orphans: false, trigger: replay.trigger, objects, keys };
    Ok(goes.map(confirmed))
}

impl<D: Disk> Recorder<D> {
    /// Records the confirmations that are asked for, then lets pass what they are about, and says so.
    pub(super) fn confirm(&mut self) -> Result<(), Error> {
        self.confirmations.extend(self.view.confirmations().take());
        let mut later = Vec::new();
        while let Some(Confirmation { id, .. }) = self.confirmations.last() {
            let id = id.clone();
            let known = self.replay.as_ref().map_or(Confirmable::Unknown, |replay| replay.confirmable(&id));
            if let Confirmable::Held { fact, .. } = &known {
                if let Err(error) = self.record_facts(&[Fact::Replay(fact.clone())]) {
                    // They are taken up again with the log.
                    self.confirmations.append(&mut later);
                    return Err(error);
                }
                let replay = self.replay.as_mut().expect("it holds it");
                replay.confirm(&id);
                self.view.set_replays(replay.status(&self.view.projection()));
            }
            let confirmation = self.confirmations.pop().expect("it was just looked at");
            // Nobody may wait any more; then it is confirmed all the same.
            match known {
                Confirmable::Held { goes, .. } => _ = confirmation.done.send(Some(goes)),
                Confirmable::Unknown => _ = confirmation.done.send(None),
                Confirmable::Counting => later.push(confirmation),
            }
        }
        self.confirmations = later;
        Ok(())
    }

    /// What changes of rules withdrew within the last hour, though the brake held nothing.
    pub(super) fn lately(&self, projection: &Projection) -> Counts {
        self.braked.lately(projection)
    }

    /// How long others have to claim what is to be withdrawn.
    pub(super) fn hand_over_pause(&self) -> Duration {
        let open = u32::try_from(self.sites.open().len()).unwrap_or(u32::MAX);
        HAND_OVER_PAUSE.saturating_add(HAND_OVER_PAUSE_EACH.saturating_mul(open)).min(HAND_OVER_PAUSE_MAX)
    }
}
