//! The status of an engine, for readiness, metrics and people. Shapes only; each part fills in what it knows.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Everything an operator watches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// First offset that is not recorded.
    pub recorded: u64,
    /// First offset that is not folded.
    pub folded: u64,
    /// First offset whose consequences are not all carried out; what waits by intent (`waiting`) does not hold it back.
    pub reconciled: u64,
    /// First offset that the last complete checkpoint of the state does not reflect: a start reads the log from there on. `null`
    /// before the first checkpoint.
    #[serde(default)]
    pub saved: Option<u64>,
    /// Why recording has stopped, or that of messages alone (a disk that is nearly full); absent while it goes on.
    pub stalled: Option<String>,
    /// Why NATS is not being read; absent while it is.
    pub intake: Option<String>,
    /// Why no rules are in force yet; absent once they are.
    pub rules_missing: Option<String>,
    /// EventTriggers in force.
    pub triggers: usize,
    /// Defects of rules, each up to three lines.
    pub problems: Vec<String>,
    /// What should be looked at, though nothing stops for it.
    pub warnings: Vec<String>,
    /// Streams by cluster and name.
    pub streams: Vec<StreamStatus>,
    /// The clusters that objects go to, by name.
    #[serde(default)]
    pub sites: Vec<SiteStatus>,
    /// Resources known. The list of a trigger that makes one of all live keys counts as one.
    pub resources: usize,
    /// Lifecycles by phase, in order of urgency; phases without any are missing.
    pub phases: Vec<(String, u64)>,
    /// Lifecycles that are not done: they wait, run, pause after a failure, or failed permanently. Those of `waiting` do not
    /// count.
    pub open: usize,
    /// Lifecycles that are not done by intent, by trigger.
    #[serde(default)]
    pub waiting: Vec<WaitingStatus>,
    /// Reconciliations begun since the start.
    pub reconciliations: u64,
    /// Calls since the start that may have changed a cluster.
    pub cluster_writes: u64,
    /// Reconciliations since the start that failed.
    pub failures: u64,
    /// Triggers whose history is being decided again because their rules changed; recording goes on meanwhile.
    #[serde(default)]
    pub replays: Vec<ReplayStatus>,
    /// What the last replays did that came to their end, up to a hundred; numbers begin with the process.
    #[serde(default)]
    pub replayed: Vec<ReplayedStatus>,
    /// The progress of the scrub of the log; absent while it is off.
    #[serde(default)]
    pub scrub: Option<ScrubStatus>,
    /// Age of the oldest record that is not folded, in seconds; 0 where all are.
    #[serde(default)]
    pub fold_lag_seconds: f64,
    /// Age of the oldest record whose consequences are not all carried out, in seconds; 0 where all are.
    #[serde(default)]
    pub reconcile_lag_seconds: f64,
    /// What each trigger did since the start, by name; triggers beyond the first hundred count as `other`.
    #[serde(default)]
    pub by_trigger: Vec<TriggerStatus>,
}

/// Lifecycles of one trigger that are not done by intent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingStatus {
    /// The EventTrigger.
    pub trigger: String,
    /// `DryRun`: its `syncMode` says so. `Held`: what its changed rules would withdraw waits for a confirmation.
    pub why: String,
    /// How many.
    pub lifecycles: u64,
}

/// What one trigger did since the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriggerStatus {
    /// The EventTrigger, or `other` for all that are too many to be told apart.
    pub trigger: String,
    /// Events that it matched.
    pub matched: u64,
    /// Of these, those that it decided `Create` for.
    pub creates: u64,
    /// And `Delete`.
    pub deletes: u64,
    /// And those that its `cloudEventAction` could not be rendered for.
    pub undecided: u64,
    /// Attempts to reconcile by how long they took; the bounds are those of the metric. Empty before the first.
    pub durations: Vec<u64>,
    /// The last attempt of each duration whose trace is exported. For metrics alone.
    #[serde(skip)]
    pub exemplars: Vec<Option<Exemplar>>,
    /// How long all attempts took together, in seconds.
    pub seconds: f64,
    /// Attempts that failed.
    pub failures: u64,
    /// When an attempt last brought the cluster to what is wanted, in nanoseconds since 1970; absent before the first did.
    pub succeeded_unix_nanos: Option<u64>,
}

/// An attempt to reconcile that can be looked at in detail: by its trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// The trace, in 32 hexadecimal digits.
    pub trace_id: String,
    /// How long the attempt took, in seconds.
    pub seconds: f64,
    /// When it ended, in nanoseconds since 1970.
    pub at_unix_nanos: u64,
}

