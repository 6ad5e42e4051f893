//! How a failure is said: one line with its causes, each remedy on a line of its own.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use super::style::{Paint, Tone};
use super::table::printable;

/// Says on standard error why a command failed; the exit code for it.
pub fn fail(error: &dyn Error) -> ExitCode {
    eprint!("{}", said(error, Paint::stderr()));
    ExitCode::FAILURE
}

/// `error: what: cause: cause`, then what else each has to say (a list of mistakes), then `  hint: ...` for each hint.
fn said(error: &dyn Error, paint: Paint) -> String {
    let (mut causes, mut details, mut hints) = (Vec::<String>::new(), Vec::<String>::new(), Vec::<String>::new());
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
            let (kind, text) = match line.trim_start().strip_prefix("hint: ") {
                Some(hint) => (&mut hints, hint),
                None => (&mut details, line.trim_start()),
            };
            if !kind.iter().any(|said| said == text) {
                kind.push(text.to_owned());
            }
        }
        next = error.source();
    }
    let mut out = format!("{} {}\n", paint.tone(Tone::Bad, "error:"), printable(&causes.join(": ")));
    for detail in details {
        let _ = writeln!(out, "  {}", printable(&detail));
    }
    for hint in hints {
        let _ = writeln!(out, "  {} {}", paint.tone(Tone::Head, "hint:"), printable(&hint));
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
        assert_eq!(said(&error, Paint::Off), "error: cannot ask `x`: connection refused\n  hint: start it\n");
    }

    #[test]
    fn mistakes_of_a_list_are_no_hints() {
        let error = std::io::Error::other("conf.json: 2 mistakes\n  `a` is missing\n  `b` is no number\nhint: mend it");
        let expected = "error: conf.json: 2 mistakes\n  `a` is missing\n  `b` is no number\n  hint: mend it\n";
        assert_eq!(said(&error, Paint::Off), expected);
    }
}
