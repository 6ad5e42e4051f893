//! In whose name the objects of a trigger are deleted when it is not in force any more.
//!
//! The log remembers it: each manifest of a trigger is recorded, and with it the account that it names. If that account
//! has no rights any more, the deletion is refused and tried again: it is never done with the rights of the engine, for then
//! a tenant could have more deleted than he may delete himself.

use std::collections::BTreeMap;

use lifeline_store::Disk;
use parking_lot::Mutex;

use crate::cluster::Account;
use crate::reconcile::failure::{Failure, Retry};
use crate::rules::{RuleSet, recorded_account};
use crate::view::View;

/// The accounts of triggers that are not in force, as far as they were asked for.
#[derive(Default)]
pub struct Gone(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Records about rules that are taken into account.
    records: usize,
    accounts: BTreeMap<String, Option<Account>>,
}

impl Gone {
    /// In whose name what a trigger made is deleted; `None` for the engine's own.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn account<D: Disk>(&self, view: &View<D>, rules: &RuleSet, trigger: &str) -> Result<Option<Account>, Failure> {
        if let Some(trigger) = rules.trigger(trigger) {
            return Ok(trigger.account().cloned());
        }
        let count = view.projection().ground().rule_records.len();
        {
            let known = &mut *self.0.lock();
            if known.records != count {
                *known = Known { records: count, ..Known::default() };
            }
            if let Some(account) = known.accounts.get(trigger) {
                return Ok(account.clone());
            }
        }
        let records = view.projection().ground().rule_records.clone();
        let account = recorded_account(&view.log(), &records, trigger).map_err(|reason| Failure {
            message: format!(
                "the manifest of the trigger `{trigger}`, which says in whose name to delete, cannot be read: {reason}"
            ),
            retry: Retry::Slowly,
        })?;
        let known = &mut *self.0.lock();
        if known.records == records.len() {
            known.accounts.insert(trigger.to_owned(), account.clone());
        }
        Ok(account)
    }
}
