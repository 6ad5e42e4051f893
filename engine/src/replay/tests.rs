//! Histories, and what a replay makes of them.

use lifeline_projections::fact::{
    Decision, Delivery, EventReceived, Fact, LifecycleKey, ObjectKey, Reconciled, RecordLost, Redesired, ResourceKey,
    Ruling, What,
};
use lifeline_projections::fold::Keys;
use lifeline_projections::lifecycle::{Desired, Holding, Lifecycle};
use lifeline_store::{Log, Offset, Options, SimulatedDisk};

use super::desired::{Unmatched, redesired};
use super::*;
use crate::rules::{Clusters, Manifests};
use crate::status::HeldWithdrawal;

const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: users}
spec: {messagingMatchCriteria: [{subject: users, cloudEventSource: auth}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec:
  eventSourceName: users
  oneForEvent: true
  cloudEventAction: '{{if eq .CloudEvent.type "login"}}Create{{else if eq .CloudEvent.type "logout"}}Delete{{end}}'
  policyRefs: [{kind: ConfigMap, namespace: default, name: namespaces}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: namespaces, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  namespace: |
    {apiVersion: v1, kind: Namespace, metadata: {name: "{{ .CloudEvent.subject }}"}}
"#;

/// A log, and the projection that follows from it.
struct World {
    disk: SimulatedDisk,
    log: Log<SimulatedDisk>,
    projection: Projection,
    /// The log holds that a record was lost, in the place of what is recorded.
    loses: bool,
}

impl World {
    fn new() -> World {
        let options = Options { low_space_bytes: 0, ..Options::default() };
        let disk = SimulatedDisk::new(3);
        let (log, _) = Log::open(disk.clone(), options).expect("a sound disk");
        World { disk, log, projection: Projection::default(), loses: false }
    }

    fn record(&mut self, mut fact: Fact<'_>) {
        fact.link(|source, subject| self.projection.last_record(source, subject));
        let lost = Fact::Lost(RecordLost { reason: "damaged" });
        let held = if self.loses { &lost } else { &fact };
        let offset = self.log.append_encoded(1, |buffer| held.encode(buffer)).expect("room");
        self.log.sync().expect("a sound disk");
        self.projection.fold(offset, 1, &fact, &mut Vec::new());
    }

    /// An event of which nothing was made, or what earlier rules made of it.
    fn event(&mut self, kind: &str, (source, subject): (&str, &str), ruling: Option<Ruling<'_>>) {
        let payload =
            format!(r#"{{"specversion":"1.0","type":"{kind}","source":"{source}","id":"1","subject":"{subject}"}}"#);
        let (sequence, stream, nats_subject) = (self.projection.watermark().get(), "USERS", "users");
        let delivery = Delivery {
            cluster: "mgmt/mgmt",
            stream,
            epoch: 1,
            sequence,
            published_unix_nanos: 1,
            subject: nats_subject,
        };
        let decision = |ruling| Decision { trigger: "manage", event_source: "users", criterion: 0, ruling };
        self.record(Fact::Event(EventReceived {
            delivery,
            source,
            subject,
            kind,
            id: "1",
            previous: None,
            decisions: ruling.map(decision).into_iter().collect(),
            headers: Vec::new(),
            payload: payload.as_bytes(),
            redriven: None,
            order: None,
        }));
    }

    /// Replays all of it in pieces of so many steps; how many there were.
    fn replay(&mut self, rules: &Arc<RuleSet>, steps: usize) -> usize {
        let mut replay = Replay::new(rules, self.projection.ground(), None, None, &[]);
        replay.openings().for_each(|opening| self.record(Fact::Replay(opening)));
        replay.opened();
        let mut pieces = 0;
        while let Some(mut piece) =
            replay.piece(&self.projection, &self.log.reader(), steps).expect("a log that can be read")
        {
            if let Some(fact) = piece.take_fact() {
                self.record(Fact::Replay(fact));
            }
            self.advance(&mut replay, piece);
            self.allow(&mut replay);
            pieces += 1;
        }
        pieces
    }

    /// Goes on behind a piece, with the texts that it asked.
    fn advance(&self, replay: &mut Replay, piece: Piece) {
        let Some(questions) = replay.advance(piece) else { return };
        let keys = |trigger: &str, cluster: &str| {
            let mut keys = self.projection.live_keys(trigger, cluster, 0..u32::MAX);
            keys.sort_unstable();
            (texts::keys_of(&self.projection, trigger, cluster), keys)
        };
        replay.answer(questions.answered_by(&self.log.reader(), &keys));
    }

    fn desired(&self, (source, subject): (&str, &str)) -> Option<(Desired, u32)> {
        let resource = self.projection.resource(source, subject).expect("an event spoke of it");
        resource.lifecycles.first().map(|lifecycle| (lifecycle.desired, lifecycle.incarnation))
    }
}

fn rules(text: &str) -> Arc<RuleSet> {
    Arc::new(RuleSet::new(Manifests::read("rules.yaml", text), Clusters::default()))
}

const ANN: (&str, &str) = ("auth", "ann");
const BOB: (&str, &str) = ("auth", "bob");
const CID: (&str, &str) = ("auth", "cid");
const DAN: (&str, &str) = ("elsewhere", "dan");

#[test]
fn the_latest_event_that_decides_says_what_shall_hold_however_small_the_pieces() {
    let play = |steps| {
        let mut world = World::new();
        world.event("login", ANN, None);
        world.event("login", BOB, Some(Ruling::Create));
        for _ in 0..20 {
            world.event("visit", ANN, None);
        }
        world.event("logout", BOB, None);
        world.event("visit", CID, Some(Ruling::Create));
        world.event("login", DAN, Some(Ruling::Create));
        let pieces = world.replay(&rules(RULES), steps);
        assert!(world.projection.ground().open_replays.is_empty());
        let at = Offset::from;
        assert_eq!(world.desired(ANN), Some((Desired::Present { event: at(0) }, 1)));
        assert_eq!(world.desired(BOB), Some((Desired::Absent { event: Some(at(22)) }, 1)));
        assert_eq!(world.desired(CID), Some((Desired::Absent { event: None }, 1)), "nothing speaks for it");
        assert_eq!(world.desired(DAN), Some((Desired::Absent { event: None }, 1)), "its source is not listened to");
        let read = world.projection.watermark();
        assert_eq!(world.replay(&rules(RULES), steps), 0, "it is done");
        assert_eq!(world.projection.watermark(), read);
        (pieces, world.projection.resources().map(|(_, resource)| resource.lifecycles.len()).collect::<Vec<_>>())
    };
    let (many, one) = (play(1), play(1_000));
    assert_eq!((many.1, one.0), (one.1, 1));
    // Four resources, and of them 21, 1 and 1 records: of the last one none has to be read.
    assert!((27..32).contains(&many.0), "{}", many.0);
}

#[test]
fn a_trigger_that_is_gone_takes_its_lifecycles_with_it() {
    let mut world = World::new();
    world.event("login", ANN, None);
    world.event("login", BOB, None);
    world.replay(&rules(RULES), 1);
    assert_eq!(world.desired(ANN), Some((Desired::Present { event: Offset::ZERO }, 1)));
    world.replay(&rules(""), 1);
    assert_eq!(world.desired(BOB), Some((Desired::Absent { event: None }, 1)));
    assert!(world.projection.ground().replayed.is_empty());
    world.replay(&rules(RULES), 1);
    assert_eq!(world.desired(ANN), Some((Desired::Present { event: Offset::ZERO }, 2)), "it is made again");
}

#[test]
fn what_a_lost_record_may_have_decided_is_left_as_it_is() {
    for lost in [0, 1] {
        let mut world = World::new();
        for (number, kind) in ["login", "visit", "visit"].into_iter().enumerate() {
            world.loses = number == lost;
            world.event(kind, ANN, (kind == "login").then_some(Ruling::Create));
        }
        world.replay(&rules(RULES), 512);
        assert_eq!(world.desired(ANN), Some((Desired::Present { event: Offset::ZERO }, 1)), "record {lost}");
    }
}

#[test]
fn an_action_that_fails_now_withdraws_nothing() {
    let mistaken = RULES.replace("{{if eq .CloudEvent.type \"login\"}}", "{{if eq .CloudEvent.typ \"login\"}}");
    for steps in [1, 512] {
        let mut world = World::new();
        world.event("login", ANN, Some(Ruling::Create));
        world.event("login", BOB, Some(Ruling::Create));
        world.event("logout", BOB, Some(Ruling::Delete));
        world.event("visit", BOB, Some(Ruling::NoAction("".into())));
        world.event("visit", CID, None);
        let rules = rules(&mistaken);
        world.replay(&rules, steps);
        let at = Offset::from;
        assert_eq!(world.desired(ANN), Some((Desired::Present { event: at(0) }, 1)));
        assert_eq!(world.desired(BOB), Some((Desired::Absent { event: Some(at(2)) }, 1)));
        assert_eq!(world.desired(CID), None);
        let open = &world.projection.ground().open_replays;
        assert!(open.contains_key("manage"), "it cannot be completed: {open:?}");
        world.replay(&self::rules(RULES), steps);
        assert_eq!(world.desired(ANN), Some((Desired::Present { event: at(0) }, 1)));
        assert!(world.projection.ground().open_replays.is_empty(), "the mended rule decides all of it");
    }
}

#[test]
fn what_no_event_asks_for_any_more_is_left_where_the_rule_says_so() {
    for (behavior, expected) in
        [("LeavePolicies", Desired::Left), ("WithdrawPolicies", Desired::Absent { event: None })]
    {
        let with = |source: &str| {
            let text = RULES.replace(
                "  oneForEvent: true\n",
                &format!("  oneForEvent: true\n  stopMatchingBehavior: {behavior}\n"),
            );
            rules(&text.replace("cloudEventSource: auth", &format!("cloudEventSource: {source}")))
        };
        let mut world = World::new();
        world.event("login", ANN, None);
        world.event("login", BOB, None);
        world.event("logout", BOB, None);
        world.replay(&with("auth"), 512);
        world.replay(&with("elsewhere"), 512);
        assert_eq!(world.desired(ANN).map(|(desired, _)| desired), Some(expected), "{behavior}");
        assert!(matches!(world.desired(BOB), None | Some((Desired::Absent { .. }, _))));
        world.replay(&with("auth"), 512);
        assert_eq!(world.desired(ANN), Some((Desired::Present { event: Offset::ZERO }, 2)));
    }
}

#[test]
fn an_action_that_always_failed_of_an_event_changes_nothing() {
    let needs_data =
        RULES.replace("{{else if", "{{else if eq .CloudEvent.type \"visit\"}}{{.CloudEvent.data.place}}{{else if");
    let mut world = World::new();
    world.event("login", ANN, Some(Ruling::Create));
    world.event("visit", ANN, Some(Ruling::Failed("no data".into())));
    world.replay(&rules(&needs_data), 1);
    assert_eq!(world.desired(ANN), Some((Desired::Present { event: Offset::ZERO }, 1)));
    assert!(world.projection.ground().open_replays.is_empty());
}

#[test]
fn a_damaged_record_stops_neither_the_others_nor_recording() {
    let mut world = World::new();
    world.event("login", ANN, None);
    world.event("login", BOB, Some(Ruling::Create));
    world.event("login", CID, None);
    let (name, _) = world.disk.files().into_iter().find(|(name, _)| name.ends_with(".segment")).expect("a log");
    let bytes = world.disk.contents(&name).expect("the file");
    let at = bytes.windows(3).position(|bytes| bytes == b"bob").expect("the record");
    world.disk.flip_bit(&name, 8 * at as u64);
    world.replay(&rules(RULES), 512);
    let present = |offset| Some((Desired::Present { event: Offset::from(offset) }, 1));
    assert_eq!((world.desired(ANN), world.desired(BOB), world.desired(CID)), (present(0), present(1), present(2)));
    assert!(!world.projection.ground().open_replays.is_empty(), "it is not complete");
}

#[test]
fn what_has_to_be_recorded_of_a_lifecycle() {
    let known = |is_present, incarnation| Lifecycle {
        desired: if is_present { Desired::Present { event: Offset::ZERO } } else { Desired::Absent { event: None } },
        incarnation,
        settled: Some(Offset::ZERO),
        ..Lifecycle::new("manage", "mgmt/mgmt")
    };
    let left = Lifecycle { desired: Desired::Left, ..known(true, 1) };
    let (here, gone) = (known(true, 2), known(false, 2));
    let pending = Lifecycle { settled: None, ..known(true, 2) };
    let held = Holding { object: ObjectKey::of_namespace("ann"), since: Offset::ZERO, applied: None };
    let deleting = Lifecycle { inventory: vec![held], settled: None, ..known(false, 2) };
    let event = Offset::from(7);
    let (create, delete) = (Some(Desired::Present { event }), Some(Desired::Absent { event: Some(event) }));
    let present = |incarnation| Some(Redesired::Present { event, incarnation });
    let absent = |event| Some(Redesired::Absent { event });
    use Unmatched::{Keeps, Leaves, Withdraws};
    let cases = [
        (None, create, Withdraws, present(1)),
        (Some(&here), create, Withdraws, present(2)),
        (Some(&gone), create, Withdraws, present(3)),
        (Some(&left), create, Withdraws, present(2)),
        (None, delete, Withdraws, None),
        (Some(&here), delete, Keeps, absent(Some(event))),
        (Some(&gone), delete, Withdraws, None),
        (None, None, Withdraws, None),
        (Some(&here), None, Withdraws, absent(None)),
        (Some(&here), None, Keeps, None),
        (Some(&left), None, Withdraws, None),
        (Some(&here), None, Leaves, Some(Redesired::Left)),
        (Some(&left), None, Leaves, None),
        (Some(&gone), None, Leaves, None),
        (Some(&deleting), None, Leaves, absent(None)),
        (Some(&deleting), create, Withdraws, present(3)),
        (Some(&deleting), delete, Withdraws, absent(Some(event))),
        (Some(&deleting), None, Keeps, absent(None)),
        (Some(&pending), None, Keeps, Some(Redesired::Present { event: Offset::ZERO, incarnation: 2 })),
    ];
    for (known, found, unmatched, expected) in cases {
        assert_eq!(redesired(known, found, unmatched), expected, "{known:?} {found:?}");
    }
}

#[test]
fn a_replay_that_is_asked_for_decides_again_what_events_from_there_on_spoke_of() {
    let mut world = World::new();
    world.event("login", ANN, None);
    world.event("login", BOB, None);
    let rules = rules(RULES);
    world.replay(&rules, 10);
    let again = |world: &mut World, from: Option<Offset>| {
        let mut replay = Replay::of_nothing(&rules, world.projection.ground());
        assert!(!replay.ask("nobody", from));
        assert!(replay.ask("manage", from));
        assert!(replay.ask("manage", from), "its opening may not have been recorded");
        replay.openings().for_each(|opening| world.record(Fact::Replay(opening)));
        replay.opened();
        assert!(!replay.ask("manage", from), "it is under way");
        while let Some(mut piece) = replay.piece(&world.projection, &world.log.reader(), 1).expect("a sound log") {
            piece.take_fact().into_iter().for_each(|fact| world.record(Fact::Replay(fact)));
            world.advance(&mut replay, piece);
        }
        let over = replay.take_over();
        assert_eq!(over.len(), 1, "{over:?}");
        assert!(world.projection.ground().open_replays.is_empty());
        (over[0].resources, over[0].decided, over[0].otherwise)
    };
    assert_eq!(again(&mut world, None), (2, 2, 0));
    assert_eq!(again(&mut world, None), (2, 2, 0), "asked twice");
    assert_eq!(again(&mut world, Some(Offset::from(1))), (2, 1, 0), "only of the second one");
    // An event that an earlier release did not decide.
    world.event("logout", BOB, None);
    assert_eq!(again(&mut world, None), (2, 2, 1));
    assert_eq!(world.desired(BOB).map(|(desired, _)| desired.is_present()), Some(false));
    assert_eq!(world.desired(ANN), Some((Desired::Present { event: Offset::from(0) }, 1)));
}

mod brake;
mod lists;
