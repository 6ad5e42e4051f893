//! Every problem of rules that are given as texts, at the words that it is about, before an engine reads them.
//!
//! Start at [`lint`]. What is a problem, and what is said of it, is decided where rules are loaded: [`RuleSet`] is asked, and
//! nothing is checked a second time. Added here is only where it is, what is wrong after the first mistake of a rule
//! ([`further`]), and that what is not in the given texts may well be elsewhere. Pure: never reads a file.

use std::ops::Range;

use strsim::jaro;

use super::cluster::Clusters;
use super::further::further;
use super::policy::{ContentKind, Purpose};
use super::problem::{Problem, Severity, Topic};
use super::read::content::{INSTANTIATE, TEMPLATE};
use super::read::manifest::{Manifests, documents};
use super::read::places::{Places, token};
use super::set::RuleSet;
use super::set::written::Written;

/// A text of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What origins call it: the path of the file as it was given.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A rule, or a part of one, would be out of force.
    Error,
    /// Something has no effect, or not the one it may seem to have.
    Warning,
    /// It depends on what is not in the given texts.
    Note,
}

/// One problem, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// The problem, in the words of the engine.
    pub problem: Problem,
    /// Where it is; `None` for what came from no text.
    pub spot: Option<Spot>,
}

/// A place in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The text, by its place among those that were given.
    pub source: usize,
    /// From 1.
    pub line: usize,
    /// The first character, from 1.
    pub column: usize,
    /// The same place in bytes of the text; empty where only the line is known.
    pub bytes: Range<usize>,
}

/// The problems of manifests that were read from `sources`, in the order of the texts.
///
/// What a trigger names and is not among them is a note: it may be elsewhere. An EventSource that is named and is not there
/// stays an error where another is, for then its name is likely a slip.
#[must_use]
pub fn lint(manifests: Manifests, clusters: Clusters, sources: &[Source]) -> Vec<Finding> {
    let rules = RuleSet::new(manifests.clone(), clusters.clone());
    let mut findings = placed(problems(&manifests, &clusters), sources);
    for finding in &mut findings {
        if finding.problem.place.topic == Topic::Reference {
            elsewhere(finding, &rules);
        }
    }
    findings
}

/// All problems of manifests: those that an engine names, and those that it would name once these are mended.
fn problems(manifests: &Manifests, clusters: &Clusters) -> Vec<Problem> {
    let read = |manifests: Manifests| {
        let rules = RuleSet::new(manifests.clone(), clusters.clone());
        let mut problems = rules.problems().to_vec();
        unreferenced(manifests, &rules, &mut problems);
        problems
    };
    let mut told = read(manifests.clone());
    further(manifests, &mut told, read);
    told
}

/// These problems, each at its place in the texts it came from.
#[must_use]
pub fn placed(problems: Vec<Problem>, sources: &[Source]) -> Vec<Finding> {
    let finding = |problem: Problem| {
        let level = match problem.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
        };
        let spot = spot(&problem, sources);
        Finding { level, problem, spot }
    };
    let mut findings: Vec<Finding> = problems.into_iter().map(finding).collect();
    findings.sort_by_key(|finding| match &finding.spot {
        Some(Spot { source, line, column, .. }) => (*source, *line, *column),
        None => (usize::MAX, 0, 0),
    });
    findings
}

/// Reads templates that no trigger in force references: the trigger may be in another place, or be broken itself.
fn unreferenced(manifests: Manifests, rules: &RuleSet, problems: &mut Vec<Problem>) {
    let written = Written::sort(manifests.manifests, &mut Vec::new());
    for (reference, manifest) in &written.contents {
        let annotations = &manifest.value["metadata"]["annotations"];
        let is_template = [INSTANTIATE, TEMPLATE].iter().any(|name| annotations.get(*name).is_some());
        if is_template
            && !rules.documents().contains_key(&reference.rule())
            && let Some(kind) = ContentKind::named(reference.kind)
        {
            kind.read(reference.clone(), &[Purpose::Manifests], manifest, problems);
        }
    }
}

/// Says that what is named is not among what was given.
fn elsewhere(finding: &mut Finding, rules: &RuleSet) {
    let problem = &mut finding.problem;
    let is_source = problem.place.field == "spec.eventSourceName";
    if is_source && rules.sources().next().is_some() {
        let named = problem.message.split('`').nth(1).unwrap_or_default();
        let likeness = |name: &&str| jaro(name, named);
        let near = rules.sources().map(|source| source.name()).filter(|name| likeness(name) > 0.8);
        if let Some(near) = near.max_by(|one, other| likeness(one).total_cmp(&likeness(other))) {
            problem.hint = Some(format!("did you mean `{near}`?"));
        }
        return;
    }
    finding.level = Level::Note;
    problem.message = problem.message.replace("does not exist", "is not among the files");
    problem.hint =
        Some("it has to be where the engine finds it: give its file too, or say `--cluster kube`".to_owned());
}

