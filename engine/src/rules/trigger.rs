//! An EventTrigger: what it decides about an event, and which manifests it makes of one.
//!
//! Start at [`Trigger::manifests`]. What it decides is asked through [`super::RuleSet::decide`]. All of it is pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use lifeline_projections::fact::Outcome;
use serde_json::{Map, Value, json};

use super::action::Action;
use super::content::{Body, Content, ContentKind, Entry, Reference, SECRET_TYPE};
use super::spec::{self, DeploymentType, EventTriggerSpec, PolicyRefSpec, StopMatchingBehavior, SyncMode};
use super::text::Text;
use super::{Cluster, Clusters, LabelSelector, Problem, template_problem};
use crate::template::{self, Data, Dialect};

/// On an EventTrigger: `"true"` lets it take over objects that Lifeline did not make.
pub const ADOPT: &str = "lifeline.dev/adopt";

/// An EventTrigger with everything it references, compiled.
#[derive(Debug)]
pub struct Trigger {
    pub(super) name: String,
    pub(super) origin: String,
    pub(super) spec: EventTriggerSpec,
    pub(super) selector: LabelSelector,
    pub(super) source: Text,
    pub(super) action: Action,
    policies: Vec<Policy>,
    extra: Extra,
    adopts: bool,
    dialect: Dialect,
    /// What it may reference, shared by all triggers of the rule set.
    pub(super) contents: Arc<BTreeMap<Reference, Content>>,
    clusters: Arc<Clusters>,
    pub(super) digest: u64,
    pub(super) is_degraded: bool,
}

/// One entry of `policyRefs`.
#[derive(Debug)]
pub(super) struct Policy {
    pub kind: ContentKind,
    pub namespace: Text,
    pub name: Text,
    pub spec: PolicyRefSpec,
}

#[derive(Debug, Default)]
struct Extra {
    labels: Vec<(String, Text)>,
    annotations: Vec<(String, Text)>,
}

/// One manifest that a trigger made, and how it came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// What to apply.
    pub manifest: Value,
    /// The ConfigMap or Secret it lies in.
    pub from: Reference,
    /// The data key there.
    pub key: String,
    /// Which document of that key, from 0.
    pub document: usize,
    /// The tier it claims its object with.
    pub tier: i32,
    /// Whether an object that another manager made may be taken over, field by field.
    pub force: bool,
    /// Whether it goes to the management cluster, wherever the event came from.
    pub local: bool,
    /// Whether its namespace must be there already.
    pub skip_namespace_creation: bool,
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
        "trigger `{trigger}`: `spec.policyRefs[{index}]` names {reference}, which does not exist\nhint: create it, or set `optional: true`"
    )]
    Missing {
        /// The trigger.
        trigger: String,
        /// Which policy reference, from 0.
        index: usize,
        /// What it names.
        reference: Reference,
    },
    /// What it references may not be applied.
    #[error("trigger `{trigger}`: `spec.policyRefs[{index}]` names {reference}: {reason}")]
    Refused {
        /// The trigger.
        trigger: String,
        /// Which policy reference, from 0.
        index: usize,
        /// What it names.
        reference: Reference,
        /// Why.
        reason: String,
    },
    /// A key of it is no manifest, or no template, or cannot be rendered for this event.
    #[error("trigger `{trigger}`: {reference}, key `{key}` cannot be rendered")]
    Content {
        /// The trigger.
        trigger: String,
        /// What it names.
        reference: Reference,
        /// The data key.
        key: String,
        /// Why, with its place in the key's text.
        #[source]
        source: template::Error,
    },
}

