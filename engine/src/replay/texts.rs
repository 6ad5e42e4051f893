//! Texts that a replay has to know before it goes on: what a trigger gives for an event, or for the live keys of a list.
//!
//! A template may take seconds, so none is rendered while the projection is locked, and none by the recorder. A piece asks
//! [`Known`] what a text gives. What is not known yet is a question; the piece ends before the first resource that needs it.
//! [`Questions::answered`] renders all that a piece asked, aside, and the next piece finds the [`Answers`].
//!
//! What an event gives never changes. What a list gives depends on its live keys, so its answer holds while they are those that
//! it was made of; otherwise it is asked again. A list whose keys change all the time is not asked for ever: its latest answer
//! is taken then. It is as old as rendering takes, and only says what the [`brake`](super::brake) counts.
//!
//! Bounded: a piece asks [`QUESTIONS_MAX`] questions, an answer is the names of objects alone, and what the piece
//! that asks had no use for is dropped.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{EventReceived, Fact, ResourceKey};
use lifeline_projections::fold::{Keys, Projection};
use lifeline_store::{Disk, Offset, Reader};
use serde_json::json;

use super::named::Named;
use crate::digest::digest;
use crate::error_text::chain;
use crate::lists;
use crate::rules::spec::SyncMode;
use crate::rules::{RuleSet, Trigger};
use crate::view::View;

/// Questions of one piece: as many texts are rendered before recording can go on with a replay.
pub(super) const QUESTIONS_MAX: usize = 32;

/// How often a list is asked for because its keys changed while it was rendered.
const TRIES_MAX: u8 = 3;

/// The objects that texts give, or why they cannot be rendered, in one line.
pub(super) type Given = Result<Box<[Named]>, String>;

/// The live keys of a list, each with its Create event, in order.
type LiveKeys = Vec<(ResourceKey, Offset)>;

/// What is asked: the texts of a trigger on a cluster, for the record at an offset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    trigger: Box<str>,
    cluster: Box<str>,
    record: Offset,
}

/// What was found.
#[derive(Debug)]
struct Answer {
    given: Given,
    /// Of a list: its keys just before they were read.
    keys: Option<Keys>,
    /// How often it was asked.
    tries: u8,
}

/// What is known of texts.
#[derive(Debug, Default)]
pub struct Answers(BTreeMap<Question, Answer>);

/// What a piece asked.
#[derive(Debug)]
pub struct Questions {
    rules: Arc<RuleSet>,
    /// Each with how often it was asked before.
    questions: BTreeMap<Question, u8>,
    /// What was known to the piece already. A resource that asks one thing after the other needs it again.
    used: BTreeSet<Question>,
    /// Keys that go once the replay is done, as [`key_digest`] names them: the list is to be made without them.
    leaving: Arc<BTreeSet<u64>>,
}

/// What a piece knows of texts, and asks.
pub(super) struct Known<'a> {
    rules: &'a Arc<RuleSet>,
    projection: &'a Projection,
    answers: &'a Answers,
    asked: RefCell<BTreeMap<Question, u8>>,
    /// What was asked and is known.
    used: RefCell<BTreeSet<Question>>,
}

impl<'a> Known<'a> {
    pub(super) fn new(rules: &'a Arc<RuleSet>, projection: &'a Projection, answers: &'a Answers) -> Known<'a> {
        Known { rules, projection, answers, asked: RefCell::default(), used: RefCell::default() }
    }

    /// What the texts of a trigger give for a record, an event or that keys of a list were recorded; `None` where that is not
    /// known, and is asked from now on.
    pub(super) fn given(&self, trigger: &str, cluster: &str, record: Offset) -> Option<&'a Given> {
        let question = Question { trigger: trigger.into(), cluster: cluster.into(), record };
        let answer = self.answers.0.get(&question);
        let tries = answer.map_or(0, |answer| answer.tries);
        let holds = |keys: Option<Keys>| {
            tries >= TRIES_MAX || keys.is_none_or(|keys| keys_of(self.projection, trigger, cluster) == keys)
        };
        let answer = answer.filter(|answer| holds(answer.keys));
        match answer {
            Some(_) => _ = self.used.borrow_mut().insert(question),
            None => _ = self.asked.borrow_mut().insert(question, tries),
        }
        answer.map(|answer| &answer.given)
    }

    /// How many questions there are.
    pub(super) fn asked(&self) -> usize {
        self.asked.borrow().len()
    }

    /// What was asked, where something was.
    pub(super) fn questions(self) -> Option<Questions> {
        let (questions, used) = (self.asked.into_inner(), self.used.into_inner());
        let (rules, leaving) = (self.rules.clone(), Arc::default());
        (!questions.is_empty()).then_some(Questions { rules, questions, used, leaving })
    }
}

