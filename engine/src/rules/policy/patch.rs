//! `patches`: changes to rendered manifests, as JSON Patch (RFC 6902) or as a strategic merge patch.
//!
//! Start at [`Patch::apply`]. As kustomize does it, which Sveltos uses: the fields of a target are unanchored regular
//! expressions, one patch is applied after the other, `remove` of what is not there makes no difference, and a strategic merge
//! patch never makes another object of what it is for (a JSON patch that names `/metadata/name` or `/kind` does). The text of a
//! patch may be a template of `.Cluster`; as in Sveltos it does not see the event, so no event can change what a patch does.
//!
//! A plain scalar of a patch has the type of its field, as one of a template does: see [`Marks`].

use serde_json::{Map, Value};

use super::selector_text::selector;
use crate::builtin;
use crate::rules::decide::pattern::Pattern;
use crate::rules::read::spec::{LabelSelector, PatchSpec, TargetSpec};
use crate::template::{self, Marks, Object, Plain};

/// A patch, ready to be applied.
#[derive(Debug)]
pub(in crate::rules) struct Patch {
    target: Target,
    change: Change,
}

#[derive(Debug)]
enum Change {
    /// A list of operations that has been read once as such.
    Json(Object),
    Merge(Object),
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
            (None, Change::Merge(Object { value: patch, .. })) => {
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
        let part = template::parse_part(text)?;
        match &part.value {
            Value::Array(_) => {
                operations(part.value.clone())?;
                Ok(Change::Json(part))
            }
            Value::Object(_) => Ok(Change::Merge(part)),
            _ => Err("expected a list of operations (RFC 6902) or a strategic merge patch".into()),
        }
    }
}

fn operations(value: Value) -> Result<json_patch::Patch, String> {
    serde_json::from_value(value).map_err(|error| format!("it is no JSON patch: {error}"))
}

impl Patch {
    /// Changes a manifest that it is for, and what is noted of its plain scalars; says whether it was.
    ///
    /// # Errors
    /// Why an operation cannot be done; the manifest should not be used then.
    pub(in crate::rules) fn apply(&self, manifest: &mut Value, plain: &mut Vec<Plain>) -> Result<bool, String> {
        if !self.target.matches(manifest) {
            return Ok(false);
        }
        let (Change::Json(change) | Change::Merge(change)) = &self.change;
        let mut marks = Marks::new([manifest, &change.value]);
        let patch = marks.mark(change.clone());
        let is_known = builtin::kind(Part::Group.of(manifest), Part::Version.of(manifest), Part::Kind.of(manifest));
        let is_known = is_known.is_some();
        let marked = marks.mark(Object { value: manifest.take(), plain: std::mem::take(plain) });
        let changed = match &self.change {
            Change::Json(_) => operate(marked, &operations(patch)?, &marks)?,
            Change::Merge(_) => {
                let merged = Merge { marks: &marks, is_known }.merge("", &marked, &patch);
                let merged = merged
                    .ok_or("`$patch: delete` of a whole manifest is not possible: leave it out of the template")?;
                with_identity_of(&marked, merged)
            }
        };
        let changed = marks.settle(changed);
        (*manifest, *plain) = (changed.value, changed.plain);
        let is_manifest =
            manifest.is_object() && !Part::Kind.of(manifest).is_empty() && !Part::Name.of(manifest).is_empty();
        if is_manifest { Ok(true) } else { Err("what it leaves has no `kind` or no `metadata.name`".into()) }
    }
}

/// What is there after these operations.
fn operate(mut manifest: Value, operations: &json_patch::Patch, marks: &Marks) -> Result<Value, String> {
    use json_patch::PatchOperation;
    for (index, operation) in operations.iter().enumerate() {
        let makes_no_difference = match operation {
            PatchOperation::Remove(remove) => remove.path.resolve(&manifest).is_err(),
            // A test that fails is left to be refused below.
            PatchOperation::Test(test) => {
                test.path.resolve(&manifest).is_ok_and(|there| marks.is_same(there, &test.value))
            }
            PatchOperation::Add(_) | PatchOperation::Replace(_) | PatchOperation::Move(_) | PatchOperation::Copy(_) => {
                false
            }
        };
        if makes_no_difference {
            continue;
        }
        // Each is applied by itself, so only here is known which of the list it is.
        json_patch::patch(&mut manifest, std::slice::from_ref(operation)).map_err(|error| {
            let json_patch::PatchError { path, kind, .. } = error;
            format!("operation '/{index}' failed at path '{path}': {kind}")
        })?;
    }
    Ok(manifest)
}

/// What a strategic merge patch makes of a manifest is the same object. With a target, what the patch says of kind and name
/// is a placeholder. kustomize lets `apiVersion` through, which makes objects of a kind that there is not.
fn with_identity_of(before: &Value, mut after: Value) -> Value {
    let keep = |field: &str, before: &Value, after: &mut Map<String, Value>| match before.get(field) {
        Some(value) => _ = after.insert(field.to_owned(), value.clone()),
        None => _ = after.remove(field),
    };
    if let Some(after) = after.as_object_mut() {
        ["apiVersion", "kind"].iter().for_each(|field| keep(field, before, after));
        let metadata = after.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            ["name", "namespace"].iter().for_each(|field| keep(field, &before["metadata"], metadata));
        }
    }
    after
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

