//! Prometheus' text format 0.0.4, read as strictly as it is written down.
//!
//! Start at [`read`]. Only what an exposition of counters, gauges and histograms may hold: other kinds are refused.

use std::collections::{BTreeMap, BTreeSet};

use super::Failure;

/// The values by series, as `name{label="value"}`: labels in the order in which they came, values still escaped.
pub type Series = BTreeMap<String, f64>;

/// Reads an exposition.
///
/// # Errors
/// At the first line that is not as the format wants it: a sample before its `# TYPE`, outside its metric's block, twice,
/// with a label or a value that is none; or a last line that does not end.
pub fn read(text: &str) -> Result<Series, Failure> {
    let text = text.strip_suffix('\n').ok_or("the last line does not end")?;
    let (mut series, mut seen, mut metric) = (Series::new(), BTreeSet::new(), None::<(String, bool)>);
    for line in text.split('\n') {
        let wrong = |why: &str| Failure::from(format!("{why}: `{line}`"));
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or_else(|| wrong("no help"))?;
            if !is_name(name) || !seen.insert(name.to_owned()) || !is_escaped(help, false) {
                return Err(wrong("no name, a name for the second time, or an escape that is none"));
            }
            metric = Some((name.to_owned(), false));
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or_else(|| wrong("no type"))?;
            match &mut metric {
                Some((current, typed @ false))
                    if current == name && ["counter", "gauge", "histogram"].contains(&kind) =>
                {
                    *typed = true;
                }
                _ => return Err(wrong("a type out of place, or no such type")),
            }
        } else {
            let (key, value) = line.rsplit_once(' ').ok_or_else(|| wrong("no value"))?;
            let (name, labels) = key.split_once('{').map_or((key, None), |(name, labels)| (name, Some(labels)));
            let parts = ["_bucket", "_sum", "_count"].map(|part| name.strip_suffix(part));
            let is_of = |current: &str| current == name || parts.contains(&Some(current));
            if metric.as_ref().is_none_or(|(current, typed)| !is_of(current) || !typed) {
                return Err(wrong("a sample outside its metric"));
            }
            if !labels.is_none_or(are_labels) {
                return Err(wrong("labels that are none"));
            }
            let value = value.parse().map_err(|_| wrong("a value that is none"))?;
            if series.insert(key.to_owned(), value).is_some() {
                return Err(wrong("a series for the second time"));
            }
        }
    }
    Ok(series)
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    text.bytes().all(allowed) && !text.is_empty() && !text.as_bytes()[0].is_ascii_digit()
}

/// Whether every backslash begins an escape; a quote has to be escaped where it would end the text.
fn is_escaped(text: &str, quoted: bool) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quoted) {
            ('\\', _) => match characters.next() {
                Some('\\' | 'n') => {}
                Some('"') if quoted => {}
                _ => return false,
            },
            ('"', true) => return false,
            _ => {}
        }
    }
    true
}

/// Reads `a="b",c="d"}`.
fn are_labels(mut text: &str) -> bool {
    let mut names = BTreeSet::new();
    loop {
        let Some((name, rest)) = text.split_once("=\"") else { return false };
        if !is_name(name) || name.contains(':') || !names.insert(name) {
            return false;
        }
        let ends = |at: &usize| rest.as_bytes()[*at] == b'"' && is_escaped(&rest[..*at], true);
        let Some(end) = (0..rest.len()).find(ends) else { return false };
        match &rest[end + 1..] {
            "}" => return true,
            more => match more.strip_prefix(',') {
                Some(more) => text = more,
                None => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, series: Option<usize>) {
        assert_eq!(read(text).ok().map(|read| read.len()), series, "{text}");
    }

    #[test]
    fn what_is_not_as_the_format_wants_it_is_refused() {
        let head = "# HELP a What.\n# TYPE a gauge\n";
        check(&format!("{head}a 1\n"), Some(1));
        check(&format!("{head}a{{b=\"c\",d=\"e,\\\"}} é\\\\\"}} 1.5\na 2\n"), Some(2));
        check(&format!("{head}a 1"), None);
        check(&format!("{head}\n"), None);
        check(&format!("{head}b 1\n"), None);
        check(&format!("{head}a 1\na 1\n"), None);
        check(&format!("{head}a{{b=\"c}} 1\n"), None);
        check(&format!("{head}a{{b=\"c\",b=\"d\"}} 1\n"), None);
        check(&format!("{head}a{{b=\"\\x\"}} 1\n"), None);
        check(&format!("{head}a one\n"), None);
        check(&format!("{head}{head}"), None);
        check("# HELP a What.\na 1\n", None);
        check("a 1\n", None);
    }
}
