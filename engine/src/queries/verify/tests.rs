//! A verification, with records between its parts.

use super::*;
use crate::queries::tests::Engine;

#[test]
fn what_is_recorded_meanwhile_is_no_difference() {
    let mut engine = Engine::start();
    for number in 0..2_500 {
        // More than a piece of them, most with one record, one with a landmark.
        let subject = if number % 10 == 0 { "often".to_owned() } else { format!("user-{number:04}") };
        engine.record(&subject);
    }
    let memory = engine.view.read(Whole::of);
    let log = engine.view.log();
    let from_log = as_of::projection(&log, Moment::Offset(memory.ground.watermark)).expect("a whole log");
    // Between the folding and the comparison: known ones and new ones, before, between and after the others.
    for subject in ["often", "user-0001", "aaa", "user-1000-and-more", "zzz"] {
        engine.record(subject);
    }
    let verified = compare(&engine.view, &log, &memory, &from_log).expect("an answer");
    assert!(verified.sound, "{verified:?}");
    assert_eq!((verified.resources, verified.resources_in_memory, verified.changed_meanwhile), (2_251, 2_251, 2));
}
