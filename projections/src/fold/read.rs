//! Reading: one resource by its key, many in the order of their keys, and the objects they claim.
//!
//! Start at [`Projection::candidates_from`]. A reader looks through a [`Sieve`], and decodes in full only what passes it.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use lifeline_store::Offset;

use super::{Claim, Latest, LifecycleIndex, Projection, Resource, ResourceIndex};
use crate::fact::{LifecycleKey, ObjectKey, ResourceKey};
use crate::lifecycle::{Desired, Head, Holding, Lifecycle, Phase};
use crate::storage::Stored;

/// What a reader looks for, as far as it can be checked before a resource is made whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sieve<'a> {
    /// The source begins with this.
    pub source: &'a str,
    /// The subject is this.
    pub subject: Option<&'a str>,
    /// One of its lifecycles is of this trigger, ...
    pub trigger: Option<&'a str>,
    /// ... on this cluster, ...
    pub cluster: Option<&'a str>,
    /// ... and in this phase, ...
    pub phase: Option<Phase>,
    /// ... and gone, or not.
    pub gone: Option<bool>,
}

impl Sieve<'_> {
    /// Whether a lifecycle is one that is looked for.
    #[must_use]
    pub fn wants(&self, trigger: &str, cluster: &str, phase: Phase) -> bool {
        self.trigger.is_none_or(|wanted| wanted == trigger)
            && self.cluster.is_none_or(|wanted| wanted == cluster)
            && self.phase.is_none_or(|wanted| wanted == phase)
            && self.gone.is_none_or(|wanted| wanted == (phase == Phase::Gone))
    }

    /// Whether a resource with these lifecycles passes, each by trigger, cluster and phase: one of them is looked for. A resource
    /// without lifecycles is not gone.
    pub fn wants_any<'l>(&self, lifecycles: impl Iterator<Item = (&'l str, &'l str, Phase)>) -> bool {
        let says_no_lifecycle = self.trigger.is_none() && self.cluster.is_none() && self.phase.is_none();
        if says_no_lifecycle && self.gone.is_none() {
            return true;
        }
        let mut lifecycles = lifecycles.peekable();
        if lifecycles.peek().is_none() {
            return says_no_lifecycle && self.gone == Some(false);
        }
        lifecycles.any(|(trigger, cluster, phase)| self.wants(trigger, cluster, phase))
    }
}

/// A resource that a reader comes by, in the order of keys.
#[derive(Debug, Clone)]
pub struct Candidate<'p> {
    /// CloudEvent source.
    pub source: &'p str,
    /// CloudEvent subject.
    pub subject: &'p str,
    /// The resource; `None` where the sieve leaves it out, or nothing is known of it.
    pub resource: Option<Resource>,
}

/// What is known of a resource's past without looking into the log.
#[derive(Debug, Clone)]
pub struct Trail {
    /// Its key.
    pub key: ResourceKey,
    /// Its number.
    pub index: ResourceIndex,
    /// The latest record that spoke of it.
    pub last_record: Offset,
    /// The resource as it is, where it was so already at the moment asked for.
    pub unchanged: Option<Resource>,
}

impl Projection {
    /// One resource.
    #[must_use]
    pub fn resource(&self, source: &str, subject: &str) -> Option<Resource> {
        Some(self.resources.get(self.resources.find(source, subject)?).resource())
    }

    /// The key and the state behind an index.
    #[must_use]
    pub fn lifecycle(&self, index: LifecycleIndex) -> (ResourceKey, Lifecycle) {
        let stored = self.resources.get(index.resource);
        (stored.key(), stored.lifecycle(index.slot))
    }

