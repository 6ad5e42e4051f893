//! Events are data: a value may fill a place of a manifest, and never change which places there are.
//!
//! Start at [`check`]. The template's author decides the structure; every range of the rendered text that data filled is
//! held against the nodes the YAML parser found there:
//!
//! - a value lies inside one scalar, and does not begin, end, fold or escape it;
//! - a value with quotes of its own (`quote`) is exactly one quoted scalar;
//! - a structure written on purpose (`toYaml`) is a node, or further entries of the collection it is in: it never ends a
//!   collection that was open before it, never begins a document, never names an anchor.
//!
//! Nothing is repaired here: what would not mean what it says is refused, with the remedy.

use std::ops::Range;

use granit_parser::ScalarStyle;

use super::tracking::{Filled, Layout, Manner, TrackedText};

/// A node, or the end of one, as the parser saw it.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub start: usize,
    pub end: usize,
    /// How many collections are open around it.
    pub depth: usize,
    pub kind: PieceKind,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceKind {
    Document,
    Open {
        value_slot: bool,
        decorated: bool,
    },
    Close,
    Alias,
    /// `absent`: nothing is written where the scalar is, so it is null.
    Scalar {
        style: ScalarStyle,
        is_key: bool,
        value_slot: bool,
        absent: bool,
        decorated: bool,
    },
}

/// What a value would have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// It would have become part of the structure.
    Structure,
    /// It would have ended or escaped the quotes around it.
    Quotes,
    /// Its line break would have been folded into a space.
    Folded,
    /// There is nothing, where the template needs something.
    Empty,
    /// A structure would have gone on outside the node it was put in.
    Outdented,
    /// A structure would have added objects to a list, or kinds to its objects.
    Objects,
    /// A number that the template composed would have been written in another way.
    Respelled,
    /// More scalars of an object than can be given a type one by one.
    TooMany,
}

impl Violation {
    pub fn message(self) -> &'static str {
        match self {
            Violation::Structure => "would change the structure of the manifest",
            Violation::Quotes => "holds a character that ends or escapes the quotes around it",
            Violation::Folded => "holds a line break, or blanks at one, which this scalar would lose",
            Violation::Empty => "is empty where the manifest needs something",
            Violation::Outdented => "goes on outside the node it was put in",
            Violation::Objects => "would decide which objects the list holds",
            Violation::Respelled => "is part of a number that would lose its spelling",
            Violation::TooMany => "is one of too many values without quotes",
        }
    }

    /// What to do about it; `quoting` says how to quote the value.
    pub fn hint(self, quoting: &str) -> String {
        match self {
            Violation::Objects => "write the objects in the template, and `range` over the data".to_owned(),
            Violation::Respelled => "write quotes around the whole value, as in `\"1.{{ .minor }}\"`".to_owned(),
            Violation::Outdented => "indent it below its key: `| nindent N` with N deeper than the key".to_owned(),
            Violation::Structure | Violation::Quotes | Violation::Folded | Violation::Empty | Violation::TooMany => {
                quoting.to_owned()
            }
        }
    }
}

/// Holds every filled range against the pieces of the text; `lists` are the documents whose objects are items of a list.
///
/// # Errors
/// The index of the first range that left its place, and how.
pub(super) fn check(
    rendered: &TrackedText,
    pieces: &[Piece],
    comments: &[Range<usize>],
    lists: &[Range<usize>],
) -> Result<(), (usize, Violation)> {
    let scalars = Scalars::new(pieces);
    // Comments may come out of order where the parser had to look ahead.
    let mut comments = comments.to_vec();
    comments.sort_by_key(|comment| comment.start);
    let in_order = pieces.is_sorted_by_key(|piece| piece.start);
    for (index, filled) in rendered.filled.iter().enumerate() {
        let verdict = match filled.manner {
            _ if in_comment(rendered, filled, &comments) => Ok(()),
            Manner::Value => value(rendered, filled, &scalars),
            Manner::Quoted => quoted(rendered, filled, &scalars),
            Manner::Structure => {
                // Of what starts before the range, only the last piece can reach into it.
                let first = if in_order { pieces.partition_point(|piece| piece.start < filled.range.start) } else { 0 };
                let is_in_list = lists.iter().any(|list| list.contains(&filled.range.start));
                structure(rendered, filled, &pieces[first.saturating_sub(1)..], in_order, &scalars, is_in_list)
            }
        };
        verdict.map_err(|violation| (index, violation))?;
    }
    Ok(())
}

