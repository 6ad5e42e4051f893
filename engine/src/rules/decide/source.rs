//! An EventSource: which CloudEvents it is about.
//!
//! Start at [`EventSource::first_match`]. Nothing here knows what follows from a match.

use serde_json::{Value, json};

use super::event::EventView;
use super::pattern::Pattern;
use crate::digest::digest;
use crate::rules::problem::Problem;
use crate::rules::read::spec::{self, EventSourceSpec, MatchCriteria};
use crate::rules::read::{metadata, refuse};

/// An EventSource, its expressions compiled.
#[derive(Debug)]
pub struct EventSource {
    pub(in crate::rules) name: String,
    /// Checksum of what decides about events.
    pub(in crate::rules) digest: u64,
    pub(in crate::rules) criteria: Vec<Criterion>,
}

/// One entry of `messagingMatchCriteria`.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are patterns, and every event is held against them")]
pub(in crate::rules) enum Criterion {
    /// In the order in which events are looked at: the NATS subject separates most events.
    Patterns { subject: Pattern, source: Pattern, kind: Pattern, event_subject: Pattern },
    /// One of its expressions does not parse, so it matches nothing. The reason.
    Broken(String),
}

impl EventSource {
    /// Reads the manifest of an EventSource.
    ///
    /// # Errors
    /// When it cannot be in force at all. Smaller defects go to `problems`.
    pub(in crate::rules) fn read(
        name: &str,
        origin: &str,
        manifest: &Value,
        problems: &mut Vec<Problem>,
    ) -> Result<EventSource, Problem> {
        let rule = format!("EventSource/{name}");
        let written = manifest.get("spec").unwrap_or(&Value::Null);
        let written = if written.is_null() { &json!({}) } else { written };
        let spec: EventSourceSpec = spec::read(written).map_err(|error| error.problem(&rule, origin))?;
        refuse::event_source(&rule, origin, written, &spec, problems)?;
        metadata::event_source(&rule, origin, manifest, problems);
        let criteria = spec.messaging_match_criteria.iter().enumerate();
        let criteria = criteria.map(|(index, written)| {
            Criterion::read(written).unwrap_or_else(|Unreadable { field, text, reason }| {
                let path = format!("spec.messagingMatchCriteria[{index}].{field}");
                problems.push(
                    Problem::error(&rule, origin, format!("`{path}` is `{text}`, no regular expression: {reason}"))
                        .hint("this criterion matches nothing until it is one; the syntax is Go's (RE2)")
                        .at(path),
                );
                Criterion::Broken(format!("`{field}` is `{text}`, no regular expression: {reason}"))
            })
        });
        let criteria = criteria.collect();
        let digest = digest(&json!(spec.messaging_match_criteria));
        Ok(EventSource { name: name.to_owned(), digest, criteria })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The index of the first criterion that the event matches.
    #[must_use]
    pub fn first_match(&self, event: &EventView<'_>) -> Option<usize> {
        self.criteria.iter().position(|criterion| criterion.matches(event))
    }

    /// Whether an event about this source and subject may match.
    #[must_use]
    pub fn may_match(&self, source: &str, subject: &str) -> bool {
        self.criteria.iter().any(|criterion| match criterion {
            Criterion::Patterns { source: of_source, event_subject, .. } => {
                of_source.matches(source) && event_subject.matches(subject)
            }
            Criterion::Broken(_) => false,
        })
    }

    /// Whether a criterion is broken, so that an event may fail to match by mistake.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.criteria.iter().any(|criterion| matches!(criterion, Criterion::Broken(_)))
    }
}

/// An expression that does not parse.
struct Unreadable {
    field: &'static str,
    text: String,
    reason: String,
}

impl Criterion {
    fn read(written: &MatchCriteria) -> Result<Criterion, Unreadable> {
        let pattern = |field, text: &str| {
            Pattern::parse(text).map_err(|reason| Unreadable { field, text: text.to_owned(), reason })
        };
        Ok(Criterion::Patterns {
            subject: pattern("subject", &written.subject)?,
            source: pattern("cloudEventSource", &written.cloud_event_source)?,
            kind: pattern("cloudEventType", &written.cloud_event_type)?,
            event_subject: pattern("cloudEventSubject", &written.cloud_event_subject)?,
        })
    }

    fn matches(&self, event: &EventView<'_>) -> bool {
        match self {
            Criterion::Patterns { subject, source, kind, event_subject } => {
                subject.matches(event.nats_subject)
                    && source.matches(event.source)
                    && kind.matches(event.kind)
                    && event_subject.matches(event.subject)
            }
            Criterion::Broken(_) => false,
        }
    }
}
