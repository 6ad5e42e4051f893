//! Reports to a cluster what became of the EventTriggers in it.
//!
//! Start at [`Reporter::report`]. It writes the status of EventTriggers and nothing else.

use std::collections::BTreeMap;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::kubernetes::rule_resource;
use crate::rules::problem::{Problem, Severity};
use crate::rules::set::{RuleSet, Standing};

/// Writes the condition `Ready` to the status of EventTriggers, each time what it says has changed.
#[derive(Default)]
pub struct Reporter {
    /// What was written last and since when its status holds, by trigger.
    written: BTreeMap<String, (Value, String)>,
}

impl Reporter {
    /// Writes what is new. One that cannot be written is tried again with the next report.
    ///
    /// # Errors
    /// The first failure; the other triggers are written all the same.
    pub async fn report(&mut self, client: &Client, rules: &RuleSet, now: jiff::Timestamp) -> Result<(), kube::Error> {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &rule_resource("EventTrigger"));
        let mut failed = None;
        let in_cluster = rules.documents().iter().filter(|(_, document)| document.origin == "kubernetes");
        let names: Vec<&str> = in_cluster.filter_map(|(rule, _)| rule.strip_prefix("EventTrigger/")).collect();
        self.written.retain(|name, _| names.contains(&name.as_str()));
        for name in names {
            let condition = ready(rules, name);
            let before = self.written.get(name);
            if before.is_some_and(|(written, _)| *written == condition) {
                continue;
            }
            let since = match before {
                Some((written, since)) if written["status"] == condition["status"] => since.clone(),
                Some(_) | None => format!("{now:.0}"),
            };
            let mut timed = condition.clone();
            timed["lastTransitionTime"] = since.as_str().into();
            let patch = Patch::Merge(json!({"status": {"conditions": [timed]}}));
            match api.patch_status(name, &PatchParams::default(), &patch).await {
                Ok(_) => _ = self.written.insert(name.to_owned(), (condition, since)),
                Err(error) => _ = failed.get_or_insert(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }
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
    let has_errors = problems.iter().any(|problem| problem.severity == Severity::Error);
    let (status, reason) = match rules.standing(name) {
        Standing::InForce(_) if !has_errors => ("True", "InForce"),
        Standing::InForce(_) => ("False", "Incomplete"),
        Standing::OutOfForce | Standing::Absent => ("False", "OutOfForce"),
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
    }
}
