//! Rules that change, and history that is decided again by them, in pieces.
//!
//! Start at [`Recorder::take_rules`]. What is decided is said in [`crate::replay`]; here it is recorded. Texts that a piece has
//! to know are rendered beside: see [`super::aside`].

use std::sync::Arc;
use std::time::Duration;

use lifeline_projections::fact::Fact;
use lifeline_store::Disk;
use tokio::time::Instant;
use tracing::warn;

use super::{COUNT_AGAIN_PAUSE_MAX, COUNT_AGAIN_PAUSE_MIN, Error, RETRY_PAUSE, Recorder};
use crate::error_text::chain;
use crate::replay::texts::Answers;
use crate::replay::{self, Replay};
use crate::rules::RuleSet;

impl<D: Disk> Recorder<D> {
    /// When history is decided again; `None` while it is not, and while texts are rendered.
    pub(super) fn replay_due(&self) -> Option<Instant> {
        let replay = self.replay.as_ref().filter(|_| !self.aside.is_under_way())?;
        Some(if replay.goes_on() { self.replay_due } else { self.count_again.0 })
    }

    /// Goes on with a replay whose texts are rendered. Answers that nobody wants any more change nothing: the pause before
    /// withdrawals may have begun.
    pub(super) fn take_answers(&mut self, answers: Option<Answers>) {
        let (Some(replay), Some(answers)) = (&mut self.replay, answers) else { return };
        replay.answer(answers);
        self.replay_due = Instant::now();
    }

    /// Records what is new about the rules, and that history has to be decided again by them. From here on they decide.
    pub(super) fn take_rules(&mut self, rules: &Arc<RuleSet>) -> Result<(), Error> {
        let (mut replay, changes) = {
            let projection = self.view.projection();
            let ground = projection.ground();
            let changes = replay::rule_changes(rules, ground);
            let replay = Replay::new(rules, ground, self.replay.as_ref(), self.rules.as_deref(), &changes);
            (replay.with_brake(self.braked.brake()).with_lately(self.lately(&projection)), changes)
        };
        // In this order: were the power cut between them, the next start would see the change, and open the replays again.
        let changes = changes.iter().map(replay::RuleChange::fact);
        let facts: Vec<Fact<'_>> = replay.openings().map(Fact::Replay).chain(changes).collect();
        if !facts.is_empty() {
            self.record_facts(&facts)?;
        }
        replay.opened();
        self.rules = Some(rules.clone());
        // What is being rendered was asked by the replay before.
        self.aside.forget();
        self.view.set_replays(replay.said_status(&self.view.projection()));
        let due = Instant::now() + if replay.withdraws() { self.hand_over_pause() } else { Duration::ZERO };
        (self.replay, self.replay_due) = (Some(replay), due);
        self.count_again.1 = COUNT_AGAIN_PAUSE_MIN;
        self.confirm()
    }

    /// Decides a piece of history again, and records what is different.
    pub(super) fn replay_piece(&mut self) -> Result<(), Error> {
        // The log failed after the texts of this piece were asked for: this is another try.
        if self.aside.is_under_way() {
            return self.confirm();
        }
        let lately = self.lately(&self.view.projection());
        let Some(replay) = &mut self.replay else { return Ok(()) };
        if !replay.passed().is_empty() {
            // Before any of it is withdrawn: a restart neither forgets what it sums up to, nor counts it twice.
            let facts: Vec<Fact<'static>> = replay.passed().iter().cloned().map(Fact::Replay).collect();
            self.record_facts(&facts)?;
            self.replay.as_mut().expect("it was just asked").passed_recorded();
            self.replay_due = Instant::now() + self.hand_over_pause();
            return Ok(());
        }
        if replay.is_held() && !replay.goes_on() {
            replay.count_again(lately);
        }
        let reader = self.view.log();
        let piece = match replay.piece(&self.view.projection(), &reader, self.replay_steps) {
            Ok(piece) => piece,
            Err(error) => {
                // It is read later. That is no reason to stop recording.
                warn!("history is not replayed for now: {}", chain(&error));
                self.replay_due = Instant::now() + RETRY_PAUSE;
                return Ok(());
            }
        };
        let is_over = piece.is_none();
        if let Some(mut piece) = piece {
            if let Some(replayed) = piece.take_fact() {
                let mut fact = Fact::Replay(replayed);
                fact.link(|source, subject| self.view.projection().last_record(source, subject));
                self.record_facts(&[fact])?;
            }
            let replay = self.replay.as_mut().expect("it gave the piece");
            let questions = replay.advance(piece);
            self.view.note_replayed(replay.take_over());
            if replay.is_held() && !replay.goes_on() {
                let (_, pause) = self.count_again;
                self.count_again = (Instant::now() + pause, (pause * 2).min(COUNT_AGAIN_PAUSE_MAX));
            }
            if let Some(questions) = questions {
                self.aside.begin(questions, self.view.clone());
            }
        }
        let replay = self.replay.as_ref().expect("it is taken away only below");
        let status = replay.said_status(&self.view.projection());
        self.view.set_replays(status);
        if is_over && !replay.is_held() {
            self.replay = None;
        }
        self.confirm()
    }
}
