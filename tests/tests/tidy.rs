//! House rules that a compiler does not check. What is kept against a rule is listed here, with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/messages.rs"]
mod messages;

/// The crates in a line: each uses those before it, never those after.
const CRATES: [&str; 5] = ["store", "projections", "engine", "ops", "tests"];

/// A comment line is at most this long.
const COMMENT_COLUMNS_MAX: usize = 130;

/// A file has at most this many lines.
const FILE_LINES_MAX: usize = 600;

/// Files that are longer, and why.
const LONG_FILES: [(&str, &str); 6] = [
    (
        "engine/src/intake/connection.rs",
        "two formats of one connection; to be split when TLS and credentials files join",
    ),
    ("engine/src/template/tests.rs", "one table of templates"),
    ("ops/src/api/tests.rs", "one set-up for all of the API"),
    ("ops/src/cli/rows.rs", "one row type for each list"),
    ("projections/src/reads.rs", "one list after the other, of one shape"),
    ("tests/tests/api.rs", "one server for all of the API"),
];

/// Uses of a module that is declared later in its crate, and why they stay.
const UPWARD_USES: [(&str, &str, &str); 4] = [
    ("store/src/index.rs", "segment", "the size of a header"),
    ("store/src/reader.rs", "scan", "a reader gives scans, and a scan reads"),
    ("projections/src/reads.rs", "as_of", "an earlier state is read as the present one"),
    ("projections/src/incarnation.rs", "history", "the rows of a history name their incarnation"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Rust files of the workspace, by their paths.
fn sources() -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    let mut folders: Vec<PathBuf> = CRATES.iter().map(|name| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let name = path.strip_prefix(root()).expect("it is below the root");
                sources.insert(name.to_string_lossy().into_owned(), text);
            }
        }
    }
    assert!(sources.len() > 200, "only {} files were found", sources.len());
    sources
}

#[track_caller]
fn assert_none(found: &str) {
    assert!(found.is_empty(), "\n{found}");
}

#[test]
fn crates_stand_in_a_line() {
    let mut found = String::new();
    for (place, name) in CRATES.iter().enumerate() {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
        for later in &CRATES[place..] {
            // A crate may be named in its own manifest, as the package that it is.
            let uses = manifest.lines().filter(|line| line.starts_with(&format!("lifeline-{later}")));
            uses.for_each(|line| _ = writeln!(found, "{name} uses {later}: {line}"));
        }
    }
    assert_none(&found);
}

#[test]
fn a_file_begins_with_what_it_is() {
    let mut found = String::new();
    for (name, text) in sources() {
        if !text.starts_with("//! ") {
            _ = writeln!(found, "{name}: the first line is no `//!`");
        }
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim_start().starts_with("/// See the module") {
                _ = writeln!(found, "{name}:{number}: say what it is");
            }
        }
    }
    assert_none(&found);
}

#[test]
fn comments_fit_a_screen_and_files_a_mind() {
    let mut found = String::new();
    for (name, text) in sources() {
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim_start().starts_with("//") && line.chars().count() > COMMENT_COLUMNS_MAX {
                _ = writeln!(found, "{name}:{number}: a comment of {} columns", line.chars().count());
            }
        }
        let is_long = text.lines().count() > FILE_LINES_MAX;
        let is_listed = LONG_FILES.iter().any(|(long, _)| *long == name);
        if is_long && !is_listed {
            _ = writeln!(found, "{name}: {} lines", text.lines().count());
        }
        if is_listed && !is_long {
            _ = writeln!(found, "{name}: it is no longer long, and need not be listed");
        }
    }
    assert_none(&found);
}

/// The threat model names a test for each line: `*name*`. Names have several words, so emphasis of one word is none.
#[test]
fn every_test_that_the_threat_model_names_exists() {
    let text = fs::read_to_string(root().join("docs/THREATS.md")).expect("the threat model");
    let is_name = |word: &&str| {
        word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let named: BTreeSet<&str> = text.split('*').filter(is_name).collect();
    assert!(named.len() > 20, "only {named:?} are named");
    let sources = sources();
    let mut found = String::new();
    for name in named {
        let (function, story) = (format!("fn {name}("), format!("\"{name}\""));
        if !sources.values().any(|text| text.contains(&function) || text.contains(&story)) {
            _ = writeln!(found, "docs/THREATS.md names `{name}`, which is no test");
        }
    }
    // A line of a table says what stops somebody, and its last column has a test.
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| can |")) {
        let last = line.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        if !last.split('*').any(|word| is_name(&word)) {
            _ = writeln!(found, "docs/THREATS.md: no test for `{line}`");
        }
    }
    assert_none(&found);
}

