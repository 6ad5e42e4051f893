//! `policyRefs`: each entry names an object, and each text of that object gives manifests.
//!
//! Start at [`PolicyRef::render`](Policy::render). Nothing here knows what kinds of objects there are.

use std::borrow::Cow;

use lifeline_projections::why::object::Named;
use serde_json::{Value, json};

use super::{Asked, CONTENT_KINDS, ContentKind, Error, Handling, Kind, Policies, Policy, Purpose, Rendered};
use crate::rules::cluster::Clusters;
use crate::rules::problem::Problem;
use crate::rules::read::content::{Body, Content, Contents, Entry, Fault, Part, Reference};
use crate::rules::read::spec::{EventTriggerSpec, PolicyRefSpec};
use crate::rules::read::text::{Reading, Text};
use crate::template;

pub(super) const KIND: Kind = Kind { named, read };

/// The namespace that is tried after the cluster's own, when the entry names none.
const NAMESPACE_LAST: &str = "default";

/// One entry of `policyRefs`.
#[derive(Debug)]
struct PolicyRef {
    target: Target,
    spec: PolicyRefSpec,
}

/// What an entry of a spec names.
#[derive(Debug)]
pub(super) struct Target {
    /// `spec.policyRefs[index]`.
    pub field: String,
    pub kind: &'static ContentKind,
    pub namespace: Text,
    pub name: Text,
    /// Whether it may be missing.
    pub optional: bool,
}

fn named(spec: &EventTriggerSpec) -> Vec<Named> {
    let named = |policy: &PolicyRefSpec| {
        let PolicyRefSpec { kind, namespace, name, .. } = policy.clone();
        Named { kind, namespace, name }
    };
    spec.policy_refs.iter().map(named).collect()
}

fn read(spec: &EventTriggerSpec, reading: &Reading<'_>) -> Result<Policies, Problem> {
    let mut policies = Policies::new();
    for (index, written) in spec.policy_refs.iter().enumerate() {
        let field = format!("spec.policyRefs[{index}]");
        let Some(kind) = ContentKind::named(&written.kind) else {
            return Err(no_such_kind(&field, &written.kind, reading));
        };
        let target = Target {
            kind,
            namespace: reading.text(&format!("{field}.namespace"), &written.namespace)?,
            name: reading.text(&format!("{field}.name"), &written.name)?,
            optional: written.optional,
            field,
        };
        policies.push(Box::new(PolicyRef { target, spec: written.clone() }));
    }
    Ok(policies)
}

pub(super) fn no_such_kind(field: &str, kind: &str, reading: &Reading<'_>) -> Problem {
    let names = CONTENT_KINDS.each_ref().map(|kind| format!("`{}`", kind.name)).join(" or ");
    let message = format!("`{field}.kind` is `{kind}`, expected {names}");
    let problem = Problem::error(reading.rule, reading.origin, message).at(format!("{field}.kind"));
    match kind {
        "GitRepository" | "OCIRepository" | "Bucket" => problem.hint("sources of Flux need Sveltos' addon-controller"),
        _ => problem,
    }
}

impl Policy for PolicyRef {
    fn purpose(&self) -> Purpose {
        Purpose::Manifests
    }

    fn could_reference(&self, reference: &Reference, clusters: &Clusters) -> bool {
        self.target.could_reference(reference, clusters)
    }

    fn missing(&self, contents: &Contents, clusters: &Clusters) -> Option<Fault> {
        self.target.missing(contents, clusters)
    }

    /// Fields without effect have their defaults, for earlier releases had them here.
    fn digest_part(&self) -> Value {
        let PolicyRefSpec {
            kind,
            namespace,
            name,
            path: _,
            optional,
            remote_url: _,
            deployment_type: _,
            tier,
            force,
            skip_namespace_creation,
        } = &self.spec;
        let default = PolicyRefSpec::default();
        json!({
            "kind": kind,
            "namespace": namespace,
            "name": name,
            "path": default.path,
            "optional": optional,
            "deploymentType": default.deployment_type,
            "tier": tier,
            "force": force,
            "skipNamespaceCreation": skip_namespace_creation,
        })
    }

    fn render(&self, asked: &Asked<'_>) -> Result<Vec<Rendered>, Error> {
        let Some(content) = self.target.resolve_part(asked)? else { return Ok(Vec::new()) };
        let reference = &content.reference;
        let entries = content.entries.as_ref().map_err(|reason| self.target.refused(asked, reference, reason))?;
        let mut all = Vec::new();
        for Entry { key, body } in entries.iter().filter(|entry| entry.body.is_in(asked.part)) {
            let objects = match body {
                Body::Manifests(objects) => Ok(objects.clone()),
                Body::Template(template) => template.render_objects(asked.data),
                Body::Broken(error) => Err(error.clone()),
            };
            let objects = objects.map_err(|source| unrendered(asked, reference, key, source))?;
            for (document, object) in objects.into_iter().enumerate() {
                let template::Object { value: manifest, plain } = object;
                let (from, key) = (reference.clone(), key.clone());
                all.push(Rendered { manifest, plain, from, key, document, handling: self.handling(asked.tier) });
            }
        }
        Ok(all)
    }
}

