//! How fast the log is, next to the least that any program would have to do on the same disk.
//!
//! Question: what do framing, checksums, group commit, recovery and verification cost over plain writes, syncs and reads?
//! Workload: appends of small records in batches with one sync each; single durable appends; a scan of what was
//! written; opening a large log. Each figure is measured in alternation with its plain counterpart, several rounds, and
//! the medians are compared, since a shared disk is never twice the same.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use lifeline_store::{Error, Log, Offset, Options, OsDisk};

/// How much to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Size of a record's payload in bytes. Default 512.
    pub payload_bytes: usize,
    /// Records appended before each sync. Default 1,000.
    pub batch_records: usize,
    /// Batches per round. Default 400.
    pub batches: usize,
    /// Rounds, of which the median counts. Default 5.
    pub rounds: usize,
    /// Single durable appends, all rounds together. Default 4,000.
    pub single_appends: usize,
    /// Size in bytes of the log that is opened; zero leaves that out. Default 10 GB.
    pub open_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            payload_bytes: 512,
            batch_records: 1_000,
            batches: 400,
            rounds: 5,
            single_appends: 4_000,
            open_bytes: 10_000_000_000,
        }
    }
}

/// What was measured; bytes count payload only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Appended and synced by the log.
    pub append_bytes_per_second: f64,
    /// Written and synced by a plain program.
    pub plain_write_bytes_per_second: f64,
    /// The median over rounds of the log's rate by the plain one's.
    pub append_ratio: f64,
    /// A single durable append: half of them took at most this long.
    pub single_append_p50: Duration,
    /// 99 in 100 took at most this long.
    pub single_append_p99: Duration,
    /// A 4 KiB write at the end of a file and fdatasync: median.
    pub plain_sync_p50: Duration,
    /// And the 99th percentile.
    pub plain_sync_p99: Duration,
    /// The 99th percentile of a single append by that of a plain write and sync.
    pub single_append_p99_ratio: f64,
    /// Scanned, verified and decoded, from the page cache; all bytes of the files count.
    pub scan_bytes_per_second: f64,
    /// Read from start to end by a plain program, from the page cache.
    pub plain_read_bytes_per_second: f64,
    /// The median over rounds of the scan's rate by the plain one's.
    pub scan_ratio: f64,
    /// Size of the log that was opened; zero when that was left out.
    pub open_bytes: u64,
    /// Opening it after a stop in good order.
    pub open_after_stop: Duration,
    /// Opening it after its process was gone in the middle of a group.
    pub open_after_kill: Duration,
}

/// Measures in a folder of its own under `folder`, which it empties before and removes after.
///
/// # Errors
/// [`Error::Io`] when the disk refuses, and whatever the log says.
pub fn run(folder: &Path, settings: &Settings, progress: &mut dyn FnMut(&str)) -> Result<Figures, Error> {
    let folder = folder.join("lifeline-bench-log");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
    let mut figures = Figures::default();
    measure_append_and_scan(&folder, settings, &mut figures, progress)?;
    measure_single_appends(&folder, settings, &mut figures, progress)?;
    if settings.open_bytes > 0 {
        measure_open(&folder, settings, &mut figures, progress)?;
    }
    fs::remove_dir_all(&folder).map_err(failed("remove", &folder))?;
    Ok(figures)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { doing, file: path.display().to_string(), source }
}

fn options() -> Options {
    Options { low_space_bytes: 0, ..Options::default() }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or_default()
}

fn new_file(path: &Path) -> Result<fs::File, Error> {
    fs::File::options().create(true).truncate(true).read(true).write(true).open(path).map_err(failed("create", path))
}

fn measure_append_and_scan(
    folder: &Path,
    settings: &Settings,
    figures: &mut Figures,
    progress: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let payload: Vec<u8> = (0..settings.payload_bytes).map(|index| (index * 7) as u8).collect();
    let batch = payload.repeat(settings.batch_records);
    let bytes = (batch.len() * settings.batches) as f64;
    let mut rates: [Vec<f64>; 6] = Default::default();
    for round in 1..=settings.rounds {
        progress(&format!("append and scan, round {round} of {}", settings.rounds));
        let plain_path = folder.join("plain");
        let file = new_file(&plain_path)?;
        let start = Instant::now();
        for index in 0..settings.batches {
            file.write_all_at(&batch, (index * batch.len()) as u64).map_err(failed("write", &plain_path))?;
            file.sync_data().map_err(failed("sync", &plain_path))?;
        }
        let plain_write = bytes / start.elapsed().as_secs_f64();
        fs::remove_file(&plain_path).map_err(failed("remove", &plain_path))?;

        let log_folder = folder.join(format!("append-{round}"));
        let (mut log, _) = Log::open(OsDisk::open(&log_folder)?, options())?;
        let start = Instant::now();
        for index in 0..settings.batches {
            for _ in 0..settings.batch_records {
                log.append(index as u64, &payload)?;
            }
            log.sync()?;
        }
        let append = bytes / start.elapsed().as_secs_f64();

        let (scanned_bytes, scan, read) = scan_against_read(&log, &log_folder)?;
        for (rates, value) in rates.iter_mut().zip([
            plain_write,
            append,
            append / plain_write,
            scanned_bytes / scan.as_secs_f64(),
            scanned_bytes / read.as_secs_f64(),
            read.as_secs_f64() / scan.as_secs_f64(),
        ]) {
            rates.push(value);
        }
        drop(log);
        fs::remove_dir_all(&log_folder).map_err(failed("remove", &log_folder))?;
    }
    let [plain_write, append, append_ratio, scan, read, scan_ratio] = rates.map(median);
    figures.plain_write_bytes_per_second = plain_write;
    figures.append_bytes_per_second = append;
    figures.append_ratio = append_ratio;
    figures.scan_bytes_per_second = scan;
    figures.plain_read_bytes_per_second = read;
    figures.scan_ratio = scan_ratio;
    Ok(())
}

