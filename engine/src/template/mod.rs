//! Templates: from an event's values to a text, or to the Kubernetes objects it describes.
//!
//! Start at [`Template`]. Two dialects, Go's (what Sveltos' manifests are written in) and Tera, give a rendered text that
//! knows which of its bytes came from data (`ink`); one YAML pass builds the objects (`manifest`) and refuses whatever data
//! would have changed beyond a value (`confine`). All of it is pure: no clock (`now` is the time the event was recorded),
//! no randomness, no network, no lookups. The same template and data give the same bytes on every machine, for ever.
//!
//! ```text
//! source --single_quotes--> gotmpl's tree --tree: check, mark--> Go  --+
//! source -----------------------------------------------------> Tera --+--> ink --> manifest + confine --> objects
//! ```

mod blocks;
mod confine;
mod error;
mod functions;
mod go;
mod ink;
mod manifest;
mod scalar;
mod single_quotes;
mod tera;
mod tree;

use std::sync::Arc;

pub use error::{Error, Fault};

use error::{Place, shortened};
use ink::{Inked, Manner, Rendered};
use manifest::Refusal;

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
    engine: Engine,
}

enum Engine {
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
        let engine = match dialect {
            Dialect::Go => Engine::Go(go::Program::compile(name, source)?),
            Dialect::Tera => Engine::Tera(tera::Program::compile(name, source)?),
        };
        Ok(Template { inner: Arc::new(Compiled { name: name.to_owned(), source: source.to_owned(), engine }) })
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
    pub fn render_manifests(&self, data: &Data<'_>) -> Result<Vec<serde_json::Value>, Error> {
        let rendered = self.render(data)?;
        manifest::read(&rendered).map_err(|refusal| self.explain(&rendered, refusal))
    }

    /// Whether the template refers to `.CloudEvents`, the list of the latest Create events.
    pub fn uses_event_list(&self) -> bool {
        match &self.inner.engine {
            Engine::Go(program) => program.uses_event_list(),
            Engine::Tera(program) => program.uses_event_list(),
        }
    }

    fn render(&self, data: &Data<'_>) -> Result<Rendered, Error> {
        let Compiled { name, source, engine } = &*self.inner;
        match engine {
            Engine::Go(program) => program.render(name, source, data),
            Engine::Tera(program) => program.render(name, data),
        }
    }

    /// Says which action of the template is to blame for a refused text.
    fn explain(&self, rendered: &Rendered, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Violation { inked, violation } => self.confined(rendered, &rendered.inked[inked], violation),
            Refusal::Manifest { offset, message, hint } => {
                if let Some(ink) = culprit(rendered) {
                    return self.confined(rendered, ink, confine::Violation::Structure);
                }
                let rendered_place = Place::at(&rendered.text, offset);
                // What no action wrote is in the template as it is in the text.
                let place = if rendered.text == self.inner.source { rendered_place } else { Place::default() };
                let line = rendered.text.lines().nth(rendered_place.line - 1).unwrap_or("").trim();
                let line = shortened(line);
                let message = format!("line {} of the rendered manifest, `{line}`: {message}", rendered_place.line);
                let fault = Fault::new(&self.inner.name, place, message);
                Error::Manifest(match hint {
                    Some(hint) => fault.hint(hint),
                    None => fault,
                })
            }
        }
    }

    fn confined(&self, rendered: &Rendered, ink: &Inked, violation: confine::Violation) -> Error {
        let Compiled { name, source, engine } = &*self.inner;
        let value = shortened(&rendered.text[ink.range.clone()]);
        let (place, action) = match engine {
            Engine::Go(program) => program.action(source, ink.action),
            Engine::Tera(_) => (Place::default(), String::new()),
        };
        let message = match (action.is_empty(), value.is_empty()) {
            (true, true) => format!("a value {}", violation.message()),
            (true, false) => format!("value `{value}` {}", violation.message()),
            (false, true) => format!("what `{{{{ {action} }}}}` gives {}", violation.message()),
            (false, false) => format!("value `{value}` of `{{{{ {action} }}}}` {}", violation.message()),
        };
        let shown = if action.is_empty() { "...".to_owned() } else { action };
        Error::Confined(Fault::new(name, place, message).hint(violation.hint(&shown)))
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

/// The first value without which the text would be YAML: the text is read again with harmless values. Only after a failure.
fn culprit(rendered: &Rendered) -> Option<&Inked> {
    let reads = |harmless: &dyn Fn(usize) -> bool| {
        let mut text = String::new();
        let mut copied = 0;
        for (index, ink) in rendered.inked.iter().enumerate() {
            if ink.manner != Manner::Structure && harmless(index) {
                text.push_str(&rendered.text[copied..ink.range.start]);
                text.push('x');
                copied = ink.range.end;
            }
        }
        text.push_str(&rendered.text[copied..]);
        manifest::read(&Rendered { text, inked: Vec::new() }).is_ok()
    };
    if !reads(&|_| true) {
        return None;
    }
    // With the first `low` values as they are it reads, with the first `high` it does not: halve until they meet.
    let (mut low, mut high) = (0, rendered.inked.len());
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
    rendered.inked.get(low)
}

/// Reads manifests that are no templates: several YAML documents, empty ones skipped, a key given twice refused.
///
/// # Errors
/// [`Error::Manifest`] with line and column.
pub fn parse_manifests(name: &str, source: &str) -> Result<Vec<serde_json::Value>, Error> {
    let rendered = Rendered { text: source.to_owned(), inked: Vec::new() };
    manifest::read(&rendered).map_err(|refusal| {
        let (offset, message, hint) = match refusal {
            Refusal::Manifest { offset, message, hint } => (offset, message, hint),
            Refusal::Violation { violation, .. } => (0, violation.message().to_owned(), None),
        };
        let fault = Fault::new(name, Place::at(source, offset), message);
        Error::Manifest(match hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        })
    })
}

#[cfg(test)]
mod tests;
