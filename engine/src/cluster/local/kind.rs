//! The kinds a cluster serves beside those built into Kubernetes: what CustomResourceDefinitions add, and what only answers.
//!
//! Start at [`defined_by`]. The kinds built in are in [`crate::builtin`]; the rules of single kinds are in the module `rule`.

use serde_json::Value;

/// Kinds that answer a question when created, and hold nothing that could be applied.
pub(super) fn is_a_question(group: &str, kind: &str) -> bool {
    matches!(group, "authentication.k8s.io" | "authorization.k8s.io") && kind.ends_with("Review")
        || group.is_empty() && matches!(kind, "Binding" | "ComponentStatus")
}

/// What a CustomResourceDefinition says about one version of its kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defined<'a> {
    /// Its objects live in namespaces.
    pub(super) namespaced: bool,
    /// The OpenAPI v3 schema, where the version has one.
    pub(super) schema: Option<&'a Value>,
    /// `status` is a subresource, so an apply of the object does not reach it.
    pub(super) status_is_apart: bool,
}

/// Reads a CustomResourceDefinition: does it serve this kind, and how?
pub(super) fn defined_by<'a>(definition: &'a Value, group: &str, version: &str, kind: &str) -> Option<Defined<'a>> {
    let spec = definition.get("spec")?;
    if spec.get("group")?.as_str()? != group || spec.pointer("/names/kind")?.as_str()? != kind {
        return None;
    }
    let served = spec
        .get("versions")?
        .as_array()?
        .iter()
        .find(|served| served["name"].as_str() == Some(version) && served["served"].as_bool() == Some(true))?;
    Some(Defined {
        namespaced: spec.get("scope")?.as_str()? == "Namespaced",
        schema: served.pointer("/schema/openAPIV3Schema"),
        status_is_apart: served.pointer("/subresources/status").is_some(),
    })
}
