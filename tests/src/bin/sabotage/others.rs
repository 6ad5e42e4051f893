//! Sabotages of what others do to objects: policies that change what is applied, and deletions that hang.

use super::{APPLY, STEP, Sabotage};

/// The sabotages of this kind; `Sabotage` says what the fields mean.
pub(super) static SABOTAGES: [Sabotage; 3] = [
    Sabotage {
        name: "say nothing of what the cluster changes as it takes it",
        file: APPLY,
        good: "if !fields.is_empty() && self.noted.note(",
        bad: "if !SABOTAGED && !fields.is_empty() && self.noted.note(",
    },
    Sabotage {
        name: "take what the cluster changes as it takes it for a drift",
        file: "engine/src/reconcile/drift/applying.rs",
        good: "applied.fields = if is_altered { as_altered(fields) } else { fields };",
        bad: "applied.fields = if !is_altered { fields } else if SABOTAGED { fields ^ 1 } else { as_altered(fields) };",
    },
    Sabotage {
        name: "take what is being deleted for gone",
        file: STEP,
        good: "Known::Deleted(Deletion::Terminating) => return Step::End(Removed::Waits),",
        bad: "Known::Deleted(Deletion::Terminating) if SABOTAGED => return Step::End(Removed::Gone),
        Known::Deleted(Deletion::Terminating) => return Step::End(Removed::Waits),",
    },
];
