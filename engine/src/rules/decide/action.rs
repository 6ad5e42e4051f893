//! `cloudEventAction`: from an event to Create, Delete, or neither.
//!
//! Start at [`Action::ruling`]. It is asked for every event that matches, by the million, and rendering costs some
//! hundred times a comparison. So a static action is never rendered, and one that reads nothing but the event's `type`
//! and `source` (nearly all do) is rendered once per pair of them: it is a function of those two alone, which
//! [`reads_type_and_source_alone`] makes sure of.

use std::borrow::Cow;

use lifeline_projections::fact::Ruling;
use parking_lot::RwLock;
use serde_json::{Value, json};

use super::event::EventView;
use crate::rules::read::text::Text;
use crate::template::{Data, Dialect};

/// How many pairs of type and source are remembered; beyond them each event is rendered.
const REMEMBERED_MAX: usize = 64;
/// The longest pair that is remembered, in bytes: events choose these texts.
const REMEMBERED_BYTES_MAX: usize = 512;

/// What a trigger makes of an event.
#[derive(Debug)]
pub(in crate::rules) enum Action {
    /// The same of every event.
    Always(Ruling<'static>),
    /// A function of the event's type and source.
    OfTypeAndSource { text: Text, remembered: RwLock<Vec<Remembered>> },
    /// A function of the whole event, its cluster, and the time it was recorded.
    OfAll(Text),
}

#[derive(Debug)]
pub(in crate::rules) struct Remembered {
    kind: Box<str>,
    source: Box<str>,
    ruling: Ruling<'static>,
}

impl Action {
    /// The action written as `written`, of which `text` is the compiled form.
    pub(in crate::rules) fn new(dialect: Dialect, written: &str, text: Text) -> Action {
        match text {
            Text::Literal(literal) => Action::Always(ruling_of(&literal)),
            Text::Template { .. } if dialect == Dialect::Go && reads_type_and_source_alone(written) => {
                Action::OfTypeAndSource { text, remembered: RwLock::default() }
            }
            Text::Template { .. } => Action::OfAll(text),
        }
    }

    /// What it makes of an event; `values` gives the data of templates, and is asked only by [`Action::OfAll`].
    pub(in crate::rules) fn ruling<'d>(
        &self,
        event: &EventView<'_>,
        values: impl FnOnce() -> Result<&'d Value, Ruling<'static>>,
        recorded_at_unix_nanos: u64,
    ) -> Ruling<'static> {
        match self {
            Action::Always(ruling) => ruling.clone(),
            Action::OfTypeAndSource { text, remembered } => {
                let is_this = |known: &&Remembered| *known.kind == *event.kind && *known.source == *event.source;
                if let Some(known) = remembered.read().iter().find(is_this) {
                    return known.ruling.clone();
                }
                let values = json!({"CloudEvent": {"type": event.kind, "source": event.source}});
                let ruling = render(text, &Data { values: &values, recorded_at_unix_nanos });
                let mut remembered = remembered.write();
                let is_short = event.kind.len() + event.source.len() <= REMEMBERED_BYTES_MAX;
                if is_short && remembered.len() < REMEMBERED_MAX && !remembered.iter().any(|known| is_this(&known)) {
                    let (kind, source) = (event.kind.into(), event.source.into());
                    remembered.push(Remembered { kind, source, ruling: ruling.clone() });
                }
                ruling
            }
            Action::OfAll(text) => match values() {
                Ok(values) => render(text, &Data { values, recorded_at_unix_nanos }),
                Err(ruling) => ruling,
            },
        }
    }
}

fn render(text: &Text, data: &Data<'_>) -> Ruling<'static> {
    match text.render(data) {
        Ok(text) => ruling_of(&text),
        Err(error) => Ruling::Failed(Cow::Owned(error.to_string())),
    }
}

/// `Create` and `Delete` exactly, blanks around them aside.
fn ruling_of(text: &str) -> Ruling<'static> {
    match text.trim() {
        "Create" => Ruling::Create,
        "Delete" => Ruling::Delete,
        other => Ruling::NoAction(Cow::Owned(other.to_owned())),
    }
}

/// What may be in an action beside `.CloudEvent.type`, `.CloudEvent.source` and constants: words whose result depends on
/// their arguments alone and that leave the dot where it is. With any other word the action is rendered for every event.
const PURE_WORDS: [&str; 26] = [
    "if",
    "else",
    "end",
    "eq",
    "ne",
    "and",
    "or",
    "not",
    "true",
    "false",
    "contains",
    "hasPrefix",
    "hasSuffix",
    "lower",
    "upper",
    "trim",
    "trimPrefix",
    "trimSuffix",
    "trimAll",
    "replace",
    "print",
    "printf",
    "regexMatch",
    "list",
    "has",
    "ternary",
];

/// Whether a Go template is a function of the event's type and source. When in doubt it is not.
fn reads_type_and_source_alone(template: &str) -> bool {
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        rest = &rest[start + 2..];
        loop {
            rest = rest.trim_start();
            if let Some(behind) = rest.strip_prefix("}}") {
                rest = behind;
                break;
            }
            match skip_token(rest) {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
    }
    true
}

/// What follows the next token of an action, if that token is harmless.
fn skip_token(text: &str) -> Option<&str> {
    let word_end = |text: &str| text.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(text.len());
    let first = text.chars().next()?;
    match first {
        '(' | ')' | '|' | '-' => Some(&text[1..]),
        '0'..='9' => Some(&text[word_end(text)..]),
        '`' => text[1..].find('`').map(|end| &text[end + 2..]),
        '"' | '\'' => {
            let mut escaped = false;
            let end = text[1..].find(|next: char| {
                let is_end = next == first && !escaped;
                escaped = next == '\\' && !escaped;
                is_end
            })?;
            Some(&text[end + 2..])
        }
        '.' => {
            let behind = text.strip_prefix(".CloudEvent.type").or_else(|| text.strip_prefix(".CloudEvent.source"))?;
            let is_whole = behind.starts_with([' ', ')', '|', '}', '\t', '\n']);
            is_whole.then_some(behind)
        }
        _ => {
            let (word, behind) = text.split_at(word_end(text));
            PURE_WORDS.contains(&word).then_some(behind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, expected: bool) {
        assert_eq!(reads_type_and_source_alone(template), expected, "{template}");
    }

    #[test]
    fn short_way_is_for_functions_of_type_and_source_alone() {
        check("{{ if eq .CloudEvent.type 'auth.example.com.logout' }}Delete{{ else }}Create{{ end }}", true);
        check(r#"{{if eq .CloudEvent.type "auth.example.com.logout"}}Delete{{else}}Create{{end}}"#, true);
        check(
            "{{- if and (hasSuffix `.x` .CloudEvent.source) (ne .CloudEvent.type \"a\\\"}}.b\") -}}Delete{{- end -}}",
            true,
        );
        check("Create", true);
        check("{{ .CloudEvent.subject }}", false);
        check("{{ .CloudEvent.types }}", false);
        check("{{ .CloudEvent.type.x }}", false);
        check("{{ .CloudEvent }}", false);
        check("{{ . }}", false);
        check("{{ $ }}", false);
        check("{{ now }}", false);
        check("{{ index .CloudEvent \"x\" }}", false);
        check("{{ with .CloudEvent.type }}{{ . }}{{ end }}", false);
        check("{{ $x := .CloudEvent.type }}{{ $x }}", false);
        check("{{ .Cluster.metadata.name }}", false);
        check("{{ (list).x }}", false);
        check("{{/* comment */}}", false);
        check("{{ if", false);
        check("{{ \"unclosed }}", false);
    }
}
