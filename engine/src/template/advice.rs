//! What to write so that a value is quoted: a hint that works when it is followed.
//!
//! Start at [`quote`]. A value cannot be quoted alone where it is a part of a scalar: the whole scalar has to come from the
//! template then, with `printf`. Which text that is, is read from the line of the action. Pure.

use std::ops::Range;

/// Where the scalar cannot be read from its line.
const WHOLE: &str =
    "let the template make the whole text and quote it, with no quotes around it: `{{ printf \"...%v\" ... | quote }}`";

/// The hint where nothing is known of the action, or it shall not be shown.
pub(super) const UNSEEN: &str = "quote the whole text by `| quote`, and write no quotes around it";

/// What begins an action that prints nothing of its own.
const CONTROLS: [&str; 10] = ["if", "else", "end", "range", "with", "define", "block", "template", "break", "continue"];

/// What to write in place of which text, so that the value of the action is quoted. `inside` is an offset in the action.
pub(super) fn quote(source: &str, inside: usize) -> String {
    let Some(open) = source.get(..inside).and_then(|before| before.rfind("{{")) else { return UNSEEN.to_owned() };
    if is_in_block(source, open) {
        let line = &source[line_of(source, open)];
        return match parts(line.trim()).as_deref() {
            Some([Part::Action(action)]) => {
                format!("write it after its key, in place of `|` or `>`: `{}`", quoted(action))
            }
            _ => WHOLE.to_owned(),
        };
    }
    let Some((scalar, quote)) = scalar(source, open) else { return WHOLE.to_owned() };
    let old = &source[scalar.clone()];
    let inner = if quote.is_some() { &old[1..old.len() - 1] } else { old };
    let Some(parts) = parts(inner) else { return WHOLE.to_owned() };
    let new = match parts.as_slice() {
        [Part::Action(action)] => quoted(action),
        parts if parts.iter().any(|part| matches!(part, Part::Control)) => {
            let printing: Vec<_> = parts.iter().filter(|part| !matches!(part, Part::Control)).collect();
            let ([Part::Action(action)], None) = (printing.as_slice(), quote) else { return WHOLE.to_owned() };
            let end = source[open..].find("}}").map_or(source.len(), |end| open + end + 2);
            return replace(&source[open..end], &quoted(action));
        }
        parts => match printf(parts) {
            Some(new) => new,
            None => return WHOLE.to_owned(),
        },
    };
    replace(old, &new)
}

fn replace(old: &str, new: &str) -> String {
    format!("quote it: write `{new}` in place of `{old}`")
}

