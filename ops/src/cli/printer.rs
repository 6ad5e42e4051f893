//! What a watch prints: the rows of a list as they come, then each change, once.
//!
//! Start at [`Printer::print`]. It knows no network.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

use super::output::{self, Format};
use crate::client::Error;
use crate::terminal::style::Paint;
use crate::terminal::table::{Fit, Table};

/// What a message comes to.
#[derive(Debug, PartialEq)]
pub enum Step<T> {
    /// Nothing yet.
    Nothing,
    /// A row of the list that is being sent.
    Row { offset: u64, item: T },
    /// The list is complete.
    Listed { offset: u64 },
    /// A row changed, or is new.
    Changed { offset: u64, item: T },
    /// A row is no longer in the list.
    Removed { offset: u64, item: T },
    /// The list will be sent again, for this reason.
    StartOver { why: String },
}

/// The fields that identify a row, of every list; a list has some of them.
const KEY_FIELDS: [&str; 10] =
    ["source", "subject", "trigger", "cluster", "group", "version", "kind", "namespace", "name", "rule"];

/// The rows that were printed, as checksums of their keys and contents: an engine may send a row again that was printed
/// already.
#[derive(Default)]
struct Known(HashMap<u64, u64>);

impl Known {
    /// Whether this is news.
    fn is_news<T: Serialize>(&mut self, item: &T) -> Result<bool, Error> {
        let (key, said) = Known::checksums(item)?;
        Ok(self.0.insert(key, said) != Some(said))
    }

    /// Whether this was known, and is not any more.
    fn forget<T: Serialize>(&mut self, item: &T) -> Result<bool, Error> {
        Ok(self.0.remove(&Known::checksums(item)?.0).is_some())
    }

    fn checksums<T: Serialize>(item: &T) -> Result<(u64, u64), Error> {
        let row = serde_json::to_value(item).map_err(|error| Error::Encode(error.to_string()))?;
        let of = |text: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            text(&mut hasher);
            hasher.finish()
        };
        let key = KEY_FIELDS.map(|field| row.get(field).and_then(|text| text.as_str()));
        Ok((of(&|hasher| key.hash(hasher)), of(&|hasher| row.to_string().hash(hasher))))
    }
}

/// What was printed decides how the next rows are.
pub struct Printer<'a, T, F, W> {
    format: Format,
    /// What to say when the list is empty.
    none: &'a str,
    table: F,
    /// Where it goes; false when nobody reads any more.
    write: W,
    /// What was printed; `None` for records, of which each is printed once.
    known: Option<Known>,
    /// The rows of a list that is being sent.
    rows: Vec<T>,
    /// The heads that were printed.
    fit: Option<Fit>,
}

/// A line of `-o json`.
#[derive(Serialize)]
struct Line<'a, T> {
    event: &'static str,
    offset: u64,
    item: &'a T,
}

