//! What holds for every sequence of facts, however absurd: checked with facts that no engine would write.
//!
//! For tests only. proptest prints the seed of a failure and keeps it in `proptest-regressions/`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use lifeline_store::{Log, Offset, Options, OsDisk, Reader};
use proptest::prelude::*;

use crate::arbitrary::facts;
use crate::as_of::{self, Moment};
use crate::fact::{Fact, ResourceKey};
use crate::fold::{Projection, Resource, Sieve};
use crate::history;
use crate::lifecycle::Phase;
use crate::reads::{self, Filter, List, Page};
use crate::table::Table;

/// Time of the record at an offset.
pub(crate) fn time_of(offset: u64) -> u64 {
    1_000_000_000 * (offset + 1)
}

/// Folds facts whose first one is at the projection's watermark.
pub(crate) fn fold(projection: &mut Projection, facts: &[Fact<'_>]) {
    let mut work = Vec::new();
    for fact in facts {
        let offset = projection.watermark();
        projection.fold(offset, time_of(offset.get()), fact, &mut work);
    }
    for index in work {
        // Every index handed out leads to a lifecycle.
        let _ = projection.lifecycle(index);
    }
}

/// The facts, each linked to the one before it about the same resource, as the recorder writes them.
fn linked(facts: &[Fact<'static>]) -> Vec<Fact<'static>> {
    let mut projection = Projection::default();
    let mut all = Vec::new();
    for fact in facts {
        let mut fact = fact.clone();
        fact.link(|key| projection.last_record(&key.source, &key.subject));
        if let Fact::EventReceived { source, subject, previous, .. } = &mut fact {
            *previous = projection.last_record(source, subject);
        }
        fold(&mut projection, std::slice::from_ref(&fact));
        all.push(fact);
    }
    all
}

fn log_of(folder: &std::path::Path, facts: &[Fact<'_>]) -> Reader {
    let options = Options { low_space_bytes: 0, ..Options::default() };
    let (mut log, _) = Log::open(OsDisk::open(folder).expect("a folder"), options).expect("a log");
    for (fact, offset) in facts.iter().zip(0..) {
        let mut bytes = Vec::new();
        fact.encode(&mut bytes);
        log.append(time_of(offset), &bytes).expect("room");
    }
    log.sync().expect("a disk");
    log.reader()
}

/// All pages of a list, `limit` rows each; `between` is called after each page.
fn pages<T>(limit: usize, mut read: impl FnMut(&Page) -> List<T>) -> Vec<T> {
    let mut rows = Vec::new();
    let mut page = Page { limit: Some(limit), ..Page::default() };
    loop {
        let list = read(&page);
        assert!(list.items.len() <= limit);
        rows.extend(list.items);
        let Some(next) = list.next else { return rows };
        page.after = Some(next);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_fact_survives_its_codec(facts in facts(20)) {
        for fact in facts {
            let mut bytes = Vec::new();
            fact.encode(&mut bytes);
            prop_assert_eq!(Fact::decode(&bytes).expect("what was encoded"), fact);
            for end in 0..bytes.len().min(200) {
                prop_assert!(Fact::decode(&bytes[..end]).is_err(), "a piece of a fact is no fact");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_fact_are_refused_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(version) = bytes.first_mut() {
            *version = crate::fact::VERSION;
        }
        let _ = Fact::decode(&bytes);
    }

    #[test]
    fn phases_are_counted_as_the_lifecycles_stand(facts in facts(60)) {
        let mut projection = Projection::default();
        fold(&mut projection, &facts);
        let standing = projection.resources().flat_map(|(_, resource)| resource.lifecycles);
        let mut counts = [0; Phase::ALL.len()];
        for lifecycle in standing {
            counts[lifecycle.phase() as usize] += 1;
        }
        let counted = Phase::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0);
        prop_assert_eq!(projection.phases().collect::<Vec<_>>(), counted.collect::<Vec<_>>());
    }

    #[test]
    fn records_folded_before_change_nothing(facts in facts(60)) {
        let mut projection = Projection::default();
        fold(&mut projection, &facts);
        let digest = projection.digest();
        let mut work = Vec::new();
        for (fact, offset) in facts.iter().zip(0..) {
            projection.fold(Offset::from(offset), 1, fact, &mut work);
        }
        prop_assert_eq!(projection.digest(), digest);
        prop_assert!(work.is_empty());
    }

    #[test]
    fn what_is_unsettled_is_what_needs_work(facts in facts(60)) {
        let mut projection = Projection::default();
        fold(&mut projection, &facts);
        let unsettled: BTreeSet<_> = projection.unsettled().collect();
        let needed: usize = projection
            .resources()
            .map(|(_, resource)| resource.lifecycles.iter().filter(|lifecycle| lifecycle.needs_work()).count())
            .sum();
        prop_assert_eq!(unsettled.len(), needed);
        for index in unsettled {
            prop_assert!(projection.lifecycle(index).1.needs_work());
        }
    }

    #[test]
    fn every_holding_is_a_claim_and_every_claim_a_holding(facts in facts(80)) {
        let mut projection = Projection::default();
        fold(&mut projection, &facts);
        let mut holdings = BTreeMap::new();
        for (key, Resource { lifecycles, .. }) in projection.resources() {
            for lifecycle in lifecycles {
                for holding in &lifecycle.inventory {
                    let object = (lifecycle.cluster.to_string(), holding.object.clone());
                    let claim = (holding.since, key.clone(), lifecycle.trigger.clone());
                    holdings.entry(object).or_insert_with(BTreeSet::new).insert(claim);
                }
            }
        }
        let mut claimed = BTreeMap::new();
        for (cluster, object, claims) in projection.objects() {
            prop_assert!(claims.is_sorted());
            prop_assert_eq!(&claims, &projection.claims(&cluster, &object));
            let who = claims.iter().map(|claim| {
                let (key, lifecycle) = projection.lifecycle(claim.lifecycle);
                (claim.since, key, lifecycle.trigger)
            });
            let seen = claimed.insert((cluster.to_string(), object), who.collect());
            prop_assert!(seen.is_none(), "each object comes once");
        }
        prop_assert_eq!(&claimed, &holdings);
        let contested: Vec<_> =
            projection.contested_from(Bound::Unbounded).map(|(on, object, _)| (on.to_owned(), object.clone())).collect();
        let several = holdings.iter().filter(|(_, claims)| claims.len() > 1).map(|(object, _)| object.clone());
        prop_assert_eq!(contested, several.collect::<Vec<_>>());
    }

    #[test]
    fn pages_hold_every_row_once_while_rows_are_added(facts in facts(80), more in facts(40), limit in 1..7_usize) {
        let mut projection = Projection::default();
        fold(&mut projection, &facts);
        let all = Page { limit: Some(usize::MAX), ..Page::default() };
        let filter = Filter::default();
        let key = |row: &reads::LifecycleRow| {
            (row.source.clone(), row.subject.clone(), row.trigger.clone(), row.cluster.clone())
        };
        let before: Vec<_> =
            reads::lifecycles(&projection, &filter, &all).expect("no cursor").items.iter().map(key).collect();
        let mut added = more.chunks(4);
        let paged = pages(limit, |page| {
            let list = reads::lifecycles(&projection, &filter, page).expect("its own cursor");
            fold(&mut projection, added.next().unwrap_or_default());
            list
        });
        let paged: Vec<_> = paged.iter().map(key).collect();
        prop_assert!(paged.is_sorted_by(|one, next| one < next), "each row once, in order");
        let paged: BTreeSet<_> = paged.into_iter().collect();
        prop_assert!(before.iter().all(|row| paged.contains(row)), "no row that was there is skipped");
    }

    #[test]
    fn every_list_gives_the_same_rows_in_pages_as_at_once(facts in facts(80), limit in 1..5_usize) {
        let mut projection = Projection::default();
        fold(&mut projection, &facts);
        let all = Page { limit: Some(usize::MAX), ..Page::default() };
        let filters = [
            Filter::default(),
            Filter { source: Some("a".into()), ..Filter::default() },
            Filter { source: Some("a".into()), subject: Some("a/b".into()), ..Filter::default() },
            Filter { trigger: Some("two".into()), phase: Some("PENDING".into()), ..Filter::default() },
            Filter { cluster: Some("fleet/a".into()), ..Filter::default() },
        ];
        for filter in filters {
            let at_once = reads::resources(&projection, &filter, &all).expect("no cursor").items;
            let paged = pages(limit, |page| reads::resources(&projection, &filter, page).expect("its own cursor"));
            prop_assert_eq!(at_once, paged);
            let at_once = reads::lifecycles(&projection, &filter, &all).expect("no cursor").items;
            let paged = pages(limit, |page| reads::lifecycles(&projection, &filter, page).expect("its own cursor"));
            prop_assert_eq!(at_once, paged);
            let at_once = reads::objects(&projection, &filter, &all).expect("no cursor").items;
            let paged = pages(limit, |page| reads::objects(&projection, &filter, page).expect("its own cursor"));
            prop_assert_eq!(at_once, paged);
            // With few looks a page may even be empty; still every row comes, once.
            let at_once = reads::lifecycles(&projection, &filter, &all).expect("no cursor").items;
            let paged = pages(usize::MAX, |page| {
                let page = Page { looks: Some(limit), ..page.clone() };
                reads::lifecycles(&projection, &filter, &page).expect("its own cursor")
            });
            prop_assert_eq!(at_once, paged);
        }
        let at_once = reads::conflicts(&projection, &all).expect("no cursor").items;
        prop_assert_eq!(at_once, pages(limit, |page| reads::conflicts(&projection, page).expect("its own cursor")));
        let rules = |page: &Page| {
            reads::rules(projection.watermark(), &projection.ground().rules, page).expect("its own cursor")
        };
        prop_assert_eq!(rules(&all).items, pages(limit, rules));
    }
}

proptest! {
    // Each of these writes to a disk.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_same_records_give_the_same_state_across_checkpoints_and_restarts(
        facts in facts(80),
        stops in proptest::collection::vec(0..80_usize, 0..5),
    ) {
        let mut at_once = Projection::default();
        fold(&mut at_once, &facts);

        let folder = tempfile::tempdir().expect("a folder");
        let mut stops: Vec<usize> = stops.into_iter().map(|stop| stop.min(facts.len())).collect();
        stops.sort_unstable();
        for (stop, reopened) in stops.into_iter().zip([true, false].into_iter().cycle()) {
            let (table, mut projection) = Table::open(folder.path()).expect("its own folder");
            let start = usize::try_from(projection.watermark().get()).expect("short");
            if start > stop {
                continue;
            }
            fold(&mut projection, &facts[start..stop]);
            table.checkpoint(&projection).expect("room");
            projection.saved();
            if !reopened {
                // Folded, and not saved: as if the engine were killed here.
                fold(&mut projection, &facts[stop..]);
            }
        }
        let (_table, mut projection) = Table::open(folder.path()).expect("its own folder");
        let start = usize::try_from(projection.watermark().get()).expect("short");
        fold(&mut projection, &facts[start..]);
        prop_assert_eq!(projection.digest(), at_once.digest());
    }

    #[test]
    fn an_earlier_state_is_the_state_that_was(facts in facts(40), at in 0..40_usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts);
        let at = at.min(facts.len());
        let mut then = Projection::default();
        fold(&mut then, &facts[..at]);
        let told = as_of::projection(&log, Moment::Offset(Offset::from(at as u64))).expect("a whole log");
        prop_assert_eq!(told.digest(), then.digest());
        if let Some(last) = at.checked_sub(1) {
            let told = as_of::projection(&log, Moment::Time(time_of(last as u64))).expect("a whole log");
            prop_assert_eq!(told.digest(), then.digest());
        }
        let ahead = as_of::projection(&log, Moment::Offset(Offset::from(facts.len() as u64 + 1)));
        prop_assert!(matches!(ahead, Err(as_of::Error::Ahead { .. })), "the log ends earlier");
    }

    #[test]
    fn what_each_resource_was_is_told_from_its_own_records(
        facts in facts(120),
        at in 0..120_usize,
        later in 0..120_usize,
        saved in 0..120_usize,
    ) {
        let facts = linked(&facts);
        let (at, later) = (at.min(facts.len()), later.max(at).min(facts.len()));
        let saved = saved.min(later);
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts);
        let mut then = Projection::default();
        fold(&mut then, &facts[..at]);
        // Asked later, with a part of the landmarks on disk, from a process that began anew.
        let path = folder.path().join("projection");
        let (table, mut now) = Table::open(&path).expect("its own folder");
        fold(&mut now, &facts[..saved]);
        table.checkpoint(&now).expect("room");
        drop((table, now));
        let (_table, mut now) = Table::open(&path).expect("its own folder");
        fold(&mut now, &facts[saved..later]);

        let moment = Offset::from(at as u64);
        let trails: Vec<_> = now.trails_from(Bound::Unbounded, Sieve::default(), moment).collect();
        for trail in &trails {
            let told = as_of::resource(&log, now.landmarks(), trail, moment).expect("a whole log");
            prop_assert_eq!(told, then.resource(&trail.key.source, &trail.key.subject));
        }
        prop_assert!(trails.len() >= then.len(), "what was known once is not forgotten");
        let piece = as_of::Piece::tell(&log, now.landmarks(), &trails, usize::MAX, moment).expect("a whole log");
        let (all, filter) = (Page { limit: Some(usize::MAX), ..Page::default() }, Filter::default());
        prop_assert_eq!(reads::resources(&piece, &filter, &all), reads::resources(&then, &filter, &all));
        prop_assert_eq!(reads::lifecycles(&piece, &filter, &all), reads::lifecycles(&then, &filter, &all));
        prop_assert_eq!(reads::objects(&piece, &filter, &all), reads::objects(&then, &filter, &all));
        let rules = as_of::rules(&log, &now.ground().rule_records, moment).expect("a whole log");
        prop_assert_eq!(&rules, &then.ground().rules);
    }

    #[test]
    fn a_history_holds_every_record_of_its_resource_in_pages_of_any_size(facts in facts(60), limit in 1..5_usize) {
        let facts = linked(&facts);
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts);
        let mut projection = Projection::default();
        fold(&mut projection, &facts);
        let speaks_of = |fact: &Fact<'_>, key: &ResourceKey| match fact {
            Fact::EventReceived { source, subject, .. } => (*source, *subject) == (&*key.source, &*key.subject),
            Fact::TriggerReplayed { redecisions, .. } => redecisions.iter().any(|some| some.resource == *key),
            other => other.lifecycle_key().is_some_and(|of| of.resource == *key),
        };
        for (key, resource) in projection.resources() {
            let expected: Vec<u64> =
                facts.iter().zip(0..).filter(|(fact, _)| speaks_of(fact, &key)).map(|(_, offset)| offset).collect();
            let (mut told, mut before) = (Vec::new(), None);
            loop {
                let (entries, next) = history::history(&log, &key, resource.last_record, before, limit);
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
            let (entries, _) = history::history(&log, &key, resource.last_record, Some(Offset::from(cut)), usize::MAX);
            let told: Vec<u64> = entries.iter().map(|entry| entry.offset).collect();
            let expected: Vec<u64> = expected.into_iter().filter(|offset| *offset < cut).collect();
            prop_assert_eq!(told, expected);
        }
    }
}

#[test]
fn a_replay_decides_one_resource_on_each_of_its_clusters() {
    use crate::fact::{Redecision, Redesired};
    let on = |cluster: &str| Redecision {
        cluster: cluster.into(),
        resource: ResourceKey { source: "s".into(), subject: "x".into() },
        desired: Redesired::Present { event: Offset::from(0), incarnation: 1 },
        previous: None,
    };
    let redecisions = vec![on("fleet/a"), on("mgmt/mgmt")];
    let replayed =
        Fact::TriggerReplayed { trigger: "t".into(), digest: Some(1), leaves: false, complete: true, redecisions };
    let mut projection = Projection::default();
    // Not at offset 0, where "never spoken of" and "spoken of by the first record" look alike.
    fold(&mut projection, &[Fact::RuleChanged { rule: "r", digest: Some(1), manifest: "{}" }, replayed]);
    let phases: Vec<Phase> =
        projection.resource("s", "x").expect("decided").lifecycles.iter().map(|lifecycle| lifecycle.phase()).collect();
    assert_eq!(phases, [Phase::Pending, Phase::Pending]);
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
        Fact::Deleted { key, acted_for: Offset::from(0), previous, objects: vec![] }.encode(&mut bytes);
        bytes
    };
    // By offset: no fact, one that follows it, one of another release, one that points ahead, one that points at itself.
    let records = [b"garbage".to_vec(), deleted(Some(0)), vec![9, 9], deleted(Some(u64::MAX)), deleted(Some(4))];
    for record in &records {
        log.append(1, record).expect("room");
    }
    log.sync().expect("a disk");
    let check = |latest: u64, expected: &[(u64, &str)]| {
        let (entries, next) = history::history(&log.reader(), &key, Offset::from(latest), None, 10);
        let told: Vec<(u64, &str)> = entries.iter().map(|entry| (entry.offset, entry.fact.as_str())).collect();
        assert_eq!((told.as_slice(), next), (expected, None), "from {latest}");
    };
    check(1, &[(0, "Unreadable"), (1, "Deleted")]);
    check(2, &[(2, "Unreadable")]);
    check(3, &[(3, "Deleted")]);
    check(4, &[(4, "Deleted")]);
    check(9, &[]);
    let (entries, end) = history::records(&log.reader(), Offset::ZERO, 10).expect("a disk");
    let facts: Vec<&str> = entries.iter().map(|entry| entry.fact.as_str()).collect();
    assert_eq!((facts.as_slice(), end.get()), (&["Unreadable", "Deleted", "Unreadable", "Deleted", "Deleted"][..], 5));
}
