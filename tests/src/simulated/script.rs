//! [`Script`]: everything that is done to the world of a story, chosen from the seed before the story begins.
//!
//! What a world does by itself (delays, lost answers) is drawn while it is played. A script is plain data, so that a part of
//! it can be left out and the rest played again: see [`super::shrink`].

use std::time::Duration;

use bytes::Bytes;
use lifeline_engine::intake::jetstream::Retention;
use lifeline_store::Fault;
use serde_json::{Value, json};

use super::chance::Chance;
use super::rules::{Event, Version};

/// The resources that events are about: two of them share a subject and so the name of an object, and one asks for an
/// object that no cluster accepts.
pub const RESOURCES: [(&str, &str); 5] =
    [("auth", "ann"), ("auth", "bob"), ("auth", "cid"), ("sso", "ann"), ("sso", "a/b")];

/// Logins and logouts are most of what happens.
const KINDS: [&str; 9] = ["login", "login", "login", "login", "visit", "logout", "logout", "logout", "suspend"];

/// The objects that are there before the story begins and that Lifeline did not make, where a script has them.
#[must_use]
pub fn foreign() -> [Value; 2] {
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bob"}}),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "audit-auth-bob", "namespace": "default"},
            "data": {"login": "theirs"},
        }),
    ]
}

/// What is done to a world, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The world draws its own chance from this.
    pub seed: u64,
    /// When the stream lets go of messages.
    pub retention: Retention,
    /// Messages that the stream holds at most: it drops its oldest ones.
    pub messages_max: usize,
    /// Whether the NATS server loses requests and acknowledgements by itself.
    pub unkind_server: bool,
    /// Whether the cluster loses requests and answers, and takes its time, by itself.
    pub unkind_cluster: bool,
    /// Whether objects that the rules give are there already, made by another owner.
    pub has_foreign: bool,
    /// Whether the triggers detect drift.
    pub detects_drift: bool,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One thing that is done, and the pause after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// How long nothing else is done.
    pub pause: Duration,
}

/// What is done to a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Wait,
    /// A message is published.
    Publish(Message),
    /// Rules come into force, in place of those before them.
    Rules(Version),
    /// A mistake comes into the rules, which takes a trigger out of force, or is mended.
    Mistake {
        /// It comes.
        comes: bool,
    },
    /// The kinds of the rules go from the cluster, or come back. A running engine keeps its rules, and one that starts has none.
    Definitions {
        /// They come back.
        come: bool,
    },
    /// A release of the engine comes in place of the one before it, which is stopped.
    Release {
        /// It refuses some events that ours reads.
        reads_less: bool,
    },
    /// All rejected messages are to be taken up again; twice, as two people may ask for at once.
    Redrive,
    /// The engine ends; it is started again after a while.
    End {
        /// How it ends.
        how: Ending,
        /// How long it is away.
        away: Duration,
    },
    /// A disk operation will fail.
    DiskFault {
        /// How.
        fault: Fault,
        /// Which: the next one is 1.
        operation: u64,
    },
    /// The NATS server cannot be reached for this long.
    ServerAway(Duration),
    /// The cluster cannot be reached for this long.
    ClusterAway(Duration),
    /// The cluster answers no write about objects of a kind for this long.
    KindHangs {
        /// The kind.
        kind: &'static str,
        /// How long.
        pause: Duration,
    },
    /// Somebody else changes or deletes an object that was applied, if there is one.
    Meddle {
        /// Which one.
        which: u64,
        /// It is deleted.
        deletes: bool,
    },
    /// Somebody puts a finalizer on an object that was applied, if there is one, and takes it away after this long.
    Hold {
        /// Which one.
        which: u64,
        /// How long.
        pause: Duration,
    },
    /// A policy of the cluster changes what is applied, or goes.
    Policy {
        /// It comes.
        comes: bool,
    },
    /// The oldest messages of the stream are purged: this many of every thousand.
    Purge {
        /// From 0 to 1,000.
        per_mille: u64,
    },
    /// The stream is deleted and made again.
    RemakeStream,
    /// The server restarts without this many of the newest messages.
    LoseTail {
        /// At most that many; the stream may have fewer.
        messages: u64,
        /// The engine is connected to that server.
        cuts: bool,
    },
    /// The consumer delivers nothing more.
    Deafen,
    /// One of the streams delivers nothing for this long, in stories with two.
    SlowStream {
        /// Which: the other one, or the first.
        other: bool,
        /// How long.
        pause: Duration,
    },
    /// Another reader of the same consumer takes messages.
    Steal {
        /// At most that many; fewer may wait.
        messages: u64,
        /// It acknowledges them. A work queue then has no copy for us, so there it never does.
        acknowledges: bool,
    },
    /// The clock of the engine's machine is off by so many days, for this long.
    ClockJump {
        /// Ahead, or back.
        days: i64,
        /// Shorter than a jump is doubted.
        pause: Duration,
    },
    /// Another engine takes the consumers, and reads with them for this long.
    Rival(Duration),
    /// Somebody changes what the consumers ask for.
    Edit,
    /// A copy of the stream appears: with an event of its own, where it has a subject of its own; a mirror otherwise.
    Copy(Option<Message>),
    /// The copy goes.
    RemoveCopy,
    /// The owner of the stream adds a subject that nobody wants, or takes it away.
    OtherSubject {
        /// It is added.
        comes: bool,
    },
    /// Something is published on that subject.
    PublishOther(Bytes),
}

