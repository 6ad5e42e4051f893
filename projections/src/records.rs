//! The records of the log, one after the other, and those of them that a question chooses.
//!
//! Start at [`forwards`] and [`backwards`]. [`along`] finds the records about a few resources by the links between them, and
//! reads no others. Each looks at a bounded part of the log and says how far it came, so that a choice that leaves little keeps
//! nobody waiting: who asked goes on from there.
//!
//! A record that cannot be read may be one that is wanted: it is given, as an entry that says so. Where the links between
//! records are followed, they prove which records are meant.

use std::collections::{BTreeSet, BinaryHeap};

use lifeline_store::{Disk, Offset, Reader, Record};

use crate::fact::{EventReceived, Fact, Link, Reconciled, ResourceKey, What};
use crate::fold::Trail;
use crate::history::{Entry, about, unreadable};
use crate::landmarks::{Landmarks, RECORDS_APART};
use crate::reads::Error;

/// Sources whose resources are followed at once, at most.
pub const SOURCES_MAX: usize = 64;

/// Records looked at going backwards before it is known how large they are.
const PIECE_FIRST: u64 = 16;

/// Records looked at in one piece going backwards, at most.
const PIECE_MAX: u64 = 4_096;

/// A piece of so many bytes is large: the next one has fewer records.
const PIECE_BYTES: u64 = 1 << 20;

/// Records followed back to the place where a page begins: more than lie between two landmarks, and those that have none yet.
const APPROACH_MAX: u32 = 4 * RECORDS_APART;

/// Which records are wanted. An empty choice wants them all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// They speak of a resource whose CloudEvent source begins with this, ...
    pub source: Option<String>,
    /// ... and whose CloudEvent subject is this.
    pub subject: Option<String>,
    /// They are events of this CloudEvent type.
    pub kind: Option<String>,
    /// True for the messages that were rejected, false for all other records.
    pub rejected: Option<bool>,
    /// Only those that say what others did to objects.
    pub drifted: bool,
}

/// How much is looked at, at most. What is begun is finished, so it may be a little more.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Records, one after the other.
    pub records: u64,
    /// Records that are read each at its place.
    pub reads: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Records that were found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// They, oldest first.
    pub entries: Vec<Entry>,
    /// How far was looked. Forwards: the first offset that was not looked at. Backwards: the last one that was.
    pub position: Offset,
}

impl Default for Budget {
    /// Some tens of milliseconds.
    fn default() -> Budget {
        Budget { records: 1 << 16, reads: 1 << 11, bytes: 32 << 20 }
    }
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.records == 0 || self.reads == 0 || self.bytes == 0
    }

    fn spend(&mut self, payload: &[u8]) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(payload.len() as u64);
    }
}

impl Choice {
    /// Refuses a choice that no record can ever pass.
    ///
    /// # Errors
    /// When it wants something of rejected messages that they do not have.
    pub fn check(&self) -> Result<(), Error> {
        let given = [("source", &self.source), ("subject", &self.subject), ("type", &self.kind)];
        match given.into_iter().find(|(_, value)| value.is_some()) {
            Some((parameter, _)) if self.rejected == Some(true) => Err(Error::OfRejected { parameter }),
            _ => Ok(()),
        }
    }

    /// What a record says, where it is wanted; and of one resource, where it speaks of several and only that one is.
    #[must_use]
    pub fn entry(&self, payload: &[u8], offset: Offset, unix_nanos: u64) -> Option<Entry> {
        let fact = match Fact::decode(payload) {
            Ok(fact) => fact,
            Err(error) => return Some(unreadable(offset, Some(unix_nanos), &error)),
        };
        let key = self.wants(&fact)?;
        Some(about(&fact, key.as_ref(), offset, unix_nanos).0)
    }

