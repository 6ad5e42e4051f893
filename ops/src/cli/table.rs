//! Plain tables: columns two spaces apart, and remarks under the row they are about.
//!
//! Start at [`Table::render`]. What events say is shown and never obeyed: control characters come out escaped, so that no
//! subject can move the cursor of whoever lists it.

use unicode_width::UnicodeWidthStr;

/// The least a column is shortened to, in terminal cells.
const COLUMN_MIN: usize = 8;

/// A table to be written.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The heads of the columns.
    pub heads: Vec<&'static str>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A row, and what is to be said under it.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// One for each column.
    pub cells: Vec<String>,
    /// Printed under it, indented.
    pub remark: Option<String>,
}

impl Table {
    /// An empty table.
    pub fn new(heads: &[&'static str]) -> Table {
        Table { heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, cells: Vec<String>) -> &mut Row {
        self.rows.push(Row { cells: cells.iter().map(|cell| printable(cell)).collect(), remark: None });
        self.rows.last_mut().expect("a row was just pushed")
    }

    /// The table as text, its widest columns shortened until it fits `width` cells.
    #[must_use]
    pub fn render(&self, width: Option<usize>) -> String {
        let mut widths = self.widths();
        if let Some(width) = width {
            let gaps = 2 * widths.len().saturating_sub(1);
            shrink(&mut widths, width.saturating_sub(gaps));
        }
        let mut out = String::new();
        line(&mut out, &mut self.heads.iter().copied(), &widths);
        for row in &self.rows {
            line(&mut out, &mut row.cells.iter().map(String::as_str), &widths);
            for remark in row.remark.iter().flat_map(|remark| remark.lines()) {
                out.push_str("  ");
                out.push_str(&printable(remark));
                out.push('\n');
            }
        }
        out
    }

    /// The table in a frame, heads centred, as Sveltos prints its own.
    #[must_use]
    pub fn render_framed(&self) -> String {
        let widths = self.widths();
        let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect::<String>() + "+\n";
        let centred = |text: &str, width: usize| {
            let space = width - text.width();
            format!("{}{text}{}", " ".repeat(space / 2), " ".repeat(space - space / 2))
        };
        let framed = |cells: Vec<String>| cells.iter().map(|cell| format!("| {cell} ")).collect::<String>() + "|\n";
        let mut out = rule.clone();
        out.push_str(&framed(self.heads.iter().zip(&widths).map(|(head, width)| centred(head, *width)).collect()));
        out.push_str(&rule);
        for row in &self.rows {
            out.push_str(&framed(row.cells.iter().zip(&widths).map(|(cell, width)| fit(cell, *width)).collect()));
        }
        if !self.rows.is_empty() {
            out.push_str(&rule);
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.cells.get(column));
        let heads = self.heads.iter().enumerate();
        heads
            .map(|(column, head)| cells(column).map(|cell| cell.width()).max().unwrap_or(0).max(head.width()))
            .collect()
    }
}

/// Takes cells from the widest columns until `room` is enough, or none can give more.
fn shrink(widths: &mut [usize], room: usize) {
    let mut over = widths.iter().sum::<usize>().saturating_sub(room);
    while over > 0 {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > COLUMN_MIN) else { return };
        *widest -= 1;
        over -= 1;
    }
}

fn line(out: &mut String, cells: &mut dyn Iterator<Item = &str>, widths: &[usize]) {
    let cells: Vec<String> = cells.zip(widths).map(|(cell, width)| fit(cell, *width)).collect();
    out.push_str(cells.join("  ").trim_end());
    out.push('\n');
}

/// Exactly `width` cells: filled up with spaces, or cut with an ellipsis.
fn fit(cell: &str, width: usize) -> String {
    let mut text = cell.to_owned();
    if text.width() > width {
        while text.width() + 1 > width && text.pop().is_some() {}
        text.push('…');
    }
    let space = width.saturating_sub(text.width());
    text + &" ".repeat(space)
}

/// Text that a terminal shows as it is.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        // Beside controls: characters that turn the direction of what follows, or hide.
        let hidden =
            matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if char.is_control() || hidden { out.extend(char.escape_unicode()) } else { out.push(char) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_a_terminal_shows() {
        let mut table = Table::new(&["NAME", "N"]);
        table.push(vec!["語".into(), "1".into()]);
        table.push(vec!["plain".into(), "22".into()]).remark = Some("why\nhint: what".into());
        assert_eq!(table.render(None), "NAME   N\n語     1\nplain  22\n  why\n  hint: what\n");
    }

    #[test]
    fn the_widest_column_is_shortened_to_fit() {
        let mut table = Table::new(&["SOURCE", "SUBJECT"]);
        table.push(vec!["https://auth.example.com/operations".into(), "mgianluc".into()]);
        assert_eq!(table.render(Some(26)), "SOURCE            SUBJECT\nhttps://auth.ex…  mgianluc\n");
    }

    #[test]
    fn what_an_event_says_cannot_drive_the_terminal() {
        let mut table = Table::new(&["SUBJECT"]);
        table.push(vec!["a\u{1b}[2Jb\n\u{202e}".into()]);
        assert_eq!(table.render(None), "SUBJECT\na\\u{1b}[2Jb\\u{a}\\u{202e}\n");
    }
}
