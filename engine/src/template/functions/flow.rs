//! Choosing and refusing: defaults, conditions, types, `fail` and `required`.

use gotmpl::Value;

use super::{Answer, Function, string, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::between("default", 1, 2, |a| {
        Ok(if a.len() == 2 && a[1].is_truthy() { a[1].clone() } else { a[0].clone() })
    }),
    Function::exactly("empty", 1, |a| Ok(Value::Bool(!a[0].is_truthy()))),
    Function::at_least("coalesce", 0, |a| Ok(a.iter().find(|value| value.is_truthy()).cloned().unwrap_or(Value::Nil))),
    Function::at_least("all", 0, |a| Ok(Value::Bool(a.iter().all(Value::is_truthy)))),
    Function::at_least("any", 0, |a| Ok(Value::Bool(a.iter().any(Value::is_truthy)))),
    Function::exactly("ternary", 3, |a| Ok(if a[2].is_truthy() { a[0].clone() } else { a[1].clone() })),
    Function::exactly("fail", 1, |a| Err(text_of(&a[0]).to_string())),
    Function::exactly("required", 2, required),
    Function::exactly("typeOf", 1, |a| Ok(string(type_of(&a[0])))),
    Function::exactly("typeIs", 2, |a| Ok(Value::Bool(*text_of(&a[0]) == *type_of(&a[1])))),
    Function::exactly("typeIsLike", 2, |a| Ok(Value::Bool(text_of(&a[0]).trim_start_matches('*') == type_of(&a[1])))),
    Function::exactly("kindOf", 1, |a| Ok(string(kind_of(&a[0])))),
    Function::exactly("kindIs", 2, |a| Ok(Value::Bool(*text_of(&a[0]) == *kind_of(&a[1])))),
    Function::exactly("deepEqual", 2, |a| Ok(Value::Bool(a[0] == a[1]))),
    Function::exactly("deepCopy", 1, |a| Ok(a[0].clone())),
    Function::exactly("mustDeepCopy", 1, |a| Ok(a[0].clone())),
    Function::exactly("hello", 0, |_| Ok(string("Hello!"))),
];

fn required(arguments: &[Value]) -> Answer {
    match &arguments[1] {
        Value::Nil => Err(text_of(&arguments[0]).to_string()),
        Value::String(text) if text.is_empty() => Err(text_of(&arguments[0]).to_string()),
        value => Ok(value.clone()),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Nil => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Uint(_) => "uint64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
        Value::Function(_) => "func",
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Nil => "invalid",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
        other => type_of(other),
    }
}
