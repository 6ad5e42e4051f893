//! The regular expressions of `messagingMatchCriteria`: Go's (RE2) syntax, unanchored, an empty one matches everything.
//!
//! Start at [`Pattern::parse`] and [`Pattern::matches`]. Most patterns people write are plain text, and every event is
//! held against every pattern, so text is compared as text.
//!
//! Never here: which field a pattern is held against.

use regex::bytes::{Regex, RegexBuilder};

use super::go_syntax;

/// One pattern, ready to match.
#[derive(Debug, Clone)]
pub struct Pattern {
    written: String,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    All,
    Contains,
    Equals(String),
    Prefix(String),
    Suffix(String),
    /// Text with dots, such as a host name: a dot matches a dot, so the text itself is found without the expression.
    Dotted(Regex),
    Expression(Regex),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What the parser said, on one line, for an expression that is none.
    pub fn parse(written: &str) -> Result<Pattern, String> {
        let matcher = Matcher::of(written)?;
        Ok(Pattern { written: written.to_owned(), matcher })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether any part of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.matcher {
            Matcher::All => true,
            // Searching has a price of its own: texts as long as the pattern are only compared.
            Matcher::Contains if text.len() <= self.written.len() => text == self.written,
            Matcher::Contains => text.contains(&self.written),
            Matcher::Equals(whole) => text == whole,
            Matcher::Prefix(start) => text.starts_with(start),
            Matcher::Suffix(end) => text.ends_with(end),
            Matcher::Dotted(expression) => text == self.written || expression.is_match(text.as_bytes()),
            Matcher::Expression(expression) => expression.is_match(text.as_bytes()),
        }
    }
}

impl Matcher {
    fn of(written: &str) -> Result<Matcher, String> {
        if written.is_empty() {
            return Ok(Matcher::All);
        }
        let is_text =
            |text: &str| !text.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$']);
        let start = written.strip_prefix('^');
        let end = written.strip_suffix('$');
        match (start, end) {
            (None, None) if is_text(written) => return Ok(Matcher::Contains),
            (Some(text), None) if is_text(text) => return Ok(Matcher::Prefix(text.into())),
            (None, Some(text)) if is_text(text) => return Ok(Matcher::Suffix(text.into())),
            (Some(text), Some(_)) if text.len() > 1 && is_text(&text[..text.len() - 1]) => {
                return Ok(Matcher::Equals(text[..text.len() - 1].into()));
            }
            _ => {}
        }
        // Bytes, because only there an ASCII `\B` may be asked for; the texts are UTF-8 all the same.
        let expression = RegexBuilder::new(&go_syntax::translate(written))
            .build()
            .or_else(|_| Regex::new(written))
            .map_err(|error| one_line(&error))?;
        Ok(if is_text(&written.replace('.', "")) {
            Matcher::Dotted(expression)
        } else {
            Matcher::Expression(expression)
        })
    }
}

/// The last line of a regex error says what is wrong; those before it draw the expression.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        let pattern = Pattern::parse(pattern).unwrap_or_else(|error| panic!("`{pattern}`: {error}"));
        assert_eq!(pattern.matches(text), expected, "`{}` against `{text}`: {pattern:?}", pattern.as_str());
        // The short ways must say what the expression itself says.
        let expression = Regex::new(&go_syntax::translate(pattern.as_str())).unwrap();
        assert_eq!(expression.is_match(text.as_bytes()), expected, "`{}` as an expression", pattern.as_str());
    }

    #[test]
    fn patterns_are_unanchored_and_empty_ones_match_all() {
        check("", "", true);
        check("", "anything", true);
        check("user-operation", "user-operation", true);
        check("user-operation", "my-user-operations", true);
        check("user-operation", "user-ops", false);
        check("^user", "user-ops", true);
        check("^user", "a-user", false);
        check("user$", "a-user", true);
        check("user$", "user-a", false);
        check("^user$", "user", true);
        check("^user$", "users", false);
        check("^$", "", true);
        check("^$", "x", false);
        check("^", "x", true);
        check("$", "x", true);
        check("auth.example.com", "auth.example.com", true);
        check("auth.example.com", "https://auth.example.com/login", true);
        check("auth.example.com", "auth-example-com", true);
        check("auth.example.com", "auth.example.org", false);
        check("com.example.(login|logout)", "com.example.logout", true);
        check("com.example.(login|logout)", "com.example.other", false);
        check("a|", "b", true);
    }

    #[test]
    fn pattern_that_does_not_parse_says_why() {
        for (pattern, reason) in
            [("a(", "unclosed group"), ("[", "unclosed character class"), ("*a", "repetition operator")]
        {
            let error = Pattern::parse(pattern).unwrap_err();
            assert!(error.contains(reason), "`{pattern}`: {error}");
        }
    }
}
