//! From YAML text to the objects in it, in one pass over the parser's events.
//!
//! Start at [`read`]. The text is parsed once; the same pass builds the values and notes where every node lies, and
//! [`super::confine`] then judges each range that data filled. Nothing here knows which dialect rendered the text.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, StructureStyle, Tag};
use serde_json::{Map, Value};

use super::confine::{self, Piece, PieceKind, Violation};
use super::scalar;
use super::tracking::{Manner, TrackedText};
use super::types::{self, Plain, Undecided};
use crate::builtin::{FieldPath, PathStep};

/// The most nodes that aliases may multiply a text into.
const NODES_MAX: usize = 200_000;

/// An object that a text describes.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The manifest.
    pub value: Value,
    /// Its plain scalars whose types are not known here; see [`crate::schema`].
    pub plain: Vec<Plain>,
}

impl Object {
    /// Its value, where each plain scalar is the string that it spells.
    pub(crate) fn into_texts(self) -> Value {
        let Object { mut value, plain } = self;
        plain.into_iter().for_each(|scalar| types::put(&mut value, &scalar.place, Value::String(scalar.spelled)));
        value
    }
}

/// Why a text was refused, at a byte offset of that text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not YAML, or not YAML that makes objects.
    Manifest { offset: usize, message: String, hint: Option<String> },
    /// A range that data filled left its place; the index says which.
    Violation { filled: usize, violation: Violation },
}

impl Refusal {
    fn manifest(offset: usize, message: impl Into<String>) -> Refusal {
        Refusal::Manifest { offset, message: message.into(), hint: None }
    }
}

/// The values of a text of YAML documents, in order, as they are written; empty documents are skipped.
pub(super) fn read(rendered: &TrackedText) -> Result<Vec<Value>, Refusal> {
    Ok(build(rendered, Purpose::Read)?.into_iter().map(|object| object.value).collect())
}

/// The objects of a text, as they are to be applied: each plain scalar has the type of its place where that is known.
pub(super) fn read_objects(rendered: &TrackedText) -> Result<Vec<Object>, Refusal> {
    build(rendered, Purpose::Apply)
}

/// What is done with the values of a text, and so which types the plain scalars get that its author wrote.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// They are read: the types of their spelling.
    Read,
    /// They are applied: the types of their places.
    Apply,
    /// They become part of a manifest: none yet, for the place is not known.
    Part,
}

fn build(rendered: &TrackedText, purpose: Purpose) -> Result<Vec<Object>, Refusal> {
    let mut options = Options::default();
    options.set_emit_comments(!rendered.filled.is_empty());
    options.max_buffered_comment_events = usize::MAX;
    let mut builder = Builder::new(rendered, purpose);
    for event in Parser::new_from_str_with_options(&rendered.text, options) {
        match event {
            Ok((event, span)) => {
                let start = span.start.byte_offset().unwrap_or(0);
                let end = span.end.byte_offset().unwrap_or(start);
                builder.take(event, start, end)?;
            }
            Err(error) => {
                let offset = error.marker().byte_offset().unwrap_or(0);
                return Err(Refusal::manifest(offset, error.info()));
            }
        }
    }
    if !rendered.filled.is_empty() {
        confine::check(rendered, &builder.pieces, &builder.comments, &builder.lists)
            .map_err(|(filled, violation)| Refusal::Violation { filled, violation })?;
    }
    Ok(builder.objects)
}

/// The one value of a text, of any type; for `fromYaml`.
pub(super) fn read_value(text: &str) -> Result<Value, String> {
    Ok(read_any(text, Purpose::Read)?.value)
}

/// The one value of a text, of any type, with all of its plain scalars, at their places in it.
pub(super) fn read_part(text: &str) -> Result<Object, String> {
    read_any(text, Purpose::Part)
}

