//! How far a clock of somebody else is from ours.

use super::Finding;

/// Ages and times of events are compared across machines; more than this misleads.
const SKEW_MAX_MILLIS: i64 = 2_000;

/// Judges a clock. `theirs` was read between `asked` and `answered` of ours, all in milliseconds since 1970. `precision` is what
/// the answer rounds to.
pub(super) fn judge(check: &str, theirs: i64, asked: i64, answered: i64, precision: i64) -> Finding {
    // Anywhere in this span there is no skew at all.
    let skew = if theirs + precision < asked {
        theirs + precision - asked
    } else if theirs > answered {
        theirs - answered
    } else {
        0
    };
    let found = match skew {
        0 => "agrees with ours, as far as can be measured".to_owned(),
        skew if skew < 0 => format!("is {} ms behind ours, at least", -skew),
        skew => format!("is {skew} ms ahead of ours, at least"),
    };
    if skew.abs() <= SKEW_MAX_MILLIS {
        Finding::ok(check, found)
    } else {
        Finding::warning(check, found, "let both machines follow the same time servers (chrony, systemd-timesyncd)")
    }
}

/// Now, in milliseconds since 1970.
pub(super) fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_is_judged_by_what_cannot_be_delay() {
        let check = |theirs: i64, precision: i64, verdict: Verdict, found: &str| {
            let finding = judge("clock", theirs, 100_000, 100_400, precision);
            assert_eq!((finding.verdict, finding.found.contains(found)), (verdict, true), "{theirs}: {finding:?}");
        };
        check(100_200, 0, Verdict::Ok, "agrees");
        check(100_400, 0, Verdict::Ok, "agrees");
        check(101_400, 0, Verdict::Ok, "1000 ms ahead");
        check(104_400, 0, Verdict::Warning, "4000 ms ahead");
        check(90_000, 0, Verdict::Warning, "10000 ms behind");
        // A whole second, as HTTP says it, may be nearly one second old.
        check(99_500, 1_000, Verdict::Ok, "agrees");
    }
}
