//! What can be wrong with a template, and where.
//!
//! Start at [`Error`]. Every variant carries one [`Fault`], so a caller can draw a caret without knowing which mistake it was.
//! Nothing here decides anything.

use std::fmt;

/// A template or what came out of it was refused; the variant says at which step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The source is not a template of its dialect, or names a function, variable or template that does not exist.
    #[error("{0}")]
    Compile(Box<Fault>),
    /// The function exists in Sveltos, and Lifeline refuses it because a replay would give another answer.
    #[error("{0}")]
    Refused(Box<Fault>),
    /// The template asked for something the event does not have, or a function failed.
    #[error("{0}")]
    Render(Box<Fault>),
    /// The template would not end, or printed too much.
    #[error("{0}")]
    Limit(Box<Fault>),
    /// A value would have changed the structure of the manifest instead of being a value in it.
    #[error("{0}")]
    Confined(Box<Fault>),
    /// What was rendered (or given) is not a sequence of YAML documents that Kubernetes would take.
    #[error("{0}")]
    Manifest(Box<Fault>),
}

impl Error {
    /// Where it is and what to do about it.
    pub fn fault(&self) -> &Fault {
        match self {
            Error::Compile(fault)
            | Error::Refused(fault)
            | Error::Render(fault)
            | Error::Limit(fault)
            | Error::Confined(fault)
            | Error::Manifest(fault) => fault,
        }
    }

    /// The same mistake in words that quote nothing of what the template was given or holds: for templates that see a Secret, or
    /// are in one.
    #[must_use]
    pub fn without_values(mut self) -> Error {
        let fault = match &mut self {
            Error::Compile(fault)
            | Error::Refused(fault)
            | Error::Render(fault)
            | Error::Limit(fault)
            | Error::Confined(fault)
            | Error::Manifest(fault) => fault,
        };
        if let Some(words) = fault.without_values.take() {
            (fault.message, fault.hint) = *words;
        }
        self
    }
}

/// One mistake with its place in the template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    /// The name the template was compiled under.
    pub name: String,
    /// Line in the template, from 1; 0 if the place is not known.
    pub line: usize,
    /// Column in that line, in characters, from 1; 0 if only the line is known.
    pub column: usize,
    /// What is wrong: lowercase, no full stop.
    pub message: String,
    /// What to do about it, if that can be said.
    pub hint: Option<String>,
    /// Message and hint without the values that they quote; `None` where they quote none.
    pub without_values: Option<Box<(String, Option<String>)>>,
}

impl Fault {
    pub(super) fn new(name: &str, place: LineColumn, message: impl Into<String>) -> Box<Fault> {
        Box::new(Fault {
            name: name.to_owned(),
            line: place.line,
            column: place.column,
            message: message.into(),
            hint: None,
            without_values: None,
        })
    }

    /// Adds the message and the hint for those who must not see values. Its own quote some.
    pub(super) fn or_without_values(
        mut self: Box<Self>,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Box<Fault> {
        self.without_values = Some(Box::new((message.into(), hint)));
        self
    }

    pub(super) fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Fault> {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// A line and a column, both from 1 and both 0 when unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LineColumn {
    pub line: usize,
    pub column: usize,
}

impl LineColumn {
    /// The place of a byte offset in a source.
    pub fn at(source: &str, offset: usize) -> LineColumn {
        let mut end = offset.min(source.len());
        while !source.is_char_boundary(end) {
            end -= 1;
        }
        let before = &source[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        LineColumn { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

/// A value as it may appear in a message: one line, not long.
pub(super) fn shortened(value: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let mut shown: String = value.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// The known name a person probably meant, if one is near enough.
pub(super) fn nearest<'n>(typed: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let allowed = 1 + typed.chars().count() / 4;
    known
        .map(|name| (distance(&typed.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's edit distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
