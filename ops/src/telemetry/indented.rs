//! Text lines of the log: what follows the first line of a message is indented, so that it is seen where the next message begins,
//! and no value that has a newline in it looks like a message.
//!
//! Start at [`Indenting`].

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Makes writers that indent.
#[derive(Debug)]
pub struct Indenting<M>(pub M);

/// A writer that gets one message with each call, and indents its further lines.
#[derive(Debug)]
pub struct Indented<W>(W);

impl<'writer, M: MakeWriter<'writer>> MakeWriter<'writer> for Indenting<M> {
    type Writer = Indented<M::Writer>;

    fn make_writer(&'writer self) -> Indented<M::Writer> {
        Indented(self.0.make_writer())
    }
}

impl<W: Write> Write for Indented<W> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let text = message.strip_suffix(b"\n").unwrap_or(message);
        let mut indented = text.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b"\n  "[..]);
        indented.extend(&message[text.len()..]);
        self.0.write_all(&indented)?;
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_first_line_is_indented() {
        let check = |message: &str, expected: &str| {
            let mut written = Vec::new();
            Indented(&mut written).write_all(message.as_bytes()).expect("memory takes all");
            assert_eq!(String::from_utf8_lossy(&written), expected);
        };
        check("one\n", "one\n");
        check("one\nhint: two\nthree\n", "one\n  hint: two\n  three\n");
        check("no end", "no end");
        check("\n", "\n");
    }
}