impl Trigger {
    /// Reads the manifest of an EventTrigger; what it references is linked later.
    ///
    /// # Errors
    /// When it cannot be in force at all. Smaller defects go to `problems`.
    pub(super) fn read(
        name: &str,
        origin: &str,
        manifest: &Value,
        clusters: &Arc<Clusters>,
        problems: &mut Vec<Problem>,
    ) -> Result<Trigger, Problem> {
        let rule = format!("EventTrigger/{name}");
        let written = manifest.get("spec").unwrap_or(&Value::Null);
        let spec: EventTriggerSpec = spec::read(written).map_err(|reason| Problem::error(&rule, origin, reason))?;
        super::refuse_typos(&rule, origin, unknown_fields(written), problems)?;
        check_values(&rule, origin, &spec)?;
        check_supported(&rule, origin, &spec, problems)?;

        let annotation = |name: &str| manifest["metadata"]["annotations"].get(name).and_then(Value::as_str);
        let dialect = super::dialect(annotation(super::content::DIALECT).unwrap_or("go"))
            .map_err(|message| Problem::error(&rule, origin, message).hint("the dialects are `go` and `tera`"))?;
        let text = |field: &str, written: &str| {
            Text::compile(dialect, field, written)
                .map_err(|error| template_problem(&rule, origin, &format!("`{field}`"), &error))
        };
        let source = text("spec.eventSourceName", &spec.event_source_name)?;
        let action = text("spec.cloudEventAction", &spec.cloud_event_action)?;
        let action = Action::new(dialect, &spec.cloud_event_action, action);
        if let Action::Always(Outcome::NoAction(given)) = &action {
            return Err(Problem::error(
                &rule,
                origin,
                format!(
                    "`spec.cloudEventAction` is `{given}`, expected `Create`, `Delete`, or a template that gives one"
                ),
            ));
        }
        let mut policies = Vec::new();
        for (index, policy) in spec.policy_refs.iter().enumerate() {
            policies.push(Policy {
                kind: match policy.kind.as_str() {
                    "ConfigMap" => ContentKind::ConfigMap,
                    "Secret" => ContentKind::Secret,
                    other => {
                        let message =
                            format!("`spec.policyRefs[{index}].kind` is `{other}`, expected `ConfigMap` or `Secret`");
                        let problem = Problem::error(&rule, origin, message);
                        let is_flux = matches!(other, "GitRepository" | "OCIRepository" | "Bucket");
                        return Err(if is_flux {
                            problem.hint("sources of Flux need Sveltos' addon-controller")
                        } else {
                            problem
                        });
                    }
                },
                namespace: text(&format!("spec.policyRefs[{index}].namespace"), &policy.namespace)?,
                name: text(&format!("spec.policyRefs[{index}].name"), &policy.name)?,
                spec: policy.clone(),
            });
        }
        let extra = |field: &str, map: &BTreeMap<String, String>| {
            let entry =
                |(key, value): (&String, &String)| Ok((key.clone(), text(&format!("spec.{field}.{key}"), value)?));
            map.iter().map(entry).collect::<Result<Vec<_>, Problem>>()
        };
        let extra = Extra {
            labels: extra("extraLabels", &spec.extra_labels)?,
            annotations: extra("extraAnnotations", &spec.extra_annotations)?,
        };
        let adopts = match annotation(ADOPT) {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                problems.push(
                    Problem::warning(&rule, origin, format!("annotation `{ADOPT}` is `{other}` and has no effect"))
                        .hint("it must be `\"true\"` to let the trigger take over objects that Lifeline did not make"),
                );
                false
            }
        };
        Ok(Trigger {
            name: name.to_owned(),
            origin: origin.to_owned(),
            selector: spec.source_cluster_selector.clone().unwrap_or_default(),
            source,
            action,
            policies,
            extra,
            adopts,
            dialect,
            contents: Arc::default(),
            clusters: Arc::clone(clusters),
            digest: 0,
            is_degraded: false,
            spec,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it came from.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// As it is written, defaults filled in.
    #[must_use]
    pub fn spec(&self) -> &EventTriggerSpec {
        &self.spec
    }

    /// Checksum of all that it decides and renders by: itself, its EventSource, what it references, the clusters it
    /// listens to. The same in every process and every release.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether its EventSource has a broken criterion, or may stand in a file that cannot be read. An event that no
    /// longer matches may do so by mistake, so nothing may be withdrawn for that reason until this is mended.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.is_degraded
    }

    /// Whether its objects stay when it goes.
    #[must_use]
    pub fn leaves_policies(&self) -> bool {
        self.spec.stop_matching_behavior == StopMatchingBehavior::LeavePolicies
    }

    /// Whether it may take over objects that Lifeline did not make.
    #[must_use]
    pub fn adopts(&self) -> bool {
        self.adopts
    }

    /// Its tier; the lower one wins an object.
    #[must_use]
    pub fn tier(&self) -> i32 {
        self.spec.tier
    }

    /// How long its objects are kept as they should be.
    #[must_use]
    pub fn sync_mode(&self) -> SyncMode {
        self.spec.sync_mode
    }

    /// Whether one of its templates is over `.CloudEvents`, so that [`Trigger::manifests_for_list`] makes something.
    #[must_use]
    pub fn uses_event_list(&self) -> bool {
        !self.spec.one_for_event && self.candidates().any(Content::uses_event_list)
    }

    /// The manifests it makes of one event: everything but the templates over `.CloudEvents`.
    ///
    /// Flow: names of references are rendered, then each key of what they name, in order of reference, key and document.
    /// `event` is the flat map of [`lifeline_projections::event::CloudEvent::to_map`], `cluster` the full name of the one
    /// it came from. Guarantee: the same rules and arguments give the same manifests.
    ///
    /// # Errors
    /// The first thing that is missing or cannot be rendered; then nothing of the event should be applied.
    pub fn manifests(
        &self,
        event: &Map<String, Value>,
        cluster: &str,
        recorded_at_unix_nanos: u64,
    ) -> Result<Vec<Rendered>, Error> {
        let values = json!({"CloudEvent": event, "Cluster": cluster_value(&self.clusters, cluster)});
        self.render(&Data { values: &values, recorded_at_unix_nanos }, cluster, Some(false))
    }

    /// The manifests its templates over `.CloudEvents` make of the list of the latest Create events; none when it has no
    /// such template.
    ///
    /// # Errors
    /// As [`Trigger::manifests`].
    pub fn manifests_for_list(
        &self,
        events: &[Value],
        cluster: &str,
        recorded_at_unix_nanos: u64,
    ) -> Result<Vec<Rendered>, Error> {
        if !self.uses_event_list() {
            return Ok(Vec::new());
        }
        let values = json!({"CloudEvents": events, "Cluster": cluster_value(&self.clusters, cluster)});
        self.render(&Data { values: &values, recorded_at_unix_nanos }, cluster, Some(true))
    }

    fn render(&self, data: &Data<'_>, cluster: &str, lists: Option<bool>) -> Result<Vec<Rendered>, Error> {
        // With `oneForEvent` there is no list: a template that wants it fails and says so.
        let lists = lists.filter(|_| !self.spec.one_for_event);
        let labels = self.render_extra("extraLabels", &self.extra.labels, data)?;
        let annotations = self.render_extra("extraAnnotations", &self.extra.annotations, data)?;
        let mut all = Vec::new();
        for (index, policy) in self.policies.iter().enumerate() {
            let Some(content) = self.resolve(index, policy, data, cluster)? else { continue };
            let reference = &content.reference;
            let entries = content.entries.as_ref().map_err(|reason| Error::Refused {
                trigger: self.name.clone(),
                index,
                reference: reference.clone(),
                reason: reason.clone(),
            })?;
            for Entry { key, body } in entries {
                let manifests = match body {
                    Body::Manifests(manifests) if lists != Some(true) => Ok(manifests.clone()),
                    Body::Template(template) if lists.is_none_or(|lists| lists == template.uses_event_list()) => {
                        template.render_manifests(data)
                    }
                    Body::Manifests(_) | Body::Template(_) => continue,
                    Body::Broken(error) => Err(error.clone()),
                };
                let manifests = manifests.map_err(|source| Error::Content {
                    trigger: self.name.clone(),
                    reference: reference.clone(),
                    key: key.clone(),
                    source,
                })?;
                for (document, mut manifest) in manifests.into_iter().enumerate() {
                    add_metadata(&mut manifest, "labels", &labels);
                    add_metadata(&mut manifest, "annotations", &annotations);
                    all.push(Rendered {
                        manifest,
                        from: reference.clone(),
                        key: key.clone(),
                        document,
                        tier: if policy.spec.tier > 0 { policy.spec.tier } else { self.spec.tier },
                        force: policy.spec.force,
                        local: policy.spec.deployment_type == DeploymentType::Local,
                        skip_namespace_creation: policy.spec.skip_namespace_creation,
                    });
                }
            }
        }
        Ok(all)
    }

    /// What a policy reference names for this event; `None` when that is missing and may be.
    fn resolve(
        &self,
        index: usize,
        policy: &Policy,
        data: &Data<'_>,
        cluster: &str,
    ) -> Result<Option<&Content>, Error> {
        let field = |field: &str, text: &Text| match text.render(data) {
            Ok(text) => Ok(text.into_owned()),
            Err(source) => {
                let field = format!("spec.policyRefs[{index}].{field}");
                Err(Error::Field { trigger: self.name.clone(), field, source })
            }
        };
        let (namespace, name) = (field("namespace", &policy.namespace)?, field("name", &policy.name)?);
        let own = cluster.split_once('/').map_or(cluster, |(namespace, _)| namespace);
        let namespaces = if namespace.is_empty() { vec![own, "default"] } else { vec![namespace.as_str()] };
        let references = namespaces.iter().map(|namespace| Reference {
            kind: policy.kind,
            namespace: (*namespace).to_owned(),
            name: name.clone(),
        });
        let references: Vec<Reference> = references.collect();
        match references.iter().find_map(|reference| self.contents.get(reference)) {
            Some(content) => Ok(Some(content)),
            None if policy.spec.optional => Ok(None),
            None => Err(Error::Missing { trigger: self.name.clone(), index, reference: references[0].clone() }),
        }
    }

    fn render_extra(
        &self,
        field: &str,
        extra: &[(String, Text)],
        data: &Data<'_>,
    ) -> Result<Vec<(String, String)>, Error> {
        let entry = |(key, text): &(String, Text)| match text.render_whole(data) {
            Ok(value) => Ok((key.clone(), value)),
            Err(source) => {
                Err(Error::Field { trigger: self.name.clone(), field: format!("spec.{field}.{key}"), source })
            }
        };
        extra.iter().map(entry).collect()
    }

    /// Whether its selector matches a cluster only because that one has no labels configured.
    pub(super) fn assumes_selector(&self) -> bool {
        !self.selector.is_empty() && self.clusters.iter().any(|cluster| cluster.labels.is_none())
    }

    /// Everything in the rule set that one of its references could name.
    pub(super) fn candidates(&self) -> impl Iterator<Item = &Content> {
        self.contents.values().filter(|content| self.could_reference(&content.reference))
    }

    /// Whether it could reference this, for some event.
    pub(super) fn could_reference(&self, reference: &Reference) -> bool {
        self.policies.iter().any(|policy| policy.could_name(reference, &self.clusters))
    }

    /// The references that are there for no event, and that are not optional.
    pub(super) fn missing(&self) -> impl Iterator<Item = (usize, &Policy)> {
        let policies = self.policies.iter().enumerate();
        policies.filter(|(_, policy)| {
            let is_there = self.contents.keys().any(|reference| policy.could_name(reference, &self.clusters));
            !policy.spec.optional && matches!(policy.name, Text::Literal(_)) && !is_there
        })
    }

    /// What of its own spec can change what it decides or renders.
    pub(super) fn digest_parts(&self) -> Value {
        let EventTriggerSpec { one_for_event, cloud_event_action, tier, sync_mode, .. } = &self.spec;
        json!({
            "oneForEvent": one_for_event,
            "cloudEventAction": cloud_event_action,
            "tier": tier,
            "syncMode": sync_mode,
            "continueOnConflict": self.spec.continue_on_conflict,
            "stopMatchingBehavior": self.spec.stop_matching_behavior,
            "policyRefs": self.spec.policy_refs,
            "driftExclusions": self.spec.drift_exclusions,
            "extraLabels": self.spec.extra_labels,
            "extraAnnotations": self.spec.extra_annotations,
            "adopt": self.adopts,
            "dialect": format!("{:?}", self.dialect),
        })
    }
}

impl Policy {
    fn could_name(&self, reference: &Reference, clusters: &Clusters) -> bool {
        let namespace = &reference.namespace;
        let is_namespace = match &self.namespace {
            Text::Literal(literal) if literal.trim().is_empty() => {
                namespace == "default" || clusters.iter().any(|cluster| cluster.namespace == *namespace)
            }
            text => text.could_be(namespace),
        };
        self.kind == reference.kind && is_namespace && self.name.could_be(&reference.name)
    }
}

/// `.Cluster` of a cluster by full name; one that nobody told of has no labels.
pub(super) fn cluster_value(clusters: &Clusters, full_name: &str) -> Value {
    clusters.iter().find(|cluster| cluster.full_name() == full_name).map_or_else(
        || {
            let (namespace, name) = full_name.split_once('/').unwrap_or(("", full_name));
            let labels = Some(BTreeMap::new());
            Cluster { namespace: namespace.into(), name: name.into(), kind: super::ClusterKind::Sveltos, labels }
                .to_value()
        },
        Cluster::to_value,
    )
}

/// What to do about content that is not there.
pub(super) fn missing_hint(kind: ContentKind) -> String {
    match kind {
        ContentKind::ConfigMap => "create it, or set `optional: true`".into(),
        // In a cluster, Secrets of any other type are not even looked at.
        ContentKind::Secret => format!("create it with `type: {SECRET_TYPE}`, or set `optional: true`"),
    }
}

fn add_metadata(manifest: &mut Value, field: &str, extra: &[(String, String)]) {
    if extra.is_empty() {
        return;
    }
    let mut place = manifest;
    for name in ["metadata", field] {
        let Some(map) = place.as_object_mut() else { return };
        place = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
    }
    if let Some(map) = place.as_object_mut() {
        map.extend(extra.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))));
    }
}

