//! Lists: every row once, whatever is asked for and however it is paged.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{fold, time_of};
use crate::arbitrary::facts;
use crate::fold::Projection;
use crate::lifecycle::{Lifecycle, Phase};
use crate::reads::{self, Filter, List, Page};
use crate::stuck::stuck;

/// All pages of a list, `limit` rows each at most.
pub(super) fn pages<T>(limit: usize, mut read: impl FnMut(&Page) -> List<T>) -> Vec<T> {
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
    fn pages_hold_every_row_once_while_rows_are_added(facts in facts(80), more in facts(40), limit in 1..7_usize) {
        let mut projection = Projection::with_landmarks_every(4);
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
        let mut projection = Projection::with_landmarks_every(4);
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

        let told = stuck(&projection, now_unix_nanos, Duration::from_secs(min), |_| false, &all).expect("no cursor").items;
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
    fn what_is_gone_and_kinds_choose_among_all_rows(
        facts in facts(80),
        gone in option::of(any::<bool>()),
        kind in option::of(select(&["kind", "POD", "other"][..])),
        trigger in option::weighted(0.3, select(&["one", "two"][..])),
    ) {
        let mut projection = Projection::with_landmarks_every(4);
        fold(&mut projection, &facts);
        let all = Page { limit: Some(usize::MAX), ..Page::default() };
        let filter = Filter { gone, kind: kind.map(str::to_owned), trigger: trigger.map(str::to_owned), ..Filter::default() };
        let every = Filter::default();
        let is_kind = |row: &reads::ObjectRow| kind.is_none_or(|kind| row.kind.to_lowercase() == kind.to_lowercase());
        let is_wanted = |row: &reads::LifecycleRow| {
            gone.is_none_or(|gone| gone == (row.phase == "Gone"))
                && trigger.is_none_or(|trigger| row.trigger == trigger)
                && (kind.is_none() || row.objects.iter().any(is_kind))
        };
        let mut expected = reads::lifecycles(&projection, &every, &all).expect("no cursor").items;
        let of = expected.clone();
        let of = |row: &reads::ResourceRow| {
            let its = of.iter().filter(|one| (&one.source, &one.subject) == (&row.source, &row.subject));
            its.cloned().collect::<Vec<_>>()
        };
        expected.retain(is_wanted);
        let told = reads::lifecycles(&projection, &filter, &all).expect("no cursor").items;
        prop_assert_eq!(told, expected);

        let mut expected = reads::resources(&projection, &every, &all).expect("no cursor").items;
        expected.retain(|row| match of(row) {
            // One without lifecycles is not gone, and holds nothing.
            none if none.is_empty() => gone != Some(true) && kind.is_none() && trigger.is_none(),
            some => some.iter().any(is_wanted),
        });
        let told = reads::resources(&projection, &filter, &all).expect("no cursor").items;
        prop_assert_eq!(told, expected);

        let mut expected = reads::objects(&projection, &every, &all).expect("no cursor").items;
        expected.retain(|row| is_kind(&row.object) && gone != Some(true) && trigger.is_none_or(|trigger| row.trigger == trigger));
        let told = reads::objects(&projection, &filter, &all).expect("no cursor").items;
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn every_list_gives_the_same_rows_in_pages_as_at_once(facts in facts(80), limit in 1..5_usize) {
        let mut projection = Projection::with_landmarks_every(4);
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
            Filter { gone: Some(false), kind: Some("POD".into()), ..Filter::default() },
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
            let stuck = |page: &Page| stuck(&projection, None, Duration::from_secs(seconds), |_| false, page).expect("its own cursor");
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
