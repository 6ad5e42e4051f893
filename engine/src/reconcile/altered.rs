//! What a cluster changed of an object as it took it: an admission policy or a webhook may give a field another value than
//! was applied.
//!
//! Start at [`altered`]. The API server counts such a field as ours, so drift detection, which compares whose the fields are,
//! sees nothing of it. Pure.

use serde_json::Value;

use crate::cluster::SERVER_METADATA;
use crate::cluster::quantity::quantity;

/// Fields that are named at most.
const FIELDS_MAX: usize = 20;

/// The fields of a manifest that an object does not hold as they were applied, such as `data.login`. Values that only are
/// written in another way do not count: a quantity (`1000m` and `1`), what is empty or zero and left out, items of
/// others in a list, and `stringData`, which no Secret keeps.
#[must_use]
pub fn altered(manifest: &Value, live: &Value) -> Vec<String> {
    let mut fields = Vec::new();
    compare("", manifest, Some(live), &mut fields);
    fields.truncate(FIELDS_MAX);
    fields
}

fn compare(path: &str, given: &Value, live: Option<&Value>, fields: &mut Vec<String>) {
    match (given, live) {
        (Value::Object(given), Some(live @ Value::Object(_))) => {
            let is_compared = |name: &str| match path {
                "" => !matches!(name, "apiVersion" | "kind" | "status" | "stringData"),
                // What is in no namespace is applied without one.
                "metadata" => name != "namespace" && !SERVER_METADATA.contains(&name),
                _ => true,
            };
            for (name, given) in given.iter().filter(|(name, _)| is_compared(name)) {
                compare(&crate::fields::step_into(path, name), given, live.get(name), fields);
            }
        }
        (Value::Array(given), Some(Value::Array(live))) => {
            for (at, given) in given.iter().enumerate() {
                // Lists that are merged hold items of others too.
                if !live.iter().any(|live| holds(given, live)) {
                    compare(&format!("{path}[{at}]"), given, live.get(at), fields);
                }
            }
        }
        (Value::Null, _) => {}
        // A list that is empty may be stored as null.
        (given, None | Some(Value::Null)) if is_zero(given) => {}
        (given, Some(live)) if given == live || is_same_quantity(given, live) => {}
        _ => fields.push(path.to_owned()),
    }
}

fn holds(given: &Value, live: &Value) -> bool {
    let mut fields = Vec::new();
    // Not the path of an object, where some fields are left out.
    compare("[]", given, Some(live), &mut fields);
    fields.is_empty()
}

/// Whether an API server may leave a value out: Go's encoder omits what is empty, false or zero in many fields.
fn is_zero(given: &Value) -> bool {
    match given {
        Value::Null => true,
        Value::Bool(is_so) => !is_so,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.values().all(is_zero),
        Value::Array(items) => items.iter().all(is_zero),
    }
}

fn is_same_quantity(given: &Value, live: &Value) -> bool {
    let [given, live] = [given, live].map(quantity);
    let (Some(given), Some(live)) = (given, live) else { return false };
    (given - live).abs() <= f64::EPSILON * 4.0 * given.abs().max(live.abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_value_is_named_and_another_way_to_write_it_is_not() {
        let check = |given: Value, live: Value, expected: &[&str]| {
            assert_eq!(altered(&given, &live), expected, "{given} {live}");
        };
        let data = |value: &str| json!({"data": {"a": value, "b.c/d": "1"}});
        check(data("1"), data("1"), &[]);
        check(data("1"), data("2"), &["data.a"]);
        check(data("1"), json!({"data": {"a": "1"}}), &["data[\"b.c/d\"]"]);
        check(data("1"), json!({"data": null}), &["data"]);
        // What others add is theirs.
        check(json!({"data": {"a": "1"}}), data("1"), &[]);
        // How an API server writes what it was given.
        let cpu = |cpu: Value| json!({"spec": {"resources": {"limits": {"cpu": cpu}}}});
        for (given, live, is_same) in [
            (json!("1000m"), json!("1"), true),
            (json!(1), json!("1"), true),
            (json!("1024Mi"), json!("1Gi"), true),
            (json!("0.1"), json!("100m"), true),
            (json!("1e3"), json!("1k"), true),
            (json!("1"), json!("2"), false),
            (json!("true"), json!(true), false),
            (json!("Ki"), json!("1Ki"), false),
        ] {
            let name: &[&str] = if is_same { &[] } else { &["spec.resources.limits.cpu"] };
            check(cpu(given), cpu(live), name);
        }
        check(json!({"stringData": {"a": "1"}, "status": {"a": 1}}), json!({}), &[]);
        check(json!({"spec": {"a": {}, "b": [], "c": null, "d": {"e": []}}}), json!({"spec": {}}), &[]);
        check(json!({"rules": [], "spec": {"a": {}}}), json!({"rules": null, "spec": null}), &[]);
        check(json!({"rules": [{"verbs": ["get"]}]}), json!({"rules": null}), &["rules"]);
        check(json!({"rules": []}), json!({"rules": [{}]}), &[]);
        check(json!({"spec": {"a": false, "b": 0, "c": "", "d": [{"e": ""}]}}), json!({"spec": {"d": [{}]}}), &[]);
        check(json!({"spec": {"a": false, "b": true}}), json!({"spec": {"a": true}}), &["spec.a", "spec.b"]);
        let metadata =
            json!({"metadata": {"creationTimestamp": null, "namespace": "n", "uid": "1", "labels": {"uid": "1"}}});
        check(metadata.clone(), json!({"metadata": {"labels": {"uid": "1"}}}), &[]);
        check(metadata, json!({"metadata": {"labels": {"uid": "2"}}}), &["metadata.labels.uid"]);
        // Items of others beside ours, in any order.
        let items = |items: &[(&str, &str)]| -> Value {
            items.iter().map(|(name, image)| json!({"name": name, "image": image})).collect()
        };
        let spec = |of: &[(&str, &str)]| json!({ "spec": items(of) });
        check(spec(&[("a", "1"), ("b", "1")]), spec(&[("b", "1"), ("x", "1"), ("a", "1")]), &[]);
        check(spec(&[("a", "1"), ("b", "1")]), spec(&[("a", "1"), ("b", "2")]), &["spec[1].image"]);
        check(json!({"spec": ["a", "b"]}), json!({"spec": ["a"]}), &["spec[1]"]);
    }
}
