//! Objects with the marks of Lifeline that nothing in the log claims: shown, and deleted only when somebody confirms it.
//!
//! Start at [`Orphans`]. It is what the sites found, for those who ask, and what was confirmed, for the sites. In memory alone:
//! each start looks again. Which objects are orphans is decided by reconciliation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use lifeline_projections::reads::ObjectRow;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::status::{OrphanGroup, OrphanStatus};

/// An object with the marks of Lifeline that no lifecycle claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrphanRow {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectRow,
    /// The cluster it is on.
    pub cluster: String,
    /// The EventTrigger that its marks name.
    pub trigger: String,
    /// The CloudEvent `source` that they name.
    pub source: String,
    /// The CloudEvent `subject` that they name.
    pub subject: String,
    /// Why nothing claims it.
    pub because: String,
    /// What `lifeline confirm` is given to delete it, with the others of its trigger; absent where it cannot be deleted like
    /// this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// The orphans of all sites.
#[derive(Debug, Default)]
pub struct Orphans {
    sites: Mutex<BTreeMap<Arc<str>, Found>>,
    confirmed: watch::Sender<BTreeSet<String>>,
}

/// What a site found.
#[derive(Debug, Default)]
struct Found {
    rows: Vec<OrphanRow>,
    unlisted: Vec<String>,
}

impl Orphans {
    /// All of them, by cluster and object.
    #[must_use]
    pub fn rows(&self) -> Vec<OrphanRow> {
        self.sites.lock().values().flat_map(|found| found.rows.iter().cloned()).collect()
    }

    /// Lets the orphans with this id be deleted. Says of which trigger and how many they are; `None` where there are none.
    pub(crate) fn confirm(&self, id: &str) -> Option<(String, u64)> {
        let rows = self.rows();
        let mut meant = rows.iter().filter(|row| row.confirm.as_deref() == Some(id));
        let trigger = meant.next()?.trigger.clone();
        self.confirmed.send_modify(|confirmed| _ = confirmed.insert(id.to_owned()));
        Some((trigger, 1 + meant.count() as u64))
    }

    /// The ids that were confirmed.
    pub(crate) fn confirmed(&self) -> watch::Receiver<BTreeSet<String>> {
        self.confirmed.subscribe()
    }

    /// What a confirmation asked for was done, or tried.
    pub(crate) fn forget_confirmed(&self, id: &str) {
        self.confirmed.send_if_modified(|confirmed| {
            confirmed.remove(id);
            false
        });
    }

    /// Replaces what is known of a site: its orphans, and the kinds that could not be listed.
    pub(crate) fn set(&self, site: &Arc<str>, rows: Vec<OrphanRow>, unlisted: Vec<String>) {
        self.sites.lock().insert(site.clone(), Found { rows, unlisted });
    }

    /// For operators.
    pub(crate) fn status(&self, site: &str) -> OrphanStatus {
        let sites = self.sites.lock();
        let Some(Found { rows, unlisted }) = sites.get(site) else { return OrphanStatus::default() };
        let mut groups = BTreeMap::<(&str, Option<&str>), u64>::new();
        for row in rows {
            *groups.entry((&row.trigger, row.confirm.as_deref())).or_default() += 1;
        }
        let groups = groups.into_iter().map(|((trigger, confirm), objects)| OrphanGroup {
            trigger: trigger.to_owned(),
            objects,
            confirm: confirm.map(str::to_owned),
        });
        OrphanStatus {
            looked_for: true,
            objects: rows.len() as u64,
            groups: groups.collect(),
            unlisted: unlisted.clone(),
        }
    }
}

/// The name by which orphans are confirmed: another one for other objects, so nothing is deleted that was not shown.
#[must_use]
pub(crate) fn confirmation_id<'u>(cluster: &'u str, trigger: &'u str, uids: impl Iterator<Item = &'u str>) -> String {
    let mut sha = Sha256::new();
    for part in ["orphans", cluster, trigger].into_iter().chain(uids) {
        sha.update(part.as_bytes());
        sha.update([0]);
    }
    sha.finalize().iter().take(4).fold(String::new(), |mut id, byte| {
        write!(id, "{byte:02x}").expect("a String takes everything");
        id
    })
}

/// The sentence about orphans that wait for somebody.
#[must_use]
pub(crate) fn sentence(cluster: &str, group: &OrphanGroup) -> String {
    let OrphanGroup { trigger, objects, confirm } = group;
    let (them, have) = if *objects == 1 { ("object", "has") } else { ("objects", "have") };
    let remedy = match confirm {
        Some(id) => format!("`lifeline show orphans` lists them; `lifeline confirm {id}` deletes them"),
        None => "`lifeline show orphans` says what is in the way of deleting them".to_owned(),
    };
    format!(
        "cluster `{cluster}`: {objects} {them} {have} the marks of `{trigger}`, and nothing in the log claims them\nhint: {remedy}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(trigger: &str, name: &str, confirm: Option<&str>) -> OrphanRow {
        OrphanRow {
            object: ObjectRow {
                group: String::new(),
                version: "v1".into(),
                kind: "Namespace".into(),
                namespace: None,
                name: name.into(),
                uid: Some(format!("uid-{name}")),
            },
            cluster: "mgmt/mgmt".into(),
            trigger: trigger.into(),
            source: "auth".into(),
            subject: name.into(),
            because: "no event about it is recorded".into(),
            confirm: confirm.map(str::to_owned),
        }
    }

    #[test]
    fn what_was_shown_is_confirmed_by_its_id_once() {
        let orphans = Orphans::default();
        let rows = vec![row("t", "a", Some("0a")), row("t", "b", Some("0a")), row("u", "c", None)];
        orphans.set(&"mgmt/mgmt".into(), rows, vec!["Secret".into()]);
        let confirmed = orphans.confirmed();
        assert_eq!((orphans.confirm("0b"), orphans.confirm("")), (None, None));
        assert_eq!(orphans.confirm("0a"), Some(("t".to_owned(), 2)));
        assert!(confirmed.borrow().contains("0a"));
        orphans.forget_confirmed("0a");
        assert!(confirmed.borrow().is_empty());
        let status = orphans.status("mgmt/mgmt");
        assert_eq!((status.objects, status.groups.len(), status.unlisted.len()), (3, 2, 1));
        assert_eq!(orphans.status("other"), OrphanStatus::default());
        assert!(sentence("mgmt/mgmt", &status.groups[0]).contains("2 objects have the marks of `t`"));
    }

    #[test]
    fn an_id_is_about_these_objects() {
        let id = |trigger: &str, uids: &[&str]| confirmation_id("mgmt/mgmt", trigger, uids.iter().copied());
        let ids = [id("t", &["a"]), id("t", &["a", "b"]), id("u", &["a"]), id("t", &["ab"])];
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}
