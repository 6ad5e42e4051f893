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

/// An error with its causes on one line, and its remedy after a semicolon: for a list of obstacles.
#[must_use]
pub fn with_remedy(error: &dyn Error) -> String {
    let line = one_line(error);
    match chain(error).split_once("\nhint: ") {
        Some((_, remedy)) => format!("{line}; {}", remedy.replace('\n', " ")),
        None => line,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("consumer `c` is paused\nhint: resume it")]
    struct Paused(#[source] std::io::Error);

    #[test]
    fn a_remedy_comes_after_all_causes() {
        let paused = Paused(std::io::Error::other("for 60 s"));
        assert_eq!(chain(&paused), "consumer `c` is paused: for 60 s\nhint: resume it");
        assert_eq!(one_line(&paused), "consumer `c` is paused: for 60 s");
        assert_eq!(with_remedy(&paused), "consumer `c` is paused: for 60 s; resume it");
        let plain = std::io::Error::other("for 60 s");
        assert_eq!(with_remedy(&plain), "for 60 s");
    }
}
