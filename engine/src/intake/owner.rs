//! One owner of a durable consumer: which engine reads with it. A second one waits, and says whose it is.
//!
//! Two engines with one consumer would each record a part of the events. So an engine notes itself in the metadata of
//! the consumer before it reads, renews that every [`RENEW_EVERY`], and stops reading when somebody else is noted. The
//! server has no compare-and-set for it: the owner is read, compared, written, and read again. Two that write in the
//! same moment may both read until the next renewal, and not longer.
//!
//! Whether an owner is gone is not told by its clock, which may differ from ours: it is gone when its note did not change for
//! [`KEPT`] while we looked. A data folder has one instance, so an engine that starts again takes its own consumer at once.
//! One that stops in good order says in its note that the consumer is nobody's: then nobody waits.
//!
//! Start at [`judge`]. Never here: how a note is stored ([`super::metadata`]), and reading ([`super::reader`]).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Error;
use super::jetstream::{JetStream, Retention};
use crate::clock::Clock;
use crate::error_text::one_line;

/// How often an owner renews its note.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);

/// How long a note that is not renewed keeps others away.
pub const KEPT: Duration = Duration::from_secs(30);

/// Pause before a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How often it is looked whether another owner is gone.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Who is noted as the owner of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The instance: a name that its data folder keeps. Empty once its engine has released the consumer.
    pub instance: String,
    /// The machine or the pod, for people; may be empty.
    pub host: String,
    /// Since when, in nanoseconds since 1970, by the owner's clock.
    pub since_unix_nanos: u64,
    /// When it said so last, in nanoseconds since 1970, by the owner's clock.
    pub renewed_unix_nanos: u64,
}

impl Owner {
    /// Whether both are one engine, in one of its lives.
    fn is(&self, other: &Owner) -> bool {
        (&self.instance, self.since_unix_nanos) == (&other.instance, other.since_unix_nanos)
    }

    /// Whether it has let go of the consumer.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.instance.is_empty()
    }
}

/// Who asks for consumers.
#[derive(Clone)]
pub struct Claimant {
    /// The name that the data folder keeps.
    pub instance: String,
    /// The machine or the pod, for people; may be empty.
    pub host: String,
    /// Whether each consumer is taken at once when it is first asked for, even if another engine has it.
    pub takes_over: bool,
    /// For the times in the notes.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Claimant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Claimant { instance, host, takes_over, clock: _ } = self;
        write!(out, "{instance} on {host:?}{}", if *takes_over { ", takes over" } else { "" })
    }
}

/// What may be done about a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Judgement {
    /// It is ours, or nobody's.
    Take,
    /// It is taken from another engine, which may still be there.
    TakeOver(Owner),
    /// It is another engine's.
    Leave(Owner),
}

/// What an engine knows of the owner of a consumer.
#[derive(Debug, Default)]
struct Seen {
    /// What we noted ourselves, in this life.
    ours: Option<Owner>,
    /// Another owner as it was noted last, and since when that has not changed.
    theirs: Option<(Owner, Instant)>,
}

/// Decides about a consumer by the owner that is noted with it now.
fn judge(found: Option<&Owner>, claimant: &Claimant, seen: &mut Seen, now: Instant) -> Judgement {
    // A copy of our data folder has our name too; it shows once both have noted themselves.
    let is_ours = |found: &Owner| match &seen.ours {
        Some(ours) => found.is(ours),
        None => found.instance == claimant.instance,
    };
    match found {
        Some(found) if found.is_released() => {
            seen.theirs = None;
            return Judgement::Take;
        }
        Some(found) if is_ours(found) => return Judgement::Take,
        Some(found) if seen.theirs.as_ref().is_none_or(|(theirs, _)| theirs != found) => {
            seen.theirs = Some((found.clone(), now));
        }
        // A consumer that is made again has no note for a moment.
        Some(_) | None => {}
    }
    match &seen.theirs {
        None => Judgement::Take,
        Some((theirs, _)) if claimant.takes_over => Judgement::TakeOver(theirs.clone()),
        Some((theirs, since)) if now.duration_since(*since) >= KEPT => Judgement::TakeOver(theirs.clone()),
        Some((theirs, _)) => Judgement::Leave(theirs.clone()),
    }
}

/// That a consumer is taken over, by the order of somebody or because its owner is gone.
fn taken_over((stream, durable): (&str, &str), from: &Owner, is_order: bool, retention: Retention) -> String {
    let because = match is_order {
        true => "`--take-over` says so".to_owned(),
        false => format!("it did not renew its note for {} s", KEPT.as_secs()),
    };
    let read_again = match retention {
        Retention::Limits => "what it acknowledged is read again where it is still there",
        Retention::Interest | Retention::WorkQueue => {
            "what it acknowledged is gone from this stream, and reported as missing where that shows"
        }
    };
    let (instance, on) = (&from.instance, super::on(&from.host));
    format!(
        "consumer `{durable}` of stream `{stream}` is taken over from instance `{instance}`{on}: {because}; {read_again}"
    )
}

