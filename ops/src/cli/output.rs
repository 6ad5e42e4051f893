//! What goes out: data to standard output, remarks to standard error, in the format that was asked for.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::client::Error;
use super::table::Table;

/// The formats of `-o`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, shortened to fit the terminal.
    #[default]
    Table,
    /// All columns, nothing shortened.
    Wide,
    /// JSON, as the HTTP API gives it.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Writes data. Whoever reads it may stop reading at any time.
pub fn data(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// Writes a remark about the data.
pub fn remark(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes `value` as JSON or YAML; false when a table was asked for.
pub fn structured<T: Serialize>(value: &T, format: Format) -> Result<bool, Error> {
    match format {
        Format::Table | Format::Wide => return Ok(false),
        Format::Json => {
            let text = serde_json::to_string_pretty(value).map_err(|error| Error::Encode(error.to_string()))?;
            data(&(text + "\n"))?;
        }
        Format::Yaml => {
            let text = serde_saphyr::to_string(value).map_err(|error| Error::Encode(error.to_string()))?;
            data(&text)?;
        }
    }
    Ok(true)
}

/// Writes a table: as wide as the terminal where there is one, else as wide as it is.
pub fn table(table: &Table, format: Format) -> Result<(), Error> {
    let narrow = format == Format::Table && std::io::stdout().is_terminal();
    let width = narrow.then(terminal_size::terminal_size).flatten().map(|(width, _)| usize::from(width.0));
    data(&table.render(width))
}