/// How far the history of one trigger is decided again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayStatus {
    /// The EventTrigger.
    pub trigger: String,
    /// Resources that are done.
    pub resources: usize,
    /// Resources there are.
    pub of: usize,
    /// Why resources are left as they are (damage in the log, or an action that fails), so that the replay cannot be completed;
    /// absent when none is.
    pub left_because: Option<String>,
    /// What waits to be confirmed, because it is much or may be wanted by others; absent when nothing does.
    #[serde(default)]
    pub held: Option<HeldWithdrawal>,
    /// Lifecycles that were decided again so far.
    #[serde(default)]
    pub decided: u64,
}

/// What a replay that came to its end did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayedStatus {
    /// The EventTrigger.
    pub trigger: String,
    /// Resources that were looked at.
    pub resources: usize,
    /// Lifecycles that were decided again.
    pub decided: u64,
    /// Of these, those that came to be present or absent, or present for another event.
    pub otherwise: u64,
    /// Which replay of this engine it was, from 1.
    pub number: u64,
}

/// Objects that changed rules would withdraw, and that stay until somebody confirms it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldWithdrawal {
    /// What `lifeline confirm` is given.
    pub id: String,
    /// Objects that would go.
    pub objects: u64,
    /// Objects of the trigger.
    pub of: u64,
    /// Keys that would go from the list that the trigger makes of all live keys; 0 where it makes none.
    #[serde(default)]
    pub keys: u64,
    /// Keys of that list.
    #[serde(default)]
    pub keys_of: u64,
    /// Objects and keys that changes of rules withdrew within the last hour, of all triggers, each time too few to be held. They
    /// count as well.
    #[serde(default)]
    pub lately: u64,
    /// Why another trigger may want some of them, so that they stay though they are few: its texts cannot be rendered, or it is
    /// out of force. It goes on by itself once that is mended. Absent when none may.
    #[serde(default)]
    pub waits_for: Option<String>,
}

/// How far the log has been read again to find damage. Counts begin with the process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScrubStatus {
    /// Passes over the whole log that came to its end.
    pub passes: u64,
    /// Whether a pass is under way; otherwise the next one is waited for.
    pub running: bool,
    /// The pass under way, or the last one: the next offset to be read.
    pub position: u64,
    /// Where that pass ends: the end of the log when it began.
    pub end: u64,
    /// Bytes read, over all passes.
    pub bytes: u64,
    /// When the last pass came to its end, in nanoseconds since 1970; absent before the first did.
    pub completed_unix_nanos: Option<u64>,
    /// Records found damaged, by the last complete pass or by the one under way, whichever found more.
    pub damaged_records: u64,
    /// Where, one line for each place.
    pub damage: Vec<String>,
    /// Why the last pass could not go on; absent when it could.
    pub trouble: Option<String>,
}

/// One cluster that objects go to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteStatus {
    /// `namespace/name` of the resource that represents it.
    pub cluster: String,
    /// Where its API server is.
    pub api_server: String,
    /// Its lifecycles that are not done; those that wait by intent do not count.
    pub open: usize,
    /// Reconciliations begun since the start.
    pub reconciliations: u64,
    /// Calls since the start that may have changed it.
    pub writes: u64,
    /// Reconciliations since the start that failed.
    pub failures: u64,
    /// Why its lifecycles wait: what the last of many calls to the unavailable cluster said; `null` while it is available.
    pub unavailable: Option<String>,
    /// Calls that are held back because the cluster does not answer them, while it answers others.
    #[serde(default)]
    pub held_back: Vec<HeldBackStatus>,
    /// Its requests about objects.
    #[serde(default)]
    pub budget: BudgetStatus,
    /// What its lifecycles wait for: events that were in its streams at the connection and are not recorded; `null` once
    /// they are.
    #[serde(default)]
    pub history: Option<HistoryStatus>,
    /// What others did to its objects, of triggers that detect drift.
    #[serde(default)]
    pub drift: DriftStatus,
    /// Objects with the marks of Lifeline that nothing claims.
    #[serde(default)]
    pub orphans: OrphanStatus,
}

/// Objects with the marks of Lifeline that nothing in the log claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrphanStatus {
    /// Whether they were looked for: once what waited in NATS at the start is read.
    pub looked_for: bool,
    /// How many.
    pub objects: u64,
    /// These by trigger.
    pub groups: Vec<OrphanGroup>,
    /// Kinds that were not looked at, because they may not be listed.
    pub unlisted: Vec<String>,
}

