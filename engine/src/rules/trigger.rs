//! An EventTrigger: what it decides about an event, and which manifests it makes of one.
//!
//! Start at [`Trigger::manifests`]. What it decides is asked through [`super::RuleSet::decide`]. All of it is pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use lifeline_projections::fact::{OrderBy, Ruling};
use serde_json::{Map, Value, json};

use super::cluster::Clusters;
use super::decide::action::Action;
use super::decide::event::{MATCHING_RESOURCE, MATCHING_RESOURCES, matching_resource};
use super::decide::exclusion::DriftExclusion;
use super::policy::{self, Asked, Error, Patches, Policies, Purpose, Rendered, Resources};
use super::problem::Problem;
use super::read::content::{Content, Contents, DIALECT, Fault, Part, Reference, dialect};
use super::read::spec::{self, EventTriggerSpec, LabelSelector, StopMatchingBehavior, SyncMode};
use super::read::text::{Reading, Text};
use super::read::{cluster_fields, metadata, refuse};
use crate::account::Account;
use crate::template::{Data, Dialect};

/// On an EventTrigger: `"true"` lets it take over objects that Lifeline did not make.
pub const ADOPT: &str = "lifeline.dev/adopt";

/// On an EventTrigger: what says which of two events is the later one, `stream` (the default), `time` or `sequence`.
pub const ORDER: &str = "lifeline.dev/order";

/// An EventTrigger with everything it references, compiled.
#[derive(Debug)]
pub struct Trigger {
    pub(super) name: String,
    pub(super) origin: String,
    pub(super) spec: EventTriggerSpec,
    pub(super) selector: LabelSelector,
    pub(super) source: Text,
    pub(super) action: Arc<Action>,
    policies: Policies,
    patches: Patches,
    resources: Resources,
    extra: Extra,
    adopts: bool,
    account: Option<Account>,
    drift_exclusions: Vec<DriftExclusion>,
    order_by: OrderBy,
    dialect: Dialect,
    /// What it may reference, shared by all triggers of the rule set.
    pub(super) contents: Arc<Contents>,
    clusters: Arc<Clusters>,
    /// Whether it makes a list of all live keys, beside what it makes of each.
    pub(super) gathers: bool,
    /// Whether it makes nothing of each.
    pub(super) is_list_only: bool,
    pub(super) digest: u64,
    pub(super) is_degraded: bool,
    /// Whether its own texts may ask for more of `.Cluster` than name and labels.
    asks_for_whole_cluster: bool,
    /// What of it they ask for that only a resource has.
    field_of_cluster: Option<String>,
}

#[derive(Debug, Default)]
struct Extra {
    labels: Vec<(String, Text)>,
    annotations: Vec<(String, Text)>,
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
        let account = metadata::event_trigger(&rule, origin, manifest)?;
        metadata::unknown(&rule, origin, manifest, [ADOPT, ORDER, DIALECT], problems);
        let written = manifest.get("spec").unwrap_or(&Value::Null);
        let spec: EventTriggerSpec = spec::read(written).map_err(|error| error.problem(&rule, origin))?;
        let has_other_clusters = clusters.iter().count() > 1;
        refuse::event_trigger(&rule, origin, written, &spec, has_other_clusters, problems)?;

