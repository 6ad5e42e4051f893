//! Ties triggers to their sources, contents and clusters: what a trigger cannot know by itself.
//!
//! Start at [`link`]. A trigger that turns out broken here is out of force. Nothing here decides about an event.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::written::Written;
use crate::digest::digest;
use crate::rules::cluster::{Cluster, Clusters, OWN};
use crate::rules::decide::matching::{Listened, Listener, View};
use crate::rules::decide::source::EventSource;
use crate::rules::policy::ContentKind;
use crate::rules::problem::Problem;
use crate::rules::read::content::Contents;
use crate::rules::trigger::Trigger;
use crate::template::Data;

/// Reads the content that a trigger could reference.
pub(super) fn contents(triggers: &[Trigger], written: &Written, problems: &mut Vec<Problem>) -> Contents {
    let read = written.contents.iter().filter_map(|(reference, manifest)| {
        let mut purposes = Vec::new();
        for purpose in triggers.iter().flat_map(|trigger| trigger.purposes(reference)) {
            if !purposes.contains(&purpose) {
                purposes.push(purpose);
            }
        }
        let kind = ContentKind::named(reference.kind).filter(|_| !purposes.is_empty())?;
        Some((reference.clone(), kind.read(reference.clone(), &purposes, manifest, problems)))
    });
    read.collect()
}

/// Ties triggers to their sources, contents and clusters: fills in what a trigger cannot know by itself.
pub(super) struct Linker<'a> {
    pub sources: &'a [EventSource],
    pub broken_sources: &'a BTreeSet<String>,
    pub contents: &'a Arc<Contents>,
    pub clusters: &'a Clusters,
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

impl Linker<'_> {
    fn listens(&self, trigger: &Trigger, cluster: &Cluster) -> Listens {
        if !cluster.is_selected_by(&trigger.selector) {
            return Listens::No;
        }
        let values = cluster.values();
        // There is no event here, so `now` is 1970: nobody wants a name that depends on it.
        let name = match trigger.source.render(&Data { values: &values, recorded_at_unix_nanos: 0 }) {
            Ok(name) => name.into_owned(),
            Err(error) => {
                let rule = format!("EventTrigger/{}", trigger.name);
                let place = ("spec.eventSourceName", "`spec.eventSourceName`");
                return Listens::Unnamed(Problem::of_template(&rule, &trigger.origin, place, &error));
            }
        };
        match self.sources.binary_search_by(|source| source.name().cmp(&name)) {
            Ok(index) => Listens::To(index),
            Err(_) if self.broken_sources.contains(&name) => Listens::Broken(name),
            Err(_) => Listens::Missing(name),
        }
    }

    /// Completes a trigger, and says what it listens to by cluster; an error puts it out of force.
    fn complete(&self, trigger: &mut Trigger, problems: &mut Vec<Problem>) -> Result<Vec<(usize, usize)>, Problem> {
        let rule = format!("EventTrigger/{}", trigger.name);
        trigger.contents = Arc::clone(self.contents);
        // A change of what it cannot see is none.
        let value_for = |trigger: &Trigger, cluster: &Cluster| match trigger.asks_for_whole_cluster() {
            true => cluster.to_value(),
            false => cluster.basics(),
        };
        let mut listens = Vec::new();
        let mut heard = Map::new();
        for (index, cluster) in self.clusters.iter().enumerate() {
            let source = match self.listens(trigger, cluster) {
                Listens::No => continue,
                Listens::To(source) => source,
                Listens::Missing(name) => {
                    problems.push(
                        Problem::error(&rule, &trigger.origin, format!("EventSource `{name}` does not exist"))
                            .hint("nothing happens until it does; check `spec.eventSourceName`")
                            .of_reference("spec.eventSourceName"),
                    );
                    heard.insert(cluster.full_name(), json!([value_for(trigger, cluster), name, null]));
                    // A typing mistake, or a file that could not be read: what was made stays until the source is there again,
                    // or the trigger goes.
                    trigger.is_degraded = true;
                    continue;
                }
                Listens::Broken(name) => {
                    let message = format!("EventSource `{name}` is out of force, and so is this trigger");
                    return Err(Problem::error(&rule, &trigger.origin, message).at("spec.eventSourceName"));
                }
                Listens::Unnamed(problem) => return Err(problem),
            };
            let heard_source = &self.sources[source];
            let (name, digest) = (heard_source.name(), heard_source.digest);
            heard.insert(cluster.full_name(), json!([value_for(trigger, cluster), name, digest]));
            trigger.is_degraded |= heard_source.is_degraded();
            listens.push((index, source));
        }
        if trigger.assumes_selector() {
            let message =
                "no labels are configured for the own cluster: `spec.sourceClusterSelector` is assumed to match";
            problems.push(
                Problem::warning(&rule, &trigger.origin, message)
                    .hint("set `cluster_labels`, or let Lifeline read the SveltosCluster `mgmt/mgmt`, to have it evaluated")
                    .at("spec.sourceClusterSelector"),
            );
        }
        let is_represented = self.clusters.iter().all(Cluster::is_represented);
        if let Some(field) = trigger.field_of_cluster().filter(|_| !is_represented) {
            let message = format!(
                "`.Cluster.{field}` is not there: no SveltosCluster `{OWN}` is known, only its name and labels are"
            );
            let hint =
                "give its manifest beside the rules, or let Lifeline read `sveltosclusters` in the cluster that has it";
            problems.push(Problem::warning(&rule, &trigger.origin, message).hint(hint));
        }
        let missing = trigger.missing().map(|fault| fault.problem(&rule, &trigger.origin));
        problems.extend(missing);
        trigger.note_lists();
        let contents: Map<String, Value> =
            trigger.candidates().map(|content| (content.reference.rule(), json!(content.digest))).collect();
        trigger.digest = digest(&json!([trigger.digest_parts(), heard, contents]));
        Ok(listens)
    }
}

/// Completes all triggers; those that turn out broken leave the list and are named.
pub(super) fn link(
    triggers: Vec<Trigger>,
    link: &Linker<'_>,
    out_of_force: &mut BTreeSet<String>,
    problems: &mut Vec<Problem>,
) -> (Vec<Trigger>, Vec<View>) {
    let view =
        |cluster: &Cluster| View { cluster: cluster.full_name(), values: cluster.values(), listened: Vec::new() };
    let mut views: Vec<View> = link.clusters.iter().map(view).collect();
    let mut linked = Vec::new();
    for mut trigger in triggers {
        match link.complete(&mut trigger, problems) {
            Ok(listens) => {
                for (cluster, source) in listens {
                    let listener = Listener { trigger: trigger.name.clone(), action: Arc::clone(&trigger.action) };
                    let listened = &mut views[cluster].listened;
                    match listened.iter_mut().find(|listened| listened.source == source) {
                        Some(listened) => listened.listeners.push(listener),
                        None => listened.push(Listened { source, listeners: vec![listener] }),
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
