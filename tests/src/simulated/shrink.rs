//! Makes a story that breaks a promise as short as it can: fewer steps, shorter pauses, fewer hazards, the same promise.
//!
//! Start at [`shrink`]. A part is left out for as long as what remains breaks the same promise (Zeller, Hildebrandt:
//! "Simplifying and isolating failure-inducing input", 2002). What the world draws by itself shifts with each part that goes,
//! so this finds a short story, not the shortest one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use lifeline_engine::intake::jetstream::Retention;

use super::script::{Action, Script};
use super::story::{Story, Violation, play};

/// Stories played at most on the way.
const ATTEMPTS_MAX: u32 = 4_000;

/// What is said of a story in which something panics.
const PANICKED: &str = "something panicked";

/// Plays a script; a panic is a violation like any other, of a story without records.
#[must_use]
pub fn play_safely(script: &Script) -> Story {
    catch_unwind(AssertUnwindSafe(|| play(script))).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let violations = vec![Violation::new(PANICKED, text.unwrap_or_default())];
        Story { records: Vec::new(), violations, happened: Vec::new(), hazards: super::hazard::Counts::default() }
    })
}

/// A shorter script that breaks the promise `what`, and its story.
#[must_use]
pub fn shrink(script: &Script, what: &'static str) -> (Script, Story) {
    let mut search = Search { what, best: script.clone(), story: play_safely(script), attempts: 0 };
    loop {
        let before = search.best.clone();
        search.leave_out_steps();
        search.calm_down();
        search.shorten();
        if search.best == before || search.attempts >= ATTEMPTS_MAX {
            return (search.best, search.story);
        }
    }
}

struct Search {
    what: &'static str,
    best: Script,
    story: Story,
    attempts: u32,
}

impl Search {
    /// Takes a script when it breaks the promise as well.
    fn try_script(&mut self, script: Script) -> bool {
        if self.attempts >= ATTEMPTS_MAX || script == self.best {
            return false;
        }
        self.attempts += 1;
        let story = play_safely(&script);
        let breaks = story.violations.iter().any(|violation| violation.what == self.what);
        if breaks {
            (self.best, self.story) = (script, story);
        }
        breaks
    }

    /// Leaves out runs of steps: halves first, single ones last.
    fn leave_out_steps(&mut self) {
        let mut run = self.best.steps.len().div_ceil(2);
        while run > 0 {
            let mut at = 0;
            while at < self.best.steps.len() {
                let mut script = self.best.clone();
                script.steps.drain(at..(at + run).min(script.steps.len()));
                if !self.try_script(script) {
                    at += run;
                }
            }
            run /= 2;
        }
    }

    /// Leaves out what a world does by itself.
    fn calm_down(&mut self) {
        let best = &self.best;
        let quiet = [
            Script { unkind_server: false, unkind_cluster: false, ..best.clone() },
            Script { unkind_server: false, ..best.clone() },
            Script { unkind_cluster: false, ..best.clone() },
            Script { retention: Retention::Limits, ..best.clone() },
            Script { has_foreign: false, ..best.clone() },
            Script { messages_max: usize::MAX, ..best.clone() },
        ];
        for script in quiet {
            self.try_script(script);
        }
    }

    /// Leaves out pauses, or halves them, and makes each thing smaller.
    fn shorten(&mut self) {
        for at in 0..self.best.steps.len() {
            let pause = self.best.steps[at].pause;
            for shorter in [Duration::ZERO, round(pause / 2)] {
                let mut script = self.best.clone();
                script.steps[at].pause = shorter;
                if shorter < pause && self.try_script(script) {
                    break;
                }
            }
            if let Some(smaller) = smaller(&self.best.steps[at].action) {
                let mut script = self.best.clone();
                script.steps[at].action = smaller;
                self.try_script(script);
            }
        }
    }
}

/// Whole milliseconds, as in a script.
fn round(pause: Duration) -> Duration {
    Duration::from_millis(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
}

fn smaller(action: &Action) -> Option<Action> {
    match action {
        Action::End { how, away } if *away > Duration::from_millis(1) => {
            Some(Action::End { how: *how, away: round(*away / 2) })
        }
        Action::ServerAway(pause) if *pause > Duration::from_millis(1) => Some(Action::ServerAway(round(*pause / 2))),
        Action::ClusterAway(pause) if *pause > Duration::from_millis(1) => Some(Action::ClusterAway(round(*pause / 2))),
        Action::KindHangs { kind, pause } if *pause > Duration::from_millis(1) => {
            Some(Action::KindHangs { kind, pause: round(*pause / 2) })
        }
        Action::SlowStream { other, pause } if *pause > Duration::from_millis(1) => {
            Some(Action::SlowStream { other: *other, pause: round(*pause / 2) })
        }
        Action::LoseTail { messages, cuts } if *messages > 1 => {
            Some(Action::LoseTail { messages: messages - 1, cuts: *cuts })
        }
        _ => None,
    }
}
