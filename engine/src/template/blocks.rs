//! Whether every block of a Go template is closed once.
//!
//! The engine's parser takes the end of the source for a missing `{{ end }}`, and drops what follows one too many; a manifest
//! could lose its second half without a word. Start at [`check`]. It reads only the first word of each action.

/// The offset of the first block that does not pair, and what is wrong with it.
pub(super) fn check(source: &str) -> Result<(), (usize, String)> {
    let mut open: Vec<(&str, usize, bool)> = Vec::new();
    let mut at = 0;
    while let Some(found) = source[at..].find("{{") {
        let begin = at + found + 2;
        let trimmed = source[begin..].strip_prefix("- ").unwrap_or(&source[begin..]).trim_start();
        let word_at = source.len() - trimmed.len();
        if trimmed.starts_with("/*") {
            at = trimmed.find("*/").map_or(source.len(), |end| word_at + end + 2);
            continue;
        }
        let word_end = trimmed.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(trimmed.len());
        match &trimmed[..word_end] {
            word @ ("if" | "with" | "range" | "define" | "block") => open.push((word, word_at, false)),
            "else" => match open.last_mut() {
                Some(("if" | "with" | "range", _, has_else)) if !*has_else => {
                    let goes_on = trimmed[word_end..].trim_start();
                    *has_else = !(goes_on.starts_with("if") || goes_on.starts_with("with"));
                }
                _ => {
                    return Err((word_at, "`else` belongs to no `if`, `with` or `range`".to_owned()));
                }
            },
            "end" if open.pop().is_none() => {
                return Err((word_at, "`end` closes nothing".to_owned()));
            }
            _ => {}
        }
        at = action_end(source, word_at);
    }
    match open.first() {
        Some((word, at, _)) => Err((*at, format!("`{word}` is not closed: `{{{{ end }}}}` is missing"))),
        None => Ok(()),
    }
}

/// The offset after the `}}` of an action, which does not count inside a string.
fn action_end(source: &str, from: usize) -> usize {
    let bytes = source.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'}' if bytes.get(at + 1) == Some(&b'}') => return at + 2,
            quote @ (b'"' | b'\'') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote && bytes[at] != b'\n' {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
                at += 1;
            }
            b'`' => at = source[at + 1..].find('`').map_or(bytes.len(), |end| at + end + 2),
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_pair_pass() {
        for source in [
            "{{ if .a }}{{ else if .b }}{{ else }}{{ end }}",
            "{{- range .a -}}{{- with .b }}{{ end }}{{- end -}}",
            "{{ define \"a\" }}{{ end }}{{ block \"b\" . }}{{ end }}",
            "{{/* {{ if */}}{{ \"}} {{ end }}\" }}{{ `{{ if }}` }}{{ ended }}",
            "{{ with .a }}{{ else with .b }}{{ end }}",
            "end }} {",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn blocks_that_do_not_pair_are_found() {
        for (source, offset) in [
            ("a {{ if .a }}", 5),
            ("a {{ end }} b", 5),
            ("{{ if .a }}{{ else }}{{ else }}{{ end }}", 24),
            ("{{ else }}", 3),
            ("{{ define \"a\" }}{{ else }}{{ end }}", 19),
            ("{{ if .a }}{{ if .b }}{{ end }}", 3),
        ] {
            assert_eq!(check(source).map_err(|(at, _)| at), Err(offset), "{source}");
        }
    }
}
