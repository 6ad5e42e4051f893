//! `why`: an object back to the event and the rule that ask for it, an event on to what came of it.
//!
//! Start at [`why`]. An answer becomes a [`Story`], a headline and labelled lines, which is then drawn; stories are pure.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use lifeline_projections::history::Entry;
use lifeline_projections::why::event::{Effect, TriggerWhy, WhyEvent};
use lifeline_projections::why::object::{
    self, AppliedWhy, DecisionWhy, KeyWhy, ListWhy, PolicyWhy, Verdict, WhyObject,
};
use serde::Serialize;

use super::ask::AskArgs;
use super::output;
use super::rows::{self, claimant, moment, object, spaced, subject_words};
use crate::api::one::One;
use crate::client::{Error, Query};
use crate::terminal::count;
use crate::terminal::style::{Paint, Tone};
use crate::terminal::table::{printable, wrap};

/// `lifeline why`.
#[derive(Debug, Clone, Subcommand)]
pub enum Why {
    /// Why an object exists, or does not; exits with 1 when it is not known, or when several match.
    Object(ObjectArgs),
    /// What came of the record at an offset, or why nothing.
    Event(EventArgs),
}

/// `lifeline why object`.
#[derive(Debug, Clone, Args)]
#[command(after_help = OBJECT_EXAMPLES)]
pub struct ObjectArgs {
    /// The kind, such as Namespace, namespaces or ns, in any case.
    pub kind: String,
    /// The name, behind its namespace where it has one.
    #[arg(value_name = "[NAMESPACE/]NAME")]
    pub name: String,
    /// The API group, where several have such a kind; empty for the core group.
    #[arg(long)]
    pub group: Option<String>,
    /// The cluster, as NAMESPACE/NAME, where it is on several.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

const OBJECT_EXAMPLES: &str = "\
Examples:
  lifeline why object Namespace mgianluc
  lifeline why object ConfigMap default/settings --cluster mgmt/mgmt";

/// `lifeline why event`.
#[derive(Debug, Clone, Args)]
pub struct EventArgs {
    /// The offset of the record, as `lifeline get events` and `lifeline history` show it.
    #[arg(value_parser = super::moment::offset)]
    pub offset: u64,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Asks why, and prints the answer.
pub fn why(why: Why) -> Result<ExitCode, Error> {
    match why {
        Why::Object(args) => {
            let mut query = Query::default();
            query.add("kind", &args.kind);
            let (namespace, name) = match args.name.split_once('/') {
                Some((namespace, name)) => (Some(namespace), name),
                None => (None, args.name.as_str()),
            };
            query.add("name", name);
            query.maybe("namespace", namespace.as_ref());
            query.maybe("group", args.group.as_ref());
            query.maybe("cluster", args.cluster.as_ref());
            let answer: One<WhyObject> = args.ask.client()?.get("/v1/why/object", &query)?;
            tell(&args.ask, &answer, of_object)?;
            Ok(match answer.item.verdict {
                Verdict::Held | Verdict::Gone => ExitCode::SUCCESS,
                Verdict::Ambiguous | Verdict::Unknown => ExitCode::FAILURE,
            })
        }
        Why::Event(args) => {
            let mut query = Query::default();
            query.add("offset", args.offset);
            let answer: One<WhyEvent> = args.ask.client()?.get("/v1/why/event", &query)?;
            tell(&args.ask, &answer, of_event)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints an answer, as a story where people read it.
pub fn tell<T: Serialize>(ask: &AskArgs, answer: &One<T>, story: impl Fn(&T) -> Story) -> Result<(), Error> {
    if !output::structured(answer, ask.engine.output)? {
        output::data(&story(&answer.item).draw(output::width(ask.engine.output), Paint::stdout()))?;
        output::remark(&format!("as of offset {}", answer.offset));
    }
    Ok(())
}

/// A headline, and what there is to say about it.
#[derive(Debug, Default)]
pub struct Story {
    head: String,
    /// Label and text; without a label it belongs to the line before.
    lines: Vec<(&'static str, String)>,
}

/// Lines that one thing to say takes on a terminal, at most.
const LINES_MAX: usize = 12;

/// How wide labels are.
const LABEL: usize = 8;

impl Story {
    pub fn new(head: impl Into<String>) -> Story {
        Story { head: head.into(), lines: Vec::new() }
    }

    pub fn line(&mut self, label: &'static str, text: impl Into<String>) {
        self.lines.push((label, text.into()));
    }

    /// The story as it is printed.
    pub fn draw(&self, width: Option<usize>, paint: Paint) -> String {
        let indent = 2 + LABEL + 2;
        let fitted = |text: &str, indent: usize| match width {
            Some(width) => wrap(&printable(text), width.saturating_sub(indent).max(20), LINES_MAX),
            None => vec![printable(text)],
        };
        let mut out = fitted(&self.head, 0).join("\n") + "\n";
        for (label, text) in &self.lines {
            for (number, text) in fitted(text, indent).iter().enumerate() {
                let label = if number == 0 { label } else { "" };
                out.push_str(&format!("  {}  {text}\n", paint.tone(Tone::Head, &format!("{label:<LABEL$}"))));
            }
        }
        out
    }
}

fn of_object(why: &WhyObject) -> Story {
    let mut story = match (&why.object, &why.cluster, &why.applied, &why.decision) {
        (Some(held), Some(cluster), Some(_), Some(decision)) if decision.action == "Create" => {
            Story::new(format!("{} exists on {cluster} because", object(held)))
        }
        (None, ..) => Story::new(format!("{}.", upper(&why.summary))),
        _ => Story::new(format!("{}:", upper(&why.summary))),
    };
    if let Some(decision) = &why.decision {
        of_decision(&mut story, decision, why.lifecycle.as_ref().map(|lifecycle| lifecycle.trigger.as_str()));
    }
    if let Some(ListWhy { live, keys }) = &why.list {
        story.line("listed", format!("{}, by source and subject", count(*live, "live key")));
        for KeyWhy { source, subject, event } in keys {
            story.line("", format!("{source}, subject {}: the event at offset {event}", subject_words(subject)));
        }
        if *live > keys.len() as u64 {
            story.line("", "and more");
        }
    }
    for policy in why.rendered.iter().flat_map(|rendered| &rendered.policies) {
        story.line("rendered", of_policy(policy));
    }
    if let Some(applied) = &why.applied {
        of_applied(&mut story, applied);
    }
    for drift in &why.drifts {
        story.line("drift", at(drift));
    }
    if let Some(gone) = &why.gone {
        story.line("gone", at(gone));
    }
    if let Some(lifecycle) = &why.lifecycle
        && let Some(error) = &lifecycle.error
    {
        let attempt = lifecycle.attempt.map(|attempt| format!(" (attempt {attempt})")).unwrap_or_default();
        let mut lines = error.lines();
        story.line("failing", format!("{}{attempt}", lines.next().unwrap_or_default()));
        for line in lines {
            story.line("", line);
        }
    }
    for claim in &why.also_claimed {
        let who = claimant(&claim.trigger, &claim.source, &claim.subject);
        story.line("waits", format!("{who}, since offset {}", claim.offset));
    }
    for candidate in &why.candidates {
        story.line("object", format!("{} on {}", object(&candidate.object), candidate.cluster));
    }
    if why.more {
        story.line("", "and more");
    }
    if why.verdict == object::Verdict::Ambiguous {
        story.line("hint", "name the namespace as NAMESPACE/NAME, or use --group or --cluster");
    }
    for note in &why.notes {
        story.line("note", note);
    }
    story
}

fn of_decision(story: &mut Story, decision: &DecisionWhy, trigger: Option<&str>) {
    if let Some(entry) = &decision.event {
        tell_event(story, entry);
    }
    if let Some(source) = &decision.event_source {
        story.line("matched", matched(source, decision.criterion));
    }
    let trigger = trigger.map(|trigger| format!("EventTrigger/{trigger}: ")).unwrap_or_default();
    let time = decision.time.as_deref().map(|time| format!(", {}", spaced(time))).unwrap_or_default();
    let when = match (&decision.event, decision.replayed) {
        (_, true) => format!(" when the rules changed, offset {}{time}", decision.offset),
        (Some(event), false) if event.offset == decision.offset => String::new(),
        (_, false) => format!(", offset {}{time}", decision.offset),
    };
    story.line("decided", format!("{trigger}{}{when}", decision.action));
}

fn of_policy(policy: &PolicyWhy) -> String {
    let PolicyWhy { kind, namespace, name, keys } = policy;
    let place = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
    match keys.as_slice() {
        [] => format!("{kind} {place}"),
        [key] => format!("{kind} {place}, key {key}"),
        keys => format!("{kind} {place}, keys {}", keys.join(", ")),
    }
}

fn of_applied(story: &mut Story, applied: &AppliedWhy) {
    let AppliedWhy { uid, time, offset, unchanged_since, made_at } = applied;
    let place = offset.map(|offset| format!("offset {offset}, ")).unwrap_or_default();
    let unchanged = if offset.is_some() && offset == unchanged_since { ", unchanged since" } else { "" };
    story.line("applied", format!("{place}{}{unchanged}", spaced(time)));
    story.line("", format!("uid {uid}"));
    let since = unchanged_since.filter(|since| Some(*since) != *offset);
    let since = since.map(|since| format!("unchanged since offset {since}"));
    let made = made_at.filter(|made| Some(*made) != *offset).map(|made| format!("made at offset {made}"));
    let more: Vec<String> = since.into_iter().chain(made).collect();
    if !more.is_empty() {
        story.line("", more.join(", "));
    }
}

fn of_event(why: &WhyEvent) -> Story {
    let mut story = Story::new(why.summary.clone());
    tell_event(&mut story, &why.record);
    tell_effects(&mut story, why);
    story
}

/// What came of an event.
pub fn tell_effects(story: &mut Story, why: &WhyEvent) {
    for trigger in &why.triggers {
        of_trigger(story, trigger);
    }
    if let Some(unmatched) = &why.unmatched {
        for source in &unmatched.unheard {
            story.line("unheard", format!("EventSource/{} matches, and no EventTrigger listens to it", bare(source)));
        }
        if let Some(closest) = &unmatched.closest {
            story.line("closest", matched(&closest.event_source, u16::try_from(closest.criterion).ok()));
            for difference in &closest.differences {
                let (field, value, pattern) = (&difference.field, &difference.value, &difference.pattern);
                story.line("", format!("{field} `{value}` does not match `{pattern}`"));
            }
        }
    }
    if !why.complete {
        story.line("note", "too many records came after it: not all of them were looked at");
    }
}

fn of_trigger(story: &mut Story, why: &TriggerWhy) {
    if let Some(source) = &why.event_source {
        story.line("matched", matched(source, why.criterion));
    }
    let replayed = why.replayed.map(|offset| format!(" when the rules changed, offset {offset}")).unwrap_or_default();
    story.line("decided", format!("EventTrigger/{} on {}: {}{replayed}", why.trigger, why.cluster, why.action));
    for outcome in &why.outcomes {
        story.line(if outcome.error.is_some() { "failed" } else { "outcome" }, at(outcome));
    }
    match (why.effect, why.superseded_by) {
        (_, Some(by)) => story.line("until", format!("offset {by} decided again")),
        (Effect::Pending, None) => story.line("waits", "not carried out yet"),
        (Effect::Settled, None) => story.line("outcome", "there was nothing to do"),
        _ => {}
    }
}

/// The record that is asked about, or that a decision follows from.
pub fn tell_event(story: &mut Story, entry: &Entry) {
    let Some(event) = &entry.event else {
        story.line("record", at(entry));
        return;
    };
    let subject = subject_words(entry.subject.as_deref().unwrap_or_default());
    let source = entry.source.as_deref().unwrap_or_default();
    story.line("event", format!("offset {}, {}, {}", entry.offset, moment(entry), event.kind));
    story.line("", format!("source {source}, subject {subject}, id {}", event.id));
    story.line("", rows::place(event));
}

fn matched(source: &str, criterion: Option<u16>) -> String {
    let criterion = criterion.map(|criterion| format!(", criterion {criterion}")).unwrap_or_default();
    format!("EventSource/{}{criterion}", bare(source))
}

/// A name without the kind that some answers put before it.
fn bare(name: &str) -> &str {
    name.strip_prefix("EventSource/").unwrap_or(name)
}

/// What a record says, and when.
fn at(entry: &Entry) -> String {
    format!("offset {}, {}: {}", entry.offset, moment(entry), entry.summary)
}

fn upper(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    // The name of an object keeps its case, and begins with its kind.
    first + chars.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> serde_json::Value {
        serde_json::json!({
            "offset": 41, "time": "2026-11-22T14:02:11.318Z", "fact": "EventReceived", "source": "auth.example.com",
            "subject": "mgianluc", "summary": "auth.example.com.login: manage-namespace decided Create",
            "event": {
                "id": "10001", "type": "auth.example.com.login", "nats_subject": "user-operation", "stream": "USERS",
                "epoch": 1, "sequence": 912, "published": "2026-11-22T14:02:11.300Z", "decisions": [],
            },
        })
    }

    #[test]
    fn an_object_is_traced_back_to_its_event() {
        let object = serde_json::json!({
            "group": "", "version": "v1", "kind": "Namespace", "namespace": null, "name": "mgianluc", "uid": "8f3c0f1e",
        });
        let answer = serde_json::json!({
            "summary": "-", "verdict": "held", "more": false, "object": object, "cluster": "mgmt/mgmt",
            "lifecycle": {
                "source": "auth.example.com", "subject": "mgianluc", "trigger": "manage-namespace",
                "cluster": "mgmt/mgmt", "desired": "present", "phase": "Ready", "incarnation": 1, "objects": [],
                "last_event": "auth.example.com.login", "last_event_offset": 41, "offset": 41,
                "time": "2026-11-22T14:02:11.318Z",
            },
            "decision": {
                "offset": 41, "time": "2026-11-22T14:02:11.318Z", "action": "Create", "replayed": false,
                "event_source": "user-operation", "criterion": 1, "event": event(),
            },
            "rendered": { "rule": 2, "policies": [
                { "kind": "ConfigMap", "namespace": "default", "name": "namespace", "keys": ["namespace.yaml"] },
            ]},
            "applied": {
                "uid": "8f3c0f1e", "time": "2026-11-22T14:02:11.327Z", "offset": 42, "unchanged_since": 42, "made_at": 42,
            },
        });
        let mut why: WhyObject = serde_json::from_value(answer).expect("an answer");
        let expected = "\
Namespace/mgianluc exists on mgmt/mgmt because
  event     offset 41, 2026-11-22 14:02:11.318Z, auth.example.com.login
            source auth.example.com, subject mgianluc, id 10001
            user-operation, stream USERS sequence 912
  matched   EventSource/user-operation, criterion 1
  decided   EventTrigger/manage-namespace: Create
  rendered  ConfigMap default/namespace, key namespace.yaml
  applied   offset 42, 2026-11-22 14:02:11.327Z, unchanged since
            uid 8f3c0f1e
";
        assert_eq!(of_object(&why).draw(None, Paint::Off), expected);
        let applied = why.applied.as_mut().expect("applied");
        (applied.offset, applied.unchanged_since) = (Some(70), Some(55));
        let narrow = of_object(&why).draw(Some(60), Paint::Off);
        let expected = "\
  applied   offset 70, 2026-11-22 14:02:11.327Z
            uid 8f3c0f1e
            unchanged since offset 55, made at offset 42
";
        assert!(narrow.ends_with(expected), "{narrow}");
    }

    #[test]
    fn objects_that_are_not_known_or_not_one_are_said_to_be() {
        let check = |answer: serde_json::Value, expected: &str| {
            let why: WhyObject = serde_json::from_value(answer).expect("an answer");
            assert_eq!(of_object(&why).draw(None, Paint::Off), expected);
        };
        check(
            serde_json::json!({ "summary": "no lifecycle holds Namespace/x", "verdict": "unknown", "more": false, "notes": ["look"] }),
            "No lifecycle holds Namespace/x.\n  note      look\n",
        );
        let candidate = serde_json::json!({
            "group": "apps", "version": "v1", "kind": "Deployment", "namespace": "a", "name": "x", "uid": null, "cluster": "c/d",
        });
        check(
            serde_json::json!({ "summary": "several objects are x: say which", "verdict": "ambiguous", "more": true, "candidates": [candidate] }),
            "\
Several objects are x: say which.
  object    apps Deployment/a/x on c/d
            and more
  hint      name the namespace as NAMESPACE/NAME, or use --group or --cluster
",
        );
    }

    #[test]
    fn an_event_is_followed_to_what_came_of_it() {
        let check = |answer: serde_json::Value, expected: &str| {
            let why: WhyEvent = serde_json::from_value(answer).expect("an answer");
            let drawn = of_event(&why).draw(None, Paint::Off);
            assert!(drawn.ends_with(expected), "{drawn}");
            assert!(drawn.starts_with(&why.summary), "{drawn}");
        };
        let outcome = serde_json::json!({
            "offset": 42, "time": "2026-11-22T14:02:11.327Z", "fact": "Applied", "summary": "applied Namespace/mgianluc",
        });
        let trigger = serde_json::json!({
            "trigger": "manage-namespace", "cluster": "mgmt/mgmt", "event_source": "user-operation", "criterion": 1,
            "action": "Create", "effect": "applied", "superseded_by": 57, "outcomes": [outcome],
        });
        check(
            serde_json::json!({
                "summary": "manage-namespace decided Create: applied Namespace/mgianluc at offset 42.", "verdict": "acted",
                "record": event(), "triggers": [trigger], "complete": true,
            }),
            "\
  matched   EventSource/user-operation, criterion 1
  decided   EventTrigger/manage-namespace on mgmt/mgmt: Create
  outcome   offset 42, 2026-11-22 14:02:11.327Z: applied Namespace/mgianluc
  until     offset 57 decided again
",
        );
        let closest = serde_json::json!({
            "event_source": "user-operation", "criterion": 1, "summary": "-",
            "differences": [{ "field": "subject", "value": "user-ops", "pattern": "user-operation" }],
        });
        check(
            serde_json::json!({
                "summary": "Nothing happened: no EventSource matches.", "verdict": "nothing", "record": event(),
                "triggers": [], "complete": true, "unmatched": { "reason": "-", "unheard": [], "closest": closest },
            }),
            "\
  closest   EventSource/user-operation, criterion 1
            subject `user-ops` does not match `user-operation`
",
        );
    }
}