/// Scans a log and reads its files plainly, three times each in alternation; the bytes and the best time of each.
fn scan_against_read(log: &Log, folder: &Path) -> Result<(f64, Duration, Duration), Error> {
    let mut segments: Vec<_> = fs::read_dir(folder)
        .map_err(failed("list", folder))?
        .filter_map(|entry| {
            Some(entry.ok()?.path()).filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        })
        .collect();
    segments.sort();
    // The last segment's reserved end holds nothing to scan.
    segments.pop();
    let last = log.reader().sealed()?.last().map_or(Offset::ZERO, |segment| segment.end);
    let (mut scan_best, mut read_best, mut bytes) = (Duration::MAX, Duration::MAX, 0);
    let mut buffer = vec![0; 256 << 10];
    for _ in 0..3 {
        let start = Instant::now();
        bytes = 0;
        for path in &segments {
            let file = fs::File::open(path).map_err(failed("open", path))?;
            let mut position = 0;
            loop {
                let read = file.read_at(&mut buffer, position).map_err(failed("read", path))?;
                if read == 0 {
                    break;
                }
                position += read as u64;
            }
            bytes += position;
        }
        read_best = read_best.min(start.elapsed());

        let start = Instant::now();
        let mut scan = log.reader().scan(Offset::ZERO);
        let mut payload_bytes = 0;
        while scan.position() < last {
            payload_bytes += scan.next()?.map_or(0, |record| record.payload.len());
        }
        std::hint::black_box(payload_bytes);
        scan_best = scan_best.min(start.elapsed());
    }
    Ok((bytes as f64, scan_best, read_best))
}

fn measure_single_appends(
    folder: &Path,
    settings: &Settings,
    figures: &mut Figures,
    progress: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    progress("single durable appends");
    let log_folder = folder.join("single");
    let plain_path = folder.join("plain");
    let payload = vec![7; settings.payload_bytes];
    let page = [7; 4096];
    let (mut log, _) = Log::open(OsDisk::open(&log_folder)?, options())?;
    let file = new_file(&plain_path)?;
    let (mut single, mut plain) = (Vec::new(), Vec::new());
    for index in 0..settings.single_appends {
        let start = Instant::now();
        file.write_all_at(&page, (index * page.len()) as u64).map_err(failed("write", &plain_path))?;
        file.sync_data().map_err(failed("sync", &plain_path))?;
        plain.push(start.elapsed());
        let start = Instant::now();
        log.append(index as u64, &payload)?;
        log.sync()?;
        single.push(start.elapsed());
    }
    single.sort_unstable();
    plain.sort_unstable();
    figures.single_append_p50 = percentile(&single, 50);
    figures.single_append_p99 = percentile(&single, 99);
    figures.plain_sync_p50 = percentile(&plain, 50);
    figures.plain_sync_p99 = percentile(&plain, 99);
    figures.single_append_p99_ratio = figures.single_append_p99.as_secs_f64() / figures.plain_sync_p99.as_secs_f64();
    Ok(())
}

fn measure_open(
    folder: &Path,
    settings: &Settings,
    figures: &mut Figures,
    progress: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let log_folder = folder.join("open");
    let payload = vec![7; 4096];
    let (mut log, _) = Log::open(OsDisk::open(&log_folder)?, options())?;
    let mut bytes = 0;
    let mut announced = 0;
    while bytes < settings.open_bytes {
        for _ in 0..1_000 {
            log.append(bytes, &payload)?;
            bytes += payload.len() as u64;
        }
        log.sync()?;
        if bytes * 10 / settings.open_bytes > announced {
            announced = bytes * 10 / settings.open_bytes;
            progress(&format!("writing the log to open, {announced}0 %"));
        }
    }
    log.close()?;
    figures.open_bytes = bytes;
    let start = Instant::now();
    let (mut log, _) = Log::open(OsDisk::open(&log_folder)?, options())?;
    figures.open_after_stop = start.elapsed();
    // A killed process leaves what it wrote; of a group, some of it.
    for _ in 0..1_500 {
        log.append(bytes, &payload)?;
    }
    drop(log);
    let start = Instant::now();
    let (log, _) = Log::open(OsDisk::open(&log_folder)?, options())?;
    figures.open_after_kill = start.elapsed();
    drop(log);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_run_gives_every_figure_and_cleans_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            payload_bytes: 64 << 10,
            batch_records: 100,
            batches: 15,
            rounds: 1,
            single_appends: 20,
            open_bytes: 5_000_000,
        };
        let mut steps = 0;
        let figures = run(folder.path(), &settings, &mut |_| steps += 1).expect("a run");
        assert!(steps > 3);
        for ratio in [figures.append_ratio, figures.scan_ratio, figures.single_append_p99_ratio] {
            assert!(ratio.is_finite() && ratio > 0.0, "{figures:?}");
        }
        assert!(figures.open_bytes >= 5_000_000 && !figures.open_after_kill.is_zero(), "{figures:?}");
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }
}
