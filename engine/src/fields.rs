//! What differs between two manifests, field by field. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::cluster::SERVER_METADATA;
use crate::confidential::{SENSITIVE, is_secret};

/// Fields of one object that are listed at most.
const FIELDS_MAX: usize = 100;

/// Where a Secret holds values. An annotation of `kubectl apply` has the whole manifest.
const SENSITIVE_FIELDS: [&str; 3] = ["data", "stringData", "metadata.annotations"];

/// What the names of our marks begin with.
const MARKS: &str = "lifeline.dev/";

/// A field that would be different.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Where it is, such as `data.login` or `metadata.labels["a/b"]`.
    pub path: String,
    /// What it holds; absent where there is none. Of a Secret, and where a template sees one, it is always `(sensitive)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it would hold; absent where there would be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The fields that differ, in the order of their paths. What only the server writes does not count, nor do the marks; what
/// a Secret holds is not shown, and no value where `hides_values`.
pub(crate) fn differing(before: &Value, after: &Value, hides_values: bool) -> Vec<FieldChange> {
    let of_secret = is_secret(before) || is_secret(after);
    let (before, after) = (without_what_is_not_wanted(before), without_what_is_not_wanted(after));
    let mut fields = Vec::new();
    compare(String::new(), Some(&before), Some(&after), &mut fields);
    if of_secret || hides_values {
        let is_sensitive = |path: &str| hides_values || SENSITIVE_FIELDS.iter().any(|of| is_below(path, of));
        for field in fields.iter_mut().filter(|field| is_sensitive(&field.path)) {
            let mask = |value: &mut Option<Value>| *value = value.take().map(|_| SENSITIVE.into());
            mask(&mut field.before);
            mask(&mut field.after);
        }
    }
    fields.truncate(FIELDS_MAX);
    fields
}

fn is_below(path: &str, field: &str) -> bool {
    path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A manifest without what the server writes, and without marks.
fn without_what_is_not_wanted(manifest: &Value) -> Value {
    let mut manifest = manifest.clone();
    if let Some(map) = manifest.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !SERVER_METADATA.contains(&field.as_str()));
        for field in ["annotations", "labels"] {
            if let Some(named) = metadata.get_mut(field).and_then(Value::as_object_mut) {
                named.retain(|name, _| !name.starts_with(MARKS));
            }
            // Where there were marks alone there is nothing.
            if metadata.get(field).and_then(Value::as_object).is_some_and(Map::is_empty) {
                metadata.remove(field);
            }
        }
    }
    manifest
}

fn compare(path: String, before: Option<&Value>, after: Option<&Value>, fields: &mut Vec<FieldChange>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (None | Some(Value::Object(_)), None | Some(Value::Object(_))) if is_map(before) || is_map(after) => {
            let maps = [before, after].map(|value| value.and_then(Value::as_object));
            let mut names: Vec<&String> = maps.iter().flatten().flat_map(|map| map.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let [before, after] = maps.map(|map| map.and_then(|map| map.get(name)));
                compare(step_into(&path, name), before, after, fields);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for at in 0..before.len().max(after.len()) {
                compare(format!("{path}[{at}]"), before.get(at), after.get(at), fields);
            }
        }
        (before, after) => fields.push(field(path, before, after)),
    }
}

fn is_map(value: Option<&Value>) -> bool {
    value.is_some_and(|value| value.as_object().is_some_and(|map| !map.is_empty()))
}

fn field(path: String, before: Option<&Value>, after: Option<&Value>) -> FieldChange {
    FieldChange { path, before: before.cloned(), after: after.cloned() }
}

/// The path of a field below another.
pub(crate) fn step_into(path: &str, name: &str) -> String {
    let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match (is_plain, path.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{path}.{name}"),
        (false, _) => format!("{path}[{}]", Value::from(name)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_named_by_their_paths_and_secrets_are_not_shown() {
        let check = |before: Value, after: Value, expected: &[(&str, Option<Value>, Option<Value>)]| {
            let found = differing(&before, &after, false);
            let found: Vec<_> =
                found.iter().map(|one| (one.path.as_str(), one.before.clone(), one.after.clone())).collect();
            assert_eq!(found, expected, "{before} {after}");
        };
        check(json!({"data": {"a": "1"}}), json!({"data": {"a": "1"}}), &[]);
        check(
            json!({"data": {"a": "1"}}),
            json!({"data": {"a": "2"}}),
            &[("data.a", Some(json!("1")), Some(json!("2")))],
        );
        check(json!({}), json!({"data": {"a.b/c": "2"}}), &[("data[\"a.b/c\"]", None, Some(json!("2")))]);
        check(json!({"a": {"b": 1}}), json!({}), &[("a.b", Some(json!(1)), None)]);
        check(json!({"a": {}}), json!({}), &[("a", Some(json!({})), None)]);
        check(json!({"a": {}}), json!({"a": {"b": 1}}), &[("a.b", None, Some(json!(1)))]);
        check(
            json!({"a": [1, {"b": 2}]}),
            json!({"a": [1, {"b": 3}, 4]}),
            &[("a[1].b", Some(json!(2)), Some(json!(3))), ("a[2]", None, Some(json!(4)))],
        );
        check(json!({"a": {"b": 1}}), json!({"a": "text"}), &[("a", Some(json!({"b": 1})), Some(json!("text")))]);
        check(
            json!({"metadata": {"uid": "1", "resourceVersion": "1"}, "status": {"a": 1}}),
            json!({"metadata": {"uid": "2"}}),
            &[],
        );
        let secret = |value: Value| json!({"apiVersion": "v1", "kind": "Secret", "data": value, "dataOf": 1});
        check(
            secret(json!({"key": "b25l"})),
            secret(json!({"key": "dHdv", "new": "eA=="})),
            &[("data.key", Some(json!(SENSITIVE)), Some(json!(SENSITIVE))), ("data.new", None, Some(json!(SENSITIVE)))],
        );
        // The whole map is new.
        check(
            json!({"apiVersion": "v1", "kind": "Secret"}),
            secret(json!({"key": "b25l"})),
            &[("data.key", None, Some(json!(SENSITIVE))), ("dataOf", None, Some(json!(1)))],
        );
        // A template that sees a Secret may write a value of it anywhere.
        let [before, after] = ["1", "2"].map(|value| json!({"kind": "ConfigMap", "data": {"a": value}}));
        let hidden = differing(&before, &after, true);
        assert_eq!(
            (hidden[0].before.clone(), hidden[0].after.clone()),
            (Some(json!(SENSITIVE)), Some(json!(SENSITIVE)))
        );
        let marked =
            |offset: &str| json!({"metadata": {"annotations": {"lifeline.dev/offset": offset}, "labels": {"a": "b"}}});
        check(marked("1"), marked("9"), &[]);
        check(json!({"metadata": {"labels": {"a": "b"}}}), marked("9"), &[]);
    }
}
