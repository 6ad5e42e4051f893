//! Why an event: what it caused, or why nothing.
//!
//! Start at [`event`]. What follows from the records is decided by [`Effects`], which reads nothing.

use lifeline_store::{Disk, Offset, Reader, Record};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RECORDS_MAX;
use crate::chain::Chain;
use crate::fact::{
    Decision, EventReceived, Fact, LifecycleKey, Reconciled, Redecision, Redesired, ResourceKey, Ruling,
    TriggerReplayed, What,
};
use crate::fold::Resource;
use crate::history::{self, Entry};

/// Records read on from an event whose resource has had too many since to follow them all back.
const AHEAD_MAX: usize = 50_000;

/// What came of one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhyEvent {
    /// The answer in a sentence.
    pub summary: String,
    /// What kind of answer it is.
    pub verdict: Verdict,
    /// The record, as a history shows it.
    pub record: Entry,
    /// What came of it, sorted by trigger and cluster; empty when no trigger speaks of it.
    pub triggers: Vec<TriggerWhy>,
    /// Whether everything was looked at that came after it; `false` when its resource has had too many records since.
    pub complete: bool,
    /// Why no trigger speaks of the event, by the rules in force; absent when one does, and where no rules are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<Unmatched>,
}

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = EventVerdict)]
pub enum Verdict {
    /// An event that a trigger made something of.
    Acted,
    /// An event that no trigger made anything of.
    Nothing,
    /// A record of another kind.
    NoEvent,
}

/// What came of an event under one trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriggerWhy {
    /// EventTrigger.
    pub trigger: String,
    /// The cluster it acts on.
    pub cluster: String,
    /// EventSource that matched; absent when the trigger came after the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_source: Option<String>,
    /// Its criterion, counted from 1; absent like it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criterion: Option<u16>,
    /// `Create`, `Delete`, or why it is neither.
    pub action: String,
    /// Offset of the record by which changed rules made this of an event that was there already; absent when the
    /// decision came with the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<u64>,
    /// How far it came.
    pub effect: Effect,
    /// Offset of the decision about the same lifecycle after which this one no longer counts. Changed rules may have
    /// taken back others between the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<u64>,
    /// Offset of the later event that had decided already when it came; absent where its decision counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overtaken_by: Option<u64>,
    /// What was recorded of carrying it out, oldest first: what was about to be touched, and what came of it.
    pub outcomes: Vec<Entry>,
}

/// How far a decision came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Its objects were applied.
    Applied,
    /// Its objects were deleted.
    Deleted,
    /// Its claims ended, and the objects stayed.
    Released,
    /// The last attempt failed.
    Failing,
    /// It waits to be carried out.
    Pending,
    /// The next decision came before it was carried out.
    Superseded,
    /// There was nothing to do.
    Settled,
    /// A later event had decided already when it came, so it changed nothing.
    Overtaken,
    /// The trigger made nothing of the event.
    Nothing,
    /// It is not known: too many records came after it.
    Unknown,
}

impl Effect {
    fn is_done(self) -> bool {
        self.record().is_some() && self != Effect::Failing
    }

    /// The record that says so.
    fn record(self) -> Option<&'static str> {
        match self {
            Effect::Applied => Some("Applied"),
            Effect::Deleted => Some("Deleted"),
            Effect::Released => Some("Released"),
            Effect::Failing => Some("ApplyFailed"),
            Effect::Pending
            | Effect::Superseded
            | Effect::Settled
            | Effect::Overtaken
            | Effect::Nothing
            | Effect::Unknown => None,
        }
    }
}

/// Why no trigger speaks of an event, by the rules in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Unmatched {
    /// The reason in a sentence.
    pub reason: String,
    /// EventSources that match, which no trigger listens to.
    pub unheard: Vec<String>,
    /// The criterion that comes closest; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closest: Option<Closest>,
}

/// A criterion that an event does not match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Closest {
    /// EventSource.
    pub event_source: String,
    /// Its criterion, counted from 1.
    pub criterion: usize,
    /// What differs.
    pub differences: Vec<Difference>,
    /// All of it in a line.
    pub summary: String,
}