/// The scalars that are written, in order of where they start.
struct Scalars<'p> {
    sorted: Vec<&'p Piece>,
}

impl<'p> Scalars<'p> {
    fn new(pieces: &'p [Piece]) -> Scalars<'p> {
        let mut sorted: Vec<&Piece> =
            pieces.iter().filter(|piece| matches!(piece.kind, PieceKind::Scalar { absent: false, .. })).collect();
        sorted.sort_by_key(|piece| piece.start);
        Scalars { sorted }
    }

    /// The scalar that could hold a range: the last one that starts at or before it, or the block scalar it leads into.
    fn around(&self, text: &str, range: &Range<usize>) -> Option<(&'p Piece, ScalarStyle)> {
        let after = self.sorted.partition_point(|piece| piece.start <= range.start);
        let style = |piece: &'p Piece| match piece.kind {
            PieceKind::Scalar { style, .. } => Some((piece, style)),
            _ => None,
        };
        // A block scalar's span begins after its indentation, which the action may have written itself.
        if let Some((next, style @ (ScalarStyle::Literal | ScalarStyle::Folded))) =
            self.sorted.get(after).and_then(|next| style(next))
            && block_begins(text, next.start) <= range.start
            && range.end <= next.end
        {
            return Some((next, style));
        }
        let (piece, style) = style(self.sorted.get(after.checked_sub(1)?)?)?;
        (range.end <= piece.end).then_some((piece, style))
    }
}

/// The offset of the line break that ends the header of a block scalar.
fn block_begins(text: &str, content: usize) -> usize {
    let header = text[..content].trim_end_matches([' ', '\t', '\n', '\r']);
    header.len()
}

fn in_comment(rendered: &TrackedText, filled: &Filled, comments: &[Range<usize>]) -> bool {
    let before = comments.partition_point(|comment| comment.start < filled.range.start);
    before.checked_sub(1).is_some_and(|last| filled.range.end <= comments[last].end)
        && !rendered.text[filled.range.clone()].contains(['\n', '\r'])
}

fn value(rendered: &TrackedText, filled: &Filled, scalars: &Scalars<'_>) -> Result<(), Violation> {
    let text = &rendered.text[filled.range.clone()];
    let Some((piece, style)) = scalars.around(&rendered.text, &filled.range) else {
        return outside(rendered, filled);
    };
    match style {
        ScalarStyle::Plain if text.contains(['\n', '\r']) || loses_blanks(rendered, filled) => Err(Violation::Folded),
        ScalarStyle::Plain => Ok(()),
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
            if filled.range.start <= piece.start || filled.range.end >= piece.end {
                return outside(rendered, filled);
            }
            let ends = if style == ScalarStyle::SingleQuoted { &['\''][..] } else { &['"', '\\'][..] };
            if text.contains(ends) {
                Err(Violation::Quotes)
            } else if text.contains(['\n', '\r']) {
                Err(Violation::Folded)
            } else {
                Ok(())
            }
        }
        ScalarStyle::Folded if text.trim_matches('\n').contains('\n') => Err(Violation::Folded),
        ScalarStyle::Literal | ScalarStyle::Folded if loses_in_block(rendered, filled, piece) => Err(Violation::Folded),
        ScalarStyle::Literal | ScalarStyle::Folded => Ok(()),
    }
}

