//! No value of an event becomes more than a value: every place of a rule that sees events, filled with every hostile value.

use super::*;

/// Where a template of manifests may print `{{ .v }}`: as people write it, well and badly.
const POSITIONS: [&str; 21] = [
    "data: {k: {{ .v }}}",
    "data:\n  k: {{ .v }}",
    "data:\n  k: {{ .v }}\n  l: m",
    "data:\n  k: \"{{ .v }}\"",
    "data:\n  k: '{{ .v }}'",
    "data:\n  k: {{ .v | quote }}",
    "data:\n  k: {{ .v | squote }}",
    "data:\n  k: a{{ .v }}b",
    "data:\n  k: \"a {{ .v }} b\"",
    "data:\n  k: |\n    {{ .v }}",
    "data:\n  k: |\n{{ .v | indent 4 }}",
    "data:\n  k: |-{{ .v | nindent 4 }}",
    "data:\n  k: >-\n    {{ .v }}",
    "data:\n  k: {{ .v | toJson }}",
    "data:\n  k: {{ .v | toYaml }}",
    "data:\n  k: l # {{ .v }}",
    "data:\n  k: l\n# {{ .v }}",
    "data:\n  {{ .v }}: l",
    "data:\n  \"{{ .v }}\": l",
    "list: [{{ .v }}, a]",
    "list:\n- {{ .v }}\n- a",
];

/// What events may hold: ends of nodes, lines, quotes, documents and templates, other spellings, other types.
const VALUES: [&str; 65] = [
    "",
    " ",
    "\n",
    "x\n",
    "x\ny",
    "x\r\ny: z",
    "x\ny: z",
    "x\n  y: z",
    "x\n    y: z",
    "x\n---\nkind: Secret",
    "x\n...\n---\nkind: Secret",
    "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n",
    "---",
    "...",
    "%YAML 1.1",
    "x\u{85}kind: Secret",
    "x\u{2028}kind: Secret",
    "x\u{2029}kind: Secret",
    "\u{feff}kind: Secret",
    "x\0y",
    "x\ty: z",
    "x: y",
    "x:",
    ": x",
    ":",
    "? x",
    "- x",
    "-",
    "[x",
    "x]",
    "x], y: [z",
    "{x: y}",
    "x}, kind: Secret, y: {z: a",
    "x, y",
    ",",
    "#",
    " # x",
    "x #",
    "&a x",
    "*a",
    "!!binary x",
    "!x y",
    "| x",
    "|\n  x",
    "> x",
    "'",
    "''",
    "x'\nkind: Secret\ny: 'z",
    "\"",
    "\\",
    "x\"\nkind: Secret\ny: \"z",
    "x\\\"\nkind: Secret",
    "\\u000akind: Secret",
    "<<: {x: y}",
    "<<",
    "{{ .v }}",
    "}}{{ \"x\" }}",
    "{% raw %}",
    "$patch: delete",
    "1234",
    "1.10",
    "true",
    "null",
    "2026-11-22",
    ".inf",
];

/// A trigger with a spec of its own, on the content that it names.
fn rules_of(spec: &Value, contents: &[(&str, &str, &Value)]) -> RuleSet {
    let source = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventSource", "metadata": {"name": "s"},
        "spec": {"messagingMatchCriteria": [{}]}});
    let mut whole = json!({"eventSourceName": "s", "oneForEvent": true});
    let fields = spec.as_object().into_iter().flatten();
    whole.as_object_mut().unwrap().extend(fields.map(|(name, value)| (name.clone(), value.clone())));
    let trigger = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventTrigger",
        "metadata": {"name": "t"}, "spec": whole});
    let content = |(name, key, text): &(&str, &str, &Value)| {
        let annotations = json!({"projectsveltos.io/instantiate": "ok"});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": name, "annotations": annotations},
            "data": {*key: text}})
    };
    let documents = [source, trigger].into_iter().chain(contents.iter().map(content));
    rules(&documents.map(|document| document.to_string()).collect::<Vec<_>>().join("\n---\n"))
}

/// What is rendered of an event whose data holds the value.
fn made(rules: &RuleSet, value: &str) -> Result<Vec<Value>, String> {
    let payload =
        json!({"specversion": "1.0", "type": "t", "source": "s", "id": "1", "subject": "x", "data": {"v": value}});
    let trigger = rules.trigger("t").unwrap_or_else(|| panic!("{:#?}", messages(rules)));
    let made = trigger.manifests(&map(&payload.to_string()), OWN, 1);
    made.map(|all| all.into_iter().map(|one| one.manifest).collect()).map_err(|error| error.to_string())
}

