//! Kubernetes manifests as rules come in, each with the place it came from.
//!
//! Start at [`Manifests::read`] for text. A document that is not YAML becomes a problem and hides none of its
//! neighbours. Nothing here knows what a manifest means.

use std::collections::BTreeMap;

use serde_json::Value;

use super::blocks::{Block, blocks};
use crate::rules::problem::Problem;

/// One manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// `file:line` of its first line, or `kubernetes`.
    pub origin: String,
    /// The manifest.
    pub value: Value,
    /// Where its literal blocks lie, by field and key; none when it came from no file.
    pub blocks: BTreeMap<(String, String), Block>,
    /// The finalizers that the cluster waits for, where the object is being deleted there; `None` where it is not.
    pub waits_for: Option<Vec<String>>,
    /// Which version of the object the cluster says it is (`metadata.generation`); `None` where it came from no cluster.
    pub generation: Option<i64>,
}

impl Manifest {
    /// A manifest that came from no text.
    #[must_use]
    pub fn new(origin: impl Into<String>, value: Value) -> Manifest {
        Manifest { origin: origin.into(), value, blocks: BTreeMap::new(), waits_for: None, generation: None }
    }

    /// As its author wrote it: without status and what the API server keeps about it.
    pub(in crate::rules) fn meaning(&self) -> Value {
        meaning(&self.value)
    }

    /// `file:line:column` of a place in one of its blocks. Line and column count from 1, 0 is unknown. `None` when the place
    /// of the block is not known.
    pub(in crate::rules) fn origin_in(&self, field: &str, key: &str, line: usize, column: usize) -> Option<String> {
        let block = self.blocks.get(&(field.to_owned(), key.to_owned()))?;
        let (file, _) = self.origin.rsplit_once(':')?;
        match (line, column) {
            (0, _) => None,
            (line, 0) => Some(format!("{file}:{}", block.line + line - 1)),
            (line, column) => Some(format!("{file}:{}:{}", block.line + line - 1, block.indent + column)),
        }
    }
}

/// Manifests in the order of their origins, and what could not be read as one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifests {
    /// What could be read.
    pub manifests: Vec<Manifest>,
    /// What could not: a rule may be hiding there, so nothing may be withdrawn because a rule seems to be gone.
    pub unreadable: Vec<Problem>,
}

impl Manifests {
    /// Reads a file of YAML (or JSON) documents. Lists (`kind: List`) are taken apart.
    #[must_use]
    pub fn read(file: &str, text: &str) -> Manifests {
        let mut read = Manifests::default();
        for document in documents(text) {
            let origin = format!("{file}:{}", document.line);
            match crate::template::parse_manifests(&origin, &document.text) {
                Ok(values) => {
                    values.into_iter().for_each(|value| read.push(&origin, value));
                    // A list has many `data`, so none can be named by its field and key.
                    if let Some(only) = read.manifests.last_mut().filter(|last| last.origin == origin) {
                        only.blocks = blocks(&document.text, document.line);
                    }
                }
                Err(error) => {
                    let fault = error.fault();
                    let at = match (fault.line, fault.column) {
                        (0, _) => origin,
                        (line, 0) => format!("{file}:{}", document.line + line - 1),
                        (line, column) => format!("{file}:{}:{column}", document.line + line - 1),
                    };
                    let problem = Problem::error("", at, fault.message.clone());
                    read.unreadable.push(Problem { hint: fault.hint.clone(), ..problem });
                }
            }
        }
        read
    }

    /// Adds what another place holds.
    pub fn append(&mut self, other: Manifests) {
        self.manifests.extend(other.manifests);
        self.unreadable.extend(other.unreadable);
    }

    /// Adds one manifest, or the items of a list.
    pub fn push(&mut self, origin: &str, mut value: Value) {
        let is_list = value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if is_list => items.into_iter().for_each(|item| self.push(origin, item)),
            Some(items) => {
                value["items"] = items;
                self.manifests.push(Manifest::new(origin, value));
            }
            None => self.manifests.push(Manifest::new(origin, value)),
        }
    }
}

