//! Whether the disk has room for messages.
//!
//! It is looked at before messages are let in, and now and then while none comes: a disk that fills up is shown before the next
//! message is held back.

use std::time::Duration;

use lifeline_store::Disk;
use tokio::time::Instant;
use tracing::{info, warn};

use super::group::{Group, Redrive};
use super::{RETRY_PAUSE, Recorder};
use crate::redrive;

/// How often the disk is looked at while no message comes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl<D: Disk> Recorder<D> {
    /// Keeps a group's messages back while the disk is nearly full, and gives what may be recorded all the same.
    ///
    /// The room is asked for before anything is appended: a group is recorded as a whole or not at all.
    pub(super) fn hold_back(&mut self, mut group: Group) -> Group {
        if !group.has_messages() && Instant::now() < self.look_again {
            return group;
        }
        let lacking = self.lacking_room();
        match &lacking {
            Some(reason) => {
                if self.held_because.is_none() {
                    warn!("messages wait unacknowledged, outcomes are still recorded: {reason}");
                }
                self.view.set_stalled(lacking.clone());
                let outcomes = std::mem::take(&mut group.outcomes);
                // Who asks for it can ask again, which a stream cannot.
                for Redrive { done, .. } in group.redrives.drain(..) {
                    let _ = done.send(redrive::Outcome::NoRoom(reason.clone()));
                }
                self.held = group;
                group = Group { outcomes, ..Group::default() };
            }
            None if self.held_because.is_some() => {
                info!("there is room again, messages are recorded");
                self.view.set_stalled(None);
            }
            None => {}
        }
        let pause = if lacking.is_some() { RETRY_PAUSE } else { LOOK_EVERY };
        self.held_because = lacking;
        self.look_again = Instant::now() + pause;
        group
    }

    /// Why the disk has no room for messages; a disk that fails shows when it is written to.
    fn lacking_room(&mut self) -> Option<String> {
        let log = self.log.as_mut()?;
        let space = log.space().ok()?;
        let low_space_bytes = log.options().low_space_bytes;
        let lacking = lifeline_store::Error::LowSpace { free_bytes: space.free_bytes, low_space_bytes };
        space.is_low.then(|| lacking.to_string())
    }
}
