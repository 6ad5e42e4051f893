//! Facts about the cluster: [`Reconciled`], what reconciliation was about to do, did, or could not do.

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};

use super::names::{LifecycleKey, ObjectKey};

/// Something was done in the cluster for a lifecycle, or was about to be, or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// The lifecycle.
    pub key: LifecycleKey,
    /// The decision acted for.
    pub acted_for: Offset,
    /// The record before this one about the same resource.
    pub previous: Option<Offset>,
    /// What was done.
    pub what: What,
}

/// What reconciliation can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// These objects are about to be applied, or removed while others stay, or have to be applied again because they went
    /// with their namespace. From here on the lifecycle claims them, and their checksums are unknown until an outcome is
    /// recorded.
    Intended(Vec<ObjectKey>),
    /// The lifecycle's objects, all of them, are in the cluster as its decision asks.
    Applied(Vec<AppliedObject>),
    /// An attempt to apply or delete did not succeed.
    Failed(FailedAttempt),
    /// These objects of the lifecycle are gone from the cluster.
    Deleted(Vec<ObjectKey>),
    /// The lifecycle lets go of these objects, which belong to somebody else, or to the lifecycle that wants them next: they
    /// stay as they are.
    Released(Vec<ObjectKey>),
    /// An object of the lifecycle is about to be deleted and made again. From here on no uid of it is known.
    Recreated(Recreated),
    /// Somebody else deleted or changed these objects. They have to be applied again.
    Drifted(Vec<DriftedObject>),
    /// The cluster itself changed an object as it took it.
    Altered(Altered),
}

/// An object that is deleted and made again: a field of it shall change that never can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recreated {
    /// The object.
    pub object: ObjectKey,
    /// `metadata.uid` of the one that is deleted.
    pub uid: String,
    /// What the cluster said to the change.
    pub reason: String,
}

/// An object that has other values than those that were applied: an admission policy or a webhook changed them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Altered {
    /// The object.
    pub object: ObjectKey,
    /// Where they are, such as `data.login`.
    pub fields: Vec<String>,
}

impl Altered {
    /// What happened, in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let fields: Vec<String> = self.fields.iter().map(|field| format!("`{field}`")).collect();
        format!("the cluster changed {} as it took {}", fields.join(", "), self.object.short())
    }
}

/// An object that is no longer as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftedObject {
    /// The object.
    pub object: ObjectKey,
    /// `metadata.uid` under which it was applied.
    pub uid: String,
    /// What happened to it.
    pub drift: Drift,
    /// The field manager that changed it last; `None` where the cluster does not say, as of a deletion.
    pub manager: Option<String>,
}

/// What others did to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Drift {
    /// It was deleted; another object may have its name.
    Deleted,
    /// A field that was applied belongs to another field manager now, or is gone.
    Changed,
}

impl Drift {
    /// Its name in tables, JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Drift::Deleted => "deleted",
            Drift::Changed => "changed",
        }
    }
}

/// An attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// What did get applied before the failure.
    pub objects: Vec<AppliedObject>,
    /// The reason, and after a newline a hint where there is one.
    pub error: String,
    /// Attempts since the decision, from 1.
    pub attempt: u32,
    /// Whether time alone may heal it.
    pub transient: bool,
}

/// An object that an apply left in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedObject {
    /// The object.
    pub object: ObjectKey,
    /// `metadata.uid` the cluster gave it.
    pub uid: String,
    /// Checksum of the manifest as it was sent; the same one need not be sent again.
    pub digest: u64,
    /// Checksum of the fields that belong to Lifeline since then, as the cluster keeps account of them; 0 where it is not
    /// known, and where nobody looks for drift. It is not among the bytes of facts without it.
    #[serde(skip)]
    pub fields: u64,
}

impl Reconciled {
    /// A fact that is not linked yet: the writer of the log knows the record before it.
    #[must_use]
    pub fn new(key: LifecycleKey, acted_for: Offset, what: What) -> Reconciled {
        Reconciled { key, acted_for, previous: None, what }
    }

    /// The objects that it names.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectKey> {
        let (named, applied, drifted): (&[ObjectKey], &[AppliedObject], &[DriftedObject]) = match &self.what {
            What::Intended(objects) | What::Deleted(objects) | What::Released(objects) => (objects, &[], &[]),
            What::Recreated(Recreated { object, .. }) | What::Altered(Altered { object, .. }) => {
                (std::slice::from_ref(object), &[], &[])
            }
            What::Applied(objects) | What::Failed(FailedAttempt { objects, .. }) => (&[], objects, &[]),
            What::Drifted(objects) => (&[], &[], objects),
        };
        let applied = applied.iter().map(|applied| &applied.object);
        named.iter().chain(applied).chain(drifted.iter().map(|drifted| &drifted.object))
    }
}
