//! The functions of the Go dialect: Go's own, sprig's, and those Sveltos adds.
//!
//! Start at [`lookup`]; each file below holds one family as a table of [`Function`]s. A function sees its arguments and
//! nothing else, except the time the event was recorded (`now`) and what is left of the rendering's allowance. What could
//! answer differently at a replay is not here but in [`refused`].

mod compare;
mod dates;
mod dicts;
mod encodings;
mod fields;
mod flow;
mod lists;
mod numbers;
mod paths;
mod patterns;
mod print;
mod text;
mod versions;
mod yaml;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use gotmpl::{TemplateError, Value, ValueFunc};

pub(super) use dates::now_rfc3339;
pub(super) use encodings::{base64_encode, sha256_hex};
pub(super) use text::quoted;
pub(super) use yaml::to_yaml;

/// What a function gives, or why it cannot.
type Answer = Result<Value, String>;

/// A function of the Go dialect.
pub(super) struct Function {
    /// The name in a template.
    pub name: &'static str,
    arguments_min: usize,
    /// `None`: any number.
    arguments_max: Option<usize>,
    /// `None`: built into the template engine.
    body: Option<fn(&[Value]) -> Answer>,
}

impl Function {
    const fn exactly(name: &'static str, arguments: usize, body: fn(&[Value]) -> Answer) -> Function {
        Function { name, arguments_min: arguments, arguments_max: Some(arguments), body: Some(body) }
    }

    const fn between(name: &'static str, min: usize, max: usize, body: fn(&[Value]) -> Answer) -> Function {
        Function { name, arguments_min: min, arguments_max: Some(max), body: Some(body) }
    }

    const fn at_least(name: &'static str, min: usize, body: fn(&[Value]) -> Answer) -> Function {
        Function { name, arguments_min: min, arguments_max: None, body: Some(body) }
    }

    const fn built_in(name: &'static str, min: usize, max: Option<usize>) -> Function {
        Function { name, arguments_min: min, arguments_max: max, body: None }
    }

    /// What it wants, if it does not want this many.
    pub fn arity_mismatch(&self, arguments: usize) -> Option<String> {
        let plural = |count: usize| {
            if count == 1 { "1 argument".to_owned() } else { format!("{count} arguments") }
        };
        match self.arguments_max {
            Some(max) if max == self.arguments_min && arguments != max => Some(plural(max)),
            Some(max) if arguments > max || arguments < self.arguments_min => {
                Some(format!("{} to {}", self.arguments_min, plural(max)))
            }
            None if arguments < self.arguments_min => Some(format!("at least {}", plural(self.arguments_min))),
            _ => None,
        }
    }
}

/// Go's own functions; those with a body of ours are in `print` and `compare`.
const BUILT_IN: &[Function] = &[
    Function::built_in("and", 1, None),
    Function::built_in("call", 1, None),
    Function::built_in("index", 1, None),
    Function::built_in("len", 1, Some(1)),
    Function::built_in("not", 1, Some(1)),
    Function::built_in("or", 1, None),
    Function::built_in("slice", 1, Some(4)),
];

static KNOWN: LazyLock<BTreeMap<&'static str, &'static Function>> = LazyLock::new(|| {
    [
        BUILT_IN,
        compare::FUNCTIONS,
        dates::FUNCTIONS,
        dicts::FUNCTIONS,
        encodings::FUNCTIONS,
        fields::FUNCTIONS,
        flow::FUNCTIONS,
        lists::FUNCTIONS,
        numbers::FUNCTIONS,
        paths::FUNCTIONS,
        patterns::FUNCTIONS,
        print::FUNCTIONS,
        text::FUNCTIONS,
        versions::FUNCTIONS,
        yaml::FUNCTIONS,
    ]
    .into_iter()
    .flatten()
    .map(|function| (function.name, function))
    .collect()
});

/// The function of this name.
pub(super) fn lookup(name: &str) -> Option<&'static Function> {
    KNOWN.get(name).copied()
}

/// Whether the first argument of a function may be the identifier of a resource.
pub(super) fn takes_resource(function: &str) -> bool {
    fields::FUNCTIONS.iter().any(|known| known.name == function)
}

/// Every name, in order.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.keys().copied()
}

