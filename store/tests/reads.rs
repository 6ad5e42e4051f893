//! Single records, wherever they are: a guess at their place may fail, the answer may not. And runs of them, which are
//! what a scan gives one by one.

use lifeline_store::{Error, Log, Offset, Options, Reader, Record, SimulatedDisk};
use proptest::prelude::*;

/// Sizes that make the place of a record hard to guess: mostly small, some larger than a block.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![6 => 0..40_usize, 3 => 200..600_usize, 1 => 2_000..20_000_usize];
    prop::collection::vec(size, 1..300)
}

fn payload(offset: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| (offset * 31 + at * 7) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_reads_back_alone(sizes in sizes(), block_bytes in prop_oneof![Just(512_u64), Just(4 << 10), Just(32 << 10)], group in 1..40_usize) {
        let options = Options {
            segment_bytes_max: 64 << 10,
            payload_bytes_max: 32 << 10,
            staged_bytes_max: 8 << 10,
            low_space_bytes: 0,
            block_bytes,
        };
        let disk = SimulatedDisk::new(1);
        let (mut log, _) = Log::open(disk.clone(), options.clone()).expect("an empty folder");
        for (offset, size) in sizes.iter().enumerate() {
            log.append(offset as u64, &payload(offset, *size)).expect("an append");
            if offset % group == 0 {
                log.sync().expect("a sync");
            }
        }
        log.sync().expect("a sync");
        // While it is written, and with indexes that are read from the disk.
        for _ in 0..2 {
            let reader = log.reader();
            for (offset, size) in sizes.iter().enumerate() {
                let record = reader.read(Offset::new(offset as u64)).expect("nothing is damaged").expect("it is held");
                prop_assert_eq!((record.offset.get(), record.time_unix_nanos), (offset as u64, offset as u64));
                prop_assert!(record.payload == payload(offset, *size), "record {}", offset);
            }
            prop_assert_eq!(reader.read(Offset::new(sizes.len() as u64)).expect("no error"), None);
            drop(reader);
            log.close().expect("a clean end");
            (log, _) = Log::open(disk.clone(), options.clone()).expect("the same folder");
        }
    }

    #[test]
    fn runs_hold_what_a_scan_gives_up_to_the_same_damage(sizes in sizes(), max in 1..50_usize, group in 1..40_usize, damaged in prop::option::of(any::<u64>())) {
        let options = Options {
            segment_bytes_max: 64 << 10,
            payload_bytes_max: 32 << 10,
            staged_bytes_max: 8 << 10,
            low_space_bytes: 0,
            block_bytes: 4 << 10,
        };
        let disk = SimulatedDisk::new(1);
        let (mut log, _) = Log::open(disk.clone(), options).expect("an empty folder");
        for (offset, size) in sizes.iter().enumerate() {
            log.append(offset as u64, &payload(offset, *size)).expect("an append");
            if offset % group == 0 {
                log.sync().expect("a sync");
            }
        }
        log.sync().expect("a sync");
        if let Some(bit) = damaged {
            let (name, bytes) =
                disk.files().into_iter().find(|(name, _)| name.ends_with(".segment")).expect("there is a segment");
            disk.flip_bit(&name, bit % (8 * bytes));
        }
        let reader = log.reader();
        let (alone, in_runs) = (one_by_one(&reader), run_by_run(&reader, max));
        prop_assert!(alone == in_runs, "{} and {} records, {} and {}", alone.0.len(), in_runs.0.len(), alone.1, in_runs.1);
    }
}

/// All records that a scan gives, and how it ended.
fn one_by_one(reader: &Reader<SimulatedDisk>) -> (Vec<Record>, String) {
    let (mut records, mut scan) = (Vec::new(), reader.scan(Offset::ZERO));
    loop {
        match scan.next() {
            Ok(Some(record)) => records.push(record.to_owned()),
            end => return (records, ended(end.map(drop))),
        }
    }
}

fn run_by_run(reader: &Reader<SimulatedDisk>, max: usize) -> (Vec<Record>, String) {
    let (mut records, mut scan) = (Vec::new(), reader.scan(Offset::ZERO));
    loop {
        match scan.next_run(max) {
            Ok(run) if !run.is_empty() => {
                assert!(run.len() <= max);
                records.extend(run.iter().map(lifeline_store::RecordRef::to_owned));
            }
            end => return (records, ended(end.map(drop))),
        }
    }
}

fn ended(end: Result<(), Error>) -> String {
    end.map_or_else(|error| error.to_string(), |()| "the end".to_owned())
}
