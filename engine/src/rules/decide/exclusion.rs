//! [`DriftExclusion`]: paths in objects that others may change.
//!
//! Start at [`DriftExclusion::read`]. What is done with them is a part of reconciliation.

use lifeline_projections::fact::ObjectKey;

use super::pattern::Pattern;
use crate::rules::read::spec::DriftExclusionSpec;

/// One entry of `driftExclusions`, ready to be asked.
#[derive(Debug, Clone)]
pub struct DriftExclusion {
    paths: Vec<Vec<String>>,
    /// Group, version, kind, namespace and name; `None` for all objects.
    target: Option<[Pattern; 5]>,
}

impl DriftExclusion {
    /// Reads an entry.
    ///
    /// # Errors
    /// The field that is wrong, and what about it.
    pub(in crate::rules) fn read(spec: &DriftExclusionSpec) -> Result<DriftExclusion, (String, String)> {
        let DriftExclusionSpec { paths, target } = spec;
        if paths.is_empty() {
            return Err(("paths".to_owned(), "is missing or empty".to_owned()));
        }
        let path = |(index, pointer): (usize, &String)| match segments(pointer) {
            Some(path) => Ok(path),
            None => Err((
                format!("paths[{index}]"),
                format!("is `{pointer}`, expected a JSON pointer such as `/spec/replicas`"),
            )),
        };
        let paths = paths.iter().enumerate().map(path).collect::<Result<_, _>>()?;
        let target = match target {
            None => None,
            Some(target) => {
                let read = |field: &str, written: &str| {
                    Pattern::parse(written)
                        .map_err(|reason| (format!("target.{field}"), format!("is no expression: {reason}")))
                };
                Some([
                    read("group", &target.group)?,
                    read("version", &target.version)?,
                    read("kind", &target.kind)?,
                    read("namespace", &target.namespace)?,
                    read("name", &target.name)?,
                ])
            }
        };
        Ok(DriftExclusion { paths, target })
    }

    /// Whether it is about an object.
    #[must_use]
    pub fn is_about(&self, object: &ObjectKey) -> bool {
        let Some([group, version, kind, namespace, name]) = &self.target else { return true };
        group.matches(&object.group)
            && version.matches(&object.version)
            && kind.matches(&object.kind)
            && namespace.matches(object.namespace.as_deref().unwrap_or_default())
            && name.matches(&object.name)
    }

    /// The segments of each path.
    #[must_use]
    pub fn paths(&self) -> &[Vec<String>] {
        &self.paths
    }
}

/// The segments of a JSON pointer (RFC 6901) to something below the root.
fn segments(pointer: &str) -> Option<Vec<String>> {
    let unescaped = |segment: &str| segment.replace("~1", "/").replace("~0", "~");
    Some(pointer.strip_prefix('/')?.split('/').map(unescaped).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(spec: Value) -> Result<DriftExclusion, (String, String)> {
        DriftExclusion::read(&serde_json::from_value(spec).expect("a spec"))
    }

    #[test]
    fn an_exclusion_is_about_the_objects_that_its_target_matches() {
        let deployment = ObjectKey {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            namespace: Some("shop".into()),
            name: "web".into(),
        };
        let check = |target: Value, expected: bool| {
            let exclusion = read(json!({"paths": ["/spec/replicas"], "target": target})).expect("it is right");
            assert_eq!(exclusion.is_about(&deployment), expected, "{target}");
        };
        check(Value::Null, true);
        check(json!({}), true);
        check(json!({"kind": "Deploy", "group": "apps"}), true);
        check(json!({"kind": "^Deploy$"}), false);
        check(json!({"name": "web", "namespace": "shop"}), true);
        check(json!({"name": "db"}), false);
    }

    #[test]
    fn paths_are_read_as_json_pointers_and_mistakes_name_their_field() {
        let paths = read(json!({"paths": ["/metadata/annotations/a~1b~0c"]})).expect("it is right").paths().to_vec();
        assert_eq!(paths, [["metadata", "annotations", "a/b~c"]]);
        let check = |spec: Value, field: &str| assert_eq!(read(spec).expect_err(field).0, field);
        check(json!({"paths": []}), "paths");
        check(json!({"paths": ["/a", "spec.replicas"]}), "paths[1]");
        check(json!({"paths": [""]}), "paths[0]");
        check(json!({"paths": ["/a"], "target": {"name": "("}}), "target.name");
    }
}
