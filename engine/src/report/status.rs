//! What the status of a rule says: pure, from the rules in force and what is known of their work.
//!
//! Start at [`of_trigger`] and [`of_source`]. `Ready` is about the rule: whether it is in force, and what is wrong with it.
//! `Degraded` is about its work: whether somebody should look.

use lifeline_projections::count;
use lifeline_projections::fact::ResourceKey;
use serde_json::{Map, Value, json};

use crate::by_trigger::Matched;
use crate::health::{Failing, TriggerHealth};
use crate::rules::spec::SyncMode;
use crate::rules::{Problem, RuleSet, Severity, Standing};

/// The longest message; Kubernetes takes 32,768 bytes of a condition.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// What is written into the status of a rule, but for times of conditions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Status {
    /// Which version of the rule this is about.
    pub generation: Option<i64>,
    /// Without `lastTransitionTime`.
    pub conditions: Vec<Value>,
    /// What may change with each event.
    pub counts: Map<String, Value>,
}

/// The status of an EventSource.
pub(super) fn of_source(rules: &RuleSet, name: &str, matched: Matched) -> Status {
    let rule = format!("EventSource/{name}");
    let problems: Vec<&Problem> = rules.problems_of(&rule).collect();
    let is_in_force = rules.sources().any(|source| source.name() == name);
    let broken = is_in_force && has_errors(&problems);
    let degraded = match broken {
        true => condition("Degraded", true, "CriteriaBroken", "some of its criteria match nothing: see `Ready`"),
        false => condition("Degraded", false, "Sound", "all of its criteria are read"),
    };
    Status {
        generation: rules.generation(&rule),
        conditions: vec![ready(&rule, is_in_force, &problems), degraded],
        counts: events(matched),
    }
}

/// The status of an EventTrigger; `failing` are its failing lifecycles, some of them.
pub(super) fn of_trigger<'f>(
    rules: &RuleSet,
    name: &str,
    health: &TriggerHealth,
    failing: impl Iterator<Item = &'f Failing>,
    matched: Matched,
) -> Status {
    let rule = format!("EventTrigger/{name}");
    let is_in_force = matches!(rules.standing(name), Standing::InForce(_));
    let is_dry_run = rules.trigger(name).is_some_and(|trigger| trigger.sync_mode() == SyncMode::DryRun);
    let mut counts = events(matched);
    let TriggerHealth { live, failing: fails, pending, held_objects, .. } = health;
    counts.insert("lifecycles".into(), json!({"live": live, "failing": fails, "pending": pending}));
    counts.insert("heldObjects".into(), (*held_objects).into());
    Status {
        generation: rules.generation(&rule),
        conditions: vec![
            ready(&rule, is_in_force, &rules.problems_around(name)),
            degraded(health, is_dry_run, failing),
        ],
        counts,
    }
}

fn events(matched: Matched) -> Map<String, Value> {
    let mut counts = Map::new();
    // Counted since the start: without an event the status keeps what it says.
    if matched.events > 0 {
        let time = lifeline_projections::reads::time(matched.last_unix_nanos);
        counts.insert("events".into(), json!({"matched": matched.events, "lastTime": time}));
    }
    counts
}