    /// What is known of the lifecycle behind an index without its inventory and its failure. Who asks for each of many objects
    /// asks for this, and not for the whole lifecycle.
    #[must_use]
    pub fn head(&self, index: LifecycleIndex) -> Head<'_> {
        self.resources.get(index.resource).head(index.slot)
    }

    /// The resource that the lifecycle behind an index is of.
    #[must_use]
    pub fn resource_key(&self, index: LifecycleIndex) -> ResourceKey {
        self.resources.get(index.resource).key()
    }

    /// The key of the lifecycle behind an index.
    #[must_use]
    pub fn lifecycle_key(&self, index: LifecycleIndex) -> LifecycleKey {
        let Head { trigger, cluster, .. } = self.head(index);
        LifecycleKey { trigger: (**trigger).into(), cluster: (**cluster).into(), resource: self.resource_key(index) }
    }

    /// What a lifecycle holds of an object, if it does. It is found without a look at all that is held.
    #[must_use]
    pub fn holding(&self, index: LifecycleIndex, object: &ObjectKey) -> Option<Holding> {
        self.resources.get(index.resource).holding(index.slot, object)
    }

    /// The cluster that a lifecycle is about.
    #[must_use]
    pub fn cluster_of(&self, index: LifecycleIndex) -> &str {
        let outline = self.resources.get(index.resource).outline().nth(index.slot as usize);
        outline.expect("an index is of a lifecycle that there is").1
    }

    /// What shall hold of a lifecycle, and a number that all lifecycles of its trigger on its cluster share, as long as this
    /// projection lives.
    #[must_use]
    pub fn errand(&self, index: LifecycleIndex) -> (u32, Desired) {
        self.resources.get(index.resource).errand(index.slot)
    }

    /// The index of a lifecycle, when there is one of that key.
    #[must_use]
    pub fn lifecycle_index(&self, key: &LifecycleKey) -> Option<LifecycleIndex> {
        let resource = self.resources.find(&key.resource.source, &key.resource.subject)?;
        let slot = self.resources.get(resource).slot(&key.trigger, &key.cluster)?;
        Some(LifecycleIndex { resource, slot })
    }

    /// The latest record about a resource; where the next record about it has to point back to.
    #[must_use]
    pub fn last_record(&self, source: &str, subject: &str) -> Option<Offset> {
        Some(self.resources.get(self.resources.find(source, subject)?).last_record())
    }

    /// What the next record about a resource is compared with; `None` where none spoke of it.
    #[must_use]
    pub fn latest(&self, source: &str, subject: &str) -> Option<Latest> {
        Some(self.resources.get(self.resources.find(source, subject)?).latest())
    }

    /// As [`Projection::latest`] of many resources, in the order asked; `None` also where no key is given. For a few
    /// dozen at once it is faster than one by one.
    pub fn latest_of_all<'k>(&self, keys: impl Iterator<Item = Option<(&'k str, &'k str)>>) -> Vec<Option<Latest>> {
        let found = self.resources.find_all(keys).into_iter();
        found.map(|found| found.map(|number| self.resources.get(number).latest())).collect()
    }

    /// What shall hold of a lifecycle, and the record that made it so; `None` where there is none.
    #[must_use]
    pub fn decision(&self, source: &str, subject: &str, trigger: &str, cluster: &str) -> Option<(Desired, Offset)> {
        self.resources.get(self.resources.find(source, subject)?).decision(trigger, cluster)
    }

    /// All resources, sorted by key.
    pub fn resources(&self) -> impl Iterator<Item = (ResourceKey, Resource)> {
        self.resources_from(Bound::Unbounded)
    }

    /// The resources from a key on, sorted by key.
    pub fn resources_from<'a>(
        &'a self,
        start: Bound<&'a ResourceKey>,
    ) -> impl Iterator<Item = (ResourceKey, Resource)> + use<'a> {
        let start = start.map(|key| (&*key.source, &*key.subject));
        self.stored(start, Sieve::default()).map(|(_, stored)| (stored.key(), stored.resource()))
    }

    /// The resources of the sieve's sources and subject from a key on, sorted by key, made whole where the rest of it leaves
    /// them.
    pub fn candidates_from<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
    ) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        self.stored(start, sieve).map(move |(_, stored)| {
            let resource = sieve.wants_any(stored.outline()).then(|| stored.resource());
            Candidate { source: stored.source(), subject: stored.subject(), resource }
        })
    }

    /// What leads to the state at `moment` of the resources of the sieve's sources and subject, sorted by key, from a key on.
    pub fn trails_from<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
        moment: Offset,
    ) -> impl Iterator<Item = Trail> + use<'a> {
        self.stored(start, sieve).map(move |(number, stored)| trail(number, stored, moment))
    }

    /// What leads to the past of one resource, at `moment`.
    #[must_use]
    pub fn trail(&self, source: &str, subject: &str, moment: Offset) -> Option<Trail> {
        let number = self.resources.find(source, subject)?;
        Some(trail(number, self.resources.get(number), moment))
    }

    /// What leads to the past of the resources of a subject whose sources begin with `source_prefix`; `None` where more than
    /// `sources_max` sources do.
    #[must_use]
    pub fn trails_called(&self, source_prefix: &str, subject: &str, sources_max: usize) -> Option<Vec<Trail>> {
        let numbers = self.resources.called(source_prefix, subject, sources_max)?;
        let trails = numbers.into_iter().map(|number| trail(number, self.resources.get(number), Offset::ZERO));
        Some(trails.collect())
    }

    /// Every lifecycle whose cluster may differ from what is desired, in the order in which their resources came up.
    pub fn needing_work(&self) -> impl Iterator<Item = LifecycleIndex> {
        self.open.iter().flat_map(|&resource| {
            self.resources.get(resource).needing_work().map(move |slot| LifecycleIndex { resource, slot })
        })
    }

    /// Shows each lifecycle of up to `resources_max` resources behind a key, sorted by key: its index, trigger and phase.
    /// Nothing is made whole. Gives the last key, where more resources may follow.
    pub fn visit_lifecycles(
        &self,
        behind: Option<&ResourceKey>,
        resources_max: usize,
        mut visit: impl FnMut(LifecycleIndex, &str, Phase),
    ) -> Option<ResourceKey> {
        let start = behind.map_or(Bound::Unbounded, |key| Bound::Excluded((&*key.source, &*key.subject)));
        let mut last = None;
        for (count, (resource, stored)) in self.stored(start, Sieve::default()).enumerate() {
            if count == resources_max {
                return last;
            }
            for (slot, (trigger, _, phase)) in (0..).zip(stored.outline()) {
                visit(LifecycleIndex { resource, slot }, trigger, phase);
            }
            if count + 1 == resources_max {
                last = Some(stored.key());
            }
        }
        None
    }

    /// Who claims an object, the earliest first: that one owns it.
    #[must_use]
    pub fn claims(&self, cluster: &str, object: &ObjectKey) -> Vec<Claim> {
        let mut claims = Vec::new();
        for resource in self.claimants.of(cluster, object) {
            let holders = self.resources.get(resource).holders(cluster, object);
            claims.extend(holders.map(|(slot, since)| Claim { since, lifecycle: LifecycleIndex { resource, slot } }));
        }
        claims.sort_unstable();
        claims
    }

    /// Who claims objects in these namespaces, each with those objects.
    #[must_use]
    pub fn claims_inside(&self, cluster: &str, namespaces: &BTreeSet<&str>) -> Vec<(LifecycleIndex, Vec<ObjectKey>)> {
        let claimants: BTreeSet<ResourceIndex> =
            namespaces.iter().flat_map(|namespace| self.claimants.inside(cluster, namespace)).collect();
        let is_inside = |object: &ObjectKey| object.namespace.as_deref().is_some_and(|name| namespaces.contains(name));
        let mut found = Vec::new();
        for resource in claimants {
            for (slot, objects) in self.resources.get(resource).holdings(cluster) {
                let inside: Vec<ObjectKey> = objects.filter(is_inside).collect();
                if !inside.is_empty() {
                    found.push((LifecycleIndex { resource, slot }, inside));
                }
            }
        }
        found
    }

    /// The resources that may claim an object called so, of whichever API and on whichever of these clusters: who really does
    /// is in their lifecycles. `None` for every cluster; a missing namespace means an object without one.
    pub fn claimants_called<'a>(
        &'a self,
        cluster: Option<&'a str>,
        kind: &'a str,
        namespace: Option<&'a str>,
        name: &'a str,
    ) -> impl Iterator<Item = (ResourceKey, Resource)> + use<'a> {
        let clusters = cluster.map_or_else(|| self.resources.clusters(), |only| [only].into());
        let called = move |cluster| self.claimants.of_called(cluster, kind, namespace, name);
        // A resource may claim it on several clusters.
        let claimants: BTreeSet<ResourceIndex> = clusters.into_iter().flat_map(called).collect();
        claimants.into_iter().map(|number| {
            let stored = self.resources.get(number);
            (stored.key(), stored.resource())
        })
    }

    /// All claimed objects, each with its cluster and its claims, the earliest first; in the order of the resources that own
    /// them.
    pub fn objects(&self) -> impl Iterator<Item = (Arc<str>, ObjectKey, Vec<Claim>)> {
        self.stored(Bound::Unbounded, Sieve::default()).flat_map(move |(resource, stored)| {
            let held = stored.lifecycles().flat_map(|(slot, Lifecycle { cluster, inventory, .. })| {
                inventory.into_iter().map(move |holding| (slot, cluster.clone(), holding))
            });
            held.filter_map(move |(slot, cluster, holding)| {
                let own = Claim { since: holding.since, lifecycle: LifecycleIndex { resource, slot } };
                let alone = self.claimants.count(&cluster, &holding.object) == 1;
                let claims = if alone { vec![own] } else { self.claims(&cluster, &holding.object) };
                (claims.first() == Some(&own)).then_some((cluster, holding.object, claims))
            })
        })
    }

    /// The objects that more than one lifecycle claims, from a cluster and name on, each with its claims. It has the version that
    /// the first of these knows it by.
    pub fn contested_from(
        &self,
        start: Bound<(Box<str>, ObjectKey)>,
    ) -> impl Iterator<Item = (&str, ObjectKey, Vec<Claim>)> {
        let range = self.contested.range((start, Bound::Unbounded));
        range.map(|(cluster, object)| {
            let claims = self.claims(cluster, object);
            let holding = claims.first().and_then(|first| self.holding(first.lifecycle, object));
            (&**cluster, holding.map_or_else(|| object.clone(), |holding| holding.object), claims)
        })
    }

    /// The resources of the sieve's sources and subject, by key, from a key on.
    fn stored<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
    ) -> impl Iterator<Item = (ResourceIndex, Stored<'a>)> + use<'a> {
        let numbers = self.resources.in_order(start, sieve.source, sieve.subject);
        numbers.map(|number| (number, self.resources.get(number)))
    }
}

fn trail(index: ResourceIndex, stored: Stored<'_>, moment: Offset) -> Trail {
    let last_record = stored.last_record();
    let unchanged = (last_record < moment).then(|| stored.resource());
    Trail { key: stored.key(), index, last_record, unchanged }
}
