//! `patches`: changes to rendered manifests, as JSON Patch (RFC 6902) or as a strategic merge patch.
//!
//! Start at [`Patch::apply`]. As kustomize does it, which Sveltos uses: the fields of a target are unanchored regular
//! expressions, one patch is applied after the other, and `remove` of what is not there makes no difference. The text of a patch
//! may be a template of `.Cluster`; as in Sveltos it does not see the event, so no event can change what a patch does.

use serde_json::{Map, Value};

use super::selector_text::selector;
use crate::builtin;
use crate::rules::decide::pattern::Pattern;
use crate::rules::read::spec::{LabelSelector, PatchSpec, TargetSpec};
use crate::template;

/// A patch, ready to be applied.
#[derive(Debug)]
pub(in crate::rules) struct Patch {
    target: Target,
    change: Change,
}

#[derive(Debug)]
enum Change {
    Json(json_patch::Patch),
    Merge(Value),
}

#[derive(Debug)]
enum Target {
    Selected(Box<Selected>),
    /// What a strategic merge patch names.
    Named([(Part, String); 5]),
}

/// What a target asks for.
#[derive(Debug)]
struct Selected {
    patterns: [(Part, Pattern); 5],
    labels: LabelSelector,
    annotations: LabelSelector,
}

/// What of a manifest says which it is.
#[derive(Debug, Clone, Copy)]
enum Part {
    Group,
    Version,
    Kind,
    Namespace,
    Name,
}

impl Part {
    fn of(self, manifest: &Value) -> &str {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
        match self {
            Part::Group => group,
            Part::Version => version,
            Part::Kind => text("/kind"),
            Part::Namespace => text("/metadata/namespace"),
            Part::Name => text("/metadata/name"),
        }
    }
}

impl PatchSpec {
    /// The patch with its text rendered as `text`.
    ///
    /// # Errors
    /// Why it is none, on one line.
    pub(in crate::rules) fn read(&self, text: &str) -> Result<Patch, String> {
        let change = Change::read(text)?;
        let target = match (&self.target, &change) {
            (Some(target), _) => Target::read(target)?,
            (None, Change::Merge(patch)) => {
                let parts = [Part::Group, Part::Version, Part::Kind, Part::Namespace, Part::Name];
                if Part::Kind.of(patch).is_empty() || Part::Name.of(patch).is_empty() {
                    return Err(
                        "a strategic merge patch without `target` needs `apiVersion`, `kind` and `metadata.name`"
                            .into(),
                    );
                }
                Target::Named(parts.map(|part| (part, part.of(patch).to_owned())))
            }
            (None, Change::Json(_)) => return Err("a JSON patch needs a `target`".into()),
        };
        Ok(Patch { target, change })
    }
}

impl Target {
    fn read(written: &TargetSpec) -> Result<Target, String> {
        let TargetSpec { group, version, kind, namespace, name, label_selector, annotation_selector } = written;
        let pattern = |part: Part, field: &str, text: &str| match Pattern::parse(text) {
            Ok(pattern) => Ok((part, pattern)),
            Err(reason) => Err(format!("`target.{field}` is `{text}`, no regular expression: {reason}")),
        };
        let patterns = [
            pattern(Part::Group, "group", group)?,
            pattern(Part::Version, "version", version)?,
            pattern(Part::Kind, "kind", kind)?,
            pattern(Part::Namespace, "namespace", namespace)?,
            pattern(Part::Name, "name", name)?,
        ];
        let labels = selector(label_selector).map_err(|reason| format!("`target.labelSelector`: {reason}"))?;
        let annotations =
            selector(annotation_selector).map_err(|reason| format!("`target.annotationSelector`: {reason}"))?;
        Ok(Target::Selected(Box::new(Selected { patterns, labels, annotations })))
    }

