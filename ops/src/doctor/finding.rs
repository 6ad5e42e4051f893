//! What a check found: its name, the verdict, and the remedy.

use std::error::Error;

use lifeline_engine::error_text::chain;
use serde::{Deserialize, Serialize};

use crate::terminal::count;

/// What a check comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, with a risk or a loss that somebody should know.
    Warning,
    /// An engine would not work, or lose events.
    Failed,
    /// Not looked at; `found` says why.
    Skipped,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
            Verdict::Skipped => "skipped",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was checked, such as `nats server` or `stream orders`.
    pub check: String,
    /// What it comes to.
    pub verdict: Verdict,
    /// What was found, on one line.
    pub found: String,
    /// What to do; absent where nothing has to be done.
    pub remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding { check: check.into(), verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    pub(super) fn warning(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check: check.into(), verdict: Verdict::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn failed(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check: check.into(), verdict: Verdict::Failed, found: found.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn skipped(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check: check.into(), verdict: Verdict::Skipped, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// A failure, with the remedy that the error names.
    pub(super) fn of_error(check: impl Into<String>, error: &dyn Error) -> Finding {
        let text = chain(error);
        let (hints, said): (Vec<&str>, Vec<&str>) =
            text.lines().map(str::trim).partition(|line| line.starts_with("hint: "));
        let hints: Vec<&str> = hints.iter().map(|hint| hint.trim_start_matches("hint: ")).collect();
        let remedy = if hints.is_empty() { "mend what the message names".to_owned() } else { hints.join("; ") };
        Finding::failed(check, said.join(" "), remedy)
    }
}

/// All findings on one line: how many there are, and what to do first.
#[must_use]
pub fn summary(found: &[Finding]) -> String {
    let of = |verdict: Verdict| found.iter().filter(|finding| finding.verdict == verdict).count() as u64;
    let (failed, warnings, skipped) = (of(Verdict::Failed), of(Verdict::Warning), of(Verdict::Skipped));
    let counts = format!(
        "{}: {failed} failed, {}, {skipped} skipped",
        count(found.len() as u64, "check"),
        count(warnings, "warning")
    );
    let worst = [Verdict::Failed, Verdict::Warning].into_iter();
    let first = worst.filter_map(|verdict| found.iter().find(|finding| finding.verdict == verdict)).next();
    match first {
        None => format!("{counts}. An engine with these settings can start"),
        Some(Finding { check, remedy, .. }) => {
            format!("{counts}. First, {check}: {}", remedy.as_deref().unwrap_or("see above"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_and_names_the_first_of_the_worst() {
        let ok = Finding::ok("a", "fine");
        let warning = Finding::warning("b", "slow", "make it fast");
        let failed = Finding::failed("c", "away", "start it");
        let check = |found: &[&Finding], expected: &str| {
            let found: Vec<Finding> = found.iter().copied().cloned().collect();
            assert_eq!(summary(&found), expected);
        };
        check(&[&ok], "1 check: 0 failed, 0 warnings, 0 skipped. An engine with these settings can start");
        check(&[&ok, &warning], "2 checks: 0 failed, 1 warning, 0 skipped. First, b: make it fast");
        check(&[&warning, &failed, &failed], "3 checks: 2 failed, 1 warning, 0 skipped. First, c: start it");
    }
}
