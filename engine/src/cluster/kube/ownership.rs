//! Which manager owns the fields of an object, where another one set them before us, or changed the key of our list item. Pure.
//!
//! Start at [`retaken`] and [`unshared`]. Both give the `managedFields` that an object should have, and change no value. The
//! next apply then removes what it could not remove before. `kubectl apply --server-side`, Flux and Argo CD do the same for
//! what was given by client-side applies (`csaupgrade` of client-go).

use serde_json::{Map, Value};

use crate::cluster::watch::{is_our_apply, is_whole};

/// What `kubectl apply` without `--server-side` writes as; the second one is what the API server names after an update of
/// an object that is older than the account of its fields.
const BY_KUBECTL: [&str; 2] = ["kubectl-client-side-apply", "before-first-apply"];

/// The `managedFields` with which the list items that another manager made out of ours are ours, so that the next apply removes
/// them; `None` where there are none.
///
/// To change the key of an item (`port` of a Service) is, for the API server, to remove it and to add another one, which the
/// other manager owns. The next apply adds ours beside it. If both have one name, the server refuses the object each time.
pub(super) fn retaken(object: &Value, manifest: &Value) -> Option<Value> {
    let mut entries = object["metadata"]["managedFields"].as_array()?.clone();
    let mut taken = Map::new();
    for entry in entries.iter_mut().filter(|entry| is_whole(entry) && !is_our_apply(entry)) {
        if let Some(fields) = entry["fieldsV1"].as_object_mut() {
            unite(&mut taken, take(fields, object, manifest));
        }
    }
    let ours = entries.iter_mut().find(|entry| is_our_apply(entry))?["fieldsV1"].as_object_mut()?;
    if taken.is_empty() {
        return None;
    }
    unite(ours, taken);
    Some(without_empty(entries))
}

/// The `managedFields` with which what both `kubectl apply` and our last apply gave is ours alone, so that it goes when our
/// text no longer gives it; `None` where there is no such field.
pub(super) fn unshared(object: &Value) -> Option<Value> {
    let mut entries = object["metadata"]["managedFields"].as_array()?.clone();
    let ours = entries.iter().find(|entry| is_our_apply(entry))?["fieldsV1"].clone();
    let mut is_shared = false;
    for entry in entries.iter_mut().filter(|entry| is_whole(entry) && entry["operation"] == "Update") {
        let is_kubectl = entry["manager"].as_str().is_some_and(|manager| BY_KUBECTL.contains(&manager));
        if let (true, Some(theirs), Some(ours)) = (is_kubectl, entry["fieldsV1"].as_object_mut(), ours.as_object()) {
            is_shared |= subtract(theirs, ours);
        }
    }
    is_shared.then(|| without_empty(entries))
}

fn without_empty(mut entries: Vec<Value>) -> Value {
    entries.retain(|entry| entry["fieldsV1"].as_object().is_none_or(|fields| !fields.is_empty()));
    Value::Array(entries)
}

/// Takes out of the fields of another manager the items that were made of items of the manifest.
fn take(theirs: &mut Map<String, Value>, live: &Value, manifest: &Value) -> Map<String, Value> {
    let mut taken = Map::new();
    theirs.retain(|name, below| {
        let inside = match (name.strip_prefix("f:"), key_of(name)) {
            (Some(field), _) => live.get(field).zip(manifest.get(field)),
            (None, Some(key)) => {
                let (Some(items), Some(wanted)) = (live.as_array(), manifest.as_array()) else { return true };
                let Some(item) = items.iter().find(|item| has_key(item, &key)) else { return true };
                let is_missing = |one: &&Value| !items.iter().any(|item| is_of_key(one, &key_in(item, &key)));
                match wanted.iter().find(|one| is_of_key(one, &key)) {
                    Some(same) => Some((item, same)),
                    None if wanted.iter().filter(is_missing).any(|one| is_alike(one, item, &key)) => {
                        taken.insert(name.clone(), below.take());
                        return false;
                    }
                    None => None,
                }
            }
            (None, None) => None,
        };
        let (Some((live, manifest)), Some(below)) = (inside, below.as_object_mut()) else { return true };
        let inner = take(below, live, manifest);
        if inner.is_empty() {
            return true;
        }
        taken.insert(name.clone(), Value::Object(inner));
        !below.is_empty()
    });
    taken
}

