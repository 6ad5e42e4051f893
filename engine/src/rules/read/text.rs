//! A field of a rule that is plain text or a template that gives text.
//!
//! Start at [`Reading::text`]. Plain text is never rendered.

use std::borrow::Cow;

use crate::rules::problem::Problem;
use crate::template::{self, Data, Dialect, Template};

/// The rule whose fields are read.
#[derive(Debug, Clone, Copy)]
pub(in crate::rules) struct Reading<'a> {
    /// Such as `EventTrigger/name`.
    pub rule: &'a str,
    /// Where its manifest came from.
    pub origin: &'a str,
    /// The language of its templates.
    pub dialect: Dialect,
}

impl Reading<'_> {
    /// The field `field`, written as `written`.
    ///
    /// # Errors
    /// When it is a template that does not compile.
    pub fn text(&self, field: &str, written: &str) -> Result<Text, Problem> {
        Text::compile(self.dialect, field, written)
            .map_err(|error| Problem::of_template(self.rule, self.origin, (field, &format!("`{field}`")), &error))
    }
}

/// Text, or a template of it.
#[derive(Debug, Clone)]
pub(in crate::rules) enum Text {
    /// As it was written.
    Literal(String),
    /// The template, and what can be said of its texts beforehand.
    Template { shape: Shape, template: Template },
}

impl Text {
    /// Reads a field; `name` is what errors call it.
    fn compile(dialect: Dialect, name: &str, written: &str) -> Result<Text, template::Error> {
        match Shape::of(written) {
            Shape::Exactly(_) => Ok(Text::Literal(written.to_owned())),
            shape @ Shape::Between { .. } => {
                Ok(Text::Template { shape, template: Template::compile(dialect, name, written)? })
            }
        }
    }

    /// The text of a name or an action: without blanks around it.
    pub(in crate::rules) fn render(&self, data: &Data<'_>) -> Result<Cow<'_, str>, template::Error> {
        match self {
            Text::Literal(text) => Ok(Cow::Borrowed(text.trim())),
            Text::Template { template, .. } => Ok(Cow::Owned(template.render_text(data)?.trim().to_owned())),
        }
    }

    /// The text of a value, every blank of it.
    pub(in crate::rules) fn render_whole(&self, data: &Data<'_>) -> Result<String, template::Error> {
        match self {
            Text::Literal(text) => Ok(text.clone()),
            Text::Template { template, .. } => template.render_text(data),
        }
    }

    /// Whether some event could make it give `text`. May say yes too often, never no.
    pub(in crate::rules) fn could_be(&self, text: &str) -> bool {
        match self {
            Text::Literal(literal) => literal.trim() == text,
            Text::Template { shape, .. } => shape.could_be(text),
        }
    }
}

/// What can be said of a field's text without rendering it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rules) enum Shape {
    /// It is no template.
    Exactly(String),
    /// The text before the first action and after the last one.
    Between { start: String, end: String },
}

impl Shape {
    pub(in crate::rules) fn of(written: &str) -> Shape {
        // The marks of both dialects: what one of them takes for text is then rendered for nothing, and correctly.
        let first = ["{{", "{%", "{#"].iter().filter_map(|open| written.find(open)).min();
        let last = ["}}", "%}", "#}"].iter().filter_map(|close| written.rfind(close)).max();
        let Some(first) = first else { return Shape::Exactly(written.trim().to_owned()) };
        let end = last.and_then(|last| written.get(last + 2..)).unwrap_or_default();
        Shape::Between { start: written[..first].trim().to_owned(), end: end.trim().to_owned() }
    }

    pub(in crate::rules) fn could_be(&self, text: &str) -> bool {
        match self {
            Shape::Exactly(literal) => literal == text,
            Shape::Between { start, end } => text.starts_with(start.as_str()) && text.ends_with(end.as_str()),
        }
    }
}