/// Objects that nothing claims, of one trigger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrphanGroup {
    /// The EventTrigger that their marks name.
    pub trigger: String,
    /// How many.
    pub objects: u64,
    /// What `lifeline confirm` is given to delete them; absent where they cannot be deleted like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// How many requests about objects a site makes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetStatus {
    /// Requests a second in the long run; 0 for no limit.
    pub per_second: u32,
    /// Requests at once after a pause.
    pub burst: u32,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Requests since the start that the API server refused because it had too many.
    pub refused: u64,
    /// For how many seconds it asks for no more requests; 0 where it does not.
    pub pause_seconds: u64,
}

/// Events that waited in the streams of a site at the connection. A later one may undo an earlier one, so nothing is done
/// in the cluster before all are recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryStatus {
    /// Messages left, as far as they are known; those of other subjects count too.
    pub messages: u64,
    /// What is not read, and why.
    pub what: Vec<String>,
    /// For how many seconds no message came.
    pub seconds: u64,
    /// Whether that was too long, so that the engine acts on what is recorded.
    pub given_up: bool,
}

/// What others did to the objects of a cluster since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftStatus {
    /// Kinds of objects that are watched.
    pub watched_kinds: usize,
    /// Objects that others deleted.
    pub deleted: u64,
    /// Objects that others changed.
    pub changed: u64,
    /// Objects that others change or delete each time they are put back.
    pub fought: usize,
    /// These, some of them.
    pub fights: Vec<FightStatus>,
    /// Kinds whose objects cannot be watched now.
    pub unwatched: Vec<UnwatchedStatus>,
    /// Objects that are still to be looked at, because a replay was asked to put back what others did.
    #[serde(default)]
    pub asked: usize,
}

/// An object that others change or delete each time it is put back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FightStatus {
    /// The object.
    pub object: String,
    /// The field manager that changed it last; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// Seconds until it is put back again; 0 where it was.
    pub pause_seconds: u64,
}

/// A kind of objects that cannot be watched now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnwatchedStatus {
    /// The group, where there is one, and the kind.
    pub kind: String,
    /// What the cluster said.
    pub because: String,
}

/// Calls about one kind of object that are not answered in time, so that only a few are made at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldBackStatus {
    /// The group, if there is one, and the kind; where the kinds themselves are asked for, the group and version.
    pub kind: String,
    /// What is asked for: `get`, `apply`, `delete`, or `discover`.
    pub verb: String,
    /// For how many seconds they have been held back.
    pub seconds: u64,
    /// Lifecycles that wait for such a call.
    pub waiting: usize,
    /// What the last call without an answer said.
    pub because: String,
}

/// How far one stream is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StreamStatus {
    /// The cluster whose NATS holds it.
    pub cluster: String,
    /// Its name; `$NATS.` and the subject for messages that came without a stream.
    pub stream: String,
    /// Its epoch.
    pub epoch: u32,
    /// First sequence that is not recorded.
    pub next_sequence: u64,
    /// Messages that are not recorded yet; `None` while that is not known.
    pub pending: Option<u64>,
    /// Events recorded, ever.
    pub received: u64,
    /// Messages recorded as rejected, ever.
    pub rejected: u64,
    /// Messages by which the server said that what a subject held is gone, ever (`Nats-Marker-Reason`).
    #[serde(default)]
    pub markers: u64,
    /// Messages that were gone before they were read, ever.
    pub missing: u64,
    /// Messages of any subject that were gone from the stream when reading passed them, ever: up to so many more are missing. 0
    /// where the stream is read whole, for then `missing` is exact.
    #[serde(default)]
    pub missing_up_to: u64,
    /// Messages delivered again since the start, and recorded once.
    pub redelivered: u64,
    /// That it is no stream: a subject that is read by a plain subscription. Its events are not durable before they are in the
    /// log; those published while Lifeline is away are lost. Absent for a stream, and for what is not read like this now.
    #[serde(default)]
    pub plain: Option<PlainStatus>,
}

/// A subject that is read without a stream. Counts begin with the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlainStatus {
    /// The NATS subject.
    pub subject: String,
    /// Why there is no stream for it.
    pub because: String,
    /// Messages that are lost because nothing had room for them; they are recorded as missing.
    pub dropped: u64,
    /// Times that the subject was not subscribed to for a moment: events published meanwhile are lost.
    pub interruptions: u64,
}

impl Status {
    /// Why the engine is not ready; empty when it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let stalled = self.stalled.iter().map(|why| format!("recording stands still: {why}"));
        let rules = self.rules_missing.iter().map(|why| format!("no rules yet: {why}"));
        let intake = self.intake.iter().map(|why| format!("NATS is not read: {why}"));
        stalled.chain(rules).chain(intake).collect()
    }
}
