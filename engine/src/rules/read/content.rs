//! What an object of texts, such as a ConfigMap, gives to apply: for each key a template, or manifests as they are.
//!
//! Start at [`Content::read`]. Nothing here renders, and nothing here knows which kinds of objects there are: the texts of
//! each kind are read in `policy`.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::cluster_fields;
use super::manifest::Manifest;
use super::metadata::{self, OtherStage};
pub use super::metadata::{INSTANTIATE, TEMPLATE};
use crate::digest::digest;
use crate::rules::problem::{Place, Problem, Severity, Topic};
use crate::template::{self, Dialect, Template};

/// The language of the templates: `tera`, or Go's when absent.
pub const DIALECT: &str = "lifeline.dev/dialect";

/// The dialect that a manifest's annotation names; Go's when it names none.
///
/// # Errors
/// When it names one that does not exist.
pub(in crate::rules) fn dialect(manifest: &Value) -> Result<Dialect, Fault> {
    match named_dialect(manifest) {
        "go" => Ok(Dialect::Go),
        "tera" => Ok(Dialect::Tera),
        other => Err(Fault::new(format!("annotation `{DIALECT}` is `{other}`, which is no dialect"))
            .hint("the dialects are `go` and `tera`")
            .at(format!("metadata.annotations.{DIALECT}"))),
    }
}

fn named_dialect(manifest: &Value) -> &str {
    annotation(manifest, DIALECT).and_then(Value::as_str).unwrap_or("go")
}

fn annotation<'m>(manifest: &'m Value, name: &str) -> Option<&'m Value> {
    manifest["metadata"]["annotations"].get(name)
}

/// Names one object of texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Its kind, as manifests write it.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Reference {
    /// `ConfigMap/namespace/name`: its name as a rule.
    #[must_use]
    pub fn rule(&self) -> String {
        let Reference { kind, namespace, name } = self;
        format!("{kind}/{namespace}/{name}")
    }
}

/// As a person reads it: `ConfigMap default/namespace`.
impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// All content that triggers could reference.
pub(in crate::rules) type Contents = BTreeMap<Reference, Content>;

/// The texts of an object, by key.
pub(in crate::rules) type Texts = BTreeMap<String, String>;

/// What the texts of an object are to a policy that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Purpose {
    /// Manifests, or templates of them.
    Manifests,
    /// Templates of texts.
    Texts,
    /// Values for templates: the object as it is.
    Object,
}

/// An object of texts, read and compiled.
#[derive(Debug)]
pub(in crate::rules) struct Content {
    pub reference: Reference,
    /// Checksum of all that can change what it gives.
    pub digest: u64,
    /// Manifests or templates of them by key, sorted; or why nothing of it may be applied.
    pub entries: Result<Vec<Entry>, String>,
    /// The object as it is, for templates; null where none asks for it.
    pub object: Value,
    /// Templates of texts by key, for generators; or why nothing of it may be applied.
    pub texts: Result<BTreeMap<String, Result<Template, template::Error>>, String>,
    /// Whether its texts may ask for more of `.Cluster` than name and labels.
    pub asks_for_whole_cluster: bool,
    /// What of it they ask for that only a resource that represents the cluster has.
    pub field_of_cluster: Option<String>,
}

/// One key.
#[derive(Debug)]
pub(in crate::rules) struct Entry {
    pub key: String,
    pub body: Body,
}

#[derive(Debug)]
pub(in crate::rules) enum Body {
    /// Applied as they are.
    Manifests(Vec<template::Object>),
    Template(Template),
    /// Neither; rendering fails with this.
    Broken(template::Error),
}

