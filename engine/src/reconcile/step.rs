//! What to do next about one object: look at it, apply it, delete it, or nothing more.
//!
//! Start at [`wanted`] and [`unwanted`]: an object shall exist, or no longer. Each takes what is known of the object by now
//! and gives one [`Step`]; [`super::perform`] carries it out and asks again with the answer. Pure and total: nothing here
//! asks the cluster or the time.

use std::sync::Arc;

use lifeline_projections::fact::{AppliedObject, LifecycleKey};
use lifeline_projections::lifecycle::{Desired, Holding};
use serde_json::Value;

use crate::cluster::{Deletion, LiveObject};
use crate::reconcile::leaving;
use crate::reconcile::marks::{self, Owner};
use crate::reconcile::plan::Wanted;

/// What to do next about an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<End> {
    /// Ask the cluster what has its name.
    Look,
    /// Make it, if there is none.
    Make {
        /// What is applied.
        manifest: Arc<Value>,
    },
    /// Apply it.
    Apply {
        /// What is applied.
        manifest: Arc<Value>,
        /// Only an object that lives under this uid is changed.
        uid: Option<String>,
    },
    /// Delete it.
    Delete {
        /// The identity it lives under.
        uid: String,
    },
    /// Make the Namespace that it belongs into.
    MakeNamespace,
    /// Nothing more: this is what came of it.
    End(End),
}

/// An apply was refused because of a field of the live object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The fields.
    pub fields: String,
    /// What the cluster said.
    pub message: String,
    /// The identity under which it was to be changed.
    pub uid: Option<String>,
    /// They are not given and keep the value they have. Else they can never change.
    pub is_left: bool,
}

/// What is known of an object: what the cluster answered to the step before.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// Nothing but what is recorded: there was no step yet.
    Recorded,
    /// Something else has the name than what is recorded, or had it: somebody deleted the object, put another in its place, or
    /// made one where none is known.
    Lost,
    /// What has its name.
    Found(Option<LiveObject>),
    /// It was applied, and this is what lives now.
    Applied(LiveObject),
    /// Its deletion has come so far.
    Deleted(Deletion),
    /// It was not applied, for a field of it can never change.
    Refused(Refusal),
    /// It was not applied, for its Namespace does not exist.
    Homeless,
    /// Its Namespace was just made.
    Housed,
}

/// What the log says beside the lifecycle's own holding of an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Another lifecycle claimed the object first, or may delete the Namespace that a wanted object is in.
    pub is_held_up: bool,
    /// Another lifecycle with [`Desired::Present`] claims the object too.
    pub has_next_claimant: bool,
    /// The marks name another lifecycle, and the first claim takes precedence over them.
    pub outranks_marks: bool,
    /// The marks name another instance of Lifeline.
    pub is_elsewhere: bool,
    /// A lifecycle claims the Namespace that the object belongs into, and will make it.
    pub has_namespace_claimant: bool,
    /// It was applied just like this for an earlier event, so it is looked at, and applied only if it is not so any more.
    pub is_unchanged: bool,
    /// What shall hold by now, where the lifecycle was decided again since the task began.
    pub overtaken_by: Option<Desired>,
}

/// What came of an object that shall exist.
#[derive(Debug, Clone, PartialEq)]
pub enum Made {
    /// It is as wanted.
    Applied(AppliedObject),
    /// It exists and belongs to another owner.
    Foreign(Owner),
    /// It is being deleted. This holds it, if something does.
    Terminating(Option<String>),
    /// Another lifecycle has to let go first.
    HeldUp,
    /// It was to be as it was applied before, and is not.
    Differs,
    /// A field that can never change is in the way.
    NeverChanges(Refusal),
    /// A field that can never change is in the way. The object is to be deleted and made again.
    Recreates(Refusal),
    /// Its Namespace does not exist, and is not this lifecycle's to make.
    Homeless,
    /// The lifecycle wants no objects any more.
    Unwanted,
}

/// What came of an object that is held and shall no longer exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It is no more.
    Gone,
    /// It may be wanted again, or was just asked to go: look again.
    Waits,
    /// It is being deleted. This holds it, if something does.
    Leaving(Option<String>),
    /// It belongs to another owner: the claim ends, the object stays.
    Released,
    /// Another lifecycle takes it over: the claim ends, if the other one still exists when that is recorded.
    HandedOver,
}

/// How far a removal may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removing {
    /// What no other lifecycle claims is deleted.
    DeletesToo,
    /// Nothing is deleted.
    HandsOver,
}