/// How an engine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is asked to stop.
    Stop,
    /// Its process is killed.
    Kill,
    /// The power of its machine is cut.
    PowerCut,
}

/// A message and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its bytes; no two messages of a story have the same.
    pub payload: Bytes,
    /// The event in it; `None` where it is no CloudEvent.
    pub event: Option<Event>,
    /// Whether it is published in the other stream.
    pub elsewhere: bool,
}

impl Message {
    /// The message of a number, which makes it different from all others.
    pub fn choose(number: u64, chance: &Chance) -> Message {
        if chance.one_in(20) {
            let payload = Bytes::from(format!("no CloudEvent, message {number}."));
            return Message { payload, event: None, elsewhere: false };
        }
        let resource = *chance.pick(&RESOURCES);
        Message::new(number, resource, chance.pick::<&str>(&KINDS))
    }

    /// The event of a number, about a source and subject.
    #[must_use]
    pub fn new(number: u64, (source, subject): (&str, &str), kind: &str) -> Message {
        let id = format!("e{number}");
        let payload =
            format!(r#"{{"specversion":"1.0","id":"{id}","source":"{source}","subject":"{subject}","type":"{kind}"}}"#);
        let (source, subject, kind) = (source.to_owned(), subject.to_owned(), kind.to_owned());
        let event = Some(Event { source, subject, kind, id });
        Message { payload: Bytes::from(payload), event, elsewhere: false }
    }
}

impl Script {
    /// The script of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Script {
        let chance = Chance::new(seed, 4);
        let retention = if chance.one_in(3) { Retention::WorkQueue } else { Retention::Limits };
        let mut steps = Vec::new();
        let mut messages = 0;
        // In half of the stories the rules come after six rounds: the engine and events are there first.
        let rules_at = if chance.one_in(2) { 0 } else { 6 };
        for round in 0..40 + chance.below(60) {
            if round == rules_at {
                steps.push(Step { action: Action::Rules(Version::First), pause: Duration::ZERO });
            }
            match chance.below(100) {
                0..45 => {
                    for _ in 0..=chance.below(4) {
                        let action = Action::Publish(Message::choose(messages, &chance));
                        steps.push(Step { action, pause: Duration::ZERO });
                        messages += 1;
                    }
                }
                other => steps.push(Step::choose(other, &chance)),
            }
            steps.push(Step { action: Action::Wait, pause: chance.millis_below(80) });
        }
        // Half of the stories have an end of their own, so that no later message hides a mistake.
        if chance.one_in(2) {
            let end = match chance.below(8) {
                0 | 1 => guest_that_returns,
                2 => mistake_that_is_mended,
                _ => login_and_logout,
            };
            steps.extend(end(messages, &chance));
        }
        // Drawn apart, so that nothing else in the stories of all seeds is different for it.
        let hanging = Chance::new(seed, 7);
        if hanging.one_in(4) {
            let at = usize::try_from(hanging.below(steps.len() as u64)).unwrap_or_default();
            let kind = *hanging.pick::<&str>(&["Namespace", "ConfigMap"]);
            let action = Action::KindHangs { kind, pause: hanging.millis_below(90_000) };
            steps.insert(at, Step { action, pause: Duration::ZERO });
        }
        let upgrade = Chance::new(seed, 9);
        if upgrade.one_in(4) {
            upgraded(&mut steps, &upgrade);
        }
        let awaited = Chance::new(seed, 11);
        if awaited.one_in(4) {
            let at = usize::try_from(awaited.below(steps.len() as u64)).unwrap_or_default();
            steps.splice(at..at, withdrawn_beside_a_mistake(&awaited));
        }
        let tiered = Chance::new(seed, 10);
        if tiered.one_in(3) {
            let at = usize::try_from(tiered.below(steps.len() as u64)).unwrap_or_default();
            steps.insert(at, Step { action: Action::Rules(Version::Tiered), pause: Duration::ZERO });
        }
        let listed = Chance::new(seed, 13);
        if listed.one_in(3) {
            let mut at = usize::try_from(listed.below(steps.len() as u64)).unwrap_or_default();
            steps.insert(at, Step { action: Action::Rules(Version::Listed), pause: Duration::ZERO });
            if listed.one_in(2) {
                at += usize::try_from(listed.below((steps.len() - at) as u64)).unwrap_or_default();
                steps.insert(at + 1, Step { action: Action::Rules(Version::Relisted), pause: Duration::ZERO });
            }
        }
        let meddling = Chance::new(seed, 11);
        let detects_drift = meddling.one_in(3);
        if detects_drift {
            meddled(&mut steps, &meddling);
        }
        let streams = Chance::new(seed, 12);
        if streams.one_in(3) {
            in_two_streams(&mut steps, &streams);
        }
        let rival = Chance::new(seed, 27);
        if rival.one_in(4) {
            let at = usize::try_from(rival.below(steps.len() as u64 + 1)).unwrap_or_default();
            let (takes, acknowledges) = (1 + rival.below(4), rival.one_in(2));
            let steals = Action::Steal { messages: takes, acknowledges };
            steps.insert(at, Step { action: steals, pause: rival.millis_below(60_000) });
            steps.insert(at, Step { action: Action::Rival(rival.millis_below(60_000)), pause: Duration::ZERO });
        }
        let clock = Chance::new(seed, 28);
        if clock.one_in(6) {
            let at = usize::try_from(clock.below(steps.len() as u64 + 1)).unwrap_or_default();
            let action =
                Action::ClockJump { days: *clock.pick(&[-14_600, 4, 14_600]), pause: clock.millis_below(500_000) };
            steps.insert(at, Step { action, pause: Duration::ZERO });
        }
        by_hand(&mut steps, seed, retention);
        held_and_altered(&mut steps, &Chance::new(seed, 31));
        let has_foreign = chance.one_in(4);
        let messages_max = if chance.one_in(6) { 2 + chance.below(20) } else { u64::MAX };
        let messages_max = usize::try_from(messages_max).unwrap_or(usize::MAX);
        let (unkind_server, unkind_cluster) = (true, true);
        Script { seed, retention, messages_max, unkind_server, unkind_cluster, has_foreign, detects_drift, steps }
    }

