//! `render`: what rules would make of an event, or a template of values, without an engine and without side effects.
//!
//! Start at [`render`]. The rules decide and render as they do in an engine; nothing is rendered here. What is printed is YAML
//! that `kubectl` takes, with all that is said of it as comments.

mod message;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum, ValueHint};
use lifeline_engine::clock::{Clock, SystemClock};
use lifeline_engine::error_text::chain;
use lifeline_engine::preview::names::{Doubt, doubts};
use lifeline_engine::rules::Error as RenderError;
use lifeline_engine::rules::{
    EventView, OWN, Place, Problem, Rendered, RuleSet, Severity, Source, Topic, Trigger, placed,
};
use lifeline_engine::template::{self, Data, Dialect, Plain, Template};
use lifeline_projections::detail::EventDetail;
use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{Decision, Ruling};
use lifeline_store::Offset;
use serde_json::{Map, Value, json};

use self::message::Message;
use super::ask::AskArgs;
use super::given::{self, Given, GivenArgs};
use super::lint::shown;
use super::output::{self, Format};
use crate::api::one::One;
use crate::client::{Error, Query};
use crate::terminal::count;
use crate::terminal::table::printable;

const EXAMPLES: &str = "\
Examples:
  lifeline render -f rules/ --event event.json
  nats sub --count 1 users | lifeline render -f rules/ --event -
  lifeline render -f rules/ --event 41                     of the running engine
  lifeline render -f rules/ --event 41 --data lifeline-data
  lifeline render --template ns.yaml --values values.yaml

An event is a CloudEvent as JSON, or a message with headers: `name: value`
lines, a blank line, the payload. Nothing is applied. It exits with 0 when a
trigger decides and all is rendered, with 1 when none does or one fails.";

/// `lifeline render`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RenderArgs {
    /// Files and folders with the rules; `-` is standard input
    #[arg(short = 'f', long = "rules", value_name = "PATH", num_args = 1.., value_hint = ValueHint::AnyPath)]
    pub rules: Vec<PathBuf>,
    /// The event: a file, `-` for standard input, or the offset of one that an engine has recorded
    #[arg(long, value_name = "FILE|OFFSET", value_hint = ValueHint::FilePath, conflicts_with = "template",
          required_unless_present = "template")]
    pub event: Option<String>,
    /// NATS subject of an event from a file [default: one that the rules name]
    #[arg(long, value_name = "SUBJECT", requires = "event")]
    pub nats_subject: Option<String>,
    /// Only what this trigger makes of it
    #[arg(long, value_name = "NAME", requires = "event")]
    pub trigger: Option<String>,
    /// Render this template instead, with --values
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "values", conflicts_with = "rules")]
    pub template: Option<PathBuf>,
    /// What the template refers to, as YAML or JSON, such as `CloudEvent: {...}`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "template")]
    pub values: Option<PathBuf>,
    /// The language of the template: go or tera
    #[arg(long, value_name = "NAME", value_enum, default_value_t, hide_possible_values = true)]
    pub dialect: DialectKind,
    /// The template gives a text, such as a name or an action, and no manifests
    #[arg(long, requires = "template")]
    pub text: bool,
    /// Where else rules are.
    #[command(flatten)]
    pub given: GivenArgs,
    /// Whom to ask for an offset.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// The languages of templates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DialectKind {
    /// Go's text/template, as Sveltos renders it.
    #[default]
    Go,
    /// Tera.
    Tera,
}

