//! What a log record says, in the past tense.
//!
//! Start at [`Fact`]: one family of facts is one file, `codec` gives their bytes. The time and the offset of a record
//! belong to the log and are not repeated here.
//!
//! Every fact about resources has, for each, the offset of the record before it about the same resource: see [`Link`].
//! History is read by following that chain, so no index entry per event is needed.

mod names;

mod event;
mod gathered;
mod order;
mod reconciled;
mod rule;
mod stream;

mod codec;

use lifeline_store::Offset;

pub use self::codec::{Error, VERSION};
pub use self::event::{
    Decision, Delivery, EventReceived, EventRejected, MarkerFound, PLAIN_PREFIX, Redriven, Ruling, plain_subject,
};
pub use self::gathered::Gathered;
pub use self::names::{LifecycleKey, ObjectKey, ResourceKey};
pub use self::order::{Later, Order, OrderBy, Place};
pub use self::reconciled::{Altered, AppliedObject, Drift, DriftedObject, FailedAttempt, Reconciled, Recreated, What};
pub use self::rule::{Allowance, Redecision, Redesired, RuleChanged, TriggerReplayed};
pub use self::stream::{StreamChange, StreamChanged};

/// What one record says happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<'a> {
    /// A message arrived and is a CloudEvent.
    Event(EventReceived<'a>),
    /// A message arrived and is no CloudEvent.
    Rejected(EventRejected<'a>),
    /// A message arrived by which the server says that what a subject held is gone.
    Marker(MarkerFound<'a>),
    /// A stream was met, began again, or lost messages that were never recorded.
    Stream(StreamChanged<'a>),
    /// A rule appeared, changed, or went.
    Rule(RuleChanged<'a>),
    /// A trigger's rules changed: the events already held are decided again.
    Replay(TriggerReplayed),
    /// Something was done in the cluster for a lifecycle, or was about to be, or failed.
    Reconciled(Reconciled),
    /// The live keys changed of which a trigger makes one list.
    Gathered(Gathered),
    /// What was at this offset was damaged on disk, and a repair found it nowhere else.
    Lost(RecordLost<'a>),
}

/// What was at this offset was damaged on disk, and a repair found it nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLost<'a> {
    /// What is known of it, in a sentence.
    pub reason: &'a str,
}

/// A resource that a fact is about, and the record before it about the same one.
#[derive(Debug, Clone, Copy)]
pub struct Link<'f> {
    /// CloudEvent `source`.
    pub source: &'f str,
    /// CloudEvent `subject`.
    pub subject: &'f str,
    /// The record before this one; `None` for the first.
    pub previous: Option<Offset>,
    pub(crate) news: News<'f>,
}

/// What a fact says of one resource.
#[derive(Debug, Clone, Copy)]
pub(crate) enum News<'f> {
    Event(&'f EventReceived<'f>),
    Redecision(&'f str, &'f Redecision),
    Reconciled(&'f Reconciled),
    Gathered(&'f Gathered),
}

impl Link<'_> {
    /// Whether it is about this resource.
    #[must_use]
    pub fn is_of(&self, key: &ResourceKey) -> bool {
        *self.source == *key.source && *self.subject == *key.subject
    }

    /// The resource.
    #[must_use]
    pub fn key(&self) -> ResourceKey {
        ResourceKey { source: self.source.into(), subject: self.subject.into() }
    }
}

impl<'a> Fact<'a> {
    /// The name by which people know this kind of fact, such as `EventReceived`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Fact::Event(EventReceived { redriven: Some(_), .. }) => "EventRedriven",
            Fact::Event(EventReceived { redriven: None, order, .. }) => match order {
                Some(order) if order.is_overtaken() => "EventOvertaken",
                Some(_) | None => "EventReceived",
            },
            Fact::Rejected(_) => "EventRejected",
            Fact::Marker(_) => "MarkerFound",
            Fact::Stream(StreamChanged { change: StreamChange::Opened { .. }, .. }) => "StreamOpened",
            Fact::Stream(StreamChanged { change: StreamChange::Gap { .. }, .. }) => "GapFound",
            Fact::Stream(StreamChanged { change: StreamChange::Holes { .. }, .. }) => "HolesFound",
            Fact::Rule(_) => "RuleChanged",
            Fact::Replay(_) => "TriggerReplayed",
            Fact::Reconciled(reconciled) => match &reconciled.what {
                What::Intended(_) => "ApplyIntended",
                What::Applied(_) => "Applied",
                What::Failed(_) => "ApplyFailed",
                What::Deleted(_) => "Deleted",
                What::Released(_) => "Released",
                What::Recreated(_) => "Recreated",
                What::Drifted(_) => "Drifted",
                What::Altered(_) => "Altered",
            },
            Fact::Gathered(_) => "Gathered",
            Fact::Lost(_) => "RecordLost",
        }
    }

    /// The resources that it is about. A replay may name one more than once, for several clusters.
    pub fn links(&self) -> impl Iterator<Item = Link<'_>> {
        let (one, trigger, many): (_, &str, &[Redecision]) = match self {
            Fact::Event(event) => {
                let EventReceived { source, subject, previous, .. } = *event;
                (Some(Link { source, subject, previous, news: News::Event(event) }), "", &[])
            }
            Fact::Reconciled(reconciled) => {
                let (key, previous) = (&reconciled.key.resource, reconciled.previous);
                let news = News::Reconciled(reconciled);
                (Some(Link { source: &key.source, subject: &key.subject, previous, news }), "", &[])
            }
            Fact::Gathered(gathered) => {
                let (subject, previous, news) = (&*gathered.trigger, gathered.previous, News::Gathered(gathered));
                (Some(Link { source: "", subject, previous, news }), "", &[])
            }
            Fact::Replay(replay) => (None, &replay.trigger, &replay.redecisions),
            Fact::Rejected(_) | Fact::Marker(_) | Fact::Stream(_) | Fact::Rule(_) | Fact::Lost(_) => (None, "", &[]),
        };
        one.into_iter().chain(many.iter().map(move |redecision| {
            let (key, previous) = (&redecision.resource, redecision.previous);
            let news = News::Redecision(trigger, redecision);
            Link { source: &key.source, subject: &key.subject, previous, news }
        }))
    }

    /// The one resource that it is about, source and subject; `None` for a fact about none, or about several.
    #[must_use]
    pub fn resource(&self) -> Option<(&str, &str)> {
        match self {
            Fact::Event(EventReceived { source, subject, .. }) => Some((source, subject)),
            Fact::Reconciled(Reconciled { key, .. }) => Some((&key.resource.source, &key.resource.subject)),
            Fact::Gathered(Gathered { trigger, .. }) => Some(("", trigger)),
            Fact::Rejected(_) | Fact::Marker(_) | Fact::Stream(_) | Fact::Rule(_) => None,
            Fact::Replay(_) | Fact::Lost(_) => None,
        }
    }

    /// Fills in the record before this one, for each resource that it is about: only the writer of the log knows it.
    pub fn link(&mut self, mut last_record: impl FnMut(&str, &str) -> Option<Offset>) {
        match self {
            Fact::Event(EventReceived { source, subject, previous, .. }) => *previous = last_record(source, subject),
            Fact::Replay(replay) => {
                for Redecision { resource, previous, .. } in &mut replay.redecisions {
                    *previous = last_record(&resource.source, &resource.subject);
                }
            }
            Fact::Reconciled(Reconciled { key, previous, .. }) => {
                *previous = last_record(&key.resource.source, &key.resource.subject);
            }
            Fact::Gathered(Gathered { trigger, previous, .. }) => *previous = last_record("", trigger),
            Fact::Rejected(_) | Fact::Marker(_) | Fact::Stream(_) | Fact::Rule(_) | Fact::Lost(_) => {}
        }
    }

    /// The record before this one about a resource; `None` when this one is not about it at all.
    #[must_use]
    pub fn previous(&self, key: &ResourceKey) -> Option<Option<Offset>> {
        self.links().find(|link| link.is_of(key)).map(|link| link.previous)
    }

    /// The message that it holds, if one arrived by it. One that was taken up again had arrived by the record that rejected it.
    #[must_use]
    pub const fn message(&self) -> Option<(&Delivery<'a>, &'a [u8])> {
        match self {
            Fact::Event(EventReceived { redriven: Some(_), .. }) => None,
            Fact::Event(EventReceived { delivery, payload, redriven: None, .. })
            | Fact::Rejected(EventRejected { delivery, payload, .. })
            | Fact::Marker(MarkerFound { delivery, payload, .. }) => Some((delivery, payload)),
            Fact::Stream(_) | Fact::Rule(_) | Fact::Replay(_) | Fact::Reconciled(_) => None,
            Fact::Gathered(_) | Fact::Lost(_) => None,
        }
    }
}