/// Where a problem is, by its origin and by the field that it names.
fn spot(problem: &Problem, sources: &[Source]) -> Option<Spot> {
    let of = |source: &Source| problem.origin.strip_prefix(&source.name)?.strip_prefix(':').map(str::to_owned);
    let (source, rest) = sources.iter().enumerate().find_map(|(index, source)| Some((index, of(source)?)))?;
    let text = &sources[source].text;
    let mut numbers = rest.split(':').map(str::parse::<usize>);
    let line = numbers.next()?.ok()?;
    let line_start = line_start(text, line)?;
    if let Some(Ok(column)) = numbers.next() {
        let written = text[line_start..].lines().next().unwrap_or_default();
        let before = written.char_indices().nth(column.saturating_sub(1)).map_or(written.len(), |(byte, _)| byte);
        return Some(Spot { source, line, column, bytes: token(text, line_start + before) });
    }
    let document = documents(text).into_iter().find(|document| document.line == line);
    let found = document.and_then(|document| {
        let places = Places::of(&document.text);
        let mut rule = problem.rule.split('/');
        let (kind, name) = (rule.next().unwrap_or_default(), rule.next_back().unwrap_or_default());
        let found = places.find(&document.text, places.item(kind, name).as_deref(), &problem.place)?;
        Some(line_start + found.start..line_start + found.end)
    });
    match found {
        Some(bytes) => {
            let before = &text[..bytes.start];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let line = before.matches('\n').count() + 1;
            Some(Spot { source, line, column: before[line_start..].chars().count() + 1, bytes })
        }
        None => {
            let written = text[line_start..].lines().next().unwrap_or_default().trim_end();
            Some(Spot { source, line, column: 1, bytes: line_start..line_start + written.len() })
        }
    }
}

/// The byte at which a line, counted from 1, begins.
fn line_start(text: &str, line: usize) -> Option<usize> {
    let mut starts = std::iter::once(0).chain(text.match_indices('\n').map(|(byte, _)| byte + 1));
    starts.nth(line.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventSource\nmetadata: {name: users}\nspec: {messagingMatchCriteria: [{}]}\n---\n";
    const TRIGGER: &str = "apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventTrigger\nmetadata: {name: t}\nspec:\n  eventSourceName: SOURCE\n  policyRefs: [{kind: ConfigMap, name: there}]\n---\n";
    const CONTENT: &str = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: there, annotations: {projectsveltos.io/instantiate: ok}}\ndata:\n  a: |\n    é: {{ nope }}\n";

    /// The findings as `level line:column words`.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let sources = [Source { name: "a:b.yaml".into(), text: text.to_owned() }];
        let found = lint(Manifests::read("a:b.yaml", text), Clusters::default(), &sources);
        let shown = |Finding { level, spot, .. }: &Finding| {
            let Spot { line, column, bytes, .. } = spot.as_ref().expect("a text");
            format!("{level:?} {line}:{column} {}", &text[bytes.clone()])
        };
        assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), expected, "{found:?}");
    }

    #[test]
    fn what_is_named_and_not_given_is_a_note_unless_it_is_likely_a_slip() {
        let trigger = |source: &str| TRIGGER.replace("SOURCE", source);
        check(&trigger("users"), &["Note 5:20 users", "Note 6:40 there"]);
        check(&format!("{SOURCE}{}", trigger("users")), &["Note 11:40 there"]);
        check(&format!("{SOURCE}{}", trigger("user")), &["Error 10:20 user", "Note 11:40 there"]);
    }

    #[test]
    fn templates_are_checked_whether_or_not_a_trigger_in_force_names_them() {
        check(CONTENT, &["Error 6:11 nope"]);
        let broken = format!("{}\n", TRIGGER.replace("eventSourceName: SOURCE", "tier: 0"));
        check(&format!("{broken}{CONTENT}"), &["Error 4:1 spec", "Error 14:11 nope"]);
        check(&CONTENT.replace("annotations", "labels"), &[]);
    }

    #[test]
    fn the_same_rules_have_no_other_problems_when_an_engine_loads_them() {
        let text = format!("{SOURCE}{}{CONTENT}", TRIGGER.replace("SOURCE", "users"));
        let sources = [Source { name: "r.yaml".into(), text: text.clone() }];
        let found = lint(Manifests::read("r.yaml", &text), Clusters::default(), &sources);
        let loaded = RuleSet::new(Manifests::read("r.yaml", &text), Clusters::default());
        assert_eq!(found.into_iter().map(|finding| finding.problem).collect::<Vec<_>>(), loaded.problems());
    }
}