/// Why Lifeline does not have a function that Sveltos has; `None` if Sveltos does not have it either.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    let why = match name {
        "randAlphaNum" | "randAlpha" | "randAscii" | "randNumeric" | "randBytes" | "randInt" | "uuidv4" | "shuffle" => {
            "its result is random, so a replay would apply something else"
        }
        "genPrivateKey"
        | "genCA"
        | "genCAWithKey"
        | "genSelfSignedCert"
        | "genSelfSignedCertWithKey"
        | "genSignedCert"
        | "genSignedCertWithKey"
        | "buildCustomCert"
        | "derivePassword"
        | "bcrypt"
        | "htpasswd"
        | "encryptAES"
        | "decryptAES" => "it makes or opens secrets, which a template must not, and most of it is random",
        "env" | "expandenv" => "it reads the environment of the process that renders",
        "getHostByName" => "it asks the network, so a replay would apply something else",
        "include" | "tpl" | "lookup" => "it belongs to Helm, not to Sveltos",
        _ => return None,
    };
    Some(why)
}

/// What to do instead of a refused function.
pub(super) fn instead_of(name: &str) -> Option<&'static str> {
    match name {
        "uuidv4" => Some("the event has an identity of its own: `.CloudEvent.id`"),
        "randAlphaNum" | "randAlpha" | "randAscii" | "randNumeric" | "randBytes" | "randInt" => {
            Some("derive it from the event: `.CloudEvent.id | sha256sum | trunc 8`")
        }
        "env" | "expandenv" => Some("write the value into the template, or into the event's data"),
        "getHostByName" => Some("put the address into the event's data"),
        "shuffle" => Some("the order of the event's list, or `sortAlpha`, is the same at each rendering"),
        "genPrivateKey"
        | "genCA"
        | "genCAWithKey"
        | "genSelfSignedCert"
        | "genSelfSignedCertWithKey"
        | "genSignedCert"
        | "genSignedCertWithKey"
        | "buildCustomCert" => Some("let a controller such as cert-manager make it: render a Certificate"),
        "derivePassword" | "bcrypt" | "htpasswd" | "encryptAES" | "decryptAES" => {
            Some("let a controller that keeps secrets make it, and render its custom resource")
        }
        "tpl" => Some("`{{ template \"name\" . }}` renders a template that is in the same text"),
        "lookup" => Some("put what the template needs into the event's data"),
        "include" => Some("`{{ template \"name\" . }}` does the same where its output needs no function"),
        _ => None,
    }
}

/// Starts the message of an error that means a limit was reached.
pub(super) const LIMIT: &str = "\u{FDD0}limit: ";
/// The most that one value, and the most that all values of a rendering together, may take.
const VALUE_BYTES_MAX: u64 = 4 << 20;
const ALLOWANCE_BYTES: u64 = 256 << 20;

thread_local! {
    /// Functions receive nothing but arguments, so what a rendering hands to them lies here for as long as it runs.
    static RENDERING: Cell<Rendering> = const { Cell::new(Rendering { now_unix_nanos: 0, allowance_bytes: 0 }) };
}

#[derive(Clone, Copy)]
struct Rendering {
    now_unix_nanos: u64,
    allowance_bytes: u64,
}

/// Runs a rendering in which `now` is the given time.
pub(super) fn rendering<T>(now_unix_nanos: u64, render: impl FnOnce() -> T) -> T {
    RENDERING.set(Rendering { now_unix_nanos, allowance_bytes: ALLOWANCE_BYTES });
    render()
}

fn now_unix_nanos() -> u64 {
    RENDERING.get().now_unix_nanos
}

/// Takes from what the rendering may still build.
fn spend(bytes: u64) -> Result<(), String> {
    let mut rendering = RENDERING.get();
    if bytes > VALUE_BYTES_MAX || bytes > rendering.allowance_bytes {
        return Err(format!("{LIMIT}a value grew too large"));
    }
    rendering.allowance_bytes -= bytes;
    RENDERING.set(rendering);
    Ok(())
}

/// As [`spend`], for work that is no new memory.
fn spend_each(nodes: u64) -> Result<(), String> {
    spend(nodes.min(VALUE_BYTES_MAX))
}

/// A function with its checks, as the engine calls it; `None` for the engine's own.
pub(super) fn bind(name: &'static str) -> Option<(String, ValueFunc)> {
    let function = lookup(name)?;
    let body = function.body?;
    let bound = move |arguments: &[Value]| {
        if let Some(wanted) = function.arity_mismatch(arguments.len()) {
            return Err(TemplateError::Exec(format!("`{name}` takes {wanted}, not {}", arguments.len())));
        }
        numbers::fit(name, arguments)
            .and_then(|()| body(arguments))
            .and_then(|value| admit(&value).map(|()| value))
            .map_err(|why| match why.starts_with(LIMIT) {
                true => TemplateError::Exec(why),
                false => TemplateError::Exec(format!("`{name}`: {why}")),
            })
    };
    Some((name.to_owned(), Arc::new(bound)))
}

