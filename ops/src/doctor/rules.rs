//! The rules, and the kinds of objects that they make.
//!
//! Start at [`examine`]. A kind is read from the text of a template where it is written out; a kind that is a template itself, or
//! that a Secret holds, is not known before an event comes.

use std::collections::BTreeSet;
use std::time::Duration;

use lifeline_engine::cluster::Account;
use lifeline_engine::rules::{self, Clusters, Places, RuleSet, Trigger};
use serde_json::Value;
use tokio::sync::watch;

use super::Finding;
use crate::settings::{ClusterKind, Config};
use crate::terminal::count;

/// How long rules may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// A kind that rules make: its API version and its name.
pub(super) type Kind = (String, String);

/// What the rules need of a cluster.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// The kinds that they make.
    pub kinds: BTreeSet<Kind>,
    /// The service accounts in whose name they make them.
    pub accounts: BTreeSet<Account>,
}

/// Reads the rules, once.
pub(super) async fn examine(config: &Config, client: Option<kube::Client>) -> (Vec<Finding>, Needs) {
    let from_cluster = config.rules.is_empty() && config.cluster == ClusterKind::Kube;
    if config.rules.is_empty() && client.is_none() {
        let found =
            Finding::skipped("rules", "none are named", "name files with EventSources and EventTriggers by `--rules`");
        return (vec![found], Needs::default());
    }
    let clusters = watch::Sender::new(Clusters::own(config.cluster_labels.clone())).subscribe();
    let places = Places { paths: config.rules.clone(), client: client.filter(|_| from_cluster) };
    let (mut current, watching) = rules::watch(places, clusters);
    let following = tokio::spawn(watching);
    let has_rules = |current: &rules::Current| current.rules.is_some();
    let _ = tokio::time::timeout(READ_WITHIN, current.wait_for(has_rules)).await.map(drop);
    let (set, troubles) = {
        let current = current.borrow();
        (current.rules.clone(), current.troubles.clone())
    };
    following.abort();
    let mut found: Vec<Finding> = troubles.iter().map(|trouble| of_text("rules", &trouble.to_string())).collect();
    let Some(set) = set else {
        if found.is_empty() {
            let paths: Vec<String> = config.rules.iter().map(|path| format!("`{}`", path.display())).collect();
            let where_from = if from_cluster { "those of the cluster".to_owned() } else { paths.join(", ") };
            found.push(Finding::failed(
                "rules",
                format!("{where_from} are not read within {} seconds", READ_WITHIN.as_secs()),
                "look for files among them that are no rules, or very large: `lifeline lint` reads them without a limit",
            ));
        }
        return (found, Needs::default());
    };
    found.extend(set.problems().iter().map(|problem| of_text("rules", &problem.to_string())));
    let (triggers, sources) = (set.triggers().count(), set.sources().count());
    let said =
        format!("{} and {} in force", count(sources as u64, "EventSource"), count(triggers as u64, "EventTrigger"));
    found.push(match triggers {
        0 => Finding::warning("rules", said, "an engine without a trigger records events and makes nothing"),
        _ => Finding::ok("rules", said),
    });
    let (kinds, unknown) = kinds_of(&set);
    found.extend(unknown.into_iter().map(|rule| {
        Finding::skipped(
            "kinds of the rules",
            format!("a kind in `{rule}` is not written out"),
            "check its rights by hand",
        )
    }));
    let accounts = set.triggers().filter_map(Trigger::account).cloned().collect();
    (found, Needs { kinds, accounts })
}

/// A problem as the engine words it: `error: ...` or `warning: ...`, with its hint on a line of its own.
fn of_text(check: &str, text: &str) -> Finding {
    let (said, hints): (Vec<&str>, Vec<&str>) =
        text.lines().map(str::trim).partition(|line| !line.starts_with("hint: "));
    let hints: Vec<&str> = hints.iter().map(|hint| hint.trim_start_matches("hint: ")).collect();
    let remedy = if hints.is_empty() { "mend the rule".to_owned() } else { hints.join("; ") };
    let said = said.join(" ");
    match said.strip_prefix("warning: ") {
        Some(said) => Finding::warning(check, said, remedy),
        None => Finding::failed(check, said.trim_start_matches("error: "), remedy),
    }
}

/// The kinds that are written out, and the documents with one that is not.
fn kinds_of(set: &RuleSet) -> (BTreeSet<Kind>, Vec<String>) {
    let (mut kinds, mut unknown) = (BTreeSet::new(), Vec::new());
    for (name, document) in set.documents() {
        if name.starts_with("Secret/") {
            unknown.push(name.clone());
        }
        if !name.starts_with("ConfigMap/") {
            continue;
        }
        let manifest: Value = serde_json::from_str(&document.manifest).unwrap_or_default();
        for text in manifest["data"].as_object().into_iter().flat_map(|data| data.values()).filter_map(Value::as_str) {
            let (found, is_complete) = kinds_in(text);
            kinds.extend(found);
            if !is_complete {
                unknown.push(name.clone());
            }
        }
    }
    unknown.dedup();
    (kinds, unknown)
}

/// The kinds of a text of manifests, and whether all of them are written out.
fn kinds_in(text: &str) -> (Vec<Kind>, bool) {
    let mut is_complete = true;
    let kinds = text.split("\n---").filter_map(|document| {
        let field = |name: &str| {
            let line = document.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(line.trim().trim_matches(['"', '\'']).to_owned())
        };
        let (kind, version) = (field("kind")?, field("apiVersion")?);
        let is_written_out = !kind.contains("{{") && !version.contains("{{");
        is_complete &= is_written_out;
        is_written_out.then_some((version, kind))
    });
    let kinds: Vec<Kind> = kinds.collect();
    (kinds, is_complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_where_they_are_written_out() {
        let check = |text: &str, expected: &[(&str, &str)], complete: bool| {
            let expected: Vec<Kind> =
                expected.iter().map(|(version, kind)| ((*version).into(), (*kind).into())).collect();
            assert_eq!(kinds_in(text), (expected, complete), "{text}");
        };
        check("kind: Namespace\napiVersion: v1\nmetadata:\n  kind: x\n", &[("v1", "Namespace")], true);
        check(
            "apiVersion: apps/v1\nkind: \"Deployment\"\n---\napiVersion: v1\nkind: {{ .x }}\n",
            &[("apps/v1", "Deployment")],
            false,
        );
        check("nothing", &[], true);
    }
}