    /// The one resource that a fact is wanted for, if there is one; `None` for a fact that is not wanted.
    #[expect(clippy::option_option, reason = "the outer one says whether, the inner one for whom")]
    fn wants(&self, fact: &Fact<'_>) -> Option<Option<ResourceKey>> {
        let is_drift = |fact: &Fact<'_>| {
            matches!(fact, Fact::Reconciled(Reconciled { what: What::Drifted(_) | What::Altered(_), .. }))
        };
        let is_wanted = (!self.drifted || is_drift(fact))
            && self.rejected.is_none_or(|wanted| wanted == matches!(fact, Fact::Rejected(_)))
            && self
                .kind
                .as_ref()
                .is_none_or(|wanted| matches!(fact, Fact::Event(EventReceived { kind, .. }) if kind == wanted));
        if !is_wanted {
            return None;
        }
        if self.source.is_none() && self.subject.is_none() {
            return Some(None);
        }
        let mut keys: BTreeSet<ResourceKey> = BTreeSet::new();
        for link in fact.links().filter(|link| self.is_about(link)) {
            keys.insert(link.key());
            if keys.len() > 1 {
                return Some(None);
            }
        }
        keys.pop_first().map(Some)
    }

    fn is_about(&self, link: &Link<'_>) -> bool {
        self.source.as_ref().is_none_or(|source| link.source.starts_with(&**source))
            && self.subject.as_ref().is_none_or(|subject| link.subject == subject)
    }
}

/// The first record whose time is shown as this one or as a later one; times are shown in milliseconds, the last one begun
/// counting whole.
///
/// # Errors
/// When the log cannot be read.
pub fn first_shown_at<D: Disk>(log: &Reader<D>, unix_nanos: u64) -> Result<Offset, lifeline_store::Error> {
    const MILLISECOND: u64 = 1_000_000;
    let shown = unix_nanos.div_ceil(MILLISECOND).saturating_mul(MILLISECOND);
    log.offset_at(shown.saturating_sub(MILLISECOND).saturating_add(1))
}

/// The first `limit` wanted records from `from` on, below `end`.
///
/// Where several in a row are lost, one entry is for all of them.
///
/// # Errors
/// When the disk refuses.
pub fn forwards<D: Disk>(
    log: &Reader<D>,
    (from, end): (Offset, Offset),
    choice: &Choice,
    limit: usize,
    mut budget: Budget,
) -> Result<Found, lifeline_store::Error> {
    look(log, (from, end), choice, limit, &mut budget, Budget::is_spent)
}

/// The last `limit` wanted records below `before`, from `floor` on.
///
/// # Errors
/// When the disk refuses.
pub fn backwards<D: Disk>(
    log: &Reader<D>,
    (floor, before): (Offset, Offset),
    choice: &Choice,
    limit: usize,
    mut budget: Budget,
) -> Result<Found, lifeline_store::Error> {
    let mut found = Found { entries: Vec::new(), position: before };
    let mut piece = PIECE_FIRST;
    while found.position > floor && found.entries.len() < limit && !budget.is_spent() {
        let from = Offset::from(found.position.get().saturating_sub(piece)).max(floor);
        let bytes = budget.bytes;
        // A piece is looked at to its end: only then nothing lies between it and what follows.
        let mut earlier = look(log, (from, found.position), choice, usize::MAX, &mut budget, |_| false)?.entries;
        found.position = from;
        let room = limit - found.entries.len();
        if earlier.len() > room {
            earlier.drain(..earlier.len() - room);
            found.position = Offset::from(earlier[0].offset);
        }
        earlier.append(&mut found.entries);
        found.entries = earlier;
        piece = if bytes - budget.bytes > PIECE_BYTES { (piece / 2).max(1) } else { (piece * 2).min(PIECE_MAX) };
    }
    Ok(found)
}

fn look<D: Disk>(
    log: &Reader<D>,
    (from, end): (Offset, Offset),
    choice: &Choice,
    limit: usize,
    budget: &mut Budget,
    is_enough: impl Fn(&Budget) -> bool,
) -> Result<Found, lifeline_store::Error> {
    let mut entries = Vec::new();
    let mut scan = log.scan(from);
    while scan.position() < end && entries.len() < limit && !is_enough(budget) {
        let position = scan.position();
        let lost = match scan.next() {
            Ok(None) => break,
            Ok(Some(record)) => {
                budget.spend(record.payload);
                entries.extend(choice.entry(record.payload, record.offset, record.time_unix_nanos));
                continue;
            }
            Err(error @ lifeline_store::Error::Damaged { .. }) => error,
            Err(error) => return Err(error),
        };
        let lifeline_store::Error::Damaged { offsets, .. } = &lost else { unreachable!("the other errors returned") };
        entries.push(unreadable(offsets.start.max(position), None, &lost));
        scan.seek(offsets.end.max(position.next()));
    }
    Ok(Found { entries, position: scan.position().min(end).max(from) })
}

