//! What is wrong with a rule, for its author.
//!
//! A problem never stops the other rules. Start at [`Problem`]. Nothing here decides what is a problem: that is said
//! where each thing is read.

use std::fmt;

use crate::template;

/// How much of the rule still works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The rule, or the part of it that is named, is out of force.
    Error,
    /// The rule is in force; something in it has no effect, or not the one it may seem to have.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// What a problem is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A text that is no manifest, or a manifest as a whole.
    #[default]
    Manifest,
    /// The value of a field.
    Field,
    /// A field that does not exist.
    UnknownField,
    /// A template, or the text of manifests that content holds.
    Template,
    /// Something that is named and is not there.
    Reference,
}

/// Which part of a rule is meant, for tools that show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// What the problem is about.
    pub topic: Topic,
    /// The field, such as `spec.policyRefs[0].name` or `data.namespace.yaml`; empty for the manifest as a whole.
    pub field: String,
    /// Line in the text of that field, from 1; 0 where the field is meant as a whole.
    pub line: usize,
    /// Column in that line, in characters, from 1; 0 where the line is meant as a whole.
    pub column: usize,
}

/// One defect of one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// `EventSource/name`, `EventTrigger/name`, `ConfigMap/namespace/name`, `Secret/namespace/name`; empty when a text
    /// could not even be read as a manifest.
    pub rule: String,
    /// `file:line`, `file:line:column`, or `kubernetes`.
    pub origin: String,
    /// What it costs.
    pub severity: Severity,
    /// What is wrong: lowercase, the value in backticks.
    pub message: String,
    /// What to do about it, where that can be said.
    pub hint: Option<String>,
    /// Which part of the rule is meant.
    pub place: Box<Place>,
}

impl Problem {
    /// A defect that puts the rule, or the named part of it, out of force.
    pub fn error(rule: impl Into<String>, origin: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            rule: rule.into(),
            origin: origin.into(),
            severity: Severity::Error,
            message: message.into(),
            hint: None,
            place: Box::default(),
        }
    }

    /// A defect that leaves the rule in force.
    pub fn warning(rule: impl Into<String>, origin: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..Problem::error(rule, origin, message) }
    }

    /// A defect of a template, reported at the rule that holds it, in `field`; `shown` is what the message calls it.
    pub(in crate::rules) fn of_template(
        rule: &str,
        origin: &str,
        (field, shown): (&str, &str),
        error: &template::Error,
    ) -> Problem {
        let fault = error.fault();
        let at = match (fault.line, fault.column) {
            (0, _) => String::new(),
            (line, 0) => format!(", line {line}"),
            (line, column) => format!(", line {line}, column {column}"),
        };
        let problem = Problem::error(rule, origin, format!("{shown}{at}: {}", fault.message));
        let place = Place { topic: Topic::Template, field: field.to_owned(), line: fault.line, column: fault.column };
        Problem { hint: fault.hint.clone(), place: Box::new(place), ..problem }
    }

    /// The same about a field.
    #[must_use]
    pub(in crate::rules) fn at(self, field: impl Into<String>) -> Problem {
        let topic = if self.place.topic == Topic::Manifest { Topic::Field } else { self.place.topic };
        let place = Place { topic, field: field.into(), ..*self.place };
        Problem { place: Box::new(place), ..self }
    }

    /// The same about something that is named in a field and is not there.
    #[must_use]
    pub(in crate::rules) fn of_reference(self, field: impl Into<String>) -> Problem {
        let place = Place { topic: Topic::Reference, field: field.into(), ..Place::default() };
        Problem { place: Box::new(place), ..self }
    }

    /// The same about a field that does not exist.
    #[must_use]
    pub(in crate::rules) fn of_unknown(self, field: impl Into<String>) -> Problem {
        let place = Place { topic: Topic::UnknownField, field: field.into(), ..Place::default() };
        Problem { place: Box::new(place), ..self }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }
}

/// Three lines at most, in the manner of a compiler: what, where, and what to do.
impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}\n  --> {}", self.severity, self.message, self.origin)?;
        if !self.rule.is_empty() {
            write!(out, "   {}", self.rule)?;
        }
        if let Some(hint) = &self.hint {
            write!(out, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}
