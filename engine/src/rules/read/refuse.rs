//! What becomes of each field of a spec: it is done, it is warned about, or the rule is refused.
//!
//! Start at [`event_trigger`]. Each spec is taken apart without `..`, so a field that is added to a spec does not compile until
//! somebody decides here. The line between the two severities: without the field, would the objects that are made be others
//! than the author wants, or go elsewhere? Then the trigger is refused. Would something else be missing beside them, or be
//! done in another way? Then it is in force, and the warning says what happens instead. Only a value other than the default
//! is worth a warning.
//!
//! Never here: what a field does.

use serde::Serialize;
use serde_json::{Value, json};

use super::spec::{
    self, DeploymentType, DriftExclusionSpec, EventSourceSpec, EventTriggerSpec, GeneratorSpec, LabelSelector,
    MatchCriteria, PatchSpec, PatchesFromSpec, PolicyRefSpec, Requirement, ResourceSpec, StopMatchingBehavior,
    SyncMode, TargetSpec, TemplateResourceRefSpec, UnknownField,
};
use crate::rules::problem::Problem;

/// The longest value that a warning shows in full, in characters.
const SHOWN_MAX: usize = 60;

const ADDON_CONTROLLER: &str = "needs Sveltos' addon-controller, which is not part of Lifeline";
const SAME_CLUSTER: &str = "is not done: objects go to the cluster the event came from";

/// Checks the fields of an EventSource, `written` read as `spec`.
///
/// # Errors
/// When it cannot be in force.
pub(in crate::rules) fn event_source(
    rule: &str,
    origin: &str,
    written: &Value,
    spec: &EventSourceSpec,
    problems: &mut Vec<Problem>,
) -> Result<(), Problem> {
    let mut report = Report { rule, origin, problems };
    let mut unknown = spec::unknown_fields::<EventSourceSpec>("spec", written);
    for (index, entry) in written["messagingMatchCriteria"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.messagingMatchCriteria[{index}]");
        unknown.extend(spec::unknown_fields::<MatchCriteria>(&path, entry));
    }
    // A criterion without the field that was meant would match more events than its author wanted.
    report.unknown(unknown)?;

    let EventSourceSpec {
        messaging_match_criteria,
        resource_selectors,
        aggregated_selection,
        // About the resources that are warned about anyway, and often written beside messages, where it says nothing.
        collect_resources: _,
    } = spec;
    for criteria in messaging_match_criteria {
        // Done by `decide::source`.
        let MatchCriteria { subject: _, cloud_event_source: _, cloud_event_type: _, cloud_event_subject: _ } = criteria;
    }
    if !resource_selectors.is_empty() || !aggregated_selection.is_empty() {
        let message =
            "`spec.resourceSelectors` and `spec.aggregatedSelection` are about Kubernetes resources and have no effect";
        let hint = "only `spec.messagingMatchCriteria` is evaluated here; events of resources need Sveltos";
        report.problems.push(Problem::warning(rule, origin, message).hint(hint));
    } else if messaging_match_criteria.is_empty() {
        let message = "no `spec.messagingMatchCriteria`, so no CloudEvent matches";
        report.problems.push(Problem::warning(rule, origin, message).hint("an entry `{}` matches every CloudEvent"));
    }
    Ok(())
}

