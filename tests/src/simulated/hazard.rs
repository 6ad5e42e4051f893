//! [`Hazard`]: what can go wrong in a simulated world, and how often it did.
//!
//! A story without hazards proves little; so each is counted where it happens, and the counts are printed.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use parking_lot::Mutex;

/// Something that goes wrong. The last ones are what the engine records of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hazard {
    /// The engine is asked to stop, and does.
    Stop,
    /// The process of the engine is killed; everything written is still there.
    Kill,
    /// The power of the engine's machine is cut; of what was not synced any part may survive.
    PowerCut,
    /// The power is cut in the middle of a disk operation.
    PowerCutInOperation,
    /// The clock of the engine's machine shows another year for a while.
    ClockJump,
    /// A disk operation fails.
    DiskFailure,
    /// A disk operation finds no space.
    DiskFull,
    /// The engine ends while a checkpoint is being written.
    CutCheckpoint,
    /// The table of the projection refuses a write, and then everything until it is opened again.
    RefusedCheckpoint,
    /// The engine cannot start on this disk.
    FailedStart,
    /// The NATS server cannot be reached for a while.
    ServerAway,
    /// A request to the NATS server is not answered.
    UnansweredRequest,
    /// An acknowledgement does not arrive.
    LostAcknowledgement,
    /// A message is delivered again.
    Redelivery,
    /// The consumer delivers nothing more, and reports nothing.
    DeafConsumer,
    /// A message is published that the client cannot read: it breaks the connection off.
    StrangeMessage,
    /// Another reader of the consumer got a message.
    StolenDelivery,
    /// Another engine takes a consumer.
    Rival,
    /// Somebody changes what a consumer asks for.
    EditedConsumer,
    /// A copy of a stream appears, with its messages.
    CopiedStream,
    /// The owner of a stream adds a subject to it, or takes it away.
    OtherSubject,
    /// One of two streams delivers nothing for a while, and the other does.
    SlowStream,
    /// Messages are purged.
    Purge,
    /// The stream is deleted and made again.
    RemadeStream,
    /// The server restarts without the newest messages of the stream.
    LostTail,
    /// The stream is full, and drops its oldest message.
    FullStream,
    /// The cluster cannot be reached for a while.
    ClusterAway,
    /// The engine holds its work back, and asks the cluster whether it answers.
    HeldBack,
    /// A write hangs, because its kind does.
    HungCall,
    /// A request to the cluster is lost before it is carried out.
    LostRequest,
    /// A request is carried out, and its answer is lost.
    LostAnswer,
    /// A request takes seconds to reach the cluster.
    SlowRequest,
    /// An answer of the cluster takes seconds.
    SlowAnswer,
    /// The kinds of the cluster cannot be looked up.
    FailedDiscovery,
    /// A deletion is accepted and takes seconds.
    SlowDeletion,
    /// A deletion is accepted and hangs, for somebody put a finalizer on the object.
    HungDeletion,
    /// Somebody else changes or deletes an object that was applied.
    Meddling,
    /// The cluster changes what is applied, as it takes it.
    AlteredApply,
    /// A watch over the objects of the cluster is cut.
    CutWatch,
    /// The rules change.
    ChangedRules,
    /// What changed rules would withdraw is held, and confirmed later.
    HeldWithdrawal,
    /// What changed rules would withdraw is held, for others may want it, and confirmed later.
    AwaitedWithdrawal,
    /// A mistake takes a trigger out of force.
    BrokenRules,
    /// The engine starts while the cluster does not know the kinds of the rules.
    NoDefinitions,
    /// A new epoch is recorded.
    NewEpoch,
    /// A gap is recorded.
    Gap,
    /// A failed attempt is recorded.
    FailedAttempt,
    /// That an object was let go of is recorded.
    Release,
    /// That an object is deleted to be made again is recorded.
    Recreation,
    /// A drift is recorded.
    Drift,
    /// That the cluster changed what was applied is recorded.
    Altered,
    /// That the live keys of a list changed is recorded, more than one at once.
    Gathered,
    /// That no key of a list is live any more is recorded.
    EmptiedList,
    /// A piece of a replay is recorded that is not the last one.
    ReplayPiece,
    /// A message that an earlier release rejected is taken up again.
    TakenUp,
    /// An event is recorded that a later one overtook.
    Overtaken,
    /// An event is recorded that a later one did not overtake: nothing that was later decided.
    LateAndDecides,
}

impl Hazard {
    /// All hazards, in the order in which they are printed.
    pub const ALL: [Hazard; 57] = [
        Hazard::Stop,
        Hazard::Kill,
        Hazard::PowerCut,
        Hazard::PowerCutInOperation,
        Hazard::ClockJump,
        Hazard::DiskFailure,
        Hazard::DiskFull,
        Hazard::CutCheckpoint,
        Hazard::RefusedCheckpoint,
        Hazard::FailedStart,
        Hazard::ServerAway,
        Hazard::UnansweredRequest,
        Hazard::LostAcknowledgement,
        Hazard::Redelivery,
        Hazard::DeafConsumer,
        Hazard::StrangeMessage,
        Hazard::StolenDelivery,
        Hazard::Rival,
        Hazard::EditedConsumer,
        Hazard::CopiedStream,
        Hazard::OtherSubject,
        Hazard::SlowStream,
        Hazard::Purge,
        Hazard::RemadeStream,
        Hazard::LostTail,
        Hazard::FullStream,
        Hazard::ClusterAway,
        Hazard::HeldBack,
        Hazard::HungCall,
        Hazard::LostRequest,
        Hazard::LostAnswer,
        Hazard::SlowRequest,
        Hazard::SlowAnswer,
        Hazard::FailedDiscovery,
        Hazard::SlowDeletion,
        Hazard::HungDeletion,
        Hazard::Meddling,
        Hazard::AlteredApply,
        Hazard::CutWatch,
        Hazard::ChangedRules,
        Hazard::HeldWithdrawal,
        Hazard::AwaitedWithdrawal,
        Hazard::BrokenRules,
        Hazard::NoDefinitions,
        Hazard::NewEpoch,
        Hazard::Gap,
        Hazard::FailedAttempt,
        Hazard::Release,
        Hazard::Recreation,
        Hazard::Drift,
        Hazard::Altered,
        Hazard::Gathered,
        Hazard::EmptiedList,
        Hazard::ReplayPiece,
        Hazard::TakenUp,
        Hazard::Overtaken,
        Hazard::LateAndDecides,
    ];

