//! Why a reconciliation did not get through, and when to try again.
//!
//! Pure: an error and a number of attempts in, a pause or none out.

use std::time::Duration;

use lifeline_projections::count;
use lifeline_projections::fact::{ObjectKey, ResourceKey};

use crate::cluster;
use crate::error_text::chain;
use crate::queue::Next;
use crate::reconcile::marks::Owner;
use crate::reconcile::recreate;
use crate::reconcile::step::Refusal;
use crate::site::Sort;

/// The first pause after a failure that time may heal; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The shortest and the longest pause while a kind is not known.
const PAUSE_KNOWN_MIN: Duration = Duration::from_secs(2);
const PAUSE_KNOWN_MAX: Duration = Duration::from_secs(10);

/// The pause while something is on its way out: a namespace takes some seconds, and the next incarnation waits for it.
const PAUSE_TERMINATING: Duration = Duration::from_millis(500);

/// The pause doubles each time after so many attempts: the longer it lasts, the longer it will. What goes at last is noticed
/// after a fifth more of the time.
const TERMINATING_ATTEMPTS: u32 = 10;

/// The longest of these pauses.
const PAUSE_HANGING: Duration = Duration::from_secs(10);

/// Objects, or failures, that one message names at most. A lifecycle may have ten thousand objects, all with the same trouble.
const NAMED_MAX: usize = 50;

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The reason, and after a newline a hint where there is one.
    pub message: String,
    /// When it may be tried again.
    pub retry: Retry,
}

/// What has to happen before another attempt makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Time may heal it; the cluster may have named a pause.
    Soon(Option<Duration>),
    /// Something is being deleted and will be gone.
    WhenGone,
    /// Somebody may grant a right, allow an object, free a name.
    Slowly,
    /// A kind may become known. Asking for it costs little.
    WhenKnown,
    /// A call was not made, because the cluster does not answer such calls now. The object is as before, so this counts
    /// as no attempt. It is woken when its turn comes, and tried after this pause at the latest.
    HeldBack(Duration),
    /// Only a new decision can help: the same event and rules give the same error.
    Never,
}

impl Failure {
    /// Whether time alone may heal it.
    #[must_use]
    pub fn transient(&self) -> bool {
        matches!(self.retry, Retry::Soon(_) | Retry::WhenGone | Retry::HeldBack(_))
    }

