//! What a template wrote, and which bytes of it came from data.
//!
//! Start at [`TrackingWriter`]. The Go dialect's tree is given text nodes before and after each action that prints data. They are
//! never text: the writer knows each by the address of its allocation, so nothing an event holds can be taken for one.
//! The same nodes count steps and say which action was running when something failed.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use gotmpl::{Value, ValueFunc};

/// The most bytes one template may render.
pub(super) const RENDERED_BYTES_MAX: usize = 4 << 20;
/// The most nodes of a template's tree that one rendering may pass.
pub(super) const STEPS_MAX: u32 = 1_000_000;

/// How the text of an action may look where it lands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// A value: it may be part of one scalar.
    Value,
    /// A value between quotes of its own making: it may be exactly one quoted scalar.
    Quoted,
    /// A structure written on purpose (`toYaml`): it may be a node, or entries of the collection it is in.
    Structure,
}

/// What the template did to the lines of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Nothing: they are those of the event.
    AsIs,
    /// Each of them was put behind so many blanks.
    Indented(usize),
    /// Something else, which may well be what its place needs.
    Unknown,
}

/// Bytes of the rendered text that one action printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filled {
    pub range: Range<usize>,
    pub manner: Manner,
    pub layout: Layout,
    /// Whether the value is a string, and no number or other thing that is printed.
    pub is_text: bool,
    /// Which action, as an index into the dialect's own list.
    pub action: u32,
}

/// A rendered text with the ranges that data filled, in order, none inside another.
#[derive(Debug, Default)]
pub(super) struct TrackedText {
    pub text: String,
    pub filled: Vec<Filled>,
}

/// A node of the tree that the writer recognises.
#[derive(Debug, Clone)]
pub(super) struct Marker {
    /// The text of the node; only its address means anything.
    pub node: Arc<str>,
    /// `Some` if what follows comes from data; `None` for a step.
    pub opens: Option<(Manner, Layout)>,
    /// Where the action is, as an offset in the source.
    pub offset: usize,
}

/// The first character of every marking node; a quick test before the address is compared.
const MARKER: char = '\u{FDD0}';

/// The text of the node that marks the action `index`.
pub(super) fn marker_text(index: usize) -> Arc<str> {
    format!("{MARKER}{index}").into()
}

/// The function that ends every pipeline whose output comes from data; no template can spell it.
pub(super) const NOTE: &str = "\0note";

thread_local! {
    /// A writer is given text alone, so what kind of value it was is left here just before.
    static PRINTS_TEXT: Cell<bool> = const { Cell::new(false) };
}

/// Gives back its argument, and notes whether it is a string.
pub(super) fn note() -> (String, ValueFunc) {
    let note = |arguments: &[Value]| {
        let value = arguments.last().cloned().unwrap_or(Value::Nil);
        PRINTS_TEXT.set(matches!(value, Value::String(_)));
        Ok(value)
    };
    (NOTE.to_owned(), Arc::new(note))
}

/// The writer a template renders into.
pub(super) struct TrackingWriter<'n> {
    rendered: TrackedText,
    markers: &'n [Marker],
    close: &'n Arc<str>,
    open: Option<(u32, Manner, Layout, usize)>,
    current: Option<u32>,
    steps_left: u32,
    stopped: Option<Stopped>,
}

/// Why the writer refused to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    TooLong,
    TooManySteps,
    NoValue,
}

impl<'n> TrackingWriter<'n> {
    pub fn new(markers: &'n [Marker], close: &'n Arc<str>, capacity: usize) -> TrackingWriter<'n> {
        let rendered = TrackedText { text: String::with_capacity(capacity), filled: Vec::new() };
        TrackingWriter { rendered, markers, close, open: None, current: None, steps_left: STEPS_MAX, stopped: None }
    }

    /// The action that was running last.
    pub fn current(&self) -> Option<(u32, &'n Marker)> {
        self.current.map(|index| (index, &self.markers[index as usize]))
    }

    /// Why writing stopped, if it did.
    pub fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    pub fn finish(self) -> TrackedText {
        self.rendered
    }

    fn stop(&mut self, why: Stopped) -> fmt::Result {
        self.stopped = Some(why);
        Err(fmt::Error)
    }

    /// The marker this text is, if it is one: same address, not merely same text.
    fn marker(&self, text: &str) -> Option<u32> {
        let index: u32 = text.strip_prefix(MARKER)?.parse().ok()?;
        let marker = self.markers.get(index as usize)?;
        std::ptr::eq(marker.node.as_ptr(), text.as_ptr()).then_some(index)
    }
}

impl fmt::Write for TrackingWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.starts_with(MARKER) {
            if let Some(index) = self.marker(text) {
                self.current = Some(index);
                if self.steps_left == 0 {
                    return self.stop(Stopped::TooManySteps);
                }
                self.steps_left -= 1;
                if let Some((manner, layout)) = self.markers[index as usize].opens {
                    self.open = Some((index, manner, layout, self.rendered.text.len()));
                }
                return Ok(());
            }
            if std::ptr::eq(self.close.as_ptr(), text.as_ptr()) {
                if let Some((action, manner, layout, start)) = self.open.take() {
                    let range = start..self.rendered.text.len();
                    // The engine prints this for null; no manifest wants the words.
                    if &self.rendered.text[range.clone()] == "<no value>" {
                        return self.stop(Stopped::NoValue);
                    }
                    // What `toYaml` gives is a string only to the template.
                    let is_text = PRINTS_TEXT.get() && manner != Manner::Structure;
                    self.rendered.filled.push(Filled { range, manner, layout, is_text, action });
                }
                return Ok(());
            }
        }
        if self.rendered.text.len() + text.len() > RENDERED_BYTES_MAX {
            return self.stop(Stopped::TooLong);
        }
        self.rendered.text.push_str(text);
        Ok(())
    }
}