    /// Whether some messages are published in another stream.
    #[must_use]
    pub fn has_two_streams(&self) -> bool {
        self.steps.iter().any(|step| matches!(&step.action, Action::Publish(message) if message.elsewhere))
    }

    /// Whether all streams are read, whatever their subjects: copies are among them then.
    #[must_use]
    pub fn reads_all(&self) -> bool {
        self.steps.iter().any(|step| matches!(&step.action, Action::Copy(_)))
    }

    /// Whether the stream has subjects that nobody wants: then what is missing is recorded as holes, and no gap.
    #[must_use]
    pub fn has_other_subject(&self) -> bool {
        self.steps.iter().any(|step| matches!(&step.action, Action::OtherSubject { .. }))
    }

    /// How many messages are published.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.action, Action::Publish(_))).count()
    }

    /// The rules in force at the end; the first ones where no step says anything about them.
    #[must_use]
    pub fn version(&self) -> Version {
        let versions = self.steps.iter().filter_map(|step| match step.action {
            Action::Rules(version) => Some(version),
            _ => None,
        });
        versions.last().unwrap_or(Version::First)
    }
}

/// Half of the messages are published in another stream, and now and then one of the two is slow: so what was published later is
/// read earlier.
fn in_two_streams(steps: &mut Vec<Step>, chance: &Chance) {
    for step in &mut *steps {
        if let Action::Publish(message) = &mut step.action {
            message.elsewhere = chance.one_in(2);
        }
    }
    for _ in 0..=chance.below(4) {
        let at = usize::try_from(chance.below(steps.len() as u64 + 1)).unwrap_or_default();
        let action = Action::SlowStream { other: chance.one_in(2), pause: chance.millis_below(4_000) };
        steps.insert(at, Step { action, pause: Duration::ZERO });
    }
}

