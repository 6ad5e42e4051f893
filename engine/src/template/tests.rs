//! Tests of the whole: sources in, objects or errors out.

use lifeline_store::Random;
use serde_json::{Value, json};

use super::*;

mod exact;

pub(super) fn event() -> Value {
    json!({
        "CloudEvent": {
            "specversion": "1.0",
            "type": "auth.example.com.login",
            "source": "auth.example.com",
            "id": "10001",
            "subject": "mgianluc",
            "datacontenttype": "application/json",
            "data": {"message": "User mgianluc login", "organization": "acme", "n": 3, "big": 1_000_000, "pi": 3.5, "evil": "x: y"}
        },
        "Cluster": {"metadata": {"name": "mgmt", "namespace": "mgmt"}}
    })
}

pub(super) fn data(values: &Value) -> Data<'_> {
    Data { values, recorded_at_unix_nanos: 1_795_341_296_123_456_789 }
}

fn text(source: &str, values: &Value) -> Result<String, Error> {
    Template::compile(Dialect::Go, "test", source)?.render_text(&data(values))
}

fn manifests(source: &str, values: &Value) -> Result<Vec<Value>, Error> {
    Template::compile(Dialect::Go, "test", source)?.render_manifests(&data(values))
}

const SEED_NAMESPACE_WITH_LABEL: &str = "kind: Namespace
apiVersion: v1
metadata:
  name: {{ .CloudEvent.subject }} # .CloudEvent is the triggering CloudEvent
  labels:
    organization: {{ ( index .CloudEvent.data `organization` ) }}
";
const SEED_NAMESPACE: &str = "kind: Namespace
apiVersion: v1
metadata:
  name: {{ .CloudEvent.subject }} # The CloudEvent is available and can be used to instantiate the template
";
const SEED_ACTION: &str = "{{ if eq .CloudEvent.type 'auth.example.com.logout' }}Delete{{ else }}Create{{ end }}";
const SEED_ACTION_DOUBLE: &str = "{{if eq .CloudEvent.type \"auth.example.com.logout\"}}Delete{{else}}Create{{end}}";

#[test]
fn seed_manifests_render_as_written() {
    assert_eq!(
        manifests(SEED_NAMESPACE_WITH_LABEL, &event()).unwrap(),
        [json!({"kind": "Namespace", "apiVersion": "v1",
            "metadata": {"name": "mgianluc", "labels": {"organization": "acme"}}})]
    );
    assert_eq!(
        manifests(SEED_NAMESPACE, &event()).unwrap(),
        [json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "mgianluc"}})]
    );
}

#[test]
fn seed_actions_render_as_written() {
    for action in [SEED_ACTION, SEED_ACTION_DOUBLE, "Create"] {
        assert_eq!(text(action, &event()).unwrap(), "Create");
    }
    let mut logout = event();
    logout["CloudEvent"]["type"] = json!("auth.example.com.logout");
    for action in [SEED_ACTION, SEED_ACTION_DOUBLE] {
        assert_eq!(text(action, &logout).unwrap(), "Delete");
    }
}

#[test]
fn hostile_subjects_never_change_the_structure() {
    for subject in [
        "x\nkind: ClusterRole",
        "a: b",
        "x # y",
        "---\nkind: ClusterRole",
        "&a b",
        "*a",
        "!!binary aGk=",
        "{a: b}",
        "[a]",
        "|",
        "> ",
        "\"a\"",
        "'a'",
        "- a",
        "? a",
        "%YAML 1.2",
        "@a",
        "`a",
        "a:",
        " a",
        "a ",
        "\ta",
        "",
        "...",
        "#",
        "x\n  labels:\n    a: b",
        "\u{FEFF}",
        "x\r\nkind: y",
        "x\u{85}kind: y",
        "x\u{2028}kind: y",
    ] {
        let mut hostile = event();
        hostile["CloudEvent"]["subject"] = json!(subject);
        for template in [SEED_NAMESPACE, SEED_NAMESPACE_WITH_LABEL] {
            match manifests(template, &hostile) {
                Ok(objects) => {
                    assert_eq!(objects.len(), 1, "{subject:?}");
                    assert_eq!(objects[0]["metadata"]["name"], json!(subject), "{subject:?}");
                    assert_eq!(objects[0]["kind"], json!("Namespace"));
                    assert_eq!(objects[0].as_object().unwrap().len(), 3, "{subject:?}");
                }
                Err(Error::Confined(_)) => {}
                Err(other) => panic!("{subject:?}: {other}"),
            }
        }
    }
}

