//! Damage to what was acknowledged: it is found, named exactly, never served, never truncated, and repaired.

use std::collections::BTreeSet;
use std::ops::Range;

use lifeline_store::{Damage, Disk, Error, Fault, Log, Offset, Options, Random, Reader, Replacement, SimulatedDisk};

fn options() -> Options {
    Options {
        segment_bytes_max: 12 << 10,
        payload_bytes_max: 1 << 10,
        staged_bytes_max: 2 << 10,
        low_space_bytes: 0,
        block_bytes: 512,
    }
}

fn payload(seed: u64, offset: u64) -> Vec<u8> {
    let mut random = Random::new(seed ^ (offset << 20));
    (0..random.below(400)).map(|_| random.next() as u8).collect()
}

fn open(disk: &SimulatedDisk) -> (Log<SimulatedDisk>, Vec<Damage>) {
    let (log, recovery) = Log::open(disk.clone(), options()).unwrap_or_else(|error| panic!("{error}"));
    (log, recovery.damage)
}

/// A log of `records` in groups of one to nine, its process then killed.
fn filled(seed: u64, records: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    let mut random = Random::new(seed);
    let (mut log, _) = open(&disk);
    for offset in 0..records {
        log.append(offset * 10, &payload(seed, offset)).expect("an append");
        if random.below(5) == 0 || offset + 1 == records {
            log.sync().expect("a sync");
        }
    }
    drop(log);
    disk.kill_process();
    disk
}

