//! The format, frozen: files written by this release are byte for byte the committed ones, and those still open.
//!
//! When the format changes on purpose: raise the version, write FORMAT.md first, then
//! `LIFELINE_GOLDEN=write cargo test -p lifeline-store --test golden`, and keep the old folder for the reader.

use std::fs;
use std::path::PathBuf;

use lifeline_store::{Log, Offset, Options, Random, Reader, SimulatedDisk, VERSION};

fn options() -> Options {
    Options {
        segment_bytes_max: 6 << 10,
        payload_bytes_max: 256,
        staged_bytes_max: 1 << 10,
        low_space_bytes: 0,
        block_bytes: 512,
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{VERSION}"))
}

const RECORDS: u64 = 40;

fn record(offset: u64) -> (u64, Vec<u8>) {
    let mut random = Random::new(offset);
    let text = format!("record {offset} ");
    let bytes = text.len() * random.below(16) as usize;
    (1_700_000_000_000_000_000 + offset * 1_000, text.bytes().cycle().take(bytes).collect())
}

fn written() -> SimulatedDisk {
    let disk = SimulatedDisk::new(2026);
    let (mut log, _) = Log::open(disk.clone(), options()).expect("a new log");
    for offset in 0..RECORDS {
        let (time, payload) = record(offset);
        log.append(time, &payload).expect("an append");
        if offset % 7 == 6 {
            log.sync().expect("a sync");
        }
    }
    log.close().expect("a close");
    disk
}

fn check_records(reader: &Reader<SimulatedDisk>) {
    let mut scan = reader.scan(Offset::ZERO);
    for offset in 0..RECORDS {
        let found = scan.next().expect("a readable log").expect("a record");
        assert_eq!(
            (found.offset, (found.time_unix_nanos, found.payload.to_vec())),
            (Offset::new(offset), record(offset))
        );
    }
    assert!(scan.next().expect("a readable log").is_none());
}

#[test]
fn files_are_byte_for_byte_the_committed_ones() {
    let disk = written();
    let folder = folder();
    if std::env::var_os("LIFELINE_GOLDEN").is_some_and(|value| value == "write") {
        fs::create_dir_all(&folder).expect("a folder");
        for (name, _) in disk.files() {
            fs::write(folder.join(&name), disk.contents(&name).expect("a file")).expect("a write");
        }
    }
    let mut committed: Vec<String> = fs::read_dir(&folder)
        .expect("the golden folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    committed.sort();
    assert_eq!(disk.files().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), committed);
    for name in committed {
        let golden = fs::read(folder.join(&name)).expect("a golden file");
        let now = disk.contents(&name).expect("a file");
        let differs = golden.iter().zip(&now).position(|(golden, now)| golden != now);
        assert!(golden == now, "`{name}` has changed: {} and {} bytes, first at {differs:?}", golden.len(), now.len());
    }
}

#[test]
fn committed_files_open_and_read_back() {
    let disk = SimulatedDisk::new(0);
    for entry in fs::read_dir(folder()).expect("the golden folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        disk.put(name, &fs::read(&path).expect("a golden file"));
    }
    let (reader, recovery) = Reader::open(disk.clone(), &options()).expect("a log");
    assert!(recovery.clean_stop && recovery.damage.is_empty(), "{recovery:?}");
    check_records(&reader);
    assert_eq!(reader.verify(&mut |_| {}).expect("a readable log"), []);
    let (log, _) = Log::open(disk, options()).expect("a log");
    check_records(&log.reader());
    assert!(log.reader().sealed().expect("a readable log").len() >= 2);
}
