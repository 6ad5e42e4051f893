//! History that is decided again because somebody asks for it, under the rules in force.
//!
//! Start at [`OutcomeSender::replay`]. It goes the way of a change of rules: a record opens the replay, so a restart
//! goes on with it, and what it would withdraw may be held. A restart knows nothing of where it was to begin, and
//! decides all of it again.

use lifeline_projections::fact::Fact;
use lifeline_store::{Disk, Offset};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Error, OutcomeSender, Recorder, Stopped};
use crate::replay::Replay;
use crate::rules::Standing;

/// What came of asking for a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It is recorded, and goes on from here.
    Begun,
    /// One is under way.
    UnderWay,
    /// The trigger is there and broken.
    OutOfForce,
    /// There is no such trigger.
    Absent,
}

/// A trigger whose history is to be decided again.
pub(super) struct Again {
    trigger: String,
    from: Option<Offset>,
    puts_back: bool,
    done: oneshot::Sender<Begun>,
}

impl Again {
    /// Says what came of it. Where nothing did, the engine is stopping.
    pub(super) fn answer(self, begun: Option<Begun>) {
        // Who asked may be gone.
        _ = begun.map(|begun| self.done.send(begun));
    }
}

impl OutcomeSender {
    /// Decides the history of a trigger again under the rules in force, as if they had just come; with `from` only of
    /// the resources that an event from there on spoke of. Returns once its opening is recorded; waits for the first
    /// rules. With `puts_back` the objects are looked at as well, and what others changed or deleted is put back; of that a
    /// restart knows nothing.
    ///
    /// # Errors
    /// When the engine is stopping.
    pub async fn replay(&self, trigger: &str, from: Option<Offset>, puts_back: bool) -> Result<Begun, Stopped> {
        let (done, begun) = oneshot::channel();
        self.again.send(Again { trigger: trigger.to_owned(), from, puts_back, done }).await.map_err(|_| Stopped)?;
        begun.await.map_err(|_| Stopped)
    }
}

impl<D: Disk> Recorder<D> {
    /// Opens a replay that was asked for.
    pub(super) fn replay_again(&mut self, again: &Again) -> Result<Begun, Error> {
        let rules = self.rules.clone().expect("nobody is heard before there are rules");
        match rules.standing(&again.trigger) {
            Standing::InForce(_) => {}
            Standing::OutOfForce => return Ok(Begun::OutOfForce),
            Standing::Absent => return Ok(Begun::Absent),
        }
        if again.puts_back {
            self.sites.put_back(&again.trigger, again.from);
        }
        let replay = match self.replay.take() {
            Some(replay) => replay,
            None => {
                let projection = self.view.projection();
                let replay = Replay::of_nothing(&rules, projection.ground());
                replay.with_brake(self.braked.brake()).with_lately(self.lately(&projection))
            }
        };
        let replay = self.replay.insert(replay);
        if !replay.ask(&again.trigger, again.from) {
            return Ok(Begun::UnderWay);
        }
        let openings: Vec<Fact<'_>> = replay.openings().map(Fact::Replay).collect();
        self.record_facts(&openings)?;
        let replay = self.replay.as_mut().expect("it was just there");
        replay.opened();
        self.view.set_replays(replay.said_status(&self.view.projection()));
        self.replay_due = Instant::now();
        Ok(Begun::Begun)
    }
}
