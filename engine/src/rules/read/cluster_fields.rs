//! What texts ask of `.Cluster`: the name and labels that every cluster has, or what only a resource for it has.
//!
//! Start at [`asks_for_whole`]. Found in the text, before anything is compiled: it may say yes too often, never no where the
//! words are written. A template that is over the whole dot sees the name and labels alone.

use serde_json::Value;

/// Whether a template in here may ask for more of `.Cluster` than its type, name and labels. May say yes too often, never
/// no where the word is written.
pub(in crate::rules) fn asks_for_whole(value: &Value) -> bool {
    match value {
        Value::String(text) => text_asks_for_whole(text),
        Value::Array(items) => items.iter().any(asks_for_whole),
        Value::Object(map) => map.values().any(asks_for_whole),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What a template in here asks of `.Cluster` that is only there where a resource represents the cluster, such as `spec.paused`.
pub(in crate::rules) fn field_of_resource(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text_field_of_resource(text),
        Value::Array(items) => items.iter().find_map(field_of_resource),
        Value::Object(map) => map.values().find_map(field_of_resource),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// The same of one text.
pub(in crate::rules) fn text_field_of_resource(text: &str) -> Option<String> {
    let fields = text.split(".Cluster.").skip(1).map(|rest| {
        let is_path = |character: char| character.is_alphanumeric() || matches!(character, '_' | '.');
        rest.split(|character| !is_path(character)).next().unwrap_or_default()
    });
    let first = |field: &str| field.trim_start_matches("metadata.").split('.').next().unwrap_or_default().to_owned();
    let always = ["metadata", "name", "namespace", "labels", "kind", "apiVersion"];
    let mut wanted = fields.filter(|field| text.contains("{{") && !always.contains(&first(field).as_str()));
    wanted.next().map(|field| field.trim_end_matches('.').to_owned())
}

/// Whether one text may ask for more of `.Cluster` than its type, name and labels.
pub(in crate::rules) fn text_asks_for_whole(text: &str) -> bool {
    const WORD: &str = "Cluster";
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    // Text outside of templates may name the kind; only an action may ask for the value.
    ["{{", "{%"].iter().any(|open| text.contains(open))
        && text.match_indices(WORD).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + WORD.len()..]);
            if before.ends_with(is_part) || after.starts_with(is_part) {
                return false;
            }
            let known = [".metadata.name", ".metadata.namespace", ".metadata.labels", ".kind", ".apiVersion"];
            let ends = |rest: &str| !rest.starts_with(is_part);
            known.iter().all(|known| after.strip_prefix(known).is_none_or(|rest| !ends(rest)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_for_more_than_name_and_labels_sees_the_whole() {
        let check = |text: &str, expected: bool| assert_eq!(text_asks_for_whole(text), expected, "{text}");
        check("{{ .Cluster.metadata.name }}-{{ $.Cluster.metadata.labels.env }} {{ .Cluster.kind }}", false);
        check("kind: ClusterRole\nname: {{ .ClusterName }}{{ .ClusterKind }}", false);
        check("kind: Cluster", false);
        check("{{ .Cluster.metadata.annotations.a }}", true);
        check("{{ .Cluster.metadata.namesake }}", true);
        check("{{ .Cluster.spec.paused }}", true);
        check("{{ with .Cluster }}{{ .status.ready }}{{ end }}", true);
        check("{{ toYaml .Cluster.metadata }}", true);
        check("{{ index . \"Cluster\" }}", true);
        check("{% if Cluster.spec.paused %}a{% endif %}", true);
    }

    #[test]
    fn what_only_a_resource_has_is_found() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text_field_of_resource(text).as_deref(), expected, "{text}");
        };
        check(
            "{{ .Cluster.metadata.name }}{{ .Cluster.metadata.labels.env }}{{ .Cluster.kind }}{{ toYaml .Cluster }}",
            None,
        );
        check("{{ .Cluster.metadata.name }}{{ $.Cluster.spec.paused }}", Some("spec.paused"));
        check("{{ if .Cluster.metadata.annotations.tier }}", Some("metadata.annotations.tier"));
    }
}