fn has_errors(problems: &[&Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// The condition `Ready` of a rule with these problems.
fn ready(rule: &str, is_in_force: bool, problems: &[&Problem]) -> Value {
    let (is_ready, reason) = match (is_in_force, has_errors(problems)) {
        (true, false) => (true, "InForce"),
        (true, true) => (false, "Incomplete"),
        (false, _) => (false, "OutOfForce"),
    };
    let line = |problem: &&Problem| {
        let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        // What is wrong with content is said of the trigger that references it.
        let place = if problem.rule == rule { String::new() } else { format!("{}: ", problem.rule) };
        format!("{}: {place}{}{hint}", problem.severity, problem.message)
    };
    let message: Vec<String> = problems.iter().map(line).collect();
    condition("Ready", is_ready, reason, &message.join("\n"))
}

/// The condition `Degraded` of a trigger: the most urgent reason, and all that is to be said.
fn degraded<'f>(health: &TriggerHealth, is_dry_run: bool, some: impl Iterator<Item = &'f Failing>) -> Value {
    let TriggerHealth { live, failing, pending, held, left_because, .. } = health;
    let fails = (*failing > 0).then(|| {
        let first = some.min_by(|one, other| one.resource.cmp(&other.resource)).map(|one| format!("; {}", about(one)));
        let verb = if *failing == 1 { "fails" } else { "fail" };
        format!("{failing} of {} {verb}{}", count(*live, "lifecycle"), first.unwrap_or_default())
    });
    let left = left_because.as_ref().map(|why| format!("history is not decided again in full: {why}"));
    let said = [("WithdrawalHeld", held.clone()), ("LifecyclesFailing", fails), ("ReplayIncomplete", left)];
    let said: Vec<(&str, String)> = said.into_iter().filter_map(|(reason, text)| Some((reason, text?))).collect();
    match said.first() {
        None if is_dry_run => {
            let verb = if *pending == 1 { "waits" } else { "wait" };
            let waits = format!("{} {verb} by intent", count(*pending, "lifecycle"));
            let message = format!("a dry run: nothing is applied or deleted; {waits}");
            condition("Degraded", false, "DryRun", &message)
        }
        None => condition("Degraded", false, "AsDesired", "what it made is as it should be"),
        Some((reason, _)) => {
            let texts: Vec<&str> = said.iter().map(|(_, text)| text.as_str()).collect();
            condition("Degraded", true, reason, &texts.join("\n"))
        }
    }
}

/// A failing lifecycle of a trigger that is named elsewhere.
pub(super) fn about(failing: &Failing) -> String {
    format!("{}: {}", named(&failing.resource), failing.message)
}

/// A resource of a trigger that is named elsewhere; its list where it is that.
pub(super) fn named(resource: &ResourceKey) -> String {
    match resource.is_list() {
        true => "its list".to_owned(),
        false => format!("source `{}`, subject `{}`", resource.source, resource.subject),
    }
}

fn condition(kind: &str, is_true: bool, reason: &str, message: &str) -> Value {
    let status = if is_true { "True" } else { "False" };
    json!({"type": kind, "status": status, "reason": reason, "message": shortened(message, MESSAGE_BYTES_MAX)})
}

/// A text of at most so many bytes.
pub(super) fn shortened(text: &str, bytes_max: usize) -> String {
    const MORE: &str = " ...";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let longest = bytes_max - MORE.len();
    let end = (0..=longest).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{MORE}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Clusters, Manifest, Manifests};

    fn rules() -> RuleSet {
        let manifest_of = |value: Value| Manifest { generation: Some(7), ..Manifest::new("kubernetes", value) };
        let source = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventSource", "metadata": {"name": "s"}, "spec": {"messagingMatchCriteria": [{}, {"subject": "("}]}});
        let policy = json!([{"kind": "ConfigMap", "namespace": "default", "name": "missing"}, {"kind": "ConfigMap", "namespace": "default", "name": "broken"}]);
        let selector = json!({"matchLabels": {"env": "fv"}});
        let spec = json!({"eventSourceName": "s", "oneForEvent": true, "policyRefs": policy, "sourceClusterSelector": selector});
        let trigger = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventTrigger", "metadata": {"name": "t"}, "spec": spec});
        let annotations = json!({"projectsveltos.io/instantiate": "ok"});
        let broken = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": "broken", "annotations": annotations}, "data": {"a.yaml": "kind: X\nname: {{ nope }}\n"}});
        let manifests = [source, trigger, broken].map(manifest_of).to_vec();
        RuleSet::new(Manifests { manifests, unreadable: Vec::new() }, Clusters::default())
    }

    fn says(status: &Status, kind: &str) -> (String, String, String) {
        let condition = status.conditions.iter().find(|one| one["type"] == kind).expect(kind);
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    #[test]
    fn ready_says_what_is_wrong_with_a_rule_and_what_it_references_with_the_place() {
        let rules = rules();
        let of = |name: &str| of_trigger(&rules, name, &TriggerHealth::default(), [].iter(), Matched::default());
        let (status, reason, message) = says(&of("t"), "Ready");
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Incomplete"));
        for part in [
            "names ConfigMap default/missing, which does not exist",
            "is assumed to match",
            "error: ConfigMap/default/broken: key `a.yaml`, line 2, column 10: unknown function `nope`",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!((of("t").generation, of("gone").generation), (Some(7), None));
        assert_eq!(says(&of("gone"), "Ready").1, "OutOfForce");
        let source = of_source(&rules, "s", Matched { events: 3, last_unix_nanos: 1_800_000_000_000_000_000 });
        assert_eq!(says(&source, "Ready").1, "Incomplete");
        assert_eq!(says(&source, "Degraded").1, "CriteriaBroken");
        assert_eq!(
            Value::from(source.counts),
            json!({"events": {"matched": 3, "lastTime": "2027-01-15T08:00:00.000Z"}})
        );
    }

    #[test]
    fn degraded_says_the_most_urgent_reason_and_everything_else_too() {
        let failing = |subject: &str| Failing {
            trigger: "t".into(),
            resource: ResourceKey { source: "app".into(), subject: subject.into() },
            message: format!("Namespace/{subject}: no"),
        };
        let failing = [failing("zoe"), failing("ada")];
        let check = |health: TriggerHealth, status: &str, reason: &str, parts: &[&str]| {
            let condition = degraded(&health, health.pending > 0, failing.iter());
            assert_eq!((condition["status"].as_str(), condition["reason"].as_str()), (Some(status), Some(reason)));
            let message = condition["message"].as_str().unwrap_or_default();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        };
        let health = TriggerHealth { live: 812, ..TriggerHealth::default() };
        check(health.clone(), "False", "AsDesired", &[]);
        let dry_run = TriggerHealth { pending: 3, ..health.clone() };
        check(dry_run.clone(), "False", "DryRun", &["3 lifecycles wait by intent"]);
        check(TriggerHealth { pending: 1, ..dry_run.clone() }, "False", "DryRun", &["1 lifecycle waits by intent"]);
        let one = TriggerHealth { live: 1, failing: 1, ..TriggerHealth::default() };
        check(one, "True", "LifecyclesFailing", &["1 of 1 lifecycle fails; source `app`"]);
        check(TriggerHealth { failing: 2, ..dry_run }, "True", "LifecyclesFailing", &["2 of 812 lifecycles fail"]);
        let failing = TriggerHealth { failing: 2, ..health };
        let first = "2 of 812 lifecycles fail; source `app`, subject `ada`: Namespace/ada: no";
        check(failing.clone(), "True", "LifecyclesFailing", &[first]);
        let left = TriggerHealth { left_because: Some("damage".into()), ..failing };
        check(left.clone(), "True", "LifecyclesFailing", &[first, "in full: damage"]);
        let held = TriggerHealth { held: Some("10 of 20".into()), ..left };
        check(held, "True", "WithdrawalHeld", &["10 of 20", first, "damage"]);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("ääääääääää", 11), "äää ...");
    }
}