/// The builder takes only mappings, so the value is the field of one.
fn read_any(text: &str, purpose: Purpose) -> Result<Object, String> {
    let rendered = TrackedText { text: format!("value:\n  {}\n", text.replace('\n', "\n  ")), filled: Vec::new() };
    let objects = build(&rendered, purpose).map_err(|refusal| match refusal {
        Refusal::Manifest { message, .. } => message,
        Refusal::Violation { violation, .. } => violation.message().to_owned(),
    })?;
    let Some(Object { mut value, mut plain }) = objects.into_iter().next() else {
        return Ok(Object { value: Value::Null, plain: Vec::new() });
    };
    let is_of_value = |step: &PathStep| matches!(step, PathStep::Field(name) if name == "value");
    plain.retain(|scalar| scalar.place.first().is_some_and(is_of_value));
    plain.iter_mut().for_each(|scalar| _ = scalar.place.remove(0));
    Ok(Object { value: value.get_mut("value").map(Value::take).unwrap_or_default(), plain })
}

/// A collection that is still open.
enum Open {
    Mapping { map: Map<String, Value>, key: Option<Key>, merged: Vec<Value>, anchor: usize },
    Sequence { items: Vec<Value>, anchor: usize },
}

/// What data has to do with a scalar.
#[derive(Clone, Copy)]
struct Taint {
    manner: Manner,
    is_text: bool,
    is_composed: bool,
    filled: usize,
}

enum Key {
    Name(String),
    Merge,
}

struct Builder<'r> {
    rendered: &'r TrackedText,
    judged: bool,
    purpose: Purpose,
    stack: Vec<Open>,
    anchors: HashMap<usize, Value>,
    nodes: usize,
    objects: Vec<Object>,
    /// Scalars of the current document whose type depends on their place.
    undecided: Vec<Undecided>,
    /// The documents that are lists of objects.
    lists: Vec<std::ops::Range<usize>>,
    pieces: Vec<Piece>,
    comments: Vec<std::ops::Range<usize>>,
    /// Where the root of the current document starts.
    root_starts: usize,
}

