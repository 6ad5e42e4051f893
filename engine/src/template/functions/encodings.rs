//! JSON, TOML, base64 and base32, and hash sums.

use std::sync::Arc;

use gotmpl::Value;

use super::super::go::from_json;
use super::{Answer, Function, string, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("toJson", 1, |a| {
        Ok(string(html_safe(&json_of(&a[0])?.to_string())))
    }),
    Function::exactly("mustToJson", 1, |a| {
        Ok(string(html_safe(&json_of(&a[0])?.to_string())))
    }),
    Function::exactly("toRawJson", 1, |a| Ok(string(json_of(&a[0])?.to_string()))),
    Function::exactly("mustToRawJson", 1, |a| {
        Ok(string(json_of(&a[0])?.to_string()))
    }),
    Function::exactly("toPrettyJson", 1, pretty),
    Function::exactly("mustToPrettyJson", 1, pretty),
    Function::exactly("fromJson", 1, from_json_text),
    Function::exactly("mustFromJson", 1, from_json_text),
];

fn pretty(arguments: &[Value]) -> Answer {
    serde_json::to_string_pretty(&json_of(&arguments[0])?)
        .map(|text| string(html_safe(&text)))
        .map_err(|error| error.to_string())
}

/// Text that is no JSON is an error, where sprig's `fromJson` gives an empty value.
fn from_json_text(arguments: &[Value]) -> Answer {
    serde_json::from_str(&text_of(&arguments[0]))
        .map(|json| from_json(&json))
        .map_err(|error| error.to_string())
}

/// Go escapes what HTML could misread.
fn html_safe(json: &str) -> String {
    if !json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return json.to_owned();
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", c as u32))
            }
            c => out.push(c),
        }
    }
    out
}

/// A value as JSON; keys in order, as Go writes them.
pub(super) fn json_of(value: &Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::Nil => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Uint(value) => (*value).into(),
        Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => (*value as i64).into(),
        Value::Float(value) => serde_json::Number::from_f64(*value)
            .ok_or("JSON has no infinity and no NaN")?
            .into(),
        Value::String(text) => text.to_string().into(),
        Value::List(items) => {
            serde_json::Value::Array(items.iter().map(json_of).collect::<Result<_, _>>()?)
        }
        Value::Map(map) => serde_json::Value::Object(
            map.iter()
                .map(|(key, value)| Ok((Arc::clone(key).to_string(), json_of(value)?)))
                .collect::<Result<_, String>>()?,
        ),
        Value::Function(_) => return Err("a function is no value".to_owned()),
    })
}