        let annotation = |name: &str| manifest["metadata"]["annotations"].get(name).and_then(Value::as_str);
        let dialect = dialect(manifest).map_err(|fault| fault.problem(&rule, origin))?;
        let reading = Reading { rule: &rule, origin, dialect };
        let source = reading.text("spec.eventSourceName", &spec.event_source_name)?;
        let action = reading.text("spec.cloudEventAction", &spec.cloud_event_action)?;
        let action = Action::new(dialect, &spec.cloud_event_action, action);
        if let Action::Always(Ruling::NoAction(given)) = &action {
            return Err(Problem::error(
                &rule,
                origin,
                format!(
                    "`spec.cloudEventAction` is `{given}`, expected `Create`, `Delete`, or a template that gives one"
                ),
            )
            .at("spec.cloudEventAction"));
        }
        let policies = policy::read(&spec, &reading)?;
        let patches = Patches::read(&spec, &reading)?;
        let resources = Resources::read(&spec, &reading)?;
        let extra = |field: &str, map: &BTreeMap<String, String>| {
            let entry = |(key, value): (&String, &String)| {
                Ok((key.clone(), reading.text(&format!("spec.{field}.{key}"), value)?))
            };
            map.iter().map(entry).collect::<Result<Vec<_>, Problem>>()
        };
        let extra = Extra {
            labels: extra("extraLabels", &spec.extra_labels)?,
            annotations: extra("extraAnnotations", &spec.extra_annotations)?,
        };
        let exclusion = |(index, written): (usize, &spec::DriftExclusionSpec)| {
            DriftExclusion::read(written).map_err(|(field, what)| {
                Problem::error(&rule, origin, format!("`spec.driftExclusions[{index}].{field}` {what}"))
            })
        };
        let drift_exclusions = spec.drift_exclusions.iter().enumerate().map(exclusion).collect::<Result<_, _>>()?;
        let adopts = match annotation(ADOPT) {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                problems.push(
                    Problem::warning(&rule, origin, format!("annotation `{ADOPT}` is `{other}` and has no effect"))
                        .hint("it must be `\"true\"` to let the trigger take over objects that Lifeline did not make")
                        .at(format!("metadata.annotations.{ADOPT}")),
                );
                false
            }
        };
        let written = manifest["metadata"]["annotations"].get(ORDER);
        let order_by = match (annotation(ORDER), written) {
            (None, None) | (Some("stream"), _) => OrderBy::Stream,
            (Some("time"), _) => OrderBy::Time,
            (Some("sequence"), _) => OrderBy::Sequence,
            (other, written) => {
                let written = written.map(ToString::to_string).unwrap_or_default();
                let message = format!(
                    "annotation `{ORDER}` is `{}`, expected `stream`, `time` or `sequence`",
                    other.unwrap_or(&written)
                );
                return Err(Problem::error(&rule, origin, message).hint(
                    "`time` and `sequence` are attributes of the CloudEvent that say which event is stale; without the \
                     annotation it is the order of the streams",
                ));
            }
        };
        Ok(Trigger {
            name: name.to_owned(),
            origin: origin.to_owned(),
            selector: spec.source_cluster_selector.clone().unwrap_or_default(),
            source,
            action: Arc::new(action),
            policies,
            patches,
            resources,
            extra,
            adopts,
            account,
            drift_exclusions,
            order_by,
            dialect,
            contents: Arc::default(),
            clusters: Arc::clone(clusters),
            gathers: false,
            is_list_only: false,
            digest: 0,
            is_degraded: false,
            asks_for_whole_cluster: cluster_fields::asks_for_whole(&manifest["spec"]),
            field_of_cluster: cluster_fields::field_of_resource(&manifest["spec"]),
            spec,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checksum of all that it decides and renders by: itself, its EventSource, what it references, the clusters it
    /// listens to. The same in every process and every release.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether its EventSource has a broken criterion, or is missing on one of its clusters. An event that no
    /// longer matches may do so by mistake, so nothing may be withdrawn for that reason until this is mended.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.is_degraded
    }

    /// Whether its objects stay when it goes. A dry run changes nothing, so what there was before it stays too.
    #[must_use]
    pub fn leaves_policies(&self) -> bool {
        self.spec.stop_matching_behavior == StopMatchingBehavior::LeavePolicies || self.sync_mode() == SyncMode::DryRun
    }

    /// Whether it may take over objects that Lifeline did not make.
    #[must_use]
    pub fn adopts(&self) -> bool {
        self.adopts
    }

    /// In whose name its objects are touched; `None` for the engine's own.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// The highest tier that one of its objects may have: whether another trigger could take one of them over.
    #[must_use]
    pub fn tier_max(&self) -> i32 {
        let tiers = self.spec.policy_refs.iter().map(|policy| policy.tier).filter(|tier| *tier != 0);
        tiers.chain([self.spec.tier]).max().unwrap_or(self.spec.tier)
    }

    /// Whether a conflict over one object leaves the others to be applied.
    #[must_use]
    pub fn continues_on_conflict(&self) -> bool {
        self.spec.continue_on_conflict
    }

    /// Whether what others change or delete is put back.
    #[must_use]
    pub fn detects_drift(&self) -> bool {
        self.sync_mode() == SyncMode::ContinuousWithDriftDetection
    }

    /// Whether objects are put back as they were applied when somebody asks for it. Others are applied once, or never.
    #[must_use]
    pub fn is_kept_as_wanted(&self) -> bool {
        match self.sync_mode() {
            SyncMode::Continuous | SyncMode::ContinuousWithDriftDetection => true,
            SyncMode::OneTime | SyncMode::DryRun => false,
        }
    }

    /// What others may change all the same.
    #[must_use]
    pub fn drift_exclusions(&self) -> &[DriftExclusion] {
        &self.drift_exclusions
    }

    /// What says which of two events about a resource is the later one.
    #[must_use]
    pub fn order_by(&self) -> OrderBy {
        self.order_by
    }

    /// How long its objects are kept as they should be.
    #[must_use]
    pub fn sync_mode(&self) -> SyncMode {
        self.spec.sync_mode
    }

    /// Whether it makes a list: `oneForEvent` is false, and one of its templates is over `.CloudEvents`, the latest Create event
    /// of every live key.
    #[must_use]
    pub fn gathers(&self) -> bool {
        self.gathers
    }

    /// Whether it may make a list, as far as is known: something that it names is missing or broken.
    #[must_use]
    pub fn may_gather(&self) -> bool {
        let is_unknown = || self.missing().next().is_some() || self.candidates().any(Content::is_broken);
        self.gathers || !self.spec.one_for_event && is_unknown()
    }

    /// Notes what it makes, once its contents are there.
    pub(super) fn note_lists(&mut self) {
        self.gathers = !self.spec.one_for_event && self.candidates().any(Content::uses_event_list);
        self.is_list_only = self.gathers && !self.candidates().any(Content::is_of_each);
    }

    /// The manifests it makes of the live keys together: of templates over `.CloudEvents`, and of what asks for no event.
    ///
    /// `events` are the maps of [`Trigger::manifests`], one for each key, in the order that templates shall see.
    ///
    /// # Errors
    /// As [`Trigger::manifests`].
    pub fn list(
        &self,
        events: Vec<Map<String, Value>>,
        cluster: &str,
        recorded_at_unix_nanos: u64,
    ) -> Result<Vec<Rendered>, Error> {
        self.make(Part::List, ("CloudEvents", json!(events)), cluster, recorded_at_unix_nanos)
    }

    /// The manifests it makes of one event: everything, or where it makes a list too, what is not of that.
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
        if self.is_list_only {
            return Ok(Vec::new());
        }
        let part = if self.gathers { Part::Each } else { Part::Whole };
        self.make(part, ("CloudEvent", json!(event)), cluster, recorded_at_unix_nanos)
    }

    /// Where a Secret may be part of what is made, no error says what is in it, and the manifests are marked.
    fn make(
        &self,
        part: Part,
        events: (&str, Value),
        cluster: &str,
        recorded_at_unix_nanos: u64,
    ) -> Result<Vec<Rendered>, Error> {
        let sees_secret = self.candidates().any(|content| content.is_secret());
        let made = self.make_all(part, events, cluster, recorded_at_unix_nanos);
        let mut made = made.map_err(|error| if sees_secret { error.without_values() } else { error })?;
        for Rendered { handling, .. } in &mut made {
            handling.hides_values = sees_secret;
        }
        Ok(made)
    }

    fn make_all(
        &self,
        part: Part,
        (name, events): (&str, Value),
        cluster: &str,
        recorded_at_unix_nanos: u64,
    ) -> Result<Vec<Rendered>, Error> {
        let mut values = self.clusters.values_of(cluster);
        values[name] = events;
        // There is none: as in Sveltos, it is there and says nothing.
        match part {
            Part::List => values[MATCHING_RESOURCES] = json!([]),
            Part::Whole | Part::Each => values[MATCHING_RESOURCE] = matching_resource(),
        }
        let (trigger, contents, tier) = (self.name.as_str(), &*self.contents, self.spec.tier);
        let data = &Data { values: &values, recorded_at_unix_nanos };
        let resources = self.resources.values(&Asked { trigger, data, cluster, contents, tier, part })?;
        values["MgmtResources"] = resources;
        let data = &Data { values: &values, recorded_at_unix_nanos };
        let labels = self.render_extra("extraLabels", &self.extra.labels, data)?;
        let annotations = self.render_extra("extraAnnotations", &self.extra.annotations, data)?;
        let asked = Asked { trigger, data, cluster, contents, tier, part };
        let mut all = Vec::new();
        for policy in &self.policies {
            all.extend(policy.render(&asked)?);
        }
        self.patches.apply(&asked, &values["Cluster"], &mut all)?;
        for Rendered { manifest, .. } in &mut all {
            add_metadata(manifest, "labels", &labels);
            add_metadata(manifest, "annotations", &annotations);
        }
        Ok(all)
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

    /// Whether it, or what it may reference, may ask for more of `.Cluster` than name and labels.
    pub(super) fn asks_for_whole_cluster(&self) -> bool {
        self.asks_for_whole_cluster || self.candidates().any(|content| content.asks_for_whole_cluster)
    }

    /// What it, or what it may reference, asks of `.Cluster` that only a resource that represents the cluster has.
    pub(super) fn field_of_cluster(&self) -> Option<String> {
        let of_contents = || self.candidates().find_map(|content| content.field_of_cluster.clone());
        self.field_of_cluster.clone().or_else(of_contents)
    }

    /// Whether it could reference this, for some event.
    pub(super) fn could_reference(&self, reference: &Reference) -> bool {
        self.purposes(reference).next().is_some()
    }

    /// What it could reference this for.
    pub(super) fn purposes(&self, reference: &Reference) -> impl Iterator<Item = Purpose> {
        let naming = self.policies.iter().filter(|policy| policy.could_reference(reference, &self.clusters));
        let of_patches = self.patches.could_reference(reference, &self.clusters).then_some(Purpose::Texts);
        let of_resources = self.resources.could_reference(reference, &self.clusters).then_some(Purpose::Object);
        naming.map(|policy| policy.purpose()).chain(of_patches).chain(of_resources)
    }

    /// What its policies reference for every event and is not there.
    pub(super) fn missing(&self) -> impl Iterator<Item = Fault> {
        let of_policies = self.policies.iter().filter_map(|policy| policy.missing(&self.contents, &self.clusters));
        let of_patches = self.patches.missing(&self.contents, &self.clusters);
        of_policies.chain(of_patches).chain(self.resources.missing(&self.contents, &self.clusters))
    }

    /// What of its own spec can change what it decides or renders.
    ///
    /// Logs hold checksums of it, and one that changes makes the trigger's events be decided again. So a field that has no
    /// effect is here with its default, whatever its value: earlier releases had it here.
    pub(super) fn digest_parts(&self) -> Value {
        let default = EventTriggerSpec::default();
        let sync_mode = match self.spec.sync_mode {
            SyncMode::ContinuousWithDriftDetection => SyncMode::Continuous,
            mode @ (SyncMode::Continuous | SyncMode::OneTime | SyncMode::DryRun) => mode,
        };
        let mut parts = json!({
            "oneForEvent": self.spec.one_for_event,
            "cloudEventAction": self.spec.cloud_event_action,
            "tier": self.spec.tier,
            "syncMode": sync_mode,
            "continueOnConflict": self.spec.continue_on_conflict,
            "stopMatchingBehavior": self.spec.stop_matching_behavior,
            "policyRefs": self.policies.iter().map(|policy| policy.digest_part()).collect::<Vec<_>>(),
            "driftExclusions": default.drift_exclusions,
            "extraLabels": self.spec.extra_labels,
            "extraAnnotations": self.spec.extra_annotations,
            "adopt": self.adopts,
            "dialect": format!("{:?}", self.dialect),
        });
        // Only where there are some: logs hold checksums without them.
        if let Some(patches) = self.patches.digest_part() {
            parts["patches"] = patches;
        }
        if let Some(resources) = self.resources.digest_part() {
            parts["resources"] = resources;
        }
        if self.order_by != OrderBy::Stream {
            parts["order"] = self.order_by.as_str().into();
        }
        if self.gathers {
            parts["gathers"] = true.into();
        }
        parts
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
