//! The rules in force, as one immutable whole.
//!
//! Start at [`RuleSet::new`], a pure and total function: whatever is wrong with a rule becomes a problem and costs that rule
//! alone. Never here: where manifests come from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lifeline_projections::fact::{Decision, OrderBy, Ruling};
use lifeline_projections::why::event::Unmatched;
use lifeline_store::Offset;
use serde_json::Value;

use self::written::{RuleDocument, Written};
use super::cluster::Clusters;
use super::decide::event::EventView;
use super::decide::matching::{Explanation, Matching, View};
use super::decide::source::EventSource;
use super::decide::unmatched;
use super::problem::Problem;
use super::read::manifest::{Manifest, Manifests};
use super::trigger::Trigger;

// In dependency order; blank lines keep the formatter from sorting them.
pub(super) mod written;

mod link;

/// Immutable: a change of any rule is a new set.
#[derive(Debug)]
pub struct RuleSet {
    /// Sorted by name.
    sources: Vec<EventSource>,
    /// Sorted by name.
    triggers: Vec<Trigger>,
    /// What is there but broken.
    out_of_force: BTreeSet<String>,
    /// Who listens, by cluster.
    views: Vec<View>,
    documents: BTreeMap<String, RuleDocument>,
    /// Of the rules that came from a cluster, by their names as rules.
    generations: BTreeMap<String, i64>,
    /// The content that counts, and what represents the own cluster, as they were given.
    contents_given: Vec<Manifest>,
    problems: Vec<Problem>,
    is_complete: bool,
    orders_by_events: bool,
    gathers: bool,
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
    /// Of two manifests of one name the first counts; the other is a problem. Content counts only if a trigger could
    /// reference it.
    #[must_use]
    pub fn new(manifests: Manifests, clusters: Clusters) -> RuleSet {
        let is_read = manifests.unreadable.is_empty();
        let mut problems = manifests.unreadable;
        let written = Written::sort(manifests.manifests, &mut problems);
        let clusters = Arc::new(clusters.represented_by(&written.clusters, written.asks_for_whole_cluster()));
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
        let contents = Arc::new(link::contents(&triggers, &written, &mut problems));
        let links = link::Linker {
            sources: &sources,
            broken_sources: &broken_sources,
            contents: &contents,
            clusters: &clusters,
        };
        let (triggers, views) = link::link(triggers, &links, &mut out_of_force, &mut problems);

        let documents = written.documents(contents.keys());
        let generations = written.generations();
        let given = contents.keys().filter_map(|reference| written.contents.get(reference));
        let contents_given = given.chain(written.clusters.values()).cloned().collect();
        problems.sort();
        problems.dedup();
        let orders_by_events = triggers.iter().any(|trigger| trigger.order_by() != OrderBy::Stream);
        let gathers = triggers.iter().any(Trigger::gathers);
        RuleSet {
            sources,
            triggers,
            out_of_force,
            views,
            documents,
            generations,
            contents_given,
            problems,
            is_complete,
            orders_by_events,
            gathers,
        }
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

    /// Whether one of the triggers asks what the events say of their order.
    #[must_use]
    pub fn orders_by_events(&self) -> bool {
        self.orders_by_events
    }

    /// Whether one of the triggers makes a list.
    #[must_use]
    pub fn gathers(&self) -> bool {
        self.gathers
    }

    /// A trigger in force.
    #[must_use]
    pub fn trigger(&self, name: &str) -> Option<&Trigger> {
        self.triggers.binary_search_by(|trigger| trigger.name().cmp(name)).ok().map(|index| &self.triggers[index])
    }

    /// The triggers that are there and broken, by name.
    pub fn out_of_force(&self) -> impl Iterator<Item = &str> {
        self.out_of_force.iter().map(String::as_str)
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

    /// The defects of a trigger, and of what it references.
    #[must_use]
    pub fn problems_around(&self, trigger: &str) -> Vec<&Problem> {
        let of_trigger = self.problems_of(&format!("EventTrigger/{trigger}")).collect::<Vec<_>>();
        let contents = self.trigger(trigger).into_iter().flat_map(Trigger::candidates);
        let referenced: Vec<String> = contents.map(|content| content.reference.rule()).collect();
        let of_contents = self.problems.iter().filter(|problem| referenced.contains(&problem.rule));
        of_trigger.into_iter().chain(of_contents).collect()
    }

    /// What each trigger makes of an event, by trigger name.
    ///
    /// A trigger decides when the EventSource it names matches and its selector selects the cluster; none does for a cluster
    /// that the set does not know. An action that cannot be rendered is recorded as such and does not stop the next event.
    #[must_use]
    pub fn decide(&self, event: &EventView<'_>, cluster: &str, recorded_at_unix_nanos: u64) -> Vec<Decision<'_>> {
        self.matching(cluster).decide(event, recorded_at_unix_nanos)
    }

    /// What one trigger makes of an event; `None` where its EventSource does not match.
    #[must_use]
    pub fn decide_one(
        &self,
        trigger: &str,
        event: &EventView<'_>,
        cluster: &str,
        recorded_at_unix_nanos: u64,
    ) -> Option<Ruling<'_>> {
        self.matching(cluster).decide_one(trigger, event, recorded_at_unix_nanos)
    }

    /// The EventSource in force that a trigger listens to.
    #[must_use]
    pub fn event_source(&self, trigger: &str) -> Option<&str> {
        let mut listened = self.views.iter().flat_map(|view| &view.listened);
        listened.find(|listened| listened.has(trigger)).map(|listened| self.sources[listened.source].name())
    }

    /// Whether events about a source and subject may match the EventSource of a trigger.
    #[must_use]
    pub fn may_decide(&self, trigger: &str, source: &str, subject: &str) -> bool {
        let mut listened = self.views.iter().flat_map(|view| &view.listened);
        listened.any(|listened| listened.has(trigger) && self.sources[listened.source].may_match(source, subject))
    }

    /// The clusters whose events a trigger listens to.
    pub fn heard_clusters(&self, trigger: &str) -> impl Iterator<Item = &str> {
        let views = self.views.iter().filter(move |view| view.listened.iter().any(|listened| listened.has(trigger)));
        views.map(|view| view.cluster.as_str())
    }

    /// For each criterion of each EventSource that the event does not match: which fields differ. The nearest first.
    #[must_use]
    pub fn why_not<'a>(&'a self, event: &EventView<'a>) -> Vec<Explanation<'a>> {
        Matching { sources: &self.sources, view: None }.why_not(event)
    }

    /// The EventSources that an event matches and that no trigger listens to on this cluster: none names them, or
    /// its `sourceClusterSelector` does not select the cluster.
    pub fn unheard<'a>(&'a self, event: &'a EventView<'_>, cluster: &str) -> impl Iterator<Item = &'a EventSource> {
        self.matching(cluster).unheard(event)
    }

