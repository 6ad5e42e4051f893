//! The Tera dialect.
//!
//! Start at [`Program`]. Tera's escaping hook sees every string that an expression prints; here it does not escape but puts
//! noncharacters around it, which [`unmark`] takes out again while it notes the ranges. Data that holds one of them is refused
//! before rendering, so none can be forged. `safe` is not there: what comes from data stays data. Functions that would answer
//! differently at a replay do not exist here.

use std::io::{self, Write};
use std::sync::LazyLock;

use ::tera::{Context, ErrorKind, Kwargs, State, Tera, TeraResult, Value};

use super::Data;
use super::error::{Error, Fault, LineColumn, nearest};
use super::functions;
use super::tracking::{Filled, Layout, Manner, RENDERED_BYTES_MAX, STEPS_MAX, TrackedText};
use crate::confidential::masked_quotes;

/// The name the template has inside the engine.
const TEMPLATE: &str = "template";
/// The most elements of `range(...)`.
const RANGE_MAX: i64 = 10_000;

const VALUE: char = '\u{FDD0}';
const STRUCTURE: char = '\u{FDD1}';
const QUOTED: char = '\u{FDD2}';
const END: char = '\u{FDD3}';

fn is_mark(c: char) -> bool {
    matches!(c, VALUE..=END)
}

/// A compiled Tera template.
pub(super) struct Program {
    tera: Tera,
    uses_event: bool,
    uses_event_list: bool,
}

/// The engine with our functions and no templates.
static BARE: LazyLock<Tera> = LazyLock::new(|| {
    let mut tera = Tera::new();
    tera.autoescape_on([""]);
    tera.set_escape_fn(mark);
    tera.register_filter("safe", |_: &Value, _: Kwargs, _: &State| -> TeraResult<Value> {
        Err(::tera::Error::message("filter `safe` is refused: what comes from data stays data"))
    });
    tera.register_filter("to_json", |value: Value, _: Kwargs, _: &State| {
        serde_json::to_string(&value).map(|text| marked(STRUCTURE, &text)).map_err(::tera::Error::message)
    });
    tera.register_filter("to_yaml", |value: Value, _: Kwargs, _: &State| {
        let json = serde_json::to_value(&value).map_err(::tera::Error::message)?;
        functions::to_yaml(&json).map(|text| marked(STRUCTURE, &text)).map_err(::tera::Error::message)
    });
    tera.register_filter("quote", |value: Value, _: Kwargs, _: &State| {
        marked(QUOTED, &functions::quoted(&value.to_string()))
    });
    tera.register_filter("b64encode", |value: &str, _: Kwargs, _: &State| functions::base64_encode(value));
    tera.register_filter("sha256", |value: &str, _: Kwargs, _: &State| functions::sha256_hex(value));
    tera.register_function("now", |_: Kwargs, _: &State| functions::now_rfc3339());
    tera.register_function("range", range);
    tera
});

impl Program {
    pub fn compile(name: &str, source: &str) -> Result<Program, Error> {
        if let Some(at) = source.find(is_mark) {
            return Err(Error::Compile(Fault::new(
                name,
                LineColumn::at(source, at),
                "the source holds a noncharacter of Unicode",
            )));
        }
        if let Some(at) = filter_use(source, "safe") {
            let fault = Fault::new(
                name,
                LineColumn::at(source, at),
                "filter `safe` is refused: what comes from data stays data",
            );
            return Err(Error::Refused(
                fault.hint("for a structure: `| to_yaml` or `| to_json`; for a string: `| quote`"),
            ));
        }
        let mut tera = BARE.clone();
        tera.add_raw_template(TEMPLATE, source).map_err(|error| {
            let fault = fault(name, &error);
            let apart = masked_quotes(&fault.message);
            Error::Compile(fault.or_without_values(apart, None))
        })?;
        let variables = tera.get_template_variables(TEMPLATE);
        let uses_event = variables.as_ref().map_or(true, |variables| variables.contains("CloudEvent"));
        let uses_event_list = variables.is_ok_and(|variables| variables.contains("CloudEvents"));
        Ok(Program { tera, uses_event, uses_event_list })
    }

    pub fn uses_event(&self) -> bool {
        self.uses_event
    }

    pub fn uses_event_list(&self) -> bool {
        self.uses_event_list
    }

    pub fn render(&self, name: &str, data: &Data<'_>) -> Result<TrackedText, Error> {
        if holds(data.values, &|text| text.contains(is_mark)) {
            let message = "the data holds a noncharacter of Unicode (U+FDD0 to U+FDD3)";
            return Err(Error::Render(Fault::new(name, LineColumn::default(), message)));
        }
        let mut context = Context::new();
        for (key, value) in data.values.as_object().into_iter().flatten() {
            context.insert(key.clone(), value);
        }
        let mut page = Page { bytes: Vec::new(), writes_left: STEPS_MAX };
        let outcome =
            functions::rendering(data.recorded_at_unix_nanos, || self.tera.render_to(TEMPLATE, &context, &mut page));
        match outcome {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::Io(io::ErrorKind::FileTooLarge)) => {
                let message = format!("more than {RENDERED_BYTES_MAX} bytes or {STEPS_MAX} pieces were rendered");
                return Err(Error::Limit(Fault::new(name, LineColumn::default(), message)));
            }
            Err(error) => {
                let fault = fault(name, &error).or_without_values("an expression cannot be rendered", None);
                return Err(Error::Render(fault));
            }
        }
        String::from_utf8(page.bytes).ok().and_then(|text| unmark(&text)).ok_or_else(|| {
            Error::Render(Fault::new(
                name,
                LineColumn::default(),
                "a filter cut a structure that data filled into pieces",
            ))
        })
    }
}

