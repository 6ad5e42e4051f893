//! The texts of errors with all their causes.

use std::error::Error;

/// An error with its causes, as one sentence. A hint stays on a line of its own, after all causes.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Some libraries repeat a cause inside their own text.
        if !text.contains(&inner_text) {
            let end = text.find("\nhint:").unwrap_or(text.len());
            text.insert_str(end, &format!(": {inner_text}"));
        }
        cause = inner.source();
    }
    text
}

/// An error with its causes on one line, without hints: what fits into a status.
#[must_use]
pub fn one_line(error: &dyn Error) -> String {
    let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let mut line = first_line(error.to_string());
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = first_line(inner.to_string());
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = inner.source();
    }
    line
}