    /// Whether calls that were not made are all that is missing.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        matches!(self.retry, Retry::HeldBack(_))
    }

    /// What to do after `attempt` (from 1) failed like this.
    #[must_use]
    pub fn next(&self, attempt: u32) -> Next {
        let growing = || (PAUSE_MIN * 2_u32.saturating_pow(attempt.saturating_sub(1).min(16))).min(PAUSE_MAX);
        match self.retry {
            Retry::Soon(asked) => Next::RetryAfter(growing().max(asked.unwrap_or_default())),
            Retry::WhenGone => {
                let doubled = (attempt.saturating_sub(1) / TERMINATING_ATTEMPTS).min(16);
                Next::RetryAfter((PAUSE_TERMINATING * 2_u32.pow(doubled)).min(PAUSE_HANGING))
            }
            Retry::Slowly => Next::RetryAfter(growing().max(Duration::from_secs(5))),
            Retry::WhenKnown => Next::RetryAfter(growing().clamp(PAUSE_KNOWN_MIN, PAUSE_KNOWN_MAX)),
            Retry::HeldBack(pause) => Next::RetryAfter(pause),
            Retry::Never => Next::Park,
        }
    }

    /// What a cluster's answer about `what` means.
    #[must_use]
    pub fn of_cluster(what: &str, error: &cluster::Error) -> Failure {
        use cluster::Error;
        let retry = match error {
            Error::Invalid { .. } => Retry::Never,
            Error::Immutable { .. }
            | Error::Left { .. }
            | Error::Denied { .. }
            | Error::Forbidden { .. }
            | Error::Unauthorized { .. }
            | Error::Misconfigured { .. } => Retry::Slowly,
            Error::UnknownKind { .. } => Retry::WhenKnown,
            Error::NamespaceTerminating { .. } => Retry::WhenGone,
            Error::NamespaceMissing { .. }
            | Error::Conflict { .. }
            | Error::Gone
            | Error::Taken
            | Error::Replaced { .. } => Retry::Soon(None),
            // Nothing was done, and the whole site makes a pause.
            Error::Throttled { retry_after, .. } => Retry::HeldBack(*retry_after),
            Error::Unavailable { retry_after, .. } => Retry::Soon(*retry_after),
        };
        let message = format!("{what}: {}", chain(error));
        Failure { message, retry }
    }

    /// A call was not made.
    #[must_use]
    pub fn of_held_back(what: &str, sort: &Sort, pause: Duration) -> Failure {
        let message = format!("{what}: waits, because the cluster does not answer {sort} in time");
        Failure { message, retry: Retry::HeldBack(pause) }
    }

    /// Objects went with their Namespace while others were applied.
    #[must_use]
    pub fn of_lost_objects() -> Failure {
        let message = "objects of this lifecycle went while this attempt ran, with a Namespace or by somebody else; they are \
                       applied again";
        let message = message.to_owned();
        Failure { message, retry: Retry::Soon(None) }
    }

    /// The lifecycle came to want no objects while they were applied.
    #[must_use]
    pub fn of_unwanted_objects() -> Failure {
        let message = "the objects are not wanted any more; this was decided while they were applied".to_owned();
        Failure { message, retry: Retry::Soon(None) }
    }

    /// A wanted object exists and belongs to another owner.
    #[must_use]
    pub fn of_foreign_object(object: &ObjectKey, owner: &Owner) -> Failure {
        let whose = match owner {
            Owner::Us | Owner::Stranger => "was not made by Lifeline".to_owned(),
            Owner::Elsewhere { instance } => format!("carries the marks of another engine, `{instance}`"),
            Owner::Other { key } => format!("carries the marks of {}", named(&key.trigger, &key.resource)),
        };
        let first = match owner {
            Owner::Elsewhere { instance } => {
                format!("where that engine is gone for good, give this one its name, `--consumer {instance}`; or ")
            }
            Owner::Us | Owner::Other { .. } | Owner::Stranger => String::new(),
        };
        let message = format!(
            "{object} exists and {whose}\nhint: {first}remove it, give the object another name, or let the trigger adopt it \
             with the annotation `lifeline.dev/adopt: \"true\"`"
        );
        Failure { message, retry: Retry::Slowly }
    }

    /// A wanted object is on its way out.
    #[must_use]
    pub fn of_terminating_object(object: &ObjectKey, held_by: Option<&str>) -> Failure {
        let held_by = held_by.map(|held_by| format!(": {held_by}")).unwrap_or_default();
        let message = format!("{object} is being deleted; waiting until it is gone{held_by}");
        Failure { message, retry: Retry::WhenGone }
    }

    /// Objects that are no longer wanted are on their way out, for long.
    #[must_use]
    pub fn of_leaving_objects(leaving: &[String]) -> Failure {
        Failure { message: leaving.join("\n"), retry: Retry::WhenGone }
    }

    /// A wanted object cannot be changed. It may be gone at the next look: somebody may delete it.
    #[must_use]
    pub fn of_immutable_object(object: &ObjectKey, refusal: &Refusal) -> Failure {
        let Refusal { fields, message, is_left, .. } = refusal;
        let because = match is_left {
            true => "keeps the value it had, for no apply takes away what none gave",
            false => "can never change while the object lives",
        };
        let force = if recreate::holds_others(object) { "" } else { "`force: true` in its entry of `policyRefs`, or " };
        let message = format!(
            "{object}: {message}\nhint: {fields} {because}: delete it, and the wanted one is made; or let it be deleted and made \
             again, with {force}the annotation `{}: \"true\"` in its manifest",
            recreate::RECREATE
        );
        Failure { message, retry: Retry::Slowly }
    }

    /// A wanted object belongs into a Namespace that does not exist.
    #[must_use]
    pub fn of_missing_namespace(object: &ObjectKey) -> Failure {
        let namespace = object.namespace.as_deref().unwrap_or_default().to_owned();
        Failure::of_cluster(&object.to_string(), &cluster::Error::NamespaceMissing { namespace })
    }

    /// A conflict ended the attempt.
    #[must_use]
    pub fn of_conflict_before(left: &str) -> Failure {
        let message = format!(
            "because of this conflict these are not applied: {left}\nhint: `continueOnConflict: true` in the trigger applies \
             them"
        );
        Failure { message, retry: Retry::Slowly }
    }

    /// Several failures of one attempt as one: the most hopeful decides when to try again. What was held back is left
    /// out of the message where something failed: it comes and goes, and each other message would be recorded. But it was
    /// not tried, so the attempt is not the last one.
    #[must_use]
    pub fn join(failures: Vec<Failure>) -> Option<Failure> {
        let (held_back, mut failures): (Vec<_>, Vec<_>) = failures.into_iter().partition(Failure::is_held_back);
        if failures.is_empty() {
            failures = held_back;
        } else if !held_back.is_empty() && failures.iter().all(|failure| failure.retry == Retry::Never) {
            failures.iter_mut().for_each(|failure| failure.retry = Retry::Slowly);
        }
        let order = |failure: &Failure| match failure.retry {
            Retry::WhenGone => 0,
            Retry::Soon(_) => 1,
            Retry::WhenKnown => 2,
            Retry::Slowly => 3,
            Retry::HeldBack(_) => 4,
            Retry::Never => 5,
        };
        let retry = failures.iter().min_by_key(|failure| order(failure))?.retry;
        let mut failures = failures.into_iter();
        let mut messages: Vec<String> = failures.by_ref().take(NAMED_MAX).map(|failure| failure.message).collect();
        let more = failures.count();
        if more > 0 {
            messages.push(format!("and {} of other objects", count(more as u64, "more failure")));
        }
        Some(Failure { message: messages.join("\n"), retry })
    }
}

