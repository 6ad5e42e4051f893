//! Plain tables: columns two spaces apart, and remarks under the row they are about.
//!
//! Start at [`Table::fit`], which decides what there is room for, and [`Table::draw`], which draws it. What events say is
//! shown and never obeyed: control characters come out escaped, so that no subject can move the cursor of those who list
//! it.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::style::{Paint, Tone};

/// The least that a name is cut to while other columns can be left out instead, in terminal cells.
const NAME_COMFORT: usize = 16;

/// The same for text.
const TEXT_COMFORT: usize = 20;

/// The same for sentences.
const SENTENCE_COMFORT: usize = 28;

/// The least that any column is cut to.
const COLUMN_MIN: usize = 5;

/// Lines of a sentence that is wrapped, at most.
const LINES_MAX: usize = 8;

/// Lines of a remark, at most. What events say can be as long as they like.
const REMARK_LINES_MAX: usize = 5;

/// How the cells of a column give way when there is little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Give {
    /// Not at all: words, ages, times.
    Never,
    /// Not at all, and they are aligned to the right.
    Number,
    /// In the middle: both ends of a name matter.
    Middle,
    /// At the end.
    End,
    /// By going on in the next line. Only the last column may.
    Wrap,
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    head: &'static str,
    give: Give,
    /// The higher, the sooner it is left out; 0 never is.
    rank: u8,
    /// How wide it is made where rows are to follow that are not known yet.
    likely: usize,
    /// How narrow it is made, at most, while others can be left out instead.
    comfort: usize,
}

impl Column {
    const fn new(head: &'static str, give: Give) -> Column {
        let (likely, comfort) = match give {
            Give::Never | Give::Number => (4, usize::MAX),
            Give::Middle => (20, NAME_COMFORT),
            Give::End => (20, TEXT_COMFORT),
            Give::Wrap => (20, SENTENCE_COMFORT),
        };
        Column { head, give, rank: 0, likely, comfort }
    }

    /// Short words: never cut.
    pub const fn word(head: &'static str) -> Column {
        Column::new(head, Give::Never)
    }

    /// Numbers: never cut, at the right.
    pub const fn number(head: &'static str) -> Column {
        Column::new(head, Give::Number)
    }

    /// Names: cut in the middle.
    pub const fn name(head: &'static str) -> Column {
        Column::new(head, Give::Middle)
    }

    /// Text: cut at its end.
    pub const fn text(head: &'static str) -> Column {
        Column::new(head, Give::End)
    }

    /// Sentences: they go on below. For the last column.
    pub const fn sentence(head: &'static str) -> Column {
        Column::new(head, Give::Wrap)
    }

    /// Left out where there is no room, those of the highest rank first.
    pub const fn rank(self, rank: u8) -> Column {
        Column { rank, ..self }
    }

    /// How wide its cells may become in rows that follow.
    pub const fn likely(self, likely: usize) -> Column {
        Column { likely, ..self }
    }

    /// Never narrower than this while others can be left out instead.
    pub const fn comfort(self, comfort: usize) -> Column {
        Column { comfort, ..self }
    }

    fn can_give(self) -> bool {
        !matches!(self.give, Give::Never | Give::Number)
    }
}

/// A table to be written.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

/// A row, and what is to be said under it.
#[derive(Debug, Clone, Default)]
pub struct Row {
    cells: Vec<Cell>,
    /// Printed under it, indented.
    pub remark: Option<String>,
}

