//! [`Named`]: an object by the name that its manifest has. Pure.

use lifeline_projections::fact::ObjectKey;
use serde_json::Value;

/// The name of an object as a manifest has it. The version does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    name: Box<str>,
    kind: Box<str>,
    group: Box<str>,
    namespace: Option<Box<str>>,
}

impl Named {
    /// The name that a manifest has.
    pub(crate) fn of(manifest: &Value) -> Named {
        let text = |value: &Value| value.as_str().unwrap_or_default().into();
        let version = manifest["apiVersion"].as_str().unwrap_or_default();
        Named {
            name: text(&manifest["metadata"]["name"]),
            kind: text(&manifest["kind"]),
            group: version.rsplit_once('/').map_or("", |(group, _)| group).into(),
            namespace: manifest["metadata"]["namespace"].as_str().map(Into::into),
        }
    }

    /// The names that manifests have, as [`Named::gives`] wants them.
    pub(super) fn sorted<'m>(manifests: impl Iterator<Item = &'m Value>) -> Box<[Named]> {
        let mut names: Vec<Named> = manifests.map(Named::of).collect();
        names.sort_unstable();
        names.into()
    }

    /// Whether one of these, sorted, is the name of an object. There may be many thousands of both.
    pub(super) fn gives(sorted: &[Named], object: &ObjectKey) -> bool {
        let is_before = |one: &Named| {
            (&*one.name, &*one.kind, &*one.group, one.namespace.as_deref())
                < (&*object.name, &*object.kind, &*object.group, None)
        };
        let rest = &sorted[sorted.partition_point(is_before)..];
        // One that is written without a namespace is the first of its name.
        if rest.first().is_some_and(|first| first.is_of(object)) {
            return true;
        }
        let exact = |one: &Named| {
            let namespace = object.namespace.as_deref();
            (&*one.name, &*one.kind, &*one.group, one.namespace.as_deref()).cmp(&(
                &*object.name,
                &*object.kind,
                &*object.group,
                namespace,
            ))
        };
        rest.binary_search_by(exact).is_ok()
    }

    /// Whether it is that of an object. A namespace that is not written is the default one, or none, which only the cluster
    /// knows: it counts as the same.
    pub(crate) fn is_of(&self, object: &ObjectKey) -> bool {
        let Named { name, kind, group, namespace } = self;
        **group == *object.group
            && **kind == *object.kind
            && **name == *object.name
            && namespace.as_deref().is_none_or(|name| object.namespace.as_deref().is_none_or(|own| own == name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_known_by_group_kind_name_and_namespace() {
        let object = |group: &str, kind: &str, namespace: Option<&str>, name: &str| ObjectKey {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        };
        let check = |manifests: &[Value], object: &ObjectKey, expected: bool| {
            assert_eq!(Named::gives(&Named::sorted(manifests.iter()), object), expected, "{object:?} {manifests:?}");
        };
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1beta1", "kind": "Role",
            "metadata": {"name": "reader", "namespace": "ann"}});
        let mut roles = vec![role.clone(), json!(7)];
        for name in ["a", "reader", "z"] {
            let mut other = role.clone();
            (other["metadata"]["namespace"], other["metadata"]["name"]) = (json!("zoe"), json!(name));
            roles.push(other);
        }
        for manifests in [&roles[..1], &roles] {
            let of = |namespace, name| object("rbac.authorization.k8s.io", "Role", namespace, name);
            check(manifests, &of(Some("ann"), "reader"), true);
            check(manifests, &of(None, "reader"), true);
            check(manifests, &of(Some("bob"), "reader"), false);
            check(manifests, &of(Some("ann"), "writer"), false);
            check(manifests, &object("", "Role", Some("ann"), "reader"), false);
        }
        let anywhere = [json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})];
        check(&anywhere, &object("", "ConfigMap", Some("default"), "c"), true);
        check(&anywhere, &object("", "Secret", Some("default"), "c"), false);
        check(&[json!(7)], &object("", "Secret", None, "c"), false);
        check(&[], &object("", "Secret", None, "c"), false);
    }
}