/// Renders, and prints what came of it.
pub fn render(args: &RenderArgs) -> Result<ExitCode, Error> {
    let format = args.ask.engine.output;
    let mut answer = match (&args.template, &args.values, &args.event) {
        (Some(template), Some(values), _) => of_values(template, values, args)?,
        (_, _, Some(event)) => of_event(event, args)?,
        _ => {
            return Err(Error::Usage(
                "there is nothing to render\nhint: say `--event`, or `--template` and `--values`".into(),
            ));
        }
    };
    answer.fit(&args.given)?;
    if !output::structured(&answer.as_json(), if format == Format::Yaml { Format::Table } else { format })? {
        output::data(&answer.as_yaml()?)?;
    }
    for trouble in &answer.troubles {
        eprintln!("{trouble}");
    }
    Ok(if answer.is_rendered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of it.
#[derive(Debug, Default)]
struct Answer {
    /// Said in front of all.
    remarks: Vec<String>,
    triggers: Vec<Decided>,
    /// Said on standard error, each with the place it is at.
    troubles: Vec<String>,
    is_rendered: bool,
    /// The text of a template that gives one.
    text: Option<String>,
}

/// What one trigger made of the event.
#[derive(Debug, Default)]
struct Decided {
    trigger: String,
    event_source: String,
    /// From 1.
    criterion: usize,
    decision: String,
    /// `spec.cloudEventAction` as it is written.
    action: String,
    failure: Option<String>,
    manifests: Vec<Shown>,
}

/// One manifest, and where it came from.
#[derive(Debug, Clone)]
struct Shown {
    origin: String,
    manifest: Value,
    /// Its scalars whose types only a cluster knows.
    plain: Vec<Plain>,
}

impl Answer {
    /// Gives what is rendered the types that a cluster knows, or says that one does.
    fn fit(&mut self, given: &GivenArgs) -> Result<(), Error> {
        let mut open: Vec<&mut Shown> = self.triggers.iter_mut().flat_map(|one| &mut one.manifests).collect();
        open.retain(|shown| !shown.plain.is_empty());
        let kinds: BTreeSet<String> =
            open.iter().map(|shown| shown.manifest["kind"].as_str().unwrap_or_default().to_owned()).collect();
        let objects = open.into_iter().map(|shown| (&mut shown.manifest, shown.plain.as_slice()));
        if !kinds.is_empty() && !given.fit(objects)? {
            let kinds = Vec::from_iter(kinds).join(", ");
            let remark = format!("which values of {kinds} are strings or numbers, a cluster knows: see --cluster kube");
            self.remarks.push(remark);
        }
        Ok(())
    }

    fn as_json(&self) -> Value {
        if let Some(text) = &self.text {
            return json!({"text": text});
        }
        let triggers = self.triggers.iter().map(|one| {
            let manifests = one.manifests.iter().map(|shown| json!({"from": shown.origin, "manifest": shown.manifest}));
            json!({
                "trigger": one.trigger, "event_source": one.event_source, "criterion": one.criterion,
                "decision": one.decision, "action": one.action, "failure": one.failure,
                "manifests": manifests.collect::<Vec<_>>(),
            })
        });
        json!({"remarks": self.remarks, "triggers": triggers.collect::<Vec<_>>()})
    }

    /// Manifests as YAML. All else is a comment of one line: no value of an event can leave it.
    fn as_yaml(&self) -> Result<String, Error> {
        if let Some(text) = &self.text {
            return Ok(if text.ends_with('\n') { text.clone() } else { format!("{text}\n") });
        }
        let mut out = String::new();
        let comment = |out: &mut String, text: &str| _ = writeln!(out, "# {}", printable(text));
        for remark in &self.remarks {
            comment(&mut out, remark);
        }
        for one in &self.triggers {
            if !one.trigger.is_empty() {
                comment(&mut out, &format!("EventTrigger/{}", one.trigger));
                comment(
                    &mut out,
                    &format!("  matched   EventSource/{}, criterion {}", one.event_source, one.criterion),
                );
                comment(&mut out, &format!("  decided   {}", one.decision));
                if one.action != one.decision {
                    let action = one.action.split_whitespace().collect::<Vec<_>>().join(" ");
                    comment(&mut out, &format!("  because   `spec.cloudEventAction` is {action}"));
                }
                if let Some(failure) = &one.failure {
                    let (what, hint) = failure.split_once(HINT).unwrap_or((failure, ""));
                    comment(&mut out, &format!("  failed    {what}"));
                    if !hint.is_empty() {
                        comment(&mut out, &format!("  hint      {hint}"));
                    }
                } else if one.manifests.is_empty() {
                    comment(&mut out, "  rendered  nothing");
                }
            }
            for Shown { origin, manifest, plain: _ } in &one.manifests {
                out.push_str("---\n");
                comment(&mut out, origin);
                out.push_str(&serde_saphyr::to_string(manifest).map_err(|error| Error::Encode(error.to_string()))?);
            }
        }
        Ok(out)
    }
}

/// Renders one template.
fn of_values(template: &Path, values: &Path, args: &RenderArgs) -> Result<Answer, Error> {
    let (name, source) = (template.display().to_string(), text_of(template)?);
    let written = text_of(values)?;
    let values: Value = serde_saphyr::from_str(&written).map_err(|error| {
        Error::Usage(format!("values `{}` cannot be read: {error}\nhint: expected YAML or JSON", values.display()))
    })?;
    let dialect = match args.dialect {
        DialectKind::Go => Dialect::Go,
        DialectKind::Tera => Dialect::Tera,
    };
    let data = Data { values: &values, recorded_at_unix_nanos: SystemClock.now_unix_nanos() };
    let template = Template::compile(dialect, &name, &source);
    let rendered = template.and_then(|template| match args.text {
        true => template.render_text(&data).map(|text| Answer { text: Some(text), ..Answer::default() }),
        false => template.render_objects(&data).map(|objects| {
            let shown = |(document, template::Object { value, plain })| Shown {
                origin: format!("{name}, document {}", document + 1),
                manifest: value,
                plain,
            };
            let manifests = objects.into_iter().enumerate().map(shown).collect();
            Answer { triggers: vec![Decided { manifests, ..Decided::default() }], ..Answer::default() }
        }),
    });
    match rendered {
        Ok(mut answer) => {
            let made = answer.triggers.iter().flat_map(|one| &one.manifests).cloned().collect::<Vec<_>>();
            let refused = doubted("", &made, &mut answer.troubles);
            Ok(Answer { is_rendered: refused.is_none(), ..answer })
        }
        Err(error) => {
            let fault = error.fault();
            let origin = match (fault.line, fault.column) {
                (0, _) => name.clone(),
                (line, column) => format!("{name}:{line}:{}", column.max(1)),
            };
            let problem = Problem { hint: fault.hint.clone(), ..Problem::error("", origin, fault.message.clone()) };
            let sources = [Source { name, text: source }];
            Ok(Answer { troubles: vec![shown(&placed(vec![problem], &sources), &sources)], ..Answer::default() })
        }
    }
}

fn text_of(path: &Path) -> Result<String, Error> {
    let cannot = |error: std::io::Error| {
        Error::Usage(format!("`{}` cannot be read: {error}\nhint: check the path", path.display()))
    };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(cannot)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(cannot)
}

/// What is held against the rules: the message, when it was recorded, and the cluster it came from.
struct Asked {
    message: Message,
    recorded_at_unix_nanos: u64,
    cluster: String,
}

/// Finds the event.
fn asked(event: &str, args: &RenderArgs) -> Result<Asked, Error> {
    if let Ok(offset) = event.parse::<u64>()
        && !Path::new(event).exists()
    {
        let mut query = Query::default();
        query.add("offset", offset);
        let answer: One<EventDetail> = args.ask.client()?.get("/v1/event", &query)?;
        let detail = answer.item;
        let message = message::recorded(&detail).map_err(Error::Given)?;
        let time: Option<jiff::Timestamp> = detail.why.record.time.and_then(|time| time.parse().ok());
        let nanos = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or_default();
        let cluster = detail.message.map_or_else(|| OWN.to_owned(), |message| message.cluster);
        return Ok(Asked { message, recorded_at_unix_nanos: nanos, cluster });
    }
    let cannot = |error: std::io::Error| {
        Error::Usage(format!("event `{event}` cannot be read: {error}\nhint: it is a file, `-`, or an offset"))
    };
    let bytes = if event == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(cannot)?;
        bytes
    } else {
        std::fs::read(event).map_err(cannot)?
    };
    let message = Message::read(&bytes);
    Ok(Asked { message, recorded_at_unix_nanos: SystemClock.now_unix_nanos(), cluster: OWN.to_owned() })
}

/// Renders what the triggers make of an event.
fn of_event(event: &str, args: &RenderArgs) -> Result<Answer, Error> {
    if event == "-" && args.rules.iter().any(|path| path == Path::new("-")) {
        return Err(Error::Usage(
            "standard input cannot be the rules and the event\nhint: put one of them into a file".into(),
        ));
    }
    let Given { manifests, clusters, sources, .. } = given::read(&args.rules, &args.given)?;
    let rules = RuleSet::new(manifests, clusters);
    if let Some(name) = &args.trigger
        && !rules.triggers().any(|trigger| trigger.name() == name)
    {
        let hint = "`lifeline lint` says why one is out of force";
        return Err(Error::Usage(format!("there is no trigger `{name}` in force\nhint: {hint}")));
    }
    let asked = asked(event, args)?;
    Ok(decide(&rules, &sources, &asked, args.nats_subject.as_deref(), args.trigger.as_deref()))
}

/// Decides and renders, as an engine does.
fn decide(
    rules: &RuleSet,
    sources: &[Source],
    asked: &Asked,
    nats_subject: Option<&str>,
    only: Option<&str>,
) -> Answer {
    let mut answer = Answer::default();
    let errors = rules.problems().iter().filter(|one| one.severity == Severity::Error).count();
    if errors > 0 {
        let errors = count(errors as u64, "error");
        answer.remarks.push(format!("the rules have {errors}, which `lifeline lint` shows: something is out of force"));
    }
    let headers: Vec<(&str, &str)> =
        asked.message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let payload = asked.message.payload.as_slice();
    let parsed =
        CloudEvent::receive(&headers, payload).and_then(|event| Ok((event, CloudEvent::to_map(&headers, payload)?)));
    let (event, map) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            answer.troubles.push(format!(
                "error: the message is no CloudEvent: {}\n  hint: a CloudEvent has at least `specversion`, `id`, `source` and `type`",
                chain(&error)
            ));
            return answer;
        }
    };
    let base = EventView {
        nats_subject: "",
        source: &event.source,
        kind: &event.kind,
        subject: &event.subject,
        headers: &headers,
        payload,
    };
    let decide = |nats_subject: &str| {
        let mut decisions =
            rules.decide(&EventView { nats_subject, ..base }, &asked.cluster, asked.recorded_at_unix_nanos);
        decisions.retain(|decision| only.is_none_or(|only| only == decision.trigger));
        decisions
    };
    let (nats_subject, decisions) = match nats_subject.or(asked.message.nats_subject.as_deref()) {
        Some(known) => (known.to_owned(), decide(known)),
        None => {
            let likely = subjects(rules);
            let hit =
                likely.iter().find_map(|one| Some((one.clone(), decide(one))).filter(|(_, made)| !made.is_empty()));
            let patterns = patterns(rules);
            if hit.is_none() && !patterns.is_empty() {
                let patterns: Vec<String> = patterns.iter().map(|one| format!("`{one}`")).collect();
                answer.troubles.push(format!(
                    "the NATS subject is not given, and {} may match more than one\nhint: say which one the message came on: \
                     --nats-subject SUBJECT",
                    patterns.join(", ")
                ));
                return answer;
            }
            let (taken, decisions) = hit.unwrap_or_else(|| (likely.first().cloned().unwrap_or_default(), Vec::new()));
            answer.remarks.push(format!("the NATS subject is not given and taken to be `{taken}`: see --nats-subject"));
            (taken, decisions)
        }
    };
    if decisions.is_empty() {
        let unmatched =
            rules.unmatched(&EventView { nats_subject: &nats_subject, ..base }, &asked.cluster, Offset::ZERO, |_| None);
        let mut text = format!("nothing happens: {}", unmatched.reason);
        if let Some(only) = only {
            text = format!("nothing happens: EventTrigger/{only} does not decide about it");
        }
        if let Some(closest) = unmatched.closest {
            text = format!("{text}\n  closest: {}", printable(&closest.summary));
        }
        answer.troubles.push(text);
        return answer;
    }
    answer.is_rendered = true;
    for decision in decisions {
        let Some(trigger) = rules.trigger(decision.trigger) else { continue };
        let made = one(rules, sources, trigger, &decision, &map, asked, &mut answer.troubles);
        answer.is_rendered &= made.failure.is_none();
        answer.triggers.push(made);
    }
    answer
}