/// Decides about an object that shall exist. `recorded` is the uid it was last applied under.
///
/// Each call may take seconds, so before each change it is asked whether the lifecycle came to want no objects. A decision
/// for another event stops nothing: however fast such decisions come, objects are made.
#[must_use]
pub fn wanted(
    want: &Wanted,
    recorded: Option<&str>,
    known: &Known,
    key: &LifecycleKey,
    circumstances: Circumstances,
) -> Step<Made> {
    let is_unwanted = circumstances.overtaken_by.is_some_and(|desired| !desired.is_present());
    let apply = |uid: Option<&str>| match is_unwanted {
        true => Step::End(Made::Unwanted),
        false => Step::Apply { manifest: want.manifest.clone(), uid: uid.map(str::to_owned) },
    };
    match known {
        Known::Recorded if circumstances.is_held_up => Step::End(Made::HeldUp),
        Known::Recorded if circumstances.is_unchanged && !is_unwanted => Step::Look,
        Known::Recorded if is_unwanted || recorded.is_some() => apply(recorded),
        Known::Recorded => Step::Make { manifest: want.manifest.clone() },
        Known::Lost | Known::Deleted(_) => Step::Look,
        Known::Found(live) if circumstances.is_unchanged => match live {
            Some(live) if is_as_applied(live, want, recorded, key) => Step::End(Made::Applied(applied(want, live))),
            Some(_) | None => Step::End(Made::Differs),
        },
        Known::Found(None) | Known::Housed => apply(None),
        Known::Found(Some(live)) if live.deleting => Step::End(Made::Terminating(leaving::held_by(live))),
        Known::Found(Some(live)) => match marks::owner_here(live, key, circumstances.is_elsewhere) {
            Owner::Us => apply(Some(&live.uid)),
            Owner::Other { .. } if circumstances.outranks_marks => apply(Some(&live.uid)),
            Owner::Other { .. } | Owner::Elsewhere { .. } | Owner::Stranger if want.adopts => apply(Some(&live.uid)),
            Owner::Stranger if marks::is_bare_namespace(live) => apply(Some(&live.uid)),
            owner => Step::End(Made::Foreign(owner)),
        },
        Known::Applied(live) if live.deleting => Step::End(Made::Terminating(leaving::held_by(live))),
        Known::Applied(live) => Step::End(Made::Applied(applied(want, live))),
        Known::Refused(_) | Known::Homeless if is_unwanted => Step::End(Made::Unwanted),
        Known::Refused(refusal) if want.handling.recreates && refusal.uid.is_some() => {
            Step::End(Made::Recreates(refusal.clone()))
        }
        Known::Refused(refusal) => Step::End(Made::NeverChanges(refusal.clone())),
        Known::Homeless if want.handling.makes_namespace && !circumstances.has_namespace_claimant => {
            Step::MakeNamespace
        }
        Known::Homeless => Step::End(Made::Homeless),
    }
}

fn applied(want: &Wanted, live: &LiveObject) -> AppliedObject {
    AppliedObject { object: want.object.clone(), uid: live.uid.clone(), digest: want.digest, fields: 0 }
}

/// Whether a live object is the recorded one, ours, and as it was applied. A server that writes a value in another way, or
/// keeps one for itself (`stringData`), makes it differ: then it is applied once more.
fn is_as_applied(live: &LiveObject, want: &Wanted, recorded: Option<&str>, key: &LifecycleKey) -> bool {
    !live.deleting
        && recorded == Some(&live.uid)
        && marks::owner(live, key) == Owner::Us
        && marks::holds(&live.manifest, &want.manifest)
}

