//! Whose an object is: the labels and annotations that name its lifecycle, and what they allow.
//!
//! Start at [`Marks`]. Pure: manifests in, manifests or verdicts out. The values of an event appear in annotations,
//! which take any text, never in label values, which do not; the label that selects a lifecycle's objects is a
//! checksum.

use lifeline_projections::fact::{LifecycleKey, ResourceKey};
use lifeline_store::Offset;
use serde_json::{Map, Value, json};

use crate::cluster::{Label, LiveObject};
use crate::digest::digest;

/// Says that Lifeline made the object (label), where the manifest does not say something else.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "lifeline";
/// Selects the objects of one lifecycle (label): 16 hexadecimal digits.
pub const LIFECYCLE: &str = "lifeline.dev/lifecycle";
/// What every object of Lifeline has, and is watched and listed by.
pub const OURS: Label = Label(LIFECYCLE);
/// The EventTrigger (annotation, and label where it fits one).
pub const TRIGGER: &str = "lifeline.dev/trigger";
/// The CloudEvent source (annotation).
pub const SOURCE: &str = "lifeline.dev/source";
/// The CloudEvent subject (annotation).
pub const SUBJECT: &str = "lifeline.dev/subject";
/// The offset of the event that the object was last applied for (annotation). Later events that ask for the same object
/// leave it.
pub const OFFSET: &str = "lifeline.dev/offset";

/// The instance of Lifeline that applied the object last (annotation). Several may work for one cluster, and leave the objects
/// of each other alone. Objects of earlier releases have none, and count as those of any instance.
pub const INSTANCE: &str = "lifeline.dev/instance";

/// On a Namespace that was made because it was missing (annotation). It belongs to nobody, and a lifecycle that gives it
/// takes it over.
pub const BARE: &str = "lifeline.dev/bare";

/// A label value is at most this long (Kubernetes, "Syntax and character set").
const LABEL_VALUE_BYTES_MAX: usize = 63;

/// The marks of one lifecycle.
#[derive(Debug, Clone, Copy)]
pub struct Marks<'a> {
    /// Whose objects they are.
    pub key: &'a LifecycleKey,
    /// Which instance of Lifeline applies them.
    pub instance: &'a str,
    /// The event they are rendered from.
    pub event: Offset,
}

/// Whose a live object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This lifecycle's.
    Us,
    /// Another lifecycle's.
    Other {
        /// Whose, on the same cluster.
        key: Box<LifecycleKey>,
    },
    /// A lifecycle's of another instance of Lifeline.
    Elsewhere {
        /// The name of the instance.
        instance: String,
    },
    /// Nobody's that Lifeline knows of.
    Stranger,
}

impl Marks<'_> {
    /// Marks a manifest. Marks that it brings itself are replaced: they are not the template's to give.
    pub fn mark(&self, manifest: &mut Value) {
        let Some(metadata) = child(manifest, "metadata") else { return };
        let labels = child(metadata, "labels").and_then(Value::as_object_mut);
        if let Some(labels) = labels {
            // The author's own word stays: tools of others select by it.
            labels.entry(MANAGED_BY).or_insert_with(|| MANAGER.into());
            labels.insert(LIFECYCLE.into(), lifecycle_label(self.key).into());
            labels.remove(TRIGGER);
            if fits_label(&self.key.trigger) {
                labels.insert(TRIGGER.into(), (&*self.key.trigger).into());
            }
        }
        let annotations = child(metadata, "annotations").and_then(Value::as_object_mut);
        if let Some(annotations) = annotations {
            annotations.insert(TRIGGER.into(), (&*self.key.trigger).into());
            annotations.insert(SOURCE.into(), (&*self.key.resource.source).into());
            annotations.insert(SUBJECT.into(), (&*self.key.resource.subject).into());
            annotations.insert(OFFSET.into(), self.event.to_string().into());
            annotations.insert(INSTANCE.into(), self.instance.into());
        }
    }
}

