//! Rules: which events matter, what they ask for, and which manifests they become.
//!
//! Start at [`RuleSet`]: immutable, built by a pure function from [`Manifests`], asked by [`RuleSet::decide`] for every event
//! and by [`Trigger::manifests`] for every reconciliation. [`watch`] follows the two places that rules come
//! from (`directory`, `kubernetes`) and hands over a new set when something changed; these alone know files, network and time.
//!
//! ```text
//! directory --+                          EventView --decide--> Decision
//!             +--> Manifests --> RuleSet
//! kubernetes -+                          CloudEvent's map --manifests--> Rendered
//! ```
//!
//! A defect is a [`Problem`] of one rule and puts nothing else out of force. What is out of force is not gone: see
//! [`Standing`], by which a typo never withdraws what a trigger made.

mod action;
mod blocks;
mod cluster;
mod content;
mod directory;
mod go_syntax;
mod kubernetes;
mod manifest;
mod matching;
mod pattern;
mod problem;
mod recorded;
mod selector;
mod set;
mod source;
pub mod spec;
mod text;
mod trigger;
mod unmatched;
mod watch;

pub use crate::digest::digest;
pub use blocks::Block;
pub use cluster::{Cluster, ClusterKind, Clusters, OWN};
pub use content::{ContentKind, DIALECT, INSTANTIATE, Reference, SECRET_TYPE};
pub use directory::{Directory, Polled};
pub use kubernetes::Reporter;
pub use manifest::{Manifest, Manifests};
pub use matching::{EventView, Explanation, Mismatch};
pub use pattern::Pattern;
pub use problem::{Problem, Severity};
pub use recorded::recorded;
pub use selector::{LabelSelector, Operator, Requirement};
pub use set::{RuleDocument, RuleSet, Standing};
pub use source::EventSource;
pub use trigger::{ADOPT, Error, Rendered, Trigger};
pub use unmatched::unmatched;
pub use watch::{Current, Places, watch};

use crate::template::{self, Dialect};
use spec::UnknownField;

/// A field that is nearly one that exists is a typo, and what was meant would be missing: the rule is out of force. Any
/// other unknown field is taken to be of another release: a warning.
fn refuse_typos(
    rule: &str,
    origin: &str,
    unknown: Vec<UnknownField>,
    problems: &mut Vec<Problem>,
) -> Result<(), Problem> {
    for UnknownField { path, meant } in unknown {
        match meant {
            Some(meant) => {
                return Err(Problem::error(rule, origin, format!("unknown field `{path}`"))
                    .hint(format!("did you mean `{meant}`?")));
            }
            None => problems.push(Problem::warning(rule, origin, format!("unknown field `{path}` has no effect"))),
        }
    }
    Ok(())
}

/// The dialect an annotation names, or what is wrong with it.
fn dialect(named: &str) -> Result<Dialect, String> {
    match named {
        "go" => Ok(Dialect::Go),
        "tera" => Ok(Dialect::Tera),
        other => Err(format!("annotation `{DIALECT}` is `{other}`, which is no dialect")),
    }
}

/// A defect of a template, told at the rule it stands in.
fn template_problem(rule: &str, origin: &str, place: &str, error: &template::Error) -> Problem {
    let fault = error.fault();
    let at = match (fault.line, fault.column) {
        (0, _) => String::new(),
        (line, 0) => format!(", line {line}"),
        (line, column) => format!(", line {line}, column {column}"),
    };
    let problem = Problem::error(rule, origin, format!("{place}{at}: {}", fault.message));
    Problem { hint: fault.hint.clone(), ..problem }
}

#[cfg(test)]
mod tests;
