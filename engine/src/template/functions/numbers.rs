//! Arithmetic. Integers wrap as Go's do; division by zero is an error.

use gotmpl::Value;

use super::{Answer, Function, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("int", 1, |a| Ok(Value::Int(integer(&a[0])))),
    Function::exactly("int64", 1, |a| Ok(Value::Int(integer(&a[0])))),
    Function::exactly("float64", 1, |a| Ok(Value::Float(float(&a[0])))),
    Function::exactly("atoi", 1, |a| Ok(Value::Int(text_of(&a[0]).parse().unwrap_or(0)))),
    Function::exactly("toDecimal", 1, |a| Ok(Value::Int(i64::from_str_radix(&text_of(&a[0]), 8).unwrap_or(0)))),
    Function::at_least("add", 0, |a| Ok(Value::Int(a.iter().map(integer).fold(0, i64::wrapping_add)))),
    Function::exactly("add1", 1, |a| Ok(Value::Int(integer(&a[0]).wrapping_add(1)))),
    Function::exactly("sub", 2, |a| Ok(Value::Int(integer(&a[0]).wrapping_sub(integer(&a[1]))))),
    Function::at_least("mul", 1, |a| Ok(Value::Int(a.iter().map(integer).fold(1, i64::wrapping_mul)))),
    Function::exactly("div", 2, |a| divided(a, i64::wrapping_div)),
    Function::exactly("mod", 2, |a| divided(a, i64::wrapping_rem)),
    Function::at_least("max", 1, |a| Ok(Value::Int(a.iter().map(integer).max().unwrap_or(0)))),
    Function::at_least("biggest", 1, |a| Ok(Value::Int(a.iter().map(integer).max().unwrap_or(0)))),
    Function::at_least("min", 1, |a| Ok(Value::Int(a.iter().map(integer).min().unwrap_or(0)))),
    Function::at_least("addf", 0, |a| Ok(Value::Float(a.iter().map(float).sum()))),
    Function::exactly("add1f", 1, |a| Ok(Value::Float(float(&a[0]) + 1.0))),
    Function::at_least("subf", 1, |a| {
        Ok(Value::Float(a[1..].iter().map(float).fold(float(&a[0]), |left, right| left - right)))
    }),
    Function::at_least("mulf", 1, |a| Ok(Value::Float(a.iter().map(float).product()))),
    Function::at_least("divf", 1, divided_float),
    Function::at_least("maxf", 1, |a| Ok(Value::Float(a.iter().map(float).fold(f64::NEG_INFINITY, f64::max)))),
    Function::at_least("minf", 1, |a| Ok(Value::Float(a.iter().map(float).fold(f64::INFINITY, f64::min)))),
    Function::exactly("floor", 1, |a| Ok(Value::Float(float(&a[0]).floor()))),
    Function::exactly("ceil", 1, |a| Ok(Value::Float(float(&a[0]).ceil()))),
    Function::between("round", 2, 3, round),
];

/// Functions that compute with 64 bits.
const OF_INTEGERS: [&str; 12] =
    ["int", "int64", "atoi", "add", "add1", "sub", "mul", "div", "mod", "max", "biggest", "min"];

/// Refuses a number that 64 bits do not hold, where it would be computed with: it would count as another one.
pub(super) fn fit(function: &str, arguments: &[Value]) -> Result<(), String> {
    if !OF_INTEGERS.contains(&function) {
        return Ok(());
    }
    let is_too_large = |value: &&Value| match value {
        Value::Uint(number) => i64::try_from(*number).is_err(),
        Value::Float(number) => number.abs() >= 9_223_372_036_854_775_808.0,
        Value::String(text) => {
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            // Leading zeros are octal to sprig.
            is_whole && !digits.starts_with('0') && text.parse::<i64>().is_err()
        }
        Value::Nil | Value::Bool(_) | Value::Int(_) => false,
        Value::List(_) | Value::Map(_) | Value::Function(_) => false,
    };
    match arguments.iter().find(is_too_large) {
        Some(number) => Err(format!("`{}` does not fit into 64 bits", text_of(number))),
        None => Ok(()),
    }
}

/// Anything as an integer, as sprig casts: what is no number is 0.
fn integer(value: &Value) -> i64 {
    match value {
        Value::Int(value) => *value,
        Value::Uint(value) => *value as i64,
        Value::Float(value) => *value as i64,
        Value::Bool(value) => i64::from(*value),
        Value::String(text) => integer_of(text),
        Value::Nil | Value::List(_) | Value::Map(_) | Value::Function(_) => 0,
    }
}

fn integer_of(text: &str) -> i64 {
    let text = text
        .split_once('.')
        .filter(|(_, zeros)| zeros.bytes().all(|zero| zero == b'0'))
        .map_or(text, |(whole, _)| whole);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    i64::from_str_radix(&format!("{sign}{digits}"), radix).unwrap_or(0)
}

fn float(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap_or(0.0),
        Value::Bool(value) => f64::from(u8::from(*value)),
        other => other.as_float().unwrap_or(0.0),
    }
}

fn divided(arguments: &[Value], operation: fn(i64, i64) -> i64) -> Answer {
    match integer(&arguments[1]) {
        0 => Err("division by zero".to_owned()),
        divisor => Ok(Value::Int(operation(integer(&arguments[0]), divisor))),
    }
}

fn divided_float(arguments: &[Value]) -> Answer {
    let mut result = float(&arguments[0]);
    for divisor in arguments[1..].iter().map(float) {
        if divisor == 0.0 {
            return Err("division by zero".to_owned());
        }
        result /= divisor;
    }
    Ok(Value::Float(result))
}

/// `round 3.14159 2`; the third argument is the fraction from which it rounds up.
fn round(arguments: &[Value]) -> Answer {
    let places = integer(&arguments[1]).clamp(0, 15);
    let up_from = arguments.get(2).map_or(0.5, float);
    let scale = 10f64.powi(places as i32);
    let scaled = float(&arguments[0]) * scale;
    let rounded = if scaled.fract() >= up_from { scaled.ceil() } else { scaled.floor() };
    Ok(Value::Float(rounded / scale))
}
