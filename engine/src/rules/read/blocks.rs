//! Where the block scalars of a document lie in its file, so that a mistake in a template is reported at the line its
//! author sees.
//!
//! Start at [`blocks`]. A convenience: what is not found is reported at the document's first line.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle};

/// The first line of a literal block, and how far its lines are indented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// From 1, in the file.
    pub line: usize,
    /// In characters.
    pub indent: usize,
}

/// The literal blocks one level below a field of the document (`data.namespace.yaml: |`), by field and key.
pub(in crate::rules) fn blocks(text: &str, first_line: usize) -> BTreeMap<(String, String), Block> {
    let mut blocks = BTreeMap::new();
    // The keys on the way here; `None` where a key is expected next, or in a sequence.
    let mut path: Vec<(bool, Option<String>)> = Vec::new();
    let mut key_start = 0;
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        match event {
            Event::MappingStart(..) => path.push((true, None)),
            Event::SequenceStart(..) => path.push((false, None)),
            Event::MappingEnd | Event::SequenceEnd => {
                path.pop();
                value_is_done(&mut path);
            }
            Event::Alias(_) => value_is_done(&mut path),
            Event::Scalar(text_of, style, ..) => {
                if let [.., (true, key @ None)] = path.as_mut_slice() {
                    *key = Some(text_of.into_owned());
                    key_start = span.start.byte_offset().unwrap_or_default();
                    continue;
                }
                if let [(true, Some(field)), (true, Some(key))] = path.as_slice()
                    && style == ScalarStyle::Literal
                    && let Some(block) = block(text, key_start, first_line)
                {
                    blocks.insert((field.clone(), key.clone()), block);
                }
                value_is_done(&mut path);
            }
            _ => {}
        }
    }
    blocks
}

fn value_is_done(path: &mut [(bool, Option<String>)]) {
    if let Some((true, key)) = path.last_mut() {
        *key = None;
    }
}

/// The block of the key that begins at a byte of the text; its header, the `|`, is on the same line.
fn block(text: &str, key_start: usize, first_line: usize) -> Option<Block> {
    let header_end = key_start + text.get(key_start..)?.find('\n')? + 1;
    let lines = text[header_end..].lines();
    let indent = lines
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start_matches(' ').len())
        .next()?;
    Some(Block { line: first_line + text[..header_end].matches('\n').count(), indent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_blocks_are_found_below_fields_with_their_first_line_and_indent() {
        let text = "kind: ConfigMap\nlist: [a, {b: c}]\ndata:\n  # note\n  a.yaml: |\n    first\n    second\n  b: plain\n  c: |-\n\n      third\nstringData:\n  a.yaml: |2\n      x\n";
        let found = blocks(text, 10);
        let at = |field: &str, key: &str| {
            found.get(&(field.to_owned(), key.to_owned())).map(|block| (block.line, block.indent))
        };
        assert_eq!(at("data", "a.yaml"), Some((15, 4)));
        assert_eq!(at("data", "b"), None);
        assert_eq!(at("data", "c"), Some((19, 6)));
        assert_eq!(at("stringData", "a.yaml"), Some((23, 6)));
    }
}
