//! Histories: every record of a resource, in order, with the incarnation it belongs to.

use std::collections::BTreeMap;

use lifeline_store::{Log, Offset, Options, OsDisk};
use proptest::prelude::*;

use super::{fold, linked, log_of, note};
use crate::arbitrary::facts;
use crate::fact::{Fact, Reconciled, ResourceKey, What};
use crate::fold::{Projection, Resource};
use crate::history;
use crate::records::{self, Budget, Choice};

proptest! {
    // Each of these writes to a disk.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_history_holds_every_record_of_its_resource_in_pages_of_any_size(facts in facts(60), limit in 1..5_usize) {
        let facts = linked(&facts);
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts);
        let mut projection = Projection::with_landmarks_every(4);
        fold(&mut projection, &facts);
        let speaks_of = |fact: &Fact<'_>, key: &ResourceKey| fact.links().any(|link| link.is_of(key));
        for (key, resource) in projection.resources() {
            let expected: Vec<u64> =
                facts.iter().zip(0..).filter(|(fact, _)| speaks_of(fact, &key)).map(|(_, offset)| offset).collect();
            let (mut told, mut before) = (Vec::new(), None);
            loop {
                let told_here = history::history(&log, &key, resource.last_record, before, limit, None);
                let (entries, next) = told_here.expect("it is held");
                prop_assert!(entries.len() <= limit);
                told.splice(0..0, entries.iter().map(|entry| entry.offset));
                before = next;
                if before.is_none() {
                    break;
                }
            }
            prop_assert_eq!(&told, &expected);
            // A `before` that no page gave is taken as well.
            let cut = facts.len() as u64 / 2;
            let before = Some(Offset::from(cut));
            let told = history::history(&log, &key, resource.last_record, before, usize::MAX, None);
            let (entries, _) = told.expect("it is held");
            let told: Vec<u64> = entries.iter().map(|entry| entry.offset).collect();
            let expected: Vec<u64> = expected.into_iter().filter(|offset| *offset < cut).collect();
            prop_assert_eq!(told, expected);
        }
    }
}

proptest! {
    // Each of these writes to a disk.
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_history_tells_the_incarnation_that_each_record_belongs_to(facts in facts(60)) {
        let facts = linked(&facts);
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts);
        // Forwards and naively: what the lifecycle counted right behind each record.
        let mut projection = Projection::with_landmarks_every(4);
        let mut counted = Vec::new();
        for fact in &facts {
            fold(&mut projection, std::slice::from_ref(fact));
            let of = |(key, resource): (ResourceKey, Resource)| {
                let each = resource.lifecycles.iter();
                each.map(|one| ((key.clone(), one.trigger.to_string(), one.cluster.to_string()), one.incarnation)).collect::<Vec<_>>()
            };
            counted.push(projection.resources().flat_map(of).collect::<BTreeMap<_, _>>());
        }
        let behind = |key: &ResourceKey, trigger: &str, cluster: Option<&str>, offset: u64| {
            let place = (key.clone(), trigger.to_owned(), cluster.expect("it concerns one").to_owned());
            counted[usize::try_from(offset).expect("short")].get(&place).copied()
        };
        for (key, resource) in projection.resources() {
            let (entries, _) =
                history::history(&log, &key, resource.last_record, None, usize::MAX, Some(&resource)).expect("it is held");
            let is_replayed = entries.iter().any(|entry| entry.fact == "TriggerReplayed");
            for entry in &entries {
                let cluster = entry.cluster.as_deref();
                let of_event = entry.event.iter().flat_map(|event| &event.decisions);
                // One event may decide several times about one lifecycle here; what it counted in between shows nowhere.
                let last: BTreeMap<_, _> = of_event.filter(|one| one.incarnation.is_some() || matches!(&*one.action, "Create" | "Delete")).map(|one| (&one.trigger, one.incarnation)).collect();
                for (trigger, incarnation) in last {
                    let expected = behind(&key, trigger, cluster, entry.offset).filter(|count| *count > 0);
                    let is_right = incarnation == expected || (is_replayed && incarnation.is_none());
                    prop_assert!(is_right, "{:?} is told of {}, {:?} expected", incarnation, entry.offset, expected);
                }
                if let Some(incarnation) = entry.incarnation {
                    let trigger = entry.trigger.as_deref().expect("it concerns one");
                    let offset = entry.acted_for.unwrap_or(entry.offset);
                    prop_assert_eq!(behind(&key, trigger, cluster, offset), Some(incarnation), "told of {}", entry.offset);
                }
            }
        }
    }
}

