//! The objects of a local cluster and what each request makes of them: decisions only, as lists of changes.
//!
//! Start at [`State::apply`] and [`State::delete`]: neither touches the state; they answer with [`Change`]s, which the
//! caller first makes durable, one by one and in this order, and then hands to [`State::commit`]. The time is an
//! argument, uids come from a seed and the revision.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lifeline_store::Random;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::check::{self, Fields};
use super::kind::{self, Defined};
use super::{immutable, merge};
use crate::builtin;
use crate::cluster::{Deletion, Error, LiveObject, Managed, ObjectKey, object_key};
use crate::schema::Schema;

/// Namespaces that are there from the start.
pub(super) const FIRST_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Namespaces that are never deleted.
const IMMORTAL_NAMESPACES: [&str; 3] = ["default", "kube-public", "kube-system"];

/// The group and kind of a CustomResourceDefinition.
const DEFINITION: (&str, &str) = ("apiextensions.k8s.io", "CustomResourceDefinition");

/// Where an object is kept: its key without the version, since one object is served in all versions of its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl Slot {
    pub(super) fn of(key: &ObjectKey) -> Slot {
        Slot {
            group: key.group.to_string(),
            kind: key.kind.to_string(),
            namespace: key.namespace.as_ref().map(ToString::to_string),
            name: key.name.to_string(),
        }
    }

    /// The path of the record: unambiguous, short enough for any file system, and readable where names are plain.
    pub(super) fn path(&self) -> String {
        let group = if self.group.is_empty() { "core" } else { &self.group };
        let scope = self.namespace.as_deref().unwrap_or("_cluster");
        let parts: Vec<String> = [group, &self.kind, scope, &self.name].into_iter().flat_map(path_parts).collect();
        format!("objects/{}.json", parts.join("/"))
    }
}

/// Bytes of a path's part that a file system takes with `.json.partial` after it.
const PART_BYTES_MAX: usize = 200;

/// Escapes a name and cuts it where it is too long for one file name; a cut part ends in `+`, which no name has unescaped.
fn path_parts(text: &str) -> Vec<String> {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(char::from(byte)),
            b'.' if !escaped.is_empty() => escaped.push('.'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    let mut parts: Vec<String> = Vec::new();
    while escaped.len() > PART_BYTES_MAX {
        let rest = escaped.split_off(PART_BYTES_MAX);
        parts.push(format!("{escaped}+"));
        escaped = rest;
    }
    parts.push(escaped);
    parts
}

/// An object and the manifest that was applied to it last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The name, with the version it was last written in.
    pub(super) key: ObjectKey,
    /// What Lifeline applied last; `None` for an object of somebody else.
    pub(super) applied: Option<Value>,
    /// The whole object.
    pub(super) object: Value,
    /// Somebody else changed it.
    #[serde(default)]
    pub(super) changed_by_others: bool,
}

/// The field manager that changes of others are made by.
const OTHER_MANAGER: &str = "other";

impl Record {
    pub(super) fn live(&self) -> LiveObject {
        LiveObject {
            uid: self.object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned(),
            deleting: self.is_deleting(),
            manifest: self.object.clone(),
            managed: Managed {
                ours: self.applied.as_ref().map(merge::fields).unwrap_or_default(),
                last_other: self.changed_by_others.then(|| OTHER_MANAGER.to_owned()),
                applied_unix_seconds: 0,
            },
        }
    }

    pub(super) fn live_as_keyed(&self) -> (ObjectKey, LiveObject) {
        (self.key.clone(), self.live())
    }

    fn is_deleting(&self) -> bool {
        self.object.pointer("/metadata/deletionTimestamp").is_some()
    }

    fn finalizers(&self) -> &[Value] {
        let finalizers = self.object.pointer("/metadata/finalizers").and_then(Value::as_array);
        finalizers.map(Vec::as_slice).unwrap_or_default()
    }

    fn is_namespace(&self) -> bool {
        self.key.group.is_empty() && self.key.kind == "Namespace"
    }

    fn is_definition(&self) -> bool {
        (self.key.group.as_str(), self.key.kind.as_str()) == DEFINITION
    }

    /// An object that takes others with it when it goes.
    fn is_container(&self) -> bool {
        self.is_namespace() || self.is_definition()
    }
}

/// One step towards the next state.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Put(Record),
    Remove(ObjectKey),
}

/// Who applies: ownership is kept for Lifeline alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    Lifeline,
    Other,
}

/// All objects of one local cluster.
pub(super) struct State {
    objects: BTreeMap<Slot, Record>,
    /// What each namespace holds.
    in_namespace: BTreeMap<String, BTreeSet<Slot>>,
    /// Counts writes; grows for ever, also over deletions and restarts, so no uid is given twice.
    revision: u64,
    seed: u64,
}

