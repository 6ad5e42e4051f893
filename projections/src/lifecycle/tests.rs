//! What each fact makes of a lifecycle.

use super::*;

#[test]
fn an_object_that_is_applied_in_another_version_of_its_kind_is_the_one_that_was_held() {
    let scaler = |version: &str| ObjectKey {
        group: "autoscaling".into(),
        version: version.into(),
        kind: "HorizontalPodAutoscaler".into(),
        namespace: Some("shop".into()),
        name: "web".into(),
    };
    let applied = |version: &str, digest| AppliedObject { object: scaler(version), uid: "u".into(), digest, fields: 0 };
    let mut lifecycle = Lifecycle::new("t", "c");
    let acted_for = Offset::from(0);
    lifecycle.evolve(acted_for, 0, Happened::DecidedCreate);
    lifecycle.evolve(Offset::from(1), 0, Happened::Applied { acted_for, objects: &[applied("v1", 1)] });
    lifecycle.evolve(Offset::from(2), 0, Happened::ApplyIntended(&[scaler("v2")]));
    assert_eq!(lifecycle.inventory[0].object.version, "v1", "an intended apply may fail");
    lifecycle.evolve(Offset::from(3), 0, Happened::Applied { acted_for, objects: &[applied("v2", 2)] });
    assert_eq!(lifecycle.inventory.len(), 1);
    assert_eq!((lifecycle.inventory[0].object.version.as_str(), lifecycle.inventory[0].since), ("v2", Offset::from(1)));
    lifecycle.evolve(Offset::from(4), 0, Happened::Removed { acted_for, objects: &[scaler("v1")] });
    assert_eq!(lifecycle.inventory, []);
}

fn namespace(name: &str) -> ObjectKey {
    ObjectKey::of_namespace(name)
}

fn applied(name: &str) -> AppliedObject {
    AppliedObject { object: namespace(name), uid: format!("uid-{name}"), digest: 7, fields: 0 }
}

