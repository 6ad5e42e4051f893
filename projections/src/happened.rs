//! What a fact means to the lifecycles of a resource.
//!
//! Start at [`Link::happened`]. All that folds lifecycles uses it, so a new fact is added here once.

use lifeline_store::Offset;

use crate::fact::{
    AppliedObject, DriftedObject, FailedAttempt, Gathered, Link, News, ObjectKey, Reconciled, Recreated, Redesired,
    Ruling, What,
};

/// What happened, and to which lifecycle of a resource.
pub(crate) struct Change<'f> {
    pub(crate) trigger: &'f str,
    pub(crate) cluster: &'f str,
    pub(crate) happened: Happened<'f>,
}

/// What can happen to a lifecycle, in the past tense.
#[derive(Debug, Clone, Copy)]
pub enum Happened<'a> {
    /// The decision about an event is Create; of a list, one of its keys is live.
    DecidedCreate,
    /// The decision about an event is Delete; of a list, none of its keys is live.
    DecidedDelete,
    /// The rules changed, and this is what the events mean now.
    Redecided(Redesired),
    /// These objects are about to be applied, or removed while the others stay; or they have to be applied again, because
    /// their namespace was deleted.
    ApplyIntended(&'a [ObjectKey]),
    /// All objects were applied for the decision.
    Applied {
        /// The decision.
        acted_for: Offset,
        /// All of them.
        objects: &'a [AppliedObject],
    },
    /// Others deleted or changed these objects.
    Drifted(&'a [DriftedObject]),
    /// An attempt failed.
    ApplyFailed {
        /// The decision.
        acted_for: Offset,
        /// What was applied before the failure.
        objects: &'a [AppliedObject],
        /// The reason.
        error: &'a str,
        /// Attempts since the decision.
        attempt: u32,
        /// Whether time alone may heal it.
        transient: bool,
    },
    /// An object is about to be deleted and made again.
    Recreated(&'a ObjectKey),
    /// The claim on these objects ends: they are gone, or belong to another owner or lifecycle.
    Removed {
        /// The decision.
        acted_for: Offset,
        /// Which.
        objects: &'a [ObjectKey],
    },
}

impl<'f> Link<'f> {
    /// What the fact says of lifecycles of this resource, in the order in which it holds.
    pub(crate) fn happened(self) -> impl Iterator<Item = Change<'f>> {
        let (event, cluster, one) = match self.news {
            News::Event(event) => (Some(event), event.delivery.cluster, None),
            News::Redecision(trigger, redecision) => {
                let happened = Happened::Redecided(redecision.desired);
                (None, "", Some(Change { trigger, cluster: &redecision.cluster, happened }))
            }
            News::Reconciled(reconciled) => {
                let (key, happened) = (&reconciled.key, Happened::of(reconciled));
                (None, "", Some(Change { trigger: &key.trigger, cluster: &key.cluster, happened }))
            }
            News::Gathered(Gathered { trigger, cluster, keys, .. }) => {
                let happened = if *keys > 0 { Happened::DecidedCreate } else { Happened::DecidedDelete };
                (None, "", Some(Change { trigger, cluster, happened }))
            }
        };
        let decisions =
            event.into_iter().flat_map(|event| event.decisions.iter().map(move |decision| (event, decision)));
        let decided = decisions.filter_map(move |(event, decision)| {
            let happened = match decision.ruling {
                _ if !event.counts(decision.trigger) => return None,
                Ruling::Create => Happened::DecidedCreate,
                Ruling::Delete => Happened::DecidedDelete,
                Ruling::NoAction(_) | Ruling::Failed(_) => return None,
            };
            Some(Change { trigger: decision.trigger, cluster, happened })
        });
        decided.chain(one)
    }
}

impl<'f> Happened<'f> {
    /// Whether it says what shall hold, rather than what was done about it.
    pub(crate) const fn is_decision(&self) -> bool {
        matches!(self, Happened::DecidedCreate | Happened::DecidedDelete | Happened::Redecided(_))
    }

    fn of(reconciled: &'f Reconciled) -> Happened<'f> {
        let acted_for = reconciled.acted_for;
        match &reconciled.what {
            What::Intended(objects) => Happened::ApplyIntended(objects),
            What::Applied(objects) => Happened::Applied { acted_for, objects },
            What::Failed(FailedAttempt { objects, error, attempt, transient }) => {
                Happened::ApplyFailed { acted_for, objects, error, attempt: *attempt, transient: *transient }
            }
            What::Recreated(Recreated { object, .. }) => Happened::Recreated(object),
            What::Deleted(objects) | What::Released(objects) => Happened::Removed { acted_for, objects },
            What::Drifted(objects) => Happened::Drifted(objects),
            // The object is applied, which is recorded beside it, and nothing more is to be done.
            What::Altered(_) => Happened::Drifted(&[]),
        }
    }
}
