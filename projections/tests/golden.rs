//! The bytes of every fact, as they lie in logs that exist. A change here is a new version of the format, not a fix.

use std::fmt::Write;

use lifeline_projections::fact::{
    Allowance, Altered, AppliedObject, Decision, Delivery, Drift, DriftedObject, EventReceived, EventRejected, Fact,
    FailedAttempt, Gathered, Later, LifecycleKey, MarkerFound, ObjectKey, Order, OrderBy, Place, Reconciled,
    RecordLost, Recreated, Redecision, Redesired, Redriven, ResourceKey, RuleChanged, Ruling, StreamChange,
    StreamChanged, TriggerReplayed, What,
};
use lifeline_store::Offset;

fn object() -> ObjectKey {
    ObjectKey {
        group: "rbac.authorization.k8s.io".into(),
        version: "v1".into(),
        kind: "Role".into(),
        namespace: Some("ns".into()),
        name: "reader".into(),
    }
}

fn facts() -> Vec<(&'static str, Fact<'static>)> {
    let resource = || ResourceKey { source: "https://auth.example.com".into(), subject: "mgianluc".into() };
    let key = || LifecycleKey { trigger: "manage".into(), cluster: "mgmt/mgmt".into(), resource: resource() };
    let (three, five) = (Offset::from(3), Offset::from(300));
    let delivery = Delivery {
        cluster: "mgmt/mgmt",
        stream: "USERS",
        epoch: 1,
        sequence: 912,
        published_unix_nanos: 1_770_000_000_000_000_000,
        subject: "user-operation",
    };
    let decided = |ruling| Decision { trigger: "manage", event_source: "users", criterion: 1, ruling };
    let applied = AppliedObject { object: object(), uid: "8f3c0f1e".into(), digest: u64::MAX, fields: 0 };
    let watched = AppliedObject { fields: 7, ..applied.clone() };
    let reconciled = |what| Fact::Reconciled(Reconciled { key: key(), acted_for: three, previous: Some(five), what });
    let drifted = |drift, manager: Option<&str>| DriftedObject {
        object: object(),
        uid: "8f3c0f1e".into(),
        drift,
        manager: manager.map(Into::into),
    };
    let redecided =
        |desired| Redecision { cluster: "mgmt/mgmt".into(), resource: resource(), desired, previous: Some(three) };
    let place = |by, falls_back, overtaken_by| Place { trigger: "manage", by, falls_back, overtaken_by };
    let later = Later { offset: three, published_unix_nanos: 1_770_000_000_000_000_001, stream: "OUTS".into() };
    let ordered = |redriven| EventReceived {
        delivery,
        source: "https://auth.example.com",
        subject: "mgianluc",
        kind: "login",
        id: "10001",
        previous: Some(five),
        decisions: vec![decided(Ruling::Create)],
        headers: vec![("ce-id", "10001")],
        payload: b"{}",
        redriven,
        order: Some(Order {
            counted_unix_nanos: 1_770_000_000_000_000_000,
            is_late: true,
            places: vec![
                place(OrderBy::Stream, false, Some(later.clone())),
                place(OrderBy::Time, false, None),
                place(OrderBy::Sequence, true, None),
            ],
        }),
    };
    vec![
        (
            "EventReceived",
            Fact::Event(EventReceived {
                delivery,
                source: "https://auth.example.com",
                subject: "mgianluc",
                kind: "login",
                id: "10001",
                previous: Some(three),
                decisions: vec![
                    decided(Ruling::Create),
                    decided(Ruling::Delete),
                    decided(Ruling::NoAction("Creat".into())),
                    decided(Ruling::Failed("no such key".into())),
                ],
                headers: vec![("ce-id", "10001")],
                payload: b"{\"id\":\"10001\"}\xff",
                redriven: None,
                order: None,
            }),
        ),
        (
            "EventRejected",
            Fact::Rejected(EventRejected { delivery, reason: "no", headers: vec![("a", "b")], payload: b"\x00\xff" }),
        ),
        (
            "StreamOpened",
            Fact::Stream(StreamChanged {
                cluster: "mgmt/mgmt",
                stream: "USERS",
                epoch: 2,
                change: StreamChange::Opened { created_unix_nanos: 1, start_sequence: 1, reason: "created anew" },
            }),
        ),
        (
            "GapFound",
            Fact::Stream(StreamChanged {
                cluster: "mgmt/mgmt",
                stream: "USERS",
                epoch: 1,
                change: StreamChange::Gap { from_sequence: 5, to_sequence: 70_000 },
            }),
        ),
        (
            "HolesFound",
            Fact::Stream(StreamChanged {
                cluster: "mgmt/mgmt",
                stream: "USERS",
                epoch: 1,
                change: StreamChange::Holes { from_sequence: 5, to_sequence: 70_000, up_to: 9 },
            }),
        ),
        ("RuleChanged", Fact::Rule(RuleChanged { rule: "EventTrigger/manage", digest: Some(7), manifest: "{}" })),
        ("RuleChanged, gone", Fact::Rule(RuleChanged { rule: "EventTrigger/manage", digest: None, manifest: "" })),
        (
            "TriggerReplayed",
            Fact::Replay(TriggerReplayed {
                trigger: "manage".into(),
                digest: Some(7),
                leaves: true,
                complete: false,
                redecisions: vec![
                    redecided(Redesired::Present { event: three, incarnation: 2 }),
                    redecided(Redesired::Absent { event: Some(five) }),
                    redecided(Redesired::Absent { event: None }),
                    redecided(Redesired::Left),
                ],
                allowance: None,
            }),
        ),
        (
            "ApplyIntended",
            Fact::Reconciled(Reconciled {
                key: key(),
                acted_for: three,
                previous: None,
                what: What::Intended(vec![object()]),
            }),
        ),
        (
            "Applied",
            Fact::Reconciled(Reconciled {
                key: key(),
                acted_for: three,
                previous: Some(five),
                what: What::Applied(vec![applied.clone()]),
            }),
        ),
        (
            "ApplyFailed",
            Fact::Reconciled(Reconciled {
                key: key(),
                acted_for: three,
                previous: Some(five),
                what: What::Failed(FailedAttempt {
                    objects: vec![applied.clone()],
                    error: "refused\nhint: ask".into(),
                    attempt: 3,
                    transient: true,
                }),
            }),
        ),
        (
            "Deleted",
            Fact::Reconciled(Reconciled {
                key: key(),
                acted_for: five,
                previous: Some(five),
                what: What::Deleted(vec![object()]),
            }),
        ),
        ("RecordLost", Fact::Lost(RecordLost { reason: "gone" })),
        (
            "Released",
            Fact::Reconciled(Reconciled {
                key: key(),
                acted_for: five,
                previous: Some(five),
                what: What::Released(vec![object()]),
            }),
        ),
        (
            "EventRedriven",
            Fact::Event(EventReceived {
                delivery,
                source: "https://auth.example.com",
                subject: "mgianluc",
                kind: "login",
                id: "10001",
                previous: Some(five),
                decisions: vec![decided(Ruling::Create)],
                headers: vec![("ce-id", "10001")],
                payload: b"{\"id\":\"10001\"}\xff",
                redriven: Some(Redriven { of: three, by: "anybody", reason: "read since" }),
                order: None,
            }),
        ),
        (
            "Recreated",
            Fact::Reconciled(Reconciled {
                key: key(),
                acted_for: five,
                previous: Some(five),
                what: What::Recreated(Recreated {
                    object: object(),
                    uid: "0b8f2c1a".into(),
                    reason: "spec.template: field is immutable".into(),
                }),
            }),
        ),
        (
            "Drifted",
            reconciled(What::Drifted(vec![
                drifted(Drift::Deleted, None),
                drifted(Drift::Changed, Some("kubectl-edit")),
            ])),
        ),
        ("Applied, with fields", reconciled(What::Applied(vec![watched.clone(), applied.clone()]))),
        (
            "ApplyFailed, with fields",
            reconciled(What::Failed(FailedAttempt {
                objects: vec![watched],
                error: "refused".into(),
                attempt: 3,
                transient: false,
            })),
        ),
        ("EventOvertaken", Fact::Event(ordered(None))),
        (
            "EventRedriven, overtaken",
            Fact::Event(ordered(Some(Redriven { of: three, by: "anybody", reason: "read since" }))),
        ),
        (
            "MarkerFound",
            Fact::Marker(MarkerFound {
                delivery,
                reason: "MaxAge",
                headers: vec![("Nats-Marker-Reason", "MaxAge")],
                payload: b"",
            }),
        ),
        (
            "Gathered",
            Fact::Gathered(Gathered {
                trigger: "manage".into(),
                cluster: "mgmt/mgmt".into(),
                keys: 2,
                until: three,
                previous: Some(five),
            }),
        ),
        (
            "TriggerReplayed, may withdraw",
            Fact::Replay(TriggerReplayed {
                trigger: "manage".into(),
                digest: None,
                leaves: false,
                complete: false,
                redecisions: Vec::new(),
                allowance: Some(Allowance { objects: 300, is_confirmed: true }),
            }),
        ),
        (
            "Altered",
            reconciled(What::Altered(Altered {
                object: object(),
                fields: vec!["data.login".into(), "rules[0].verbs".into()],
            })),
        ),
    ]
}