/// People change a consumer, copy the stream, or add a subject to it, in stories of their own. Drawn apart.
fn by_hand(steps: &mut Vec<Step>, seed: u64, retention: Retention) {
    let chance = Chance::new(seed, 30);
    let mut insert = |action, pause| {
        let at = usize::try_from(chance.below(steps.len() as u64 + 1)).unwrap_or_default();
        steps.insert(at, Step { action, pause });
    };
    if chance.one_in(5) {
        for come in [true, false] {
            insert(Action::Definitions { come }, Duration::ZERO);
        }
    }
    if chance.one_in(5) {
        insert(Action::Edit, chance.millis_below(3_000));
    }
    match chance.below(6) {
        // What deletes the acknowledged is read by name alone.
        0 if retention == Retention::Limits => {
            for number in 0..=chance.below(3) {
                let own = Message::new(2_000_000 + number, *chance.pick(&RESOURCES), chance.pick::<&str>(&KINDS));
                insert(Action::Copy(chance.one_in(2).then_some(own)), chance.millis_below(9_000));
                insert(Action::RemoveCopy, chance.millis_below(9_000));
            }
        }
        1 | 2 => {
            for number in 0..=chance.below(4) {
                insert(Action::OtherSubject { comes: !chance.one_in(3) }, chance.millis_below(9_000));
                let payload = Bytes::from(format!("number {number} of somebody else"));
                insert(Action::PublishOther(payload), Duration::ZERO);
            }
        }
        _ => {}
    }
}

/// An earlier release plays the beginning, ours the rest; then what was rejected is taken up again, now and then.
fn upgraded(steps: &mut Vec<Step>, chance: &Chance) {
    let at_once = |action| Step { action, pause: Duration::ZERO };
    let mut at = 0;
    let mut place = |steps: &[Step]| {
        let rest = steps.len() - at;
        at += usize::try_from(chance.below(rest as u64 + 1)).unwrap_or_default();
        at
    };
    let ours = place(steps);
    steps.insert(ours, at_once(Action::Release { reads_less: false }));
    for _ in 0..=chance.below(3) {
        let redrive = place(steps).max(ours + 1);
        // It may end while it is about it.
        if chance.one_in(3) {
            let how = *chance.pick(&[Ending::Stop, Ending::Kill, Ending::PowerCut]);
            steps.insert(redrive, at_once(Action::End { how, away: chance.millis_below(100) }));
        }
        steps.insert(redrive, Step { action: Action::Redrive, pause: chance.millis_below(30) });
    }
    steps.insert(0, at_once(Action::Release { reads_less: true }));
}

/// Somebody else changes or deletes objects, a few times: fewer than would make the last pause of a fight longer than the calm.
fn meddled(steps: &mut Vec<Step>, chance: &Chance) {
    for _ in 0..=chance.below(7) {
        let at = usize::try_from(chance.below(steps.len() as u64 + 1)).unwrap_or_default();
        let action = Action::Meddle { which: chance.below(1_000), deletes: chance.one_in(2) };
        steps.insert(at, Step { action, pause: chance.millis_below(500) });
    }
}

/// Others put finalizers on objects, so that deletions hang; and a policy changes what is applied.
fn held_and_altered(steps: &mut Vec<Step>, chance: &Chance) {
    let mut insert = |action| {
        let at = usize::try_from(chance.below(steps.len() as u64 + 1)).unwrap_or_default();
        steps.insert(at, Step { action, pause: Duration::ZERO });
    };
    if chance.one_in(4) {
        for _ in 0..=chance.below(7) {
            insert(Action::Hold { which: chance.below(1_000), pause: chance.millis_below(90_000) });
        }
    }
    if chance.one_in(4) {
        insert(Action::Policy { comes: true });
        if chance.one_in(2) {
            insert(Action::Policy { comes: false });
        }
    }
}

/// A login and a logout, under any rules.
fn login_and_logout(messages: u64, chance: &Chance) -> Vec<Step> {
    let resource = *chance.pick(&RESOURCES);
    let rules = chance.one_in(2).then(|| Action::Rules(*chance.pick(&Version::CHOSEN)));
    let events = publish(["login", "logout"], messages, resource);
    let actions = rules.into_iter().chain(events);
    actions.map(|action| Step { action, pause: chance.millis_below(3_000) }).collect()
}