impl Answers {
    /// Forgets what was of no use to the piece that asked these.
    pub(super) fn keep_used(&mut self, asking: &Questions) {
        self.0.retain(|question, _| asking.used.contains(question));
    }

    /// Takes in what was asked.
    pub(super) fn take(&mut self, answers: Answers) {
        self.0.extend(answers.0);
    }
}

impl Questions {
    /// The same, where these keys leave the list.
    pub(super) fn without(self, leaving: &Arc<BTreeSet<u64>>) -> Questions {
        Questions { leaving: leaving.clone(), ..self }
    }

    /// Renders what was asked. Takes long: no lock is held meanwhile but for moments.
    pub(crate) fn answered<D: Disk>(self, view: &View<D>) -> Answers {
        let keys = |trigger: &str, cluster: &str| {
            let before = view.read(|projection| keys_of(projection, trigger, cluster));
            (before, lists::keys(view, trigger, cluster))
        };
        self.answered_by(&view.log(), &keys)
    }

    /// The same, where `keys` gives the live keys of a list.
    pub(super) fn answered_by<D: Disk>(
        self,
        log: &Reader<D>,
        keys: &dyn Fn(&str, &str) -> (Keys, LiveKeys),
    ) -> Answers {
        let Questions { rules, questions, leaving, .. } = self;
        let answer = |(question, tries): (Question, u8)| {
            let Question { trigger, cluster, record } = &question;
            let mut keys_then = None;
            let mut live = || {
                let (then, mut live) = keys(trigger, cluster);
                keys_then = Some(then);
                live.retain(|(key, _)| !leaving.contains(&key_digest(cluster, key)));
                // One whose keys were left is left too.
                Some(live).filter(|live| !live.is_empty() || then.left > 0)
            };
            let given = match rules.trigger(trigger) {
                Some(trigger) => given(log, trigger, cluster, *record, &mut live),
                None => Err(format!("there is no trigger `{trigger}`")),
            };
            (question, Answer { given, keys: keys_then, tries: tries.saturating_add(1) })
        };
        Answers(questions.into_iter().map(answer).collect())
    }
}

/// The names of the objects that a trigger gives for the record at an offset. Where it is about a list, `live` gives the keys;
/// `None` where there is no list without them. It takes as long as the templates take.
///
/// # Errors
/// Why it fails, in one line.
pub(super) fn given<D: Disk>(
    log: &Reader<D>,
    trigger: &Trigger,
    cluster: &str,
    record: Offset,
    live: &mut dyn FnMut() -> Option<LiveKeys>,
) -> Given {
    let lost = || format!("the event at offset {record} cannot be read");
    let record = log.read(record).ok().flatten().ok_or_else(lost)?;
    let rendered = match Fact::decode(&record.payload) {
        Ok(Fact::Event(EventReceived { headers, payload, .. })) => {
            let event = CloudEvent::to_map(&headers, payload).map_err(|_| lost())?;
            trigger.manifests(&event, cluster, record.time_unix_nanos)
        }
        Ok(Fact::Gathered(_)) => {
            let Some(keys) = live() else { return Ok(Box::default()) };
            let events = lists::events(log, trigger.name(), keys).map_err(|_| "its keys cannot be read".to_owned())?;
            trigger.list(events, cluster, record.time_unix_nanos)
        }
        _ => return Err(lost()),
    };
    let rendered = rendered.map_err(|error| {
        let said = chain(&error);
        said.lines().next().unwrap_or_default().to_owned()
    })?;
    Ok(Named::sorted(rendered.iter().map(|one| &one.manifest)))
}

/// Why the texts of a trigger cannot be rendered for an event, as [`content::fails`](super::content::fails), but rendered at
/// once: for callers that hold no lock.
pub(crate) fn fails<D: Disk>(log: &Reader<D>, trigger: &Trigger, cluster: &str, event: Offset) -> Option<String> {
    if trigger.sync_mode() == SyncMode::DryRun {
        return None;
    }
    given(log, trigger, cluster, event, &mut || None).err()
}

/// The live keys of a trigger on a cluster, counted.
pub(super) fn keys_of(projection: &Projection, trigger: &str, cluster: &str) -> Keys {
    projection.keys_of(trigger).find(|(on, _)| ***on == *cluster).map(|(_, keys)| keys).unwrap_or_default()
}

/// A key of a list, as a number.
pub(super) fn key_digest(cluster: &str, ResourceKey { source, subject }: &ResourceKey) -> u64 {
    digest(&json!([cluster, source, subject]))
}
