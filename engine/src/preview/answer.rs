//! What a plan says: shapes only.
//!
//! Start at [`Preview`]. `lifeline plan -o json` prints it as it is, and `docs/PLAN.md` describes it: fields may be
//! added, none is renamed or taken away.

use lifeline_projections::reads::ObjectRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields::FieldChange;
use crate::rules::{Place, Problem, Severity, Topic};
use crate::status::HeldWithdrawal;

/// What rules would do to what is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Plan)]
pub struct Preview {
    /// It is about the state below this offset.
    pub offset: u64,
    /// Records that were written while it was made. What they change may be missing.
    pub came_meanwhile: u64,
    /// Lifecycles that have work to do already, whatever the rules. What that changes is not among the changes.
    pub under_way: u64,
    /// What is wrong with the rules. Where one of them is an error there is no plan.
    pub problems: Vec<ProblemRow>,
    /// Everything together.
    pub counts: Counts,
    /// The triggers whose history would be decided again, by name.
    pub triggers: Vec<TriggerPlan>,
    /// The changes, by trigger, resource and object; as many as were asked for.
    pub changes: Vec<Change>,
    /// Changes that are counted and not listed.
    pub more_changes: u64,
    /// Listed changes that were compared with the objects in the cluster.
    pub looked_at: u64,
    /// Why others were not; absent where all were, or none had to be.
    pub not_looked_because: Option<String>,
}

/// How many objects; of failures, how many lifecycles or objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PlanCounts)]
pub struct Counts {
    /// Would be made.
    pub create: u64,
    /// Would be changed.
    pub update: u64,
    /// Would be deleted and made again.
    pub replace: u64,
    /// Would be deleted.
    pub delete: u64,
    /// Would go on under another lifecycle, under their uid.
    pub hand_over: u64,
    /// Would stay, and belong to nobody.
    pub leave: u64,
    /// Would be wanted, and belong to others.
    pub conflict: u64,
    /// Would fail.
    pub fail: u64,
    /// Of all of these, those that would wait for a confirmation: what would be deleted, and what would be made or changed
    /// for the same resource.
    pub held: u64,
}

/// What would be done about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = PlannedAction)]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted and made again.
    Replace,
    /// It is deleted.
    Delete,
    /// Another lifecycle has it from then on.
    HandOver,
    /// It stays, and belongs to nobody.
    Leave,
    /// It belongs to others, and stays as it is.
    Conflict,
    /// It cannot be made or changed, or the lifecycle makes nothing.
    Fail,
}

/// Why the history of a trigger is decided again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is new.
    New,
    /// It, or what it is made of, is another.
    Changed,
    /// It is gone.
    Gone,
    /// It is as it was decided by last, and has to be decided again: it was broken, or this was asked for.
    Again,
}

/// What becomes of the objects of one trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriggerPlan {
    /// The EventTrigger.
    pub trigger: String,
    /// Why it is decided again.
    pub why: Why,
    /// Whether it is a dry run: what it would make is rendered, and nothing is applied or deleted.
    pub dry_run: bool,
    /// How many objects stay as they are, and are touched no more, because it becomes a dry run; absent where it becomes none.
    #[serde(default)]
    pub untouched: Option<u64>,
    /// Its part of the counts.
    pub counts: Counts,
    /// What the brake would hold; absent where it holds nothing.
    pub held: Option<HeldWithdrawal>,
    /// Why resources would be left as they are; absent when none is.
    pub left_because: Option<String>,
    /// Whether it may make a list of all live keys that is not in the plan: something that it names is missing or broken.
    pub makes_list: bool,
}

/// One object, or a lifecycle that makes none because it fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = PlannedChange)]
pub struct Change {
    /// What would be done.
    pub action: Action,
    /// The EventTrigger: of what is handed over, the one that has it from then on.
    pub trigger: String,
    /// The cluster.
    pub cluster: String,
    /// CloudEvent source.
    pub source: String,
    /// CloudEvent subject.
    pub subject: String,
    /// The object; absent where a lifecycle as a whole fails.
    pub object: Option<ObjectRow>,
    /// The EventTrigger that hands it over; absent where nobody does.
    pub from_trigger: Option<String>,
    /// Whether it waits until somebody confirms it.
    pub held: bool,
    /// What `fields` compares.
    pub against: Against,
    /// What of the object would be different.
    pub fields: Vec<FieldChange>,
    /// Why, where that is not plain.
    pub because: Option<String>,
}

/// What the fields of a change were compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// The object in the cluster, with what an apply would make of it there (a dry run of the server).
    Cluster,
    /// What the rules in force render, with what these would.
    Rendered,
    /// Nothing.
    #[default]
    Nothing,
}

/// A problem of the rules, as `lifeline lint` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemRow {
    /// Whether it puts something out of force.
    pub is_error: bool,
    /// Such as `EventTrigger/name`.
    pub rule: String,
    /// Where it is.
    pub origin: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// What it is about: `manifest`, `field`, `unknown-field`, `template` or `reference`.
    pub topic: String,
    /// The field; empty for the manifest as a whole.
    pub field: String,
    /// Line in the text of the field, from 1; 0 for the field as a whole.
    pub line: usize,
    /// Column in that line, from 1; 0 for the line as a whole.
    pub column: usize,
}

const TOPICS: [(Topic, &str); 5] = [
    (Topic::Manifest, "manifest"),
    (Topic::Field, "field"),
    (Topic::UnknownField, "unknown-field"),
    (Topic::Template, "template"),
    (Topic::Reference, "reference"),
];

impl From<&Problem> for ProblemRow {
    fn from(problem: &Problem) -> ProblemRow {
        let Problem { rule, origin, severity, message, hint, place } = problem;
        let topic = TOPICS.iter().find(|(topic, _)| *topic == place.topic).map_or("", |(_, name)| name);
        ProblemRow {
            is_error: *severity == Severity::Error,
            rule: rule.clone(),
            origin: origin.clone(),
            message: message.clone(),
            hint: hint.clone(),
            topic: topic.to_owned(),
            field: place.field.clone(),
            line: place.line,
            column: place.column,
        }
    }
}

impl From<ProblemRow> for Problem {
    fn from(row: ProblemRow) -> Problem {
        let ProblemRow { is_error, rule, origin, message, hint, topic, field, line, column } = row;
        let topic = TOPICS.iter().find(|(_, name)| *name == topic).map_or(Topic::Manifest, |(topic, _)| *topic);
        let severity = if is_error { Severity::Error } else { Severity::Warning };
        Problem { rule, origin, severity, message, hint, place: Box::new(Place { topic, field, line, column }) }
    }
}

impl Counts {
    /// Counts one more.
    pub(super) fn add(&mut self, action: Action, is_held: bool) {
        let count = match action {
            Action::Create => &mut self.create,
            Action::Update => &mut self.update,
            Action::Replace => &mut self.replace,
            Action::Delete => &mut self.delete,
            Action::HandOver => &mut self.hand_over,
            Action::Leave => &mut self.leave,
            Action::Conflict => &mut self.conflict,
            Action::Fail => &mut self.fail,
        };
        *count += 1;
        self.held += u64::from(is_held);
    }

    /// Whether nothing would be done.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Counts::default()
    }
}

impl Preview {
    /// Whether the rules have an error, so that there is no plan.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.problems.iter().any(|problem| problem.is_error)
    }
}