/// A cell: text that a terminal shows as it is, and what it means.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in a tone.
    pub fn toned(text: &str, tone: Tone) -> Cell {
        Cell { text: printable(text), tone }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::toned(&text, Tone::Plain)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::toned(text, Tone::Plain)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Cell {
        Cell { text: number.to_string(), tone: Tone::Plain }
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Cell {
        Cell { text: number.to_string(), tone: Tone::Plain }
    }
}

/// Which columns there is room for, and how wide each is.
#[derive(Debug, Clone)]
pub struct Fit {
    /// Index and width.
    shown: Vec<(usize, usize)>,
    /// What remarks are wrapped to.
    width: Option<usize>,
}

impl Table {
    /// An empty table.
    pub fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, cells: Vec<Cell>) -> &mut Row {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(Row { cells, remark: None });
        self.rows.last_mut().expect("a row was just pushed")
    }

    /// Sets what is said under the last row.
    pub fn remark(&mut self, remark: Option<String>) {
        if let Some(row) = self.rows.last_mut() {
            row.remark = remark;
        }
    }

    /// Decides what there is room for: all of it, or within `width` cells as much as fits. Names and sentences are made
    /// narrower first, then the least important columns are left out, then what is left is cut as far as it must be.
    #[must_use]
    pub fn fit(&self, width: Option<usize>) -> Fit {
        self.fit_from(self.natural(), width)
    }

    fn fit_from(&self, natural: Vec<usize>, width: Option<usize>) -> Fit {
        let mut shown: Vec<(usize, usize)> = natural.into_iter().enumerate().collect();
        let Some(room) = width else { return Fit { shown, width } };
        let comfort = |shown: &[(usize, usize)]| {
            let cells = shown.iter().map(|(column, natural)| self.columns[*column].comfort.min(*natural));
            cells.sum::<usize>() + gaps(shown.len())
        };
        while comfort(&shown) > room {
            let rank = |(_, (column, _)): &(usize, &(usize, usize))| self.columns[*column].rank;
            let least = shown.iter().enumerate().filter(|(_, (column, _))| self.columns[*column].rank > 0);
            let Some((place, _)) = least.max_by_key(rank) else { break };
            shown.remove(place);
        }
        self.narrow(&mut shown, room, |column| column.comfort);
        self.narrow(&mut shown, room, |_| COLUMN_MIN);
        Fit { shown, width }
    }

    /// The same for a table to which rows are added later: columns get room for what is likely to come, as far as there is
    /// any.
    #[must_use]
    pub fn fit_to_grow(&self, width: Option<usize>) -> Fit {
        let natural = self.natural().into_iter().zip(&self.columns).map(|(width, column)| width.max(column.likely));
        self.fit_from(natural.collect(), width)
    }

    /// Takes cells from the widest columns until there is room, or none is above its floor.
    fn narrow(&self, shown: &mut [(usize, usize)], room: usize, floor: impl Fn(Column) -> usize) {
        let floors: Vec<usize> = shown.iter().map(|(column, _)| floor(self.columns[*column])).collect();
        let mut over = (shown.iter().map(|(_, width)| width).sum::<usize>() + gaps(shown.len())).saturating_sub(room);
        while over > 0 {
            let may = shown
                .iter_mut()
                .zip(&floors)
                .filter(|((column, width), floor)| self.columns[*column].can_give() && width > floor);
            let Some(((_, width), _)) = may.max_by_key(|((_, width), _)| *width) else { return };
            *width -= 1;
            over -= 1;
        }
    }

    /// The heads of the columns there is no room for.
    #[must_use]
    pub fn left_out(&self, fit: &Fit) -> Vec<&'static str> {
        let shown = |column: &usize| fit.shown.iter().any(|(shown, _)| shown == column);
        let out = self.columns.iter().enumerate().filter(|(column, _)| !shown(column));
        out.map(|(_, column)| column.head).collect()
    }

    /// The heads and the rows.
    #[must_use]
    pub fn draw(&self, fit: &Fit, paint: Paint) -> String {
        let heads = self.columns.iter().map(|column| Cell::toned(column.head, Tone::Head)).collect();
        let mut out = String::new();
        self.draw_row(&mut out, &Row { cells: heads, remark: None }, fit, paint);
        out + &self.draw_rows(fit, paint)
    }

    /// The rows, under heads that were drawn before.
    #[must_use]
    pub fn draw_rows(&self, fit: &Fit, paint: Paint) -> String {
        let mut out = String::new();
        for row in &self.rows {
            self.draw_row(&mut out, row, fit, paint);
        }
        out
    }

    /// The whole table within `width` cells, without colours.
    #[cfg(test)]
    #[must_use]
    pub fn render(&self, width: Option<usize>) -> String {
        self.draw(&self.fit(width), Paint::Off)
    }

    fn draw_row(&self, out: &mut String, row: &Row, fit: &Fit, paint: Paint) {
        let columns: Vec<(Column, &Cell, usize)> = fit
            .shown
            .iter()
            .filter_map(|(column, width)| Some((self.columns[*column], row.cells.get(*column)?, *width)))
            .collect();
        let last = columns.len().saturating_sub(1);
        // Without a width nothing is cut, whatever came after the widths were found.
        let cut = fit.width.is_some();
        let mut below = Vec::new();
        let (mut line, mut indent) = (String::new(), 0);
        for (place, (column, cell, width)) in columns.iter().enumerate() {
            let text = match column.give {
                Give::Wrap if cut && place == last && cell.text.width() > *width => {
                    let mut lines = wrap(&cell.text, *width, LINES_MAX).into_iter();
                    let first = lines.next().unwrap_or_default();
                    below.extend(lines.map(|line| paint.tone(cell.tone, &line)));
                    first
                }
                Give::Middle if cut => cut_middle(&cell.text, *width),
                Give::End | Give::Wrap if cut => cut_end(&cell.text, *width),
                _ => cell.text.clone(),
            };
            let space = " ".repeat(width.saturating_sub(text.width()));
            let painted = paint.tone(cell.tone, &text);
            match column.give {
                Give::Number => line.extend([space.as_str(), painted.as_str()]),
                _ => line.extend([painted.as_str(), space.as_str()]),
            }
            if place < last {
                line.push_str("  ");
                indent += width + 2;
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
        for text in below {
            out.push_str(&format!("{:indent$}{text}\n", ""));
        }
        for remark in row.remark.iter().flat_map(|remark| remark.lines()) {
            let remark = printable(remark);
            let lines = match fit.width {
                Some(width) => wrap(&remark, width.saturating_sub(4).max(TEXT_COMFORT), REMARK_LINES_MAX),
                None => vec![remark],
            };
            for (number, text) in lines.iter().enumerate() {
                out.push_str(if number == 0 { "  " } else { "    " });
                out.push_str(text);
                out.push('\n');
            }
        }
    }

    /// The table in a frame, heads centred, as Sveltos prints its own.
    #[must_use]
    pub fn render_framed(&self) -> String {
        let widths = self.natural();
        let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect::<String>() + "+\n";
        let centred = |text: &str, width: usize| {
            let space = width - text.width();
            format!("{}{text}{}", " ".repeat(space / 2), " ".repeat(space - space / 2))
        };
        let filled = |text: &str, width: usize| format!("{text}{}", " ".repeat(width - text.width()));
        let framed = |cells: Vec<String>| cells.iter().map(|cell| format!("| {cell} ")).collect::<String>() + "|\n";
        let heads = self.columns.iter().zip(&widths).map(|(column, width)| centred(column.head, *width));
        let mut out = rule.clone();
        out.push_str(&framed(heads.collect()));
        out.push_str(&rule);
        for row in &self.rows {
            out.push_str(&framed(
                row.cells.iter().zip(&widths).map(|(cell, width)| filled(&cell.text, *width)).collect(),
            ));
        }
        if !self.rows.is_empty() {
            out.push_str(&rule);
        }
        out
    }

    /// How wide each column is when nothing is cut.
    fn natural(&self) -> Vec<usize> {
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.cells.get(column));
        let heads = self.columns.iter().enumerate();
        heads
            .map(|(column, head)| cells(column).map(|cell| cell.text.width()).max().unwrap_or(0).max(head.head.width()))
            .collect()
    }
}

