//! Further mistakes of rules: those after the first one of each rule.
//!
//! Start at [`further`]. Reading ends at the first mistake of a rule or a template. To find the next one, the wrong words are
//! removed from a copy, and the copy is read again. A problem counts only if it is about other words: what is missing
//! because it was removed is no mistake. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::problem::{Problem, Severity, Topic};
use super::read::manifest::{Manifest, Manifests};

/// How often rules are read again: nobody mends more mistakes of one rule at once.
const ROUNDS_MAX: usize = 16;

/// Adds to `told`, the problems of `manifests`, those that are found once the words of the errors among them are taken out.
/// `problems_of` reads manifests.
pub(super) fn further(manifests: &Manifests, told: &mut Vec<Problem>, problems_of: impl Fn(Manifests) -> Vec<Problem>) {
    let (mut left, mut taken) = (manifests.clone(), BTreeSet::new());
    let mut fresh = told.clone();
    for _ in 0..ROUNDS_MAX {
        let mut is_other = false;
        for problem in fresh.iter().filter(|problem| problem.severity == Severity::Error) {
            is_other |= take_out(&mut left.manifests, problem, &mut taken);
        }
        if !is_other {
            return;
        }
        fresh = problems_of(left.clone());
        fresh.retain(|problem| is_news(problem, told, &taken));
        told.extend(fresh.iter().cloned());
    }
}

/// Whether no problem before was about the words of this one.
fn is_news(problem: &Problem, told: &[Problem], taken: &BTreeSet<(String, String)>) -> bool {
    let Problem { rule, message, place, .. } = problem;
    let is_of_copy = taken.iter().any(|(of, _)| of == rule);
    let is_of_taken = |(of, field): &(String, String)| {
        let overlap = place.field.starts_with(field.as_str()) || field.starts_with(place.field.as_str());
        of == rule && overlap && place.topic != Topic::Template
    };
    let is_same = |other: &Problem| other.rule == *rule && (other.message == *message || other.place == *place);
    // A reference to something that is not there may be right once the rest is: it is reported then.
    let is_here = place.topic != Topic::Reference && !place.field.is_empty();
    is_of_copy && is_here && !taken.iter().any(is_of_taken) && !told.iter().any(is_same)
}

/// Takes the words of a problem out of the rule that has them; says whether that was possible.
fn take_out(manifests: &mut [Manifest], problem: &Problem, taken: &mut BTreeSet<(String, String)>) -> bool {
    let Problem { rule, place, .. } = problem;
    let mut is_other = false;
    for manifest in manifests.iter_mut().filter(|manifest| name(&manifest.value) == *rule) {
        let Some((map, key)) = holder(&mut manifest.value, &place.field) else { continue };
        is_other |= match place.topic {
            Topic::Field | Topic::UnknownField => map.remove(&key).is_some(),
            Topic::Template => match map.get_mut(&key) {
                Some(Value::String(text)) => {
                    let is_blank = blank(text, place.line, place.column);
                    // Nothing is left: an optional field is removed, and a required one gets some name.
                    match (text.trim(), key.as_str()) {
                        ("", "eventSourceName") => text.push('x'),
                        ("", _) if place.field.starts_with("spec.") => _ = map.remove(&key),
                        _ => {}
                    }
                    is_blank
                }
                _ => false,
            },
            Topic::Manifest | Topic::Reference => false,
        };
    }
    if is_other {
        taken.insert((rule.clone(), place.field.clone()));
    }
    is_other
}

/// What problems call a manifest.
fn name(manifest: &Value) -> String {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (kind, name) = (text("/kind").unwrap_or_default(), text("/metadata/name").unwrap_or_default());
    match kind {
        "EventSource" | "EventTrigger" => format!("{kind}/{name}"),
        _ => format!("{kind}/{}/{name}", text("/metadata/namespace").unwrap_or("default")),
    }
}