#[test]
fn names_are_the_strings_they_spell() {
    for subject in ["1001", "true", "null", "~", "0x10", "2026-11-22", "1e3", "yes", "", ".inf"] {
        let mut values = event();
        values["CloudEvent"]["subject"] = json!(subject);
        let objects = manifests(SEED_NAMESPACE, &values).unwrap();
        assert_eq!(objects[0]["metadata"]["name"], json!(subject));
    }
}

fn tera_manifests(source: &str, values: &Value) -> Result<Vec<Value>, Error> {
    Template::compile(Dialect::Tera, "test", source)?.render_manifests(&data(values))
}

fn with_subject(subject: &str) -> Value {
    let mut values = event();
    values["CloudEvent"]["subject"] = json!(subject);
    values
}

/// The manifest that a body of `data:` entries becomes.
fn config_map(entries: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n{entries}")
}

#[test]
fn values_are_taken_as_they_are_wherever_they_fit() {
    for (entry, subject, expected) in [
        ("  a: {{ .CloudEvent.subject }}\n", "1001", json!("1001")),
        ("  a: {{ .CloudEvent.subject }}\n", "", json!("")),
        (
            "  a: {{ .CloudEvent.subject | quote }}\n",
            "say \"hi\" \\ # x: y\n\u{1}é\u{200b}",
            json!("say \"hi\" \\ # x: y\n\u{1}é\u{200b}"),
        ),
        ("  a: {{ quote .CloudEvent.subject }}\n", "", json!("")),
        ("  a: \"{{ .CloudEvent.subject }}\"\n", "a: b # c", json!("a: b # c")),
        ("  a: '{{ .CloudEvent.subject }}'\n", "a: b # \"c\\", json!("a: b # \"c\\")),
        ("  a: pre-{{ .CloudEvent.subject }}-post\n", "x", json!("pre-x-post")),
        ("  a: {{ .CloudEvent.subject }}{{ .CloudEvent.id }}\n", "x", json!("x10001")),
        ("  a: |\n    {{ .CloudEvent.subject }}\n", "a: b # c", json!("a: b # c\n")),
        ("  a: |\n{{ .CloudEvent.subject | indent 4 }}\n", "l1\nl2: x\n- y", json!("l1\nl2: x\n- y\n")),
        ("  a: |-{{ .CloudEvent.subject | nindent 4 }}\n", "l1\nl2: x", json!("l1\nl2: x")),
        ("  a: |\n    {{ .CloudEvent.subject }}\n", "", json!("")),
        ("  a: {{ .CloudEvent.subject }} # {{ .CloudEvent.subject }}\n", "x", json!("x")),
        ("  a: {{ .CloudEvent.subject | toJson }}\n", "a: \"b\"\n", json!("a: \"b\"\n")),
        ("  a: {{ .CloudEvent.subject | toYaml }}\n", "a: b\nkind: x", json!("a: b\nkind: x")),
        ("  a: {{ \"a b # c\" }}\n", "x", json!("a b")),
        ("  a: {{ .CloudEvent.data.n }}\n", "x", json!("3")),
        ("  a: {{ .CloudEvent.data.big }}\n", "x", json!("1000000")),
    ] {
        let objects = manifests(&config_map(entry), &with_subject(subject))
            .unwrap_or_else(|error| panic!("{entry} {subject:?}: {error}"));
        assert_eq!(objects[0]["data"]["a"], expected, "{entry} {subject:?}");
    }
}

