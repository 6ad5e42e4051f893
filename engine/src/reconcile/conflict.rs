//! Objects that a lifecycle wants and another one has to let go of first.
//!
//! Start at [`conflicts`]. Pure: claims, as the projection has them, in; conflicts out.

use std::collections::{BTreeSet, HashMap, HashSet};

use lifeline_projections::fact::ObjectKey;
use lifeline_projections::fold::{LifecycleIndex, Projection};
use lifeline_projections::lifecycle::{Desired, Holding, Lifecycle};
use lifeline_store::Offset;

use crate::reconcile::failure::{Failure, Retry, named};
use crate::reconcile::plan::Wanted;
use crate::reconcile::task::Task;

/// A wanted object, or the namespace of one, that another lifecycle claimed first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub object: ObjectKey,
    /// Who claimed it first.
    pub owner: LifecycleIndex,
    /// The other lifecycle may delete the object: it no longer wants it, or has recorded a change whose outcome is not known.
    is_going: bool,
    /// The other lifecycle has applied the object, and does not delete it.
    pub exists: bool,
    /// What is reported about it.
    pub failure: Failure,
}

impl Conflict {
    /// Whether an object cannot be applied. One in a namespace that may be deleted soon would be deleted with it.
    pub fn holds_up(&self, object: &ObjectKey) -> bool {
        self.object == *object || (self.is_going && object.is_in(&self.object))
    }

    /// Whether another lifecycle has this object, and does not let go of it by itself.
    pub fn is_lasting(&self, object: &ObjectKey) -> bool {
        self.object == *object && !self.is_going
    }
}

/// Conflicts, found by their objects: there may be as many as there are wanted objects.
#[derive(Debug, Clone, Default)]
pub struct Conflicts(HashMap<ObjectKey, Conflict>);

impl Conflicts {
    /// Those of one attempt.
    pub fn of(conflicts: &[Conflict]) -> Conflicts {
        Conflicts(conflicts.iter().map(|conflict| (conflict.object.clone(), conflict.clone())).collect())
    }

    /// What holds an object up.
    pub fn holding_up(&self, object: &ObjectKey) -> Option<&Conflict> {
        let namespace = || self.0.get(&ObjectKey::of_namespace(object.namespace.as_deref()?));
        let holds_up = |conflict: &&Conflict| conflict.holds_up(object);
        self.0.get(object).filter(holds_up).or_else(|| namespace().filter(holds_up))
    }

    /// Who has an object, and does not let go of it by itself.
    pub fn lasting(&self, object: &ObjectKey) -> Option<&Conflict> {
        self.0.get(object).filter(|conflict| conflict.is_lasting(object))
    }
}

/// Wanted objects that another lifecycle claimed first, and the namespaces of wanted objects that another lifecycle owns and
/// may delete, where the task does not want them itself.
pub fn conflicts(projection: &Projection, task: &Task, wanted: &[Wanted]) -> Vec<Conflict> {
    let owner = |object: &ObjectKey| {
        let owner = projection.claims(&task.key.cluster, object).first()?.lifecycle;
        if owner == task.index {
            return None;
        }
        let (head, holding) = (projection.head(owner), projection.holding(owner, object));
        let is_going = is_going(head.desired, head.decided, head.is_failing, holding.as_ref());
        let name = || named(head.trigger, &projection.resource_key(owner));
        Some((owner, is_going, holding.is_some_and(|holding| holding.applied.is_some()), name()))
    };
    let mut conflicts = Vec::new();
    for Wanted { object, .. } in wanted {
        let Some((index, is_going, is_applied, name)) = owner(object) else { continue };
        let message = format!(
            "{object} is held by {name}\nhint: give the object a name of its own; it is taken over when that lifecycle releases \
             it"
        );
        let exists = !is_going && is_applied;
        let failure = Failure { message, retry: Retry::Slowly };
        conflicts.push(Conflict { object: object.clone(), owner: index, is_going, exists, failure });
    }
    let names: BTreeSet<&str> = wanted.iter().filter_map(|want| want.object.namespace.as_deref()).collect();
    let namespaces = names.into_iter().map(ObjectKey::of_namespace);
    let wants: HashSet<&ObjectKey> = wanted.iter().map(|want| &want.object).collect();
    for object in namespaces.filter(|namespace| !wants.contains(namespace)) {
        let found = owner(&object).filter(|(_, is_going, ..)| *is_going);
        let Some((index, .., name)) = found else { continue };
        let message = format!(
            "nothing is applied in {object}, which may be deleted: {name} no longer wants it, or is changing it\nhint: this goes on \
             by itself; `lifeline show stuck` says what that trigger waits for"
        );
        let failure = Failure { message, retry: Retry::Slowly };
        conflicts.push(Conflict { object, owner: index, is_going: true, exists: false, failure });
    }
    conflicts
}