/// Decides about an object that is held and no longer wanted.
///
/// The marks say whose a live object is, because the answer of an apply may have been lost, and with it the uid. An object
/// that was just taken over still has the marks of the lifecycle before. An object without marks is ours if its uid is the
/// recorded one.
#[must_use]
pub fn unwanted(
    holding: &Holding,
    known: &Known,
    key: &LifecycleKey,
    circumstances: Circumstances,
    removing: Removing,
) -> Step<Removed> {
    let live = match known {
        Known::Recorded if circumstances.is_held_up => return Step::End(Removed::HandedOver),
        Known::Recorded | Known::Lost | Known::Applied(_) | Known::Refused(_) | Known::Homeless | Known::Housed => {
            return Step::Look;
        }
        Known::Found(None) | Known::Deleted(Deletion::Gone) => return Step::End(Removed::Gone),
        Known::Deleted(Deletion::Terminating) => return Step::End(Removed::Waits),
        Known::Found(Some(live)) => live,
    };
    let recorded = holding.applied.as_ref();
    let is_recorded = recorded.is_some_and(|applied| applied.uid == live.uid);
    let is_ours = match marks::owner_here(live, key, circumstances.is_elsewhere) {
        Owner::Us => true,
        Owner::Elsewhere { .. } => false,
        Owner::Other { .. } => circumstances.outranks_marks,
        Owner::Stranger => is_recorded,
    };
    if !is_ours {
        // The object found stays. If another uid was recorded, ours is gone.
        let is_gone = recorded.is_some() && !is_recorded;
        return Step::End(if is_gone { Removed::Gone } else { Removed::Released });
    }
    // A deletion that was asked for takes its time; an object that may be wanted again is not deleted.
    let is_overtaken = circumstances.overtaken_by.is_some_and(Desired::is_present);
    if live.deleting {
        return Step::End(Removed::Leaving(leaving::held_by(live)));
    }
    if is_overtaken {
        return Step::End(Removed::Waits);
    }
    if circumstances.has_next_claimant {
        return Step::End(Removed::HandedOver);
    }
    match removing {
        Removing::DeletesToo => Step::Delete { uid: live.uid.clone() },
        Removing::HandsOver => Step::End(Removed::Waits),
    }
}

#[cfg(test)]
mod tests {
    use lifeline_projections::fact::{ObjectKey, ResourceKey};
    use lifeline_projections::lifecycle::{Applied, DIGEST_UNKNOWN};
    use lifeline_store::Offset;
    use serde_json::json;

    use super::*;
    use crate::cluster::Managed;
    use crate::reconcile::marks::Marks;
    use crate::rules::Handling;

    /// Who made an object: this lifecycle (that of zoe), that of another subject, or nobody that we know of.
    #[derive(Debug, Clone, Copy)]
    enum By {
        Us,
        Other,
        Stranger,
    }
    use By::{Other, Stranger, Us};

    const ALONE: Circumstances = Circumstances {
        is_held_up: false,
        has_next_claimant: false,
        outranks_marks: false,
        is_elsewhere: false,
        has_namespace_claimant: false,
        is_unchanged: false,
        overtaken_by: None,
    };
    const HELD_UP: Circumstances = Circumstances { is_held_up: true, ..ALONE };
    const HAS_NEXT_CLAIMANT: Circumstances = Circumstances { has_next_claimant: true, ..ALONE };
    /// Another instance applied it last.
    const ELSEWHERE: Circumstances = Circumstances { is_elsewhere: true, ..ALONE };
    /// The object was handed over to us.
    const INHERITED: Circumstances = Circumstances { outranks_marks: true, ..ALONE };
    const WANTED_AGAIN: Circumstances =
        Circumstances { overtaken_by: Some(Desired::Present { event: Offset::ZERO }), ..ALONE };
    const WITHDRAWN: Circumstances = Circumstances { overtaken_by: Some(Desired::Absent { event: None }), ..ALONE };
    const LEFT: Circumstances = Circumstances { overtaken_by: Some(Desired::Left), ..ALONE };

    fn key(subject: &str) -> LifecycleKey {
        let resource = ResourceKey { source: "auth".into(), subject: subject.into() };
        LifecycleKey { trigger: "t".into(), cluster: "mgmt/mgmt".into(), resource }
    }

    fn live(by: By, deleting: bool) -> LiveObject {
        let mut manifest = json!({"metadata": {"name": "a"}});
        let mark = |subject: &str, manifest: &mut Value| {
            Marks { key: &key(subject), instance: "lifeline", event: Offset::ZERO }.mark(manifest)
        };
        match by {
            Us => mark("zoe", &mut manifest),
            Other => mark("ann", &mut manifest),
            Stranger => {}
        }
        LiveObject { uid: "live".into(), deleting, manifest, managed: Managed::default() }
    }

    fn nothing() -> Known {
        Known::Found(None)
    }

    fn found(by: By) -> Known {
        Known::Found(Some(live(by, false)))
    }

    fn going(by: By) -> Known {
        Known::Found(Some(live(by, true)))
    }

