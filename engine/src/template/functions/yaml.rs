//! YAML: `toYaml` and `fromYaml`.
//!
//! What `toYaml` writes has the layout of sigs.k8s.io/yaml (keys in order, two spaces, lists not indented below their key),
//! except that a string of several lines is written in double quotes: it stays one scalar at any indentation.

use gotmpl::Value;

use super::super::go::from_json;
use super::super::{manifest, scalar};
use super::text::quoted;
use super::{Answer, Function, expect_list, string, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("toYaml", 1, |a| Ok(string(yaml_of(&a[0])?))),
    Function::exactly("fromYaml", 1, from_yaml),
    // A text that is no list is an error, where Sveltos gives a list of the reason.
    Function::exactly("fromYamlArray", 1, |a| {
        from_yaml(a).and_then(|value| expect_list(&value).cloned()).map(Value::List)
    }),
];

fn from_yaml(arguments: &[Value]) -> Answer {
    manifest::read_value(&text_of(&arguments[0])).map(|value| from_json(&value))
}

/// JSON as `toYaml` writes it.
pub(in super::super) fn to_yaml(value: &serde_json::Value) -> Result<String, String> {
    yaml_of(&from_json(value))
}

pub(super) fn yaml_of(value: &Value) -> Result<String, String> {
    let mut out = String::new();
    write(&mut out, value, 0, false)?;
    while out.ends_with('\n') {
        out.pop();
    }
    Ok(out)
}

/// Writes a node and its line break; the first line is already indented if `inline`.
fn write(out: &mut String, value: &Value, indent: usize, inline: bool) -> Result<(), String> {
    match value {
        Value::Map(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                if !(inline && index == 0) {
                    pad(out, indent);
                }
                out.push_str(&scalar_text(key));
                out.push(':');
                match value {
                    Value::Map(inner) if !inner.is_empty() => {
                        out.push('\n');
                        write(out, value, indent + 2, false)?;
                    }
                    Value::List(inner) if !inner.is_empty() => {
                        out.push('\n');
                        write(out, value, indent, false)?;
                    }
                    value => {
                        out.push(' ');
                        write(out, value, indent, true)?;
                    }
                }
            }
        }
        Value::List(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if !(inline && index == 0) {
                    pad(out, indent);
                }
                out.push_str("- ");
                write(out, item, indent + 2, true)?;
            }
        }
        Value::Map(_) => out.push_str("{}\n"),
        Value::List(_) => out.push_str("[]\n"),
        Value::String(text) => {
            out.push_str(&scalar_text(text));
            out.push('\n');
        }
        Value::Nil => out.push_str("null\n"),
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) => out.push_str(&format!("{value}\n")),
        Value::Float(number) if number.is_finite() => out.push_str(&format!("{number}\n")),
        Value::Float(_) => return Err("JSON has no infinity and no NaN".to_owned()),
        Value::Function(_) => return Err("a function is no value".to_owned()),
    }
    Ok(())
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A string as a scalar: plain where nothing can misread it, else in quotes.
fn scalar_text(text: &str) -> String {
    let is_one_line =
        !text.chars().any(|c| c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{FEFF}'));
    // Dates are timestamps to other readers, and `<<` and `=` are not plain to all.
    let date_like = text.starts_with(|c: char| c.is_ascii_digit()) && text.contains(['-', ':']);
    let reads_back = matches!(scalar::resolve(text), Some(serde_json::Value::String(_))) && !date_like;
    if !reads_back || !is_one_line {
        return quoted(text);
    }
    let plain_start = text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '_' | '.' | '(' | '$'));
    let plain_inside = text.char_indices().all(|(at, c)| {
        let followed_by_space = text[at + c.len_utf8()..].chars().next().is_none_or(|next| next == ' ');
        match c {
            ':' => !followed_by_space,
            '#' => !text[..at].ends_with(' '),
            // In a flow collection these would end the scalar.
            '[' | ']' | '{' | '}' | ',' => false,
            _ => true,
        }
    });
    if plain_start && plain_inside && !text.ends_with(' ') {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}