#[test]
fn what_is_computed_from_the_log_asks_no_clock_and_no_chance() {
    let asks = ["SystemTime::now", "Instant::now", "Timestamp::now", "thread::sleep", "rand::"];
    let mut found = String::new();
    // The table waits for another process to let go of its files; nothing is computed there.
    let computes = |name: &str| name.starts_with("projections/src/") && name != "projections/src/table/on_sled.rs";
    for (name, text) in sources().into_iter().filter(|(name, _)| computes(name)) {
        for (number, line) in (1..).zip(text.lines()) {
            if asks.iter().any(|ask| line.contains(ask)) {
                _ = writeln!(found, "{name}:{number}: {}", line.trim());
            }
        }
    }
    assert_none(&found);
}

/// What is played in simulated time takes the branch that comes first where several are ready: by chance, a seed would not give
/// one story.
#[test]
fn a_choice_of_branches_is_in_order() {
    let mut found = String::new();
    let is_played = |name: &str| name.starts_with("engine/src/") || name.starts_with("tests/src/simulated/");
    for (name, text) in sources().into_iter().filter(|(name, _)| is_played(name)) {
        let lines: Vec<&str> = text.lines().collect();
        let choices = lines.iter().enumerate().filter(|(_, line)| line.trim_end().ends_with("select! {"));
        for (at, line) in choices.filter(|(at, _)| lines.get(at + 1).is_none_or(|next| next.trim() != "biased;")) {
            _ = writeln!(found, "{name}:{}: `biased;` is missing: {}", at + 1, line.trim());
        }
    }
    assert_none(&found);
}

/// Where modules are declared in dependency order, none uses one that comes after it. Roots of crates must declare them so;
/// any other file does when it says so in these words.
#[test]
fn modules_use_those_before_them() {
    let sources = sources();
    let roots = ["store", "projections", "engine", "ops"].map(|name| format!("{name}/src/lib.rs"));
    let says_so = |text: &str| text.contains("\n// In dependency order");
    let ordered = sources.iter().filter(|(name, text)| roots.contains(name) || says_so(text));
    let mut found = String::new();
    let mut kept: BTreeSet<(&str, &str)> = UPWARD_USES.iter().map(|(file, used, _)| (*file, *used)).collect();
    for (parent, text) in ordered {
        let declared: Vec<&str> = text.lines().filter_map(module).collect();
        assert!(declared.len() > 1, "{parent}: {declared:?}");
        let folder = parent.trim_end_matches(".rs").trim_end_matches("/lib").trim_end_matches("/mod");
        for (place, user) in declared.iter().enumerate() {
            let own = [format!("{folder}/{user}.rs"), format!("{folder}/{user}/")];
            let files = sources.iter().filter(|(file, _)| **file == own[0] || file.starts_with(&own[1]));
            for (file, text) in files {
                // What tests use is no dependency.
                if file.contains("/tests") || file.contains("/live/") {
                    continue;
                }
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                for later in &declared[place + 1..] {
                    let is_kept = UPWARD_USES.iter().any(|(kept, used, _)| kept == file && used == later);
                    let parents = [module_path(folder), supers(folder, file)];
                    if !text.lines().any(|line| parents.iter().any(|parent| uses(line, parent, later))) {
                        continue;
                    }
                    kept.remove(&(file.as_str(), *later));
                    if !is_kept {
                        _ = writeln!(found, "{file} uses `{later}`, which is declared after `{user}`");
                    }
                }
            }
        }
    }
    for (file, used) in kept {
        _ = writeln!(found, "{file} no longer uses `{used}`: it needs no exception");
    }
    assert_none(&found);
}

/// The module that a line declares.
fn module(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub(super) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
    line.strip_prefix("mod ")?.strip_suffix(';')
}

/// The path of the module whose submodules are in a folder: `engine/src/rules` is `crate::rules`.
fn module_path(folder: &str) -> String {
    let (_, below) = folder.split_once("/src").expect("it is in a crate");
    format!("crate{}", below.replace('/', "::"))
}

/// The same path as a file below the folder may write it: `super::super` for a file one folder deeper.
fn supers(folder: &str, file: &str) -> String {
    let below = file[folder.len() + 1..].trim_end_matches(".rs").trim_end_matches("/mod");
    vec!["super"; below.split('/').count()].join("::")
}

/// Whether a line of code names a submodule of the module with this path.
fn uses(line: &str, parent: &str, module: &str) -> bool {
    let line = line.trim_start();
    if line.starts_with("//") {
        return false;
    }
    let listed = line.strip_prefix(&format!("use {parent}::{{")).and_then(|rest| rest.strip_suffix("};"));
    let path = format!("{parent}::{module}");
    let mut places = line.match_indices(&path).map(|(start, _)| (&line[..start], &line[start + path.len()..]));
    let is_named = places.any(|(before, after)| {
        !before.ends_with("::") && !after.starts_with(|next: char| next.is_alphanumeric() || next == '_')
    });
    is_named || listed.is_some_and(|names| names.split(", ").any(|name| name == module))
}
