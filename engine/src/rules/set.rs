//! The rules in force, as one immutable whole.
//!
//! Start at [`RuleSet::new`], a pure and total function: whatever is wrong with a rule becomes a problem and costs that rule
//! alone. Never here: where manifests come from.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::content::{Content, ContentKind};
use super::spec::SyncMode;
use super::text::Text;
use super::trigger::missing_hint;
use super::{
    Cluster, Clusters, EventSource, Manifest, Manifests, Problem, Reference, Trigger, digest, template_problem,
};
use crate::digest::canonical;
use crate::template::Data;

/// Immutable: a change of any rule is a new set.
#[derive(Debug)]
pub struct RuleSet {
    pub(super) sources: Vec<EventSource>,
    /// Sorted by name.
    pub(super) triggers: Vec<Trigger>,
    /// What is there but broken.
    out_of_force: BTreeSet<String>,
    pub(super) views: Vec<View>,
    documents: BTreeMap<String, RuleDocument>,
    problems: Vec<Problem>,
    is_complete: bool,
}

/// What counts for the events of one cluster.
#[derive(Debug)]
pub(super) struct View {
    pub cluster: String,
    /// `.Cluster` in templates.
    pub value: Value,
    /// Sources that a trigger listens to, each with its triggers in order of their names.
    pub listened: Vec<Listened>,
}

#[derive(Debug)]
pub(super) struct Listened {
    /// Index into the set's sources.
    pub source: usize,
    /// Indices into the set's triggers.
    pub triggers: Vec<usize>,
}

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

/// What may be concluded about a trigger by its name.
#[derive(Debug, Clone, Copy)]
pub enum Standing<'a> {
    /// It decides and renders.
    InForce(&'a Trigger),
    /// It is there and broken, or something unreadable may be hiding it: it decides nothing, and what it made stays as
    /// it is.
    OutOfForce,
    /// It is gone: what it made is withdrawn.
    Absent,
}

impl RuleSet {
    /// The rules of these manifests for the events of these clusters.
    ///
    /// Of two manifests of one name the first counts; the other is a problem. ConfigMaps and Secrets matter only if a trigger
    /// could reference them.
    #[must_use]
    pub fn new(manifests: Manifests, clusters: Clusters) -> RuleSet {
        let clusters = Arc::new(clusters);
        let is_read = manifests.unreadable.is_empty();
        let mut problems = manifests.unreadable;
        let written = sort(manifests.manifests, &mut problems);
        let is_complete = is_read && !written.hides_rules;
        let mut out_of_force = written.refused_triggers.clone();
        let mut broken_sources = written.refused_sources.clone();

        let mut sources = Vec::new();
        for (name, manifest) in &written.sources {
            match EventSource::read(name, &manifest.origin, &manifest.value, &mut problems) {
                Ok(source) => sources.push(source),
                Err(problem) => {
                    problems.push(problem);
                    broken_sources.insert(name.clone());
                }
            }
        }
        let mut triggers = Vec::new();
        for (name, manifest) in &written.triggers {
            match Trigger::read(name, &manifest.origin, &manifest.value, &clusters, &mut problems) {
                Ok(trigger) => triggers.push(trigger),
                Err(problem) => {
                    problems.push(problem);
                    out_of_force.insert(name.clone());
                }
            }
        }
        let contents = read_contents(&triggers, &written, &mut problems);
        let tie = Link { sources: &sources, broken_sources: &broken_sources, contents: &contents, clusters: &clusters };
        let (triggers, views) = link(triggers, &tie, &mut out_of_force, &mut problems);

        let documents = written.documents(contents.keys());
        problems.sort();
        problems.dedup();
        RuleSet { sources, triggers, out_of_force, views, documents, problems, is_complete }
    }

    /// A set without any rule: it decides nothing.
    #[must_use]
    pub fn empty() -> RuleSet {
        RuleSet::new(Manifests::default(), Clusters::default())
    }

    /// The triggers in force, by name.
    pub fn triggers(&self) -> impl Iterator<Item = &Trigger> {
        self.triggers.iter()
    }

    /// The EventSources in force, by name.
    pub fn sources(&self) -> impl Iterator<Item = &EventSource> {
        self.sources.iter()
    }

    /// A trigger in force.
    #[must_use]
    pub fn trigger(&self, name: &str) -> Option<&Trigger> {
        self.triggers.binary_search_by(|trigger| trigger.name().cmp(name)).ok().map(|index| &self.triggers[index])
    }