/// Checksum of a marked manifest, whichever event and instance it was rendered for. An event that asks for what an earlier one
/// asked for is no reason for a call: the log says which events there were, and the object keeps the marks of the apply
/// that changed it last.
#[must_use]
pub fn checksum(manifest: &mut Value) -> u64 {
    let annotations = manifest.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let left_out: Vec<(&str, Value)> = annotations.map_or_else(Vec::new, |annotations| {
        [OFFSET, INSTANCE].into_iter().filter_map(|mark| Some((mark, annotations.remove(mark)?))).collect()
    });
    let checksum = digest(manifest);
    if let Some(Value::Object(annotations)) = manifest.pointer_mut("/metadata/annotations") {
        annotations.extend(left_out.into_iter().map(|(mark, value)| (mark.to_owned(), value)));
    }
    checksum
}

/// Whether a live object has every field of a marked manifest, with the same value, whichever event it was applied for.
/// What is empty may be missing.
#[must_use]
pub fn holds(live: &Value, manifest: &Value) -> bool {
    let is_empty = |wanted: &Value| match wanted {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match (live, manifest) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| match live.get(name) {
            Some(live) => name == OFFSET || holds(live, wanted),
            None => is_empty(wanted),
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| holds(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

/// The manifest of a Namespace that is made because it is missing.
#[must_use]
pub fn bare_namespace(name: &str) -> Value {
    let metadata = json!({"name": name, "annotations": {BARE: "true"}});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

/// Whether a live object is a Namespace that was made because it was missing.
#[must_use]
pub fn is_bare_namespace(live: &LiveObject) -> bool {
    live.manifest["kind"] == "Namespace" && live.manifest["metadata"]["annotations"][BARE] == "true"
}

/// The instance of Lifeline that an object was applied by last, by its marks; `None` on objects of earlier releases.
fn instance(live: &LiveObject) -> Option<&str> {
    live.manifest["metadata"]["annotations"][INSTANCE].as_str()
}

/// Whether another instance applied an object last, where `is_ours` says which names are those of this one.
#[must_use]
pub fn is_elsewhere(live: &LiveObject, is_ours: impl Fn(&str) -> bool) -> bool {
    instance(live).is_some_and(|instance| !is_ours(instance))
}

/// Whose a live object is, by its marks, where another instance of Lifeline may have put them there.
#[must_use]
pub fn owner_here(live: &LiveObject, key: &LifecycleKey, is_elsewhere: bool) -> Owner {
    match (owner(live, key), instance(live).filter(|_| is_elsewhere)) {
        (Owner::Us, Some(instance)) => Owner::Elsewhere { instance: instance.to_owned() },
        (owner, _) => owner,
    }
}

/// Whose a live object is, by its marks, whichever instance put them there.
#[must_use]
pub fn owner(live: &LiveObject, key: &LifecycleKey) -> Owner {
    let annotation = |name: &str| {
        let annotations = live.manifest.pointer("/metadata/annotations").and_then(Value::as_object)?;
        annotations.get(name).and_then(Value::as_str)
    };
    let lifecycle = live.manifest.pointer("/metadata/labels").and_then(|labels| labels.get(LIFECYCLE));
    if lifecycle.is_none() {
        return Owner::Stranger;
    }
    match (annotation(TRIGGER), annotation(SOURCE), annotation(SUBJECT)) {
        (Some(trigger), Some(source), Some(subject)) => {
            let ours = *trigger == *key.trigger && *source == *key.resource.source && *subject == *key.resource.subject;
            if ours {
                return Owner::Us;
            }
            let resource = ResourceKey { source: source.into(), subject: subject.into() };
            Owner::Other {
                key: Box::new(LifecycleKey { trigger: trigger.into(), cluster: key.cluster.clone(), resource }),
            }
        }
        _ => Owner::Stranger,
    }
}

/// What the marks of a live object say, where Lifeline put all of them there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Whose it is.
    pub key: LifecycleKey,
    /// Which instance of Lifeline applied it; `None` on objects of earlier releases.
    pub instance: Option<String>,
}

/// The marks of an object on a cluster. `None` where some are missing, where they do not belong together, or where others
/// put them there: who copies an object copies its annotations, and controllers copy labels to what they make. The
/// API server says whose each of them is.
#[must_use]
pub fn genuine(live: &LiveObject, cluster: &str) -> Option<Marked> {
    let metadata = |part: &str, name: &str| {
        let is_ours = !live.managed.ours["f:metadata"][format!("f:{part}")][format!("f:{name}")].is_null();
        live.manifest["metadata"][part][name].as_str().filter(|_| is_ours)
    };
    let annotation = |name: &str| metadata("annotations", name);
    let resource = ResourceKey { source: annotation(SOURCE)?.into(), subject: annotation(SUBJECT)?.into() };
    let key = LifecycleKey { trigger: annotation(TRIGGER)?.into(), cluster: cluster.into(), resource };
    let is_whole = metadata("labels", LIFECYCLE)? == lifecycle_label(&key);
    is_whole.then(|| Marked { key, instance: annotation(INSTANCE).map(str::to_owned) })
}

/// The value of [`LIFECYCLE`].
#[must_use]
pub fn lifecycle_label(key: &LifecycleKey) -> String {
    let key = (&key.trigger, &key.cluster, &key.resource.source, &key.resource.subject);
    format!("{:016x}", digest(&serde_json::json!(key)))
}

fn fits_label(value: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= LABEL_VALUE_BYTES_MAX
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// The object under `name`, made where it is missing or null. `None` where something else is there: the cluster
/// refuses such a manifest with a better message than one from here.
fn child<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let map = value.as_object_mut()?;
    let child = map.entry(name).or_insert(Value::Null);
    if child.is_null() {
        *child = Value::Object(Map::new());
    }
    child.is_object().then_some(child)
}

#[cfg(test)]
mod tests {
    use lifeline_projections::fact::ResourceKey;

    use super::*;
    use crate::cluster::Managed;

    fn key(trigger: &str, subject: &str) -> LifecycleKey {
        let resource = ResourceKey { source: "https://auth/login".into(), subject: subject.into() };
        LifecycleKey { trigger: trigger.into(), cluster: "mgmt/mgmt".into(), resource }
    }

    fn marked(manifest: Value, key: &LifecycleKey) -> LiveObject {
        let mut manifest = manifest;
        Marks { key, instance: "lifeline", event: Offset::from(41) }.mark(&mut manifest);
        LiveObject { uid: "u".into(), deleting: false, manifest, managed: Managed::default() }
    }

    #[test]
    fn an_object_is_as_applied_whichever_event_that_was_for_and_whatever_others_added() {
        let manifest =
            || json!({"kind": "Deployment", "spec": {"a": [{"x": 1}], "b": "t"}, "status": {}, "none": null});
        let mut earlier = manifest();
        Marks { key: &key("t", "ann"), instance: "lifeline", event: Offset::from(3) }.mark(&mut earlier);
        let live = |change: &dyn Fn(&mut Value)| {
            let mut live = marked(manifest(), &key("t", "ann")).manifest;
            live.as_object_mut().expect("a map").retain(|_, value| !value.is_null());
            change(&mut live);
            live
        };
        let check = |change: &dyn Fn(&mut Value), expected: bool| {
            let live = live(change);
            assert_eq!(holds(&live, &earlier), expected, "{live}");
        };
        check(&|_| {}, true);
        check(&|live| live["spec"]["c"] = json!(1), true);
        check(&|live| live["spec"]["a"][0]["default"] = json!(1), true);
        check(&|live| _ = live.as_object_mut().expect("a map").remove("status"), true);
        check(&|live| live["spec"]["b"] = json!("u"), false);
        check(&|live| live["spec"]["a"] = json!([{"x": 1}, {"x": 2}]), false);
        check(&|live| _ = live["spec"].as_object_mut().expect("a map").remove("b"), false);
        check(&|live| live["metadata"]["annotations"][SUBJECT] = json!("bob"), false);
        check(&|live| _ = live["metadata"].as_object_mut().expect("a map").remove("labels"), false);
        let mut other = earlier.clone();
        Marks { key: &key("t", "ann"), instance: "lifeline", event: Offset::from(9) }.mark(&mut other);
        assert_ne!(earlier, other);
        assert_eq!(checksum(&mut earlier.clone()), checksum(&mut other.clone()));
        other["spec"]["b"] = json!("u");
        assert_ne!(checksum(&mut earlier), checksum(&mut other));
    }

    #[test]
    fn marks_name_trigger_source_subject_and_offset() {
        let live = marked(json!({"metadata": {"name": "a", "labels": {"team": "core"}}}), &key("t", "a/b"));
        let metadata = &live.manifest["metadata"];
        assert_eq!(metadata["labels"]["team"], "core");
        assert_eq!(metadata["labels"][MANAGED_BY], "lifeline");
        let theirs = marked(json!({"metadata": {"labels": {MANAGED_BY: "Helm"}}}), &key("t", "a/b"));
        assert_eq!(theirs.manifest["metadata"]["labels"][MANAGED_BY], "Helm");
        assert_eq!(owner(&theirs, &key("t", "a/b")), Owner::Us);
        assert_eq!(metadata["annotations"][SOURCE], "https://auth/login");
        assert_eq!(metadata["annotations"][SUBJECT], "a/b");
        assert_eq!(metadata["annotations"][OFFSET], "41");
    }

    #[test]
    fn an_object_is_ours_only_with_our_marks() {
        let bare = json!({"metadata": {"name": "a"}});
        let ours = marked(bare.clone(), &key("t", "a"));
        assert_eq!(owner(&ours, &key("t", "a")), Owner::Us);
        assert!(is_elsewhere(&ours, |name| name == "other") && !is_elsewhere(&ours, |name| name == "lifeline"));
        assert_eq!(owner(&ours, &key("t", "b")), Owner::Other { key: Box::new(key("t", "a")) });
        let stranger = LiveObject { uid: "u".into(), deleting: false, manifest: bare, managed: Managed::default() };
        assert_eq!(owner(&stranger, &key("t", "a")), Owner::Stranger);
        assert!(!is_bare_namespace(&stranger));
        let bare = LiveObject { manifest: bare_namespace("a"), ..stranger };
        assert_eq!((owner(&bare, &key("t", "a")), is_bare_namespace(&bare)), (Owner::Stranger, true));
    }

    #[test]
    fn a_long_trigger_name_is_no_label() {
        let long = "t".repeat(64);
        let live = marked(json!({"metadata": {"name": "a"}}), &key(&long, "a"));
        assert_eq!(live.manifest["metadata"]["labels"].get(TRIGGER), None);
        assert_eq!(live.manifest["metadata"]["annotations"][TRIGGER], long);
    }

    #[test]
    fn marks_are_genuine_where_the_cluster_says_that_all_are_ours() {
        fn fields(value: &Value) -> Value {
            match value {
                Value::Object(map) => map.iter().map(|(name, value)| (format!("f:{name}"), fields(value))).collect(),
                _ => json!({}),
            }
        }
        let key = key("t", "a");
        let ours = || {
            let live = marked(json!({"metadata": {"name": "a"}}), &key);
            let managed = Managed { ours: fields(&live.manifest), ..Managed::default() };
            LiveObject { managed, ..live }
        };
        let check = |what: &str, change: &dyn Fn(&mut LiveObject), instance: Option<Option<&str>>| {
            let mut live = ours();
            change(&mut live);
            let expected = instance.map(|instance| Marked { key: key.clone(), instance: instance.map(str::to_owned) });
            assert_eq!(genuine(&live, "mgmt/mgmt"), expected, "{what}");
        };
        check("as applied", &|_| {}, Some(Some("lifeline")));
        check(
            "of an earlier release",
            &|live| live.manifest["metadata"]["annotations"][INSTANCE] = Value::Null,
            Some(None),
        );
        check("a copy", &|live| live.managed = Managed::default(), None);
        check("a label that somebody took", &|live| live.managed.ours["f:metadata"]["f:labels"] = json!({}), None);
        check("another label", &|live| live.manifest["metadata"]["labels"][LIFECYCLE] = "00".into(), None);
        check("another subject", &|live| live.manifest["metadata"]["annotations"][SUBJECT] = "b".into(), None);
        assert_eq!(genuine(&ours(), "other/cluster"), None, "it came with a copy of another cluster");
    }

    #[test]
    fn lifecycles_have_different_labels() {
        assert_ne!(lifecycle_label(&key("t", "a")), lifecycle_label(&key("ta", "")));
        assert_ne!(lifecycle_label(&key("t", "a/b")), lifecycle_label(&key("t", "a-b")));
    }
}
