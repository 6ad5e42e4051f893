//! Whether what a watch says of an object may be drift, and what a look at it then tells.
//!
//! Start at [`suspicion`], which costs nothing, and [`verdict`], which needs the object as it is now. Pure and total.
//!
//! A watch is late: it may speak of an object as it was before our own last apply, and of an apply whose outcome is not
//! recorded yet. So what a watch says is a suspicion only. The object is looked at, and what is recorded of it has to be
//! the same before and after that look.

use lifeline_projections::fact::Drift;
use lifeline_projections::lifecycle::Applied;
use serde_json::Value;

use super::fields::{checksum, is_ignored, is_incomparable, recorded};
use crate::cluster::{Kind, LiveObject};

/// What a watch, or what is missing in a list, says of an object, in few bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It is there.
    Is {
        /// Its identity.
        uid: String,
        /// The checksum of the fields that are ours.
        fields: u64,
        /// It is being deleted; a finalizer may hold it for ever. A Job or a Pod is judged when it is gone.
        deleting: bool,
        /// It asks not to be watched.
        ignored: bool,
        /// It was seen in a list of all objects: that comes now and then, and not because of a change.
        listed: bool,
    },
    /// It went, or lost our label.
    Gone {
        /// The identity that it had.
        uid: String,
        /// It had ended by itself: a Job or a Pod that is done may be removed.
        finished: bool,
        /// It asked not to be watched.
        ignored: bool,
    },
    /// A list of all objects does not name it.
    Missing,
    /// Nothing was seen. Somebody asked to put back what others did to it.
    Asked,
}

/// What follows from a sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// Nothing.
    None,
    /// It is asked again when it is recorded what came of an apply.
    Later,
    /// It is to be looked at.
    Look,
    /// The checksum of the last apply is not known. One more apply makes it known.
    Unmeasured,
}

/// What a look tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it was applied, or not to be put back.
    AsApplied,
    /// The checksum of the last apply is not known.
    Unmeasured,
    /// It is not as it was applied: what happened, and which field manager did it.
    Drifted(Drift, Option<String>),
}

impl Sight {
    /// What is seen of an object that is there.
    #[must_use]
    pub fn of(live: &LiveObject, excluded: &[Vec<String>], listed: bool) -> Sight {
        let (uid, fields) = (live.uid.clone(), checksum(&live.managed, excluded));
        Sight::Is { uid, fields, deleting: live.deleting, ignored: is_ignored(live), listed }
    }

    /// What is seen of one that went.
    #[must_use]
    pub fn gone(live: &LiveObject) -> Sight {
        Sight::Gone { uid: live.uid.clone(), finished: is_finished(live), ignored: is_ignored(live) }
    }
}

/// Whether what is seen may be drift. `applied` is what is recorded of the object.
#[must_use]
pub fn suspicion(sight: &Sight, kind: &Kind, applied: Option<&Applied>) -> Suspicion {
    let Some(applied) = applied.filter(|applied| applied.is_known()) else { return Suspicion::Later };
    match sight {
        Sight::Is { ignored: true, .. } => Suspicion::None,
        Sight::Is { deleting: true, .. } if kind.can_finish() => Suspicion::None,
        Sight::Is { uid, deleting, .. } if *deleting || *uid != applied.uid => Suspicion::Look,
        Sight::Is { fields, listed, .. } => match recorded(applied.fields, *fields) {
            (before, _) if is_incomparable(before, *fields) => Suspicion::Unmeasured,
            // What changed it may be gone. Each change would come back as one, so only a list is the time to try.
            (before, true) if before == *fields && *listed => Suspicion::Unmeasured,
            (before, _) if before == *fields => Suspicion::None,
            (_, _) => Suspicion::Look,
        },
        Sight::Gone { uid, finished, ignored } if *uid != applied.uid || *finished || *ignored => Suspicion::None,
        Sight::Gone { .. } => Suspicion::Look,
        // Whether it had ended is not known any more, and nothing that had may run again.
        Sight::Missing if kind.can_finish() => Suspicion::None,
        Sight::Missing | Sight::Asked => Suspicion::Look,
    }
}

