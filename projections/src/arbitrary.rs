//! Facts as no engine would write them: any order, any outcome, names that collide, numbers at their limits.
//!
//! For tests only. The pools are small so that what is made up meets itself often.

use std::borrow::Cow;
use std::sync::LazyLock;

use lifeline_store::Offset;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::fact::{
    Allowance, Altered, AppliedObject, Decision, Delivery, Drift, DriftedObject, EventReceived, EventRejected, Fact,
    FailedAttempt, Gathered, Later, LifecycleKey, MarkerFound, ObjectKey, Order, OrderBy, Place, Reconciled,
    RecordLost, Recreated, Redecision, Redesired, Redriven, ResourceKey, RuleChanged, Ruling, StreamChange,
    StreamChanged, TriggerReplayed, What,
};

/// Longer than any label, index or buffer would like.
static LONG: LazyLock<String> = LazyLock::new(|| "long/".repeat(20_000));

const TRIGGERS: &[&str] = &["one", "two", ""];
const CLUSTERS: &[&str] = &["mgmt/mgmt", "fleet/a"];

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        8 => select(&["a", "a/b", "a-b", "https://é/\u{0}", ""][..]),
        1 => Just(LONG.as_str()),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..40_u64, 1 => Just(u64::MAX)]
}

fn offset() -> impl Strategy<Value = Offset> {
    number().prop_map(Offset::from)
}

fn resource() -> impl Strategy<Value = ResourceKey> {
    (name(), name()).prop_map(|(source, subject)| ResourceKey { source: source.into(), subject: subject.into() })
}

fn lifecycle_key() -> impl Strategy<Value = LifecycleKey> {
    (select(TRIGGERS), select(CLUSTERS), resource()).prop_map(|(trigger, cluster, resource)| LifecycleKey {
        trigger: trigger.into(),
        cluster: cluster.into(),
        resource,
    })
}

fn object() -> impl Strategy<Value = ObjectKey> {
    let kind = select(&["Kind", "Kind", "Pod"][..]);
    // The versions of a group are one and the same object.
    let version = select(&["v1", "v1", "v2"][..]);
    let parts =
        (select(&["", "apps"][..]), version, select(&["x", "y", "a"][..]), option::of(Just("n".to_owned())), kind);
    parts.prop_map(|(group, version, name, namespace, kind)| ObjectKey {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        namespace: namespace.map(Into::into),
        name: name.into(),
    })
}

fn applied() -> impl Strategy<Value = AppliedObject> {
    (object(), any::<u64>()).prop_map(|(object, digest)| AppliedObject {
        object,
        uid: format!("{digest:x}"),
        digest,
        fields: digest % 3,
    })
}

fn delivery() -> impl Strategy<Value = Delivery<'static>> {
    (select(CLUSTERS), 0..3_u32, number(), any::<u64>()).prop_map(|(cluster, epoch, sequence, published_unix_nanos)| {
        Delivery { cluster, stream: "S", epoch, sequence, published_unix_nanos, subject: "user" }
    })
}

fn decision() -> impl Strategy<Value = Decision<'static>> {
    let ruling = prop_oneof![
        4 => Just(Ruling::Create),
        4 => Just(Ruling::Delete),
        1 => Just(Ruling::NoAction(Cow::Borrowed("Creat"))),
        1 => Just(Ruling::Failed(Cow::Borrowed("no such key"))),
    ];
    (select(TRIGGERS), any::<u16>(), ruling).prop_map(|(trigger, criterion, ruling)| Decision {
        trigger,
        event_source: "source",
        criterion,
        ruling,
    })
}

fn order() -> impl Strategy<Value = Order<'static>> {
    let later = option::of(offset().prop_map(|offset| Later { offset, published_unix_nanos: 7, stream: "S".into() }));
    let by = select(&[OrderBy::Stream, OrderBy::Time, OrderBy::Sequence][..]);
    let place = (select(TRIGGERS), by, any::<bool>(), later);
    let place =
        place.prop_map(|(trigger, by, falls_back, overtaken_by)| Place { trigger, by, falls_back, overtaken_by });
    (any::<u64>(), any::<bool>(), vec(place, 0..3)).prop_map(|(counted_unix_nanos, is_late, places)| Order {
        counted_unix_nanos,
        is_late,
        places,
    })
}

fn redecision() -> impl Strategy<Value = Redecision> {
    let incarnation = prop_oneof![0..3_u32, Just(u32::MAX)];
    let desired = prop_oneof![
        (offset(), incarnation).prop_map(|(event, incarnation)| Redesired::Present { event, incarnation }),
        option::of(offset()).prop_map(|event| Redesired::Absent { event }),
        Just(Redesired::Left),
    ];
    (select(CLUSTERS), resource(), desired).prop_map(|(cluster, resource, desired)| Redecision {
        cluster: cluster.into(),
        resource,
        desired,
        previous: None,
    })
}

