//! What types the fields of a kind have, as the OpenAPI v3 document of a cluster says.
//!
//! Start at [`Schema::fit`]. It gives each plain scalar of a manifest the type of its field. It is done where the manifest is
//! applied and not where it is rendered: rendering has to give the same in a replay, and what a cluster serves may have changed
//! since. Pure: who fetches documents, and keeps them, is in `cluster`.

use std::sync::Arc;

use serde_json::Value;

use crate::builtin::PathStep;
use crate::template::{Plain, at, put};

/// The most references that are followed from one field.
const REFERENCES_MAX: usize = 16;

/// The types of one kind.
#[derive(Debug, Clone)]
pub struct Schema {
    /// Where references lead.
    document: Arc<Value>,
    /// Where the kind is in it.
    pointer: String,
}

/// What a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Text,
    Integer,
    Number,
    Boolean,
    IntegerOrText,
}

impl Schema {
    /// The kind of this name in an OpenAPI v3 document of its group and version; `None` where it is not in it.
    #[must_use]
    pub fn of_document(document: &Arc<Value>, group: &str, version: &str, kind: &str) -> Option<Schema> {
        let is_it = |named: &Value| named["group"] == group && named["version"] == version && named["kind"] == kind;
        let schemas = document.pointer("/components/schemas")?.as_object()?;
        let (name, _) = schemas.iter().find(|(_, schema)| {
            schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|all| all.iter().any(is_it))
        })?;
        let pointer = format!("/components/schemas/{}", name.replace('~', "~0").replace('/', "~1"));
        Some(Schema { document: Arc::clone(document), pointer })
    }

    /// The kind of a CustomResourceDefinition, by the schema in it.
    #[must_use]
    pub fn of_definition(schema: Value) -> Schema {
        Schema { document: Arc::new(schema), pointer: String::new() }
    }

    /// Gives each scalar the type of its field, where that is known and the scalar can have it. One that is not as it was
    /// rendered any more (a patch changed it) stays as it is.
    pub fn fit(&self, manifest: &mut Value, plain: &[Plain]) {
        for scalar in plain {
            if at(manifest, &scalar.place) != Some(&scalar.untyped) {
                continue;
            }
            let typed = self.takes(&scalar.place).and_then(|takes| takes.value(scalar));
            if let Some(typed) = typed {
                put(manifest, &scalar.place, typed);
            }
        }
    }

    fn takes(&self, place: &[PathStep]) -> Option<Takes> {
        let root = self.document.pointer(&self.pointer)?;
        let field = place.iter().try_fold(root, |schema, step| self.step(schema, step))?;
        Takes::of(self.meant(field)?)
    }

    fn step<'s>(&'s self, schema: &'s Value, step: &PathStep) -> Option<&'s Value> {
        let schema = self.meant(schema)?;
        match step {
            PathStep::Field(name) => {
                let named = schema["properties"].get(name);
                named.or_else(|| schema.get("additionalProperties").filter(|any| any.is_object()))
            }
            PathStep::Item(_) => schema.get("items"),
        }
    }

    /// The schema that one refers to: as `$ref`, or as the only one in `allOf`, which is how a default is put beside it.
    fn meant<'s>(&'s self, mut schema: &'s Value) -> Option<&'s Value> {
        for _ in 0..REFERENCES_MAX {
            let only = schema["allOf"].as_array().filter(|all| all.len() == 1 && schema.get("type").is_none());
            if let Some([only]) = only.map(Vec::as_slice) {
                schema = only;
            } else if let Some(reference) = schema["$ref"].as_str() {
                schema = self.document.pointer(reference.strip_prefix('#')?)?;
            } else {
                return Some(schema);
            }
        }
        None
    }
}

impl Takes {
    fn of(schema: &Value) -> Option<Takes> {
        if schema["x-kubernetes-int-or-string"] == true || schema["format"] == "int-or-string" {
            return Some(Takes::IntegerOrText);
        }
        match schema["type"].as_str()? {
            "string" => Some(Takes::Text),
            "integer" => Some(Takes::Integer),
            "number" => Some(Takes::Number),
            "boolean" => Some(Takes::Boolean),
            _ => None,
        }
    }