/// Checks the fields of an EventTrigger, `written` read as `spec`. With `has_other_clusters` events come from more than the
/// own cluster.
///
/// # Errors
/// When it cannot be in force.
pub(in crate::rules) fn event_trigger(
    rule: &str,
    origin: &str,
    written: &Value,
    spec: &EventTriggerSpec,
    has_other_clusters: bool,
    problems: &mut Vec<Problem>,
) -> Result<(), Problem> {
    let mut report = Report { rule, origin, problems };
    report.unknown(unknown_fields(written))?;
    let EventTriggerSpec {
        // Done by `set::link`.
        source_cluster_selector,
        event_source_name,
        // Done by `decide::action`.
        cloud_event_action,
        // Done by `trigger`.
        one_for_event: _,
        extra_labels: _,
        extra_annotations: _,
        // Done when the trigger goes, by `replay`.
        stop_matching_behavior,
        // Done by `policy::reference`, and by `reconcile`.
        policy_refs,
        sync_mode,
        // Done by `reconcile`.
        tier,
        continue_on_conflict: _,
        drift_exclusions,
        // Done by `policy::patches`.
        patches: _,
        patches_from,
        // Done by `policy::resources`.
        template_resource_refs,
        // Done by `policy::generator`.
        config_map_generator,
        secret_generator,
        // Not done.
        destination_cluster_selector,
        destination_cluster,
        helm_charts,
        kustomization_refs,
        validate_healths,
        pre_deploy_checks,
        pre_delete_checks,
        post_delete_checks,
        depends_on,
        cluster_set_refs,
        profile_name_format,
        max_update,
        reloader,
    } = spec;

    if event_source_name.trim().is_empty() {
        return Err(Problem::error(rule, origin, "`spec.eventSourceName` is missing or empty")
            .hint("name the EventSource whose events count")
            .at("spec.eventSourceName"));
    }
    if *tier < 1 {
        return Err(
            Problem::error(rule, origin, format!("`spec.tier` is `{tier}`, expected at least 1")).at("spec.tier")
        );
    }
    for (index, policy) in policy_refs.iter().enumerate() {
        let entry = format!("spec.policyRefs[{index}]");
        let fetched = "is not fetched: put the manifests into a ConfigMap and name that";
        report.refuse(policy.remote_url.is_some(), &format!("{entry}.remoteURL"), fetched)?;
        if policy.tier < 0 {
            let message =
                format!("`{entry}.tier` is `{}`, expected at least 1, or 0 for that of the trigger", policy.tier);
            return Err(Problem::error(rule, origin, message));
        }
        if policy.name.trim().is_empty() {
            return Err(
                Problem::error(rule, origin, format!("`{entry}.name` is missing or empty")).at(format!("{entry}.name"))
            );
        }
        let is_elsewhere = policy.deployment_type == DeploymentType::Local && has_other_clusters;
        report.refuse(
            is_elsewhere,
            &format!("{entry}.deploymentType"),
            &format!("is `Local`, which {SAME_CLUSTER}"),
        )?;
    }

    for (index, from) in patches_from.iter().enumerate() {
        if from.name.trim().is_empty() {
            let field = format!("spec.patchesFrom[{index}].name");
            return Err(Problem::error(rule, origin, format!("`{field}` is missing or empty")).at(field));
        }
    }
    // An empty one selects nothing in particular: Sveltos takes it as not written.
    let has_destination = destination_cluster_selector.as_ref().is_some_and(|selector| !selector.is_empty());
    report.refuse(has_destination, "spec.destinationClusterSelector", SAME_CLUSTER)?;
    report.refuse(destination_cluster.is_some(), "spec.destinationCluster", SAME_CLUSTER)?;

    // In Sveltos the ClusterSets alone select then; without them every cluster would be selected here.
    let has_selector = source_cluster_selector.as_ref().is_some_and(|selector| !selector.is_empty());
    let sets_alone = "is not read, and no label says which clusters are meant: use `spec.sourceClusterSelector`";
    report.refuse(!cluster_set_refs.is_empty() && !has_selector, "spec.clusterSetRefs", sets_alone)?;
    let makes_nothing = policy_refs.is_empty() && config_map_generator.is_empty() && secret_generator.is_empty();
    if makes_nothing {
        let makes_nothing = format!("{ADDON_CONTROLLER}, and there is nothing else to make: write `spec.policyRefs`");
        report.refuse(!helm_charts.is_empty(), "spec.helmCharts", &makes_nothing)?;
        report.refuse(!kustomization_refs.is_empty(), "spec.kustomizationRefs", &makes_nothing)?;
    }

    // Without the selector more objects would be left alone than their author wants.
    for (index, exclusion) in drift_exclusions.iter().enumerate() {
        // Done by `decide::exclusion`.
        let DriftExclusionSpec { paths: _, target } = exclusion;
        let Some(target) = target else { continue };
        let TargetSpec { group: _, version: _, kind: _, namespace: _, name: _, label_selector, annotation_selector } =
            target;
        let path = format!("spec.driftExclusions[{index}].target");
        let by_name = "is not read: choose objects by `group`, `version`, `kind`, `namespace` and `name`";
        report.refuse(!label_selector.is_empty(), &format!("{path}.labelSelector"), by_name)?;
        report.refuse(!annotation_selector.is_empty(), &format!("{path}.annotationSelector"), by_name)?;
    }

    report.warn(!helm_charts.is_empty(), "spec.helmCharts", ADDON_CONTROLLER);
    report.warn(!kustomization_refs.is_empty(), "spec.kustomizationRefs", ADDON_CONTROLLER);
    report.warn(!validate_healths.is_empty(), "spec.validateHealths", ADDON_CONTROLLER);
    report.warn(!pre_deploy_checks.is_empty(), "spec.preDeployChecks", ADDON_CONTROLLER);
    report.warn(!pre_delete_checks.is_empty(), "spec.preDeleteChecks", ADDON_CONTROLLER);
    report.warn(!post_delete_checks.is_empty(), "spec.postDeleteChecks", ADDON_CONTROLLER);
    let no_profiles = "is about ClusterProfiles, of which Lifeline makes none";
    report.warn(!depends_on.is_empty(), "spec.dependsOn", no_profiles);
    for (index, reference) in template_resource_refs.iter().enumerate() {
        let every_change = "has no effect: every change of the object counts";
        let field = format!("spec.templateResourceRefs[{index}].watchFields");
        report.warn(!reference.watch_fields.is_empty(), &field, every_change);
    }
    let selector = "has no effect: `spec.sourceClusterSelector` alone selects";
    report.warn(!cluster_set_refs.is_empty(), "spec.clusterSetRefs", selector);
    let is_written_empty = source_cluster_selector.as_ref().is_some_and(LabelSelector::is_empty);
    let all = "is empty and selects every cluster; in Sveltos an empty one selects none";
    report.warn(is_written_empty, "spec.sourceClusterSelector", all);
    let may_delete = cloud_event_action.trim() != "Create";
    let leaves = *stop_matching_behavior == StopMatchingBehavior::LeavePolicies;
    let still_deletes = "is `LeavePolicies`, and an event whose action is `Delete` deletes its objects all the same: \
                         in Sveltos they stay";
    report.warn(leaves && may_delete, "spec.stopMatchingBehavior", still_deletes);

    match sync_mode {
        SyncMode::Continuous | SyncMode::OneTime | SyncMode::ContinuousWithDriftDetection => {}
        SyncMode::DryRun => report.warn(true, "spec.syncMode", "is `DryRun`: events are decided, nothing is applied"),
    }
    let no_profile = "Lifeline makes no ClusterProfile";
    report.without_effect(!profile_name_format.is_empty(), "spec.profileNameFormat", profile_name_format, no_profile);
    let is_limited = max_update.as_ref().is_some_and(|limit| limit != "100%");
    let at_once = "there is one cluster, and a change reaches all its objects at once";
    report.without_effect(is_limited, "spec.maxUpdate", max_update, at_once);
    let excludes_nothing = !drift_exclusions.is_empty() && *sync_mode != SyncMode::ContinuousWithDriftDetection;
    let not_detected = "drift is detected with `syncMode: ContinuousWithDriftDetection` alone";
    report.without_effect(excludes_nothing, "spec.driftExclusions", drift_exclusions, not_detected);
    let no_restart = "workloads are not restarted when what they mount changes";
    report.without_effect(*reloader, "spec.reloader", reloader, no_restart);

    for (index, policy) in policy_refs.iter().enumerate() {
        policy_ref(&mut report, &format!("spec.policyRefs[{index}]"), policy);
    }
    if makes_nothing {
        let message = "no `spec.policyRefs`, so no object is made";
        let hint = "reference a ConfigMap that holds the manifests or their template";
        report.problems.push(Problem::warning(rule, origin, message).hint(hint));
    }
    Ok(())
}

