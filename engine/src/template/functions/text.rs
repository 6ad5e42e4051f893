//! Strings.

use gotmpl::Value;

use super::{Answer, Function, expect_count, expect_list, list, map, spend, string, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("toString", 1, |a| Ok(Value::String(text_of(&a[0])))),
    Function::exactly("upper", 1, |a| Ok(string(text_of(&a[0]).to_uppercase()))),
    Function::exactly("lower", 1, |a| Ok(string(text_of(&a[0]).to_lowercase()))),
    Function::exactly("title", 1, |a| Ok(string(title(&text_of(&a[0]))))),
    Function::exactly("untitle", 1, |a| Ok(string(untitle(&text_of(&a[0]))))),
    Function::exactly("swapcase", 1, |a| Ok(string(swapcase(&text_of(&a[0]))))),
    Function::exactly("trim", 1, |a| Ok(string(text_of(&a[0]).trim()))),
    Function::exactly("trimAll", 2, trim_all),
    Function::exactly("trimall", 2, trim_all),
    Function::exactly("trimPrefix", 2, |a| {
        Ok(string(text_of(&a[1]).strip_prefix(&*text_of(&a[0])).unwrap_or(&text_of(&a[1]))))
    }),
    Function::exactly("trimSuffix", 2, |a| {
        Ok(string(text_of(&a[1]).strip_suffix(&*text_of(&a[0])).unwrap_or(&text_of(&a[1]))))
    }),
    Function::exactly("nospace", 1, |a| Ok(string(text_of(&a[0]).split_whitespace().collect::<String>()))),
    Function::exactly("initials", 1, |a| {
        Ok(string(text_of(&a[0]).split_whitespace().filter_map(|word| word.chars().next()).collect::<String>()))
    }),
    Function::exactly("contains", 2, |a| Ok(Value::Bool(text_of(&a[1]).contains(&*text_of(&a[0]))))),
    Function::exactly("hasPrefix", 2, |a| Ok(Value::Bool(text_of(&a[1]).starts_with(&*text_of(&a[0]))))),
    Function::exactly("hasSuffix", 2, |a| Ok(Value::Bool(text_of(&a[1]).ends_with(&*text_of(&a[0]))))),
    Function::exactly("replace", 3, replace),
    Function::exactly("repeat", 2, repeat),
    Function::exactly("trunc", 2, trunc),
    Function::exactly("substr", 3, substr),
    Function::exactly("abbrev", 2, |a| Ok(string(abbreviated(&text_of(&a[1]), 0, expect_count(&a[0])?)))),
    Function::exactly("abbrevboth", 3, |a| {
        Ok(string(abbreviated(&text_of(&a[2]), expect_count(&a[0])?, expect_count(&a[1])?)))
    }),
    Function::at_least("quote", 0, |a| Ok(string(each_text(a, quoted)))),
    Function::at_least("squote", 0, |a| Ok(string(each_text(a, |text| format!("'{text}'"))))),
    Function::at_least("cat", 0, |a| Ok(string(each_text(a, str::to_owned)))),
    Function::exactly("indent", 2, |a| indent(a, "")),
    Function::exactly("nindent", 2, |a| indent(a, "\n")),
    Function::exactly("plural", 3, |a| Ok(if expect_count(&a[2])? == 1 { a[0].clone() } else { a[1].clone() })),
    Function::exactly("snakecase", 1, |a| Ok(string(words(&text_of(&a[0])).join("_").to_lowercase()))),
    Function::exactly("kebabcase", 1, |a| Ok(string(words(&text_of(&a[0])).join("-").to_lowercase()))),
    Function::exactly("camelcase", 1, |a| Ok(string(pascal_case(&text_of(&a[0]))))),
    Function::exactly("wrap", 2, |a| wrapped(&text_of(&a[1]), expect_count(&a[0])?, "\n", false)),
    Function::exactly("wrapWith", 3, |a| wrapped(&text_of(&a[2]), expect_count(&a[0])?, &text_of(&a[1]), true)),
    Function::exactly("split", 2, |a| Ok(numbered(text_of(&a[1]).split(&*text_of(&a[0]))))),
    Function::exactly("splitn", 3, |a| {
        let count = usize::try_from(expect_count(&a[1])?).unwrap_or(usize::MAX);
        Ok(numbered(text_of(&a[2]).splitn(count, &*text_of(&a[0]))))
    }),
    Function::exactly("splitList", 2, |a| Ok(list(text_of(&a[1]).split(&*text_of(&a[0])).map(string)))),
    Function::exactly("join", 2, join),
    Function::exactly("toStrings", 1, |a| {
        Ok(list(expect_list(&a[0])?.iter().map(|value| Value::String(text_of(value)))))
    }),
];

