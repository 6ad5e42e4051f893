//! What is done to a world, in the words of a time line.

use std::fmt;

use super::script::{Action, Ending};

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Wait => write!(out, "nothing is done"),
            Action::Publish(message) => {
                let place = if message.elsewhere { " in the other stream" } else { "" };
                write!(out, "published{place}: {}", String::from_utf8_lossy(&message.payload))
            }
            Action::SlowStream { other, pause } => {
                write!(out, "the {} stream delivers nothing for {pause:?}", if *other { "other" } else { "first" })
            }
            Action::Rules(version) => write!(out, "rules come into force: {version:?}"),
            Action::Release { reads_less: true } => write!(out, "an earlier release comes, which reads less"),
            Action::Release { reads_less: false } => write!(out, "our release comes"),
            Action::Redrive => write!(out, "what was rejected is to be taken up again"),
            Action::Mistake { comes: true } => write!(out, "the trigger `manage` gets a mistake"),
            Action::Mistake { comes: false } => write!(out, "the trigger `manage` is without a mistake"),
            Action::Definitions { come: false } => write!(out, "the kinds of the rules go from the cluster"),
            Action::Definitions { come: true } => write!(out, "the kinds of the rules are in the cluster again"),
            Action::End { how: Ending::Stop, away } => write!(out, "the engine is stopped, for {away:?}"),
            Action::End { how: Ending::Kill, away } => write!(out, "the engine is killed, for {away:?}"),
            Action::End { how: Ending::PowerCut, away } => write!(out, "the power is cut, for {away:?}"),
            Action::DiskFault { fault, operation } => {
                write!(out, "the disk operation number {operation} from here on will fail: {fault:?}")
            }
            Action::ServerAway(pause) => write!(out, "the NATS server is away for {pause:?}"),
            Action::ClusterAway(pause) => write!(out, "the cluster is away for {pause:?}"),
            Action::KindHangs { kind, pause } => write!(out, "writes of a {kind} hang for {pause:?}"),
            Action::Meddle { deletes, .. } => {
                write!(out, "somebody else {} an object", if *deletes { "deletes" } else { "changes" })
            }
            Action::Hold { .. } => write!(out, "somebody else puts a finalizer on an object"),
            Action::Policy { comes: true } => write!(out, "a policy comes that changes what is applied"),
            Action::Policy { comes: false } => write!(out, "the policy that changes what is applied goes"),
            Action::Purge { per_mille } => write!(out, "the oldest {per_mille} ‰ of the stream are purged"),
            Action::RemakeStream => write!(out, "the stream is deleted and made again"),
            Action::LoseTail { messages, cuts } => {
                let which = if *cuts { "" } else { ", not the one we are connected to," };
                write!(out, "the server{which} restarts without the last {messages} messages of the stream")
            }
            Action::ClockJump { days, pause } => {
                write!(out, "the clock of the engine's machine is {days} days off, for {pause:?}")
            }
            Action::Rival(lives) => write!(out, "another engine takes the consumers, for {lives:?}"),
            Action::Deafen => write!(out, "the consumer goes deaf"),
            Action::Edit => write!(out, "somebody changes what the consumer asks for"),
            Action::Copy(None) => write!(out, "a mirror of the stream appears"),
            Action::Copy(Some(own)) => {
                write!(out, "a stream with its messages appears, and has {}", String::from_utf8_lossy(&own.payload))
            }
            Action::RemoveCopy => write!(out, "the copy of the stream goes"),
            Action::OtherSubject { comes: true } => write!(out, "the owner of the stream adds a subject"),
            Action::OtherSubject { comes: false } => write!(out, "the owner of the stream takes the subject away"),
            Action::PublishOther(payload) => write!(out, "published there: {}", String::from_utf8_lossy(payload)),
            Action::Steal { messages, acknowledges } => {
                let and = if *acknowledges { " and acknowledges them" } else { "" };
                write!(out, "another reader takes {messages} messages of the consumer{and}")
            }
        }
    }
}
