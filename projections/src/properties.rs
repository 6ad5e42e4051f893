//! What holds for every sequence of facts, however absurd: checked with facts that no engine would write.
//!
//! For tests only. proptest prints the seed of a failure and keeps it in `proptest-regressions/`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use lifeline_store::{Log, Offset, Options, OsDisk, Reader};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::arbitrary::facts;
use crate::as_of::{self, Moment};
use crate::difference::{self, Difference};
use crate::fact::{AppliedObject, Decision, Fact, LifecycleKey, ObjectKey, Outcome, ResourceKey};
use crate::fold::{Projection, Resource, Sieve};
use crate::history;
use crate::lifecycle::{Lifecycle, Phase};
use crate::reads::{self, Filter, List, Noun, Page};
use crate::stuck::stuck;
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
pub(crate) fn linked(facts: &[Fact<'static>]) -> Vec<Fact<'static>> {
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

pub(crate) fn log_of(folder: &std::path::Path, facts: &[Fact<'_>]) -> Reader {
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

fn note_key() -> ResourceKey {
    ResourceKey { source: "s".into(), subject: "u".into() }
}

fn object(name: &str) -> ObjectKey {
    ObjectKey { group: "".into(), version: "v1".into(), kind: "Namespace".into(), namespace: None, name: name.into() }
}

/// An event of one resource, as a trigger decided it.
fn decided(outcome: Outcome<'static>) -> Fact<'static> {
    let Fact::EventReceived { delivery, kind, id, .. } = note("s") else { unreachable!("a note is an event") };
    Fact::EventReceived {
        delivery,
        source: "s",
        subject: "u",
        kind,
        id,
        previous: None,
        decisions: vec![Decision { trigger: "t", event_source: "e", criterion: 0, outcome }],
        headers: vec![],
        payload: b"",
    }
}

/// An event that nobody makes anything of.
fn note(source: &'static str) -> Fact<'static> {
    Fact::EventReceived {
        delivery: crate::fact::Delivery {
            cluster: "mgmt/mgmt",
            stream: "S",
            epoch: 1,
            sequence: 1,
            published_unix_nanos: 0,
            subject: "user",
        },
        source,
        subject: "x",
        kind: "note",
        id: "1",
        previous: None,
        decisions: vec![],
        headers: vec![],
        payload: b"",
    }
}

/// An earlier state, told a few resources at a time.
struct Pieces<'a> {
    projection: &'a Projection,
    log: &'a Reader,
    moment: Offset,
    resources_max: usize,
}

impl Pieces<'_> {
    fn page<T>(
        &self,
        noun: Noun,
        page: &Page,
        read: fn(&as_of::Piece, &Filter, &Page) -> Result<List<T>, reads::Error>,
    ) -> List<T> {
        let start = noun.start(page).expect("its own cursor");
        let start =
            start.as_ref().map_or(Bound::Unbounded, |key| key.as_ref().map(|key| (&*key.source, &*key.subject)));
        let (projection, moment, count) = (self.projection, self.moment, self.resources_max);
        let trails: Vec<_> = projection.trails_from(start, Sieve::default(), moment).take(count + 1).collect();
        let piece = as_of::Piece::tell(self.log, projection.landmarks(), &trails, count, moment).expect("a whole log");
        let page = Page { looks: Some(count), ..page.clone() };
        read(&piece, &Filter::default(), &page).expect("its own cursor")
    }
}

/// All pages of a list, `limit` rows each at most.
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
    fn ages_and_patience_choose_among_all_rows(facts in facts(80), min in 0..60_u64, more in 0..30_u64, now in option::of(0..200_u64)) {
        let mut projection = Projection::default();
        fold(&mut projection, &facts);
        let all = Page { limit: Some(usize::MAX), ..Page::default() };
        let now_unix_nanos = now.map(time_of);
        let now = now_unix_nanos.unwrap_or(projection.ground().folded_unix_nanos);
        // Written at whole seconds, so no age is between two.
        let age = |unix_nanos: u64| now.saturating_sub(unix_nanos) / 1_000_000_000;
        let filter = Filter { age_min: Some(min), age_max: Some(min + more), now_unix_nanos, ..Filter::default() };
        let wanted = |unix_nanos: u64| (min..=min + more).contains(&age(unix_nanos));
        let resources = projection.resources().filter(|(_, some)| some.events > 0 && wanted(some.last_event_unix_nanos));
        let told = reads::resources(&projection, &filter, &all).expect("no cursor").items;
        prop_assert_eq!(told, resources.map(|(key, some)| reads::resource_row(&key, &some)).collect::<Vec<_>>());
        let every: Vec<_> = projection
            .resources()
            .flat_map(|(key, some)| {
                let row = |one: &Lifecycle| (one.clone(), reads::lifecycle_row(&key, &some, one));
                some.lifecycles.iter().map(row).collect::<Vec<_>>()
            })
            .collect();
        let told = reads::lifecycles(&projection, &filter, &all).expect("no cursor").items;
        let expected = every.iter().filter(|(lifecycle, _)| wanted(lifecycle.decided_unix_nanos));
        prop_assert_eq!(told, expected.map(|(_, row)| row.clone()).collect::<Vec<_>>());

        // Objects are as old as they are shown to be; those that are only intended show no age.
        let objects = |filter: &Filter| {
            let mut rows = reads::objects(&projection, filter, &all).expect("no cursor").items;
            rows.retain(|row| row.time.is_some());
            rows
        };
        let mut expected = objects(&Filter { now_unix_nanos, ..Filter::default() });
        expected.retain(|row| {
            let shown: jiff::Timestamp = row.time.as_deref().expect("it is shown").parse().expect("a time");
            wanted(u64::try_from(shown.as_nanosecond()).expect("after 1970"))
        });
        prop_assert_eq!(objects(&filter), expected);

        let told = stuck(&projection, now_unix_nanos, Duration::from_secs(min), &all).expect("no cursor").items;
        let mut expected: Vec<_> = every
            .iter()
            .filter(|(some, _)| some.needs_work())
            .filter(|(some, _)| some.phase() == Phase::Failing || age(some.decided_unix_nanos) >= min)
            .collect();
        // Stable: what was decided at once stays sorted by key.
        expected.sort_by_key(|(some, _)| (some.phase() != Phase::Failing, some.decided));
        prop_assert_eq!(told, expected.into_iter().map(|(_, row)| row.clone()).collect::<Vec<_>>());
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
            Filter { age_min: Some(10), age_max: Some(30), ..Filter::default() },
            Filter { age_max: Some(30), trigger: Some("one".into()), ..Filter::default() },
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
        for seconds in [0, 20] {
            let stuck = |page: &Page| stuck(&projection, None, Duration::from_secs(seconds), page).expect("its own cursor");
            prop_assert_eq!(stuck(&all).items, pages(limit, stuck));
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
    fn an_earlier_state_by_time_holds_whole_groups_and_stays_what_it_is(
        facts in facts(40),
        group in 1..5_u64,
        at in 0..45_u64,
        asked in 0..40_usize,
    ) {
        // Records of a group share their time, which lies between those that may be asked for.
        let stamp = |offset: u64| time_of(offset / group);
        let moment = at * 500_000_000;
        // Asked once everything up to the moment is recorded, or later: what follows is written behind it.
        let settled = (0..facts.len() as u64).filter(|offset| stamp(*offset) <= moment).count();
        let asked = asked.clamp(settled, facts.len().max(settled));
        let mut then = Projection::default();
        for (fact, offset) in facts[..settled].iter().zip(0..) {
            then.fold(Offset::from(offset), stamp(offset), fact, &mut Vec::new());
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (mut log, _) = Log::open(OsDisk::open(folder.path()).expect("a folder"), Options { low_space_bytes: 0, ..Options::default() }).expect("a log");
        for (facts, first) in [(&facts[..asked], 0), (&facts[asked..], asked as u64)] {
            for (fact, offset) in facts.iter().zip(first..) {
                let mut bytes = Vec::new();
                fact.encode(&mut bytes);
                log.append(stamp(offset), &bytes).expect("room");
            }
            log.sync().expect("a disk");
            let reader = log.reader();
            prop_assert_eq!(Moment::Time(moment).end(&reader).expect("a log").get(), settled as u64);
            let told = as_of::projection(&reader, Moment::Time(moment)).expect("a whole log");
            prop_assert_eq!(told.digest(), then.digest());
        }
    }

    #[test]
    fn what_each_resource_was_is_told_from_its_own_records(
        facts in facts(120),
        at in 0..120_usize,
        later in 0..120_usize,
        saved in 0..120_usize,
        resources_max in 2..6_usize,
        limit in 1..6_usize,
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

        // Piece after piece and page after page, as it is told to whoever asks: nothing is lost between two.
        let told = Pieces { projection: &now, log: &log, moment, resources_max };
        let whole = reads::resources(&then, &filter, &all).expect("no cursor").items;
        prop_assert_eq!(pages(limit, |page| told.page(Noun::Resources, page, reads::resources)), whole);
        let whole = reads::lifecycles(&then, &filter, &all).expect("no cursor").items;
        prop_assert_eq!(pages(limit, |page| told.page(Noun::Lifecycles, page, reads::lifecycles)), whole);
        let whole = reads::objects(&then, &filter, &all).expect("no cursor").items;
        prop_assert_eq!(pages(limit, |page| told.page(Noun::Objects, page, reads::objects)), whole);
    }

    /// Facts made at random hardly ever repeat one another. Those of an engine do, and where they do the fold takes a way of
    /// its own, which has to end where the long one does.
    #[test]
    fn outcomes_that_repeat_one_another_are_folded_like_any_other(
        steps in proptest::collection::vec((0..10_u8, 0..4_u8, 0..2_u64, any::<bool>()), 1..60),
        saved in 0..60_usize,
    ) {
        let key = LifecycleKey { trigger: "t".into(), cluster: "mgmt/mgmt".into(), resource: note_key() };
        let folder = tempfile::tempdir().expect("a folder");
        let (table, mut projection) = Table::open(folder.path()).expect("its own folder");
        let (mut told, mut decisions) = (Resource::default(), vec![Offset::ZERO]);
        for (at, (step, which, digest, is_late)) in steps.into_iter().enumerate() {
            let offset = Offset::from(at as u64);
            let acted_for = decisions[decisions.len() - if is_late && decisions.len() > 1 { 2 } else { 1 }];
            let all = [object("a"), object("b")];
            let objects = match which {
                0 => all[..1].to_vec(),
                1 => all.iter().rev().cloned().collect(),
                _ => all.to_vec(),
            };
            let applied = objects.iter().map(|object| {
                let uid = format!("0b8f2c1a-93d4-4e57-8a60-fedcba98765{digest}");
                AppliedObject { object: object.clone(), uid, digest: digest + 1 }
            });
            let (applied, key) = (applied.collect(), key.clone());
            let fact = match step {
                0..3 => decided(Outcome::Create),
                3 => decided(Outcome::Delete),
                4 => Fact::ApplyIntended { key, acted_for, previous: None, objects },
                5 => Fact::Deleted { key, acted_for, previous: None, objects },
                6 => {
                    let (error, attempt, transient) = ("e".to_owned(), 1, true);
                    Fact::ApplyFailed { key, acted_for, previous: None, objects: applied, error, attempt, transient }
                }
                _ => Fact::Applied { key, acted_for, previous: None, objects: applied },
            };
            if step < 4 {
                decisions.push(offset);
            }
            fold(&mut projection, std::slice::from_ref(&fact));
            told.fold(&note_key(), offset, time_of(at as u64), &fact);
            prop_assert_eq!(projection.resource("s", "u"), Some(told.clone()));
            if at == saved {
                table.checkpoint(&projection).expect("room");
                projection.saved();
            }
        }
        table.checkpoint(&projection).expect("room");
        let digest = projection.digest();
        drop(table);
        let (_table, again) = Table::open(folder.path()).expect("its own folder");
        prop_assert_eq!(again.digest(), digest);
        for (cluster, object, claims) in again.objects() {
            prop_assert_eq!(claims, projection.claims(&cluster, &object));
        }
    }

    #[test]
    fn a_difference_leads_from_the_earlier_state_to_the_later_one(
        facts in facts(60),
        moments in (0..60_u64, 0..60_u64),
        limit in 1..5_usize,
        source in option::of(select(&["a", ""][..])),
    ) {
        let facts = linked(&facts);
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts);
        let mut projection = Projection::default();
        fold(&mut projection, &facts);
        let ends = facts.len() as u64;
        let (from, to) = (moments.0.min(moments.1).min(ends), moments.0.max(moments.1).min(ends));
        let filter = Filter { source: source.map(str::to_owned), ..Filter::default() };
        let all = Page { limit: Some(usize::MAX), ..Page::default() };
        let rows_at = |moment: u64| -> BTreeMap<_, _> {
            let then = as_of::projection(&log, Moment::Offset(Offset::from(moment))).expect("a whole log");
            let rows = reads::lifecycles(&then, &filter, &all).expect("no cursor").items.into_iter();
            rows.map(|row| ((row.source.clone(), row.subject.clone(), row.trigger.clone(), row.cluster.clone()), row)).collect()
        };
        let state_at = |key: &ResourceKey, moment| {
            let trail = projection.trail(&key.source, &key.subject, moment).expect("it was spoken of");
            as_of::resource(&log, projection.landmarks(), &trail, moment)
        };
        let told = |page: &Page| {
            let moments = (Offset::from(from), Offset::from(to));
            let spoken_of = |from, start: Bound<&ResourceKey>, wanted: &dyn Fn(&ResourceKey) -> bool| {
                difference::spoken_of(&projection, from, start, wanted)
            };
            difference::difference(&log, moments, &filter, page, spoken_of, state_at).expect("a whole log")
        };
        let paged = pages(limit, |page| {
            let Difference { offset, from: of, items, next } = told(page);
            assert_eq!((of, offset), (from, to));
            List { offset, items, next }
        });
        prop_assert_eq!(&paged, &told(&all).items);
        if from == to {
            prop_assert!(paged.is_empty());
        }
        let mut state = rows_at(from);
        for row in paged {
            let key = (row.source, row.subject, row.trigger, row.cluster);
            prop_assert!(row.before != row.after);
            prop_assert_eq!(state.get(&key), row.before.as_ref());
            match row.after {
                Some(after) => _ = state.insert(key, after),
                None => _ = state.remove(&key),
            }
        }
        prop_assert_eq!(state, rows_at(to));
        // Whom the log between the moments speaks of is among those that were spoken of since.
        let (since, _) = difference::spoken_of(&projection, Offset::from(from), Bound::Unbounded, &|_| true);
        for row in told(&all).items {
            prop_assert!(since.iter().any(|key| *key.source == *row.source && *key.subject == *row.subject));
        }
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
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_history_tells_the_incarnation_that_each_record_belongs_to(facts in facts(60)) {
        let facts = linked(&facts);
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts);
        // Forwards and naively: what the lifecycle counted right behind each record.
        let mut projection = Projection::default();
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
fn a_difference_over_a_lost_record_is_refused_not_guessed() {
    let told = linked(&[note("other"), note("lost"), note("other")]);
    let mut projection = Projection::default();
    fold(&mut projection, &told);
    // What is on disk is not what was folded: one record is gone.
    let folder = tempfile::tempdir().expect("a folder");
    let log = log_of(folder.path(), &[told[0].clone(), Fact::RecordLost { reason: "gone" }, told[2].clone()]);
    let difference = |from: u64, source: &str| {
        let filter = Filter { source: Some(source.to_owned()), ..Filter::default() };
        let spoken_of = |from, start: Bound<&ResourceKey>, wanted: &dyn Fn(&ResourceKey) -> bool| {
            difference::spoken_of(&projection, from, start, wanted)
        };
        let state_at = |key: &ResourceKey, moment| {
            let trail = projection.trail(&key.source, &key.subject, moment).expect("it was spoken of");
            as_of::resource(&log, projection.landmarks(), &trail, moment)
        };
        let moments = (Offset::from(from), Offset::from(3));
        difference::difference(&log, moments, &filter, &Page::default(), spoken_of, state_at)
    };
    let refused = difference(1, "lost").expect_err("nobody knows what it was");
    assert_eq!(refused.to_string(), "what source `lost`, subject `x` was cannot be told");
    assert_eq!(difference(1, "other").expect("its own records are there").items, []);
    assert_eq!(difference(2, "lost").expect("nothing is lost behind it").items, []);
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
    let (entries, end) = history::records(&log.reader(), Offset::ZERO, 10).expect("a disk");
    let facts: Vec<&str> = entries.iter().map(|entry| entry.fact.as_str()).collect();
    assert_eq!((facts.as_slice(), end.get()), (&["Unreadable", "Deleted", "Unreadable", "Deleted", "Deleted"][..], 5));
}
