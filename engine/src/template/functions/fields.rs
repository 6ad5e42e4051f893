//! What Sveltos adds for resources, as functions of a map: fields by their path, such as `spec.replicas`.
//!
//! Start at [`FUNCTIONS`]. As in Sveltos when an event is rendered, the first argument is a map. Where it is written as the
//! identifier of a `templateResourceRefs` entry, as in Sveltos when content is deployed, the template is read as if it were
//! `$.MgmtResources.ID`. Values here never change, so a map that is given stays as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value;

use super::yaml::yaml_of;
use super::{Answer, Function, described, expect_text, map, string};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("getResource", 1, |a| Ok(Value::Map(reset(object(&a[0])?)))),
    Function::exactly("copy", 1, |a| written(object(&a[0])?)),
    Function::exactly("getField", 2, get_field),
    Function::exactly("setField", 3, |a| written(&set(a)?)),
    Function::exactly("removeField", 2, |a| written(&removed(a)?)),
    Function::exactly("chainSetField", 3, |a| set(a).map(Value::Map)),
    Function::exactly("chainRemoveField", 2, |a| removed(a).map(Value::Map)),
];

type Object = Arc<BTreeMap<Arc<str>, Value>>;

/// What the API server keeps in `metadata`, and what has no place in another object.
const RESET: [&str; 3] = ["managedFields", "resourceVersion", "uid"];

fn object(value: &Value) -> Result<&Object, String> {
    match value {
        Value::Map(map) => Ok(map),
        Value::String(name) => Err(format!(
            "wants a map such as `.CloudEvent.data`, not the string `{}`: an object of `spec.templateResourceRefs` is called \
             by its identifier as it is written there, such as `getResource \"ID\"`",
            super::super::error::shortened(name)
        )),
        other => Err(format!("wants a map such as `.CloudEvent.data`, not {}", described(other))),
    }
}

fn path(value: &Value) -> Result<Vec<&str>, String> {
    Ok(expect_text(value)?.split('.').collect())
}

/// The object as text, without what the API server keeps in it.
fn written(object: &Object) -> Answer {
    yaml_of(&Value::Map(reset(object))).map(string)
}

fn reset(object: &Object) -> Object {
    let Some(Value::Map(metadata)) = object.get("metadata") else { return Arc::clone(object) };
    let kept = metadata.iter().filter(|(name, _)| !RESET.contains(&&***name));
    let metadata = map(kept.map(|(name, value)| (Arc::clone(name), value.clone())));
    let mut object = BTreeMap::clone(object);
    object.insert("metadata".into(), metadata);
    Arc::new(object)
}

/// The empty string where there is no such field, as in Sveltos.
fn get_field(arguments: &[Value]) -> Answer {
    let mut here = Value::Map(Arc::clone(object(&arguments[0])?));
    for name in path(&arguments[1])? {
        let next = match &here {
            Value::Map(map) => map.get(name).cloned(),
            _ => None,
        };
        let Some(next) = next else { return Ok(string("")) };
        here = next;
    }
    Ok(here)
}

/// The object with a field set; the maps on the way are made where they are missing. Sveltos gives the empty string where one
/// of them is no map, so that nothing is applied; here that is an error.
fn set(arguments: &[Value]) -> Result<Object, String> {
    fn within(object: &Object, path: &[&str], value: &Value) -> Result<Object, String> {
        let [name, rest @ ..] = path else { return Ok(Arc::clone(object)) };
        let value = match (rest, object.get(*name)) {
            ([], _) => value.clone(),
            (_, None) => Value::Map(within(&Arc::default(), rest, value)?),
            (_, Some(Value::Map(inner))) => Value::Map(within(inner, rest, value)?),
            (_, Some(other)) => {
                return Err(format!("`{name}` is {}, and has no field `{}`", described(other), rest[0]));
            }
        };
        let mut object = BTreeMap::clone(object);
        object.insert((*name).into(), value);
        Ok(Arc::new(object))
    }
    within(object(&arguments[0])?, &path(&arguments[1])?, &arguments[2])
}

/// The object without a field; one that is not there makes no difference.
fn removed(arguments: &[Value]) -> Result<Object, String> {
    fn within(object: &Object, path: &[&str]) -> Object {
        let mut changed = BTreeMap::clone(object);
        match path {
            [] => {}
            [name] => _ = changed.remove(*name),
            [name, rest @ ..] => {
                if let Some(Value::Map(inner)) = changed.get_mut(*name) {
                    *inner = within(inner, rest);
                }
            }
        }
        Arc::new(changed)
    }
    Ok(within(object(&arguments[0])?, &path(&arguments[1])?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::{Data, Dialect, Template};

    fn rendered(source: &str) -> Result<String, String> {
        let values = json!({"n": "eng", "l": ["p", "q"], "o": {
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "web", "uid": "u", "resourceVersion": "7", "managedFields": [{"manager": "m"}],
                "labels": {"team": "core", "tier": "front"},
            },
            "spec": {"ports": [{"port": 80, "name": "http"}], "type": "ClusterIP"},
        }});
        let data = Data { values: &values, recorded_at_unix_nanos: 0 };
        let template = Template::compile(Dialect::Go, "case", source).map_err(|error| error.to_string())?;
        template.render_text(&data).map_err(|error| error.to_string())
    }

    /// `sveltos.json` holds pairs of a template and what Go 1.26 rendered with the functions of Sveltos' event-manager, written
    /// over k8s.io/apimachinery 0.37.2 (`unstructured`) and gopkg.in/yaml.v2, for this data.
    #[test]
    fn functions_answer_as_those_of_sveltos_do() {
        let cases: Vec<(String, String)> = serde_json::from_str(include_str!("sveltos.json")).unwrap();
        assert!(cases.len() > 20);
        for (source, expected) in &cases {
            assert_eq!(rendered(source).as_ref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn what_is_not_done_says_what_to_write() {
        #[track_caller]
        fn check(source: &str, expected: &str) {
            let error = rendered(source).expect_err(source);
            assert!(error.contains(expected), "{error}");
        }
        check("{{ getField .n \"spec\" }}", "called by its identifier as it is written there");
        check("{{ getField \"Deployment\" \"spec\" }}", "MgmtResources");
        check("{{ copy .l }}", "wants a map such as `.CloudEvent.data`, not a list");
        check("{{ setField .o \"kind.x\" 1 }}", "`kind` is the string `Service`, and has no field `x`");
        check("{{ fromJsonArray \"{}\" }}", "wants a list, not a dict");
        check("{{ fromYamlArray \"a: b\" }}", "wants a list, not a dict");
    }
}
