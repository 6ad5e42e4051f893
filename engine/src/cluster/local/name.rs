//! The rules of names: objects, labels, annotations, finalizers (RFC 1123 and the Kubernetes conventions on top of it).
//!
//! Each function answers with what is wrong, or nothing. Pure; knows no object as a whole.

use crate::cluster::ObjectKey;

/// How the name of a kind's objects must be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameRule {
    /// At most 63 of `a-z 0-9 -`, beginning and ending with a letter or digit.
    Label,
    /// As [`NameRule::Label`], but beginning with a letter (RFC 1035).
    LabelFromLetter,
    /// At most 253: labels joined by dots (each of any length).
    Subdomain,
    /// Anything that can be part of a URL path.
    PathSegment,
}

/// The rule for a kind.
pub(super) fn rule_for(key: &ObjectKey) -> NameRule {
    match (key.group.as_str(), key.kind.as_str()) {
        ("", "Namespace") => NameRule::Label,
        // Kubernetes 1.37 lets a Service begin with a digit; older servers refuse it.
        ("", "Service") => NameRule::LabelFromLetter,
        ("rbac.authorization.k8s.io", _) => NameRule::PathSegment,
        _ => NameRule::Subdomain,
    }
}

/// What is wrong with an object's name.
pub(super) fn name_problem(rule: NameRule, name: &str) -> Option<String> {
    match rule {
        NameRule::Label => label_problem(name),
        NameRule::LabelFromLetter => label_problem(name).or_else(|| {
            (!name.starts_with(|first: char| first.is_ascii_lowercase()))
                .then(|| "it must begin with a lowercase letter".to_owned())
        }),
        NameRule::Subdomain => subdomain_problem(name),
        NameRule::PathSegment => None,
    }
}

/// What is wrong with a DNS-1123 label.
pub(super) fn label_problem(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(format!("it has {} bytes, at most 63 are allowed", text.len()));
    }
    (!is_label(text)).then(|| {
        "it may only hold lowercase letters, digits and `-`, and must begin and end with a letter or digit".to_owned()
    })
}

/// What is wrong with a DNS-1123 subdomain.
pub(super) fn subdomain_problem(text: &str) -> Option<String> {
    if text.len() > 253 {
        return Some(format!("it has {} bytes, at most 253 are allowed", text.len()));
    }
    (!text.split('.').all(is_label)).then(|| {
        "it may only hold lowercase letters, digits, `-` and `.`, and each part between dots must begin and end with a letter or digit"
            .to_owned()
    })
}

/// What is wrong with the key of a label or an annotation: `name` or `prefix/name`.
pub(super) fn qualified_name_problem(text: &str) -> Option<String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Some("the prefix before `/` is empty".to_owned());
        }
        if let Some(problem) = subdomain_problem(prefix) {
            return Some(format!("the prefix before `/` is no DNS name: {problem}"));
        }
    }
    if name.is_empty() {
        return Some("the name is empty".to_owned());
    }
    if name.len() > 63 {
        return Some(format!("the name has {} bytes, at most 63 are allowed", name.len()));
    }
    (!is_word(name)).then(|| WORD.to_owned())
}

/// What is wrong with a label's value; the empty one is fine.
pub(super) fn label_value_problem(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(format!("it has {} bytes, at most 63 are allowed", text.len()));
    }
    (!text.is_empty() && !is_word(text)).then(|| WORD.to_owned())
}

/// What is wrong with a key of a ConfigMap's or Secret's data.
pub(super) fn data_key_problem(text: &str) -> Option<String> {
    if text.len() > 253 {
        return Some(format!("it has {} bytes, at most 253 are allowed", text.len()));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Some("it may only hold letters, digits, `-`, `_` and `.`".to_owned());
    }
    (text == "." || text.starts_with("..")).then(|| "it must not name a folder".to_owned())
}

const WORD: &str = "it may only hold letters, digits, `-`, `_` and `.`, and must begin and end with a letter or digit";

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(problem: impl Fn(&str) -> Option<String>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(problem(text), None, "`{text}`");
        }
        for text in bad {
            assert!(problem(text).is_some(), "`{text}` passed");
        }
    }

    #[test]
    fn names_follow_the_rule_of_their_kind() {
        let long = |bytes: usize| "a".repeat(bytes);
        check(
            label_problem,
            &["a", "0", "a-b", "mgianluc", &long(63)],
            &["", "A", "-a", "a-", "a.b", "a_b", "ä", &long(64)],
        );
        check(
            subdomain_problem,
            &["a", "a.b", "0.a-b.c", &long(253)],
            &["", ".", "a.", ".a", "a..b", "a.-b", "A.b", &long(254)],
        );
        check(|name| name_problem(NameRule::LabelFromLetter, name), &["web"], &["0web", "Web", ""]);
        check(|name| name_problem(NameRule::PathSegment, name), &["system:node", "Any Thing"], &[]);
    }

    #[test]
    fn labels_and_data_keys_follow_their_rules() {
        check(
            qualified_name_problem,
            &["a", "A_b.c-d", "example.com/Name", "kubernetes.io/metadata.name"],
            &["", "/a", "a/", "a/b/c", "Ex.com/a", "-a", "a b", &"a".repeat(64)],
        );
        check(label_value_problem, &["", "a", "A_b.c-1"], &["-a", "a/b", "a b", "a.", &"a".repeat(64)]);
        check(data_key_problem, &["a", "a_B.c", ".hidden"], &["", ".", "..", "..a", "a/b", "a b"]);
    }
}