/// What one trigger makes of the event.
fn one(
    rules: &RuleSet,
    sources: &[Source],
    trigger: &Trigger,
    decision: &Decision<'_>,
    event: &Map<String, Value>,
    asked: &Asked,
    troubles: &mut Vec<String>,
) -> Decided {
    let rule = format!("EventTrigger/{}", trigger.name());
    let written =
        rules.documents().get(&rule).and_then(|document| serde_json::from_str::<Value>(&document.manifest).ok());
    let action = written.and_then(|manifest| Some(manifest.pointer("/spec/cloudEventAction")?.as_str()?.to_owned()));
    let mut made = Decided {
        trigger: trigger.name().to_owned(),
        event_source: decision.event_source.to_owned(),
        criterion: usize::from(decision.criterion) + 1,
        action: action.unwrap_or_else(|| "Create".to_owned()),
        ..Decided::default()
    };
    match &decision.ruling {
        Ruling::Create => {
            made.decision = "Create".into();
            let (cluster, recorded_at) = (&asked.cluster, asked.recorded_at_unix_nanos);
            let mut rendered = trigger.manifests(event, cluster, recorded_at);
            if trigger.gathers() {
                made.decision = "Create; the list holds this event alone here, in an engine every live key".into();
                let list = trigger.list(vec![event.clone()], cluster, recorded_at);
                rendered = rendered.and_then(|each| Ok(each.into_iter().chain(list?).collect()));
            }
            match rendered {
                Ok(rendered) => {
                    made.manifests = rendered.into_iter().map(shown_manifest).collect();
                    made.failure = doubted(&format!("{rule}: "), &made.manifests, troubles);
                }
                Err(error) => {
                    troubles.push(trouble(rules, sources, &error));
                    made.failure = Some(chain(&error));
                }
            }
        }
        Ruling::Delete => made.decision = "Delete: what it made for this resource goes".into(),
        Ruling::NoAction(text) => made.decision = format!("no action: the text is `{text}`, neither Create nor Delete"),
        Ruling::Failed(why) => {
            made.decision = "nothing".into();
            made.failure = Some(why.to_string());
            troubles.push(format!("error: {rule}: `spec.cloudEventAction` cannot be rendered: {}", with_hint(why)));
        }
    }
    made
}

