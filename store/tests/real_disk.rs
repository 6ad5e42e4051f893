//! The log on a real folder: what is promised to anyone who opens, appends, syncs, reads and reopens.

mod folder;

use std::fs;
use std::os::unix::fs::FileExt;

use folder::Folder;
use lifeline_store::{Error, Log, Offset, Options, OsDisk, Recovery};

fn small() -> Options {
    Options {
        segment_bytes_max: 64 << 10,
        payload_bytes_max: 16 << 10,
        staged_bytes_max: 8 << 10,
        low_space_bytes: 0,
        block_bytes: 2 << 10,
    }
}

fn open(folder: &Folder) -> (Log, Recovery) {
    Log::open(OsDisk::open(folder.path()).expect("the folder"), small()).expect("the log")
}

fn payload(offset: u64) -> Vec<u8> {
    let length = (offset * 7919 % 1500) as usize;
    (0..length).map(|index| (offset as usize * 31 + index) as u8).collect()
}

fn append(log: &mut Log, records: u64) {
    for _ in 0..records {
        let offset = log.end().get();
        assert_eq!(log.append(1000 + offset * 10, &payload(offset)).expect("an append"), Offset::new(offset));
    }
}

fn check_all(log: &Log, end: u64) {
    let reader = log.reader();
    assert_eq!(reader.end(), Offset::new(end));
    let mut scan = reader.scan(Offset::ZERO);
    for expected in 0..end {
        let record = scan.next().expect("a readable log").expect("a record");
        assert_eq!((record.offset.get(), record.time_unix_nanos), (expected, 1000 + expected * 10));
        assert_eq!(record.payload, payload(expected), "payload of {expected}");
    }
    assert!(scan.next().expect("a readable log").is_none());
    for offset in [0, 1, end / 2, end.saturating_sub(1)] {
        let record = reader.read(Offset::new(offset)).expect("a readable log").expect("a record");
        assert_eq!(record.payload, payload(offset));
    }
    assert_eq!(reader.read(Offset::new(end)).expect("a readable log"), None);
}

#[test]
fn what_was_synced_reads_back_across_segments_and_reopens() {
    let folder = Folder::new("reads-back");
    let (mut log, _) = open(&folder);
    for round in 1..=20 {
        append(&mut log, 37);
        assert_eq!(log.sync().expect("a sync"), Offset::new(round * 37));
    }
    check_all(&log, 740);
    let (mut log, recovery) = {
        log.close().expect("a close");
        open(&folder)
    };
    assert_eq!(recovery, Recovery { end: Offset::new(740), clean_stop: true, ..Recovery::default() });
    append(&mut log, 100);
    log.sync().expect("a sync");
    drop(log);
    let (log, recovery) = open(&folder);
    assert!(!recovery.clean_stop);
    assert!(recovery.damage.is_empty() && recovery.torn_bytes == 0, "{recovery:?}");
    check_all(&log, 840);
}

#[test]
fn a_folder_stays_locked_where_somebody_deletes_the_lock_file() {
    let folder = Folder::new("lock-deleted");
    let (log, _) = open(&folder);
    fs::remove_file(folder.path().join("LOCK")).expect("a lock file");
    assert!(matches!(OsDisk::open(folder.path()), Err(Error::Locked { .. })));
    assert!(matches!(OsDisk::open_read_only(folder.path()), Err(Error::Locked { .. })));
    drop(log);
    drop(OsDisk::open_read_only(folder.path()).expect("nobody has it open"));
    open(&folder);
}

#[test]
fn what_is_written_into_a_deleted_segment_is_not_said_to_be_durable() {
    let folder = Folder::new("segment-deleted");
    let (mut log, _) = open(&folder);
    append(&mut log, 3);
    log.sync().expect("a sync");
    for entry in fs::read_dir(folder.path()).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "segment") {
            fs::remove_file(path).expect("a segment");
        }
    }
    append(&mut log, 1);
    let refused = format!("{:?}", log.sync().expect_err("the segment is gone"));
    assert!(refused.contains("the file was deleted"), "{refused}");
}