/// What a look tells after a sight that gave [`Suspicion::Look`].
#[must_use]
pub fn verdict(
    sight: &Sight,
    kind: &Kind,
    applied: &Applied,
    live: Option<&LiveObject>,
    excluded: &[Vec<String>],
) -> Verdict {
    let Some(live) = live.filter(|live| live.uid == applied.uid) else {
        // One that can finish may have done so after the sight: it counts as deleted only where it was seen to go.
        let was_seen_to_go = matches!(sight, Sight::Gone { finished: false, .. });
        let is_drift = was_seen_to_go || !kind.can_finish();
        return if is_drift { Verdict::Drifted(Drift::Deleted, None) } else { Verdict::AsApplied };
    };
    let fields = checksum(&live.managed, excluded);
    let (before, is_altered) = recorded(applied.fields, fields);
    let is_tried_again = is_altered && matches!(sight, Sight::Is { listed: true, .. });
    match () {
        () if is_ignored(live) || (live.deleting && kind.can_finish()) => Verdict::AsApplied,
        // Who deleted it is nowhere.
        () if live.deleting => Verdict::Drifted(Drift::Deleted, None),
        () if before == fields && !is_tried_again => Verdict::AsApplied,
        () if before == fields || is_incomparable(before, fields) => Verdict::Unmeasured,
        () => Verdict::Drifted(Drift::Changed, live.managed.last_other.clone()),
    }
}