/// The escaping hook: what an expression printed, between marks.
fn mark(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut buffer = [0; 4];
    out.write_all(VALUE.encode_utf8(&mut buffer).as_bytes())?;
    out.write_all(text.as_bytes())?;
    out.write_all(END.encode_utf8(&mut buffer).as_bytes())
}

fn marked(how: char, text: &str) -> Value {
    Value::safe_string(&format!("{how}{text}{END}"))
}

/// Whether a key or a string of the data is as `wanted`.
fn holds(value: &serde_json::Value, wanted: &dyn Fn(&str) -> bool) -> bool {
    match value {
        serde_json::Value::String(text) => wanted(text),
        serde_json::Value::Array(items) => items.iter().any(|item| holds(item, wanted)),
        serde_json::Value::Object(map) => map.iter().any(|(key, value)| wanted(key) || holds(value, wanted)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => false,
    }
}

/// Takes the marks out and notes what was between them. Marks may nest (a captured block that is printed again): then the
/// outermost counts, as a value. `None` if they do not pair.
fn unmark(text: &str) -> Option<TrackedText> {
    let mut rendered = TrackedText { text: String::with_capacity(text.len()), filled: Vec::new() };
    let mut depth = 0usize;
    let mut outermost = (0, Manner::Value);
    let mut rest = text;
    while let Some(at) = rest.find(is_mark) {
        rendered.text.push_str(&rest[..at]);
        let mark = rest[at..].chars().next()?;
        rest = &rest[at + mark.len_utf8()..];
        let manner = match mark {
            END => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    let action = u32::try_from(rendered.filled.len()).ok()?;
                    let (range, manner) = (outermost.0..rendered.text.len(), outermost.1);
                    // The hook sees strings alone: numbers and booleans are printed without it.
                    let is_text = manner != Manner::Structure;
                    let layout = Layout::Unknown;
                    rendered.filled.push(Filled { range, manner, layout, is_text, action });
                }
                continue;
            }
            STRUCTURE => Manner::Structure,
            QUOTED => Manner::Quoted,
            _ => Manner::Value,
        };
        outermost = if depth == 0 { (rendered.text.len(), manner) } else { (outermost.0, Manner::Value) };
        depth += 1;
    }
    rendered.text.push_str(rest);
    (depth == 0).then_some(rendered)
}

/// Where Tera writes, with bounds.
struct Page {
    bytes: Vec<u8>,
    writes_left: u32,
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.writes_left == 0 || self.bytes.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.writes_left -= 1;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tera's own `range`, with a bound that nested loops can bear.
fn range(arguments: Kwargs, _: &State) -> TeraResult<Vec<i64>> {
    let start = arguments.get::<i64>("start")?.unwrap_or(0);
    let end = arguments.must_get::<i64>("end")?;
    let step = arguments.get::<i64>("step_by")?.unwrap_or(1);
    let step = usize::try_from(step).ok().filter(|step| *step > 0);
    let Some(step) = step else {
        return Err(::tera::Error::message("`step_by` must be above 0"));
    };
    if end.saturating_sub(start) > RANGE_MAX {
        return Err(::tera::Error::message(format!("`range` gives at most {RANGE_MAX} numbers")));
    }
    Ok((start..end).step_by(step).collect())
}

fn fault(name: &str, error: &::tera::Error) -> Box<Fault> {
    let (place, message) = match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => {
            let span = report.span();
            (LineColumn { line: span.start_line, column: span.start_col + 1 }, report.message().to_owned())
        }
        kind => {
            let text = kind.to_string();
            reported(&text).unwrap_or((LineColumn::default(), text))
        }
    };
    let (sentence, available) = match message.split_once(" Available ") {
        Some((sentence, available)) => (sentence, available.split_once(": ").map(|(_, names)| names)),
        None => (message.as_str(), None),
    };
    let mut lowered = sentence.trim_end_matches('.').to_owned();
    if let Some(first) = lowered.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    let missing = sentence.split('`').nth(1).unwrap_or("");
    let fault = Fault::new(name, place, lowered);
    match available.and_then(|names| nearest(missing, names.split(", "))) {
        Some(meant) => fault.hint(format!("did you mean `{meant}`?")),
        None => fault,
    }
}

/// The first place and message of a text of reports. That is how Tera tells of filters, tests and functions that it does not
/// have.
fn reported(text: &str) -> Option<(LineColumn, String)> {
    let mut lines = text.strip_prefix("error: ")?.lines();
    let message = lines.next()?.to_owned();
    let mut numbers = lines.next()?.trim().strip_prefix("--> ")?.rsplit(':');
    let column = numbers.next()?.parse().ok()?;
    let line = numbers.next()?.parse().ok()?;
    Some((LineColumn { line, column }, message))
}

/// Where a filter of this name is used.
fn filter_use(source: &str, filter: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = source[from..].find('|') {
        let after = from + found + 1;
        let rest = source[after..].trim_start();
        let at = source.len() - rest.len();
        let inside = source[..after].rfind("{{").max(source[..after].rfind("{%"))
            > source[..after].rfind("}}").max(source[..after].rfind("%}"));
        let ends =
            rest.strip_prefix(filter).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
        if inside && ends {
            return Some(at);
        }
        from = after;
    }
    None
}
