//! A field of a manifest with its path, and the mistakes found in fields.
//!
//! Start at [`Field`]. It knows the small rules many fields share (required, one of, a port, a quantity), not which field
//! has which.

use std::collections::BTreeSet;

use serde_json::Value;

use super::name;
use crate::cluster::quantity::quantity;

/// A place in a manifest. A missing field is a field too: its value is null.
#[derive(Clone)]
pub(super) struct Field<'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
}

/// The mistakes found so far.
pub(super) type Problems = Vec<String>;

const NOTHING: &Value = &Value::Null;

impl<'a> Field<'a> {
    pub(super) fn root(value: &'a Value) -> Field<'a> {
        Field { value, path: String::new() }
    }

    pub(super) fn at(&self, name: &str) -> Field<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Field { value: self.value.get(name).unwrap_or(NOTHING), path }
    }

    pub(super) fn items(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let path = self.path.clone();
        items.iter().enumerate().map(move |(index, value)| Field { value, path: format!("{path}[{index}]") })
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> + use<'a> {
        let entries = self.value.as_object().into_iter().flatten();
        let path = self.path.clone();
        entries.map(move |(key, value)| (key.as_str(), Field { value, path: format!("{path}[{key}]") }))
    }

    pub(super) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// Given at all, even if empty.
    pub(super) fn is_given(&self) -> bool {
        !self.value.is_null()
    }

    /// Missing, or as good as missing.
    pub(super) fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        }
    }

    pub(super) fn wrong(&self, why: &str, problems: &mut Problems) {
        let shown = match self.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        problems.push(format!("`{}` is `{shown}`: {why}", self.path));
    }

    /// True where something is there; else says that it is required.
    pub(super) fn required(&self, problems: &mut Problems) -> bool {
        if self.is_empty() {
            problems.push(format!("`{}` is required", self.path));
        }
        !self.is_empty()
    }

    /// A required text under a rule.
    pub(super) fn required_as(&self, rule: impl Fn(&str) -> Option<String>, problems: &mut Problems) {
        if self.required(problems) {
            self.named(rule, problems);
        }
    }

    /// A text under a rule, where it is given.
    pub(super) fn named(&self, rule: impl Fn(&str) -> Option<String>, problems: &mut Problems) {
        if !self.is_empty()
            && let Some(why) = rule(self.text())
        {
            self.wrong(&why, problems);
        }
    }

    /// One of a few words, where one is given.
    pub(super) fn one_of(&self, words: &[&str], problems: &mut Problems) {
        if !self.is_empty() && !words.contains(&self.text()) {
            self.wrong(&format!("expected one of {}", words.join(", ")), problems);
        }
    }

    /// One of a few words, always.
    pub(super) fn required_one_of(&self, words: &[&str], problems: &mut Problems) {
        if self.required(problems) {
            self.one_of(words, problems);
        }
    }

    /// A number not below a bound, where one is given.
    pub(super) fn at_least(&self, bound: i64, problems: &mut Problems) {
        if self.value.as_i64().is_some_and(|number| number < bound) {
            self.wrong(&format!("it must be at least {bound}"), problems);
        }
    }

    /// A port number.
    pub(super) fn port(&self, problems: &mut Problems) {
        if !(1..=65_535).contains(&self.value.as_i64().unwrap_or(0)) {
            self.wrong("it must be from 1 to 65535", problems);
        }
    }

    /// A port number or the name of a port.
    pub(super) fn port_or_name(&self, problems: &mut Problems) {
        match self.value {
            Value::String(text) => {
                if let Some(why) = port_name_problem(text) {
                    self.wrong(&why, problems);
                }
            }
            _ => self.port(problems),
        }
    }

    /// A count or a percentage, where one is given.
    pub(super) fn count_or_percent(&self, problems: &mut Problems) {
        match self.value {
            Value::String(text) => {
                let digits = text.strip_suffix('%').unwrap_or_default();
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    self.wrong("expected a number, or a percentage such as `25%`", problems);
                }
            }
            _ => self.at_least(0, problems),
        }
    }

    /// Quantities by resource: each must parse and not be negative. Gives their sizes.
    pub(super) fn quantities(&self, problems: &mut Problems) -> Vec<(&'a str, f64)> {
        let mut sizes = Vec::new();
        for (resource, field) in self.entries() {
            match quantity(field.value) {
                None => field.wrong("expected a quantity, such as `100m` or `64Mi`", problems),
                Some(size) if size < 0.0 => field.wrong("it must not be negative", problems),
                Some(size) => sizes.push((resource, size)),
            }
        }
        sizes
    }

    /// Keys and values of a label map.
    pub(super) fn labels(&self, problems: &mut Problems) {
        for (key, value) in self.entries() {
            if let Some(why) = name::qualified_name_problem(key).or_else(|| name::label_value_problem(value.text())) {
                value.wrong(&why, problems);
            }
        }
    }

    /// A label selector: its labels, and what its expressions say.
    pub(super) fn selector(&self, problems: &mut Problems) {
        self.at("matchLabels").labels(problems);
        for expression in self.at("matchExpressions").items() {
            expression.at("key").required_as(name::qualified_name_problem, problems);
            let operator = expression.at("operator");
            operator.required_one_of(&["In", "NotIn", "Exists", "DoesNotExist"], problems);
            let values = expression.at("values");
            match operator.text() {
                "In" | "NotIn" => {
                    values.required(problems);
                }
                "Exists" | "DoesNotExist" if !values.is_empty() => values.wrong("it may not be given", problems),
                _ => {}
            }
        }
    }

    /// The names of items, each required and given once.
    pub(super) fn unique(&self, key: &str, problems: &mut Problems) {
        let mut seen = BTreeSet::new();
        for item in self.items() {
            let field = item.at(key);
            if !field.is_empty() && !seen.insert(field.text()) {
                field.wrong("it is given twice", problems);
            }
        }
    }
}

/// What is wrong with the name of a port (an IANA service name).
pub(super) fn port_name_problem(text: &str) -> Option<String> {
    let allowed = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let good = allowed
        && text.len() <= 15
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--");
    (!good).then(|| "expected at most 15 of lowercase letters, digits and single `-`, with a letter".to_owned())
}