impl<T, F, W> Printer<'_, T, F, W>
where
    T: Serialize,
    F: Fn(&[T], bool) -> Table,
    W: FnMut(&str) -> Result<bool, Error>,
{
    /// One that writes to `write`, which says whether somebody still reads.
    pub fn new(format: Format, none: &str, table: F, write: W) -> Printer<'_, T, F, W> {
        Printer { format, none, table, write, known: Some(Known::default()), rows: Vec::new(), fit: None }
    }

    /// Of rows that never change and are printed once: none is remembered.
    pub fn of_records(self) -> Self {
        Printer { known: None, ..self }
    }

    /// Does a step; false when nobody reads any more.
    pub fn print(&mut self, step: Step<T>) -> Result<bool, Error> {
        let is_news = match (&mut self.known, &step) {
            (Some(known), Step::Row { item, .. } | Step::Changed { item, .. }) => known.is_news(item)?,
            (Some(known), Step::Removed { item, .. }) => known.forget(item)?,
            (Some(_), Step::Nothing | Step::Listed { .. } | Step::StartOver { .. }) | (None, _) => true,
        };
        match step {
            _ if !is_news => Ok(true),
            Step::Nothing => Ok(true),
            Step::StartOver { why } => {
                self.forget();
                output::remark(&format!("{why}; here is the list again"));
                Ok(true)
            }
            Step::Row { offset, item } | Step::Changed { offset, item } if self.format.is_structured() => {
                self.line("item", offset, &item)
            }
            Step::Removed { offset, item } if self.format.is_structured() => self.line("removed", offset, &item),
            Step::Row { item, .. } => {
                self.rows.push(item);
                Ok(true)
            }
            Step::Listed { offset } => {
                let rows = std::mem::take(&mut self.rows);
                let goes_on = rows.is_empty() || self.table(&rows, None)?;
                if rows.is_empty() && !self.format.is_structured() {
                    output::remark(self.none);
                }
                output::remark(&format!("as of offset {offset}; changes follow, Ctrl-C ends"));
                Ok(goes_on)
            }
            Step::Changed { item, .. } => self.table(&[item], None),
            Step::Removed { offset, item } => {
                self.table(&[item], Some(format!("no longer in this list, offset {offset}")))
            }
        }
    }

    /// A list that was not sent to its end will be sent again.
    pub fn forget(&mut self) {
        self.known = self.known.take().map(|_| Known::default());
        self.rows.clear();
        self.fit = None;
    }

    fn line(&mut self, event: &'static str, offset: u64, item: &T) -> Result<bool, Error> {
        (self.write)(&output::one_of_many(&Line { event, offset, item }, self.format)?)
    }

    fn table(&mut self, rows: &[T], remark: Option<String>) -> Result<bool, Error> {
        let (text, left_out) = self.drawn(rows, remark, output::width(self.format), Paint::stdout());
        let goes_on = (self.write)(&text)?;
        output::left_out(&left_out);
        Ok(goes_on)
    }

    /// The rows, under heads where there are none yet.
    fn drawn(
        &mut self,
        rows: &[T],
        remark: Option<String>,
        width: Option<usize>,
        paint: Paint,
    ) -> (String, Vec<&'static str>) {
        let mut table = (self.table)(rows, self.format == Format::Wide);
        if remark.is_some() {
            table.remark(remark);
        }
        match &self.fit {
            Some(fit) => (table.draw_rows(fit, paint), Vec::new()),
            None => {
                let fit = table.fit_to_grow(width);
                let drawn = (table.draw(&fit, paint), table.left_out(&fit));
                self.fit = Some(fit);
                drawn
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::table::Column;

    #[test]
    fn rows_are_told_apart_by_their_keys_and_by_nothing_else() {
        let check = |row: serde_json::Value, other: serde_json::Value, is_same: bool| {
            let key = |row: &serde_json::Value| Known::checksums(row).expect("JSON").0;
            assert_eq!(key(&row) == key(&other), is_same, "{row} {other}");
        };
        let object = |kind: &str, namespace: Option<&str>, trigger: &str, uid: Option<&str>| {
            serde_json::json!({
                "group": "", "version": "v1", "kind": kind, "namespace": namespace, "name": "x", "uid": uid,
                "cluster": "mgmt/mgmt", "trigger": trigger, "source": "s", "subject": "", "offset": 1, "time": null,
            })
        };
        let pod = object("Pod", Some("n"), "t", None);
        check(pod.clone(), object("Pod", Some("n"), "t", Some("8f3c")), true);
        check(pod.clone(), object("Pod", Some("m"), "t", None), false);
        check(pod.clone(), object("Pod", None, "t", None), false);
        check(pod.clone(), object("Job", Some("n"), "t", None), false);
        check(pod, object("Pod", Some("n"), "u", None), false);
        let rule = |rule: &str, digest: &str| serde_json::json!({"rule": rule, "digest": digest, "offset": 1});
        check(rule("EventTrigger/a", "1"), rule("EventTrigger/a", ""), true);
        check(rule("EventTrigger/a", "1"), rule("EventTrigger/b", "1"), false);
    }

    #[test]
    fn rows_that_change_stand_under_the_heads_of_the_list() {
        let table = |rows: &[&str], _: bool| {
            let mut table = Table::new(&[Column::name("SUBJECT").likely(10), Column::word("PHASE")]);
            for row in rows {
                table.push(vec![(*row).into(), "Ready".into()]);
            }
            table
        };
        let mut printer = Printer::new(Format::Table, "", table, |_: &str| Ok(true));
        let first = printer.drawn(&["a", "b"], None, Some(40), Paint::Off);
        assert_eq!(first.0, "SUBJECT     PHASE\na           Ready\nb           Ready\n");
        let more = printer.drawn(&["somebody-else"], Some("no longer in this list".into()), Some(40), Paint::Off);
        assert_eq!(more.0, "someb…else  Ready\n  no longer in this list\n");
        printer.forget();
        assert!(printer.drawn(&["a"], None, None, Paint::Off).0.starts_with("SUBJECT"));
    }
}
