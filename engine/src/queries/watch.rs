//! Watching a list: first all of it, then what changes, without a gap in between.
//!
//! Start at [`Watch`]; what can be watched is in [`wanted`]. The list is read in pages while the state goes on; every record
//! from the first page's offset on is then looked at again in the log, so nothing falls in between, whatever came meanwhile.
//! What is given of a record is the present row of each thing it touches: many records about one resource that wait together
//! are one update. Records themselves never change; they are given one by one, as they are in the log.
//!
//! A client goes on from the `resume` of the last update that it saw, which is an offset, so it holds across restarts of the
//! engine. No lock is held while anything waits. Never here: how updates are sent, and how long a client may take for them.

mod wanted;

use std::sync::Arc;

use lifeline_projections::changes::RowChange;
use lifeline_projections::fold::Projection;
use lifeline_projections::reads::Filter;
use lifeline_projections::records::Choice;
use lifeline_store::{Disk, Offset};

pub use self::wanted::{Noun, Row};
use self::wanted::{Touched, Wanted};
use super::{Error, Queries, blocking};
use crate::view::View;

/// Resources, lifecycles or rules that are looked at in one turn, while the recorder waits.
const TOUCHED_MAX: usize = 200;

/// Something that a watch has to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// What it says reflects every record below this offset.
    pub offset: Offset,
    /// Where to resume for who knows this update; `None` in a list, which cannot be resumed in its middle.
    pub resume: Option<Offset>,
    /// What it says.
    pub what: What,
}

/// What an update says.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A row that the filter wants, as it is now.
    Item(Row),
    /// A row that the filter does not want, as it is now.
    Removed(Row),
    /// The list is complete: what was not named until now does not exist.
    Listed,
}

/// A list that is watched.
///
/// Its owner asks again and again: [`Watch::ready`], then [`Watch::more`].
pub struct Watch<D: Disk> {
    view: Arc<View<D>>,
    wanted: Arc<Wanted>,
    stage: Stage,
}

/// How far a watch has come.
enum Stage {
    /// In the list, whose first page reflects `from`; `after` is the cursor of the next page.
    Listing { from: Option<Offset>, after: Option<String> },
    /// Among the records that were there at its beginning, which end at `end`.
    Reading { position: Offset, end: Offset },
    /// After the list: every record below `position` is done, and `looking` are touched by some that follow.
    Following { position: Offset, looking: Option<Box<Looking>> },
}

/// What some records touched, and is looked at in turns.
struct Looking {
    touched: std::vec::IntoIter<Touched>,
    /// Where the records end.
    end: Offset,
    /// The update found last. It is kept back, because only the last one of all moves on: before it is known, resuming has to
    /// look at all of these records again.
    last: Option<Update>,
}

impl<D: Disk> Queries<D> {
    /// A watch of a list: from an offset on, or of all of it and what follows. Records are chosen by type and rejection, and like
    /// the rows of the other lists by source and subject, which are those of the filter.
    ///
    /// # Errors
    /// When no row can ever be wanted, or the list has not what is asked of it; when the log does not hold the records from
    /// `from` on.
    pub fn watch(&self, noun: Noun, filter: Filter, choice: Choice, from: Option<Offset>) -> Result<Watch<D>, Error> {
        let wanted = Arc::new(Wanted::new(noun, filter, choice)?);
        let (view, log) = (self.view.clone(), self.view.log());
        let (start, end) = (log.start(), log.end());
        let stage = match from {
            Some(offset) if offset < start || offset > end => return Err(Error::Expired { offset, start, end }),
            Some(position) => Stage::Following { position, looking: None },
            None if wanted.is_log() => Stage::Reading { position: start, end: view.read(Projection::watermark) },
            None => Stage::Listing { from: None, after: None },
        };
        Ok(Watch { view, wanted, stage })
    }
}

impl<D: Disk> Watch<D> {
    /// The offset below which everything was given; `None` while the list is not complete.
    pub fn position(&self) -> Option<Offset> {
        match self.stage {
            Stage::Listing { .. } | Stage::Reading { .. } => None,
            Stage::Following { position, .. } => Some(position),
        }
    }

