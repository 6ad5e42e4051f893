//! Which resources claim an object, and which claim something in a namespace: eight bytes each.
//!
//! Only a checksum of what the object is called and the resource's number are held. Who really claims it, and since when,
//! is in the inventories, and is looked up there; so nothing here can disagree with them for long, and a checksum that
//! two objects share costs a look, never an answer. What an object is called leaves out the API it is of, and the case of its
//! kind: people who ask about an object seldom say `v1`, or `Namespace` with a capital.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::fact::ObjectKey;
use crate::resource::ResourceIndex;

/// In place of a kind: any object in a namespace.
const INSIDE: &str = "";

/// The resources that claim each object, by the checksum of its name.
#[derive(Debug, Default)]
pub(crate) struct Claimants {
    table: HashTable<(u32, ResourceIndex)>,
    /// The resources that claim, or once claimed, an object in a namespace. In order, for a namespace may have a million.
    inside: BTreeSet<(u32, ResourceIndex)>,
    hasher: DefaultHashBuilder,
}

impl Claimants {
    /// Notes a claim of one of the resource's lifecycles.
    pub(crate) fn add(&mut self, cluster: &str, object: &ObjectKey, resource: ResourceIndex) {
        let sum = self.checksum(cluster, object);
        self.table.insert_unique(spread(sum), (sum, resource), |(sum, _)| spread(*sum));
        if let Some(namespace) = &object.namespace {
            self.inside.insert((self.checksum_called(cluster, INSIDE, None, namespace), resource));
        }
    }

    /// Notes that one of them let go.
    pub(crate) fn remove(&mut self, cluster: &str, object: &ObjectKey, resource: ResourceIndex) {
        let sum = self.checksum(cluster, object);
        if let Ok(found) = self.table.find_entry(spread(sum), |known| *known == (sum, resource)) {
            found.remove();
        }
    }

    /// The resources that may claim an object, each once, in order.
    pub(crate) fn of(&self, cluster: &str, object: &ObjectKey) -> Vec<ResourceIndex> {
        self.of_called(cluster, &object.kind, object.namespace.as_deref(), &object.name)
    }

    /// The resources that may claim an object in a namespace, in order.
    pub(crate) fn inside(&self, cluster: &str, namespace: &str) -> impl Iterator<Item = ResourceIndex> {
        let sum = self.checksum_called(cluster, INSIDE, None, namespace);
        self.inside.range((sum, ResourceIndex::MIN)..=(sum, ResourceIndex::MAX)).map(|(_, resource)| *resource)
    }

    /// The resources that may claim an object called so, of whichever API, each once, in order.
    pub(crate) fn of_called(
        &self,
        cluster: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Vec<ResourceIndex> {
        let sum = self.checksum_called(cluster, kind, namespace, name);
        let found = self.table.iter_hash(spread(sum)).filter(|(known, _)| *known == sum);
        let mut found: Vec<ResourceIndex> = found.map(|(_, resource)| *resource).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn checksum(&self, cluster: &str, object: &ObjectKey) -> u32 {
        self.checksum_called(cluster, &object.kind, object.namespace.as_deref(), &object.name)
    }

    #[expect(clippy::cast_possible_truncation, reason = "half a checksum distinguishes objects well enough")]
    fn checksum_called(&self, cluster: &str, kind: &str, namespace: Option<&str>, name: &str) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        (cluster, namespace, name).hash(&mut hasher);
        kind.bytes().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
        hasher.finish() as u32
    }

    /// How many claims may be on an object.
    pub(crate) fn count(&self, cluster: &str, object: &ObjectKey) -> usize {
        let sum = self.checksum(cluster, object);
        self.table.iter_hash(spread(sum)).filter(|(known, _)| *known == sum).count()
    }
}

/// The table looks at high and low bits; a checksum has its own in the low half only.
pub(crate) fn spread(sum: u32) -> u64 {
    u64::from(sum).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