    fn matches(&self, manifest: &Value) -> bool {
        match self {
            Target::Named(parts) => parts.iter().all(|(part, text)| part.of(manifest) == text),
            Target::Selected(selected) => {
                let Selected { patterns, labels, annotations } = &**selected;
                let entries = |field: &str| {
                    let map = manifest["metadata"][field].as_object().into_iter().flatten();
                    map.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
                };
                patterns.iter().all(|(part, pattern)| pattern.matches(part.of(manifest)))
                    && labels.matches(&entries("labels"))
                    && annotations.matches(&entries("annotations"))
            }
        }
    }
}

impl Change {
    fn read(text: &str) -> Result<Change, String> {
        let value = template::parse_value(text)?;
        match value {
            Value::Array(_) => {
                let patch = serde_json::from_value(value).map_err(|error| format!("it is no JSON patch: {error}"))?;
                Ok(Change::Json(patch))
            }
            Value::Object(_) => Ok(Change::Merge(value)),
            _ => Err("expected a list of operations (RFC 6902) or a strategic merge patch".into()),
        }
    }
}

impl Patch {
    /// Changes a manifest that it is for; says whether it was.
    ///
    /// # Errors
    /// Why an operation cannot be done; the manifest should not be used then.
    pub(in crate::rules) fn apply(&self, manifest: &mut Value) -> Result<bool, String> {
        if !self.target.matches(manifest) {
            return Ok(false);
        }
        match &self.change {
            Change::Json(patch) => {
                for (index, operation) in patch.iter().enumerate() {
                    if let json_patch::PatchOperation::Remove(remove) = operation
                        && remove.path.resolve(manifest).is_err()
                    {
                        continue;
                    }
                    // Each is applied by itself, so only here is known which of the list it is.
                    json_patch::patch(manifest, std::slice::from_ref(operation)).map_err(|error| {
                        let json_patch::PatchError { path, kind, .. } = error;
                        format!("operation '/{index}' failed at path '{path}': {kind}")
                    })?;
                }
            }
            Change::Merge(patch) => {
                let is_known =
                    builtin::kind(Part::Group.of(manifest), Part::Version.of(manifest), Part::Kind.of(manifest));
                let merged = merge("", manifest, patch, is_known.is_some());
                *manifest = merged
                    .ok_or("`$patch: delete` of a whole manifest is not possible: leave it out of the template")?;
            }
        }
        let is_manifest =
            manifest.is_object() && !Part::Kind.of(manifest).is_empty() && !Part::Name.of(manifest).is_empty();
        if is_manifest { Ok(true) } else { Err("what it leaves has no `kind` or no `metadata.name`".into()) }
    }
}

/// The fields whose lists are merged item by item, with the field that tells items apart: `patchMergeKey` of the types of
/// Kubernetes. The first that all items have is used.
const MERGE_KEYS: &[(&str, &[&str])] = &[
    ("conditions", &["type"]),
    ("containers", &["name"]),
    ("env", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("ownerReferences", &["uid"]),
    ("ports", &["containerPort", "port"]),
    ("secrets", &["name"]),
    ("topologySpreadConstraints", &["topologyKey"]),
    ("volumeDevices", &["devicePath"]),
    ("volumeMounts", &["mountPath"]),
    ("volumes", &["name"]),
    ("webhooks", &["name"]),
];

/// In a map of a patch: what is done with what is there.
const DIRECTIVE: &str = "$patch";

/// What is there after a strategic merge patch; `None` where it is taken away. Lists of kinds that are not built in are replaced.
fn merge(field: &str, there: &Value, patch: &Value, is_known: bool) -> Option<Value> {
    match (there, patch) {
        (_, Value::Null) => None,
        (_, Value::Object(patch)) => {
            let directive = patch.get(DIRECTIVE).and_then(Value::as_str);
            let none = Map::new();
            let mut merged = match (directive, there.as_object()) {
                (Some("delete"), _) => return None,
                (Some("replace"), _) | (_, None) => none,
                (_, Some(there)) => there.clone(),
            };
            for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
                match merge(name, merged.get(name).unwrap_or(&Value::Null), value, is_known) {
                    Some(value) => _ = merged.insert(name.clone(), value),
                    None => _ = merged.remove(name),
                }
            }
            Some(Value::Object(merged))
        }
        (there, Value::Array(patch)) => {
            let there = there.as_array().map(Vec::as_slice).unwrap_or_default();
            match key_of(field, there, patch).filter(|_| is_known) {
                Some(key) => Some(Value::Array(merge_list(key, there, patch))),
                None => Some(Value::Array(
                    patch.iter().filter_map(|item| merge("", &Value::Null, item, is_known)).collect(),
                )),
            }
        }
        (_, value) => Some(value.clone()),
    }
}