/// The map that holds a field, and its key there. The path is as problems write it, such as `spec.policyRefs[0].name`; a key may
/// have dots itself.
fn holder<'v>(value: &'v mut Value, path: &str) -> Option<(&'v mut Map<String, Value>, String)> {
    match value {
        Value::Object(map) => {
            if map.contains_key(path) {
                return Some((map, path.to_owned()));
            }
            let is_on_way =
                |key: &&String| path.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with(['.', '[']));
            let key = map.keys().filter(is_on_way).max_by_key(|key| key.len())?.clone();
            let rest = path[key.len()..].trim_start_matches('.').to_owned();
            holder(map.get_mut(&key)?, &rest)
        }
        Value::Array(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            holder(items.get_mut(index.parse::<usize>().ok()?)?, rest.trim_start_matches('.'))
        }
        _ => None,
    }
}

/// Puts blanks in the place of the action at a line and column, both from 1. One that holds others together stays, and one that
/// names a variable: without it the rest would be wrong.
fn blank(text: &mut String, line: usize, column: usize) -> bool {
    const HOLDS: [&str; 9] = ["if", "else", "end", "range", "with", "define", "block", "template", "break"];
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let at = before + rest.char_indices().nth(column.saturating_sub(1)).map_or(0, |(byte, _)| byte);
    let Some(start) = text[..(at + 2).min(text.len())].rfind("{{") else { return false };
    let Some(length) = text[start..].find("}}") else { return false };
    let end = start + length + 2;
    let action = text[start + 2..end - 2].trim_start_matches('-').trim();
    let first = action.split_whitespace().next().unwrap_or_default();
    if line == 0 || end <= at || action.contains(":=") || HOLDS.contains(&first) {
        return false;
    }
    let blanks: String = text[start..end].chars().map(|one| if one == '\n' { '\n' } else { ' ' }).collect();
    text.replace_range(start..end, &blanks);
    true
}

#[cfg(test)]
mod tests {
    use super::super::lint::{Level, Source, lint};
    use super::super::{Clusters, Manifests};

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str)]) {
        let sources = [Source { name: "r.yaml".into(), text: text.to_owned() }];
        let found = lint(Manifests::read("r.yaml", text), Clusters::default(), &sources);
        let errors = found.iter().filter(|finding| finding.level == Level::Error);
        let told: Vec<(usize, String)> = errors
            .map(|finding| (finding.spot.as_ref().map_or(0, |spot| spot.line), finding.problem.message.clone()))
            .collect();
        let is_so = |((line, message), (expected_line, words)): (&(usize, String), &(usize, &str))| {
            line == expected_line && message.contains(words)
        };
        assert!(told.len() == expected.len() && told.iter().zip(expected).all(is_so), "{told:#?}");
    }

    #[test]
    fn every_mistake_of_a_trigger_is_told_at_once() {
        let text = "apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventTrigger\nmetadata: {name: a}\nspec:\n  \
                    eventSourceName: users\n  tier: high\n  oneForEvnt: true\n  syncMode: Sometimes\n  \
                    cloudEventAction: '{{ .CloudEvent.type | uper }}'\n  policyRefs:\n  - {kind: ConfigMap, name: x, \
                    namspace: y}\n";
        check(text, &[(6, "tier"), (7, "oneForEvnt"), (8, "syncMode"), (9, "uper"), (11, "namspace")]);
    }

    #[test]
    fn every_mistake_of_a_template_is_told_at_once() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {projectsveltos.io/instantiate: ok}}\n\
                    data:\n  a.yaml: |\n    kind: {{ .CloudEvent.type | uper }}\n    name: {{ .CloudEvent.subject | lowr }}\n    \
                    of: {{ env \"HOME\" }}\n  b.yaml: |\n    {{ $x }}\n";
        check(text, &[(6, "uper"), (7, "lowr"), (8, "env"), (10, "unknown variable `$x`")]);
    }

    #[test]
    fn what_was_taken_out_is_not_missed() {
        let source = "apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventTrigger\nmetadata: {name: a}\nspec:\n  \
                      eventSourceName: '{{ .Cluster.metadata.name | uper }}'\n  policyRefs: [{kind: Secrt, name: x}]\n";
        check(source, &[(5, "uper"), (6, "Secrt")]);
    }
}
