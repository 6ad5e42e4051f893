//! A copy kept by what records change is the list: checked with facts that no engine would write, and with stories.

use std::collections::BTreeMap;

use lifeline_store::{Offset, Reader};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::arbitrary::facts;
use crate::fact::{AppliedObject, FailedAttempt, Reconciled, Redecision, RuleChanged, TriggerReplayed, What};
use crate::properties::{fold, linked, log_of, time_of};
use crate::reads::{self, Page};

/// All pages at once.
fn all() -> Page {
    Page { limit: Some(usize::MAX), ..Page::default() }
}

/// What identifies a row of objects. Its version does not: the same object is served in each.
fn object_row_key(row: &OwnedObjectRow) -> impl Ord + std::fmt::Debug + use<> {
    let object = &row.object;
    let name = [&object.group, &object.kind, &object.name].map(Clone::clone);
    let owner = [&row.cluster, &row.trigger, &row.source, &row.subject].map(Clone::clone);
    (name, object.namespace.clone(), owner)
}

/// What the records of a stretch changed in the objects, in order.
fn told_of_objects(
    log: &Reader,
    projection: &Projection,
    stretch: std::ops::Range<usize>,
    facts: &[Fact<'_>],
    filter: &Filter,
) -> Vec<RowChange<OwnedObjectRow>> {
    let mut holders = BTreeMap::new();
    for (fact, record) in facts[stretch.clone()].iter().zip(stretch.start as u64..) {
        touched_holders(fact, Mark { record: Offset::from(record), unix_nanos: time_of(record) }, &mut holders);
    }
    let mut told = Vec::new();
    for (key, mut let_go) in holders {
        if let_go.is_vague()
            && let Some(index) = projection.lifecycle_index(&key)
        {
            let_go.recall(&key, index.resource, log, projection.landmarks()).expect("a whole log");
            assert!(!let_go.is_vague());
        }
        told.extend(objects(projection, &key, &let_go, filter));
    }
    told
}

proptest! {
    #[test]
    fn a_copy_of_the_objects_kept_by_their_changes_is_the_list(
        facts in facts(80),
        listed in 0..40_usize,
        steps in vec((1..9_usize, 0..6_usize), 0..30),
        trigger in option::of(select(&["one", "two"][..])),
        phase in option::of(select(&["ready", "pending", "failing", "deleting"][..])),
        kind in option::of(select(&["kind", "POD"][..])),
    ) {
        let facts = linked(&facts);
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts);
        let text = |text: Option<&str>| text.map(str::to_owned);
        let filter = Filter { trigger: text(trigger), phase: text(phase), kind: text(kind), ..Filter::default() };
        let list = |projection: &Projection| -> BTreeMap<_, _> {
            let rows = reads::objects(projection, &filter, &all()).expect("no cursor").items.into_iter();
            rows.map(|row| (object_row_key(&row), row)).collect()
        };
        let mut position = listed.min(facts.len());
        let mut projection = Projection::with_landmarks_every(4);
        fold(&mut projection, &facts[..position]);
        let mut copy = list(&projection);
        let mut folded = position;
        let mut steps = steps.into_iter();
        while position < facts.len() {
            // The state is ahead of the records that are looked at: it goes on meanwhile.
            let (records, ahead) = steps.next().unwrap_or((5, 0));
            let end = (position + records).min(facts.len());
            let reached = (end + ahead).min(facts.len()).max(folded);
            fold(&mut projection, &facts[folded..reached]);
            folded = reached;
            for change in told_of_objects(&log, &projection, position..end, &facts, &filter) {
                match change {
                    RowChange::Wanted(row) => drop(copy.insert(object_row_key(&row), row)),
                    RowChange::Unwanted(row) => drop(copy.remove(&object_row_key(&row))),
                }
            }
            position = end;
            if position == folded {
                prop_assert_eq!(&copy, &list(&projection));
            }
        }
        prop_assert_eq!(copy, list(&projection));
    }

    #[test]
    fn a_copy_of_what_is_not_gone_kept_by_its_changes_is_the_list(
        facts in facts(80),
        listed in 0..40_usize,
        gone in any::<bool>(),
        kind in option::weighted(0.3, select(&["kind", "POD"][..])),
        trigger in option::weighted(0.3, select(&["one", "two"][..])),
    ) {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let filter = Filter { gone: Some(gone), kind: text(kind), trigger: text(trigger), ..Filter::default() };
        let lists = |projection: &Projection| {
            let lifecycles = reads::lifecycles(projection, &filter, &all()).expect("no cursor").items.into_iter();
            let place = |row: &LifecycleRow| [&row.source, &row.subject, &row.trigger, &row.cluster].map(Clone::clone);
            let resources = reads::resources(projection, &filter, &all()).expect("no cursor").items.into_iter();
            let key = |row: &ResourceRow| [&row.source, &row.subject].map(Clone::clone);
            let lifecycles: BTreeMap<_, _> = lifecycles.map(|row| (place(&row), row)).collect();
            let resources: BTreeMap<_, _> = resources.map(|row| (key(&row), row)).collect();
            (lifecycles, resources)
        };
        let listed = listed.min(facts.len());
        let mut projection = Projection::with_landmarks_every(4);
        fold(&mut projection, &facts[..listed]);
        let mut copy = lists(&projection);
        for fact in &facts[listed..] {
            fold(&mut projection, std::slice::from_ref(fact));
            for key in fact.links().map(|link| link.key()) {
                for change in lifecycles(&projection, &key, &filter) {
                    let place = |row: &LifecycleRow| [&row.source, &row.subject, &row.trigger, &row.cluster].map(Clone::clone);
                    match change {
                        RowChange::Wanted(row) => drop(copy.0.insert(place(&row), row)),
                        RowChange::Unwanted(row) => drop(copy.0.remove(&place(&row))),
                    }
                }
                match resources(&projection, &key, &filter) {
                    Some(RowChange::Wanted(row)) => drop(copy.1.insert([row.source.clone(), row.subject.clone()], row)),
                    Some(RowChange::Unwanted(row)) => drop(copy.1.remove(&[row.source, row.subject])),
                    None => {}
                }
            }
        }
        prop_assert_eq!(copy, lists(&projection));
    }

    #[test]
    fn a_copy_of_the_rules_kept_by_their_changes_is_the_list(facts in facts(60), listed in 0..30_usize, ahead in 0..4_usize) {
        let list = |projection: &Projection| -> BTreeMap<_, _> {
            let rows = reads::rules(projection.watermark(), &projection.ground().rules, &all()).expect("no cursor");
            rows.items.into_iter().map(|row| (row.rule.clone(), row)).collect()
        };
        let listed = listed.min(facts.len());
        let mut projection = Projection::with_landmarks_every(4);
        fold(&mut projection, &facts[..listed]);
        let mut copy = list(&projection);
        for position in listed..facts.len() {
            let folded = usize::try_from(projection.watermark().get()).expect("short");
            let reached = (position + 1 + ahead).min(facts.len());
            fold(&mut projection, &facts[folded..reached.max(folded)]);
            if let Fact::Rule(RuleChanged { rule: name, .. }) = facts[position] {
                match rule(&projection, name, Offset::from(position as u64)) {
                    RowChange::Wanted(row) => drop(copy.insert(row.rule.clone(), row)),
                    RowChange::Unwanted(row) => drop(copy.remove(&row.rule)),
                }
            }
        }
        prop_assert_eq!(copy, list(&projection));
    }
}

