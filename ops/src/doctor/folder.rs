//! The data folder: room, rights, and how long the disk takes to make bytes durable.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Finding;
use crate::care;
use crate::terminal::count;

/// Below this, intake waits.
const SPACE_BYTES_MIN: u64 = 256 << 20;

/// Below this, somebody should look soon.
const SPACE_BYTES_COMFORT: u64 = 1 << 30;

/// Rounds of writing and syncing, and the time after which no further one begins.
const ROUNDS: usize = 20;
const ROUNDS_WITHIN: Duration = Duration::from_secs(2);

/// A disk that does not answer at all is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A group of events waits for one sync; a slower disk is felt by every event.
const SYNC_MAX: Duration = Duration::from_millis(50);

/// Looks at a data folder, which need not be there yet.
pub(super) async fn examine(data: &Path) -> Vec<Finding> {
    let data = data.to_owned();
    let looked = tokio::task::spawn_blocking(move || look(&data));
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(Ok(found)) => found,
        _ => vec![Finding::failed(
            "data folder",
            format!("the disk does not answer within {} s", PATIENCE.as_secs()),
            "look at the disk, or name another folder by `--data`",
        )],
    }
}

/// Whether an engine has this folder now.
pub(super) fn is_in_use(data: &Path) -> bool {
    matches!(care::info::info(data), Err(care::Error::InUse { .. }))
}

fn look(data: &Path) -> Vec<Finding> {
    let Some(place) = existing(data) else {
        let remedy = "make the folder, or name another one by `--data`";
        return vec![Finding::failed(
            "data folder",
            format!("`{}` and no folder above it exist", data.display()),
            remedy,
        )];
    };
    let mut found = vec![log(data)];
    match rustix::fs::statvfs(&place) {
        Ok(stat) => found.push(space(stat.f_bavail.saturating_mul(stat.f_frsize))),
        Err(error) => {
            found.push(Finding::failed("disk space", error.to_string(), "look at the disk of the data folder"));
        }
    }
    found.push(match measure(&place) {
        Ok(times) => sync(&times),
        Err(error) => Finding::failed(
            "disk sync",
            format!("nothing can be written in `{}`: {error}", place.display()),
            "make room, and let the user of the engine write to the folder",
        ),
    });
    found
}

/// The folder, or the nearest one above it that exists.
fn existing(data: &Path) -> Option<PathBuf> {
    let data = std::path::absolute(data).ok()?;
    data.ancestors().find(|folder| folder.is_dir()).map(Path::to_owned)
}

fn log(data: &Path) -> Finding {
    let check = "data folder";
    match care::info::info(data) {
        Ok(info) if info.damage.is_empty() => Finding::ok(
            check,
            format!("`{}` holds a log of {}", data.display(), count(info.end - info.start, "record")),
        ),
        Ok(info) => Finding::failed(
            check,
            format!("the log in `{}` has {} damaged places", data.display(), info.damage.len()),
            "`lifeline verify --data DIR` says where, `lifeline log repair` restores what the stream still holds",
        ),
        Err(care::Error::NoLog { .. }) => without_log(data),
        Err(care::Error::InUse { .. }) => Finding::ok(check, format!("`{}` is in use by an engine", data.display())),
        Err(error) => Finding::of_error(check, &error),
    }
}

/// A folder without a log: right for a first start, and else the wrong folder.
fn without_log(data: &Path) -> Finding {
    let (check, folder) = ("data folder", data.display());
    let Ok(entries) = std::fs::read_dir(data) else {
        return Finding::ok(check, format!("`{folder}` is not there: a start makes it, with an empty log"));
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut strangers: Vec<String> = names.filter(|name| !OWN_NAMES.contains(&name.as_str())).collect();
    strangers.sort();
    let Some(first) = strangers.first() else {
        return Finding::ok(check, format!("`{folder}` is empty: a start makes an empty log in it"));
    };
    let files = match strangers.len() {
        1 => format!("`{first}`"),
        several => format!("`{first}` and {} more", several - 1),
    };
    let found = format!("`{folder}` has no log, and holds what is not of Lifeline: {files}");
    Finding::warning(check, found, "name a folder of its own by `--data`, or that of the engine that was stopped")
}

/// Whether there is a log in a data folder.
pub(super) fn has_log(data: &Path) -> bool {
    !matches!(care::info::info(data), Err(care::Error::NoLog { .. }))
}

/// What Lifeline, and the file system of a volume, put into a data folder.
const OWN_NAMES: [&str; 8] =
    ["log", "projection", "cluster", "instance", "instance.new", "names", "names.new", "lost+found"];

fn space(bytes: u64) -> Finding {
    let found = format!("{} MiB free", bytes >> 20);
    let remedy = "free some, or enlarge the volume; intake waits below 256 MiB, so that outcomes find room";
    if bytes < SPACE_BYTES_MIN {
        Finding::failed("disk space", found, remedy)
    } else if bytes < SPACE_BYTES_COMFORT {
        Finding::warning("disk space", found, remedy)
    } else {
        Finding::ok("disk space", found)
    }
}

/// How long each sync took. The file has no name and is gone with its handle.
fn measure(folder: &Path) -> std::io::Result<Vec<Duration>> {
    let mut file = tempfile::tempfile_in(folder)?;
    let (began, mut times) = (Instant::now(), Vec::new());
    while times.len() < ROUNDS && (times.is_empty() || began.elapsed() < ROUNDS_WITHIN) {
        let round = Instant::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[0x4c; 4096])?;
        file.sync_data()?;
        times.push(round.elapsed());
    }
    Ok(times)
}

fn sync(times: &[Duration]) -> Finding {
    let mut sorted = times.to_vec();
    sorted.sort();
    let (median, longest) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    let found =
        format!("{:.1} ms in the middle, {:.1} ms at most, of {} syncs", millis(median), millis(longest), times.len());
    if median > SYNC_MAX {
        Finding::warning(
            "disk sync",
            found,
            "put the data folder on a faster disk: every group of events waits for one sync",
        )
    } else {
        Finding::ok("disk sync", found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn room_and_syncs_are_judged_by_what_an_engine_needs() {
        let check = |finding: Finding, verdict: Verdict| assert_eq!(finding.verdict, verdict, "{finding:?}");
        check(space(0), Verdict::Failed);
        check(space((256 << 20) - 1), Verdict::Failed);
        check(space(256 << 20), Verdict::Warning);
        check(space(1 << 30), Verdict::Ok);
        check(sync(&[Duration::from_millis(1), Duration::from_millis(2), Duration::from_secs(1)]), Verdict::Ok);
        check(sync(&[Duration::from_millis(51)]), Verdict::Warning);
    }

    #[test]
    fn a_folder_without_a_log_is_for_a_first_start_unless_it_is_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let check = |verdict: Verdict, text: &str| {
            let found = log(folder.path());
            assert_eq!((found.verdict, found.found.contains(text)), (verdict, true), "{found:?}");
        };
        check(Verdict::Ok, "is empty");
        std::fs::write(folder.path().join("instance"), "").unwrap();
        check(Verdict::Ok, "is empty");
        std::fs::write(folder.path().join("passwd"), "").unwrap();
        check(Verdict::Warning, "what is not of Lifeline: `passwd`");
        std::fs::write(folder.path().join("zeta"), "").unwrap();
        check(Verdict::Warning, "`passwd` and 1 more");
    }

    #[tokio::test]
    async fn looking_at_a_folder_leaves_nothing_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let found = examine(&folder.path().join("not/yet")).await;
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].found.contains("a start makes it") && found[2].verdict != Verdict::Failed, "{found:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