fn unknown_fields(written: &Value) -> Vec<spec::UnknownField> {
    let mut unknown = spec::unknown_fields::<EventTriggerSpec>("spec", written);
    for (index, entry) in written["policyRefs"].as_array().into_iter().flatten().enumerate() {
        unknown.extend(spec::unknown_fields::<PolicyRefSpec>(&format!("spec.policyRefs[{index}]"), entry));
    }
    let path = "spec.sourceClusterSelector";
    let selector = &written["sourceClusterSelector"];
    unknown.extend(spec::unknown_fields::<LabelSelector>(path, selector));
    for (index, entry) in selector["matchExpressions"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        unknown.extend(spec::unknown_fields::<super::selector::Requirement>(&path, entry));
    }
    unknown
}

/// Values of the right type that still make no sense.
fn check_values(rule: &str, origin: &str, spec: &EventTriggerSpec) -> Result<(), Problem> {
    if spec.event_source_name.trim().is_empty() {
        return Err(Problem::error(rule, origin, "`spec.eventSourceName` is missing or empty")
            .hint("name the EventSource whose events count"));
    }
    if spec.tier < 1 {
        return Err(Problem::error(rule, origin, format!("`spec.tier` is `{}`, expected at least 1", spec.tier)));
    }
    for (index, policy) in spec.policy_refs.iter().enumerate() {
        if policy.name.trim().is_empty() {
            return Err(Problem::error(rule, origin, format!("`spec.policyRefs[{index}].name` is missing or empty")));
        }
    }
    Ok(())
}

