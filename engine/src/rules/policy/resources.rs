//! `templateResourceRefs`: objects of the own cluster that templates see, as `.MgmtResources.ID` and `getResource "ID"`.
//!
//! Start at [`Resources::values`]. They are content like any other: found with the rules, followed, and recorded where their kind
//! may be. So a change of one makes what was rendered of it again, and a replay reads what was there then.

use lifeline_projections::why::object::Named;
use serde_json::{Map, Value, json};

use super::reference::{self, Target};
use super::{Asked, ContentKind, Error};
use crate::rules::cluster::Clusters;
use crate::rules::problem::Problem;
use crate::rules::read::content::{Contents, Fault, Reference};
use crate::rules::read::spec::{EventTriggerSpec, TemplateResourceRefSpec};
use crate::rules::read::text::Reading;

/// The resources of a trigger.
#[derive(Debug, Default)]
pub(in crate::rules) struct Resources(Vec<Resource>);

#[derive(Debug)]
struct Resource {
    target: Target,
    spec: TemplateResourceRefSpec,
}

/// The objects that `templateResourceRefs` names.
pub(super) fn named(spec: &EventTriggerSpec) -> Vec<Named> {
    let named = |one: &TemplateResourceRefSpec| {
        let (kind, namespace) = (one.resource.kind.clone(), one.resource.namespace.clone());
        Named { kind, namespace, name: one.resource.name.clone() }
    };
    spec.template_resource_refs.iter().map(named).collect()
}

impl Resources {
    /// Reads the references of a spec.
    ///
    /// # Errors
    /// The first one of a kind that is not read, or without an identifier.
    pub fn read(spec: &EventTriggerSpec, reading: &Reading<'_>) -> Result<Resources, Problem> {
        let resource = |(index, written): (usize, &TemplateResourceRefSpec)| {
            let of = format!("spec.templateResourceRefs[{index}]");
            if written.identifier.trim().is_empty() {
                let message = format!("`{of}.identifier` is missing or empty");
                return Err(Problem::error(reading.rule, reading.origin, message)
                    .hint("templates call the object by it: `getResource \"ID\"`")
                    .at(format!("{of}.identifier")));
            }
            let field = format!("{of}.resource");
            let written_kind = &written.resource.kind;
            let kind = ContentKind::named(written_kind).ok_or_else(|| {
                reference::no_such_kind(&field, written_kind, reading)
                    .hint("no other objects are read: put what the template needs into one of these, or into the event")
            })?;
            let target = Target {
                kind,
                namespace: reading.text(&format!("{field}.namespace"), &written.resource.namespace)?,
                name: reading.text(&format!("{field}.name"), &written.resource.name)?,
                optional: written.optional,
                field,
            };
            Ok(Resource { target, spec: written.clone() })
        };
        spec.template_resource_refs.iter().enumerate().map(resource).collect::<Result<_, _>>().map(Resources)
    }

    /// Whether one of them could be this object.
    pub fn could_reference(&self, reference: &Reference, clusters: &Clusters) -> bool {
        self.0.iter().any(|one| one.target.could_reference(reference, clusters))
    }

    /// Defects when they are not there.
    pub fn missing(&self, contents: &Contents, clusters: &Clusters) -> impl Iterator<Item = Fault> {
        self.0.iter().filter_map(|one| one.target.missing(contents, clusters))
    }

    /// What of them can change a manifest; `None` where there are none.
    pub fn digest_part(&self) -> Option<Value> {
        let part = |one: &Resource| {
            let TemplateResourceRefSpec { resource, identifier, optional, .. } = &one.spec;
            json!([resource, identifier, optional])
        };
        (!self.0.is_empty()).then(|| self.0.iter().map(part).collect())
    }

    /// What templates see as `.MgmtResources`: the objects by their identifiers. One that is missing and may be is left out.
    ///
    /// # Errors
    /// The first name that cannot be rendered, or object that is missing.
    pub fn values(&self, asked: &Asked<'_>) -> Result<Value, Error> {
        let mut values = Map::new();
        for Resource { target, spec } in &self.0 {
            if let Some(content) = target.resolve(asked)? {
                values.insert(spec.identifier.clone(), content.object.clone());
            }
        }
        Ok(Value::Object(values))
    }
}
