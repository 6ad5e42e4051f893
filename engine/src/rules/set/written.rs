//! The manifests of a set by what they are to rules, their kind and their name.
//!
//! Start at [`Written::sort`]. Nothing here reads a spec.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::digest::{canonical, digest};
use crate::rules::cluster::{self, OWN};
use crate::rules::policy::{CONTENT_KINDS, ContentKind};
use crate::rules::problem::Problem;
use crate::rules::read::cluster_fields;
use crate::rules::read::content::Reference;
use crate::rules::read::manifest::Manifest;

/// One document of the set, for the log: facts about changed rules are the differences of two maps of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDocument {
    /// Checksum of its content, without what Kubernetes adds to it.
    pub digest: u64,
    /// The same content as JSON; empty for a Secret, which has no place in a log.
    pub manifest: String,
    /// Where it came from.
    pub origin: String,
}

/// Manifests by kind and name.
#[derive(Default)]
pub(in crate::rules) struct Written {
    pub sources: BTreeMap<String, Manifest>,
    pub triggers: BTreeMap<String, Manifest>,
    pub contents: BTreeMap<Reference, Manifest>,
    /// What represents the clusters that events come from, by full name. Today that is the own one alone.
    pub clusters: BTreeMap<String, Manifest>,
    /// Written for an API version that is not read.
    pub refused_sources: BTreeSet<String>,
    pub refused_triggers: BTreeSet<String>,
    /// A kind of the rules' own API group that does not exist: a misspelt rule, most likely.
    pub hides_rules: bool,
}

/// The API group of the rules.
const GROUP: &str = "lib.projectsveltos.io";

/// The other kinds of that group, which Sveltos reads and Lifeline does not.
const NOT_READ: [&str; 18] = [
    "AccessRequest",
    "Classifier",
    "ClassifierReport",
    "ClusterHealthCheck",
    "ClusterSet",
    "ConfigurationBundle",
    "ConfigurationGroup",
    "DebuggingConfiguration",
    "EventReport",
    "HealthCheck",
    "HealthCheckReport",
    "Reloader",
    "ReloaderReport",
    "ResourceSummary",
    "RoleRequest",
    "Set",
    "SveltosCluster",
    "SveltosLicense",
];