/// Reads everything: each record is right, or named as damaged; returns which are damaged.
fn damaged_records(reader: &Reader<SimulatedDisk>, seed: u64, records: u64) -> BTreeSet<u64> {
    let mut damaged = BTreeSet::new();
    let mut scan = reader.scan(Offset::ZERO);
    let mut next = 0;
    loop {
        match scan.next() {
            Ok(None) => break,
            Ok(Some(record)) => {
                assert_eq!(record.offset.get(), next, "seed {seed}");
                assert!(record.payload == payload(seed, next), "seed {seed}: wrong bytes served for {next}");
                next += 1;
            }
            Err(Error::Damaged { offsets: Range { start, end }, .. }) => {
                assert_eq!(start.get(), next, "seed {seed}");
                assert!(end > start, "seed {seed}: damage of nothing");
                damaged.extend(start.get()..end.get());
                next = end.get();
                scan.seek(end);
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert_eq!(next, records, "seed {seed}: records vanished without a word");
    for offset in 0..records {
        match reader.read(Offset::new(offset)) {
            Ok(Some(record)) => {
                assert!(record.payload == payload(seed, offset), "seed {seed}: wrong bytes of {offset}")
            }
            Ok(None) => panic!("seed {seed}: record {offset} vanished without a word"),
            Err(Error::Damaged { .. }) => {
                assert!(damaged.contains(&offset), "seed {seed}: {offset} is readable in a scan")
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    damaged
}

fn replace_all(seed: u64) -> impl FnMut(Offset) -> Option<Replacement> {
    move |offset| Some(Replacement { time_unix_nanos: offset.get() * 10, payload: payload(seed, offset.get()) })
}

#[test]
fn any_flipped_bits_are_named_never_served_and_repaired() {
    const RECORDS: u64 = 120;
    let (mut with_damage, mut proven) = (0, 0);
    for seed in 0..400 {
        let disk = filled(seed, RECORDS);
        let mut random = Random::new(seed + 1_000_000);
        let files = disk.files();
        for _ in 0..1 + random.below(3) {
            let (name, bytes) = &files[random.below(files.len() as u64) as usize];
            disk.flip_bit(name, random.below(bytes * 8));
        }
        let (mut log, found_at_open) = open(&disk);
        assert_eq!(log.end().get(), RECORDS, "seed {seed}: an acknowledged offset would be given out again");
        let damaged = damaged_records(&log.reader(), seed, RECORDS);
        for damage in &found_at_open {
            for offset in damage.offsets.start.get()..damage.offsets.end.get() {
                assert!(damaged.contains(&offset), "seed {seed}: {damage:?} is readable");
            }
        }
        let found = log.reader().verify(&mut |_| {}).expect("a readable log");
        let named: BTreeSet<u64> =
            found.iter().flat_map(|damage| damage.offsets.start.get()..damage.offsets.end.get()).collect();
        assert_eq!(named, damaged, "seed {seed}");
        with_damage += u32::from(!damaged.is_empty());

        // The log goes on all the same.
        log.append(RECORDS * 10, &payload(seed, RECORDS)).expect("an append");
        log.sync().expect("a sync");

        let repaired = log.repair(Offset::ZERO..log.end(), &mut replace_all(seed)).expect("a repair");
        let asked: BTreeSet<u64> =
            repaired.proven.iter().chain(&repaired.replaced).map(|offset| offset.get()).collect();
        assert_eq!(asked, damaged, "seed {seed}: {found:?}");
        assert!(repaired.lost.is_empty());
        proven += repaired.proven.len();
        assert_eq!(damaged_records(&log.reader(), seed, RECORDS + 1), BTreeSet::new(), "seed {seed}");
        assert_eq!(log.reader().verify(&mut |_| {}).expect("a readable log"), [], "seed {seed}");
        drop(log);
        disk.cut_power();
        let (log, found) = open(&disk);
        assert_eq!(found, [], "seed {seed}");
        assert_eq!(damaged_records(&log.reader(), seed, RECORDS + 1), BTreeSet::new(), "seed {seed}");
    }
    println!("{with_damage} of 400 logs had damaged records; {proven} replacements were proven");
    assert!(with_damage > 100 && proven > 100);
}

/// The bytes of the one frame that holds `offset`, found by asking which bit flips hurt it.
fn flip_payload_of(disk: &SimulatedDisk, seed: u64, offset: u64) {
    let wanted = payload(seed, offset);
    for (name, _) in disk.files() {
        let contents = disk.contents(&name).expect("a file");
        if let Some(at) = contents.windows(wanted.len()).position(|window| window == wanted) {
            disk.flip_bit(&name, at as u64 * 8);
            return;
        }
    }
    panic!("record {offset} is in no file");
}

fn record_with_payload(seed: u64, from: u64) -> u64 {
    (from..).find(|&offset| payload(seed, offset).len() > 16).expect("some record is long enough")
}

#[test]
fn scan_stops_at_damage_with_its_exact_offsets_and_goes_on_only_when_told() {
    let disk = filled(7, 60);
    let offset = record_with_payload(7, 5);
    flip_payload_of(&disk, 7, offset);
    let (log, _) = open(&disk);
    let mut scan = log.reader().scan(Offset::new(offset - 1));
    assert!(scan.next().expect("a good record").is_some());
    for _ in 0..2 {
        let error = scan.next().expect_err("a damaged record");
        let Error::Damaged { offsets, why, .. } = &error else { panic!("{error}") };
        assert_eq!((*offsets).clone(), Offset::new(offset)..Offset::new(offset + 1));
        assert_eq!(*why, "payload does not match its checksum");
        assert!(error.to_string().contains("hint: `lifeline log repair --from-stream`"), "{error}");
    }
    scan.seek(Offset::new(offset + 1));
    assert_eq!(scan.next().expect("a good record").expect("a record").offset, Offset::new(offset + 1));
}

#[test]
fn replacement_with_other_bytes_is_marked_and_a_missing_one_stays_an_error() {
    let disk = filled(8, 60);
    let first = record_with_payload(8, 5);
    let second = record_with_payload(8, first + 2);
    flip_payload_of(&disk, 8, first);
    flip_payload_of(&disk, 8, second);
    let (mut log, _) = open(&disk);
    let repaired = log
        .repair(Offset::ZERO..Offset::new(60), &mut |offset| {
            (offset.get() == first).then(|| Replacement { time_unix_nanos: 0, payload: b"fetched again".to_vec() })
        })
        .expect("a repair");
    assert_eq!((repaired.replaced, repaired.lost), (vec![Offset::new(first)], vec![Offset::new(second)]));
    assert!(repaired.proven.is_empty());
    assert!(disk.contents(&repaired.kept_files[0]).is_some());
    let reader = log.reader();
    let record = reader.read(Offset::new(first)).expect("readable").expect("a record");
    assert_eq!(record.payload, b"fetched again");
    assert_eq!(record.time_unix_nanos, first * 10, "its header still tells when it was recorded");
    assert!(matches!(reader.read(Offset::new(second)), Err(Error::Damaged { .. })));
    let left = reader.verify(&mut |_| {}).expect("a readable log");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].offsets, Offset::new(second)..Offset::new(second + 1));
    // The stream delivers it after all.
    let repaired = log.repair(left[0].offsets.clone(), &mut replace_all(8)).expect("a repair");
    assert_eq!(repaired.proven, [Offset::new(second)]);
    assert_eq!(reader.verify(&mut |_| {}).expect("a readable log"), []);
}

#[test]
fn crash_at_any_moment_of_a_repair_leaves_the_old_file_or_the_new_one() {
    for operation in 1..30 {
        let disk = filled(9, 60);
        let offset = record_with_payload(9, 5);
        flip_payload_of(&disk, 9, offset);
        let (mut log, _) = open(&disk);
        disk.fail_at(disk.operations() + operation, Fault::PowerCut);
        let outcome = log.repair(Offset::ZERO..Offset::new(60), &mut replace_all(9));
        drop(log);
        disk.plan_no_faults();
        disk.cut_power();
        let (mut log, _) = open(&disk);
        let damaged = damaged_records(&log.reader(), 9, 60);
        assert!(
            damaged.is_empty() || (outcome.is_err() && damaged == BTreeSet::from([offset])),
            "{operation}: {damaged:?}"
        );
        log.repair(Offset::ZERO..Offset::new(60), &mut replace_all(9)).expect("a repair");
        assert_eq!(damaged_records(&log.reader(), 9, 60), BTreeSet::new());
    }
}

#[test]
fn lost_end_of_the_log_is_damage_and_its_offsets_are_not_given_out_again() {
    let disk = filled(10, 60);
    let (name, _) = disk.files().into_iter().rfind(|(name, _)| name.ends_with(".segment")).expect("a segment");
    let base: u64 = name.trim_end_matches(".segment").parse().expect("a number");
    let mut contents = disk.contents(&name).expect("a file");
    contents[4096..].fill(0);
    disk.put(&name, &contents);
    let (mut log, damage) = open(&disk);
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!(damage[0].offsets, Offset::new(base)..Offset::new(60));
    assert_eq!(log.append(1000, &payload(10, 60)).expect("an append"), Offset::new(60));
    log.sync().expect("a sync");
    assert_eq!(damaged_records(&log.reader(), 10, 60 + 1).len() as u64, 60 - base);
}

#[test]
fn missing_segment_is_damage_by_its_exact_offsets() {
    let disk = filled(11, 200);
    let segments: Vec<String> =
        disk.files().into_iter().map(|(name, _)| name).filter(|name| name.ends_with(".segment")).collect();
    assert!(segments.len() > 3);
    let base = |name: &str| -> u64 { name.trim_end_matches(".segment").parse().expect("a number") };
    disk.remove(&segments[1]).expect("a file");
    let (mut log, _) = open(&disk);
    let gone: BTreeSet<u64> = (base(&segments[1])..base(&segments[2])).collect();
    assert_eq!(damaged_records(&log.reader(), 11, 200), gone);
    let repaired = log.repair(Offset::ZERO..Offset::new(200), &mut replace_all(11)).expect("a repair");
    assert_eq!(repaired.proven.len(), gone.len());
    assert_eq!(damaged_records(&log.reader(), 11, 200), BTreeSet::new());
}

#[test]
fn scrub_reads_at_the_rate_it_is_given() {
    let disk = filled(12, 200);
    let (log, _) = open(&disk);
    let mut scrub = log.reader().scrub();
    let mut steps = 0;
    while !scrub.progress().is_done() {
        let before = scrub.progress().bytes;
        scrub.step(1000).expect("a readable log");
        assert!(scrub.progress().bytes - before < 1000 + 600);
        steps += 1;
    }
    assert!(steps > 30, "{steps}");
    assert_eq!((scrub.progress().records, scrub.damage().len()), (200, 0));
}

#[test]
fn unknown_version_is_refused_by_name() {
    let disk = SimulatedDisk::new(13);
    disk.put("00000000000000000000.segment", &version_2_header());
    let error = Log::open(disk.clone(), options()).expect_err("an unknown version");
    assert_eq!(
        error.to_string(),
        "`00000000000000000000.segment` has format version `2`, expected `1`\nhint: run the release that wrote it, or a newer one"
    );
    assert!(Reader::open(disk, &options()).is_err());
}

/// As a later release might write it: magic, version and checksum stay where they are.
fn version_2_header() -> Vec<u8> {
    let mut header = vec![0; 4096];
    header[..8].copy_from_slice(b"LIFELOG\n");
    header[8] = 2;
    let check = crc32c(&header[..60]);
    header[60..64].copy_from_slice(&check.to_le_bytes());
    header
}

/// Bit by bit, from the polynomial: independent of what the crate uses.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(crc & 1)))
    })
}

#[test]
fn dropped_segments_are_gone_and_nothing_else_is() {
    let disk = filled(14, 200);
    let (mut log, _) = open(&disk);
    let sealed = log.reader().sealed().expect("a readable log");
    assert!(sealed.len() > 3);
    assert_eq!(log.drop_before(Offset::new(sealed[1].end.get() + 1)).expect("a drop"), sealed[1].end);
    let reader = log.reader();
    assert_eq!(reader.read(Offset::ZERO).expect("readable"), None);
    let mut scan = reader.scan(Offset::ZERO);
    assert_eq!(scan.next().expect("readable").expect("a record").offset, sealed[1].end);
    log.append(5000, b"x").expect("an append");
    log.sync().expect("a sync");
    drop(log);
    disk.cut_power();
    let (mut log, damage) = open(&disk);
    assert_eq!((log.start(), log.end(), damage), (sealed[1].end, Offset::new(201), vec![]));
    assert_eq!(
        log.drop_before(Offset::new(1000)).expect("a drop"),
        log.reader().sealed().expect("readable").first().map_or(log.start(), |first| first.start)
    );
}

#[test]
fn sealed_segments_restore_a_log_elsewhere() {
    let disk = filled(15, 200);
    let (log, _) = open(&disk);
    let reader = log.reader();
    let other = SimulatedDisk::new(16);
    let sealed = reader.sealed().expect("readable");
    for segment in &sealed {
        let mut contents = vec![0; segment.bytes as usize];
        assert_eq!(reader.read_sealed(segment.start, &mut contents, 0).expect("readable"), contents.len());
        other.put(&segment.file, &contents);
    }
    let end = sealed.last().expect("a segment").end;
    let (log, damage) = open(&other);
    assert_eq!((log.end(), damage), (end, vec![]));
    assert_eq!(damaged_records(&log.reader(), 15, end.get()), BTreeSet::new());
}

#[test]
fn inspection_changes_no_byte_and_leaves_a_torn_tail_out() {
    let disk = filled(17, 50);
    let (mut log, _) = open(&disk);
    for offset in 50..80 {
        log.append(offset * 10, &payload(17, offset)).expect("an append");
    }
    drop(log); // written in part, not synced
    disk.kill_process();
    let contents = |disk: &SimulatedDisk| -> Vec<_> {
        disk.files().into_iter().map(|(name, _)| (disk.contents(&name), name)).collect()
    };
    let before = contents(&disk);
    let (reader, recovery) = Reader::open(disk.clone(), &options()).expect("a log");
    assert_eq!(recovery.end, reader.end());
    assert!(reader.end().get() >= 50 && recovery.damage.is_empty());
    assert_eq!(damaged_records(&reader, 17, reader.end().get()), BTreeSet::new());
    assert!(contents(&disk) == before);
}

#[test]
fn flipped_bit_in_the_last_group_is_damage_and_never_a_torn_tail() {
    for seed in 20..60 {
        let whole = filled(seed, 40);
        let (name, _) = whole.files().into_iter().rfind(|(name, _)| name.ends_with(".segment")).expect("a segment");
        let contents = whole.contents(&name).expect("a file");
        let end = contents.iter().rposition(|&byte| byte != 0).expect("something") as u64 + 1;
        for byte in end - 60..end {
            let disk = SimulatedDisk::new(seed);
            for (name, _) in whole.files() {
                disk.put(&name, &whole.contents(&name).expect("a file"));
            }
            disk.flip_bit(&name, byte * 8 + seed % 8);
            let (log, found) = open(&disk);
            assert_eq!(log.end(), Offset::new(40), "seed {seed}, byte {byte}");
            let damaged = damaged_records(&log.reader(), seed, 40);
            let named: BTreeSet<u64> =
                found.iter().flat_map(|damage| damage.offsets.start.get()..damage.offsets.end.get()).collect();
            assert_eq!(named, damaged, "seed {seed}, byte {byte}: {found:?}");
        }
    }
}

#[test]
fn unreadable_sectors_cost_the_records_in_them_and_no_others() {
    let mut hit = 0;
    for seed in 100..300 {
        let disk = filled(seed, 120);
        let mut random = Random::new(seed);
        let files = disk.files();
        let (name, bytes) = &files[random.below(files.len() as u64) as usize];
        let sector = random.below(bytes.div_ceil(512)) * 512;
        disk.make_unreadable(name, sector..sector + 512);
        let (reader, _) = Reader::open(disk.clone(), &options()).expect("a log that can be inspected");
        assert_eq!(reader.end(), Offset::new(120), "seed {seed}");
        let (mut log, _) = open(&disk);
        assert_eq!(log.end(), Offset::new(120), "seed {seed}");
        let damaged = damaged_records(&log.reader(), seed, 120);
        hit += u32::from(!damaged.is_empty());
        assert!(damaged.len() < 60, "seed {seed}: {damaged:?}");
        let repaired = log.repair(Offset::ZERO..log.end(), &mut replace_all(seed)).expect("a repair");
        assert_eq!(repaired.proven.len() + repaired.replaced.len(), damaged.len(), "seed {seed}");
        assert_eq!(damaged_records(&log.reader(), seed, 120), BTreeSet::new(), "seed {seed}");
    }
    assert!(hit > 50, "{hit} of 200");
}

#[test]
fn a_damaged_segment_header_hides_no_time() {
    const RECORDS: u64 = 120;
    let segments = filled(7, RECORDS).files().into_iter().filter(|(name, _)| name.ends_with(".segment")).count();
    assert!(segments > 2, "{segments} segments");
    for place in 0..segments {
        let disk = filled(7, RECORDS);
        let (name, _) =
            disk.files().into_iter().filter(|(name, _)| name.ends_with(".segment")).nth(place).expect("one");
        // A byte of the time in the header.
        disk.flip_bit(&name, 8 * 30);
        let (log, _) = open(&disk);
        for offset in 0..RECORDS {
            let found = log.reader().offset_at(offset * 10).expect("a readable log");
            assert_eq!(found.get(), offset, "header of {name} is damaged");
        }
    }
}
