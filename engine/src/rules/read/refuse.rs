//! What becomes of each field of a rule that was written: it is done, it is warned about, or the rule is refused.
//!
//! Start at [`event_trigger`].

use serde_json::Value;

use super::spec::{
    self, EventSourceSpec, EventTriggerSpec, LabelSelector, MatchCriteria, PolicyRefSpec, Requirement, UnknownField,
};
use crate::rules::problem::Problem;

/// Checks the fields of an EventSource.
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
    let mut unknown = spec::unknown_fields::<EventSourceSpec>("spec", written);
    for (index, entry) in written["messagingMatchCriteria"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.messagingMatchCriteria[{index}]");
        unknown.extend(spec::unknown_fields::<MatchCriteria>(&path, entry));
    }
    // A criterion without the field that was meant would match more events than its author wanted.
    refuse_typos(rule, origin, unknown, problems)?;

    if !spec.resource_selectors.is_empty() || !spec.aggregated_selection.is_empty() {
        problems.push(
            Problem::warning(
                rule,
                origin,
                "`spec.resourceSelectors` and `spec.aggregatedSelection` are about Kubernetes resources and have no effect",
            )
            .hint("only `spec.messagingMatchCriteria` is evaluated here; events of resources need Sveltos"),
        );
    } else if spec.messaging_match_criteria.is_empty() {
        problems.push(
            Problem::warning(rule, origin, "no `spec.messagingMatchCriteria`, so no CloudEvent matches")
                .hint("an entry `{}` matches every CloudEvent"),
        );
    }
    Ok(())
}

/// Checks the fields of an EventTrigger.
///
/// # Errors
/// When it cannot be in force.
pub(in crate::rules) fn event_trigger(
    rule: &str,
    origin: &str,
    written: &Value,
    spec: &EventTriggerSpec,
    problems: &mut Vec<Problem>,
) -> Result<(), Problem> {
    refuse_typos(rule, origin, unknown_fields(written), problems)?;
    check_values(rule, origin, spec)?;
    check_supported(rule, origin, spec, problems)
}

/// A field that is nearly one that exists is a typo, and what was meant would be missing: the rule is out of force. Any
/// other unknown field is taken to be of another release: a warning.
fn refuse_typos(
    rule: &str,
    origin: &str,
    unknown: Vec<UnknownField>,
    problems: &mut Vec<Problem>,
) -> Result<(), Problem> {
    for UnknownField { path, meant } in unknown {
        match meant {
            Some(meant) => {
                return Err(Problem::error(rule, origin, format!("unknown field `{path}`"))
                    .hint(format!("did you mean `{meant}`?")));
            }
            None => problems.push(Problem::warning(rule, origin, format!("unknown field `{path}` has no effect"))),
        }
    }
    Ok(())
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
        unknown.extend(spec::unknown_fields::<Requirement>(&path, entry));
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