fn policy_ref(report: &mut Report<'_>, entry: &str, policy: &PolicyRefSpec) {
    let PolicyRefSpec {
        // Done by `policy::reference`.
        kind: _,
        namespace: _,
        name: _,
        optional: _,
        // Done by `reconcile`.
        tier: _,
        force: _,
        skip_namespace_creation: _,
        // Refused above where it would fetch something, or place objects elsewhere.
        remote_url: _,
        deployment_type,
        // Not done.
        path,
    } = policy;
    report.warn(!path.is_empty(), &format!("{entry}.path"), "is for sources of Flux and has no effect");
    let is_local = *deployment_type == DeploymentType::Local;
    let one_cluster = "is `Local`, which is the same as `Remote` here: there is one cluster";
    report.warn(is_local, &format!("{entry}.deploymentType"), one_cluster);
}

fn unknown_fields(written: &Value) -> Vec<UnknownField> {
    let mut unknown = spec::unknown_fields::<EventTriggerSpec>("spec", written);
    for (index, entry) in written["policyRefs"].as_array().into_iter().flatten().enumerate() {
        unknown.extend(spec::unknown_fields::<PolicyRefSpec>(&format!("spec.policyRefs[{index}]"), entry));
    }
    for field in ["configMapGenerator", "secretGenerator"] {
        for (index, entry) in written[field].as_array().into_iter().flatten().enumerate() {
            unknown.extend(spec::unknown_fields::<GeneratorSpec>(&format!("spec.{field}[{index}]"), entry));
        }
    }
    for (index, entry) in written["patches"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.patches[{index}]");
        unknown.extend(spec::unknown_fields::<PatchSpec>(&path, entry));
        unknown.extend(spec::unknown_fields::<TargetSpec>(&format!("{path}.target"), &entry["target"]));
    }
    for (index, entry) in written["patchesFrom"].as_array().into_iter().flatten().enumerate() {
        unknown.extend(spec::unknown_fields::<PatchesFromSpec>(&format!("spec.patchesFrom[{index}]"), entry));
    }
    for (index, entry) in written["templateResourceRefs"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.templateResourceRefs[{index}]");
        unknown.extend(spec::unknown_fields::<TemplateResourceRefSpec>(&path, entry));
        unknown.extend(spec::unknown_fields::<ResourceSpec>(&format!("{path}.resource"), &entry["resource"]));
    }
    for (index, entry) in written["driftExclusions"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.driftExclusions[{index}]");
        let whole = DriftExclusionSpec { target: Some(TargetSpec::default()), ..DriftExclusionSpec::default() };
        unknown.extend(spec::fields_not_of(&whole, &path, entry));
        unknown.extend(spec::unknown_fields::<TargetSpec>(&format!("{path}.target"), &entry["target"]));
    }
    let path = "spec.sourceClusterSelector";
    let selector = &written["sourceClusterSelector"];
    unknown.extend(spec::unknown_fields::<LabelSelector>(path, selector));
    for (index, entry) in selector["matchExpressions"].as_array().into_iter().flatten().enumerate() {
        unknown.extend(spec::unknown_fields::<Requirement>(&format!("{path}.matchExpressions[{index}]"), entry));
    }
    unknown
}

