//! Answers to "why", compared with stories written by hand, and with naive opinions over facts that no engine would write.

use std::collections::BTreeSet;

use lifeline_store::Offset;
use proptest::prelude::*;
use serde_json::Value;

use super::event::{Effect, Verdict, WhyEvent, event};
use super::object::{self, Named, Question, Search, WhyObject};
use crate::arbitrary::facts;
use crate::fact::{
    AppliedObject, Decision, Delivery, EventReceived, Fact, FailedAttempt, LifecycleKey, ObjectKey, Reconciled,
    Redecision, Redesired, ResourceKey, RuleChanged, Ruling, TriggerReplayed, What,
};
use crate::fold::Projection;
use crate::properties::{fold, linked, log_of};

fn received(kind: &'static str, ruling: Ruling<'static>) -> Fact<'static> {
    about("zoe", kind, vec![Decision { trigger: "manage", event_source: "users", criterion: 0, ruling }])
}

fn about(subject: &'static str, kind: &'static str, decisions: Vec<Decision<'static>>) -> Fact<'static> {
    let (cluster, stream, subject_of_nats) = ("mgmt/mgmt", "USERS", "users");
    Fact::Event(EventReceived {
        delivery: Delivery {
            cluster,
            stream,
            epoch: 1,
            sequence: 9,
            published_unix_nanos: 0,
            subject: subject_of_nats,
        },
        source: "auth",
        subject,
        kind,
        id: "1",
        previous: None,
        decisions,
        headers: vec![],
        payload: b"{}",
        redriven: None,
        order: None,
    })
}

fn key() -> LifecycleKey {
    let resource = ResourceKey { source: "auth".into(), subject: "zoe".into() };
    LifecycleKey { trigger: "manage".into(), cluster: "mgmt/mgmt".into(), resource }
}

fn namespace() -> ObjectKey {
    let (group, version, kind) = ("".into(), "v1".into(), "Namespace".into());
    ObjectKey { group, version, kind, namespace: None, name: "zoe".into() }
}

fn intended(acted_for: u64) -> Fact<'static> {
    Fact::Reconciled(Reconciled {
        key: key(),
        acted_for: acted_for.into(),
        previous: None,
        what: What::Intended(vec![namespace()]),
    })
}

fn applied(acted_for: u64, uid: &str, digest: u64) -> Fact<'static> {
    let objects = vec![AppliedObject { object: namespace(), uid: uid.into(), digest, fields: 0 }];
    Fact::Reconciled(Reconciled {
        key: key(),
        acted_for: acted_for.into(),
        previous: None,
        what: What::Applied(objects),
    })
}

fn failed(acted_for: u64) -> Fact<'static> {
    let (key, acted_for, objects) = (key(), acted_for.into(), vec![]);
    Fact::Reconciled(Reconciled {
        key,
        acted_for,
        previous: None,
        what: What::Failed(FailedAttempt { objects, error: "no".into(), attempt: 1, transient: true }),
    })
}

fn deleted(acted_for: u64) -> Fact<'static> {
    Fact::Reconciled(Reconciled {
        key: key(),
        acted_for: acted_for.into(),
        previous: None,
        what: What::Deleted(vec![namespace()]),
    })
}

fn released(acted_for: u64) -> Fact<'static> {
    Fact::Reconciled(Reconciled {
        key: key(),
        acted_for: acted_for.into(),
        previous: None,
        what: What::Released(vec![namespace()]),
    })
}

fn replayed(desired: Redesired) -> Fact<'static> {
    let LifecycleKey { trigger, cluster, resource } = key();
    let redecisions = vec![Redecision { cluster, resource, desired, previous: None }];
    Fact::Replay(TriggerReplayed {
        trigger,
        digest: Some(1),
        leaves: false,
        complete: true,
        redecisions,
        allowance: None,
    })
}

fn rule(rule: &'static str, manifest: &'static str) -> Fact<'static> {
    Fact::Rule(RuleChanged { rule, digest: Some(1), manifest })
}

/// A log of these facts, and what is folded from it.
struct Told {
    projection: Projection,
    log: lifeline_store::Reader,
    _folder: tempfile::TempDir,
}

impl Told {
    fn of(facts: &[Fact<'static>]) -> Told {
        let facts = linked(facts);
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts);
        let mut projection = Projection::with_landmarks_every(4);
        fold(&mut projection, &facts);
        Told { projection, log, _folder: folder }
    }

    fn event(&self, offset: u64) -> WhyEvent {
        let resource = |key: &ResourceKey| self.projection.resource(&key.source, &key.subject);
        event(&self.log, Offset::from(offset), resource).expect("it is held")
    }

