//! Label selectors as text: `app=web,tier!=test,env in (a,b),owner,!gone`.
//!
//! Start at [`selector`]. The grammar is that of `kubectl get -l`.

use crate::rules::read::spec::{LabelSelector, Operator, Requirement};

/// Reads a selector; an empty one selects everything.
///
/// # Errors
/// Which of its parts is none.
pub(in crate::rules) fn selector(text: &str) -> Result<LabelSelector, String> {
    let mut selector = LabelSelector::default();
    for part in parts(text) {
        selector.match_expressions.push(requirement(part.trim())?);
    }
    Ok(selector)
}

/// The parts between commas that are in no parentheses.
fn parts(text: &str) -> Vec<&str> {
    let mut depth = 0usize;
    let is_separator = |char: char| {
        match char {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        char == ',' && depth == 0
    };
    text.split(is_separator).filter(|part| !part.trim().is_empty()).collect()
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let wrong = || {
        format!(
            "`{part}` is no requirement, expected one such as `app=web`, `app!=web`, `app in (a,b)`, `app` or `!app`"
        )
    };
    let made = |key: &str, operator: Operator, values: Vec<String>| {
        let key = key.trim();
        let is_key = !key.is_empty() && key.chars().all(|char| char.is_ascii_alphanumeric() || "-_./".contains(char));
        if is_key { Ok(Requirement { key: key.to_owned(), operator, values }) } else { Err(wrong()) }
    };
    let words: Vec<&str> = part.splitn(3, char::is_whitespace).collect();
    let is_set = |text: &str| text.trim().starts_with('(') && text.trim().ends_with(')');
    let one = |value: &str| vec![value.trim().to_owned()];
    match words.as_slice() {
        [key, operator @ ("in" | "notin"), values] if is_set(values) => {
            let values = values.trim().trim_start_matches('(').trim_end_matches(')');
            let values = values.split(',').map(|value| value.trim().to_owned()).collect();
            made(key, if *operator == "in" { Operator::In } else { Operator::NotIn }, values)
        }
        _ => match (part.split_once("!="), part.split_once("=="), part.split_once('='), part.strip_prefix('!')) {
            (Some((key, value)), ..) => made(key, Operator::NotIn, one(value)),
            (None, Some((key, value)), ..) | (None, None, Some((key, value)), _) => made(key, Operator::In, one(value)),
            (None, None, None, Some(key)) => made(key, Operator::DoesNotExist, Vec::new()),
            (None, None, None, None) => made(part, Operator::Exists, Vec::new()),
        },
    }
}
