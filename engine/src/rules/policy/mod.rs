//! What a trigger applies: its policies, and the objects that hold their texts.
//!
//! Start at [`Policy`], one entry of a trigger's spec: what it references, what of it is part of the trigger's digest, and
//! which manifests it makes of an event. [`read`] makes the policies of a spec. Two things vary here:
//!
//! - How an entry of the spec becomes manifests. That is behaviour, so [`Policy`] is a trait. Another kind of entry
//!   (`helmCharts`, `kustomizationRefs`) is a folder or file here and a line in [`KINDS`]; `read::refuse`, which
//!   warns about its field today, then calls it done.
//! - In which objects the texts of `policyRefs` are. A ConfigMap and a Secret differ in a few facts and in how the texts are
//!   found, nothing else, so [`ContentKind`] is a table of those facts and not a trait. Another kind of object is a file
//!   here and a line in [`CONTENT_KINDS`]; files, clusters and the log then follow, check and record it.
//!
//! Never here: files, network, time. What has to be fetched is fetched before, and is content like any other.

use std::fmt::Debug;

use lifeline_projections::why::object::Named;
use serde_json::Value;

use super::cluster::Clusters;
use super::problem::Problem;
pub(super) use super::read::content::Purpose;
use super::read::content::{Content, Contents, Fault, Part, Reference, Texts, asks_for_whole_cluster};
use super::read::manifest::Manifest;
use super::read::spec::{self, EventTriggerSpec};
use super::read::text::{Reading, Shape};
use crate::confidential::masked_quotes;
use crate::template::{self, Data};

mod config_map;
mod generator;
mod patch;
mod patches;
mod reference;
mod resources;
mod secret;
mod selector_text;

pub(super) use patches::Patches;
pub(super) use resources::Resources;
pub use secret::SECRET_TYPE;

/// The kinds of entries, in the order in which their manifests are made.
const KINDS: [Kind; 2] = [generator::KIND, reference::KIND];

/// The kinds of objects that may hold the texts of policies.
pub(super) static CONTENT_KINDS: [ContentKind; 2] = [config_map::KIND, secret::KIND];

/// One entry of a trigger's spec, compiled: it makes manifests.
pub(super) trait Policy: Debug + Send + Sync {
    /// What the texts of what it references are to it.
    fn purpose(&self) -> Purpose;

    /// Whether it could reference this object, for some event.
    fn could_reference(&self, reference: &Reference, clusters: &Clusters) -> bool;

    /// A defect when what it references is not there, whatever the event.
    fn missing(&self, contents: &Contents, clusters: &Clusters) -> Option<Fault>;

    /// What of it can change what it makes. Invariant: the same in every release, for logs hold checksums of it.
    fn digest_part(&self) -> Value;

    /// The manifests it makes, in an order that depends on nothing else.
    ///
    /// # Errors
    /// The first thing that is missing or cannot be rendered; then nothing of the event should be applied.
    fn render(&self, asked: &Asked<'_>) -> Result<Vec<Rendered>, Error>;
}

impl Default for Handling {
    fn default() -> Handling {
        Handling {
            tier: EventTriggerSpec::default().tier,
            recreates: false,
            makes_namespace: true,
            hides_values: false,
        }
    }
}

/// What a policy is asked to make manifests of.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The trigger, for errors.
    pub trigger: &'a str,
    /// What templates see.
    pub data: &'a Data<'a>,
    /// Full name of the cluster the event came from.
    pub cluster: &'a str,
    /// What may be referenced.
    pub contents: &'a Contents,
    /// The trigger's tier.
    pub tier: i32,
    /// Which manifests are wanted.
    pub part: Part,
}

/// The policies of a spec.
pub(super) type Policies = Vec<Box<dyn Policy>>;

/// A kind of entry of a trigger's spec.
struct Kind {
    /// The objects that a spec names. It is asked for whenever something in the cluster changes, so it compiles nothing.
    named: fn(&EventTriggerSpec) -> Vec<Named>,
    /// The entries of a spec, compiled; an error puts the trigger out of force.
    read: fn(&EventTriggerSpec, &Reading<'_>) -> Result<Policies, Problem>,
}

/// Reads the policies of a spec.
///
/// # Errors
/// The first entry that cannot be read.
pub(super) fn read(spec: &EventTriggerSpec, reading: &Reading<'_>) -> Result<Policies, Problem> {
    let mut policies = Policies::new();
    for kind in &KINDS {
        policies.extend((kind.read)(spec, reading)?);
    }
    Ok(policies)
}

/// The objects that the manifest of an EventTrigger names; none when its spec cannot be read.
#[must_use]
pub fn named_objects(manifest: &Value) -> Vec<Named> {
    let spec = spec::read::<EventTriggerSpec>(&manifest["spec"]);
    let named = |spec: EventTriggerSpec| {
        let of_kinds = KINDS.iter().flat_map(|kind| (kind.named)(&spec));
        of_kinds.chain(patches::named(&spec)).chain(resources::named(&spec)).collect()
    };
    spec.map(named).unwrap_or_default()
}

/// The objects that a trigger could reference, by their names alone.
pub(super) struct Mention {
    kind: String,
    name: Shape,
}

impl Mention {
    /// What this manifest of an EventTrigger mentions.
    pub fn of(manifest: &Value) -> Vec<Mention> {
        let mention = |Named { kind, name, .. }: Named| Mention { kind, name: Shape::of(&name) };
        named_objects(manifest).into_iter().map(mention).collect()
    }

