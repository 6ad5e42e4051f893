//! Server-side apply as one manager sees it: what becomes of an object when the next manifest is applied.
//!
//! Start at [`apply`]. Pure: three documents in, one out. Ownership is kept as the manifest applied last: what it gave and
//! the next one does not is taken away; what it never gave is somebody else's and stays.

use serde_json::{Map, Value};

/// Lists whose items are merged by key, by the name of the field: the keys as Kubernetes' OpenAPI declares them. A field
/// in two places with different keys lists each; the first whose keys all items have is used.
const KEYED_LISTS: &[(&str, &[&[&str]])] = &[
    ("conditions", &[&["type"]]),
    ("containers", &[&["name"]]),
    ("env", &[&["name"]]),
    ("ephemeralContainers", &[&["name"]]),
    ("hostAliases", &[&["ip"]]),
    ("imagePullSecrets", &[&["name"]]),
    ("initContainers", &[&["name"]]),
    ("ownerReferences", &[&["uid"]]),
    ("ports", &[&["containerPort", "protocol"], &["port", "protocol"]]),
    ("secrets", &[&["name"]]),
    ("topologySpreadConstraints", &[&["topologyKey", "whenUnsatisfiable"]]),
    ("volumeDevices", &[&["devicePath"]]),
    ("volumeMounts", &[&["mountPath"]]),
    ("volumes", &[&["name"]]),
    ("webhooks", &[&["name"]]),
];

/// The object after `next` was applied over `live`, where `before` is what was applied last.
pub(super) fn apply(live: &Value, before: Option<&Value>, next: &Value) -> Value {
    merge("", live, before.unwrap_or(&Value::Null), next)
}

/// What is left of the applied manifest for its manager after others made `after` of `before`: what they changed is theirs.
pub(super) fn disowned(applied: &Value, before: &Value, after: &Value) -> Value {
    let Value::Object(fields) = applied else { return applied.clone() };
    let mut left = Map::new();
    for (field, value) in fields {
        match (before.get(field), after.get(field)) {
            (one, other) if one == other => _ = left.insert(field.clone(), value.clone()),
            (Some(one @ Value::Object(_)), Some(other @ Value::Object(_))) if value.is_object() => {
                left.insert(field.clone(), disowned(value, one, other));
            }
            _ => {}
        }
    }
    Value::Object(left)
}

/// The fields of an applied manifest, in the form of `fieldsV1`. A list counts as one field.
pub(super) fn fields(applied: &Value) -> Value {
    match applied {
        Value::Object(fields_of) => {
            fields_of.iter().map(|(field, value)| (format!("f:{field}"), fields(value))).collect::<Map<_, _>>().into()
        }
        _ => Value::Object(Map::new()),
    }
}

fn merge(field: &str, live: &Value, before: &Value, next: &Value) -> Value {
    match (live, next) {
        (Value::Object(live), Value::Object(next)) => Value::Object(merge_maps(live, before, next)),
        (Value::Array(live), Value::Array(next)) if field == "finalizers" => merge_set(live, before, next),
        (Value::Array(live), Value::Array(next)) => match keys_for(field, next) {
            Some(keys) => merge_keyed(keys, live, before, next),
            None => Value::Array(next.clone()),
        },
        _ => next.clone(),
    }
}

fn merge_maps(live: &Map<String, Value>, before: &Value, next: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = Map::new();
    for (field, value) in live {
        let owned = before.get(field).unwrap_or(&Value::Null);
        match next.get(field) {
            Some(wanted) => {
                merged.insert(field.clone(), merge(field, value, owned, wanted));
            }
            None => {
                if let Some(left) = without(field, value, owned) {
                    merged.insert(field.clone(), left);
                }
            }
        }
    }
    for (field, wanted) in next {
        if !live.contains_key(field) {
            merged.insert(field.clone(), wanted.clone());
        }
    }
    merged
}

/// What is left of a value when the part that was ours is taken away; `None` where nothing is.
fn without(field: &str, value: &Value, owned: &Value) -> Option<Value> {
    match (value, owned) {
        (_, Value::Null) => Some(value.clone()),
        (Value::Object(_), Value::Object(owned_map)) if !owned_map.is_empty() => {
            let left = merge(field, value, owned, &Value::Object(Map::new()));
            left.as_object().is_some_and(|left| !left.is_empty()).then_some(left)
        }
        (Value::Array(items), Value::Array(owned_items))
            if field == "finalizers" || keys_for(field, owned_items).is_some() =>
        {
            let left = match keys_for(field, owned_items) {
                Some(keys) => merge_keyed(keys, items, owned, &[]),
                None => merge_set(items, owned, &[]),
            };
            left.as_array().is_some_and(|left| !left.is_empty()).then_some(left)
        }
        _ => None,
    }
}