    fn object(&self, question: Question, looks: usize) -> WhyObject {
        let mut search = Search::new(question);
        while search.look(&self.projection, looks) {}
        let current = |key: &ResourceKey| self.projection.resource(&key.source, &key.subject);
        search.answer(&self.log, &self.projection.ground().rules, current, named)
    }
}

#[test]
fn an_event_tells_what_it_caused_under_each_trigger() {
    use Effect::{Applied, Deleted, Failing, Nothing, Pending, Released, Settled, Superseded};
    let check = |facts: &[Fact<'static>], offset: u64, effect: Effect, superseded_by: Option<u64>, summary: &str| {
        let told = Told::of(facts).event(offset);
        let [why] = told.triggers.as_slice() else { panic!("one trigger speaks of it: {told:?}") };
        assert_eq!((why.effect, why.superseded_by, told.summary.as_str()), (effect, superseded_by, summary));
        assert!(told.complete);
        let verdict = if effect == Nothing { Verdict::Nothing } else { Verdict::Acted };
        assert_eq!(told.verdict, verdict);
    };
    let login = || received("login", Ruling::Create);
    let logout = || received("logout", Ruling::Delete);
    let made = "manage decided Create: applied Namespace/zoe at offset 2.";
    check(&[login()], 0, Pending, None, "manage decided Create, which is not carried out yet.");
    check(&[login(), intended(0)], 0, Pending, None, "manage decided Create, which is not carried out yet.");
    check(&[login(), intended(0), applied(0, "a", 1)], 0, Applied, None, made);
    check(&[login(), intended(0), applied(0, "a", 1), logout()], 0, Applied, Some(3), made);
    check(&[login(), failed(0)], 0, Failing, None, "manage decided Create: attempt 1 failed: no at offset 1.");
    let overtaken = "manage decided Create, but offset 1 decided again before it was carried out.";
    check(&[login(), login(), applied(1, "a", 1)], 0, Superseded, Some(1), overtaken);
    let overtaken = "manage decided Create, but offset 2 decided again before it was carried out.";
    check(&[login(), failed(0), logout()], 0, Superseded, Some(2), overtaken);
    let gone = "manage decided Delete: deleted Namespace/zoe at offset 3.";
    check(&[login(), intended(0), logout(), deleted(2)], 2, Deleted, None, gone);
    let let_go = "manage decided Delete: released Namespace/zoe, which another owner has at offset 3.";
    check(&[login(), intended(0), logout(), released(2)], 2, Released, None, let_go);
    // Carried out, then decided again by changed rules, and once more before that was carried out.
    let again = || replayed(Redesired::Present { event: Offset::ZERO, incarnation: 1 });
    check(&[login(), intended(0), applied(0, "a", 1), again(), logout()], 0, Applied, Some(4), made);
    check(&[logout()], 0, Settled, None, "manage decided Delete, and there was nothing to do.");
    // The outcome of the decision before left nothing to do for this one.
    let facts = [login(), intended(0), logout(), logout(), deleted(2)];
    check(&facts, 3, Settled, None, "manage decided Delete, and there was nothing to do.");
    let other = received("login", Ruling::NoAction("Creat".into()));
    check(&[other], 0, Nothing, None, "manage made nothing of it: no action: cloudEventAction gave `Creat`.");
    // A trigger that came after the event, and one that came to another end.
    let present = |event: u64| replayed(Redesired::Present { event: event.into(), incarnation: 1 });
    let facts = [about("zoe", "login", vec![]), present(0), applied(1, "a", 1)];
    let late = "manage decided Create when the rules changed at offset 1: applied Namespace/zoe at offset 2.";
    check(&facts, 0, Applied, None, late);
    let facts = [login(), applied(0, "a", 1), present(0), applied(2, "a", 2)];
    check(&facts, 0, Applied, None, "manage decided Create: applied Namespace/zoe at offset 3.");
    let withdrawn = replayed(Redesired::Absent { event: None });
    let overtaken = "manage decided Create, but offset 1 decided again before it was carried out.";
    check(&[login(), withdrawn], 0, Superseded, Some(1), overtaken);
}