impl PolicyRef {
    /// What may be done for its objects. A tier of 0 is the trigger's.
    fn handling(&self, trigger_tier: i32) -> Handling {
        Handling {
            tier: if self.spec.tier == 0 { trigger_tier } else { self.spec.tier },
            recreates: self.spec.force,
            makes_namespace: !self.spec.skip_namespace_creation,
            hides_values: false,
        }
    }
}

/// A text of an object cannot be rendered for this event.
pub(super) fn unrendered(asked: &Asked<'_>, reference: &Reference, key: &str, source: template::Error) -> Error {
    Error::Content {
        trigger: asked.trigger.to_owned(),
        reference: Box::new(reference.clone()),
        key: key.to_owned(),
        source,
    }
}

impl Target {
    /// Whether it could be this object, for some event.
    pub fn could_reference(&self, reference: &Reference, clusters: &Clusters) -> bool {
        let namespace = &reference.namespace;
        let is_namespace = match &self.namespace {
            Text::Literal(literal) if literal.trim().is_empty() => {
                namespace == NAMESPACE_LAST || clusters.iter().any(|cluster| cluster.namespace == *namespace)
            }
            text => text.could_be(namespace),
        };
        self.kind.name == reference.kind && is_namespace && self.name.could_be(&reference.name)
    }

    /// A defect when it is not there, whatever the event.
    pub fn missing(&self, contents: &Contents, clusters: &Clusters) -> Option<Fault> {
        let is_there = contents.keys().any(|reference| self.could_reference(reference, clusters));
        let Text::Literal(name) = &self.name else { return None };
        if self.optional || is_there {
            return None;
        }
        let namespace = match &self.namespace {
            Text::Literal(namespace) if !namespace.is_empty() => format!("{namespace}/"),
            _ => String::new(),
        };
        let (field, kind, name) = (&self.field, self.kind.name, name.trim());
        let message = format!("`{field}` names {kind} {namespace}{name}, which does not exist");
        Some(Fault::new(message).hint(self.kind.missing_hint()).of_reference(format!("{field}.name")))
    }

    /// It may not be applied.
    pub fn refused(&self, asked: &Asked<'_>, reference: &Reference, reason: &str) -> Error {
        Error::Refused {
            trigger: asked.trigger.to_owned(),
            field: self.field.clone(),
            reference: Box::new(reference.clone()),
            reason: reason.to_owned(),
        }
    }

    /// The text of one of its fields for this event.
    pub fn text(&self, asked: &Asked<'_>, field: &str, text: &Text) -> Result<String, Error> {
        text.render(asked.data).map(Cow::into_owned).map_err(|source| {
            let field = format!("{}.{field}", self.field);
            Error::Field { trigger: asked.trigger.to_owned(), field, source }
        })
    }

    /// As [`Target::resolve`]; `None` also where a name needs an event, there is none, and no list could be meant.
    pub fn resolve_part<'a>(&self, asked: &Asked<'a>) -> Result<Option<&'a Content>, Error> {
        let could_be = |content: &Content| {
            let Reference { kind, namespace, name } = &content.reference;
            let is_named = self.namespace.could_be(namespace) && self.name.could_be(name);
            *kind == self.kind.name && is_named && content.uses_event_list()
        };
        match self.resolve(asked) {
            Err(Error::Field { .. }) if asked.part == Part::List && !asked.contents.values().any(could_be) => Ok(None),
            resolved => resolved,
        }
    }

    /// What it names for this event; `None` when that is missing and may be.
    pub fn resolve<'a>(&self, asked: &Asked<'a>) -> Result<Option<&'a Content>, Error> {
        let namespace = self.text(asked, "namespace", &self.namespace)?;
        let name = self.text(asked, "name", &self.name)?;
        let own = asked.cluster.split_once('/').map_or(asked.cluster, |(namespace, _)| namespace);
        let namespaces = if namespace.is_empty() { vec![own, NAMESPACE_LAST] } else { vec![namespace.as_str()] };
        let references = namespaces.iter().map(|namespace| Reference {
            kind: self.kind.name,
            namespace: (*namespace).to_owned(),
            name: name.clone(),
        });
        let references: Vec<Reference> = references.collect();
        match references.iter().find_map(|reference| asked.contents.get(reference)) {
            Some(content) => Ok(Some(content)),
            None if self.optional => Ok(None),
            None => {
                let reference = Box::new(references[0].clone());
                Err(Error::Missing { trigger: asked.trigger.to_owned(), field: self.field.clone(), reference })
            }
        }
    }
}
