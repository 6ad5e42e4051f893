//! What the triggers that listen make of one event, and why nothing is made of it.
//!
//! Start at [`Matching::decide`], which is called for every event and so does little: patterns that are plain text are
//! compared as text, static actions are not rendered, and the event's JSON is parsed at most once, when a template asks for
//! it. Pure: no clock, no network. Never here: how a trigger comes to listen.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;

use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{Decision, Ruling};
use serde_json::Value;

use super::action::Action;
use super::event::{EventView, MATCHING_RESOURCE, matching_resource};
use super::pattern::Pattern;
use super::source::{Criterion, EventSource};

/// Who listens to the events of one cluster.
#[derive(Debug)]
pub(in crate::rules) struct View {
    /// Full name of the cluster.
    pub cluster: String,
    /// What templates see of it: `.Cluster`, `.ClusterName` and so on.
    pub values: Value,
    /// Sources that a trigger listens to, each with its triggers in order of their names.
    pub listened: Vec<Listened>,
}

/// One EventSource, and the triggers that listen to it.
#[derive(Debug)]
pub(in crate::rules) struct Listened {
    /// Index into the sources in force.
    pub source: usize,
    /// In order of their names.
    pub listeners: Vec<Listener>,
}

impl Listened {
    /// Whether a trigger is among those that listen.
    pub fn has(&self, trigger: &str) -> bool {
        self.listeners.iter().any(|listener| listener.trigger == trigger)
    }
}

/// A trigger, as far as decisions are concerned.
#[derive(Debug)]
pub(in crate::rules) struct Listener {
    /// Its name.
    pub trigger: String,
    /// What it makes of an event.
    pub action: Arc<Action>,
}

/// The rules that an event of one cluster is held against.
#[derive(Debug, Clone, Copy)]
pub(in crate::rules) struct Matching<'r> {
    /// The EventSources in force, by name.
    pub sources: &'r [EventSource],
    /// `None` for a cluster that the rules do not know: no trigger listens to its events.
    pub view: Option<&'r View>,
}