/// Whether a block scalar would drop some of a value: a carriage return, or blanks that it takes for its indentation.
fn loses_in_block(rendered: &TrackedText, filled: &Filled, piece: &Piece) -> bool {
    let range = &filled.range;
    let text = &rendered.text[range.clone()];
    if text.contains('\r') {
        return true;
    }
    // What the author's own blanks do not precede is at the mercy of the indentation.
    if filled.layout == Layout::AsIs && text.trim_end_matches('\n').contains('\n') {
        return true;
    }
    let header_end = block_begins(&rendered.text, piece.start);
    let header = rendered.text[..header_end].rsplit(['|', '>']).next().unwrap_or_default();
    let mut indicators = header.chars().take_while(|c| matches!(c, '+' | '-' | '0'..='9'));
    if indicators.any(|indicator| indicator.is_ascii_digit()) {
        return false;
    }
    let mut line_start = header_end + rendered.text[header_end..].find('\n').map_or(0, |newline| newline + 1);
    let lines = rendered.text.get(line_start..piece.end.max(range.end)).unwrap_or_default();
    for line in lines.split_inclusive('\n') {
        let blanks = line.len() - line.trim_start_matches(' ').len();
        let content = line_start + blanks;
        let indentation = match filled.layout {
            Layout::Indented(indentation) if line_start > range.start => indentation,
            Layout::Indented(indentation) => range.start - line_start + indentation,
            Layout::AsIs | Layout::Unknown => range.start.saturating_sub(line_start),
        };
        let is_mine = range.start < content && line_start < range.end;
        if is_mine && blanks > indentation && filled.layout != Layout::Unknown {
            return true;
        }
        if !line.trim_matches([' ', '\n']).is_empty() {
            // This line says how far the block is indented. Lines that are indented less begin with fewer blanks than they had.
            let has_own_lines =
                text.trim_end_matches('\n').contains('\n') || rendered.text[..range.start].ends_with('\n');
            return matches!(filled.layout, Layout::Indented(indentation) if indentation < blanks && has_own_lines);
        }
        line_start += line.len();
    }
    false
}

/// A plain scalar of several lines drops blanks where its lines begin and end.
fn loses_blanks(rendered: &TrackedText, filled: &Filled) -> bool {
    const BLANK: [char; 2] = [' ', '\t'];
    let text = &rendered.text[filled.range.clone()];
    let line_begins = rendered.text[..filled.range.start].trim_end_matches(BLANK).ends_with('\n');
    let line_ends = rendered.text[filled.range.end..].trim_start_matches(BLANK).starts_with(['\n', '\r']);
    (line_begins && text.starts_with(BLANK)) || (line_ends && text.ends_with(BLANK))
}

/// Outside every scalar a value may only be nothing, where nothing is the value.
fn outside(rendered: &TrackedText, filled: &Filled) -> Result<(), Violation> {
    if !filled.range.is_empty() {
        return Err(Violation::Structure);
    }
    let text = &rendered.text;
    let at = filled.range.start;
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let before = &text[line_start..at];
    let after = text[at..].lines().next().unwrap_or("").trim_start_matches([' ', '\t']);
    let follows_indicator = before.ends_with([' ', '\t']) && before.trim_end_matches([' ', '\t']).ends_with([':', '-']);
    let nothing_follows = after.is_empty() || after.starts_with([',', ']', '}']) || after.starts_with('#');
    if follows_indicator && nothing_follows { Ok(()) } else { Err(Violation::Empty) }
}

/// The range of an action that was empty where an absent scalar is, if there is one.
pub(super) fn fills_absent(rendered: &TrackedText, absent: usize) -> Option<usize> {
    let from = rendered.filled.partition_point(|filled| filled.range.start < absent);
    let filled = rendered.filled.get(from)?;
    let between = rendered.text.get(absent..filled.range.start)?;
    (filled.range.is_empty() && between.chars().all(|c| matches!(c, ' ' | '\t' | ':'))).then_some(from)
}

