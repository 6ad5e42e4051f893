//! A value that is taken is taken as it is, whatever quotes, blocks and lists are around it; else it is refused.

use super::*;

/// Places that hold one value and nothing else.
const PLACES: [&str; 13] = [
    "a: {{ .v }}\n",
    "a: {{ .v }}\nb: c\n",
    "a: {{ .v }} # c\n",
    "a: [{{ .v }}]\n",
    "a: {b: {{ .v }}}\n",
    "a: '{{ .v }}'\n",
    "a: \"{{ .v }}\"\n",
    "a: {{ .v | quote }}\n",
    "a: {{ .v | squote }}\n",
    "a: {{ squote .v }}\nb: c\n",
    "a: {{ .v | toJson }}\n",
    "a: {{ .v | toYaml }}\n",
    "a:\n- {{ .v }}\n",
];

/// Blocks that hold one value: what the block itself adds or takes at the end is the author's wish.
const BLOCKS: [&str; 8] = [
    "a: |\n  {{ .v }}\n",
    "a: |-\n  {{ .v }}\n",
    "a: |\n{{ .v | indent 2 }}\n",
    "a: |-{{ .v | nindent 2 }}\n",
    "a: >\n  {{ .v }}\n",
    "a: >-\n{{ .v | indent 2 }}\n",
    "a: >-{{ .v | nindent 2 }}\nb: c\n",
    "a: |2\n{{ .v | indent 2 }}\n",
];

fn only_value(object: &Value) -> &Value {
    let value = &object["a"];
    value.get(0).or_else(|| value.get("b")).unwrap_or(value)
}

#[track_caller]
fn check(source: &str, trims_end: bool, seed: u64) -> u32 {
    let template = Template::compile(Dialect::Go, "t", source).unwrap();
    let mut dice = Random::new(seed);
    let more = ["it's", "''", "a''b", "1.10", "yes", "a\nb", " a", "a ", "a\n\nb", "\ta", "a\n b", "\n"];
    let pieces: Vec<&str> = FRAGMENTS.iter().chain(&more).copied().collect();
    let mut taken = 0;
    for round in 0..600 {
        let value: String = match pieces.get(round) {
            Some(piece) => (*piece).to_owned(),
            None => (0..1 + dice.below(4)).map(|_| pieces[dice.below(pieces.len() as u64) as usize]).collect(),
        };
        let values = json!({ "v": value });
        let Ok(objects) = template.render_manifests(&data(&values)) else { continue };
        taken += 1;
        let found = only_value(&objects[0]).as_str().unwrap_or_else(|| panic!("{source}{value:?}: {objects:?}"));
        let (found, value) = match trims_end {
            true => (found.trim_end_matches('\n'), value.trim_end_matches('\n')),
            false => (found, value.as_str()),
        };
        assert_eq!(found, value, "seed {seed:#x}, template\n{source}");
    }
    taken
}

#[test]
fn a_value_is_taken_as_it_is_or_refused() {
    for source in PLACES {
        assert!(check(source, false, 0xA11) > 30, "{source}");
    }
    for source in BLOCKS {
        assert!(check(source, true, 0xA12) > 30, "{source}");
    }
}

#[test]
fn quotes_that_would_alter_a_value_are_refused_with_what_to_do() {
    for (source, value, message) in [
        ("a: {{ .v | squote }}\n", "l1\nl2", "holds a line break"),
        ("a: {{ .v | squote }}\n", "a''b", "ends or escapes the quotes"),
        ("a: {{ .v | squote }}\n", "it's", "ends or escapes the quotes"),
        ("a: '{{ .v }}'\n", "l1\nl2", "holds a line break"),
        ("a: >-\n{{ .v | indent 2 }}\n", "l1\nl2", "holds a line break"),
        // The block is indented by 4, the second line by 2 and its own 2.
        ("a:\n  b: |\n  {{ .v | indent 2 }}\n", "l1\n  l2", "holds a line break"),
        ("a: |\n    l\n{{ .v | indent 2 }}\n", "  l2", "holds a line break"),
    ] {
        let error = manifests(source, &json!({"v": value})).expect_err(source);
        assert!(error.fault().message.contains(message), "{error}");
        assert!(error.fault().hint.as_ref().is_some_and(|hint| hint.contains("| quote")), "{error}");
    }
}

