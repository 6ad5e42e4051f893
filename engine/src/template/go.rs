//! The Go dialect: Go's text/template by the crate gotmpl, with sprig's functions.
//!
//! Start at [`Program`]. Compiling parses and prepares the tree (`tree`); rendering runs it into a [`TrackingWriter`].
//! Missing keys are errors, as Sveltos sets `missingkey=error`. Differences from Go, all on purpose: JSON integers are
//! integers (Go prints 1000000 as `1e+06`), floats print in plain digits, `'x'` is a string, null is an error where Go
//! prints `<no value>`.

use std::sync::Arc;

use gotmpl::parse::Parser;
use gotmpl::{FuncMap, MissingKey, TemplateError, Value};

use super::error::{Error, Fault, LineColumn, nearest};
use super::tracking::{RENDERED_BYTES_MAX, STEPS_MAX, Stopped, TrackedText, TrackingWriter};
use super::tree::{self, Prepared};
use super::{Data, blocks, functions, single_quotes, tracking};
use crate::confidential::masked_quotes;

/// The most iterations of all `range` loops of one rendering together.
const ITERATIONS_MAX: u64 = 200_000;
/// The name the body is stored under; no `define` can spell it.
const BODY: &str = "\0body";

/// A compiled Go template.
pub(super) struct Program {
    template: gotmpl::Template,
    prepared: Prepared,
    text_bytes: usize,
}

impl Program {
    pub fn compile(name: &str, source: &str) -> Result<Program, Error> {
        let rewritten = single_quotes::rewrite(source);
        let (body, defines) = Parser::new(&rewritten.source, "{{", "}}")
            .and_then(Parser::parse)
            .map_err(|error| syntax_error(name, source, &rewritten, error))?;
        blocks::check(&rewritten.source).map_err(|(offset, message)| {
            Error::Compile(Fault::new(name, LineColumn::at(source, rewritten.original(offset)), message))
        })?;
        let mut prepared = tree::prepare(name, source, &rewritten, body, defines)?;
        let known = prepared.functions.iter().filter_map(|name| functions::bind(name));
        let functions: FuncMap = known.chain([tracking::note()]).collect();
        let mut template = gotmpl::Template::new(name)
            .missing_key(MissingKey::Error)
            .max_range_iters(ITERATIONS_MAX)
            .funcs(functions)
            .add_parse_tree(BODY, prepared.body.clone());
        for define in std::mem::take(&mut prepared.defines) {
            template = template.add_parse_tree(&define.name, define.body);
        }
        prepared.body.nodes = Vec::new();
        Ok(Program { template, prepared, text_bytes: source.len() })
    }

    pub fn uses_event(&self) -> bool {
        self.prepared.uses_event
    }

    pub fn uses_event_list(&self) -> bool {
        self.prepared.uses_event_list
    }

    /// What it refers to and no event gives, with its offset in the source.
    pub fn foreign(&self) -> Option<(&'static str, usize)> {
        self.prepared.foreign
    }

    pub fn render(&self, name: &str, source: &str, data: &Data<'_>) -> Result<TrackedText, Error> {
        let values = from_json(data.values);
        let mut writer = TrackingWriter::new(&self.prepared.markers, &self.prepared.close, self.text_bytes);
        let outcome = functions::rendering(data.recorded_at_unix_nanos, || {
            self.template.execute_template_fmt(&mut writer, BODY, &values)
        });
        match outcome {
            Ok(()) => Ok(writer.finish()),
            Err(error) => Err(self.failed(name, source, data, &writer, error)),
        }
    }

    /// An offset in the source that is inside an action.
    pub fn offset_in(&self, action: u32) -> Option<usize> {
        self.prepared.markers.get(action as usize).map(|marker| marker.offset)
    }

