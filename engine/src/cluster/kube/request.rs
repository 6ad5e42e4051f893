//! What is sent to an API server: the body of an apply, and paths that no name can change. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde_json::Value;

use super::super::{ObjectKey, SERVER_METADATA};

/// What is neither a letter, a digit nor one of `-._~` (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What has to hold for an apply to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum If<'a> {
    /// Nothing.
    Any,
    /// The object lives under this uid.
    Uid(&'a str),
    /// No object lives.
    None,
}

/// A version that no object has. An API server compares it with that of the live object, and of one that it makes it takes
/// none (`registry.Store::Update`).
const NO_VERSION: &str = "18446744073709551615";

/// The manifest as it is sent: the key's namespace, the precondition, and nothing that only the server writes.
pub(super) fn sent(key: &ObjectKey, manifest: &Value, precondition: If<'_>) -> Value {
    let mut sent = manifest.clone();
    if let Some(metadata) = sent.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !SERVER_METADATA.contains(&field.as_str()));
        match &key.namespace {
            Some(namespace) => metadata.insert("namespace".to_owned(), Value::from(namespace.as_str())),
            None => metadata.remove("namespace"),
        };
        match precondition {
            If::Any => {}
            If::Uid(uid) => _ = metadata.insert("uid".to_owned(), Value::from(uid)),
            If::None => _ = metadata.insert("resourceVersion".to_owned(), Value::from(NO_VERSION)),
        }
    }
    sent
}

/// JSON that a parser of YAML 1.1 reads as JSON. The API server takes an apply for YAML, and there these characters are
/// line breaks, folded into blanks, or may not appear at all, not even in quotes.
pub(super) fn as_yaml(manifest: &Value) -> String {
    let json = manifest.to_string();
    let mut yaml = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                yaml.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => yaml.push(other),
        }
    }
    yaml
}

/// Where the objects of a group and version are.
pub(super) fn group_path(key: &ObjectKey) -> String {
    match key.group.as_str() {
        "" => format!("/api/{}", escaped(&key.version)),
        group => format!("/apis/{}/{}", escaped(group), escaped(&key.version)),
    }
}

/// A name as one segment of a path: what is reserved is escaped, so no name can change the path or query.
pub(super) fn escaped(segment: &str) -> PercentEncode<'_> {
    utf8_percent_encode(segment, RESERVED)
}