/// Applies to every argument that is not null, with spaces between.
fn each_text(arguments: &[Value], write: impl Fn(&str) -> String) -> String {
    let written: Vec<String> =
        arguments.iter().filter(|value| !matches!(value, Value::Nil)).map(|value| write(&text_of(value))).collect();
    written.join(" ")
}

/// A double-quoted string as Go's `%q` writes it, which YAML and JSON readers of `\u` understand as well.
pub(in super::super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x80 && c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// Whether a character can be in a text unescaped: no control, separator, private or absent character.
fn is_printable(c: char) -> bool {
    !(c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c as u32, 0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E
            | 0x2060..=0x206F | 0xE000..=0xF8FF | 0xFDD0..=0xFDEF | 0xFEFF | 0xFFF0..=0xFFFB | 0xE_0000..=0x10_FFFF)
        || (c as u32) & 0xFFFE == 0xFFFE)
}

fn title(text: &str) -> String {
    let mut after_separator = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if after_separator {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        after_separator = if c.is_ascii() { !(c.is_ascii_alphanumeric() || c == '_') } else { c.is_whitespace() };
    }
    out
}

fn untitle(text: &str) -> String {
    let mut after_space = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if after_space {
            out.extend(c.to_lowercase());
        } else {
            out.push(c);
        }
        after_space = c.is_whitespace();
    }
    out
}

fn swapcase(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_uppercase() { c.to_lowercase().collect::<Vec<_>>() } else { c.to_uppercase().collect() })
        .collect()
}

fn trim_all(arguments: &[Value]) -> Answer {
    let cutset = text_of(&arguments[0]);
    Ok(string(text_of(&arguments[1]).trim_matches(|c| cutset.contains(c))))
}

fn replace(arguments: &[Value]) -> Answer {
    let (old, new, text) = (text_of(&arguments[0]), text_of(&arguments[1]), text_of(&arguments[2]));
    let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(&*old).count() };
    spend(text.len() as u64 + (found as u64).saturating_mul(new.len() as u64))?;
    Ok(string(text.replace(&*old, &new)))
}

fn repeat(arguments: &[Value]) -> Answer {
    let text = text_of(&arguments[1]);
    let count = u64::try_from(expect_count(&arguments[0])?).unwrap_or(0);
    spend(count.saturating_mul(text.len() as u64))?;
    Ok(string(text.repeat(usize::try_from(count).unwrap_or(0))))
}

/// The nearest character boundary at or before an offset.
fn floor_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

fn trunc(arguments: &[Value]) -> Answer {
    let (count, text) = (expect_count(&arguments[0])?, text_of(&arguments[1]));
    let bytes = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    Ok(match count {
        ..0 if bytes < text.len() => string(&text[floor_boundary(&text, text.len() - bytes)..]),
        0.. if bytes < text.len() => string(&text[..floor_boundary(&text, bytes)]),
        _ => Value::String(text),
    })
}

fn substr(arguments: &[Value]) -> Answer {
    let (start, end, text) = (expect_count(&arguments[0])?, expect_count(&arguments[1])?, text_of(&arguments[2]));
    let offset = |at: i64| floor_boundary(&text, usize::try_from(at).unwrap_or(usize::MAX));
    let from = if start < 0 { 0 } else { offset(start) };
    let to = if end < 0 { text.len() } else { offset(end) };
    Ok(string(text.get(from..to).unwrap_or("")))
}