/// A field of an event that is not as a criterion asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CriterionDifference)]
pub struct Difference {
    /// As the criterion calls it.
    pub field: String,
    /// What the event has there.
    pub value: String,
    /// What the criterion asks for.
    pub pattern: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log does not reach that far yet.
    #[error("offset `{offset}` is not reached yet, the log ends at `{end}`")]
    Ahead {
        /// The offset asked for.
        offset: Offset,
        /// The first offset that is not recorded.
        end: Offset,
    },
    /// Retention has removed it.
    #[error("the log no longer holds the record at offset `{offset}`, it begins at `{start}`")]
    Forgotten {
        /// The offset asked for.
        offset: Offset,
        /// The first offset still held.
        start: Offset,
    },
    /// The log refused.
    #[error("the log cannot be read")]
    Log(#[from] lifeline_store::Error),
}

/// What came of the record at an offset. `current` gives the resource as it is, where there is one.
///
/// # Errors
/// When the log does not hold the record, or cannot be read.
pub fn event<D: Disk>(
    log: &Reader<D>,
    offset: Offset,
    current: impl FnOnce(&ResourceKey) -> Option<Resource>,
) -> Result<WhyEvent, Error> {
    let (start, end) = (log.start(), log.end());
    if offset >= end {
        return Err(Error::Ahead { offset, end });
    }
    let record = log.read(offset)?.ok_or(Error::Forgotten { offset, start })?;
    let Ok(fact) = Fact::decode(&record.payload) else {
        let (entry, _) = history::said(&record.payload, None, offset, record.time_unix_nanos);
        return Ok(no_event(entry));
    };
    let (entry, _) = history::about(&fact, None, offset, record.time_unix_nanos);
    let Fact::Event(received @ EventReceived { source, subject, .. }) = &fact else {
        return Ok(no_event(entry));
    };
    let key = ResourceKey { source: (*source).into(), subject: (*subject).into() };
    let current = current(&key);
    let latest = current.as_ref().map_or(offset, |resource| resource.last_record);
    let (later, complete) = later(log, &key, latest, offset)?;
    let mut threads = Effects::new(offset, received);
    for record in &later {
        if let Ok(fact) = Fact::decode(&record.payload) {
            threads.follow(&key, record.offset, record.time_unix_nanos, &fact);
        }
    }
    Ok(threads.answer(entry, current.as_ref(), complete))
}

fn no_event(record: Entry) -> WhyEvent {
    let summary = match record.acted_for {
        Some(decision) => format!("No event, but an outcome of offset {decision}: {}", record.summary),
        None => format!("No event: {}", record.summary),
    };
    WhyEvent { summary, verdict: Verdict::NoEvent, record, triggers: Vec::new(), complete: true, unmatched: None }
}

/// The records about a resource behind an offset, oldest first, and whether these are all.
fn later<D: Disk>(
    log: &Reader<D>,
    key: &ResourceKey,
    latest: Offset,
    offset: Offset,
) -> Result<(Vec<Record>, bool), Error> {
    let mut records = Vec::new();
    let mut is_met = latest <= offset;
    for step in Chain::from(log, key, latest).take(RECORDS_MAX) {
        // What cannot be read hides what came before it.
        let Ok(record) = step else { break };
        if record.offset <= offset {
            is_met = true;
            break;
        }
        records.push(record);
    }
    if is_met {
        records.reverse();
        return Ok((records, true));
    }
    // Too many to follow back. What an event causes mostly comes soon after it.
    records.clear();
    let mut scan = log.scan(offset.next());
    for _ in 0..AHEAD_MAX {
        if records.len() == RECORDS_MAX {
            break;
        }
        match scan.next() {
            Ok(Some(record)) if record.offset > latest => return Ok((records, true)),
            Ok(Some(record)) => {
                let about = Fact::decode(record.payload).ok().and_then(|fact| fact.previous(key));
                records.extend(about.map(|_| record.to_owned()));
            }
            Ok(None) | Err(lifeline_store::Error::Damaged { .. }) => break,
            Err(error) => return Err(Error::Log(error)),
        }
    }
    Ok((records, false))
}

/// What each trigger made of one event, followed through the records after it.
struct Effects {
    offset: Offset,
    threads: Vec<TriggerEffect>,
}

struct TriggerEffect {
    why: TriggerWhy,
    /// The records that made it so: the event, and every replay that came to the same end.
    decided: Vec<Offset>,
    /// `None` while the trigger makes nothing of the event.
    action: Option<Action>,
    /// How it was last carried out, whatever came after that.
    done: Option<Effect>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Delete,
}

impl Effects {
    fn new(offset: Offset, event: &EventReceived<'_>) -> Effects {
        let cluster = event.delivery.cluster;
        let thread = |decision: &Decision<'_>| {
            let action = match decision.ruling {
                _ if !event.counts(decision.trigger) => None,
                Ruling::Create => Some(Action::Create),
                Ruling::Delete => Some(Action::Delete),
                Ruling::NoAction(_) | Ruling::Failed(_) => None,
            };
            let why = TriggerWhy {
                event_source: Some(decision.event_source.to_owned()),
                criterion: Some(decision.criterion.saturating_add(1)),
                action: history::action_of(event, decision),
                overtaken_by: history::overtaken_by(event, decision).map(|later| later.offset.get()),
                ..TriggerWhy::new(decision.trigger, cluster)
            };
            TriggerEffect { why, decided: vec![offset], action, done: None }
        };
        Effects { offset, threads: event.decisions.iter().map(thread).collect() }
    }

