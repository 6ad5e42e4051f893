//! How a session of a reader, or handing over, ended.

use crate::intake::Error;

/// How a session ended, when not by an error.
pub(super) enum Ended {
    /// The recorder takes no more.
    Closed,
    /// The stream has to be looked at again.
    LookAgain(String),
    /// There is no such stream.
    Missing,
    /// The first messages that waited were read alone.
    ReadAlone,
    /// Other subjects of the stream are to be read.
    ReadsOtherwise,
}

/// Why handing over stopped.
pub(super) enum Stop {
    Closed,
    LookAgain(String),
    Failed(Error),
}

impl From<Stop> for Result<Ended, Error> {
    fn from(stop: Stop) -> Result<Ended, Error> {
        match stop {
            Stop::Closed => Ok(Ended::Closed),
            Stop::LookAgain(reason) => Ok(Ended::LookAgain(reason)),
            Stop::Failed(error) => Err(error),
        }
    }
}