    /// Whether it could mean the object of this kind and name.
    pub fn could_be(&self, kind: &str, name: &str) -> bool {
        self.kind == kind && self.name.could_be(name)
    }
}

/// A kind of object that holds texts: of the core group, in version `v1`, in a namespace.
#[derive(Debug)]
pub(super) struct ContentKind {
    /// As manifests write it.
    pub name: &'static str,
    /// A field, and the value without which an object may not be applied. Other objects are not even read from a cluster.
    pub must_have: Option<(&'static str, &'static str)>,
    /// Whether its content may be written to the log.
    pub is_recorded: bool,
    /// The field in which a new object has texts as they are.
    texts_field: &'static str,
    /// Finds the texts in a manifest.
    texts: fn(&Value) -> Result<Texts, Fault>,
}

impl ContentKind {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<&'static ContentKind> {
        CONTENT_KINDS.iter().find(|kind| kind.name == name)
    }

    /// Reads an object of this kind, for these purposes.
    pub fn read(
        &self,
        reference: Reference,
        purposes: &[Purpose],
        written: &Manifest,
        problems: &mut Vec<Problem>,
    ) -> Content {
        Content::read(reference, purposes, written, self.texts, problems)
    }

    /// Whether a text of an object of this kind may ask for more of `.Cluster` than name and labels.
    pub fn asks_for_whole_cluster(&self, manifest: &Value) -> bool {
        asks_for_whole_cluster(&(self.texts)(manifest))
    }

    /// What to do about an object that is not there.
    fn missing_hint(&self) -> String {
        match self.must_have {
            None => "create it, or set `optional: true`".into(),
            Some((field, value)) => format!("create it with `{field}: {value}`, or set `optional: true`"),
        }
    }
}

/// One manifest that a trigger made, and how it came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// What to apply.
    pub manifest: Value,
    /// Its scalars whose types only the cluster knows; see [`crate::schema`].
    pub plain: Vec<template::Plain>,
    /// The object whose text it is.
    pub from: Reference,
    /// The data key there.
    pub key: String,
    /// Which object of that key, from 0.
    pub document: usize,
    /// What may be done for it.
    pub handling: Handling,
}

/// What may be done for an object beside applying it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handling {
    /// Of two lifecycles that want an object, the strictly lower tier has it.
    pub tier: i32,
    /// Whether it may be deleted and made again where a field that can never change shall change. What holds other objects
    /// (see `reconcile::recreate`) needs an annotation of its own.
    pub recreates: bool,
    /// Whether its Namespace is made where it is missing.
    pub makes_namespace: bool,
    /// Whether its template sees a Secret, so that no message and no answer shows a value of it.
    pub hides_values: bool,
}

impl Handling {
    /// What may be done where only a tier is known.
    pub(crate) fn of_tier(tier: i32) -> Handling {
        Handling { tier, ..Handling::default() }
    }
}

/// Why a trigger made nothing of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field of the trigger is a template that cannot be rendered for this event.
    #[error("trigger `{trigger}`: `{field}` cannot be rendered")]
    Field {
        /// The trigger.
        trigger: String,
        /// Such as `spec.policyRefs[0].name`.
        field: String,
        /// Why, with its place.
        #[source]
        source: template::Error,
    },
    /// What it references is not there.
    #[error(
        "trigger `{trigger}`: `{field}` names {reference}, which does not exist\nhint: create it, or set `optional: true`"
    )]
    Missing {
        /// The trigger.
        trigger: String,
        /// The policy, such as `spec.policyRefs[0]`.
        field: String,
        /// What it names.
        reference: Box<Reference>,
    },
    /// What it references may not be applied.
    #[error("trigger `{trigger}`: `{field}` names {reference}: {reason}")]
    Refused {
        /// The trigger.
        trigger: String,
        /// The policy, such as `spec.policyRefs[0]`.
        field: String,
        /// What it names.
        reference: Box<Reference>,
        /// Why.
        reason: String,
    },
    /// A patch cannot be read, or cannot be applied to a manifest that it is for.
    #[error("trigger `{trigger}`: `{field}` cannot be applied: {reason}")]
    Patch {
        /// The trigger.
        trigger: String,
        /// The patch, such as `spec.patches[0]`.
        field: String,
        /// Why.
        reason: String,
    },
    /// A key of it is no manifest, or no template, or cannot be rendered for this event.
    #[error("trigger `{trigger}`: {reference}, key `{key}` cannot be rendered")]
    Content {
        /// The trigger.
        trigger: String,
        /// What it names.
        reference: Box<Reference>,
        /// The data key.
        key: String,
        /// Why, with its place in the key's text.
        #[source]
        source: template::Error,
    },
}

impl Error {
    /// The same error without the values that it quotes.
    #[must_use]
    pub fn without_values(self) -> Error {
        match self {
            Error::Field { trigger, field, source } => Error::Field { trigger, field, source: source.without_values() },
            Error::Content { trigger, reference, key, source } => {
                Error::Content { trigger, reference, key, source: source.without_values() }
            }
            Error::Patch { trigger, field, reason } => Error::Patch { trigger, field, reason: masked_quotes(&reason) },
            error @ (Error::Missing { .. } | Error::Refused { .. }) => error,
        }
    }
}
