//! `configMapGenerator` and `secretGenerator`: each entry names an object of texts, and makes another one of them for the event.
//!
//! Start at [`Generator::render`](Policy::render). As in Sveltos, all texts are rendered, whether or not an annotation says so;
//! the new object is in [`NAMESPACE`], by the name that `nameFormat` gives. The texts are values of that object and nothing
//! else, so no event can give it a key, a kind, or a document.

use lifeline_projections::why::object::Named;
use serde_json::{Map, Value, json};

use super::reference::{self, Target};
use super::{Asked, ContentKind, Error, Handling, Kind, Policies, Policy, Purpose, Rendered};
use crate::rules::cluster::Clusters;
use crate::rules::problem::Problem;
use crate::rules::read::content::{Contents, Fault, Part, Reference};
use crate::rules::read::spec::{EventTriggerSpec, GeneratorSpec};
use crate::rules::read::text::{Reading, Text};

pub(super) const KIND: Kind = Kind { named, read };

/// Where the objects are made.
pub(super) const NAMESPACE: &str = "projectsveltos";

/// One entry of a generator.
#[derive(Debug)]
struct Generator {
    target: Target,
    name_format: Text,
    spec: GeneratorSpec,
}

/// The generators of a spec with the kind of their objects, in the order in which Sveltos makes them.
fn entries(spec: &EventTriggerSpec) -> impl Iterator<Item = (&'static str, String, &GeneratorSpec)> {
    let secrets = spec.secret_generator.iter().enumerate();
    let secrets = secrets.map(|(index, one)| ("Secret", format!("spec.secretGenerator[{index}]"), one));
    let config_maps = spec.config_map_generator.iter().enumerate();
    secrets.chain(config_maps.map(|(index, one)| ("ConfigMap", format!("spec.configMapGenerator[{index}]"), one)))
}

fn named(spec: &EventTriggerSpec) -> Vec<Named> {
    let named = |(kind, _, one): (&str, String, &GeneratorSpec)| Named {
        kind: kind.to_owned(),
        namespace: one.namespace.clone(),
        name: one.name.clone(),
    };
    entries(spec).map(named).collect()
}

fn read(spec: &EventTriggerSpec, reading: &Reading<'_>) -> Result<Policies, Problem> {
    let mut policies = Policies::new();
    for (kind, field, written) in entries(spec) {
        let Some(kind) = ContentKind::named(kind) else { continue };
        for (name, text) in [("name", &written.name), ("nameFormat", &written.name_format)] {
            if text.trim().is_empty() {
                let message = format!("`{field}.{name}` is missing or empty");
                return Err(Problem::error(reading.rule, reading.origin, message).at(format!("{field}.{name}")));
            }
        }
        let target = Target {
            kind,
            namespace: reading.text(&format!("{field}.namespace"), &written.namespace)?,
            name: reading.text(&format!("{field}.name"), &written.name)?,
            optional: written.optional,
            field: field.clone(),
        };
        let name_format = reading.text(&format!("{field}.nameFormat"), &written.name_format)?;
        policies.push(Box::new(Generator { target, name_format, spec: written.clone() }));
    }
    Ok(policies)
}

impl Policy for Generator {
    fn purpose(&self) -> Purpose {
        Purpose::Texts
    }

    fn could_reference(&self, reference: &Reference, clusters: &Clusters) -> bool {
        self.target.could_reference(reference, clusters)
    }

    fn missing(&self, contents: &Contents, clusters: &Clusters) -> Option<Fault> {
        self.target.missing(contents, clusters)
    }

    fn digest_part(&self) -> Value {
        let GeneratorSpec { namespace, name, name_format, optional } = &self.spec;
        let kind = self.target.kind.name;
        json!({"generates": kind, "namespace": namespace, "name": name, "nameFormat": name_format, "optional": optional})
    }

    fn render(&self, asked: &Asked<'_>) -> Result<Vec<Rendered>, Error> {
        let Some(content) = self.target.resolve_part(asked)? else { return Ok(Vec::new()) };
        if asked.part != Part::Whole && content.texts_use_event_list() != (asked.part == Part::List) {
            return Ok(Vec::new());
        }
        let reference = &content.reference;
        let texts = content.texts.as_ref().map_err(|reason| self.target.refused(asked, reference, reason))?;
        let mut data = Map::new();
        for (key, template) in texts {
            let text = template.clone().and_then(|template| template.render_text(asked.data));
            let text = text.map_err(|source| reference::unrendered(asked, reference, key, source))?;
            data.insert(key.clone(), Value::String(text));
        }
        let name = self.target.text(asked, "nameFormat", &self.name_format)?;
        let kind = self.target.kind;
        let mut manifest = json!({
            "apiVersion": "v1", "kind": kind.name, "metadata": {"namespace": NAMESPACE, "name": name},
        });
        if let Some((field, value)) = kind.must_have {
            manifest[field] = value.into();
        }
        manifest[kind.texts_field] = Value::Object(data);
        Ok(vec![Rendered {
            manifest,
            plain: Vec::new(),
            from: reference.clone(),
            key: kind.texts_field.to_owned(),
            document: 0,
            handling: Handling::of_tier(asked.tier),
        }])
    }
}
