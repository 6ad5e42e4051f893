//! What the metadata of a rule, or of content, asks for beside its spec: a pause, the rights of a tenant, another stage
//! of rendering.
//!
//! Start at [`event_trigger`]. As in `refuse`: what would make other objects, or make them with other rights, is
//! refused; the rest is a warning. Never here: annotations that Lifeline acts on elsewhere
//! (`projectsveltos.io/instantiate`, `lifeline.dev/...`).

use serde_json::Value;

use crate::account::Account;
use crate::rules::problem::Problem;

/// Its presence, not its value, pauses a trigger.
const PAUSED: &str = "cluster.x-k8s.io/paused";
/// Objects are applied and deleted with the rights of this ServiceAccount, as in Sveltos.
const TENANT: [&str; 2] = ["projectsveltos.io/serviceaccount-name", "projectsveltos.io/serviceaccount-namespace"];
/// On content: its presence, not its value, makes the texts templates.
pub const INSTANTIATE: &str = "projectsveltos.io/instantiate";
/// The same: in Sveltos the texts are rendered when they are deployed, with objects of the management cluster.
pub const TEMPLATE: &str = "projectsveltos.io/template";
/// On content: a script that gives the objects.
const LUA: &str = "projectsveltos.io/lua";
/// On content: the subresources that are applied beside the object.
const SUBRESOURCES: &str = "projectsveltos.io/subresources";

/// Checks the metadata of an EventTrigger; the account with whose rights its objects are made, if it names one.
///
/// # Errors
/// When it cannot be in force: it is paused, or names no whole account.
pub(in crate::rules) fn event_trigger(rule: &str, origin: &str, manifest: &Value) -> Result<Option<Account>, Problem> {
    if has(manifest, "annotations", PAUSED) {
        let message = format!("annotation `{PAUSED}` is set: the trigger is paused");
        // Nothing is wrong with it, so it is no error.
        return Err(Problem::warning(rule, origin, message)
            .hint("what it made stays as it is; without the annotation it goes on, with the events that came meanwhile")
            .at(format!("metadata.annotations.{PAUSED}")));
    }
    account(manifest).map_err(|(label, what)| {
        Problem::error(rule, origin, format!("label `{label}` {what}"))
            .hint(format!("`{}` and `{}` name a ServiceAccount and its namespace together", TENANT[0], TENANT[1]))
            .at(format!("metadata.labels.{label}"))
    })
}

/// The account that a trigger names by its labels.
///
/// # Errors
/// The label that is wrong, and what is wrong with it. A trigger that names half an account must not have the rights of the
/// engine.
pub(in crate::rules) fn account(manifest: &Value) -> Result<Option<Account>, (&'static str, String)> {
    let labels = &manifest["metadata"]["labels"];
    let value = |label: &'static str| match labels.get(label) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(value)) => Ok(value.as_str()),
        Some(other) => Err((label, format!("is `{other}`, expected a text"))),
    };
    match (value(TENANT[0])?, value(TENANT[1])?) {
        ("", "") => Ok(None),
        ("", _) => Err((TENANT[0], format!("is missing beside `{}`", TENANT[1]))),
        (_, "") => Err((TENANT[1], format!("is missing beside `{}`", TENANT[0]))),
        (name, namespace) => {
            let wrong = || (TENANT[0], format!("and `{}` name no ServiceAccount: `{namespace}/{name}`", TENANT[1]));
            Account::new(namespace, name).map(Some).ok_or_else(wrong)
        }
    }
}

/// What all annotations begin with that Lifeline acts on.
const OWN_PREFIX: &str = "lifeline.dev/";

/// Warns of annotations of an EventTrigger that look like these, which are ours, and have no effect.
pub(in crate::rules) fn unknown(
    rule: &str,
    origin: &str,
    manifest: &Value,
    ours: [&str; 3],
    problems: &mut Vec<Problem>,
) {
    let annotations = manifest["metadata"]["annotations"].as_object();
    let names = annotations.into_iter().flatten().map(|(name, _)| name.as_str());
    for name in names.filter(|name| name.starts_with(OWN_PREFIX) && !ours.contains(name)) {
        let known = ours.map(|known| format!("`{known}`")).join(", ");
        let hint = match &name[OWN_PREFIX.len()..] {
            "on-marker" => {
                "the marker of NATS names a subject of NATS, and no resource: publish an event that says what is over".to_owned()
            }
            "expiry" | "expirytime" | "on-expiry" => {
                "an event ends nothing later by itself: publish another one then; that it came too late, `cloudEventAction` can say by \
                 `now`"
                    .to_owned()
            }
            _ => format!("a trigger may have {known}"),
        };
        problems.push(
            Problem::warning(rule, origin, format!("annotation `{name}` has no effect"))
                .hint(hint)
                .at(format!("metadata.annotations.{name}")),
        );
    }
}

