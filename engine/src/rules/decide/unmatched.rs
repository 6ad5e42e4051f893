//! Why no trigger spoke of an event.
//!
//! Start at [`unmatched`]. Pure: an event, the rules in force, and since when they are, in; a reason out.

use lifeline_projections::why::event::{Closest, Difference, Unmatched};
use lifeline_store::Offset;

use super::event::EventView;
use super::matching::{Explanation, Matching, Mismatch};

/// Why no trigger spoke of the event at `offset`, by rules that may have come after it: `since` gives the record of a rule
/// such as `EventTrigger/name`.
pub(in crate::rules) fn unmatched(
    rules: Matching<'_>,
    event: &EventView<'_>,
    cluster: &str,
    offset: Offset,
    since: impl Fn(&str) -> Option<Offset>,
) -> Unmatched {
    let unheard: Vec<String> = rules.unheard(event).map(|source| source.name().to_owned()).collect();
    let answer = |reason: String, closest| Unmatched { reason, unheard: unheard.clone(), closest };
    // The time matters to templates alone, and whether a trigger speaks is not up to them.
    if let Some(decision) = rules.decide(event, 0).first() {
        let (source, trigger) = (decision.event_source, decision.trigger);
        let latest = [format!("EventSource/{source}"), format!("EventTrigger/{trigger}")].map(|rule| since(&rule));
        return match latest.into_iter().flatten().max().filter(|since| *since > offset) {
            Some(since) => answer(
                format!(
                    "EventTrigger/{trigger} decides such events since offset {since}; by then a later event of this resource counted"
                ),
                None,
            ),
            None => answer(
                format!(
                    "EventSource/{source} matches, but EventTrigger/{trigger} was not in force or does not select {cluster}"
                ),
                None,
            ),
        };
    }
    if let [first, ..] = unheard.as_slice() {
        return answer(format!("EventSource/{first} matches, but no trigger listens to it"), None);
    }
    match nearest(&rules.why_not(event)) {
        Some(explanation) => answer("no EventSource matches".to_owned(), Some(closest(explanation))),
        None if !rules.sources.is_empty() => answer("no EventSource has a criterion for CloudEvents".to_owned(), None),
        None => answer("there is no EventSource".to_owned(), None),
    }
}

/// The criterion of which least differs, and of those the one that reads most like the event: a typing mistake, likely.
fn nearest<'e, 'r>(explanations: &'e [Explanation<'r>]) -> Option<&'e Explanation<'r>> {
    let likeness = |explanation: &Explanation<'_>| -> f64 {
        let each = explanation.mismatches.iter().map(|mismatch| match mismatch {
            Mismatch::Field { value, pattern, .. } => strsim::jaro(value, pattern),
            Mismatch::Broken { .. } => 0.0,
        });
        each.sum()
    };
    explanations.iter().min_by(|one, other| {
        let differing = one.mismatches.len().cmp(&other.mismatches.len());
        differing.then_with(|| likeness(other).total_cmp(&likeness(one)))
    })
}

fn closest(explanation: &Explanation<'_>) -> Closest {
    let differences = explanation.mismatches.iter().filter_map(|mismatch| match mismatch {
        Mismatch::Field { field, value, pattern } => {
            Some(Difference { field: (*field).to_owned(), value: (*value).to_owned(), pattern: (*pattern).to_owned() })
        }
        // Said in the summary: it differs in no field.
        Mismatch::Broken { .. } => None,
    });
    Closest {
        event_source: explanation.event_source.to_owned(),
        criterion: explanation.criterion + 1,
        differences: differences.collect(),
        summary: explanation.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Clusters, Manifests, RuleSet};

    const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: user-operation}
spec: {messagingMatchCriteria: [{subject: user-operation, cloudEventType: login}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: orders}
spec: {messagingMatchCriteria: [{subject: orders}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec: {eventSourceName: user-operation, oneForEvent: true, cloudEventAction: Create}
"#;

    #[track_caller]
    fn check(rules: &str, nats_subject: &str, kind: &str, since: u64, reason: &str, unheard: &[&str], closest: &str) {
        let rules = RuleSet::new(Manifests::read("rules.yaml", rules), Clusters::default());
        let event = EventView { nats_subject, source: "auth", kind, subject: "zoe", headers: &[], payload: b"{}" };
        let since = |rule: &str| (rule == "EventTrigger/manage").then(|| Offset::from(since));
        let told = rules.unmatched(&event, "mgmt/mgmt", Offset::from(7), since);
        let summary = told.closest.as_ref().map(|closest| closest.summary.as_str());
        assert_eq!((told.reason.as_str(), summary.unwrap_or_default()), (reason, closest));
        assert_eq!(told.unheard, unheard);
    }

    #[test]
    fn the_reason_names_what_is_nearest() {
        check("", "user-operation", "login", 0, "there is no EventSource", &[], "");
        check(
            RULES,
            "user-ops",
            "login",
            0,
            "no EventSource matches",
            &[],
            "EventSource/user-operation, criterion 1: subject `user-ops` does not match `user-operation`",
        );
        check(
            RULES,
            "user-operation",
            "logout",
            0,
            "no EventSource matches",
            &[],
            "EventSource/user-operation, criterion 1: cloudEventType `logout` does not match `login`",
        );
        check(RULES, "orders", "paid", 0, "EventSource/orders matches, but no trigger listens to it", &["orders"], "");
        check(
            RULES,
            "user-operation",
            "login",
            9,
            "EventTrigger/manage decides such events since offset 9; by then a later event of this resource counted",
            &[],
            "",
        );
        check(
            RULES,
            "user-operation",
            "login",
            3,
            "EventSource/user-operation matches, but EventTrigger/manage was not in force or does not select mgmt/mgmt",
            &[],
            "",
        );
    }
}