fn quoted(rendered: &TrackedText, filled: &Filled, scalars: &Scalars<'_>) -> Result<(), Violation> {
    let text = &rendered.text[filled.range.clone()];
    let Some((piece, style)) = scalars.around(&rendered.text, &filled.range) else {
        let refused = text.starts_with('\'').then(|| single_quoted(text).err()).flatten();
        return Err(refused.unwrap_or(Violation::Structure));
    };
    let exact = piece.start == filled.range.start && piece.end == filled.range.end;
    match style {
        ScalarStyle::DoubleQuoted if exact => Ok(()),
        ScalarStyle::SingleQuoted if exact => single_quoted(text),
        // In a longer plain or block scalar the quotes are characters like any other.
        _ => value(rendered, filled, scalars),
    }
}

/// `squote` escapes nothing: YAML reads two quotes as one, and folds a line break into a space.
pub(super) fn single_quoted(text: &str) -> Result<(), Violation> {
    match text.get(1..text.len().saturating_sub(1)).unwrap_or_default() {
        inner if inner.contains('\'') => Err(Violation::Quotes),
        inner if inner.contains(['\n', '\r']) => Err(Violation::Folded),
        _ => Ok(()),
    }
}

fn structure(
    rendered: &TrackedText,
    filled: &Filled,
    pieces: &[Piece],
    in_order: bool,
    scalars: &Scalars<'_>,
    is_in_list: bool,
) -> Result<(), Violation> {
    // Where the object's own keys are: `apiVersion`, `kind`, `metadata`.
    let keys_depth = if is_in_list { 3 } else { 1 };
    let range = &filled.range;
    if range.is_empty() {
        return Ok(());
    }
    if let Some((piece, style)) = scalars.around(&rendered.text, range)
        && !(piece.start == range.start && piece.end == range.end)
    {
        return match style {
            ScalarStyle::Literal | ScalarStyle::Folded => Ok(()),
            ScalarStyle::Plain if piece.start >= range.start => Ok(()),
            ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                value(rendered, filled, scalars)
            }
        };
    }
    let mut depth: Option<usize> = None;
    let mut sole_value = false;
    let mut nodes_at_depth = 0;
    let mut before: Option<&Piece> = None;
    for piece in pieces {
        let starts_inside = range.contains(&piece.start);
        if !starts_inside {
            if in_order && piece.start >= range.end {
                break;
            }
            if piece.start < range.start {
                let is_written_scalar = matches!(piece.kind, PieceKind::Scalar { absent: false, .. });
                if is_written_scalar && piece.end > range.start {
                    return Err(Violation::Structure);
                }
                before = Some(piece);
            }
            continue;
        }
        let (value_slot, decorated) = match piece.kind {
            PieceKind::Document => {
                // The implicit start of the first document is where its first node is.
                if piece.start == piece.end || !rendered.text[piece.start..].starts_with(['-', '.']) {
                    continue;
                } else {
                    return Err(Violation::Outdented);
                }
            }
            PieceKind::Alias => return Err(Violation::Structure),
            PieceKind::Open { value_slot, decorated } => (value_slot, decorated),
            PieceKind::Scalar { value_slot, decorated, .. } => (value_slot, decorated),
            PieceKind::Close => match depth {
                // How deep the structure begins is the author's indentation; from there on it is data.
                None => continue,
                Some(first) if piece.depth >= first => continue,
                Some(_) => return Err(Violation::Outdented),
            },
        };
        if decorated {
            return Err(Violation::Structure);
        }
        match depth {
            None => {
                let skipped = before.is_some_and(|last| {
                    matches!(last.kind, PieceKind::Scalar { absent: true, .. })
                        && rendered.text[last.start..range.start].chars().all(|c| matches!(c, ' ' | '\t' | ':'))
                });
                if skipped || piece.depth < keys_depth || (piece.depth == keys_depth && !value_slot) {
                    return Err(if is_in_list { Violation::Objects } else { Violation::Outdented });
                }
                depth = Some(piece.depth);
                sole_value = value_slot;
                nodes_at_depth = 1;
            }
            Some(first) if piece.depth < first => return Err(Violation::Outdented),
            Some(first) if piece.depth == first => {
                nodes_at_depth += 1;
                if sole_value && nodes_at_depth > 1 {
                    return Err(Violation::Outdented);
                }
            }
            Some(_) => {}
        }
    }
    Ok(())
}
