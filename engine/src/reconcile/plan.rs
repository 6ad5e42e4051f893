//! What has to be done to a cluster so that one lifecycle is as desired.
//!
//! Start at [`plan`]: the lifecycle's inventory and the wanted manifests in, a list of intentions out; [`removal`] says
//! what to do about one object that is to go. Pure and total: neither asks the cluster or the time.

use std::sync::Arc;

use lifeline_projections::fact::{AppliedObject, LifecycleKey, ObjectKey};
use lifeline_projections::lifecycle::{Applied, Holding, Lifecycle};
use serde_json::Value;

use crate::cluster::LiveObject;
use crate::reconcile::marks::{self, Owner};

/// An object that shall exist.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Its name.
    pub object: ObjectKey,
    /// The whole manifest, marked.
    pub manifest: Arc<Value>,
    /// Checksum of the manifest.
    pub digest: u64,
    /// Which template gave it, for messages.
    pub origin: String,
    /// Whether an object that Lifeline did not make may be taken over.
    pub adopts: bool,
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan<'a> {
    /// Objects that are about to be changed or removed: recorded before the first call. New ones join the inventory; the
    /// checksums of the others are forgotten.
    pub intend: Vec<ObjectKey>,
    /// Objects to apply, those that others need first.
    pub apply: Vec<&'a Wanted>,
    /// Objects that were applied just like this before.
    pub keep: Vec<AppliedObject>,
    /// Objects that are no longer wanted, those that others need last.
    pub remove: Vec<&'a Holding>,
}

/// Compares what is wanted with what is held.
///
/// An object whose manifest has the checksum it was last applied with is kept without a call: replaying history costs
/// the API server nothing. A recorded checksum must therefore never outlive the state it describes: it is forgotten in
/// the log before each change or removal. A crash, a lost answer, or rules that change and change back then cost one
/// more call. With `once` (`syncMode: OneTime`) what was applied is kept whatever it would be now.
#[must_use]
pub fn plan<'a>(lifecycle: &'a Lifecycle, wanted: &'a [Wanted], once: bool) -> Plan<'a> {
    let mut plan = Plan { intend: Vec::new(), apply: Vec::new(), keep: Vec::new(), remove: Vec::new() };
    for want in wanted {
        let held = lifecycle.holding(&want.object);
        match held.map(|holding| &holding.applied) {
            None => {
                plan.intend.push(want.object.clone());
                plan.apply.push(want);
            }
            Some(None) => plan.apply.push(want),
            Some(Some(applied)) if applied.digest == want.digest || (once && applied.is_known()) => {
                let (object, uid, digest) = (want.object.clone(), applied.uid.clone(), applied.digest);
                plan.keep.push(AppliedObject { object, uid, digest });
            }
            Some(Some(applied)) => {
                if applied.is_known() {
                    plan.intend.push(want.object.clone());
                }
                plan.apply.push(want);
            }
        }
    }
    plan.apply.sort_by_key(|want| (rank(&want.object), want.object.clone()));
    plan.remove =
        lifecycle.inventory.iter().filter(|holding| wanted.iter().all(|want| want.object != holding.object)).collect();
    plan.remove.sort_by_key(|holding| std::cmp::Reverse((rank(&holding.object), holding.object.clone())));
    let is_known = |holding: &&&Holding| holding.applied.as_ref().is_some_and(Applied::is_known);
    plan.intend.extend(plan.remove.iter().filter(is_known).map(|holding| holding.object.clone()));
    plan
}

/// What [`removal`] has to know beside the object itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claims {
    /// Another lifecycle with [`Desired::Present`](lifeline_projections::lifecycle::Desired) claims the object too.
    pub has_heir: bool,
    /// The marks name another lifecycle, and the first claim takes precedence over them.
    pub outranks_marks: bool,
    /// The lifecycle was decided again since the removal was planned, and may want the object again.
    pub is_overtaken: bool,
}

/// What to do about an object that is held and no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal<'a> {
    /// Nothing: it is no more.
    Gone,
    /// Nothing: it belongs to another owner. The claim ends.
    Release,
    /// Nothing: another lifecycle takes it over. The claim ends, if the other one still exists when that is recorded.
    HandOver,
    /// Nothing but look again: it is on its way out, or may be wanted again.
    Wait,
    /// Delete it.
    Delete {
        /// The identity it lives under.
        uid: &'a str,
    },
}