#[test]
fn values_that_would_not_mean_what_they_say_are_refused() {
    for (entry, subject) in [
        ("  a: \"{{ .CloudEvent.subject }}\"\n", "\\"),
        ("  a: \"{{ .CloudEvent.subject }}\"\n", "x\" \nkind: y"),
        ("  a: '{{ .CloudEvent.subject }}'\n", "it's"),
        ("  a: '{{ .CloudEvent.subject }}'\n", "x\ny"),
        ("  a: {{ .CloudEvent.subject }}\n", "x\n    y"),
        ("  a: {{ .CloudEvent.subject }}\n", "\"x\""),
        ("  a: {{ .CloudEvent.subject | squote }}\n", "it's"),
        ("  a: x{{ .CloudEvent.subject }}\n", ": y"),
        ("  a:{{ .CloudEvent.subject }}y\n", " "),
        ("  a: |\n    {{ .CloudEvent.subject }}\n", "x\nkind: y"),
        ("  a: |\n    {{ .CloudEvent.subject }}\n", "x\n  b: y"),
        ("  a: x # {{ .CloudEvent.subject }}\n", "c\n  b: y"),
        ("  {{ .CloudEvent.subject }}: x\n", ""),
        ("  {{ .CloudEvent.subject }}: x\n", "b: c"),
        ("  {{ .CloudEvent.subject }}\n", ""),
        ("  {{ .CloudEvent.subject }}\n", "b: c"),
        ("  a: {{ .CloudEvent.subject }}\n  b: x\n", "|"),
        ("  -{{ .CloudEvent.subject }}\n", " a"),
        ("  a: {{ .CloudEvent.subject }}\n  b: \"x\"\n", "\""),
    ] {
        let error = manifests(&config_map(entry), &with_subject(subject)).expect_err(&format!("{entry} {subject:?}"));
        assert!(matches!(error, Error::Confined(_)), "{entry} {subject:?}: {error:?}");
    }
}

#[test]
fn keys_may_hold_values_but_none_that_is_there_already() {
    let template = config_map("  fixed: x\n  {{ .CloudEvent.subject }}: v\n");
    assert_eq!(manifests(&template, &with_subject("true")).unwrap()[0]["data"], json!({"fixed": "x", "true": "v"}));
    assert_eq!(manifests(&template, &with_subject("<<")).unwrap()[0]["data"], json!({"fixed": "x", "<<": "v"}));
    assert!(manifests(&template, &with_subject("fixed")).is_err());
}

