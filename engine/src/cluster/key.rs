//! The name of an object in a cluster, and how it is read from a manifest.
//!
//! Start at [`object_key`]. It knows nothing of scopes: what a kind's scope does to the namespace is the cluster's.

pub use lifeline_projections::fact::ObjectKey;
use serde_json::Value;

use super::Error;

/// Reads the name a manifest gives its object, the namespace as written there.
///
/// # Errors
/// [`Error::Invalid`] where `apiVersion`, `kind` or `metadata.name` is missing, or a name cannot be part of a URL path.
pub fn object_key(manifest: &Value) -> Result<ObjectKey, Error> {
    if !manifest.is_object() {
        return Err(Error::invalid(format!("the manifest is {}, expected a mapping", shape(manifest))));
    }
    let api_version = text(manifest, "/apiVersion", "apiVersion")?
        .ok_or_else(|| Error::invalid("`apiVersion` is missing\nhint: for a core kind write `apiVersion: v1`"))?;
    let kind = text(manifest, "/kind", "kind")?.ok_or_else(|| Error::invalid("`kind` is missing"))?;
    let (group, version) = match api_version.split_once('/') {
        Some((group, version)) if !group.is_empty() && !version.is_empty() && !version.contains('/') => {
            (group, version)
        }
        None => ("", api_version),
        Some(_) => {
            return Err(Error::invalid(format!(
                "`apiVersion` is `{api_version}`, expected `GROUP/VERSION` or `VERSION`"
            )));
        }
    };
    if manifest.get("metadata").is_some_and(|metadata| !metadata.is_object() && !metadata.is_null()) {
        return Err(Error::invalid(format!("`metadata` is {}, expected a mapping", shape(&manifest["metadata"]))));
    }
    let name = text(manifest, "/metadata/name", "metadata.name")?.ok_or_else(|| {
        let hint = match manifest.pointer("/metadata/generateName") {
            Some(_) => "\nhint: `generateName` cannot be applied twice to one object: give a name",
            None => "",
        };
        Error::invalid(format!("`metadata.name` of the {kind} is missing{hint}"))
    })?;
    let namespace = text(manifest, "/metadata/namespace", "metadata.namespace")?;
    for (field, part) in [
        ("apiVersion", Some(group)),
        ("apiVersion", Some(version)),
        ("kind", Some(kind)),
        ("metadata.name", Some(name)),
        ("metadata.namespace", namespace),
    ] {
        if let Some(problem) = part.and_then(path_problem) {
            return Err(Error::invalid(format!("`{field}` is `{}`, which {problem}", part.unwrap_or_default())));
        }
    }
    Ok(ObjectKey {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        namespace: namespace.map(Into::into),
        name: name.into(),
    })
}

/// What a JSON value is, in words.
pub(crate) fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// The non-empty string at a place; null and "" count as missing, as they do for the API server.
fn text<'a>(manifest: &'a Value, pointer: &str, field: &str) -> Result<Option<&'a str>, Error> {
    match manifest.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Error::invalid(format!(
            "`{field}` is {} (`{other}`), expected a string\nhint: put it in quotes",
            shape(other)
        ))),
    }
}

/// Why a name cannot be one segment of a URL path. A name comes from an event, and must never lead to another resource.
fn path_problem(name: &str) -> Option<&'static str> {
    match name {
        "." | ".." => Some("names a folder"),
        _ if name.contains('/') => Some("contains `/`"),
        _ if name.contains('%') => Some("contains `%`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(cases: &[(Value, Result<&str, &str>)]) {
        for (manifest, expected) in cases {
            match (object_key(manifest), expected) {
                (Ok(key), Ok(text)) => assert_eq!(&key.to_string(), text, "{manifest}"),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{manifest} gave {error}")
                }
                (found, _) => panic!("{manifest} gave {found:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn a_manifest_names_its_object_or_says_what_is_missing() {
        check(&[
            (json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}), Ok("Namespace/a")),
            (
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}),
                Ok("apps Deployment/shop/web"),
            ),
            (json!({"kind": "Namespace", "metadata": {"name": "a"}}), Err("`apiVersion` is missing")),
            (json!({"apiVersion": "v1", "metadata": {"name": "a"}}), Err("`kind` is missing")),
            (json!({"apiVersion": "v1", "kind": "Namespace"}), Err("`metadata.name` of the Namespace is missing")),
            (json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-"}}), Err("generateName")),
            (json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": 7}}), Err("a number (`7`)")),
            (json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "../x"}}), Err("contains `/`")),
            (json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ".."}}), Err("names a folder")),
            (json!({"apiVersion": "a/b/c", "kind": "X", "metadata": {"name": "a"}}), Err("expected `GROUP/VERSION`")),
            (json!({"apiVersion": "v1", "kind": "X", "metadata": []}), Err("a list, expected a mapping")),
            (json!([]), Err("the manifest is a list")),
        ]);
    }

    #[test]
    fn keys_sort_and_read_back_as_written() {
        let key =
            object_key(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}})).unwrap();
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<ObjectKey>(&text).unwrap(), key);
        assert_eq!(key.api_version(), "apps/v1");
    }
}
