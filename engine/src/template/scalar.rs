//! What a YAML scalar means to Kubernetes.
//!
//! Start at [`resolve`]. The rules are those of sigs.k8s.io/yaml 1.6 (YAML 1.1 in go-yaml v2), which kubectl and Sveltos use:
//! `yes`, `on` and `y` are booleans, `0x10`, `0o10`, `010` and `0b11` are integers, underscores in numbers are ignored,
//! `1:30` and dates are strings. Infinity and NaN have no JSON and are refused. Mapping keys never come here: in JSON a key is
//! the string it spells. (go-yaml would read the key `y` as `true`; nobody means that.)

use serde_json::{Number, Value};

/// The value of a plain scalar; `None` if JSON has no such number.
pub(super) fn resolve(text: &str) -> Option<Value> {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return None,
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => return None,
        _ if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) => {
            number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
        }
        _ => Value::String(text.to_owned()),
    };
    Some(value)
}

fn number(text: &str) -> Option<Number> {
    let plain: std::borrow::Cow<'_, str> = if text.contains('_') { text.replace('_', "").into() } else { text.into() };
    integer(&plain).or_else(|| float(&plain))
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative { 0i64.checked_sub_unsigned(magnitude).map(Number::from) } else { Some(Number::from(magnitude)) }
}

fn float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let well_formed = match mantissa.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    if !well_formed || exponent.is_some_and(|exponent| exponent.is_empty() || !digits(exponent)) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // Go's JSON writes 1e3 as 1000, so `replicas: 1e3` is an integer to the API server.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT_MAX {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_mean_what_they_mean_to_kubectl() {
        for (text, expected) in [
            ("yes", json!(true)),
            ("y", json!(true)),
            ("n", json!(false)),
            ("on", json!(true)),
            ("Off", json!(false)),
            ("~", json!(null)),
            ("NULL", json!(null)),
            ("nULL", json!("nULL")),
            ("", json!(null)),
            ("0x10", json!(16)),
            ("010", json!(8)),
            ("0o10", json!(8)),
            ("0b11", json!(3)),
            ("1_000", json!(1000)),
            ("0x_1", json!(1)),
            ("1e3", json!(1000)),
            ("1.5e3", json!(1500)),
            ("1.", json!(1)),
            (".5", json!(0.5)),
            ("+1", json!(1)),
            ("-0", json!(0)),
            ("-0x10", json!(-16)),
            ("1:30", json!("1:30")),
            ("2026-11-22", json!("2026-11-22")),
            ("18446744073709551615", json!(18_446_744_073_709_551_615u64)),
            ("18446744073709551616", json!(18_446_744_073_709_551_616.0)),
            ("1e400", json!("1e400")),
            ("=", json!("=")),
            ("1__0", json!(10)),
            ("_1", json!("_1")),
            ("08", json!(8)),
            ("0x", json!("0x")),
            ("0b2", json!("0b2")),
            ("1_0.5", json!(10.5)),
            ("0o8", json!("0o8")),
            ("007", json!(7)),
            ("-", json!("-")),
            (".", json!(".")),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1e", json!("1e")),
            ("1-2", json!("1-2")),
            ("++1", json!("++1")),
        ] {
            assert_eq!(resolve(text), Some(expected), "`{text}`");
        }
        assert_eq!(resolve(".inf"), None);
        assert_eq!(resolve("-.INF"), None);
        assert_eq!(resolve(".nan"), None);
    }
}