impl<'r> Matching<'r> {
    /// What each trigger makes of an event, by trigger name.
    ///
    /// A trigger decides when the EventSource it names matches and its selector selects the cluster. An action that cannot
    /// be rendered is recorded as such and does not stop the next event.
    pub fn decide(self, event: &EventView<'_>, recorded_at_unix_nanos: u64) -> Vec<Decision<'r>> {
        let Some(view) = self.view else { return Vec::new() };
        let mut decisions = Vec::new();
        let values = OnceCell::new();
        let mut sources_matched = 0;
        for Listened { source, listeners } in &view.listened {
            let source = &self.sources[*source];
            let Some(criterion) = source.first_match(event) else { continue };
            sources_matched += 1;
            for Listener { trigger, action } in listeners {
                let values =
                    || values.get_or_init(|| template_values(event, &view.values)).as_ref().map_err(Clone::clone);
                decisions.push(Decision {
                    trigger,
                    event_source: source.name(),
                    criterion: u16::try_from(criterion).unwrap_or(u16::MAX),
                    ruling: action.ruling(event, values, recorded_at_unix_nanos),
                });
            }
        }
        if sources_matched > 1 {
            decisions.sort_unstable_by_key(|decision| decision.trigger);
        }
        decisions
    }

    /// What one trigger makes of an event; `None` where its EventSource does not match.
    pub fn decide_one(self, trigger: &str, event: &EventView<'_>, recorded_at_unix_nanos: u64) -> Option<Ruling<'r>> {
        let view = self.view?;
        let values = OnceCell::new();
        let values = || values.get_or_init(|| template_values(event, &view.values)).as_ref().map_err(Clone::clone);
        let listened = view.listened.iter().find(|listened| listened.has(trigger))?;
        self.sources[listened.source].first_match(event)?;
        let listener = listened.listeners.iter().find(|listener| listener.trigger == trigger)?;
        Some(listener.action.ruling(event, values, recorded_at_unix_nanos))
    }

    /// For each criterion of each EventSource that the event does not match: which fields differ. The nearest first.
    pub fn why_not<'a>(self, event: &EventView<'a>) -> Vec<Explanation<'a>>
    where
        'r: 'a,
    {
        let mut explanations: Vec<Explanation<'a>> = self
            .sources
            .iter()
            .flat_map(|source| {
                let criteria = source.criteria.iter().enumerate();
                criteria.map(move |(index, criterion)| explain(source, index, criterion, event))
            })
            .filter(|explanation| !explanation.mismatches.is_empty())
            .collect();
        explanations.sort_by_key(|explanation| explanation.mismatches.len());
        explanations
    }

    /// The EventSources that an event matches and that no trigger listens to on this cluster: none names them, or
    /// its `sourceClusterSelector` does not select the cluster.
    pub fn unheard(self, event: &EventView<'_>) -> impl Iterator<Item = &'r EventSource> {
        let listened = self.view.map(|view| view.listened.as_slice()).unwrap_or_default();
        let heard: Vec<usize> = listened.iter().map(|listened| listened.source).collect();
        let sources = self.sources.iter().enumerate();
        sources
            .filter(move |(index, source)| !heard.contains(index) && source.first_match(event).is_some())
            .map(|(_, source)| source)
    }
}

/// What templates see: `.CloudEvent`, and what there is of its cluster.
fn template_values(event: &EventView<'_>, of_cluster: &Value) -> Result<Value, Ruling<'static>> {
    let map = CloudEvent::to_map(event.headers, event.payload)
        .map_err(|error| Ruling::Failed(Cow::Owned(error.to_string())))?;
    let mut values = of_cluster.clone();
    values["CloudEvent"] = Value::Object(map);
    values[MATCHING_RESOURCE] = matching_resource();
    Ok(values)
}

/// Why one criterion did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// The EventSource.
    pub event_source: &'a str,
    /// Index of the criterion, from 0.
    pub criterion: usize,
    /// What differs.
    pub mismatches: Vec<Mismatch<'a>>,
}

/// One thing that keeps a criterion from matching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch<'a> {
    /// A field of the event is not what the criterion asks for.
    Field {
        /// As the criterion calls it.
        field: &'static str,
        /// What the event has there.
        value: &'a str,
        /// What the criterion asks for.
        pattern: &'a str,
    },
    /// The criterion itself is broken.
    Broken {
        /// How.
        reason: &'a str,
    },
}

fn explain<'a>(
    source: &'a EventSource,
    index: usize,
    criterion: &'a Criterion,
    event: &EventView<'a>,
) -> Explanation<'a> {
    let mismatches = match criterion {
        Criterion::Patterns { subject, source, kind, event_subject } => {
            let fields = [
                ("subject", event.nats_subject, subject),
                ("cloudEventSource", event.source, source),
                ("cloudEventType", event.kind, kind),
                ("cloudEventSubject", event.subject, event_subject),
            ];
            let differing = fields.into_iter().filter(|(_, value, pattern)| !pattern.matches(value));
            differing
                .map(|(field, value, pattern)| Mismatch::Field { field, value, pattern: Pattern::as_str(pattern) })
                .collect()
        }
        Criterion::Broken(reason) => vec![Mismatch::Broken { reason }],
    };
    Explanation { event_source: source.name(), criterion: index, mismatches }
}

/// ``EventSource/x, criterion 1: subject `user-ops` does not match `user-operation` ``: people count from 1.
impl fmt::Display for Explanation<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "EventSource/{}, criterion {}: ", self.event_source, self.criterion + 1)?;
        for (index, mismatch) in self.mismatches.iter().enumerate() {
            if index > 0 {
                out.write_str("; ")?;
            }
            match mismatch {
                Mismatch::Field { field, value, pattern } => {
                    write!(out, "{field} `{value}` does not match `{pattern}`")?
                }
                Mismatch::Broken { reason } => out.write_str(reason)?,
            }
        }
        Ok(())
    }
}