/// Any fact.
pub(crate) fn fact() -> impl Strategy<Value = Fact<'static>> {
    let redriven = option::weighted(0.1, offset());
    let event = (delivery(), name(), name(), vec(decision(), 0..4), redriven, option::weighted(0.3, order())).prop_map(
        |(delivery, source, subject, decisions, redriven, order)| {
            let payload: &[u8] = b"{}";
            let (kind, id) = ("com.example.login", "1");
            let headers = vec![("ce-id", "1")];
            Fact::Event(EventReceived {
                delivery,
                source,
                subject,
                kind,
                id,
                previous: None,
                decisions,
                headers,
                payload,
                redriven: redriven.map(|of| Redriven { of, by: "anybody", reason: "it is read by now" }),
                order,
            })
        },
    );
    let rejected = delivery().prop_map(|delivery| {
        let payload: &[u8] = &[0xff];
        Fact::Rejected(EventRejected { delivery, reason: "no CloudEvent", headers: vec![], payload })
    });
    let marker = delivery().prop_map(|delivery| {
        let headers = vec![("Nats-Marker-Reason", "Purge")];
        Fact::Marker(MarkerFound { delivery, reason: "Purge", headers, payload: b"" })
    });
    let opened = (select(CLUSTERS), 0..3_u32, number()).prop_map(|(cluster, epoch, start_sequence)| {
        Fact::Stream(StreamChanged {
            cluster,
            stream: "S",
            epoch,
            change: StreamChange::Opened { created_unix_nanos: 5, start_sequence, reason: "" },
        })
    });
    let gap = (select(CLUSTERS), number(), number()).prop_map(|(cluster, from_sequence, to_sequence)| {
        Fact::Stream(StreamChanged {
            cluster,
            stream: "S",
            epoch: 1,
            change: StreamChange::Gap { from_sequence, to_sequence },
        })
    });
    let holes = (select(CLUSTERS), number(), number(), number());
    let holes = holes.prop_map(|(cluster, from_sequence, to_sequence, up_to)| {
        Fact::Stream(StreamChanged {
            cluster,
            stream: "S",
            epoch: 1,
            change: StreamChange::Holes { from_sequence, to_sequence, up_to },
        })
    });
    let rule = (select(TRIGGERS), option::of(any::<u64>()))
        .prop_map(|(rule, digest)| Fact::Rule(RuleChanged { rule, digest, manifest: "{}" }));
    let replayed = (select(TRIGGERS), option::of(any::<u64>()), any::<(bool, bool)>(), vec(redecision(), 0..5));
    let replayed = replayed.prop_map(|(trigger, digest, (leaves, complete), redecisions)| {
        let says_so = redecisions.is_empty() && leaves && !complete;
        let allowance = says_so.then_some(Allowance { objects: 7, is_confirmed: digest.is_some() });
        Fact::Replay(TriggerReplayed { trigger: trigger.into(), digest, leaves, complete, redecisions, allowance })
    });
    let intended = (lifecycle_key(), offset(), vec(object(), 0..4)).prop_map(|(key, acted_for, objects)| {
        Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Intended(objects) })
    });
    let done = (lifecycle_key(), offset(), vec(applied(), 0..4)).prop_map(|(key, acted_for, objects)| {
        Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Applied(objects) })
    });
    let failed = (lifecycle_key(), offset(), vec(applied(), 0..3), any::<(u32, bool)>());
    let failed = failed.prop_map(|(key, acted_for, objects, (attempt, transient))| {
        Fact::Reconciled(Reconciled {
            key,
            acted_for,
            previous: None,
            what: What::Failed(FailedAttempt { objects, error: "no\nhint: yes".into(), attempt, transient }),
        })
    });
    let deleted = (lifecycle_key(), offset(), vec(object(), 0..4)).prop_map(|(key, acted_for, objects)| {
        Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Deleted(objects) })
    });
    let released = (lifecycle_key(), offset(), vec(object(), 0..4)).prop_map(|(key, acted_for, objects)| {
        Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Released(objects) })
    });
    let recreated = (lifecycle_key(), offset(), object()).prop_map(|(key, acted_for, object)| {
        let recreated = Recreated { object, uid: "uid".into(), reason: "it can never change".into() };
        Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Recreated(recreated) })
    });
    let drifted = (applied(), any::<bool>(), option::of(select(TRIGGERS))).prop_map(|(applied, is_gone, manager)| {
        let drift = if is_gone { Drift::Deleted } else { Drift::Changed };
        DriftedObject { object: applied.object, uid: applied.uid, drift, manager: manager.map(Into::into) }
    });
    let drifted = (lifecycle_key(), offset(), vec(drifted, 1..3)).prop_map(|(key, acted_for, objects)| {
        Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Drifted(objects) })
    });
    let altered = (lifecycle_key(), offset(), object()).prop_map(|(key, acted_for, object)| {
        let altered = Altered { object, fields: vec!["data.a".into(), "data[\"b/c\"]".into()] };
        Fact::Reconciled(Reconciled { key, acted_for, previous: None, what: What::Altered(altered) })
    });
    let gathered =
        (select(TRIGGERS), select(CLUSTERS), 0..3_u64, offset()).prop_map(|(trigger, cluster, keys, until)| {
            Fact::Gathered(Gathered { trigger: trigger.into(), cluster: cluster.into(), keys, until, previous: None })
        });
    prop_oneof![
        2 => gathered, 2 => drifted, 1 => altered, 6 => event, 1 => rejected, 1 => marker, 1 => opened, 1 => gap, 1 => holes, 1 => rule,
        3 => replayed, 3 => intended, 3 => done, 2 => failed, 3 => deleted,
        1 => released, 1 => recreated, 1 => Just(Fact::Lost(RecordLost { reason: "gone" })),
    ]
}

/// A log of them.
pub(crate) fn facts(count_max: usize) -> impl Strategy<Value = Vec<Fact<'static>>> {
    vec(fact(), 0..count_max)
}
