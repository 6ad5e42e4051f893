//! The specs of the two custom resources as they are written: every field of `lib.projectsveltos.io/v1beta1` that Lifeline
//! knows of, whether or not it acts on it.
//!
//! Start at [`EventTriggerSpec`]. Here is only the shape of a field, and the search for fields that do not exist
//! (`unknown_fields`). Whether a field does something, is warned about or is refused is said in `refuse`.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rules::problem::Problem;

/// `EventSource.spec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSourceSpec {
    /// An event matches when it matches any of these; none of them means no CloudEvent matches.
    pub messaging_match_criteria: Vec<MatchCriteria>,
    /// Kubernetes resources to watch: not CloudEvents, and not done here.
    pub resource_selectors: Vec<Value>,
    /// A Lua function over those resources: not done here.
    pub aggregated_selection: String,
    /// Whether those resources are handed to templates: not done here.
    pub collect_resources: bool,
}

/// One entry of `messagingMatchCriteria`: unanchored regular expressions, all of which must match; an empty one does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MatchCriteria {
    /// Over the NATS subject.
    pub subject: String,
    /// Over the CloudEvent's `source`.
    pub cloud_event_source: String,
    /// Over the CloudEvent's `type`.
    pub cloud_event_type: String,
    /// Over the CloudEvent's `subject`.
    pub cloud_event_subject: String,
}

/// `EventTrigger.spec`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventTriggerSpec {
    /// Which clusters' events count; none or an empty one selects all.
    pub source_cluster_selector: Option<LabelSelector>,
    /// ClusterSets whose clusters' events count too.
    pub cluster_set_refs: Vec<String>,
    /// Which clusters the objects go to.
    pub destination_cluster_selector: Option<LabelSelector>,
    /// The one cluster the objects go to, fields being templates.
    pub destination_cluster: Option<Value>,
    /// The EventSource, a template over `.Cluster`.
    pub event_source_name: String,
    /// Whether templates see one event or the list of all.
    pub one_for_event: bool,
    /// `Create`, `Delete`, or a template that gives one of them.
    pub cloud_event_action: String,
    /// Name of the ClusterProfile that Sveltos makes; Lifeline makes none.
    pub profile_name_format: String,
    /// ConfigMaps to generate.
    pub config_map_generator: Vec<GeneratorSpec>,
    /// Secrets to generate.
    pub secret_generator: Vec<GeneratorSpec>,
    /// How long an object is kept as it should be.
    pub sync_mode: SyncMode,
    /// Of two triggers that claim an object the strictly lower tier has it. At least 1.
    pub tier: i32,
    /// Whether a conflict over one object leaves the others to be applied.
    pub continue_on_conflict: bool,
    /// In Sveltos, how many clusters are updated at a time. No effect here.
    pub max_update: Option<Value>,
    /// What becomes of the objects when the trigger goes.
    pub stop_matching_behavior: StopMatchingBehavior,
    /// What to apply.
    pub policy_refs: Vec<PolicyRefSpec>,
    /// Profiles that must be deployed before.
    pub depends_on: Vec<String>,
    /// Resources handed to templates.
    pub template_resource_refs: Vec<TemplateResourceRefSpec>,
    /// Helm charts to install.
    pub helm_charts: Vec<Value>,
    /// Kustomizations to apply.
    pub kustomization_refs: Vec<Value>,
    /// Checks after deployment.
    pub validate_healths: Vec<Value>,
    /// Checks before deployment.
    pub pre_deploy_checks: Vec<Value>,
    /// Checks before objects are deleted.
    pub pre_delete_checks: Vec<Value>,
    /// Checks after objects were deleted.
    pub post_delete_checks: Vec<Value>,
    /// Changes to the objects before they are applied.
    pub patches: Vec<PatchSpec>,
    /// The same, from ConfigMaps and Secrets.
    pub patches_from: Vec<PatchesFromSpec>,
    /// Paths in objects that others may change.
    pub drift_exclusions: Vec<DriftExclusionSpec>,
    /// Labels put on every object.
    pub extra_labels: BTreeMap<String, String>,
    /// Annotations put on every object.
    pub extra_annotations: BTreeMap<String, String>,
    /// In Sveltos, whether workloads are restarted when what they mount changes. No effect here.
    pub reloader: bool,
}

