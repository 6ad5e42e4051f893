//! What the rules would decide of the events that are recorded: the replay that an engine would make, of which nothing
//! is recorded.
//!
//! Start at [`decide`]. Reads the projection in short turns, as the recorder does when it replays.

use std::sync::Arc;

use lifeline_projections::fact::{LifecycleKey, Redecision, Redesired, TriggerReplayed};
use lifeline_store::{Disk, Offset};

use super::answer::Why;
use super::{Error, Progress, Wish};
use crate::replay::{Replay, STEPS_AT_ONCE, rule_changes};
use crate::rules::RuleSet;
use crate::view::View;

/// What is decided otherwise.
pub(super) struct Decided {
    /// It is about the state below this offset.
    pub offset: Offset,
    pub triggers: Vec<Replayed>,
    /// What shall hold of lifecycles, each of which is here once.
    pub lifecycles: Vec<(LifecycleKey, Redesired)>,
    /// The replay that came to it.
    pub replay: Replay,
}

/// A trigger whose history is decided again.
pub(super) struct Replayed {
    pub trigger: String,
    pub digest: Option<u64>,
    pub why: Why,
    /// Why resources are left as they are.
    pub left_because: Option<String>,
}

/// Decides again what an engine would when these rules come.
pub(super) fn decide<D: Disk>(
    view: &View<D>,
    rules: &Arc<RuleSet>,
    in_force: Option<&RuleSet>,
    wish: &Wish,
    progress: &Progress,
) -> Result<Decided, Error> {
    let log = view.log();
    let (offset, mut replay, mut triggers, resources) = view.read(|projection| {
        let ground = projection.ground();
        let replay = match wish {
            Wish::Rules => Replay::new(rules, ground, None, in_force, &rule_changes(rules, ground)),
            Wish::Again(trigger, from) => {
                let mut replay = Replay::of_nothing(rules, ground);
                replay.ask(trigger, *from);
                replay
            }
        };
        let why = |trigger: &str, digest: Option<u64>| match (digest, ground.replayed.get(trigger)) {
            (None, _) => Why::Gone,
            (Some(_), None) => Why::New,
            (Some(digest), Some(mark)) if mark.digest() == Some(digest) => Why::Again,
            (Some(_), Some(_)) => Why::Changed,
        };
        let replayed = |(trigger, digest): (&str, Option<u64>)| Replayed {
            trigger: trigger.to_owned(),
            digest,
            why: why(trigger, digest),
            left_because: None,
        };
        let triggers: Vec<Replayed> = replay.triggers().map(replayed).collect();
        (projection.watermark(), replay.at_once(), triggers, projection.len())
    });
    progress.begin("deciding", (resources * triggers.len()) as u64);
    let mut lifecycles = Vec::new();
    loop {
        progress.check()?;
        let piece = {
            let projection = view.projection();
            let over = triggers.len() - replay.triggers().count();
            progress.set((over * resources + replay.resources_done()) as u64);
            replay.piece(&projection, &log, STEPS_AT_ONCE)?
        };
        let Some(mut piece) = piece else { break };
        if let Some(TriggerReplayed { trigger, redecisions, .. }) = piece.take_fact() {
            lifecycles.extend(redecisions.into_iter().map(|Redecision { cluster, resource, desired, .. }| {
                (LifecycleKey { trigger: trigger.clone(), cluster, resource }, desired)
            }));
        }
        if let Some(questions) = replay.advance(piece) {
            replay.answer(questions.answered(view));
        }
    }
    for status in view.read(|projection| replay.status(projection)) {
        let left = triggers.iter_mut().find(|one| one.trigger == status.trigger);
        left.into_iter().for_each(|one| one.left_because.clone_from(&status.left_because));
    }
    triggers.sort_by(|one, other| one.trigger.cmp(&other.trigger));
    lifecycles.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(Decided { offset, triggers, lifecycles, replay })
}