impl State {
    pub(super) fn new(seed: u64, revision: u64, records: Vec<Record>) -> State {
        let mut state = State { objects: BTreeMap::new(), in_namespace: BTreeMap::new(), revision, seed };
        for record in records {
            state.commit(Change::Put(record));
        }
        state
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.objects.values()
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Record> {
        self.objects.get(&Slot::of(key))
    }

    pub(super) fn commit(&mut self, change: Change) {
        match change {
            Change::Put(record) => {
                let slot = Slot::of(&record.key);
                if let Some(namespace) = &slot.namespace {
                    self.in_namespace.entry(namespace.clone()).or_default().insert(slot.clone());
                }
                self.objects.insert(slot, record);
            }
            Change::Remove(key) => {
                let slot = Slot::of(&key);
                if let Some(namespace) = &slot.namespace
                    && let Some(held) = self.in_namespace.get_mut(namespace)
                {
                    held.remove(&slot);
                    if held.is_empty() {
                        self.in_namespace.remove(namespace);
                    }
                }
                self.objects.remove(&slot);
            }
        }
    }

    /// What must be done when a cluster is opened: first namespaces are made, deletions a crash cut short go on.
    pub(super) fn settle(&mut self, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        for name in FIRST_NAMESPACES {
            let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            if let Ok(key) = object_key(&manifest)
                && self.get(&key).is_none()
            {
                changes.push(Change::Put(self.made(&key, &manifest, Manager::Other, now)));
            }
        }
        let leaving: Vec<Record> =
            self.records().filter(|record| record.is_container() && record.is_deleting()).cloned().collect();
        for container in leaving {
            changes.extend(self.emptied(&container, now));
        }
        changes
    }

    /// Gives a manifest its key: what the kind's scope makes of the namespace.
    pub(super) fn resolve(&self, manifest: &Value) -> Result<ObjectKey, Error> {
        let mut key = object_key(manifest)?;
        if kind::is_a_question(&key.group, &key.kind) {
            return Err(Error::invalid(format!("a {} can be created, but not applied", key.kind)));
        }
        key.namespace = match self.fields(&key)?.0 {
            false => None,
            true => Some(key.namespace.take().unwrap_or_else(|| "default".into())),
        };
        Ok(key)
    }

    /// Whether a kind is namespaced, and how its fields are checked.
    fn fields(&self, key: &ObjectKey) -> Result<(bool, Fields<'_>), Error> {
        if let Some(builtin) = builtin::kind(&key.group, &key.version, &key.kind) {
            let fields = builtin.check.map_or(Fields::Unknown, Fields::Typed);
            return Ok((builtin.namespaced, fields));
        }
        match self.defined(key) {
            Some(defined) => Ok((defined.namespaced, Fields::Defined(defined))),
            None => Err(Error::UnknownKind { api_version: key.api_version(), kind: key.kind.to_string() }),
        }
    }

    /// The types of a kind that a definition added.
    pub(super) fn schema(&self, key: &ObjectKey) -> Option<Schema> {
        self.defined(key)?.schema.cloned().map(Schema::of_definition)
    }

    fn defined(&self, key: &ObjectKey) -> Option<Defined<'_>> {
        let definitions = self.of_kind(DEFINITION.0, DEFINITION.1).filter(|record| !record.is_deleting());
        let mut kinds =
            definitions.filter_map(|record| kind::defined_by(&record.object, &key.group, &key.version, &key.kind));
        kinds.next()
    }