#[test]
fn an_event_that_nobody_speaks_of_and_a_record_that_is_no_event_say_so() {
    let told = Told::of(&[about("zoe", "login", vec![]), rule("EventTrigger/manage", "{}"), intended(0)]);
    let check = |offset: u64, verdict: Verdict, summary: &str| {
        let why = told.event(offset);
        assert_eq!((why.verdict, why.summary.as_str(), why.triggers.len()), (verdict, summary, 0));
    };
    check(0, Verdict::Nothing, "Nothing happened: no trigger speaks of it.");
    check(1, Verdict::NoEvent, "No event: EventTrigger/manage changed");
    check(2, Verdict::NoEvent, "No event, but an outcome of offset 0: about to change Namespace/zoe");
    let ahead = event(&told.log, Offset::from(3), |_| None).expect_err("there is no such record");
    assert_eq!(ahead.to_string(), "offset `3` is not reached yet, the log ends at `3`");
}

#[test]
fn an_event_of_long_ago_still_tells_what_came_soon() {
    let mut facts = vec![received("login", Ruling::Create), intended(0), applied(0, "a", 1)];
    facts.push(about("ann", "login", vec![]));
    facts.extend((0..2 * super::RECORDS_MAX).map(|_| received("note", Ruling::NoAction("".into()))));
    facts.push(received("logout", Ruling::Delete));
    let told = Told::of(&facts);
    let first = told.event(0);
    assert_eq!((first.complete, first.triggers[0].effect), (false, Effect::Applied));
    let middle = told.event(5);
    assert_eq!((middle.complete, middle.triggers[0].effect), (false, Effect::Nothing));
    assert!(told.event(facts.len() as u64 - 2).complete);
}

/// What the rules read in a manifest: here it is written in full.
fn named(manifest: &Value) -> Vec<Named> {
    let named = manifest["spec"]["policyRefs"].as_array().into_iter().flatten().map(|entry| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        Named { kind: text("kind"), namespace: text("namespace"), name: text("name") }
    });
    named.collect()
}

fn asked(kind: &str, name: &str) -> Question {
    Question { kind: kind.into(), name: name.into(), ..Question::default() }
}