/// A manifest as its author wrote it: without status and what the API server keeps about it.
pub(in crate::rules) fn meaning(manifest: &Value) -> Value {
    let mut meaning = manifest.clone();
    if let Some(map) = meaning.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = meaning.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| matches!(name.as_str(), "name" | "namespace" | "labels" | "annotations"));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    meaning
}

/// One document of a stream.
pub(in crate::rules) struct Document {
    /// Line in the file of the text's first line, from 1.
    pub line: usize,
    /// As many bytes as in the file: blanks are in the place of a marker in front of it.
    pub text: String,
}

/// Splits a stream into its documents before it is parsed, so that a broken one ends at the next marker.
///
/// `---` and `...` at the start of a line end a document even inside of a scalar (YAML 1.2.2, 9.1.2 and rule
/// `c-forbidden`), so the split is exact.
pub(in crate::rules) fn documents(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut current = Document { line: 1, text: String::new() };
    for (index, line) in text.trim_start_matches('\u{feff}').split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if let Some(rest) = rest {
            let start = Document { line: index + 1, text: format!("   {rest}") };
            documents.push(std::mem::replace(&mut current, start));
        } else if line.trim_end() == "..." {
            documents.push(std::mem::replace(&mut current, Document { line: index + 2, text: String::new() }));
        } else {
            current.text.push_str(line);
        }
    }
    documents.push(current);
    documents.retain_mut(|document| {
        skip_to_content(document);
        !document.text.trim().is_empty()
    });
    documents
}

/// Drops blank lines, comments and directives in front, so that the line number is that of the manifest itself.
fn skip_to_content(document: &mut Document) {
    let mut skipped_bytes = 0;
    for line in document.text.split_inclusive('\n') {
        let content = line.trim();
        if !(content.is_empty() || content.starts_with('#') || line.starts_with('%')) {
            break;
        }
        skipped_bytes += line.len();
        document.line += 1;
    }
    document.text.drain(..skipped_bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(read: &Manifests) -> Vec<&str> {
        read.manifests.iter().map(|manifest| manifest.origin.as_str()).collect()
    }

    #[test]
    fn documents_carry_the_line_they_begin_on() {
        let text = "# rules\n\nkind: A\napiVersion: v1\nmetadata: {name: a}\n---\n# about b\nkind: B\napiVersion: v1\nmetadata: {name: b}\n--- {kind: C, apiVersion: v1, metadata: {name: c}}\n...\nkind: D\napiVersion: v1\nmetadata: {name: d}\n---\n";
        let read = Manifests::read("r.yaml", text);
        assert_eq!(read.unreadable, []);
        assert_eq!(origins(&read), ["r.yaml:3", "r.yaml:8", "r.yaml:11", "r.yaml:13"]);
    }

    #[test]
    fn broken_document_hides_no_other() {
        let text = "kind: A\napiVersion: v1\nmetadata: {name: a}\n---\nkind: [unclosed\nmetadata: x\n---\nkind: C\napiVersion: v1\nmetadata: {name: c}\n";
        let read = Manifests::read("r.yaml", text);
        assert_eq!(origins(&read), ["r.yaml:1", "r.yaml:8"]);
        assert_eq!(read.unreadable.len(), 1);
        assert!(read.unreadable[0].origin.starts_with("r.yaml:"), "{:?}", read.unreadable);
    }

    #[test]
    fn lists_are_taken_apart() {
        let text = r#"{"kind":"List","apiVersion":"v1","items":[{"kind":"A","apiVersion":"v1","metadata":{"name":"a"}},{"kind":"B","apiVersion":"v1","metadata":{"name":"b"}}]}"#;
        let read = Manifests::read("r.json", text);
        assert_eq!(origins(&read), ["r.json:1", "r.json:1"]);
        assert_eq!(read.manifests[1].value["kind"], "B");
    }
}
