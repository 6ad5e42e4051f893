//! What triggers with `syncMode: DryRun` would do, and which objects of others are in the way of the rest.
//!
//! Start at [`DryRuns`]. In memory alone: it is found out again after a start, and now and then. How, is a part of
//! reconciliation.

use std::collections::BTreeMap;

use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::reads::ObjectRow;
use lifeline_store::Offset;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields::FieldChange;

/// What a dry run would do with one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DryRunRow {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectRow,
    /// The cluster it is on, or would be.
    pub cluster: String,
    /// The EventTrigger.
    pub trigger: String,
    /// CloudEvent `source`.
    pub source: String,
    /// CloudEvent `subject`.
    pub subject: String,
    /// What would be done.
    pub action: Action,
    /// The fields that would change, as the cluster says, some of them; those of the marks are left out.
    pub fields: Vec<FieldChange>,
    /// What is in the way, or what was refused; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// When the cluster was asked, RFC 3339.
    pub time: String,
}

/// What would be done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DryRunAction)]
pub enum Action {
    /// It would be made.
    Create,
    /// It is there, and would be changed.
    Change,
    /// It would be deleted.
    Delete,
    /// It would not be applied: something is in the way.
    Refuse,
}

impl Action {
    /// The word that users see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Change => "change",
            Action::Delete => "delete",
            Action::Refuse => "refuse",
        }
    }
}

/// What dry runs found, by lifecycle.
#[derive(Debug, Default)]
pub struct DryRuns {
    found: Mutex<BTreeMap<LifecycleIndex, Vec<DryRunRow>>>,
    /// The decision whose dry run is in the log of the process. It is repeated every ten minutes, and said once.
    said: Mutex<BTreeMap<LifecycleIndex, Offset>>,
}

impl DryRuns {
    /// Notes what the dry run of a lifecycle found.
    pub(crate) fn set(&self, lifecycle: LifecycleIndex, rows: Vec<DryRunRow>) {
        self.found.lock().insert(lifecycle, rows);
    }

    /// Notes one more object of a lifecycle.
    pub(crate) fn add(&self, lifecycle: LifecycleIndex, row: DryRunRow) {
        self.found.lock().entry(lifecycle).or_default().push(row);
    }

    /// Whether the dry run of a decision was not said yet; it is from now on.
    pub(crate) fn is_news(&self, lifecycle: LifecycleIndex, decided: Offset) -> bool {
        self.said.lock().insert(lifecycle, decided) != Some(decided)
    }

    /// Forgets the dry run of a lifecycle: it is worked on.
    pub(crate) fn forget(&self, lifecycle: LifecycleIndex) {
        let mut found = self.found.lock();
        if !found.is_empty() {
            found.remove(&lifecycle);
        }
    }

    /// The lifecycles with a dry run.
    pub(crate) fn lifecycles(&self) -> Vec<LifecycleIndex> {
        self.found.lock().keys().copied().collect()
    }

    /// What was found of lifecycles for which this holds.
    pub(crate) fn rows(&self, mut holds: impl FnMut(LifecycleIndex) -> bool) -> Vec<DryRunRow> {
        let found = self.found.lock();
        found.iter().filter(|(index, _)| holds(**index)).flat_map(|(_, rows)| rows.iter().cloned()).collect()
    }
}