/// What stands between an error and its remedy.
const HINT: &str = "\nhint: ";

/// An error and its remedy, each on a line.
fn with_hint(text: &str) -> String {
    text.split(HINT).map(printable).collect::<Vec<_>>().join("\n  hint: ")
}

/// Says what is wrong with the names of manifests, and gives what an engine would refuse, if anything.
fn doubted(rule: &str, manifests: &[Shown], troubles: &mut Vec<String>) -> Option<String> {
    let all: Vec<(&Value, &str)> = manifests.iter().map(|shown| (&shown.manifest, shown.origin.as_str())).collect();
    let mut refused = None;
    for Doubt { is_refused, message, .. } in doubts(&all) {
        let level = if is_refused { "error" } else { "warning" };
        troubles.push(format!("{level}: {rule}{}", with_hint(&message)));
        if is_refused {
            refused.get_or_insert(message);
        }
    }
    refused
}

fn shown_manifest(rendered: Rendered) -> Shown {
    let Rendered { manifest, plain, from, key, document, handling: _ } = rendered;
    Shown { origin: format!("{from}, key `{key}`, document {}", document + 1), manifest, plain }
}

/// Why a trigger made nothing, at the words that are to blame.
fn trouble(rules: &RuleSet, sources: &[Source], error: &RenderError) -> String {
    let at = |rule: String, field: String, source: &template::Error, what: String| {
        let fault = source.fault();
        let origin = rules.documents().get(&rule).map(|document| document.origin.clone()).unwrap_or_default();
        let place = Place { topic: Topic::Template, field, line: fault.line, column: fault.column };
        let message = format!("{what}: {}", fault.message);
        let problem =
            Problem { hint: fault.hint.clone(), place: Box::new(place), ..Problem::error(rule, origin, message) };
        shown(&placed(vec![problem], sources), sources)
    };
    match error {
        RenderError::Field { trigger, field, source } => {
            at(format!("EventTrigger/{trigger}"), field.clone(), source, format!("`{field}` cannot be rendered"))
        }
        RenderError::Content { reference, key, source, .. } => {
            // Of a Secret the text is not shown.
            let known = rules.documents().get(&reference.rule()).map(|document| document.manifest.as_str());
            let manifest: Value = serde_json::from_str(known.unwrap_or_default()).unwrap_or_default();
            let field = if manifest["stringData"].get(key).is_some() { "stringData" } else { "data" };
            at(reference.rule(), format!("{field}.{key}"), source, format!("key `{key}` cannot be rendered"))
        }
        RenderError::Missing { .. } | RenderError::Refused { .. } | RenderError::Patch { .. } => {
            format!("error: {}", chain(error))
        }
    }
}