impl Content {
    /// Reads the manifest of an object that a trigger references for these purposes; `texts` finds the texts in it.
    pub(in crate::rules) fn read(
        reference: Reference,
        purposes: &[Purpose],
        written: &Manifest,
        texts: fn(&Value) -> Result<Texts, Fault>,
        problems: &mut Vec<Problem>,
    ) -> Content {
        let (origin, manifest) = (&written.origin, &written.value);
        let rule = reference.rule();
        let is_template = [INSTANTIATE, TEMPLATE].iter().any(|name| annotation(manifest, name).is_some());
        let named = named_dialect(manifest);
        let other_stage = metadata::other_stage(manifest);
        let unknown = unknown_fields(manifest, &FIELDS);
        let mut parts = json!([is_template, named, manifest["type"], manifest["data"], manifest["stringData"]]);
        // Only where they are there: logs hold checksums of content without them.
        if let (Some(OtherStage { annotation, .. }), Some(parts)) = (&other_stage, parts.as_array_mut()) {
            parts.push(json!(annotation));
        }
        if let (false, Some(parts)) = (unknown.is_empty(), parts.as_array_mut()) {
            parts.push(json!(unknown));
        }
        let is_object = purposes.contains(&Purpose::Object);
        if let (true, Some(parts)) = (is_object, parts.as_array_mut()) {
            parts.push(json!([manifest["metadata"]["labels"], manifest["metadata"]["annotations"]]));
        }
        let digest = digest(&parts);
        let object = if is_object { served(manifest) } else { Value::Null };

        let entries = other_stage
            .map_or(Ok(()), |OtherStage { annotation, message, hint }| {
                Err(Fault::new(message).hint(hint).at(format!("metadata.annotations.{annotation}")))
            })
            .and_then(|()| dialect(manifest))
            .and_then(|dialect| texts(manifest).map(|texts| (dialect, texts)))
            .inspect(|_| metadata::content(&rule, origin, manifest, problems))
            .inspect_err(|fault| problems.push(fault.problem(&rule, origin)))
            .map_err(|fault| fault.message);
        // What a Secret holds stays out of messages.
        let is_secret = reference.kind == "Secret";
        let worded = |error: template::Error| if is_secret { error.without_values() } else { error };
        let told = |key: &str, error: &template::Error| {
            let fault = error.fault();
            let at =
                ["stringData", "data"].iter().find_map(|field| written.origin_in(field, key, fault.line, fault.column));
            let field = if manifest["stringData"].get(key).is_some() { "stringData" } else { "data" };
            let field = format!("{field}.{key}");
            let problem = Problem::of_template(&rule, origin, (&field, &format!("key `{key}`")), error);
            match at {
                Some(at) => Problem { origin: at, message: format!("key `{key}`: {}", fault.message), ..problem },
                None => problem,
            }
        };
        let of_texts = entries.as_ref().map_err(Clone::clone).map(|(dialect, texts)| {
            let wanted = texts.iter().filter(|_| purposes.contains(&Purpose::Texts));
            let one = |(key, text): (&String, &String)| {
                let template = Template::compile(*dialect, key, text)
                    .map_err(worded)
                    .inspect_err(|error| problems.push(told(key, error)));
                (key.clone(), template)
            };
            wanted.map(one).collect::<BTreeMap<_, _>>()
        });
        let entries = entries.map(|(dialect, texts)| {
            let texts = texts.into_iter().filter(|_| purposes.contains(&Purpose::Manifests));
            let entry = |(key, text): (String, String)| {
                let body = if is_template {
                    Template::compile(dialect, &key, &text).map(Body::Template)
                } else {
                    template::parse_objects(&key, &text).map(Body::Manifests)
                };
                let foreign = match &body {
                    Ok(Body::Template(template)) => template.foreign(),
                    Ok(_) | Err(_) => None,
                };
                let foreign = foreign.map(|error| Problem { severity: Severity::Warning, ..told(&key, &error) });
                problems.extend(foreign);
                let body = body.map_err(worded).unwrap_or_else(|error| {
                    problems.push(told(&key, &error));
                    Body::Broken(error)
                });
                Entry { key, body }
            };
            texts.map(entry).collect()
        });
        if manifest["binaryData"].as_object().is_some_and(|data| !data.is_empty()) {
            problems.push(
                Problem::warning(&rule, origin, "`binaryData` holds no manifests and has no effect").at("binaryData"),
            );
        }
        let all = texts(manifest);
        let asks_for_whole_cluster = asks_for_whole_cluster(&all);
        let field_of_cluster = all
            .iter()
            .flatten()
            .filter(|_| is_template)
            .find_map(|(_, text)| cluster_fields::text_field_of_resource(text));
        Content { reference, digest, entries, object, texts: of_texts, asks_for_whole_cluster, field_of_cluster }
    }

    /// Whether it is a Secret, of which nothing is recorded or shown.
    pub(in crate::rules) fn is_secret(&self) -> bool {
        self.reference.kind == "Secret"
    }

    /// Whether a template in it asks for the list of events.
    pub(in crate::rules) fn uses_event_list(&self) -> bool {
        let uses_list = |body: &Body| matches!(body, Body::Template(template) if template.uses_event_list());
        self.entries.iter().flatten().any(|entry| uses_list(&entry.body)) || self.texts_use_event_list()
    }

    /// Whether a template of a text in it does.
    pub(in crate::rules) fn texts_use_event_list(&self) -> bool {
        let mut texts = self.texts.iter().flatten().filter_map(|(_, text)| text.as_ref().ok());
        texts.any(Template::uses_event_list)
    }

    /// Whether something in it is made of each event, where there is a list.
    pub(in crate::rules) fn is_of_each(&self) -> bool {
        let mut bodies = self.entries.iter().flatten().map(|entry| &entry.body);
        let has_texts = self.texts.as_ref().is_ok_and(|texts| !texts.is_empty());
        bodies.any(|body| body.is_in(Part::Each)) || has_texts && !self.texts_use_event_list()
    }

    /// Whether something in it cannot be read, so that nobody knows what it would ask for.
    pub(in crate::rules) fn is_broken(&self) -> bool {
        let is_broken = |entry: &Entry| matches!(entry.body, Body::Broken(_));
        self.entries.as_ref().map_or(true, |entries| entries.iter().any(is_broken))
    }
}

