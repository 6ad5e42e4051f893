//! From Go's regular expressions to those of the crate `regex`. Both are RE2 at heart; the differences are spelled out here.
//!
//! | in Go | in `regex` | here |
//! |---|---|---|
//! | `\Q...\E` quotes | unknown | each character escaped |
//! | `\d \w \s \b` are ASCII | Unicode | the ASCII sets |
//! | `[` inside a class is itself, `&&` `--` `~~` too | nested class, set operations | escaped |
//! | `\<` and `\>` are themselves | word boundaries | escaped |
//! | `{` that begins no repetition is itself, `{,5}` too | an error, a repetition | escaped |
//! | `\p{^Greek}` | unknown | `\P{Greek}` |
//! | octal `\101`, `\0` | unknown | `\x{41}` |
//!
//! What `regex` accepts beyond Go (a repetition above 1000, the flag `x`) stays accepted. Start at [`translate`]. Nothing
//! here judges an expression: what is wrong stays wrong and `regex` says so.

use std::fmt::Write;

/// The same expression in the syntax of `regex`; what is not understood is left as it is.
pub(in crate::rules) fn translate(go: &str) -> String {
    let mut reader = Reader { rest: go, out: String::with_capacity(go.len() + 8) };
    while let Some(next) = reader.take() {
        match next {
            '\\' => reader.escape(),
            '[' => reader.class(),
            '{' if !begins_repetition(reader.rest) => reader.out.push_str("\\{"),
            other => reader.out.push(other),
        }
    }
    reader.out
}

struct Reader<'a> {
    rest: &'a str,
    out: String,
}

impl Reader<'_> {
    fn take(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// After a backslash, outside of a class.
    fn escape(&mut self) {
        let Some(next) = self.take() else {
            self.out.push('\\');
            return;
        };
        match next {
            'Q' => {
                let end = self.rest.find("\\E").unwrap_or(self.rest.len());
                let quoted = &self.rest[..end];
                self.out.push_str(&regex::escape(quoted));
                self.rest = self.rest.get(end + 2..).unwrap_or_default();
            }
            // A stray end of a quotation quotes nothing.
            'E' => {}
            'd' => self.out.push_str("[0-9]"),
            'D' => self.out.push_str("[^0-9]"),
            'w' => self.out.push_str("[0-9A-Za-z_]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            's' => self.out.push_str("[\\t\\n\\f\\r ]"),
            'S' => self.out.push_str("[^\\t\\n\\f\\r ]"),
            'b' => self.out.push_str("(?-u:\\b)"),
            'B' => self.out.push_str("(?-u:\\B)"),
            'p' | 'P' => self.property(next),
            '0'..='7' => self.octal(next),
            'x' => self.out.push_str("\\x"),
            other if other.is_ascii_punctuation() => self.character(other),
            other => {
                self.out.push('\\');
                self.out.push(other);
            }
        }
    }

    fn property(&mut self, letter: char) {
        if let Some(rest) = self.rest.strip_prefix("{^") {
            self.rest = rest;
            self.out.push_str(if letter == 'p' { "\\P{" } else { "\\p{" });
        } else {
            self.out.push('\\');
            self.out.push(letter);
        }
    }

    /// As in Go: `\0` and up to two more digits, or a digit that another one follows; a lone one would be a back
    /// reference, which neither has.
    fn octal(&mut self, first: char) {
        let digits = self.rest.bytes().take_while(|byte| (b'0'..=b'7').contains(byte)).count().min(2);
        if first != '0' && digits == 0 {
            self.out.push('\\');
            self.out.push(first);
            return;
        }
        let (more, rest) = self.rest.split_at(digits);
        self.rest = rest;
        let value = u32::from_str_radix(&format!("{first}{more}"), 8).unwrap_or_default();
        let _ = write!(self.out, "\\x{{{value:x}}}");
    }

    /// A literal character, whatever it means in either syntax.
    fn character(&mut self, character: char) {
        if character.is_alphanumeric() {
            self.out.push(character);
        } else {
            let _ = write!(self.out, "\\x{{{:x}}}", character as u32);
        }
    }

    /// After an opening bracket.
    fn class(&mut self) {
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            self.out.push('^');
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if self.rest.starts_with("[:") && self.rest.contains(":]") {
                let end = self.rest.find(":]").map_or(self.rest.len(), |at| at + 2);
                self.out.push_str(&self.rest[..end]);
                self.rest = &self.rest[end..];
                continue;
            }
            if !self.class_member() {
                // Never closed, or ending in the middle of an escape: `regex` names the mistake.
                return;
            }
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.take();
                self.out.push('-');
                self.class_member();
            }
        }
        self.take();
        self.out.push(']');
    }

    /// One character or one set in a class; false at the end of the expression.
    fn class_member(&mut self) -> bool {
        match self.take() {
            None => return false,
            Some('\\') => match self.rest.chars().next() {
                None => return false,
                Some('d') => self.set("0-9"),
                Some('w') => self.set("0-9A-Za-z_"),
                Some('s') => self.set("\\t\\n\\f\\r "),
                // Go has neither quotations nor word boundaries in classes: `regex` names the mistake.
                Some('Q' | 'E' | 'b' | 'B') => self.out.push('\\'),
                Some(_) => self.escape(),
            },
            Some(other) => self.character(other),
        }
        true
    }

    fn set(&mut self, set: &str) {
        self.take();
        self.out.push_str(set);
    }
}

