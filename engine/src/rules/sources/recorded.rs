//! The rules in force as the log has them, where there is no other source.
//!
//! Start at [`recorded`]. A Secret's content is not in a log, so nothing should be rendered from these. They say
//! exactly what an event matches, except where a trigger selects clusters by labels.

use std::collections::BTreeMap;

use lifeline_projections::fact::{Fact, RuleChanged};
use lifeline_projections::fold::RuleMark;
use lifeline_store::{Disk, Offset, Reader};
use serde_json::Value;

use crate::account::Account;
use crate::rules::cluster::Clusters;
use crate::rules::problem::Problem;
use crate::rules::read::manifest::Manifests;
use crate::rules::read::metadata;
use crate::rules::read::spec::{self, EventTriggerSpec, SyncMode};
use crate::rules::set::RuleSet;

/// The rules that a state names, read from the records that it names for them. One that cannot be read is a problem.
#[must_use]
pub fn recorded<D: Disk>(log: &Reader<D>, rules: &BTreeMap<String, RuleMark>, clusters: Clusters) -> RuleSet {
    let mut manifests = Manifests::default();
    for (rule, mark) in rules {
        let origin = format!("offset {}", mark.record);
        match manifest(log, mark.record) {
            Ok(Some(manifest)) => manifests.push(&origin, manifest),
            Ok(None) => {}
            Err(reason) => manifests.unreadable.push(Problem::error(rule, origin, reason)),
        }
    }
    RuleSet::new(manifests, clusters)
}

/// What a trigger said last of the objects that it makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// In whose name they are touched; `None` for the engine's own.
    pub account: Option<Account>,
    /// Whether it was a dry run: then nothing is deleted.
    pub is_dry_run: bool,
}

/// What a trigger said last, as the log has it: of all records about rules, in the order of the log. So what a trigger made is
/// deleted in the same name when it is gone, and stays where it was a dry run.
///
/// # Errors
/// When a record cannot be read: then nobody knows in whose name.
pub fn recorded_left<D: Disk>(log: &Reader<D>, records: &[Offset], trigger: &str) -> Result<Left, String> {
    let name = format!("EventTrigger/{trigger}");
    for offset in records.iter().rev() {
        let record = log.read(*offset).map_err(|error| error.to_string())?;
        let record = record.ok_or_else(|| "the log no longer holds it".to_owned())?;
        let Ok(Fact::Rule(RuleChanged { rule, manifest, .. })) = Fact::decode(&record.payload) else { continue };
        if rule != name || manifest.is_empty() {
            continue;
        }
        // One that could not be in force made nothing.
        if let Ok(manifest) = serde_json::from_str::<Value>(manifest)
            && let Ok(account) = metadata::account(&manifest)
            && let Ok(spec) = spec::read::<EventTriggerSpec>(&manifest["spec"])
        {
            return Ok(Left { account, is_dry_run: spec.sync_mode == SyncMode::DryRun });
        }
    }
    Ok(Left::default())
}

/// `None` for a Secret.
fn manifest<D: Disk>(log: &Reader<D>, offset: Offset) -> Result<Option<Value>, String> {
    let record = log.read(offset).map_err(|error| error.to_string())?;
    let record = record.ok_or_else(|| "the log no longer holds it".to_owned())?;
    match Fact::decode(&record.payload) {
        Ok(Fact::Rule(RuleChanged { manifest: "", .. })) => Ok(None),
        Ok(Fact::Rule(RuleChanged { manifest, .. })) => {
            serde_json::from_str(manifest).map_err(|error| error.to_string())
        }
        Ok(_) => Err("its record is about something else".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
