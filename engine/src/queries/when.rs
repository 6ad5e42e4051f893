//! Which state an answer reflects: the present one, or one that ends at an offset, once nothing can come before that any more.
//!
//! Start at [`Queries::reach`]. An answer about the past is never to change, so what is on its way into the state is waited for
//! where it belongs to the moment, and the future is refused. Waiting takes no thread.

use std::time::Duration;

use lifeline_projections::as_of::Moment;
use lifeline_store::{Disk, Offset};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Error, Queries, blocking};

/// How long an answer waits for the state that it was asked to reflect.
const PATIENCE: Duration = Duration::from_secs(3);

/// How far ahead of the clock a time can be for being rounded.
const ROUNDED_UP_MAX: Duration = Duration::from_millis(1);

/// Which state is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct When {
    /// Every record below this offset is reflected; `None` for those that are folded already.
    pub at_least: Option<Offset>,
    /// The state as it was at this moment; `None` for the present one.
    pub as_of: Option<Moment>,
}

impl<D: Disk> Queries<D> {
    /// Waits for the state that is asked for: where it ends in the log, or `None` for the present one.
    pub(super) async fn reach(&self, when: When) -> Result<Option<Offset>, Error> {
        if let Some(offset) = when.at_least {
            self.folded(offset, Instant::now() + PATIENCE).await?;
        }
        match when.as_of {
            Some(moment) => self.end(moment).await.map(Some),
            None => Ok(None),
        }
    }

    /// Where a moment ends in the log. Waits, for a while, until everything up to it is recorded and folded.
    pub(super) async fn end(&self, moment: Moment) -> Result<Offset, Error> {
        let deadline = Instant::now() + PATIENCE;
        let end = match moment {
            Moment::Offset(_) => moment.end(&self.view.log())?,
            Moment::Time(unix_nanos) => {
                self.settled(unix_nanos, deadline).await?;
                // Opened after the wait: the recorder opens the log again where its disk failed.
                let log = self.view.log();
                blocking(move || Ok(moment.end(&log)?)).await?
            }
        };
        self.folded(end, deadline).await?;
        Ok(end)
    }

    /// Waits until what is recorded up to a time is settled.
    async fn settled(&self, unix_nanos: u64, deadline: Instant) -> Result<(), Error> {
        // A time that was shown, rounded up, may be a part of a millisecond ahead.
        let ahead = Duration::from_nanos(unix_nanos.saturating_sub(self.clock.now_unix_nanos()));
        if !ahead.is_zero() && ahead <= ROUNDED_UP_MAX {
            sleep(ahead).await;
        }
        // A time to come is not sealed: later records would get stamps ahead of the clock.
        if unix_nanos > self.clock.now_unix_nanos() {
            return Err(Error::Future { unix_nanos });
        }
        let sealed = timeout_at(deadline, self.view.sealed(unix_nanos)).await;
        sealed.map_err(|_| Error::NotSettled { unix_nanos })
    }

    /// Waits until everything below an offset is folded.
    async fn folded(&self, offset: Offset, deadline: Instant) -> Result<(), Error> {
        let reached = timeout_at(deadline, self.view.reached(offset)).await;
        reached.map_err(|_| Error::NotReached { offset, folded: self.view.folded() })
    }
}