/// Whether `rest`, behind an opening brace, reads `n}`, `n,}` or `n,m}`.
fn begins_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest.split_once('}') else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    !least.is_empty()
        && least.bytes().all(|byte| byte.is_ascii_digit())
        && most.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::pattern::Pattern;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        let pattern = Pattern::parse(pattern).unwrap_or_else(|error| panic!("`{pattern}`: {error}"));
        assert_eq!(pattern.matches(text), expected, "`{}` against `{text}`: {pattern:?}", pattern.as_str());
    }

    #[test]
    fn expressions_mean_what_they_mean_in_go() {
        check(r"\Qa.b\E", "a.b", true);
        check(r"\Qa.b\E", "axb", false);
        check(r"\Qa.b", "xa.bx", true);
        check(r"^\Q(\E\d+$", "(12", true);
        check(r"\d", "٣", false);
        check(r"^\w+$", "naïve", false);
        check(r"^\w+$", "na_1ve", true);
        check(r"\bnaï", "xnaï", false);
        check(r"\W", "abc", false);
        check(r"[\d_-]", "-", true);
        check(r"^[\w.]+$", "a.b", true);
        check(r"[[]", "[", true);
        check(r"[a&&b]", "&", true);
        check(r"[a&&b]", "a", true);
        check(r"[a~~b]", "~", true);
        check(r"^[+--]$", ",", true);
        check(r"[]a]", "]", true);
        check(r"[^]a]", "]", false);
        check(r"[a-]", "-", true);
        check(r"^[a-c-e]$", "d", false);
        check(r"^[a-c-e]$", "-", true);
        check(r"[[:upper:]x]", "X", true);
        check(r"[[:upper:]x]", "y", false);
        check(r"\<a\>", "<a>", true);
        check(r"\<a\>", " a ", false);
        check(r"a{", "a{", true);
        check(r"a{,5}", "a{,5}", true);
        check(r"^a{2}$", "aa", true);
        check(r"^a{2,}$", "aaa", true);
        check(r"\p{^Greek}", "α", false);
        check(r"\P{^Greek}", "α", true);
        check(r"\pN", "7", true);
        check(r"\101", "A", true);
        check(r"\0", "\0", true);
        check(r"[\101-\103]", "B", true);
        check(r"\x41\x{42}", "AB", true);
        check(r"\_", "_", true);
        check(r"a\z", "ba", true);
        check(r"\Aa", "ba", false);
        check(r"(?i)LOGIN$", "user.login", true);
        check(r"(?P<who>a|b)c", "bc", true);
        check(r"a$", "a\n", false);
        check(r"^.$", "\n", false);
        check(r"\.", "a.b", true);
        check(r"\.", "ab", false);
        check(r"\\", "\\", true);
        check(r"\/", "/", true);
    }
}