#[test]
fn structures_written_on_purpose_stay_in_their_node() {
    let labels = json!({"a": "b: c\nkind: x", "d": "1", "e": "---"});
    let mut values = event();
    values["CloudEvent"]["data"]["labels"] = labels.clone();
    values["CloudEvent"]["data"]["list"] = json!(["x", {"y": "z"}]);
    for body in [
        "metadata:\n  labels:\n    {{- toYaml .CloudEvent.data.labels | nindent 4 }}\n",
        "metadata:\n  labels: {{ toJson .CloudEvent.data.labels }}\n",
        "metadata:\n  name: x\n  labels:\n{{ .CloudEvent.data.labels | toYaml | indent 4 }}\n",
        "metadata:\n  labels: {{- .CloudEvent.data.labels | toYaml | nindent 4 }}\n  name: x\n",
    ] {
        let objects = manifests(body, &values).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(objects[0]["metadata"]["labels"], labels, "{body}");
    }
    let mixed =
        manifests("metadata:\n  labels:\n    {{- toYaml .CloudEvent.data.labels | nindent 4 }}\n    own: x\n", &values)
            .unwrap();
    assert_eq!(mixed[0]["metadata"]["labels"]["own"], json!("x"));
    let listed =
        manifests("spec:\n  items:\n  {{- toYaml .CloudEvent.data.list | nindent 2 }}\n  next: 1\n", &values).unwrap();
    assert_eq!(listed[0]["spec"], json!({"items": ["x", {"y": "z"}], "next": 1}));
    let text =
        manifests(&config_map("  a: |\n    {{- toYaml .CloudEvent.data.labels | nindent 4 }}\n"), &values).unwrap();
    assert!(text[0]["data"]["a"].as_str().unwrap().contains("d: \"1\""));

    for (body, expected) in [
        (
            "items:\n- {{ toJson .CloudEvent.data.list }}\n- {{ toJson .CloudEvent.data.labels }}\n",
            json!([["x", {"y": "z"}], labels]),
        ),
        ("items:\n  - {{ toJson .CloudEvent.data.list }}\n", json!([["x", {"y": "z"}]])),
        ("items: {{ toJson .CloudEvent.data.list }}\n", json!(["x", {"y": "z"}])),
        ("items: [{{ toJson .CloudEvent.data.list }}, 1]\n", json!([["x", {"y": "z"}], 1])),
    ] {
        let objects = manifests(body, &values).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(objects[0]["items"], expected, "{body}");
    }
    let whole = manifests(
        "a: x\ndata:\n  {{- toYaml .CloudEvent.data.labels | nindent 2 }}\nb: {{ toYaml .CloudEvent.subject }}\n",
        &values,
    )
    .unwrap();
    assert_eq!(whole, [json!({"a": "x", "data": labels, "b": "mgianluc"})]);
    for body in [
        "{{ toYaml .CloudEvent.data.labels }}\n",
        "a: x\n{{ toYaml .CloudEvent.data.labels }}\n",
        "metadata:\n  labels:{{ toYaml .CloudEvent.data.labels | nindent 2 }}\n",
        "metadata:\n  labels:{{ toYaml .CloudEvent.data.labels | nindent 0 }}\n",
        "metadata:\n  labels: {{ toYaml .CloudEvent.data.labels }}\n",
        "{{ toJson .CloudEvent.data.labels }}\n",
    ] {
        assert!(manifests(body, &values).is_err(), "{body}: {:?}", manifests(body, &values));
    }
}

#[test]
fn errors_say_where_and_what_was_meant() {
    let check = |source: &str, place: (usize, usize), message: &str, hint: Option<&str>| {
        let error = match Template::compile(Dialect::Go, "t", source) {
            Ok(template) => template.render_manifests(&data(&event())).expect_err(source),
            Err(error) => error,
        };
        let fault = error.fault();
        assert_eq!((fault.line, fault.column), place, "{source}: {error}");
        assert!(fault.message.contains(message), "{source}: {error}");
        match hint {
            Some(hint) => assert!(fault.hint.as_deref().unwrap_or("").contains(hint), "{source}: {error}"),
            None => assert_eq!(fault.hint, None, "{source}"),
        }
    };
    check("a: {{ .x | toYamll }}", (1, 12), "unknown function `toYamll`", Some("did you mean `toYaml`?"));
    check("a: b\nc: {{ uuidv4 }}", (2, 7), "`uuidv4` is refused", Some(".CloudEvent.id"));
    check("a: {{ getHostByName \"x\" }}", (1, 7), "asks the network", Some("event's data"));
    check("a: {{ upper }}", (1, 7), "`upper` takes 1 argument, not 0", None);
    check("a: {{ $y }}", (1, 7), "unknown variable `$y`", None);
    check("{{ template \"x\" }}", (1, 4), "unknown template `x`", None);
    check("a: {{ if .x }}", (1, 7), "`if` is not closed", None);
    check("a: {{ .x", (1, 9), "", None);
    check("a: {{ .CloudEvent.subjct }}", (1, 19), "no key `subjct`", Some("did you mean `subject`?"));
    check("é: {{ 'y z' }}{{ .CloudEvent.data.zzz }}", (1, 35), "no key `zzz`", Some("hasKey"));
    check("a: {{ index .CloudEvent.data \"zzz\" }}", (1, 7), "no value", Some("default"));
    check("a: {{ fail \"no \\\"x\\\"\" }}", (1, 7), "no \"x\"", None);
    check("a: {{ required \"give x\" .CloudEvent.data.message | int | div 1 }}", (1, 58), "division by zero", None);
    check("a: {{ \"x\" }}\nb: {{ .CloudEvent.data.evil }}", (2, 7), "would change the structure", Some("| quote }}"));
    check("- a\n", (1, 1), "line 1 of the rendered manifest, `- a`: a manifest must be a mapping", None);
    check("{{ break }}", (1, 4), "`break` outside", None);
}