/// What a manifest is to rules, by its group and kind.
#[derive(Clone, Copy)]
enum RuleKind {
    EventSource,
    EventTrigger,
    Cluster,
    Content(&'static ContentKind),
}

impl RuleKind {
    fn of(group: &str, kind: &str, full_name: &str) -> Option<RuleKind> {
        match (group, kind) {
            (GROUP, "SveltosCluster") if full_name == OWN => Some(RuleKind::Cluster),
            (GROUP, "EventSource") => Some(RuleKind::EventSource),
            (GROUP, "EventTrigger") => Some(RuleKind::EventTrigger),
            ("", kind) => ContentKind::named(kind).map(RuleKind::Content),
            _ => None,
        }
    }
}

impl Written {
    /// Files each manifest under its kind and name; what is no rule, or is there twice, is a problem.
    pub fn sort(manifests: Vec<Manifest>, problems: &mut Vec<Problem>) -> Written {
        let mut written = Written::default();
        for manifest in manifests {
            let text =
                |pointer: &str| manifest.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
            let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
            let origin = &manifest.origin;
            let full_name = format!("{}/{name}", text("/metadata/namespace"));
            let Some(rule_kind) = RuleKind::of(group, &kind, &full_name) else {
                let (mut problem, mut hides_a_rule) = no_rule(&api_version, &kind, &name, origin);
                // `kind: Lst`, or a List with `item` for `items`: what is in it may be rules.
                if ["items", "item", "itmes"].iter().any(|field| manifest.value[field].is_array()) {
                    let message = format!("`{kind}` of `{api_version}` is no list, and what it holds is not read");
                    let hint = "write `apiVersion: v1`, `kind: List` and `items:`; nothing is withdrawn meanwhile";
                    problem = Problem::error(format!("{kind}/{name}"), origin, message).hint(hint).at("kind");
                    hides_a_rule = true;
                }
                written.hides_rules |= hides_a_rule;
                problems.push(problem);
                continue;
            };
            if name.is_empty() {
                problems.push(
                    Problem::error(&kind, origin, format!("{kind} without a name"))
                        .hint("set `metadata.name`")
                        .at("metadata"),
                );
                continue;
            }
            let namespace = Some(text("/metadata/namespace")).filter(|text| !text.is_empty());
            let namespace = namespace.unwrap_or_else(|| "default".into());
            let (rule, expected) = match rule_kind {
                RuleKind::EventSource | RuleKind::EventTrigger => (format!("{kind}/{name}"), "v1beta1"),
                RuleKind::Cluster => (format!("{kind}/{namespace}/{name}"), "v1beta1"),
                RuleKind::Content(_) => (format!("{kind}/{namespace}/{name}"), "v1"),
            };
            if let Some(finalizers) = &manifest.waits_for {
                problems.push(being_deleted(&rule, origin, finalizers));
                continue;
            }
            if version != expected {
                let needed = if group.is_empty() { expected.to_owned() } else { format!("{group}/{expected}") };
                problems.push(
                    Problem::error(&rule, origin, format!("`apiVersion` is `{api_version}`, expected `{needed}`"))
                        .hint("convert it: the fields differ between versions")
                        .at("apiVersion"),
                );
                match rule_kind {
                    RuleKind::EventSource => _ = written.refused_sources.insert(name),
                    RuleKind::EventTrigger => _ = written.refused_triggers.insert(name),
                    RuleKind::Cluster | RuleKind::Content(_) => {}
                }
                continue;
            }
            let refused = match rule_kind {
                RuleKind::EventSource => keep_first(&mut written.sources, name, manifest),
                RuleKind::EventTrigger => keep_first(&mut written.triggers, name, manifest),
                RuleKind::Cluster => keep_first(&mut written.clusters, full_name, manifest),
                RuleKind::Content(kind) => {
                    keep_first(&mut written.contents, Reference { kind: kind.name, namespace, name }, manifest)
                }
            };
            if let Some((first, later)) = refused {
                let same = first.meaning() == later.meaning();
                let message = format!("defined twice: at `{}`, which counts, and here", first.origin);
                let problem = if same { Problem::warning } else { Problem::error }(rule, later.origin, message);
                problems.push(problem.hint("keep one of them"));
            }
        }
        written
    }

    /// The versions of EventSources and EventTriggers, by their names as rules.
    pub fn generations(&self) -> BTreeMap<String, i64> {
        let sources = self.sources.iter().map(|(name, manifest)| (format!("EventSource/{name}"), manifest.generation));
        let triggers =
            self.triggers.iter().map(|(name, manifest)| (format!("EventTrigger/{name}"), manifest.generation));
        sources.chain(triggers).filter_map(|(rule, generation)| Some((rule, generation?))).collect()
    }

    /// Whether a rule, or what it may reference, asks for more of a cluster than its name and labels.
    pub fn asks_for_whole_cluster(&self) -> bool {
        let asks = |(reference, manifest): (&Reference, &Manifest)| {
            ContentKind::named(reference.kind).is_some_and(|kind| kind.asks_for_whole_cluster(&manifest.value))
        };
        let mut triggers = self.triggers.values();
        triggers.any(|manifest| cluster_fields::asks_for_whole(&manifest.value["spec"]))
            || self.contents.iter().any(asks)
    }

    /// The documents for the log: all rules, of the content what a trigger could reference, and of clusters what rules ask for.
    pub fn documents<'a>(&self, contents: impl Iterator<Item = &'a Reference>) -> BTreeMap<String, RuleDocument> {
        let sources = self.sources.iter().map(|(name, manifest)| (format!("EventSource/{name}"), document(manifest)));
        let triggers =
            self.triggers.iter().map(|(name, manifest)| (format!("EventTrigger/{name}"), document(manifest)));
        let contents = contents.filter_map(|reference| {
            let document = document(self.contents.get(reference)?);
            let is_recorded = ContentKind::named(reference.kind).is_some_and(|kind| kind.is_recorded);
            let manifest = if is_recorded { document.manifest } else { String::new() };
            Some((reference.rule(), RuleDocument { manifest, ..document }))
        });
        let is_whole = self.asks_for_whole_cluster();
        let clusters = self.clusters.iter().map(|(name, manifest)| {
            let value = if is_whole { cluster::seen(&manifest.value) } else { cluster::basics(&manifest.value) };
            let (digest, origin) = (digest(&value), manifest.origin.clone());
            (format!("SveltosCluster/{name}"), RuleDocument { digest, manifest: canonical(&value), origin })
        });
        sources.chain(triggers).chain(contents).chain(clusters).collect()
    }
}

