//! What goes out: data to standard output, remarks to standard error, in the format that was asked for.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::client::Error;
use crate::terminal::style::{Paint, Tone};
use crate::terminal::table::Table;

/// The formats of `-o`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, as many and as wide as the terminal has room for.
    #[default]
    Table,
    /// All columns, nothing shortened.
    Wide,
    /// JSON, as the HTTP API gives it.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Format {
    /// Whether programs rather than people read it.
    pub fn is_structured(self) -> bool {
        matches!(self, Format::Json | Format::Yaml)
    }
}

/// Writes data. The reader may stop reading at any time.
pub fn data(text: &str) -> Result<(), Error> {
    flow(text).map(|_| ())
}

/// Writes data of which there will be more; false when nobody reads any more.
pub fn flow(text: &str) -> Result<bool, Error> {
    let mut out = std::io::stdout().lock();
    taken(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Whether the reader took what was written; false when nobody reads any more.
pub fn taken(written: std::io::Result<()>) -> Result<bool, Error> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::Output(error)),
    }
}

/// Writes a remark about the data.
pub fn remark(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", Paint::stderr().tone(Tone::Faint, text));
}

/// Writes `value` as JSON or YAML; false when a table was asked for.
pub fn structured<T: Serialize>(value: &T, format: Format) -> Result<bool, Error> {
    match encoded(value, format)? {
        Some(text) => data(&text).map(|()| true),
        None => Ok(false),
    }
}

/// `value` as JSON or YAML; `None` when a table was asked for.
pub fn encoded<T: Serialize>(value: &T, format: Format) -> Result<Option<String>, Error> {
    match format {
        Format::Table | Format::Wide => Ok(None),
        Format::Json => {
            let text = serde_json::to_string_pretty(value).map_err(|error| Error::Encode(error.to_string()))?;
            Ok(Some(text + "\n"))
        }
        Format::Yaml => yaml(value).map(Some),
    }
}

/// One of many values: JSON in a line of its own, or a YAML document of its own.
pub fn one_of_many<T: Serialize>(value: &T, format: Format) -> Result<String, Error> {
    match format {
        Format::Yaml => Ok(format!("---\n{}", yaml(value)?)),
        Format::Json | Format::Table | Format::Wide => {
            Ok(serde_json::to_string(value).map_err(|error| Error::Encode(error.to_string()))? + "\n")
        }
    }
}

fn yaml<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_saphyr::to_string(value).map_err(|error| Error::Encode(error.to_string()))
}

/// How many cells there are to write in: those of the terminal, or `None` where nothing is to be cut.
pub fn width(format: Format) -> Option<usize> {
    if format != Format::Table || !std::io::stdout().is_terminal() {
        return None;
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.filter(|columns| *columns > 0).or_else(|| Some(usize::from(terminal_size::terminal_size()?.0.0)))
}

/// Writes a table: as wide as the terminal where there is one, else as wide as it is. Says which columns were left out.
pub fn table(table: &Table, format: Format) -> Result<(), Error> {
    let fit = table.fit(width(format));
    data(&table.draw(&fit, Paint::stdout()))?;
    left_out(&table.left_out(&fit));
    Ok(())
}

/// Says which columns there was no room for.
pub fn left_out(heads: &[&str]) {
    if !heads.is_empty() {
        remark(&format!("no room for {}: -o wide shows all", heads.join(", ")));
    }
}