    fn want(adopts: bool) -> Wanted {
        let object = ObjectKey::of_namespace("a");
        let (manifest, origin, handling) = (Arc::default(), String::new(), Handling::default());
        Wanted {
            object,
            manifest,
            digest: 7,
            origin,
            adopts,
            handling,
            is_defined_beside: false,
            has_open_types: false,
        }
    }

    fn apply(uid: Option<&str>) -> Step<Made> {
        Step::Apply { manifest: Arc::default(), uid: uid.map(str::to_owned) }
    }

    #[test]
    fn what_was_applied_like_this_for_an_earlier_event_is_looked_at_and_left_if_it_is_as_it_was() {
        const UNCHANGED: Circumstances = Circumstances { is_unchanged: true, ..ALONE };
        let mut marked = live(Us, false).manifest;
        let want = Wanted { manifest: Arc::new(marked.clone()), ..want(false) };
        let check = |recorded: &str, known: Known, circumstances: Circumstances, expected: Step<Made>| {
            let step = wanted(&want, Some(recorded), &known, &key("zoe"), circumstances);
            assert_eq!(step, expected, "{known:?}, {circumstances:?}");
        };
        let kept = || Step::End(Made::Applied(applied(&want, &live(Us, false))));
        let differs = || Step::End(Made::Differs);
        check("live", Known::Recorded, UNCHANGED, Step::Look);
        check("live", found(Us), UNCHANGED, kept());
        check("before", found(Us), UNCHANGED, differs());
        check("live", going(Us), UNCHANGED, differs());
        check("live", found(Other), UNCHANGED, differs());
        check("live", found(Stranger), UNCHANGED, differs());
        check("live", nothing(), UNCHANGED, differs());
        check("live", Known::Recorded, Circumstances { is_unchanged: true, ..HELD_UP }, Step::End(Made::HeldUp));
        let withdrawn = Circumstances { is_unchanged: true, ..WITHDRAWN };
        check("live", Known::Recorded, withdrawn, Step::End(Made::Unwanted));
        marked["metadata"]["name"] = json!("b");
        let changed = LiveObject { manifest: marked, ..live(Us, false) };
        check("live", Known::Found(Some(changed)), UNCHANGED, differs());
    }

    #[test]
    fn what_is_wanted_is_applied_once_it_is_certain_that_it_is_ours_to_change() {
        let check = |recorded: Option<&str>, known: Known, circumstances: Circumstances, expected: Step<Made>| {
            let step = wanted(&want(false), recorded, &known, &key("zoe"), circumstances);
            assert_eq!(step, expected, "{recorded:?}, {known:?}, {circumstances:?}");
        };
        let end = Step::End;
        let foreign = |by: By| Step::End(Made::Foreign(marks::owner(&live(by, false), &key("zoe"))));
        let applied = AppliedObject { object: want(false).object, uid: "live".into(), digest: 7, fields: 0 };

        // An object of a known uid is applied at once, and any other one made; what is there already is looked at.
        check(Some("live"), Known::Recorded, ALONE, apply(Some("live")));
        check(None, Known::Recorded, ALONE, Step::Make { manifest: Arc::default() });
        check(None, Known::Lost, ALONE, Step::Look);
        check(Some("before"), Known::Lost, ALONE, Step::Look);
        check(None, nothing(), ALONE, apply(None));
        check(Some("before"), nothing(), ALONE, apply(None));
        check(Some("live"), Known::Deleted(Deletion::Gone), ALONE, Step::Look);

        // Marks decide whose it is, whatever uid was recorded.
        check(None, found(Us), ALONE, apply(Some("live")));
        check(Some("before"), found(Us), ALONE, apply(Some("live")));
        check(None, found(Other), ALONE, foreign(Other));
        check(Some("live"), found(Other), ALONE, foreign(Other));
        check(None, found(Other), INHERITED, apply(Some("live")));
        check(None, found(Stranger), ALONE, foreign(Stranger));
        check(None, found(Stranger), INHERITED, foreign(Stranger));
        let elsewhere = || Step::End(Made::Foreign(Owner::Elsewhere { instance: "lifeline".to_owned() }));
        check(None, found(Us), ELSEWHERE, elsewhere());
        check(Some("before"), found(Us), ELSEWHERE, elsewhere());
        check(None, found(Other), ELSEWHERE, foreign(Other));

        // An object that is being deleted is waited for, no matter who made it.
        check(None, going(Us), ALONE, end(Made::Terminating(None)));
        check(None, going(Stranger), ALONE, end(Made::Terminating(None)));
        check(Some("live"), Known::Applied(live(Us, true)), ALONE, end(Made::Terminating(None)));
        check(Some("live"), Known::Applied(live(Us, false)), ALONE, end(Made::Applied(applied.clone())));

        // Another lifecycle has to let go: nobody even looks.
        check(None, Known::Recorded, HELD_UP, end(Made::HeldUp));
        check(Some("live"), Known::Recorded, HELD_UP, end(Made::HeldUp));

        // A lifecycle that came to want no objects changes nothing; one that was decided for another event goes on.
        check(None, Known::Recorded, WITHDRAWN, end(Made::Unwanted));
        check(Some("live"), Known::Recorded, WITHDRAWN, end(Made::Unwanted));
        check(Some("live"), Known::Recorded, LEFT, end(Made::Unwanted));
        check(None, nothing(), WITHDRAWN, end(Made::Unwanted));
        check(None, found(Us), WITHDRAWN, end(Made::Unwanted));
        check(None, found(Stranger), WITHDRAWN, foreign(Stranger));
        check(None, Known::Applied(live(Us, false)), WITHDRAWN, end(Made::Applied(applied)));
        check(Some("live"), Known::Recorded, WANTED_AGAIN, apply(Some("live")));
        check(None, nothing(), WANTED_AGAIN, apply(None));
    }

