//! Single-quoted strings inside actions: `{{ if eq .CloudEvent.type 'logout' }}`.
//!
//! Go knows only runes between single quotes; manifests in the field write strings there. Start at [`rewrite`], which gives
//! a source of Go's own syntax with every byte outside those strings in its old place, and [`Rewritten::original`], which
//! takes a position back. It never looks outside `{{ }}`, and leaves one-character literals to the tree walk, which
//! knows whether a rune or a string is wanted.

use std::borrow::Cow;

/// A source whose strings Go's lexer can read.
#[derive(Debug)]
pub(super) struct Rewritten<'s> {
    pub source: Cow<'s, str>,
    /// (offset in the rewritten source, bytes added up to there), where the length had to change.
    shifts: Vec<(usize, usize)>,
}

impl Rewritten<'_> {
    /// The offset in the source as it was typed.
    pub fn original(&self, offset: usize) -> usize {
        let added = self.shifts.iter().rev().find(|(at, _)| *at <= offset).map_or(0, |(_, added)| *added);
        offset - added
    }
}

/// Turns `'string'` inside actions into a string literal of Go.
pub(super) fn rewrite(source: &str) -> Rewritten<'_> {
    let mut out = String::new();
    let mut copied = 0;
    let mut shifts = Vec::new();
    let mut added = 0;
    let mut rest = 0;
    while let Some(open) = source[rest..].find("{{") {
        let mut at = rest + open + 2;
        let body = source[at..].strip_prefix("- ").unwrap_or(&source[at..]).trim_start();
        if body.starts_with("/*") {
            match source[at..].find("*/") {
                Some(end) => rest = at + end + 2,
                None => break,
            }
            continue;
        }
        let bytes = source.as_bytes();
        while at < bytes.len() && !source[at..].starts_with("}}") {
            match bytes[at] {
                b'"' => at = end_of_quoted(bytes, at, b'"'),
                b'`' => at = source[at + 1..].find('`').map_or(bytes.len(), |end| at + 1 + end + 1),
                b'\'' => {
                    let end = end_of_quoted(bytes, at, b'\'');
                    if end <= bytes.len() && end > at + 1 && bytes[end - 1] == b'\'' {
                        let content = &source[at + 1..end - 1];
                        if !is_rune(content) {
                            out.push_str(&source[copied..at]);
                            let before = out.len();
                            push_literal(&mut out, content);
                            let longer = (out.len() - before).saturating_sub(end - at);
                            if longer > 0 {
                                added += longer;
                                shifts.push((out.len(), added));
                            }
                            copied = end;
                        }
                    }
                    at = end;
                }
                _ => at += 1,
            }
            while at < bytes.len() && !source.is_char_boundary(at) {
                at += 1;
            }
        }
        rest = at.min(source.len());
    }
    if copied == 0 {
        return Rewritten { source: Cow::Borrowed(source), shifts };
    }
    out.push_str(&source[copied..]);
    Rewritten { source: Cow::Owned(out), shifts }
}

/// The offset after the closing quote, or after the last byte of the line if there is none.
fn end_of_quoted(bytes: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'\n' => return at,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// One character or one escape: what Go would read as a rune.
fn is_rune(content: &str) -> bool {
    let mut chars = content.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), Some('x' | 'u' | 'U' | '0'..='7')) => chars.clone().all(|c| c.is_ascii_hexdigit()),
        (Some('\\'), Some(_)) => chars.next().is_none(),
        (Some(_), None) => true,
        _ => false,
    }
}

/// Writes a literal of the same value, of the same length where the content allows it.
fn push_literal(out: &mut String, content: &str) {
    if !content.contains(['"', '\\']) {
        out.push('"');
        out.push_str(content);
        out.push('"');
        return;
    }
    if !content.contains(['`', '\\']) {
        out.push('`');
        out.push_str(content);
        out.push('`');
        return;
    }
    out.push('"');
    let mut chars = content.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => match chars.next() {
                Some('\'') => out.push('\''),
                Some(escaped) => out.extend(['\\', escaped]),
                None => out.push_str("\\\\"),
            },
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_between_single_quotes_become_strings_of_go() {
        check("{{ eq .a 'bc' }}", "{{ eq .a \"bc\" }}");
        check("{{ eq .a '' }}", "{{ eq .a \"\" }}");
        check("{{ eq .a 'say \"hi\"' }}", "{{ eq .a `say \"hi\"` }}");
        check("{{ eq .a 'a\"`b' }}", "{{ eq .a \"a\\\"`b\" }}");
        check("{{ eq .a 'it\\'s' }}", "{{ eq .a \"it's\" }}");
        check("{{ eq .a 'äö' }}", "{{ eq .a \"äö\" }}");
    }

    #[test]
    fn everything_else_stays() {
        for source in [
            "it's 'text' {{ .a }} it's",
            "{{ eq .a \"it's 'x y'\" }}",
            "{{ eq .a `it's 'x y'` }}",
            "{{/* it's 'a comment' */}}{{ .a }}",
            "{{ printf \"%c\" 'x' }}",
            "{{ printf \"%c\" '\\n' }}",
            "{{ 'unclosed }}",
            "{{ 'ä",
        ] {
            check(source, source);
        }
    }

    #[test]
    fn positions_after_a_longer_literal_lead_back() {
        let source = "{{ eq .a 'a\"`b' }}{{ nope }}";
        let rewritten = rewrite(source);
        let offset = rewritten.source.find("nope").unwrap();
        assert_eq!(rewritten.original(offset), source.find("nope").unwrap());
    }

    fn check(source: &str, expected: &str) {
        assert_eq!(rewrite(source).source, expected);
    }
}
