//! Templates: from an event's values to a text, or to the Kubernetes objects it describes.
//!
//! Start at [`Template`]. Two dialects, Go's (what Sveltos' manifests are written in) and Tera, give a rendered text that
//! knows which of its bytes came from data (`tracking`); one YAML pass builds the objects (`manifest`) and refuses whatever data
//! would have changed beyond a value (`confine`). All of it is pure: no clock (`now` is the time the event was recorded),
//! no randomness, no network, no lookups. The same template and data give the same bytes on every machine, for ever.
//!
//! ```text
//! source --single_quotes--> gotmpl's tree --tree: check, mark--> Go  --+
//! source -----------------------------------------------------> Tera --+--> tracked text --> manifest + confine --> objects
//! ```

mod advice;
mod blocks;
mod confine;
mod error;
mod functions;
mod go;
mod manifest;
mod marks;
mod scalar;
mod single_quotes;
mod tera;
mod tracking;
mod tree;
mod types;

use std::sync::Arc;

pub use error::{Error, Fault};
pub use manifest::Object;
pub(crate) use marks::Marks;
pub use types::Plain;
pub(crate) use types::{at, put};

use error::{LineColumn, shortened};
use manifest::Refusal;
use tracking::{Filled, Manner, TrackedText};

use crate::confidential::masked_quotes;

/// The language a template is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Go's text/template with sprig's functions, as Sveltos renders it.
    Go,
    /// Tera (Jinja-like).
    Tera,
}

/// What a template may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// A map: `CloudEvent` or `CloudEvents`, `Cluster`, ...
    pub values: &'a serde_json::Value,
    /// When the event was recorded, in nanoseconds since 1970; what `now` answers.
    pub recorded_at_unix_nanos: u64,
}

/// A template that has been read and checked; cheap to clone.
#[derive(Clone)]
pub struct Template {
    inner: Arc<Compiled>,
}

struct Compiled {
    name: String,
    source: String,
    program: Program,
}

enum Program {
    Go(go::Program),
    Tera(tera::Program),
}

impl Template {
    /// Reads a template and checks everything that does not need data: syntax, functions and their number of arguments,
    /// variables, the names of other templates.
    ///
    /// # Errors
    /// The first mistake, with line and column, and what was probably meant.
    pub fn compile(dialect: Dialect, name: &str, source: &str) -> Result<Template, Error> {
        let program = match dialect {
            Dialect::Go => Program::Go(go::Program::compile(name, source)?),
            Dialect::Tera => Program::Tera(tera::Program::compile(name, source)?),
        };
        Ok(Template { inner: Arc::new(Compiled { name: name.to_owned(), source: source.to_owned(), program }) })
    }

    /// The name it was compiled under.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Renders to plain text: for a `cloudEventAction` or a name.
    ///
    /// # Errors
    /// A value that is missing, a function that fails, a limit.
    pub fn render_text(&self, data: &Data<'_>) -> Result<String, Error> {
        Ok(self.render(data)?.text)
    }

    /// Renders YAML documents and gives the objects in them, in order. No value of the data can add a key, a document or a
    /// kind (see `confine`): what would is an error.
    ///
    /// # Errors
    /// As [`Template::render_text`], and [`Error::Confined`] or [`Error::Manifest`].
    pub fn render_objects(&self, data: &Data<'_>) -> Result<Vec<Object>, Error> {
        let rendered = self.render(data)?;
        manifest::read_objects(&rendered).map_err(|refusal| self.explain(&rendered, refusal))
    }

    /// The manifests of [`Template::render_objects`], without what is not known of their types.
    ///
    /// # Errors
    /// The same.
    pub fn render_manifests(&self, data: &Data<'_>) -> Result<Vec<serde_json::Value>, Error> {
        Ok(self.render_objects(data)?.into_iter().map(|object| object.value).collect())
    }

    /// Whether the template refers to `.CloudEvent`, the one event.
    pub fn uses_event(&self) -> bool {
        match &self.inner.program {
            Program::Go(program) => program.uses_event(),
            Program::Tera(program) => program.uses_event(),
        }
    }

    /// Whether the template refers to `.CloudEvents`, the list of the latest Create events.
    pub fn uses_event_list(&self) -> bool {
        match &self.inner.program {
            Program::Go(program) => program.uses_event_list(),
            Program::Tera(program) => program.uses_event_list(),
        }
    }

    /// The first thing that the template refers to, that templates of Sveltos may see, and that is empty or not there for a
    /// CloudEvent: rendering makes nothing of it, or fails with it.
    pub fn foreign(&self) -> Option<Error> {
        let Program::Go(program) = &self.inner.program else { return None };
        let (key, offset) = program.foreign()?;
        let place = LineColumn::at(&self.inner.source, offset);
        let (message, hint) = match key.starts_with("Matching") {
            true => (
                format!("`.{key}` is empty: a CloudEvent is about no resource of Kubernetes"),
                "use `.CloudEvent.subject`, or what the event's data says",
            ),
            false => (
                format!("`.{key}` is not there: templates see `.CloudEvent` and `.Cluster`"),
                "no such object is read: put what the template needs into the event's data",
            ),
        };
        Some(Error::Render(Fault::new(&self.inner.name, place, message).hint(hint)))
    }

    fn render(&self, data: &Data<'_>) -> Result<TrackedText, Error> {
        let Compiled { name, source, program } = &*self.inner;
        match program {
            Program::Go(program) => program.render(name, source, data),
            Program::Tera(program) => program.render(name, data),
        }
    }

