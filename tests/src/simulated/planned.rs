//! Plans, compared with what the engine then does.
//!
//! Start at [`play`]. In a world without faults events come, the engine comes to rest, other rules are planned and then
//! put into force. What became of each object must be what the plan said; and planning must have touched nothing.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use lifeline_engine::cluster::{LiveObject, ObjectKey};
use lifeline_engine::intake::jetstream::Retention;
use lifeline_engine::preview::Preview;
use lifeline_engine::preview::answer::{Action, Against};
use lifeline_engine::recorder::Begun;
use lifeline_engine::status::HeldWithdrawal;
use lifeline_projections::reads::{ObjectRow, object_row};
use lifeline_store::Offset;
use serde_json::Value;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::chance::Chance;
use super::hazard::{Counter, Hazard};
use super::process::{Process, SUBJECT, World};
use super::rules::Version;
use super::script::{Message, Script, foreign};
use super::story::Violation;

/// How long the engine has to come to rest: longer than the longest pause of a retry, and than what is held is counted
/// again in.
const REST: Duration = Duration::from_secs(400);

/// Changes of rules in one story.
const CHANGES: usize = 4;

/// What plans said, over many stories.
#[derive(Debug, Default, Clone, Copy)]
pub struct Met {
    plans: u64,
    create: u64,
    update: u64,
    replace: u64,
    delete: u64,
    hand_over: u64,
    held: u64,
    conflict: u64,
    fail: u64,
    nothing: u64,
}

impl AddAssign for Met {
    fn add_assign(&mut self, other: Met) {
        let Met { plans, create, update, replace, delete, hand_over, held, conflict, fail, nothing } = other;
        self.plans += plans;
        self.create += create;
        self.update += update;
        self.replace += replace;
        self.delete += delete;
        self.hand_over += hand_over;
        self.held += held;
        self.conflict += conflict;
        self.fail += fail;
        self.nothing += nothing;
    }
}

impl Met {
    /// Whether each of them was there that these worlds can have.
    #[must_use]
    pub fn has_all(&self) -> bool {
        let Met { create, update, delete, hand_over, held, conflict, fail, nothing, .. } = *self;
        [create, update, delete, hand_over, held, conflict, fail, nothing].iter().all(|count| *count > 0)
    }

    fn of(preview: &Preview) -> Met {
        let counts = preview.counts;
        Met {
            plans: 1,
            create: counts.create,
            update: counts.update,
            replace: counts.replace,
            delete: counts.delete,
            hand_over: counts.hand_over,
            held: counts.held,
            conflict: counts.conflict,
            fail: counts.fail,
            nothing: u64::from(counts.is_nothing()),
        }
    }
}

/// Plays the story of a seed: where plans were wrong, and what they said.
///
/// # Panics
/// When the engine does.
#[must_use]
pub fn play(seed: u64) -> (Vec<Violation>, Met) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime with nothing but a timer needs no resource");
    runtime.block_on(LocalSet::new().run_until(tell(seed)))
}

async fn tell(seed: u64) -> (Vec<Violation>, Met) {
    let (chance, counter) = (Chance::new(seed, 20), Counter::default());
    let script = Script {
        seed,
        retention: Retention::Limits,
        messages_max: usize::MAX,
        unkind_server: false,
        unkind_cluster: false,
        has_foreign: chance.one_in(3),
        detects_drift: chance.one_in(4),
        steps: Vec::new(),
    };
    let world = World::new(&script, counter.clone());
    world.server.make_stream("EVENTS", SUBJECT, script.retention, script.messages_max);
    if script.has_foreign {
        foreign().iter().for_each(|manifest| world.cluster.make_foreign(manifest));
    }
    let process = world.start().expect("a sound disk");
    let rules = |chance: &Chance| {
        let version = *chance.pick(&Version::ALL);
        let is_broken = version != Version::Withdrawn && chance.one_in(6);
        let rules = match (script.detects_drift, is_broken) {
            (true, is_broken) => version.watching(is_broken),
            (false, true) => version.broken(),
            (false, false) => version.rules(),
        };
        (format!("{version:?}{}", if is_broken { ", broken" } else { "" }), rules)
    };
    let (mut now, first) = rules(&chance);
    world.rules.send_replace(first);
    let (mut violations, mut met, mut number) = (Vec::new(), Met::default(), 0);
    for _ in 0..CHANGES {
        for _ in 0..chance.below(15) {
            let message = Message { elsewhere: false, ..Message::choose(number, &chance) };
            number += 1;
            world.server.publish("EVENTS", SUBJECT, message.payload);
            sleep(chance.millis_below(2_000)).await;
        }
        sleep(REST).await;
        let (next, rules) = rules(&chance);
        let change = format!("{now} to {next}");
        let before = state(&world, &process);
        let planner = process.engine.planner(None);
        let draft = planner.draft(rules.rules.as_ref().expect("they are compiled")).expect("a sound disk");
        let preview = planner.look(draft, usize::MAX, usize::MAX).await.expect("somebody waits");
        if state(&world, &process) != before {
            violations.push(Violation::new("a plan touched something", change.clone()));
        }
        met += Met::of(&preview);
        let confirmed = || [Hazard::HeldWithdrawal, Hazard::AwaitedWithdrawal].map(|held| counter.counts().of(held));
        let were_held = confirmed();
        let there = world.cluster.list();
        world.rules.send_replace(rules);
        sleep(REST).await;
        let [is_much, is_awaited] = std::array::from_fn(|at| confirmed()[at] > were_held[at]);
        let wrong = compare(&preview, &there, &world.cluster.list());
        violations.extend(wrong.into_iter().map(|(what, whom)| Violation::new(what, format!("{change}: {whom}"))));
        // More may be held for a moment: what is to change hands, until the other lifecycle is decided.
        let is_missed = |held: &HeldWithdrawal| if held.waits_for.is_some() { !is_awaited } else { !is_much };
        if preview.triggers.iter().filter_map(|plan| plan.held.as_ref()).any(is_missed) {
            let told = &preview.triggers;
            violations.push(Violation::new("the brake did not hold what was planned", format!("{change}: {told:?}")));
        }
        now = next;
        if chance.one_in(3) {
            let trigger = *chance.pick(&["manage", "guest", "audit"]);
            violations.extend(replay(&world, &process, trigger, &now).await);
        }
    }
    process.stop().await.expect("it stops");
    (violations, met)
}