    /// What may be concluded about a trigger that once made something.
    #[must_use]
    pub fn standing(&self, name: &str) -> Standing<'_> {
        match self.trigger(name) {
            Some(trigger) => Standing::InForce(trigger),
            None if self.out_of_force.contains(name) || !self.is_complete => Standing::OutOfForce,
            None => Standing::Absent,
        }
    }

    /// Whether every manifest could be read. In one that could not, a rule may be hiding.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// All defects, by rule.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The defects of one rule, such as `EventTrigger/name`.
    pub fn problems_of(&self, rule: &str) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |problem| problem.rule == rule)
    }

    /// The triggers whose `sourceClusterSelector` was assumed to match, because the own cluster has no labels configured.
    pub fn assumed_selectors(&self) -> impl Iterator<Item = &Trigger> {
        self.triggers.iter().filter(|trigger| trigger.assumes_selector())
    }

    /// Whether nothing that can be asked of the two sets differs.
    pub(super) fn says_the_same_as(&self, other: &RuleSet) -> bool {
        let digests = |rules: &RuleSet| rules.triggers.iter().map(Trigger::digest).collect::<Vec<_>>();
        let clusters = |rules: &RuleSet| {
            rules.views.iter().map(|view| (view.cluster.clone(), view.value.clone())).collect::<Vec<_>>()
        };
        self.documents == other.documents
            && self.problems == other.problems
            && self.is_complete == other.is_complete
            && digests(self) == digests(other)
            && clusters(self) == clusters(other)
    }

    /// Every document that counts, by its name as a rule: `EventSource/name`, `EventTrigger/name`,
    /// `ConfigMap/namespace/name`, `Secret/namespace/name`. Broken ones are among them; content that no trigger
    /// could reference is not.
    #[must_use]
    pub fn digests(&self) -> &BTreeMap<String, RuleDocument> {
        &self.documents
    }
}

/// Manifests by kind and name.
#[derive(Default)]
struct Written {
    sources: BTreeMap<String, Manifest>,
    triggers: BTreeMap<String, Manifest>,
    contents: BTreeMap<Reference, Manifest>,
    /// Written for an API version that is not read.
    refused_sources: BTreeSet<String>,
    refused_triggers: BTreeSet<String>,
    /// A kind of the rules' own API group that does not exist: a misspelt rule, most likely.
    hides_rules: bool,
}

/// What a manifest is to rules, by its group and kind.
#[derive(Clone, Copy)]
enum RuleKind {
    EventSource,
    EventTrigger,
    Content(ContentKind),
}

impl RuleKind {
    fn of(group: &str, kind: &str) -> Option<RuleKind> {
        match (group, kind) {
            ("lib.projectsveltos.io", "EventSource") => Some(RuleKind::EventSource),
            ("lib.projectsveltos.io", "EventTrigger") => Some(RuleKind::EventTrigger),
            ("", "ConfigMap") => Some(RuleKind::Content(ContentKind::ConfigMap)),
            ("", "Secret") => Some(RuleKind::Content(ContentKind::Secret)),
            _ => None,
        }
    }
}