/// The object as an API server would give it: it keeps the texts of `stringData` in `data`, in base64.
fn served(manifest: &Value) -> Value {
    let mut object = manifest.clone();
    let Some(fields) = object.as_object_mut().filter(|_| manifest["kind"] == "Secret") else { return object };
    let Some(Value::Object(texts)) = fields.remove("stringData") else { return object };
    let data = fields.entry("data").or_insert(Value::Null);
    if data.is_null() {
        *data = json!({});
    }
    if let Some(data) = data.as_object_mut() {
        let encoded = |text: &str| BASE64.encode(text.as_bytes()).into();
        data.extend(texts.into_iter().filter_map(|(key, text)| Some((key, encoded(text.as_str()?)))));
    }
    object
}

/// Whether one of the texts may ask for more of `.Cluster` than name and labels.
pub(in crate::rules) fn asks_for_whole_cluster(texts: &Result<Texts, Fault>) -> bool {
    texts.iter().flatten().any(|(_, text)| cluster_fields::text_asks_for_whole(text))
}

/// Which of a trigger's manifests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Part {
    /// All of them.
    Whole,
    /// Beside a list: those of one event.
    Each,
    /// Those of the list: templates over `.CloudEvents`, and what asks for no event at all.
    List,
}

impl Body {
    /// Whether it is in a part. What is broken is in each: it fails there, and says so.
    pub(in crate::rules) fn is_in(&self, part: Part) -> bool {
        match (self, part) {
            (_, Part::Whole) | (Body::Broken(_), _) => true,
            (Body::Template(template), part) => {
                let is_of_list = template.uses_event_list() || !template.uses_event();
                is_of_list == (part == Part::List)
            }
            (Body::Manifests(_), part) => part == Part::List,
        }
    }
}

/// The fields of the objects that hold texts, whatever their kind.
const FIELDS: [&str; 5] = ["data", "stringData", "binaryData", "type", "immutable"];

/// The fields of an object that it cannot have.
fn unknown_fields<'m>(manifest: &'m Value, known: &[&str]) -> Vec<&'m str> {
    let fields = manifest.as_object().into_iter().flat_map(|fields| fields.keys().map(String::as_str));
    let common = ["apiVersion", "kind", "metadata", "status"];
    fields.filter(|field| !common.contains(field) && !known.contains(field)).collect()
}

/// Refuses an object with fields other than these: with a slip in `data` it would hold no text, and what its texts made would be
/// withdrawn.
pub(in crate::rules) fn refuse_other_fields(manifest: &Value, known: &[&str]) -> Result<(), Fault> {
    match unknown_fields(manifest, known).first() {
        None => Ok(()),
        Some(field) => Err(Fault::new(format!("unknown field `{field}`, expected one of: {}", known.join(", ")))
            .hint("correct or remove it; what the texts made before stays")
            .of_unknown(*field)),
    }
}

/// Why nothing of an object may be applied.
#[derive(Debug)]
pub(in crate::rules) struct Fault {
    message: String,
    hint: Option<String>,
    place: Place,
}

impl Fault {
    pub fn new(message: String) -> Fault {
        Fault { message, hint: None, place: Place::default() }
    }

    /// The same with a remedy.
    pub fn hint(self, hint: impl Into<String>) -> Fault {
        Fault { hint: Some(hint.into()), ..self }
    }

    /// The same about a field.
    pub fn at(self, field: impl Into<String>) -> Fault {
        Fault { place: Place { topic: Topic::Field, field: field.into(), ..self.place }, ..self }
    }

    /// The same about something that is named in a field and is not there.
    pub fn of_reference(self, field: impl Into<String>) -> Fault {
        Fault { place: Place { topic: Topic::Reference, field: field.into(), ..self.place }, ..self }
    }

    /// The same about a field that does not exist.
    pub fn of_unknown(self, field: impl Into<String>) -> Fault {
        Fault { place: Place { topic: Topic::UnknownField, field: field.into(), ..self.place }, ..self }
    }

    /// The defect of the rule in which it was found.
    pub fn problem(&self, rule: &str, origin: &str) -> Problem {
        Problem {
            hint: self.hint.clone(),
            place: Box::new(self.place.clone()),
            ..Problem::error(rule, origin, &self.message)
        }
    }
}

/// The entries of a field that is a map of texts; none when it is not written.
pub(in crate::rules) fn strings(manifest: &Value, field: &str) -> Result<Texts, Fault> {
    let entry = |(key, value): (&String, &Value)| match value {
        Value::String(text) => Ok((key.clone(), text.clone())),
        // It may be a password.
        _ if manifest["kind"] == "Secret" => Err(Fault::new(format!("`{field}.{key}` is no string"))
            .hint("put quotes around it")
            .at(format!("{field}.{key}"))),
        other => Err(Fault::new(format!("`{field}.{key}` is `{other}`, expected a string"))
            .hint(format!("put a block scalar there: `{key}: |`"))
            .at(format!("{field}.{key}"))),
    };
    match &manifest[field] {
        Value::Null => Ok(Texts::new()),
        Value::Object(map) => map.iter().map(entry).collect(),
        _ => Err(Fault::new(format!("`{field}` is not a map of strings")).at(field)),
    }
}
