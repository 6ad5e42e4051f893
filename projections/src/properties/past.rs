//! The past: an earlier state is the state that was, and a difference leads from one to another.

use std::collections::BTreeMap;
use std::ops::Bound;

use lifeline_store::{Log, Offset, Options, OsDisk, Reader};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::lists::pages;
use super::{fold, linked, log_of, note, time_of};
use crate::arbitrary::facts;
use crate::as_of::{self, Moment};
use crate::difference::{self, Difference};
use crate::fact::{Fact, RecordLost, ResourceKey};
use crate::fold::{Projection, Sieve};
use crate::reads::{self, Filter, List, Noun, Page};
use crate::table::Table;

/// An earlier state, asked for a few resources at a time.
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
        let piece = as_of::Piece::read(self.log, projection.landmarks(), &trails, count, moment).expect("a whole log");
        let page = Page { looks: Some(count), ..page.clone() };
        read(&piece, &Filter::default(), &page).expect("its own cursor")
    }
}

proptest! {
    // Each of these writes to a disk.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn an_earlier_state_is_the_state_that_was(facts in facts(40), at in 0..40_usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts);
        let at = at.min(facts.len());
        let mut then = Projection::with_landmarks_every(4);
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
        let mut then = Projection::with_landmarks_every(4);
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
        let mut then = Projection::with_landmarks_every(4);
        fold(&mut then, &facts[..at]);
        // Asked later, with a part of the landmarks on disk, from a process that began again.
        let path = folder.path().join("projection");
        let (table, mut now) = Table::open(&path).expect("its own folder");
        fold(&mut now, &facts[..saved]);
        table.checkpoint(&mut now).expect("room");
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
        let piece = as_of::Piece::read(&log, now.landmarks(), &trails, usize::MAX, moment).expect("a whole log");
        let (all, filter) = (Page { limit: Some(usize::MAX), ..Page::default() }, Filter::default());
        prop_assert_eq!(reads::resources(&piece, &filter, &all), reads::resources(&then, &filter, &all));
        prop_assert_eq!(reads::lifecycles(&piece, &filter, &all), reads::lifecycles(&then, &filter, &all));
        prop_assert_eq!(reads::objects(&piece, &filter, &all), reads::objects(&then, &filter, &all));
        let rules = as_of::rules(&log, &now.ground().rule_records, moment).expect("a whole log");
        prop_assert_eq!(&rules, &then.ground().rules);

        // Piece after piece and page after page, as answers give it: nothing is lost between two.
        let told = Pieces { projection: &now, log: &log, moment, resources_max };
        let whole = reads::resources(&then, &filter, &all).expect("no cursor").items;
        prop_assert_eq!(pages(limit, |page| told.page(Noun::Resources, page, reads::resources)), whole);
        let whole = reads::lifecycles(&then, &filter, &all).expect("no cursor").items;
        prop_assert_eq!(pages(limit, |page| told.page(Noun::Lifecycles, page, reads::lifecycles)), whole);
        let whole = reads::objects(&then, &filter, &all).expect("no cursor").items;
        prop_assert_eq!(pages(limit, |page| told.page(Noun::Objects, page, reads::objects)), whole);
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
        let mut projection = Projection::with_landmarks_every(4);
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
}

#[test]
fn a_difference_over_a_lost_record_is_refused_not_guessed() {
    let told = linked(&[note("other"), note("lost"), note("other")]);
    let mut projection = Projection::with_landmarks_every(4);
    fold(&mut projection, &told);
    // What is on disk is not what was folded: one record is gone.
    let folder = tempfile::tempdir().expect("a folder");
    let log = log_of(folder.path(), &[told[0].clone(), Fact::Lost(RecordLost { reason: "gone" }), told[2].clone()]);
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
    assert_eq!(refused.to_string(), "the earlier state of source `lost`, subject `x` is not known");
    assert_eq!(difference(1, "other").expect("its own records are there").items, []);
    assert_eq!(difference(2, "lost").expect("nothing is lost behind it").items, []);
}