fn sort(manifests: Vec<Manifest>, problems: &mut Vec<Problem>) -> Written {
    let mut written = Written::default();
    for manifest in manifests {
        let text =
            |pointer: &str| manifest.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let origin = &manifest.origin;
        let Some(rule_kind) = RuleKind::of(group, &kind) else {
            let message = format!("`{kind}` of `{api_version}` is no rule and has no effect");
            if group == "lib.projectsveltos.io" {
                written.hides_rules = true;
                let nearest = ["EventSource", "EventTrigger"]
                    .into_iter()
                    .max_by(|one, other| strsim::jaro(one, &kind).total_cmp(&strsim::jaro(other, &kind)));
                let hint = format!("did you mean `{}`? nothing is withdrawn meanwhile", nearest.unwrap_or_default());
                problems.push(Problem::error(format!("{kind}/{name}"), origin, message).hint(hint));
                continue;
            }
            problems.push(
                Problem::warning(format!("{kind}/{name}"), origin, message)
                    .hint("rules are EventSource, EventTrigger, and the ConfigMaps and Secrets they reference"),
            );
            continue;
        };
        if name.is_empty() {
            problems.push(Problem::error(&kind, origin, format!("{kind} without a name")).hint("set `metadata.name`"));
            continue;
        }
        let namespace = Some(text("/metadata/namespace")).filter(|text| !text.is_empty());
        let namespace = namespace.unwrap_or_else(|| "default".into());
        let (rule, expected) = match rule_kind {
            RuleKind::EventSource | RuleKind::EventTrigger => (format!("{kind}/{name}"), "v1beta1"),
            RuleKind::Content(_) => (format!("{kind}/{namespace}/{name}"), "v1"),
        };
        if version != expected {
            let needed = if group.is_empty() { expected.to_owned() } else { format!("{group}/{expected}") };
            problems.push(
                Problem::error(&rule, origin, format!("`apiVersion` is `{api_version}`, expected `{needed}`"))
                    .hint("convert it: the fields differ between versions"),
            );
            match rule_kind {
                RuleKind::EventSource => _ = written.refused_sources.insert(name),
                RuleKind::EventTrigger => _ = written.refused_triggers.insert(name),
                RuleKind::Content(_) => {}
            }
            continue;
        }
        let refused = match rule_kind {
            RuleKind::EventSource => keep_first(&mut written.sources, name, manifest),
            RuleKind::EventTrigger => keep_first(&mut written.triggers, name, manifest),
            RuleKind::Content(kind) => keep_first(&mut written.contents, Reference { kind, namespace, name }, manifest),
        };
        if let Some((first, later)) = refused {
            let same = meaning(&first.value) == meaning(&later.value);
            let message = format!("defined twice: at `{}`, which counts, and here", first.origin);
            let problem = if same { Problem::warning } else { Problem::error }(rule, later.origin, message);
            problems.push(problem.hint("keep one of them"));
        }
    }
    written
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

/// Reads the ConfigMaps and Secrets that a trigger could reference.
fn read_contents(
    triggers: &[Trigger],
    written: &Written,
    problems: &mut Vec<Problem>,
) -> Arc<BTreeMap<Reference, Content>> {
    let referenced = written.contents.iter();
    let referenced =
        referenced.filter(|(reference, _)| triggers.iter().any(|trigger| trigger.could_reference(reference)));
    let read = referenced.map(|(reference, manifest)| {
        let content = Content::read(reference.clone(), manifest, problems);
        (reference.clone(), content)
    });
    Arc::new(read.collect())
}

/// Ties triggers to their sources, contents and clusters: fills in what a trigger cannot know by itself.
struct Link<'a> {
    sources: &'a [EventSource],
    broken_sources: &'a BTreeSet<String>,
    contents: &'a Arc<BTreeMap<Reference, Content>>,
    clusters: &'a Clusters,
}

/// What a trigger listens to on one cluster.
enum Listens {
    /// Nothing: its selector does not select the cluster.
    No,
    To(usize),
    /// An EventSource that is not there.
    Missing(String),
    /// An EventSource that is there and broken.
    Broken(String),
    /// `eventSourceName` cannot be rendered for the cluster.
    Unnamed(Problem),
}

