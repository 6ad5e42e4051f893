//! Comparing: `eq`, `ne`, `lt`, `le`, `gt`, `ge`.
//!
//! As Go's, except that numbers compare as numbers whatever their type: in Go an event's `3` is a float, here an integer, and
//! both `eq .n 3.0` (all that Go allows) and `eq .n 3` should say yes.

use std::cmp::Ordering;

use gotmpl::Value;

use super::{Answer, Function, described};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::at_least("eq", 2, |a| {
        for other in &a[1..] {
            if equal(&a[0], other)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    Function::exactly("ne", 2, |a| Ok(Value::Bool(!equal(&a[0], &a[1])?))),
    Function::exactly("lt", 2, |a| ordered(a, Ordering::is_lt)),
    Function::exactly("le", 2, |a| ordered(a, Ordering::is_le)),
    Function::exactly("gt", 2, |a| ordered(a, Ordering::is_gt)),
    Function::exactly("ge", 2, |a| ordered(a, Ordering::is_ge)),
];

fn incompatible(left: &Value, right: &Value) -> String {
    format!("cannot compare {} with {}", described(left), described(right))
}

/// `Some(None)` if one of two numbers is NaN; `None` if they are not both numbers.
fn numbers(left: &Value, right: &Value) -> Option<Option<Ordering>> {
    let whole = |value: &Value| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => Some(Some(left.cmp(&right))),
        _ => Some(left.as_float()?.partial_cmp(&right.as_float()?)),
    }
}

fn equal(left: &Value, right: &Value) -> Result<bool, String> {
    if let Some(order) = numbers(left, right) {
        return Ok(order == Some(Ordering::Equal));
    }
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(left == right),
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        (Value::Nil, other) | (other, Value::Nil) => Ok(matches!(other, Value::Nil)),
        _ => Err(incompatible(left, right)),
    }
}

fn ordered(arguments: &[Value], holds: fn(Ordering) -> bool) -> Answer {
    let (left, right) = (&arguments[0], &arguments[1]);
    if let Some(order) = numbers(left, right) {
        return Ok(Value::Bool(order.is_some_and(holds)));
    }
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(Value::Bool(holds(left.cmp(right)))),
        _ => Err(incompatible(left, right)),
    }
}
