//! What a ConfigMap or a Secret gives to apply: one entry per data key, a template or manifests as they are.
//!
//! Start at [`Content::read`]. Nothing here renders.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::{Manifest, Problem, digest};
use crate::template::{self, Dialect, Template};

/// Its presence, not its value, makes the data keys templates.
pub const INSTANTIATE: &str = "projectsveltos.io/instantiate";
/// The language of the templates: `tera`, or Go's when absent.
pub const DIALECT: &str = "lifeline.dev/dialect";
/// The one type of Secret that may be applied: a rule must not be a way to read any other.
pub const SECRET_TYPE: &str = "addons.projectsveltos.io/cluster-profile";

/// The kinds that `policyRefs` may name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentKind {
    /// `ConfigMap`.
    ConfigMap,
    /// `Secret` of type [`SECRET_TYPE`].
    Secret,
}

/// Names one ConfigMap or Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Which of the two.
    pub kind: ContentKind,
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

impl fmt::Display for ContentKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            ContentKind::ConfigMap => "ConfigMap",
            ContentKind::Secret => "Secret",
        })
    }
}

/// A ConfigMap or Secret, read and compiled.
#[derive(Debug)]
pub(super) struct Content {
    pub reference: Reference,
    /// Checksum of all that can change what it gives.
    pub digest: u64,
    /// By key, sorted; or why nothing of it may be applied.
    pub entries: Result<Vec<Entry>, String>,
}

/// One data key.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    /// Applied as they are.
    Manifests(Vec<Value>),
    Template(Template),
    /// Neither; rendering fails with this.
    Broken(template::Error),
}

impl Content {
    /// Reads the manifest of a ConfigMap or Secret that a trigger references.
    pub(super) fn read(reference: Reference, written: &Manifest, problems: &mut Vec<Problem>) -> Content {
        let (origin, manifest) = (&written.origin, &written.value);
        let rule = reference.rule();
        let annotation = |name: &str| manifest["metadata"]["annotations"].get(name);
        let is_template = annotation(INSTANTIATE).is_some();
        let named = annotation(DIALECT).and_then(Value::as_str).unwrap_or("go");
        let parts = json!([is_template, named, manifest["type"], manifest["data"], manifest["stringData"]]);
        let digest = digest(&parts);

        let entries = dialect(named)
            .and_then(|dialect| texts(reference.kind, manifest).map(|texts| (dialect, texts)))
            .inspect_err(|fault| problems.push(fault.problem(&rule, origin)))
            .map_err(|fault| fault.message);
        let entries = entries.map(|(dialect, texts)| {
            let entry = |(key, text): (String, String)| {
                let body = if is_template {
                    Template::compile(dialect, &key, &text).map(Body::Template)
                } else {
                    template::parse_manifests(&key, &text).map(Body::Manifests)
                };
                let body = body.unwrap_or_else(|error| {
                    let fault = error.fault();
                    let at = ["stringData", "data"]
                        .iter()
                        .find_map(|field| written.origin_in(field, &key, fault.line, fault.column));
                    problems.push(match at {
                        Some(at) => Problem {
                            hint: fault.hint.clone(),
                            ..Problem::error(&rule, at, format!("key `{key}`: {}", fault.message))
                        },
                        None => super::template_problem(&rule, origin, &format!("key `{key}`"), &error),
                    });
                    Body::Broken(error)
                });
                Entry { key, body }
            };
            texts.into_iter().map(entry).collect()
        });
        if manifest["binaryData"].as_object().is_some_and(|data| !data.is_empty()) {
            problems.push(Problem::warning(&rule, origin, "`binaryData` holds no manifests and has no effect"));
        }
        Content { reference, digest, entries }
    }

    /// Whether a template in it asks for the list of events.
    pub(super) fn uses_event_list(&self) -> bool {
        self.entries.iter().flatten().any(|entry| match &entry.body {
            Body::Template(template) => template.uses_event_list(),
            Body::Manifests(_) | Body::Broken(_) => false,
        })
    }
}

struct Fault {
    message: String,
    hint: Option<String>,
}

impl Fault {
    fn new(message: String) -> Fault {
        Fault { message, hint: None }
    }

    fn problem(&self, rule: &str, origin: &str) -> Problem {
        Problem { hint: self.hint.clone(), ..Problem::error(rule, origin, &self.message) }
    }
}

fn dialect(named: &str) -> Result<Dialect, Fault> {
    super::dialect(named).map_err(|message| Fault { message, hint: Some("the dialects are `go` and `tera`".into()) })
}

/// The data keys and their texts, sorted by key.
fn texts(kind: ContentKind, manifest: &Value) -> Result<BTreeMap<String, String>, Fault> {
    let entries = |field: &str| match &manifest[field] {
        Value::Null => Ok(Vec::new()),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key.clone(), text.clone())),
                other => Err(Fault {
                    message: format!("`{field}.{key}` is `{other}`, expected a string"),
                    hint: Some(format!("put a block scalar there: `{key}: |`")),
                }),
            })
            .collect(),
        _ => Err(Fault::new(format!("`{field}` is not a map of strings"))),
    };
    match kind {
        ContentKind::ConfigMap => Ok(entries("data")?.into_iter().collect()),
        ContentKind::Secret => {
            let found = manifest["type"].as_str().unwrap_or("Opaque");
            if found != SECRET_TYPE {
                return Err(Fault {
                    message: format!("the Secret is of type `{found}`, expected `{SECRET_TYPE}`"),
                    hint: Some(format!("create it with `type: {SECRET_TYPE}`; the type of a Secret cannot be changed")),
                });
            }
            let mut texts = BTreeMap::new();
            for (key, encoded) in entries("data")? {
                let compact: String = encoded.split_ascii_whitespace().collect();
                let bytes = data_encoding::BASE64.decode(compact.as_bytes());
                // The content stays out of the message: it is a secret.
                let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
                texts.insert(
                    key.clone(),
                    text.ok_or_else(|| Fault {
                        message: format!("`data.{key}` is not base64 of a text"),
                        hint: Some("plain text goes to `stringData`".into()),
                    })?,
                );
            }
            // As the API server does: `stringData` wins.
            texts.extend(entries("stringData")?);
            Ok(texts)
        }
    }
}