/// A manifest without its values: what no event may change. A key may come from an event where the author says so.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let is_data =
                |name: &str| matches!(name, "apiVersion" | "kind" | "metadata" | "data" | "list" | "spec" | "k");
            let name = |name: &str| if is_data(name) { name.to_owned() } else { "*".to_owned() };
            Value::Object(map.iter().map(|(field, value)| (name(field), shape(value))).collect())
        }
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::Null,
    }
}

/// Fills a place with every value. Says how many were taken; each of these is `[what it was filled with]` and nothing else.
#[track_caller]
fn check(place: &str, rules: &RuleSet, found: impl Fn(&[Value], &str) -> bool) -> usize {
    let harmless = made(rules, "harmless").unwrap_or_else(|error| panic!("{place}: {error}"));
    let (kinds, shapes) = (kinds(&harmless), harmless.iter().map(shape).collect::<Vec<_>>());
    let mut taken = 0;
    for value in VALUES {
        let Ok(manifests) = made(rules, value) else { continue };
        assert_eq!(self::kinds(&manifests), kinds, "{value:?} at {place}");
        assert_eq!(manifests.iter().map(shape).collect::<Vec<_>>(), shapes, "{value:?} at {place}: {manifests:?}");
        assert!(found(&manifests, value), "{value:?} at {place} became {manifests:?}");
        taken += 1;
    }
    assert!(made(rules, "1234").is_ok(), "what is harmless is taken at {place}");
    taken
}

fn kinds(manifests: &[Value]) -> Vec<(Value, Value)> {
    manifests.iter().map(|one| (one["kind"].clone(), one["apiVersion"].clone())).collect()
}

fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found.trim_end_matches('\n') == text.trim_end_matches('\n'),
        Value::Object(map) => map.iter().any(|(key, value)| key == text || holds(value, text)),
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

const POLICY: &str = "policyRefs";

fn policy() -> Value {
    json!([{"kind": "ConfigMap", "namespace": "default", "name": "c"}])
}

#[test]
fn no_value_leaves_its_place_in_a_manifest_or_in_an_object_of_a_list() {
    let mut taken = 0;
    for position in POSITIONS {
        let position = position.replace(".v", ".CloudEvent.data.v");
        let object = format!("apiVersion: x.dev/v1\nkind: X\nmetadata: {{name: a}}\n{position}\n");
        // What a function indents begins where its line does.
        let indented = |line: &str| if line.starts_with("{{") { format!("{line}\n") } else { format!("  {line}\n") };
        let item: String = object.replace("indent 4", "indent 6").lines().map(indented).collect();
        let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", item.trim_start());
        for source in [object, list] {
            let source = json!(source);
            let rules = rules_of(&json!({POLICY: policy()}), &[("c", "o.yaml", &source)]);
            let is_comment = position.contains('#');
            // Between blanks of a block scalar's own lines, or inside other text, it is a part.
            let is_part = position.contains("a{{") || position.contains("a {{");
            taken += check(source.as_str().unwrap(), &rules, |made, value| {
                is_comment
                    || holds(&made[0], value)
                    || (is_part && made[0].to_string().contains(json!(value).to_string().trim_matches('"')))
            });
        }
    }
    assert!(taken > 1_000, "only {taken} values were taken: the test says little");
}

#[test]
fn no_value_leaves_its_place_in_what_a_generator_makes() {
    let text = json!("k: {{ .CloudEvent.data.v }}\n");
    for (field, expected) in [("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")] {
        // Texts of generators are values of one object, whatever they hold. A Secret is taken from a ConfigMap here, for its
        // texts come the same way.
        let named = json!({"namespace": "default", "name": "c", "nameFormat": "{{ .CloudEvent.data.v }}"});
        let spec = json!({field: [named]});
        let contents: &[(&str, &str, &Value)] = &[("c", "text", &text)];
        let rules = if expected == "Secret" { secret_rules(&spec, &text) } else { rules_of(&spec, contents) };
        let taken = check(field, &rules, |made, value| {
            made.len() == 1
                && made[0]["kind"] == expected
                && made[0]["metadata"]["namespace"] == "projectsveltos"
                && made[0]["metadata"]["name"] == value.trim()
                && holds(&made[0], &format!("k: {value}\n"))
        });
        assert_eq!(taken, VALUES.len(), "{field}: a text takes everything");
    }
}

