//! A settings file, read so that every mistake in it is reported at once, with its line and its remedy.
//!
//! Start at [`File::read`]. The keys and what each takes are those of [`Settings`]; nothing is listed here again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::{Error, Mistake, Settings, example};

/// Settings whose values may hold a password, which no message repeats.
pub(super) const SECRET: &[&str] = &["nats"];

/// What a file says.
#[derive(Debug, Default)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What is understood of it.
    pub settings: Settings,
    /// The line of each key, from 1.
    pub lines: BTreeMap<String, usize>,
    /// What is not.
    pub mistakes: Vec<Mistake>,
}

impl File {
    /// Reads a file. What is wrong with its content is in the result.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<File, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        Ok(File::parse(&text, path))
    }

    /// Understands what was read from `path`.
    #[must_use]
    pub fn parse(text: &str, path: &Path) -> File {
        let mut file = File { path: path.to_owned(), ..File::default() };
        let keys = example::keys();
        let (table, broken) = DeTable::parse_recoverable(text);
        for error in &broken {
            let line = error.span().map_or(1, |span| line(text, span.start));
            // The message names what the grammar expects, never the content.
            let complaint = format!("this is not TOML: {}", error.message().replace('\n', ", "));
            let hint = "write `key = value`, and a text in quotes, such as `listen = \"127.0.0.1:7717\"`";
            let place = Some(file.place(line));
            file.mistakes.push(Mistake { place, ..Mistake::new("", complaint).hint(hint) });
        }
        for (key, value) in table.into_inner() {
            let line = line(text, key.span().start);
            let place = Some(file.place(line));
            let name = key.get_ref().to_string();
            if !keys.contains(&name) {
                file.mistakes.push(Mistake { place, ..unknown(&name, &keys) });
                continue;
            }
            file.lines.insert(name.clone(), line);
            // A text that does not parse has no values to judge.
            if !broken.is_empty() {
                continue;
            }
            let found = shown(&name, value.get_ref());
            let mut one = DeTable::new();
            one.insert(key, value);
            match Settings::deserialize(Deserializer::from(Spanned::new(0..text.len(), one))) {
                Ok(one) => file.settings = std::mem::take(&mut file.settings).or(one),
                Err(error) => {
                    let expected = expected(error.message());
                    let complaint = format!("`{name}` is {found}, expected {expected}");
                    let hint = format!("write it like `{}`", example::line(&name));
                    file.mistakes.push(Mistake { place, ..Mistake::new(&name, complaint).hint(hint) });
                }
            }
        }
        file
    }

    /// The line of a mistake; 0 for one that is in no file.
    pub(super) fn line_of(mistake: &Mistake) -> usize {
        mistake.place.as_ref().and_then(|place| place.rsplit_once(':')?.1.parse().ok()).unwrap_or(0)
    }

    /// A line of the file, as `lifeline.toml:3`.
    #[must_use]
    pub fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn unknown(name: &str, keys: &[String]) -> Mistake {
    let mistake = Mistake::new(name, format!("`{name}` is no setting"));
    let like = name.to_lowercase().replace('-', "_");
    let closest = keys.iter().map(|key| (strsim::osa_distance(&like, key), key)).min();
    match closest {
        Some((distance, key)) if distance <= (like.len() / 3).max(1) => mistake.hint(format!("write `{key}`")),
        _ => mistake.hint("`lifeline config example` prints all settings"),
    }
}

/// A value, or what it is where it may be secret.
fn shown(name: &str, value: &DeValue<'_>) -> String {
    let kind = match value {
        DeValue::String(text) if !SECRET.contains(&name) => return format!("`{text}`"),
        DeValue::Integer(number) if !SECRET.contains(&name) => return format!("`{number}`"),
        DeValue::Boolean(value) => return format!("`{value}`"),
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    kind.to_owned()
}

/// What serde expected, in the words of TOML.
fn expected(message: &str) -> String {
    let expected =
        message.lines().next().unwrap_or_default().rsplit_once("expected ").map_or(message, |(_, what)| what);
    match expected {
        "u8" => "a whole number up to 255".to_owned(),
        "u64" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list of texts".to_owned(),
        "a string" | "path string" | "string or table" => "a text".to_owned(),
        other => other.to_owned(),
    }
}
