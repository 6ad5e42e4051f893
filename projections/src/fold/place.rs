//! Where a resource is found: its number, by its key.
//!
//! Start at [`Projection::locate`]. With a million resources a fold waits for memory most of its time, so a fold looks
//! up many at once, waits once, and keeps the places.

use std::hash::BuildHasher;
use std::hint::black_box;

use lifeline_store::Offset;

use super::{Projection, ResourceIndex};
use crate::compact::Entry;
use crate::fact::Fact;
use crate::order::{self, Keys};

/// Resources that [`Projection::locate`] finds at once, at most.
pub const LOCATED_MAX: usize = 32;

/// Where a resource was found; it stays there. `None` where it was not looked for, or is not known yet.
pub type Place = Option<ResourceIndex>;

impl Projection {
    /// Finds the resources that the next records are about, [`LOCATED_MAX`] at most, in the order asked. What they hold is
    /// fetched into the processor's cache, all at the same time. `None` where no key is given or the resource is unknown.
    pub fn locate<'k>(&self, keys: impl Iterator<Item = Option<(&'k str, &'k str)>>) -> [Place; LOCATED_MAX] {
        let mut asked = [None; LOCATED_MAX];
        let mut sums = [0; LOCATED_MAX];
        let mut count = 0;
        for (key, place) in keys.zip(0..LOCATED_MAX) {
            asked[place] = key;
            sums[place] = key.map_or(0, |(source, subject)| self.checksum(source, subject));
            count = place + 1;
        }
        // First all slots of the index, then all entries: each time one wait, and not one for each resource.
        let sums = &sums[..count];
        black_box(sums.iter().fold(0, |seen, sum| seen ^ self.index.prefetch(*sum)));
        let mut found = [None; LOCATED_MAX];
        for (found, sum) in found.iter_mut().zip(sums) {
            *found = self.index.find(*sum, |_| true);
        }
        self.prefetch_all(|| found.iter().flatten().copied());
        for ((found, key), sum) in found.iter_mut().zip(asked).zip(sums) {
            *found = match (*found, key) {
                (Some(index), Some(key)) if self.entries.key(index) == key => Some(index),
                // Two keys may share a checksum.
                (Some(_), Some((source, subject))) => self.find_with(*sum, source, subject),
                _ => None,
            };
        }
        found
    }

    /// Fetches what folding these facts reads into the processor's cache, all at the same time: by the time a group is
    /// durable, it has left the cache.
    pub fn prefetch<'f>(&self, facts: impl Iterator<Item = (Place, &'f Fact<'f>)> + Clone) {
        self.prefetch_all(|| facts.clone().filter_map(|(place, _)| place));
        let kind = |fact: &Fact<'_>| match fact {
            Fact::Event(event) => event.kind.as_bytes().first().copied(),
            _ => None,
        };
        black_box(facts.filter_map(|(_, fact)| kind(fact)).fold(0, |seen, first| seen ^ first));
    }

    fn prefetch_all<P: Iterator<Item = ResourceIndex>>(&self, places: impl Fn() -> P) {
        // Three passes: each reads at addresses that the pass before it fetched.
        black_box(places().fold(0, |seen, place| seen ^ self.entry(place).prefetch()));
        black_box(places().fold(0, |seen, place| seen ^ self.entry(place).prefetch_lifecycles()));
        black_box(places().fold(0, |seen, place| seen ^ self.entry(place).prefetch_rests()));
    }

    /// The place of one resource.
    #[must_use]
    pub fn place(&self, source: &str, subject: &str) -> Place {
        self.find(source, subject)
    }

    /// As [`Projection::last_record`], of a resource that was located.
    #[must_use]
    pub fn last_record_at(&self, index: ResourceIndex) -> Offset {
        self.entry(index).last_record
    }

    pub(super) fn checksum(&self, source: &str, subject: &str) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "half a checksum distinguishes keys well enough")]
        let sum = self.hasher.hash_one((source, subject)) as u32;
        sum
    }

    pub(super) fn find(&self, source: &str, subject: &str) -> Option<ResourceIndex> {
        self.find_with(self.checksum(source, subject), source, subject)
    }

    pub(super) fn find_with(&self, sum: u32, source: &str, subject: &str) -> Option<ResourceIndex> {
        self.index.find(sum, |index| self.entries.key(index) == (source, subject))
    }

    pub(super) fn at_or_insert(&mut self, place: Place, source: &str, subject: &str) -> ResourceIndex {
        debug_assert!(
            place.is_none_or(|index| self.entries.key(index) == (source, subject)),
            "a fact is folded where its resource was located"
        );
        place.unwrap_or_else(|| self.find_or_insert(source, subject))
    }

    pub(super) fn find_or_insert(&mut self, source: &str, subject: &str) -> ResourceIndex {
        let sum = self.checksum(source, subject);
        if let Some(index) = self.find_with(sum, source, subject) {
            return index;
        }
        let (source, kind) = (self.shared.name(source), self.shared.name(""));
        self.insert(sum, Entry::new(source, subject, kind))
    }

    pub(super) fn insert(&mut self, sum: u32, entry: Entry) -> ResourceIndex {
        let index = ResourceIndex::try_from(self.len()).expect("fewer than 2^32 resources fit in memory");
        self.entries.0.push(entry);
        self.index.insert(sum, index);
        let order = self.order.get_mut();
        order.push(index);
        if order.waiting() >= order::WAITING_MAX {
            order.settle(&self.entries);
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_located_is_what_a_look_up_finds() {
        let mut projection = Projection::default();
        for number in 0..1_000 {
            projection.find_or_insert(&format!("source-{}", number % 7), &format!("subject-{number}"));
        }
        // Known, unknown and not asked for, in turn, and fewer than fit in the last piece.
        let names: Vec<_> = (0..1_500).map(|number| (format!("source-{}", number % 7), number)).collect();
        let names: Vec<_> =
            names.iter().map(|(source, number)| (source, format!("subject-{number}"), number)).collect();
        let mut found = 0;
        for piece in names.chunks(LOCATED_MAX) {
            let keys = piece
                .iter()
                .map(|(source, subject, number)| (*number % 5 != 0).then_some((source.as_str(), subject.as_str())));
            let places = projection.locate(keys.clone());
            for (place, key) in places.into_iter().zip(keys.chain(std::iter::repeat(None))) {
                assert_eq!(place, key.and_then(|(source, subject)| projection.place(source, subject)), "{key:?}");
                found += usize::from(place.is_some());
            }
        }
        assert_eq!(found, 800);
    }
}