/// The problems of one rule.
struct Report<'a> {
    rule: &'a str,
    origin: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Report<'_> {
    /// A field that is nearly one that exists is a typo, and what was meant would be missing: the rule is out of force. Any
    /// other unknown field is taken to be of another release: a warning.
    fn unknown(&mut self, unknown: Vec<UnknownField>) -> Result<(), Problem> {
        for UnknownField { path, meant } in unknown {
            if let Some(meant) = meant {
                return Err(Problem::error(self.rule, self.origin, format!("unknown field `{path}`"))
                    .hint(format!("did you mean `{meant}`?"))
                    .of_unknown(path));
            }
            let message = format!("unknown field `{path}` has no effect");
            self.problems.push(Problem::warning(self.rule, self.origin, message).of_unknown(path));
        }
        Ok(())
    }

    /// Puts the rule out of force when the field is used.
    fn refuse(&self, is_used: bool, path: &str, reason: &str) -> Result<(), Problem> {
        match is_used {
            true => Err(Problem::error(self.rule, self.origin, format!("`{path}` {reason}")).at(path)),
            false => Ok(()),
        }
    }

    /// Warns when the field is used.
    fn warn(&mut self, is_used: bool, path: &str, reason: &str) {
        if is_used {
            self.problems.push(Problem::warning(self.rule, self.origin, format!("`{path}` {reason}")).at(path));
        }
    }

    /// Warns when the field has a value other than its default, and says what happens instead.
    fn without_effect(&mut self, is_used: bool, path: &str, value: &impl Serialize, instead: &str) {
        if is_used {
            self.warn(true, path, &format!("is `{}` and has no effect: {instead}", shown(&json!(value))));
        }
    }
}

