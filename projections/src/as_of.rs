//! The state as it was.
//!
//! One resource: [`resource`] follows its records back to a landmark before the moment and folds from there, a few dozen
//! reads however long the log is. Lists: [`Piece`], a stretch of resources given one by one. Rules: [`rules`]. Everything at
//! once: [`projection`] folds the log from its first record. All of them are exact; what is not known exactly (the records
//! are gone, or damaged) is refused and never guessed.
//!
//! Invariant: an answer depends on the records below its moment and on nothing else, so it never changes once given.

use std::collections::BTreeMap;
use std::ops::Bound;

use lifeline_store::{Disk, Offset, Reader};

use crate::fact::{self, Fact, ResourceKey, RuleChanged};
use crate::fold::{Candidate, Projection, Resource, RuleMark, Sieve, Trail, change_rule};
use crate::landmarks::{Landmark, Landmarks};

/// A point in the log that a question can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Every record below this offset: the `offset` of an earlier answer.
    Offset(Offset),
    /// Every record written up to this time, in nanoseconds since 1970.
    Time(u64),
}

/// Why a state is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an offset and not a time.
    #[error("`{text}` is neither an offset nor an RFC 3339 time such as `2026-11-22T14:12:03Z`")]
    Moment {
        /// What was given.
        text: String,
    },
    /// The log does not reach that far yet.
    #[error("offset `{offset}` is not reached yet, the log ends at `{end}`")]
    Ahead {
        /// The offset asked for.
        offset: Offset,
        /// The first offset that is not recorded.
        end: Offset,
    },
    /// Retention has removed the records it would take.
    #[error("the log no longer holds the records below `{start}`, from which this state would be computed")]
    Forgotten {
        /// The first offset still held.
        start: Offset,
    },
    /// The log refused.
    #[error("the log cannot be read")]
    Log(#[from] lifeline_store::Error),
    /// A record does not decode.
    #[error("record at offset `{offset}` cannot be understood")]
    Fact {
        /// The record.
        offset: Offset,
        /// Why.
        #[source]
        source: fact::Error,
    },
    /// A record does not speak of the resource whose records led to it.
    #[error("record at offset `{offset}` does not speak of source `{}`, subject `{}`, whose history leads there", .key.source, .key.subject)]
    NotAboutResource {
        /// The record.
        offset: Offset,
        /// The resource.
        key: Box<ResourceKey>,
    },
}

impl std::str::FromStr for Moment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Moment, Error> {
        if let Ok(offset) = text.parse::<u64>() {
            return Ok(Moment::Offset(Offset::from(offset)));
        }
        let time: Option<jiff::Timestamp> = text.parse().ok();
        let nanos = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok());
        nanos.map(Moment::Time).ok_or_else(|| Error::Moment { text: text.to_owned() })
    }
}

impl Moment {
    /// The first offset that the state at this moment does not hold.
    ///
    /// # Errors
    /// When the log does not reach that far, or cannot be read.
    pub fn end<D: Disk>(self, log: &Reader<D>) -> Result<Offset, Error> {
        let end = log.end();
        match self {
            Moment::Offset(offset) if offset > end => Err(Error::Ahead { offset, end }),
            Moment::Offset(offset) => Ok(offset),
            Moment::Time(unix_nanos) => Ok(log.offset_at(unix_nanos.saturating_add(1))?.min(end)),
        }
    }
}

/// When the last record below `end` was written, in nanoseconds since 1970; 0 when there is none.
///
/// # Errors
/// When it is no longer held, or cannot be read.
pub fn time<D: Disk>(log: &Reader<D>, end: Offset) -> Result<u64, Error> {
    let Some(last) = end.get().checked_sub(1).map(Offset::from) else { return Ok(0) };
    let record = log.read(last)?.ok_or_else(|| Error::Forgotten { start: log.start() })?;
    Ok(record.time_unix_nanos)
}

/// One resource by the records below `end`; `None` when none of them spoke of it.
///
/// # Errors
/// When a record it takes is no longer held, or cannot be read or understood.
pub fn resource<D: Disk>(
    log: &Reader<D>,
    landmarks: &Landmarks,
    trail: &Trail,
    end: Offset,
) -> Result<Option<Resource>, Error> {
    if let Some(unchanged) = &trail.unchanged {
        return Ok(Some(unchanged.clone()));
    }
    // From the first landmark behind the moment, or from the latest record, back to the last landmark before it.
    let behind = landmarks.first_from(trail.index, end).filter(|found| found.offset < trail.last_record);
    let mut at = Some(behind.map_or(trail.last_record, |found| found.offset));
    let base = landmarks.last_below(trail.index, end);
    let base_offset = base.as_ref().map(|base| base.offset);
    let mut records = Vec::new();
    while let Some(offset) = at.filter(|offset| Some(*offset) != base_offset) {
        let record = log.read(offset)?.ok_or_else(|| Error::Forgotten { start: log.start() })?;
        let fact = Fact::decode(&record.payload).map_err(|source| Error::Fact { offset, source })?;
        let previous = fact.previous(&trail.key);
        let previous = previous.ok_or_else(|| Error::NotAboutResource { offset, key: Box::new(trail.key.clone()) })?;
        at = previous.filter(|previous| *previous < offset);
        if offset < end {
            records.push(record);
        }
    }
    if records.is_empty() && base.is_none() {
        return Ok(None);
    }
    let mut resource = base.map(|Landmark { resource, .. }| resource).unwrap_or_default();
    for record in records.iter().rev() {
        let fact = Fact::decode(&record.payload).map_err(|source| Error::Fact { offset: record.offset, source })?;
        resource.fold(&trail.key, record.offset, record.time_unix_nanos, &fact);
    }
    Ok(Some(resource))
}