/// Checks the metadata of an EventSource.
pub(in crate::rules) fn event_source(rule: &str, origin: &str, manifest: &Value, problems: &mut Vec<Problem>) {
    if let Some((label, value)) = tenant(manifest) {
        let message = format!(
            "label `{label}` is `{value}` and has no effect: messages of NATS are read with the rights of Lifeline"
        );
        problems.push(Problem::warning(rule, origin, message).at(format!("metadata.labels.{label}")));
    }
}

/// What makes content something else than manifests or a template of the event.
pub(in crate::rules) struct OtherStage {
    pub annotation: &'static str,
    pub message: String,
    /// What to do instead.
    pub hint: &'static str,
}

/// The annotation that asks for another stage than the one there is, if content has one.
pub(in crate::rules) fn other_stage(manifest: &Value) -> Option<OtherStage> {
    let (annotation, reason, hint) = [
        (
            TEMPLATE,
            "asks to render once more what `projectsveltos.io/instantiate` renders, which is not done: an event could then add \
             to the template",
            "take one of them away: `getResource \"ID\"` and `.MgmtResources` are there beside `.CloudEvent`",
        ),
        (
            LUA,
            "says that the texts are Lua, which is not run",
            "write the manifests, or a template of them with `projectsveltos.io/instantiate`",
        ),
    ]
    .into_iter()
    .find(|(annotation, ..)| {
        let is_alone = *annotation != TEMPLATE || has(manifest, "annotations", INSTANTIATE);
        is_alone && has(manifest, "annotations", annotation)
    })?;
    Some(OtherStage { annotation, message: format!("annotation `{annotation}` {reason}"), hint })
}

/// Warns of annotations that content has and that have no effect.
pub(in crate::rules) fn content(rule: &str, origin: &str, manifest: &Value, problems: &mut Vec<Problem>) {
    if has(manifest, "annotations", SUBRESOURCES) {
        let message = format!("annotation `{SUBRESOURCES}` has no effect: an object is applied without its `status`");
        problems.push(
            Problem::warning(rule, origin, message)
                .hint(
                    "the controller of its kind writes the `status`: put what the template says of it into `spec`, an annotation, or an \
                     object of its own",
                )
                .at(format!("metadata.annotations.{SUBRESOURCES}")),
        );
    }
}

/// The label that names a tenant's ServiceAccount, and its value.
fn tenant(manifest: &Value) -> Option<(&'static str, &str)> {
    let value = |label: &&str| manifest["metadata"]["labels"].get(*label)?.as_str().filter(|value| !value.is_empty());
    TENANT.into_iter().find_map(|label| Some((label, value(&label)?)))
}

