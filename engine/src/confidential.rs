//! Masks the values of Secrets in messages.
//!
//! Start at [`masked`]. API servers quote values in their refusals, and webhooks write what they like. So what is between
//! quotes, or after words that announce a value, is removed, unless it is a name that everybody may know. Each value of
//! the object is removed wherever it is. Pure.

use serde_json::Value;

/// What is shown instead of a value.
pub(crate) const SENSITIVE: &str = "(sensitive)";

/// A value of fewer bytes is taken out only where it is quoted: it would be found in the middle of words.
const VALUE_BYTES_MIN: usize = 4;

/// What API servers write in front of a value without quotes.
const ANNOUNCED: [&str; 6] =
    ["Invalid value: ", "Unsupported value: ", "Duplicate value: ", "Too long: ", "ValueUnstructured{Value:", "got "];

/// Whether it is a Secret: what it holds is shown nowhere.
pub(crate) fn is_secret(manifest: &Value) -> bool {
    manifest["kind"] == "Secret" && manifest["apiVersion"] == "v1"
}

/// A message about a manifest, without the values that it holds.
pub(crate) fn masked(message: &str, manifest: &Value) -> String {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let names = ["/kind", "/apiVersion", "/metadata/name", "/metadata/namespace"].map(text);
    let mut values = Vec::new();
    for (field, value) in manifest.as_object().into_iter().flatten() {
        if !["kind", "apiVersion", "metadata"].contains(&field.as_str()) {
            leaves(value, &mut values);
        }
    }
    for field in ["annotations", "labels"] {
        let marks = |name: &str| name.starts_with("lifeline.dev/");
        let entries = manifest["metadata"][field].as_object().into_iter().flatten();
        entries.filter(|(name, _)| !marks(name)).for_each(|(_, value)| leaves(value, &mut values));
    }
    // Names of the object, and the paths of its fields.
    let is_known = |word: &str| {
        let field = word.split(['.', '[']).next().unwrap_or_default();
        let is_name = names.contains(&word) || manifest.get(field).is_some();
        is_name && !word.is_empty() && !values.iter().any(|value| value == word)
    };
    let mut masked = mask_quotes(&announced(message), is_known);
    // The longest first: one may be a part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    for value in values.iter().filter(|value| value.len() >= VALUE_BYTES_MIN && !names.contains(&value.as_str())) {
        masked = masked.replace(value.as_str(), SENSITIVE);
    }
    masked
}

/// A message about a text, without what it quotes.
pub(crate) fn masked_quotes(message: &str) -> String {
    mask_quotes(message, |_| false)
}

/// The strings and numbers in a value: as they are, line by line, decoded from base64, and encoded in it, as a server keeps the
/// texts of `stringData`.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let decoded =
                data_encoding::BASE64.decode(text.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            for text in decoded.iter().chain([text]) {
                found.extend(text.lines().map(|line| line.trim().to_owned()));
                found.push(text.clone());
            }
            found.push(data_encoding::BASE64.encode(text.as_bytes()));
        }
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(map) => map.values().for_each(|value| leaves(value, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Takes out what follows the words that announce a value, up to the colon in front of the reason.
fn announced(message: &str) -> String {
    let (mut masked, mut rest) = (String::new(), message);
    loop {
        let next = ANNOUNCED.iter().filter_map(|words| Some((rest.find(words)? + words.len(), words)));
        let Some((end, _)) = next.min() else { break };
        masked.push_str(&rest[..end]);
        rest = &rest[end..];
        // Quotes of these two kinds are masked later.
        if !rest.starts_with(['"', '`']) {
            masked.push_str(SENSITIVE);
            rest = rest.find(": ").map_or("", |colon| &rest[colon..]);
        }
    }
    masked + rest
}

/// Takes out what is between quotes, but for known words.
fn mask_quotes(message: &str, is_known: impl Fn(&str) -> bool) -> String {
    let (mut masked, mut rest) = (String::new(), message);
    while let Some(open) = rest.find(['"', '`']) {
        let quote = char::from(rest.as_bytes()[open]);
        masked.push_str(&rest[..=open]);
        rest = &rest[open + 1..];
        let close = closing(rest, quote);
        let inner = &rest[..close.unwrap_or(rest.len())];
        masked.push_str(if is_known(inner) { inner } else { SENSITIVE });
        match close {
            Some(close) => {
                masked.push(quote);
                rest = &rest[close + 1..];
            }
            None => rest = "",
        }
    }
    masked + rest
}

/// Where the quote is that ends what it begins; `\"` does not.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, found)| {
        let ends = found == quote && !escaped;
        escaped = found == '\\' && quote == '"' && !escaped;
        ends.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        let manifest = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "team"}, "type": "my/type",
            "stringData": {"pw": "hunter2", "pin": "12"}, "data": {"of": "aHVudGVyMw=="},
        });
        assert_eq!(masked(message, &manifest), expected);
    }

    #[test]
    fn no_value_of_the_object_is_left_in_an_answer() {
        check(
            r#"Secret "a" is invalid: data.pw: Invalid value: "hun\"ter2": must be short"#,
            r#"Secret "a" is invalid: data.pw: Invalid value: "(sensitive)": must be short"#,
        );
        check("spec.replicas: Invalid value: 1234: too many", "spec.replicas: Invalid value: (sensitive): too many");
        check(
            r#"data[pin]: Invalid value: {"a":"12"}: no; data.x: Duplicate value: 12"#,
            r#"data[pin]: Invalid value: (sensitive): no; data.x: Duplicate value: (sensitive)"#,
        );
        check(
            ".data.of: expected string, got &value.valueUnstructured{Value:7}",
            ".data.of: expected string, got (sensitive)",
        );
        check(
            "admission said hunter2 and hunter3 (aHVudGVyMw==) in team",
            "admission said (sensitive) and (sensitive) ((sensitive)) in team",
        );
        check("`data.pw` is `hunter2`, expected `string`", "`data.pw` is `(sensitive)`, expected `(sensitive)`");
        check("a webhook saw aHVudGVyMg==", "a webhook saw (sensitive)");
        check("data.pw: Invalid value: 'hun ter': no", "data.pw: Invalid value: (sensitive): no");
        check("`hunter2` and `a` and \"team", "`(sensitive)` and `a` and \"team");
        check("no values here", "no values here");
    }
}