#[test]
fn facts_are_laid_out_as_the_golden_file_says() {
    let mut told = String::new();
    for (name, fact) in facts() {
        assert!(name.starts_with(fact.name()), "{name} is called {}", fact.name());
        let mut bytes = Vec::new();
        fact.encode(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(told, "{name}: {hex}").expect("a String takes all");
    }
    assert_eq!(told, include_str!("golden/facts.txt"));
}

#[test]
fn facts_are_read_from_the_bytes_in_the_golden_file() {
    let golden = include_str!("golden/facts.txt");
    for ((name, fact), line) in facts().into_iter().zip(golden.lines()) {
        let (_, hex) = line.split_once(": ").expect("a name and bytes");
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits")).collect();
        assert_eq!(Fact::decode(&bytes).expect(name), fact, "{name}");
        let mut other_version = bytes.clone();
        other_version[0] = 2;
        let refused = Fact::decode(&other_version).expect_err("another version").to_string();
        assert!(refused.starts_with("record has version `2`"), "{refused}");
        let mut other_kind = bytes.clone();
        other_kind[1] = 99;
        let refused = Fact::decode(&other_kind).expect_err("an unknown kind").to_string();
        assert!(refused.starts_with("record is a fact of kind `99`, which this release does not know"), "{refused}");
        assert!(refused.contains("written by a newer release"), "{refused}");
        let trailing = [bytes, vec![0]].concat();
        assert!(Fact::decode(&trailing).is_err(), "{name} with a byte behind it");
    }
}