fn key_of(field: &str, there: &[Value], patch: &[Value]) -> Option<&'static str> {
    let (_, keys) = MERGE_KEYS.iter().find(|(name, _)| *name == field)?;
    let has =
        |key: &str| there.iter().chain(patch).all(|item| item.get(key).is_some() || item.get(DIRECTIVE).is_some());
    keys.iter().copied().find(|key| has(key))
}

/// New items come first, as kustomize puts them.
fn merge_list(key: &str, there: &[Value], patch: &[Value]) -> Vec<Value> {
    let is_replaced =
        |item: &Value| item.get(DIRECTIVE).is_some_and(|word| word == "replace") && item.get(key).is_none();
    let there = if patch.iter().any(is_replaced) { &[] } else { there };
    let patch: Vec<&Value> = patch.iter().filter(|item| !is_replaced(item)).collect();
    let change = |item: &Value| patch.iter().find(|change| change.get(key) == item.get(key));
    let new = patch.iter().filter(|change| !there.iter().any(|item| item.get(key) == change.get(key)));
    let new = new.filter_map(|change| merge("", &Value::Null, change, true));
    let kept = there.iter().filter_map(|item| match change(item) {
        Some(change) => merge("", item, change, true),
        None => Some(item.clone()),
    });
    new.chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web-1", "namespace": "eng", "labels": {"app": "web", "tier": "front"}},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [
                {"name": "a", "image": "a:1", "args": ["x"], "ports": [{"containerPort": 80, "name": "http"}]},
                {"name": "b", "image": "b:1"},
            ]}}},
        })
    }

    #[track_caller]
    fn check(target: Option<Value>, text: &str, expected: Result<&[(&str, Value)], &str>) {
        let target = target.map(|target| serde_json::from_value(target).expect("a target"));
        let mut manifest = deployment();
        let spec = PatchSpec { patch: text.to_owned(), target };
        let applied = spec.read(text).and_then(|patch| patch.apply(&mut manifest));
        match (applied, expected) {
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (Ok(false), Ok(places)) => assert_eq!((places.len(), &manifest), (0, &deployment()), "not for it: {text}"),
            (Ok(true), Ok(places)) => {
                assert!(!places.is_empty(), "applied: {manifest}");
                for (pointer, value) in places {
                    assert_eq!(manifest.pointer(pointer).unwrap_or(&Value::Null), value, "{pointer} in {manifest}");
                }
            }
            (other, _) => panic!("{other:?}"),
        }
    }

    #[test]
    fn json_patches_are_applied_in_order_and_remove_nothing_that_is_not_there() {
        let all = Some(json!({}));
        check(all.clone(), "- {op: replace, path: /spec/replicas, value: 3}", Ok(&[("/spec/replicas", json!(3))]));
        let two = "- op: add\n  path: /metadata/labels/team\n  value: core\n- op: remove\n  path: /metadata/labels/tier\n- op: remove\n  path: /spec/absent/deep\n";
        let places = [("/metadata/labels", json!({"app": "web", "team": "core"}))];
        check(all.clone(), two, Ok(&places));
        check(all.clone(), r#"[{"op": "test", "path": "/spec/replicas", "value": 2}]"#, Err("value did not match"));
        check(all.clone(), "- {op: replace, path: /spec/absent, value: 3}", Err("path is invalid"));
        // The operation is named by its place in the list, whatever stands before it.
        let second = "- {op: remove, path: /spec/absent}\n- {op: replace, path: /spec/gone, value: 3}";
        check(all.clone(), second, Err("operation '/1' failed at path '/spec/gone': path is invalid"));
        check(all.clone(), "- {op: chnage, path: /spec}", Err("it is no JSON patch"));
        check(all.clone(), "- {op: remove, path: /kind}", Err("has no `kind`"));
        check(all, "text", Err("expected a list of operations"));
        check(None, "- {op: remove, path: /spec}", Err("needs a `target`"));
    }

    #[test]
    fn targets_are_unanchored_expressions_and_selectors() {
        let set = "- {op: replace, path: /spec/replicas, value: 3}";
        let hit: &[_] = &[("/spec/replicas", json!(3))];
        let miss = &hit[..0];
        check(Some(json!({"kind": "Deploy", "name": "web", "group": "apps", "version": "v1"})), set, Ok(hit));
        check(Some(json!({"name": "^web-[0-9]$", "namespace": "eng"})), set, Ok(hit));
        check(Some(json!({"name": "^web$"})), set, Ok(miss));
        check(Some(json!({"kind": "Service"})), set, Ok(miss));
        check(Some(json!({"labelSelector": "app=web,tier!=back"})), set, Ok(hit));
        check(Some(json!({"labelSelector": "app in (api, web), tier, !gone"})), set, Ok(hit));
        check(Some(json!({"labelSelector": "app notin (web)"})), set, Ok(miss));
        check(Some(json!({"annotationSelector": "a=b"})), set, Ok(miss));
        check(Some(json!({"name": "web("})), set, Err("no regular expression"));
        check(Some(json!({"labelSelector": "app ~ web"})), set, Err("`target.labelSelector`"));
    }

    #[test]
    fn strategic_merge_patches_merge_lists_by_key_and_take_away_what_is_null() {
        let containers = "/spec/template/spec/containers";
        let patch = "spec:\n  replicas: null\n  template:\n    spec:\n      containers:\n      - name: b\n        image: b:2\n      - name: c\n        image: c:1\n";
        let a = deployment().pointer(containers).expect("containers")[0].clone();
        let expected = json!([{"name": "c", "image": "c:1"}, a, {"name": "b", "image": "b:2"}]);
        check(
            Some(json!({"kind": "Deployment"})),
            patch,
            Ok(&[(containers, expected), ("/spec/replicas", Value::Null)]),
        );
        let gone = "spec: {template: {spec: {containers: [{name: a, $patch: delete}]}}}";
        check(Some(json!({})), gone, Ok(&[(containers, json!([{"name": "b", "image": "b:1"}]))]));
        let replaced = "spec: {template: {spec: {containers: [{$patch: replace}, {name: z}]}}}";
        check(Some(json!({})), replaced, Ok(&[(containers, json!([{"name": "z"}]))]));
        let args = "spec: {template: {spec: {containers: [{name: a, args: [w]}]}}}";
        check(Some(json!({})), args, Ok(&[("/spec/template/spec/containers/0/args", json!(["w"]))]));
        let named =
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web-1, namespace: eng}\nspec: {replicas: 2}\n";
        check(None, named, Ok(&[("/spec/replicas", json!(2))]));
        check(None, &named.replace("web-1", "web-2"), Ok(&[]));
        check(None, "spec: {replicas: 2}", Err("without `target` needs"));
        check(Some(json!({})), "$patch: delete", Err("leave it out of the template"));
    }

    #[test]
    fn lists_of_other_kinds_are_replaced() {
        let mut manifest =
            json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "env": [{"name": "a"}]});
        let spec = PatchSpec { patch: String::new(), target: Some(TargetSpec::default()) };
        let patch = spec.read("env: [{name: b}]").expect("a patch");
        assert_eq!(patch.apply(&mut manifest), Ok(true));
        assert_eq!(manifest["env"], json!([{"name": "b"}]));
    }
}
