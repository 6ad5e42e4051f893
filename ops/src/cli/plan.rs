//! `plan`: what rules would do to what is there, in place of those in force.
//!
//! Start at [`plan`]. An engine, or the folder of one, works it out; here it is shown. Problems of the rules are shown
//! as
//! [`super::lint`] shows them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueHint};
use lifeline_engine::preview::Preview;
use lifeline_engine::preview::answer::{Action, Against, Change, Counts, TriggerPlan, Why};
use lifeline_engine::replay::brake;
use lifeline_engine::rules::{Level, Problem, Source, placed};
use lifeline_engine::status::HeldWithdrawal;
use lifeline_projections::reads::ObjectRow;
use serde_json::Value;

use super::ask::AskArgs;
use super::given::{self, GivenArgs};
use super::lint::shown;
use super::output::{self, Format};
use crate::api::plan::{CHANGES_MAX, LOOKS_MAX, PATH, PlanOrder, PlanProgress, RuleText, looks_by_default};
use crate::client::Error;
use crate::servers::{Progress, Step};
use crate::terminal::style::{Paint, Tone};
use crate::terminal::table::printable;
use crate::terminal::{count, fail};

const EXAMPLES: &str = "\
Examples:
  lifeline plan -f rules/                          in place of those in force
  lifeline plan -f trigger.yaml --merge            beside those in force
  lifeline plan -f rules/ --data lifeline-data     of a stopped engine
  lifeline plan -f rules/ -o json | jq .counts     in a pipeline

Nothing is recorded, applied or deleted. ConfigMaps and Secrets that the rules
name and do not bring are those of the engine.
It exits with 0 where nothing would change, with 2 where something would, and
with 1 when there is no plan, as `terraform plan -detailed-exitcode` does.";

/// Changes that are shown where nobody says how many.
const SHOWN: usize = 100;

/// Characters of a value that are shown.
const VALUE_CHARS: usize = 60;

/// `lifeline plan`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlanArgs {
    /// Files and folders with the rules; `-` is standard input
    #[arg(short = 'f', long = "rules", value_name = "PATH", num_args = 1.., required = true, value_hint = ValueHint::AnyPath)]
    pub rules: Vec<PathBuf>,
    /// Keep the rules in force that these do not name
    #[arg(long)]
    pub merge: bool,
    /// Changes shown at most [default: 100; of -o json and -o yaml 100000]
    #[arg(long, value_name = "N", value_parser = up_to::<CHANGES_MAX>)]
    pub limit: Option<usize>,
    /// Changes compared with the objects in the cluster at most; the others with what the rules in force render
    #[arg(long, value_name = "N", default_value_t = looks_by_default(), value_parser = up_to::<LOOKS_MAX>)]
    pub looks: usize,
    /// With --data: label of the own cluster, for `sourceClusterSelector`; may be repeated
    #[arg(long = "cluster-label", env = "LIFELINE_CLUSTER_LABELS", value_name = "KEY=VALUE", value_delimiter = ',',
          value_parser = super::log::label)]
    pub cluster_labels: Vec<(String, String)>,
    /// Taken for those who know it from terraform: exit codes are always detailed
    #[arg(long, hide = true)]
    pub detailed_exitcode: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

fn up_to<const MAX: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= MAX);
    number.ok_or_else(|| format!("expected a number up to {MAX}"))
}

/// Plans, and prints it. A mistake is 1 and never 2, which says that something would change.
pub fn plan(args: &PlanArgs) -> ExitCode {
    done(args).unwrap_or_else(|error| {
        fail(&error);
        ExitCode::FAILURE
    })
}

