//! What is beside `policyRefs`: generators, patches, and content that gives several objects.

use super::*;

const HEAD: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: s}
spec: {messagingMatchCriteria: [{}]}
---
"#;

fn content(kind: &str, name: &str, data: Value) -> String {
    let (field, more) = match kind {
        "Secret" => ("stringData", json!({"type": SECRET_TYPE})),
        _ => ("data", json!({})),
    };
    let metadata = json!({"name": name, "namespace": "default", "annotations": {INSTANTIATE: ""}});
    let mut whole = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata});
    whole[field] = data;
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    whole.to_string()
}

fn rule_set(spec: &Value, contents: &[String]) -> RuleSet {
    let mut spec = spec.clone();
    spec["eventSourceName"] = json!("s");
    let text = format!("{HEAD}{}\n---\n{}", manifest("EventTrigger", spec), contents.join("\n---\n"));
    rules(&text)
}

fn event(value: &str) -> Map<String, Value> {
    let event = json!({"subject": "zoe", "data": {"value": value, "list": ["a", "b"]}});
    event.as_object().expect("a map").clone()
}

fn made(spec: &Value, contents: &[String], value: &str) -> Result<Vec<Rendered>, String> {
    let set = rule_set(spec, contents);
    let errors = messages(&set).into_iter().filter(|text| text.starts_with("error")).collect::<Vec<_>>();
    let trigger = set.trigger("x").ok_or_else(|| errors.join("\n"))?;
    trigger.manifests(&event(value), OWN, 1).map_err(|error| crate::error_text::chain(&error))
}

fn manifests_of(rendered: Vec<Rendered>) -> Vec<Value> {
    rendered.into_iter().map(|one| one.manifest).collect()
}

#[test]
fn a_generator_makes_an_object_of_rendered_texts() {
    let config_map =
        content("ConfigMap", "texts", json!({"a.conf": "user={{ .CloudEvent.subject }}\n", "b": "no template"}));
    let secret = content("Secret", "keys", json!({"key": "k-{{ .CloudEvent.data.value }}"}));
    let spec = json!({
        "configMapGenerator": [{"namespace": "default", "name": "texts", "nameFormat": "texts-{{ .CloudEvent.subject }}"}],
        "secretGenerator": [{"namespace": "default", "name": "{{ 'keys' }}", "nameFormat": "keys"}],
        "extraLabels": {"team": "core"},
    });
    let rendered = made(&spec, &[config_map, secret], "v").expect("objects");
    assert_eq!(rendered[1].from.to_string(), "ConfigMap default/texts");
    let labels = json!({"team": "core"});
    let expected = [
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE, "stringData": {"key": "k-v"},
            "metadata": {"namespace": "projectsveltos", "name": "keys", "labels": labels},
        }),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a.conf": "user=zoe\n", "b": "no template"},
            "metadata": {"namespace": "projectsveltos", "name": "texts-zoe", "labels": labels},
        }),
    ];
    assert_eq!(manifests_of(rendered), expected);
}

#[test]
fn what_a_generator_lacks_is_told() {
    #[track_caller]
    fn check(generator: Value, contents: &[String], expected: Result<usize, &str>) {
        let made = made(&json!({"configMapGenerator": [generator]}), contents, "v").map(|made| made.len());
        match (&made, expected) {
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (Ok(number), Ok(expected)) => assert_eq!(*number, expected),
            _ => panic!("{made:?}, expected {expected:?}"),
        }
    }
    let generator = |name: &str| json!({"namespace": "default", "name": name, "nameFormat": "x"});
    let texts = |data: Value| [content("ConfigMap", "texts", data)];
    check(
        generator("texts"),
        &[],
        Err("`spec.configMapGenerator[0]` names ConfigMap default/texts, which does not exist"),
    );
    let mut optional = generator("texts");
    optional["optional"] = json!(true);
    check(optional, &[], Ok(0));
    check(json!({"name": "texts"}), &texts(json!({})), Err("`spec.configMapGenerator[0].nameFormat` is missing"));
    check(json!({"name": "t", "nameFormt": "x"}), &[], Err("unknown field `spec.configMapGenerator[0].nameFormt`"));
    check(generator("texts"), &texts(json!({"a": "{{ .CloudEvent.absent }}"})), Err("key `a` cannot be rendered"));
    check(generator("texts"), &texts(json!({"a": "neither: [YAML"})), Ok(1));
}