    #[test]
    fn what_can_never_change_is_made_again_only_where_that_is_allowed() {
        let refusal = |uid: Option<&str>| Refusal {
            fields: "`spec.template`".into(),
            message: "it is immutable".into(),
            uid: uid.map(str::to_owned),
            is_left: false,
        };
        let check = |recreates: bool, known: Known, circumstances: Circumstances, expected: Step<Made>| {
            let want = Wanted { handling: Handling { recreates, ..Handling::default() }, ..want(false) };
            let step = wanted(&want, Some("live"), &known, &key("zoe"), circumstances);
            assert_eq!(step, expected, "{recreates}, {known:?}, {circumstances:?}");
        };
        let refused = |uid| Known::Refused(refusal(uid));
        check(true, refused(Some("live")), ALONE, Step::End(Made::Recreates(refusal(Some("live")))));
        check(false, refused(Some("live")), ALONE, Step::End(Made::NeverChanges(refusal(Some("live")))));
        // Nobody knows which object that would be.
        check(true, refused(None), ALONE, Step::End(Made::NeverChanges(refusal(None))));
        check(true, refused(Some("live")), WITHDRAWN, Step::End(Made::Unwanted));
    }

    #[test]
    fn a_missing_namespace_is_made_where_nobody_else_makes_it_and_the_policy_allows_it() {
        let claimed = Circumstances { has_namespace_claimant: true, ..ALONE };
        let check = |makes_namespace: bool, known: Known, circumstances: Circumstances, expected: Step<Made>| {
            let want = Wanted { handling: Handling { makes_namespace, ..Handling::default() }, ..want(false) };
            let step = wanted(&want, None, &known, &key("zoe"), circumstances);
            assert_eq!(step, expected, "{makes_namespace}, {known:?}, {circumstances:?}");
        };
        check(true, Known::Homeless, ALONE, Step::MakeNamespace);
        check(true, Known::Homeless, claimed, Step::End(Made::Homeless));
        check(false, Known::Homeless, ALONE, Step::End(Made::Homeless));
        check(true, Known::Homeless, WITHDRAWN, Step::End(Made::Unwanted));
        check(true, Known::Housed, ALONE, apply(None));
        // Such a Namespace belongs to nobody: who gives it takes it over.
        let bare = LiveObject {
            uid: "live".into(),
            deleting: false,
            managed: Managed::default(),
            manifest: marks::bare_namespace("a"),
        };
        check(true, Known::Found(Some(bare)), ALONE, apply(Some("live")));
    }

    #[test]
    fn a_trigger_that_adopts_takes_over_whatever_is_not_being_deleted() {
        let check = |known: Known, circumstances: Circumstances, expected: Step<Made>| {
            assert_eq!(
                wanted(&want(true), None, &known, &key("zoe"), circumstances),
                expected,
                "{known:?}, {circumstances:?}"
            );
        };
        check(Known::Recorded, ALONE, Step::Make { manifest: Arc::default() });
        check(found(Stranger), ALONE, apply(Some("live")));
        check(found(Other), ALONE, apply(Some("live")));
        check(found(Us), ELSEWHERE, apply(Some("live")));
        check(going(Stranger), ALONE, Step::End(Made::Terminating(None)));
        check(found(Stranger), WITHDRAWN, Step::End(Made::Unwanted));
        check(Known::Recorded, HELD_UP, Step::End(Made::HeldUp));
    }

