//! In whose name the objects of a trigger are deleted when it is not in force any more, and whether they may be.
//!
//! The log remembers it: each manifest of a trigger is recorded, with the account that it names and its mode. If that account
//! has no rights any more, the deletion is refused and tried again: it is never done with the rights of the engine, for then
//! a tenant could have more deleted than the tenant may delete.

use std::collections::BTreeMap;

use lifeline_store::Disk;
use parking_lot::Mutex;

use crate::reconcile::failure::{Failure, Retry};
use crate::rules::spec::SyncMode;
use crate::rules::{Left, RuleSet, recorded_left};
use crate::view::View;

/// What is known of triggers that are not in force, as far as it was asked for.
#[derive(Default)]
pub struct Gone(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Records about rules that are taken into account.
    records: usize,
    left: BTreeMap<String, Left>,
}

impl Gone {
    /// What a trigger says, or said last, of the objects that it made.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn left<D: Disk>(&self, view: &View<D>, rules: &RuleSet, trigger: &str) -> Result<Left, Failure> {
        if let Some(trigger) = rules.trigger(trigger) {
            let is_dry_run = trigger.sync_mode() == SyncMode::DryRun;
            return Ok(Left { account: trigger.account().cloned(), is_dry_run });
        }
        let count = view.projection().ground().rule_records.len();
        {
            let known = &mut *self.0.lock();
            if known.records != count {
                *known = Known { records: count, ..Known::default() };
            }
            if let Some(left) = known.left.get(trigger) {
                return Ok(left.clone());
            }
        }
        let records = view.projection().ground().rule_records.clone();
        let left = recorded_left(&view.log(), &records, trigger).map_err(|reason| Failure {
            message: format!(
                "the manifest of the trigger `{trigger}`, which says in whose name to delete, cannot be read: {reason}"
            ),
            retry: Retry::Slowly,
        })?;
        let known = &mut *self.0.lock();
        if known.records == records.len() {
            known.left.insert(trigger.to_owned(), left.clone());
        }
        Ok(left)
    }
}