fn gaps(columns: usize) -> usize {
    2 * columns.saturating_sub(1)
}

/// The longest beginning of `text` that is at most `width` cells wide.
fn head(text: &str, width: usize) -> &str {
    let mut cells = 0;
    let end = text.char_indices().find(|(_, char)| {
        cells += char.width().unwrap_or(0);
        cells > width
    });
    let mut head = &text[..end.map_or(text.len(), |(at, _)| at)];
    // A sequence may be wider than its parts.
    while head.width() > width {
        head = head.char_indices().next_back().map_or("", |(at, _)| &head[..at]);
    }
    head
}

/// The longest end of `text` that is at most `width` cells wide and does not begin with a mark on the letter before.
fn tail(text: &str, width: usize) -> &str {
    let mut cells = 0;
    let start = text.char_indices().rev().find(|(_, char)| {
        cells += char.width().unwrap_or(0);
        cells > width
    });
    let mut tail = &text[start.map_or(0, |(at, char)| at + char.len_utf8())..];
    while tail.width() > width || tail.chars().next().is_some_and(|char| char.width() == Some(0)) {
        let mut chars = tail.chars();
        chars.next();
        tail = chars.as_str();
    }
    tail
}

/// At most `width` cells, cut at the end with an ellipsis.
fn cut_end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    format!("{}…", head(text, width.saturating_sub(1)).trim_end())
}