    /// Takes in a record after the event.
    fn follow(&mut self, key: &ResourceKey, offset: Offset, unix_nanos: u64, fact: &Fact<'_>) {
        match fact {
            Fact::Event(event @ EventReceived { delivery, decisions, .. }) => {
                let decided = decisions.iter().filter(|some| some.ruling.decides() && event.counts(some.trigger));
                for decision in decided {
                    self.supersede(decision.trigger, delivery.cluster, offset);
                }
            }
            Fact::Replay(TriggerReplayed { trigger, redecisions, .. }) => {
                for redecision in redecisions.iter().filter(|redecision| redecision.resource == *key) {
                    self.redecide(trigger, redecision, offset);
                }
            }
            Fact::Reconciled(Reconciled { key: of, acted_for, what, .. }) => {
                let (entry, _) = history::about(fact, Some(key), offset, unix_nanos);
                if let Some(thread) = self.of(of).filter(|thread| thread.decided.contains(acted_for)) {
                    thread.why.outcomes.push(entry);
                    thread.why.effect = match what {
                        What::Applied(_) => Effect::Applied,
                        What::Deleted(_) => Effect::Deleted,
                        What::Released(_) => Effect::Released,
                        What::Failed(_) => Effect::Failing,
                        What::Intended(_) | What::Recreated(_) | What::Drifted(_) | What::Altered(_) => Effect::Pending,
                    };
                    thread.done = Some(thread.why.effect).filter(|effect| effect.is_done()).or(thread.done);
                }
            }
            Fact::Rejected(_) | Fact::Marker(_) | Fact::Stream(_) | Fact::Rule(_) => {}
            Fact::Gathered(_) | Fact::Lost(_) => {}
        }
    }

    fn of(&mut self, key: &LifecycleKey) -> Option<&mut TriggerEffect> {
        self.named(&key.trigger, &key.cluster)
    }

    fn named(&mut self, trigger: &str, cluster: &str) -> Option<&mut TriggerEffect> {
        self.threads.iter_mut().find(|thread| thread.why.trigger == trigger && thread.why.cluster == cluster)
    }

    fn supersede(&mut self, trigger: &str, cluster: &str, offset: Offset) {
        if let Some(thread) = self.named(trigger, cluster).filter(|thread| thread.action.is_some()) {
            thread.why.superseded_by.get_or_insert(offset.get());
        }
    }

    /// Changed rules decided the events again: by this one, or by another.
    fn redecide(&mut self, trigger: &str, redecision: &Redecision, offset: Offset) {
        let event = self.offset;
        let action = match redecision.desired {
            Redesired::Present { event: by, .. } if by == event => Action::Create,
            Redesired::Absent { event: Some(by) } if by == event => Action::Delete,
            Redesired::Present { .. } | Redesired::Absent { .. } | Redesired::Left => {
                return self.supersede(trigger, &redecision.cluster, offset);
            }
        };
        if self.named(trigger, &redecision.cluster).is_none() {
            let why = TriggerWhy::new(trigger, &redecision.cluster);
            self.threads.push(TriggerEffect { why, decided: Vec::new(), action: None, done: None });
        }
        let thread = self.named(trigger, &redecision.cluster).expect("it was there or was just added");
        if thread.action != Some(action) {
            thread.done = None;
            thread.why.replayed = Some(offset.get());
            thread.why.action = match action {
                Action::Create => "Create".to_owned(),
                Action::Delete => "Delete".to_owned(),
            };
        }
        thread.decided.push(offset);
        thread.action = Some(action);
        (thread.why.superseded_by, thread.why.overtaken_by) = (None, None);
        thread.why.effect = Effect::Pending;
    }