#[test]
fn a_history_begins_anywhere_however_much_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    // Every second record speaks of it, so that a page can begin between two that do.
    let facts: Vec<Fact<'static>> = (0..6_000).map(|number| note(["cold", "hot"][number % 2])).collect();
    let facts = linked(&facts);
    let log = log_of(folder.path(), &facts);
    let key = ResourceKey { source: "hot".into(), subject: "x".into() };
    let check = |before: u64, expected: &[u64]| {
        let before = Some(Offset::from(before));
        let (entries, _) = history::history(&log, &key, Offset::from(5_999), before, 2, None).expect("it is held");
        let told: Vec<u64> = entries.iter().map(|entry| entry.offset).collect();
        assert_eq!(told, expected, "before {before:?}");
    };
    check(0, &[]);
    check(2, &[1]);
    check(101, &[97, 99]);
    check(102, &[99, 101]);
    check(5_998, &[5_995, 5_997]);
    check(9_999, &[5_997, 5_999]);
}

#[test]
fn a_history_ends_where_it_cannot_be_followed_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { low_space_bytes: 0, ..Options::default() };
    let (mut log, _) = Log::open(OsDisk::open(folder.path()).expect("a folder"), options).expect("a log");
    let key = ResourceKey { source: "s".into(), subject: "x".into() };
    let deleted = |previous: Option<u64>| {
        let key = crate::fact::LifecycleKey { trigger: "t".into(), cluster: "c".into(), resource: key.clone() };
        let previous = previous.map(Offset::from);
        let mut bytes = Vec::new();
        Fact::Reconciled(Reconciled { key, acted_for: Offset::from(0), previous, what: What::Deleted(vec![]) })
            .encode(&mut bytes);
        bytes
    };
    // By offset: no fact, one that follows it, one of another release, one that points ahead, one that points at itself.
    let records = [b"garbage".to_vec(), deleted(Some(0)), vec![9, 9], deleted(Some(u64::MAX)), deleted(Some(4))];
    for record in &records {
        log.append(1, record).expect("room");
    }
    log.sync().expect("a disk");
    let check = |latest: u64, expected: &[(u64, &str)]| {
        let (entries, next) =
            history::history(&log.reader(), &key, Offset::from(latest), None, 10, None).expect("it is held");
        let told: Vec<(u64, &str)> = entries.iter().map(|entry| (entry.offset, entry.fact.as_str())).collect();
        assert_eq!((told.as_slice(), next), (expected, None), "from {latest}");
    };
    check(1, &[(0, "Unreadable"), (1, "Deleted")]);
    check(2, &[(2, "Unreadable")]);
    check(3, &[(3, "Deleted")]);
    check(4, &[(4, "Deleted")]);
    check(9, &[]);
    let all = (Offset::ZERO, Offset::from(u64::MAX));
    let found = records::forwards(&log.reader(), all, &Choice::default(), 10, Budget::default()).expect("a disk");
    let facts: Vec<&str> = found.entries.iter().map(|entry| entry.fact.as_str()).collect();
    assert_eq!(
        (facts.as_slice(), found.position.get()),
        (&["Unreadable", "Deleted", "Unreadable", "Deleted", "Deleted"][..], 5)
    );
}