/// Asks for history to be decided again, which must change nothing where all is as it should be.
async fn replay(world: &World, process: &Process, trigger: &str, now: &str) -> Vec<Violation> {
    let (applies, there) = (world.cluster.applies().len(), world.cluster.list());
    let begun = process.engine.recording().replay(trigger, None, false).await.expect("it runs");
    sleep(REST).await;
    let mut wrong = Vec::new();
    if world.cluster.list() != there || world.cluster.applies().len() != applies {
        wrong.push(Violation::new("a replay changed what was as it should be", format!("{now}, {trigger}, {begun:?}")));
    }
    let is_done = process.engine.status().replays.iter().all(|replay| replay.trigger != *trigger);
    if begun == Begun::Begun && !is_done {
        wrong.push(Violation::new("a replay does not come to its end", format!("{now}, {trigger}")));
    }
    wrong
}

/// What planning must not change: the log, and what the cluster was asked to do.
fn state(world: &World, process: &Process) -> (Offset, usize, Vec<(ObjectKey, LiveObject)>) {
    (process.engine.view().log().end(), world.cluster.applies().len(), world.cluster.list())
}

type Held = [(ObjectKey, LiveObject)];

/// Where a plan differs from what became of the objects.
fn compare(preview: &Preview, before: &Held, after: &Held) -> Vec<(&'static str, String)> {
    let mut planned: BTreeMap<String, (Action, bool)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for change in &preview.changes {
        let Some(object) = &change.object else { continue };
        // These leave the object as it is.
        if matches!(change.action, Action::Conflict | Action::Fail | Action::Leave) {
            continue;
        }
        let changes_nothing = change.against == Against::Cluster && change.fields.is_empty();
        if planned.insert(name(object), (change.action, changes_nothing)).is_some() {
            wrong.push(("planned twice", format!("{} of {}", name(object), change.trigger)));
        }
    }
    let by_name = |held: &Held| -> BTreeMap<String, LiveObject> {
        held.iter().map(|(key, live)| (name(&object_row(key, None)), live.clone())).collect()
    };
    let (before, after) = (by_name(before), by_name(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).chain(planned.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let became = became(before.get(name), after.get(name));
        let said = planned.get(name);
        let is_right = match (said, became) {
            (None, None) => true,
            (Some((Action::Update, true)), None) => true,
            (Some((said, _)), Some(became)) => *said == became,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_right {
            let about = preview.changes.iter().filter(|change| {
                change.object.as_ref().is_some_and(|object| self::name(object) == *name) || change.object.is_none()
            });
            let about: Vec<_> = about.map(|change| (change.action, &change.trigger, &change.because)).collect();
            wrong.push(("not as planned", format!("{name}: planned {said:?}, became {became:?}; {about:?}")));
        }
    }
    wrong
}

/// What became of an object, if anything.
fn became(before: Option<&LiveObject>, after: Option<&LiveObject>) -> Option<Action> {
    let owner = |live: &LiveObject| {
        ["trigger", "source", "subject"]
            .map(|mark| live.manifest["metadata"]["annotations"][format!("lifeline.dev/{mark}")].clone())
    };
    match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some(Action::Create),
        (Some(_), None) => Some(Action::Delete),
        (Some(before), Some(after)) if before.uid != after.uid => Some(Action::Replace),
        (Some(before), Some(after)) if before.manifest == after.manifest => None,
        (Some(before), Some(after)) if owner(before) != owner(after) && owner(before)[0] != Value::Null => {
            Some(Action::HandOver)
        }
        (Some(_), Some(_)) => Some(Action::Update),
    }
}

fn name(object: &ObjectRow) -> String {
    let ObjectRow { kind, namespace, name, .. } = object;
    format!("{kind}/{}/{name}", namespace.as_deref().unwrap_or_default())
}