/// At most `width` cells, cut in the middle with an ellipsis.
pub fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let start = head(text, room - room / 2);
    format!("{start}…{}", tail(text, room.saturating_sub(start.width())))
}

/// Lines of at most `width` cells, broken between words where there are any; the last of `lines_max` says with an ellipsis
/// that there was more.
pub fn wrap(text: &str, width: usize, lines_max: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text.trim_end();
    while rest.width() > width {
        if lines.len() + 1 == lines_max {
            lines.push(cut_end(rest, width));
            return lines;
        }
        let mut line = head(rest, width);
        if line.is_empty() {
            // Not even one letter fits; it is shown all the same.
            line = &rest[..rest.chars().next().map_or(0, char::len_utf8)];
        }
        // A word that fills most of a line is broken rather than left alone.
        if !rest[line.len()..].starts_with(' ')
            && let Some(space) = line.rfind(' ').filter(|space| line[..*space].width() > width / 3)
        {
            line = &line[..space];
        }
        lines.push(line.trim_end().to_owned());
        rest = rest[line.len()..].trim_start();
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest.to_owned());
    }
    lines
}

/// Text that a terminal shows as it is.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        // Beside controls: characters that turn the direction of what follows, or hide.
        let hidden =
            matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        match char {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            _ if char.is_control() || hidden => out.extend(char.escape_unicode()),
            _ => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_a_terminal_shows_and_numbers_by_their_last_digit() {
        let mut table = Table::new(&[Column::name("NAME"), Column::number("N"), Column::word("AGE")]);
        table.push(vec!["語".into(), 1u64.into(), "3s".into()]);
        table.push(vec!["plain".into(), 22u64.into(), "5m".into()]).remark = Some("why\nhint: what".into());
        assert_eq!(table.render(None), "NAME    N  AGE\n語      1  3s\nplain  22  5m\n  why\n  hint: what\n");
    }

    #[test]
    fn a_table_gives_way_as_far_as_it_must() {
        let columns = [
            Column::name("SOURCE").rank(2),
            Column::name("SUBJECT"),
            Column::word("CLUSTER").rank(3),
            Column::number("OBJECTS").rank(1),
            Column::word("PHASE"),
        ];
        let mut table = Table::new(&columns);
        table.push(vec![
            "https://auth.example.com/operations".into(),
            "mgianluc".into(),
            "mgmt/mgmt".into(),
            1u64.into(),
            "Ready".into(),
        ]);
        let check = |width: usize, out: &[&str], expected: &str| {
            let fit = table.fit(Some(width));
            let drawn = table.draw(&fit, Paint::Off);
            assert_eq!((drawn.as_str(), table.left_out(&fit).as_slice()), (expected, out), "{width}");
            assert!(drawn.lines().all(|line| line.width() <= width), "{width}");
        };
        let whole = "\
SOURCE                               SUBJECT   CLUSTER    OBJECTS  PHASE
https://auth.example.com/operations  mgianluc  mgmt/mgmt        1  Ready
";
        check(72, &[], whole);
        let narrow = "\
SOURCE              SUBJECT   CLUSTER    OBJECTS  PHASE
https://a…erations  mgianluc  mgmt/mgmt        1  Ready
";
        check(55, &[], narrow);
        let less = "\
SOURCE            SUBJECT   OBJECTS  PHASE
https://…rations  mgianluc        1  Ready
";
        check(42, &["CLUSTER"], less);
        check(30, &["SOURCE", "CLUSTER"], "SUBJECT   OBJECTS  PHASE\nmgianluc        1  Ready\n");
        check(20, &["SOURCE", "CLUSTER", "OBJECTS"], "SUBJECT   PHASE\nmgianluc  Ready\n");
        check(13, &["SOURCE", "CLUSTER", "OBJECTS"], "SUB…CT  PHASE\nmgi…uc  Ready\n");
    }

    #[test]
    fn a_sentence_goes_on_below_itself() {
        let mut table = Table::new(&[Column::number("OFFSET"), Column::sentence("WHAT HAPPENED")]);
        table.push(vec![5u64.into(), "attempt 3 failed: the namespace is terminating".into()]).remark =
            Some("hint: it goes by itself as soon as everything in it is gone".into());
        let expected = "\
OFFSET  WHAT HAPPENED
     5  attempt 3 failed: the
        namespace is terminating
  hint: it goes by itself as
    soon as everything in it is
    gone
";
        assert_eq!(table.render(Some(33)), expected);
    }

    #[test]
    fn text_is_cut_between_letters_as_wide_as_they_are() {
        let check = |text: &str, width: usize, end: &str, middle: &str| {
            assert_eq!((cut_end(text, width), cut_middle(text, width)), (end.to_owned(), middle.to_owned()), "{text}");
            assert!(end.width() <= width && middle.width() <= width, "{text}");
        };
        check("mgianluc", 8, "mgianluc", "mgianluc");
        check("mgianluc", 7, "mgianl…", "mgi…luc");
        check("語語語語", 7, "語語語…", "語…語語");
        check("🚀🚀🚀🚀", 5, "🚀🚀…", "🚀…🚀");
        check("🇮🇹🇮🇹🇮🇹", 5, "🇮🇹🇮🇹…", "🇮🇹…🇮🇹");
        check("e\u{301}e\u{301}e\u{301}e\u{301}", 3, "e\u{301}e\u{301}…", "e\u{301}…e\u{301}");
        check("a b c", 3, "a…", "a…c");
    }

    #[test]
    fn lines_are_broken_between_words_and_never_lost() {
        let check = |text: &str, width: usize, lines: &[&str]| assert_eq!(wrap(text, width, 3), lines, "{text}");
        check("one two three", 20, &["one two three"]);
        check("one two three", 7, &["one two", "three"]);
        check("one two three", 8, &["one two", "three"]);
        check("abcdefghijkl", 5, &["abcde", "fghij", "kl"]);
        check("a bcdefghijkl", 5, &["a bcd", "efghi", "jkl"]);
        check("one two three four five six", 7, &["one two", "three", "four f…"]);
        check("語語", 1, &["語", "語"]);
        check("", 5, &[""]);
    }

    #[test]
    fn what_an_event_says_cannot_drive_the_terminal() {
        let mut table = Table::new(&[Column::name("SUBJECT")]);
        table.push(vec!["a\u{1b}[2Jb\n\u{202e}".into()]).remark = Some("\u{1b}]0;title\u{7}".into());
        assert_eq!(table.render(None), "SUBJECT\na\\u{1b}[2Jb\\n\\u{202e}\n  \\u{1b}]0;title\\u{7}\n");
    }

    #[test]
    fn rows_that_come_later_stand_under_the_same_heads() {
        let columns = [Column::name("SUBJECT"), Column::word("PHASE")];
        let (mut first, mut later) = (Table::new(&columns), Table::new(&columns));
        first.push(vec!["mgianluc".into(), "Ready".into()]);
        later.push(vec!["someone-with-a-long-name".into(), Cell::toned("Failing", Tone::Bad)]);
        assert_eq!(later.draw_rows(&first.fit(None), Paint::Off), "someone-with-a-long-name  Failing\n");
        assert_eq!(later.draw_rows(&first.fit(Some(15)), Paint::On), "some…ame  \u{1b}[31mFailing\u{1b}[0m\n");
    }
}
