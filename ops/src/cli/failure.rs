//! How a failure is said: one line with its causes, each remedy on a line of its own.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

/// Says on standard error why a command failed; the exit code for it.
pub fn fail(error: &dyn Error) -> ExitCode {
    eprint!("{}", said(error));
    ExitCode::FAILURE
}

/// `error: what: cause: cause`, then `  hint: ...` for each hint on the way.
fn said(error: &dyn Error) -> String {
    let (mut causes, mut hints) = (Vec::<String>::new(), Vec::<String>::new());
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let mut lines = text.lines();
        let cause = lines.next().unwrap_or_default().to_owned();
        // Some libraries repeat their cause in their own text.
        if !causes.iter().any(|said| said.contains(&cause)) {
            causes.push(cause);
        }
        for line in lines {
            let hint = line.strip_prefix("hint: ").unwrap_or(line).to_owned();
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        next = error.source();
    }
    let mut out = format!("error: {}\n", causes.join(": "));
    for hint in hints {
        let _ = writeln!(out, "  hint: {hint}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("cannot ask `x`\nhint: start it")]
        Ask(#[source] std::io::Error),
    }

    #[test]
    fn causes_stand_in_one_line_and_hints_below() {
        let error = Outer::Ask(std::io::Error::other("connection refused"));
        assert_eq!(said(&error), "error: cannot ask `x`: connection refused\n  hint: start it\n");
    }
}
