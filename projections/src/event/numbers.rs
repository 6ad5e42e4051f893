//! Whole numbers in JSON that 64 bits with a sign do not hold. Kubernetes has no larger ones.
//!
//! Start at [`large_as_text`]. serde_json would read such a number as a float, which has 53 bits:
//! `12345678901234567890123` would become another number without a word. As text every digit stays. Nothing else of
//! the JSON is touched.

use std::borrow::Cow;

/// The fewest digits of a number that 64 bits may not hold.
const DIGITS_MIN: usize = 19;

/// The same JSON, with quotes around each whole number beyond 64 bits.
pub(super) fn large_as_text(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let end = at + bytes[at..].iter().take_while(|byte| is_of_number(**byte)).count();
                let number = &json[at..end];
                if number.len() >= DIGITS_MIN && is_large(number) {
                    out.push_str(&json[copied..at]);
                    out.extend(["\"", number, "\""]);
                    copied = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

/// The offset after the string that begins at `at`.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
}

/// Whether this is a whole number, written as JSON wants it, that 64 bits do not hold.
fn is_large(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    is_whole && number.parse::<i64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_beyond_64_bits_become_text() {
        for (json, expected) in [
            (r#"{"a":9223372036854775807,"b":-9223372036854775808}"#, None),
            (r#"{"a":9223372036854775808}"#, Some(r#"{"a":"9223372036854775808"}"#)),
            (r#"{"a":18446744073709551616}"#, Some(r#"{"a":"18446744073709551616"}"#)),
            (r#"[-9223372036854775809,1]"#, Some(r#"["-9223372036854775809",1]"#)),
            ("123456789012345678901234567890", Some(r#""123456789012345678901234567890""#)),
            (r#"{"a":"123456789012345678901234567890 \" 123456789012345678901234567890"}"#, None),
            (r#"{"a":1234567890123456789012345.5,"b":1e40,"c":12345678901234567890123e1}"#, None),
            // No JSON, and it stays none.
            ("01234567890123456789012", None),
            ("--1234567890123456789012", None),
            (r#"{"a":"unclosed \"#, None),
        ] {
            assert_eq!(large_as_text(json), expected.unwrap_or(json));
        }
    }
}