    /// What people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Hazard::Stop => "engine stopped",
            Hazard::Kill => "engine killed",
            Hazard::PowerCut => "power cut",
            Hazard::PowerCutInOperation => "power cut within a disk operation",
            Hazard::ClockJump => "clock jumped and came back",
            Hazard::DiskFailure => "disk operation failed",
            Hazard::DiskFull => "disk full",
            Hazard::CutCheckpoint => "engine ended within a checkpoint",
            Hazard::RefusedCheckpoint => "checkpoint refused by its disk",
            Hazard::FailedStart => "start failed",
            Hazard::ServerAway => "NATS server away",
            Hazard::UnansweredRequest => "request to NATS unanswered",
            Hazard::LostAcknowledgement => "acknowledgement lost",
            Hazard::Redelivery => "message delivered again",
            Hazard::DeafConsumer => "consumer deaf",
            Hazard::StrangeMessage => "message published that the client cannot read",
            Hazard::StolenDelivery => "message delivered to another reader",
            Hazard::Rival => "consumer taken by another engine",
            Hazard::EditedConsumer => "consumer edited by somebody",
            Hazard::CopiedStream => "copy of a stream made",
            Hazard::OtherSubject => "subject added to a stream, or taken away",
            Hazard::SlowStream => "one of two streams slow",
            Hazard::Purge => "messages purged",
            Hazard::RemadeStream => "stream deleted and made again",
            Hazard::LostTail => "end of the stream lost",
            Hazard::FullStream => "message dropped by a full stream",
            Hazard::ClusterAway => "cluster away",
            Hazard::HeldBack => "work held back while the cluster is silent",
            Hazard::HungCall => "write to the cluster hung with its kind",
            Hazard::LostRequest => "request to the cluster lost",
            Hazard::LostAnswer => "answer of the cluster lost",
            Hazard::SlowRequest => "request to the cluster slow",
            Hazard::SlowAnswer => "answer of the cluster slow",
            Hazard::FailedDiscovery => "discovery failed",
            Hazard::SlowDeletion => "deletion slow",
            Hazard::HungDeletion => "deletion hung behind a finalizer",
            Hazard::AlteredApply => "apply changed by the cluster",
            Hazard::Meddling => "object changed or deleted by somebody else",
            Hazard::CutWatch => "watch cut",
            Hazard::ChangedRules => "rules changed",
            Hazard::HeldWithdrawal => "withdrawal held by the brake",
            Hazard::AwaitedWithdrawal => "withdrawal held for others",
            Hazard::BrokenRules => "trigger broken",
            Hazard::NoDefinitions => "started without the kinds of the rules",
            Hazard::NewEpoch => "new epoch recorded",
            Hazard::Gap => "gap recorded",
            Hazard::FailedAttempt => "failed attempt recorded",
            Hazard::Release => "release recorded",
            Hazard::Recreation => "object made again recorded",
            Hazard::Drift => "drift recorded",
            Hazard::Altered => "altered apply recorded",
            Hazard::Gathered => "list of several keys recorded",
            Hazard::EmptiedList => "list without keys recorded",
            Hazard::ReplayPiece => "piece of a replay recorded",
            Hazard::TakenUp => "rejected message taken up again",
            Hazard::Overtaken => "event overtaken",
            Hazard::LateAndDecides => "late event decided all the same",
        }
    }
}

/// How often each hazard happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts([u64; Hazard::ALL.len()]);

impl Default for Counts {
    fn default() -> Counts {
        Counts([0; Hazard::ALL.len()])
    }
}

impl Counts {
    /// How often one of them happened.
    #[must_use]
    pub const fn of(&self, hazard: Hazard) -> u64 {
        self.0[hazard as usize]
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for hazard in Hazard::ALL {
            writeln!(out, "{:>12}  {}", self.of(hazard), hazard.label())?;
        }
        Ok(())
    }
}

/// Counts that the parts of one world share.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<Mutex<Counts>>);

impl Counter {
    /// Counts a hazard that has just happened.
    pub fn count(&self, hazard: Hazard) {
        self.count_many(hazard, 1);
    }

    /// Counts a hazard that has just happened several times.
    pub fn count_many(&self, hazard: Hazard, times: u64) {
        self.0.lock().0[hazard as usize] += times;
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hazard_is_counted_at_its_place() {
        for (place, hazard) in Hazard::ALL.into_iter().enumerate() {
            assert_eq!(hazard as usize, place, "{hazard:?}");
        }
    }
}