impl<'r> Builder<'r> {
    fn new(rendered: &'r TrackedText, purpose: Purpose) -> Builder<'r> {
        Builder {
            rendered,
            purpose,
            judged: !rendered.filled.is_empty(),
            stack: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            objects: Vec::new(),
            undecided: Vec::new(),
            lists: Vec::new(),
            pieces: Vec::new(),
            comments: Vec::new(),
            root_starts: 0,
        }
    }

    fn take(&mut self, event: Event<'_>, start: usize, end: usize) -> Result<(), Refusal> {
        match event {
            Event::StreamStart | Event::StreamEnd => {}
            Event::DocumentStart(..) => self.piece(start, end, PieceKind::Document),
            Event::DocumentEnd => {
                self.piece(start, end, PieceKind::Document);
                self.anchors.clear();
            }
            Event::Comment(..) => self.comments.push(start..end),
            Event::Anchor(..) => {}
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), start, end)?,
            Event::SequenceStart(style, anchor, tag) => {
                // A list that is not indented below its key is said to begin at its first item; it begins at the dash.
                let before = self.rendered.text[..start].trim_end_matches([' ', '\t']);
                let is_late = style == StructureStyle::Block
                    && before.ends_with('-')
                    && !self.rendered.text[start..].starts_with('-');
                let start = if is_late { before.len() - 1 } else { start };
                refuse_tag(tag.as_deref(), "seq", start)?;
                self.open(start, end, anchor, tag.is_some(), Open::Sequence { items: Vec::new(), anchor })?;
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), "map", start)?;
                let mapping = Open::Mapping { map: Map::new(), key: None, merged: Vec::new(), anchor };
                self.open(start, end, anchor, tag.is_some(), mapping)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.piece(start, end, PieceKind::Close);
                match self.stack.pop() {
                    Some(Open::Sequence { items, anchor }) => self.place(Value::Array(items), anchor, start)?,
                    Some(Open::Mapping { mut map, merged, anchor, .. }) => {
                        for value in merged {
                            merge(&mut map, value, start)?;
                        }
                        self.place(Value::Object(map), anchor, start)?;
                    }
                    None => {
                        return Err(Refusal::manifest(start, "a collection ends that never began"));
                    }
                }
            }
            Event::Alias(anchor) => {
                self.piece(start, end, PieceKind::Alias);
                let Some(value) = self.anchors.get(&anchor).cloned() else {
                    return Err(Refusal::manifest(start, "an alias stands inside the node it refers to"));
                };
                self.count(nodes_in(&value), start)?;
                if self.awaits_key() {
                    return Err(Refusal::manifest(start, "an alias cannot be a key"));
                }
                self.place(value, 0, start)?;
            }
            Event::UnresolvedAlias(name) => {
                return Err(Refusal::manifest(start, format!("alias `*{name}` has no anchor")));
            }
            // A newer parser may see what this one does not; skipping it could lose a node.
            _ => {
                return Err(Refusal::manifest(start, "this part of YAML is not supported"));
            }
        }
        Ok(())
    }

    fn open(&mut self, start: usize, end: usize, anchor: usize, tagged: bool, open: Open) -> Result<(), Refusal> {
        if self.awaits_key() {
            return Err(Refusal::manifest(start, "a key must be a string, not a collection"));
        }
        self.count(1, start)?;
        let value_slot = self.awaits_value();
        self.piece(start, end, PieceKind::Open { value_slot, decorated: anchor != 0 || tagged });
        self.stack.push(open);
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        start: usize,
        end: usize,
    ) -> Result<(), Refusal> {
        self.count(1, start)?;
        let absent = style == ScalarStyle::Plain && start == end;
        let is_key = self.awaits_key();
        let value_slot = self.awaits_value();
        let decorated = anchor != 0 || tag.is_some();
        let is_blank_block =
            matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) && text.trim_matches('\n').is_empty();
        // The parser's span of a block scalar without content may begin at its header.
        let content = if is_blank_block { end } else { start };
        self.piece(content, end, PieceKind::Scalar { style, is_key, value_slot, absent, decorated });
        let tainted = if self.judged { self.taint(start, end, absent, style) } else { None };
        let plain = style == ScalarStyle::Plain;
        let text = if absent { "" } else { text };
        if is_key {
            if absent {
                return Err(Refusal::manifest(start, "a key is missing before `:`"));
            }
            let key = if plain && text == "<<" && tag.is_none() && tainted.is_none() {
                Key::Merge
            } else {
                Key::Name(text.to_owned())
            };
            if let Some(Open::Mapping { map, key: pending, .. }) = self.stack.last_mut() {
                if let Key::Name(name) = &key
                    && map.contains_key(name)
                {
                    return Err(Refusal::manifest(start, format!("key `{name}` is given twice")));
                }
                *pending = Some(key);
            }
            return Ok(());
        }
        let value = match tag {
            None if plain => self.plain(text, tainted, start)?,
            None => Value::String(text.to_owned()),
            Some(tag) => tagged(tag, text, start)?,
        };
        self.place(value, anchor, start)
    }

    /// What a plain scalar is, `tainted` where data filled it.
    fn plain(&mut self, text: &str, tainted: Option<Taint>, start: usize) -> Result<Value, Refusal> {
        let read = scalar::resolve(text);
        // A null that `toYaml` wrote is a null; a value that spells null is a string.
        let tainted = tainted.filter(|taint| taint.manner != Manner::Structure || read != Some(Value::Null));
        match (tainted, read) {
            (_, Some(Value::String(text))) => Ok(Value::String(text)),
            (None, Some(Value::Null)) => Ok(Value::Null),
            (None, Some(read)) if self.purpose == Purpose::Read => Ok(read),
            (Some(_), _) | (None, Some(_)) if self.is_string_place() => Ok(Value::String(text.to_owned())),
            (taint, read) if taint.is_some_and(|taint| taint.is_text) || read.is_some() => {
                let (place, spelled) = (self.place_here(), text.to_owned());
                let is_text = taint.is_some_and(|taint| taint.is_text);
                let is_composed = taint.is_some_and(|taint| taint.is_composed);
                let filled = taint.map(|taint| taint.filled);
                let scalar =
                    Undecided { place: place.clone().unwrap_or_default(), spelled, read, is_text, is_composed, filled };
                let value = scalar.untyped();
                // One that `<<` merges has no place of its own; its type is that of the value.
                if place.is_some() {
                    self.undecided.push(scalar);
                }
                Ok(value)
            }
            (_, read) => read.ok_or_else(|| Refusal::manifest(start, format!("JSON has no number `{text}`"))),
        }
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, value: Value, anchor: usize, offset: usize) -> Result<(), Refusal> {
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        match self.stack.last_mut() {
            Some(Open::Sequence { items, .. }) => items.push(value),
            Some(Open::Mapping { map, key, merged, .. }) => match key.take() {
                Some(Key::Name(name)) => {
                    map.insert(name, value);
                }
                Some(Key::Merge) => match value {
                    Value::Array(values) => merged.extend(values),
                    value => merged.push(value),
                },
                None => {
                    return Err(Refusal::manifest(offset, "a value stands where a key should"));
                }
            },
            None => match value {
                Value::Null => {}
                object @ Value::Object(_) => self.finish(object, offset)?,
                _ => {
                    return Err(Refusal::Manifest {
                        offset: self.root_starts,
                        message: "a manifest must be a mapping with `apiVersion` and `kind`".to_owned(),
                        hint: None,
                    });
                }
            },
        }
        Ok(())
    }

    /// Takes an object, or the objects of a list, as `kubectl` does.
    fn finish(&mut self, mut object: Value, end: usize) -> Result<(), Refusal> {
        let mut undecided = std::mem::take(&mut self.undecided);
        if self.purpose == Purpose::Part {
            let plain = undecided.iter().map(Undecided::plain).collect();
            self.objects.push(Object { value: object, plain });
            return Ok(());
        }
        let violated = |(filled, violation)| Refusal::Violation { filled, violation };
        if !is_list(&object) {
            let plain = types::settle(&mut object, &undecided).map_err(violated)?;
            self.objects.push(Object { value: object, plain });
            return Ok(());
        }
        self.lists.push(self.root_starts..end);
        let Some(Value::Array(items)) = object.get_mut("items").map(Value::take) else { return Ok(()) };
        for (index, mut item) in items.into_iter().enumerate() {
            if !item.is_object() || is_list(&item) {
                let what = if item.is_object() { "a list again" } else { "no mapping" };
                let message = format!("item {} of the list is {what}, expected a manifest", index + 1);
                return Err(Refusal::manifest(self.root_starts, message));
            }
            let is_here = |scalar: &mut Undecided| match scalar.place.as_slice() {
                [PathStep::Field(items), PathStep::Item(item), ..] => items == "items" && *item == index,
                _ => false,
            };
            let of_item: Vec<Undecided> = undecided
                .extract_if(.., is_here)
                .map(|scalar| Undecided { place: scalar.place[2..].to_vec(), ..scalar })
                .collect();
            let plain = types::settle(&mut item, &of_item).map_err(violated)?;
            self.objects.push(Object { value: item, plain });
        }
        Ok(())
    }

    /// What wrote any of this scalar, or was empty where this one is absent.
    fn taint(&self, start: usize, end: usize, absent: bool, style: ScalarStyle) -> Option<Taint> {
        let filled = &self.rendered.filled;
        let of = |index: usize, is_text: bool, is_composed: bool| Taint {
            manner: filled[index].manner,
            is_text,
            is_composed,
            filled: index,
        };
        if absent {
            return confine::fills_absent(self.rendered, start).map(|index| of(index, filled[index].is_text, false));
        }
        if style != ScalarStyle::Plain {
            return None;
        }
        let from = filled.partition_point(|filled| filled.range.end < start);
        let mut touching = filled[from..].iter().take_while(|filled| filled.range.start <= end).peekable();
        let first = *touching.peek()?;
        let is_composed = first.range != (start..end) && first.manner != Manner::Structure;
        Some(of(from, touching.any(|filled| filled.is_text), is_composed))
    }

    fn awaits_key(&self) -> bool {
        matches!(self.stack.last(), Some(Open::Mapping { key: None, .. }))
    }

    fn awaits_value(&self) -> bool {
        matches!(self.stack.last(), Some(Open::Mapping { key: Some(_), .. }))
    }

    /// The key under which the collection at `depth` is filling a value.
    fn key_at(&self, depth: usize) -> Option<&str> {
        match self.stack.get(depth)? {
            Open::Mapping { key: Some(Key::Name(name)), .. } => Some(name),
            Open::Mapping { .. } | Open::Sequence { .. } => None,
        }
    }

    /// Whether Kubernetes takes nothing but a string here, whatever the object.
    fn is_string_place(&self) -> bool {
        let depth = self.stack.len();
        let up = |levels: usize| depth.checked_sub(levels).and_then(|depth| self.key_at(depth));
        types::is_string_field([up(3), up(2), up(1)])
    }

    /// The place of the value that is being filled; `None` below a merge key.
    fn place_here(&self) -> Option<FieldPath> {
        let step = |open: &Open| match open {
            Open::Mapping { key: Some(Key::Name(name)), .. } => Some(PathStep::Field(name.clone())),
            Open::Mapping { .. } => None,
            Open::Sequence { items, .. } => Some(PathStep::Item(items.len())),
        };
        self.stack.iter().map(step).collect()
    }

    fn piece(&mut self, start: usize, end: usize, kind: PieceKind) {
        if self.judged {
            // A close belongs to the depth of the collection it ends.
            let depth = self.stack.len() - usize::from(kind == PieceKind::Close && !self.stack.is_empty());
            self.pieces.push(Piece { start, end, depth, kind });
        }
    }

    fn count(&mut self, nodes: usize, offset: usize) -> Result<(), Refusal> {
        if self.stack.is_empty() {
            self.root_starts = offset;
        }
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(Refusal::manifest(
                offset,
                format!("more than {NODES_MAX} nodes, counting what aliases repeat"),
            ));
        }
        Ok(())
    }
}