#[test]
fn limits_are_errors_not_hangs() {
    for source in [
        "{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}",
        "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}",
        "{{ range until 1000 }}{{ repeat 100000 \"x\" }}{{ end }}",
        "{{ repeat 1000000000 \"x\" }}",
        "{{ until 1000000000 }}",
        "{{ $x := list 1 }}{{ range until 100000 }}{{ $x = list $x }}{{ end }}",
        "{{ $x := dict }}{{ range until 100000 }}{{ $x = dict \"a\" $x }}{{ end }}",
        "{{ $x := list 1 2 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ toJson $x }}",
        "{{ $x := repeat 1000000 \"x\" }}{{ toJson (list $x $x $x $x $x $x $x $x $x) }}",
        "{{ repeat 1000000 \"<\" | js | js | js | js }}",
        "{{ wrapWith 1 (repeat 1000000 \"x\") (repeat 100000 \"y \") }}",
        "{{ regexReplaceAll \".+\" (repeat 1000000 \"x\") (repeat 100 \"${0}\") }}",
        "{{ $x := \"ab\" }}{{ range until 60 }}{{ $x = print $x $x }}{{ end }}",
        "{{ $x := list 1 }}{{ range until 60 }}{{ $x = concat $x $x }}{{ end }}",
        "{{ printf \"%65000d%65000d%65000d\" 1 2 3 | repeat 1000 }}",
        "{{ define \"a\" }}{{ if gt . 0 }}{{ template \"a\" (sub . 1) }}{{ template \"a\" (sub . 1) }}{{ end }}{{ end }}{{ template \"a\" 90 }}",
        "{{ \"x\" | replace \"\" (repeat 100000 \"y\") | replace \"y\" (repeat 100000 \"z\") }}",
    ] {
        let template = Template::compile(Dialect::Go, "t", source).unwrap();
        let error = template.render_text(&data(&event())).expect_err(source);
        assert!(matches!(error, Error::Limit(_)), "{source}: {error:?}");
    }
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(Template::compile(Dialect::Go, "t", &deep).is_err());
    let deep = "{{ if true }}".repeat(3000);
    assert!(Template::compile(Dialect::Go, "t", &deep).is_err());
    let laughs: String = std::iter::once("a0: &a0 [x]\n".to_owned())
        .chain((1..30).map(|n| format!("a{n}: &a{n} [*a{m}, *a{m}, *a{m}, *a{m}]\n", m = n - 1)))
        .collect();
    assert!(parse_manifests("laughs", &laughs).is_err());
    assert!(parse_manifests("deep", &"[".repeat(100_000)).is_err());
}

#[test]
fn now_is_when_the_event_was_recorded() {
    assert_eq!(text("{{ now | date \"2006-01-02T15:04:05\" }}", &event()).unwrap(), "2026-11-22T09:54:56");
    assert_eq!(text("{{ now }}", &event()).unwrap(), "2026-11-22 09:54:56.123456789 +0000 UTC");
    assert_eq!(text("{{ now | unixEpoch }}", &event()).unwrap(), "1795341296");
}

#[test]
fn event_list_is_noticed_in_the_tree_not_in_the_text() {
    let check = |dialect: Dialect, source: &str, expected: bool| {
        assert_eq!(Template::compile(dialect, "t", source).unwrap().uses_event_list(), expected, "{source}");
    };
    check(Dialect::Go, "{{ range .CloudEvents }}{{ .subject }}{{ end }}", true);
    check(Dialect::Go, "{{ with .Cluster }}{{ range $.CloudEvents }}{{ end }}{{ end }}", true);
    check(Dialect::Go, "{{ index . \"CloudEvents\" }}", true);
    check(Dialect::Go, "{{ define \"a\" }}{{ len .CloudEvents }}{{ end }}{{ template \"a\" . }}", true);
    check(Dialect::Go, "# .CloudEvents\n{{ .CloudEvent.CloudEvents }}{{/* .CloudEvents */}}", false);
    check(Dialect::Tera, "{% for e in CloudEvents %}{{ e.subject }}{% endfor %}", true);
    check(Dialect::Tera, "# CloudEvents\n{{ CloudEvent.subject }}", false);
}

