//! The subjects under which a stream keeps what is published to it, where it transforms them. Pure.
//!
//! A filter of a consumer is about the subjects that messages are kept under. Start at [`Transform::kept`].
//!
//! Source: NATS ADR-30 (subject mapping) and ADR-36: a message whose subject does not match the source is kept as it is.

use super::subjects::intersect;

/// How a stream transforms subjects (`subject_transform`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transform {
    /// What is transformed; empty for all.
    pub source: String,
    /// What becomes of it.
    pub destination: String,
}

/// A token of a destination.
enum Token<'t> {
    Literal(&'t str),
    /// What a wildcard of the source stands for, from 0.
    Wildcard(usize),
    /// The rest of the subject.
    Rest,
    /// Computed, one token.
    Partition,
    /// Computed, in a way that is not known here.
    Other,
}

impl Transform {
    /// The subjects under which messages of a pattern are kept; `None` where that is not known exactly.
    #[must_use]
    pub fn kept(&self, subject: &str) -> Option<Vec<String>> {
        let Some(changed) = intersect(subject, self.source()) else { return Some(vec![subject.to_owned()]) };
        let destination = self.destination_of(&changed)?;
        Some(if changed == subject { vec![destination] } else { vec![subject.to_owned(), destination] })
    }

    /// A pattern that matches all subjects that come of it.
    #[must_use]
    pub fn destinations(&self) -> String {
        let mut all = Vec::new();
        for token in self.destination.split('.').map(token) {
            match token {
                Token::Literal(literal) => all.push(literal),
                Token::Wildcard(_) | Token::Partition => all.push("*"),
                Token::Rest | Token::Other => {
                    all.push(">");
                    break;
                }
            }
        }
        all.join(".")
    }

    fn source(&self) -> &str {
        if self.source.is_empty() { ">" } else { &self.source }
    }

    /// What becomes of a pattern that the source includes. `None` also where others become the same.
    fn destination_of(&self, subject: &str) -> Option<String> {
        let (mut wildcards, mut rest) = (Vec::new(), Vec::new());
        let mut tokens = subject.split('.');
        for source in self.source().split('.') {
            match source {
                ">" => rest.extend(tokens.by_ref()),
                "*" => wildcards.push(tokens.next()?),
                _ => _ = tokens.next()?,
            }
        }
        let mut unused: Vec<bool> = wildcards.iter().map(|token| *token != "*").collect();
        let mut is_rest_unused = !rest.is_empty() && rest != [">"];
        let mut kept = Vec::new();
        for token in self.destination.split('.').map(token) {
            match token {
                Token::Literal(literal) => kept.push(literal),
                Token::Wildcard(index) => {
                    kept.push(*wildcards.get(index)?);
                    unused[index] = false;
                }
                Token::Rest => {
                    kept.extend(&rest);
                    is_rest_unused = false;
                }
                Token::Partition | Token::Other => return None,
            }
        }
        (!is_rest_unused && !unused.contains(&true)).then(|| kept.join("."))
    }
}

/// Reads a token of a destination: `$1` and `{{wildcard(1)}}` are the same.
fn token(text: &str) -> Token<'_> {
    let wildcard = |number: &str| match number.trim().parse::<usize>() {
        Ok(number @ 1..) => Token::Wildcard(number - 1),
        _ => Token::Other,
    };
    if text == ">" {
        return Token::Rest;
    }
    if let Some(number) = text.strip_prefix('$') {
        return wildcard(number);
    }
    if !text.contains(['{', '}', '*']) {
        return Token::Literal(text);
    }
    let call = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}")).map(str::trim);
    let Some((function, arguments)) = call.and_then(|call| call.strip_suffix(')')?.split_once('(')) else {
        return Token::Other;
    };
    match &*function.trim().to_ascii_lowercase() {
        "wildcard" => wildcard(arguments),
        "partition" => Token::Partition,
        _ => Token::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform(source: &str, destination: &str) -> Transform {
        Transform { source: source.to_owned(), destination: destination.to_owned() }
    }

    #[test]
    fn a_pattern_is_kept_under_what_becomes_of_it() {
        #[track_caller]
        fn check(source: &str, destination: &str, subject: &str, expected: Option<&[&str]>) {
            let kept = transform(source, destination).kept(subject);
            let expected = expected.map(|all| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
            assert_eq!(kept, expected, "{source} to {destination}: {subject}");
        }
        check("in.>", "out.>", "in.>", Some(&["out.>"]));
        check("in.>", "out.>", "in.a.*", Some(&["out.a.*"]));
        check("in.>", "out.>", "other.>", Some(&["other.>"]));
        check("", "out.>", "in.a", Some(&["out.in.a"]));
        check("in", "out", "in", Some(&["out"]));
        // A part of it stays as it is.
        check("in.a.>", "out.>", "in.>", Some(&["in.>", "out.>"]));
        check("in.*.*", "out.{{wildcard(2)}}.$1", "in.a.*", Some(&["out.*.a"]));
        check("in.*.*", "out.{{ Wildcard( 2 ) }}.x", "in.*.b", Some(&["out.b.x"]));
        // Others become the same.
        check("in.*", "out", "in.*", Some(&["out"]));
        check("in.*", "out", "in.a", None);
        check("in.*", "out.{{partition(3,1)}}", "in.*", None);
        check("in.*", "out.{{split(1,-)}}", "in.*", None);
        check("in.*", "out.$2", "in.*", None);
    }

    #[test]
    fn all_that_comes_of_it_is_one_pattern() {
        let check = |destination, expected| assert_eq!(transform("in.*.>", destination).destinations(), expected);
        check("out.$1.>", "out.*.>");
        check("out.{{partition(3,1)}}.a", "out.*.a");
        check("out.{{split(1,-)}}.a", "out.>");
    }
}
