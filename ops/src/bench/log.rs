//! What does the log cost next to the least that any program would have to do on the same disk?
//!
//! Workload: see `measure`; the disk is the one that holds the current folder, or `--data`. Four measures, each beside its
//! plain counterpart in the same run:
//!
//! - append: records of 512 bytes in batches of 1,000, one sync a batch, against a program that writes the same bytes;
//! - one durable append, 99th percentile, against a bare 4 KiB write and fdatasync;
//! - scan, verify and decode from the page cache, against a plain read;
//! - opening a large log after a stop in good order, and after its process was killed.

mod measure;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use self::measure::{Figures, Settings};
use super::BenchArgs;

/// Size of the log that is opened, in bytes.
const OPEN_BYTES: u64 = 1_000_000_000;

/// The same with `--full`: the size that the promise about opening names.
const OPEN_BYTES_FULL: u64 = 10_000_000_000;

/// Batches of a round without `--full`.
const BATCHES: usize = 200;

/// Fewer batches would fill no segment, and there would be nothing to scan.
const BATCHES_MIN: usize = 160;

/// Runs the benchmark; its figures as JSON.
pub(super) fn run(args: &BenchArgs) -> Result<serde_json::Value, Box<dyn Error>> {
    let default = Settings::default();
    let batches = if args.full { default.batches } else { BATCHES };
    let events = args.events.map(|events| usize::try_from(events).unwrap_or(usize::MAX));
    let settings = Settings {
        batches: events.map_or(batches, |events| events.div_ceil(default.batch_records).max(BATCHES_MIN)),
        rounds: args.rounds.unwrap_or(default.rounds).max(1),
        open_bytes: if args.full { OPEN_BYTES_FULL } else { OPEN_BYTES },
        ..default
    };
    // A temporary folder may lie in memory, where a sync costs nothing and means nothing.
    let folder = args.data.as_deref().unwrap_or(Path::new("."));
    let figures = measure::run(folder, &settings, &mut |step| eprintln!("{step} ..."))?;
    eprint!("{}", table(&figures));
    Ok(line(&settings, &figures))
}

fn table(figures: &Figures) -> String {
    let rate = |bytes_per_second: f64| format!("{:.0} MB/s", bytes_per_second / 1e6);
    let micros = |time: Duration| format!("{:.0} us", time.as_secs_f64() * 1e6);
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let ratio = |ratio: f64| format!("{ratio:.2}");
    let open = format!("open {:.1} GB", figures.open_bytes as f64 / 1e9);
    let rows = [
        ["", "lifeline", "plain", "ratio", "promised"].map(str::to_owned),
        [
            "append".to_owned(),
            rate(figures.append_bytes_per_second),
            rate(figures.plain_write_bytes_per_second),
            ratio(figures.append_ratio),
            ">= 0.70".to_owned(),
        ],
        [
            "one append, p99".to_owned(),
            micros(figures.single_append_p99),
            micros(figures.plain_sync_p99),
            ratio(figures.single_append_p99_ratio),
            "<= 1.20".to_owned(),
        ],
        [
            "scan".to_owned(),
            rate(figures.scan_bytes_per_second),
            rate(figures.plain_read_bytes_per_second),
            ratio(figures.scan_ratio),
            ">= 0.60".to_owned(),
        ],
        [
            format!("{open} after a stop"),
            millis(figures.open_after_stop),
            String::new(),
            String::new(),
            "< 100 ms".to_owned(),
        ],
        [
            format!("{open} after a kill"),
            millis(figures.open_after_kill),
            String::new(),
            String::new(),
            "< 1 s".to_owned(),
        ],
    ];
    let mut out = String::new();
    for [what, ours, plain, ratio, promised] in rows {
        out.push_str(&format!("{what:<24} {ours:>12} {plain:>12} {ratio:>6}   {promised}\n"));
    }
    out
}

fn line(settings: &Settings, figures: &Figures) -> serde_json::Value {
    let thousandth = |figure: f64| (figure * 1_000.0).round() / 1_000.0;
    let millis = |time: Duration| thousandth(time.as_secs_f64() * 1e3);
    json!({
        "bench": "log",
        "ratio": thousandth(figures.append_ratio),
        "append_ratio": thousandth(figures.append_ratio),
        "append_bytes_per_second": figures.append_bytes_per_second.round(),
        "plain_write_bytes_per_second": figures.plain_write_bytes_per_second.round(),
        "single_append_p99_ratio": thousandth(figures.single_append_p99_ratio),
        "single_append_p50_ms": millis(figures.single_append_p50),
        "single_append_p99_ms": millis(figures.single_append_p99),
        "plain_sync_p50_ms": millis(figures.plain_sync_p50),
        "plain_sync_p99_ms": millis(figures.plain_sync_p99),
        "scan_ratio": thousandth(figures.scan_ratio),
        "scan_bytes_per_second": figures.scan_bytes_per_second.round(),
        "plain_read_bytes_per_second": figures.plain_read_bytes_per_second.round(),
        "open_bytes": figures.open_bytes,
        "open_after_stop_ms": millis(figures.open_after_stop),
        "open_after_kill_ms": millis(figures.open_after_kill),
        "payload_bytes": settings.payload_bytes,
        "batch_records": settings.batch_records,
        "batches": settings.batches,
        "rounds": settings.rounds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_is_in_the_line_and_in_the_table() {
        let figures = Figures { append_ratio: 0.8125, open_bytes: 1_000_000_000, ..Figures::default() };
        let line = line(&Settings::default(), &figures);
        assert_eq!((&line["bench"], &line["ratio"]), (&json!("log"), &json!(0.813)));
        for measure in
            ["append_ratio", "single_append_p99_ratio", "scan_ratio", "open_after_stop_ms", "open_after_kill_ms"]
        {
            assert!(line[measure].is_number(), "{measure}");
        }
        let table = table(&figures);
        assert_eq!(table.lines().count(), 6);
        assert!(table.contains("0.81   >= 0.70") && table.contains("open 1.0 GB after a kill"), "{table}");
    }
}
