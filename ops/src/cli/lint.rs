//! `lint`: every mistake in rules, before an engine reads them.
//!
//! Start at [`lint`]. What is a mistake is decided by the engine's rules, in its words; here they are shown, for people
//! ([`report`]), for programs ([`json`]), and for the two places that read them on their own: workflows of GitHub and SARIF.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use annotate_snippets::{AnnotationKind, Level as Sign, Origin, Renderer, Snippet};
use clap::{Args, ValueEnum, ValueHint};
use lifeline_engine::rules::{Finding, Level, RuleSet, Source, Spot, Topic, lint as findings_of, placed};
use serde_json::{Value, json};

use super::given::{self, GivenArgs};
use super::output;
use crate::client::Error;
use crate::terminal::count;
use crate::terminal::style::Paint;
use crate::terminal::table::printable;

const EXAMPLES: &str = "\
Examples:
  lifeline lint rules/                       every mistake, and where it is
  helm template . | lifeline lint -          what another program prints
  lifeline lint --cluster kube --strict      the rules of a cluster
  lifeline lint rules/ -o github             remarks in a pull request

An error puts a rule, or a part of it, out of force. A warning names what has
no effect. A note is about what is not in the given files.
It exits with 1 when there is an error, with --strict also for a warning.";

/// `lifeline lint`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct LintArgs {
    /// Files and folders of manifests; `-` is standard input
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// Fail for warnings too
    #[arg(long)]
    pub strict: bool,
    /// How to print: table (for people), json, github (workflow commands) or sarif
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    pub output: LintFormat,
    /// Where else rules are.
    #[command(flatten)]
    pub given: GivenArgs,
}

/// The formats of `lint -o`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LintFormat {
    /// With the words in question, for people.
    #[default]
    Table,
    /// One document.
    Json,
    /// The workflow commands of GitHub Actions.
    Github,
    /// SARIF 2.1.0, which code scanning reads.
    Sarif,
}