/// As [`backwards`], of records about these resources: from each to the one before it about the same one. `None` where the
/// links do not lead to `before`, because a record among them cannot be read.
///
/// # Errors
/// When the disk refuses.
pub fn along<D: Disk>(
    log: &Reader<D>,
    (trails, landmarks): (&[Trail], &Landmarks),
    (floor, before): (Offset, Offset),
    choice: &Choice,
    limit: usize,
    mut budget: Budget,
) -> Result<Option<Found>, lifeline_store::Error> {
    let mut heads: BinaryHeap<(Offset, usize)> = BinaryHeap::new();
    for (place, trail) in trails.iter().enumerate() {
        match approach(log, trail, landmarks, before)? {
            Step::To(offset) => heads.push((offset, place)),
            Step::End => {}
            Step::Lost => return Ok(None),
        }
    }
    // Newest first, until the end.
    let mut entries = Vec::new();
    let mut position = before;
    while let Some(&(offset, _)) = heads.peek().filter(|(offset, _)| *offset >= floor) {
        if entries.len() == limit || budget.is_spent() {
            return Ok(Some(Found::reversed(entries, position)));
        }
        let record = match read(log, offset)? {
            Some(record) => record,
            // Retention went on meanwhile: what follows is gone as well.
            None if offset < log.start() => break,
            None => return Ok(Found::until_lost(entries, offset, before)),
        };
        budget.spend(&record.payload);
        budget.reads = budget.reads.saturating_sub(1);
        let mut next = Vec::new();
        while let Some((_, place)) = heads.peek().filter(|(at, _)| *at == offset).copied() {
            heads.pop();
            match step(&record, &trails[place].key) {
                Step::To(previous) => next.push((previous, place)),
                Step::End => {}
                Step::Lost => return Ok(Found::until_lost(entries, offset, before)),
            }
        }
        heads.extend(next);
        entries.extend(choice.entry(&record.payload, offset, record.time_unix_nanos));
        position = offset;
    }
    Ok(Some(Found::reversed(entries, floor.min(before))))
}

impl Found {
    fn reversed(mut entries: Vec<Entry>, position: Offset) -> Found {
        entries.reverse();
        Found { entries, position }
    }

    /// What was found before a record that leads no further, if anything was looked at.
    fn until_lost(entries: Vec<Entry>, lost: Offset, before: Offset) -> Option<Found> {
        (lost.next() < before).then(|| Found::reversed(entries, lost.next()))
    }
}

/// Where the link of a record leads.
enum Step {
    /// To this record.
    To(Offset),
    /// Nowhere: it was the first one.
    End,
    /// Not known.
    Lost,
}

/// The last record about a resource below `before`.
fn approach<D: Disk>(
    log: &Reader<D>,
    trail: &Trail,
    landmarks: &Landmarks,
    before: Offset,
) -> Result<Step, lifeline_store::Error> {
    let landmark = landmarks.first_from(trail.index, before).filter(|found| found.offset < trail.last_record);
    let mut at = landmark.map_or(trail.last_record, |found| found.offset);
    for _ in 0..APPROACH_MAX {
        if at < before {
            return Ok(Step::To(at));
        }
        let Some(record) = read(log, at)? else { return Ok(Step::Lost) };
        match step(&record, &trail.key) {
            Step::To(previous) => at = previous,
            end => return Ok(end),
        }
    }
    Ok(Step::Lost)
}

fn step(record: &Record, key: &ResourceKey) -> Step {
    match Fact::decode(&record.payload).ok().and_then(|fact| fact.previous(key)) {
        Some(Some(previous)) if previous < record.offset => Step::To(previous),
        Some(None) => Step::End,
        // A chain only ever leads back, and stays with its resource.
        Some(Some(_)) | None => Step::Lost,
    }
}

/// A record; `None` where it is not held or does not read back.
fn read<D: Disk>(log: &Reader<D>, offset: Offset) -> Result<Option<Record>, lifeline_store::Error> {
    match log.read(offset) {
        Err(lifeline_store::Error::Damaged { .. }) => Ok(None),
        read => read,
    }
}
