//! A field of a rule that is plain text or a template that gives text.
//!
//! Start at [`Text::compile`]. Plain text is never rendered.

use std::borrow::Cow;

use crate::template::{self, Data, Dialect, Template};

/// Text, or a template of it.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Literal(String),
    Template {
        /// What stands before the first action, and so at the start of whatever is rendered.
        start: String,
        /// What stands behind the last one.
        end: String,
        template: Template,
    },
}

impl Text {
    /// Reads a field; `name` is what errors call it.
    pub(super) fn compile(dialect: Dialect, name: &str, written: &str) -> Result<Text, template::Error> {
        let opens: &[&str] = match dialect {
            Dialect::Go => &["{{"],
            Dialect::Tera => &["{{", "{%", "{#"],
        };
        let Some(first) = opens.iter().filter_map(|open| written.find(open)).min() else {
            return Ok(Text::Literal(written.trim().to_owned()));
        };
        let last = ["}}", "%}", "#}"].iter().filter_map(|close| written.rfind(close)).max().unwrap_or(first);
        Ok(Text::Template {
            start: written[..first].trim().to_owned(),
            end: written.get(last + 2..).unwrap_or_default().trim().to_owned(),
            template: Template::compile(dialect, name, written)?,
        })
    }

    /// The text, without blanks around it.
    pub(super) fn render(&self, data: &Data<'_>) -> Result<Cow<'_, str>, template::Error> {
        match self {
            Text::Literal(text) => Ok(Cow::Borrowed(text)),
            Text::Template { template, .. } => Ok(Cow::Owned(template.render_text(data)?.trim().to_owned())),
        }
    }

    /// Whether some event could make it give `text`. May say yes too often, never no.
    pub(super) fn could_be(&self, text: &str) -> bool {
        match self {
            Text::Literal(literal) => literal == text,
            Text::Template { start, end, .. } => {
                text.len() >= start.len().max(end.len())
                    && text.starts_with(start.as_str())
                    && text.ends_with(end.as_str())
            }
        }
    }
}