/// Decides by what is found under the object's name. The lifecycle's claim has to be the first.
///
/// The marks say whose a live object is, because the answer of an apply may have been lost, and with it the uid. An object
/// that was just taken over still has the marks of the lifecycle before. An object without marks is ours if its uid is the
/// recorded one.
#[must_use]
pub fn removal<'a>(holding: &Holding, live: Option<&'a LiveObject>, key: &LifecycleKey, claims: Claims) -> Removal<'a> {
    let Some(live) = live else { return Removal::Gone };
    let known = holding.applied.as_ref();
    let is_known = known.is_some_and(|applied| applied.uid == live.uid);
    let is_ours = match marks::owner(live, key) {
        Owner::Us => true,
        Owner::Other { .. } => claims.outranks_marks,
        Owner::Stranger => is_known,
    };
    if !is_ours {
        // The object found stays. If another uid was recorded, ours is gone.
        return if known.is_some() && !is_known { Removal::Gone } else { Removal::Release };
    }
    // A deletion that was asked for takes its time; an object that may be wanted again is not deleted.
    if live.deleting || claims.is_overtaken {
        return Removal::Wait;
    }
    if claims.has_heir { Removal::HandOver } else { Removal::Delete { uid: &live.uid } }
}

/// What other objects need comes first: namespaces, then definitions, then identities and configuration.
fn rank(object: &ObjectKey) -> u8 {
    match object.kind.as_str() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "ServiceAccount" | "ConfigMap" | "Secret" => 2,
        "Role" | "ClusterRole" => 3,
        "RoleBinding" | "ClusterRoleBinding" => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use lifeline_projections::fact::ResourceKey;
    use lifeline_projections::happened::Happened;
    use lifeline_projections::lifecycle::DIGEST_UNKNOWN;
    use lifeline_store::Offset;
    use serde_json::json;

    use super::*;
    use crate::reconcile::marks::Marks;

    fn object(kind: &str, name: &str) -> ObjectKey {
        ObjectKey { group: "".into(), version: "v1".into(), kind: kind.into(), namespace: None, name: name.into() }
    }

    fn want(kind: &str, name: &str, digest: u64) -> Wanted {
        Wanted { object: object(kind, name), manifest: Arc::default(), digest, origin: String::new(), adopts: false }
    }

    /// Holds `applied` (with digest) and `intended`, wants `wanted`; compares the four lists by object name.
    fn check(applied: &[(&str, &str, u64)], intended: &[(&str, &str)], wanted: &[Wanted], expected: [&[&str]; 4]) {
        check_mode(false, applied, intended, wanted, expected);
    }

    fn check_mode(
        once: bool,
        applied: &[(&str, &str, u64)],
        intended: &[(&str, &str)],
        wanted: &[Wanted],
        expected: [&[&str]; 4],
    ) {
        let mut lifecycle = Lifecycle::new("t", "c");
        let claims: Vec<ObjectKey> = intended.iter().map(|(kind, name)| object(kind, name)).collect();
        lifecycle.evolve(Offset::from(0), 0, Happened::DecidedCreate);
        lifecycle.evolve(Offset::from(1), 0, Happened::ApplyIntended(&claims));
        let done: Vec<AppliedObject> = applied
            .iter()
            .map(|(kind, name, digest)| AppliedObject {
                object: object(kind, name),
                uid: (*name).into(),
                digest: *digest,
            })
            .collect();
        lifecycle.evolve(Offset::from(2), 0, Happened::Applied { acted_for: Offset::from(0), objects: &done });
        let plan = plan(&lifecycle, wanted, once);
        let intend: Vec<&str> = plan.intend.iter().map(|object| object.name.as_str()).collect();
        let apply: Vec<&str> = plan.apply.iter().map(|want| want.object.name.as_str()).collect();
        let keep: Vec<&str> = plan.keep.iter().map(|kept| kept.object.name.as_str()).collect();
        let remove: Vec<&str> = plan.remove.iter().map(|holding| holding.object.name.as_str()).collect();
        assert_eq!([&intend[..], &apply, &keep, &remove], expected);
    }

    #[test]
    fn what_is_held_and_wanted_decides() {
        check(&[], &[], &[], [&[], &[], &[], &[]]);
        check(&[], &[], &[want("Namespace", "a", 1)], [&["a"], &["a"], &[], &[]]);
        check(&[], &[("Namespace", "a")], &[want("Namespace", "a", 1)], [&[], &["a"], &[], &[]]);
        check(&[("Namespace", "a", 1)], &[], &[want("Namespace", "a", 1)], [&[], &[], &["a"], &[]]);
        check(&[("Namespace", "a", 1)], &[], &[want("Namespace", "a", 2)], [&["a"], &["a"], &[], &[]]);
        check(&[("Namespace", "a", DIGEST_UNKNOWN)], &[], &[want("Namespace", "a", 2)], [&[], &["a"], &[], &[]]);
        check(&[("Namespace", "a", 1)], &[("Namespace", "b")], &[], [&["a"], &[], &[], &["b", "a"]]);
        check(&[("Namespace", "a", DIGEST_UNKNOWN)], &[], &[], [&[], &[], &[], &["a"]]);
    }

    #[test]
    fn what_is_applied_once_is_left_as_it_is() {
        let wanted = [want("Namespace", "a", 2), want("Pod", "b", 1)];
        check_mode(true, &[("Namespace", "a", 1)], &[], &wanted, [&["b"], &["b"], &["a"], &[]]);
    }

    #[test]
    fn only_what_is_ours_is_deleted_and_what_never_was_is_let_go() {
        let key = |subject: &str| {
            let resource = ResourceKey { source: "auth".into(), subject: subject.into() };
            LifecycleKey { trigger: "t".into(), cluster: "mgmt/mgmt".into(), resource }
        };
        // Found under the uid `live`: made by nobody we know, by this lifecycle, or by that of another subject.
        let (stranger, ours, others) = (None, Some("zoe"), Some("ann"));
        let check_claims =
            |applied: Option<&str>, found: Option<(Option<&str>, bool)>, claims: Claims, expected: Removal<'_>| {
                let applied = applied.map(|uid| {
                    let (digest, acted_for) = (DIGEST_UNKNOWN, Offset::ZERO);
                    Applied { uid: uid.into(), digest, acted_for, unix_nanos: 0 }
                });
                let holding = Holding { object: object("Namespace", "a"), since: Offset::ZERO, applied };
                let live = found.map(|(made_by, deleting)| {
                    let mut manifest = json!({"metadata": {"name": "a"}});
                    if let Some(subject) = made_by {
                        Marks { key: &key(subject), event: Offset::ZERO }.mark(&mut manifest);
                    }
                    LiveObject { uid: "live".into(), deleting, manifest }
                });
                assert_eq!(
                    removal(&holding, live.as_ref(), &key("zoe"), claims),
                    expected,
                    "{applied:?}, {found:?}, {claims:?}",
                    applied = holding.applied
                );
            };
        let alone = Claims::default();
        let check = |applied, found, expected| check_claims(applied, found, alone, expected);
        let delete = Removal::Delete { uid: "live" };
        check(None, None, Removal::Gone);
        check(Some("live"), None, Removal::Gone);
        check(None, Some((stranger, false)), Removal::Release);
        check(None, Some((others, false)), Removal::Release);
        check(None, Some((others, true)), Removal::Release);
        check(None, Some((ours, false)), delete);
        check(Some("before"), Some((stranger, false)), Removal::Gone);
        check(Some("before"), Some((others, false)), Removal::Gone);
        check(Some("before"), Some((ours, false)), delete);
        check(Some("live"), Some((stranger, false)), delete);
        check(Some("live"), Some((others, false)), Removal::Release);
        check(Some("live"), Some((ours, true)), Removal::Wait);
        check(None, Some((ours, true)), Removal::Wait);

        // Another lifecycle wants it: it is handed over, unless it is on its way out already.
        let wanted = Claims { has_heir: true, ..alone };
        check_claims(Some("live"), Some((ours, false)), wanted, Removal::HandOver);
        check_claims(None, Some((ours, false)), wanted, Removal::HandOver);
        check_claims(Some("live"), Some((ours, true)), wanted, Removal::Wait);
        check_claims(Some("live"), None, wanted, Removal::Gone);

        // Decided again meanwhile, we may want it ourselves.
        let overtaken = Claims { is_overtaken: true, ..alone };
        check_claims(Some("live"), Some((ours, false)), overtaken, Removal::Wait);
        check_claims(Some("live"), None, overtaken, Removal::Gone);

        // It was handed over to us, and we no longer want it before we ever applied it.
        let inherited = Claims { outranks_marks: true, ..alone };
        check_claims(None, Some((others, false)), inherited, delete);
        check_claims(None, Some((others, true)), inherited, Removal::Wait);
        check_claims(None, Some((stranger, false)), inherited, Removal::Release);
        check_claims(None, Some((others, false)), Claims { has_heir: true, ..inherited }, Removal::HandOver);
    }

    #[test]
    fn a_namespace_comes_first_and_goes_last() {
        let wanted = [want("Role", "r", 1), want("Pod", "p", 1), want("Namespace", "n", 1)];
        check(&[], &[], &wanted, [&["r", "p", "n"], &["n", "r", "p"], &[], &[]]);
        let held = [("Namespace", "n", 1), ("Pod", "p", 1), ("Role", "r", 1)];
        check(&held, &[], &[], [&["p", "r", "n"], &[], &[], &["p", "r", "n"]]);
    }
}