    /// A scalar as a value of this type; `None` where it cannot be one, for the cluster to refuse, or is one.
    fn value(self, scalar: &Plain) -> Option<Value> {
        let text = || Value::String(scalar.spelled.clone());
        let read = scalar.read.clone();
        match self {
            Takes::Text => Some(text()),
            Takes::Integer => read.filter(|read| read.is_i64() || read.is_u64()),
            Takes::Number => read.filter(Value::is_number),
            Takes::Boolean => read.filter(Value::is_boolean),
            // A number is one, however it is written. Of a string only what JSON would write so: `010` is not 8.
            Takes::IntegerOrText => match &scalar.untyped {
                Value::String(_) => {
                    let written = read.as_ref().map(Value::to_string);
                    read.filter(|read| (read.is_i64() || read.is_u64()) && written.as_ref() == Some(&scalar.spelled))
                }
                Value::Number(_) => None,
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Some(text()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::{Data, Dialect, Template};

    fn schema() -> Schema {
        let spec = json!({
            "type": "object",
            "properties": {
                "user": {"type": "string"},
                "users": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
                "replicas": {"type": "integer"},
                "weight": {"type": "number"},
                "paused": {"type": "boolean"},
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "env": {"type": "object", "additionalProperties": {"type": "string"}},
                "image": {"allOf": [{"$ref": "#/components/schemas/image"}], "default": {}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "loop": {"$ref": "#/components/schemas/loop"},
            },
        });
        let kind = json!({
            "type": "object",
            "properties": {"spec": spec},
            "x-kubernetes-group-version-kind": [{"group": "x.dev", "version": "v1", "kind": "X"}],
        });
        let document = json!({"components": {"schemas": {
            "dev.x/v1.X": kind,
            "image": {"type": "object", "properties": {"tag": {"type": "string"}}},
            "loop": {"$ref": "#/components/schemas/loop"},
        }}});
        let document = Arc::new(document);
        assert!(Schema::of_document(&document, "x.dev", "v2", "X").is_none());
        Schema::of_document(&document, "x.dev", "v1", "X").expect("it is in the document")
    }

    /// What `{{ .v }}` at a place of the spec becomes.
    #[track_caller]
    fn check(place: &str, value: &Value, expected: &Value) {
        let (head, tail) = match place.rsplit_once('/') {
            Some((parents, last)) => {
                let opened: String = parents.split('/').map(|parent| format!("{parent}: {{")).collect();
                (format!("{opened}{last}: "), "}".repeat(parents.split('/').count()))
            }
            None => (format!("{place}: "), String::new()),
        };
        let source = format!("apiVersion: x.dev/v1\nkind: X\nspec: {{{head}{{{{ .v }}}} {tail}}}\n");
        let values = json!({"v": value});
        let data = Data { values: &values, recorded_at_unix_nanos: 0 };
        let template = Template::compile(Dialect::Go, "t", &source).expect("it is a template");
        let mut object = template.render_objects(&data).expect(&source).remove(0);
        schema().fit(&mut object.value, &object.plain);
        let pointer = format!("/spec/{place}");
        assert_eq!(object.value.pointer(&pointer), Some(expected), "{value} at {place}");
    }

    #[test]
    fn a_value_has_the_type_that_the_schema_says() {
        for text in ["1234", "1.10", "true", "null", "2026-11-22", "1e3", "0x10", "yes", "~", "010", ".inf"] {
            for place in ["user", "env/A", "image/tag", "free/any", "unknown"] {
                check(place, &json!(text), &json!(text));
            }
        }
        for (place, value, expected) in [
            ("user", json!(1234), json!("1234")),
            ("user", json!(true), json!("true")),
            ("env/A", json!(2.5), json!("2.5")),
            ("image/tag", json!(7), json!("7")),
            ("replicas", json!("3"), json!(3)),
            ("replicas", json!(3), json!(3)),
            ("replicas", json!("2.5"), json!("2.5")),
            ("replicas", json!("three"), json!("three")),
            ("weight", json!("2.5"), json!(2.5)),
            ("paused", json!("true"), json!(true)),
            ("paused", json!("1"), json!("1")),
            ("port", json!("8080"), json!(8080)),
            ("port", json!("http"), json!("http")),
            ("port", json!("010"), json!("010")),
            ("port", json!(8080), json!(8080)),
            // Nothing is known of these: a value is what it is in the event.
            ("free/any", json!(3), json!(3)),
            ("unknown", json!(3), json!(3)),
            ("loop", json!(3), json!(3)),
            ("image", json!(3), json!(3)),
        ] {
            check(place, &value, &expected);
        }
    }

    #[test]
    fn items_of_lists_and_what_the_author_wrote_have_types_too() {
        let source = "apiVersion: x.dev/v1\nkind: X\nspec:\n  user: 1.10\n  users: [{name: yes}, {name: \"1\"}]\n  replicas: 2\n  port: 1_0\n";
        let mut object = crate::template::parse_objects("m", source).unwrap().remove(0);
        schema().fit(&mut object.value, &object.plain);
        let expected = json!({"user": "1.10", "users": [{"name": "yes"}, {"name": "1"}], "replicas": 2, "port": 10});
        assert_eq!(object.value["spec"], expected);
    }

    #[test]
    fn what_a_patch_changed_stays_as_the_patch_has_it() {
        let source = "apiVersion: x.dev/v1\nkind: X\nspec: {user: 7}\n";
        let mut object = crate::template::parse_objects("m", source).unwrap().remove(0);
        for patched in [json!(8), json!({"a": 7}), Value::Null] {
            object.value["spec"]["user"] = patched.clone();
            schema().fit(&mut object.value, &object.plain);
            assert_eq!(object.value["spec"]["user"], patched);
        }
    }
}
