//! Moments as they are typed: an offset, a time, or how long ago.
//!
//! Start at [`typed`]; [`seconds`] reads an age, [`offset`] a place in the log. The present is an argument; what is in
//! the future is refused, for nobody knows it.

use jiff::{Span, Timestamp, ToSpan};
use lifeline_projections::as_of::Moment;
use lifeline_projections::reads;

/// How far the clock of an engine may be ahead of ours.
const SKEW_SECONDS: i64 = 60;

/// What the API is asked for: the offset or the RFC 3339 time that `text` means at `now`.
pub fn typed(text: &str, now: Timestamp) -> Result<String, String> {
    let future = || format!("that is in the future: it is {} now", now.strftime("%Y-%m-%dT%H:%M:%SZ"));
    match text.parse::<Moment>() {
        Ok(Moment::Offset(offset)) => Ok(offset.to_string()),
        Ok(Moment::Time(nanos)) => {
            let latest = (now + SKEW_SECONDS.seconds()).as_nanosecond();
            if i128::from(nanos) > latest { Err(future()) } else { Ok(reads::time(nanos)) }
        }
        Err(_) => {
            let wrong = || {
                "expected an offset, a time such as 2026-11-22T14:12:03Z, or how long ago, such as 10m or `2h 30m`"
                    .to_owned()
            };
            let span = span(text.strip_suffix("ago").unwrap_or(text).trim()).ok_or_else(wrong)?;
            if span.is_negative() {
                return Err(future());
            }
            // Days have 24 hours here: the answer is a moment, not a place in somebody's calendar.
            let seconds = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
            let time = now.checked_sub(seconds).map_err(|_| wrong())?;
            Ok(time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        }
    }
}

/// How many seconds an age has: `90`, `90s`, `10m`, `2h 30m`.
pub fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "expected seconds, or an age such as 10m or `2h 30m`".to_owned();
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let span = span(text).ok_or_else(wrong)?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    u64::try_from(duration.as_secs()).map_err(|_| wrong())
}

/// The offset of a record.
pub fn offset(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected an offset, such as 41".to_owned())
}

/// A length of time. `14:12:03` is none, though jiff would read it as hours, minutes and seconds: who types that means
/// the time of day.
fn span(text: &str) -> Option<Span> {
    if text.contains(':') { None } else { text.parse().ok() }
}

/// [`typed`] for clap, now.
pub fn parse(text: &str) -> Result<String, String> {
    typed(text, Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_offsets_times_or_how_long_ago() {
        let now: Timestamp = "2026-11-22T14:12:03Z".parse().expect("a time");
        let check = |text: &str, expected: Result<&str, &str>| match (typed(text, now), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{text}"),
            (Err(got), Err(words)) => assert!(got.contains(words), "{text}: {got}"),
            (got, expected) => panic!("{text}: {got:?} instead of {expected:?}"),
        };
        check("57", Ok("57"));
        check("2026-11-22T14:12:03Z", Ok("2026-11-22T14:12:03.000Z"));
        check("2026-11-22T15:00:03.5+01:00", Ok("2026-11-22T14:00:03.500Z"));
        check("2026-11-22T14:12:33Z", Ok("2026-11-22T14:12:33.000Z"));
        check("2026-11-22T14:13:04Z", Err("in the future: it is 2026-11-22T14:12:03Z now"));
        check("10m", Ok("2026-11-22T14:02:03.000Z"));
        check("2h 30m", Ok("2026-11-22T11:42:03.000Z"));
        check("2h ago", Ok("2026-11-22T12:12:03.000Z"));
        check("1 day", Ok("2026-11-21T14:12:03.000Z"));
        check("-10m", Err("in the future"));
        check("noon", Err("expected an offset, a time"));
        check("14:12:03", Err("expected an offset, a time"));
        check("", Err("expected an offset, a time"));
        check("2 months", Err("expected an offset, a time"));
    }

    #[test]
    fn ages_are_seconds_or_spans() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(seconds(text).ok(), expected, "{text}");
        check("90", Some(90));
        check("10m", Some(600));
        check("2h 30m", Some(9_000));
        check("1d", Some(86_400));
        check("-5m", None);
        check("soon", None);
        check("00:10:00", None);
        check("1 month", None);
    }
}
