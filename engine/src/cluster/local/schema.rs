//! Checks a custom object against the structural OpenAPI v3 schema of its CustomResourceDefinition.
//!
//! Start at [`check`]. Pure. CEL rules (`x-kubernetes-validations`) are not evaluated: they are the one thing a real server
//! may refuse that passes here.

use regex::Regex;
use serde_json::Value;

/// Adds what is wrong with an object, and fills in the schema's defaults. `apiVersion`, `kind` and `metadata` are the
/// server's, whatever the schema says of them.
pub(super) fn check(schema: &Value, object: &mut Value, problems: &mut Vec<String>) {
    check_value("", schema, object, problems);
}

fn check_value(path: &str, schema: &Value, value: &mut Value, problems: &mut Vec<String>) {
    let shown = |value: &Value| value.to_string().chars().take(80).collect::<String>();
    if !has_type(schema, value) {
        let expected = schema["type"].as_str().unwrap_or("integer or string");
        problems.push(format!("`{path}` is `{}`, expected type {expected}", shown(value)));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        problems.push(format!("`{path}` is `{}`, expected one of {}", shown(value), allowed.join(", ")));
    }
    match value {
        Value::Object(_) => check_map(path, schema, value, problems),
        Value::Array(items) => {
            check_count(path, schema, ["minItems", "maxItems"], items.len(), "items", problems);
            for (index, item) in items.iter_mut().enumerate() {
                if let Some(schema) = schema.get("items") {
                    check_value(&format!("{path}[{index}]"), schema, item, problems);
                }
            }
        }
        Value::String(text) => {
            check_count(path, schema, ["minLength", "maxLength"], text.chars().count(), "characters", problems);
            // A pattern the definition should never have been taken with matches everything.
            if let Some(pattern) = schema["pattern"].as_str()
                && Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text))
            {
                problems.push(format!("`{path}` is `{text}`, expected a match of `{pattern}`"));
            }
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            let exclusive = |bound: &str| schema[bound].as_bool().unwrap_or(false);
            let low = schema["minimum"].as_f64();
            let high = schema["maximum"].as_f64();
            if low.is_some_and(|low| number < low || exclusive("exclusiveMinimum") && number == low) {
                problems.push(format!("`{path}` is `{number}`, the minimum is {}", schema["minimum"]));
            }
            if high.is_some_and(|high| number > high || exclusive("exclusiveMaximum") && number == high) {
                problems.push(format!("`{path}` is `{number}`, the maximum is {}", schema["maximum"]));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    check_combinations(path, schema, value, problems);
}

fn check_map(path: &str, schema: &Value, value: &mut Value, problems: &mut Vec<String>) {
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    let properties = schema["properties"].as_object();
    for (name, property) in properties.into_iter().flatten() {
        if let Some(default) = property.get("default") {
            fields.entry(name.clone()).or_insert_with(|| default.clone());
        }
    }
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(required) {
            problems.push(format!("`{}` is required", joined(path, required)));
        }
    }
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true || schema["additionalProperties"] == true;
    let is_object = path.is_empty() || schema["x-kubernetes-embedded-resource"] == true;
    for (name, field) in fields.iter_mut() {
        let path = joined(path, name);
        if is_object && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            if name == "metadata" {
                check_metadata(&path, field, problems);
            }
            continue;
        }
        match properties.and_then(|properties| properties.get(name)) {
            Some(property) => check_value(&path, property, field, problems),
            None if schema["additionalProperties"].is_object() => {
                check_value(&path, &schema["additionalProperties"], field, problems);
            }
            None if open => {}
            None => problems.push(format!("`{path}` is not a field of this kind")),
        }
    }
    let count = fields.len();
    check_count(path, schema, ["minProperties", "maxProperties"], count, "fields", problems);
}

/// What metadata may hold beyond labels and annotations, whose rules hold for every kind.
fn check_metadata(path: &str, metadata: &Value, problems: &mut Vec<String>) {
    const KNOWN: [&str; 7] =
        ["annotations", "finalizers", "generateName", "labels", "name", "namespace", "ownerReferences"];
    for (field, _) in metadata.as_object().into_iter().flatten() {
        if !KNOWN.contains(&field.as_str()) {
            problems.push(format!("`{path}.{field}` is not a field of metadata"));
        }
    }
}

/// allOf, anyOf, oneOf and not, which may not add fields in a structural schema, only conditions.
fn check_combinations(path: &str, schema: &Value, value: &Value, problems: &mut Vec<String>) {
    let fits = |part: &Value| {
        let mut found = Vec::new();
        let mut open = part.clone();
        open["x-kubernetes-preserve-unknown-fields"] = Value::Bool(true);
        check_value(path, &open, &mut value.clone(), &mut found);
        found.is_empty()
    };
    let parts = |name: &str| schema[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let fitting = |name: &str| parts(name).iter().filter(|part| fits(part)).count();
    let broken = (fitting("allOf") < parts("allOf").len())
        .then_some("all of")
        .or_else(|| (!parts("anyOf").is_empty() && fitting("anyOf") == 0).then_some("any of"))
        .or_else(|| (!parts("oneOf").is_empty() && fitting("oneOf") != 1).then_some("exactly one of"))
        .or_else(|| (schema["not"].is_object() && fits(&schema["not"])).then_some("none of"));
    if let Some(which) = broken {
        problems.push(format!("`{path}` does not satisfy {which} its schema's alternatives"));
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    if value.is_null() {
        return schema["nullable"] == true || schema["x-kubernetes-preserve-unknown-fields"] == true;
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return value.is_string() || value.is_i64() || value.is_u64();
    }
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => true,
    }
}

fn check_count(
    path: &str,
    schema: &Value,
    [least, most]: [&str; 2],
    count: usize,
    unit: &str,
    problems: &mut Vec<String>,
) {
    let count_wide = count as u64;
    if schema[least].as_u64().is_some_and(|least| count_wide < least) {
        problems.push(format!("`{path}` has {count} {unit}, at least {} are expected", schema[least]));
    }
    if schema[most].as_u64().is_some_and(|most| count_wide > most) {
        problems.push(format!("`{path}` has {count} {unit}, at most {} are allowed", schema[most]));
    }
}

fn joined(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}
