//! Regular expressions in the syntax of the crate regex, which is nearly that of Go (RE2). A pattern that does not compile is
//! an error, also in the functions without `must`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use gotmpl::Value;
use regex::{Regex, RegexBuilder};

use super::{Answer, Function, expect_count, list, spend, string, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("regexMatch", 2, matches),
    Function::exactly("mustRegexMatch", 2, matches),
    Function::exactly("regexFind", 2, find),
    Function::exactly("mustRegexFind", 2, find),
    Function::exactly("regexFindAll", 3, find_all),
    Function::exactly("mustRegexFindAll", 3, find_all),
    Function::exactly("regexReplaceAll", 3, replace_all),
    Function::exactly("mustRegexReplaceAll", 3, replace_all),
    Function::exactly("regexReplaceAllLiteral", 3, replace_all_literal),
    Function::exactly("mustRegexReplaceAllLiteral", 3, replace_all_literal),
    Function::exactly("regexSplit", 3, split),
    Function::exactly("mustRegexSplit", 3, split),
    Function::exactly("regexQuoteMeta", 1, |a| Ok(string(quote_meta(&text_of(&a[0]))))),
];

const COMPILED_BYTES_MAX: usize = 1 << 20;
const KEPT_MAX: usize = 64;

thread_local! {
    /// Patterns are nearly always literals of the template, and compiling one takes longer than the rest of a rendering.
    static COMPILED: RefCell<BTreeMap<String, Regex>> = const { RefCell::new(BTreeMap::new()) };
}

fn compiled(pattern: &Value) -> Result<Regex, String> {
    let pattern = text_of(pattern);
    COMPILED.with_borrow_mut(|kept| {
        if let Some(regex) = kept.get(&*pattern) {
            return Ok(regex.clone());
        }
        let regex = RegexBuilder::new(&pattern).size_limit(COMPILED_BYTES_MAX).build().map_err(|error| {
            format!("`{}` is no regular expression: {error}", super::super::error::shortened(&pattern))
        })?;
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(pattern.to_string(), regex.clone());
        Ok(regex)
    })
}

fn matches(arguments: &[Value]) -> Answer {
    Ok(Value::Bool(compiled(&arguments[0])?.is_match(&text_of(&arguments[1]))))
}

fn find(arguments: &[Value]) -> Answer {
    let text = text_of(&arguments[1]);
    Ok(string(compiled(&arguments[0])?.find(&text).map_or("", |found| found.as_str())))
}

/// A count below zero means all.
fn limit(count: &Value) -> Result<usize, String> {
    Ok(usize::try_from(expect_count(count)?).unwrap_or(usize::MAX))
}

fn find_all(arguments: &[Value]) -> Answer {
    let text = text_of(&arguments[1]);
    Ok(list(compiled(&arguments[0])?.find_iter(&text).take(limit(&arguments[2])?).map(|found| string(found.as_str()))))
}

fn replace_all(arguments: &[Value]) -> Answer {
    let (regex, text, with) = (compiled(&arguments[0])?, text_of(&arguments[1]), text_of(&arguments[2]));
    let found = regex.find_iter(&text).count() as u64;
    // Each `$` of the replacement can repeat what was found, all of which together is the text.
    let repeats = with.matches('$').count() as u64 + 1;
    spend(repeats.saturating_mul(text.len() as u64) + found.saturating_mul(with.len() as u64))?;
    Ok(string(regex.replace_all(&text, &*with).into_owned()))
}

fn replace_all_literal(arguments: &[Value]) -> Answer {
    let (regex, text, with) = (compiled(&arguments[0])?, text_of(&arguments[1]), text_of(&arguments[2]));
    let found = regex.find_iter(&text).count() as u64;
    spend(text.len() as u64 + found.saturating_mul(with.len() as u64))?;
    Ok(string(regex.replace_all(&text, regex::NoExpand(&with)).into_owned()))
}

fn split(arguments: &[Value]) -> Answer {
    let (regex, text) = (compiled(&arguments[0])?, text_of(&arguments[1]));
    Ok(match limit(&arguments[2])? {
        0 => list([]),
        count => list(regex.splitn(&text, count).map(string)),
    })
}

fn quote_meta(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