#[test]
fn one_character_between_single_quotes_is_a_string() {
    let mut values = event();
    values["CloudEvent"]["subject"] = json!("x");
    assert_eq!(
        text("{{ if eq .CloudEvent.subject 'x' }}yes{{ end }}{{ 'y' }}{{ print 'z' | upper }}", &values).unwrap(),
        "yesyZ"
    );
    assert_eq!(text("{{ printf \"%c\" 'x' }}", &values).unwrap(), "x");
}

#[test]
fn several_documents_are_several_objects() {
    let source = "---\na: {{ .CloudEvent.subject }}\n---\n# nothing\n---\nb: 2\n...\n";
    assert_eq!(manifests(source, &event()).unwrap(), [json!({"a": "mgianluc"}), json!({"b": 2})]);
    let ranged = "{{ range .CloudEvents }}---\nname: {{ .subject }}\n{{ end }}";
    let values = json!({"CloudEvents": [{"subject": "a"}, {"subject": "b"}]});
    assert_eq!(manifests(ranged, &values).unwrap(), [json!({"name": "a"}), json!({"name": "b"})]);
}

#[test]
fn plain_manifests_are_read_as_kubectl_reads_them() {
    let read = |source: &str| parse_manifests("m", source);
    assert_eq!(
        read("a: &x {b: 1}\nc:\n  <<: *x\n  d: yes\n").unwrap(),
        [json!({"a": {"b": 1}, "c": {"d": true, "b": 1}})]
    );
    assert_eq!(read("a: !!str 1\nb: !!int \"2\"\n1: x\n").unwrap(), [json!({"a": "1", "b": 2, "1": "x"})]);
    let twice = read("a: 1\nb:\n  c: 1\n  c: 2\n").unwrap_err();
    assert_eq!((twice.fault().line, twice.fault().column), (4, 3));
    assert!(twice.fault().message.contains("key `c` is given twice"), "{twice}");
    assert!(read("a: [").is_err());
    assert!(read("a: .inf").is_err());
    assert!(read("~: x").is_ok_and(|objects| objects == [json!({"~": "x"})]));
}

#[test]
fn tera_renders_confined_manifests() {
    let template = "kind: Namespace\nmetadata:\n  name: {{ CloudEvent.subject }} # {{ CloudEvent.id }}\n  labels: {{ CloudEvent.data | to_json }}\n  annotations:\n    {{ CloudEvent.data | to_yaml | indent(width=4) }}\n";
    let objects = tera_manifests(template, &event()).unwrap();
    assert_eq!(objects[0]["metadata"]["name"], json!("mgianluc"));
    assert_eq!(objects[0]["metadata"]["labels"]["n"], json!("3"));
    assert_eq!(objects[0]["metadata"]["annotations"]["organization"], json!("acme"));
    for subject in ["a: b", "x\nkind: y", "---", "", "\u{FDD3}x: y\u{FDD0}", "x # y"] {
        match tera_manifests(template, &with_subject(subject)) {
            Ok(objects) => assert_eq!(objects[0]["metadata"]["name"], json!(subject)),
            Err(Error::Confined(_) | Error::Render(_)) => {}
            Err(other) => panic!("{subject:?}: {other:?}"),
        }
    }
    let quoted = tera_manifests("a: {{ CloudEvent.subject | quote }}\n", &with_subject("a: \"b\"\n")).unwrap();
    assert_eq!(quoted, [json!({"a": "a: \"b\"\n"})]);
    let captured = "{% set x %}{{ CloudEvent.subject }}{% endset %}a: {{ x }}\n";
    assert_eq!(tera_manifests(captured, &event()).unwrap(), [json!({"a": "mgianluc"})]);
    assert!(tera_manifests(captured, &with_subject("x\nb: c")).is_err());
    let action = "{% if CloudEvent.type == 'auth.example.com.logout' %}Delete{% else %}Create{% endif %}";
    let compiled = Template::compile(Dialect::Tera, "t", action).unwrap();
    assert_eq!(compiled.render_text(&data(&event())).unwrap(), "Create");
    let error = Template::compile(Dialect::Tera, "t", "a: {{ CloudEvent.subject | safe }}").unwrap_err();
    assert!(matches!(error, Error::Refused(_)));
    let error = tera_manifests("a: {{ CloudEvent.subjct }}", &event()).unwrap_err();
    assert_eq!(error.fault().hint.as_deref(), Some("did you mean `subject`?"), "{error}");
    let error = Template::compile(Dialect::Tera, "t", "a: b\nc: {{ x | nope }}").unwrap_err();
    let fault = error.fault();
    assert_eq!((fault.line, fault.column, &*fault.message), (2, 11, "unknown filter `nope`"));
    assert!(Template::compile(Dialect::Tera, "t", "{{ x").is_err());
}

