//! Times as RFC 3339 writes them: which texts are one, and which moment they mean.
//!
//! Start at [`timestamp`].

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;

/// The moment that a time means; `None` where the text is none.
///
/// Digits of a fraction behind the ninth are left out. The last hours of the year 9999, which many take for "never", are beyond
/// what jiff's timestamps hold: there it is the latest moment of these.
#[must_use]
pub fn timestamp(text: &str) -> Option<Timestamp> {
    let shortened = shortened(text);
    shortened.parse().ok().or_else(|| {
        let pieces = Pieces::parse(&shortened).ok()?;
        let is_whole = pieces.time().is_some() && pieces.offset().is_some();
        (is_whole && pieces.date().year() == 9999).then_some(Timestamp::MAX)
    })
}

/// Whether a text is a time.
pub(super) fn is_time(text: &str) -> bool {
    is_common_time(text.as_bytes()) || timestamp(text).is_some()
}

/// A time with at most nine digits behind the point.
fn shortened(text: &str) -> String {
    let Some((head, fraction)) = text.split_once('.') else { return text.to_owned() };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    format!("{head}.{}{}", &fraction[..digits.min(9)], &fraction[digits..])
}

/// Whether this is a time in the shape that nearly every producer sends: `2026-11-22T14:12:03.123Z`, with or without a
/// fraction of up to nine digits, or with an offset such as `+01:00` instead of the `Z`. Whatever else RFC 3339 allows
/// (leap seconds, the first and the last year) is left to [`timestamp`].
pub(super) fn is_common_time(value: &[u8]) -> bool {
    // `0000-00-00T00:00:00`, digits by their place.
    let Some((head, mut rest)) = value.split_first_chunk::<19>() else { return false };
    let digit = |at: usize| u32::from(head[at].wrapping_sub(b'0'));
    let two = |at: usize| digit(at) * 10 + digit(at + 1);
    const DIGITS: [usize; 14] = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18];
    let digits = DIGITS.iter().fold(true, |fine, &at| fine & head[at].is_ascii_digit());
    let marks = [head[4], head[7], head[10], head[13], head[16]] == *b"--T::";
    if !digits || !marks {
        return false;
    }
    let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(is_leap),
        _ => return false,
    };
    if !(1..9999).contains(&year) || day < 1 || day > days || two(11) > 23 || two(14) > 59 || two(17) > 59 {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return false;
        }
        rest = &fraction[digits..];
    }
    match *rest {
        [b'Z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => {
            let fine = [a, b, c, d].iter().all(u8::is_ascii_digit);
            fine && (a, b) <= (b'2', b'3') && c <= b'5'
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_times_of_rfc_3339_are_times() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(timestamp(text).map(|time| time.to_string()).as_deref(), expected, "{text}");
            assert_eq!(is_time(text), expected.is_some(), "{text}");
        };
        check("2026-11-22T14:12:03Z", Some("2026-11-22T14:12:03Z"));
        check("2026-11-22T14:12:03.123456789999+01:00", Some("2026-11-22T13:12:03.123456789Z"));
        check("9999-12-31T23:59:59Z", Some("9999-12-30T22:00:00.999999999Z"));
        check("9999-12-31T23:59:59.123456789123-12:00", Some("9999-12-30T22:00:00.999999999Z"));
        check("9999-12-31T23:59:59", None);
        check("9999-12-32T23:59:59Z", None);
        check("9999-12-31", None);
        check("2026-11-22T14:12:03.Z", None);
        check("2026-11-22T14:12:03.123456789999", None);
        check("noon", None);
    }
}
