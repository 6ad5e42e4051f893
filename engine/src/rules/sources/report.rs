//! Reports to a cluster what became of the rules in it.
//!
//! Start at [`Reporter::report`]. It writes the status of EventSources and EventTriggers and nothing else.

use std::collections::BTreeMap;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::kubernetes::rule_resource;
use crate::rules::problem::{Problem, Severity};
use crate::rules::set::{RuleSet, Standing};

/// Writes the condition `Ready` to the status of rules, each time what it says has changed.
#[derive(Default)]
pub struct Reporter {
    /// What was written last and since when its status holds, by rule, such as `EventTrigger/name`.
    written: BTreeMap<String, (Value, String)>,
    /// Whether it was said that the cluster keeps no conditions.
    has_said_pruned: bool,
}

impl Reporter {
    /// Writes what is new. One that cannot be written is tried again with the next report.
    ///
    /// # Errors
    /// The first failure; the other rules are written all the same.
    pub async fn report(&mut self, client: &Client, rules: &RuleSet, now: jiff::Timestamp) -> Result<(), kube::Error> {
        let mut failed = None;
        let in_cluster = rules.documents().iter().filter(|(_, document)| document.origin == "kubernetes");
        let named: Vec<(&str, &str)> = in_cluster.filter_map(|(rule, _)| rule.split_once('/')).collect();
        self.written.retain(|rule, _| rule.split_once('/').is_some_and(|rule| named.contains(&rule)));
        for (kind, name) in named {
            let condition = match kind {
                "EventSource" => ready_source(rules, name),
                "EventTrigger" => ready(rules, name),
                _ => continue,
            };
            let rule = format!("{kind}/{name}");
            let before = self.written.get(&rule);
            if before.is_some_and(|(written, _)| *written == condition) {
                continue;
            }
            let since = match before {
                Some((written, since)) if written["status"] == condition["status"] => since.clone(),
                Some(_) | None => format!("{now:.0}"),
            };
            let mut timed = condition.clone();
            timed["lastTransitionTime"] = since.as_str().into();
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &rule_resource(kind));
            let patch = Patch::Merge(json!({"status": {"conditions": [timed]}}));
            match api.patch_status(name, &PatchParams::default(), &patch).await {
                Ok(answer) => {
                    if is_pruned(&answer.data) && !std::mem::replace(&mut self.has_said_pruned, true) {
                        tracing::warn!(
                            "the cluster keeps no conditions of `{rule}`: what is wrong with rules is shown by \
                             `lifeline status` alone\n  hint: lifeline crds | kubectl apply -f -"
                        );
                    }
                    self.written.insert(rule, (condition, since));
                }
                Err(error) => _ = failed.get_or_insert(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Whether the cluster left out the condition that was written: the CustomResourceDefinition of Sveltos has none.
fn is_pruned(answer: &Value) -> bool {
    answer.pointer("/status/conditions/0").is_none()
}

/// The condition `Ready` of an EventSource, without its time.
fn ready_source(rules: &RuleSet, name: &str) -> Value {
    let problems: Vec<&Problem> = rules.problems_of(&format!("EventSource/{name}")).collect();
    condition(rules.sources().any(|source| source.name() == name), &problems)
}

/// The condition `Ready` of a trigger, without its time.
fn ready(rules: &RuleSet, name: &str) -> Value {
    let rule = format!("EventTrigger/{name}");
    let of_trigger = rules.problems_of(&rule);
    // What it references is its business too; what its EventSource says is reported there.
    let of_contents = rules.trigger(name).into_iter().flat_map(|trigger| {
        let referenced: Vec<String> = trigger.candidates().map(|content| content.reference.rule()).collect();
        rules.problems().iter().filter(move |problem| referenced.contains(&problem.rule))
    });
    let problems: Vec<&Problem> = of_trigger.chain(of_contents).collect();
    condition(matches!(rules.standing(name), Standing::InForce(_)), &problems)
}

/// The condition `Ready` of a rule with these problems.
fn condition(is_in_force: bool, problems: &[&Problem]) -> Value {
    let has_errors = problems.iter().any(|problem| problem.severity == Severity::Error);
    let (status, reason) = match (is_in_force, has_errors) {
        (true, false) => ("True", "InForce"),
        (true, true) => ("False", "Incomplete"),
        (false, _) => ("False", "OutOfForce"),
    };
    let lines = problems.iter().map(|problem| {
        let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}: {}{hint}", problem.severity, problem.message)
    });
    let message: Vec<String> = lines.collect();
    json!({"type": "Ready", "status": status, "reason": reason, "message": message.join("\n")})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::cluster::Clusters;
    use crate::rules::read::manifest::{Manifest, Manifests};

    #[test]
    fn condition_says_what_is_wrong_and_what_was_assumed() {
        let manifest_of = |value: Value| Manifest::new("kubernetes", value);
        let source = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventSource", "metadata": {"name": "s"}, "spec": {"messagingMatchCriteria": [{}]}});
        let policy = json!({"kind": "ConfigMap", "namespace": "default", "name": "missing"});
        let selector = json!({"matchLabels": {"env": "fv"}});
        let spec = json!({"eventSourceName": "s", "policyRefs": [policy], "sourceClusterSelector": selector});
        let trigger = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventTrigger", "metadata": {"name": "t"}, "spec": spec});
        let manifests =
            Manifests { manifests: vec![manifest_of(source), manifest_of(trigger)], unreadable: Vec::new() };
        let rules = RuleSet::new(manifests, Clusters::default());
        let condition = ready(&rules, "t");
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Incomplete")));
        let message = condition["message"].as_str().unwrap();
        assert!(message.contains("names ConfigMap default/missing, which does not exist"), "{message}");
        assert!(message.contains("is assumed to match"), "{message}");
        assert_eq!(ready_source(&rules, "s")["reason"], "InForce");
        let message = ready_source(&rules, "gone");
        assert_eq!((&message["status"], &message["reason"]), (&json!("False"), &json!("OutOfForce")));
    }

    #[test]
    fn a_cluster_that_keeps_no_conditions_is_noticed() {
        assert!(is_pruned(&json!({"spec": {}})));
        assert!(is_pruned(&json!({"status": {"clusterInfo": []}})));
        assert!(!is_pruned(&json!({"status": {"conditions": [{"type": "Ready"}]}})));
    }
}