fn key(subject: &str) -> LifecycleKey {
    let resource = ResourceKey { source: "s".into(), subject: subject.into() };
    LifecycleKey { trigger: "t".into(), cluster: "mgmt/mgmt".into(), resource }
}

fn namespace(name: &str) -> ObjectKey {
    ObjectKey { group: "".into(), version: "v1".into(), kind: "Namespace".into(), namespace: None, name: name.into() }
}

fn applied(subject: &str, name: &str) -> Fact<'static> {
    let objects =
        vec![AppliedObject { object: namespace(name), uid: format!("uid of {subject}"), digest: 7, fields: 0 }];
    Fact::Reconciled(Reconciled {
        key: key(subject),
        acted_for: Offset::ZERO,
        previous: None,
        what: What::Applied(objects),
    })
}

fn replayed(subject: &str, desired: Redesired) -> Fact<'static> {
    let resource = key(subject).resource;
    let redecisions = vec![Redecision { cluster: "mgmt/mgmt".into(), resource, desired, previous: None }];
    Fact::Replay(TriggerReplayed {
        trigger: "t".into(),
        digest: None,
        leaves: true,
        complete: true,
        redecisions,
        allowance: None,
    })
}

fn refused(subject: &str) -> Fact<'static> {
    let (key, error) = (key(subject), "it is another's".to_owned());
    Fact::Reconciled(Reconciled {
        key,
        acted_for: Offset::ZERO,
        previous: None,
        what: What::Failed(FailedAttempt { objects: vec![], error, attempt: 1, transient: true }),
    })
}