/// What of an object does not depend on values: its keys, the lengths of its lists.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        _ => Value::Null,
    }
}

const FRAGMENTS: [&str; 56] = [
    "\n",
    "\r",
    "\r\n",
    " ",
    "  ",
    "    ",
    "\t",
    ":",
    ": ",
    " #",
    "#",
    "- ",
    "-",
    "---",
    "\n---\n",
    "...",
    "? ",
    "!",
    "!!str ",
    "&a ",
    "*a",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    "\"",
    "\\",
    "|",
    ">",
    "|-\n",
    "%",
    "@",
    "`",
    "~",
    "null",
    "true",
    "<<",
    "<<: *a",
    "x",
    "kind",
    "kind: Evil",
    "\nkind: Evil",
    "\n  kind: Evil",
    "\n    kind: Evil",
    "0x1",
    "\u{FEFF}",
    "\u{85}",
    "\u{2028}",
    "\0",
    "\u{7f}",
    "é",
    "\u{FDD0}0",
    "=",
    "\\n",
];

#[test]
fn no_value_ever_changes_the_shape() {
    let go = |slot: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {slot}\n  labels: {{a: {slot}, b: x}}\n  annotations:\n    a: '{slot}'\n    b: \"{slot}\" # {slot}\n\
             data:\n  a: pre{slot}post\n  b: |\n    {slot}\n    kind: text\n  c: [{slot}, x, \"{slot}\"]\n  d: >-\n    {slot}\n  e: {slot}\n  f:\n  - {slot}\n  - k: {slot}\n    l: m\n---\nkind: B\na: {slot}\n"
        )
    };
    let mut templates: Vec<(Dialect, String)> = Vec::new();
    for slot in [
        "{{ .v }}",
        "{{ .v | quote }}",
        "{{ .v | trunc 9 }}",
        "{{ .v | toJson }}",
        "{{ .v | toYaml }}",
        "{{ .v | squote }}",
    ] {
        templates.push((Dialect::Go, go(slot)));
    }
    templates.push((Dialect::Tera, go("{{ v }}")));
    // One place at a time, so that a refusal in one does not hide what another would have let through.
    for entry in [
        "a: {{ .v }}\n",
        "a: {{ .v }}\nb: x\n",
        "a: \"{{ .v }}\"\nb: \"x\"\n",
        "a: '{{ .v }}'\nb: 'x'\n",
        "a: |\n  {{ .v }}\nb: x\n",
        "a: |\n  {{ .v }}\n  x: y\nb: x\n",
        "a: >\n  {{ .v }}\n  x\nb: x\n",
        "a:\n- {{ .v }}\n- x\n",
        "a:\n- b: {{ .v }}\n  c: d\n",
        "a: {b: {{ .v }}, c: d}\n",
        "a: [{{ .v }}, x]\n",
        "a: x{{ .v }}\nb: y\n",
        "a: {{ .v }}x\nb: y\n",
        "a:{{ .v }}x\n",
        "a: x # {{ .v }}\nb: y\n",
        "a: x {{ .v }} y\n",
        "a: x{{ .v }}y{{ .v }}z\nb: \"x\"\n",
        "a: {{ .v | quote }}\nb: x\n",
        "a: {{ .v | toYaml }}\nb: x\n",
        "a:\n{{ .v | toYaml | indent 2 }}\nb: x\n",
        "a: |\n{{ .v | indent 2 }}\nb: x\n",
        "a:\n{{ setField (dict \"k\" .v) \"x.y\" .v | indent 2 }}\nb: x\n",
        "a:\n{{ copy (dict \"k\" .v) | indent 2 }}\nb: x\n",
        "a: {{ getField (dict \"k\" .v) \"k\" | trim }}\nb: x\n",
        "a: |-{{ .v | nindent 2 }}\nb: x\n",
        "a: &x {{ .v }}\nb: *x\n",
        "a: !!str {{ .v }}\nb: c\n",
        "a: {{ .v }}{{ .v }}\nb: c\n",
        "a: \"{{ .v }}\n  y\"\nb: \"c\"\n",
        "a: [\"{{ .v }}\", \",c\"]\n",
        "a: - {{ .v }}\n",
        "a: {{ .v }} - b\n",
        "a: {{ .v }}# b\n",
        "a: x\n{{ .v }}---\nb: x\n",
        "a: {{ .v | squote }}\nb: 'x'\n",
        "a: \"{{ .v | quote }}\"\n",
        "a: x\n  {{ .v }}\n  y\nb: c\n",
        "a: >-\n  {{ .v }}\n\n  x\nb: c\n",
        "a: {{ .v | trim }}\nb: c\n",
    ] {
        templates.push((Dialect::Go, entry.to_owned()));
        if !entry.contains("| ") {
            templates.push((Dialect::Tera, entry.replace(".v", "v")));
        }
    }
    let mut accepted = 0u32;
    for (dialect, source) in &templates {
        let template = Template::compile(*dialect, "t", source).unwrap();
        let harmless = template
            .render_manifests(&data(&json!({"v": "harmless"})))
            .map(|objects| objects.iter().map(shape).collect::<Vec<_>>());
        let seed = 0x5EED;
        let mut dice = Random::new(seed);
        for round in 0..400 {
            let value: String = match round {
                0 => String::new(),
                round if round <= FRAGMENTS.len() => FRAGMENTS[round - 1].to_owned(),
                _ => (0..1 + dice.below(5)).map(|_| FRAGMENTS[dice.below(FRAGMENTS.len() as u64) as usize]).collect(),
            };
            let values = json!({ "v": value });
            if let Ok(objects) = template.render_manifests(&data(&values)) {
                accepted += 1;
                let shapes: Vec<Value> = objects.iter().map(shape).collect();
                assert_eq!(Ok(shapes), harmless, "seed {seed:#x}, value {value:?}, template\n{source}");
            }
        }
    }
    assert!(accepted > 2000, "only {accepted} values were accepted: the test says little");
}

#[test]
fn many_values_are_judged_in_time() {
    let events: Vec<Value> = (0..20_000)
        .map(|n| json!({"subject": if n == 19_990 { "a: b".to_owned() } else { format!("s{n}") }}))
        .collect();
    let source = "items:\n{{ range .CloudEvents }}- name: {{ .subject }} # {{ .subject }}\n{{ end }}";
    let error = manifests(source, &json!({ "CloudEvents": events })).unwrap_err();
    assert!(error.fault().message.contains("`a: b`"), "{error}");
    let source = "items:\n{{ range .CloudEvents }}- {{ toJson . }}\n{{ end }}";
    assert_eq!(
        manifests(source, &json!({ "CloudEvents": events })).unwrap()[0]["items"].as_array().unwrap().len(),
        20_000
    );
}
