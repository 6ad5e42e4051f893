//! What was asked: the parameters of a question, read strictly.
//!
//! Start at [`Asked`], which a handler takes. A name that is not known, a name given twice, bytes that are no text and a
//! value that is not what was expected are each refused by name, value and expectation; nothing is guessed or ignored.

use std::fmt::Display;

use axum::extract::{FromRequestParts, RawQuery};
use axum::http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::problem::Problem;

/// What is neither a letter, a digit nor one of `-._~` (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The parameters of a question, as the type says which there are.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asked<T>, Problem> {
        let Ok(RawQuery(query)) = RawQuery::from_request_parts(parts, state).await;
        read(query.as_deref().unwrap_or_default()).map(Asked)
    }
}

/// Where there are no parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Reads `name=value&name=value`, percent-encoded.
pub(super) fn read<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let mut pairs: Vec<(String, Value)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text| decode(text).ok_or_else(|| Wrong::encoding(pair).0);
        let (name, value) = (decoded(name)?, decoded(value)?);
        if pairs.iter().any(|(known, _)| *known == name) {
            return Err(Problem::bad_parameter(&format!("parameter `{name}` is given twice")));
        }
        pairs.push((name.clone(), Value { name, value }));
    }
    T::deserialize(MapDeserializer::new(pairs.into_iter())).map_err(|wrong: Wrong| wrong.0)
}

/// A name or a value as it is written in a query.
pub(crate) fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// The text behind a percent-encoding; `None` where there is none.
fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(bytes.next()?)? * 16 + digit(bytes.next()?)?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// One value, which knows its name for the case that it is not what was expected.
struct Value {
    name: String,
    value: String,
}

impl Value {
    fn number<T: std::str::FromStr + Display>(&self, max: T) -> Result<T, Wrong> {
        // A sign is no digit, though Rust takes a plus for one.
        let digits = !self.value.is_empty() && self.value.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| self.value.parse().ok()).flatten();
        number.ok_or_else(|| self.wrong(&format!("a whole number from `0` to `{max}`")))
    }

    fn wrong(&self, expected: &str) -> Wrong {
        let Value { name, value } = self;
        Wrong(Problem::bad_parameter(&format!("parameter `{name}` is `{value}`, expected {expected}")))
    }
}

impl IntoDeserializer<'_, Wrong> for Value {
    type Deserializer = Value;

    fn into_deserializer(self) -> Value {
        self
    }
}

impl<'de> Deserializer<'de> for Value {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_string(self.value)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_u64(self.number(u64::MAX)?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_u32(self.number(u32::MAX)?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value.as_str() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(self.wrong("`true` or `false`")),
        }
    }

    /// A parameter that is there is never "none".
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        if variants.contains(&self.value.as_str()) {
            return visitor.visit_enum(self.value.into_deserializer());
        }
        let names: Vec<String> = variants.iter().map(|name| format!("`{name}`")).collect();
        Err(self.wrong(&names.join(" or ")))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// What is wrong with the parameters.
#[derive(Debug)]
struct Wrong(Problem);

impl Wrong {
    fn encoding(pair: &str) -> Wrong {
        Wrong(Problem::bad_parameter(&format!("`{pair}` is not percent-encoded UTF-8, expected `NAME=VALUE`")))
    }
}

impl Display for Wrong {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0.0.detail)
    }
}

impl std::error::Error for Wrong {}

impl serde::de::Error for Wrong {
    fn custom<T: Display>(text: T) -> Wrong {
        Wrong(Problem::bad_parameter(&text.to_string()))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Wrong {
        let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let known =
            if known.is_empty() { "this path takes none".to_owned() } else { format!("one of {}", known.join(", ")) };
        Wrong(Problem::bad_parameter(&format!("parameter `{name}` is not known\nhint: {known}")))
    }

    fn missing_field(name: &'static str) -> Wrong {
        let hint = "`/openapi.json` says what each path takes";
        Wrong(Problem::bad_parameter(&format!("parameter `{name}` is missing\nhint: {hint}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        source: String,
        limit: Option<u64>,
        #[serde(default)]
        noun: Noun,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Noun {
        #[default]
        Lifecycles,
        Resources,
    }

    #[test]
    fn values_are_taken_byte_by_byte() {
        let check = |query: &str, source: &str, limit: Option<u64>| {
            let read: Example = read(query).unwrap_or_else(|problem| panic!("{query}: {}", problem.0.detail));
            assert_eq!((read.source.as_str(), read.limit), (source, limit), "{query}");
        };
        check("source=a&limit=5", "a", Some(5));
        check("source=https%3A%2F%2Fa%2Fb%3Fc%26d%3D%c3%A9+x", "https://a/b?c&d=é x", None);
        check("source=", "", None);
        check("&source&", "", None);
        check("source=%00=", "\0=", None);
        check("source=a&limit=18446744073709551615", "a", Some(u64::MAX));
        check("sourc%65=a", "a", None);
        let noun: Example = read("source=a&noun=resources").unwrap();
        assert_eq!(noun.noun, Noun::Resources);
    }

    #[test]
    fn what_is_encoded_is_read_again() {
        for text in ["", "plain", "https://a/b?c&d=é x+%", "\0\n\u{10ffff}"] {
            assert_eq!(decode(&encode(text).to_string()).as_deref(), Some(text), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_expected_is_refused_by_name_value_and_expectation() {
        let check = |query: &str, detail: &str| {
            let problem = read::<Example>(query).unwrap_err();
            assert_eq!((problem.0.status, problem.0.detail.as_str()), (400, detail), "{query}");
        };
        let number = "expected a whole number from `0` to `18446744073709551615`";
        check("", "parameter `source` is missing");
        check("source=%ff", "`source=%ff` is not percent-encoded UTF-8, expected `NAME=VALUE`");
        check("source=%f", "`source=%f` is not percent-encoded UTF-8, expected `NAME=VALUE`");
        check("source=%+1", "`source=%+1` is not percent-encoded UTF-8, expected `NAME=VALUE`");
        check("source=a&source=a", "parameter `source` is given twice");
        check("source=a&%6cimit=1&limit=2", "parameter `limit` is given twice");
        check("source=a&limit=", &format!("parameter `limit` is ``, {number}"));
        check("source=a&limit=%2B1", &format!("parameter `limit` is `+1`, {number}"));
        check("source=a&limit=-1", &format!("parameter `limit` is `-1`, {number}"));
        check("source=a&limit=18446744073709551616", &format!("parameter `limit` is `18446744073709551616`, {number}"));
        check("source=a&noun=objects", "parameter `noun` is `objects`, expected `lifecycles` or `resources`");
        check("source=a&x=1", "parameter `x` is not known");
        check("source=a&=", "parameter `` is not known");
    }
}
