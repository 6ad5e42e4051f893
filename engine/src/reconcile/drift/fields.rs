//! Which fields of an object are ours, as one checksum that leaves out what a trigger excludes.
//!
//! Start at [`checksum`]. The API server takes a field out of our entry of `managedFields` as soon as another manager
//! changes or removes it, and never for a field that was not ours. So comparing this checksum with that of our last apply
//! costs no request, knows nothing of defaults, and does not mind an autoscaler or an injected sidecar. An apply as a dry
//! run would tell the same for one request an object, each time. Pure.

use serde_json::{Map, Value};

use crate::cluster::{LiveObject, Managed};
use crate::digest::digest;

/// The checksum of the fields that are ours but for those below the excluded paths; never 0. Its upper half is about the
/// paths alone: where these change, an older checksum says nothing.
#[must_use]
pub fn checksum(managed: &Managed, excluded: &[Vec<String>]) -> u64 {
    let mut ours = managed.ours.clone();
    for path in excluded {
        remove(&mut ours, path);
    }
    let low = |value: &Value| digest(value) & u64::from(u32::MAX);
    (low(&Value::from(excluded.to_vec())) << 32) | low(&ours).max(1)
}

/// The checksum of an object that the cluster changed as it took it: the bits of its upper half are recorded inverted.
#[must_use]
pub fn as_altered(checksum: u64) -> u64 {
    checksum ^ (u64::from(u32::MAX) << 32)
}

/// A recorded checksum as it can be compared with one of now, and whether the cluster changed the object then.
#[must_use]
pub fn recorded(recorded: u64, now: u64) -> (u64, bool) {
    let turned = as_altered(recorded);
    if recorded != 0 && turned >> 32 == now >> 32 { (turned, true) } else { (recorded, false) }
}

/// Whether a checksum was made with other excluded paths, so that it cannot be compared; one that is not known cannot either.
#[must_use]
pub fn is_incomparable(recorded: u64, now: u64) -> bool {
    recorded == 0 || recorded >> 32 != now >> 32
}

/// Takes a path out of `fieldsV1`. An index into a list stands for each of its items: they have keys there, no order.
fn remove(fields: &mut Value, path: &[String]) {
    let (Some(fields), [segment, rest @ ..]) = (fields.as_object_mut(), path) else { return };
    let is_index = segment == "-" || segment.bytes().all(|byte| byte.is_ascii_digit());
    let name = format!("f:{segment}");
    let is_meant = |key: &str| key == name || (is_index && (key.starts_with("k:") || key.starts_with("i:")));
    if rest.is_empty() {
        fields.retain(|key, _| !is_meant(key));
        return;
    }
    fields.iter_mut().filter(|(key, _)| is_meant(key)).for_each(|(_, below)| remove(below, rest));
    // An empty one may be left of a field that went, and would be missing where it is not ours.
    fields.retain(|key, below| !is_meant(key) || below.as_object().is_none_or(|below| !below.is_empty()));
}

/// The manifest to apply to an object that is there: what it has at an excluded path stays as it is.
#[must_use]
pub fn keeping(manifest: &Value, live: &LiveObject, excluded: &[Vec<String>]) -> Value {
    let mut kept = manifest.clone();
    for path in excluded {
        let pointer: String =
            path.iter().map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1"))).collect();
        match live.manifest.pointer(&pointer) {
            Some(value) => put(&mut kept, path, value.clone()),
            None => take(&mut kept, path),
        }
    }
    kept
}

fn put(into: &mut Value, path: &[String], value: Value) {
    let [segment, rest @ ..] = path else {
        *into = value;
        return;
    };
    match into {
        // What the manifest does not give is not made ours.
        Value::Object(fields) => {
            if let Some(below) = fields.get_mut(segment) {
                put(below, rest, value);
            }
        }
        Value::Array(items) => {
            let item = segment.parse().ok().and_then(|at: usize| items.get_mut(at));
            if let Some(item) = item {
                put(item, rest, value);
            }
        }
        _ => {}
    }
}

fn take(from: &mut Value, path: &[String]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut place = Some(from);
    for segment in parents {
        place = place.and_then(|place| match place {
            Value::Object(fields) => fields.get_mut(segment),
            Value::Array(items) => segment.parse().ok().and_then(|at: usize| items.get_mut(at)),
            _ => None,
        });
    }
    // Taking an item out of a list would give the ones after it another place.
    if let Some(fields) = place.and_then(Value::as_object_mut) {
        fields.remove(last);
    }
}