fn done(args: &PlanArgs) -> Result<ExitCode, Error> {
    let of_files = GivenArgs { cluster: None, kubeconfig: None, cluster_labels: Vec::new() };
    let given = given::read(&args.rules, &of_files)?;
    // What is no text cannot be sent. A problem of a text has its line; that of a file has none.
    let has_no_line = |problem: &Problem| !problem.origin.contains(':');
    let unread: Vec<Problem> = given.manifests.unreadable.into_iter().filter(has_no_line).collect();
    if !unread.is_empty() {
        eprintln!("{}", shown(&placed(unread, &given.sources), &given.sources));
        return Ok(ExitCode::FAILURE);
    }
    let is_for_people = matches!(args.ask.engine.output, Format::Table | Format::Wide);
    let text = |Source { name, text }: &Source| RuleText { name: name.clone(), text: text.clone() };
    let order = PlanOrder {
        rules: given.sources.iter().map(text).collect(),
        merge: args.merge,
        cluster_labels: args.cluster_labels.iter().cloned().collect(),
        changes: args.limit.unwrap_or(if is_for_people { SHOWN } else { CHANGES_MAX }),
        looks: args.looks,
    };
    let preview = asked(args, &order)?;
    show(&preview, &given.sources, args.ask.engine.output)
}

/// Asks for a plan, and shows how far it is where that takes long.
fn asked(args: &PlanArgs, order: &PlanOrder) -> Result<Preview, Error> {
    let mut step: Option<Step> = None;
    let answer = args.ask.client()?.post_and_look(PATH, order, |now: PlanProgress| {
        let Some(what) = now.step else { return };
        let step = step.get_or_insert_with(|| Step::start(Progress::on_stderr(), "planning"));
        step.show(&format!("{what} {} of {}", now.done, now.of));
    });
    if let Some(step) = step {
        step.done();
    }
    answer
}

