//! The records about one resource, followed backwards.
//!
//! Start at [`Chain`]. Every record points at the one before it about the same resource, so a step costs one read, wherever
//! it leads and however long the log is. Never here: what a record means.

use lifeline_store::{Disk, Offset, Reader, Record};

use crate::fact::{Fact, ResourceKey};

/// The records about a resource, the latest first. It ends where the log holds nothing more, at a record that cannot be read
/// (which is its last item), and at one that does not speak of the resource.
pub(crate) struct Chain<'l, D: Disk> {
    log: &'l Reader<D>,
    key: &'l ResourceKey,
    at: Option<Offset>,
}

impl<'l, D: Disk> Chain<'l, D> {
    /// Begins at `latest`, which is given first.
    pub(crate) fn from(log: &'l Reader<D>, key: &'l ResourceKey, latest: Offset) -> Chain<'l, D> {
        Chain { log, key, at: Some(latest) }
    }
}

impl<D: Disk> Iterator for Chain<'_, D> {
    type Item = Result<Record, lifeline_store::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at.take()?;
        let record = match self.log.read(at) {
            Ok(record) => record?,
            Err(error) => return Some(Err(error)),
        };
        let fact = Fact::decode(&record.payload).ok()?;
        // A chain only ever leads back; one that does not is not followed.
        self.at = fact.previous(self.key)?.filter(|previous| *previous < at);
        Some(Ok(record))
    }
}
