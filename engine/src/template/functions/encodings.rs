//! JSON, TOML, base64 and base32, and hash sums.

use std::sync::Arc;

use data_encoding::{BASE32, BASE64};
use gotmpl::Value;
use sha1::{Digest as _, Sha1};
use sha2::{Sha256, Sha512};

use super::super::go::from_json;
use super::{Answer, Function, expect_list, string, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("toJson", 1, |a| Ok(string(html_safe(&json_of(&a[0])?.to_string())))),
    Function::exactly("mustToJson", 1, |a| Ok(string(html_safe(&json_of(&a[0])?.to_string())))),
    Function::exactly("toRawJson", 1, |a| Ok(string(json_of(&a[0])?.to_string()))),
    Function::exactly("mustToRawJson", 1, |a| Ok(string(json_of(&a[0])?.to_string()))),
    Function::exactly("toPrettyJson", 1, pretty),
    Function::exactly("mustToPrettyJson", 1, pretty),
    Function::exactly("fromJson", 1, from_json_text),
    // A text that is no list is an error, where Sveltos gives a list of the reason.
    Function::exactly("fromJsonArray", 1, |a| {
        from_json_text(a).and_then(|value| expect_list(&value).cloned()).map(Value::List)
    }),
    Function::exactly("mustFromJson", 1, from_json_text),
    Function::exactly("toToml", 1, |a| {
        toml::to_string(&json_of(&a[0])?).map(string).map_err(|error| error.to_string())
    }),
    Function::exactly("fromToml", 1, from_toml),
    Function::exactly("b64enc", 1, |a| Ok(string(base64_encode(&text_of(&a[0]))))),
    Function::exactly("b64dec", 1, |a| decoded(&BASE64, &text_of(&a[0]))),
    Function::exactly("b32enc", 1, |a| Ok(string(BASE32.encode(text_of(&a[0]).as_bytes())))),
    Function::exactly("b32dec", 1, |a| decoded(&BASE32, &text_of(&a[0]))),
    Function::exactly("sha1sum", 1, |a| Ok(string(hex(&Sha1::digest(text_of(&a[0]).as_bytes()))))),
    Function::exactly("sha256sum", 1, |a| Ok(string(sha256_hex(&text_of(&a[0]))))),
    Function::exactly("sha512sum", 1, |a| Ok(string(hex(&Sha512::digest(text_of(&a[0]).as_bytes()))))),
    Function::exactly("adler32sum", 1, |a| Ok(string(adler32(text_of(&a[0]).as_bytes()).to_string()))),
];

fn from_toml(arguments: &[Value]) -> Answer {
    let value: toml::Table = toml::from_str(&text_of(&arguments[0])).map_err(|error| error.message().to_owned())?;
    serde_json::to_value(value).map(|json| from_json(&json)).map_err(|error| error.to_string())
}

pub(in super::super) fn base64_encode(text: &str) -> String {
    BASE64.encode(text.as_bytes())
}

/// A template's text is UTF-8, so bytes that are not cannot be held.
fn decoded(encoding: &data_encoding::Encoding, text: &str) -> Answer {
    let bytes = encoding.decode(text.as_bytes()).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map(string).map_err(|_| "the decoded bytes are no UTF-8 text".to_owned())
}

pub(in super::super) fn sha256_hex(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// RFC 1950's checksum.
fn adler32(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1u32, 0u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    high << 16 | low
}

fn pretty(arguments: &[Value]) -> Answer {
    serde_json::to_string_pretty(&json_of(&arguments[0])?)
        .map(|text| string(html_safe(&text)))
        .map_err(|error| error.to_string())
}

/// Text that is no JSON is an error, where sprig's `fromJson` gives an empty value.
fn from_json_text(arguments: &[Value]) -> Answer {
    serde_json::from_str(&text_of(&arguments[0])).map(|json| from_json(&json)).map_err(|error| error.to_string())
}

/// Go escapes what HTML could misread.
fn html_safe(json: &str) -> String {
    if !json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return json.to_owned();
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
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
        Value::Float(value)
            if value.fract() == 0.0 && value.abs() < 1e15 && !(*value == 0.0 && value.is_sign_negative()) =>
        {
            (*value as i64).into()
        }
        Value::Float(value) => serde_json::Number::from_f64(*value).ok_or("JSON has no infinity and no NaN")?.into(),
        Value::String(text) => text.to_string().into(),
        Value::List(items) => serde_json::Value::Array(items.iter().map(json_of).collect::<Result<_, _>>()?),
        Value::Map(map) => serde_json::Value::Object(
            map.iter()
                .map(|(key, value)| Ok((Arc::clone(key).to_string(), json_of(value)?)))
                .collect::<Result<_, String>>()?,
        ),
        Value::Function(_) => return Err("a function is no value".to_owned()),
    })
}