/// A piece of a scalar of a template.
enum Part<'s> {
    Text(&'s str),
    /// An action that prints: what is between the braces.
    Action(&'s str),
    /// One that does not.
    Control,
}

/// The pieces of a text; `None` where an action does not end in it, or changes the blanks around it.
fn parts(text: &str) -> Option<Vec<Part<'_>>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(open) = rest.find("{{") {
        if open > 0 {
            parts.push(Part::Text(&rest[..open]));
        }
        let end = open + rest[open..].find("}}")?;
        let action = &rest[open + 2..end];
        if action.starts_with('-') || action.ends_with('-') {
            return None;
        }
        let action = action.trim();
        let first = action.split(|c: char| c.is_whitespace()).next().unwrap_or_default();
        let is_control = CONTROLS.contains(&first) || action.starts_with("/*") || action.contains(":=");
        parts.push(if is_control { Part::Control } else { Part::Action(action) });
        rest = &rest[end + 2..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Some(parts)
}

/// An action without the function that quotes what it prints.
fn bare(action: &str) -> &str {
    let piped = ["quote", "squote"].iter().find_map(|name| {
        let before = action.strip_suffix(name)?.trim_end();
        before.strip_suffix('|')
    });
    let called = || ["quote ", "squote "].iter().find_map(|name| action.strip_prefix(name));
    piped.or_else(called).unwrap_or(action).trim()
}

fn quoted(action: &str) -> String {
    format!("{{{{ {} | quote }}}}", bare(action))
}

/// One action that prints what these parts print; `None` where the text between them has characters that are escaped.
fn printf(parts: &[Part<'_>]) -> Option<String> {
    let (mut format, mut arguments) = (String::new(), String::new());
    for part in parts {
        match part {
            Part::Text(text) if text.contains(['"', '\\', '\'', '`']) => return None,
            Part::Text(text) => format.push_str(&text.replace('%', "%%")),
            Part::Action(action) => {
                format.push_str("%v");
                let action = bare(action);
                let is_word = !action.contains(|c: char| c.is_whitespace() || c == '|');
                arguments.push_str(&if is_word { format!(" {action}") } else { format!(" ({action})") });
            }
            Part::Control => return None,
        }
    }
    Some(format!("{{{{ printf \"{format}\"{arguments} | quote }}}}"))
}

fn line_of(source: &str, at: usize) -> Range<usize> {
    let start = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
    start..source[at..].find('\n').map_or(source.len(), |newline| at + newline)
}

/// Whether the line of an offset is part of a block scalar: a line above it, with fewer blanks, ends in `|` or `>`.
fn is_in_block(source: &str, at: usize) -> bool {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let line = line_of(source, at);
    let mut deepest = indent(&source[line.clone()]);
    for above in source[..line.start].lines().rev().filter(|above| !above.trim().is_empty()) {
        if indent(above) < deepest {
            deepest = indent(above);
            let header = above.split(" #").next().unwrap_or(above).trim_end();
            let header = header.trim_end_matches(|c: char| c == '+' || c == '-' || c.is_ascii_digit());
            if [": |", ": >", "- |", "- >"].iter().any(|end| header.ends_with(end)) {
                return true;
            }
        }
    }
    false
}

/// The scalar of a line that an offset is in, with its quotes; `None` where it does not end in the line.
fn scalar(source: &str, at: usize) -> Option<(Range<usize>, Option<char>)> {
    let line = line_of(source, at);
    let (mut from, mut flows) = (line.start, 0_u32);
    loop {
        let rest = &source[from..line.end];
        let trimmed = rest.trim_start();
        from += rest.len() - trimmed.len();
        let (end, quote) = match trimmed.chars().next()? {
            '#' => return None,
            '-' if trimmed[1..].starts_with(' ') => {
                from += 2;
                continue;
            }
            '[' => {
                (from, flows) = (from + 1, flows + 1);
                continue;
            }
            '{' if !trimmed.starts_with("{{") => {
                (from, flows) = (from + 1, flows + 1);
                continue;
            }
            ']' | '}' => {
                (from, flows) = (from + 1, flows.saturating_sub(1));
                continue;
            }
            ',' | ':' => {
                from += 1;
                continue;
            }
            quote @ ('"' | '\'') => (from + 1 + end_of_quoted(&trimmed[1..], quote)? + 1, Some(quote)),
            _ => (from + end_of_plain(trimmed, flows > 0), None),
        };
        if (from..end).contains(&at) {
            return Some((from..end, quote));
        }
        from = end.max(from + 1);
    }
}

/// The bytes up to the quote that ends a quoted scalar. Quotes in an action are its own.
fn end_of_quoted(text: &str, quote: char) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let next = rest.chars().next()?;
        if rest.starts_with("{{") {
            at += rest.find("}}")? + 2;
        } else if next == quote && !(quote == '\'' && rest[1..].starts_with('\'')) {
            return Some(at);
        } else if next == quote || (next == '\\' && quote == '"') {
            at += 1 + rest[1..].chars().next()?.len_utf8();
        } else {
            at += next.len_utf8();
        }
    }
}