/// A guest leaves, its Namespace goes, and rules come into force by which the guest would not have left. Half of the time all
/// of it happens while an apply of the guest is on its way.
fn guest_that_returns(messages: u64, chance: &Chance) -> Vec<Step> {
    let resource = *chance.pick(&RESOURCES);
    let mut actions = vec![Action::Rules(Version::WithGuests)];
    actions.extend(publish(["login", "login", "suspend", "logout"], messages, resource));
    actions.push(Action::Rules(Version::GuestsStay));
    let pauses = if chance.one_in(2) {
        let apply_begins = Duration::from_millis(50) + chance.millis_below(200);
        [Duration::ZERO, chance.millis_below(10_000), apply_begins, Duration::ZERO, chance.millis_below(1_000)]
    } else {
        let limit = if chance.one_in(2) { 200 } else { 3_000 };
        std::array::from_fn(|_| chance.millis_below(limit))
    };
    let pauses = pauses.into_iter().chain([chance.millis_below(3_000)]);
    actions.into_iter().zip(pauses).map(|(action, pause)| Step { action, pause }).collect()
}

/// Rules change, one of them gets a mistake soon afterwards, and is mended as it was; meanwhile events come.
fn mistake_that_is_mended(messages: u64, chance: &Chance) -> Vec<Step> {
    let resource = *chance.pick(&RESOURCES);
    let rules = *chance.pick(&Version::CHOSEN);
    let mut actions = vec![Action::Rules(rules), Action::Mistake { comes: true }];
    actions.extend(publish(["login", "suspend"], messages, resource));
    actions.push(Action::Mistake { comes: false });
    let limit = if chance.one_in(2) { 20 } else { 1_000 };
    actions.into_iter().map(|action| Step { action, pause: chance.millis_below(limit) }).collect()
}

/// A trigger goes while another one, which is present for the same resource, is out of force.
fn withdrawn_beside_a_mistake(chance: &Chance) -> Vec<Step> {
    let resource = *chance.pick(&RESOURCES);
    let mut actions = vec![Action::Rules(Version::Audited)];
    actions.extend(publish(["login"], 1_000_000, resource));
    actions.extend([Action::Mistake { comes: true }, Action::Rules(Version::First), Action::Mistake { comes: false }]);
    let waits = chance.millis_below(20_000);
    let pauses = [Duration::ZERO, Duration::from_secs(5), chance.millis_below(100), waits, Duration::ZERO];
    actions.into_iter().zip(pauses).map(|(action, pause)| Step { action, pause }).collect()
}

/// Events of these kinds about a resource, numbered from the number of messages before them on.
fn publish<'k>(
    kinds: impl IntoIterator<Item = &'k str>,
    messages: u64,
    resource: (&'static str, &'static str),
) -> impl Iterator<Item = Action> {
    let numbered = kinds.into_iter().zip(messages..);
    numbered.map(move |(kind, number)| Action::Publish(Message::new(number, resource, kind)))
}

impl Step {
    /// Everything but publishing, by a number from 45 to 99.
    fn choose(number: u64, chance: &Chance) -> Step {
        let pause = match number {
            45..65 => chance.millis_below(400),
            65..70 => chance.millis_below(20_000),
            _ => Duration::ZERO,
        };
        let action = match number {
            70..77 => {
                let how = match chance.below(5) {
                    0 => Ending::Stop,
                    1 | 2 => Ending::Kill,
                    _ => Ending::PowerCut,
                };
                let limit = if chance.one_in(2) { 100 } else { 10_000 };
                Action::End { how, away: chance.millis_below(limit) }
            }
            77..83 => Action::DiskFault {
                fault: *chance.pick(&[Fault::Failure, Fault::Failure, Fault::Full, Fault::PowerCut]),
                operation: 1 + chance.below(20),
            },
            83..87 => Action::ServerAway(chance.millis_below(8_000)),
            87..91 => Action::ClusterAway(chance.millis_below(15_000)),
            91..93 => Action::Purge { per_mille: chance.below(1_001) },
            93..95 => Action::RemakeStream,
            95..97 => Action::LoseTail { messages: chance.below(6), cuts: !chance.one_in(4) },
            97..98 if chance.one_in(2) => Action::Deafen,
            97..98 => Action::Steal { messages: 1 + chance.below(4), acknowledges: chance.one_in(2) },
            98..100 if chance.one_in(3) => Action::Mistake { comes: chance.one_in(2) },
            98..100 => Action::Rules(*chance.pick(&Version::CHOSEN)),
            _ => Action::Wait,
        };
        Step { action, pause }
    }
}
