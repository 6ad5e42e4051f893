//! What is held of a replay, and how it goes on: it is counted, confirmed, or counted again.
//!
//! Start at [`Replay::settle_counts`]. Nothing is recorded here: the recorder records what passed and what is confirmed, before
//! it goes on.

use lifeline_projections::fact::TriggerReplayed;
use tracing::warn;

use super::brake::{Counted, Withdrawal, sentence};
use super::target::{Held, Target};
use super::texts::Answers;
use super::turn::{Consent, Count, Turn};
use super::{Counts, Replay};
use crate::size::Size;

/// What is known of the withdrawal that somebody confirms.
#[derive(Debug, PartialEq, Eq)]
pub enum Confirmable {
    /// It is held.
    Held {
        /// The fact that lets it pass. Once it is recorded, [`Replay::confirm`] is to be called.
        fact: TriggerReplayed,
        /// What goes.
        goes: Size,
    },
    /// It was held, and is just counted again.
    Counting,
    /// There is none.
    Unknown,
}

impl Replay {
    /// Decides which withdrawals are held, once all are counted.
    pub(super) fn settle_counts(&mut self) {
        if self.targets.iter().any(|target| !target.is_stuck && matches!(target.turn, Turn::Counting(_))) {
            return;
        }
        let counted = |(at, target): (usize, &Target)| match target.turn {
            Turn::Counted(count) => Some((at, count)),
            Turn::Counting(_) | Turn::Held | Turn::Recording(_) => None,
        };
        let counted: Vec<(usize, Count)> = self.targets.iter().enumerate().filter_map(counted).collect();
        let would_go = counted.iter().map(|(at, Count { withdrawal, keys, live, .. })| {
            let trigger = &*self.targets[*at].trigger;
            Counted { trigger, objects: *withdrawal, keys: *keys, live: *live }
        });
        let much = self.brake.held(&would_go.collect::<Vec<_>>(), self.confirmed, &self.lately);
        let in_small_steps = self.lately.values().sum();
        for ((at, count), is_much) in counted.into_iter().zip(much) {
            let Count { withdrawal, keys, waiting, names, .. } = count;
            let target = &mut self.targets[at];
            if is_much || (count.goes().is_none() && !waiting.is_none()) {
                let withdrawal = Withdrawal { goes: withdrawal.goes + waiting.objects, ..withdrawal };
                let keys = Withdrawal { goes: keys.goes + waiting.keys, ..keys };
                let waits_for = if is_much { None } else { target.cursor.waits_for.clone() };
                let held = Held { withdrawal, keys, names, waits_for, counts: 0, is_said: false };
                let held = held.after(target.held.as_ref(), target.may_be_taken_over);
                let is_news = held.is_news(target.held.as_ref());
                (target.turn, target.held) = (Turn::Held, Some(held));
                if let (true, Some(held)) = (is_news, target.held_withdrawal(in_small_steps)) {
                    warn!("{}", sentence(&target.trigger, &held));
                }
            } else {
                let goes = count.goes();
                if !goes.is_none() {
                    *self.lately.entry(target.trigger.clone()).or_default() += goes.sum();
                    self.passed.push(target.allow(goes, false));
                }
                target.begin_recording(Consent::Little);
            }
        }
    }

    /// What is held under an id.
    #[must_use]
    pub fn confirmable(&self, id: &str) -> Confirmable {
        let held = |target: &Target| target.held_withdrawal(0).filter(|held| held.id == id);
        let Some((target, held)) = self.targets.iter().find_map(|target| Some((target, held(target)?))) else {
            return Confirmable::Unknown;
        };
        match target.turn {
            Turn::Held => {
                let goes = Size { objects: held.objects, keys: held.keys };
                Confirmable::Held { fact: target.allow(goes, true), goes }
            }
            Turn::Counting(_) | Turn::Counted(_) => Confirmable::Counting,
            Turn::Recording(_) => Confirmable::Unknown,
        }
    }

    /// Lets the withdrawal pass that is held under an id, once that is recorded.
    pub fn confirm(&mut self, id: &str) {
        let is_confirmed = |target: &&mut Target| {
            target.turn == Turn::Held && target.held_withdrawal(0).is_some_and(|held| held.id == id)
        };
        for target in self.targets.iter_mut().filter(is_confirmed) {
            self.confirmed += target.held.as_ref().map_or(0, |held| held.goes().sum());
            target.begin_recording(Consent::Confirmed);
        }
    }

    /// Counts once more what is held, beside what was withdrawn lately: meanwhile other lifecycles may claim it, so that it
    /// changes hands instead of going, or do not want it.
    pub fn count_again(&mut self, lately: Counts) {
        self.lately = lately;
        // What could not be read may be readable by now, and keys of lists change.
        self.answers = Answers::default();
        self.targets.iter_mut().filter(|target| target.turn == Turn::Held).for_each(Target::begin_counting);
    }

    /// What passed just now without a confirmation, to be recorded before the next piece. Others should have the time to claim
    /// what they want of it.
    #[must_use]
    pub fn passed(&self) -> &[TriggerReplayed] {
        &self.passed
    }

    /// Notes that [`Replay::passed`] is recorded.
    pub fn passed_recorded(&mut self) {
        self.passed.clear();
    }

    /// Whether something is to be withdrawn at once: after a restart too, others should have the time to claim what they want.
    #[must_use]
    pub fn withdraws(&self) -> bool {
        self.targets.iter().any(|target| matches!(target.turn, Turn::Recording(_)))
    }
}
