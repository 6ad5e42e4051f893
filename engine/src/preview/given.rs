//! Which rules are meant: those that are given, with the texts that they name and do not bring.
//!
//! Start at [`Planner::rules`]. An engine has read ConfigMaps and Secrets that nobody has in a file; what it has not
//! read is looked for in the cluster that its rules come from. What is nowhere is a problem of the rules, by name.

use std::collections::BTreeSet;

use lifeline_store::Disk;
use serde_json::Value;

use super::{Asked, Planner};
use crate::rules::{Clusters, Manifest, Manifests, Problem, RuleSet, Source, Topic, read_contents};

impl<D: Disk> Planner<D> {
    /// The rules, and why what they name could not be looked for.
    pub(super) async fn rules(
        &self,
        asked: &Asked,
        in_force: Option<&RuleSet>,
        clusters: Clusters,
    ) -> (RuleSet, Vec<Problem>) {
        let mut manifests = read(&asked.sources);
        if let Some(in_force) = in_force {
            add(&mut manifests, in_force.contents_given().iter().cloned());
            if asked.merges {
                add(&mut manifests, rules_of(in_force));
            }
        }
        let rules = RuleSet::new(manifests.clone(), clusters.clone());
        let lacks_content = rules.problems().iter().any(|problem| problem.place.topic == Topic::Reference);
        let Some(client) = self.client.clone().filter(|_| lacks_content) else { return (rules, Vec::new()) };
        match read_contents(client, &manifests).await {
            Ok(contents) => {
                add(&mut manifests, contents.into_iter());
                (RuleSet::new(manifests, clusters), Vec::new())
            }
            Err(problem) => (rules, vec![problem]),
        }
    }
}

fn read(sources: &[Source]) -> Manifests {
    let mut manifests = Manifests::default();
    sources.iter().for_each(|Source { name, text }| manifests.append(Manifests::read(name, text)));
    manifests
}

/// Adds manifests of names that are not there.
fn add(manifests: &mut Manifests, more: impl Iterator<Item = Manifest>) {
    let known: BTreeSet<[String; 3]> = manifests.manifests.iter().map(|manifest| name(&manifest.value)).collect();
    manifests.manifests.extend(more.filter(|manifest| !known.contains(&name(&manifest.value))));
}

/// Kind, namespace and name. Rules have no namespace.
fn name(manifest: &Value) -> [String; 3] {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let metadata = &manifest["metadata"];
    let namespace = match manifest["kind"].as_str() {
        Some("ConfigMap" | "Secret" | "SveltosCluster") => {
            text(&metadata["namespace"]).unwrap_or_else(|| "default".to_owned())
        }
        _ => String::new(),
    };
    [text(&manifest["kind"]).unwrap_or_default(), namespace, text(&metadata["name"]).unwrap_or_default()]
}

/// The EventSources and EventTriggers in force, as they were given.
fn rules_of(rules: &RuleSet) -> impl Iterator<Item = Manifest> {
    let rule = |name: &str| name.starts_with("EventSource/") || name.starts_with("EventTrigger/");
    let documents = rules.documents().iter().filter(move |(name, _)| rule(name));
    documents.filter_map(|(_, document)| {
        Some(Manifest::new(document.origin.clone(), serde_json::from_str(&document.manifest).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_counts_before_what_is_there() {
        let content = |namespace: &str, text: &str| {
            let namespace = if namespace.is_empty() { String::new() } else { format!(", namespace: {namespace}") };
            format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a{namespace}}}, data: {{of: {text}}}}}")
        };
        let check = |given: &str, there: &str, expected: &[&str]| {
            let mut manifests = read(&[Source { name: "given".into(), text: given.to_owned() }]);
            add(&mut manifests, read(&[Source { name: "there".into(), text: there.to_owned() }]).manifests.into_iter());
            let texts: Vec<&str> =
                manifests.manifests.iter().filter_map(|one| one.value["data"]["of"].as_str()).collect();
            assert_eq!(texts, expected, "{given} {there}");
        };
        check(&content("default", "mine"), &content("default", "theirs"), &["mine"]);
        check(&content("", "mine"), &content("default", "theirs"), &["mine"]);
        check(&content("other", "mine"), &content("default", "theirs"), &["mine", "theirs"]);
        check("", &content("default", "theirs"), &["theirs"]);
    }
}
