//! `patches` and `patchesFrom`: what is changed in the manifests that the policies of a trigger made.
//!
//! Start at [`Patches::apply`]. What a patch does is in `patch`; here is where its text comes from. The order is that of
//! the spec, `patches` first. Templates of patches see `.Cluster` and no event.

use lifeline_projections::why::object::Named;
use serde_json::{Value, json};

use super::patch::Patch;
use super::reference::{self, Target};
use super::{Asked, ContentKind, Error, Rendered};
use crate::rules::cluster::Clusters;
use crate::rules::problem::Problem;
use crate::rules::read::content::{Contents, Fault, Reference};
use crate::rules::read::spec::{EventTriggerSpec, PatchSpec, PatchesFromSpec};
use crate::rules::read::text::{Reading, Text};
use crate::template::{Data, parse_part};

/// The patches of a trigger.
#[derive(Debug, Default)]
pub(in crate::rules) struct Patches {
    entries: Vec<Entry>,
}

#[derive(Debug)]
enum Entry {
    /// Its text is no template.
    Ready {
        field: String,
        patch: Box<Patch>,
        spec: PatchSpec,
    },
    Template {
        field: String,
        text: Text,
        spec: PatchSpec,
    },
    From {
        target: Target,
        spec: PatchesFromSpec,
    },
}

/// The objects that `patchesFrom` names.
pub(super) fn named(spec: &EventTriggerSpec) -> Vec<Named> {
    let named = |one: &PatchesFromSpec| {
        let PatchesFromSpec { kind, namespace, name, .. } = one.clone();
        Named { kind, namespace, name }
    };
    spec.patches_from.iter().map(named).collect()
}

impl Patches {
    /// Reads the patches of a spec.
    ///
    /// # Errors
    /// The first one that is none.
    pub fn read(spec: &EventTriggerSpec, reading: &Reading<'_>) -> Result<Patches, Problem> {
        let mut entries = Vec::new();
        for (index, written) in spec.patches.iter().enumerate() {
            let field = format!("spec.patches[{index}]");
            let spec = written.clone();
            entries.push(match reading.text(&format!("{field}.patch"), &written.patch)? {
                Text::Literal(text) => {
                    let patch = spec.read(&text).map_err(|reason| {
                        let message = format!("`{field}` is no patch: {reason}");
                        Problem::error(reading.rule, reading.origin, message).at(format!("{field}.patch"))
                    })?;
                    Entry::Ready { field, patch: Box::new(patch), spec }
                }
                text @ Text::Template { .. } => Entry::Template { field, text, spec },
            });
        }
        for (index, written) in spec.patches_from.iter().enumerate() {
            let field = format!("spec.patchesFrom[{index}]");
            let kind = ContentKind::named(&written.kind)
                .ok_or_else(|| reference::no_such_kind(&field, &written.kind, reading))?;
            let target = Target {
                kind,
                namespace: reading.text(&format!("{field}.namespace"), &written.namespace)?,
                name: reading.text(&format!("{field}.name"), &written.name)?,
                optional: written.optional,
                field,
            };
            entries.push(Entry::From { target, spec: written.clone() });
        }
        Ok(Patches { entries })
    }

    fn targets(&self) -> impl Iterator<Item = &Target> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::From { target, .. } => Some(target),
            Entry::Ready { .. } | Entry::Template { .. } => None,
        })
    }

    /// Whether one of them could be in this object.
    pub fn could_reference(&self, reference: &Reference, clusters: &Clusters) -> bool {
        self.targets().any(|target| target.could_reference(reference, clusters))
    }

    /// Defects when what they are in is not there.
    pub fn missing(&self, contents: &Contents, clusters: &Clusters) -> impl Iterator<Item = Fault> {
        self.targets().filter_map(|target| target.missing(contents, clusters))
    }

    /// What of them can change a manifest; `None` where there are none.
    pub fn digest_part(&self) -> Option<Value> {
        let part = |entry: &Entry| match entry {
            Entry::Ready { spec, .. } | Entry::Template { spec, .. } => json!(spec),
            Entry::From { spec, .. } => json!(spec),
        };
        (!self.entries.is_empty()).then(|| self.entries.iter().map(part).collect())
    }

    /// Changes the manifests that they are for.
    ///
    /// # Errors
    /// The first patch that cannot be read or applied.
    pub fn apply(&self, asked: &Asked<'_>, cluster: &Value, manifests: &mut [Rendered]) -> Result<(), Error> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let values = json!({"Cluster": cluster});
        let data = Data { values: &values, recorded_at_unix_nanos: asked.data.recorded_at_unix_nanos };
        let asked = &Asked { data: &data, ..*asked };
        let failed = |field: &str, reason: String| {
            let (trigger, field) = (asked.trigger.to_owned(), field.to_owned());
            Error::Patch { trigger, field, reason }
        };
        let mut change = |field: &str, patch: &Patch| {
            for one in manifests.iter_mut() {
                patch.apply(&mut one.manifest, &mut one.plain).map_err(|reason| failed(field, reason))?;
            }
            Ok::<(), Error>(())
        };
        for entry in &self.entries {
            match entry {
                Entry::Ready { field, patch, .. } => change(field, patch)?,
                Entry::Template { field, text, spec } => {
                    let text = text.render_whole(&data).map_err(|source| Error::Field {
                        trigger: asked.trigger.to_owned(),
                        field: format!("{field}.patch"),
                        source,
                    })?;
                    change(field, &spec.read(&text).map_err(|reason| failed(field, reason))?)?;
                }
                Entry::From { target, .. } => {
                    let Some(content) = target.resolve(asked)? else { continue };
                    let reference = &content.reference;
                    let texts = content.texts.as_ref().map_err(|reason| target.refused(asked, reference, reason))?;
                    for (key, template) in texts {
                        let text = template.clone().and_then(|template| template.render_text(&data));
                        let text = text.map_err(|source| reference::unrendered(asked, reference, key, source))?;
                        let place = format!("{}, {reference}, key `{key}`", target.field);
                        // What a Secret holds stays out of the message.
                        let shown = |reason: String| match target.kind.is_recorded {
                            true => reason,
                            false => "its text is no patch".to_owned(),
                        };
                        for spec in specs(&text).map_err(|reason| failed(&place, shown(reason)))? {
                            change(&place, &spec.read(&spec.patch).map_err(|reason| failed(&place, shown(reason)))?)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The patches in a text: one, or a list of them. All of their fields are strings.
fn specs(text: &str) -> Result<Vec<PatchSpec>, String> {
    let listed = match parse_part(text)?.into_texts() {
        Value::Array(items) => items,
        one => vec![one],
    };
    let read = |value: Value| {
        serde_json::from_value(value)
            .map_err(|error| format!("expected `patch` and `target`, or a list of them: {error}"))
    };
    listed.into_iter().map(read).collect()
}