    /// Applies a manifest: the changes it makes (none where it is there already) and the object afterwards.
    pub(super) fn apply(
        &mut self,
        key: &ObjectKey,
        manifest: &Value,
        uid: Option<&str>,
        manager: Manager,
        now: Timestamp,
    ) -> Result<(Vec<Change>, LiveObject), Error> {
        let (_, fields) = self.fields(key)?;
        let manifest = check::manifest(key, manifest, fields)?;
        let Some(record) = self.get(key).cloned() else {
            if uid.is_some() {
                return Err(Error::Gone);
            }
            self.check_namespace(key)?;
            let record = self.made(key, &manifest, manager, now);
            let live = record.live();
            return Ok((vec![Change::Put(record)], live));
        };
        let live = record.live();
        if uid.is_some_and(|uid| uid != live.uid) {
            return Err(Error::Replaced { uid: live.uid });
        }
        let mut next = record.clone();
        next.key = key.clone();
        match manager {
            Manager::Lifeline => {
                next.object = merge::apply(&record.object, record.applied.as_ref(), &manifest);
                next.applied = Some(manifest);
            }
            Manager::Other => {
                next.object = merge::apply(&record.object, None, &manifest);
                next.applied = record.applied.as_ref().map(|ours| merge::disowned(ours, &record.object, &next.object));
                next.changed_by_others = true;
            }
        }
        let mut problems = Vec::new();
        let fixed = immutable::check(key, &record.object, &next.object);
        let added = next.finalizers().iter().filter(|finalizer| !record.finalizers().contains(finalizer)).count();
        if record.is_deleting() && added > 0 {
            problems.push("`metadata.finalizers`: none can be added while the object is being deleted".to_owned());
        }
        if !problems.is_empty() {
            problems.splice(0..0, fixed.iter().map(|(_, message)| message.clone()));
            return Err(Error::invalid(problems.join("; ")));
        }
        if !fixed.is_empty() {
            let (fields, messages): (Vec<_>, Vec<_>) =
                fixed.into_iter().map(|(field, message)| (format!("`{field}`"), message)).unzip();
            return Err(Error::Immutable { fields: fields.join(", "), message: messages.join("; ") });
        }
        if next == record {
            return Ok((Vec::new(), live));
        }
        if record.is_deleting() && next.finalizers().is_empty() && !next.is_container() {
            let live = next.live();
            return Ok((self.removed(&next), live));
        }
        if next.object != record.object {
            self.revise(&mut next.object, &record.object);
        }
        let live = next.live();
        let mut changes = vec![Change::Put(next.clone())];
        if record.is_deleting() && next.is_container() {
            changes.extend(self.last_of(&next, &[]));
        }
        Ok((changes, live))
    }

    /// Deletes the object of this uid.
    pub(super) fn delete(
        &mut self,
        key: &ObjectKey,
        uid: &str,
        now: Timestamp,
    ) -> Result<(Vec<Change>, Deletion), Error> {
        let Some(record) = self.get(key).cloned() else {
            return Ok((Vec::new(), Deletion::Gone));
        };
        if record.live().uid != uid {
            return Ok((Vec::new(), Deletion::Gone));
        }
        if record.is_namespace() && IMMORTAL_NAMESPACES.contains(&key.name.as_str()) {
            let by = "an admission rule of the cluster".to_owned();
            let message = format!("the namespace `{}` may not be deleted", key.name);
            return Err(Error::Denied { by, message, remedy: "leave it out of the rules" });
        }
        let changes = self.leaving(&record, now);
        let gone =
            changes.last().is_some_and(|change| matches!(change, Change::Remove(removed) if removed == &record.key));
        Ok((changes, if gone { Deletion::Gone } else { Deletion::Terminating }))
    }

    fn check_namespace(&self, key: &ObjectKey) -> Result<(), Error> {
        let Some(namespace) = &key.namespace else {
            return Ok(());
        };
        match self.get(&ObjectKey::of_namespace(namespace)) {
            None => Err(Error::NamespaceMissing { namespace: namespace.to_string() }),
            Some(record) if record.is_deleting() => {
                Err(Error::NamespaceTerminating { namespace: namespace.to_string() })
            }
            Some(_) => Ok(()),
        }
    }

    /// A new object, with what the server adds.
    fn made(&mut self, key: &ObjectKey, manifest: &Value, manager: Manager, now: Timestamp) -> Record {
        let mut object = manifest.clone();
        self.revision += 1;
        let has_spec = object.get("spec").is_some();
        if let Some(fields) = object.as_object_mut()
            && let Some(metadata) =
                fields.entry("metadata").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
        {
            metadata.insert("uid".to_owned(), Value::from(uid(self.seed, self.revision)));
            metadata.insert("resourceVersion".to_owned(), Value::from(self.revision.to_string()));
            metadata.insert("creationTimestamp".to_owned(), Value::from(seconds(now)));
            if has_spec && key.kind != "Namespace" {
                metadata.insert("generation".to_owned(), Value::from(1));
            }
        }
        let mut record = Record {
            key: key.clone(),
            applied: (manager == Manager::Lifeline).then(|| manifest.clone()),
            object,
            changed_by_others: manager == Manager::Other,
        };
        if record.is_namespace() {
            record.object["metadata"]["labels"]["kubernetes.io/metadata.name"] = Value::from(key.name.as_str());
            record.object["spec"]["finalizers"] = json!(["kubernetes"]);
            record.object["status"] = json!({"phase": "Active"});
        }
        record
    }