/// The kinds of rules.
const RULES: [&str; 2] = ["EventSource", "EventTrigger"];

/// What is said of a manifest that is neither a rule nor content, and whether it may have been meant as a rule.
fn no_rule(api_version: &str, kind: &str, name: &str, origin: &str) -> (Problem, bool) {
    let rule = match (kind, name) {
        ("", _) => String::new(),
        (kind, "") => kind.to_owned(),
        (kind, name) => format!("{kind}/{name}"),
    };
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let no_rule = match (kind, api_version) {
        ("", _) => "a document without `kind` is no manifest and has no effect".to_owned(),
        (kind, "") => format!("`{kind}` without `apiVersion` is no rule and has no effect"),
        (kind, api_version) => format!("`{kind}` of `{api_version}` is no rule and has no effect"),
    };
    let is_of_sveltos = group.ends_with("projectsveltos.io");
    let has_a_rule_s_name = RULES.iter().any(|rule| strsim::jaro(rule, kind) > 0.85);
    // A typo must not withdraw what the rule made. Foreign groups with kinds of these names (`argoproj.io`) are far
    // from this one.
    let may_be_meant = is_of_sveltos || !api_version.contains('/') || strsim::jaro(group, GROUP) > 0.85;
    if has_a_rule_s_name && may_be_meant && group != GROUP {
        let hint = format!("write `apiVersion: {GROUP}/v1beta1`; nothing is withdrawn meanwhile");
        return (Problem::error(rule, origin, no_rule).hint(hint).at("kind"), true);
    }
    if group == GROUP && !NOT_READ.contains(&kind) {
        let likeness = |name: &&str| strsim::jaro(name, kind);
        let nearest =
            RULES.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other))).unwrap_or_default();
        let hint = format!("did you mean `{nearest}`? nothing is withdrawn meanwhile");
        return (Problem::error(rule, origin, no_rule).hint(hint).at("kind"), true);
    }
    let contents = CONTENT_KINDS.each_ref().map(|kind| format!("{}s", kind.name)).join(" and ");
    let read = match (group, kind) {
        (GROUP, "SveltosCluster") => format!("only `{OWN}` is, the one that represents the own cluster"),
        _ => format!("rules are EventSource, EventTrigger, and the {contents} they reference"),
    };
    let message = if is_of_sveltos { format!("`{kind}` of Sveltos is not read and has no effect") } else { no_rule };
    (Problem::warning(rule, origin, message).hint(read).at("kind"), false)
}

/// What is said of a rule, or of content, that is gone but for its finalizers.
fn being_deleted(rule: &str, origin: &str, finalizers: &[String]) -> Problem {
    let finalizers = finalizers.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let message = match finalizers.is_empty() {
        true => "it is being deleted and counts as gone".to_owned(),
        false => format!("it is being deleted and counts as gone; Kubernetes waits for its finalizers {finalizers}"),
    };
    let problem = Problem::warning(rule, origin, message);
    match finalizers.is_empty() {
        true => problem,
        false => {
            problem.hint("one whose controller no longer runs has to be taken away by hand, in `metadata.finalizers`")
        }
    }
}

/// Files a manifest under its name; gives it back, with the one that counts, when the name is taken.
fn keep_first<K: Ord>(
    by_name: &mut BTreeMap<K, Manifest>,
    name: K,
    manifest: Manifest,
) -> Option<(&Manifest, Manifest)> {
    match by_name.entry(name) {
        Entry::Vacant(place) => {
            place.insert(manifest);
            None
        }
        Entry::Occupied(first) => Some((first.into_mut(), manifest)),
    }
}

fn document(manifest: &Manifest) -> RuleDocument {
    let meaning = manifest.meaning();
    RuleDocument { digest: digest(&meaning), manifest: canonical(&meaning), origin: manifest.origin.clone() }
}