#[test]
fn an_object_tells_its_event_its_rule_and_since_when_it_stands() {
    let trigger = r#"{"spec":{"policyRefs":[{"kind":"ConfigMap","namespace":"default","name":"namespace"},{"kind":"Secret","namespace":"x","name":"{{ .CloudEvent.id }}"}]}}"#;
    let facts = [
        rule("EventTrigger/manage", trigger),
        rule("ConfigMap/default/namespace", r#"{"data":{"namespace.yaml":"kind: Namespace"}}"#),
        received("login", Ruling::Create),
        intended(2),
        applied(2, "a", 1),
        received("login", Ruling::Create),
        applied(5, "a", 2),
        received("login", Ruling::Create),
        applied(7, "a", 2),
    ];
    let why = Told::of(&facts).object(asked("namespace", "zoe"), 1);
    assert_eq!(why.summary, "Namespace/zoe exists on mgmt/mgmt because manage decided Create of the event at offset 7");
    assert_eq!(why.verdict, object::Verdict::Held);
    let applied = why.applied.expect("it is applied");
    assert_eq!((applied.uid.as_str(), applied.offset), ("a", Some(8)));
    assert_eq!((applied.unchanged_since, applied.made_at), (Some(6), Some(4)));
    let decision = why.decision.expect("a decision");
    assert_eq!((decision.offset, decision.replayed, decision.criterion), (7, false, Some(1)));
    assert_eq!(decision.event_source.as_deref(), Some("users"));
    let event = decision.event.and_then(|entry| entry.event).expect("an event");
    assert_eq!((event.kind.as_str(), event.stream.as_str(), event.sequence), ("login", "USERS", 9));
    let rendered = why.rendered.expect("its trigger is in the log");
    assert_eq!((rendered.rule, rendered.policies.len()), (0, 2));
    assert_eq!(rendered.policies[0].keys, ["namespace.yaml"]);
    assert_eq!(why.notes, Vec::<String>::new());
}

#[test]
fn an_object_that_is_not_there_yet_or_any_more_tells_why() {
    let check = |facts: &[Fact<'static>], verdict: object::Verdict, summary: &str, gone: Option<u64>| {
        let why = Told::of(facts).object(asked("Namespace", "zoe"), 10);
        assert_eq!((why.verdict, why.summary.as_str()), (verdict, summary));
        assert_eq!(why.gone.map(|entry| entry.offset), gone);
    };
    use object::Verdict::{Gone, Held, Unknown};
    let (login, logout) = (|| received("login", Ruling::Create), || received("logout", Ruling::Delete));
    check(&[], Unknown, "no lifecycle holds Namespace/zoe", None);
    check(&[login()], Unknown, "no lifecycle holds Namespace/zoe", None);
    let waits = "Namespace/zoe shall exist on mgmt/mgmt because manage decided Create of the event at offset 0; it is not applied yet";
    check(&[login(), intended(0)], Held, waits, None);
    let goes = "Namespace/zoe is to go from mgmt/mgmt because manage decided Delete of the event at offset 2";
    check(&[login(), applied(0, "a", 1), logout()], Held, goes, None);
    let gone = "Namespace/zoe is gone from mgmt/mgmt because manage decided Delete of the event at offset 2";
    check(&[login(), applied(0, "a", 1), logout(), deleted(2)], Gone, gone, Some(3));
    let withdrawn = replayed(Redesired::Absent { event: None });
    let gone = "Namespace/zoe is gone from mgmt/mgmt because manage decided Withdraw at offset 2";
    check(&[login(), applied(0, "a", 1), withdrawn, deleted(2)], Gone, gone, Some(3));
    let let_go = "no lifecycle holds Namespace/zoe on mgmt/mgmt: manage released it";
    check(&[login(), intended(0), logout(), released(2)], Gone, let_go, Some(3));
}

#[test]
fn an_object_that_is_called_otherwise_than_its_resource_is_found_when_it_is_gone() {
    let called = |name: &str| vec![ObjectKey { name: name.into(), ..namespace() }];
    let gone = |name: &str| {
        Fact::Reconciled(Reconciled {
            key: key(),
            acted_for: Offset::from(1),
            previous: None,
            what: What::Deleted(called(name)),
        })
    };
    let facts =
        [received("login", Ruling::Create), received("logout", Ruling::Delete), gone("x"), gone("y"), gone("x")];
    let told = Told::of(&facts);
    let why = told.object(asked("namespace", "x"), 10);
    let summary = "Namespace/x is gone from mgmt/mgmt because manage decided Delete of the event at offset 1";
    assert_eq!((why.verdict, why.summary.as_str()), (object::Verdict::Gone, summary));
    assert_eq!(why.lifecycle.map(|row| row.trigger).as_deref(), Some("manage"));
    assert_eq!(why.gone.map(|entry| entry.offset), Some(4), "the last time");
    let why = told.object(asked("namespace", "z"), 10);
    assert_eq!(why.verdict, object::Verdict::Unknown);
    assert_eq!(why.notes, ["no record that the log holds says that a lifecycle deleted or released it"]);
}

#[test]
fn several_objects_of_one_name_are_candidates_until_the_question_says_more() {
    let claim = |group: &str, space: &str| {
        let object = ObjectKey { group: group.into(), namespace: Some(space.into()), ..namespace() };
        Fact::Reconciled(Reconciled {
            key: key(),
            acted_for: Offset::ZERO,
            previous: None,
            what: What::Intended(vec![object]),
        })
    };
    let facts = [received("login", Ruling::Create), claim("", "one"), claim("", "two"), claim("apps", "two")];
    let told = Told::of(&facts);
    let why = told.object(asked("Namespace", "zoe"), 10);
    let candidates: Vec<_> =
        why.candidates.iter().map(|one| (one.object.group.as_str(), one.object.namespace.as_deref())).collect();
    assert_eq!(candidates, [("", Some("one")), ("", Some("two")), ("apps", Some("two"))]);
    assert_eq!((why.verdict, why.more), (object::Verdict::Ambiguous, false));
    let check = |namespace: Option<&str>, group: Option<&str>, cluster: Option<&str>, expected: object::Verdict| {
        let [namespace, group, cluster] = [namespace, group, cluster].map(|some| some.map(str::to_owned));
        let why = told.object(Question { namespace, group, cluster, ..asked("Namespace", "zoe") }, 10);
        assert_eq!(why.verdict, expected);
    };
    check(Some("one"), None, None, object::Verdict::Held);
    check(Some("two"), None, None, object::Verdict::Ambiguous);
    check(Some("two"), Some(""), None, object::Verdict::Held);
    check(None, Some("apps"), Some("mgmt/mgmt"), object::Verdict::Held);
    check(None, Some("apps"), Some("fleet/a"), object::Verdict::Unknown);
    check(Some("three"), None, None, object::Verdict::Unknown);
}

#[test]
fn an_object_without_a_namespace_is_meant_before_those_in_one() {
    let claim = |space: Option<&str>, version: &str| {
        let object = ObjectKey { namespace: space.map(Into::into), version: version.into(), ..namespace() };
        Fact::Reconciled(Reconciled {
            key: key(),
            acted_for: Offset::ZERO,
            previous: None,
            what: What::Intended(vec![object]),
        })
    };
    let told = Told::of(&[received("login", Ruling::Create), claim(Some("one"), "v1"), claim(None, "v2")]);
    let check = |kind: &str, space: Option<&str>, expected: Option<Option<&str>>| {
        let why = told.object(Question { namespace: space.map(str::to_owned), ..asked(kind, "zoe") }, 1);
        assert_eq!(why.object.as_ref().map(|object| object.namespace.as_deref()), expected, "{kind} in {space:?}");
    };
    // Neither the case of the kind nor the version of its API need be known.
    check("namespace", None, Some(None));
    check("NAMESPACE", Some("one"), Some(Some("one")));
    check("namespace", Some("two"), None);
    check("namespaces", None, None);
}

proptest! {
    // Each of these writes to a disk.
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_event_names_records_that_exist_and_misses_no_outcome(facts in facts(60)) {
        let facts = linked(&facts);
        let told = Told::of(&facts);
        for (fact, offset) in facts.iter().zip(0..) {
            let why = told.event(offset);
            prop_assert_eq!(why.record.offset, offset);
            prop_assert!(why.complete);
            let Fact::Event(EventReceived { delivery, source, subject, decisions, .. }) = fact else {
                prop_assert_eq!(why.verdict, Verdict::NoEvent);
                continue;
            };
            let ends = facts.len() as u64;
            for trigger in &why.triggers {
                let named = trigger.outcomes.iter().map(|entry| entry.offset);
                let named: Vec<u64> = named.chain(trigger.superseded_by).chain(trigger.replayed).collect();
                prop_assert!(named.into_iter().all(|named| named > offset && named < ends));
            }
            let told: BTreeSet<u64> =
                why.triggers.iter().flat_map(|why| why.outcomes.iter().map(|entry| entry.offset)).collect();
            let caused = facts.iter().zip(0..).skip(usize::try_from(offset).expect("short") + 1).filter(|(later, _)| {
                let Fact::Reconciled(Reconciled { key, acted_for, .. }) = later else { return false };
                (&*key.resource.source, &*key.resource.subject) == (*source, *subject)
                    && acted_for.get() == offset
                    && *key.cluster == *delivery.cluster
                    && decisions.iter().any(|decision| *decision.trigger == *key.trigger)
            });
            let caused: Vec<u64> = caused.map(|(_, at)| at).collect();
            prop_assert!(caused.iter().all(|at| told.contains(at)), "{:?} in {:?}", caused, told);
        }
    }

    #[test]
    fn every_object_is_told_by_its_owner_however_the_search_is_cut(facts in facts(60), looks in 1..5_usize) {
        let told = Told::of(&facts);
        for name in ["x", "y", "a", "nobody"] {
            let question = asked("KIND", name);
            let why = told.object(question.clone(), looks);
            prop_assert_eq!(&why, &told.object(question, usize::MAX));
            let is_meant = |object: &ObjectKey| object.name == name && object.kind == "Kind";
            let mut matching: Vec<_> = told.projection.objects().filter(|(_, object, _)| is_meant(object)).collect();
            // Where no namespace is asked for, an object without one is meant, if there is one.
            if matching.iter().any(|(_, object, _)| object.namespace.is_none()) {
                matching.retain(|(_, object, _)| object.namespace.is_none());
            }
            match (matching.as_slice(), why.verdict) {
                ([], object::Verdict::Unknown) => {}
                ([], object::Verdict::Gone) => {
                    let gone = why.gone.expect("the record").offset;
                    let at = usize::try_from(gone).expect("short");
                    let is_departure = matches!(facts[at], Fact::Reconciled(Reconciled { what: What::Deleted(_), .. }) | Fact::Reconciled(Reconciled { what: What::Released(_), .. }));
                    prop_assert!(is_departure);
                }
                ([(cluster, _, claims)], object::Verdict::Held) => {
                    let (key, lifecycle) = told.projection.lifecycle(claims[0].lifecycle);
                    let row = why.lifecycle.expect("the owner");
                    prop_assert_eq!(why.cluster.as_deref(), Some(&**cluster));
                    prop_assert_eq!((&*row.source, &*row.subject), (&*key.source, &*key.subject));
                    prop_assert_eq!(&*row.trigger, &*lifecycle.trigger);
                    prop_assert_eq!(why.also_claimed.len(), claims.len() - 1);
                }
                (several, object::Verdict::Ambiguous) => prop_assert_eq!(why.candidates.len(), several.len()),
                (matching, verdict) => prop_assert!(false, "{:?} of {}", verdict, matching.len()),
            }
        }
    }
}