/// A stretch of resources as they were, for [`crate::reads`].
#[derive(Debug)]
pub struct Piece {
    moment: Offset,
    unix_nanos: u64,
    resources: Vec<(ResourceKey, Option<Resource>)>,
    goes_on: bool,
}

impl Piece {
    /// Reads what the resources of the first `count` trails were; of the others it notes only that there are more. The
    /// trails are those of [`Projection::trails_from`], at the same moment, without a gap.
    ///
    /// # Errors
    /// Those of [`resource`].
    pub fn read<D: Disk>(
        log: &Reader<D>,
        landmarks: &Landmarks,
        trails: &[Trail],
        count: usize,
        moment: Offset,
    ) -> Result<Piece, Error> {
        let told = trails.iter().take(count);
        let told = told.map(|trail| Ok((trail.key.clone(), resource(log, landmarks, trail, moment)?)));
        let resources = told.collect::<Result<_, Error>>()?;
        Ok(Piece { moment, unix_nanos: time(log, moment)?, resources, goes_on: trails.len() > count })
    }

    /// Whether more resources follow than it gives.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// The first offset that it does not reflect.
    #[must_use]
    pub fn moment(&self) -> Offset {
        self.moment
    }

    /// When the last record that it reflects was written, in nanoseconds since 1970; 0 when there is none.
    #[must_use]
    pub fn unix_nanos(&self) -> u64 {
        self.unix_nanos
    }

    /// The resources from a key on, those that the sieve does not leave without their state.
    pub(crate) fn candidates_from<'a>(
        &'a self,
        start: Bound<(&'a str, &'a str)>,
        sieve: Sieve<'a>,
    ) -> impl Iterator<Item = Candidate<'a>> {
        let is_before = move |key: (&str, &str)| match start {
            Bound::Unbounded => false,
            Bound::Included(first) => key < first,
            Bound::Excluded(last) => key <= last,
        };
        let rows = self.resources.iter().filter(move |(key, _)| !is_before((&key.source, &key.subject)));
        rows.map(move |(key, resource)| {
            let wants = |resource: &&Resource| {
                sieve.wants_any(resource.lifecycles.iter().map(|of| (&*of.trigger, &*of.cluster, of.phase())))
            };
            let resource = resource.as_ref().filter(wants).cloned();
            Candidate { source: &key.source, subject: &key.subject, resource }
        })
    }
}

/// The rules by the records below `end`. `records` are all records that ever spoke of a rule, in order.
///
/// # Errors
/// When one of them is no longer held, or cannot be read or understood.
pub fn rules<D: Disk>(log: &Reader<D>, records: &[Offset], end: Offset) -> Result<BTreeMap<String, RuleMark>, Error> {
    let mut rules = BTreeMap::new();
    for &offset in records.iter().take_while(|offset| **offset < end) {
        let record = log.read(offset)?.ok_or_else(|| Error::Forgotten { start: log.start() })?;
        let fact = Fact::decode(&record.payload).map_err(|source| Error::Fact { offset, source })?;
        if let Fact::Rule(RuleChanged { rule, digest, .. }) = fact {
            change_rule(&mut rules, rule, digest, offset);
        }
    }
    Ok(rules)
}

/// The state at a moment.
///
/// # Errors
/// When the log does not reach that far, no longer begins at its beginning, or cannot be read or understood.
pub fn projection<D: Disk>(log: &Reader<D>, moment: Moment) -> Result<Projection, Error> {
    let end = moment.end(log)?;
    let start = log.start();
    if start > Offset::ZERO {
        return Err(Error::Forgotten { start });
    }
    let mut projection = Projection::default();
    let mut work = Vec::new();
    let mut scan = log.scan(start);
    while scan.position() < end
        && let Some(record) = scan.next()?
    {
        let offset = record.offset;
        let fact = Fact::decode(record.payload).map_err(|source| Error::Fact { offset, source })?;
        projection.fold(offset, record.time_unix_nanos, &fact, &mut work);
        work.clear();
    }
    Ok(projection)
}
