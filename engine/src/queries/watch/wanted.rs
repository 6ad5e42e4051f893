//! What is watched: the rows of a list, and what became of those that records touch.
//!
//! Start at [`Wanted`]. It reads a state or the log and answers at once; it waits for nothing and sends nothing.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_projections::changes::{self, LetGo, Mark, RowChange};
use lifeline_projections::fact::{Fact, LifecycleKey, ResourceKey, RuleChanged};
use lifeline_projections::fold::Projection;
use lifeline_projections::history::Entry;
use lifeline_projections::reads::{self, Filter, LifecycleRow, OwnedObjectRow, Page, ResourceRow, RuleRow};
use lifeline_projections::records::{self, Budget, Choice};
use lifeline_store::{Disk, Offset, Reader};
use serde::Serialize;

use crate::queries::Error;
use crate::view::View;

/// Rows of the list that are read in one turn, while the recorder waits.
const LIST_ROWS: usize = 200;

/// Candidates looked at in one turn.
const LIST_CANDIDATES_MAX: usize = 2_000;

/// Records that are looked at together: what they say of one resource is one event.
const RECORDS_MAX: u64 = 4_096;

/// Records that are given in one turn.
const RECORDS_GIVEN_MAX: usize = 200;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// The rows of [`Queries::lifecycles`](crate::queries::Queries::lifecycles).
    Lifecycles,
    /// The rows of [`Queries::resources`](crate::queries::Queries::resources).
    Resources,
    /// The rows of [`Queries::objects`](crate::queries::Queries::objects).
    Objects,
    /// The records of [`Queries::events`](crate::queries::Queries::events).
    Events,
    /// The rows of [`Queries::rules`](crate::queries::Queries::rules).
    Rules,
}

/// Which rows are watched.
pub(super) struct Wanted {
    noun: Noun,
    filter: Filter,
    /// Of [`Noun::Events`].
    choice: Choice,
}

/// A row of the list that is watched.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "a row lives only until it is sent")]
pub enum Row {
    /// Of [`Noun::Lifecycles`].
    Lifecycle(LifecycleRow),
    /// Of [`Noun::Resources`].
    Resource(ResourceRow),
    /// Of [`Noun::Objects`].
    Object(OwnedObjectRow),
    /// Of [`Noun::Events`].
    Record(Entry),
    /// Of [`Noun::Rules`].
    Rule(RuleRow),
}

/// What records touched, to be looked at in the present state.
pub(super) enum Touched {
    Resource(ResourceKey),
    Holder(LifecycleKey, LetGo),
    /// A rule, and the last record that spoke of it.
    Rule(String, Offset),
}