/// Whether an object stands for others: `kind: List`, or the list of one kind.
fn is_list(object: &Value) -> bool {
    object["items"].is_array() && object["kind"].as_str().is_some_and(|kind| kind.ends_with("List"))
}

fn nodes_in(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nodes_in).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(nodes_in).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

/// A merge key fills in what the mapping itself does not say.
fn merge(map: &mut Map<String, Value>, from: Value, offset: usize) -> Result<(), Refusal> {
    let Value::Object(from) = from else {
        return Err(Refusal::manifest(offset, "`<<` can merge only mappings"));
    };
    for (key, value) in from {
        map.entry(key).or_insert(value);
    }
    Ok(())
}

fn refuse_tag(tag: Option<&Tag>, allowed: &str, offset: usize) -> Result<(), Refusal> {
    match tag {
        Some(tag) if tag.core_suffix() != Some(allowed) && tag.core_suffix().is_some() => {
            Err(Refusal::manifest(offset, format!("tag `{}` is not for this node", tag.original())))
        }
        _ => Ok(()),
    }
}

fn tagged(tag: &Tag, text: &str, offset: usize) -> Result<Value, Refusal> {
    let resolved = || scalar::resolve(text);
    let value = match tag.core_suffix() {
        // Local tags mean nothing to Kubernetes; the scalar is the string it spells.
        Some("str") | None => Some(Value::String(text.to_owned())),
        Some("int") => resolved().filter(|value| value.is_i64() || value.is_u64()),
        Some("float") => resolved().filter(Value::is_number),
        Some("bool") => resolved().filter(Value::is_boolean),
        Some("null") => resolved().filter(Value::is_null),
        Some(_) => None,
    };
    value.ok_or_else(|| Refusal::manifest(offset, format!("tag `{}` does not fit `{text}`", tag.original())))
}
