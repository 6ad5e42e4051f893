//! Reading the log of a stopped engine without becoming its writer.
//!
//! Start at [`Reader::inspect`]. What a crash left is looked at and left as it is: repairing is the writer's, at
//! [`crate::Log::open`].

use std::sync::Arc;

use crate::disk::Disk;
use crate::reader::{Reader, Shared};
use crate::recovery::{self, Recovery, Tail};
use crate::segment::{self, Segment};
use crate::{Error, Options};

impl<D: Disk> Reader<D> {
    /// Opens the log in a folder for reading: every record that [`crate::Log::open`] would keep, and not a byte written.
    ///
    /// # Errors
    /// [`Error::Version`] for another format, [`Error::Option`], [`Error::Io`].
    pub fn inspect(disk: D, options: &Options) -> Result<(Reader<D>, Recovery), Error> {
        let verdict = recovery::examine(&disk, options)?;
        let salt = verdict.salt;
        let mut sealed = verdict.segments;
        let tail = match verdict.tail {
            Tail::Continue { position, index } => {
                let base = sealed.pop().expect("a segment that goes on is in the list");
                let name = segment::name(base);
                let file = disk.open(&name).map_err(Error::io("open", &name))?;
                Some(Segment::open(base, salt, file, index, position))
            }
            Tail::Closed { .. } | Tail::Missing => None,
        };
        let sealed = sealed.into_iter().map(|base| Segment::sealed(base, salt));
        let table = sealed.chain(tail).map(Arc::new).collect();
        let end = verdict.recovery.end;
        Ok((Reader { shared: Arc::new(Shared::new(disk, salt, table, end)) }, verdict.recovery))
    }
}