impl Link<'_> {
    fn listens(&self, trigger: &Trigger, cluster: &Cluster) -> Listens {
        if !cluster.is_selected_by(&trigger.selector) {
            return Listens::No;
        }
        let values = json!({"Cluster": cluster.to_value()});
        // A cluster has no time of its own: a name that depends on one is nobody's wish.
        let name = match trigger.source.render(&Data { values: &values, recorded_at_unix_nanos: 0 }) {
            Ok(name) => name.into_owned(),
            Err(error) => {
                let rule = format!("EventTrigger/{}", trigger.name);
                return Listens::Unnamed(template_problem(&rule, &trigger.origin, "`spec.eventSourceName`", &error));
            }
        };
        match self.sources.binary_search_by(|source| source.name.as_str().cmp(&name)) {
            Ok(index) => Listens::To(index),
            Err(_) if self.broken_sources.contains(&name) => Listens::Broken(name),
            Err(_) => Listens::Missing(name),
        }
    }

    /// Completes a trigger, and says what it listens to by cluster; an error puts it out of force.
    fn complete(&self, trigger: &mut Trigger, problems: &mut Vec<Problem>) -> Result<Vec<(usize, usize)>, Problem> {
        let rule = format!("EventTrigger/{}", trigger.name);
        let mut listens = Vec::new();
        let mut heard = Map::new();
        for (index, cluster) in self.clusters.iter().enumerate() {
            let source = match self.listens(trigger, cluster) {
                Listens::No => continue,
                Listens::To(source) => source,
                Listens::Missing(name) => {
                    problems.push(
                        Problem::error(&rule, &trigger.origin, format!("EventSource `{name}` does not exist"))
                            .hint("nothing happens until it does; check `spec.eventSourceName`"),
                    );
                    heard.insert(cluster.full_name(), json!([cluster.to_value(), name, null]));
                    // A slip of the pen, or what could not be read: what was made stays until the source is there again,
                    // or the trigger goes.
                    trigger.is_degraded = true;
                    continue;
                }
                Listens::Broken(name) => {
                    let message = format!("EventSource `{name}` is out of force, and so is this trigger");
                    return Err(Problem::error(&rule, &trigger.origin, message));
                }
                Listens::Unnamed(problem) => return Err(problem),
            };
            let EventSource { name, digest, .. } = &self.sources[source];
            heard.insert(cluster.full_name(), json!([cluster.to_value(), name, digest]));
            trigger.is_degraded |= self.sources[source].is_degraded();
            listens.push((index, source));
        }
        if trigger.assumes_selector() {
            let message =
                "no labels are configured for the own cluster: `spec.sourceClusterSelector` is assumed to match";
            problems.push(
                Problem::warning(&rule, &trigger.origin, message).hint("set `cluster_labels` to have it evaluated"),
            );
        }
        trigger.contents = Arc::clone(self.contents);
        for (index, policy) in trigger.missing() {
            let namespace = match &policy.namespace {
                Text::Literal(namespace) if !namespace.is_empty() => format!("{namespace}/"),
                _ => String::new(),
            };
            let name = &policy.spec.name;
            let message =
                format!("`spec.policyRefs[{index}]` names {} {namespace}{name}, which does not exist", policy.kind);
            problems.push(Problem::error(&rule, &trigger.origin, message).hint(missing_hint(policy.kind)));
        }
        if trigger.uses_event_list() {
            let message = "templates over `.CloudEvents` give nothing: one instance a resource is made, no list";
            let hint = "use `.CloudEvent`, the event of that resource";
            problems.push(Problem::warning(&rule, &trigger.origin, message).hint(hint));
        }
        if trigger.sync_mode() == SyncMode::DryRun {
            let message = "`spec.syncMode` is `DryRun`: events are decided, nothing is applied";
            problems.push(Problem::warning(&rule, &trigger.origin, message));
        }
        let contents: Map<String, Value> =
            trigger.candidates().map(|content| (content.reference.rule(), json!(content.digest))).collect();
        trigger.digest = digest(&json!([trigger.digest_parts(), heard, contents]));
        Ok(listens)
    }
}

/// Completes all triggers; those that turn out broken leave the list and are named.
fn link(
    triggers: Vec<Trigger>,
    link: &Link<'_>,
    out_of_force: &mut BTreeSet<String>,
    problems: &mut Vec<Problem>,
) -> (Vec<Trigger>, Vec<View>) {
    let view =
        |cluster: &Cluster| View { cluster: cluster.full_name(), value: cluster.to_value(), listened: Vec::new() };
    let mut views: Vec<View> = link.clusters.iter().map(view).collect();
    let mut linked = Vec::new();
    for mut trigger in triggers {
        match link.complete(&mut trigger, problems) {
            Ok(listens) => {
                for (cluster, source) in listens {
                    let listened = &mut views[cluster].listened;
                    match listened.iter_mut().find(|listened| listened.source == source) {
                        Some(listened) => listened.triggers.push(linked.len()),
                        None => listened.push(Listened { source, triggers: vec![linked.len()] }),
                    }
                }
                linked.push(trigger);
            }
            Err(problem) => {
                problems.push(problem);
                out_of_force.insert(trigger.name);
            }
        }
    }
    (linked, views)
}

impl Written {
    fn documents<'a>(&self, contents: impl Iterator<Item = &'a Reference>) -> BTreeMap<String, RuleDocument> {
        let sources = self.sources.iter().map(|(name, manifest)| (format!("EventSource/{name}"), document(manifest)));
        let triggers =
            self.triggers.iter().map(|(name, manifest)| (format!("EventTrigger/{name}"), document(manifest)));
        let contents = contents.filter_map(|reference| {
            let document = document(self.contents.get(reference)?);
            Some((
                reference.rule(),
                match reference.kind {
                    ContentKind::ConfigMap => document,
                    ContentKind::Secret => RuleDocument { manifest: String::new(), ..document },
                },
            ))
        });
        sources.chain(triggers).chain(contents).collect()
    }
}

fn document(manifest: &Manifest) -> RuleDocument {
    let meaning = meaning(&manifest.value);
    RuleDocument { digest: digest(&meaning), manifest: canonical(&meaning), origin: manifest.origin.clone() }
}

/// A manifest as its author wrote it: without status and what the API server keeps about it.
pub(super) fn meaning(manifest: &Value) -> Value {
    let mut meaning = manifest.clone();
    if let Some(map) = meaning.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = meaning.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| matches!(name.as_str(), "name" | "namespace" | "labels" | "annotations"));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    meaning
}
