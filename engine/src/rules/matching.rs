//! What the rules in force make of one event, and why they make nothing of it.
//!
//! Start at [`RuleSet::decide`], which is called for every event and so does little: patterns that are plain text are
//! compared as text, static actions are not rendered, and the event's JSON is parsed at most once, when a template asks for
//! it. Pure: no clock, no network.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use lifeline_projections::event::{CloudEvent, Headers};
use lifeline_projections::fact::{Decision, Outcome};
use serde_json::{Map, Value};

use super::set::View;
use super::source::Criterion;
use super::{EventSource, Pattern, RuleSet};

/// An event as rules look at it. The attributes are those of its message, already parsed.
#[derive(Debug, Clone, Copy)]
pub struct EventView<'a> {
    /// NATS subject it was published on.
    pub nats_subject: &'a str,
    /// CloudEvent `source`.
    pub source: &'a str,
    /// CloudEvent `type`.
    pub kind: &'a str,
    /// CloudEvent `subject`; a missing one is the empty string.
    pub subject: &'a str,
    /// The headers of the message.
    pub headers: &'a Headers<'a>,
    /// The payload of the message.
    pub payload: &'a [u8],
}

impl RuleSet {
    /// What each trigger makes of an event, by trigger name.
    ///
    /// A trigger speaks when the EventSource it names matches and its selector selects the cluster. A cluster that the set
    /// was not told of has no trigger. An action that cannot be rendered is an outcome too: nothing stops the next event.
    #[must_use]
    pub fn decide(&self, event: &EventView<'_>, cluster: &str, recorded_at_unix_nanos: u64) -> Vec<Decision<'_>> {
        let Some(view) = self.view(cluster) else { return Vec::new() };
        let mut decisions = Vec::new();
        let values = OnceCell::new();
        let mut sources_matched = 0;
        for listened in &view.listened {
            let source = &self.sources[listened.source];
            let Some(criterion) = source.first_match(event) else { continue };
            sources_matched += 1;
            for &index in &listened.triggers {
                let trigger = &self.triggers[index];
                let values =
                    || values.get_or_init(|| template_values(event, &view.value)).as_ref().map_err(Clone::clone);
                decisions.push(Decision {
                    trigger: trigger.name(),
                    event_source: source.name(),
                    criterion: u16::try_from(criterion).unwrap_or(u16::MAX),
                    outcome: trigger.action.outcome(event, values, recorded_at_unix_nanos),
                });
            }
        }
        if sources_matched > 1 {
            decisions.sort_unstable_by_key(|decision| decision.trigger);
        }
        decisions
    }

    /// For each criterion of each EventSource that the event does not match: which fields differ. The nearest first.
    #[must_use]
    pub fn why_not<'a>(&'a self, event: &EventView<'a>) -> Vec<Explanation<'a>> {
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
    pub fn unheard<'a>(&'a self, event: &'a EventView<'_>, cluster: &str) -> impl Iterator<Item = &'a EventSource> {
        let listened = self.view(cluster).map(|view| view.listened.as_slice()).unwrap_or_default();
        let heard: Vec<usize> = listened.iter().map(|listened| listened.source).collect();
        let sources = self.sources.iter().enumerate();
        sources
            .filter(move |(index, source)| !heard.contains(index) && source.first_match(event).is_some())
            .map(|(_, source)| source)
    }

    fn view(&self, cluster: &str) -> Option<&View> {
        self.views.iter().find(|view| view.cluster == cluster)
    }
}

/// What templates see of an event: `.CloudEvent` and `.Cluster`.
fn template_values(event: &EventView<'_>, cluster: &Value) -> Result<Value, Outcome<'static>> {
    let map = CloudEvent::to_map(event.headers, event.payload)
        .map_err(|error| Outcome::Failed(Cow::Owned(error.to_string())))?;
    let mut values = Map::new();
    values.insert("CloudEvent".into(), Value::Object(map));
    values.insert("Cluster".into(), cluster.clone());
    Ok(Value::Object(values))
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
