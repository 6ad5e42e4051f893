//! One number for a whole state: whether two projections are the same.
//!
//! Start at [`Projection::digest`].

use std::io;
use std::ops::Bound;

use serde::Serialize;

use super::Projection;

impl Projection {
    /// A checksum of the whole state. Two projections that differ in anything but their numbering in memory differ here;
    /// those of the same records agree, in any process and release of the same layout.
    ///
    /// # Panics
    /// Never: everything in a projection can be encoded.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        digest.put(&self.ground);
        // Without any, the digest is that of a release that knew none.
        if !self.ground.open_replays.is_empty() {
            digest.put(&self.ground.open_replays);
        }
        if !self.ground.withdrawals.is_empty() {
            digest.put(&self.ground.withdrawals);
        }
        if !self.ground.holes.is_empty() {
            digest.put(&self.ground.holes);
        }
        for row in self.resources() {
            digest.put(&row);
        }
        // Claims follow from the inventories. That they really do is part of what this checks.
        for (cluster, object, claims) in self.contested_from(Bound::Unbounded) {
            digest.put(&(cluster, object));
            for claim in claims {
                let (key, head) = (self.resource_key(claim.lifecycle), self.head(claim.lifecycle));
                digest.put(&(claim.since, key, head.trigger, head.cluster));
            }
        }
        digest.0
    }
}

/// FNV-1a over the canonical bytes of what is put in. It guards against mistakes, not against forgery.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn put(&mut self, value: &impl Serialize) {
        bincode::serde::encode_into_std_write(value, self, bincode::config::standard())
            .expect("state holds only what bincode can write, and a digest takes all of it");
    }
}

impl io::Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = bytes.iter().fold(self.0, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
