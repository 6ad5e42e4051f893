//! A story of a lost volume: the engine begins with an empty log, on a cluster with objects of its own, and the stream has
//! lost old messages too.
//!
//! Start at [`play`]. What must become of each object is decided here a second time, from the messages that the stream
//! still holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifeline_engine::cluster::{Cluster, LiveObject, ObjectKey};
use lifeline_engine::intake::jetstream::Retention;
use lifeline_engine::recorder;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::chance::Chance;
use super::hazard::Counter;
use super::process::{SUBJECT, World};
use super::published::Fate;
use super::rules::{Event, Version};
use super::script::{Message, Script};
use super::story::Violation;

const STREAM: &str = "EVENTS";

/// No two of them ask for one object.
const RESOURCES: [(&str, &str); 5] =
    [("auth", "ann"), ("auth", "bob"), ("auth", "cid"), ("sso", "dan"), ("sso", "eve")];

/// Longer than the longest pause of a retry.
const CALM: Duration = Duration::from_secs(140);

/// How the objects of a story ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// They are wanted, and kept their uid.
    pub kept: u64,
    /// A logout that the stream still held removed them.
    pub removed: u64,
    /// Nobody claimed them; they stayed, and went when that was confirmed.
    pub orphans: u64,
}

/// Plays the story of a seed; what should not have happened, and how its objects ended.
///
/// # Panics
/// When the engine does, or does not start.
#[must_use]
pub fn play(seed: u64) -> (Vec<Violation>, Ends) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime with nothing but a timer needs no resource");
    runtime.block_on(LocalSet::new().run_until(tell(seed)))
}

async fn tell(seed: u64) -> (Vec<Violation>, Ends) {
    let chance = Chance::new(seed, 20);
    let script = Script {
        seed,
        retention: Retention::Limits,
        messages_max: usize::MAX,
        unkind_server: false,
        unkind_cluster: true,
        has_foreign: false,
        detects_drift: chance.one_in(3),
        steps: Vec::new(),
    };
    let mut world = World::new(&script, Counter::default());
    let rules = if script.detects_drift { Version::First.watching(false) } else { Version::First.rules() };
    world.rules.send_replace(rules);
    world.server.make_stream(STREAM, SUBJECT, script.retention, script.messages_max);
    let mut messages = Vec::new();
    let mut publish = async |world: &World, count: u64| {
        for _ in 0..count {
            let kind = *chance.pick::<&str>(&["login", "login", "login", "visit", "logout"]);
            let message = Message::new(messages.len() as u64, *chance.pick(&RESOURCES), kind);
            world.server.publish(STREAM, SUBJECT, message.payload.clone());
            messages.push(message);
            sleep(chance.millis_below(500)).await;
        }
    };
    let first = world.start().expect("a sound disk");
    publish(&world, 5 + chance.below(20)).await;
    sleep(CALM).await;
    let mut violations: Vec<Violation> =
        first.kill().await.err().map(|error| Violation::new("it gave up", error)).into_iter().collect();
    world.lose_volume();
    // A copy of an object, by somebody who copies its labels and annotations.
    let before: BTreeMap<ObjectKey, LiveObject> = world.cluster.list().into_iter().collect();
    let copied = before.iter().find(|(object, _)| object.is_namespace()).map(|(_, live)| copy_of(live));
    copied.iter().for_each(|copy| world.cluster.make_foreign(copy));
    publish(&world, chance.below(4)).await;
    world.server.purge(STREAM, *chance.pick(&[0, 300, 600, 1_000]));
    let second = world.start().expect("an empty disk");
    sleep(CALM).await;

    let held: BTreeSet<Vec<u8>> = world
        .server
        .published()
        .iter()
        .filter(|one| matches!(one.fate, Fate::Held | Fate::Acknowledged))
        .map(|one| one.payload.to_vec())
        .collect();
    let known: Vec<&Event> = messages
        .iter()
        .filter(|message| held.contains(&*message.payload))
        .filter_map(|message| message.event.as_ref())
        .collect();
    let wanted = Version::First.wanted(known.iter().copied(), &[]);
    let mut ends = Ends::default();
    let now: BTreeMap<ObjectKey, LiveObject> = world.cluster.list().into_iter().collect();
    let rows = second.engine.view().orphans().rows();
    let shown: BTreeSet<&str> = rows.iter().filter_map(|row| row.object.uid.as_deref()).collect();
    let mut wrong = |what: &'static str, object: &ObjectKey| violations.push(Violation::new(what, object.to_string()));
    for (object, live) in &before {
        let after = now.get(object).map(|live| &*live.uid);
        let is_shown = shown.contains(&*live.uid);
        let subject = object.namespace.as_deref().unwrap_or(&object.name);
        let last = known.iter().rev().find(|event| event.subject == *subject).map(|event| &*event.kind);
        match (wanted.contains_key(&object.short()), last) {
            (true, _) => {
                ends.kept += 1;
                if after != Some(&live.uid) || is_shown {
                    wrong("wanted, and not kept as it was", object);
                }
            }
            (false, Some("logout")) => {
                ends.removed += 1;
                if after.is_some() || is_shown {
                    wrong("logged out, and not removed by its marks", object);
                }
            }
            (false, _) => {
                ends.orphans += 1;
                if after != Some(&live.uid) || !is_shown {
                    wrong("claimed by nobody, and not shown or not there", object);
                }
            }
        }
    }
    // What fails stays an orphan, and has to be confirmed again: not here.
    world.cluster.calm_down();
    let ids: BTreeSet<&String> = rows.iter().filter_map(|row| row.confirm.as_ref()).collect();
    for id in ids {
        if !matches!(recorder::confirm(second.engine.view(), id).await, Ok(Some(_))) {
            violations.push(Violation::new("shown, and not to be confirmed", id));
        }
    }
    sleep(CALM).await;
    // What is on its way out goes when the cluster is asked something.
    let _ = world.cluster.check().await;
    let after: BTreeSet<String> = world.cluster.list().into_iter().map(|(object, _)| object.short()).collect();
    let copies =
        copied.iter().map(|copy| format!("Namespace/{}", copy["metadata"]["name"].as_str().unwrap_or_default()));
    let in_use = rows.iter().filter(|row| row.confirm.is_none()).map(|row| format!("Namespace/{}", row.object.name));
    let expected: BTreeSet<String> = wanted.into_keys().chain(copies).chain(in_use).collect();
    if after != expected {
        let whom = format!("{after:?}, expected {expected:?}");
        violations.push(Violation::new("other objects than expected once orphans were confirmed", whom));
    }
    violations.extend(second.stop().await.err().map(|error| Violation::new("it gave up", error)));
    violations.extend(world.cluster.violations());
    violations.extend(world.server.violations());
    (violations, ends)
}

fn copy_of(live: &LiveObject) -> Value {
    let mut manifest = live.manifest.clone();
    manifest["metadata"]["name"] = json!("copy");
    manifest
}