/// The Namespaces of a lifecycle that it may delete. Nobody makes objects in them meanwhile.
pub fn going_namespaces(owner: &Lifecycle) -> Vec<ObjectKey> {
    let Lifecycle { desired, decided, failure, inventory, .. } = owner;
    let goes = |holding: &&Holding| is_going(*desired, *decided, failure.is_some(), Some(holding));
    let namespaces = inventory.iter().filter(|holding| holding.object.is_namespace());
    namespaces.filter(goes).map(|holding| holding.object.clone()).collect()
}

/// Whether the lifecycle that owns an object may delete it: by what it desires, since when, whether its last attempt failed, and
/// what it holds of the object.
fn is_going(desired: Desired, decided: Offset, is_failing: bool, holding: Option<&Holding>) -> bool {
    if !desired.is_present() {
        return true;
    }
    let Some(holding) = holding else { return false };
    match &holding.applied {
        // While the outcome of a change is not known, a deletion may be under way.
        Some(applied) => !applied.is_known(),
        // Claimed for an earlier decision, it may be deleted for one in between. Once an attempt for the current decision has
        // failed, that deletion is over.
        None => holding.since < decided && !is_failing,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lifeline_projections::fact::{AppliedObject, Redesired};
    use lifeline_projections::happened::Happened;

    use super::*;
    use crate::reconcile::stories::Then::{Applied, Create, Delete, Intends};
    use crate::reconcile::stories::{Then, folded, object, task};
    use crate::rules::Handling;

    #[test]
    fn a_wanted_object_waits_for_the_first_claim_on_it_and_on_a_namespace_that_may_go() {
        // What ann wants, with what is known after a story: for each conflict its object, whether that may be deleted, and
        // whether it exists.
        let check = |wanted: &[&str], story: &[(&str, Then)], expected: &[(&str, bool, bool)]| {
            let want = |name: &&str| Wanted {
                object: object(name),
                manifest: Arc::default(),
                digest: 7,
                origin: String::new(),
                adopts: false,
                handling: Handling::default(),
                is_defined_beside: false,
                has_open_types: false,
            };
            let wanted: Vec<Wanted> = wanted.iter().map(want).collect();
            let projection = folded(story);
            let found = conflicts(&projection, &task(&projection, "ann"), &wanted);
            let found = found.into_iter().map(|conflict| (conflict.object, conflict.is_going, conflict.exists));
            let expected = expected.iter().map(|(name, is_going, exists)| (object(name), *is_going, *exists));
            let (found, expected): (Vec<_>, Vec<_>) = (found.collect(), expected.collect());
            assert_eq!(found, expected, "{wanted:?}, {story:?}");
        };
        let intended = [("ann", Create), ("zoe", Create), ("zoe", Intends("n"))];
        let applied = [&intended[..], &[("zoe", Applied("n", 1, "live"))]].concat();
        let changing = [&applied[..], &[("zoe", Create), ("zoe", Intends("n"))]].concat();
        let deleting = [&applied[..], &[("zoe", Delete)]].concat();
        // The object itself.
        check(&["n"], &[("ann", Create)], &[]);
        check(&["n"], &[("ann", Create), ("ann", Intends("n")), ("zoe", Create), ("zoe", Intends("n"))], &[]);
        check(&["n"], &intended, &[("n", false, false)]);
        check(&["n"], &applied, &[("n", false, true)]);
        check(&["n"], &changing, &[("n", true, false)]);
        check(&["n"], &deleting, &[("n", true, false)]);
        // Its Namespace, which is another conflict only if it may be deleted and is not wanted itself.
        check(&["n/a", "n/b"], &intended, &[]);
        check(&["n/a", "n/b"], &applied, &[]);
        check(&["n/a", "n/b"], &changing, &[("n", true, false)]);
        check(&["n/a", "n/b"], &deleting, &[("n", true, false)]);
        check(&["n", "n/a"], &deleting, &[("n", true, false)]);
        check(&["m/a"], &deleting, &[]);
    }

    #[test]
    fn a_conflict_holds_up_its_object_and_what_is_in_a_namespace_that_may_go() {
        let check = |is_going: bool, held_up: &str, expected: bool| {
            let failure = Failure { message: String::new(), retry: Retry::Slowly };
            let owner = LifecycleIndex { resource: 7, slot: 0 };
            let conflict = Conflict { object: object("n"), owner, is_going, exists: false, failure };
            assert_eq!(conflict.holds_up(&object(held_up)), expected, "{held_up}, {is_going}");
            let found = Conflicts::of(std::slice::from_ref(&conflict)).holding_up(&object(held_up)).is_some();
            assert_eq!(found, expected, "{held_up}, {is_going}");
        };
        check(false, "n", true);
        check(true, "n", true);
        check(false, "n/a", false);
        check(true, "n/a", true);
        check(true, "m", false);
        check(true, "m/a", false);
    }

    #[test]
    fn an_object_may_be_deleted_while_its_owner_does_not_want_it_or_an_outcome_is_not_known() {
        let namespace = ObjectKey::of_namespace("zoe");
        let (claimed, at) = ([namespace.clone()], Offset::from);
        let applied = [AppliedObject { object: namespace.clone(), uid: "uid".into(), digest: 7, fields: 0 }];
        let intended = Happened::ApplyIntended(&claimed);
        let done = |acted_for: u64| Happened::Applied { acted_for: at(acted_for), objects: &applied };
        let failed = |acted_for: u64| Happened::ApplyFailed {
            acted_for: at(acted_for),
            objects: &[],
            error: "no",
            attempt: 1,
            transient: true,
        };
        let withdrawn = Happened::Redecided(Redesired::Absent { event: None });
        let check = |story: &[Happened<'_>], expected: bool| {
            let mut owner = Lifecycle::new("manage", "mgmt/mgmt");
            for (happened, offset) in story.iter().zip(0..) {
                owner.evolve(at(offset), 0, *happened);
            }
            let (is_failing, holding) = (owner.failure.is_some(), owner.holding(&namespace));
            assert_eq!(is_going(owner.desired, owner.decided, is_failing, holding), expected, "{story:?}");
        };
        use Happened::{DecidedCreate, DecidedDelete};
        check(&[DecidedCreate, intended], false);
        check(&[DecidedCreate, intended, done(0)], false);
        check(&[DecidedCreate, intended, done(0), intended], true);
        check(&[DecidedCreate, intended, done(0), DecidedDelete], true);
        check(&[DecidedCreate, intended, done(0), withdrawn, DecidedCreate], true);
        // The first apply was never answered, and a deletion may have begun in between.
        check(&[DecidedCreate, intended, DecidedDelete, DecidedCreate], true);
        check(&[DecidedCreate, intended, DecidedDelete, DecidedCreate, failed(3)], false);
        check(&[DecidedCreate, intended, DecidedDelete, DecidedCreate, done(3)], false);
    }
}