#[test]
fn the_objects_of_a_list_are_taken_apart_and_no_data_adds_one() {
    let values = json!({"v": "ada", "items": [{"apiVersion": "v1", "kind": "Secret"}], "labels": {"a": "b"}});
    let list = |items: &str| format!("apiVersion: v1\nkind: List\nitems:\n{items}");
    let item = |body: &str| format!("- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: {{{{ .v }}}}\n{body}");
    let two = list(&format!("{}- kind: B\n", item("    labels: {{ toJson .labels }}\n")));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ada", "labels": {"a": "b"}}});
    assert_eq!(manifests(&two, &values).unwrap(), [namespace, json!({"kind": "B"})]);
    let ranged = "kind: ConfigMapList\nitems:\n{{ range .items }}- {kind: {{ .kind }}}\n{{ end }}";
    assert_eq!(manifests(ranged, &values).unwrap(), [json!({"kind": "Secret"})]);
    assert_eq!(manifests(&list(" []\n"), &values).unwrap(), [] as [Value; 0]);
    // A field of the same name in an object of another kind is a field.
    assert_eq!(manifests("kind: Menu\nitems: [a]\n", &values).unwrap(), [json!({"kind": "Menu", "items": ["a"]})]);
    for (source, message) in [
        (list("{{ toYaml .items }}\n"), "would decide which objects the list holds"),
        ("kind: List\nitems: {{ toJson .items }}\n".to_owned(), "would decide which objects the list holds"),
        (list("- {{ toJson .labels }}\n"), "would decide which objects the list holds"),
        (list(&item("  {{ toYaml .labels }}\n")), "would decide which objects the list holds"),
        (list("- a\n"), "item 1 of the list is no mapping, expected a manifest"),
        (list("- {kind: List, items: []}\n"), "item 1 of the list is a list again, expected a manifest"),
    ] {
        let error = manifests(&source, &values).expect_err(&source);
        assert!(error.fault().message.contains(message), "{source}: {error}");
    }
}

#[test]
fn documents_that_a_loop_gives_are_objects_however_the_markers_are_written() {
    let values = json!({"users": ["ada", "1e3"]});
    let expected =
        [json!({"kind": "A", "metadata": {"name": "ada"}}), json!({"kind": "A", "metadata": {"name": "1e3"}})];
    for source in [
        "{{ range .users }}---\nkind: A\nmetadata:\n  name: {{ . }}\n{{ end }}",
        "{{- range .users }}\n---\nkind: A\nmetadata: {name: {{ . }}}\n{{- end }}",
        "{{ range .users }}\nkind: A\nmetadata:\n  name: {{ . }}\n---\n{{ end }}\n",
        "{{ range .users }}\nkind: A\nmetadata:\n  name: {{ . }}\n...\n{{ end }}\n",
        "{{ range $i, $u := .users }}{{ if $i }}---{{ end }}\nkind: A\nmetadata:\n  name: {{ $u | quote }}\n{{ end }}",
    ] {
        assert_eq!(manifests(source, &values).unwrap(), expected, "{source}");
    }
    // Without a marker between them, the second one repeats the keys of the first.
    let error = manifests("{{ range .users }}kind: A\n{{ end }}", &values).unwrap_err();
    assert!(error.fault().message.contains("key `kind` is given twice"), "{error}");
}

#[test]
fn yaml_that_is_half_written_is_refused_with_its_line() {
    for (source, message) in [
        ("kind: A\nmetadata: {name: a", "line 2"),
        ("kind: A\nname: \"{{ .v }}", "line 2"),
        ("kind: A\nname: '{{ .v }}\n", "line 2"),
        ("kind: A\nitems:\n- a\n b: c\n", "line 4"),
        ("kind: A\n\tname: a\n", "found a tab"),
        ("{\"kind\": \"A\", \"metadata\": ", "line 1"),
        ("kind: A\nname: [a, b\nother: c\n", "line 3"),
        ("kind A\n", "a manifest must be a mapping"),
        ("kind: A\n---\n- b\n", "a manifest must be a mapping"),
        ("kind: A\nkind: B\n", "key `kind` is given twice"),
        ("kind: A\nname: {{ .v\n", ""),
        ("kind: A\n{{ if .v }}\nname: b\n", "`if` is not closed"),
    ] {
        let values = json!({"v": "x"});
        let error = manifests(source, &values).expect_err(source);
        assert!(error.fault().message.contains(message), "{source}: {error}");
    }
}

#[test]
fn numbers_beyond_64_bits_keep_their_digits_and_are_not_computed_with() {
    // As `CloudEvent::to_map` hands them over.
    let values = json!({"v": "123456789012345678901234567890", "u": u64::MAX, "f": 1e21});
    assert_eq!(
        text("{{ .v }} {{ .u }} {{ .f }}", &values).unwrap(),
        "123456789012345678901234567890 18446744073709551615 1000000000000000000000"
    );
    assert_eq!(manifests("a: {{ .v }}\nb: {{ .u }}\n", &values).unwrap()[0], json!({"a": values["v"], "b": u64::MAX}));
    for action in ["int .v", "add .v 1", "mul 2 .u", "max .v 3", "atoi .v", ".v | int64", "sub .u 1"] {
        let error = text(&format!("{{{{ {action} }}}}"), &values).expect_err(action);
        assert!(error.fault().message.contains("does not fit into 64 bits"), "{error}");
    }
}