    /// Why no trigger spoke of the event at `offset`, by rules that may have come after it: `since` gives the record of a
    /// rule such as `EventTrigger/name`.
    #[must_use]
    pub fn unmatched(
        &self,
        event: &EventView<'_>,
        cluster: &str,
        offset: Offset,
        since: impl Fn(&str) -> Option<Offset>,
    ) -> Unmatched {
        unmatched::unmatched(self.matching(cluster), event, cluster, offset, since)
    }

    fn matching(&self, cluster: &str) -> Matching<'_> {
        Matching { sources: &self.sources, view: self.views.iter().find(|view| view.cluster == cluster) }
    }

    /// Whether nothing that can be asked of the two sets differs.
    pub(super) fn says_the_same_as(&self, other: &RuleSet) -> bool {
        let digests = |rules: &RuleSet| rules.triggers.iter().map(Trigger::digest).collect::<Vec<_>>();
        let clusters = |rules: &RuleSet| -> Vec<(String, Value)> {
            rules.views.iter().map(|view| (view.cluster.clone(), view.values.clone())).collect()
        };
        self.documents == other.documents
            && self.generations == other.generations
            && self.problems == other.problems
            && self.is_complete == other.is_complete
            && digests(self) == digests(other)
            && clusters(self) == clusters(other)
    }

    /// Which version of a rule this is, as its cluster counts them; `None` where it came from no cluster.
    #[must_use]
    pub fn generation(&self, rule: &str) -> Option<i64> {
        self.generations.get(rule).copied()
    }

    /// Every document that counts, by its name as a rule: `EventSource/name`, `EventTrigger/name`,
    /// `ConfigMap/namespace/name`, `Secret/namespace/name`, `SveltosCluster/mgmt/mgmt`. Broken ones are
    /// among them; content that no trigger could reference is not.
    #[must_use]
    pub fn documents(&self) -> &BTreeMap<String, RuleDocument> {
        &self.documents
    }

    /// The content that counts, and what represents the own cluster, as they were given: for other rules that do not bring
    /// it.
    pub(crate) fn contents_given(&self) -> &[Manifest] {
        &self.contents_given
    }
}