    /// Waits until there is something to look at. Waiting can be given up at any time.
    pub async fn ready(&self) {
        if let Stage::Following { position, looking: None } = self.stage {
            self.view.reached(position.next()).await;
        }
    }

    /// Looks at some more, and gives what there is to say of it: often nothing. Has to be carried through to its end.
    ///
    /// # Errors
    /// When the log does not hold the records that follow, or cannot be read.
    pub async fn more(&mut self) -> Result<Vec<Update>, Error> {
        let (view, wanted) = (self.view.clone(), self.wanted.clone());
        match &mut self.stage {
            Stage::Listing { from, after } => {
                let cursor = after.take();
                let page = blocking(move || Ok(view.read(|projection| wanted.list(projection, cursor))?));
                let (offset, rows, next) = page.await?;
                let from = *from.get_or_insert(offset);
                let mut updates: Vec<Update> = rows.into_iter().map(|row| Update::item(offset, None, row)).collect();
                if next.is_none() {
                    updates.push(Update::listed(from));
                    self.stage = Stage::Following { position: from, looking: None };
                } else {
                    *after = next;
                }
                Ok(updates)
            }
            Stage::Reading { position, end } => {
                let mut updates;
                (updates, *position) = records(view, wanted, *position).await?;
                if *position >= *end {
                    updates.push(Update::listed(*position));
                    self.stage = Stage::Following { position: *position, looking: None };
                }
                Ok(updates)
            }
            Stage::Following { position, .. } if wanted.is_log() => {
                let updates;
                (updates, *position) = records(view, wanted, *position).await?;
                Ok(updates)
            }
            Stage::Following { position, looking } => {
                let mut found = match looking.take() {
                    Some(found) => found,
                    None => Box::new(Looking::from(&view, &wanted, *position).await?),
                };
                let mut updates = found.turn(view, wanted, *position).await?;
                if found.touched.len() == 0 {
                    *position = found.end;
                    updates.extend(found.last.map(|last| Update { resume: Some(found.end), ..last }));
                } else {
                    *looking = Some(found);
                }
                Ok(updates)
            }
        }
    }
}

impl Looking {
    /// What the records from an offset on touch.
    async fn from<D: Disk>(view: &Arc<View<D>>, wanted: &Arc<Wanted>, from: Offset) -> Result<Looking, Error> {
        let (view, wanted) = (view.clone(), wanted.clone());
        let (touched, end) = blocking(move || wanted.touched(&view, from)).await?;
        Ok(Looking { touched: touched.into_iter(), end, last: None })
    }

    /// Looks at some of it. Up to the last update of all, resuming begins at `from` again.
    async fn turn<D: Disk>(
        &mut self,
        view: Arc<View<D>>,
        wanted: Arc<Wanted>,
        from: Offset,
    ) -> Result<Vec<Update>, Error> {
        let some: Vec<Touched> = self.touched.by_ref().take(TOUCHED_MAX).collect();
        if some.is_empty() {
            return Ok(Vec::new());
        }
        let (offset, changes) = blocking(move || wanted.became(&view, some)).await?;
        let changes = changes.into_iter().map(|change| Update::change(offset, Some(from), change));
        Ok(changes.filter_map(|update| self.last.replace(update)).collect())
    }
}

/// Some of the records from an offset on, and where the next ones begin. They can be resumed at any of them.
async fn records<D: Disk>(
    view: Arc<View<D>>,
    wanted: Arc<Wanted>,
    from: Offset,
) -> Result<(Vec<Update>, Offset), Error> {
    let (rows, end) = blocking(move || wanted.records(&view, from)).await?;
    Ok((rows.into_iter().map(|(next, row)| Update::item(next, Some(next), row)).collect(), end))
}

impl Update {
    fn item(offset: Offset, resume: Option<Offset>, row: Row) -> Update {
        Update { offset, resume, what: What::Item(row) }
    }

    fn listed(from: Offset) -> Update {
        Update { offset: from, resume: Some(from), what: What::Listed }
    }

    fn change(offset: Offset, resume: Option<Offset>, change: RowChange<Row>) -> Update {
        let what = match change {
            RowChange::Wanted(row) => What::Item(row),
            RowChange::Unwanted(row) => What::Removed(row),
        };
        Update { offset, resume, what }
    }
}