    fn answer(self, record: Entry, current: Option<&Resource>, complete: bool) -> WhyEvent {
        let mut triggers: Vec<TriggerWhy> =
            self.threads.into_iter().map(|thread| thread.end(current, complete)).collect();
        // A replay may have added one that was not there when the event came.
        triggers.sort_by(|one, other| (&one.trigger, &one.cluster).cmp(&(&other.trigger, &other.cluster)));
        let acted = triggers.iter().any(|why| !matches!(why.effect, Effect::Nothing | Effect::Overtaken));
        let verdict = if acted { Verdict::Acted } else { Verdict::Nothing };
        let summary = match triggers.as_slice() {
            [] => "Nothing happened: no trigger speaks of it.".to_owned(),
            some => some.iter().map(TriggerWhy::sentence).collect::<Vec<_>>().join(" "),
        };
        WhyEvent { summary, verdict, record, triggers, complete, unmatched: None }
    }
}

impl TriggerEffect {
    /// What is left to say once all records are in.
    fn end(self, current: Option<&Resource>, complete: bool) -> TriggerWhy {
        let TriggerEffect { mut why, decided, action, done } = self;
        if action.is_none() {
            let effect = if why.overtaken_by.is_some() { Effect::Overtaken } else { Effect::Nothing };
            return TriggerWhy { effect, ..why };
        }
        let lifecycle = current.and_then(|resource| {
            let mut all = resource.lifecycles.iter();
            all.find(|lifecycle| *lifecycle.trigger == *why.trigger && *lifecycle.cluster == *why.cluster)
        });
        // An outcome of the decision before may have left nothing to do for this one.
        let is_settled = lifecycle.is_some_and(|lifecycle| {
            lifecycle.settled.is_some_and(|settled| decided.contains(&settled))
                || (!lifecycle.needs_work() && decided.contains(&lifecycle.decided))
        });
        why.effect = match why.effect {
            // Decided again by changed rules, and then once more: what it came to before that stays true.
            Effect::Pending | Effect::Failing if why.superseded_by.is_some() => done.unwrap_or(Effect::Superseded),
            Effect::Pending if is_settled && why.outcomes.is_empty() => Effect::Settled,
            effect if effect.is_done() || complete => effect,
            _ => Effect::Unknown,
        };
        why
    }
}

impl TriggerWhy {
    fn new(trigger: &str, cluster: &str) -> TriggerWhy {
        TriggerWhy {
            trigger: trigger.to_owned(),
            cluster: cluster.to_owned(),
            event_source: None,
            criterion: None,
            action: String::new(),
            replayed: None,
            effect: Effect::Pending,
            superseded_by: None,
            overtaken_by: None,
            outcomes: Vec::new(),
        }
    }

    fn sentence(&self) -> String {
        let TriggerWhy { trigger, action, .. } = self;
        let replayed = self.replayed.map(|offset| format!(" when the rules changed at offset {offset}"));
        let decided = format!("{trigger} decided {action}{}", replayed.unwrap_or_default());
        let last = self.outcomes.iter().rfind(|entry| self.effect.record() == Some(&*entry.fact));
        let last = last.map(|entry| format!("{} at offset {}", entry.summary, entry.offset));
        let last = last.unwrap_or_default();
        match self.effect {
            Effect::Applied | Effect::Deleted | Effect::Released | Effect::Failing => format!("{decided}: {last}."),
            Effect::Pending => format!("{decided}, which is not carried out yet."),
            Effect::Settled => format!("{decided}, and there was nothing to do."),
            Effect::Superseded => {
                let by = self.superseded_by.unwrap_or_default();
                format!("{decided}, but offset {by} decided again before it was carried out.")
            }
            Effect::Overtaken => format!("{decided}."),
            Effect::Nothing => format!("{trigger} made nothing of it: {action}."),
            Effect::Unknown => format!("{decided}; too many records follow to find what came of it."),
        }
    }
}