    #[test]
    fn only_what_is_ours_is_deleted_and_what_never_was_is_let_go() {
        use Removing::{DeletesToo, HandsOver};
        let check_mode = |recorded: Option<&str>, known: Known, circumstances, removing, expected: Step<Removed>| {
            let applied = recorded.map(|uid| {
                let (digest, acted_for) = (DIGEST_UNKNOWN, Offset::ZERO);
                Applied { uid: uid.into(), digest, acted_for, unix_nanos: 0, fields: 0 }
            });
            let holding = Holding { object: ObjectKey::of_namespace("a"), since: Offset::ZERO, applied };
            let step = unwanted(&holding, &known, &key("zoe"), circumstances, removing);
            assert_eq!(step, expected, "{recorded:?}, {known:?}, {circumstances:?}, {removing:?}");
        };
        let check =
            |recorded, known, circumstances, expected| check_mode(recorded, known, circumstances, DeletesToo, expected);
        let delete = || Step::Delete { uid: "live".into() };
        let [gone, waits, released, handed_over] =
            [Removed::Gone, Removed::Waits, Removed::Released, Removed::HandedOver].map(Step::End);
        let leaving: Step<Removed> = Step::End(Removed::Leaving(None));

        // It is looked at before anything else.
        check(None, Known::Recorded, ALONE, Step::Look);
        check(Some("live"), Known::Recorded, ALONE, Step::Look);
        check(None, nothing(), ALONE, gone.clone());
        check(Some("live"), nothing(), ALONE, gone.clone());
        check(Some("live"), Known::Deleted(Deletion::Gone), ALONE, gone.clone());
        check(Some("live"), Known::Deleted(Deletion::Terminating), ALONE, waits.clone());

        // Whose it is, by its marks and by its uid.
        check(None, found(Stranger), ALONE, released.clone());
        check(None, found(Other), ALONE, released.clone());
        check(None, going(Other), ALONE, released.clone());
        check(None, found(Us), ALONE, delete());
        check(Some("before"), found(Stranger), ALONE, gone.clone());
        check(Some("before"), found(Other), ALONE, gone.clone());
        check(Some("before"), found(Us), ALONE, delete());
        check(None, found(Us), ELSEWHERE, released.clone());
        check(Some("before"), found(Us), ELSEWHERE, gone.clone());
        check(Some("live"), found(Us), ELSEWHERE, released.clone());
        check(Some("live"), found(Stranger), ALONE, delete());
        check(Some("live"), found(Other), ALONE, released.clone());
        check(Some("live"), going(Us), ALONE, leaving.clone());
        check(None, going(Us), ALONE, leaving.clone());

        // Another lifecycle claimed it first: it is not even looked at.
        check(Some("live"), Known::Recorded, HELD_UP, handed_over.clone());

        // Another lifecycle wants it: it is handed over, unless it is on its way out already.
        check(Some("live"), found(Us), HAS_NEXT_CLAIMANT, handed_over.clone());
        check(None, found(Us), HAS_NEXT_CLAIMANT, handed_over.clone());
        check(Some("live"), going(Us), HAS_NEXT_CLAIMANT, leaving.clone());
        check(Some("live"), nothing(), HAS_NEXT_CLAIMANT, gone.clone());

        // Decided again meanwhile, we may want it ourselves.
        check(Some("live"), found(Us), WANTED_AGAIN, waits.clone());
        check(Some("live"), nothing(), WANTED_AGAIN, gone.clone());
        check(Some("live"), found(Us), WITHDRAWN, delete());

        // It was handed over to us, and we no longer want it before we ever applied it.
        check(None, found(Other), INHERITED, delete());
        check(None, going(Other), INHERITED, leaving.clone());
        check(None, found(Stranger), INHERITED, released);
        check(None, found(Other), Circumstances { has_next_claimant: true, ..INHERITED }, handed_over.clone());

        // While not all that is wanted exists, nothing is deleted.
        check_mode(Some("live"), found(Us), ALONE, HandsOver, waits);
        check_mode(Some("live"), found(Us), HAS_NEXT_CLAIMANT, HandsOver, handed_over);
        check_mode(Some("live"), nothing(), ALONE, HandsOver, gone);
    }
}