fn abbreviated(text: &str, offset: i64, width: i64) -> String {
    let length = text.len() as i64;
    if width < 4 || (offset > 0 && width < 7) || length <= width {
        return text.to_owned();
    }
    let cut = |from: i64, to: i64| {
        let offset = |at: i64| floor_boundary(text, usize::try_from(at).unwrap_or(0));
        &text[offset(from)..offset(to)]
    };
    let mut offset = offset.min(length);
    if length - offset < width - 3 {
        offset = length - (width - 3);
    }
    if offset <= 4 {
        return format!("{}...", cut(0, width - 3));
    }
    if offset + width - 3 < length {
        return format!("...{}...", cut(offset, offset + width - 6));
    }
    format!("...{}", cut(length - (width - 3), length))
}

fn indent(arguments: &[Value], before: &str) -> Answer {
    let spaces = usize::try_from(expect_count(&arguments[0])?).unwrap_or(0);
    let text = text_of(&arguments[1]);
    let lines = text.matches('\n').count() as u64 + 1;
    spend(text.len() as u64 + lines.saturating_mul(spaces as u64))?;
    let padding = " ".repeat(spaces);
    Ok(string(format!("{before}{padding}{}", text.replace('\n', &format!("\n{padding}")))))
}

/// The words of a name in any case: `HTTPServer2Go_now` is HTTP, Server, 2, Go, now.
fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut words = vec![String::new()];
    for (index, &c) in chars.iter().enumerate() {
        if !c.is_alphanumeric() {
            if words.last().is_some_and(|word| !word.is_empty()) {
                words.push(String::new());
            }
            continue;
        }
        let previous = index.checked_sub(1).map(|before| chars[before]);
        let next_is_lower = chars.get(index + 1).is_some_and(|next| next.is_lowercase());
        let begins = previous.is_some_and(|previous| {
            (c.is_uppercase()
                && (previous.is_lowercase() || previous.is_numeric() || (previous.is_uppercase() && next_is_lower)))
                || (c.is_numeric() && previous.is_alphabetic() && !previous.is_uppercase())
        });
        match words.last_mut() {
            Some(word) if !begins || word.is_empty() => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn pascal_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut upper_next = true;
    for c in text.chars() {
        match c {
            '_' | '-' | ' ' => upper_next = true,
            c if upper_next => {
                out.extend(c.to_uppercase());
                upper_next = false;
            }
            c => out.push(c),
        }
    }
    out
}

/// Breaks lines at spaces; a word longer than a line is broken only if `break_words`.
fn wrapped(text: &str, width: i64, newline: &str, break_words: bool) -> Answer {
    let width = usize::try_from(width.max(1)).unwrap_or(1);
    let breaks = text.matches(' ').count() + if break_words { text.len() / width + 1 } else { 0 };
    spend(text.len() as u64 + (breaks as u64).saturating_mul(newline.len() as u64))?;
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    for word in text.split(' ') {
        let mut word = word;
        let length = word.chars().count();
        if column > 0 {
            if column + 1 + length <= width {
                out.push(' ');
                column += 1;
            } else {
                out.push_str(newline);
                column = 0;
            }
        }
        if break_words {
            while word.chars().count() > width {
                let at = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
                out.push_str(&word[..at]);
                out.push_str(newline);
                word = &word[at..];
            }
        }
        out.push_str(word);
        column += word.chars().count();
    }
    Ok(string(out))
}

fn numbered<'p>(parts: impl Iterator<Item = &'p str>) -> Value {
    map(parts.enumerate().map(|(index, part)| (format!("_{index}").into(), string(part))))
}

fn join(arguments: &[Value]) -> Answer {
    let separator = text_of(&arguments[0]);
    let parts: Vec<_> = match &arguments[1] {
        Value::List(items) => items.iter().filter(|item| !matches!(item, Value::Nil)).map(text_of).collect(),
        Value::Nil => Vec::new(),
        other => vec![text_of(other)],
    };
    spend(parts.iter().map(|part| (part.len() + separator.len()) as u64).sum())?;
    Ok(string(parts.join(&separator)))
}