    fn revise(&mut self, object: &mut Value, before: &Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = Value::from(self.revision.to_string());
        if object.get("spec") != before.get("spec")
            && let Some(generation) = object.pointer("/metadata/generation").and_then(Value::as_u64)
        {
            object["metadata"]["generation"] = Value::from(generation + 1);
        }
    }

    /// The changes by which an object leaves, as far as its finalizers and contents let it.
    fn leaving(&mut self, record: &Record, now: Timestamp) -> Vec<Change> {
        if record.is_container() {
            let mut changes = Vec::new();
            if !record.is_deleting() {
                // First: a crash from here on is finished when the cluster is opened.
                changes.push(Change::Put(self.marked(record, now)));
            }
            changes.extend(self.emptied(record, now));
            return changes;
        }
        if record.finalizers().is_empty() {
            return self.removed(record);
        }
        if record.is_deleting() { Vec::new() } else { vec![Change::Put(self.marked(record, now))] }
    }

    fn marked(&mut self, record: &Record, now: Timestamp) -> Record {
        let mut marked = record.clone();
        marked.object["metadata"]["deletionTimestamp"] = Value::from(seconds(now));
        marked.object["metadata"]["deletionGracePeriodSeconds"] = Value::from(0);
        if record.is_namespace() {
            marked.object["status"]["phase"] = Value::from("Terminating");
        }
        self.revise(&mut marked.object, &record.object);
        marked
    }

    /// Removes an object, and what only waited for it to go: its namespace, its definition.
    fn removed(&self, record: &Record) -> Vec<Change> {
        let namespace = record.key.namespace.as_ref().and_then(|name| self.get(&ObjectKey::of_namespace(name)));
        let definition = self.of_kind(DEFINITION.0, DEFINITION.1).find(|definition| defines(definition, record));
        let waiting = namespace.into_iter().chain(definition).filter(|container| container.is_deleting());
        let last = waiting.filter_map(|container| self.last_of(container, std::slice::from_ref(record)));
        std::iter::once(Change::Remove(record.key.clone())).chain(last).collect()
    }

    /// Deletes what a container holds, then the container itself where nothing is left.
    fn emptied(&mut self, container: &Record, now: Timestamp) -> Vec<Change> {
        let contents: Vec<Record> = self.contents(container).cloned().collect();
        let mut changes = Vec::new();
        let mut leaving = Vec::new();
        for record in contents {
            if record.finalizers().is_empty() {
                changes.push(Change::Remove(record.key.clone()));
                leaving.push(record);
            } else if !record.is_deleting() {
                changes.push(Change::Put(self.marked(&record, now)));
            }
        }
        changes.extend(self.last_of(container, &leaving));
        changes
    }

    /// Removes a terminating container once nothing but `leaving` is in it and no finalizer of its own holds it.
    fn last_of(&self, container: &Record, leaving: &[Record]) -> Option<Change> {
        let held = self.contents(container).count() > leaving.len();
        (!held && container.finalizers().is_empty()).then(|| Change::Remove(container.key.clone()))
    }

    /// What a namespace or a definition holds.
    fn contents<'a>(&'a self, container: &'a Record) -> Box<dyn Iterator<Item = &'a Record> + 'a> {
        if container.is_namespace() {
            let held = self.in_namespace.get(container.key.name.as_str()).into_iter().flatten();
            return Box::new(held.filter_map(|slot| self.objects.get(slot)));
        }
        let spec = &container.object["spec"];
        let group = spec["group"].as_str().unwrap_or_default();
        let kind = spec["names"]["kind"].as_str().unwrap_or_default();
        Box::new(self.of_kind(group, kind))
    }

    /// All objects of a kind.
    fn of_kind(&self, group: &str, kind: &str) -> impl Iterator<Item = &Record> {
        let (group, kind) = (group.to_owned(), kind.to_owned());
        let first = Slot { group: group.clone(), kind: kind.clone(), namespace: None, name: String::new() };
        let from_there = self.objects.range(first..);
        let of_kind = from_there.take_while(move |(slot, _)| slot.group == group && slot.kind == kind);
        of_kind.map(|(_, record)| record)
    }
}

/// Whether a definition is that of an object's kind.
fn defines(definition: &Record, record: &Record) -> bool {
    let spec = &definition.object["spec"];
    spec["group"] == record.key.group.as_str() && spec["names"]["kind"] == record.key.kind.as_str()
}

/// Kubernetes writes times to the second.
fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A uid in the shape of a random UUID, from the seed and the revision alone.
fn uid(seed: u64, revision: u64) -> String {
    let scattered = |value| Random::new(value).next();
    let high = scattered(seed ^ scattered(revision));
    let low = scattered(high ^ revision);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}