/// The NATS subjects that EventSources name in plain text, and none.
fn subjects(rules: &RuleSet) -> Vec<String> {
    let mut subjects: Vec<String> = criteria(rules).iter().filter_map(|one| plain(one)).collect();
    subjects.push(String::new());
    subjects
}

/// The patterns for NATS subjects that are no plain text.
fn patterns(rules: &RuleSet) -> Vec<String> {
    criteria(rules).into_iter().filter(|one| plain(one).is_none()).collect()
}

/// The one subject that a pattern spells, which it matches; `None` where it is a pattern for several.
fn plain(pattern: &str) -> Option<String> {
    let plain = pattern.trim_start_matches('^').trim_end_matches('$').replace("\\.", ".");
    (!plain.contains(['\\', '^', '$', '(', ')', '[', ']', '{', '}', '|', '*', '+', '?'])).then_some(plain)
}

/// What EventSources ask of NATS subjects, each once.
fn criteria(rules: &RuleSet) -> Vec<String> {
    let documents = rules.documents().iter().filter(|(rule, _)| rule.starts_with("EventSource/"));
    let mut subjects: Vec<String> = Vec::new();
    for (_, document) in documents {
        let manifest: Value = serde_json::from_str(&document.manifest).unwrap_or_default();
        for criterion in manifest["spec"]["messagingMatchCriteria"].as_array().into_iter().flatten() {
            let subject = criterion["subject"].as_str().unwrap_or_default();
            if !subject.is_empty() && !subjects.iter().any(|known| known == subject) {
                subjects.push(subject.to_owned());
            }
        }
    }
    subjects
}

#[cfg(test)]
mod tests;