/// The key of an item as `fieldsV1` names it: `k:{"port":80,"protocol":"TCP"}`.
fn key_of(name: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(name.strip_prefix("k:")?).ok()
}

/// The values of an item in the fields of a key.
fn key_in(item: &Value, key: &Map<String, Value>) -> Map<String, Value> {
    key.keys().map(|field| (field.clone(), item[field].clone())).collect()
}

fn has_key(item: &Value, key: &Map<String, Value>) -> bool {
    key.iter().all(|(field, value)| item.get(field) == Some(value))
}

/// Whether an item of a manifest has a key. What it does not give has a default.
fn is_of_key(wanted: &Value, key: &Map<String, Value>) -> bool {
    key.iter().all(|(field, value)| wanted.get(field).is_none_or(|given| given == value))
}

/// Whether a live item is one of the manifest but for its key: the same name, or else the same in each plain field.
fn is_alike(wanted: &Value, live: &Value, key: &Map<String, Value>) -> bool {
    let is_same = |field: &str| live.get(field) == wanted.get(field);
    if wanted.get("name").is_some() && !key.contains_key("name") {
        return is_same("name");
    }
    let is_plain = |value: &Value| !value.is_object() && !value.is_array();
    let mut fields = wanted.as_object().into_iter().flatten();
    fields.all(|(field, value)| key.contains_key(field) || !is_plain(value) || is_same(field))
}

fn unite(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, below) in from {
        match (into.get_mut(&name).and_then(Value::as_object_mut), below) {
            (Some(into), Value::Object(below)) => unite(into, below),
            (_, below) => _ = into.insert(name, below),
        }
    }
}