/// A strategic merge.
#[derive(Clone, Copy)]
struct Merge<'m> {
    marks: &'m Marks,
    /// Whether the kind is built in. Lists of other kinds are replaced.
    is_known: bool,
}

impl Merge<'_> {
    /// What is there after a patch; `None` where it is taken away.
    fn merge(self, field: &str, there: &Value, patch: &Value) -> Option<Value> {
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
                    match self.merge(name, merged.get(name).unwrap_or(&Value::Null), value) {
                        Some(value) => _ = merged.insert(name.clone(), value),
                        None => _ = merged.remove(name),
                    }
                }
                Some(Value::Object(merged))
            }
            (there, Value::Array(patch)) => {
                let there = there.as_array().map(Vec::as_slice).unwrap_or_default();
                match key_of(field, there, patch).filter(|_| self.is_known) {
                    Some(key) => Some(Value::Array(self.merge_list(key, there, patch))),
                    None => {
                        let items = patch.iter().filter_map(|item| self.merge("", &Value::Null, item));
                        Some(Value::Array(items.collect()))
                    }
                }
            }
            (_, value) => Some(value.clone()),
        }
    }

    /// New items come first, as kustomize puts them.
    fn merge_list(self, key: &str, there: &[Value], patch: &[Value]) -> Vec<Value> {
        let is_replaced =
            |item: &Value| item.get(DIRECTIVE).is_some_and(|word| word == "replace") && item.get(key).is_none();
        let there = if patch.iter().any(is_replaced) { &[] } else { there };
        let patch: Vec<&Value> = patch.iter().filter(|item| !is_replaced(item)).collect();
        let is_for = |change: &Value, item: &Value| match (change.get(key), item.get(key)) {
            (Some(one), Some(other)) => self.marks.is_same(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let change = |item: &Value| patch.iter().find(|change| is_for(change, item));
        let new = patch.iter().filter(|change| !there.iter().any(|item| is_for(change, item)));
        let new = new.filter_map(|change| self.merge("", &Value::Null, change));
        let kept = there.iter().filter_map(|item| match change(item) {
            Some(change) => self.merge("", item, change),
            None => Some(item.clone()),
        });
        new.chain(kept).collect()
    }
}

fn key_of(field: &str, there: &[Value], patch: &[Value]) -> Option<&'static str> {
    let (_, keys) = MERGE_KEYS.iter().find(|(name, _)| *name == field)?;
    let has =
        |key: &str| there.iter().chain(patch).all(|item| item.get(key).is_some() || item.get(DIRECTIVE).is_some());
    keys.iter().copied().find(|key| has(key))
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
        check_on(&deployment(), target, text, expected);
    }

    #[track_caller]
    fn check_on(before: &Value, target: Option<Value>, text: &str, expected: Result<&[(&str, Value)], &str>) {
        let target = target.map(|target| serde_json::from_value(target).expect("a target"));
        let mut manifest = before.clone();
        let spec = PatchSpec { patch: text.to_owned(), target };
        let applied = spec.read(text).and_then(|patch| patch.apply(&mut manifest, &mut Vec::new()));
        match (applied, expected) {
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (Ok(false), Ok(places)) => assert_eq!((places.len(), &manifest), (0, before), "not for it: {text}"),
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
    fn a_merge_with_a_target_changes_no_identity() {
        let same = [
            ("/apiVersion", json!("apps/v1")),
            ("/kind", json!("Deployment")),
            ("/metadata/name", json!("web-1")),
            ("/metadata/namespace", json!("eng")),
        ];
        for (text, pointer, value) in [
            ("metadata: {name: not-used, labels: {env: prod}}", "/metadata/labels/env", json!("prod")),
            ("kind: Namespace\napiVersion: v1\nmetadata: {name: n, labels: {a: b}}", "/metadata/labels/a", json!("b")),
            ("metadata: {namespace: other}\nspec: {replicas: 2}", "/spec/replicas", json!(2)),
            ("metadata: {name: null, namespace: null, labels: null}", "/metadata/labels", Value::Null),
            ("{kind: null, apiVersion: null, metadata: null}", "/metadata/labels", Value::Null),
            ("metadata: {$patch: replace, labels: {a: b}}", "/metadata/labels", json!({"a": "b"})),
            ("{$patch: replace, kind: X, metadata: {name: x}, spec: {replicas: 2}}", "/spec", json!({"replicas": 2})),
        ] {
            let places = [same.as_slice(), &[(pointer, value)]].concat();
            check(Some(json!({"kind": "Deployment"})), text, Ok(&places));
        }
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-zoe"}});
        let moved = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: not-used, namespace: other}\n";
        check_on(&namespace, Some(json!({})), moved, Ok(&[("", namespace.clone())]));
        check(Some(json!({})), "metadata: text", Err("has no `kind` or no `metadata.name`"));
        // A JSON patch says itself what it changes. kustomize lets it.
        let renamed =
            "- {op: replace, path: /metadata/name, value: web-2}\n- {op: replace, path: /kind, value: StatefulSet}";
        check(Some(json!({})), renamed, Ok(&[("/metadata/name", json!("web-2")), ("/kind", json!("StatefulSet"))]));
    }

    #[test]
    fn a_plain_value_has_the_type_of_its_field() {
        let all = || Some(json!({}));
        let container = "/spec/template/spec/containers/0";
        let at = |field: &str| format!("{container}/{field}");
        let of_a = |fields: &str| format!("spec: {{template: {{spec: {{containers: [{{name: a, {fields}}}]}}}}}}");
        let to_a = |op: &str, field: &str, value: &str| format!("- {{op: {op}, path: {}, value: {value}}}", at(field));
        for (text, pointer, value) in [
            (of_a("image: n"), at("image"), json!("n")),
            (of_a("args: [1.10, 0x1F, yes]"), at("args"), json!(["1.10", "0x1F", "yes"])),
            (of_a("ports: [{containerPort: 0x50, hostIP: 1}]"), at("ports/0/hostIP"), json!("1")),
            (of_a("ports: [{containerPort: 0x50, hostIP: 1}]"), at("ports/0/name"), json!("http")),
            (of_a("env: [{name: Y, value: 010}]"), at("env"), json!([{"name": "Y", "value": "010"}])),
            (of_a("stdin: yes"), at("stdin"), json!(true)),
            ("spec: {replicas: 0x10}".into(), "/spec/replicas".into(), json!(16)),
            ("metadata: {annotations: {a: on}}".into(), "/metadata/annotations/a".into(), json!("on")),
            (to_a("replace", "image", "n"), at("image"), json!("n")),
            (to_a("add", "args/-", "1.10"), at("args"), json!(["x", "1.10"])),
            (to_a("add", "args/0", "1.10"), at("args"), json!(["1.10", "x"])),
            (to_a("add", "env", "[{name: Y, value: n}]"), at("env/0"), json!({"name": "Y", "value": "n"})),
            (to_a("test", "image", "a:1"), at("image"), json!("a:1")),
            ("- {op: replace, path: /spec/replicas, value: 0x10}".into(), "/spec/replicas".into(), json!(16)),
            ("- {op: test, path: /spec/replicas, value: 0x1}".into(), "/spec/replicas".into(), json!(1)),
            (
                "- {op: add, path: /metadata/labels, value: {version: 1.10, enabled: yes}}".into(),
                "/metadata/labels".into(),
                json!({"version": "1.10", "enabled": "yes"}),
            ),
            (
                "- {op: add, path: /metadata/labels/v, value: 1.10}\n- {op: test, path: /metadata/labels/v, value: 1.10}\n- {op: copy, from: /metadata/labels/v, path: /metadata/labels/w}\n- {op: move, from: /metadata/labels/v, path: /metadata/labels/z}".into(),
                "/metadata/labels".into(),
                json!({"app": "web", "tier": "front", "w": "1.10", "z": "1.10"}),
            ),
        ] {
            check(all(), &text, Ok(&[(&pointer, value)]));
        }
        let labelled = json!({"kind": "X", "metadata": {"name": "x", "labels": {"v": "1.10", "on": "yes"}}});
        let same = "- {op: test, path: /metadata/labels, value: {v: 1.10, on: yes}}";
        check_on(&labelled, all(), same, Ok(&[("", labelled.clone())]));
        let other = "- {op: test, path: /metadata/labels, value: {v: 1.1, on: yes}}";
        check_on(&labelled, all(), other, Err("value did not match"));
        let named = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "8"}, "data": {"a": "b"}});
        let patch = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 8}\ndata: {pv: 1.10, py: 0x1F}\n";
        check_on(&named, None, patch, Ok(&[("/data", json!({"a": "b", "pv": "1.10", "py": "0x1F"}))]));
        let mut with_env = deployment();
        with_env["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "Y", "value": "old"}]);
        let env = at("env");
        let changed = of_a("env: [{name: Y, value: new}]");
        check_on(&with_env, all(), &changed, Ok(&[(&env, json!([{"name": "Y", "value": "new"}]))]));
        check_on(&with_env, all(), &of_a("env: [{name: Y, $patch: delete}]"), Ok(&[(&env, json!([]))]));
        // A type that is not known here: labels are strings all the same.
        let custom = json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "spec": {}});
        let add = "- {op: add, path: /metadata/labels, value: {v: 1.10}}\n- {op: add, path: /spec/a, value: 1.10}";
        check_on(&custom, all(), add, Ok(&[("/metadata/labels/v", json!("1.10")), ("/spec/a", json!(1.1))]));
    }

    #[test]
    fn lists_of_other_kinds_are_replaced() {
        let mut manifest =
            json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "env": [{"name": "a"}]});
        let spec = PatchSpec { patch: String::new(), target: Some(TargetSpec::default()) };
        let patch = spec.read("env: [{name: b}]").expect("a patch");
        assert_eq!(patch.apply(&mut manifest, &mut Vec::new()), Ok(true));
        assert_eq!(manifest["env"], json!([{"name": "b"}]));
    }
}
