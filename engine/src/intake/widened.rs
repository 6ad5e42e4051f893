//! Subjects that are named now and were not before: what a consumer left out of them so far. Pure; for [`super::reader`].
//!
//! The log does not say which subjects were named when it was written. The durable consumer does, for it keeps its filters
//! until its reader changes them. The limit: a consumer that was deleted, or has another name now, says nothing.

use super::subjects::{Reading, includes};

/// Of what is to be read of a stream, the subjects that a consumer with these filters left out at least in part.
pub(super) fn left_out(reading: &Reading, filters: &[String]) -> Vec<String> {
    let everything = [">".to_owned()];
    let wanted: &[String] = match (&*reading.filters, &*reading.skipped.only) {
        _ if filters.is_empty() => &[],
        ([], []) => &everything,
        ([], only) => only,
        (wanted, _) => wanted,
    };
    wanted.iter().filter(|subject| !is_among(filters, subject)).cloned().collect()
}

/// Whether filters let a subject, or all of a pattern, through.
pub(super) fn is_among(filters: &[String], subject: &str) -> bool {
    filters.iter().any(|filter| includes(filter, subject))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::subjects::Skipped;

    #[test]
    fn what_was_not_named_before_was_left_out() {
        fn owned(texts: &[&str]) -> Vec<String> {
            texts.iter().map(|&text| text.to_owned()).collect()
        }
        #[track_caller]
        fn check(before: &[&str], now: &[&str], only: &[&str], expected: &[&str]) {
            let skipped = Skipped { only: owned(only), ..Skipped::default() };
            let reading = Reading { stream: "S".to_owned(), filters: owned(now), skipped };
            assert_eq!(left_out(&reading, &owned(before)), owned(expected), "{before:?} to {now:?}");
        }
        check(&["a.>"], &["a.>", "b.>"], &[], &["b.>"]);
        check(&["a.>"], &["a.b"], &[], &[]);
        check(&["a.b"], &["a.>"], &[], &["a.>"]);
        check(&["a"], &[], &["a", "b"], &["b"]);
        check(&["a"], &[], &[], &[">"]);
        check(&[], &["a"], &[], &[]);
        check(&[], &[], &[], &[]);
    }
}
