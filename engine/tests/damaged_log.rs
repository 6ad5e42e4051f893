//! An engine on a log with damage: it starts where the state does not need what is lost, and says exactly what it is
//! missing where it does.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lifeline_engine::clock::SystemClock;
use lifeline_engine::engine::{Engine, Ports, SavedIn};
use lifeline_engine::error_text;
use lifeline_engine::recorder;
use lifeline_engine::rules::Current;
use lifeline_projections::fact::{Fact, RuleChanged};
use lifeline_store::{Log, Options, OsDisk};
use tokio::sync::watch;

const RECORDS: u64 = 200;
const DAMAGED: u64 = 120;

fn options() -> Options {
    Options { segment_bytes_max: 1 << 20, payload_bytes_max: 4096, low_space_bytes: 0, ..Options::default() }
}

/// A log as a stopped engine leaves it.
fn write(folder: &Path) {
    let (mut log, _) = Log::open(OsDisk::open(folder).expect("a folder"), options()).expect("a log");
    for number in 0..RECORDS {
        let rule = format!("ConfigMap/default/rule-{number}");
        let mut bytes = Vec::new();
        Fact::Rule(RuleChanged { rule: &rule, digest: Some(number), manifest: "{}" }).encode(&mut bytes);
        log.append(number, &bytes).expect("room");
    }
    log.close().expect("a disk");
}

/// Flips a bit of a record, through the file system.
fn damage(folder: &Path) {
    let segment = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|it| it == "segment")).expect("one");
    let mut bytes = fs::read(&segment).expect("a file");
    let needle = format!("rule-{DAMAGED}");
    let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).expect("the record");
    bytes[at] ^= 1;
    fs::write(&segment, bytes).expect("a disk");
}

fn open(data: &Path) -> Result<u64, recorder::Error> {
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
    let (engine, parts) = Engine::open(ports, &mut |_, _| {})?;
    let watermark = engine.view().read(|projection| projection.watermark().get());
    // In earnest a stop writes the checkpoint.
    let end = runtime.block_on(async {
        let end = engine.start(parts);
        engine.stop();
        end.await
    });
    end.expect("the recorder answers")?;
    Ok(watermark)
}

#[test]
fn an_engine_refuses_to_start_without_a_record_that_its_state_needs() {
    let data = tempfile::tempdir().expect("a folder");
    let log = data.path().join("log");
    write(&log);
    damage(&log);
    let Err(error) = open(data.path()) else { panic!("it started without record {DAMAGED}") };
    assert!(
        matches!(&error, recorder::Error::Damaged { offsets, .. } if (offsets.start.get(), offsets.end.get()) == (DAMAGED, DAMAGED + 1)),
        "{error:?}"
    );
    let text = error_text::chain(&error);
    for part in [
        "`00000000000000000000.segment` is damaged at record `120`, bytes `",
        "the state reaches offset `120`",
        "`lifeline verify --data DIR`",
        "`lifeline log repair --from-stream --data DIR`",
    ] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
}

#[test]
fn an_engine_starts_when_its_checkpoint_holds_what_is_damaged() {
    let data = tempfile::tempdir().expect("a folder");
    let log = data.path().join("log");
    write(&log);
    assert_eq!(open(data.path()).expect("a sound log"), RECORDS);
    damage(&log);
    assert_eq!(open(data.path()).expect("the checkpoint holds the record"), RECORDS);
    fs::remove_dir_all(data.path().join("projection")).expect("a folder");
    assert!(open(data.path()).is_err(), "without the checkpoint it needs the record");
}
