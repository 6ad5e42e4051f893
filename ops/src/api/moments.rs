//! Moments that questions are about: where they end in the log, once nothing can come before that any more.
//!
//! Start at [`recorded_end`]. An answer about the past is never to change, so what is on its way into the state is waited for
//! where it belongs to the moment, and the future is refused.

use std::time::{Duration, Instant};

use lifeline_engine::clock::{Clock, SystemClock};
use lifeline_projections::as_of::Moment;
use lifeline_projections::reads;
use lifeline_store::{Disk, Offset};

use super::Shared;
use super::lists::PATIENCE;
use super::problem::Problem;

/// How often is looked whether a moment is settled: a group takes a few milliseconds.
const PAUSE: Duration = Duration::from_millis(1);

/// How far ahead of the clock a time can be for being rounded.
const ROUNDED_UP_MAX: Duration = Duration::from_millis(1);

/// Where a moment ends in the log. Waits, for a while, until everything up to it is recorded and folded; for that it blocks.
pub(super) fn recorded_end<D: Disk>(shared: &Shared<D>, moment: Moment) -> Result<Offset, Problem> {
    let began = Instant::now();
    if let Moment::Time(unix_nanos) = moment {
        // A time that was shown, rounded up, may be a part of a millisecond ahead.
        let ahead = Duration::from_nanos(unix_nanos.saturating_sub(SystemClock.now_unix_nanos()));
        if ahead <= ROUNDED_UP_MAX {
            std::thread::sleep(ahead);
        }
        // Sealed, a time to come would push the stamps of what comes ahead of the clock.
        if unix_nanos > SystemClock.now_unix_nanos() {
            let text = format!(
                "moment `{}` lies in the future\nhint: leave it out to ask for the present",
                reads::time(unix_nanos)
            );
            return Err(Problem::bad_parameter(&text));
        }
        while !shared.view.seal(unix_nanos) {
            if began.elapsed() > PATIENCE {
                return Err(Problem::not_settled(unix_nanos));
            }
            std::thread::sleep(PAUSE);
        }
    }
    let end = moment.end(&shared.view.log())?;
    loop {
        let folded = shared.view.projection().watermark();
        if folded >= end {
            return Ok(end);
        }
        if began.elapsed() > PATIENCE {
            return Err(Problem::not_reached(end, folded));
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests;
