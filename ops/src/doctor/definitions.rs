//! Whether the definitions of our kinds that a cluster has know what this release needs.
//!
//! Start at [`compare`]. The cluster's own description (OpenAPI v3) is read, which everybody may who is known to it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Finding;

/// The definitions of this release.
const OURS: [(&str, &str); 2] = [
    ("EventSource", include_str!("../../crds/eventsources.yaml")),
    ("EventTrigger", include_str!("../../crds/eventtriggers.yaml")),
];

/// The group and version of our kinds.
pub(super) const GROUP_VERSION: &str = "lib.projectsveltos.io/v1beta1";

/// Compares with what the cluster describes; `None` where it does not have the group at all.
pub(super) fn compare(described: Option<&Value>) -> Vec<Finding> {
    OURS.iter().map(|(kind, text)| one(kind, text, described)).collect()
}

fn one(kind: &str, text: &str, described: Option<&Value>) -> Finding {
    let check = format!("definition of {kind}");
    let remedy = "`lifeline crds | kubectl apply --server-side -f -`; where Sveltos brings them, upgrade Sveltos";
    let schemas = described.and_then(|described| described["components"]["schemas"].as_object());
    let is_it = |schema: &&Value| {
        schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten().any(|gvk| gvk["kind"] == kind)
    };
    let Some(theirs) = schemas.and_then(|schemas| schemas.values().find(is_it)) else {
        return Finding::failed(check, format!("the cluster does not serve `{kind}` of `{GROUP_VERSION}`"), remedy);
    };
    let ours: Value = serde_saphyr::from_str(text).unwrap_or_default();
    let ours = &ours["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let (mut wanted, mut served) = (BTreeSet::new(), BTreeSet::new());
    for part in ["spec", "status"] {
        fields(part, &ours["properties"][part], &mut wanted);
        fields(part, &theirs["properties"][part], &mut served);
    }
    let missing: Vec<&str> = wanted.difference(&served).map(String::as_str).collect();
    match missing.as_slice() {
        [] => Finding::ok(check, format!("knows all {} fields of this release", wanted.len())),
        some => {
            let named = some.iter().take(4).map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
            let more = if some.len() > 4 { format!(" and {} more", some.len() - 4) } else { String::new() };
            Finding::warning(check, format!("is older or other than ours: it lacks {named}{more}"), remedy)
        }
    }
}

/// The paths of the fields of a schema.
fn fields(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        fields(&path, schema, found);
        fields(&path, &schema["items"], found);
        found.insert(path);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Verdict;

    fn described(kind: &str, text: &str, change: impl Fn(&mut Value)) -> Value {
        let ours: Value = serde_saphyr::from_str(text).unwrap();
        let mut schema = ours["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        schema["x-kubernetes-group-version-kind"] = json!([{"kind": kind}]);
        change(&mut schema);
        json!({"components": {"schemas": {"x": schema}}})
    }

    #[test]
    fn a_definition_that_lacks_fields_is_older() {
        for (kind, text) in OURS {
            let same = one(kind, text, Some(&described(kind, text, |_| ())));
            assert_eq!(same.verdict, Verdict::Ok, "{same:?}");
            let older = described(kind, text, |schema| {
                schema["properties"]["status"]["properties"].as_object_mut().unwrap().remove("conditions");
            });
            let older = one(kind, text, Some(&older));
            assert!(older.verdict == Verdict::Warning && older.found.contains("`status.conditions`"), "{older:?}");
            assert_eq!(one(kind, text, None).verdict, Verdict::Failed);
        }
    }
}
