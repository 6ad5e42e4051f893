//! What holds for every sequence of facts, however absurd: checked with facts that no engine would write.
//!
//! Here: the codec and the fold. [`lists`], [`past`], [`histories`] and [`records`] ask what was folded. For tests only.
//! proptest prints the seed of a failure and keeps it in `proptest-regressions/`.

mod histories;
mod lists;
mod past;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use lifeline_store::{Log, Offset, Options, OsDisk, Reader};
use proptest::prelude::*;

use crate::arbitrary::facts;
use crate::fact::{
    AppliedObject, Decision, Drift, DriftedObject, EventReceived, Fact, FailedAttempt, LifecycleKey, ObjectKey,
    Reconciled, ResourceKey, RuleChanged, Ruling, TriggerReplayed, What,
};
use crate::fold::{Projection, Resource};
use crate::lifecycle::Phase;
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
    let mut projection = Projection::with_landmarks_every(4);
    let mut all = Vec::new();
    for fact in facts {
        let mut fact = fact.clone();
        fact.link(|source, subject| projection.last_record(source, subject));
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

/// An event that nobody makes anything of.
fn note(source: &'static str) -> Fact<'static> {
    Fact::Event(EventReceived {
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
        redriven: None,
        order: None,
    })
}

fn note_key() -> ResourceKey {
    ResourceKey { source: "s".into(), subject: "u".into() }
}

fn object(name: &str) -> ObjectKey {
    ObjectKey { group: "".into(), version: "v1".into(), kind: "Namespace".into(), namespace: None, name: name.into() }
}

/// An event of one resource, as a trigger decided it.
fn decided(ruling: Ruling<'static>) -> Fact<'static> {
    let Fact::Event(EventReceived { delivery, kind, id, .. }) = note("s") else { unreachable!("a note is an event") };
    Fact::Event(EventReceived {
        delivery,
        source: "s",
        subject: "u",
        kind,
        id,
        previous: None,
        decisions: vec![Decision { trigger: "t", event_source: "e", criterion: 0, ruling }],
        headers: vec![],
        payload: b"",
        redriven: None,
        order: None,
    })
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
        let mut projection = Projection::with_landmarks_every(4);
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
        let mut projection = Projection::with_landmarks_every(4);
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
        let mut projection = Projection::with_landmarks_every(4);
        fold(&mut projection, &facts);
        let unsettled: BTreeSet<_> = projection.needing_work().collect();
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
        let mut projection = Projection::with_landmarks_every(4);
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
            projection.contested_from(Bound::Unbounded).map(|(on, object, _)| (on.to_owned(), object)).collect();
        let several = holdings.iter().filter(|(_, claims)| claims.len() > 1).map(|(object, _)| object.clone());
        prop_assert_eq!(contested, several.collect::<Vec<_>>());
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
        let mut at_once = Projection::with_landmarks_every(4);
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
            table.checkpoint(&mut projection).expect("room");
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
                AppliedObject { object: object.clone(), uid, digest: digest + 1, fields: digest % 3 }
            });
            let (applied, key) = (applied.collect(), key.clone());
            let fact = match step {
                0..3 => decided(Ruling::Create),
                3 => decided(Ruling::Delete),
                4 => Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Intended(objects) }),
                5 => Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Deleted(objects) }),
                7 => {
                    let drifted = |AppliedObject { object, uid, .. }| DriftedObject { object, uid, drift: Drift::Deleted, manager: None };
                    let objects = Vec::<AppliedObject>::into_iter(applied).map(drifted).collect();
                    Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Drifted(objects) })
                }
                6 => {
                    let (error, attempt, transient) = ("e".to_owned(), 1, true);
                    Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Failed(FailedAttempt { objects: applied, error, attempt, transient }) })
                }
                _ => Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Applied(applied) }),
            };
            if step < 4 {
                decisions.push(offset);
            }
            fold(&mut projection, std::slice::from_ref(&fact));
            told.fold(&note_key(), offset, time_of(at as u64), &fact);
            prop_assert_eq!(projection.resource("s", "u"), Some(told.clone()));
            if at == saved {
                table.checkpoint(&mut projection).expect("room");
            }
        }
        table.checkpoint(&mut projection).expect("room");
        let digest = projection.digest();
        drop(table);
        let (_table, again) = Table::open(folder.path()).expect("its own folder");
        prop_assert_eq!(again.digest(), digest);
        for (cluster, object, claims) in again.objects() {
            prop_assert_eq!(claims, projection.claims(&cluster, &object));
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
    let replayed = Fact::Replay(TriggerReplayed {
        trigger: "t".into(),
        digest: Some(1),
        leaves: false,
        complete: true,
        redecisions,
        allowance: None,
    });
    let mut projection = Projection::with_landmarks_every(4);
    // Not at offset 0, where "never spoken of" and "spoken of by the first record" look alike.
    fold(&mut projection, &[Fact::Rule(RuleChanged { rule: "r", digest: Some(1), manifest: "{}" }), replayed]);
    let phases: Vec<Phase> =
        projection.resource("s", "x").expect("decided").lifecycles.iter().map(|lifecycle| lifecycle.phase()).collect();
    assert_eq!(phases, [Phase::Pending, Phase::Pending]);
}
