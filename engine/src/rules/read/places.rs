//! Where the fields of a document lie in its text, so that a problem is shown at the words that its author wrote.
//!
//! Start at [`Places::of`]. A convenience: a field that is not found is shown at the one that holds it. Nothing here knows
//! what a field means.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle};

use crate::rules::problem::{Place, Topic};

/// The fields of one document.
#[derive(Debug, Default)]
pub(in crate::rules) struct Places {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    /// As problems write it, such as `spec.policyRefs[0].name`.
    path: String,
    /// Bytes of its key; `None` for an item of a list.
    key: Option<Range<usize>>,
    value: Range<usize>,
    /// `None` for a map or a list.
    scalar: Option<(ScalarStyle, String)>,
}

enum Frame {
    Mapping { path: String, key: Option<(String, Range<usize>)> },
    Sequence { path: String, items: usize },
}

impl Places {
    /// The fields of a document, up to the first place where it is no YAML.
    pub fn of(text: &str) -> Places {
        let mut places = Places::default();
        let mut stack: Vec<Frame> = Vec::new();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            let range = span.byte_range().unwrap_or(0..0);
            match event {
                Event::Scalar(text, style, ..) => {
                    if let Some(Frame::Mapping { key: key @ None, .. }) = stack.last_mut() {
                        *key = Some((text.into_owned(), range));
                    } else {
                        places.add(&mut stack, range, Some((style, text.into_owned())));
                    }
                }
                Event::MappingStart(..) => {
                    let path = places.add(&mut stack, range, None);
                    stack.push(Frame::Mapping { path, key: None });
                }
                Event::SequenceStart(..) => {
                    let path = places.add(&mut stack, range, None);
                    stack.push(Frame::Sequence { path, items: 0 });
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    stack.pop();
                }
                Event::Alias(_) => {
                    places.add(&mut stack, range, None);
                }
                _ => {}
            }
        }
        places
    }

    /// Notes a value, whose path it gives.
    fn add(&mut self, stack: &mut [Frame], value: Range<usize>, scalar: Option<(ScalarStyle, String)>) -> String {
        let (path, key) = match stack.last_mut() {
            None => (String::new(), None),
            Some(Frame::Sequence { path, items }) => {
                *items += 1;
                (format!("{path}[{}]", *items - 1), None)
            }
            Some(Frame::Mapping { path, key }) => {
                let (name, range) = key.take().unwrap_or_default();
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                (path, Some(range))
            }
        };
        self.nodes.push(Node { path: path.clone(), key, value, scalar });
        path
    }

    /// The item of a `kind: List` that has this kind and name, as a prefix of its fields.
    pub fn item(&self, kind: &str, name: &str) -> Option<String> {
        let text = |path: &str| self.nodes.iter().find(|node| node.path == path)?.scalar.as_ref().map(|(_, text)| text);
        let is_it = |item: &String| {
            text(&format!("{item}.kind")).is_some_and(|text| text == kind)
                && text(&format!("{item}.metadata.name")).is_some_and(|text| text == name)
        };
        (0..)
            .map(|index| format!("items[{index}]"))
            .take_while(|item| self.nodes.iter().any(|node| node.path == *item))
            .find(is_it)
    }

    /// The bytes of `text` to point at for a place, whose field may begin with `prefix`; `None` for the document as a whole.
    pub fn find(&self, text: &str, prefix: Option<&str>, place: &Place) -> Option<Range<usize>> {
        let path = match (prefix, place.field.is_empty()) {
            (None, true) => return None,
            (None, false) => place.field.clone(),
            (Some(prefix), true) => prefix.to_owned(),
            (Some(prefix), false) => format!("{prefix}.{}", place.field),
        };
        let holds = |node: &&Node| {
            let rest = path.strip_prefix(&node.path);
            !node.path.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let node = self.nodes.iter().filter(holds).max_by_key(|node| node.path.len())?;
        let is_whole = node.path.len() == path.len();
        let inside = if is_whole && place.line > 0 { inside(text, node, place) } else { None };
        inside.or_else(|| Some(node.range(text, is_whole && place.topic != Topic::UnknownField)))
    }
}

impl Node {
    /// The value where it is short and meant, else the key, else the line on which it begins.
    fn range(&self, text: &str, is_value: bool) -> Range<usize> {
        let written = text.get(self.value.clone()).unwrap_or_default();
        match (&self.scalar, &self.key) {
            (Some(_), _) if is_value && !written.is_empty() && !written.contains('\n') => self.value.clone(),
            (_, Some(key)) => key.clone(),
            (_, None) => self.value.start..line_end(text, self.value.start),
        }
    }
}

/// The place in a text that a field holds, where what is written there is the text but for quotes.
fn inside(text: &str, node: &Node, place: &Place) -> Option<Range<usize>> {
    let (style, _) = node.scalar.as_ref()?;
    if let (ScalarStyle::Literal, Some(key)) = (style, &node.key) {
        return in_block(text, key, place);
    }
    let written = text.get(node.value.clone())?;
    let mut start = node.value.start;
    if written.contains('\n') || place.line != 1 || place.column == 0 {
        return None;
    }
    let quote = match style {
        ScalarStyle::Plain => None,
        ScalarStyle::SingleQuoted => Some('\''),
        ScalarStyle::DoubleQuoted => Some('"'),
        _ => return None,
    };
    let mut chars = written.chars().peekable();
    if quote.is_some() {
        start += chars.next()?.len_utf8();
    }
    for _ in 1..place.column {
        let next = chars.next()?;
        start += next.len_utf8();
        // One character of the text, two of what is written.
        let is_escaped = (next == '\\' && quote == Some('"')) || (next == '\'' && quote == Some('\''));
        if is_escaped && let Some(second) = chars.next() {
            start += second.len_utf8();
        }
    }
    Some(token(text, start))
}

