//! What can be asked of an engine: each question is a method of [`Queries`], and is answered with plain rows.
//!
//! Start at [`Queries`]. [`when`] says which state an answer reflects, and waits for it. The other files hold a question each,
//! or a few that are alike. Two rules hold in all of them: the projection is read in short turns, for the recorder waits
//! meanwhile; and what takes reading from the disk is done without its lock, on a thread that may block. A question that
//! waits for a state is notified, and holds no thread.
//!
//! Never here: HTTP, JSON, a parameter as it was typed.

mod difference;
mod lists;
mod orphans;
mod past;
mod records;
mod resource;
mod verify;
mod watch;
mod when;
mod why;

use std::sync::Arc;

use lifeline_projections::fact::{self, ResourceKey};
use lifeline_projections::fold::Resource;
use lifeline_projections::{as_of, difference as differences, reads, why as reasons};
use lifeline_store::{Disk, Offset, Reader};

use self::past::Past;
pub use self::records::{Entries, Place};
pub use self::verify::{How, Verified};
pub use self::watch::{Noun, Row, Update, Watch, What};
pub use self::when::When;
use crate::clock::Clock;
use crate::view::View;

/// Answers the questions about one engine.
pub struct Queries<D: Disk> {
    view: Arc<View<D>>,
    clock: Arc<dyn Clock>,
    past: Past,
}

/// An answer about one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    /// The answer reflects every record below this offset.
    pub offset: Offset,
    /// What was asked for.
    pub item: T,
}

/// An answer that knows its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Dated<T> {
    /// The answer.
    pub answer: T,
    /// When the last record that it reflects was written, in nanoseconds since 1970; 0 before the first.
    pub unix_nanos: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The offset waited for did not come in time.
    #[error("offset `{offset}` is not reached yet, the state reflects what is below `{folded}`")]
    NotReached {
        /// The offset.
        offset: Offset,
        /// The first offset that is not folded.
        folded: Offset,
    },
    /// What is recorded up to a time is not all durable and folded, and did not become so in time.
    #[error("what is recorded up to `{}` is still on its way to the disk", reads::time(*.unix_nanos))]
    NotSettled {
        /// The time, in nanoseconds since 1970.
        unix_nanos: u64,
    },
    /// The time is still to come.
    #[error("moment `{}` is in the future", reads::time(*.unix_nanos))]
    Future {
        /// The time, in nanoseconds since 1970.
        unix_nanos: u64,
    },
    /// No event ever spoke of the resource.
    #[error("nothing is recorded about {}", spoken(.key))]
    UnknownResource {
        /// The resource.
        key: Box<ResourceKey>,
    },
    /// A watch cannot go on from an offset: retention has removed it, or it is that of another log.
    #[error("offset `{offset}` cannot be resumed from, the log holds `{start}` up to, not including, `{end}`")]
    Expired {
        /// The offset.
        offset: Offset,
        /// The first offset still held.
        start: Offset,
        /// The first offset that is not recorded.
        end: Offset,
    },
    /// A list that is watched as a whole does not take a filter.
    #[error("parameter `{filter}` does not choose among `{list}`")]
    Unfiltered {
        /// The field of the filter.
        filter: &'static str,
        /// The list.
        list: &'static str,
    },
    /// The question is not in order.
    #[error(transparent)]
    Question(#[from] reads::Error),
    /// An earlier state is not known.
    #[error(transparent)]
    Past(#[from] as_of::Error),
    /// Two moments cannot be compared.
    #[error(transparent)]
    Difference(#[from] differences::Error<as_of::Error>),
    /// An event cannot be explained.
    #[error(transparent)]
    Event(#[from] reasons::event::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] lifeline_store::Error),
    /// A record cannot be understood.
    #[error(transparent)]
    Record(#[from] fact::Error),
    /// The process is on its way out.
    #[error("the engine is stopping")]
    Stopping,
}

impl<D: Disk> Queries<D> {
    /// Questions about a view. The clock says what is the future, and how old something is.
    pub fn new(view: Arc<View<D>>, clock: Arc<dyn Clock>) -> Queries<D> {
        Queries { view, clock, past: Past::default() }
    }
}

/// A resource as people name it.
fn spoken(key: &ResourceKey) -> String {
    let ResourceKey { source, subject } = key;
    match (source.is_empty(), subject.is_empty()) {
        (true, _) => format!("a list of the trigger `{subject}`"),
        (false, true) => format!("source `{source}` without a subject"),
        (false, false) => format!("source `{source}`, subject `{subject}`"),
    }
}

/// A resource as it was below an offset. Reads the log, without the lock.
fn resource_at<D: Disk>(
    view: &View<D>,
    log: &Reader<D>,
    key: &ResourceKey,
    end: Offset,
) -> Result<Option<Resource>, as_of::Error> {
    let (trail, landmarks) =
        view.read(|projection| (projection.trail(&key.source, &key.subject, end), projection.landmarks().clone()));
    trail.map_or(Ok(None), |trail| as_of::resource(log, &landmarks, &trail, end))
}

/// Does reading that may take long, away from the threads that serve everyone.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Stopping),
        },
    }
}

#[cfg(test)]
mod tests;
