//! The rules in force as the log has them, where there is no other source.
//!
//! Start at [`recorded`]. A Secret's content is not in a log, so nothing should be rendered from these. They say
//! exactly what an event matches, except where a trigger selects clusters by labels.

use std::collections::BTreeMap;

use lifeline_projections::fact::{Fact, RuleChanged};
use lifeline_projections::fold::RuleMark;
use lifeline_store::{Disk, Offset, Reader};
use serde_json::Value;

use crate::rules::cluster::Clusters;
use crate::rules::problem::Problem;
use crate::rules::read::manifest::Manifests;
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