impl Wanted {
    /// Refuses what no row can ever pass, and what the list itself does not have.
    pub(super) fn new(noun: Noun, filter: Filter, choice: Choice) -> Result<Wanted, Error> {
        changes::check(&filter)?;
        let choice = match noun {
            Noun::Events => Choice { source: filter.source.clone(), subject: filter.subject.clone(), ..choice },
            Noun::Lifecycles | Noun::Resources | Noun::Objects | Noun::Rules => choice,
        };
        choice.check()?;
        let Filter { source, subject, trigger, cluster, phase, gone, kind, .. } = &filter;
        let of_key = [("source", source.is_some()), ("subject", subject.is_some())];
        let of_lifecycle = [
            ("trigger", trigger.is_some()),
            ("cluster", cluster.is_some()),
            ("phase", phase.is_some()),
            ("gone", gone.is_some()),
            ("kind", kind.is_some()),
        ];
        let of_record = [("type", choice.kind.is_some()), ("rejected", choice.rejected.is_some())];
        let (list, lacks): (_, &[&[(&'static str, bool)]]) = match noun {
            Noun::Lifecycles => ("lifecycles", &[&of_record]),
            Noun::Resources => ("resources", &[&of_record]),
            Noun::Objects => ("objects", &[&of_record]),
            Noun::Events => ("events", &[&of_lifecycle]),
            Noun::Rules => ("rules", &[&of_key, &of_lifecycle, &of_record]),
        };
        match lacks.iter().copied().flatten().find(|(_, is_given)| *is_given) {
            Some((filter, _)) => Err(Error::Unfiltered { filter, list }),
            None => Ok(Wanted { noun, filter, choice }),
        }
    }

    /// Whether rows are records: they come and never change, and are read from the log rather than from a state.
    pub(super) fn is_log(&self) -> bool {
        self.noun == Noun::Events
    }

    /// A part of the list, and the cursor of the next.
    pub(super) fn list(
        &self,
        projection: &Projection,
        after: Option<String>,
    ) -> Result<(Offset, Vec<Row>, Option<String>), reads::Error> {
        fn rows<T>(list: reads::List<T>, row: fn(T) -> Row) -> (Offset, Vec<Row>, Option<String>) {
            (list.offset.into(), list.items.into_iter().map(row).collect(), list.next)
        }
        let page = Page { limit: Some(LIST_ROWS), after, looks: Some(LIST_CANDIDATES_MAX) };
        Ok(match self.noun {
            Noun::Lifecycles => rows(reads::lifecycles(projection, &self.filter, &page)?, Row::Lifecycle),
            Noun::Resources => rows(reads::resources(projection, &self.filter, &page)?, Row::Resource),
            Noun::Objects => rows(reads::objects(projection, &self.filter, &page)?, Row::Object),
            Noun::Rules => {
                let rules = &projection.ground().rules;
                rows(reads::rules(projection.watermark(), rules, &page)?, Row::Rule)
            }
            Noun::Events => unreachable!("records are read from the log"),
        })
    }

    /// What the records from an offset on touch, and where the next ones begin.
    pub(super) fn touched<D: Disk>(&self, view: &View<D>, from: Offset) -> Result<(Vec<Touched>, Offset), Error> {
        let (log, folded) = held_from(view, from)?;
        let end = folded.min(Offset::from(from.get().saturating_add(RECORDS_MAX)));
        let (mut resources, mut holders, mut rules) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let mut scan = log.scan(from);
        while scan.position() < end {
            let Some(record) = scan.next()? else { break };
            let fact = Fact::decode(record.payload)?;
            match self.noun {
                Noun::Lifecycles | Noun::Resources => resources.extend(fact.links().map(|link| link.key())),
                Noun::Objects => {
                    let mark = Mark { record: record.offset, unix_nanos: record.time_unix_nanos };
                    changes::touched_holders(&fact, mark, &mut holders);
                }
                Noun::Rules => {
                    if let Fact::Rule(RuleChanged { rule, .. }) = fact {
                        rules.insert(rule.to_owned(), record.offset);
                    }
                }
                Noun::Events => unreachable!("records are read from the log"),
            }
        }
        let resources = resources.into_iter().map(Touched::Resource);
        let holders = holders.into_iter().map(|(key, let_go)| Touched::Holder(key, let_go));
        let rules = rules.into_iter().map(|(rule, record)| Touched::Rule(rule, record));
        Ok((resources.chain(holders).chain(rules).collect(), end))
    }

    /// Some of the wanted records from an offset on, each with the offset after it, and where the next ones begin.
    pub(super) fn records<D: Disk>(&self, view: &View<D>, from: Offset) -> Result<(Vec<(Offset, Row)>, Offset), Error> {
        let (log, folded) = held_from(view, from)?;
        let span = (from, folded.max(from));
        let found = records::forwards(&log, span, &self.choice, RECORDS_GIVEN_MAX, Budget::default())?;
        // One that cannot be read may take the place of several in a row, and several may not be wanted.
        let places = found.entries.iter().skip(1).map(|entry| Offset::from(entry.offset));
        let next: Vec<Offset> = places.chain([found.position]).collect();
        let rows = next.into_iter().zip(found.entries).map(|(next, entry)| (next, Row::Record(entry))).collect();
        Ok((rows, found.position))
    }

    /// What became of what was touched, and the offset that this reflects.
    pub(super) fn became<D: Disk>(
        &self,
        view: &View<D>,
        mut touched: Vec<Touched>,
    ) -> Result<(Offset, Vec<RowChange<Row>>), Error> {
        recall(view, &mut touched)?;
        Ok(view.read(|projection| {
            let changes = touched.iter().flat_map(|touched| self.changes(projection, touched)).collect();
            (projection.watermark(), changes)
        }))
    }

    fn changes(&self, projection: &Projection, touched: &Touched) -> Vec<RowChange<Row>> {
        fn rows<T>(changes: impl IntoIterator<Item = RowChange<T>>, row: fn(T) -> Row) -> Vec<RowChange<Row>> {
            let changes = changes.into_iter().map(|change| match change {
                RowChange::Wanted(item) => RowChange::Wanted(row(item)),
                RowChange::Unwanted(item) => RowChange::Unwanted(row(item)),
            });
            changes.collect()
        }
        let filter = &self.filter;
        match touched {
            Touched::Resource(key) if self.noun == Noun::Resources => {
                rows(changes::resources(projection, key, filter), Row::Resource)
            }
            Touched::Resource(key) => rows(changes::lifecycles(projection, key, filter), Row::Lifecycle),
            Touched::Holder(key, let_go) => rows(changes::objects(projection, key, let_go, filter), Row::Object),
            Touched::Rule(rule, record) => rows([changes::rule(projection, rule, *record)], Row::Rule),
        }
    }
}

/// What lifecycles let go of without a record that names it. The log is read without the lock.
fn recall<D: Disk>(view: &View<D>, touched: &mut [Touched]) -> Result<(), Error> {
    let vague = touched.iter_mut().filter_map(|touched| match touched {
        Touched::Holder(key, let_go) if let_go.is_vague() => Some((&*key, let_go)),
        Touched::Holder(..) | Touched::Resource(_) | Touched::Rule(..) => None,
    });
    let log = view.log();
    for (key, let_go) in vague {
        let place = view.read(|projection| Some((projection.lifecycle_index(key)?, projection.landmarks().clone())));
        let Some((index, landmarks)) = place else { continue };
        let_go.recall(key, index.resource, &log, &landmarks)?;
    }
    Ok(())
}

/// A log that holds the records from an offset on, and where those that are folded end.
fn held_from<D: Disk>(view: &View<D>, from: Offset) -> Result<(Reader<D>, Offset), Error> {
    let (log, folded) = (view.log(), view.read(Projection::watermark));
    let (start, end) = (log.start(), log.end());
    if from < start { Err(Error::Expired { offset: from, start, end }) } else { Ok((log, folded)) }
}