#[test]
fn patches_change_what_was_rendered_in_order() {
    let template = "apiVersion: v1\nkind: Service\nmetadata: {name: {{ .CloudEvent.subject }}}\nspec:\n  ports: [{port: 80, name: http}]\n";
    let contents = [
        content("ConfigMap", "service", json!({"a": template})),
        content(
            "ConfigMap",
            "patches",
            json!({"p": "- target: {kind: Service}\n  patch: |\n    - {op: add, path: /metadata/labels/last, value: '{{ .Cluster.metadata.name }}'}\n"}),
        ),
    ];
    let spec = json!({
        "policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "service"}],
        "patches": [
            {"target": {"kind": "^Serv", "name": "z.e"}, "patch": "spec: {ports: [{port: 80, name: web}, {port: 443}], type: NodePort}"},
            {"target": {"kind": "Service"}, "patch": "- {op: add, path: /metadata/labels, value: {cluster: '{{ .Cluster.metadata.name }}'}}"},
            {"target": {"kind": "Deployment"}, "patch": "- {op: remove, path: /spec}"},
        ],
        "patchesFrom": [{"kind": "ConfigMap", "namespace": "default", "name": "patches"}],
    });
    let expected = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "zoe", "labels": {"cluster": "mgmt", "last": "mgmt"}},
        "spec": {"ports": [{"port": 443}, {"port": 80, "name": "web"}], "type": "NodePort"},
    });
    assert_eq!(manifests_of(made(&spec, &contents, "v").expect("objects")), [expected]);

    #[track_caller]
    fn check(contents: &[String], patch: Value, expected: &str) {
        let spec = json!({
            "policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "service"}], "patches": [patch],
        });
        let error = made(&spec, contents, "v").expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
    let all = |patch: &str| json!({"target": {}, "patch": patch});
    check(
        &contents,
        all("- {op: replace, path: /a/b, value: 1}"),
        "`spec.patches[0]` cannot be applied: operation '/0' failed",
    );
    check(
        &contents,
        all("metadata: {name: '{{ .CloudEvent.subject }}'}"),
        "`spec.patches[0].patch` cannot be rendered",
    );
    check(&contents, json!({"patch": "x", "traget": {}}), "unknown field `spec.patches[0].traget`");
    check(&contents, json!({"patch": "- {op: remove}", "target": {}}), "`spec.patches[0]` is no patch");
}

#[test]
fn a_patch_neither_renames_what_it_is_for_nor_respells_a_value() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-{{ .CloudEvent.subject }}}\n";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .CloudEvent.subject }}, namespace: default}\n";
    let custom = "apiVersion: x.dev/v1\nkind: X\nmetadata: {name: x, namespace: default}\nspec: {old: 1.20, gone: 1.30, list: [0x1]}\n";
    let listed = "- target: {kind: ConfigMap, name: ^zoe$}\n  patch: |\n    data: {pv: 1.10, py: 0x1F}\n";
    let contents = [
        content("ConfigMap", "c", json!({"a": namespace, "b": map, "c": custom})),
        content("ConfigMap", "patches", json!({"p": listed})),
    ];
    let placeholder =
        "apiVersion: v1\nkind: Deployment\nmetadata: {name: not-used, namespace: other, labels: {env: prod}}\n";
    let operations = "- {op: add, path: /spec/list/0, value: 0x2}\n- {op: copy, from: /spec/old, path: /spec/copy}";
    let spec = json!({
        "policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "c"}],
        "patches": [
            {"target": {"kind": "Namespace"}, "patch": placeholder},
            {"target": {"kind": "^X$"}, "patch": "spec: {new: 1.10, gone: text}"},
            {"target": {"kind": "^X$"}, "patch": operations},
        ],
        "patchesFrom": [{"kind": "ConfigMap", "namespace": "default", "name": "patches"}],
    });
    let rendered = made(&spec, &contents, "v").expect("objects");
    // What only the cluster has the types of comes with its spelling.
    let mut spelled: Vec<_> = rendered[2].plain.iter().map(|plain| format!("{plain:?}")).collect();
    spelled.sort_unstable();
    let expected = [("copy", "1.20"), ("list", "0x1"), ("list", "0x2"), ("new", "1.10"), ("old", "1.20")];
    assert_eq!(spelled.len(), expected.len(), "{spelled:?}");
    for (field, text) in expected {
        let is_it = |plain: &String| plain.contains(&format!("{field:?}")) && plain.contains(&format!("{text:?}"));
        assert!(spelled.iter().any(is_it), "{field}: {text} in {spelled:?}");
    }
    let expected = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-zoe", "labels": {"env": "prod"}}}),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "zoe", "namespace": "default"},
            "data": {"pv": "1.10", "py": "0x1F"},
        }),
        json!({
            "apiVersion": "x.dev/v1", "kind": "X", "metadata": {"name": "x", "namespace": "default"},
            "spec": {"old": 1.2, "copy": 1.2, "new": 1.1, "gone": "text", "list": [2, 1]},
        }),
    ];
    assert_eq!(manifests_of(rendered), expected);
}