/// Prints a plan, and says how the program ends.
pub(super) fn show(preview: &Preview, sources: &[Source], format: Format) -> Result<ExitCode, Error> {
    let problems = || preview.problems.iter().cloned().map(Problem::from).collect();
    if preview.is_refused() {
        output::structured(preview, format)?;
        let mut findings = placed(problems(), sources);
        findings.retain(|finding| finding.level == Level::Error);
        let errors = count(findings.len() as u64, "error");
        eprintln!("{}\n", shown(&findings, sources));
        eprintln!("the rules have {errors}, so there is no plan");
        return Ok(ExitCode::FAILURE);
    }
    if !output::structured(preview, format)? {
        output::data(&text(preview, Paint::stdout()))?;
        remarks(preview);
    }
    let is_nothing = preview.counts.is_nothing() && !makes_list(preview) && dry_begin(preview).is_empty();
    Ok(if is_nothing { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn remarks(preview: &Preview) {
    let Preview { offset, came_meanwhile, under_way, problems, looked_at, not_looked_because, .. } = preview;
    let mut said = vec![format!("as of offset {offset}")];
    if *came_meanwhile > 0 {
        said.push(format!("{} came meanwhile and may not count", count(*came_meanwhile, "record")));
    }
    if *under_way > 0 {
        said.push(format!("{} have work to do already, which is not shown", count(*under_way, "lifecycle")));
    }
    if *looked_at > 0 {
        said.push(format!("{} compared with the cluster", count(*looked_at, "change")));
    }
    if let Some(because) = not_looked_because {
        said.push(format!("not all were compared with the cluster: {}", because.lines().next().unwrap_or_default()));
    }
    if !problems.is_empty() {
        said.push(format!("{}: `lifeline lint` shows them", count(problems.len() as u64, "warning")));
    }
    output::remark(&said.join("; "));
}

/// The plan as people read it: what becomes of each object, by trigger, and a total.
fn text(preview: &Preview, paint: Paint) -> String {
    let mut by_trigger: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    let known = preview.triggers.iter().map(|plan| plan.trigger.as_str());
    known.for_each(|trigger| _ = by_trigger.entry(trigger).or_default());
    for change in &preview.changes {
        by_trigger.entry(&change.trigger).or_default().push(change);
    }
    let mut out = String::new();
    for (trigger, changes) in by_trigger {
        let plan = preview.triggers.iter().find(|plan| plan.trigger == trigger);
        let has_note =
            |plan: &TriggerPlan| plan.dry_run || plan.makes_list || plan.held.is_some() || plan.left_because.is_some();
        let is_silent = !plan.is_some_and(has_note);
        if changes.is_empty() && is_silent {
            continue;
        }
        let about = plan.map(about).unwrap_or_default();
        let head = paint.tone(Tone::Head, &format!("EventTrigger/{}", printable(trigger)));
        _ = writeln!(out, "{head}{about}");
        changes.into_iter().for_each(|change| write_change(&mut out, change, paint));
        out.push('\n');
    }
    if preview.more_changes > 0 {
        _ = writeln!(out, "... and {} more: --limit N, or -o json\n", preview.more_changes);
    }
    out + &total(preview) + "\n"
}

/// What is said of a trigger beside its name.
fn about(plan: &TriggerPlan) -> String {
    let why = match plan.why {
        Why::New => "new",
        Why::Changed => "changed",
        Why::Gone => "gone",
        Why::Again => "decided again",
    };
    let mut about = format!("  {why}");
    if plan.dry_run {
        about.push_str("; a dry run: nothing is applied or deleted");
    }
    if let Some(objects) = plan.untouched {
        _ = write!(about, ", and {} as they are", count_stay(objects));
    }
    if let Some(held) = &plan.held {
        let HeldWithdrawal { id, waits_for, .. } = held;
        let what = brake::what(held);
        _ = match waits_for {
            Some(reason) => {
                write!(about, "; {what} stay, for others may want them: {}", printable(reason))
            }
            None => write!(about, "; {what} stay until `lifeline confirm {id}`"),
        };
        about.push_str(if plan.counts.held > plan.counts.delete {
            ", and what would be made with them waits too"
        } else {
            ""
        });
    }
    if let Some(because) = &plan.left_because {
        _ = write!(about, "; resources are left as they are: {}", printable(because));
    }
    if plan.makes_list {
        about.push_str("; if it makes a list of all live keys, this plan does not show it: something that it names is missing or broken");
    }
    about
}

/// Such as `3 objects stay`.
fn count_stay(objects: u64) -> String {
    format!("{} {}", count(objects, "object"), if objects == 1 { "stays" } else { "stay" })
}

/// The mark, the words and the tone of an action.
fn word(action: Action) -> (&'static str, &'static str, Tone) {
    match action {
        Action::Create => ("+", "create", Tone::Good),
        Action::Update => ("~", "change", Tone::Waiting),
        Action::Replace => ("±", "replace", Tone::Bad),
        Action::Delete => ("-", "delete", Tone::Bad),
        Action::HandOver => (">", "take over", Tone::Waiting),
        Action::Leave => ("=", "leave", Tone::Faint),
        Action::Conflict => ("!", "conflict", Tone::Bad),
        Action::Fail => ("!", "fail", Tone::Bad),
    }
}

fn write_change(out: &mut String, change: &Change, paint: Paint) {
    let Change { action, object, source, subject, from_trigger, held, against, fields, because, .. } = change;
    let (mark, word, tone) = word(*action);
    let object = object.as_ref().map(|object| printable(&name(object)));
    let of = match source.is_empty() {
        true => "the list".to_owned(),
        false => format!("source `{}`, subject `{}`", printable(source), printable(subject)),
    };
    let what = object.unwrap_or_else(|| of.clone());
    _ = write!(out, "  {}  {what}", paint.tone(tone, &format!("{mark} {word:<9}")));
    if let Some(from) = from_trigger {
        _ = write!(out, ", from EventTrigger/{}", printable(from));
    }
    if *held {
        out.push_str(", once it is confirmed");
    }
    if what != of {
        _ = write!(out, "  {}", paint.tone(Tone::Faint, &format!("({of})")));
    }
    out.push('\n');
    for line in because.iter().flat_map(|because| because.lines()) {
        _ = writeln!(out, "      {}", printable(line));
    }
    for field in fields {
        let path = printable(&field.path);
        _ = match (&field.before, &field.after) {
            (None, Some(after)) => writeln!(out, "      + {path}: {}", value(after)),
            (Some(before), None) => writeln!(out, "      - {path}: {}", value(before)),
            (before, after) => {
                let [before, after] = [before, after].map(|one| value(one.as_ref().unwrap_or(&Value::Null)));
                writeln!(out, "      ~ {path}: {before} -> {after}")
            }
        };
    }
    match against {
        Against::Rendered => out.push_str("      (compared with what the rules in force render)\n"),
        Against::Cluster if fields.is_empty() && *action == Action::Update => {
            out.push_str("      (no field of the object in the cluster would be different)\n");
        }
        Against::Cluster | Against::Nothing => {}
    }
}

/// `Kind/name`, or `Kind/namespace/name`.
fn name(object: &ObjectRow) -> String {
    let ObjectRow { kind, namespace, name, .. } = object;
    namespace.as_ref().map_or_else(|| format!("{kind}/{name}"), |namespace| format!("{kind}/{namespace}/{name}"))
}

/// A value in a line.
fn value(value: &Value) -> String {
    let text = value.to_string();
    let mut short: String = text.chars().take(VALUE_CHARS).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    printable(&short)
}

/// Whether a list is made again, of which the plan says nothing.
fn makes_list(preview: &Preview) -> bool {
    preview.triggers.iter().any(|plan| plan.makes_list)
}

/// The triggers that become a dry run.
fn dry_begin(preview: &Preview) -> Vec<&TriggerPlan> {
    preview.triggers.iter().filter(|plan| plan.untouched.is_some()).collect()
}

/// Such as `Plan: 3 to create, 2 to change, 1 to delete.`
fn total(preview: &Preview) -> String {
    let counts = &preview.counts;
    let Counts { create, update, replace, delete, hand_over, leave, conflict, fail, held } = *counts;
    let (dry, makes_list) = (dry_begin(preview), makes_list(preview));
    if counts.is_nothing() && !dry.is_empty() {
        let objects = dry.iter().filter_map(|plan| plan.untouched).sum();
        let (triggers, stay) = (count(dry.len() as u64, "trigger"), count_stay(objects));
        return format!("No object changes now: {triggers} would touch nothing any more, and {stay} as they are.");
    }
    if counts.is_nothing() && makes_list {
        return "No changes but to lists.".to_owned();
    }
    if counts.is_nothing() {
        return "No changes: of what is recorded these rules make what there is.".to_owned();
    }
    let mut total =
        format!("Plan: {} to create, {update} to change, {} to delete.", create + replace, delete + replace);
    let mut also = Vec::new();
    for (number, what) in [
        (hand_over, "to change hands"),
        (leave, "to leave"),
        (conflict, "in conflict"),
        (fail, "to fail"),
        (held, "to be confirmed"),
    ] {
        if number > 0 {
            also.push(format!("{number} {what}"));
        }
    }
    if !also.is_empty() {
        _ = write!(total, " {}.", also.join(", "));
    }
    total
}

#[cfg(test)]
mod tests {
    use lifeline_engine::fields::FieldChange;

    use serde_json::json;

    use super::*;

    fn change(action: Action, name: &str) -> Change {
        let namespace = Some("default".to_owned());
        let [group, version, kind] = ["", "v1", "ConfigMap"].map(str::to_owned);
        Change {
            action,
            trigger: "manage".to_owned(),
            cluster: "mgmt/mgmt".to_owned(),
            source: "auth".to_owned(),
            subject: "ann".to_owned(),
            object: Some(ObjectRow { group, version, kind, namespace, name: name.to_owned(), uid: None }),
            from_trigger: None,
            held: false,
            against: Against::Nothing,
            fields: Vec::new(),
            because: None,
        }
    }

    #[test]
    fn a_plan_says_what_becomes_of_each_object_and_a_total() {
        let field = |path: &str, before: Option<Value>, after: Option<Value>| FieldChange {
            path: path.to_owned(),
            before,
            after,
        };
        let fields = vec![
            field("data.a", Some(json!("1")), Some(json!("2\u{1b}[31m"))),
            field("data.b", None, Some(json!(true))),
            field("data.c", Some(json!("x".repeat(80))), None),
        ];
        let updated = Change { fields, against: Against::Rendered, ..change(Action::Update, "b") };
        let handed_over = Change { from_trigger: Some("before".to_owned()), ..change(Action::HandOver, "c") };
        let deleted = Change { held: true, ..change(Action::Delete, "d") };
        let failed = Change { object: None, because: Some("no\nhint: do".to_owned()), ..change(Action::Fail, "") };
        let counts = Counts { create: 1, update: 1, delete: 1, hand_over: 1, fail: 1, held: 1, ..Counts::default() };
        let held = Some(HeldWithdrawal { id: "0badf00d".to_owned(), objects: 10, of: 11, ..HeldWithdrawal::default() });
        let manage = TriggerPlan {
            trigger: "manage".to_owned(),
            why: Why::Changed,
            dry_run: false,
            untouched: None,
            counts,
            held,
            left_because: None,
            makes_list: false,
        };
        let dry = TriggerPlan { trigger: "dry".to_owned(), why: Why::New, dry_run: true, held: None, ..manage.clone() };
        let silent = TriggerPlan { trigger: "silent".to_owned(), why: Why::Again, held: None, ..manage.clone() };
        let preview = Preview {
            counts,
            triggers: vec![dry, manage, silent],
            changes: vec![change(Action::Create, "a"), updated, handed_over, deleted, failed],
            more_changes: 4,
            ..Preview::default()
        };
        let expected = format!(
            "\
EventTrigger/dry  new; a dry run: nothing is applied or deleted

EventTrigger/manage  changed; 10 of 11 objects stay until `lifeline confirm 0badf00d`
  + create     ConfigMap/default/a  (source `auth`, subject `ann`)
  ~ change     ConfigMap/default/b  (source `auth`, subject `ann`)
      ~ data.a: \"1\" -> \"2\\u001b[31m\"
      + data.b: true
      - data.c: \"{}...
      (compared with what the rules in force render)
  > take over  ConfigMap/default/c, from EventTrigger/before  (source `auth`, subject `ann`)
  - delete     ConfigMap/default/d, once it is confirmed  (source `auth`, subject `ann`)
  ! fail       source `auth`, subject `ann`
      no
      hint: do

... and 4 more: --limit N, or -o json

Plan: 1 to create, 1 to change, 1 to delete. 1 to change hands, 1 to fail, 1 to be confirmed.
",
            "x".repeat(VALUE_CHARS - 1)
        );
        assert_eq!(text(&preview, Paint::Off), expected);
        let of = |counts, triggers| Preview { counts, triggers, ..Preview::default() };
        let replaced = of(Counts { replace: 2, ..Counts::default() }, Vec::new());
        assert_eq!(total(&replaced), "Plan: 2 to create, 0 to change, 2 to delete.");
        assert!(total(&Preview::default()).starts_with("No changes: "));
        let plan = preview.triggers[1].clone();
        let list = TriggerPlan { makes_list: true, ..plan.clone() };
        assert_eq!(total(&of(Counts::default(), vec![list])), "No changes but to lists.");
        let dry = TriggerPlan { dry_run: true, untouched: Some(3), held: None, ..plan.clone() };
        let dry = of(Counts::default(), vec![dry]);
        let expected = "EventTrigger/manage  changed; a dry run: nothing is applied or deleted, and 3 objects stay as they are\n\n\
                        No object changes now: 1 trigger would touch nothing any more, and 3 objects stay as they are.\n";
        assert_eq!(text(&dry, Paint::Off), expected);
        let waits = Counts { create: 1, delete: 1, held: 2, ..Counts::default() };
        let waits = TriggerPlan { counts: waits, ..plan };
        assert!(
            about(&waits).ends_with("until `lifeline confirm 0badf00d`, and what would be made with them waits too")
        );
    }
}