fn merge_set(live: &[Value], before: &Value, next: &[Value]) -> Value {
    let owned = before.as_array().map(Vec::as_slice).unwrap_or_default();
    let kept = live.iter().filter(|item| next.contains(item) || !owned.contains(item));
    let new = next.iter().filter(|item| !live.contains(item));
    Value::Array(kept.chain(new).cloned().collect())
}

fn merge_keyed(keys: &[&str], live: &[Value], before: &Value, next: &[Value]) -> Value {
    let identity = |item: &Value| -> Vec<Value> { keys.iter().map(|key| key_of(item, key)).collect() };
    let find = |items: &[Value], wanted: &Value| items.iter().find(|item| identity(item) == identity(wanted)).cloned();
    let owned = before.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut merged: Vec<Value> = Vec::new();
    // The order of the manifest counts, then what others added.
    for wanted in next {
        let ours = find(owned, wanted).unwrap_or(Value::Null);
        merged.push(match find(live, wanted) {
            Some(item) => merge("", &item, &ours, wanted),
            None => wanted.clone(),
        });
    }
    for item in live {
        if find(next, item).is_none() && find(owned, item).is_none() {
            merged.push(item.clone());
        }
    }
    Value::Array(merged)
}

fn keys_for(field: &str, items: &[Value]) -> Option<&'static [&'static str]> {
    let (_, choices) = KEYED_LISTS.iter().find(|(name, _)| *name == field)?;
    choices
        .iter()
        .copied()
        .find(|keys| items.iter().all(|item| item.is_object() && keys.iter().all(|key| !key_of(item, key).is_null())))
}

/// A key of a list item; a port without a protocol is TCP, as the server's defaults say.
fn key_of(item: &Value, key: &str) -> Value {
    match item.get(key) {
        Some(value) => value.clone(),
        None if key == "protocol" => Value::from("TCP"),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(cases: &[(Value, Value, Value, Value)]) {
        for (live, before, next, expected) in cases {
            let after = apply(live, Some(before), next);
            assert_eq!(&after, expected, "live {live}, before {before}, next {next}");
            assert_eq!(apply(&after, Some(next), next), after, "the same apply twice changed {after}");
        }
    }

    #[test]
    fn what_is_no_longer_given_goes_and_what_others_gave_stays() {
        check(&[
            (json!({"a": 1, "b": 2}), json!({"a": 1, "b": 2}), json!({"a": 3}), json!({"a": 3})),
            (json!({"a": 1, "other": 2}), json!({"a": 1}), json!({"a": 1}), json!({"a": 1, "other": 2})),
            (json!({"m": {"a": 1, "other": 2}}), json!({"m": {"a": 1}}), json!({}), json!({"m": {"other": 2}})),
            (json!({"m": {"a": 1}}), json!({"m": {"a": 1}}), json!({}), json!({})),
            (json!({"a": 1}), json!(null), json!({"b": 2}), json!({"a": 1, "b": 2})),
            (json!({"list": [1, 2]}), json!({"list": [1, 2]}), json!({"list": [3]}), json!({"list": [3]})),
        ]);
    }

    #[test]
    fn what_others_change_is_theirs() {
        let before = json!({"data": {"a": "1", "b": "2"}, "list": [1], "other": 3});
        let check = |after: Value, left: Value| {
            let applied = json!({"data": {"a": "1", "b": "2"}, "list": [1]});
            assert_eq!(disowned(&applied, &before, &after), left, "{after}");
        };
        check(before.clone(), json!({"data": {"a": "1", "b": "2"}, "list": [1]}));
        check(
            json!({"data": {"a": "x", "b": "2", "c": "3"}, "list": [1], "other": 4}),
            json!({"data": {"b": "2"}, "list": [1]}),
        );
        check(json!({"data": {"a": "1", "b": "2"}, "list": [1, 2]}), json!({"data": {"a": "1", "b": "2"}}));
        check(json!({}), json!({}));
        assert_eq!(fields(&json!({"data": {"a": "1"}, "list": [1]})), json!({"f:data": {"f:a": {}}, "f:list": {}}));
    }

    #[test]
    fn lists_with_keys_are_merged_item_by_item() {
        check(&[
            (
                json!({"containers": [{"name": "a", "image": "1", "tty": true}, {"name": "theirs"}]}),
                json!({"containers": [{"name": "a", "image": "1"}]}),
                json!({"containers": [{"name": "a", "image": "2"}, {"name": "b"}]}),
                json!({"containers": [{"name": "a", "image": "2", "tty": true}, {"name": "b"}, {"name": "theirs"}]}),
            ),
            (
                json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 1}]}),
                json!({"ports": [{"port": 80}]}),
                json!({"ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}]}),
                json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 1}, {"port": 80, "protocol": "UDP"}]}),
            ),
            (json!({"finalizers": ["a", "b"]}), json!({"finalizers": ["a"]}), json!({}), json!({"finalizers": ["b"]})),
            (json!({"finalizers": ["b"]}), json!({}), json!({"finalizers": ["a"]}), json!({"finalizers": ["b", "a"]})),
        ]);
    }
}