/// Checks the rules, and prints what is wrong with them.
pub fn lint(args: &LintArgs) -> Result<ExitCode, Error> {
    let given = given::read(&args.paths, &args.given)?;
    let (sources, files) = (&given.sources, given.files);
    let findings = match given.has_cluster {
        // Then what is not there is nowhere.
        true => placed(RuleSet::new(given.manifests, given.clusters).problems().to_vec(), sources),
        false => findings_of(given.manifests, given.clusters, sources),
    };
    output::data(&match args.output {
        LintFormat::Table => report(&findings, sources, files, Paint::stdout()),
        LintFormat::Json => pretty(&json(&findings, sources, files))?,
        LintFormat::Github => github(&findings, sources),
        LintFormat::Sarif => pretty(&sarif(&findings, sources))?,
    })?;
    let fails = |finding: &Finding| match finding.level {
        Level::Error => true,
        Level::Warning => args.strict,
        Level::Note => false,
    };
    Ok(if findings.iter().any(fails) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn pretty(value: &Value) -> Result<String, Error> {
    Ok(serde_json::to_string_pretty(value).map_err(|error| Error::Encode(error.to_string()))? + "\n")
}

/// What people read: each finding with the line in question, and a count.
fn report(findings: &[Finding], sources: &[Source], files: usize, paint: Paint) -> String {
    let mut out: String = excerpts(findings, sources, paint).into_iter().map(|excerpt| excerpt + "\n\n").collect();
    out += &total(findings, files);
    out + "\n"
}

/// Findings with the lines in question, for standard error.
pub(super) fn shown(findings: &[Finding], sources: &[Source]) -> String {
    excerpts(findings, sources, Paint::stderr()).join("\n\n")
}

fn excerpts(findings: &[Finding], sources: &[Source], paint: Paint) -> Vec<String> {
    let renderer = match paint {
        Paint::On => Renderer::styled(),
        Paint::Off => Renderer::plain(),
    };
    let excerpt = |Finding { level, problem, spot }: &Finding| {
        let sign = match level {
            Level::Error => Sign::ERROR,
            Level::Warning => Sign::WARNING,
            Level::Note => Sign::NOTE,
        };
        let title = sign.primary_title(problem.message.as_str());
        let group = match spot {
            Some(Spot { source, line, bytes, .. }) => {
                let Source { name, text } = &sources[*source];
                let start = text[..bytes.start].rfind('\n').map_or(0, |newline| newline + 1);
                let end = text[bytes.start..].find('\n').map_or(text.len(), |length| bytes.start + length);
                let span = bytes.start - start..bytes.end.min(end) - start;
                let label = (!problem.rule.is_empty()).then(|| format!("in {}", printable(&problem.rule)));
                let mark = AnnotationKind::Primary.span(span).label(label);
                title.element(Snippet::source(&text[start..end]).line_start(*line).path(name).annotation(mark))
            }
            None if problem.rule.is_empty() => title.element(Origin::path(problem.origin.as_str())),
            None => title.element(Origin::path(format!("{}: {}", problem.origin, printable(&problem.rule)))),
        };
        let group = match &problem.hint {
            Some(hint) => group.element(Sign::HELP.message(hint.as_str())),
            None => group,
        };
        renderer.render(&[group])
    };
    findings.iter().map(excerpt).collect()
}

/// Such as `2 files, 1 error, 1 warning`.
fn total(findings: &[Finding], files: usize) -> String {
    let mut parts = vec![count(files as u64, "file")];
    for (level, noun) in [(Level::Error, "error"), (Level::Warning, "warning"), (Level::Note, "note")] {
        let number = findings.iter().filter(|finding| finding.level == level).count();
        if number > 0 {
            parts.push(count(number as u64, noun));
        }
    }
    if parts.len() == 1 {
        parts.push("nothing to say".to_owned());
    }
    parts.join(", ")
}

/// `error`, `warning` or `note`, in each of the formats.
fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

/// What a problem is about, as a name that stays the same.
fn topic(topic: Topic) -> &'static str {
    match topic {
        Topic::Manifest => "manifest",
        Topic::Field => "field",
        Topic::UnknownField => "unknown-field",
        Topic::Template => "template",
        Topic::Reference => "reference",
    }
}

/// The column after the last character in question.
fn column_end(spot: &Spot, sources: &[Source]) -> usize {
    spot.column + sources[spot.source].text[spot.bytes.clone()].chars().count()
}

fn json(findings: &[Finding], sources: &[Source], files: usize) -> Value {
    let number = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let one = |finding: &Finding| {
        let Finding { level, problem, spot } = finding;
        let mut one = json!({
            "level": word(*level), "topic": topic(problem.place.topic), "rule": problem.rule,
            "message": problem.message, "hint": problem.hint, "file": problem.origin,
        });
        if let Some(spot) = spot {
            one["file"] = json!(sources[spot.source].name);
            one["line"] = json!(spot.line);
            one["column"] = json!(spot.column);
            one["column_end"] = json!(column_end(spot, sources));
        }
        one
    };
    json!({
        "files": files, "errors": number(Level::Error), "warnings": number(Level::Warning), "notes": number(Level::Note),
        "findings": findings.iter().map(one).collect::<Vec<_>>(),
    })
}

/// Message and remedy, for formats that have room for one text.
fn whole_message(finding: &Finding) -> String {
    match &finding.problem.hint {
        Some(hint) => format!("{}\nhint: {hint}", finding.problem.message),
        None => finding.problem.message.clone(),
    }
}

/// A path as tools compare it with those of a repository.
fn relative(name: &str) -> &str {
    name.trim_start_matches("./")
}

/// Workflow commands, as GitHub documents them: `::error file=...,line=...::message`.
fn github(findings: &[Finding], sources: &[Source]) -> String {
    let escaped = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| escaped(text).replace(':', "%3A").replace(',', "%2C");
    let mut out = String::new();
    for finding in findings {
        let command = if finding.level == Level::Note { "notice" } else { word(finding.level) };
        let mut properties = Vec::new();
        if let Some(spot) = &finding.spot {
            properties.push(format!("file={}", property(relative(&sources[spot.source].name))));
            properties.push(format!("line={}", spot.line));
            properties.push(format!("col={}", spot.column));
            properties.push(format!("endColumn={}", column_end(spot, sources)));
        }
        if !finding.problem.rule.is_empty() {
            properties.push(format!("title={}", property(&finding.problem.rule)));
        }
        let properties = properties.join(",");
        let blank = if properties.is_empty() { "" } else { " " };
        let _ = writeln!(out, "::{command}{blank}{properties}::{}", escaped(&whole_message(finding)));
    }
    out
}

/// A log of the Static Analysis Results Interchange Format, version 2.1.0 (OASIS).
fn sarif(findings: &[Finding], sources: &[Source]) -> Value {
    let rules = [
        (Topic::Manifest, "A text that is no manifest, or a manifest that is no rule"),
        (Topic::Field, "A field with a value that has no effect or is not possible"),
        (Topic::UnknownField, "A field that does not exist"),
        (Topic::Template, "A template, or the text of manifests, with a mistake"),
        (Topic::Reference, "Something that is named and is not there"),
    ];
    let rules = rules.map(|(one, text)| json!({"id": topic(one), "shortDescription": {"text": text}}));
    let result = |finding: &Finding| {
        let mut location = json!({});
        if let Some(spot) = &finding.spot {
            let region =
                json!({"startLine": spot.line, "startColumn": spot.column, "endColumn": column_end(spot, sources)});
            let artifact = json!({"uri": relative(&sources[spot.source].name)});
            location["physicalLocation"] = json!({"artifactLocation": artifact, "region": region});
        }
        if !finding.problem.rule.is_empty() {
            location["logicalLocations"] = json!([{"fullyQualifiedName": finding.problem.rule}]);
        }
        json!({
            "ruleId": topic(finding.problem.place.topic), "level": word(finding.level),
            "message": {"text": whole_message(finding)}, "locations": [location],
        })
    };
    let driver = json!({"name": "lifeline", "version": env!("CARGO_PKG_VERSION"), "rules": rules});
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
        "runs": [{
            "tool": {"driver": driver}, "columnKind": "unicodeCodePoints",
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

#[cfg(test)]
mod tests;