/// What one reader does to own its consumer.
pub(super) struct Claim {
    claimant: Claimant,
    stream: String,
    durable: String,
    seen: Seen,
    /// Renews; ends with the claim, and when another one takes the consumer.
    keeping: JoinSet<()>,
    /// The other owner, once there is one.
    lost: Arc<watch::Sender<Option<Owner>>>,
}

impl Claim {
    pub(super) fn new(claimant: Claimant, stream: &str, durable: &str) -> Claim {
        let (stream, durable) = (stream.to_owned(), durable.to_owned());
        Claim { claimant, stream, durable, seen: Seen::default(), keeping: JoinSet::new(), lost: Arc::default() }
    }

    /// Makes the consumer ours, or says whose it is. The owner that has to be noted where the consumer is made again.
    pub(super) async fn take(&mut self, jetstream: &Arc<dyn JetStream>, retention: Retention) -> Result<Owner, Error> {
        // Where it was lost meanwhile, the task that renews has ended.
        self.keeping = JoinSet::new();
        let found = jetstream.owner(&self.stream, &self.durable).await?;
        let ours = self.seen.ours.clone();
        match judge(found.as_ref(), &self.claimant, &mut self.seen, Instant::now()) {
            Judgement::Leave(theirs) => return Err(self.owned(&theirs)),
            Judgement::Take => {}
            Judgement::TakeOver(theirs) => {
                let Claim { claimant, stream, durable, .. } = &*self;
                let told = taken_over((stream, durable), &theirs, claimant.takes_over, retention);
                tracing::warn!("{told}");
            }
        }
        let now = self.claimant.clock.now_unix_nanos();
        let owner = match ours.filter(|ours| found.as_ref().is_none_or(|found| found.is(ours))) {
            Some(ours) => Owner { renewed_unix_nanos: now, ..ours },
            None => Owner {
                instance: self.claimant.instance.clone(),
                host: self.claimant.host.clone(),
                since_unix_nanos: now,
                renewed_unix_nanos: now,
            },
        };
        self.seen.ours = Some(owner.clone());
        let noted = match jetstream.note_owner(&self.stream, &self.durable, &owner).await {
            Ok(noted) => noted,
            // To read may be allowed all the same. It is tried again while it is read.
            Err(error @ (Error::Api { .. } | Error::NoAnswer { .. })) => {
                let reason = one_line(&error);
                tracing::warn!(
                    stream = self.stream,
                    reason,
                    "the owner of the consumer cannot be noted: another engine may read with it as well"
                );
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(other) = noted.filter(|noted| !noted.is(&owner)) {
            judge(Some(&other), &self.claimant, &mut self.seen, Instant::now());
            return Err(self.owned(&other));
        }
        (self.seen.theirs, self.claimant.takes_over) = (None, false);
        self.keep(jetstream.clone(), owner.clone());
        Ok(owner)
    }

    /// Renews the claim from here on, until the next one is taken.
    fn keep(&mut self, jetstream: Arc<dyn JetStream>, owner: Owner) {
        self.lost.send_replace(None);
        let keeping = Keeping {
            jetstream,
            stream: self.stream.clone(),
            durable: self.durable.clone(),
            owner,
            clock: self.claimant.clock.clone(),
        };
        let lost = self.lost.clone();
        self.keeping.spawn(async move {
            let other = keeping.run().await;
            lost.send_replace(Some(other));
        });
    }

    /// Says that the consumer is nobody's any more, if it is ours.
    pub(super) async fn release(mut self, jetstream: &dyn JetStream) -> Result<(), Error> {
        self.keeping.shutdown().await;
        let Some(ours) = self.seen.ours else { return Ok(()) };
        let found = jetstream.owner(&self.stream, &self.durable).await?;
        if found.is_some_and(|found| found.is(&ours)) {
            let released = Owner { instance: String::new(), ..ours };
            jetstream.note_owner(&self.stream, &self.durable, &released).await?;
        }
        Ok(())
    }

    /// Whether another engine took the consumer since the claim was taken.
    pub(super) fn lost(&self) -> watch::Receiver<Option<Owner>> {
        self.lost.subscribe()
    }

    /// That the consumer is another engine's.
    pub(super) fn owned(&self, by: &Owner) -> Error {
        let (stream, consumer) = (self.stream.clone(), self.durable.clone());
        let since = i128::from(by.since_unix_nanos);
        let since = jiff::Timestamp::from_nanosecond(since).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Error::Owned { stream, consumer, instance: by.instance.clone(), host: by.host.clone(), since }
    }
}

/// Waits until another engine has taken the consumer of a claim; `None` without a claim.
pub(super) async fn taken(claim: Option<&Claim>, lost: &mut Option<watch::Receiver<Option<Owner>>>) -> Option<Error> {
    let (claim, lost) = claim.zip(lost.as_mut())?;
    // The claim holds the sender.
    let other = lost.wait_for(Option::is_some).await.ok()?.clone();
    other.map(|other| claim.owned(&other))
}

/// Renews a claim.
struct Keeping {
    jetstream: Arc<dyn JetStream>,
    stream: String,
    durable: String,
    owner: Owner,
    clock: Arc<dyn Clock>,
}

impl Keeping {
    /// Ends with the other owner.
    async fn run(mut self) -> Owner {
        let mut pause = RENEW_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.renew().await {
                Ok(Some(other)) => return other,
                Ok(None) => RENEW_EVERY,
                // The session of the reader finds out what is wrong.
                Err(_) => RETRY,
            };
        }
    }

    async fn renew(&mut self) -> Result<Option<Owner>, Error> {
        let found = self.jetstream.owner(&self.stream, &self.durable).await?;
        if let Some(other) = found.filter(|found| !found.is(&self.owner) && !found.is_released()) {
            return Ok(Some(other));
        }
        self.owner.renewed_unix_nanos = self.clock.now_unix_nanos();
        let noted = self.jetstream.note_owner(&self.stream, &self.durable, &self.owner).await?;
        Ok(noted.filter(|noted| !noted.is(&self.owner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn owner(instance: &str, since: u64, renewed: u64) -> Owner {
        Owner {
            instance: instance.to_owned(),
            host: "node".to_owned(),
            since_unix_nanos: since,
            renewed_unix_nanos: renewed,
        }
    }

    fn claimant(takes_over: bool) -> Claimant {
        Claimant { instance: "me".to_owned(), host: String::new(), takes_over, clock: Arc::new(SystemClock) }
    }

    /// Looks one after the other: after so many seconds, at what is noted, with what is judged.
    #[track_caller]
    fn check(takes_over: bool, ours: Option<Owner>, looks: &[(u64, Option<Owner>, Judgement)]) {
        let (mut seen, start) = (Seen { ours, theirs: None }, Instant::now());
        for (seconds, found, expected) in looks {
            let now = start + Duration::from_secs(*seconds);
            let judged = judge(found.as_ref(), &claimant(takes_over), &mut seen, now);
            assert_eq!(judged, *expected, "after {seconds} s, {found:?}");
        }
    }

    #[test]
    fn a_consumer_is_taken_where_nobody_else_has_it() {
        use Judgement::{Leave, Take, TakeOver};
        let (mine, before, other) = (owner("me", 5, 5), owner("me", 1, 1), owner("you", 1, 1));
        let renewed = |at| owner("you", 1, at);
        check(false, None, &[(0, None, Take)]);
        // The volume moved with its pod, or the engine was started again.
        check(false, None, &[(0, Some(before.clone()), Take)]);
        check(false, Some(mine.clone()), &[(0, Some(owner("me", 5, 9)), Take), (9, None, Take)]);
        // A copy of the data folder was started.
        let copy = owner("me", 7, 7);
        check(false, Some(mine.clone()), &[(0, Some(copy.clone()), Leave(copy.clone()))]);
        // Another one is there, and goes on renewing, however wrong its clock may be.
        check(
            false,
            None,
            &[
                (0, Some(renewed(1)), Leave(renewed(1))),
                (29, Some(renewed(1)), Leave(renewed(1))),
                (29, Some(renewed(2)), Leave(renewed(2))),
                (58, Some(renewed(2)), Leave(renewed(2))),
                (59, Some(renewed(2)), TakeOver(renewed(2))),
            ],
        );
        // Its consumer is made again, or is gone for good.
        check(
            false,
            None,
            &[
                (0, Some(other.clone()), Leave(other.clone())),
                (9, None, Leave(other.clone())),
                (30, None, TakeOver(other.clone())),
            ],
        );
        // It stopped in good order, while we waited or before.
        let released = owner("", 1, 9);
        check(false, None, &[(0, Some(other.clone()), Leave(other.clone())), (1, Some(released.clone()), Take)]);
        check(false, None, &[(0, Some(released), Take), (1, Some(other.clone()), Leave(other.clone()))]);
        check(true, None, &[(0, Some(other.clone()), TakeOver(other.clone()))]);
        check(false, Some(mine), &[(0, Some(other.clone()), Leave(other))]);
    }
    #[test]
    fn a_consumer_that_is_taken_over_is_named_with_its_owner_and_the_reason() {
        let check = |is_order, retention, expected: &str| {
            let told = taken_over(("S", "lifeline"), &owner("you", 1, 1), is_order, retention);
            assert_eq!(
                told,
                format!("consumer `lifeline` of stream `S` is taken over from instance `you` on `node`: {expected}")
            );
        };
        check(
            false,
            Retention::Limits,
            "it did not renew its note for 30 s; what it acknowledged is read again where it is still there",
        );
        check(
            true,
            Retention::WorkQueue,
            "`--take-over` says so; what it acknowledged is gone from this stream, and reported as missing where that shows",
        );
    }
}