/// The deepest that lists and dicts may nest; deeper ones could exhaust the stack where they are printed or dropped.
const DEPTH_MAX: usize = 100;

/// Refuses a value that is too large. Shared parts count each time, since printing writes them each time.
fn admit(value: &Value) -> Result<(), String> {
    let mut walked = Walked::default();
    walked.value(value, 0)?;
    match value {
        Value::List(_) | Value::Map(_) => spend_each(walked.nodes),
        _ => spend(walked.bytes),
    }
}

/// What the text of some values will take at most, or that it is too much.
fn text_bytes(values: &[Value]) -> Result<u64, String> {
    let mut walked = Walked::default();
    for value in values {
        walked.value(value, 0)?;
    }
    Ok(walked.bytes)
}

#[derive(Default)]
struct Walked {
    bytes: u64,
    nodes: u64,
}

impl Walked {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        self.nodes += 1;
        self.bytes += match value {
            Value::String(text) => text.len() as u64 + 1,
            _ => 24,
        };
        if self.bytes > VALUE_BYTES_MAX + 32 {
            return Err(format!("{LIMIT}a value grew too large"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("{LIMIT}lists and dicts nest too deep"));
        }
        match value {
            Value::List(items) => items.iter().try_for_each(|item| self.value(item, depth + 1)),
            Value::Map(map) => map.iter().try_for_each(|(key, value)| {
                self.bytes += key.len() as u64 + 2;
                self.value(value, depth + 1)
            }),
            _ => Ok(()),
        }
    }
}

fn string(text: impl Into<Arc<str>>) -> Value {
    Value::String(text.into())
}

fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::List(items.into_iter().collect())
}

fn map(entries: impl IntoIterator<Item = (Arc<str>, Value)>) -> Value {
    Value::Map(Arc::new(entries.into_iter().collect()))
}

/// A value as text, as Go's `%v` would print it.
fn text_of(value: &Value) -> Arc<str> {
    match value {
        Value::String(text) => Arc::clone(text),
        other => other.to_string().into(),
    }
}

fn expect_text(value: &Value) -> Result<&Arc<str>, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("wants a string, not {}", described(other))),
    }
}

fn expect_list(value: &Value) -> Result<&Arc<[Value]>, String> {
    match value {
        Value::List(items) => Ok(items),
        other => Err(format!("wants a list, not {}", described(other))),
    }
}

fn expect_map(value: &Value) -> Result<&Arc<BTreeMap<Arc<str>, Value>>, String> {
    match value {
        Value::Map(map) => Ok(map),
        other => Err(format!("wants a dict, not {}", described(other))),
    }
}

/// An integer that counts something.
fn expect_count(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(count) => Ok(*count),
        Value::Uint(count) => i64::try_from(*count).map_err(|_| format!("`{count}` is too large")),
        Value::Float(count) if count.fract() == 0.0 => Ok(*count as i64),
        other => Err(format!("wants an integer, not {}", described(other))),
    }
}

/// A value and its type, for a message.
fn described(value: &Value) -> String {
    match value {
        Value::Nil => "null".to_owned(),
        Value::String(text) => format!("the string `{}`", super::error::shortened(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a dict".to_owned(),
        Value::Function(_) => "a function".to_owned(),
        other => format!("`{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Data, Dialect, Template};

    /// `sprig.json` holds pairs of a template and what Go 1.26 with sprig 3.3.0 and sigs.k8s.io/yaml 1.6.0 rendered for
    /// this data.
    #[test]
    fn functions_answer_as_sprig_does() {
        let values = json!({"s": "hello world", "u": "Ünï çødé", "n": 3, "f": 3.5, "list": ["c", "a", "b", "a"],
            "map": {"b": 1, "a": {"x": "y"}}, "t": true, "e": "", "nums": [1, 2, 3], "multi": "l1\nl2",
            "time": "2026-11-22T10:04:05Z"});
        let cases: Vec<(String, String)> = serde_json::from_str(include_str!("sprig.json")).unwrap();
        let mut differing = Vec::new();
        for (source, expected) in &cases {
            let rendered = Template::compile(Dialect::Go, "case", source)
                .and_then(|template| template.render_text(&Data { values: &values, recorded_at_unix_nanos: 0 }));
            match rendered {
                Ok(rendered) if rendered == *expected => {}
                Ok(rendered) => differing.push(format!("{source}\n  ours  {rendered:?}\n  sprig {expected:?}")),
                Err(error) => differing.push(format!("{source}\n  ours  {error}\n  sprig {expected:?}")),
            }
        }
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }
}
