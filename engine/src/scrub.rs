//! The scrub: the whole log is read again and again, slowly, to find damage before someone needs the record.
//!
//! Start at [`run`]. Damage is reported once where it is found, and stays in the status until a pass does not find it any
//! more. It reads on threads that may block, never on those that serve; its rate is bounded, so that it takes next to nothing
//! from the disk.
//!
//! Never here: repair, which is for a stopped engine and somebody who decides it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lifeline_store::{Disk, Pace, Progress, Scrub};
use parking_lot::Mutex;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::damage::{self, place};
use crate::error_text::chain;
use crate::status::ScrubStatus;
use crate::view::View;

/// How often it reads a little: the rate is smooth, and a stop is not waited for.
const STEP_PERIOD: Duration = Duration::from_millis(250);

/// How fast and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes read a second.
    pub bytes_per_second: u64,
    /// From the start of the engine to the first pass, so that the scrub does not slow down a start.
    pub first_after: Duration,
    /// From the begin of a pass to the begin of the next. A pass that takes longer is followed at once.
    pub period: Duration,
}

impl Settings {
    /// The first pass five minutes after the start, then one a day.
    #[must_use]
    pub const fn daily(bytes_per_second: u64) -> Settings {
        Settings {
            bytes_per_second,
            first_after: Duration::from_secs(5 * 60),
            period: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Scrubs for ever, or until it is dropped; `status` gets its progress.
pub async fn run<D: Disk>(
    view: &Arc<View<D>>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    status: &Mutex<Option<ScrubStatus>>,
) {
    *status.lock() = Some(ScrubStatus::default());
    let tell = |change: &mut dyn FnMut(&mut ScrubStatus)| change(status.lock().get_or_insert_default());
    // Reported once for as long as the process lives, however often it is found.
    let mut told = BTreeSet::new();
    let mut next = tokio::time::Instant::now() + settings.first_after;
    loop {
        tokio::time::sleep_until(next).await;
        next = tokio::time::Instant::now() + settings.period;
        let mut scrub = view.log().scrub();
        let before = status.lock().as_ref().map_or(0, |status| status.bytes);
        let known = status.lock().as_ref().map_or(0, |status| status.damaged_records);
        let mut pace = Pace::new(settings.bytes_per_second, clock.now_unix_nanos());
        let failed = loop {
            let progress = *scrub.progress();
            tell(&mut |status| note(status, &progress, before, known));
            if progress.is_done() {
                break None;
            }
            tokio::time::sleep(STEP_PERIOD).await;
            let due_bytes = pace.due_bytes(clock.now_unix_nanos());
            let (back, stepped) = step(scrub, due_bytes).await;
            scrub = back;
            for damage in scrub.damage() {
                if told.insert((damage.file.clone(), damage.bytes.start)) {
                    let found = place(damage);
                    error!("{}", damage::found(&found));
                    tell(&mut |status| status.damage.push(found.clone()));
                }
            }
            if let Err(error) = stepped {
                break Some(chain(&error));
            }
        };
        if let Some(reason) = &failed {
            warn!("the log was not read to its end by the scrub: {reason}");
        }
        let now = clock.now_unix_nanos();
        let progress = *scrub.progress();
        let damage: Vec<String> = scrub.into_damage().iter().map(place).collect();
        tell(&mut |status| {
            status.running = false;
            status.trouble.clone_from(&failed);
            if failed.is_none() {
                status.passes += 1;
                status.completed_unix_nanos = Some(now);
                // What an earlier pass found and this one did not was repaired, or dropped with its segment.
                status.damage.clone_from(&damage);
                status.damaged_records = progress.damaged_records;
            }
        });
        if failed.is_none() {
            info!(
                records = progress.records,
                bytes = progress.bytes,
                damaged = progress.damaged_records,
                "log scrubbed"
            );
        }
    }
}

fn note(status: &mut ScrubStatus, progress: &Progress, bytes_before: u64, known: u64) {
    status.running = true;
    status.position = progress.position.get();
    status.end = progress.end.get();
    status.bytes = bytes_before + progress.bytes;
    status.damaged_records = progress.damaged_records.max(known);
}

async fn step<D: Disk>(mut scrub: Scrub<D>, bytes: u64) -> (Scrub<D>, Result<(), lifeline_store::Error>) {
    let stepped = tokio::task::spawn_blocking(move || {
        let stepped = scrub.step(bytes).map(|_| ());
        (scrub, stepped)
    });
    stepped.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

#[cfg(test)]
mod tests {
    use lifeline_projections::fold::Projection;
    use lifeline_store::{Log, Options, SimulatedDisk};

    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn damage_is_found_told_and_forgotten_once_it_is_gone() {
        let disk = SimulatedDisk::new(1);
        let options =
            Options { low_space_bytes: 0, segment_bytes_max: 1 << 20, payload_bytes_max: 4096, ..Options::default() };
        let (mut log, _) = Log::open(disk.clone(), options).unwrap();
        for number in 0..100_u64 {
            log.append(number, &[7; 100]).unwrap();
        }
        log.sync().unwrap();
        let view = View::new(Projection::default(), log.reader());
        let name = disk.files().into_iter().map(|(name, _)| name).find(|name| name.ends_with(".segment")).unwrap();
        let bit = 8 * (4096 + 50 * 144 + 60);
        disk.flip_bit(&name, bit);

        let status = Mutex::default();
        let settings =
            Settings { bytes_per_second: 1 << 20, first_after: Duration::ZERO, period: Duration::from_millis(1) };
        let passes = |status: &Mutex<Option<ScrubStatus>>| status.lock().as_ref().map_or(0, |status| status.passes);
        let watch = async {
            while passes(&status) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let found = status.lock().clone().unwrap();
            assert_eq!((found.damaged_records, found.end), (1, 100), "{found:?}");
            assert!(found.damage[0].starts_with("record `50` in `0000"), "{found:?}");
            disk.flip_bit(&name, bit);
            let seen = found.passes;
            while passes(&status) < seen + 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let healed = status.lock().clone().unwrap();
            assert!(healed.damage.is_empty() && healed.damaged_records == 0, "{healed:?}");
        };
        tokio::select! {
            biased;
            () = run(&view, settings, Arc::new(SystemClock), &status) => unreachable!("it never ends by itself"),
            () = watch => {}
        }
    }
}
