//! Waiting for an engine that still rebuilds its state from the log.
//!
//! Start at [`Patience::lasts`]. It waits for as long as the engine gets on, and only where somebody can see why: without
//! a terminal the answer is the engine's sentence, at once.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::api::problem::Problem;
use crate::terminal::table::printable;

/// The code of the problem that passes by itself.
const CODE: &str = "rebuilding";

/// How often is asked.
const PAUSE: Duration = Duration::from_millis(250);

/// How long an engine may say the same before it is given up.
const STILL_MAX: Duration = Duration::from_secs(30);

/// How one question waits.
pub struct Patience {
    /// What the engine said last, and when it first said so.
    said: Option<(String, Instant)>,
}

impl Patience {
    /// `None` where nobody would see what is waited for.
    pub fn on_terminal() -> Option<Patience> {
        std::io::stderr().is_terminal().then_some(Patience { said: None })
    }

    /// Whether to ask again after this problem. Says what is waited for.
    pub fn lasts(&mut self, problem: &Problem) -> bool {
        self.lasts_at(problem, Instant::now())
    }

    fn lasts_at(&mut self, problem: &Problem, now: Instant) -> bool {
        if problem.0.code != CODE {
            return false;
        }
        match &self.said {
            Some((said, since)) if *said == problem.0.detail => return now.duration_since(*since) < STILL_MAX,
            _ => self.said = Some((problem.0.detail.clone(), now)),
        }
        // Erases the line before it, and is itself erased by what comes next.
        let _ = write!(std::io::stderr(), "\r\u{1b}[K{} ...", printable(&problem.0.detail));
        true
    }

    /// Lets the engine get on.
    pub fn pause(&self) {
        std::thread::sleep(PAUSE);
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if self.said.is_some() {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: &str, detail: &str) -> Problem {
        let document = serde_json::json!({
            "type": format!("urn:lifeline:problem:{code}"), "title": "", "status": 503, "code": code, "detail": detail,
        });
        serde_json::from_value(document).expect("a problem")
    }

    #[test]
    fn an_engine_is_waited_for_while_it_gets_on() {
        let (mut patience, start) = (Patience { said: None }, Instant::now());
        let mut check = |code: &str, detail: &str, second: u64, expected: bool| {
            let now = start + Duration::from_secs(second);
            assert_eq!(patience.lasts_at(&problem(code, detail), now), expected, "{detail} at {second}");
        };
        check("stopping", "the engine is stopping", 0, false);
        check("rebuilding", "at offset 5 of 9", 0, true);
        check("rebuilding", "at offset 5 of 9", 29, true);
        check("rebuilding", "at offset 6 of 9", 40, true);
        check("rebuilding", "at offset 6 of 9", 69, true);
        check("rebuilding", "at offset 6 of 9", 70, false);
        check("bad-parameter", "no such phase", 71, false);
    }
}