/// Plays a story, one entry an offset, and compares phase, incarnation and inventory at its end.
fn check(story: &[Happened<'_>], phase: Phase, incarnation: u32, inventory: &[&str]) {
    let mut lifecycle = Lifecycle::new("trigger", "mgmt/mgmt");
    for (offset, happened) in story.iter().enumerate() {
        lifecycle.evolve(Offset::from(offset as u64), 1_000 + offset as u64, *happened);
    }
    let held: Vec<&str> = lifecycle.inventory.iter().map(|holding| holding.object.name.as_str()).collect();
    assert_eq!((lifecycle.phase(), lifecycle.incarnation, held.as_slice()), (phase, incarnation, inventory));
    assert_eq!(lifecycle.needs_work(), matches!(phase, Phase::Failing | Phase::Pending | Phase::Deleting));
}

#[test]
fn a_lifecycle_follows_its_events() {
    use Happened::{Applied, ApplyFailed, ApplyIntended, DecidedCreate, DecidedDelete, Removed};
    let one = [namespace("one")];
    let done = [applied("one")];
    let at = |offset: u64| Offset::from(offset);
    let failed = |acted_for: u64| ApplyFailed {
        acted_for: at(acted_for),
        objects: &[],
        error: "no",
        attempt: 1,
        transient: true,
    };
    let applied_for = |acted_for: u64| Applied { acted_for: at(acted_for), objects: &done };
    let removed_for = |acted_for: u64| Removed { acted_for: at(acted_for), objects: &one };

    check(&[], Phase::Gone, 0, &[]);
    check(&[DecidedCreate], Phase::Pending, 1, &[]);
    check(&[DecidedCreate, ApplyIntended(&one)], Phase::Pending, 1, &["one"]);
    check(&[DecidedCreate, ApplyIntended(&one), applied_for(0)], Phase::Ready, 1, &["one"]);
    check(&[DecidedCreate, failed(0)], Phase::Failing, 1, &[]);
    check(&[DecidedCreate, failed(0), applied_for(0)], Phase::Ready, 1, &["one"]);
    check(&[DecidedCreate, ApplyIntended(&one), applied_for(0), DecidedCreate], Phase::Pending, 1, &["one"]);
    check(&[DecidedCreate, ApplyIntended(&one), applied_for(0), DecidedDelete], Phase::Deleting, 1, &["one"]);
    check(&[DecidedCreate, ApplyIntended(&one), applied_for(0), DecidedDelete, failed(3)], Phase::Failing, 1, &["one"]);
    check(&[DecidedCreate, ApplyIntended(&one), applied_for(0), DecidedDelete, removed_for(3)], Phase::Gone, 1, &[]);
    check(
        &[DecidedCreate, ApplyIntended(&one), applied_for(0), DecidedDelete, removed_for(3), DecidedCreate],
        Phase::Pending,
        2,
        &[],
    );
    check(&[DecidedDelete], Phase::Gone, 0, &[]);
    check(&[DecidedCreate, DecidedDelete], Phase::Gone, 1, &[]);
}

#[test]
fn an_outcome_of_an_older_decision_settles_nothing_and_loses_no_object() {
    use Happened::{Applied, ApplyIntended, DecidedCreate, DecidedDelete, Removed};
    let one = [namespace("one")];
    let done = [applied("one")];
    let late = Applied { acted_for: Offset::from(0), objects: &done };
    check(&[DecidedCreate, ApplyIntended(&one), DecidedDelete, late], Phase::Deleting, 1, &["one"]);
    check(&[DecidedCreate, ApplyIntended(&one), DecidedCreate, late], Phase::Pending, 1, &["one"]);
    let removed = Removed { acted_for: Offset::from(2), objects: &one };
    check(&[DecidedCreate, ApplyIntended(&one), DecidedDelete, DecidedCreate, removed], Phase::Pending, 2, &[]);
}

#[test]
fn what_was_carried_out_and_is_to_be_changed_has_to_be_carried_out_again() {
    use Happened::{Applied, ApplyIntended, DecidedCreate};
    let one = [namespace("one")];
    let done = [applied("one")];
    let acted_for = Offset::from(0);
    let ready = [DecidedCreate, ApplyIntended(&one), Applied { acted_for, objects: &done }];
    check(&[&ready[..], &[ApplyIntended(&one)]].concat(), Phase::Pending, 1, &["one"]);
    let again = [ApplyIntended(&one), Applied { acted_for, objects: &done }];
    check(&[&ready[..], &again].concat(), Phase::Ready, 1, &["one"]);
}

#[test]
fn what_stood_in_a_namespace_goes_with_it() {
    use Happened::{Applied, ApplyFailed, DecidedCreate};
    let pod = ObjectKey { kind: "Pod".into(), namespace: Some("one".into()), ..namespace("pod") };
    let of =
        |object: &ObjectKey, uid: &str| AppliedObject { object: object.clone(), uid: uid.into(), digest: 7, fields: 0 };
    let done = [of(&namespace("one"), "first"), of(&pod, "pod")];
    let same = [of(&namespace("one"), "first")];
    let again = [of(&namespace("one"), "second")];
    let failed =
        |objects| ApplyFailed { acted_for: Offset::from(2), objects, error: "no", attempt: 1, transient: true };
    let knows_pod_after = |outcome| {
        let mut lifecycle = Lifecycle::new("trigger", "mgmt/mgmt");
        let story = [DecidedCreate, Applied { acted_for: Offset::from(0), objects: &done }, DecidedCreate, outcome];
        for (happened, offset) in story.into_iter().zip(0..) {
            lifecycle.evolve(Offset::from(offset), 1_000, happened);
        }
        lifecycle.holding(&pod).expect("it was claimed").applied.is_some()
    };
    assert!(knows_pod_after(failed(&same)));
    assert!(!knows_pod_after(failed(&again)));
    assert!(knows_pod_after(Applied { acted_for: Offset::from(2), objects: &done }));
}

#[test]
fn what_was_to_go_is_never_taken_for_there() {
    let (one, done) = ([namespace("one")], [applied("one")]);
    let mut lifecycle = Lifecycle::new("trigger", "mgmt/mgmt");
    let acted_for = Offset::from(0);
    let created = Happened::Redecided(Redesired::Present { event: Offset::from(0), incarnation: 1 });
    let withdrawn = Happened::Redecided(Redesired::Absent { event: None });
    let story = [
        Happened::DecidedCreate,
        Happened::ApplyIntended(&one),
        Happened::Applied { acted_for, objects: &done },
        withdrawn,
        created,
    ];
    for (offset, happened) in story.into_iter().enumerate() {
        lifecycle.evolve(Offset::from(offset as u64), 0, happened);
    }
    let held = lifecycle.inventory[0].applied.as_ref().expect("its deletion is not recorded");
    assert_eq!((held.uid.as_str(), held.digest), ("uid-one", DIGEST_UNKNOWN));
}

#[test]
fn what_is_about_to_be_changed_is_never_taken_for_unchanged() {
    let (one, done) = ([namespace("one")], [applied("one")]);
    let mut lifecycle = Lifecycle::new("trigger", "mgmt/mgmt");
    let acted_for = Offset::from(0);
    let story = [
        Happened::DecidedCreate,
        Happened::ApplyIntended(&one),
        Happened::Applied { acted_for, objects: &done },
        Happened::ApplyIntended(&one),
    ];
    for (offset, happened) in story.into_iter().enumerate() {
        lifecycle.evolve(Offset::from(offset as u64), 0, happened);
    }
    let held = &lifecycle.inventory[0];
    assert_eq!(held.since, Offset::from(1), "the claim is as old as before");
    assert_eq!(held.applied.as_ref().map(|applied| applied.digest), Some(DIGEST_UNKNOWN));
}

#[test]
fn what_has_drifted_is_applied_again_if_it_is_what_was_applied_last() {
    use crate::fact::Drift;
    use Happened::{Applied, ApplyIntended, DecidedCreate, DecidedDelete, Drifted};
    let (one, done) = ([namespace("one")], [applied("one")]);
    let acted_for = Offset::from(0);
    let ready = [DecidedCreate, ApplyIntended(&one), Applied { acted_for, objects: &done }];
    let drifted = |name: &str, uid: &str| DriftedObject {
        object: namespace(name),
        uid: uid.into(),
        drift: Drift::Deleted,
        manager: None,
    };
    let [ours, before, other] = [drifted("one", "uid-one"), drifted("one", "before"), drifted("two", "uid-two")];
    let check_after = |drifted: DriftedObject, phase: Phase| {
        check(&[&ready[..], &[Drifted(&[drifted])]].concat(), phase, 1, &["one"]);
    };
    check_after(ours.clone(), Phase::Pending);
    // It is about an object that was replaced meanwhile, or that is not held.
    check_after(before, Phase::Ready);
    check_after(other, Phase::Ready);
    let put_back = [Drifted(std::slice::from_ref(&ours)), Applied { acted_for, objects: &done }];
    check(&[&ready[..], &put_back].concat(), Phase::Ready, 1, &["one"]);
    check(&[&ready[..], &[DecidedDelete], &put_back[..1]].concat(), Phase::Deleting, 1, &["one"]);
}

#[test]
fn a_trigger_that_leaves_its_policies_lets_go_of_them() {
    use Happened::{Applied, ApplyIntended, DecidedCreate, Redecided};
    let one = [namespace("one")];
    let done = [applied("one")];
    let late = Applied { acted_for: Offset::from(0), objects: &done };
    check(&[DecidedCreate, ApplyIntended(&one), late, Redecided(Redesired::Left)], Phase::Left, 1, &[]);
    check(&[DecidedCreate, ApplyIntended(&one), Redecided(Redesired::Left), late], Phase::Left, 1, &[]);
    check(&[DecidedCreate, Redecided(Redesired::Left), ApplyIntended(&one), late], Phase::Left, 1, &[]);
}