impl Default for EventTriggerSpec {
    fn default() -> Self {
        EventTriggerSpec {
            source_cluster_selector: None,
            cluster_set_refs: Vec::new(),
            destination_cluster_selector: None,
            destination_cluster: None,
            event_source_name: String::new(),
            one_for_event: false,
            cloud_event_action: "Create".into(),
            profile_name_format: String::new(),
            config_map_generator: Vec::new(),
            secret_generator: Vec::new(),
            sync_mode: SyncMode::Continuous,
            tier: 100,
            continue_on_conflict: false,
            max_update: None,
            stop_matching_behavior: StopMatchingBehavior::WithdrawPolicies,
            policy_refs: Vec::new(),
            depends_on: Vec::new(),
            template_resource_refs: Vec::new(),
            helm_charts: Vec::new(),
            kustomization_refs: Vec::new(),
            validate_healths: Vec::new(),
            pre_deploy_checks: Vec::new(),
            pre_delete_checks: Vec::new(),
            post_delete_checks: Vec::new(),
            patches: Vec::new(),
            patches_from: Vec::new(),
            drift_exclusions: Vec::new(),
            extra_labels: BTreeMap::new(),
            extra_annotations: BTreeMap::new(),
            reloader: false,
        }
    }
}

/// One entry of `policyRefs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyRefSpec {
    /// `ConfigMap` or `Secret`; Flux sources are not read here.
    pub kind: String,
    /// A template; empty means the cluster's namespace.
    pub namespace: String,
    /// A template.
    pub name: String,
    /// A folder in a Flux source.
    pub path: String,
    /// Whether it may be missing.
    pub optional: bool,
    /// A file that Sveltos fetches: not done here.
    #[serde(rename = "remoteURL")]
    pub remote_url: Option<Value>,
    /// Which cluster its objects go to. Here there is one.
    pub deployment_type: DeploymentType,
    /// The tier of its objects; 0 for that of the trigger.
    pub tier: i32,
    /// Whether an object is deleted and made again when a field of it shall change that never can.
    pub force: bool,
    /// Whether a missing namespace is waited for instead of being created.
    pub skip_namespace_creation: bool,
}

impl Default for PolicyRefSpec {
    fn default() -> Self {
        PolicyRefSpec {
            kind: String::new(),
            namespace: String::new(),
            name: String::new(),
            path: String::new(),
            optional: false,
            remote_url: None,
            deployment_type: DeploymentType::Remote,
            tier: 0,
            force: false,
            skip_namespace_creation: false,
        }
    }
}

/// One entry of `configMapGenerator` or `secretGenerator`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GeneratorSpec {
    /// A template; empty means the cluster's namespace.
    pub namespace: String,
    /// The object whose texts are rendered; a template.
    pub name: String,
    /// The name of the object that is made; a template.
    pub name_format: String,
    /// Whether it may be missing.
    pub optional: bool,
}

/// One entry of `templateResourceRefs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateResourceRefSpec {
    /// The object.
    pub resource: ResourceSpec,
    /// What templates call it.
    pub identifier: String,
    /// Whether it may be missing.
    pub optional: bool,
    /// In Sveltos, whether a change of its status renders nothing again. What is read here has no status.
    pub ignore_status_changes: bool,
    /// In Sveltos, the fields whose change counts. Every change counts here.
    pub watch_fields: Vec<String>,
}

/// The object of a `templateResourceRefs` entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceSpec {
    /// `v1`.
    pub api_version: String,
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// A template; empty means the cluster's namespace.
    pub namespace: String,
    /// A template.
    pub name: String,
}

/// One entry of `patches`, or of an object that `patchesFrom` names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PatchSpec {
    /// The change.
    pub patch: String,
    /// Which manifests are changed; without it the one that a strategic merge patch itself names.
    pub target: Option<TargetSpec>,
}

/// Which objects are meant, by `patches` and `driftExclusions`: each field that is written must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetSpec {
    /// A regular expression over the API group.
    pub group: String,
    /// Over the version.
    pub version: String,
    /// Over the kind.
    pub kind: String,
    /// Over the namespace.
    pub namespace: String,
    /// Over the name.
    pub name: String,
    /// A label selector as text, such as `app=web,tier!=test`.
    pub label_selector: String,
    /// The same over annotations.
    pub annotation_selector: String,
}