/// The bytes of a scalar without quotes, without blanks after it.
fn end_of_plain(text: &str, is_in_flow: bool) -> usize {
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        if rest.starts_with("{{") {
            at += rest.find("}}").map_or(rest.len(), |end| end + 2);
            continue;
        }
        let ends = rest.starts_with(": ") || rest == ":" || rest.starts_with(" #");
        if ends || (is_in_flow && matches!(next, ',' | ']' | '}')) {
            break;
        }
        at += next.len_utf8();
    }
    text[..at].trim_end().len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::template::{Data, Dialect, Template};

    /// Follows the hint of a template that is refused, and renders it again.
    #[track_caller]
    fn follow(source: &str, value: &str) {
        let values = json!({"x": value, "n": 5});
        let data = Data { values: &values, recorded_at_unix_nanos: 0 };
        let render = |source: &str| Template::compile(Dialect::Go, "a.yaml", source)?.render_manifests(&data);
        let refused = render(source).expect_err(source);
        let hint = refused.fault().hint.clone().unwrap_or_default();
        let (new, old) = hint
            .split_once("quote it: write `")
            .and_then(|(_, rest)| rest.strip_suffix('`')?.split_once("` in place of `"))
            .unwrap_or_else(|| panic!("{source}\n{refused}"));
        assert_eq!(source.matches(old).count(), 1, "{source}\n{hint}");
        let mended = source.replace(old, new);
        let made = render(&mended).unwrap_or_else(|error| panic!("{source}\n{mended}\n{error}"));
        let written = json!(value).to_string();
        assert!(made[0].to_string().contains(&written[1..written.len() - 1]), "{mended} {made:?}");
    }

    #[test]
    fn each_hint_works_when_it_is_followed() {
        let mut followed = 0;
        for value in ["a: b", "it's \"so\" \\ # ", "- x\n- y", "{a: b}", "[", "say \"no\": 'yes'"] {
            for template in [
                "v: {{ .x }}\n",
                "v: a-{{ .x }}\n",
                "v: a {{ .x }} 100% {{ .n }} # {{ .n }}\n",
                "v:\n- {{ .x | upper | lower | trim }}-{{ .x }}\n",
                "v: [1, a-{{ .x }}, 3]\n",
                "v: {a: {{ .x }}, b: 3}\n",
                "v: {{ if .n }}{{ .x }}{{ end }}\n",
                "{{ .x }}: v\n",
            ] {
                let values = json!({"x": value, "n": 5});
                let data = Data { values: &values, recorded_at_unix_nanos: 0 };
                let made = Template::compile(Dialect::Go, "a.yaml", template).unwrap().render_manifests(&data);
                // A lone `[` ends the text, so no line of it is the one to mend.
                if made.is_err() && value != "[" {
                    follow(template, value);
                    followed += 1;
                }
            }
        }
        assert!(followed > 20, "{followed}");
        for value in ["a\"b", "a\\b\"", "a\"\n'b"] {
            for template in [
                "v: \"{{ .x }}\"\n",
                "args: [\"--etag={{ .x }}\"]\n",
                "args: [\"a\", \"{{ .n }}:{{ .x }}\", \"b\"]\n",
                "- \"k{{ .x }}\": \"it's {{ .n }}\"\n",
                "v: \"{{ .x }}\" # said\n",
            ] {
                let list = template.starts_with('-');
                follow(&if list { format!("v:\n{template}") } else { template.to_owned() }, value);
            }
        }
        follow("v: '{{ .x }}'\n", "it's");
        follow("v: '{{ .x | squote }}'\n", "it's");
        follow("v: \"{{ .x | quote }}\"\n", "so");
    }

    #[test]
    fn what_is_in_a_block_is_told_to_leave_it() {
        let values = json!({"x": "a\nb"});
        let data = Data { values: &values, recorded_at_unix_nanos: 0 };
        let render = |source: &str| Template::compile(Dialect::Go, "a.yaml", source)?.render_manifests(&data);
        let refused = render("v: |\n  {{ .x }}\n").unwrap_err();
        let hint = refused.fault().hint.clone().unwrap();
        assert_eq!(hint, "write it after its key, in place of `|` or `>`: `{{ .x | quote }}`");
        assert_eq!(render("v: {{ .x | quote }}\n").unwrap(), [json!({"v": "a\nb"})]);
        let refused = render("v: |\n  a {{ .x }}\n").unwrap_err();
        assert_eq!(refused.fault().hint.as_deref(), Some(super::WHOLE));
    }
}
