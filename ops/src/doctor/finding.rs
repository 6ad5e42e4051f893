//! What a check found: its name, the verdict, and the remedy.

use std::error::Error;

use lifeline_engine::error_text::chain;
use serde::{Deserialize, Serialize};

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