/// Fields that exist in Sveltos and have no effect here.
///
/// The line between the two severities: without the field, would the objects made be others than the author wants, or go
/// elsewhere? Then the trigger is out of force. Would merely something else be missing beside them? Then it is in force.
fn check_supported(
    rule: &str,
    origin: &str,
    spec: &EventTriggerSpec,
    problems: &mut Vec<Problem>,
) -> Result<(), Problem> {
    const ADDON_CONTROLLER: &str = "needs Sveltos' addon-controller, which is not part of Lifeline";
    let changes_objects = [
        ("patches", !spec.patches.is_empty(), "is not applied: write the change into the template"),
        ("patchesFrom", !spec.patches_from.is_empty(), "is not applied: write the change into the template"),
        (
            "configMapGenerator",
            !spec.config_map_generator.is_empty(),
            "is not done: reference the ConfigMap in `policyRefs`",
        ),
        ("secretGenerator", !spec.secret_generator.is_empty(), "is not done: reference the Secret in `policyRefs`"),
        (
            "destinationClusterSelector",
            spec.destination_cluster_selector.is_some(),
            "is not done: objects go to the cluster the event came from",
        ),
        (
            "destinationCluster",
            spec.destination_cluster.is_some(),
            "is not done: objects go to the cluster the event came from",
        ),
    ];
    for (field, is_used, reason) in changes_objects {
        if is_used {
            return Err(Problem::error(rule, origin, format!("`spec.{field}` {reason}")));
        }
    }
    let is_beside = [
        ("helmCharts", !spec.helm_charts.is_empty(), ADDON_CONTROLLER),
        ("kustomizationRefs", !spec.kustomization_refs.is_empty(), ADDON_CONTROLLER),
        ("validateHealths", !spec.validate_healths.is_empty(), ADDON_CONTROLLER),
        ("preDeployChecks", !spec.pre_deploy_checks.is_empty(), ADDON_CONTROLLER),
        ("dependsOn", !spec.depends_on.is_empty(), "is about ClusterProfiles, of which Lifeline makes none"),
        (
            "templateResourceRefs",
            !spec.template_resource_refs.is_empty(),
            "has no effect: templates see the event alone",
        ),
        ("clusterSetRefs", !spec.cluster_set_refs.is_empty(), "has no effect: use `spec.sourceClusterSelector`"),
    ];
    for (field, is_used, reason) in is_beside {
        if is_used {
            problems.push(Problem::warning(rule, origin, format!("`spec.{field}` {reason}")));
        }
    }
    for (index, policy) in spec.policy_refs.iter().enumerate() {
        if !policy.path.is_empty() {
            let message = format!("`spec.policyRefs[{index}].path` is for sources of Flux and has no effect");
            problems.push(Problem::warning(rule, origin, message));
        }
    }
    if spec.policy_refs.is_empty() {
        problems.push(
            Problem::warning(rule, origin, "no `spec.policyRefs`, so no object is made")
                .hint("reference a ConfigMap that holds the manifests or their template"),
        );
    }
    Ok(())
}
