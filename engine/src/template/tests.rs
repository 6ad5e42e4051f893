//! Tests of the whole: sources in, objects or errors out.

use serde_json::{Value, json};

use super::*;

pub(super) fn event() -> Value {
    json!({
        "CloudEvent": {
            "specversion": "1.0",
            "type": "auth.example.com.login",
            "source": "auth.example.com",
            "id": "10001",
            "subject": "mgianluc",
            "datacontenttype": "application/json",
            "data": {"message": "User mgianluc login", "organization": "acme", "n": 3, "big": 1_000_000, "pi": 3.5}
        },
        "Cluster": {"metadata": {"name": "mgmt", "namespace": "mgmt"}}
    })
}

pub(super) fn data(values: &Value) -> Data<'_> {
    Data {
        values,
        recorded_at_unix_nanos: 1_795_341_296_123_456_789,
    }
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
const SEED_ACTION: &str =
    "{{ if eq .CloudEvent.type 'auth.example.com.logout' }}Delete{{ else }}Create{{ end }}";
const SEED_ACTION_DOUBLE: &str =
    "{{if eq .CloudEvent.type \"auth.example.com.logout\"}}Delete{{else}}Create{{end}}";

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
                    assert_eq!(
                        objects[0]["metadata"]["name"],
                        json!(subject),
                        "{subject:?}"
                    );
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
    for subject in [
        "1001",
        "true",
        "null",
        "~",
        "0x10",
        "2026-11-22",
        "1e3",
        "yes",
        "",
        ".inf",
    ] {
        let mut values = event();
        values["CloudEvent"]["subject"] = json!(subject);
        let objects = manifests(SEED_NAMESPACE, &values).unwrap();
        assert_eq!(objects[0]["metadata"]["name"], json!(subject));
    }
}