/// As [`rules_of`], with the content in a Secret.
fn secret_rules(spec: &Value, text: &Value) -> RuleSet {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE, "stringData": {"text": text},
        "metadata": {"namespace": "default", "name": "c", "annotations": {"projectsveltos.io/instantiate": "ok"}}});
    let source = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventSource", "metadata": {"name": "s"},
        "spec": {"messagingMatchCriteria": [{}]}});
    let mut whole = spec.clone();
    whole["eventSourceName"] = json!("s");
    whole["oneForEvent"] = json!(true);
    let trigger = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventTrigger",
        "metadata": {"name": "t"}, "spec": whole});
    rules(&[source, trigger, secret].map(|document| document.to_string()).join("\n---\n"))
}

#[test]
fn no_value_leaves_the_names_of_references_or_the_extra_labels() {
    let object = json!("apiVersion: x.dev/v1\nkind: X\nmetadata: {name: a}\n");
    for field in ["name", "namespace"] {
        // Whatever it names: the only thing that is made is what is in the rules, under the name that is asked for.
        let mut reference = json!({"kind": "ConfigMap", "namespace": "default", "name": "c", "optional": true});
        reference[field] = json!("{{ .CloudEvent.data.v }}");
        let generator = json!({"namespace": reference["namespace"], "name": reference["name"], "nameFormat": "n", "optional": true});
        for spec in [json!({POLICY: [reference.clone()]}), json!({"configMapGenerator": [generator]})] {
            let rules = rules_of(&spec, &[("c", "o.yaml", &object)]);
            // Without a namespace it is that of the cluster.
            for value in VALUES.into_iter().filter(|value| field == "name" || !value.trim().is_empty()) {
                assert_eq!(made(&rules, value).unwrap_or_default(), [] as [Value; 0], "{field} {value:?}");
            }
        }
    }
    for field in ["extraLabels", "extraAnnotations"] {
        let spec = json!({POLICY: policy(), field: {"k": "{{ .CloudEvent.data.v }}"}});
        let rules = rules_of(&spec, &[("c", "o.yaml", &object)]);
        let metadata = if field == "extraLabels" { "labels" } else { "annotations" };
        let taken = check(field, &rules, |made, value| made[0]["metadata"][metadata] == json!({"k": value}));
        assert_eq!(taken, VALUES.len(), "{field}");
    }
}

#[test]
fn no_value_reaches_a_patch_or_changes_what_one_does() {
    let object = json!(
        "apiVersion: x.dev/v1\nkind: X\nmetadata: {name: a}\ndata: {k: {{ .CloudEvent.data.v | quote }}, l: {{ .CloudEvent.data.v | toJson }}}\n"
    );
    let merge = "apiVersion: x.dev/v1\nkind: X\nmetadata: {name: a}\nspec: {patched: true}\n";
    let operations = r#"[{"op": "add", "path": "/spec", "value": {"patched": true}}]"#;
    let target = json!({"kind": "X"});
    let from = json!({"kind": "ConfigMap", "namespace": "default", "name": "p"});
    let listed = json!([{"patch": merge}, {"patch": operations, "target": target}]);
    let texts = json!(listed.to_string());
    let inline = json!({POLICY: policy(), "patches": listed});
    let referenced = json!({POLICY: policy(), "patchesFrom": [from]});
    for spec in [inline, referenced] {
        let rules = rules_of(&spec, &[("c", "o.yaml", &object), ("p", "patches", &texts)]);
        let taken = check(&spec.to_string(), &rules, |made, value| {
            made.len() == 1
                && made[0]["spec"] == json!({"patched": true})
                && made[0]["data"] == json!({"k": value, "l": value})
        });
        assert_eq!(taken, VALUES.len());
    }
    // A patch sees no event at all: not in its text, not in what it is for, not in the text that is referenced.
    let seeing = merge.replace("true", "{{ .CloudEvent.data.v }}");
    let seeing = json!([{"patch": seeing}]);
    let texts = json!(seeing.to_string());
    let inline = json!({POLICY: policy(), "patches": seeing});
    let referenced =
        json!({POLICY: policy(), "patchesFrom": [{"kind": "ConfigMap", "namespace": "default", "name": "p"}]});
    let name = json!({POLICY: policy(), "patchesFrom": [{"kind": "ConfigMap", "namespace": "default", "name": "{{ .CloudEvent.data.v }}"}]});
    for spec in [inline, referenced, name] {
        let rules = rules_of(&spec, &[("c", "o.yaml", &object), ("p", "patches", &texts)]);
        for value in VALUES.into_iter().chain(["p"]) {
            assert!(made(&rules, value).is_err(), "{value:?} is seen by {spec}");
        }
    }
}
