//! Resources in the order of their keys, four bytes each.
//!
//! Start at [`Order::settle`]. Numbers come in as resources come up and are put in order only when somebody reads, or when
//! many wait: a million resources met in the log cost a few sorted batches, not a million searches. What lies at a number
//! comes from the caller; nothing here holds a key.

use std::cmp::Ordering;
use std::iter::{Chain, Copied, Flatten};
use std::slice::Iter;

/// Numbers in one leaf, at most.
const LEAF_MAX: usize = 512;

/// Numbers that may wait to be put in order: it bounds what the next reader pays.
pub(crate) const WAITING_MAX: usize = 16_384;

/// The key at a number: CloudEvent source and subject.
pub(crate) trait Keys {
    /// The key at `number`.
    fn key(&self, number: u32) -> (&str, &str);
}

/// Numbers of resources, sorted by their keys.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// None is empty; each is sorted, and so are they.
    leaves: Vec<Vec<u32>>,
    waiting: Vec<u32>,
}

/// Numbers in order.
pub(crate) type Numbers<'o> = Copied<Chain<Iter<'o, u32>, Flatten<Iter<'o, Vec<u32>>>>>;

/// A number with what decides nearly every comparison, so that sorting rarely looks elsewhere.
struct Decorated<'k> {
    source: &'k str,
    head: u128,
    number: u32,
}

impl Order {
    /// Takes in a number that was never taken in before.
    pub(crate) fn push(&mut self, number: u32) {
        self.waiting.push(number);
    }

    /// How many wait to be put in order.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Puts what waits in order.
    pub(crate) fn settle(&mut self, keys: &impl Keys) {
        if self.waiting.is_empty() {
            return;
        }
        let waiting = sorted(&std::mem::take(&mut self.waiting), keys);
        let mut rest = waiting.as_slice();
        let mut at = 0;
        let mut leaves = Vec::with_capacity(self.leaves.len() + rest.len() / LEAF_MAX + 1);
        let old = std::mem::take(&mut self.leaves);
        while at < old.len() {
            let end = match old.get(at + 1) {
                // Everything before the next leaf's first key belongs into this leaf.
                Some(next) => rest.partition_point(|number| keys.key(*number) < keys.key(next[0])),
                None => rest.len(),
            };
            let (here, later) = rest.split_at(end);
            rest = later;
            if here.is_empty() {
                leaves.push(LeafOf::Old(at));
            } else {
                leaves.push(LeafOf::New(merged(&old[at], here, keys)));
            }
            at += 1;
        }
        if old.is_empty() {
            leaves.push(LeafOf::New(rest.to_vec()));
        }
        let mut old = old;
        for leaf in leaves {
            match leaf {
                LeafOf::Old(at) => self.leaves.push(std::mem::take(&mut old[at])),
                LeafOf::New(numbers) if numbers.len() <= LEAF_MAX => self.leaves.push(numbers),
                // Half full: there is room for those that follow.
                LeafOf::New(numbers) => self.leaves.extend(numbers.chunks(LEAF_MAX / 2).map(<[u32]>::to_vec)),
            }
        }
    }

    /// The numbers in order, from the first whose key `is_before` is false for. What waits is left out.
    pub(crate) fn from(&self, keys: &impl Keys, is_before: impl Fn((&str, &str)) -> bool) -> Numbers<'_> {
        let leaf = self.leaves.partition_point(|leaf| is_before(keys.key(leaf[leaf.len() - 1])));
        let first = self.leaves.get(leaf).map_or(0, |leaf| leaf.partition_point(|number| is_before(keys.key(*number))));
        let head = self.leaves.get(leaf).map_or(&[][..], |leaf| &leaf[first..]);
        let tail = self.leaves.get(leaf + 1..).unwrap_or_default();
        head.iter().chain(tail.iter().flatten()).copied()
    }
}

enum LeafOf {
    Old(usize),
    New(Vec<u32>),
}

fn sorted(numbers: &[u32], keys: &impl Keys) -> Vec<u32> {
    let decorate = |number: &u32| {
        let (source, subject) = keys.key(*number);
        let mut head = [0; 16];
        let len = subject.len().min(16);
        head[..len].copy_from_slice(&subject.as_bytes()[..len]);
        Decorated { source, head: u128::from_be_bytes(head), number: *number }
    };
    let mut decorated: Vec<Decorated<'_>> = numbers.iter().map(decorate).collect();
    decorated.sort_unstable_by(|one, other| {
        // Sources are held once: the same one is nearly always the same string in memory.
        let same = std::ptr::eq(one.source, other.source);
        let by_source = if same { Ordering::Equal } else { one.source.cmp(other.source) };
        by_source.then(one.head.cmp(&other.head)).then_with(|| keys.key(one.number).1.cmp(keys.key(other.number).1))
    });
    decorated.iter().map(|decorated| decorated.number).collect()
}

fn merged(leaf: &[u32], more: &[u32], keys: &impl Keys) -> Vec<u32> {
    let mut out = Vec::with_capacity(leaf.len() + more.len());
    let mut rest = leaf;
    for number in more {
        let key = keys.key(*number);
        let (before, after) = rest.split_at(rest.partition_point(|known| keys.key(*known) < key));
        out.extend_from_slice(before);
        out.push(*number);
        rest = after;
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Keys for Vec<(String, String)> {
        fn key(&self, number: u32) -> (&str, &str) {
            let (source, subject) = &self[number as usize];
            (source, subject)
        }
    }

    proptest! {
        #[test]
        fn numbers_come_in_the_order_of_their_keys_from_any_of_them(
            keys in proptest::collection::btree_set(("[ab]{0,2}", "[a-c]{0,4}|x{15,18}[ab]{0,2}"), 0..60),
            shuffle in any::<u64>(),
            batch in 1..20_usize,
            from in 0..60_usize,
        ) {
            let sorted: Vec<(String, String)> = keys.into_iter().collect();
            let mut keys = sorted.clone();
            keys.sort_by_key(|(source, subject)| lifeline_store::crc32c(format!("{shuffle}{source}/{subject}").as_bytes()));
            let mut order = Order::default();
            for (number, _) in (0..).zip(&keys) {
                order.push(number);
                if order.waiting() == batch {
                    order.settle(&keys);
                }
            }
            order.settle(&keys);
            let told: Vec<_> = order.from(&keys, |_| false).map(|number| keys[number as usize].clone()).collect();
            prop_assert_eq!(&told, &sorted);
            if let Some((source, subject)) = sorted.get(from) {
                let first = order.from(&keys, |key| key < (source, subject)).next();
                prop_assert_eq!(first.map(|number| &keys[number as usize]), sorted.get(from));
            }
        }
    }

    #[test]
    fn leaves_split_and_stay_sorted() {
        let number = |number: usize| format!("{:08}", number.wrapping_mul(0x9e37_79b9) % 100_000_000);
        let keys: Vec<(String, String)> = (0..20 * LEAF_MAX).map(|at| ("s".to_owned(), number(at))).collect();
        let mut order = Order::default();
        for at in (0..).take(keys.len()) {
            order.push(at);
            if at % 700 == 0 {
                order.settle(&keys);
            }
        }
        order.settle(&keys);
        assert!(order.leaves.iter().all(|leaf| !leaf.is_empty() && leaf.len() <= LEAF_MAX));
        let told: Vec<u32> = order.from(&keys, |_| false).collect();
        assert_eq!(told.len(), keys.len());
        assert!(told.is_sorted_by_key(|number| keys.key(*number)));
    }
}
