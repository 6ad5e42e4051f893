//! What an engine, or any API server, would refuse of rendered manifests for their names alone.
//!
//! Start at [`doubts`]. No cluster is asked. What an engine refuses is found by what an engine calls; the rules of names are
//! those of Kubernetes: RFC 1123, and any path segment for the kinds of RBAC.

use lifeline_projections::fact::ObjectKey;
use serde_json::Value;

use crate::builtin;
use crate::cluster::object_key;

/// The longest name of an object, and of a Namespace or Service, in bytes.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// What is wrong with one of the manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Which, by its place among them.
    pub index: usize,
    /// Whether an engine refuses it. Otherwise an API server will.
    pub is_refused: bool,
    /// What is wrong, and what to do about it.
    pub message: String,
}

/// What is wrong with the names of manifests that one lifecycle makes, each with where it came from.
#[must_use]
pub fn doubts(manifests: &[(&Value, &str)]) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    let mut known: Vec<(ObjectKey, &str)> = Vec::new();
    for (index, (manifest, origin)) in manifests.iter().enumerate() {
        let refused = |what: String| Doubt { index, is_refused: true, message: format!("{origin}: {what}") };
        let object = match object_key(manifest) {
            Ok(object) => placed(object, None),
            Err(error) => {
                doubts.push(refused(error.to_string()));
                continue;
            }
        };
        if let Some((_, twin)) = known.iter().find(|(other, _)| *other == object) {
            doubts.push(refused(format!("gives {object}, which {twin} gives already")));
        }
        if let Some(what) = refused_name(&object) {
            let hint =
                "hint: in the template, such as `{{ .CloudEvent.subject | lower | replace \"_\" \"-\" | trunc 63 }}`";
            let message = format!("{origin}: no API server takes {object}: {what}\n{hint}");
            doubts.push(Doubt { index, is_refused: false, message });
        }
        known.push((object, origin));
    }
    doubts
}

/// An object whose manifest may leave out its namespace, named as its kind says, or as one of the same name is `known`.
pub(super) fn placed(mut object: ObjectKey, known: Option<&ObjectKey>) -> ObjectKey {
    object.namespace = match builtin::kind(&object.group, &object.version, &object.kind) {
        Some(kind) if kind.namespaced => object.namespace.or_else(|| Some("default".into())),
        Some(_) => None,
        None => known.map_or(object.namespace, |known| known.namespace.clone()),
    };
    object
}

/// Why no API server takes the name or the namespace of an object.
fn refused_name(object: &ObjectKey) -> Option<String> {
    let is_label = object.group.is_empty() && matches!(&*object.kind, "Namespace" | "Service");
    let of_namespace = object.namespace.as_deref().and_then(|namespace| no_label("namespace", namespace));
    of_namespace.or_else(|| match &*object.group {
        "rbac.authorization.k8s.io" => None,
        _ if is_label => no_label("name", &object.name),
        _ => no_name(&object.name),
    })
}

fn no_label(what: &str, text: &str) -> Option<String> {
    if text.len() > LABEL_BYTES_MAX {
        return Some(format!("its {what} has `{}` bytes, expected at most {LABEL_BYTES_MAX}", text.len()));
    }
    let is_label = is_part(text);
    (!is_label)
        .then(|| format!("its {what} `{text}` is not made of a-z, 0-9 and `-`, with a letter or digit at both ends"))
}

fn no_name(name: &str) -> Option<String> {
    if name.len() > NAME_BYTES_MAX {
        return Some(format!("its name has `{}` bytes, expected at most {NAME_BYTES_MAX}", name.len()));
    }
    let is_name = name.split('.').all(is_part);
    (!is_name).then(|| {
        format!(
            "its name `{name}` is not made of a-z, 0-9, `-` and `.`, with a letter or digit at both ends of each part"
        )
    })
}

fn is_part(text: &str) -> bool {
    let is_end = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    text.starts_with(is_end) && text.ends_with(is_end) && text.chars().all(|one| is_end(one) || one == '-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_engine_refuses_is_told_from_what_an_api_server_does() {
        let check = |manifests: &[Value], expected: &[(usize, bool, &str)]| {
            let all: Vec<(&Value, &str)> = manifests.iter().map(|manifest| (manifest, "here")).collect();
            let found = doubts(&all);
            let told: Vec<(usize, bool)> = found.iter().map(|doubt| (doubt.index, doubt.is_refused)).collect();
            assert_eq!(told, expected.iter().map(|(index, is, _)| (*index, *is)).collect::<Vec<_>>(), "{found:?}");
            for (doubt, (_, _, words)) in found.iter().zip(expected) {
                assert!(doubt.message.contains(words), "{doubt:?}");
            }
        };
        let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let of = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        check(&[map("a"), map("b.c-d"), of("Namespace", "a"), of("Secret", "a")], &[]);
        check(&[map("../x")], &[(0, true, "`metadata.name` is `../x`")]);
        let twin = [(1, true, "gives ConfigMap/default/a, which here gives already")];
        let placed =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}});
        check(&[map("a"), placed], &twin);
        check(&[map("UPPER")], &[(0, false, "its name `UPPER` is not made of")]);
        check(&[map("a b")], &[(0, false, "its name `a b` is not made of")]);
        check(&[map("a_b"), map("-a"), map("a..b")], &[(0, false, "`a_b`"), (1, false, "`-a`"), (2, false, "`a..b`")]);
        check(&[map(&"x".repeat(300))], &[(0, false, "its name has `300` bytes, expected at most 253")]);
        check(&[of("Namespace", &"x".repeat(64))], &[(0, false, "its name has `64` bytes, expected at most 63")]);
        check(&[of("Namespace", "a.b")], &[(0, false, "its name `a.b`")]);
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "a:B"}});
        check(&[role], &[]);
        check(&[json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}})], &[(0, true, "`metadata.name`")]);
    }
}
