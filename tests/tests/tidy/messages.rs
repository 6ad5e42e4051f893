//! `docs/MESSAGES.md` and the program say the same: what an engine logs as a warning or an error is on the page, and what is on
//! the page is said by the program.
//!
//! A message and a row are compared by the longest piece of text between two values, without backticks.

use std::fmt::Write;
use std::fs;

use super::{assert_none, root, sources};

/// Files whose errors (`#[error]`) an operator reads.
const ERRORS: [&str; 7] = [
    "engine/src/intake/mod.rs",
    "engine/src/cluster/error.rs",
    "engine/src/recorder.rs",
    "engine/src/lists.rs",
    "engine/src/rules/policy/mod.rs",
    "projections/src/table.rs",
    "store/src/error.rs",
];

/// Files whose sentences (`format!`) are warnings of the status, or say why a lifecycle fails.
const SENTENCES: [&str; 24] = [
    "engine/src/warnings.rs",
    "engine/src/cluster/kube/answer.rs",
    "engine/src/cluster/kube/discovery.rs",
    "engine/src/cluster/kube/objects.rs",
    "engine/src/cluster/kube/ownership.rs",
    "engine/src/clock/believed.rs",
    "engine/src/damage.rs",
    "engine/src/intake/alone.rs",
    "engine/src/intake/assign.rs",
    "engine/src/intake/copies.rs",
    "engine/src/intake/jetstream.rs",
    "engine/src/intake/owner.rs",
    "engine/src/intake/plain.rs",
    "engine/src/intake/reader/place.rs",
    "engine/src/orphans.rs",
    "engine/src/reconcile/conflict.rs",
    "engine/src/reconcile/failure.rs",
    "engine/src/reconcile/gone.rs",
    "engine/src/reconcile/leaving.rs",
    "engine/src/reconcile/marks.rs",
    "engine/src/reconcile/plan.rs",
    "engine/src/reconcile/render.rs",
    "engine/src/replay/brake.rs",
    "engine/src/replay/wants.rs",
];

/// A piece with fewer words is no sentence: it is a part of one.
const WORDS_MIN: usize = 4;

/// The page, as one line without backticks.
fn page() -> String {
    plain(&fs::read_to_string(root().join("docs/MESSAGES.md")).expect("the page of messages"))
}

fn plain(text: &str) -> String {
    text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The code of a file, without comments and unit tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    code.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

/// The string literals of a piece of code, in order, as they are written, but for lines that go on.
fn literals(code: &str) -> Vec<String> {
    let (mut found, mut literal, mut characters) = (Vec::new(), None::<String>, code.chars().peekable());
    while let Some(character) = characters.next() {
        match (&mut literal, character) {
            (None, '\'') if characters.clone().nth(1) == Some('\'') => _ = characters.by_ref().nth(1),
            (None, '"') => literal = Some(String::new()),
            (None, _) => {}
            (Some(_), '"') => found.extend(literal.take()),
            (Some(text), '\\') => match characters.next() {
                Some('\n') => while characters.next_if(|next| next.is_whitespace()).is_some() {},
                Some(escaped) => text.extend(['\\', escaped]),
                None => {}
            },
            (Some(text), character) => text.push(character),
        }
    }
    found
}

/// The arguments of each call of a macro or an attribute, as far as they matter: up to the end of the statement.
fn calls<'c>(code: &'c str, name: &str) -> Vec<&'c str> {
    code.split(name).skip(1).map(|rest| rest.split(";\n").next().unwrap_or_default()).collect()
}

/// The longest piece of the first line of a message that has no value in it.
fn piece(message: &str) -> String {
    let line = plain(message.split("\\n").next().unwrap_or_default());
    let pieces = line.split('{').enumerate().map(|(place, part)| match place {
        0 => part,
        _ => part.split_once('}').map_or("", |(_, rest)| rest),
    });
    longest(pieces)
}

fn longest<'p>(pieces: impl Iterator<Item = &'p str>) -> String {
    let is_end = |character: char| character.is_whitespace() || ":,;.()'".contains(character);
    let longest = pieces.map(|piece| piece.trim_matches(is_end)).max_by_key(|piece| piece.len());
    longest.unwrap_or_default().to_owned()
}

/// The messages of the program: the file, and the piece to look for.
fn messages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let is_sentence = |piece: &String, words: usize| piece.split(' ').count() >= words;
    for (name, text) in sources() {
        let is_told = ["engine/src/", "ops/src/", "store/src/"].iter().any(|crate_| name.starts_with(crate_));
        if !is_told || name.contains("/tests") || name.contains("/bench/") {
            continue;
        }
        let code = code(&text);
        // A field may be given before the message, and what has no words of its own is a sentence of another place.
        let of_call = |call: &&str| literals(call).iter().map(|text| piece(text)).find(|piece| is_sentence(piece, 2));
        for level in [" warn!(", " error!(", "tracing::warn!(", "tracing::error!("] {
            found.extend(calls(&code, level).iter().filter_map(of_call).map(|piece| (name.clone(), piece)));
        }
    }
    for (files, call, words) in [(&ERRORS[..], "#[error(", 1), (&SENTENCES[..], "format!(", WORDS_MIN)] {
        for name in files {
            let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let code = code(&text);
            let first = |call: &str| literals(call).first().map(|text| piece(text)).unwrap_or_default();
            let pieces = calls(&code, call).into_iter().map(first).filter(|piece| is_sentence(piece, words));
            found.extend(pieces.map(|piece| ((*name).to_owned(), piece)));
        }
    }
    found
}

#[test]
fn every_warning_that_an_engine_gives_is_explained() {
    let (page, messages) = (page(), messages());
    assert!(messages.len() > 130, "only {} messages were found", messages.len());
    let mut found = String::new();
    for (name, piece) in messages.iter().filter(|(_, piece)| !page.contains(&**piece)) {
        _ = writeln!(found, "{name}: docs/MESSAGES.md does not explain `{piece}`");
    }
    assert_none(&found);
}

#[test]
fn every_message_that_is_explained_is_one_of_the_program() {
    let said: Vec<String> =
        sources().values().flat_map(|text| literals(&code(text))).map(|text| plain(&text)).collect();
    let text = fs::read_to_string(root().join("docs/MESSAGES.md")).expect("the page of messages");
    let mut found = String::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("| `")) {
        let messages = row.split(" | ").next().unwrap_or_default();
        for message in messages.split("`, `") {
            let piece = longest(message.trim_end_matches('`').split("..."));
            if !said.iter().any(|said| said.contains(&piece)) {
                _ = writeln!(found, "docs/MESSAGES.md: the program does not say `{piece}`");
            }
        }
    }
    assert_none(&found);
}

#[test]
fn a_message_is_known_by_its_longest_piece() {
    assert_eq!(piece("stream `{name}` is gone: {}\\nhint: a much longer text than before"), "is gone");
    let said = "warn!(count, \"a\", \"is gone now\");\nlet it = format!(\"is it\");\n";
    assert_eq!(calls(said, "warn!("), ["count, \"a\", \"is gone now\")"]);
    assert_eq!(code("// \"a\"\nlet b = 1;\n#[cfg(test)]\nmod tests {\n\"c\"\n}\n"), "let b = 1;");
    assert_eq!(literals("f(\"a \\\n   b\", 'c', '\"', \"d\\\"\")"), ["a b", "d\\\""]);
}