    /// Says which action of the template is to blame for a refused text.
    fn explain(&self, rendered: &TrackedText, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Violation { filled, violation } => self.confined(rendered, &rendered.filled[filled], violation),
            Refusal::Manifest { offset, message, hint } => {
                if let Some(filled) = culprit(rendered) {
                    let text = &rendered.text[filled.range.clone()];
                    let is_single = filled.manner == Manner::Quoted && text.starts_with('\'');
                    let violation = if is_single { confine::single_quoted(text).err() } else { None };
                    return self.confined(rendered, filled, violation.unwrap_or(confine::Violation::Structure));
                }
                let rendered_place = LineColumn::at(&rendered.text, offset);
                // What no action wrote is in the template as it is in the text.
                let place = if rendered.text == self.inner.source { rendered_place } else { LineColumn::default() };
                let line = rendered.text.lines().nth(rendered_place.line - 1).unwrap_or("").trim();
                let line = shortened(line);
                let apart =
                    format!("line {} of the rendered manifest: {}", rendered_place.line, masked_quotes(&message));
                let message = format!("line {} of the rendered manifest, `{line}`: {message}", rendered_place.line);
                let fault = Fault::new(&self.inner.name, place, message).or_without_values(apart, hint.clone());
                Error::Manifest(match hint {
                    Some(hint) => fault.hint(hint),
                    None => fault,
                })
            }
        }
    }

    fn confined(&self, rendered: &TrackedText, filled: &Filled, violation: confine::Violation) -> Error {
        let Compiled { name, source, program } = &*self.inner;
        let value = shortened(&rendered.text[filled.range.clone()]);
        let (place, action) = match program {
            Program::Go(program) => program.action(source, filled.action),
            Program::Tera(_) => (LineColumn::default(), String::new()),
        };
        let message = match (action.is_empty(), value.is_empty()) {
            (true, true) => format!("a value {}", violation.message()),
            (true, false) => format!("value `{value}` {}", violation.message()),
            (false, true) => format!("what `{{{{ {action} }}}}` gives {}", violation.message()),
            (false, false) => format!("value `{value}` of `{{{{ {action} }}}}` {}", violation.message()),
        };
        let apart = format!("a value {}", violation.message());
        let advice = match program {
            Program::Go(program) => program.offset_in(filled.action).map(|inside| advice::quote(source, inside)),
            Program::Tera(_) => None,
        };
        let unseen = violation.hint(advice::UNSEEN);
        let fault = Fault::new(name, place, message);
        Error::Confined(
            fault
                .hint(violation.hint(advice.as_deref().unwrap_or(advice::UNSEEN)))
                .or_without_values(apart, Some(unseen)),
        )
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

/// The first value without which the text would be YAML: the text is read again with harmless values. Only after a failure.
fn culprit(rendered: &TrackedText) -> Option<&Filled> {
    let reads = |harmless: &dyn Fn(usize) -> bool| {
        let mut text = String::new();
        let mut copied = 0;
        for (index, filled) in rendered.filled.iter().enumerate() {
            if filled.manner != Manner::Structure && harmless(index) {
                text.push_str(&rendered.text[copied..filled.range.start]);
                text.push('x');
                copied = filled.range.end;
            }
        }
        text.push_str(&rendered.text[copied..]);
        manifest::read(&TrackedText { text, filled: Vec::new() }).is_ok()
    };
    if !reads(&|_| true) {
        return None;
    }
    // With the first `low` values as they are it reads, with the first `high` it does not: halve until they meet.
    let (mut low, mut high) = (0, rendered.filled.len());
    if reads(&|_| false) {
        return None;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if reads(&|index| index >= middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    rendered.filled.get(low)
}

/// Reads manifests that are no templates: several YAML documents, empty ones skipped, a key given twice refused.
///
/// # Errors
/// [`Error::Manifest`] with line and column.
pub fn parse_manifests(name: &str, source: &str) -> Result<Vec<serde_json::Value>, Error> {
    parse(name, source, manifest::read)
}

/// Reads manifests that are no templates, as they are to be applied.
///
/// # Errors
/// [`Error::Manifest`] with line and column.
pub fn parse_objects(name: &str, source: &str) -> Result<Vec<Object>, Error> {
    parse(name, source, manifest::read_objects)
}

fn parse<T>(name: &str, source: &str, read: fn(&TrackedText) -> Result<T, Refusal>) -> Result<T, Error> {
    let rendered = TrackedText { text: source.to_owned(), filled: Vec::new() };
    read(&rendered).map_err(|refusal| {
        let (offset, message, hint) = match refusal {
            Refusal::Manifest { offset, message, hint } => (offset, message, hint),
            Refusal::Violation { violation, .. } => (0, violation.message().to_owned(), None),
        };
        let apart = masked_quotes(&message);
        let fault = Fault::new(name, LineColumn::at(source, offset), message).or_without_values(apart, hint.clone());
        Error::Manifest(match hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        })
    })
}

/// Reads one YAML or JSON value, of any type, that becomes part of a manifest: all of its plain scalars are still without a type.
///
/// # Errors
/// Why it is none.
pub(crate) fn parse_part(text: &str) -> Result<Object, String> {
    manifest::read_part(text)
}

#[cfg(test)]
mod tests;
