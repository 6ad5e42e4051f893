//! One attempt to make a lifecycle as desired: what is left to apply, what it found out, and how it ends.
//!
//! Start at [`Attempt`]. Pure: what came of each object in, what is recorded and when it goes on out.

use std::collections::{HashSet, VecDeque};

use lifeline_projections::fact::{AppliedObject, ObjectKey};
use lifeline_projections::lifecycle::Lifecycle;

use crate::reconcile::conflict::{Conflict, Conflicts};
use crate::reconcile::failure::{Failure, Retry, names};
use crate::reconcile::plan::{Plan, Wanted};
use crate::reconcile::step::Made;

/// What an attempt has to apply, and what it has found out so far.
#[derive(Default)]
pub struct Attempt<'a> {
    wanted: &'a [Wanted],
    conflicts: Vec<Conflict>,
    /// The same, by their objects.
    by_object: Conflicts,
    /// What is left to apply. Namespaces come first, so what one of them took with it joins the end.
    left: VecDeque<&'a Wanted>,
    /// What is as wanted without a call.
    kept: Vec<AppliedObject>,
    applied: Vec<AppliedObject>,
    /// Objects with another uid than the recorded one, or with none recorded.
    pub made: Vec<ObjectKey>,
    /// Objects that were applied before and are no more: other owners' objects have their names now.
    pub gone: Vec<ObjectKey>,
    /// What exists and belongs to another owner.
    not_ours: Vec<Failure>,
    /// What else failed.
    pub failures: Vec<Failure>,
    /// Objects that the cluster refused for good: nothing was written, and another attempt would not be either.
    pub refused: Vec<ObjectKey>,
    /// Something that is removed has to be looked at again.
    pub waits: bool,
    /// What is being deleted and does not go, with what holds it.
    pub leaving: Vec<String>,
    /// Whether the first conflict ends it (`continueOnConflict: false`).
    pub stops_at_conflict: bool,
    /// Objects that were deleted in order to be made again.
    recreated: HashSet<ObjectKey>,
    /// Objects that are only to be looked at, as long as they are as they were applied before.
    unchanged: HashSet<ObjectKey>,
}

/// How an attempt ends.
#[derive(Debug, PartialEq)]
pub enum Ending {
    /// All is as desired, and this is applied.
    Done(Vec<AppliedObject>),
    /// Something is on its way out. Nothing failed, and nothing is recorded.
    Waits,
    /// Something failed, though this is applied.
    Failed(Failure, Vec<AppliedObject>),
}