/// The short names of objects, for messages. Of many the first ones.
pub fn names<'a>(objects: impl IntoIterator<Item = &'a ObjectKey>) -> String {
    let mut objects = objects.into_iter();
    let mut names: Vec<String> = objects.by_ref().take(NAMED_MAX).map(ObjectKey::short).collect();
    let more = objects.count();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

/// A lifecycle, as messages name it.
pub fn named(trigger: &str, resource: &ResourceKey) -> String {
    match resource.is_list() {
        true => format!("the list of trigger `{trigger}`"),
        false => format!("trigger `{trigger}` for source `{}`, subject `{}`", resource.source, resource.subject),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(retry: Retry, attempt: u32, expected: Next) {
        let failure = Failure { message: String::new(), retry };
        assert_eq!(failure.next(attempt), expected, "{retry:?}, attempt {attempt}");
    }

    #[test]
    fn pauses_grow_to_a_minute_and_hopeless_cases_wait_for_a_decision() {
        let millis = |millis| Next::RetryAfter(Duration::from_millis(millis));
        check(Retry::Soon(None), 1, millis(250));
        check(Retry::Soon(None), 3, millis(1_000));
        check(Retry::Soon(None), 400, millis(60_000));
        check(Retry::Soon(Some(Duration::from_secs(7))), 1, millis(7_000));
        check(Retry::WhenGone, 10, millis(500));
        check(Retry::WhenGone, 11, millis(1_000));
        check(Retry::WhenGone, 30, millis(2_000));
        check(Retry::WhenGone, 5_000, millis(10_000));
        check(Retry::Slowly, 1, millis(5_000));
        check(Retry::WhenKnown, 1, millis(2_000));
        check(Retry::WhenKnown, 50, millis(10_000));
        check(Retry::HeldBack(Duration::from_secs(90)), 1, millis(90_000));
        check(Retry::Never, 1, Next::Park);
    }

    #[test]
    fn the_answer_of_a_cluster_says_when_to_try_again() {
        use cluster::Error;
        let check = |error: Error, expected: Retry| {
            let failure = Failure::of_cluster("Namespace/a", &error);
            assert_eq!(failure.retry, expected, "{failure:?}");
            assert!(failure.message.starts_with("Namespace/a: "), "{failure:?}");
        };
        let (message, namespace) = (String::new, || "a".to_owned());
        let (retry_after, source) = (Some(Duration::from_secs(7)), None);
        check(Error::Invalid { message: message() }, Retry::Never);
        check(Error::Forbidden { message: message() }, Retry::Slowly);
        check(Error::Unauthorized { message: message() }, Retry::Slowly);
        check(Error::UnknownKind { api_version: message(), kind: message() }, Retry::WhenKnown);
        let denied = Error::Denied { by: message(), message: message(), remedy: "" };
        check(denied, Retry::Slowly);
        check(Error::Immutable { fields: message(), message: message() }, Retry::Slowly);
        check(Error::Left { fields: message(), message: message() }, Retry::Slowly);
        check(Error::NamespaceMissing { namespace: namespace() }, Retry::Soon(None));
        check(Error::NamespaceTerminating { namespace: namespace() }, Retry::WhenGone);
        check(Error::Conflict { message: message() }, Retry::Soon(None));
        check(Error::Gone, Retry::Soon(None));
        check(Error::Taken, Retry::Soon(None));
        check(Error::Replaced { uid: message() }, Retry::Soon(None));
        let pause = Duration::from_secs(3);
        check(Error::Throttled { message: message(), retry_after: pause }, Retry::HeldBack(pause));
        check(Error::Unavailable { message: message(), retry_after, source }, Retry::Soon(retry_after));
    }

    #[test]
    fn one_hopeful_failure_keeps_an_attempt_going() {
        let failure = |message: &str, retry| Failure { message: message.into(), retry };
        let joined = Failure::join(vec![failure("a", Retry::Never), failure("b", Retry::Soon(None))]).unwrap();
        assert_eq!(joined, failure("a\nb", Retry::Soon(None)));
        assert_eq!(Failure::join(vec![]), None);
        let many = (0..52).map(|number| failure(&number.to_string(), Retry::Slowly)).collect();
        let joined = Failure::join(many).unwrap().message;
        assert!(
            joined.starts_with("0\n1\n") && joined.ends_with("\n49\nand 2 more failures of other objects"),
            "{joined}"
        );
        // What is held back counts where nothing else failed.
        let [held, other] = ["a", "b"].map(|message| failure(message, Retry::HeldBack(Duration::ZERO)));
        let joined = Failure::join(vec![held.clone(), failure("no", Retry::Never), other.clone()]);
        assert_eq!(joined, Some(failure("no", Retry::Slowly)));
        assert_eq!(Failure::join(vec![held, other]), Some(failure("a\nb", Retry::HeldBack(Duration::ZERO))));
    }
}
