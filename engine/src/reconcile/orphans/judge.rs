//! What becomes of an object with our marks that was found in a list: decided from the log alone.
//!
//! Start at [`verdict`]. Pure and total.

use lifeline_projections::lifecycle::Desired;

/// What the log says about an object with our marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Another instance of Lifeline applied it.
    pub(super) is_of_another_instance: bool,
    /// Somebody has asked for its deletion.
    pub(super) is_going: bool,
    /// Some lifecycle claims it, whichever.
    pub(super) is_claimed: bool,
    /// What shall hold for the lifecycle that its marks name, and whether that is carried out; `None` where there is none.
    pub(super) lifecycle: Option<(Desired, bool)>,
    /// It was applied after the event was published that wants it gone: the log does not know all that happened.
    pub(super) is_newer: bool,
    /// The trigger that its marks name.
    pub(super) trigger: Standing,
}

/// A trigger, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is in force, and all of history is decided by it.
    InForce,
    /// It is in force, and history is still being decided again.
    Replays,
    /// It is broken, or hidden by what cannot be read.
    OutOfForce,
    /// There is none.
    Absent,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it is claimed, is left as its trigger says, is on its way out, or belongs to another instance.
    Stays,
    /// Nothing yet: its lifecycle may claim it, or history is being decided again.
    Later,
    /// An event wants it gone: its lifecycle claims it, and so removes it.
    Goes,
    /// It is shown, for this reason, and stays until somebody confirms its deletion.
    Orphan(&'static str),
}

/// Decides about an object.
pub(super) fn verdict(found: Found) -> Verdict {
    if found.is_of_another_instance || found.is_going || found.is_claimed {
        return Verdict::Stays;
    }
    match found.lifecycle {
        Some((Desired::Left, _)) => Verdict::Stays,
        Some((Desired::Absent { event: Some(_) }, _)) if found.is_newer => {
            Verdict::Orphan("it was applied after the last event that is recorded")
        }
        // A logout counts, whatever else is not decided yet.
        Some((Desired::Absent { event: Some(_) }, _)) => Verdict::Goes,
        Some((Desired::Present { .. }, false)) => Verdict::Later,
        Some(_) | None if found.trigger == Standing::Replays => Verdict::Later,
        Some((Desired::Present { .. }, true)) => Verdict::Orphan("its trigger gives other objects"),
        Some((Desired::Absent { event: None }, _)) => Verdict::Orphan("changed rules withdrew its lifecycle"),
        None => Verdict::Orphan(match found.trigger {
            Standing::InForce | Standing::Replays => "no event about it is recorded",
            Standing::OutOfForce => "its trigger is not in force",
            Standing::Absent => "its trigger is gone",
        }),
    }
}

#[cfg(test)]
mod tests {
    use lifeline_store::Offset;

    use super::*;

    #[test]
    fn only_what_an_event_wants_gone_goes_and_what_nobody_claims_is_shown() {
        const PRESENT: Desired = Desired::Present { event: Offset::ZERO };
        const LOGGED_OUT: Desired = Desired::Absent { event: Some(Offset::ZERO) };
        const WITHDRAWN: Desired = Desired::Absent { event: None };
        use Standing::{Absent, InForce, OutOfForce, Replays};
        use Verdict::{Goes, Later, Orphan, Stays};
        let nothing = Found {
            is_of_another_instance: false,
            is_going: false,
            is_claimed: false,
            lifecycle: None,
            is_newer: false,
            trigger: InForce,
        };
        let check = |lifecycle: Option<(Desired, bool)>, trigger: Standing, expected: Verdict| {
            let found = Found { lifecycle, trigger, ..nothing };
            assert_eq!(verdict(found), expected, "{found:?}");
            // Whatever the log says of its lifecycle, none of these is touched or shown.
            for stays in [
                Found { is_of_another_instance: true, ..found },
                Found { is_going: true, ..found },
                Found { is_claimed: true, ..found },
            ] {
                assert_eq!(verdict(stays), Stays, "{stays:?}");
            }
        };
        let no_event = Orphan("no event about it is recorded");
        check(None, InForce, no_event);
        check(None, Replays, Later);
        check(None, OutOfForce, Orphan("its trigger is not in force"));
        check(None, Absent, Orphan("its trigger is gone"));
        for trigger in [InForce, Replays, OutOfForce, Absent] {
            check(Some((LOGGED_OUT, true)), trigger, Goes);
            check(Some((LOGGED_OUT, false)), trigger, Goes);
            check(Some((PRESENT, false)), trigger, Later);
            check(Some((Desired::Left, false)), trigger, Stays);
        }
        check(Some((PRESENT, true)), InForce, Orphan("its trigger gives other objects"));
        check(Some((PRESENT, true)), Replays, Later);
        check(Some((WITHDRAWN, true)), Absent, Orphan("changed rules withdrew its lifecycle"));
        let newer = Found { is_newer: true, lifecycle: Some((LOGGED_OUT, true)), ..nothing };
        assert_eq!(verdict(newer), Orphan("it was applied after the last event that is recorded"));
        assert_eq!(verdict(Found { is_newer: true, ..nothing }), no_event);
    }
}