impl<'a> Attempt<'a> {
    /// An attempt that has done nothing yet. One by default has nothing to apply.
    pub fn new(plan: &Plan<'a>, wanted: &'a [Wanted], conflicts: Vec<Conflict>) -> Attempt<'a> {
        let (left, kept) = (plan.apply.iter().copied().collect(), plan.keep.clone());
        let by_object = Conflicts::of(&conflicts);
        Attempt { wanted, conflicts, by_object, left, kept, ..Attempt::default() }
    }

    /// The same, with objects that are only to be looked at.
    pub fn looking_at(self, unchanged: HashSet<ObjectKey>) -> Attempt<'a> {
        Attempt { unchanged, ..self }
    }

    /// Whether an object is only to be looked at.
    pub fn is_unchanged(&self, object: &ObjectKey) -> bool {
        self.unchanged.contains(object)
    }

    /// An object is not as it was applied before. It is applied next.
    pub fn apply_after_all(&mut self, want: &'a Wanted) {
        self.unchanged.remove(&want.object);
        self.left.push_front(want);
    }

    /// The next object to apply.
    pub fn next_to_apply(&mut self) -> Option<&'a Wanted> {
        self.left.pop_front()
    }

    /// Whether nothing failed but what other lifecycles have to let go of.
    pub fn is_only_held_up(&self) -> bool {
        self.failures.is_empty() && self.not_ours.is_empty()
    }

    /// Whether another lifecycle has to let go before an object can be applied.
    pub fn is_held_up(&self, object: &ObjectKey) -> bool {
        self.by_object.holding_up(object).is_some()
    }

    /// Whether an object was deleted in this attempt in order to be made again.
    pub fn has_recreated(&self, object: &ObjectKey) -> bool {
        self.recreated.contains(object)
    }

    /// An object was deleted in order to be made again, which is next.
    pub fn make_again(&mut self, want: &'a Wanted) {
        self.recreated.insert(want.object.clone());
        self.left.push_front(want);
    }

    /// Applies nothing more after a conflict over an object, if the trigger says so.
    fn stop_at_conflict(&mut self) {
        if !self.stops_at_conflict || self.left.is_empty() {
            return;
        }
        let left = names(self.left.drain(..).map(|want| &want.object));
        self.failures.push(Failure::of_conflict_before(&left));
    }

    /// Takes in what came of an object. `recorded` is the uid it was last applied under.
    pub fn note(&mut self, want: &Wanted, recorded: Option<&str>, made: Result<Made, Failure>) {
        let is_another = match made {
            Ok(Made::Applied(object)) => {
                let is_another = recorded != Some(&object.uid);
                if is_another {
                    self.made.push(object.object.clone());
                }
                self.applied.push(object);
                is_another
            }
            Ok(Made::Foreign(owner)) => {
                self.not_ours.push(Failure::of_foreign_object(&want.object, &owner));
                // One that still had our uid would have been changed.
                self.gone.extend(recorded.map(|_| want.object.clone()));
                self.stop_at_conflict();
                recorded.is_some()
            }
            Ok(Made::Terminating(held_by)) => {
                return self.failures.push(Failure::of_terminating_object(&want.object, held_by.as_deref()));
            }
            Ok(Made::HeldUp) => {
                if self.by_object.lasting(&want.object).is_some() {
                    self.stop_at_conflict();
                }
                return;
            }
            Ok(Made::NeverChanges(refusal)) => {
                return self.failures.push(Failure::of_immutable_object(&want.object, &refusal));
            }
            Ok(Made::Homeless) => return self.note_homeless(want),
            // It comes again.
            Ok(Made::Recreates(_) | Made::Differs) => return,
            Ok(Made::Unwanted) => {
                self.left.clear();
                return self.failures.push(Failure::of_unwanted_objects());
            }
            Err(failure) => {
                if failure.retry == Retry::Never {
                    self.refused.push(want.object.clone());
                }
                return self.failures.push(failure);
            }
        };
        if is_another && want.object.is_namespace() {
            // What was in the one before went with it.
            let lost = self.kept.extract_if(.., |kept| kept.object.is_in(&want.object));
            let lost: HashSet<ObjectKey> = lost.map(|lost| lost.object).collect();
            let is_lost = |want: &&Wanted| lost.contains(&want.object);
            self.left.extend(self.wanted.iter().filter(is_lost));
        }
    }

    /// Takes in that the Namespace of an object does not exist. One that was to be kept as it was applied is looked at again, and
    /// the object follows it: somebody deleted it, and nothing else says so where drift is not watched.
    fn note_homeless(&mut self, want: &Wanted) {
        let is_home = |kept: &AppliedObject| want.object.is_in(&kept.object);
        if self.kept.extract_if(.., |kept| is_home(kept)).count() == 0 {
            return self.failures.push(Failure::of_missing_namespace(&want.object));
        }
        let again = self.wanted.iter().filter(|other| want.object.is_in(&other.object) || other.object == want.object);
        let mut again: Vec<&Wanted> = again.collect();
        again.sort_by_key(|other| !other.object.is_namespace());
        again.into_iter().rev().for_each(|other| self.left.push_front(other));
    }

    /// Whether all wanted objects exist, even if others made them.
    pub fn is_ready(&self) -> bool {
        self.failures.is_empty() && self.conflicts.iter().all(|conflict| conflict.exists)
    }

    /// How it ends. `lost` says that objects went with a Namespace meanwhile, or that these drifted.
    pub fn end(mut self, lost: Option<HashSet<ObjectKey>>) -> Ending {
        self.applied.append(&mut self.kept);
        let conflicts = self.conflicts.into_iter().map(|conflict| conflict.failure);
        let mut failures: Vec<Failure> = conflicts.chain(self.not_ours).chain(self.failures).collect();
        if let Some(drifted) = lost {
            // What was found out about objects in Namespaces may be about deleted ones, so it is dropped. What was found out
            // about Namespaces is kept: without the uid, the next attempt would report the Namespace as made again, and two
            // lifecycles could restart each other for ever.
            self.applied.retain(|applied| applied.object.namespace.is_none() && !drifted.contains(&applied.object));
            failures.push(Failure::of_lost_objects());
        }
        match Failure::join(failures) {
            Some(failure) => Ending::Failed(failure, self.applied),
            None if self.waits => Ending::Waits,
            None => Ending::Done(self.applied),
        }
    }
}