/// Whether a Job or a Pod has ended, well or not.
fn is_finished(live: &LiveObject) -> bool {
    let status = &live.manifest["status"];
    let is_end = |condition: &Value| {
        matches!(condition["type"].as_str(), Some("Complete" | "Failed")) && condition["status"] == "True"
    };
    match live.manifest["kind"].as_str() {
        Some("Job") => status["conditions"].as_array().is_some_and(|conditions| conditions.iter().any(is_end)),
        Some("Pod") => matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use lifeline_projections::lifecycle::DIGEST_UNKNOWN;
    use lifeline_store::Offset;
    use serde_json::json;

    use super::super::fields::as_altered;
    use super::*;
    use crate::cluster::Managed;

    fn kind(group: &str, kind: &str) -> Kind {
        Kind { group: group.into(), version: "v1".into(), kind: kind.into() }
    }

    fn live(uid: &str, ours: Value) -> LiveObject {
        let managed = Managed { ours, last_other: Some("kubectl-edit".into()), ..Managed::default() };
        LiveObject { uid: uid.into(), deleting: false, manifest: json!({}), managed }
    }

    fn applied() -> Applied {
        let fields = checksum(&live("u", json!({"f:a": {}})).managed, &[]);
        Applied { uid: "u".into(), digest: 7, acted_for: Offset::ZERO, unix_nanos: 0, fields }
    }

    fn seen(uid: &str, ours: Value) -> Sight {
        Sight::of(&live(uid, ours), &[], false)
    }

    fn gone(uid: &str, finished: bool) -> Sight {
        Sight::Gone { uid: uid.into(), finished, ignored: false }
    }

    #[test]
    fn only_what_differs_from_what_is_recorded_is_suspicious() {
        let [map, job] = [kind("", "ConfigMap"), kind("batch", "Job")];
        let check = |sight: Sight, kind: &Kind, applied: Option<&Applied>, expected: Suspicion| {
            assert_eq!(suspicion(&sight, kind, applied), expected, "{sight:?}, {kind:?}, {applied:?}");
        };
        let ours = || json!({"f:a": {}});
        let known = applied();
        // The echo of an apply whose outcome is not recorded yet.
        check(seen("u", ours()), &map, None, Suspicion::Later);
        check(gone("u", false), &map, Some(&Applied { digest: DIGEST_UNKNOWN, ..known.clone() }), Suspicion::Later);
        check(seen("u", ours()), &map, Some(&known), Suspicion::None);
        check(seen("u", json!({})), &map, Some(&known), Suspicion::Look);
        check(seen("u", Value::Null), &map, Some(&known), Suspicion::Look);
        check(seen("other", ours()), &map, Some(&known), Suspicion::Look);
        check(seen("u", ours()), &map, Some(&Applied { fields: 0, ..known.clone() }), Suspicion::Unmeasured);
        let going = LiveObject { deleting: true, ..live("u", json!({})) };
        check(Sight::of(&going, &[], false), &map, Some(&known), Suspicion::Look);
        check(Sight::of(&going, &[], false), &map, None, Suspicion::Later);
        // It may have ended: that is seen when it goes.
        check(Sight::of(&going, &[], false), &job, Some(&known), Suspicion::None);
        // The cluster changed it as it took it. That is tried again now and then, and drift is seen as ever.
        let altered = Applied { fields: as_altered(known.fields), ..known.clone() };
        let listed = |ours: Value| Sight::of(&live("u", ours), &[], true);
        check(seen("u", ours()), &map, Some(&altered), Suspicion::None);
        check(listed(ours()), &map, Some(&altered), Suspicion::Unmeasured);
        check(listed(ours()), &map, Some(&known), Suspicion::None);
        check(seen("u", json!({})), &map, Some(&altered), Suspicion::Look);
        // An earlier object of the name.
        check(gone("before", false), &map, Some(&known), Suspicion::None);
        check(gone("u", false), &map, Some(&known), Suspicion::Look);
        check(gone("u", false), &job, Some(&known), Suspicion::Look);
        check(gone("u", true), &job, Some(&known), Suspicion::None);
        check(Sight::Missing, &map, Some(&known), Suspicion::Look);
        check(Sight::Missing, &job, Some(&known), Suspicion::None);
    }

    #[test]
    fn a_look_tells_what_happened_and_by_whom() {
        let [map, job] = [kind("", "ConfigMap"), kind("batch", "Job")];
        let known = applied();
        let check = |sight: Sight, kind: &Kind, now: Option<LiveObject>, expected: Verdict| {
            assert_eq!(verdict(&sight, kind, &known, now.as_ref(), &[]), expected, "{sight:?}, {kind:?}, {now:?}");
        };
        let deleted = || Verdict::Drifted(Drift::Deleted, None);
        let changed = || Verdict::Drifted(Drift::Changed, Some("kubectl-edit".into()));
        check(gone("u", false), &map, None, deleted());
        check(Sight::Missing, &map, None, deleted());
        check(gone("u", false), &map, Some(live("other", Value::Null)), deleted());
        check(gone("u", false), &job, None, deleted());
        // Of this Job only a change was seen. It may have ended since.
        check(seen("u", json!({})), &job, None, Verdict::AsApplied);
        // It lost our label and nothing else: the label was ours.
        check(gone("u", false), &map, Some(live("u", json!({}))), changed());
        check(seen("u", json!({})), &map, Some(live("u", json!({}))), changed());
        // It was put back meanwhile.
        check(seen("u", json!({})), &map, Some(live("u", json!({"f:a": {}}))), Verdict::AsApplied);
        let going = LiveObject { deleting: true, ..live("u", json!({})) };
        check(Sight::of(&going, &[], false), &job, Some(going.clone()), Verdict::AsApplied);
        check(Sight::of(&going, &[], false), &map, Some(going), deleted());
    }

    #[test]
    fn what_the_cluster_changed_is_tried_again_when_it_is_listed() {
        let (map, known) = (kind("", "ConfigMap"), applied());
        let altered = Applied { fields: as_altered(known.fields), ..known.clone() };
        let check = |listed: bool, now: Value, applied: &Applied, expected: Verdict| {
            let now = live("u", now);
            let sight = Sight::of(&now, &[], listed);
            assert_eq!(verdict(&sight, &map, applied, Some(&now), &[]), expected, "{sight:?} {applied:?}");
        };
        let ours = || json!({"f:a": {}});
        check(false, ours(), &altered, Verdict::AsApplied);
        check(true, ours(), &altered, Verdict::Unmeasured);
        check(true, ours(), &known, Verdict::AsApplied);
        check(true, json!({}), &altered, Verdict::Drifted(Drift::Changed, Some("kubectl-edit".into())));
    }

    #[test]
    fn a_job_or_pod_that_has_ended_is_finished() {
        let check = |manifest: Value, expected: bool| {
            let live = LiveObject { manifest: manifest.clone(), ..live("u", Value::Null) };
            assert_eq!(is_finished(&live), expected, "{manifest}");
        };
        let job = |kind: &str, status: &str| json!({"kind": "Job", "status": {"conditions": [{"type": kind, "status": status}]}});
        check(job("Complete", "True"), true);
        check(job("Failed", "True"), true);
        check(job("Suspended", "True"), false);
        check(job("Complete", "False"), false);
        check(json!({"kind": "Job"}), false);
        check(json!({"kind": "Pod", "status": {"phase": "Succeeded"}}), true);
        check(json!({"kind": "Pod", "status": {"phase": "Running"}}), false);
        check(json!({"kind": "ConfigMap", "status": {"phase": "Failed"}}), false);
    }
}