#[test]
fn staged_records_are_seen_by_no_reader_and_gone_after_a_crash() {
    let folder = Folder::new("staged");
    let (mut log, _) = open(&folder);
    append(&mut log, 10);
    log.sync().expect("a sync");
    append(&mut log, 200); // crosses segments
    check_all(&log, 10);
    drop(log);
    let (mut log, recovery) = open(&folder);
    // Whole groups of a crossing batch may survive, none of them in part.
    let end = recovery.end.get();
    assert!((10..=210).contains(&end) && recovery.damage.is_empty(), "{recovery:?}");
    check_all(&log, end);
    append(&mut log, 5);
    log.sync().expect("a sync");
    check_all(&log, end + 5);
}

#[test]
fn torn_tail_is_cut_off_and_appending_goes_on() {
    let folder = Folder::new("torn");
    let (mut log, _) = open(&folder);
    append(&mut log, 20);
    log.sync().expect("a sync");
    append(&mut log, 30);
    log.sync().expect("a sync");
    drop(log);
    // As after a power cut: the mark never saw the second group, and the group's middle never reached the disk.
    fs::remove_file(folder.path().join("MARK")).expect("a mark");
    let segment =
        fs::File::options().write(true).open(folder.path().join("00000000000000000000.segment")).expect("a segment");
    let size = payload(0).len() + 20 * 700;
    segment.write_all_at(&[0; 3000], 4096 + size as u64 + 4000).expect("a write");
    let (mut log, recovery) = open(&folder);
    assert_eq!(recovery.end, Offset::new(20), "{recovery:?}");
    assert!(recovery.torn_bytes > 0 && recovery.damage.is_empty(), "{recovery:?}");
    check_all(&log, 20);
    append(&mut log, 20);
    log.sync().expect("a sync");
    check_all(&log, 40);
}

#[test]
fn time_never_decreases_and_finds_its_record() {
    let folder = Folder::new("time");
    let (mut log, _) = open(&folder);
    append(&mut log, 300);
    log.append(5, b"from the past").expect("an append");
    log.append(5, b"again").expect("an append");
    log.sync().expect("a sync");
    let reader = log.reader();
    assert_eq!(reader.read(Offset::new(300)).expect("readable").expect("a record").time_unix_nanos, 1000 + 2990);
    for (time, offset) in
        [(0, 0), (1000, 0), (1001, 1), (1010, 1), (2500, 150), (3990, 299), (3991, 302), (u64::MAX, 302)]
    {
        assert_eq!(reader.offset_at(time).expect("readable"), Offset::new(offset), "time {time}");
    }
}

#[test]
fn second_process_is_refused_by_name() {
    let folder = Folder::new("lock");
    let (_log, _) = open(&folder);
    for error in
        [OsDisk::open(folder.path()).expect_err("a lock"), OsDisk::open_read_only(folder.path()).expect_err("a lock")]
    {
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        assert!(error.to_string().contains("in use by another process\nhint: "), "{error}");
    }
}

#[test]
fn payload_above_the_limit_is_refused_and_four_mebibytes_are_not() {
    let folder = Folder::new("large");
    let (mut log, _) = Log::open(
        OsDisk::open(folder.path()).expect("the folder"),
        Options { low_space_bytes: 0, ..Options::default() },
    )
    .expect("the log");
    let large = vec![7; 4 << 20];
    for _ in 0..20 {
        log.append(1, &large).expect("an append");
    }
    assert!(matches!(log.append(1, &vec![0; (16 << 20) + 1]), Err(Error::TooLarge { .. })));
    assert_eq!(log.sync().expect("a sync"), Offset::new(20));
    assert_eq!(log.reader().read(Offset::new(19)).expect("readable").expect("a record").payload, large);
}

#[test]
fn a_log_is_opened_again_on_its_disk_while_readers_of_the_former_one_are_held() {
    let folder = Folder::new("reopened");
    let disk = OsDisk::open(folder.path()).expect("the folder");
    let (mut log, _) = Log::open(disk.clone(), small()).expect("the log");
    append(&mut log, 5);
    log.sync().expect("a sync");
    let reader = log.reader();
    drop(log);
    assert!(
        matches!(OsDisk::open(folder.path()), Err(Error::Locked { .. })),
        "the reader keeps the folder locked for others"
    );
    let (mut log, _) = Log::open(disk, small()).expect("the log");
    append(&mut log, 5);
    log.sync().expect("a sync");
    check_all(&log, 10);
    assert_eq!(reader.end(), Offset::new(5), "it reads what it knew");
}
