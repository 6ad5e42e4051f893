//! How a failure is said: one line with its causes, each remedy on a line of its own.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::style::{Paint, Tone};
use super::table::printable;

/// Whether programs read what goes wrong: with `-o json` and `-o yaml`.
static IS_STRUCTURED: AtomicBool = AtomicBool::new(false);

/// Reads what was typed, before anything else does: mistakes of typing are for the same reader.
pub fn for_readers_of(typed: &[OsString]) {
    IS_STRUCTURED.store(asks_for_structure(typed), Ordering::Relaxed);
}

fn asks_for_structure(typed: &[OsString]) -> bool {
    let mut typed = typed.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    let mut is_structured = false;
    while let Some(word) = typed.next() {
        let value = match word {
            "-o" | "--output" => typed.next(),
            _ => {
                word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o=")).or_else(|| word.strip_prefix("-o"))
            }
        };
        is_structured = value.map_or(is_structured, |value| matches!(value, "json" | "yaml"));
    }
    is_structured
}

/// Says on standard error why a command failed; the exit code for it.
pub fn fail(error: &dyn Error) -> ExitCode {
    say(&Said::of(error));
    ExitCode::FAILURE
}

/// Says what is wrong with what was typed.
pub fn fail_typing(error: &clap::Error) {
    if IS_STRUCTURED.load(Ordering::Relaxed) {
        say(&Said::of_typing(&in_plain_words(&error.render().to_string())));
    } else {
        anstream::eprint!("{}", in_plain_words(&error.render().ansi().to_string()));
    }
}

/// The standard library's words for what is no number, as people say it.
fn in_plain_words(text: &str) -> String {
    ["invalid digit found in string", "cannot parse integer from empty string"]
        .iter()
        .fold(text.to_owned(), |text, riddle| text.replace(riddle, "expected a whole number"))
}

fn say(said: &Said) {
    match IS_STRUCTURED.load(Ordering::Relaxed) {
        true => eprintln!("{}", said.json()),
        false => eprint!("{}", said.text(Paint::stderr())),
    }
}

/// What is said of a failure.
#[derive(Debug, Default)]
struct Said {
    /// The thing, and its causes.
    causes: Vec<String>,
    /// What else there is to say, such as a list of mistakes.
    details: Vec<String>,
    hints: Vec<String>,
}

impl Said {
    fn of(error: &dyn Error) -> Said {
        let mut said = Said::default();
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            let mut lines = text.lines();
            let cause = lines.next().unwrap_or_default().to_owned();
            // Some libraries repeat their cause in their own text.
            if !said.causes.iter().any(|said| said.contains(&cause)) {
                said.causes.push(cause);
            }
            for line in lines {
                let (kind, text) = match line.trim_start().strip_prefix("hint: ") {
                    Some(hint) => (&mut said.hints, hint),
                    None => (&mut said.details, line.trim_start()),
                };
                if !kind.iter().any(|said| said == text) {
                    kind.push(text.to_owned());
                }
            }
            next = error.source();
        }
        said
    }

    /// `text` begins with the mistake, and goes on with tips, the usage, and where to find more.
    fn of_typing(text: &str) -> Said {
        let mut parts = text.split("\n\n").map(|part| part.lines().map(str::trim).collect::<Vec<_>>().join(" "));
        let mistake = parts.next().unwrap_or_default();
        let hints = parts.filter(|part| !part.is_empty()).map(|part| part.trim_start_matches("tip: ").to_owned());
        let causes = vec![mistake.trim_start_matches("error: ").to_owned()];
        Said { causes, hints: hints.collect(), ..Said::default() }
    }

    /// `error: what: cause: cause`, then the details, then `  hint: ...` for each hint.
    fn text(&self, paint: Paint) -> String {
        let mut out = format!("{} {}\n", paint.tone(Tone::Bad, "error:"), printable(&self.causes.join(": ")));
        for detail in &self.details {
            let _ = writeln!(out, "  {}", printable(detail));
        }
        for hint in &self.hints {
            let _ = writeln!(out, "  {} {}", paint.tone(Tone::Head, "hint:"), printable(hint));
        }
        out
    }

    /// The same in the fields `error` and `hint`, on one line; the details are lines of the error.
    fn json(&self) -> Value {
        let causes = self.causes.join(": ");
        let lines: Vec<&str> = std::iter::once(&causes).chain(&self.details).map(String::as_str).collect();
        let mut said = json!({"error": lines.join("\n")});
        if !self.hints.is_empty() {
            said["hint"] = self.hints.join("\n").into();
        }
        said
    }
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
        assert_eq!(Said::of(&error).text(Paint::Off), "error: cannot ask `x`: connection refused\n  hint: start it\n");
    }

    #[test]
    fn mistakes_of_a_list_are_no_hints() {
        let error = std::io::Error::other("conf.json: 2 mistakes\n  `a` is missing\n  `b` is no number\nhint: mend it");
        let expected = "error: conf.json: 2 mistakes\n  `a` is missing\n  `b` is no number\n  hint: mend it\n";
        assert_eq!(Said::of(&error).text(Paint::Off), expected);
    }

    #[test]
    fn programs_get_the_same_as_json() {
        let error = std::io::Error::other("conf.json: 2 mistakes\n  `a` is missing\n  `b` is no number\nhint: mend it");
        let expected = json!({"error": "conf.json: 2 mistakes\n`a` is missing\n`b` is no number", "hint": "mend it"});
        assert_eq!(Said::of(&error).json(), expected);
        assert_eq!(Said::of(&std::io::Error::other("no")).json(), json!({"error": "no"}));
        let typed = "error: unexpected argument '--al' found\n\n  tip: a similar argument exists: '--all'\n\nUsage: lifeline x\n";
        let expected = json!({"error": "unexpected argument '--al' found", "hint": "a similar argument exists: '--all'\nUsage: lifeline x"});
        assert_eq!(Said::of_typing(typed).json(), expected);
    }

    #[test]
    fn structure_is_asked_for_in_every_spelling() {
        let check = |typed: &[&str], expected: bool| {
            let words: Vec<OsString> = typed.iter().map(OsString::from).collect();
            assert_eq!(asks_for_structure(&words), expected, "{typed:?}");
        };
        check(&["get", "events"], false);
        for typed in [&["-o", "json"][..], &["--output", "yaml"], &["--output=json"], &["-ojson"], &["-o=yaml"]] {
            check(typed, true);
        }
        check(&["-o", "json", "-o", "wide"], false);
        check(&["--", "-o", "json"], false);
        check(&["-o"], false);
    }
}