/// A value as a person writes it, on one line, the end of a long one left out.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut short: String = text.chars().take(SHOWN_MAX).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::problem::Severity;

    /// Checks which warnings a trigger gets that has this beside its `eventSourceName` and its one policy.
    #[track_caller]
    fn check(fields: Value, has_other_clusters: bool, expected: &[&str]) {
        let mut written = json!({"eventSourceName": "s", "policyRefs": [{"kind": "ConfigMap", "name": "x"}]});
        for (name, value) in fields.as_object().unwrap() {
            written[name] = value.clone();
        }
        let spec: EventTriggerSpec = spec::read(&written).unwrap();
        let mut problems = Vec::new();
        event_trigger("EventTrigger/x", "r.yaml:1", &written, &spec, has_other_clusters, &mut problems).unwrap();
        assert!(problems.iter().all(|problem| problem.severity == Severity::Warning), "{problems:?}");
        let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages, expected, "{written}");
    }

    #[track_caller]
    fn check_policy(field: &str, value: Value, has_other_clusters: bool, expected: &[&str]) {
        let mut policy = json!({"kind": "ConfigMap", "name": "x"});
        policy[field] = value;
        check(json!({"policyRefs": [{"kind": "Secret", "name": "y"}, policy]}), has_other_clusters, expected);
    }

    #[test]
    fn field_without_effect_is_named_with_its_value_and_what_happens_instead() {
        check(json!({"tier": 50, "continueOnConflict": true}), false, &[]);
        check(
            json!({"maxUpdate": "30%"}),
            false,
            &[
                "`spec.maxUpdate` is `30%` and has no effect: there is one cluster, and a change reaches all its objects at once",
            ],
        );
        check(
            json!({"maxUpdate": 3}),
            false,
            &[
                "`spec.maxUpdate` is `3` and has no effect: there is one cluster, and a change reaches all its objects at once",
            ],
        );
        check(
            json!({"driftExclusions": [{"paths": ["/spec/replicas"]}]}),
            false,
            &[
                "`spec.driftExclusions` is `[{\"paths\":[\"/spec/replicas\"]}]` and has no effect: drift is detected with `syncMode: ContinuousWithDriftDetection` alone",
            ],
        );
        check(
            json!({"syncMode": "ContinuousWithDriftDetection", "driftExclusions": [{"paths": ["/spec/replicas"]}]}),
            false,
            &[],
        );
        check(
            json!({"profileNameFormat": "{{ .CloudEvent.subject }}"}),
            false,
            &[
                "`spec.profileNameFormat` is `{{ .CloudEvent.subject }}` and has no effect: Lifeline makes no ClusterProfile",
            ],
        );
        check(
            json!({"reloader": true}),
            false,
            &["`spec.reloader` is `true` and has no effect: workloads are not restarted when what they mount changes"],
        );
        for (field, value) in [("tier", json!(7)), ("skipNamespaceCreation", json!(true)), ("force", json!(true))] {
            check_policy(field, value, false, &[]);
        }
        check_policy(
            "deploymentType",
            json!("Local"),
            false,
            &[
                "`spec.policyRefs[1].deploymentType` is `Local`, which is the same as `Remote` here: there is one cluster",
            ],
        );
        for field in ["preDeployChecks", "preDeleteChecks", "postDeleteChecks", "validateHealths", "helmCharts"] {
            let message = format!("`spec.{field}` needs Sveltos' addon-controller, which is not part of Lifeline");
            check(json!({field: [{}]}), false, &[&message]);
        }
        check(
            json!({"sourceClusterSelector": {}}),
            false,
            &["`spec.sourceClusterSelector` is empty and selects every cluster; in Sveltos an empty one selects none"],
        );
        check(
            json!({"clusterSetRefs": ["a"], "sourceClusterSelector": {"matchLabels": {"env": "fv"}}}),
            false,
            &["`spec.clusterSetRefs` has no effect: `spec.sourceClusterSelector` alone selects"],
        );
        check(
            json!({"stopMatchingBehavior": "LeavePolicies", "cloudEventAction": "{{ .CloudEvent.data.action }}"}),
            false,
            &[
                "`spec.stopMatchingBehavior` is `LeavePolicies`, and an event whose action is `Delete` deletes its objects all the same: in Sveltos they stay",
            ],
        );
        check(json!({"stopMatchingBehavior": "LeavePolicies"}), false, &[]);
        check_policy(
            "path",
            json!("x"),
            false,
            &["`spec.policyRefs[1].path` is for sources of Flux and has no effect"],
        );
    }

    #[test]
    fn defaults_that_are_written_are_not_warned_about() {
        // What the CustomResourceDefinition fills in, for one.
        let defaults = json!({
            "oneForEvent": false, "cloudEventAction": "Create", "syncMode": "Continuous", "tier": 100,
            "continueOnConflict": false, "reloader": false, "maxUpdate": "100%", "driftExclusions": [],
            "profileNameFormat": "", "stopMatchingBehavior": "WithdrawPolicies",
        });
        check(defaults, false, &[]);
        check_policy("tier", json!(0), false, &[]);
        check_policy("skipNamespaceCreation", json!(false), false, &[]);
        check_policy("deploymentType", json!("Remote"), true, &[]);
        check_policy("force", json!(false), false, &[]);
        check(json!({"destinationClusterSelector": {}}), false, &[]);
    }

    #[test]
    fn what_would_place_or_make_other_objects_is_refused() {
        #[track_caller]
        fn refused(fields: Value, has_other_clusters: bool, expected: &str) {
            let mut written = json!({"eventSourceName": "s", "policyRefs": [{"kind": "ConfigMap", "name": "x"}]});
            written.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            let spec: EventTriggerSpec = spec::read(&written).unwrap();
            let refused =
                event_trigger("EventTrigger/x", "r.yaml:1", &written, &spec, has_other_clusters, &mut Vec::new());
            assert_eq!(refused.expect_err(expected).message, expected);
        }
        refused(
            json!({"policyRefs": [{"kind": "ConfigMap", "name": "x", "deploymentType": "Local"}]}),
            true,
            "`spec.policyRefs[0].deploymentType` is `Local`, which is not done: objects go to the cluster the event came from",
        );
        refused(
            json!({"policyRefs": [{"kind": "ConfigMap", "name": "x", "tier": -1}]}),
            false,
            "`spec.policyRefs[0].tier` is `-1`, expected at least 1, or 0 for that of the trigger",
        );
        refused(
            json!({"policyRefs": [{"remoteURL": {"url": "https://example.com/a.yaml"}}]}),
            false,
            "`spec.policyRefs[0].remoteURL` is not fetched: put the manifests into a ConfigMap and name that",
        );
        for selector in [Value::Null, json!({})] {
            refused(
                json!({"clusterSetRefs": ["a"], "sourceClusterSelector": selector}),
                false,
                "`spec.clusterSetRefs` is not read, and no label says which clusters are meant: use `spec.sourceClusterSelector`",
            );
        }
        for field in ["helmCharts", "kustomizationRefs"] {
            let message = format!(
                "`spec.{field}` needs Sveltos' addon-controller, which is not part of Lifeline, and there is nothing else to make: write `spec.policyRefs`"
            );
            refused(json!({field: [{}], "policyRefs": []}), false, &message);
        }
        refused(
            json!({"destinationClusterSelector": {"matchLabels": {"env": "fv"}}}),
            false,
            "`spec.destinationClusterSelector` is not done: objects go to the cluster the event came from",
        );
    }

    #[test]
    fn long_value_is_cut() {
        assert_eq!(shown(&json!("short")), "short");
        assert_eq!(shown(&json!("é".repeat(61))), format!("{}...", "é".repeat(60)));
        assert_eq!(shown(&json!([1, true])), "[1,true]");
    }
}
