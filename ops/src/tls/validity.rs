//! Since when and until when a certificate is good, read from its DER (RFC 5280, 4.1).
//!
//! rustls checks this when it checks a chain, but does not say it. Only the way to these two dates is read here;
//! everything else of a certificate is passed over, and nothing is decided.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0]`, with the version in it; missing in the oldest certificates.
const VERSION: u8 = 0xa0;

/// From the first second to the last; `None` when it is no certificate.
pub fn validity(der: &[u8]) -> Option<RangeInclusive<Timestamp>> {
    let (certificate, _) = value(der, SEQUENCE)?;
    let (signed, _) = value(certificate, SEQUENCE)?;
    let after_version = value(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = value(after_version, INTEGER)?;
    let (_algorithm, rest) = value(rest, SEQUENCE)?;
    let (_issuer, rest) = value(rest, SEQUENCE)?;
    let (dates, _) = value(rest, SEQUENCE)?;
    let (first, rest) = date(dates)?;
    let (last, _) = date(rest)?;
    Some(first..=last)
}

/// The content of the first value, which has to have this tag, and what comes after it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    // A length below 128 is that length; else it is the number of bytes that hold the length.
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    if *found == tag { rest.split_at_checked(length) } else { None }
}

/// `YYMMDDhhmmssZ` up to 2049, `YYYYMMDDhhmmssZ` from 2050 on.
fn date(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest, century) = match value(der, UTC_TIME) {
        Some((text, rest)) => (text, rest, if *text.first()? < b'5' { "20" } else { "19" }),
        None => value(der, GENERALIZED_TIME).map(|(text, rest)| (text, rest, ""))?,
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let date = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some((date.to_zoned(TimeZone::UTC).ok()?.timestamp(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::Authority;

    #[test]
    fn the_dates_of_a_certificate_are_those_it_was_made_with() {
        let check = |from: (i32, u8, u8), to: (i32, u8, u8), expected: &str| {
            let der = Authority::new().issue_for(&["engine"], from, to).certificate_der();
            let found = validity(&der).map(|range| format!("{} {}", range.start(), range.end()));
            assert_eq!(found.as_deref(), Some(expected));
            for end in 0..der.len() {
                // Half a certificate has no dates, or the same.
                let half = validity(&der[..end]).map(|range| format!("{} {}", range.start(), range.end()));
                assert!(half.is_none_or(|half| half == expected), "{end}");
            }
        };
        check((2024, 2, 29), (2049, 12, 31), "2024-02-29T00:00:00Z 2049-12-31T00:00:00Z");
        check((1999, 1, 2), (2050, 1, 1), "1999-01-02T00:00:00Z 2050-01-01T00:00:00Z");
        check((1975, 1, 1), (4096, 1, 1), "1975-01-01T00:00:00Z 4096-01-01T00:00:00Z");
        for nothing in [&b""[..], b"0", b"0\x84\xff\xff\xff\xff", b"hello", &[0x30; 64]] {
            assert_eq!(validity(nothing), None, "{nothing:?}");
        }
    }
}
