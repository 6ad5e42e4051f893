//! Single records, wherever they stand: a guess at their place may fail, the answer may not.

use lifeline_store::{Log, Offset, Options, SimulatedDisk};
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
}
