//! Would an API server take this manifest? What every object must satisfy: names, labels, annotations, size, types.
//!
//! Start at [`manifest`]. Pure, and complete: it reports every mistake at once. What single kinds demand beyond their types
//! is in the module `rule`; what depends on the live object (namespace, immutable fields) is in `state`.

use serde_json::{Map, Value};

use super::kind::Defined;
use super::{name, rule, schema};
use crate::builtin::TypeCheck;
use crate::cluster::key::shape;
use crate::cluster::{Error, ObjectKey, SERVER_METADATA};

/// etcd refuses more than 1.5 MiB a request; the API server's envelope takes its share of it.
pub(super) const OBJECT_BYTES_MAX: usize = 1_500_000;

/// All annotations of an object together.
const ANNOTATION_BYTES_MAX: usize = 256 * 1024;

/// How the fields of a kind are checked.
#[derive(Clone, Copy)]
pub(super) enum Fields<'a> {
    /// By the type compiled in.
    Typed(TypeCheck),
    /// By a CustomResourceDefinition.
    Defined(Defined<'a>),
    /// Not at all.
    Unknown,
}

/// Checks a manifest and brings it into the form that is kept: no nulls, no fields that only the server writes.
pub(super) fn manifest(key: &ObjectKey, manifest: &Value, fields: Fields<'_>) -> Result<Value, Error> {
    let mut kept = without_nulls(manifest.clone());
    if let Some(metadata) = kept.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !SERVER_METADATA.contains(&field.as_str()));
        match &key.namespace {
            Some(namespace) => metadata.insert("namespace".to_owned(), Value::from(namespace.as_str())),
            None => metadata.remove("namespace"),
        };
    }
    let mut problems = metadata_problems(key, &kept["metadata"]);
    match fields {
        Fields::Typed(check) => {
            if kept.get("status").is_some() && !has_status(check, &kept) {
                problems.push("`status` is not a field of this kind".to_owned());
            }
            remove(&mut kept, "status");
            match check(&kept) {
                Ok(typed) => {
                    unknown_fields("", &kept, &typed, &mut problems);
                    rule::convert(key, &mut kept);
                    rule::check(key, &kept, &mut problems);
                }
                Err(misfit) => problems.push(misfit.to_string()),
            }
        }
        Fields::Defined(defined) => {
            if defined.status_is_apart {
                remove(&mut kept, "status");
            }
            if let Some(schema) = defined.schema {
                schema::check(schema, &mut kept, &mut problems);
            }
        }
        Fields::Unknown => {}
    }
    let bytes = kept.to_string().len();
    if bytes > OBJECT_BYTES_MAX {
        problems.push(format!("the object has {bytes} bytes, at most {OBJECT_BYTES_MAX} are allowed"));
    }
    if problems.is_empty() { Ok(kept) } else { Err(Error::invalid(problems.join("; "))) }
}

/// Whether a type has a status. An API server drops what is given for one, and refuses it where there is none.
fn has_status(check: TypeCheck, manifest: &Value) -> bool {
    let mut probe = manifest.clone();
    probe["status"] = Value::Object(Map::new());
    // What is wrong elsewhere is found without the status.
    check(&probe).map_or(true, |typed| typed.get("status").is_some())
}

fn remove(manifest: &mut Value, field: &str) {
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove(field);
    }
}

/// Without the fields that are null, which says the same as no field. Nulls in lists stay: the type refuses them.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(field, value)| (field, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn metadata_problems(key: &ObjectKey, metadata: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let mut wrong = |field: &str, value: &str, problem: Option<String>| {
        if let Some(problem) = problem {
            problems.push(format!("`{field}` is `{value}`: {problem}"));
        }
    };
    wrong("metadata.name", &key.name, name::name_problem(name::rule_for(key), &key.name));
    if let Some(namespace) = &key.namespace {
        wrong("metadata.namespace", namespace, name::label_problem(namespace));
    }
    for (label, value) in strings(metadata, "labels") {
        wrong("metadata.labels", label, name::qualified_name_problem(label));
        wrong(&format!("metadata.labels[{label}]"), value, name::label_value_problem(value));
    }
    for (annotation, _) in strings(metadata, "annotations") {
        // Upper case is allowed in an annotation's prefix, unlike in a label's.
        wrong("metadata.annotations", annotation, name::qualified_name_problem(&annotation.to_lowercase()));
    }
    for finalizer in metadata["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let problem = name::qualified_name_problem(finalizer).or_else(|| {
            (!finalizer.contains('/')).then(|| "expected a prefix and a name, such as `example.com/guard`".to_owned())
        });
        wrong("metadata.finalizers", finalizer, problem);
    }
    let annotation_bytes: usize = strings(metadata, "annotations").map(|(key, value)| key.len() + value.len()).sum();
    if annotation_bytes > ANNOTATION_BYTES_MAX {
        problems.push(format!(
            "`metadata.annotations` has {annotation_bytes} bytes, at most {ANNOTATION_BYTES_MAX} are allowed"
        ));
    }
    for field in ["labels", "annotations"] {
        match metadata.get(field) {
            Some(Value::Object(entries)) => problems.extend(not_strings(field, entries)),
            Some(other) => problems.push(format!("`metadata.{field}` is {}, expected a mapping", shape(other))),
            None => {}
        }
    }
    problems
}

fn strings<'a>(metadata: &'a Value, field: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let entries = metadata.get(field).and_then(Value::as_object);
    entries.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

fn not_strings(field: &str, entries: &Map<String, Value>) -> Vec<String> {
    let wrong = entries.iter().filter(|(_, value)| !value.is_string());
    wrong.map(|(key, value)| format!("`metadata.{field}[{key}]` is {}, expected a string", shape(value))).collect()
}

/// Fields that the type did not take over. It also drops what is empty, which says nothing.
fn unknown_fields(path: &str, given: &Value, typed: &Value, problems: &mut Vec<String>) {
    match (given, typed) {
        (Value::Object(given), Value::Object(typed)) => {
            for (field, value) in given {
                let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
                match typed.get(field) {
                    Some(typed) => unknown_fields(&path, value, typed, problems),
                    None if is_empty(value) => {}
                    None => problems.push(format!("`{path}` is not a field of this kind")),
                }
            }
        }
        (Value::Array(given), Value::Array(typed)) => {
            for (index, (given, typed)) in given.iter().zip(typed).enumerate() {
                unknown_fields(&format!("{path}[{index}]"), given, typed, problems);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        other => other.is_null(),
    }
}
