//! Semantic versions and their constraints, as Masterminds/semver reads them: `^1.2`, `~1.2.3`, `>=1.2 <2 || 3.x`, `1.2 - 1.4`.

use std::cmp::Ordering;

use gotmpl::Value;

use super::{Answer, Function, map, string, text_of};

pub(super) const FUNCTIONS: &[Function] =
    &[Function::exactly("semver", 1, semver), Function::exactly("semverCompare", 2, semver_compare)];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    prerelease: String,
    metadata: String,
    /// How many of the numbers were written; the others are 0.
    written: usize,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, metadata) = text.split_once('+').unwrap_or((text, ""));
        let (text, prerelease) = text.split_once('-').unwrap_or((text, ""));
        let mut numbers = [0; 3];
        let mut written = 0;
        for part in text.split('.') {
            *numbers.get_mut(written)? =
                part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()))?;
            written += 1;
        }
        Some(Version { numbers, prerelease: prerelease.to_owned(), metadata: metadata.to_owned(), written })
    }

    fn precedence(&self, other: &Version) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let (mut left, mut right) = (self.prerelease.split('.'), other.prerelease.split('.'));
                loop {
                    let order = match (left.next(), right.next()) {
                        (None, None) => return Ordering::Equal,
                        (None, Some(_)) => Ordering::Less,
                        (Some(_), None) => Ordering::Greater,
                        (Some(left), Some(right)) => match (left.parse::<u64>(), right.parse::<u64>()) {
                            (Ok(left), Ok(right)) => left.cmp(&right),
                            (Ok(_), Err(_)) => Ordering::Less,
                            (Err(_), Ok(_)) => Ordering::Greater,
                            (Err(_), Err(_)) => left.cmp(right),
                        },
                    };
                    if order != Ordering::Equal {
                        return order;
                    }
                }
            }
        })
    }
}

fn semver(arguments: &[Value]) -> Answer {
    let text = text_of(&arguments[0]);
    let version = Version::parse(&text).ok_or_else(|| format!("`{text}` is no semantic version"))?;
    let number = |at: usize| Value::Int(version.numbers[at] as i64);
    Ok(map([
        ("Major".into(), number(0)),
        ("Minor".into(), number(1)),
        ("Patch".into(), number(2)),
        ("Prerelease".into(), string(version.prerelease.as_str())),
        ("Metadata".into(), string(version.metadata.as_str())),
        ("Original".into(), Value::String(text)),
    ]))
}

fn semver_compare(arguments: &[Value]) -> Answer {
    let (constraint, text) = (text_of(&arguments[0]), text_of(&arguments[1]));
    let version = Version::parse(&text).ok_or_else(|| format!("`{text}` is no semantic version"))?;
    let mut satisfied = false;
    for alternative in constraint.split("||") {
        satisfied |=
            all_hold(alternative, &version).ok_or_else(|| format!("`{constraint}` is no version constraint"))?;
    }
    Ok(Value::Bool(satisfied))
}

/// `None` if the constraint cannot be read.
fn all_hold(alternative: &str, version: &Version) -> Option<bool> {
    if let Some((low, high)) = alternative.split_once(" - ") {
        return Some(holds(">=", low.trim(), version)? && holds("<=", high.trim(), version)?);
    }
    const OPERATORS: [&str; 12] = [">=", "=>", "<=", "=<", "!=", "~>", "=", ">", "<", "~", "^", ""];
    let mut rest = alternative.trim_matches([' ', ',']);
    let mut all = true;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator))?;
        let after = rest[operator.len()..].trim_start();
        let end = after.find([' ', ',']).unwrap_or(after.len());
        all &= holds(operator, &after[..end], version)?;
        rest = after[end..].trim_start_matches([' ', ',']);
    }
    Some(all)
}

fn holds(operator: &str, wanted: &str, version: &Version) -> Option<bool> {
    let is_wild = |part: &str| matches!(part, "x" | "X" | "*");
    let bare = wanted.strip_prefix('v').unwrap_or(wanted);
    let exact: Vec<&str> = bare.split('.').take_while(|part| !is_wild(part)).collect();
    let had_wildcard = bare.split('.').any(is_wild);
    let wanted = match exact.is_empty() {
        true => Version { numbers: [0; 3], prerelease: String::new(), metadata: String::new(), written: 0 },
        false => Version::parse(&exact.join("."))?,
    };
    // A prerelease satisfies only a constraint that names one.
    if !version.prerelease.is_empty() && wanted.prerelease.is_empty() {
        return Some(false);
    }
    let same_written = version.numbers[..wanted.written] == wanted.numbers[..wanted.written];
    let order = version.precedence(&wanted);
    let partial = wanted.written < 3 || had_wildcard;
    Some(match operator {
        "" | "=" if partial => same_written,
        "" | "=" => order == Ordering::Equal,
        "!=" if partial => !same_written,
        "!=" => order != Ordering::Equal,
        ">" if partial => order == Ordering::Greater && !same_written,
        ">" => order == Ordering::Greater,
        "<" => order == Ordering::Less,
        ">=" | "=>" => order != Ordering::Less,
        "<=" | "=<" if partial => order == Ordering::Less || same_written,
        "<=" | "=<" => order != Ordering::Greater,
        "~" | "~>" => {
            let fixed = wanted.written.min(2);
            order != Ordering::Less && version.numbers[..fixed] == wanted.numbers[..fixed]
        }
        "^" => {
            let first_set =
                wanted.numbers.iter().position(|number| *number > 0).unwrap_or(wanted.written.saturating_sub(1));
            let fixed = (first_set + 1).min(wanted.written);
            order != Ordering::Less && version.numbers[..fixed] == wanted.numbers[..fixed]
        }
        _ => return None,
    })
}