/// Whether an object asks not to be watched.
#[must_use]
pub fn is_ignored(live: &LiveObject) -> bool {
    let annotations = live.manifest.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations.is_some_and(|annotations: &Map<String, Value>| annotations.contains_key(IGNORE))
}

/// Says on an object that what others do to it is no drift (annotation, whatever its value).
pub const IGNORE: &str = "projectsveltos.io/driftDetectionIgnore";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn segments(pointer: &str) -> Vec<String> {
        pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/")).collect()
    }

    fn managed(ours: Value) -> Managed {
        Managed { ours, ..Managed::default() }
    }

    fn live(manifest: Value) -> LiveObject {
        LiveObject { uid: "u".into(), deleting: false, manifest, managed: Managed::default() }
    }

    #[test]
    fn what_is_excluded_does_not_count_and_everything_else_does() {
        let all = json!({
            "f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}},
            "f:data": {"f:a/b": {}},
        });
        let check = |now: Value, excluded: &[&str], is_same: bool| {
            let excluded: Vec<_> = excluded.iter().map(|path| segments(path)).collect();
            let [before, after] = [&all, &now].map(|ours| checksum(&managed(ours.clone()), &excluded));
            assert_eq!(before == after, is_same, "{now}, {excluded:?}");
            assert!(!is_incomparable(before, after));
            assert!(is_incomparable(0, after) && is_incomparable(checksum(&managed(all.clone()), &[vec![]]), after));
        };
        let without = |pointer: &str, field: &str| {
            let mut now = all.clone();
            now.pointer_mut(pointer).and_then(Value::as_object_mut).expect("it is there").remove(field);
            now
        };
        check(all.clone(), &[], true);
        check(without("/f:spec", "f:replicas"), &[], false);
        check(without("/f:spec", "f:replicas"), &["/spec/replicas"], true);
        check(without("/f:spec", "f:replicas"), &["/spec/paused"], false);
        check(without("/f:spec", "f:replicas"), &["/spec"], true);
        check(without("", "f:spec"), &["/spec"], true);
        check(without("", "f:data"), &["/data/a~1b"], true);
        check(without("", "f:data"), &["/spec/replicas"], false);
        let image = "/f:spec/f:containers/k:{\"name\":\"a\"}";
        check(without(image, "f:image"), &["/spec/containers/0/image"], true);
        check(without(image, "f:image"), &["/spec/containers/0/env"], false);
        check(Value::Null, &[], false);
    }

    #[test]
    fn a_checksum_says_whether_the_cluster_changed_the_object() {
        let now = checksum(&managed(json!({"f:a": {}})), &[]);
        let other = checksum(&managed(json!({"f:a": {}})), &[vec!["a".to_owned()]]);
        assert_eq!(recorded(now, now), (now, false));
        assert_eq!(recorded(as_altered(now), now), (now, true));
        assert_eq!(recorded(as_altered(other), now), (as_altered(other), false));
        assert_eq!(recorded(0, now), (0, false));
    }

    #[test]
    fn an_apply_leaves_what_is_excluded_as_it_is() {
        let manifest = json!({"spec": {"replicas": 1, "containers": [{"name": "a", "image": "1"}]}});
        let check = |now: Value, path: &str, expected: Value| {
            assert_eq!(keeping(&manifest, &live(now.clone()), &[segments(path)]), expected, "{now}, {path}");
        };
        let with = |replicas: u64, image: &str| json!({"spec": {"replicas": replicas, "containers": [{"name": "a", "image": image}]}});
        check(with(3, "2"), "/spec/replicas", with(3, "1"));
        check(with(3, "2"), "/spec/containers/0/image", with(1, "2"));
        check(with(3, "2"), "/spec/paused", with(1, "1"));
        check(json!({"spec": {"paused": true}}), "/spec/paused", with(1, "1"));
        check(json!({"spec": {}}), "/spec/replicas", json!({"spec": {"containers": [{"name": "a", "image": "1"}]}}));
    }

    #[test]
    fn an_object_that_says_so_is_ignored() {
        assert!(is_ignored(&live(json!({"metadata": {"annotations": {IGNORE: "ok"}}}))));
        assert!(!is_ignored(&live(json!({"metadata": {"annotations": {"a": "b"}}}))));
        assert!(!is_ignored(&live(json!({"metadata": {}}))));
    }
}