    /// Where an action is and how it reads, for a message.
    pub fn action(&self, source: &str, action: u32) -> (LineColumn, String) {
        let Some(marker) = self.prepared.markers.get(action as usize) else {
            return (LineColumn::default(), String::new());
        };
        let text = source[marker.offset..].split("}}").next().unwrap_or("").trim();
        let text = text.strip_suffix('-').unwrap_or(text).trim();
        (LineColumn::at(source, marker.offset), text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn failed(
        &self,
        name: &str,
        source: &str,
        data: &Data<'_>,
        writer: &TrackingWriter<'_>,
        error: TemplateError,
    ) -> Error {
        let (offset, words) = match writer.current() {
            Some((index, marker)) => (Some(marker.offset), self.prepared.actions[index as usize].words.as_slice()),
            None => (None, &[][..]),
        };
        let place = offset.map(|offset| LineColumn::at(source, offset)).unwrap_or_default();
        let place_of = |word: &str| {
            words.iter().find(|(known, _)| known == word).map_or(place, |(_, offset)| LineColumn::at(source, *offset))
        };
        match error {
            TemplateError::Write => match writer.stopped() {
                Some(Stopped::TooManySteps) => {
                    Error::Limit(Fault::new(name, place, format!("more than {STEPS_MAX} steps")))
                }
                Some(Stopped::NoValue) => Error::Render(
                    Fault::new(name, place, "there is no value here: it is null or not in its map")
                        .hint("say what it is then: `| default \"...\"`"),
                ),
                Some(Stopped::TooLong) | None => {
                    Error::Limit(Fault::new(name, place, format!("more than {RENDERED_BYTES_MAX} bytes were rendered")))
                }
            },
            TemplateError::RecursionLimit => Error::Limit(Fault::new(name, place, "templates nest too deep")),
            TemplateError::RangeIterLimit => {
                Error::Limit(Fault::new(name, place, format!("more than {ITERATIONS_MAX} iterations of `range`")))
            }
            TemplateError::MissingKey { key } => {
                let fault = Fault::new(name, place_of(&key), format!("no key `{key}`"));
                Error::Render(match near_key(data.values, words, &key) {
                    Some(meant) => fault.hint(format!("did you mean `{meant}`?")),
                    None => fault.hint(format!("if it may be absent: `{{{{ if hasKey ... \"{key}\" }}}}` or `dig`")),
                })
            }
            TemplateError::Exec(message) => match message.strip_prefix(functions::LIMIT) {
                Some(message) => Error::Limit(Fault::new(name, place, message)),
                None => {
                    let function = message.strip_prefix('`').and_then(|rest| rest.split('`').next());
                    let place = function.map_or(place, place_of);
                    let known = function.filter(|function| words.iter().any(|(word, _)| word == function));
                    let apart = match known {
                        Some(function) => format!("`{function}` refuses what it is given"),
                        None => "a function refuses what it is given".to_owned(),
                    };
                    Error::Render(Fault::new(name, place, message).or_without_values(apart, None))
                }
            },
            error => Error::Render(
                Fault::new(name, place, error.to_string()).or_without_values("an action cannot be rendered", None),
            ),
        }
    }
}

/// The key of the data that a missing one was probably meant to be, where the chain starts at the root.
fn near_key<'d>(values: &'d serde_json::Value, words: &[(String, usize)], key: &str) -> Option<&'d str> {
    let at = words.iter().position(|(word, _)| word == key)?;
    let start = words[..at].iter().rposition(|(word, _)| values.get(word).is_some()).unwrap_or(at);
    let holder = words[start..at].iter().try_fold(values, |value, (word, _)| value.get(word))?;
    nearest(key, holder.as_object()?.keys().map(String::as_str))
}

fn syntax_error(name: &str, source: &str, rewritten: &single_quotes::Rewritten<'_>, error: TemplateError) -> Error {
    let (place, message) = match error {
        TemplateError::Parse { line, col, message, .. } | TemplateError::Lex { line, col, message, .. } => {
            let line_start: usize =
                rewritten.source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
            let in_line: usize = rewritten.source[line_start.min(rewritten.source.len())..]
                .chars()
                .take(col.saturating_sub(1))
                .map(char::len_utf8)
                .sum();
            let place = match line {
                0 => LineColumn::default(),
                _ => LineColumn::at(source, rewritten.original(line_start + in_line)),
            };
            (place, message)
        }
        error => (LineColumn::default(), error.to_string()),
    };
    let apart = masked_quotes(&message);
    Error::Compile(Fault::new(name, place, message).or_without_values(apart, None))
}

/// JSON as the engine holds it: integers stay integers.
pub(super) fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::Int(value),
            (None, Some(value)) => Value::Uint(value),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::String(Arc::from(text.as_str())),
        serde_json::Value::Array(items) => Value::List(items.iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            Value::Map(Arc::new(map.iter().map(|(key, value)| (Arc::from(key.as_str()), from_json(value))).collect()))
        }
    }
}
