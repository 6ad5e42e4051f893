//! Recovery of files that were edited at random, with the smallest failing edits found by proptest; and the fuzz target's
//! function over a seeded corpus, for machines without a fuzzer (`LIFELINE_EDITS` sets its size).

mod edited;

use edited::{Edit, check};
use lifeline_store::Random;
use proptest::prelude::*;

fn edit() -> impl Strategy<Value = Edit> {
    let file = any::<u8>();
    prop_oneof![
        4 => (file, any::<u16>(), 1..=u8::MAX).prop_map(|(file, at, mask)| Edit::Flip { file, at, mask }),
        2 => (file, any::<u16>(), 1..1024_u16).prop_map(|(file, at, bytes)| Edit::Zero { file, at, bytes }),
        3 => (file, any::<u16>(), any::<u16>(), 1..2048_u16)
            .prop_map(|(file, from, to, bytes)| Edit::Copy { file, from, to, bytes }),
        1 => (file, any::<u16>()).prop_map(|(file, bytes)| Edit::Cut { file, bytes }),
        1 => file.prop_map(|file| Edit::Remove { file }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edited_files_never_yield_a_byte_that_was_not_appended(edits in prop::collection::vec(edit(), 0..6)) {
        check(&edits);
    }
}

#[test]
fn fuzz_target_survives_a_seeded_corpus() {
    let count =
        std::env::var("LIFELINE_EDITS").map_or(1_000, |text| text.parse().expect("`LIFELINE_EDITS` is a number"));
    for seed in 0..count {
        let mut random = Random::new(seed);
        let bytes: Vec<u8> = (0..8 * (1 + random.below(10))).map(|_| random.next() as u8).collect();
        let survived = std::panic::catch_unwind(|| check(&Edit::from_bytes(&bytes)));
        assert!(survived.is_ok(), "seed {seed}: {:?}", Edit::from_bytes(&bytes));
    }
}

#[test]
fn edits_that_found_something_stay_survived() {
    // A file that ended inside the last trailer: the record before it was cut off as a torn tail.
    check(&[Edit::Cut { file: 3, bytes: 4435 }]);
    // Every segment gone: a reader has nothing, and says so.
    check(&[Edit::Remove { file: 0 }, Edit::Remove { file: 0 }, Edit::Remove { file: 0 }, Edit::Remove { file: 0 }]);
}
