//! A log folder that is replaced. While the engine runs, it ends with an error, and folds nothing of the other log. At a start,
//! what was saved of the former one does not count.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeline_engine::clock::{SimulatedClock, SystemClock};
use lifeline_engine::engine::{Engine, Ports, SavedIn};
use lifeline_engine::error_text::chain;
use lifeline_engine::recorder::{Error, Recorder};
use lifeline_engine::rules::{Current, RuleSet};
use lifeline_engine::site::Sites;
use lifeline_engine::view::View;
use lifeline_projections::fact::{Fact, RuleChanged};
use lifeline_projections::fold::Projection;
use lifeline_store::{Fault, Log, Offset, Options, OsDisk, SimulatedDisk};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

const START_UNIX_NANOS: u64 = 1_780_000_000_000_000_000;

fn options() -> Options {
    Options { segment_bytes_max: 64 << 10, payload_bytes_max: 16 << 10, low_space_bytes: 0, ..Options::default() }
}

fn write(log: &mut Log<SimulatedDisk>, from_unix_nanos: u64, records: u64) {
    for number in 0..records {
        let rule = format!("EventTrigger/t{number}");
        let mut bytes = Vec::new();
        Fact::Rule(RuleChanged { rule: &rule, digest: Some(1), manifest: "{}" }).encode(&mut bytes);
        log.append(from_unix_nanos + number, &bytes).expect("room");
    }
    log.sync().expect("a disk");
}

/// Runs a recorder on a log of five records. Its first write fails, and the log that is opened then has `records` of its own.
async fn swapped_for(records: u64, from_unix_nanos: u64) -> Result<(), Error> {
    let (disk, other) = (SimulatedDisk::new(7), SimulatedDisk::new(8));
    let (mut log, _) = Log::open(disk.clone(), options()).expect("an empty disk");
    write(&mut log, START_UNIX_NANOS, 5);
    let (mut another, _) = Log::open(other.clone(), options()).expect("an empty disk");
    write(&mut another, from_unix_nanos, records);
    another.close().expect("a disk");
    let mut projection = Projection::default();
    lifeline_engine::recorder::fold_tail(&mut projection, &log.reader(), |_, _| {}, |_| {}).expect("a sound log");
    let view = View::new(projection, log.reader());
    let clock = Arc::new(SimulatedClock::starting_at(START_UNIX_NANOS + 1_000_000));
    let (_intake, received) = mpsc::channel(4);
    let open_log = Box::new(move || Log::open(other.clone(), options()));
    let (recorder, _recording) = Recorder::new(open_log, log, view, Arc::new(Sites::new(Vec::new())), clock, received);
    // The rules of the log are gone: that is written.
    let rules = Current { rules: Some(Arc::new(RuleSet::empty())), troubles: Vec::new() };
    let (_rules, rules) = watch::channel(rules);
    let (stop, stopping) = watch::channel(false);
    (1..=4).for_each(|operation| disk.fail_at(disk.operations() + operation, Fault::Failure));
    let stops = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        stop.send_replace(true);
    };
    let (ended, ()) = tokio::join!(timeout(Duration::from_secs(60), recorder.run(rules, stopping)), stops);
    ended.expect("it ends")
}

#[tokio::test(start_paused = true)]
async fn another_log_ends_the_engine_with_both_offsets() {
    for (records, from) in
        [(0, START_UNIX_NANOS), (3, START_UNIX_NANOS), (5, START_UNIX_NANOS + 7), (9, START_UNIX_NANOS + 7)]
    {
        let Err(error) = swapped_for(records, from).await else { panic!("{records} records were taken for its own") };
        let Error::OtherLog { folded, end } = &error else { panic!("{records}: {error:?}") };
        assert_eq!((*folded, *end), (Offset::from(5), Offset::from(records)));
        let told = chain(&error);
        assert!(told.contains(&format!("ends at offset `{records}`")) && told.contains("offset `5`"), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_log_is_gone_on_with() {
    assert!(swapped_for(5, START_UNIX_NANOS).await.is_ok());
}

/// Writes a log of rules to a folder, as a stopped engine leaves it.
fn written(folder: &Path, from_unix_nanos: u64, records: u64) {
    let (mut log, _) = Log::open(OsDisk::open(folder).expect("a folder"), options()).expect("a log");
    for number in 0..records {
        let rule = format!("EventTrigger/from-{from_unix_nanos}-{number}");
        let mut bytes = Vec::new();
        Fact::Rule(RuleChanged { rule: &rule, digest: Some(1), manifest: "{}" }).encode(&mut bytes);
        log.append(from_unix_nanos + number, &bytes).expect("room");
    }
    log.close().expect("a disk");
}

/// Starts an engine on a data folder and stops it; the rules that it knows.
fn rules_of(data: &Path) -> Vec<String> {
    let log = data.join("log");
    let (_rules, rules) = watch::channel(Current::default());
    let ports = Ports {
        open_log: Box::new(move || Log::open(OsDisk::open(&log)?, options())),
        table: Some(SavedIn::Folder(data.join("projection"))),
        sites: Vec::new(),
        clock: Arc::new(SystemClock),
        rules,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (engine, parts) = Engine::open(ports, &mut |_, _| {}).expect("a sound log");
    let known = engine.view().read(|projection| projection.ground().rules.keys().cloned().collect());
    let end = runtime.block_on(async {
        let end = engine.start(parts);
        engine.stop();
        end.await
    });
    end.expect("the recorder answers").expect("a disk");
    known
}

#[test]
fn what_was_saved_of_another_log_is_not_gone_on_with() {
    let [data, other] = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    written(&data.path().join("log"), START_UNIX_NANOS, 3);
    assert_eq!(rules_of(data.path()).len(), 3);
    written(&other.path().join("log"), START_UNIX_NANOS + 7, 5);
    fs::remove_dir_all(data.path().join("log")).expect("a folder");
    fs::rename(other.path().join("log"), data.path().join("log")).expect("one file system");
    let known = rules_of(data.path());
    let first = format!("EventTrigger/from-{}-0", START_UNIX_NANOS + 7);
    assert_eq!((known.len(), known.contains(&first)), (5, true), "{known:?}");
}