/// Removes from the first fields those that the second ones have too; returns whether there were any.
fn subtract(theirs: &mut Map<String, Value>, ours: &Map<String, Value>) -> bool {
    let mut is_shared = false;
    theirs.retain(|name, below| {
        let (Some(ours), true) = (ours.get(name).and_then(Value::as_object), name != ".") else { return true };
        match below.as_object_mut() {
            Some(below) if !below.is_empty() && !ours.is_empty() => {
                is_shared |= subtract(below, ours);
                // An empty map or item need not be kept.
                below.keys().any(|name| name != ".")
            }
            _ => {
                is_shared = true;
                false
            }
        }
    });
    is_shared
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "fieldsV1": fields})
    }

    fn ours(fields: Value) -> Value {
        entry("lifeline", "Apply", fields)
    }

    fn object(spec: Value, entries: &[Value]) -> Value {
        json!({"metadata": {"managedFields": entries}, "spec": spec})
    }

    const K80: &str = r#"k:{"port":80,"protocol":"TCP"}"#;
    const K81: &str = r#"k:{"port":81,"protocol":"TCP"}"#;
    const K90: &str = r#"k:{"port":90,"protocol":"TCP"}"#;

    #[test]
    fn an_item_that_is_ours_but_for_its_key_is_taken_again_and_any_other_is_not() {
        let item = || json!({".": {}, "f:port": {}});
        let port = |name: &str, port: u32| json!({"name": name, "port": port, "protocol": "TCP", "targetPort": 80});
        // The live items, the keys that another manager owns, the items of the manifest, and the keys that become ours.
        let check = |live: &[Value], theirs: &[&str], wanted: Value, taken: &[&str]| {
            let fields_of = |keys: &[&str]| -> Value {
                let items: Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), item())).collect();
                json!({"f:spec": {"f:ports": items}})
            };
            let before = [ours(fields_of(&[K90])), entry("kubectl-edit", "Update", fields_of(theirs))];
            let live = object(json!({"ports": live}), &before);
            let left: Vec<&str> = theirs.iter().copied().filter(|key| !taken.contains(key)).collect();
            let others = (!left.is_empty()).then(|| entry("kubectl-edit", "Update", fields_of(&left)));
            let after = [ours(fields_of(&[&[K90], taken].concat()))].into_iter().chain(others).collect();
            let expected = (!taken.is_empty()).then_some(Value::Array(after));
            assert_eq!(retaken(&live, &json!({"spec": {"ports": wanted}})), expected, "{live} {wanted}");
        };
        let http = json!([{"name": "http", "port": 80}, {"name": "metrics", "port": 90}]);
        check(&[port("http", 81), port("metrics", 90)], &[K81], http.clone(), &[K81]);
        // An item of another manager, beside ours.
        check(&[port("http", 80), port("metrics", 90), port("more", 81)], &[K81], http.clone(), &[]);
        check(&[port("more", 81), port("metrics", 90)], &[K81], http.clone(), &[]);
        check(&[port("http", 80), port("metrics", 90)], &[K80], http.clone(), &[]);
        // Without a name an item is known by its other fields.
        check(&[port("", 81)], &[K81], json!([{"port": 80}]), &[K81]);
        check(&[port("", 81)], &[K81], json!([{"port": 80, "targetPort": 80}]), &[K81]);
        check(&[port("", 81)], &[K81], json!([{"port": 80, "targetPort": 8080}]), &[]);
        check(&[port("", 81)], &[K81], json!([{"port": 80, "protocol": "UDP"}]), &[K81]);
        // What lists of other kinds hold is a value.
        check(&[port("http", 81)], &["v:1"], http.clone(), &[]);
        check(&[port("http", 81)], &[K81], Value::Null, &[]);
        let nobody = object(json!({"ports": [port("http", 81)]}), &[entry("a", "Update", json!({}))]);
        assert_eq!(retaken(&nobody, &json!({"spec": {"ports": http}})), None);
    }

    #[test]
    fn an_item_inside_of_another_is_taken_again() {
        let at = |key: &str| {
            let inner = json!({"f:ports": {key: {".": {}, "f:containerPort": {}}}});
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": inner}}})
        };
        let [k1, k2] = [1, 2].map(|port| format!("k:{{\"containerPort\":{port},\"protocol\":\"TCP\"}}"));
        let containers = |port: u32| json!([{"name": "a", "image": "i", "ports": [{"name": "p", "containerPort": port, "protocol": "TCP"}]}]);
        let live = object(json!({"containers": containers(2)}), &[ours(at(&k1)), entry("x", "Apply", at(&k2))]);
        let found = retaken(&live, &json!({"spec": {"containers": containers(1)}})).expect("it is ours");
        let [mut both, other] = [at(&k1), at(&k2)];
        unite(both.as_object_mut().expect("a map"), other.as_object().cloned().expect("a map"));
        assert_eq!(found, json!([ours(both)]));
    }

    #[test]
    fn what_kubectl_applied_and_we_apply_is_ours_alone() {
        let check = |theirs: &[Value], fields: Value, left: Option<&[Value]>| {
            let us = ours(fields);
            let live = object(json!({}), &[theirs, std::slice::from_ref(&us)].concat());
            let expected = left.map(|left| Value::Array([left, &[us]].concat()));
            assert_eq!(unshared(&live), expected, "{live}");
        };
        let kubectl = |fields: Value| entry("kubectl-client-side-apply", "Update", fields);
        let all = json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}, "f:metadata": {"f:labels": {"f:x": {}}}});
        let b = json!({"f:data": {".": {}, "f:b": {}}, "f:metadata": {"f:labels": {"f:x": {}}}});
        check(&[kubectl(all.clone())], json!({"f:data": {"f:a": {}}}), Some(&[kubectl(b)]));
        check(&[kubectl(json!({"f:data": {".": {}, "f:a": {}}}))], json!({"f:data": {"f:a": {}}}), Some(&[]));
        check(&[kubectl(all.clone())], json!({"f:data": {"f:c": {}}}), None);
        check(&[kubectl(all.clone())], json!({"f:spec": {}}), None);
        check(&[entry("kubectl-edit", "Update", all.clone())], json!({"f:data": {"f:a": {}}}), None);
        check(&[entry("before-first-apply", "Update", json!({"f:data": {"f:a": {}}}))], all.clone(), Some(&[]));
        // What is one value for us is one for them.
        check(&[kubectl(json!({"f:data": {"f:a": {}}}))], json!({"f:data": {}}), Some(&[]));
        check(&[], all, None);
    }
}