#[test]
fn an_object_goes_from_its_owner_and_comes_to_the_next_one() {
    let intended = |subject: &str| {
        Fact::Reconciled(Reconciled {
            key: key(subject),
            acted_for: Offset::ZERO,
            previous: None,
            what: What::Intended(vec![namespace("x")]),
        })
    };
    let gone = |subject: &str| (key(subject), vec![namespace("x")]);
    let (key_a, objects) = gone("a");
    let deleted = Fact::Reconciled(Reconciled {
        key: key_a,
        acted_for: Offset::ZERO,
        previous: None,
        what: What::Deleted(objects),
    });
    let (key_b, objects) = gone("b");
    let released = Fact::Reconciled(Reconciled {
        key: key_b,
        acted_for: Offset::ZERO,
        previous: None,
        what: What::Released(objects),
    });
    let present = |event: u64| Redesired::Present { event: Offset::from(event), incarnation: 1 };
    // A lifecycle fails at what it was decided for last: these are decided by the record at offset 0.
    let decided = |subject: &str| replayed(subject, present(0));
    let check = |before: &[Fact<'static>], now: &[Fact<'static>], expected: &[(&str, &str, Option<&str>)]| {
        let facts = linked(&[before, now].concat());
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts);
        let mut projection = Projection::with_landmarks_every(4);
        fold(&mut projection, &facts);
        let told = told_of_objects(&log, &projection, before.len()..facts.len(), &facts, &Filter::default());
        let told: Vec<(&str, &str, Option<&str>)> = told
            .iter()
            .map(|change| match change {
                RowChange::Wanted(row) => ("wanted", row.subject.as_str(), row.object.uid.as_deref()),
                RowChange::Unwanted(row) => ("unwanted", row.subject.as_str(), row.object.uid.as_deref()),
            })
            .collect();
        assert_eq!(told, expected, "{now:?}");
    };
    let (a, b) = (Some("uid of a"), Some("uid of b"));
    let held = [decided("b"), applied("a", "x")];
    check(&[], &[intended("a")], &[("wanted", "a", None)]);
    check(&[intended("a")], &[applied("a", "x")], &[("wanted", "a", a)]);
    // The other one waits: the object is not its own, and its owner's row stays as it is.
    check(&held, &[intended("b"), refused("b")], &[("unwanted", "b", None)]);
    let waits = [held.to_vec(), vec![intended("b"), refused("b")]].concat();
    check(&waits, std::slice::from_ref(&deleted), &[("unwanted", "a", None)]);
    check(&waits, &[deleted.clone(), applied("b", "x")], &[("unwanted", "a", None), ("wanted", "b", b)]);
    check(&waits, &[released], &[("unwanted", "b", None)]);
    // It came back before anybody looked.
    check(&waits, &[deleted, applied("a", "x")], &[("wanted", "a", a)]);
    // A trigger that leaves what it made names nothing.
    check(&held, &[replayed("a", Redesired::Left)], &[("unwanted", "a", None)]);
    check(&[], &[replayed("a", Redesired::Left)], &[]);
    check(&held, &[applied("a", "y"), replayed("a", Redesired::Left)], &[("unwanted", "a", None); 2]);
}

#[test]
fn what_went_is_told_with_the_record_that_took_it_away() {
    let facts = linked(&[applied("a", "x"), replayed("a", Redesired::Left)]);
    let folder = tempfile::tempdir().expect("a folder");
    let log = log_of(folder.path(), &facts);
    let mut projection = Projection::with_landmarks_every(4);
    fold(&mut projection, &facts);
    let told = told_of_objects(&log, &projection, 1..2, &facts, &Filter::default());
    let row = OwnedObjectRow {
        object: object_row(&namespace("x"), None),
        cluster: "mgmt/mgmt".into(),
        trigger: "t".into(),
        source: "s".into(),
        subject: "a".into(),
        offset: 1,
        time: Some(time(time_of(1))),
    };
    assert_eq!(told, [RowChange::Unwanted(row)]);
    let nobody = Filter { trigger: Some("other".into()), ..Filter::default() };
    assert_eq!(told_of_objects(&log, &projection, 1..2, &facts, &nobody), []);
}