/// Whether a failed attempt is recorded. One like the one before is recorded at the attempts 1, 2, 4, 8 and so on: a long
/// outage must not fill the log.
pub fn is_recorded(lifecycle: &Lifecycle, failure: &Failure, attempt: u32, applied: &[AppliedObject]) -> bool {
    is_news(lifecycle, failure) || has_object_news(lifecycle, applied) || attempt.is_power_of_two()
}

/// Whether an attempt applied something that is not recorded as it is now.
pub fn has_object_news(lifecycle: &Lifecycle, applied: &[AppliedObject]) -> bool {
    applied.iter().any(|object| {
        let held = lifecycle.holding(&object.object).and_then(|held| held.applied.as_ref());
        held.is_none_or(|held| held.uid != object.uid || held.digest != object.digest)
    })
}

/// Whether a failure is another one than that of the attempt before.
pub fn is_news(lifecycle: &Lifecycle, failure: &Failure) -> bool {
    lifecycle.failure.as_ref().is_none_or(|before| !says_the_same(&before.error, &failure.message))
}

/// Whether two messages say the same. An API server has several wordings for a webhook that does not answer in time,
/// and which one comes is chance.
fn says_the_same(one: &str, other: &str) -> bool {
    const TIMEOUTS: [&str; 2] = ["context deadline exceeded", "net/http: request canceled"];
    let cause = |message: &str| {
        let end = TIMEOUTS.iter().filter_map(|timeout| message.find(timeout)).min();
        (end.is_some(), message[..end.unwrap_or(message.len())].to_owned())
    };
    cause(one) == cause(other)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    #[test]
    fn a_timeout_is_the_same_in_whatever_words() {
        let timeout = "Secret/a: calling webhook: Post \"https://w\": ";
        let check = |one: &str, other: &str, expected: bool| {
            let said = |tail: &str| format!("{timeout}{tail}");
            assert_eq!(says_the_same(&said(one), &said(other)), expected, "{one}, {other}");
        };
        let canceled = "net/http: request canceled (Client.Timeout exceeded while awaiting headers)";
        check("context deadline exceeded", "context deadline exceeded (Client.Timeout exceeded)", true);
        check("context deadline exceeded", canceled, true);
        check("context deadline exceeded", "connection refused", false);
        check("connection refused", "connection refused", true);
        check("denied", "connection refused", false);
    }

    use lifeline_projections::happened::Happened;
    use lifeline_store::Offset;

    use super::*;
    use crate::reconcile::marks::Owner;
    use crate::reconcile::stories::object;
    use crate::rules::Handling;

    fn want(name: &str) -> Wanted {
        let (object, origin, handling) = (object(name), String::new(), Handling::default());
        Wanted {
            object,
            manifest: Arc::default(),
            digest: 7,
            origin,
            adopts: false,
            handling,
            is_defined_beside: false,
            has_open_types: false,
        }
    }

    fn applied(name: &str, uid: &str) -> AppliedObject {
        AppliedObject { object: object(name), uid: uid.into(), digest: 7, fields: 0 }
    }

    fn failure(message: &str) -> Failure {
        Failure { message: message.into(), retry: Retry::Slowly }
    }

    /// An attempt that applies the Namespace `n`, and keeps what is in it and one object elsewhere.
    fn attempt(wanted: &[Wanted; 3]) -> Attempt<'_> {
        let keep = vec![applied("n/a", "a"), applied("m/b", "b")];
        let plan = Plan { intend: Vec::new(), apply: vec![&wanted[0]], keep, remove: Vec::new() };
        let mut attempt = Attempt::new(&plan, wanted, Vec::new());
        assert_eq!(attempt.next_to_apply(), Some(&wanted[0]));
        attempt
    }

    #[test]
    fn what_was_in_a_namespace_that_is_another_one_now_is_applied_again() {
        let wanted = ["n", "n/a", "m/b"].map(want);
        let check = |recorded: Option<&str>, made: Result<Made, Failure>, [again, is_made, is_gone]: [bool; 3]| {
            let (mut attempt, case) = (attempt(&wanted), format!("{recorded:?}, {made:?}"));
            attempt.note(&wanted[0], recorded, made);
            assert_eq!(attempt.made, if is_made { vec![object("n")] } else { vec![] }, "{case}");
            assert_eq!(attempt.gone, if is_gone { vec![object("n")] } else { vec![] }, "{case}");
            assert_eq!(attempt.next_to_apply(), again.then_some(&wanted[1]), "{case}");
            assert_eq!(attempt.next_to_apply(), None, "{case}");
        };
        let lives = |uid: &str| Ok(Made::Applied(applied("n", uid)));
        let foreign = || Ok(Made::Foreign(Owner::Stranger));
        check(Some("live"), lives("live"), [false, false, false]);
        check(Some("before"), lives("live"), [true, true, false]);
        check(None, lives("live"), [true, true, false]);
        check(Some("before"), foreign(), [true, false, true]);
        check(None, foreign(), [false, false, false]);
        check(Some("live"), Ok(Made::Terminating(None)), [false, false, false]);
        check(Some("live"), Ok(Made::HeldUp), [false, false, false]);
        check(Some("live"), Ok(Made::Unwanted), [false, false, false]);
        check(Some("live"), Err(failure("no")), [false, false, false]);
    }

    #[test]
    fn a_namespace_that_was_to_be_kept_and_is_gone_is_applied_again_before_what_is_in_it() {
        let wanted = ["n", "n/a", "n/c"].map(want);
        let check = |kept: &[&str], again: &[usize]| {
            let keep = kept.iter().map(|name| applied(name, "live")).collect();
            let apply = vec![&wanted[1]];
            let plan = Plan { intend: Vec::new(), apply, keep, remove: Vec::new() };
            let mut attempt = Attempt::new(&plan, &wanted, Vec::new());
            let first = attempt.next_to_apply().expect("there is one");
            attempt.note(first, None, Ok(Made::Homeless));
            let left: Vec<_> = std::iter::from_fn(|| attempt.next_to_apply()).collect();
            assert_eq!(left, again.iter().map(|at| &wanted[*at]).collect::<Vec<_>>(), "{kept:?}");
            assert_eq!(attempt.is_ready(), !again.is_empty(), "{kept:?}");
        };
        check(&["n", "n/c"], &[0, 1]);
        // It was applied just now, or is not the lifecycle's.
        check(&["n/c"], &[]);
    }

    #[test]
    fn nothing_more_is_applied_for_a_lifecycle_that_wants_no_objects() {
        let wanted = ["n", "m"].map(want);
        let plan = Plan { intend: Vec::new(), apply: wanted.iter().collect(), keep: Vec::new(), remove: Vec::new() };
        let check = |made: Made, goes_on: bool| {
            let mut attempt = Attempt::new(&plan, &wanted, Vec::new());
            let first = attempt.next_to_apply().expect("there are two");
            attempt.note(first, None, Ok(made.clone()));
            assert_eq!(attempt.next_to_apply().is_some(), goes_on, "{made:?}");
        };
        check(Made::Unwanted, false);
        check(Made::Terminating(None), true);
        check(Made::HeldUp, true);
    }

    #[test]
    fn an_attempt_ends_well_only_if_nothing_failed_waits_or_was_lost() {
        let wanted = ["n", "n/a", "m/b"].map(want);
        let (lives, foreign) = (|| Ok(Made::Applied(applied("n", "live"))), || Ok(Made::Foreign(Owner::Stranger)));
        let is_foreign = Failure::of_foreign_object(&object("n"), &Owner::Stranger);
        let check = |made, failed: &[&str], waits: bool, has_lost: bool, is_ready: bool, ending: Ending| {
            let (mut attempt, case) = (attempt(&wanted), format!("{made:?}, {failed:?}, {waits}, {has_lost}"));
            attempt.note(&wanted[0], Some("live"), made);
            assert_eq!(attempt.is_ready(), is_ready, "{case}");
            attempt.failures.extend(failed.iter().map(|message| failure(message)));
            attempt.waits = waits;
            assert_eq!(attempt.end(has_lost.then(HashSet::new)), ending, "{case}");
        };
        let [n, a, b] = [applied("n", "live"), applied("n/a", "a"), applied("m/b", "b")];
        let failed = |failures: Vec<Failure>, applied: &[&AppliedObject]| {
            let failure = Failure::join(failures).expect("there is one");
            Ending::Failed(failure, applied.iter().copied().cloned().collect())
        };
        let (no, lost) = (failure("no"), Failure::of_lost_objects());
        let terminating = Failure::of_terminating_object(&object("n"), None);
        check(lives(), &[], false, false, true, Ending::Done(vec![n.clone(), a.clone(), b.clone()]));
        check(lives(), &[], true, false, true, Ending::Waits);
        check(lives(), &["no"], true, false, true, failed(vec![no.clone()], &[&n, &a, &b]));
        // What is known of objects in Namespaces may be about deleted ones.
        check(lives(), &[], false, true, true, failed(vec![lost.clone()], &[&n]));
        check(lives(), &["no"], false, true, true, failed(vec![no.clone(), lost], &[&n]));
        // An object of another owner exists, so what is no longer wanted may go.
        check(foreign(), &["no"], false, false, true, failed(vec![is_foreign, no], &[&b]));
        check(Ok(Made::Terminating(None)), &[], false, false, false, failed(vec![terminating], &[&a, &b]));
    }

    #[test]
    fn a_failure_like_the_one_before_is_recorded_less_and_less() {
        let mut lifecycle = Lifecycle::new("t", "c");
        let check = |lifecycle: &Lifecycle, message: &str, attempt: u32, objects: &[AppliedObject], expected: bool| {
            let found = is_recorded(lifecycle, &failure(message), attempt, objects);
            assert_eq!(found, expected, "{message}, attempt {attempt}, {objects:?}");
        };
        lifecycle.evolve(Offset::ZERO, 0, Happened::DecidedCreate);
        check(&lifecycle, "no", 3, &[], true);
        let (acted_for, before) = (Offset::ZERO, [applied("n", "live")]);
        let failed = Happened::ApplyFailed { acted_for, objects: &before, error: "no", attempt: 1, transient: true };
        lifecycle.evolve(Offset::new(1), 0, failed);
        let recorded = (1..20).filter(|attempt| is_recorded(&lifecycle, &failure("no"), *attempt, &before));
        assert_eq!(recorded.collect::<Vec<_>>(), [1, 2, 4, 8, 16]);
        check(&lifecycle, "another", 3, &before, true);
        check(&lifecycle, "no", 3, &[], false);
        check(&lifecycle, "no", 3, &[applied("n", "another")], true);
        check(&lifecycle, "no", 3, &[applied("m", "live")], true);
        check(&lifecycle, "no", 3, &[AppliedObject { digest: 8, ..applied("n", "live") }], true);
    }
}
