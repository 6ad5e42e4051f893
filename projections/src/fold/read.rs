//! Reading: one resource by its key, many in the order of their keys, and the objects they claim.
//!
//! Start at [`Projection::candidates_from`]. A reader looks through a [`Sieve`], and decodes in full only what passes it.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use lifeline_store::Offset;

use super::{Claim, LifecycleIndex, Projection, Resource, ResourceIndex};
use crate::fact::{LifecycleKey, ObjectKey, ResourceKey};
use crate::lifecycle::{Lifecycle, Phase};
use crate::order::Keys;

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
    /// ... and in this phase.
    pub phase: Option<Phase>,
}

impl Sieve<'_> {
    /// Whether a lifecycle is one that is looked for.
    #[must_use]
    pub fn wants(&self, trigger: &str, cluster: &str, phase: Phase) -> bool {
        self.trigger.is_none_or(|wanted| wanted == trigger)
            && self.cluster.is_none_or(|wanted| wanted == cluster)
            && self.phase.is_none_or(|wanted| wanted == phase)
    }

    /// Whether every lifecycle passes, because no trigger, cluster or phase is given.
    #[must_use]
    pub fn wants_all(&self) -> bool {
        self.trigger.is_none() && self.cluster.is_none() && self.phase.is_none()
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
        Some(self.entry(self.find(source, subject)?).resource(&self.shared))
    }

    /// The key and the state behind an index.
    #[must_use]
    pub fn lifecycle(&self, index: LifecycleIndex) -> (ResourceKey, Lifecycle) {
        let entry = self.entry(index.resource);
        (entry.key(), entry.lifecycle(&self.shared, index.slot))
    }

    /// The cluster that a lifecycle is about.
    #[must_use]
    pub fn cluster_of(&self, index: LifecycleIndex) -> Arc<str> {
        self.entry(index.resource).cluster(&self.shared, index.slot)
    }

    /// The index of a lifecycle, when there is one of that key.
    #[must_use]
    pub fn lifecycle_index(&self, key: &LifecycleKey) -> Option<LifecycleIndex> {
        let resource = self.find(&key.resource.source, &key.resource.subject)?;
        let slot = self.entry(resource).slot(&self.shared, &key.trigger, &key.cluster)?;
        Some(LifecycleIndex { resource, slot })
    }

    /// The latest record about a resource; where the next record about it has to point back to.
    #[must_use]
    pub fn last_record(&self, source: &str, subject: &str) -> Option<Offset> {
        Some(self.entry(self.find(source, subject)?).last_record)
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
        self.numbers(start, Sieve::default()).map(|number| {
            let entry = self.entry(number);
            (entry.key(), entry.resource(&self.shared))
        })
    }

    /// The resources of the sieve's sources and subject from a key on, sorted by key, made whole where the rest of it leaves
    /// them.
    pub fn candidates_from<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
    ) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        let entries = self.numbers(start, sieve).map(|number| self.entry(number));
        entries.map(move |entry| {
            let mut outline = entry.outline(&self.shared);
            let wanted =
                sieve.wants_all() || outline.any(|(trigger, cluster, phase)| sieve.wants(trigger, cluster, phase));
            let resource = wanted.then(|| entry.resource(&self.shared));
            Candidate { source: &entry.source, subject: &entry.subject, resource }
        })
    }

    /// What leads to the state at `moment` of the resources of the sieve's sources and subject, sorted by key, from a key on.
    pub fn trails_from<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
        moment: Offset,
    ) -> impl Iterator<Item = Trail> + use<'a> {
        self.numbers(start, sieve).map(move |number| self.trail_at(number, moment))
    }

    /// What leads to the past of one resource, at `moment`.
    #[must_use]
    pub fn trail(&self, source: &str, subject: &str, moment: Offset) -> Option<Trail> {
        Some(self.trail_at(self.find(source, subject)?, moment))
    }

    fn trail_at(&self, index: ResourceIndex, moment: Offset) -> Trail {
        let entry = self.entry(index);
        let unchanged = (entry.last_record < moment).then(|| entry.resource(&self.shared));
        Trail { key: entry.key(), index, last_record: entry.last_record, unchanged }
    }

    /// Every lifecycle whose cluster may differ from what is desired, in the order in which their resources came up.
    pub fn needing_work(&self) -> impl Iterator<Item = LifecycleIndex> {
        let slots = |resource: ResourceIndex| self.entry(resource).needing_work().map(move |slot| (resource, slot));
        self.open
            .iter()
            .flat_map(move |resource| slots(*resource))
            .map(|(resource, slot)| LifecycleIndex { resource, slot })
    }

    /// Who claims an object, the earliest first: that one owns it.
    #[must_use]
    pub fn claims(&self, cluster: &str, object: &ObjectKey) -> Vec<Claim> {
        let mut claims = Vec::new();
        for resource in self.claimants.of(cluster, object) {
            let entry = self.entry(resource);
            for slot in entry.holders(&self.shared, cluster) {
                if let Some(since) = entry.holds_since(slot, object) {
                    claims.push(Claim { since, lifecycle: LifecycleIndex { resource, slot } });
                }
            }
        }
        claims.sort_unstable();
        claims
    }

    /// Who claims objects in a namespace, each with those objects.
    #[must_use]
    pub fn claims_inside(&self, cluster: &str, namespace: &str) -> Vec<(LifecycleIndex, Vec<ObjectKey>)> {
        let mut found = Vec::new();
        for resource in self.claimants.inside(cluster, namespace) {
            let entry = self.entry(resource);
            for slot in entry.holders(&self.shared, cluster) {
                let inside = entry.objects(slot).filter(|object| object.namespace.as_deref() == Some(namespace));
                let inside: Vec<ObjectKey> = inside.collect();
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
        let clusters = cluster.map_or_else(|| self.shared.clusters(), |only| [only].into());
        let called = move |cluster| self.claimants.of_called(cluster, kind, namespace, name);
        // A resource may claim it on several clusters.
        let claimants: BTreeSet<ResourceIndex> = clusters.into_iter().flat_map(called).collect();
        claimants.into_iter().map(|number| {
            let entry = self.entry(number);
            (entry.key(), entry.resource(&self.shared))
        })
    }

    /// All claimed objects, each with its cluster and its claims, the earliest first; in the order of the resources that own
    /// them.
    pub fn objects(&self) -> impl Iterator<Item = (Arc<str>, ObjectKey, Vec<Claim>)> {
        self.numbers(Bound::Unbounded, Sieve::default()).flat_map(move |resource| {
            let entry = self.entry(resource);
            let held = (0..).take(entry.len()).flat_map(move |slot| {
                let Lifecycle { cluster, inventory, .. } = entry.lifecycle(&self.shared, slot);
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

    /// The objects that more than one lifecycle claims, from a cluster and name on, each with its claims.
    pub fn contested_from(
        &self,
        start: Bound<(Box<str>, ObjectKey)>,
    ) -> impl Iterator<Item = (&str, &ObjectKey, Vec<Claim>)> {
        let range = self.contested.range((start, Bound::Unbounded));
        range.map(|(cluster, object)| (&**cluster, object, self.claims(cluster, object)))
    }

    /// The numbers of the resources of the sieve's sources and subject, by key, from a key on.
    fn numbers<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
    ) -> impl Iterator<Item = ResourceIndex> + use<'a> {
        let first = (sieve.source, sieve.subject.unwrap_or_default());
        let mut start = Some(match start {
            Bound::Included(key) | Bound::Excluded(key) if key < first => Bound::Included(first),
            Bound::Unbounded => Bound::Included(first),
            start => start,
        });
        // A piece at a time, for nobody may keep the lock: few at first, since most readers want few.
        let (mut piece, mut wanted) = (Vec::new().into_iter(), if sieve.subject.is_some() { 1 } else { 64 });
        std::iter::from_fn(move || {
            loop {
                let Some(number) = piece.next() else {
                    let numbers = self.piece(start.take()?, wanted);
                    start = numbers.last().map(|last| Bound::Excluded(self.entries.key(*last)));
                    piece = numbers.into_iter();
                    start?;
                    continue;
                };
                let (source, subject) = self.entries.key(number);
                if !source.starts_with(sieve.source) {
                    return None;
                }
                let Some(only) = sieve.subject else {
                    wanted = if piece.len() == 0 { (2 * wanted).min(4_096) } else { wanted };
                    return Some(number);
                };
                // Each source has one such resource at most: what is between is skipped.
                match subject.cmp(only) {
                    std::cmp::Ordering::Less => start = Some(Bound::Included((source, only))),
                    std::cmp::Ordering::Equal => return Some(number),
                    std::cmp::Ordering::Greater => {
                        start = self.next_source(source).map(|next| Bound::Included((next, only)))
                    }
                }
            }
        })
    }

    /// The first numbers from a key on.
    fn piece(&self, from: Bound<(&str, &str)>, count: usize) -> Vec<ResourceIndex> {
        let is_before = |key: (&str, &str)| match from {
            Bound::Unbounded => false,
            Bound::Included(first) => key < first,
            Bound::Excluded(last) => key <= last,
        };
        let mut order = self.order.lock();
        order.settle(&self.entries);
        order.from(&self.entries, is_before).take(count).collect()
    }

    /// The source after this one.
    fn next_source(&self, source: &str) -> Option<&str> {
        let order = self.order.lock();
        let number = order.from(&self.entries, |(known, _)| known <= source).next()?;
        Some(self.entries.key(number).0)
    }
}