/// The place in a literal block, whose header is on the line of its key.
fn in_block(text: &str, key: &Range<usize>, place: &Place) -> Option<Range<usize>> {
    let first = line_end(text, key.start) + text[line_end(text, key.start)..].find('\n')? + 1;
    let indent_of = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let indent = text[first..].lines().find(|line| !line.trim().is_empty()).map(indent_of)?;
    let before: usize = text[first..].split_inclusive('\n').take(place.line - 1).map(str::len).sum();
    let line = text[first + before..].lines().next()?;
    let column = indent + place.column.max(1) - 1;
    let byte = line.char_indices().nth(column).map_or(line.len(), |(byte, _)| byte);
    Some(token(text, first + before + byte))
}

/// The word, the text in quotes or the action that begins at a byte.
pub(in crate::rules) fn token(text: &str, start: usize) -> Range<usize> {
    let line = &text[start..line_end(text, start)];
    let is_word = |next: char| next.is_alphanumeric() || matches!(next, '_' | '.' | '$');
    let first = line.chars().next();
    let bytes = match first {
        None => 0,
        Some('{') if line.starts_with("{{") => line.find("}}").map_or(line.len(), |end| end + 2),
        Some('{') if line.starts_with("{%") => line.find("%}").map_or(line.len(), |end| end + 2),
        Some(quote @ ('"' | '\'' | '`')) => line[1..].find(quote).map_or(1, |end| end + 2),
        Some(first) if is_word(first) => line.find(|next| !is_word(next)).unwrap_or(line.len()),
        Some(first) => first.len_utf8(),
    };
    start..start + bytes
}

/// The end of the line, blanks and comments at its end included.
fn line_end(text: &str, start: usize) -> usize {
    start + text[start..].lines().next().unwrap_or_default().trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "kind: EventTrigger\nmetadata:\n  annotations: {lifeline.dev/adopt: perhaps}\nspec:\n  cloudEventAction: \"{{ \\\"x\\\" | nope }}\"\n  policyRefs:\n  - kind: ConfigMap\n    nmae: x\n  - kind: Bucket\n    name: |\n      y\ndata:\n  a.yaml: 'it''s {{ nope }}'\n";

    #[track_caller]
    fn check(topic: Topic, field: &str, (line, column): (usize, usize), expected: &str) {
        let place = Place { topic, field: field.to_owned(), line, column };
        let found = Places::of(TEXT).find(TEXT, None, &place);
        assert_eq!(found.map_or("", |range| &TEXT[range]), expected, "{field}");
    }

    #[test]
    fn a_field_is_found_or_the_one_that_holds_it() {
        check(Topic::Field, "kind", (0, 0), "EventTrigger");
        check(Topic::Field, "metadata.annotations.lifeline.dev/adopt", (0, 0), "perhaps");
        check(Topic::UnknownField, "spec.policyRefs[0].nmae", (0, 0), "nmae");
        check(Topic::Field, "spec.policyRefs[1].kind", (0, 0), "Bucket");
        check(Topic::Reference, "spec.policyRefs[1].name", (0, 0), "name");
        check(Topic::Field, "spec.policyRefs[1]", (0, 0), "kind: Bucket");
        check(Topic::Field, "spec.policyRefs[0].name", (0, 0), "kind: ConfigMap");
        check(Topic::Field, "spec.eventSourceName", (0, 0), "spec");
        check(Topic::Field, "speck", (0, 0), "");
        check(Topic::Manifest, "", (0, 0), "");
    }

    #[test]
    fn a_place_in_a_text_on_one_line_is_found_past_quotes_and_escapes() {
        check(Topic::Template, "spec.cloudEventAction", (1, 10), "nope");
        check(Topic::Template, "spec.cloudEventAction", (1, 4), "\\");
        check(Topic::Template, "data.a.yaml", (1, 9), "nope");
        check(Topic::Template, "data.a.yaml", (1, 6), "{{ nope }}");
        check(Topic::Template, "data.a.yaml", (2, 6), "'it''s {{ nope }}'");
        check(Topic::Template, "spec.policyRefs[1].name", (1, 1), "y");
    }

    #[test]
    fn items_of_a_list_are_found_by_kind_and_name() {
        let text = "kind: List\nitems:\n- kind: A\n  metadata: {name: x}\n- kind: B\n  metadata: {name: x}\n";
        let places = Places::of(text);
        assert_eq!(places.item("B", "x").as_deref(), Some("items[1]"));
        assert_eq!(places.item("B", "y"), None);
        let place = Place { topic: Topic::Field, field: "kind".into(), ..Place::default() };
        assert_eq!(places.find(text, Some("items[1]"), &place).map(|range| &text[range]), Some("B"));
    }
}
