//! Go's printing functions, with bounds.
//!
//! `printf` is the engine's own, reached through templates that hold nothing else: its formatting is tested against Go's. This
//! file only refuses what would print too much.

use std::sync::LazyLock;

use gotmpl::Value;

use super::{Answer, Function, expect_text, list, spend, string, text_bytes};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::at_least("print", 0, print),
    Function::at_least("println", 0, println),
    Function::between("printf", 1, ARGUMENTS_MAX, printf),
    Function::at_least("html", 1, |a| Ok(string(gotmpl::html_escape(&joined(a)?)))),
    Function::at_least("js", 1, |a| Ok(string(gotmpl::js_escape(&joined(a)?)))),
    Function::at_least("urlquery", 1, |a| Ok(string(gotmpl::url_encode(&joined(a)?)))),
];

const ARGUMENTS_MAX: usize = 16;

fn print(arguments: &[Value]) -> Answer {
    joined(arguments).map(string)
}

/// Go's `Sprint`: a space between two that are both no strings.
fn joined(arguments: &[Value]) -> Result<String, String> {
    spend(text_bytes(arguments)?)?;
    let mut printed = String::new();
    for (index, argument) in arguments.iter().enumerate() {
        let between_strings = |value: &Value| matches!(value, Value::String(_));
        if index > 0 && !between_strings(argument) && !between_strings(&arguments[index - 1]) {
            printed.push(' ');
        }
        printed.push_str(&super::text_of(argument));
    }
    Ok(printed)
}

fn println(arguments: &[Value]) -> Answer {
    spend(text_bytes(arguments)?)?;
    let printed: Vec<_> = arguments.iter().map(super::text_of).collect();
    Ok(string(printed.join(" ") + "\n"))
}

/// By number of arguments: `{{ printf (index . 0) (index . 1) }}`.
static PRINTF: LazyLock<Vec<Option<gotmpl::Template>>> = LazyLock::new(|| {
    (0..=ARGUMENTS_MAX)
        .map(|count| {
            let arguments: String = (0..count).map(|index| format!(" (index . {index})")).collect();
            gotmpl::Template::new("printf").parse(&format!("{{{{ printf{arguments} }}}}")).ok()
        })
        .collect()
});

fn printf(arguments: &[Value]) -> Answer {
    let format = expect_text(&arguments[0])?;
    let verbs = format.matches('%').count() as u64;
    // A width is at most 65535 characters, and an argument may be printed by several verbs.
    let widest = if format.contains(|c: char| c.is_ascii_digit() || c == '*') { 65_535 } else { 0 };
    let largest = text_bytes(arguments)?;
    spend(format.len() as u64 + verbs.saturating_mul(widest.max(largest)))?;
    let template = PRINTF.get(arguments.len()).and_then(Option::as_ref).ok_or("too many arguments")?;
    let mut printed = String::new();
    template.execute_fmt(&mut printed, &list(arguments.iter().cloned())).map_err(|error| error.to_string())?;
    Ok(string(printed))
}
