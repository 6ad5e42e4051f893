//! The quantities of Kubernetes, such as `100m` and `64Mi`.
//!
//! Source: `resource.Quantity` of apimachinery.

use serde_json::Value;

/// The size of a quantity: a decimal with an SI or binary suffix, or an exponent; `None` for what is none.
pub(crate) fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.as_str(),
        Value::Number(number) => return number.as_f64(),
        _ => return None,
    };
    let end = text.find(|part: char| !(part.is_ascii_digit() || "+-.".contains(part))).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let number: f64 = digits.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * factor).filter(|size| size.is_finite())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn suffixes_and_exponents_are_read_and_words_are_not() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(quantity(&json!(text)), expected, "{text}");
        check("250m", Some(0.25));
        check("1Gi", Some(1_073_741_824.0));
        check("1E", Some(1e18));
        check("1e3", Some(1_000.0));
        check("-2E-1", Some(-0.2));
        check("", None);
        check("Ki", None);
        check("1 Gi", None);
        check("1e999", None);
        check("true", None);
        assert_eq!(quantity(&json!(3)), Some(3.0));
        assert_eq!(quantity(&json!(null)), None);
    }
}