#[test]
fn a_list_and_a_range_give_several_objects() {
    let list = "apiVersion: v1\nkind: List\nitems:\n{{ range .CloudEvent.data.list }}- {apiVersion: v1, kind: Namespace, metadata: {name: {{ . }}}}\n{{ end }}";
    let range = "{{ range .CloudEvent.data.list }}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: {{ . }}-2}\n{{ end }}";
    let spec = json!({"policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "many"}]});
    let made = made(&spec, &[content("ConfigMap", "many", json!({"a": list, "b": range}))], "v").expect("objects");
    let names: Vec<_> = made.iter().map(|one| one.manifest["metadata"]["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["a", "b", "a-2", "b-2"]);
    assert_eq!(made.iter().map(|one| one.document).collect::<Vec<_>>(), [0, 1, 0, 1]);
}

/// The keys of a manifest, without its texts.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(_) => Value::Null,
        other => other.clone(),
    }
}

#[test]
fn no_value_of_an_event_adds_a_key_an_object_or_a_kind() {
    let evil = [
        "",
        "x",
        "a: b",
        "x\nkind: Secret",
        "x\n---\nkind: Secret\n",
        "'\"",
        "\"\nb: c",
        "- a",
        "{a: b}",
        "[x]",
        "&a",
        "*a",
        "!!map",
        "{{ .CloudEvent }}",
        "# x",
        "|\n  a",
        "null",
        "true",
        "1e3",
        "\u{2028}kind: x",
        "$patch: delete",
        "/metadata/labels",
        "- {op: remove, path: /kind}",
        "\t",
        "\r\nkind: x",
        "...\nkind: x",
        "? x",
        "x: ",
        "%YAML",
        "<<: {a: b}",
    ];
    let texts = [
        "{{ .CloudEvent.data.value }}",
        "a: {{ .CloudEvent.data.value }}\n",
        "{{ toYaml .CloudEvent.data }}",
        "{{ .CloudEvent.data.value | quote }}",
    ];
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: {{ .CloudEvent.data.value | quote }}\n  b: z\n";
    let patches = json!([
        {"target": {"name": "^x$"}, "patch": "data: {c: d}"},
        {"target": {"kind": "ConfigMap"}, "patch": "- {op: copy, from: /data, path: /metadata/annotations}"},
    ]);
    let mut cases = 0;
    for kind in ["ConfigMap", "Secret"] {
        let field = if kind == "Secret" { "secretGenerator" } else { "configMapGenerator" };
        for text in texts {
            let contents = [
                content(kind, "texts", json!({"k": text, "l": "z"})),
                content("ConfigMap", "object", json!({"o": object})),
            ];
            let mut spec = json!({
                "policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "object"}], "patches": patches,
            });
            spec[field] =
                json!([{"namespace": "default", "name": "texts", "nameFormat": "n-{{ .CloudEvent.data.value }}"}]);
            let set = rule_set(&spec, &contents);
            let trigger = set.trigger("x").expect("in force");
            let shapes = |value: &str| {
                let made = trigger.manifests(&event(value), OWN, 1).map(manifests_of);
                made.map(|made| made.iter().map(|one| (one["kind"].clone(), shape(one))).collect::<Vec<_>>())
            };
            let harmless = shapes("harmless").expect("objects");
            assert_eq!(harmless.len(), 2);
            for value in evil {
                cases += 1;
                if let Ok(made) = shapes(value) {
                    assert_eq!(made, harmless, "{kind}, {text}, {value:?}");
                }
            }
        }
    }
    assert_eq!(cases, 240);
}

/// A ConfigMap that templates see, and one of templates with an annotation.
fn with_resources(more: &Value, text: &str, annotation: &str) -> (Value, Vec<String>) {
    let mut reference = json!({"resource": {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "default",
        "name": "of-{{ .CloudEvent.subject }}"}, "identifier": "Plan"});
    reference.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec = json!({"oneForEvent": true, "templateResourceRefs": [reference],
        "policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "t"}]});
    let template = content("ConfigMap", "t", json!({"a": text})).replace(INSTANTIATE, annotation);
    (spec, vec![template, content("ConfigMap", "of-zoe", json!({"size": "big"}))])
}

#[test]
fn templates_see_the_objects_of_resource_references() {
    let text = r#"{kind: ConfigMap, apiVersion: v1, metadata: {name: "{{ .CloudEvent.subject }}"},
        data: {a: "{{ (getResource "Plan").data.size }}", b: "{{ .MgmtResources.Plan.metadata.name }}",
        c: "{{ getField "Plan" "data.size" }}", d: "{{ .ClusterKind }} {{ .ClusterNamespace }}/{{ .ClusterName }}"}}"#;
    for annotation in ["projectsveltos.io/template", INSTANTIATE] {
        let (spec, contents) = with_resources(&json!({}), text, annotation);
        let made = manifests_of(made(&spec, &contents, "").unwrap());
        let expected = json!({"a": "big", "b": "of-zoe", "c": "big", "d": "SveltosCluster mgmt/mgmt"});
        assert_eq!((made.len(), &made[0]["data"]), (1, &expected));
    }
    // What changes in it makes the objects again, and nothing of it is a template.
    let (spec, contents) = with_resources(&json!({}), text, INSTANTIATE);
    let digest = |contents: &[String]| rule_set(&spec, contents).trigger("x").unwrap().digest();
    let changed = [contents[0].clone(), contents[1].replace("big", "{{ .x }}")];
    assert_ne!(digest(&contents), digest(&changed));
    let labelled =
        [contents[0].clone(), contents[1].replace("\"namespace\"", "\"labels\":{\"a\":\"b\"},\"namespace\"")];
    assert_ne!(digest(&contents), digest(&labelled));
}

#[test]
fn a_resource_that_is_missing_fails_with_its_name_or_is_left_out() {
    let text = r#"{kind: ConfigMap, apiVersion: v1, metadata: {name: "{{ if hasKey .MgmtResources "Plan" }}a{{ else }}b{{ end }}"}}"#;
    let (spec, contents) = with_resources(&json!({}), text, INSTANTIATE);
    let error = made(&spec, &contents[..1], "").unwrap_err();
    assert!(
        error.contains("`spec.templateResourceRefs[0].resource` names ConfigMap default/of-zoe, which does not exist"),
        "{error}"
    );
    let (spec, contents) = with_resources(&json!({"optional": true}), text, INSTANTIATE);
    assert_eq!(manifests_of(made(&spec, &contents[..1], "").unwrap())[0]["metadata"]["name"], "b");
    assert_eq!(manifests_of(made(&spec, &contents, "").unwrap())[0]["metadata"]["name"], "a");

    let (spec, contents) = with_resources(&json!({"resource": {"kind": "Service", "name": "s"}}), text, INSTANTIATE);
    let error = made(&spec, &contents, "").unwrap_err();
    assert!(error.contains("`spec.templateResourceRefs[0].resource.kind` is `Service`"), "{error}");
    let (spec, contents) = with_resources(&json!({"identifier": ""}), text, INSTANTIATE);
    let error = made(&spec, &contents, "").unwrap_err();
    assert!(error.contains("`spec.templateResourceRefs[0].identifier` is missing"), "{error}");

    // What an event fills in is never read as a template.
    let (spec, contents) =
        with_resources(&json!({}), text, "projectsveltos.io/template\":\"\",\"projectsveltos.io/instantiate");
    let error = made(&spec, &contents, "").unwrap_err();
    assert!(error.contains("annotation `projectsveltos.io/template` asks to render once more"), "{error}");
}

#[test]
fn the_target_of_a_drift_exclusion_is_a_known_field() {
    let exclusions = |target| json!({"syncMode": "ContinuousWithDriftDetection", "driftExclusions": [{"paths": ["/spec"], "target": target}]});
    check(&[trigger(exclusions(json!({"kind": "Deployment"})))], Cost::Nothing, &[]);
    let slip = "unknown field `spec.driftExclusions[0].target.knd`";
    check(&[trigger(exclusions(json!({"knd": "Deployment"})))], Cost::OutOfForce, &[slip]);
}

#[test]
fn no_message_about_what_sees_a_secret_quotes_a_value() {
    let reference = json!({"resource": {"apiVersion": "v1", "kind": "Secret", "name": "s", "namespace": "default"}, "identifier": "S"});
    let sees = |kind: &str| json!({"oneForEvent": true, "templateResourceRefs": [reference], "policyRefs": [{"kind": kind, "namespace": "default", "name": "m"}]});
    let secret = content("Secret", "s", json!({"pw": "hunter2: x"}));
    let password = ".MgmtResources.S.data.pw | b64dec";
    for text in [
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  pw: {{{{ {password} }}}}\n"),
        format!("pw: \"{{{{ {password} }}}}\\\"\n"),
        format!("{{{{ {password} | fail }}}}"),
        format!("{{{{ {password} | toDate \"2006\" }}}}"),
        format!("a: 1\nb: {{{{ {password} | mustRegexMatch \"(\" }}}}"),
        format!("- {{{{ {password} | quote }}}}\n"),
        format!("{{{{ {password} | quote }}}}: 1\n{{{{ {password} | quote }}}}: 1\n"),
        format!("{{{{ $x := {password} }}}}a: {{{{ $x }}}}\n"),
    ] {
        let config_map = content("ConfigMap", "m", json!({"a.yaml": text}));
        let error = made(&sees("ConfigMap"), &[secret.clone(), config_map], "x").expect_err(&text);
        assert!(!error.contains("hunter2") && error.contains("key `a.yaml`"), "{text}\n{error}");
    }
    // A Secret as content: what it holds, template or not, is quoted as little.
    for text in
        ["- hunter2\n", "hunter2: 1\nhunter2: 2\n", "a: hunter2{{ .CloudEvent.subject }}: {{ .CloudEvent.data.value }}"]
    {
        let spec =
            json!({"oneForEvent": true, "policyRefs": [{"kind": "Secret", "namespace": "default", "name": "m"}]});
        let error = made(&spec, &[content("Secret", "m", json!({"a.yaml": text}))], "a: b").expect_err(text);
        assert!(!error.contains("hunter2"), "{text}\n{error}");
    }
    // `stringData` of a file is `data`, as an API server keeps it; the manifest is marked for those who apply it.
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  pw: {{ .MgmtResources.S.data.pw | b64dec | quote }}\n";
    let config_map = content("ConfigMap", "m", json!({"a.yaml": text}));
    let rendered = made(&sees("ConfigMap"), &[secret, config_map], "x").unwrap();
    assert_eq!(rendered[0].manifest["data"]["pw"], "hunter2: x");
    assert!(rendered[0].handling.hides_values);
    // A value of the event is shown, where no Secret is near.
    let config_map = content("ConfigMap", "m", json!({"a.yaml": "a: {{ .CloudEvent.data.value }}\n"}));
    let spec = json!({"oneForEvent": true, "policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "m"}]});
    let error = made(&spec, &[config_map], "a: b").unwrap_err();
    assert!(error.contains("value `a: b` of"), "{error}");
}
