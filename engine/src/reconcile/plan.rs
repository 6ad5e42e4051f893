//! What has to be done to a cluster so that one lifecycle is as desired.
//!
//! Start at [`plan`]: the lifecycle's inventory and the wanted manifests in, a list of intentions out. What is done about
//! each object, by what the cluster says of it, is decided in [`super::step`]. Pure and total.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lifeline_projections::fact::{AppliedObject, ObjectKey};
use lifeline_projections::lifecycle::{Applied, Holding, Lifecycle};
use lifeline_store::Offset;
use serde_json::Value;

use crate::cluster;
use crate::confidential::is_secret;
use crate::reconcile::failure::{Failure, Retry};
use crate::reconcile::recreate::may_recreate;
use crate::reconcile::render::MarkedManifest;
use crate::rules::Handling;
use crate::schema::Schema;

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
    /// What else may be done for it.
    pub handling: Handling,
    /// Its kind is defined by another of the wanted objects.
    pub is_defined_beside: bool,
    /// Some of its types are the cluster's to know, so what it refuses now may be right when it says more of the kind.
    pub has_open_types: bool,
}

/// The wanted objects of a lifecycle, while they are named one after the other. None is given twice.
#[derive(Debug, Default)]
pub(crate) struct Naming {
    wanted: Vec<Wanted>,
    /// Where each is among them.
    places: HashMap<ObjectKey, usize>,
}

impl Naming {
    /// Adds a manifest to those of its lifecycle, under the name that the cluster gives its object, with the types that the
    /// cluster says.
    ///
    /// # Errors
    /// When another one gives the object already.
    pub(crate) fn add(
        &mut self,
        marked: MarkedManifest,
        schema: Option<&Schema>,
        object: ObjectKey,
        is_defined_beside: bool,
        adopts: bool,
    ) -> Result<(), Failure> {
        let MarkedManifest { mut manifest, plain, digest, origin, handling } = marked;
        if let Some(twin) = self.places.insert(object.clone(), self.wanted.len()).map(|place| &self.wanted[place]) {
            let message = format!("{origin}: gives {object}, which {} gives already", twin.origin);
            return Err(Failure { message, retry: Retry::Never });
        }
        if let Some(schema) = schema {
            schema.fit(Arc::make_mut(&mut manifest), &plain);
        }
        let recreates = may_recreate(&object, &manifest, handling.recreates);
        let handling = Handling { recreates, ..handling };
        let has_open_types = !plain.is_empty();
        let wanted = Wanted { object, manifest, digest, origin, adopts, handling, is_defined_beside, has_open_types };
        self.wanted.push(wanted);
        Ok(())
    }

    /// All of them, in the order in which they were added.
    pub(crate) fn wanted(self) -> Vec<Wanted> {
        self.wanted
    }
}

impl Wanted {
    /// Whether no answer of the cluster may quote a value of it.
    pub(crate) fn hides_answers(&self) -> bool {
        self.handling.hides_values || is_secret(&self.manifest)
    }

    /// An error about it, without its values where no answer may quote them.
    pub(crate) fn worded(&self, error: cluster::Error) -> cluster::Error {
        if self.hides_answers() { error.without_values(&self.manifest) } else { error }
    }
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
                let Applied { uid, digest, fields, .. } = applied.clone();
                plan.keep.push(AppliedObject { object: want.object.clone(), uid, digest, fields });
            }
            Some(Some(applied)) => {
                if applied.is_known() {
                    plan.intend.push(want.object.clone());
                }
                plan.apply.push(want);
            }
        }
    }
    plan.apply.sort_by(|one, other| order(&one.object, &other.object));
    let names: HashSet<&ObjectKey> = wanted.iter().map(|want| &want.object).collect();
    plan.remove = lifecycle.inventory.iter().filter(|holding| !names.contains(&holding.object)).collect();
    plan.remove.sort_by(|one, other| order(&other.object, &one.object));
    let is_known = |holding: &&&Holding| holding.applied.as_ref().is_some_and(Applied::is_known);
    plan.intend.extend(plan.remove.iter().filter(is_known).map(|holding| holding.object.clone()));
    plan
}

impl<'a> Plan<'a> {
    /// Objects that would be kept, though there is an event that is newer than their last apply: somebody may have changed
    /// or deleted them since. They are to be looked at.
    pub fn look_again(&mut self, lifecycle: &Lifecycle, wanted: &'a [Wanted], event: Offset) -> HashSet<ObjectKey> {
        let is_older = |kept: &mut AppliedObject| {
            let applied = lifecycle.holding(&kept.object).and_then(|holding| holding.applied.as_ref());
            applied.is_some_and(|applied| applied.acted_for < event)
        };
        let looked_at: HashSet<ObjectKey> = self.keep.extract_if(.., is_older).map(|kept| kept.object).collect();
        self.apply.extend(wanted.iter().filter(|want| looked_at.contains(&want.object)));
        self.apply.sort_by(|one, other| order(&one.object, &other.object));
        looked_at
    }
}

/// Which of two objects comes first: one that others need, then by name.
fn order(one: &ObjectKey, other: &ObjectKey) -> Ordering {
    rank(one).cmp(&rank(other)).then_with(|| one.cmp(other))
}

/// What other objects need comes first: definitions, then namespaces, then identities and configuration.
pub fn rank(object: &ObjectKey) -> u8 {
    match object.kind.as_str() {
        "CustomResourceDefinition" => 0,
        "Namespace" => 1,
        "ServiceAccount" | "ConfigMap" | "Secret" => 2,
        "Role" | "ClusterRole" => 3,
        "RoleBinding" | "ClusterRoleBinding" => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use lifeline_projections::happened::Happened;
    use lifeline_projections::lifecycle::DIGEST_UNKNOWN;

    use super::*;

    fn object(kind: &str, name: &str) -> ObjectKey {
        ObjectKey { group: "".into(), version: "v1".into(), kind: kind.into(), namespace: None, name: name.into() }
    }

    fn want(kind: &str, name: &str, digest: u64) -> Wanted {
        let (object, origin, handling) = (object(kind, name), String::new(), Handling::default());
        Wanted {
            object,
            manifest: Arc::default(),
            digest,
            origin,
            adopts: false,
            handling,
            is_defined_beside: false,
            has_open_types: false,
        }
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
                fields: 0,
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
    fn a_namespace_comes_first_and_goes_last() {
        let wanted = [want("Role", "r", 1), want("Pod", "p", 1), want("Namespace", "n", 1)];
        check(&[], &[], &wanted, [&["r", "p", "n"], &["n", "r", "p"], &[], &[]]);
        let wanted = [want("Namespace", "n", 1), want("CustomResourceDefinition", "d", 1)];
        check(&[], &[], &wanted, [&["n", "d"], &["d", "n"], &[], &[]]);
        let held = [("Namespace", "n", 1), ("Pod", "p", 1), ("Role", "r", 1)];
        check(&held, &[], &[], [&["p", "r", "n"], &[], &[], &["p", "r", "n"]]);
    }
}
