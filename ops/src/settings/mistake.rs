//! [`Mistake`]: one setting that cannot be meant, with its place and remedy.

use serde::Serialize;

/// One thing that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The setting; empty where the text is not TOML.
    pub key: String,
    /// Where it was said: a place in a file, or a variable. Absent for a flag.
    pub place: Option<String>,
    /// What is wrong, with the key and the value.
    pub complaint: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Mistake {
    /// One without a place or a remedy.
    pub(super) fn new(key: &str, complaint: String) -> Mistake {
        Mistake { key: key.to_owned(), place: None, complaint, hint: None }
    }

    /// The same with a remedy.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Mistake {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            write!(out, "{place}: ")?;
        }
        out.write_str(&self.complaint)?;
        match &self.hint {
            Some(hint) => write!(out, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