fn has(manifest: &Value, field: &str, name: &str) -> bool {
    manifest["metadata"][field].get(name).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rules::problem::Severity;

    #[test]
    fn an_annotation_that_looks_like_ours_is_not_passed_over_in_silence() {
        let check = |annotations: Value, expected: &[(&str, &str)]| {
            let mut problems = Vec::new();
            let manifest = json!({"metadata": {"annotations": annotations}});
            let ours = ["lifeline.dev/adopt", "lifeline.dev/order", "lifeline.dev/dialect"];
            unknown("EventTrigger/x", "r.yaml:1", &manifest, ours, &mut problems);
            assert_eq!(problems.len(), expected.len(), "{problems:?}");
            for (problem, (name, hint)) in problems.iter().zip(expected) {
                assert_eq!(problem.message, format!("annotation `{name}` has no effect"));
                assert!(problem.hint.as_ref().is_some_and(|given| given.contains(hint)), "{problem:?}");
            }
        };
        check(
            json!({"lifeline.dev/adopt": "true", "lifeline.dev/order": "time", "lifeline.dev/dialect": "tera", "x/y": "1"}),
            &[],
        );
        check(json!({"lifeline.dev/adpot": "true"}), &[("lifeline.dev/adpot", "`lifeline.dev/adopt`")]);
        check(json!({"lifeline.dev/on-marker": "Delete"}), &[("lifeline.dev/on-marker", "publish an event")]);
        check(json!({"lifeline.dev/expiry": "true"}), &[("lifeline.dev/expiry", "`now`")]);
        check(Value::Null, &[]);
    }

    #[test]
    fn a_paused_trigger_and_one_of_half_an_account_are_out_of_force() {
        use Severity::{Error, Warning};
        let check = |metadata: Value, expected: Option<(Severity, &str)>| {
            let refused = event_trigger("EventTrigger/x", "r.yaml:1", &json!({"metadata": metadata})).err();
            let told = refused.as_ref().map(|problem| (problem.severity, problem.message.as_str()));
            assert_eq!(told, expected, "{metadata}");
        };
        let paused = "annotation `cluster.x-k8s.io/paused` is set: the trigger is paused";
        check(json!({"annotations": {PAUSED: "true"}}), Some((Warning, paused)));
        check(json!({"annotations": {PAUSED: ""}}), Some((Warning, paused)));
        let [name, namespace] = TENANT;
        let half = "label `projectsveltos.io/serviceaccount-namespace` is missing beside `projectsveltos.io/serviceaccount-name`";
        check(json!({"labels": {name: "eng"}}), Some((Error, half)));
        let half = "label `projectsveltos.io/serviceaccount-name` is missing beside `projectsveltos.io/serviceaccount-namespace`";
        check(json!({"labels": {namespace: "eng"}}), Some((Error, half)));
        let number = "label `projectsveltos.io/serviceaccount-name` is `7`, expected a text";
        check(json!({"labels": {name: 7, namespace: "eng"}}), Some((Error, number)));
        let none = "label `projectsveltos.io/serviceaccount-name` and `projectsveltos.io/serviceaccount-namespace` name no \
                    ServiceAccount: `eng/a_b`";
        check(json!({"labels": {name: "a_b", namespace: "eng"}}), Some((Error, none)));
        check(json!({"labels": {name: "deployer", namespace: "eng"}}), None);
        check(json!({"labels": {TENANT[0]: "", "team": "eng"}, "annotations": {"x": PAUSED}}), None);
        check(json!({"labels": null, "annotations": null}), None);
        check(Value::Null, None);
    }

    #[test]
    fn a_tenant_s_event_source_reads_messages_all_the_same() {
        let mut problems = Vec::new();
        let source = json!({"metadata": {"labels": {TENANT[0]: "eng"}}});
        event_source("EventSource/x", "r.yaml:1", &source, &mut problems);
        let message = "label `projectsveltos.io/serviceaccount-name` is `eng` and has no effect: messages of NATS are \
                       read with the rights of Lifeline";
        let place = "metadata.labels.projectsveltos.io/serviceaccount-name";
        assert_eq!(problems, [Problem::warning("EventSource/x", "r.yaml:1", message).at(place)]);
    }

    #[test]
    fn content_of_another_stage_is_refused_and_other_annotations_are_named() {
        let check = |annotation: &str, refused: &str, warned: &str| {
            let annotations: serde_json::Map<String, Value> =
                annotation.split(' ').map(|name| (name.to_owned(), "ok".into())).collect();
            let manifest = json!({"metadata": {"annotations": annotations}});
            assert_eq!(other_stage(&manifest).map_or(String::new(), |stage| stage.message), refused);
            let mut problems = Vec::new();
            content("ConfigMap/default/x", "r.yaml:1", &manifest, &mut problems);
            let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
            assert_eq!(messages.join(", "), warned);
        };
        check(
            &format!("{TEMPLATE} {INSTANTIATE}"),
            "annotation `projectsveltos.io/template` asks to render once more what `projectsveltos.io/instantiate` renders, which is not done: an event could then add to the template",
            "",
        );
        check(LUA, "annotation `projectsveltos.io/lua` says that the texts are Lua, which is not run", "");
        check(
            SUBRESOURCES,
            "",
            "annotation `projectsveltos.io/subresources` has no effect: an object is applied without its `status`",
        );
        check(TEMPLATE, "", "");
        // Nothing is watched, so nothing is put right that should be left alone.
        check("projectsveltos.io/driftDetectionIgnore", "", "");
        check("projectsveltos.io/instantiate", "", "");
    }
}