/// One entry of `patchesFrom`: each text of the object it names is an entry of `patches`, or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PatchesFromSpec {
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// A template; empty means the cluster's namespace.
    pub namespace: String,
    /// A template.
    pub name: String,
    /// Whether it may be missing.
    pub optional: bool,
}

/// One entry of `driftExclusions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DriftExclusionSpec {
    /// JSON pointers (RFC 6901) into the object.
    pub paths: Vec<String>,
    /// Which objects; none means all. Selectors are refused here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetSpec>,
}

/// `matchLabels` and `matchExpressions`, all of which must hold; an empty selector matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that must be there with just this value.
    pub match_labels: BTreeMap<String, String>,
    /// Requirements that must hold.
    pub match_expressions: Vec<Requirement>,
}

/// One entry of `matchExpressions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// The values it is compared to; none for `Exists` and `DoesNotExist`.
    #[serde(default)]
    pub values: Vec<String>,
}

/// The four operators of label selectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The label is there and its value is listed.
    #[default]
    In,
    /// The label is not there, or its value is not listed.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

/// `deploymentType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeploymentType {
    /// The cluster the event came from, or the trigger's destination.
    Remote,
    /// The management cluster.
    Local,
}

/// `syncMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncMode {
    /// Kept as the rules say.
    Continuous,
    /// Applied once and then left alone.
    OneTime,
    /// What others change or delete is put back.
    ContinuousWithDriftDetection,
    /// Only reported.
    DryRun,
}

/// `stopMatchingBehavior`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopMatchingBehavior {
    /// Objects go with the trigger.
    WithdrawPolicies,
    /// Objects stay.
    LeavePolicies,
}

/// Reads a spec; a field that is null counts as not written, as in Kubernetes.
///
/// # Errors
/// The path of the first field of a wrong type, and what was expected there.
pub(in crate::rules) fn read<T: DeserializeOwned>(spec: &Value) -> Result<T, WrongType> {
    let spec = without_nulls(spec);
    serde_path_to_error::deserialize(&spec).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner().to_string();
        let field = if path == "." { "spec".to_owned() } else { format!("spec.{path}") };
        WrongType { field, reason }
    })
}

/// A field of a wrong type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rules) struct WrongType {
    /// Such as `spec.policyRefs[0].tier`.
    pub field: String,
    /// What was expected there.
    pub reason: String,
}

impl WrongType {
    /// The defect of the rule in which it was found.
    pub fn problem(&self, rule: &str, origin: &str) -> Problem {
        let WrongType { field, reason } = self;
        Problem::error(rule, origin, format!("`{field}`: {reason}")).at(field)
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter().filter(|(_, v)| !v.is_null()).map(|(key, value)| (key.clone(), without_nulls(value))).collect(),
        ),
        other => match other.as_array() {
            Some(items) => Value::Array(items.iter().map(without_nulls).collect()),
            None => other.clone(),
        },
    }
}

/// A field that is written but does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rules) struct UnknownField {
    /// Such as `spec.policyRefs[0].nmae`.
    pub path: String,
    /// The field that was probably meant.
    pub meant: Option<String>,
}

/// The fields of `written` that `T` does not have. The fields of `T` are those its default value is written with.
pub(in crate::rules) fn unknown_fields<T: Default + Serialize>(path: &str, written: &Value) -> Vec<UnknownField> {
    fields_not_of(&T::default(), path, written)
}

/// The same, where not every field of the default is written.
pub(in crate::rules) fn fields_not_of(known: &impl Serialize, path: &str, written: &Value) -> Vec<UnknownField> {
    let known = serde_json::to_value(known).expect("a spec is written as JSON");
    let known: Vec<&String> = known.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    let Some(written) = written.as_object() else { return Vec::new() };
    written
        .keys()
        .filter(|name| !known.contains(name))
        .map(|name| UnknownField {
            path: format!("{path}.{name}"),
            meant: nearest(name, &known).map(|meant| format!("{path}.{meant}")),
        })
        .collect()
}

/// The known name within two edits of what was typed, or one that differs in case alone.
fn nearest<'a>(typed: &str, known: &[&'a String]) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&typed, &name.to_lowercase());
    known
        .iter()
        .map(|name| (distance(name), name.as_str()))
        .filter(|(distance, name)| *distance <= 2 && *distance * 3 <= name.len())
        .min()
        .map(|(_, name)| name)
}
